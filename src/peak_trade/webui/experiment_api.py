"""Runs and strategies for programs: the list, one run with what it says, and the evidence of a strategy; moments are UTC."""

import math
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field
from starlette.requests import Request

from peak_trade.journal.registry import RunFilter
from peak_trade.journal.run import Run
from peak_trade.webui.api import ERRORS
from peak_trade.webui.listing import TEXT_MAX
from peak_trade.webui.pages import desk_of
from peak_trade.webui.strategies import evidence_of

_Word = Annotated[str, Query(max_length=TEXT_MAX)]


class RunLine(BaseModel):
    """A run in a list; `metrics` are its figures by name, money in the market's quote currency."""

    run_id: str
    run_type: str
    status: str
    strategy: str
    symbol: str
    timeframe: str
    params: dict[str, Any]
    started_at: str
    finished_at: str | None
    trials: int
    tags: list[str]
    metrics: dict[str, float | None]
    url: str = Field(description="the run's page")


class RunList(BaseModel):
    """A page of runs, the newest first; `next_before` is what `before` must be for the next page, null on the last one."""

    runs: list[RunLine]
    next_before: str | None


class RunDetail(RunLine):
    """Everything that the registry has of a run, and what its report says.

    `document` is that of its folder where it still is what was registered: of a verdict, a robustness or regimes; else null.
    """

    spec: dict[str, Any]
    dataset_sha256: str
    config_sha256: str
    code_version: str
    code_clean: bool
    versions: dict[str, str]
    result_sha256: str | None
    error: str | None
    report: str | None = Field(description="address of its report, null where it has none")
    document: dict[str, Any] | None


class StrategyLine(BaseModel):
    """The newest evidence of a kind; `answer` is good, bad, open (to be read by a person) or missing."""

    kind: str
    answer: str
    words: str
    run_id: str | None
    params: dict[str, Any] | None
    params_sha256: str | None
    timeframe: str | None
    first: str | None
    last: str | None
    at: str | None
    code_same: bool | None = Field(description="whether it was made with today's code of the strategy")


class TriedDay(BaseModel):
    """How many trials there were by the end of a day, with repeats and without."""

    day: str
    total: int
    different: int


class StrategyEvidence(BaseModel):
    """What is known of a strategy on a market; the hashes are of the strategy as configured today, empty where it is not."""

    strategy: str
    symbol: str
    markets: list[str]
    params_sha256: str
    code_sha256: str
    lines: list[StrategyLine]
    tried: list[TriedDay]


router = APIRouter(prefix="/api", responses=ERRORS, tags=["runs"])


@router.get("/experiments")
def list_runs(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1_000, description="at most so many runs")] = 50,
    run_type: _Word = "",
    status: _Word = "",
    strategy: _Word = "",
    symbol: _Word = "",
    tag: _Word = "",
    before: Annotated[str, Query(max_length=TEXT_MAX, description="`next_before` of the page before")] = "",
) -> RunList:
    """List runs of every type, the newest first."""
    where = RunFilter(
        run_type=run_type or None, status=status or None, strategy=strategy or None, symbol=symbol or None, tag=tag or None
    )
    found = desk_of(request).registry.find(where, limit + 1, before=before or None)
    more = len(found) > limit
    return RunList(runs=[RunLine(**_line(run)) for run in found[:limit]], next_before=found[limit - 1].run_id if more else None)


@router.get("/experiments/{run_id}")
def one_run(request: Request, run_id: Annotated[str, Path(max_length=TEXT_MAX)]) -> RunDetail:
    """Return one run by its id, a clear part of it, or `latest`."""
    desk = desk_of(request)
    run = desk.registry.get(run_id)
    names = ("dataset_sha256", "config_sha256", "code_version", "code_clean", "result_sha256", "error")
    return RunDetail(
        **_line(run),
        **{name: getattr(run, name) for name in names},
        spec=dict(run.spec),
        versions={str(name): str(value) for name, value in run.versions.items()},
        report=f"/experiments/{run.run_id}/report" if desk.research.reported(run) else None,
        document=desk.research.record(run),
    )


@router.get("/strategies/{name}")
def strategy_evidence(
    request: Request, name: Annotated[str, Path(max_length=TEXT_MAX)], symbol: _Word = ""
) -> StrategyEvidence:
    """Return the newest evidence of each kind of a strategy, and its trials over time."""
    return StrategyEvidence(**evidence_of(request, name, symbol))


def _line(run: Run) -> dict[str, Any]:
    names = ("run_id", "run_type", "strategy", "symbol", "timeframe", "started_at", "finished_at", "trials")
    return {name: getattr(run, name) for name in names} | {
        "status": run.status.value,
        "params": dict(run.params),
        "tags": list(run.tags),
        "metrics": {
            name: float(value) if isinstance(value, int | float) and math.isfinite(value) else None
            for name, value in run.metrics.items()
        },
        "url": f"/experiments/{run.run_id}",
    }
