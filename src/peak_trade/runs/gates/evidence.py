"""The evidence for a step, collected from journals, registry and repository: all there is, good and bad.

Invariant: it is a function of what was written until a moment; collected again for that moment it is the same.
Invariant: nobody chooses: every session of the version counts, and one whose journal is not as it was written, or is gone,
stands there as that and states nothing else.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from peak_trade.compose import DataChoice, Parts
from peak_trade.governance.criteria import Evidence, EvidenceKind, Subject
from peak_trade.governance.documents import Fact, Written, digest, encode, utc
from peak_trade.governance.ladder import Rung, StrategyVersion
from peak_trade.governance.objections import Objected
from peak_trade.governance.policy import Policy
from peak_trade.journal.chain import ENDED, Record, accounts, holder, is_held, read, segment_files
from peak_trade.journal.evidence import VersionKey
from peak_trade.journal.operators import ACCOUNT
from peak_trade.journal.registry import RunFilter
from peak_trade.journal.run import Run, RunStatus, sha256_of
from peak_trade.journal.session import Session
from peak_trade.journal.sessions import SessionFilter
from peak_trade.journal.signing import Verifier, public_path
from peak_trade.journal.verify import NOTES, verify_account
from peak_trade.model.address import is_loopback
from peak_trade.model.clock import parse_moment
from peak_trade.model.errors import CheckFailed, DataError, PeakTradeError
from peak_trade.model.stage import Stage
from peak_trade.research.sweep import Constraint, combinations
from peak_trade.research.terms import Terms
from peak_trade.runs.acts import EVIDENCE, Done
from peak_trade.runs.record import BACKTEST, WALK_FORWARD, exact_choice
from peak_trade.runs.research.again import reproduce
from peak_trade.runs.sessions.dead import lineage
from peak_trade.runs.sessions.evidence import KINDS, digits, session_evidence, so_far, subject_of
from peak_trade.strategy.catalogue import find, make

#: Kinds that sessions make.
OF_SESSIONS = frozenset({*KINDS.values(), EvidenceKind.EMULATOR})
_read_copy = msgspec.json.Decoder(Evidence).decode
#: How many backtests of a strategy are looked through for the newest of a version.
BACKTESTS_MAX = 10_000
#: What reading a row raises that somebody has edited.
MALFORMED = (KeyError, TypeError, ValueError, ArithmeticError, IndexError, AttributeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceScope:
    """What evidence is collected for: a version in pairs, a step, and the moment until which things count."""

    version: StrategyVersion
    symbols: tuple[str, ...]
    rung: Rung
    at: datetime

    def ages(self, policy: Policy) -> dict[EvidenceKind, timedelta]:
        """Return how old a run of each kind may be that some criterion of the step counts."""
        found: dict[EvidenceKind, timedelta] = {}
        for criterion in policy.criteria[self.rung]:
            for kind in criterion.evidence:
                found[kind] = max(found.get(kind, timedelta(0)), timedelta(days=criterion.max_age_days))
        return found

    def about(self, subject: Subject | None) -> bool:
        """Tell whether a run is about this version, in none but these pairs."""
        return subject is not None and subject.strategy == self.version and set(subject.symbols) <= set(self.symbols)


class _Gone(Written, frozen=True, kw_only=True):
    """What stands for a session whose journal is gone."""

    session_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Segment:
    """A session's segment of a journal, with its first record."""

    path: Path
    begun: Record

    @property
    def at(self) -> datetime:
        return parse_moment(self.begun.at)


def of_sessions(parts: Parts, wanted: EvidenceScope) -> list[Evidence]:
    """Return what every session of a version showed that ended, or died, until the moment, oldest first.

    Raises:
        StorageError: a file can't be read.
    """
    public = public_path(parts.key)
    registered = [
        session
        for session in parts.sessions.find(SessionFilter(strategy=wanted.version.key), 1_000_000)
        if Path(session.journal).is_relative_to(parts.journal)
    ]
    names = {*accounts(parts.journal), *(session.account for session in registered)} - {ACCOUNT}
    found: list[Evidence] = []
    for account in sorted(names):
        mine = [session for session in registered if session.account == account]
        found += _of_account(parts, account, mine, wanted, Verifier.load(public) if public.exists() else None)
    return sorted(found, key=lambda item: (item.at, item.run_id))


