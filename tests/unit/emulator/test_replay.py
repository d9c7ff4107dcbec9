"""Recorded trades and bars played again: at their price with their volume, through clients' orders, and with a past."""

import itertools
from decimal import Decimal

import numpy as np
import pytest

from peak_trade.emulator.candles import Candles
from peak_trade.emulator.exchange import MatchingEngine
from peak_trade.emulator.orders import OrderStatus, OrderType, Wish
from peak_trade.emulator.pairs import PAIRS
from peak_trade.emulator.replay import Recording, ReplayMarket, beginning, shift_of, walked
from peak_trade.model.errors import InputError

S = 1_000_000_000
PAST = 1_500_000_000 * S
START = 1_700_000_040 * S
PAIR = PAIRS["BTC/EUR"]


def some_trades(rows, buys=None):
    """Return trades of seconds after PAST, price, volume."""
    at, price, volume = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    columns = {"price": price, "volume": volume} | ({} if buys is None else {"buys": np.array(buys, dtype=np.float64)})
    return Recording(symbol="BTC/EUR", at=PAST + at.astype(np.int64) * S, step=0, columns=columns)


def some_bars(rows, step=60):
    """Return bars of open, high, low, close, volume, one after the other."""
    names = ("open", "high", "low", "close", "volume")
    columns = {name: np.array(column, dtype=np.float64) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    at = PAST + np.arange(len(rows), dtype=np.int64) * step * S
    return Recording(symbol="BTC/EUR", at=at, step=step * S, columns=columns)


class Replay:
    """A replay, with the trades it made and how often it said that it was over."""

    def __init__(self, recording, begin=None):
        self.made, self.ended = [], []
        self.candles = {"BTC/EUR": Candles()}
        self.engine = MatchingEngine([PAIR], seed=3, told_print=self.hear)
        self.engine.accounts.open("ann", at=START)
        begin = beginning([recording], begin)
        self.shift = shift_of([recording], begin, START)
        self.market = ReplayMarket(
            self.engine, [recording], START - self.shift, self.shift, START, 1, self.candles, self.ended.append
        )
        self.now = START

    def hear(self, pair, one):
        self.candles[pair.symbol].add(one)
        self.made.append(one)

    def go_on(self, seconds, step=1, halted=()):
        for _ in range(seconds // step):
            self.now += step * S
            self.market.step(self.now, halted)

    def order(self, price, *, buys, volume="0.3", display="0"):
        kind = OrderType.ICEBERG if float(display) else OrderType.LIMIT
        told = {"volume": Decimal(volume), "price": Decimal(price), "display": Decimal(display)}
        wish = Wish(pair=PAIR, buys=buys, type=kind, **told)
        return self.engine.add("ann", wish, self.now)

    @property
    def book(self):
        return self.engine.listings["BTC/EUR"].book


def sums(engine):
    totals = {}
    for account in engine.accounts.by_name.values():
        for asset, amount in account.balances.items():
            totals[asset] = totals.get(asset, 0) + amount
    return set(totals.values())


def test_trades_are_made_as_recorded():
    """Each at its price with its volume and its side, at its time shifted by whole minutes; then the market stands still."""
    rows = [(number * 7, 100 + number % 5, 0.25) for number in range(40)]
    replay = Replay(some_trades(rows, [number % 3 == 0 for number in range(40)]), begin=PAST)
    replay.go_on(300)

    assert [float(one.price) for one in replay.made] == [price for _, price, _ in rows]
    assert {one.volume for one in replay.made} == {Decimal("0.25")}
    assert [one.buys for one in replay.made] == [number % 3 == 0 for number in range(40)]
    assert replay.shift % (60 * S) == 0
    assert [one.at - replay.shift for one in replay.made[10:]] == [PAST + at * S for at, _, _ in rows[10:]]
    assert len(replay.ended) == 1
    before = (replay.book.bids.levels(500), replay.book.asks.levels(500))
    replay.go_on(60)
    assert (replay.book.bids.levels(500), replay.book.asks.levels(500)) == before
    assert min(len(side) for side in before) >= 100
    assert replay.book.bids.best() < replay.book.asks.best()


def test_sides_that_are_not_recorded_follow_the_price():
    """Up is a purchase, down a sale, and the same price the same as before."""
    replay = Replay(some_trades([(0, 100, 1), (10, 101, 1), (20, 101, 1), (30, 99, 1), (40, 99, 1), (50, 100, 1)]), begin=PAST)
    replay.go_on(120)

    assert [one.buys for one in replay.made[1:]] == [True, True, False, False, True]


def test_what_was_due_while_halted_never_happens():
    """The book stands still meanwhile, and the trades after that are made as recorded."""
    replay = Replay(some_trades([(number * 10, 100 + number, 0.25) for number in range(20)]), begin=PAST)
    replay.go_on(60)
    made, before = len(replay.made), (replay.book.bids.levels(500), replay.book.asks.levels(500))
    last = replay.made[-1].price
    replay.go_on(50, halted={"BTC/EUR"})

    assert len(replay.made) == made
    assert (replay.book.bids.levels(500), replay.book.asks.levels(500)) == before
    replay.go_on(10)
    assert [one.price for one in replay.made[made:]] == [last + 6]
    replay.go_on(200, halted={"BTC/EUR"})
    assert (len(replay.made), len(replay.ended)) == (made + 1, 1)


@pytest.mark.parametrize("display", ["0", "0.02"])
@pytest.mark.parametrize(
    ("low", "volume", "filled"),
    [("95.1", "0.1", "0"), ("95.0", "0.1", "0.1"), ("95.0", "0.5", "0.3"), ("94.9", "0.1", "0.3"), ("94.9", "0.001", "0.3")],
)
def test_an_order_is_filled_by_what_is_recorded(low, volume, filled, display):
    """Not before its price trades; at its price as far as the volume goes; whole once the market traded through it."""
    replay = Replay(some_trades([(0, 100, 1), (40, 100, 1), (120, float(low), float(volume)), (130, 100, 1)]), begin=PAST)
    replay.go_on(60)
    order = replay.order("95.0", buys=True, display=display)
    assert order.state is OrderStatus.OPEN
    replay.go_on(120)

    assert order.done == Decimal(filled)
    assert (order.state is OrderStatus.CLOSED) == (filled == "0.3")
    assert order.done == 0 or order.average == Decimal("95.0")
    assert sum(one.volume for one in replay.made) >= Decimal("3") + Decimal(volume)
    assert sums(replay.engine) == {0}


def test_sales_are_filled_by_a_rise():
    """The same on the other side, with several orders, best price first, and none before it was there."""
    replay = Replay(some_trades([(0, 100, 1), (40, 100, 1), (120, 103, 0.5), (121, 103, 0.2)]), begin=PAST)
    replay.go_on(60)
    orders = [replay.order(price, buys=False) for price in ("103.0", "102.0", "104.0")]
    replay.go_on(120)

    assert [order.done for order in orders] == [Decimal("0.3"), Decimal("0.3"), 0]
    assert all(fill.at >= fill.order.opened for fill in replay.engine.executions)
    assert sums(replay.engine) == {0}


@pytest.mark.parametrize(
    ("close", "corners"), [(105, [100, 90, 110, 105]), (100, [100, 90, 110, 100]), (95, [100, 110, 90, 95])]
)
def test_a_bar_is_walked(close, corners):
    """Open, the low first where it rises and the high first where it falls, close; straight in between."""
    prices = walked(100, 110, 90, close)

    assert prices[::4] == corners
    assert len(prices) == 13
    assert all(min(90, 110) <= price <= 110 for price in prices)


def test_bars_come_out_as_they_went_in():
    """Candles of what was replayed are the recorded bars, with all of their volume, and those before are the past."""
    rows = [(100 + n, 103 + n, 98 + n, 101 + n, 0.5 + n) for n in range(30)]
    replay = Replay(some_bars(rows), begin=PAST + 10 * 60 * S)
    replay.go_on(20 * 60 + 60)
    found = replay.candles["BTC/EUR"].of(1)

    assert [tuple(float(value) for value in (*row[1:5], row.volume)) for row in found] == rows
    assert {after.at - before.at for before, after in itertools.pairwise(found)} == {60}
    assert found[0].at * S == PAST + replay.shift
    assert (PAST + replay.shift) % (60 * S) == 0


def test_a_bar_without_volume_moves_the_price_only():
    """No trade is made up; the book goes where the price went."""
    replay = Replay(some_bars([(100, 100, 100, 100, 1), (200, 200, 200, 200, 0), (200, 200, 200, 200, 0)]), begin=PAST)
    replay.go_on(170)

    assert {float(one.price) for one in replay.made} == {100}
    assert abs(replay.book.bids.best() - 2_000) < 5


def test_a_past_has_no_holes():
    """Minutes without a trade, and those between the bars of hours, stand still."""
    replay = Replay(some_trades([(0, 100, 1), (600, 101, 2), (1_200, 102, 1)]), begin=PAST + 1_200 * S)
    assert [(row.close, row.trades) for row in replay.candles["BTC/EUR"].of(1)][:2] == [(100, 1), (100, 0)]
    hourly = Replay(some_bars([(100, 101, 99, 100, 1)] * 30, step=3_600), begin=PAST + 20 * 3_600 * S)
    for interval, most in ((1, 720), (60, 20), (240, 6)):
        rows = hourly.candles["BTC/EUR"].of(interval)
        assert {after.at - before.at for before, after in itertools.pairwise(rows)} == {interval * 60}
        assert most - 1 <= len(rows) <= most


def test_where_a_replay_begins():
    """Late enough for a past, at most half of it; or where it was told, if anything was recorded then."""
    short, long = some_bars([(1, 1, 1, 1, 1)] * 10), some_bars([(1, 1, 1, 1, 1)] * 5_000)

    assert beginning([short], None) == PAST + 5 * 60 * S
    assert beginning([long], None) == PAST + 720 * 60 * S
    assert beginning([short], PAST) == PAST
    for wrong in (PAST - 1, PAST + 9 * 60 * S + 1):
        with pytest.raises(InputError, match="expected --from within the recorded time"):
            beginning([short], wrong)
