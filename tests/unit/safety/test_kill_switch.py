"""The kill switch: its file's existence is the state, whatever is in the file and whatever the disk takes."""

import errno
import json
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.paths import ROOT

from peak_trade.model.errors import SafetyRefused, StorageError
from peak_trade.model.kill_level import KillLevel
from peak_trade.safety import kill_switch
from peak_trade.safety.kill_switch import Killed, KillSwitch

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
FIRST = Killed("2026-01-02T03:04:05.000006Z", "kim", "prices look wrong")


@pytest.fixture
def switch(tmp_path) -> KillSwitch:
    return KillSwitch(tmp_path / "var" / "kill_switch.json")


def refusing(code: int):
    """Return what the operating system does when it refuses."""

    def refuse(path: object, *_more: object, **_named: object) -> None:
        raise OSError(code, os.strerror(code), str(path))

    return refuse


def test_on_and_off(switch):
    """It is off at first, on once it was tripped, with the words given, and off after it was released."""
    assert (switch.is_on(), switch.state(), switch.release()) == (False, None, None)

    assert switch.trip("kim", "prices look wrong", NOW) == FIRST
    assert (switch.is_on(), switch.state()) == (True, FIRST)
    assert KillSwitch(switch.path).state() == FIRST

    assert switch.release() == FIRST
    assert (switch.is_on(), switch.state()) == (False, None)


def test_the_first_words_stay(switch):
    """Whoever trips it again changes nothing and is told who did before."""
    switch.trip("kim", "prices look wrong", NOW)
    before = switch.path.read_bytes()

    assert switch.trip("alex", "me too", NOW + timedelta(days=1)) == FIRST
    assert switch.path.read_bytes() == before


def test_a_second_trip_can_be_told(switch):
    """Who is about to release it sees that somebody turned it on meanwhile; to look at it is no trip."""
    assert switch.tripped_last() == 0
    switch.trip("kim", "prices look wrong", NOW)
    first, since = switch.tripped_last(), switch.path.stat().st_mtime_ns
    switch.state()
    assert switch.tripped_last() == first

    while switch.tripped_last() == first:  # a disk's clock ticks every few milliseconds
        switch.trip("alex", "me too", NOW)

    assert (switch.tripped_last() > first, switch.path.stat().st_mtime_ns) == (True, since)


def test_after_a_release_it_can_be_tripped_anew(switch):
    """The words of before are gone."""
    switch.trip("alex", "a drill", NOW)
    switch.release()

    assert switch.trip("kim", "prices look wrong", NOW) == FIRST == switch.state()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"at": 1, "by": "a", "why": "b"}', b'{"by": "a"}', b"[" * 60_000]
)
def test_without_words_it_is_on_all_the_same(switch, content):
    """Any content counts; who asks is told since when the file is there, and that its words are not."""
    switch.path.parent.mkdir()
    switch.path.write_bytes(content)
    os.utime(switch.path, (NOW.timestamp(), NOW.timestamp()))

    found = switch.state()

    assert switch.is_on()
    assert (found.at[:19], found.by) == ("2026-01-02T03:04:05", "unknown")
    assert "no words" in found.why
    with pytest.raises(SafetyRefused):
        switch.check_off()


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: path.symlink_to("nowhere"), os.mkfifo])
def test_anything_in_its_place_counts(switch, make):
    """A folder, a link that leads nowhere, a pipe: it is on, and nobody waits for it."""
    switch.path.parent.mkdir()
    make(switch.path)

    assert switch.is_on()
    assert switch.state().by == "unknown"
    assert switch.trip("kim", "", NOW).by == "unknown"


def test_what_can_not_be_told_counts_as_on(switch, monkeypatch):
    """Where the file's entry may not be looked at, nobody can know that it is off."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "lstat", refusing(errno.EACCES))
        assert switch.is_on()
        assert switch.state().by == "unknown"
        with pytest.raises(SafetyRefused):
            switch.check_off()

    assert not switch.is_on()


def test_a_file_in_the_place_of_its_folder_counts_as_on(tmp_path):
    """A state folder that is none tells nothing."""
    (tmp_path / "var").write_text("")
    switch = KillSwitch(tmp_path / "var" / "kill_switch.json")

    assert switch.is_on()
    assert switch.trip("kim", "", NOW).by == "unknown"


def test_a_start_is_refused_in_one_sentence(switch):
    """Since when, by whom, why, and how it is released; nothing is said while it is off."""
    switch.check_off()
    switch.trip("kim", "prices look wrong", NOW)

    with pytest.raises(SafetyRefused) as refusal:
        switch.check_off()

    told = str(refusal.value)
    assert all(word in told for word in (*FIRST, "peak-trade release --why", "nothing was begun"))
    assert refusal.value.exit_code == 3


@pytest.mark.parametrize(("given", "kept"), [("a\udcffb\0", "a?b"), ("größe €", "größe €"), ("w" * 5_000, "w" * 1_000)])
def test_words_fit_a_journal(switch, given, kept):
    """What no journal takes is left out, whether it was given or stands in the file."""
    assert switch.trip(given, given, NOW) == switch.state() == Killed(FIRST.at, kept, kept)

    switch.path.write_text(json.dumps({"at": "x", "by": given, "why": given}))
    assert switch.state() == Killed("x", kept, kept)


# ---- disks and deaths ------------------------------------------------------------------------------------------------

FULL = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
from peak_trade.safety.kill_switch import KillSwitch
switch = KillSwitch(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
killed = switch.trip("kim", "prices look wrong", datetime.now(UTC))
print(switch.is_on(), killed.why, switch.state().why, sep="|")
"""


