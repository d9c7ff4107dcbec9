"""A session from its first bar to its end: the trading loop, its heartbeat and its signals.

The first SIGINT or SIGTERM ends it gracefully: what is in flight is finished, working orders are cancelled, books are marked.
The second ends it at once; then the journal ends in the middle and the same command goes on from there.
"""

import asyncio
import gc
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, unique
from typing import NamedTuple

from peak_trade.engine.decider import Decider
from peak_trade.engine.engine import Engine
from peak_trade.engine.feed import Pace, Tick, ticks
from peak_trade.engine.live import GrowingBars, LiveFeed
from peak_trade.engine.records import MARK, tick_record
from peak_trade.engine.state import Retire, Tripped
from peak_trade.model.bar import Bars
from peak_trade.model.clock import Clock
from peak_trade.model.errors import ContractBroken, SafetyRefused, StorageError, Unavailable
from peak_trade.model.kill_level import KillLevel
from peak_trade.model.order import MarketBar
from peak_trade.risk.gate import Mode, farther
from peak_trade.risk.triggers import Firing, core_exception
from peak_trade.venue.port import CONTRACT_BROKEN

#: Ticks between two looks at signals, heartbeat and kill switch where nothing is waited for, and seconds where it is.
_TURN, _LOOK_S = 256, 1.0
#: Seconds between two questions to what watches a session.
_WATCH_S = 1.0
#: Completed bars and seconds between two marks in the journal, whatever is over first, and seconds between two signed heads.
_MARK_BARS, _MARK_S, _SIGN_S = 1_000, 5.0, 30.0


#: What stands in the journal for a session that the kill switch killed.
KILL_SWITCH = "kill_switch"
#: What an operator is told of each level of it.
_KILLED_WORDS = {
    KillLevel.NO_NEW: "nothing that could enlarge a position is sent now, and what works stays",
    KillLevel.REDUCE_ONLY: "positions may only be reduced now",
    KillLevel.CANCEL_ALL: "every order is called back, and nothing is sent now",
    KillLevel.FLATTEN: "every order is called back and every position closed",
}


class Killing(NamedTuple):
    """Why everything is to stop, in words, and how far."""

    words: str
    level: KillLevel = KillLevel.REDUCE_ONLY


#: Something that watches a session: tells what fired, None while nothing does.
Watch = Callable[[], Firing | None]


