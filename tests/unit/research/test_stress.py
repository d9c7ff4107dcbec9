"""A backtest under other circumstances: each question both ways, and the parts by hand."""

import numpy as np
import pytest
from tests.builders import some_bars, some_terms
from tests.edges import COSTS, noise, trending

from peak_trade.research.backtest import Result, backtest
from peak_trade.research.stress import (
    Stressed,
    StressLimits,
    dearer,
    delayed,
    neighbours,
    steps_beside,
    stress,
    trade_orders,
    with_skips,
)
from peak_trade.strategy.catalogue import make

QUICK = StressLimits(draws=200)


def a_backtest(bars, fast: int = 8, slow: int = 60, **terms) -> Result:
    return backtest(bars, make("ma_crossover", {"fast_window": fast, "slow_window": slow}), some_terms(**COSTS | terms))


def holds(found: Stressed) -> dict[str, bool | None]:
    return {line.name: line.holds for line in found.lines}


@pytest.fixture(scope="module")
def strong() -> Result:
    """A trend follower in a market that has strong trends."""
    return a_backtest(trending(3, 0.25, days=3_000))


def test_a_strong_edge_stands_everything(strong):
    found = stress(strong, {}, QUICK, 1)

    assert found.robust, [line for line in found.lines if not line.holds]
    assert found.shape == "plateau"
    assert all(line.holds for line in found.lines)
    assert found.histories.fan.shape == (5, len(found.points))


def test_noise_gives_way():
    """The best of some pairs over a random walk earns by luck: its neighbours and its histories say so."""
    found = stress(a_backtest(noise(2, days=1_500), 20, 45), {}, QUICK, 1)

    assert not found.robust
    assert holds(found)["histories"] is False


def test_one_that_loses_has_nothing_to_keep():
    lost = a_backtest(noise(5, days=800), fee_bps=100.0)
    assert lost.metrics.sharpe is not None
    assert lost.metrics.sharpe < 0.0
    found = stress(lost, {}, QUICK, 1)

    assert {name for name, held in holds(found).items() if held is False} >= {
        "histories",
        "near_sign",
        "costs",
        "delay",
        "skips",
    }
    assert found.shape == "peak"


@pytest.mark.parametrize("question", ["histories", "trade_order", "near_sign", "near_half", "delay", "skips"])
def test_a_limit_is_held_at_its_edge(strong, question):
    """With the limit exactly at what was found it holds, a hair beyond it not."""
    name = {
        "histories": "loss_max",
        "trade_order": "drawdown_max",
        "near_sign": "sign_min",
        "near_half": "half_min",
        "delay": "kept_min",
        "skips": "kept_min",
    }[question]
    base = a_backtest(trending(4, 0.1, days=1_000), 4, 30) if question == "histories" else strong
    found = {line.name: line.found for line in stress(base, {}, QUICK, 1).lines}[question]
    assert found is not None
    beyond = found - 1e-9 if name in ("loss_max", "drawdown_max") else found + 1e-9

    assert holds(stress(base, {}, StressLimits(draws=200, **{name: found}), 1))[question] is True
    assert holds(stress(base, {}, StressLimits(draws=200, **{name: beyond}), 1))[question] is False


def test_the_seed_decides_what_is_drawn(strong):
    one, two, other = (stress(strong, {}, QUICK, seed) for seed in (1, 1, 2))

    assert one.lines == two.lines
    assert np.array_equal(one.drawdowns, two.drawdowns)
    assert one.lines != other.lines


def test_costs_are_multiplied_and_nothing_else():
    terms = some_terms(fee_bps=40.0, slippage_bps=5.0, side="long")

    assert dearer(terms, 3.0) == some_terms(fee_bps=120.0, slippage_bps=15.0, side="long")


def test_the_return_at_each_cost_is_that_of_a_backtest(strong):
    found = stress(strong, {}, QUICK, 1)

    assert set(found.costs) == {1.0, 2.0, 3.0}
    assert found.costs[1.0] == strong.metrics.total_return
    assert found.costs[3.0] == backtest(strong.bars, strong.strategy, dearer(strong.terms, 3.0)).metrics.total_return


