"""What an order of the emulated exchange is: what was asked for, and what became of it."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, unique
from typing import NamedTuple

from peak_trade.emulator.book import Queued
from peak_trade.emulator.pairs import Pair

ZERO = Decimal(0)


class Rejection(Exception):
    """The exchange says no; the text is Kraken's error string."""


@unique
class OrderType(Enum):
    """Types of orders under their REST names."""

    MARKET = "market"
    LIMIT = "limit"
    ICEBERG = "iceberg"
    STOP_LOSS = "stop-loss"
    TAKE_PROFIT = "take-profit"
    STOP_LOSS_LIMIT = "stop-loss-limit"
    TAKE_PROFIT_LIMIT = "take-profit-limit"
    TRAILING_STOP = "trailing-stop"
    TRAILING_STOP_LIMIT = "trailing-stop-limit"

    @property
    def triggered(self) -> bool:
        """Whether it waits for a price."""
        return self not in (OrderType.MARKET, OrderType.LIMIT, OrderType.ICEBERG)

    @property
    def has_limit(self) -> bool:
        """Whether what reaches the book has a limit."""
        return self is OrderType.ICEBERG or self.value.endswith("limit")

    @property
    def is_limit(self) -> bool:
        """Whether it goes into the book with its limit at once."""
        return self is OrderType.LIMIT or self is OrderType.ICEBERG

    @property
    def trails(self) -> bool:
        """Whether its trigger follows the market."""
        return self in (OrderType.TRAILING_STOP, OrderType.TRAILING_STOP_LIMIT)


@unique
class Lasting(Enum):
    """How long an order may rest."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    GTD = "GTD"


@unique
class OrderStatus(Enum):
    """Where an order is, under its REST names."""

    PENDING = "pending"
    OPEN = "open"
    CLOSED = "closed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def working(self) -> bool:
        """Whether it may still trade."""
        return self in (OrderStatus.PENDING, OrderStatus.OPEN)


@unique
class SelfTrade(Enum):
    """Which order ends where an account would trade with itself."""

    CANCEL_NEWEST = "cancel-newest"
    CANCEL_OLDEST = "cancel-oldest"
    CANCEL_BOTH = "cancel-both"


class Offset(NamedTuple):
    """A price relative to another: an amount of quote currency, or a fraction of it, signed."""

    amount: Decimal
    per_cent: bool

    def of(self, price: Decimal) -> Decimal:
        """Return the distance from a price."""
        return price * self.amount / 100 if self.per_cent else self.amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a client asks for.

    Attributes:
        volume: base currency; cash: quote currency, of a market purchase by its cost; one of the two.
        display: what an iceberg shows of its volume, base currency.
        price: the limit of a limit order, the trigger of others; trail: distance of a trailing stop.
        limit: limit of a triggered order with one; limit_offset: the same, from the trigger.
        expires, starts: nanoseconds UTC, 0 for never and at once.
        deadline: nanoseconds UTC after which it must not be matched any more, 0 for none.
        fee_in_base: what `fcib` asks for.
        trigger: the price that triggers are compared with, `last` or `index`; there is no index here, so both are the last.
        close: the order that is to follow each fill, in the other direction; its volume is that of the fill.
    """

    pair: Pair
    buys: bool
    type: OrderType
    volume: Decimal
    cash: Decimal = ZERO
    display: Decimal = ZERO
    price: Decimal = ZERO
    limit: Decimal = ZERO
    trail: Offset | None = None
    limit_offset: Offset | None = None
    lasting: Lasting = Lasting.GTC
    expires: int = 0
    starts: int = 0
    deadline: int = 0
    post_only: bool = False
    reduce_only: bool = False
    fee_in_base: bool = False
    userref: int = 0
    cl_ord_id: str = ""
    flags: tuple[str, ...] = ()
    trigger: str = "last"
    self_trade: SelfTrade = SelfTrade.CANCEL_NEWEST
    close: "Wish | None" = None


@dataclass(slots=True, eq=False)
class PlacedOrder:
    """An order that the exchange took.

    Attributes:
        id: `OXXXXX-XXXXX-XXXXXX`; account: whose it is.
        stop: its trigger now, moved along by a trailing stop; limit: its limit now; both 0 where it has none.
        display: what an iceberg shows of it now.
        done, cost, fee: filled base quantity, its cost and fees in quote currency.
        rate: the most that a fill of it pays, a fraction: the taker's fee when it was placed, for which money is held.
        trades: ids of its fills; runs: the same, with one id for all that it took at once.
        fired: whether its trigger was touched.
        resting: its place in the book.
        reason: why it ended, in Kraken's words.
        opened, closed: nanoseconds UTC; closed is 0 while it works.
        held: what it holds back of the account, in *held_in*.
        uncovered: filled quantity for which no closing order was made yet; refid: the order that this one closes.
    """

    id: str
    account: str
    wish: Wish
    opened: int
    volume: Decimal
    stop: Decimal = ZERO
    limit: Decimal = ZERO
    display: Decimal = ZERO
    rate: Decimal = ZERO
    state: OrderStatus = OrderStatus.PENDING
    done: Decimal = ZERO
    cost: Decimal = ZERO
    fee: Decimal = ZERO
    fired: bool = False
    resting: Queued | None = None
    reason: str = ""
    closed: int = 0
    amended: bool = False
    trades: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    held: Decimal = ZERO
    held_in: str = ""
    uncovered: Decimal = ZERO
    refid: str = ""

    @property
    def left(self) -> Decimal:
        """What is not filled, base currency."""
        return self.volume - self.done

    @property
    def average(self) -> Decimal:
        """The average price of its fills, 0 without any."""
        return self.cost / self.done if self.done else ZERO


class Amendment(NamedTuple):
    """What a working order is to become; None leaves a thing as it is. Volumes in base, prices in quote currency."""

    volume: Decimal | None = None
    limit: Decimal | None = None
    stop: Decimal | None = None
    display: Decimal | None = None
    post_only: bool = False


class ClientFill(NamedTuple):
    """A fill of one side of a trade.

    Attributes:
        id: `TXXXXX-XXXXX-XXXXXX`; number: the trade's, counted by pair.
        fee: in *fee_in*.
    """

    id: str
    number: int
    order: PlacedOrder
    pair: Pair
    buys: bool
    price: Decimal
    volume: Decimal
    cost: Decimal
    fee: Decimal
    fee_in: str
    maker: bool
    at: int
    ledgers: tuple[str, ...]


class LedgerEntry(NamedTuple):
    """A line of an account's ledger; amount and fee in the asset, balance afterwards."""

    id: str
    refid: str
    at: int
    type: str
    asset: str
    amount: Decimal
    fee: Decimal
    balance: Decimal


class Print(NamedTuple):
    """A trade as the public sees it."""

    number: int
    price: Decimal
    volume: Decimal
    buys: bool
    market: bool
    at: int
