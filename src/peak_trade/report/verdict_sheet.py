"""The answer to whether an edge is real, as one page with charts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource

from peak_trade.journal.run import JsonObject
from peak_trade.model.bar import F64
from peak_trade.report import facts
from peak_trade.report.charts import GAIN, LOSS, NEUTRAL, TimeAxis, bare_chart, drawdown_chart, equity_chart, hover
from peak_trade.report.figures import decimal
from peak_trade.report.page import render
from peak_trade.report.verdict_facts import (
    BADGES,
    beside_pairs,
    line_rows,
    tried_pairs,
    verdict_command,
    verdict_sentence,
    verdict_warnings,
)
from peak_trade.research.backtest import Result

#: Bars of the picture of all trials.
BINS = 40


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
    rows = [(*row, BADGES[line["holds"]]) for row, line in zip(line_rows(record), record["lines"], strict=True)]
    page = provenance_facts(record, verdict_command(record)) | {
        "title": facts.title(record),
        "verdict": verdict_sentence(record),
        "warnings": verdict_warnings(record),
        "lines": rows,
        "tried": tried_pairs(record),
        "beside": beside_pairs(record),
        "spread": len(known) if len(known) > 1 else 0,
    }
    return render("verdict.html", charts, page)


def spread_chart(values: F64, label: str, own: float | None, limit: float | None) -> Any:
    """Draw how many values lie where; a line marks one of them, a dashed one a limit."""
    counts, edges = np.histogram(values, bins=BINS)
    chart = bare_chart(label, height=260)
    columns = {"left": edges[:-1], "right": edges[1:], "top": counts, "text": [_between(*ends) for ends in _pairwise(edges)]}
    drawn = chart.quad(source=ColumnDataSource(columns), bottom=0, fill_color=NEUTRAL, line_color=None, fill_alpha=0.7)
    hover(chart, [drawn], [(label, "@text"), ("How many", "@top")], mode="mouse")
    most = float(counts.max())
    for value, colour, dash in ((own, GAIN, "solid"), (limit, LOSS, "dashed")):
        if value is not None:
            chart.segment([value], [0.0], [value], [most], line_color=colour, line_width=2.5, line_dash=dash)
    return chart


def _pairwise(edges: F64) -> Sequence[tuple[float, float]]:
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _between(low: float, high: float) -> str:
    return f"{decimal(low, 3)} to {decimal(high, 3)}"


def provenance_facts(record: JsonObject, command: str) -> dict[str, Any]:
    """Return the same for a page."""
    return {
        "record": record,
        "period": facts.period(record),
        "costs": facts.cost_pairs(record),
        "data": facts.data_pairs(record),
        "params": facts.param_pairs(record["params"]),
        "hashes": facts.hash_pairs(record),
        "versions": facts.version_pairs(record),
        "command": command,
    }
