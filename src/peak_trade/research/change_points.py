"""Whether the market has changed of late, told at each bar from what came before.

Adams, MacKay, Bayesian Online Changepoint Detection, 2007 (arXiv:0710.3742): at each bar, the probability of every run length,
the number of bars since the last change. Within a run, returns are normal with unknown mean and variance (normal-gamma prior,
Murphy, Conjugate Bayesian Analysis of the Gaussian Distribution, 2007), so a change of either shows. A change is as likely at
any bar.

One freak bar is no change: a return counts as no larger than `CLIP` root mean squares of the returns before it. That is ours,
not the paper's; without it every outlier of a market would be one.

Invariant: all compiled code of this file stands in it, because numba's cache does not see changes in other files.
"""

import math
from collections.abc import Callable
from functools import cache
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
#: From this age on, four times what is young, runs are told apart only if they differ by one part in so many of their length.
#: All run lengths of a steady market would be thousands; that answers stay the same is measured in the tests.
_APART, _ALIKE = 4 * RECENT, 128
#: Room for run lengths: twice as many as could be told apart in ten million bars.
_ENTRIES = 8_192


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
    _compiled()(values, _table(len(returns) - begin + 1), begin, variance * (_ALPHA - 1.0), young, likely)
    return young, likely


@cache
def _compiled() -> Callable[..., None]:
    """Return the recursion compiled by numba; the machine code is cached on disk and made anew when this file changes."""
    from numba import njit

    compiled: Callable[..., None] = njit(cache=True, nogil=True, error_model="numpy", fastmath=False)(_recursion)
    return compiled


def _recursion(values: F64, table: F64, begin: int, start_beta: float, young: F64, likely: I64) -> None:
    """Fill *young* and *likely* from bar *begin* on; compiled, and always so, that the bits don't depend on the length.

    Args:
        values: clipped returns, (bars,). table: of `_table`. start_beta: of a run without a return.
    """
    # One entry for each run length that is still probable, the youngest first.
    ages, means, betas = np.zeros(_ENTRIES, np.int64), np.zeros(_ENTRIES), np.zeros(_ENTRIES)
    weights, joint = np.zeros(_ENTRIES), np.zeros(_ENTRIES)
    betas[0], weights[0], count = start_beta, 1.0, 1
    for bar in range(begin, len(values)):
        value, most = values[bar], -np.inf
        for k in range(count):
            kappa = _KAPPA + ages[k]
            missed, width = (value - means[k]) ** 2, 2.0 * betas[k] * (kappa + 1.0) / kappa
            power = _ALPHA + 0.5 * ages[k] + 0.5
            joint[k] = table[ages[k]] - 0.5 * math.log(width) - power * math.log1p(missed / width)
            most = max(most, joint[k])
        total = 0.0
        for k in range(count):
            joint[k] = weights[k] * math.exp(joint[k] - most)
            total += joint[k]
        fresh = total / HAZARD
        kept, anchor, held = 0, 0, fresh
        for k in range(count):
            grown = joint[k] * (1.0 - 1.0 / HAZARD)
            if grown <= _DROP * total:
                continue
            age, kappa = ages[k] + 1, _KAPPA + ages[k]
            beta = betas[k] + 0.5 * kappa * (value - means[k]) ** 2 / (kappa + 1.0)
            mean = (kappa * means[k] + value) / (kappa + 1.0)
            held += grown
            if kept and anchor >= _APART and (age - anchor) * _ALIKE < age:
                # Two old runs of nearly one length say the same of the next return: the more probable one speaks for both.
                if grown > weights[kept - 1]:
                    ages[kept - 1], means[kept - 1], betas[kept - 1] = age, mean, beta
                weights[kept - 1] += grown
                continue
            ages[kept], means[kept], betas[kept], weights[kept] = age, mean, beta, grown
            anchor, kept = age, kept + 1
        for k in range(kept, 0, -1):
            ages[k], means[k], betas[k], weights[k] = ages[k - 1], means[k - 1], betas[k - 1], weights[k - 1] / held
        ages[0], means[0], betas[0], weights[0] = 0, 0.0, start_beta, fresh / held
        count = kept + 1
        if bar >= begin + RECENT:
            recent, best = 0.0, 0
            for k in range(count):
                if ages[k] >= RECENT:
                    break
                recent += weights[k]
                best = k if weights[k] > weights[best] else best
            young[bar], likely[bar] = recent, ages[best]


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
