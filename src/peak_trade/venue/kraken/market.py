"""Kraken's market as a session follows it: its pairs as our instruments, its candles as bars, its book."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Self

from peak_trade.model.bar import Timeframe
from peak_trade.model.errors import InputError
from peak_trade.model.instrument import Instrument, parse_symbol
from peak_trade.model.order import Candle, MarketBar
from peak_trade.venue.kraken.public import PublicMarket
from peak_trade.venue.kraken.reading import NS, AssetPair
from peak_trade.venue.testnet import BookLevel, OrderBook

#: Lengths of candles, minutes.
MINUTES = (1, 5, 15, 30, 60, 240, 1_440, 10_080, 21_600)
#: Levels of each side of the book that are asked for.
DEPTH = 100


class KrakenMarket:
    """The pairs of one exchange, with candles of one length."""

    def __init__(self, public: PublicMarket, timeframe: Timeframe) -> None:
        """Take who asks.

        Raises:
            InputError: the exchange has no candles of that length.
        """
        if timeframe.seconds % 60 or timeframe.seconds // 60 not in MINUTES:
            lengths = ", ".join(Timeframe.of_seconds(60 * minutes).label for minutes in MINUTES)
            raise InputError(f"expected a timeframe that Kraken has ({lengths}), found {timeframe.label}; choose one")
        self._public, self._timeframe = public, timeframe
        self.pairs: dict[str, AssetPair] = {}

    async def __aenter__(self) -> Self:
        """Begin; nothing is asked yet."""
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._public.close()

    async def pair(self, symbol: str) -> AssetPair:
        """Return what the exchange says of a pair; asked once for all pairs.

        Raises:
            InputError: it does not have it.
            Unavailable: it does not answer.
        """
        name = parse_symbol(symbol)
        if name not in self.pairs:
            every = await self._public.pairs()
            if name not in every:
                raise InputError(f"expected a pair that the exchange has, found {name}; choose another")
            self.pairs |= every
        return self.pairs[name]

    async def instrument(self, symbol: str) -> Instrument:
        """Return a pair with the steps that the exchange lists.

        Raises:
            InputError: it does not have it, or takes no orders in it now.
            Unavailable: it does not answer.
        """
        pair = await self.pair(symbol)
        if pair.status != "online":
            raise InputError(
                f"expected {pair.symbol} to be online at the exchange, found {pair.status}; wait, or choose another pair"
            )
        return Instrument(
            symbol=pair.symbol,
            tick_size=pair.tick_size,
            lot_step=pair.lot_step,
            min_quantity=pair.ordermin,
            min_notional=pair.costmin,
        )

    async def candles(self, symbol: str, after_ns: int) -> Sequence[Candle]:
        """Return the candles that open after a moment, nanoseconds UTC, oldest first, the running one last.

        Raises:
            Unavailable: the exchange does not answer.
        """
        pair, step_ns = await self.pair(symbol), self._timeframe.step_ns
        page = await self._public.candles(pair.altname, self._timeframe.seconds // 60, max(0, after_ns // NS))
        found = []
        for row in page.rows:
            prices = (float(value) for value in (row.open, row.high, row.low, row.close, row.volume))
            bar = MarketBar(pair.symbol, row.at * NS, step_ns, *prices)
            if bar.opened_ns > after_ns:
                found.append(Candle(bar, over=row.at <= page.last, traded=row.trades > 0))
        return found

    async def book(self, symbol: str) -> OrderBook:
        """Return the present book.

        Raises:
            Unavailable: the exchange does not answer.
        """
        found = await self._public.depth((await self.pair(symbol)).altname, DEPTH)
        bids, asks = ([BookLevel(level.price, level.quantity) for level in side] for side in (found.bids, found.asks))
        return OrderBook(bids=bids, asks=asks)

    async def now_ns(self) -> int:
        """Return the exchange's present, nanoseconds UTC, to the second.

        Raises:
            Unavailable: it does not answer.
        """
        return (await self._public.time()).unixtime * NS

    async def taker_fee(self, symbol: str) -> Decimal:
        """Return the fee of a taker without any volume, fraction of the filled notional.

        Raises:
            Unavailable: the exchange does not answer.
        """
        return (await self.pair(symbol)).fees[0].per_cent / 100
