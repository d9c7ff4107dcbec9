"""Published figures against the packages that others compute them with: empyrical, quantstats, skfolio, statsmodels, arch.

Where a package is held to another convention, the test says so. What has no package is held against the worked examples of its
paper in the tests of its own module.
"""

import math
import warnings
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from tests.builders import random_targets, some_bars, some_terms
from tests.edges import noise

from peak_trade.research.backtest import Result, run
from peak_trade.research.bootstrap import deepest, drawn, equity_of, histories
from peak_trade.research.data_snooping import superior
from peak_trade.research.edge import beyond_market
from peak_trade.research.families import false_discovery, holm
from peak_trade.research.kernel import INTERPRETED
from peak_trade.research.overfitting import overfitting
from peak_trade.research.regime_figures import bar_returns, figures_by_class
from peak_trade.research.regimes import Family
from peak_trade.research.sharpe import average_correlation, moments_of, probabilistic
from peak_trade.research.stress import trade_orders
from peak_trade.strategy.buy_and_hold import BuyAndHold

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import empyrical
    import quantstats.stats as qs
    import skfolio.measures as skm

#: Hours of a year, which is what the packages call the annualization of bars of an hour.
HOURS = 24 * 365
CASH = 10_000.0


def a_result(seed: int) -> Result:
    terms = some_terms(cash=CASH, fee_bps=15.0, slippage_bps=3.0, sizing="fraction=0.9")
    levels = (-1.0, -0.4, 0.0, 0.5, 1.0)
    return run(some_bars(900, seed=seed, noise=0.01), BuyAndHold(), random_targets(900, seed, levels), terms, INTERPRETED)


def series_of(result: Result) -> pd.Series:
    """Return the returns of each bar, dated by its close."""
    levels = np.concatenate([[CASH], result.equity])
    closes = pd.to_datetime(result.bars.timestamp + result.bars.timeframe.step_ns)
    return pd.Series(levels[1:] / levels[:-1] - 1.0, index=closes)


@pytest.fixture
def _older_numpy(monkeypatch):
    """The last empyrical that can be installed with others asks NumPy for a name that is gone; it gets it here."""
    monkeypatch.setattr(np, "NINF", -np.inf, raising=False)


@pytest.mark.usefixtures("_older_numpy")
@pytest.mark.parametrize("seed", range(6))
def test_the_figures_of_a_run_are_those_of_empyrical(seed):
    """Return, annual rate, Sharpe, Sortino, Calmar, drawdown and volatility, to ten digits."""
    result = a_result(seed)
    returns, metrics = series_of(result), result.metrics
    year = {"period": None, "annualization": HOURS}

    assert metrics.total_return == pytest.approx(empyrical.cum_returns_final(returns), rel=1e-10)
    assert metrics.cagr == pytest.approx(empyrical.annual_return(returns, **year), rel=1e-10)
    assert metrics.sharpe == pytest.approx(empyrical.sharpe_ratio(returns, **year), rel=1e-10)
    assert metrics.sortino == pytest.approx(empyrical.sortino_ratio(returns, **year), rel=1e-10)
    assert metrics.calmar == pytest.approx(empyrical.calmar_ratio(returns, **year), rel=1e-10)
    assert metrics.max_drawdown == pytest.approx(empyrical.max_drawdown(returns), rel=1e-10)
    assert metrics.volatility == pytest.approx(empyrical.annual_volatility(returns, **year), rel=1e-10)


