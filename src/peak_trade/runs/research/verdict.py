"""Is this edge real? Asked of one strategy on one market, after everything that was tried there; registered like any run."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from peak_trade.compose import DataChoice, Parts, dataset_facts
from peak_trade.durable import write_text
from peak_trade.governance.criteria import EvidenceKind, Subject
from peak_trade.governance.documents import Fact
from peak_trade.journal.registry import stamp
from peak_trade.journal.run import Run, RunStatus, Trial
from peak_trade.market.dataset import Dataset
from peak_trade.model.bar import Bars
from peak_trade.model.clock import RunId
from peak_trade.model.errors import CheckFailed
from peak_trade.research.backtest import Result, backtest, yardstick
from peak_trade.research.edge import EdgeAnswer, EdgeCase, EdgeFound, EdgeLimits, judge_edge
from peak_trade.research.stress import dearer
from peak_trade.research.terms import Terms
from peak_trade.research.trial_returns import Combination, edges_of, gains
from peak_trade.runs.acts import machine_user, tell_evidence
from peak_trade.runs.configured import configured_params
from peak_trade.runs.record import VERDICT, Json, document_of, run_over, seal_of, sealed, tried_on
from peak_trade.runs.research.backtest import BacktestRequest
from peak_trade.runs.research.research_data import research_data
from peak_trade.runs.research.trials import Trials, on_other_markets, tried
from peak_trade.runs.strategy_version import version_of
from peak_trade.strategy.catalogue import Value, find, make

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
class Weighed:
    """A combination that was judged: over which bars, beside what, by which limits and seed, and what came of it."""

    dataset: Dataset
    chosen: Combination
    trials: Trials
    limits: EdgeLimits
    seed: int
    result: Result
    found: EdgeFound

    def figures(self) -> dict[str, float]:
        """Return the figures that the registry keeps: the lines by name, and what they rest on."""
        trials = self.trials
        lines = {line.name: line.found for line in self.found.lines if line.found is not None}
        held = {"edge": float(self.found.answer is EdgeAnswer.EDGE), "tried": float(trials.count)}
        return self.result.metrics.figures() | lines | held | {"tried_effective": trials.effective}

    def told(self) -> Json:
        """Return what is said of it, and the hash that it is said of."""
        return sealed(self.result.sha256(), answer_document(self.found, self.trials, self.limits))


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

    The judged combination counts as tried from then on. The specification holds the runs that counted, because others are
    added to the ledger later: see `weighed_again`.

    Raises:
        InputError: strategy or data don't fit.
        SafetyRefused: the chosen period reaches into a hold-out.
        StorageError: the disk or the registry refused.
    """
    begun, started = parts.clock.elapsed_s(), parts.clock.now()
    dataset = research_data(parts, request.data)
    bars = dataset.bars
    chosen = _chosen(parts, request, trials := tried(parts, request.strategy, dataset))
    others = on_other_markets(parts, chosen.strategy, (bars.instrument.symbol, *trials.same))
    weighed = _weighed(parts, dataset, chosen, trials, limits_of(parts), request.seed, others)
    strategy, facts = weighed.result.strategy, dataset_facts(dataset)
    asked = BacktestRequest(strategy=chosen.strategy, params=chosen.params, data=request.data, terms=chosen.terms)
    more = {"run_type": VERDICT, "limits": asdict(weighed.limits), "seed": request.seed, "counted": dict(trials.by_run)}
    more |= {"same_bars": list(trials.same), "other_markets": others}
    run = run_over(
        parts,
        dataset,
        strategy,
        asked.spec(strategy, dataset, facts["sha256"]) | more,
        status=RunStatus.COMPLETED,
        started_at=stamp(started),
        finished_at=stamp(parts.clock.now()),
        elapsed_s=parts.clock.elapsed_s() - begun,
        trials=1,
        result_sha256=seal_of(weighed.told()),
        metrics=weighed.figures(),
        tags=request.tags,
    )
    trial = Trial(number=0, params=run.params, metrics=weighed.result.metrics._asdict())
    parts.registry.add(run, tried_on(dataset, chosen.terms), [trial])
    evidence = _tell(parts, weighed, facts)
    return finished_verdict(parts, run, weighed, evidence)


def weighed_again(parts: Parts, run: Run, dataset: Dataset, terms: Terms) -> Weighed:
    """Judge a registered verdict's combination again, beside the runs that counted then, by the limits and seed of then.

    Raises:
        CheckFailed: its specification does not say which runs counted.
    """
    if (counted := run.spec.get("counted")) is None:
        raise CheckFailed(
            f"expected a verdict that says which runs counted, found {run.run_id}, which was made before verdicts did; "
            f"ask anew: peak-trade verdict --strategy {run.strategy}"
        )
    chosen = Combination(run.strategy, dict(run.params), terms)
    trials = tried(parts, run.strategy, dataset, counted=counted, same=run.spec.get("same_bars", ()))
    limits, others = EdgeLimits(**run.spec["limits"]), run.spec.get("other_markets", {})
    return _weighed(parts, dataset, chosen, trials, limits, run.spec["seed"], others)


