"""Recorded bars in the order of time, over any number of symbols, at any speed.

Invariant: what happened at one moment is told in this order: bars that complete, then bars that open.
"""

import asyncio
import heapq
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from peak_trade.model.bar import Bars
from peak_trade.model.clock import Clock
from peak_trade.model.order import MarketBar

#: Bars turned into plain numbers at a time.
_CHUNK = 4_096


class Tick(NamedTuple):
    """A bar opens or is complete; `number` counts the bars of its symbol."""

    bar: MarketBar
    number: int
    complete: bool

    @property
    def at_ns(self) -> int:
        """When it happens, nanoseconds UTC."""
        return self.bar.closed_ns if self.complete else self.bar.opened_ns


def ticks(series: Mapping[str, Bars]) -> Iterator[Tick]:
    """Return every opening and completion of all bars in the order of time."""
    single = [_ticks(bars) for bars in series.values()]
    if len(single) == 1:
        return single[0]
    return heapq.merge(*single, key=lambda tick: (tick.at_ns, not tick.complete))


def _ticks(bars: Bars) -> Iterator[Tick]:
    for number, bar in enumerate(market_bars(bars)):
        yield Tick(bar, number, complete=False)
        yield Tick(bar, number, complete=True)


def market_bars(bars: Bars) -> Iterator[MarketBar]:
    """Return bars one by one as plain numbers."""
    symbol, step = bars.instrument.symbol, bars.timeframe.step_ns
    for first in range(0, len(bars), _CHUNK):
        part = slice(first, first + _CHUNK)
        columns = (bars.timestamp, bars.open, bars.high, bars.low, bars.close, bars.volume)
        for stamp, *prices in zip(*(column[part].tolist() for column in columns), strict=True):
            yield MarketBar._make((symbol, stamp, step, *prices))


class Pace:
    """When a tick is due: `speed` times as fast as it happened, None for as fast as can be."""

    def __init__(self, clock: Clock, speed: float | None) -> None:
        self._clock, self._speed = clock, speed
        self._begun: tuple[int, float] | None = None

    @property
    def timed(self) -> bool:
        """Whether there is anything to wait for."""
        return self._speed is not None

    def start(self, at_ns: int) -> None:
        """Let the moment *at_ns* of the record be now."""
        self._begun = (at_ns, self._clock.elapsed_s())

    async def wait(self, at_ns: int, stop: asyncio.Event, most_s: float = math.inf) -> int | None:
        """Wait until a moment of the record is due, or until *stop*; return how late it is, nanoseconds.

        None is returned where it is not due yet after *most_s* seconds: then there is something else to look at.
        """
        if self._speed is None or self._begun is None:
            return 0
        first, begun = self._begun
        due = begun + (at_ns - first) / 1e9 / self._speed
        rest = due - self._clock.elapsed_s()
        if rest > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), min(rest, most_s))
                return 0
            if rest > most_s and self._clock.elapsed_s() < due:
                return None
            # It is due, or long past: a process that stood still wakes up late.
        return max(0, int((self._clock.elapsed_s() - due) * 1e9))
