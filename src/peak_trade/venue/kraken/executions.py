"""Reports of the executions channel put together: sparse in, whole facts out. Pure.

Reports of an order may say only what changed, come twice, or not at all. Invariant: a fill is told once, by its id; a missing
or overtaken message is noticed, and then only a new subscription and a look at REST make things whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, NamedTuple

import msgspec

from peak_trade.model.clock import nanoseconds
from peak_trade.model.order import OrderEvent

ZERO = Decimal(0)
#: A moment with its zone.
Stamp = Annotated[datetime, msgspec.Meta(tz=True)]
_ENDS = {
    "filled": OrderEvent.FILL_ALL,
    "canceled": OrderEvent.CANCEL,
    "expired": OrderEvent.EXPIRE,
}


class FeePart(msgspec.Struct, frozen=True):
    """A fee and the asset it is in."""

    asset: str
    qty: Decimal


class ExecReport(msgspec.Struct, frozen=True, kw_only=True):
    """A report as it comes; what is None has not changed."""

    order_id: str
    exec_type: str
    timestamp: Stamp
    order_status: str | None = None
    cl_ord_id: str | None = None
    symbol: str | None = None
    side: str | None = None
    order_qty: Decimal | None = None
    cum_qty: Decimal | None = None
    exec_id: str | None = None
    last_qty: Decimal | None = None
    last_price: Decimal | None = None
    liquidity_ind: str | None = None
    fees: tuple[FeePart, ...] = ()
    reason: str | None = None


class ExecMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the channel."""

    data: tuple[ExecReport, ...]
    sequence: int
    type: str = "update"


class StreamFill(NamedTuple):
    """A fill as the stream tells it; quantity and remaining signed, base currency; price and fee in quote currency."""

    exec_id: str
    order_id: str
    name: str
    symbol: str
    quantity: Decimal
    price: Decimal
    fee: Decimal
    maker: bool
    remaining: Decimal
    at_ns: int


class StreamEnd(NamedTuple):
    """An order works no more; *name* is its `cl_ord_id`."""

    order_id: str
    name: str
    event: OrderEvent
    filled: Decimal
    why: str
    at_ns: int


class Merged(NamedTuple):
    """What a message comes to; *gap*: something was missed, so subscribe again and ask REST."""

    facts: tuple[StreamFill | StreamEnd, ...]
    gap: bool


@dataclass(slots=True)
class StreamedOrder:
    """What is known of an order; quantities without a sign."""

    order_id: str
    name: str = ""
    symbol: str = ""
    side: str = ""
    quantity: Decimal = ZERO
    filled: Decimal = ZERO
    status: str = ""
    ended: bool = False

    @property
    def sign(self) -> int:
        """1 for a purchase, -1 for a sale."""
        return -1 if self.side == "sell" else 1


class Executions:
    """The orders of an account as its stream tells them."""

    def __init__(self) -> None:
        self.orders: dict[str, StreamedOrder] = {}
        self._booked: set[str] = set()
        self._sequence: int | None = None

    def begin(self) -> None:
        """Begin a subscription: its messages are counted anew; what is known stays."""
        self._sequence = None

    def take(self, message: ExecMessage) -> Merged:
        """Take a message; one that came before says nothing."""
        # A connection counts from 1 on. A subscription that is not its first may go on from where the last one was, and
        # begins with a snapshot.
        fresh = self._sequence is None and message.type == "snapshot"
        expected = message.sequence if fresh else (self._sequence or 0) + 1
        if message.sequence != expected:
            # What overtook its forerunner is told again by the snapshot of a new subscription.
            return Merged((), gap=message.sequence > expected)
        self._sequence = message.sequence
        return Merged(tuple(fact for report in message.data for fact in self._facts(report)), gap=False)

    def _facts(self, report: ExecReport) -> Sequence[StreamFill | StreamEnd]:
        order = self.orders.setdefault(report.order_id, StreamedOrder(report.order_id))
        order.name = report.cl_ord_id or order.name
        order.symbol = report.symbol or order.symbol
        order.side = report.side or order.side
        order.quantity = order.quantity if report.order_qty is None else report.order_qty
        order.status = report.order_status or order.status
        if report.cum_qty is not None:
            order.filled = max(order.filled, report.cum_qty)
        at_ns = nanoseconds(report.timestamp)
        facts: list[StreamFill | StreamEnd] = []
        if report.exec_type == "trade" and report.exec_id and report.exec_id not in self._booked:
            facts.append(self._fill(order, report, at_ns))
            self._booked.add(report.exec_id)
        event = _ENDS.get(report.exec_type) or (_ENDS.get(order.status) if report.exec_type == "status" else None)
        if event and not order.ended:
            order.ended = True
            facts.append(StreamEnd(order.order_id, order.name, event, order.sign * order.filled, report.reason or "", at_ns))
        return facts

    @staticmethod
    def _fill(order: StreamedOrder, report: ExecReport, at_ns: int) -> StreamFill:
        price, quantity = report.last_price or ZERO, report.last_qty or ZERO
        base = order.symbol.partition("/")[0]
        fee = sum((part.qty * (price if part.asset == base else 1) for part in report.fees), ZERO)
        return StreamFill(
            exec_id=report.exec_id or "",
            order_id=order.order_id,
            name=order.name,
            symbol=order.symbol,
            quantity=order.sign * quantity,
            price=price,
            fee=fee,
            maker=report.liquidity_ind == "m",
            remaining=order.sign * (order.quantity - order.filled),
            at_ns=at_ns,
        )
