"""Time and identity as arguments: nothing below the command line asks the machine for either.

Invariant: every moment is an aware UTC datetime.
"""

import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NewType, Protocol

RunId = NewType("RunId", str)


class Clock(Protocol):
    """Where the present comes from."""

    def now(self) -> datetime:
        """Return the present, aware, in UTC."""
        ...

    def elapsed_s(self) -> float:
        """Return seconds on a clock that never jumps; only differences mean something."""
        ...


class MachineClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        """Return the present, aware, in UTC."""
        return datetime.now(UTC)

    def elapsed_s(self) -> float:
        """Return monotonic seconds."""
        return time.perf_counter()


class PacedClock:
    """A clock that began at some moment and goes so many times as fast as another: that of an emulated exchange."""

    def __init__(self, clock: Clock, began: datetime, speed: float) -> None:
        self._clock, self._began, self._speed = clock, began, speed
        self._begun_s = clock.elapsed_s()

    def now(self) -> datetime:
        """Return the present there, aware, in UTC."""
        return self._began + timedelta(seconds=(self._clock.elapsed_s() - self._begun_s) * self._speed)

    def elapsed_s(self) -> float:
        """Return monotonic seconds of the other clock: what waits for something waits by it."""
        return self._clock.elapsed_s()


@dataclass(frozen=True, slots=True)
class IdSource:
    """Makes run ids that sort by the moment they were made: `20261123T021530123Z-3f9a1c`."""

    clock: Clock
    randomness: random.Random

    def next_run(self) -> RunId:
        """Return a new id; two made in the same millisecond differ in their 24 random bits."""
        now = self.clock.now()
        return RunId(f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}Z-{self.randomness.getrandbits(24):06x}")


def parse_moment(text: str) -> datetime:
    """Read a date or a date with time as aware UTC; a text without a zone means UTC.

    Raises:
        ValueError: the text is no ISO 8601 date.
    """
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def nanoseconds(when: datetime) -> int:
    """Return nanoseconds since 1970-01-01 UTC of an aware moment, exact to the microsecond."""
    since = when - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000


def moment(stamp_ns: int) -> datetime:
    """Return nanoseconds since 1970 as an aware UTC datetime, cut to the microsecond."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=stamp_ns // 1_000)


def moment_text(stamp_ns: int) -> str:
    """Return nanoseconds since 1970 as `2018-01-01T00:00:00Z`, with microseconds only where there are any."""
    return moment(int(stamp_ns)).replace(tzinfo=None).isoformat() + "Z"
