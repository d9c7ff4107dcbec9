"""The ladder as an overview tells it: where every strategy version stands, what its next gate lacks, requests and permits.

It reads what the registry remembers of sessions and backtests, which is quick; a decision reads the journals themselves.
"""

from datetime import datetime, timedelta
from typing import Any

import msgspec

from peak_trade.compose import Parts
from peak_trade.governance.approvals import approve
from peak_trade.governance.criteria import Subject
from peak_trade.governance.decisions import DecisionDocument
from peak_trade.governance.documents import digest
from peak_trade.governance.ladder import Assignment, Decided, Demoted, LadderEvent, Promoted, Rung, StrategyVersion
from peak_trade.governance.requests import read_request
from peak_trade.model.clock import moment_text, nanoseconds
from peak_trade.model.errors import CheckFailed, PeakTradeError
from peak_trade.model.stage import Stage
from peak_trade.runs.checklists import open_checklist
from peak_trade.runs.configured import configured_params
from peak_trade.runs.gates.climb import Climb, GateLook, Rulebook, look_at_gate, rules_of
from peak_trade.runs.gates.evidence import key_of, unreadable
from peak_trade.runs.gates.permits import every_permit
from peak_trade.runs.gates.promotion import opened
from peak_trade.runs.gates.record import DECIDE, GateRecord, Requested, gate_record
from peak_trade.runs.strategy_version import version_of
from peak_trade.strategy.catalogue import make

Json = dict[str, Any]

#: Versions that showed nothing for so long and stand nowhere are left out.
SHOWN_FOR = timedelta(days=60)
_ORDER = list(Stage)


class _About(msgspec.Struct, frozen=True):
    """Of evidence only what it is about: an overview looks at all that there is."""

    subject: Subject | None = None


def status(parts: Parts, now: datetime, record: GateRecord | None = None) -> Json:
    """Return the whole overview as a JSON object.

    Args:
        record: what was recorded, where it has been read.

    Raises:
        CheckFailed: the journal of acts is not as it was written.
        NotFound, ConfigError, SafetyRefused: roles or policy can't be read.
    """
    rules, record = rules_of(parts), record or gate_record(parts)
    checked = every_permit(parts, record, now)
    permits = [
        {
            "id": item.held.id,
            "strategy": item.held.request.strategy.key,
            "version": short(item.held.request.strategy),
            "stage": item.held.request.transition.upper.value,
            "account": item.held.request.account,
            "symbols": list(item.held.request.symbols),
            "until": None if item.permit is None else _text(item.permit.document.until),
            "good": item.permit is not None,
            "objections": [found._asdict() for found in item.objections],
        }
        for item in checked
    ]
    return {
        "at": _text(now),
        "account": parts.settings.file.governance.account,
        "ladder": [_standing(parts, rules, record, assignment, stage, now) for assignment, stage in places(parts, record, now)],
        "requests": [_request(parts, rules, record, asked, now) for asked in record.requests.values()],
        "permits": permits,
        "refused": [{"event": _event(event), **objection._asdict()} for event, objection in record.ladder.refused],
    }


def history(record: GateRecord) -> list[Json]:
    """Return every step and decision, the newest first, as JSON objects."""
    return [_event(event) for event in reversed(record.events)]


def decisions(record: GateRecord) -> list[Json]:
    """Return every decision with its criteria, the newest first: how a gate went on over time.

    Raises:
        CheckFailed: what was recorded as a decision is none.
    """
    found = []
    asked = {event.decision: event.assignment for event in record.events if isinstance(event, Decided)}
    for act in reversed(record.acts):
        if act.action == DECIDE:
            try:
                document = msgspec.json.decode(act.begun.body["decision"].encode(), type=DecisionDocument)
            except msgspec.MsgspecError as error:
                raise CheckFailed(f"expected a decision in the act {act.segment}, found another document: {error}") from None
            about = asked.get(digest(act.begun.body["decision"].encode()))
            which = {} if about is None else _where(about)
            found.append({"id": act.begun.body["request"][:16], **which, **msgspec.to_builtins(document)})
    return found


def short(version: StrategyVersion) -> str:
    """Return a version's hashes as eight digits each, of parameters and of code, for people to tell versions apart."""
    return f"{version.params_sha256[:8]}-{version.code_sha256[:8]}"


def look_facts(look: GateLook) -> Json:
    """Return how a step stands as a JSON object."""
    return {
        "step": look.request.transition.value,
        "strategy": look.request.strategy.key,
        "version": short(look.request.strategy),
        "account": look.request.account,
        "symbols": list(look.request.symbols),
        "passed": len(look.rulings) - len(look.lacking),
        "criteria": [
            {
                "id": ruling.criterion,
                "hard": ruling.hard,
                "answer": ruling.answer.value,
                "why": ruling.why,
                "runs": list(ruling.runs),
                "measured": [
                    {"name": item.name, "found": item.found, "limit": item.limit, "answer": item.answer.value}
                    for item in ruling.measured
                ],
            }
            for ruling in look.rulings
        ],
        "evidence": [
            {"kind": item.kind.value, "run_id": item.run_id, "at": _text(item.at), "facts": dict(item.facts)}
            for item in look.evidence
        ],
    }


