"""Rate limits: they decay, never fall below zero, and what is over them is counted."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.emulator.counters import AMEND, CANCEL, EDIT, NS, Counter, by_age

often = settings(max_examples=200, derandomize=True, database=None, deadline=None)


@often
@given(st.lists(st.tuples(st.floats(0, 20), st.integers(-5 * NS, 100 * NS)), max_size=50))
def test_a_counter_is_never_below_zero(steps):
    """Whatever is counted whenever, even if the clock went back."""
    counter, now = Counter(60, 1), 10**18
    for cost, passed in steps:
        now += passed
        before = counter.value(now)
        counter.count(cost, now)
        assert counter.value(now) >= before >= 0


def test_the_limit_itself_is_allowed():
    """60 of 60 are, 61 are not; a second later one more is gone."""
    counter = Counter(60, 1)

    assert counter.count(60, NS)
    assert not counter.count(1, NS)
    assert counter.value(2 * NS) == 60
    assert not counter.count(0.5, 2 * NS)
    assert counter.value(200 * NS) == 0


@pytest.mark.parametrize(
    ("costs", "age", "cost"),
    [
        (AMEND, 0, 3), (AMEND, 5, 2), (AMEND, 10, 1), (AMEND, 15, 0),
        (EDIT, 4.999999999, 6), (EDIT, 5, 5), (EDIT, 10, 4), (EDIT, 15, 2), (EDIT, 45, 1), (EDIT, 90, 0),
        (CANCEL, 0, 8), (CANCEL, 5, 6), (CANCEL, 10, 5), (CANCEL, 15, 4), (CANCEL, 45, 2), (CANCEL, 90, 1), (CANCEL, 300, 0),
    ],
)  # fmt: skip
def test_changes_of_young_orders_are_dear(costs, age, cost):
    """Kraken's table, at its limits."""
    assert by_age(costs, int(age * NS)) == cost
