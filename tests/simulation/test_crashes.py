"""A session that is killed anywhere comes to what it would have come to: no order twice, no fill lost, every proof in place."""

import random
from datetime import timedelta

import pytest
from tests.simulation.crashes import Lab, random_killers
from tests.simulation.outcome import check_proofs, check_sound, outcome_of
from tests.simulation.scenarios import DIP, EVERY, EXITS, STRICT, THIN
from tests.simulation.world import Forge, Killed, Killer

from peak_trade.model.points import POINTS

#: Places that only a session which goes on passes; the first death leads there.
_ASKING = ("venue.look_up.before", "venue.look_up.after")


@pytest.fixture(scope="module")
def lab(forge: Forge) -> Lab:
    return Lab(forge)


def _killers(lab: Lab, point: str, which: str) -> list[Killer]:
    """Return one that strikes at a point, for the first time, the last, or one between."""
    if point in _ASKING:
        number = {"first": 1, "middle": 9, "last": 20}[which]
        return [Killer("venue.submit.before", number), Killer(point, 1)]
    calls = lab.undisturbed(EXITS)[1].calls[point]
    return [Killer(point, {"first": 1, "middle": random.Random(point).randint(1, calls), "last": calls}[which])]


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("which", ["first", "middle", "last"])
def test_a_death_anywhere_changes_nothing(lab, point, which):
    """Killed at any place, the same command goes on and comes to the same fills, orders, books and decisions."""
    lab.check_killed(EXITS, _killers(lab, point, which))


@pytest.mark.parametrize("point", POINTS)
def test_a_power_cut_anywhere_changes_nothing(lab, point):
    """Where the power fails, what was not forced to disk is lost in part, and still nothing comes out otherwise."""
    lab.check_killed(EXITS, _killers(lab, point, "middle"), power=random.Random(point))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("scenario", EVERY, ids=lambda scenario: scenario.name)
def test_many_deaths_change_nothing(lab, scenario, seed):
    """Killed up to three times in a row, by a signal or a power cut, every kind of session comes to the same."""
    calls = lab.undisturbed(scenario)[1].total
    power = random.Random(seed) if seed % 2 else None
    lab.check_killed(scenario, random_killers(seed, calls, 1 + seed % 3), power=power)


@pytest.mark.parametrize("number", [15, 23, 40, 66])
def test_a_bar_told_again_fills_no_more(lab, number):
    """A venue that filled a part of an order before the death fills no more of it when it is told of earlier bars again."""
    lab.check_killed(THIN, [Killer("venue.opened.after", number)])


def test_a_fill_is_believed_when_it_happened(lab):
    """A fill that the venue knows and we missed is booked at its bar, not bars before it: the fall in between was ours."""
    lab.check_killed(DIP, [Killer("venue.log.after", 4)])


def test_an_absent_order_counts_once_for_the_day(lab):
    """An order that never arrived and was asked for anew takes one place of the day's orders, not two."""
    lab.check_killed(STRICT, [Killer("venue.submit.before", 30)])


@pytest.mark.parametrize("number", [300, 500, 650])
def test_a_death_while_ending_is_gone_on_with(forge, number):
    """Killed as it began to end, because the clock had jumped, a session is brought to its end and nothing else."""
    world, killer = forge.world(EXITS), Killer("none")

    def hook(point: str) -> None:
        killer(point)
        if killer.total == number:
            world.clock.offset = -timedelta(hours=1)
        if point == "journal.write.after" and b'"kind":"settling"' in world.journals()[-1].read_bytes():
            killer.dead_at = point
            raise Killed(point)

    with pytest.raises(Killed):
        world.run(hook)
    world.clock.offset = timedelta()
    sent = len(outcome_of(world).orders)

    ended = world.run()

    outcome = outcome_of(world)
    assert ended.record["ended_by"] == "the journal: it had been ending when its process died"
    assert len(outcome.orders) == sent
    check_sound(world, outcome)
    check_proofs(world)


def test_sessions_pass_every_point(lab):
    """Over the scenarios and a session that goes on, every place at which a process may die is passed, and no other."""
    for scenario in EVERY:
        lab.undisturbed(scenario)
    lab.check_killed(EXITS, [Killer("venue.submit.before", 3)])

    assert set(lab.points) == set(POINTS)


def test_scenarios_are_varied(lab):
    """The scenarios order in every way: entries, flips, each kind of exit, parts of orders, refusals and a pause."""
    outcomes = [lab.undisturbed(scenario)[0] for scenario in EVERY]
    reasons = {row[3] for outcome in outcomes for row in outcome.fills}
    codes = {code for outcome in outcomes for row in outcome.refused for code in row[8:]}

    assert reasons == {"target", "stop_loss", "take_profit", "trailing_stop"}
    assert {"max_order_notional", "repeated_execution", "paused", "max_daily_loss_pct"} <= codes
    assert any(row[-1].strip("-0.") for outcome in outcomes for row in outcome.fills)
    assert sum(len(outcome.orders) for outcome in outcomes) > 400