def test_delayed_targets_come_one_bar_later():
    assert delayed(np.array([0.0, 1.0, 1.0, -1.0])).tolist() == [0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("targets", "missing_all"),
    [
        ([0.0, 1.0, 1.0, 0.0, -1.0, -1.0, 1.0], [0.0] * 7),
        ([0.5, 0.5, 1.0, 0.2, 0.0], [0.0] * 5),
    ],
)
def test_nothing_or_everything_missed(targets, missing_all):
    chance = np.random.default_rng(1)

    assert with_skips(np.array(targets), 0.0, chance).tolist() == targets
    assert with_skips(np.array(targets), 1.0, chance).tolist() == missing_all


class Drawn:
    """A source of chance that gives what it was told."""

    def __init__(self, *values: float) -> None:
        self.values = values

    def random(self, count: int) -> np.ndarray:
        assert count == len(self.values)
        return np.array(self.values)


@pytest.mark.parametrize(
    ("targets", "values", "expected"),
    [
        ([1.0, -1.0, -1.0, 1.0], (0.9, 0.0, 0.9), [1.0, 0.0, 0.0, 1.0]),  # a turn that is missed leaves it flat
        ([1.0, 0.0, 1.0], (0.9, 0.0, 0.9), [1.0, 0.0, 1.0]),  # what closes is carried out
        ([1.0, 0.4, 0.8], (0.9, 0.0, 0.0), [1.0, 0.4, 0.4]),  # so is what reduces; what enlarges is missed
        ([1.0, 1.0, 0.0], (0.1, 0.9), [1.0, 1.0, 0.0]),  # exactly the share is not below it
        ([1.0, 1.0, 0.0], (0.0999, 0.9), [0.0, 0.0, 0.0]),
    ],
)
def test_what_is_missed_and_what_is_not(targets, values, expected):
    assert with_skips(np.array(targets), 0.1, Drawn(*values)).tolist() == expected


@pytest.mark.parametrize(
    ("value", "grid", "expected"),
    [
        (20, [5, 10, 20, 40, 80, 160], [5, 10, 40, 80]),
        (5, [5, 10, 20], [10, 20]),
        (20, [], [16, 18, 22, 24]),
        (20, [10, 30], [16, 18, 22, 24]),
        (2, [], [0, 1, 3, 4]),
        (0.5, [], [0.4, 0.45, 0.55, 0.6]),
        (0.0, [], []),
        (1.5, [0.5, 1.5, "auto", True], [0.5]),
    ],
)
def test_steps_are_those_of_the_grid_or_shares(value, grid, expected):
    assert steps_beside(value, grid) == pytest.approx(expected)


def test_neighbours_differ_in_one_parameter_and_make_sense(strong):
    """What the strategy refuses is left out: a fast window must stay below the slow one."""
    base = backtest(strong.bars, make("ma_crossover", {"fast_window": 30, "slow_window": 32}), strong.terms)
    found = [(item.name, item.value) for item in neighbours(base, {"fast_window": [10, 20, 30, 31, 40]})]

    assert found == [("fast_window", 10), ("fast_window", 20), ("fast_window", 31), ("slow_window", 35), ("slow_window", 38)]


def test_without_numeric_parameters_there_are_no_neighbours(strong):
    held = backtest(strong.bars, make("buy_and_hold", {}), strong.terms)
    found = stress(held, {}, QUICK, 1)

    assert (found.neighbours, holds(found)["near_sign"], holds(found)["trade_order"]) == ((), None, None)


def test_orders_of_trades_keep_the_trades():
    """Ten trades of known returns: the deepest of all orders is all losses first, and no order is deeper."""
    bars = some_bars(400, seed=3, gap=0.002)
    base = a_backtest(bars, 3, 8)
    falls = trade_orders(base, 500, np.random.default_rng(1))
    trips = base.round_trips
    closed = trips.exit_bar >= 0
    each = trips.profit[closed] / np.where(trips.entry_bar > 0, base.equity[trips.entry_bar - 1], 10_000.0)[closed]
    worst = np.prod(1.0 + each[each < 0.0]) - 1.0

    assert len(falls) == 500
    assert (falls >= worst - 1e-12).all()
    assert (falls <= each.min() + 1e-12).all()
    assert len(trade_orders(a_backtest(bars, 100, 300), 10, np.random.default_rng(1))) == 0
