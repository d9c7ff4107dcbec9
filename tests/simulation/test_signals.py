"""Signals to a real session in time: the first one ends it gracefully, the second at once, and one account has one session."""

import json
import signal

import pytest
from tests.simulation.live import Live, command, until
from tests.simulation.outcome import check_proofs, check_sound, outcome_of
from tests.simulation.world import Forge, Scenario, World

pytestmark = pytest.mark.slow
TIMED = Scenario(name="timed", bars=4_000, noise=0.0008)


@pytest.fixture
def world(forge: Forge) -> World:
    return forge.world(TIMED)


def statuses(world: World) -> list[str]:
    """Return how the sessions ended, oldest first, as another process sees it."""
    told = command(world.folder, "session", "list", "--json")
    return [session["status"] for session in json.loads(told.stdout)][::-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_one_signal_ends_gracefully(world, number):
    """After SIGINT or SIGTERM working orders are cancelled, the report is written, and the exit code is 0."""
    with Live(world.folder) as live:
        live.wait_for_orders()
        live.signal(number)
        code, out, err = live.end()

    assert (code, err.count("Traceback")) == (0, 0)
    assert "completed, ended by a signal" in out
    assert live.records("settling")
    assert statuses(world) == ["completed"]
    check_sound(world, outcome_of(world))
    check_proofs(world)


#: At once, and the second while the first one's ending is being written down.
_TWICE = [
    "venue.opened.before:60:INT+INT",
    "venue.opened.before:60:INT,journal.write.before:1:INT",
    "venue.opened.before:60:INT,journal.write.before:1:TERM",
]


@pytest.mark.parametrize("signals", _TWICE)
def test_two_signals_end_at_once_and_the_command_goes_on(world, signals):
    """After two signals the exit code is 130 and the session aborted; the same command goes on with it to its end."""
    with Live(world.folder, signals=signals) as live:
        code, _, err = live.end()
    assert code == 130, err
    assert "Traceback" not in err
    assert not live.records("ended")
    assert statuses(world) == ["aborted"]

    with Live(world.folder, "--steps", "300", speed="max") as again:
        code, _, err = again.end()

    assert code == 0, err
    assert "going on with the session" in err
    check_sound(world, outcome_of(world))
    check_proofs(world)
    assert statuses(world) == ["aborted", "completed"]


def test_an_account_has_one_session_at_a_time(world):
    """A second session on the same account is refused with exit code 3 and told who holds it; the first goes on."""
    with Live(world.folder) as first:
        first.wait_for_orders(1)
        with Live(world.folder) as second:
            code, out, err = second.end()
        holder = first.records("begun")[0]["body"]["process"]

        assert code == 3
        assert out == ""
        assert len(err.splitlines()) == 1
        assert str(holder) in err
        assert "--account" in err
        orders = len(first.records("sending"))
        until(lambda: len(first.records("sending")) > orders, first.process)
        first.signal(signal.SIGINT)
        assert first.end()[0] == 0
    assert statuses(world) == ["completed"]


def test_a_session_that_stood_still_too_long_stops_without_sending(forge):
    """A process that was stopped for longer than its lease is closed by who reads the registry; it sends nothing more."""
    world = forge.world(TIMED)
    config = world.folder / "config.toml"
    config.write_text(config.read_text() + "[shadow]\nlease_s = 1\n")
    with Live(world.folder, speed="6000") as live:
        live.wait_for_orders()
        live.process.send_signal(signal.SIGSTOP)
        until(lambda: statuses(world) == ["aborted"])
        before = len(live.records("sending"))
        live.process.send_signal(signal.SIGCONT)
        code, _, err = live.end()

    assert code == 3, err
    assert "Traceback" not in err
    assert "found it closed as aborted while this process stood still" in err
    assert len(live.records("sending")) == before
    assert statuses(world) == ["aborted"]
