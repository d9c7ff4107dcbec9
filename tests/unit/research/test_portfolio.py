"""Portfolios: one sleeve is the backtest, many are what a slow and obvious reference does, and nothing looks ahead."""

import math
from decimal import Decimal
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.builders import an_instrument, flat_bars, random_targets, some_bars, some_terms

from peak_trade.model.errors import InputError, StrategyError
from peak_trade.research.backtest import backtest
from peak_trade.research.kernel import REASONS
from peak_trade.research.portfolio import Allotting, Sleeve, Weighing, allot, portfolio
from peak_trade.strategy.base import Strategy

LEVELS = (-1.0, -0.5, 0.0, 0.5, 1.0)


class Drawn(Strategy):
    """Targets drawn bar by bar, so that those of a longer series begin with those of a shorter one."""

    key: ClassVar[str] = "drawn"
    source: ClassVar[str] = "this test"
    seed: int = 0
    stay: float = 0.8

    def targets(self, bars):
        return random_targets(len(bars), self.seed, LEVELS, stay=self.stay)

    def warmup(self):
        return 0


class Told(Strategy):
    """Targets as they are told."""

    key: ClassVar[str] = "told"
    source: ClassVar[str] = "this test"
    values: tuple[float, ...] = ()

    def targets(self, bars):
        return np.array(self.values)

    def warmup(self):
        return 0


def market(number, count=200, seed=0, holes=0.2, noise=0.02, **steps):
    """Return bars of a symbol, some of them missing; *steps* are the instrument's."""
    name = ("BTC/EUR", "ETH/EUR", "SOL/EUR", "ADA/EUR")[number]
    whole = some_bars(
        count, seed=100 * seed + number, gap=0.004, noise=noise, instrument=an_instrument(name, lot_step="0.01", **steps)
    )
    kept = np.random.default_rng(seed + number).random(count) >= holes
    kept[[0, -1]] = True
    return type(whole)(
        instrument=whole.instrument,
        timeframe=whole.timeframe,
        **{name: getattr(whole, name)[kept] for name in ("timestamp", "open", "high", "low", "close", "volume")},
    )


def sleeves_of(symbols, each=2, seed=0):
    return [Sleeve(strategy=Drawn(seed=seed + 10 * s + n), symbol=s) for s in range(symbols) for n in range(each)]


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    side=st.sampled_from(["long", "short", "both"]),
    fee=st.sampled_from([0.0, 26.0]),
    size=st.sampled_from(["fraction=1", "fraction=0.4"]),
    exits=st.sampled_from([{}, {"stop_loss": 0.03}, {"take_profit": 0.04, "trailing_stop": 0.02}]),
    noise=st.sampled_from([0.01, 0.3]),
)
def test_one_sleeve_is_the_backtest(seed, side, fee, size, exits, noise):
    """Fill by fill and bit by bit, with its figures: costs, both sides, exits and ruin included."""
    bars = some_bars(150, seed=seed, gap=0.01, noise=noise)
    terms = some_terms(side=side, fee_bps=fee, slippage_bps=5.0, sizing=size, **exits)
    alone = backtest(bars, Drawn(seed=seed), terms)
    found = portfolio([bars], [Sleeve(strategy=Drawn(seed=seed), symbol=0)], terms, Allotting())

    for name in ("bar", "quantity", "price", "fee", "reason", "lots_after"):
        assert np.array_equal(getattr(found.fills, name), getattr(alone.fills, name)), name
    assert np.array_equal(found.equity, alone.equity)
    assert found.metrics == alone.metrics
    assert found.tally == alone.tally


def lots_in(amount):
    return math.floor(amount + max(1e-9, amount * 4e-16))


