"""What a session left besides its record, and its orders as a reader sees them.

Invariant: an order's state stands in words; its tone only repeats them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

import numpy as np

from peak_trade.model.bar import F64, I64, Bars
from peak_trade.model.errors import require
from peak_trade.model.order import Fill
from peak_trade.report.facts import moment
from peak_trade.report.figures import step_digits

#: Digits after the point of the finest lot or tick.
_DIGITS_MAX = 12
_TONES = {"filled": "good"} | dict.fromkeys(("refused", "rejected", "unknown", "absent"), "bad")


class OrderRow(NamedTuple):
    """An order of a session.

    Attributes:
        kind, reason, state: as `model.order` writes them.
        quantity, filled: base currency, signed, as text; price: limit or trigger, None for a market order.
        decided_at: when it was decided on the session's clock, ISO 8601, UTC.
        why: the codes or words of whoever refused it; empty where nobody did.
    """

    client_id: str
    leg: str
    symbol: str
    kind: str
    quantity: str
    price: str | None
    reason: str
    decided_at: str
    state: str
    filled: str
    why: str


def _no_marks() -> I64:
    return np.array([], dtype=np.int64)


def _no_equity() -> F64:
    return np.array([], dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSeries:
    """What a session's charts and tables are drawn from; all of it may be empty.

    Attributes:
        bars: by symbol, those of the first strategy first; warm-up included, and perhaps more than the session reached.
        stamps: when equity was marked: the closing time of a bar, nanoseconds UTC, ascending, shape (marks,).
        equity: quote currency, shape (marks,); may be thinned.
        expected: equity that a backtest expects at the close of the first symbol's bars, from the first bar on and as far
            as it goes; NaN where it says nothing; None where there is no expectation.
        fills: in the order in which they happened.
        orders: in the order in which they were decided.
    """

    bars: Mapping[str, Bars] = field(default_factory=dict)
    stamps: I64 = field(default_factory=_no_marks)
    equity: F64 = field(default_factory=_no_equity)
    expected: F64 | None = None
    fills: Sequence[Fill] = ()
    orders: Sequence[OrderRow] = ()

    def __post_init__(self) -> None:
        require(self.stamps.shape == self.equity.shape, "each mark has one moment and one equity")
        if self.expected is not None:
            first = next(iter(self.bars.values()), None)
            require(first is not None and len(self.expected) <= len(first), "an expectation has no more values than bars")


class OrderLine(NamedTuple):
    """An order's columns as text; `tone` is `good`, `bad` or empty."""

    decided: str
    leg: str
    symbol: str
    side: str
    kind: str
    quantity: str
    price: str
    reason: str
    state: str
    tone: str
    filled: str
    why: str


def latest_orders(orders: Sequence[OrderRow], limit: int) -> list[OrderLine]:
    """Return the latest orders, newest first; a column's numbers have one count of digits after the point."""
    chosen = orders[max(0, len(orders) - limit) :][::-1]
    lots = _digits(text for order in chosen for text in (order.quantity, order.filled))
    ticks = _digits(order.price for order in chosen if order.price is not None)
    return [_line(order, lots, ticks) for order in chosen]


def side_of(quantity: str) -> str:
    """Return whether a signed quantity buys or sells."""
    return "sell" if quantity.strip().startswith("-") else "buy"


def plain_number(text: str, digits: int | None = None) -> str:
    """Return a decimal without sign and exponent, with that many digits after the point or as few as it needs.

    What is no number stays as it is.
    """
    value = _value(text)
    if value is None:
        return text
    return f"{abs(value):,.{step_digits(value) if digits is None else digits}f}"


def _value(text: str) -> Decimal | None:
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def _digits(texts: Iterable[str]) -> int:
    values = [value for text in texts if (value := _value(text)) is not None]
    return min(max(map(step_digits, values), default=0), _DIGITS_MAX)


def words_of(code: str) -> str:
    """Write `partly_filled` as `partly filled`."""
    return code.replace("_", " ")


def _line(order: OrderRow, lots: int, ticks: int) -> OrderLine:
    return OrderLine(
        decided=moment(order.decided_at),
        leg=order.leg,
        symbol=order.symbol,
        side=side_of(order.quantity),
        kind=words_of(order.kind),
        quantity=plain_number(order.quantity, lots),
        price="" if order.price is None else plain_number(order.price, ticks),
        reason=words_of(order.reason),
        state=words_of(order.state),
        tone=_TONES.get(order.state, ""),
        filled=plain_number(order.filled, lots),
        why=order.why,
    )
