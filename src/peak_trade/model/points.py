"""The places at which a process may die and must have lost nothing: before and after each write and each call to a venue.

The code calls a hook with the name of the place; in production it does nothing, in the tests it kills.
"""

from collections.abc import Callable
from typing import Final

Faults = Callable[[str], None]

#: Every place there is. A test checks that a run passes all of them and no other.
POINTS: Final = tuple(
    f"{place}.{moment}"
    for place in (
        "journal.write",
        "journal.fsync",
        "journal.head.write",
        "journal.head.fsync",
        "venue.submit",
        "venue.cancel",
        "venue.look_up",
        "venue.opened",
        "venue.traded",
        "venue.log",
        "registry.begin",
        "registry.finish",
    )
    for moment in ("before", "after")
)


def no_faults(_point: str) -> None:
    """Let the process live."""