class Slow:
    """The rules as one would tell them, for the kernel to be compared with: one step after the other, one sleeve at a time.

    A short position is a long one upside down: with prices times -1 what is good is up for both.
    """

    def __init__(self, markets, sleeves, terms, weights, every, resized):
        self.markets, self.sleeves, self.terms, self.weights = markets, sleeves, terms, weights
        self.every, self.resized = every, resized
        self.rows = [{int(stamp): index for index, stamp in enumerate(bars.timestamp)} for bars in markets]
        self.lot = [float(bars.instrument.lot_step) for bars in markets]
        self.fee, self.slip = terms.fee_bps / 10_000, terms.slippage_bps / 10_000
        self.cash = float(terms.cash)
        count = len(sleeves)
        self.held, self.entry, self.best, self.before = [0] * count, [0.0] * count, [0.0] * count, [0.0] * count
        self.orders, self.last = {}, [0.0] * len(markets)
        self.equity, self.fills, self.skipped = [], [], 0

    def run(self):
        targets = [item.strategy.targets(self.markets[item.symbol]) for item in self.sleeves]
        for step, stamp in enumerate(sorted({int(stamp) for bars in self.markets for stamp in bars.timestamp})):
            self.step, self.stamp = step, stamp
            self.open()
            for number in range(len(self.sleeves)):
                self.exit(number)
            for symbol in range(len(self.markets)):
                if (price := self.price(symbol, "close")) is not None:
                    self.last[symbol] = price
            worth = self.cash + sum(self.value(number) for number in range(len(self.sleeves)))
            self.equity.append(worth)
            for number, item in enumerate(self.sleeves):
                if stamp in self.rows[item.symbol]:
                    self.decide(number, float(targets[number][self.rows[item.symbol][stamp]]), worth)
                if worth <= 0 and self.held[number] != 0:
                    self.orders[number] = (0, "ruin")
        return self

    def price(self, symbol, name):
        row = self.rows[symbol].get(self.stamp)
        return None if row is None else float(getattr(self.markets[symbol], name)[row])

    def value(self, number):
        symbol = self.sleeves[number].symbol
        return self.held[number] * self.lot[symbol] * self.last[symbol]

    def open(self):
        """First what reduces, then what buys, then what sells short."""
        kinds = {"reduce": [], "buy": [], "short": []}
        for number, (want, _) in sorted(self.orders.items()):
            if self.stamp in self.rows[self.sleeves[number].symbol]:
                smaller = abs(want) <= abs(self.held[number]) and want * self.held[number] >= 0
                kinds["reduce" if smaller else "buy" if want > 0 else "short"].append(number)
        for number in kinds["reduce"]:
            self.fill(number, None)
        costs = {}
        for number in kinds["buy"]:
            symbol = self.sleeves[number].symbol
            lots = self.orders[number][0] - self.held[number]
            costs[number] = lots * self.lot[symbol] * self.price(symbol, "open") * (1 + self.slip) * (1 + self.fee)
        ready, total = max(self.cash, 0), sum(costs.values())
        for number, cost in costs.items():
            self.fill(number, min(self.cash, ready * cost / total) if total > ready else self.cash)
        for number in kinds["short"]:
            others = [self.value(other) for other in range(len(self.sleeves)) if other != number]
            self.fill(number, self.cash + sum(others) - sum(-value for value in others if value < 0))

    def fill(self, number, budget):
        symbol, (want, reason), have = self.sleeves[number].symbol, self.orders.pop(number), self.held[number]
        price = self.price(symbol, "open") * (1 + self.slip if want > have else 1 - self.slip)
        unit = price * self.lot[symbol]
        if budget is not None and want > have:
            want = min(want, max(have + lots_in(max(budget, 0) / (unit * (1 + self.fee))), have, 0))
        elif budget is not None:
            room = budget + have * unit * (1 - self.fee)
            want = max(want, min(-lots_in(max(room, 0) / (unit * (1 + self.fee))), have))
        limits, size = self.markets[symbol].instrument, abs(want - have) * self.lot[symbol]
        small = size < float(limits.min_quantity) or size * price < float(limits.min_notional)
        if want == have or (small and want != 0):
            self.skipped += 1
            return
        self.book(number, want, price, reason)

    def book(self, number, want, price, reason):
        symbol, have = self.sleeves[number].symbol, self.held[number]
        quantity = (want - have) * self.lot[symbol]
        self.cash -= quantity * price + abs(quantity) * price * self.fee
        self.fills.append((self.step, number, pytest.approx(quantity), pytest.approx(price), reason))
        if have * want <= 0:
            self.entry[number] = self.best[number] = price
        elif abs(want) > abs(have):
            self.entry[number] = (self.entry[number] * abs(have) + price * (abs(want) - abs(have))) / abs(want)
        self.held[number] = want

    def exit(self, number):
        symbol, side = self.sleeves[number].symbol, 1 if self.held[number] > 0 else -1
        if self.held[number] == 0 or self.stamp not in self.rows[symbol]:
            return
        opened = side * self.price(symbol, "open")
        highest, lowest = sorted((side * self.price(symbol, "high"), side * self.price(symbol, "low")), reverse=True)
        stops, goal = [], math.inf
        if self.terms.stop_loss:
            stops.append((side * self.entry[number] - self.terms.stop_loss * self.entry[number], "stop_loss"))
        if self.terms.trailing_stop:
            stops.append((side * self.best[number] - self.terms.trailing_stop * self.best[number], "trailing_stop"))
        if self.terms.take_profit:
            goal = side * self.entry[number] + self.terms.take_profit * self.entry[number]
        level, reason = max(stops, key=lambda stop: stop[0], default=(-math.inf, ""))
        if opened >= goal:
            out = (opened, "take_profit")
        elif lowest <= level:
            out = (min(opened, level), reason)
        elif highest >= goal:
            out = (goal, "take_profit")
        else:
            self.best[number] = side * max(side * self.best[number], highest)
            return
        self.book(number, 0, side * out[0] * (1 - side * self.slip), out[1])

    def decide(self, number, target, worth):
        symbol = self.sleeves[number].symbol
        due = self.resized and self.step % self.every == 0 and self.held[number] * target > 0
        if target == self.before[number] and not due:
            return
        self.before[number] = target
        forbidden = {"long": target < 0, "short": target > 0, "both": False}[self.terms.side.value]
        weight = 0 if forbidden else self.weights[self.step // self.every][number]
        share = abs(target) * float(self.terms.sizing.amount) * max(worth * weight, 0)
        want = lots_in(share / self.last[symbol] / self.lot[symbol]) * (1 if target >= 0 else -1)
        self.orders.pop(number, None)
        if want != self.held[number]:
            self.orders[number] = (want, "target")


def compared(markets, sleeves, terms, plan):
    """Run both; every fill in its order with its reason, every value of the equity and every count must be the same."""
    found = portfolio(markets, sleeves, terms, plan)
    slow = Slow(markets, sleeves, terms, found.weights.tolist(), plan.every, plan.resized).run()

    fills = found.fills
    columns = (fills.bar, found.sleeve, fills.quantity, fills.price)
    reasons = [REASONS[code] for code in fills.reason]
    assert list(zip(*(column.tolist() for column in columns), reasons, strict=True)) == slow.fills
    assert found.equity == pytest.approx(slow.equity, rel=1e-9, abs=1e-6)
    assert found.tally.skipped == slow.skipped
    assert found.tally.pending == int(bool(slow.orders))
    return found


EXITS = (
    {},
    {"stop_loss": 0.03},
    {"take_profit": 0.04},
    {"trailing_stop": 0.02},
    {"stop_loss": 0.02, "take_profit": 0.03, "trailing_stop": 0.025},
)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    resized=st.booleans(),
    every=st.sampled_from([1, 7, 24]),
    weighing=st.sampled_from([Weighing.EQUAL, Weighing.INVERSE_VOLATILITY]),
    most=st.sampled_from([0.4, 1.0]),
    side=st.sampled_from(["long", "short", "both"]),
    exits=st.sampled_from(EXITS),
    noise=st.sampled_from([0.02, 0.3]),
    least=st.sampled_from(["0", "400"]),
)
def test_many_sleeves_are_the_reference(seed, resized, every, weighing, most, side, exits, noise, least):
    """Three symbols with holes, each side, costs, resizing, minimums, all exits, and markets wild enough for ruin."""
    markets = [market(number, count=120, seed=seed, noise=noise, min_notional=least) for number in range(3)]
    sleeves, terms = sleeves_of(3, seed=seed), some_terms(side=side, fee_bps=26.0, slippage_bps=5.0, **exits)
    plan = Allotting(weighing=weighing, every=every, resized=resized, lookback=20, symbol_most=most)

    compared(markets, sleeves, terms, plan)


