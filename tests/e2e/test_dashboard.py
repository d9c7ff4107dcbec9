"""The dashboard over HTTP, from a real server: every address, filter, page, count and header."""

import html
import json
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.e2e.houses import FIGURES, House, a_house

from peak_trade.journal.session import Session
from peak_trade.journal.sessions import SORTABLE
from peak_trade.webui.access import SEALED, STRICT, STYLED

PAGE = "text/html; charset=utf-8"
JSON = "application/json"
PROBLEM = "application/problem+json"
SORTS = [sign + name for name in SORTABLE for sign in ("", "-")]
COMPONENTS = ["registry", "database", "journal", "signing key", "disk", "market data", "kill switch", "clock"]
PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A dashboard with everything in it."""
    with a_house(tmp_path_factory.mktemp("house")) as made:
        yield made


def address(house: House, path: str) -> str:
    """Fill the ids of a house into an address."""
    names = {"session": house.real[0], "blocked": house.real[2], "backtest": house.runs[0], "other": house.runs[1]}
    return path.format(**names, sweep=house.runs[2])


def listed(page: str) -> list[str]:
    """Return the ids of a page's rows."""
    return re.findall(r'<tr id="s-([^"]+)"', page)


def counted(page: str) -> tuple[int, int]:
    """Return how many rows a page says that it shows, and of how many."""
    found = re.search(r"([\d,]+) of ([\d,]+) sessions", page)
    assert found, "a page of sessions says how many there are"
    shown, every = (int(number.replace(",", "")) for number in found.groups())
    return shown, every


def naive(sessions: list[Session], **given: str) -> set[str]:
    """Return the ids of sessions that fit a filter, worked out without the registry."""

    def fits(session: Session) -> bool:
        run = session.run
        own = {"mode": session.mode, "status": run.status.value, "strategy": run.strategy, "symbol": run.symbol}
        own |= {"account": session.account, "env_name": run.env_name, "run_type": run.run_type}
        words = "\n".join((run.run_id, run.strategy, run.symbol, session.account, session.notes, run.error or "")).lower()
        day = run.started_at[:10]
        return all(
            {
                "tag": value in run.tags,
                "text": value.lower() in words,
                "since": day >= value,
                "until": day <= value,
                "unhandled": run.status.value == "failed" and session.acknowledged is None,
            }.get(name, own.get(name) == value)
            for name, value in given.items()
        )

    return {str(session.session_id) for session in sessions if fits(session)}


def everything(house: House, **given: object) -> list[str]:
    """Return the ids on all pages of the API together."""
    ids: list[str] = []
    cursor = ""
    for _ in range(100):
        told = house.served.json("/api/live_sessions", params=given | {"cursor": cursor})
        ids += [session["session_id"] for session in told["sessions"]]
        cursor = told["next_cursor"]
        if cursor is None:
            return ids
    raise AssertionError("the pages do not end")


# ---- every address ---------------------------------------------------------------------------------------------------

