"""What stands at the top of every page: the state, and an alert for each thing that needs a person."""

from dataclasses import replace
from types import SimpleNamespace as Fake

import pytest
from tests.unit.webui.desks import CLOSED, a_desk, a_safety_desk, begun, ended

from peak_trade.model.errors import StorageError
from peak_trade.runs.gates.locks import live_lock, safety_lock
from peak_trade.settings import File
from peak_trade.webui.desk import Urgent
from peak_trade.webui.header import CRITICAL_MAX, header_of


def words(desk) -> list[tuple[str, str, str]]:
    """Return the alerts of a desk."""
    return [tuple(alert) for alert in header_of(desk).alerts]


def test_nothing_has_happened(desk):
    """On an empty registry nothing runs, there is no tier, and nothing waits for a person."""
    header = header_of(desk)

    assert (header.mode, header.environment, header.reach) == ("research", "local", "shadow")
    assert (header.tiers, header.stages, header.running, header.newest) == ((), (), 0, "")
    assert (header.locks, header.tripped, header.alerts) == (CLOSED, None, ())
    assert header.now == "2026-01-02T03:04:05Z"


def test_mode_and_name_come_from_the_configuration(desk):
    """The operating mode is what the configuration says, never what runs."""
    file = File.model_validate({"environment": {"mode": "live", "name": "vault"}})
    begun(desk)

    header = header_of(replace(desk, settings=Fake(file=file), stages=()))

    assert (header.mode, header.environment, header.reach) == ("live", "vault", "research")


def test_tiers_and_stages_of_what_runs(desk):
    """While sessions run, tier and stage are theirs, each named once; others do not count."""
    ended(desk, tier="old")
    begun(desk, "a", tier="core")
    begun(desk, "b", tier="core")
    begun(desk, "c", run_type="live_session_testnet", tier="")
    newest = begun(desk, "d", run_type="shadow_run", tier="ungated")

    header = header_of(desk)

    assert (set(header.tiers), len(header.tiers)) == ({"core", "ungated"}, 2)
    assert (set(header.stages), len(header.stages)) == ({"shadow", "testnet"}, 2)
    assert (header.running, header.newest) == (4, newest)


def test_tier_of_the_latest_when_nothing_runs(desk):
    """When nothing runs the tier is that of the latest session, and there is no stage."""
    ended(desk, tier="old")
    newest = ended(desk, tier="ungated")

    header = header_of(desk)

    assert (header.tiers, header.stages, header.running, header.newest) == (("ungated",), (), 0, newest)


def test_failed_sessions_alert_until_they_are_acknowledged(desk):
    """Failures are counted in one alert that leads to them; once all are acknowledged it is gone."""
    first, second = ended(desk, "failed"), ended(desk, "failed", "b")
    ended(desk, "aborted", "c")
    assert words(desk) == [("Failed sessions that nobody has acknowledged: {}", "2", "/?unhandled=1")]

    desk.sessions.acknowledge(first, "maria", "seen", desk.clock.now())
    assert words(desk)[0][1] == "1"
    desk.sessions.acknowledge(second, "maria", "seen", desk.clock.now())
    assert words(desk) == []


def test_silent_sessions_alert_at_the_end_of_their_lease(desk):
    """A running session is silent exactly when its lease is over, not before."""
    begun(desk)
    desk.clock.pass_s(30.0)
    assert words(desk) == []

    desk.clock.pass_s(0.000_001)
    assert words(desk) == [("Running sessions that were silent for too long: {}", "1", "/?status=started")]


def test_open_locks_alert(registry):
    """An open lock is an alert by name; a closed one is none."""
    found = (
        live_lock(enabled=True, runnable=True, permits=1),
        safety_lock(simulated=True, validates=True, blocks=False),
    )

    assert words(a_desk(registry, locks=lambda: found)) == [("{} is open", "Live lock", ""), ("{} is open", "Safety lock", "")]
    assert words(a_desk(registry, locks=lambda: (CLOSED[0], found[1]))) == [("{} is open", "Safety lock", "")]


def test_the_kill_switch_alerts_before_all_else(registry):
    """The kill switch, open locks, a changed configuration and failures are told in this order."""
    tripped = Fake(at="2026-01-02T00:00:00Z", by="maria", why="a test")
    desk = a_desk(
        registry,
        tripped=lambda: tripped,
        locks=lambda: (live_lock(enabled=True, runnable=True, permits=1),),
        config_changed=lambda: True,
    )
    ended(desk, "failed")

    header = header_of(desk)

    assert header.tripped is tripped
    assert [alert.words.split()[0] + " " + alert.words.split()[1] for alert in header.alerts] == [
        "The kill",
        "{} is",
        "The configuration",
        "Failed sessions",
    ]
    assert [alert.url for alert in header.alerts] == ["/kill-switch", "", "", "/?unhandled=1"]


@pytest.mark.parametrize(
    ("urgent", "begins", "value", "url"),
    [
        (Urgent(damaged="altered"), "The record of what people did is DAMAGED", "altered", "/gates"),
        (Urgent(unread="no right"), "The record of what people did can't be read", "no right", "/api/health"),
        (Urgent(critical=("odd",)), "A critical incident is open", "odd", "/incidents"),
        (Urgent(held=("a", "b")), "Accounts that are held", "a, b", "/safety#holds"),
        (Urgent(unwatched="none"), "Nobody watches", "none", "/safety"),
    ],
)
def test_what_is_urgent_is_an_alert(registry, urgent, begins, value, url):
    """Each thing that is urgent is one alert, with where to look."""
    [(found, told, where)] = words(a_desk(registry, safety=a_safety_desk(urgent)))

    assert (found.startswith(begins), told, where) == (True, value, url)


def test_few_critical_incidents_are_told(registry):
    """However many critical incidents are open, the page below can still be seen."""
    urgent = Urgent(critical=tuple("abcdefgh"))

    assert len(words(a_desk(registry, safety=a_safety_desk(urgent)))) == CRITICAL_MAX


@pytest.mark.parametrize("broken", ["open_sessions", "census"])
def test_a_registry_that_can_t_be_read_is_an_alert(registry, monkeypatch, broken):
    """Mode, locks and kill switch are still told; the gravest alert says what is wrong with the registry."""

    def fails(*_given: object) -> None:
        raise StorageError("the registry var/registry.db can't be used: the disk is gone")

    tripped = Fake(at="2026-01-02T00:00:00Z", by="maria", why="a test")
    desk = a_desk(registry, tripped=lambda: tripped)
    if broken == "open_sessions":
        desk = replace(desk, open_sessions=fails)
    else:
        monkeypatch.setattr("peak_trade.journal.sessions.Sessions.census", fails)

    header = header_of(desk)

    assert (header.locks, header.tripped, header.running) == (CLOSED, tripped, 0)
    assert [alert.words for alert in header.alerts] == [
        "The registry can't be read: {}",
        "The kill switch is on: only orders that reduce a position pass",
    ]
    assert (header.alerts[0].value, header.alerts[0].url) == (
        "the registry var/registry.db can't be used: the disk is gone",
        "/api/health",
    )