def test_every_reason_to_fill_is_compared():
    """Stops, take-profits, trailing stops and ruin on both sides do occur in what is compared."""
    seen = set()
    for seed in range(12):
        exits, wild = EXITS[seed % len(EXITS)], seed % 2 == 1
        markets = [market(number, count=120, seed=seed, noise=0.3 if wild else 0.03) for number in range(3)]
        terms = some_terms(side="both", fee_bps=26.0, slippage_bps=5.0, **({} if wild else exits))
        found = compared(markets, sleeves_of(3, seed=seed), terms, Allotting(every=6))
        after, quantity = found.fills.lots_after, found.fills.quantity
        for code, lots, amount in zip(found.fills.reason, after, quantity, strict=True):
            if lots == 0:
                seen.add((REASONS[code], "long" if amount < 0 else "short"))

    sides = ("long", "short")
    assert {(why, side) for why in ("target", "stop_loss", "take_profit", "trailing_stop", "ruin") for side in sides} <= seen


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), resized=st.booleans())
def test_profits_add_up_and_nothing_looks_ahead(seed, resized):
    """The sleeves' profits are the total's; what comes later changes nothing earlier; without a bar nothing is traded."""
    markets = [market(number, seed=seed) for number in range(3)]
    plan = Allotting(
        weighing=Weighing.INVERSE_VOLATILITY, every=5, resized=resized, lookback=15, correlation_most=0.1, total_most=0.9
    )
    terms = some_terms(fee_bps=26.0, slippage_bps=5.0, stop_loss=0.05)
    sleeves = sleeves_of(3, seed=seed)
    whole = portfolio(markets, sleeves, terms, plan)

    assert math.fsum(whole.profit) == pytest.approx(whole.equity[-1] - 10_000, abs=1e-8)
    assert whole.attribution()["profit"].sum() == pytest.approx(whole.metrics.final_equity - 10_000, abs=1e-8)
    assert math.fsum(whole.fees) == pytest.approx(whole.metrics.fees_paid)
    for step, sleeve in zip(whole.fills.bar, whole.sleeve, strict=True):
        assert whole.timestamp[step] in markets[sleeves[sleeve].symbol].timestamp
    cut = int(whole.timestamp[len(whole.timestamp) // 2])
    part = portfolio([bars[: int(np.searchsorted(bars.timestamp, cut))] for bars in markets], sleeves, terms, plan)
    assert np.array_equal(part.equity, whole.equity[: len(part.equity)])
    assert np.array_equal(part.weights, whole.weights[: len(part.weights)])


def test_cash_that_does_not_suffice_is_shared():
    """Two orders of half the cash each meet opens that are a fifth higher: each gets half, and cash never goes below zero."""
    prices = [100.0, 120.0, 120.0]
    markets = [flat_bars(prices, instrument=an_instrument(name, lot_step="0.001")) for name in ("BTC/EUR", "ETH/EUR")]
    sleeves = [Sleeve(strategy=Told(values=(1.0, 1.0, 1.0)), symbol=symbol) for symbol in range(2)]
    found = portfolio(markets, sleeves, some_terms(), Allotting())

    assert found.fills.quantity.tolist() == pytest.approx([41.666, 41.666])
    assert 0 <= 10_000 - float(found.fills.quantity @ found.fills.price) < 1


def test_what_is_sold_pays_for_what_is_bought():
    """A sale and a purchase at the same open: the sale's money is there, whatever the order of the sleeves."""
    prices = [100.0] * 5
    markets = [flat_bars(prices, instrument=an_instrument(name, lot_step="1")) for name in ("BTC/EUR", "ETH/EUR")]
    later, first = Told(values=(0.0, 0.0, 1.0, 1.0, 1.0)), Told(values=(1.0, 1.0, 0.0, 0.0, 0.0))
    weights = Allotting(weighing=Weighing.GIVEN)
    sleeves = [Sleeve(strategy=later, symbol=0, weight=0.5), Sleeve(strategy=first, symbol=1, weight=0.5)]
    found = portfolio(markets, sleeves, some_terms(sizing="fraction=1"), weights)

    assert list(zip(found.sleeve.tolist(), found.fills.quantity.tolist(), strict=True)) == [(1, 50.0), (1, -50.0), (0, 50.0)]


def moves(*columns):
    """Return closes (steps, symbols) and that there is a bar everywhere."""
    closes = 100.0 * np.cumprod(1.0 + np.array(columns).T, axis=0)
    return closes, np.ones(closes.shape, dtype=np.int8)


def test_weights_by_rule():
    """Equal, inverse to volatility (half as wild, twice as much), and what is alike shares one allotment."""
    random = np.random.default_rng(3)
    calm, other = random.normal(0, 0.01, (2, 400))
    closes, there = moves(calm, 2 * calm, other)
    sleeves = [Sleeve(strategy=Drawn(), symbol=symbol) for symbol in range(3)]
    equal = allot(closes, there, sleeves, Allotting()).weights
    inverse = allot(closes, there, sleeves, Allotting(weighing=Weighing.INVERSE_VOLATILITY, every=100)).weights
    shared = allot(closes, there, sleeves, Allotting(correlation_most=0.8, every=100)).weights

    assert np.all(equal == 1 / 3)
    assert np.all(inverse[0] == 0)  # nothing is known yet
    assert inverse[-1, 0] == pytest.approx(2 * inverse[-1, 1])
    assert inverse[-1].sum() == pytest.approx(1)
    assert shared[0].tolist() == pytest.approx([1 / 3] * 3)
    assert shared[-1].tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 3])


