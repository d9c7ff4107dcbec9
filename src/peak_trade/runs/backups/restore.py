"""Putting a backup back: into a folder of its own, or in place of what is there.

The exchange went on since the backup was taken, and whoever restores knows less than it does. So every account that ever ran a
session comes back paused, and only the restart procedure, which compares with the exchange, lets it go on.

Invariant: archive and journals are proven before anything is put in place, and what was there lies beside it afterwards.
Invariant: counters never go back: nonces and the day's spent budgets are those of now, and so are holds and the kill switch.
Invariant: a crash at any moment leaves the state of before or the restored one, never a part of either.
"""

import contextlib
import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import filelock

from peak_trade.compose import Parts
from peak_trade.durable import force, storing
from peak_trade.journal.chain import accounts, holding, segment_files
from peak_trade.journal.operators import ACCOUNT
from peak_trade.journal.run import RunStatus
from peak_trade.journal.sessions import SessionFilter
from peak_trade.journal.signing import Verifier, public_path
from peak_trade.model.clock import Clock, moment_text, nanoseconds, parse_moment
from peak_trade.model.errors import CheckFailed, DataError, InputError, PeakTradeError, SafetyRefused, StorageError
from peak_trade.runs.acts import COMMAND, held, written
from peak_trade.runs.backups.backup import LEFT_OUT, SQLITE, layout_of
from peak_trade.runs.backups.archive import ArchiveReader, Manifest, is_safe
from peak_trade.runs.holds_kept import placed_fact
from peak_trade.runs.journal_check import verify_journals
from peak_trade.runs.record import Json
from peak_trade.runs.schedule.record import SCHEDULER, WAIT_S
from peak_trade.runs.supervision.supervisor import sole_supervisor
from peak_trade.runs.trading.testnet_budget import BUDGET_FOLDER
from peak_trade.safety.holds import Hold, HoldKind
from peak_trade.settings import File, Paths, Settings

#: The code of the holds that a restore places.
RESTORED = "restored"
#: Space on the disk beyond the files themselves.
MARGIN = 1 << 20
#: Linux's renameat2(2): folders named from here, and the flag that two names change places at once.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_WHY = "restored from a backup of {at}: the exchange went on since, and what happened there is not in these books"