@pytest.mark.parametrize("seed", range(6))
def test_the_figures_of_a_run_are_those_of_quantstats(seed):
    """The same, and win rate and profit factor, which it is given the profits of the trades for."""
    result = a_result(seed)
    returns, metrics = series_of(result), result.metrics
    trips = result.round_trips
    profits = pd.Series(trips.profit[trips.exit_bar >= 0])

    assert metrics.total_return == pytest.approx(qs.comp(returns), rel=1e-10)
    assert metrics.cagr == pytest.approx(qs.cagr(returns, periods=HOURS), rel=1e-10)
    assert metrics.sharpe == pytest.approx(qs.sharpe(returns, periods=HOURS), rel=1e-10)
    assert metrics.sortino == pytest.approx(qs.sortino(returns, periods=HOURS), rel=1e-10)
    assert metrics.calmar == pytest.approx(qs.calmar(returns, periods=HOURS), rel=1e-10)
    assert metrics.max_drawdown == pytest.approx(qs.max_drawdown(returns), rel=1e-10)
    assert metrics.volatility == pytest.approx(qs.volatility(returns, periods=HOURS), rel=1e-10)
    assert metrics.win_rate == pytest.approx(qs.win_rate(profits, prepare_returns=False), rel=1e-10)
    assert metrics.profit_factor == pytest.approx(qs.profit_factor(profits, prepare_returns=False), rel=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_deviation_and_drawdown_are_those_of_skfolio(seed):
    """Its semi-deviation about zero divides by one less than the bars, ours, as Sortino's, by the bars."""
    result = a_result(seed)
    returns, metrics = series_of(result).to_numpy(), result.metrics
    falls = skm.get_drawdowns(returns, compounded=True)
    downside = skm.semi_deviation(returns, min_acceptable_return=0.0, biased=True)

    assert metrics.volatility == pytest.approx(skm.standard_deviation(returns) * math.sqrt(HOURS), rel=1e-10)
    assert metrics.max_drawdown == pytest.approx(-skm.max_drawdown(falls), rel=1e-9)
    assert metrics.sortino == pytest.approx(returns.mean() / downside * math.sqrt(HOURS), rel=1e-10)


def test_the_probabilistic_ratio_is_that_of_quantstats():
    """It corrects skewness and kurtosis for the size of the sample; of four thousand returns that is the fourth digit."""
    chance = np.random.default_rng(5)
    for shift in (0.0, 0.02, 0.03):
        returns = 0.01 * (chance.gamma(2.0, 1.0, 4_000) / math.sqrt(2.0) - math.sqrt(2.0) + shift)
        moments = moments_of(returns)

        assert moments is not None
        assert moments.skewness > 1.0
        assert probabilistic(moments) == pytest.approx(qs.probabilistic_sharpe_ratio(pd.Series(returns)), abs=1e-3)


def test_the_share_of_the_market_is_the_beta_of_empyrical():
    """And what is left beyond it is what its least squares leave."""
    chance = np.random.default_rng(6)
    market = chance.normal(0.0005, 0.01, 400)
    own = 0.4 * market + chance.normal(0.0, 0.003, 400)
    left, shares = beyond_market(own[:, None], market)

    assert shares[0] == pytest.approx(empyrical.beta(own, market), rel=1e-10)
    assert left[:, 0].mean() == pytest.approx(empyrical.alpha(own, market, annualization=1), rel=1e-9)


def test_the_figures_of_a_regime_are_those_of_empyrical():
    """Over the bars of one class put together: return, Sharpe ratio and drawdown."""
    result = a_result(3)
    labels = np.random.default_rng(2).integers(0, 2, len(result.bars)).astype(np.int8)
    family = Family(name="test", title="Test", classes=("low", "high"), labels=labels)
    returns = bar_returns(CASH, result.equity)

    for index, row in enumerate(figures_by_class(result, family)[:2]):
        here = pd.Series(returns[1:][labels[:-1] == index])
        assert row.total_return == pytest.approx(empyrical.cum_returns_final(here), rel=1e-10)
        assert row.sharpe == pytest.approx(empyrical.sharpe_ratio(here, period=None, annualization=HOURS), rel=1e-10)
        assert row.max_drawdown == pytest.approx(empyrical.max_drawdown(here), rel=1e-10)


def test_drawn_histories_have_the_figures_of_empyrical():
    """Growth, ratio and deepest fall of each history are those of the very returns that it was drawn from."""
    returns = np.random.default_rng(4).normal(0.001, 0.02, 150)
    found = histories(returns, 20, 5.0, np.random.default_rng(9))
    chosen = returns[drawn(150, 20, 5.0, np.random.default_rng(9))]

    for place, history in enumerate(chosen):
        assert found.growth[place] - 1.0 == pytest.approx(empyrical.cum_returns_final(history), rel=1e-9)
        assert found.drawdown[place] == pytest.approx(empyrical.max_drawdown(history), rel=1e-9)
        ratio = empyrical.sharpe_ratio(history, period=None, annualization=1)
        assert found.sharpe[place] == pytest.approx(ratio, rel=1e-9)


def test_orders_of_trades_fall_as_deep_as_quantstats_says():
    """Every drawn order is an order of the same trades, and its deepest fall the package's."""
    base = a_result(1)
    trips = base.round_trips
    closed = trips.exit_bar >= 0
    before = np.where(trips.entry_bar > 0, base.equity[np.maximum(trips.entry_bar - 1, 0)], CASH)[closed]
    each = trips.profit[closed] / before
    chance = np.random.default_rng(3)

    for fall in trade_orders(base, 10, np.random.default_rng(3)):
        order = pd.Series(chance.permutation(each), index=pd.date_range("2024-01-01", periods=len(each)))
        assert fall == pytest.approx(min(qs.max_drawdown(order), 0.0), rel=1e-9)
    assert deepest(equity_of(each[None, :]))[0] == pytest.approx(empyrical.max_drawdown(each), rel=1e-9)


def test_halves_of_time_are_the_splits_of_skfolio():
    """The probability of overfitting, asked over the splits of its purged cross-validation without purging."""
    from skfolio.model_selection import CombinatorialPurgedCV

    returns = np.random.default_rng(8).normal(0.02, 1.0, (160, 6))
    below = lost = total = 0
    for inside, outside in CombinatorialPurgedCV(n_folds=8, n_test_folds=4).split(returns):
        later = np.concatenate(outside)
        chosen, rest = (returns[rows].mean(axis=0) / returns[rows].std(axis=0, ddof=1) for rows in (inside, later))
        best = int(chosen.argmax())
        below += (rest <= rest[best]).sum() / 7.0 <= 0.5
        lost += rest[best] <= 0.0
        total += 1
    found = overfitting(returns, 8)

    assert found is not None
    assert total == found.splits == len(list(combinations(range(8), 4)))
    assert (found.probability, found.loss) == pytest.approx((below / total, lost / total))


def test_the_reality_check_is_that_of_arch():
    """Unstudentised and with every trial, the p-value is White's, and the statistic the largest mean by the root of time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from arch.bootstrap import RealityCheck
    excess = np.random.default_rng(7).normal(0.08, 1.0, (250, 8))
    theirs = RealityCheck(np.zeros(250), -excess, reps=3_000, block_size=6, seed=1)
    theirs.compute()
    ours = superior(excess, 3_000, 6.0, np.random.default_rng(1), studentized=False)

    assert ours.upper == pytest.approx(theirs.pvalues["upper"], abs=0.03)
    assert ours.statistic == pytest.approx(math.sqrt(250) * excess.mean(axis=0).max())


def test_adjusted_p_values_are_those_of_statsmodels():
    """Holm and Benjamini-Yekutieli, also with equal values, a single one, and ones at the ends."""
    from statsmodels.stats.multitest import multipletests

    chance = np.random.default_rng(1)
    cases = [chance.random(size) ** 3 for size in (1, 2, 5, 40)]
    for values in [*cases, np.array([0.01, 0.01, 0.5, 0.5]), np.array([0.0, 1.0, 1.0])]:
        assert holm(values) == pytest.approx(multipletests(values, method="holm")[1])
        assert false_discovery(values) == pytest.approx(multipletests(values, method="fdr_by")[1])


def test_the_mean_correlation_is_that_of_pandas():
    bars = [noise(seed, days=300).close for seed in range(5)]
    changes = np.column_stack([np.diff(np.log(close)) for close in bars])
    matrix = pd.DataFrame(changes + 0.5 * changes[:, :1]).corr().to_numpy()

    assert average_correlation(changes + 0.5 * changes[:, :1]) == pytest.approx(matrix[np.triu_indices(5, 1)].mean())
