"""Following a market: every bar once, in order, whatever the exchange's answers look like."""

import asyncio
import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.engine.feed import Tick
from peak_trade.engine.live import HISTORY_MAX, GrowingBars, Heard, LiveFeed, Past
from peak_trade.engine.records import recorded_ticks, tick_record
from peak_trade.journal.chain import Record
from peak_trade.model.bar import Timeframe
from peak_trade.model.clock import PacedClock, moment, nanoseconds
from peak_trade.model.errors import SafetyRefused, Unavailable
from peak_trade.model.instrument import Instrument
from peak_trade.model.order import Candle, MarketBar

NS = 1_000_000_000
STEP_NS = 60 * NS
START_NS = 1_767_225_600 * NS
SYMBOL = "BTC/EUR"
NOTHING_YET = Past(closed_ns=START_NS - 1)


def bar(number: int, price: float = 100.0, symbol: str = SYMBOL) -> MarketBar:
    """Return the bar of a minute."""
    return MarketBar(symbol, START_NS + number * STEP_NS, STEP_NS, price, price + 2, price - 1, price + 1, 3.0)


class Hands:
    """A clock that stands still until it is told to go on; waiting for it takes no time."""

    def __init__(self) -> None:
        self.s = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.s)

    def elapsed_s(self) -> float:
        return self.s


class Exchange:
    """Tells the candles that it is given; those of a failing moment raise."""

    def __init__(self) -> None:
        self.candles_of: dict[str, list[Candle]] = {SYMBOL: []}
        self.asked: list[int] = []
        self.silent = 0

    async def candles(self, symbol: str, after_ns: int) -> Sequence[Candle]:
        self.asked.append(after_ns)
        if self.silent:
            self.silent -= 1
            raise Unavailable("expected an answer, found none")
        return [candle for candle in self.candles_of[symbol] if candle.bar.opened_ns > after_ns][-HISTORY_MAX:]


class Stage:
    """A feed over an exchange, with a clock that a test moves."""

    def __init__(self, past: Past = NOTHING_YET, symbols: Sequence[str] = (SYMBOL,)) -> None:
        self.clock, self.exchange, self.said = Hands(), Exchange(), list[str]()
        self.exchange.candles_of = {symbol: [] for symbol in symbols}
        self.feed = LiveFeed(
            self.exchange,
            dict.fromkeys(symbols, past),
            STEP_NS,
            lambda: START_NS + int(self.clock.s * NS),
            self.clock,
            say=self.said.append,
        )

    def hear(self) -> list[Heard]:
        """Return everything that the feed tells now; the clock goes on to when it asks next."""

        async def all_of_it() -> list[Heard]:
            found = []
            self.clock.s = max(self.clock.s, self.feed._due_s)
            while (heard := await self.feed.next(asyncio.Event(), 0.0)) is not None:
                found.append(heard)
            return found

        return asyncio.run(all_of_it())

    def at(self, seconds: float) -> None:
        self.clock.s = seconds


