"""Testnet sessions that are killed: the exchange goes on, and the same command takes the session up where its journal ends."""

import random
import signal
from collections import Counter

import pytest
from tests.emulated import emulating
from tests.testnet import SPEED, Desk, Done, a_desk, until

pytestmark = pytest.mark.slow
#: Between a bar's record and its decision, around an order, around a fill, and around the end.
PLACES = (
    *(f"venue.{call}.{moment}" for call in ("submit", "opened", "traded") for moment in ("before", "after")),
    *("venue.log.before", "journal.write.before", "journal.write.after", "journal.fsync.before", "registry.begin.after"),
)


@pytest.fixture(scope="module")
def exchange():
    with emulating(speed=SPEED) as found:
        yield found


@pytest.fixture
def desk(exchange, tmp_path):
    with a_desk(tmp_path, exchange) as found:
        yield found


def go_on(desk: Desk, minutes: int) -> Done:
    """Start the same command again while the exchange's clock stands still, so that no bar is missed, and let it end."""
    process = desk.start("--duration", f"{minutes}", "--json")
    try:
        until(lambda: len(desk.journals) > desk.before, process)
    finally:
        desk.exchange.clock.go_on()
    return desk.end(process)


def pass_minutes(desk: Desk, count: int) -> None:
    """Let so many minutes pass at the exchange, each with trades."""
    emulator = desk.exchange.opened.emulator
    for _ in range(count):
        desk.exchange.advance(60 / SPEED)
        # The server steps its market now and then, and would make one step of all of it.
        desk.exchange.inside(lambda: emulator.pass_time(emulator.now()))


def check_names(desk: Desk) -> None:
    """No order was sent twice under one name, but for one that was looked up in between and had never arrived."""
    asked = Counter(record["body"]["client_id"] for record in desk.records("validated", every=True))
    lost = {record["body"]["client_id"] for record in desk.records("absent", every=True)}
    sent = Counter(record["body"]["intent"]["client_id"] for record in desk.records("sending", every=True))
    assert max(sent.values(), default=1) == 1
    assert {name for name, count in asked.items() if count > 1} <= lost
    assert max(asked.values(), default=1) <= 2


@pytest.mark.parametrize("place", PLACES)
def test_a_death_changes_nothing(desk, place):
    """Killed there, and gone on with before another bar was complete, it decides and fills as the kernel over all its bars."""
    draw = random.Random(place)
    few = {"journal": (3, 8), "venue.submit": (2, 4), "venue.log": (2, 4), "registry": (1, 1)}
    number = draw.randint(*next((bounds for name, bounds in few.items() if place.startswith(name)), (22, 30)))
    killed = desk.run("--duration", "60", faults=f"{place}:{number}:KILL")
    desk.exchange.clock.stand_still()
    assert killed.code == -signal.SIGKILL, killed

    done = go_on(desk, 15)

    assert done.code == 0, done
    assert done.json["expected"]["identical"], done.json["expected"]
    check_names(desk)
    desk.check_proofs()


def test_what_was_missed_comes_first_and_late(desk):
    """Bars that were complete while nobody looked come before all others, and what is too old to trade on is not traded on."""
    killed = desk.run("--duration", "60", faults="venue.traded.after:24:KILL")
    assert killed.code == -signal.SIGKILL, killed
    last = int(desk.records("bar", every=True)[-1]["body"]["opened_ns"])
    pass_minutes(desk, 30)

    done = desk.run("--duration", "8", "--json")

    assert done.code == 0, done
    bars = [int(record["body"]["opened_ns"]) for record in desk.records("bar")]
    assert bars[0] - last <= 5 * 60_000_000_000
    assert bars == sorted(set(bars))
    late = [int(record["body"]["late_ns"]) for record in desk.records("late")]
    assert late[0] > 20 * 60_000_000_000 > late[-1]
    check_names(desk)
    desk.check_proofs()


def test_more_was_missed_than_the_exchange_still_has(desk):
    """It can't go on, says so, and `--fresh` begins anew."""
    killed = desk.run("--duration", "60", faults="venue.traded.after:24:KILL")
    assert killed.code == -signal.SIGKILL, killed
    pass_minutes(desk, 800)

    refused = desk.run("--duration", "8")
    fresh = desk.run("--duration", "8", "--fresh", "--json")

    assert (refused.code, fresh.code) == (3, 0), (refused, fresh)
    assert "the session can't go on: begin anew with --fresh" in refused.said[-1]
    assert desk.records("begun")[0]["body"]["continues"] is None
    desk.check_proofs()