def test_a_disk_that_takes_no_byte_takes_the_state(switch):
    """A real process that may not write a single byte: an empty file is left, and that is enough."""
    ended = subprocess.run(
        [sys.executable, "-c", FULL, switch.path], cwd=ROOT / "src", capture_output=True, text=True, check=False
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("True|prices look wrong|its file holds no words")
    assert (switch.path.stat().st_size, switch.is_on()) == (0, True)
    assert list(switch.path.parent.iterdir()) == [switch.path]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EMFILE])
def test_a_disk_that_takes_no_file_is_told(switch, monkeypatch, code):
    """Only where not even an empty file can be made it raises, and says what to do instead."""
    monkeypatch.setattr(os, "open", refusing(code))

    with pytest.raises(StorageError, match="nothing is stopped; end the sessions themselves"):
        switch.trip("kim", "prices look wrong", NOW)

    assert not switch.is_on()


@pytest.mark.parametrize("step", ["write_text", "moment_text"])
def test_a_death_in_the_middle_leaves_it_on(switch, monkeypatch, step):
    """Who dies before the words are written has stopped everything."""
    with monkeypatch.context() as patch:
        patch.setattr(kill_switch, step, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            switch.trip("kim", "prices look wrong", NOW)

    assert switch.is_on()
    assert switch.trip("alex", "", NOW).by == "unknown"


def test_a_release_that_is_refused_leaves_it_on(switch, monkeypatch):
    """A read-only disk keeps it on, and says so."""
    switch.trip("kim", "prices look wrong", NOW)
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.unlink", refusing(errno.EROFS))
        with pytest.raises(StorageError, match="read-only"):
            switch.release()

    assert switch.state() == FIRST


def test_of_many_at_once_one_is_the_first(switch):
    """Threads that trip it at the same moment: one's words are kept, whole, and it alone is told its own."""
    told: dict[str, Killed] = {}
    gate = threading.Barrier(16)

    def trip(name: str) -> None:
        gate.wait()
        told[name] = switch.trip(name, f"said {name}", NOW)

    threads = [threading.Thread(target=trip, args=(f"t{number}",)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    kept = switch.state()
    assert kept.why == f"said {kept.by}"
    assert [name for name, killed in told.items() if killed.by == name] == [kept.by]
    assert {killed.by for killed in told.values()} <= {kept.by, "unknown"}


def test_a_release_at_the_moment_of_reading_is_off(switch, monkeypatch):
    """A file that goes away while it is read was released."""
    switch.trip("kim", "prices look wrong", NOW)

    def gone(path: Path, *_more: object) -> None:
        Path(path).unlink()
        raise FileNotFoundError(errno.ENOENT, "gone")

    monkeypatch.setattr(os, "open", gone)

    assert switch.state() is None


def test_it_goes_to_reduce_only_unless_told_otherwise(tmp_path: Path) -> None:
    switch = KillSwitch(tmp_path / "kill")
    assert switch.level() is None
    switch.trip("ada", "a test", NOW)
    assert switch.level() is KillLevel.REDUCE_ONLY


@pytest.mark.parametrize("first", KillLevel)
@pytest.mark.parametrize("second", KillLevel)
def test_it_only_ever_goes_further(tmp_path: Path, first: KillLevel, second: KillLevel) -> None:
    switch = KillSwitch(tmp_path / "kill")
    switch.trip("ada", "a test", NOW, first)
    assert switch.level() is first
    switch.trip("bob", "another", NOW, second)
    assert switch.level() is max(first, second, key=lambda level: level.rank)
    assert KillSwitch(tmp_path / "kill").level() is switch.level()
    switch.release()
    assert switch.level() is None
    assert list(tmp_path.iterdir()) == []
    switch.trip("ada", "anew", NOW)
    assert switch.level() is KillLevel.REDUCE_ONLY
