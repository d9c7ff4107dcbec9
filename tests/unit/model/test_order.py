"""Intents, the life of an order, fills, and exact money."""

import decimal
import json
import math
from decimal import Decimal
from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.trading import HOUR_NS, a_bar, a_fill, an_intent

from peak_trade.model.errors import InvariantBroken
from peak_trade.model.order import (
    LIFE,
    WORKING,
    Fill,
    Intent,
    OrderEvent,
    OrderKind,
    OrderState,
    Reason,
    exact,
    money,
    next_state,
)

often = settings(max_examples=80, derandomize=True, database=None, deadline=None)

TERMINAL = {OrderState.REFUSED, OrderState.REJECTED, OrderState.FILLED, OrderState.ABSENT}
#: Ended for the venue; a fill that was on its way may still arrive.
ENDED = TERMINAL | {OrderState.CANCELLED, OrderState.EXPIRED}

amounts = st.decimals(min_value="-1e15", max_value="1e15", allow_nan=False, allow_infinity=False)
names = st.text(min_size=1, max_size=40)
moments = st.integers(0, 2**63 - 1)


@st.composite
def intents(draw: st.DrawFn) -> Intent:
    """Draw any intent."""
    return Intent(
        client_id=draw(names),
        leg=draw(names),
        symbol=draw(names),
        kind=draw(st.sampled_from(OrderKind)),
        quantity=draw(amounts),
        reason=draw(st.sampled_from(Reason)),
        reference=draw(amounts),
        decided_ns=draw(moments),
        price=draw(st.none() | amounts),
        reduce_only=draw(st.booleans()),
    )


@st.composite
def fills(draw: st.DrawFn) -> Fill:
    """Draw any fill."""
    return Fill(
        fill_id=draw(names),
        client_id=draw(names),
        leg=draw(names),
        symbol=draw(names),
        reason=draw(st.sampled_from(Reason)),
        quantity=draw(amounts),
        price=draw(amounts),
        fee=draw(amounts),
        bar_ns=draw(moments),
        at_ns=draw(moments),
        maker=draw(st.booleans()),
        remaining=draw(amounts),
    )


def reachable(start: OrderState) -> set[OrderState]:
    """Return every state that can follow, and the start."""
    found, waiting = {start}, [start]
    while waiting:
        after = set(LIFE[waiting.pop()].values()) - found
        found |= after
        waiting += after
    return found


# ---- the life of an order --------------------------------------------------------------------------------------------


def test_every_state_has_a_row():
    """The table names each state once, also those that nothing follows."""
    assert set(LIFE) == set(OrderState)


def test_terminal_states_stay():
    """Nothing happens to an order that was refused, rejected, filled or never there, and to no other is that so."""
    assert {state for state, row in LIFE.items() if not row} == TERMINAL


def test_every_state_can_be_reached():
    """Every order begins as planned, and every state can come of it."""
    assert reachable(OrderState.PLANNED) == set(OrderState)
    assert all(OrderState.PLANNED not in row.values() for row in LIFE.values())


def test_every_order_can_end():
    """From each state an end can be reached."""
    assert all(reachable(state) & ENDED for state in OrderState)


def test_every_event_is_used():
    """No event is named that can never happen."""
    assert {event for row in LIFE.values() for event in row} == set(OrderEvent)


def test_working_orders_may_fill():
    """The states called working are those that have not ended and that a venue's fill can meet."""
    fillable = {state for state, row in LIFE.items() if OrderEvent.FILL_ALL in row}

    assert fillable - ENDED == WORKING


@pytest.mark.parametrize("state", sorted(WORKING, key=lambda state: state.value))
def test_news_from_the_venue_is_never_out_of_place(state):
    """Whatever a venue may say of a working order has a place in the table."""
    ends = {
        OrderEvent.FILL_PART: OrderState.PARTLY_FILLED,
        OrderEvent.FILL_ALL: OrderState.FILLED,
        OrderEvent.CANCEL: OrderState.CANCELLED,
        OrderEvent.EXPIRE: OrderState.EXPIRED,
    }

    assert {event: LIFE[state].get(event) for event in ends} == ends


def test_only_the_gate_and_the_send_lead_to_a_venue():
    """An order is sent only after it was approved, and is unknown only after it was sent."""
    before = {after: {state for state, row in LIFE.items() if after in row.values()} for after in OrderState}

    assert before[OrderState.APPROVED] == {OrderState.PLANNED}
    assert before[OrderState.SENDING] == {OrderState.APPROVED}
    assert before[OrderState.UNKNOWN] == {OrderState.SENDING}
    assert before[OrderState.ABSENT] == {OrderState.UNKNOWN}


