"""Files that are either whole or not there: written beside their place, forced to disk, then moved into it.

Invariant: a crash at any moment leaves the old file or the new one, never a part of either.
"""

import contextlib
import errno
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from peak_trade.model.errors import StorageError

#: What the operating system says when it can't keep a file, and what to do about it.
_REFUSALS = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EROFS: "the disk is read-only; mount it writable or set another folder under [paths]",
    errno.EACCES: "permission is missing; change the owner or mode of that folder",
    errno.EPERM: "permission is missing; change the owner or mode of that folder",
    errno.ENOTDIR: "a file stands where a folder is needed; move it away",
    errno.EEXIST: "a file stands where a folder is needed; move it away",
    errno.EISDIR: "a folder stands where a file is needed; move it away",
}


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to keep *path* into one sentence.

    Raises:
        StorageError: the disk is full, read-only, not permitted or broken.
    """
    try:
        yield
    except OSError as error:
        why = _REFUSALS.get(error.errno or 0, f"{error.strerror or error}; check the disk")
        raise StorageError(f"{path} can't be written: {why}; what was stored before is intact") from error


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let *write* fill a temporary file beside *path*, force it to disk and move it into place.

    A link is followed, and what is no regular file (a terminal, a pipe) is written to as it is.

    Raises:
        StorageError: the disk refused; *path* is as it was.
    """
    with storing(path):
        path = Path(os.path.realpath(path))
        if path.exists() and not path.is_file():
            write(path)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")
        try:
            os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            write(draft)
            force(draft)
            draft.replace(path)
            force(path.parent)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write *content*, whole or not at all."""
    write_whole(path, lambda draft: draft.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """Write *text* as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def force(path: Path) -> None:
    """Force a file's content, or a folder's entries, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
