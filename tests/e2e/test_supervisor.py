"""A supervisor and a session as processes of their own: each is noticed when it is gone."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from peak_trade.compose import Parts
from peak_trade.runs.supervisor_sign import supervisor_trouble
from peak_trade.settings import load_config

QUICK = {
    "required = false": "required = true",
    "interval_s = 1.0": "interval_s = 0.1",
    "sign_s = 2.0": "sign_s = 0.1",
    "sign_stale_s = 15.0": "sign_stale_s = 3.0",
    "restart_s = 60.0": "restart_s = 0.0",
    "calm_s = 30.0": "calm_s = 0.5",
}
SESSION = ("session", "run", "--strategy", "ma_crossover", "--speed", "120", "--no-html")


def until(happened: Callable[[], object], *alive: subprocess.Popen[str]) -> None:
    """Look until something has happened; a deadline and a process's death end it."""
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        for process in alive:
            assert process.poll() is None, process.communicate()
        time.sleep(0.02)  # between two looks; nothing is measured by it


class Guarded:
    """A project folder, and the processes on it."""

    def __init__(self, project: Any) -> None:
        self.project, self.started = project, []
        path = project.folder / "config.toml"
        text = path.read_text()
        for known, quick in QUICK.items():
            assert f"\n{known}" in text
            text = text.replace(f"\n{known}", f"\n{quick}")
        path.write_text(text)
        self.parts = Parts(load_config(path))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = self.project.start(*arguments)
        self.started.append(process)
        return process

    def supervisor(self) -> subprocess.Popen[str]:
        process = self.start("supervisor", "run")
        until(lambda: self.trouble() is None, process)
        return process

    def session(self, *alive: subprocess.Popen[str]) -> subprocess.Popen[str]:
        """Start a session; wait until the supervisor sees it."""
        process = self.start(*SESSION)
        until(lambda: any(line["number"] == process.pid for line in self.report()["sessions"]), process, *alive)
        return process

    def trouble(self) -> str | None:
        return supervisor_trouble(self.parts)

    def report(self) -> dict[str, Any]:
        return self.project.run("supervisor", "status", "--json").json

    def alarms(self) -> set[str]:
        return {item["watch"] for item in self.report()["alarms"]}

    def acts(self) -> list[str]:
        folder = self.project.folder / "var" / "journal" / "operators"
        paths = sorted(path for path in folder.glob("*.jsonl") if ".heads" not in path.name)
        first = [path.read_text().splitlines()[:1] for path in paths]
        return [str(json.loads(lines[0])["body"]["action"]) for lines in first if lines]


@pytest.fixture
def guarded(project: Any) -> Iterator[Guarded]:
    found = Guarded(project)
    yield found
    for process in found.started:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.communicate()
    found.parts.close()


def journal_of(guarded: Guarded) -> str:
    """Return what the newest session wrote."""
    folder: Path = guarded.project.folder / "var" / "journal" / "paper"
    return sorted(path for path in folder.glob("*.jsonl") if ".heads" not in path.name)[-1].read_text()


def test_a_session_that_is_stopped_and_one_that_is_killed(guarded: Guarded) -> None:
    """Stopped: told, held, written down. Gone on: it restricts. Killed: told."""
    supervisor = guarded.supervisor()
    session = guarded.session(supervisor)
    assert guarded.alarms() == set()

    session.send_signal(signal.SIGSTOP)
    until(lambda: guarded.parts.holds.held("paper"), supervisor)
    until(lambda: {"supervisor_alarm", "supervisor_hold"} <= set(guarded.acts()), supervisor)
    assert guarded.alarms() == {"stopped"}
    told = [item["key"] for item in guarded.project.run("alert", "list", "--json").json["alerts"]]
    assert [key.split(".")[1] for key in told if key.startswith("supervisor.")] == ["stopped"]

    session.send_signal(signal.SIGCONT)
    until(lambda: '"mode":"restricted"' in journal_of(guarded), supervisor, session)
    until(lambda: guarded.alarms() == set(), supervisor, session)

    session.kill()
    session.wait()
    until(lambda: guarded.alarms() == {"dead"}, supervisor)
    status = guarded.project.run("status")
    assert "supervisor: at work" in status.out
    assert guarded.acts().count("supervisor_hold") == 1

    second = guarded.start("supervisor", "run")
    out, err = second.communicate(timeout=60)
    assert (second.returncode, out, len(err.splitlines())) == (3, "", 1)
    assert f"found one, process {supervisor.pid}" in err


def test_a_supervisor_that_is_killed_and_one_that_is_ended(guarded: Guarded) -> None:
    """Killed: its sign grows old. Ended on purpose: it says so, and that is trouble too."""
    assert "no supervisor has ever run" in str(guarded.trouble())
    first = guarded.supervisor()
    first.kill()
    first.wait()
    until(lambda: guarded.trouble() is not None)
    assert f"the supervisor, process {first.pid}, has shown nothing for" in str(guarded.trouble())
    told = guarded.project.run("supervisor", "status")
    assert (told.code, told.out.splitlines()[0].startswith("NOT at work (required)")) == (1, True)
    assert "nobody watches the sessions" in guarded.project.run("status").out

    second = guarded.supervisor()
    second.send_signal(signal.SIGTERM)
    out, _ = second.communicate(timeout=60)
    assert (second.returncode, out) == (0, "")
    assert "was stopped on purpose" in str(guarded.trouble())
    assert guarded.acts()[-1] == "supervisor_ended"
