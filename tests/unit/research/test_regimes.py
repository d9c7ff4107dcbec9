"""The regimes of a market: nothing looks ahead, and what they say is what the formulas and an independent filter say."""

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.builders import flat_bars, random_targets, some_bars, some_terms

from peak_trade.model.bar import Bars
from peak_trade.model.errors import InputError
from peak_trade.research import switching
from peak_trade.research.backtest import Result, run
from peak_trade.research.change_points import PROBABLE, RECENT, SETTLE, announced, run_lengths
from peak_trade.research.futures import FUTURES, wild_market, with_future
from peak_trade.research.kernel import loop_for
from peak_trade.research.regime_figures import bar_returns, figures_by_class
from peak_trade.research.regimes import Family, RegimeRules, Regimes, regimes, spells, transitions
from peak_trade.research.switching import FIT_FROM, Switching, estimate, filter_wild, in_the_long_run, refits, wild_probability
from peak_trade.strategy.buy_and_hold import BuyAndHold
from peak_trade.strategy.regimes import UNKNOWN

RULES = RegimeRules(window=10, history=40, trend_window=20)
SPELLS = (1.0, 3.0, 1.0, 2.5)


def spell_returns(seed: int = 3, length: int = 300, count: int = 4) -> np.ndarray:
    """Return log returns whose standard deviation changes from spell to spell; the first one has no bar before it."""
    draw = np.random.default_rng(seed)
    spells = [draw.normal(0.0, 0.01 * SPELLS[number % 4], length) for number in range(count)]
    return np.concatenate([[0.0], *spells])


def spell_bars(**changes) -> Bars:
    close = 100.0 * np.exp(np.cumsum(spell_returns(**changes)))
    opened = np.concatenate([[100.0], close[:-1]])
    return some_bars(open=opened, close=close, high=np.maximum(opened, close) * 1.001, low=np.minimum(opened, close) * 0.999)


@pytest.fixture
def _estimated_once(monkeypatch):
    """An estimate is a pure function of its returns: computed once for the same ones, which saves most of the time."""
    known: dict[tuple[bytes, int], Switching | None] = {}

    def remembered(returns, since):
        key = (returns.tobytes(), since)
        if key not in known:
            known[key] = estimate(returns, since)
        return known[key]

    monkeypatch.setattr(switching, "estimate", remembered)


def same_until(cut: int, first: Regimes, second: Regimes) -> bool:
    """Tell whether two answers are the same for the bars before a cut, to the last bit."""
    columns = zip([*(item.labels for item in first.families), first.wild, first.young], _columns(second), strict=True)
    told = [[point for point in found.changes if point.announced < cut] for found in (first, second)]
    fits = [[fit for fit in found.fits if fit.since < cut] for found in (first, second)]
    return all(a[:cut].tobytes() == b[:cut].tobytes() for a, b in columns) and told[0] == told[1] and fits[0] == fits[1]


def _columns(found: Regimes) -> list[np.ndarray]:
    return [*(item.labels for item in found.families), found.wild, found.young]


@pytest.mark.usefixtures("_estimated_once")
@pytest.mark.parametrize("market", ["spells", "wild"])
def test_nothing_looks_ahead(market):
    """Cut anywhere, and with every other future, the regimes before the cut are the same bits, and so are the estimates."""
    draw = np.random.default_rng(5)
    bars = spell_bars(length=175) if market == "spells" else wild_market(some_bars(2), 700, draw)
    whole = regimes(bars, RULES)
    last = len(bars) - 1
    cuts = {2, 3, SETTLE + 1, SETTLE + RECENT + 2, FIT_FROM - 1, FIT_FROM, FIT_FROM + 1, 625, 626, last - 1, last}
    cuts |= set(draw.integers(2, last, 6).tolist()) | {point.announced + 1 for point in whole.changes}

    for cut in sorted(cut for cut in cuts if cut <= last):
        assert same_until(cut, regimes(bars[:cut], RULES), whole), f"cut at {cut}"
    for name in FUTURES:
        for part, cut in ((bars[: FIT_FROM - 1], SETTLE + 60), (bars, FIT_FROM + 3)):
            other = regimes(with_future(part, cut, name, draw), RULES)
            assert same_until(cut, other, whole), f"{name} after {cut}"


