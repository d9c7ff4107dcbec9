"""Reports as Markdown."""

import re
import subprocess
import sys

import pytest
from tests.builders import flat_bars, some_bars, some_terms
from tests.unit.report.records import a_record, a_result, a_sweep_record

from peak_trade.report.markdown import backtest_markdown, sweep_markdown


def a_report(result=None, **changes) -> str:
    result = result or a_result([1.0, 0.0, -1.0, 0.0] * 5)
    return backtest_markdown(a_record(result, **changes), result, a_result([1.0], result.bars))


def test_sections():
    """One title, then the sections from outcome to provenance."""
    report = a_report()

    assert re.findall(r"^# .*", report, re.M) == ["# scripted on BTC/EUR, 1h"]
    assert re.findall(r"^## (.*)", report, re.M) == [
        "Key figures",
        "Monthly returns",
        "Trades",
        "Costs and rules",
        "Data quality",
        "Parameters",
        "Provenance",
    ]
    assert report.endswith("```\npeak-trade reproduce 20240101T000000000Z-abc123\n```\n")


def test_tables_are_whole():
    """All rows of a table have as many cells as its head."""
    for table in re.findall(r"(?:^\|.*\n)+", a_report(), re.M):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_hostile_texts():
    """Markup and line breaks in texts from outside are escaped."""
    hostile = "<img src=x>\n# title | `code` [link](x) *b*"
    report = a_report(tags=[hostile], params={"p": hostile}, dataset={"notes": [hostile]})

    assert report.count(r"\<img src=x\> # title \| \`code\` \[link\](x) \*b\*") == 3
    assert len(re.findall(r"^# ", report, re.M)) == 1


def test_warnings():
    """Warnings stand before the figures, each as a quote of its own."""
    report = a_report(code={"version": "0", "clean": False}, trials_on_dataset={"total": 5, "different": 5})
    head = report[: report.index("## Key figures")]

    assert head.count("> **Warning:** ") == 2


@pytest.mark.parametrize(("plan", "count"), [([0.0], 100), ([1.0], 100), ([1.0], 2)])
def test_small_runs(plan, count):
    """Runs without trades, with an open trade or with two bars have a report."""
    assert "- n/a, not computable." in a_report(a_result(plan, some_bars(count)))


def test_monthly_returns():
    """The table holds the hand-computed months."""
    result = a_result([1.0], flat_bars([100.0, 100.0, 110.0, 121.0], timeframe="4w"), some_terms(cash="1000"))

    assert "| 2024 | 0.0% | 10.0% | 10.0% |  |" in a_report(result)


def test_trades_have_a_limit():
    """The newest twenty trades are listed and the file with all is named."""
    report = a_report(a_result([1.0, 0.0] * 30))

    assert "The latest 20 of 30, times in UTC; `trades.csv` beside this report has all." in report
    assert "| 30 | long |" in report
    assert "| 10 | long |" not in report


def test_sweep():
    """A sweep's report ranks its combinations and says how they spread."""
    rows = [({"a": a, "b": b}, {"sharpe": 0.1 * a * b}) for a in (1, 2) for b in (1, 2)]
    report = sweep_markdown(a_sweep_record({"a": [1, 2], "b": [1, 2]}, rows, top=3, params={"c": 1}), rows)

    assert report.startswith("# Sweep of scripted on BTC/EUR, 1h\n")
    assert "| 1 | 2 | 2 | 0.40 |" in report
    assert "## Best 3 by Sharpe ratio" in report
    assert "| Median | 0.20 |" in report
    assert "| c | 1 |" in report


def test_single_combination():
    """A sweep of one combination says that there is nothing to compare."""
    rows = [({"a": 1}, {"sharpe": None})]

    assert "nothing to compare" in sweep_markdown(a_sweep_record({"a": [1]}, rows), rows)


def test_needs_no_charts():
    """Writing Markdown does not load bokeh, which takes longer than a backtest."""
    code = (
        "import sys, peak_trade.report.markdown; sys.exit(any(n.partition('.')[0] in ('bokeh', 'jinja2') for n in sys.modules))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
