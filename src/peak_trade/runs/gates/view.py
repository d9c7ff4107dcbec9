"""The gates as the dashboard shows them: the overview with what each request waits for, one step in full, the archive.

Invariant: everything is worked out from record, files and evidence at the moment it is asked for; a journal that does not
verify ends in an error, never in an empty ladder.
"""

import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from peak_trade.compose import Parts
from peak_trade.governance.criteria import AMOUNTS, Criterion, Evidence, Measure, counted, evaluate
from peak_trade.governance.decisions import Dossier, decide
from peak_trade.governance.files import POLICY, ROLES, read_plain
from peak_trade.governance.ladder import Assignment, Rung
from peak_trade.governance.objections import CODES, Objection
from peak_trade.governance.policy import ROLES_NAMED, Policy
from peak_trade.governance.requests import Promotion, read_request
from peak_trade.governance.requests import compare as compare_hashes
from peak_trade.journal.chain import folder_of
from peak_trade.journal.operators import ACCOUNT
from peak_trade.model.clock import moment_text, nanoseconds
from peak_trade.model.errors import CheckFailed, NotFound, PeakTradeError
from peak_trade.model.stage import Stage
from peak_trade.report.thinning import evenly
from peak_trade.runs.checklists import archive_folder, list_checklists
from peak_trade.runs.gates.asked import rung_named
from peak_trade.runs.gates.climb import GateLook, Rulebook, collect, look_at_gate, present_but_runs, rules_of
from peak_trade.runs.gates.promotion import JSON_END, REQUESTS, climb_of, deviations_of, opened
from peak_trade.runs.gates.record import REVOKE, GateRecord, gate_record
from peak_trade.runs.gates.status import climb_from, decisions, history, is_current, look_facts, places, short, status
from peak_trade.webui.desk import Gates

Json = dict[str, Any]

#: Points of a curve of progress.
POINTS = 60
#: What people read of the one criterion that stands in no policy.
ROLES_WORDS = "There is somebody for every role that decides, each another person."


def gates_of(parts: Parts) -> Gates:
    """Return what the pages of the gates read."""
    return Gates(
        overview=lambda: overview(parts, parts.clock.now()),
        step=lambda strategy, version, account, step: step_view(parts, strategy, version, account, step, parts.clock.now()),
        archive=lambda: archive_view(parts),
        archived=lambda name: archived_view(parts, name),
        seen=lambda: seen(parts),
    )


def seen(parts: Parts) -> tuple[object, ...]:
    """Return what changes when an act is written, or the people or the policy are other ones: names and sizes, no content."""
    acts = folder_of(parts.journal, ACCOUNT)
    try:
        names = [entry.name for entry in os.scandir(acts)]
    except OSError:
        names = []
    root = parts.settings.root
    return (len(names), *map(_entry, (acts / max(names, default=""), root / POLICY, root / ROLES)))


def _entry(path: Path) -> object:
    try:
        found = path.lstat()
    except OSError as error:
        return error.errno
    return found.st_mtime_ns, found.st_size, found.st_ino


# ---- the overview ----------------------------------------------------------------------------------------------------


def overview(parts: Parts, now: datetime) -> Json:
    """Return ladder, requests, permits and history, as `status` does, with what people need besides.

    Raises:
        CheckFailed: the journal of acts is not as it was written.
        NotFound, ConfigError, SafetyRefused: roles or policy can't be read.
    """
    rules, record = rules_of(parts), gate_record(parts)
    found = status(parts, now, record)
    found["requests"] = [_request(parts, rules, record, line, now) for line in reversed(found["requests"])]
    found["permits"] = [_permit(parts, record, line) for line in found["permits"]]
    found["refused"] = [{**line, "meaning": CODES[line["code"]]} for line in found["refused"]]
    found["words"] = {rung.value: _words(rules.policy, rung) for rung in Rung}
    found["history"] = _history(record)
    return found


def _words(policy: Policy, rung: Rung) -> dict[str, str]:
    return {ROLES_NAMED: ROLES_WORDS} | {item.id: item.words for item in policy.criteria[rung]}


