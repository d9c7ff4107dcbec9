"""The dashboard in a real browser: every page, filter and link; by eye, by keyboard, by ear, and without script."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Browser, Locator, Page
from tests.e2e.houses import House, a_house, command, put
from tests.e2e.pages import BROWSER_TESTS, Reader, background, column, flaws, inked, wait_until

from peak_trade.cli.main import main
from peak_trade.journal.run import RunStatus
from peak_trade.journal.sessions import SessionFilter

pytestmark = BROWSER_TESTS

HOSTILE = "</td><script>window.obeyed = 1</script><img src=x onerror='window.obeyed = 1'>"
TWO = ("--strategy", "ma_crossover", "--strategy", "rsi_reversion", "--steps", "300", "--speed", "max", "--no-html")
GERMAN = {"locale": "de-DE"}
POCKET = {"viewport": {"width": 390, "height": 800}, "has_touch": True, **GERMAN}
NO_SCRIPT = {"java_script_enabled": False}
PAGES = (
    *("home", "nothing matches", "wrong filter", "two strategies", "blocked orders", "failed", "acknowledge", "experiments"),
    *("backtest", "sweep", "comparison", "kill switch", "api", "missing"),
    *("verdict", "robustness", "regimes", "walk-forward", "strategy", "no strategy"),
)
#: Types of runs that the house has besides: what was asked about the first backtest's market.
STUDIED = ("verdict", "robustness", "regimes", "walk_forward")
#: Two tests share the pages, so that two processes do.
HALVES = (PAGES[::2], PAGES[1::2])


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A dashboard with sessions and runs of every kind; the newest session traded real money, the one before it failed."""
    with a_house(tmp_path_factory.mktemp("house")) as found:
        parts = found.served.parts
        command("session", "run", *TWO)
        found.real.append(str(parts.sessions.get("latest").session_id))
        studied(found.runs[0])
        put(parts, "failed", "broken", error=f"the venue said no {HOSTILE}", notes=HOSTILE, tags=(HOSTILE, "x" * 60))
        put(parts, "completed", "real", "live_session_live", metrics={"realized_pnl": -12.5, "num_orders": 3})
        found.sessions = parts.sessions.find(SessionFilter(), 1_000)
        yield found


def studied(backtest: str) -> None:
    """Ask about a backtest and its market what research can ask; two of the answers are no."""
    grid = ("--grid", "fast_window=5,10", "--grid", "slow_window=50", "--train", "1825d", "--test", "1825d")
    command("strategy", "check", "ma_crossover", "--end", "2002-01-01", "--cuts", "24")
    command("walkforward", "--strategy", "ma_crossover", *grid, "--no-html")
    command("regimes", "--strategy", "ma_crossover", "--end", "2002-01-01", "--no-html")
    for asked in (("verdict", "--strategy", "ma_crossover"), ("robustness", backtest)):
        assert main([*asked, "--no-html"]) == 1


@pytest.fixture
def reader(house: House, chromium: Browser) -> Iterator[Reader]:
    """Somebody in front of the browser, to whom nothing happens that must not."""
    found = Reader(chromium, house.served.url)
    yield found
    found.close()
    assert found.troubles == []


def path_of(house: House, name: str) -> str:
    """Return the address of a page of `PAGES`."""
    session, run = (f"/session/{newest(house, RunStatus.FAILED)}", f"/experiments/{house.runs[0]}")
    studies = {kind.replace("_", "-"): house.served.parts.registry.get(f"latest:{kind}").run_id for kind in STUDIED}
    return {
        "home": "/",
        "nothing matches": "/?strategy=nothing",
        "wrong filter": "/?since=yesterday",
        "two strategies": f"/session/{house.real[-1]}",
        "blocked orders": f"/session/{house.real[2]}",
        "failed": session,
        "acknowledge": f"{session}/acknowledge",
        "experiments": "/experiments",
        "backtest": run,
        "sweep": f"/experiments/{house.runs[2]}",
        "comparison": f"/experiments/compare?first={house.runs[0]}&second={house.runs[2]}",
        "kill switch": "/kill-switch",
        "api": "/docs",
        "missing": "/nowhere",
        "strategy": "/strategies/ma_crossover?symbol=SPX%2FUSD",
        "no strategy": "/strategies/nothing",
        **{kind: f"/experiments/{run_id}" for kind, run_id in studies.items()},
    }[name]


