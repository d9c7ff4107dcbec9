"""The file in which an emulated exchange keeps what it must not forget: rows of JSON in SQLite, each with a checksum.

Invariant: `save` stores all of its rows or none of them, and what it stored outlives the process however that ends. Only one
process at a time has the file. What is damaged, or is not this file at all, is refused and left as it is.
"""

import contextlib
import json
import os
import sqlite3
import zlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from peak_trade.durable import storing
from peak_trade.model.errors import InputError, StorageError

#: Who made an SQLite file, and the layout of what is in it; both stand in its first page.
APPLICATION, FORMAT = 0x504B454D, 1
_MAGIC = b"SQLite format 3\x00"


class StateRow(NamedTuple):
    """A row: what it is of, which one, and what it says as JSON."""

    kind: str
    name: str
    text: str


class StateFile:
    """The open file."""

    def __init__(self, path: Path) -> None:
        """Open the file, or begin a new one.

        Raises:
            InputError: somebody else has it, or it is damaged, of another format, or something else.
            StorageError: the disk refused.
        """
        self.path = path
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # It holds the secrets of keys: nobody else may read it, from its first byte on.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            with path.open("rb") as file:
                head = file.read(100)
        if head:
            self._check_head(head)
        try:
            # A write-ahead log, and no memory shared with others: the lock lasts until the process ends, however it ends.
            self._database = sqlite3.connect(path, isolation_level=None, timeout=0, check_same_thread=False)
            self._database.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._database.execute("BEGIN EXCLUSIVE")
            if self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                self._begin()
            self._database.execute("COMMIT")
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            sound = self._database.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.Error as error:
            # The connection is not there if that was what failed.
            with contextlib.suppress(AttributeError, sqlite3.Error):
                self._database.close()
            raise self._refused(error) from error
        if sound != "ok":
            self._database.close()
            raise self._damaged(sound)

    def _check_head(self, head: bytes) -> None:
        if len(head) < 100 or not head.startswith(_MAGIC) or int.from_bytes(head[68:72], "big") != APPLICATION:
            raise InputError(
                f"expected the state of an emulator in {self.path}, found another or a damaged file; name another file, or "
                "move it away to begin anew"
            )
        if (found := int.from_bytes(head[60:64], "big")) != FORMAT:
            raise InputError(
                f"expected state of format {FORMAT} in {self.path}, found format {found} of another version of Peak_Trade; use "
                "that version, or name another file"
            )

    def _begin(self) -> None:
        self._database.execute("CREATE TABLE kept (kind TEXT, name TEXT, text TEXT, sum INTEGER, PRIMARY KEY (kind, name))")
        self._database.execute(f"PRAGMA application_id={APPLICATION}")
        self._database.execute(f"PRAGMA user_version={FORMAT}")

    def load(self) -> dict[str, dict[str, Any]]:
        """Return all that is stored, by kind and name.

        Raises:
            InputError: it is damaged.
        """
        found: dict[str, dict[str, Any]] = defaultdict(dict)
        try:
            for kind, name, text, total in self._database.execute("SELECT kind, name, text, sum FROM kept"):
                if _sum(StateRow(kind, name, text)) != total:
                    raise self._damaged(f"{kind} {name} was changed")
                found[kind][name] = json.loads(text)
        except (sqlite3.Error, ValueError, TypeError, AttributeError) as error:
            raise self._damaged(str(error)) from error
        return found

    def save(self, rows: Iterable[StateRow], gone: Iterable[tuple[str, str]] = ()) -> None:
        """Store rows, instead of those of the same kind and name, and forget others; all of it or nothing.

        Raises:
            StorageError: the disk refused.
        """
        try:
            self._database.execute("BEGIN")
            self._database.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?)", [(*row, _sum(row)) for row in rows])
            self._database.executemany("DELETE FROM kept WHERE kind = ? AND name = ?", list(gone))
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            raise StorageError(
                f"{self.path} can't be written: {error}; free some space or check the disk; what was stored before is intact"
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def _refused(self, error: sqlite3.Error) -> Exception:
        if "locked" in str(error) or "busy" in str(error):
            return InputError(
                f"expected to have {self.path} alone, found that another emulator uses it; end that, or name another"
            )
        if isinstance(error, sqlite3.OperationalError) and ("full" in str(error) or "readonly" in str(error)):
            return StorageError(f"{self.path} can't be written: {error}; free some space or check its permissions")
        return self._damaged(str(error))

    def _damaged(self, why: str) -> InputError:
        return InputError(
            f"expected whole state in {self.path}, found it damaged ({why.splitlines()[0][:100] if why else 'unreadable'}); "
            "restore a copy, or move it away to begin anew"
        )


def _sum(row: StateRow) -> int:
    return zlib.crc32(f"{row.kind}\0{row.name}\0{row.text}".encode())
