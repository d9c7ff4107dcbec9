"""A sweep in words and rows."""

from tests.unit.report.records import a_sweep_record

from peak_trade.report.sweep_facts import spread_pairs, sweep_verdict, top_table

GRID = {"a": [1, 2, 3], "b": [7]}
ROWS = [({"a": a, "b": 7}, {"total_return": value, "sharpe": 1.0}) for a, value in ((1, 0.1), (2, None), (3, 0.3))]


def test_ranking_metric_leads():
    """The metric that ranks is the first column and appears once; a parameter with one value is no column."""
    table = top_table(a_sweep_record(GRID, ROWS, metric="total_return"), ROWS)

    assert table.params == ("a",)
    assert table.metrics[:2] == ("Total return", "Sharpe ratio")
    assert len(set(table.metrics)) == len(table.metrics)
    assert [params + metrics[:1] for params, metrics in table.rows] == [("3", "30.00%"), ("1", "10.00%"), ("2", "n/a")]


def test_spread_counts_missing():
    """The spread names how many combinations have no value."""
    pairs = dict(spread_pairs(a_sweep_record(GRID, ROWS, metric="total_return"), ROWS))

    assert pairs["Median"] == "20.00%"
    assert pairs["Without a value"] == "1 of 3"


def test_no_rows():
    """A sweep without rows has a sentence too."""
    assert sweep_verdict(a_sweep_record(GRID, []), []) == "None of 0 combinations gave a value for: Sharpe ratio."