def newest(house: House, status: RunStatus) -> str:
    """Return the id of the session of a status that began last."""
    return str(next(one.session_id for one in house.sessions if one.run.status is status))


def filter_of(page: Page, name: str) -> Locator:
    """Return a field of the form of filters."""
    return page.locator("form.filters label").filter(has_text=re.compile(f"^{name}")).locator("input, select")


def described(page: Page) -> None:
    """Wait until the API is described."""
    page.wait_for_selector(".opblock")


# ---- every page ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", HALVES)
def test_on_a_desk(reader, house, names):
    """A page has nothing wrong for a screen reader, and enough contrast light and dark; nothing sticks out or goes wrong."""
    page = reader.context().new_page()
    found = {}
    for name in names:
        show(reader, house, page, name)
        light = background(page)
        wrong = flaws(page)
        darken(page)
        found[name] = wrong + flaws(page, rule="color-contrast") + outlines(page)
        assert sum(light) > 600
        assert sum(background(page)) < 150
        page.emulate_media(color_scheme="light")

    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize("names", HALVES)
def test_in_a_pocket(reader, house, names):
    """On a phone, in German, everything has contrast and a name, nothing sticks out and nothing goes wrong."""
    page = reader.context(**POCKET).new_page()
    found = {}
    for name in names:
        show(reader, house, page, name)
        found[name] = flaws(page) + outlines(page)
        assert page.evaluate("document.documentElement.lang") == "de"
        assert page.locator("nav").first.get_attribute("aria-label") == "Seiten"

    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def show(reader: Reader, house: House, page: Page, name: str) -> None:
    """Go to a page of `PAGES`, and wait until it is whole."""
    reader.go(page, path_of(house, name))
    if name == "api":
        described(page)


def darken(page: Page) -> None:
    """Let evening come, and wait until everything has changed its colour."""
    page.emulate_media(color_scheme="dark")
    wait_until(page, "() => document.documentElement.matches('.dark-mode, :not(:has(#swagger))')")
    wait_until(page, "() => document.getAnimations().length === 0")


def outlines(page: Page) -> list[str]:
    """Return what is wrong with a page as a whole: it sticks out, obeys its data, or has more than one title."""
    found: list[str] = page.evaluate("""() => [
      document.documentElement.scrollWidth > innerWidth && `${document.documentElement.scrollWidth} pixels wide`,
      "obeyed" in window && "data that is obeyed",
      document.querySelectorAll("main h1").length !== 1 && "not one title",
    ].filter(Boolean)""")
    return found


def test_first_page_is_light(reader):
    """Script and style of the first page are below 150 kB, and come from here."""
    sizes = {}
    context = reader.context()
    context.on("response", lambda answer: sizes.update({answer.url: len(answer.body())}) if "/static/" in answer.url else None)
    page = reader.go(context.new_page(), "/")
    page.wait_for_load_state("load")

    assert {address.rpartition(".")[2] for address in sizes} >= {"js", "css"}
    assert 1_000 < sum(sizes.values()) < 150_000
    assert page.evaluate("performance.getEntriesByType('resource').every((one) => one.name.startsWith(location.origin))")


