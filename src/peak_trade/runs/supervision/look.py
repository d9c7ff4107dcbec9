"""What a supervisor looks at: processes, journals as they grow, the room on disks and in memory, an exchange's clock.

Invariant: it only reads; nothing here waits for a lock, and each look at a journal reads a bounded part.
Invariant: what can't be seen on this machine comes as None, never as a guess.
"""

import asyncio
import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from peak_trade.compose import Parts
from peak_trade.journal.chain import ENDED, LINE_MAX, Record, holder, lines, parse_shape, process_started
from peak_trade.journal.session import Session
from peak_trade.model.bar import Timeframe
from peak_trade.model.clock import parse_moment
from peak_trade.model.errors import PeakTradeError
from peak_trade.model.kill_level import KillLevel
from peak_trade.model.order import WORKING
from peak_trade.model.stage import Stage
from peak_trade.safety.watch import FolderSight, ProcessState, SessionSight

#: Most bytes of a journal that are read in one look.
PART_BYTES = 4 * 1024 * 1024
#: Most dead sessions that one goes on with which are read for orders that they left.
LINEAGE_MAX = 1_000
#: A process that is so much younger than its session is another one, seconds.
YOUNGER_S = 60.0
#: Stages whose orders are at an exchange; below, they are validated at most, and nothing waits there.
AT_EXCHANGE = frozenset({Stage.LIVE})
#: Longest wait for an exchange to tell its time, seconds.
ASK_S = 5.0
_PROC = Path("/proc")
#: How the journal of a session calls what happens to orders; a test compares them with the engine's own.
SENDING, FILLED, ADOPTED, TRIPPED = "sending", "filled", "adopted", "tripped"
GONE = frozenset({"closed", "rejected", "absent"})
#: The code with which a session heeds the kill switch, and the mode in which it has done so at least as far as reduce-only.
KILL_SWITCH, KILLED = "kill_switch", "killed"


class ProcessSight(NamedTuple):
    """How a process is, how much memory it uses in bytes, and when it began, in seconds of the machine's uptime."""

    state: ProcessState
    memory_bytes: int | None
    began_s: float | None


def process_of(number: int, proc: Path = _PROC) -> ProcessSight:
    """Return how a process of this machine is."""
    if not (proc / "self" / "stat").exists():
        return ProcessSight(_asked(number), None, None)
    try:
        # The name may hold anything, spaces and brackets too: what counts comes after its last bracket.
        told = (proc / str(number) / "stat").read_text("ascii", "replace").rpartition(")")[2].split()
        state, began, pages = told[0], int(told[19]), int(told[21])
    except (FileNotFoundError, ProcessLookupError):
        return ProcessSight(ProcessState.GONE, None, None)
    except (OSError, IndexError, ValueError):
        return ProcessSight(ProcessState.NOT_SEEN, None, None)
    states = {"T": ProcessState.STOPPED, "t": ProcessState.STOPPED, "Z": ProcessState.ZOMBIE, "X": ProcessState.GONE}
    began_s = began / os.sysconf("SC_CLK_TCK")
    return ProcessSight(states.get(state, ProcessState.RUNS), pages * os.sysconf("SC_PAGE_SIZE"), began_s)


