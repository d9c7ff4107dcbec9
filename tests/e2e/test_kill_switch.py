"""`peak-trade kill` and `release` as their users see them."""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from peak_trade.cli.main import main
from peak_trade.compose import Parts
from peak_trade.journal import chain
from peak_trade.journal.chain import holding
from peak_trade.runs import acts
from peak_trade.runs.safety import kill

RUN = ("session", "run", "--strategy", "ma_crossover", "--speed", "max", "--steps", "300", "--no-html")
KILL = ("kill", "--why", "prices look wrong", "--by", "kim")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    monkeypatch.setattr(acts, "WAIT_S", 0.0)


@pytest.fixture
def switch(project) -> Path:
    """The file of the kill switch."""
    return project.folder / "var" / "kill_switch.json"


def refused(project, *arguments: str, code: int) -> str:
    """Run a command that must be refused in one sentence, and return the sentence."""
    ended = project.run(*arguments)
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (code, "", 1), ended
    assert "internal fault" not in ended.err
    return ended.err


def actions(project) -> list[tuple[str, ...]]:
    """Return what the operators' journal says was done: action, by whom, how it ended."""
    folder = project.folder / "var" / "journal" / "operators"
    found = []
    for path in sorted(path for path in folder.glob("*.jsonl") if ".heads" not in path.name):
        begun, *rest = (json.loads(line)["body"] for line in path.read_text().splitlines())
        found.append((begun["action"], begun["by"], begun["via"], rest[-1]["status"] if rest else "-"))
    return found


def test_on_status_off(project, switch):
    """Off, on, refused to begin, off, and it begins again; every step has its exit code and stands in a journal."""
    off = project.run("kill", "--status")
    killed = project.run(*KILL)
    on = project.run("kill", "--status")
    told = refused(project, *RUN, code=3)
    released = project.run("release", "--why", "prices are right", "--by", "alex")

    assert (off.code, off.out) == (0, "the kill switch is off\n")
    assert (killed.code, on.code, killed.out) == (0, 1, on.out)
    assert re.fullmatch(r"the kill switch is on since 20\S+Z, set by kim: prices look wrong\n", on.out)
    assert "set by kim: prices look wrong; nothing was begun" in told
    assert (released.code, switch.exists()) == (0, False)
    assert project.run(*RUN).code == 0
    assert actions(project) == [("kill", "kim", "command", "completed"), ("release", "alex", "command", "completed")]
    assert project.run("journal", "verify").code == 0


def test_as_json(project):
    """One document on stdout for each of them."""
    off = {"on": False, "at": None, "by": None, "why": None, "level": None}
    assert project.run("kill", "--status", "--json").json == off
    killed = project.run(*KILL, "--json")
    on = project.run("kill", "--status", "--json")
    released = project.run("release", "--why", "over", "--json")

    assert (killed.json, on.code) == (on.json | {"sessions": []}, 1)
    assert on.json["level"] == "reduce-only"
    assert (on.json["on"], on.json["by"], on.json["why"]) == (True, "kim", "prices look wrong")
    assert released.json["on"] is False


def test_by_default_it_is_the_systems_user(project, monkeypatch):
    """The name comes from the operating system, not from what the environment claims."""
    for name in ("LOGNAME", "USER", "USERNAME"):
        monkeypatch.setenv(name, "mallory")
    project.run("kill", "--why", "a drill")

    assert actions(project)[0][1] == acts.machine_user() != "mallory"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("kill",), 'expected --why TEXT, found none; write for example: peak-trade kill --why "prices look wrong"'),
        (("kill", "--why", "  "), "expected --why TEXT"),
        (("kill", "--why", "a\nb"), "printable"),
        (("kill", "--why", "w" * 501), "500"),
        (("kill", "--why", "x", "--by", ""), "--by"),
        (("kill", "--why", "x", "--status"), "--status by itself"),
        (("release",), "peak-trade release --why"),
        (("release", "--why", "x"), "found it off; there is nothing to release"),
    ],
)
def test_a_wrong_word_is_one_sentence(project, switch, words, told):
    """Usage errors have exit code 2, and stop nothing."""
    assert told in refused(project, *words, code=2)
    assert not switch.exists()


def test_a_second_kill_keeps_the_first_words(project):
    """It ends well, is written down as well, and tells who was first."""
    project.run(*KILL)

    second = project.run("kill", "--why", "me too", "--by", "alex")

    assert (second.code, "set by kim: prices look wrong" in second.out) == (0, True)
    assert [row[:2] for row in actions(project)] == [("kill", "kim"), ("kill", "alex")]


