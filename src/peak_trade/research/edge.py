"""Is an edge real? One answer from the returns of a combination and of everything else that was tried beside it.

Invariant: `EDGE` needs every test to hold, so that its rate of error is at most that of the strictest one.
Invariant: the answer is a function of its arguments; chance comes in with its seed.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, unique

import numpy as np

from peak_trade.model.bar import F64
from peak_trade.research.bootstrap import Interval, block_length, histories, interval
from peak_trade.research.data_snooping import Superior, superior
from peak_trade.research.overfitting import Overfitting, overfitting
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


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeLine:
    """One line of the answer.

    Attributes:
        found: the number; None where it can't be computed.
        sense: how it is held against the limit: at least, at most, above.
        holds: None where the question does not arise.
        words: what it means here.
    """

    name: str
    title: str
    found: float | None
    sense: str
    limit: float
    holds: bool | None
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeFound:
    """The answer with everything that led to it.

    Attributes:
        sharpe: annual, with the ends of its interval, as for the total return and the deepest drawdown; None where the
            series is too short or never moved.
        hurdle: annual Sharpe ratio that the best of so many trials shows by chance.
        beta: how much of the market was held on average, by least squares.
    """

    answer: EdgeAnswer
    lines: tuple[EdgeLine, ...]
    sharpe: Interval | None
    growth: Interval | None
    drawdown: Interval | None
    hurdle: float
    beta: float


def judge_edge(case: EdgeCase, limits: EdgeLimits, seed: int) -> EdgeFound:
    """Answer whether an edge is real."""
    moments = moments_of(case.returns)
    hurdle = expected_maximum(case.effective, case.deviation)
    root = math.sqrt(case.periods_per_year)
    hedged, betas = beyond_market(case.tried, case.market)
    lines = [*_amounts(case, limits, moments, hurdle)]
    tests = [
        *_ratios(case, limits, moments, hurdle),
        *_searches(case, limits, hedged, seed),
        _overfit(case, limits),
        _costs(case, limits),
    ]
    enough = {line.name: bool(line.holds) for line in lines}
    if enough["trades"] and all(line.holds in (True, None) for line in tests):
        answer = EdgeAnswer.EDGE
    elif all(enough.values()):
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
    )


def beyond_market(returns: F64, market: F64) -> tuple[F64, F64]:
    """Return what trials (periods, trials) gained beyond a constant share of the market, and that share, (trials,).

    The share is the one of least squares, so that a rule which holds a rising market half of the time has gained nothing.
    """
    centred = market - market.mean()
    variance = float(centred @ centred)
    betas = centred @ returns / variance if variance > 1e-24 else np.zeros(returns.shape[1])
    return returns - np.outer(market, betas), betas


def _amounts(case: EdgeCase, limits: EdgeLimits, moments: Moments | None, hurdle: float) -> Iterator[EdgeLine]:
    """Yield what says whether there is enough to judge by."""
    yield EdgeLine(
        name="trades",
        title="Closed trades",
        found=float(case.trades),
        sense="at least",
        limit=float(limits.trades_min),
        holds=case.trades >= limits.trades_min,
        words="fewer say nothing about a rule",
    )
    root, bars = math.sqrt(case.periods_per_year), len(case.returns)
    needed = math.inf
    if moments is not None:
        needed = bars_needed(limits.worthwhile / root, hurdle, moments, 1.0 - limits.error_rate)
    years = needed / case.periods_per_year
    yield EdgeLine(
        name="length",
        title="Length, years",
        found=bars / case.periods_per_year,
        sense="at least",
        limit=years if math.isfinite(years) else 0.0,
        holds=bars >= needed,
        words=f"after so many trials an annual Sharpe ratio of {limits.worthwhile:g} is found in half of the cases with that much",
    )


def _ratios(case: EdgeCase, limits: EdgeLimits, moments: Moments | None, hurdle: float) -> Iterator[EdgeLine]:
    """Yield the tests of the Sharpe ratio on its own."""
    confidence = 1.0 - limits.error_rate
    real = None if moments is None else probabilistic(moments)
    yield EdgeLine(
        name="psr",
        title="Probabilistic Sharpe ratio",
        found=real,
        sense="at least",
        limit=confidence,
        holds=real is not None and real >= confidence,
        words="probability that the true Sharpe ratio is above zero, were this the only trial",
    )
    best = None if moments is None else deflated(moments, case.effective, case.deviation)
    yield EdgeLine(
        name="dsr",
        title="Deflated Sharpe ratio",
        found=best,
        sense="at least",
        limit=confidence,
        holds=best is not None and best >= confidence,
        words=f"the same, as the best of {case.count:,} trials, which amount to {case.effective:,.1f} independent ones",
    )
    needed = math.inf if moments is None else least_record(moments, hurdle, confidence)
    years = needed / case.periods_per_year if math.isfinite(needed) else None
    yield EdgeLine(
        name="min_track_record",
        title="Minimum track record, years",
        found=years,
        sense="at most",
        limit=len(case.returns) / case.periods_per_year,
        holds=needed <= len(case.returns),
        words="at this Sharpe ratio, to be above what the best of these trials shows by chance; none where it is below that",
    )


def _searches(case: EdgeCase, limits: EdgeLimits, hedged: F64, seed: int) -> Iterator[EdgeLine]:
    """Yield the tests that draw the whole search again."""
    periods = len(case.tried)
    told = (
        ("spa_cash", "Superior to cash (SPA), p-value", case.tried, "so good a best of all trials, were none better than cash"),
        (
            "spa_market",
            "Superior to holding the market, p-value",
            hedged,
            "so good a best of all trials, were none better than holding a constant share of the market",
        ),
    )
    for number, (name, title, excess, words) in enumerate(told):
        found: Superior | None = None
        if periods >= PERIODS_MIN:
            chance = np.random.default_rng([seed, number])
            found = superior(excess, DRAWS, block_length(periods), chance, chosen=case.chosen)
        yield EdgeLine(
            name=name,
            title=title,
            found=None if found is None else found.consistent,
            sense="at most",
            limit=limits.error_rate,
            holds=found is not None and found.consistent <= limits.error_rate,
            words=words,
        )


def _overfit(case: EdgeCase, limits: EdgeLimits) -> EdgeLine:
    """Cross-validate the choice; where all are about equally good, being below their median is no harm."""
    found: Overfitting | None = overfitting(case.tried)
    words = "the best of one half of the time is below the median of the others in the other half"
    if found is None:
        words = "not asked: there is no choice, or too little time, to cross-validate"
    else:
        words += f"; it loses money there in {found.loss:.1%}, and up to {limits.error_rate:.0%} of that is enough as well"
    return EdgeLine(
        name="pbo",
        title="Probability of overfitting (PBO)",
        found=None if found is None else found.probability,
        sense="at most",
        limit=limits.overfit_max,
        holds=None if found is None else found.probability <= limits.overfit_max or found.loss <= limits.error_rate,
        words=words,
    )


def _costs(case: EdgeCase, limits: EdgeLimits) -> EdgeLine:
    words = f"annual, with fees and slippage {limits.cost_multiple:g} times as high"
    return EdgeLine(
        name="costs",
        title="Sharpe ratio at higher costs",
        found=case.costly,
        sense="above",
        limit=0.0,
        holds=case.charged and case.costly is not None and case.costly > 0.0,
        words=words if case.charged else "fees and slippage must both be above zero to say anything",
    )


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