@pytest.mark.usefixtures("_estimated_once")
@pytest.mark.parametrize("peek", ["smoothed", "whole sample"])
def test_the_proof_finds_what_looks_ahead(peek, monkeypatch):
    """Were the parameters those of the whole sample, or the probabilities smoothed, the test above would fail."""
    bars = spell_bars(length=200)
    if peek == "whole sample":
        fit = lambda returns: [estimate(returns[1:], FIT_FROM)]
        cheat = lambda returns: (filter_wild(returns, fit(returns)[0], 0.5), fit(returns), 0)
    else:
        honest = cache(lambda text: wild_probability(np.frombuffer(text)))

        def cheat(returns):
            wild, fits, failed = honest(returns.tobytes())
            return np.convolve(wild, np.ones(5) / 5.0, mode="same"), fits, failed

    monkeypatch.setattr("peak_trade.research.regimes.wild_probability", cheat)

    assert not same_until(700, regimes(bars[:700], RULES), regimes(bars, RULES))


def test_the_filter_is_statsmodels():
    """With the same parameters and beginning, its filtered probabilities are those of the library to twelve digits."""
    from statsmodels.tsa.regime_switching.markov_regression import MarkovRegression

    returns = spell_returns()[1:]
    fit = estimate(returns, 0)
    model = MarkovRegression(returns, k_regimes=2, trend="c", switching_variance=True)
    stay, back = fit.stays[0], 1.0 - fit.stays[1]
    theirs = model.filter(np.array([stay, back, *fit.means, *fit.variances])).filtered_marginal_probabilities[:, 1]

    assert fit.converged
    assert np.allclose(filter_wild(returns, fit, in_the_long_run(fit)), theirs, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("transformed", [True, False])
def test_likelihood_and_slope_are_those_of_statsmodels(transformed):
    """At several parameters, also where a state hardly ever ends, in both of the forms that it climbs over."""
    from statsmodels.tsa.regime_switching.markov_regression import MarkovRegression

    returns = spell_returns()[1:] * 100.0
    model = MarkovRegression(returns, k_regimes=2, trend="c", switching_variance=True)
    loglike, score = switching.compiled_for(returns)
    for params in ([0.9, 0.2, 0.1, -0.3, 1.1, 5.0], [0.999, 1e-4, 0.0, 0.0, 0.5, 9.0], [0.4, 0.6, -1.0, 1.0, 2.0, 2.0]):
        given = np.array(params) if transformed else model.untransform_params(np.array(params))

        height = model.loglike(given, transformed=transformed)
        assert loglike(given, transformed=transformed) == pytest.approx(height, rel=1e-12)
        theirs = model.score(given, transformed=transformed)
        assert score(given, transformed=transformed) == pytest.approx(theirs, rel=1e-7, abs=1e-7)


def test_the_estimate_is_that_of_statsmodels():
    """Climbing by the compiled slope ends where the library's own ends."""
    from statsmodels.tsa.regime_switching.markov_regression import MarkovRegression

    returns = spell_returns()[1:]
    scaled = (returns - returns.mean()) / returns.std()
    theirs = MarkovRegression(scaled, k_regimes=2, trend="c", switching_variance=True).fit(disp=False, cov_type="none")
    quiet, wild = sorted(theirs.params[4:])
    found = estimate(returns, 0)

    assert found is not None
    assert [variance / returns.var() for variance in found.variances] == pytest.approx([quiet, wild], rel=1e-4)


def test_the_states_are_found():
    """Deviations are those of the spells, the quiet state comes first, and most bars are told rightly once it is known."""
    returns = spell_returns(length=400)
    wild, fits, failed = wild_probability(returns)
    truth = np.repeat([False, True, False, True], 400)[FIT_FROM:]
    deviations = np.sqrt(fits[-1].variances)

    assert failed == 0
    assert np.isnan(wild[:FIT_FROM]).all()
    assert 0.009 < deviations[0] < 0.011
    assert 0.024 < deviations[1] < 0.032
    assert np.mean((wild[FIT_FROM:][1:] > 0.5) == truth) > 0.95


def test_estimates_are_made_at_the_same_bars_whatever_comes_after():
    assert refits(499) == []
    assert refits(500) == []
    assert refits(501) == [500]
    assert refits(800) == [500, 625, 782]
    assert refits(100_000)[: len(refits(3_000))] == refits(3_000)


def test_a_market_that_stands_still_has_no_states():
    """No estimate is made up where nothing moves; classes are calm and flat, and no change is announced."""
    found = regimes(flat_bars([100.1] * 700), RULES)

    assert (found.fits, found.failed, found.changes) == ((), 2, ())
    assert [item.now for item in found.families] == ["calm", "flat", None, None]


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_a_change_of_volatility_is_announced(factor):
    """Twice or half the standard deviation is announced within sixty bars, in at least nine of ten markets."""
    hits = 0
    for seed in range(10):
        draw = np.random.default_rng(seed)
        returns = np.concatenate([draw.normal(0.0, 0.01, 600), draw.normal(0.0, 0.01 * factor, 100)])
        found = [point for point in announced(*run_lengths(returns)) if 600 <= point.announced < 660]
        hits += bool(found) and abs(found[0].began - 600) < 30

    assert hits >= 9


def test_a_steady_market_has_hardly_a_change():
    """Of 5,000 bars without any change, at most two are taken for one, and a single freak bar is none."""
    returns = np.random.default_rng(1).normal(0.0, 0.01, 5_000)
    freak = returns[:800].copy()
    freak[600] = 0.2

    assert len(announced(*run_lengths(returns))) <= 2
    assert announced(*run_lengths(freak)) == announced(*run_lengths(returns[:800]))


def test_run_lengths_are_those_of_the_paper():
    """The probabilities are those of the recursion over all run lengths, each from its own returns, without shortcuts."""
    returns = np.random.default_rng(2).normal(0.0, 0.01, 190)
    returns[150:] *= 2.5
    young, likely = run_lengths(returns)
    prior = float(np.mean(returns[1 : SETTLE + 1] ** 2))
    joint = {SETTLE + 1: 1.0}
    values = [clipped(returns, at) if at > SETTLE else math.nan for at in range(190)]
    for bar in range(SETTLE + 1, 190):
        seen = {start: chance * predictive(values[start:bar], values[bar], prior) for start, chance in joint.items()}
        total = sum(seen.values())
        joint = {start: chance * (1.0 - 1.0 / 1_000.0) / total for start, chance in seen.items()} | {bar + 1: 1.0 / 1_000.0}

    assert math.isclose(young[-1], sum(chance for start, chance in joint.items() if 190 - start < RECENT), abs_tol=1e-5)
    assert likely[-1] == 190 - max((start for start in joint if 190 - start < RECENT), key=lambda start: joint[start])
    assert young[-1] > PROBABLE


@pytest.mark.parametrize("kind", ["spells", "steady", "tails"])
def test_old_runs_that_are_told_as_one_change_no_answer(kind):
    """Against all run lengths, each for itself: probabilities within two hundredths, and the same changes announced."""
    draw = np.random.default_rng(3)
    returns = {
        "spells": lambda: spell_returns(length=600, count=5),
        "steady": lambda: np.concatenate([[0.0], draw.normal(0.0, 0.01, 3_000)]),
        "tails": lambda: np.concatenate([[0.0], 0.01 * draw.standard_t(4, 3_000)]),
    }[kind]()
    young, likely = run_lengths(returns)
    theirs, most = every_run(returns)
    known = ~np.isnan(young)

    assert np.abs(young - theirs)[known].max() < 0.02
    assert announced(young, likely) == announced(theirs, most)


def every_run(returns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what `run_lengths` does, with one entry for each run length that there is."""
    young, likely = np.full(len(returns), np.nan), np.zeros(len(returns), dtype=np.int64)
    begin = SETTLE + 1
    variance = float(np.mean(returns[1:begin] ** 2))
    table = np.array([math.lgamma(2.5 + 0.5 * age) - math.lgamma(2.0 + 0.5 * age) for age in range(len(returns))])
    ages, means, betas, weights = np.zeros(1, dtype=np.int64), np.zeros(1), np.full(1, variance), np.ones(1)
    for bar in range(begin, len(returns)):
        value, kappa = clipped(returns, bar), 1.0 + ages
        missed = (value - means) ** 2
        width = 2.0 * betas * (kappa + 1.0) / kappa
        density = table[ages] - 0.5 * np.log(width) - (2.5 + 0.5 * ages) * np.log1p(missed / width)
        joint = weights * np.exp(density - density.max())
        betas = np.concatenate([[variance], betas + 0.5 * kappa * missed / (kappa + 1.0)])
        means = np.concatenate([[0.0], (kappa * means + value) / (kappa + 1.0)])
        ages = np.concatenate([[0], ages + 1])
        weights = np.concatenate([[joint.sum() / 1_000.0], joint * (1.0 - 1.0 / 1_000.0)]) / joint.sum()
        if bar >= begin + RECENT:
            recent = np.where(ages < RECENT, weights, 0.0)
            young[bar], likely[bar] = recent.sum(), ages[np.argmax(recent)]
    return young, likely


def clipped(returns: np.ndarray, bar: int) -> float:
    """Return a return of at most three root mean squares of the 250 before it."""
    limit = 3.0 * math.sqrt(np.mean(returns[max(1, bar - 250) : bar] ** 2))
    return min(max(returns[bar], -limit), limit)


def predictive(seen: list[float], value: float, prior: float) -> float:
    """Return Student's density of a value after others, from the sums of the normal-gamma posterior (Murphy, 2007)."""
    count = len(seen)
    kappa, alpha, mean = 1.0 + count, 2.0 + count / 2.0, sum(seen) / (1.0 + count)
    beta = prior
    if count:
        middle = sum(seen) / count
        beta += 0.5 * sum((one - middle) ** 2 for one in seen) + count * middle**2 / (2.0 * (1.0 + count))
    width = 2.0 * beta * (kappa + 1.0) / kappa
    scale = math.lgamma(alpha + 0.5) - math.lgamma(alpha) - 0.5 * math.log(math.pi * width)
    return math.exp(scale - (alpha + 0.5) * math.log1p((value - mean) ** 2 / width))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"window": 1}, "expected 2 to 100,000 as --window, found 1"),
        ({"history": 10_001}, "expected 3 to 10,000 as --history, found 10001"),
        ({"trend_window": 0}, "expected 2 to 100,000 as --trend-window, found 0"),
        ({"threshold": math.nan}, "expected 0 to 100 as --threshold, found nan"),
    ],
)
def test_windows_have_limits(changes, words):
    with pytest.raises(InputError, match=words):
        RegimeRules(**changes)
    RegimeRules(window=2, history=3, trend_window=2, threshold=0.0)
    RegimeRules(window=100_000, history=10_000, trend_window=100_000, threshold=100.0)