ADDRESSES = [
    ("/", 200, PAGE, "Live-Track panel"),
    ("/?mode=shadow", 200, PAGE, "Live-Track panel"),
    ("/?mode=testnet&status=failed", 200, PAGE, "Live-Track panel"),
    ("/?sort=-realized_pnl&text=third&unhandled=1", 200, PAGE, "Live-Track panel"),
    ("/session/{session}", 200, PAGE, "the first of all"),
    ("/session/{blocked}", 200, PAGE, "max_order_notional"),
    ("/session/latest", 200, PAGE, "Key figures"),
    ("/session/{session}/charts", 200, JSON, '"documents"'),
    ("/experiments", 200, PAGE, "Newest first"),
    ("/experiments?run_type=sweep", 200, PAGE, "sweep"),
    ("/experiments?sort_by=sharpe", 200, PAGE, "the best first"),
    ("/experiments/{backtest}", 200, PAGE, "peak-trade reproduce {backtest}"),
    ("/experiments/{backtest}/report", 200, PAGE, "ma_crossover on SPX/USD"),
    ("/experiments/{sweep}", 200, PAGE, "Parameter sweep"),
    ("/experiments/{sweep}/report", 200, PAGE, "slow_window"),
    ("/experiments/compare?first={backtest}&second={other}", 200, PAGE, "params.fast_window"),
    ("/strategies/ma_crossover", 200, PAGE, "Trials over time"),
    ("/strategies/ma_crossover?symbol=SPX/USD", 200, PAGE, "/experiments/{backtest}"),
    ("/strategies/ma_crossover?symbol=XYZ/EUR", 404, PAGE, "expected a market on which ma_crossover was run"),
    ("/strategies/nothing", 404, PAGE, "peak-trade strategies list"),
    ("/api/experiments?limit=2", 200, JSON, '"next_before":"'),
    ("/api/experiments?run_type=sweep", 200, JSON, "{sweep}"),
    ("/api/experiments/{backtest}", 200, JSON, '"report":"/experiments/{backtest}/report"'),
    ("/api/experiments/nowhere", 404, PROBLEM, "expected the id of a run"),
    ("/api/experiments?limit=0", 422, PROBLEM, "as limit"),
    ("/api/strategies/ma_crossover?symbol=SPX/USD", 200, JSON, '"run_id":"{backtest}"'),
    ("/api/strategies/nothing", 404, PROBLEM, "peak-trade strategies list"),
    ("/kill-switch", 200, PAGE, "peak-trade kill --why"),
    ("/docs", 200, PAGE, "swagger"),
    ("/openapi.json", 200, JSON, "/api/live_sessions/stats"),
    ("/api/live_sessions", 200, JSON, "{session}"),
    ("/api/live_sessions?limit=1", 200, JSON, "next_cursor"),
    ("/api/live_sessions/{session}", 200, JSON, '"notes":"the first of all"'),
    ("/api/live_sessions/latest", 200, JSON, "session_id"),
    ("/api/live_sessions/stats", 200, JSON, "unhandled_failed"),
    ("/api/health", 200, JSON, "kill switch"),
    ("/metrics", 200, "text/plain", "peak_trade_sessions{{"),
    ("/nowhere", 404, PAGE, "Not found"),
    ("/session/nowhere", 404, PAGE, "peak-trade session list"),
    ("/session/{backtest}", 404, PAGE, "expected the id of a session"),
    ("/session/{session}/acknowledge", 400, PAGE, "expected a failed session"),
    ("/experiments/nowhere", 404, PAGE, "expected the id of a run"),
    ("/experiments/{session}/report", 400, PAGE, "expected a completed run of research"),
    ("/experiments/compare", 400, PAGE, "expected two runs to compare"),
    ("/experiments/compare?first={backtest}&second=nowhere", 404, PAGE, "expected the id of a run"),
    ("/?mode=research", 400, PAGE, "expected mode to be one of"),
    ("/?until=soon", 400, PAGE, "expected a date"),
    ("/?after=x", 400, PAGE, "expected a cursor"),
    ("/api/nowhere", 404, PROBLEM, "/docs lists them"),
    ("/api/live_sessions/nowhere", 404, PROBLEM, "peak-trade session list"),
    ("/api/live_sessions?cursor=x", 400, PROBLEM, "begin without one"),
    ("/api/live_sessions?since=soon", 400, PROBLEM, "expected a date"),
    ("/api/live_sessions?mode=research", 422, PROBLEM, "as mode"),
    ("/static/x/nothing.js", 404, PAGE, "Not found"),
]


@pytest.mark.parametrize(("path", "status", "kind", "words"), ADDRESSES, ids=[row[0] for row in ADDRESSES])
def test_every_address(house, path, status, kind, words):
    """Each address answers with its status, its kind and what it is for; an error says what was expected."""
    answer = house.served.get(address(house, path))

    assert (answer.status_code, answer.headers["content-type"].startswith(kind)) == (status, True), answer.text[:300]
    assert address(house, words) in html.unescape(answer.text)
    if kind == PROBLEM:
        assert answer.json().keys() == {"type", "title", "status", "detail"}
        assert answer.json()["status"] == status


