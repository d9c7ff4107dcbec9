"""Holds: placed, seen by everyone, lifted by the restart procedure alone."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from peak_trade.model.errors import SafetyRefused, StorageError
from peak_trade.safety.holds import UNREADABLE, AccountHolds, Hold, HoldKind

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PAUSED = Hold("2026-03-01T12:00:00Z", "ada", "the spread looks wrong", HoldKind.PAUSE, "asked")
CLOSED = Hold("2026-03-01T12:00:00Z", "ada", "it loses", HoldKind.CLOSE, "rollback", ("ma_crossover",))


def test_a_hold_is_seen_by_whoever_looks_next(tmp_path: Path) -> None:
    AccountHolds(tmp_path).place("paper", PAUSED, NOW)
    other = AccountHolds(tmp_path)
    assert other.held("paper")
    assert other.of("paper") == (PAUSED,)
    assert other.accounts() == ("paper",)
    assert not other.held("spare")
    assert other.of("spare") == ()
    other.check_free("spare", ["macd"])
    with pytest.raises(SafetyRefused, match=r"expected nothing to hold the account paper, found pause since .*, by ada"):
        other.check_free("paper", ["macd"])


def test_what_closes_some_strategies_keeps_only_those_from_beginning(tmp_path: Path) -> None:
    holds = AccountHolds(tmp_path)
    holds.place("paper", CLOSED, NOW)
    holds.check_free("paper", ["macd"])
    assert holds.keeping("paper") == ()
    with pytest.raises(SafetyRefused, match="it loses"):
        holds.check_free("paper", ["macd", "ma_crossover"])
    holds.place("spare", CLOSED._replace(strategies=()), NOW)
    assert len(holds.keeping("spare")) == 1
    with pytest.raises(SafetyRefused, match="it loses"):
        holds.check_free("spare", ["macd"])


def test_which_accounts_are_held_is_never_guessed(tmp_path: Path) -> None:
    (tmp_path / "holds").write_text("no folder")
    with pytest.raises(StorageError, match="expected to see which accounts are held"):
        AccountHolds(tmp_path / "holds").accounts()


@pytest.mark.parametrize("why", ["\udc80", "a\0b", "w" * 1_000_000, "\x1b[2J\n", "\u202e"])
def test_no_words_keep_a_hold_from_being_placed(tmp_path: Path, why: str) -> None:
    holds = AccountHolds(tmp_path)
    placed = holds.place("paper", PAUSED._replace(by=why, why=why), NOW)
    assert holds.of("paper") == (placed,)
    assert (placed.by == UNREADABLE, len(placed.why) <= 2_000) == (False, True)


def test_holds_of_one_moment_are_all_kept_in_order(tmp_path: Path) -> None:
    holds = AccountHolds(tmp_path)
    holds.place("paper", PAUSED, NOW)
    holds.place("paper", CLOSED, NOW)
    assert holds.of("paper") == (PAUSED, CLOSED)


def test_lifting_keeps_what_is_to_be_kept(tmp_path: Path) -> None:
    holds = AccountHolds(tmp_path)
    holds.place("paper", PAUSED, NOW)
    holds.place("paper", CLOSED, NOW)
    assert holds.lift("paper", keep=lambda hold: hold.kind is HoldKind.CLOSE) == (PAUSED,)
    assert holds.of("paper") == (CLOSED,)
    assert holds.lift("paper") == (CLOSED,)
    assert not holds.held("paper")
    assert holds.lift("paper") == ()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"at": 1}', '{"kind": "none"}', "[" * 100_000])
def test_a_hold_that_cannot_be_read_pauses(tmp_path: Path, text: str) -> None:
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "1.json").write_text(text)
    (found,) = AccountHolds(tmp_path).of("paper")
    assert found.kind is HoldKind.PAUSE
    assert found.by == UNREADABLE
    assert found.strategies == ()