def test_one_bar_is_refused():
    with pytest.raises(InputError, match="expected at least 2 bars, found 1"):
        regimes(some_bars(1), RULES)


def a_family(labels: list[int], classes: tuple[str, ...] = ("low", "high")) -> Family:
    return Family(name="test", title="Test", classes=classes, labels=np.array(labels, dtype=np.int8))


def test_spells_and_transitions_are_counted():
    """Unknown bars belong to no class, and what follows or precedes one is no transition."""
    family = a_family([-1, 0, 0, 1, 1, 1, -1, 0])
    low, high = spells(family)

    assert (low.spells, low.mean, low.median, low.longest) == (2, 1.5, 1.5, 2)
    assert (high.spells, high.mean, high.median, high.longest) == (1, 3.0, 3.0, 3)
    assert transitions(family) == [[1, 1], [0, 2]]
    none = spells(a_family([0, 0]))[1]
    assert (none.spells, none.mean, none.median, none.longest) == (0, None, None, None)
    assert (family.now, a_family([0, -1]).now) == ("low", None)


def a_result(bars: Bars, targets: np.ndarray) -> Result:
    return run(bars, BuyAndHold(), targets, some_terms(fee_bps=5.0), loop_for(len(bars)))


@settings(max_examples=40, derandomize=True, database=None, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(20, 120))
def test_the_classes_add_up_to_the_run(seed, count):
    """Bars, trades and profits add up, and returns multiply up, to those of the run; drawdowns are no deeper than zero."""
    bars, draw = some_bars(count, seed=seed, noise=0.02), np.random.default_rng(seed)
    result = a_result(bars, random_targets(count, seed))
    rows = figures_by_class(result, a_family(draw.integers(-1, 2, count).tolist()))

    assert [row.name for row in rows] == ["low", "high", "unknown"]
    assert sum(row.bars for row in rows) == count
    assert math.isclose(sum(row.share for row in rows), 1.0)
    assert sum(row.trades for row in rows) == len(result.round_trips)
    closed = result.round_trips.profit[result.round_trips.exit_bar >= 0]
    assert math.isclose(sum(row.profit for row in rows), closed.sum(), rel_tol=1e-9, abs_tol=1e-6)
    assert math.isclose(math.prod(1.0 + row.total_return for row in rows), 1.0 + result.metrics.total_return, rel_tol=1e-9)
    market = bars.close[-1] / bars.close[0]
    assert math.isclose(math.prod(1.0 + row.market_return for row in rows), market, rel_tol=1e-9)
    assert all(row.max_drawdown <= 0.0 for row in rows)


