"""The order book: priority, sums, and the checksum against one built from formatted text, as a client builds it."""

import zlib
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.emulator.book import Book, Level, Queued

often = settings(max_examples=200, derandomize=True, database=None, deadline=None)
quotes = st.lists(st.tuples(st.booleans(), st.integers(1, 40), st.integers(1, 10**12)), max_size=60)


def a_book(orders):
    """Return a book of bids up to 500 and asks from 501 on, prices counted from there outwards."""
    book = Book()
    for number, (buys, distance, quantity) in enumerate(orders):
        book.rest(Queued(str(number), "one", buys, 501 - distance if buys else 500 + distance, quantity))
    return book


def text_checksum(book, price_decimals, lot_decimals):
    """Return the checksum that a client computes from prices and quantities written with all their decimals."""
    digits = ""
    for side in (book.asks, book.bids):
        for level in side.levels(10):
            for value, decimals in ((level.price, price_decimals), (level.quantity, lot_decimals)):
                written = f"{Decimal(value) / 10**decimals:.{decimals}f}"
                digits += written.replace(".", "").lstrip("0")
    return zlib.crc32(digits.encode("ascii")) & 0xFFFFFFFF


@often
@given(quotes, st.integers(0, 5))
def test_the_checksum_is_the_clients(orders, price_decimals):
    """Whatever the book and the pair's digits, both ways of computing it agree."""
    book = a_book(orders)

    assert book.checksum() == text_checksum(book, price_decimals, 8)


def test_the_checksum_of_an_empty_book():
    """No levels: the CRC of nothing."""
    assert Book().checksum() == 0


@often
@given(quotes)
def test_levels_are_sums_of_orders(orders):
    """Best first, each the sum of what rests there."""
    book = a_book(orders)
    for buys in (True, False):
        sums = {}
        for order in book.side(buys=buys).orders():
            sums[order.price] = sums.get(order.price, 0) + order.left
        assert book.side(buys=buys).levels(100) == [Level(price, sums[price]) for price in sorted(sums, reverse=buys)]
        assert book.side(buys=buys).best() == (next(iter(sums)) if sums else None)


@often
@given(quotes, st.data())
def test_what_is_taken_out_is_gone(orders, data):
    """Orders removed in any order leave sums and levels right, down to an empty book."""
    book = a_book(orders)
    left = [*book.bids.orders(), *book.asks.orders()]
    while left:
        book.remove(left.pop(data.draw(st.integers(0, len(left) - 1))))
        assert sorted(map(id, left)) == sorted(map(id, [*book.bids.orders(), *book.asks.orders()]))
        assert sum(order.left for order in left) == sum(
            level.quantity for side in (book.bids, book.asks) for level in side.levels(100)
        )


def test_the_best_and_oldest_is_met_first():
    """Price, then time."""
    book = a_book([(False, 2, 5), (False, 1, 6), (False, 1, 7), (True, 1, 9)])

    assert [order.name for order in book.facing(buys=True, price=None)] == ["1", "2", "0"]
    assert [order.name for order in book.facing(buys=True, price=501)] == ["1", "2"]
    assert list(book.facing(buys=True, price=500)) == []
    assert [order.name for order in book.facing(buys=False, price=500)] == ["3"]


def test_a_hit_takes_at_most_what_there_is():
    """A part leaves the rest in its place; all of it ends the level."""
    book = a_book([(False, 1, 6), (False, 1, 7)])
    first, second = book.asks.orders()

    assert book.hit(first, 4).quantity == 4
    assert book.asks.first(501) is first
    assert book.hit(first, 4).quantity == 2
    assert book.asks.first(501) is second
    assert book.hit(second, 100).quantity == 7
    assert book.asks.best() is None


def test_crossing_is_touching():
    """An order at the other side's best price would trade, one tick away it would not."""
    book = a_book([(False, 1, 1), (True, 1, 1)])

    assert [book.crosses(buys=True, price=price) for price in (500, 501)] == [False, True]
    assert [book.crosses(buys=False, price=price) for price in (501, 500)] == [False, True]
