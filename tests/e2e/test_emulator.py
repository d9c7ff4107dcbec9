"""The emulator as a process and a server: faults of the transport, the control interface, and the commands."""

import base64
import contextlib
import itertools
import json
import re
import signal
import stat
import threading
import time
from urllib.parse import urlencode

import httpx2
import pytest
from starlette.testclient import TestClient
from tests.emulated import emulating, until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from peak_trade.emulator import server
from peak_trade.emulator.signing import signature

NONCES = itertools.count(time.time_ns())
ORDER = {"pair": "XBTUSD", "type": "buy", "ordertype": "limit", "volume": "0.01", "price": "80000.0"}


@pytest.fixture(scope="module")
def emulated():
    with emulating() as found:
        yield found


@pytest.fixture
def client(emulated):
    """A raw client with a key of its own; faults end with it."""
    found = Client(emulated)
    with found.opened:
        yield found
    emulated.inside(lambda: emulated.opened.emulator.faults.clear(emulated.clock()))
    found.http.close()


class Client:
    """Signs what it sends, and nothing more."""

    def __init__(self, emulated):
        self.emulated, self.key = emulated, emulated.key()
        self.opened = contextlib.ExitStack()
        self.http = httpx2.Client(base_url=emulated.url, timeout=10, trust_env=False)

    def post(self, method, timeout=10, **params):
        nonce, path = str(next(NONCES)), f"/0/private/{method}"
        body = urlencode({**params, "nonce": nonce})
        sign = base64.b64encode(signature(self.key.secret, path, nonce, body.encode())).decode()
        headers = {"API-Key": self.key.id, "API-Sign": sign, "Content-Type": "application/x-www-form-urlencoded"}
        return self.http.post(path, content=body, headers=headers, timeout=timeout)

    def fault(self, name, **told):
        told = {"name": name, "match": {"key": self.key.name}, **told}
        return self.control("POST", "faults", json=told).raise_for_status().json()

    def control(self, method, path, **more):
        headers = {"X-Control-Token": self.emulated.opened.control_token}
        return self.http.request(method, f"/_ctl/{path}", headers=headers, **more)

    def open(self):
        """Return how many orders work."""
        working = self.emulated.opened.engine.working
        return self.emulated.inside(lambda: len(working[self.key.account]))

    def connects(self):
        """Open a connection and close it again."""
        with self.line():
            pass

    def line(self, path="/v2"):
        return connect(self.emulated.stream + path, proxy=None, close_timeout=1)


# ---- calls ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "placed"), [("rest.timeout_before", 0), ("rest.timeout_after", 1)])
def test_no_answer_in_time(client, name, placed):
    """The client's own timeout ends the call; the order is there once, or not at all; the next call is answered."""
    client.fault(name, args={"seconds": 1.5})
    with pytest.raises(httpx2.ReadTimeout):
        client.post("AddOrder", timeout=0.3, **ORDER)

    assert client.open() == placed
    assert client.post("AddOrder", **ORDER).json()["error"] == []
    assert client.open() == placed + 1


def test_silence_ends_in_a_reset(client):
    """Who waits long enough sees the connection end without an answer."""
    client.fault("rest.timeout_after", args={"seconds": 0.2})
    with pytest.raises(httpx2.TransportError):
        client.post("AddOrder", **ORDER)

    assert client.open() == 1


@pytest.mark.parametrize(("name", "placed"), [("rest.reset_before", 0), ("rest.reset_after", 1)])
def test_reset(client, name, placed):
    """The connection is reset; the order is there once, or not at all."""
    client.fault(name)
    with pytest.raises((httpx2.ReadError, httpx2.RemoteProtocolError)):
        client.post("AddOrder", **ORDER)

    assert client.open() == placed


def test_accepted_order_is_in_the_log_first(client):
    """A test that kills its client when an order was accepted finds that in the log while the client still waits."""
    client.fault("rest.timeout_after", args={"seconds": 1.0})
    after = client.control("GET", "log").json()["lines"][-1]["number"]
    with pytest.raises(httpx2.ReadTimeout):
        client.post("AddOrder", timeout=0.2, **ORDER, cl_ord_id="crash-1")
    lines = client.control("GET", f"log?after={after}&wait_s=5").json()["lines"]

    assert [line["cl_ord_id"] for line in lines if line["what"] == "order accepted"] == ["crash-1"]


