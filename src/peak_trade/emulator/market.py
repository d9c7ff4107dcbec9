"""A made-up market: seeded order flow that keeps a two-sided book around a wandering price, and trades against it."""

import math
import random
from collections import deque
from collections.abc import Container, Mapping
from decimal import Decimal

from peak_trade.emulator.book import Queued
from peak_trade.emulator.candles import KEPT, Candles
from peak_trade.emulator.exchange import MatchingEngine
from peak_trade.emulator.pairs import Pair
from peak_trade.emulator.rest import MarketCandle

#: Levels that the market keeps on each side, and how much of the price lies between two.
LEVELS, SPACING = 12, 0.0002
#: Volatility of the price for the square root of a second, and market orders a second, of each pair.
VOLATILITY, ORDERS_PER_S = 0.00005, 0.8
#: No price goes beyond this, quote currency.
HIGHEST = 1e7
#: What a typical order is worth, quote currency.
WORTH = 1_500.0


class SyntheticMarket:
    """Order flow of the pairs of an exchange; the same seed and the same steps give the same market."""

    def __init__(self, exchange: MatchingEngine, seed: int, now: int, candles: Mapping[str, Candles]) -> None:
        self._exchange, self._seed = exchange, seed
        self._chance = random.Random(seed)  # noqa: S311 - a market, not a secret
        self._mids = {name: float(listing.pair.start) for name, listing in exchange.listings.items()}
        self._quotes: dict[str, deque[Queued]] = {name: deque() for name in exchange.listings}
        self._now = now
        for name, listing in exchange.listings.items():
            candles[name].precede(lambda interval, pair=listing.pair: self._past(pair, interval, now))  # type: ignore[misc]
            self._requote(name, listing.pair)

    def jump(self, pair: Pair, factor: float) -> None:
        """Move a pair's price at once; many jumps do not leave what a price can be."""
        lowest = float(pair.tick) * 1_000
        self._mids[pair.symbol] = min(max(self._mids[pair.symbol] * factor, lowest), HIGHEST)

    def step(self, now: int, halted: Container[str] = ()) -> None:
        """Let time pass up to a moment, nanoseconds; pairs that are halted stand still."""
        passed = max(now - self._now, 0) / 1e9
        self._now = now
        for name, listing in self._exchange.listings.items():
            if name in halted:
                continue
            self._mids[name] *= math.exp(self._chance.gauss(0.0, VOLATILITY * math.sqrt(passed)))
            self._requote(name, listing.pair)
            for _ in range(self._arrivals(ORDERS_PER_S * passed)):
                volume = self._size(listing.pair)
                self._exchange.take(listing.pair, volume, now, buys=self._chance.random() < 0.5)

    def _requote(self, name: str, pair: Pair) -> None:
        """Withdraw all quotes and quote anew around the price; clients' orders in the way are taken."""
        quotes, scale = self._quotes[name], 10**pair.price_decimals
        for order in quotes:
            self._exchange.withdraw(pair, order)
        quotes.clear()
        mid = self._mids[name]
        for number in range(1, LEVELS + 1):
            for buys in (True, False):
                price = mid * (1 - SPACING * number if buys else 1 + SPACING * number)
                ticks = math.floor(price * scale) if buys else math.ceil(price * scale)
                lots = int(self._size(pair).scaleb(pair.lot_decimals)) * number
                if self._exchange.listings[name].book.crosses(buys=buys, price=ticks):
                    volume = Decimal(lots).scaleb(-pair.lot_decimals)
                    self._exchange.take(pair, volume, self._now, buys=buys, limit=ticks)
                elif (quoted := self._exchange.quote(pair, ticks, lots, buys=buys)) is not None:
                    quotes.append(quoted)

    def _size(self, pair: Pair) -> Decimal:
        base = WORTH / self._mids[pair.symbol] * math.exp(self._chance.gauss(0.0, 0.8))
        return max(Decimal(base).quantize(Decimal(1).scaleb(-pair.lot_decimals)), pair.ordermin)

    def _arrivals(self, expected: float) -> int:
        """Return a Poisson number (Knuth's method; expectations are small)."""
        limit, product, count = math.exp(-min(expected, 50.0)), self._chance.random(), 0
        while product > limit:
            product *= self._chance.random()
            count += 1
        return count

    def _past(self, pair: Pair, interval: int, now: int) -> list[MarketCandle]:
        """Return candles of the time before the market opened, which end at its first price; the last is the running one."""
        chance = random.Random(f"{self._seed} {pair.symbol} {interval}")  # noqa: S311 - a market, not a secret
        step, price, rows = interval * 60, float(pair.start), []
        end = now // 1_000_000_000 // step * step
        worth = float(WORTH) / price * interval
        for number in range(KEPT):
            close = price
            price *= math.exp(chance.gauss(0.0, VOLATILITY * math.sqrt(step)))
            high, low = max(price, close) * 1.0002, min(price, close) * 0.9998
            opened, highest, lowest, closed, mean = (
                max(Decimal(value).quantize(pair.tick), pair.tick) for value in (price, high, low, close, (high + low) / 2)
            )
            volume = Decimal(worth * math.exp(chance.gauss(0.0, 0.8))).quantize(Decimal(1).scaleb(-pair.lot_decimals))
            rows.append(MarketCandle(end - number * step, opened, highest, lowest, closed, mean, volume, 10 * interval))
        return rows[::-1]
