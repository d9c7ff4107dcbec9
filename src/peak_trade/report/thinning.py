"""Fewer points for a drawing, so chosen that no peak and no trough is lost.

Invariant: thinning serves drawings only; no number is ever computed from a thinned series.
"""

import numpy as np

from peak_trade.model.bar import F64, I64
from peak_trade.model.errors import require

#: A screen has fewer columns than this, and a page of five series stays small.
POINTS_MAX = 5_000
#: Trades that are all marked; more would cover the price they stand on.
MARKED_MAX = 2_000


def thinned(values: F64, limit: int = POINTS_MAX) -> I64:
    """Return ascending indices of at most *limit* values: the first, the last, and the extremes of equal buckets.

    The lowest and the highest value of the whole series are among them. At or below the limit every index is returned.

    Args:
        values: finite, shape (points,).
        limit: at least 4.
    """
    require(limit >= 4, "a thinned series has room for its ends and its extremes")
    count = len(values)
    if count <= limit:
        return np.arange(count)
    buckets = (limit - 2) // 2
    width = -(-(count - 2) // buckets)
    # The interior as rows of one bucket each; the last row is filled up by repeating the last interior point.
    index = np.minimum(np.arange(1, 1 + -(-(count - 2) // width) * width), count - 2).reshape(-1, width)
    rows = np.arange(len(index))
    inside = values[index]
    lowest = index[rows, np.argmin(inside, axis=1)]
    highest = index[rows, np.argmax(inside, axis=1)]
    return np.unique(np.concatenate(([0], lowest, highest, [count - 1])))


def evenly(count: int, limit: int) -> I64:
    """Return at most *limit* ascending indices spread over *count* things, the first and the last among them."""
    if count <= limit:
        return np.arange(count)
    return np.linspace(0, count - 1, limit).round().astype(np.int64)
