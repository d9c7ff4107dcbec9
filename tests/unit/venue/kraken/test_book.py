"""A book kept from the stream of the emulator, and what becomes of a damaged one."""

import json
import random
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.exchange import Rig

from peak_trade.venue.kraken.book import OrderBook, PriceLevel


def levels(found):
    return [PriceLevel(Decimal(one["price"]), Decimal(one["qty"])) for one in found]


def fed(rig, book):
    """Give a book what the stream said; return for each message whether it was right."""
    told = []
    for message in rig.got("book"):
        for one in message["data"]:
            act = book.replace if message["type"] == "snapshot" else book.update
            told.append(act(levels(one["asks"]), levels(one["bids"]), int(one["checksum"])))
    return told


def following(rig, depth=10):
    """Return a book that follows the pair."""
    book = OrderBook("BTC/USD", depth, 1, 8)
    rig.public = rig.quietly(private=False)
    asked = {"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USD"], "depth": depth}}
    rig.public.receive(json.dumps(asked), rig.now)
    assert fed(rig, book) == [True]
    return book


@pytest.mark.parametrize("depth", [10, 25, 100])
def test_it_is_the_exchanges_book(depth):
    """After every message of a moving market."""
    rig = Rig()
    book = following(rig, depth)

    seen = 0
    for _ in range(300):
        rig.passed()
        told = fed(rig, book)
        assert all(told)
        seen += len(told)

    theirs = rig.engine.listings["BTC/USD"].book
    for ours, side in ((book.asks(depth), theirs.asks), (book.bids(depth), theirs.bids)):
        best = side.levels(depth)
        assert ours == [(Decimal(one.price).scaleb(-1), Decimal(one.quantity).scaleb(-8)) for one in best]
    assert seen > 50
    assert len(book.asks(1000)) <= depth


def test_a_thin_book_is_a_book():
    """A snapshot of few orders and the whole one after it are each right by themselves: nothing is missed."""
    rig = Rig()
    book = following(rig)
    rig.fault("ws.book_corrupt", count=1, args={"mode": "thin"})

    told = []
    for _ in range(50):
        rig.passed()
        told += fed(rig, book)

    assert all(told)
    assert len(book.asks(10)) == len(book.bids(10)) == 10
    assert rig.logged()


@pytest.mark.parametrize("mode", ["checksum", "drop", "reorder"])
def test_damage_is_noticed(mode):
    """Within the next message that counts; then it shows nothing until a snapshot."""
    rig = Rig()
    book = following(rig)
    rig.fault("ws.book_corrupt", count=1, args={"mode": mode})

    told = []
    for _ in range(200):
        rig.passed()
        told += fed(rig, book)

    assert False in told
    assert not any(told[told.index(False) :])
    assert not book.valid
    assert (book.asks(), book.bids()) == ([], [])
    again = following(Rig())
    assert again.valid


@pytest.mark.parametrize("mode", ["zeros", "repeat", "thin"])
def test_harmless_oddities_are_none(mode):
    """Missing trailing zeros, a message that comes twice, and a book of few levels before the whole one change nothing."""
    rig = Rig()
    book = following(rig)
    rig.fault("ws.book_corrupt", count=50, args={"mode": mode})

    for _ in range(100):
        rig.passed()
        assert all(fed(rig, book))


def test_nothing_is_taken_before_a_snapshot():
    """An update of nothing is nothing."""
    book = OrderBook("BTC/USD", 10, 1, 8)

    assert not book.update([PriceLevel(Decimal("1.0"), Decimal(1))], [], 0)
    assert not book.valid


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), depth=st.sampled_from([1, 3, 10, 25]))
def test_it_is_the_naive_book(seed, depth):
    """Any changes, against a book that is sorted and cut anew each time."""
    chance = random.Random(seed)
    book, naive = OrderBook("X/Y", depth, 1, 2), {"a": {}, "b": {}}
    book.replace([], [], 0)
    for _ in range(60):
        told = {"a": [], "b": []}
        for side in "ab":
            for _ in range(chance.randrange(4)):
                price = Decimal(chance.randrange(1, 60)).scaleb(-1)
                quantity = Decimal(chance.choice([0, 0, 1, 250, 1234])).scaleb(-2)
                told[side].append(PriceLevel(price, quantity))
                naive[side].pop(price, None)
                if quantity:
                    naive[side][price] = quantity
            best = sorted(naive[side], reverse=side == "b")[:depth]
            naive[side] = {price: naive[side][price] for price in best}
        book._take(told["a"], told["b"], 0)
        book.valid = True
        assert book.asks(99) == list(naive["a"].items())
        assert book.bids(99) == list(naive["b"].items())
