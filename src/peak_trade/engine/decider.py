"""What the strategies of a session want, bar by bar, each asked with the bars that were complete at that moment.

A strategy is asked with everything from the first bar of the session on, never with a window: rules that hold positions depend
on entries of long ago, and running sums on where they began. To be quick over recorded bars it is asked for a block at a time;
each time its answers about the past are compared with those it gave before. A strategy that sees the future changes its mind
about the past once that future is gone, or comes: here it is caught.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from peak_trade.engine.live import GrowingBars
from peak_trade.model.bar import F64, Bars
from peak_trade.model.clock import moment_text
from peak_trade.model.errors import StrategyError
from peak_trade.strategy.base import Strategy, checked_targets

#: Bars in a block where bars come faster than time; in real time every bar is a block of its own.
BLOCK = 4_096
#: A first block of so many bars is asked for in parts too.
_PARTED = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A strategy and the number of the first bar it may decide on: those before are its warm-up.

    What it decides becomes an order `delay` bars later.
    """

    number: int
    strategy: Strategy
    first: int
    delay: int = 0


class Decider:
    """The targets of all strategies on one symbol."""

    def __init__(self, bars: Bars | GrowingBars, seats: Sequence[Seat], block: int) -> None:
        self._bars, self._seats, self._block = bars, tuple(seats), block
        self._known = self._first = 0
        self._targets: list[F64] = [np.empty(0) for _ in seats]
        self._rows: list[tuple[tuple[int, float], ...]] = []

    def targets(self, index: int) -> tuple[tuple[int, float], ...]:
        """Return, for each strategy by number, its target after the close of a bar.

        Raises:
            StrategyError: a strategy failed, gave something else than targets, or changed its mind about the past.
        """
        if index >= self._known:
            self._ask(min(len(self._bars), index + self._block))
            self._first = index
            self._rows = list(zip(*(self._told(seat, known) for seat, known in self._asked()), strict=True))
        return self._rows[index - self._first]

    def _asked(self) -> Iterator[tuple[Seat, F64]]:
        return zip(self._seats, self._targets, strict=True)

    def _told(self, seat: Seat, known: F64) -> Iterator[tuple[int, float]]:
        """Yield a strategy's targets of the present block, nothing during its warm-up."""
        begin = self._first - seat.delay
        early = max(0, min(-begin, len(known) - self._first))
        targets = [0.0] * early + known[max(begin, 0) : max(len(known) - seat.delay, 0)].tolist()
        for index, target in enumerate(targets, begin):
            yield seat.number, target if index >= seat.first else 0.0

    def _ask(self, count: int) -> None:
        """Ask for all bars up to *count*; within the first block also for parts of it, so that a look ahead shows there too."""
        parts = (1, 4, 8, 12) if self._known == 0 and count >= _PARTED else ()
        for cut in (*(count * part // 16 for part in parts), count):
            self._compare(cut)
        self._known = count

    def _compare(self, count: int) -> None:
        bars = self._bars[:count]
        for place, seat in enumerate(self._seats):
            before, now = self._targets[place], checked_targets(bars, seat.strategy)
            changed = np.flatnonzero(before != now[: len(before)])
            if len(changed):
                first = int(changed[0])
                last, then = moment_text(int(bars.timestamp[-1])), moment_text(int(bars.timestamp[first]))
                raise StrategyError(
                    f"expected {seat.strategy.key} to keep to what it decided, found that with bars up to {last} it changes "
                    f"its target of {then} from {before[first]} to {now[first]}; it uses later bars than it may, mend it"
                )
            self._targets[place] = now
