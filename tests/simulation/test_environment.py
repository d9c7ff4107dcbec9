"""Full disks, damaged files, a clock that jumps: one clear sentence, nothing lost, and the same command goes on."""

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.simulation.command import WILD, arguments, watched_by
from tests.simulation.outcome import Outcome, check_books, check_proofs, check_same, check_sound, outcome_of
from tests.simulation.scenarios import EXITS
from tests.simulation.world import Disk, Forge, Killed, Killer, World, open_files

from peak_trade.cli.main import main
from peak_trade.journal.sessions import SessionFilter, Sessions
from peak_trade.model.errors import PeakTradeError, SafetyRefused, StorageError
from peak_trade.runs.sessions.again import redecide

ENDED_BADLY = ("aborted", "failed")


@pytest.fixture(autouse=True)
def healthy(disk: Disk) -> Iterator[None]:
    """Let no fault outlive its test."""
    yield
    disk.refuse = lambda _path, _what: None


@pytest.fixture(scope="module")
def wanted(forge: Forge) -> Outcome:
    world = forge.world(EXITS)
    world.run()
    return outcome_of(world)


def is_journal(path: Path) -> bool:
    return "journal" in path.parts and not path.name.endswith(".heads.jsonl")


def is_head(path: Path) -> bool:
    return path.name.endswith(".heads.jsonl")


def is_memory(path: Path) -> bool:
    return "venue" in path.parts


def failing(disk: Disk, which: Callable[[Path], bool], what: str, number: int, code: int, times: int = 10**9) -> None:
    """Let the disk refuse what is done to such files from the n-th time on, so many times."""
    seen = 0

    def refuse(path: Path, done: str) -> None:
        nonlocal seen
        if done == what and which(path):
            seen += 1
            if number <= seen < number + times:
                raise OSError(code, os.strerror(code))

    disk.refuse = refuse


def check_sentence(error: BaseException) -> None:
    """Check that an error is one sentence that names what to do."""
    assert isinstance(error, PeakTradeError)
    assert "\n" not in str(error)
    assert ";" in str(error)


def check_completes(world: World, wanted: Outcome) -> None:
    """Check that the same command now comes to what it should, with every proof in place."""
    world.run()
    outcome = outcome_of(world)
    check_same(outcome, wanted)
    check_sound(world, outcome)
    check_books(world, outcome, check_proofs(world, allowed=ENDED_BADLY)[-1])


PLACES = {"journal": is_journal, "heads": is_head, "memory": is_memory}


WRITES = [
    ("journal", 1),
    ("journal", 2),
    ("journal", 20),
    ("journal", 61),
    ("memory", 1),
    ("memory", 20),
    ("heads", 1),
    ("heads", 2),
]
FORCED = [("journal", 1), ("journal", 20), ("journal", 40), ("memory", 1), ("memory", 20), ("heads", 1), ("heads", 2)]


@pytest.mark.parametrize(("place", "number"), WRITES)
def test_a_full_disk_loses_nothing(forge, disk, wanted, place, number):
    """Where the disk is full, the session ends with one sentence; with space again the same command comes to the same."""
    world = forge.world(EXITS)
    failing(disk, PLACES[place], "write", number, errno.ENOSPC)

    with pytest.raises(StorageError, match="the disk is full; free some space") as refusal:
        world.run()

    check_sentence(refusal.value)
    disk.refuse = lambda _path, _what: None
    check_completes(world, wanted)


@pytest.mark.parametrize(("place", "number"), FORCED)
def test_a_disk_that_confirms_nothing_is_not_believed(forge, disk, wanted, place, number):
    """Where forcing to disk fails, the session ends with one sentence; afterwards the same command comes to the same."""
    world = forge.world(EXITS)
    failing(disk, PLACES[place], "fsync", number, errno.EIO)

    with pytest.raises(StorageError, match=r"can't be written|failed to confirm") as refusal:
        world.run()

    check_sentence(refusal.value)
    disk.refuse = lambda _path, _what: None
    check_completes(world, wanted)


