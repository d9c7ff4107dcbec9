"""A walk-forward as a run: registered, reproducible, with every combination of every window counted as a trial."""

import io
import json
import threading
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from peak_trade.compose import Parts, dataset_facts
from peak_trade.durable import write_bytes, write_text
from peak_trade.journal.run import Run, RunStatus, Trial, Tried, plain_json, sha256_of
from peak_trade.market.dataset import Dataset
from peak_trade.model.clock import moment_text
from peak_trade.model.errors import InputError
from peak_trade.research.grid import SweepPlan
from peak_trade.research.splits import Length, Stretch, WalkPlan, Window, walk_windows
from peak_trade.research.sweep import StretchEvaluator
from peak_trade.research.terms import Terms
from peak_trade.research.walk_forward import (
    Journey,
    Params,
    journey_of,
    steadiness,
    tested_stretch,
    walk_evaluator,
    walk_forward,
)
from peak_trade.runs.record import WALK_FORWARD, Json, document_of, tried_on
from peak_trade.runs.research.backtest import equity_frame, write_trades
from peak_trade.runs.research.grid_runs import (
    INTERRUPTED,
    GridRequest,
    Progress,
    TrialKeeper,
    alone_on,
    combined,
    every_of,
    gathered,
    kept,
    known_tables,
    planned_run,
    stored_plan,
    taken_up,
    unseen,
)
from peak_trade.runs.research.research_data import research_data
from peak_trade.strategy.catalogue import Value, make

#: The file of a walk-forward's folder that a browser opens.
WALK_SHEET = "walk_forward.html"
#: Combinations of all windows together; more would fill the registry.
TRIALS_MAX = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkRequest(GridRequest):
    """What a walk-forward needs besides.

    Attributes:
        walk: how windows walk.
        flat_borders: whether positions are closed at the end of each test stretch instead of carried on.
        afresh: begin anew, whatever was interrupted.
    """

    walk: WalkPlan
    flat_borders: bool = False
    afresh: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkDone:
    """A finished walk-forward: its record (the JSON document), what it gave, and its folder."""

    record: Json
    journey: Journey
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Route:
    """What a walk-forward goes over, from a request or from a registered run."""

    plan: SweepPlan
    every: list[dict[str, Value]]
    windows: tuple[Window, ...]
    flat_borders: bool
    dataset: Dataset
    terms: Terms

    def evaluator(self) -> StretchEvaluator:
        """Return what evaluates its combinations."""
        return walk_evaluator(self.dataset.bars, self.plan.strategy, self.terms, self.windows)

    def periods(self) -> list[Tried]:
        """Return what each combination is tried on: the train stretches, and last all test stretches together."""
        return [self.on(stretch) for stretch in (*(window.train for window in self.windows), tested_stretch(self.windows))]

    def on(self, stretch: Stretch) -> Tried:
        """Return a stretch as the count of trials needs it."""
        return tried_on(self.dataset, self.terms, slice(*stretch))


