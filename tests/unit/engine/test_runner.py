"""A runner over a market that falls silent: watches are asked while it waits, and a session is never running while blind."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest
from tests.trading import START_NS, SYMBOL, Pages, a_leg, a_plan, a_venue

from peak_trade.engine import live
from peak_trade.engine.engine import Engine
from peak_trade.engine.live import GrowingBars, LiveFeed, Past
from peak_trade.engine.runner import Course, Outlook, Runner
from peak_trade.engine.tape import Tape
from peak_trade.model.bar import Timeframe
from peak_trade.model.errors import Unavailable
from peak_trade.model.instrument import Instrument
from peak_trade.model.order import Candle, MarketBar
from peak_trade.risk.gate import Mode
from peak_trade.risk.triggers import NS, Firing, SilenceWatch, Thresholds

STEP_NS = 60 * NS
GIVEN = Thresholds(
    api_error_pct=Decimal(10),
    api_error_window_ns=300 * NS,
    api_errors_min=3,
    api_requests_min=10,
    pnl_divergence_pct=Decimal(50),
    data_gap_ns=300 * NS,
)


class Running:
    """A clock that goes on by some seconds each time it is asked, so that waiting takes no time."""

    def __init__(self) -> None:
        self.s = 0.0

    def now(self) -> datetime:
        return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=self.s)

    def elapsed_s(self) -> float:
        self.s += 0.5
        return self.s


class Exchange:
    """Tells a bar a minute; within some spans of time, in seconds, it does not answer, or only that nothing is new."""

    def __init__(self, clock: Running, dead: Sequence[tuple[float, float]], *, answers: bool) -> None:
        self.clock, self.dead, self.answers = clock, dead, answers

    async def candles(self, symbol: str, after_ns: int) -> Sequence[Candle]:
        now = self.clock.s
        for begun, end in self.dead:
            if begun <= now < end:
                if not self.answers:
                    raise Unavailable("expected an answer, found none")
                now = begun
        stamps = (START_NS + number * STEP_NS for number in range(int(now // 60) + 1))
        bars = (MarketBar(symbol, stamp, STEP_NS, 100.0, 101.0, 99.0, 100.0, 1.0) for stamp in stamps)
        return [Candle(bar, bar.closed_ns <= START_NS + now * NS, True) for bar in bars if bar.opened_ns > after_ns]


class Buyer:
    """Wants in and out in turn."""

    def targets(self, number: int) -> tuple[tuple[int, float], ...]:
        return ((0, float(number // 2 % 2)),)


def follow(clock: Running, exchange: Exchange, looks: int) -> tuple[Engine, Pages, list[tuple[Mode, Firing | None]]]:
    """Run for so many looks; return the engine, its journal, and at each look the mode before it and what fired."""
    pages = Pages()
    plan = a_plan(a_leg())
    engine = Engine(plan, a_venue(), pages, Tape(), clock)
    feed = LiveFeed(exchange, {SYMBOL: Past(closed_ns=START_NS - 1)}, STEP_NS, lambda: START_NS + int(clock.s * NS), clock)
    silence = SilenceWatch([SYMBOL], STEP_NS, START_NS, GIVEN)
    seen: list[tuple[Mode, Firing | None]] = []

    def watch() -> Firing | None:
        silence.hear(SYMBOL, feed.heard()[SYMBOL])
        found = silence.firing(START_NS + int(clock.s * NS))
        seen.append((engine.state.mode, found))
        if len(seen) == looks:
            session._stop.set()
        return found

    outlook = Outlook(
        series={SYMBOL: GrowingBars(Instrument(symbol=SYMBOL), Timeframe.parse("1m"))},
        deciders={SYMBOL: Buyer()},
        traded_from=0,
        course=Course(),
        speed=None,
        heartbeat=None,
        max_clock_skew=timedelta.max,
        sign=lambda: None,
        progress=lambda _ticks: None,
        watches=(watch,),
        past=[],
        live=feed,
        look_s=0.0005,
    )
    session = Runner(engine, outlook, clock)

    async def run() -> None:
        await session.run()
        await feed.close()

    asyncio.run(run())
    return engine, pages, seen


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Wait for next to nothing."""
    monkeypatch.setattr(live, "SETTLED_S", 0.0)


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_a_session_is_never_running_while_blind(seed, answers):
    """At the first look that finds the market silent for too long it is restricted, for good, and nothing is opened."""
    draw = Random(seed)
    begun = draw.uniform(0, 600)
    lasts = draw.choice([200.0, 330.0, 500.0, 2_000.0])
    clock = Running()

    engine, pages, seen = follow(clock, Exchange(clock, [(begun, begun + lasts)], answers=answers), 700)

    first = next((place for place, (_, fired) in enumerate(seen) if fired), None)
    if first is None:
        assert lasts < 420
        assert engine.state.mode is Mode.RUNNING
        return
    assert lasts > 240
    assert all(mode is Mode.RUNNING for mode, _ in seen[: first + 1])
    assert all(mode is Mode.RESTRICTED for mode, _ in seen[first + 1 :])
    [tripped] = pages.of("tripped")
    assert (tripped["code"], float(tripped["evidence"]["late_s"]) >= 300) == ("data_gap", True)
    entries = [body for body in pages.of("sending") if body["tick"] > tripped["tick"] and not body["intent"]["reduce_only"]]
    assert entries == []


def test_a_silent_market_from_the_beginning_is_noticed():
    """Before the first bar nothing was asked of the venue; the demand is written all the same."""
    clock = Running()

    engine, pages, _ = follow(clock, Exchange(clock, [(0, 1e9)], answers=False), 700)

    assert (engine.state.mode, engine.tick) == (Mode.RESTRICTED, 0)
    assert [body["code"] for body in pages.of("tripped")] == ["data_gap"]


def test_a_slow_answer_keeps_nobody_waiting():
    """While an exchange takes its time nothing is told and nothing waits; the answer is taken when it is there."""
    clock = Running()
    bar = MarketBar(SYMBOL, START_NS, STEP_NS, 100.0, 101.0, 99.0, 100.0, 1.0)

    async def tried() -> None:
        gate = asyncio.Event()
        asked = 0

        class Slow:
            async def candles(self, _symbol: str, _after_ns: int) -> Sequence[Candle]:
                nonlocal asked
                asked += 1
                await gate.wait()
                return [Candle(bar, True, True)]

        feed = LiveFeed(Slow(), {SYMBOL: Past(closed_ns=START_NS - 1)}, STEP_NS, lambda: START_NS, clock)
        stop = asyncio.Event()
        for _ in range(3):
            assert await feed.next(stop, 0.001) is None
        assert (asked, feed.heard()) == (1, {SYMBOL: -1})
        gate.set()
        assert (await feed.next(stop, 10.0)).tick.bar.opened_ns == START_NS
        assert feed.heard() == {SYMBOL: bar.closed_ns}
        gate.clear()
        feed._waiting.clear()
        clock.s += 1_000
        assert await feed.next(stop, 0.001) is None
        await feed.close()
        stop.set()

    asyncio.run(tried())
