"""Combinatorial purged cross-validation: one rule of choosing, tried on many histories that are put together out of one.

Lopez de Prado, Advances in Financial Machine Learning, 2018, chapter 12. The bars are cut into N groups. In each of the
C(N, k) splits, k groups are held out and the best combination of the others is chosen; then the held-out groups of all splits
are put together into k / N * C(N, k) paths, each of which trades every bar once with what was chosen without it.

Invariant: what is traded in a group was chosen from bars outside of it and of what is purged around it.
Invariant: a path is one run of the kernel over joined targets: the fill rules and costs of every backtest, at borders too.

*Learning*: the stretches that are left are put together as if they touched. A position is closed at the last open of each, so
that nothing that happens beyond it has a say.
*Future*: a group may be traded with what was chosen after it. That is what makes many paths out of one history; it is no
forecast, and a walk-forward beside it is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from peak_trade.model.bar import COLUMNS, F64, I64, Bars
from peak_trade.research.backtest import Result, run, yardstick
from peak_trade.research.kernel import compiled
from peak_trade.research.metrics import Metrics
from peak_trade.research.splits import Split, Stretch, group_stretches, paths
from peak_trade.research.sweep import Targeting, rebuilt
from peak_trade.research.terms import Terms
from peak_trade.research.walk_forward import Params, best

#: Bars of all splits together that are kept in memory; with more they are put together anew each time.
KEPT_BARS_MAX = 5_000_000


class SplitEvaluator(Targeting):
    """Computes the metrics of combinations over what each split learns from, from flat with the terms' cash.

    Targets are computed once over all bars, as for `StretchEvaluator`.
    """

    def __init__(self, bars: Bars, strategy: str, terms: Terms, splits: Sequence[Split]) -> None:
        super().__init__(bars, strategy, terms)
        self.splits = tuple(splits)
        total = sum(stretch.bars for split in self.splits for stretch in split.train)
        self._kept = [pieced(bars, split.train) for split in self.splits] if total <= KEPT_BARS_MAX else None

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuilt, (type(self), self.bars, self.strategy, self.terms, self.splits)

    def evaluate(self, params: Params) -> tuple[Metrics, ...]:
        """Run one combination over what each split learns from, in their order."""
        strategy, targets = self.targets(params)
        space, found = self.space(), []
        for place, split in enumerate(self.splits):
            part = pieced(self.bars, split.train) if self._kept is None else self._kept[place]
            found.append(space.run(part, strategy, closed(targets, split.train), self.terms)[2])
        return tuple(found)

    def over(self, params: Params, stretches: Sequence[Stretch]) -> Metrics:
        """Run one combination over other stretches in the same way."""
        strategy, targets = self.targets(params)
        return self.space().run(pieced(self.bars, stretches), strategy, closed(targets, stretches), self.terms)[2]


def pieced(bars: Bars, stretches: Sequence[Stretch]) -> Bars:
    """Return stretches of bars as if they touched: each is moved in time to begin where the one before ends.

    Prices jump where stretches meet; `closed` targets hold nothing there.
    """
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(bars, name)[first:last] for first, last in stretches]) for name in COLUMNS[1:]
    }
    times: list[I64] = []
    ends = int(bars.timestamp[stretches[0].first])
    for first, last in stretches:
        moved = bars.timestamp[first:last] - bars.timestamp[first] + ends
        ends = int(moved[-1]) + bars.timeframe.step_ns
        times.append(moved)
    return Bars(instrument=bars.instrument, timeframe=bars.timeframe, timestamp=np.concatenate(times), **columns)


def closed(targets: F64, stretches: Sequence[Stretch]) -> F64:
    """Return the targets of stretches, one after the other, each flat from its last bar but one on.

    What is decided then is filled at the open of the last bar, so that no position leaves a stretch.
    """
    parts = []
    for first, last in stretches:
        part = targets[first:last].copy()
        part[-2:] = 0.0
        parts.append(part)
    return np.concatenate(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """A split after its choice.

    Attributes:
        number: of the combination chosen; None where none had a value of the metric: then nothing is held.
        params: its parameters; empty where none was chosen.
        train: its metrics over what was learned from.
        test: its metrics over the held-out groups, computed in the same way.
    """

    split: Split
    number: int | None
    params: Params
    train: Metrics | None
    test: Metrics | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fan:
    """What a combinatorial cross-validation gave.

    Attributes:
        splits: in the order of `itertools.combinations`.
        trials: metrics of every combination over what each split learns from, by split and combination.
        routes: for each path the split whose choice it trades in each group.
        results: the run of each path over all bars.
        yardstick: buy and hold over the same bars.
    """

    splits: tuple[Learned, ...]
    trials: tuple[tuple[Metrics, ...], ...]
    routes: tuple[tuple[int, ...], ...]
    results: tuple[Result, ...]
    yardstick: Result

    def figures(self, metric: str) -> dict[str, float | None]:
        """Return the distribution over the paths, by name; None where no path has a value.

        Of Sharpe ratios: median, mean, standard deviation between paths (one degree of freedom), worst, best, and the share
        below zero of those that have a value. Of returns the median and the worst, of drawdowns the deepest. `train_metric`
        and `test_metric` are means over the splits of what was chosen.
        """
        ratios = [value for result in self.results if (value := result.metrics.sharpe) is not None]
        growth = [result.metrics.total_return for result in self.results]
        return {
            "paths": float(len(self.results)),
            "splits": float(len(self.splits)),
            "sharpe_median": _of(np.median, ratios),
            "sharpe_mean": _of(np.mean, ratios),
            "sharpe_deviation": float(np.std(ratios, ddof=1)) if len(ratios) > 1 else None,
            "sharpe_worst": min(ratios, default=None),
            "sharpe_best": max(ratios, default=None),
            "share_below_zero": sum(value < 0.0 for value in ratios) / len(ratios) if ratios else None,
            "return_median": _of(np.median, growth),
            "return_worst": min(growth),
            "drawdown_worst": min(result.metrics.max_drawdown for result in self.results),
            "train_metric": _mean_of([item.train for item in self.splits], metric),
            "test_metric": _mean_of([item.test for item in self.splits], metric),
        }


def fan_of(
    evaluator: SplitEvaluator,
    combinations: Sequence[Params],
    table: Sequence[tuple[Metrics, ...]],
    groups: int,
    held: int,
    metric: str,
    *,
    flat_borders: bool,
) -> Fan:
    """Choose in each split and put the held-out groups together into paths.

    Args:
        table: what the evaluator found of each combination, in their order.
        groups, held: N and k, with which the evaluator's splits were made.
        flat_borders: whether positions are closed at the end of each group instead of carried on.

    Raises:
        StrategyError: the targets of a combination are wrong.
    """
    bars, terms = evaluator.bars, evaluator.terms
    chosen = [best([row[place] for row in table], metric) for place in range(len(evaluator.splits))]
    held_out = {number: evaluator.targets(combinations[number])[1] for number in chosen if number is not None}
    stretches, routes = group_stretches(len(bars), groups), paths(groups, held)
    some, _ = evaluator.targets(combinations[0])
    results = []
    for route in routes:
        targets = np.zeros(len(bars))
        for (first, last), split in zip(stretches, route, strict=True):
            if (number := chosen[split]) is not None:
                targets[first:last] = held_out[number][first:last]
            if flat_borders:
                targets[last - 1] = 0.0
        results.append(run(bars, some, targets, terms, compiled()))
    return Fan(
        splits=tuple(
            Learned(
                split=split,
                number=number,
                params={} if number is None else combinations[number],
                train=None if number is None else table[number][place],
                test=None if number is None else evaluator.over(combinations[number], split.test),
            )
            for place, (split, number) in enumerate(zip(evaluator.splits, chosen, strict=True))
        ),
        trials=tuple(tuple(row[place] for row in table) for place in range(len(evaluator.splits))),
        routes=routes,
        results=tuple(results),
        yardstick=yardstick(bars, terms),
    )


def _of(pick: Any, values: Sequence[float]) -> float | None:
    return float(pick(values)) if values else None


def _mean_of(found: Sequence[Metrics | None], metric: str) -> float | None:
    values = [float(value) for item in found if item is not None and (value := getattr(item, metric)) is not None]
    return math.fsum(values) / len(values) if values else None
