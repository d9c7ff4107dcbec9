"""A walk-forward as a run: registered, reproducible, with every combination of every window counted as a trial."""

import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from peak_trade.compose import DataChoice, Parts, dataset_facts
from peak_trade.durable import write_bytes, write_text
from peak_trade.journal.registry import stamp
from peak_trade.journal.run import Run, RunStatus, Trial, Tried, plain_json, sha256_of
from peak_trade.market.dataset import Dataset
from peak_trade.model.clock import moment_text
from peak_trade.model.errors import InputError, StrategyError
from peak_trade.research.executors import Workers
from peak_trade.research.grid import SweepPlan
from peak_trade.research.metrics import Metrics
from peak_trade.research.splits import Length, Stretch, WalkPlan, Window, walk_windows
from peak_trade.research.sweep import Constraint, combinations
from peak_trade.research.terms import Terms
from peak_trade.research.walk_forward import Journey, Params, steadiness, walk_forward
from peak_trade.runs.record import WALK_FORWARD, Json, document_of, exact_choice, provenance, steps_of, tried_on
from peak_trade.runs.research.backtest import equity_frame, write_trades
from peak_trade.runs.research.research_data import research_data
from peak_trade.runs.research.sweep import space_of
from peak_trade.strategy.catalogue import Value, find, make

#: The file of a walk-forward's folder that a browser opens.
WALK_SHEET = "walk_forward.html"
#: Combinations of all windows together; more would fill the registry.
TRIALS_MAX = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkRequest:
    """What a walk-forward needs: the combinations, how windows walk, bars, terms and who works.

    Attributes:
        plan: strategy, grid, constraints and the metric that chooses.
        flat_borders: whether positions are closed at the end of each test stretch instead of carried on.
    """

    plan: SweepPlan
    walk: WalkPlan
    data: DataChoice
    terms: Terms
    flat_borders: bool = False
    workers: Workers = Workers.THREADS
    count: int = 0
    tags: tuple[str, ...] = ()


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

    def walk(self, workers: Workers = Workers.THREADS, count: int = 0) -> Journey:
        """Walk it."""
        return walk_forward(
            self.dataset.bars,
            self.plan.strategy,
            self.every,
            self.terms,
            self.windows,
            self.plan.metric,
            flat_borders=self.flat_borders,
            workers=workers,
            count=count,
        )


def run_walk_forward(parts: Parts, request: WalkRequest) -> WalkDone:
    """Run a walk-forward, register it and write its folder, all but its HTML page.

    Raises:
        InputError: plan, windows, data or terms don't fit; a strategy that fails while running is registered as failed.
        StorageError: the disk or the registry refused.
    """
    begun = parts.clock.elapsed_s()
    plan = request.plan
    dataset = research_data(parts, request.data)
    space = space_of(parts, plan)
    every = [{**space.fixed, **params} for params in combinations(plan.strategy, plan.grid, plan.constraints, space.fixed)]
    windows = walk_windows(dataset.bars.timestamp, dataset.bars.timeframe.step_ns, request.walk)
    if len(every) * len(windows) > TRIALS_MAX:
        raise InputError(
            f"expected at most {TRIALS_MAX:,} trials, found {len(every):,} combinations in {len(windows):,} windows; "
            "make the grid coarser or the test stretches longer"
        )
    route = _Route(
        plan=plan, every=every, windows=windows, flat_borders=request.flat_borders, dataset=dataset, terms=request.terms
    )
    run = _planned(parts, request, dataset, every[0])
    parts.registry.close_dead(WALK_FORWARD, parts.clock.now())
    with parts.registry.working_on(run.spec_sha256) as free:
        if not free:
            raise InputError("expected no other process to run this walk-forward, found one that does; wait for it")
        parts.registry.add(run)
        try:
            journey = route.walk(request.workers, request.count)
        except BaseException as error:
            status = RunStatus.FAILED if isinstance(error, StrategyError) else RunStatus.ABORTED
            _finish(parts, run, status, begun, error=str(error) or "interrupted")
            raise
        count = 0
        for tried, trials in _trials(route, journey):
            parts.registry.add_trials(run, tried, trials)
            count += len(trials)
        _finish(parts, run, RunStatus.COMPLETED, begun, journey=journey, metric=plan.metric, trials=count)
    return finished_walk(parts, parts.registry.get(run.run_id), route, journey)


