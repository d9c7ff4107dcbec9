"""The page of a session: complete, self-contained, safe, and the same each time."""

import re
from dataclasses import replace

import pytest
from tests.builders import an_instrument, some_bars
from tests.unit.report.records import PageReader
from tests.unit.report.session_records import EXPECTED, METRICS, SESSION, a_series, a_session, an_order, some_fills

from peak_trade.report.session_rows import SessionSeries
from peak_trade.report.session_sheet import INCIDENTS_MAX, session_html
from peak_trade.report.trade_rows import ROWS_MAX

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&{{ 7*7 }}"
INCIDENT = {"at": "2024-01-02T03:04:05Z", "code": "data_gap", "words": "no bar for 360 s"}
SECTIONS = ["figures", "price", "equity", "drawdown", "expected", "strategies", "orders", "reasons"]
CHECKS = ["terms", "limits", "data", "params", "identity"]
BARE = ("session_id", "run_id", "run_type", "mode", "status", "strategy", "symbol", "timeframe", "quote", "started_at")


def a_page(series=None, **changes) -> str:
    return session_html(a_session(**changes), series or a_series())


def headings(page) -> list[str]:
    return re.findall(r"<h2 id=\"([\w-]+)\"", page)


def test_sections_in_order():
    """The page tells the outcome first and how to check it last; what did not happen has no section."""
    assert headings(a_page()) == [*SECTIONS, *CHECKS]
    assert headings(a_page(incidents=[INCIDENT], notes="x")) == [*SECTIONS, "incidents", *CHECKS[:-1], "notes", "identity"]


