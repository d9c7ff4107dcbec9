"""The scheduler in simulated time: what it begins, ends, misses, tells and remembers, without a process."""

from datetime import UTC, datetime, timedelta

import pytest

from peak_trade import compose
from peak_trade.compose import Parts
from peak_trade.journal.signing import Verifier, public_path
from peak_trade.journal.verify import verify_account
from peak_trade.model.clock import MachineClock
from peak_trade.model.errors import SafetyRefused, StorageError
from peak_trade.runs.alerts import alerts
from peak_trade.runs.alerts.file import AlertFile
from peak_trade.runs.journal_check import verify_journals
from peak_trade.runs.schedule import record as schedule_record
from peak_trade.runs.schedule import scheduler
from peak_trade.runs.schedule.file import read_schedule
from peak_trade.runs.schedule.record import ScheduleRecord, last_runs, states_of
from peak_trade.safety.holds import Hold, HoldKind
from peak_trade.settings import checked

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FILE = """
[scheduler]
stop_grace_s = 10

[jobs.check]
command = ["journal", "verify"]
every = "1m"
timeout_minutes = 5

[jobs.morning]
command = ["session", "run", "--strategy", "ma_crossover", "--account", "paper"]
cron = "0 13 * * *"

[jobs.any_account]
command = ["testnet", "run", "quick_smoke"]
cron = "0 13 * * *"
"""


class HandClock(MachineClock):
    """A clock that a test moves: what it shows, and how much time passed, each by itself."""

    def __init__(self):
        self.shown, self.passed_s = NOON, 0.0

    def now(self):
        return self.shown

    def elapsed_s(self):
        return self.passed_s

    def go(self, seconds, *, passed=None):
        self.shown += timedelta(seconds=seconds)
        self.passed_s += seconds if passed is None else passed


class FakeRun:
    """A run that ends when a test says so."""

    def __init__(self, job):
        self.job, self.code, self.asked, self.killed = job, None, 0, 0
        self.process = {"pid": 1, "ticks": None, "boot": None}

    def poll(self):
        return self.code

    def ask(self):
        self.asked += 1

    def kill(self):
        self.killed, self.code = self.killed + 1, -9

    def told(self):
        return {"made": ["run_id=r1"], "said": "" if self.code == 0 else "it said why"}


