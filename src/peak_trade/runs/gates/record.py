"""What was recorded about gates: steps up and down, requests, signatures and revocations, from the journal of acts.

Invariant: where everything stands follows from the record alone; a file that says otherwise counts for nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from peak_trade.compose import Parts
from peak_trade.governance.approvals import Signature
from peak_trade.governance.ladder import Assignment, Decided, Ladder, LadderEvent
from peak_trade.governance.permits import Revocation
from peak_trade.governance.recorded import DECIDED, DEMOTED, PROMOTED, event_of
from peak_trade.model.clock import parse_moment
from peak_trade.model.stage import Stage
from peak_trade.runs.acts import Done, done

#: The acts.
REQUEST, SIGN, DECIDE, REVOKE, DEMOTE = "gate_request", "gate_sign", "gate_decide", "gate_revoke", "gate_demote"
_KINDS = frozenset({DECIDED, PROMOTED, DEMOTED})


class Requested(NamedTuple):
    """A request as it was recorded: the hash of its bytes, and what it was made from."""

    sha256: str
    at: datetime
    by: str
    act: Done


class GateRecord(NamedTuple):
    """Everything at once; `requests` and `signatures` are by the hash of the request's bytes."""

    acts: Sequence[Done]
    events: Sequence[LadderEvent]
    ladder: Ladder
    requests: Mapping[str, Requested]
    signatures: Mapping[str, Sequence[Signature]]
    revocations: Sequence[Revocation]

    def request(self, name: str) -> Requested | None:
        """Return a request by the beginning of its hash, where there is exactly one."""
        found = [item for sha256, item in self.requests.items() if len(name) >= 4 and sha256.startswith(name)]
        return found[0] if len(found) == 1 else None

    def decision(self, request: str) -> tuple[Done, Decided] | None:
        """Return the last decision about a request that is recorded, with its act."""
        for act in reversed(self.acts):
            if act.action == DECIDE and act.begun.body["request"] == request:
                for event in _events(act):
                    if isinstance(event, Decided):
                        return act, event
        return None

    def stood(self, assignment: Assignment) -> "Stood":
        """Return where a version stood at any moment."""
        return Stood(self.events, assignment)


class Stood:
    """Where a version stood, by moment."""

    def __init__(self, events: Sequence[LadderEvent], assignment: Assignment) -> None:
        mine = [event for event in events if event.assignment.version == assignment.version]
        self._steps = [(event.at, Ladder(mine[: number + 1]).stage(assignment)) for number, event in enumerate(mine)]
        self._back = self._steps[::-1]

    def at(self, moment: datetime) -> Stage:
        """Return its stage at a moment; RESEARCH before anything is recorded."""
        for since, stage in self._back:
            if since <= moment:
                return stage
        return Stage.RESEARCH

    def since(self) -> datetime | None:
        """Return since when it stands where it stands; None where it never moved."""
        stages = [Stage.RESEARCH, *(stage for _, stage in self._steps)]
        for number in range(len(self._steps), 0, -1):
            if stages[number] is not stages[number - 1]:
                return self._steps[number - 1][0]
        return None


def gate_record(parts: Parts) -> GateRecord:
    """Read what was recorded.

    Raises:
        CheckFailed: the journal of acts is not as it was written.
        Objected: a record in it is none of the ladder's.
    """
    acts = done(parts)
    events: list[LadderEvent] = []
    requests: dict[str, Requested] = {}
    signatures: dict[str, list[Signature]] = {}
    revocations = []
    for act in acts:
        events += _events(act)
        body, at = act.begun.body, parse_moment(act.begun.at)
        if act.action == REVOKE:
            # Also one whose process died before it could say so.
            revocations.append(Revocation(body["request"], body["by"], at, body["why"]))
        elif act.action == REQUEST and act.went_well:
            requests[body["request"]] = Requested(body["request"], at, body["by"], act)
        elif act.action == SIGN and act.went_well:
            signatures.setdefault(body["request"], []).append(Signature(body["signature"].encode(), at))
    return GateRecord(acts, events, Ladder(events), requests, signatures, revocations)


def _events(act: Done) -> list[LadderEvent]:
    return [event_of(record.kind, parse_moment(record.at), record.body) for record in act.parts if record.kind in _KINDS]
