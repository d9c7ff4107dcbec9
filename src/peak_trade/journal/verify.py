"""The check of an account's journal: that what is there is unchanged, and that nothing is missing that was proven there.

Two verdicts that say different things: a chain of hashes shows every change, but a tail that was cut off leaves a shorter
chain that is whole. Only a signed head, a head that the registry remembers, or the next session's link shows that it is gone.
What came after the last of these is as good as the file it lies in.

Invariant: verifying only reads, needs memory for one record at a time, and may run while the session writes.
"""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from peak_trade.journal.chain import (
    BEGUN,
    ENDED,
    ZERO,
    Record,
    canonical,
    folder_of,
    head_line,
    head_message,
    heads_path,
    lines,
    parse,
    parse_head,
    parse_shape,
    seal,
    segment_files,
    segments,
)
from peak_trade.journal.signing import Verifier
from peak_trade.model.errors import InvariantBroken, NotFound

#: Something is not as it was written.
ALTERED = frozenset(
    {
        "changed",  # a record or head is not what its hash was made over, or is none at all
        "not_canonical",  # same content, other bytes
        "removed",  # a record or head is gone from the middle, or another stands in its place
        "reordered",  # a record or head stands behind one that came after it
        "inserted",  # a record, head or segment stands where none can be
        "rewritten",  # the records fit each other but not what was signed or remembered
        "bad_signature",  # a head was not signed by its key
        "unknown_key",  # a head was signed by a key that is not ours
        "broken_link",  # a segment does not begin where the one before it ends
    }
)
#: Something was there that is not there now, or there is no proof that it is all there.
MISSING = frozenset({"removed", "cut", "missing_segment", "broken_link", "no_head"})
#: A crash's normal marks, wrong in themselves to neither verdict: a torn last line, and an end that its process died before
#: it could sign, but that the account's next session, which is signed, was written after.
NOTES = frozenset({"torn", "unsigned_end"})
#: Findings kept for a segment; a file that is damaged all over needs no more to be told so.
FLAWS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Flaw:
    """What was found: in which session's segment, at which record (None: not one record's), its code and a sentence."""

    segment: str
    seq: int | None
    code: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentReport:
    """What one segment's check found.

    Attributes:
        records: whole records whose hash fits.
        complete: nothing is missing as far as a head or a link proves.
        ended: its last record is the end of a session.
        signed_to: last record that a valid head stands for; what comes after it is not proven to be all.
    """

    session_id: str
    records: int
    complete: bool
    ended: bool
    signed_to: int | None
    findings: tuple[Flaw, ...]

    @property
    def intact(self) -> bool:
        """Whether nothing was changed."""
        return not any(flaw.code in ALTERED for flaw in self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountReport:
    """What an account's check found: its segments in order, and `findings` about segments that are not there."""

    account: str
    segments: tuple[SegmentReport, ...]
    findings: tuple[Flaw, ...]

    @property
    def intact(self) -> bool:
        """Whether nothing was changed."""
        return not any(flaw.code in ALTERED for flaw in self.flaws)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing, as far as heads and links prove."""
        return not any(flaw.code in MISSING for flaw in self.flaws)

    @property
    def flaws(self) -> tuple[Flaw, ...]:
        """Every finding, the account's own first."""
        return self.findings + tuple(flaw for segment in self.segments for flaw in segment.findings)


def verify_account(
    root: Path,
    account: str,
    verifier: Verifier,
    *,
    expected: Mapping[str, tuple[int, str]] = MappingProxyType({}),
) -> AccountReport:
    """Check every segment of an account, its heads, and the links between them.

    Args:
        expected: number and hash of the last record of sessions, as remembered outside of the journal.

    Raises:
        InputError: the name can't be an account's.
        NotFound: the account has no journal and none is expected.
        StorageError: a file can't be read.
    """
    folder = folder_of(root, account)
    if not folder.is_dir() and not expected:
        raise NotFound(f"expected the journal of account {account!r} under {root}, found none; check the account's name")
    # Heads before segments: a session that begins meanwhile has its segment first.
    headed = [path.name.removesuffix(".heads.jsonl") for path in sorted(folder.glob("*.heads.jsonl"))]
    in_order = [path.stem for path in segments(root, account)]
    present = [path.stem for path in segment_files(root, account)]
    # Those that never began belong to no order; they come last.
    in_order += [name for name in present if name not in set(in_order)]
    links = _Links(set(present))
    reports = []
    for name in in_order:
        walk = _Walk(folder / f"{name}.jsonl", account, verifier, expected.get(name))
        walk.run()
        links.check(walk)
        reports.append(walk.report())
    for name in expected:
        links.require(name, "the registry remembers it")
    for name in headed:
        links.require(name, "its signed heads are there")
    return AccountReport(account=account, segments=tuple(_linked(reports)), findings=tuple(links.missing.values()))


def _linked(reports: Sequence[SegmentReport]) -> Iterator[SegmentReport]:
    """Yield the reports; an end without a head is only noted where the next segment, which is signed, links to it."""
    for report, after in zip_longest(reports, reports[1:]):
        proven = after is not None and after.signed_to is not None and not any(f.code == "broken_link" for f in after.findings)
        if not proven:
            yield report
            continue
        found = tuple(replace(flaw, code="unsigned_end") if flaw.code == "no_head" else flaw for flaw in report.findings)
        yield replace(report, findings=found, complete=not any(flaw.code in MISSING for flaw in found))


class _Proof(NamedTuple):
    """That record *seq* had the hash *sha256*; `source` says who says so."""

    seq: int
    sha256: str
    source: str
    signed: bool


@dataclass(slots=True)
class _Order:
    """Judges numbers that should count up from 0; `following` comes next, `top` is the largest seen."""

    following: int = 0
    top: int = -1
    gaps: list[tuple[int, int]] = field(default_factory=list)
    loose: bool = False

    def skip(self) -> None:
        """Count a line whose number nobody knows."""
        self.following += 1
        self.loose = True

    def place(self, number: int) -> str:
        """Take the next number and return "", "reordered" or "inserted"."""
        if number < self.following and not (self.loose and number > self.top):
            return "reordered" if self._fill(number) else "inserted"
        if number > self.following:
            self.gaps.append((self.following, number - 1))
        self.top, self.following, self.loose = number, number + 1, False
        return ""

    def _fill(self, number: int) -> bool:
        for place, (low, high) in enumerate(self.gaps):
            if low <= number <= high:
                self.gaps[place : place + 1] = [part for part in ((low, number - 1), (number + 1, high)) if part[0] <= part[1]]
                return True
        return False


class _Walk:
    """One pass over a segment beside its heads."""

    def __init__(self, path: Path, account: str, verifier: Verifier, remembered: tuple[int, str] | None) -> None:
        self.path = path
        self.name = path.stem
        self.begun: Record | None = None
        self.prev: str | None = ZERO
        self.torn_bytes = 0
        self.flaws: list[Flaw] = []
        self.records = 0
        self._account = account
        self._verifier = verifier
        self._order = _Order()
        self._ended: int | None = None
        self._signed_to: int | None = None
        self._headed = -1
        self._fits_to = -1
        self._rewritten = False
        # Heads that are signed while we read are left for the next time: their records may not have been read.
        at = heads_path(path)
        heads_size = at.stat().st_size if at.is_file() else 0
        sources: list[Iterator[_Proof]] = [self._signed(at, heads_size)]
        if remembered:
            sources.append(iter([_Proof(*remembered, "what the registry remembers", signed=False)]))
        self._proofs = heapq.merge(*sources, key=lambda proof: proof.seq)
        self._proof = next(self._proofs, None)

    def note(self, seq: int | None, code: str, words: str) -> None:
        """Keep a finding."""
        if len(self.flaws) < FLAWS_MAX:
            self.flaws.append(Flaw(self.name, seq, code, words))

    def run(self) -> None:
        """Read the segment to its end."""
        for line in lines(self.path):
            if line.endswith(b"\n"):
                self._take(line)
            else:
                self.torn_bytes = len(line)
        self._finish()

    def report(self) -> SegmentReport:
        """Return what was found."""
        return SegmentReport(
            session_id=self.name,
            records=self.records,
            complete=not any(flaw.code in MISSING for flaw in self.flaws),
            ended=self._ended is not None,
            signed_to=self._signed_to,
            findings=tuple(self.flaws),
        )

    def _take(self, line: bytes) -> None:
        record = parse(line)
        if record and _is_canonical(record, line):
            self._place(record)
            return
        record = record or _other_form(line)
        seq = self._order.following
        if record:
            self.note(record.seq, "not_canonical", f"record {record.seq} holds what was written, but not in the bytes we write")
            self._place(record)
            return
        self.note(seq, "changed", f"record {seq}, in a line of {len(line)} bytes, is not what its hash was made over")
        self._order.skip()
        # The changed record may still say its hash, but a changed one need not: the next record's link tells nothing.
        self.prev = None

    def _place(self, record: Record) -> None:
        order = self._order
        follows = record.seq == order.following and order.top == record.seq - 1
        self.records += 1
        fault = order.place(record.seq)
        if fault:
            where = f"behind record {order.top}"
            self.note(record.seq, fault, f"record {record.seq} stands {where}, where {_WHY[fault]}")
            return
        if record.seq == 0:
            self._open(record)
        elif follows and self.prev not in (None, record.prev):
            words = (
                f"the record {record.seq - 1} that record {record.seq} was written after is gone, another stands in its place"
            )
            self.note(record.seq - 1, "removed", words)
        if self._ended is not None:
            self.note(record.seq, "inserted", f"record {record.seq} stands behind the session's end, record {self._ended}")
        self._ended = record.seq if record.kind == ENDED else None
        self.prev = record.sha256
        self._prove(record)

    def _open(self, record: Record) -> None:
        self.begun = record
        if record.kind != BEGUN:
            self.note(0, "rewritten", f"record 0 is {record.kind!r}, a session's first is always {BEGUN!r}")

    def _prove(self, record: Record) -> None:
        while self._proof and self._proof.seq <= record.seq:
            proof = self._proof
            self._proof = next(self._proofs, None)
            if proof.seq < record.seq:
                continue
            if proof.sha256 == record.sha256:
                self._fits_to = record.seq
                self._signed_to = record.seq if proof.signed else self._signed_to
            elif not self._rewritten:
                self._rewritten = True
                words = f"records {self._fits_to + 1} to {record.seq} were written anew: {proof.source} says otherwise"
                self.note(record.seq, "rewritten", words)

    def _finish(self) -> None:
        order = self._order
        for low, high in order.gaps:
            self.note(low, "removed", f"{_span('record', low, high)} gone before record {high + 1}")
        last = order.following - 1
        beyond = None
        while self._proof:
            beyond = self._proof if self._proof.seq > last else beyond
            self._proof = next(self._proofs, None)
        if beyond:
            words = f"{_span('record', last + 1, beyond.seq)} cut off the end: {beyond.source} proves that they were there"
            self.note(last + 1, "cut", words)
        if self.torn_bytes:
            words = f"the last line, {self.torn_bytes} bytes behind record {last}, was never finished, as after a crash"
            self.note(None, "torn", words)
        elif not self.records and not self.flaws:
            self.note(None, "torn", "the segment is empty: its session died before its first record")
        if self._ended is not None and self._headed < self._ended:
            words = f"the session ended with record {self._ended}, and no valid head stands for it"
            self.note(self._ended, "no_head", words)

    def _signed(self, path: Path, size: int) -> Iterator[_Proof]:
        """Yield what the valid heads prove, noting what is wrong with the others."""
        order = _Order()
        for line in lines(path, size) if size else ():
            if not line.endswith(b"\n"):
                self.note(None, "torn", f"the last head, {len(line)} bytes, was never finished, as after a crash")
                break
            head = parse_head(line)
            if head is None:
                self.note(None, "changed", f"head {order.following} is none: its line was changed")
                order.skip()
                continue
            if head_line(head) != line:
                self.note(head.seq, "not_canonical", f"head {head.number} is not in the bytes we write")
            message = head_message(self._account, self.name, head.seq, head.sha256, head.at, head.number)
            if head.key_id != self._verifier.key_id:
                words = (
                    f"head {head.number} for record {head.seq} is signed by key {head.key_id}, expected {self._verifier.key_id}"
                )
                self.note(head.seq, "unknown_key", words)
                order.skip()
            elif not self._verifier.fits(message, head.signature):
                self.note(head.seq, "bad_signature", f"head {head.number} for record {head.seq} was not signed by its key")
                order.skip()
            elif fault := order.place(head.number):
                self.note(head.seq, fault, f"head {head.number} stands where {_WHY[fault]}")
            elif head.seq > self._headed:
                self._headed = head.seq
                yield _Proof(head.seq, head.sha256, f"head {head.number}, signed {head.at},", signed=True)
        for low, high in order.gaps:
            self.note(None, "removed", f"{_span('head', low, high)} gone from the heads file")


class _Links:
    """The links between segments, checked from the oldest on."""

    def __init__(self, present: set[str]) -> None:
        self.missing: dict[str, Flaw] = {}
        self._present = present
        self._ends: dict[str, _Walk] = {}
        self._followed: dict[str | None, str] = {}

    def require(self, name: str, why: str) -> None:
        """Note a segment that is gone."""
        if name not in self._present and name not in self.missing:
            self.missing[name] = Flaw(name, None, "missing_segment", f"the segment of session {name} is gone: {why}")

    def check(self, walk: _Walk) -> None:
        """Compare where a segment says it begins with where the one before ends."""
        self._ends[walk.name] = walk
        begun = walk.begun
        if begun is None:
            return
        previous = begun.body.get("previous")
        if previous is not None and not isinstance(previous, str):
            walk.note(0, "broken_link", "record 0 does not name the segment before")
            return
        if previous in self._followed:
            words = (
                f"session {self._followed[previous]} also says that it follows {previous or 'nothing'}: one of the two is extra"
            )
            walk.note(0, "inserted", words)
        self._followed.setdefault(previous, walk.name)
        if previous is None:
            if begun.prev != ZERO:
                walk.note(0, "broken_link", "record 0 names no segment before, but a record before it")
        elif previous not in self._present:
            self.require(previous, f"session {walk.name} follows it")
        else:
            self._join(walk, begun, previous)

    def _join(self, walk: _Walk, begun: Record, previous: str) -> None:
        end = self._ends.get(previous)
        if end is None or end is walk:
            walk.note(0, "broken_link", f"record 0 says that it follows session {previous}, of which no record comes before it")
        elif end.prev is not None and end.prev != begun.prev:
            words = f"record 0 does not follow the last record of session {previous}, which must end with hash {begun.prev}"
            walk.note(0, "broken_link", words)
        elif begun.body.get("torn_bytes") != end.torn_bytes:
            words = (
                f"record 0 says that {begun.body.get('torn_bytes')} torn bytes end session {previous}, found {end.torn_bytes}"
            )
            walk.note(0, "broken_link", words)


_WHY: Mapping[str, str] = {
    "reordered": "it was not written",
    "inserted": "there is one with its number before",
}


def _span(noun: str, low: int, high: int) -> str:
    return f"{noun} {low} is" if low == high else f"{noun}s {low} to {high} are"


def _is_canonical(record: Record, line: bytes) -> bool:
    try:
        return seal(canonical(record.at, record.body, record.kind, record.prev, record.seq))[0] == line
    except InvariantBroken:
        return False


def _other_form(line: bytes) -> Record | None:
    """Return the record whose canonical form has the hash that a line states, where the line itself does not."""
    record = parse_shape(line)
    if record is None:
        return None
    try:
        fits = seal(canonical(record.at, record.body, record.kind, record.prev, record.seq))[1] == record.sha256
    except InvariantBroken:
        return None
    return record if fits else None
