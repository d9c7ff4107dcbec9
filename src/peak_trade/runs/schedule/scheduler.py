"""The scheduler: begins jobs when they are due, each in a process of its own, and writes down what became of them.

One loop on one thread. It wakes when something is due, when a run ends and when it is signalled, and looks at the clock at
least every half minute, so that it notices when the machine slept or the clock was set.

Invariant: it types commands and nothing else: every gate a person meets is met by them.
Invariant: a run never begins while the last one of its job goes on, nor a session while the kill switch is on or it is held.
"""

import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from peak_trade.compose import Parts
from peak_trade.model.clock import parse_moment
from peak_trade.model.errors import SafetyRefused, StorageError
from peak_trade.runs.alerts import alerts
from peak_trade.runs.record import Json
from peak_trade.runs.schedule.file import Job, Schedule
from peak_trade.runs.schedule.job import JobProcess, Running, end_left_over
from peak_trade.runs.schedule.kinds import account_of
from peak_trade.runs.schedule.record import (
    ABORTED,
    CLOCK,
    COMPLETED,
    CONSIDERED,
    FAILED,
    OVER,
    PROCESS,
    REFUSED,
    STARTED,
    STOPPED,
    TIMED_OUT,
    JobState,
    ScheduleRecord,
    last_runs,
    scheduler_at_work,
    states_of,
)
from peak_trade.runs.schedule.rules import COALESCED, HELD, KILLED, LATE, OVERLAP, MissedDues, put_back, turn
from peak_trade.safety.alerts import Alert, Severity

#: The clock is looked at so often, seconds, whatever is due.
LOOK_S = 30.0
#: A clock that moved so much more or less than time passed was set, or the machine slept.
JUMP = timedelta(seconds=5)
#: Exit code of a command that a safety rule refused.
_REFUSED_CODE = 3

Launch = Callable[[Parts, Job, str], Running]
Say = Callable[[str], None]


@dataclass(slots=True)
class _Run:
    """A run that goes on: since when by the clock that never jumps, and whether and why it was asked to end."""

    job: Job
    id: str
    due: datetime | None
    started: datetime
    running: Running
    since_s: float
    asked_s: float | None = None
    why: str = ""


class _Moment(NamedTuple):
    now: datetime
    elapsed_s: float


