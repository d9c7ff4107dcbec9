"""What people and watching programs do, each act written into a journal of its own kind: a short segment of one account.

Invariant: that an act begins is on disk before it is done, and how it ended afterwards.
Invariant: acts that are read back come from a journal that verifies; where it does not, there are none.
"""

import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from peak_trade.compose import Parts
from peak_trade.governance.criteria import EvidenceKind, Subject
from peak_trade.governance.documents import Fact
from peak_trade.journal.chain import ENDED, Chain, Record, folder_of, holding, read, segment_files, segments, sign_end
from peak_trade.journal.operators import ACCOUNT
from peak_trade.journal.registry import storable
from peak_trade.journal.run import RunStatus
from peak_trade.journal.signing import Verifier, public_path
from peak_trade.journal.verify import NOTES, Flaw, verify_account
from peak_trade.model.clock import RunId, parse_moment
from peak_trade.model.errors import CheckFailed, DataError, PeakTradeError, SafetyRefused, StorageError
from peak_trade.runs.machine import machine_user as machine_user  # noqa: PLC0414 - who does an act
from peak_trade.runs.record import Json

#: How an act came: from a terminal, from the dashboard, or from a program that watches.
COMMAND, DASHBOARD, MACHINE = "command", "dashboard", "machine"
#: The act of telling evidence that is no session and no backtest.
EVIDENCE = "evidence"
#: How long an act waits for another one to be written down.
WAIT_S = 10.0


class Act:
    """An act under way: `segment` is its id, `outcome` what its end will say besides whether it went well."""

    def __init__(self, parts: Parts, segment: RunId, chain: Chain) -> None:
        self.segment = segment
        self.outcome: Json = {}
        self._parts, self._chain = parts, chain

    def record(self, kind: str, body: Mapping[str, Any], at: datetime | None = None) -> None:
        """Write down something that the act consists of; it is on disk when this returns."""
        self._chain.append(kind, _storable(dict(body)), at=at or self._parts.clock.now(), durable=True)

    def end(self, status: RunStatus, error: str | None) -> None:
        """Write how it ended, and sign that."""
        body = {"status": status.value, "error": storable(error), **_storable(self.outcome)}
        self._chain.append(ENDED, body, at=self._parts.clock.now(), durable=True)
        self._chain.sign(at=self._parts.clock.now())
        # A second witness: what it can't take is in the journal all the same, and the next act's link proves it.
        with suppress(PeakTradeError):
            self._parts.operators.remember(self._parts.signer.key_id, self.segment, self._chain.head)


class Done(NamedTuple):
    """An act that is over, or whose process died: its id, its first record, what it consists of, and its end.

    `sha256` is the hash of its last record, and `at` the moment of that.
    """

    segment: str
    begun: Record
    parts: tuple[Record, ...]
    end: Record | None

    @property
    def action(self) -> str:
        """What was done."""
        return str(self.begun.body["action"])

    @property
    def went_well(self) -> bool:
        """Whether it was done to its end."""
        return self.end is not None and self.end.body["status"] == RunStatus.COMPLETED.value

    @property
    def last(self) -> Record:
        """Its last record."""
        return self.end or (self.begun, *self.parts)[-1]

    @property
    def at(self) -> datetime:
        """When its last record was written."""
        return parse_moment(self.last.at)


@contextmanager
def held(parts: Parts) -> Iterator[None]:
    """Hold the journal of acts while the block runs; sign the end that an act before could not sign any more.

    Raises:
        StorageError: another act did not let go of it in time, or the disk refused.
    """
    now = parts.clock.now()
    with ExitStack() as stack:
        try:
            stack.enter_context(holding(parts.journal, ACCOUNT, at=now, wait_s=WAIT_S))
        except SafetyRefused as error:
            raise StorageError(
                f"expected the operators' journal to be free within {WAIT_S:g} s, found another action at work in it; try again"
            ) from error
        signer = parts.signer
        for path in segments(parts.journal, ACCOUNT)[-1:]:
            # One that is damaged is told by whoever verifies it, and must not keep anyone from stopping things.
            with suppress(DataError):
                sign_end(path, signer, at=now)
        yield