def restore_to(archive: Path, folder: Path, clock: Clock, by: str, public_key: Path | None = None) -> Json:
    """Put an archive into a folder that is not there yet, or empty; return what was restored.

    Args:
        public_key: to check the journals' signatures with, instead of the one in the archive.

    Raises:
        InputError: something is in the folder. DataError: the archive is damaged.
        CheckFailed: a journal in it was changed, or is not complete. StorageError: the disk refused.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"expected a folder that is not there yet, or empty, as --to, found {folder}; choose another")
    with ArchiveReader.opened(archive) as found, _staging(folder.parent, folder.name) as staged:
        manifest = found.manifest
        _extract(found, staged, set(manifest.files))
        parts = _staged_parts(staged, manifest)
        told = _prove(parts, manifest, public_key)
        told["paused"] = _latch(parts, manifest, by, clock.now(), told.pop("session_accounts"))
        parts.close()
        _settle_config(staged, manifest)
        with storing(folder):
            os.sync()
            if folder.exists():
                folder.rmdir()
            staged.rename(folder)
            force(folder.parent)
    return _facts(archive, manifest) | told | {"folder": str(folder)}


def restore_in_place(parts: Parts, archive: Path, by: str, public_key: Path | None = None) -> Json:
    """Put an archive in place of the state folder, which is kept beside it; return what was restored, and what is gone.

    Raises:
        SafetyRefused: a session, a scheduler or another restore is at work here.
        InputError: state or registry do not lie as in the archive, or the registry is in PostgreSQL.
        DataError: the archive is damaged. CheckFailed: a journal in it was changed, or is not complete.
        StorageError: the disk refused; everything is as it was.
    """
    state, now = parts.state.resolve(), parts.clock.now()
    with ArchiveReader.opened(archive) as found, _alone(parts), _staging(state.parent, state.name) as staged:
        manifest = found.manifest
        _check_layout(parts, manifest)
        inside = f"{manifest.facts['state']}/"
        _extract(found, staged, {name for name in manifest.files if name.startswith(inside)})
        fresh = staged / manifest.facts["state"]
        copy = _staged_parts(staged, manifest)
        told = _prove(copy, manifest, public_key)
        _check_key(parts, copy)
        told["gone"] = _gone(parts, copy)
        _take_over(parts, fresh)
        told["paused"] = _latch(copy, manifest, by, now, told.pop("session_accounts"))
        copy.close()
        before = state.with_name(f"{state.name}.before-{now:%Y%m%dT%H%M%S%f}")
        # Out of the folder that the next restore clears away: killed between two steps, this is where the state of before lies.
        aside = state.with_name(f"{state.name}.restored-{now:%Y%m%dT%H%M%S%f}")
        with storing(aside):
            fresh.rename(aside)
        parts.close()
        _put_in_place(parts, state, aside, before)
    again = Parts(parts.settings)
    try:
        told["differs"] = _differing(archive, parts.settings.root)
        told["written_down"] = _write_down(again, by, archive, manifest)
    finally:
        again.close()
    return _facts(archive, manifest) | told | {"folder": str(state), "before": str(before)}


def _facts(archive: Path, manifest: Manifest) -> Json:
    return {"archive": str(archive), "files": len(manifest.files)} | manifest.facts


@contextlib.contextmanager
def _staging(beside: Path, name: str) -> Iterator[Path]:
    """Make a folder beside where it will lie; what is left in it, after an error too, is removed.

    One that a killed restore left is removed by the next one: the lock tells that nobody is at work in it.

    Raises:
        SafetyRefused: another restore is at work here. StorageError: the disk refused.
    """
    with storing(beside):
        beside.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(beside / f".{name}.restore.lock", timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            raise SafetyRefused(f"expected no other restore of {beside / name}, found one at work; wait for it") from error
        staged = beside / f".{name}.restoring"
        try:
            shutil.rmtree(staged, ignore_errors=True)
            staged.mkdir(mode=0o700)
            yield staged
        finally:
            shutil.rmtree(staged, ignore_errors=True)
            lock.release()


def _extract(archive: ArchiveReader, folder: Path, names: set[str]) -> None:
    """Write files of an archive, each readable by its owner alone.

    Raises:
        DataError: one is not what the list says. StorageError: the disk refused, or has too little space.
    """
    manifest = archive.manifest
    size = sum(manifest.files[name][0] for name in names)
    free = shutil.disk_usage(folder).free
    if size + MARGIN > free:
        raise StorageError(
            f"expected {size + MARGIN:,} bytes free for what is in {archive.path}, found {free:,}; free some space, nothing "
            "was put in place"
        )
    for name in sorted(names):
        path = folder / name
        with storing(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600), "wb") as file:
                for part in archive.content(name):
                    file.write(part)


def _staged_parts(staged: Path, manifest: Manifest) -> Parts:
    """Return the parts over what was extracted, by where it lies there and by no configuration of the archive."""
    facts = manifest.facts
    state, registry = facts.get("state"), facts.get("registry")
    if not (isinstance(state, str) and is_safe(state) and isinstance(registry, str) and registry in manifest.files):
        raise DataError("backup", "expected an archive that says where its state lies, found one that does not; use another")
    # The dump of a server can't be looked into; journals are then proven by their own signatures.
    url = f"sqlite:///{registry}" if facts.get("registry_kind") == SQLITE else "sqlite:///.registry_of_no_use.db"
    paths = Paths(state=Path(state), registry=url, data=Path(state) / "data", reports=Path("reports"), logs=Path("logs"))
    path = staged / "config.toml"
    return Parts(Settings(path=path, root=staged, text="", file=File(paths=paths), raw={}))


def _prove(parts: Parts, manifest: Manifest, public_key: Path | None) -> Json:
    """Prove the journals before anything is put in place; return what was proven.

    Raises:
        CheckFailed: a journal was changed, or is not complete.
    """
    reports = verify_journals(parts, None, public_key)
    flaws = [f"{report.account}: {flaw.words}" for report in reports for flaw in report.flaws]
    if not all(report.intact and report.complete for report in reports):
        raise CheckFailed(
            f"expected journals that are unchanged and complete in the archive of {manifest.facts.get('at')}, found "
            f"{'; '.join(flaws[:3])}; nothing was put in place: use another archive, and keep this one as it is"
        )
    # A session that is registered has run, also where its account has no journal any more.
    registered = {session.account for session in parts.sessions.find(SessionFilter(), 1_000_000)}
    names = sorted({*accounts(parts.journal), *registered} - {ACCOUNT})
    return {"records": sum(part.records for report in reports for part in report.segments), "session_accounts": names}


def _latch(parts: Parts, manifest: Manifest, by: str, now: datetime, names: list[str]) -> list[str]:
    """Pause every account that ever ran a session; return their names."""
    words = _WHY.format(at=manifest.facts.get("at"))
    for account in names:
        parts.holds.place(account, Hold(moment_text(nanoseconds(now)), by, words, HoldKind.PAUSE, RESTORED), now)
    return names


def _settle_config(staged: Path, manifest: Manifest) -> None:
    """Leave no configuration in the folder that leads out of it: commands typed there would act on what runs elsewhere."""
    for leftover in staged.glob(".registry_of_no_use.db*"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    name = manifest.facts.get("config")
    if not manifest.facts.get("portable") and isinstance(name, str) and (staged / name).is_file():
        with storing(staged / name):
            (staged / name).rename(staged / f"{name}.of_before")


@contextlib.contextmanager
def _alone(parts: Parts) -> Iterator[None]:
    """Hold every account, the scheduler's record and the supervisor's place while the block runs, so that nothing begins.

    Raises:
        SafetyRefused: a session, a scheduler or a supervisor is at work, here or on another machine.
    """
    now = parts.clock.now()
    with ExitStack() as stack:
        stack.enter_context(sole_supervisor(parts))
        for root, name in [*((parts.journal, account) for account in accounts(parts.journal)), (parts.state, SCHEDULER)]:
            try:
                stack.enter_context(holding(root, name, at=now, wait_s=WAIT_S))
            except SafetyRefused as error:
                raise SafetyRefused(f"expected nothing at work before a restore in place: {error}") from error
        with contextlib.suppress(StorageError):  # a registry that can't be read is what a restore may be for
            for session in parts.sessions.find(SessionFilter(status=RunStatus.STARTED.value), 1_000):
                if session.account not in accounts(parts.journal) and parse_moment(session.lease_until or "") > now:
                    raise SafetyRefused(
                        f"expected no session at work before a restore in place, found {session.session_id} on {session.host}; "
                        "end it first"
                    )
        yield


def _check_layout(parts: Parts, manifest: Manifest) -> None:
    """Let pass where state and registry lie as they did when the archive was made, the registry within the state.

    Raises:
        InputError: they do not.
    """
    facts, layout = manifest.facts, layout_of(parts)
    if facts.get("registry_kind") != SQLITE or not parts.settings.registry_url.startswith("sqlite"):
        raise InputError(
            "expected a registry in an SQLite file for a restore in place, found one in PostgreSQL; restore --to FOLDER, end "
            "everything, then: pg_restore --clean --if-exists --dbname=URL FOLDER/STATE/registry.pgdump, and move the state"
        )
    if (facts.get("state"), facts.get("registry")) != (layout.state, layout.registry):
        raise InputError(
            f"expected an archive of an installation that lies as this one, state in {layout.state} and registry in "
            f"{layout.registry}, found {facts.get('state')} and {facts.get('registry')}; restore --to FOLDER"
        )
    if not layout.portable or not layout.registry.startswith(f"{layout.state}/"):
        raise InputError(
            f"expected a registry within the state folder for a restore in place, found {parts.settings.registry_url}; restore "
            "--to FOLDER, end everything, and move both by hand"
        )


def _check_key(parts: Parts, copy: Parts) -> None:
    """Let pass where both journals are signed by one key, or there is none here.

    Raises:
        SafetyRefused: they are signed by two.
    """
    ours, theirs = public_path(parts.key), public_path(copy.key)
    if ours.exists() and theirs.exists() and Verifier.load(ours).key_id != Verifier.load(theirs).key_id:
        raise SafetyRefused(
            "expected journals that are signed by this installation's key, found those of another's in the archive; is it the "
            "right one? restore --to FOLDER looks into it"
        )


def _gone(parts: Parts, copy: Parts) -> Json:
    """Return how many segments of each journal are here and not in the archive: what the restored state knows nothing of."""
    found = {}
    for account in accounts(parts.journal):
        mine = {path.name for path in segment_files(parts.journal, account)}
        theirs = {path.name for path in segment_files(copy.journal, account)}
        if more := len(mine - theirs):
            found[account] = more
    return found


def _take_over(parts: Parts, fresh: Path) -> None:
    """Take over from what is there what must not go back, or is in no archive: one file is then in both folders."""
    state = parts.state
    data = parts.store.folder
    keep = [state / name for name in (*sorted(LEFT_OUT), BUDGET_FOLDER, "keys", "holds")]
    keep += [data] if data.resolve().is_relative_to(state.resolve()) else []
    keep += sorted(state.glob(f"{parts.kill_switch.path.name}*"))
    with storing(fresh):
        for source in keep:
            files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
            for path in files:
                if path.is_symlink() or path.name.endswith(".lock"):
                    continue
                target = fresh / path.relative_to(state)
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                os.link(path, target)
        os.sync()


def _put_in_place(parts: Parts, state: Path, fresh: Path, before: Path) -> None:
    """Let the restored folder and the one that is there change places at once.

    Raises:
        StorageError: the system can't do so, or refused; nothing changed.
        SafetyRefused: something began meanwhile; they changed back.
    """
    known = set(accounts(parts.journal))
    try:
        _exchange(fresh, state)
    except StorageError:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    if begun := set(accounts(fresh / "journal")) - known:
        _exchange(fresh, state)
        shutil.rmtree(fresh, ignore_errors=True)
        raise SafetyRefused(
            f"expected nothing to begin during a restore, found accounts {', '.join(sorted(begun))}; all is as it was"
        )
    with storing(before):
        fresh.rename(before)
        force(state.parent)


def _exchange(one: Path, other: Path) -> None:
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    names = os.fsencode(one), os.fsencode(other)
    code = -1 if rename is None else rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
    if code != 0:
        why = os.strerror(ctypes.get_errno()) if rename is not None else "the system has no way to"
        raise StorageError(
            f"expected {other} and the restored folder to change places at once, found that they can't ({why}); all is as it "
            "was: restore --to FOLDER, end everything, and move it by hand"
        )


def _differing(archive: Path, root: Path) -> list[str]:
    """Return the files outside the state folder that are other ones in the archive; they are left as they are here."""
    from hashlib import sha256

    with ArchiveReader.opened(archive) as found:
        outside = {
            name: digest
            for name, (_, digest) in found.manifest.files.items()
            if not name.startswith(f"{found.manifest.facts['state']}/")
        }
    return sorted(
        name
        for name, digest in outside.items()
        if not (root / name).is_file() or digest != sha256((root / name).read_bytes()).hexdigest()
    )


def _write_down(parts: Parts, by: str, archive: Path, manifest: Manifest) -> str | None:
    """Write the restore into the journal of acts; return why that could not be, None where it was.

    It comes after the deed, because the journal is what was restored.
    """
    try:
        holds = [(name, hold) for name in parts.holds.accounts() for hold in parts.holds.of(name) if hold.code == RESTORED]
        placed = [placed_fact(*item) for item in holds]
        at = str(manifest.facts.get("at"))
        with held(parts), written(parts, RESTORED, by, COMMAND, archive=archive.name, at=at, placed=placed):
            pass
    except PeakTradeError as error:
        return str(error)
    return None
