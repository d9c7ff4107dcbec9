"""Asking for a step, signing it, deciding about it, and the ways down: each an act that is written down before it counts.

Invariant: a step up is recorded only on a decision that passed; every way down needs nobody and nothing.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from peak_trade.compose import Parts
from peak_trade.durable import storing, write_bytes
from peak_trade.governance.approvals import Approvals, Signature, approve
from peak_trade.governance.checklists import CHECKLISTS
from peak_trade.governance.criteria import Answer
from peak_trade.governance.decisions import Dossier, GateDecision, decide, judge
from peak_trade.governance.deviations import SignedDeviation
from peak_trade.governance.documents import digest, encode
from peak_trade.governance.dossiers import pack, unpack
from peak_trade.governance.files import read_plain
from peak_trade.governance.ladder import Assignment, Decided, Demoted, Promoted, StrategyVersion
from peak_trade.governance.objections import Objected, Objection
from peak_trade.governance.permits import Permit, grant, verify
from peak_trade.governance.recorded import body_of
from peak_trade.governance.requests import Promotion, read_request
from peak_trade.governance.sshsig import APPROVAL
from peak_trade.journal.run import plain_json
from peak_trade.model.errors import CheckFailed, InputError, NotFound, SafetyRefused
from peak_trade.model.instrument import parse_symbol
from peak_trade.model.stage import Stage
from peak_trade.runs.acts import COMMAND, Act, Done, held, written
from peak_trade.runs.gates.asked import DOSSIER_END
from peak_trade.runs.gates.climb import Climb, collect, draft, present, rules_of
from peak_trade.runs.gates.record import DECIDE, DEMOTE, REQUEST, REVOKE, SIGN, GateRecord, Requested, gate_record
from peak_trade.runs.strategy_version import version_of
from peak_trade.strategy.base import Strategy
from peak_trade.strategy.catalogue import find, make

#: Below the state folder; how the files of a request end.
REQUESTS, PERMITS = Path("requests"), Path("permits")
JSON_END, SIGNATURE_END = ".json", ".json.sig"
#: How long ssh-keygen may take, seconds: a person may have to find a hardware key.
SIGNING_S = 300.0


class Asked(NamedTuple):
    """A request that was made; `lacking` is what would keep it from passing, besides approvals."""

    id: str
    path: Path
    request: Promotion
    lacking: tuple[Objection, ...]


class Decision(NamedTuple):
    """What a gate decided; the permit where it passed, and its file."""

    id: str
    decision: GateDecision
    permit: Permit | None
    path: Path | None


# ---- asking ----------------------------------------------------------------------------------------------------------


def ask(
    parts: Parts,
    climb: Climb,
    strategy: Strategy,
    by: str,
    *,
    deviations: Sequence[Path] = (),
    anyway: bool = False,
    via: str = COMMAND,
) -> Asked:
    """Make a request for a step and write it where people sign it.

    Args:
        strategy: what climbs. by: the person who asks; they never count among those who approve.
        deviations: files of signed deviations, each with its signature beside it.
        anyway: also where it could not pass as things stand.

    Raises:
        CheckFailed: it could not pass, or there is no checklist; says what lacks.
        InputError: *by* is nobody in the roles.
    """
    rules, record, at = rules_of(parts), gate_record(parts), parts.clock.now()
    if by not in rules.roles.people:
        names = ", ".join(sorted(rules.roles.people)) or "nobody"
        raise InputError(f"expected --by a person of governance/roles.toml ({names}), found {by}; name yourself there")
    if climb.checklist is None:
        name = CHECKLISTS[climb.rung]
        raise CheckFailed(
            f"expected a filled checklist for {climb.rung.value}, found none; make one with: peak-trade checklist new {name} "
            f"--strategy {climb.version.key}"
        )
    given = tuple(_deviation(path, at) for path in deviations)
    evidence = collect(parts, climb, rules.policy, record, at, requester=by)
    request = draft(parts, climb, evidence, at, by, at + rules.policy.request_lasts)
    request = _with_deviations(request, given)
    content = encode(request)
    read_request(content)
    preview = decide(
        Dossier(content, (), evidence, given),
        rules.roles,
        rules.policy,
        at=at,
        present=request.hashes,
        ladder=record.ladder,
        today=evidence,
    )
    lacking = tuple(item for item in preview.reasons() if item.code not in ("approvals_missing", "unasked"))
    if lacking and not anyway:
        words = "; ".join(item.words for item in lacking)
        raise CheckFailed(f"expected a request that can pass, found {len(lacking)} things in the way: {words}")
    name = digest(content)[:16]
    path = parts.state / REQUESTS / f"{name}{JSON_END}"
    facts = {
        "request": digest(content),
        "rung": climb.rung.value,
        "strategy": climb.version.key,
        "params": plain_json(strategy.model_dump(mode="json")),
        "checklist": climb.checklist.as_posix(),
        "deviations": [_signed_text(item) for item in given],
    }
    with held(parts), written(parts, REQUEST, by, via, **facts):
        write_bytes(path, content)
        with storing(path):
            path.chmod(0o444)
    return Asked(name, path, request, lacking)


def _with_deviations(request: Promotion, given: Sequence[SignedDeviation]) -> Promotion:
    from msgspec.structs import replace

    return replace(request, deviations=tuple(sorted(digest(item.content) for item in given)))


def _deviation(path: Path, at: datetime) -> SignedDeviation:
    """Read a deviation and the signature that lies beside it."""
    content, armoured = (read_plain(file.parent, Path(file.name)) for file in (path, path.with_name(path.name + ".sig")))
    return SignedDeviation(content, (Signature(armoured, at),))


def _signed_text(item: SignedDeviation) -> dict[str, Any]:
    """Return a deviation for the journal."""
    return {"content": item.content.decode(), "signatures": [one.armoured.decode() for one in item.signatures]}


# ---- signing ---------------------------------------------------------------------------------------------------------


def sign(parts: Parts, name: str, *, key: Path | None, signature: Path | None, via: str = COMMAND) -> Approvals:
    """Take a person's signature of a request: made now with a key, or a file that `ssh-keygen -Y sign` made.

    Returns:
        Who has approved with it, and who is missing.

    Raises:
        NotFound: no such request, or no signature.
        Objected: the signature does not count; says why.
        SafetyRefused: ssh-keygen did not sign.
    """
    record = gate_record(parts)
    asked, content = opened(parts, record, name)
    beside = parts.state / REQUESTS / f"{asked.sha256[:16]}{SIGNATURE_END}"
    armoured = ssh_signature(content, key) if key else _found(signature or beside)
    return file_signature(parts, record, asked, content, armoured, via)


def file_signature(parts: Parts, record: GateRecord, asked: Requested, content: bytes, armoured: bytes, via: str) -> Approvals:
    """Write a signature down, if it counts.

    Raises:
        Objected: it does not; nothing was written.
    """
    rules, request, at = rules_of(parts), read_request(content), parts.clock.now()
    mine = Signature(armoured, at)
    alone = approve(content, request, [mine], rules.roles, rules.policy, at=at)
    usual = {"approvals_missing", "requester"} if alone.asked else {"approvals_missing"}
    for objection in alone.objections:
        if objection.code not in usual:
            raise Objected(objection.code, f"expected a signature that counts, found one that does not: {objection.words}")
    before = list(record.signatures.get(asked.sha256, ()))
    both = approve(content, request, [*before, mine], rules.roles, rules.policy, at=at)
    if (twice := next((item for item in both.objections if item.code == "same_person"), None)) is not None:
        raise Objected(twice.code, f"expected somebody who has not signed yet: {twice.words}")
    who = request.requester if alone.asked else alone.approvals[0].person
    facts = {"request": asked.sha256, "signature": armoured.decode()}
    with held(parts):
        _check_same(parts, record)
        with written(parts, SIGN, who, via, **facts):
            return both


def _check_same(parts: Parts, record: GateRecord) -> None:
    """Look that nothing was recorded since something was worked out from the record; the caller holds the journal.

    Raises:
        SafetyRefused: something was.
    """
    if len(gate_record(parts).acts) != len(record.acts):
        raise SafetyRefused("expected nobody else to act on the gates meanwhile, found that somebody did; do it again")


def _found(path: Path) -> bytes:
    return read_plain(path.parent, Path(path.name))


def ssh_signature(content: bytes, key: Path) -> bytes:
    """Have ssh-keygen sign a request's bytes, those that were checked; it may ask for a passphrase or a touch."""
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "request.json"
        copy.write_bytes(content)
        command = ["ssh-keygen", "-Y", "sign", "-n", APPROVAL, "-f", os.fspath(key), os.fspath(copy)]
        try:
            ended = subprocess.run(command, stdout=subprocess.DEVNULL, timeout=SIGNING_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SafetyRefused(
                f"expected ssh-keygen to sign, found {error}; sign by hand and give --signature FILE"
            ) from error
        made = copy.with_name(copy.name + ".sig")
        if ended.returncode or not made.is_file():
            raise SafetyRefused(
                f"expected ssh-keygen to sign with {key}, found exit code {ended.returncode}; check the key, or sign by hand "
                "and give --signature FILE"
            )
        return made.read_bytes()


# ---- deciding --------------------------------------------------------------------------------------------------------


def opened(parts: Parts, record: GateRecord, name: str) -> tuple[Requested, bytes]:
    """Return a request that was recorded, and its bytes.

    Raises:
        NotFound: none of that name. Objected: its file is not what was recorded.
    """
    asked = record.request(name.removesuffix(JSON_END))
    if asked is None:
        names = ", ".join(sha256[:16] for sha256 in record.requests) or "none"
        raise NotFound(f"expected the id of a request ({names}), found {name[:80]}; peak-trade gate status lists them")
    content = read_plain(parts.state, REQUESTS / f"{asked.sha256[:16]}{JSON_END}")
    if digest(content) != asked.sha256:
        raise Objected(
            "changed", f"expected the request {asked.sha256[:16]} as it was made, found other bytes in its file; ask again"
        )
    return asked, content


def climb_of(asked: Requested, request: Promotion) -> Climb:
    """Return the step that was asked for, with the strategy as it is now.

    Raises:
        StrategyError: there is no such strategy any more.
    """
    body = asked.act.begun.body
    return Climb(
        rung=request.transition,
        version=version_of(make(body["strategy"], json.loads(body["params"]))),
        account=request.account,
        symbols=request.symbols,
        checklist=Path(body["checklist"]),
    )


def decide_request(parts: Parts, name: str, by: str, via: str = COMMAND) -> Decision:
    """Decide about a request and record it; grant the permit where it passes.

    A signature that lies beside the request and was not taken yet is taken first. Of a request that was decided and passed
    the permit is made again, the same bytes.

    Raises:
        NotFound: no such request.
        Objected: its file, or a signature, can't be used; it was revoked; or the permit that it led to is good no more.
    """
    record = gate_record(parts)
    asked, content = opened(parts, record, name)
    if (revoked := next((item for item in record.revocations if item.request == asked.sha256), None)) is not None:
        raise Objected("permit_revoked", f"{revoked.by} revoked it at {revoked.at:%F %T}: {revoked.why}; ask again")
    if (before := record.decision(asked.sha256)) is not None and before[1].passed:
        return _granted_again(parts, record, asked, before, by, via)
    _take_beside(parts, record, asked, content, via)
    record = gate_record(parts)
    rules, request, at = rules_of(parts), read_request(content), parts.clock.now()
    climb = climb_of(asked, request)
    evidence = collect(parts, climb, rules.policy, record, request.created_at, requester=request.requester)
    dossier = Dossier(content, tuple(record.signatures.get(asked.sha256, ())), evidence, deviations_of(asked))
    made = decide(
        dossier,
        rules.roles,
        rules.policy,
        at=at,
        present=present(parts, climb, evidence),
        ladder=record.ladder,
        today=collect(parts, climb, rules.policy, record, at, requester=request.requester),
    )
    packed = pack(dossier)
    facts = {"request": asked.sha256, "decision": made.content.decode(), "dossier": digest(packed)}
    if made.answer is Answer.PASS:
        # First, so that a process that dies in what follows leaves all that the permit is made from.
        write_bytes(parts.state / PERMITS / f"{asked.sha256[:16]}{DOSSIER_END}", packed)
    with held(parts):
        _check_same(parts, record)
        with written(parts, DECIDE, by, via, **facts) as act:
            act.outcome["answer"] = made.answer.value
            act.record(*body_of(made.event), made.event.at)
            if made.answer is not Answer.PASS:
                return Decision(asked.sha256[:16], made, None, None)
            return _granted(parts, asked, made, grant(made, rules.policy), act)


def _granted(parts: Parts, asked: Requested, made: GateDecision, permit: Permit, act: Act) -> Decision:
    """Write a permit down, then the step up that it rests on: without that it is good for nothing."""
    found = _kept(parts, asked, made, permit)
    event = Promoted(parts.clock.now(), made.request.assignment, made.request.transition, made.sha256)
    act.record(*body_of(event), event.at)
    return found


def _granted_again(
    parts: Parts, record: GateRecord, asked: Requested, before: tuple[Done, Decided], by: str, via: str
) -> Decision:
    """Make the permit of a decision that passed again, as when a process died after it decided."""
    act, decided = before
    packed = read_plain(parts.state, PERMITS / f"{asked.sha256[:16]}{DOSSIER_END}")
    if digest(packed) != act.begun.body["dossier"]:
        raise Objected("changed", f"expected the dossier of {asked.sha256[:16]} as it was decided, found other bytes")
    rules = rules_of(parts)
    made = judge(unpack(packed), rules.roles, rules.policy, at=decided.at, seen_at=parts.clock.now())
    if made.sha256 != decided.decision:
        raise Objected("other_decision", "; ".join(item.words for item in made.reasons()) or "the decision comes out otherwise")
    permit = grant(made, rules.policy)
    if record.ladder.rests_on(decided.decision):
        dossier, now = unpack(packed), parts.clock.now()
        found = verify(permit.content, dossier, rules.roles, rules.policy, now=now, ladder=record.ladder)
        if not isinstance(found, Permit):
            raise Objected(found[0].code, "; ".join(item.words for item in found))
        return _kept(parts, asked, made, permit)
    event = Promoted(parts.clock.now(), made.request.assignment, made.request.transition, made.sha256)
    if (objection := record.ladder.objection(event)) is not None:
        raise Objected(objection.code, objection.words)
    with held(parts):
        _check_same(parts, record)
        with written(
            parts, DECIDE, by, via, **{name: act.begun.body[name] for name in ("request", "decision", "dossier")}
        ) as go:
            return _granted(parts, asked, made, permit, go)


def _kept(parts: Parts, asked: Requested, made: GateDecision, permit: Permit) -> Decision:
    """Write a permit's file."""
    path = parts.state / PERMITS / f"{asked.sha256[:16]}{JSON_END}"
    write_bytes(path, permit.content)
    return Decision(asked.sha256[:16], made, permit, path)


def _take_beside(parts: Parts, record: GateRecord, asked: Requested, content: bytes, via: str) -> None:
    """Take the signature that `ssh-keygen -Y sign` left beside a request, if it was not taken before."""
    beside = parts.state / REQUESTS / f"{asked.sha256[:16]}{SIGNATURE_END}"
    try:
        armoured = _found(beside)
    except NotFound:
        return
    if all(known.armoured != armoured for known in record.signatures.get(asked.sha256, ())):
        file_signature(parts, record, asked, content, armoured, via)


def deviations_of(asked: Requested) -> tuple[SignedDeviation, ...]:
    """Return the deviations that a request was recorded with."""
    return tuple(
        SignedDeviation(item["content"].encode(), tuple(Signature(text.encode(), asked.at) for text in item["signatures"]))
        for item in asked.act.begun.body["deviations"]
    )


# ---- the ways down ---------------------------------------------------------------------------------------------------


def revoke(parts: Parts, name: str, by: str, why: str, via: str = COMMAND) -> str:
    """Take a permit back, for good, by the id of its request; return the hash of that.

    Raises:
        NotFound: no request of that name was recorded.
    """
    record = gate_record(parts)
    asked = record.request(name.removesuffix(JSON_END))
    if asked is None:
        raise NotFound(f"expected the id of a permit or request, found {name[:80]}; peak-trade gate status lists them")
    with held(parts), written(parts, REVOKE, by, via, request=asked.sha256, why=why):
        pass
    return asked.sha256


def demote(parts: Parts, assignments: Sequence[Assignment], to: Stage, by: str, why: str, via: str = COMMAND) -> None:
    """Take versions down; nobody's leave is needed, and a journal that does not verify keeps nobody from it."""
    facts: Mapping[str, Any] = {"to": to.value, "why": why}
    with held(parts), written(parts, DEMOTE, by, via, **facts) as act:
        for assignment in assignments:
            event = Demoted(parts.clock.now(), assignment, to, why)
            act.record(*body_of(event), event.at)


def demote_strategy(
    parts: Parts,
    strategy: str,
    to: str,
    by: str,
    why: str,
    *,
    symbols: Sequence[str] = (),
    account: str | None = None,
) -> list[tuple[Assignment, Stage]]:
    """Take every version of a strategy down that stands above a stage; return which, and the stage.

    Args:
        symbols: only these pairs; empty is all. account: only there; None is everywhere.

    Raises:
        InputError: no such stage, or nothing of the strategy stands above it.
    """
    stages = {stage.value: stage for stage in Stage if stage is not Stage.LIVE}
    stage = stages.get(to.strip().lower().replace("-", "_"))
    if stage is None:
        raise InputError(f"expected --to one of {', '.join(stages)}, found {to[:60]!r}; correct it")
    pairs = {parse_symbol(symbol) for symbol in symbols}
    key = find(strategy).key
    places: dict[tuple[StrategyVersion, str], set[str]] = {}
    order = list(Stage)
    for (version, owner, pair), now in gate_record(parts).ladder.standings().items():
        wanted = version.key == key and account in (None, owner) and (not pairs or pair in pairs)
        if wanted and order.index(now) > order.index(stage):
            places.setdefault((version, owner), set()).add(pair)
    if not places:
        raise InputError(f"expected something of {key} to stand above {stage.value}, found nothing; peak-trade gate status")
    found = [Assignment(version, owner, frozenset(mine)) for (version, owner), mine in places.items()]
    demote(parts, found, stage, by, why)
    return [(item, stage) for item in found]


def decision_facts(found: Decision) -> dict[str, Any]:
    """Return a decision as a JSON object."""
    document, permit = found.decision.document, found.permit
    return {
        "id": found.id,
        "answer": document.answer.value,
        "step": document.transition.value,
        "strategy": found.decision.request.strategy.key,
        "decided_at": document.decided_at.isoformat(),
        "criteria": [
            {"id": item.criterion, "hard": item.hard, "answer": item.answer.value, "why": item.why, "runs": list(item.runs)}
            for item in document.rulings
        ],
        "approvals": [{"person": item.person, "role": item.role.value} for item in document.approvals],
        "objections": [{"code": item.code, "words": item.words} for item in document.objections],
        "notes": [item._asdict() for item in found.decision.notes],
        "permit": None
        if permit is None
        else {
            "id": found.id,
            "stage": permit.document.stage.value,
            "until": permit.document.until.isoformat(),
            "file": str(found.path),
        },
    }