@contextmanager
def written(parts: Parts, action: str, by: str, via: str, **facts: Any) -> Iterator[Act]:
    """Write that an act begins, let it be done, write how it ended, sign that; the caller holds the journal of acts.

    A process that dies in between leaves a beginning without an end, as a session does.
    """
    segment = parts.ids.next_run()
    body = _storable({"action": action, "by": by, "via": via, **facts})
    machine = {"continues": None, "process": os.getpid(), "host": platform.node()}
    chain = Chain.begin(parts.journal, ACCOUNT, segment, body | machine, at=parts.clock.now(), signer=parts.signer)
    try:
        act = Act(parts, segment, chain)
        try:
            yield act
        except PeakTradeError as error:
            act.end(RunStatus.FAILED, str(error))
            raise
        act.end(RunStatus.COMPLETED, None)
    finally:
        chain.close()


def tell_evidence(
    parts: Parts, kind: EvidenceKind, facts: Mapping[str, Fact], subject: Subject | None, by: str, via: str = COMMAND
) -> RunId:
    """Write down what a test run or drill found, for gates to read; return the id of the evidence.

    Args:
        facts: numbers with a point as text. subject: the strategy version and pairs it is about; None is everything.
    """
    about = None if subject is None else msgspec.to_builtins(subject)
    with held(parts), written(parts, EVIDENCE, by, via, kind=kind.value, subject=about) as act:
        act.outcome["facts"] = dict(facts)
    return act.segment


def done(parts: Parts) -> list[Done]:
    """Return every act in the order in which they were written.

    Raises:
        CheckFailed: their journal is not as it was written, or not all of it.
        StorageError: a file can't be read.
    """
    # Whoever holds the journal and then does nothing leaves a folder.
    if not segment_files(parts.journal, ACCOUNT) and not public_path(parts.key).exists():
        return []
    verifier = Verifier.load(public_path(parts.key))
    last = parts.operators.last(verifier.key_id)
    if not folder_of(parts.journal, ACCOUNT).is_dir() and last is None:
        return []
    flaws = _flaws(parts, verifier, last)
    if [flaw.code for flaw in flaws] == ["no_head"]:
        # A process died between an act's end and its signature, or is just there: whoever has the journal next signs it.
        with suppress(StorageError), held(parts):
            pass
        flaws = _flaws(parts, verifier, last)
    if flaws:
        words = "; ".join(f"{flaw.code}: {flaw.words}" for flaw in flaws[:3])
        raise CheckFailed(
            f"expected the journal of operators as it was written, found {words}; nothing that rests on it counts: "
            "peak-trade journal verify tells more"
        )
    return [found for path in segments(parts.journal, ACCOUNT) if (found := _done(path)) is not None]


def readable(parts: Parts) -> list[Done]:
    """Return every act that can be read, proven or not, for who must act whatever the journal's state is."""
    found = []
    with suppress(PeakTradeError):
        for path in segments(parts.journal, ACCOUNT):
            with suppress(PeakTradeError, KeyError, TypeError):
                if (act := _done(path)) is not None:
                    found.append(act)
    return found


def _flaws(parts: Parts, verifier: Verifier, last: tuple[str, tuple[int, str]] | None) -> list[Flaw]:
    """Return what was changed in the journal of acts or is missing, but for the marks of a crash."""
    report = verify_account(parts.journal, ACCOUNT, verifier, expected={last[0]: last[1]} if last else {})
    return [flaw for flaw in report.flaws if flaw.code not in NOTES]


def _done(path: Path) -> Done | None:
    records = list(read(path))
    if not records or "action" not in records[0].body:
        return None
    end = records[-1] if records[-1].kind == ENDED else None
    return Done(path.stem, records[0], tuple(records[1:-1] if end else records[1:]), end)


def _storable(value: Any) -> Any:
    """Return a body whose texts a journal takes."""
    if isinstance(value, dict):
        return {name: _storable(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(part) for part in value]
    return storable(value) if isinstance(value, str) else value