def places(parts: Parts, record: GateRecord, now: datetime) -> list[tuple[Assignment, Stage]]:
    """Return every version with its account and pairs: those above research, and those that showed something of late."""
    account = parts.settings.file.governance.account
    standing: dict[tuple[StrategyVersion, str, Stage], set[str]] = {}
    for (version, owner, symbol), stage in record.ladder.standings().items():
        standing.setdefault((version, owner, stage), set()).add(symbol)
    known = {version for version, _, _ in standing}
    for key in parts.evidence.versions(now - SHOWN_FOR):
        version = StrategyVersion(key=key.strategy, params_sha256=key.params_sha256, code_sha256=key.code_sha256)
        if version not in known:
            standing[(version, account, Stage.RESEARCH)] = set(symbols_of(parts, version, now))
    found = [(Assignment(version, owner, frozenset(pairs)), stage) for (version, owner, stage), pairs in standing.items()]
    return sorted(found, key=lambda item: (-_ORDER.index(item[1]), item[0].version, item[0].account))


def symbols_of(parts: Parts, version: StrategyVersion, now: datetime) -> list[str]:
    """Return the pairs that a version's sessions of late were about, sorted."""
    key = key_of(version)
    decode = msgspec.json.Decoder(_About).decode
    try:
        every = {decode(text).subject for text in parts.evidence.documents(key, now - SHOWN_FOR)}
    except (msgspec.MsgspecError, ValueError) as error:
        raise unreadable(version.key, error) from None
    return sorted({symbol for subject in every if subject for symbol in subject.symbols})


def _standing(parts: Parts, rules: Rulebook, record: GateRecord, assignment: Assignment, stage: Stage, now: datetime) -> Json:
    """Return one line of the ladder."""
    since = record.stood(assignment).since()
    symbols = tuple(sorted(assignment.symbols))
    line: Json = {
        "strategy": assignment.version.key,
        "version": short(assignment.version),
        "account": assignment.account,
        "symbols": list(symbols),
        "stage": stage.value,
        "since": None if since is None else _text(since),
        "current": is_current(parts, assignment.version),
        "next": None,
        "trouble": "",
    }
    rung = next((rung for rung in Rung if rung.lower is stage), None)
    if rung is not None and symbols:
        try:
            look = look_at_gate(parts, climb_from(parts, rung, assignment), rules, record, now, fresh=False)
        except PeakTradeError as error:
            return line | {"trouble": str(error)}
        line["next"] = {
            "step": rung.value,
            "passed": len(look.rulings) - len(look.lacking),
            "of": len(look.rulings),
            "lacking": [
                {"id": item.criterion, "hard": item.hard, "answer": item.answer.value, "why": item.why} for item in look.lacking
            ],
        }
    return line


def climb_from(parts: Parts, rung: Rung, assignment: Assignment) -> Climb:
    """Return a step of what stands somewhere, with the list that is being filled in for it, where there is one."""
    path, root = open_checklist(parts, rung, assignment.version.key), parts.settings.root
    checklist = path.relative_to(root) if path.exists() and path.is_relative_to(root) else None
    symbols = tuple(sorted(assignment.symbols))
    return Climb(rung=rung, version=assignment.version, account=assignment.account, symbols=symbols, checklist=checklist)


def is_current(parts: Parts, version: StrategyVersion) -> bool:
    """Tell whether the code of a version is that of today; its parameters may be any."""
    try:
        return version_of(make(version.key, configured_params(parts, version.key, {}))).code_sha256 == version.code_sha256
    except PeakTradeError:
        return False


def _request(parts: Parts, rules: Rulebook, record: GateRecord, asked: Requested, now: datetime) -> Json:
    """Return one request: who has signed, who is missing, what was decided."""
    decided = record.decision(asked.sha256)
    line: Json = {
        "id": asked.sha256[:16],
        "step": asked.act.begun.body["rung"],
        "strategy": asked.act.begun.body["strategy"],
        "version": "",
        "by": asked.by,
        "made": _text(asked.at),
        "until": None,
        "approvals": [],
        "missing": [],
        "decided": None if decided is None else decided[0].last.body.get("answer"),
        "trouble": "",
    }
    try:
        _, content = opened(parts, record, asked.sha256)
        request = read_request(content)
    except PeakTradeError as error:
        return line | {"trouble": str(error)}
    # Of one that was decided, who had signed then: signatures grow old.
    at = now if decided is None else decided[1].at
    found = approve(content, request, list(record.signatures.get(asked.sha256, ())), rules.roles, rules.policy, at=at)
    return line | {
        "until": _text(request.expires_at),
        "version": short(request.strategy),
        "account": request.account,
        "symbols": list(request.symbols),
        "approvals": [
            {"person": item.person, "role": item.role.value, "at": _text(item.received_at)} for item in found.approvals
        ],
        "missing": [role.value for role in found.missing] + ([] if found.asked else ["who asks"]),
        "expired": now >= request.expires_at,
    }


def _event(event: LadderEvent) -> Json:
    """Return a ladder's event as a JSON object."""
    line: Json = {"at": _text(event.at), **_where(event.assignment)}
    match event:
        case Decided():
            return line | {"what": "decided", "step": event.rung.value, "passed": event.passed}
        case Promoted():
            return line | {"what": "promoted", "step": event.rung.value, "to": event.rung.upper.value}
        case Demoted():
            return line | {"what": "demoted", "to": event.to.value, "why": event.why}


def _where(which: Assignment) -> Json:
    """Return what an event is about, as a JSON object."""
    return {
        "strategy": which.version.key,
        "version": short(which.version),
        "account": which.account,
        "symbols": sorted(which.symbols),
    }


def _text(moment: datetime) -> str:
    return moment_text(nanoseconds(moment))
