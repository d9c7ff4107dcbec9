"""The answer to whether an edge is real, as one page with charts."""

import numpy as np

from peak_trade.journal.run import JsonObject
from peak_trade.model.bar import F64
from peak_trade.report import facts
from peak_trade.report.charts import TimeAxis, drawdown_chart, equity_chart
from peak_trade.report.page import render
from peak_trade.report.probe_facts import badge_rows
from peak_trade.report.research_charts import spread_chart, tried_chart
from peak_trade.report.verdict_facts import (
    DAYS,
    beside_pairs,
    day_rows,
    tried_pairs,
    verdict_command,
    verdict_sentence,
    verdict_warnings,
)
from peak_trade.research.backtest import Result


def verdict_html(record: JsonObject, result: Result, yardstick: Result, ratios: F64) -> str:
    """Return the answer as one page that opens without a network.

    Args:
        record: the run's JSON document.
        result: what the judged combination did; yardstick: buy and hold over the same bars under the same costs.
        ratios: annual Sharpe ratios of everything that was done again; not a number where equity never moved.
    """
    axis = TimeAxis.of(result)
    charts = {"equity-chart": equity_chart(result, yardstick, axis), "drawdown-chart": drawdown_chart(result, yardstick, axis)}
    known = ratios[np.isfinite(ratios)]
    if len(known) > 1:
        charts["trials-chart"] = spread_chart(known, "Sharpe ratio per year", record["metrics"]["sharpe"], record["hurdle"])
    days = record["tried"]["over_time"]
    if days:
        charts["time-chart"] = tried_chart(days)
    page = facts.sheet_facts(record, verdict_command(record)) | {
        "verdict": verdict_sentence(record),
        "warnings": verdict_warnings(record),
        "lines": badge_rows(record),
        "tried": tried_pairs(record),
        "beside": beside_pairs(record),
        "days": day_rows(record),
        "days_all": len(days),
        "day_heads": DAYS,
        "spread": len(known) if len(known) > 1 else 0,
    }
    return render("verdict.html", charts, page)
