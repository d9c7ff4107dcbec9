"""From a request to a registered, reported and reproducible run.

Invariant: the registry is the truth: a result is in it before it is shown; a run's folder can be made again from it.
Invariant: a run's specification holds everything needed to do it again.
"""

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import filelock
import polars as pl

from peak_trade.compose import Code, DataChoice, Parts, code_in_use, dataset_facts, numeric_versions
from peak_trade.durable import storing, write_text, write_whole
from peak_trade.journal.registry import RunFilter, stamp
from peak_trade.journal.run import Run, RunStatus, Trial, plain_json, sha256_of
from peak_trade.market.dataset import Dataset
from peak_trade.model.clock import RunId, moment_text
from peak_trade.model.errors import CheckFailed, InputError, StrategyError
from peak_trade.research.backtest import Result, backtest
from peak_trade.research.grid import SweepPlan, stored_plan
from peak_trade.research.metrics import Metrics
from peak_trade.research.sweep import Evaluator, Workers, combinations, core_count, sweep
from peak_trade.research.terms import Terms
from peak_trade.strategy.base import Strategy
from peak_trade.strategy.catalogue import Value, find, make

BACKTEST = "backtest"
SWEEP = "sweep"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestRequest:
    """What a backtest needs: the strategy with the parameters given, the bars, the terms and tags."""

    strategy: str
    params: Mapping[str, Value]
    data: DataChoice
    terms: Terms
    tags: tuple[str, ...] = ()

    def spec(self, strategy: Strategy, dataset: Dataset) -> Json:
        """Return the identity of the run: all parameters, data and terms."""
        return {
            "run_type": BACKTEST,
            "strategy": strategy.key,
            "params": strategy.model_dump(mode="json"),
            "data": self.data.to_json(),
            "instrument": _steps(dataset),
            "terms": self.terms.to_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A finished backtest: its record (the JSON document), its result, buy and hold beside it, and its folder."""

    record: Json
    result: Result
    yardstick: Result
    folder: Path


def configured_params(parts: Parts, strategy: str, given: Mapping[str, Value]) -> dict[str, Value]:
    """Return the parameters of the configuration, overridden by the given ones."""
    kind = find(strategy)
    sections = parts.settings.file.strategy
    params: dict[str, Value] = {}
    for name in (*kind.aliases, kind.key):
        params |= sections.get(name, {})
    return params | dict(given)


def run_backtest(parts: Parts, request: BacktestRequest) -> Finished:
    """Run a backtest, register it and write its folder.

    Raises:
        InputError: strategy, data or terms don't fit; a strategy that fails while running is registered as failed.
        StorageError: the disk or the registry refused.
    """
    begun = parts.clock.elapsed_s()
    started = parts.clock.now()
    strategy = make(request.strategy, configured_params(parts, request.strategy, request.params))
    dataset = parts.dataset(request.data)
    facts = dataset_facts(dataset)
    run = Run(
        run_id=parts.ids.next_run(),
        run_type=BACKTEST,
        status=RunStatus.STARTED,
        strategy=strategy.key,
        symbol=dataset.bars.instrument.symbol,
        timeframe=dataset.bars.timeframe.label,
        params=strategy.model_dump(mode="json"),
        spec=request.spec(strategy, dataset),
        dataset_sha256=facts["sha256"],
        started_at=stamp(started),
        trials=1,
        tags=request.tags,
        **_provenance(parts),
    )
    try:
        result = backtest(dataset.bars, strategy, request.terms)
    except StrategyError as error:
        ended = _ended(parts, run, begun, RunStatus.FAILED)
        parts.registry.add(replace(ended, error=str(error), trials=0))
        raise
    yardstick = backtest(dataset.bars, make("buy_and_hold", {}), request.terms)
    ended = replace(
        _ended(parts, run, begun, RunStatus.COMPLETED),
        metrics=result.metrics.figures(),
        result_sha256=result.sha256(),
    )
    parts.registry.add(ended)
    parts.registry.add_trials(ended, [Trial(number=0, params=run.params, metrics=result.metrics._asdict())])
    record = _record(parts, ended, facts, request.terms, dataset) | {
        "metrics": result.metrics._asdict(),
        "benchmark": yardstick.metrics._asdict(),
    }
    finished = Finished(record=record, result=result, yardstick=yardstick, folder=parts.reports / run.run_id)
    _write_backtest(finished)
    return finished


def write_tear_sheet(finished: Finished) -> Path:
    """Draw the tear sheet into the run's folder; loads the charts, which takes longer than the run."""
    from peak_trade.report.tear_sheet import backtest_html

    path = finished.folder / "tear_sheet.html"
    write_text(path, backtest_html(finished.record, finished.result, finished.yardstick))
    return path


def _write_backtest(finished: Finished) -> None:
    from peak_trade.report.markdown import backtest_markdown

    record, result, folder = finished.record, finished.result, finished.folder
    write_text(folder / "run.json", json.dumps(record, indent=2, allow_nan=False) + "\n")
    write_text(folder / "report.md", backtest_markdown(record, result, finished.yardstick))
    write_trades(folder / "trades.csv", result)
    frame = equity_frame(result)
    write_whole(folder / "equity.parquet", frame.write_parquet)


def write_trades(path: Path, result: Result) -> None:
    """Write the round trips as CSV; times in UTC, money in quote currency, empty where a trade is still open."""
    stamps = result.bars.timestamp
    rows = [
        {
            "number": number,
            "side": "long" if trade.side > 0 else "short",
            "entry_time": moment_text(int(stamps[trade.entry_bar])),
            "exit_time": None if trade.exit_bar is None else moment_text(int(stamps[trade.exit_bar])),
            "quantity": trade.quantity,
            "entry_price": trade.entry_price,
            "exit_price": trade.exit_price,
            "profit": trade.profit,
            "fees": trade.fees,
            "reason": trade.reason,
        }
        for number, trade in enumerate(result.trades(), 1)
    ]
    schema = {
        "number": pl.Int64,
        "side": pl.String,
        "entry_time": pl.String,
        "exit_time": pl.String,
        "quantity": pl.Float64,
        "entry_price": pl.Float64,
        "exit_price": pl.Float64,
        "profit": pl.Float64,
        "fees": pl.Float64,
        "reason": pl.String,
    }
    frame = pl.DataFrame(rows, schema=schema)
    write_whole(path, frame.write_csv)


def write_equity(path: Path, result: Result) -> None:
    """Write the equity at each close as CSV."""
    write_whole(path, equity_frame(result).write_csv)


def equity_frame(result: Result) -> pl.DataFrame:
    """Return the equity with the open time of its bar."""
    frame = pl.DataFrame({"timestamp": result.bars.timestamp, "equity": result.equity})
    return frame.with_columns(pl.col("timestamp").cast(pl.Datetime("ns", "UTC")))


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRequest:
    """What a sweep needs besides its plan: bars, terms, who works, and how often results are stored."""

    plan: SweepPlan
    data: DataChoice
    terms: Terms
    workers: Workers = Workers.THREADS
    count: int = 0
    chunk_s: float = 1.0
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """A finished sweep: its record, every combination with its metrics in the sweep's order, and its folder."""

    record: Json
    rows: list[tuple[Json, Json]]
    folder: Path


#: Told how many combinations are done, how many were done before this process, and how many there are.
Progress = Callable[[int, int, int], None]


def run_sweep(parts: Parts, request: SweepRequest, progress: Progress, stop: threading.Event) -> Swept | None:
    """Run a sweep, or go on with an interrupted one of the same specification.

    Returns:
        The finished sweep, or None where *stop* ended it early: then what is done is stored, and the next call goes on.

    Raises:
        InputError: plan, data or terms don't fit, or the same sweep is running in another process.
        StorageError: the disk or the registry refused; what was stored before is intact.
    """
    begun = parts.clock.elapsed_s()
    plan = request.plan
    dataset = parts.dataset(request.data)
    fixed = {name: value for name, value in configured_params(parts, plan.strategy, {}).items() if name not in plan.grid}
    every = [fixed | params for params in combinations(plan.strategy, plan.grid, plan.constraints, fixed)]
    close_dead(parts)
    run = _planned_sweep(parts, request, dataset, fixed)
    with sweep_lock(parts, run.spec_sha256):
        before = parts.registry.latest(run.spec_sha256, SWEEP)
        done: set[int] = set()
        if before is not None and before.status is not RunStatus.COMPLETED:
            run = replace(before, status=RunStatus.STARTED)
            parts.registry.restart(run.run_id, os.getpid())
            done = {number for number, _, _ in parts.registry.trials(run.run_id)}
        else:
            parts.registry.add(run)
        work = [(number, params) for number, params in enumerate(every) if number not in done]
        evaluator = Evaluator(dataset.bars, plan.strategy, request.terms)
        count = request.count or core_count()
        try:
            stored = _evaluate(parts, run, evaluator, work, request, count, progress, stop, (len(done), len(every)))
        except StrategyError as error:
            _finish_sweep(parts, run, RunStatus.FAILED, begun, len(done), error=str(error))
            raise
        except BaseException:
            stop.set()
            raise
        if len(done) + stored < len(every):
            _finish_sweep(parts, run, RunStatus.ABORTED, begun, len(done) + stored, error="interrupted")
            return None
        rows = [(json.loads(params), json.loads(figures)) for _, params, figures in parts.registry.trials(run.run_id)]
        best = max((row[1][plan.metric] for row in rows if row[1][plan.metric] is not None), default=None)
        metrics = {} if best is None else {f"best_{plan.metric}": float(best)}
        _finish_sweep(parts, run, RunStatus.COMPLETED, begun, len(every), metrics=metrics, rows=rows)
    return _swept(parts, run.run_id, request, dataset, rows)


def _planned_sweep(parts: Parts, request: SweepRequest, dataset: Dataset, fixed: Mapping[str, Value]) -> Run:
    plan = request.plan
    facts_sha256 = dataset.bars.sha256()
    return Run(
        run_id=parts.ids.next_run(),
        run_type=SWEEP,
        status=RunStatus.STARTED,
        strategy=plan.strategy,
        symbol=dataset.bars.instrument.symbol,
        timeframe=dataset.bars.timeframe.label,
        params=dict(fixed),
        spec={
            "run_type": SWEEP,
            "strategy": plan.strategy,
            "fixed": dict(fixed),
            "grid": {name: list(values) for name, values in plan.grid.items()},
            "constraints": [constraint.text for constraint in plan.constraints],
            "metric": plan.metric,
            "data": request.data.to_json(),
            "instrument": _steps(dataset),
            "dataset_sha256": facts_sha256,
            "terms": request.terms.to_json(),
        },
        dataset_sha256=facts_sha256,
        started_at=stamp(parts.clock.now()),
        tags=request.tags,
        **_provenance(parts),
    )


def _evaluate(
    parts: Parts,
    run: Run,
    evaluator: Evaluator,
    work: list[tuple[int, dict[str, Value]]],
    request: SweepRequest,
    count: int,
    progress: Progress,
    stop: threading.Event,
    tally: tuple[int, int],
) -> int:
    """Evaluate the work and store it about every `chunk_s` seconds; return how many combinations were stored."""
    before, total = tally
    params = dict(work)
    stored = 0
    waiting: list[Trial] = []
    last = parts.clock.elapsed_s()
    progress(before, before, total)
    try:
        for piece in sweep(evaluator, work, workers=request.workers, count=count, stop=stop):
            waiting += [
                Trial(
                    number=number,
                    params=make(run.strategy, params[number]).model_dump(mode="json"),
                    metrics=metrics._asdict(),
                )
                for number, metrics in piece
            ]
            progress(before + stored + len(waiting), before, total)
            if parts.clock.elapsed_s() - last >= request.chunk_s:
                parts.registry.add_trials(run, waiting)
                stored, waiting, last = stored + len(waiting), [], parts.clock.elapsed_s()
    finally:
        parts.registry.add_trials(run, waiting)
        stored += len(waiting)
    return stored


def _finish_sweep(
    parts: Parts,
    run: Run,
    status: RunStatus,
    begun: float,
    trials: int,
    *,
    metrics: Mapping[str, float] | None = None,
    rows: list[tuple[Json, Json]] | None = None,
    error: str | None = None,
) -> None:
    parts.registry.finish(
        run.run_id,
        status,
        at=parts.clock.now(),
        elapsed_s=parts.clock.elapsed_s() - begun,
        trials=trials,
        metrics=metrics,
        result_sha256=None if rows is None else sha256_of(rows),
        error=error,
    )


def _swept(parts: Parts, run_id: RunId, request: SweepRequest, dataset: Dataset, rows: list[tuple[Json, Json]]) -> Swept:
    from peak_trade.report.markdown import sweep_markdown

    run = parts.registry.get(run_id)
    plan = request.plan
    record = _record(parts, run, dataset_facts(dataset), request.terms, dataset) | {
        "metric": plan.metric,
        "grid": {name: list(values) for name, values in plan.grid.items()},
        "constraints": [constraint.text for constraint in plan.constraints],
        "trials": run.trials,
        "top": plan.top,
    }
    folder = parts.reports / run.run_id
    write_text(folder / "run.json", json.dumps(record, indent=2, allow_nan=False) + "\n")
    write_text(folder / "report.md", sweep_markdown(record, rows))
    flat = [_flat(params) | figures for params, figures in rows]
    write_whole(folder / "trials.csv", pl.DataFrame(flat, infer_schema_length=None).write_csv)
    return Swept(record=record, rows=rows, folder=folder)


def _flat(params: Json) -> Json:
    return {name: value if isinstance(value, int | float | str) else plain_json(value) for name, value in params.items()}


def write_sweep_sheet(swept: Swept) -> Path:
    """Draw the sweep's report into its folder."""
    from peak_trade.report.sweep_sheet import sweep_html

    path = swept.folder / "sweep.html"
    write_text(path, sweep_html(swept.record, swept.rows))
    return path


@contextmanager
def sweep_lock(parts: Parts, spec_sha256: str) -> Iterator[None]:
    """Hold the right to work on a sweep; the operating system lets go of it when the process ends, however it ends.

    Raises:
        InputError: another process holds it.
    """
    path = parts.locks / f"sweep-{spec_sha256[:16]}.lock"
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path, blocking=False)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            raise InputError(
                "expected no other process to run this sweep, found one that does; wait for it or stop it, "
                "then this command goes on where it ended"
            ) from error
    try:
        yield
    finally:
        lock.release()


