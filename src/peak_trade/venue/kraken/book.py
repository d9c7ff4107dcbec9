"""An order book kept from WebSocket v2, whole numbers of ticks and lots, with Kraken's checksum at each message.

Pure. Invariant: a book whose checksum was wrong shows nothing until its next snapshot.
"""

import zlib
from bisect import bisect_left, insort
from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

#: Levels of each side that the checksum covers, whatever the depth.
_CHECKED = 10


class PriceLevel(NamedTuple):
    """A level: quote currency, base currency."""

    price: Decimal
    quantity: Decimal


class _Side:
    """One side: prices in ticks, ascending, and the lots at each."""

    def __init__(self, *, best_last: bool) -> None:
        self.prices: list[int] = []
        self.lots: dict[int, int] = {}
        self._best_last = best_last

    def put(self, price: int, lots: int) -> None:
        if lots:
            if price not in self.lots:
                insort(self.prices, price)
            self.lots[price] = lots
        elif self.lots.pop(price, 0):
            del self.prices[bisect_left(self.prices, price)]

    def cut(self, depth: int) -> None:
        """Forget what lies below the depth: nobody says when it changes."""
        gone = self.prices[:-depth] if self._best_last else self.prices[depth:]
        for price in gone:
            del self.lots[price]
        self.prices = self.prices[-depth:] if self._best_last else self.prices[:depth]

    def best(self, count: int) -> list[tuple[int, int]]:
        prices = self.prices[: -count - 1 : -1] if self._best_last else self.prices[:count]
        return [(price, self.lots[price]) for price in prices]


class OrderBook:
    """The book of one pair to a depth.

    Args:
        price_decimals, lot_decimals: digits of the pair; levels are off them only where something is broken.
    """

    def __init__(self, symbol: str, depth: int, price_decimals: int, lot_decimals: int) -> None:
        self.symbol, self.depth = symbol, depth
        self._digits = (price_decimals, lot_decimals)
        self._asks, self._bids = _Side(best_last=False), _Side(best_last=True)
        self.valid = False

    def reset(self) -> None:
        """Show nothing until the next snapshot."""
        self.valid = False

    def replace(self, asks: Iterable[PriceLevel], bids: Iterable[PriceLevel], checksum: int) -> bool:
        """Take a snapshot instead of everything before; return whether its checksum is right."""
        self._asks, self._bids = _Side(best_last=False), _Side(best_last=True)
        return self._take(asks, bids, checksum)

    def update(self, asks: Iterable[PriceLevel], bids: Iterable[PriceLevel], checksum: int) -> bool:
        """Take changed levels in their order; return whether the book is right afterwards.

        Before a snapshot, and after a wrong checksum, nothing is taken and the answer is False.
        """
        return self.valid and self._take(asks, bids, checksum)

    def checksum(self) -> int:
        """Return the CRC32 of the best ten levels of each side: asks, then bids, digits without point and leading zeros."""
        best = [*self._asks.best(_CHECKED), *self._bids.best(_CHECKED)]
        return zlib.crc32("".join(f"{price}{lots}" for price, lots in best).encode())

    def asks(self, count: int = 10) -> list[PriceLevel]:
        """Return the lowest offers, best first; none while the book is not valid."""
        return self._shown(self._asks, count)

    def bids(self, count: int = 10) -> list[PriceLevel]:
        """Return the highest bids, best first; none while the book is not valid."""
        return self._shown(self._bids, count)

    def _shown(self, side: _Side, count: int) -> list[PriceLevel]:
        price, lot = self._digits
        best = side.best(count) if self.valid else []
        return [PriceLevel(Decimal(ticks).scaleb(-price), Decimal(lots).scaleb(-lot)) for ticks, lots in best]

    def _take(self, asks: Iterable[PriceLevel], bids: Iterable[PriceLevel], checksum: int) -> bool:
        price_digits, lot_digits = self._digits
        for side, levels in ((self._asks, asks), (self._bids, bids)):
            for price, quantity in levels:
                side.put(int(price.scaleb(price_digits)), int(quantity.scaleb(lot_digits)))
            side.cut(self.depth)
        self.valid = self.checksum() == checksum
        return self.valid