def test_ids_may_be_shortened(house):
    """A clear beginning or end of an id will do; one that fits several is refused with a hint."""
    name = house.real[0]

    for part in (name[-6:], name[:-1]):
        assert house.served.json(f"/api/live_sessions/{part}")["session_id"] == name
    for page in (f"/session/{name[:8]}", f"/api/live_sessions/{name[:8]}"):
        answer = house.served.get(page)
        assert (answer.status_code, "found several" in answer.text) == (404, True)


def test_a_session_among_the_experiments(house):
    """A run that is a session leads to the session's own page."""
    answer = house.served.get(f"/experiments/{house.real[0]}")

    assert (answer.status_code, answer.headers["location"]) == (303, f"/session/{house.real[0]}")


def test_a_session_s_page_tells_what_happened(house):
    """Figures, orders with their lives, journal, commands and configuration of a session that ran are on its page."""
    record = json.loads((house.folder / "reports" / "experiments" / house.real[0] / "session.json").read_text())
    page = html.unescape(house.served.get(f"/session/{house.real[0]}").text)

    assert f"{record['metrics']['final_equity']:,.2f}" in page
    assert page.count("sent</span>") == min(record["metrics"]["num_orders"], 200)
    for words in ("--tag real", record["dataset"]["origin"], record["config_sha256"], '"status": "completed"'):
        assert words in page
    assert "Not shown" not in page


def test_charts_are_of_this_session(house):
    """Charts come as bokeh's documents, one for each figure of the page."""
    page = house.served.get(f"/session/{house.real[0]}").text
    told = house.served.json(f"/session/{house.real[0]}/charts")

    places = set(re.findall(r'class="chart" id="([^"]+)"', page))
    assert {root for item in told["items"] for root in item["roots"].values()} == places
    assert house.served.json(f"/session/{house.sessions[0].session_id}/charts") == {"documents": {}, "items": []}


# ---- filters, orders and pages ---------------------------------------------------------------------------------------

FILTERS = [
    {},
    *({"mode": mode} for mode in ("shadow", "testnet", "shadow_live", "live")),
    *({"status": status} for status in ("started", "completed", "failed", "aborted", "damaged")),
    {"strategy": "macd+breakout"},
    {"symbol": "BTC/USD"},
    {"tag": "a b&c"},
    {"tag": "nobody's"},
    {"account": "other"},
    {"env_name": "vault"},
    {"run_type": "shadow_run"},
    {"text": "every THIRD"},
    {"text": "50% off_"},
    {"text": "_"},
    {"text": "the venue said"},
    {"unhandled": "1"},
    {"mode": "live", "status": "completed"},
    {"mode": "testnet", "status": "failed", "unhandled": "1"},
    {"symbol": "BTC/EUR", "tag": "even", "text": "macd"},
]


@pytest.mark.parametrize("given", FILTERS, ids=str)
def test_filters(house, given):
    """Page and API show exactly the sessions that fit, and the page says how many."""
    wanted = naive(house.sessions, **given)

    page = house.served.get("/", params=given).text

    assert set(everything(house, limit=100, **given)) == wanted
    assert set(listed(page)) <= wanted
    assert counted(page) == (min(10, len(wanted)), len(wanted)) if wanted else "No session matches" in page


@pytest.mark.parametrize("days", [(0, 0), (1, 1), (1, 3), (2, None), (None, 2)])
def test_periods(house, days):
    """The first and the last day are both included, whole."""
    every = sorted({session.run.started_at[:10] for session in house.sessions}, reverse=True)
    first, last = (None if day is None else every[min(day, len(every) - 1)] for day in days)
    given = {name: day for name, day in (("until", first), ("since", last)) if day}

    assert set(everything(house, limit=100, **given)) == naive(house.sessions, **given)
    assert counted(house.served.get("/", params=given).text)[1] == len(naive(house.sessions, **given))


def value(session: Session, name: str) -> object:
    """Return what a session is sorted by."""
    if name in FIGURES:
        return session.run.metrics.get(name)
    if name == "status":
        return session.run.status.value
    return getattr(session, name) if name in ("mode", "account") else getattr(session.run, name)


