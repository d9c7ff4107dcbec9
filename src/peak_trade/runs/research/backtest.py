"""One backtest as a run: registered, with a folder of its own."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from peak_trade.compose import DataChoice, Parts, dataset_facts
from peak_trade.durable import write_bytes, write_text
from peak_trade.journal.registry import stamp
from peak_trade.journal.run import Run, RunStatus, Trial
from peak_trade.market.dataset import Dataset
from peak_trade.model.clock import moment_text
from peak_trade.model.errors import StrategyError
from peak_trade.research.backtest import Result, backtest, yardstick
from peak_trade.research.terms import Terms
from peak_trade.runs.configured import configured_params
from peak_trade.runs.record import BACKTEST, Json, document_of, exact_choice, run_over, steps_of, tried_on
from peak_trade.runs.research.research_data import research_data
from peak_trade.strategy.base import Strategy
from peak_trade.strategy.catalogue import Value, make

#: The file of a run's folder that a browser opens.
TEAR_SHEET = "tear_sheet.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestRequest:
    """What a backtest needs: the strategy with the parameters given, the bars, the terms and tags."""

    strategy: str
    params: Mapping[str, Value]
    data: DataChoice
    terms: Terms
    tags: tuple[str, ...] = ()

    def spec(self, strategy: Strategy, dataset: Dataset, sha256: str) -> Json:
        """Return the identity of the run: all parameters, data (with the hash of its bars) and terms."""
        return {
            "run_type": BACKTEST,
            "strategy": strategy.key,
            "params": strategy.model_dump(mode="json"),
            "data": exact_choice(self.data, dataset).to_json(),
            "dataset_sha256": sha256,
            "instrument": steps_of(dataset),
            "terms": self.terms.to_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A finished backtest: its record (the JSON document), its result, buy and hold beside it, and its folder."""

    record: Json
    result: Result
    yardstick: Result
    folder: Path


def run_backtest(parts: Parts, request: BacktestRequest) -> Finished:
    """Run a backtest, register it and write its folder.

    Raises:
        InputError: strategy, data or terms don't fit; a strategy that fails while running is registered as failed.
        StorageError: the disk or the registry refused.
    """
    begun = parts.clock.elapsed_s()
    started = parts.clock.now()
    strategy = make(request.strategy, configured_params(parts, request.strategy, request.params))
    dataset = research_data(parts, request.data)
    facts = dataset_facts(dataset)
    spec = request.spec(strategy, dataset, facts["sha256"])
    run = run_over(parts, dataset, strategy, spec, started_at=stamp(started), trials=1, tags=request.tags)
    try:
        result = backtest(dataset.bars, strategy, request.terms)
    except StrategyError as error:
        ended = _ended(parts, run, begun, RunStatus.FAILED)
        parts.registry.add(replace(ended, error=str(error), trials=0))
        raise
    ended = replace(
        _ended(parts, run, begun, RunStatus.COMPLETED),
        metrics=result.metrics.figures(),
        result_sha256=result.sha256(),
    )
    trial = Trial(number=0, params=run.params, metrics=result.metrics._asdict())
    parts.registry.add(ended, tried_on(dataset, request.terms), [trial])
    return finished_backtest(parts, ended, dataset, facts, result)


def finished_backtest(parts: Parts, run: Run, dataset: Dataset, facts: Json, result: Result) -> Finished:
    """Put buy and hold beside a registered result and write the run's folder, all but its tear sheet."""
    beside = yardstick(dataset.bars, result.terms)
    record = document_of(parts, run, facts, result.terms, dataset) | {
        "metrics": result.metrics._asdict(),
        "benchmark": beside.metrics._asdict(),
        "remarks": remarks_on(result),
    }
    finished = Finished(record=record, result=result, yardstick=beside, folder=parts.reports / run.run_id)
    _write_folder(finished)
    return finished


def remarks_on(result: Result) -> list[str]:
    """Return why a result may be empty or end early."""
    found = []
    warmup, metrics = result.strategy.warmup(), result.metrics
    if warmup > len(result.bars):
        found.append(f"the warm-up of {warmup:,} bars is longer than the data of {len(result.bars):,}")
    if metrics.orders_skipped:
        found.append(f"{metrics.orders_skipped:,} orders were under the minimum, or no cash was left for them")
    elif metrics.num_entries == 0:
        found.append("the strategy never asked for a position that this side allows")
    return found


def write_tear_sheet(finished: Finished) -> Path:
    """Draw the tear sheet into the run's folder; loads the charts, which takes longer than the run."""
    from peak_trade.report.tear_sheet import backtest_html

    path = finished.folder / TEAR_SHEET
    write_text(path, backtest_html(finished.record, finished.result, finished.yardstick))
    return path


def _write_folder(finished: Finished) -> None:
    from peak_trade.report.markdown import backtest_markdown

    record, result, folder = finished.record, finished.result, finished.folder
    write_text(folder / "run.json", json.dumps(record, indent=2, allow_nan=False) + "\n")
    write_text(folder / "report.md", backtest_markdown(record, result, finished.yardstick))
    write_trades(folder / "trades.csv", result)
    buffer = io.BytesIO()
    equity_frame(result).write_parquet(buffer)
    write_bytes(folder / "equity.parquet", buffer.getvalue())


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
    write_text(path, pl.DataFrame(rows, schema=schema).write_csv())


def write_equity(path: Path, result: Result) -> None:
    """Write the equity at each close as CSV."""
    write_text(path, equity_frame(result).write_csv())


def equity_frame(result: Result) -> pl.DataFrame:
    """Return the equity with the open time of its bar."""
    frame = pl.DataFrame({"timestamp": result.bars.timestamp, "equity": result.equity})
    return frame.with_columns(pl.col("timestamp").cast(pl.Datetime("ns", "UTC")))


def _ended(parts: Parts, run: Run, begun: float, status: RunStatus) -> Run:
    return replace(run, status=status, finished_at=stamp(parts.clock.now()), elapsed_s=parts.clock.elapsed_s() - begun)
