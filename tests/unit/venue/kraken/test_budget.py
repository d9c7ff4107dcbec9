"""Our counters against the emulator's, driven by the same traffic."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.exchange import Rig, S

from peak_trade.emulator.counters import AMEND, CANCEL, TIERS, Counter, by_age
from peak_trade.venue.kraken.budget import TIER_LIMITS, Budget, EngineBudgets, amend_cost, cancel_cost, rest_cost

moves = st.lists(
    st.tuples(
        st.floats(0, 30, allow_subnormal=False),  # seconds before it
        st.floats(0, 3, allow_subnormal=False),  # seconds until it arrives
        st.floats(0, 3, allow_subnormal=False),  # and until its answer is back
        st.integers(0, 9),
    ),
    max_size=80,
)


@pytest.mark.parametrize("tier", TIER_LIMITS)
def test_limits_are_the_exchanges(tier):
    """Two tables, one truth."""
    ours, theirs = TIER_LIMITS[tier], TIERS[tier]

    assert ours == (theirs.rest_most, theirs.rest_decay, theirs.engine_most, theirs.engine_decay)


@given(st.floats(0, 400))
def test_costs_are_the_exchanges(age_s):
    """At any age."""
    assert cancel_cost(age_s) == by_age(CANCEL, int(age_s * S))
    assert amend_cost(age_s) == 1 + by_age(AMEND, int(age_s * S))


@settings(deadline=None)
@given(moves=moves, tier=st.sampled_from(sorted(TIER_LIMITS)))
def test_never_behind_the_exchange(moves, tier):
    """However late calls arrive and answers come back, what we let pass is within Kraken's limit."""
    limits = TIERS[tier]
    ours, theirs = Budget(limits.engine_most, limits.engine_decay), Counter(limits.engine_most, limits.engine_decay)
    now = 0.0
    for pause, there, back, cost in moves:
        now += pause
        if not ours.may(cost, now):
            continue
        ours.charge(cost, now)
        now += there
        assert theirs.count(cost, int(now * S))
        now += back
        ours.settle(now)
        assert ours.value(now) >= theirs.value(int(now * S)) - 1e-6


@settings(deadline=None, max_examples=25)
@given(
    steps=st.lists(st.tuples(st.sampled_from(["add", "cancel", "Balance", "ClosedOrders"]), st.floats(0, 4)), max_size=90),
    tier=st.sampled_from(sorted(TIER_LIMITS)),
)
def test_the_emulator_never_refuses_what_we_let_pass(steps, tier):
    """Random traffic of orders, cancels and questions: no rate limit is ever met."""
    rig, limits = Rig(pairs=("BTC/USD",), tier=tier), TIER_LIMITS[tier]
    calls, engine = Budget(limits.rest_most, limits.rest_decay), EngineBudgets(limits).of("XBTUSD")
    for what, pause in steps:
        rig.now += int(pause * S)
        now = rig.now / S
        order = next(iter(rig.working), None)
        if what == "cancel" and order:
            cost = cancel_cost((rig.now - order.opened) / S)
            if engine.may(cost, now, urgent=True):
                engine.charge(cost, now)
                assert rig.call("CancelOrder", txid=order.id).error == ""
                engine.settle(now)
        elif what == "add" and len(rig.working) < 60 and engine.may(1, now):
            engine.charge(1, now)
            assert rig.buy().error == ""
            engine.settle(now)
        elif what not in ("add", "cancel") and calls.may(rest_cost(what), now):
            calls.charge(rest_cost(what), now)
            assert rig.call(what).error == ""
            calls.settle(now)


def test_a_reserve_is_left_for_cancels():
    """New orders stop before the limit, cancels do not."""
    budget = Budget(60, 1, reserve=16)
    sent = 0
    while budget.may(1, 0.0):
        budget.charge(1, 0.0)
        budget.settle(0.0)
        sent += 1

    assert sent in (43, 44)
    assert budget.may(8, 0.0, urgent=True)
    assert not budget.may(17, 0.0, urgent=True)
    assert budget.may(1, 5.0)


def test_how_long_to_wait():
    """After that long, and no sooner, it fits."""
    budget = Budget(10, 0.5)
    budget.charge(10, 0.0)
    budget.settle(0.0)

    wait = budget.wait_s(2, 1.0)

    assert not budget.may(2, 1.0 + wait - 0.01)
    assert budget.may(2, 1.0 + wait)
    assert budget.wait_s(2, 100.0) == 0


def test_kraken_is_believed():
    """Where it says that the limit is reached, nothing goes until it has decayed."""
    budget = Budget(10, 1)

    budget.exceeded(0.0)

    assert not budget.may(1, 0.5)
    assert budget.may(1, 1.5)
