"""Whether our side of an account is the exchange's: every order's end, every fill and fee, and what is left. Pure.

Invariant: ours is rounded to the digits that the exchange shows and no further; what one side has and the other has not is a
difference.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import NamedTuple

from peak_trade.ledger.books import Books
from peak_trade.model.order import Fill, OrderState
from peak_trade.venue.kraken.reading import OrderDocument, TradeDocument
from peak_trade.venue.kraken.wire import exchange_name

#: What stands in a difference where an order's name would: all orders together.
ACCOUNT = "account"
#: Ends of an order that the exchange never had.
NEVER_THERE = frozenset({OrderState.REJECTED, OrderState.ABSENT})
_THEIR_ENDS = {"closed": OrderState.FILLED, "canceled": OrderState.CANCELLED, "expired": OrderState.EXPIRED}
_ZERO = Decimal(0)


class OrderEnd(NamedTuple):
    """What became of an order as our side knows it: its case, its last state, and its signed filled quantity."""

    client_id: str
    case: str
    state: OrderState
    filled: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeSide:
    """What the exchange says, asked with another key.

    Attributes:
        orders, trades: of the account since the drill began, by the exchange's ids.
        before, after: balances of quote and base currency.
    """

    orders: Mapping[str, OrderDocument]
    trades: Mapping[str, TradeDocument]
    before: "Balance"
    after: "Balance"


class Balance(NamedTuple):
    """What an account has of a pair's currencies, as shown."""

    quote: Decimal
    base: Decimal


class Mismatch(NamedTuple):
    """Something that is not the same on both sides: of which order (ours, else the exchange's id), and in words."""

    name: str
    words: str


def mismatches(
    ends: Sequence[OrderEnd], fills: Sequence[Fill], opened: Books, books: Books, theirs: ExchangeSide
) -> list[Mismatch]:
    """Return everything that differs.

    Args:
        ends: of every order that was sent. fills: as they were booked.
        opened, books: ours before the first order and after the last.
    """
    found = list(_ends_differ(ends, theirs))
    found += _fills_differ(ends, fills, theirs)
    changes = Balance(books.cash - opened.cash, sum(books.held().values(), _ZERO))
    for name, before, change, after in zip(Balance._fields, theirs.before, changes, theirs.after, strict=True):
        if not _same(before + change, after):
            words = f"its {name} currency went from {before:f} to {after:f}, our books changed by {change:f}"
            found.append(Mismatch(ACCOUNT, words))
    return found


def _same(ours: Decimal, shown: Decimal) -> bool:
    """Tell whether an amount of ours is the one that is shown, to the last digit that is shown."""
    step = Decimal(1).scaleb(int(shown.as_tuple().exponent))
    return ours.quantize(step, ROUND_HALF_EVEN) == shown


def _ends_differ(ends: Sequence[OrderEnd], theirs: ExchangeSide) -> Iterable[Mismatch]:
    """Yield orders that ended otherwise there, are there twice, or are known to one side only."""
    ours = {exchange_name(end.client_id): end for end in ends}
    seen: set[str] = set()
    for txid, order in theirs.orders.items():
        end = ours.get(order.cl_ord_id or "")
        if end is None:
            yield Mismatch(txid, "the exchange has an order that was never sent")
            continue
        if end.client_id in seen:
            yield Mismatch(end.client_id, "the exchange has it twice")
        seen.add(end.client_id)
        state = _THEIR_ENDS.get(order.status)
        if state is not end.state:
            yield Mismatch(end.client_id, f"we know it as {end.state.value}, the exchange as {order.status}")
        if order.sign * order.vol_exec != end.filled:
            said = order.sign * order.vol_exec
            yield Mismatch(end.client_id, f"we know {end.filled:f} of it as filled, the exchange {said:f}")
    for end in ends:
        if end.client_id not in seen and end.state not in NEVER_THERE:
            yield Mismatch(end.client_id, f"we know it as {end.state.value}, the exchange never had it")


def _fills_differ(ends: Sequence[OrderEnd], fills: Sequence[Fill], theirs: ExchangeSide) -> Iterable[Mismatch]:
    """Yield fills that are not the same there, and orders whose fees or filled quantities are not the sum of their fills."""
    names = {exchange_name(end.client_id): end.client_id for end in ends}
    ours = {fill.fill_id: fill for fill in fills}
    if len(ours) < len(fills):
        yield Mismatch(ACCOUNT, "a fill was booked twice")
    for fill_id, fill in ours.items():
        trade = theirs.trades.get(fill_id)
        if trade is None:
            yield Mismatch(fill.client_id, f"the exchange does not have its fill {fill_id}")
        elif (fill.quantity, fill.price, fill.fee) != (trade.quantity, trade.price, trade.fee):
            mine, said = (f"{one.quantity:f} at {one.price:f}, fee {one.fee:f}" for one in (fill, trade))
            yield Mismatch(fill.client_id, f"its fill {fill_id} is {mine} with us, {said} at the exchange")
    for fill_id, trade in theirs.trades.items():
        if fill_id not in ours:
            order = theirs.orders.get(trade.ordertxid)
            name = names.get(order.cl_ord_id or "", trade.ordertxid) if order else trade.ordertxid
            yield Mismatch(name, f"its fill {fill_id} was never told to us")
    for order in theirs.orders.values():
        if (ours_is := names.get(order.cl_ord_id or "")) is not None:
            yield from _sums_differ(ours_is, order, [fill for fill in fills if fill.client_id == ours_is])


def _sums_differ(name: str, order: OrderDocument, fills: Sequence[Fill]) -> Iterable[Mismatch]:
    sums = {
        "quantity": (sum((abs(fill.quantity) for fill in fills), _ZERO), order.vol_exec),
        "cost": (sum((abs(fill.quantity) * fill.price for fill in fills), _ZERO), order.cost),
        "fee": (sum((fill.fee for fill in fills), _ZERO), order.fee),
    }
    for what, (ours, said) in sums.items():
        if not _same(ours, said):
            yield Mismatch(name, f"the {what} of its fills is {ours:f} with us, {said:f} at the exchange")


def unexplained(found: Iterable[Mismatch]) -> int:
    """Return how many orders differ; what differs of the account as a whole counts as one more."""
    return len({difference.name for difference in found})
