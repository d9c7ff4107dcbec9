"""The words of trading: intents, orders, their life, and fills. Money and quantities are exact decimals.

Invariant: an order changes its state by `LIFE` alone; documentation and tests are made from the same table.
Signs: a quantity is positive for a purchase and negative for a sale; a fee is positive.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from enum import Enum, unique
from typing import Any, NamedTuple

from peak_trade.model.errors import InvariantBroken


@unique
class OrderKind(Enum):
    """How an order is executed; a stop and a take-profit become market orders when their trigger is touched."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    TAKE_PROFIT = "take_profit"


@unique
class Reason(Enum):
    """Why an order was wanted; the first five are the kernel's, the last is what closes a retired strategy's position."""

    TARGET = "target"
    STOP_LOSS = "stop_loss"
    TAKE_PROFIT = "take_profit"
    TRAILING_STOP = "trailing_stop"
    RUIN = "ruin"
    CLOSING_OUT = "closing_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A wish to order.

    Attributes:
        client_id: name of the order to be, made by us and unique for ever; a venue shows it in its answers.
        leg: which strategy of the session wants it.
        quantity: base currency, signed.
        reference: last price known when it was decided, quote currency.
        decided_ns: when, nanoseconds UTC on the session's clock.
        price: limit of a limit order, trigger of a stop or take-profit; None for a market order.
        reduce_only: the venue may never let it open or enlarge a position.
    """

    client_id: str
    leg: str
    symbol: str
    kind: OrderKind
    quantity: Decimal
    reason: Reason
    reference: Decimal
    decided_ns: int
    price: Decimal | None = None
    reduce_only: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the intent as a JSON object; money as text."""
        return {
            "client_id": self.client_id,
            "leg": self.leg,
            "symbol": self.symbol,
            "kind": self.kind.value,
            "quantity": f"{self.quantity:f}",
            "reason": self.reason.value,
            "reference": f"{self.reference:f}",
            "decided_ns": str(self.decided_ns),
            "price": None if self.price is None else f"{self.price:f}",
            "reduce_only": self.reduce_only,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Intent":
        """Read what `to_json` wrote."""
        return cls(
            client_id=data["client_id"],
            leg=data["leg"],
            symbol=data["symbol"],
            kind=OrderKind(data["kind"]),
            quantity=Decimal(data["quantity"]),
            reason=Reason(data["reason"]),
            reference=Decimal(data["reference"]),
            decided_ns=int(data["decided_ns"]),
            price=None if data["price"] is None else Decimal(data["price"]),
            reduce_only=data["reduce_only"],
        )


@unique
class OrderState(Enum):
    """Where an order is in its life."""

    # Members are single objects; their own hash is computed in Python at each look into `LIFE`.
    __hash__ = object.__hash__

    PLANNED = "planned"
    REFUSED = "refused"
    APPROVED = "approved"
    SENDING = "sending"
    UNKNOWN = "unknown"
    OPEN = "open"
    PARTLY_FILLED = "partly_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"
    ABSENT = "absent"


@unique
class OrderEvent(Enum):
    """What can happen to an order."""

    __hash__ = object.__hash__

    REFUSE = "refuse"
    APPROVE = "approve"
    SEND = "send"
    ACKNOWLEDGE = "acknowledge"
    LOSE = "lose"
    FILL_PART = "fill_part"
    FILL_ALL = "fill_all"
    CANCEL = "cancel"
    REJECT = "reject"
    EXPIRE = "expire"
    MISS = "miss"


_ANSWERS = {
    OrderEvent.FILL_PART: OrderState.PARTLY_FILLED,
    OrderEvent.FILL_ALL: OrderState.FILLED,
    OrderEvent.CANCEL: OrderState.CANCELLED,
    OrderEvent.EXPIRE: OrderState.EXPIRED,
}

#: The life of an order. `lose`: the outcome of a send is not known; `miss`: the venue was asked and never had it.
#: A fill that overtakes or follows a cancel is kept: a position is the sum of fills, whatever an order is called.
LIFE: dict[OrderState, dict[OrderEvent, OrderState]] = {
    OrderState.PLANNED: {OrderEvent.APPROVE: OrderState.APPROVED, OrderEvent.REFUSE: OrderState.REFUSED},
    OrderState.APPROVED: {OrderEvent.SEND: OrderState.SENDING},
    OrderState.SENDING: {
        OrderEvent.ACKNOWLEDGE: OrderState.OPEN,
        OrderEvent.REJECT: OrderState.REJECTED,
        OrderEvent.LOSE: OrderState.UNKNOWN,
        **_ANSWERS,
    },
    OrderState.UNKNOWN: {
        OrderEvent.ACKNOWLEDGE: OrderState.OPEN,
        OrderEvent.REJECT: OrderState.REJECTED,
        OrderEvent.MISS: OrderState.ABSENT,
        **_ANSWERS,
    },
    OrderState.OPEN: {**_ANSWERS},
    OrderState.PARTLY_FILLED: {**_ANSWERS},
    OrderState.CANCELLED: {OrderEvent.FILL_PART: OrderState.CANCELLED, OrderEvent.FILL_ALL: OrderState.FILLED},
    OrderState.EXPIRED: {OrderEvent.FILL_PART: OrderState.EXPIRED, OrderEvent.FILL_ALL: OrderState.FILLED},
    OrderState.REFUSED: {},
    OrderState.REJECTED: {},
    OrderState.FILLED: {},
    OrderState.ABSENT: {},
}

#: How a venue ends an order without filling all of it, and what the order then is.
ENDS = {
    OrderEvent.CANCEL: OrderState.CANCELLED,
    OrderEvent.EXPIRE: OrderState.EXPIRED,
    OrderEvent.REJECT: OrderState.REJECTED,
}
#: States in which the venue may still fill the order.
WORKING = frozenset({OrderState.SENDING, OrderState.UNKNOWN, OrderState.OPEN, OrderState.PARTLY_FILLED})


def next_state(state: OrderState, event: OrderEvent) -> OrderState:
    """Return the state after an event.

    Raises:
        InvariantBroken: this event can't happen in this state.
    """
    found = LIFE[state].get(event)
    if found is None:
        raise InvariantBroken(f"an order that is {state.value} can't {event.value}; its record and the venue's disagree")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """It happened.

    Attributes:
        fill_id: the venue's name of it; booked once, however often it is told.
        client_id, leg, symbol, reason: of the order.
        quantity: base currency, signed; price, fee: quote currency.
        bar_ns: open time of the bar it happened in; at_ns: when it was known, nanoseconds UTC.
        maker: whether the order was resting in the book.
        remaining: quantity of the order still unfilled, signed.
    """

    fill_id: str
    client_id: str
    leg: str
    symbol: str
    reason: Reason
    quantity: Decimal
    price: Decimal
    fee: Decimal
    bar_ns: int
    at_ns: int
    maker: bool
    remaining: Decimal

    def to_json(self) -> dict[str, Any]:
        """Return the fill as a JSON object; money as text."""
        return {
            "fill_id": self.fill_id,
            "client_id": self.client_id,
            "leg": self.leg,
            "symbol": self.symbol,
            "reason": self.reason.value,
            "quantity": f"{self.quantity:f}",
            "price": f"{self.price:f}",
            "fee": f"{self.fee:f}",
            "bar_ns": str(self.bar_ns),
            "at_ns": str(self.at_ns),
            "maker": self.maker,
            "remaining": f"{self.remaining:f}",
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Fill":
        """Read what `to_json` wrote."""
        return cls(
            fill_id=data["fill_id"],
            client_id=data["client_id"],
            leg=data["leg"],
            symbol=data["symbol"],
            reason=Reason(data["reason"]),
            quantity=Decimal(data["quantity"]),
            price=Decimal(data["price"]),
            fee=Decimal(data["fee"]),
            bar_ns=int(data["bar_ns"]),
            at_ns=int(data["at_ns"]),
            maker=data["maker"],
            remaining=Decimal(data["remaining"]),
        )


class Closed(NamedTuple):
    """A venue ended an order without filling all of it: cancelled, expired or rejected, and why."""

    client_id: str
    event: OrderEvent
    why: str
    at_ns: int


class MarketBar(NamedTuple):
    """One bar of a feed as plain numbers: open time in nanoseconds UTC, its length, prices and volume."""

    symbol: str
    opened_ns: int
    step_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float

    @property
    def closed_ns(self) -> int:
        """The moment at which the bar is complete."""
        return self.opened_ns + self.step_ns


class Candle(NamedTuple):
    """A bar as an exchange tells it: *over* where it counts as complete there, *traded* where anything was traded in it."""

    bar: MarketBar
    over: bool
    traded: bool


def exact(value: float) -> Decimal:
    """Return a float as the shortest decimal that reads back as it: 0.1 gives 0.1."""
    return Decimal(repr(value))


#: Money is kept to this step, in quote currency: far below a cent, and sums of it are exact.
MONEY_STEP = Decimal("1e-12")


def money(value: Decimal) -> Decimal:
    """Return an amount of quote currency on the step that books are kept in, half to even."""
    # Said here, because ccxt changes the rounding of the thread that it runs in.
    return value.quantize(MONEY_STEP, ROUND_HALF_EVEN)
