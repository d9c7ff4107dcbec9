"""Walk-forward: choose parameters on one stretch, trade them on the next, and join what came of it into one equity.

Pardo, The Evaluation and Optimization of Trading Strategies, 2nd edition, 2008, chapter 11.

Invariant: what is traded in a test stretch was chosen from bars before it, by a rule that has no other input.
Invariant: the joined equity is one run of the kernel over the joined targets: the fill rules and costs of every backtest, also
at the borders.

*Warm-up*: targets are computed over all bars once, so a stretch begins with indicators that know the bars before it.
*Borders*: a position goes on into the next test stretch. Where the next parameters want another one, that is an order like
any other, with its costs; where they want the same, nothing is traded. With `flat_borders` the target after the last bar of
each test stretch is flat instead: the position is closed at the open after it, and taken again one bar later at the
earliest; both fills are paid for.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from peak_trade.model.bar import F64, Bars
from peak_trade.research.backtest import Result, run, yardstick
from peak_trade.research.executors import Crew, Workers
from peak_trade.research.kernel import compiled
from peak_trade.research.metrics import Metrics
from peak_trade.research.splits import Stretch, Window
from peak_trade.research.sweep import StretchEvaluator
from peak_trade.research.terms import Terms
from peak_trade.strategy.catalogue import Value

Params = Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """A window after the walk.

    Attributes:
        number: of the combination chosen; None where none had a value of the metric: then nothing is held.
        params: its parameters; empty where none was chosen.
        train: its metrics over the train stretch, from flat.
        test: its metrics over the test stretch, from flat with the starting cash: what compares with `train`.
        growth: what the joined equity gained over the test stretch, a fraction; with the position carried in.
    """

    window: Window
    number: int | None
    params: Params
    train: Metrics | None
    test: Metrics | None
    growth: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """What a walk-forward gave.

    Attributes:
        windows: in order of time.
        trials: metrics of every combination over every train stretch, by window and combination.
        result: the joined run over all test stretches.
        hindsight: number and run of the combination that was best over all test stretches: chosen with the future known.
        hindsight_trials: metrics of every combination over all test stretches.
        yardstick: buy and hold over the same bars.
    """

    windows: tuple[Walked, ...]
    trials: tuple[tuple[Metrics, ...], ...]
    result: Result
    hindsight: tuple[int, Result] | None
    hindsight_trials: tuple[Metrics, ...]
    yardstick: Result

    def figures(self, metric: str) -> dict[str, float | None]:
        """Return the figures of the walk besides the metrics of the joined run.

        `efficiency` is growth per year over all test stretches / mean growth per year of the chosen over their train
        stretches (Pardo 2008). `metric_efficiency` is mean metric of the chosen over test / over train; windows without a
        value are left out of the mean. Both are None where what stands below is not above zero. `windows_with_profit` is a
        share.
        """
        chosen = [walked for walked in self.windows if walked.train is not None]
        learned = _mean([walked.train.cagr for walked in chosen if walked.train is not None])
        before = _mean([getattr(walked.train, metric) for walked in chosen])
        after = _mean([getattr(walked.test, metric) for walked in chosen])
        return {
            "efficiency": _over(self.result.metrics.cagr, learned),
            "metric_efficiency": _over(after, before),
            "train_metric": before,
            "test_metric": after,
            "windows": float(len(self.windows)),
            "windows_with_profit": sum(walked.growth > 0.0 for walked in self.windows) / len(self.windows),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Steadiness:
    """How steady a parameter's choice was.

    Attributes:
        path: its value in each window; None where nothing was chosen.
        distinct: how many different values were chosen, of `tried`.
        changes: share of the windows after the first whose value differs from that of the window before.
        drift: mean distance between neighbouring windows in steps of the grid, as a share of its whole width.
    """

    name: str
    path: tuple[Value | None, ...]
    distinct: int
    tried: int
    changes: float
    drift: float


def walk_forward(
    bars: Bars,
    strategy: str,
    combinations: Sequence[Params],
    terms: Terms,
    windows: Sequence[Window],
    metric: str,
    *,
    flat_borders: bool = False,
    workers: Workers = Workers.THREADS,
    count: int = 0,
) -> Journey:
    """Walk over the windows.

    Of equal combinations the first is chosen. One without a value of the metric is never chosen.

    Raises:
        StrategyError: a combination or its targets are wrong.
    """
    evaluator = walk_evaluator(bars, strategy, terms, windows)
    found: dict[int, tuple[Metrics, ...]] = {}
    with Crew(evaluator, workers, count) as crew:
        for piece in crew.do(list(enumerate(combinations))):
            found |= dict(piece)
    table = [found[number] for number in range(len(combinations))]
    return journey_of(evaluator, combinations, table, windows, metric, flat_borders=flat_borders)


def walk_evaluator(bars: Bars, strategy: str, terms: Terms, windows: Sequence[Window]) -> StretchEvaluator:
    """Return what evaluates a combination over each train stretch, and last over all test stretches together."""
    return StretchEvaluator(bars, strategy, terms, [*(window.train for window in windows), tested_stretch(windows)])


def tested_stretch(windows: Sequence[Window]) -> Stretch:
    """Return all test stretches as one; they touch."""
    return Stretch(windows[0].test.first, windows[-1].test.last)


def journey_of(
    evaluator: StretchEvaluator,
    combinations: Sequence[Params],
    table: Sequence[tuple[Metrics, ...]],
    windows: Sequence[Window],
    metric: str,
    *,
    flat_borders: bool,
) -> Journey:
    """Choose in each window and join what came of it.

    Args:
        table: what the evaluator found of each combination, in their order.

    Raises:
        StrategyError: the targets of a combination are wrong.
    """
    tested, terms = tested_stretch(windows), evaluator.terms
    chosen = [best([row[place] for row in table], metric) for place in range(len(windows))]
    targets = np.zeros(len(evaluator.bars))
    for window, number in zip(windows, chosen, strict=True):
        first, last = window.test
        if number is not None:
            targets[first:last] = evaluator.targets(combinations[number])[1][first:last]
        if flat_borders:
            targets[last - 1] = 0.0
    part = evaluator.bars[tested.first : tested.last]
    some, _ = evaluator.targets(combinations[0])
    result = run(part, some, targets[tested.first : tested.last], terms, compiled())
    after = [row[-1] for row in table]
    return Journey(
        windows=tuple(_walked(evaluator, combinations, table, windows, chosen, result)),
        trials=tuple(tuple(row[place] for row in table) for place in range(len(windows))),
        result=result,
        hindsight=_hindsight(evaluator, combinations, after, metric, tested),
        hindsight_trials=tuple(after),
        yardstick=yardstick(part, terms),
    )


def best(found: Sequence[Metrics], metric: str) -> int | None:
    """Return the number of the largest value of a metric, the first of equal ones; None where there is no value."""
    values = [-math.inf if (value := getattr(metrics, metric)) is None else value for metrics in found]
    number = max(range(len(values)), key=values.__getitem__)
    return number if values[number] > -math.inf else None


def steadiness(grid: Mapping[str, Sequence[Value]], windows: Sequence[Walked]) -> tuple[Steadiness, ...]:
    """Return how steady the choice of each parameter with more than one value was, in the grid's order."""
    return tuple(_steady(name, list(values), windows) for name, values in grid.items() if len(values) > 1)


