"""What a supervisor sees of an installation, and what follows from it: observations in, alarms out; pure.

An *observation* is everything that was seen at one moment, an *alarm* is something wrong in it, and a *condition* is an alarm
that goes on. Time is counted only as far as somebody watched: a gap between two looks counts for at most `GAP_MAX_S`, so that a
machine that slept, or a supervisor that was kept waiting, accuses nobody.

Invariant: what could not be seen is None, and None is never well: it is told as not seen.
Invariant: what is remembered is bounded by the sessions that are in the last observation.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, unique
from typing import NamedTuple

from peak_trade.safety.alerts import Severity
from peak_trade.safety.holds import HoldKind

#: Longest time between two looks that counts as watched, seconds.
GAP_MAX_S = 5.0
#: A supervisor that did not look for so long says so, seconds.
LATE_S = 10.0
#: A registry may be without an answer for so long, seconds.
REGISTRY_S = 10.0
#: Bars that may be missed before silence means anything.
BARS = 3
MB = 1024 * 1024


@unique
class Watch(Enum):
    """What is watched for."""

    DEAD = "dead"
    STOPPED = "stopped"
    SILENT = "silent"
    HUNG = "hung"
    UNHEEDED = "unheeded"
    UNREADABLE = "unreadable"
    GREEDY = "greedy"
    MEMORY = "memory"
    DISK = "disk"
    CLOCK = "clock"
    EXCHANGE_CLOCK = "exchange_clock"
    JOURNAL = "journal"
    REGISTRY = "registry"
    LATE = "late"
    NOT_SEEN = "not_seen"


class Remedy(NamedTuple):
    """What is done about an alarm.

    Attributes:
        incident: whether an incident is opened. hold: what is placed on the accounts that it is about.
        patient: the hold waits, because the session may be started again meanwhile.
        cancels: the session can't act by itself: where its orders work at an exchange, they are cancelled.
    """

    severity: Severity
    incident: bool = False
    hold: HoldKind | None = None
    patient: bool = False
    cancels: bool = False


#: What is done about what.
REMEDIES: Mapping[Watch, Remedy] = {
    Watch.DEAD: Remedy(Severity.CRITICAL, incident=True, hold=HoldKind.RESTRICT, patient=True, cancels=True),
    Watch.STOPPED: Remedy(Severity.CRITICAL, incident=True, hold=HoldKind.RESTRICT, cancels=True),
    Watch.SILENT: Remedy(Severity.CRITICAL, incident=True, hold=HoldKind.RESTRICT, cancels=True),
    Watch.HUNG: Remedy(Severity.CRITICAL, incident=True, hold=HoldKind.PAUSE, cancels=True),
    Watch.UNHEEDED: Remedy(Severity.CRITICAL, incident=True, hold=HoldKind.PAUSE, cancels=True),
    Watch.UNREADABLE: Remedy(Severity.CRITICAL, incident=True, hold=HoldKind.RESTRICT),
    Watch.GREEDY: Remedy(Severity.WARNING, incident=True),
    Watch.MEMORY: Remedy(Severity.CRITICAL, incident=True),
    Watch.DISK: Remedy(Severity.CRITICAL, incident=True, hold=HoldKind.RESTRICT),
    Watch.CLOCK: Remedy(Severity.CRITICAL, incident=True, hold=HoldKind.RESTRICT),
    Watch.EXCHANGE_CLOCK: Remedy(Severity.CRITICAL),
    Watch.JOURNAL: Remedy(Severity.CRITICAL, incident=True, hold=HoldKind.PAUSE),
    Watch.REGISTRY: Remedy(Severity.CRITICAL, incident=True),
    Watch.LATE: Remedy(Severity.WARNING),
    Watch.NOT_SEEN: Remedy(Severity.WARNING),
}


@unique
class ProcessState(Enum):
    """How a process is."""

    RUNS = "runs"
    STOPPED = "stopped"
    ZOMBIE = "zombie"
    GONE = "gone"
    NOT_SEEN = "not seen"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSight:
    """What was seen of one session that is registered as started.

    Attributes:
        at_exchange: whether its orders are at an exchange, and not in a simulation.
        heartbeat: its last one, as the registry writes it; None: not seen this time.
        beat_age_s: seconds since then by the wall clock; counts only where it has not been watched.
        journal_bytes: length of its journal; None: not seen, then *journal_trouble* says why.
        bar_s: seconds between two of its bars by the wall clock, 0 as fast as can be; None: not known.
        ended: its journal has its end already.
        heeds_kill: its journal says that it heeded the kill switch.
        working: orders that may be working, by its journal.
        memory_bytes: of its process; None: not seen.
    """

    session_id: str
    account: str
    at_exchange: bool
    process: ProcessState
    heartbeat: str | None
    beat_age_s: float
    lease_s: float
    journal_bytes: int | None
    journal_trouble: str = ""
    bar_s: float | None
    ended: bool
    heeds_kill: bool
    working: int
    memory_bytes: int | None


class FolderSight(NamedTuple):
    """How much room a folder has; None: not seen, or nobody counts it there."""

    path: str
    free_bytes: int | None
    free_files: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What was seen at one moment.

    Attributes:
        at: by the wall clock. uptime_s: by a clock that never jumps.
        free_memory: bytes that the machine has left; None: not seen.
        exchange_ahead_s: how much further an exchange's clock is than ours; None: nobody had to ask.
        killed: the kill switch is on.
        flawed: what a verification found in the journal of an account.
        registry_out_s: for how long the registry has not answered.
        unseen: what can't be seen on this machine, in words.
    """

    at: datetime
    uptime_s: float
    sessions: tuple[SessionSight, ...] = ()
    folders: tuple[FolderSight, ...] = ()
    free_memory: int | None = None
    exchange_ahead_s: float | None = None
    killed: bool = False
    flawed: Mapping[str, str] = field(default_factory=dict)
    registry_out_s: float = 0.0
    unseen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchLimits:
    """Thresholds; one that is reached counts as passed, of what must be left only what is below counts."""

    hung_s: float
    confirm_s: float
    clock_jump_s: float
    exchange_skew_s: float
    session_memory: int
    free_memory: int
    free_disk: int
    free_files: int


