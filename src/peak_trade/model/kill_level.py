"""How far the kill switch goes; each level does what those before it do, and more."""

from enum import Enum, unique


@unique
class KillLevel(Enum):
    """What is stopped, from the mildest on; the order of definition is the order of strictness.

    - `NO_NEW`: no order that could enlarge a position is sent any more; what works at the venue stays.
    - `REDUCE_ONLY`: besides, working orders that could enlarge a position are cancelled.
    - `CANCEL_ALL`: besides, every working order is cancelled, protective stops too, and none is sent any more.
    - `FLATTEN`: besides, every position is closed.
    """

    NO_NEW = "no-new"
    REDUCE_ONLY = "reduce-only"
    CANCEL_ALL = "cancel-all"
    FLATTEN = "flatten"

    @property
    def rank(self) -> int:
        """Its place, from the mildest on."""
        return list(KillLevel).index(self)
