"""A question that is asked of a result: what was found, the limit, and whether it holds."""

from dataclasses import dataclass
from typing import Literal

#: How what was found is held against the limit.
Sense = Literal["at least", "at most", "above"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One line of an answer.

    Attributes:
        found: the number; None where it can't be computed.
        holds: None where the question does not arise.
        words: what it means here.
    """

    name: str
    title: str
    found: float | None
    sense: Sense
    limit: float
    holds: bool | None
    words: str


def probe(
    name: str, title: str, found: float | None, sense: Sense, limit: float, words: str, *, unless: bool | None = None
) -> Probe:
    """Hold a number against its limit; one that can't be computed does not hold.

    Args:
        unless: decides instead of the number, where it is given.
    """
    holds = unless
    if holds is None:
        holds = found is not None and {"at least": found >= limit, "at most": found <= limit, "above": found > limit}[sense]
    return Probe(name=name, title=title, found=found, sense=sense, limit=limit, holds=bool(holds), words=words)