@unique
class EndedBy(Enum):
    """What ended a session."""

    DATA = "the end of the data"
    STEPS = "the number of steps"
    DURATION = "the duration"
    ORDERS = "the number of orders"
    SIGNAL = "a signal"
    SETTLED = "the journal: it had been ending when its process died"


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How far a session goes: completed bars of its first symbol, seconds on the wall clock, orders; None has no limit."""

    steps: int | None = None
    duration_s: float | None = None
    orders: int | None = None


class Mark(NamedTuple):
    """Equity at the close of a bar."""

    at_ns: int
    equity: float


class Marks:
    """The equity at the close of bars: of so many bars in a row the lowest and the highest, and the last one of all.

    It never holds more than a fixed number of marks: when it is full, each two rows become one.
    """

    ROWS_MAX = 10_000

    def __init__(self) -> None:
        self._lows: list[Mark] = []
        self._highs: list[Mark] = []
        self._row = 1
        self._filled = 0
        self._last: tuple[int, float] | None = None

    def add(self, at_ns: int, equity: float) -> None:
        """Take the equity of a bar."""
        self._last = (at_ns, equity)
        if self._filled == self._row or not self._lows:
            if len(self._lows) == self.ROWS_MAX:
                self._halve()
            self._filled = 0
            self._lows.append(Mark(at_ns, equity))
            self._highs.append(self._lows[-1])
        elif equity < self._lows[-1].equity:
            self._lows[-1] = Mark(at_ns, equity)
        elif equity > self._highs[-1].equity:
            self._highs[-1] = Mark(at_ns, equity)
        self._filled += 1

    def points(self) -> list[Mark]:
        """Return the marks in the order of time, each once."""
        last = [Mark(*self._last)] if self._last else []
        return sorted({*self._lows, *self._highs, *last})

    def _halve(self) -> None:
        pairs = range(0, self.ROWS_MAX, 2)
        self._lows = [min(self._lows[place : place + 2], key=lambda mark: mark.equity) for place in pairs]
        self._highs = [max(self._highs[place : place + 2], key=lambda mark: mark.equity) for place in pairs]
        self._row *= 2


class LeaseLost(SafetyRefused):
    """Another process may act for this account by now: nothing more is sent or written."""


class Heartbeat(NamedTuple):
    """Keeps the session's lease: *beat* prolongs it and tells whether it was still ours."""

    beat: Callable[[], bool]
    lease_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a runner needs besides the engine.

    Attributes:
        series: bars by symbol; the first is the one whose bars count as steps.
        past: what was told before, in its order, of a session that follows a market; None: the bars of the series.
        live: tells what happens from now on; None where the series is all there is.
        take: given each complete bar of a market that is followed, before it is decided on.
        look_s: seconds between two looks at the venue and the kill switch while nothing comes.
        deciders: the strategies' targets by symbol.
        traded_from: first bar of the first symbol that may be decided on, by number.
        sign: signs the journal's head.
        progress: told the number of ticks worked through now and then; say: told what an operator should read.
        killed: tells why everything is to stop, None where nothing is; asked often.
        demands: tells what people ask of the session since it was asked last; asked as often.
        watches: each tells what fired, asked about every second; what fired once is not asked for again.
    """

    series: Mapping[str, Bars | GrowingBars]
    deciders: Mapping[str, Decider]
    traded_from: int
    course: Course
    speed: float | None
    heartbeat: Heartbeat | None
    max_clock_skew: timedelta
    sign: Callable[[], object]
    progress: Callable[[int], None]
    say: Callable[[str], None] = lambda _words: None
    killed: Callable[[], Killing | None] = lambda: None
    demands: Callable[[], Sequence[Tripped | Retire]] = lambda: ()
    watches: Sequence[Watch] = ()
    past: Sequence[Tick] | None = None
    live: LiveFeed | None = None
    take: Callable[[MarketBar], None] = lambda _bar: None
    look_s: float = _LOOK_S

    def ticks(self) -> Iterator[Tick]:
        """Return what is known beforehand."""
        if self.past is not None:
            return iter(self.past)
        return ticks({symbol: bars for symbol, bars in self.series.items() if isinstance(bars, Bars)})


class Runner:
    """Runs one session."""

    def __init__(self, engine: Engine, outlook: Outlook, clock: Clock) -> None:
        self.engine, self._outlook, self._clock = engine, outlook, clock
        self.marks = Marks()
        self.completed = 0
        self._stop = asyncio.Event()
        self._stopped_by = EndedBy.SIGNAL
        self._over = asyncio.Event()
        self._hard = False
        self._seen = (clock.now(), clock.elapsed_s())
        self._kept = clock.elapsed_s()
        self._marked = (0, clock.elapsed_s())
        self._watched_s = clock.elapsed_s()
        self._fired: set[str] = set()

    async def run(self) -> EndedBy:
        """Run to the end and settle.

        Raises:
            KeyboardInterrupt: a second signal came.
            SafetyRefused: the lease was lost or the clock jumped; the session was settled.
            PeakTradeError: whatever else stopped it; what is in the journal stays.
        """
        handled = self._listen()
        # What was loaded before the first bar lives to the end: to look through it again and again costs several us an order.
        gc.freeze()
        limit = self._outlook.course.duration_s
        timer = None if limit is None else asyncio.get_running_loop().call_later(limit, self._expire)
        trading = asyncio.create_task(self._trade_and_settle())
        watching = [asyncio.create_task(self._beat()), asyncio.create_task(self._tend())]
        self._trading = trading
        try:
            await asyncio.wait({trading, *watching}, return_when=asyncio.FIRST_COMPLETED)
            if not trading.done():
                trading.cancel()
            ended = (await asyncio.gather(trading, return_exceptions=True))[0]
            self._over.set()
            faults = await asyncio.gather(*watching, return_exceptions=True)
        finally:
            gc.unfreeze()
            if timer is not None:
                timer.cancel()
            for number in handled:
                asyncio.get_running_loop().remove_signal_handler(number)
        if self._hard:
            raise KeyboardInterrupt
        for error in (*faults, ended):
            if isinstance(error, Exception):
                await self._stop_safely(error)
            if isinstance(error, BaseException):
                raise error
        return ended if isinstance(ended, EndedBy) else EndedBy.DATA

    async def _trade_and_settle(self) -> EndedBy:
        try:
            ended = await self._trade()
            await self.engine.settle()
            self._stop_if_broken()
        finally:
            self._over.set()
        return ended

    def _listen(self) -> list[signal.Signals]:
        loop, handled = asyncio.get_running_loop(), []
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(number, self._signalled)
            except (RuntimeError, ValueError, NotImplementedError):
                continue  # not the main thread: whoever runs us there stops us by other means
            handled.append(number)
        return handled

    def _expire(self) -> None:
        if not self._stop.is_set():
            self._stopped_by = EndedBy.DURATION
            self._stop.set()

    def _signalled(self) -> None:
        if self._stop.is_set() and self._stopped_by is EndedBy.SIGNAL:
            self._hard = True
            self._trading.cancel()
            return
        self._outlook.say("ending: what is in flight is finished, working orders are cancelled; once more stops at once")
        self._stopped_by = EndedBy.SIGNAL
        self._stop.set()

    async def _trade(self) -> EndedBy:
        engine, outlook, stop = self.engine, self._outlook, self._stop
        pace = Pace(self._clock, outlook.speed)
        first = next(iter(outlook.series))
        started = False
        if await engine.catch_up():
            return EndedBy.SETTLED
        number = 0
        for number, tick in enumerate(outlook.ticks(), 1):
            live = not engine.replaying
            if live and not started and tick.bar.symbol == first and tick.number >= outlook.traded_from:
                started = True
                pace.start(tick.at_ns)
            late_ns = await self._wait(pace, tick.at_ns) if started and pace.timed else 0
            if number % _TURN == 0 or (started and pace.timed):
                await self._look_around(number)
            if live and stop.is_set():
                return self._stopped_by
            await self._beat_when_overdue()
            if not tick.complete:
                await engine.open_bar(tick.bar)
                self._stop_if_broken()
                if not live and await engine.catch_up():
                    return EndedBy.SETTLED
                continue
            await self._complete(tick, late_ns)
            if tick.bar.symbol == first:
                self.completed = tick.number + 1
            if not live and await engine.catch_up():
                return EndedBy.SETTLED
            if tick.bar.symbol == first and not engine.replaying and self._enough():
                return EndedBy.STEPS
        return EndedBy.DATA if outlook.live is None else await self._follow(outlook.live, number)

    async def _follow(self, feed: LiveFeed, number: int) -> EndedBy:
        """Work through what a market does from now on."""
        engine, outlook, stop = self.engine, self._outlook, self._stop
        first = next(iter(outlook.series))
        while not stop.is_set():
            heard = await feed.next(stop, outlook.look_s)
            await self._look_around(number)
            # In this task's own turn: what must stop when the loop stands still hangs on it.
            await engine.hear()
            if heard is None:
                continue
            await self._beat_when_overdue()
            number += 1
            tick = heard.tick
            # Written before it is told: what is decided on it must come out again when it is played back.
            engine.remark(*tick_record(tick))
            if not tick.complete:
                await engine.open_bar(tick.bar)
                self._stop_if_broken()
                continue
            outlook.take(tick.bar)
            # What belongs to the warm-up is old, and nothing is decided on it.
            await self._complete(tick, heard.late_ns if tick.number >= outlook.traded_from else 0)
            if tick.bar.symbol == first:
                self.completed = tick.number + 1
                if self._enough():
                    return EndedBy.STEPS
            if outlook.course.orders is not None and engine.state.counts.get("orders", 0) >= outlook.course.orders:
                return EndedBy.ORDERS
        return self._stopped_by

    def _enough(self) -> bool:
        """Tell whether as many bars were traded as the session is to last."""
        steps = self._outlook.course.steps
        return steps is not None and self.completed - self._outlook.traded_from >= steps

    async def _beat_when_overdue(self) -> None:
        heartbeat = self._outlook.heartbeat
        if heartbeat is not None and self._clock.elapsed_s() - self._kept > heartbeat.lease_s:
            await self._beat_once(heartbeat)

    async def _wait(self, pace: Pace, at_ns: int) -> int:
        """Wait until a tick is due, with an eye on the kill switch; return how late it is, nanoseconds."""
        while (late_ns := await pace.wait(at_ns, self._stop, _LOOK_S)) is None:
            await self._heed()
        return late_ns

    async def _heed(self) -> None:
        """Heed what stops the session, or a part of it: for good, and between two events, never within one.

        What is played back had its own day.
        """
        engine, outlook = self.engine, self._outlook
        if engine.replaying:
            return
        if (killing := outlook.killed()) is not None and self._goes_further(killing):
            outlook.say(f"killed: {killing.words}; {_KILLED_WORDS[killing.level]}, until the session ends")
            await engine.trip(Tripped(Mode.KILLED, KILL_SWITCH, killing.words, level=killing.level))
        for demand in outlook.demands():
            outlook.say(demand.words)
            await engine.trip(demand)
        if self._clock.elapsed_s() - self._watched_s >= _WATCH_S:
            self._watched_s = self._clock.elapsed_s()
            await self._ask_watches()

    def _goes_further(self, killing: Killing) -> bool:
        state = self.engine.state
        return state.mode is not Mode.KILLED or farther(state.reach, killing.level) is not state.reach

    async def _ask_watches(self) -> None:
        """Heed what fires; each trigger once, because what it demands stays until the session ends."""
        for watch in self._outlook.watches:
            firing = watch()
            if firing is None or firing.code in self._fired:
                continue
            self._fired.add(firing.code)
            self._outlook.say(f"{firing.mode.value}: {firing.words}")
            await self.engine.trip(Tripped(*firing))

    async def _complete(self, tick: Tick, late_ns: int) -> None:
        targets = self._outlook.deciders[tick.bar.symbol].targets(tick.number)
        await self.engine.close_bar(tick.bar, targets, late_ns)
        state = self.engine.state
        self.marks.add(tick.at_ns, float(state.equity))
        self._stop_if_broken()
        if state.bars - self._marked[0] >= _MARK_BARS:
            self._mark()

    def _stop_if_broken(self) -> None:
        """Stop where the venue refused to go on.

        Raises:
            SafetyRefused: it did.
        """
        if self.engine.broken is not None:
            raise self.engine.broken

    def _mark(self) -> None:
        """Write down how far the session is: whoever reads its journal while it runs can tell."""
        state = self.engine.state
        self.engine.remark(MARK, {"bars": state.bars, "equity": str(state.equity), "mode": state.mode.value})
        self._marked = (state.bars, self._clock.elapsed_s())

    async def _look_around(self, number: int) -> None:
        """Let signals and the heartbeat have their turn, and look at the clock and the kill switch."""
        await asyncio.sleep(0)
        self._outlook.progress(number)
        self._watch_clock()
        await self._heed()
        bars, at = self._marked
        if self.engine.state.bars > bars and self._clock.elapsed_s() - at >= _MARK_S:
            self._mark()

    async def _tend(self) -> None:
        """Sign the journal's head and look at the clock now and then, also while no bar comes."""
        while not self._over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), _SIGN_S)
            if self._over.is_set():
                return
            self._watch_clock()
            if not self.engine.replaying:
                self._outlook.sign()

    def _watch_clock(self) -> None:
        """Stop where the machine's clock went back: ages and days would no longer mean anything."""
        (then, ticked), (now, ticks_now) = self._seen, (self._clock.now(), self._clock.elapsed_s())
        behind = then + timedelta(seconds=ticks_now - ticked) - now
        if now < then and behind > self._outlook.max_clock_skew:
            raise SafetyRefused(
                f"expected the machine's clock to go on, found that it jumped back by {(then - now).total_seconds():.1f} s; "
                "the session was ended: set the clock right, then start again"
            )
        self._seen = (now, ticks_now)

    async def _beat(self) -> None:
        """Prolong the lease three times as often as it needs; end the session when it is lost."""
        heartbeat = self._outlook.heartbeat
        if heartbeat is None:
            await self._over.wait()
            return
        while not self._over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), heartbeat.lease_s / 3)
            if self._over.is_set():
                return
            try:
                await self._beat_once(heartbeat)
            except StorageError:
                if self._clock.elapsed_s() - self._kept >= heartbeat.lease_s:
                    raise

    async def _beat_once(self, heartbeat: Heartbeat) -> None:
        """Prolong the lease.

        Raises:
            LeaseLost: it was no longer ours.
        """
        if not await asyncio.to_thread(heartbeat.beat):
            raise LeaseLost(
                "expected this session to be running, found it closed as aborted while this process stood still; "
                "nothing more was sent: start again"
            )
        self._kept = self._clock.elapsed_s()

    async def _stop_safely(self, error: Exception) -> None:
        """Cancel what works, as far as that is still possible; what nobody foresaw pauses first.

        After a refused write the state is ahead of the journal, and before books and venue were compared nothing may be
        sent: then nothing more is done, so that the same command goes on.
        """
        if isinstance(error, StorageError | LeaseLost | Unavailable) or not self.engine.compared:
            return
        try:
            if isinstance(error, ContractBroken):
                await self.engine.trip(Tripped(Mode.KILLED, CONTRACT_BROKEN, str(error)))
            elif (firing := core_exception(error)) is not None:
                await self.engine.trip(Tripped(*firing))
            await self.engine.settle(fault=str(error))
        except Exception as second:  # noqa: BLE001 - the first error is the one to tell
            error.add_note(f"it could not be settled either: {second}")
