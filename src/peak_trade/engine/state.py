"""What the engine knows, what it can be told, and what it may ask for. Values only, never changed.

Invariant: a state is a pure function of the plan and the events so far; hence a journal of events is a session.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from peak_trade.ledger.books import Books
from peak_trade.model.instrument import Instrument
from peak_trade.model.kill_level import KillLevel
from peak_trade.model.order import Closed, Fill, Intent, MarketBar, OrderState, Reason
from peak_trade.risk.gate import Approved, Limits, Mode, Refused, Sent
from peak_trade.risk.triggers import Evidence
from peak_trade.strategy.sizing import Sizing
from peak_trade.venue.port import Accepted, OrderReport, Rejected, Unknown

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LegPlan:
    """One strategy on one symbol within a session.

    Attributes:
        name: what its orders and profits are booked under.
        longs, shorts: which positions may be opened.
        stop_loss, take_profit: fractions of the average entry price; trailing_stop: of the best price. 0 is off.
        has_exits: whether any of them is on.
    """

    name: str
    symbol: str
    sizing: Sizing
    longs: bool = True
    shorts: bool = False
    stop_loss: Decimal = ZERO
    take_profit: Decimal = ZERO
    trailing_stop: Decimal = ZERO
    has_exits: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "has_exits", bool(self.stop_loss or self.take_profit or self.trailing_stop))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What does not change during a session.

    Attributes:
        origin: the session that this one, perhaps over several restarts, began as; makes order names unique.
    """

    origin: str
    legs: tuple[LegPlan, ...]
    instruments: Mapping[str, Instrument]
    limits: Limits
    cash: Decimal


class Order(NamedTuple):
    """An order that the venue has, or may have; `counted` among the orders of the minute and the day."""

    intent: Intent
    state: OrderState
    filled: Decimal
    counted: bool


class LegState(NamedTuple):
    """A strategy's part of the state.

    Attributes:
        target: the last target that was decided on.
        wanted: the position that a decision still waits to order, and why; None where nothing waits.
        best: the best price since entry, for the trailing stop.
        lost: its orders that the venue never had, since the last bar.
        retired: its position is closed, and nothing is opened for it again.
    """

    target: float = 0.0
    wanted: "Wanted | None" = None
    best: Decimal = ZERO
    lost: int = 0
    retired: bool = False


class Wanted(NamedTuple):
    """A position to reach, base currency, signed."""

    position: Decimal
    reason: Reason


@dataclass(kw_only=True)
class State:
    """Everything the engine knows. Whoever holds one may rely on it: `step` changes a draft, never what it was given.

    Attributes:
        now_ns: the session's present; bars: bars completed so far.
        day: the UTC day, days since 1970; day_start: equity at its beginning.
        peak, drawdown: highest equity so far, and the deepest fall from a peak as a negative fraction; floor: the equity
            below which the fall from the present peak would be deeper than that.
        prices, priced: last price of each symbol and when it was known.
        sent_today: orders let through since 00:00 UTC by strategy; recent: those of late.
        orders: those that the venue has or may have, by client id.
        numbered: orders named so far.
        counts: how often what happened; codes of refusals are under `refused:`, `warned:` and `rejected:`.
        digest: hash over every verdict of the gate so far, in order.
        last_fill: the venue's name of the last fill booked; seen: those of the latest ones, so that none is booked twice.
        reach: how far the session is stopped, see `risk.gate.CONDUCT`.
        settling: the session ends, nothing new is ordered; fault: because of what, empty where nothing went wrong.
        late_ns: how long after it was due the bar at hand is worked through.
    """

    now_ns: int
    bars: int
    day: int
    day_start: Decimal
    equity: Decimal
    peak: Decimal
    floor: Decimal
    drawdown: Decimal
    prices: Mapping[str, Decimal]
    priced: Mapping[str, int]
    sent_today: Mapping[str, int]
    mode: Mode
    reach: KillLevel | None
    books: Books
    legs: tuple[LegState, ...]
    orders: Mapping[str, Order]
    recent: tuple[Sent, ...]
    numbered: int
    counts: dict[str, int]
    traded: Decimal
    digest: str
    last_fill: str | None
    seen: tuple[str, ...]
    settling: bool
    fault: str
    late_ns: int
    clock_skew_ms: float

    def draft(self) -> "State":
        """Return a copy to be changed; but for its counts, what its fields hold is replaced as a whole, never in place."""
        found = State.__new__(State)
        found.__dict__.update(self.__dict__)
        found.counts = dict(self.counts)
        return found

    @classmethod
    def initial(cls, plan: Plan) -> "State":
        """Return the state before the first event."""
        books = Books.opened(plan.cash)
        return cls(
            mode=Mode.RUNNING,
            reach=None,
            now_ns=0,
            bars=0,
            day=0,
            day_start=books.cash,
            equity=books.cash,
            peak=books.cash,
            floor=books.cash,
            drawdown=ZERO,
            prices={},
            priced={},
            books=books,
            legs=tuple(LegState() for _ in plan.legs),
            orders={},
            recent=(),
            sent_today={},
            numbered=0,
            counts={},
            traded=ZERO,
            digest="0" * 64,
            last_fill=None,
            seen=(),
            settling=False,
            fault="",
            late_ns=0,
            clock_skew_ms=0.0,
        )


# ---- events ----------------------------------------------------------------------------------------------------------


class BarClosed(NamedTuple):
    """A bar is complete; `targets` are those of the strategies on its symbol, None for a bar of the warm-up."""

    bar: MarketBar
    at_ns: int
    targets: tuple[tuple[int, float], ...]


class Adopted(NamedTuple):
    """The venue was asked for an order of unknown outcome and has it."""

    report: OrderReport


class Missed(NamedTuple):
    """The venue was asked for an order of unknown outcome and never had it."""

    client_id: str


class CancelLost(NamedTuple):
    """A cancel was refused, or its outcome is not known."""

    client_id: str
    words: str


class LookUpLost(NamedTuple):
    """The venue was asked for an order and did not answer."""

    client_id: str
    words: str


class Tripped(NamedTuple):
    """Something demands another mode: a trigger, a fault or a person.

    Attributes:
        evidence: the numbers that a trigger saw.
        level: how far a kill switch goes; None: as far as the mode does.
    """

    mode: Mode
    code: str
    words: str
    evidence: Evidence = ()
    level: KillLevel | None = None


class Retire(NamedTuple):
    """The positions of these strategies, of all where none is named, are to be closed; nothing is opened for them again."""

    legs: tuple[str, ...]
    words: str


class Settle(NamedTuple):
    """The session ends: cancel what works. `fault` says what went wrong, empty where nothing did."""

    fault: str = ""


class Late(NamedTuple):
    """The next bar is worked through so long after it was due."""

    late_ns: int


FromVenue = Accepted | Rejected | Unknown | Fill | Closed | Adopted | Missed | CancelLost | LookUpLost
Event = BarClosed | FromVenue | Tripped | Retire | Settle | Late


# ---- effects ---------------------------------------------------------------------------------------------------------


class Send(NamedTuple):
    """Send this to the venue, once."""

    approved: Approved


class Cancel(NamedTuple):
    """Ask the venue to cancel."""

    client_id: str


class LookUp(NamedTuple):
    """Ask the venue what it knows of an order."""

    client_id: str


class Refusal(NamedTuple):
    """Write down that the gate refused."""

    refused: Refused


class Incident(NamedTuple):
    """Write down that something happened which a person must see."""

    code: str
    words: str
    mode: Mode
    evidence: Evidence = ()


Effect = Send | Cancel | LookUp | Refusal | Incident
Effects = tuple[Effect, ...]