def test_truncated_body(client):
    """Head and half of a body arrive, and then the end."""
    client.fault("rest.reset_after", args={"cut": "truncated"})
    with pytest.raises(httpx2.RemoteProtocolError, match=r"incomplete|peer closed"):
        client.post("AddOrder", **ORDER)

    assert client.open() == 1


@pytest.mark.parametrize("status", [502, 503, 504, 520, 522, 524])
@pytest.mark.parametrize(("when", "placed"), [("before", 0), ("after", 1)])
def test_pages_of_cloudflares(client, status, when, placed):
    """The status and a page instead of JSON."""
    client.fault(f"rest.http_5xx_{when}", args={"status": status})
    answer = client.post("AddOrder", **ORDER)

    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert "<html>" in answer.text
    assert client.open() == placed


@pytest.mark.parametrize(("body", "text"), [("html", "<!DOCTYPE html>"), ("cut", '{"error":[],'), ("empty", "")])
def test_no_json(client, body, text):
    """Status 200 and no JSON."""
    client.fault("rest.html_200", args={"body": body})
    answer = client.post("AddOrder", **ORDER)

    assert answer.status_code == 200
    assert answer.text.startswith(text)
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|delimiter"):
        answer.json()


def test_captcha_for_a_while(client):
    """A captcha page meets every call until it is over."""
    client.fault("rest.captcha_403", for_s=60)
    assert [client.post("Balance").status_code for _ in range(3)] == [403] * 3
    client.emulated.advance(60)
    assert client.post("Balance").status_code == 200


def test_slow_call_is_applied_late(client):
    """A call whose client has gone away is applied when its wait is over."""
    client.fault("rest.slow", args={"seconds": 0.6})
    with pytest.raises(httpx2.ReadTimeout):
        client.post("AddOrder", timeout=0.2, **ORDER)
    assert client.open() == 0
    assert until(client.open) == 1


def test_overtaken_call(client):
    """Of two calls of one key the first is overtaken, and its nonce is too small then."""
    number = client.fault("auth.nonce_reorder", args={"seconds": 2.0})["id"]
    errors = []
    first = threading.Thread(target=lambda: errors.append(client.post("Balance").json()["error"]))
    first.start()

    def struck():
        # The log keeps it; a fault that struck for the last time is no longer among those that are set.
        lines = client.control("GET", "log").json()["lines"]
        return [one for one in lines if one["what"] == "fault" and one["id"] == number] or None

    until(struck)
    assert client.post("Balance").json()["error"] == []
    first.join()

    assert errors == [["EAPI:Invalid nonce"]]


def test_who_has_no_name_is_turned_away(client):
    """Without a User-Agent the answer is Cloudflare's; with any it is the exchange's."""
    request = client.http.build_request("GET", "/0/public/Time")
    del request.headers["user-agent"]
    refused = client.http.send(request)
    assert (refused.status_code, "cloudflare" in refused.text) == (403, True)

    assert client.http.get("/0/public/Time", headers={"user-agent": "x"}).json()["error"] == []


def test_faults_do_not_show(client):
    """An answer that a fault changed has the headers of every other."""
    right = client.post("Balance")
    client.fault("rest.service_busy")
    wrong = client.post("Balance")

    assert wrong.json() == {"error": ["EService:Busy"]}
    assert set(wrong.headers) == set(right.headers)
    assert wrong.status_code == right.status_code == 200


# ---- connections ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1001, 1006, 1008, 1012])
def test_drop(client, code):
    """Every connection of that address ends as said, and the other address' does not."""
    with client.line() as line, client.line("/auth/v2") as other:
        line.recv(timeout=5), other.recv(timeout=5)
        client.fault("ws.drop", args={"code": code}, match={"endpoint": "/v2"})
        with pytest.raises(ConnectionClosed) as ended:
            line.recv(timeout=5)
        assert (ended.value.rcvd.code if ended.value.rcvd else 1006) == code
        other.send('{"method":"ping"}')
        assert json.loads(other.recv(timeout=5))["method"] == "pong"


@pytest.mark.parametrize("status", [429, 403])
def test_drop_storm(client, status):
    """Connections end and none opens until it is over."""
    with client.line() as line:
        line.recv(timeout=5)
        client.fault("ws.drop_storm", args={"status": status}, match={}, for_s=30)
        with pytest.raises(ConnectionClosed):
            line.recv(timeout=5)
    with pytest.raises(InvalidStatus) as refused:
        client.line()
    assert refused.value.response.status_code == status
    client.emulated.advance(30)
    with client.line() as line:
        assert json.loads(line.recv(timeout=5))["channel"] == "status"