def close_dead(parts: Parts) -> int:
    """Close sweeps that are registered as started but that no process works on any more; return how many."""
    closed = 0
    for run in parts.registry.find(RunFilter(run_type=SWEEP, status=RunStatus.STARTED.value), limit=1_000):
        try:
            with sweep_lock(parts, run.spec_sha256):
                # Read again under the lock: the sweep may have ended since the list was made.
                if parts.registry.get(run.run_id).status is RunStatus.STARTED:
                    trials = len(parts.registry.trials(run.run_id))
                    parts.registry.finish(
                        run.run_id,
                        RunStatus.ABORTED,
                        at=parts.clock.now(),
                        elapsed_s=0.0,
                        trials=trials,
                        error="the process ended without finishing; the same command goes on with it",
                    )
                    closed += 1
        except InputError:
            continue
    return closed


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """How a run compares with itself done again; `differences` holds name, then, now."""

    run: Run
    code_now: Code
    data_same: bool
    differences: tuple[tuple[str, object, object], ...]

    @property
    def identical(self) -> bool:
        """Whether the data and every figure, fill and equity value are the same."""
        return self.data_same and not self.differences


def reproduce(parts: Parts, run_id: str) -> Reproduction:
    """Do a registered run again without registering it and compare every figure.

    Raises:
        NotFound: no such run.
        CheckFailed: the run never finished, or its kind can't be done again.
    """
    run = parts.registry.get(run_id)
    if run.status is not RunStatus.COMPLETED or run.run_type not in (BACKTEST, SWEEP):
        raise CheckFailed(
            f"expected a completed backtest or sweep, found the {run.run_type} {run.run_id} {run.status.value}; choose another run"
        )
    dataset, terms = _recorded_inputs(parts, run)
    data_same = dataset.bars.sha256() == run.dataset_sha256
    if run.run_type == BACKTEST:
        differences = _compare_backtest(run, dataset, terms)
    else:
        differences = _compare_sweep(parts, run, dataset, terms)
    return Reproduction(run=run, code_now=code_in_use(), data_same=data_same, differences=tuple(differences))


