"""The report of a combinatorial cross-validation: one HTML page with the equity of all paths and how their ratios lie."""

import itertools
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, Span

from peak_trade.journal.run import JsonObject
from peak_trade.report import facts
from peak_trade.report.charts import NEUTRAL, STRATEGY, TimeAxis, bare_chart, hover, number_format, time_chart
from peak_trade.report.fan_facts import PATH_HEADS, fan_pairs, fan_verdict, path_rows, split_heads, split_rows
from peak_trade.report.figures import money_digits
from peak_trade.report.page import render
from peak_trade.report.thinning import POINTS_MAX, thinned
from peak_trade.research.combinatorial import Fan

#: Points of all paths together, so that a page with many paths stays small.
FAN_POINTS_MAX = 20 * POINTS_MAX


def fan_html(record: JsonObject, fan: Fan) -> str:
    """Return the report as one page that opens without a network.

    Args:
        record: the run's JSON document.
        fan: what the cross-validation gave.
    """
    charts = {"fan-chart": _equities(record, fan)}
    if any(path["metrics"]["sharpe"] is not None for path in record["paths"]):
        charts["ratios-chart"] = _ratios(record)
    page = {
        "record": record,
        "title": facts.title(record),
        "period": facts.period(record),
        "verdict": fan_verdict(record),
        "warnings": facts.warnings(record),
        "cut": fan_pairs(record),
        "spread": "ratios-chart" in charts,
        "path_heads": PATH_HEADS,
        "path_rows": path_rows(record),
        "split_heads": split_heads(record),
        "split_rows": split_rows(record),
        "costs": facts.cost_pairs(record),
        "data": facts.data_pairs(record),
        "grid": facts.grid_pairs(record),
        "params": facts.param_pairs(record["params"]),
        "hashes": facts.hash_pairs(record),
        "versions": facts.version_pairs(record),
        "command": facts.reproduce(record),
    }
    return render("fan_sheet.html", charts, page)


def _equities(record: JsonObject, fan: Fan) -> Any:
    """Draw the equity of every path, the one in the middle of the final values thick, and buy and hold dashed."""
    quote = record["quote"]
    digits = money_digits(quote)
    axis = TimeAxis.of(fan.yardstick)
    chart = time_chart(axis, height=400, number=number_format(digits, shortest=True))
    points = max(50, min(POINTS_MAX, FAN_POINTS_MAX // len(fan.results)))
    ends = [result.metrics.final_equity for result in fan.results]
    middle = int(np.argsort(ends, kind="stable")[len(ends) // 2])
    order = [place for place in range(len(ends)) if place != middle] + [middle]
    drawn = []
    for place in order:
        equity = fan.results[place].equity
        kept = thinned(equity, points)
        source = ColumnDataSource({"x": axis.stamps[kept], "y": equity[kept], "path": np.full(len(kept), place + 1)})
        thick = place == middle
        line = chart.line(
            "x", "y", source=source, line_color=STRATEGY, line_width=2.5 if thick else 1.0, line_alpha=1.0 if thick else 0.45
        )
        drawn.append(line)
    kept = thinned(fan.yardstick.equity, points)
    beside = ColumnDataSource({"x": axis.stamps[kept], "y": fan.yardstick.equity[kept]})
    chart.line("x", "y", source=beside, line_color=NEUTRAL, line_width=1.5, line_dash=[4, 3])
    told = [("Bar opens", "@x{%F %H:%M}"), ("Path", "@path"), ("Equity", f"@y{{{number_format(digits)}}} {quote}")]
    hover(chart, drawn, told, mode="mouse")
    return chart


def _ratios(record: JsonObject) -> Any:
    """Draw how many paths have which Sharpe ratio, with a line at zero."""
    values = [path["metrics"]["sharpe"] for path in record["paths"] if path["metrics"]["sharpe"] is not None]
    bins = max(5, min(30, int(np.ceil(np.sqrt(len(values)))) * 2))
    counts, edges = np.histogram(values, bins=bins)
    chart = bare_chart("Sharpe ratio of a path", height=280)
    columns = {
        "left": edges[:-1],
        "right": edges[1:],
        "top": counts,
        "span": [f"{low:.2f} to {high:.2f}" for low, high in itertools.pairwise(edges.tolist())],
    }
    source = ColumnDataSource(columns)
    bars = chart.quad(
        "left", "right", "top", 0, source=source, fill_color=STRATEGY, fill_alpha=0.8, line_color=STRATEGY, line_width=1.0
    )
    chart.add_layout(Span(location=0.0, dimension="height", line_color=NEUTRAL, line_width=1.5, line_dash=[4, 3]))
    hover(chart, [bars], [("Sharpe ratio", "@span"), ("Paths", "@top")], mode="mouse")
    return chart
