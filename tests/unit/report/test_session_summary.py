"""Summaries of sessions: what is added up, what never is, and how little is needed."""

import json
import re

import numpy as np
import pytest
from tests.unit.report.records import PageReader
from tests.unit.report.session_records import EXPECTED, METRICS, a_session

from peak_trade.report.session_summary import curve_points, summary_facts, summary_html, summary_markdown

FIRST = "python scripts/run_execution_session.py --strategy ma_crossover --steps 100 --speed max"
HOSTILE = "</script><img src=x onerror=alert(1)>|`"
INCIDENT = {"at": "2024-01-02T03:04:05Z", "code": "data_gap", "words": "no bar for 360 s"}


def some_sessions():
    """Two shadow sessions that won and lost, one that died, and one of another stage and currency."""
    return [
        a_session(session_id="won", expected=EXPECTED),
        a_session(
            session_id="lost", metrics={"final_equity": 9_900.0, "max_drawdown": -0.05}, elapsed_s=7.75, incidents=[INCIDENT]
        ),
        a_session(session_id="died", status="failed", metrics=dict.fromkeys(METRICS), elapsed_s=None, blocked_by_code={}),
        a_session(session_id="far", mode="testnet", run_type="live_session_testnet", symbol="BTC/USD", quote="USD", legs=[]),
    ]


def test_groups_are_never_mixed():
    """Run types, modes and currencies each are summed by themselves."""
    changes = [{}, {"mode": "testnet"}, {"run_type": "shadow_run"}, {"quote": "USD"}, {}]

    summary = summary_facts(a_session(**change) for change in changes)

    keys = [(group["run_type"], group["mode"], group["quote"], group["sessions"]) for group in summary["groups"]]
    assert sorted(keys) == [
        ("live_session_shadow", "shadow", "EUR", 2),
        ("live_session_shadow", "shadow", "USD", 1),
        ("live_session_shadow", "testnet", "EUR", 1),
        ("shadow_run", "shadow", "EUR", 1),
    ]
    assert "profit" not in summary


def test_counts():
    """Sessions by status and by mode, over all of them."""
    summary = summary_facts(some_sessions())

    assert summary["sessions"] == 4
    assert summary["by_status"] == {"completed": 3, "failed": 1}
    assert summary["by_mode"] == {"shadow": 3, "testnet": 1}


def test_group():
    """Sums, means and extremes of a group; a session without figures counts in none of them."""
    group = summary_facts(some_sessions())["groups"][0]

    assert group["profit"] == {
        "sessions": 2,
        "sum": pytest.approx(23.45),
        "mean": pytest.approx(11.725),
        "best": {"session_id": "won", "value": pytest.approx(123.45)},
        "worst": {"session_id": "lost", "value": -100.0},
    }
    assert group["drawdown"] == {"worst": {"session_id": "lost", "value": -0.05}, "mean": pytest.approx(-0.04105)}
    assert group["orders"] == {
        "sent": 24,
        "filled": 20,
        "rejected": 2,
        "cancelled": 2,
        "unknown": 0,
        "blocked": 6,
        "warned": 0,
        "success_rate": pytest.approx(20 / 24),
    }
    assert group["blocked_by_code"] == {"data_age": 2, "max_order_notional": 4}
    assert group["incidents_by_code"] == {"data_gap": 1}
    assert group["expected"] == {
        "sessions": 1,
        "identical": 0,
        "parts": EXPECTED["difference"],
        "mean": -6.55,
        "largest": {"session_id": "won", "value": -6.55},
    }
    assert group["duration"] == {"sum_s": 10.0, "mean_s": 5.0, "longest_s": 7.75}


def test_group_without_figures():
    """Sessions that all died have no money, no rate and no time, rather than zeros."""
    group = summary_facts([a_session(metrics=dict.fromkeys(METRICS), elapsed_s=None)])["groups"][0]

    assert group["profit"] == {"sessions": 0, "sum": None, "mean": None, "best": None, "worst": None}
    assert group["drawdown"] == {"worst": None, "mean": None}
    assert group["orders"]["success_rate"] is None
    assert group["expected"] == {"sessions": 0, "identical": 0, "parts": None, "mean": None, "largest": None}
    assert group["duration"] == {"sum_s": None, "mean_s": None, "longest_s": None}


def test_rows():
    """Sessions are listed in the order given, each with its figures, verdict and warnings."""
    rows = summary_facts(some_sessions())["list"]

    assert [row["session_id"] for row in rows] == ["won", "lost", "died", "far"]
    assert [row["profit"] for row in rows] == [pytest.approx(123.45), -100.0, None, pytest.approx(123.45)]
    assert (rows[0]["difference"], rows[0]["identical"], rows[1]["difference"]) == (-6.55, False, None)
    assert rows[2]["warnings"][0] == "The session failed."


