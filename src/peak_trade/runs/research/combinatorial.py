"""Combinatorial purged cross-validation as a run: registered, resumable, reproducible, every trial counted."""

import io
import json
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from peak_trade.compose import Parts, dataset_facts
from peak_trade.durable import write_bytes, write_text
from peak_trade.journal.run import Run, RunStatus, Trial, Tried, plain_json, sha256_of
from peak_trade.market.dataset import Dataset
from peak_trade.model.clock import moment_text
from peak_trade.model.errors import InputError
from peak_trade.research.combinatorial import Fan, SplitEvaluator, fan_of
from peak_trade.research.executors import Crew, Workers
from peak_trade.research.grid import SweepPlan
from peak_trade.research.metrics import Metrics
from peak_trade.research.splits import GroupPlan, Split, Stretch, path_count, purged_splits
from peak_trade.research.terms import Terms
from peak_trade.runs.record import COMBINATORIAL, Json, document_of, tried_on
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

#: The file of its folder that a browser opens.
FAN_SHEET = "combinatorial.html"
#: Combinations of all splits together; more would fill the registry.
TRIALS_MAX = 1_000_000
#: Closes of all paths together; more would fill the memory.
PATH_BARS_MAX = 50_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FanRequest(GridRequest):
    """What a combinatorial cross-validation needs besides.

    Attributes:
        cut: how the bars are cut into groups.
        flat_borders: whether positions are closed at the end of each group instead of carried on.
        afresh: begin anew, whatever was interrupted.
    """

    cut: GroupPlan
    flat_borders: bool = False
    afresh: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FanDone:
    """A finished one: its record (the JSON document), what it gave, and its folder."""

    record: Json
    fan: Fan
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cutting:
    """What it goes over, from a request or from a registered run; purge and embargo in bars."""

    plan: SweepPlan
    every: list[dict[str, Value]]
    groups: int
    held: int
    purge: int
    embargo: int
    flat_borders: bool
    dataset: Dataset
    terms: Terms

    def splits(self) -> tuple[Split, ...]:
        """Return the splits.

        Raises:
            InputError: numbers that make none, too many, or nothing to learn from.
        """
        bars = len(self.dataset.bars)
        found = purged_splits(bars, self.groups, self.held, purge=self.purge, embargo=self.embargo)
        if any(sum(stretch.bars for stretch in split.train) < 2 for split in found):
            raise InputError(
                f"expected at least 2 bars to learn from in each split, found fewer with a purge of {self.purge:,} and an "
                f"embargo of {self.embargo:,} bars; choose fewer groups, or shorter ones of these"
            )
        if len(self.every) * len(found) > TRIALS_MAX or path_count(self.groups, self.held) * bars > PATH_BARS_MAX:
            raise InputError(
                f"expected at most {TRIALS_MAX:,} trials and {PATH_BARS_MAX:,} closes on all paths, found "
                f"{len(self.every):,} combinations in {len(found):,} splits and {path_count(self.groups, self.held):,} paths "
                f"of {bars:,} bars; choose fewer groups or a coarser grid"
            )
        return found

    def evaluator(self) -> SplitEvaluator:
        """Return what evaluates its combinations."""
        return SplitEvaluator(self.dataset.bars, self.plan.strategy, self.terms, self.splits())

    def fan(self, evaluator: SplitEvaluator, table: list[tuple[Metrics, ...]]) -> Fan:
        """Choose, and put the paths together."""
        return fan_of(evaluator, self.every, table, self.groups, self.held, self.plan.metric, flat_borders=self.flat_borders)

    def on(self, stretches: tuple[Stretch, ...]) -> Tried:
        """Return stretches, from the first bar of all to the last, as the count of trials needs them."""
        return tried_on(self.dataset, self.terms, slice(stretches[0].first, stretches[-1].last))


