"""The emulator as a process that is killed, replays recorded data, and is followed; through its command and its sockets."""

import base64
import itertools
import json
import random
import re
import signal
import threading
import time
from decimal import Decimal
from urllib.parse import urlencode

import httpx2
import pytest
from tests.paths import MARKET_DATA, needs_market_data

from peak_trade.emulator.pairs import ASSETS
from peak_trade.emulator.signing import signature

NONCES = itertools.count(time.time_ns())
ADDRESS = re.compile(r":(\d+)")


class Process:
    """A served emulator and a client of it."""

    def __init__(self, project, *arguments):
        self.process = project.start("emulator", "serve", "--port", "0", *arguments)
        line = self.process.stderr.readline()
        found = ADDRESS.search(line)
        assert found, line + self.process.stderr.read()
        self.port = found.group(1)
        self.project = project
        self.key = project.run("emulator", "keys", "--port", self.port, "--json").json["trading"]
        self.http = httpx2.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10, trust_env=False)

    def public(self, method, **params):
        return self.http.get(f"/0/public/{method}", params=params).json()["result"]

    def post(self, method, **params):
        nonce, path = str(next(NONCES)), f"/0/private/{method}"
        body = urlencode({**params, "nonce": nonce})
        sign = base64.b64encode(signature(base64.b64decode(self.key["secret"]), path, nonce, body.encode())).decode()
        headers = {"API-Key": self.key["key"], "API-Sign": sign, "Content-Type": "application/x-www-form-urlencoded"}
        return self.http.post(path, content=body, headers=headers).json()

    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        told = self.process.communicate(timeout=20)[1]
        self.http.close()
        return told


@pytest.fixture
def serve(project, socket_enabled):
    """Serves emulators; those that still run are ended."""
    processes = []

    def start(*arguments):
        processes.append(Process(project, *arguments))
        return processes[-1]

    yield start
    for one in processes:
        if one.process.poll() is None:
            one.end()


# ---- state ---------------------------------------------------------------------------------------------------------------


class Busy(threading.Thread):
    """Places and cancels orders until the server is gone; notes what it was told, and what it never heard of."""

    def __init__(self, served, seed):
        super().__init__(daemon=True)
        self.served, self.chance = served, random.Random(seed)
        self.placed, self.canceled, self.doubtful = {}, set(), set()
        self.answered = threading.Event()

    def run(self):
        for number in itertools.count(1):
            try:
                self._act(number)
            except (httpx2.HTTPError, ValueError):
                return
            if number == 10:
                self.answered.set()

    def _act(self, number):
        working = sorted(set(self.placed) - self.canceled)
        if working and self.chance.random() < 0.4:
            name = self.chance.choice(working)
            self.doubtful.add(name)
            if not self.served.post("CancelOrder", txid=name)["error"]:
                self.canceled.add(name)
            self.doubtful.discard(name)
            return
        price = str(self.chance.randrange(20_000, 40_000))
        told = {"pair": "XBTEUR", "type": "buy", "ordertype": "limit", "volume": "0.001", "price": price}
        told |= self.chance.choice(
            [
                {},
                {"ordertype": "market", "type": self.chance.choice(["buy", "sell"])},
                {"ordertype": "market", "type": "sell", "oflags": "fcib"},
                {"ordertype": "iceberg", "displayvol": "0.0002"},
                # Its trigger is touched already.
                {"ordertype": "stop-loss-limit", "type": "sell", "price": "120000", "price2": "130000"},
            ]
        )
        answer = self.served.post("AddOrder", **told, userref=str(number))
        for name in answer.get("result", {}).get("txid", ()):
            self.placed[name] = told["ordertype"]


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment(serve, tmp_path, seed):
    """After each kill all that was acknowledged is there, in its state, and the money is that of the trades."""
    chance, state = random.Random(seed), tmp_path / "state.db"
    # A fast clock, so that rate limits are over soon.
    arguments = ("--pairs", "BTC/EUR", "--speed", "1000", "--tier", "pro", "--seed", str(seed), "--state", str(state))
    known, gone, keys = {}, set(), set()
    for _ in range(3):
        served = serve(*arguments)
        keys.add((served.key["key"], served.key["secret"]))
        _check(served, known, gone)
        busy = Busy(served, chance.random())
        busy.start()
        assert busy.answered.wait(20)
        # At a moment of its own: what the client does just then is what is tried.
        busy.join(chance.random() * 0.5)
        served.end(signal.SIGKILL)
        busy.join(20)
        assert not set(busy.placed) & set(known), "an id was given twice"
        known |= {name: kind for name, kind in busy.placed.items() if name not in busy.doubtful}
        gone |= busy.canceled
    served = serve(*arguments)
    _check(served, known, gone)
    assert len(keys) == 1
    assert len(known) > 10


