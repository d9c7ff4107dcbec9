"""Taking versions down by themselves: where something that their step rests on has turned, or what they do stopped for good.

Invariant: only what happened since the last step up counts, so that a decision made in its knowledge stands.
Invariant: too little data takes nobody down; only a criterion that fails does.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime

from peak_trade.compose import Parts
from peak_trade.governance.criteria import OF_VERSION, Answer, Criterion, Evidence, evaluate
from peak_trade.governance.ladder import Assignment, Rung
from peak_trade.governance.policy import Policy
from peak_trade.model.clock import parse_moment
from peak_trade.model.errors import NotFound
from peak_trade.model.stage import Stage
from peak_trade.runs.acts import MACHINE
from peak_trade.runs.gates.climb import Climb, collect, draft, rules_of
from peak_trade.runs.gates.promotion import demote
from peak_trade.runs.gates.record import GateRecord, gate_record
from peak_trade.runs.gates.standing import accounts_of
from peak_trade.strategy.base import Strategy

#: The criteria that can turn false after a step, because of what happens and not because time goes by.
WATCHED = frozenset({"no_critical_bugs", "runbook_present", "no_critical_incident", "kill_switch_drill", "monitoring_alert"})
#: Those of the next step that are about the stage where a version stands, and not about the one that it leads to.
_OF_HERE = WATCHED - {"no_critical_bugs", "runbook_present"}
_ORDER = list(Stage)


def demote_where_due(parts: Parts, strategies: Iterable[Strategy]) -> list[str]:
    """Take each strategy version down by one stage where a watched criterion fails; return what was done, in words.

    Raises:
        CheckFailed: the journal of acts is not as it was written. StorageError: disk or registry refused.
    """
    record = gate_record(parts)
    told: list[str] = []
    if not record.events:
        return told
    policy = rules_of(parts).policy
    for strategy in strategies:
        for assignment, stage in accounts_of(record, strategy):
            if why := "; ".join(_turned(parts, record, policy, assignment, stage)):
                to = _ORDER[_ORDER.index(stage) - 1]
                demote(parts, [assignment], to, "peak-trade", why[:2_000], MACHINE)
                told.append(f"{assignment.version.key} on {assignment.account} was taken down to {to.value}: {why}")
    return told


def _turned(parts: Parts, record: GateRecord, policy: Policy, assignment: Assignment, stage: Stage) -> Iterator[str]:
    """Yield why a version must not stay where it stands."""
    now, since = parts.clock.now(), record.stood(assignment).since()
    for rung, criteria in _watched(policy, stage):
        climb = Climb(
            rung=rung, version=assignment.version, account=assignment.account, symbols=tuple(sorted(assignment.symbols))
        )
        try:
            found = collect(parts, climb, policy, record, now, fresh=False)
        except NotFound:
            continue
        counted = [item for item in found if item.kind not in OF_VERSION or (since is not None and _begun(item, since))]
        request = draft(parts, climb, (), now, "nobody", now + policy.request_lasts)
        for criterion in criteria:
            ruling = evaluate(criterion, counted, request, now)
            if ruling.answer is Answer.FAIL:
                yield f"{criterion.id}: {ruling.why}"


def _begun(item: Evidence, since: datetime) -> bool:
    """Tell whether a run began after a moment; one that does not say when is taken to have."""
    begun = item.facts.get("started_at")
    return item.at >= since if not isinstance(begun, str) else parse_moment(begun) >= since


def _watched(policy: Policy, stage: Stage) -> Iterator[tuple[Rung, list[Criterion]]]:
    """Yield the step by which a stage was reached, and from testnet on also the next one: what is asked of who is there."""
    for rung in Rung:
        if rung.upper is stage:
            yield rung, [item for item in policy.criteria[rung] if item.id in WATCHED]
        elif rung.lower is stage and stage not in (Stage.RESEARCH, Stage.SHADOW):
            yield rung, [item for item in policy.criteria[rung] if item.id in _OF_HERE]