def _of_account(
    parts: Parts, account: str, registered: Sequence[Session], wanted: EvidenceScope, verifier: Verifier | None
) -> Iterator[Evidence]:
    """Yield what the sessions of an account showed."""
    segments = {path.stem: _Segment(path=path, begun=first) for path in _files(parts, account) if (first := _first(path))}
    mine = {name for name, segment in segments.items() if wanted.about(subject_of(segment.begun))}
    until = {name: segment for name, segment in segments.items() if segment.at <= wanted.at}
    continued = {segment.begun.body["continues"] for segment in until.values()}
    tips = [name for name in until if name not in continued and name in mine]
    # Also one whose segment says now that it was about something else.
    gone = [session for session in registered if session.session_id not in mine and _missed(session, wanted)]
    check_clock(((name, segments[name].at) for name in mine), parts.clock.now())
    known = {name for tip in tips for name in _line_of(until, tip)}
    written = gone or any((parts.journal / account).glob("*.jsonl"))
    unsound = _unsound(parts, account, verifier, known) if written else set()
    if None in unsound and not tips and not gone and (kind := KINDS.get(wanted.rung.lower)):
        yield _unproven(account, kind, wanted)
    for name in tips:
        records = _until_damage(lineage(parts.journal, account, name))
        subject = subject_of(until[name].begun)
        last = parse_moment(records[-1].at)
        check_clock([(name, last)], parts.clock.now())
        sound = not unsound & {None, *_line_of(until, name)}
        if subject is None:
            continue
        if last > wanted.at or _is_running(parts, account, name, records[-1]):
            yield from so_far(
                name, [record for record in records if parse_moment(record.at) <= wanted.at], subject, sound=sound
            )
        else:
            yield session_evidence(parts, name, records, subject, sound=sound)
    for session in gone:
        yield Evidence(
            kind=_registered_kind(session),
            run_id=session.session_id,
            sha256=digest(encode(_Gone(session_id=session.session_id))),
            at=parse_moment(session.run.finished_at or session.run.started_at),
            facts={"journal_sound": False},
            subject=_registered_subject(session.run),
        )


def _unproven(account: str, kind: EvidenceKind, wanted: EvidenceScope) -> Evidence:
    """Return what stands for an account in whose journal something was changed: it may have been of the version."""
    sha256 = digest(encode(_Gone(session_id=account)))
    subject = Subject(strategy=wanted.version, symbols=wanted.symbols)
    facts: dict[str, Fact] = {"journal_sound": False}
    return Evidence(kind=kind, run_id=f"journal-{account}"[:64], sha256=sha256, at=wanted.at, facts=facts, subject=subject)


def _until_damage(records: Iterator[Record]) -> list[Record]:
    """Return records up to the first that can't be read, of which the check of the journal tells."""
    found: list[Record] = []
    with suppress(DataError):
        for record in records:
            found.append(record)  # noqa: PERF402 - what came before the damage is kept
    return found


def check_clock(dated: Iterable[tuple[str, datetime]], now: datetime) -> None:
    """Look that nothing is dated later than now: what is would stay hidden until then.

    Raises:
        Objected: `clock_set_back`.
    """
    for name, at in dated:
        if at > now:
            raise Objected("clock_set_back", f"{name} is dated {at:%F %T}, it is said to be {now:%F %T}; put the clock right")


def _is_running(parts: Parts, account: str, name: str, last: Record) -> bool:
    """Tell whether a session is still at work: its account is held, and not only said to be."""
    named = last.kind != ENDED and holder(parts.journal, account).session_id == name
    return named and is_held(parts.journal, account)


def _files(parts: Parts, account: str) -> list[Path]:
    return segment_files(parts.journal, account) if (parts.journal / account).is_dir() else []


def _first(path: Path) -> Record | None:
    """Return the first record of a segment, None where it has none or another than a session's."""
    try:
        first = next(read(path), None)
    except PeakTradeError:
        return None
    return first if first is not None and {"spec", "continues", "versions"} <= first.body.keys() else None


def _line_of(segments: Mapping[str, _Segment], name: str) -> Iterator[str]:
    """Yield a session and the dead ones that it goes on with."""
    seen: set[str] = set()
    step: str | None = name
    while step is not None and step not in seen:
        seen.add(step)
        yield step
        step = segments[step].begun.body["continues"] if step in segments else None


def _unsound(parts: Parts, account: str, verifier: Verifier | None, mine: set[str]) -> set[str | None]:
    """Return the sessions of an account whose journal is not as it was written; None stands for all of them.

    Args:
        mine: the sessions that are known to be about the version.
    """
    if verifier is None:
        return {None}
    remembered = {
        str(session.session_id): (session.head_seq, session.head_sha256)
        for session in parts.sessions.find(SessionFilter(account=account), 1_000_000)
        if session.head_seq is not None and session.head_sha256 is not None
    }
    report = verify_account(parts.journal, account, verifier, expected=remembered)
    found: set[str | None] = {flaw.segment for flaw in report.flaws if flaw.code not in NOTES}
    # Where a segment is gone that another names, or was changed, nobody knows what was in it and of which version it was.
    return found | {None} if report.findings or found - mine else found


