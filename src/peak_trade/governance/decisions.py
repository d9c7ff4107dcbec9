"""The gate's decision: everything that was asked for, judged at once, as a document that can be made again.

Invariant: a `GateDecision` is made here and nowhere else; it passes only if nothing it rests on has changed, every criterion
passes or is deviated from as the policy lets anyone, and different people approved in every role that decides.
Invariant: criteria are judged as of the moment the request was made, in the evidence it names: what people signed does not
age while others sign. What blocks is looked at once more when the decision is made.
Invariant: the same request, signatures, evidence, roles, policy and moment give the same document, byte for byte.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

import msgspec

from peak_trade.governance.approvals import Approvals, Signature, approve, can_decide
from peak_trade.governance.criteria import Answer, Evidence, Ruling, evaluate
from peak_trade.governance.deviations import Case, SignedDeviation, deviate
from peak_trade.governance.documents import Moment, Name, Sha256, Written, digest, encode
from peak_trade.governance.ladder import Assignment, Decided, Ladder, Rung
from peak_trade.governance.objections import Objection
from peak_trade.governance.policy import AGAIN, ROLES_NAMED, Policy
from peak_trade.governance.requests import Hashes, Promotion, age_trouble, compare, read_request
from peak_trade.governance.roles import Role, Roles
from peak_trade.model.errors import InvariantBroken

_STAMP = object()
#: Objections to approvals that keep the decision open; the others say why a signature did not count.
_OPEN = frozenset({"approvals_missing", "unknown_requester"})


class Dossier(NamedTuple):
    """All that a decision rests on: the request's bytes, who signed them, the evidence it names, and its deviations."""

    request: bytes
    signatures: Sequence[Signature]
    evidence: Sequence[Evidence]
    deviations: Sequence[SignedDeviation] = ()


class ApprovalLine(Written, frozen=True, kw_only=True):
    """An approval, as the decision keeps it."""

    person: Name
    role: Role
    fingerprint: str
    signature: Sha256
    received_at: Moment


class ObjectionLine(Written, frozen=True, kw_only=True):
    """A reason, as the decision keeps it."""

    code: str
    words: str


class DecisionDocument(Written, frozen=True, kw_only=True):
    """What was decided.

    Attributes:
        good_until: the end of the first deviation to end, where it rests on any.
        objections: what is in the way besides the rulings.
    """

    format: Literal["peak-trade-decision-1"] = "peak-trade-decision-1"
    request: Sha256
    policy: Sha256
    transition: Rung
    decided_at: Moment
    good_until: Moment | None
    answer: Answer
    rulings: tuple[Ruling, ...]
    approvals: tuple[ApprovalLine, ...]
    objections: tuple[ObjectionLine, ...]


class GateDecision:
    """A decision of the gate; nothing else can be granted a permit."""

    __slots__ = ("content", "document", "notes", "request")

    content: bytes
    document: DecisionDocument
    request: Promotion
    #: What did not count and did no harm, such as a second key of a person. Not in the document, so that a file that
    #: somebody lays beside the signatures later does not make another decision of it.
    notes: tuple[Objection, ...]

    def __init__(self, document: DecisionDocument, request: Promotion, notes: tuple[Objection, ...], stamp: object) -> None:
        if stamp is not _STAMP:
            raise InvariantBroken("only the gate decides")
        object.__setattr__(self, "document", document)
        object.__setattr__(self, "request", request)
        object.__setattr__(self, "notes", notes)
        object.__setattr__(self, "content", encode(document))

    def __init_subclass__(cls) -> None:
        raise InvariantBroken(f"a decision has no other kinds, {cls.__name__} was to become one")

    def __setattr__(self, name: str, value: object) -> None:
        raise InvariantBroken(f"a decision can't be changed; {name} was to become {value!r}")

    @property
    def answer(self) -> Answer:
        """Pass, fail or inconclusive."""
        return self.document.answer

    @property
    def sha256(self) -> str:
        """The hash of its document."""
        return digest(self.content)

    @property
    def event(self) -> Decided:
        """What the ladder records of it."""
        document = self.document
        passed = document.answer is Answer.PASS
        return Decided(document.decided_at, self.request.assignment, document.transition, self.sha256, passed)

    def reasons(self) -> tuple[Objection, ...]:
        """Return why it does not pass, and what did not count."""
        codes = {Answer.FAIL: "criterion_failed", Answer.INCONCLUSIVE: "criterion_inconclusive"}
        ruled = [
            Objection(codes[ruling.answer], f"{ruling.criterion}: {ruling.why}")
            for ruling in self.document.rulings
            if ruling.answer is not Answer.PASS
        ]
        return (*(Objection(line.code, line.words) for line in self.document.objections), *ruled, *self.notes)


def decide(
    dossier: Dossier,
    roles: Roles,
    policy: Policy,
    *,
    at: datetime,
    present: Hashes,
    ladder: Ladder,
    today: Sequence[Evidence],
) -> GateDecision:
    """Decide about a request.

    Args:
        at: now.
        present: the hashes of everything the request is bound to, as it is now.
        ladder: where everything stands.
        today: what is known now of what blocks (`AGAIN`), bound to no request: a bug that was found since, an incident.

    Raises:
        Objected: `malformed`: the request is none.
    """
    request = read_request(dossier.request)
    stands = _standing(request.assignment, request.transition, ladder, at)
    again = [
        evaluate(criterion, today, request, at) for criterion in policy.criteria[request.transition] if criterion.id in AGAIN
    ]
    turned = [
        msgspec.structs.replace(ruling, criterion=f"{ruling.criterion} now")
        for ruling in again
        if ruling.answer is not Answer.PASS
    ]
    return judge(dossier, roles, policy, at=at, seen_at=at, blocking=(*compare(request, present), *stands), turned=turned)


