"""Kraken's market as it happens: candles, books with their checksums, and trades; decimals, times in nanoseconds UTC."""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from peak_trade.model.clock import nanoseconds
from peak_trade.venue.kraken.book import OrderBook, PriceLevel
from peak_trade.venue.kraken.executions import Stamp
from peak_trade.venue.kraken.reading import AssetPair
from peak_trade.venue.kraken.stream import (
    PUBLIC_STREAM,
    KrakenStream,
    LineDead,
    LineNews,
    LineState,
    StreamMessage,
    StreamParts,
    Topic,
    decoded,
)

#: How often in a row a book is asked for anew on one connection.
MENDS_MAX = 3


class _Candle(msgspec.Struct, frozen=True):
    symbol: str
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades: int
    interval_begin: Stamp
    interval: int


class _Level(msgspec.Struct, frozen=True):
    price: Decimal
    qty: Decimal


class _BookPart(msgspec.Struct, frozen=True):
    symbol: str
    checksum: int
    asks: tuple[_Level, ...] = ()
    bids: tuple[_Level, ...] = ()


class _Print(msgspec.Struct, frozen=True):
    symbol: str
    side: str
    price: Decimal
    qty: Decimal
    trade_id: int
    timestamp: Stamp


class _System(msgspec.Struct, frozen=True):
    system: str


class CandleNews(NamedTuple):
    """A candle; *closed*: another has begun after it, so that it changes no more. No message says so before that."""

    symbol: str
    minutes: int
    opened_ns: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades: int
    closed: bool


class BookNews(NamedTuple):
    """A book changed; it shows nothing while it is not valid."""

    book: OrderBook


class TradeNews(NamedTuple):
    """A trade between anybody; *quantity* is negative where the taker sold."""

    symbol: str
    price: Decimal
    quantity: Decimal
    number: int
    at_ns: int


class SystemNews(NamedTuple):
    """What the exchange takes now: `online`, `maintenance`, `cancel_only` or `post_only`."""

    system: str


MarketNews = CandleNews | BookNews | TradeNews | SystemNews


def candles_topic(symbol: str, minutes: int = 1, stale_s: float = 0.0) -> Topic:
    """Return what to follow for candles; they come with trades only, so a quiet pair is silent."""
    return Topic("ohlc", symbol, (("interval", minutes),), stale_s)


def book_topic(symbol: str, depth: int = 10, stale_s: float = 30.0) -> Topic:
    """Return what to follow for a book of 10, 25, 100, 500 or 1,000 levels."""
    return Topic("book", symbol, (("depth", depth),), stale_s)


def trades_topic(symbol: str, stale_s: float = 0.0) -> Topic:
    """Return what to follow for trades."""
    return Topic("trade", symbol, (), stale_s)


