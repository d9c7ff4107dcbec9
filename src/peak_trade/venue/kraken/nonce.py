"""Nonces of an API key: each is greater than every one before, whatever happened to the process that used those.

They begin at the present in nanoseconds and go up by one. A file holds the first number that no process may have used yet; it
is written ahead in blocks, so that most calls cost no write. Invariant: a number is handed out only below what is on the disk.
"""

from collections.abc import Callable
from pathlib import Path

from peak_trade.durable import storing, write_text
from peak_trade.model.errors import SafetyRefused, StorageError, require
from peak_trade.venue.kraken.wire import NONCE_LIMIT

#: Numbers that one write sets apart.
BLOCK = 1_000
#: How far a refused key is taken ahead: a minute, should another clock have gone before ours.
LEAP_NS = 60_000_000_000


class NonceStore:
    """The nonces of one key, for one process at a time."""

    def __init__(self, folder: Path, key: str, now_ns: Callable[[], int]) -> None:
        """Take up the numbers where the last process may have left them.

        Args:
            folder: where the file lies; key: the key's short name.
            now_ns: the present, nanoseconds UTC.

        Raises:
            SafetyRefused: another process uses the key.
            StorageError: the file is damaged, or the disk refused.
        """
        import filelock

        self._path, self._now_ns = folder / f"nonce-{key}", now_ns
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = filelock.FileLock(folder / f".nonce-{key}.lock", timeout=0, thread_local=False)
        with storing(folder):
            try:
                self._lock.acquire()
            except filelock.Timeout:
                raise SafetyRefused(
                    f"expected the API key {key} to be used by one process, found that another uses it; "
                    "end that one, or give each a key of its own"
                ) from None
        try:
            self._next = max(self._stored(), now_ns())
        except BaseException:
            self._lock.release()
            raise
        self._limit = 0

    def take(self) -> int:
        """Return the next number.

        Raises:
            StorageError: the disk refused; no number was handed out.
        """
        require(self._lock.is_locked, "a nonce store that was closed hands out nothing")
        if self._next >= self._limit:
            self._reserve(self._next + BLOCK)
        found = self._next
        self._next += 1
        return found

    def leap(self) -> None:
        """Go far ahead: the exchange has seen a greater number than ours."""
        self._next = max(self._next, self._now_ns()) + LEAP_NS
        self._limit = 0

    def close(self) -> None:
        """Let another process have the key."""
        self._lock.release()

    def _reserve(self, limit: int) -> None:
        require(limit < NONCE_LIMIT, "there are nonces left")
        write_text(self._path, f"{limit}\n")
        self._limit = limit

    def _stored(self) -> int:
        if not self._path.exists():
            return 0
        with storing(self._path):
            text = self._path.read_bytes().strip()
        if not text.isdigit() or int(text) >= NONCE_LIMIT:
            raise StorageError(
                f"expected a number in {self._path}, found something else; write one there that is above every nonce used with "
                "this key, or make a new key"
            )
        return int(text)
