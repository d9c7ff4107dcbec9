"""The regimes of a market and what a strategy earned in each, as a run: registered, with a folder of its own."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from peak_trade.compose import DataChoice, Parts, dataset_facts
from peak_trade.durable import write_text
from peak_trade.journal.registry import stamp
from peak_trade.journal.run import Run, RunStatus, Trial
from peak_trade.market.dataset import Dataset
from peak_trade.model.clock import moment_text
from peak_trade.research.backtest import Result, backtest
from peak_trade.research.regime_figures import figures_by_class
from peak_trade.research.regimes import Family, RegimeRules, Regimes, regimes, spells, transitions
from peak_trade.research.terms import Terms
from peak_trade.runs.configured import configured_params
from peak_trade.runs.record import Json, document_of, run_over, seal_of, sealed, tried_on
from peak_trade.runs.research.backtest import BacktestRequest
from peak_trade.runs.research.research_data import research_data
from peak_trade.strategy.catalogue import Value, make

REGIMES = "regimes"
#: The file of its folder that a browser opens.
REGIME_SHEET = "regimes.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegimeRequest:
    """What is asked for: a strategy with the parameters given, the bars, the terms, the windows of the classes, and tags."""

    strategy: str
    params: Mapping[str, Value]
    data: DataChoice
    terms: Terms
    rules: RegimeRules
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What came of it: the record (the JSON document), the regimes, what the strategy did, and the folder."""

    record: Json
    found: Regimes
    result: Result
    folder: Path


def run_regimes(parts: Parts, request: RegimeRequest) -> Weather:
    """Tell the regimes of a market, run a strategy over it, register both and write the folder.

    The strategy counts as tried: whoever has seen where it earns has seen what it earns.

    Raises:
        InputError: strategy, data or terms don't fit.
        SafetyRefused: the period reaches into a hold-out.
        StorageError: the disk or the registry refused.
    """
    begun, started = parts.clock.elapsed_s(), parts.clock.now()
    strategy = make(request.strategy, configured_params(parts, request.strategy, request.params))
    dataset = research_data(parts, request.data)
    bars, facts = dataset.bars, dataset_facts(dataset)
    result = backtest(bars, strategy, request.terms)
    found = regimes(bars, request.rules)
    told = told_regimes(found, result)
    asked = BacktestRequest(strategy=request.strategy, params=request.params, data=request.data, terms=request.terms)
    spec = asked.spec(strategy, dataset, facts["sha256"]) | {"run_type": REGIMES, "rules": request.rules.to_json()}
    run = run_over(
        parts,
        dataset,
        strategy,
        spec,
        status=RunStatus.COMPLETED,
        started_at=stamp(started),
        finished_at=stamp(parts.clock.now()),
        elapsed_s=parts.clock.elapsed_s() - begun,
        trials=1,
        result_sha256=seal_of(told),
        metrics=result.metrics.figures(),
        tags=request.tags,
    )
    trial = Trial(number=0, params=run.params, metrics=result.metrics._asdict())
    parts.registry.add(run, tried_on(dataset, request.terms), [trial])
    return finished_regimes(parts, run, dataset, found, result)


def regimes_again(run: Run, dataset: Dataset, terms: Terms) -> tuple[Regimes, Result]:
    """Tell the regimes of a registered run again, and run its strategy over them, without registering anything."""
    result = backtest(dataset.bars, make(run.strategy, run.params), terms)
    return regimes(dataset.bars, RegimeRules(**run.spec["rules"])), result


def finished_regimes(parts: Parts, run: Run, dataset: Dataset, found: Regimes, result: Result) -> Weather:
    """Write the folder of registered regimes, all but its page."""
    from peak_trade.report.regime_facts import regime_markdown

    record = document_of(parts, run, dataset_facts(dataset), result.terms, dataset) | {
        "metrics": result.metrics._asdict(),
        "rules": run.spec["rules"],
        **told_regimes(found, result),
    }
    folder = parts.reports / run.run_id
    write_text(folder / "run.json", json.dumps(record, indent=2, allow_nan=False) + "\n")
    write_text(folder / "report.md", regime_markdown(record))
    return Weather(record=record, found=found, result=result, folder=folder)


def told_regimes(found: Regimes, result: Result) -> Json:
    """Return the regimes as JSON: each family with its figures, and where the market changed."""

    def at(bar: int) -> str:
        return moment_text(int(result.bars.timestamp[bar]))

    told = {
        "families": [_family(family, result) for family in found.families],
        "changes": [{"announced": at(point.announced), "began": at(point.began)} for point in found.changes],
        "estimates": [
            {
                "since": at(fit.since),
                "bars": fit.bars,
                "means": list(fit.means),
                "deviations": [variance**0.5 for variance in fit.variances],
                "stays": list(fit.stays),
                "converged": fit.converged,
            }
            for fit in found.fits
        ],
        "estimates_failed": found.failed,
    }
    return sealed(result.sha256(), told)


def _family(family: Family, result: Result) -> Json:
    return {
        "name": family.name,
        "title": family.title,
        "now": family.now,
        "classes": list(family.classes),
        "figures": [asdict(item) for item in figures_by_class(result, family)],
        "spells": [asdict(item) for item in spells(family)],
        "transitions": transitions(family),
    }


def write_regime_sheet(weather: Weather) -> Path:
    """Draw the page into the run's folder; loads the charts."""
    from peak_trade.report.regime_sheet import regime_html

    path = weather.folder / REGIME_SHEET
    write_text(path, regime_html(weather.record, weather.result, weather.found))
    return path
