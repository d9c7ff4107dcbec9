"""A sweep as a run: every combination is stored soon after it is done, so that an interruption costs nothing.

Invariant: one process works on a sweep at a time; whoever dies leaves a sweep that the next call goes on with.
"""

import json
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from peak_trade.compose import DataChoice, Parts, code_sha256, dataset_facts
from peak_trade.durable import write_text
from peak_trade.journal.registry import stamp
from peak_trade.journal.run import Run, RunStatus, Trial, Tried, plain_json, sha256_of
from peak_trade.market.dataset import Dataset
from peak_trade.model.errors import InputError, StorageError, StrategyError, require
from peak_trade.research.backtest import yardstick
from peak_trade.research.executors import Crew, Done, Workers
from peak_trade.research.grid import SweepPlan
from peak_trade.research.metrics import Metrics
from peak_trade.research.search import Method, Search, SearchPlan, Space, search_for
from peak_trade.research.sweep import Constraint, Evaluator
from peak_trade.research.terms import Terms
from peak_trade.runs.configured import configured_params
from peak_trade.runs.record import SWEEP, Json, document_of, exact_choice, provenance, steps_of, tried_on
from peak_trade.runs.research.research_data import research_data
from peak_trade.strategy.base import Strategy
from peak_trade.strategy.catalogue import Value, find, make

#: What an interrupted sweep says of itself.
INTERRUPTED = "interrupted; the same sweep command goes on with it"

#: A list of runs takes the lock for a moment to see whether a sweep is alive; wait that out.
LOCK_WAIT_S = 2.0

#: The file of a sweep's folder that a browser opens.
SWEEP_SHEET = "sweep.html"

#: Told how many combinations are done, how many were done before this process, and how many there are.
Progress = Callable[[int, int, int], None]