def _recorded_inputs(parts: Parts, run: Run) -> tuple[Dataset, Terms]:
    """Return the data and terms of a run, with the trading steps of then whatever the configuration says now."""
    dataset = parts.dataset(DataChoice.from_json(run.spec["data"]))
    steps = {name: Decimal(value) for name, value in run.spec["instrument"].items()}
    instrument = replace(dataset.bars.instrument, **steps)
    return replace(dataset, bars=replace(dataset.bars, instrument=instrument)), Terms.from_json(run.spec["terms"])


def _compare_backtest(run: Run, dataset: Dataset, terms: Terms) -> list[tuple[str, object, object]]:
    result = backtest(dataset.bars, make(run.strategy, run.params), terms)
    then, now = dict(run.metrics), result.metrics.figures()
    names = [*then, *(name for name in now if name not in then)]
    found = [(name, then.get(name), now.get(name)) for name in names if then.get(name) != now.get(name)]
    if run.result_sha256 != result.sha256():
        found.append(("fills and equity (sha256)", run.result_sha256, result.sha256()))
    return found


def _compare_sweep(parts: Parts, run: Run, dataset: Dataset, terms: Terms) -> list[tuple[str, object, object]]:
    evaluator = Evaluator(dataset.bars, run.strategy, terms)
    stored = parts.registry.trials(run.run_id)
    work = [(number, json.loads(params)) for number, params, _ in stored]
    now: dict[int, Metrics] = {}
    for piece in sweep(evaluator, work, workers=Workers.THREADS, count=core_count()):
        now |= dict(piece)
    return [
        (f"trial {number}", figures, plain_json(now[number]._asdict()))
        for number, _, figures in stored
        if figures != plain_json(now[number]._asdict())
    ]