class Desk:
    """A scheduler over a folder, its clock, and every run that it began."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.clock, self.runs, self.said = folder, HandClock(), [], []
        monkeypatch.setattr("os.fsync", lambda _handle: None)
        (folder / "scheduler.toml").write_text(FILE)
        self.schedule = read_schedule(folder / "scheduler.toml")
        monkeypatch.setattr(compose, "MachineClock", lambda: self.clock)
        self.parts = Parts(checked({}, text="", path=folder / "config.toml"))

    def opened(self):
        return ScheduleRecord.opened(self.parts, self.schedule)

    def over(self, record):
        found = scheduler.Scheduler(self.parts, self.schedule, record, self.said.append, self.launch)
        found.begin()
        found.tick()
        return found

    def launch(self, _parts, job, _run):
        self.runs.append(FakeRun(job.name))
        return self.runs[-1]

    def state(self, name="check"):
        return states_of(self.parts)[name]

    def told(self):
        """Return the keys of the conditions that people were told of and that go on."""
        alerts.flush(self.parts)
        book = AlertFile(self.parts.state).book()
        return [(notice.what, notice.key) for notice in book.notices.values()]


@pytest.fixture
def desk(tmp_path, monkeypatch):
    found = Desk(tmp_path, monkeypatch)
    yield found
    alerts.flush(found.parts)
    found.parts.close()


def test_a_job_runs_when_it_is_due_and_is_remembered(desk):
    """Nothing before its time, then one run, whose end and what it made are in the record."""
    with desk.opened() as record:
        at_work = desk.over(record)
        assert desk.runs == []
        assert at_work.wait_s() == 30
        desk.clock.go(45)
        assert at_work.wait_s() == 15
        desk.clock.go(15)
        at_work.tick()
        assert [run.job for run in desk.runs] == ["check"]
        assert at_work.busy
        desk.clock.go(3)
        desk.runs[0].code = 0
        at_work.tick()
        assert not at_work.busy

    state = desk.state()
    assert (state.runs, state.missed, state.failures, state.running) == (1, 0, 0, None)
    assert state.considered == "2026-03-01T12:01:00+00:00"
    assert state.last is not None
    assert (state.last["status"], state.last["exit_code"], state.last["made"]) == ("completed", 0, ["run_id=r1"])
    assert state.last["ended"] == "2026-03-01T12:01:03+00:00"


def test_a_run_that_goes_on_is_not_begun_again(desk):
    """Times that come meanwhile are missed, and people are told; the next one after the end runs."""
    with desk.opened() as record:
        at_work = desk.over(record)
        for _ in range(4):
            desk.clock.go(60)
            at_work.tick()
        assert len(desk.runs) == 1
        assert desk.state().missed == 3
        assert ("alert", "job.check") in desk.told()
        desk.runs[0].code = 0
        desk.clock.go(60)
        at_work.tick()
        assert len(desk.runs) == 2

    assert [item["why"] for item in last_runs(desk.parts, 9) if item["kind"] == "job_missed"] == ["overlap"] * 3


def test_what_was_missed_while_the_machine_slept_is_told(desk):
    """One run stands for a night of times; a session whose hour is long over does not begin."""
    with desk.opened() as record:
        at_work = desk.over(record)
        desk.clock.go(8 * 3_600, passed=1)
        at_work.tick()
        assert [run.job for run in desk.runs] == ["check"]
        lines = list(schedule_record.read(schedule_record.segments(desk.parts.state, "scheduler")[-1]))

    assert [line.body["words"] for line in lines if line.kind == "clock"] == ["the clock was set ahead, or the machine slept"]
    check, morning = desk.state("check"), desk.state("morning")
    assert check.last_missed is not None
    assert morning.last_missed is not None
    assert (check.missed, check.last_missed["why"]) == (479, "coalesced")
    assert (morning.missed, morning.last_missed["why"], morning.runs) == (1, "late", 0)
    assert ("alert", "job.morning") in desk.told()


def test_what_was_missed_while_no_scheduler_ran_is_told(desk):
    """The next one knows the last time that was dealt with."""
    with desk.opened() as record:
        desk.over(record)
    desk.clock.go(600)
    with desk.opened() as record:
        desk.over(record)

    assert (len(desk.runs), desk.state().missed) == (1, 9)


def test_a_job_that_is_there_for_the_first_time_missed_nothing(desk):
    """Nor does one whose rule was changed."""
    with desk.opened() as record:
        desk.over(record)
    desk.clock.go(86_400)
    (desk.folder / "scheduler.toml").write_text(FILE.replace("1m", "2m") + '[jobs.more]\ncommand = ["backup"]\nevery = "1m"\n')
    desk.schedule = read_schedule(desk.folder / "scheduler.toml")
    with desk.opened() as record:
        desk.over(record)

    assert (desk.state().missed, desk.state("more").missed, desk.runs) == (0, 0, [])


def test_a_clock_set_back_repeats_nothing(desk):
    """After a small step jobs wait until the clock is there again; after a large one they begin anew."""
    with desk.opened() as record:
        at_work = desk.over(record)
        desk.clock.go(60)
        at_work.tick()
        desk.runs[0].code = 0
        desk.clock.go(-1_800, passed=1)
        at_work.tick()
        desk.clock.go(1_799)
        at_work.tick()
        assert len(desk.runs) == 1
        desk.clock.go(61)
        at_work.tick()
        assert len(desk.runs) == 2
        desk.runs[1].code = 0
        desk.clock.go(-86_400, passed=1)
        at_work.tick()
        desk.clock.go(60)
        at_work.tick()
        assert len(desk.runs) == 3

    assert sum("set back" in words for words in desk.said) == 2


@pytest.mark.parametrize("level", [59.0, 60.0])
def test_a_session_begins_up_to_a_minute_late(desk, level):
    """The limit of the kind, from both sides."""
    with desk.opened() as record:
        at_work = desk.over(record)
        desk.clock.go(3_600 + level + (0.000001 if level == 60 else 1))
        at_work.tick()

    assert ("morning" in [run.job for run in desk.runs]) == (level == 59)


def test_the_kill_switch_keeps_sessions_from_beginning(desk):
    """Other jobs go on; the time is told as missed, and a person can't begin it by hand either."""
    desk.parts.kill_switch.trip("ada", "prices look wrong", NOON)
    with desk.opened() as record:
        at_work = desk.over(record)
        with pytest.raises(SafetyRefused, match="found that the kill switch was on; nothing was begun"):
            at_work.run_by_hand(desk.schedule.job("morning"))
        desk.clock.go(3_600)
        at_work.tick()

    assert [run.job for run in desk.runs] == ["check"]
    for name in ("morning", "any_account"):
        missed = desk.state(name).last_missed
        assert missed is not None
        assert missed["why"] == "kill_switch"


