"""People, evidence and requests for the gates' tests: a case that passes for each step, of which a test changes one thing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import msgspec
from tests.paths import ROOT
from tests.signers import PURPOSE, SshSigner

from peak_trade.governance.approvals import Signature
from peak_trade.governance.criteria import MADE_IN, OF_VERSION, Criterion, Evidence, EvidenceKind, Measure, Subject
from peak_trade.governance.decisions import Dossier, GateDecision, decide
from peak_trade.governance.deviations import Deviation, SignedDeviation
from peak_trade.governance.documents import digest, encode
from peak_trade.governance.ladder import Assignment, Decided, Ladder, LadderEvent, Promoted, Rung, StrategyVersion
from peak_trade.governance.permits import Permit, grant
from peak_trade.governance.policy import Policy, read_policy
from peak_trade.governance.requests import PARTS, EvidenceRef, Promotion
from peak_trade.governance.roles import Roles, read_roles
from peak_trade.model.stage import Stage

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
MADE = NOW - timedelta(days=2)
SIGNED = NOW - timedelta(days=1)
DAY = timedelta(days=1)
POLICY = (ROOT / "governance" / "policy.toml").read_bytes()
SYMBOLS = ("BTC/EUR", "ETH/EUR")
RUNGS = tuple(Rung)
#: Who there is, with their roles; `dana` asks.
PEOPLE = {
    "olga": ("owner",),
    "otto": ("owner",),
    "rita": ("reviewer",),
    "rudi": ("risk_officer",),
    "zoe": ("second_person",),
    "dana": ("developer", "owner", "reviewer"),
    "ivan": ("operator",),
    "mona": ("owner", "reviewer", "risk_officer", "second_person"),
}
NEEDED = {
    Rung.RESEARCH_SHADOW: ("olga",),
    Rung.SHADOW_TESTNET: ("olga", "rita"),
    Rung.TESTNET_SHADOW_LIVE: ("olga", "rudi"),
    Rung.SHADOW_LIVE_LIVE: ("olga", "rudi", "zoe"),
}


def sha(text: str) -> str:
    """Return some hash."""
    return digest(text.encode())


VERSION = StrategyVersion(key="ma_crossover", params_sha256=sha("params"), code_sha256=sha("strategy"))


def key(name: str, number: int = 0) -> SshSigner:
    """Return a person's key; everybody has two."""
    return _key(name, number)


@cache
def _key(_name: str, _number: int) -> SshSigner:
    return SshSigner()


@cache
def policy() -> Policy:
    """The policy of the repository."""
    return read_policy(POLICY)


def roles_toml(people: Mapping[str, Sequence[str]] = PEOPLE, extra: Mapping[str, str] | None = None) -> str:
    """Return a file of roles; *extra* has more lines for the first key of a person."""
    parts = []
    for name, held in people.items():
        listed = ", ".join(f'"{role}"' for role in held)
        parts.append(f'[[person]]\nid = "{name}"\nname = "{name.title()} Example"\nroles = [{listed}]')
        for number in (0, 1):
            more = (extra or {}).get(name, "") if number == 0 else ""
            parts.append(f'[[person.key]]\nline = "{key(name, number).line}"\n{more}')
    return "\n".join(parts)


@cache
def everybody() -> Roles:
    """The people there are."""
    return read_roles(roles_toml().encode())


def roles_with(**extra: str) -> Roles:
    """The same with more lines for the first key of somebody."""
    return read_roles(roles_toml(extra=extra).encode())


def hashes() -> dict[str, dict[str, str]]:
    """Return what a request is bound to."""
    found = {part: {f"{part}.file": sha(part)} for part in PARTS}
    return found | {"policy": {"governance/policy.toml": digest(POLICY)}}


def assignment(symbols: Iterable[str] = SYMBOLS, account: str = "paper") -> Assignment:
    """Return what climbs."""
    return Assignment(VERSION, account, frozenset(symbols))


def _good(measure: Measure, runs: int) -> dict[str, Any]:
    """Return facts by which so many runs together hold a measure, by some distance."""
    if measure.take == "every":
        value = measure.expected if not measure.as_requested else next(iter(hashes()[measure.as_requested].values()))
        return {measure.of: value}
    if measure.take == "share":
        return {measure.of: 100, measure.among: 100}
    if not measure.of:
        return {}
    limit = measure.limit
    assert limit is not None
    if measure.take == "sum":
        return {measure.of: int(limit / runs) + 1}
    low = measure.at_most is not None or measure.below is not None
    return {measure.of: "0" if low else f"{limit + 1:f}"}


def evidence_for(rung: Rung, at: datetime = MADE) -> list[Evidence]:
    """Return runs by which every criterion of a step passes."""
    found: list[Evidence] = []
    sessions: dict[EvidenceKind, dict[str, Any]] = {}
    for item in policy().criteria[rung]:
        kind = item.evidence[0]
        if kind not in (EvidenceKind.SHADOW, EvidenceKind.VALIDATE_ONLY, EvidenceKind.LIVE_DATA):
            facts = dict(item.where)
            for measure in item.measure:
                facts |= _good(measure, 1)
            name = f"{kind.value}-{'-'.join(map(str, item.where.values()))}".strip("-")
            before = next((run.facts for run in found if run.run_id == name), {})
            found = [run for run in found if run.run_id != name]
            found.append(a_run(kind, name, at - timedelta(hours=3), before | facts, of_version=item.of_version))
        else:
            sessions.setdefault(kind, {}).update(item.where)
            for measure in item.measure:
                sessions.setdefault(kind, {}).update(_good(measure, 60))
    for kind, facts in sessions.items():
        for day in range(60):
            end = at - timedelta(hours=2) - day * DAY
            times = {"started_at": (end - timedelta(hours=8)).isoformat(), "finished_at": end.isoformat()}
            found.append(a_run(kind, f"{kind.value}-{day}", end, facts | times))
    return found


