"""Walk-forward against a slow reference that cuts the bars and runs a backtest on each piece."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from tests.builders import some_bars, some_terms

from peak_trade.research.backtest import backtest, run
from peak_trade.research.executors import Workers
from peak_trade.research.kernel import INTERPRETED
from peak_trade.research.metrics import Metrics
from peak_trade.research.splits import Length, Stretch, WalkPlan, Window, walk_windows
from peak_trade.research.walk_forward import Walked, best, steadiness, walk_forward
from peak_trade.strategy.base import checked_targets
from peak_trade.strategy.catalogue import make

BARS = some_bars(1_500, seed=3, noise=0.01, gap=0.002)
GRID = {"fast_window": (3, 5, 8, 13), "slow_window": (21, 34, 55)}
COMBINATIONS = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]


def windows(train="400", test="150", *, anchored=False, embargo="10"):
    lengths = {
        name: Length.parse(text, name, zero=True) for name, text in (("train", train), ("test", test), ("embargo", embargo))
    }
    return walk_windows(BARS.timestamp, BARS.timeframe.step_ns, WalkPlan(**lengths, anchored=anchored))


def walked(metric="sharpe", *, plan=None, terms=None, **more):
    return walk_forward(BARS, "ma_crossover", COMBINATIONS, terms or some_terms(), plan or windows(), metric, **more)


def slow_choice(window: Window, metric: str, terms) -> int:
    """The best combination of a train stretch, each run over its own cut of the bars with what came before as warm-up."""
    first, last = window.train
    found = []
    for params in COMBINATIONS:
        strategy = make("ma_crossover", params)
        targets = checked_targets(BARS[:last], strategy)[first:]
        found.append(getattr(run(BARS[first:last], strategy, targets, terms, INTERPRETED).metrics, metric))
    return max(range(len(found)), key=lambda number: found[number])


@pytest.mark.parametrize("anchored", [False, True])
@pytest.mark.parametrize("metric", ["sharpe", "total_return"])
def test_each_window_chooses_from_its_own_past(anchored, metric):
    """The chosen combination is the best of the train stretch alone, computed from bars that end with it."""
    plan, terms = windows(anchored=anchored), some_terms()

    journey = walked(metric, plan=plan)

    assert len(plan) == 7
    assert [item.number for item in journey.windows] == [slow_choice(window, metric, terms) for window in plan]


def test_what_comes_after_a_window_changes_nothing_in_it():
    """With other bars from the third test stretch on, the choices and the equity before it are the same bits."""
    plan = windows()
    later = plan[2].test.first
    other = some_bars(1_500, seed=99, noise=0.03)
    mixed = replace(
        BARS,
        **{
            name: np.concatenate([getattr(BARS, name)[:later], getattr(other, name)[later:]])
            for name in ("open", "high", "low", "close", "volume")
        },
    )
    one = walked(plan=plan)
    two = walk_forward(mixed, "ma_crossover", COMBINATIONS, some_terms(), plan, "sharpe")
    before = later - plan[0].test.first

    assert [item.number for item in one.windows[:3]] == [item.number for item in two.windows[:3]]
    assert one.result.equity[:before].tobytes() == two.result.equity[:before].tobytes()
    assert one.result.equity[before:].tobytes() != two.result.equity[before:].tobytes()


@pytest.mark.parametrize("flat", [False, True])
def test_the_joined_equity_is_one_run_over_the_joined_targets(flat):
    """It equals the kernel over targets put together by hand, with all costs at the borders."""
    plan, terms = windows(), some_terms()
    journey = walked(plan=plan, flat_borders=flat)
    joined = []
    for window, item in zip(plan, journey.windows, strict=True):
        piece = checked_targets(BARS, make("ma_crossover", item.params))[window.test.first : window.test.last].copy()
        if flat:
            piece[-1] = 0.0
        joined.append(piece)
    part = BARS[plan[0].test.first : plan[-1].test.last]
    beside = run(part, make("ma_crossover", {}), np.concatenate(joined), terms, INTERPRETED)

    assert journey.result.sha256() == beside.sha256()
    assert len(beside.fills) > 5


def test_flat_borders_cost_two_fills():
    """A position that would be carried on is closed after each stretch and taken again; the fees say so."""
    plan, terms = windows(), some_terms(fee_bps=10.0)
    carried = walk_forward(BARS, "buy_and_hold", [{}], terms, plan, "total_return")
    closed = walk_forward(BARS, "buy_and_hold", [{}], terms, plan, "total_return", flat_borders=True)
    ends = [window.test.last - plan[0].test.first for window in plan]

    assert carried.result.fills.bar.tolist() == [1]
    assert closed.result.fills.bar.tolist() == [1, *(bar for end in ends[:-1] for bar in (end, end + 1))]
    assert closed.result.metrics.fees_paid > 10 * carried.result.metrics.fees_paid > 0.0


def test_growth_of_windows_makes_the_whole():
    """The windows' growth multiplied is the growth of the joined run."""
    journey = walked()
    product = np.prod([1.0 + item.growth for item in journey.windows])

    assert product - 1.0 == pytest.approx(journey.result.metrics.total_return, abs=1e-12)


