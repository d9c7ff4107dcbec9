"""The market's own orders in a book: a ladder at fixed prices, mended where the price moved and left alone elsewhere."""

import math
import random
from decimal import Decimal

from peak_trade.emulator.book import Queued
from peak_trade.emulator.exchange import MatchingEngine
from peak_trade.emulator.pairs import Pair

#: Levels of each side that are one gap apart, those beyond that are FAR gaps apart, and what a gap is of the price.
LEVELS, FAR_LEVELS, FAR, SPACING = 100, 40, 10, 0.0002
#: No level beyond the first so many grows any more: a far level is no larger than so many typical orders.
GROWING = 40
#: What a typical order is worth, quote currency.
WORTH = 1_500.0
#: Orders of the market's that come or go in a second besides, and most in one step; how far from the best they typically are.
CHANGES_PER_S, CHANGES_MAX, NEARNESS = 10.0, 5, 8.0


class QuoteLadder:
    """The market's quotes of one pair.

    Quotes stand at whole multiples of a gap, which is chosen by the price and stays until that is far away. Invariant: no quote
    is on the wrong side of the price once `stand` has returned, and clients' orders that were in the way are taken.
    """

    def __init__(self, exchange: MatchingEngine, pair: Pair, chance: random.Random, price: float) -> None:
        """Begin with no quotes.

        Args:
            price: the middle, quote currency.
        """
        self._exchange, self.pair, self._chance = exchange, pair, chance
        self._book = exchange.listings[pair.symbol].book
        self._quotes: dict[bool, dict[int, Queued]] = {True: {}, False: {}}
        self._wanted: dict[bool, list[int]] = {True: [], False: []}
        self._best: dict[bool, int] = {True: 0, False: 0}
        self._gap = 0
        self.price = price

    def stand(self, now: int) -> None:
        """Have quotes around the price: those are withdrawn that it reached, and those are made that are missing."""
        ticks = self.price * 10**self.pair.price_decimals
        # A gap of one tick is the smallest there is.
        if not (self._gap / 2 <= ticks * SPACING or self._gap == 1) or ticks * SPACING > self._gap * 2:
            self._regap(ticks)
        place = ticks / self._gap
        best = {True: math.ceil(place - 0.5) - 1, False: math.floor(place + 0.5) + 1}
        moved = [buys for buys in (True, False) if best[buys] != self._best[buys]]
        self._best = best
        for buys in moved:
            self._wanted[buys] = self._prices(best[buys], buys=buys)
            kept = set(self._wanted[buys])
            for price in [price for price in self._quotes[buys] if price not in kept]:
                self._exchange.withdraw(self.pair, self._quotes[buys].pop(price))
        for buys in (True, False):
            first = self._wanted[buys][:1]
            # Trades take the best quote first: where it is whole, all others are.
            if buys in moved or any(price not in self._quotes[buys] or not self._quotes[buys][price].left for price in first):
                self._mend(now, buys=buys)

    def _regap(self, ticks: float) -> None:
        """Begin anew with a gap that fits the price."""
        self._gap = max(1, round(ticks * SPACING))
        self._best = {True: -1, False: -1}
        for quotes in self._quotes.values():
            for order in quotes.values():
                self._exchange.withdraw(self.pair, order)
            quotes.clear()

    def _prices(self, best: int, *, buys: bool) -> list[int]:
        """Return the prices of a side's quotes in ticks, best first."""
        sign = -1 if buys else 1
        near = [best + sign * number for number in range(LEVELS)]
        beyond = near[-1] // FAR * FAR if buys else -(-near[-1] // FAR) * FAR
        far = [beyond + sign * FAR * number for number in range(1, FAR_LEVELS + 1)]
        return [place * self._gap for place in (*near, *far) if place > 0]

    def _mend(self, now: int, *, buys: bool) -> None:
        """Make the quotes of a side that are missing, best first."""
        quotes = self._quotes[buys]
        for number, price in enumerate(self._wanted[buys], 1):
            if price not in quotes or not quotes[price].left:
                self._quote(number, price, now, buys=buys)

    def _quote(self, number: int, price: int, now: int, *, buys: bool) -> None:
        quotes, lots = self._quotes[buys], self._lots(min(number, GROWING))
        quotes.pop(price, None)
        if self._book.crosses(buys=buys, price=price):
            self._exchange.take(self.pair, Decimal(lots).scaleb(-self.pair.lot_decimals), now, buys=buys, limit=price)
        quoted = self._exchange.quote(self.pair, price, lots, buys=buys)
        if quoted is not None:
            quotes[price] = quoted

    def stir(self, expected: float, now: int) -> None:
        """Let a few orders of others come and go: some levels, rather near ones, get another quantity."""
        for _ in range(min(arrivals(self._chance, expected), CHANGES_MAX)):
            buys, number = self._chance.random() < 0.5, int(self._chance.expovariate(1 / NEARNESS))
            wanted = self._wanted[buys]
            if number < len(wanted) and (order := self._quotes[buys].get(wanted[number])) is not None and order.left:
                self._exchange.withdraw(self.pair, order)
                self._quote(number + 1, wanted[number], now, buys=buys)

    def clear(self, price: int) -> None:
        """Withdraw the quotes at a price, ticks, and those between it and the middle, on both sides of it."""
        for buys, quotes in self._quotes.items():
            for level in self._wanted[buys]:
                if level < price if buys else level > price:
                    break
                if level in quotes:
                    self._exchange.withdraw(self.pair, quotes.pop(level))

    def size(self) -> Decimal:
        """Return what somebody may trade at once, base currency."""
        base = WORTH / self.price * math.exp(self._chance.gauss(0.0, 0.8))
        return max(Decimal(base).quantize(Decimal(1).scaleb(-self.pair.lot_decimals)), self.pair.ordermin)

    def _lots(self, number: int) -> int:
        return int(self.size().scaleb(self.pair.lot_decimals)) * number


def arrivals(chance: random.Random, expected: float) -> int:
    """Return a Poisson number (Knuth's method; expectations are small)."""
    limit, product, count = math.exp(-min(expected, 50.0)), chance.random(), 0
    while product > limit:
        product *= chance.random()
        count += 1
    return count
