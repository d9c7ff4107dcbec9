"""Many combinations of parameters over one series of bars.

Invariant: a combination's number and figures do not depend on the executor, the number of workers or an interruption.
"""

import contextlib
import itertools
import math
import operator
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum, unique
from multiprocessing import get_context
from typing import Any

from peak_trade.model.bar import Bars
from peak_trade.model.errors import CheckFailed, InputError, StrategyError
from peak_trade.research.backtest import Workspace
from peak_trade.research.kernel import compiled
from peak_trade.research.metrics import Metrics
from peak_trade.research.terms import Terms
from peak_trade.strategy.base import checked_targets
from peak_trade.strategy.catalogue import Value, find, make
from peak_trade.strategy.indicators import Shared, sharing

#: More combinations than this are a mistake in the grid; they would also fill the registry.
COMBINATIONS_MAX = 1_000_000
#: One piece of work should take about this long: long enough to pay for its dispatch, short enough to stop soon.
PIECE_S = 0.2

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "!=": operator.ne,
    "==": operator.eq,
}


@unique
class Workers(Enum):
    """What works in parallel: threads share memory, processes suit strategies written in plain Python."""

    THREADS = "threads"
    PROCESSES = "processes"


@dataclass(frozen=True, slots=True)
class Constraint:
    """A comparison that a combination must satisfy: two parameters, or a parameter and a number."""

    text: str
    left: str
    sign: str
    right: str | float

    @classmethod
    def parse(cls, text: str, names: Iterable[str]) -> "Constraint":
        """Read `fast_window < slow_window` or `window >= 10`.

        Raises:
            InputError: another form, or a parameter that the strategy does not have.
        """
        found = re.fullmatch(r"\s*(\w+)\s*(<=|>=|==|!=|<|>)\s*([\w.+-]+)\s*", text)
        if found is None:
            raise InputError(f"expected a constraint like fast_window < slow_window, found {text!r}; correct it")
        known = set(names)
        right: str | float = found[3]
        if found[3] not in known:
            with contextlib.suppress(ValueError):
                right = float(found[3])
        unknown = [name for name in (found[1], right) if isinstance(name, str) and name not in known]
        if unknown:
            raise InputError(
                f"expected parameters of the strategy in {text!r}, found {unknown[0]}; it has {', '.join(sorted(known))}"
            )
        return cls(text.strip(), found[1], found[2], right)

    def holds(self, params: Mapping[str, Value]) -> bool:
        """Tell whether a combination satisfies it."""
        left, right = params[self.left], params[self.right] if isinstance(self.right, str) else self.right
        try:
            return _COMPARE[self.sign](left, right)
        except TypeError as error:
            raise InputError(
                f"expected values that can be compared in {self.text!r}, found {left!r} and {right!r}; correct it"
            ) from error


def combinations(
    strategy: str,
    grid: Mapping[str, Sequence[Value]],
    constraints: Sequence[Constraint],
    fixed: Mapping[str, Value],
) -> list[dict[str, Value]]:
    """Return every combination of the grid that satisfies the constraints, in the grid's order, without the fixed ones.

    Raises:
        InputError: none is left, or too many.
        StrategyError: the strategy refuses one; a constraint can rule it out.
    """
    size = math.prod(len(values) for values in grid.values())
    if size > COMBINATIONS_MAX:
        raise InputError(f"expected at most {COMBINATIONS_MAX:,} combinations, found {size:,}; make the grid coarser")
    every = (dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values()))
    kept = [params for params in every if all(constraint.holds({**fixed, **params}) for constraint in constraints)]
    if not kept:
        raise InputError(
            f"expected at least one combination, found none of {size} that satisfies the constraints; widen the grid"
        )
    seen: set[str] = set()
    for params in kept:
        try:
            built = make(strategy, {**fixed, **params}).model_dump_json()
        except StrategyError as error:
            raise StrategyError(f"{error}; rule such combinations out with a constraint in the sweep file") from error
        if built in seen:
            raise InputError(
                f"expected different combinations, found {params} twice; remove a value that is written in two ways"
            )
        seen.add(built)
    return kept


