"""The dashboard under attack: hostile texts, paths, headers and addresses get nothing but themselves back, as text."""

import asyncio
import html
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest
from tests.contract.rows import IDS, a_run
from tests.dashboard import Served, hidden, serving
from tests.e2e.houses import QUICK, at_home, configure, put
from tests.paths import ROOT

from peak_trade.compose import Parts
from peak_trade.journal.run import RunStatus
from peak_trade.runs.overview.dashboard import app_over
from peak_trade.settings import PATH_VARIABLE, load_config

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)' x='",
    "</title></textarea></style><svg onload=alert(1)>",
    "javascript:alert(1)",
    "{{7*7}}${7*7}#{7*7}<%= 7*7 %>",
    "%s %(x)s %n %d 100%",
    "{} {0} {x!r} {0.__class__}",
    "\u202egnp.exe\u2066\u200f",
    "a\u2028b\u0085c\x1b[31m",
    "A\r\nSet-Cookie: a=b\r\n\r\n<b>",
    "../../../../etc/passwd",
    "'; drop table runs; --",
    "&lt;b&gt;&amp;amp;",
    "😀 ключ \uff4c\uff4f",
]
IDS_OF_HOSTILE = [f"hostile {number}" for number in range(len(HOSTILE))]
PAGES = ["/", "/experiments", "/kill-switch", "/docs", "/nowhere"]
PATIENCE_S = 30.0


class Anatomy(HTMLParser):
    """What a page is made of: its elements with their attributes, and its text without those."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.text += data

    def harm(self) -> list[object]:
        """Return whatever could run, load or lead to something that is not ours."""
        found: list[object] = [tag for tag in self.tags if any(name.startswith("on") for name in tag[1])]
        found += [tag for tag in self.tags if tag[0] == "script" and not tag[1].get("src", "").startswith("/static/")]
        found += [tag for tag in self.tags if tag[0] in ("img", "object", "embed", "base", "meta") and "http-equiv" in tag[1]]
        found += [tag for tag in self.tags if tag[0] in ("img", "object", "embed", "base")]
        for _, attributes in self.tags:
            links = [attributes[name] for name in ("href", "src", "action", "formaction") if name in attributes]
            found += [link for link in links if not re.match(r"(/(?!/)|\?|#|$)", link)]
        return found


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _handle: None)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A dashboard with hostile sessions and runs of every kind beside an ordinary one."""
    folder = tmp_path_factory.mktemp("hostile")
    with at_home(folder):
        configure(folder, "dashboard", page_size=100)
        with serving(str(folder / "config.toml")) as made:
            put(made.parts, "failed", "main", notes="ordinary", error="it broke")
            for number, text in enumerate(HOSTILE):
                hostile(made.parts, number, text)
            yield made


def hostile(parts: Parts, number: int, text: str) -> None:
    """Register a session and a run that say a text wherever they can."""
    objects = {"params": {text: text, "n": {text: [text]}}, "versions": {text: text}}
    objects["spec"] = {"terms": {text: text}, "grid": {text: [text]}, text: text}
    words = {"strategy": text, "tags": (text,), "env_name": text, "code_version": text, "timeframe": text}
    words |= {"dataset_sha256": text, "config_sha256": text, "symbol": f"{text}/{text}"}
    put(
        parts,
        "failed",
        f"{text} {number}",
        ("live_session_shadow", "live_session_live")[number % 2],
        **words,
        **objects,
        notes=text,
        tier=text,
        host=text,
        journal=text,
        continues=text,
        feed={"kind": text, "quote": text, "datasets": {text: {"origin": text, "notes": [text], "accepted": [text]}}},
        cli_args=("run", text),
        error=text,
        metrics={"realized_pnl": 1.0, text[:40]: 2.0},
        summary={
            "quote": text,
            "mode_at_end": text,
            "blocked_by_code": {text: 3},
            "incidents": [{"at": text, "code": text, "what": text}],
        },
    )
    parts.registry.add(a_run(run_id=IDS.next_run(), **words, **objects, error=text, status=RunStatus.FAILED))


