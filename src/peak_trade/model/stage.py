"""The five stages of the path from an idea to real money."""

from enum import Enum, unique

from peak_trade.model.errors import SafetyRefused


@unique
class Stage(Enum):
    """A rung of the ladder; the order of definition is the order of the climb."""

    RESEARCH = "research"
    SHADOW = "shadow"
    TESTNET = "testnet"
    SHADOW_LIVE = "shadow_live"
    LIVE = "live"


def not_allowed(stage: Stage) -> SafetyRefused:
    """Return the refusal of a stage that this version can't run, with the path that leads to it."""
    path = " -> ".join(item.value for item in Stage)
    return SafetyRefused(
        f"expected a stage whose orders are simulated, found {stage.value}: nothing here can send an order to an exchange, and "
        f"real orders need a signed permit; the path is {path}, a gate between each two: start with --mode shadow"
    )