@pytest.mark.parametrize(("name", "charts"), [("two strategies", 3), ("blocked orders", 3), ("failed", 0)])
def test_charts_have_ink(reader, house, name, charts):
    """A session's charts are drawn, each with something on it; one without bars says so in words."""
    page = reader.open(path_of(house, name))
    if charts:
        wait_until(page, "() => Bokeh.documents.every((document) => document.is_idle)")
    drawn = page.locator(".chart").evaluate_all("(charts) => charts.map((chart) => chart.id)")

    assert len(drawn) == charts
    assert all(inked(page, chart) > 1_000 for chart in drawn)
    assert charts or "nothing to draw" in page.inner_text("#drawn")


@pytest.mark.parametrize("name", ["backtest", "sweep", "verdict"])
def test_report_in_its_frame(reader, house, name):
    """A run's report is drawn inside its page, with charts of its own, and sealed off from the dashboard."""
    page = reader.open(path_of(house, name))
    page.locator("iframe").scroll_into_view_if_needed()
    frame = page.frame_locator("iframe")
    frame.locator("html[data-drawn]").wait_for(state="attached")

    assert frame.locator("canvas").count() > 0
    assert frame.locator("html").evaluate("self.origin") == "null"
    assert page.get_by_role("link", name="Open it alone").get_attribute("href") == f"{path_of(house, name)}/report"


def test_every_link_leads_somewhere(reader, house):
    """No link on any page leads to an error."""
    page = reader.context(**NO_SCRIPT).new_page()
    found: dict[str, str] = {}
    for name in PAGES:
        reader.go(page, path_of(house, name), drawn=False)
        links = page.locator("a[href]").evaluate_all("(links) => links.map((link) => link.href.split('#')[0])")
        found |= {link.removeprefix(house.served.url): name for link in links if link.startswith(house.served.url)}
        assert all(link.startswith(house.served.url) for link in links)
    answers = {link: house.served.get(link, follow_redirects=True).status_code for link in found}
    itself = [path_of(house, name) for name in ("wrong filter", "missing", "no strategy")]

    assert len(found) > 60
    assert {link: status for link, status in answers.items() if status != 200 and not link.startswith(tuple(itself))} == {}


# ---- the first page --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "head", "wanted"),
    [
        ("Mode", "live", "Mode", lambda text: "live" in text),
        ("Status", "failed", "Status", lambda text: text.startswith("failed")),
        ("Strategy", "macd", "Strategy", lambda text: "macd" in text),
        ("Market", "ETH/EUR", "Market", lambda text: text == "ETH/EUR 1h"),
        ("Tag", "a b&c", "Tags", lambda text: "a b&c" in text),
        ("Text", "off_ROAD", "Started, UTC", bool),
    ],
)
def test_filters(reader, field, value, head, wanted):
    """A filter of the form leaves only sessions that fit, stands in the form, and is taken away by a link."""
    page = reader.open()
    everything = page.inner_text("#matching")
    control = filter_of(page, field)
    control.select_option(value) if field in ("Mode", "Status") else control.fill(value)
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url(re.compile(r"\?"))

    assert control.input_value() == value
    assert all(wanted(text) for text in column(page, head))
    assert column(page, head)
    assert page.inner_text("#matching") != everything
    page.get_by_role("link", name="show all").click()
    page.wait_for_url(f"{reader.url}/")
    assert page.inner_text("#matching") == everything


def test_filter_by_days(reader, house):
    """From and until take the whole of both days, and a box leaves failed ones that nobody acknowledged."""
    today = datetime.now(UTC).date().isoformat()
    earlier = sorted({one.run.started_at[:10] for one in house.sessions} - {today})[-1]
    page = reader.open()
    page.get_by_label("From").fill(earlier)
    page.get_by_label("Until").fill(earlier)
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url(re.compile("since="))
    days = {text[:10] for text in column(page, "Started, UTC")}
    page.get_by_role("link", name="show all").click()
    page.get_by_label("not acknowledged").check()
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url(re.compile("unhandled=1"))

    assert days == {earlier}
    assert all("acknowledge" in text for text in column(page, "Status"))
    assert page.get_by_label("not acknowledged").is_checked()