def run_combinatorial(
    parts: Parts, request: FanRequest, progress: Progress = unseen, stop: threading.Event | None = None
) -> FanDone | None:
    """Run a combinatorial cross-validation, or go on with an interrupted one; write its folder, all but its HTML page.

    Returns:
        What it gave, or None where *stop* ended it early: then what is done is stored, and the next call goes on.

    Raises:
        InputError: plan, groups, data or terms don't fit, one was interrupted under other data, terms or code, or the same
            one is running in another process; a strategy that fails while running is registered as failed.
        StorageError: the disk or the registry refused; what was stored before is intact.
    """
    cutting = _cutting(parts, request)
    evaluator = cutting.evaluator()
    planned = _planned(parts, request, cutting)
    parts.registry.close_dead(COMBINATORIAL, parts.clock.now())
    every, periods = cutting.every, [cutting.on(split.train) for split in evaluator.splits]
    with alone_on(parts, planned, "cross-validation"):
        run, known = taken_up(parts, planned, "cross-validation", afresh=request.afresh)
        done = known_tables(known, request.plan.strategy, every, len(periods))
        keeper = TrialKeeper(parts, run, periods, len(every), chunk_s=request.chunk_s, done=len(done))
        with kept(keeper):
            table = gathered(keeper, request.crew(evaluator), every, done, progress, stop or threading.Event())
            if table is not None:
                fan = cutting.fan(evaluator, table)
                keeper.add(_chosen(cutting, fan), known)
        if table is None:
            keeper.finish(RunStatus.ABORTED, error=INTERRUPTED)
            return None
        keeper.finish(RunStatus.COMPLETED, metrics=fan_figures(fan, request.plan.metric), result_sha256=fan_sha256(fan))
    return finished_fan(parts, parts.registry.get(run.run_id), cutting, fan)


def fan_again(run: Run, dataset: Dataset, terms: Terms) -> tuple[_Cutting, Fan]:
    """Do a registered one again, without registering anything."""
    spec, plan = run.spec, stored_plan(run)
    numbers = {name: spec[name] for name in ("groups", "held", "purge", "embargo", "flat_borders")}
    cutting = _Cutting(plan=plan, every=combined(plan, spec["fixed"]), dataset=dataset, terms=terms, **numbers)
    evaluator = cutting.evaluator()
    found: dict[int, tuple[Metrics, ...]] = {}
    with Crew(evaluator, Workers.THREADS) as crew:
        for piece in crew.do(list(enumerate(cutting.every))):
            found |= dict(piece)
    return cutting, cutting.fan(evaluator, [found[number] for number in range(len(cutting.every))])


def fan_sha256(fan: Fan) -> str:
    """Return the hash over what was chosen in each split, its metrics, and every fill and equity value of every path."""
    chosen = [
        [item.number, *(None if metrics is None else metrics._asdict() for metrics in (item.train, item.test))]
        for item in fan.splits
    ]
    return sha256_of({"chosen": chosen, "paths": [result.sha256() for result in fan.results]})


def fan_figures(fan: Fan, metric: str) -> dict[str, float]:
    """Return the figures it is registered with."""
    return {name: value for name, value in fan.figures(metric).items() if value is not None}


def _cutting(parts: Parts, request: FanRequest) -> _Cutting:
    """Return what a request goes over: lengths become bars, and a purge that nobody chose the longest warm-up."""
    dataset = research_data(parts, request.data)
    every, cut, step_ns = every_of(parts, request.plan), request.cut, dataset.bars.timeframe.step_ns
    warmup = max(make(request.plan.strategy, params).warmup() for params in every)
    return _Cutting(
        plan=request.plan,
        every=every,
        groups=cut.groups,
        held=cut.held,
        purge=warmup if cut.purge is None else cut.purge.bars(step_ns),
        embargo=cut.embargo.bars(step_ns),
        flat_borders=request.flat_borders,
        dataset=dataset,
        terms=request.terms,
    )


def _planned(parts: Parts, request: FanRequest, cutting: _Cutting) -> Run:
    names = ("groups", "held", "purge", "embargo", "flat_borders")
    more = {"run_type": COMBINATORIAL, "asked": request.data.to_json(), **{name: getattr(cutting, name) for name in names}}
    return planned_run(parts, request, cutting.dataset, make(request.plan.strategy, cutting.every[0]), more)


def _chosen(cutting: _Cutting, fan: Fan) -> list[tuple[Tried, Trial]]:
    """Return the chosen combinations as trials on what was held out, numbered after all others."""
    first = len(cutting.every) * len(fan.splits)
    found: list[tuple[Tried, Trial]] = []
    for item in fan.splits:
        if item.test is not None:
            plain = make(cutting.plan.strategy, item.params).model_dump(mode="json")
            trial = Trial(number=first + len(found), params=plain, metrics=item.test._asdict())
            found.append((cutting.on(item.split.test), trial))
    return found


