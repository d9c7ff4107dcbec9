"""The Markdown of a session: the words of its page, and nothing that becomes markup."""

import re

from tests.unit.report.session_records import EXPECTED, SESSION, a_series, a_session, an_order

from peak_trade.report.session_markdown import INCIDENTS_MAX, session_markdown
from peak_trade.report.session_rows import SessionSeries

HOSTILE = "| x | <img src=x> [a](b) `c`\n# *d* ```\n<img src=y>"


def a_text(series=None, **changes) -> str:
    return session_markdown(a_session(**changes), series or a_series())


def test_sections():
    """The same sections as on the page, one title."""
    text = a_text(expected=EXPECTED, notes="fine", incidents=[{"at": "2024-01-01T00:00:00Z", "code": "c", "words": "w"}])

    assert re.findall(r"^# (.*)", text, re.M) == ["ma_crossover on BTC/EUR, 1h"]
    assert re.findall(r"^## (.*)", text, re.M) == [
        "Key figures",
        "Expected and actual",
        "By strategy",
        "Orders",
        "Blocks by reason",
        "Incidents",
        "Terms",
        "Limits",
        "Data quality",
        "Strategies and parameters",
        "Notes",
        "Provenance",
    ]
    assert "Status: **completed**." in text
    assert f"```\npeak-trade session replay {SESSION}\n```" in text


def test_died_at_start():
    """A session that never saw a bar has a short report."""
    names = ("session_id", "run_id", "run_type", "mode", "strategy", "symbol", "timeframe", "quote", "started_at")
    text = session_markdown({name: a_session()[name] for name in names} | {"status": "failed"}, SessionSeries())

    assert "> **Warning:** The session failed." in text
    assert "No order was wanted." in text
    assert "n/a: never recorded" in text
    assert re.findall(r"^## (.*)", text, re.M)[-1] == "Provenance"


def test_tables_are_whole():
    """Every row of a table has as many cells as its head, whatever the texts hold."""
    text = a_text(
        a_series(orders=[an_order(why=HOSTILE, leg=HOSTILE)]),
        notes=HOSTILE,
        tags=[HOSTILE],
        error=HOSTILE,
        limits={HOSTILE: HOSTILE},
        blocked_by_code={HOSTILE: 1},
        incidents=[{"at": "2024-01-01T00:00:00Z", "code": HOSTILE, "words": HOSTILE}] * (INCIDENTS_MAX + 1),
    )

    for block in re.findall(r"(?:^\|.*\n?)+", text, re.M):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    assert "The latest 20 of 21, UTC." in text
    assert re.findall(r"(?<!\\)<img", text) == []
    assert len(re.findall(r"^# ", text, re.M)) == 1


def test_code_stays_code():
    """A call that holds backticks can't end its block."""
    text = a_text(cli_args=["--tag", "x\n```\n<img>"])

    assert "\n````\npython scripts/run_execution_session.py --tag 'x\n```\n<img>'\n````\n" in text


def test_order_limit():
    """The latest twenty are listed, and how many there are is told."""
    text = a_text(a_series(orders=[an_order(why=f"number {number}") for number in range(30)]))

    assert "The latest 20 of 30, times of the decisions in UTC; `orders.csv` beside this report has all." in text
    assert "number 29" in text
    assert "number 9 " not in text
