"""Which combinations of a grid are tried, and in what order: all, some drawn at random, or those that a model proposes.

Invariant: the same plan, seed and results give the same combinations in the same order, whoever evaluates them; so an
interrupted search asks again for what it knows already, and goes on.
"""

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, unique
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol

from peak_trade.model.errors import InputError, StrategyError
from peak_trade.research.sweep import COMBINATIONS_MAX, Constraint, combinations
from peak_trade.strategy.catalogue import Value, make

if TYPE_CHECKING:
    import optuna

#: How many combinations are proposed before any of them is evaluated. Fixed, because what is proposed depends on what is
#: known by then, and that must not depend on the number of workers.
BATCH = 16
#: Proposals in a row that bring nothing that can be tried, after which a model has no more to say.
FRUITLESS_MAX = 200
#: A space of up to so many combinations is counted, so that a model stops where all of it is tried.
COUNTED_MAX = 20_000

Params = dict[str, Value]
#: Combinations by their number.
Batch = list[tuple[int, Params]]


@unique
class Method(Enum):
    """How combinations are chosen: every one, a random sample, or a tree-structured Parzen estimator (Bergstra et al. 2011)."""

    GRID = "grid"
    RANDOM = "random"
    TPE = "tpe"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """How a sweep searches: `trials` is how many combinations are tried at most; a grid tries all."""

    method: Method = Method.GRID
    trials: int = 0
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object, with the version of what proposes."""
        told = {"method": self.method.value, "trials": self.trials, "seed": self.seed}
        return told | ({"optuna": version("optuna")} if self.method is Method.TPE else {})


@dataclass(frozen=True)
class Space:
    """All combinations of a grid, by their place in its order; also of grids too large to list."""

    strategy: str
    grid: Mapping[str, Sequence[Value]]
    constraints: Sequence[Constraint]
    fixed: Mapping[str, Value]

    @cached_property
    def size(self) -> int:
        """How many combinations there are, with those that a constraint rules out."""
        return math.prod(len(values) for values in self.grid.values())

    def at(self, place: int) -> Params | None:
        """Return a combination; None where a constraint rules it out."""
        chosen: Params = {}
        for name, values in reversed(list(self.grid.items())):
            place, index = divmod(place, len(values))
            chosen[name] = values[index]
        params = {**self.fixed, **{name: chosen[name] for name in self.grid}}
        return params if all(constraint.holds(params) for constraint in self.constraints) else None

    def most(self) -> int:
        """Return how many combinations no constraint rules out; of a large space how many there are at most."""
        if self.size > COUNTED_MAX:
            return self.size
        return sum(self.at(place) is not None for place in range(self.size))

    def first(self) -> Params:
        """Return the first combination that no constraint rules out.

        Raises:
            InputError: there is none among the first million.
        """
        found = (self.at(place) for place in range(min(self.size, COMBINATIONS_MAX)))
        params = next((params for params in found if params is not None), None)
        if params is None:
            raise InputError(
                f"expected at least one combination, found none of {self.size} that satisfies the constraints; widen the grid"
            )
        return params

    def identity(self, params: Params) -> str:
        """Return the same text for combinations that are the same strategy.

        Raises:
            StrategyError: the strategy refuses it; a constraint can rule it out.
        """
        try:
            return make(self.strategy, params).model_dump_json()
        except StrategyError as error:
            raise StrategyError(f"{error}; rule such combinations out with a constraint in the sweep file") from error


class Search(Protocol):
    """What proposes combinations."""

    #: How many there will be at most.
    total: int

    def ask(self) -> Batch:
        """Return the next combinations; none where the search is over. What was asked before must have been told."""
        ...

    def tell(self, scores: Mapping[int, float | None]) -> None:
        """Take the metric of each combination that was asked for last; None where it has no value."""
        ...


class AllAtOnce:
    """All combinations of a list, at once."""

    def __init__(self, every: Sequence[Params]) -> None:
        self._left: Batch = list(enumerate(every))
        self.total = len(self._left)

    def ask(self) -> Batch:
        """Return them all the first time."""
        batch, self._left = self._left, []
        return batch

    def tell(self, scores: Mapping[int, float | None]) -> None:
        """Take the metrics, which change nothing."""


class Proposed:
    """What a tree-structured Parzen estimator proposes, in batches; Optuna's, asked and told by this process alone."""

    def __init__(self, space: Space, plan: SearchPlan) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.total = space, min(plan.trials, space.most())
        # Trials whose result is not known yet count as bad ones, so that a batch does not propose one place many times.
        sampler = optuna.samplers.TPESampler(seed=plan.seed, constant_liar=True)
        self._study = optuna.create_study(sampler=sampler, direction="maximize")
        steps = optuna.distributions.IntDistribution
        self._places = {name: steps(0, len(values) - 1) for name, values in space.grid.items() if _ordered(values)}
        names = optuna.distributions.CategoricalDistribution
        self._names = {name: names(range(len(values))) for name, values in space.grid.items() if not _ordered(values)}
        self._asked: list[tuple[optuna.Trial, int]] = []
        self._numbers: dict[str, int] = {}
        self._scores: dict[int, float | None] = {}

    def ask(self) -> Batch:
        """Return the next combinations that were not proposed before."""
        batch: Batch = []
        fruitless = 0
        while len(batch) < BATCH and len(self._numbers) < self.total and fruitless < FRUITLESS_MAX:
            trial = self._study.ask({**self._places, **self._names})
            params: Params = dict(self.space.fixed)
            params |= {name: values[trial.params[name]] for name, values in self.space.grid.items()}
            fruitless += 1
            if not all(constraint.holds(params) for constraint in self.space.constraints):
                self._end(trial, None)
                continue
            number = self._numbers.setdefault(self.space.identity(params), len(self._numbers))
            if number in self._scores:
                # Proposed again: what is known of it is told again, which moves the model on.
                self._end(trial, self._scores[number])
                continue
            self._asked.append((trial, number))
            if all(number != known for known, _ in batch):
                batch.append((number, params))
                fruitless = 0
        return batch

    def tell(self, scores: Mapping[int, float | None]) -> None:
        """Take the metrics in the order in which they were asked for."""
        self._scores |= scores
        for trial, number in self._asked:
            self._end(trial, self._scores[number])
        self._asked = []

    def _end(self, trial: "optuna.Trial", score: float | None) -> None:
        """Tell the model; what can't be tried or has no value counts as worse than everything that has one."""
        import optuna

        known = score is not None and math.isfinite(score)
        state = optuna.trial.TrialState.COMPLETE if known else optuna.trial.TrialState.PRUNED
        self._study.tell(trial, score if known else None, state)


