"""The list after shutting down: each point both ways, and what can't be looked at is open."""

import os
import shutil
from contextlib import closing

import pytest
from tests.accounts import playing
from tests.contract.rows import a_session
from tests.paths import ROOT

from peak_trade.compose import Parts
from peak_trade.journal.registry import stamp
from peak_trade.journal.run import RunStatus
from peak_trade.model.errors import StorageError
from peak_trade.runs import incidents
from peak_trade.runs.safety import shutdown
from peak_trade.runs.safety.secured import newest_archive
from peak_trade.runs.safety.shutdown import shutdown_list
from peak_trade.settings import load_config

NAMES = ["processes", "logs and journals", "open orders", "registry", "journals verify", "incident reports"]


@pytest.fixture
def parts(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "governance", tmp_path / "governance")
    shutil.copy(ROOT / "config.toml", tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    with closing(Parts(load_config(tmp_path / "config.toml"))) as made:
        yield made


def still_open(parts, **how):
    points = shutdown_list(parts, **how)
    assert [point.name for point in points] == NAMES
    return [point.name for point in points if not point.is_done]


def registered(parts, session, kind="live_session_shadow", status=RunStatus.COMPLETED):
    at = parts.clock.now()
    path = str(parts.journal / session.account / f"{session.name}.jsonl")
    row = a_session(session.account, kind, run_id=session.name, started_at=stamp(at), journal=path)
    parts.sessions.begin(row, at, 30)
    if status is not None:
        error = "it broke" if status is RunStatus.FAILED else None
        parts.sessions.finish(session.name, status, at=at, elapsed_s=1.0, metrics={}, summary={}, error=error)


def ended(parts, account="paper", **how):
    with playing(parts, account) as session:
        session.send("a")
        session.fill("a")
        session.end()
        session.chain.sign(at=parts.clock.now())
    registered(parts, session, **how)
    return session


def test_an_installation_where_nothing_ever_ran(parts):
    assert still_open(parts) == []


def test_a_session_at_work_is_no_end(parts):
    with playing(parts):
        assert "processes" in still_open(parts)
    assert "processes" not in still_open(parts)


def test_what_was_written_must_be_secured(parts):
    ended(parts)
    assert still_open(parts) == ["logs and journals"]
    assert still_open(parts, securing=True) == []
    assert still_open(parts) == []
    archive = newest_archive(parts, "paper")
    archive.chmod(0o600)
    archive.write_bytes(archive.read_bytes()[:-40])
    assert still_open(parts) == ["logs and journals"]
    ended(parts)
    assert "logs and journals" in still_open(parts)


def test_sessions_over_recorded_bars_are_no_operation(parts):
    ended(parts, "paper-recorded", kind="shadow_run")
    assert still_open(parts) == []


def test_orders_that_may_still_work_are_told(parts):
    with playing(parts) as session:
        session.send("a")
        session.chain.sign(at=parts.clock.now())
    registered(parts, session, status=RunStatus.ABORTED)
    points = {point.name: point for point in shutdown_list(parts)}
    assert (points["open orders"].is_done, "a on paper" in points["open orders"].found) == (False, True)


@pytest.mark.parametrize(("there", "done"), [([], True), (["OABC"], False), (None, False)])
def test_an_exchange_is_asked_where_sessions_were_there(parts, monkeypatch, there, done):
    ended(parts, kind="live_session_testnet")

    async def asked(_parts):
        if there is None:
            raise StorageError("no answer")
        return there

    monkeypatch.setattr(shutdown, "_open_at_exchange", asked)
    point = next(item for item in shutdown_list(parts) if item.name == "open orders")
    assert point.is_done is done


def test_without_a_key_nobody_can_ask_and_it_stays_open(parts):
    ended(parts, kind="live_session_testnet")
    point = next(item for item in shutdown_list(parts) if item.name == "open orders")
    assert (point.is_done, "API key" in point.found) == (False, True)


def test_the_registry_must_have_every_end_and_people_every_failure(parts):
    session = ended(parts, status=RunStatus.FAILED)
    assert "registry" in still_open(parts)
    parts.sessions.acknowledge(session.name, "kim", "seen", parts.clock.now())
    assert "registry" not in still_open(parts)
    with playing(parts, "other") as running:
        registered(parts, running, status=None)
        assert "registry" in still_open(parts)


def test_a_journal_that_was_changed(parts):
    session = ended(parts)
    path = parts.journal / "paper" / f"{session.name}.jsonl"
    path.write_text(path.read_text().replace('"30000"', '"10000"'))
    assert "journals verify" in still_open(parts)


def test_an_incident_has_its_report(parts):
    name = incidents.open_incident(parts, key="k", severity="low", title="t", why="w", by="kim")
    report = incidents.reports_folder(parts) / f"{name}.md"
    report.unlink()
    point = shutdown_list(parts)[-1]
    assert (point.is_done, name in point.found, report.is_file()) == (True, True, True)