def sessions(served: Served) -> list[dict[str, object]]:
    """Return all sessions of the API."""
    return served.json("/api/live_sessions?limit=1000")["sessions"]


# ---- hostile texts ---------------------------------------------------------------------------------------------------


def test_hostile_texts_in_the_lists(served):
    """On the pages that list, each text stands as it is, and nothing of it has become a part of the page."""
    for path in ("/", "/?sort=-strategy", "/?unhandled=1", "/experiments", "/experiments?sort_by=sharpe"):
        page = Anatomy(served.get(path).text)
        assert page.harm() == [], path
        for text in HOSTILE if "sort_by" not in path else ():
            assert text.split("\r")[0].strip() in page.text, (path, text)


@pytest.mark.parametrize("text", HOSTILE, ids=IDS_OF_HOSTILE)
def test_a_hostile_session(served, text):
    """Its page, its form, its charts and its JSON show a hostile session as text, every word of it."""
    name = next(row["session_id"] for row in sessions(served) if row["notes"] == text)

    for path in (f"/session/{name}", f"/session/{name}/acknowledge", f"/session/{name}?lang=de"):
        answer = served.get(path)
        page = Anatomy(answer.text)
        assert (answer.status_code, page.harm()) == (200, []), path
        assert "set-cookie: a=b" not in str(answer.headers).lower()
        assert text.replace("\r\n", "\n") in page.text.replace("\r\n", "\n")
    served.client.cookies.clear()
    told = served.json(f"/api/live_sessions/{name}")
    assert (told["notes"], told["strategy"], told["tags"], told["error"], told["tier"]) == (text,) * 2 + ([text],) + (text,) * 2
    assert told["params"] == {text: text, "n": {text: [text]}}
    charts = served.get(f"/session/{name}/charts")
    assert (charts.status_code, charts.headers["content-type"]) == (200, "application/json")


@pytest.mark.parametrize("text", HOSTILE, ids=IDS_OF_HOSTILE)
def test_a_hostile_run(served, text):
    """A run's page and the comparison with another show every word as text."""
    runs = served.parts.registry.find(_everything(), 1_000)
    name = next(str(run.run_id) for run in runs if run.strategy == text and run.run_type == "backtest")
    other = next(str(run.run_id) for run in runs if run.strategy != text)

    for path in (f"/experiments/{name}", f"/experiments/compare?first={name}&second={other}"):
        answer = served.get(path)
        page = Anatomy(answer.text)
        assert (answer.status_code, page.harm()) == (200, []), path
        assert text.replace("\r\n", "\n") in page.text.replace("\r\n", "\n")


@pytest.mark.parametrize("text", HOSTILE, ids=IDS_OF_HOSTILE)
def test_hostile_questions(served, text):
    """A hostile filter is refused or finds what says it; it comes back as text, in fields and links too."""
    for name in ("strategy", "tag", "text", "mode", "sort", "after", "since", "account", "lang"):
        for path in ("/", "/experiments"):
            answer = served.get(path, params={name: text})
            assert answer.status_code in (200, 400), (path, name)
            assert Anatomy(answer.text).harm() == [], (path, name)
            assert "49" not in re.findall(r'value="(\d+)\$', answer.text)
        api = served.get("/api/live_sessions", params={name: text})
        assert (api.status_code in (200, 400, 422), "json" in api.headers["content-type"]) == (True, True)
    found = served.json("/api/live_sessions", params={"strategy": text}) if text.isprintable() else {"sessions": [1]}
    assert len(found["sessions"]) == 1
    served.client.cookies.clear()


def test_hostile_texts_in_figures_for_prometheus(served):
    """A text in a label is one label's value, and ends no line."""
    for text in HOSTILE:
        put(served.parts, "started", f"running {text}", strategy=text)
    lines = served.get("/metrics").text.removesuffix("\n").split("\n")

    assert all(re.match(r"#|peak_trade_\w+(\{.*\})? [-+.\deE]+$", line) for line in lines)
    assert sum(line.startswith("peak_trade_session_lease_seconds{") for line in lines) == len(HOSTILE)


