"""Whether choosing the best in the past chooses what is good afterwards: combinatorially symmetric cross-validation.

Bailey, Borwein, Lopez de Prado, Zhu, The Probability of Backtest Overfitting, Journal of Computational Finance 20(4), 2017.
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np

from peak_trade.model.bar import F64

#: Blocks that the periods are cut into, as in the paper: 12,870 ways to choose half of them.
BLOCKS = 16
#: Fewest periods in a block: fewer give no ratio worth ranking.
PERIODS_MIN = 8


class Overfitting(NamedTuple):
    """What the cross-validation found.

    Attributes:
        probability: share of splits in which the best of one half is below the median of the other (PBO).
        loss: share of splits in which it loses money in the other half.
        slope: of its ratio in the other half over that in the chosen one, least squares; below zero, the better it looked the
            worse it did.
        splits: how many ways to choose half of the blocks.
    """

    probability: float
    loss: float
    slope: float
    splits: int


def overfitting(returns: F64, blocks: int = BLOCKS) -> Overfitting | None:
    """Cross-validate the choice of the best Sharpe ratio among trials.

    Args:
        returns: (periods, trials); what is left over after cutting into equal blocks is dropped at the beginning.
        blocks: an even number.

    Returns:
        None where fewer than two trials ever moved, or a block would have fewer than `PERIODS_MIN` periods.
    """
    each = len(returns) // blocks
    moving = returns.std(axis=0) > 1e-12
    if np.count_nonzero(moving) < 2 or each < PERIODS_MIN:
        return None
    # A trial's scale does not change its ratio, but its rounding: sums of squares are kept near one.
    kept = returns[len(returns) - each * blocks :, moving] / returns[:, moving].std(axis=0)
    cut = kept.reshape(blocks, each, -1)
    sums, squares = cut.sum(axis=1), (cut**2).sum(axis=1)
    halves = np.array(list(combinations(range(blocks), blocks // 2)))
    chosen = np.zeros((len(halves), blocks))
    chosen[np.arange(len(halves))[:, None], halves] = 1.0
    size = each * (blocks // 2)
    below, lost, pairs = 0, 0, []
    # In pieces, so that memory stays small with thousands of trials.
    for first in range(0, len(chosen), 1_000):
        inside = chosen[first : first + 1_000]
        known, later = (_ratios(side @ sums, side @ squares, size) for side in (inside, 1.0 - inside))
        rows = np.arange(len(inside))
        best = known.argmax(axis=1)
        found = later[rows, best]
        worse = (later < found[:, None]).sum(axis=1) + ((later == found[:, None]).sum(axis=1) + 1) / 2.0
        below += int(np.count_nonzero(worse / (later.shape[1] + 1.0) <= 0.5))
        lost += int(np.count_nonzero(found <= 0.0))
        pairs.append(np.column_stack([known[rows, best], found]))
    both = np.concatenate(pairs)
    spread = float(both[:, 0].var())
    slope = float(np.cov(both.T, bias=True)[0, 1]) / spread if spread > 0.0 else 0.0
    return Overfitting(below / len(halves), lost / len(halves), slope, len(halves))


def _ratios(sums: F64, squares: F64, size: int) -> F64:
    """Return Sharpe ratios from sums and sums of squares; 0 where nothing moved."""
    mean = sums / size
    variance = (squares - sums * mean) / (size - 1)
    return np.divide(mean, np.sqrt(np.maximum(variance, 0.0)), out=np.zeros_like(mean), where=variance > 1e-18)
