"""What is left of a backtest under other circumstances, registered as a run and written down as evidence."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from peak_trade.compose import DataChoice, Parts, dataset_facts
from peak_trade.durable import write_text
from peak_trade.governance.criteria import EvidenceKind, Subject
from peak_trade.governance.documents import Fact
from peak_trade.journal.registry import RunFilter, stamp
from peak_trade.journal.run import Run, RunStatus, Trial
from peak_trade.market.dataset import Dataset
from peak_trade.model.clock import RunId
from peak_trade.model.errors import CheckFailed
from peak_trade.research.backtest import Result, backtest
from peak_trade.research.stress import Stressed, StressLimits, stress
from peak_trade.research.terms import Terms
from peak_trade.runs.acts import tell_evidence
from peak_trade.runs.record import (
    BACKTEST,
    SWEEP,
    Json,
    document_of,
    inputs_again,
    provenance,
    seal_of,
    sealed,
    tried_on,
)
from peak_trade.runs.research.research_data import research_data
from peak_trade.runs.sessions.evidence import digits
from peak_trade.runs.strategy_version import version_of
from peak_trade.strategy.catalogue import Value, make

ROBUSTNESS = "robustness"
#: The file of its folder that a browser opens.
ROBUSTNESS_SHEET = "robustness.html"
#: So many of the newest sweeps of a strategy are looked through for the values of its parameters.
SWEEPS_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaken:
    """What came of it: the record (the JSON document), what was found, the backtest, the folder."""

    record: Json
    found: Stressed
    result: Result
    folder: Path


def run_robustness(parts: Parts, run_id: str, seed: int, by: str, tags: tuple[str, ...] = ()) -> Shaken:
    """Stress a registered backtest, after doing it again; register what came of it and write it down as evidence.

    The neighbouring combinations count as tried from then on.

    Raises:
        NotFound: no such run.
        CheckFailed: it is no backtest, or does not come out the same.
        SafetyRefused: its period reaches into a hold-out.
        StorageError: the disk or the registry refused.
    """
    begun, started = parts.clock.elapsed_s(), parts.clock.now()
    known = parts.registry.get(run_id)
    dataset, terms, result = _backtest_again(parts, known)
    # A hold-out may have been set up since.
    research_data(parts, DataChoice.from_json(known.spec["data"]))
    limits, grids = stress_limits(parts), grids_of(parts, known)
    found = stress(result, grids, limits, seed)
    strategy, bars = result.strategy, dataset.bars
    facts = dataset_facts(dataset)
    more = {"run_type": ROBUSTNESS, "backtest": known.run_id, "limits": asdict(limits), "grids": grids, "seed": seed}
    run = Run(
        run_id=parts.ids.next_run(),
        run_type=ROBUSTNESS,
        status=RunStatus.COMPLETED,
        strategy=strategy.key,
        symbol=bars.instrument.symbol,
        timeframe=bars.timeframe.label,
        params=known.params,
        spec=dict(known.spec) | more,
        dataset_sha256=facts["sha256"],
        started_at=stamp(started),
        finished_at=stamp(parts.clock.now()),
        elapsed_s=parts.clock.elapsed_s() - begun,
        trials=len(found.neighbours),
        result_sha256=seal_of(told_stress(found, result)),
        metrics=stress_figures(found),
        tags=tags,
        **provenance(parts, strategy),
    )
    trials = [
        Trial(number=number, params=item.strategy.model_dump(mode="json"), metrics=item.result.metrics._asdict())
        for number, item in enumerate(found.neighbours)
    ]
    parts.registry.add(run, tried_on(dataset, terms), trials)
    evidence = _tell(parts, result, found, facts, seed, by)
    return finished_robustness(parts, run, dataset, found, result, evidence)


def stress_figures(found: Stressed) -> dict[str, float]:
    """Return the figures that the registry keeps."""
    return {line.name: line.found for line in found.lines if line.found is not None} | {"robust": float(found.robust)}


def stressed_again(run: Run, dataset: Dataset, terms: Terms) -> tuple[Stressed, Result]:
    """Stress the backtest of a registered run again, with the limits, grids and seed of then.

    Raises:
        CheckFailed: its specification does not say which grids there were.
    """
    if (grids := run.spec.get("grids")) is None:
        raise CheckFailed(
            f"expected a run that says which grids its neighbours come from, found {run.run_id}, which was made before they "
            f"did; ask anew: peak-trade robustness {run.spec.get('backtest', 'latest:backtest')}"
        )
    result = backtest(dataset.bars, make(run.strategy, run.params), terms)
    return stress(result, grids, StressLimits(**run.spec["limits"]), run.spec["seed"]), result


def finished_robustness(
    parts: Parts, run: Run, dataset: Dataset, found: Stressed, result: Result, evidence: RunId | None = None
) -> Shaken:
    """Write the folder of a registered run, all but its page; *evidence* is what was written down for the gates."""
    from peak_trade.report.robustness_facts import robustness_markdown

    record = document_of(parts, run, dataset_facts(dataset), result.terms, dataset) | {
        "backtest": run.spec["backtest"],
        "metrics": result.metrics._asdict(),
        "seed": run.spec["seed"],
        "limits": run.spec["limits"],
        "evidence": evidence,
        **told_stress(found, result),
    }
    folder = parts.reports / run.run_id
    write_text(folder / "run.json", json.dumps(record, indent=2, allow_nan=False) + "\n")
    write_text(folder / "report.md", robustness_markdown(record))
    return Shaken(record=record, found=found, result=result, folder=folder)


def _backtest_again(parts: Parts, known: Run) -> tuple[Dataset, Terms, Result]:
    """Do a registered backtest again.

    Raises:
        CheckFailed: it is none, never finished, or does not come out the same.
    """
    if known.run_type != BACKTEST or known.status is not RunStatus.COMPLETED:
        raise CheckFailed(
            f"expected a completed backtest, found the {known.run_type} {known.run_id} {known.status.value}; "
            "run the combination as a backtest"
        )
    dataset, terms = inputs_again(parts, known)
    result = backtest(dataset.bars, make(known.strategy, known.params), terms)
    same = (known.dataset_sha256, known.result_sha256, known.metrics)
    if same != (dataset.bars.sha256(), result.sha256(), result.metrics.figures()):
        raise CheckFailed(
            f"expected run {known.run_id} to come out the same, found differences; "
            f"peak-trade reproduce {known.run_id} lists them"
        )
    return dataset, terms, result


def stress_limits(parts: Parts) -> StressLimits:
    """Return what a backtest has to stand, as the configuration says."""
    return StressLimits(**parts.settings.file.robustness.model_dump())


def grids_of(parts: Parts, run: Run) -> dict[str, list[Value]]:
    """Return the values that the newest sweep had for each parameter of a backtest, where it tried the backtest's own."""
    found: dict[str, list[Value]] = {}
    for sweep in parts.registry.find(RunFilter(run_type=SWEEP, strategy=run.strategy), SWEEPS_MAX):
        for name, values in sweep.spec.get("grid", []):
            if run.params.get(name) in values:
                found.setdefault(name, list(values))
    return found


