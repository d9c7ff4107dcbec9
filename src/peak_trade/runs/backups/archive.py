"""The archive of a backup: a zip file that any tool opens, with a list of what is in it, and a hash over all of its bytes.

    <files, deflated> manifest.json <directory> "peak-trade-backup 1 sha256:" <64 digits over every byte before them>

Invariant: an archive is read by nobody before the hash over all of its bytes fits; after that nothing in it is believed either.
Invariant: a name in it that could lead out of a folder, a link, or a file longer than it says is refused before it is written.
"""

import contextlib
import hashlib
import json
import os
import re
import stat
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn

from peak_trade.durable import storing
from peak_trade.model.errors import DataError, NotFound, StorageError
from peak_trade.runs.record import Json

#: Version of the form; another one is refused.
VERSION = 1
#: What the list of files is called.
MANIFEST = "manifest.json"
#: Longest list, and bytes of all files together; a machine that keeps more has another way to back it up.
MANIFEST_MAX, TOTAL_MAX = 64 << 20, 1 << 42
#: Bytes that are read at once.
BLOCK = 1 << 20

_DIGITS = 64
_NAME_MAX = 512
_MARK = re.compile(rb"peak-trade-backup (\d{1,4}) sha256:([0-9a-f]{64})\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an archive says of itself: facts of the backup, and size and hash of each file by name."""

    facts: Json
    files: dict[str, tuple[int, str]]

    @property
    def size(self) -> int:
        """The bytes of all files together."""
        return sum(size for size, _ in self.files.values())


class ArchiveWriter:
    """An archive that is being written, readable by its owner alone."""

    def __init__(self, path: Path) -> None:
        """Make the file.

        Raises:
            StorageError: the disk refused.
        """
        self._path = path
        self._files: dict[str, tuple[int, str]] = {}
        with storing(path):
            self._file = os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600), "w+b")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED)

    def add(self, name: str, content: Iterable[bytes]) -> None:
        """Add a file."""
        digest, size = hashlib.sha256(), 0
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = (stat.S_IFREG | 0o600) << 16
        with self._zip.open(info, "w", force_zip64=True) as target:
            for part in content:
                target.write(part)
                digest.update(part)
                size += len(part)
        if name != MANIFEST:
            self._files[name] = (size, digest.hexdigest())

    def finish(self, facts: Json) -> Manifest:
        """Write the list and the hash, and force all of it to disk."""
        files = {name: {"size": size, "sha256": sha256} for name, (size, sha256) in self._files.items()}
        self.add(MANIFEST, [json.dumps({"facts": facts, "files": files}, indent=1).encode()])
        self._zip.comment = f"peak-trade-backup {VERSION} sha256:{'0' * _DIGITS}".encode()
        self._zip.close()
        end = self._file.seek(0, os.SEEK_END) - _DIGITS
        digest = _digest(self._file, end)
        self._file.seek(end)
        self._file.write(digest.encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        return Manifest(facts=facts, files=dict(self._files))

    def close(self) -> None:
        """Let go of the file."""
        # A zip file that was not finished writes its directory when it is let go of; a full disk refuses that, too.
        with contextlib.suppress(OSError, ValueError):
            self._zip.close()
        with contextlib.suppress(OSError):
            self._file.close()


class ArchiveReader:
    """An archive whose bytes are as they were written, and whose list is well formed."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        """Check the hash over all bytes, the directory and the list.

        Raises:
            DataError: it is no archive, was changed or cut, is of another version, or holds what none may hold.
        """
        self.path = path
        self._check_bytes(file)
        file.seek(0)
        try:
            self._zip = zipfile.ZipFile(file)
            self.manifest = self._read_manifest()
            self._check_directory()
        except (
            zipfile.BadZipFile,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RecursionError,
            NotImplementedError,
        ) as error:
            self._refuse(f"a form that can't be read ({error})")

    @classmethod
    @contextlib.contextmanager
    def opened(cls, path: Path) -> Iterator["ArchiveReader"]:
        """Open an archive while the block runs.

        Raises:
            NotFound: there is none. DataError: it is damaged. StorageError: it can't be read.
        """
        try:
            file = path.open("rb")
        except FileNotFoundError as error:
            raise NotFound(f"expected an archive at {path}, found none; peak-trade backup list shows them") from error
        except OSError as error:
            raise StorageError(f"{path} can't be read ({error.strerror or error}); check its permissions") from error
        with file:
            try:
                yield cls(path, file)
            except OSError as error:
                if error.filename is not None:
                    raise
                raise StorageError(f"{path} can't be read ({error.strerror or error}); check the disk") from error

    def content(self, name: str) -> Iterator[bytes]:
        """Yield a file's content; the last step checks its length and hash.

        Raises:
            DataError: it is not what the list says.
        """
        size, sha256 = self.manifest.files[name]
        digest, left = hashlib.sha256(), size
        try:
            with self._zip.open(name) as file:
                while part := file.read(min(BLOCK, left + 1)):
                    left -= len(part)
                    if left < 0:
                        self._refuse(f"{name} longer than the {size} bytes it is listed with")
                    digest.update(part)
                    yield part
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
            self._refuse(f"{name} in a form that can't be read ({error})")
        except Exception as error:
            # The library of the compression has an error of its own, which is no subclass of these.
            if type(error).__module__ == "zlib":
                self._refuse(f"{name} in a form that can't be read ({error})")
            raise
        if left or digest.hexdigest() != sha256:
            self._refuse(f"{name} with another content than it is listed with")

    def check_files(self) -> None:
        """Read every file, and compare it with the list.

        Raises:
            DataError: one is not what the list says.
        """
        for name in self.manifest.files:
            for _ in self.content(name):
                pass

    def _check_bytes(self, file: IO[bytes]) -> None:
        size = os.fstat(file.fileno()).st_size
        tail_size = min(size, 128)
        file.seek(size - tail_size)
        found = _MARK.search(file.read(tail_size))
        if found is None:
            self._refuse("a file that does not end as one: it is none, or its end is gone")
        if _digest(file, size - _DIGITS) != found[2].decode():
            self._refuse("bytes that were changed since")
        if int(found[1]) != VERSION:
            raise DataError(
                "backup",
                f"expected an archive of version {VERSION} in {self.path}, found version {int(found[1])}; use the "
                "Peak_Trade that wrote it",
            )

    def _read_manifest(self) -> Manifest:
        info = self._zip.getinfo(MANIFEST)
        if info.file_size > MANIFEST_MAX:
            self._refuse(f"a list of {info.file_size} bytes")
        with self._zip.open(info) as file:
            found = json.loads(file.read(MANIFEST_MAX))
        files = {name: (item["size"], item["sha256"]) for name, item in found["files"].items()}
        if not isinstance(found["facts"], dict) or not all(
            type(size) is int and size >= 0 and re.fullmatch(r"[0-9a-f]{64}", sha256) for size, sha256 in files.values()
        ):
            self._refuse("a list that says no sizes and hashes")
        return Manifest(facts=found["facts"], files=files)

    def _check_directory(self) -> None:
        infos = self._zip.infolist()
        names = [info.filename for info in infos]
        if len(set(names)) != len(names) or set(names) != {*self.manifest.files, MANIFEST}:
            self._refuse("other files than it lists")
        for info in infos:
            if not is_safe(info.filename):
                self._refuse(f"the name {info.filename[:80]!r}, which leads out of a folder")
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG) or info.is_dir():
                self._refuse(f"{info.filename[:80]!r}, which is a link or no file")
            if info.filename != MANIFEST and info.file_size != self.manifest.files[info.filename][0]:
                self._refuse(f"{info.filename[:80]!r} of another length than it is listed with")
        nested = [name for name in names if any(str(parent) in self.manifest.files for parent in PurePosixPath(name).parents)]
        if nested:
            self._refuse(f"{nested[0][:80]!r}, which lies in a file")
        if self.manifest.size > TOTAL_MAX:
            self._refuse(f"{self.manifest.size} bytes of files")

    def _refuse(self, found: str) -> NoReturn:
        raise DataError("backup", f"expected an archive as it was written in {self.path}, found {found}; use another archive")


def is_safe(name: str) -> bool:
    """Tell whether a name stays in the folder that it is put into."""
    parts = name.split("/")
    plain = name.isprintable() and "\\" not in name and ":" not in name and 0 < len(name) <= _NAME_MAX
    return plain and not any(part in ("", ".", "..") for part in parts)


def verify_archive(path: Path) -> Manifest:
    """Check every byte of an archive; return what is in it.

    Raises:
        NotFound: there is none. DataError: it is not as it was written. StorageError: it can't be read.
    """
    with ArchiveReader.opened(path) as archive:
        archive.check_files()
        return archive.manifest


def _digest(file: Any, end: int) -> str:
    """Return the hash of a file's first bytes."""
    digest = hashlib.sha256()
    file.seek(0)
    left = end
    while left > 0 and (part := file.read(min(BLOCK, left))):
        digest.update(part)
        left -= len(part)
    return digest.hexdigest()
