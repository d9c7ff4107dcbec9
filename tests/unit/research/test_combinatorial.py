"""Combinatorial cross-validation against the book's example and a slow reference that runs each stretch by itself."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import some_bars, some_terms

from peak_trade.model.bar import PRICES
from peak_trade.research import combinatorial
from peak_trade.research.backtest import run
from peak_trade.research.combinatorial import SplitEvaluator, closed, fan_of, pieced
from peak_trade.research.executors import Crew, Workers
from peak_trade.research.kernel import INTERPRETED
from peak_trade.research.splits import Stretch, group_stretches, paths, purged_splits
from peak_trade.strategy.base import checked_targets
from peak_trade.strategy.catalogue import make

BARS = some_bars(900, seed=5, noise=0.01, gap=0.002)
SHORT = some_bars(80, seed=3)
EVERY = [{"fast_window": fast, "slow_window": slow} for fast, slow in itertools.product((3, 5, 8), (21, 34))]
GROUPS, HELD, PURGE, EMBARGO = 6, 2, 34, 5


def made(bars=BARS, *, metric="sharpe", flat=False, terms=None):
    splits = purged_splits(len(bars), GROUPS, HELD, purge=PURGE, embargo=EMBARGO)
    evaluator = SplitEvaluator(bars, "ma_crossover", terms or some_terms(), splits)
    table = [evaluator.evaluate(params) for params in EVERY]
    return splits, table, fan_of(evaluator, EVERY, table, GROUPS, HELD, metric, flat_borders=flat)


def test_the_books_paths():
    """Six groups, two held out: the first two paths of the book's figure 12.2, with its splits counted from one."""
    found = [tuple(split + 1 for split in path) for path in paths(6, 2)]

    assert len(found) == 5
    assert found[:2] == [(1, 1, 2, 3, 4, 5), (2, 6, 6, 7, 8, 9)]


def test_a_stretch_alone_grows_as_it_does_among_others():
    """What is learned from is a chain of stretches, each run by itself: the growth multiplied is the growth of the whole."""
    terms = some_terms(fee_bps=12.0)
    splits, table, _ = made(terms=terms)
    for split, (params, row) in itertools.product((0, 4, 9), zip(EVERY, table, strict=True)):
        growth = 1.0
        strategy = make("ma_crossover", params)
        for first, last in splits[split].train:
            targets = checked_targets(BARS[:last], strategy)[first:].copy()
            targets[-2:] = 0.0
            growth *= 1.0 + run(BARS[first:last], strategy, targets, terms, INTERPRETED).metrics.total_return

        assert row[split].total_return == pytest.approx(growth - 1.0, rel=1e-4, abs=1e-5)


def test_what_is_held_out_has_no_say_in_the_choice():
    """With other prices in a group, the splits that hold it out choose the same by the same figures."""
    first, last = group_stretches(len(BARS), GROUPS)[2]
    other = some_bars(len(BARS), seed=77, noise=0.05)
    mixed = replace(
        BARS,
        **{
            name: np.concatenate([getattr(BARS, name)[:first], getattr(other, name)[first:last], getattr(BARS, name)[last:]])
            for name in PRICES
        },
    )
    splits, _, one = made()
    _, _, two = made(mixed)
    without = [place for place, split in enumerate(splits) if 2 in split.tested]

    assert len(without) == 5
    assert all(one.trials[place] == two.trials[place] for place in without)
    assert all(one.trials[place] != two.trials[place] for place in set(range(15)) - set(without))


@pytest.mark.parametrize("flat", [False, True])
def test_a_path_is_one_run_over_joined_targets(flat):
    """Each group is traded with what the path's split chose; with flat borders nothing is carried over."""
    terms = some_terms(fee_bps=7.0)
    _, _, fan = made(flat=flat, terms=terms)
    stretches = group_stretches(len(BARS), GROUPS)
    for route, result in zip(fan.routes, fan.results, strict=True):
        joined = np.zeros(len(BARS))
        for (first, last), split in zip(stretches, route, strict=True):
            joined[first:last] = checked_targets(BARS, make("ma_crossover", fan.splits[split].params))[first:last]
            joined[last - 1] = 0.0 if flat else joined[last - 1]

        assert result.sha256() == run(BARS, make("ma_crossover", {}), joined, terms, INTERPRETED).sha256()


def test_the_best_of_each_split_is_chosen_on_train_alone():
    _, table, fan = made(metric="total_return")
    for place, item in enumerate(fan.splits):
        values = [row[place].total_return for row in table]

        assert item.number == values.index(max(values))
        assert item.train == table[item.number][place]


def test_the_distribution_is_that_of_the_paths():
    _, _, fan = made()
    ratios = [result.metrics.sharpe for result in fan.results]
    figures = fan.figures("sharpe")

    assert figures["paths"] == 5.0
    assert figures["sharpe_median"] == sorted(ratios)[2]
    assert (figures["sharpe_worst"], figures["sharpe_best"]) == (min(ratios), max(ratios))
    assert figures["share_below_zero"] == sum(value < 0.0 for value in ratios) / 5
    assert figures["return_worst"] == min(result.metrics.total_return for result in fan.results)


def test_a_rule_that_never_trades_has_no_distribution():
    """Without a value of the metric nothing is chosen, nothing held, and no ratio is made up."""
    bars = some_bars(60, seed=1)
    splits = purged_splits(60, 3, 1)
    evaluator = SplitEvaluator(bars, "ma_crossover", some_terms(), splits)
    every = [{"fast_window": 30, "slow_window": 59}]
    fan = fan_of(evaluator, every, [evaluator.evaluate(every[0])], 3, 1, "profit_factor", flat_borders=False)

    assert [item.number for item in fan.splits] == [None, None, None]
    assert fan.figures("profit_factor")["sharpe_median"] is None
    assert fan.figures("profit_factor")["share_below_zero"] is None


def test_other_processes_and_little_memory_change_nothing(monkeypatch):
    splits = purged_splits(len(BARS), GROUPS, HELD, purge=PURGE)
    evaluator = SplitEvaluator(BARS, "ma_crossover", some_terms(), splits)
    here = evaluator.evaluate(EVERY[0])
    with Crew(evaluator, Workers.PROCESSES, 1) as crew:
        ((there,),) = crew.do([(0, EVERY[0])])
    monkeypatch.setattr(combinatorial, "KEPT_BARS_MAX", 0)

    assert there == (0, here)
    assert SplitEvaluator(BARS, "ma_crossover", some_terms(), splits).evaluate(EVERY[0]) == here


@given(edges=st.lists(st.integers(0, 80), min_size=4, max_size=4, unique=True).map(sorted))
def test_pieces_touch_in_time_and_hold_nothing_at_their_ends(edges):
    """Bars are those of the stretches, their times ascend by what they did within, and each ends flat."""
    bars, count = SHORT, 80
    stretches = [Stretch(edges[0], edges[1]), Stretch(edges[2], edges[3])]

    part = pieced(bars, stretches)
    targets = closed(np.ones(count), stretches)

    assert part.close.tolist() == [*bars.close[edges[0] : edges[1]], *bars.close[edges[2] : edges[3]]]
    assert part.timestamp[-1] - part.timestamp[0] == (len(part) - 1) * bars.timeframe.step_ns
    ends = [edges[1] - edges[0], len(part)]
    assert all(not targets[max(end - 2, 0) : end].any() for end in ends)
    assert targets.sum() == sum(max(stretch.bars - 2, 0) for stretch in stretches)