class Evaluator:
    """Computes the metrics of combinations over the same bars; may be used by several threads at once."""

    def __init__(self, bars: Bars, strategy: str, terms: Terms) -> None:
        self.bars, self.strategy, self.terms = bars, strategy, terms
        self._shared = Shared()
        self._own = threading.local()

    def evaluate(self, params: Mapping[str, Value]) -> Metrics:
        """Run one combination."""
        if not hasattr(self._own, "space"):
            self._own.space = Workspace(len(self.bars), compiled())
        space: Workspace = self._own.space
        with sharing(self._shared):
            strategy = make(self.strategy, params)
            targets = checked_targets(self.bars, strategy)
        return space.run(self.bars, strategy, targets, self.terms)[2]


Done = list[tuple[int, Metrics]]
Work = Sequence[tuple[int, Mapping[str, Value]]]


def sweep(
    evaluator: Evaluator, work: Work, *, workers: Workers, count: int, stop: threading.Event | None = None
) -> Iterator[Done]:
    """Evaluate numbered combinations and yield them in pieces as they finish.

    When *stop* is set, or the consumer ends, no new piece is begun; pieces in work are finished and yielded.
    """
    find(evaluator.strategy)
    pieces = _pieces(work, evaluator, count)
    pool: Executor
    if workers is Workers.THREADS:
        pool = ThreadPoolExecutor(count, thread_name_prefix="sweep")
        begin: Callable[[Work], Future[Done]] = lambda piece: pool.submit(_evaluate, evaluator, piece)  # noqa: E731
    else:
        arguments = (evaluator.bars, evaluator.strategy, evaluator.terms)
        pool = ProcessPoolExecutor(count, get_context("spawn"), _set_up_process, arguments)
        begin = lambda piece: pool.submit(_evaluate_there, piece)  # noqa: E731
    running: set[Future[Done]] = set()
    with pool:
        try:
            while True:
                with _deaf():
                    while len(running) < count + 1 and not (stop and stop.is_set()) and (piece := next(pieces, None)):
                        running.add(begin(piece))
                if not running:
                    return
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    try:
                        yield future.result()
                    except BrokenProcessPool as error:
                        if stop and stop.is_set():
                            return
                        raise CheckFailed("a worker process died; run the command again, it goes on where it ended") from error
        finally:
            for future in running:
                future.cancel()


@contextmanager
def _deaf() -> Iterator[None]:
    """Ignore Ctrl+C while worker processes may be started: they inherit it, and this process decides about stopping."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def core_count() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pieces(work: Work, evaluator: Evaluator, count: int) -> Iterator[Work]:
    """Cut the work so that a piece takes about `PIECE_S`, judged by the first combination, and every worker gets some."""
    if not work:
        return
    evaluator.evaluate(work[0][1])  # the first call compiles or loads the kernel
    begun = time.perf_counter()
    evaluator.evaluate(work[-1][1])
    each = max(time.perf_counter() - begun, 1e-6)
    size = max(1, min(int(PIECE_S / each), -(-len(work) // (4 * count))))
    for first in range(0, len(work), size):
        yield work[first : first + size]


def _evaluate(evaluator: Evaluator, piece: Work) -> Done:
    return [(number, evaluator.evaluate(params)) for number, params in piece]


#: The evaluator of a worker process, made once when it starts.
_HERE: list[Evaluator] = []


def _set_up_process(bars: Bars, strategy: str, terms: Terms) -> None:
    # Ctrl+C reaches every process of the terminal; only the first one decides what to do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _HERE[:] = [Evaluator(replace(bars), strategy, terms)]


def _evaluate_there(piece: Work) -> Done:
    return _evaluate(_HERE[0], piece)
