"""The pages in a real browser, from a file and without a network."""

import pytest
from tests.builders import some_bars, some_terms
from tests.e2e.pages import BROWSER_TESTS, LABEL_COLOUR, background, inked, label_colour, opened, shrink, wait_until, windows
from tests.unit.report.records import a_record, a_result, a_sweep_record

from peak_trade.report.sweep_sheet import sweep_html
from peak_trade.report.tear_sheet import backtest_html

HOSTILE = "</script><img src=x onerror='window.obeyed = true'>"
pytestmark = BROWSER_TESTS


def a_tear_sheet() -> str:
    result = a_result([1.0, 1.0, 0.0, -1.0, -1.0, 0.0] * 20, some_bars(6_000, noise=0.003), some_terms(fee_bps=10.0))
    record = a_record(result, tags=[HOSTILE, "x" * 300], code={"version": "0123abc", "clean": False})
    return backtest_html(record, result, a_result([1.0], result.bars))


def a_sweep_sheet() -> str:
    grid = {"mode": [HOSTILE, "$$\\alpha$$", "plain"], "window": list(range(30))}
    rows = [({"mode": mode, "window": n}, {"sharpe": n / 10}) for mode in grid["mode"] for n in grid["window"]]
    return sweep_html(a_sweep_record(grid, rows), rows)


@pytest.mark.parametrize(
    ("make", "charts"),
    [(a_tear_sheet, ["price-chart", "equity-chart", "drawdown-chart"]), (a_sweep_sheet, ["landscape-chart"])],
)
def test_draws_without_trouble(browser, troubles, tmp_path, make, charts):
    """Every chart has ink on it, nothing is requested and nothing goes wrong, hostile texts included."""
    page = opened(browser, tmp_path / "page.html", make())

    for chart in charts:
        canvas = page.locator(f"#{chart} canvas").first
        box = canvas.bounding_box()
        assert box["width"] > 600
        assert box["height"] > 200
        assert inked(page, chart) > 1_000
    assert page.evaluate("window.obeyed") is None
    assert troubles == []


def test_hostile_tooltip(browser, troubles, tmp_path):
    """A parameter's value that looks like markup is shown as text in a tooltip."""
    page = opened(browser, tmp_path / "page.html", a_sweep_sheet())
    box = page.locator("#landscape-chart canvas").first.bounding_box()

    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.5)
    page.mouse.move(box["x"] + box["width"] * 0.25 + 2, box["y"] + box["height"] * 0.5)
    page.get_by_text(HOSTILE).last.wait_for()

    assert page.locator("img").count() == 0
    assert page.evaluate("window.obeyed") is None
    assert troubles == []


def test_dark_scheme(browser, troubles, tmp_path):
    """The page and the axes of its charts follow the system's scheme, also while the page is open."""
    page = opened(browser, tmp_path / "page.html", a_tear_sheet())
    light = (background(page), label_colour(page))

    page.emulate_media(color_scheme="dark")
    wait_until(page, f"(light) => ({LABEL_COLOUR})() !== light", light[1])
    dark = (background(page), label_colour(page))

    assert sum(light[0]) > 600
    assert sum(dark[0]) < 150
    assert light[1] < 400 < dark[1]
    assert troubles == []


@pytest.mark.parametrize("make", [a_tear_sheet, a_sweep_sheet])
def test_fits_a_phone(browser, troubles, tmp_path, make):
    """At 390 pixels nothing sticks out of the page; wide tables scroll by themselves."""
    page = opened(browser, tmp_path / "page.html", make())

    shrink(page)

    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("[...document.querySelectorAll('section')].every((part) => part.scrollWidth <= part.clientWidth)")
    assert troubles == []


def test_keyboard(browser, tmp_path):
    """Tables that scroll can be reached and scrolled without a mouse."""
    page = opened(browser, tmp_path / "page.html", a_tear_sheet())
    table = page.get_by_role("region", name="Table of trades")

    table.focus()
    page.keyboard.press("PageDown")
    wait_until(page, "() => document.activeElement.scrollTop > 0")

    assert table.evaluate("(part) => part === document.activeElement")


def test_charts_pan_together(browser, troubles, tmp_path):
    """Dragging one chart moves the window of all."""
    page = opened(browser, tmp_path / "page.html", a_tear_sheet())
    page.evaluate("(() => { const range = [...Bokeh.index][0].model.x_range; range.end -= (range.end - range.start) / 2; })()")
    before = windows(page)
    page.locator("#equity-chart").scroll_into_view_if_needed()
    box = page.locator("#equity-chart canvas").first.bounding_box()

    page.mouse.move(box["x"] + 700, box["y"] + 120)
    page.mouse.down()
    page.mouse.move(box["x"] + 500, box["y"] + 120, steps=4)
    page.mouse.up()
    wait_until(page, "(before) => [...Bokeh.index][0].model.x_range.start !== before", before[0])

    assert len(set(windows(page))) == 1
    assert troubles == []
