"""Time and run ids."""

import random
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.model.clock import IdSource, MachineClock, moment_text, nanoseconds, parse_moment


class StoppedClock:
    """A clock that a test moves by hand."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment

    def elapsed_s(self) -> float:
        return 0.0


def test_run_ids_sort_by_time():
    """An id made later sorts later, to the millisecond."""
    clock = StoppedClock(datetime(2026, 11, 23, 2, 15, 30, 123_000, tzinfo=UTC))
    ids = IdSource(clock, random.Random(1))

    first = ids.next_run()
    clock.moment += timedelta(milliseconds=1)
    second = ids.next_run()

    assert first.startswith("20261123T021530123Z-")
    assert first < second


def test_the_machine_clock_is_aware():
    """The present is in UTC and the stopwatch does not run backwards."""
    clock = MachineClock()
    begun = clock.elapsed_s()

    assert clock.now().tzinfo is UTC
    assert clock.elapsed_s() >= begun


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2018-01-01", datetime(2018, 1, 1, tzinfo=UTC)),
        ("2018-01-01T12:30", datetime(2018, 1, 1, 12, 30, tzinfo=UTC)),
        ("2018-01-01T12:30:00+02:00", datetime(2018, 1, 1, 10, 30, tzinfo=UTC)),
        ("2018-01-01T12:30:00Z", datetime(2018, 1, 1, 12, 30, tzinfo=UTC)),
    ],
)
def test_moments_are_utc(text, moment):
    """A date without a zone means UTC, one with a zone is converted."""
    assert parse_moment(text) == moment


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(timezone(timedelta(hours=3)))))
def test_nanoseconds_are_exact(moment):
    """Nanoseconds and their text come back as the same moment, to the microsecond."""
    assert parse_moment(moment_text(nanoseconds(moment))) == moment