def test_an_empty_file_stops_everything(project, switch):
    """`touch` in the state folder is enough."""
    switch.parent.mkdir(exist_ok=True)
    switch.touch()

    assert "its file holds no words" in refused(project, *RUN, code=3)
    assert project.run("kill", "--status").code == 1
    assert project.run("release", "--why", "over").code == 0
    assert project.run(*RUN).code == 0


# ---- when things are broken ------------------------------------------------------------------------------------------


def test_it_works_without_a_registry(project, switch):
    """A registry that is no database keeps nobody from stopping; to release needs it."""
    project.run(*RUN)
    path = project.folder / "var" / "registry.db"
    sound = path.read_bytes()
    path.write_bytes(b"this is no database at all, " * 200)

    assert project.run(*KILL).code == 0
    assert "registry.db" in refused(project, "release", "--why", "over", code=1)
    assert switch.exists()
    path.write_bytes(sound)
    assert project.run("release", "--why", "over").code == 0


def test_a_journal_that_refuses_is_told_with_what_was_done(project, switch, monkeypatch):
    """On a full disk the switch is on, the sentence says so and what is missing; exit code 1."""
    with monkeypatch.context() as patch:

        def full(*_arguments: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(chain.os, "write", full)
        told = refused(project, *KILL, code=1)

    assert "the kill switch is on, but that it was turned on could not be written down" in told
    assert "the disk is full" in told
    assert switch.exists()
    assert project.run("kill", "--status").code == 1
    assert project.run("release", "--why", "over").code == 0


def test_an_action_at_work_is_waited_for(project, switch):
    """Who can't get at the operators' journal in time is told; the switch is on all the same."""
    with holding(project.folder / "var" / "journal", "operators"):
        told = refused(project, *KILL, code=1)

    assert "the kill switch is on" in told
    assert "another action at work" in told
    assert switch.exists()


def test_a_release_does_not_overtake_a_kill(project, switch, monkeypatch):
    """Who turns it on while a release looks through the journals is not undone by it: exit code 3, and it stays on."""
    project.run(*KILL)
    ordinary = kill._flawed

    def meanwhile(parts: Parts) -> object:
        before = parts.kill_switch.tripped_last()
        while parts.kill_switch.tripped_last() == before:  # a disk's clock ticks every few milliseconds
            parts.kill_switch.trip("sam", "it goes on", datetime.now(UTC))
        return ordinary(parts)

    with monkeypatch.context() as patch:
        patch.setattr(kill, "_flawed", meanwhile)
        told = refused(project, "release", "--why", "over", code=3)

    assert "found that somebody did" in told
    assert switch.exists()
    assert [row[0::3] for row in actions(project)] == [("kill", "completed"), ("release", "failed")]
    assert project.run("release", "--why", "over").code == 0


def test_a_kill_that_waits_for_a_release_has_the_last_word(project, switch, monkeypatch):
    """It came too late to be seen by the release: once it gets at the journal it turns the switch on again."""
    project.run(*KILL)
    ordinary = kill.held

    @contextmanager
    def late(parts: Parts) -> Iterator[None]:
        parts.kill_switch.release()
        with ordinary(parts):
            yield

    monkeypatch.setattr(kill, "held", late)

    assert "set by sam" in project.run("kill", "--why", "it goes on", "--by", "sam").out
    assert switch.exists()


def test_a_flawed_journal_forbids_the_release(project, switch):
    """Exit code 3 with what is wrong; after it was put right the switch can be released."""
    record = project.run(*RUN, "--json").json
    project.run(*KILL)
    path = Path(record["journal"]["path"])
    sound = path.read_bytes()
    path.write_bytes(sound.replace(b'"quantity":"', b'"quantity":"9', 1))

    told = refused(project, "release", "--why", "over", code=3)

    assert "changed" in told
    assert "peak-trade journal verify" in told
    assert switch.exists()
    path.write_bytes(sound)
    assert project.run("release", "--why", "over").code == 0
    assert actions(project)[-1][0] == "release"


def test_a_held_account_forbids_the_release(project, switch):
    """A session that is in no registry counts too: it holds its account."""
    project.run(*KILL)
    with holding(project.folder / "var" / "journal", "paper", session_id="20260101T000000000Z-abcdef"):
        told = refused(project, "release", "--why", "over", code=3)

    assert "session 20260101T000000000Z-abcdef on account paper" in told
    assert switch.exists()
    assert project.run("release", "--why", "over").code == 0


def test_kill_switches_of_two_folders_are_apart(project):
    """Another state folder has another switch."""
    other = project.folder / "other"
    other.mkdir()
    shutil.copy(project.folder / "config.toml", other)
    project.run(*KILL)

    assert main(["kill", "--status", "--config", str(other / "config.toml")]) == 0
    assert main([*RUN, "--config", str(other / "config.toml")]) == 0
