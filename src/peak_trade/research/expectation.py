"""What a session should have done: the kernel over the same bars, and where the difference to what it did comes from.

Every fill adds `quantity * (last price - price) - fee` to the final equity, so the difference between two sets of fills splits
without a rest. Fills are paired in order of time and side; of a pair,

- *fee* is the difference of the fees,
- the rest is *fill* (price or quantity) where both happened in the same bar, else *timing*;
- a fill without a partner counts as *signal*: an order that was refused, or one that nobody expected.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np

from peak_trade.model.bar import F64, Bars
from peak_trade.model.order import Fill, exact
from peak_trade.research.backtest import Result, run
from peak_trade.research.kernel import loop_for
from peak_trade.research.terms import Terms
from peak_trade.strategy.base import Strategy, checked_targets

#: Fills that a session made up to so many bars after the expected one still answer the same decision.
_LATE_BARS = 5
#: Relative difference below which a quantity, price or fee counts as the same: the kernel works in floats.
SAME = 1e-9


class Event(NamedTuple):
    """A fill reduced to what the comparison needs: number of its bar, signed quantity, price and fee."""

    bar: int
    quantity: Decimal
    price: Decimal
    fee: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Actual minus expected final equity, quote currency, and where it comes from."""

    signal: Decimal
    timing: Decimal
    fill: Decimal
    fee: Decimal
    matched: int
    actual_only: int
    expected_only: int
    identical: bool

    @property
    def total(self) -> Decimal:
        """The sum of all parts."""
        return self.signal + self.timing + self.fill + self.fee


def expected(bars: Bars, strategy: Strategy, terms: Terms, traded_from: int) -> Result:
    """Return the kernel's result over the same bars, flat until the warm-up is over."""
    targets: F64 = checked_targets(bars, strategy).copy()
    targets[:traded_from] = 0.0
    return run(bars, strategy, targets, terms, loop_for(len(bars)))


def expected_events(result: Result) -> list[Event]:
    """Return the kernel's fills as events."""
    fills = result.fills
    rows = zip(fills.bar.tolist(), fills.quantity.tolist(), fills.price.tolist(), fills.fee.tolist(), strict=True)
    return [Event(bar, exact(quantity), exact(price), exact(fee)) for bar, quantity, price, fee in rows]


def actual_events(bars: Bars, fills: Sequence[Fill], *, whole: bool = True) -> list[Event]:
    """Return a session's fills as events; *whole* takes those of one order as one: in its first bar, at its average price."""
    places = np.searchsorted(bars.timestamp, np.array([fill.bar_ns for fill in fills], dtype=np.int64)).tolist()
    if not whole:
        return [Event(bar, fill.quantity, fill.price, fill.fee) for bar, fill in zip(places, fills, strict=True)]
    orders: dict[str, Event] = {}
    for bar, fill in zip(places, fills, strict=True):
        before = orders.get(fill.client_id, Event(bar, Decimal(0), Decimal(0), Decimal(0)))
        quantity = before.quantity + fill.quantity
        spent = before.quantity * before.price + fill.quantity * fill.price
        price = spent / quantity if before.quantity else fill.price
        orders[fill.client_id] = Event(before.bar, quantity, price, before.fee + fill.fee)
    return list(orders.values())


def compare(actual: Sequence[Event], wanted: Sequence[Event], last: Decimal) -> Difference:
    """Split the difference between two sets of fills, both in order of time, valued at the *last* price."""
    parts: dict[str, Any] = {"signal": Decimal(0), "timing": Decimal(0), "fill": Decimal(0), "fee": Decimal(0)}
    pairs, ours, theirs = _paired(actual, wanted)
    identical = not ours and not theirs
    for own, other in pairs:
        fee = other.fee - own.fee
        parts["fee"] += fee
        parts["fill" if own.bar == other.bar else "timing"] += _worth(own, last) - _worth(other, last) - fee
        identical = identical and own.bar == other.bar and all(_same(a, b) for a, b in zip(own[1:], other[1:], strict=True))
    parts["signal"] += sum((_worth(event, last) for event in ours), Decimal(0))
    parts["signal"] -= sum((_worth(event, last) for event in theirs), Decimal(0))
    return Difference(**parts, matched=len(pairs), actual_only=len(ours), expected_only=len(theirs), identical=identical)


def _paired(actual: Sequence[Event], wanted: Sequence[Event]) -> tuple[list[tuple[Event, Event]], list[Event], list[Event]]:
    """Pair fills of one side: those in the same bar first, then each with the first free one of the bars just before."""
    free: dict[tuple[int, bool], deque[Event]] = {}
    for event in wanted:
        free.setdefault((event.bar, event.quantity > 0), deque()).append(event)
    pairs, alone, ours = [], [], []
    for own in actual:
        same = free.get((own.bar, own.quantity > 0))
        if same:
            pairs.append((own, same.popleft()))
        else:
            alone.append(own)
    for own in alone:
        near = (free.get((bar, own.quantity > 0)) for bar in range(own.bar - _LATE_BARS, own.bar))
        earlier = next((events for events in near if events), None)
        if earlier:
            pairs.append((own, earlier.popleft()))
        else:
            ours.append(own)
    return pairs, ours, [event for events in free.values() for event in events]


def _worth(event: Event, last: Decimal) -> Decimal:
    """Return what a fill adds to the final equity."""
    return event.quantity * (last - event.price) - event.fee


def _same(one: Decimal, other: Decimal) -> bool:
    return abs(one - other) <= Decimal(repr(SAME)) * max(abs(one), abs(other))
