"""What a session should have done, and where the difference comes from."""

from decimal import Decimal
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.builders import START_NS, some_bars, some_terms
from tests.trading import HOUR_NS, a_fill, dec

from peak_trade.research.backtest import backtest
from peak_trade.research.expectation import Event, actual_events, compare, expected, expected_events
from peak_trade.strategy.catalogue import make

LAST = dec(120)
NOTHING = {"signal": 0, "timing": 0, "fill": 0, "fee": 0}


def event(bar: int, quantity: object, price: object = 100, fee: object = 0) -> Event:
    return Event(bar, dec(quantity), dec(price), dec(fee))


def parts(actual: list[Event], wanted: list[Event]) -> dict[str, Decimal]:
    """Return the parts of a difference by name."""
    found = compare(actual, wanted, LAST)
    return {name: getattr(found, name) for name in NOTHING}


def gain(events: list[Event]) -> Decimal:
    """Return what fills add to the final equity."""
    return sum((item.quantity * (LAST - item.price) - item.fee for item in events), Decimal(0))


COURSE = [event(3, 2, 100, "0.4"), event(7, -2, 110, "0.44"), event(7, 1, 109, 0), event(12, -1, 90, 1)]


def test_the_same_fills_are_identical():
    """Nothing differs, every part is zero, every fill has its partner."""
    found = compare(COURSE, list(COURSE), LAST)

    assert found.identical
    assert parts(COURSE, list(COURSE)) == NOTHING
    assert (found.matched, found.actual_only, found.expected_only, found.total) == (4, 0, 0, 0)


def test_no_fills_at_all_are_identical():
    """A session that did nothing, as it should."""
    found = compare([], [], LAST)

    assert found.identical
    assert found.total == 0


@pytest.mark.parametrize("missing", range(4))
def test_a_missing_fill_is_signal(missing):
    """An order that was refused: its worth is missing with the opposite sign."""
    actual = COURSE[:missing] + COURSE[missing + 1 :]

    found = compare(actual, COURSE, LAST)

    assert parts(actual, COURSE) == {**NOTHING, "signal": -gain([COURSE[missing]])}
    assert (found.matched, found.actual_only, found.expected_only, found.identical) == (3, 0, 1, False)


def test_a_fill_that_nobody_expected_is_signal():
    """Its worth is there in addition."""
    actual = [*COURSE, event(20, 5, 100, 2)]

    assert parts(actual, COURSE) == {**NOTHING, "signal": 98}
    assert compare(actual, COURSE, LAST).actual_only == 1


def test_a_fill_on_the_other_side_is_signal_twice():
    """Bought instead of sold: one fill too many and one too few."""
    found = compare([event(3, 1)], [event(3, -1)], LAST)

    assert (found.signal, found.matched, found.actual_only, found.expected_only) == (40, 0, 1, 1)


@pytest.mark.parametrize("late", [1, 2, 5])
def test_a_late_fill_is_timing(late):
    """Up to five bars late it answers the same decision: what the price did meanwhile is timing."""
    found = parts([event(3 + late, 2, 103)], [event(3, 2, 100)])

    assert found == {**NOTHING, "timing": -6}


@pytest.mark.parametrize("shift", [6, -1])
def test_a_fill_far_away_is_another_one(shift):
    """Six bars late, or before it was expected, it answers nothing."""
    found = compare([event(13 + shift, 2, 103)], [event(13, 2, 100)], LAST)

    assert (found.signal, found.timing, found.matched) == (-6, 0, 0)


def test_a_late_fill_takes_the_partner_that_nobody_else_has():
    """Fills of the same bar are paired first; a late one with the oldest that is left."""
    wanted = [event(3, 1, 100), event(4, 1, 101), event(5, 1, 102)]
    actual = [event(4, 1, 101), event(5, 1, 102), event(6, 1, 107)]

    assert parts(actual, wanted) == {**NOTHING, "timing": -7}


