"""Indicators against plain loops, and what sharing keeps, drops and never mixes up."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from weakref import ref

import numpy as np
import pytest
from tests.builders import some_bars
from tests.unit.strategy import naive

from peak_trade.model.bar import F64
from peak_trade.strategy import indicators
from peak_trade.strategy.indicators import Shared, sharing

BARS = some_bars(400, noise=0.02, gap=0.003)
WINDOWED = ("sma", "ema", "rsi", "deviation", "highest", "lowest", "change", "volatility")


@pytest.mark.parametrize("window", [2, 3, 14, 100])
@pytest.mark.parametrize("name", WINDOWED)
def test_an_indicator_is_its_formula(name: str, window: int) -> None:
    """Each value equals a plain loop's, and the first values are not numbers at the same bars."""
    found = getattr(indicators, name)(BARS.close, window)
    expected = getattr(naive, name)(BARS.close, window)

    assert found == pytest.approx(expected, rel=1e-8, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize(("name", "first"), [("sma", 9), ("ema", 9), ("rsi", 10), ("change", 10), ("volatility", 10)])
def test_the_first_values_are_not_numbers(name: str, first: int) -> None:
    """A window of ten bars, or of ten changes, has to be full before there is a value."""
    found = getattr(indicators, name)(BARS.close, 10)

    assert np.flatnonzero(~np.isnan(found)).tolist() == list(range(first, 400))


@pytest.mark.parametrize("window", [2, 5, 14])
def test_directional_indicators_are_wilders(window: int) -> None:
    """Once the start is forgotten, +DI, -DI and ADX are those of a plain loop."""
    series = (BARS.high, BARS.low, BARS.close)
    found = [indicator(*series, window) for indicator in (indicators.plus_di, indicators.minus_di, indicators.adx)]

    for values, expected in zip(found, naive.directional(*series, window), strict=True):
        assert values[-20:] == pytest.approx(expected[-20:], rel=1e-6)


def test_the_macd_line_is_the_difference_of_two_averages() -> None:
    """The line is known once the slow average is."""
    expected = naive.ema(BARS.close, 12) - naive.ema(BARS.close, 26)

    assert indicators.macd_line(BARS.close, 12, 26) == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True)


def test_earlier_shifts_to_later_bars() -> None:
    """The value of two bars ago stands two bars later; there is none for the first two, or for a shift past the end."""
    values = np.array([1.0, 2.0, 3.0, 4.0])

    assert indicators.earlier(values, 2) == pytest.approx(np.array([np.nan, np.nan, 1.0, 2.0]), nan_ok=True)
    assert np.isnan(indicators.earlier(values, 4)).all()


@pytest.mark.parametrize("name", ["sma", "ema", "highest", "lowest"])
def test_a_window_of_one_is_the_value_itself(name: str) -> None:
    """The average and the extremes of one bar are its value."""
    assert getattr(indicators, name)(BARS.close, 1).tolist() == BARS.close.tolist()


@pytest.mark.parametrize("name", WINDOWED)
def test_a_window_longer_than_the_series_gives_no_numbers(name: str) -> None:
    """Too few bars are no error: nothing is known yet."""
    found = getattr(indicators, name)(np.array(BARS.close[:5]), 50)

    assert found.shape == (5,)
    assert np.isnan(found).all()


class Counted:
    """A computation of eight bytes for each of some values that counts how often it runs."""

    def __init__(self, values: int = 1) -> None:
        self.values = values
        self.times = 0

    def __call__(self) -> F64:
        self.times += 1
        return np.full(self.values, float(self.times))


def ask(shared: Shared, name: str, compute: Callable[[], F64]) -> F64:
    """Ask for a value that depends on no array."""
    return shared.get((name,), (), compute)


def test_a_shared_value_is_computed_once() -> None:
    """The second request gets the same array, which nobody can write to."""
    shared, counted = Shared(), Counted()
    first, second = ask(shared, "a", counted), ask(shared, "a", counted)

    assert first is second
    assert counted.times == 1
    assert not first.flags.writeable


