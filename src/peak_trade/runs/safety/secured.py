"""What is kept of an account for whoever looks into an incident: one archive with logs, journal, registry and configuration.

    var/secured/<stamp>_<account>.tar.gz        manifest.json, config.toml, logs/..., journal/..., registry/..., holds/...

Invariant: an archive that is there was read back, and every byte in it has the hash that its manifest names.
Invariant: no secret goes into it: no private key, and nothing of the environment.
"""

import gzip
import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

from peak_trade.compose import Parts
from peak_trade.durable import storing, write_whole
from peak_trade.journal.chain import heads_path, read, segments
from peak_trade.journal.signing import public_path
from peak_trade.model.clock import moment_text, nanoseconds
from peak_trade.model.errors import CheckFailed, NotFound, PeakTradeError, StorageError
from peak_trade.runs.record import Json

#: Below the state folder; and the last member of every archive.
SECURED = "secured"
MANIFEST = "manifest.json"
_CHUNK = 1 << 20


class Archive(NamedTuple):
    """An archive: where it lies, its hash and size, how many files are in it, and what could not be put into it."""

    path: Path
    sha256: str
    size: int
    files: int
    troubles: tuple[str, ...]

    def to_json(self) -> Json:
        """Return it as a JSON object."""
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "bytes": self.size,
            "files": self.files,
            "troubles": list(self.troubles),
        }


def secure(parts: Parts, account: str, at: datetime, facts: Json | None = None) -> Archive:
    """Write an archive of an account and check it.

    Args:
        facts: what else is to be kept, such as the positions that were noted.

    Raises:
        StorageError: the disk refused; there is no archive.
        CheckFailed: what was read back is not what was written; the archive is gone.
    """
    path = _free(parts.state / SECURED, f"{at:%Y%m%dT%H%M%SZ}_{account}")
    packing = _Packing(at)

    def write(draft: Path) -> None:
        with tarfile.open(draft, "w:gz", compresslevel=1) as tar:
            for name, source in _files(parts, account, packing.troubles):
                packing.add_file(tar, name, source)
            for name, content in _documents(parts, account, facts, packing.troubles):
                packing.add(tar, name, io.BytesIO(content), len(content))
            manifest = json.dumps(
                {
                    "account": account,
                    "at": moment_text(nanoseconds(at)),
                    "files": packing.hashes,
                    "troubles": packing.troubles,
                },
                indent=2,
            )
            content = manifest.encode()
            packing.add(tar, MANIFEST, io.BytesIO(content), len(content))

    write_whole(path, write)
    try:
        files = check_archive(path)
    except CheckFailed:
        path.unlink(missing_ok=True)
        raise
    with storing(path):
        path.chmod(0o440)
        size = path.stat().st_size
    return Archive(path, _sha256(path), size, files, tuple(packing.troubles))


def check_archive(path: Path) -> int:
    """Read an archive back; return how many files are in it besides the manifest.

    Raises:
        CheckFailed: it can't be read, or a file is missing, more, or other than the manifest says.
    """
    found: dict[str, str] = {}
    manifest: Json | None = None
    try:
        # To its very end: the check sum of the whole stands there, and who reads members does not come so far.
        with gzip.open(path) as whole:
            _hashed(whole)
        with tarfile.open(path, "r:gz") as tar:
            for member in tar:
                content = tar.extractfile(member)
                if content is None:
                    raise CheckFailed(f"expected files in {path}, found {member.name}, which is none; write it again")
                if member.name == MANIFEST:
                    manifest = json.loads(content.read())
                else:
                    found[member.name] = _hashed(content)
    except (OSError, tarfile.TarError, zlib.error, ValueError, EOFError) as error:
        raise CheckFailed(f"expected an archive at {path} that can be read, found {error}; write it again") from error
    if manifest is None or manifest.get("files") != found:
        raise CheckFailed(f"expected every file of {path} as its manifest says, found others; write it again")
    return len(found)


def newest_archive(parts: Parts, account: str) -> Path | None:
    """Return the last archive of an account, None where there is none."""
    folder = parts.state / SECURED
    found = sorted(folder.glob(f"*Z_{account}*.tar.gz")) if folder.is_dir() else []
    mine = [path for path in found if path.name.partition("Z_")[2].removesuffix(".tar.gz").partition("~")[0] == account]
    return mine[-1] if mine else None


