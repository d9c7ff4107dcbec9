"""The gates' overview: what it asks of the registry grows with the versions shown, and never with their sessions."""

import shutil
from contextlib import closing
from datetime import timedelta

import pytest
import sqlalchemy as sa
from bench.gates import VERSIONS, _climb, _shown
from tests.paths import ROOT

from peak_trade.compose import Parts
from peak_trade.governance.criteria import Evidence
from peak_trade.journal import schema
from peak_trade.model.errors import CheckFailed
from peak_trade.runs.gates import bound, evidence
from peak_trade.runs.gates.status import status
from peak_trade.settings import load_config


@pytest.fixture
def parts(tmp_path):
    shutil.copytree(ROOT / "governance", tmp_path / "governance")
    shutil.copy(ROOT / "config.toml", tmp_path)
    with closing(Parts(load_config(tmp_path / "config.toml"))) as made:
        yield made


def shown(parts, count, at=None):
    """Put what so many sessions showed into the registry."""
    now = at or parts.clock.now()
    with parts.registry.database.writing() as connection:
        connection.execute(schema.evidence.delete())
        connection.execute(schema.evidence.insert(), [_shown(number, count, now, crowded=False) for number in range(count)])


def asked(parts):
    """Return how many statements an overview sends, and how many documents it reads."""
    sent, read = [], []
    engine = parts.registry.database._backend.engine
    listener = lambda *given: sent.append(given[2])
    sa.event.listen(engine, "before_cursor_execute", listener)
    ordinary = evidence._read_copy

    def decode(text):
        read.append(Evidence)
        return ordinary(text)

    evidence._read_copy = decode
    try:
        found = status(parts, parts.clock.now())
    finally:
        evidence._read_copy = ordinary
        sa.event.remove(engine, "before_cursor_execute", listener)
    return found, len(sent), read.count(Evidence)


def test_sessions_cost_no_queries(parts):
    """Twenty versions with ten sessions each, or with a hundred: the same statements."""
    _climb(parts)
    shown(parts, 200)
    few, first, _ = asked(parts)
    shown(parts, 2_000)
    many, second, _ = asked(parts)

    assert len(few["ladder"]) == len(many["ladder"]) == VERSIONS
    assert first == second <= 8 * VERSIONS


def test_only_what_a_gate_looks_back_on_is_read(parts):
    """Of sessions over 400 days, those of the last 60, and each once."""
    _climb(parts)
    shown(parts, 2_000)
    _, _, read = asked(parts)

    assert 0 < read <= 2_000 * 60 / 400 + VERSIONS


def test_an_overview_opens_no_bars_and_asks_once_what_is_installed(parts, monkeypatch):
    """Neither says anything that it shows."""
    _climb(parts)
    shown(parts, 100)
    bound._installed.cache_clear()
    calls = []
    ordinary = bound.distributions
    monkeypatch.setattr(bound, "distributions", lambda: calls.append(1) or ordinary())
    monkeypatch.setattr(bound, "_choices", lambda *_: pytest.fail("bars were asked for"))
    status(parts, parts.clock.now())

    assert calls == [1]


def test_versions_that_showed_nothing_of_late_are_left_out(parts):
    shown(parts, 40, parts.clock.now() - timedelta(days=61))
    assert status(parts, parts.clock.now())["ladder"] == []
    shown(parts, 40)
    assert len(status(parts, parts.clock.now())["ladder"]) > 0


def test_a_copy_that_is_none(parts):
    shown(parts, 40)
    with parts.registry.database.writing() as connection:
        connection.execute(schema.evidence.update().values(document="[]"))
    with pytest.raises(CheckFailed, match="--fresh makes it anew"):
        status(parts, parts.clock.now())