@pytest.mark.parametrize("number", [5, 23, 37, 60, 61, 62, 63])
@pytest.mark.parametrize("place", ["journal", "memory"])
def test_a_moment_of_full_disk_can_be_decided_again(forge, disk, wanted, place, number):
    """Where one single write failed, the failed session can be decided again, and the same command comes to the same."""
    world = forge.world(EXITS)
    failing(disk, PLACES[place], "write", number, errno.ENOSPC, times=1)

    with pytest.raises(StorageError):
        world.run()

    with world.parts() as parts:
        again = redecide(parts, world.journals()[-1].stem)
    assert again.identical, again.difference
    check_completes(world, wanted)


def test_a_full_registry_loses_nothing(forge, wanted):
    """A registry that takes no more rows lets nothing begin, and says so; with space again it comes to the same."""
    world = forge.world(EXITS)
    with sqlite3.connect(world.folder / "var" / "registry.db") as connection:
        connection.execute("VACUUM")
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.close()

    def limit(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}").close()

    sa.event.listen(sa.Engine, "connect", limit)
    try:
        with pytest.raises(StorageError, match="the disk is full; free some space") as refusal:
            world.run(request=replace(world.request, notes="n" * 50_000))
    finally:
        sa.event.remove(sa.Engine, "connect", limit)

    check_sentence(refusal.value)
    check_completes(world, wanted)


def test_a_registry_that_refuses_the_end_is_told_it_later(forge, monkeypatch, wanted):
    """Where the registry can't be told of the end, the journal has it, and whoever reads the registry next tells it."""
    world = forge.world(EXITS)
    with monkeypatch.context() as patch:
        patch.setattr(Sessions, "finish", refused)
        with pytest.raises(StorageError, match="the disk is full"):
            world.run()

    outcome = outcome_of(world)
    check_same(outcome, wanted)
    check_sound(world, outcome)
    assert len(check_proofs(world)) == 1


def refused(*_arguments: object, **_options: object) -> None:
    raise StorageError("the registry can't be used: the disk is full; free some space")


def test_a_read_only_folder_is_told_in_one_sentence(forge, monkeypatch, wanted):
    """Where the state folder can't be written, nothing begins, and the sentence says why."""
    world = forge.world(EXITS)
    ordinary = os.open

    def refusing(path: object, flags: int, *more: object, **options: object) -> int:
        if str(path).startswith(str(world.folder / "var" / "journal")) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return ordinary(path, flags, *more, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refusing)
        with pytest.raises(StorageError, match="the disk is read-only") as refusal:
            world.run()

    check_sentence(refusal.value)
    assert not world.journals()
    check_completes(world, wanted)


@pytest.mark.parametrize("number", [300, 500, 650])
def test_a_clock_that_jumps_back_ends_the_session(forge, wanted, number):
    """A clock that jumps back an hour in the middle is noticed: the session ends, and with a right clock comes to the same."""
    world = forge.world(EXITS)
    calls = 0

    def hook(_point: str) -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            world.clock.offset = -timedelta(hours=1)

    with pytest.raises(SafetyRefused, match="jumped back by 3") as refusal:
        world.run(hook)

    check_sentence(refusal.value)
    with world.parts() as parts:
        assert parts.sessions.find(SessionFilter(), 1)[0].run.status.value == "failed"
    world.clock.offset = timedelta()
    check_completes(world, wanted)


def test_a_clock_that_was_set_back_between_two_lives_is_no_matter(forge, wanted):
    """A session that goes on in a process whose clock is a day behind finds what it goes on with all the same."""
    world = forge.world(EXITS)
    assert world.killed(Killer("venue.submit.after", 20))
    world.clock.offset = -timedelta(days=1)

    world.run()

    outcome = outcome_of(world)
    check_same(outcome, wanted)
    check_sound(world, outcome)


# ---- damaged files, through the command ------------------------------------------------------------------------------