def _missed(session: Session, wanted: EvidenceScope) -> bool:
    """Tell whether a session whose journal is gone was one of the version, and over by the moment."""
    if session.run.status is RunStatus.STARTED or not wanted.about(_registered_subject(session.run)):
        return False
    return parse_moment(session.run.finished_at or session.run.started_at) <= wanted.at


def _registered_subject(run: Run) -> Subject | None:
    """Return what the registry knows of the version that a session or backtest was of; None where it is not of one."""
    code = run.versions.get("strategy", "")
    if "+" in run.strategy or len(code) != len(digest(b"")):
        return None
    version = StrategyVersion(key=run.strategy, params_sha256=sha256_of(run.params), code_sha256=code)
    return Subject(strategy=version, symbols=tuple(sorted(run.symbol.split("+"))))


def _registered_kind(session: Session) -> EvidenceKind:
    place = str(session.feed.get("exchange", ""))
    return EvidenceKind.EMULATOR if is_loopback(place) else KINDS[Stage(session.mode)]


def key_of(version: StrategyVersion) -> VersionKey:
    """Return how the registry's copies know a version."""
    return VersionKey(version.key, version.params_sha256, version.code_sha256)


def keep(parts: Parts, found: Sequence[Evidence]) -> None:
    """Copy what sessions showed to where overviews read it, as far as it is not there."""
    for item in found:
        if item.subject is None:
            continue
        parts.evidence.keep(item.run_id, key_of(item.subject.strategy), item.at, encode(item).decode())


def remembered(parts: Parts, version: VersionKey, since: datetime) -> list[Evidence]:
    """Return the copies of what sessions of a version showed that ended since a moment, oldest first.

    Raises:
        CheckFailed: one is none.
    """
    try:
        return [_read_copy(text) for text in parts.evidence.documents(version, since)]
    except (msgspec.MsgspecError, ValueError) as error:
        raise unreadable(version.strategy, error) from None


def unreadable(strategy: str, error: Exception) -> CheckFailed:
    """Return the refusal of a copy of evidence that is none."""
    return CheckFailed(
        f"expected the registry's copy of what sessions of {strategy} showed, found something else ({error}); "
        "peak-trade gate explain with --fresh makes it anew from the journals"
    )


def of_backtests(parts: Parts, wanted: EvidenceScope, *, fresh: bool = True) -> list[Evidence]:
    """Return the newest backtest of a version in each pair, done again; one that comes out otherwise is none.

    Args:
        fresh: whether to do it again; otherwise it is taken as the registry has it.
    """
    newest: dict[str, Run] = {}
    completed = RunFilter(run_type=BACKTEST, status=RunStatus.COMPLETED.value, strategy=wanted.version.key)
    for run in parts.registry.find(completed, BACKTESTS_MAX):
        if wanted.about(_registered_subject(run)) and (at := utc(run.finished_at)) is not None and at <= wanted.at:
            newest.setdefault(run.symbol, run)
    return [found for run in newest.values() if not fresh or _comes_out(parts, run) if (found := _backtest(run)) is not None]


def _comes_out(parts: Parts, run: Run) -> bool:
    """Tell whether a backtest comes out the same, over the very bars and the pair that its row names."""
    try:
        again = reproduce(parts, run.run_id)
        exact = exact_choice(DataChoice.from_json(run.spec["data"]), again.dataset).to_json()
    except (PeakTradeError, *MALFORMED):
        return False
    return again.identical and exact == run.spec["data"] and again.dataset.bars.instrument.symbol == run.symbol


def _backtest(run: Run) -> Evidence | None:
    """Return what a backtest showed; None where its row makes no sense."""
    try:
        choice, terms = run.spec["data"], Terms.from_json(run.spec["terms"])
        days = (parse_moment(choice["end"]) - parse_moment(choice["start"])) / timedelta(days=1)
        facts: dict[str, Fact] = {
            "dataset_sha256": str(run.dataset_sha256),
            "history_days": digits(days),
            "fee_bps": digits(terms.fee_bps),
            "slippage_bps": digits(terms.slippage_bps),
            "trades": int(run.metrics["num_trades"]),
            "max_drawdown": digits(-run.metrics["max_drawdown"]),
        }
        at = parse_moment(run.finished_at or "")
    except MALFORMED:
        return None
    if "sharpe" in run.metrics:
        facts["sharpe"] = digits(run.metrics["sharpe"])
    plain = {"run_id": run.run_id, "spec": run.spec_sha256, "result": run.result_sha256, "finished_at": run.finished_at}
    return Evidence(
        kind=EvidenceKind.BACKTEST,
        run_id=run.run_id,
        sha256=sha256_of(plain),
        at=at,
        facts=facts,
        subject=_registered_subject(run),
    )