def test_filter_by_address(reader, house):
    """A filter given in the address fills the form in; two of them hold together."""
    page = reader.open("/?mode=shadow&status=failed&sort=strategy")

    assert filter_of(page, "Mode").input_value() == "shadow"
    assert filter_of(page, "Status").input_value() == "failed"
    assert set(column(page, "Mode")) == {"shadow"}
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("Strategy")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url(re.compile("sort=strategy"))


def test_sorting_by_words(reader):
    """A head of words sorts from A to Z, and the other way round when it is used again; one head says how."""
    page = reader.open()
    for head in ("Mode", "Status", "Strategy", "Market", "Account"):
        rising, falling = sorted_both_ways(page, head, "ascending", "descending")
        assert rising != falling


def test_sorting_by_numbers(reader):
    """A head of numbers shows the largest first, then the smallest; sessions without one come last."""
    page = reader.open()
    for head in ("Realised profit", "Fees", "Orders", "Fills", "Blocked"):
        for texts, down in zip(sorted_both_ways(page, head, "descending", "ascending"), (True, False), strict=True):
            numbers = [float(text.replace(",", "").split()[0]) for text in texts]
            assert numbers == sorted(numbers, reverse=down)


def sorted_both_ways(page: Page, head: str, *ways: str) -> list[list[str]]:
    """Sort by a head twice; return the column's texts each time."""
    seen = []
    for way in ways:
        page.get_by_role("columnheader", name=head).get_by_role("link").click()
        page.wait_for_selector(f"th[aria-sort={way}]:has-text('{head}')")
        told = page.locator("th[aria-sort=ascending], th[aria-sort=descending]").all_inner_texts()
        assert [text.strip(" ▲▼") for text in told] == [head]
        seen.append(column(page, head))
    return seen


def test_paging(reader, house):
    """The pages of the table have every session once; the first one is a link away."""
    page = reader.open("/?sort=strategy")
    names = []
    while True:
        names += page.locator("#rows tr").evaluate_all("(rows) => rows.map((row) => row.id)")
        if not page.get_by_role("link", name="next page").count():
            break
        page.get_by_role("link", name="next page").click()
        wait_until(page, "(first) => document.getElementById('rows')?.rows[0].id !== first", names[-10])
    page.get_by_role("link", name="first page").click()
    page.wait_for_url(f"{reader.url}/?sort=strategy")

    assert sorted(names) == sorted(f"s-{one.session_id}" for one in house.sessions)
    assert page.locator("#rows tr").first.get_attribute("id") == names[0]


def test_real_money_is_marked(reader, house):
    """Wherever a session of mode live is named there is a warning sign: row, tile, filter and its own page."""
    page = reader.open()
    live = next(one for one in house.sessions if one.mode == "live")

    assert "⚠" in page.locator(f"#s-{live.session_id}").inner_text()
    assert "⚠" in page.locator("h2#tile-live").inner_text()
    assert "⚠" in page.locator("select[name=mode] option[value=live]").inner_text()
    assert [text.count("⚠") for text in page.locator("h2#tile-shadow").all_inner_texts()] == [0]
    reader.go(page, f"/session/{live.session_id}")
    assert "⚠" in page.locator("#head").inner_text()
    assert "real orders with real money" in page.locator("#head").inner_text()


def test_failed_sessions_stand_out(reader, house):
    """A failed session has a bar, a ground of its own and a link to acknowledge it; what an error says is shown as text."""
    page = reader.open()
    failed = page.locator(f"#s-{newest(house, RunStatus.FAILED)}")
    ground = "(row) => getComputedStyle(row).backgroundColor"
    other = page.locator("#rows tr:not(.attention)").first

    assert failed.evaluate(ground) != other.evaluate(ground)
    assert failed.locator("th").evaluate("(cell) => getComputedStyle(cell).boxShadow") != "none"
    assert HOSTILE in failed.inner_text()
    failed.get_by_role("link", name="acknowledge").click()
    page.wait_for_url(re.compile("/acknowledge$"))
    assert page.get_by_role("heading", name="Acknowledge a failed session").is_visible()