@pytest.mark.parametrize("sort", SORTS)
def test_pages_of_the_api(house, sort):
    """In every order all pages together have each session once, sorted by value and id, those without a value last."""
    name, downwards = sort.removeprefix("-"), sort.startswith("-")
    by_id = sorted(house.sessions, key=lambda one: str(one.session_id), reverse=downwards)
    known = sorted((one for one in by_id if value(one, name) is not None), key=lambda one: value(one, name), reverse=downwards)

    found = everything(house, limit=7, sort=sort)

    assert found == [str(one.session_id) for one in (*known, *(one for one in by_id if value(one, name) is None))]


@pytest.mark.parametrize("start", ["/", "/?sort=-fees_paid", "/?sort=strategy&tag=even", "/?mode=shadow&text=o"])
def test_pages_by_their_links(house, start):
    """Who follows the link to the next page sees each session once, as many to a page as are configured."""
    ids: list[str] = []
    page = house.served.get(start).text
    every = counted(page)[1]
    while True:
        ids += listed(page)
        assert len(listed(page)) <= 10
        link = re.search(r'<a href="([^"]+)" rel="next">', page)
        if link is None:
            break
        page = house.served.get(html.unescape(link[1])).text
        assert 'rel="first"' in page

    assert len(ids) == len(set(ids)) == every


def test_every_column_s_link(house):
    """The head of each column leads to an order by it, and from there to the other direction."""
    page = house.served.get("/?mode=shadow").text
    links = [html.unescape(link) for link in re.findall(r'<th scope="col"[^>]*aria-sort="none"><a href="([^"]+)"', page)]

    assert len(links) == len(SORTABLE) - 1
    for link in links:
        sorted_page = house.served.get(link).text
        now = re.search(r'aria-sort="(ascending|descending)"><a href="([^"]+)"', sorted_page)
        assert now, link
        assert "mode=shadow" in link
        back = re.search(r'aria-sort="(ascending|descending)"', house.served.get(html.unescape(now[2])).text)
        assert back, link
        assert back[1] != now[1]


@pytest.mark.parametrize(("limit", "status"), [("1", 200), ("1000", 200), ("0", 422), ("1001", 422), ("-1", 422)])
def test_limits(house, limit, status):
    """From 1 to 1000 sessions may be asked for, and no other number."""
    answer = house.served.get(f"/api/live_sessions?limit={limit}")

    assert answer.status_code == status
    if status == 200:
        assert len(answer.json()["sessions"]) == min(int(limit), len(house.sessions))
    else:
        assert "as limit" in answer.json()["detail"]


@pytest.mark.parametrize("limit", ["", "x", "1.5", "1e2", "99999999999999999999", "%00"])
def test_limits_that_are_none(house, limit):
    """What is no whole number is refused in the API's own words."""
    answer = house.served.get(f"/api/live_sessions?limit={limit}")

    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)


# ---- counts ----------------------------------------------------------------------------------------------------------


def test_stats_are_the_sessions_counted(house):
    """Each stage has its own counts by status, today's and all, and its own sums by currency; there is no total over all."""
    told = house.served.json("/api/live_sessions/stats")
    day = told["as_of"][:10]

    assert told.keys() == {"modes", "unhandled_failed", "as_of"}
    assert told["unhandled_failed"] == len(naive(house.sessions, unhandled="1"))
    assert {row["mode"] for row in told["modes"]} == {session.mode for session in house.sessions}
    for row in told["modes"]:
        mine = [session for session in house.sessions if session.mode == row["mode"]]
        today = [session for session in mine if session.run.started_at[:10] == day]
        assert (row["total"], row["today"]) == (len(mine), len(today))
        assert row["by_status"] == Counter(session.run.status.value for session in mine)
        assert row["today_by_status"] == Counter(session.run.status.value for session in today)
        assert row["is_live_warning"] is (row["mode"] == "live")
        for quote, sums in row["sums"].items():
            of_quote = [session for session in mine if session.run.symbol.endswith(f"/{quote}")]
            for name in FIGURES:
                assert sums[name] == pytest.approx(sum(session.run.metrics.get(name) or 0.0 for session in of_quote)), name


