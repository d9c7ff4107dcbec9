"""The record of the scheduler: a chain of hashes like a session's, with every run, everything missed, and every end.

It is a journal and no table because it has one writer, must be kept also where the registry can't be written, and shows when
somebody changed it. Each segment begins with how every job stands, so that the last one alone tells it.

Invariant: that a run begins is on disk before it does; a beginning without an end is told when the next scheduler starts.
"""

import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple, Self

from peak_trade.compose import Parts
from peak_trade.journal.chain import BEGUN, ENDED, Chain, Record, folder_of, holder, holding, is_held, read, segments, sign_end
from peak_trade.journal.registry import storable
from peak_trade.model.errors import DataError, SafetyRefused
from peak_trade.runs.record import Json
from peak_trade.runs.schedule.file import Schedule
from peak_trade.runs.schedule.rules import MissedDues

#: The folder of the record within the state folder, named as an account is.
SCHEDULER = "scheduler"
#: Kinds of records.
STARTED, PROCESS, OVER, MISSED, CONSIDERED, CLOCK = "job_begun", "job_process", "job_ended", "job_missed", "job_due", "clock"
#: How runs end: as commands do, at their time limit, because the scheduler stopped, or nobody knows.
COMPLETED, FAILED, REFUSED, TIMED_OUT, STOPPED, ABORTED = "completed", "failed", "refused", "timed_out", "stopped", "aborted"
#: Records after which another segment is begun.
SEGMENT_MAX = 5_000
#: How long a scheduler waits for the one before, or for somebody who looks whether one runs.
WAIT_S = 2.0


class JobState(NamedTuple):
    """How a job stands.

    Attributes:
        rule: by which it was last looked at; considered: the last time that was dealt with.
        running: the run that goes on; last: the last one that ended.
        missed: times missed so far; last_missed: the latest of them, with the reason.
    """

    rule: str
    considered: str
    runs: int = 0
    failures: int = 0
    missed: int = 0
    running: Json | None = None
    last: Json | None = None
    last_missed: Json | None = None

    def after(self, record: Record) -> "JobState":
        """Return how it stands after one more record about it."""
        body = dict(record.body)
        match record.kind:
            case "job_due":
                return self._replace(rule=body["rule"], considered=body["considered"])
            case "job_begun":
                return self._replace(
                    runs=self.runs + 1, running=body | {"process": None}, considered=body["due"] or self.considered
                )
            case "job_process":
                return self._replace(running=self.running and self.running | {"process": body["process"]})
            case "job_ended":
                failures = 0 if body["status"] == COMPLETED else self.failures + 1
                return self._replace(running=None, last=body, failures=failures)
            case "job_missed":
                return self._replace(missed=self.missed + body["count"], last_missed=body, considered=body["last"])
        return self


def fold(records: Iterator[Record]) -> dict[str, JobState]:
    """Return how every job stands after the records of a segment.

    Raises:
        DataError: the record is damaged, or is none of a scheduler.
    """
    states: dict[str, JobState] = {}
    try:
        for record in records:
            if record.kind == BEGUN:
                states = {name: JobState(**given) for name, given in record.body["jobs"].items()}
            elif (name := record.body.get("job")) is not None:
                states[name] = states.get(name, JobState("", record.at)).after(record)
    except (KeyError, TypeError) as error:
        raise DataError(
            "scheduler", f"expected the record of a scheduler, found something else ({error}); peak-trade journal verify"
        ) from error
    return states


