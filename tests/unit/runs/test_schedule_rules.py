"""When jobs are due, and what becomes of times that were missed: every time is run or counted, once."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.model.errors import InputError
from peak_trade.runs.schedule.rules import (
    BACK_MOST,
    COALESCED,
    COUNT_MAX,
    KILLED,
    LATE,
    OVERLAP,
    DueRule,
    Dues,
    JobTurn,
    MissedDues,
    put_back,
    turn,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def test_an_interval_lies_on_a_grid_of_its_own():
    """Due times do not depend on when somebody asked first."""
    rule = DueRule.at_every("15m")

    assert rule.after(NOON) == NOON + 15 * MINUTE
    assert rule.after(NOON - timedelta(microseconds=1)) == NOON
    assert rule.after(NOON + timedelta(seconds=7)) == NOON + 15 * MINUTE


def test_a_cron_line_is_due_in_utc():
    """All fields have to fit; weekdays have names."""
    rule = DueRule.at_cron("30 2 * * mon-fri")

    assert rule.after(NOON) == datetime(2026, 3, 2, 2, 30, tzinfo=UTC)  # 1 March 2026 is a Sunday
    assert rule.after(datetime(2026, 3, 2, 2, 30, tzinfo=UTC)) == datetime(2026, 3, 3, 2, 30, tzinfo=UTC)
    assert rule.after(datetime(2026, 3, 6, 2, 30, tzinfo=UTC)) == datetime(2026, 3, 9, 2, 30, tzinfo=UTC)


def test_daylight_saving_skips_and_repeats_nothing():
    """On the days on which clocks in Europe change, an hourly job is due 24 times."""
    rule = DueRule.at_cron("30 * * * *")
    for day in (datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)):
        dues = rule.between(day, day + DAY)

        assert dues == Dues(day + 30 * MINUTE, day + DAY - 30 * MINUTE, 24)


@pytest.mark.parametrize(
    "text",
    ["", "* * * *", "60 * * * *", "*/0 * * * *", "0 0 30 2 *", "0 0 * * 1", "0 0 * * 1-5", "0 0 * * sun-mon", "a b c d e"],
)
def test_a_line_that_is_none_is_refused(text):
    """Also one that never comes, and weekdays by number, which mean different days to different programs."""
    with pytest.raises(InputError, match=r"expected .* found .*; (correct it|write for example)"):
        DueRule.at_cron(text)


@pytest.mark.parametrize("text", ["", "0m", "15", "m", "1.5h", "-1m", "15 m", "1w", "9999999s"])
def test_an_interval_that_is_none_is_refused(text):
    """A whole number with its unit, and nothing else."""
    with pytest.raises(InputError, match="expected an interval"):
        DueRule.at_every(text)


def test_grace_to_the_instant():
    """A run begins at the last instant of its grace, and no later."""
    rule = DueRule.at_every("1h")

    assert turn(rule, NOON, NOON + HOUR - timedelta(microseconds=1), MINUTE) == JobTurn(None, ())
    assert turn(rule, NOON, NOON + HOUR, MINUTE) == JobTurn(NOON + HOUR, ())
    assert turn(rule, NOON, NOON + HOUR + MINUTE, MINUTE) == JobTurn(NOON + HOUR, ())
    late = turn(rule, NOON, NOON + HOUR + MINUTE + timedelta(microseconds=1), MINUTE)
    assert late == JobTurn(None, (MissedDues(Dues(NOON + HOUR, NOON + HOUR, 1), LATE),))


def test_the_last_of_several_stands_for_all():
    """After a night's sleep one run is begun, and the others are told."""
    rule = DueRule.at_every("1h")

    found = turn(rule, NOON, NOON + 8 * HOUR + MINUTE, DAY)

    assert found == JobTurn(NOON + 8 * HOUR, (MissedDues(Dues(NOON + HOUR, NOON + 7 * HOUR, 7), COALESCED),))
    by_cron = turn(DueRule.at_cron("0 * * * *"), NOON, NOON + 8 * HOUR + MINUTE, DAY)
    assert by_cron == found


@pytest.mark.parametrize("why", [OVERLAP, KILLED])
def test_what_is_stopped_is_counted(why):
    """While something stops a job its times are missed, with the reason."""
    found = turn(DueRule.at_every("1h"), NOON, NOON + 2 * HOUR, DAY, why)

    assert found == JobTurn(None, (MissedDues(Dues(NOON + HOUR, NOON + 2 * HOUR, 2), why),))


def test_years_are_counted_at_least():
    """A cron line that came a million times is not counted one by one, and its last time is right."""
    now = NOON + timedelta(days=800, seconds=20)
    dues = DueRule.at_cron("* * * * *").between(NOON, now)

    assert dues == Dues(NOON + MINUTE, NOON + timedelta(days=800), COUNT_MAX, exact=False)
    rare = DueRule.at_cron("0 0 29 2 *").between(NOON, datetime(2033, 1, 1, tzinfo=UTC))
    assert rare == Dues(datetime(2028, 2, 29, tzinfo=UTC), datetime(2032, 2, 29, tzinfo=UTC), 2)
    every = DueRule.at_every("1s").between(NOON, now)
    assert every == Dues(NOON + timedelta(seconds=1), now, 800 * 86_400 + 20)


RULES = [DueRule.at_every("7m"), DueRule.at_every("1h"), DueRule.at_cron("*/20 8-17 * * mon-fri"), DueRule.at_cron("5 0 1 * *")]


@given(
    rule=st.sampled_from(RULES),
    steps=st.lists(st.tuples(st.integers(1, 200_000), st.sampled_from(["", "", OVERLAP, KILLED])), max_size=12),
    grace_s=st.sampled_from([0, 59, 3_600, 86_400]),
)
def test_each_time_is_run_or_missed_once(rule, steps, grace_s):
    """However seldom somebody looks, and whatever stops the job."""
    considered, now, runs, missed = NOON, NOON, [], 0
    for seconds, stopped in steps:
        now += timedelta(seconds=seconds)
        found = turn(rule, considered, now, timedelta(seconds=grace_s), stopped)
        for item in found.missed:
            assert considered < item.dues.first <= item.dues.last <= now
            missed, considered = missed + item.dues.number, item.dues.last
        if found.due is not None:
            assert considered < found.due <= now
            assert now - found.due <= timedelta(seconds=grace_s)
            assert not stopped
            runs.append(found.due)
            considered = found.due

    expected, moment = 0, NOON
    while (moment := rule.after(moment)) is not None and moment <= now:
        expected += 1
    assert len(runs) + missed == expected
    assert len(set(runs)) == len(runs)


def test_a_clock_that_goes_back_repeats_nothing_but_keeps_nobody_waiting():
    """Up to an hour is waited for; beyond, the clock was wrong before."""
    assert put_back(NOON, NOON - BACK_MOST) == NOON
    assert put_back(NOON, NOON - BACK_MOST - timedelta(microseconds=1)) == NOON - BACK_MOST - timedelta(microseconds=1)
    assert put_back(NOON, NOON + HOUR) == NOON