def run_walk_forward(
    parts: Parts, request: WalkRequest, progress: Progress = unseen, stop: threading.Event | None = None
) -> WalkDone | None:
    """Run a walk-forward, or go on with an interrupted one of the same specification; write its folder, all but its HTML page.

    Returns:
        The finished walk, or None where *stop* ended it early: then what is done is stored, and the next call goes on.

    Raises:
        InputError: plan, windows, data or terms don't fit, one was interrupted under other data, terms or code, or the same
            one is running in another process; a strategy that fails while running is registered as failed.
        StorageError: the disk or the registry refused; what was stored before is intact.
    """
    plan = request.plan
    dataset = research_data(parts, request.data)
    every = every_of(parts, plan)
    windows = walk_windows(dataset.bars.timestamp, dataset.bars.timeframe.step_ns, request.walk)
    if len(every) * len(windows) > TRIALS_MAX:
        raise InputError(
            f"expected at most {TRIALS_MAX:,} trials, found {len(every):,} combinations in {len(windows):,} windows; "
            "make the grid coarser or the test stretches longer"
        )
    route = _Route(
        plan=plan, every=every, windows=windows, flat_borders=request.flat_borders, dataset=dataset, terms=request.terms
    )
    planned = _planned(parts, request, dataset, every[0])
    parts.registry.close_dead(WALK_FORWARD, parts.clock.now())
    with alone_on(parts, planned, "walk-forward"):
        run, known = taken_up(parts, planned, "walk-forward", afresh=request.afresh)
        evaluator, periods = route.evaluator(), route.periods()
        done = known_tables(known, plan.strategy, every, len(periods))
        keeper = TrialKeeper(parts, run, periods, len(every), chunk_s=request.chunk_s, done=len(done))
        with kept(keeper):
            table = gathered(keeper, request.crew(evaluator), every, done, progress, stop or threading.Event())
            if table is not None:
                journey = journey_of(evaluator, every, table, windows, plan.metric, flat_borders=request.flat_borders)
                keeper.add(_chosen(route, journey), known)
        if table is None:
            keeper.finish(RunStatus.ABORTED, error=INTERRUPTED)
            return None
        figures = walk_figures(journey, plan.metric)
        keeper.finish(RunStatus.COMPLETED, metrics=figures, result_sha256=walk_sha256(journey))
    return finished_walk(parts, parts.registry.get(run.run_id), route, journey)


def walk_again(run: Run, dataset: Dataset, terms: Terms) -> tuple[_Route, Journey]:
    """Walk a registered walk-forward again, without registering anything."""
    spec, plan = run.spec, stored_plan(run)
    every = combined(plan, spec["fixed"])
    walk = WalkPlan(
        **{name: Length.parse(spec[name], name, zero=True) for name in ("train", "test", "embargo")}, anchored=spec["anchored"]
    )
    windows = walk_windows(dataset.bars.timestamp, dataset.bars.timeframe.step_ns, walk)
    flat = spec["flat_borders"]
    route = _Route(plan=plan, every=every, windows=windows, flat_borders=flat, dataset=dataset, terms=terms)
    return route, walk_forward(dataset.bars, plan.strategy, every, terms, windows, plan.metric, flat_borders=flat)


def walk_sha256(journey: Journey) -> str:
    """Return the hash over what was chosen in each window, its metrics, and every fill and equity value of the joined run."""
    chosen = [
        [walked.number, *(None if m is None else m._asdict() for m in (walked.train, walked.test))]
        for walked in journey.windows
    ]
    return sha256_of({"chosen": chosen, "joined": journey.result.sha256()})


def walk_figures(journey: Journey, metric: str) -> dict[str, float]:
    """Return the figures a walk-forward is registered with: the metrics of the joined run, and those of the walk."""
    more = {name: value for name, value in journey.figures(metric).items() if value is not None}
    return journey.result.metrics.figures() | more


def _planned(parts: Parts, request: WalkRequest, dataset: Dataset, first: Params) -> Run:
    more = {
        "run_type": WALK_FORWARD,
        "train": request.walk.train.text,
        "test": request.walk.test.text,
        "embargo": request.walk.embargo.text,
        "anchored": request.walk.anchored,
        "flat_borders": request.flat_borders,
        "asked": request.data.to_json(),
    }
    return planned_run(parts, request, dataset, make(request.plan.strategy, first), more)


def _chosen(route: _Route, journey: Journey) -> list[tuple[Tried, Trial]]:
    """Return the chosen combinations as trials on their test stretches, numbered after all others."""
    first = len(route.every) * (len(route.windows) + 1)
    found: list[tuple[Tried, Trial]] = []
    for walked in journey.windows:
        if walked.number is not None and walked.test is not None:
            plain = make(route.plan.strategy, walked.params).model_dump(mode="json")
            trial = Trial(number=first + len(found), params=plain, metrics=walked.test._asdict())
            found.append((route.on(walked.window.test), trial))
    return found


