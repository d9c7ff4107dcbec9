"""Is this edge real? Asked of one strategy on one market, after everything that was tried there; registered like any run."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from peak_trade.compose import DataChoice, Parts, dataset_facts
from peak_trade.durable import write_text
from peak_trade.governance.criteria import EvidenceKind, Subject
from peak_trade.governance.documents import Fact
from peak_trade.journal.registry import stamp
from peak_trade.journal.run import Run, RunStatus, Trial
from peak_trade.model.bar import Bars
from peak_trade.model.clock import RunId
from peak_trade.research.backtest import Result, backtest, yardstick
from peak_trade.research.edge import EdgeAnswer, EdgeCase, EdgeFound, EdgeLimits, judge_edge
from peak_trade.research.stress import dearer
from peak_trade.research.terms import Terms
from peak_trade.research.trial_returns import Combination, edges_of, gains
from peak_trade.runs.acts import machine_user, tell_evidence
from peak_trade.runs.configured import configured_params
from peak_trade.runs.record import Json, document_of, provenance, tried_on
from peak_trade.runs.research.backtest import BacktestRequest
from peak_trade.runs.research.research_data import research_data
from peak_trade.runs.research.trials import Trials, tried
from peak_trade.runs.strategy_version import version_of
from peak_trade.strategy.catalogue import Value, find, make

VERDICT = "verdict"
#: The file of its folder that a browser opens.
VERDICT_SHEET = "verdict.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictRequest:
    """What is asked about: a strategy, on which bars, and where nothing of it was tried before, under which terms.

    Attributes:
        params: those to judge; empty is the best by Sharpe ratio of what was tried, else the configured ones.
        seed: of the drawn histories.
    """

    strategy: str
    params: Mapping[str, Value]
    data: DataChoice
    terms: Terms
    seed: int
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The answer: its record (the JSON document), what it rests on, and its folder."""

    record: Json
    found: EdgeFound
    trials: Trials
    result: Result
    yardstick: Result
    folder: Path


def run_verdict(parts: Parts, request: VerdictRequest) -> Judged:
    """Judge, register the answer, write it down as evidence and write its folder, all but its page.

    The judged combination counts as tried from then on.

    Raises:
        InputError: strategy or data don't fit.
        SafetyRefused: the chosen period reaches into a hold-out.
        StorageError: the disk or the registry refused.
    """
    begun, started = parts.clock.elapsed_s(), parts.clock.now()
    dataset = research_data(parts, request.data)
    bars = dataset.bars
    trials = tried(parts, request.strategy, dataset)
    chosen = _chosen(parts, request, trials)
    if chosen not in trials.done:
        trials = tried(parts, request.strategy, dataset, [chosen])
    strategy = make(chosen.strategy, chosen.params)
    result = backtest(bars, strategy, chosen.terms)
    limits = limits_of(parts)
    found = judge_edge(_case(bars, result, chosen, trials, limits), limits, request.seed)
    facts = dataset_facts(dataset)
    asked = BacktestRequest(strategy=chosen.strategy, params=chosen.params, data=request.data, terms=chosen.terms)
    run = Run(
        run_id=parts.ids.next_run(),
        run_type=VERDICT,
        status=RunStatus.COMPLETED,
        strategy=strategy.key,
        symbol=bars.instrument.symbol,
        timeframe=bars.timeframe.label,
        params=strategy.model_dump(mode="json"),
        spec=asked.spec(strategy, dataset, facts["sha256"])
        | {"run_type": VERDICT, "limits": asdict(limits), "seed": request.seed},
        dataset_sha256=facts["sha256"],
        started_at=stamp(started),
        finished_at=stamp(parts.clock.now()),
        elapsed_s=parts.clock.elapsed_s() - begun,
        trials=1,
        result_sha256=result.sha256(),
        metrics=_figures(found, trials, result),
        tags=request.tags,
        **provenance(parts, strategy),
    )
    trial = Trial(number=0, params=run.params, metrics=result.metrics._asdict())
    parts.registry.add(run, tried_on(dataset, chosen.terms), [trial])
    beside = yardstick(bars, chosen.terms)
    record = document_of(parts, run, facts, chosen.terms, dataset) | {
        "metrics": result.metrics._asdict(),
        "benchmark": beside.metrics._asdict(),
        "seed": request.seed,
        **answer_document(found, trials, limits),
    }
    evidence = _tell(parts, found, trials, result, facts, request.seed)
    record |= {"evidence": evidence}
    judged = Judged(
        record=record, found=found, trials=trials, result=result, yardstick=beside, folder=parts.reports / run.run_id
    )
    _write_folder(judged)
    return judged


