"""A made-up market: seeded order flow that keeps a two-sided book around a wandering price, and trades against it."""

import math
import random
from collections.abc import Container, Mapping
from decimal import Decimal
from typing import NamedTuple

from peak_trade.emulator.candles import KEPT, Candles
from peak_trade.emulator.exchange import MatchingEngine
from peak_trade.emulator.pairs import Pair
from peak_trade.emulator.quotes import CHANGES_PER_S, WORTH, QuoteLadder, arrivals
from peak_trade.emulator.rest import SPAN_MIN, MarketCandle

#: Volatility of the price for the square root of a second, and market orders a second, of each pair.
VOLATILITY, ORDERS_PER_S = 0.00005, 0.8
#: No price goes beyond this, quote currency.
HIGHEST = 1e7


class OpeningPast(NamedTuple):
    """The made-up time before a market opened for the first time: its seed, and when that was, nanoseconds UTC."""

    seed: int
    until: int


class SyntheticMarket:
    """Order flow of the pairs of an exchange; the same seed and the same steps give the same market."""

    def __init__(
        self, exchange: MatchingEngine, seed: int, now: int, candles: Mapping[str, Candles], past: OpeningPast | None = None
    ) -> None:
        self._exchange, self._old = exchange, past or OpeningPast(seed, now)
        self._chance = random.Random(seed)  # noqa: S311 - a market, not a secret
        self._now = now
        self._undrawn = list(candles.values())
        self._ladders: dict[str, QuoteLadder] = {}
        for name, listing in exchange.listings.items():
            candles[name].precede(lambda interval, pair=listing.pair: self._past(pair, interval))  # type: ignore[misc]
            self._ladders[name] = QuoteLadder(exchange, listing.pair, self._chance, float(listing.last))
            self._ladders[name].stand(now)

    def jump(self, pair: Pair, factor: float) -> None:
        """Move a pair's price at once; many jumps do not leave what a price can be."""
        lowest, ladder = float(pair.tick) * 1_000, self._ladders[pair.symbol]
        ladder.price = min(max(ladder.price * factor, lowest), HIGHEST)

    def step(self, now: int, halted: Container[str] = ()) -> None:
        """Let time pass up to a moment, nanoseconds; pairs that are halted stand still."""
        passed = max(now - self._now, 0) / 1e9
        self._now = now
        if self._undrawn:
            # What Ticker asks for, a pair at a time: the first who asks for all would keep everybody waiting.
            self._undrawn.pop().of(SPAN_MIN)
        for name, ladder in self._ladders.items():
            if name in halted:
                continue
            ladder.price *= math.exp(self._chance.gauss(0.0, VOLATILITY * math.sqrt(passed)))
            ladder.stand(now)
            ladder.stir(CHANGES_PER_S * passed, now)
            for _ in range(arrivals(self._chance, ORDERS_PER_S * passed)):
                volume = ladder.size()
                self._exchange.take(ladder.pair, volume, now, buys=self._chance.random() < 0.5)

    def _past(self, pair: Pair, interval: int) -> list[MarketCandle]:
        """Return candles of the time before the market opened, which end at its first price; the last is the running one."""
        chance = random.Random(f"{self._old.seed} {pair.symbol} {interval}")  # noqa: S311 - a market, not a secret
        step, price, rows, digits = interval * 60, float(pair.start), [], pair.price_decimals
        end = self._old.until // 1_000_000_000 // step * step
        worth = float(WORTH) / price * interval
        for number in range(KEPT):
            close = price
            price *= math.exp(chance.gauss(0.0, VOLATILITY * math.sqrt(step)))
            high, low = max(price, close) * 1.0002, min(price, close) * 0.9998
            opened, highest, lowest, closed, mean = (
                # The same as quantizing the float, and three times as fast: the first Ticker of all pairs waits for these.
                max(Decimal(f"{value:.{digits}f}"), pair.tick)
                for value in (price, high, low, close, (high + low) / 2)
            )
            volume = Decimal(f"{worth * math.exp(chance.gauss(0.0, 0.8)):.{pair.lot_decimals}f}")
            rows.append(MarketCandle(end - number * step, opened, highest, lowest, closed, mean, volume, 10 * interval))
        return rows[::-1]