def _asked(number: int) -> ProcessState:
    """Return what a machine without a process file system tells: whether there is one; not how it is."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return ProcessState.GONE
    except OSError:
        pass
    return ProcessState.NOT_SEEN


def free_memory(proc: Path = _PROC) -> int | None:
    """Return the bytes of memory that the machine has left; None where it does not tell."""
    try:
        for line in (proc / "meminfo").read_text("ascii").splitlines():
            name, _, rest = line.partition(":")
            if name == "MemAvailable":
                return int(rest.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def folders_of(paths: Iterable[Path]) -> tuple[FolderSight, ...]:
    """Return the room where folders are, or would be; of several on one disk the first."""
    found: dict[int, FolderSight] = {}
    for path in paths:
        there = path
        while not there.exists() and there != there.parent:
            there = there.parent
        try:
            disk = there.stat().st_dev
            told = os.statvfs(there)
        except (OSError, AttributeError):
            found.setdefault(-1 - len(found), FolderSight(str(path), None, None))
            continue
        # A file system that counts no files says that there are none.
        files = told.f_favail if told.f_files else None
        found.setdefault(disk, FolderSight(str(path), told.f_bavail * told.f_frsize, files))
    return tuple(found.values())


class JournalTail:
    """A session's journal, followed as it grows: which orders may be working, which mode it is in, whether it has ended.

    It begins with the sessions that this one goes on with, because their orders may be working too.
    """

    def __init__(self, root: Path, account: str, session_id: str) -> None:
        self._folder = root / account
        self.path = self._folder / f"{session_id}.jsonl"
        self.trouble = ""
        self.mode = "running"
        self.stopped_at: KillLevel | None = None
        self.ended = False
        self.last_at: datetime | None = None
        self.working: set[str] = set()
        self._waiting: list[Path] | None = None
        self._read = 0

    @property
    def behind(self) -> bool:
        """Whether there is more of it than was read."""
        return self._waiting is None or len(self._waiting) > 1 or self._read < (self.size() or 0)

    def size(self) -> int | None:
        """Return its length, bytes; None where it can't be seen."""
        try:
            return self.path.stat().st_size
        except OSError:
            return None

    def read_on(self) -> None:
        """Read a bounded part of what came since the last time."""
        left = PART_BYTES
        try:
            if self._waiting is None:
                self._waiting = self._lineage()
            while left > 0:
                taken, at_end = self._take(self._waiting[0], left)
                left -= taken
                if not at_end and taken == 0:
                    return  # the next line is longer than what is left for this time
                if at_end and len(self._waiting) == 1:
                    return
                if at_end:
                    self._waiting.pop(0)
                    self._read = 0
        except (PeakTradeError, OSError) as error:
            self.trouble = getattr(error, "strerror", None) or str(error)

    def _lineage(self) -> list[Path]:
        """Return the segments to read, the oldest first."""
        paths = [self.path]
        while len(paths) <= LINEAGE_MAX:
            first = parse_shape(next(lines(paths[0]), b""))
            before = None if first is None else first.body.get("continues")
            if not isinstance(before, str) or (path := self._folder / f"{before}.jsonl") in paths:
                break
            paths.insert(0, path)
        return paths

    def _take(self, path: Path, most: int) -> tuple[int, bool]:
        """Read whole lines of a segment; return how many bytes they had, and whether it has no more of them."""
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < self._read:
                self.trouble = "it has become shorter"
                return 0, True
            file.seek(self._read)
            part = file.read(most)
            if most == PART_BYTES == len(part) and b"\n" not in part:
                part += file.readline(LINE_MAX)
            at_end = len(part) < most
        whole = part[: part.rfind(b"\n") + 1]
        for line in whole.splitlines(keepends=True):
            record = parse_shape(line)
            if record is None:
                self.trouble = f"a line of {path.name} is damaged"
            else:
                try:
                    self._note(record)
                except (ValueError, TypeError, AttributeError):
                    # One line that says nonsense must not hide what comes after it, nor the session itself.
                    self.trouble = f"a line of {path.name} is damaged"
        self._read += len(whole)
        return len(whole), at_end

    def _note(self, record: Record) -> None:
        """Take note of what a record says of orders and of the session itself."""
        body = record.body
        with suppress(ValueError):
            self.last_at = parse_moment(record.at)
        if record.kind == SENDING:
            self.working.add(str(body.get("intent", {}).get("client_id")))
        elif record.kind in GONE or (record.kind == FILLED and not float(body.get("remaining", 0))):
            self.working.discard(str(body.get("client_id")))
        elif record.kind == ADOPTED:
            alive = body.get("state") in {state.value for state in WORKING}
            (self.working.add if alive else self.working.discard)(str(body.get("client_id")))
        elif record.kind == TRIPPED:
            self.mode = str(body.get("mode"))
            if body.get("code") == KILL_SWITCH or self.mode == KILLED:
                self.stopped_at = _further(self.stopped_at, str(body.get("level")))
        self.ended = record.kind == ENDED


def _further(known: KillLevel | None, name: str) -> KillLevel:
    """Return how far a session stopped by now; a record without a level did what the mildest that kills it asks for."""
    level = next((item for item in KillLevel if item.value == name), KillLevel.REDUCE_ONLY)
    return level if known is None or level.rank > known.rank else known


