"""Figures for Prometheus: equal to the registry, absent where it can't be read."""

from dataclasses import replace
from types import SimpleNamespace as Fake

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.unit.webui.desks import CLOSED, a_desk, begun, ended

from peak_trade.model.errors import StorageError
from peak_trade.runs.gates.locks import safety_lock
from peak_trade.webui.live import Pulse, Remembered
from peak_trade.webui.metrics import Gauges

Sample = tuple[str, frozenset[tuple[str, str]]]


def told(desk) -> dict[Sample, float]:
    """Return what a scrape finds, as Prometheus reads it."""
    answer = Gauges(desk, Remembered(desk.clock, 30.0), Pulse(desk)).answer()
    families = text_string_to_metric_families(answer.body.decode())
    return {(sample.name, frozenset(sample.labels.items())): sample.value for family in families for sample in family.samples}


def sample(name: str, **labels: str) -> Sample:
    return f"peak_trade_{name}", frozenset(labels.items())


def named(found: dict[Sample, float], name: str) -> dict[Sample, float]:
    return {key: value for key, value in found.items() if key[0] == f"peak_trade_{name}"}


def test_an_empty_registry(desk):
    """Without a session there is no count of any, and everything else is told."""
    found = told(desk)

    assert found[sample("registry_readable")] == 1.0
    assert found[sample("kill_switch_on")] == 0.0
    assert found[sample("failed_sessions_unhandled")] == 0.0
    assert found[sample("dashboard_readers")] == 0.0
    assert named(found, "lock_closed") == {
        sample("lock_closed", lock="Live lock"): 1.0,
        sample("lock_closed", lock="Safety lock"): 1.0,
    }
    assert named(found, "sessions") == {}


def test_counts_are_the_registry_s(desk):
    """Sessions are counted by stage, type and status, as the registry has them, and never in one sum."""
    for account in "abc":
        ended(desk, "completed", account)
    ended(desk, "failed", "d")
    seen = ended(desk, "failed", "e")
    desk.sessions.acknowledge(seen, "maria", "", desk.clock.now())
    ended(desk, "completed", "f", run_type="shadow_run")
    ended(desk, "completed", "g", run_type="live_session_live")

    found = told(desk)

    assert named(found, "sessions") == {
        sample("sessions", mode="shadow", run_type="live_session_shadow", status="completed"): 3.0,
        sample("sessions", mode="shadow", run_type="live_session_shadow", status="failed"): 2.0,
        sample("sessions", mode="shadow", run_type="shadow_run", status="completed"): 1.0,
        sample("sessions", mode="live", run_type="live_session_live", status="completed"): 1.0,
    }
    assert found[sample("failed_sessions_unhandled")] == 1.0


def test_running_sessions(desk):
    """A running session says how long ago it was heard of, what is left of its lease, and how long its journal is."""
    name = begun(desk, "paper", strategy='a"b\\c\nd')
    ended(desk, account="other")
    labels = {"session_id": name, "mode": "shadow", "strategy": 'a"b\\c\nd', "account": "paper"}
    desk.clock.pass_s(12.0)

    found = told(desk)

    assert named(found, "session_heartbeat_age_seconds") == {sample("session_heartbeat_age_seconds", **labels): 12.0}
    assert named(found, "session_lease_seconds") == {sample("session_lease_seconds", **labels): 18.0}
    assert named(found, "session_journal_bytes") == {sample("session_journal_bytes", **labels): 1_234.0}
    desk.clock.pass_s(20.0)
    assert told(desk)[sample("session_lease_seconds", **labels)] == -2.0


def test_state_of_the_installation(registry):
    """The kill switch and each lock are told as they are."""
    tripped = Fake(at="2026-01-02T00:00:00Z", by="maria", why="a test")
    found = told(
        a_desk(
            registry,
            tripped=lambda: tripped,
            locks=lambda: (CLOSED[0], safety_lock(simulated=True, validates=True, blocks=False)),
        )
    )

    assert found[sample("kill_switch_on")] == 1.0
    assert found[sample("lock_closed", lock="Live lock")] == 1.0
    assert found[sample("lock_closed", lock="Safety lock")] == 0.0


@pytest.mark.parametrize("broken", ["opening", "reading", "running"])
def test_what_can_t_be_read_is_absent(registry, monkeypatch, broken):
    """Without a registry that is said, no count is zero, and kill switch and locks are told all the same."""

    def fails(*_given: object) -> None:
        raise StorageError("the disk is gone")

    desk = a_desk(registry)
    begun(desk)
    if broken == "opening":
        desk = replace(desk, open_sessions=fails)
    else:
        monkeypatch.setattr(f"peak_trade.journal.sessions.Sessions.{'census' if broken == 'reading' else 'find'}", fails)

    found = told(desk)

    assert {name for name, _ in found} >= {
        "peak_trade_kill_switch_on",
        "peak_trade_lock_closed",
        "peak_trade_dashboard_readers",
    }
    assert found[sample("registry_readable")] == 0.0
    for name in ("sessions", "failed_sessions_unhandled", "session_lease_seconds"):
        assert named(found, name) == {}


def test_nothing_is_looked_at_before_it_is_asked_for(desk):
    """Making the figures does not read the registry: a dashboard starts also without one."""
    desk = replace(desk, open_sessions=lambda: pytest.fail("read too early"))

    Gauges(desk, Remembered(desk.clock, 30.0), Pulse(desk))
