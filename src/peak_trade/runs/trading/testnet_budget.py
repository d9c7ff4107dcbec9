"""What testnet sessions may still do on a UTC day: runs, orders and minutes, charged before they are used.

Each day has a file of its own, to which each charge appends a line and is forced to disk before it counts as granted. A lock
lets one process charge at a time; a reader needs none.

Invariant: what was granted is never forgotten, whatever kills the process: an unfinished last line was granted to nobody.
Invariant: the day never goes back; a clock that does goes on charging the latest day there is.
"""

import contextlib
import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NamedTuple

import filelock

from peak_trade.durable import force, storing
from peak_trade.model.clock import moment_text, nanoseconds
from peak_trade.model.errors import SafetyRefused, StorageError
from peak_trade.settings import DailyLimits

#: The folder of budgets within the state folder.
BUDGET_FOLDER = "testnet_budget"
RUN, ORDER, BACK = "run", "order", "back"
#: How long one who charges waits for another.
LOCK_WAIT_S = 10.0
_END = "-budget.jsonl"


class Left(NamedTuple):
    """What is left of a day, and when the next one begins to count; minutes are exact."""

    day: date
    runs: int
    orders: int
    minutes: Decimal


@dataclass(frozen=True, slots=True)
class Spent:
    """What was charged on a day.

    Attributes:
        runs: ids of the sessions that began.
        orders: how many each session sent.
        minutes: as they were asked for, exact.
    """

    runs: frozenset[str] = frozenset()
    orders: Counter[str] = field(default_factory=Counter)
    minutes: Decimal = Decimal(0)

    def plus(self, line: dict[str, Any]) -> "Spent":
        """Return what is spent after one more line.

        Raises:
            KeyError, ValueError: it is no line of a budget.
        """
        session = str(line["session"])
        if line["kind"] == RUN:
            return replace(self, runs=self.runs | {session}, minutes=self.minutes + _minutes(line["minutes"]))
        if line["kind"] == ORDER:
            return replace(self, orders=self.orders + Counter({session: 1}))
        if line["kind"] == BACK and self.orders[session]:
            return replace(self, orders=self.orders - Counter({session: 1}))
        raise ValueError(line["kind"])

    def left(self, day: date, limits: DailyLimits) -> Left:
        """Return what is left under limits; never below zero, also where limits were lowered meanwhile."""
        return Left(
            day,
            max(0, limits.max_runs - len(self.runs)),
            max(0, limits.max_orders - self.orders.total()),
            max(Decimal(0), _minutes(limits.max_minutes) - self.minutes),
        )