def _steady(name: str, values: list[Value], windows: Sequence[Walked]) -> Steadiness:
    path = tuple(walked.params.get(name) for walked in windows)
    pairs = [(one, two) for one, two in itertools.pairwise(path) if one is not None and two is not None]
    moves = [abs(values.index(one) - values.index(two)) for one, two in pairs]
    return Steadiness(
        name=name,
        path=path,
        distinct=len({str(value) for value in path if value is not None}),
        tried=len(values),
        changes=sum(move > 0 for move in moves) / len(moves) if moves else 0.0,
        drift=sum(moves) / len(moves) / (len(values) - 1) if moves else 0.0,
    )


def _walked(
    evaluator: StretchEvaluator,
    combinations: Sequence[Params],
    table: Sequence[tuple[Metrics, ...]],
    windows: Sequence[Window],
    chosen: Sequence[int | None],
    result: Result,
) -> Iterator[Walked]:
    """Yield the windows with what their chosen combination did in them."""
    begin = windows[0].test.first
    before = float(evaluator.terms.cash)
    for place, (window, number) in enumerate(zip(windows, chosen, strict=True)):
        worth = float(result.equity[window.test.last - 1 - begin])
        test = None if number is None else _alone(evaluator, combinations[number], window.test).metrics
        yield Walked(
            window=window,
            number=number,
            params={} if number is None else combinations[number],
            train=None if number is None else table[number][place],
            test=test,
            growth=worth / before - 1.0 if before > 0.0 else 0.0,
        )
        before = worth


def _alone(evaluator: StretchEvaluator, params: Params, stretch: Stretch) -> Result:
    strategy, targets = evaluator.targets(params)
    part: F64 = targets[stretch.first : stretch.last]
    return run(evaluator.bars[stretch.first : stretch.last], strategy, part, evaluator.terms, compiled())


def _hindsight(
    evaluator: StretchEvaluator, combinations: Sequence[Params], found: Sequence[Metrics], metric: str, tested: Stretch
) -> tuple[int, Result] | None:
    number = best(found, metric)
    return None if number is None else (number, _alone(evaluator, combinations[number], tested))


def _mean(values: Sequence[Any]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _over(above: float | None, below: float | None) -> float | None:
    return None if above is None or below is None or below <= 0.0 else above / below