def test_loads_nothing():
    """No element refers to anything outside of the page, and the page forbids every request."""
    reader = PageReader(a_page(expected=EXPECTED))

    assert [name for _, found in reader.elements for name in found if name in ("src", "href", "srcset", "data")] == []
    policies = [found["content"] for _, found in reader.elements if found.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"]


def test_semantics():
    """The page has one title, no id twice, and its tables have captions and scoped heads."""
    leg = a_session()["legs"][0]
    for page in (a_page(expected=EXPECTED, incidents=[INCIDENT]), a_page(legs=[leg, leg])):
        reader = PageReader(page)
        tags = [tag for tag, _ in reader.elements]
        ids = [found["id"] for _, found in reader.elements if "id" in found]

        assert tags.count("h1") == 1
        assert tags.count("table") == tags.count("caption")
        assert all(found.get("scope") in ("row", "col") for tag, found in reader.elements if tag == "th")
        assert len(ids) == len(set(ids))


def test_hostile_texts_are_text():
    """Markup in anything a person or a venue wrote is shown, not obeyed."""
    leg = a_session()["by_leg"][0]
    bars = some_bars()
    fills = some_fills(bars, leg=HOSTILE)
    series = a_series(
        bars, orders=[an_order(leg=HOSTILE, why=HOSTILE, kind=HOSTILE, quantity=HOSTILE, state=HOSTILE)], fills=fills
    )
    named = ("strategy", "symbol", "notes", "error", "env_name", "account", "tier", "host", "mode_at_end", "status", "mode")
    reader = PageReader(
        session_html(
            a_session(
                **dict.fromkeys(named, HOSTILE),
                tags=[HOSTILE],
                cli_args=["--tag", HOSTILE],
                params={HOSTILE: HOSTILE},
                limits={HOSTILE: HOSTILE},
                blocked_by_code={HOSTILE: 1},
                by_leg=[{**leg, "leg": HOSTILE}],
                incidents=[{"at": "2024-01-01T00:00:00Z", "code": HOSTILE, "words": HOSTILE}],
                dataset={"notes": [HOSTILE], "origin": HOSTILE},
            ),
            series,
        )
    )

    assert "img" not in reader.tags
    assert reader.text.count("<img src=x onerror=alert(1)>") >= 20


def test_same_bytes():
    """The same input gives the same page."""
    assert a_page() == a_page()


def test_head():
    """Status, whose money it was, the verdict and the warnings stand above everything."""
    page = a_page(status="aborted", error="stopped", mode_at_end="paused")
    head = PageReader(page[: page.index("<main>")]).text

    assert "aborted paused Shadow session: orders are simulated, no money is at stake" in head
    assert "10,000.00 EUR became 10,123.45 EUR" in head
    assert "Warning: The session was ended before its time: stopped." in head


def test_says_how_to_check():
    """The commands to run again, replay and verify, and the journal's head stand on the page."""
    text = PageReader(a_page()).text

    assert "python scripts/run_execution_session.py --strategy ma_crossover --steps 100" in text
    assert f"peak-trade session replay {SESSION}" in text
    assert "peak-trade journal verify" in text
    assert "f" * 64 in text


def test_died_at_start():
    """A session that never saw a bar has a page without charts, from the barest record."""
    record = {name: value for name, value in a_session(status="failed").items() if name in BARE} | {"error": "the data is gone"}

    page = session_html(record, SessionSeries())

    text = PageReader(page).text
    assert "Warning: The session failed: the data is gone." in text
    assert "No bar was traded, so there is nothing to draw." in text
    assert "Equity was never marked." in text
    assert "No order was wanted." in text
    assert "n/a: never recorded" in text
    assert "drawings" not in page
    assert headings(page) == ["figures", "price", "equity", "expected", "orders", "data", "identity"]


@pytest.mark.parametrize("start", [None, 0.0, 5_000.0])
def test_start_unknown(start):
    """Without a starting equity the drawdown is measured from the terms' balance, or from the first mark."""
    metrics = dict.fromkeys(METRICS) | {"start_equity": start}

    assert "drawdown-chart" in a_page(metrics=metrics)
    assert "drawdown-chart" in a_page(metrics=metrics, terms={})


def test_running():
    """A session that runs is told as running, without an end."""
    text = PageReader(a_page(status="started", finished_at=None, elapsed_s=None)).text

    assert "running Shadow session" in text
    assert "is now worth" in text
    assert "Ended" not in text


def test_no_fills():
    """A session without fills says so beside its price."""
    assert "Nothing was filled." in PageReader(a_page(a_series(fills=[], orders=[]), metrics={"num_fills": 0.0})).text


def test_several_strategies():
    """Two strategies on two markets have two charts, and columns that tell their orders apart."""
    bars, others = some_bars(), some_bars(seed=3, instrument=an_instrument("ETH/EUR"))
    leg = a_session()["legs"][0]

    page = a_page(
        a_series(bars, bars={"BTC/EUR": bars, "ETH/EUR": others}), legs=[leg, {**leg, "leg": "second", "symbol": "ETH/EUR"}]
    )

    assert 'id="price-chart-1"' in page
    assert "Strategies and parameters" in page
    assert '<th scope="col" class="word">Market</th><th scope="col" class="word">Side</th>' in page
    assert '<th scope="col" class="word">Market</th><th scope="col" class="word">Side</th>' not in a_page()


def test_expected_section():
    """The figures, the split and the sentence stand together; both lines are in the legends."""
    page = a_page(a_series(expected=True), expected=EXPECTED)
    text = PageReader(page).text

    assert "Final equity, EUR 10,123.45 10,130.00 -6.55" in text
    assert "Signal: orders that only one of the two had -5.00" in text
    assert "Total -6.55" in text
    assert text.count("actual expected trading begins") == 2


def test_long_tables_have_limits():
    """The newest orders and incidents are listed, and a sentence says how many there are."""
    orders = [an_order(why=f"order {number} of all") for number in range(ROWS_MAX + 7)]
    incidents = [{**INCIDENT, "words": f"incident {number} of all"} for number in range(INCIDENTS_MAX + 7)]

    text = PageReader(a_page(replace(a_series(), orders=orders), incidents=incidents)).text

    assert "The latest 500 of 507 orders, newest first; orders.csv beside this page has all." in text
    assert "The latest 200 of 207 incidents, newest first, UTC." in text
    assert "order 506 of all" in text
    assert "order 6 of all" not in text
    assert "incident 6 of all" not in text


def test_thinning_is_told():
    """A page whose lines or marks were thinned says so; a small one does not."""
    bars = some_bars(7_000)
    text = PageReader(a_page(a_series(bars, fills=some_fills(bars, every=3)))).text

    assert "At most 2,000 fills are marked in a chart, evenly chosen." in text
    assert "not through all 7,000." in text
    assert "evenly chosen" not in PageReader(a_page()).text


def test_size_is_bounded():
    """A hundred thousand bars with an expectation weigh less than 3 MB, bokeh's script included."""
    bars = some_bars(100_000)

    assert len(a_page(a_series(bars, expected=True), expected=EXPECTED).encode()) < 3_000_000