class MarketStream(KrakenStream):
    """The public stream."""

    def __init__(
        self,
        topics: Iterable[Topic],
        pairs: Mapping[str, AssetPair],
        tell: Callable[[MarketNews], None],
        parts: StreamParts,
        url: str = PUBLIC_STREAM,
    ) -> None:
        """Make ready; nothing is dialled yet.

        Args:
            pairs: by symbol; books need their digits.
            tell: told of everything, in the stream's own turn.
        """
        wanted = tuple(topics)
        super().__init__(url, wanted, parts)
        self._tell = tell
        self._topics = {(topic.channel, topic.symbol, _option(topic)): topic for topic in wanted}
        self.books = {
            topic.symbol: OrderBook(
                topic.symbol, _option(topic), pairs[topic.symbol].pair_decimals, pairs[topic.symbol].lot_decimals
            )
            for topic in wanted
            if topic.channel == "book"
        }
        self._running: dict[tuple[str, int], CandleNews] = {}
        self._numbers: dict[str, int] = {}
        self._mended: dict[str, int] = {}

    async def _prepare(self) -> dict[str, Any]:
        self._mended.clear()
        for book in self.books.values():
            book.reset()
        return {}

    async def _take(self, message: StreamMessage, _whole: bytes) -> Topic | None:
        match message.channel:
            case "ohlc":
                return self._candles(decoded(message.data, tuple[_Candle, ...]), snapshot=message.type == "snapshot")
            case "book":
                return await self._book(decoded(message.data, tuple[_BookPart, ...]), snapshot=message.type == "snapshot")
            case "trade":
                return self._trades(decoded(message.data, tuple[_Print, ...]))
            case "status":
                for one in decoded(message.data, tuple[_System, ...]):
                    self._tell(SystemNews(one.system))
        return None

    def _candles(self, rows: tuple[_Candle, ...], *, snapshot: bool) -> Topic | None:
        found = sorted(map(_news, rows), key=lambda one: one.opened_ns)
        for candle in found:
            key = (candle.symbol, candle.minutes)
            before = self._running.get(key)
            if before is None or candle.opened_ns >= before.opened_ns:
                if before is not None and candle.opened_ns > before.opened_ns:
                    self._closed(before, oldest=found[0].opened_ns, snapshot=snapshot)
                self._running[key] = candle
                self._tell(candle)
        return self._topics.get(("ohlc", found[0].symbol, found[0].minutes)) if found else None

    def _closed(self, candle: CandleNews, *, oldest: int, snapshot: bool) -> None:
        """Tell that a candle is complete, unless its last trades may have been missed."""
        if snapshot and oldest > candle.opened_ns:
            words = f"candles from {candle.opened_ns} on were missed"
            self._parts.line(LineNews(LineState.GAP, f"ohlc {candle.symbol}", words))
        else:
            self._tell(candle._replace(closed=True))

    async def _book(self, parts: tuple[_BookPart, ...], *, snapshot: bool) -> Topic | None:
        heard = None
        for part in parts:
            book = self.books.get(part.symbol)
            topic = self._topics.get(("book", part.symbol, book.depth)) if book else None
            if book is None or topic is None:
                continue
            if not snapshot and not book.valid:
                # Of the subscription before, or its snapshot was lost on the way.
                if self._answers(topic):
                    await self._mend(topic, "there was no snapshot")
                continue
            asks = [PriceLevel(level.price, level.qty) for level in part.asks]
            bids = [PriceLevel(level.price, level.qty) for level in part.bids]
            right = book.replace(asks, bids, part.checksum) if snapshot else book.update(asks, bids, part.checksum)
            self._tell(BookNews(book))
            if right:
                heard = topic
                self._mended[part.symbol] = 0 if not snapshot else self._mended.get(part.symbol, 0)
            else:
                await self._mend(topic, "the checksum is wrong")
        return heard

    async def _mend(self, topic: Topic, words: str) -> None:
        """Subscribe to a book anew; give the line up where that was done several times in a row.

        Raises:
            LineDead: it was.
        """
        self._parts.line(LineNews(LineState.BROKEN, str(topic), words))
        self._mended[topic.symbol] = self._mended.get(topic.symbol, 0) + 1
        if self._mended[topic.symbol] > MENDS_MAX:
            raise LineDead(f"{topic} is wrong again and again")
        await self._again(topic, {})

    def _trades(self, prints: tuple[_Print, ...]) -> Topic | None:
        for one in prints:
            if one.trade_id > self._numbers.get(one.symbol, -1):
                self._numbers[one.symbol] = one.trade_id
                quantity = one.qty if one.side == "buy" else -one.qty
                self._tell(TradeNews(one.symbol, one.price, quantity, one.trade_id, nanoseconds(one.timestamp)))
        return self._topics.get(("trade", prints[0].symbol, 0)) if prints else None


def _option(topic: Topic) -> int:
    return next((value for name, value in topic.params if name in ("interval", "depth")), 0)


def _news(row: _Candle) -> CandleNews:
    return CandleNews(
        symbol=row.symbol,
        minutes=row.interval,
        opened_ns=nanoseconds(row.interval_begin),
        open=row.open,
        high=row.high,
        low=row.low,
        close=row.close,
        volume=row.volume,
        trades=row.trades,
        closed=False,
    )
