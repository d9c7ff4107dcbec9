"""The kill switch against running sessions: wherever it comes, nothing is enlarged afterwards, and every proof holds."""

import json
import random
import signal
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from tests.simulation.faulty import FaultyVenue, lost_answer, lost_cancel
from tests.simulation.live import Live, command, until
from tests.simulation.outcome import Outcome, check_books, check_proofs, check_sound, outcome_of
from tests.simulation.scenarios import CROWD, EVERY, EXITS, FLIPS
from tests.simulation.world import ACCOUNT, BEGIN, Forge, Killer, Scenario, World

from peak_trade.model.errors import SafetyRefused
from peak_trade.runs.safety import kill
from peak_trade.runs.sessions.again import redecide
from peak_trade.safety.kill_switch import KillSwitch

#: Ticks between two looks, as the simulation sets it.
TURN = 32


def switch_of(world: World) -> KillSwitch:
    return KillSwitch(world.folder / "var" / "kill_switch.json")


class Tripper(Killer):
    """A hook that trips the kill switch at the n-th call of any point, and may let the process die later."""

    def __init__(self, world: World, number: int, *, dies_at: int = 0) -> None:
        super().__init__(None, dies_at)
        self._switch, self._tripped_at = switch_of(world), number

    def __call__(self, point: str) -> None:
        super().__call__(point)
        if self.total == self._tripped_at:
            self._switch.trip("kim", "a drill", BEGIN)


def calls_of(forge: Forge, scenario: Scenario) -> int:
    """Return how many points an undisturbed session passes."""
    world, counter = forge.world(scenario), Killer()
    world.run(counter)
    forge.drop(world)
    return counter.total


def check_nothing_enlarged(outcome: Outcome) -> None:
    """Check that from the moment the journal says killed, every order reduces, and no position grows."""
    held: dict[tuple[str, str], Decimal] = {}
    killed = False
    for record in outcome.records:
        body = record.body
        if record.kind == "tripped" and body["code"] == "kill_switch":
            assert not killed, "it was killed twice"
            killed = True
        elif record.kind == "filled":
            key, quantity = (body["leg"], body["symbol"]), Decimal(body["quantity"])
            before = held.get(key, Decimal(0))
            held[key] = before + quantity
            assert not killed or abs(held[key]) < abs(before), "a position was enlarged"
        elif record.kind == "sending" and killed:
            intent = body["intent"]
            position = sum((amount for (_, symbol), amount in held.items() if symbol == intent["symbol"]), Decimal(0))
            assert Decimal(intent["quantity"]) * position < 0, "an entry was sent"
    assert killed, "it was never killed"
    assert [code for code, _ in outcome.incidents].count("kill_switch") == 1