#: Every combination with its metrics, both as JSON objects, in the sweep's order.
Rows = list[tuple[Json, Json]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRequest:
    """What a sweep needs besides its plan: how it searches, bars, terms, who works, and how often results are stored.

    `address` is that of a Ray cluster; None starts one on this machine.
    """

    plan: SweepPlan
    search: SearchPlan = field(default_factory=SearchPlan)
    data: DataChoice
    terms: Terms
    workers: Workers = Workers.THREADS
    count: int = 0
    address: str | None = None
    chunk_s: float = 1.0
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """A finished sweep: its record, its rows and its folder."""

    record: Json
    rows: Rows
    folder: Path


def run_sweep(parts: Parts, request: SweepRequest, progress: Progress, stop: threading.Event) -> Swept | None:
    """Run a sweep, or go on with an interrupted one of the same specification.

    Returns:
        The finished sweep, or None where *stop* ended it early: then what is done is stored, and the next call goes on.

    Raises:
        InputError: plan, data or terms don't fit, or the same sweep is running in another process.
        StorageError: the disk or the registry refused; what was stored before is intact.
    """
    plan = request.plan
    dataset = research_data(parts, request.data)
    space = space_of(parts, plan)
    search = search_for(space, request.search)
    parts.registry.close_dead(SWEEP, parts.clock.now())
    planned = _planned(parts, request, dataset, make(plan.strategy, space.first()))
    with parts.registry.working_on(planned.spec_sha256, wait_s=LOCK_WAIT_S) as free:
        if not free:
            raise InputError(
                "expected no other process to run this sweep, found one that does; wait for it or stop it, "
                "then this command goes on where it ended"
            )
        before = parts.registry.latest(planned.spec_sha256, SWEEP)
        if before and before.status is RunStatus.COMPLETED and not (parts.reports / before.run_id / "run.json").exists():
            # It ended between its last combination and its folder: only the folder is missing.
            return finished_sweep(parts, before, plan, request.terms, dataset)
        run, done = _begun(parts, planned, before)
        keeper = _Keeper(parts, run, tried_on(dataset, request.terms), request.chunk_s, done)
        try:
            whole = _evaluate(
                keeper, search, done, Evaluator(dataset.bars, plan.strategy, request.terms), request, progress, stop
            )
        except StrategyError as error:
            keeper.finish(RunStatus.FAILED, error=str(error))
            raise
        except BaseException:
            # What is done is stored; whatever this was, the next call can go on. A disk that is full can't even note that.
            with suppress(StorageError):
                keeper.finish(RunStatus.ABORTED, error=INTERRUPTED)
            raise
        if not whole:
            keeper.finish(RunStatus.ABORTED, error=INTERRUPTED)
            return None
        rows = stored_rows(parts, run)
        require(len(rows) == keeper.stored, "a finished sweep has every combination once")
        keeper.finish(RunStatus.COMPLETED, metrics=best_of(rows, plan.metric), result_sha256=sha256_of(rows))
    return finished_sweep(parts, parts.registry.get(run.run_id), plan, request.terms, dataset)


def space_of(parts: Parts, plan: SweepPlan) -> Space:
    """Return all combinations of a plan, with the parameters outside its grid as configured, else at their defaults."""
    fields = find(plan.strategy).model_fields.items()
    known = {name: field.default for name, field in fields if not field.is_required()}
    known |= configured_params(parts, plan.strategy, {})
    fixed = {name: value for name, value in known.items() if name not in plan.grid}
    return Space(plan.strategy, plan.grid, plan.constraints, fixed)


#: Parameters and figures of stored combinations, as JSON texts, by number.
Known = Mapping[int, tuple[str, str]]


def _begun(parts: Parts, planned: Run, before: Run | None) -> tuple[Run, Known]:
    """Register the planned run, or take up the unfinished one of the same specification with what it has done."""
    if before is None or before.status in (RunStatus.COMPLETED, RunStatus.DAMAGED):
        parts.registry.add(planned)
        return planned, {}
    parts.registry.restart(before.run_id, os.getpid(), planned.tags)
    return before, {number: (params, figures) for number, params, figures in parts.registry.trials(before.run_id)}


def _evaluate(
    keeper: "_Keeper",
    search: Search,
    done: Known,
    evaluator: Evaluator,
    request: SweepRequest,
    progress: Progress,
    stop: threading.Event,
) -> bool:
    """Evaluate what the search asks for and is not stored yet, and hand it to the keeper; tell whether it came to its end.

    What is finished is stored however this ends.
    """
    before, metric = len(done), request.plan.metric
    progress(before, before, search.total)
    with Crew(evaluator, request.workers, request.count, address=request.address, code=code_sha256) as crew:
        try:
            while batch := search.ask():
                params = dict(batch)
                scores = {
                    number: _known_score(done[number], evaluator.strategy, params[number], metric)
                    for number in params
                    if number in done
                }
                for piece in crew.do([item for item in batch if item[0] not in done], stop):
                    keeper.take(piece, params)
                    scores |= {number: getattr(metrics, metric) for number, metrics in piece}
                    progress(keeper.stored + len(keeper.waiting), before, search.total)
                if len(scores) < len(batch):
                    return False
                search.tell(scores)
            return True
        finally:
            keeper.store()


def _known_score(stored: tuple[str, str], strategy: str, params: Mapping[str, Value], metric: str) -> float | None:
    """Return the metric of a stored combination."""
    same = json.loads(stored[0]) == make(strategy, params).model_dump(mode="json")
    require(same, "a search asks again for what it asked for before")
    found: float | None = json.loads(stored[1])[metric]
    return found


class _Keeper:
    """Collects finished trials and stores them about every `chunk_s` seconds."""

    def __init__(self, parts: Parts, run: Run, tried: Tried, chunk_s: float, done: Known) -> None:
        self.parts, self.run, self.tried, self.chunk_s = parts, run, tried, chunk_s
        self.begun = parts.clock.elapsed_s()
        self.stored = len(done)
        self.waiting: list[Trial] = []
        self.last = parts.clock.elapsed_s()

    def take(self, piece: Done[Metrics], params: Mapping[int, Mapping[str, Value]]) -> None:
        for number, metrics in piece:
            whole = make(self.run.strategy, params[number]).model_dump(mode="json")
            self.waiting.append(Trial(number=number, params=whole, metrics=metrics._asdict()))
        if self.parts.clock.elapsed_s() - self.last >= self.chunk_s:
            self.store()

    def store(self) -> None:
        self.parts.registry.add_trials(self.run, self.tried, self.waiting)
        self.stored += len(self.waiting)
        self.waiting, self.last = [], self.parts.clock.elapsed_s()

    def finish(
        self,
        status: RunStatus,
        *,
        metrics: Mapping[str, float] | None = None,
        result_sha256: str | None = None,
        error: str | None = None,
    ) -> None:
        self.parts.registry.finish(
            self.run.run_id,
            status,
            at=self.parts.clock.now(),
            elapsed_s=(self.run.elapsed_s or 0.0) + self.parts.clock.elapsed_s() - self.begun,
            trials=self.stored,
            metrics=metrics,
            result_sha256=result_sha256,
            error=error,
        )


def _planned(parts: Parts, request: SweepRequest, dataset: Dataset, strategy: Strategy) -> Run:
    """Return the run to be; its specification holds the versions, so that other code never goes on with this sweep."""
    plan = request.plan
    sha256 = dataset.bars.sha256()
    fixed = plan.fixed(strategy.model_dump(mode="json"))
    where_from = provenance(parts, strategy)
    return Run(
        run_id=parts.ids.next_run(),
        run_type=SWEEP,
        status=RunStatus.STARTED,
        strategy=plan.strategy,
        symbol=dataset.bars.instrument.symbol,
        timeframe=dataset.bars.timeframe.label,
        params=fixed,
        spec={
            "run_type": SWEEP,
            **plan.specification(fixed),
            "top": plan.top,
            "data": exact_choice(request.data, dataset).to_json(),
            "instrument": steps_of(dataset),
            "dataset_sha256": sha256,
            "terms": request.terms.to_json(),
            "versions": where_from["versions"],
        }
        | ({} if request.search.method is Method.GRID else {"search": request.search.to_json()}),
        dataset_sha256=sha256,
        started_at=stamp(parts.clock.now()),
        tags=request.tags,
        **where_from,
    )


def stored_plan(run: Run) -> SweepPlan:
    """Return the plan of a registered sweep from its specification."""
    grid = {name: tuple(values) for name, values in run.spec["grid"]}
    names = find(run.strategy).model_fields
    return SweepPlan(
        strategy=run.strategy,
        metric=run.spec["metric"],
        top=run.spec["top"],
        grid=grid,
        constraints=tuple(Constraint.parse(text, names) for text in run.spec["constraints"]),
        options={},
    )


def stored_rows(parts: Parts, run: Run) -> Rows:
    """Return a sweep's stored combinations with their metrics."""
    return [(json.loads(params), json.loads(figures)) for _, params, figures in parts.registry.trials(run.run_id)]


def best_of(rows: Rows, metric: str) -> dict[str, float]:
    """Return the figure a sweep is registered with: its best metric, where any combination has one."""
    values = [float(figures[metric]) for _, figures in rows if figures[metric] is not None]
    return {f"best_{metric}": max(values)} if values else {}


def finished_sweep(parts: Parts, run: Run, plan: SweepPlan, terms: Terms, dataset: Dataset) -> Swept:
    """Write the folder of a completed sweep from what the registry has of it."""
    from peak_trade.report.markdown import sweep_markdown

    rows = stored_rows(parts, run)
    record = document_of(parts, run, dataset_facts(dataset), terms, dataset) | {
        "metric": plan.metric,
        "grid": {name: list(values) for name, values in plan.grid.items()},
        "constraints": [constraint.text for constraint in plan.constraints],
        "trials": run.trials,
        "top": plan.top,
        "search": run.spec.get("search", {"method": Method.GRID.value}),
        "benchmark": yardstick(dataset.bars, terms).metrics._asdict(),
    }
    folder = parts.reports / run.run_id
    write_text(folder / "run.json", json.dumps(record, indent=2, allow_nan=False) + "\n")
    write_text(folder / "report.md", sweep_markdown(record, rows))
    flat = [_flat(params) | figures for params, figures in rows]
    write_text(folder / "trials.csv", pl.DataFrame(flat, infer_schema_length=None).write_csv())
    return Swept(record=record, rows=rows, folder=folder)


def _flat(params: Json) -> Json:
    return {name: value if isinstance(value, int | float | str) else plain_json(value) for name, value in params.items()}


def write_sweep_sheet(swept: Swept) -> Path:
    """Draw the sweep's report into its folder."""
    from peak_trade.report.sweep_sheet import sweep_html

    path = swept.folder / SWEEP_SHEET
    write_text(path, sweep_html(swept.record, swept.rows))
    return path
