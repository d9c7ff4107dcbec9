"""Answers read: JSON in, typed values out. Money is decimal from the first digit on; what we do not know is left alone.

Invariant: a value of the wrong type, a missing one or one that is no number ends in `Unreadable`, never in a guess.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from peak_trade.model.errors import InputError, PeakTradeError
from peak_trade.model.instrument import parse_symbol

NS = 1_000_000_000
Read = TypeVar("Read")


class Unreadable(PeakTradeError):
    """An answer is not what Kraken's documents say it is."""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON object; fields that it does not name are ignored."""


class Envelope(Document, frozen=True):
    """Every answer: complaints, or a result."""

    error: list[str]
    result: msgspec.Raw = msgspec.Raw(b"")


class ServerTime(Document, frozen=True):
    """Kraken's clock, whole seconds."""

    unixtime: int


class SystemStatus(Document, frozen=True):
    """What the exchange takes now: `online`, `maintenance`, `cancel_only`, `post_only` or `limit_only`."""

    status: str


class FeeTier(msgspec.Struct, frozen=True, array_like=True):
    """A fee in per cent, from a 30-day volume in US dollars on."""

    volume: Decimal
    per_cent: Decimal


class AssetPair(Document, frozen=True):
    """A pair: its names, steps, minimums and fees.

    Attributes:
        wsname: `XBT/EUR`; base, quote: ids of the assets, `XXBT`.
        ordermin: base currency; costmin, tick_size: quote currency.
    """

    altname: str
    wsname: str
    base: str
    quote: str
    pair_decimals: int
    lot_decimals: int
    cost_decimals: int
    ordermin: Decimal
    costmin: Decimal
    tick_size: Decimal
    status: str
    fees: tuple[FeeTier, ...]
    fees_maker: tuple[FeeTier, ...] = ()

    @property
    def symbol(self) -> str:
        """Its name here: `BTC/EUR`."""
        return parse_symbol(self.wsname)

    @property
    def lot_step(self) -> Decimal:
        """The smallest step of a quantity, base currency."""
        return Decimal(1).scaleb(-self.lot_decimals)


class PairTicker(Document, frozen=True):
    """Best prices and the last one, each with its quantity."""

    a: tuple[Decimal, ...]
    b: tuple[Decimal, ...]
    c: tuple[Decimal, ...]


class DepthLevel(msgspec.Struct, frozen=True, array_like=True):
    """A price level; *at* is unix seconds."""

    price: Decimal
    quantity: Decimal
    at: Decimal


class Depth(Document, frozen=True):
    """A picture of the book, best levels first."""

    asks: tuple[DepthLevel, ...]
    bids: tuple[DepthLevel, ...]


class CandleRow(msgspec.Struct, frozen=True, array_like=True):
    """A candle; *at* is its opening, unix seconds."""

    at: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    vwap: Decimal
    volume: Decimal
    trades: int


class PublicTrade(msgspec.Struct, frozen=True, array_like=True):
    """A trade between anybody; *at* is unix seconds, *side* `b` or `s`."""

    price: Decimal
    quantity: Decimal
    at: Decimal
    side: str
    kind: str
    misc: str
    number: int


class CandlePage(Document, frozen=True):
    """Candles, oldest first; the last is still running, and *last* is the opening of the one before it, unix seconds."""

    rows: tuple[CandleRow, ...]
    last: int

    @property
    def finished(self) -> tuple[CandleRow, ...]:
        """The candles that will not change any more."""
        return tuple(row for row in self.rows if row.at <= self.last)


class TradePage(Document, frozen=True):
    """Trades, oldest first; *last* is what the next page begins after."""

    rows: tuple[PublicTrade, ...]
    last: str


class Holding(Document, frozen=True):
    """What an account has of an asset, and how much of it working orders hold back."""

    balance: Decimal
    hold_trade: Decimal = Decimal(0)
    credit: Decimal = Decimal(0)
    credit_used: Decimal = Decimal(0)

    @property
    def available(self) -> Decimal:
        """What can be spent."""
        return self.balance + self.credit - self.credit_used - self.hold_trade


class OrderDescription(Document, frozen=True):
    """What an order asks for; *pair* is the altname."""

    pair: str
    type: str
    ordertype: str
    price: str = "0"


class OrderDocument(Document, frozen=True):
    """An order as REST shows it.

    Attributes:
        status: `pending`, `open`, `closed`, `canceled` or `expired`.
        opentm, closetm: unix seconds.
        vol, vol_exec: base currency; cost, fee: quote currency; price: the average of its fills.
    """

    status: str
    opentm: Decimal
    descr: OrderDescription
    vol: Decimal
    vol_exec: Decimal
    cost: Decimal
    fee: Decimal
    price: Decimal
    cl_ord_id: str | None = None
    userref: int | None = None
    closetm: Decimal | None = None
    reason: str | None = None
    trades: tuple[str, ...] = ()

    @property
    def sign(self) -> int:
        """1 for a purchase, -1 for a sale."""
        return 1 if self.descr.type == "buy" else -1

    @property
    def working(self) -> bool:
        """Whether it may still trade."""
        return self.status in ("pending", "open")


class OpenOrders(Document, frozen=True):
    """Working orders by their id."""

    open: dict[str, OrderDocument]


