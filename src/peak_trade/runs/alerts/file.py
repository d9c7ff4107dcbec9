"""The file of alerts, `alerts.jsonl` in the state folder: a record a line, by every process that tells or sends one.

Invariant: records are on disk when `append` says so; what the disk refused is kept in memory and written before what follows.
Invariant: who decides by what is there holds the file while deciding and writing.
"""

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from peak_trade.durable import force, storing, write_bytes
from peak_trade.model.clock import parse_moment
from peak_trade.model.errors import StorageError
from peak_trade.safety.alerts import AlertBook, Entry, kept

FILE = "alerts.jsonl"
#: A file that is larger is put aside, and another begun; it has tens of thousands of records then.
BYTES_MAX = 16 << 20
#: How long another process is waited for that writes; each holds the file for milliseconds.
WAIT_S = 5.0


class AlertFile:
    """The file of one state folder, as one process sees it."""

    def __init__(self, state: Path) -> None:
        self.path = state / FILE
        #: Why the last append failed; empty where it did not.
        self.trouble = ""
        self._unwritten: list[Entry] = []
        self._most = BYTES_MAX
        self._mine = threading.RLock()
        self._book, self._read, self._inode = AlertBook(), 0, -1

    @contextlib.contextmanager
    def held(self, *, strict: bool = False) -> Iterator[AlertBook]:
        """Hold the file while the block runs, and return what is in it; go on without where no lock is to be had.

        Without it the worst is an alert that is told twice; waiting for ever would be worse.

        Raises:
            StorageError: *strict*, and the file is there and can't be read.
        """
        import filelock

        with self._mine, contextlib.ExitStack() as stack:
            # One of its own for each holder: threads of a process exclude each other too.
            lock = filelock.FileLock(self.path.with_name("alerts.lock"), timeout=WAIT_S, thread_local=False)
            with contextlib.suppress(OSError, filelock.Timeout):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                lock.acquire()
                stack.callback(lock.release)
            yield self.book(strict=strict)

    def book(self, *, strict: bool = False) -> AlertBook:
        """Return what the records come to, those that could not be written included; it grows with the file.

        Raises:
            StorageError: *strict*, and the file is there and can't be read; else there is what this process knows.
        """
        try:
            return self._read_on()
        except StorageError as error:
            if strict:
                raise
            self.trouble = str(error)
            return AlertBook(self._unwritten)

    def _read_on(self) -> AlertBook:
        with self._mine, _reading(self.path):
            try:
                handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return AlertBook(self._unwritten)
            try:
                found = os.fstat(handle)
                if found.st_ino != self._inode or found.st_size < self._read:
                    self._book, self._read, self._inode = AlertBook(), 0, found.st_ino
                content = _rest(handle, self._read)
            finally:
                os.close(handle)
            whole = content[: content.rfind(b"\n") + 1]
            self._read += len(whole)
            for line in whole.splitlines():
                self._take(line)
            if not self._unwritten:
                return self._book
            # Rare: the disk refused. What is in memory alone is not mixed with what is read, which may follow it there.
            return AlertBook([*_entries(self.path), *self._unwritten])

    def append(self, *entries: Entry) -> bool:
        """Write records; return whether they are on disk. They count for this process in any case.

        The caller holds the file.
        """
        with self._mine:
            self._unwritten += entries
            if not self._unwritten:
                return True
            try:
                with storing(self.path):
                    self._write("".join(json.dumps(entry, sort_keys=True) + "\n" for entry in self._unwritten).encode())
            except StorageError as error:
                self.trouble = str(error)
                return False
            self._unwritten.clear()
            self.trouble = ""
            if entries and self.size() > self._most:
                with contextlib.suppress(StorageError):
                    self._begin_anew(parse_moment(entries[-1]["at"]))
            return True

    def size(self) -> int:
        """Return how long the file is, bytes; -1 where there is none. Another number means another record."""
        try:
            return self.path.stat().st_size
        except OSError:
            return -1

    def _write(self, lines: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        begun = not self.path.exists()
        handle = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":
                # A process died in the middle of a line; what it left is a line of its own, and counted as unread.
                lines = b"\n" + lines
            try:
                written = 0
                while written < len(lines):
                    written += os.write(handle, lines[written:])
                os.fsync(handle)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(handle, size)
                raise
        finally:
            os.close(handle)
        if begun:
            force(self.path.parent)

    def _begin_anew(self, now: datetime) -> None:
        """Put the file aside under a name of its own, and begin another with what is still acted on."""
        # Where what is acted on is large itself, or can't be put aside, the next time is when it has doubled.
        self._most = max(BYTES_MAX, 2 * self.size())
        with storing(self.path):
            lines = [json.dumps(entry, sort_keys=True) + "\n" for entry in kept(_entries(self.path), now)]
            aside = self.path.with_name(f"alerts-{now:%Y%m%dT%H%M%S%f}.jsonl")
            aside.hardlink_to(self.path)
            write_bytes(self.path, "".join(lines).encode())
        self._most = max(BYTES_MAX, 2 * self.size())

    def _take(self, line: bytes) -> None:
        entry = _entry(line)
        if entry is None:
            self._book.unread += 1
        else:
            self._book.take(entry)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"expected to read {path}, found that it can't be ({error.strerror or error}); check its permissions"
        ) from error


def _rest(handle: int, start: int) -> bytes:
    os.lseek(handle, start, os.SEEK_SET)
    parts = []
    while part := os.read(handle, 1 << 20):
        parts.append(part)
    return b"".join(parts)


def _entries(path: Path) -> list[Entry]:
    return [entry for line in path.read_bytes().splitlines() if (entry := _entry(line)) is not None]


def _entry(line: bytes) -> Entry | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
