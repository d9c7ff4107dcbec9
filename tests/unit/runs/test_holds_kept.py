"""Holds against the acts that tell of them: one that was taken away keeps sessions from beginning until it was put back."""

import os
import shutil
from contextlib import closing

import pytest
from tests.paths import ROOT

from peak_trade.compose import Parts
from peak_trade.model.clock import moment_text, nanoseconds
from peak_trade.model.errors import SafetyRefused
from peak_trade.model.stage import Stage
from peak_trade.risk.triggers import CORE_EXCEPTION
from peak_trade.runs.holds_kept import check_kept, lost_holds
from peak_trade.runs.incidents import flush_reports
from peak_trade.runs.overview.status import status
from peak_trade.runs.safety.pause import PauseOrder, pause
from peak_trade.runs.safety.restart import Need, RestartOrder, look_at, resume
from peak_trade.runs.testnet.readiness import Grade, check_stage
from peak_trade.runs.testnet.readiness_checks import CHECKS
from peak_trade.runs.trading.watch import HoldWatch
from peak_trade.safety.holds import Hold, HoldKind
from peak_trade.settings import load_config

GOOD = (("all", lambda _scene: Need("all", met=True, found="good")),)


@pytest.fixture
def parts(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "governance", tmp_path / "governance")
    shutil.copy(ROOT / "config.toml", tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    with closing(Parts(load_config(tmp_path / "config.toml"))) as made:
        yield made


def paused(parts, **changes):
    order = PauseOrder(**{"accounts": ("paper",), "by": "kim", "why": "odd"} | changes)
    pause(parts, order, sleep=lambda _s: None)


def order(**changes):
    return RestartOrder(**{"account": "paper", "by": "dana", "why": "mended", "docs": "the runbook says it"} | changes)


def ready(parts):
    [line] = check_stage(parts, Stage.SHADOW, [check for check in CHECKS if check.name == "holds"])
    return line


def test_what_is_there_and_what_was_lifted_is_not_missed(parts):
    check_kept(parts)
    paused(parts, accounts=("paper", "main"))
    check_kept(parts)
    assert (ready(parts).blocks, ready(parts).seen.found) == (False, "as the acts tell; held are main, paper")
    resume(parts, order(), GOOD)
    resume(parts, order(account="main"), GOOD)
    check_kept(parts)
    assert parts.holds.accounts() == ()
    assert (ready(parts).blocks, ready(parts).seen.found) == (False, "as the acts tell; held are none")


def test_a_hold_that_was_taken_away_keeps_every_session_from_beginning(parts):
    """Until the restart put it back and lifted it; status, readiness and the check of journals tell."""
    paused(parts)
    shutil.rmtree(parts.holds.folder)
    with pytest.raises(SafetyRefused, match=r"1 gone: the hold of paper \(pause since .*: odd\), which act .* resume paper"):
        check_kept(parts)
    assert lost_holds(parts, "main") == []
    assert (ready(parts).blocks, ready(parts).seen.grade) == (True, Grade.FAILED)
    assert any("the hold of paper" in words for words in status(parts, parts.clock.now())["wants"])

    look_at(parts, order(), GOOD)
    [hold] = parts.holds.of("paper")
    assert (hold.why, hold.by) == ("odd", "kim")
    check_kept(parts)
    resume(parts, order(), GOOD)
    check_kept(parts)
    assert not parts.holds.held("paper")


def test_one_of_two_that_is_gone_is_missed(parts):
    """A restart lifts what it names and nothing else, so that a rolled-back strategy stays out of the rotation."""
    paused(parts, close=("ma_crossover",), closing_code="rollback")
    [first, second] = sorted((parts.holds.folder / "paper").glob("*.json"))
    second.unlink()
    assert [item.hold.kind for item in lost_holds(parts)] == [HoldKind.CLOSE]
    resume(parts, order(), GOOD)
    assert not first.exists()
    assert [hold.strategies for hold in parts.holds.of("paper")] == [("ma_crossover",)]
    check_kept(parts)
    shutil.rmtree(parts.holds.folder)
    with pytest.raises(SafetyRefused, match="1 gone"):
        check_kept(parts)


def test_an_unreadable_hold_is_not_the_one_that_was_placed(parts):
    paused(parts)
    for path in (parts.holds.folder / "paper").glob("*.json"):
        path.write_text("{")
    assert len(lost_holds(parts)) == 1


def test_what_a_session_holds_its_account_by_is_known_to_the_acts(parts):
    HoldWatch(parts, None, "paper", "s", rehearsal=False).latch(CORE_EXCEPTION, "it broke \x1b[2J")
    assert flush_reports(parts)
    check_kept(parts)
    shutil.rmtree(parts.holds.folder)
    [lost] = lost_holds(parts)
    assert (lost.account, lost.hold.code) == ("paper", CORE_EXCEPTION)


def test_a_hold_that_no_act_tells_of_may_go(parts):
    """One from before acts named holds, or placed by hand."""
    now = parts.clock.now()
    parts.holds.place("paper", Hold(moment_text(nanoseconds(now)), "kim", "odd", HoldKind.PAUSE, "asked"), now)
    shutil.rmtree(parts.holds.folder)
    check_kept(parts)
