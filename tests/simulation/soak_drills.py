"""Every drill of the register, each at an emulator of its own: part of `make soak`."""

import os

import pytest

from peak_trade.model.clock import MachineClock
from peak_trade.runs.drills.bench import DrillTrial
from peak_trade.runs.drills.register import DRILLS

pytestmark = pytest.mark.usefixtures("socket_enabled")


@pytest.mark.parametrize("seed", [7, 8])
@pytest.mark.parametrize("drill", [drill for drill in DRILLS if drill.run], ids=lambda drill: drill.name)
def test_every_drill_passes(drill, seed):
    """What has to work in an emergency works, on more than one market."""
    found = drill.run(DrillTrial(clock=MachineClock(), environment=dict(os.environ), seed=seed))

    assert (found.first_failure, found.passed) == ("", True)
    assert found.facts["drill"] == drill.in_evidence
