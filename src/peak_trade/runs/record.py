"""What every run carries: where it came from, and the JSON document that commands print and reports read."""

import os
from dataclasses import asdict, fields, replace
from decimal import Decimal
from typing import Any

from peak_trade.compose import DataChoice, Parts, code_in_use, code_sha256, numeric_versions
from peak_trade.journal.registry import stamp
from peak_trade.journal.run import Run, RunStatus, Tried, sha256_of
from peak_trade.market.dataset import Dataset
from peak_trade.model.clock import moment
from peak_trade.model.errors import CheckFailed
from peak_trade.model.instrument import Instrument
from peak_trade.research.terms import Terms
from peak_trade.runs.strategy_version import version_of
from peak_trade.strategy.base import Strategy
from peak_trade.strategy.catalogue import providers

BACKTEST = "backtest"
SWEEP = "sweep"
WALK_FORWARD = "walk_forward"
HOLDOUT = "holdout"
COMBINATORIAL = "combinatorial"
PORTFOLIO = "portfolio"
VERDICT = "verdict"

Json = dict[str, Any]


def provenance(parts: Parts, strategy: Strategy) -> Json:
    """Return the fields of a run that say which code, configuration and packages made it."""
    code = code_in_use()
    return {
        "config_sha256": parts.settings.sha256,
        "code_version": code.version,
        "code_clean": code.clean,
        "versions": versions_of(strategy),
        "env_name": parts.settings.file.environment.name,
        "process": os.getpid(),
    }


def run_over(parts: Parts, dataset: Dataset, strategy: Strategy, spec: Json, **more: Any) -> Run:
    """Return a run of research over a dataset, begun now, with where it came from.

    Args:
        spec: has `run_type` and `dataset_sha256` besides what else specifies the run.
        more: fields of the run that are known besides, or are others than here.
    """
    fields_here = {
        "run_id": parts.ids.next_run(),
        "run_type": spec["run_type"],
        "status": RunStatus.STARTED,
        "strategy": strategy.key,
        "symbol": dataset.bars.instrument.symbol,
        "timeframe": dataset.bars.timeframe.label,
        "params": strategy.model_dump(mode="json"),
        "spec": spec,
        "dataset_sha256": spec["dataset_sha256"],
        "started_at": stamp(parts.clock.now()),
        **provenance(parts, strategy),
    }
    return Run(**fields_here | more)


def versions_of(strategy: Strategy) -> dict[str, str]:
    """Return everything outside the data and the specification that can change a result, by name."""
    own = {"code": code_sha256(), "strategy": version_of(strategy).code_sha256}
    return numeric_versions() | own | providers(strategy)


def tried_on(dataset: Dataset, terms: Terms, stretch: slice = slice(None)) -> Tried:
    """Return market, period (of a stretch of the bars) and terms as the count of trials needs them."""
    bars = dataset.bars
    stamps = bars.timestamp[stretch]
    return Tried(
        symbol=bars.instrument.symbol,
        timeframe=bars.timeframe.label,
        first=int(stamps[0]),
        last=int(stamps[-1]),
        terms=terms.to_json(),
    )


def exact_choice(choice: DataChoice, dataset: Dataset) -> DataChoice:
    """Return the choice with the period spelled out, so that bars added later do not change what it means."""
    bars = dataset.bars
    return replace(
        choice,
        symbol=bars.instrument.symbol,
        timeframe=bars.timeframe.label,
        start=moment(int(bars.timestamp[0])),
        end=moment(int(bars.timestamp[-1]) + bars.timeframe.step_ns),
    )


def steps_of(dataset: Dataset) -> Json:
    """Return the instrument that fills and figures depend on, as a JSON object; exact steps as text."""
    found = asdict(dataset.bars.instrument)
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in found.items()}


def document_of(parts: Parts, run: Run, facts: Json, terms: Terms, dataset: Dataset) -> Json:
    """Return the run as the JSON document that commands print and reports read."""
    total, different = parts.registry.count_trials(tried_on(dataset, terms))
    return {
        "run_id": run.run_id,
        "folder": str(parts.reports / run.run_id),
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
        "environment": run.env_name,
        "code": {"version": run.code_version, "clean": run.code_clean},
        "config_sha256": run.config_sha256,
        "result_sha256": run.result_sha256,
        "versions": dict(run.versions),
        "started_at": run.started_at,
        "elapsed_s": run.elapsed_s,
    }


def sealed(result_sha256: str, told: Json) -> Json:
    """Return what a document says besides its run's own facts, with the names that the run's result is hashed over.

    Args:
        result_sha256: hash of the backtest that it is about. told: what is said of it.
    """
    return {**told, "backtest_sha256": result_sha256, "sealed": sorted(told)}


def seal_of(document: Json) -> str | None:
    """Return the hash over what `sealed` gave, as a run's result has it; None where the document has no such part.

    A reader of a run's folder tells by it whether a file still says what was registered.
    """
    try:
        told = {name: document[name] for name in document["sealed"]}
        return sha256_of({"backtest": document["backtest_sha256"], "told": told})
    except (KeyError, TypeError, ValueError):
        return None


def inputs_again(parts: Parts, run: Run) -> tuple[Dataset, Terms]:
    """Return the data and terms of a registered run, to do it again.

    Raises:
        CheckFailed: its specification is damaged.
    """
    try:
        return recorded_inputs(parts, run)
    except (KeyError, TypeError, ValueError, ArithmeticError, IndexError) as error:
        raise damaged(run, error) from error


def damaged(run: Run, error: Exception) -> CheckFailed:
    """Return the error of a run whose specification makes no sense."""
    return CheckFailed(
        f"expected a specification that can be done again for run {run.run_id}, found a damaged one "
        f"({type(error).__name__}: {error}); restore the registry"
    )


def recorded_inputs(parts: Parts, run: Run) -> tuple[Dataset, Terms]:
    """Return the data and terms of a run, with the trading steps of then whatever the configuration says now."""
    return recorded_data(parts, run.spec["data"], run.spec["instrument"]), Terms.from_json(run.spec["terms"])


def recorded_data(parts: Parts, choice: Json, instrument: Json) -> Dataset:
    """Return the bars of a recorded choice, with the recorded trading steps."""
    dataset = parts.dataset(DataChoice.from_json(choice))
    return replace(dataset, bars=replace(dataset.bars, instrument=instrument_from(instrument)))


def instrument_from(steps: Json) -> Instrument:
    """Read what `steps_of` wrote."""
    exact = [field.name for field in fields(Instrument) if field.type is Decimal]
    return Instrument(**steps | {name: Decimal(steps[name]) for name in exact})
