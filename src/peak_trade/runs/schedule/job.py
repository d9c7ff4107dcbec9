"""One run of a job: a process of its own, which can be ended and whose memory comes back; what it printed goes into files.

Invariant: it is started from words, never through a shell, and sees no secret that its command does not need.
Invariant: when it is over nothing of its group of processes is left.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from peak_trade.compose import Parts
from peak_trade.durable import storing
from peak_trade.model.clock import Clock
from peak_trade.runs.record import Json
from peak_trade.runs.schedule.file import Job
from peak_trade.runs.schedule.kinds import secrets_of

#: Folder of what jobs printed, below that of the log files, and how many runs of a job it keeps.
OUTPUT, OUTPUTS_MAX = "scheduler", 50
#: What is read of what a command printed, bytes, and told of what it said, characters.
PRINTED_MAX, SAID_MAX = 16 << 20, 500
#: Keys under which commands tell what they made.
MADE = ("run_id", "session_id", "drill_id", "evidence", "archive", "dataset", "id")
#: Names of variables that look like secrets of somebody; PostgreSQL's are the registry's.
_SECRET = re.compile(r"SECRET|TOKEN|PASSW|PASSPHRASE|API_?KEY|PRIVATE_?KEY|CREDENTIAL", re.I)


class Running(Protocol):
    """A run that goes on."""

    #: Its process: number, when it began in ticks since the machine did, and which start of the machine that was.
    process: Json

    def poll(self) -> int | None:
        """Return how it ended, below zero by which signal; None while it goes on."""
        ...

    def ask(self) -> None:
        """Ask it to end."""
        ...

    def kill(self) -> None:
        """End it and every process of its group."""
        ...

    def told(self) -> Json:
        """Return what it made, by its own word, and the last line that it said."""
        ...


class JobProcess:
    """A run that goes on in a process of its own."""

    def __init__(self, parts: Parts, job: Job, run: str) -> None:
        """Start it.

        Raises:
            StorageError: its files can't be made, or the machine has no process for it.
        """
        settings = parts.settings
        folder = settings.folder(settings.file.paths.logs) / OUTPUT
        self._out, self._err = (folder / f"{job.name}-{run}.{end}" for end in ("json", "err"))
        words = [*job.command, "--config", str(settings.path), "--json"]
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _prune(folder, job.name)
            with _private(self._out) as out, _private(self._err) as err:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "peak_trade.runs.schedule.child", str(os.getpid()), *words],
                    cwd=settings.root,
                    env=_environment(settings.environment(*(needed := secrets_of(job.kind, job.command, settings))), needed),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    # A group of its own: Ctrl+C in the scheduler's terminal is the scheduler's to pass on.
                    start_new_session=True,
                )
        self.process = {"pid": self._process.pid, **_identity(self._process.pid)}
        self._code: int | None = None

    def poll(self) -> int | None:
        """Return how it ended; its group is ended with it."""
        if self._code is None:
            if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return None
            # While its end is not taken note of, its number can't be another's.
            self.kill()
            self._code = self._process.wait()
        return self._code

    def ask(self) -> None:
        """Ask it to end; what it started is its own to end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and every process of its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def told(self) -> Json:
        """Return what it made, by its own word, and the last line that it said."""
        return {"made": made_in(_read(self._out)), "said": _last_line(_read(self._err))}


def made_in(printed: bytes) -> list[str]:
    """Return the ids in the JSON document of a command, as `session_id=...`; nothing where it printed none."""
    try:
        found = json.loads(printed)
    except (ValueError, RecursionError):
        return []
    items = found if isinstance(found, list) else [found]
    nested = [part for item in items if isinstance(item, dict) for part in item.values() if isinstance(part, list)]
    items = [item for group in ([items], [part[:20] for part in nested]) for part in group for item in part]
    told = [
        f"{key}={item[key]}" for item in items[:100] if isinstance(item, dict) for key in MADE if isinstance(item.get(key), str)
    ]
    return list(dict.fromkeys(told))[:20]


def end_left_over(process: Mapping[str, Any], clock: Clock, grace: timedelta) -> bool:
    """End the process of a run whose scheduler died, if it still goes on; return whether it did.

    A process counts as that one where it began at the same tick of the same start of the machine.
    """
    pid = process.get("pid")
    if not isinstance(pid, int) or not _is_same(process):
        return False
    until = clock.elapsed_s() + grace.total_seconds()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGTERM)
        while _is_same(process) and clock.elapsed_s() < until:
            # It is no child of ours: nobody wakes us.
            signal.sigtimedwait(set(), 0.05)
        if _is_same(process):
            os.killpg(pid, signal.SIGKILL)
    return True


def _is_same(process: Mapping[str, Any]) -> bool:
    now = _identity(process["pid"])
    return now["ticks"] is not None and now == {name: process.get(name) for name in now}


def _identity(pid: int) -> Json:
    """Return what tells a process from a later one of the same number; nothing where the system does not say."""
    try:
        # The name in parentheses may hold anything.
        fields = open_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if fields[0] in "ZX":
            return {"ticks": None, "boot": None}
        return {"ticks": int(fields[19]), "boot": open_text("/proc/sys/kernel/random/boot_id").strip()}
    except (OSError, ValueError, IndexError):
        return {"ticks": None, "boot": None}


def open_text(path: str) -> str:
    """Return the text of a file of the system."""
    return Path(path).read_text("utf-8", "replace")


def _environment(given: Mapping[str, str], needed: tuple[str, ...]) -> dict[str, str]:
    """Return the environment without what looks like a secret of somebody."""
    return {name: value for name, value in given.items() if name in needed or not _SECRET.search(name) or name.startswith("PG")}


def _private(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb")


def _prune(folder: Path, job: str) -> None:
    """Remove what the oldest runs of a job printed; run ids sort by time."""
    mine = sorted(path for end in ("json", "err") for path in folder.glob(f"{job}-*.{end}") if path.name.count("-") == 2)
    for path in mine[: -2 * (OUTPUTS_MAX - 1)]:
        path.unlink(missing_ok=True)


def _read(path: Path) -> bytes:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(PRINTED_MAX)
    return b""


def _last_line(said: bytes) -> str:
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    return "".join(mark if mark.isprintable() else " " for mark in lines[-1])[:SAID_MAX] if lines else ""