@pytest.mark.parametrize("text", HOSTILE, ids=IDS_OF_HOSTILE)
def test_a_hostile_kill_switch(served, text):
    """Who turned the kill switch on, and why, is shown as text on every page and in health."""
    served.parts.kill_switch.trip(text, text, served.parts.clock.now())
    try:
        for path in (*PAGES, "/session/latest"):
            assert Anatomy(served.get(path).text).harm() == [], path
        assert text.replace("\r\n", "\n") in Anatomy(served.get("/kill-switch").text).text.replace("\r\n", "\n")
        assert text in next(
            row["found"] for row in served.json("/api/health")["components"] if row["component"] == "kill switch"
        )
    finally:
        served.parts.kill_switch.release()


@pytest.mark.parametrize("name", ["<script>alert(1)<script>", "a'\"b", "x onload=y", "%2e%2e", "{{7*7}}", "é", "..", "latest"])
def test_hostile_ids(project, name):
    """A session whose id was changed in the registry is shown as damaged, and its id as text."""
    with serving() as served:
        put(served.parts, "failed", "ordinary")
        session = replace(served.parts.sessions.get("latest").run, run_id=name, tags=())
        import sqlite3

        with closing(sqlite3.connect(project.folder / "var" / "registry.db")) as connection:
            connection.execute("PRAGMA foreign_keys = OFF")
            for table, key in (
                ("runs", "run_id"),
                ("sessions", "session_id"),
                ("session_list", "session_id"),
                ("tags", "run_id"),
            ):
                connection.execute(f"update {table} set {key} = ?", (name,))
            connection.commit()

        for path in ("/", "/experiments", f"/session/{quote(name, safe='')}"):
            page = Anatomy(served.get(path).text)
            assert page.harm() == [], path
            assert name in page.text, path
        rows = sessions(served)
        assert [(row["session_id"], row["status"]) for row in rows] in ([(name, "damaged")], [(name, "failed")])
        assert session.run_id == name
        assert served.get("/metrics").status_code == 200


def test_very_long_texts(project):
    """A note of a million letters, and long words without a space, take no page down."""
    with serving() as served:
        name = put(served.parts, "failed", notes="n" * 1_000_000, error="e" * 100_000, tags=("t" * 64,), strategy="s" * 255)

        assert len(served.get("/").text) < 100_000
        assert "n" * 1_000_000 in served.get(f"/session/{name}").text
        assert len(served.json(f"/api/live_sessions/{name}")["notes"]) == 1_000_000
        first = served.json("/api/live_sessions?limit=1&sort=strategy")
        put(served.parts, "failed", "other", strategy="ü" * 255)
        page = served.get("/?sort=strategy").text
        assert first["next_cursor"] is None
        cursor = served.json("/api/live_sessions?limit=1&sort=-strategy")["next_cursor"]
        assert (
            len(served.json("/api/live_sessions", params={"limit": 1, "sort": "-strategy", "cursor": cursor})["sessions"]) == 1
        )
        assert served.get("/", params={"sort": "-strategy", "after": cursor}).status_code == 200
        assert Anatomy(page).harm() == []


def test_zero_bytes(served):
    """A zero byte in a text that came past our code hides nothing and ends nothing."""
    put(served.parts, "failed", "zero", strategy="a\0b<script>", notes="kept\0out")

    for path in ("/", "/experiments", "/session/latest", "/api/live_sessions"):
        answer = served.get(path)
        assert answer.status_code == 200
        assert "<script>" not in answer.text or path.startswith("/api/")


# ---- paths -----------------------------------------------------------------------------------------------------------

