"""The tear sheet: complete, self-contained, safe, and the same each time."""

import re

import pytest
from tests.builders import an_instrument, flat_bars, some_bars, some_terms
from tests.unit.report.records import PageReader, a_record, a_result

from peak_trade.report.tear_sheet import backtest_html, shade
from peak_trade.report.trade_rows import ROWS_MAX

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&{{ 7*7 }}"


def a_page(result=None, **changes) -> str:
    result = result or a_result([1.0, 0.0, -1.0, 0.0] * 5)
    return backtest_html(a_record(result, **changes), result, a_result([1.0], result.bars))


def test_sections_in_order():
    """The page tells the outcome first and how to check it last."""
    text = re.findall(r"<h2 id=\"(\w+)\"", a_page())

    assert text == ["figures", "price", "equity", "drawdown", "monthly", "trades", "costs", "data", "params", "identity"]


def test_loads_nothing():
    """No element refers to anything outside of the page, and the page forbids every request."""
    page = a_page()
    reader = PageReader(page)
    styles = "".join(re.findall(r"<style>(.*?)</style>", page, re.S))

    assert [name for tag, found in reader.elements for name in found if name in ("src", "href", "srcset", "data")] == []
    assert {"link", "iframe", "object", "img", "base"} & reader.tags == set()
    assert "url(" not in styles
    assert "@import" not in styles
    policies = [found["content"] for tag, found in reader.elements if found.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"]


def test_semantics():
    """The page names its language, has one title, and its tables have captions and scoped heads."""
    reader = PageReader(a_page())
    tags = [tag for tag, _ in reader.elements]

    assert dict(reader.elements)["html"] == {"lang": "en"}
    assert tags.count("h1") == 1
    assert tags.count("table") == tags.count("caption")
    assert all(found.get("scope") in ("row", "col") for tag, found in reader.elements if tag == "th")


def test_hostile_texts_are_text():
    """Markup in tags, notes, parameters and names is shown, not obeyed."""
    reader = PageReader(
        a_page(
            tags=[HOSTILE],
            strategy=HOSTILE,
            symbol=HOSTILE,
            params={HOSTILE: HOSTILE},
            versions={HOSTILE: HOSTILE},
            dataset={"notes": [HOSTILE], "accepted": [HOSTILE], "origin": HOSTILE},
        )
    )

    assert "img" not in reader.tags
    assert reader.text.count("<img src=x onerror=alert(1)>") >= 8
    assert reader.text.count("{{ 7*7 }}") >= 8


def test_same_bytes():
    """The same input gives the same page."""
    assert a_page() == a_page()


def test_warnings_are_shown():
    """What a reader must know first stands above the figures."""
    page = a_page(code={"version": "0123abc", "clean": False}, dataset={"accepted": ["duplicates"]})
    head = PageReader(page[: page.index("<main>")]).text

    assert "The code had uncommitted changes" in head
    assert "accepted at import: duplicates." in head
    assert "Accepted at import in spite of failed checks: duplicates" in PageReader(page).text


def test_says_how_to_reproduce():
    """The command that runs it again stands on the page."""
    assert "peak-trade reproduce 20240101T000000000Z-abc123" in PageReader(a_page()).text


@pytest.mark.parametrize(
    ("plan", "count"), [([0.0], 100), ([1.0], 100), ([1.0], 2), ([0.0], 2)], ids=["no trade", "one open", "two bars", "flat"]
)
def test_small_runs(plan, count):
    """Runs without trades, with one open trade or with two bars have a page, and say what can't be computed."""
    text = PageReader(a_page(a_result(plan, some_bars(count)))).text

    assert "n/a: not computable." in text
    assert ("No position was opened." in text) == (plan == [0.0])


def test_ruin():
    """A run that lost more than it had has a page with a warning."""
    text = PageReader(a_page(a_result([-1.0], flat_bars([100.0, 100.0, 300.0, 300.0, 200.0])))).text

    assert "Equity fell to zero or below" in text


def test_all_metrics_missing():
    """A record whose figures are all null is shown as such."""
    record = a_record(a_result())
    nothing = dict.fromkeys(record["metrics"])

    text = PageReader(a_page(metrics=nothing, benchmark=nothing)).text

    assert "became n/a after costs (buy and hold: n/a)" in text


def test_trade_table_has_a_limit():
    """The newest trades are listed, and a sentence says how many there are and where they all are."""
    count = ROWS_MAX + 7
    result = a_result([1.0, 0.0] * count, some_bars(2 * count + 1))
    reader = PageReader(a_page(result))

    assert f"The latest 500 of {count} trades, newest first; trades.csv beside this page has all." in reader.text
    assert f"{count} long" in reader.text
    assert " 7 long" not in reader.text


def test_thinning_is_told():
    """A page whose lines or marks were thinned says so; a small one does not."""
    count = 2_600
    text = PageReader(a_page(a_result([1.0, 0.0] * count, some_bars(2 * count + 1)))).text

    assert "Marked are 2,000 of 2,600 trades, evenly chosen." in text
    assert "not through all 5,201; figures use every bar." in text
    assert "evenly chosen" not in PageReader(a_page()).text


def test_monthly_table():
    """The table holds the hand-computed months, with their shade and the year's total."""
    bars = flat_bars([100.0, 100.0, 110.0, 121.0], timeframe="4w")
    page = a_page(a_result([1.0], bars, some_terms(cash="1000")))

    assert '<td class="up-5">10.0%</td>' in page
    assert '<td class="total">21.0%</td>' in page


def test_other_currencies():
    """Amounts in bitcoin have eight digits, in yen none."""
    for quote, text in (("BTC", "1.00000000 BTC became"), ("JPY", "1 JPY became")):
        bars = some_bars(instrument=an_instrument(f"ABC/{quote}"), level=0.01)
        assert text in PageReader(a_page(a_result([1.0], bars, some_terms(cash="1")))).text


@pytest.mark.parametrize(
    ("value", "largest", "name"),
    [(None, 1.0, ""), (0.0, 1.0, ""), (0.1, 0.0, ""), (1.0, 1.0, "up-5"), (-0.01, 1.0, "down-1"), (-0.25, 1.0, "down-3")],
)
def test_shade(value, largest, name):
    """A return's shade follows the root of its share of the largest."""
    assert shade(value, largest) == name


def test_size_is_bounded():
    """Thirty thousand bars weigh less than 2.5 MB, bokeh's script included."""
    assert len(a_page(a_result([1.0] * 40 + [0.0] * 40, some_bars(30_000))).encode()) < 2_500_000
