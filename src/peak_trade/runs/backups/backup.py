"""A backup: registry, journals, evidence and configuration in one archive, taken while sessions go on.

It is taken in an order in which nothing refers to what came later: the registry first, then the signed heads, then the records
that these stand for. No session waits for it.

Invariant: an archive is checked after it was written, and only then gets its name; a crash leaves none or a whole one.
Invariant: no secret of the environment is in it, and the private key that signs journals only where somebody asked for that.
"""

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from peak_trade import __version__
from peak_trade.compose import Parts
from peak_trade.durable import force, storing
from peak_trade.journal.chain import accounts, segments
from peak_trade.model.clock import parse_moment
from peak_trade.model.errors import ConfigError, DataError, StorageError
from peak_trade.runs.backups.archive import BLOCK, ArchiveReader, ArchiveWriter, Manifest, is_safe, verify_archive
from peak_trade.runs.checklists import archive_folder
from peak_trade.runs.record import Json
from peak_trade.runs.schedule.record import SCHEDULER
from peak_trade.runs.supervisor_sign import SEEN, SIGN

#: Where archives go unless somebody says otherwise, below the folder of the configuration.
FOLDER = "backups"
#: What the registry is kept as.
SQLITE, POSTGRES = "sqlite", "postgres"
#: In the state folder, what no backup holds: counters that must never go back, what an emulator keeps, and the signs of a
#: supervisor that is at work, which mean nothing later.
LEFT_OUT = frozenset({"nonces", "emulator"})
SIGNS = frozenset({SIGN, SEEN})
#: Pages of the registry that are copied at once, the pause in which others write, and how often copying begins anew for them.
PAGES, PAUSE_S, ANEW_MAX = 2_000, 0.005, 5
#: What a killed backup left is removed after this time.
STALE = timedelta(days=1)

_NAME = re.compile(r"peak-trade-\d{8}T\d{9}Z-[0-9a-f]{6}\.zip")
_PRIVATE = "journal.pem"


class Layout(NamedTuple):
    """Where state and registry lie in an archive, as names; `portable` where the configuration says the same, relatively."""

    state: str
    registry: str
    portable: bool


class _BusyRegistry(Exception):
    """Others wrote to the registry each time before its copy was done."""


