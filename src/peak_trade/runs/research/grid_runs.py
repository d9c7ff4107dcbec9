"""What long runs of research share: each combination is stored soon after it is done, so that an interruption costs little.

Invariant: one process works on a run at a time; whoever dies leaves a run that the next call goes on with.
Invariant: a combination's figures over all its periods are stored together or not at all.
"""

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from peak_trade.compose import DataChoice, Parts, code_sha256
from peak_trade.journal.registry import RunFilter
from peak_trade.journal.run import Run, RunStatus, Trial, Tried
from peak_trade.market.dataset import Dataset
from peak_trade.model.errors import InputError, StorageError, StrategyError, require
from peak_trade.research.executors import Crew, Evaluates, Workers
from peak_trade.research.grid import SweepPlan
from peak_trade.research.metrics import Metrics
from peak_trade.research.search import Space
from peak_trade.research.sweep import Constraint, combinations
from peak_trade.research.terms import Terms
from peak_trade.runs.configured import configured_params
from peak_trade.runs.record import Json, exact_choice, run_over, steps_of, versions_of
from peak_trade.strategy.base import Strategy
from peak_trade.strategy.catalogue import Value, find, make

#: What an interrupted run says of itself.
INTERRUPTED = "interrupted; the same command goes on with it"

#: A list of runs takes the lock for a moment to see whether a run is alive; wait that out.
LOCK_WAIT_S = 2.0

#: Told how many combinations are done, how many were done before this process, and how many there are.
Progress = Callable[[int, int, int], None]

#: Parameters and figures of stored trials, as JSON texts, by number.
Known = Mapping[int, tuple[str, str]]

Params = Mapping[str, Value]
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRequest:
    """What every run over many combinations needs: the plan, bars, terms, who works, and how often results are stored.

    `address` is that of a Ray cluster; None starts one on this machine.
    """

    plan: SweepPlan
    data: DataChoice
    terms: Terms
    workers: Workers = Workers.THREADS
    count: int = 0
    address: str | None = None
    chunk_s: float = 1.0
    tags: tuple[str, ...] = ()

    def crew(self, evaluator: Evaluates[R]) -> Crew[R]:
        """Return who works with an evaluator."""
        return Crew(evaluator, self.workers, self.count, address=self.address, code=code_sha256)


class TrialKeeper:
    """Collects finished combinations of a run and stores them about every `chunk_s` seconds.

    Args:
        tried: the periods that each combination is tried on, in the order of its figures.
        width: how many combinations there are at most; trial numbers are period x width + combination.
        done: how many combinations are stored already.
    """

    def __init__(self, parts: Parts, run: Run, tried: Sequence[Tried], width: int, *, chunk_s: float, done: int = 0) -> None:
        self.parts, self.run, self.tried, self.width, self.chunk_s = parts, run, tuple(tried), width, chunk_s
        self.begun = self.last = parts.clock.elapsed_s()
        self.stored = done
        self.more = 0
        self.waiting: list[tuple[int, Params, tuple[Metrics, ...]]] = []

    def take(self, piece: Iterable[tuple[int, tuple[Metrics, ...]]], params: Mapping[int, Params] | Sequence[Params]) -> None:
        """Take combinations, each with its metrics over every period."""
        self.waiting += [(number, params[number], found) for number, found in piece]
        if self.parts.clock.elapsed_s() - self.last >= self.chunk_s:
            self.store()

    def store(self) -> None:
        """Store what waits, all or none.

        Raises:
            StorageError: the disk or the registry refused.
        """
        groups: list[list[Trial]] = [[] for _ in self.tried]
        for number, params, found in self.waiting:
            whole = make(self.run.strategy, params).model_dump(mode="json")
            for place, (group, metrics) in enumerate(zip(groups, found, strict=True)):
                group.append(Trial(number=place * self.width + number, params=whole, metrics=metrics._asdict()))
        self.parts.registry.add_tried(self.run, zip(self.tried, groups, strict=True))
        self.stored += len(self.waiting)
        self.waiting, self.last = [], self.parts.clock.elapsed_s()

    def add(self, more: Sequence[tuple[Tried, Trial]], known: Known) -> None:
        """Store further trials that are not known yet, all or none."""
        self.parts.registry.add_tried(self.run, [(tried, [trial]) for tried, trial in more if trial.number not in known])
        self.more = len(more)

    def finish(
        self,
        status: RunStatus,
        *,
        error: str | None = None,
        metrics: Mapping[str, float] | None = None,
        result_sha256: str | None = None,
    ) -> None:
        """Say how the run ended."""
        self.parts.registry.finish(
            self.run.run_id,
            status,
            at=self.parts.clock.now(),
            elapsed_s=(self.run.elapsed_s or 0.0) + self.parts.clock.elapsed_s() - self.begun,
            trials=self.stored * len(self.tried) + self.more,
            metrics=metrics,
            result_sha256=result_sha256,
            error=error,
        )