def _tell(parts: Parts, found: EdgeFound, trials: Trials, result: Result, facts: Json, seed: int) -> RunId:
    """Write down what was answered, for gates to read: `edge` is 2 where there is one, 0 where there is none, else 1."""
    version = version_of(result.strategy)
    told: dict[str, Fact] = {
        "suite": VERDICT,
        "params_sha256": version.params_sha256,
        "dataset_sha256": facts["sha256"],
        "seed": seed,
        "edge": {EdgeAnswer.EDGE: 2, EdgeAnswer.NO_EDGE: 0}.get(found.answer, 1),
        "tried": trials.count,
        "charged": _charged(result.terms),
    }
    subject = Subject(strategy=version, symbols=(result.bars.instrument.symbol,))
    return tell_evidence(parts, EvidenceKind.TEST_RUN, told, subject, machine_user())


def limits_of(parts: Parts) -> EdgeLimits:
    """Return what an edge has to show, as the configuration says."""
    file = parts.settings.file.verdict
    return EdgeLimits(
        error_rate=file.error_rate,
        worthwhile=file.worthwhile_sharpe,
        trades_min=file.trades_min,
        overfit_max=file.overfit_max,
        cost_multiple=file.cost_multiple,
    )


def market_gains(bars: Bars) -> np.ndarray:
    """Return what the market gained over the stretches of `edges_of`, the first from its open on."""
    return gains(np.concatenate([bars.open[:1], bars.close[edges_of(len(bars))]]))


def _chosen(parts: Parts, request: VerdictRequest, trials: Trials) -> Combination:
    """Return what is judged: of what was tried with costs, the best of the asked parameters, else of all."""
    key = find(request.strategy).key
    asked = make(key, configured_params(parts, key, request.params))
    best: tuple[float, Combination] | None = None
    for item, ratio in zip(trials.done, trials.ratios.tolist(), strict=True):
        if item.strategy != key or not _charged(item.terms) or not np.isfinite(ratio):
            continue
        if request.params and make(key, item.params) != asked:
            continue
        if best is None or ratio > best[0]:
            best = ratio, item
    return best[1] if best else Combination(key, asked.model_dump(mode="json"), request.terms)


def _charged(terms: Terms) -> bool:
    return terms.fee_bps > 0.0 and terms.slippage_bps > 0.0


def _case(bars: Bars, result: Result, chosen: Combination, trials: Trials, limits: EdgeLimits) -> EdgeCase:
    costly = backtest(bars, result.strategy, dearer(chosen.terms, limits.cost_multiple))
    return EdgeCase(
        returns=gains(np.concatenate([[float(chosen.terms.cash)], result.equity])),
        trades=result.metrics.num_trades,
        periods_per_year=bars.instrument.periods_per_year(bars.timeframe.seconds),
        market=market_gains(bars),
        tried=trials.periods,
        chosen=trials.done.index(chosen),
        count=trials.count,
        effective=trials.effective,
        deviation=trials.deviation,
        costly=costly.metrics.sharpe,
        charged=_charged(chosen.terms),
    )


def _figures(found: EdgeFound, trials: Trials, result: Result) -> dict[str, float]:
    """Return the figures that the registry keeps: the lines by name, and what they rest on."""
    lines = {line.name: line.found for line in found.lines if line.found is not None}
    held = {"edge": float(found.answer is EdgeAnswer.EDGE), "tried": float(trials.count), "tried_effective": trials.effective}
    return result.metrics.figures() | lines | held


def answer_document(found: EdgeFound, trials: Trials, limits: EdgeLimits) -> Json:
    """Return answer, ledger and lines as a JSON object."""
    return {
        "answer": found.answer.value,
        "error_rate": limits.error_rate,
        "limits": asdict(limits),
        "tried": {
            "counted": trials.count,
            "different": trials.different,
            "of_strategy": trials.of_strategy,
            "windows": trials.windows,
            "total": trials.total,
            "done_again": len(trials.done),
            "correlation": trials.correlation,
            "effective": trials.effective,
            "sharpe_variance": trials.variance,
        },
        "hurdle": found.hurdle,
        "beta": found.beta,
        "intervals": {
            name: None if item is None else item._asdict()
            for name, item in (("sharpe", found.sharpe), ("total_return", found.growth), ("max_drawdown", found.drawdown))
        },
        "lines": [asdict(line) for line in found.lines],
    }


def _write_folder(judged: Judged) -> None:
    from peak_trade.report.verdict_facts import verdict_markdown

    write_text(judged.folder / "run.json", json.dumps(judged.record, indent=2, allow_nan=False) + "\n")
    write_text(judged.folder / "report.md", verdict_markdown(judged.record))


def write_verdict_sheet(judged: Judged) -> Path:
    """Draw the page into the run's folder; loads the charts."""
    from peak_trade.report.verdict_sheet import verdict_html

    year = judged.result.bars.instrument.periods_per_year(judged.result.bars.timeframe.seconds)
    path = judged.folder / VERDICT_SHEET
    write_text(path, verdict_html(judged.record, judged.result, judged.yardstick, judged.trials.ratios * year**0.5))
    return path