def test_tiles_are_the_same_counts(house):
    """Each stage has a tile of its own with the counts of the API, and real money has a warning in words."""
    page = house.served.get("/").text

    for row in house.served.json("/api/live_sessions/stats")["modes"]:
        tile = re.search(rf'<section aria-labelledby="tile-{row["mode"]}">.*?</section>', page, re.S)
        assert tile, row["mode"]
        last = re.search(r'<tr class="sum">.*?<td>([\d,]+)</td><td>([\d,]+)</td>', tile[0], re.S)
        assert (int(last[1]), int(last[2])) == (row["today"], row["total"])
        assert ("real orders with real money" in tile[0]) is (row["mode"] == "live")
        for status, count in row["by_status"].items():
            assert re.search(rf"status={status}.*?</a></th><td>[\d,]+</td><td>{count}</td>", tile[0], re.S)


def test_metrics_are_the_same_counts(house):
    """Prometheus reads the counts of the API, stage by stage."""
    families = text_string_to_metric_families(house.served.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples]
    modes = house.served.json("/api/live_sessions/stats")["modes"]

    for row in modes:
        for status, count in row["by_status"].items():
            labels = {"mode": row["mode"], "status": status}
            found = [s.value for s in samples if s.name == "peak_trade_sessions" and labels.items() <= s.labels.items()]
            assert sum(found) == count
    ages = [s for s in samples if s.name == "peak_trade_session_heartbeat_age_seconds"]
    assert {s.labels["session_id"] for s in ages} == naive(house.sessions, status="started")


def test_answers_are_counted_by_page(house):
    """Answers are counted and timed by the pattern of their address, so that no id becomes a label."""
    house.served.get(f"/session/{house.real[0]}")
    house.served.get("/nowhere/at/all")
    text = house.served.get("/metrics").text

    assert re.search(r'peak_trade_dashboard_requests_total\{page="/session/\{session_id\}",status="200"\} \d', text)
    assert re.search(r'peak_trade_dashboard_requests_total\{page="other",status="404"\} \d', text)
    assert re.search(r'peak_trade_dashboard_request_seconds_count\{page="/"\} \d', text)
    assert house.real[0] not in text


def test_health_names_every_component(house):
    """Each component says what was checked and what was found."""
    told = house.served.json("/api/health")

    assert (told["status"], [row["component"] for row in told["components"]]) == ("ok", COMPONENTS)
    assert all(row["healthy"] and row["checked"] and row["found"] for row in told["components"])


def test_moments_are_utc(house):
    """Every moment of the API is ISO 8601 with a Z."""
    for session in house.served.json("/api/live_sessions?limit=1000")["sessions"]:
        for name in ("started_at", "finished_at", "heartbeat_at"):
            assert session[name] is None or (session[name].endswith("Z") and datetime.fromisoformat(session[name]))


def test_a_session_alone_is_as_in_the_list(house):
    """The document of one session has everything that the list has of it, equal."""
    for row in house.served.json("/api/live_sessions?limit=1000")["sessions"]:
        assert house.served.json(f"/api/live_sessions/{row['session_id']}").items() >= row.items()


# ---- methods and headers ---------------------------------------------------------------------------------------------