def judge(
    dossier: Dossier,
    roles: Roles,
    policy: Policy,
    *,
    at: datetime,
    seen_at: datetime,
    blocking: Sequence[Objection] = (),
    turned: Sequence[Ruling] = (),
) -> GateDecision:
    """Decide from the dossier alone, besides what is known to be in the way: the part that can be done again later.

    Args:
        at: the moment of the decision.
        seen_at: the moment up to which revocations are known.
        blocking, turned: what else is in the way; a decision that passes has none of it, and can be made without.

    Raises:
        Objected: `malformed`: the request is none.
    """
    request = read_request(dossier.request)
    evidence, counted, unbound = _bound(request, dossier.evidence)
    known = [*blocking, *_age(request, policy, at), *evidence]
    rulings = [roles_named(request, roles, at)]
    rulings += [evaluate(item, counted, request, request.created_at) for item in policy.criteria[request.transition]]
    deviated = deviate(rulings, dossier.deviations, Case(request, policy, roles, counted, at, seen_at))
    rulings = [*deviated.rulings, *turned]
    approvals = approve(dossier.request, request, dossier.signatures, roles, policy, at=at, seen_at=seen_at)
    in_the_way = [*known, *deviated.objections]
    missing = [item for item in approvals.objections if item.code in _OPEN]
    if not approvals.asked:
        # Else somebody could ask in another's name, and approve what they asked for.
        words = f"{request.requester} is said to ask and has not signed: it can't be said who must not count"
        missing.append(Objection("unasked", words))
    # That who asks has signed is as it should be.
    told = [item for item in approvals.objections if item.code not in (*_OPEN, "requester")]
    notes = [*unbound, *told]
    document = DecisionDocument(
        request=digest(dossier.request),
        policy=policy.sha256,
        transition=request.transition,
        decided_at=at,
        good_until=deviated.until,
        answer=_answer(in_the_way, rulings, approvals),
        rulings=tuple(rulings),
        approvals=tuple(ApprovalLine(**item._asdict()) for item in approvals.approvals),
        objections=tuple(ObjectionLine(**item._asdict()) for item in (*in_the_way, *missing)),
    )
    return GateDecision(document, request, tuple(notes), _STAMP)


def _answer(in_the_way: Sequence[Objection], rulings: Iterable[Ruling], approvals: Approvals) -> Answer:
    answers = {ruling.answer for ruling in rulings}
    if in_the_way or Answer.FAIL in answers:
        return Answer.FAIL
    certain = approvals.complete and approvals.asked
    return Answer.PASS if answers == {Answer.PASS} and certain else Answer.INCONCLUSIVE


def _age(request: Promotion, policy: Policy, at: datetime) -> list[Objection]:
    """Say whether the request is too old, and whether it was made under this policy."""
    aged = age_trouble(request, policy.request_lasts, at)
    found = [] if aged is None else [aged]
    if list(request.parts["policy"].values()) != [policy.sha256]:
        found.append(Objection("changed", f"policy: {', '.join(request.parts['policy'])} is not the one of the request"))
    return found


def _standing(assignment: Assignment, rung: Rung, ladder: Ladder, at: datetime) -> list[Objection]:
    found = []
    if ladder.last_at is not None and at < ladder.last_at:
        found.append(Objection("clock_set_back", f"{at:%F %T} lies before the ladder's last event at {ladder.last_at:%F %T}"))
    stages = ladder.stages(assignment)
    if stages != {rung.lower}:
        names = ", ".join(sorted(stage.value for stage in stages))
        words = f"{assignment.version.key} stands in {names} on {assignment.account}; {rung.value} begins in {rung.lower.value}"
        found.append(Objection("rung_order", words))
    return found


def _bound(request: Promotion, given: Sequence[Evidence]) -> tuple[list[Objection], list[Evidence], list[Objection]]:
    """Hold evidence against what the request names: what is in the way, what counts, and what is left aside."""
    named = {item.run_id: item for item in request.evidence}
    trouble, counted, unbound = [], [], []
    shown = set()
    for item in sorted(given, key=lambda one: (one.run_id, one.document)):
        reference = named.get(item.run_id)
        if reference is None:
            unbound.append(
                Objection("evidence_unbound", f"the run {item.run_id} is not named by the request and does not count")
            )
        elif item.run_id in shown:
            trouble.append(Objection("evidence_altered", f"the run {item.run_id} is given twice"))
        elif (reference.kind, reference.sha256, reference.document) != (item.kind.value, item.sha256, item.document):
            trouble.append(Objection("evidence_altered", f"the run {item.run_id} says something else than the request names"))
        else:
            counted.append(item)
        shown.add(item.run_id)
    trouble += [
        Objection("evidence_missing", f"the run {name} is named by the request and not there")
        for name in sorted(set(named) - shown)
    ]
    return trouble, counted, unbound


def roles_named(request: Promotion, roles: Roles, at: datetime) -> Ruling:
    """Rule on the playbook's blocker 4.2.4: for every role that decides there is somebody, each another person."""
    open_roles = can_decide(request.transition.deciders, roles, request.requester, at)
    names = ", ".join(role.value for role in open_roles)
    why = (
        f"there is nobody who could decide as {names}; name people in the roles" if names else "there are people for every role"
    )
    answer = Answer.FAIL if open_roles else Answer.PASS
    return Ruling(criterion=ROLES_NAMED, hard=True, answer=answer, why=why, measured=(), runs=())
