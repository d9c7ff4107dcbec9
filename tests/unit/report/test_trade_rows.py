"""Trades as rows of text."""

import pytest
from tests.builders import an_instrument, flat_bars, some_bars, some_terms
from tests.unit.report.records import a_result

from peak_trade.report.thinning import MARKED_MAX
from peak_trade.report.trade_rows import latest_rows, marked_rows


def test_rows_by_hand():
    """A closed short and an open long are numbered, dated in UTC and written with five digits that matter."""
    bars = flat_bars([100.0, 100.0, 90.0, 90.0, 90.0], instrument=an_instrument(lot_step="0.01", tick_size="0.1"))
    result = a_result([-1.0, 0.0, 1.0], bars, some_terms(cash="1000"))

    second, first = latest_rows(result, result.trades(), 10)

    assert (first.number, first.side, first.reason) == (1, "short", "target")
    assert (first.entry_time, first.exit_time) == ("2024-01-01 01:00", "2024-01-01 02:00")
    assert (first.quantity, first.entry_price, first.exit_price) == ("10.00", "100.000", "90.000")
    assert (first.profit, first.fees) == ("100.00", "0.00")
    assert (second.number, second.side, second.exit_time) == (2, "long", "open")
    assert (second.exit_price, second.profit, second.reason) == ("", "", "")


def test_days():
    """Trades on daily bars are dated without a time."""
    result = a_result([1.0], flat_bars([100.0, 100.0], timeframe="1d"))

    (row,) = latest_rows(result, result.trades(), 10)

    assert row.entry_time == "2024-01-02"


def test_reasons_are_words():
    """An exit's reason reads as words."""
    bars = flat_bars([100.0, 100.0, 80.0, 80.0])
    result = a_result([1.0], bars, some_terms(stop_loss=0.1))

    (row,) = latest_rows(result, result.trades(), 10)

    assert row.reason == "stop loss"


def test_latest():
    """The latest trades come newest first and keep their numbers."""
    result = a_result([1.0, 0.0] * 10)

    assert [row.number for row in latest_rows(result, result.trades(), 3)] == [10, 9, 8]
    assert latest_rows(result, [], 3) == []


@pytest.mark.parametrize(("trades", "marked"), [(MARKED_MAX, MARKED_MAX), (MARKED_MAX + 500, MARKED_MAX)])
def test_marks_have_a_limit(trades, marked):
    """Up to the limit every trade is marked, above it as many as the limit, the first and the last among them."""
    result = a_result([1.0, 0.0] * trades, some_bars(2 * trades + 2))

    rows = marked_rows(result, result.trades())

    assert len(rows) == marked
    assert (rows[0].number, rows[-1].number) == (1, trades)