READ_ONLY = ["/", "/session/{session}", "/session/{session}/charts", "/experiments", "/experiments/{backtest}", "/docs"]
READ_ONLY += ["/api/live_sessions", "/api/live_sessions/{session}", "/api/live_sessions/stats", "/api/health", "/metrics"]
READ_ONLY += ["/openapi.json", "/experiments/{backtest}/report", "/experiments/compare", "/events", "/static/x/icon.svg"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_nothing_but_reading(house, method):
    """No other method is allowed on what is only read, and none does anything."""
    before = house.served.get("/api/live_sessions?limit=1000").json()["sessions"]

    for path in READ_ONLY:
        answer = house.served.client.request(method, address(house, path))
        allowed = {"GET", "HEAD"} if path != "/events" else {"GET"}
        assert (answer.status_code, set(answer.headers["allow"].split(", "))) == (405, allowed), path
    assert house.served.get("/api/live_sessions?limit=1000").json()["sessions"] == before


@pytest.mark.parametrize("path", [path for path in READ_ONLY if path not in ("/events", "/experiments/compare")])
def test_heads(house, path):
    """HEAD answers as GET does, without the body."""
    got, head = (house.served.client.request(method, address(house, path)) for method in ("GET", "HEAD"))

    assert (head.status_code, head.content) == (200, b"")
    changing = ("content-length", "date")
    assert {n: v for n, v in head.headers.items() if n not in changing} == {
        n: v for n, v in got.headers.items() if n not in changing
    }


HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@pytest.mark.parametrize(
    ("path", "policy"),
    [
        *((path, STRICT) for path in ("/", "/experiments", "/experiments/{backtest}", "/kill-switch", "/nowhere", "/?mode=x")),
        *(
            (path, STRICT)
            for path in ("/metrics", "/openapi.json", "/api/health", "/api/nowhere", "/api/live_sessions?limit=0")
        ),
        *((path, STRICT) for path in ("/static/x/icon.svg", "/static/x/dashboard.js", "/static/x/nothing.js")),
        *((path, STRICT) for path in ("/session/{session}/charts", "/experiments/compare?first={backtest}&second={other}")),
        *((path, STYLED) for path in ("/session/{session}", "/docs")),
        *((path, SEALED) for path in ("/experiments/{backtest}/report", "/experiments/{sweep}/report")),
    ],
)
def test_headers_of_every_kind_of_answer(house, path, policy):
    """Every answer is bound to this origin, not guessed at, not kept, and may load nothing from elsewhere."""
    answer = house.served.get(address(house, path))

    assert answer.headers["content-security-policy"] == policy
    assert HEADERS.items() <= dict(answer.headers).items()
    assert "camera=()" in answer.headers["permissions-policy"]
    assert answer.headers["cache-control"] == ("no-cache" if answer.status_code == 200 and "/static/" in path else "no-store")
    assert "access-control-allow-origin" not in answer.headers


def test_headers_of_the_stream(house):
    """The stream of news is guarded like everything else, and begins at once with what there is."""
    with house.served.client.stream("GET", "/events") as answer:
        lines = answer.iter_lines()
        begun = [next(lines) for _ in range(2)]
        news = [next(lines) for _ in range(3)]

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["content-security-policy"] == STRICT
    assert answer.headers["cache-control"] == "no-store"
    assert HEADERS.items() <= dict(answer.headers).items()
    assert begun == ["retry: 2000", ""]
    assert news[0] == "event: news"
    assert set(json.loads(news[2].removeprefix("data: "))["running"]) == naive(house.sessions, status="started")


def test_a_closed_page_is_no_reader(house):
    """When a page is closed the server notices, and stops looking for it."""

    def readers() -> str:
        return re.search(r"^peak_trade_dashboard_readers (\S+)", house.served.get("/metrics").text, re.M)[1]

    with house.served.client.stream("GET", "/events") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "retry: 2000"
        assert float(readers()) >= 1.0
    end = time.monotonic() + PATIENCE_S
    while readers() != "0.0":
        assert time.monotonic() < end, "the server still counts a page that is closed"


def test_policies_keep_strangers_out():
    """No policy allows a foreign origin or a script in the page, but for the report, which has no origin to harm."""
    for policy in (STRICT, STYLED):
        told = dict(part.split(" ", 1) for part in policy.split("; "))
        assert told["default-src"] == "'none'"
        assert told["script-src"] == told["connect-src"] == told["form-action"] == "'self'"
        assert told["frame-ancestors"] == told["base-uri"] == "'none'"
        assert "http" not in policy
        assert "*" not in policy
    assert SEALED.startswith("sandbox allow-scripts; default-src 'none'")
    assert "allow-same-origin" not in SEALED


def test_files_are_kept_by_their_content(house):
    """A file under the address that pages give may be kept for ever; under any other a browser asks again."""
    page = house.served.get("/").text
    links = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page))

    assert len(links) == 4
    for link in links:
        answer = house.served.get(link)
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        other = house.served.get(re.sub("/static/[0-9a-f]+/", "/static/other/", link))
        assert (other.headers["cache-control"], other.content) == ("no-cache", answer.content)


