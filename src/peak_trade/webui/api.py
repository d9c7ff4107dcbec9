"""The JSON interface: sessions, their totals, and health; typed, and described at /openapi.json."""

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse

from peak_trade.journal.registry import stamp
from peak_trade.journal.run import RunStatus
from peak_trade.journal.session import SESSION_TYPES, Session
from peak_trade.journal.sessions import SORTABLE, SessionFilter, SessionStats
from peak_trade.model.clock import parse_moment
from peak_trade.report.session_facts import commands, whole
from peak_trade.report.session_record import registered_record
from peak_trade.webui.damage import MALFORMED, stripped
from peak_trade.webui.listing import CURSOR_MAX, NEWEST_FIRST, TEXT_MAX, Question, cursor_of
from peak_trade.webui.pages import desk_of
from peak_trade.webui.problems import MEDIA_TYPE

Mode = Literal["shadow", "testnet", "shadow_live", "live"]
Status = Literal["started", "completed", "failed", "aborted", "damaged"]
RunType = Literal[tuple(SESSION_TYPES)]  # type: ignore[valid-type]
Sort = Literal[tuple(sign + name for name in SORTABLE for sign in ("", "-"))]  # type: ignore[valid-type]
_Word = Query(max_length=TEXT_MAX)


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


class AcknowledgedBy(BaseModel):
    """Who looked at a failed session, when (ISO 8601, UTC), and what they wrote."""

    by: str
    at: str
    note: str


class LiveSessionSummary(BaseModel):
    """A session in a list; moments are ISO 8601 in UTC, money is in `quote`."""

    session_id: str
    run_id: str
    run_type: str
    mode: str
    is_live_warning: bool = Field(description="true where real money is at stake: mode live")
    env_name: str
    account: str
    symbol: str
    timeframe: str
    quote: str
    strategy: str
    tier: str
    status: str
    started_at: str
    finished_at: str | None
    duration_s: float | None
    heartbeat_at: str | None
    realized_pnl: float | None
    max_drawdown: float | None
    fees_paid: float | None
    num_orders: float | None
    num_fills: float | None
    orders_rejected: float | None
    orders_blocked_risk: float | None
    error: str | None
    notes: str
    tags: list[str]
    acknowledged: AcknowledgedBy | None
    url: str = Field(description="the session's page")


class CommandLine(BaseModel):
    """A command to copy, and what it does."""

    what: str
    command: str


class LiveSessionDetail(LiveSessionSummary):
    """Everything that the registry has of a session."""

    params: dict[str, Any]
    config_sha256: str
    code_version: str
    code_clean: bool
    versions: dict[str, str]
    dataset_sha256: str
    feed: dict[str, Any]
    metrics: dict[str, float | None]
    summary: dict[str, Any]
    cli_args: list[str]
    commands: list[CommandLine]
    host: str
    process: int
    lease_until: str | None
    continues: str | None
    journal: str
    head_seq: int | None
    head_sha256: str | None
    result_sha256: str | None


class LiveSessionList(BaseModel):
    """A page of sessions; `next_cursor` is what `cursor` must be for the page after it, null on the last one."""

    sessions: list[LiveSessionSummary]
    next_cursor: str | None
    as_of: str


class ModeStats(BaseModel):
    """The sessions of one stage; stages are never added up.

    `sums` is by quote currency and then by figure.
    """

    mode: str
    is_live_warning: bool
    total: int
    today: int
    by_status: dict[str, int]
    today_by_status: dict[str, int]
    sums: dict[str, dict[str, float]]


class LiveSessionStats(BaseModel):
    """How many sessions there are by mode and status, today (since 00:00 UTC) and in all."""

    modes: list[ModeStats]
    unhandled_failed: int
    as_of: str


class ComponentHealth(BaseModel):
    """What was looked at in one component, and what was found."""

    component: str
    healthy: bool
    checked: str
    found: str


class Health(BaseModel):
    """Whether every component is well."""

    status: Literal["ok", "failing"]
    version: str
    components: list[ComponentHealth]
    as_of: str


#: What every answer of the API may be besides what it describes.
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": words, "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}}
    for status, words in {
        400: "A value that can't be meant",
        401: "An operator's token is needed",
        403: "Not allowed from there",
        404: "No such session, version or file",
        409: "A record that is not as it was written",
        413: "The body is too large",
        421: "A host name that is not ours",
        422: "A value of the wrong kind",
        500: "Damaged data, or a fault of ours",
        503: "The registry can't be read",
    }.items()
}
router = APIRouter(prefix="/api", responses=ERRORS, tags=["sessions"])


@router.get("/live_sessions")
def live_sessions(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1_000, description="at most so many sessions")] = 50,
    mode: Mode | None = None,
    status: Status | None = None,
    strategy: Annotated[str, _Word] = "",
    symbol: Annotated[str, _Word] = "",
    tag: Annotated[str, _Word] = "",
    account: Annotated[str, _Word] = "",
    env_name: Annotated[str, _Word] = "",
    run_type: RunType | None = None,  # type: ignore[valid-type]
    text: Annotated[str, Query(max_length=TEXT_MAX, description="part of id, strategy, symbol, account, notes or error")] = "",
    since: Annotated[str, Query(max_length=40, description="begun on or after this day or moment, UTC")] = "",
    until: Annotated[str, Query(max_length=40, description="begun on or before this day, or before this moment, UTC")] = "",
    unhandled: Annotated[bool, Query(description="only failed sessions that nobody acknowledged")] = False,  # noqa: FBT002
    sort: Annotated[Sort, Query(description="a column, with a minus for the largest first")] = NEWEST_FIRST,  # type: ignore[valid-type]
    cursor: Annotated[str, Query(max_length=CURSOR_MAX, description="`next_cursor` of the page before")] = "",
) -> LiveSessionList:
    """List sessions, the newest first."""
    desk = desk_of(request)
    words = {"strategy": strategy, "symbol": symbol, "tag": tag, "account": account, "env_name": env_name, "text": text}
    question = Question.read(
        words
        | {"mode": mode or "", "status": status or "", "run_type": run_type or "", "since": since, "until": until}
        | {"unhandled": "1" if unhandled else "", "sort": str(sort)}
    )
    found = desk.sessions.page(question.filter(), limit, question.sort, Question(after=cursor).place())
    return LiveSessionList(
        sessions=[summary_of(session) for session in found.sessions],
        next_cursor=cursor_of(found.next) if found.next else None,
        as_of=stamp(desk.clock.now()),
    )