def test_a_hold_keeps_the_sessions_of_its_account_from_beginning(desk):
    """One whose command names no account begins only where nothing is held."""
    desk.parts.holds.place("spare", Hold(NOON.isoformat(), "ada", "why", HoldKind.PAUSE, "asked"), NOON)
    with desk.opened() as record:
        at_work = desk.over(record)
        desk.clock.go(3_600)
        at_work.tick()
    assert [run.job for run in desk.runs] == ["check", "morning"]
    missed = desk.state("any_account").last_missed
    assert missed is not None
    assert missed["why"] == "hold"


def test_a_run_that_takes_too_long_is_ended(desk):
    """It is asked at its limit, and killed when the grace time is over."""
    with desk.opened() as record:
        at_work = desk.over(record)
        desk.clock.go(60)
        at_work.tick()
        desk.clock.go(299)
        at_work.tick()
        assert (desk.runs[0].asked, desk.runs[0].killed) == (0, 0)
        desk.clock.go(1)
        at_work.tick()
        assert (desk.runs[0].asked, desk.runs[0].killed) == (1, 0)
        assert at_work.wait_s() == 10
        desk.clock.go(10)
        at_work.tick()
        assert (desk.runs[0].asked, desk.runs[0].killed) == (1, 1)
        at_work.tick()

    state = desk.state()
    assert state.last is not None
    assert (state.last["status"], state.last["exit_code"], state.failures) == ("timed_out", -9, 1)


@pytest.mark.parametrize(("code", "status"), [(1, "failed"), (2, "failed"), (3, "refused"), (-11, "failed")])
def test_a_failure_is_told_and_so_is_its_end(desk, code, status):
    """People hear of a run that did not end well, and of the next one that did."""
    with desk.opened() as record:
        at_work = desk.over(record)
        desk.clock.go(60)
        at_work.tick()
        desk.runs[0].code = code
        at_work.tick()
        assert desk.state().failures == 1
        state = desk.state()
        assert state.last is not None
        assert (state.last["status"], state.last["said"]) == (status, "it said why")
        assert desk.told() == [("alert", "job.check")]
        desk.clock.go(60)
        at_work.tick()
        desk.runs[1].code = 0
        at_work.tick()
        assert desk.state().failures == 0
        alerts.flush(desk.parts)
        assert AlertFile(desk.parts.state).book().conditions["job.check"].over == desk.clock.now()


