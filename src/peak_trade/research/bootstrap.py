"""Other histories of the same kind: returns drawn again in blocks of random length, which keeps what follows on what.

Politis, Romano, The Stationary Bootstrap, Journal of the American Statistical Association 89(428), 1994.
"""

from typing import NamedTuple

import numpy as np

from peak_trade.model.bar import F64, I64

#: Values held at once while histories are drawn in pieces.
_VALUES_MAX = 4_000_000


class Interval(NamedTuple):
    """A figure, and the ends between which it lies with the asked confidence, by percentiles."""

    value: float
    low: float
    high: float


class Histories(NamedTuple):
    """Figures of many drawn histories, each (histories,), and quantiles of their equity (quantiles, periods + 1).

    Attributes:
        growth: final equity / first. sharpe: per period. drawdown: deepest fall, zero or negative.
    """

    growth: F64
    sharpe: F64
    drawdown: F64
    fan: F64


#: The quantiles of the fan.
FAN = (0.05, 0.25, 0.5, 0.75, 0.95)


def block_length(periods: int) -> float:
    """Return the mean length of a block: the root of third degree, the rate at which the best length grows.

    Politis, White, Econometric Reviews 23(1), 2004, give the factor before it; it depends on the series and is near one for
    returns that hardly follow on each other.
    """
    return max(float(round(periods ** (1.0 / 3.0))), 1.0)


def drawn(periods: int, draws: int, length: float, chance: np.random.Generator) -> I64:
    """Return which periods each history is made of, (draws, periods); the series is a circle."""
    anew = chance.random((draws, periods)) < 1.0 / length
    anew[:, 0] = True
    begin = chance.integers(0, periods, (draws, periods))
    steps = np.arange(periods)
    since = np.maximum.accumulate(np.where(anew, steps, 0), axis=1)
    return np.asarray((np.take_along_axis(begin, since, axis=1) + steps - since) % periods)


def weights(periods: int, draws: int, length: float, chance: np.random.Generator) -> F64:
    """Return the share that each period has in the mean of each history, (draws, periods).

    A mean over a history is then one row of a product of matrices, for all trials at once.
    """
    found = np.empty((draws, periods))
    each = max(_VALUES_MAX // periods, 1)
    for first in range(0, draws, each):
        count = min(each, draws - first)
        flat = drawn(periods, count, length, chance) + np.arange(count)[:, None] * periods
        found[first : first + count] = np.bincount(flat.ravel(), minlength=count * periods).reshape(count, periods)
    return found / periods


def histories(returns: F64, draws: int, length: float, chance: np.random.Generator) -> Histories:
    """Draw histories of a series of returns (periods,), and return their figures and the fan of their equity."""
    periods = len(returns)
    growth, sharpe, drawdown = np.empty(draws), np.empty(draws), np.empty(draws)
    curves = np.empty((draws, periods + 1), dtype=np.float32)
    each = max(_VALUES_MAX // periods, 1)
    for first in range(0, draws, each):
        part = slice(first, min(first + each, draws))
        chosen = returns[drawn(periods, part.stop - first, length, chance)]
        equity = equity_of(chosen)
        growth[part] = equity[:, -1]
        deviation = chosen.std(axis=1, ddof=1)
        sharpe[part] = np.divide(chosen.mean(axis=1), deviation, out=np.zeros(len(chosen)), where=deviation > 1e-12)
        drawdown[part] = deepest(equity)
        curves[part] = equity
    return Histories(growth, sharpe, drawdown, np.quantile(curves, FAN, axis=0).astype(np.float64))


def equity_of(returns: F64) -> F64:
    """Return equity from 1 on, (histories, periods + 1); what is lost stays lost."""
    steps = np.maximum(1.0 + returns, 0.0)
    return np.concatenate([np.ones((len(steps), 1)), np.cumprod(steps, axis=1)], axis=1)


def deepest(equity: F64) -> F64:
    """Return the deepest fall from a peak of each row of equity, zero or negative."""
    return np.asarray((equity / np.maximum.accumulate(equity, axis=1)).min(axis=1) - 1.0)


def interval(value: float, found: F64, confidence: float) -> Interval:
    """Return the percentile interval of a figure."""
    rest = (1.0 - confidence) / 2.0
    low, high = np.quantile(found, (rest, 1.0 - rest))
    return Interval(value, float(low), float(high))