TRICKS = [
    "/static/../../../../../../etc/passwd",
    "/static/x/../../../config.toml",
    "/static/%2e%2e/%2e%2e/config.toml",
    "/static/x/%2e%2e%2f%2e%2e%2fconfig.toml",
    "/static/x/..%5c..%5cconfig.toml",
    "/static/x//etc/passwd",
    "/static/x/dashboard.js%00.txt",
    "/static//dashboard.js",
    "/static/x/",
    "/session/..%2f..%2fetc%2fpasswd",
    "/session/%2e%2e",
    "/session/..",
    "/session/%00",
    "/session/%0d%0aSet-Cookie:a=b",
    "/session/%25",
    "/session/______________________________",
    "/session/%25%25%25%25%25",
    "/session/*",
    "/session/' or 1=1 --".replace(" ", "%20"),
    "/session/%F0%9F%98%80%F0%9F%98%80",
    "/session/%ff%fe",
    "/session/",
    "/session//",
    "/session/x/../../..",
    "/experiments/..%2f..%2fconfig.toml/report",
    "/experiments/%2e%2e/report",
    "/experiments/latest:..%2f..",
    "/api/live_sessions/..%2f..",
    "/api/live_sessions/%00",
    "/api/../config.toml",
    "/config.toml",
    "/var/registry.db",
    "/.git/config",
    "/../../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "//etc/passwd",
    "///",
    "/;/",
    "/kill-switch;x",
    "/\\evil.example",
    "/experiments/",
    "/api/health/",
    "/EXPERIMENTS",
]


@pytest.mark.parametrize("target", TRICKS)
def test_paths_lead_nowhere(served, target):
    """A path that is none of ours is not found, says nothing of files, and leads to no other host."""
    status, answer = served.line(target)

    assert status == 404
    for secret in ("root:", "[environment]", "SQLite format", "[core]", "Traceback"):
        assert secret not in answer
    head, _, body = answer.partition("\r\n\r\n")
    assert "\nlocation:" not in head.lower()
    assert "set-cookie" not in head.lower()
    if "text/html" in head:
        assert Anatomy(body).harm() == []


@pytest.mark.parametrize(
    "target", ["//evil.example/x", "//evil.example", "///evil.example", "/%2f/evil.example", "/\\/evil.example"]
)
def test_no_path_is_a_host(served, target):
    """A path that looks like a host gets no link and no redirect to it."""
    status, answer = served.line(f"{target}?lang=de")
    head, _, body = answer.partition("\r\n\r\n")

    assert status == 404
    assert "\nlocation:" not in head.lower()
    assert Anatomy(body).harm() == []


@pytest.mark.parametrize(
    ("target", "statuses"),
    [
        ("/session/" + "x" * 50_000, {404}),
        ("/?text=" + "x" * 50_000, {400}),
        ("/?" + "a=b&" * 10_000, {200}),
        ("/" + "/" * 30_000, {404}),
        ("/" + "%2e%2e/" * 8_000, {404}),
        ("/session/" + "x" * 2_000_000, {400, 431}),
        ("http://evil.example/", {404}),
        ("*", {400, 404}),
        ("/\xff", {400}),
        ("/?a=\xff", {400}),
        ("/a b", {400}),
        ("/#/x", {404, 400}),
    ],
    ids=str,
)
def test_absurd_targets(served, target, statuses):
    """Targets that are absurdly long, or no targets, are refused, and the server goes on."""
    try:
        status, answer = served.line(target)
        assert status in statuses
        assert "Traceback" not in answer
    except (ConnectionError, BrokenPipeError):
        assert len(target) > 100_000  # the server had read enough
    assert served.get("/").status_code == 200


