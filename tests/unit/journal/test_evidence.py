"""The copies of what sessions showed: one of each session, found by version and age."""

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from peak_trade.journal.database import Database
from peak_trade.journal.evidence import EvidenceRows, VersionKey

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
DAY = timedelta(days=1)
ONE, OTHER = VersionKey("macd", "a" * 64, "c" * 64), VersionKey("macd", "b" * 64, "c" * 64)


@pytest.fixture
def rows(tmp_path):
    with closing(Database(f"sqlite:///{tmp_path / 'registry.db'}")) as database:
        yield EvidenceRows(database)


def test_a_session_has_one_copy_the_newest(rows):
    rows.keep("s1", ONE, AT, "first")
    rows.keep("s1", ONE, AT + DAY, "second")

    assert rows.documents(ONE, AT) == ["second"]


def test_by_version_and_age_the_oldest_first(rows):
    for number in (3, 1, 2):
        rows.keep(f"s{number}", ONE, AT + number * DAY, f"{number}")
    rows.keep("s4", OTHER, AT, "other")

    assert rows.documents(ONE, AT) == ["1", "2", "3"]
    assert rows.documents(ONE, AT + 2 * DAY) == ["2", "3"]
    assert rows.documents(ONE, AT + 2 * DAY + timedelta(microseconds=1)) == ["3"]
    assert rows.documents(VersionKey("macd", "a" * 64, "d" * 64), AT) == []


def test_versions_of_late(rows):
    """A version is shown as long as its newest session is."""
    rows.keep("s1", ONE, AT, "")
    rows.keep("s2", ONE, AT + 2 * DAY, "")
    rows.keep("s3", OTHER, AT + DAY, "")

    assert rows.versions(AT) == [ONE, OTHER]
    assert rows.versions(AT + 2 * DAY) == [ONE]
    assert rows.versions(AT + 3 * DAY) == []