@pytest.mark.parametrize("path", ["/", "/session/{session}", "/experiments/{backtest}", "/docs", "/kill-switch", "/nowhere"])
def test_nothing_is_loaded_from_elsewhere(house, path):
    """A page names no other host: it works without a network, and everything it loads is there."""
    page = house.served.get(address(house, path)).text
    loaded = re.findall(r'<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)="([^"]+)"', page)

    assert not re.findall(r'(?:src|href|action)="(?:https?:)?//', page)
    assert len(loaded) >= 4
    for link in loaded:
        assert house.served.get(html.unescape(link)).status_code == 200, link


def test_the_api_s_description_works_without_a_network(house):
    """Scripts and styles of /docs come from here; the validator on the internet is switched off."""
    page = house.served.get("/docs").text
    script = next(link for link in re.findall(r'src="([^"]+)"', page) if link.endswith("/docs.js"))

    assert "validatorUrl: null" in house.served.get(script).text
    described = house.served.json("/openapi.json")
    assert set(described["paths"]) == {
        "/api/live_sessions",
        "/api/live_sessions/stats",
        "/api/live_sessions/{session_id}",
        "/api/health",
        "/api/experiments",
        "/api/experiments/{run_id}",
        "/api/strategies/{name}",
        "/api/gates",
        "/api/gates/archive",
        "/api/gates/{strategy}/{version}",
        "/api/safety",
        "/api/incidents",
        "/api/incidents/{name}",
        "/api/drills",
        "/api/runbooks",
        "/api/runbooks/{name}",
    }
    assert all(set(operations) == {"get"} for operations in described["paths"].values())
    assert not re.search(r'"https?://', json.dumps(described))


# ---- languages -------------------------------------------------------------------------------------------------------


def test_languages(house):
    """A page is in the language asked for last: by the switch, by its cookie, or by the browser."""
    switched = house.served.get("/?mode=shadow&lang=de")
    cookie = switched.headers["set-cookie"]

    assert (switched.headers["content-language"], '<html lang="de">' in switched.text) == ("de", True)
    assert switched.headers["vary"] == "Accept-Language, Cookie"
    assert all(part in cookie for part in ("peak_trade_language=de", "HttpOnly", "SameSite=strict", "Path=/", "Max-Age="))
    assert house.served.get("/", headers={"cookie": "peak_trade_language=de"}).headers["content-language"] == "de"
    asked = house.served.get("/", headers={"accept-language": "de-AT,en;q=0.5"})
    assert (asked.headers["content-language"], "set-cookie" in asked.headers) == ("de", False)
    house.served.client.cookies.clear()
    assert house.served.get("/").headers["content-language"] == "en"


def test_the_switch_keeps_the_page(house):
    """The link to the other language leads to the same question in that language."""
    page = house.served.get("/?mode=shadow&sort=account").text
    link = html.unescape(re.search(r'<a href="([^"]+)" lang="de"', page)[1])

    other = house.served.get(link)
    house.served.client.cookies.clear()

    assert "mode=shadow" in link
    assert "sort=account" in link
    assert other.headers["content-language"] == "de"
    assert listed(other.text) == listed(page)


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_the_server_ends_when_told_to(project, number):
    """The command says where it listens, and ends at once when told to, also while pages are open."""
    with project.start("dashboard", "--port", "0") as process:
        try:
            line = process.stderr.readline()
            host, port = re.fullmatch(r"dashboard: http://(127\.0\.0\.1):(\d+)/ \(Ctrl\+C ends it\)\n", line).groups()
            with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as page:
                page.sendall(f"GET /events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                answer = page.makefile("rb")
                assert any(line == b"retry: 2000\n" for line in answer)
                process.send_signal(number)
                assert process.wait(PATIENCE_S) in (0, -number)
                answer.close()
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()


def test_a_port_that_is_taken(project):
    """A port that another program has is refused in one sentence that says what to do."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ended = project.run("dashboard", "--port", str(other.getsockname()[1]))

    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert "give another --port" in ended.err