# ---- headers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "localhost.evil.example:{port}",
        "127.0.0.1.evil.example",
        "evil.example@localhost",
        "localhost:{port}@evil.example",
        "localhost:evil",
        "localhost, evil.example",
        "[::1]evil.example",
        "[::ffff:127.0.0.1]",
        "0.0.0.0:{port}",
        "192.168.1.7",
        "127.0.0.2",
        "",
    ],
)
def test_foreign_host_names(served, host):
    """A name that is not this machine's, as a foreign site's that resolves to loopback, is not answered."""
    named = host.format(port=served.url.rpartition(":")[2])

    for target in ("/", "/api/live_sessions", "/events", "/kill-switch", "/static/x/dashboard.js"):
        status, answer = served.line(target, f"Host: {named}", host=None)
        assert status in (421, 400), target
        assert "ordinary" not in answer


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "localhost.", "[::1]:99", "127.0.0.1"])
def test_own_host_names(served, host):
    """The names of this machine are answered, whatever the port."""
    assert served.line("/api/health", host=host)[0] == 200


def test_no_host_and_two(served):
    """A request without a host is not answered, nor is one with two."""
    own = f"Host: {served.url.removeprefix('http://')}"

    assert served.line("/", host=None)[0] == 400
    assert served.raw("GET / HTTP/1.0\r\n\r\n").split(b" ", 2)[1] == b"421"
    for headers in ((own, "Host: evil.example"), ("Host: evil.example", own)):
        assert served.line("/", *headers, host=None)[0] == 400


@pytest.mark.parametrize(
    "headers",
    [
        ("X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.example"),
        ("Forwarded: for=1.2.3.4;host=evil.example;proto=https",),
        ("X-Original-URL: /kill-switch/confirmed", "X-Rewrite-URL: /kill-switch/confirmed"),
        ("X-HTTP-Method-Override: POST",),
        ("X-Forwarded-Prefix: //evil.example", "X-Script-Name: //evil.example"),
    ],
)
def test_headers_of_proxies_change_nothing(served, headers):
    """What a proxy may say is not believed: the answer is the same, and names no other host."""
    plain, told = (served.line("/nowhere", *more)[1].partition("\r\n\r\n") for more in ((), headers))

    assert "evil.example" not in told[0] + told[2]
    assert re.sub(r"\d", "", told[2]) == re.sub(r"\d", "", plain[2])


def test_headers_that_are_none(served):
    """Header lines with line ends, zero bytes, or without end are refused."""
    for line in ("X: a\0b", "X: a\r b", ": x", "X Y: z", "X: " + "x" * 200_000):
        try:
            assert served.line("/", line)[0] in (400, 431), line[:20]
        except ConnectionError:
            assert len(line) > 100_000  # the server had read enough
    assert served.get("/").status_code == 200


def test_smuggled_requests(served):
    """A request hidden behind two lengths is not answered as a second one."""
    host = served.url.removeprefix("http://")
    inner = f"GET /api/live_sessions HTTP/1.1\r\nHost: {host}\r\n\r\n"
    for line in (
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
    ):
        answer = served.raw(
            f"POST /kill-switch HTTP/1.1\r\nHost: {host}\r\n{line}\r\nConnection: close\r\n\r\n0\r\n\r\n{inner}"
        )
        assert answer.count(b"HTTP/1.1 ") == 1
        assert answer.split(b" ", 2)[1] in (b"400", b"413", b"501")


def test_no_upgrades(served):
    """Nobody gets another protocol."""
    upgrade = (
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==",
        "Sec-WebSocket-Version: 13",
    )

    for target in ("/", "/api/health"):
        assert served.line(target, *upgrade)[0] == 200


def test_languages_that_are_none(served):
    """A language that is none sets no cookie and splits no header."""
    for lang in ("xx", "de\r\nSet-Cookie: a=b", "de%0d%0aSet-Cookie:a=b", "../de", "DE", "de;x", "<script>"):
        answer = served.get("/", params={"lang": lang}, headers={"accept-language": "x" * 3_000})
        assert (answer.status_code, "set-cookie" in answer.headers) == (200, False)
        assert answer.headers["content-language"] == "en"


