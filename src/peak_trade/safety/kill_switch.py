"""The kill switch: a file whose existence is the state, so that no content, no lock and no database can be in its way.

Invariant: the file's existence comes before its words; a disk that takes no words still takes the state.
Invariant: what can't be told counts as on.
Invariant: how far it goes is told by files beside it that hold nothing; it only ever goes further, until it is released.
"""

import contextlib
import json
import os
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from peak_trade.durable import force, storing, write_text
from peak_trade.model.clock import moment_text, nanoseconds
from peak_trade.model.errors import SafetyRefused, StorageError
from peak_trade.model.kill_level import KillLevel

#: What stands where nobody knows.
UNKNOWN = "unknown"
#: Longest words that are read: they go into sentences and into journals.
_WORDS_MAX = 1_000
_BYTES_MAX = 65_536


class Killed(NamedTuple):
    """Since when (ISO 8601, UTC), by whom and why everything is stopped."""

    at: str
    by: str
    why: str

    def __str__(self) -> str:
        return f"the kill switch is on since {self.at}, set by {self.by}: {self.why}"


class KillSwitch:
    """The kill switch of one state folder."""

    def __init__(self, path: Path) -> None:
        """Look at nothing yet; `of` names the file of a state folder."""
        self.path = path
        self._name = os.fspath(path)

    @classmethod
    def of(cls, state: Path) -> "KillSwitch":
        """Return the kill switch of a state folder."""
        return cls(state / "kill_switch.json")

    def is_on(self) -> bool:
        """Return whether everything is to stop; one look at the file's entry, about a microsecond."""
        try:
            os.lstat(self._name)
        except FileNotFoundError:
            return False
        except OSError:
            return True  # it may be there, and we are kept from seeing it
        return True

    def state(self) -> Killed | None:
        """Return since when, by whom and why it is on; None where it is off."""
        if not self.is_on():
            return None
        try:
            # Whatever stands there, a pipe even, must not keep anyone waiting.
            with os.fdopen(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
                given = json.loads(file.read(_BYTES_MAX) or b"")
            words = [given[name] for name in Killed._fields]
            if all(isinstance(word, str) for word in words):
                return Killed(*map(_plain, words))
            why = "its file holds no words"
        except OSError as error:
            if not self.is_on():
                return None  # released since
            why = f"its file can't be read ({error.strerror or error})"
        except (ValueError, KeyError, TypeError, RecursionError):
            why = "its file holds no words, perhaps because the disk was full"
        return Killed(self._since(), UNKNOWN, why)

    def level(self) -> KillLevel | None:
        """Return how far it goes, at least to reduce-only where nothing tells; None where it is off."""
        if not self.is_on():
            return None
        found = [level for level in KillLevel if self._marks(level)]
        return found[-1] if found else KillLevel.REDUCE_ONLY

    def trip(self, by: str, why: str, at: datetime, level: KillLevel = KillLevel.REDUCE_ONLY) -> Killed:
        """Turn it on, or further; where it is on already the words of the first time stay and are returned.

        Raises:
            StorageError: the disk did not even take an empty file; what was off or milder before is as it was.
        """
        already = self.level()
        killed = self._turn_on(by, why, at)
        # Without any mark it goes to reduce-only, so that a milder level is marked once it is on, and never before.
        if self.level() is not level and (already is None or level.rank > already.rank):
            try:
                os.close(os.open(self._mark(level), os.O_CREAT | os.O_WRONLY, 0o644))
            except OSError as error:
                if level.rank > KillLevel.REDUCE_ONLY.rank:
                    raise self._failed(error) from error
        return killed

    def _turn_on(self, by: str, why: str, at: datetime) -> Killed:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # From here on it is on, for everyone; whoever makes the file writes its words, and nobody else does.
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except OSError as error:
            if (known := self.state()) is not None:
                self._touch()
                return known
            raise self._failed(error) from error
        killed = Killed(moment_text(nanoseconds(at)), _plain(by), _plain(why))
        try:
            write_text(self.path, json.dumps(killed._asdict(), ensure_ascii=False) + "\n")
        except StorageError:
            with contextlib.suppress(OSError):
                force(self.path.parent)
        return killed

    def tripped_last(self) -> int:
        """Return a number that is another one after each trip, also of one that was on already; 0 while it is off."""
        try:
            return os.lstat(self._name).st_ctime_ns
        except OSError:
            return 0

    def release(self) -> Killed | None:
        """Turn it off; return what it said, None where it was off.

        Raises:
            StorageError: the disk refused; it is on.
        """
        killed = self.state()
        with storing(self.path):
            # Marks go first: one that outlived the switch would make the next trip go further than it was asked to.
            for level in KillLevel:
                self._mark(level).unlink(missing_ok=True)
            try:
                self.path.unlink()
            except FileNotFoundError:
                return None
            force(self.path.parent)
        return killed

    def check_off(self) -> None:
        """Let pass while it is off.

        Raises:
            SafetyRefused: it is on; the sentence says since when, by whom, why, and how it is released.
        """
        if (killed := self.state()) is not None:
            raise SafetyRefused(
                f"expected the kill switch to be off, found it on since {killed.at}, set by {killed.by}: {killed.why}; nothing "
                "was begun: once the cause is gone, peak-trade release --why TEXT"
            )

    def _mark(self, level: KillLevel) -> Path:
        return self.path.with_name(f"{self.path.name}.{level.value}")

    def _marks(self, level: KillLevel) -> bool:
        try:
            os.lstat(self._mark(level))
        except FileNotFoundError:
            return False
        except OSError:
            return level is KillLevel.REDUCE_ONLY  # nobody can tell; it is on, and this is what that means
        return True

    def _touch(self) -> None:
        """Let whoever is about to release it see that somebody wants it on; the time of its content stays."""
        with contextlib.suppress(OSError):
            known = os.lstat(self._name)
            os.utime(self._name, ns=(known.st_atime_ns, known.st_mtime_ns), follow_symlinks=False)

    def _since(self) -> str:
        """Return when the file was last written, which is when it was made."""
        try:
            return moment_text(os.lstat(self._name).st_mtime_ns)
        except (OSError, OverflowError):
            return UNKNOWN

    def _failed(self, error: OSError) -> StorageError:
        """Return what to say where the disk did not take the file."""
        return StorageError(
            f"expected to set the kill switch, found that {self.path} can't be written ({error.strerror or error}), so "
            "that nothing is stopped; end the sessions themselves: peak-trade session list --status started, then kill PROCESS"
        )


def _plain(text: str) -> str:
    """Return text that every journal and database takes, of bounded length."""
    return text.replace("\0", "").encode(errors="replace").decode()[:_WORDS_MAX]