def _request(parts: Parts, rules: Rulebook, record: GateRecord, line: Json, now: datetime) -> Json:
    """Add to a request who could sign it, what would keep it from passing now, and its file."""
    file = parts.state / REQUESTS / f"{line['id']}{JSON_END}"
    root = parts.settings.root
    line |= {"file": str(file.relative_to(root) if file.is_relative_to(root) else file), "waits_for": [], "lacking": []}
    if line["decided"] is not None or line["trouble"] or line["expired"]:
        return line
    signed = {item["person"] for item in line["approvals"]}
    able = [person for person in rules.roles.people.values() if person.can_sign(now) and person.id not in {line["by"], *signed}]
    line["waits_for"] = [
        {"role": role, "people": sorted(person.id for person in able if role in {one.value for one in person.roles})}
        for role in line["missing"]
    ]
    try:
        line["lacking"] = _told(_lacking(parts, rules, record, line["id"], now))
    except PeakTradeError as error:
        line["trouble"] = str(error)
    return line


def _lacking(parts: Parts, rules: Rulebook, record: GateRecord, name: str, now: datetime) -> Iterator[Objection]:
    """Yield what a decision would say against a request now, on what the registry remembers; not who has yet to sign."""
    asked, content = opened(parts, record, name)
    request, climb = read_request(content), climb_of(asked, read_request(content))
    at, by = request.created_at, request.requester
    evidence = collect(parts, climb, rules.policy, record, at, requester=by, fresh=False)
    dossier = Dossier(content, tuple(record.signatures.get(asked.sha256, ())), evidence, deviations_of(asked))
    made = decide(
        dossier,
        rules.roles,
        rules.policy,
        at=now,
        present=present_but_runs(parts, request),
        ladder=record.ladder,
        today=collect(parts, climb, rules.policy, record, now, requester=by, fresh=False),
    )
    yield from (item for item in made.reasons() if item.code != "approvals_missing")


def _permit(parts: Parts, record: GateRecord, line: Json) -> Json:
    """Add to a permit what its reasons mean, and what of all that it is bound to has other bytes now."""
    found = [Objection(item["code"], item["words"]) for item in line["objections"]]
    asked = record.request(line["id"])
    if line["good"] and asked is not None:
        try:
            request = read_request(opened(parts, record, asked.sha256)[1])
            found += compare_hashes(request, present_but_runs(parts, request))
        except PeakTradeError as error:
            found.append(Objection("changed", str(error)))
    return line | {"good": line["good"] and not found, "objections": _told(found)}


def _told(found: Sequence[Objection] | Iterator[Objection]) -> list[Json]:
    return [{**item._asdict(), "meaning": CODES[item.code]} for item in found]


def _history(record: GateRecord) -> list[Json]:
    """Return every step, decision and revocation, the newest first; `refused` is the code of what no rule allows."""
    against = {id(event): objection.code for event, objection in record.ladder.refused}
    events = zip(history(record), reversed(record.events), strict=True)
    found = [{**line, "refused": against.get(id(event), "")} for line, event in events]
    for act in record.acts:
        if act.action == REVOKE:
            body = act.begun.body
            asked = record.request(body["request"])
            strategy = asked.act.begun.body["strategy"] if asked else ""
            line: Json = {
                "at": act.begun.at,
                "strategy": strategy,
                "version": "",
                "account": "",
                "symbols": [],
                "what": "revoked",
                "refused": "",
            }
            found.append({**line, "id": body["request"][:16], "by": body["by"], "why": body["why"]})
    return sorted(found, key=lambda line: str(line["at"]), reverse=True)


# ---- one step --------------------------------------------------------------------------------------------------------


