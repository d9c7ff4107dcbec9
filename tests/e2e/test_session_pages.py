"""The pages of sessions in a real browser, from a file and without a network."""

from dataclasses import replace

import numpy as np
import pytest
from tests.builders import an_instrument, some_bars
from tests.e2e.pages import BROWSER_TESTS, LABEL_COLOUR, background, inked, label_colour, opened, shrink, wait_until, windows
from tests.unit.report.session_records import EXPECTED, a_series, a_session, some_fills, some_orders

from peak_trade.report.session_sheet import session_html
from peak_trade.report.session_summary import summary_facts, summary_html

HOSTILE = "</script><img src=x onerror='window.obeyed = true'>"
INCIDENT = {"at": "2024-01-02T03:04:05Z", "code": "data_gap", "words": HOSTILE * 5}

pytestmark = BROWSER_TESTS


def a_sheet() -> str:
    """Return the page of an eventful session with an expectation."""
    record = a_session(expected=EXPECTED, incidents=[INCIDENT], status="aborted", error=HOSTILE, tags=[HOSTILE, "x" * 300])
    series = a_series(some_bars(6_000, noise=0.003), expected=True)
    return session_html(record, replace(series, orders=[order._replace(why=HOSTILE) for order in series.orders]))


def two_markets() -> str:
    """Return the page of a session of two strategies on two markets."""
    bars, others = some_bars(400), some_bars(400, seed=3, level=0.002, instrument=an_instrument("ETH/EUR"))
    leg = a_session()["legs"][0]
    legs = [leg, {**leg, "leg": HOSTILE, "symbol": "ETH/EUR"}]
    fills = [*some_fills(bars), *some_fills(others, leg=HOSTILE)]
    series = a_series(bars, bars={"BTC/EUR": bars, "ETH/EUR": others}, fills=fills, orders=some_orders(fills))
    return session_html(a_session(legs=legs, status="started"), series)


def one_bar() -> str:
    """Return the page of a session that saw one bar."""
    return session_html(a_session(traded_from=None), a_series(some_bars(1), warmup=0, expected=True))


def a_summary() -> str:
    """Return the page of some sessions, one of them hostile."""
    records = [a_session(session_id=f"{number}-{HOSTILE}", expected=EXPECTED, error=HOSTILE) for number in range(3)]
    curves = {record["session_id"]: 1e4 + np.cumsum(np.sin(np.arange(900.0))) for record in records}
    return summary_html(summary_facts(records), sheets={records[0]["session_id"]: "javascript:obeyed=1"}, curves=curves)


MADE = [
    (a_sheet, ["price-chart-0", "equity-chart", "drawdown-chart"]),
    (two_markets, ["price-chart-0", "price-chart-1", "equity-chart", "drawdown-chart"]),
    (one_bar, ["price-chart-0", "equity-chart", "drawdown-chart"]),
]


@pytest.mark.parametrize(("make", "charts"), MADE)
def test_draws_without_trouble(browser, troubles, tmp_path, make, charts):
    """Every chart has ink on it, nothing is requested and nothing goes wrong, hostile texts included."""
    page = opened(browser, tmp_path / "page.html", make())

    for chart in charts:
        box = page.locator(f"#{chart} canvas").first.bounding_box()
        assert box["width"] > 600
        assert inked(page, chart) > 1_000
    assert len(set(windows(page))) == 1
    assert page.locator("img").count() == 0
    assert page.evaluate("window.obeyed") is None
    assert troubles == []


def test_summary_without_trouble(browser, troubles, tmp_path):
    """The summary shows hostile names as text, links to nothing but paths, and draws its small charts without a script."""
    page = opened(browser, tmp_path / "page.html", a_summary(), drawn=False)

    assert page.locator("svg.small polyline").count() == 3
    assert page.locator("a").evaluate_all("(links) => links.map((link) => link.protocol)") == ["file:"]
    assert page.locator("img").count() == 0
    assert page.evaluate("window.obeyed") is None
    assert troubles == []


def test_dark_scheme(browser, troubles, tmp_path):
    """The page, its badges and the axes of its charts follow the system's scheme, also while the page is open."""
    page = opened(browser, tmp_path / "page.html", a_sheet())
    badge = "getComputedStyle(document.querySelector('.badge')).color"
    light = (background(page), label_colour(page), page.evaluate(badge))

    page.emulate_media(color_scheme="dark")
    wait_until(page, f"(light) => ({LABEL_COLOUR})() !== light", light[1])

    assert sum(light[0]) > 600
    assert sum(background(page)) < 150
    assert label_colour(page) > 400 > light[1]
    assert page.evaluate(badge) != light[2]
    assert troubles == []


@pytest.mark.parametrize(("make", "drawn"), [(a_sheet, True), (two_markets, True), (a_summary, False)])
def test_fits_a_phone(browser, troubles, tmp_path, make, drawn):
    """At 390 pixels nothing sticks out of the page; wide tables scroll by themselves."""
    page = opened(browser, tmp_path / "page.html", make(), drawn=drawn)

    shrink(page)

    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("[...document.querySelectorAll('section')].every((part) => part.scrollWidth <= part.clientWidth)")
    assert troubles == []


def test_keyboard(browser, tmp_path):
    """The table of orders can be reached and scrolled without a mouse."""
    page = opened(browser, tmp_path / "page.html", a_sheet())
    table = page.get_by_role("region", name="Table of orders")

    table.focus()
    page.keyboard.press("PageDown")
    wait_until(page, "() => document.activeElement.scrollTop > 0")

    assert table.evaluate("(part) => part === document.activeElement")


def test_contrast(browser, tmp_path):
    """Badges and states keep a contrast of at least 4.5:1 to what they stand on, light and dark."""
    page = opened(browser, tmp_path / "page.html", a_sheet())
    ratios = []

    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        ratios += page.evaluate(CONTRAST)

    assert len(ratios) >= 6
    assert min(ratios) >= 4.5


CONTRAST = """() => {
  const lightness = (text) => {
    const [red, green, blue] = text.match(/[\\d.]+/g).slice(0, 3).map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const card = lightness(getComputedStyle(document.querySelector("section")).backgroundColor);
  return [...document.querySelectorAll(".badge, td.good, td.bad")].map((part) => {
    const own = lightness(getComputedStyle(part).color);
    return (Math.max(own, card) + 0.05) / (Math.min(own, card) + 0.05);
  });
}"""
