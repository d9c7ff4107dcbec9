"""Bars of a market that is still going on: followed at an exchange, told tick by tick, and kept as they grow.

Invariant: a bar is told as opened once, with its first price, and as complete once, when the exchange counts it as over; no bar
is told after a later one of its symbol. An interval without trades has no bar, as in recorded data.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

import numpy as np

from peak_trade.engine.feed import Tick
from peak_trade.model.bar import COLUMNS, Bars, Timeframe
from peak_trade.model.clock import Clock, moment_text
from peak_trade.model.errors import SafetyRefused, Unavailable
from peak_trade.model.instrument import Instrument
from peak_trade.model.order import Candle, MarketBar

NS = 1_000_000_000
#: Seconds after a bar is due at which it is asked for, and between two questions while something is missing.
SETTLED_S, ASK_S = 0.25, 1.0
#: Candles in an answer from which on older ones may be missing: Kraken gives no more.
HISTORY_MAX = 720
#: Seconds between two questions while nothing is missing; most seconds between two attempts while the exchange is silent.
IDLE_S, SILENT_MAX_S = 10.0, 30.0


class CandleSource(Protocol):
    """Where candles come from."""

    async def candles(self, symbol: str, after_ns: int) -> Sequence[Candle]:
        """Return the candles that open after a moment, oldest first, the running one last; as many as there still are.

        Raises:
            Unavailable: the exchange does not answer, or not with candles.
        """
        ...


class Heard(NamedTuple):
    """A tick, and how long ago it was due, nanoseconds."""

    tick: Tick
    late_ns: int


class GrowingBars:
    """Bars of one symbol to which more come at the end; a slice of it is `Bars`."""

    def __init__(self, instrument: Instrument, timeframe: Timeframe, bars: Sequence[MarketBar] = ()) -> None:
        self.instrument, self.timeframe = instrument, timeframe
        self._rows = np.empty((max(1_024, 2 * len(bars)), len(COLUMNS) - 1))
        self._stamps = np.empty(len(self._rows), dtype=np.int64)
        self._count = 0
        for bar in bars:
            self.add(bar)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, part: slice) -> Bars:
        first, last, _ = part.indices(self._count)
        rows = self._rows[first:last]
        columns = {name: np.array(rows[:, place]) for place, name in enumerate(COLUMNS[1:])}
        return Bars(
            instrument=self.instrument, timeframe=self.timeframe, timestamp=np.array(self._stamps[first:last]), **columns
        )

    def add(self, bar: MarketBar) -> None:
        """Take the next complete bar."""
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
            self._stamps = np.concatenate([self._stamps, np.empty_like(self._stamps)])
        self._stamps[self._count] = bar.opened_ns
        self._rows[self._count] = (bar.open, bar.high, bar.low, bar.close, bar.volume)
        self._count += 1


class _Market:
    """One symbol as far as it was told."""

    def __init__(self, bars: int, closed_ns: int, opened_ns: int) -> None:
        self.bars, self.closed_ns, self.opened_ns = bars, closed_ns, opened_ns
        self.heard_ns = -1

    def take(self, candles: Sequence[Candle]) -> list[Tick]:
        """Return what of these candles was not told yet."""
        found = []
        for bar, over, traded in candles:
            self.heard_ns = max(self.heard_ns, bar.closed_ns if over else bar.opened_ns)
            if bar.opened_ns < self.opened_ns or bar.opened_ns <= self.closed_ns or not traded:
                continue
            if bar.opened_ns > self.opened_ns:
                self.opened_ns = bar.opened_ns
                begun = bar._replace(high=bar.open, low=bar.open, close=bar.open, volume=0.0)
                found.append(Tick(begun, self.bars, complete=False))
            if over:
                found.append(Tick(bar, self.bars, complete=True))
                self.closed_ns, self.bars = bar.opened_ns, self.bars + 1
        return found


class Past(NamedTuple):
    """How far a symbol was told before: complete bars, when the last of them and the last one at all opened; -1 for none."""

    bars: int = 0
    closed_ns: int = -1
    opened_ns: int = -1


class LiveFeed:
    """Follows an exchange's candles and tells ticks as they happen.

    A symbol's history comes first, then what happens; after a silence what was missed comes first too, if the exchange still
    has it.
    """

    def __init__(
        self,
        source: CandleSource,
        pasts: Mapping[str, Past],
        step_ns: int,
        present: Callable[[], int],
        clock: Clock,
        *,
        speed: float = 1.0,
        say: Callable[[str], None] = lambda _words: None,
    ) -> None:
        """Follow symbols.

        Args:
            source: where candles come from.
            pasts: how far each symbol was told before.
            step_ns: length of a bar.
            present: the exchange's present, nanoseconds UTC.
            clock: the machine's.
            speed: how much faster than the machine's the exchange's clock goes.
            say: told when the exchange falls silent, and when it is back.
        """
        self._source, self._present, self._clock, self._speed, self._say = source, present, clock, speed, say
        self._step_ns = step_ns
        self._markets = {symbol: _Market(*past) for symbol, past in pasts.items()}
        self._waiting: deque[Heard] = deque()
        self._due_s = clock.elapsed_s()
        self._silent = 0
        self._silent_since = clock.elapsed_s()
        self._asking: asyncio.Task[None] | None = None

    def now_ns(self) -> int:
        """Return the exchange's present, nanoseconds UTC."""
        return self._present()

    def heard(self) -> dict[str, int]:
        """Return up to which moment each symbol was told, nanoseconds UTC, intervals without trades too; -1: never."""
        return {symbol: market.heard_ns for symbol, market in self._markets.items()}

    @property
    def silent_s(self) -> float:
        """For how long the exchange has not told candles, seconds of its clock; 0 where it answered last."""
        return (self._clock.elapsed_s() - self._silent_since) * self._speed if self._silent else 0.0

    async def next(self, stop: asyncio.Event, most_s: float) -> Heard | None:
        """Return the next tick; None where none comes within so many seconds of the machine's, or it is to stop.

        Raises:
            SafetyRefused: bars were missed that the exchange no longer has.
        """
        if self._waiting:
            return self._waiting.popleft()
        rest = self._due_s - self._clock.elapsed_s()
        if rest > 0 and self._asking is None:
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), min(rest, most_s))
            if stop.is_set() or rest > most_s:
                return None
        if not await self._answered(stop, most_s):
            return None
        return self._waiting.popleft() if self._waiting else None

    async def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._asking

    async def _answered(self, stop: asyncio.Event, most_s: float) -> bool:
        """Wait for an answer for at most so many seconds; a slow exchange must keep nobody from looking up."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({self._asking, stopped}, timeout=most_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        if not self._asking.done():
            return False
        asking, self._asking = self._asking, None
        asking.result()
        return True

    async def _ask(self) -> None:
        """Ask for what is new in every symbol, and settle when to ask again."""
        ticks: list[Tick] = []
        try:
            for symbol, market in self._markets.items():
                candles = await self._source.candles(symbol, market.closed_ns)
                self._check_whole(symbol, market, candles)
                ticks += market.take(candles)
        except Unavailable as error:
            if not self._silent:
                self._silent_since = self._clock.elapsed_s()
                self._say(f"{error}; it is asked again until it answers")
            self._silent += 1
            self._due_s = self._clock.elapsed_s() + min(ASK_S * 2 ** (self._silent - 1), SILENT_MAX_S) / self._speed
        else:
            if self._silent:
                silent_s = self._clock.elapsed_s() - self._silent_since
                self._say(f"the exchange answers again, after {silent_s:.0f} s and {self._silent} attempts")
            self._silent = 0
            self._due_s = self._clock.elapsed_s() + self._pause_s() / self._speed
        now = self._present()
        ticks.sort(key=lambda tick: (tick.at_ns, not tick.complete))
        self._waiting.extend(Heard(tick, max(0, now - tick.at_ns)) for tick in ticks)

    def _check_whole(self, symbol: str, market: _Market, candles: Sequence[Candle]) -> None:
        """Refuse to go on where bars between the last one told and the first that there still is can't be had any more."""
        if not candles or market.closed_ns < 0:
            return
        first = candles[0].bar.opened_ns
        if first > market.closed_ns + self._step_ns and len(candles) >= HISTORY_MAX - 1:
            raise SafetyRefused(
                f"expected the bars of {symbol} after {moment_text(market.closed_ns)}, found that the exchange has none before "
                f"{moment_text(first)} any more; the session can't go on: begin anew with --fresh"
            )

    def _pause_s(self) -> float:
        """Return how many of the exchange's seconds there are until something is due that was not told."""
        now = self._present()
        begun = now // self._step_ns * self._step_ns
        if any(market.opened_ns < begun or market.closed_ns < begun - self._step_ns for market in self._markets.values()):
            # The running bar has had no trade yet, or the last one is not counted as over.
            late_s = (now - begun) / NS
            return SETTLED_S if late_s < SETTLED_S else min(max(ASK_S, late_s / 4), IDLE_S)
        return max((begun + self._step_ns - now) / NS, 0.0) + SETTLED_S