def of_walks(parts: Parts, wanted: EvidenceScope, *, fresh: bool = True) -> list[Evidence]:
    """Return the newest walk-forward in each pair that had a version among its combinations, done again.

    Args:
        fresh: whether to do it again; otherwise it is taken as the registry has it.
    """
    newest: dict[str, Run] = {}
    completed = RunFilter(run_type=WALK_FORWARD, status=RunStatus.COMPLETED.value, strategy=wanted.version.key)
    for run in parts.registry.find(completed, BACKTESTS_MAX):
        fits = {run.symbol} <= set(wanted.symbols) and run.versions.get("strategy") == wanted.version.code_sha256
        if fits and (at := utc(run.finished_at)) is not None and at <= wanted.at and _walked(run, wanted.version):
            newest.setdefault(run.symbol, run)
    mine = [run for run in newest.values() if not fresh or _comes_out(parts, run)]
    return [found for run in mine if (found := _walk(run, wanted.version)) is not None]


def _walked(run: Run, version: StrategyVersion) -> bool:
    """Tell whether a version's parameters were among the combinations of a walk-forward."""
    try:
        fixed, grid = dict(run.spec["fixed"]), {name: tuple(values) for name, values in run.spec["grid"]}
        names = find(run.strategy).model_fields
        constraints = tuple(Constraint.parse(text, names) for text in run.spec["constraints"])
        every = combinations(run.strategy, grid, constraints, fixed)
        dumped = (make(run.strategy, {**fixed, **params}).model_dump(mode="json") for params in every)
        return any(sha256_of(params) == version.params_sha256 for params in dumped)
    except (PeakTradeError, *MALFORMED):
        return False


def _walk(run: Run, version: StrategyVersion) -> Evidence | None:
    """Return what a walk-forward showed; None where its row makes no sense."""
    try:
        terms = Terms.from_json(run.spec["terms"])
        facts: dict[str, Fact] = {
            "suite": WALK_FORWARD,
            "dataset_sha256": str(run.dataset_sha256),
            "windows": int(run.metrics["windows"]),
            "fee_bps": digits(terms.fee_bps),
            "slippage_bps": digits(terms.slippage_bps),
            "trades": int(run.metrics["num_trades"]),
            "total_return": digits(run.metrics["total_return"]),
        }
        at = parse_moment(run.finished_at or "")
    except MALFORMED:
        return None
    facts |= {name: digits(run.metrics[name]) for name in ("sharpe", "efficiency") if name in run.metrics}
    plain = {"run_id": run.run_id, "spec": run.spec_sha256, "result": run.result_sha256, "finished_at": run.finished_at}
    subject = Subject(strategy=version, symbols=(run.symbol,))
    return Evidence(kind=EvidenceKind.SWEEP, run_id=run.run_id, sha256=sha256_of(plain), at=at, facts=facts, subject=subject)


def beside_backtest(found: Sequence[Evidence]) -> list[Evidence]:
    """Return evidence with whether what was measured over bars was measured over those of the pair's backtest.

    A run that says over which bars it was says so too; where there is no backtest, none was.
    """
    bars = {
        item.subject.symbols: item.facts.get("dataset_sha256")
        for item in found
        if item.kind is EvidenceKind.BACKTEST and item.subject is not None
    }
    told = []
    for item in found:
        sha256 = item.facts.get("dataset_sha256")
        if item.subject is None or sha256 is None or item.kind is EvidenceKind.BACKTEST:
            told.append(item)
            continue
        facts = {**item.facts, "of_backtest": bars.get(item.subject.symbols) == sha256}
        told.append(msgspec.structs.replace(item, facts=facts))
    return told


def of_acts(acts: Iterable[Done], wanted: EvidenceScope) -> list[Evidence]:
    """Return test runs and drills that were written down until the moment and are of the version, or of none."""
    found = []
    for act in acts:
        if act.action != EVIDENCE or not act.went_well or act.at > wanted.at:
            continue
        body = act.begun.body
        subject = None if body["subject"] is None else msgspec.convert(body["subject"], Subject)
        if subject is None or wanted.about(subject):
            kind, facts = EvidenceKind(body["kind"]), dict(act.last.body["facts"])
            found.append(
                Evidence(kind=kind, run_id=act.segment, sha256=act.last.sha256, at=act.at, facts=facts, subject=subject)
            )
    return found


def of_age(found: Iterable[Evidence], policy: Policy, wanted: EvidenceScope) -> list[Evidence]:
    """Return the evidence that some criterion of the step may count, by its kind and age."""
    ages = wanted.ages(policy)
    return [item for item in found if item.kind in ages and wanted.at - ages[item.kind] <= item.at <= wanted.at]
