"""Trades as a reader sees them: numbered, with times in UTC and numbers in one count of digits per column."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from peak_trade.model.clock import moment_text
from peak_trade.report.facts import moment
from peak_trade.report.figures import amount, decimal, price_digits, step_digits
from peak_trade.report.thinning import MARKED_MAX, evenly
from peak_trade.research.backtest import Result, Trade

#: Rows of a trade table; the file beside the report has all.
ROWS_MAX = 500
#: Stands for what a trade that is still open does not have yet.
STILL_OPEN = "open"
_DAY_NS = 86_400 * 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeRow:
    """A trade and its columns as text; `number` counts from 1 in order of entry, `exit_time` is `open` until closed."""

    trade: Trade
    number: int
    side: str
    entry_time: str
    exit_time: str
    quantity: str
    entry_price: str
    exit_price: str
    profit: str
    fees: str
    reason: str


def latest_rows(result: Result, trades: Sequence[Trade], limit: int) -> list[TradeRow]:
    """Return the latest of a run's trades, newest first; writing all would take longer than the run that made them."""
    return _rows(result, trades, range(max(0, len(trades) - limit), len(trades)))[::-1]


def marked_rows(result: Result, trades: Sequence[Trade]) -> list[TradeRow]:
    """Return the trades to mark in a chart: every one, or evenly chosen ones where they are too many."""
    return _rows(result, trades, evenly(len(trades), MARKED_MAX).tolist())


def _rows(result: Result, trades: Sequence[Trade], chosen: Iterable[int]) -> list[TradeRow]:
    """Write the trades numbered in *chosen*, from 0; times are days where all bars open at midnight UTC."""
    instrument = result.bars.instrument
    lot_digits = step_digits(instrument.lot_step)
    digits = quoted_digits(result)
    stamps = result.bars.timestamp
    cut = len("2018-01-01") if np.all(stamps % _DAY_NS == 0) else None
    return [
        TradeRow(
            trade=trade,
            number=index + 1,
            side="long" if trade.side > 0 else "short",
            entry_time=moment(moment_text(int(stamps[trade.entry_bar])))[:cut],
            exit_time=STILL_OPEN if trade.exit_bar is None else moment(moment_text(int(stamps[trade.exit_bar])))[:cut],
            quantity=decimal(trade.quantity, lot_digits),
            entry_price=decimal(trade.entry_price, digits),
            exit_price="" if trade.exit_price is None else decimal(trade.exit_price, digits),
            profit="" if trade.profit is None else amount(trade.profit, instrument.quote),
            fees=amount(trade.fees, instrument.quote),
            reason=(trade.reason or "").replace("_", " "),
        )
        for index in chosen
        for trade in (trades[index],)
    ]


def quoted_digits(result: Result) -> int:
    """Return the digits after the point for the prices of a run."""
    return price_digits(float(np.median(result.bars.close)), result.bars.instrument.tick_size)
