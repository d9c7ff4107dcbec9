"""The returns of many combinations over the same bars: done again by the kernel, because that is faster than keeping them.

Invariant: a combination's column does not depend on how many others there are, or on how many threads work.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import local
from typing import NamedTuple

import numpy as np

from peak_trade.model.bar import F64, I64, Bars
from peak_trade.model.errors import StrategyError
from peak_trade.research.backtest import Workspace
from peak_trade.research.executors import core_count
from peak_trade.research.kernel import loop_for
from peak_trade.research.terms import Terms
from peak_trade.strategy.base import checked_targets
from peak_trade.strategy.catalogue import Value, make
from peak_trade.strategy.indicators import Shared, sharing

#: Periods that bars are put together to: a test of a mean loses nothing by that, and a thousand trials fit into memory.
PERIODS_MAX = 512


class Combination(NamedTuple):
    """What was tried: a strategy with parameters, under terms."""

    strategy: str
    params: Mapping[str, Value]
    terms: Terms


class TrialReturns(NamedTuple):
    """Returns of combinations over the same bars.

    Attributes:
        periods: returns over equal stretches of bars, (periods, trials).
        ratios: Sharpe ratio of each over single bars, not annual, (trials,); not a number where equity never moved.
        skipped: the places, among the combinations asked for, of those that can't be done again; the others have the columns.
    """

    periods: F64
    ratios: F64
    skipped: tuple[int, ...]


def edges_of(bars: int) -> I64:
    """Return the last bars of at most `PERIODS_MAX` stretches as equal as whole bars allow, ascending."""
    periods = min(bars, PERIODS_MAX)
    return np.asarray((np.arange(1, periods + 1) * bars) // periods - 1)


def over_periods(equity: F64, cash: float) -> F64:
    """Return what equity at each close (bars,) gained over the stretches of `edges_of`, the first from the cash on."""
    return gains(np.concatenate([[cash], equity[edges_of(len(equity))]]))


def gains(levels: F64) -> F64:
    """Return the gains between levels; what stood at or below zero gains nothing any more."""
    before, after = levels[:-1], levels[1:]
    return np.divide(after, before, out=np.ones_like(after), where=before > 0.0) - 1.0


def trial_returns(bars: Bars, wanted: Sequence[Combination], threads: int = 0) -> TrialReturns:
    """Do combinations again and return what each gained; one whose strategy is gone or fails is skipped.

    Args:
        threads: 0 is one for each core.
    """
    shared, own = Shared(), local()
    # The compiled loop takes most of a second to load; that pays from so many bars on.
    loop = loop_for(len(bars) * max(len(wanted), 1))
    periods = bars.instrument.periods_per_year(bars.timeframe.seconds)

    def one(item: Combination) -> tuple[F64, float] | None:
        if not hasattr(own, "space"):
            own.space = Workspace(len(bars), loop)
        space: Workspace = own.space
        try:
            return _one(bars, item, shared, space, periods)
        except StrategyError:
            return None

    with ThreadPoolExecutor(threads or core_count(), thread_name_prefix="trials") as pool:
        found = list(pool.map(one, wanted))
    kept = [item for item in found if item is not None]
    return TrialReturns(
        periods=np.column_stack([gained for gained, _ in kept]) if kept else np.empty((len(edges_of(len(bars))), 0)),
        ratios=np.array([ratio for _, ratio in kept]),
        skipped=tuple(place for place, item in enumerate(found) if item is None),
    )


def _one(bars: Bars, item: Combination, shared: Shared, space: Workspace, periods: float) -> tuple[F64, float]:
    with sharing(shared):
        strategy = make(item.strategy, item.params)
        targets = checked_targets(bars, strategy)
    metrics = space.run(bars, strategy, targets, item.terms)[2]
    ratio = np.nan if metrics.sharpe is None else metrics.sharpe / periods**0.5
    return over_periods(space.equity, float(item.terms.cash)), ratio