def remake_report(parts: Parts, run_id: str) -> Path:
    """Do a backtest or sweep again, check that it is the same, and write its folder anew.

    Raises:
        CheckFailed: it does not come out the same.
    """
    run = parts.registry.get(run_id)
    again = reproduce(parts, run.run_id)
    if not again.identical:
        raise CheckFailed(
            f"expected run {run.run_id} to come out the same, found differences; peak-trade reproduce {run.run_id} lists them"
        )
    dataset, terms = _recorded_inputs(parts, run)
    facts = dataset_facts(dataset)
    if run.run_type == SWEEP:
        plan = stored_plan(run)
        request = SweepRequest(plan=plan, data=DataChoice.from_json(run.spec["data"]), terms=terms)
        rows = [(json.loads(params), json.loads(figures)) for _, params, figures in parts.registry.trials(run.run_id)]
        return write_sweep_sheet(_swept(parts, run.run_id, request, dataset, rows))
    result = backtest(dataset.bars, make(run.strategy, run.params), terms)
    yardstick = backtest(dataset.bars, make("buy_and_hold", {}), terms)
    record = _record(parts, run, facts, terms, dataset) | {
        "metrics": result.metrics._asdict(),
        "benchmark": yardstick.metrics._asdict(),
    }
    finished = Finished(record=record, result=result, yardstick=yardstick, folder=parts.reports / run.run_id)
    _write_backtest(finished)
    return write_tear_sheet(finished)


