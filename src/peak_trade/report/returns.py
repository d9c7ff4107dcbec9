"""What equity did by month and year, and how far it stood below its peak; from every bar of the run."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from peak_trade.model.bar import F64
from peak_trade.report.figures import percent
from peak_trade.research.backtest import Result

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Year:
    """A calendar year (UTC): the return of each month, January first, and of the year.

    A return is None where no bar opened in that time, or where nothing was left to earn a return on.
    """

    year: int
    months: tuple[float | None, ...]
    total: float | None


def year_returns(result: Result) -> list[Year]:
    """Return the calendar years of a run, ascending.

    A month's return is the equity at the close of its last bar over that at the close of the month before - 1, the
    first one over the starting cash. A bar belongs to the month in which it opens.
    """
    month_numbers = result.bars.timestamp.view("M8[ns]").astype("M8[M]")
    cash = float(result.terms.cash)
    by_month = _changes(month_numbers.astype(np.int64), result.equity, cash)
    by_year = _changes(month_numbers.astype("M8[Y]").astype(np.int64), result.equity, cash)
    return [
        Year(1970 + year, tuple(by_month.get(year * 12 + month) for month in range(12)), total)
        for year, total in by_year.items()
    ]


def return_text(value: float | None) -> str:
    """Write a return for a table of many: one digit, blank where there is none."""
    return "" if value is None else percent(value, 1)


def drawdowns(result: Result) -> F64:
    """Return equity over its highest close so far (at least the starting cash) - 1, shape (bars,)."""
    return falls(result.equity, float(result.terms.cash))


def falls(equity: F64, start: float) -> F64:
    """Return equity over its highest value so far (at least *start*, above zero) - 1, shape (points,)."""
    return np.asarray(equity / np.maximum.accumulate(np.maximum(equity, start)) - 1.0)


def _changes(period: npt.NDArray[Any], equity: F64, cash: float) -> dict[int, float | None]:
    """Return the change of equity over each period that occurs."""
    last = np.flatnonzero(np.append(period[1:] != period[:-1], True))
    after = equity[last]
    before = np.concatenate(([cash], after[:-1]))
    return {
        int(number): float(new / old - 1.0) if old > 0.0 else None
        for number, new, old in zip(period[last], after, before, strict=True)
    }
