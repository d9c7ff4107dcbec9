"""Monthly and yearly returns and drawdowns against numbers worked out by hand."""

import numpy as np
import pytest
from tests.builders import flat_bars, some_terms
from tests.unit.report.records import a_result

from peak_trade.report.returns import Year, drawdowns, return_text, year_returns


def days(*texts: str) -> list[int]:
    return [int(np.datetime64(text, "ns").astype(np.int64)) for text in texts]


def test_months_by_hand():
    """Ten units bought at 100 on 31 January end January at 0 %, February at 121 (+21 %) and March at 60.5 (-50 %)."""
    stamps = days("2024-01-30", "2024-01-31", "2024-02-01", "2024-02-29", "2024-03-01")
    bars = flat_bars([100.0, 100.0, 110.0, 121.0, 60.5], timestamp=stamps, timeframe="1d")

    (year,) = year_returns(a_result([1.0], bars, some_terms(cash="1000")))

    assert year.year == 2024
    assert year.months[:3] == pytest.approx((0.0, 0.21, -0.5))
    assert year.months[3:] == (None,) * 9
    assert year.total == pytest.approx(-0.395)


def test_years_chain():
    """December to January crosses the year, a month without bars is blank, and the years multiply to the whole run."""
    stamps = days("2023-10-01", "2023-10-02", "2023-12-31", "2024-01-01", "2024-01-02")
    bars = flat_bars([100.0, 100.0, 150.0, 75.0, 90.0], timestamp=stamps, timeframe="1d")
    result = a_result([1.0], bars)

    first, second = year_returns(result)

    assert (first.months[9], first.months[10], first.months[11]) == (pytest.approx(0.0), None, pytest.approx(0.5))
    assert second.months[0] == pytest.approx(-0.4)
    assert (1 + first.total) * (1 + second.total) - 1 == pytest.approx(result.metrics.total_return)


def test_before_1970():
    """Months before 1970 are months too."""
    stamps = days("1969-11-30", "1969-12-01", "1970-01-01")
    bars = flat_bars([10.0, 10.0, 20.0], timestamp=stamps, timeframe="1d")

    assert [year.year for year in year_returns(a_result([1.0], bars))] == [1969, 1970]


def test_nothing_left():
    """After equity is gone there is no return to compute, so the month stays blank."""
    stamps = days("2024-01-01", "2024-01-02", "2024-01-03", "2024-02-01")
    bars = flat_bars([100.0, 100.0, 300.0, 300.0], timestamp=stamps, timeframe="1d")

    (year,) = year_returns(a_result([-1.0], bars))

    assert year == Year(2024, (pytest.approx(-2.0), *(None,) * 11), pytest.approx(-2.0))


def test_drawdown_agrees():
    """The deepest point of the drawn curve is the metric."""
    result = a_result([1.0, 1.0, 0.0, -1.0] * 10)

    assert drawdowns(result).min() == pytest.approx(result.metrics.max_drawdown)
    assert drawdowns(result).max() <= 0.0


def test_return_texts():
    """One digit, no minus zero, blank where there is no return."""
    assert [return_text(value) for value in (0.1234, -0.0001, None)] == ["12.3%", "0.0%", ""]
