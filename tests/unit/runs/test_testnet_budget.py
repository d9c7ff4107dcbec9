"""The daily budget of testnet sessions: at the limit, across days, processes, crashes and clocks that go back."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.paths import ROOT

from peak_trade.model.errors import SafetyRefused, StorageError
from peak_trade.runs.trading import testnet_budget as budgets
from peak_trade.settings import DailyLimits

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
LIMITS = DailyLimits(max_runs=3, max_orders=4, max_minutes=30)

#: Charges orders until none is left, printing one letter for each that was granted.
GREEDY = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from peak_trade.runs.trading.testnet_budget import TestnetBudget
from peak_trade.settings import DailyLimits

budget = TestnetBudget(Path(sys.argv[1]), DailyLimits(max_orders=int(sys.argv[2])))
while budget.charge_order(sys.argv[3], datetime(2026, 11, 23, 12, tzinfo=UTC)):
    sys.stdout.write("x")
    sys.stdout.flush()
"""


def budget_in(folder, limits=LIMITS):
    return budgets.TestnetBudget(folder / "budget", limits)


def greedy(folder, most, name):
    """Start a process that takes all orders that there are."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen(
        [sys.executable, "-c", GREEDY, str(folder / "budget"), str(most), name],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_a_day_begins_whole(tmp_path):
    """Nothing is charged by looking."""
    assert budget_in(tmp_path).left(NOON) == (NOON.date(), 3, 4, Decimal(30))
    assert not (tmp_path / "budget").exists()


def test_orders_are_granted_up_to_the_limit(tmp_path):
    """The last one is granted, the next is not, and another budget over the same folder knows it."""
    budget = budget_in(tmp_path)

    assert [budget.charge_order("a", NOON) for _ in range(6)] == [True] * 4 + [False] * 2
    assert budget.orders_of("a", NOON) == 4
    assert budget_in(tmp_path).left(NOON).orders == 0
    assert not budget_in(tmp_path).charge_order("b", NOON)


def test_a_session_may_send_no_more_than_its_own(tmp_path):
    """A session's own limit holds, also after a restart, and leaves the rest of the day to others."""
    budget = budget_in(tmp_path)

    assert [budget.charge_order("a", NOON, 2) for _ in range(3)] == [True, True, False]
    assert not budget_in(tmp_path).charge_order("a", NOON, 2)
    assert budget.charge_order("b", NOON, 2)
    assert budget.left(NOON).orders == 1


def test_runs_end_at_the_limit(tmp_path):
    """A session more than the limit is refused with the limit's name."""
    budget = budget_in(tmp_path)
    for name in "abc":
        budget.begin_run(name, NOON, 1)

    with pytest.raises(SafetyRefused, match=r"3 runs \(testnet_limits\.daily\.max_runs\) on 2026-11-23"):
        budget.begin_run("d", NOON, 1)


def test_minutes_end_at_the_limit(tmp_path):
    """Exactly what is left may be asked for, a tenth of a second more may not; nothing is charged by the refusal."""
    budget = budget_in(tmp_path)
    budget.begin_run("a", NOON, 20.1)

    with pytest.raises(SafetyRefused, match=r"found 9\.9 left and 9\.902 asked for"):
        budget.begin_run("b", NOON, 9.902)
    budget.begin_run("c", NOON, 9.9)

    assert budget.left(NOON)[1:] == (1, 4, Decimal(0))


def test_no_session_begins_without_orders_left(tmp_path):
    """A session that could send nothing is refused at its beginning."""
    budget = budget_in(tmp_path)
    while budget.charge_order("a", NOON):
        pass

    with pytest.raises(SafetyRefused, match="max_orders"):
        budget.begin_run("b", NOON, 1)


def test_a_session_is_charged_once(tmp_path):
    """Beginning again under the same name costs nothing more."""
    budget = budget_in(tmp_path)
    budget.begin_run("a", NOON, 20)
    budget_in(tmp_path).begin_run("a", NOON, 20)

    assert budget.left(NOON)[1:] == (2, 4, Decimal(10))