def test_limits_hold_at_the_limit():
    """A symbol's weights sum up to its limit, all of them to theirs; what is within is left alone."""
    closes, there = moves(np.zeros(50), np.zeros(50))
    sleeves = [Sleeve(strategy=Drawn(), symbol=symbol, weight=weight) for symbol, weight in ((0, 0.3), (0, 0.3), (1, 0.4))]

    def last(**limits):
        return allot(closes, there, sleeves, Allotting(weighing=Weighing.GIVEN, **limits)).weights[-1].tolist()

    assert last() == [0.3, 0.3, 0.4]
    assert last(symbol_most=0.6) == pytest.approx([0.3, 0.3, 0.4])
    assert last(symbol_most=0.5) == pytest.approx([0.25, 0.25, 0.4])
    assert last(total_most=0.5) == pytest.approx([0.15, 0.15, 0.2])
    assert last(symbol_most=0.2, total_most=0.2) == pytest.approx([0.05, 0.05, 0.1])


def test_limits_tell_where_they_bit():
    """A date counts where a weight became smaller; ten tenths are no more than all of it."""
    random = np.random.default_rng(3)
    calm, other = random.normal(0, 0.01, (2, 400))
    closes, there = moves(calm, 2 * calm, other)
    sleeves = [Sleeve(strategy=Drawn(seed=number), symbol=number % 3, weight=0.1) for number in range(10)]

    def bitten(**limits):
        found = allot(closes, there, sleeves, Allotting(weighing=Weighing.GIVEN, every=100, **limits))
        return found.alike.sum(axis=0).tolist(), found.crowded.sum(axis=0).tolist(), int(found.full.sum())

    assert bitten() == ([0, 0, 0], [0, 0, 0], 0)
    assert bitten(correlation_most=0.8) == ([3, 3, 0], [0, 0, 0], 0)  # the first date knows no correlation
    assert bitten(symbol_most=0.35) == ([0, 0, 0], [4, 0, 0], 0)
    assert bitten(total_most=0.99) == ([0, 0, 0], [0, 0, 0], 4)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), exits=st.sampled_from(EXITS), noise=st.sampled_from([0.02, 0.3]))