def a_run(kind: EvidenceKind, run_id: str, at: datetime, facts: dict[str, Any], *, of_version: bool = False) -> Evidence:
    """Return one run's evidence."""
    named = kind in OF_VERSION or of_version
    subject = Subject(strategy=VERSION, symbols=SYMBOLS) if named else None
    return Evidence(kind=kind, run_id=run_id, sha256=sha(run_id), at=at, facts=facts, subject=subject)


def altered(found: Sequence[Evidence], run_id: str, **facts: Any) -> list[Evidence]:
    """Return evidence with other facts in one run; None takes one away."""

    def of(item: Evidence) -> Evidence:
        if item.run_id != run_id:
            return item
        merged = {name: value for name, value in (item.facts | facts).items() if value is not None}
        return msgspec.structs.replace(item, facts=merged)

    return [of(item) for item in found]


def signed(content: bytes, *names: str, at: datetime = SIGNED, purpose: str = PURPOSE, number: int = 0) -> list[Signature]:
    """Return people's signatures over bytes."""
    return [Signature(key(name, number).sign(content, purpose), at) for name in names]


@dataclass(frozen=True, kw_only=True)
class GateCase:
    """A step that is asked for, with everything it takes; by default it passes."""

    rung: Rung = Rung.SHADOW_TESTNET
    requester: str = "dana"
    created_at: datetime = MADE
    expires_at: datetime = MADE + 14 * DAY
    evidence: Sequence[Evidence] | None = None
    parts: Mapping[str, Mapping[str, str]] = field(default_factory=hashes)
    people: Sequence[str] | None = None
    signatures: Sequence[Signature] | None = None
    deviations: Sequence[SignedDeviation] = ()
    roles: Roles = field(default_factory=everybody)
    policy: Policy = field(default_factory=policy)
    at: datetime = NOW
    account: str = "paper"
    symbols: tuple[str, ...] = SYMBOLS

    @property
    def runs(self) -> Sequence[Evidence]:
        """The evidence."""
        return evidence_for(self.rung, self.created_at) if self.evidence is None else self.evidence

    @property
    def request(self) -> Promotion:
        """The request."""
        refs = [
            EvidenceRef(kind=item.kind.value, run_id=item.run_id, sha256=item.sha256, document=item.document)
            for item in sorted(self.runs, key=lambda item: item.run_id)
        ]
        return Promotion(
            requester=self.requester,
            transition=self.rung,
            strategy=VERSION,
            account=self.account,
            symbols=self.symbols,
            created_at=self.created_at,
            expires_at=self.expires_at,
            parts={part: dict(found) for part, found in self.parts.items()},
            evidence=tuple(refs),
            deviations=tuple(sorted(digest(item.content) for item in self.deviations)),
        )

    @property
    def content(self) -> bytes:
        """The request's bytes."""
        return encode(self.request)

    @property
    def dossier(self) -> Dossier:
        """What it is decided from."""
        names = NEEDED[self.rung] if self.people is None else self.people
        given = signed(self.content, *names) if self.signatures is None else self.signatures
        asking = signed(self.content, self.requester) if self.requester in PEOPLE else []
        return Dossier(self.content, (*given, *asking), tuple(self.runs), tuple(self.deviations))

    @property
    def present(self) -> dict[str, dict[str, str]]:
        """What the request is bound to, unchanged."""
        return self.request.hashes

    def decide(self, **given: Any) -> GateDecision:
        """Decide; *given* replaces dossier, present, ladder or today."""
        dossier = given.pop("dossier", None) or self.dossier
        words = {"present": self.present, "ladder": Ladder(climbed(self.rung.lower))}
        words |= {"today": evidence_for(self.rung, self.at)} | given
        return decide(dossier, self.roles, self.policy, at=words.pop("at", self.at), **words)

    def permit(self) -> Permit:
        """Grant what was decided."""
        return grant(self.decide(), self.policy)

    def but(self, **changes: Any) -> "GateCase":
        """Return the same case but for something."""
        return replace(self, **changes)


def climbed(stage: Stage, at: datetime = NOW - 100 * DAY) -> list[LadderEvent]:
    """Return events by which the version reached a stage."""
    events: list[LadderEvent] = []
    for rung in RUNGS[: list(Stage).index(stage)]:
        events += [Decided(at, assignment(), rung, sha(rung.value), True), Promoted(at, assignment(), rung, sha(rung.value))]
    return events


def a_deviation(case: GateCase, signers: Sequence[str] = ("olga",), **changes: Any) -> SignedDeviation:
    """Return a deviation from the time in stage of a case, signed."""
    words = {
        "format": "peak-trade-deviation-1",
        "transition": case.rung,
        "strategy": VERSION,
        "account": case.account,
        "criterion": "time_in_shadow",
        "limits": {"span_days": 12},
        "reason": "excellent results",
        "created_at": MADE,
        "until": NOW + 10 * DAY,
    } | changes
    content = encode(msgspec.convert(words, Deviation))
    return SignedDeviation(content, tuple(signed(content, *signers, purpose="peak-trade-deviation")))


def codes(decision: GateDecision) -> set[str]:
    """Return the codes of a decision's reasons."""
    return {item.code for item in decision.reasons()}


def asks(rung: Rung, name: str) -> Criterion:
    """Return a criterion of the repository's policy."""
    found = policy().criterion(rung, name)
    assert found is not None
    assert any(list(Stage).index(MADE_IN[kind]) <= list(Stage).index(rung.lower) for kind in found.evidence)
    return found
