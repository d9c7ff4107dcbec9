"""Doing a registered run again: to prove that it comes out the same, or to write its report anew."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from peak_trade.compose import Code, Parts, code_in_use, dataset_facts
from peak_trade.journal.run import Run, RunStatus, plain_json, sha256_of
from peak_trade.journal.session import SESSION_TYPES
from peak_trade.market.dataset import Dataset
from peak_trade.model.clock import nanoseconds, parse_moment
from peak_trade.model.errors import CheckFailed
from peak_trade.research.backtest import Result, backtest
from peak_trade.research.executors import Workers, core_count
from peak_trade.research.metrics import Metrics
from peak_trade.research.sweep import Evaluator, sweep
from peak_trade.research.terms import Terms
from peak_trade.runs.record import (
    BACKTEST,
    COMBINATORIAL,
    HOLDOUT,
    PORTFOLIO,
    SWEEP,
    VERDICT,
    WALK_FORWARD,
    Json,
    damaged,
    inputs_again,
    seal_of,
    versions_of,
)
from peak_trade.runs.research.backtest import TEAR_SHEET, finished_backtest, write_tear_sheet
from peak_trade.runs.research.combinatorial import (
    FAN_SHEET,
    fan_again,
    fan_figures,
    fan_sha256,
    finished_fan,
    write_fan_sheet,
)
from peak_trade.runs.research.grid_runs import stored_plan
from peak_trade.runs.research.holdout import over_holdout
from peak_trade.runs.research.portfolio import (
    finished_portfolio,
    mixed_versions,
    recorded_mixture,
    write_portfolio_sheet,
)
from peak_trade.runs.research.regimes import (
    REGIME_SHEET,
    REGIMES,
    finished_regimes,
    regimes_again,
    told_regimes,
    write_regime_sheet,
)
from peak_trade.runs.research.robustness import (
    ROBUSTNESS,
    ROBUSTNESS_SHEET,
    finished_robustness,
    stress_figures,
    stressed_again,
    told_stress,
    write_robustness_sheet,
)
from peak_trade.runs.research.sweep import SWEEP_SHEET, best_of, finished_sweep, write_sweep_sheet
from peak_trade.runs.research.verdict import (
    VERDICT_SHEET,
    finished_verdict,
    ledger_since,
    weighed_again,
    write_verdict_sheet,
)
from peak_trade.runs.research.walk_forward import (
    WALK_SHEET,
    finished_walk,
    walk_again,
    walk_figures,
    walk_sha256,
    write_walk_sheet,
)
from peak_trade.runs.sessions.again import remake_session
from peak_trade.strategy.catalogue import make

#: A figure's name, its value then and its value now.
Difference = tuple[str, object, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Redone:
    """A run done again.

    Attributes:
        differences: name, then, now. remake: writes the run's folder from it and returns the page.
        result: of a run of one backtest, else None. dataset: what its facts are about, None for all bars that were read.
        notes: what else a reader must know, one sentence each.
    """

    differences: list[Difference]
    remake: Callable[[], Path]
    result: Result | None = None
    dataset: Dataset | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """How a run compares with itself done again; `differences` holds name, then, now.

    `result` is the backtest done again, None for what is more than one; of a portfolio, `dataset` is that of its first
    market, and `data_same` tells of all. `notes` say what a reader must know besides.
    """

    run: Run
    dataset: Dataset
    terms: Terms
    result: Result | None
    code_now: Code
    versions_now: dict[str, str]
    data_same: bool
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    remake: Callable[[], Path]

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
    if run.run_type in SESSION_TYPES:
        raise CheckFailed(
            f"expected a run of research, found the session {run.run_id}; "
            f"peak-trade session replay {run.run_id} decides it again"
        )
    known = (*AGAIN, PORTFOLIO)
    if run.status is not RunStatus.COMPLETED or run.run_type not in known:
        raise CheckFailed(
            f"expected a completed run of one of {', '.join(known)}, found the {run.run_type} {run.run_id} {run.status.value}; "
            f"{run.error or 'choose another run'}"
        )
    if run.run_type == PORTFOLIO:
        return _portfolio(parts, run)
    dataset, terms = inputs_again(parts, run)
    try:
        versions_now = _versions_now(parts, run)
    except (KeyError, TypeError, ValueError, ArithmeticError, IndexError) as error:
        raise damaged(run, error) from error
    data_same = dataset.bars.sha256() == run.dataset_sha256
    found = AGAIN[run.run_type](parts, run, dataset, terms)
    return Reproduction(
        run=run,
        dataset=found.dataset or dataset,
        terms=terms,
        result=found.result,
        code_now=code_in_use(),
        versions_now=versions_now,
        data_same=data_same,
        differences=tuple(found.differences),
        notes=found.notes,
        remake=found.remake,
    )


def _portfolio(parts: Parts, run: Run) -> Reproduction:
    """Do a portfolio again, and each of its legs alone."""
    try:
        mixture = recorded_mixture(parts, run)
    except (KeyError, TypeError, ValueError, ArithmeticError, IndexError) as error:
        raise damaged(run, error) from error
    result, alone, stored = mixture.result(), mixture.alone(), parts.registry.trials(run.run_id)
    differences = figures_apart(run, result.metrics.figures(), "fills and equity (sha256)", result.sha256())
    if len(stored) != len(alone):
        differences.append(("number of trials", len(stored), len(alone)))
    for name, (_, _, then), one in zip(mixture.names, stored, alone, strict=False):
        if then != (now := plain_json(one.metrics._asdict())):
            differences.append((f"{name} alone", then, now))
    return Reproduction(
        run=run,
        dataset=mixture.datasets[0],
        terms=mixture.terms,
        result=None,
        code_now=code_in_use(),
        versions_now=mixed_versions(mixture),
        data_same=mixture.dataset_sha256() == run.dataset_sha256,
        differences=tuple(differences),
        notes=(),
        remake=lambda: write_portfolio_sheet(finished_portfolio(parts, run, mixture, result, alone)),
    )


def remake_report(parts: Parts, run_id: str) -> Path:
    """Do a run of research or a session again, check that it is the same, and write its folder anew.

    Raises:
        CheckFailed: it does not come out the same.
    """
    if (known := parts.registry.get(run_id)).run_type in SESSION_TYPES:
        return remake_session(parts, known.run_id)
    again = reproduce(parts, run_id)
    if not again.identical:
        raise CheckFailed(
            f"expected run {again.run.run_id} to come out the same, found differences; "
            f"peak-trade reproduce {again.run.run_id} lists them"
        )
    return again.remake()


def _versions_now(parts: Parts, run: Run) -> dict[str, str]:
    searched = run.run_type in (SWEEP, WALK_FORWARD, COMBINATORIAL)
    params = json.loads(parts.registry.trials(run.run_id)[0][1]) if searched else run.params
    return versions_of(make(run.strategy, params))


def _backtest(parts: Parts, run: Run, dataset: Dataset, terms: Terms) -> Redone:
    return _of_result(parts, run, dataset, backtest(dataset.bars, make(run.strategy, run.params), terms))


def _holdout(parts: Parts, run: Run, dataset: Dataset, terms: Terms) -> Redone:
    start = parse_moment(run.spec["start"])
    result = over_holdout(dataset.bars, make(run.strategy, run.params), terms, nanoseconds(start))
    return _of_result(parts, run, dataset.between(start, None), result)


def _of_result(parts: Parts, run: Run, dataset: Dataset, result: Result) -> Redone:
    def remake() -> Path:
        return write_tear_sheet(finished_backtest(parts, run, dataset, dataset_facts(dataset), result))

    found = figures_apart(run, result.metrics.figures(), "fills and equity (sha256)", result.sha256())
    return Redone(differences=found, remake=remake, result=result, dataset=dataset)


def figures_apart(run: Run, now: Mapping[str, float], hashed: str, sha256: str | None) -> list[Difference]:
    """Return the figures of a registered run that differ from those of now, and its result's hash where that does.

    Args:
        hashed: what the hash is over, in words.
    """
    then = dict(run.metrics)
    names = dict.fromkeys([*then, *now])
    found: list[Difference] = [(name, then.get(name), now.get(name)) for name in names if then.get(name) != now.get(name)]
    return found + ([(hashed, run.result_sha256, sha256)] if run.result_sha256 != sha256 else [])


def _walk(parts: Parts, run: Run, dataset: Dataset, terms: Terms) -> Redone:
    route, journey = walk_again(run, dataset, terms)
    now = walk_figures(journey, run.spec["metric"])
    found = figures_apart(run, now, "choices, fills and equity (sha256)", walk_sha256(journey))
    return Redone(differences=found, remake=lambda: write_walk_sheet(finished_walk(parts, run, route, journey)))


def _fan(parts: Parts, run: Run, dataset: Dataset, terms: Terms) -> Redone:
    cut, fan = fan_again(run, dataset, terms)
    now = fan_figures(fan, run.spec["metric"])
    found = figures_apart(run, now, "choices, fills and equity (sha256)", fan_sha256(fan))
    return Redone(differences=found, remake=lambda: write_fan_sheet(finished_fan(parts, run, cut, fan)))


def _sweep(parts: Parts, run: Run, dataset: Dataset, terms: Terms) -> Redone:
    evaluator = Evaluator(dataset.bars, run.strategy, terms)
    stored = parts.registry.trials(run.run_id)
    rows = [(json.loads(params), json.loads(figures)) for _, params, figures in stored]
    found: list[Difference] = []
    if len(stored) != run.trials:
        found.append(("number of trials", run.trials, len(stored)))
    if sha256_of(rows) != run.result_sha256:
        found.append(("stored trials (sha256)", run.result_sha256, sha256_of(rows)))
    best = best_of(rows, run.spec["metric"])
    if run.metrics != best:
        found.append(("best", dict(run.metrics), best))
    work = [(number, params) for (number, _, _), (params, _) in zip(stored, rows, strict=True)]
    now: dict[int, Metrics] = {}
    for piece in sweep(evaluator, work, workers=Workers.THREADS, count=core_count()):
        now |= dict(piece)
    for number, _, figures in stored:
        if figures != (again := plain_json(now[number]._asdict())):
            found.append((f"trial {number}", figures, again))
    return Redone(
        differences=found,
        remake=lambda: write_sweep_sheet(finished_sweep(parts, run, stored_plan(run), terms, dataset)),
    )


def _verdict(parts: Parts, run: Run, dataset: Dataset, terms: Terms) -> Redone:
    weighed = weighed_again(parts, run, dataset, terms)
    found = figures_apart(run, weighed.figures(), "answer, fills and equity (sha256)", seal_of(weighed.told()))
    return Redone(
        differences=found,
        remake=lambda: write_verdict_sheet(finished_verdict(parts, run, weighed)),
        notes=tuple(ledger_since(parts, run, dataset)),
    )


def _robustness(parts: Parts, run: Run, dataset: Dataset, terms: Terms) -> Redone:
    stressed, result = stressed_again(run, dataset, terms)
    told = seal_of(told_stress(stressed, result))
    return Redone(
        differences=figures_apart(run, stress_figures(stressed), "answer, fills and equity (sha256)", told),
        remake=lambda: write_robustness_sheet(finished_robustness(parts, run, dataset, stressed, result)),
    )


def _regimes(parts: Parts, run: Run, dataset: Dataset, terms: Terms) -> Redone:
    known, result = regimes_again(run, dataset, terms)
    told = seal_of(told_regimes(known, result))
    return Redone(
        differences=figures_apart(run, result.metrics.figures(), "regimes, fills and equity (sha256)", told),
        remake=lambda: write_regime_sheet(finished_regimes(parts, run, dataset, known, result)),
    )


#: How each kind of run is done again; what is not here can't be.
AGAIN: dict[str, Callable[[Parts, Run, Dataset, Terms], Redone]] = {
    BACKTEST: _backtest,
    SWEEP: _sweep,
    WALK_FORWARD: _walk,
    COMBINATORIAL: _fan,
    HOLDOUT: _holdout,
    VERDICT: _verdict,
    ROBUSTNESS: _robustness,
    REGIMES: _regimes,
}
#: The file of a run's folder that a browser opens; that of another kind of run is called as a backtest's.
SHEETS = {
    BACKTEST: TEAR_SHEET,
    SWEEP: SWEEP_SHEET,
    WALK_FORWARD: WALK_SHEET,
    COMBINATORIAL: FAN_SHEET,
    HOLDOUT: TEAR_SHEET,
    VERDICT: VERDICT_SHEET,
    ROBUSTNESS: ROBUSTNESS_SHEET,
    REGIMES: REGIME_SHEET,
}


def sheet_path(parts: Parts, run: Run) -> Path:
    """Return where a run's page lies, or would."""
    return parts.reports / run.run_id / SHEETS.get(run.run_type, TEAR_SHEET)


def record_of(parts: Parts, run: Run) -> Json | None:
    """Return the JSON document in a run's folder if it still says what was registered, else None.

    What is said of a verdict, a robustness or regimes is hashed into the run's result; the others' is the registry's alone.
    """
    try:
        found = json.loads((parts.reports / run.run_id / "run.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or run.result_sha256 is None or seal_of(found) != run.result_sha256:
        return None
    return found