def test_the_next_day_begins_whole(tmp_path):
    """At 00:00 UTC the budget is new; a moment before it is not."""
    budget = budget_in(tmp_path)
    budget.charge_order("a", NOON)
    midnight = datetime(2026, 11, 24, tzinfo=UTC)

    assert budget.left(midnight - timedelta(microseconds=1)).orders == 3
    assert budget.left(midnight).orders == 4


def test_the_day_is_that_of_utc(tmp_path):
    """A moment in another zone is charged to its day in UTC."""
    budget = budget_in(tmp_path)
    budget.charge_order("a", NOON.astimezone(timezone(timedelta(hours=14))))

    assert budget.left(NOON).orders == 3


def test_a_clock_that_goes_back_goes_on_with_the_latest_day(tmp_path):
    """Going back to yesterday gives no new budget, also to a process that starts then."""
    budget = budget_in(tmp_path)
    budget.charge_order("a", NOON)
    yesterday = NOON - timedelta(days=1)
    while budget.charge_order("a", yesterday):
        pass

    assert budget_in(tmp_path).left(yesterday) == (NOON.date(), 3, 0, Decimal(30))


def test_lower_limits_leave_nothing_below_zero(tmp_path):
    """Limits that were lowered below what is spent leave zero."""
    budget_in(tmp_path).begin_run("a", NOON, 20)

    left = budget_in(tmp_path, DailyLimits(max_runs=1, max_orders=1, max_minutes=5)).left(NOON)
    assert left[1:] == (0, 1, Decimal(0))


def test_two_processes_share_one_budget(tmp_path):
    """Two that charge at once are granted together exactly what there is."""
    both = [greedy(tmp_path, 60, name) for name in "ab"]
    granted = ["".join(process.communicate(timeout=60)[0]) for process in both]

    assert [process.returncode for process in both] == [0, 0]
    assert sum(map(len, granted)) == 60
    budget = budget_in(tmp_path, DailyLimits(max_orders=60))
    assert [budget.orders_of(name, NOON) for name in "ab"] == [len(text) for text in granted]


@pytest.mark.parametrize("after", [1, 7])
def test_a_killed_process_loses_no_charge(tmp_path, after):
    """What was granted before kill -9 is known afterwards, at most one more that nobody was told; then it goes on."""
    process = greedy(tmp_path, 1_000, "a")
    told = process.stdout.read(after)
    process.send_signal(signal.SIGKILL)
    told += process.communicate(timeout=60)[0]

    budget = budget_in(tmp_path, DailyLimits(max_orders=1_000))
    assert len(told) <= budget.orders_of("a", NOON) <= len(told) + 1
    assert budget.charge_order("b", NOON)


@given(cut=st.integers(1, 200))
def test_an_unfinished_line_was_granted_to_nobody(tmp_path_factory, cut):
    """Whatever part of the last line is on the disk, the lines before it count, and the next charge makes the file whole."""
    folder = tmp_path_factory.mktemp("cut")
    budget = budget_in(folder)
    budget.begin_run("a", NOON, 5)
    whole = budget.path(NOON.date()).read_bytes()
    budget.charge_order("a", NOON)
    path = budget.path(NOON.date())
    path.write_bytes(path.read_bytes()[: max(len(whole), path.stat().st_size - cut)])

    again = budget_in(folder)
    assert again.left(NOON)[1:] == (2, 4, Decimal(25))
    assert again.charge_order("b", NOON)
    assert budget_in(folder).left(NOON).orders == 3
    assert path.read_bytes().startswith(whole)


