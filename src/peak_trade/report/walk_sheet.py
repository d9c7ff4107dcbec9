"""The report of a walk-forward: one HTML page with the joined equity, the windows and the path of the parameters."""

from typing import Any

import numpy as np

from peak_trade.journal.run import JsonObject
from peak_trade.model.bar import F64
from peak_trade.model.clock import nanoseconds, parse_moment
from peak_trade.report import facts
from peak_trade.report.charts import FALLS, PairStyle, TimeAxis, number_format, pair_chart
from peak_trade.report.figures import figure_of, money_digits
from peak_trade.report.page import render
from peak_trade.report.research_charts import window_chart
from peak_trade.report.returns import drawdowns
from peak_trade.report.walk_facts import STEADY_HEADS, steady_rows, walk_pairs, walk_verdict, window_heads, window_rows
from peak_trade.research.walk_forward import Journey


def walk_html(record: JsonObject, journey: Journey) -> str:
    """Return the report as one page that opens without a network.

    Args:
        record: the run's JSON document.
        journey: what the walk gave.
    """
    stamps = np.array([nanoseconds(parse_moment(window["test_start"])) / 1e6 for window in record["windows"]])
    step_s = float(stamps[1] - stamps[0]) / 1_000.0 if len(stamps) > 1 else float(journey.result.bars.timeframe.seconds)
    axis = TimeAxis.over(stamps, step_s)
    metric = figure_of(record["metric"]).label
    style = PairStyle(number="0.[00]", hover="0.[00]", names=("Test", "Train"), moment="Test stretch begins")
    columns = [_column(record["windows"], name) for name in ("test_metric", "train_metric")]
    charts = _equity_charts(record, journey)
    charts["stretch-chart"] = window_chart(record, journey, TimeAxis.of(journey.result))
    charts["windows-chart"] = pair_chart(axis, columns[0], columns[1], style)
    paths = []
    for place, item in enumerate(record["steadiness"]):
        if all(value is None or isinstance(value, int | float) for value in item["path"]):
            name = f"path-chart-{place}"
            told = PairStyle(number="0.[0000]", hover="0.[0000]", names=(item["name"], ""), moment="Test stretch begins")
            charts[name] = pair_chart(axis, np.array([_number(value) for value in item["path"]]), None, told)
            paths.append((name, item["name"]))
    page = facts.sheet_facts(record) | {
        "verdict": walk_verdict(record),
        "warnings": facts.warnings(record),
        "metric": metric,
        "walk": walk_pairs(record),
        "groups": {name: facts.compared(record, names) for name, names in facts.GROUPS.items()},
        "other": "Best with hindsight" if journey.hindsight else "Buy and hold",
        "window_heads": window_heads(record),
        "window_rows": window_rows(record),
        "steady_heads": STEADY_HEADS,
        "steady_rows": steady_rows(record),
        "paths": paths,
        "grid": facts.grid_pairs(record),
    }
    return render("walk_sheet.html", charts, page)


def _equity_charts(record: JsonObject, journey: Journey) -> dict[str, Any]:
    """Draw the joined equity beside that of the combination that was best with hindsight, and how far both fell."""
    other = journey.hindsight[1] if journey.hindsight else journey.yardstick
    names = ("Out of sample", "Best with hindsight" if journey.hindsight else "Buy and hold")
    axis = TimeAxis.of(journey.result)
    quote = record["quote"]
    digits = money_digits(quote)
    money = PairStyle(number=number_format(digits, shortest=True), hover=number_format(digits), unit=f" {quote}", names=names)
    falls = PairStyle(number=FALLS.number, hover=FALLS.hover, flat=FALLS.flat, names=names)
    return {
        "equity-chart": pair_chart(axis, journey.result.equity, other.equity, money),
        "drawdown-chart": pair_chart(axis, drawdowns(journey.result), drawdowns(other), falls),
    }


def _column(windows: Any, name: str) -> F64:
    return np.array([_number(window[name]) for window in windows])


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