class _Packing:
    """Puts files into an archive and remembers their hashes, and what went wrong."""

    def __init__(self, at: datetime) -> None:
        self.hashes: dict[str, str] = {}
        self.troubles: list[str] = []
        self._mtime = int(at.timestamp())

    def add_file(self, tar: tarfile.TarFile, name: str, source: Path) -> None:
        """Add a file as long as it is now: one that grows meanwhile is cut there."""
        try:
            # Neither a pipe nor a link that somebody put there is to be followed.
            handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            self.troubles.append(f"{name} is not in it: {error.strerror or error}")
            return
        with os.fdopen(handle, "rb") as file:
            self.add(tar, name, file, os.fstat(handle).st_size)

    def add(self, tar: tarfile.TarFile, name: str, content: BinaryIO, size: int) -> None:
        """Add so many bytes under a name."""
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = size, self._mtime, 0o640
        through = _Through(content)
        try:
            tar.addfile(info, through)
        except OSError as error:
            # A member that was begun can't be taken back, so that the archive is not whole.
            raise StorageError(f"expected {name} to be readable to its end, found {error}; try again") from error
        if name != MANIFEST:
            self.hashes[name] = through.digest.hexdigest()


class _Through(io.RawIOBase):
    """Hands content on and hashes what is handed on."""

    def __init__(self, content: BinaryIO) -> None:
        self._content = content
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        got = self._content.read(size)
        self.digest.update(got)
        return got


def _files(parts: Parts, account: str, troubles: list[str]) -> Iterator[tuple[str, Path]]:
    """Yield what is copied as it is, by its name in the archive."""
    yield "config.toml", parts.settings.path.resolve()
    public = public_path(parts.key)
    if public.is_file():
        yield "journal/journal.pub.pem", public
    for path in _lineage_files(parts, account, troubles):
        yield f"journal/{account}/{path.name}", path
        if heads_path(path).is_file():
            yield f"journal/{account}/{heads_path(path).name}", heads_path(path)
    for name, folder in (
        ("logs", parts.settings.folder(parts.settings.file.paths.logs)),
        ("holds", parts.holds.folder / account),
    ):
        if folder.is_dir():
            for path in sorted(folder.rglob("*")):
                if path.is_file() and not path.is_symlink():
                    yield f"{name}/{path.relative_to(folder).as_posix()}", path


def _lineage_files(parts: Parts, account: str, troubles: list[str]) -> list[Path]:
    """Return the journals of an account's last session and of the dead ones that it goes on with, oldest first."""
    found = segments(parts.journal, account) if (parts.journal / account).is_dir() else []
    by_name = {path.stem: path for path in found}
    mine: list[Path] = []
    name: str | None = found[-1].stem if found else None
    while name is not None and (path := by_name.get(name)) is not None and path not in mine:
        mine.append(path)
        try:
            first = next(read(path), None)
            continues = first.body.get("continues") if first else None
            name = continues if isinstance(continues, str) else None
        except PeakTradeError as error:
            troubles.append(f"what {path.name} goes on with can't be told: {error}")
            name = None
    return mine[::-1]


def _documents(parts: Parts, account: str, facts: Json | None, troubles: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield what is made for the archive: the registry's rows of the session, and what was noted."""

    def document(value: object) -> bytes:
        return (json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n").encode()

    if facts is not None:
        yield "noted.json", document(facts)
    found = segments(parts.journal, account) if (parts.journal / account).is_dir() else []
    for path in found[-1:]:
        try:
            yield f"registry/{path.stem}.json", document(parts.sessions.get(path.stem).to_json())
        except NotFound:
            continue  # a session that was not to be registered has no row
        except PeakTradeError as error:
            troubles.append(f"the registry's row of {path.stem} is not in it: {error}")


def _free(folder: Path, stem: str) -> Path:
    number = 0
    while (path := folder / f"{stem}{f'~{number}' if number else ''}.tar.gz").exists():
        number += 1
    return path


def _sha256(path: Path) -> str:
    with storing(path), path.open("rb") as file:
        return _hashed(file)


def _hashed(file: IO[bytes] | gzip.GzipFile) -> str:
    digest = hashlib.sha256()
    while got := file.read(_CHUNK):
        digest.update(got)
    return digest.hexdigest()