def check_killed(world: World, record: dict[str, Any], **proofs: Any) -> Outcome:
    """Check a session that was killed and ended: its mode, its orders, its books and that it can be decided again."""
    outcome = outcome_of(world)
    check_nothing_enlarged(outcome)
    check_sound(world, outcome)
    check_books(world, outcome, check_proofs(world, **proofs)[-1])
    assert record["mode_at_end"] == "killed"
    return outcome


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scenario", EVERY, ids=lambda scenario: scenario.name)
def test_killed_anywhere_it_only_reduces(forge, scenario, seed):
    """Tripped at any point of any kind of session: it goes on in mode killed to its end, and replays to the same decisions."""
    world = forge.world(scenario)
    number = random.Random(f"{scenario.name} {seed}").randint(1, calls_of(forge, scenario) * 3 // 4)

    ended = world.run(Tripper(world, number))

    outcome = check_killed(world, ended.record)
    assert ended.record["status"] == "completed"
    assert ("kill_switch", "the kill switch is on since 2026-01-01T00:00:00Z, set by kim: a drill") in outcome.incidents


@pytest.mark.parametrize("seed", range(8))
def test_a_killed_session_that_dies_stays_killed(forge, seed):
    """Killed, then dead, then released and gone on with: the mode is in the journal, and no release takes it back."""
    draw = random.Random(seed)
    scenario = draw.choice([EXITS, FLIPS, CROWD])
    calls = calls_of(forge, scenario)
    world = forge.world(scenario)
    number = draw.randint(1, calls // 3)
    killer = Tripper(world, number, dies_at=number + draw.randint(1, calls // 8))
    assert world.killed(killer, power=draw if seed % 2 else None)
    with pytest.raises(SafetyRefused, match="expected the kill switch to be off"):
        world.run()
    noticed = any(record.kind == "tripped" for record in outcome_of(world).records)
    with world.parts() as parts:
        kill.release(parts, "kim", "gone on with")

    ended = world.run() if noticed else world.run(Tripper(world, 1))

    check_killed(world, ended.record)


def test_it_is_noticed_soon(forge):
    """Between the file and the mode lie at most as many ticks as between two looks."""
    world = forge.world(EXITS)
    ticks: list[int] = []

    class Noting(Tripper):
        def __call__(self, point: str) -> None:
            super().__call__(point)
            if switch_of(world).is_on() and not ticks:
                ticks.append(self.calls.get("venue.opened.after", 0) + self.calls.get("venue.traded.after", 0))

    world.run(Noting(world, 200))

    tripped = next(record for record in outcome_of(world).records if record.kind == "tripped")
    assert 0 <= tripped.body["tick"] - ticks[0] <= TURN


def test_a_release_does_not_wake_a_killed_session(forge):
    """Once the mode is in the journal the file may go: the session stays killed."""
    world = forge.world(FLIPS)
    switch = switch_of(world)

    class Releasing(Tripper):
        def __call__(self, point: str) -> None:
            super().__call__(point)
            if switch.is_on() and b'"code":"kill_switch"' in world.journals()[-1].read_bytes():
                switch.release()

    ended = world.run(Releasing(world, 150))

    assert not switch.is_on()
    check_killed(world, ended.record)


def test_a_start_is_refused_before_anything_begins(forge):
    """Exit code 3 in one sentence; no session, no journal, no memory of a venue."""
    world = forge.world(EXITS)
    switch_of(world).trip("kim", "a drill", BEGIN)
    before = {path: path.stat().st_mtime_ns for path in (world.folder / "var").rglob("*")}

    with pytest.raises(SafetyRefused, match=r"on since 2026-01-01T00:00:00Z, set by kim: a drill;.*peak-trade release"):
        world.run()

    assert {path: path.stat().st_mtime_ns for path in (world.folder / "var").rglob("*")} == before
    with world.parts() as parts:
        assert parts.sessions.census().newest is None


def test_what_is_played_back_is_not_killed_twice(forge):
    """A session that dies while it goes on with a killed one, and is gone on with again, is killed once in its journal."""
    world = forge.world(EXITS)
    assert world.killed(Tripper(world, 100, dies_at=300))
    switch_of(world).release()
    assert world.killed(Killer(None, 20))

    ended = world.run()

    check_killed(world, ended.record)


@pytest.mark.parametrize(
    "ways",
    [
        {"on_cancel": lost_cancel(applied=False, share=0.6)},
        {"on_cancel": lost_cancel(applied=True, share=0.6)},
        {"on_submit": lost_answer(applied=True, share=0.5)},
        {"on_submit": lost_answer(applied=False, share=0.5)},
    ],
    ids=["cancel never came", "cancel done", "order taken", "order never came"],
)
@pytest.mark.parametrize("number", [120, 260])
def test_a_venue_that_loses_answers_changes_nothing(forge, ways, number):
    """Orders that nobody knows of, and cancels that got lost, are followed up until nothing can enlarge a position."""
    world = forge.world(EXITS)

    def wrap(venue: Any) -> FaultyVenue:
        faulty = FaultyVenue(venue)
        vars(faulty).update(ways)
        return faulty

    world.wrap = wrap

    ended = world.run(Tripper(world, number))

    check_killed(world, ended.record)


def test_a_running_session_forbids_the_release(forge):
    """Whoever releases is told which session still runs, and the switch stays on."""
    world = forge.world(EXITS)
    refused: list[str] = []

    def hook(point: str) -> None:
        if point == "venue.submit.after" and not refused:
            switch_of(world).trip("kim", "a drill", BEGIN)
            with world.parts() as parts, pytest.raises(SafetyRefused) as refusal:
                kill.release(parts, "kim", "too early")
            refused.append(str(refusal.value))

    world.run(hook)

    assert f"session {world.journals()[-1].stem} on account {ACCOUNT}" in refused[0]
    assert switch_of(world).is_on()
    check_nothing_enlarged(outcome_of(world))


def test_decisions_of_a_killed_session_come_out_again(forge):
    """Without a venue, from the journal alone: every refusal and every order is the same."""
    world = forge.world(FLIPS)
    world.run(Tripper(world, 150))

    with world.parts() as parts:
        again = redecide(parts, world.journals()[-1].stem)

    assert again.identical
    assert sum("killed" in row[-1] for row in outcome_of(world).refused) > 5


# ---- as processes ----------------------------------------------------------------------------------------------------

TIMED = Scenario(name="timed", bars=4_000, noise=0.0008)


@pytest.fixture
def world(forge: Forge) -> World:
    return forge.world(TIMED)


def ends_killed(live: Live) -> None:
    """Check how the process of a killed session ends."""
    live.signal(signal.SIGINT)
    code, out, err = live.end()
    assert code == 1, err
    assert "completed, ended by a signal" in out
    assert "found it killed at its end; the kill switch is on since" in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_command_kills_a_session_of_another_process(world):
    """`peak-trade kill` while a session trades: it goes on without an entry, ends with exit code 1, and none may begin."""
    with Live(world.folder) as live:
        live.wait_for_orders(3)
        killed = command(world.folder, "kill", "--why", "prices look wrong", "--by", "kim")
        assert (killed.returncode, killed.stderr) == (0, "")
        until(lambda: live.records("tripped"), live.process)
        at = live.records("tripped")[0]["body"]["tick"]
        until(lambda: len([r for r in live.records("refused") if r["body"]["tick"] > at]) > 3, live.process)
        held = command(world.folder, "release", "--why", "too early")
        ends_killed(live)
    with Live(world.folder) as second:
        code, _, err = second.end()

    assert (held.returncode, str(live.process.pid) in held.stderr) == (3, True)
    assert (code, len(err.splitlines())) == (3, 1)
    assert "set by kim: prices look wrong" in err
    outcome = outcome_of(world)
    check_nothing_enlarged(outcome)
    check_sound(world, outcome)
    check_proofs(world)
    assert command(world.folder, "release", "--why", "prices are right").returncode == 0
    assert json.loads(command(world.folder, "kill", "--status", "--json").stdout)["on"] is False


@pytest.mark.slow
def test_it_is_noticed_while_a_session_waits(world):
    """Bars come every minute: long before the next one the mode is in the journal, and the position has not changed."""
    with Live(world.folder, speed="1") as live:
        until(lambda: live.records("reconciled"), live.process)
        command(world.folder, "kill", "--why", "a drill")
        [tripped] = until(lambda: live.records("tripped"), live.process)
        ticks = tripped["body"]["tick"]
        ends_killed(live)

    # Two ticks a bar: the warm-up of twenty bars, and the first one that may be decided on has just opened or closed.
    assert ticks <= 2 * 20 + 2
    assert live.records("ended")[0]["body"]["tick"] == ticks


@pytest.mark.slow
def test_two_who_kill_at_once_agree(world):
    """Both commands end well, both stand in the operators' journal, and the first one's words are kept."""
    with ThreadPoolExecutor(4) as pool:
        names = ["kim", "alex", "sam", "robin"]
        ended = list(pool.map(lambda name: command(world.folder, "kill", "--why", f"said {name}", "--by", name), names))

    assert [(one.returncode, one.stderr) for one in ended] == [(0, "")] * 4
    kept = switch_of(world).state()
    assert kept.why == f"said {kept.by}"
    segments = sorted((world.folder / "var" / "journal" / "operators").glob("*[0-9a-f].jsonl"))
    begun = [json.loads(path.read_text().splitlines()[0])["body"] for path in segments]
    assert sorted(body["by"] for body in begun) == sorted(names)
    assert command(world.folder, "journal", "verify").returncode == 0