def test_tiles_lead_to_their_sessions(reader, house):
    """Each number of a tile is that of the sessions behind its link; stages are never added up."""
    page = reader.open()
    tiles = page.evaluate(
        """() => [...document.querySelectorAll("#tiles table tbody tr")].map((row) =>
          [row.querySelector("a").getAttribute("href"), Number(row.cells[2].innerText)])"""
    )
    told = dict(tiles)
    for link, count in told.items():
        reader.go(page, link)
        assert page.inner_text("#matching").startswith(f"{min(count, 10)} of {count} ")

    assert len(told) > 10
    assert sum(count for link, count in tiles if "status" not in link) == len(house.sessions)


@pytest.mark.parametrize(("path", "spoken"), [("/", {}), ("/", GERMAN), ("/experiments", {})])
def test_fits_a_desk(reader, path, spoken):
    """At 1280 pixels no column of the list of sessions or of the list of runs is out of sight."""
    page = reader.open(path, **spoken)

    assert page.locator(".scroll").evaluate("(part) => part.scrollWidth <= part.clientWidth")


# ---- by keyboard and by ear ------------------------------------------------------------------------------------------

FOCUSED = """() => {
  let held = document.activeElement;
  while (held.shadowRoot?.activeElement) held = held.shadowRoot.activeElement;
  const style = getComputedStyle(held);
  const box = held.getBoundingClientRect();
  const seen = box.width > 0 && box.top >= 0 && box.bottom <= innerHeight && box.left >= 0;
  return { tag: held.tagName, text: held.textContent.trim().slice(0, 40), ring: style.outlineStyle !== "none", seen };
}"""


def test_skip_link(reader):
    """The first stop of the keyboard is a link, seen only then, that leads past the head."""
    page = reader.open()
    hidden = page.get_by_role("link", name="To the content").evaluate("(link) => link.getBoundingClientRect().right < 0")
    page.keyboard.press("Tab")
    first = page.evaluate(FOCUSED)
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")

    assert hidden
    assert (first["text"], first["seen"], first["ring"]) == ("To the content", True, True)
    assert page.evaluate("document.getElementById('content').contains(document.activeElement)")


@pytest.mark.parametrize("name", ["home", "two strategies", "experiments", "kill switch"])
def test_focus_is_seen(reader, house, name):
    """Every stop of the keyboard has a ring and is within sight; none holds it for ever."""
    page = reader.open(path_of(house, name))
    stops = []
    while len(stops) < 300:
        page.keyboard.press("Tab")
        stop = page.evaluate(FOCUSED)
        if stop["tag"] == "BODY":
            break
        stops.append(stop)

    assert 10 < len(stops) < 300
    assert [stop for stop in stops if not (stop["ring"] and (stop["seen"] or stop["tag"] in ("DIV", "PRE")))] == []


def test_session_by_keyboard(reader, house):
    """A row is reached and opened without a mouse, and its table of orders scrolls."""
    page = reader.open()
    page.locator("form.filters button").focus()
    while page.evaluate("document.activeElement.id") != f"l-{house.real[-1]}":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{reader.url}/session/{house.real[-1]}")
    page.get_by_role("region", name="Excerpt of the journal").focus()
    page.keyboard.press("PageDown")

    wait_until(page, "() => document.activeElement.scrollTop > 0")


