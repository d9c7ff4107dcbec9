"""The report of a sweep as a page."""

import pytest
from tests.unit.report.records import PageReader, a_sweep_record

from peak_trade.report.sweep_sheet import sweep_html


def some_rows(grid, value=lambda params: float(sum(params.values()))):
    """Return a row for each combination of a grid of two or one parameters."""
    combinations = [{}]
    for name, values in grid.items():
        combinations = [params | {name: item} for params in combinations for item in values]
    return [(params, {"sharpe": value(params), "num_trades": 3, "profit_factor": None}) for params in combinations]


def a_page(grid, rows=None, **changes) -> PageReader:
    rows = some_rows(grid) if rows is None else rows
    return PageReader(sweep_html(a_sweep_record(grid, rows, **changes), rows))


def test_names_the_best():
    """The opening sentence names the best combination and warns of choosing it."""
    text = a_page({"fast": [1, 2], "slow": [10, 20]}).text

    assert "The best of 4 combinations by Sharpe ratio is fast = 2, slow = 20, with 22.00." in text
    assert "high by chance alone" in text


def test_top_table():
    """The table is as long as asked for and begins with the best; what can't be computed says so."""
    text = a_page({"fast": [1, 2], "slow": [10, 20]}, top=2).text

    assert "The best 2 of 4 combinations by Sharpe ratio; trials.csv beside this page has all." in text
    assert "1 2 20 22.00 n/a n/a 3 n/a n/a 2 1 20 21.00" in text


def test_third_parameter_is_told():
    """With three swept parameters the caption says that cells are the best over the third."""
    text = a_page({"a": [1, 2], "b": [1, 2], "c": [1, 2]}).text

    assert "Sharpe ratio over a and b, each cell the best over c." in text


def test_fine_grid_is_told():
    """Where neighbours share a cell the caption says so."""
    assert "neighbouring values of a share a cell" in a_page({"a": list(range(150)), "b": [1, 2]}).text


def test_one_parameter():
    """One swept parameter gives a line."""
    assert "Sharpe ratio at each value of a; a gap is a combination without a value." in a_page({"a": [1, 2, 3], "b": [5]}).text


def test_one_combination():
    """A single combination has nothing to compare, no chart and no warning of choosing."""
    reader = a_page({"a": [1]})

    assert "there is nothing to compare" in reader.text
    assert "script" not in reader.tags
    assert "by chance alone" not in reader.text


@pytest.mark.parametrize("grid", [{"a": [1, 2], "b": [1, 2]}, {"a": [1, 2]}])
def test_no_values(grid):
    """A sweep in which nothing could be computed has a page that says so."""
    rows = some_rows(grid, lambda params: None)

    assert f"None of {len(rows)} combinations gave a value for: Sharpe ratio." in a_page(grid, rows).text


def test_hostile_values():
    """Parameter values that look like markup stay text, in tables and in the charts' data."""
    hostile = ["</script><img src=x>", "$$\\alpha$$", "{{ 7*7 }}"]
    rows = [({"mode": mode, "n": n}, {"sharpe": 1.0 * n}) for mode in hostile for n in (1, 2)]
    reader = a_page({"mode": hostile, "n": [1, 2]}, rows, tags=hostile)

    assert "img" not in reader.tags
    assert reader.text.count("{{ 7*7 }}") >= 3


def test_fixed_parameters():
    """Parameters outside the grid are shown where there are any."""
    assert "Fixed parameters" in a_page({"a": [1, 2]}, params={"threshold": 0.5}).text
    assert "Fixed parameters" not in a_page({"a": [1, 2]}).text


def test_same_bytes():
    """The same input gives the same page."""
    grid = {"a": [1, 2], "b": [1, 2]}
    record = a_sweep_record(grid, some_rows(grid))

    assert sweep_html(record, some_rows(grid)) == sweep_html(record, some_rows(grid))