def walk_again(run: Run, dataset: Dataset, terms: Terms) -> tuple[_Route, Journey]:
    """Walk a registered walk-forward again, without registering anything."""
    spec = run.spec
    names = find(run.strategy).model_fields
    plan = SweepPlan(
        strategy=run.strategy,
        metric=spec["metric"],
        top=1,
        grid={name: tuple(values) for name, values in spec["grid"]},
        constraints=tuple(Constraint.parse(text, names) for text in spec["constraints"]),
        options={},
    )
    fixed = spec["fixed"]
    every = [{**fixed, **params} for params in combinations(plan.strategy, plan.grid, plan.constraints, fixed)]
    walk = WalkPlan(
        **{name: Length.parse(spec[name], name, zero=True) for name in ("train", "test", "embargo")}, anchored=spec["anchored"]
    )
    windows = walk_windows(dataset.bars.timestamp, dataset.bars.timeframe.step_ns, walk)
    route = _Route(plan=plan, every=every, windows=windows, flat_borders=spec["flat_borders"], dataset=dataset, terms=terms)
    return route, route.walk()


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
    plan = request.plan
    sha256 = dataset.bars.sha256()
    strategy = make(plan.strategy, first)
    fixed = plan.fixed(strategy.model_dump(mode="json"))
    return Run(
        run_id=parts.ids.next_run(),
        run_type=WALK_FORWARD,
        status=RunStatus.STARTED,
        strategy=plan.strategy,
        symbol=dataset.bars.instrument.symbol,
        timeframe=dataset.bars.timeframe.label,
        params=fixed,
        spec={
            "run_type": WALK_FORWARD,
            **plan.specification(fixed),
            "train": request.walk.train.text,
            "test": request.walk.test.text,
            "embargo": request.walk.embargo.text,
            "anchored": request.walk.anchored,
            "flat_borders": request.flat_borders,
            "data": exact_choice(request.data, dataset).to_json(),
            "instrument": steps_of(dataset),
            "dataset_sha256": sha256,
            "terms": request.terms.to_json(),
        },
        dataset_sha256=sha256,
        started_at=stamp(parts.clock.now()),
        tags=request.tags,
        **provenance(parts, strategy),
    )


def _finish(
    parts: Parts,
    run: Run,
    status: RunStatus,
    begun: float,
    *,
    journey: Journey | None = None,
    metric: str = "",
    trials: int = 0,
    error: str | None = None,
) -> None:
    parts.registry.finish(
        run.run_id,
        status,
        at=parts.clock.now(),
        elapsed_s=parts.clock.elapsed_s() - begun,
        trials=trials,
        metrics=None if journey is None else walk_figures(journey, metric),
        result_sha256=None if journey is None else walk_sha256(journey),
        error=error,
    )


def _trials(route: _Route, journey: Journey) -> Iterable[tuple[Tried, list[Trial]]]:
    """Yield what was tried on which bars.

    That is every combination in each train stretch, the chosen ones in their test stretch, and every combination over all
    test stretches, which the comparison with hindsight takes.
    """
    plain = [make(route.plan.strategy, params).model_dump(mode="json") for params in route.every]
    number = 0

    def numbered(rows: Iterable[tuple[int, Metrics]]) -> list[Trial]:
        nonlocal number
        made = []
        for combination, metrics in rows:
            made.append(Trial(number=number, params=plain[combination], metrics=metrics._asdict()))
            number += 1
        return made

    def on(stretch: Stretch) -> Tried:
        return tried_on(route.dataset, route.terms, slice(*stretch))

    for walked, found in zip(journey.windows, journey.trials, strict=True):
        yield on(walked.window.train), numbered(enumerate(found))
    for walked in journey.windows:
        if walked.number is not None and walked.test is not None:
            yield on(walked.window.test), numbered([(walked.number, walked.test)])
    yield on(_tested(route.windows)), numbered(enumerate(journey.hindsight_trials))


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


def _tested(windows: tuple[Window, ...]) -> Stretch:
    return Stretch(windows[0].test.first, windows[-1].test.last)


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
    tested = _tested(route.windows)
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