def back_up(parts: Parts, folder: Path, *, keep: int | None = None, with_key: bool = False) -> Json:
    """Write an archive into a folder, check it, and remove older ones where only so many are to be kept; return the facts.

    Raises:
        ConfigError: the registry is in PostgreSQL, and its program pg_dump is not there.
        StorageError: the disk, or the registry, refused; older archives are as they were.
    """
    now, name = parts.clock.now(), f"peak-trade-{parts.ids.next_run()}.zip"
    place, draft, copy = folder / name, folder / f".{name}.draft", folder / f".{name}.registry"
    with storing(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_stale(folder, now)
    try:
        with storing(place):
            kind = _copy_registry(parts, copy)
            manifest = _write(parts, draft, copy, kind, with_key=with_key)
        copy.unlink(missing_ok=True)
        if verify_archive(draft) != manifest:
            raise StorageError(f"{draft} was read back as another one than was written; check the disk, nothing was replaced")
        with storing(place):
            draft.rename(place)
            force(folder)
    finally:
        for path in (draft, copy):
            path.unlink(missing_ok=True)
    removed = _keep(folder, keep) if keep is not None else []
    facts = {"archive": str(place), "bytes": place.stat().st_size, "files": len(manifest.files), "content_bytes": manifest.size}
    return facts | manifest.facts | {"removed": removed}


def archives_in(folder: Path) -> list[Path]:
    """Return the archives of a folder, the newest first."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), reverse=True)


def listing(folder: Path) -> list[Json]:
    """Return what a folder's archives say of themselves, the newest first; one that is damaged says why."""
    found = []
    for path in archives_in(folder):
        line: Json = {"archive": str(path), "bytes": path.stat().st_size}
        try:
            with ArchiveReader.opened(path) as archive:
                line |= {"sound": True, "files": len(archive.manifest.files)} | archive.manifest.facts
        except (DataError, StorageError) as error:
            line |= {"sound": False, "why": str(error)}
        found.append(line)
    return found


def layout_of(parts: Parts) -> Layout:
    """Return where state and registry lie in an archive of this installation."""
    root, state = parts.settings.root.resolve(), parts.state.resolve()
    state_name = _below(root, state)
    if not parts.settings.registry_url.startswith("sqlite"):
        return Layout(state_name or "var", f"{state_name or 'var'}/registry.pgdump", portable=state_name is not None)
    registry = _below(root, registry_file(parts).resolve())
    portable = state_name is not None and registry is not None
    return Layout(state_name or "var", registry or f"{state_name or 'var'}/registry.db", portable=portable)


def registry_file(parts: Parts) -> Path:
    """Return the registry's file, where it is one."""
    return Path(sa.make_url(parts.settings.registry_url).database or "")


def state_files(parts: Parts, *, with_key: bool) -> Iterator[Path]:
    """Yield the files of the state folder that belong into a backup, signed heads first, then what they stand for."""
    data, state = parts.store.folder.resolve(), parts.state
    own = {registry_file(parts).resolve()} if parts.settings.registry_url.startswith("sqlite") else set()
    heads: list[Path] = []
    others: list[Path] = []
    for folder, names, files in os.walk(state):
        here = Path(folder)
        names[:] = sorted(
            name
            for name in names
            if not name.startswith(".")
            and not name.endswith(".locks")
            and (here / name).resolve() != data
            and not (here == state and name in LEFT_OUT)
        )
        for name in sorted(files):
            path = here / name
            if (
                name.startswith(".")
                or name.endswith(".lock")
                or (here == state and name in SIGNS)
                or path.is_symlink()
                or not path.is_file()
            ):
                continue
            if _of_registry(path, own) or _is_private(path, with_key=with_key):
                continue
            (heads if name.endswith(".heads.jsonl") else others).append(path)
    yield from heads
    # A listing that is made while files are is in no order: what is signed is there, also where it was not seen.
    signed = [path.with_name(path.name.removesuffix(".heads.jsonl") + ".jsonl") for path in heads]
    others += [path for path in signed if path not in set(others) and path.is_file()]
    # What a simulated venue remembers comes after what the journal says of it, as after a crash.
    yield from sorted(others, key=lambda path: path.is_relative_to(state / "venue"))


def _write(parts: Parts, draft: Path, copy: Path, kind: str, *, with_key: bool) -> Manifest:
    layout = layout_of(parts)
    writer = ArchiveWriter(draft)
    try:
        writer.add(layout.registry, _whole(copy))
        running = _unfinished(parts)
        added = {layout.registry}
        for path in state_files(parts, with_key=with_key):
            name = f"{layout.state}/{path.relative_to(parts.state).as_posix()}"
            with contextlib.suppress(FileNotFoundError):  # a hold that was lifted since
                if is_safe(name):
                    writer.add(name, _whole_lines(path) if path in running or _grows(path, parts) else _whole(path))
                    added.add(name)
        for path in _papers(parts):
            paper = _below(parts.settings.root.resolve(), path.resolve())
            if paper is not None and is_safe(paper) and paper not in added:
                added.add(paper)
                writer.add(paper, _whole(path))
        facts: Json = {
            "at": parts.clock.now().isoformat(),
            "version": __version__,
            "environment": parts.settings.file.environment.name,
            "state": layout.state,
            "registry": layout.registry,
            "registry_kind": kind,
            "portable": layout.portable,
            "config": parts.settings.path.name,
            "private_key": with_key,
            "accounts": accounts(parts.journal),
        }
        return writer.finish(facts)
    finally:
        writer.close()


def _papers(parts: Parts) -> Iterator[Path]:
    """Yield configuration, files of jobs and sweeps, rules and people of the gates, and archived checklists."""
    root = parts.settings.root
    yield parts.settings.path
    folders = [root / "config", root / "governance", archive_folder(parts)]
    for folder in folders:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            plain = not path.is_symlink() and path.is_file() and not any(part.startswith(".") for part in path.parts[-3:])
            if plain and path.suffix in (".toml", ".md", ".json", ".pub", ".sig"):
                yield path


def _copy_registry(parts: Parts, copy: Path) -> str:
    """Copy the registry as of one moment, without keeping anybody from writing for longer than a few pages take.

    Raises:
        ConfigError: it is in PostgreSQL, and pg_dump is not there.
        StorageError: it can't be read.
    """
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    if not parts.settings.registry_url.startswith("sqlite"):
        _dump(parts, copy)
        return POSTGRES
    _ = parts.registry  # made, or brought up to date, where that is still to do
    try:
        with (
            contextlib.closing(
                sqlite3.connect(f"file:{_quoted(registry_file(parts))}?mode=ro", uri=True, timeout=30)
            ) as source,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            try:
                source.backup(target, pages=PAGES, progress=_patience(), sleep=PAUSE_S)
            except _BusyRegistry:
                # One go holds a reader's lock for as long as the copy takes: the lesser evil where others write all the time.
                source.backup(target, pages=-1)
            target.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise StorageError(
            f"expected to copy the registry {registry_file(parts)}, found that it can't be read or its copy not be written "
            f"({error}); check file and disk"
        ) from error
    return SQLITE


def _patience() -> Callable[[int, int, int], None]:
    """Return what watches a copy, and gives up copying in steps where others write each time before it is done."""
    left_before, anew = -1, 0

    def look(_status: int, left: int, _total: int) -> None:
        nonlocal left_before, anew
        anew += left_before >= 0 and left >= left_before
        left_before = left
        if anew > ANEW_MAX:
            raise _BusyRegistry

    return look


def _dump(parts: Parts, copy: Path) -> None:
    """Have PostgreSQL write its own archive of the registry; it is one moment's, and keeps nobody waiting."""
    tool = shutil.which("pg_dump")
    if tool is None:
        raise ConfigError(
            "expected pg_dump to back up a registry in PostgreSQL, found no such program; install the client of your server's "
            "version, or back the registry up at the server"
        )
    url = sa.make_url(parts.settings.registry_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with copy.open("wb") as out:
        ended = subprocess.run(
            [tool, "--format=custom", "--no-owner", "--no-privileges", f"--dbname={url}"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            env=parts.settings.environment(),
            check=False,
        )
    if ended.returncode:
        # Its own words may name the user; the last line says what is wrong.
        words = ended.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise StorageError(f"expected pg_dump to copy the registry, found that it failed ({words[0]}); check the server")


def _unfinished(parts: Parts) -> set[Path]:
    """Return the segments that may be written to, the last of each account; what is torn at the end of others is linked to."""
    found = {paths[-1] for account in accounts(parts.journal) if (paths := segments(parts.journal, account))}
    if (parts.state / SCHEDULER).is_dir():
        found |= set(segments(parts.state, SCHEDULER)[-1:])
    return found


def _grows(path: Path, parts: Parts) -> bool:
    """Tell whether it is a file of lines of its own, to which nothing else refers."""
    chained = path.is_relative_to(parts.journal) or path.is_relative_to(parts.state / SCHEDULER)
    return path.suffix == ".jsonl" and (not chained or path.name.endswith(".heads.jsonl"))


def _whole(path: Path) -> Iterator[bytes]:
    """Yield a file as long as it is now."""
    with path.open("rb") as file:
        left = os.fstat(file.fileno()).st_size
        while left > 0 and (part := file.read(min(BLOCK, left))):
            left -= len(part)
            yield part


def _whole_lines(path: Path) -> Iterator[bytes]:
    """Yield a file up to the last line that is whole now."""
    kept = b""
    for part in _whole(path):
        whole, newline, rest = (kept + part).rpartition(b"\n")
        if newline:
            yield whole + newline
        kept = rest


def _of_registry(path: Path, own: set[Path]) -> bool:
    """Tell whether it is the registry's file, or one that SQLite keeps beside it."""
    return any(path.name.startswith(one.name) and path.parent.resolve() == one.parent for one in own)


def _is_private(path: Path, *, with_key: bool) -> bool:
    private = path.suffix in (".pem", ".key") and not path.name.endswith(".pub.pem")
    return private and not (with_key and path.name == _PRIVATE)


def _below(root: Path, path: Path) -> str | None:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) and path != root else None


def _quoted(path: Path) -> str:
    from urllib.parse import quote

    return quote(str(path))


def _keep(folder: Path, keep: int) -> list[str]:
    """Remove all but the newest archives; return what was removed."""
    removed = archives_in(folder)[max(1, keep) :]
    with storing(folder):
        for path in removed:
            path.unlink(missing_ok=True)
    return [str(path) for path in removed]


def _remove_stale(folder: Path, now: datetime) -> None:
    """Remove what a killed backup left a day ago or longer."""
    for path in folder.glob(".peak-trade-*.zip.*"):
        stamp = re.match(r"\.peak-trade-(\d{8}T\d{6})", path.name)
        with contextlib.suppress(ValueError, OSError):
            if stamp and now - parse_moment(stamp[1]) > STALE:
                path.unlink(missing_ok=True)
