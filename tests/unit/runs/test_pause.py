"""The pause procedure: the hold first, every step whatever became of the last, and an archive that was read back."""

import json
import os
import shutil
import tarfile
from contextlib import closing

import pytest
from tests.accounts import playing
from tests.paths import ROOT

from peak_trade.compose import Parts
from peak_trade.journal.chain import holding
from peak_trade.journal.operators import ACCOUNT
from peak_trade.model.errors import CheckFailed, StorageError
from peak_trade.runs import acts, incidents
from peak_trade.runs.safety import pause, secured
from peak_trade.runs.safety.pause import PauseOrder
from peak_trade.runs.sessions.holdings import holdings
from peak_trade.safety.holds import HoldKind
from peak_trade.settings import load_config


@pytest.fixture
def parts(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "governance", tmp_path / "governance")
    shutil.copy(ROOT / "config.toml", tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    with closing(Parts(load_config(tmp_path / "config.toml"))) as made:
        yield made


def order(**changes):
    return PauseOrder(
        **{"accounts": ("paper",), "by": "kim", "why": "prices look wrong", "heed_s": 5.0, "close_s": 5.0} | changes
    )


def names(report, *, well=True):
    return [step.name for step in report.steps if step.well is well]


def never(_seconds):
    raise AssertionError("nothing is to be waited for")


def test_an_account_that_nobody_works_on(parts):
    report = pause.pause(parts, order(), sleep=never)
    assert names(report, well=False) == []
    [hold] = parts.holds.of("paper")
    assert (hold.kind, hold.by, hold.why) == (HoldKind.PAUSE, "kim", "prices look wrong")
    assert report.noted[0]["state"] == "none"
    assert incidents.tracked(parts)[report.incidents["paper"]].key == "pause.paper"
    assert [act.action for act in acts.done(parts)] == ["pause", "incident_open"]


def test_a_session_that_heeds_it(parts):
    """Its confirmation is waited for, its position noted, and what it wrote is in the archive."""
    with playing(parts) as session:
        session.send("a")
        session.fill("a", "0.3", remaining="0.2")
        session.send("x", quantity="-0.3", reduce_only=True)

        def heed(_seconds):
            assert parts.holds.held("paper")
            session.trip()
            session.write("closed", client_id="a", event="cancel", why="", at_ns="3")

        report = pause.pause(parts, order(cancel=True), sleep=heed)
    assert names(report, well=False) == []
    assert report.stopped_s < 60
    [noted] = report.noted
    assert noted["positions"][0]["quantity"] == "0.3"
    assert [item["client_id"] for item in noted["working_orders"]] == ["x"]
    with tarfile.open(report.archives["paper"]["path"]) as tar:
        inside = tar.getnames()
        manifest = json.load(tar.extractfile("manifest.json"))
    assert {"config.toml", "noted.json", f"journal/paper/{session.name}.jsonl"} <= set(inside)
    assert set(manifest["files"]) == set(inside) - {"manifest.json"}
    assert not any("pem" in name and "pub" not in name for name in inside)


def test_a_session_that_hangs(parts, monkeypatch):
    """It is told, with the way to stop it, and the rest is done all the same."""
    with playing(parts) as session:
        session.send("a")
        report = pause.pause(parts, order(cancel=True, heed_s=0.0), sleep=never)
    assert names(report, well=False) == ["stopped paper", "cancelled paper"]
    words = {step.name: step.words for step in report.steps}
    assert "kill --level cancel-all" in words["stopped paper"]
    assert "orders that could enlarge a position still work: a" in words["cancelled paper"]
    assert {"paper"} == set(report.archives) == set(report.incidents)
    assert "FAILED" in incidents.tracked(parts)[report.incidents["paper"]].why


def test_a_trip_from_before_the_hold_is_no_answer(parts):
    with playing(parts) as session:
        session.trip("restricted")
        report = pause.pause(parts, order(heed_s=0.0), sleep=never)
        assert names(report, well=False) == ["stopped paper"]
        session.trip("paused")
        assert names(pause.pause(parts, order(heed_s=0.0), sleep=never), well=False) == []


def test_a_session_that_ended_or_died(parts):
    with playing(parts) as session:
        session.send("a")
    assert holdings(parts, "paper").state == "dead"
    report = pause.pause(parts, order(cancel=True), sleep=never)
    assert names(report, well=False) == ["cancelled paper"]
    with playing(parts, "other") as session:
        session.send("a")
        session.end()
    assert holdings(parts, "other").state == "ended"
    assert names(pause.pause(parts, order(accounts=("other",), cancel=True), sleep=never), well=False) == []


@pytest.mark.parametrize("closes", [True, False])
def test_closing_waits_for_the_journal(parts, closes):
    with playing(parts) as session:
        session.send("a")
        session.fill("a")
        session.send("b", leg="macd")
        session.fill("b", leg="macd")
        session.trip()

        def close(_seconds):
            if closes:
                session.send("c", quantity="-0.5", reduce_only=True)
                session.fill("c", "-0.5")

        close_s = 5.0 if closes else 0.0
        report = pause.pause(parts, order(close=("ma_crossover",), heed_s=0.0, close_s=close_s), sleep=close)
    assert names(report, well=False) == ([] if closes else ["closed ma_crossover on paper"])
    assert [hold.kind for hold in parts.holds.of("paper")] == [HoldKind.PAUSE, HoldKind.CLOSE]
    assert [item["leg"] for item in holdings(parts, "paper").positions("macd")] == ["macd"]


def test_every_account_is_held_before_any_is_waited_for(parts):
    with playing(parts), playing(parts, "other"):
        waited = []

        def look(_seconds):
            waited.append((parts.holds.held("paper"), parts.holds.held("other")))
            raise StorageError("enough")

        pause.pause(parts, order(accounts=("paper", "other")), sleep=look)
    assert waited[0] == (True, True)


def test_a_disk_that_takes_nothing(parts, monkeypatch):
    """The hold could not be placed: that is told, and the steps after it are tried."""

    def full(*_):
        raise StorageError("the disk is full")

    monkeypatch.setattr(parts.holds, "place", full)
    monkeypatch.setattr(pause, "secure", full)
    report = pause.pause(parts, order(), sleep=never)
    assert names(report, well=False) == ["hold paper", "secured paper"]
    assert report.steps[0].words == "the disk is full"


def test_a_journal_of_acts_that_is_busy(parts, monkeypatch):
    monkeypatch.setattr(acts, "WAIT_S", 0.01)
    with holding(parts.journal, ACCOUNT):
        report = pause.pause(parts, order(), sleep=never)
    assert names(report, well=False) == ["act", "incident paper"]
    assert parts.holds.held("paper")


def test_a_damaged_journal_hides_nothing_else(parts):
    with playing(parts) as session:
        session.trip()
    path = parts.journal / "paper" / f"{session.name}.jsonl"
    path.write_text(path.read_text().replace("told so", "told no"))
    report = pause.pause(parts, order(), sleep=never)
    assert "stopped paper" in names(report, well=False)
    assert "hold paper" in names(report)
    with tarfile.open(report.archives["paper"]["path"]) as tar:
        assert f"journal/paper/{session.name}.jsonl" in tar.getnames()


# ---- the archive -----------------------------------------------------------------------------------------------------


def test_an_archive_is_checked_byte_by_byte(parts):
    archive = secured.secure(parts, "paper", parts.clock.now(), {"a": 1})
    assert secured.check_archive(archive.path) == archive.files
    assert secured.newest_archive(parts, "paper") == archive.path
    assert secured.newest_archive(parts, "other") is None
    content = archive.path.read_bytes()
    for bad in (content[:-30], b"", content.replace(content[200:210], b"0123456789")):
        path = archive.path.with_name("bad.tar.gz")
        path.write_bytes(bad)
        with pytest.raises(CheckFailed):
            secured.check_archive(path)


def test_an_archive_that_does_not_read_back_is_gone(parts, monkeypatch):
    def bad(_path):
        raise CheckFailed("other bytes")

    monkeypatch.setattr(secured, "check_archive", bad)
    with pytest.raises(CheckFailed):
        secured.secure(parts, "paper", parts.clock.now())
    assert list((parts.state / "secured").iterdir()) == []


def test_two_archives_of_one_second_and_what_can_not_be_read(parts):
    now = parts.clock.now()
    logs = parts.settings.folder(parts.settings.file.paths.logs)
    logs.mkdir()
    (logs / "a.log").write_text("x")
    (logs / "link.log").symlink_to(parts.settings.path)
    first, second = secured.secure(parts, "paper", now), secured.secure(parts, "paper", now)
    assert first.path != second.path
    assert secured.newest_archive(parts, "paper") == second.path
    with tarfile.open(first.path) as tar:
        found = tar.getnames()
    assert ("logs/a.log" in found, "logs/link.log" in found) == (True, False)