def test_slow_consumer(client, monkeypatch):
    """A connection for which too much waits is ended, and its messages are forgotten."""
    monkeypatch.setattr(server, "QUEUE_MAX", 50)
    emulator = client.emulated.opened.emulator
    with client.line() as line:
        line.recv(timeout=5)
        line.send('{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD","ETH/USD","SOL/USD"]}}')
        for _ in range(6):
            line.recv(timeout=5)

        def flood():
            for number in range(60):
                emulator.pass_time(client.emulated.clock() + number * 1_000_000_000)
            emulator._wake()

        client.emulated.inside(flood)

        def read_on():
            while True:
                line.recv(timeout=5)

        with pytest.raises(ConnectionClosed):
            read_on()


@pytest.mark.parametrize("frame", [b"\x00\xff", b'{"method":"ping"}', "[", "null", '{"method":5}', "x" * 70_000])
def test_frames_that_make_no_sense(client, frame):
    """Whatever comes, text or bytes, the connection answers it and stays."""
    with client.line() as line:
        line.recv(timeout=5)
        line.send(frame)
        assert json.loads(line.recv(timeout=5))["time_in"]
        line.send('{"method":"ping","req_id":3}')
        assert json.loads(line.recv(timeout=5))["req_id"] == 3


class Stream:
    """A connection to `/auth/v2` with a token of its own, or to `/v2`."""

    def __init__(self, client, path="/auth/v2"):
        self.client, self.line = client, client.opened.enter_context(client.line(path))
        self.line.recv(timeout=5)
        self.token = client.post("GetWebSocketsToken").json()["result"]["token"]

    def ask(self, number, method="add_order", **params):
        limit = {"symbol": "BTC/USD", "side": "buy", "order_type": "limit", "order_qty": 0.01, "limit_price": 80000}
        params = (limit if method == "add_order" else {}) | params | {"token": self.token}
        self.line.send(json.dumps({"method": method, "params": params, "req_id": number}))

    def answers(self, count):
        found = []
        while len(found) < count:
            message = json.loads(self.line.recv(timeout=5))
            found += [message] if "req_id" in message else []
        return found


def test_slow_stream_stays_in_order(client):
    """A trading method that waits lets the later ones of its connection wait, and nobody else's."""
    stream = Stream(client)
    client.fault("rest.slow", match={"method": "add_order", "key": client.key.name}, args={"seconds": 0.5})
    stream.ask(1)
    stream.ask(2, "cancel_all")
    assert client.post("Balance").json()["error"] == []
    assert client.open() == 0
    first, second = stream.answers(2)

    assert [one["req_id"] for one in (first, second)] == [1, 2]
    assert (first["success"], second["result"]) == (True, {"count": 1})
    assert first["time_in"] < first["time_out"]


def test_overtaken_on_a_stream(client):
    """A trading method can be overtaken by the next one of its connection."""
    stream = Stream(client)
    client.fault("auth.nonce_reorder", match={"method": "add_order"}, args={"seconds": 0.4})
    stream.ask(1)
    stream.ask(2, "cancel_all")

    assert [(one["req_id"], one["success"]) for one in stream.answers(2)] == [(2, True), (1, True)]
    assert client.open() == 1


def test_slow_stream_is_applied_though_its_client_is_gone(client):
    """An order that waits is placed after its connection ended."""
    stream = Stream(client)
    client.fault("rest.slow", match={"method": "add_order"}, args={"seconds": 0.3})
    stream.ask(1)
    until(lambda: [one for one in client.control("GET", "faults").json()["faults"] if one["struck"]] or None)
    stream.line.close()
    assert until(client.open) == 1


def test_reset_of_a_stream(client):
    """An order is applied and its connection is reset without an answer."""
    stream = Stream(client)
    client.fault("rest.reset_after", match={"method": "add_order"})
    stream.ask(1)
    with pytest.raises(ConnectionClosed) as ended:
        stream.line.recv(timeout=5)
    assert ended.value.rcvd is None
    assert client.open() == 1


