"""What is left of a backtest under other circumstances, as one page with charts."""

from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource

from peak_trade.journal.run import JsonObject
from peak_trade.report import facts
from peak_trade.report.charts import STRATEGY, TimeAxis, hover, number_format, time_chart
from peak_trade.report.figures import decimal
from peak_trade.report.page import render
from peak_trade.report.probe_facts import answer_warnings, badge_rows
from peak_trade.report.research_charts import neighbour_chart, spread_chart
from peak_trade.report.robustness_facts import (
    DRAWN,
    NEAR,
    drawn_rows,
    neighbour_rows,
    robustness_command,
    robustness_sentence,
)
from peak_trade.research.backtest import Result
from peak_trade.research.stress import Stressed


def robustness_html(record: JsonObject, result: Result, found: Stressed) -> str:
    """Return it as one page that opens without a network.

    Args:
        record: the run's JSON document.
        result: the backtest; found: what was drawn from it.
    """
    charts = {"fan-chart": _fan_chart(result, found)}
    if len(found.drawdowns):
        deepest = record["metrics"]["max_drawdown"]
        limit = -record["limits"]["drawdown_max"]
        charts["order-chart"] = spread_chart(found.drawdowns, "Deepest drawdown", deepest, limit, share=True)
    if record["neighbours"]:
        charts["near-chart"] = neighbour_chart(record)
    page = facts.sheet_facts(record, robustness_command(record)) | {
        "verdict": robustness_sentence(record),
        "warnings": answer_warnings(record),
        "lines": badge_rows(record),
        "drawn": drawn_rows(record),
        "drawn_heads": DRAWN,
        "near": neighbour_rows(record),
        "near_heads": NEAR,
        "own": decimal(record["metrics"]["sharpe"], 2),
        "draws": record["limits"]["draws"],
        "orders": bool(len(found.drawdowns)),
    }
    return render("robustness.html", charts, page)


def _fan_chart(result: Result, found: Stressed) -> Any:
    """Draw the quantiles of the drawn equity as bands, and the backtest's own equity."""
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