class Desk:
    """A project in which the ordinary command runs in this process."""

    def __init__(self, forge: Forge, capture: pytest.CaptureFixture[str]) -> None:
        self.world, self.capture = forge.world(WILD), capture
        self.files = open_files()

    def run(self) -> tuple[int, str]:
        """Run the command; return its exit code and what it told on stderr."""
        self.capture.readouterr()
        try:
            code = main(["session", "run", *arguments(self.world.folder)])
        finally:
            self.world.let_go(self.files)
        return code, self.capture.readouterr().err

    def die(self, point: str = "venue.submit.after", number: int = 20) -> None:
        """Run the command until it is killed in the middle."""
        killer = Killer(point, number)
        with watched_by(killer), pytest.raises(Killed):
            self.run()
        assert killer.dead

    def check_refuses(self, code: int, *words: str) -> None:
        """Check that the command ends with that code, and with one line that has the words."""
        found, err = self.run()
        assert found == code
        told = [line for line in err.splitlines() if "going on with" not in line]
        assert len(told) == 1, err
        assert "Traceback" not in err
        assert all(word in told[0] for word in words), told[0]

    def check_completes(self, wanted: Outcome) -> None:
        """Check that the command completes and comes to the same."""
        code, err = self.run()
        assert code == 0, err
        outcome = outcome_of(self.world)
        assert outcome.without_names == wanted.without_names
        assert outcome.figures == wanted.figures
        check_sound(self.world, outcome)
        check_proofs(self.world, allowed=ENDED_BADLY)

    def states(self) -> list[str]:
        with self.world.parts() as parts:
            return [session.run.status.value for session in parts.sessions.find(SessionFilter(), 100)]


@pytest.fixture
def desk(forge, capsys) -> Desk:
    return Desk(forge, capsys)


@pytest.fixture(scope="module")
def wild(forge: Forge) -> Outcome:
    world = forge.world(WILD)
    assert main(["session", "run", *arguments(world.folder)]) == 0
    return outcome_of(world)


def damaged(path: Path, place: int) -> bytes:
    """Change a byte of a file; return what it was."""
    before = path.read_bytes()
    place %= len(before)
    path.write_bytes(before[:place] + bytes([before[place] ^ 1]) + before[place + 1 :])
    return before


def test_a_damaged_registry_is_told_in_one_line(desk, wild):
    """A registry that is no database is refused with exit code 1; restored, the session goes on as if nothing was."""
    desk.die()
    registry = desk.world.folder / "var" / "registry.db"
    before = registry.read_bytes()
    registry.write_bytes(b"no database at all" * 1_000)

    desk.check_refuses(1, "registry.db", "damaged or is no database")

    registry.write_bytes(before)
    desk.check_completes(wild)


def test_a_damaged_journal_is_told_in_one_line(desk, wild):
    """A changed byte in the dead session's journal is refused with its line; restored, the session goes on."""
    desk.die()
    path = desk.world.journals()[-1]
    before = damaged(path, path.stat().st_size // 2)

    desk.check_refuses(2, str(path), "damaged")

    assert "started" not in desk.states()
    path.write_bytes(before)
    desk.check_completes(wild)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_damaged_memory_of_the_venue_is_told_in_one_line(desk, wild, share):
    """A line of the venue's memory that is no JSON is refused; no session stays open for it; restored, it goes on."""
    desk.die()
    path = desk.world.venue_logs()[0]
    before = path.read_bytes()
    lines = before.splitlines(keepends=True)
    number = int(len(lines) * share)
    path.write_bytes(b"".join([*lines[:number], b"{broken\n", *lines[number + 1 :]]))

    desk.check_refuses(1, str(path), f"line {number + 1} ")

    assert "started" not in desk.states()
    path.write_bytes(before)
    desk.check_completes(wild)


def test_a_damaged_key_is_told_in_one_line(desk, wild):
    """A key that is none is refused before anything begins; restored, the session goes on."""
    desk.die()
    path = desk.world.folder / "var" / "keys" / "journal.pem"
    before = path.read_bytes()
    path.write_bytes(b"no key")

    desk.check_refuses(2, "journal.pem")

    assert "started" not in desk.states()
    path.write_bytes(before)
    desk.check_completes(wild)


def test_a_full_disk_is_told_in_one_line(desk, disk, wild):
    """A full disk ends the command with exit code 1 and one line; with space again it goes on."""
    failing(disk, is_journal, "write", 50, errno.ENOSPC)

    desk.check_refuses(1, "the disk is full; free some space")

    disk.refuse = lambda _path, _what: None
    desk.check_completes(wild)
