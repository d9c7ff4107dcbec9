"""Markets with and without something to find, and the answer to the best of a search in them."""

from typing import NamedTuple

import numpy as np
from tests.builders import an_instrument, some_bars, some_terms

from peak_trade.model.bar import Bars
from peak_trade.research.backtest import backtest
from peak_trade.research.edge import EdgeCase, EdgeFound, EdgeLimits, judge_edge
from peak_trade.research.sharpe import average_correlation, effective_count
from peak_trade.research.trial_returns import Combination, edges_of, gains, trial_returns
from peak_trade.strategy.catalogue import make

#: Nearly fourteen years of days.
DAYS = 5_000
#: Standard deviation of a day.
DAILY = 0.02
COSTS = {"fee_bps": 10.0, "slippage_bps": 2.0}
#: Every pair is one trial of the search.
FAST, SLOW = (2, 4, 6, 8, 12, 16, 20, 25), (30, 45, 60, 80, 100, 150)
#: Mean length of a trend in a market that has them, days.
TREND = 120
#: What the best pair of windows truly earns a year in a trending market, as Sharpe ratio after costs, by the strength of the
#: trends: the largest mean over sixty other markets.
TRUE_SHARPE = {0.12: 0.84, 0.15: 1.27}


def noise(seed: int, days: int = DAYS, drift: float = 0.0) -> Bars:
    """Return a random walk: nothing in it can be foreseen, but that it may drift (annual Sharpe ratio of holding it)."""
    chance = np.random.default_rng([seed, 1])
    return _bars(chance.normal(drift * DAILY / 365**0.5, DAILY, days))


def trending(seed: int, strength: float, days: int = DAYS) -> Bars:
    """Return a market whose mean is up or down for `TREND` days on average; *strength* is the mean in daily deviations."""
    chance = np.random.default_rng([seed, 2])
    turns = chance.random(days) < 1.0 / TREND
    direction = np.where(np.cumsum(turns) % 2 == 0, 1.0, -1.0) * (1.0 if seed % 2 else -1.0)
    return _bars(strength * DAILY * direction + chance.normal(0.0, DAILY, days))


def _bars(moves: np.ndarray) -> Bars:
    close = 100.0 * np.exp(np.cumsum(moves - DAILY**2 / 2.0))
    opened = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(opened, close), np.minimum(opened, close)
    columns = {"open": opened, "high": high, "low": low, "close": close}
    return some_bars(timeframe="1d", instrument=an_instrument(lot_step="0.00000001"), **columns)


class Searched(NamedTuple):
    """The best of a search, and what was said of it; sharpe is annual."""

    found: EdgeFound
    sharpe: float
    params: dict[str, int]


def search(bars: Bars, side: str = "both", seed: int = 0, limits: EdgeLimits | None = None) -> Searched:
    """Try every pair of windows and ask about the best."""
    terms = some_terms(side=side, **COSTS)
    tried = [Combination("ma_crossover", {"fast_window": f, "slow_window": s}, terms) for f in FAST for s in SLOW]
    again = trial_returns(bars, tried, threads=1)
    best = int(np.nanargmax(again.ratios))
    strategy = make("ma_crossover", tried[best].params)
    result = backtest(bars, strategy, terms)
    dear = backtest(bars, strategy, some_terms(side=side, **{name: 2.0 * value for name, value in COSTS.items()}))
    levels = np.concatenate([[bars.open[0]], bars.close[edges_of(len(bars))]])
    case = EdgeCase(
        returns=gains(np.concatenate([[10_000.0], result.equity])),
        trades=result.metrics.num_trades,
        periods_per_year=365.0,
        market=gains(levels),
        tried=again.periods,
        chosen=best,
        count=len(tried),
        effective=effective_count(len(tried), average_correlation(again.periods)),
        deviation=min(float(again.ratios.std(ddof=1)), len(bars) ** -0.5),
        costly=dear.metrics.sharpe,
        charged=True,
    )
    found = judge_edge(case, limits or EdgeLimits(), seed)
    return Searched(found, float(again.ratios[best]) * 365**0.5, dict(tried[best].params))


def found_in(bars: Bars, side: str, seed: int) -> str:
    """Return the answer in one word."""
    return search(bars, side, seed).found.answer.value
