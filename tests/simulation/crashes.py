"""Killing a session, letting the same command go on with it, and checking that nothing came out otherwise."""

import random
from collections import Counter

from tests.simulation.outcome import Outcome, check_books, check_proofs, check_same, check_sound, has_ended, outcome_of
from tests.simulation.world import Forge, Killer, Scenario, World

#: What may still be called after a death: closing a journal asks to force it to disk, which writes nothing.
HARMLESS = {"journal.fsync.before"}
#: Deaths by point over all tests of this process, for the report.
KILLS: Counter[str] = Counter()


class Lab:
    """Knows what each scenario comes to when nothing happens."""

    def __init__(self, forge: Forge) -> None:
        self.forge = forge
        self.points: Counter[str] = Counter()
        self._known: dict[str, tuple[Outcome, Killer]] = {}

    def undisturbed(self, scenario: Scenario) -> tuple[Outcome, Killer]:
        """Return what a scenario comes to, and how often it passes each point."""
        if scenario.name not in self._known:
            self._known[scenario.name] = self._undisturbed(scenario)
        return self._known[scenario.name]

    def _undisturbed(self, scenario: Scenario) -> tuple[Outcome, Killer]:
        world, counter = self.forge.world(scenario), Killer()
        world.run(counter)
        outcome = outcome_of(world)
        check_sound(world, outcome)
        check_books(world, outcome, check_proofs(world)[-1])
        self.points += Counter(counter.calls)
        return outcome, counter

    def check_killed(self, scenario: Scenario, killers: list[Killer], *, power: random.Random | None = None) -> None:
        """Let a session die as often as there are killers, complete it, and compare it with one that never died."""
        wanted, _ = self.undisturbed(scenario)
        world = self.forge.world(scenario)
        deaths = 0
        for killer in killers:
            if not world.killed(killer, power=power):
                break
            deaths += 1
            KILLS[killer.dead_at or ""] += 1
            assert set(killer.after) <= HARMLESS, f"something went on after the death at {killer.dead_at}"
            assert world.disk.late == [], f"something was written after the death at {killer.dead_at}"
            if has_ended(world):
                break
        if not has_ended(world):
            world.run()
        self.points += Counter(world.points)
        self._check_ended(world, wanted, deaths)
        self.forge.drop(world)

    def _check_ended(self, world: World, wanted: Outcome, deaths: int) -> None:
        outcome = outcome_of(world)
        check_same(outcome, wanted)
        check_sound(world, outcome)
        sessions = check_proofs(world)
        check_books(world, outcome, sessions[-1])
        assert len(sessions) <= deaths + 1


def random_killers(seed: int, calls: int, deaths: int) -> list[Killer]:
    """Return killers that strike anywhere; the later ones early, because a session that goes on calls less."""
    draw = random.Random(seed)
    return [Killer(None, draw.randint(1, calls if number == 0 else max(calls // 4, 1))) for number in range(deaths)]