class ScheduleRecord:
    """The record, open for writing; `states` is how every job stands by it."""

    def __init__(self, parts: Parts, schedule: Schedule, states: dict[str, JobState]) -> None:
        self.states = states
        self._parts, self._schedule = parts, schedule
        self._chain = self._begin()
        self._count = 0

    @classmethod
    @contextmanager
    def opened(cls, parts: Parts, schedule: Schedule) -> Iterator[Self]:
        """Hold the record while the block runs, begin a segment, and end it; what a dead scheduler left is signed first.

        Raises:
            SafetyRefused: another scheduler runs.
            DataError: the record is damaged.
            StorageError: the disk refused.
        """
        now = parts.clock.now()
        with ExitStack() as stack:
            try:
                stack.enter_context(holding(parts.state, SCHEDULER, at=now, wait_s=WAIT_S))
            except SafetyRefused as error:
                who = holder(parts.state, SCHEDULER)
                raise SafetyRefused(
                    f"expected no other scheduler on this state folder, found one (process {who.process} on {who.host}); it "
                    "runs the jobs: end it first with Ctrl+C or kill, or type the job's command yourself"
                ) from error
            for path in segments(parts.state, SCHEDULER)[-1:]:
                sign_end(path, parts.signer, at=now)
            record = cls(parts, schedule, states_of(parts))
            stack.callback(record._close)
            yield record

    def write(self, kind: str, **facts: Any) -> None:
        """Write something down; it is on disk when this returns.

        Raises:
            StorageError: the disk refused.
        """
        if self._count >= SEGMENT_MAX:
            self._end()
            self._chain = self._begin()
            self._count = 0
        body = {name: storable(value) if isinstance(value, str) else value for name, value in facts.items()}
        record = self._chain.append(kind, body, at=self._parts.clock.now(), durable=True)
        self._count += 1
        if (name := body.get("job")) is not None:
            self.states[name] = self.states.get(name, JobState("", record.at)).after(record)

    def missed(self, job: str, missed: MissedDues, words: str) -> None:
        """Write down that a job did not run at some of its times."""
        dues = missed.dues
        self.write(
            MISSED,
            job=job,
            why=missed.why,
            count=dues.number,
            exact=dues.exact,
            first=dues.first.isoformat(),
            last=dues.last.isoformat(),
            words=words,
        )

    def _begin(self) -> Chain:
        parts = self._parts
        body = {
            "process": os.getpid(),
            "host": platform.node(),
            "file": str(self._schedule.path),
            "file_sha256": self._schedule.sha256,
            "jobs": {name: state._asdict() for name, state in self.states.items()},
        }
        chain = Chain.begin(parts.state, SCHEDULER, parts.ids.next_run(), body, at=parts.clock.now(), signer=parts.signer)
        chain.sign(at=parts.clock.now())
        return chain

    def _end(self) -> None:
        self._chain.append(ENDED, {"process": os.getpid()}, at=self._parts.clock.now(), durable=True)
        self._chain.sign(at=self._parts.clock.now())
        self._chain.close()

    def _close(self) -> None:
        # Where the disk refuses, the next one finds a segment without an end, as after a crash.
        with suppress(Exception):
            self._end()


def states_of(parts: Parts) -> dict[str, JobState]:
    """Return how every job stands by the record.

    Raises:
        DataError: the record is damaged.
        StorageError: it can't be read.
    """
    if not folder_of(parts.state, SCHEDULER).is_dir():
        return {}
    paths = segments(parts.state, SCHEDULER)
    return fold(read(paths[-1])) if paths else {}


def last_runs(parts: Parts, limit: int, job: str | None = None) -> list[Json]:
    """Return runs that ended, and what was missed, the latest first."""
    found: list[Json] = []
    if not folder_of(parts.state, SCHEDULER).is_dir():
        return found
    for path in reversed(segments(parts.state, SCHEDULER)):
        lines = [
            {"at": record.at, "kind": record.kind, **record.body}
            for record in read(path)
            if record.kind in (OVER, MISSED) and job in (None, record.body["job"])
        ]
        found += reversed(lines)
        if len(found) >= limit:
            break
    return found[:limit]


def scheduler_at_work(parts: Parts) -> Json | None:
    """Return process and host of the scheduler that runs, and since when; None where none does."""
    if not folder_of(parts.state, SCHEDULER).is_dir() or not is_held(parts.state, SCHEDULER):
        return None
    return holder(parts.state, SCHEDULER)._asdict()
