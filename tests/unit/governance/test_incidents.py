"""Incidents as a function of the acts about them: one open of a key, closed once, blocked by the worst that was said."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.governance.incidents import (
    CLOSED_ACT,
    NOTED_ACT,
    OPENED_ACT,
    SAID_MAX,
    SAID_MIN,
    IncidentAct,
    IncidentSeverity,
    by_name,
    check_closing,
    check_note,
    check_opening,
    open_of_key,
    track,
)
from peak_trade.model.errors import InputError, NotFound

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)


def opened(name="i1", key="k", severity="high", at=T0, session_id=None):
    body = {"key": key, "severity": severity, "title": "It broke", "why": "nobody knows", "session_id": session_id}
    return IncidentAct(OPENED_ACT, name, at, "ada", body, True)


def noted(incident="i1", severity=None, at=T0, session_id=None):
    body = {"incident": incident, "words": "seen", "severity": severity, "session_id": session_id}
    return IncidentAct(NOTED_ACT, "n1", at, "bob", body, True)


def closed(incident="i1", well=True, at=T0):
    return IncidentAct(CLOSED_ACT, "c1", at, "cy", {"incident": incident, "cause": "a", "follow_up": "b"}, well)


def test_it_is_open_until_somebody_closed_it():
    found = track([opened()])["i1"]
    assert (found.is_open, found.severity, found.by) == (True, IncidentSeverity.HIGH, "ada")
    found = track([opened(), closed(well=False)])["i1"]
    assert found.is_open
    found = track([opened(), closed(at=T0 + timedelta(hours=1)), closed(at=T0 + timedelta(hours=2))])["i1"]
    assert (found.is_open, found.cause, found.follow_up, found.closed_by) == (False, "a", "b", "cy")
    assert found.closed_at == T0 + timedelta(hours=1)


def test_only_an_open_critical_one_blocks():
    for severity in IncidentSeverity:
        found = track([opened(severity=severity.value)])["i1"]
        assert found.blocks == (severity is IncidentSeverity.CRITICAL)
    assert not track([opened(severity="critical"), closed()])["i1"].blocks
    assert track([opened(severity="nonsense")])["i1"].blocks


def test_a_note_can_make_it_worse_and_never_better():
    assert track([opened(), noted(severity="critical")])["i1"].severity is IncidentSeverity.CRITICAL
    assert track([opened(), noted(severity="low"), noted()])["i1"].severity is IncidentSeverity.HIGH
    assert track([opened(), noted(session_id="s")])["i1"].session_id == "s"
    assert track([opened(session_id="first"), noted(session_id="s")])["i1"].session_id == "first"


def test_what_is_about_no_incident_is_passed_over():
    assert track([noted(), closed(), IncidentAct("kill", "x", T0, "ada", {}, True)]) == {}


def test_names():
    found = track([opened("20260301-aaaa"), opened("20260301-bbbb", key="other"), closed("20260301-aaaa")])
    assert by_name(found, "latest").id == "20260301-bbbb"
    assert by_name(found, "aaaa").id == "20260301-aaaa"
    assert by_name(found, "other").id == "20260301-bbbb"
    assert open_of_key(found, "k") is None
    for name in ("aaa", "cccc", "k"):
        with pytest.raises(NotFound, match="peak-trade incident list"):
            by_name(found, name)
    with pytest.raises(NotFound):
        by_name({}, "latest")
    with pytest.raises(NotFound, match="2 of them"):
        by_name(track([opened("1-xxxx"), opened("2-xxxx", key="b")]), "xxxx")


@given(st.lists(st.sampled_from([opened("a"), opened("b"), noted("a", "critical"), closed("a"), closed("b")]), max_size=12))
def test_what_is_closed_stays_closed_and_gets_no_better(acts):
    """Until the same act would open it again, which ids rule out."""
    first = {act.id: number for number, act in reversed(list(enumerate(acts))) if act.action == OPENED_ACT}
    once = [act for number, act in enumerate(acts) if act.action != OPENED_ACT or first[act.id] == number]
    before: dict[str, tuple[bool, int]] = {}
    for number in range(len(once) + 1):
        for name, item in track(once[:number]).items():
            was_open, rank = before.get(name, (True, 0))
            assert was_open or not item.is_open
            assert item.severity.rank >= rank
            before[name] = (item.is_open, item.severity.rank)


@pytest.mark.parametrize("text", ["", " ", "x" * 121, "two\x1b[2J"])
def test_an_opening_needs_words_that_can_be_kept(text):
    check_opening("k", "t", "w")
    for given_ in ((text, "t", "w"), ("k", text, "w")):
        with pytest.raises(InputError, match="printable characters"):
            check_opening(*given_)
    with pytest.raises(InputError):
        check_note("")
    check_note("a\nb")


CAUSE = "the feed sent a bar twice"


@pytest.mark.parametrize(
    ("cause", "follow", "words"),
    [
        ("", CAUSE, "--cause"),
        ("unknown", CAUSE, "--cause"),
        (" TBD. ", CAUSE, "--cause"),
        (CAUSE, "none", "--follow-up"),
        ("x" * (SAID_MIN - 1), CAUSE, "--cause"),
        (CAUSE, "y" * (SAID_MAX + 1), "--follow-up"),
    ],
)
def test_a_closing_needs_cause_and_follow_up(cause, follow, words):
    found = track([opened()])["i1"]
    with pytest.raises(InputError, match=words):
        check_closing(found, "ada", ["ada"], cause, follow)


def test_a_closing_at_the_limits_and_by_whom():
    found = track([opened()])["i1"]
    check_closing(found, "ada", ["ada"], "x" * SAID_MIN, "y" * SAID_MAX)
    check_closing(found, "anyone", [], CAUSE, CAUSE)
    with pytest.raises(InputError, match=r"a person of governance/roles.toml \(ada\), found eve"):
        check_closing(found, "eve", ["ada"], CAUSE, CAUSE)
    with pytest.raises(InputError, match="found i1 closed by cy"):
        check_closing(track([opened(), closed()])["i1"], "ada", ["ada"], CAUSE, CAUSE)
    with pytest.raises(InputError, match="low, medium, high, critical"):
        IncidentSeverity.parse("urgent")
    assert IncidentSeverity.parse(" Critical ") is IncidentSeverity.CRITICAL
