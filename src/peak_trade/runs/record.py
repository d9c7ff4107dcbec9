"""What every run carries: where it came from, and the JSON document that commands print and reports read."""

import os
from dataclasses import asdict, fields, replace
from decimal import Decimal
from typing import Any

from peak_trade.compose import DataChoice, Parts, code_in_use, numeric_versions
from peak_trade.journal.run import Run
from peak_trade.market.dataset import Dataset
from peak_trade.model.instrument import Instrument
from peak_trade.research.terms import Terms
from peak_trade.strategy.catalogue import provider

BACKTEST = "backtest"
SWEEP = "sweep"

Json = dict[str, Any]


def provenance(parts: Parts, strategy: str) -> Json:
    """Return the fields of a run that say which code, configuration and packages made it."""
    code = code_in_use()
    installed = provider(strategy)
    return {
        "config_sha256": parts.settings.sha256,
        "code_version": code.version,
        "code_clean": code.clean,
        "versions": numeric_versions() | ({installed[0]: installed[1]} if installed else {}),
        "process": os.getpid(),
    }


def steps_of(dataset: Dataset) -> Json:
    """Return the instrument that fills and figures depend on, as a JSON object; exact steps as text."""
    found = asdict(dataset.bars.instrument)
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in found.items()}


def document_of(parts: Parts, run: Run, facts: Json, terms: Terms, dataset: Dataset) -> Json:
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


def recorded_inputs(parts: Parts, run: Run) -> tuple[Dataset, Terms]:
    """Return the data and terms of a run, with the trading steps of then whatever the configuration says now."""
    dataset = parts.dataset(DataChoice.from_json(run.spec["data"]))
    then = dict(run.spec["instrument"])
    exact = [field.name for field in fields(Instrument) if field.type is Decimal]
    instrument = Instrument(**then | {name: Decimal(then[name]) for name in exact})
    return replace(dataset, bars=replace(dataset.bars, instrument=instrument)), Terms.from_json(run.spec["terms"])
