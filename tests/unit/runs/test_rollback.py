"""Rollbacks: a stage down with everything that ran above it, or a strategy out of the rotation, each step told."""

import os
import shutil
from contextlib import closing
from datetime import timedelta

import pytest
from tests.accounts import playing
from tests.contract.rows import a_session
from tests.paths import ROOT

from peak_trade.compose import Parts
from peak_trade.governance.documents import digest
from peak_trade.governance.ladder import Assignment, Decided, Promoted, Rung, StrategyVersion
from peak_trade.governance.recorded import body_of
from peak_trade.journal.registry import stamp
from peak_trade.journal.run import RunStatus
from peak_trade.model.errors import ConfigError, InputError, SafetyRefused, StorageError
from peak_trade.model.stage import Stage
from peak_trade.runs import acts, incidents
from peak_trade.runs.gates.record import DECIDE, gate_record
from peak_trade.runs.rotation import check_in_rotation
from peak_trade.runs.safety import rollback
from peak_trade.runs.safety.rollback import (
    StageRollback,
    StrategyRollback,
    roll_back_stage,
    roll_back_strategy,
    stage_below,
    write_mode,
)
from peak_trade.safety.holds import HoldKind
from peak_trade.settings import load_config
from peak_trade.strategy.catalogue import keys_within, make


