"""Tests of the best of many: against the package arch, their rate of error on noise, and what must hold."""

import warnings

import numpy as np
import pytest

from peak_trade.research.bootstrap import drawn, histories, interval, weights
from peak_trade.research.data_snooping import superior


def noise(seed: int, periods: int = 250, trials: int = 12) -> np.ndarray:
    chance = np.random.default_rng(seed)
    return chance.normal(size=(periods, trials)) + 0.8 * chance.normal(size=(periods, 1))


@pytest.fixture(scope="module")
def spa():
    """Hansen's test of the package arch, which holds the means against each other without their errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from arch.bootstrap import SPA
    return SPA


@pytest.mark.parametrize("shift", [0.0, 0.08, 0.16])
def test_it_is_that_of_arch(spa, shift):
    """Unstudentised, the three p-values are those of arch but for what is drawn."""
    excess = noise(4) * np.linspace(0.5, 2.0, 12) + shift
    theirs = spa(np.zeros(len(excess)), -excess, reps=3_000, block_size=6, seed=1)
    theirs.compute()
    ours = superior(excess, 3_000, 6.0, np.random.default_rng(1), studentized=False)

    assert (ours.lower, ours.consistent, ours.upper) == pytest.approx(tuple(theirs.pvalues), abs=0.03)


def test_the_best_of_noise_is_called_better_as_seldom_as_stated():
    """At five per cent, among 300 searches over noise the share is within three errors of it or below."""
    found = [superior(noise(seed, 120, 8), 300, 5.0, np.random.default_rng(seed)).consistent <= 0.05 for seed in range(300)]

    assert np.mean(found) <= 0.05 + 3.0 * np.sqrt(0.05 * 0.95 / 300)


def test_one_that_is_better_is_seen_among_many_that_are_worse():
    """Also where the others lose a lot; and one that is not better is not, although it stands beside it."""
    excess = noise(9, 400) - 0.3
    excess[:, 5] += 0.7
    ask = lambda chosen: superior(excess, 1_000, 5.0, np.random.default_rng(2), chosen=chosen)

    assert ask(5).consistent < 0.01
    assert ask(4).consistent > 0.5
    assert ask(None) == ask(5)


def test_what_never_moves_is_no_better():
    excess = np.column_stack([noise(1)[:, 0] + 1.0, np.zeros(250)])

    assert superior(excess, 200, 5.0, np.random.default_rng(1), chosen=1).consistent == 1.0
    assert superior(excess, 200, 5.0, np.random.default_rng(1), chosen=0).consistent < 0.01
    assert superior(np.zeros((50, 3)), 200, 5.0, np.random.default_rng(1)).consistent == 1.0


def test_blocks_are_runs_of_the_stated_mean_length():
    """Periods follow on each other around the circle, and blocks begin anew as often as their length says."""
    found = drawn(100, 400, 8.0, np.random.default_rng(1))
    follows = np.diff(found, axis=1) % 100 == 1

    assert found.shape == (400, 100)
    assert found.min() >= 0
    assert found.max() <= 99
    assert follows.mean() == pytest.approx(1.0 - 1.0 / 8.0 + 1.0 / 800.0, abs=0.01)


def test_weights_are_shares_of_the_same_draws():
    share = weights(50, 20, 4.0, np.random.default_rng(3))
    periods = drawn(50, 20, 4.0, np.random.default_rng(3))
    values = np.random.default_rng(4).normal(size=50)

    assert share.sum(axis=1) == pytest.approx(np.ones(20))
    assert share @ values == pytest.approx(values[periods].mean(axis=1))


def test_histories_are_those_of_arch(spa):
    """The spread of mean, ratio and drawdown over drawn histories is that of arch's stationary bootstrap."""
    assert spa is not None
    from arch.bootstrap import StationaryBootstrap

    returns = np.random.default_rng(6).normal(0.001, 0.01, 200)

    def figures(chosen: np.ndarray) -> np.ndarray:
        equity = np.concatenate([[1.0], np.cumprod(1.0 + chosen)])
        fall = (equity / np.maximum.accumulate(equity)).min() - 1.0
        return np.array([equity[-1], chosen.mean() / chosen.std(ddof=1), fall])

    theirs = StationaryBootstrap(6, returns, seed=1).apply(figures, 4_000)
    ours = histories(returns, 4_000, 6.0, np.random.default_rng(1))

    for place, name in enumerate(("growth", "sharpe", "drawdown")):
        for quantile in (0.05, 0.5, 0.95):
            spread = theirs[:, place].std()
            assert np.quantile(getattr(ours, name), quantile) == pytest.approx(
                np.quantile(theirs[:, place], quantile), abs=spread / 8
            )
    assert ours.fan.shape == (5, 201)
    assert (np.diff(ours.fan, axis=0) >= 0.0).all()


def test_an_interval_is_between_quantiles():
    assert interval(0.5, np.arange(101.0), 0.9) == pytest.approx((0.5, 5.0, 95.0))


def test_the_same_seed_draws_the_same():
    one, two = (superior(noise(3), 500, 5.0, np.random.default_rng(8)) for _ in range(2))

    assert one == two