class Alarm(NamedTuple):
    """Something wrong: what, with whom, in words for people, and the figures it was told from.

    Attributes:
        about: the session, account or folder; with `watch` it names the condition. accounts: whom a hold is placed on.
        cancel: the account whose orders may be working at an exchange without anybody who looks after them; else empty.
        limit: the threshold, and found: the figure, both with their unit.
    """

    watch: Watch
    about: str
    words: str
    found: str
    limit: str
    session_id: str | None = None
    accounts: tuple[str, ...] = ()
    cancel: str = ""

    @property
    def key(self) -> str:
        """The name of its condition."""
        return f"{self.watch.value}.{self.about}" if self.about else self.watch.value


class SessionMemory(NamedTuple):
    """What is remembered of a session: the last heartbeat and length of its journal, and for how long these stood still.

    `unheeded_s` is for how long the kill switch was on without an effect; None where it was off, or had one.
    """

    heartbeat: str | None
    beat_age_s: float
    journal_bytes: int | None
    still_s: float
    unheeded_s: float | None


class Memory(NamedTuple):
    """What is remembered from one look to the next."""

    at: datetime
    uptime_s: float
    sessions: Mapping[str, SessionMemory]


def watch(memory: Memory | None, look: Observation, limits: WatchLimits) -> tuple[Memory, tuple[Alarm, ...]]:
    """Return what is wrong in a look, and what to remember for the next one; *memory* is None at the first."""
    gap_s = 0.0 if memory is None else max(0.0, look.uptime_s - memory.uptime_s)
    before = {} if memory is None else memory.sessions
    heard = {
        sight.session_id: _hear(before.get(sight.session_id), sight, look, min(gap_s, GAP_MAX_S)) for sight in look.sessions
    }
    running = tuple(dict.fromkeys(sight.account for sight in look.sessions))
    found: list[Alarm | None] = []
    for sight in look.sessions:
        found += _of_session(sight, heard[sight.session_id], limits)
    found += [_disk(folder, limits, running) for folder in look.folders]
    found += [_journal(account, words) for account, words in look.flawed.items()]
    found += [
        _memory(look.free_memory, limits),
        _exchange_clock(look.exchange_ahead_s, limits),
        _registry(look.registry_out_s),
        None if memory is None else _clock((look.at - memory.at).total_seconds(), gap_s, limits, running),
        _late(gap_s),
        _not_seen(look.unseen),
    ]
    return Memory(look.at, look.uptime_s, heard), tuple(item for item in found if item is not None)


