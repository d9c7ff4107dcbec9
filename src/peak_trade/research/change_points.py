"""Whether the market has changed of late, told at each bar from what came before.

Adams, MacKay, Bayesian Online Changepoint Detection, 2007 (arXiv:0710.3742): at each bar, the probability of every run length,
the number of bars since the last change. Within a run, returns are normal with unknown mean and variance (normal-gamma prior,
Murphy, Conjugate Bayesian Analysis of the Gaussian Distribution, 2007), so a change of either shows. A change is as likely at
any bar.

One freak bar is no change: a return counts as no larger than `CLIP` root mean squares of the returns before it. That is ours,
not the paper's; without it every outlier of a market would be one.
"""

import math
from typing import NamedTuple

import numpy as np

from peak_trade.model.bar import F64, I64

#: Returns from which the prior is taken; nothing is told over them.
SETTLE = 100
#: Expected bars from one change to the next.
HAZARD = 1_000.0
#: A run is young below this many bars; a change is announced when it is at least so probable that the run is.
RECENT, PROBABLE = 50, 0.7
#: Root mean squares that a return counts at most, over so many bars before it.
CLIP, CLIP_BARS = 3.0, 250
#: Of the prior: bars that its mean and its variance weigh as much as.
_KAPPA, _ALPHA = 1.0, 2.0
#: Run lengths that are less probable are dropped; what they had is shared out.
_DROP = 1e-7


class ChangePoint(NamedTuple):
    """A change: the bar at which it was announced, and the first bar of the run as it looked then."""

    announced: int
    began: int


def run_lengths(returns: F64) -> tuple[F64, I64]:
    """Return for each bar the probability that the run is young, and how young most probably if so; shapes (bars,).

    Not a number, and zero, before `SETTLE` returns after the first one, which has no bar before it, and `RECENT` bars more:
    until then every run is young.
    """
    young, likely = np.full(len(returns), np.nan), np.zeros(len(returns), dtype=np.int64)
    begin = SETTLE + 1
    variance = float(np.mean(returns[1:begin] ** 2)) if len(returns) > begin else 0.0
    if not variance > 0.0:
        return young, likely
    values = _clipped(returns)
    table = _table(len(returns) - begin + 1)
    # One entry for each run length that is still probable: its bars, mean, sum of squares, and probability.
    ages, means, betas, weights = np.zeros(1, dtype=np.int64), np.zeros(1), np.full(1, variance * (_ALPHA - 1.0)), np.ones(1)
    start_beta = betas[0]
    for bar in range(begin, len(returns)):
        value = values[bar]
        alpha, kappa = _ALPHA + 0.5 * ages, _KAPPA + ages
        missed = (value - means) ** 2
        width = 2.0 * betas * (kappa + 1.0) / kappa
        log_density = table[ages] - 0.5 * np.log(width) - (alpha + 0.5) * np.log1p(missed / width)
        joint = weights * np.exp(log_density - log_density.max())
        fresh = joint.sum() / HAZARD
        grown = joint * (1.0 - 1.0 / HAZARD)
        total = fresh + grown.sum()
        kept = grown > _DROP * total
        betas = np.concatenate([[start_beta], (betas + 0.5 * kappa * missed / (kappa + 1.0))[kept]])
        means = np.concatenate([[0.0], ((kappa * means + value) / (kappa + 1.0))[kept]])
        ages = np.concatenate([[0], ages[kept] + 1])
        weights = np.concatenate([[fresh], grown[kept]])
        weights /= weights.sum()
        if bar >= begin + RECENT:
            recent = np.where(ages < RECENT, weights, 0.0)
            young[bar] = recent.sum()
            likely[bar] = ages[np.argmax(recent)]
    return young, likely


def announced(young: F64, likely: I64) -> list[ChangePoint]:
    """Return the changes: bars at which a young run became probable."""
    now = young >= PROBABLE
    bars = np.flatnonzero(now[1:] & ~now[:-1]) + 1
    return [ChangePoint(int(bar), int(bar - likely[bar])) for bar in bars]


def _clipped(returns: F64) -> F64:
    """Return the returns, none larger than `CLIP` root mean squares of those before it, the first one left out."""
    summed = np.concatenate([[0.0], np.cumsum(returns[1:] ** 2)])
    index = np.arange(1, len(returns))
    first = np.maximum(index - 1 - CLIP_BARS, 0)
    squares = summed[index - 1] - summed[first]
    limit = CLIP * np.sqrt(np.maximum(squares, 0.0) / np.maximum(index - 1 - first, 1))
    limit[:SETTLE] = np.inf
    return np.concatenate([returns[:1], np.clip(returns[1:], -limit, limit)])


def _table(count: int) -> F64:
    """Return what of the predictive density's logarithm depends on the run length alone (Student's t)."""
    halves = [_ALPHA + 0.5 * age for age in range(count)]
    return np.array([math.lgamma(alpha + 0.5) - math.lgamma(alpha) for alpha in halves]) - 0.5 * math.log(math.pi)
