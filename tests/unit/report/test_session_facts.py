"""What a session's report says in words: computed from the record, also where the record lacks most of it."""

import pytest
from tests.unit.report.session_records import EXPECTED, METRICS, SESSION, a_session

from peak_trade.report import session_facts as facts

NEVER = dict.fromkeys(METRICS)


def a_record(**changes):
    return facts.whole(a_session(**changes))


def test_title():
    """One strategy is named with its market and bars, several with all of theirs, each once."""
    leg = a_session()["legs"][0]

    assert facts.title(a_record()) == "ma_crossover on BTC/EUR, 1h"
    assert facts.title(a_record(legs=[leg, {**leg, "strategy": "macd"}])) == "ma_crossover, macd on BTC/EUR, 1h"


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("shadow", "Shadow session: orders are simulated, no money is at stake"),
        ("shadow_live", "Shadow live session: live prices, simulated orders, no money is at stake"),
        ("live", "Live session: real orders with real money"),
        ("other", "Other session"),
    ],
)
def test_kind(mode, text):
    """Every page says whose money it was."""
    assert facts.kind(a_record(mode=mode)) == text


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({}, [("good", "completed")]),
        ({"status": "started"}, [("busy", "running")]),
        ({"status": "failed"}, [("bad", "failed")]),
        ({"status": "aborted", "mode_at_end": "paused"}, [("warn", "aborted"), ("warn", "paused")]),
        ({"mode_at_end": "killed"}, [("good", "completed"), ("bad", "killed")]),
        ({"status": "strange"}, [("warn", "strange")]),
    ],
)
def test_badges(changes, kinds):
    """Each status has its shape; the mode is shown where it is not simply running."""
    assert facts.badges(a_record(**changes)) == kinds


def test_verdict():
    """Money before and after, what became of the orders, and the deepest drawdown."""
    assert facts.verdict(a_record()) == (
        "10,000.00 EUR became 10,123.45 EUR after costs (+1.23%); 12 orders sent, 10 filled, 3 blocked by limits; "
        "deepest drawdown -3.21%."
    )
    idle = facts.verdict(a_record(status="started", metrics={"num_orders": 0.0, "orders_blocked_risk": 0.0}))
    assert "is now worth" in idle
    assert "; no order was sent; " in idle


@pytest.mark.parametrize(
    ("status", "start"), [("failed", "The session ended before"), ("started", "No bar has been marked yet.")]
)
def test_verdict_without_marks(status, start):
    """A session that died at its start, or has just begun, is told as such."""
    assert facts.verdict(a_record(status=status, metrics=NEVER)).startswith(start)


def test_no_warnings():
    """A clean session warns of nothing."""
    assert facts.warnings(a_record(metrics={"orders_rejected": 0.0, "orders_blocked_risk": 0.0})) == []


def test_warnings_in_order():
    """The gravest stands first: how it ended, then orders, then data and code."""
    found = facts.warnings(
        a_record(
            status="failed",
            error="the venue is gone.",
            mode_at_end="killed",
            metrics={"orders_unknown": 1.0, "incidents": 1.0, "orders_warned": 2.0},
            incidents=[{"at": "2024-01-01T00:00:00Z", "code": "data_gap", "words": "x"}],
            warned_by_code={"data_age": 2},
            code={"version": "0123abc", "clean": False},
            dataset={"accepted": ["duplicates"]},
        )
    )

    assert found == [
        "The session failed: the venue is gone.",
        "The kill switch was on at the end: nothing but reducing a position was allowed.",
        "Of 1 order the outcome is unknown; ask the venue before anything else.",
        "The venue rejected 1 order: insufficient_funds (1).",
        "1 incident happened: data_gap (1).",
        "The risk limits blocked 3 orders: max_order_notional (2), data_age (1).",
        "2 orders passed in spite of a limit, because limits only warned: data_age (2).",
        "The data failed checks that a person accepted at import: duplicates.",
        "The code had uncommitted changes, so the commit named below is not all of what ran.",
    ]


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        ("aborted", None, "The session was ended before its time."),
        ("aborted", "Ctrl+C", "The session was ended before its time: Ctrl+C."),
        ("started", None, "The session has not ended; all figures are those of its last mark."),
        ("completed", "late", "An error was recorded: late."),
    ],
)
def test_ends_that_are_told(status, error, text):
    """Every end but a clean one is a warning."""
    assert facts.warnings(a_record(status=status, error=error))[0] == text


