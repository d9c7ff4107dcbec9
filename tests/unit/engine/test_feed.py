"""The feed: bars as moments in order, at any speed."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.builders import START_NS, an_instrument, some_bars
from tests.trading import HOUR_NS

from peak_trade.engine.feed import Pace, Tick, market_bars, ticks

MINUTE_NS = HOUR_NS // 60


def bars_at(symbol, minutes, timeframe="1m"):
    """Return bars that open at these minutes."""
    stamps = [START_NS + minute * MINUTE_NS for minute in minutes]
    return some_bars(timestamp=stamps, timeframe=timeframe, instrument=an_instrument(symbol))


def told(series):
    """Return the moments as minute, symbol and whether a bar completes or opens."""
    return [
        ((tick.at_ns - START_NS) // MINUTE_NS, tick.bar.symbol[0], "close" if tick.complete else "open")
        for tick in ticks(series)
    ]


def test_bars_come_as_plain_numbers():
    """Each bar has its own prices, volume, moment and length, also beyond the number that is turned at a time."""
    bars = some_bars(4_100, seed=3)

    found = list(market_bars(bars))

    assert len(found) == 4_100
    for number in (0, 1, 4_095, 4_096, 4_099):
        bar = found[number]
        assert (bar.symbol, bar.opened_ns, bar.step_ns) == ("BTC/EUR", int(bars.timestamp[number]), HOUR_NS)
        assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == (
            bars.open[number],
            bars.high[number],
            bars.low[number],
            bars.close[number],
            bars.volume[number],
        )
        assert {type(value) for value in bar[3:]} == {float}


def test_a_bar_opens_and_completes():
    """Of one symbol: opening, completion, next opening, also across a gap; bars are numbered."""
    found = list(ticks({"A": bars_at("AA/EUR", [0, 1, 5])}))

    assert [(tick.number, tick.complete) for tick in found] == [(n, done) for n in range(3) for done in (False, True)]
    assert [(tick.at_ns - START_NS) // MINUTE_NS for tick in found] == [0, 1, 1, 2, 5, 6]


def test_at_one_moment_bars_complete_before_others_open():
    """What a close decides is known before any next bar opens, whatever symbol comes first."""
    for names in (["AA/EUR", "BB/EUR"], ["BB/EUR", "AA/EUR"]):
        found = told({name: bars_at(name, [0, 1]) for name in names})

        assert [(minute, what) for minute, _, what in found] == [
            (0, "open"),
            (0, "open"),
            (1, "close"),
            (1, "close"),
            (1, "open"),
            (1, "open"),
            (2, "close"),
            (2, "close"),
        ]
        assert [symbol for _, symbol, _ in found[:2]] == [name[0] for name in names]


def test_symbols_may_have_steps_of_their_own():
    """A long bar completes at its own time, before what opens then."""
    found = told({"A": bars_at("AA/EUR", [0, 1, 2, 3, 4, 5]), "B": bars_at("BB/EUR", [0, 5], "5m")})

    moment = [(symbol, what) for minute, symbol, what in found if minute == 5]
    assert moment == [("A", "close"), ("B", "close"), ("A", "open"), ("B", "open")]


minutes = st.lists(st.integers(0, 30), min_size=1, max_size=15, unique=True).map(sorted)


@settings(max_examples=60, derandomize=True, database=None, deadline=None)
@given(minutes, minutes, minutes)
def test_any_series_come_in_the_order_of_time(one, two, three):
    """Nothing is lost or told twice, time never goes back, and closes come before opens."""
    names = ("AA/EUR", "BB/EUR", "CC/EUR")
    series = {name: bars_at(name, stamps) for name, stamps in zip(names, (one, two, three), strict=True)}

    found = list(ticks(series))

    order = [(tick.at_ns, not tick.complete) for tick in found]
    assert order == sorted(order)
    for name, bars in series.items():
        mine = [tick for tick in found if tick.bar.symbol == name]
        single = [Tick(bar, n, done) for n, bar in enumerate(market_bars(bars)) for done in (False, True)]
        assert mine == single


class SetClock:
    """A clock that is set by hand."""

    def __init__(self):
        self.at_s = 100.0

    def elapsed_s(self):
        return self.at_s


def waited(pace, at_ns, *, stopped=True):
    """Return how late a moment is; a wait for one that is still to come ends at once where *stopped*."""

    async def wait():
        stop = asyncio.Event()
        if stopped:
            stop.set()
        return await pace.wait(at_ns, stop)

    return asyncio.run(wait())


@pytest.mark.parametrize(("speed", "late_s"), [(1.0, 5.0), (10.0, 14.0)])
def test_a_moment_that_is_overdue_is_late(speed, late_s):
    """Ten seconds of the record last ten at speed one, one at speed ten; what is beyond is lateness."""
    clock = SetClock()
    pace = Pace(clock, speed)
    pace.start(START_NS)
    clock.at_s += 15.0

    assert waited(pace, START_NS + 10_000_000_000) == late_s * 1_000_000_000


def test_a_moment_to_come_is_not_late():
    """It is waited for; a stop ends the wait."""
    pace = Pace(SetClock(), 1.0)
    pace.start(START_NS)

    assert waited(pace, START_NS + 10_000_000_000) == 0


def test_a_moment_that_is_due_is_not_late():
    """The moment of the start is now."""
    pace = Pace(SetClock(), 1.0)
    pace.start(START_NS)

    assert waited(pace, START_NS, stopped=False) == 0


def test_without_a_speed_nothing_is_waited_for():
    """As fast as can be: never late, never early."""
    pace = Pace(SetClock(), None)
    pace.start(START_NS)

    assert not pace.timed
    assert Pace(SetClock(), 1.0).timed
    assert waited(pace, START_NS + 10**18, stopped=False) == 0


def test_before_the_start_nothing_is_due():
    """A pace that has not begun lets everything pass."""
    assert waited(Pace(SetClock(), 1.0), START_NS + 10**18, stopped=False) == 0


def looked_at(clock, at_ns, most_s, *, goes_on_s):
    """Return what a wait of at most *most_s* tells of a moment, where the clock goes on by so much meanwhile."""
    pace = Pace(clock, 1.0)
    pace.start(START_NS)

    async def wait():
        asyncio.get_running_loop().call_soon(lambda: setattr(clock, "at_s", clock.at_s + goes_on_s))
        return await pace.wait(at_ns, asyncio.Event(), most_s)

    return asyncio.run(wait())


def test_a_long_wait_is_broken_off():
    """What is not due after a while is told as None, so that something else can be looked at."""
    assert looked_at(SetClock(), START_NS + 10_000_000_000, 0.001, goes_on_s=9.9) is None


def test_a_wait_that_becomes_due_meanwhile_is_over():
    """A process that stood still while it waited finds the moment due, and knows how late it is."""
    assert looked_at(SetClock(), START_NS + 10_000_000_000, 0.001, goes_on_s=12.0) == 2_000_000_000
    assert looked_at(SetClock(), START_NS + 1_000_000, 10.0, goes_on_s=0.001) == 0
