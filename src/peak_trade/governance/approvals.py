"""Who approved a request: signatures in, different people in the roles that decide out, and why the rest does not count.

Invariant: people are counted and not keys; nobody fills two roles.
Invariant: the requester signs, so that it is certain who asks, and never counts.
Invariant: a key must be good when the signature came in and when the decision is made; a revoked one is good for nothing.
An SSH signature has no time in it. `received_at` is when ours came in, as our journal has it: it can't lie before what was
signed was made, and what follows from its age is never better than what follows from the age of the request.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from peak_trade.governance import sshsig
from peak_trade.governance.documents import digest
from peak_trade.governance.objections import Objected, Objection
from peak_trade.governance.policy import Policy
from peak_trade.governance.requests import Promotion
from peak_trade.governance.roles import Person, PersonKey, Role, Roles, key_trouble, person_trouble


class Signature(NamedTuple):
    """The content of a `.sig` file, and when it came in."""

    armoured: bytes
    received_at: datetime

    @property
    def sha256(self) -> str:
        """The hash of the file."""
        return digest(self.armoured)


class Signatory(NamedTuple):
    """A person whose signature over some bytes is good."""

    person: Person
    key: PersonKey
    signature: Signature


class Signatories(NamedTuple):
    """Whose signatures are good, each person once, and why others are not."""

    signers: tuple[Signatory, ...]
    objections: tuple[Objection, ...]


class Approval(NamedTuple):
    """A person who approved, in the role that is counted."""

    person: str
    role: Role
    fingerprint: str
    signature: str
    received_at: datetime


class Approvals(NamedTuple):
    """Who approved in which role, which roles are open, and what did not count and why.

    `asked` is whether the one who is said to ask has signed, too.
    """

    approvals: tuple[Approval, ...]
    missing: tuple[Role, ...]
    objections: tuple[Objection, ...]
    asked: bool

    @property
    def complete(self) -> bool:
        """Whether each role that decides has a person of its own."""
        return not self.missing


def signers(
    content: bytes, signatures: Sequence[Signature], roles: Roles, purpose: str, *, at: datetime, seen_at: datetime
) -> Signatories:
    """Return the people who signed bytes for a purpose.

    Args:
        at: the moment of the decision; keys and people must be good then and when their signature came in.
        seen_at: the moment up to which revocations are known; later than *at* where a decision is looked at again.
    """
    found: dict[str, Signatory] = {}
    objections = []
    # By time, so that of two signatures of a person the one counts that came first; then by content, whatever their order.
    for signature in sorted(signatures, key=lambda item: (item.received_at, item.armoured)):
        try:
            signer = _signer(content, signature, roles, purpose, at, seen_at)
        except Objected as objected:
            objections.append(objected.objection)
            continue
        if signer.person.id in found:
            objections.append(
                Objection("same_person", f"{signer.person.id} signed with more than one key or twice: counted once")
            )
        else:
            found[signer.person.id] = signer
    return Signatories(tuple(found.values()), tuple(objections))


def approve(
    content: bytes,
    request: Promotion,
    signatures: Sequence[Signature],
    roles: Roles,
    policy: Policy,
    *,
    at: datetime,
    seen_at: datetime | None = None,
) -> Approvals:
    """Return who approved a request, at a moment.

    Args:
        content: the request's bytes, which were signed; *request* is what they say.
        seen_at: as in `signers`; the same moment where it is left out.
    """
    wanted = request.transition.deciders
    known = roles.people.get(request.requester)
    if known is None:
        words = f"{request.requester} asked, and is nobody in the roles: it can't be said who must not count"
        return Approvals((), wanted, (Objection("unknown_requester", words),), asked=False)
    found = signers(content, signatures, roles, sshsig.APPROVAL, at=at, seen_at=at if seen_at is None else seen_at)
    objections = list(found.objections)
    able: dict[str, Signatory] = {}
    for signer in found.signers:
        if trouble := _trouble(signer, request, policy, at):
            objections.append(trouble)
        else:
            able[signer.person.id] = signer
    filled = _filled(wanted, {name: signer.person.roles for name, signer in sorted(able.items())})
    approvals = tuple(
        Approval(name, role, able[name].key.key.fingerprint, able[name].signature.sha256, able[name].signature.received_at)
        for role, name in filled.items()
    )
    missing = tuple(role for role in wanted if role not in filled)
    if missing:
        words = f"{request.transition.value} needs {', '.join(role.value for role in missing)} besides, each another person"
        objections.append(Objection("approvals_missing", words))
    asked = any(signer.person.id == request.requester for signer in found.signers)
    return Approvals(approvals, missing, tuple(objections), asked)


def can_decide(wanted: Sequence[Role], roles: Roles, requester: str, at: datetime) -> tuple[Role, ...]:
    """Return the roles of a decision for which the people there are don't suffice, whoever may sign in the end."""
    people = {name: person.roles for name, person in roles.people.items() if person.can_sign(at) and name != requester}
    filled = _filled(wanted, people)
    return tuple(role for role in wanted if role not in filled)


def _signer(content: bytes, signature: Signature, roles: Roles, purpose: str, at: datetime, seen_at: datetime) -> Signatory:
    key = sshsig.verify(content, signature.armoured, purpose)
    owner = roles.of_key(key)
    if owner is None:
        raise Objected("unknown_key", f"the key {key.fingerprint} signed, and is nobody's in the roles")
    person, entry = owner
    if signature.received_at > at:
        raise Objected("clock_set_back", f"{person.id} signed at {signature.received_at:%F %T}, after {at:%F %T}")
    for when in (signature.received_at, at):
        if trouble := key_trouble(entry, when, seen_at) or person_trouble(person, when):
            raise Objected(trouble.code, f"{person.id}: {trouble.words}")
    return Signatory(person, entry, signature)


def _trouble(signer: Signatory, request: Promotion, policy: Policy, at: datetime) -> Objection | None:
    """Return why a good signature does not count as an approval."""
    person, received = signer.person, signer.signature.received_at
    if person.id == request.requester:
        return Objection("requester", f"{person.id} asked for this step and can't approve it")
    if not person.roles & set(request.transition.deciders):
        return Objection("no_role", f"{person.id} does not decide about {request.transition.value}")
    if received < request.created_at:
        words = f"{person.id} is said to have signed at {received:%F %T}, before the request of {request.created_at:%F %T}"
        return Objection("signed_early", words)
    if at - received >= policy.approval_lasts:
        return Objection(
            "approval_expired",
            f"{person.id} signed at {received:%F %T}; approvals are good for {policy.approval_lasts.days} days",
        )
    return None


def _filled(wanted: Sequence[Role], people: Mapping[str, frozenset[Role]]) -> dict[Role, str]:
    """Give as many roles as possible a person each, no person two; roles in their order, people as they are sorted."""
    best: dict[Role, str] = {}
    for choice in _choices(tuple(wanted), people):
        if len(choice) > len(best):
            best = choice
        if len(best) == len(wanted):
            break
    return best


def _choices(wanted: tuple[Role, ...], people: Mapping[str, frozenset[Role]]) -> Iterator[dict[Role, str]]:
    """Return every way to fill the roles, each with a person or nobody."""
    if not wanted:
        yield {}
        return
    role, *rest = wanted
    # The roles after it need no more people than there are of them, so that trying one more is enough.
    for name in [name for name, own in people.items() if role in own][: len(wanted)]:
        others = {other: own for other, own in people.items() if other != name}
        for choice in _choices(tuple(rest), others):
            yield {role: name, **choice}
    yield from _choices(tuple(rest), people)