def test_paths_are_the_equity(seed, exits, noise):
    """At each step the sleeves' profits are equity less the starting cash; the last are the attribution's."""
    markets = [market(number, count=100, seed=seed, noise=noise) for number in range(3)]
    found = portfolio(markets, sleeves_of(3, seed=seed), some_terms(fee_bps=26.0, **exits), Allotting(every=5))
    paths = found.paths()

    assert paths.profits.sum(axis=1) == pytest.approx(found.equity - 10_000, abs=1e-6)
    assert paths.profits[-1] == pytest.approx(found.profit, abs=1e-6)
    assert sum(len(trips) for trips in found.trips) == found.metrics.num_entries


def test_a_market_that_begins_later_is_not_traded_before():
    """Histories that overlap only in part: each sleeve trades on its own bars, and the steps are those of both."""
    markets = [market(0, count=100, holes=0.0)[:80], market(1, count=100, holes=0.0)[60:]]
    sleeves = [Sleeve(strategy=Told(values=(1.0,) * len(bars)), symbol=place) for place, bars in enumerate(markets)]
    found = portfolio(markets, sleeves, some_terms(), Allotting())

    assert len(found.timestamp) == 100
    assert found.fills.bar.tolist() == [1, 61]
    assert found.sleeve.tolist() == [0, 1]
    values = found.paths().values
    assert values[80:, 0].tolist() == [values[79, 0]] * 20  # marked at its last close


