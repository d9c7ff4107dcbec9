"""The supervisor's sign: who may rely on it, and until when."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from peak_trade.compose import Parts
from peak_trade.runs.supervisor_sign import Duty, Uptime, machine_uptime, sign_path, supervisor_trouble, write_sign
from peak_trade.settings import load_config

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BEGAN = "2026-03-01T11:00:00Z"
STALE_S = 15.0


class SetClock:
    """A clock that a test sets."""

    def __init__(self, now: datetime) -> None:
        self.at = now

    def now(self) -> datetime:
        return self.at

    def elapsed_s(self) -> float:
        return 0.0


def parts_at(folder: Path, required: bool = True) -> Parts:
    """Return parts of a state folder, at a set moment."""
    (folder / "config.toml").write_text(f"[supervisor]\nrequired = {str(required).lower()}\n")
    parts = Parts(load_config(folder / "config.toml"))
    parts.clock = SetClock(NOW)
    return parts


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    """A state folder in which a supervisor showed itself 1,000 s after the machine started."""
    parts = parts_at(tmp_path)
    write_sign(parts, BEGAN, Duty.AT_WORK, Uptime("this", 1_000.0))
    return parts


def trouble_at(parts: Parts, seconds: float, boot: str = "this") -> str | None:
    return supervisor_trouble(parts, lambda: Uptime(boot, seconds))


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(1_000.0, None), (1_014.99, None), (1_015.0, "has shown nothing for 15 s"), (999.0, None), (998.9, "from the future")],
)
def test_its_age_counts_to_the_limit(parts: Parts, seconds: float, expected: str | None) -> None:
    found = trouble_at(parts, seconds)
    assert found is None if expected is None else found is not None and expected in found


def test_a_wall_clock_that_is_set_forward_hides_nothing_and_alarms_nobody(parts: Parts) -> None:
    assert isinstance(parts.clock, SetClock)
    parts.clock.at = NOW + timedelta(days=1)
    assert trouble_at(parts, 1_001.0) is None
    assert "has shown nothing" in str(trouble_at(parts, 1_020.0))


def test_a_wall_clock_that_is_set_back_makes_it_one_of_the_future(parts: Parts) -> None:
    assert isinstance(parts.clock, SetClock)
    parts.clock.at = NOW - timedelta(seconds=STALE_S)
    assert trouble_at(parts, 1_001.0) is None
    parts.clock.at = NOW - timedelta(seconds=STALE_S + 0.001)
    assert "from the future" in str(trouble_at(parts, 1_001.0))


def test_one_of_another_start_of_the_machine_is_none(parts: Parts) -> None:
    assert "from before the machine was started" in str(trouble_at(parts, 1_001.0, "other"))


def test_where_boots_are_not_told_the_wall_clock_counts_too(tmp_path: Path) -> None:
    parts = parts_at(tmp_path)
    write_sign(parts, BEGAN, Duty.AT_WORK, Uptime("", 1_000.0))
    parts.clock = SetClock(NOW + timedelta(seconds=STALE_S - 0.001))
    assert trouble_at(parts, 1_001.0, "") is None
    parts.clock = SetClock(NOW + timedelta(seconds=STALE_S))
    assert "has shown nothing since" in str(trouble_at(parts, 1_001.0, ""))


def test_one_that_was_stopped_on_purpose_is_none_at_once(parts: Parts) -> None:
    write_sign(parts, BEGAN, Duty.STOPPED, Uptime("this", 1_000.0))
    assert "was stopped on purpose" in str(trouble_at(parts, 1_000.0))


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"{}", b"[]", b"\xff", b"[" * 4_000, b'{"at": "yesterday"}'],
    ids=["empty", "null", "nothing", "list", "bytes", "deep", "half"],
)
def test_one_that_cant_be_read_is_none(parts: Parts, content: bytes) -> None:
    sign_path(parts).write_bytes(content)
    assert "can't be read" in str(trouble_at(parts, 1_001.0))


@pytest.mark.parametrize(
    "change", [{"uptime_s": float("nan")}, {"uptime_s": None}, {"at": "x"}, {"duty": "asleep"}, {"process": "x"}]
)
def test_one_with_a_wrong_word_is_none(parts: Parts, change: dict[str, object]) -> None:
    path = sign_path(parts)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert trouble_at(parts, 1_001.0) is not None


def test_a_folder_or_a_pipe_in_its_place_is_none_and_keeps_nobody_waiting(parts: Parts) -> None:
    path = sign_path(parts)
    path.unlink()
    assert "no supervisor has ever run" in str(trouble_at(parts, 1_001.0))
    path.mkdir()
    assert "can't be read" in str(trouble_at(parts, 1_001.0))
    path.rmdir()
    os.mkfifo(path)
    assert "can't be read" in str(trouble_at(parts, 1_001.0))


def test_where_none_is_required_nothing_is_asked_for(tmp_path: Path) -> None:
    parts = parts_at(tmp_path, required=False)
    assert supervisor_trouble(parts) is None


def test_a_sign_of_this_machine_is_fresh_at_once(tmp_path: Path) -> None:
    parts = parts_at(tmp_path)
    write_sign(parts, BEGAN, Duty.AT_WORK, machine_uptime())
    assert supervisor_trouble(parts) is None


def test_a_disk_that_refuses_leaves_the_sign_before(parts: Parts) -> None:
    path = sign_path(parts)
    before = path.read_bytes()
    (path.parent / f".{path.name}.draft").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_sign(parts, BEGAN, Duty.AT_WORK, Uptime("this", 1_005.0))
    assert path.read_bytes() == before