def test_silence_has_no_pongs(client):
    """In silence nothing comes at all, not even a pong of the protocol's; afterwards everything does."""
    with client.line() as line:
        line.recv(timeout=5)
        line.send('{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD"]}}')
        assert line.ping().wait(5)
        number = client.fault("ws.silent", match={"endpoint": "/v2"})["id"]
        emulator = client.emulated.opened.emulator
        until(lambda: client.emulated.inside(lambda: bool(emulator._silent)))
        with contextlib.suppress(TimeoutError):
            # What was on its way already.
            while True:
                line.recv(timeout=0.4)
        pong = line.ping()
        line.send('{"method":"ping","req_id":9}')
        assert not pong.wait(0.8)
        with pytest.raises(TimeoutError):
            line.recv(timeout=0.1)
        client.control("DELETE", f"faults?id={number}")
        assert pong.wait(5)
        until(lambda: json.loads(line.recv(timeout=5)).get("req_id") == 9 or None)


def test_drop_of_one_key(client):
    """Only the connections of that key end, which is one strike however many they are."""
    mine, other = [Stream(client) for _ in range(2)], Stream(client)
    other.client = Client(client.emulated)
    client.opened.callback(other.client.http.close)
    other.token = other.client.post("GetWebSocketsToken").json()["result"]["token"]
    for one in (*mine, other):
        one.ask(1, "cancel_all")
        one.answers(1)
    number = client.fault("ws.drop", count=1)["id"]
    for one in mine:
        with pytest.raises(ConnectionClosed):
            one.line.recv(timeout=5)
    other.ask(2, "cancel_all")
    assert other.answers(1)[0]["success"] is True
    lines = [one for one in client.control("GET", "log").json()["lines"] if one["what"] == "fault" and one["id"] == number]
    assert [len(one["connections"]) for one in lines] == [2]


def test_attempts_are_limited(client):
    """After so many attempts of an address none is let in until ten minutes passed; without a limit any number is."""
    client.control("POST", "options", json={"attempts_max": 2}).raise_for_status()
    client.emulated.advance(601)
    try:
        for _ in range(2):
            client.connects()
        with pytest.raises(InvalidStatus) as refused:
            client.connects()
        assert refused.value.response.status_code == 429
        client.emulated.advance(601)
        client.connects()
        client.control("POST", "options", json={"attempts_max": 0}).raise_for_status()
        for _ in range(4):
            client.connects()
    finally:
        client.control("POST", "options", json={"attempts_max": 150})


def test_idle_connections_end(client):
    """A connection that follows nothing and says nothing is closed; one that follows something is not."""
    with client.line() as idle, client.line() as busy:
        for line in (idle, busy):
            line.recv(timeout=5)
        busy.send('{"method":"subscribe","params":{"channel":"status"}}')
        assert json.loads(busy.recv(timeout=5))["success"] is True
        client.control("POST", "options", json={"idle_s": 0.2}).raise_for_status()
        try:
            with pytest.raises(ConnectionClosed) as ended:
                idle.recv(timeout=5)
            assert ended.value.rcvd.code == 1000
            busy.send('{"method":"ping","req_id":1}')
            until(lambda: json.loads(busy.recv(timeout=5)).get("req_id") == 1 or None)
        finally:
            client.control("POST", "options", json={"idle_s": 60})


def test_too_slow_once_messages_wait(client):
    """A connection ends as too slow once more messages wait for it than were allowed, and no other does."""
    with client.line() as busy, client.line() as quiet:
        busy.recv(timeout=5), quiet.recv(timeout=5)
        busy.send('{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD"]}}')
        client.fault("ws.slow_consumer", match={"endpoint": "/v2"}, args={"queue": 0})

        def read_on():
            while True:
                busy.recv(timeout=5)

        with pytest.raises(ConnectionClosed) as ended:
            read_on()
        assert ended.value.rcvd.code == 1008
        quiet.send('{"method":"ping"}')
        assert json.loads(quiet.recv(timeout=5))["method"] == "pong"


def test_no_connection_opens(client):
    """As after too many attempts none is let in, until the fault is cleared."""
    client.fault("limit.connections", match={})
    with pytest.raises(InvalidStatus) as refused:
        client.connects()
    assert refused.value.response.status_code == 429
    client.control("DELETE", "faults")
    client.connects()