class Scheduler:
    """The jobs of a file over a record that is open."""

    def __init__(self, parts: Parts, schedule: Schedule, record: ScheduleRecord, say: Say, launch: Launch = JobProcess) -> None:
        self._parts, self._schedule, self._record, self._say, self._launch = parts, schedule, record, say, launch
        self._runs: dict[str, _Run] = {}
        self._stopping = False
        self._seen = _Moment(parts.clock.now(), parts.clock.elapsed_s())

    @property
    def busy(self) -> bool:
        """Whether a run goes on."""
        return bool(self._runs)

    def begin(self) -> None:
        """Settle what a dead scheduler left, and let jobs that are seen for the first time count from now on."""
        now = self._parts.clock.now()
        for name, state in list(self._record.states.items()):
            if state.running is not None:
                self._settle(name, state.running)
        for job in self._schedule.jobs.values():
            known = self._record.states.get(job.name)
            if not job.enabled:
                continue
            if known is None or known.rule != job.rule.text:
                self._consider(job, now)
            elif (last := parse_moment(known.considered)) > now and put_back(last, now) == now:
                self._say(
                    f"{job.name}: its last time, {known.considered}, lies far ahead of the clock; it begins anew from now"
                )
                self._consider(job, now)

    def tick(self) -> None:
        """Do everything that is to be done now; wait for nothing."""
        clock = self._parts.clock
        now = clock.now()
        self._look_at_clock(now)
        self.follow()
        if self._stopping:
            return
        for job in self._schedule.jobs.values():
            if job.enabled:
                self._take_turn(job, now)

    def follow(self) -> None:
        """See which runs are over or have to be; begin nothing."""
        for run in list(self._runs.values()):
            self._follow(run)

    def run_by_hand(self, job: Job) -> None:
        """Begin a job now, though it is not due.

        Raises:
            SafetyRefused: a latch keeps it from beginning.
        """
        if stopped := self._stopped(job):
            words = f"expected {job.name} to be free to begin, found that {_WORDS[stopped]}; nothing was begun"
            raise SafetyRefused(words)
        self._start(job, None, 0)

    def stop(self) -> None:
        """Begin nothing more, and ask what runs to end."""
        self._stopping = True
        for run in self._runs.values():
            self._ask(run, STOPPED)

    def kill(self) -> None:
        """End what still runs at once."""
        for run in self._runs.values():
            run.running.kill()

    def wait_s(self) -> float:
        """Return the seconds until something may have to be done, but for the end of a run."""
        clock = self._parts.clock
        now, elapsed_s = clock.now(), clock.elapsed_s()
        jobs = [job for job in self._schedule.jobs.values() if job.enabled and not self._stopping]
        dues = [due for job in jobs if (due := job.rule.after(self._considered(job))) is not None]
        waits = [LOOK_S, *((due - now).total_seconds() for due in dues)]
        grace_s = self._schedule.stop_grace.total_seconds()
        for run in self._runs.values():
            until_s = run.since_s + run.job.longest.total_seconds() if run.asked_s is None else run.asked_s + grace_s
            waits.append(until_s - elapsed_s)
        return max(0.0, min(waits))

    def _take_turn(self, job: Job, now: datetime) -> None:
        stopped = self._stopped(job)
        found = turn(job.rule, self._considered(job), now, job.grace, stopped)
        for missed in found.missed:
            self._miss(job, missed)
        if found.due is not None:
            self._start(job, found.due, sum(missed.dues.number for missed in found.missed))

    def _stopped(self, job: Job) -> str:
        """Return why a job can't begin; empty where it can."""
        if job.name in self._runs:
            return OVERLAP
        if not job.kind.trades:
            return ""
        if self._parts.kill_switch.is_on():
            return KILLED
        account = account_of(job.command)
        # Without a name the command's own rules say which account it is: then none may be held. What only keeps some strategies
        # from an account is the session's own to refuse.
        holds = self._parts.holds
        asked = holds.accounts() if account is None else (account,)
        return HELD if any(holds.keeping(name) for name in asked) else ""

    def _start(self, job: Job, due: datetime | None, missed: int) -> None:
        now, run = self._parts.clock.now(), str(self._parts.ids.next_run())
        self._record.write(
            STARTED,
            job=job.name,
            run=run,
            due=None if due is None else due.isoformat(),
            started=now.isoformat(),
            late_ms=0 if due is None else max(0, int((now - due).total_seconds() * 1_000)),
            missed=missed,
            command=list(job.command),
        )
        try:
            running = self._launch(self._parts, job, run)
        except (OSError, StorageError) as error:
            self._close(job, run, due, now, FAILED, None, {"made": [], "said": f"it could not be started: {error}"})
            return
        self._record.write(PROCESS, job=job.name, run=run, process=running.process)
        self._runs[job.name] = _Run(job, run, due, now, running, self._parts.clock.elapsed_s())
        self._say(f"{job.name} begins: peak-trade {' '.join(job.command)} (process {running.process.get('pid')})")

    def _follow(self, run: _Run) -> None:
        """See whether a run is over, or has to be."""
        code, elapsed_s = run.running.poll(), self._parts.clock.elapsed_s()
        if code is not None:
            del self._runs[run.job.name]
            status = run.why or (COMPLETED if code == 0 else REFUSED if code == _REFUSED_CODE else FAILED)
            self._close(run.job, run.id, run.due, run.started, status, code, run.running.told())
        elif run.asked_s is not None:
            if elapsed_s - run.asked_s >= self._schedule.stop_grace.total_seconds():
                run.running.kill()
        elif elapsed_s - run.since_s >= run.job.longest.total_seconds():
            self._say(f"{run.job.name} has taken longer than {run.job.longest}: it is asked to end")
            self._ask(run, TIMED_OUT)

    def _ask(self, run: _Run, why: str) -> None:
        if run.asked_s is None:
            run.asked_s, run.why = self._parts.clock.elapsed_s(), why
            run.running.ask()

    def _close(
        self, job: Job, run: str, due: datetime | None, started: datetime, status: str, code: int | None, told: Json
    ) -> None:
        """Write down how a run ended, and tell people where it did not end well."""
        # One that was asked to end and did so well, such as a session, ended in order.
        body: dict[str, Any] = {
            "job": job.name,
            "run": run,
            "due": None if due is None else due.isoformat(),
            "started": started.isoformat(),
            "ended": self._parts.clock.now().isoformat(),
            "status": status,
            "exit_code": code,
            **told,
        }
        self._record.write(OVER, **body)
        self._say(f"{job.name} {status}" + (f" with exit code {code}" if code else "") + (f": {told['said']}" if code else ""))
        if status == COMPLETED:
            alerts.recovered(self._parts, _key(job.name))
        elif status != STOPPED:
            self._tell(job.name, f"Scheduled job {job.name} {status}", told["said"] or f"exit code {code}")

    def _miss(self, job: Job, missed: MissedDues) -> None:
        words = _WORDS[missed.why]
        self._record.missed(job.name, missed, words)
        count = f"{missed.dues.number}{'' if missed.dues.exact else ' or more'}"
        told = f"{count} times from {missed.dues.first.isoformat()} to {missed.dues.last.isoformat()}: {words}"
        self._say(f"{job.name} missed {told}")
        # What latches say is told where they are set; a run that stands for those before it has not failed anybody.
        if missed.why in (OVERLAP, LATE):
            self._tell(job.name, f"Scheduled job {job.name} missed its time", told)

    def _settle(self, name: str, running: Json) -> None:
        """Write down that nobody knows how the run of a dead scheduler ended, and end its process where it goes on."""
        went_on = end_left_over(running["process"] or {}, self._parts.clock, self._schedule.stop_grace)
        said = "its scheduler died; " + ("its process still ran and was ended" if went_on else "how it ended is not known")
        facts = {key: running[key] for key in ("run", "due", "started")}
        ended = self._parts.clock.now().isoformat()
        self._record.write(OVER, job=name, **facts, ended=ended, status=ABORTED, exit_code=None, made=[], said=said)
        self._say(f"{name}: {said}")
        self._tell(name, f"Scheduled job {name} was cut off", said)

    def _look_at_clock(self, now: datetime) -> None:
        """Write down where the clock was set, or the machine slept."""
        before, elapsed_s = self._seen, self._parts.clock.elapsed_s()
        self._seen = _Moment(now, elapsed_s)
        jump = now - before.now - timedelta(seconds=elapsed_s - before.elapsed_s)
        if abs(jump) < JUMP:
            return
        words = "the clock was set ahead, or the machine slept" if jump > timedelta(0) else "the clock was set back"
        self._record.write(CLOCK, before=before.now.isoformat(), after=now.isoformat(), words=words)
        self._say(f"{words}: from {before.now.isoformat()} to {now.isoformat()}")
        for job in self._schedule.jobs.values():
            known = self._considered(job)
            if job.enabled and known > now and put_back(known, now) != known:
                self._consider(job, now)

    def _consider(self, job: Job, now: datetime) -> None:
        self._record.write(CONSIDERED, job=job.name, rule=job.rule.text, considered=now.isoformat())

    def _considered(self, job: Job) -> datetime:
        return parse_moment(self._record.states[job.name].considered)

    def _tell(self, name: str, title: str, text: str) -> None:
        alerts.tell(self._parts, Alert(_key(name), Severity.WARNING, title, text))