def test_is_json():
    """Facts are plain JSON."""
    summary = summary_facts(some_sessions(), {"status": "completed"})

    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_markdown():
    """Each group has its figures; single sessions are left out on demand."""
    summary = summary_facts(some_sessions(), {"status": "all"})
    whole, short = (summary_markdown(summary, summary_only=only) for only in (False, True))

    assert re.findall(r"^## (.*)", short, re.M) == ["live_session_shadow in EUR", "live_session_testnet in USD"]
    assert "4 sessions: 3 completed, 1 failed." in short
    assert "status all" in short
    assert "| Profit, sum | +23.45 EUR over 2 sessions with figures |" in short
    assert "| Orders filled | 20 (83.33% of those sent) |" in short
    assert "| Difference, sum | -6.55 EUR (signal -5.00, timing 0.00, fill -1.00, fee -0.55) |" in short
    assert "| max_order_notional | order worth more than allowed | 4 | 0 | 2 |" not in short
    assert re.findall(r"^### (.*)", short, re.M) == []
    assert re.findall(r"^### (.*)", whole, re.M) == ["won", "lost", "died", "far"]
    assert "| won | completed | ma_crossover on BTC/EUR, 1h | 2024-02-03 04:05:06 |" in whole


def test_warnings():
    """What needs a look stands above the figures, real money first."""
    changes = [{"mode": "live"}, {"metrics": {"orders_unknown": 1.0}}, {"status": "aborted"}, {"mode_at_end": "killed"}]
    text = summary_markdown(summary_facts([a_session(**change) for change in changes]), summary_only=True)

    assert re.findall(r"Warning:\*\* (.*)", text) == [
        "1 session traded real money.",
        "1 session left orders of unknown outcome; ask the venue.",
        "1 session ended before the time.",
        "1 session ended restricted, paused or killed.",
    ]


@pytest.mark.parametrize(
    ("filters", "words"), [({}, "There is no session yet."), ({"status": "failed"}, "No session matches what was asked for.")]
)
def test_empty(filters, words):
    """Without sessions the summary says how to make the first."""
    summary = summary_facts([], filters)
    text, page = summary_markdown(summary, summary_only=False), PageReader(summary_html(summary)).text

    assert words in text
    assert words in page
    assert FIRST in text
    assert FIRST in page


def test_html():
    """Groups, sessions with links and small charts; without sessions on demand."""
    summary = summary_facts(some_sessions())
    curve = np.linspace(10_000.0, 10_123.45, 500)

    whole = PageReader(summary_html(summary, sheets={"won": "won 1/report.html"}, curves={"won": curve}))
    short = PageReader(summary_html(summary, sheets={"won": "won.html"}, curves={"won": curve}, summary_only=True))

    assert [found["href"] for tag, found in whole.elements if tag == "a"] == ["./won%201/report.html"]
    drawn = [found for tag, found in whole.elements if tag == "svg" and found.get("class") == "small"]
    assert [found["aria-label"] for found in drawn] == ["Equity from 10,000.00 to 10,123.45 EUR"]
    assert "a" not in short.tags
    assert "Sessions of live_session_shadow in EUR" in whole.text
    assert "Sessions of live_session_shadow in EUR" not in short.text
    for reader in (whole, short):
        tags = [tag for tag, _ in reader.elements]
        assert "script" not in tags
        assert tags.count("table") == tags.count("caption")
        assert "+23.45" in reader.text


@pytest.mark.parametrize("path", ["javascript:alert(1)", "//evil.example/x", '"><img src=x>', "http://evil.example"])
def test_links_are_paths(path):
    """A link is a path, whatever it was made of."""
    reader = PageReader(summary_html(summary_facts([a_session(session_id="s")]), sheets={"s": path}))
    links = [found["href"] for tag, found in reader.elements if tag == "a"]

    assert len(links) == 1
    assert links[0].startswith("./")
    assert ":" not in links[0]
    assert "img" not in reader.tags


def test_hostile_texts_are_text():
    """Names and errors that look like markup are shown."""
    summary = summary_facts(
        [a_session(session_id=HOSTILE, run_type=HOSTILE, strategy=HOSTILE, error=HOSTILE, blocked_by_code={HOSTILE: 1})],
        {"tag": HOSTILE},
    )
    reader = PageReader(summary_html(summary, sheets={HOSTILE: HOSTILE}, curves={HOSTILE: np.array([1.0, 2.0])}))

    assert "img" not in reader.tags
    assert reader.text.count("<img src=x") >= 6
    assert re.findall(r"(?<!\\)<img", summary_markdown(summary, summary_only=False)) == []


@pytest.mark.parametrize("count", [1, 2, 119, 120, 5_000])
def test_small_chart(count):
    """A small chart stays in its box, whatever the curve's length."""
    curve = curve_points(1e4 + np.cumsum(np.sin(np.arange(float(count)))))
    points = [tuple(map(float, point.split(","))) for point in curve["line"].split()]

    assert len(points) <= 120
    assert all(0.0 <= x <= 120.0 and 0.0 <= y <= 32.0 for x, y in points)


def test_small_chart_without_values():
    """A curve without a finite value is none."""
    assert curve_points(np.array([np.nan])) is None
    assert curve_points(np.array([])) is None
