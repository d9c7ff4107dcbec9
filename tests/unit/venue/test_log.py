"""The simulated venue's memory: what is in it survives, what is torn never happened."""

import errno
import os

import pytest

from peak_trade.model.errors import StorageError
from peak_trade.venue.log import FileLog, MemoryLog

LINES = [{"fill": {"price": "1.10", "maker": True}}, {"closed": {"why": "größe"}}, {"submitted": None}]


@pytest.fixture
def path(tmp_path):
    """Where a log lies; its folder is not there yet."""
    return tmp_path / "venue" / "a" / "b.jsonl"


def filled(path):
    """Return a log with three lines."""
    log = FileLog(path)
    for line in LINES:
        log.append(line)
    return log


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_lines_come_back_in_order(kind, path):
    """What was kept is read in the order in which it was kept."""
    log = MemoryLog() if kind == "memory" else FileLog(path)
    for line in LINES:
        log.append(line)

    assert list(log.lines()) == LINES
    log.close()


def test_a_line_that_is_changed_later_stays_as_it_was():
    """A memory keeps what was said, not what became of it."""
    log, line = MemoryLog(), {"a": 1}
    log.append(line)
    line["a"] = 2

    assert list(log.lines()) == [{"a": 1}]


def test_a_file_remembers_after_it_was_closed(path):
    """The next process reads all of it and goes on behind it."""
    filled(path).close()

    log = FileLog(path)
    log.append({"more": 1})

    assert list(log.lines()) == [*LINES, {"more": 1}]
    log.close()


def test_a_torn_last_line_never_happened(path):
    """Whatever part of a line a crash left, the lines before it stay, and the next one is whole."""
    filled(path).close()
    whole = path.read_bytes()
    begun = whole[:-1].rfind(b"\n") + 1
    for cut in range(begun + 1, len(whole)):
        path.write_bytes(whole[:cut])
        log = FileLog(path)
        log.append({"next": cut})

        assert list(log.lines()) == [*LINES[:-1], {"next": cut}]
        log.close()


def test_a_damaged_line_is_told(path):
    """A line that is no JSON stops with its number and the file's name."""
    filled(path).close()
    path.write_bytes(path.read_bytes().replace(b'"closed"', b'"closed'))
    log = FileLog(path)

    with pytest.raises(StorageError, match=r"damaged|line 2 of .*b\.jsonl"):
        list(log.lines())
    log.close()


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_what_the_disk_refused_is_not_in_the_file(path, monkeypatch, call):
    """After a refusal the file holds what it held before, and takes the next line."""
    log = filled(path)
    kept = path.read_bytes()
    real = getattr(os, call)

    def refuse(handle, *content):
        if content:
            real(handle, content[0][:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(StorageError, match="the disk is full"):
        log.append({"lost": 1})
    assert path.read_bytes() == kept

    monkeypatch.undo()
    log.append({"kept": 1})
    assert list(log.lines()) == [*LINES, {"kept": 1}]
    log.close()


def test_a_line_that_goes_out_in_pieces_is_whole(path, monkeypatch):
    """A system may write less than it was asked to; the rest follows."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, content: real(handle, content[:3]))

    log = filled(path)

    assert list(log.lines()) == LINES
    log.close()


def test_a_line_is_forced_to_disk_before_anybody_hears_of_it(path, monkeypatch):
    """The file is synchronised once for each line, between the two places at which a process may die."""
    seen = []
    real = os.fsync
    log = FileLog(path, seen.append)
    monkeypatch.setattr(os, "fsync", lambda handle: (seen.append("fsync"), real(handle)))

    log.append({"a": 1})

    assert seen == ["venue.log.before", "fsync", "venue.log.after"]
    log.close()


def test_a_folder_that_can_not_be_made_is_told(tmp_path):
    """A path through a file is a storage error, not a traceback."""
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageError):
        FileLog(tmp_path / "file" / "log.jsonl")
