"""Drills on real sessions at an emulator: they pass as the program is, and fail where a part of it does nothing."""

import contextlib
import os
from dataclasses import replace

import pytest

from peak_trade.model.clock import MachineClock
from peak_trade.runs.drills import bench as drill_bench
from peak_trade.runs.drills import stops as drill_stops
from peak_trade.runs.drills.bench import SPEED, TIER, BenchSetting, DrillBench, DrillTrial
from peak_trade.runs.drills.steps import walked
from peak_trade.runs.emulated import emulator_for_run
from peak_trade.runs.safety import liquidation
from peak_trade.safety.exchange_stop import ExchangeStop
from peak_trade.safety.holds import AccountHolds

pytestmark = pytest.mark.usefixtures("socket_enabled")


@pytest.fixture
def run():
    """An emulator of its own: what a broken drill leaves there, another session would refuse to begin over."""
    with emulator_for_run(seed=7, speed=SPEED, tier=TIER) as found:
        yield found


@pytest.fixture
def tried(run, tmp_path, monkeypatch):
    """Run the steps of a drill on a bench; return the outcomes, and the first failure."""

    def walk(steps, setting=None):
        trial = DrillTrial(clock=MachineClock(), environment=dict(os.environ), seed=7)
        with contextlib.closing(DrillBench(tmp_path, run, trial, setting or BenchSetting())) as bench:
            found = walked(trial.clock, steps(bench))
        return [step.outcome for step in found], next((step for step in found if step.outcome == "failed"), None)

    return walk


def test_the_exchange_is_not_acted_on(tried, monkeypatch):
    """A kill switch that leaves orders where they are fails at the level that is to cancel them."""

    async def nothing(self):
        self.result.cancelled_s = self.result.flat_s = 0.0

    monkeypatch.setattr(ExchangeStop, "run", nothing)
    outcomes, failed = tried(drill_stops.kill_levels)

    assert outcomes[:3] == ["passed"] * 3
    assert failed is not None
    assert failed.name == "level cancel-all"


def test_a_pause_that_holds_nothing(tried, monkeypatch):
    """Nothing is placed: the session goes on, and the drill says at which step of the procedure."""
    monkeypatch.setattr(drill_stops, "PATIENCE_S", 1.0)
    monkeypatch.setattr(AccountHolds, "place", lambda _self, _account, hold, *_given: hold)
    outcomes, failed = tried(drill_stops.paused)

    assert outcomes[0] == "passed"
    assert failed is not None
    assert (failed.name, "did not say within 1 s" in failed.found) == ("pause", True)


def test_an_exchange_without_a_dead_man(tried, monkeypatch):
    """A timer that does not fire within the patience of the drill fails it."""
    monkeypatch.setattr(drill_bench, "PATIENCE_S", 10.0)
    setting = replace(drill_stops.MINUTE_BENCH, terms=replace(drill_stops.MINUTE_BENCH.terms, timeout_s=6_000))
    outcomes, failed = tried(drill_stops.dead_man, setting)

    assert outcomes[0] == "passed"
    assert failed is not None
    assert failed.name == "it stands still"


def test_a_liquidation_that_holds_nothing(tried, monkeypatch):
    """Everything is off the exchange, and the account is free: that is no liquidation."""
    monkeypatch.setattr(liquidation, "_hold_all", lambda *_given: [])
    outcomes, failed = tried(drill_stops.liquidation)

    assert outcomes[0] == "passed"
    assert failed is not None
    assert (failed.name, "to be held" in failed.found) == ("liquidation while it stands still", True)
