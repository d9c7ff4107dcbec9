"""What one session shows, from records alone."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.governance.criteria import EvidenceKind, Subject
from peak_trade.governance.ladder import StrategyVersion
from peak_trade.journal.chain import Record
from peak_trade.journal.run import plain_json
from peak_trade.runs.sessions.evidence import correlation, digits, kind_of, so_far, subject_of

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
SHA = "0" * 64


def record(seq, kind, **body):
    at = (AT + timedelta(minutes=seq)).isoformat().replace("+00:00", "Z")
    return Record(at=at, body=body, kind=kind, prev=SHA, seq=seq, sha256=f"{seq:064x}")


def begun(strategies=(("macd", {"fast": 1}),), mode="shadow", followed=None, code="c" * 64):
    data = [{"choice": {"symbol": "BTC/EUR"}} | ({"followed_at": followed} if followed else {})]
    spec = {"strategies": [list(item) for item in strategies], "data": data, "mode": mode}
    return record(0, "begun", spec=plain_json(spec), versions=plain_json({"strategy": code}), continues=None)


SUBJECT = Subject(strategy=StrategyVersion(key="macd", params_sha256=SHA, code_sha256=SHA), symbols=("BTC/EUR",))


def test_what_it_is_about():
    found = subject_of(begun())
    assert found is not None
    assert (found.strategy.key, found.symbols) == ("macd", ("BTC/EUR",))
    assert subject_of(begun(strategies=(("macd", {}), ("breakout", {})))) is None
    assert subject_of(record(0, "begun", spec="{}", versions="{}")) is None
    assert subject_of(record(0, "begun", spec="nothing", versions="{}")) is None


@pytest.mark.parametrize(
    ("mode", "followed", "kind"),
    [
        ("shadow", None, EvidenceKind.SHADOW),
        ("testnet", "https://api.kraken.com", EvidenceKind.VALIDATE_ONLY),
        ("testnet", "http://127.0.0.1:8080", EvidenceKind.EMULATOR),
        ("live", "http://127.0.0.1:8080", EvidenceKind.EMULATOR),
        ("shadow_live", "https://api.kraken.com", EvidenceKind.LIVE_DATA),
    ],
)
def test_an_emulator_proves_nothing_else(mode, followed, kind):
    assert kind_of(begun(mode=mode, followed=followed)) is kind


@pytest.mark.parametrize(
    ("mode", "code", "count"),
    [("paused", "max_daily_loss", 1), ("killed", "contract", 1), ("killed", "kill_switch", 0), ("reduce_only", "x", 0)],
)
def test_one_that_is_not_over_shows_that_it_stopped_for_good(mode, code, count):
    """A kill switch is a person's act, and a stricter mode that is left again is no incident."""
    records = [begun(), record(1, "incident", mode=mode, code=code, words="w"), record(2, "mark")]
    found = list(so_far("s", records, SUBJECT, sound=True))

    assert len(found) == count
    if found:
        assert (found[0].facts["critical_incidents"], found[0].at) == (1, AT + timedelta(minutes=1))
        assert list(so_far("s", [*records, record(3, "mark")], SUBJECT, sound=True)) == found


def test_one_that_is_not_over_and_was_changed():
    [found] = so_far("s", [begun()], SUBJECT, sound=False)
    assert found.facts == {"journal_sound": False}


curves = st.lists(st.floats(1, 1e6), min_size=3, max_size=30).map(np.array)


@given(curves)
def test_curves_that_are_the_same_go_together(curve):
    assert correlation(curve, curve.copy()) == 1.0


@given(curves, curves)
def test_a_correlation_is_one(first, second):
    """Between -1 and 1, or nothing that can be said."""
    found = correlation(first, second)
    assert found is None or -1.000001 <= found <= 1.000001
    if len(first) != len(second):
        assert found is None


def test_a_curve_that_does_not_move_tells_nothing_of_one_that_does():
    assert correlation(np.ones(5), np.arange(5.0)) is None
    assert correlation(np.ones(2), np.array([1.0, 2.0])) is None
    assert correlation(np.array([]), np.array([])) is None


def test_digits():
    assert (digits(0.1), digits(-2.0)) == ("0.100000000", "-2.000000000")