# ---- what is held, and who is told ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "answered"), [("rest.timeout_after", False), ("rest.slow", True)])
def test_clear_lets_go(client, name, answered):
    """What a fault holds back ends as the fault is cleared."""
    number = client.fault(name, args={"seconds": 1000}, count=5)["id"]
    found = []

    def call():
        try:
            found.append(client.post("AddOrder", timeout=60, **ORDER).json()["error"] == [])
        except httpx2.TransportError:
            found.append(False)

    calling = threading.Thread(target=call)
    calling.start()
    until(lambda: [one for one in client.control("GET", "faults").json()["faults"] if one["struck"]] or None)
    assert found == []
    client.control("DELETE", f"faults?id={number}")
    calling.join(timeout=20)
    assert found == [answered]
    assert client.open() == 1


def test_answers_name_faults_only_where_asked(client):
    """The header is there while it is switched on, on answers that were struck and no other, and not before."""
    number = client.fault("rest.service_busy", count=3)["id"]
    assert "x-emu-fault" not in client.post("Balance").headers
    assert client.control("POST", "options", json={"tell_faults": True}).json()["tell_faults"] is True
    try:
        assert client.post("Balance").headers["x-emu-fault"] == str(number)
        slow = client.fault("rest.slow", args={"seconds": 0})["id"]
        assert client.post("Balance").headers["x-emu-fault"] == f"{slow},{number}"
        assert "x-emu-fault" not in client.post("Balance").headers
    finally:
        client.control("POST", "options", json={"tell_faults": False})


@pytest.mark.parametrize(
    "told",
    [{"tell_faults": 1}, {"tell_faults": "yes"}, {"attempts_max": -1}, {"attempts_max": 1.5}, {"idle_s": "x"}, {"other": 1}],
)
def test_options_refuse_nonsense(client, told):
    """An option that is none, or of another kind, is refused and nothing is changed."""
    before = client.control("GET", "options").json()
    answer = client.control("POST", "options", json={"idle_s": 5, **told})

    assert answer.status_code == 400
    assert answer.json()["error"].startswith("expected ")
    assert client.control("GET", "options").json() == before


# ---- control -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["faults", "log", "scenario"])
@pytest.mark.parametrize("headers", [{}, {"X-Control-Token": "wrong"}, {"X-Control-Token": "ü".encode()}])
def test_control_needs_the_token(client, path, headers):
    """Without the token nothing is told and nothing is set."""
    for method in ("GET", "POST", "DELETE"):
        answer = client.http.request(method, f"/_ctl/{path}", headers=headers, content=b'{"name":"rest.slow"}')
        assert answer.status_code == 403
    assert client.control("GET", "faults").json()["faults"] == []


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", 200), ("10.0.0.5", 403), ("example", 403)])
def test_control_is_for_this_machine(emulated, host, status):
    """The token does not help from another machine."""
    found = TestClient(emulated.opened.emulator.app(), client=(host, 5000))
    answer = found.get("/_ctl/faults", headers={"X-Control-Token": emulated.opened.control_token})

    assert answer.status_code == status


@pytest.mark.parametrize("body", [b"", b"[", b"[]", b'{"name":"x"}', b"\xff", b"[" * 100_000])
def test_control_refuses_nonsense(client, body):
    """A body that makes no sense is an error in a sentence."""
    answer = client.control("POST", "faults", content=body)

    assert answer.status_code == 400
    assert answer.json()["error"].startswith("expected ")


def test_control_clears_and_logs(client):
    """A fault is set, listed, strikes, is logged, and is cleared by its number."""
    number = client.fault("rest.service_busy", count=5)["id"]
    after = client.control("GET", "log").json()["lines"][-1]["number"]
    client.post("Balance")
    (listed,) = client.control("GET", "faults").json()["faults"]
    lines = client.control("GET", f"log?after={after}&wait_s=5").json()["lines"]

    assert (listed["id"], listed["struck"], listed["count"]) == (number, 1, 4)
    assert [line["what"] for line in lines] == ["fault", "call"]
    assert lines[1]["error"] == "EService:Busy"
    assert client.control("DELETE", f"faults?id={number}").json() == {"cleared": 1}
    assert client.control("GET", "faults").json()["faults"] == []
    assert client.control("DELETE", "faults?id=x").status_code == 400


