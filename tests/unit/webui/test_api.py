"""What the API makes of sessions: stages apart, numbers that JSON has, and everything under its own name."""

import json
import math
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contract.rows import NOW, a_session

from peak_trade.journal.registry import stamp
from peak_trade.journal.run import RunStatus
from peak_trade.journal.session import Acknowledgement
from peak_trade.journal.sessions import SessionCount, SessionStats
from peak_trade.webui.api import LiveSessionDetail, LiveSessionSummary, detail_of, mode_stats, summary_of

MODES = ("shadow", "testnet", "shadow_live", "live")
COUNTS = st.lists(
    st.builds(
        SessionCount,
        mode=st.sampled_from(MODES),
        run_type=st.sampled_from(("live_session_shadow", "shadow_run")),
        status=st.sampled_from(("started", "completed", "failed")),
        sessions=st.integers(1, 10**6),
    ),
    max_size=12,
)
ODD = [math.nan, math.inf, -math.inf, "many", None, [1], b"1"]


def stats(counts, sums=None) -> SessionStats:
    return SessionStats(total=sum(count.sessions for count in counts), counts=tuple(counts), sums=sums or {})


def a_finished(**changes):
    """Return a session that has ended."""
    given = {"status": RunStatus.COMPLETED, "elapsed_s": 2.5, "finished_at": stamp(NOW), "heartbeat_at": stamp(NOW)}
    return a_session(**given | changes)


@given(COUNTS, COUNTS)
def test_stages_are_never_added_up(total, today):
    """Each stage has its own counts, and they are the sums of its own rows and of no other's."""
    found = {row.mode: row for row in mode_stats(stats(total), stats(today))}

    assert set(found) == {count.mode for count in (*total, *today)}
    for mode, row in found.items():
        assert row.is_live_warning is (mode == "live")
        for name, counts, by_status in (("total", total, row.by_status), ("today", today, row.today_by_status)):
            mine = [count for count in counts if count.mode == mode]
            assert getattr(row, name) == sum(count.sessions for count in mine)
            for status in {count.status for count in mine} | set(by_status):
                assert by_status[status] == sum(count.sessions for count in mine if count.status == status)


def test_sums_are_by_stage_and_currency():
    """Money is summed within one stage and one currency; what is no number is left at zero."""
    sums = {
        "shadow": {"EUR": {"realized_pnl": 1.5}, "USD": {"realized_pnl": math.inf}},
        "live": {"EUR": {"realized_pnl": -2.0}},
    }

    found = {row.mode: row.sums for row in mode_stats(stats([], sums), stats([]))}

    assert found == {
        "shadow": {"EUR": {"realized_pnl": 1.5}, "USD": {"realized_pnl": 0.0}},
        "live": {"EUR": {"realized_pnl": -2.0}},
    }


def test_no_sessions_no_stages():
    """Without a session no stage is named."""
    assert mode_stats(stats([]), stats([])) == []


@pytest.mark.parametrize("odd", ODD)
def test_a_figure_that_is_no_number_is_null(odd):
    """What JSON has no number for is null, wherever it stands, and the rest is as it was."""
    session = a_finished(
        metrics={"realized_pnl": odd, "num_fills": 3, "sharpe": odd},
        params={"window": 5, "nested": {"deep": [odd if isinstance(odd, float) else 1]}},
        summary={"quote": "EUR", "limit": odd if isinstance(odd, float) else 1},
    )

    told = detail_of(session)

    assert (told.realized_pnl, told.num_fills, told.metrics) == (
        None,
        3.0,
        {"realized_pnl": None, "num_fills": 3.0, "sharpe": None},
    )
    assert told.params["window"] == 5
    json.dumps(told.model_dump(), allow_nan=False)


@pytest.mark.parametrize("mode", [("live_session_live", True), ("live_session_testnet", False), ("shadow_run", False)])
def test_real_money_is_said(mode):
    """Only a session of the live stage carries the warning."""
    assert summary_of(a_finished(run_type=mode[0])).is_live_warning is mode[1]


def test_a_summary_s_own_words():
    """A list shows a session under the names of the registry, with its page and its currency."""
    noted = Acknowledgement(by="maria", at=stamp(NOW), note="seen")
    session = a_finished(
        status=RunStatus.FAILED,
        error="it broke",
        feed={"quote": "USDT"},
        tags=("a", "b"),
        acknowledged=noted,
        continues="before",
    )

    told = summary_of(session)

    assert (told.session_id, told.run_id, told.url) == (
        session.session_id,
        session.session_id,
        f"/session/{session.session_id}",
    )
    assert (told.quote, told.status, told.error, told.tags, told.notes) == (
        "USDT",
        "failed",
        "it broke",
        ["a", "b"],
        "first try",
    )
    assert told.acknowledged.model_dump() == {"by": "maria", "at": stamp(NOW), "note": "seen"}
    assert summary_of(replace(session, feed={})).quote == "EUR"


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, 2.5),
        ({"elapsed_s": math.nan}, None),
        ({"status": RunStatus.STARTED}, None),
        ({"status": RunStatus.ABORTED, "elapsed_s": None, "heartbeat_at": stamp(NOW + timedelta(seconds=90))}, 90.0),
        ({"status": RunStatus.ABORTED, "elapsed_s": None, "heartbeat_at": stamp(NOW - timedelta(seconds=90))}, 0.0),
        ({"status": RunStatus.ABORTED, "elapsed_s": None, "heartbeat_at": None}, None),
        ({"status": RunStatus.DAMAGED, "elapsed_s": None, "started_at": "never"}, None),
    ],
    ids=["ended", "no number", "running", "died", "died before it began", "never heard of", "damaged"],
)
def test_how_long_it_took(changes, seconds):
    """A session took as long as it says; one that died, until it was last heard of; otherwise nobody knows."""
    assert summary_of(a_finished(**changes)).duration_s == seconds


def test_details_have_everything():
    """The document of one session has all of its summary, its identity and the commands to go on from it."""
    session = a_finished(run_id="20260101T000000000Z-a'b", summary={"by_leg": []}, head_seq=3)

    told = detail_of(session)

    assert set(LiveSessionSummary.model_fields) < set(LiveSessionDetail.model_fields)
    assert told.model_dump(include=set(LiveSessionSummary.model_fields)) == summary_of(session).model_dump()
    assert (told.config_sha256, told.code_version, told.process, told.head_seq) == ("c" * 64, "abc", 1, 3)
    assert any("session replay '20260101T000000000Z-a'\"'\"'b'" in one.command for one in told.commands)
