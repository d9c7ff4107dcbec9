"""What people sign: a request to let one strategy version climb one rung, bound to the bytes of all that was judged.

Invariant: a request is its bytes; one other byte anywhere in what it is bound to makes it a request for something else.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Literal

import msgspec

from peak_trade.governance.documents import Moment, Name, Sha256, Symbol, Written, decode, digest
from peak_trade.governance.ladder import Assignment, Rung, StrategyVersion
from peak_trade.governance.objections import Objected, Objection

#: What a request is bound to besides its evidence; of each at least one file or dataset.
PARTS = ("code", "lock", "config", "parameters", "datasets", "limits", "policy", "checklist")
#: How the evidence is called where it is compared.
EVIDENCE = "evidence"

#: By part, then by name within it (a path, a dataset, a run): the hash.
Hashes = Mapping[str, Mapping[str, str]]


class EvidenceRef(Written, frozen=True, kw_only=True):
    """A run that the request rests on: the hash of what registry or journal keep of it, and of what was taken from it."""

    kind: Name
    run_id: Name
    sha256: Sha256
    document: Sha256


class Promotion(Written, frozen=True, kw_only=True):
    """The request; moments are UTC, lists are sorted and hold nothing twice."""

    format: Literal["peak-trade-request-1"] = "peak-trade-request-1"
    requester: Name
    transition: Rung
    strategy: StrategyVersion
    account: Name
    symbols: Annotated[tuple[Symbol, ...], msgspec.Meta(min_length=1, max_length=200)]
    created_at: Moment
    expires_at: Moment
    parts: dict[str, dict[str, Sha256]]
    evidence: tuple[EvidenceRef, ...]
    deviations: tuple[Sha256, ...] = ()

    @property
    def assignment(self) -> Assignment:
        """What is to climb."""
        return Assignment(self.strategy, self.account, frozenset(self.symbols))

    @property
    def hashes(self) -> dict[str, dict[str, str]]:
        """Everything it is bound to that can change, evidence included."""
        return {**self.parts, EVIDENCE: {item.run_id: item.sha256 for item in self.evidence}}


def read_request(content: bytes) -> Promotion:
    """Read a request's bytes.

    Raises:
        Objected: `malformed`.
    """
    found = decode(content, Promotion, "a request")
    runs = tuple(item.run_id for item in found.evidence)
    for name, items in (("symbols", found.symbols), ("evidence", runs), ("deviations", found.deviations)):
        if list(items) != sorted(set(items)):
            raise Objected("malformed", f"expected {name} of a request sorted and each once, found otherwise; make it anew")
    if missing := [part for part in PARTS if not found.parts.get(part)]:
        raise Objected("malformed", f"expected a request with all it is bound to, found none of {', '.join(missing)}")
    if extra := sorted(set(found.parts) - set(PARTS)):
        raise Objected("malformed", f"expected a request with known parts alone, found {', '.join(extra)[:80]}")
    if not found.created_at < found.expires_at:
        raise Objected("malformed", "expected a request that ends after it begins, found otherwise; make it anew")
    return found


def request_id(content: bytes) -> str:
    """Return what a request is called: the first 16 digits of its hash."""
    return digest(content)[:16]


def age_trouble(request: Promotion, lasts: timedelta, at: datetime) -> Objection | None:
    """Return why a request is not good at a moment: not yet, no more, or made to last too long."""
    if at < request.created_at:
        return Objection("clock_set_back", f"the request was made at {request.created_at:%F %T}, it is said to be {at:%F %T}")
    if request.expires_at - request.created_at > lasts:
        return Objection("request_expired", f"the request was to last longer than the {lasts.days} days of the policy")
    if at >= request.expires_at:
        return Objection("request_expired", f"the request was good until {request.expires_at:%F %T}; ask again")
    return None


def compare(request: Promotion, present: Hashes) -> tuple[Objection, ...]:
    """Return what is no longer as the request has it: everything that changed, is gone, or has come to it."""
    found = []
    for part, before in request.hashes.items():
        now = present.get(part, {})
        for name in sorted({*before, *now}):
            if name not in now:
                words = f"{part}: {name} is gone since the request"
            elif name not in before:
                words = f"{part}: {name} has come since the request"
            elif now[name] != before[name]:
                words = f"{part}: {name} changed since the request"
            else:
                continue
            found.append(Objection("changed", words))
    return tuple(found)
