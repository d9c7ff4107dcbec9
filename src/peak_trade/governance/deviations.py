"""A deviation from a soft criterion: a document with a reason, a limit and an end, signed by somebody who decides.

Invariant: it moves numbers of one soft criterion, no further than the policy lets anyone go; it never touches a hard one.
Invariant: the request names it, so that everybody who approves has seen it.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, NamedTuple

import msgspec

from peak_trade.governance.approvals import Signature, signers
from peak_trade.governance.criteria import Answer, Criterion, Evidence, Ruling, evaluate
from peak_trade.governance.documents import Moment, Name, Text, Written, decode, digest
from peak_trade.governance.ladder import Rung, StrategyVersion
from peak_trade.governance.objections import Objected, Objection
from peak_trade.governance.policy import Policy, looser
from peak_trade.governance.requests import Promotion
from peak_trade.governance.roles import Roles
from peak_trade.governance.sshsig import DEVIATION


class Deviation(Written, frozen=True, kw_only=True):
    """The document; `limits` has the other limit of each measure that it moves."""

    format: Literal["peak-trade-deviation-1"]
    transition: Rung
    strategy: StrategyVersion
    account: Name
    criterion: Name
    limits: Annotated[dict[str, Decimal], msgspec.Meta(min_length=1)]
    reason: Text
    created_at: Moment
    until: Moment


class SignedDeviation(NamedTuple):
    """A deviation's bytes and who signed them."""

    content: bytes
    signatures: tuple[Signature, ...]


class Deviated(NamedTuple):
    """All rulings, judged again where a deviation stands; why others don't; and when the first of those that count ends."""

    rulings: tuple[Ruling, ...]
    objections: tuple[Objection, ...]
    until: datetime | None


class Case(NamedTuple):
    """What deviations are judged with."""

    request: Promotion
    policy: Policy
    roles: Roles
    evidence: Sequence[Evidence]
    at: datetime
    seen_at: datetime


def read_deviation(content: bytes) -> Deviation:
    """Read a deviation's bytes.

    Raises:
        Objected: `malformed`.
    """
    return decode(content, Deviation, "a deviation")


def deviate(rulings: Sequence[Ruling], given: Sequence[SignedDeviation], case: Case) -> Deviated:
    """Judge soft criteria again under the deviations that stand."""
    found = {ruling.criterion: ruling for ruling in rulings}
    objections, ends = [], []
    by_hash = {digest(item.content): item for item in given}
    for name in sorted({*case.request.deviations, *by_hash}):
        if name not in case.request.deviations or name not in by_hash:
            where = "given but not in the request" if name in by_hash else "in the request but not given"
            objections.append(Objection("deviation_unbound", f"the deviation {name[:12]} is {where}"))
            continue
        try:
            ruling, until = _again(by_hash[name], name, case)
        except Objected as objected:
            objections.append(objected.objection)
            continue
        if found[ruling.criterion].answer is not Answer.PASS:
            found[ruling.criterion] = ruling
            ends.append(until)
    return Deviated(tuple(found[ruling.criterion] for ruling in rulings), tuple(objections), min(ends, default=None))


def _again(given: SignedDeviation, name: str, case: Case) -> tuple[Ruling, datetime]:
    """Judge the criterion of a deviation under its limits; return that, and when the deviation ends.

    Raises:
        Objected: it does not stand.
    """
    stated = read_deviation(given.content)
    request = case.request
    if (stated.transition, stated.strategy, stated.account) != (request.transition, request.strategy, request.account):
        raise Objected("deviation_other", f"the deviation {name[:12]} is one of another step, strategy version or account")
    criterion = case.policy.criterion(request.transition, stated.criterion)
    if criterion is None:
        raise Objected("deviation_other", f"{request.transition.value} has no criterion {stated.criterion} to deviate from")
    if criterion.hard:
        raise Objected("deviation_hard", f"{criterion.id} is hard: nobody may deviate from it")
    if not stated.created_at <= case.at < stated.until:
        raise Objected("deviation_expired", f"the deviation from {criterion.id} is not good at {case.at:%F %T}")
    moved = _moved(criterion, stated)
    found = signers(given.content, given.signatures, case.roles, DEVIATION, at=case.at, seen_at=case.seen_at)
    may = [
        signer
        for signer in found.signers
        if signer.person.id != request.requester
        and signer.person.roles & set(request.transition.deciders)
        and signer.signature.received_at >= stated.created_at
    ]
    if not may:
        why = "; ".join(item.words for item in found.objections) or "nobody signed it who decides and did not ask"
        raise Objected("deviation_unsigned", f"the deviation from {criterion.id} has no signature that counts: {why}")
    ruling = evaluate(moved, case.evidence, request, request.created_at)
    return msgspec.structs.replace(ruling, deviation=name), stated.until


def _moved(criterion: Criterion, stated: Deviation) -> Criterion:
    """Return the criterion with the limits of a deviation."""
    measures = {measure.name: measure for measure in criterion.measure}
    for name, limit in stated.limits.items():
        measure = measures.get(name)
        if measure is None or measure.furthest is None:
            raise Objected("deviation_limit", f"{criterion.id} has no measure {name[:60]!r} that anyone may deviate from")
        if looser(measure.moved(measure.furthest), limit):
            raise Objected("deviation_limit", f"{name} may go to {measure.furthest}, the deviation goes to {limit}")
        measures[name] = measure.moved(limit)
    return msgspec.structs.replace(criterion, measure=tuple(measures.values()))