def _ended(parts: Parts, run: Run, begun: float, status: RunStatus) -> Run:
    return replace(run, status=status, finished_at=stamp(parts.clock.now()), elapsed_s=parts.clock.elapsed_s() - begun)


def _record(parts: Parts, run: Run, facts: Json, terms: Terms, dataset: Dataset) -> Json:
    """Return the run as the JSON document that commands print and reports read."""
    total, different = parts.registry.count_trials(run.dataset_sha256)
    return {
        "run_id": run.run_id,
        "run_type": run.run_type,
        "status": run.status.value,
        "strategy": run.strategy,
        "params": dict(run.params),
        "symbol": run.symbol,
        "timeframe": run.timeframe,
        "quote": dataset.bars.instrument.quote,
        "dataset": facts,
        "costs": terms.to_json(),
        "trials_on_dataset": {"total": total, "different": different},
        "tags": list(run.tags),
        "code": {"version": run.code_version, "clean": run.code_clean},
        "config_sha256": run.config_sha256,
        "result_sha256": run.result_sha256,
        "versions": dict(run.versions),
        "started_at": run.started_at,
        "elapsed_s": run.elapsed_s,
    }


def _steps(dataset: Dataset) -> Json:
    """Return the trading steps that the fills depend on."""
    instrument = dataset.bars.instrument
    return {name: str(getattr(instrument, name)) for name in ("lot_step", "min_quantity", "min_notional")}


def _provenance(parts: Parts) -> Json:
    code = code_in_use()
    return {
        "config_sha256": parts.settings.sha256,
        "code_version": code.version,
        "code_clean": code.clean,
        "versions": numeric_versions(),
        "process": os.getpid(),
    }