def _tell(parts: Parts, result: Result, found: Stressed, facts: Json, seed: int, by: str) -> RunId:
    """Write down what was found, for gates to read: a policy may ask for `robust` in the suite of that name."""
    version = version_of(result.strategy)
    told: dict[str, Fact] = {
        "suite": ROBUSTNESS,
        "params_sha256": version.params_sha256,
        "dataset_sha256": facts["sha256"],
        "seed": seed,
        "robust": found.robust,
        **{line.name: digits(line.found) for line in found.lines if line.found is not None},
    }
    subject = Subject(strategy=version, symbols=(result.bars.instrument.symbol,))
    return tell_evidence(parts, EvidenceKind.TEST_RUN, told, subject, by)


def told_stress(found: Stressed, result: Result) -> Json:
    """Return what came of it as JSON, with the hash of the backtest."""
    told = {
        "robust": found.robust,
        "lines": [asdict(line) for line in found.lines],
        "shape": found.shape,
        "neighbours": [{"name": item.name, "value": item.value, "sharpe": item.sharpe} for item in found.neighbours],
        "returns_at_costs": {f"{multiple:g}": value for multiple, value in found.costs.items()},
        "histories": fan_rows(found, float(result.terms.cash)),
    }
    return sealed(result.sha256(), told)


def fan_rows(found: Stressed, cash: float) -> Json:
    """Return what drawn histories came to: the quantiles of their last equity, in quote currency, and of their deepest fall."""
    drawn, shares = found.histories, {"5%": 0.05, "25%": 0.25, "50%": 0.5, "75%": 0.75, "95%": 0.95}
    return {
        "final_equity": {name: float(np.quantile(drawn.growth, share)) * cash for name, share in shares.items()},
        "max_drawdown": {name: float(np.quantile(drawn.drawdown, share)) for name, share in shares.items()},
    }


def write_robustness_sheet(shaken: Shaken) -> Path:
    """Draw the page into the run's folder; loads the charts."""
    from peak_trade.report.robustness_sheet import robustness_html

    path = shaken.folder / ROBUSTNESS_SHEET
    write_text(path, robustness_html(shaken.record, shaken.result, shaken.found))
    return path
