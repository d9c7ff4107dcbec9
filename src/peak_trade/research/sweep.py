"""Many combinations of parameters over one series of bars.

Invariant: a combination's number and figures do not depend on the executor, the number of workers or an interruption.
"""

import contextlib
import itertools
import math
import operator
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from peak_trade.model.bar import F64, Bars
from peak_trade.model.errors import InputError, StrategyError
from peak_trade.research.backtest import Workspace
from peak_trade.research.executors import Crew, Done, Work, Workers
from peak_trade.research.kernel import compiled
from peak_trade.research.metrics import Metrics
from peak_trade.research.splits import Stretch
from peak_trade.research.terms import Terms
from peak_trade.strategy.base import Strategy, checked_targets
from peak_trade.strategy.catalogue import Value, find, make
from peak_trade.strategy.indicators import Shared, sharing

#: More combinations than this are a mistake in the grid; they would also fill the registry.
COMBINATIONS_MAX = 1_000_000

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "!=": operator.ne,
    "==": operator.eq,
}


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


class Targeting:
    """Targets of combinations over the same bars, with indicators that are computed once for each setting.

    May be used by several threads at once, and be sent to other processes, which then have their own memory.
    """

    def __init__(self, bars: Bars, strategy: str, terms: Terms) -> None:
        find(strategy)
        self.bars, self.strategy, self.terms = bars, strategy, terms
        self._shared = Shared()
        self._own = threading.local()

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuilt, (type(self), self.bars, self.strategy, self.terms)

    def targets(self, params: Mapping[str, Value]) -> tuple[Strategy, F64]:
        """Return a combination's strategy and its targets, shape (bars,)."""
        with sharing(self._shared):
            strategy = make(self.strategy, params)
            return strategy, checked_targets(self.bars, strategy)

    def space(self) -> Workspace:
        """Return this thread's arrays for the kernel."""
        if not hasattr(self._own, "space"):
            self._own.space = Workspace(len(self.bars), compiled())
        found: Workspace = self._own.space
        return found


class Evaluator(Targeting):
    """Computes the metrics of combinations over all the bars."""

    def evaluate(self, params: Mapping[str, Value]) -> Metrics:
        """Run one combination."""
        strategy, targets = self.targets(params)
        return self.space().run(self.bars, strategy, targets, self.terms)[2]


class StretchEvaluator(Targeting):
    """Computes the metrics of combinations over stretches of the bars, each from flat with the terms' cash.

    Targets are computed once over all bars. As a target uses nothing after its bar, those of a stretch are what they would
    be with the bars up to its end, and earlier bars are the warm-up.
    """

    def __init__(self, bars: Bars, strategy: str, terms: Terms, stretches: Sequence[Stretch]) -> None:
        super().__init__(bars, strategy, terms)
        self.stretches = tuple(stretches)
        self._parts = [(bars[first:last], slice(first, last)) for first, last in self.stretches]

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuilt, (type(self), self.bars, self.strategy, self.terms, self.stretches)

    def evaluate(self, params: Mapping[str, Value]) -> tuple[Metrics, ...]:
        """Run one combination over each stretch, in their order."""
        strategy, targets = self.targets(params)
        space = self.space()
        return tuple(space.run(part, strategy, targets[place], self.terms)[2] for part, place in self._parts)


def rebuilt(kind: Callable[..., Targeting], bars: Bars, *rest: Any) -> Targeting:
    """Make an evaluator in another process; bars that were sent can be written to until they are made anew."""
    return kind(replace(bars), *rest)


def sweep(
    evaluator: Evaluator, work: Work, *, workers: Workers, count: int, stop: threading.Event | None = None
) -> Iterator[Done[Metrics]]:
    """Evaluate numbered combinations over all the bars and yield them in pieces as they finish; see `Crew.do`."""
    with Crew(evaluator, workers, count) as crew:
        yield from crew.do(work, stop)