def test_a_sleeve_that_never_trades_costs_nothing():
    """Its profit, fees and trades are none, and the others do what they do."""
    markets = [market(0), market(1)]
    idle = Sleeve(strategy=Told(values=(0.0,) * len(markets[1])), symbol=1)
    found = portfolio(markets, [Sleeve(strategy=Drawn(seed=1), symbol=0), idle], some_terms(), Allotting())

    assert (found.profit[1], found.fees[1], len(found.trips[1])) == (0.0, 0.0, 0)
    assert found.profit[0] == pytest.approx(found.equity[-1] - 10_000)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"every": 0}, "every of at least 1"),
        ({"lookback": 1}, "lookback of at least 2"),
        ({"symbol_most": 0.0}, "symbol_most above zero"),
        ({"total_most": 1.01}, "total_most above zero and up to 1"),
        ({"correlation_most": 1.5}, "correlation_most of -1 to 1"),
    ],
)
def test_wrong_allotting_is_refused(change, words):
    with pytest.raises(InputError, match=words):
        Allotting(**change)


def test_what_does_not_go_together_is_refused():
    """Lengths of bars, currencies, symbols twice, sizing, weights and targets."""
    bars, terms, one = some_bars(20), some_terms(), Sleeve(strategy=Drawn(), symbol=0)
    other = some_bars(20, instrument=an_instrument("ETH/USD"))
    daily = some_bars(20, instrument=an_instrument("ETH/EUR"), timeframe="1d")
    for markets in ([bars, other], [bars, daily]):
        with pytest.raises(InputError, match="one timeframe and one quote"):
            portfolio(markets, [one], terms, Allotting())
    with pytest.raises(InputError, match="each symbol once"):
        portfolio([bars, bars], [one], terms, Allotting())
    with pytest.raises(InputError, match="at least one strategy"):
        portfolio([bars], [], terms, Allotting())
    with pytest.raises(InputError, match="once on a symbol, found drawn twice on BTC/EUR"):
        portfolio([bars], [one, Sleeve(strategy=Drawn(), symbol=0)], terms, Allotting())
    halves = [Sleeve(strategy=Drawn(seed=number), symbol=0, weight=0.6) for number in range(2)]
    with pytest.raises(InputError, match="together at most 1"):
        portfolio([bars], halves, terms, Allotting(weighing=Weighing.GIVEN))
    with pytest.raises(InputError, match="a fraction as the sizing"):
        portfolio([bars], [one], some_terms(sizing="quantity=1", cash=Decimal(5)), Allotting())
    for weight in (None, -0.1, 1.5):
        wrong = Sleeve(strategy=Drawn(), symbol=0, weight=weight)
        with pytest.raises(InputError, match="a weight of 0 to 1"):
            portfolio([bars], [wrong], terms, Allotting(weighing=Weighing.GIVEN))
    with pytest.raises(StrategyError, match=r"found 1\.5 at 2024"):
        portfolio([bars], [Sleeve(strategy=Told(values=(0.0,) * 5 + (1.5,) * 15), symbol=0)], terms, Allotting())