_WORDS = {
    COALESCED: "a later run stands for them",
    LATE: "found too late to run",
    OVERLAP: "the run before was still going on",
    KILLED: "the kill switch was on",
    HELD: "an account was held",
}


def run_scheduler(parts: Parts, schedule: Schedule, say: Say, *, once: bool = False, by_hand: Job | None = None) -> bool:
    """Run jobs until SIGTERM or SIGINT; a second signal ends what still runs at once. Return whether every run ended well.

    Args:
        once: do what is due by now, and end when that is over.
        by_hand: run this job now, and nothing else.

    Raises:
        SafetyRefused: another scheduler runs, or a latch keeps a job by hand from beginning.
        StorageError: the disk refused; what ran was asked to end.
    """
    with ScheduleRecord.opened(parts, schedule) as record, _woken() as wake:
        scheduler = Scheduler(parts, schedule, record, say)
        scheduler.begin()
        if by_hand is not None:
            scheduler.run_by_hand(by_hand)
        elif not once:
            say(f"{sum(job.enabled for job in schedule.jobs.values())} jobs; Ctrl+C or kill {os.getpid()} ends the scheduler")
        before = set(_ended(record))
        try:
            if by_hand is None:
                scheduler.tick()
            if once and not scheduler.busy:
                say("nothing is due")
            _loop(scheduler, wake, say, drain=once or by_hand is not None)
        finally:
            _end(scheduler, wake)
        return all(status == COMPLETED for name, run, status in _ended(record) if (name, run, status) not in before)


