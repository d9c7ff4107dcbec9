"""Each rule of matching, alone."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.builders import an_instrument
from tests.trading import HOUR_NS, START_NS, a_bar, an_intent, dec, some_costs

from peak_trade.venue.matching import Execution, Purse, affordable, at_open, tradable, triggered, whole_lots, within

often = settings(max_examples=200, derandomize=True, database=None, deadline=None)
LOTS = an_instrument(lot_step="0.1")
PERCENT = some_costs(slippage="0.01")


def opening(intent, opened, *, arriving=True, costs=None):
    return at_open(intent, dec(opened), costs or some_costs(), arriving=arriving)


def during(intent, bar, *, active_ns=START_NS, costs=None):
    return within(intent, bar, costs or some_costs(), active_ns)


# ---- costs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("quantity", "price"), [(1, 101), (-1, 99)])
def test_slippage_is_against_the_order(quantity, price):
    """A buyer pays more, a seller gets less."""
    assert PERCENT.slipped(dec(100), dec(quantity)) == price


@pytest.mark.parametrize(("maker", "fee"), [(False, 2), (True, 1)])
@pytest.mark.parametrize("quantity", [5, -5])
def test_the_fee_is_a_share_of_the_notional(maker, fee, quantity):
    """Takers and makers pay their own rate; a fee is positive on both sides."""
    assert some_costs(taker="0.004", maker="0.002").fee(dec(100), dec(quantity), maker=maker) == fee


# ---- at the open -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arriving", [True, False])
@pytest.mark.parametrize(("quantity", "price"), [(1, 101), (-1, 99)])
def test_a_market_order_trades_at_the_open(quantity, price, arriving):
    """Slippage against it, as taker, whether it is new or was left over."""
    found = opening(an_intent(quantity), 100, arriving=arriving, costs=PERCENT)

    assert found == Execution(dec(price), maker=False)


@pytest.mark.parametrize("kind", ["stop", "take_profit"])
def test_triggers_are_not_looked_at_in_the_open(kind):
    """A stop or take-profit beyond the open is a matter of the whole bar."""
    assert opening(an_intent(-1, kind=kind, price=100), 100) is None


@pytest.mark.parametrize(("quantity", "opened"), [(1, 99), (1, 100), (-1, 101), (-1, 100)])
def test_a_limit_that_the_market_has_crossed_takes(quantity, opened):
    """It arrives, finds a price as good as its limit or better, and trades at it as taker, without slippage."""
    found = opening(an_intent(quantity, kind="limit", price=100), opened, costs=PERCENT)

    assert found == Execution(dec(opened), maker=False)


@pytest.mark.parametrize(("quantity", "opened"), [(1, "100.01"), (-1, "99.99")])
@pytest.mark.parametrize("arriving", [True, False])
def test_a_limit_that_the_market_has_not_reached_waits(quantity, opened, arriving):
    """A worse price than the limit is none."""
    assert opening(an_intent(quantity, kind="limit", price=100), opened, arriving=arriving) is None


@pytest.mark.parametrize(("quantity", "opened"), [(1, 95), (-1, 105)])
def test_a_limit_that_rests_makes(quantity, opened):
    """A bar that opens through a resting limit fills it at the limit, as maker."""
    found = opening(an_intent(quantity, kind="limit", price=100), opened, arriving=False, costs=PERCENT)

    assert found == Execution(dec(100), maker=True)


@pytest.mark.parametrize("quantity", [1, -1])
def test_a_bar_that_opens_on_a_resting_limit_only_touches_it(quantity):
    """Touched is not traded through: nobody at the end of the queue is filled."""
    assert opening(an_intent(quantity, kind="limit", price=100), 100, arriving=False) is None


# ---- within a bar ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "price"), [(0, 100), (0.25, 102), (0.5, 104), (0.75, 106)])
def test_a_late_market_order_trades_on_the_line_from_open_to_close(share, price):
    """The mean of a Brownian bridge lies on the straight line; high and low don't matter."""
    bar = a_bar(100, 150, 50, 108)

    assert during(an_intent(1), bar, active_ns=START_NS + round(share * HOUR_NS)) == Execution(dec(price), maker=False)


