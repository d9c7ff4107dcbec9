"""Whether a trial beats a benchmark although it was the best of many: tests that know how the trials hang together.

White, A Reality Check for Data Snooping, Econometrica 68(5), 2000.
Hansen, A Test for Superior Predictive Ability, Journal of Business & Economic Statistics 23(4), 2005.
"""

import math
from typing import NamedTuple

import numpy as np

from peak_trade.model.bar import F64
from peak_trade.research.bootstrap import weights


class Superior(NamedTuple):
    """Probabilities of a maximum at least as large if no trial were better than the benchmark.

    Attributes:
        consistent: Hansen's p-value. lower, upper: its bounds, from leaving out all bad trials and from keeping every one;
            without studentising, upper is that of White's reality check.
        statistic: the largest studentised mean, or the chosen trial's.
    """

    consistent: float
    lower: float
    upper: float
    statistic: float


def superior(
    excess: F64,
    draws: int,
    length: float,
    chance: np.random.Generator,
    *,
    chosen: int | None = None,
    studentized: bool = True,
) -> Superior:
    """Test whether some trial, or a chosen one, is better than the benchmark after the search over all of them.

    Args:
        excess: returns over the benchmark, (periods, trials); trials that never move count as no better.
        draws: histories drawn. length: mean length of a block.
        chosen: the trial whose probability is asked; its statistic is held against the maximum over all, which bounds the
            chance of any false finding (Romano, Wolf, Econometrica 73(4), 2005, first step); None is the best.
        studentized: whether means are divided by their standard errors, as Hansen asks, so that trials that hardly trade are
            heard; without it this is White's test, and the statistics of the package arch.
    """
    periods = len(excess)
    mean = excess.mean(axis=0)
    error = _errors(excess, length)
    moving = error > 1e-12
    if not moving.any() or (chosen is not None and not moving[chosen]):
        return Superior(1.0, 1.0, 1.0, 0.0)
    own = None if chosen is None else int(np.count_nonzero(moving[:chosen]))
    mean, error, kept = mean[moving], error[moving], excess[:, moving]
    scale = error if studentized else np.ones_like(error)
    root = math.sqrt(periods)
    ratio = root * mean / scale
    statistic = float(ratio.max() if own is None else ratio[own])
    hopeless = root * mean / error < -math.sqrt(2.0 * math.log(math.log(periods)))
    centres = {"lower": np.maximum(mean, 0.0), "consistent": np.where(hopeless, 0.0, mean), "upper": mean}
    most = {name: np.empty(draws) for name in centres}
    each = max(4_000_000 // max(len(mean), 1), 1)
    share = weights(periods, draws, length, chance)
    for first in range(0, draws, each):
        means = share[first : first + each] @ kept
        for name, centre in centres.items():
            most[name][first : first + each] = (root * (means - centre) / scale).max(axis=1)
    # No maximum below zero: the benchmark itself is always among what could be chosen.
    held = {
        name: (1.0 + int(np.count_nonzero(np.maximum(values, 0.0) >= statistic))) / (draws + 1.0)
        for name, values in most.items()
    }
    return Superior(**held, statistic=statistic)


def _errors(excess: F64, length: float) -> F64:
    """Return the root of the long-run variance of each column, as the stationary bootstrap weighs it (Hansen, 2005, p. 372)."""
    periods = len(excess)
    centred = excess - excess.mean(axis=0)
    spectrum = np.fft.rfft(centred, n=2 * periods, axis=0)
    shared = np.fft.irfft(np.abs(spectrum) ** 2, axis=0)[:periods] / periods
    lags = np.arange(1, periods)
    stay = 1.0 - 1.0 / length
    kernel = (1.0 - lags / periods) * stay**lags + lags / periods * stay ** (periods - lags)
    return np.asarray(np.sqrt(np.maximum(shared[0] + 2.0 * kernel @ shared[1:], 0.0)))
