"""The scheduler as a process: real jobs of seconds, signals, a kill, and what it leaves in its record."""

import contextlib
import json
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.e2e.conftest import Project

from peak_trade import compose
from peak_trade.compose import Parts
from peak_trade.model.clock import MachineClock
from peak_trade.runs.schedule.file import read_schedule
from peak_trade.runs.schedule.job import JobProcess, _identity, end_left_over
from peak_trade.runs.schedule.record import states_of
from peak_trade.settings import load_config

JOBS = """
[scheduler]
stop_grace_s = 20

[jobs.paper]
command = ["session", "run", "--strategy", "ma_crossover", "--account", "paper", "--speed", "60", "--no-html"]
every = "2s"
"""


def until(found: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def alive(process: int) -> bool:
    """Tell whether a process runs."""
    return _identity(process)["ticks"] is not None


def state(project: Project, job: str) -> object:
    parts = Parts(load_config(project.folder / "config.toml"))
    return states_of(parts).get(job)


def write(project: Project, text: str) -> Path:
    path = project.folder / "config" / "scheduler.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_a_scheduler_runs_jobs_survives_a_kill_and_ends_in_order(project, monkeypatch):
    """Its jobs die with it, the next one tells what became of them, and SIGTERM lets a session end as it should."""
    monkeypatch.setenv("KRAKEN_TESTNET_API_SECRET", "hush-71")
    write(project, JOBS)
    first = project.start("--config", "config/scheduler.toml", script="run_scheduler.py")
    until(lambda: (job := state(project, "paper")) and job.running and job.running["process"])
    child = state(project, "paper").running["process"]["pid"]
    until(lambda: b"peak_trade\0session" in Path(f"/proc/{child}/cmdline").read_bytes())
    assert b"hush-71" not in Path(f"/proc/{child}/environ").read_bytes()
    listed = project.run("scheduler", "list", "--json").json
    assert listed["scheduler"]["process"] == first.pid
    second = project.run("scheduler", "run", "--once")
    assert (second.code, f"found one (process {first.pid}" in second.err) == (3, True)
    until(lambda: list((project.folder / "var" / "journal" / "paper").glob("*.heads.jsonl")))
    first.kill()
    first.communicate(timeout=20)
    until(lambda: not alive(child))
    listed = project.run("scheduler", "list", "--json").json
    assert listed["scheduler"] is None
    assert [job["running"]["cut_off"] for job in listed["jobs"] if job["job"] == "paper"] == [True]

    first = project.start("scheduler", "run")
    until(lambda: (job := state(project, "paper")) and job.last and job.running and job.running["process"])
    assert state(project, "paper").last["status"] == "aborted"
    child = state(project, "paper").running["process"]["pid"]
    until(lambda: len(list((project.folder / "var" / "journal" / "paper").glob("*.heads.jsonl"))) > 1)
    first.send_signal(signal.SIGTERM)
    _, said = first.communicate(timeout=60)

    assert first.returncode == 0, said
    assert "what runs is asked to end" in said
    assert not alive(child)
    last = state(project, "paper").last
    assert (last["status"], last["exit_code"]) == ("stopped", 0)
    assert any(made.startswith("session_id=") for made in last["made"])
    assert project.run("journal", "verify").code == 0


class Later(MachineClock):
    """The machine's clock, hours ahead."""

    ahead = timedelta(0)

    def now(self):
        return super().now() + self.ahead


def test_once_does_what_is_due(project, monkeypatch):
    """At first nothing is; later what came since then, once; a run that fails gives exit code 1."""
    monkeypatch.setattr(compose, "MachineClock", Later)
    bad = '[jobs.bad]\ncommand = ["backup", "verify"]\nevery = "1d"\n'
    write(project, '[jobs.check]\ncommand = ["journal", "verify"]\nevery = "1h"\n' + bad)
    first = project.run("scheduler", "run", "--once")
    assert (first.code, "nothing is due" in first.err) == (0, True)
    monkeypatch.setattr(Later, "ahead", timedelta(hours=3))
    write(project, (project.folder / "config" / "scheduler.toml").read_text().replace(bad, ""))
    second = project.run("scheduler", "run", "--once")
    assert (second.code, "check completed" in second.err) == (0, True), second.err
    assert (state(project, "check").runs, state(project, "check").missed) == (1, 2)
    write(project, bad)
    monkeypatch.setattr(Later, "ahead", timedelta(days=1, hours=3))
    third = project.run("scheduler", "run", "--once")
    assert (third.code, "expected every run to end well" in third.err) == (1, True), third.err
    assert "bad: peak-trade: expected an archive in" in project.run("scheduler", "list").out


@pytest.mark.parametrize(
    ("command", "code", "status"),
    [
        ('["journal", "verify"]', 0, "completed"),
        ('["backup", "verify"]', 1, "failed"),
    ],
)
def test_a_job_by_hand(project, command, code, status):
    """It is kept in the record as any other, also one that is not enabled."""
    write(project, f'[jobs.one]\ncommand = {command}\nevery = "1d"\nenabled = false\n')
    ended = project.run("scheduler", "run-once", "one", "--json")

    assert ended.code == code, ended.err
    assert (json.loads(ended.out)["status"], state(project, "one").runs) == (status, 1)
    if code:
        assert "expected one to end well, found it failed: peak-trade: expected" in ended.err


def test_what_is_wrong_is_told_before_anything_runs(project):
    """An option that a command does not have, a job that there is not, no file."""
    assert "expected the file of jobs at" in project.run("scheduler", "check").err
    write(project, '[jobs.one]\ncommand = ["journal", "verify", "--acount", "x"]\nevery = "1s"\n')
    for words in (("check",), ("run", "--once"), ("run-once", "one")):
        ended = project.run("scheduler", *words)
        assert (ended.code, "jobs.one in" in ended.err, "--acount" in ended.err) == (2, True, True)
    write(project, '[jobs.one]\ncommand = ["journal", "verify"]\nevery = "1h"\n')
    assert "found 'onn'; did you mean one?" in project.run("scheduler", "run-once", "onn").err
    [line] = project.run("scheduler", "check", "--json").json["jobs"]
    assert (line["rule"], len(line["dues"]), line["stopped_by_latches"]) == ("every 1h", 3, False)
    assert project.run("scheduler", "list").code == 0


def test_the_kill_switch_and_holds_refuse_a_session_by_hand(project):
    """With the exit code of a safety rule, and nothing begun."""
    write(project, '[jobs.one]\ncommand = ["session", "run", "--strategy", "ma_crossover"]\nevery = "1h"\n')
    project.run("kill", "--why", "prices look wrong")
    ended = project.run("scheduler", "run-once", "one")
    assert (ended.code, "found that the kill switch was on; nothing was begun" in ended.err) == (3, True)
    assert not (project.folder / "var" / "journal" / "paper").exists()


def test_a_process_that_ignores_signals_is_killed_with_its_group(project, monkeypatch):
    """Also what it started; and what a dead scheduler left is known by when it began, never by its number alone."""
    path = write(project, '[jobs.one]\ncommand = ["journal", "verify"]\nevery = "1h"\n')
    stubborn = (
        "import os, signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid, flush=True); time.sleep(600)"
    )
    popen = __import__("subprocess").Popen
    monkeypatch.setattr("subprocess.Popen", lambda words, **given: popen([words[0], "-c", stubborn], **given))
    with contextlib.closing(Parts(load_config(project.folder / "config.toml"))) as parts:
        job = read_schedule(path).jobs["one"]
        run = JobProcess(parts, job, "20260301T120000000Z-aaaaaa")
        printed = project.folder / "logs" / "scheduler" / "one-20260301T120000000Z-aaaaaa.json"
        until(lambda: printed.read_text().endswith("\n"))
        child = int(printed.read_text())
        assert run.poll() is None
        run.ask()
        assert alive(run.process["pid"])
        wrong = run.process | {"ticks": run.process["ticks"] + 1}
        assert not end_left_over(wrong, parts.clock, job.longest)
        assert run.poll() is None
        run.kill()
        until(lambda: run.poll() is not None)
        until(lambda: not alive(child))
        assert run.poll() == -signal.SIGKILL
        assert not end_left_over(run.process, parts.clock, job.longest)
    assert printed.stat().st_mode & 0o077 == 0