def _check(served, known, gone):
    found = {}
    for first in range(0, len(known), 50):
        answer = served.post("QueryOrders", txid=",".join(list(known)[first : first + 50]))
        assert answer["error"] == []
        found |= answer["result"]
    assert set(found) == set(known)
    for name, kind in known.items():
        expected = "canceled" if name in gone else "closed" if kind == "market" else "open"
        assert found[name]["status"] == expected, name
    entries, offset = {}, 0
    while True:
        page = served.post("Ledgers", ofs=str(offset))["result"]["ledger"]
        if not page:
            break
        entries |= page
        offset += 50
    balances = served.post("Balance")["result"]
    for asset, balance in balances.items():
        lines = [entry for entry in entries.values() if entry["asset"] == asset]
        total = sum(Decimal(entry["amount"]) - Decimal(entry["fee"]) for entry in lines)
        assert lines[0]["balance"] == balance, asset
        # Each amount is told with so many digits, cut off.
        assert abs(total - Decimal(balance)) <= 2 * len(lines) * Decimal(10) ** Decimal(balance).as_tuple().exponent, asset
    trades, offset = {}, 0
    while page := served.post("TradesHistory", ofs=str(offset))["result"]["trades"]:
        trades |= page
        offset += 50
    traded = sum(Decimal(trade["cost"]) for trade in trades.values()) * ASSETS["EUR"].dollars
    assert Decimal(served.post("TradeVolume")["result"]["volume"]) == pytest.approx(
        traded, abs=Decimal("0.001") * (1 + len(trades))
    )
    for trade in trades.values():
        assert trade["ordertxid"] not in known or known[trade["ordertxid"]] == "market"


def test_state_is_for_one(serve, project, tmp_path):
    """A second emulator on the same file, and one on a damaged file, end with a sentence."""
    state = tmp_path / "state.db"
    served = serve("--pairs", "BTC/EUR", "--state", str(state))
    second = project.run("emulator", "serve", "--port", "0", "--state", str(state))
    assert (second.code, "found that another emulator uses it" in second.err) == (2, True)
    served.end()

    state.write_bytes(b"no state at all" * 100)
    third = project.run("emulator", "serve", "--port", "0", "--state", str(state))
    assert third.code == 2
    assert "expected the state of an emulator" in third.err
    assert state.read_bytes() == b"no state at all" * 100


# ---- replay --------------------------------------------------------------------------------------------------------------


def test_replay_of_a_file(serve, tmp_path):
    """Kraken's own layout of trades is replayed at once, says when it is over, and its candles and clock are of one time."""
    file = tmp_path / "XBTEUR.csv"
    began = 1_700_000_000
    file.write_text("".join(f"{began + number * 10},{30_000 + number % 7},0.5\n" for number in range(400)))
    served = serve("--market", "replay", "--data", str(file), "--speed", "2000", "--clock", "data", "--from", "200")
    assert "the replay is over" in served.process.stderr.readline()

    rows = served.public("OHLC", pair="XBTEUR")["XXBTZEUR"]
    assert began - 60 <= rows[0][0] <= began
    assert served.public("Time")["unixtime"] > began + 2_000
    assert sum(Decimal(row[6]) for row in rows if row[0] <= began + 4_000) == pytest.approx(Decimal(200))
    book = served.public("Depth", pair="XBTEUR", count=500)["XXBTZEUR"]
    assert len(book["bids"]) >= 100
    lines = served.project.run("emulator", "log", "--port", served.port).out.splitlines()
    assert sum(json.loads(line)["what"] == "replay over" for line in lines) == 1


