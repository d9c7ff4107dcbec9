"""Safety for programs: what holds and watches, incidents, drills and runbooks; moments are ISO 8601, UTC, ages in seconds."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field
from starlette.requests import Request

from peak_trade.webui import safety
from peak_trade.webui.api import ERRORS

LevelName = Literal["no-new", "reduce-only", "cancel-all", "flatten"]
GravityName = Literal["low", "medium", "high", "critical"]


class SwitchState(BaseModel):
    """Since when, by whom and why the kill switch is on, and how far it goes."""

    at: str
    by: str
    why: str
    level: LevelName


class LockState(BaseModel):
    """A lock, and why it is closed or open."""

    name: str
    closed: bool
    reasons: list[str]


class HeldLine(BaseModel):
    """What holds an account; `readable` is false where its file can't be read, which counts as a pause."""

    account: str
    at: str
    by: str
    why: str
    kind: Literal["restrict", "pause", "close"]
    code: str
    strategies: list[str] = Field(description="by key; none for all")
    keys: list[str] = Field(description="short names of the API keys that the account trades with; none in the shadow")
    reaches: list[str] = Field(description="other accounts that trade with one of these keys, and are held with it")
    readable: bool


class FiringLine(BaseModel):
    """What stopped or restricted a session: into which mode, and the numbers that were seen."""

    code: str
    at: str
    mode: str
    words: str
    evidence: dict[str, str]


class SessionFiring(FiringLine):
    """The same, with the session."""

    session_id: str


class TriggerLine(BaseModel):
    """A pause trigger: what it demands, its thresholds with the unit at the end of each name, and its last firings."""

    code: str
    demands: str
    limits: dict[str, str]
    last: list[SessionFiring]


class TimerLine(BaseModel):
    """Whether a session keeps a dead-man timer at an exchange, and when it last stopped opening positions because of that."""

    kept: bool
    last: FiringLine | None


class WatchedSession(BaseModel):
    """A running session: its signs of life, its state by its own journal, and what stopped it so far."""

    session_id: str
    mode: str
    strategy: str | None
    symbol: str | None
    account: str
    host: str | None
    process: int | None
    heartbeat_age_s: float | None
    lease_left_s: float | None
    last_record_age_s: float | None
    state: str | None
    retired: list[str]
    wants: list[str]
    firings: list[FiringLine]
    unread: str
    dead_man: TimerLine


class SupervisorState(BaseModel):
    """Whether a supervisor is at work, why nobody may rely on it, what it saw, and what it did last."""

    at_work: bool
    required: bool
    trouble: str | None
    process: int | None
    host: str | None
    since: str | None
    sign_at: str | None
    sign_age_s: float | None
    seen_at: Any
    sessions: list[dict[str, Any]]
    alarms: list[dict[str, Any]]
    not_seen: list[str]
    deeds: list[str]
    registry: Any


class JobLine(BaseModel):
    """A job of the scheduler by its record."""

    job: str
    running: bool
    last: str | None
    failures: int = Field(description="runs in a row that did not complete")
    missed: int


class SchedulerState(BaseModel):
    """Whether a scheduler runs, and its jobs."""

    at_work: bool
    process: int | None
    jobs: list[JobLine]


class BackupState(BaseModel):
    """The newest archive in the folder of backups; its bytes are proven by `peak-trade backup verify`."""

    archive: str | None
    at: str | None
    age_s: float | None
    archives: int


class SafetyOverview(BaseModel):
    """Everything that keeps orders back and everything that watches, as of `at`; `wants` is what a person should look at."""

    at: str
    kill_switch: SwitchState | None
    locks: list[LockState]
    wants: list[str]
    holds: list[HeldLine]
    triggers: list[TriggerLine]
    sessions: list[WatchedSession]
    watch_closely: dict[str, str]
    supervisor: SupervisorState
    scheduler: SchedulerState | None
    backup: BackupState | None
    troubles: list[str]


class IncidentSummary(BaseModel):
    """An incident, with its cause and what follows from it where it is closed."""

    id: str
    key: str
    severity: GravityName
    open: bool
    title: str
    why: str
    by: str
    opened_at: str
    session_id: str | None
    closed_at: str | None
    closed_by: str | None
    cause: str | None
    follow_up: str | None


class IncidentLine(IncidentSummary):
    """An incident in the list, with how many notes there are."""

    notes: int


class IncidentList(BaseModel):
    """Every incident, the open ones first."""

    at: str
    incidents: list[IncidentLine]


class NoteLine(BaseModel):
    """What somebody added."""

    at: str
    by: str
    words: str


class TimelineEntry(BaseModel):
    """What happened around an incident, by a session's journal or by that of acts."""

    at: str
    source: Literal["session", "act"]
    what: str
    words: str


class IncidentFacts(IncidentSummary):
    """An incident with its timeline; `left_out` is how many entries further away in time there are."""

    notes: list[NoteLine]
    timeline: list[TimelineEntry]
    left_out: int
    remarks: list[str]


class DrillLine(BaseModel):
    """How a drill stands that a step of the ladder asks for; `about` is the strategy version, empty for all."""

    drill: str
    step: str
    about: str
    last: str | None
    passed: bool | None
    max_age_days: float
    until: str | None
    standing: Literal["never", "expired", "failed", "current"]
    command: str


class DrillList(BaseModel):
    """Every drill that the policy asks for."""

    at: str
    drills: list[DrillLine]


class RunbookDrill(BaseModel):
    """A drill that a runbook names, and when it passed last."""

    drill: str
    command: str
    passed: str | None


class RunbookLine(BaseModel):
    """A runbook."""

    name: str
    title: str
    drills: list[RunbookDrill]


class RunbookList(BaseModel):
    """The runbooks; `trouble` is why nobody can tell when drills passed."""

    runbooks: list[RunbookLine]
    trouble: str


class RunbookText(RunbookLine):
    """A runbook with its text, Markdown."""

    text: str
    trouble: str


router = APIRouter(prefix="/api", responses=ERRORS, tags=["safety"])


@router.get("/safety")
def safety_overview(request: Request) -> SafetyOverview:
    """Return kill switch, locks, holds, triggers, running sessions, supervisor, scheduler and backup."""
    return SafetyOverview.model_validate(safety.overview_of(request).get())


@router.get("/incidents")
def incident_list(request: Request) -> IncidentList:
    """List the incidents; 409 where the record of them can't be trusted."""
    return IncidentList.model_validate(safety.incidents_of(request).get())


@router.get("/incidents/{name}")
def incident_facts(request: Request, name: Annotated[str, Path(pattern="^[A-Za-z0-9-]{1,64}$")]) -> IncidentFacts:
    """Return an incident with its timeline."""
    return IncidentFacts.model_validate(safety.incident_of(request, name).get())


@router.get("/drills")
def drill_list(request: Request) -> DrillList:
    """List the drills that the policy asks for, with how they stand."""
    return DrillList.model_validate(safety.drills_of(request).get())


@router.get("/runbooks")
def runbook_list(request: Request) -> RunbookList:
    """List the runbooks."""
    return RunbookList.model_validate(safety.runbooks_of(request).get())


@router.get("/runbooks/{name}")
def runbook_text(request: Request, name: Annotated[str, Path(pattern="^[a-z][a-z0-9_]{0,63}$")]) -> RunbookText:
    """Return a runbook."""
    return RunbookText.model_validate(safety.runbook_of(request, name).get())
