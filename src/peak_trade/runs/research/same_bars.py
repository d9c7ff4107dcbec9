"""Markets that are this one under another name: whoever imports the same bars twice has still tried what was tried.

Bars have no mark that survives another name, but what was tried on them does: a trial that is done again on our bars and comes
out the same was tried on them. That is seen for periods that lie within ours; docs/guide/verdict.md says what is not seen.
"""

import json
from dataclasses import replace

import numpy as np

from peak_trade.compose import Parts
from peak_trade.journal.registry import MarketPeriod
from peak_trade.model.bar import Bars
from peak_trade.model.errors import PeakTradeError
from peak_trade.research.backtest import backtest
from peak_trade.research.terms import Terms
from peak_trade.runs.record import instrument_from
from peak_trade.strategy.catalogue import make

#: So many periods on other markets are looked at, the newest first, and so many trials of each until one has traded.
PERIODS_MAX, TRIALS_MAX = 100, 5
#: Figures that two markets don't share by chance, and how near they must be, relative.
SHARED = ("final_equity", "max_drawdown", "turnover", "num_entries")
NEAR = 1e-9


def same_markets(parts: Parts, bars: Bars) -> list[str]:
    """Return the symbols under which trials were made on these very bars or on a part of them, in the order of letters.

    Raises:
        StorageError: the registry can't be read.
    """
    found: set[str] = set()
    first, last = int(bars.timestamp[0]), int(bars.timestamp[-1])
    periods = parts.registry.other_markets(bars.instrument.symbol, bars.timeframe.label, first, last, PERIODS_MAX)
    for period in periods:
        if period.symbol not in found and _same(parts, bars, period):
            found.add(period.symbol)
    return sorted(found)


def _same(parts: Parts, bars: Bars, period: MarketPeriod) -> bool:
    """Tell whether what was tried over that period comes out the same on our bars."""
    begin, end = np.searchsorted(bars.timestamp, [period.first, period.last + 1]).tolist()
    if end - begin < 2:
        return False
    try:
        run = parts.registry.get(period.run_id)
        part = replace(bars[begin:end], instrument=instrument_from(run.spec["instrument"]))
        terms = Terms.from_json(run.spec["terms"])
        for params, figures in parts.registry.first_trials(period.run_id, TRIALS_MAX):
            told = json.loads(figures)
            if told["num_entries"]:
                ours = backtest(part, make(run.strategy, json.loads(params)), terms).metrics._asdict()
                return all(_near(ours[name], told[name]) for name in SHARED)
    except (PeakTradeError, KeyError, TypeError, ValueError, ArithmeticError):
        return False  # a run that can't be done again tells nothing
    return False


def _near(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= NEAR * max(abs(one), abs(other))
