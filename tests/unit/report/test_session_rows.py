"""Orders as a reader sees them."""

import numpy as np
import pytest
from tests.builders import some_bars
from tests.unit.report.session_records import an_order

from peak_trade.model.errors import InvariantBroken
from peak_trade.model.order import OrderState
from peak_trade.report.session_rows import SessionSeries, latest_orders, plain_number


def test_latest_first():
    """The newest orders are listed, the rest left out."""
    orders = [an_order(decided_at=f"2024-01-0{day}T00:00:00Z") for day in (1, 2, 3)]

    assert [line.decided for line in latest_orders(orders, 2)] == ["2024-01-03 00:00", "2024-01-02 00:00"]
    assert latest_orders([], 2) == []


def test_columns():
    """Sides come from signs, and a column's numbers have one count of digits."""
    orders = [an_order(quantity="-0.250", price="99.50", filled="-0.1"), an_order(quantity="1E+1", price="100", filled="0")]

    large, small = latest_orders(orders, 5)

    assert (small.side, small.quantity, small.filled, small.price) == ("sell", "0.25", "0.10", "99.5")
    assert (large.side, large.quantity, large.filled, large.price) == ("buy", "10.00", "0.00", "100.0")


@pytest.mark.parametrize(
    ("state", "tone"), [("filled", "good"), ("refused", "bad"), ("unknown", "bad"), ("open", ""), ("partly_filled", "")]
)
def test_tone(state, tone):
    """Only ends are good or bad."""
    line = latest_orders([an_order(state=state)], 1)[0]

    assert (line.state, line.tone) == (state.replace("_", " "), tone)


def test_every_state_can_be_listed():
    """No state of an order's life is left without words."""
    assert all(latest_orders([an_order(state=state.value)], 1)[0].state for state in OrderState)


@pytest.mark.parametrize(
    ("text", "written"),
    [("-1.500", "1.5"), ("1E-8", "0.00000001"), ("12345", "12,345"), ("0", "0"), ("NaN", "NaN"), ("x", "x")],
)
def test_plain_number(text, written):
    """Numbers are written without sign and exponent; what is none stays."""
    assert plain_number(text) == written


def test_series_fit_together():
    """Marks without moments and expectations without bars are refused."""
    with pytest.raises(InvariantBroken, match="each mark"):
        SessionSeries(stamps=np.array([1]), equity=np.array([1.0, 2.0]))
    with pytest.raises(InvariantBroken, match="no more values"):
        SessionSeries(expected=np.array([1.0]))
    with pytest.raises(InvariantBroken, match="no more values"):
        SessionSeries(bars={"BTC/EUR": some_bars(1)}, expected=np.array([1.0, 2.0]))
