"""The long simulations: `make soak`. The name keeps them out of what `pytest tests/` collects."""

import os
import random
from pathlib import Path

import pytest
from tests.emulated import emulating
from tests.simulation.crashes import Lab, random_killers
from tests.simulation.kraken_storm import weather_out
from tests.simulation.scenarios import EVERY, EXITS, THIN
from tests.simulation.storm import check_after, weather
from tests.simulation.world import Forge, Killer, Scenario
from tests.testnet import a_desk

_PARTS = 24


@pytest.fixture(scope="module")
def lab(forge: Forge) -> Lab:
    return Lab(forge)


@pytest.mark.parametrize("part", range(_PARTS))
def test_a_death_at_every_single_place_changes_nothing(lab, part):
    """Killed at each call of each point in turn, a small session comes to what it would have come to."""
    calls = lab.undisturbed(EXITS)[1].total
    wrong = []
    for number in range(1 + part, calls + 1, _PARTS):
        power = random.Random(number) if number % 2 else None
        try:
            lab.check_killed(EXITS, [Killer(None, number)], power=power)
        except Exception as error:  # noqa: BLE001 - every place is tried before anything is told
            wrong.append(f"{number}: {type(error).__name__} {str(error).splitlines()[0]}")

    assert wrong == []


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("scenario", [*EVERY, THIN], ids=lambda scenario: scenario.name)
def test_many_deaths_change_nothing(lab, scenario, seed):
    """Killed up to six times in a row, by a signal or a power cut, every kind of session comes to the same."""
    calls = lab.undisturbed(scenario)[1].total
    power = random.Random(seed) if seed % 2 else None
    lab.check_killed(scenario, random_killers(1_000 + seed, calls, 1 + seed % 6), power=power)


@pytest.mark.parametrize("point", ["venue.look_up.before", "venue.look_up.after"])
@pytest.mark.parametrize("first", range(1, 7))
def test_a_death_while_asking_changes_nothing(lab, point, first):
    """Killed before each order was sent, and again while the venue is asked for it, a session comes to the same."""
    orders = lab.undisturbed(EXITS)[1].calls["venue.submit.before"]
    for number in range(first, orders + 1, 6):
        lab.check_killed(EXITS, [Killer("venue.submit.before", number), Killer(point, 1)])


@pytest.mark.parametrize("seed", range(2))
def test_a_day_of_storm(tmp_path, seed, socket_enabled):
    """Testnet sessions through 24 hours of the exchange's clock and every fault that it has."""
    with (
        emulating(speed=240.0, seed=seed) as exchange,
        a_desk(tmp_path, exchange, speed=240.0, max_duration_minutes=1_440.0, max_orders=100_000) as desk,
    ):
        config = tmp_path / "config.toml"
        config.write_text(config.read_text().replace("max_orders = 200", "max_orders = 100_000"))
        storm = weather(desk, 24 * 60, seed)
        check_after(desk, storm)

    assert len(storm.set) > 60


@pytest.mark.parametrize("seed", range(1_000, 1_120))
def test_orders_through_every_fault(tmp_path, monkeypatch, seed):
    """Engine and Kraken venue: a hundred storms and more, each with its own faults, kill and deaths."""
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    weather_out(tmp_path, seed)


def test_memory_stays_flat(forge):
    """Between 50,000 and 200,000 bars a session grows by less than 15 MB."""
    scenario = Scenario(
        name="long",
        bars=200_000,
        noise=0.0004,
        strategies=(("ma_crossover", {"fast_window": 20, "slow_window": 60}),),
        paper={"stop_loss": "0.01"},
    )
    world = forge.world(scenario)
    seen: dict[int, int] = {}
    calls = 0

    def hook(point: str) -> None:
        nonlocal calls
        if point == "venue.traded.before":
            calls += 1
            if calls in (50_000, 200_000):
                seen[calls] = _resident()

    world.run(hook)

    assert (seen[200_000] - seen[50_000]) / 1e6 < 15


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4_096
