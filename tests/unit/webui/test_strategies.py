"""The page of a strategy: its picture of trials over time."""

import re

from hypothesis import given
from hypothesis import strategies as st

from peak_trade.webui.strategies import step_path

DAYS = [{"day": "2026-01-01", "total": 4, "different": 2}, {"day": "2026-01-03", "total": 8, "different": 2}]


def test_steps_up_to_each_day():
    """It begins at zero, goes up where a day's trials were tried, and ends at the right edge; both lines share one scale."""
    assert step_path(DAYS, "total") == "M0 138.0H0.0V70.0H600.0V2.0H600.0"
    assert step_path(DAYS, "different") == "M0 138.0H0.0V104.0H600.0V104.0H600.0"


@given(st.lists(st.tuples(st.integers(1, 900), st.integers(1, 10**6)), min_size=1, max_size=30, unique_by=lambda pair: pair[0]))
def test_stays_in_its_frame(given_days):
    """Whatever was tried when, no point lies outside of the picture."""
    days = [
        {"day": f"{2000 + day // 365}-01-{1 + day % 28:02}", "total": count, "different": count // 2}
        for day, count in sorted(given_days)
    ]
    days.sort(key=lambda item: item["day"])
    for which in ("total", "different"):
        path = step_path(days, which)
        assert all(0.0 <= float(x) <= 600.0 for x in re.findall(r"H([-\d.]+)", path))
        assert all(2.0 <= float(y) <= 138.0 for y in re.findall(r"V([-\d.]+)", path))


def test_one_day():
    """A single day is a step at the left edge."""
    assert step_path(DAYS[:1], "total") == "M0 138.0H0.0V2.0H600.0"
