"""How far a Sharpe ratio can be believed: its error, the track record it needs, and what the best of many would show by chance.

All ratios are per observation, not annual: mean / standard deviation (one degree of freedom). Multiply by the root of the
periods of a year to show them.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from peak_trade.model.bar import F64

#: The Euler-Mascheroni constant.
EULER = 0.5772156649015329
_NORMAL = NormalDist()


class Moments(NamedTuple):
    """What the distribution of a series of returns is described by.

    Attributes:
        size: observations. sharpe: per observation. skewness: third standardised moment.
        kurtosis: fourth standardised moment, 3 for normal returns.
    """

    size: int
    sharpe: float
    skewness: float = 0.0
    kurtosis: float = 3.0

    @property
    def spread(self) -> float:
        """The standard error of the ratio times the root of (size - 1), at the ratio itself; 1 for none.

        Bailey, Lopez de Prado, The Sharpe Ratio Efficient Frontier, Journal of Risk 15(2), 2012, equation 5 (after Mertens,
        2002).
        """
        return self.spread_at(self.sharpe)

    def spread_at(self, ratio: float) -> float:
        """Return the same as if the ratio were another one."""
        # Pearson: kurtosis is at least 1 + skewness squared, so this is never below zero but for rounding.
        return math.sqrt(max(1.0 - self.skewness * ratio + (self.kurtosis - 1.0) / 4.0 * ratio**2, 1e-12))


def moments_of(returns: F64) -> Moments | None:
    """Return the moments of returns (observations,); None where they never move or are fewer than three."""
    count = len(returns)
    if count < 3:
        return None
    centred = returns - returns.mean()
    variance = float(np.mean(centred**2))
    if variance <= 1e-24:
        return None
    root = math.sqrt(variance)
    return Moments(
        size=count,
        sharpe=float(returns.mean()) / (root * math.sqrt(count / (count - 1))),
        skewness=float(np.mean(centred**3)) / root**3,
        kurtosis=float(np.mean(centred**4)) / variance**2,
    )


def probabilistic(moments: Moments, benchmark: float = 0.0) -> float:
    """Return the probability that the true ratio is above the benchmark (PSR).

    Bailey, Lopez de Prado, The Sharpe Ratio Efficient Frontier, Journal of Risk 15(2), 2012, equation 11.
    """
    return _NORMAL.cdf((moments.sharpe - benchmark) * math.sqrt(moments.size - 1) / moments.spread)


def least_record(moments: Moments, benchmark: float, confidence: float) -> float:
    """Return how many observations like these it takes to believe that the ratio is above the benchmark (minTRL).

    Bailey, Lopez de Prado, 2012, equation 13. Infinite where the ratio is not above it.
    """
    above = moments.sharpe - benchmark
    # Closer than that no length of time would tell them apart.
    if above <= 1e-12:
        return math.inf
    return 1.0 + (moments.spread * _NORMAL.inv_cdf(confidence) / above) ** 2


def expected_maximum(count: float, deviation: float) -> float:
    """Return the largest ratio to expect of *count* independent trials that have none in truth.

    Bailey, Lopez de Prado, The Deflated Sharpe Ratio, Journal of Portfolio Management 40(5), 2014, equation 1.

    Args:
        count: independent trials; one or fewer gives zero.
        deviation: standard deviation of the trials' ratios.
    """
    if count <= 1.0:
        return 0.0
    upper, lower = _NORMAL.inv_cdf(1.0 - 1.0 / count), _NORMAL.inv_cdf(1.0 - 1.0 / (count * math.e))
    return max(deviation * ((1.0 - EULER) * upper + EULER * lower), 0.0)


def deflated(moments: Moments, count: float, deviation: float) -> float:
    """Return the probability that the true ratio is above what the best of so many trials shows by chance (DSR).

    Bailey, Lopez de Prado, 2014, equation 2: the probabilistic ratio against the expected maximum.
    """
    return probabilistic(moments, expected_maximum(count, deviation))


def average_correlation(returns: F64) -> float:
    """Return the mean correlation between different columns of returns (periods, trials), 0 to 1; 0 for a single column.

    Columns that never move are left out. The mean of all pairs follows from the variance of the columns' standardised sum,
    so that no matrix of trials by trials is made.
    """
    deviation = returns.std(axis=0)
    moving = deviation > 1e-12
    trials = int(np.count_nonzero(moving))
    if trials < 2:
        return 0.0
    standard = (returns[:, moving] - returns[:, moving].mean(axis=0)) / deviation[moving]
    total = float(np.mean(standard.sum(axis=1) ** 2))
    return min(max((total - trials) / (trials * (trials - 1.0)), 0.0), 1.0)


def effective_count(count: int, correlation: float) -> float:
    """Return how many independent trials *count* trials of that mean correlation amount to.

    Bailey, Lopez de Prado, 2014, appendix 3: the straight line from all of them (none correlated) to one (all the same).
    """
    return correlation + (1.0 - correlation) * count if count > 1 else float(count)


def bars_needed(worthwhile: float, chance: float, moments: Moments, confidence: float) -> float:
    """Return how many observations it takes that a true ratio is as likely found as not.

    The hurdle of the best of many and the error both shrink with the root of the count, so that the count n solves
    ratio * sqrt(n) = hurdle * sqrt(present count) + z * spread.

    Args:
        worthwhile: the true ratio that one would not want to miss.
        chance: the hurdle at the present count, from `expected_maximum`.
        moments: the present count and the shape of the returns.
        confidence: one minus the rate of error.
    """
    spread = moments.spread_at(worthwhile)
    return ((chance * math.sqrt(moments.size) + _NORMAL.inv_cdf(confidence) * spread) / worthwhile) ** 2
