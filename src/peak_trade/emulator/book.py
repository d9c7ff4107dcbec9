"""A limit order book with price-time priority, in whole ticks and lots. Pure.

Prices count ticks (`10^-price_decimals`), quantities count lots (`10^-lot_decimals`): integers, so that the checksum and every
level are exact. Invariant: the best bid is below the best ask; what crosses is taken before it rests.
"""

import zlib
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

#: Levels of each side in a checksum, however deep a reader's book is (docs.kraken.com, book checksum v2).
CHECKSUM_LEVELS = 10


@dataclass(slots=True, eq=False)
class Queued:
    """An order in the book: its name, whose it is, what is left of it there, and what an iceberg does not show yet.

    A client's have a *turn*, which grows with each order that comes to rest.
    """

    name: str
    account: str
    buys: bool
    price: int
    left: int
    hidden: int = 0
    turn: int = 0


class Match(NamedTuple):
    """A part of a resting order is taken."""

    maker: Queued
    price: int
    quantity: int


class Level(NamedTuple):
    """All quantity at one price."""

    price: int
    quantity: int


class BookSide:
    """One side of a book, best price first."""

    def __init__(self, *, buys: bool) -> None:
        self._sign = -1 if buys else 1
        self._keys: list[int] = []  # the price times the sign, ascending: the best is first
        self._queues: dict[int, deque[Queued]] = {}
        self._sums: dict[int, int] = {}

    def best(self) -> int | None:
        """Return the best price."""
        return self._keys[0] * self._sign if self._keys else None

    def add(self, order: Queued) -> None:
        """Put an order behind all others of its price."""
        queue = self._queues.get(order.price)
        if queue is None:
            queue = self._queues[order.price] = deque()
            self._sums[order.price] = 0
            insort(self._keys, order.price * self._sign)
        queue.append(order)
        self._sums[order.price] += order.left

    def remove(self, order: Queued) -> None:
        """Take an order out."""
        self._queues[order.price].remove(order)
        self._shrink(order.price, order.left)

    def lessen(self, order: Queued, quantity: int) -> None:
        """Make an order smaller; it keeps its place."""
        order.left -= quantity
        self._shrink(order.price, quantity)

    def first(self, price: int) -> Queued:
        """Return the order that is next at a price."""
        return self._queues[price][0]

    def quantity(self, price: int) -> int:
        """Return all quantity at a price."""
        return self._sums.get(price, 0)

    def levels(self, depth: int) -> list[Level]:
        """Return the best levels."""
        return [Level(key * self._sign, self._sums[key * self._sign]) for key in self._keys[:depth]]

    def orders(self) -> Iterator[Queued]:
        """Yield every order, best price first, oldest first."""
        for key in self._keys:
            yield from self._queues[key * self._sign]

    def _shrink(self, price: int, quantity: int) -> None:
        self._sums[price] -= quantity
        queue = self._queues[price]
        if queue and queue[0].left == 0:
            queue.popleft()
        if not queue:
            del self._queues[price], self._sums[price]
            del self._keys[bisect_left(self._keys, price * self._sign)]


class Book:
    """The orders of one pair."""

    def __init__(self) -> None:
        self.bids, self.asks = BookSide(buys=True), BookSide(buys=False)

    def side(self, *, buys: bool) -> BookSide:
        """Return the side on which an order of that direction rests."""
        return self.bids if buys else self.asks

    def crosses(self, *, buys: bool, price: int) -> bool:
        """Tell whether an order at that price would trade at once."""
        best = self.side(buys=not buys).best()
        return best is not None and (best <= price if buys else best >= price)

    def facing(self, *, buys: bool, price: int | None) -> Iterator[Queued]:
        """Yield the resting orders that an order at that price would meet, in turn; None is any price.

        The book may change between two of them only after the last one that is wanted.
        """
        for order in self.side(buys=not buys).orders():
            if price is not None and (order.price > price if buys else order.price < price):
                return
            yield order

    def hit(self, maker: Queued, quantity: int) -> Match:
        """Take that much of a resting order, which is the next of its price, or all of it where it is less."""
        part = min(quantity, maker.left)
        self.side(buys=maker.buys).lessen(maker, part)
        return Match(maker, maker.price, part)

    def rest(self, order: Queued) -> None:
        """Put what is left of an order into the book."""
        self.side(buys=order.buys).add(order)

    def remove(self, order: Queued) -> None:
        """Take an order out."""
        self.side(buys=order.buys).remove(order)

    def checksum(self, depth: int = CHECKSUM_LEVELS) -> int:
        """Return the CRC32 of the best ten levels of each side, or fewer: asks, then bids, digits without point and zeros.

        Each level's price and quantity are written whole, so neither has leading zeros.
        """
        levels = [*self.asks.levels(depth), *self.bids.levels(depth)]
        return zlib.crc32("".join(f"{level.price}{level.quantity}" for level in levels).encode())