def space_of(parts: Parts, plan: SweepPlan) -> Space:
    """Return all combinations of a plan, with the parameters outside its grid as configured, else at their defaults."""
    fields = find(plan.strategy).model_fields.items()
    known = {name: field.default for name, field in fields if not field.is_required()}
    known |= configured_params(parts, plan.strategy, {})
    fixed = {name: value for name, value in known.items() if name not in plan.grid}
    return Space(plan.strategy, plan.grid, plan.constraints, fixed)


def stored_plan(run: Run) -> SweepPlan:
    """Return the plan of a registered run over many combinations from its specification."""
    grid = {name: tuple(values) for name, values in run.spec["grid"]}
    names = find(run.strategy).model_fields
    return SweepPlan(
        strategy=run.strategy,
        metric=run.spec["metric"],
        top=run.spec.get("top", 1),
        grid=grid,
        constraints=tuple(Constraint.parse(text, names) for text in run.spec["constraints"]),
        options={},
    )


def every_of(parts: Parts, plan: SweepPlan) -> list[dict[str, Value]]:
    """Return every combination of a plan that no constraint rules out, with all parameters of the strategy."""
    return combined(plan, space_of(parts, plan).fixed)


def combined(plan: SweepPlan, fixed: Params) -> list[dict[str, Value]]:
    """Return the same with given parameters outside the grid."""
    return [{**fixed, **params} for params in combinations(plan.strategy, plan.grid, plan.constraints, fixed)]


def unseen(_done: int, _before: int, _total: int) -> None:
    """Take progress that nobody looks at."""


def planned_run(parts: Parts, request: GridRequest, dataset: Dataset, strategy: Strategy, more: Json) -> Run:
    """Return the run to be; its specification holds the versions, so that other code never goes on with it.

    Args:
        strategy: of any combination.
        more: what else specifies it; `run_type` at least.
    """
    fixed = request.plan.fixed(strategy.model_dump(mode="json"))
    spec = {
        **request.plan.specification(fixed),
        "data": exact_choice(request.data, dataset).to_json(),
        "instrument": steps_of(dataset),
        "dataset_sha256": dataset.bars.sha256(),
        "terms": request.terms.to_json(),
        "versions": versions_of(strategy),
    }
    return run_over(parts, dataset, strategy, spec | more, params=fixed, tags=request.tags)


@contextmanager
def alone_on(parts: Parts, planned: Run, noun: str) -> Iterator[None]:
    """Hold the right to work on a run of that specification.

    Raises:
        InputError: another process has it.
    """
    with parts.registry.working_on(planned.spec_sha256, wait_s=LOCK_WAIT_S) as free:
        if not free:
            raise InputError(
                f"expected no other process to run this {noun}, found one that does; wait for it or stop it, "
                "then this command goes on where it ended"
            )
        yield


@contextmanager
def kept(keeper: TrialKeeper) -> Iterator[None]:
    """Register how a run ended that did not come to its end: failed by its strategy, else aborted, to be gone on with."""
    try:
        yield
    except StrategyError as error:
        keeper.finish(RunStatus.FAILED, error=str(error))
        raise
    except BaseException:
        # What is done is stored; whatever this was, the next call can go on. A disk that is full can't even note that.
        with suppress(StorageError):
            keeper.finish(RunStatus.ABORTED, error=INTERRUPTED)
        raise


def begun(parts: Parts, planned: Run, before: Run | None) -> tuple[Run, Known]:
    """Register the planned run, or take up the unfinished one of the same specification with what it has done."""
    if before is None or before.status in (RunStatus.COMPLETED, RunStatus.DAMAGED):
        parts.registry.add(planned)
        return planned, {}
    parts.registry.restart(before.run_id, os.getpid(), planned.tags)
    return before, {number: (params, figures) for number, params, figures in parts.registry.trials(before.run_id)}