@pytest.mark.parametrize(
    "line", ["{}", "no json", '{"kind": "gift", "session": "a"}', '{"kind": "run", "session": "a", "minutes": "-5"}']
)
def test_a_damaged_file_grants_nothing(tmp_path, line):
    """A line that no budget wrote stops every charge, and the sentence names the file; restored, it goes on."""
    budget = budget_in(tmp_path)
    budget.charge_order("a", NOON)
    path = budget.path(NOON.date())
    sound = path.read_text()
    path.write_text(line + "\n" + sound)

    for one in (budget_in(tmp_path), budget):
        with pytest.raises(StorageError, match=r"2026-11-23-budget\.jsonl"):
            one.charge_order("a", NOON)
    path.write_text(sound)
    assert budget_in(tmp_path).left(NOON).orders == 3
    assert budget.charge_order("a", NOON)


def test_a_file_that_is_cut_or_gone_grants_nothing(tmp_path):
    """A budget that knows more than its file says grants nothing."""
    budget = budget_in(tmp_path)
    budget.charge_order("a", NOON)
    budget.charge_order("a", NOON)
    path = budget.path(NOON.date())
    path.write_text(path.read_text().splitlines()[0] + "\n")

    with pytest.raises(StorageError, match="it was cut"):
        budget.charge_order("a", NOON)
    assert budget.left(NOON).orders == 3
    path.unlink()
    with pytest.raises(StorageError, match="it is gone"):
        budget.charge_order("a", NOON)


def test_a_disk_that_refuses_grants_nothing(tmp_path, monkeypatch):
    """A line that did not reach the disk is no grant; it may count as spent, never the other way round."""
    budget = budget_in(tmp_path)
    budget.charge_order("a", NOON)

    def full(_handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="disk is full"):
            budget.charge_order("a", NOON)
    assert budget.left(NOON).orders in (2, 3)
    assert budget.left(NOON) == budget_in(tmp_path).left(NOON)


def test_an_order_charged_beforehand_is_charged_once(tmp_path):
    """It counts from then on, costs nothing when it is there, and the last one can't be had twice."""
    budget = budget_in(tmp_path)
    for used in range(1, 5):
        budget.prepay("a", NOON)
        budget.prepay("a", NOON)
        assert budget_in(tmp_path).left(NOON).orders == 4 - used
        assert budget.charge_order("a", NOON)
        assert budget_in(tmp_path).left(NOON).orders == 4 - used

    budget.prepay("a", NOON)
    assert not budget.charge_order("a", NOON)


def test_an_order_charged_beforehand_is_given_back(tmp_path):
    """What was not sent is there again, once; a process that dies before that forfeits it."""
    budget = budget_in(tmp_path)
    budget.prepay("a", NOON)
    budget.give_back(NOON)
    budget.give_back(NOON)
    assert budget_in(tmp_path).left(NOON).orders == 4

    budget.prepay("a", NOON)
    assert budget_in(tmp_path).left(NOON).orders == 3


def test_an_order_charged_beforehand_is_of_its_own_day(tmp_path):
    """On the next day it counts for nothing, and is not given back there; another session's it never is."""
    budget, tomorrow = budget_in(tmp_path), NOON + timedelta(days=1)
    budget.prepay("a", NOON)
    assert budget.charge_order("a", tomorrow)
    assert budget_in(tmp_path).left(tomorrow).orders == 3

    budget.prepay("a", tomorrow)
    assert budget.charge_order("b", tomorrow)
    assert budget_in(tmp_path).left(tomorrow).orders == 1
    budget.prepay("b", tomorrow)
    budget.give_back(tomorrow + timedelta(days=1))
    assert budget_in(tmp_path).left(tomorrow + timedelta(days=1)).orders == 4


def test_a_disk_that_refuses_charges_nothing_beforehand(tmp_path, monkeypatch):
    """Nothing is said then; the order itself hears why."""
    budget = budget_in(tmp_path)

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    budget.prepay("a", NOON)
    with pytest.raises(StorageError):
        budget.charge_order("a", NOON)