def _hear(known: SessionMemory | None, sight: SessionSight, look: Observation, watched_s: float) -> SessionMemory:
    """Return what is remembered of a session after a look."""
    unheeded = look.killed and not sight.heeds_kill and not sight.ended
    if known is None:
        return SessionMemory(sight.heartbeat, max(0.0, sight.beat_age_s), sight.journal_bytes, 0.0, 0.0 if unheeded else None)
    if sight.process is ProcessState.STOPPED:
        watched_s = 0.0  # that explains its silence, and once it goes on it has its full time again
    # What is not seen this time stands still only as far as it is known to.
    beat, age_s = known.heartbeat, known.beat_age_s
    if sight.heartbeat is not None:
        moved = sight.heartbeat != known.heartbeat
        beat, age_s = sight.heartbeat, 0.0 if moved else age_s + watched_s
    size, still_s = known.journal_bytes, known.still_s
    if sight.journal_bytes is not None:
        moved = sight.journal_bytes != known.journal_bytes
        size, still_s = sight.journal_bytes, 0.0 if moved else still_s + watched_s
    so_far = 0.0 if known.unheeded_s is None else known.unheeded_s + watched_s
    return SessionMemory(beat, age_s, size, still_s, so_far if unheeded else None)


def _of_session(sight: SessionSight, heard: SessionMemory, limits: WatchLimits) -> list[Alarm | None]:
    """Return what is wrong with a session; of what follows from each other only the cause."""
    gone = _dead(sight) or _stopped(sight)
    blind = [gone] if gone else [_silent(sight, heard), _hung(sight, heard, limits)]
    return [*blind, _unheeded(sight, heard, limits), _unreadable(sight), _greedy(sight, limits)]


def _session(watch: Watch, sight: SessionSight, words: str, found: str, limit: str) -> Alarm:
    cancel = sight.account if REMEDIES[watch].cancels and sight.at_exchange and sight.working else ""
    orders = f"; {sight.working} of its orders may be working at the exchange" if cancel else ""
    about = f"session {sight.session_id} on account {sight.account} {words}{orders}"
    return Alarm(watch, sight.session_id, about, found, limit, sight.session_id, (sight.account,), cancel)


def _dead(sight: SessionSight) -> Alarm | None:
    """A process that is gone, or that only its parent has not yet taken note of, sends and heeds nothing."""
    if sight.process not in (ProcessState.GONE, ProcessState.ZOMBIE):
        return None
    return _session(Watch.DEAD, sight, "has no process any more and did not end", sight.process.value, "a process that runs")


def _stopped(sight: SessionSight) -> Alarm | None:
    """A process that a signal or a debugger stopped looks at nothing, and would go on where it was."""
    if sight.process is not ProcessState.STOPPED:
        return None
    return _session(Watch.STOPPED, sight, "is stopped by a signal or a debugger", sight.process.value, "a process that runs")


