"""The tear sheet of a backtest: one HTML page with figures, charts, trades and everything needed to check them."""

from typing import Any

import numpy as np

from peak_trade.journal.run import JsonObject
from peak_trade.report import facts
from peak_trade.report.charts import TimeAxis, drawdown_chart, equity_chart, price_chart
from peak_trade.report.page import render
from peak_trade.report.returns import MONTHS, Year, return_text, year_returns
from peak_trade.report.thinning import POINTS_MAX
from peak_trade.report.trade_rows import ROWS_MAX, latest_rows, marked_rows
from peak_trade.research.backtest import Result


def backtest_html(record: JsonObject, result: Result, yardstick: Result) -> str:
    """Return the tear sheet as one page that opens without a network.

    Args:
        record: the run's JSON document.
        result: what the strategy did.
        yardstick: buy and hold over the same bars under the same costs.
    """
    trades = result.trades()
    marked = marked_rows(result, trades)
    axis = TimeAxis.of(result)
    charts = {
        "price-chart": price_chart(result, marked, axis),
        "equity-chart": equity_chart(result, yardstick, axis),
        "drawdown-chart": drawdown_chart(result, yardstick, axis),
    }
    bars = len(result.bars)
    page = facts.sheet_facts(record) | {
        "verdict": facts.verdict(record),
        "warnings": facts.warnings(record),
        "headlines": facts.compared(record, facts.HEADLINES),
        "groups": {name: facts.compared(record, names) for name, names in facts.GROUPS.items()},
        "missing": facts.missing_reasons(record),
        "thinned_from": bars if bars > POINTS_MAX else None,
        "marked": len(marked),
        "trades": latest_rows(result, trades, ROWS_MAX),
        "trade_count": len(trades),
        "month_names": MONTHS,
        "years": heat_table(year_returns(result), year_returns(yardstick)),
    }
    return render("tear_sheet.html", charts, page)


def heat_table(years: list[Year], others: list[Year]) -> list[dict[str, Any]]:
    """Return the rows of the monthly table: year, twelve months, the year, and buy and hold's year, with their shades."""
    known = [abs(value) for year in years for value in year.months if value is not None]
    largest = max(known, default=0.0)
    return [
        {
            "year": own.year,
            "months": [(return_text(value), shade(value, largest)) for value in own.months],
            "total": return_text(own.total),
            "other": return_text(other.total),
        }
        for own, other in zip(years, others, strict=True)
    ]


def shade(value: float | None, largest: float) -> str:
    """Return the style class of a return: `up` or `down` with a step from 1 to 5 by the root of its share of the largest.

    The root keeps ordinary months apart where one month was wild.
    """
    if value is None or value == 0.0 or not largest > 0.0:
        return ""
    step = int(np.ceil(5.0 * np.sqrt(min(abs(value) / largest, 1.0))))
    return f"{'up' if value > 0.0 else 'down'}-{step}"
