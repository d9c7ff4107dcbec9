"""Opening a hold-out: once for a strategy version, written down before a bar of it is read.

Invariant: an opening is on disk before it happens, with who and why; a process that dies after that has opened it.
Invariant: a version that has seen bars of a hold-out never sees them again; others may, and every opening says how many came
before it, because a hold-out wears out with use.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from peak_trade.compose import DataChoice, Parts, dataset_facts
from peak_trade.governance.criteria import EvidenceKind, Subject
from peak_trade.journal.registry import stamp
from peak_trade.journal.run import Run, RunStatus, Trial
from peak_trade.market.dataset import Dataset
from peak_trade.model.bar import Bars
from peak_trade.model.clock import moment_text, parse_moment
from peak_trade.model.errors import DataError, InputError, SafetyRefused
from peak_trade.research.backtest import Result, run
from peak_trade.research.kernel import loop_for
from peak_trade.research.terms import Terms
from peak_trade.runs.acts import COMMAND, EVIDENCE, Act, done, held, written
from peak_trade.runs.configured import configured_params
from peak_trade.runs.record import HOLDOUT, provenance, tried_on
from peak_trade.runs.research.backtest import BacktestRequest, Finished, finished_backtest
from peak_trade.runs.research.research_data import Holdout, holdout_of
from peak_trade.runs.sessions.evidence import digits
from peak_trade.runs.strategy_version import version_of
from peak_trade.strategy.base import Strategy, checked_targets
from peak_trade.strategy.catalogue import Value, make

#: The act of opening a hold-out, and the suite that its evidence is of.
OPEN = "open_holdout"
SUITE = "holdout"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRequest:
    """Whose hold-out is opened: a strategy with the parameters given, the market, the terms, who does it and why."""

    strategy: str
    params: Mapping[str, Value]
    data: DataChoice
    terms: Terms
    by: str
    why: str
    tags: tuple[str, ...] = ()


class Opening(NamedTuple):
    """An opening as the journal of acts has it; `run_id` is empty where it did not come to a result.

    Attributes:
        start: opening of the first bar kept back; last: that of the last one there was.
        before: openings of the same bars, or some of them, before this one.
    """

    at: datetime
    by: str
    why: str
    strategy: str
    params_sha256: str
    code_sha256: str
    symbol: str
    timeframe: str
    start: datetime
    last: datetime
    before: int
    run_id: str

    def overlaps(self, symbol: str, start: datetime, last: datetime) -> bool:
        """Tell whether it showed some of these bars, in whatever timeframe."""
        return self.symbol == symbol and self.start <= last and self.last >= start


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What an opening showed: the finished run over the hold-out, and what was opened before."""

    finished: Finished
    holdout: Holdout
    before: int
    evidence: str


def openings(parts: Parts) -> list[Opening]:
    """Return all openings in their order.

    Raises:
        CheckFailed: the journal of acts is not as it was written.
    """
    return [
        _opening(act.begun.body, act.begun.at, act.end.body if act.end else {}) for act in done(parts) if act.action == OPEN
    ]


def open_holdout(parts: Parts, request: OpenRequest) -> Opened:
    """Run a strategy over a market's hold-out and write down that it was opened.

    The strategy knows the bars before as its warm-up, and begins flat.

    Raises:
        InputError: strategy, data or terms don't fit, or the market has no hold-out.
        SafetyRefused: this version has seen bars of this hold-out before.
        CheckFailed: the journal of acts is not as it was written, so nobody knows what was opened before.
        StorageError: the disk or the registry refused.
    """
    strategy = make(request.strategy, configured_params(parts, request.strategy, request.params))
    version = version_of(strategy)
    whole = parts.dataset(replace(request.data, start=None, end=None))
    kept = holdout_of(parts, whole)
    symbol = whole.bars.instrument.symbol
    if kept is None:
        raise InputError(
            f"expected a hold-out of {symbol} under [research.holdout], found none; configure one before research begins, "
            f'for example "{symbol}" = "20%"'
        )
    if kept.bars < 2 or kept.bars == len(whole.bars):
        raise DataError(
            "empty", f"expected a hold-out of at least 2 bars with bars before it, found {kept.bars}; choose another"
        )
    last = parse_moment(moment_text(int(whole.bars.timestamp[-1])))
    openings(parts)
    with held(parts):
        same = [item for item in openings(parts) if item.overlaps(symbol, kept.start, last)]
        seen = [item for item in same if (item.strategy, item.params_sha256, item.code_sha256) == _key(version)]
        if seen:
            raise SafetyRefused(
                f"expected a hold-out that this version of {strategy.key} has not seen, found it opened at "
                f"{stamp(seen[0].at)} by {seen[0].by}: {seen[0].why}; it is opened once, and its result stays: "
                f"peak-trade holdout list shows it (run {seen[0].run_id or 'without a result'})"
            )
        about = {
            "subject": msgspec.to_builtins(Subject(strategy=version, symbols=(symbol,))),
            "why": request.why,
            "symbol": symbol,
            "timeframe": kept.timeframe,
            "rule": kept.rule,
            "start": moment_text(kept.start_ns),
            "last": moment_text(int(whole.bars.timestamp[-1])),
            "bars": kept.bars,
            "dataset_sha256": whole.bars.sha256(),
            "before": len(same),
        }
        with written(parts, OPEN, request.by, COMMAND, **about) as act:
            finished = _run(parts, request, strategy, whole, kept, act)
        with written(parts, EVIDENCE, request.by, COMMAND, kind=EvidenceKind.TEST_RUN.value, subject=about["subject"]) as told:
            told.outcome["facts"] = _facts(about, finished, len(same))
    return Opened(finished=finished, holdout=kept, before=len(same), evidence=told.segment)