def test_two_late_fills_keep_their_order():
    """The first late one answers the first expected one."""
    wanted = [event(3, 1, 100), event(4, 1, 110)]
    actual = [event(8, 1, 101), event(9, 1, 111)]

    found = compare(actual, wanted, LAST)

    assert (found.matched, found.timing) == (2, -2)


@pytest.mark.parametrize(("quantity", "found"), [(2, -10), (-2, 10)])
def test_another_price_in_the_same_bar_is_fill(quantity, found):
    """Slippage: five more a unit, against a buyer and for a seller."""
    assert parts([event(3, quantity, 105)], [event(3, quantity, 100)]) == {**NOTHING, "fill": found}


def test_another_quantity_in_the_same_bar_is_fill():
    """An order that was cut: half of what it would have brought."""
    assert parts([event(3, 1)], [event(3, 2)]) == {**NOTHING, "fill": -20}


def test_another_fee_is_fee():
    """A maker's fee instead of a taker's, whatever the price."""
    assert parts([event(3, 2, 100, "0.3")], [event(3, 2, 100, "0.8")]) == {**NOTHING, "fee": dec("0.5")}
    assert parts([event(4, 2, 101, "0.3")], [event(3, 2, 100, "0.8")]) == {**NOTHING, "fee": dec("0.5"), "timing": -2}


@pytest.mark.parametrize(("factor", "identical"), [("1.000000001", True), ("1.0000000011", False)])
@pytest.mark.parametrize("name", ["quantity", "price", "fee"])
def test_what_floats_can_not_tell_apart_is_identical(name, factor, identical):
    """A relative difference up to a billionth is rounding; beyond it is a difference."""
    one = event(3, 2, 100, 1)
    other = one._replace(**{name: getattr(one, name) * dec(factor)})

    assert compare([other], [one], LAST).identical is identical


def test_another_bar_is_not_identical():
    """The same fill a bar later is another one, also at the same price."""
    assert not compare([event(4, 1)], [event(3, 1)], LAST).identical


whole = st.integers(-9, 9).filter(bool)
events = st.lists(st.builds(event, st.integers(0, 15), whole, st.integers(80, 130), st.integers(0, 5)), max_size=12).map(
    lambda found: sorted(found, key=lambda item: item.bar)
)


@settings(max_examples=200, derandomize=True, database=None, deadline=None)
@given(events, events)
def test_the_parts_sum_to_the_difference(actual, wanted):
    """Whatever happened and whatever was expected: nothing of the difference is lost or counted twice."""
    found = compare(actual, wanted, LAST)

    assert found.total == sum(parts(actual, wanted).values()) == gain(actual) - gain(wanted)
    assert found.matched + found.actual_only == len(actual)
    assert found.matched + found.expected_only == len(wanted)
    if found.identical:
        assert parts(actual, wanted) == NOTHING


@settings(max_examples=60, derandomize=True, database=None, deadline=None)
@given(events)
def test_fills_equal_themselves(course):
    """Any course of fills compared with itself is identical."""
    assert compare(course, list(course), LAST).identical


# ---- fills as events -------------------------------------------------------------------------------------------------


def at(bar: int, quantity: object, price: object, client_id: str, fee: object = 0):
    stamp = START_NS + bar * HOUR_NS
    return a_fill(quantity, price, client_id=client_id, bar_ns=stamp, at_ns=stamp, fee=fee)


def test_fills_of_one_order_are_one_event():
    """In the bar of the first, with all of the quantity and the fees, at the average price."""
    fills = [at(3, 1, 100, "a", "0.1"), at(3, -5, 90, "b", "0.2"), at(4, 3, 104, "a", "0.3"), at(9, 4, 99, "a", "0.4")]

    assert actual_events(some_bars(20), fills) == [event(3, 8, "101", "0.8"), event(3, -5, 90, "0.2")]


