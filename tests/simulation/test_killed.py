"""A real process, really killed: `kill -9` at a point, then the ordinary command, and nothing came out otherwise."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.paths import ROOT
from tests.simulation.command import WILD, arguments
from tests.simulation.outcome import Outcome, check_books, check_proofs, check_sound, has_ended, outcome_of
from tests.simulation.world import Forge

DRIVER = [sys.executable, "-m", "tests.simulation.command"]
DOOR = [sys.executable, str(ROOT / "scripts" / "run_execution_session.py")]


def process(door: list[str], folder: Path, *first: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    given = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": os.environ.get("PATH", "")}
    return subprocess.run(
        [*door, *first, *arguments(folder)], cwd=folder, env=given, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def wanted(forge: Forge) -> Outcome:
    world = forge.world(WILD)
    done = process(DOOR, world.folder)
    assert (done.returncode, done.stderr) == (0, "")
    return outcome_of(world)


@pytest.mark.slow
@pytest.mark.parametrize(
    "deaths",
    [
        [("venue.submit.before", 14)],
        [("venue.log.after", 31), ("venue.look_up.after", 1)],
        [("journal.fsync.before", 40), ("registry.begin.after", 1), ("venue.cancel.after", 4)],
        [("journal.write.after", 77), ("registry.finish.before", 1)],
    ],
    ids=lambda deaths: "-".join(point for point, _ in deaths),
)
def test_a_killed_process_is_gone_on_with(forge, wanted, deaths):
    """After `kill -9`, also of the process that goes on, the ordinary command comes to the same fills, books and decisions."""
    world = forge.world(WILD)
    for point, number in deaths:
        killed = process(DRIVER, world.folder, f"{point}:{number}:KILL")
        if killed.returncode == 0:
            break
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    note = world.folder / "var" / "journal" / "simulated" / ".holder"
    assert note.exists() == (killed.returncode != 0)

    if not has_ended(world):
        done = process(DOOR, world.folder)
        assert done.returncode == 0, done.stderr

    outcome = outcome_of(world)
    assert outcome.without_names == wanted.without_names
    assert (outcome.refused, outcome.figures) == (wanted.refused, wanted.figures)
    check_sound(world, outcome)
    check_books(world, outcome, check_proofs(world)[-1])
