"""Health: each component well, each component failing, and none taking another down."""

import os
import shutil
from collections import namedtuple
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.contract.rows import NOW, a_session
from tests.paths import ROOT
from tests.unit.webui.desks import SetClock

from peak_trade.compose import Parts
from peak_trade.runs.testnet import health
from peak_trade.runs.testnet.health import FREE_MIN_BYTES, check_all
from peak_trade.settings import load_config
from peak_trade.webui.desk import Check

COMPONENTS = ["registry", "database", "journal", "signing key", "disk", "market data", "kill switch", "clock"]
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """The parts of a new installation."""
    shutil.copy(ROOT / "config.toml", tmp_path)
    with closing(Parts(load_config(str(tmp_path / "config.toml")))) as made:
        yield made


def checks(parts: Parts) -> dict[str, Check]:
    return {check.component: check for check in check_all(parts)}


def failing(parts: Parts) -> dict[str, str]:
    """Return what was found of each component that is not well."""
    return {name: check.found for name, check in checks(parts).items() if not check.healthy}


def test_a_new_installation_is_well(parts):
    """Before the first session everything is well, and each component says what was looked at and found."""
    found = checks(parts)

    assert list(found) == COMPONENTS
    assert failing(parts) == {}
    assert all(check.checked and check.found for check in found.values())
    assert found["registry"].found == "0 running sessions; the newest is not there yet"
    assert found["kill switch"].found == "off"
    assert found["market data"].found == "0 imported datasets"


def test_an_installation_with_a_journal_is_well(parts):
    """With a journal and its key the accounts and the key's id are told."""
    key = parts.signer.key_id
    (parts.journal / "paper").mkdir(parents=True)
    (parts.journal / "paper" / "20260101T000000000Z-aaaaaa.jsonl").touch()

    found = checks(parts)

    assert failing(parts) == {}
    assert found["journal"].found == "accounts: paper"
    assert found["signing key"].found == f"key {key}"


def test_a_damaged_registry(parts):
    """A registry that is no database is named, and only the registry fails."""
    file = Path(parts.settings.registry_url.removeprefix("sqlite:///"))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"no database" * 1_000)

    found = failing(parts)

    assert list(found) == ["registry"]
    assert "registry.db" in found["registry"]


def test_a_journal_that_can_t_be_written(parts, monkeypatch):
    """A folder without permission is named; whoever runs the tests may do all, so the system is made to say no."""
    parts.journal.mkdir(parents=True)
    assert parts.signer.key_id
    monkeypatch.setattr(health.os, "access", lambda path, how: (path, how) != (parts.journal, os.W_OK))

    found = failing(parts)

    assert list(found) == ["journal"]
    assert str(parts.journal) in found["journal"]


def test_a_journal_that_is_a_file(parts):
    """Where the journal's folder should be and is none, the component fails and the others are looked at."""
    parts.state.mkdir(parents=True)
    parts.journal.write_text("no folder")
    assert parts.signer.key_id

    assert list(failing(parts)) == ["journal"]


def test_a_missing_key(parts):
    """A journal without its key can't be verified: the key is named by its path."""
    parts.journal.mkdir(parents=True)

    found = failing(parts)

    assert list(found) == ["signing key"]
    assert "journal.pub" in found["signing key"]


def test_a_damaged_key(parts):
    """A key that is none is a failure, not a fault."""
    parts.journal.mkdir(parents=True)
    assert parts.signer.key_id
    next(parts.key.parent.glob("*.pub*")).write_text("no key")

    assert list(failing(parts)) == ["signing key"]


@pytest.mark.parametrize(("free", "well"), [(FREE_MIN_BYTES, True), (FREE_MIN_BYTES - 1, False), (0, False)])
def test_a_full_disk(parts, monkeypatch, free, well):
    """The disk fails exactly below its limit."""
    monkeypatch.setattr(health.shutil, "disk_usage", lambda _: Usage(free, 0, free))

    found = failing(parts)

    assert list(found) == ([] if well else ["disk"])
    assert well or f"found {free:,}" in found["disk"]


def test_a_disk_that_says_nothing(parts, monkeypatch):
    """A system that refuses to answer fails the component that asked."""

    def refuses(_path: object) -> None:
        raise OSError("input/output error")

    monkeypatch.setattr(health.shutil, "disk_usage", refuses)

    assert failing(parts) == {"disk": "input/output error"}


def test_market_data_that_can_t_be_listed(parts, monkeypatch):
    """A store that can't be read fails alone."""

    def refuses(_store: object) -> None:
        raise PermissionError("permission denied")

    monkeypatch.setattr(type(parts.store), "files", refuses)

    assert failing(parts) == {"market data": "permission denied"}


@pytest.mark.parametrize(
    ("now", "well"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), True),
        (datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC), False),
        (datetime(1970, 1, 1, tzinfo=UTC), False),
    ],
)
def test_a_clock_that_can_t_be_right(parts, now, well):
    """A clock before this version's time is wrong."""
    parts.clock = SetClock(now)

    assert list(failing(parts)) == ([] if well else ["clock"])


def test_the_kill_switch_on_is_well(parts):
    """That the kill switch is on is no fault of the component; it says since when, by whom and why."""
    parts.kill_switch.trip("maria", "a test", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))

    found = checks(parts)["kill switch"]

    assert found.healthy
    assert found.found == "on since 2026-01-02T03:04:05Z, by maria: a test"


def test_a_damaged_kill_switch(parts):
    """A kill switch whose file can't be read counts as on, and is not well."""
    parts.state.mkdir(parents=True)
    parts.kill_switch.path.write_bytes(b"\xff no json")

    found = checks(parts)["kill switch"]

    assert not found.healthy
    assert "it counts as on" in found.found


def test_everything_at_once(parts, monkeypatch):
    """When all fail each says why, and none hides another."""
    file = Path(parts.settings.registry_url.removeprefix("sqlite:///"))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"no database" * 1_000)
    parts.journal.mkdir()
    monkeypatch.setattr(health.shutil, "disk_usage", lambda _: Usage(1, 1, 0))
    parts.clock = SetClock(datetime(1970, 1, 1, tzinfo=UTC))

    assert list(failing(parts)) == ["registry", "signing key", "disk", "clock"]


def test_journals_that_are_gone(parts):
    """Where a session wrote into the folder of journals and that is gone, the component fails; others' sessions don't count."""
    assert parts.signer.key_id
    elsewhere = a_session(account="one", journal="/elsewhere/journal/one/x.jsonl")
    parts.sessions.begin(elsewhere, NOW, 30.0)
    assert "journal" not in failing(parts)

    here = a_session(account="two", journal=str(parts.journal / "two" / "x.jsonl"))
    parts.sessions.begin(here, NOW, 30.0)
    assert "journal" in failing(parts)
