"""Doing a registered run again: to prove that it comes out the same, or to write its report anew."""

import json
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
from peak_trade.runs.record import BACKTEST, COMBINATORIAL, HOLDOUT, SWEEP, WALK_FORWARD, recorded_inputs, versions_of
from peak_trade.runs.research.backtest import finished_backtest, write_tear_sheet
from peak_trade.runs.research.combinatorial import fan_again, fan_figures, fan_sha256, finished_fan, write_fan_sheet
from peak_trade.runs.research.grid_runs import stored_plan
from peak_trade.runs.research.holdout import over_holdout
from peak_trade.runs.research.sweep import best_of, finished_sweep, write_sweep_sheet
from peak_trade.runs.research.walk_forward import finished_walk, walk_again, walk_figures, walk_sha256, write_walk_sheet
from peak_trade.runs.sessions.again import remake_session
from peak_trade.strategy.catalogue import make

#: A figure's name, its value then and its value now.
Difference = tuple[str, object, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """How a run compares with itself done again; `differences` holds name, then, now.

    `result` is the backtest done again, None for a sweep or walk-forward.
    """

    run: Run
    dataset: Dataset
    terms: Terms
    result: Result | None
    code_now: Code
    versions_now: dict[str, str]
    data_same: bool
    differences: tuple[Difference, ...]

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
            f"expected a backtest, sweep or walk-forward, found the session {run.run_id}; "
            f"peak-trade session replay {run.run_id} decides it again"
        )
    if run.status is not RunStatus.COMPLETED or run.run_type not in (BACKTEST, HOLDOUT, SWEEP, WALK_FORWARD, COMBINATORIAL):
        raise CheckFailed(
            f"expected a completed backtest, sweep or walk-forward, found the {run.run_type} {run.run_id} {run.status.value}; "
            f"{run.error or 'choose another run'}"
        )
    try:
        dataset, terms = recorded_inputs(parts, run)
        versions_now = _versions_now(parts, run)
    except (KeyError, TypeError, ValueError, ArithmeticError, IndexError) as error:
        raise CheckFailed(
            f"expected a specification that can be done again for run {run.run_id}, found a damaged one "
            f"({type(error).__name__}: {error}); restore the registry"
        ) from error
    data_same = dataset.bars.sha256() == run.dataset_sha256
    result = None
    if run.run_type == BACKTEST:
        result = backtest(dataset.bars, make(run.strategy, run.params), terms)
        differences = _compare_backtest(run, result)
    elif run.run_type == HOLDOUT:
        start = parse_moment(run.spec["start"])
        result = over_holdout(dataset.bars, make(run.strategy, run.params), terms, nanoseconds(start))
        dataset = dataset.between(start, None)
        differences = _compare_backtest(run, result)
    elif run.run_type in (WALK_FORWARD, COMBINATORIAL):
        differences = _compare_walk(run, dataset, terms)
    else:
        differences = _compare_sweep(parts, run, dataset, terms)
    return Reproduction(
        run=run,
        dataset=dataset,
        terms=terms,
        result=result,
        code_now=code_in_use(),
        versions_now=versions_now,
        data_same=data_same,
        differences=tuple(differences),
    )


def _versions_now(parts: Parts, run: Run) -> dict[str, str]:
    params = run.params if run.run_type in (BACKTEST, HOLDOUT) else json.loads(parts.registry.trials(run.run_id)[0][1])
    return versions_of(make(run.strategy, params))


def _compare_backtest(run: Run, result: Result) -> list[Difference]:
    then, now = dict(run.metrics), result.metrics.figures()
    names = [*then, *(name for name in now if name not in then)]
    found: list[Difference] = [(name, then.get(name), now.get(name)) for name in names if then.get(name) != now.get(name)]
    if run.result_sha256 != result.sha256():
        found.append(("fills and equity (sha256)", run.result_sha256, result.sha256()))
    return found


def _compare_walk(run: Run, dataset: Dataset, terms: Terms) -> list[Difference]:
    metric = run.spec["metric"]
    if run.run_type == COMBINATORIAL:
        _, fan = fan_again(run, dataset, terms)
        now, again = fan_figures(fan, metric), fan_sha256(fan)
    else:
        _, journey = walk_again(run, dataset, terms)
        now, again = walk_figures(journey, metric), walk_sha256(journey)
    then = dict(run.metrics)
    names = dict.fromkeys([*then, *now])
    found: list[Difference] = [(name, then.get(name), now.get(name)) for name in names if then.get(name) != now.get(name)]
    if again != run.result_sha256:
        found.append(("choices, fills and equity (sha256)", run.result_sha256, again))
    return found


def _compare_sweep(parts: Parts, run: Run, dataset: Dataset, terms: Terms) -> list[Difference]:
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
    return found + [
        (f"trial {number}", figures, plain_json(now[number]._asdict()))
        for number, _, figures in stored
        if figures != plain_json(now[number]._asdict())
    ]


def remake_report(parts: Parts, run_id: str) -> Path:
    """Do a backtest, sweep, walk-forward or session again, check that it is the same, and write its folder anew.

    Raises:
        CheckFailed: it does not come out the same.
    """
    if (known := parts.registry.get(run_id)).run_type in SESSION_TYPES:
        return remake_session(parts, known.run_id)
    again = reproduce(parts, run_id)
    run, dataset = again.run, again.dataset
    if not again.identical:
        raise CheckFailed(
            f"expected run {run.run_id} to come out the same, found differences; peak-trade reproduce {run.run_id} lists them"
        )
    if run.run_type == WALK_FORWARD:
        return write_walk_sheet(finished_walk(parts, run, *walk_again(run, dataset, again.terms)))
    if run.run_type == COMBINATORIAL:
        return write_fan_sheet(finished_fan(parts, run, *fan_again(run, dataset, again.terms)))
    if again.result is None:
        return write_sweep_sheet(finished_sweep(parts, run, stored_plan(run), again.terms, dataset))
    return write_tear_sheet(finished_backtest(parts, run, dataset, dataset_facts(dataset), again.result))