def test_names_for_a_screen_reader(reader, house):
    """Landmarks, regions, tables, fields and charts have names; a row is known by its session."""
    page = reader.open()

    for role, name in (
        ("navigation", "Pages"),
        ("navigation", "Pages of the table"),
        ("search", "Filter the sessions"),
        ("region", "Table of sessions"),
        ("region", re.compile("^Open alerts: ")),
        ("list", "Open alerts"),
        ("table", "Sessions in mode live by status"),
        ("combobox", "Status"),
        ("searchbox", "Text"),
        ("link", "To the content"),
    ):
        assert page.get_by_role(role, name=name, exact=isinstance(name, str)).count() == 1, (role, name)
    newest_row = page.get_by_role("row", name=house.sessions[0].session_id)
    assert newest_row.get_by_role("rowheader").count() == 1
    assert page.get_by_role("link", name="Sessions", exact=True).first.get_attribute("aria-current") == "page"
    reader.go(page, path_of(house, "two strategies"))
    assert page.get_by_role("img", name="Closing prices of SYN/USD").count() == 1
    assert page.get_by_role("region", name="Table of orders").get_by_role("table").count() == 1
    copies = page.get_by_role("button", name=re.compile("Copy: ")).all()
    assert len({copy.get_attribute("aria-label") for copy in copies}) == len(copies) >= 5


def test_foreign_words_are_marked(reader, house):
    """On a German page what stays English says so, so that it is not read out as German."""
    page = reader.open(path_of(house, "failed"), locale="de-DE")

    assert "the venue said no" in page.locator("[lang=en]").all_inner_texts()[-1] + "".join(
        page.locator("#head [lang=en]").all_inner_texts()
    )
    assert page.locator("nav [lang=en]").inner_text() == "English"


# ---- without script --------------------------------------------------------------------------------------------------


def test_without_script(reader, house):
    """Every page can be read without script: it says how old it is, and offers nothing that needs one."""
    page = reader.context(**NO_SCRIPT).new_page()
    for name in PAGES:
        reader.go(page, path_of(house, name), drawn=False)
        assert len(page.inner_text("main")) > 40, name
        assert page.locator("main h1").count() == 1, name
        assert page.locator("button[data-copy]:visible").count() == 0, name
        assert page.inner_text("#fresh").startswith("shown as of 20"), name
        orders = page.get_by_role("region", name="Table of orders").locator("tbody tr").count()
        assert (orders > 0) == (name in ("two strategies", "blocked orders"))
        assert ("needs JavaScript" in page.inner_text("main")) == (name == "api")


def test_reasons_of_the_locks_without_script(reader):
    """Why a lock is closed is unfolded by the browser itself."""
    page = reader.open(**NO_SCRIPT)
    page.locator("summary").first.click()

    assert page.locator("details[open] li").first.is_visible()


# ---- language and commands -------------------------------------------------------------------------------------------


def test_language_is_kept(reader):
    """The page speaks what the browser asks for; the switch beats that, on this page and on the next ones."""
    page = reader.open("/?status=failed", locale="de-DE")
    asked = (page.evaluate("document.documentElement.lang"), page.locator("h1").inner_text())
    page.get_by_role("link", name="English").click()
    page.wait_for_selector("html[lang=en]")
    filtered = filter_of(page, "Status").input_value()
    page.get_by_role("link", name="Experiments").click()
    page.wait_for_url(re.compile("/experiments"))

    assert asked == ("de", "Live-Track Panel")
    assert filtered == "failed"
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.locator(".languages [aria-current]").inner_text() == "English"


def test_a_switch_of_language_is_not_repeated(reader):
    """The address forgets the switch, so that a page left open does not turn another window's switch back."""
    page = reader.open("/?lang=de&status=failed")

    assert page.url == f"{reader.url}/?status=failed"
    assert page.evaluate("document.documentElement.lang") == "de"