@router.get("/live_sessions/stats")
def live_session_stats(request: Request) -> LiveSessionStats:
    """Count sessions by mode and status."""
    from peak_trade.webui.home import totals

    desk = desk_of(request)
    now = desk.clock.now()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    today = desk.sessions.stats(SessionFilter(since=midnight, until=midnight + timedelta(days=1)))
    return LiveSessionStats(
        modes=mode_stats(totals(desk, request.app.state.remembered), today),
        unhandled_failed=desk.sessions.census().unhandled,
        as_of=stamp(now),
    )


@router.get("/live_sessions/{session_id}")
def live_session(request: Request, session_id: str) -> LiveSessionDetail:
    """Return one session by its id, a clear part of it, or `latest`."""
    return detail_of(desk_of(request).sessions.get(session_id))


@router.get("/health", responses={503: {"model": Health, "description": "A component is not well"}})
def health(request: Request) -> JSONResponse:
    """Look at every component, and say for each what was checked."""
    from peak_trade import __version__

    desk = desk_of(request)
    checks = desk.health()
    well = all(check.healthy for check in checks)
    told = Health(
        status="ok" if well else "failing",
        version=__version__,
        components=[ComponentHealth(**check._asdict()) for check in checks],
        as_of=stamp(desk.clock.now()),
    )
    return JSONResponse(told.model_dump(), status_code=200 if well else 503)


def mode_stats(total: SessionStats, today: SessionStats) -> list[ModeStats]:
    """Return the counts of each stage."""
    found: dict[str, ModeStats] = {}

    def of(mode: str) -> ModeStats:
        empty = ModeStats(
            mode=mode, is_live_warning=mode == "live", total=0, today=0, by_status={}, today_by_status={}, sums={}
        )
        return found.setdefault(mode, empty)

    for count in total.counts:
        told = of(count.mode)
        told.total += count.sessions
        told.by_status[count.status] = told.by_status.get(count.status, 0) + count.sessions
    for count in today.counts:
        told = of(count.mode)
        told.today += count.sessions
        told.today_by_status[count.status] = told.today_by_status.get(count.status, 0) + count.sessions
    for mode, sums in total.sums.items():
        of(mode).sums = {quote: {name: _number(value) or 0.0 for name, value in row.items()} for quote, row in sums.items()}
    return list(found.values())


def summary_of(session: Session) -> LiveSessionSummary:
    """Return a session as a list shows it."""
    return LiveSessionSummary(**_summary(session))


def detail_of(session: Session) -> LiveSessionDetail:
    """Return everything that the registry has of a session."""
    try:
        return _detail(session)
    except MALFORMED as error:
        return _detail(stripped(session, error))


def _detail(session: Session) -> LiveSessionDetail:
    run = session.run
    told = commands(whole(registered_record(session)))
    own = {
        name: value for name, value in session.to_json().items() if name in LiveSessionDetail.model_fields and name != "tags"
    }
    return LiveSessionDetail(
        **_sound(own)
        | _summary(session)
        | {
            "metrics": {name: _number(value) for name, value in run.metrics.items()},
            "versions": {str(name): str(value) for name, value in run.versions.items()},
            "commands": [CommandLine(what=what, command=command) for what, command in told],
        }
    )


def _summary(session: Session) -> dict[str, Any]:
    run = session.run
    seen = session.acknowledged
    names = (
        *("realized_pnl", "max_drawdown", "fees_paid", "num_orders", "num_fills"),
        *("orders_rejected", "orders_blocked_risk"),
    )
    return {
        "session_id": run.run_id,
        "run_id": run.run_id,
        "run_type": run.run_type,
        "mode": session.mode,
        "is_live_warning": session.mode == "live",
        "env_name": run.env_name,
        "account": session.account,
        "symbol": run.symbol,
        "timeframe": run.timeframe,
        "quote": session.quote,
        "strategy": run.strategy,
        "tier": session.tier,
        "status": run.status.value,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "duration_s": _duration(session),
        "heartbeat_at": session.heartbeat_at,
        **{name: _number(run.metrics.get(name)) for name in names},
        "error": run.error,
        "notes": session.notes,
        "tags": list(run.tags),
        "acknowledged": None if seen is None else AcknowledgedBy(by=seen.by, at=seen.at, note=seen.note),
        "url": f"/session/{run.run_id}",
    }


def _duration(session: Session) -> float | None:
    """Return the seconds that a session took; of one that died, until it was last heard of."""
    if session.run.status is RunStatus.STARTED:
        return None
    if session.run.elapsed_s is not None:
        return _number(session.run.elapsed_s)
    try:
        began = parse_moment(session.run.started_at)
        return max((parse_moment(session.heartbeat_at or "") - began).total_seconds(), 0.0)
    except ValueError:
        return None


def _number(value: Any) -> float | None:
    """Return a number that JSON has, else None."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _sound(value: Any) -> Any:
    """Return nested values without numbers that JSON does not have."""
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        return {str(name): _sound(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_sound(part) for part in value]
    return value
