"""Files that are whole or not there."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from peak_trade.durable import write_text, write_whole
from peak_trade.model.errors import StorageError


def test_a_file_is_written_whole(tmp_path):
    """The text is there, nothing else is left in the folder."""
    write_text(tmp_path / "deep" / "file.txt", "content")

    assert (tmp_path / "deep" / "file.txt").read_text() == "content"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file.txt"]


def test_a_failing_writer_leaves_the_old_file(tmp_path):
    """When writing breaks off, the old content stays and no draft remains."""
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def broken(draft):
        draft.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_whole(path, broken)

    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    """A process killed between writing and moving leaves the old content."""
    path = tmp_path / "file.txt"
    write_text(path, "old")
    code = (
        "import os, signal, sys; from pathlib import Path; from peak_trade.durable import write_whole\n"
        "write_whole(Path(sys.argv[1]), lambda draft: (draft.write_text('half'), os.kill(os.getpid(), signal.SIGKILL)))"
    )

    ended = subprocess.run([sys.executable, "-c", code, str(path)], check=False)

    assert ended.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_sentence(tmp_path):
    """No space left becomes a storage error that says so."""

    def full(draft):
        with Path("/dev/full").open("w") as file:
            file.write("x" * 100_000)

    with pytest.raises(StorageError, match="disk is full"):
        write_whole(tmp_path / "file.txt", full)


def test_a_file_in_the_way_is_one_sentence(tmp_path):
    """A file where a folder is needed is named, with what to do."""
    (tmp_path / "var").write_text("a file")

    with pytest.raises(StorageError, match="a file stands where a folder is needed"):
        write_text(tmp_path / "var" / "file.txt", "content")


def test_content_and_name_are_forced_to_disk(tmp_path, monkeypatch):
    """The file is forced to disk before it gets its name, the folder after."""
    forced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (forced.append(Path(f"/proc/self/fd/{handle}").readlink()), real(handle)))

    write_text(tmp_path / "file.txt", "content")

    assert [path.name.startswith(".file.txt.") for path in forced] == [True, False]
    assert forced[1] == tmp_path


def test_a_link_is_followed(tmp_path):
    """Writing through a link changes what it points to and keeps the link."""
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")

    write_text(tmp_path / "link.txt", "new")

    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_a_pipe_is_written_to_and_stays(tmp_path):
    """What is no regular file is never replaced by one."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)

    write_text(tmp_path / "pipe", "content")

    assert os.read(reader, 100) == b"content"
    assert (tmp_path / "pipe").is_fifo()
    os.close(reader)


def test_the_mask_of_the_user_holds(tmp_path):
    """Files get the permissions that the user's mask leaves."""
    before = os.umask(0o027)
    write_text(tmp_path / "file.txt", "content")
    os.umask(before)

    assert (tmp_path / "file.txt").stat().st_mode & 0o777 == 0o640
