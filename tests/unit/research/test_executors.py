"""Who evaluates: the same results from this thread, from threads and from processes, in pieces, until it is told to stop."""

import os
import threading
from dataclasses import dataclass

import pytest
from tests.builders import some_bars, some_terms

from peak_trade.model.errors import CheckFailed, InputError, StrategyError
from peak_trade.research.executors import Crew, Workers
from peak_trade.research.splits import Stretch
from peak_trade.research.sweep import Evaluator, StretchEvaluator, sweep

WORK = [(number, {"fast_window": 2 + number, "slow_window": 30}) for number in range(12)]
BARS = some_bars(400)


@dataclass
class Doubling:
    """Doubles a number; may end its process, or fail."""

    dies: bool = False
    home: int = 0

    def evaluate(self, params) -> float:
        if self.dies and os.getpid() != self.home:
            os._exit(3)
        if params["x"] < 0:
            raise StrategyError("expected zero or more")
        return 2.0 * params["x"]


def doubled(workers: Workers, count: int = 2, xs=range(40), **more) -> dict[int, float]:
    with Crew(Doubling(**more), workers, count) as crew:
        return {number: value for piece in crew.do([(x, {"x": x}) for x in xs]) for number, value in piece}


@pytest.mark.parametrize("workers", [Workers.LOCAL, Workers.THREADS, Workers.PROCESSES])
def test_everyone_gives_the_same(workers):
    """Bars, targets and metrics that went to another process come back as the same bits."""
    evaluator = Evaluator(BARS, "ma_crossover", some_terms())
    found = dict(item for piece in sweep(evaluator, WORK, workers=workers, count=2) for item in piece)

    assert found == {number: evaluator.evaluate(params) for number, params in WORK}


def test_stretches_go_to_other_processes():
    evaluator = StretchEvaluator(BARS, "ma_crossover", some_terms(), [Stretch(50, 200), Stretch(200, 400)])
    with Crew(evaluator, Workers.PROCESSES, 1) as crew:
        found = dict(item for piece in crew.do(WORK[:2]) for item in piece)

    assert found == {number: evaluator.evaluate(params) for number, params in WORK[:2]}


def test_a_crew_does_several_batches():
    with Crew(Doubling(), Workers.THREADS, 2) as crew:
        found = [sorted(item for piece in crew.do([(x, {"x": x})]) for item in piece) for x in (1, 2, 3)]

    assert found == [[(1, 2.0)], [(2, 4.0)], [(3, 6.0)]]


def test_nothing_to_do_is_done():
    assert doubled(Workers.THREADS, xs=()) == {}


def test_a_wish_to_stop_begins_no_piece():
    """What was begun is yielded; what was not is left."""
    stop = threading.Event()
    with Crew(Doubling(), Workers.THREADS, 1) as crew:
        work = [(x, {"x": x}) for x in range(400)]
        pieces = crew.do(work, stop)
        found = list(next(pieces))
        stop.set()
        found += [item for piece in pieces for item in piece]

    assert 0 < len(found) < 400
    assert sorted(found) == [(x, 2.0 * x) for x, _ in sorted(found)]


def test_a_failure_is_raised_as_it_is():
    with pytest.raises(StrategyError, match="expected zero or more"):
        doubled(Workers.THREADS, xs=(1, 2, -1, 3))


def test_a_dead_process_is_one_sentence():
    with pytest.raises(CheckFailed, match="a worker process died"):
        doubled(Workers.PROCESSES, 1, dies=True, home=os.getpid())


def test_a_cluster_without_ray_is_refused(monkeypatch):
    """Ray is an extra: without it the message says how to install it."""
    monkeypatch.setitem(__import__("sys").modules, "ray", None)

    with pytest.raises(InputError, match=r"peak-trade\[ray\]"):
        doubled(Workers.RAY)
