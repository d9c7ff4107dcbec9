"""Incidents in the journal of acts: opened once, from people and programs, whatever disk and journal do."""

import os
import shutil
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from tests.paths import ROOT

from peak_trade.compose import Parts
from peak_trade.governance.ladder import Rung
from peak_trade.journal.chain import holding, segments
from peak_trade.journal.operators import ACCOUNT
from peak_trade.model.errors import CheckFailed, InputError
from peak_trade.runs import acts, incidents
from peak_trade.runs.acts import done
from peak_trade.runs.alerts import alerts
from peak_trade.runs.gates.repository import of_repository
from peak_trade.settings import load_config

CAUSE, FOLLOW = "the feed sent a bar twice", "the feed drops repeats now"


@pytest.fixture
def parts(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "governance", tmp_path / "governance")
    shutil.copy(ROOT / "config.toml", tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    with closing(Parts(load_config(tmp_path / "config.toml"))) as made:
        yield made


def open_one(parts, key="pause.paper", severity="high", **more):
    return incidents.open_incident(parts, key=key, severity=severity, title="It broke", why="odd", by="ada", **more)


def critical(parts, at=None):
    found = of_repository(parts, done(parts), Rung.SHADOW_TESTNET, ("BTC/EUR",), "0" * 64, at or parts.clock.now())
    return next(item.facts["open"] for item in found if item.facts["check"] == "critical_incidents")


def test_opened_noted_closed_and_reported(parts):
    name = open_one(parts)
    assert open_one(parts) == name
    assert open_one(parts, key="other") != name
    incidents.add_note(parts, name, "the chart shows it too", "bob")
    report = incidents.reports_folder(parts) / f"{name}.md"
    assert "the chart shows it too" in report.read_text()
    found = incidents.close_incident(parts, name, "ada", CAUSE, FOLLOW)
    assert [note.words for note in found.notes] == ["It broke: odd", "the chart shows it too"]
    assert not found.is_open
    assert CAUSE in report.read_text()
    assert report.with_suffix(".json").is_file()
    assert open_one(parts) != name
    assert len(incidents.tracked(parts)) == 3


def test_what_a_program_says_is_cut_and_not_refused(parts):
    name = incidents.open_incident(
        parts, key="k" * 99, severity="high", title="t\n" * 99, why="w" * 9_999, by="peak-trade", via=acts.MACHINE
    )
    found = incidents.tracked(parts)[name]
    assert (len(found.key), len(found.title), len(found.why)) == (64, 120, 2_000)
    with pytest.raises(InputError):
        open_one(parts, key="k" * 99)


def test_an_open_critical_one_blocks_gates_until_it_is_closed(parts):
    before = parts.clock.now()
    open_one(parts, severity="high")
    assert critical(parts) == 0
    name = open_one(parts, severity="critical")
    assert critical(parts) == 1
    assert critical(parts, before - timedelta(seconds=1)) == 0
    incidents.close_incident(parts, name, "ada", CAUSE, FOLLOW)
    assert critical(parts) == 0


def test_a_closing_that_says_nothing_leaves_it_open(parts):
    name = open_one(parts)
    with pytest.raises(InputError):
        incidents.close_incident(parts, name, "ada", "unknown", FOLLOW)
    assert incidents.tracked(parts)[name].is_open


def test_a_journal_that_does_not_verify_keeps_nobody_from_opening(parts):
    """But from closing: what would be closed there can't be trusted."""
    open_one(parts)
    path = segments(parts.journal, ACCOUNT)[0]
    path.write_text(path.read_text().replace("odd", "fad"))
    name = open_one(parts, key="tampered", severity="critical")
    assert (incidents.reports_folder(parts) / f"{name}.md").read_text().count("does not verify")
    with pytest.raises(CheckFailed):
        incidents.close_incident(parts, name, "ada", CAUSE, FOLLOW)


def test_the_timeline_has_acts_and_leaves_out_what_is_far(parts, monkeypatch):
    with acts.held(parts), acts.written(parts, "pause", "ada", acts.COMMAND, account="paper", why="looks wrong"):
        pass
    name = open_one(parts)
    facts = incidents.facts_of_incident(parts, incidents.tracked(parts)[name])
    assert [(item["what"], item["words"]) for item in facts["timeline"]] == [("pause", "by ada, account=paper, looks wrong")]
    monkeypatch.setattr(incidents, "TIMELINE_MAX", 0)
    facts = incidents.facts_of_incident(parts, incidents.tracked(parts)[name])
    assert (facts["timeline"], facts["left_out"]) == ([], 1)


def test_an_unknown_session_is_a_remark(parts):
    name = open_one(parts, session_id="nobody")
    facts = incidents.facts_of_incident(parts, incidents.tracked(parts)[name])
    assert "the session nobody can't be read" in facts["remarks"][0]


def test_a_program_reports_without_waiting(parts):
    for _ in range(3):
        incidents.report_incident(parts, key="x" * 99, severity="high", title="a\nb", why="w\0")
    assert incidents.flush_reports(parts)
    [found] = incidents.tracked(parts).values()
    assert (len(found.key), found.title, found.by, found.notes) == (64, "a b", "peak-trade", ())


def test_a_program_is_not_kept_waiting_by_who_holds_the_journal(parts, monkeypatch):
    """And what could not be written at all is told as an alert."""
    monkeypatch.setattr(acts, "WAIT_S", 0.01)
    monkeypatch.setattr(incidents, "TRY_EVERY_S", 0.01)
    told = []
    monkeypatch.setattr(alerts, "tell", lambda _parts, alert: told.append(alert))
    with holding(parts.journal, ACCOUNT):
        incidents.report_incident(parts, key="k", severity="high", title="t", why="w")
        assert incidents.flush_reports(parts)
    assert told[0].key == "incident.k"
    assert "could not be written down" in told[0].text
    assert incidents.tracked(parts) == {}


@pytest.mark.parametrize("trouble", ["severity", "queue"])
def test_whatever_a_program_says_nothing_is_raised(parts, monkeypatch, trouble):
    if trouble == "queue":
        monkeypatch.setattr(threading, "Thread", None)
    incidents.report_incident(parts, key="", severity="no such", title="", why="")
    if trouble == "severity":
        assert incidents.flush_reports(parts)
    assert incidents.tracked(parts) == {}


def test_the_moment_of_an_opening_is_the_acts(parts):
    name = open_one(parts)
    assert datetime.now(UTC) - incidents.tracked(parts)[name].opened_at < timedelta(minutes=5)
