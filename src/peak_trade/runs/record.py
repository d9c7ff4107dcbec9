"""What every run carries: where it came from, and the JSON document that commands print and reports read."""

import os
from dataclasses import replace
from decimal import Decimal
from typing import Any

from peak_trade.compose import DataChoice, Parts, code_in_use, numeric_versions
from peak_trade.journal.run import Run
from peak_trade.market.dataset import Dataset
from peak_trade.research.terms import Terms

BACKTEST = "backtest"
SWEEP = "sweep"

Json = dict[str, Any]


def provenance(parts: Parts) -> Json:
    """Return the fields of a run that say which code, configuration and packages made it."""
    code = code_in_use()
    return {
        "config_sha256": parts.settings.sha256,
        "code_version": code.version,
        "code_clean": code.clean,
        "versions": numeric_versions(),
        "process": os.getpid(),
    }


def steps_of(dataset: Dataset) -> Json:
    """Return the trading steps that the fills depend on."""
    instrument = dataset.bars.instrument
    return {name: str(getattr(instrument, name)) for name in ("lot_step", "min_quantity", "min_notional")}


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
    steps = {name: Decimal(value) for name, value in run.spec["instrument"].items()}
    instrument = replace(
        dataset.bars.instrument,
        lot_step=steps["lot_step"],
        min_quantity=steps["min_quantity"],
        min_notional=steps["min_notional"],
    )
    return replace(dataset, bars=replace(dataset.bars, instrument=instrument)), Terms.from_json(run.spec["terms"])
