"""When jobs are due, and what becomes of the times at which they could not run: functions of moments alone.

A rule is a cron line or an interval, both in UTC, where no hour is skipped or comes twice. An interval lies on a grid that
begins with 1970, so that when something is due does not depend on when the scheduler was started.

Invariant: every time that a rule names is either run or counted as missed, with the reason; none is looked at twice.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from peak_trade.model.errors import InputError

if TYPE_CHECKING:
    from apscheduler.triggers.cron import CronTrigger

#: What a grid of intervals begins with.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Times that are counted one by one; beyond, their number is told as at least this.
COUNT_MAX = 10_000
#: A clock that went back further than this was wrong before: jobs are not kept waiting for it to come there again.
BACK_MOST = timedelta(hours=1)
#: Why a time was missed: a later one ran in its place, it was found too late, the run before was still going on,
#: the kill switch was on, or an account was held.
COALESCED, LATE, OVERLAP, KILLED, HELD = "coalesced", "late", "overlap", "kill_switch", "hold"

_UNITS: Mapping[str, int] = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_EVERY = re.compile(r"([1-9]\d{0,5})([smhd])")
_INSTANT = timedelta(microseconds=1)


class Dues(NamedTuple):
    """Times that have come: the first, the last, and how many; `exact` tells whether that is not only the least."""

    first: datetime
    last: datetime
    number: int
    exact: bool = True


class MissedDues(NamedTuple):
    """Times at which a job did not run, and why."""

    dues: Dues
    why: str


class JobTurn(NamedTuple):
    """What is to be done about a job now: run the time that is due, or not, and what was missed."""

    due: datetime | None
    missed: tuple[MissedDues, ...]


@dataclass(frozen=True)
class DueRule:
    """When a job is due: a cron line of five fields, or an interval such as 15m; `text` is as it was written."""

    text: str
    every: timedelta | None = None

    @classmethod
    def at_cron(cls, text: str) -> "DueRule":
        """Read a cron line: minute, hour, day, month, weekday by name; all fields have to fit, in UTC.

        Raises:
            InputError: it is none, or never comes.
        """
        words = " ".join(text.split())
        rule = cls(words)
        weekday = words.split()[-1] if words else ""
        if len(words.split()) == 5 and re.search(r"\d", weekday.partition("/")[0]):
            # Numbers of weekdays mean one thing to cron and another to the library; a name means the same to all.
            raise InputError(f"expected weekdays by name in the cron line {text!r}, found {weekday}; write for example mon-fri")
        try:
            never = rule.after(EPOCH.replace(year=2026)) is None
        except ValueError as error:
            raise InputError(
                f"expected a cron line such as '30 2 * * mon-fri', found {text!r} ({error}); correct it"
            ) from error
        if never:
            raise InputError(f"expected a cron line that names a day there is, found {text!r}, which never comes; correct it")
        return rule

    @classmethod
    def at_every(cls, text: str) -> "DueRule":
        """Read an interval: a whole number of seconds, minutes, hours or days, as 30s, 15m, 6h or 1d.

        Raises:
            InputError: it is none.
        """
        found = _EVERY.fullmatch(text)
        if not found:
            raise InputError(f"expected an interval such as 30s, 15m, 6h or 1d, found {text!r}; correct it")
        return cls(f"every {text}", timedelta(seconds=int(found[1]) * _UNITS[found[2]]))

    @cached_property
    def _cron(self) -> "CronTrigger":
        from apscheduler.triggers.cron import CronTrigger

        return CronTrigger.from_crontab(self.text, timezone=UTC)

    def after(self, moment: datetime) -> datetime | None:
        """Return the next time that comes later than a moment; None where none does."""
        if self.every is not None:
            return EPOCH + ((moment - EPOCH) // self.every + 1) * self.every
        found: datetime | None = self._cron.get_next_fire_time(None, moment + _INSTANT)
        return found

    def between(self, since: datetime, now: datetime) -> Dues | None:
        """Return the times later than *since* and not later than *now*; None where there is none."""
        first = self.after(since)
        if first is None or first > now:
            return None
        if self.every is not None:
            last = EPOCH + ((now - EPOCH) // self.every) * self.every
            return Dues(first, last, (last - first) // self.every + 1)
        last, count = first, 1
        while count < COUNT_MAX:
            following = self.after(last)
            if following is None or following > now:
                return Dues(first, last, count)
            last, count = following, count + 1
        return Dues(first, self._last(last, now), count, exact=False)

    def _last(self, known: datetime, now: datetime) -> datetime:
        """Return the last time up to now, looking back from there, so that years cost no more than days."""
        for back in (timedelta(hours=1), timedelta(days=1), timedelta(days=32), timedelta(days=366)):
            last, following = None, self.after(max(known, now - back))
            while following is not None and following <= now:
                last, following = following, self.after(following)
            if last is not None:
                return last
        return known


def turn(rule: DueRule, considered: datetime, now: datetime, grace: timedelta, stopped: str = "") -> JobTurn:
    """Return what is to be done about a job.

    Of several times that have come the last one runs, and it stands for those before it. One that is found later than the
    grace allows does not run; nor does any while something stops the job.

    Args:
        considered: the last time that was dealt with.
        grace: how long after its time a run may still begin.
        stopped: why the job can't begin, as one of the reasons above; empty where it can.
    """
    dues = rule.between(considered, now)
    if dues is None:
        return JobTurn(None, ())
    if stopped:
        return JobTurn(None, (MissedDues(dues, stopped),))
    if now - dues.last > grace:
        return JobTurn(None, (MissedDues(dues, LATE),))
    if dues.number == 1:
        return JobTurn(dues.last, ())
    return JobTurn(dues.last, (MissedDues(_but_last(rule, dues), COALESCED),))


def put_back(considered: datetime, now: datetime) -> datetime:
    """Return the last time dealt with as it counts after the clock went back.

    A small step back repeats nothing: jobs wait until the clock is there again. After a large one they begin anew from now.
    """
    return now if considered - now > BACK_MOST else considered


def _but_last(rule: DueRule, dues: Dues) -> Dues:
    """Return the times before the last one; several have come."""
    if rule.every is not None:
        return Dues(dues.first, dues.last - rule.every, dues.number - 1)
    before = dues.first
    if dues.exact:
        while (following := rule.after(before)) is not None and following < dues.last:
            before = following
    return Dues(dues.first, before, dues.number - 1, dues.exact)
