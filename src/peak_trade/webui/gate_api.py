"""The gates for programs: the overview, one step of one version, and the archived checklists; moments are ISO 8601, UTC."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field
from starlette.requests import Request

from peak_trade.webui import gates
from peak_trade.webui.api import ERRORS

StageName = Literal["research", "shadow", "testnet", "shadow_live", "live"]
StepName = Literal["research->shadow", "shadow->testnet", "testnet->shadow-live", "shadow-live->live"]
AnswerName = Literal["pass", "fail", "inconclusive"]
_NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_VERSION = "[0-9a-f]{8}-[0-9a-f]{8}"


class GateReason(BaseModel):
    """Why the gates say no: a code, what it means, and the sentence."""

    code: str
    words: str
    meaning: str


class LackingCriterion(BaseModel):
    """A criterion that does not pass."""

    id: str
    hard: bool
    answer: AnswerName
    why: str


class NextGate(BaseModel):
    """The next step of a version: how many of its criteria pass, and those that don't."""

    step: StepName
    passed: int
    of: int
    lacking: list[LackingCriterion]


class LadderLine(BaseModel):
    """Where a version stands; `next` is null at the top, and where `trouble` says why it can't be judged."""

    strategy: str
    version: str = Field(description="eight digits each of the hashes of parameters and code")
    account: str
    symbols: list[str]
    stage: StageName
    since: str | None
    current: bool = Field(description="whether its code is that of today")
    next: NextGate | None
    trouble: str


class SignedLine(BaseModel):
    """Who has signed a request, in which role, and when the signature came in."""

    person: str
    role: str
    at: str


class WaitedFor(BaseModel):
    """A role that has yet to sign, and who could."""

    role: str
    people: list[str]


class RequestLine(BaseModel):
    """A request; `lacking` is what would keep it from passing now besides signatures that are missing."""

    id: str
    step: StepName
    strategy: str
    version: str
    account: str | None = None
    symbols: list[str] = []
    by: str
    made: str
    until: str | None
    expired: bool | None = None
    approvals: list[SignedLine]
    missing: list[str]
    waits_for: list[WaitedFor]
    lacking: list[GateReason]
    decided: AnswerName | None
    trouble: str
    file: str


class PermitLine(BaseModel):
    """A permit, or every reason why it is none; data and runs are looked at where it is used."""

    id: str
    strategy: str
    version: str
    stage: StageName
    account: str
    symbols: list[str]
    until: str | None
    good: bool
    objections: list[GateReason]


class GateEvent(BaseModel):
    """A step up or down, a decision, or a revocation; `refused` is the code of what no rule allows, and counts for nothing."""

    at: str
    strategy: str
    version: str
    account: str
    symbols: list[str]
    what: Literal["decided", "promoted", "demoted", "revoked"]
    step: str | None = None
    to: str | None = None
    passed: bool | None = None
    why: str | None = None
    id: str | None = None
    by: str | None = None
    refused: str = ""


class RefusedEvent(GateReason):
    """An event in the record that no rule allows."""

    event: GateEvent


class GateOverview(BaseModel):
    """Everything that the gates know, as of `at`; requests and history are newest first."""

    at: str
    account: str
    ladder: list[LadderLine]
    requests: list[RequestLine]
    permits: list[PermitLine]
    refused: list[RefusedEvent]
    history: list[GateEvent]


class MeasuredLine(BaseModel):
    """A measure of a criterion."""

    name: str
    found: str
    limit: str
    answer: AnswerName


class CriterionLine(LackingCriterion):
    """A criterion, what it was measured to be, and in which runs."""

    runs: list[str]
    measured: list[MeasuredLine]


class EvidenceLine(BaseModel):
    """What one run showed."""

    kind: str
    run_id: str
    at: str
    facts: dict[str, Any]


class ProgressPoint(BaseModel):
    """What a measure came to with the run that ended then."""

    at: str
    value: float


class ProgressLine(BaseModel):
    """A measure that grows with time."""

    criterion: str
    measure: str
    unit: str
    found: float
    limit: float
    points: list[ProgressPoint]


class GateStanding(BaseModel):
    """How a version stands before a step, with everything that was decided about it, the newest first."""

    at: str
    step: StepName
    strategy: str
    version: str
    account: str
    symbols: list[str]
    stage: StageName
    since: str | None
    current: bool
    deciders: list[str]
    passed: int
    criteria: list[CriterionLine]
    evidence: list[EvidenceLine]
    progress: list[ProgressLine]
    decisions: list[dict[str, Any]]


class ArchivedList(BaseModel):
    """An archived checklist; `state` is how it stands to what the journal says of it."""

    file: str
    checklist: str
    version: str
    on: str
    sha256: str
    state: Literal["as recorded", "altered", "gone", "unrecorded", "unproven"]


class GateArchive(BaseModel):
    """The archived checklists, and why they can't be held against the journal, where they can't."""

    archived: list[ArchivedList]
    trouble: str


router = APIRouter(prefix="/api/gates", responses=ERRORS, tags=["gates"])


@router.get("")
def gate_overview(request: Request) -> GateOverview:
    """Return ladder, requests, permits and history; 409 where the record of them can't be trusted."""
    return GateOverview.model_validate(gates.overview_of(request).get())


@router.get("/archive")
def gate_archive(request: Request) -> GateArchive:
    """List the archived checklists."""
    return GateArchive.model_validate(gates.archive_of(request).get())


@router.get("/{strategy}/{version}")
def gate_standing(
    request: Request,
    strategy: Annotated[str, Path(pattern=f"^{_NAME}$")],
    version: Annotated[str, Path(pattern=f"^{_VERSION}$")],
    account: Annotated[str, Query(max_length=64, description="default that of the configuration")] = "",
    step: Annotated[StepName | None, Query(description="default the next one up")] = None,
) -> GateStanding:
    """Return how a version stands before a step: criteria, evidence and progress."""
    return GateStanding.model_validate(gates.step_of(request, strategy, version, account, step or "").get())
