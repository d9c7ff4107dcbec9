"""Several testnet sessions one after the other, each in a process of its own: one that crashes takes no other with it."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from peak_trade.settings import TestnetOrchestration

#: How long a session that was told to end may take before it is killed, seconds.
END_S = 30.0
INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A session of the series to be: its profile, the command that runs it, and how long it may take, seconds."""

    profile: str
    command: Sequence[str]
    longest_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesEnd:
    """How a session of the series ended.

    Attributes:
        exit_code: of its process; None where it was not begun.
        record: what the session says of itself; empty where it said nothing.
        words: the last thing it said besides.
    """

    profile: str
    exit_code: int | None
    record: dict[str, Any] = field(default_factory=dict)
    words: str = ""

    @property
    def status(self) -> str:
        """How it ended in a word."""
        if self.exit_code is None:
            return "not begun"
        without = {0: "completed", 3: "refused"}.get(self.exit_code, "failed")
        return str(self.record.get("status") or without)

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as a JSON object."""
        metrics = self.record.get("metrics") or {}
        return {
            "profile": self.profile,
            "status": self.status,
            "exit_code": self.exit_code,
            "session_id": self.record.get("session_id"),
            "num_orders": metrics.get("num_orders"),
            "num_fills": metrics.get("num_fills"),
            "realized_pnl": metrics.get("realized_pnl"),
            "words": self.words,
        }


class Series:
    """Runs sessions in their order; a signal ends the running one gracefully and begins no other."""

    def __init__(self, rules: TestnetOrchestration, say: Callable[[str], None]) -> None:
        self._rules, self._say = rules, say
        self._stop = threading.Event()
        self._child: subprocess.Popen[str] | None = None

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended the series."""
        return self._stop.is_set()

    def run(self, entries: Sequence[Entry]) -> list[SeriesEnd]:
        """Run them all; return how each ended, those that were not begun included."""
        ended: list[SeriesEnd] = []
        with self._listening():
            for number, entry in enumerate(entries):
                if number and self._rules.pause_s:
                    self._stop.wait(self._rules.pause_s)
                if self._stop.is_set() or (self._rules.stop_on_failure and any(one.exit_code for one in ended)):
                    ended.append(SeriesEnd(profile=entry.profile, exit_code=None))
                    continue
                self._say(f"{entry.profile}: session {number + 1} of {len(entries)} begins")
                ended.append(self._one(entry))
                self._say(f"{entry.profile}: {ended[-1].status}, exit code {ended[-1].exit_code}")
        return ended

    def _one(self, entry: Entry) -> SeriesEnd:
        try:
            child = subprocess.Popen(
                entry.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,  # a signal reaches it once, through us
            )
        except OSError as error:
            return SeriesEnd(profile=entry.profile, exit_code=1, words=f"its process could not be started ({error.strerror})")
        with child:
            self._child = child
            try:
                return _followed(entry, child)
            finally:
                self._child = None

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """Pass signals on to the running session, and remember that there was one."""
        numbers = (signal.SIGINT, signal.SIGTERM)

        def heard(number: int, _frame: object) -> None:
            self._stop.set()
            child = self._child
            if child is not None:
                child.send_signal(number)

        before = [(number, signal.signal(number, heard)) for number in numbers]
        try:
            yield
        finally:
            for number, handler in before:
                signal.signal(number, handler)


def exit_code_of(ended: Sequence[SeriesEnd], *, interrupted: bool) -> int:
    """Return the exit code of a series: 130 where a signal ended it, 0 where all went well, else the failures' or 1."""
    if interrupted:
        return INTERRUPTED
    codes = {one.exit_code for one in ended if one.exit_code}
    return codes.pop() if len(codes) == 1 else 1 if codes else 0


def session_command(profile: str, options: Sequence[str]) -> list[str]:
    """Return the command that runs the session of a profile and prints its record."""
    return [sys.executable, "-m", "peak_trade", "testnet", "run", "--profile", profile, "--json", *options]


def _followed(entry: Entry, child: "subprocess.Popen[str]") -> SeriesEnd:
    """Wait for a session's end, for no longer than it may take; return how it ended."""
    said: list[str] = []
    listener = threading.Thread(target=_copy, args=(child, said), daemon=True)
    listener.start()
    deadline = threading.Timer(entry.longest_s, child.terminate)
    last = threading.Timer(entry.longest_s + END_S, child.kill)
    for timer in (deadline, last):
        timer.daemon = True
        timer.start()
    out = child.stdout.read() if child.stdout else ""
    code = child.wait()
    late = not deadline.is_alive()
    for timer in (deadline, last):
        timer.cancel()
    listener.join(END_S)
    words = said[-1] if said and code else ""
    if code < 0:
        words = f"its process was ended by {_name(-code)}"
    if late:
        words = f"ended because it took longer than {entry.longest_s:g} s"
    return SeriesEnd(profile=entry.profile, exit_code=1 if late or code < 0 else code, record=_record(out), words=words)


def _copy(child: "subprocess.Popen[str]", said: list[str]) -> None:
    """Pass on what a session says, and keep its last line."""
    for line in child.stderr or ():
        sys.stderr.write(line)
        sys.stderr.flush()
        if line.strip():
            said[:] = [line.strip().removeprefix("peak-trade: ")]


def _record(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
