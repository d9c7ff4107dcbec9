"""The right to run one strategy version in one stage until a date: granted on a decision, checked offline at any time.

Invariant: a `Permit` is made here and nowhere else, from a decision that passed, or from files that give the same decision.
Invariant: a permit is bound to the bytes of its request, and through them to everything the request is bound to.
Invariant: whoever has the files of a request can make the same decision as of another moment of its life, and with it another
permit; where it counts, the ladder has to know the very decision, and a revocation is one of the request.
Invariant: a permit ends early by its revocation, by one of its signers' keys being revoked, by any bound byte that changes.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from peak_trade.governance.criteria import Answer
from peak_trade.governance.decisions import Dossier, GateDecision, judge
from peak_trade.governance.documents import Moment, Name, Sha256, Symbol, Written, decode, digest, encode
from peak_trade.governance.ladder import Assignment, Ladder, Rung, StrategyVersion
from peak_trade.governance.objections import Objected, Objection
from peak_trade.governance.policy import Policy
from peak_trade.governance.requests import Hashes, Promotion, compare, read_request
from peak_trade.governance.roles import Roles
from peak_trade.model.errors import InvariantBroken, SafetyRefused
from peak_trade.model.stage import Stage

#: Stages whose sessions need one.
NEED_PERMIT = frozenset({Stage.TESTNET, Stage.SHADOW_LIVE, Stage.LIVE})
_MINT = object()
_ORDER = list(Stage)


class PermitDocument(Written, frozen=True, kw_only=True):
    """What a permit says; `until` is not within it any more."""

    format: Literal["peak-trade-permit-1"] = "peak-trade-permit-1"
    request: Sha256
    decision: Sha256
    transition: Rung
    stage: Stage
    strategy: StrategyVersion
    account: Name
    symbols: tuple[Symbol, ...]
    granted_at: Moment
    until: Moment


class Revocation(NamedTuple):
    """Somebody took a permit back, by the hash of its request; from then on it is good for nothing, whatever the clock says."""

    request: str
    by: str
    at: datetime
    why: str


class Permit:
    """A granted right; `compose` takes nothing else for the stages that need one."""

    __slots__ = ("content", "document")

    content: bytes
    document: PermitDocument

    def __init__(self, document: PermitDocument, mint: object) -> None:
        if mint is not _MINT:
            raise InvariantBroken("only a gate decision that passed leads to a permit")
        object.__setattr__(self, "document", document)
        object.__setattr__(self, "content", encode(document))

    def __init_subclass__(cls) -> None:
        raise InvariantBroken(f"a permit has no other kinds, {cls.__name__} was to become one")

    def __setattr__(self, name: str, value: object) -> None:
        raise InvariantBroken(f"a permit can't be changed; {name} was to become {value!r}")

    @property
    def id(self) -> str:
        """The hash of its request, by which it is revoked.

        Not of its own bytes: these say when it was granted and until when it lasts, which nobody signed, so that another
        permit of the same request would not be revoked with it.
        """
        return self.document.request

    def objections(
        self, stage: Stage, assignment: Assignment, now: datetime, revoked: Iterable[str] = ()
    ) -> tuple[Objection, ...]:
        """Return why it does not allow something at a moment; empty where it does. Cheap: for right before every order."""
        said = self.document
        found = _held_against(said, stage, assignment)
        found += _time(said, now)
        if self.id in set(revoked):
            found.append(Objection("permit_revoked", f"the permit {self.id[:12]} was revoked"))
        return tuple(found)


def grant(decision: GateDecision, policy: Policy, *, lasts: timedelta | None = None) -> Permit:
    """Grant what a decision is about, from its moment on.

    Args:
        lasts: how long; at most, and where it is left out, what the policy has for the stage, and no longer than a deviation
            that the decision rests on.

    Raises:
        SafetyRefused: the decision did not pass.
        Objected: `permit_too_long`; `changed`: another policy than that of the decision.
    """
    if type(decision) is not GateDecision:
        raise InvariantBroken("only the gate decides")
    document, request = decision.document, decision.request
    if document.answer is not Answer.PASS:
        reasons = "; ".join(item.words for item in decision.reasons()) or "no reason"
        raise SafetyRefused(f"expected a decision that passed, found {document.answer.value}: {reasons}")
    if document.policy != policy.sha256:
        raise Objected("changed", "policy: it is not the one of the decision; decide again")
    most = _most(decision, policy)
    lasts = most if lasts is None else lasts
    if not timedelta(0) < lasts <= most:
        raise Objected("permit_too_long", f"expected a permit of {most} at most, found {lasts}; ask for less")
    return Permit(
        PermitDocument(
            request=document.request,
            decision=decision.sha256,
            transition=request.transition,
            stage=request.transition.upper,
            strategy=request.strategy,
            account=request.account,
            symbols=request.symbols,
            granted_at=document.decided_at,
            until=document.decided_at + lasts,
        ),
        _MINT,
    )


def verify(
    content: bytes,
    dossier: Dossier,
    roles: Roles,
    policy: Policy,
    *,
    now: datetime,
    revocations: Iterable[Revocation] = (),
    present: Hashes | None = None,
    ladder: Ladder | None = None,
) -> Permit | tuple[Objection, ...]:
    """Check a permit's bytes from files alone: the decision is made again, with the revocations that are known now.

    Args:
        present: what everything it is bound to is now; left out, that is not compared, as on another machine.
        ladder: where everything stands; left out, a step down since is not seen.

    Returns:
        The permit, or every reason why it is none.
    """
    try:
        said = decode(content, PermitDocument, "a permit")
        request = read_request(dossier.request)
    except Objected as objected:
        return (objected.objection,)
    found = [*_bound(said, dossier, request), *_time(said, now)]
    found += [
        Objection("permit_revoked", f"{item.by} revoked the permit at {item.at:%F %T}: {item.why}")
        for item in revocations
        if item.request == said.request
    ]
    again = judge(dossier, roles, policy, at=said.granted_at, seen_at=max(now, said.granted_at))
    if said.until - said.granted_at > (most := _most(again, policy)):
        found.append(Objection("permit_too_long", f"the permit lasts longer than {most}, as policy and deviations let it"))
    if again.answer is not Answer.PASS:
        found += again.reasons()
    elif again.sha256 != said.decision:
        found.append(Objection("other_decision", "the decision comes out otherwise than the one the permit names"))
    found += compare(request, present) if present is not None else ()
    found += _stood(said, ladder, now) if ladder is not None else ()
    # Only what passed every check becomes a permit again.
    return tuple(found) if found else Permit(said, _MINT)


def _most(decision: GateDecision, policy: Policy) -> timedelta:
    """Return how long a permit may last."""
    document = decision.document
    most = policy.permit_lasts[document.transition.upper]
    return most if document.good_until is None else min(most, document.good_until - document.decided_at)


def _bound(said: PermitDocument, dossier: Dossier, request: Promotion) -> list[Objection]:
    """Hold a permit against the request that it names."""
    found = []
    if said.request != digest(dossier.request):
        found.append(Objection("other_request", f"the permit is one of request {said.request[:12]}, not of this one"))
    if said.transition is not request.transition:
        found.append(Objection("other_stage", f"the permit is for {said.transition.value}, the request is not"))
    if list(said.symbols) != list(request.symbols):
        found.append(Objection("other_symbols", "the permit is for other pairs than the request"))
    found += _held_against(said, request.transition.upper, request.assignment)
    return found


def _held_against(said: PermitDocument, stage: Stage, assignment: Assignment) -> list[Objection]:
    found = []
    if said.stage is not stage:
        found.append(Objection("other_stage", f"the permit is for {said.stage.value}, not for {stage.value}"))
    if said.account != assignment.account:
        found.append(Objection("other_account", f"the permit is for the account {said.account}, not {assignment.account}"))
    if other := sorted(assignment.symbols - set(said.symbols)):
        found.append(Objection("other_symbols", f"the permit is for {', '.join(said.symbols)}, not for {', '.join(other)}"))
    if said.strategy != assignment.version:
        same = said.strategy.key == assignment.version.key
        words = "other parameters or other code" if same else f"{said.strategy.key}, not {assignment.version.key}"
        found.append(Objection("other_version", f"the permit is for {words}"))
    return found


def _time(said: PermitDocument, now: datetime) -> list[Objection]:
    if now < said.granted_at:
        return [Objection("clock_set_back", f"the permit was granted at {said.granted_at:%F %T}, it is said to be {now:%F %T}")]
    if now >= said.until:
        return [Objection("permit_expired", f"the permit was good until {said.until:%F %T}; ask for another")]
    return []


def _stood(said: PermitDocument, ladder: Ladder, now: datetime) -> list[Objection]:
    """Say whether the version still stands where the permit lets it run."""
    found = []
    if ladder.last_at is not None and now < ladder.last_at:
        found.append(Objection("clock_set_back", f"{now:%F %T} lies before the ladder's last event at {ladder.last_at:%F %T}"))
    if not ladder.rests_on(said.decision):
        found.append(Objection("unrecorded", "the ladder has no step up on the decision that the permit names"))
    stage = ladder.stage(Assignment(said.strategy, said.account, frozenset(said.symbols)))
    if _ORDER.index(stage) < _ORDER.index(said.stage):
        found.append(Objection("demoted", f"{said.strategy.key} stands in {stage.value}, the permit is for {said.stage.value}"))
    return found
