"""A real browser for pages from a file and for the dashboard: how they are opened, watched and looked at."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

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


class Reader:
    """Somebody who reads the dashboard in windows of one browser.

    Attributes:
        troubles: everything that must not happen: errors on the console, what a policy forbade among them, exceptions, and
            requests to anyone but the dashboard.
    """

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser, self.url = browser, url
        self.troubles: list[str] = []
        self._contexts: list[BrowserContext] = []

    def context(self, **options: Any) -> BrowserContext:
        """Return a fresh browser with nothing remembered."""
        context = self.browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"} | options)
        context.set_default_timeout(20_000)
        context.on("console", lambda message: self.troubles.append(message.text) if message.type == "error" else None)
        context.on("weberror", lambda error: self.troubles.append(str(error.error)))
        context.on("request", lambda request: None if self._ours(request.url) else self.troubles.append(request.url))
        self._contexts.append(context)
        return context

    def open(self, path: str = "/", **options: Any) -> Page:
        """Open a page in a fresh browser."""
        return self.go(self.context(**options).new_page(), path, drawn=options.get("java_script_enabled", True))

    def go(self, page: Page, path: str, *, drawn: bool = True) -> Page:
        """Go to a page and wait until its charts, if it has any, are drawn; an error that it answers with is no trouble."""
        before = len(self.troubles)
        answer = page.goto(self.url + path)
        if drawn and page.locator("[data-charts]").count():
            page.wait_for_selector("html[data-drawn]", state="attached")
        if answer is not None and not answer.ok:
            told = f"Failed to load resource: the server responded with a status of {answer.status}"
            self.troubles[before:] = [text for text in self.troubles[before:] if not text.startswith(told)]
        return page

    def close(self) -> None:
        """Close every window."""
        for context in self._contexts:
            context.close()

    def _ours(self, address: str) -> bool:
        return address.startswith((f"{self.url}/", "data:", "blob:"))


def flaws(page: Page, rule: str = "") -> list[str]:
    """Return what axe-core finds wrong with a page, by one of its rules or by all."""
    script = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
    options = {"resultTypes": ["violations"]} | ({"runOnly": [rule]} if rule else {})
    # Not as an element of the page, which its policy would refuse.
    found = page.evaluate(f"(options) => {{ {script}\n; return axe.run(options); }}", options)["violations"]
    return [f"{flaw['impact']}, {flaw['id']}: {node['html'][:200]}" for flaw in found for node in flaw["nodes"]]


def column(page: Page, head: str) -> list[str]:
    """Return the texts of a column of the table that rows are in, without what only a screen reader reads."""
    texts: list[str] = page.evaluate(
        r"""(head) => {
          const table = document.querySelector("table.sessions");
          const at = [...table.tHead.rows[0].cells].findIndex((cell) => cell.innerText.replace(/[▲▼]/, "").trim() === head);
          return [...table.tBodies[0].rows].map((row) => row.cells[at].innerText.replace(/\s+/g, " ").trim());
        }""",
        head,
    )
    return texts
