"""The ladder's events as bodies of journal records, and back: the journal is where they are kept.

Invariant: what was recorded comes back the same; a record of another form is refused and never passed over.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec

from peak_trade.governance.documents import Name, Sha256, Symbol, Text, Written
from peak_trade.governance.ladder import Assignment, Decided, Demoted, LadderEvent, Promoted, Rung, StrategyVersion
from peak_trade.governance.objections import Objected
from peak_trade.model.stage import Stage

#: Kinds of the records.
DECIDED, PROMOTED, DEMOTED = "gate_decided", "promoted", "demoted"


class _Event(Written, frozen=True, kw_only=True):
    strategy: StrategyVersion
    account: Name
    symbols: Annotated[tuple[Symbol, ...], msgspec.Meta(min_length=1)]

    @property
    def assignment(self) -> Assignment:
        return Assignment(self.strategy, self.account, frozenset(self.symbols))


class _Decided(_Event, frozen=True, kw_only=True):
    rung: Rung
    decision: Sha256
    passed: bool


class _Promoted(_Event, frozen=True, kw_only=True):
    rung: Rung
    decision: Sha256


class _Demoted(_Event, frozen=True, kw_only=True):
    to: Stage
    why: Text


_Body = TypeVar("_Body", bound=_Event)


def body_of(event: LadderEvent) -> tuple[str, dict[str, Any]]:
    """Return kind and body of the record of an event; its moment is the record's."""
    which = event.assignment
    common = {"strategy": msgspec.to_builtins(which.version), "account": which.account, "symbols": sorted(which.symbols)}
    match event:
        case Decided():
            return DECIDED, common | {"rung": event.rung.value, "decision": event.decision, "passed": event.passed}
        case Promoted():
            return PROMOTED, common | {"rung": event.rung.value, "decision": event.decision}
    return DEMOTED, common | {"to": event.to.value, "why": event.why}


def event_of(kind: str, at: datetime, body: Mapping[str, Any]) -> LadderEvent:
    """Return the event of a record.

    Raises:
        Objected: `malformed`: it is none.
    """
    match kind:
        case "gate_decided":
            decided = _read(body, _Decided, kind)
            return Decided(at, decided.assignment, decided.rung, decided.decision, decided.passed)
        case "promoted":
            promoted = _read(body, _Promoted, kind)
            return Promoted(at, promoted.assignment, promoted.rung, promoted.decision)
        case "demoted":
            demoted = _read(body, _Demoted, kind)
            return Demoted(at, demoted.assignment, demoted.to, demoted.why)
    raise Objected("malformed", f"expected a record of the ladder, found one of the kind {kind[:60]!r}")


def _read(body: Mapping[str, Any], form: type[_Body], kind: str) -> _Body:
    try:
        found = msgspec.convert(dict(body), form)
    except msgspec.ValidationError as error:
        raise Objected("malformed", f"expected a record {kind} of the ladder, found another: {str(error)[:200]}") from None
    if list(found.symbols) != sorted(set(found.symbols)):
        raise Objected("malformed", f"expected pairs of a record {kind} sorted and each once, found others")
    return found