def test_period():
    """The bars it saw, when it ran and how long; what is not known is left out."""
    assert facts.period(a_record()) == (
        "Bars 2024-01-01 00:00 to 2024-01-05 03:00 UTC, 100 bars. Ran on 2024-02-03 04:05:06 UTC for 2.2 s"
    )
    assert "100 bars, of which it saw 30. Ran" in facts.period(a_record(metrics={"num_bars": 30.0}))
    unknown = a_record(elapsed_s=None, dataset={"first": None})
    assert facts.period(unknown) == "Ran on 2024-02-03 04:05:06 UTC"


def test_headlines():
    """The expectation stands below the figures that have one; the limit that blocked most is named."""
    found = {
        tile.label: (tile.value, tile.beside) for tile in facts.headlines(a_record(expected=EXPECTED, mode_at_end="paused"))
    }

    assert found == {
        "Final equity, EUR": ("10,123.45", "expected 10,130.00"),
        "Profit, EUR": ("+123.45", "+1.23%"),
        "Deepest drawdown": ("-3.21%", "expected -3.00%"),
        "Fills": ("10", "of 12 orders sent"),
        "Orders blocked by limits": ("3", "most by max_order_notional"),
        "Incidents": ("0", "paused at the end"),
    }


def test_expected_words():
    """The sentence names amount, direction and causes, the largest first, and what did not match."""
    assert facts.expected_words(a_record(expected=EXPECTED)) == (
        "The session ended 6.55 EUR below what a backtest of the same bars expects: -5.00 from orders that only one of the two "
        "had, -1.00 from prices or sizes of the same fills, -0.55 from fees charged differently. 9 fills match; "
        "1 happened only in the session and 2 only in the backtest."
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"difference": dict.fromkeys(EXPECTED["difference"], 1e-12)},
            "ended where a backtest of the same bars expects it to, but",
        ),
        ({"difference": {**EXPECTED["difference"], "total": 2.0}}, "ended 2.00 EUR above what"),
        ({"identical": True}, "Every fill, and with them the final equity, is what a backtest of the same bars expects."),
        ({"matched": 1}, "1 fill matches;"),
    ],
)
def test_expected_words_otherwise(changes, text):
    """Less than half a cent is nothing, more is above, and identical is identical."""
    assert text in facts.expected_words(a_record(expected=EXPECTED | changes))


def test_no_expectation():
    """A session without an expectation says so."""
    assert facts.expected_words(a_record()) == "There is no expected result to hold this session against."


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--strategy", "a b"], "python scripts/run_execution_session.py --strategy 'a b'"),
        (["/opt/x/scripts/run_shadow_execution.py", "--verbose"], "python scripts/run_shadow_execution.py --verbose"),
        (["/opt/x/.venv/bin/peak-trade", "session", "run"], "peak-trade session run"),
        (["/opt/x/peak_trade/__main__.py", "session", "run"], "peak-trade session run"),
        (["session", "run", "--tag", "x;rm -rf ~"], "peak-trade session run --tag 'x;rm -rf ~'"),
    ],
)
def test_call(arguments, line):
    """A call can be pasted into a shell, names no folder of the machine, and holds nothing but what was called."""
    assert facts.call(arguments) == line


def test_commands():
    """Running, replaying and verifying; a session whose call is unknown can still be replayed."""
    assert [command for _, command in facts.commands(a_record())] == [
        "python scripts/run_execution_session.py --strategy ma_crossover --steps 100",
        f"peak-trade session replay {SESSION}",
        "peak-trade journal verify",
    ]
    assert len(facts.commands(a_record(cli_args=[]))) == 2


def test_profit():
    """What a session made; unknown where it marked nothing."""
    assert facts.profit({"start_equity": 100.0, "final_equity": 90.0}) == -10.0
    assert facts.profit(NEVER) is None
