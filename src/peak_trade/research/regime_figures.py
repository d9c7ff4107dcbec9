"""What a strategy earned in each regime of the market.

Invariant: a bar counts for the class that was known before it began, and a trade for the class that was known when it was
decided on: only that could have been acted on.
Invariant: over the classes of a family, the unknown one included, bars and trades add up to those of the run, and returns
multiply up to its return.
"""

import math
from dataclasses import dataclass

import numpy as np

from peak_trade.model.bar import F64
from peak_trade.research.backtest import Result
from peak_trade.research.metrics import NOISE
from peak_trade.research.regimes import Family
from peak_trade.strategy.base import Mask
from peak_trade.strategy.regimes import I8, UNKNOWN

#: What bars and trades are called whose class was not known.
UNKNOWN_NAME = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFigures:
    """A strategy in one class; returns are fractions, None is what can't be computed.

    Attributes:
        share: of all bars.
        total_return: of the equity over these bars, one after the other. market_return: of the close.
        sharpe: mean / standard deviation (one degree of freedom) of the bar returns * root of the bars in a year of trading.
        max_drawdown: deepest fall of the equity made of these bars alone, zero or negative.
        trades: positions opened, still open ones included. win_rate: share of the closed ones with a profit after fees.
        profit: of the closed ones after fees, quote currency.
    """

    name: str
    bars: int
    share: float
    total_return: float
    market_return: float
    sharpe: float | None
    max_drawdown: float
    trades: int
    win_rate: float | None
    profit: float


def figures_by_class(result: Result, family: Family) -> list[ClassFigures]:
    """Return the figures of each class, and of the bars whose class was not known where there are any."""
    known = np.concatenate([np.array([UNKNOWN], dtype=np.int8), family.labels[:-1]])
    own = bar_returns(float(result.terms.cash), result.equity)
    market = bar_returns(float(result.bars.close[0]), result.bars.close)
    names = [(index, name) for index, name in enumerate(family.classes)]
    if (known == UNKNOWN).any():
        names.append((UNKNOWN, UNKNOWN_NAME))
    return [_figures(result, name, index, known, own, market) for index, name in names]


def bar_returns(start: float, levels: F64) -> F64:
    """Return the relative change of each bar's level over the one before, the first over *start*; 0 once nothing is left."""
    before = np.concatenate([[start], levels[:-1]])
    ratios: F64 = np.divide(levels, before, out=np.ones(len(levels)), where=before > 0.0)
    return ratios - 1.0


def _figures(result: Result, name: str, index: int, known: I8, own: F64, market: F64) -> ClassFigures:
    here: Mask = known == index
    curve = np.cumprod(1.0 + own[here])
    peak = np.maximum.accumulate(np.concatenate([[1.0], curve]))
    trips = result.round_trips
    mine = known[trips.entry_bar] == index
    profits = trips.profit[mine & (trips.exit_bar >= 0)]
    periods = result.bars.instrument.periods_per_year(result.bars.timeframe.seconds)
    count = int(np.count_nonzero(here))
    return ClassFigures(
        name=name,
        bars=count,
        share=count / len(here),
        total_return=float(curve[-1] - 1.0) if count else 0.0,
        market_return=float(np.prod(1.0 + market[here]) - 1.0),
        sharpe=_sharpe(own[here], periods),
        max_drawdown=float(np.min(np.concatenate([[1.0], curve]) / peak) - 1.0),
        trades=int(np.count_nonzero(mine)),
        win_rate=float(np.mean(profits > 0.0)) if len(profits) else None,
        profit=float(np.sum(profits)),
    )


def _sharpe(returns: F64, periods: float) -> float | None:
    spread = float(np.std(returns, ddof=1)) if len(returns) > 1 else 0.0
    return float(np.mean(returns)) / spread * math.sqrt(periods) if spread > NOISE else None
