"""The five stages of the path from an idea to real money."""

from enum import Enum, unique


@unique
class Stage(Enum):
    """A rung of the ladder; the order of definition is the order of the climb."""

    RESEARCH = "research"
    SHADOW = "shadow"
    TESTNET = "testnet"
    SHADOW_LIVE = "shadow_live"
    LIVE = "live"