def _silent(sight: SessionSight, heard: SessionMemory) -> Alarm | None:
    """A session prolongs its lease three times as often as it needs; once it has run out, others may take it for dead."""
    if heard.heartbeat is None or heard.beat_age_s < sight.lease_s:
        return None
    words = f"was last heard of {heard.beat_age_s:.0f} s ago"
    return _session(Watch.SILENT, sight, words, f"{heard.beat_age_s:.1f} s", f"{sight.lease_s:g} s")


def _hung(sight: SessionSight, heard: SessionMemory, limits: WatchLimits) -> Alarm | None:
    """A session that works writes bars, marks and orders; its heartbeat alone may go on while its trading stands still."""
    if sight.ended or sight.bar_s is None or sight.journal_bytes is None or sight.process is not ProcessState.RUNS:
        return None
    limit_s = limits.hung_s + BARS * sight.bar_s
    if heard.still_s < limit_s:
        return None
    words = f"has written nothing for {heard.still_s:.0f} s though its process lives"
    return _session(Watch.HUNG, sight, words, f"{heard.still_s:.1f} s", f"{limit_s:g} s")


def _unheeded(sight: SessionSight, heard: SessionMemory, limits: WatchLimits) -> Alarm | None:
    """The kill switch is looked at each second, and what was seen stands in the journal at once."""
    if heard.unheeded_s is None or heard.unheeded_s < limits.confirm_s:
        return None
    words = f"has not heeded the kill switch for {heard.unheeded_s:.0f} s"
    return _session(Watch.UNHEEDED, sight, words, f"{heard.unheeded_s:.1f} s", f"{limits.confirm_s:g} s")


def _unreadable(sight: SessionSight) -> Alarm | None:
    """Of a session whose journal can't be followed nobody knows what it does."""
    if not sight.journal_trouble:
        return None
    words = f"has a journal that can't be followed: {sight.journal_trouble}"
    return _session(Watch.UNREADABLE, sight, words, sight.journal_trouble, "a journal that can be read")


def _greedy(sight: SessionSight, limits: WatchLimits) -> Alarm | None:
    """A process that grows without end is ended by the system, in the middle of what it does."""
    if sight.memory_bytes is None or sight.memory_bytes < limits.session_memory:
        return None
    used, limit = f"{sight.memory_bytes // MB} MB", f"{limits.session_memory // MB} MB"
    return _session(Watch.GREEDY, sight, f"uses {used} of memory", used, limit)


def _memory(free: int | None, limits: WatchLimits) -> Alarm | None:
    """Without memory the system ends processes by its own choice."""
    if free is None or free >= limits.free_memory:
        return None
    found, limit = f"{free // MB} MB", f"{limits.free_memory // MB} MB"
    return Alarm(Watch.MEMORY, "", f"the machine has {found} of memory left", found, limit)


def _disk(folder: FolderSight, limits: WatchLimits, running: tuple[str, ...]) -> Alarm | None:
    """A journal that can't be written ends every session, in the middle of what it does."""
    bytes_low = folder.free_bytes is not None and folder.free_bytes < limits.free_disk
    files_low = folder.free_files is not None and folder.free_files < limits.free_files
    if not bytes_low and not files_low:
        return None
    room = [f"{(folder.free_bytes or 0) // MB} MB"] if bytes_low else []
    room += [f"{folder.free_files} files"] if files_low else []
    found, limit = " and ".join(room), f"{limits.free_disk // MB} MB and {limits.free_files} files"
    name = folder.path.rpartition("/")[2] or folder.path
    return Alarm(Watch.DISK, name, f"there is room for {found} at {folder.path}", found, limit, accounts=running)


def _clock(wall_s: float, gap_s: float, limits: WatchLimits, running: tuple[str, ...]) -> Alarm | None:
    """Ages, days and leases mean nothing across a jump of the wall clock."""
    jump_s = wall_s - gap_s
    if abs(jump_s) < limits.clock_jump_s:
        return None
    words = f"the machine's clock jumped by {jump_s:+.1f} s"
    return Alarm(Watch.CLOCK, "", words, f"{jump_s:+.3f} s", f"{limits.clock_jump_s:g} s", accounts=running)


