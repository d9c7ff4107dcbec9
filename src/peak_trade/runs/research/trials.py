"""The ledger of trials: everything that was ever tried on a market over a period that overlaps, whoever tried it.

Invariant: it is read from the registry alone; deleting a run's folder changes nothing, trying the same again neither.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from peak_trade.compose import Parts
from peak_trade.journal.registry import RunFilter, TriedRow, identity_of
from peak_trade.journal.run import RunStatus
from peak_trade.market.dataset import Dataset
from peak_trade.model.bar import F64
from peak_trade.model.errors import PeakTradeError
from peak_trade.research.edge import p_value_of
from peak_trade.research.sharpe import average_correlation, effective_count
from peak_trade.research.terms import Terms
from peak_trade.research.trial_returns import Combination, trial_returns
from peak_trade.runs.record import VERDICT
from peak_trade.runs.research.same_bars import same_markets
from peak_trade.strategy.catalogue import Value, find, make

#: So many of the newest verdicts of a strategy are looked at for what was said on other markets.
VERDICTS_MAX = 2_000
#: So many trials are done again at most, spread evenly over all; the others count all the same.
DONE_MAX = 20_000
#: From so many ratios on, their own spread is known better than what theory says of it.
RATIOS_MIN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """What was tried on a market over a period.

    Attributes:
        total: trials with repeats. different: by strategy, parameters, terms and length of bars.
        of_strategy: the different ones of the strategy that was asked for.
        elsewhere: the different ones over bars of another length, which count and are not done again.
        same: symbols under which the same bars were tried; what was tried there is counted with the others.
        windows: further overlapping periods over which the combination was tried that was tried over most.
        correlation: mean correlation of their returns, 0 to 1.
        deviation: standard deviation of their Sharpe ratios, per bar of the dataset.
        done: those that were done again over the dataset, in the order in which they were first tried.
        periods: what these gained over equal stretches of bars, (periods, trials).
        ratios: their Sharpe ratios per bar, (trials,); not a number where equity never moved.
        by_run: how many trials of each run were counted, the oldest run first; fresh: how many of these were tried first.
    """

    strategy: str
    symbol: str
    total: int
    different: int
    of_strategy: int
    elsewhere: int
    same: tuple[str, ...]
    windows: int
    correlation: float
    deviation: float
    done: tuple[Combination, ...]
    periods: F64
    ratios: F64
    by_run: Mapping[str, int]
    fresh: Mapping[str, int]

    @property
    def count(self) -> int:
        """How many trials an answer has to allow for."""
        return self.different + self.windows

    @property
    def effective(self) -> float:
        """How many independent trials they amount to."""
        return effective_count(self.count, self.correlation)

    @property
    def variance(self) -> float:
        """Variance of the Sharpe ratios, per bar."""
        return self.deviation**2


def tried(
    parts: Parts,
    strategy_key: str,
    dataset: Dataset,
    beside: Sequence[Combination] = (),
    counted: Mapping[str, int] | None = None,
    same: Sequence[str] | None = None,
) -> Trials:
    """Return everything tried on the dataset's market over a period that overlaps the dataset's, of every strategy.

    Counted are all that the registry has, also of bars of another length or of a strategy that is not installed any more;
    correlation and deviation come from those that can be done again on these bars.

    Args:
        strategy_key: the family that `of_strategy` counts; key or other name.
        beside: combinations that count as tried although the registry may not have them yet.
        counted: the runs that count and how many trials of each, as `Trials.by_run` had them once; None is all there are.
        same: symbols under which the same bars were tried, as `Trials.same` had them once; None looks for them.

    Raises:
        StrategyError: there is no such strategy.
        StorageError: the registry can't be read.
    """
    key, bars = find(strategy_key).key, dataset.bars
    label = bars.timeframe.label
    same = same_markets(parts, bars) if same is None else same
    span = int(bars.timestamp[0]), int(bars.timestamp[-1])
    every = [row for symbol in (bars.instrument.symbol, *same) for row in parts.registry.tried_on(symbol, *span)]
    # Ids begin with the time, so that this is the order in which things were tried, whatever the market was called.
    rows = _by_leg(parts, _among(sorted(every, key=lambda row: row.run_id), counted))
    first: dict[tuple[str, str], TriedRow] = {}
    for row in rows:
        first.setdefault((row.identity, row.timeframe), row)
    again = {place[0]: item for place, item in _again(parts, first, label).items()}
    kinds = {place: row.strategy for place, row in first.items()}
    for item in beside:
        whole = make(item.strategy, item.params)
        name = identity_of(whole.key, whole.model_dump(mode="json"), item.terms.to_json())
        kinds.setdefault((name, label), whole.key)
        again.setdefault(name, item)
    found = trial_returns(bars, list(again.values()))
    gone = set(found.skipped)
    return Trials(
        strategy=key,
        symbol=bars.instrument.symbol,
        total=len(rows) + len(kinds) - len(first),
        different=len(kinds),
        of_strategy=sum(kind == key for kind in kinds.values()),
        elsewhere=sum(length != label for _, length in kinds),
        same=tuple(same),
        windows=_windows(rows),
        correlation=average_correlation(found.periods),
        deviation=_deviation(found.ratios, len(bars)),
        done=tuple(item for place, item in enumerate(again.values()) if place not in gone),
        periods=found.periods,
        ratios=found.ratios,
        by_run=dict(Counter(row.run_id for row in rows)),
        fresh=dict(Counter(row.run_id for row in first.values())),
    )


def _by_leg(parts: Parts, rows: Sequence[TriedRow]) -> list[TriedRow]:
    """Return the rows with the strategy of each; the trials of a portfolio of several are its legs, in their order."""
    specs = {row.run_id: parts.registry.get(row.run_id).spec for row in rows if "+" in row.strategy}

    def own(row: TriedRow) -> str:
        try:
            return str(specs[row.run_id]["legs"][row.number]["strategy"]) if row.run_id in specs else row.strategy
        except (LookupError, TypeError):
            return row.strategy  # a damaged specification: it counts, and can't be done again

    return [row._replace(strategy=own(row)) for row in rows]


def _windows(rows: Sequence[TriedRow]) -> int:
    """Return over how many further periods the combination was tried that was tried over most.

    Each beginning is a choice, and each end that takes away bars which were there before. A period that goes on where an
    earlier one of the same beginning ended is none.
    """
    begun: dict[tuple[str, str], dict[int, int]] = {}
    chosen: dict[tuple[str, str], set[tuple[int, int]]] = {}
    for row in rows:
        place = (row.identity, row.timeframe)
        ends, periods = begun.setdefault(place, {}), chosen.setdefault(place, set())
        if row.first not in ends:
            periods.add((row.first, 0))
        elif row.last < ends[row.first]:
            periods.add((row.first, row.last))
        ends[row.first] = max(row.last, ends.get(row.first, row.last))
    return max((len(periods) for periods in chosen.values()), default=1) - 1


def on_other_markets(parts: Parts, strategy_key: str, symbols: Sequence[str]) -> dict[str, float]:
    """Return the other markets that a strategy was tried on, with the p-value of its newest verdict there; 1 without one.

    Args:
        strategy_key: key of the strategy. symbols: of the market that is left out.

    Raises:
        StorageError: the registry can't be read.
    """
    found = dict.fromkeys(parts.registry.markets_of(strategy_key), 1.0)
    judged = RunFilter(run_type=VERDICT, status=RunStatus.COMPLETED.value, strategy=strategy_key)
    for run in reversed(parts.registry.find(judged, VERDICTS_MAX)):
        if run.symbol in found:
            found[run.symbol] = p_value_of(run.metrics)
    return {symbol: value for symbol, value in found.items() if symbol not in symbols}


def _among(rows: list[TriedRow], counted: Mapping[str, int] | None) -> list[TriedRow]:
    """Return the rows of the runs that count, of each no more than counted."""
    if counted is None:
        return rows
    left = dict(counted)
    kept = []
    for row in rows:
        if left.get(row.run_id, 0) > 0:
            left[row.run_id] -= 1
            kept.append(row)
    return kept


def _again(parts: Parts, first: dict[tuple[str, str], TriedRow], label: str) -> dict[tuple[str, str], Combination]:
    """Return what can be done again on bars of that length: with parameters and terms that can be read."""
    here = [(place, row) for place, row in first.items() if row.timeframe == label]
    if len(here) > DONE_MAX:
        here = [here[index] for index in np.linspace(0, len(here) - 1, DONE_MAX).astype(int)]
    terms: dict[str, Terms | None] = {}
    found: dict[tuple[str, str], Combination] = {}
    for place, row in here:
        if row.run_id not in terms:
            terms[row.run_id] = _terms(parts, row.run_id)
        params = _params(row.params)
        if (under := terms[row.run_id]) is not None and params is not None:
            found[place] = Combination(row.strategy, params, under)
    return found


def _params(text: str) -> dict[str, Value] | None:
    """Return the parameters of a trial; None where its row is damaged."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _terms(parts: Parts, run_id: str) -> Terms | None:
    """Return the terms of a registered run; None where it has none, or none that can be read."""
    try:
        return Terms.from_json(parts.registry.get(run_id).spec["terms"])
    except (PeakTradeError, KeyError, TypeError, ValueError, ArithmeticError):
        return None


def _deviation(ratios: F64, bars: int) -> float:
    """Return the standard deviation of Sharpe ratios, but no more than a single one's own error.

    A wider spread is that of trials which costs ruin to a different degree, not of chance; the best of trials that have no
    edge is highest by chance where none is worse than zero, and then each has just that error.
    """
    error = 1.0 / max(bars - 1, 1) ** 0.5
    known = ratios[np.isfinite(ratios)]
    return float(min(known.std(ddof=1), error)) if len(known) >= RATIOS_MIN else error
