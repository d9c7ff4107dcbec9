"""Which records belong to a session that goes on with dead ones; a journal that was changed is told, not followed for ever."""

from datetime import UTC, datetime

import pytest

from peak_trade.journal.chain import Chain, accounts
from peak_trade.journal.signing import Signer
from peak_trade.model.errors import CheckFailed, NotFound
from peak_trade.runs.sessions.dead import lineage

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def begun(root, session_id, body):
    """Write a journal with its first record alone."""
    Chain.begin(root, "paper", session_id, body, at=NOW, signer=Signer.load_or_make(root / "keys" / "journal.pem")).close()


def test_dead_ones_come_first(tmp_path):
    """Oldest first, each with its own records."""
    begun(tmp_path, "a", {"continues": None})
    begun(tmp_path, "b", {"continues": "a"})

    assert accounts(tmp_path)
    assert [record.body["continues"] for record in lineage(tmp_path, "paper", "b")] == [None, "a"]


@pytest.mark.parametrize("first", [{"continues": "b"}, {"origin": "a"}])
def test_a_changed_beginning_is_told(tmp_path, first):
    """One that goes on with its successor, or does not say with what, is no lineage."""
    begun(tmp_path, "a", first)
    begun(tmp_path, "b", {"continues": "a"})

    with pytest.raises(CheckFailed, match=r"expected the journal .*a\.jsonl|expected the journal .*b\.jsonl"):
        list(lineage(tmp_path, "paper", "b"))


def test_one_that_is_not_there_is_told(tmp_path):
    """The sentence says where it was looked for."""
    begun(tmp_path, "b", {"continues": "a"})

    with pytest.raises((NotFound, CheckFailed), match="a"):
        list(lineage(tmp_path, "paper", "b"))
