"""The memory of the simulated venue: what a real exchange keeps on its own machines, here a file of JSON lines.

It is the venue's, not ours: after a crash the engine asks the venue as it would ask a real one, and the venue reads this.

Invariant: a line is on disk before the venue tells anybody; a torn last line never happened.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from peak_trade.durable import storing
from peak_trade.model.errors import StorageError
from peak_trade.model.points import Faults, no_faults

_to_json = msgspec.json.Encoder().encode


class VenueLog(Protocol):
    """Where the simulated venue remembers."""

    def append(self, line: Mapping[str, Any]) -> None:
        """Keep a line for ever."""
        ...

    def lines(self) -> Iterator[dict[str, Any]]:
        """Return every line in order."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class MemoryLog:
    """A memory that ends with the process, for measurements and tests."""

    def __init__(self) -> None:
        self._lines: list[dict[str, Any]] = []

    def append(self, line: Mapping[str, Any]) -> None:
        """Keep a line until the process ends."""
        self._lines.append(dict(line))

    def lines(self) -> Iterator[dict[str, Any]]:
        """Return every line in order."""
        return iter(list(self._lines))

    def close(self) -> None:
        """Do nothing."""


class NoLog:
    """No memory at all: for a venue that nobody will ask what happened."""

    def append(self, line: Mapping[str, Any]) -> None:
        """Forget a line."""

    def lines(self) -> Iterator[dict[str, Any]]:
        """Return nothing."""
        return iter(())

    def close(self) -> None:
        """Do nothing."""


class FileLog:
    """A file of JSON lines, forced to disk line by line."""

    def __init__(self, path: Path, faults: Faults = no_faults) -> None:
        """Open the file, or make it; cut off what a crash left of a last line.

        Raises:
            StorageError: the disk refused.
        """
        self._path, self._faults = path, faults
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
            whole = path.read_bytes().rfind(b"\n") + 1
            os.ftruncate(self._handle, whole)
        self._size = whole

    def append(self, line: Mapping[str, Any]) -> None:
        """Write a line and force it to disk.

        Raises:
            StorageError: the disk refused; the line is not in the file.
        """
        self._faults("venue.log.before")
        content = _to_json(line) + b"\n"
        with storing(self._path):
            try:
                written = os.write(self._handle, content)
                while written < len(content):
                    written += os.write(self._handle, content[written:])
                os.fsync(self._handle)
            except OSError:
                os.ftruncate(self._handle, self._size)
                raise
        self._size += len(content)
        self._faults("venue.log.after")

    def lines(self) -> Iterator[dict[str, Any]]:
        """Return every line in order.

        Raises:
            StorageError: a line can't be read.
        """
        with storing(self._path), self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    found = json.loads(line)
                except ValueError as error:
                    raise StorageError(
                        f"expected JSON in line {number} of {self._path}, found a damaged one; move the file away, "
                        "the journal still has every order and fill"
                    ) from error
                yield found

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._handle)
