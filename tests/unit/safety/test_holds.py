"""Holds: placed, seen by everyone, lifted by the restart procedure alone."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from peak_trade.model.errors import SafetyRefused, StorageError
from peak_trade.safety.holds import ANY_KEY, UNREADABLE, AccountHolds, AccountKeys, Hold, HoldKind

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


# ---- what reaches other accounts -------------------------------------------------------------------------------------


@pytest.fixture
def holds(tmp_path: Path) -> AccountHolds:
    return AccountHolds(tmp_path / "holds", AccountKeys(tmp_path / "account_keys"))


def test_a_hold_reaches_every_account_with_the_same_key(holds: AccountHolds) -> None:
    """By its name or another, before it ever traded and after; not with another key, and not in the shadow."""
    holds.keys.bind("main", "a1")
    holds.keys.bind("other", "a1")
    holds.keys.bind("apart", "b2")
    placed = holds.place("main", PAUSED, NOW)

    assert placed.keys == ("a1",)
    for account in ("other", "never_seen"):
        with pytest.raises(SafetyRefused, match=r"hold the exchange key a1 .* the account main, which .* resume main leads"):
            holds.check_free(account, ["macd"], "a1")
        holds.check_free(account, ["macd"], "b2")
        holds.check_free(account, ["macd"])
    assert holds.reaches("main", placed) == ("other",)
    assert holds.beyond("other", ("a1",)) == (("main", placed),)
    assert holds.beyond("apart", ("b2",)) == ()
    assert holds.beyond("main", ("a1",)) == ()

    holds.lift("main")
    holds.check_free("other", ["macd"], "a1")


def test_a_hold_keeps_its_key_when_nobody_remembers_the_accounts(holds: AccountHolds) -> None:
    holds.keys.bind("main", "a1")
    holds.place("main", PAUSED, NOW)
    (holds.keys.folder / "main" / "a1").unlink()
    with pytest.raises(SafetyRefused, match="exchange key a1"):
        holds.check_free("other", ["macd"], "a1")


def test_a_key_that_is_used_after_the_hold_was_placed_is_held_too(holds: AccountHolds) -> None:
    """Also by a hold from before holds named keys, which is read as ever."""
    path = holds.folder / "main" / "1.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"at": "2026-03-01T12:00:00Z", "by": "ada", "why": "odd", "kind": "pause", "code": "x", "strategies": []}')
    assert holds.of("main") == (PAUSED._replace(why="odd", code="x"),)
    holds.check_free("other", ["macd"], "a1")
    holds.keys.bind("main", "a1")
    with pytest.raises(SafetyRefused, match="exchange key a1"):
        holds.check_free("other", ["macd"], "a1")


def test_what_closes_some_strategies_reaches_only_those(holds: AccountHolds) -> None:
    holds.place("main", CLOSED._replace(keys=("a1",)), NOW)
    holds.check_free("other", ["macd"], "a1")
    with pytest.raises(SafetyRefused, match="it loses"):
        holds.check_free("other", ["ma_crossover"], "a1")


def test_keys_that_cannot_be_seen_may_be_any(holds: AccountHolds) -> None:
    """Of the held account, of the folder of holds; a session without a key is not concerned."""
    holds.keys.folder.mkdir()
    (holds.keys.folder / "main").write_text("no folder")
    assert holds.place("main", PAUSED, NOW).keys == (ANY_KEY,)
    with pytest.raises(SafetyRefused, match="exchange key a1"):
        holds.check_free("other", ["macd"], "a1")
    holds.check_free("other", ["macd"])
    unseen = AccountHolds(holds.keys.folder / "main", holds.keys)
    assert [name for name, _ in unseen.beyond("other", ("a1",))] == [UNREADABLE]


def test_a_key_of_no_more_use_is_forgotten(holds: AccountHolds) -> None:
    holds.keys.bind("main", "a1")
    holds.keys.bind("main", "b2")
    holds.keys.bind("main", "b2")
    holds.keys.forget("a1")
    holds.keys.forget("unknown")
    assert holds.keys.of("main") == ("b2",)
    assert {path.stat().st_size for path in holds.keys.folder.glob("*/*")} == {0}