def ledger_since(parts: Parts, run: Run, dataset: Dataset) -> list[str]:
    """Return, one sentence each, how the ledger of trials differs from the one that a registered verdict counted."""
    stamps = dataset.bars.timestamp
    symbols = (dataset.bars.instrument.symbol, *run.spec.get("same_bars", ()))
    rows = [row for symbol in symbols for row in parts.registry.tried_on(symbol, int(stamps[0]), int(stamps[-1]))]
    now = Counter(row.run_id for row in rows if row.run_id != run.run_id)
    counted: Counter[str] = Counter(run.spec["counted"])
    added, gone = now - counted, counted - now
    told = []
    if added:
        told.append(
            f"the ledger of trials has grown since: {added.total():,} more by {len(added):,} runs, which this verdict does not "
            f"count; ask anew to have them counted: peak-trade verdict --strategy {run.strategy}"
        )
    if gone:
        told.append(f"{gone.total():,} trials of {len(gone):,} runs that counted are no longer in the registry; restore it")
    return told


def _weighed(
    parts: Parts,
    dataset: Dataset,
    chosen: Combination,
    trials: Trials,
    limits: EdgeLimits,
    seed: int,
    others: Mapping[str, float],
) -> Weighed:
    """Judge a combination beside what was tried; it counts itself, although nobody may have tried it before.

    Args:
        others: the p-value of each other market that its strategy was tried on.
    """
    if chosen not in trials.done:
        trials = tried(parts, chosen.strategy, dataset, [chosen], trials.by_run, trials.same)
    result = backtest(dataset.bars, make(chosen.strategy, chosen.params), chosen.terms)
    case = replace(_case(dataset.bars, result, chosen, trials, limits), others=tuple(others.values()))
    found = judge_edge(case, limits, seed)
    return Weighed(dataset=dataset, chosen=chosen, trials=trials, limits=limits, seed=seed, result=result, found=found)


def finished_verdict(parts: Parts, run: Run, weighed: Weighed, evidence: RunId | None = None) -> Judged:
    """Write the folder of a registered verdict, all but its page; *evidence* is what was written down for the gates."""
    from peak_trade.report.verdict_facts import verdict_markdown

    dataset, terms, result = weighed.dataset, weighed.chosen.terms, weighed.result
    beside = yardstick(dataset.bars, terms)
    record = document_of(parts, run, dataset_facts(dataset), terms, dataset) | {
        "metrics": result.metrics._asdict(),
        "benchmark": beside.metrics._asdict(),
        "seed": weighed.seed,
        "evidence": evidence,
        **weighed.told(),
    }
    folder = parts.reports / run.run_id
    write_text(folder / "run.json", json.dumps(record, indent=2, allow_nan=False) + "\n")
    write_text(folder / "report.md", verdict_markdown(record))
    return Judged(record=record, found=weighed.found, trials=weighed.trials, result=result, yardstick=beside, folder=folder)


def _tell(parts: Parts, weighed: Weighed, facts: Json) -> RunId:
    """Write down what was answered, for gates to read: `edge` is 2 where there is one, 0 where there is none, else 1."""
    result = weighed.result
    version = version_of(result.strategy)
    told: dict[str, Fact] = {
        "suite": VERDICT,
        "params_sha256": version.params_sha256,
        "dataset_sha256": facts["sha256"],
        "seed": weighed.seed,
        "edge": {EdgeAnswer.EDGE: 2, EdgeAnswer.NO_EDGE: 0}.get(weighed.found.answer, 1),
        "tried": weighed.trials.count,
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
            "elsewhere": trials.elsewhere,
            "same_bars": list(trials.same),
            "windows": trials.windows,
            "total": trials.total,
            "done_again": len(trials.done),
            "correlation": trials.correlation,
            "effective": trials.effective,
            "sharpe_variance": trials.variance,
            "over_time": over_time(trials),
        },
        "hurdle": found.hurdle,
        "beta": found.beta,
        "family": found.family._asdict(),
        "intervals": {
            name: None if item is None else item._asdict()
            for name, item in (("sharpe", found.sharpe), ("total_return", found.growth), ("max_drawdown", found.drawdown))
        },
        "lines": [asdict(line) for line in found.lines],
    }


def over_time(trials: Trials) -> list[Json]:
    """Return, for each day (UTC) on which something was tried, how many trials and different ones there were by its end."""
    days: dict[str, Json] = {}
    total = different = 0
    for run_id, count in trials.by_run.items():
        total, different = total + count, different + trials.fresh.get(run_id, 0)
        day = f"{run_id[:4]}-{run_id[4:6]}-{run_id[6:8]}"
        days[day] = {"day": day, "total": total, "different": different}
    return list(days.values())


def write_verdict_sheet(judged: Judged) -> Path:
    """Draw the page into the run's folder; loads the charts."""
    from peak_trade.report.verdict_sheet import verdict_html

    year = judged.result.bars.instrument.periods_per_year(judged.result.bars.timeframe.seconds)
    path = judged.folder / VERDICT_SHEET
    write_text(path, verdict_html(judged.record, judged.result, judged.yardstick, judged.trials.ratios * year**0.5))
    return path