def finished_fan(parts: Parts, run: Run, cutting: _Cutting, fan: Fan) -> FanDone:
    """Write the folder of a registered one, all but its HTML page."""
    from peak_trade.report.fan_facts import fan_markdown

    record = _record(parts, run, cutting, fan)
    folder = parts.reports / run.run_id
    write_text(folder / "run.json", json.dumps(record, indent=2, allow_nan=False) + "\n")
    write_text(folder / "report.md", fan_markdown(record))
    flat = [
        {
            name: value if isinstance(value, int | float | str) or value is None else plain_json(value)
            for name, value in (split | split["params"]).items()
            if name != "params"
        }
        for split in record["splits"]
    ]
    write_text(folder / "splits.csv", pl.DataFrame(flat, infer_schema_length=None).write_csv())
    write_text(folder / "paths.csv", pl.DataFrame([_flat_path(path) for path in record["paths"]]).write_csv())
    buffer = io.BytesIO()
    path_equity(fan).write_parquet(buffer)
    write_bytes(folder / "equity.parquet", buffer.getvalue())
    return FanDone(record=record, fan=fan, folder=folder)


def path_equity(fan: Fan) -> pl.DataFrame:
    """Return timestamp (UTC) and the equity of each path at each close, quote currency."""
    columns = {f"path_{number}": np.asarray(result.equity) for number, result in enumerate(fan.results, 1)}
    frame = pl.DataFrame({"timestamp": np.asarray(fan.yardstick.bars.timestamp)} | columns)
    return frame.with_columns(pl.col("timestamp").cast(pl.Datetime("ns", "UTC")))


def write_fan_sheet(done: FanDone) -> Path:
    """Draw the page into its folder."""
    from peak_trade.report.fan_sheet import fan_html

    path = done.folder / FAN_SHEET
    write_text(path, fan_html(done.record, done.fan))
    return path


def _flat_path(path: Json) -> Json:
    return {"path": path["path"], "splits": plain_json(path["splits"]), **path["metrics"]}


def _record(parts: Parts, run: Run, cutting: _Cutting, fan: Fan) -> Json:
    """Return the JSON document; money in quote currency, times in UTC, rates as fractions. Groups and splits count from 1."""
    stamps, step_ns = cutting.dataset.bars.timestamp, cutting.dataset.bars.timeframe.step_ns
    metric, grid = cutting.plan.metric, cutting.plan.grid

    def ends(stretch: Stretch) -> Json:
        return {
            "start": moment_text(int(stamps[stretch.first])),
            "end": moment_text(int(stamps[stretch.last - 1]) + step_ns),
        }

    splits = [
        {
            "split": number,
            "groups": [group + 1 for group in item.split.tested],
            "params": {name: item.params[name] for name in grid} if item.params else {},
            "train_bars": sum(stretch.bars for stretch in item.split.train),
            "test_bars": sum(stretch.bars for stretch in item.split.test),
            "test": [ends(stretch) for stretch in item.split.test],
            "train_metric": None if item.train is None else getattr(item.train, metric),
            "test_metric": None if item.test is None else getattr(item.test, metric),
            "train_return": None if item.train is None else item.train.total_return,
            "test_return": None if item.test is None else item.test.total_return,
        }
        for number, item in enumerate(fan.splits, 1)
    ]
    return document_of(parts, run, dataset_facts(cutting.dataset), cutting.terms, cutting.dataset) | {
        "metric": metric,
        "grid": {name: list(values) for name, values in grid.items()},
        "constraints": [constraint.text for constraint in cutting.plan.constraints],
        "combinations": len(cutting.every),
        "trials": run.trials,
        "cut": {name: run.spec[name] for name in ("groups", "held", "purge", "embargo", "flat_borders")},
        "figures": fan.figures(metric),
        "splits": splits,
        "paths": [
            {"path": number, "splits": [split + 1 for split in route], "metrics": result.metrics._asdict()}
            for number, (route, result) in enumerate(zip(fan.routes, fan.results, strict=True), 1)
        ],
        "benchmark": fan.yardstick.metrics._asdict(),
    }