def finished_walk(parts: Parts, run: Run, route: _Route, journey: Journey) -> WalkDone:
    """Write the folder of a registered walk-forward, all but its HTML page."""
    from peak_trade.report.markdown import walk_markdown

    record = _record(parts, run, route, journey)
    folder = parts.reports / run.run_id
    write_text(folder / "run.json", json.dumps(record, indent=2, allow_nan=False) + "\n")
    write_text(folder / "report.md", walk_markdown(record))
    flat = [
        {
            name: value if isinstance(value, int | float | str) or value is None else plain_json(value)
            for name, value in (window | window["params"]).items()
            if name != "params"
        }
        for window in record["windows"]
    ]
    write_text(folder / "windows.csv", pl.DataFrame(flat, infer_schema_length=None).write_csv())
    write_trades(folder / "trades.csv", journey.result)
    buffer = io.BytesIO()
    equity_frame(journey.result).write_parquet(buffer)
    write_bytes(folder / "equity.parquet", buffer.getvalue())
    return WalkDone(record=record, journey=journey, folder=folder)


def write_walk_sheet(done: WalkDone) -> Path:
    """Draw the walk-forward's page into its folder."""
    from peak_trade.report.walk_sheet import walk_html

    path = done.folder / WALK_SHEET
    write_text(path, walk_html(done.record, done.journey))
    return path


def _record(parts: Parts, run: Run, route: _Route, journey: Journey) -> Json:
    """Return the JSON document of a walk-forward; money in quote currency, times in UTC, rates as fractions."""
    stamps, step_ns = route.dataset.bars.timestamp, route.dataset.bars.timeframe.step_ns
    metric = route.plan.metric

    def times(name: str, stretch: Stretch) -> Json:
        ends = int(stamps[stretch.first]), int(stamps[stretch.last - 1]) + step_ns
        return {f"{name}_start": moment_text(ends[0]), f"{name}_end": moment_text(ends[1]), f"{name}_bars": stretch.bars}

    windows = [
        {
            "window": number,
            **times("train", walked.window.train),
            **times("test", walked.window.test),
            "params": {name: walked.params.get(name) for name in route.plan.grid} if walked.params else {},
            "train_metric": None if walked.train is None else getattr(walked.train, metric),
            "test_metric": None if walked.test is None else getattr(walked.test, metric),
            "train_return": None if walked.train is None else walked.train.total_return,
            "test_return": walked.growth,
            "test_drawdown": None if walked.test is None else walked.test.max_drawdown,
            "test_trades": 0 if walked.test is None else walked.test.num_trades,
        }
        for number, walked in enumerate(journey.windows, 1)
    ]
    tested = tested_stretch(route.windows)
    hindsight = journey.hindsight
    return document_of(parts, run, dataset_facts(route.dataset), route.terms, route.dataset) | {
        "metric": metric,
        "grid": {name: list(values) for name, values in route.plan.grid.items()},
        "constraints": [constraint.text for constraint in route.plan.constraints],
        "combinations": len(route.every),
        "trials": run.trials,
        "walk": {name: run.spec[name] for name in ("train", "test", "embargo", "anchored", "flat_borders")},
        "tested": times("tested", tested),
        "bars_left_out": len(stamps) - tested.last,
        "metrics": journey.result.metrics._asdict(),
        "figures": journey.figures(metric),
        "windows": windows,
        "steadiness": [
            {
                "name": item.name,
                "path": list(item.path),
                "distinct": item.distinct,
                "tried": item.tried,
                "changes": item.changes,
                "drift": item.drift,
            }
            for item in steadiness(route.plan.grid, journey.windows)
        ],
        "benchmark": journey.yardstick.metrics._asdict(),
        "hindsight": None
        if hindsight is None
        else {
            "params": {name: route.every[hindsight[0]][name] for name in route.plan.grid},
            "metrics": hindsight[1].metrics._asdict(),
        },
    }
