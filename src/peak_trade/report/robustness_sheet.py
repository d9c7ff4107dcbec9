"""What is left of a backtest under other circumstances, on one page.

Invariant: every word is computed from the record; Markdown and HTML say the same.
"""

from typing import Any

import numpy as np

from peak_trade.journal.run import JsonObject
from peak_trade.report import facts
from peak_trade.report.charts import STRATEGY, TimeAxis, hover, number_format, time_chart
from peak_trade.report.figures import decimal, plural, value_text
from peak_trade.report.markdown import document, plain, table, warned
from peak_trade.report.page import render
from peak_trade.report.verdict_sheet import BADGES, HEADS, line_rows, provenance_blocks, provenance_facts, spread_chart
from peak_trade.research.backtest import Result
from peak_trade.research.stress import Stressed


def robustness_sentence(record: JsonObject) -> str:
    """Return in a sentence or two what it stands and what it does not."""
    failed = [line["title"] for line in record["lines"] if line["holds"] is False]
    asked = sum(line["holds"] is not None for line in record["lines"])
    near = f"Its parameters stand on a {record['shape']}." if record["neighbours"] else ""
    if not failed:
        return f"Robust: it stands all of {plural(asked, 'question')}. {near}".strip()
    return f"Not robust: of {plural(asked, 'question')} it fails {len(failed)}: {', '.join(failed)}. {near}".strip()


def robustness_warnings(record: JsonObject) -> list[str]:
    """Return what a reader must know first."""
    return facts.warnings({**record, "trials_on_dataset": {}})


def neighbour_rows(record: JsonObject) -> list[tuple[str, str, str]]:
    """Return the neighbours as text: parameter, value, Sharpe ratio."""
    return [(item["name"], value_text(item["value"]), decimal(item["sharpe"], 2)) for item in record["neighbours"]]


def robustness_command(record: JsonObject) -> str:
    """Return the command that asks again."""
    return f"peak-trade robustness {record['backtest']} --seed {record['seed']}"


_NEAR = ("Parameter", "Value", "Sharpe ratio")


def robustness_markdown(record: JsonObject) -> str:
    """Return it as Markdown."""
    rows = neighbour_rows(record)
    own = decimal(record["metrics"]["sharpe"], 2)
    return document(
        f"# Robustness of {plain(facts.title(record))}",
        plain(facts.period(record)),
        plain(robustness_sentence(record)),
        warned(robustness_warnings(record)),
        "## What was asked",
        table(HEADS, line_rows(record), words=(0, 3, 4)),
        "## Neighbouring parameters" if rows else "",
        f"The backtest itself has a Sharpe ratio of {own}." if rows else "",
        table(_NEAR, rows) if rows else "",
        *provenance_blocks(record, robustness_command(record)),
    )


def robustness_html(record: JsonObject, result: Result, found: Stressed) -> str:
    """Return it as one page that opens without a network.

    Args:
        record: the run's JSON document.
        result: the backtest; found: what was drawn from it.
    """
    charts = {"fan-chart": _fan_chart(result, found)}
    if len(found.drawdowns):
        deepest = record["metrics"]["max_drawdown"]
        charts["order-chart"] = spread_chart(found.drawdowns, "Deepest drawdown", deepest, -record["limits"]["drawdown_max"])
    rows = [(*row, BADGES[line["holds"]]) for row, line in zip(line_rows(record), record["lines"], strict=True)]
    page = provenance_facts(record, robustness_command(record)) | {
        "title": facts.title(record),
        "verdict": robustness_sentence(record),
        "warnings": robustness_warnings(record),
        "lines": rows,
        "near": neighbour_rows(record),
        "near_heads": _NEAR,
        "own": decimal(record["metrics"]["sharpe"], 2),
        "draws": record["limits"]["draws"],
        "orders": bool(len(found.drawdowns)),
    }
    return render("robustness.html", charts, page)


def _fan_chart(result: Result, found: Stressed) -> Any:
    """Draw the quantiles of the drawn equity as bands, and the backtest's own equity."""
    from bokeh.models import ColumnDataSource

    axis = TimeAxis.of(result)
    chart = time_chart(axis, height=320, number=number_format(0))
    cash = float(result.terms.cash)
    bars = found.points.astype(np.int64)
    own = np.concatenate([[cash], result.equity[bars[1:]]])
    names = ("low", "lower", "middle", "upper", "high")
    columns: dict[str, Any] = {"x": axis.stamps[bars], "own": own}
    columns |= {name: found.histories.fan[place] * cash for place, name in enumerate(names)}
    source = ColumnDataSource(columns)
    for below, above, alpha in (("low", "high", 0.15), ("lower", "upper", 0.25)):
        chart.varea("x", below, above, source=source, fill_color=STRATEGY, fill_alpha=alpha)
    chart.line("x", "middle", source=source, line_color=STRATEGY, line_width=1.5, line_dash=[4, 3])
    line = chart.line("x", "own", source=source, line_color=STRATEGY, line_width=2.25)
    told = [("Backtest", "@own{0,0}"), *((f"{text} of histories below", f"@{name}{{0,0}}") for name, text in _QUANTILES)]
    hover(chart, [line], [("Bar opens", "@x{%F %H:%M}"), *told], mode="vline")
    return chart


_QUANTILES = (("low", "5%"), ("middle", "50%"), ("high", "95%"))