def names(heard: list[Heard]) -> list[tuple[int, bool]]:
    """Return the minutes of ticks, and whether their bars are complete."""
    return [((one.tick.bar.opened_ns - START_NS) // STEP_NS, one.tick.complete) for one in heard]


def test_history_comes_first_and_each_bar_once():
    """What is over is opened and completed; the running bar is opened with its first price only."""
    stage = Stage()
    stage.at(125)
    stage.exchange.candles_of[SYMBOL] = [Candle(bar(0), True, True), Candle(bar(1), True, True), Candle(bar(2), False, True)]

    heard = stage.hear()

    assert names(heard) == [(0, False), (0, True), (1, False), (1, True), (2, False)]
    assert [one.tick.number for one in heard] == [0, 0, 1, 1, 2]
    assert heard[-1].tick.bar == bar(2)._replace(high=100.0, low=100.0, close=100.0, volume=0.0)
    assert heard[3].tick.bar == bar(1)
    assert [one.late_ns // NS for one in heard] == [125, 65, 65, 5, 5]
    assert stage.hear() == []


def test_the_running_bar_is_completed_when_the_exchange_says_so():
    """Not by the clock: what may still change is not decided on."""
    stage = Stage()
    stage.exchange.candles_of[SYMBOL] = [Candle(bar(0), False, True)]
    stage.hear()
    stage.at(60.3)

    assert stage.hear() == []
    stage.exchange.candles_of[SYMBOL] = [Candle(bar(0, 101.0), True, True), Candle(bar(1), False, False)]
    heard = stage.hear()
    assert names(heard) == [(0, True)]
    assert heard[0].tick.bar == bar(0, 101.0)


def test_an_interval_without_trades_has_no_bar():
    """Neither while it runs nor when it is over, and the numbers go on without it."""
    stage = Stage()
    stage.at(190)
    stage.exchange.candles_of[SYMBOL] = [
        Candle(bar(0), True, True),
        Candle(bar(1), True, False),
        Candle(bar(2), True, True),
        Candle(bar(3), False, False),
    ]

    heard = stage.hear()

    assert names(heard) == [(0, False), (0, True), (2, False), (2, True)]
    assert heard[-1].tick.number == 1


def test_silence_is_told_once_and_ends_with_what_was_missed():
    """The pauses between attempts grow, and end."""
    stage = Stage()
    stage.exchange.silent = 8
    times = []
    for _ in range(8):
        assert stage.hear() == []
        times.append(stage.clock.s)
    stage.exchange.candles_of[SYMBOL] = [Candle(bar(0), True, True), Candle(bar(1), True, True)]

    assert names(stage.hear()) == [(0, False), (0, True), (1, False), (1, True)]
    assert [after - before for before, after in itertools.pairwise(times)] == [1, 2, 4, 8, 16, 30, 30]
    assert len(stage.said) == 2
    assert "it is asked again" in stage.said[0]
    assert "answers again" in stage.said[1]


def test_it_goes_on_after_what_was_told_before():
    """A bar that was opened by another process is only completed, with its number."""
    stage = Stage(Past(bars=7, closed_ns=START_NS, opened_ns=START_NS + STEP_NS))
    stage.at(130)
    stage.exchange.candles_of[SYMBOL] = [Candle(bar(n), n < 2, True) for n in range(3)]

    heard = stage.hear()

    assert names(heard) == [(1, True), (2, False)]
    assert [one.tick.number for one in heard] == [7, 8]


@pytest.mark.parametrize(("missing", "refused"), [(0, False), (1, True)])
def test_bars_that_are_gone_for_good_end_it(missing, refused):
    """The exchange keeps so many and no more: a hole before them can't be told from a quiet market."""
    stage = Stage(Past(bars=1, closed_ns=START_NS, opened_ns=START_NS))
    last = HISTORY_MAX + missing
    stage.exchange.candles_of[SYMBOL] = [Candle(bar(n), n < last, True) for n in range(1, last + 1)]
    stage.at(60 * last + 1)

    if refused:
        with pytest.raises(SafetyRefused, match="begin anew"):
            stage.hear()
    else:
        assert names(stage.hear())[0] == (1, False)


def test_several_symbols_are_told_in_the_order_of_time():
    """Bars that complete come before bars that open at the same moment."""
    stage = Stage(symbols=(SYMBOL, "ETH/EUR"))
    stage.at(65)
    for symbol in (SYMBOL, "ETH/EUR"):
        stage.exchange.candles_of[symbol] = [
            Candle(bar(0, symbol=symbol), True, True),
            Candle(bar(1, symbol=symbol), False, True),
        ]

    heard = stage.hear()

    assert names(heard) == [(0, False), (0, False), (0, True), (0, True), (1, False), (1, False)]


def test_it_does_not_ask_more_often_than_there_is_something_to_know():
    """With the running bar open, nothing is due before it ends; while something is missing it asks about once a second."""
    stage = Stage()
    stage.exchange.candles_of[SYMBOL] = [Candle(bar(0), False, True)]
    stage.at(5)
    stage.hear()
    asked = len(stage.exchange.asked)
    stage.hear()
    assert stage.clock.s == pytest.approx(60.25)
    assert len(stage.exchange.asked) == asked + 1
    for _ in range(10):
        stage.hear()
    assert 65 < stage.clock.s < 80


def test_it_stops_waiting_when_it_is_told_to():
    """And when there is something else to look at."""
    stage = Stage()
    stage.exchange.candles_of[SYMBOL] = [Candle(bar(0), False, True)]
    stage.hear()

    async def stopped() -> None:
        stop = asyncio.Event()
        stop.set()
        assert await stage.feed.next(stop, 1_000.0) is None
        assert await stage.feed.next(asyncio.Event(), 0.0) is None

    before = len(stage.exchange.asked)
    asyncio.run(stopped())
    assert len(stage.exchange.asked) == before


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=40))
def test_however_the_answers_come_the_bars_are_the_same(steps):
    """Answers at any moments give the same ticks as one answer at the end."""
    stage, now = Stage(), 0
    traded = [one for one, _ in steps]
    found: list[Tick] = []
    for _, minutes in steps:
        now += minutes
        stage.exchange.candles_of[SYMBOL] = [
            Candle(bar(n, 100.0 + n), n < now, n >= len(traded) or traded[n]) for n in range(now + 1)
        ]
        stage.at(now * 60 + 1)
        stage.feed._due_s = stage.clock.s
        found += [one.tick for one in stage.hear()]
    whole = Stage()
    whole.exchange.candles_of, whole.clock.s = stage.exchange.candles_of, stage.clock.s

    assert found == [one.tick for one in whole.hear()]


def test_growing_bars_are_bars():
    """Any slice of what was added so far."""
    instrument, minute = Instrument(symbol=SYMBOL), Timeframe.parse("1m")
    growing = GrowingBars(instrument, minute)
    for number in range(2_500):
        growing.add(bar(number, 100.0 + number))

    assert len(growing) == 2_500
    part = growing[:1_500]
    assert (len(part), part.close[-1], part.timestamp[0]) == (1_500, 1_600.0, START_NS)
    assert growing[:].sha256() == GrowingBars(instrument, minute, [bar(n, 100.0 + n) for n in range(2_500)])[:].sha256()


@given(st.floats(1e-9, 1e9), st.booleans())
def test_a_bar_comes_back_from_its_record_to_the_last_bit(price, complete):
    """Also prices that no decimal of few digits has."""
    one = MarketBar(SYMBOL, START_NS, STEP_NS, price, price * 1.1, price * 0.9, price * 1.05, price / 3)
    told = one if complete else one._replace(high=price, low=price, close=price, volume=0.0)
    kind, body = tick_record(Tick(one, 0, complete))
    record = Record(seq=1, at="", kind=kind, body=body, prev="", sha256="")

    assert list(recorded_ticks([record])) == [Tick(told, 0, complete)]


def test_an_exchanges_clock_goes_at_its_own_pace():
    """Begun at a moment, it goes so many times as fast."""
    clock = Hands()
    there = PacedClock(clock, moment(START_NS), 60.0)
    clock.s += 2.5

    assert nanoseconds(there.now()) == START_NS + 150 * NS
    assert there.elapsed_s() == 2.5
