"""The files of `governance/`, read: the one part of this package that touches a disk.

Invariant: a symbolic link is refused, wherever it stands in a path: what it leads to could be exchanged behind its back.
Invariant: what is read is a regular file of limited size, read once; hash and content are of the same bytes.
"""

import os
import stat
from pathlib import Path

from peak_trade.governance.bugs import Bug, read_bugs
from peak_trade.governance.documents import BYTES_MAX
from peak_trade.governance.policy import Policy, read_policy
from peak_trade.governance.roles import Roles, read_roles
from peak_trade.model.errors import NotFound, SafetyRefused, StorageError

#: Where the files lie, below the folder of the configuration.
ROLES = Path("governance/roles.toml")
POLICY = Path("governance/policy.toml")
BUGS = Path("governance/bugs.toml")


def load_roles(root: Path) -> Roles:
    """Read who decides.

    Raises:
        NotFound: there is no such file.
        ConfigError: it is malformed.
        SafetyRefused: a link stands in its path.
    """
    return read_roles(read_plain(root, ROLES), str(ROLES))


def load_policy(root: Path) -> Policy:
    """Read what the gates ask.

    Raises:
        NotFound: there is no such file.
        ConfigError: it is malformed.
        SafetyRefused: a link stands in its path.
    """
    return read_policy(read_plain(root, POLICY), str(POLICY))


def load_bugs(root: Path) -> tuple[Bug, ...]:
    """Read which bugs there are.

    Raises:
        NotFound: there is no such file.
        ConfigError: it is malformed.
        SafetyRefused: a link stands in its path.
    """
    return read_bugs(read_plain(root, BUGS), str(BUGS))


def read_plain(root: Path, path: Path) -> bytes:
    """Read a file below a folder, through no link.

    Each part of the path is opened by itself, within the one before, so that nobody can put a link in between.

    Raises:
        NotFound: there is no such file.
        SafetyRefused: it, or a folder on the way, is a link, or it is no regular file, too large, or outside of the folder.
        StorageError: it can't be read.
    """
    parts = path.parts
    if path.is_absolute() or ".." in parts or not parts:
        raise SafetyRefused(f"expected a file below {root}, found {path}; name it from there")
    handle = -1
    try:
        handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            # Without waiting: a pipe in place of a file would keep us for ever.
            flags = os.O_RDONLY | os.O_NOFOLLOW | (os.O_NONBLOCK if last else os.O_DIRECTORY)
            inner = os.open(part, flags, dir_fd=handle)
            os.close(handle)
            handle = inner
        return _content(handle, path)
    except FileNotFoundError as error:
        raise NotFound(f"expected {path} in {root}, found none; put it there, or name another") from error
    except OSError as error:
        if _linked(root, path):
            raise SafetyRefused(
                f"expected {path} as a file in its place, found a link in its path; put the file there"
            ) from error
        raise StorageError(f"{root / path} can't be read: {error.strerror or error}") from error
    finally:
        if handle >= 0:
            os.close(handle)


def _content(handle: int, path: Path) -> bytes:
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        raise SafetyRefused(f"expected {path} as a regular file, found something else; put the file there")
    with os.fdopen(os.dup(handle), "rb") as file:
        content = file.read(BYTES_MAX + 1)
    if len(content) > BYTES_MAX:
        raise SafetyRefused(f"expected {path} of at most {BYTES_MAX} bytes, found more; it is another file")
    return content


def _linked(root: Path, path: Path) -> bool:
    return any((root / part).is_symlink() for part in (path, *path.parents) if part != Path())