class SessionEyes:
    """One session that is registered as started, looked at again and again."""

    def __init__(self, parts: Parts, session: Session) -> None:
        self._parts, self.session = parts, session
        self.tail = JournalTail(parts.journal, session.account, session.session_id)
        self._began_s: float | None = None

    def look(self, now: datetime, uptime_s: float, *, beat_seen: bool, level: KillLevel | None) -> SessionSight:
        """Return what is to be seen of it.

        Args:
            beat_seen: the registry answered, so that its heartbeat is the present one.
            level: how far the kill switch goes; None while it is off.
        """
        session, tail = self.session, self.tail
        process = self._process(now, uptime_s)
        tail.read_on()
        beat = session.heartbeat_at if beat_seen else None
        stopped = tail.stopped_at
        return SessionSight(
            session_id=session.session_id,
            account=session.account,
            at_exchange=Stage(session.mode) in AT_EXCHANGE,
            process=process.state,
            heartbeat=beat,
            beat_age_s=_between(session.heartbeat_at, now),
            lease_s=max(1.0, _between(session.heartbeat_at, session.lease_until)),
            journal_bytes=tail.size(),
            journal_trouble=tail.trouble,
            bar_s=_bar_s(session),
            ended=tail.ended,
            # Of what was not read yet nobody can say that it was not heeded.
            heeds_kill=tail.behind or (level is not None and stopped is not None and stopped.rank >= level.rank),
            working=len(tail.working),
            memory_bytes=process.memory_bytes,
        )

    def _process(self, now: datetime, uptime_s: float) -> ProcessSight:
        if self.session.host != platform.node():
            return ProcessSight(ProcessState.NOT_SEEN, None, None)
        found = process_of(self.session.run.process)
        if found.began_s is None:
            return found
        if self._began_s is None:
            age_s = _between(self.session.run.started_at, now)
            # A clock that was set ahead since makes a session look older than its process.
            if uptime_s - found.began_s + YOUNGER_S < age_s and not self._holds_account():
                return ProcessSight(ProcessState.GONE, None, None)  # its number is another process's by now
            self._began_s = found.began_s
        if found.began_s != self._began_s:
            return ProcessSight(ProcessState.GONE, None, None)
        return found

    def _holds_account(self) -> bool:
        """Tell whether the very process wrote down that it holds the account for this session; no lock is waited for."""
        who, number = holder(self._parts.journal, self.session.account), self.session.run.process
        same = (who.session_id, who.process, who.host) == (self.session.session_id, number, platform.node())
        return same and who.started is not None and who.started == process_started(number)


def _bar_s(session: Session) -> float | None:
    """Return the seconds between two bars of a session by the wall clock; 0 as fast as can be, None where nobody can tell."""
    speed = session.feed.get("speed")
    if speed is None:
        return 0.0
    try:
        return Timeframe.parse(session.run.timeframe).step_ns / 1e9 / float(speed)
    except (PeakTradeError, TypeError, ValueError, ZeroDivisionError):
        return None


def _between(begin: str | None, end: datetime | str | None) -> float:
    """Return the seconds between two moments; 0 where one of them is not known."""
    if begin is None or end is None:
        return 0.0
    until = parse_moment(end) if isinstance(end, str) else end
    return (until - parse_moment(begin)).total_seconds()


def exchange_ahead_s(parts: Parts, base_url: str) -> float:
    """Ask an exchange for its time; return by how much its clock is further than ours at least, seconds.

    Raises:
        Unavailable: it does not answer.
    """

    async def ask() -> float:
        market = parts.public_market(0.0, ASK_S, base_url)
        try:
            begun = parts.clock.elapsed_s()
            ahead_s = -(await market.skew_ns()) / 1e9
            # It tells whole seconds, and nobody knows when during the call.
            doubt_s = 0.5 + (parts.clock.elapsed_s() - begun) / 2
            return max(0.0, abs(ahead_s) - doubt_s) * (1.0 if ahead_s > 0 else -1.0)
        finally:
            await market.close()

    return asyncio.run(ask())
