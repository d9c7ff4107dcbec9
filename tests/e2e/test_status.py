"""`peak-trade status`: what runs, what is locked, and what wants a person; one glance, and one exit code."""

import os
import signal
import time

import pytest

REGISTERED = ("session", "run", "--strategy", "ma_crossover", "--speed", "120", "--no-html")


@pytest.fixture
def session(project):
    """A session as a process of its own, that has begun to write its journal."""
    process = project.start(*REGISTERED)
    until(lambda: list((project.folder / "var" / "journal").glob("paper/*.jsonl")), process)
    yield process
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.kill()
    process.communicate()


def until(happened, process):
    """Look until something has happened; a deadline and the process's death end it."""
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)  # between two looks; nothing is measured by it


def status(project):
    """Return exit code and document."""
    ended = project.run("status", "--json")
    assert ended.err == ""
    return ended.code, ended.json


def test_nothing_runs(project):
    """A new installation wants nobody, and says so in words too."""
    code, found = status(project)

    assert (code, found["sessions"], found["wants"], found["kill_switch"]) == (0, [], [], None)
    assert [lock["closed"] for lock in found["locks"]] == [True, True]
    assert found["budget"]["runs"] == 20
    assert project.run("status").out.startswith("nothing wants a person\n")


def test_a_session_that_runs(project, session):
    """Its state, heartbeat, lease and process are told; it wants nobody."""
    code, found = status(project)
    [line] = found["sessions"]

    assert (code, found["wants"]) == (0, [])
    assert (line["state"], line["process"], line["account"], line["tier"]) == ("running", session.pid, "paper", "research")
    assert 0 <= line["heartbeat_age_s"] < 60
    assert line["lease_left_s"] > 0
    assert str(session.pid) in project.run("status").out


def test_the_kill_switch_wants_a_person(project, session):
    project.run("kill", "--why", "prices look wrong", "--by", "kim")
    until(lambda: status(project)[1]["sessions"][0]["state"] == "killed", session)
    code, found = status(project)

    assert code == 1
    assert [words.split()[0] for words in found["wants"]] == ["the", "session"]
    assert "prices look wrong" in found["wants"][0]
    assert "is killed" in found["wants"][1]


def test_what_died_and_what_failed(project, session):
    """One whose lease ran out, and a journal that can't be read, hide nothing else."""
    os.kill(session.pid, signal.SIGKILL)
    session.wait()
    [path] = [item for item in (project.folder / "var" / "journal" / "paper").glob("*.jsonl") if ".heads" not in item.name]
    path.write_bytes(b"")
    code, found = status(project)

    assert code == 1
    assert any("journal that can't be read" in words for words in found["wants"])
    assert found["budget"] is not None


def test_a_registry_that_is_none(project):
    """The kill switch and the locks are told all the same."""
    project.run("status")
    (project.folder / "var" / "registry.db").write_bytes(b"nothing" * 100)
    code, found = status(project)

    assert code == 1
    assert any(words.startswith("sessions can't be told") for words in found["wants"])
    assert len(found["locks"]) == 2