@pytest.mark.parametrize("name", ["BTC/EUR 1h", "BTC-EUR/1h", "XBT/EUR=1h"])
def test_replay_of_a_dataset(serve, project, name):
    """A dataset of the store is replayed by its name, a bar of it after the other."""
    project.run("data", "import", str(project.bars()), "--symbol", "BTC/EUR", "--timeframe", "1h")
    served = serve("--market", "replay", "--data", name, "--from", "100")
    (pair,) = served.public("AssetPairs")

    assert pair == "XXBTZEUR"
    assert len(served.public("OHLC", pair=pair, interval="60")[pair]) in (100, 101)


@needs_market_data
@pytest.mark.parametrize(
    "name", ["kraken/XBTEUR_trades_2016-01.parquet", "kraken/XBTUSDT_trades_2025-11-10.parquet", "raw/XBTEUR_60.csv"]
)
def test_replay_of_recorded_data(serve, name):
    """Real trades and bars of Kraken's: there is a past, and a present price near it."""
    served = serve("--market", "replay", "--data", str(MARKET_DATA / name), "--speed", "60")
    (pair,) = served.public("AssetPairs")
    rows = served.public("OHLC", pair=pair, interval="60")[pair]

    assert len(rows) >= 3
    last = float(served.public("Ticker", pair=pair)[pair]["c"][0])
    assert last == pytest.approx(float(rows[-1][4]), rel=0.05)


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        (None, (), "expected --data FILE"),
        ("", ("--data", "XBTEUR.csv"), "expected"),
        ("1700000000,1,1\n", ("--data", "XBTEUR.csv"), "expected at least 2 trades"),
        ("1700000000,5,1\n1700000001,x,1\n", ("--data", "XBTEUR.csv"), "expected a number in every row of price"),
        ("1700000000,5,1\n1600000001,5,1\n", ("--data", "XBTEUR.csv"), "expected times that never fall"),
        ("1700000000,5,1\n1700000001,0,1\n", ("--data", "XBTEUR.csv"), "expected prices above zero"),
        ("1700000000,5,1\n1700000001,5,1,9\n", ("--data", "XBTEUR.csv"), "expected 3 fields"),
        ("1700000000,5,1\n1700000001,5,1\n", ("--data", "ABC/EUR=XBTEUR.csv"), "expected PAIR=FILE"),
        (
            "1700000000,5,1\n1700000001,5,1\n",
            ("--data", "XBTEUR.csv", "--pairs", "ETH/EUR,BTC/EUR"),
            "--data for each",
        ),
        (
            "1700000000,5,1\n1700000001,5,1\n",
            ("--data", "XBTEUR.csv", "--from", "3"),
            "to be a row from 1 to 2",
        ),
        ("1700000000,5,1\n1700000001,5,1\n", ("--data", "XBTEUR.csv", "--from", "2020-01-01"), "expected --from within"),
        (None, ("--data", "missing.csv"), "expected a file, or a stored dataset"),
    ],
)
def test_replay_refuses(project, content, arguments, words):
    """Files that are none and choices that make no sense are a sentence and exit code 2."""
    if content is not None:
        (project.folder / "XBTEUR.csv").write_text(content)
    ended = project.run("emulator", "serve", "--port", "0", "--market", "replay", *arguments)

    assert ended.code == 2
    assert words in ended.err
    assert "Traceback" not in ended.err


# ---- following -----------------------------------------------------------------------------------------------------------


def test_log_follow(serve, project):
    """A call that is made while the log is followed appears in it at once; Ctrl+C ends it."""
    served = serve("--pairs", "BTC/EUR")
    following = project.start("emulator", "log", "--follow", "--port", served.port)
    assert served.post("AddOrder", pair="XBTEUR", type="buy", ordertype="limit", volume="0.01", price="30000.0")["error"] == []
    line = json.loads(following.stdout.readline())
    while line["what"] != "order accepted":
        line = json.loads(following.stdout.readline())
    assert line["account"] == "client"
    following.send_signal(signal.SIGINT)
    following.communicate(timeout=20)

    assert following.returncode == 130