def test_a_page_of_another_site_learns_nothing(served):
    """No answer may be read by another origin, whatever it asks for and however."""
    for headers in ({"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        for path in ("/", "/api/live_sessions", "/metrics", "/events"):
            with served.client.stream("GET", path, headers=headers) as answer:
                assert not [name for name in answer.headers if name.startswith("access-control")]
                assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        asked = served.client.options("/api/live_sessions", headers=headers | {"access-control-request-method": "GET"})
        assert asked.status_code == 403


# ---- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.7", "example.org", "10.0.0.1", "::ffff:10.0.0.1", "0", "*"])  # noqa: S104
def test_listening_on_a_network_is_refused(project, host):
    """Without a TLS proxy and operators no address but loopback is listened on: refused with exit code 3, in one sentence."""
    ended = project.run("dashboard", "--host", host, "--port", "0")

    assert (ended.code, len(ended.err.splitlines())) == (3, 1)
    assert "expected a loopback address such as 127.0.0.1 to listen on" in ended.err


def test_listening_as_configured_is_refused(project):
    """The same address in the configuration is refused in the same way."""
    configure(project.folder, "dashboard", host='"0.0.0.0"')

    assert project.run("dashboard").code == 3


def test_listening_behind_a_proxy_needs_an_operator(project):
    """A TLS proxy is not enough: without an operator nobody could be let in."""
    configure(project.folder, "dashboard", behind_tls_proxy=True)
    for _ in range(2):
        ended = project.run("dashboard", "--host", "0.0.0.0", "--port", "0")  # noqa: S104
        assert (ended.code, "expected an operator before listening" in ended.err) == (3, True)
        project.run("operator", "add", "maria")
        project.run("operator", "revoke", "maria")


@pytest.mark.parametrize("address", ["192.168.1.7", "10.0.0.1", "[2001:db8::1]"])
def test_asked_on_a_network_address(project, address):
    """A request that arrives on another address is refused before anything is looked at, whatever server was started."""
    with closing(Parts(load_config())) as parts:
        transport = httpx2.ASGITransport(app=app_over(parts))

        async def asked() -> list[int]:
            async with httpx2.AsyncClient(transport=transport, base_url=f"http://{address}") as client:
                paths = ("/", "/api/health", "/events", "/static/x/icon.svg", "/nowhere", "/metrics")
                return [(await client.get(path, headers={"host": "localhost"})).status_code for path in paths]

        assert asyncio.run(asked()) == [403] * 6


@pytest.mark.parametrize("server", [None, ("", 80), ("192.168.1.7", 80), ("0.0.0.0", 80)])  # noqa: S104
def test_asked_on_an_address_that_is_not_told(project, server):
    """Where a server does not tell the address, it is not taken for loopback."""
    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b"", "scheme": "http"}
    scope |= {"headers": [(b"host", b"localhost")], "server": server, "client": ("127.0.0.1", 1), "http_version": "1.1"}
    with closing(Parts(load_config())) as parts:
        asyncio.run(app_over(parts)(scope, None, send))

    assert sent[0]["status"] == 403


ASK = """
import http.client, json, socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    try:
        probe.connect(("192.0.2.1", 9))  # nothing is sent: the system only says which address it would use
        own = probe.getsockname()[0]
    except OSError:
        own = "127.0.0.1"
def status(host):
    connection = http.client.HTTPConnection(host, int(sys.argv[1]), timeout=20)
    connection.request("GET", "/api/health", headers={"Host": "localhost"})
    return connection.getresponse().status
print(json.dumps({"own": own, "loopback": status("127.0.0.1"), "network": status(own)}))
"""


@pytest.mark.slow
def test_a_server_on_all_addresses(project):
    """Also where uvicorn itself listens on every address only loopback is answered."""
    environment = os.environ | {PATH_VARIABLE: str(project.folder / "config.toml")}
    command = [sys.executable, "-m", "uvicorn", "src.webui.app:app", "--host", "0.0.0.0", "--port", "0"]  # noqa: S104
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as server:
        try:
            lines = iter(server.stderr.readline, "")
            port = next(found[1] for line in lines if (found := re.search(r"running on http://0\.0\.0\.0:(\d+)", line)))
            told = subprocess.run(
                [sys.executable, "-c", ASK, port], capture_output=True, text=True, timeout=PATIENCE_S, check=True
            )
        finally:
            server.terminate()
    found = json.loads(told.stdout)

    assert found["loopback"] == 200
    if found["own"].startswith("127."):
        pytest.skip("this machine has no address but loopback")
    assert found["network"] == 403


# ---- behind a TLS proxy ----------------------------------------------------------------------------------------------

SAMPLE = ["/", "/api/live_sessions", "/api/health", "/metrics", "/events", "/docs", "/openapi.json", "/kill-switch", "/nowhere"]
SAMPLE += ["/static/x/dashboard.js", "/session/latest", "/experiments"]


@pytest.fixture
def proxied(project) -> Iterator[Served]:
    """A dashboard that a TLS proxy is in front of, reached as trade.example.org."""
    configure(project.folder, "dashboard", behind_tls_proxy=True, hosts='["Trade.example.org"]')
    with serving() as made:
        made.client.headers["host"] = "trade.example.org"
        yield made


def statuses(served: Served, **headers: str) -> set[int]:
    """Return the statuses of a sample of addresses."""
    found = set()
    for path in SAMPLE:
        with served.client.stream("GET", path, headers=headers) as answer:
            found.add(answer.status_code)
    return found


def test_nothing_without_an_operator(proxied):
    """While there is no operator nothing is answered, not even a file or an error page."""
    assert statuses(proxied) == statuses(proxied, authorization="Bearer x") == {403}
    assert proxied.get("/").json()["title"] == "No operator yet"


def test_nothing_without_a_token(proxied):
    """Every address asks for a token, and says how one is given."""
    proxied.operator()

    assert statuses(proxied) == {401}
    answer = proxied.get("/nowhere")
    assert answer.headers["www-authenticate"] == 'Basic realm="Peak_Trade", charset="UTF-8"'
    assert answer.headers["content-type"] == "application/problem+json"
    for given in ("Bearer wrong", "Basic !!!", "Basic " + "A" * 1_000, "Digest x", "Bearer"):
        assert proxied.get("/", headers={"authorization": given}).status_code == 401


def test_with_a_token(proxied):
    """The token as a password of any user, or as a bearer token, opens everything."""
    token = proxied.operator()

    for options in ({"auth": ("anyone", token)}, {"auth": ("", token)}, {"headers": {"authorization": f"Bearer {token}"}}):
        assert [proxied.get(path, **options).status_code for path in ("/", "/api/health", "/docs")] == [200] * 3
    assert statuses(proxied, authorization=f"bearer {token}") == {200, 404}
    for wrong in ({"auth": (token, "")}, {"params": {"token": token}}, {"headers": {"cookie": f"token={token}"}}):
        assert proxied.get("/", **wrong).status_code == 401


def test_a_revoked_operator_is_out(project, proxied):
    """With a revoked token nothing is answered; with the last one revoked nothing at all."""
    gone, left = proxied.operator("maria"), proxied.operator("kim")
    assert statuses(proxied, authorization=f"Bearer {gone}") == {200, 404}

    assert project.run("operator", "revoke", "maria").code == 0
    assert proxied.get("/", headers={"authorization": f"Bearer {gone}"}).status_code == 401
    assert statuses(proxied, authorization=f"Bearer {left}") == {200, 404}
    assert project.run("operator", "revoke", "kim").code == 0
    assert statuses(proxied, authorization=f"Bearer {left}") == {403}


def test_guessing_ends_after_ten(proxied):
    """After ten wrong tokens not even the right one is looked at for a minute."""
    token = proxied.operator()
    for number in range(10):
        assert proxied.get("/", auth=("x", f"wrong {number}")).status_code == 401

    assert proxied.get("/", auth=("x", token)).status_code == 401


def test_only_the_hosts_that_are_listed(proxied):
    """Only the proxy's names and this machine's are answered, with or without a token."""
    token = proxied.operator()

    for host, status in (("trade.example.org", 200), ("TRADE.example.org:443", 200), ("localhost", 200), ("evil.example", 421)):
        assert proxied.get("/", headers={"host": host, "authorization": f"Bearer {token}"}).status_code == status


def test_acting_behind_a_proxy(project, proxied):
    """An action asks for the token again, in the form; cookies go over TLS only, and the origin is the proxy's."""
    token = proxied.operator()
    proxied.client.headers["authorization"] = f"Bearer {token}"
    opened = proxied.get("/kill-switch")
    cookie = opened.headers["set-cookie"]
    assert cookie.endswith("; Secure")
    assert proxied.get("/?lang=de").headers["set-cookie"].endswith("; Secure")
    headers = {"origin": "https://trade.example.org", "cookie": cookie.split(";")[0]}

    form = hidden(opened.text)
    assert proxied.post("/kill-switch", form | {"why": "a test"}, headers=headers).status_code == 403
    asked = proxied.post("/kill-switch", form | {"why": "a test", "token": token}, headers=headers)
    foreign = headers | {"origin": "https://evil.example.org"}
    assert proxied.post("/kill-switch/confirmed", hidden(asked.text), headers=foreign).status_code == 403
    assert proxied.post("/kill-switch/confirmed", hidden(asked.text), headers=headers).status_code == 303
    assert project.run("kill", "--status").code == 1


def test_strangers_learn_nothing_of_a_fault(project, proxied):
    """Where tokens can't be looked up a stranger is told so, and neither paths nor the state of the installation."""
    token = proxied.operator()
    Path(project.folder / "var" / "registry.db").write_bytes(b"no database" * 5_000)

    for headers in ({"authorization": f"Bearer {token}"}, {"authorization": "Bearer x"}):
        for path in SAMPLE:
            answer = proxied.get(path, headers=headers)
            assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
            assert not re.search(r"registry\.db|Kill|shadow|" + re.escape(str(project.folder)), answer.text)
            assert answer.headers["x-content-type-options"] == "nosniff"


# ---- faults ----------------------------------------------------------------------------------------------------------


def test_a_fault_of_ours_says_nothing_of_the_inside(project, monkeypatch):
    """What nobody expected is one sentence with the usual headers, in the kind that was asked for; the rest goes on."""

    def fails(*_given: object) -> None:
        raise ZeroDivisionError("the inside: /secret/place")

    with serving() as served:
        monkeypatch.setattr("peak_trade.journal.sessions.Sessions.page", fails)
        for path, kind in (("/", "text/html"), ("/api/live_sessions", "application/problem+json")):
            # After a fault the server closes the connection.
            answer = served.get(path, headers={"connection": "close"})
            assert (answer.status_code, answer.headers["content-type"].startswith(kind)) == (500, True)
            assert "internal fault (ZeroDivisionError)" in html.unescape(answer.text)
            assert "secret" not in answer.text
            assert "Traceback" not in answer.text
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert 'status="500"' in served.get("/metrics").text
        assert served.get("/experiments").status_code == 200


def test_a_server_that_is_asked_too_much(served):
    """Two hundred connections that say nothing keep nobody else waiting."""
    import socket

    host, port = served.url.removeprefix("http://").split(":")
    idle = [socket.create_connection((host, int(port)), timeout=10) for _ in range(200)]
    try:
        began = time.monotonic()
        assert served.get("/api/health").status_code == 200
        assert time.monotonic() - began < PATIENCE_S
    finally:
        for connection in idle:
            connection.close()


def test_quick_sessions_are_still_possible(project):
    """What the dashboard serves of a hostile note is what the command was given."""
    note = HOSTILE[0] + HOSTILE[5]
    assert project.run(*QUICK, "--notes", note, "--tag", "a<b>").code == 0

    with serving() as served:
        assert served.json("/api/live_sessions/latest")["notes"] == note
        page = Anatomy(served.get("/session/latest").text)
        assert (page.harm(), note in page.text, "a<b>" in page.text) == ([], True, True)


def _everything() -> object:
    from peak_trade.journal.registry import RunFilter

    return RunFilter()
