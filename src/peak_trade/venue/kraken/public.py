"""Kraken's market data over REST, without a key. Questions are spaced, repeated a few times, and end."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from peak_trade.model.clock import nanoseconds
from peak_trade.venue.kraken import reading
from peak_trade.venue.kraken.gateway import (
    KRAKEN,
    PAUSE_S,
    TRIES,
    Answered,
    Failed,
    GatewayParts,
    ObservedCall,
    Unavailable,
    judged,
)
from peak_trade.venue.kraken.transport import HttpLine
from peak_trade.venue.kraken.wire import Fields, public_request

Parsed = TypeVar("Parsed")
#: Seconds between two questions; Kraken allows about one a second.
SPACE_S = 1.0


class PublicMarket:
    """Questions to one exchange about its market. Names of pairs are Kraken's: `XBTEUR`."""

    def __init__(self, parts: GatewayParts, base_url: str = KRAKEN, space_s: float = SPACE_S) -> None:
        self._parts, self._space_s = parts, space_s
        self._line = HttpLine(base_url, parts.timeouts, parts.transport)
        self._lock = asyncio.Lock()
        self._free_at = 0.0

    async def time(self) -> reading.ServerTime:
        """Return Kraken's clock."""
        return await self._shaped("Time", reading.ServerTime)

    async def skew_ns(self) -> int:
        """Return our clock minus Kraken's, nanoseconds; right to half a second and half of how long the call took."""
        before = nanoseconds(self._parts.clock.now())
        theirs = (await self.time()).unixtime * reading.NS + reading.NS // 2
        return (before + nanoseconds(self._parts.clock.now())) // 2 - theirs

    async def status(self) -> reading.SystemStatus:
        """Return what the exchange takes now."""
        return await self._shaped("SystemStatus", reading.SystemStatus)

    async def pairs(self, names: Sequence[str] = ()) -> dict[str, reading.AssetPair]:
        """Return pairs under our names; all of them unless some are named."""
        fields = [("pair", ",".join(names))] if names else []
        return reading.by_symbol(await self._shaped("AssetPairs", reading.Pairs, fields))

    async def ticker(self, pair: str) -> reading.PairTicker:
        """Return a pair's best prices."""
        found = await self._shaped("Ticker", dict[str, reading.PairTicker], [("pair", pair)])
        return reading.the_one(found, "Ticker")

    async def depth(self, pair: str, count: int = 100) -> reading.Depth:
        """Return a pair's book, up to 500 levels of each side."""
        found = await self._shaped("Depth", dict[str, reading.Depth], [("pair", pair), ("count", str(count))])
        return reading.the_one(found, "Depth")

    async def candles(self, pair: str, minutes: int, since_s: int = 0) -> reading.CandlePage:
        """Return candles after a moment in unix seconds: the newest 720 at most, and the running one always."""
        fields = [("pair", pair), ("interval", str(minutes)), ("since", str(since_s))]
        return await self._asked("OHLC", fields, reading.candles_of)

    async def trades(self, pair: str, after: str = "0") -> reading.TradePage:
        """Return at most 1,000 trades after a page's `last`."""
        return await self._asked("Trades", [("pair", pair), ("since", after)], reading.trades_of)

    async def close(self) -> None:
        """Close the connections."""
        await self._line.close()

    async def _shaped(self, endpoint: str, shape: type[Parsed], fields: Fields = ()) -> Parsed:
        return await self._asked(endpoint, fields, lambda result: reading.shaped(result, shape, endpoint))

    async def _asked(self, endpoint: str, fields: Fields, read: Callable[[msgspec.Raw], Parsed]) -> Parsed:
        """Ask until there is an answer, a few times.

        Raises:
            Unavailable: there is none.
        """
        code = words = ""
        for attempt in range(TRIES):
            if attempt:
                await self._parts.sleep(PAUSE_S * 2 ** (attempt - 1) * self._parts.chance.uniform(0.5, 1.5))
            async with self._lock:
                found = await self._once(endpoint, fields)
            if isinstance(found, Answered):
                try:
                    return read(found.result)
                except reading.Unreadable as error:
                    code, words = "unreadable", str(error)
                    continue
            code, words = found.code, found.words
            if not found.again:
                break
        raise Unavailable(code, f"expected an answer of Kraken's to {endpoint}, found: {words}")

    async def _once(self, endpoint: str, fields: Fields) -> Answered | Failed:
        clock = self._parts.clock
        if (wait := self._free_at - clock.elapsed_s()) > 0:
            await self._parts.sleep(wait)
        begun = clock.elapsed_s()
        self._free_at = begun + self._space_s
        found = judged(await self._line.exchange(public_request(endpoint, fields), b""))
        outcome, code = ("ok", "") if isinstance(found, Answered) else (found.verdict.name.lower(), found.code)
        self._parts.observe(ObservedCall(endpoint, clock.elapsed_s() - begun, outcome, code))
        return found