class TestnetBudget:
    """The budget in one state folder, under the configured limits."""

    def __init__(self, folder: Path, limits: DailyLimits) -> None:
        self._folder, self._limits = folder, limits
        self._mine = threading.Lock()
        self._prepaid: tuple[str, date] | None = None
        self._day: date | None = None
        self._read = 0
        self._spent = Spent()

    def begin_run(self, session_id: str, now: datetime, minutes: float) -> None:
        """Charge a session and its minutes; one that was charged on this day already costs nothing more.

        Raises:
            SafetyRefused: no run, or not so many minutes, are left.
            StorageError: the disk refused, or the file is damaged; nothing was charged.
        """
        with self._charging(now) as day:
            if session_id in self._spent.runs:
                return
            self._check(self._spent.left(day, self._limits), 1, minutes)
            self._append(day, {"kind": RUN, "session": session_id, "minutes": str(_minutes(minutes))}, now)

    def check_runs(self, now: datetime, runs: int, minutes: float) -> None:
        """Let sessions of so many minutes together pass where they could begin now; charges nothing.

        Raises:
            SafetyRefused: not so many runs or minutes, or no orders, are left.
            StorageError: the file can't be read or is damaged.
        """
        self._check(self.left(now), runs, minutes)

    def charge_order(self, session_id: str, now: datetime, most: int | None = None) -> bool:
        """Charge an order; return whether it may be sent.

        Args:
            session_id: whose order it is. now: the present.
            most: how many that session may send on a day; None: as many as there are.

        Raises:
            StorageError: the disk refused, or the file is damaged; nothing was charged.
        """
        with self._mine:
            paid, self._prepaid = self._prepaid, None
            if paid is not None and paid[0] == session_id and now.astimezone(UTC).date() <= paid[1]:
                return True
            return self._charged(session_id, now, most)

    def prepay(self, session_id: str, now: datetime) -> None:
        """Charge the next order of a session before it is there, so that it need not wait for the disk; at most one.

        Where that can't be done nothing is charged, and the order itself will hear why. A process that dies forfeits it.
        """
        with self._mine, contextlib.suppress(StorageError):
            if self._prepaid is None and self._charged(session_id, now, None):
                self._prepaid = session_id, self._day or now.date()

    def give_back(self, now: datetime) -> None:
        """Return an order that was charged and not sent; on its own day only.

        Raises:
            StorageError: the disk refused; it is forfeited.
        """
        with self._mine:
            paid, self._prepaid = self._prepaid, None
            if paid is not None:
                with self._charging(now) as day:
                    if day == paid[1]:
                        self._append(day, {"kind": BACK, "session": paid[0]}, now)

    def _charged(self, session_id: str, now: datetime, most: int | None) -> bool:
        with self._charging(now) as day:
            if not self._spent.left(day, self._limits).orders:
                return False
            if most is not None and self._spent.orders[session_id] >= most:
                return False
            self._append(day, {"kind": ORDER, "session": session_id}, now)
            return True

    def left(self, now: datetime) -> Left:
        """Return what is left; needs no lock.

        Raises:
            StorageError: the file can't be read or is damaged.
        """
        day = self._catch_up(now)
        return self._spent.left(day, self._limits)

    def orders_of(self, session_id: str, now: datetime) -> int:
        """Return how many orders a session was charged on this day.

        Raises:
            StorageError: the file can't be read or is damaged.
        """
        self._catch_up(now)
        return self._spent.orders[session_id]

    def path(self, day: date) -> Path:
        """Return the file of a day."""
        return self._folder / f"{day.isoformat()}{_END}"

    def _check(self, left: Left, runs: int, minutes: float) -> None:
        limits = self._limits
        if left.runs < runs:
            found = f"{left.runs or 'none'} left and {runs} asked for"
            raise _used_up(f"{limits.max_runs} runs (testnet_limits.daily.max_runs)", found, left.day)
        if not left.orders:
            raise _used_up(f"{limits.max_orders} orders (testnet_limits.daily.max_orders)", "none left", left.day)
        if left.minutes < (asked := _minutes(minutes)):
            most = f"{limits.max_minutes:g} minutes (testnet_limits.daily.max_minutes)"
            raise _used_up(most, f"{left.minutes.normalize():f} left and {asked.normalize():f} asked for", left.day)

    @contextlib.contextmanager
    def _charging(self, now: datetime) -> Iterator[date]:
        """Hold the lock, know everything that was charged, and have the day's file end in a whole line."""
        with storing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(self._folder / "budget.lock")
        try:
            with storing(self._folder):
                lock.acquire(timeout=LOCK_WAIT_S)
        except filelock.Timeout as error:
            raise StorageError(
                f"expected to charge the testnet budget, found it held for over {LOCK_WAIT_S:g} s by another process; end that"
            ) from error
        try:
            day = self._catch_up(now)
            self._mend(day)
            yield day
        finally:
            lock.release()

    def _catch_up(self, now: datetime) -> date:
        """Read what was appended since the last look; return the day that counts."""
        day = max([now.astimezone(UTC).date(), *self._days()])
        if day != self._day:
            self._day, self._read, self._spent = day, 0, Spent()
        path = self.path(day)
        try:
            with path.open("rb") as file:
                file.seek(self._read)
                found = file.read()
        except FileNotFoundError:
            if self._read:
                raise self._damaged(path, "it is gone") from None
            return day
        except OSError as error:
            raise StorageError(f"expected to read {path}, found that it can't be ({error.strerror}); check the disk") from error
        if path.stat().st_size < self._read:
            raise self._damaged(path, "it was cut")
        whole = found[: found.rfind(b"\n") + 1]
        for line in whole.splitlines():
            try:
                self._spent = self._spent.plus(json.loads(line))
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise self._damaged(path, f"a line of it is no charge: {line[:60]!r}") from error
        self._read += len(whole)
        return day

    def _days(self) -> list[date]:
        try:
            names = os.listdir(self._folder)  # noqa: PTH208 - once for each order; ten times as fast as Path objects
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(f"expected to read {self._folder}, found that it can't be ({error.strerror})") from error
        days = []
        for name in names:
            with contextlib.suppress(ValueError):
                days += [date.fromisoformat(name.removesuffix(_END))] if name.endswith(_END) else []
        return days

    def _mend(self, day: date) -> None:
        """Cut off a last line that was not finished: nobody was granted it."""
        path = self.path(day)
        with storing(path):
            if path.exists() and path.stat().st_size > self._read:
                os.truncate(path, self._read)

    def _append(self, day: date, line: dict[str, Any], now: datetime) -> None:
        path = self.path(day)
        text = json.dumps({"at": moment_text(nanoseconds(now))} | line).encode() + b"\n"
        with storing(path):
            begins = not path.exists()
            handle = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
            try:
                if os.write(handle, text) != len(text):
                    raise OSError(28, "No space left on device")
                os.fsync(handle)
            finally:
                os.close(handle)
            if begins:
                force(self._folder)
        self._spent = self._spent.plus(json.loads(text))
        self._read += len(text)

    def _damaged(self, path: Path, why: str) -> StorageError:
        self._day = None  # a file that is restored is read from its beginning
        return StorageError(
            f"expected the testnet budget of the day in {path}, found that {why}; restore it, or wait for the next UTC day"
        )


def _minutes(value: object) -> Decimal:
    """Return minutes, exact.

    Raises:
        ValueError: they are no number, or negative.
    """
    try:
        found = Decimal(str(value))
    except InvalidOperation as error:
        raise ValueError(value) from error
    if not (found.is_finite() and found >= 0):
        raise ValueError(value)
    return found


def _used_up(limit: str, found: str, day: date) -> SafetyRefused:
    return SafetyRefused(
        f"expected a testnet budget of {limit} on {day.isoformat()} to be enough, found {found}; wait for the "
        "next UTC day, or raise that limit: peak-trade testnet budget shows what is left"
    )
