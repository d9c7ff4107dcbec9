"""The made-up market and its candles: seeded, two-sided, fair to clients in its way, and without a memory that grows."""

import itertools
import random
from decimal import Decimal

import pytest

from peak_trade.emulator.accounts import MARKET
from peak_trade.emulator.candles import KEPT, Candles
from peak_trade.emulator.exchange import MatchingEngine
from peak_trade.emulator.market import SyntheticMarket
from peak_trade.emulator.orders import OrderStatus, OrderType, Print, Wish
from peak_trade.emulator.pairs import PAIRS
from peak_trade.emulator.quotes import FAR_LEVELS, LEVELS
from peak_trade.emulator.rest import INTERVALS, until

S = 1_000_000_000
START = 1_700_000_000 * S
SYMBOLS = ("BTC/EUR", "DOT/USD")


def a_market(seed=1):
    candles = {name: Candles() for name in SYMBOLS}
    engine = MatchingEngine(
        [PAIRS[name] for name in SYMBOLS], seed=3, told_print=lambda pair, one: candles[pair.symbol].add(one)
    )
    return engine, SyntheticMarket(engine, seed, START, candles), candles


def gone_through(seed, steps=200):
    engine, market, candles = a_market(seed)
    for number in range(1, steps + 1):
        market.step(START + number * S // 10)
    return engine, candles


def sums(engine):
    totals = {}
    for account in engine.accounts.by_name.values():
        for asset, amount in account.balances.items():
            totals[asset] = totals.get(asset, 0) + amount
    return totals


def test_the_same_seed_gives_the_same_market():
    """Every trade and every candle; another seed gives another."""
    prints = [list(gone_through(seed)[0].listings["BTC/EUR"].prints) for seed in (1, 1, 2)]

    assert prints[0] == prints[1] != prints[2]
    assert len(prints[0]) > 5
    assert gone_through(1)[1]["DOT/USD"].of(5) == gone_through(1)[1]["DOT/USD"].of(5)


def test_the_book_stays_two_sided_and_small():
    """After any step both sides are there, not crossed, with as many levels as the market quotes and no more."""
    engine, market, _ = a_market()
    for number in range(1, 300):
        market.step(START + number * S)
        for listing in engine.listings.values():
            assert listing.book.bids.best() < listing.book.asks.best()
            levels = [side.levels(1_000) for side in (listing.book.bids, listing.book.asks)]
            assert all(LEVELS <= len(side) <= LEVELS + FAR_LEVELS for side in levels)
            assert all(len(list(side.orders())) <= LEVELS + FAR_LEVELS for side in (listing.book.bids, listing.book.asks))


def test_a_step_touches_few_levels():
    """Most of a deep book stays as it is from one step to the next: a reader is told of a few levels, and of some always."""
    touched: set[object] = set()
    engine = MatchingEngine([PAIRS["BTC/EUR"]], touched=lambda _pair, buys, price: touched.add((buys, price)))
    market, counts = SyntheticMarket(engine, 1, START, {"BTC/EUR": Candles()}), []
    for number in range(1, 1_001):
        touched.clear()
        market.step(START + number * S // 10)
        counts.append(len(touched))

    assert 0.3 < sum(counts) / len(counts) < 4
    assert sum(count > 20 for count in counts) <= 5


@pytest.mark.parametrize("factor", [0.0001, 0.3, 3.0, 1_000.0])
def test_a_book_follows_a_jump(factor):
    """Wherever the price goes, the book is there after one step: two sides, not crossed, around the new price."""
    engine, market, _ = a_market()
    listing, pair = engine.listings["DOT/USD"], PAIRS["DOT/USD"]
    before = float(pair.start) * 10**pair.price_decimals
    market.jump(pair, factor)
    market.step(START + S)

    bid, ask = listing.book.bids.best(), listing.book.asks.best()
    assert bid < ask
    assert bid <= max(before * factor, 1_000) * 1.002
    assert ask >= max(before * factor, 1_000) * 0.998
    assert min(len(side.levels(200)) for side in (listing.book.bids, listing.book.asks)) >= LEVELS


def test_nothing_of_the_market_is_kept():
    """Its own orders and trades are in no list of orders, executions or ledgers, and money adds up to nothing."""
    engine, _ = gone_through(4)

    assert not engine.orders
    assert not engine.executions
    assert not engine.accounts.by_name[MARKET].ledger
    assert set(sums(engine).values()) == {0}


def test_a_price_that_goes_through_a_limit_fills_it():
    """The market does not stop at a client's order: it takes what is in its way, at the client's price or better."""
    engine, market, _ = a_market()
    engine.accounts.open("ann", at=START)
    before, pair = sums(engine), PAIRS["BTC/EUR"]
    best = Decimal(engine.listings["BTC/EUR"].book.asks.best()).scaleb(-1)
    orders = [
        engine.add("ann", Wish(pair=pair, buys=True, type=OrderType.LIMIT, volume=Decimal("0.001"), price=best - step), START)
        for step in (1, 5, 10)
    ]
    market.jump(pair, 0.99)
    market.step(START + S)

    assert {order.state for order in orders} == {OrderStatus.CLOSED}
    assert all(order.average == order.wish.price for order in orders)
    assert sums(engine) == before


@pytest.mark.parametrize("interval", INTERVALS)
def test_there_is_a_past(interval):
    """720 candles without a gap, the last one running, each of them possible."""
    _, _, candles = a_market()
    rows, step = candles["DOT/USD"].of(interval), interval * 60

    assert len(rows) == KEPT
    assert [row.at for row in rows] == list(range(rows[0].at, rows[0].at + KEPT * step, step))
    assert rows[-1].at == START // S // step * step
    assert all(0 < row.low <= min(row.open, row.close) <= max(row.open, row.close) <= row.high for row in rows)


def a_print(at, price, volume="1"):
    return Print(1, Decimal(price), Decimal(volume), True, True, at * S)


def test_candles_take_trades():
    """First, extremes, last, sum, mean by volume and count; a new interval begins a new candle."""
    candles = Candles()
    for at, price, volume in ((60, 10, 1), (61, 14, 3), (119, 8, 1), (120, 9, 1)):
        candles.add(a_print(at, price, volume))
    first, second = candles.of(1)

    assert first[:6] == (60, 10, 14, 8, 8, 12)
    assert (first.volume, first.trades) == (5, 3)
    assert (second.at, second.open) == (120, 9)
    assert len(candles.of(5)) == 1


def test_no_more_candles_than_kraken_has_are_kept():
    """720 of each interval, with a past or without."""
    _, _, candles = a_market()
    for minute in range(KEPT + 5):
        candles["DOT/USD"].add(a_print(START // S + minute * 60, 2))

    assert len(candles["DOT/USD"].of(1)) == KEPT
    assert candles["DOT/USD"].of(1)[-1].at == (START // S + (KEPT + 4) * 60) // 60 * 60
    assert len(candles["DOT/USD"].of(60)) == KEPT


def test_intervals_without_trades_have_candles():
    """A trade after a silence leaves no hole: still candles at the last close, with no volume, no mean and no trade."""
    candles = Candles()
    for at, price in ((60, 10), (250, 12)):
        candles.add(a_print(at, price))

    assert [(row.at, row.open, row.close, row.vwap, row.volume, row.trades) for row in candles.of(1)] == [
        (60, 10, 10, 10, 1, 1),
        (120, 10, 10, 0, 0, 0),
        (180, 10, 10, 0, 0, 0),
        (240, 12, 12, 12, 1, 1),
    ]


def test_the_past_reaches_to_the_first_trade():
    """Minutes between the past and the first trade are there, and a trade years later makes no more than 720 of them."""
    _, _, candles = a_market()
    candles["DOT/USD"].add(a_print(START // S + 600, 2))
    candles["BTC/EUR"].add(a_print(60, 2))
    candles["BTC/EUR"].add(a_print(START // S + 10**8, 2))
    rows = candles["DOT/USD"].of(1)

    assert {after.at - before.at for before, after in itertools.pairwise(rows)} == {60}
    assert len(rows) == len(candles["BTC/EUR"].of(1)) == KEPT


def test_a_long_silence_is_no_work():
    """Years without a trade give 720 still candles, made from the end."""
    candles = Candles()
    candles.add(a_print(60, 10))
    rows = until(candles.of(1), Decimal(1), 60, START // S)

    assert len(rows) == KEPT
    assert rows[-1].at == START // S // 60 * 60
    assert {row.close for row in rows} == {10}
    assert random.Random(1).choice(rows).trades == 0
