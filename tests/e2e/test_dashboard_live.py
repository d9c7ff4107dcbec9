"""The dashboard while things happen: sessions that begin and end, operators who act, a server that stops, what is damaged."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from tests.contract.rows import execute
from tests.dashboard import Served, serving
from tests.e2e.houses import at_home, configure, put
from tests.e2e.pages import BROWSER_TESTS, Reader, inked, wait_until

pytestmark = BROWSER_TESTS

#: A session that trades often, a bar every sixtieth of a second, until it is ended.
BUSY = (
    *("session", "run", "--strategy", "ma_crossover", "--param", "fast_window=3", "--param", "slow_window=8"),
    *("--warmup-candles", "60", "--speed", "3600", "--no-html"),
)
NO_SCRIPT = {"java_script_enabled": False}
#: As long as nothing may be heard before a page says so, and some more, milliseconds.
SILENCE_MS = 30_000
LIVE = "html[data-live=yes]"


@dataclass
class Desk:
    """A dashboard over a project folder in which things happen."""

    served: Served
    folder: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start `peak-trade` as a process of its own."""
        process = subprocess.Popen(
            [sys.executable, "-m", "peak_trade", *arguments],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def put(self, *given: str, **changes: object) -> str:
        """Put a session into the registry."""
        return put(self.served.parts, *given, **changes)

    def end(self) -> None:
        """End every process that was started."""
        for process in self.processes:
            process.terminate()
            process.communicate(timeout=20)


@contextmanager
def a_desk(folder: Path) -> Iterator[Desk]:
    """Serve a dashboard over a new project folder; thirty rows are a page."""
    with at_home(folder):
        configure(folder, "dashboard", page_size=30)
        with serving(str(folder / "config.toml")) as served:
            found = Desk(served, folder)
            try:
                yield found
            finally:
                found.end()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A dashboard for all tests of this module that leave the others alone."""
    with a_desk(tmp_path_factory.mktemp("desk")) as found:
        yield found


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Desk]:
    """A dashboard for one test."""
    with a_desk(tmp_path) as found:
        yield found


@pytest.fixture
def watch(chromium: Browser) -> Iterator[Callable[[Desk], Reader]]:
    """Somebody in front of the browser, to whom nothing happens that must not."""
    readers: list[Reader] = []

    def begin(desk: Desk) -> Reader:
        readers.append(Reader(chromium, desk.served.url))
        return readers[-1]

    yield begin
    for reader in readers:
        reader.close()
    assert [trouble for reader in readers for trouble in reader.troubles] == []


def live(page: Page) -> Page:
    """Wait until a page is told of changes and knows of all before; mark it, so that loading it anew would be seen."""
    page.wait_for_selector("html[data-refreshed]", state="attached")
    page.evaluate("window.same = true")
    return page


def kept(page: Page) -> bool:
    """Return whether a page is still the one that was marked."""
    return bool(page.evaluate("window.same === true"))


# ---- sessions that begin and end -------------------------------------------------------------------------------------


def test_first_session_appears(own, watch):
    """An empty registry says how to make the first session; when it begins it appears, runs and ends, without loading anew."""
    page = live(watch(own).open())
    told = page.inner_text("#listing")
    session = own.start(*BUSY)
    page.wait_for_selector("#rows tr .badge.busy")
    page.wait_for_selector("#latest h2")
    running = page.inner_text("#state")
    session.terminate()
    page.wait_for_selector("#rows tr .badge.good")
    wait_until(page, "() => document.querySelector('#tiles tbody').innerText.startsWith('completed')")

    assert "There is no session yet" in told
    assert "run_execution_session.py" in told
    assert "of the running sessions" in running
    assert page.locator("form.filters").count() == 1
    assert kept(page)


def test_session_moves_on(own, watch):
    """A running session's figures, orders, journal and charts move on until it has ended; a view that was chosen stays."""
    reader = watch(own)
    session = own.start(*BUSY)
    home = reader.open()
    home.wait_for_selector("#rows tr")
    page = live(reader.go(home, home.locator("#rows a").first.get_attribute("href")))
    page.wait_for_selector("html[data-drawn]", state="attached")
    page.evaluate(f"window.range = {RANGE}")
    end = page.evaluate("range.end")
    wait_until(page, "(end) => range.end > end", end)
    page.evaluate("[range.start, range.end] = [range.start + 6e5, range.start + 30 * 6e4]")
    chosen = page.evaluate("[range.start, range.end]")
    bars = page.evaluate(BARS)
    before = {part: page.inner_text(part) for part in ("#figures", "#orders", "#journal", "#head")}
    wait_until(page, "() => Number(document.documentElement.dataset.moved) > 2")
    for part, text in before.items():
        wait_until(page, "([part, text]) => document.querySelector(part).innerText !== text", [part, text])
    seen = page.evaluate("[range.start, range.end]")
    session.terminate()
    page.wait_for_selector("#head .badge.good", timeout=60_000)

    assert seen == chosen
    assert page.evaluate(BARS) > bars > 0
    assert inked(page, "price-chart-0") > 1_000
    assert page.evaluate("[range.start, range.end]") == chosen
    assert kept(page)
    assert page.locator("html[data-live=no]").count() == 1
    assert "took" in page.inner_text("#head")


RANGE = "[...Bokeh.index].find((view) => 'toolbar' in view.model).model.x_range"
BARS = """(() => {
  const lines = [...Bokeh.index].find((view) => "toolbar" in view.model).model.renderers;
  return Math.max(...lines.map((line) => line.data_source?.get_length() ?? 0));
})()"""


# ---- the reader's place ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowded(desk: Desk) -> Desk:
    """A registry with more sessions than a screen shows."""
    for number in range(45):
        desk.put("completed", f"account{number}", notes="one of many")
    return desk


def test_rows_stay_where_they_are(crowded, watch):
    """Who reads further down sees no row move; a notice, read out by a screen reader, offers the new ones."""
    page = live(watch(crowded).open(viewport={"width": 1280, "height": 700}))
    row = page.locator("#rows tr").nth(20)
    row.scroll_into_view_if_needed()
    page.wait_for_selector(LIVE)
    before = row.bounding_box()
    first = crowded.put("failed", "fresh", error="the venue said no")
    notice = page.get_by_role("status").get_by_role("link", name="New sessions: 1. Show them")
    notice.wait_for(state="attached")
    page.wait_for_selector("#state .alerts", state="attached")
    after = row.bounding_box()
    place = notice.bounding_box()
    crowded.put("completed", "fresh")
    page.get_by_role("status").get_by_role("link", name="New sessions: 2. Show them").wait_for(state="attached")

    assert abs(after["y"] - before["y"]) < 1
    assert 0 < place["y"] < 100
    assert page.locator(f"#s-{first}").count() == 0
    assert kept(page)
    page.get_by_role("link", name="New sessions: 2. Show them").click()
    page.wait_for_selector(f"#s-{first}.attention")


def test_focus_stays(crowded, watch):
    """Focus on a row is neither lost nor moved when others begin, and its text can be marked meanwhile."""
    page = live(watch(crowded).open(viewport={"width": 1280, "height": 2_000}))
    link = page.locator("#rows a[id]").nth(3)
    link.focus()
    name = link.get_attribute("id")
    top = page.locator("#rows").bounding_box()["y"]
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#rows tr:nth-child(6) td:nth-child(4)'))")
    marked = page.evaluate("getSelection().toString()")
    crowded.put("completed", "focused")
    page.wait_for_selector(".arrivals")

    assert page.evaluate("document.activeElement.id") == name
    assert page.evaluate("getSelection().toString()") == marked != ""
    assert abs(page.locator("#rows").bounding_box()["y"] - top) < 1
    assert kept(page)


def test_new_rows_come_in(crowded, watch):
    """Who does not read the table sees new rows on top, and as many rows as before."""
    page = live(watch(crowded).open())
    count = page.locator("#rows tr").count()
    name = crowded.put("completed", "coming")
    page.wait_for_selector(f"#s-{name}")

    assert page.locator("#rows tr").first.get_attribute("id") == f"s-{name}"
    assert page.locator("#rows tr").count() == count
    assert page.locator(".arrivals").count() == 0


def test_what_was_typed_stays(crowded, watch):
    """A filter that is being typed survives news, as does the unfolded reason of a lock."""
    page = live(watch(crowded).open())
    page.locator("summary").first.click()
    page.locator("input[name=strategy]").fill("ma_cross")
    crowded.put("completed", "typing")
    page.wait_for_selector(".arrivals")

    assert page.locator("input[name=strategy]").input_value() == "ma_cross"
    assert page.locator("details[open]").count() == 1
    assert page.evaluate("document.activeElement.name") == "strategy"


def test_only_what_fits_arrives(crowded, watch):
    """A page with a filter, and a page further back, are not offered sessions that do not belong there."""
    reader = watch(crowded)
    filtered = live(reader.open("/?account=account1"))
    further = reader.open()
    further.get_by_role("link", name="next page").click()
    further.wait_for_url(re.compile("after="))
    live(further)
    before = further.locator("#rows").inner_text()
    matching = filtered.inner_text("#matching")
    crowded.put("completed", "elsewhere")
    wait_until(further, "() => Number(document.documentElement.dataset.refreshed) > 1")
    wait_until(filtered, "() => Number(document.documentElement.dataset.refreshed) > 1")

    assert further.locator("#rows").inner_text() == before
    assert further.locator(".arrivals").count() == 0
    assert filtered.inner_text("#matching") == matching


def test_orders_keep_their_place(own, watch):
    """Who has scrolled down in the table of orders of a running session reads on while new ones come in above."""
    reader = watch(own)
    own.start(*BUSY)
    home = reader.open()
    home.wait_for_selector("#rows tr")
    page = live(reader.go(home, home.locator("#rows a").first.get_attribute("href")))
    wait_until(page, "() => document.querySelectorAll('#orders tbody tr').length > 25")
    region = page.get_by_role("region", name="Table of orders")
    region.focus()
    region.evaluate("(part) => { part.scrollTop = 200; }")
    place = "(part) => [...part.querySelectorAll('tbody tr')].find((row) => row.offsetTop >= part.scrollTop + 40)"
    before = region.evaluate(
        f"(part) => {{ const row = ({place})(part); return [row.dataset.key, row.offsetTop - part.scrollTop]; }}"
    )
    count = page.locator("#orders tbody tr").count()
    wait_until(page, "(count) => document.querySelectorAll('#orders tbody tr').length > count + 2", count)
    after = region.evaluate(
        f"(part) => {{ const row = ({place})(part); return [row.dataset.key, row.offsetTop - part.scrollTop]; }}"
    )

    assert after[0] == before[0]
    assert abs(after[1] - before[1]) < 2
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Table of orders"


# ---- a server that stops ---------------------------------------------------------------------------------------------


def serve(desk: Desk, port: str = "0") -> tuple["subprocess.Popen[str]", str]:
    """Start the dashboard as a process of its own; return it and its address, once it listens."""
    process = desk.start("dashboard", "--port", port)
    return process, process.stderr.readline().split()[1].rstrip("/")


def test_stale(own, chromium):
    """When the server stops every page says so after a while, for eyes and ears; when it is back the page is true again."""
    server, address = serve(own)
    reader = Reader(chromium, address)
    pages = [(reader.context().new_page(), *told) for told in (("/", "live, checked"), ("/experiments", "shown as of"))]
    for page, path, calm in pages:
        page.clock.install()
        live(reader.go(page, path))
        assert page.inner_text("#fresh").startswith(calm)
    server.terminate()
    server.wait(20)
    for page, _, _ in pages:
        page.clock.fast_forward(SILENCE_MS)
        page.wait_for_selector("html[data-live=stale]")
        told = page.get_by_role("alert").inner_text()
        assert re.fullmatch(r"STALE: nothing heard since \d\d:\d\d:\d\d UTC; what is shown may be wrong", told)
    serve(own, address.rpartition(":")[2])
    for page, _, calm in pages:
        page.wait_for_selector("html:not([data-live=stale])", timeout=30_000)
        assert page.inner_text("#fresh").startswith(calm)
        assert page.get_by_role("alert").inner_text() == ""
        assert kept(page)
    reader.close()


def test_hidden_windows_rest(crowded, watch):
    """A window that nobody sees gives its connection up; seen again it knows everything at once, and is never called stale."""
    reader = watch(crowded)
    context = reader.context()
    context.add_init_script("Object.defineProperty(document, 'visibilityState', { get: () => window.seen ?? 'visible' })")
    page = context.new_page()
    page.clock.install()
    live(reader.go(page, "/"))
    page.wait_for_selector(LIVE)
    before = readers(crowded)
    page.evaluate(SHOW, "hidden")
    gone = any(readers(crowded) == 0 for _ in range(1_000))
    name = crowded.put("completed", "unseen")
    page.clock.fast_forward(SILENCE_MS)
    page.evaluate(
        "new MutationObserver(() => { window.alarmed = true; }).observe(document.getElementById('stale'), { childList: true })"
    )
    page.evaluate(SHOW, "visible")
    page.wait_for_selector(f"#s-{name}")
    page.wait_for_selector(LIVE)

    assert (before, gone, readers(crowded)) == (1, True, 1)
    assert page.evaluate("window.alarmed") is None
    assert kept(page)


def readers(desk: Desk) -> int:
    """Return how many pages are told of changes."""
    told = re.search(r"^peak_trade_dashboard_readers (\d+)", desk.served.get("/metrics").text, re.M)
    assert told is not None
    return int(told[1])


SHOW = "(how) => { window.seen = how; document.dispatchEvent(new Event('visibilitychange')); }"


# ---- an operator who acts --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def token(desk: Desk) -> str:
    """The token of an operator."""
    return desk.served.operator("maria")


@pytest.fixture
def released(desk: Desk) -> Iterator[None]:
    """Turn the kill switch off when the test has ended."""
    yield
    desk.served.parts.kill_switch.release()


def fill_in(page: Page, token: str, why: str = "prices look wrong") -> None:
    """Fill in the form of an action, and go on."""
    page.get_by_label("Reason").fill(why)
    page.get_by_label("Operator's token").fill(token)
    page.get_by_role("button", name="Go on to the confirmation").click()


def test_kill_switch(desk, token, released, watch):
    """A wrong token is refused, No does nothing, Yes turns it on; every page that is open shows it and has it read out."""
    reader = watch(desk)
    name = desk.put("completed", "looked at")
    others = [live(reader.open(path)) for path in ("/", f"/session/{name}", "/experiments", "/docs", "/kill-switch")]
    page = reader.open("/kill-switch")
    fill_in(page, "ptop_wrong")
    refused = page.get_by_role("alert").filter(has_text="Not done").inner_text()
    reader.troubles[:] = [text for text in reader.troubles if "403" not in text]
    given = page.get_by_label("Reason").input_value()
    fill_in(page, token)
    asked = page.inner_text("main")
    page.get_by_role("link", name="No", exact=True).click()
    page.wait_for_url(f"{reader.url}/kill-switch")
    still_off = desk.served.parts.kill_switch.is_on()
    fill_in(page, token)
    page.get_by_role("button", name="Yes, turn the kill switch on").click()
    page.wait_for_selector("#state .badge.bad")

    assert "That is no operator's token" in refused
    assert given == "prices look wrong"
    assert ("maria" in asked, "prices look wrong" in asked) == (True, True)
    assert not still_off
    for other in others:
        other.wait_for_selector("#state .badge.bad")
        assert "by maria" in other.inner_text("#state dl")
        assert "The kill switch is on" in other.locator("#state").get_by_role("status").inner_text()
        assert kept(other)
    assert others[-1].inner_text("#switch-state").startswith("ON")
    assert "peak-trade release" in page.inner_text("main")


def test_kill_switch_without_script(desk, token, released, watch):
    """The kill switch is turned on to the end without script."""
    page = watch(desk).open("/kill-switch", **NO_SCRIPT)
    fill_in(page, token)
    page.get_by_role("button", name="Yes, turn the kill switch on").click()
    page.wait_for_selector("main .badge.bad")

    assert "since 20" in page.inner_text("main")
    assert desk.served.parts.kill_switch.is_on()


@pytest.mark.parametrize("options", [{}, NO_SCRIPT], ids=["script", "no script"])
def test_acknowledge(desk, token, watch, options):
    """An acknowledged failure no longer stands out, on pages that are open either; its page tells who saw it and why."""
    name = desk.put("failed", "acknowledged", error="the venue said no")
    reader = watch(desk)
    home, own = live(reader.open()), live(reader.open(f"/session/{name}"))
    page = reader.open("/", **options)
    page.locator(f"#s-{name}").get_by_role("link", name="acknowledge").click()
    fill_in(page, token, "the venue had an outage")
    page.get_by_role("button", name="Yes, it is acknowledged").click()
    page.wait_for_url(f"{reader.url}/session/{name}")
    home.wait_for_selector(f"#s-{name}:not(.attention)")
    own.wait_for_selector("#head:not(:has(.attention-box))")

    assert "seen by maria" in home.locator(f"#s-{name}").inner_text()
    for one in (page, own):
        assert re.search(r"Seen by maria, 20.* UTC: the venue had an outage", one.inner_text("#head"))
    assert kept(home)
    assert kept(own)


def test_keyboard_turns_it_on(desk, token, released, watch):
    """The kill switch needs no mouse: reason, token, question and answer follow each other."""
    page = watch(desk).open("/kill-switch")
    page.get_by_label("Reason").focus()
    page.keyboard.type("smoke in the machine room")
    page.keyboard.press("Tab")
    page.keyboard.type(token)
    page.keyboard.press("Enter")
    yes = page.get_by_role("button", name="Yes, turn the kill switch on")
    yes.wait_for()
    for _ in range(40):
        page.keyboard.press("Tab")
        if yes.evaluate("(button) => button === document.activeElement"):
            break
    page.keyboard.press("Enter")
    page.wait_for_selector("main .badge.bad")

    assert desk.served.parts.kill_switch.state().why == "smoke in the machine room"


# ---- what is damaged -------------------------------------------------------------------------------------------------


def a_session(desk: Desk, *arguments: str) -> str:
    """Let a session run; return its id."""
    process = desk.start("session", "run", "--strategy", "ma_crossover", "--speed", "max", "--no-html", *arguments)
    assert process.wait(60) == 0
    return str(desk.served.parts.sessions.get("latest").session_id)


def test_damaged_row(own, watch):
    """A row of the registry that can't be read is shown as damaged beside the others; its page says what is wrong."""
    sound, damaged = own.put(), own.put()
    execute(own.served.parts.settings.registry_url, f"update sessions set summary = '{{broken' where session_id = '{damaged}'")
    reader = watch(own)
    page = reader.open()
    row = page.locator(f"#s-{damaged}").inner_text()
    reader.go(page, f"/session/{damaged}")

    assert "damaged" in row
    assert "damaged" in page.inner_text("#head")
    reader.go(page, "/")
    assert "completed" in page.locator(f"#s-{sound}").inner_text()


def test_unreadable_journal(own, watch):
    """A session whose journal is damaged says so and shows what the registry has; another is not affected."""
    name, other = a_session(own, "--steps", "300"), a_session(own, "--steps", "200")
    journal = own.folder / "var" / "journal" / "paper" / f"{name}.jsonl"
    journal.write_bytes(b"garbage\n" + journal.read_bytes())
    reader = watch(own)
    page = reader.open(f"/session/{name}")
    told, figures, orders = (page.inner_text(part) for part in ("#head", "#figures", "#orders"))
    reader.go(page, f"/session/{other}")

    assert "Not shown: Its journal can't be read" in told
    assert re.search(r"Bars seen\s+500", figures)
    assert "which can't be read" in orders
    assert page.locator(".chart").count() == 3


def test_lost_bars(own, watch):
    """A session whose bars are gone says so, and still shows its orders and its journal."""
    shutil.copy(hours(own.folder), own.folder / "bars.csv")
    name = a_session(own, "--data", "bars.csv", "--symbol", "BTC/EUR", "--timeframe", "1h", "--steps", "200")
    (own.folder / "bars.csv").write_text("gone\n")
    page = watch(own).open(f"/session/{name}")

    assert "Not shown: Its bars can't be shown" in page.inner_text("#head")
    assert page.locator(".chart").count() == 0
    assert page.locator("#journal tbody tr").count() > 5


def hours(folder: Path) -> Path:
    """Write a file of hourly bars; return its path."""
    from tests.builders import some_bars

    path = folder / "made.csv"
    frame = some_bars(500, seed=7, gap=0.001).to_polars()
    frame.with_columns(frame["timestamp"].dt.epoch("s")).write_csv(path)
    return path


def test_registry_of_garbage(own, watch):
    """A registry that turns into garbage is an alert on open pages, and told on others; afterwards the page is true again."""
    name = own.put()
    reader = watch(own)
    page = live(reader.open())
    registry = own.folder / "var" / "registry.db"
    good = registry.read_bytes()
    for rest in registry.parent.glob("registry.db-*"):
        rest.unlink()
    registry.write_bytes(b"garbage" * 1_000)
    page.get_by_role("status").filter(has_text="The registry can't be read").wait_for()
    shown = page.locator(f"#s-{name}").count()
    other = reader.open("/")
    told = other.inner_text("main")
    registry.write_bytes(good)
    page.wait_for_selector("#state:not(:has(.alerts))")
    page.wait_for_selector(LIVE)

    assert shown == 1
    assert "Storage refused" in told
    reader.troubles[:] = [text for text in reader.troubles if "503" not in text]
    assert kept(page)
