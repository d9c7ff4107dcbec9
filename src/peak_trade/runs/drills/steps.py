"""What a drill goes through, step by step, and what came of each.

Invariant: after a step that failed nothing is tried; a step that was not tried is never called passed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from peak_trade.governance.documents import Fact
from peak_trade.model.clock import Clock
from peak_trade.model.errors import CheckFailed, PeakTradeError
from peak_trade.runs.record import Json

PASSED, FAILED, NOT_TRIED = "passed", "failed", "not tried"
#: Longest sentence of evidence.
WORDS_MAX = 500


class DrillStep(NamedTuple):
    """A step: how it ended, what was found, and how long it took, seconds."""

    name: str
    outcome: str
    found: str
    seconds: float

    def to_json(self) -> Json:
        """Return the step as a JSON object."""
        return {"name": self.name, "outcome": self.outcome, "found": self.found, "seconds": round(self.seconds, 3)}


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillResult:
    """What a drill came to: its name, its steps, and the facts that gates read."""

    drill: str
    steps: Sequence[DrillStep]
    facts: dict[str, Fact]

    @property
    def passed(self) -> bool:
        """Whether every step did."""
        return bool(self.steps) and all(step.outcome == PASSED for step in self.steps)

    @property
    def first_failure(self) -> str:
        """The first step that failed, and why; empty where none did."""
        return next((f"{step.name}: {step.found}"[:WORDS_MAX] for step in self.steps if step.outcome == FAILED), "")


def walked(
    clock: Clock, steps: Sequence[tuple[str, Callable[[], str]]], through: tuple[type[PeakTradeError], ...] = ()
) -> list[DrillStep]:
    """Try steps in their order, until one fails; each returns what it found, or raises.

    Args:
        through: errors that say nothing about what is tried, such as a wrong word of who asked; they go on to the caller.
    """
    found: list[DrillStep] = []
    failed = False
    for name, work in steps:
        if failed:
            found.append(DrillStep(name, NOT_TRIED, "", 0.0))
            continue
        begun = clock.elapsed_s()
        try:
            words, outcome = work(), PASSED
        except through:
            raise
        except (PeakTradeError, OSError) as error:
            words, outcome, failed = str(error) or type(error).__name__, FAILED, True
        found.append(DrillStep(name, outcome, words, clock.elapsed_s() - begun))
    return found


def expect(held: object, words: str) -> None:
    """Let pass where something holds.

    Raises:
        CheckFailed: it does not.
    """
    if not held:
        raise CheckFailed(words)
