"""P-values of several hypotheses that were looked at together: strategies, markets, whatever one of was picked for its result.

Harvey, Liu, Zhu, ... and the Cross-Section of Expected Returns, Review of Financial Studies 29(1), 2016, section 3, ask this of
every published factor, and name the two that are here. Both hold however the hypotheses hang together.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from peak_trade.model.bar import F64


class Adjusted(NamedTuple):
    """A p-value among those of its family.

    Attributes:
        own: as it was, 0 to 1. size: hypotheses, itself included.
        holm: adjusted so that a false finding anywhere in the family is as seldom as it says.
        discovery: adjusted so that the share of false findings among all is on average as small as it says.
    """

    own: float
    size: int
    holm: float
    discovery: float


def holm(values: Sequence[float]) -> F64:
    """Return p-values adjusted for the chance of any false finding, in their order.

    Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6(2), 1979: the k-th
    smallest of m counts (m - k + 1) times, and no less than the one before it.
    """
    found = np.asarray(values, dtype=np.float64)
    order = np.argsort(found, kind="stable")
    times = len(found) - np.arange(len(found))
    ranked = np.minimum(np.maximum.accumulate(found[order] * times), 1.0)
    return _placed(ranked, order)


def false_discovery(values: Sequence[float]) -> F64:
    """Return p-values adjusted for the share of false findings, in their order.

    Benjamini, Yekutieli, The Control of the False Discovery Rate in Multiple Testing under Dependency, Annals of Statistics
    29(4), 2001, theorem 1.3: the k-th smallest of m counts m / k times the sum of 1 / i up to m, and no more than the next.
    """
    found = np.asarray(values, dtype=np.float64)
    order = np.argsort(found, kind="stable")
    ranks = np.arange(1, len(found) + 1)
    times = len(found) * float(np.sum(1.0 / ranks)) / ranks
    ranked = np.minimum(np.minimum.accumulate((found[order] * times)[::-1])[::-1], 1.0)
    return _placed(ranked, order)


def adjusted(own: float, others: Sequence[float]) -> Adjusted:
    """Return a p-value among those of the other hypotheses of its family."""
    values = [own, *others]
    return Adjusted(own, len(values), float(holm(values)[0]), float(false_discovery(values)[0]))


def _placed(ranked: F64, order: np.ndarray) -> F64:
    found = np.empty(len(ranked))
    found[order] = ranked
    return found
