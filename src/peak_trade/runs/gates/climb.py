"""A step that a strategy version may take: its evidence, the request it would make, and how each criterion stands.

Invariant: collected again for the same moment, evidence and hashes are the same, or the difference is told.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec

from peak_trade.compose import Parts
from peak_trade.governance.criteria import Answer, Evidence, EvidenceKind, Ruling, evaluate
from peak_trade.governance.decisions import roles_named
from peak_trade.governance.files import load_policy, load_roles
from peak_trade.governance.ladder import Assignment, Rung, StrategyVersion
from peak_trade.governance.policy import Policy
from peak_trade.governance.requests import EVIDENCE, EvidenceRef, Hashes, Promotion
from peak_trade.governance.roles import Roles
from peak_trade.model.errors import NotFound
from peak_trade.model.stage import Stage
from peak_trade.runs.gates.bound import bound_now, in_file, limits_sha256
from peak_trade.runs.gates.evidence import (
    OF_SESSIONS,
    EvidenceScope,
    beside_backtest,
    check_clock,
    keep,
    key_of,
    of_acts,
    of_age,
    of_backtests,
    of_sessions,
    of_walks,
    remembered,
)
from peak_trade.runs.gates.record import GateRecord, Stood
from peak_trade.runs.gates.repository import of_checklist, of_repository

#: In which stage a session of each kind is in its place.
_PLACE = {
    EvidenceKind.SHADOW: Stage.SHADOW,
    EvidenceKind.VALIDATE_ONLY: Stage.TESTNET,
    EvidenceKind.LIVE_DATA: Stage.SHADOW_LIVE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Climb:
    """A step, a strategy version, an account, pairs in order, and the filled checklist where there is one.

    Attributes:
        checklist: below the folder of the configuration.
    """

    rung: Rung
    version: StrategyVersion
    account: str
    symbols: tuple[str, ...]
    checklist: Path | None = None

    @property
    def assignment(self) -> Assignment:
        """What climbs, where."""
        return Assignment(self.version, self.account, frozenset(self.symbols))


class Rulebook(NamedTuple):
    """Who decides and what is asked, as the files have it now."""

    roles: Roles
    policy: Policy


class GateLook(NamedTuple):
    """How a step stands: the request it would make now, each criterion, and the evidence."""

    request: Promotion
    rulings: tuple[Ruling, ...]
    evidence: tuple[Evidence, ...]

    @property
    def lacking(self) -> tuple[Ruling, ...]:
        """What does not pass."""
        return tuple(ruling for ruling in self.rulings if ruling.answer is not Answer.PASS)


def rules_of(parts: Parts) -> Rulebook:
    """Read roles and policy.

    Raises:
        NotFound: one of the files is not there. ConfigError: it is malformed. SafetyRefused: a link stands in its path.
    """
    root = parts.settings.root
    return Rulebook(load_roles(root), load_policy(root))


def collect(
    parts: Parts, climb: Climb, policy: Policy, record: GateRecord, at: datetime, *, requester: str = "", fresh: bool = True
) -> tuple[Evidence, ...]:
    """Return the evidence for a step as of a moment, by run.

    Args:
        requester: who asks; what they say themselves does not count where another person is asked for.
        fresh: from the journals, each verified, and from backtests done again; otherwise as the registry remembers both,
            which is quick and good enough to look at.

    Raises:
        Objected: `clock_set_back`: something is dated later than now, and would stay hidden until then.
        CheckFailed: what the registry remembers can't be read.
    """
    wanted = EvidenceScope(version=climb.version, symbols=climb.symbols, rung=climb.rung, at=at)
    if fresh:
        check_clock(((act.segment, act.at) for act in record.acts), parts.clock.now())
        sessions = of_sessions(parts, wanted)
        keep(parts, sessions)
    else:
        sessions = _remembered(parts, wanted, policy)
    found: list[Evidence] = list(_placed(sessions, record.stood(climb.assignment)))
    found += of_backtests(parts, wanted, fresh=fresh)
    if EvidenceKind.SWEEP in wanted.ages(policy):
        found += of_walks(parts, wanted, fresh=fresh)
    found += of_acts(record.acts, wanted)
    found = beside_backtest(found)
    found += of_repository(parts, record.acts, climb.rung, climb.symbols, limits_sha256(in_file(parts.settings)), at)
    found += _checklist(parts, climb, policy, at, requester)
    return tuple(sorted(of_age(found, policy, wanted), key=lambda item: item.run_id))


def _checklist(parts: Parts, climb: Climb, policy: Policy, at: datetime, requester: str) -> list[Evidence]:
    """Return what the filled checklist shows; nothing where it is gone."""
    if climb.checklist is None:
        return []
    criterion = policy.criterion(climb.rung, "checklist_current")
    max_age = timedelta(days=criterion.max_age_days if criterion else 0)
    about = draft(parts, climb, (), at, requester or "nobody", at + policy.request_lasts)
    people = {name for name, person in load_roles(parts.settings.root).people.items() if person.valid(at)}
    try:
        return list(of_checklist(parts.settings.root, climb.checklist, about, people, max_age, at))
    except NotFound:
        return []


def _remembered(parts: Parts, wanted: EvidenceScope, policy: Policy) -> list[Evidence]:
    ages = wanted.ages(policy)
    oldest = wanted.at - max((ages[kind] for kind in OF_SESSIONS if kind in ages), default=timedelta(0))
    every = remembered(parts, key_of(wanted.version), oldest)
    return [item for item in every if wanted.about(item.subject) and item.at <= wanted.at]


def _placed(sessions: Sequence[Evidence], stood: Stood) -> Iterator[Evidence]:
    """Yield sessions with whether their version stood in their stage when they began."""
    for item in sessions:
        begun = item.facts.get("started_at")
        if item.kind not in _PLACE or not isinstance(begun, str):
            yield item
            continue
        inside = stood.at(datetime.fromisoformat(begun)) is _PLACE[item.kind]
        yield msgspec.structs.replace(item, facts={**item.facts, "in_stage": inside})


def draft(parts: Parts, climb: Climb, evidence: Sequence[Evidence], at: datetime, requester: str, until: datetime) -> Promotion:
    """Return the request that a step would make now, without deviations."""
    refs = [
        EvidenceRef(kind=item.kind.value, run_id=item.run_id, sha256=item.sha256, document=item.document) for item in evidence
    ]
    return Promotion(
        requester=requester,
        transition=climb.rung,
        strategy=climb.version,
        account=climb.account,
        symbols=climb.symbols,
        created_at=at,
        expires_at=until,
        parts=bound_now(parts, climb.version, climb.checklist, evidence),
        evidence=tuple(refs),
    )


def present(parts: Parts, climb: Climb, evidence: Sequence[Evidence]) -> Hashes:
    """Return the hashes of everything a request for a step is bound to, as it is now."""
    bound = bound_now(parts, climb.version, climb.checklist, evidence)
    return {**bound, EVIDENCE: {item.run_id: item.sha256 for item in evidence}}


def present_but_runs(parts: Parts, request: Promotion) -> Hashes:
    """Return what `present` does, but for data and runs, which take their time: these are as the request has them."""
    checklist = next(map(Path, request.parts["checklist"]))
    bound = bound_now(parts, request.strategy, checklist, ())
    return {**bound, **{name: request.hashes[name] for name in ("datasets", EVIDENCE)}}


def look_at_gate(
    parts: Parts, climb: Climb, rules: Rulebook, record: GateRecord, at: datetime, *, fresh: bool = True
) -> GateLook:
    """Tell how a step stands at a moment; where it is not looked at afresh, the request is bound to no evidence."""
    evidence = collect(parts, climb, rules.policy, record, at, fresh=fresh)
    # Criteria ask nothing of these hashes, and to have them every journal is opened.
    request = draft(parts, climb, evidence if fresh else (), at, "nobody", at + rules.policy.request_lasts)
    rulings = [roles_named(request, rules.roles, at)]
    # Most criteria are about few runs, and most runs are sessions.
    by_kind: dict[EvidenceKind, list[Evidence]] = {}
    for item in evidence:
        by_kind.setdefault(item.kind, []).append(item)
    for criterion in rules.policy.criteria[climb.rung]:
        mine = [item for kind in criterion.evidence for item in by_kind.get(kind, ())]
        rulings.append(evaluate(criterion, mine, request, at))
    return GateLook(request, tuple(rulings), evidence)