def test_stopping_begins_nothing_more(desk):
    """What runs is asked to end, its end is written down as that, and nobody is alarmed."""
    with desk.opened() as record:
        at_work = desk.over(record)
        desk.clock.go(60)
        at_work.tick()
        at_work.stop()
        at_work.stop()
        desk.clock.go(60)
        at_work.tick()
        assert (len(desk.runs), desk.runs[0].asked) == (1, 1)
        desk.runs[0].code = 0
        at_work.tick()

    state = desk.state()
    assert state.last is not None
    assert state.last["status"] == "stopped"
    assert desk.told() == []


def test_the_fate_of_a_dead_schedulers_run_is_told(desk):
    """The next one writes it down as aborted, and the job goes on."""
    with desk.opened() as record:
        at_work = desk.over(record)
        desk.clock.go(60)
        at_work.tick()
    desk.clock.go(60)
    with desk.opened() as record:
        desk.over(record)
        assert len(desk.runs) == 2

    [line] = [item for item in last_runs(desk.parts, 9) if item["kind"] == "job_ended"]
    assert (line["status"], line["due"]) == ("aborted", "2026-03-01T12:01:00+00:00")
    assert ("alert", "job.check") in desk.told()


def test_a_run_whose_beginning_cannot_be_written_does_not_begin(desk):
    """The record comes first."""
    with desk.opened() as record:
        at_work = desk.over(record)
        desk.clock.go(60)
        record._chain.close()
        record._chain._segment._trouble = "the disk is full"
        with pytest.raises(StorageError):
            at_work.tick()

    assert desk.runs == []


def test_a_process_that_cannot_be_started_has_failed(desk):
    """It is told as a run, and the next time is tried again."""

    def refuse(_parts, job, _run):
        if job.name == "check" and len(desk.runs) == 0:
            desk.runs.append(FakeRun("none"))
            raise OSError(11, "no process left")
        return Desk.launch(desk, _parts, job, _run)

    desk.launch = refuse
    with desk.opened() as record:
        at_work = desk.over(record)
        desk.clock.go(60)
        at_work.tick()
        state = desk.state()
        assert state.last is not None
        assert (state.last["status"], state.failures) == ("failed", 1)
        desk.clock.go(60)
        at_work.tick()

    assert [run.job for run in desk.runs] == ["none", "check"]


def test_one_scheduler_at_a_time(desk, monkeypatch):
    """A second one is refused, and the sentence names the first."""
    monkeypatch.setattr(schedule_record, "WAIT_S", 0.0)
    with desk.opened(), pytest.raises(SafetyRefused, match=r"expected no other scheduler .* found one .process"), desk.opened():
        pass


def test_the_record_is_a_journal_that_verifies(desk, monkeypatch):
    """Over many segments: the last one alone tells how every job stands, and a changed line is found."""
    monkeypatch.setattr(schedule_record, "SEGMENT_MAX", 5)
    with desk.opened() as record:
        at_work = desk.over(record)
        for _ in range(12):
            desk.clock.go(60)
            at_work.tick()
            for run in desk.runs:
                run.code = 0
            at_work.tick()

    folder = desk.parts.state / "scheduler"
    assert len([path for path in folder.glob("*.jsonl") if not path.name.endswith(".heads.jsonl")]) > 5
    assert (desk.state().runs, desk.state().missed) == (12, 0)
    assert [item["due"] for item in last_runs(desk.parts, 12, "check")][::-1][0] == "2026-03-01T12:01:00+00:00"
    [report] = [report for report in verify_journals(desk.parts, None) if report.account == "scheduler"]
    assert report.intact
    assert report.complete
    first = min(path for path in folder.glob("*.jsonl") if not path.name.endswith(".heads.jsonl"))
    first.write_bytes(first.read_bytes().replace(b'"process":{', b'"process":{"a":1,'))
    verifier = Verifier.load(public_path(desk.parts.key))
    assert not verify_account(desk.parts.state, "scheduler", verifier).intact