def test_parts_of_an_order_are_identical_to_the_whole():
    """Two fills at the same open, where one was expected, are no difference."""
    fills = [at(3, 1, 100, "a", "0.25"), at(3, 3, 100, "a", "0.75")]

    assert compare(actual_events(some_bars(20), fills), [event(3, 4, 100, 1)], LAST).identical


def test_a_session_without_fills_has_no_events():
    """Nothing in, nothing out."""
    assert actual_events(some_bars(20), []) == []


def test_bars_are_found_by_their_moment():
    """Also where the bars have gaps: the number is that of the bar, not of the hour."""
    bars = some_bars(timestamp=[START_NS + hour * HOUR_NS for hour in (0, 1, 10, 11)])

    assert [item.bar for item in actual_events(bars, [at(1, 1, 100, "a"), at(10, 1, 100, "b"), at(11, 1, 100, "c")])] == [
        1,
        2,
        3,
    ]


# ---- what was to be expected -----------------------------------------------------------------------------------------

BARS = some_bars(200, seed=3, noise=0.02)
STRATEGY = make("ma_crossover", {"fast_window": 5, "slow_window": 12})
TERMS = some_terms(fee_bps=26.0, slippage_bps=5.0, sizing="fraction=0.5")


def test_the_expectation_is_the_backtest():
    """Without a warm-up it is the kernel's result over the same bars, fill by fill."""
    result = expected(BARS, STRATEGY, TERMS, 0)

    assert result.sha256() == backtest(BARS, STRATEGY, TERMS).sha256()
    found = expected_events(result)
    assert [item.bar for item in found] == result.fills.bar.tolist()
    for name in ("quantity", "price", "fee"):
        assert [float(getattr(item, name)) for item in found] == getattr(result.fills, name).tolist()


def test_during_the_warm_up_nothing_is_expected():
    """The first fill comes after the first bar that may be decided on."""
    first = int(backtest(BARS, STRATEGY, TERMS).fills.bar[2])

    result = expected(BARS, STRATEGY, TERMS, first)

    assert result.fills.bar[0] == first + 1
    assert np.all(result.equity[: first + 1] == float(TERMS.cash))


def test_the_strategy_s_targets_stay_as_they_are():
    """The warm-up is cut out of a copy: a strategy that keeps its targets keeps them."""
    before = STRATEGY.targets(BARS).copy()
    expected(BARS, STRATEGY, TERMS, 150)

    assert np.array_equal(STRATEGY.targets(BARS), before)


def test_the_kernel_s_own_fills_explain_its_equity():
    """Compared with nothing, the whole profit of the backtest is signal."""
    result = expected(BARS, STRATEGY, TERMS, 0)
    last = dec(repr(float(BARS.close[-1])))

    found = compare(expected_events(result), [], last)

    assert found.signal == found.total
    assert abs(float(found.total) - (result.equity[-1] - float(TERMS.cash))) < 1e-6


def test_disturbed_fills_are_explained():
    """Fills dropped, delayed and made dearer at random: every part is found, and they sum to the difference."""
    wanted = expected_events(expected(BARS, STRATEGY, TERMS, 0))
    last = dec(repr(float(BARS.close[-1])))
    draw = Random(1)
    actual = []
    for item in wanted:
        what = draw.choice(["keep", "keep", "drop", "late", "dear", "fee"])
        if what == "late":
            actual.append(item._replace(bar=item.bar + 1, price=item.price * dec("1.01")))
        elif what == "dear":
            actual.append(item._replace(price=item.price * dec("1.001")))
        elif what == "fee":
            actual.append(item._replace(fee=item.fee * 2))
        elif what == "keep":
            actual.append(item)

    found = compare(actual, wanted, last)

    assert all((found.signal, found.timing, found.fill, found.fee))
    worth = [sum((e.quantity * (last - e.price) - e.fee for e in each), Decimal(0)) for each in (actual, wanted)]
    assert abs(found.total - (worth[0] - worth[1])) < Decimal("1e-18")