def _ended(record: ScheduleRecord) -> Iterator[tuple[str, str, str]]:
    for name, state in record.states.items():
        if state.last is not None:
            yield name, state.last["run"], state.last["status"]


def _loop(scheduler: Scheduler, wake: "_Wake", say: Say, *, drain: bool) -> None:
    while not wake.asked and (scheduler.busy or not drain):
        wake.wait(scheduler.wait_s())
        if not wake.asked:
            (scheduler.follow if drain else scheduler.tick)()
    if wake.asked and scheduler.busy:
        say("the scheduler ends: what runs is asked to end")


def _end(scheduler: Scheduler, wake: "_Wake") -> None:
    """Ask what runs to end, wait for it at most the grace time, and kill the rest."""
    scheduler.stop()
    signals = wake.asked
    while scheduler.busy:
        wake.wait(min(1.0, scheduler.wait_s()))
        if wake.asked > max(1, signals):
            scheduler.kill()
        scheduler.follow()


class _Wake:
    """What wakes the loop: a pipe that the operating system writes to at every signal."""

    def __init__(self, reader: int) -> None:
        self.asked = 0
        self._reader = reader

    def heard(self, _number: int, _frame: object) -> None:
        """Count that somebody asked to end."""
        self.asked += 1

    def wait(self, seconds: float) -> None:
        """Wait for a signal, at most so long."""
        if select.select([self._reader], [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                os.read(self._reader, 4096)


@contextlib.contextmanager
def _woken() -> Iterator[_Wake]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    wake = _Wake(reader)
    handlers = {
        signal.SIGTERM: wake.heard,
        signal.SIGINT: wake.heard,
        signal.SIGCHLD: lambda _number, _frame: None,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    descriptor = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield wake
    finally:
        signal.set_wakeup_fd(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


def schedule_facts(parts: Parts, schedule: Schedule, runs: int = 0) -> Json:
    """Return how every job stands: when it is due, how its last run ended, what it missed, what runs.

    Raises:
        DataError: the record is damaged. StorageError: it can't be read.
    """
    states, now, at_work = states_of(parts), parts.clock.now(), scheduler_at_work(parts)
    return {
        "at": now.isoformat(),
        "scheduler": at_work,
        "file": str(schedule.path),
        "jobs": [_facts(job, states.get(job.name), now, alive=at_work is not None) for job in schedule.jobs.values()],
        "runs": last_runs(parts, runs) if runs else [],
    }


def _facts(job: Job, state: JobState | None, now: datetime, *, alive: bool) -> Json:
    due = job.rule.after(now) if job.enabled else None
    running = state.running if state else None
    if running is not None and not alive:
        running = running | {"cut_off": True}
    return {
        "job": job.name,
        "kind": job.kind.name,
        "command": list(job.command),
        "rule": job.rule.text,
        "enabled": job.enabled,
        "next_due": None if due is None else due.isoformat(),
        "running": running,
        "last": state.last if state else None,
        "runs": state.runs if state else 0,
        "failures_in_a_row": state.failures if state else 0,
        "missed": state.missed if state else 0,
        "last_missed": state.last_missed if state else None,
    }


def _key(name: str) -> str:
    return f"job.{name}"