def test_commands_are_copied(reader, house):
    """A copy button copies exactly its command, says so for eyes and ears, and is ready again."""
    page = reader.open(path_of(house, "two strategies"), permissions=["clipboard-read", "clipboard-write"])
    command_text = page.locator(".command code").nth(1).inner_text()
    button = page.locator("button[data-copy]").nth(1)
    button.click()
    wait_until(page, "() => document.getElementById('spoken').textContent === 'Copied'")
    told = button.inner_text()

    assert command_text == f"peak-trade session replay {house.real[-1]}"
    assert page.evaluate("navigator.clipboard.readText()") == command_text
    assert told == "✓ Copied"
    wait_until(page, "(button) => button.textContent === 'Copy'", button.element_handle())


def test_commands_where_copying_is_forbidden(reader, house):
    """Where the browser does not let a page copy, the command is marked, ready to be copied by hand."""
    context = reader.context()
    context.add_init_script(
        "if (navigator.clipboard) navigator.clipboard.writeText = () => Promise.reject(new DOMException('no'))"
    )
    page = reader.go(context.new_page(), path_of(house, "backtest"))
    page.locator("button[data-copy]").first.click()

    wait_until(page, "() => getSelection().toString().startsWith('peak-trade reproduce')")


def test_compare_two_runs(reader, house):
    """Two runs chosen in the list are shown side by side, with what was different."""
    page = reader.open("/experiments?run_type=backtest")
    page.get_by_role("radio", name=f"{house.runs[0]} as the first").check()
    page.get_by_role("radio", name=f"{house.runs[1]} as the second").check()
    page.get_by_role("button", name="Compare the two").click()
    page.wait_for_url(re.compile("/compare"))

    heads = page.get_by_role("region", name="Table of figures").locator("thead").inner_text()
    assert heads.index(house.runs[0]) < heads.index(house.runs[1])
    assert "params.fast_window" in page.get_by_role("region", name="Table of differences").inner_text()


def test_experiments_filter_and_rank(reader, house):
    """The list of runs filters by type, and shows the best first by the figure that was chosen."""
    page = reader.open("/experiments")
    filter_of(page, "Type").select_option("backtest")
    filter_of(page, "Best first by").select_option("sharpe")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url(re.compile("sort_by=sharpe"))

    sharpes = [float(text) for text in column(page, "Sharpe ratio")]
    assert set(column(page, "Type")) == {"backtest"}
    assert sharpes == sorted(sharpes, reverse=True)
    assert page.locator("th[aria-sort=descending]").inner_text() == "Sharpe ratio"


def test_api_can_be_tried(reader):
    """A request of the API's description is sent from its page, answered there, and readable for everyone."""
    page = reader.open("/docs")
    described(page)
    page.locator("#operations-sessions-health_api_health_get button").first.click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    page.wait_for_selector(".live-responses-table .response-col_status")

    assert page.locator(".live-responses-table tbody .response-col_status").first.inner_text().startswith("200")
    assert flaws(page) == []


def test_sweep_tells_what_it_tried(reader, house):
    """A sweep's page names the values of each parameter."""
    page = reader.open(path_of(house, "sweep"))

    assert re.search(r"slow_window\s+\[?20", page.inner_text("main"))


def test_a_strategy_without_script(reader, house):
    """Every kind of evidence has its row with an answer, its run a link, and trials their picture, all from the server."""
    page = reader.open(path_of(house, "strategy"), **NO_SCRIPT)
    rows = {row.get_attribute("id"): row.inner_text() for row in page.locator("table.evidence tbody tr").all()}

    assert list(rows) == [
        *("e-causality", "e-warmup", "e-determinism", "e-backtest", "e-walk_forward"),
        *("e-verdict", "e-robustness", "e-regimes", "e-holdout"),
    ]
    assert "yes" in rows["e-causality"]
    assert re.search(r"after \d+ trials", rows["e-verdict"])
    assert "not robust" in rows["e-robustness"]
    assert "missing" in rows["e-holdout"]
    assert page.locator("svg.trend path.blue").get_attribute("d").startswith("M0 138.0H0.0V")
    page.get_by_role("link", name="Verdict").click()
    assert re.search(r"after \d+ trials", page.locator(".big").inner_text())
