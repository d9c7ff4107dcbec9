"""What a session is worth at the closes of its bars, worked out from its fills; the same while it runs and afterwards.

A test holds the curve to the engine's own marks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from peak_trade.engine.records import INCIDENT, MARK
from peak_trade.journal.chain import ENDED, Record
from peak_trade.ledger.books import Books
from peak_trade.model.bar import F64, I64
from peak_trade.model.order import Fill
from peak_trade.runs.sessions.plan import SessionPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What a session's fills and bars come to: see `State` for the words."""

    equity: Decimal
    prices: Mapping[str, Decimal]
    books: Books


def reached_bars(records: Sequence[Record]) -> int:
    """Return how many bars of all symbols together a session had completed by its last mark."""
    for record in reversed(records):
        if record.kind == MARK:
            return int(record.body["bars"])
        if record.kind == ENDED:
            return int(float(record.body["metrics"].get("num_bars") or 0))
    return 0


def marks_of(plan: SessionPlan, fills: Sequence[Fill], bars: int) -> tuple[I64, F64, int]:
    """Return when bars closed (nanoseconds UTC) and what equity was then, up to the last bar that was completed.

    A bar in which something was filled has opened, whatever the last mark says; equity at a close counts the fills of bars
    that opened before it.
    """
    closings = [data.bars.timestamp + data.bars.timeframe.step_ns for data in plan.datasets.values()]
    every = np.sort(np.concatenate(closings))
    filled = max((fill.bar_ns for fill in fills), default=-1)
    reached = max(bars, int(np.searchsorted(every, filled, side="right")))
    stamps = np.unique(every[:reached])
    equity = np.full(len(stamps), float(plan.paper.start_balance))
    for (symbol, dataset), closes in zip(plan.datasets.items(), closings, strict=True):
        mine = sorted((fill for fill in fills if fill.symbol == symbol), key=lambda fill: fill.bar_ns)
        if not mine:
            continue
        quantity = np.array([float(fill.quantity) for fill in mine])
        paid = np.array([float(fill.quantity * fill.price + fill.fee) for fill in mine])
        before = np.searchsorted(np.array([fill.bar_ns for fill in mine]), stamps, side="left")
        held = np.concatenate([[0.0], np.cumsum(quantity)])[before]
        spent = np.concatenate([[0.0], np.cumsum(paid)])[before]
        last = np.searchsorted(closes, stamps, side="right") - 1
        price = np.where(last >= 0, dataset.bars.close[np.maximum(last, 0)], 0.0)
        equity += held * price - spent
    return stamps, equity, reached


def standing_of(plan: SessionPlan, fills: Sequence[Fill], stamps: I64) -> Worth:
    """Return the books after a session's fills, and what they are worth at the last mark, exact."""
    books = Books.opened(plan.paper.start_balance)
    for fill in fills:
        books = books.book(fill)
    now = int(stamps[-1]) if len(stamps) else 0
    prices = {}
    for symbol, dataset in plan.datasets.items():
        known = int(np.searchsorted(dataset.bars.timestamp + dataset.bars.timeframe.step_ns, now, side="right"))
        if known:
            prices[symbol] = Decimal(repr(float(dataset.bars.close[known - 1])))
    held = {symbol for symbol in books.held() if symbol not in prices}
    prices |= {symbol: next(fill.price for fill in reversed(fills) if fill.symbol == symbol) for symbol in held}
    return Worth(equity=books.equity(prices), prices=prices, books=books)


def mode_now(records: Sequence[Record]) -> str:
    """Return the mode that the last incident left a session in."""
    return next((str(record.body["mode"]) for record in reversed(records) if record.kind == INCIDENT), "running")


def retired_now(records: Sequence[Record]) -> list[str]:
    """Return the strategies whose positions were closed for good, by the name they are booked under."""
    told = [dict(record.body.get("evidence", {})) for record in records if record.kind == INCIDENT]
    return sorted({name for evidence in told for name in evidence.get("legs", "").split(", ") if name})