def step_view(parts: Parts, strategy: str, version: str, account: str, step: str, now: datetime) -> Json:
    """Return how a version stands before a step: criteria, evidence, what has grown so far, and what was decided.

    Args:
        version: both hashes, eight digits each. step: empty is the next one up.

    Raises:
        NotFound: no such version stands there. InputError: no such step.
        CheckFailed: the journal of acts is not as it was written, or the version has shown no pair.
    """
    rules, record = rules_of(parts), gate_record(parts)
    every = places(parts, record, now)
    mine = [
        item for item in every if (item[0].version.key, short(item[0].version), item[0].account) == (strategy, version, account)
    ]
    if not mine:
        raise NotFound("expected a version that stands on the ladder, found another; the ladder lists them")
    rung = rung_named(step) if step else _next(mine[0][1])
    assignment, stage = next((item for item in mine if item[1] is rung.lower), mine[0])
    if not assignment.symbols:
        raise CheckFailed(f"expected a pair that {strategy} traded of late, found none; run a session of it")
    look = look_at_gate(parts, climb_from(parts, rung, assignment), rules, record, now, fresh=False)
    since = record.stood(assignment).since()
    return {
        **look_facts(look),
        "at": _text(now),
        "stage": stage.value,
        "since": None if since is None else _text(since),
        "current": is_current(parts, assignment.version),
        "deciders": [role.value for role in rung.deciders],
        "words": _words(rules.policy, rung),
        "progress": list(_progress(rules.policy, rung, look, now)),
        "decisions": _decided(record, assignment),
    }


def _next(stage: Stage) -> Rung:
    """Return the step that leads from a stage; from the highest, the one that led there."""
    return next((rung for rung in Rung if rung.lower is stage), list(Rung)[-1])


def _decided(record: GateRecord, assignment: Assignment) -> list[Json]:
    """Return what was decided about a version on an account, the newest first."""
    whose = (assignment.version.key, short(assignment.version), assignment.account)
    names = ("strategy", "version", "account")
    return [item for item in decisions(record) if tuple(item.get(name) for name in names) == whose]


def _progress(policy: Policy, rung: Rung, look: GateLook, now: datetime) -> Iterator[Json]:
    """Yield each measure that grows with time: how far it is, its limit, and what it came to run by run."""
    for criterion in policy.criteria[rung]:
        runs = counted(criterion, look.evidence, look.request, now)
        for number, measure in enumerate(criterion.measure):
            limit = measure.at_least if measure.at_least is not None else measure.above
            # A newest run replaces the one before; what it says does not grow.
            if measure.take in AMOUNTS and limit is not None and limit > 1 and not criterion.newest:
                points = list(_points(criterion, number, runs, look.request))
                yield {
                    "criterion": criterion.id,
                    "measure": measure.name,
                    "unit": _unit(measure),
                    "found": points[-1][1] if points else 0.0,
                    "limit": float(limit),
                    "points": [{"at": at, "value": value} for at, value in points],
                }


def _unit(measure: Measure) -> str:
    return {"count": "runs", "span_days": "days"}.get(measure.take, measure.of)


def _points(criterion: Criterion, number: int, runs: Sequence[Evidence], request: Promotion) -> Iterator[tuple[str, float]]:
    """Yield what a measure came to with each run that counts, at the moment that run ended; thinned evenly."""
    for last in evenly(len(runs), POINTS).tolist():
        ruling = evaluate(criterion, runs[: last + 1], request, runs[last].at)
        try:
            yield _text(runs[last].at), float(Decimal(ruling.measured[number].found))
        except (InvalidOperation, IndexError):
            continue  # not every run up to there says it


# ---- the archive -----------------------------------------------------------------------------------------------------


def archive_view(parts: Parts) -> Json:
    """Return the archived checklists, the newest first, and why they can't be held against the journal, where they can't."""
    found = list_checklists(parts)
    files = sorted((item._asdict() for item in found.archived), key=lambda item: item["file"], reverse=True)
    return {"archived": files, "trouble": found.trouble}


def archived_view(parts: Parts, name: str) -> Json:
    """Return an archived checklist: what is known of it, and its text.

    Raises:
        NotFound: none of that name, or it is gone. SafetyRefused: a link stands in its place.
    """
    found = next((item for item in list_checklists(parts).archived if item.file == name), None)
    if found is None:
        raise NotFound("expected the name of an archived checklist, found another; the archive lists them")
    content = read_plain(archive_folder(parts), Path(found.file))
    return {**found._asdict(), "text": content.decode("utf-8", "replace")}


def _text(moment: datetime) -> str:
    return moment_text(nanoseconds(moment))
