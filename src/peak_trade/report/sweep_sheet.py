"""The report of a sweep: one HTML page with the best combinations and the landscape they stand in."""

from collections.abc import Sequence
from typing import Any

from peak_trade.journal.run import JsonObject
from peak_trade.report import facts
from peak_trade.report.charts import PALETTE, colour_ends, heat_chart, step_line_chart
from peak_trade.report.figures import figure_of, figure_text
from peak_trade.report.page import render
from peak_trade.report.ranking import Landscape, Row, landscape
from peak_trade.report.sweep_facts import landscape_caption, spread_pairs, sweep_verdict, top_table


def sweep_html(record: JsonObject, rows: Sequence[Row]) -> str:
    """Return the report of a sweep as one page that opens without a network.

    Args:
        record: the run's JSON document.
        rows: each combination's parameters and metrics, in the sweep's own order.
    """
    metric, quote = record["metric"], record["quote"]
    land = landscape(record["grid"], rows, metric)
    page = facts.sheet_facts(record) | {
        "verdict": sweep_verdict(record, rows),
        "warnings": facts.warnings(record),
        "metric": figure_of(metric).label,
        "top": top_table(record, rows),
        "spread": spread_pairs(record, rows),
        "caption": landscape_caption(land, metric),
        "scale": None if land is None or land.up is None else _scale(land, metric, quote),
        "grid": facts.grid_pairs(record),
    }
    return render("sweep_sheet.html", _charts(land, metric, quote), page)


def _charts(land: Landscape | None, metric: str, quote: str) -> dict[str, Any]:
    if land is None:
        return {}
    if land.up is None:
        return {"landscape-chart": step_line_chart(land, metric, quote)}
    return {"landscape-chart": heat_chart(land, land.up, metric, quote)}


def _scale(land: Landscape, metric: str, quote: str) -> dict[str, Any]:
    """Return the ends of the colour scale as text, and the colours between."""
    low, high = colour_ends(land)
    return {"low": figure_text(metric, low, quote), "high": figure_text(metric, high, quote), "colours": PALETTE[::9]}