def test_one_class_is_the_whole_run():
    """Where every bar is of one class, but for the first, which nothing was known before, its figures are the run's own."""
    bars = some_bars(300, noise=0.02)
    result = a_result(bars, random_targets(300, 4))
    row, unknown = figures_by_class(result, a_family([0] * 300, ("all",)))

    assert (row.bars, unknown.bars, unknown.name) == (299, 1, "unknown")
    assert math.isclose(row.total_return, result.metrics.total_return, rel_tol=1e-12)
    assert math.isclose(row.max_drawdown, result.metrics.max_drawdown, rel_tol=1e-12)
    assert math.isclose(row.sharpe, result.metrics.sharpe, rel_tol=2e-2)
    assert math.isclose(row.win_rate, result.metrics.win_rate, rel_tol=1e-12)


def test_a_bar_counts_for_what_was_known_before_it():
    """A class that is told at a jump does not earn the jump, nor does a trade that was decided before it."""
    bars = flat_bars([100.0, 100.0, 100.0, 200.0, 200.0, 200.0])
    result = a_result(bars, np.ones(6))
    labels = [0, 0, 0, 1, 1, 1]
    low, high, _ = figures_by_class(result, a_family(labels))

    assert (low.market_return, high.market_return) == (1.0, 0.0)
    assert (low.trades, high.trades) == (1, 0)
    assert UNKNOWN == -1


def test_returns_end_where_nothing_is_left():
    assert bar_returns(10.0, np.array([5.0, 0.0, 3.0])).tolist() == [-0.5, -1.0, 0.0]