class ClosedOrders(Document, frozen=True):
    """Orders that ended, by their id; *count* of all pages."""

    closed: dict[str, OrderDocument]
    count: int = 0


class TradeDocument(Document, frozen=True):
    """A fill as REST shows it; time is unix seconds, cost and fee in quote currency."""

    ordertxid: str
    pair: str
    time: Decimal
    type: str
    price: Decimal
    cost: Decimal
    fee: Decimal
    vol: Decimal
    maker: bool = False
    trade_id: int = 0

    @property
    def quantity(self) -> Decimal:
        """Base currency, signed."""
        return self.vol if self.type == "buy" else -self.vol


class TradesHistory(Document, frozen=True):
    """Fills by their id; *count* of all pages."""

    trades: dict[str, TradeDocument]
    count: int = 0


class OrderWords(Document, frozen=True):
    """An order in Kraken's words."""

    order: str


class AddedOrder(Document, frozen=True):
    """What AddOrder answers; without ids where it only looked."""

    descr: OrderWords
    txid: tuple[str, ...] = ()


class CancelledOrder(Document, frozen=True):
    """How many orders a cancel meant, and whether that is still to come."""

    count: int
    pending: bool = False


class DeadMan(Document, frozen=True):
    """When the dead man's switch cancels everything; "0" for never."""

    currentTime: str  # noqa: N815 - Kraken's name
    triggerTime: str  # noqa: N815

    @property
    def armed(self) -> bool:
        """Whether it will cancel."""
        return self.triggerTime != "0"


class StreamToken(Document, frozen=True):
    """What opens a private stream; it shows nowhere."""

    token: str
    expires: int

    def __repr__(self) -> str:
        return f"StreamToken(expires={self.expires})"


class KeyInfo(Document, frozen=True):
    """What a key may do."""

    permissions: tuple[str, ...] = ()
    api_key_name: str = ""


Pairs = dict[str, AssetPair]
Balances = dict[str, Decimal]
Holdings = dict[str, Holding]
Orders = dict[str, OrderDocument]


def envelope(content: bytes) -> Envelope:
    """Read the outside of an answer.

    Raises:
        Unreadable: it is no JSON of Kraken's: a page of somebody else, cut off, or empty.
    """
    try:
        found = msgspec.json.decode(content, type=Envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"expected JSON of Kraken's, found {_said(content)}") from error
    if not found.error and not bytes(found.result):
        raise Unreadable("expected errors or a result in Kraken's answer, found neither")
    return found


def shaped(result: msgspec.Raw, shape: type[Read], endpoint: str) -> Read:
    """Read a result.

    Raises:
        Unreadable: it lacks something, or something is not of its type.
    """
    try:
        found = msgspec.json.decode(result, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ArithmeticError) as error:
        raise Unreadable(f"expected what {endpoint} of Kraken answers, found {error}") from error
    if not finite(found):
        raise Unreadable(f"expected numbers in what {endpoint} of Kraken answers, found one that is none")
    return found


def candles_of(result: msgspec.Raw, endpoint: str = "OHLC") -> CandlePage:
    """Read candles of one pair."""
    last, rows = _page(result, endpoint)
    return CandlePage(rows=shaped(rows, tuple[CandleRow, ...], endpoint), last=shaped(last, int, endpoint))


def trades_of(result: msgspec.Raw, endpoint: str = "Trades") -> TradePage:
    """Read trades of one pair."""
    last, rows = _page(result, endpoint)
    return TradePage(rows=shaped(rows, tuple[PublicTrade, ...], endpoint), last=shaped(last, str, endpoint))


def the_one(found: Mapping[str, Read], endpoint: str) -> Read:
    """Return the only entry of an answer about one pair, whatever name Kraken gave it."""
    if len(found) != 1:
        raise Unreadable(f"expected one pair in what {endpoint} of Kraken answers, found {len(found)}")
    return next(iter(found.values()))


def by_symbol(pairs: Pairs) -> dict[str, AssetPair]:
    """Return pairs under our names; those whose name is none of ours are left out."""
    found = {}
    for pair in pairs.values():
        try:
            found[pair.symbol] = pair
        except InputError:
            continue
    return found


def nanoseconds_of(seconds: Decimal) -> int:
    """Return unix seconds with a fraction as nanoseconds."""
    return int(seconds * NS)


def _page(result: msgspec.Raw, endpoint: str) -> tuple[msgspec.Raw, msgspec.Raw]:
    """Return what an answer says beside its one pair, and the pair's rows."""
    found = shaped(result, dict[str, msgspec.Raw], endpoint)
    rows = [value for name, value in found.items() if name != "last"]
    if "last" not in found or len(rows) != 1:
        raise Unreadable(f"expected one pair and `last` in what {endpoint} of Kraken answers, found {len(rows)} pairs")
    return found["last"], rows[0]


def finite(value: Any) -> bool:
    """Tell whether every decimal within a value is a number."""
    if isinstance(value, Decimal):
        return value.is_finite()
    if isinstance(value, msgspec.Struct):
        return all(finite(getattr(value, name)) for name in value.__struct_fields__)
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    return all(map(finite, value)) if isinstance(value, list | tuple) else True


def _said(content: bytes) -> str:
    if not content.strip():
        return "an empty body"
    return "a page of HTML" if content.lstrip().startswith(b"<") else f"{len(content)} bytes that are none"
