"""The live lock is shut by any one of its bolts; the safety lock is open when any one of its own is drawn."""

from itertools import product
from pathlib import Path
from types import SimpleNamespace as Fake

import pytest

from peak_trade.model.stage import Stage
from peak_trade.runs.gates.locks import LIVE_LOCK, SAFETY_LOCK, live_lock, locks_of, safety_lock
from peak_trade.settings import File

BOTH = (False, True)


def an_installation(*stages: Stage, enabled: bool = False, validates: bool = True, blocks: bool = True) -> Fake:
    """Return the parts of an installation as far as locks look at them."""
    file = Fake(
        live=Fake(enabled=enabled),
        exchange=Fake(kraken_testnet=Fake(validate_only=validates)),
        live_risk=Fake(block_on_violation=blocks),
    )
    return Fake(settings=Fake(file=file), stages=lambda: stages, state=Path("nowhere"))


@pytest.mark.parametrize(("enabled", "runnable", "permitted"), list(product(BOTH, BOTH, BOTH)))
def test_the_live_lock(enabled, runnable, permitted):
    """It is open only when all three allow it, and says of each bolt whether it does."""
    lock = live_lock(enabled=enabled, runnable=runnable, permits=int(permitted))

    assert lock.closed is not (enabled and runnable and permitted)
    assert lock.name == LIVE_LOCK
    assert [bolt in reason for bolt, reason in zip(("enabled", "venue", "permit"), lock.reasons, strict=True)] == [True] * 3
    assert ("is true" in lock.reasons[0], "no venue" not in lock.reasons[1], "no permit" not in lock.reasons[2]) == (
        enabled,
        runnable,
        permitted,
    )


@pytest.mark.parametrize(("simulated", "validates", "blocks"), list(product(BOTH, BOTH, BOTH)))
def test_the_safety_lock(simulated, validates, blocks):
    """It is closed only when all three hold, and says of each bolt whether it does."""
    lock = safety_lock(simulated=simulated, validates=validates, blocks=blocks)

    assert lock.closed is (simulated and validates and blocks)
    assert lock.name == SAFETY_LOCK
    assert ("simulated" in lock.reasons[0], "only validates" in lock.reasons[1], "gate blocks" in lock.reasons[2]) == (
        simulated,
        validates,
        blocks,
    )


def test_as_delivered():
    """A new installation has both locks closed, with nothing to be uneasy about."""
    live, safety = locks_of(Fake(settings=Fake(file=File()), stages=lambda: (Stage.SHADOW,), state=Path("nowhere")))

    assert (live.name, live.closed) == (LIVE_LOCK, True)
    assert (safety.name, safety.closed) == (SAFETY_LOCK, True)


def test_switching_live_on_opens_nothing():
    """The configuration alone does not open the live lock, nor does a venue; nobody can grant a permit yet."""
    for stages in ((Stage.SHADOW,), (Stage.SHADOW, Stage.LIVE)):
        live, _ = locks_of(an_installation(*stages, enabled=True))
        assert live.closed
        assert live.reasons[0] == "live.enabled is true in the configuration"


@pytest.mark.parametrize(
    ("parts", "closed"),
    [
        (an_installation(), True),
        (an_installation(Stage.SHADOW, Stage.TESTNET), True),
        (an_installation(Stage.SHADOW, Stage.SHADOW_LIVE), True),
        (an_installation(Stage.SHADOW, Stage.LIVE), False),
        (an_installation(Stage.SHADOW, validates=False), False),
        (an_installation(Stage.SHADOW, blocks=False), False),
    ],
    ids=["no venue", "test network", "shadow live", "a live venue", "the test network executes", "limits warn"],
)
def test_what_opens_the_safety_lock(parts, closed):
    """A venue for real orders, a test network that executes, and limits that only warn each open it."""
    assert locks_of(parts)[1].closed is closed