def test_a_market_order_that_was_there_before_the_bar_trades_at_its_open():
    """The line begins at the open."""
    assert during(an_intent(1), a_bar(100, close=108), active_ns=START_NS - HOUR_NS // 2).price == 100


def test_a_late_market_order_slips():
    """The line's price is subject to slippage too."""
    bar = a_bar(100, close=108)

    assert during(an_intent(-1), bar, active_ns=START_NS + HOUR_NS // 2, costs=PERCENT).price == dec("102.96")


@pytest.mark.parametrize(
    ("quantity", "bar", "filled"),
    [
        (1, a_bar(101, low=99.99), True),
        (1, a_bar(101, low=100.0), False),
        (1, a_bar(101, low=100.01), False),
        (-1, a_bar(99, high=100.01), True),
        (-1, a_bar(99, high=100.0), False),
        (-1, a_bar(99, high=99.99), False),
    ],
)
def test_a_limit_needs_a_bar_that_goes_through_it(quantity, bar, filled):
    """Through it fills at the limit as maker without slippage, a touch fills nothing."""
    found = during(an_intent(quantity, kind="limit", price=100), bar, costs=PERCENT)

    assert found == (Execution(dec(100), maker=True) if filled else None)


@pytest.mark.parametrize("kind", ["limit", "stop", "take_profit"])
def test_an_order_without_its_price_never_trades(kind):
    """A limit without a limit, or a trigger without a level, is not a market order."""
    bar = a_bar(100, 200, 1, 100)

    assert during(an_intent(1, kind=kind), bar) is None
    assert opening(an_intent(1, kind=kind), 100) is None
    assert triggered(an_intent(1, kind=kind), dec(100), dec(200), dec(1)) is None


#: kind, sign of the order, bar, level before slippage (None: not triggered); the trigger is at 100.
TRIGGERS = [
    ("stop", -1, a_bar(105, low=100.01), None),
    ("stop", -1, a_bar(105, low=100), 100),
    ("stop", -1, a_bar(105, low=90), 100),
    ("stop", -1, a_bar(100, low=100), 100),
    ("stop", -1, a_bar(95, high=105, low=90), 95),
    ("stop", -1, a_bar(99.99, low=99.99), 99.99),
    ("stop", 1, a_bar(95, high=99.99), None),
    ("stop", 1, a_bar(95, high=100), 100),
    ("stop", 1, a_bar(95, high=110), 100),
    ("stop", 1, a_bar(100, high=100), 100),
    ("stop", 1, a_bar(105, high=110, low=90), 105),
    ("take_profit", -1, a_bar(95, high=99.99), None),
    ("take_profit", -1, a_bar(95, high=100), 100),
    ("take_profit", -1, a_bar(95, high=110), 100),
    ("take_profit", -1, a_bar(100, high=100), 100),
    ("take_profit", -1, a_bar(105, high=110, low=90), 105),
    ("take_profit", 1, a_bar(105, low=100.01), None),
    ("take_profit", 1, a_bar(105, low=100), 100),
    ("take_profit", 1, a_bar(105, low=90), 100),
    ("take_profit", 1, a_bar(95, high=110, low=90), 95),
]


@pytest.mark.parametrize(("kind", "quantity", "bar", "level"), TRIGGERS)
def test_a_trigger_trades_at_its_level_or_beyond_at_the_open(kind, quantity, bar, level):
    """Touched inside the bar it trades at the level; a bar that opens beyond it trades at the open; as taker with slippage."""
    found = during(an_intent(quantity, kind=kind, price=100), bar, costs=PERCENT)

    assert found == (None if level is None else Execution(dec(level) * (1 + quantity * dec("0.01")), maker=False))


@pytest.mark.parametrize(("kind", "quantity"), [("stop", -1), ("stop", 1), ("take_profit", -1), ("take_profit", 1)])
@pytest.mark.parametrize(("away", "touches"), [("1e-12", True), ("1.1e-12", False)])
def test_a_price_within_a_part_in_a_million_million_touches(kind, quantity, away, touches):
    """1.1 * 1.1 is not 1.21: a level counts as touched by a price that near, and trades at the level."""
    falling = (kind == "stop") == (quantity < 0)
    price = 100 * (1 + dec(away) if falling else 1 - dec(away))
    far = dec(120 if falling else 80)
    high, low = (far, price) if falling else (price, far)

    found = triggered(an_intent(quantity, kind=kind, price=100), far, high, low)

    assert found == (100 if touches else None)


@pytest.mark.parametrize("quantity", [-1, 1])
def test_an_open_that_near_counts_as_beyond_a_take_profit(quantity):
    """A bar that opens a hair before the goal takes the open, as the kernel does."""
    opened = 100 * (1 + quantity * dec("1e-12"))

    assert triggered(an_intent(quantity, kind="take_profit", price=100), opened, opened, opened) == opened


@pytest.mark.parametrize("quantity", [-1, 1])
def test_an_open_that_near_leaves_a_stop_at_its_level(quantity):
    """A bar that opens a hair before the stop touches it, but has not opened beyond it."""
    opened = 100 * (1 - quantity * dec("1e-12"))

    assert triggered(an_intent(quantity, kind="stop", price=100), opened, opened, opened) == 100


# ---- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quantity", "lots"),
    [
        ("0.3", "0.3"),
        ("0.39", "0.3"),
        ("0.09", "0"),
        ("0.29999999999", "0.3"),
        ("0.2999999999", "0.3"),
        ("0.29999999989", "0.2"),
        ("0", "0"),
    ],
)
def test_quantities_are_rounded_down_to_lots(quantity, lots):
    """What is a billionth of a lot below a whole one counts as that one."""
    assert whole_lots(dec(quantity), LOTS) == dec(lots)


def test_many_lots_carry_a_larger_tolerance():
    """Of thirty million lots a share of four parts in 10^16 may be missing."""
    lots = 30_000_000

    assert whole_lots(lots - dec("1.1e-8"), an_instrument(lot_step="1")) == lots
    assert whole_lots(lots - dec("1.3e-8"), an_instrument(lot_step="1")) == lots - 1


@often
@given(st.integers(0, 10**12), st.sampled_from(["1", "0.1", "0.001", "0.00000001", "0.25"]))
def test_whole_lots_stay_whole(lots, step):
    """A whole number of lots is not changed, and half a lot more is cut off."""
    instrument = an_instrument(lot_step=step)

    assert whole_lots(lots * dec(step), instrument) == lots * dec(step)
    assert whole_lots((lots + dec("0.5")) * dec(step), instrument) == lots * dec(step)


@pytest.mark.parametrize(
    ("quantity", "position", "size", "price", "yes"),
    [
        (2, 0, 2, 10, True),
        ("1.99", 0, 2, 100, False),
        (-2, 0, 2, 10, True),
        ("-1.99", 0, 2, 100, False),
        (3, 0, 0, "6.66", False),
        (3, 0, 0, "6.67", True),
        (2, 0, 0, 10, True),
        ("-0.1", "0.1", 2, 1, True),
        ("0.1", "-0.1", 2, 1, True),
        ("-0.1", "0.2", 2, 1, False),
        (0, 0, 0, 100, False),
        (0, 5, 0, 100, False),
    ],
)
def test_minimums_hold_except_for_a_close(quantity, position, size, price, yes):
    """Under the minimum quantity or notional nothing trades, unless it closes the whole position; at the minimum it does."""
    instrument = an_instrument(min_quantity=size, min_notional=20)

    assert tradable(dec(quantity), dec(position), dec(price), instrument) is yes


@pytest.mark.parametrize(
    ("quantity", "cash", "position", "elsewhere", "left"),
    [
        (9, 1_000, 0, 0, 9),
        ("9.9", 1_000, 0, 0, "9.9"),  # 9.9 * 101 = 999.9
        (10, 1_000, 0, 0, "9.9"),
        (5, 0, 3, 0, 0),
        (5, -100, 3, 0, 0),
        (5, 1_000, 3, 99_999, 5),  # what lies elsewhere buys nothing
        (50, 1_000, 3, 99_999, "9.9"),
        (5, -900, -5, 0, 5),  # covering is never cut
        (4, -900, -5, 0, 4),
        (9, 0, -5, 0, 5),  # beyond covering there must be cash
        (9, 606, -5, 0, 6),  # five cover, one is opened
        (9, 808, -5, 0, 8),
        (-5, 0, 5, 0, -5),  # selling what is held is never cut
        (-5, -9_999, 5, 0, -5),
        (-9, 1_000, 0, 0, -9),
        ("-9.9", 1_000, 0, 0, "-9.9"),
        (-10, 1_000, 0, 0, "-9.9"),
        (-10, 500, 0, 500, "-9.9"),  # the worth of other positions counts
        (-10, 1_000, 0, -1_000, 0),
        (-10, -1_000, 0, 0, 0),
        (-10, 0, 5, 0, "-9.9"),  # equity after the sale: 5 * 99 = 495 allow a short of 4.9
        (-3, 1_000, -9, 0, 0),  # a short that is too large already may not grow, nor is it made smaller
    ],
)
def test_orders_are_cut_to_what_the_account_covers(quantity, cash, position, elsewhere, left):
    """A purchase to the cash; a short so that it does not exceed the equity after its fee. At 100, the fee is one per cent."""
    purse = Purse(dec(cash), dec(position), dec(elsewhere))

    assert affordable(dec(quantity), purse, dec(100), dec("0.01"), LOTS) == dec(left)


amounts = st.integers(-2_000, 2_000).map(Decimal)


@often
@given(amounts, amounts, st.integers(-300, 300), st.integers(-300, 300).filter(bool), st.sampled_from(["0", "0.004", "0.05"]))
def test_a_cut_is_never_more_than_asked_or_covered(cash, elsewhere, held, asked, fee):
    """What is left has the order's sign and at most its size; what it opens is paid for, a short by the equity it leaves."""
    position, quantity, price, rate = dec(held) / 10, dec(asked) / 10, dec(10), dec(fee)

    left = affordable(quantity, Purse(cash, position, elsewhere), price, rate, LOTS)

    after = position + left
    assert left * quantity >= 0
    assert abs(left) <= abs(quantity)
    assert left % dec("0.1") == 0
    if left > 0 and after > 0:
        assert left * price * (1 + rate) <= cash
    if left < 0 and after < 0:
        equity = cash + elsewhere + position * price - abs(left) * price * rate
        assert -after * price <= equity
    if position * quantity < 0:
        assert abs(left) >= min(abs(position), abs(quantity))


@often
@given(amounts, amounts, st.integers(-300, 300), st.integers(-300, 300).filter(bool))
def test_no_more_is_cut_than_need_be(cash, elsewhere, held, asked):
    """One lot more than what is left would not be covered."""
    position, quantity, price, rate = dec(held) / 10, dec(asked) / 10, dec(10), dec("0.004")

    left = affordable(quantity, Purse(cash, position, elsewhere), price, rate, LOTS)

    if left != quantity:
        more = left + dec("0.1").copy_sign(quantity)
        if quantity > 0:
            assert more * price * (1 + rate) > cash
        else:
            assert -(position + more) * price > cash + elsewhere + position * price - abs(more) * price * rate