@pytest.fixture
def parts(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "governance", tmp_path / "governance")
    shutil.copy(ROOT / "config.toml", tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    with closing(Parts(load_config(tmp_path / "config.toml"))) as made:
        yield made


def down(**changes):
    return StageRollback(**{"to": Stage.SHADOW, "by": "kim", "why": "too early", "heed_s": 0.0} | changes)


def out(**changes):
    return StrategyRollback(
        **{"strategy": "ma_crossover", "by": "kim", "why": "it loses", "heed_s": 0.0, "close_s": 0.0} | changes
    )


def ran(parts, account, stage="shadow", strategy="ma_crossover", params=None, **more):
    at = parts.clock.now() - timedelta(hours=1)
    given = {"fast_window": 20, "slow_window": 50} if params is None else params
    kind = f"live_session_{stage}"
    row = a_session(account, kind, run_id=parts.ids.next_run(), started_at=stamp(at), strategy=strategy, params=given, **more)
    begun = parts.sessions.begin(row, at, 30)
    parts.sessions.finish(begun.session_id, RunStatus.COMPLETED, at=at, elapsed_s=1.0, metrics={}, summary={}, error=None)


def names(report, *, well=True):
    return [step.name for step in report.steps if step.well is well]


def climbed(parts, account="testnet", key="ma_crossover"):
    """Write down two steps up, as gates do."""
    version = StrategyVersion(key=key, params_sha256="a" * 64, code_sha256="b" * 64)
    which = Assignment(version, account, frozenset({"BTC/EUR"}))
    for number, rung in enumerate((Rung.RESEARCH_SHADOW, Rung.SHADOW_TESTNET)):
        now, sha = parts.clock.now(), digest(f"{number} {key}".encode())
        with acts.held(parts), acts.written(parts, DECIDE, "olga", acts.COMMAND, request=sha) as act:
            for event in (Decided(now, which, rung, sha, passed=True), Promoted(now, which, rung, sha)):
                act.record(*body_of(event), event.at)
    return which


def stages(parts):
    return {version.key: stage for (version, _, _), stage in gate_record(parts).ladder.standings().items()}


# ---- A ---------------------------------------------------------------------------------------------------------------


def test_everything_above_goes_down(parts):
    ran(parts, "testnet-a", "testnet")
    ran(parts, "paper")
    climbed(parts)
    report = roll_back_stage(parts, down())
    assert names(report, well=False) == []
    assert parts.holds.accounts() == ("testnet-a",)
    assert stages(parts) == {"ma_crossover": Stage.SHADOW}
    assert incidents.tracked(parts)[report.incident].key == "rollback.shadow"
    assert any("--mode shadow" in line for line in report.advice)
    assert [act.action for act in acts.done(parts)][2:] == ["rollback", "pause", "incident_open", "gate_demote"]


def test_only_what_is_meant_goes_down(parts):
    climbed(parts, key="macd")
    climbed(parts)
    ran(parts, "testnet-a", "testnet")
    ran(parts, "testnet-b", "testnet", strategy="macd", params={})
    roll_back_stage(parts, down(strategy="macd"))
    assert stages(parts) == {"ma_crossover": Stage.TESTNET, "macd": Stage.SHADOW}
    assert parts.holds.accounts() == ("testnet-b",)
    roll_back_stage(parts, down(account="testnet-a"))
    assert stages(parts)["ma_crossover"] is Stage.TESTNET
    assert parts.holds.accounts() == ("testnet-a", "testnet-b")


def test_where_nothing_stands_above_there_is_an_incident_all_the_same(parts):
    report = roll_back_stage(parts, down())
    assert names(report) == ["act", "accounts", "ladder", "configuration", "incident"]
    assert parts.holds.accounts() == ()


def test_a_step_that_fails_keeps_no_other(parts, monkeypatch):
    def full(*_):
        raise StorageError("the disk is full")

    monkeypatch.setattr(rollback, "demote", full)
    climbed(parts)
    ran(parts, "testnet-a", "testnet")
    report = roll_back_stage(parts, down())
    assert names(report, well=False) == ["ladder"]
    assert parts.holds.held("testnet-a")


@pytest.mark.parametrize("write", [True, False])
def test_the_configuration_is_changed_only_where_asked(parts, write):
    path = parts.settings.path
    before = path.read_text()
    write_mode(parts, Stage.TESTNET)
    testnet = path.read_text()
    assert testnet == before.replace('mode = "research"', 'mode = "testnet"')
    with closing(Parts(load_config(path))) as other:
        report = roll_back_stage(other, down(write_config=write))
    assert names(report, well=False) == []
    assert (path.read_text() == testnet) is not write
    if write:
        assert load_config(path).file.environment.mode is Stage.SHADOW
    words = next(step.words for step in report.steps if step.name == "configuration")
    assert ('mode = "shadow" in place of "testnet"' in words, "by you" in words) == (True, not write)


def test_a_configuration_that_would_be_unsound_is_as_it_was(parts):
    path = parts.settings.path
    for text, words in (("[environment\n", "found a mistake"), ('[environment]\nmode = "x"\nno_such = 1\n', "as it was")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=words):
            write_mode(parts, Stage.SHADOW)
        assert path.read_text() == text


def test_no_stage_to_go_to():
    assert stage_below(" Shadow-Live ") is Stage.SHADOW_LIVE
    for text in ("live", "", "nowhere"):
        with pytest.raises(InputError, match="expected --to one of research, shadow"):
            stage_below(text)


# ---- B ---------------------------------------------------------------------------------------------------------------


def test_a_strategy_leaves_every_account(parts):
    ran(parts, "a", symbol="BTC/EUR", timeframe="1h")
    ran(parts, "b", strategy="ma_crossover+macd", params={"ma_crossover": {"fast_window": 5, "slow_window": 20}, "macd": {}})
    ran(parts, "c", strategy="macd", params={})
    report = roll_back_strategy(parts, out())
    assert parts.holds.accounts() == ("a", "b")
    [hold] = parts.holds.of("a")
    assert (hold.kind, hold.strategies) == (HoldKind.CLOSE, ("ma_crossover",))
    assert incidents.tracked(parts)[report.incident].key == "rollback.ma_crossover"
    assert {"closed ma_crossover on a", "closed ma_crossover on b"} <= set(names(report))
    with pytest.raises(SafetyRefused, match="it was rolled back"):
        check_in_rotation(parts, ["macd", "ma_crossover"])
    check_in_rotation(parts, ["macd"])
    parts.holds.lift("a")
    parts.holds.lift("b")
    check_in_rotation(parts, ["ma_crossover"])


@pytest.mark.parametrize("strategy", ["composite", "vol_regime_filter"])
def test_a_strategy_leaves_with_what_is_made_of_it(parts, strategy):
    """Both have ma_crossover among their members by default."""
    at = parts.clock.now()
    for account, key in (("mixed", strategy), ("other", "macd")):
        row = a_session(account, run_id=parts.ids.next_run(), started_at=stamp(at), strategy=key, params={})
        parts.sessions.begin(row, at, 30)
    roll_back_strategy(parts, out(), sleep=lambda _s: None)
    assert parts.holds.accounts() == ("mixed",)
    with pytest.raises(SafetyRefused, match="it was rolled back"):
        check_in_rotation(parts, sorted(keys_within(make(strategy, {}))))


def test_it_is_looked_at_again(parts):
    """With the parameters that it had, over the bars that there are."""
    ran(parts, "a", symbol="SPX/USD", timeframe="1d")
    report = roll_back_strategy(parts, out())
    run = parts.registry.get(report.analysis)
    assert (run.strategy, run.params["slow_window"], run.tags) == ("ma_crossover", 50, ("rollback",))
    assert names(report, well=False) == []


def test_bars_that_are_not_there_fail_the_analysis_alone(parts):
    ran(parts, "a", symbol="DOGE/EUR", timeframe="1h")
    report = roll_back_strategy(parts, out())
    assert names(report, well=False) == ["analysed"]
    assert parts.holds.held("a")


@pytest.mark.parametrize("at_work", [True, False])
def test_a_position_that_stays_is_told(parts, at_work):
    """Of a session at work, and of one that is dead."""
    ran(parts, "a", symbol="SPX/USD", timeframe="1d")
    with playing(parts, "a") as session:
        session.send("x")
        session.fill("x")
        session.send("y", leg="macd")
        session.fill("y", leg="macd")
        session.write("retiring", legs=["ma_crossover"], words="told so")
        report = roll_back_strategy(parts, out()) if at_work else None
    report = report or roll_back_strategy(parts, out())
    [step] = [step for step in report.steps if step.name == "closed ma_crossover on a"]
    assert not step.well
    assert ("flatten" in step.words, "nobody trades it" in step.words) == (at_work, not at_work)
    assert "BTC/EUR 0.5" in step.words


def test_one_that_closes_is_waited_for(parts):
    ran(parts, "a", symbol="SPX/USD", timeframe="1d")
    with playing(parts, "a") as session:
        session.send("x")
        session.fill("x")
        session.send("y", leg="macd")
        session.fill("y", leg="macd")
        waits = []

        def close(_seconds):
            waits.append(1)
            if len(waits) == 1:
                session.write("retiring", legs=["ma_crossover"], words="told so")
            elif len(waits) == 2:
                session.send("z", quantity="-0.5", reduce_only=True)
                session.fill("z", "-0.5")

        report = roll_back_strategy(parts, out(heed_s=60.0, close_s=60.0), sleep=close)
    assert names(report, well=False) == []
    [noted] = report.paused.noted
    assert [item["leg"] for item in noted["positions"]] == ["macd"]


def test_a_session_that_trades_something_else_is_not_waited_for(parts):
    """It ran there once; what runs there now has nothing to heed."""
    ran(parts, "a", symbol="SPX/USD", timeframe="1d")
    with playing(parts, "a") as session:
        at = parts.clock.now()
        parts.sessions.begin(a_session("a", run_id=session.name, started_at=stamp(at), strategy="macd", params={}), at, 30)
        report = roll_back_strategy(parts, out(heed_s=60.0))
    assert names(report, well=False) == []
    assert "trades macd and nothing" in next(step.words for step in report.steps if step.name == "stopped a")


def test_what_never_ran_needs_no_rollback(parts):
    with pytest.raises(InputError, match="found none"):
        roll_back_strategy(parts, out(strategy="macd"))
    assert parts.holds.accounts() == ()