# ---- commands ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def served(project, socket_enabled):
    """A served emulator: its port."""
    process = project.start("emulator", "serve", "--port", "0", "--pairs", "BTC/EUR")
    found = re.search(r":(\d+)", process.stderr.readline())
    yield found.group(1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert not list(project.folder.rglob(f"{found.group(1)}.json"))


def test_commands(project, served):
    """Faults are set, listed and cleared, scenarios run and the log is read by the command; keys are for their owner only."""
    (place,) = project.folder.rglob(f"{served}.json")
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    keys = project.run("emulator", "keys", "--port", served, "--json").json
    assert set(keys) == {"trading", "query", "cancel"}

    def run(*arguments):
        return project.run("emulator", *arguments, "--port", served)

    added = run("fault", "add", "rest.http_5xx_before", "--endpoint", "Time", "--count", "2", "--arg", "status=520")
    assert (added.code, added.out) == (0, "1: rest.http_5xx_before endpoint=Time status=520 count=2 (struck 0)\n")
    address = f"http://127.0.0.1:{served}/0/public/Time"
    statuses = [httpx2.get(address, trust_env=False).status_code for _ in range(3)]
    assert statuses == [520, 520, 200]
    assert run("fault", "add", "market.halt", "--for", "1000").code == 0
    assert "market.halt for_s=" in run("fault", "list").out
    assert "rest.timeout_after" in run("fault", "list", "--catalogue").out
    assert run("fault", "clear").out == "cleared: 1\n"

    scenario = project.folder / "faults.jsonl"
    scenario.write_text('# two\n{"at_s": 0, "name": "market.cancel_only"}\n\n{"at_s": 900, "name": "ws.drop"}\n')
    assert run("scenario", "run", str(scenario)).out == "planned: 2\n"
    status = f"http://127.0.0.1:{served}/0/public/SystemStatus"
    until(lambda: httpx2.get(status, trust_env=False).json()["result"]["status"] == "cancel_only")
    lines = [json.loads(line) for line in run("log").out.splitlines()]
    assert [line["fault"] for line in lines if line["what"] == "fault"][:2] == ["rest.http_5xx_before"] * 2
    assert [line["number"] for line in lines] == sorted(line["number"] for line in lines)


def test_end_lets_go(project, socket_enabled):
    """Ctrl+C ends a server at once that holds calls back, lets others wait, and is asked for its log."""
    process = project.start("emulator", "serve", "--port", "0", "--pairs", "BTC/EUR", "--tell-faults")
    port = re.search(r":(\d+)", process.stderr.readline()).group(1)
    for arguments in (
        ("rest.timeout_after", "--endpoint", "Time", "--arg", "seconds=1000"),
        ("rest.slow", "--endpoint", "Assets", "--arg", "seconds=1000"),
    ):
        assert project.run("emulator", "fault", "add", *arguments, "--port", port).code == 0
    ended = []

    def call(name):
        try:
            ended.append(
                (name, httpx2.get(f"http://127.0.0.1:{port}/0/public/{name}", trust_env=False, timeout=60).status_code)
            )
        except httpx2.TransportError:
            ended.append((name, 0))

    calls = [threading.Thread(target=call, args=(name,)) for name in ("Time", "Assets")]
    for one in calls:
        one.start()
    until(lambda: project.run("emulator", "log", "--port", port).out.count('"what": "fault"') == 2 or None)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=15)
    for one in calls:
        one.join(timeout=5)

    assert sorted(ended) == [("Assets", 200), ("Time", 0)]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("fault", "add", "rest.nothing"), 2, "expected a fault of the catalogue"),
        (("fault", "add", "rest.slow", "--arg", "seconds"), 2, "expected --arg name=value"),
        (("fault", "add", "rest.slow", "--pair", "A/B"), 2, "expected a pair that is listed"),
        (("fault", "clear", "77"), 2, "expected fault 77 to be set"),
        (("scenario", "run", "missing.jsonl"), 2, "expected to read missing.jsonl"),
        (("scenario", "run", "wrong.jsonl"), 2, "expected JSON in line 2"),
    ],
)
def test_commands_refuse(project, served, arguments, code, words):
    """A command that makes no sense says what was expected."""
    (project.folder / "wrong.jsonl").write_text('{"at_s": 1, "name": "ws.drop"}\nno\n')
    ended = project.run("emulator", *arguments, "--port", served)

    assert ended.code == code
    assert words in ended.err


def test_no_emulator(project):
    """Without an emulator there is nothing to set a fault in."""
    ended = project.run("emulator", "fault", "list", "--port", "1")

    assert ended.code == 2
    assert "expected an emulator on port 1, found none" in ended.err
