"""Whether every component of an installation is well, and what was looked at to say so."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from peak_trade.compose import Parts
from peak_trade.journal.chain import accounts
from peak_trade.journal.database import WAL_MENDED, WAL_SOUND, journal_mode
from peak_trade.journal.operators import ACCOUNT
from peak_trade.journal.session import Session
from peak_trade.journal.sessions import SessionFilter
from peak_trade.journal.signing import Verifier, public_path
from peak_trade.model.errors import PeakTradeError, StorageError
from peak_trade.safety.kill_switch import UNKNOWN
from peak_trade.webui.desk import Check

#: Below this a disk is called full: a journal that can't be written stops every session.
FREE_MIN_BYTES = 200 * 1024 * 1024
#: Before this a machine's clock can't be right: this version did not exist.
EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)


def check_all(parts: Parts) -> list[Check]:
    """Look at every component; one that fails takes no other down."""
    checks: tuple[tuple[str, str, Callable[[Parts], str]], ...] = (
        ("registry", "a query of its sessions", _registry),
        ("database", "the version of its engine", _database),
        ("journal", "its folder can be listed and written", _journal),
        ("signing key", "the public key that verifies the journal can be read", _key),
        ("disk", f"at least {FREE_MIN_BYTES // 1024 // 1024} MB are free for the journal", _disk),
        ("market data", "the files of the store are listed", _store),
        ("kill switch", "its state can be read", _kill_switch),
        ("clock", f"the machine's clock stands after {EARLIEST:%Y-%m-%d}", _clock),
    )
    found = []
    for component, checked, look in checks:
        try:
            found.append(Check(component, healthy=True, checked=checked, found=look(parts)))
        except (PeakTradeError, OSError, ValueError) as error:
            found.append(Check(component, healthy=False, checked=checked, found=str(error)))
    return found


def _registry(parts: Parts) -> str:
    census = parts.sessions.census()
    return f"{len(census.started)} running sessions; the newest is {census.newest or 'not there yet'}"


def _database(parts: Parts) -> str:
    if not parts.settings.registry_url.startswith("sqlite"):
        return parts.registry.database.name
    version = sqlite3.sqlite_version_info
    mode = journal_mode(version)
    sound = f"SQLite {sqlite3.sqlite_version}, journal mode {mode}"
    if mode == "WAL":
        return sound
    mended = ", ".join(".".join(map(str, line)) for line in (WAL_SOUND, *WAL_MENDED))
    return f"{sound}, because WAL files are only sound from {mended} on"


def _journal(parts: Parts) -> str:
    folder = parts.journal
    if not folder.exists():
        latest: list[Session] = []
        with suppress(StorageError):  # told by its own component
            latest = parts.sessions.find(SessionFilter(), 1)
        # A registry may be shared with other machines, whose journals are there.
        if any(Path(one.journal).is_relative_to(folder) for one in latest):
            raise StorageError(f"expected journals at {folder}, found none though sessions wrote there; restore them")
        return "there is none yet; the first session makes it"
    if not folder.is_dir():
        raise StorageError(f"expected a folder at {folder}, found a file; move it away and restore the journals")
    if not os.access(folder, os.W_OK):
        raise StorageError(f"expected to be able to write {folder}, found no permission; change its owner or mode")
    names = [name for name in accounts(folder) if name != ACCOUNT]
    return f"accounts: {', '.join(names) or 'none'}"


def _key(parts: Parts) -> str:
    public = public_path(parts.key)
    if not public.exists():
        if parts.journal.exists():
            raise StorageError(f"expected the public key at {public}, found none; restore it, or nothing can be verified")
        return "there is none yet; the first session makes it"
    return f"key {Verifier.load(public).key_id}"


def _disk(parts: Parts) -> str:
    folder = parts.state
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < FREE_MIN_BYTES:
        raise StorageError(f"expected {FREE_MIN_BYTES:,} bytes free at {folder}, found {free:,}; free some space")
    return f"{free // 1024 // 1024:,} MB free at {folder}"


def _store(parts: Parts) -> str:
    return f"{len(list(parts.store.files()))} imported datasets"


def _kill_switch(parts: Parts) -> str:
    state = parts.kill_switch.state()
    if state is not None and state.by == UNKNOWN:
        raise StorageError(f"expected to read the kill switch, found that {state.why}; it counts as on: peak-trade release")
    return "off" if state is None else f"on since {state.at}, by {state.by}: {state.why}"


def _clock(parts: Parts) -> str:
    now = parts.clock.now()
    if now < EARLIEST:
        raise StorageError(f"expected a time after {EARLIEST:%Y-%m-%d}, found {now:%Y-%m-%d %H:%M}; set the machine's clock")
    return f"{now:%Y-%m-%d %H:%M:%S} UTC"
