"""Is an edge real? One answer from the returns of a combination and of everything else that was tried beside it.

Invariant: `EDGE` needs every test to hold, so that its rate of error is at most that of the strictest one.
Invariant: the answer is a function of its arguments; chance comes in with its seed.

Few trades keep an edge from being shown, because a handful of them can be luck that no formula sees. That there is none they do
not keep from being said: the error of a Sharpe ratio goes by its observations, which are bars, and by their skewness and tails
(Mertens, 2002), not by how often a position was changed.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, unique

import numpy as np

from peak_trade.model.bar import F64
from peak_trade.research.bootstrap import Interval, block_length, histories, interval
from peak_trade.research.data_snooping import superior
from peak_trade.research.families import Adjusted, adjusted
from peak_trade.research.overfitting import Overfitting, overfitting
from peak_trade.research.probe import Probe, probe
from peak_trade.research.sharpe import Moments, bars_needed, deflated, expected_maximum, least_record, moments_of, probabilistic

#: Histories drawn for a probability; its own error is then below half a hundredth.
DRAWS = 2_000
#: Fewest periods that a bootstrap is asked about.
PERIODS_MIN = 20


@unique
class EdgeAnswer(Enum):
    """What is said of a strategy."""

    EDGE = "edge"
    NO_EDGE = "no edge"
    NOT_ENOUGH = "not enough data"


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeLimits:
    """What an edge has to show.

    Attributes:
        error_rate: how often the answer may be `EDGE` where there is none.
        worthwhile: annual Sharpe ratio that one would not want to miss: says how much data is enough.
        trades_min: closed trades.
        overfit_max: probability of backtest overfitting.
        cost_multiple: with costs so many times as high it still must not lose.
    """

    error_rate: float = 0.05
    worthwhile: float = 1.5
    trades_min: int = 30
    overfit_max: float = 0.5
    cost_multiple: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeCase:
    """What is judged.

    Attributes:
        returns: of each bar after costs, (bars,). trades: closed ones.
        periods_per_year: bars in a year of trading.
        market: returns of the market over stretches of bars, (periods,).
        tried: returns of everything tried over the same stretches, (periods, trials); chosen: the judged one's column.
        count: how many different trials there were; effective: how many independent ones they amount to.
        deviation: standard deviation of the trials' Sharpe ratios, per bar.
        costly: annual Sharpe ratio with costs `cost_multiple` times as high; None where equity never moved.
        charged: whether fees and slippage are both above zero.
        others: p-values of the same strategy's verdicts on other markets; 1 for a market that it was tried on without one.
    """

    returns: F64
    trades: int
    periods_per_year: float
    market: F64
    tried: F64
    chosen: int
    count: int
    effective: float
    deviation: float
    costly: float | None
    charged: bool
    others: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeFound:
    """The answer with everything that led to it.

    Attributes:
        sharpe: annual, with the ends of its interval, as for the total return and the deepest drawdown; None where the
            series is too short or never moved.
        hurdle: annual Sharpe ratio that the best of so many trials shows by chance.
        beta: how much of the market was held on average, by least squares.
        family: the p-value of this market among those of all markets that the strategy was tried on.
    """

    answer: EdgeAnswer
    lines: tuple[Probe, ...]
    sharpe: Interval | None
    growth: Interval | None
    drawdown: Interval | None
    hurdle: float
    beta: float
    family: Adjusted


def judge_edge(case: EdgeCase, limits: EdgeLimits, seed: int) -> EdgeFound:
    """Answer whether an edge is real."""
    moments = moments_of(case.returns)
    hurdle = expected_maximum(case.effective, case.deviation)
    root = math.sqrt(case.periods_per_year)
    hedged, betas = beyond_market(case.tried, case.market)
    lines = [*_amounts(case, limits, moments, hurdle)]
    chances = [*_ratios(case, limits, moments, hurdle), *_searches(case, limits, hedged, seed)]
    family = adjusted(p_value_of({line.name: line.found for line in chances}), case.others)
    tests = [*chances, _overfit(case, limits), _costs(case, limits), _family(family, limits)]
    enough = {line.name: bool(line.holds) for line in lines}
    shown = all(line.holds in (True, None) for line in tests)
    if enough["trades"] and shown:
        answer = EdgeAnswer.EDGE
    elif enough["length"] and not shown:
        answer = EdgeAnswer.NO_EDGE
    else:
        answer = EdgeAnswer.NOT_ENOUGH
    sharpe, growth, drawdown = _intervals(case, limits, moments, seed)
    return EdgeFound(
        answer=answer,
        lines=(*lines, *tests),
        sharpe=sharpe,
        growth=growth,
        drawdown=drawdown,
        hurdle=hurdle * root,
        beta=float(betas[case.chosen]),
        family=family,
    )


def p_value_of(found: Mapping[str, float | None]) -> float:
    """Return the chance of an answer at least as good where there is no edge, from its figures by name; 1 where one is missing.

    An edge needs all tests, so the p-value of the answer is the largest of theirs (Berger, Technometrics 24(4), 1982: the
    intersection-union test).
    """
    told = {name: found.get(name) for name in ("psr", "dsr", "spa_cash", "spa_market")}
    if any(value is None for value in told.values()):
        return 1.0
    return max(1.0 - value if name in ("psr", "dsr") else value for name, value in told.items() if value is not None)


def beyond_market(returns: F64, market: F64) -> tuple[F64, F64]:
    """Return what trials (periods, trials) gained beyond a constant share of the market, and that share, (trials,).

    The share is the one of least squares, so that a rule which holds a rising market half of the time has gained nothing.
    """
    centred = market - market.mean()
    variance = float(centred @ centred)
    betas = centred @ returns / variance if variance > 1e-24 else np.zeros(returns.shape[1])
    return returns - np.outer(market, betas), betas


def _amounts(case: EdgeCase, limits: EdgeLimits, moments: Moments | None, hurdle: float) -> Iterator[Probe]:
    """Yield what says whether there is enough to judge by."""
    words = "fewer show no edge, however good they were; that there is none is told from the length alone"
    yield probe("trades", "Closed trades", float(case.trades), "at least", float(limits.trades_min), words)
    year, bars = case.periods_per_year, len(case.returns)
    needed = None
    if moments is not None:
        needed = bars_needed(limits.worthwhile / math.sqrt(year), hurdle, moments, 1.0 - limits.error_rate)
    words = f"after so many trials an annual Sharpe ratio of {limits.worthwhile:g} is found in half of the cases with that much"
    enough = needed is not None and bars >= needed
    yield probe("length", "Length (years)", bars / year, "at least", (needed or 0.0) / year, words, unless=enough)


def _ratios(case: EdgeCase, limits: EdgeLimits, moments: Moments | None, hurdle: float) -> Iterator[Probe]:
    """Yield the tests of the Sharpe ratio on its own."""
    confidence, year = 1.0 - limits.error_rate, case.periods_per_year
    found = None if moments is None else probabilistic(moments)
    words = "probability that the true Sharpe ratio is above zero, were this the only trial"
    yield probe("psr", "Probabilistic Sharpe ratio", found, "at least", confidence, words)
    found = None if moments is None else deflated(moments, case.effective, case.deviation)
    words = f"the same, as the best of {case.count:,} trials, which amount to {case.effective:,.1f} independent ones"
    yield probe("dsr", "Deflated Sharpe ratio", found, "at least", confidence, words)
    needed = math.inf if moments is None else least_record(moments, hurdle, confidence)
    found = needed / year if math.isfinite(needed) else None
    words = "at this Sharpe ratio, to be above what the best of these trials shows by chance; none where it is below that"
    yield probe("min_track_record", "Minimum track record (years)", found, "at most", len(case.returns) / year, words)


def _searches(case: EdgeCase, limits: EdgeLimits, hedged: F64, seed: int) -> Iterator[Probe]:
    """Yield the tests that draw the whole search again."""
    periods = len(case.tried)
    best = "so good a best of all trials, were none better than"
    told = (
        ("spa_cash", "Superior to cash (SPA, p-value)", case.tried, f"{best} cash"),
        ("spa_market", "Superior to holding the market (p-value)", hedged, f"{best} holding a constant share of the market"),
    )
    for number, (name, title, excess, words) in enumerate(told):
        found = None
        if periods >= PERIODS_MIN:
            chance = np.random.default_rng([seed, number])
            found = superior(excess, DRAWS, block_length(periods), chance, chosen=case.chosen).consistent
        yield probe(name, title, found, "at most", limits.error_rate, words)


def _overfit(case: EdgeCase, limits: EdgeLimits) -> Probe:
    """Cross-validate the choice; where all are about equally good, being below their median is no harm."""
    title, limit = "Probability of overfitting (PBO)", limits.overfit_max
    found: Overfitting | None = overfitting(case.tried)
    if found is None:
        words = "not asked: there is no choice, or too little time, to cross-validate"
        return Probe(name="pbo", title=title, found=None, sense="at most", limit=limit, holds=None, words=words)
    words = (
        "the best of one half of the time is below the median of the others in the other half; it loses money there in "
        f"{found.loss:.1%}, and up to {limits.error_rate:.0%} of that is enough as well"
    )
    holds = found.probability <= limit or found.loss <= limits.error_rate
    return probe("pbo", title, found.probability, "at most", limit, words, unless=holds)


def _costs(case: EdgeCase, limits: EdgeLimits) -> Probe:
    title = "Sharpe ratio at higher costs"
    if not case.charged:
        words = "fees and slippage must both be above zero to say anything"
        return probe("costs", title, case.costly, "above", 0.0, words, unless=False)
    words = f"annual, with fees and slippage {limits.cost_multiple:g} times as high"
    return probe("costs", title, case.costly, "above", 0.0, words)


def _family(family: Adjusted, limits: EdgeLimits) -> Probe:
    """Ask whether this market stands out among all that the strategy was tried on; the question arises from the second on."""
    title, limit = "Best of several markets (Holm, p-value)", limits.error_rate
    if family.size < 2:
        words = "not asked: the strategy was tried on this market alone"
        return Probe(name="family", title=title, found=None, sense="at most", limit=limit, holds=None, words=words)
    words = (
        f"the largest p-value of this verdict, {family.own:.3f}, among those of {family.size} markets that the strategy was "
        f"tried on, so that none is wrongly named; as a share of false findings {family.discovery:.3f} (Benjamini, Yekutieli)"
    )
    return probe("family", title, family.holm, "at most", limit, words)


def _intervals(
    case: EdgeCase, limits: EdgeLimits, moments: Moments | None, seed: int
) -> tuple[Interval | None, Interval | None, Interval | None]:
    """Return Sharpe ratio (annual), total return and deepest drawdown with the ends of their intervals."""
    own = case.tried[:, case.chosen]
    if moments is None or len(own) < PERIODS_MIN:
        return None, None, None
    chance = np.random.default_rng([seed, 99])
    found = histories(own, DRAWS, block_length(len(own)), chance)
    confidence, root = 1.0 - 2.0 * limits.error_rate, math.sqrt(case.periods_per_year)
    annual = math.sqrt(case.periods_per_year * len(own) / len(case.returns))
    equity = np.cumprod(np.maximum(1.0 + case.returns, 0.0))
    peak = np.maximum(np.maximum.accumulate(equity), 1.0)
    return (
        interval(moments.sharpe * root, found.sharpe * annual, confidence),
        interval(float(equity[-1]) - 1.0, found.growth - 1.0, confidence),
        interval(float((equity / peak).min()) - 1.0, found.drawdown, confidence),
    )