def _exchange_clock(ahead_s: float | None, limits: WatchLimits) -> Alarm | None:
    """An exchange refuses what seems to come from another time, and our data ages are wrong by as much."""
    if ahead_s is None or abs(ahead_s) < limits.exchange_skew_s:
        return None
    words = f"the exchange's clock is {ahead_s:+.1f} s from ours"
    return Alarm(Watch.EXCHANGE_CLOCK, "", words, f"{ahead_s:+.3f} s", f"{limits.exchange_skew_s:g} s")


def _journal(account: str, words: str) -> Alarm:
    """What a damaged journal says can't be gone on with."""
    return Alarm(
        Watch.JOURNAL, account, f"the journal of account {account} is flawed: {words}", words, "none", accounts=(account,)
    )


def _registry(out_s: float) -> Alarm | None:
    """Without the registry sessions can't prolong their leases, and nobody sees one that begins."""
    if out_s < REGISTRY_S:
        return None
    return Alarm(Watch.REGISTRY, "", f"the registry has not answered for {out_s:.0f} s", f"{out_s:.1f} s", f"{REGISTRY_S:g} s")


def _late(gap_s: float) -> Alarm | None:
    """A supervisor that can't look does not know what it missed."""
    if gap_s < LATE_S:
        return None
    return Alarm(Watch.LATE, "", f"the supervisor itself did not look for {gap_s:.0f} s", f"{gap_s:.1f} s", f"{LATE_S:g} s")


def _not_seen(unseen: tuple[str, ...]) -> Alarm | None:
    """What can't be seen is not well."""
    if not unseen:
        return None
    return Alarm(Watch.NOT_SEEN, "", f"not seen on this machine: {', '.join(unseen)}", str(len(unseen)), "0")


class Stand(NamedTuple):
    """A condition: what was found last, for how long it has gone on, and for how long it was not found since."""

    alarm: Alarm
    stood_s: float
    calm_s: float


class Turned(NamedTuple):
    """What a look changed: conditions that go on, that began, and that are over."""

    standing: Mapping[str, Stand]
    begun: tuple[Alarm, ...]
    over: tuple[Alarm, ...]


def turn(standing: Mapping[str, Stand], alarms: Iterable[Alarm], watched_s: float, calm_s: float) -> Turned:
    """Return which conditions stand after a look.

    Args:
        watched_s: since the look before, at most `GAP_MAX_S`. calm_s: a condition that was not found for so long is over.
    """
    found = {alarm.key: alarm for alarm in alarms}
    after: dict[str, Stand] = {}
    over = []
    for key, known in standing.items():
        again = found.get(key)
        stand = (
            Stand(known.alarm, known.stood_s + watched_s, known.calm_s + watched_s)
            if again is None
            else Stand(again, known.stood_s + watched_s, 0.0)
        )
        if again is None and stand.calm_s >= calm_s:
            over.append(known.alarm)
        else:
            after[key] = stand
    begun = tuple(alarm for key, alarm in found.items() if key not in standing)
    return Turned(after | {alarm.key: Stand(alarm, 0.0, 0.0) for alarm in begun}, begun, tuple(over))


def holds_due(standing: Mapping[str, Stand], patience_s: float) -> Iterator[tuple[Alarm, HoldKind]]:
    """Yield the conditions whose hold is due.

    Args:
        patience_s: how long a session that died may take to be started again; one whose orders work at an exchange has none.
    """
    for stand in standing.values():
        remedy = REMEDIES[stand.alarm.watch]
        waits = remedy.patient and not stand.alarm.cancel and stand.stood_s < patience_s
        if remedy.hold is not None and stand.calm_s == 0.0 and not waits:
            yield stand.alarm, remedy.hold