def over_holdout(bars: Bars, strategy: Strategy, terms: Terms, start_ns: int) -> Result:
    """Run a strategy over the bars from a moment on, with the earlier ones as its warm-up.

    Raises:
        StrategyError: its targets are wrong.
    """
    first = int(bars.timestamp.searchsorted(start_ns))
    targets = checked_targets(bars, strategy)[first:]
    part = bars[first:]
    return run(part, strategy, targets, terms, loop_for(len(part)))


def _run(parts: Parts, request: OpenRequest, strategy: Strategy, whole: Dataset, kept: Holdout, act: Act) -> Finished:
    begun = parts.clock.elapsed_s()
    sha256 = whole.bars.sha256()
    asked = BacktestRequest(strategy=request.strategy, params=request.params, data=request.data, terms=request.terms)
    planned = Run(
        run_id=parts.ids.next_run(),
        run_type=HOLDOUT,
        status=RunStatus.COMPLETED,
        strategy=strategy.key,
        symbol=kept.symbol,
        timeframe=kept.timeframe,
        params=strategy.model_dump(mode="json"),
        spec=asked.spec(strategy, whole, sha256) | {"run_type": HOLDOUT, "start": moment_text(kept.start_ns)},
        dataset_sha256=sha256,
        started_at=stamp(parts.clock.now()),
        trials=1,
        tags=request.tags,
        **provenance(parts, strategy),
    )
    result = over_holdout(whole.bars, strategy, request.terms, kept.start_ns)
    ended = replace(
        planned,
        finished_at=stamp(parts.clock.now()),
        elapsed_s=parts.clock.elapsed_s() - begun,
        metrics=result.metrics.figures(),
        result_sha256=result.sha256(),
    )
    part = whole.between(kept.start, None)
    trial = Trial(number=0, params=ended.params, metrics=result.metrics._asdict())
    parts.registry.add(ended, tried_on(part, request.terms), [trial])
    act.outcome |= {"run_id": ended.run_id, "result_sha256": ended.result_sha256}
    return finished_backtest(parts, ended, part, dataset_facts(part), result)


def _facts(about: Mapping[str, Any], finished: Finished, before: int) -> dict[str, Any]:
    """Return the facts of evidence: numbers with a point as text; what could not be computed is left out."""
    metrics = finished.result.metrics.figures()
    named = ("total_return", "sharpe", "max_drawdown", "profit_factor")
    return {
        "suite": SUITE,
        "params_sha256": about["subject"]["strategy"]["params_sha256"],
        "dataset_sha256": about["dataset_sha256"],
        "start": about["start"],
        "bars": about["bars"],
        "openings_before": before,
        "unspoiled": before == 0,
        "num_trades": int(metrics["num_trades"]),
        "run_id": finished.record["run_id"],
        **{name: digits(metrics[name]) for name in named if name in metrics},
    }


def _key(version: Any) -> tuple[str, str, str]:
    return version.key, version.params_sha256, version.code_sha256


def _opening(body: Mapping[str, Any], at: str, outcome: Mapping[str, Any]) -> Opening:
    strategy = body["subject"]["strategy"]
    return Opening(
        at=parse_moment(at),
        by=str(body["by"]),
        why=str(body["why"]),
        strategy=strategy["key"],
        params_sha256=strategy["params_sha256"],
        code_sha256=strategy["code_sha256"],
        symbol=body["symbol"],
        timeframe=body["timeframe"],
        start=parse_moment(body["start"]),
        last=parse_moment(body["last"]),
        before=int(body["before"]),
        run_id=str(outcome.get("run_id", "")),
    )
