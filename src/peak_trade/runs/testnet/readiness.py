"""Whether an installation is ready for a stage: a table of checks, each of which says what it found and what to do.

A check that can't be made is unknown, not passed: where a stage must know, that counts as failed.
Invariant: a check that breaks takes no other down, and none shows a secret.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, unique
from functools import cached_property
from typing import Any, NamedTuple

from peak_trade.compose import Parts
from peak_trade.model.errors import PeakTradeError
from peak_trade.model.stage import Stage
from peak_trade.runs.exchange_look import ExchangeLook, look_at_exchange
from peak_trade.venue.kraken.wire import Credentials


@unique
class Grade(Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Seen(NamedTuple):
    """What a check found, and what to do about it; empty where there is nothing to do."""

    grade: Grade
    found: str
    todo: str = ""


class Line(NamedTuple):
    """A check with its answer; *blocks* tells whether it keeps the stage from being ready."""

    name: str
    seen: Seen
    blocks: bool

    def to_json(self) -> dict[str, Any]:
        """Return the line as a JSON object."""
        return {
            "name": self.name,
            "state": self.seen.grade.value,
            "found": self.seen.found,
            "todo": self.seen.todo,
            "blocks": self.blocks,
        }


@dataclass(frozen=True)
class Look:
    """What checks look at: an installation, a stage, and the exchange, which is asked once for all of them."""

    parts: Parts
    stage: Stage

    @cached_property
    def keys(self) -> Credentials | PeakTradeError:
        """The API key of stage 2, or why there is none."""
        try:
            return self.parts.api_keys()
        except PeakTradeError as error:
            return error

    @property
    def place(self) -> str:
        """Where the exchange of the stage is."""
        file = self.parts.settings.file
        return file.exchange.kraken_testnet.base_url if self.stage is Stage.TESTNET else file.live_exchange.base_url

    @cached_property
    def exchange(self) -> ExchangeLook:
        """What the exchange says."""
        with_key = self.stage is Stage.TESTNET and isinstance(self.keys, Credentials)
        return look_at_exchange(self.parts, self.place, with_key=with_key)


class StageCheck(NamedTuple):
    """A check, the stages it is made for, and those that can't do without its answer."""

    name: str
    stages: frozenset[Stage]
    must_know: frozenset[Stage]
    look: Callable[[Look], Seen]


def check_stage(parts: Parts, stage: Stage, checks: tuple[StageCheck, ...]) -> list[Line]:
    """Make every check of a stage."""
    look = Look(parts, stage)
    lines = []
    for check in checks:
        if stage not in check.stages:
            continue
        try:
            seen = check.look(look)
        except (PeakTradeError, OSError, ValueError) as error:
            found, _, todo = str(error).rpartition("; ")
            seen = Seen(Grade.FAILED, found or todo, todo if found else "")
        blocks = seen.grade is Grade.FAILED or (seen.grade is Grade.UNKNOWN and stage in check.must_know)
        lines.append(Line(check.name, seen, blocks))
    return lines
