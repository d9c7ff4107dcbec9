"""A sweep as a run: every combination is stored soon after it is done, so that an interruption costs nothing.

Invariant: one process works on a sweep at a time; whoever dies leaves a sweep that the next call goes on with.
"""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from peak_trade.compose import Parts, dataset_facts
from peak_trade.durable import write_text
from peak_trade.journal.run import Run, RunStatus, plain_json, sha256_of
from peak_trade.market.dataset import Dataset
from peak_trade.model.errors import require
from peak_trade.research.backtest import yardstick
from peak_trade.research.grid import SweepPlan
from peak_trade.research.search import Method, Search, SearchPlan, search_for
from peak_trade.research.sweep import Evaluator
from peak_trade.research.terms import Terms
from peak_trade.runs.record import SWEEP, Json, document_of, tried_on
from peak_trade.runs.research.grid_runs import (
    INTERRUPTED,
    GridRequest,
    Known,
    Progress,
    TrialKeeper,
    alone_on,
    begun,
    kept,
    planned_run,
    space_of,
)
from peak_trade.runs.research.research_data import research_data
from peak_trade.strategy.base import Strategy
from peak_trade.strategy.catalogue import Value, make

#: The file of a sweep's folder that a browser opens.
SWEEP_SHEET = "sweep.html"

#: Every combination with its metrics, both as JSON objects, in the sweep's order.
Rows = list[tuple[Json, Json]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRequest(GridRequest):
    """What a sweep needs besides: how it searches."""

    search: SearchPlan = field(default_factory=SearchPlan)


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
    with alone_on(parts, planned, "sweep"):
        before = parts.registry.latest(planned.spec_sha256, SWEEP)
        if before and before.status is RunStatus.COMPLETED and not (parts.reports / before.run_id / "run.json").exists():
            # It ended between its last combination and its folder: only the folder is missing.
            return finished_sweep(parts, before, plan, request.terms, dataset)
        run, done = begun(parts, planned, before)
        # A sweep has one period, so that a trial's number is its combination's, however many there will be.
        keeper = TrialKeeper(parts, run, [tried_on(dataset, request.terms)], 0, chunk_s=request.chunk_s, done=len(done))
        with kept(keeper):
            evaluator = Evaluator(dataset.bars, plan.strategy, request.terms)
            whole = _evaluate(keeper, search, done, evaluator, request, progress, stop)
        if not whole:
            keeper.finish(RunStatus.ABORTED, error=INTERRUPTED)
            return None
        rows = stored_rows(parts, run)
        require(len(rows) == keeper.stored, "a finished sweep has every combination once")
        keeper.finish(RunStatus.COMPLETED, metrics=best_of(rows, plan.metric), result_sha256=sha256_of(rows))
    return finished_sweep(parts, parts.registry.get(run.run_id), plan, request.terms, dataset)


def _evaluate(
    keeper: TrialKeeper,
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
    with request.crew(evaluator) as crew:
        progress(before, before, search.total)
        try:
            while batch := search.ask():
                params = dict(batch)
                scores = {
                    number: _known_score(done[number], evaluator.strategy, params[number], metric)
                    for number in params
                    if number in done
                }
                for piece in crew.do([item for item in batch if item[0] not in done], stop):
                    keeper.take([(number, (metrics,)) for number, metrics in piece], params)
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


def _planned(parts: Parts, request: SweepRequest, dataset: Dataset, strategy: Strategy) -> Run:
    """Return the run to be; its specification holds the versions, so that other code never goes on with this sweep."""
    plan = request.plan
    searched = {} if request.search.method is Method.GRID else {"search": request.search.to_json()}
    return planned_run(parts, request, dataset, strategy, {"run_type": SWEEP, "top": plan.top} | searched)


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
