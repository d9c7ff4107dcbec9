"""A real browser for pages from a file: how they are opened, watched and looked at."""

from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LABEL_COLOUR = """() => {
  const canvas = [...Bokeh.index][0].canvas_view.primary.canvas;
  const data = canvas.getContext("2d").getImageData(0, 0, 50, canvas.height).data;
  let best = 3;
  for (let at = 3; at < data.length; at += 4) if (data[at] > data[best]) best = at;
  return data[best - 3] + data[best - 2] + data[best - 1];
}"""

#: Marks a module whose tests need the browser.
BROWSER_TESTS = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}"),
]


def opened(browser: BrowserContext, path: Path, text: str, *, drawn: bool = True) -> Page:
    """Write a page, open it and wait until its charts, if it has any, are drawn."""
    path.write_text(text, "utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    if drawn:
        page.wait_for_selector("html[data-drawn]", state="attached")
        wait_until(page, "() => Bokeh.documents.every((document) => document.is_idle)")
    return page


def shrink(page: Page) -> None:
    """Make the window as wide as a phone's; charts redraw in their own time after it has changed."""
    page.set_viewport_size({"width": 390, "height": 800})
    wait_until(
        page,
        "() => !window.Bokeh || [...Bokeh.index].every("
        "(view) => !('toolbar' in view.model) || view.el.getBoundingClientRect().width < 390)",
    )
    wait_until(page, "() => document.documentElement.scrollWidth === 390")


def wait_until(page: Page, condition: str, argument: object = None) -> None:
    """Wait, frame by frame, for a condition; playwright's own way needs `eval` later on, which the page's policy forbids."""
    page.evaluate(
        f"""async (argument) => {{
          const end = performance.now() + 10_000;
          while (!({condition})(argument)) {{
            if (performance.now() > end) throw new Error("waited 10 s in vain");
            await new Promise(requestAnimationFrame);
          }}
        }}""",
        argument,
    )


def windows(page: Page) -> list[float]:
    """Return where each chart's time axis begins."""
    found: list[float] = page.evaluate(
        "[...Bokeh.index].filter((view) => 'toolbar' in view.model).map((view) => view.model.x_range.start)"
    )
    return found


def inked(page: Page, chart: str) -> int:
    """Return how many pixels of a chart's first layer are not transparent."""
    count: int = page.evaluate(
        """(id) => {
          const view = [...Bokeh.index].find((view) => document.getElementById(id).contains(view.el));
          const canvas = view.canvas_view.primary.canvas;
          const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          let count = 0;
          for (let at = 3; at < data.length; at += 4) count += data[at] > 0;
          return count;
        }""",
        chart,
    )
    return count


def background(page: Page) -> list[int]:
    """Return red, green and blue of the page."""
    found: list[int] = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    return found


def label_colour(page: Page) -> int:
    """Return red + green + blue of the most opaque pixel where the first chart's axis labels are."""
    total: int = page.evaluate(LABEL_COLOUR)
    return total