def taken_up(parts: Parts, planned: Run, noun: str, *, afresh: bool) -> tuple[Run, Known]:
    """Take up the unfinished run of the same specification, or begin anew.

    Raises:
        InputError: one was interrupted under other data, terms or code, and nobody asked to begin afresh.
    """
    if afresh:
        return begun(parts, planned, None)
    check_unchanged(parts, planned, noun)
    return begun(parts, planned, parts.registry.latest(planned.spec_sha256, planned.run_type))


def known_tables(known: Known, strategy: str, every: Sequence[Params], periods: int) -> dict[int, tuple[Metrics, ...]]:
    """Return the stored combinations with their metrics over every period, by number."""
    found = {}
    for number, params in enumerate(every):
        if number in known:
            same = json.loads(known[number][0]) == make(strategy, params).model_dump(mode="json")
            require(same, "a run asks again for what it asked for before")
            rows = (json.loads(known[place * len(every) + number][1]) for place in range(periods))
            found[number] = tuple(Metrics(**row) for row in rows)
    return found


def gathered(
    keeper: TrialKeeper,
    crew: Crew[tuple[Metrics, ...]],
    every: Sequence[Params],
    done: Mapping[int, tuple[Metrics, ...]],
    progress: Progress,
    stop: threading.Event,
) -> list[tuple[Metrics, ...]] | None:
    """Evaluate every combination that is not done yet, and store each soon after; return the metrics of all in their order.

    None where *stop* ended it early. What is finished is stored however this ends.
    """
    found, before = dict(done), len(done)
    if before < len(every):
        with crew:
            progress(before, before, len(every))
            try:
                for piece in crew.do([(number, params) for number, params in enumerate(every) if number not in done], stop):
                    keeper.take(piece, every)
                    found |= dict(piece)
                    progress(len(found), before, len(every))
            finally:
                keeper.store()
    return [found[number] for number in range(len(every))] if len(found) == len(every) else None


#: Parts of a specification that may be other than they were without the question being another one, and what they are called.
_CIRCUMSTANCES = {
    "dataset_sha256": "bars",
    "data": "period",
    "instrument": "trading steps",
    "terms": "terms",
    "versions": "code",
}
#: So many of the newest runs are looked through for one that was interrupted.
_LOOKED_AT = 50


def check_unchanged(parts: Parts, planned: Run, noun: str) -> None:
    """Refuse to begin anew what was interrupted under other data, terms or code, because half of it is done already.

    Only the newest run of the same question counts, and only if it has trials.

    Raises:
        InputError: there is one; says what changed.
    """
    where = RunFilter(run_type=planned.run_type, strategy=planned.strategy, symbol=planned.symbol)
    question = _question(planned)
    before = next((run for run in parts.registry.find(where, _LOOKED_AT) if _question(run) == question), None)
    if before is None or before.status is not RunStatus.ABORTED or before.trials == 0:
        return
    changed = [name for name in _CIRCUMSTANCES if before.spec.get(name) != planned.spec.get(name)]
    if "dataset_sha256" in changed and "data" in changed:
        changed.remove("data")
    if changed:
        told = "; ".join(f"other {_CIRCUMSTANCES[name]}{_difference(name, before, planned)}" for name in changed)
        raise InputError(
            f"expected bars, terms and code as they were when the {noun} {before.run_id} was interrupted, found {told}; "
            "put back what was, and it goes on, or begin anew with --afresh"
        )


def _question(run: Run) -> dict[str, object]:
    return {name: value for name, value in run.spec.items() if name not in _CIRCUMSTANCES}


def _difference(name: str, before: Run, planned: Run) -> str:
    """Return which terms or versions differ, with their values where they are short."""
    if name not in ("terms", "versions", "instrument"):
        return ""
    then, now = before.spec[name], planned.spec[name]
    names = [key for key in {**then, **now} if then.get(key) != now.get(key)]
    values = [f"{key} {str(then.get(key))[:12]} then, {str(now.get(key))[:12]} now" for key in names]
    return f" ({', '.join(values)})"
