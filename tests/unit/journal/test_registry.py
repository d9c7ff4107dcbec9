"""The registry on SQLite: what PostgreSQL has no like of; `tests/contract` has what holds on both."""

import os
import sys
from pathlib import Path

import pytest

from peak_trade.journal.database import journal_mode
from peak_trade.journal.registry import Registry
from peak_trade.journal.run import plain_json, sha256_of
from peak_trade.model.errors import ConfigError, StorageError


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/var/registry.db"


@pytest.fixture
def registry(url):
    opened = Registry(url)
    yield opened
    opened.close()


def test_every_commit_is_forced_to_disk(registry):
    """SQLite waits for the disk at each commit and keeps rows from pointing nowhere."""
    with registry.database.reading() as connection:
        settings = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("synchronous", "foreign_keys")]

    assert settings == [2, 1]


@pytest.mark.parametrize(
    "content", [b"this is no database, just some text that is long enough", b"SQLite format 3\x00" + b"\xff" * 5000]
)
def test_a_damaged_file_is_one_sentence(tmp_path, content):
    """What is no database is named with what to do."""
    (tmp_path / "registry.db").write_bytes(content)

    with pytest.raises(StorageError, match="damaged"):
        Registry(f"sqlite:///{tmp_path}/registry.db")


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "nosuchdb://host/db",
        "",
        "sqlite://",
        "sqlite:///:memory:",
        "mysql://host/db",
        "postgresql+psycopg2://host/db",
        "postgresql://host",
        "postgresql://me:secret@host:port/db",
        "postgresql://me:secret/db",
    ],
)
def test_a_wrong_url_is_one_sentence(url):
    """A URL of another database is an error of the configuration; it is never repeated."""
    with pytest.raises(ConfigError, match="sqlite:///var") as refusal:
        Registry(url)

    assert "secret" not in str(refusal.value)


def test_a_stray_at_sign_is_no_host():
    """What follows an @ within a password is not taken for the host and told to everyone."""
    with pytest.raises(ConfigError, match="%40") as refusal:
        Registry("postgresql://me:pass@word@host/db")

    assert "word" not in str(refusal.value)


def test_a_missing_driver_is_one_sentence(monkeypatch):
    """Without psycopg the sentence says what to install."""
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(ConfigError, match=r"pip install peak-trade\[postgres\]"):
        Registry("postgresql://host/db")


@pytest.mark.parametrize(
    ("version", "mode"),
    [
        ((3, 40, 1), "DELETE"),
        ((3, 51, 2), "DELETE"),
        ((3, 51, 3), "WAL"),
        ((3, 50, 7), "WAL"),
        ((3, 50, 6), "DELETE"),
        ((3, 44, 6), "WAL"),
        ((3, 52, 0), "WAL"),
    ],
)
def test_wal_only_where_it_is_sound(version, mode):
    """Versions with the WAL-reset fault use the rollback journal."""
    assert journal_mode(version) == mode


def test_equal_values_have_equal_text():
    """The order of keys does not change the text or the hash."""
    assert plain_json({"b": 1, "a": [1.5, None]}) == '{"a":[1.5,null],"b":1}'
    assert sha256_of({"b": 1, "a": 2}) == sha256_of({"a": 2, "b": 1})


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_one_sentence(tmp_path):
    """A folder without write permission is named."""
    (tmp_path / "closed").mkdir(mode=0o500)

    with pytest.raises(StorageError, match="permission"):
        Registry(f"sqlite:///{tmp_path}/closed/var/registry.db")