def test_shared_values_stay_within_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten values of 80 bytes only the last three fit into 240 bytes."""
    monkeypatch.setattr(indicators, "SHARED_BYTES_MAX", 240)
    shared = Shared()
    counters = {name: Counted(10) for name in "abcdefghij"}
    for name, counted in counters.items():
        ask(shared, name, counted)
    for name in "jih":
        ask(shared, name, counters[name])
    ask(shared, "g", counters["g"])

    assert [counters[name].times for name in "ghij"] == [2, 1, 1, 1]


def test_the_least_recently_used_value_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that was asked for again outlives one that was computed after it."""
    monkeypatch.setattr(indicators, "SHARED_BYTES_MAX", 160)
    shared = Shared()
    old, newer, newest = Counted(10), Counted(10), Counted(10)
    for name, counted in (("old", old), ("newer", newer), ("old", old), ("newest", newest), ("old", old), ("newer", newer)):
        ask(shared, name, counted)

    assert (old.times, newer.times, newest.times) == (1, 2, 1)


def test_a_value_larger_than_the_memory_is_given_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit replaces all else, and is replaced by the next."""
    monkeypatch.setattr(indicators, "SHARED_BYTES_MAX", 100)
    shared, large = Shared(), Counted(1_000)

    assert len(ask(shared, "large", large)) == 1_000
    ask(shared, "small", Counted())
    ask(shared, "large", large)
    assert large.times == 2


def test_indicators_are_shared_by_array_and_setting() -> None:
    """Another array of the same values, another window and another indicator each have a value of their own."""
    same = np.array(BARS.close)
    with sharing(Shared()):
        one = indicators.sma(BARS.close, 10)
        others = [indicators.sma(same, 10), indicators.sma(BARS.close, 11), indicators.ema(BARS.close, 10)]
        again = indicators.sma(BARS.close, 10)

    assert again is one
    assert all(other is not one for other in others)


def test_nothing_is_shared_outside_the_block() -> None:
    """Before, after and between blocks each call computes anew, and its array is the caller's to change."""
    shared = Shared()
    before = indicators.sma(BARS.close, 10)
    with sharing(shared):
        inside = indicators.sma(BARS.close, 10)
        with sharing(Shared()):
            other = indicators.sma(BARS.close, 10)
        back = indicators.sma(BARS.close, 10)
    after = indicators.sma(BARS.close, 10)

    assert inside is back
    assert len({id(values) for values in (before, inside, other, after)}) == 4
    assert before.flags.writeable
    assert after.flags.writeable


def test_the_block_ends_with_an_error_too() -> None:
    """An error inside does not leave the sharing on."""
    with pytest.raises(ZeroDivisionError), sharing(Shared()):
        _ = 1 / 0

    assert indicators.sma(BARS.close, 10) is not indicators.sma(BARS.close, 10)


def test_a_shared_value_keeps_its_array_alive() -> None:
    """The array a value was computed from stays, so that no other array can take its place in memory and its value."""
    shared = Shared()
    source = np.ones(50)
    alive = ref(source)
    shared.get(("ones", id(source)), (source,), lambda: np.zeros(50))
    del source

    assert alive() is not None
    del shared
    assert alive() is None


def test_many_threads_may_share() -> None:
    """Threads that ask for the same values at the same moment get what one alone gets."""
    shared, start = Shared(), Barrier(8)
    windows = [2, 3, 5, 8, 13, 21, 34, 55]
    expected = [indicators.ema(BARS.close, window).tobytes() for window in windows]

    def work(number: int) -> list[bytes]:
        start.wait()
        with sharing(shared):
            found = {window: indicators.ema(BARS.close, window).tobytes() for window in np.roll(windows, number).tolist()}
        return [found[window] for window in windows]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(8)))

    assert found == [expected] * 8


def test_sharing_is_seen_by_its_own_thread_only() -> None:
    """A block in one thread does not make another thread share."""
    with sharing(Shared()), ThreadPoolExecutor(1) as pool:
        first, second = (pool.submit(indicators.sma, BARS.close, 10).result() for _ in range(2))

    assert first is not second
    assert first.flags.writeable