@pytest.mark.parametrize("state", [OrderState.CANCELLED, OrderState.EXPIRED])
def test_a_fill_that_follows_the_end_is_kept(state):
    """A fill may overtake or follow a cancel: a part of the order leaves it ended, all of it makes it filled."""
    assert next_state(state, OrderEvent.FILL_PART) is state
    assert next_state(state, OrderEvent.FILL_ALL) is OrderState.FILLED


@pytest.mark.parametrize(("state", "event"), list(product(OrderState, OrderEvent)), ids=lambda item: item.value)
def test_an_order_moves_by_the_table_alone(state, event):
    """`next_state` gives what the table says, and raises where it says nothing."""
    if event in LIFE[state]:
        assert next_state(state, event) is LIFE[state][event]
    else:
        with pytest.raises(InvariantBroken, match=f"an order that is {state.value} can't {event.value}"):
            next_state(state, event)


# ---- records ---------------------------------------------------------------------------------------------------------


@often
@given(intents())
def test_an_intent_survives_json(intent):
    """What is written of an intent reads back as the same intent."""
    assert Intent.from_json(json.loads(json.dumps(intent.to_json()))) == intent


@often
@given(fills())
def test_a_fill_survives_json(fill):
    """What is written of a fill reads back as the same fill."""
    assert Fill.from_json(json.loads(json.dumps(fill.to_json()))) == fill


def test_money_and_moments_are_written_as_text():
    """No amount is written as a float or with an exponent, no moment as a number that JSON readers round."""
    intent = an_intent("1E+3", kind="limit", price="1E-8")
    written = [*intent.to_json().values(), *a_fill("1E+3", "1E-8", fee="0E-12").to_json().values()]

    assert {type(value) for value in written} == {str, bool}
    assert intent.to_json()["quantity"] == "1000"
    assert intent.to_json()["price"] == "0.00000001"


def test_intents_and_fills_can_not_be_changed():
    """A wish and a fact stay what they are."""
    for value in (an_intent(), a_fill()):
        with pytest.raises(AttributeError):
            value.quantity = Decimal(2)


def test_a_bar_is_complete_a_step_after_it_opened():
    """The moment a bar is complete is the moment at which the next one opens."""
    assert a_bar(number=0).closed_ns == a_bar(number=1).opened_ns == a_bar(number=0).opened_ns + HOUR_NS


# ---- exact numbers ---------------------------------------------------------------------------------------------------


@often
@given(st.floats(allow_nan=False, allow_infinity=False))
@example(0.1)
@example(5e-324)
@example(1e22)
@example(-0.0)
def test_a_float_becomes_the_decimal_that_a_person_reads(value):
    """`exact` gives the shortest decimal that reads back as the same float."""
    found = exact(value)

    assert float(found) == value
    assert found == Decimal(str(value))
    assert math.copysign(1, float(found)) == math.copysign(1, value)


@pytest.mark.parametrize(
    ("amount", "kept"),
    [
        ("0.1", "0.1"),
        ("1e-12", "1e-12"),
        ("4.9e-13", "0"),
        ("5e-13", "0"),
        ("15e-13", "2e-12"),
        ("25e-13", "2e-12"),
        ("-15e-13", "-2e-12"),
        ("-25e-13", "-2e-12"),
        ("25.000001e-13", "3e-12"),
        ("1234567890123456.123456789012", "1234567890123456.123456789012"),
    ],
)
def test_money_lies_on_its_step(amount, kept):
    """An amount is kept to the twelfth digit, half to even."""
    found = money(Decimal(amount))

    assert found == Decimal(kept)
    assert found.as_tuple().exponent == -12


@pytest.mark.parametrize("rounding", [decimal.ROUND_UP, decimal.ROUND_HALF_UP, decimal.ROUND_DOWN])
def test_money_does_not_follow_the_threads_rounding(rounding):
    """Libraries change it for everybody in their thread."""
    with decimal.localcontext(rounding=rounding):
        assert money(Decimal("25e-13")) == Decimal("2e-12")


@often
@given(st.lists(st.integers(-(10**26), 10**26).map(lambda digits: Decimal(digits) / 10**14), max_size=20))
def test_sums_of_money_are_exact(values):
    """Amounts on the step add up without a rest in any order."""
    kept = [money(value) for value in values]

    assert sum(kept, Decimal(0)) == sum(reversed(kept), Decimal(0))
    assert sum(kept, Decimal(0)) - sum(kept, Decimal(0)) == 0
    assert sum(int(value * 10**12) for value in kept) == sum(kept, Decimal(0)) * 10**12