def test_test_metrics_are_those_of_the_stretch_alone():
    plan, terms = windows(), some_terms()
    journey = walked(plan=plan)
    window, item = plan[3], journey.windows[3]
    targets = checked_targets(BARS, make("ma_crossover", item.params))[window.test.first : window.test.last]
    beside = run(BARS[window.test.first : window.test.last], make("ma_crossover", {}), targets, terms, INTERPRETED)

    assert item.test == beside.metrics


def test_hindsight_is_the_best_over_all_test_stretches():
    plan = windows()
    journey = walked("total_return", plan=plan)
    part = Stretch(plan[0].test.first, plan[-1].test.last)
    found = []
    for params in COMBINATIONS:
        strategy = make("ma_crossover", params)
        targets = checked_targets(BARS, strategy)[part.first : part.last]
        found.append(run(BARS[part.first : part.last], strategy, targets, some_terms(), INTERPRETED).metrics.total_return)

    assert journey.hindsight[0] == int(np.argmax(found))
    assert (
        journey.hindsight[1].metrics.total_return == max(found) == journey.hindsight_trials[journey.hindsight[0]].total_return
    )


@pytest.mark.parametrize(("workers", "count"), [(Workers.LOCAL, 1), (Workers.THREADS, 3)])
def test_who_works_changes_no_bit(workers, count):
    one, two = walked(), walked(workers=workers, count=count)

    assert (one.result.sha256(), one.trials, one.windows) == (two.result.sha256(), two.trials, two.windows)


def test_one_window_over_everything_is_a_backtest_of_the_rest():
    """With a single combination nothing is chosen: the walk is a run over the test stretches with warm-up."""
    plan = windows("100", "1000", embargo="0")
    journey = walk_forward(BARS, "buy_and_hold", [{}], some_terms(), plan, "sharpe")
    beside = backtest(BARS[100:1100], make("buy_and_hold", {}), some_terms())

    assert journey.result.sha256() == beside.sha256() == journey.yardstick.sha256()


def test_where_nothing_has_a_value_nothing_is_held():
    """A metric that no combination has in a train stretch chooses none, and the stretch is flat."""
    plan = windows("20", "40", embargo="0")
    combos = [{"fast_window": 200, "slow_window": 700}]

    journey = walk_forward(BARS, "ma_crossover", combos, some_terms(), plan, "sharpe")

    assert journey.windows[0] == Walked(window=plan[0], number=None, params={}, train=None, test=None, growth=0.0)
    assert journey.figures("sharpe")["windows"] == len(plan)


def metrics(**changes) -> Metrics:
    return walked().result.metrics._replace(**changes)


def test_the_first_of_equal_ones_is_chosen():
    found = [metrics(sharpe=value) for value in (None, 1.0, 2.0, 2.0)]

    assert best(found, "sharpe") == 2
    assert best(found[:1], "sharpe") is None


@pytest.mark.parametrize(("learned", "efficiency"), [(0.2, 0.5), (0.0, None), (-0.1, None), (None, None)])
def test_efficiency(learned, efficiency):
    """Growth per year out of sample over that of the train stretches; without growth there to compare with, none."""
    journey = walked()
    made = [replace(item, train=metrics(cagr=learned)) for item in journey.windows]
    result = replace(journey.result, metrics=metrics(cagr=0.1))

    assert replace(journey, windows=tuple(made), result=result).figures("sharpe")["efficiency"] == (
        None if efficiency is None else pytest.approx(efficiency)
    )


def test_steadiness_of_a_path():
    """Steps are counted in places of the grid; a window without a choice breaks the path."""
    window = Window(Stretch(0, 2), Stretch(2, 4))
    chosen = [5, 5, 20, None, 10]
    items = [
        Walked(window=window, number=0, params={} if v is None else {"a": v}, train=None, test=None, growth=0.0) for v in chosen
    ]

    (found,) = steadiness({"a": (5, 10, 20), "b": (1,)}, items)

    assert (found.path, found.distinct, found.tried) == ((5, 5, 20, None, 10), 3, 3)
    assert (found.changes, found.drift) == (0.5, 0.5)