def search_for(space: Space, plan: SearchPlan) -> Search:
    """Return what proposes the combinations of a plan.

    Raises:
        InputError: no combination is left, a grid has too many, or a plan has no number of trials.
        StrategyError: the strategy refuses a combination.
    """
    if plan.method is not Method.GRID and plan.trials < 1:
        raise InputError(f"expected --trials of at least 1 with --search {plan.method.value}, found {plan.trials}; give it")
    match plan.method:
        case Method.GRID:
            every = combinations(space.strategy, space.grid, space.constraints, space.fixed)
            return AllAtOnce([{**space.fixed, **params} for params in every])
        case Method.RANDOM:
            return AllAtOnce(drawn(space, plan.trials, plan.seed))
        case Method.TPE:
            space.first()
            return Proposed(space, plan)


def drawn(space: Space, trials: int, seed: int) -> list[Params]:
    """Return different combinations drawn at random without replacement, all of them where there are not more.

    Raises:
        InputError: none was found.
        StrategyError: the strategy refuses one.
    """
    found: dict[str, Params] = {}
    for place in _places(space.size, random.Random(seed)):  # noqa: S311 - to be repeated, not to be secret
        if (params := space.at(place)) is not None:
            found.setdefault(space.identity(params), params)
        if len(found) == trials:
            break
    if not found:
        raise InputError(
            f"expected at least one combination, found none of {space.size} that satisfies the constraints; widen the grid"
        )
    return list(found.values())


def _places(size: int, chance: random.Random) -> Iterator[int]:
    """Yield different places in random order: all of them, or of a large space a million draws."""
    if size <= COMBINATIONS_MAX:
        yield from chance.sample(range(size), size)
        return
    seen: set[int] = set()
    for _ in itertools.repeat(None, COMBINATIONS_MAX):
        place = chance.randrange(size)
        if place not in seen:
            seen.add(place)
            yield place


def _ordered(values: Sequence[Value]) -> bool:
    """Tell whether neighbouring values are alike: numbers that ascend or descend."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return len(numbers) == len(values) and numbers in (sorted(numbers), sorted(numbers, reverse=True))
