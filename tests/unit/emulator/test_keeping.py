"""The state file: what clients were told is there after a restart, nothing is half there, and what is not sound is refused."""

import base64
import json
import random
import sqlite3
from dataclasses import astuple
from decimal import Decimal
from urllib.parse import urlencode

import numpy as np
import pytest
from tests.emulated import emulating
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from peak_trade.emulator.codec import encoded
from peak_trade.emulator.keeping import Keeper
from peak_trade.emulator.opening import EmulatorChoice, open_emulator
from peak_trade.emulator.orders import Lasting, OrderStatus, OrderType, Wish
from peak_trade.emulator.pairs import PAIRS
from peak_trade.emulator.parameters import Parameters
from peak_trade.emulator.replay import Recording
from peak_trade.emulator.rest import RestCall
from peak_trade.emulator.signing import signature
from peak_trade.emulator.statefile import FORMAT, StateFile, StateRow
from peak_trade.model.errors import InputError, StorageError

S = 1_000_000_000
START = 1_700_000_000 * S
PAIR = PAIRS["BTC/EUR"]


class Run:
    """An exchange opened from a state file, with a clock that the test sets; leaving it out is what a killed process does."""

    def __init__(self, path, now=START, **choice):
        self.wall = now
        self.file = StateFile(path)
        self.keeper = Keeper(self.file)
        chosen = EmulatorChoice(**{"pairs": ("BTC/EUR", "DOT/USD"), "tier": "pro", **choice})
        self.opened = open_emulator(chosen, lambda: self.wall, random.Random(5), self.keeper)
        self.emulator, self.engine = self.opened.emulator, self.opened.engine
        self.desk = self.emulator.rest._desk

    def act(self, method, **given):
        found = self.emulator.rest.act(method, self.opened.keys["trading"], Parameters(given), self.emulator.now())
        assert self.emulator._kept(self.emulator.now())
        return found

    def limit(self, price, **more):
        told = {"pair": "XBTEUR", "type": "buy", "ordertype": "limit", "volume": "0.01", "price": str(price), **more}
        told = {name: value for name, value in told.items() if value}
        return self.act("AddOrder", **told)["txid"][0]

    def go_on(self, seconds, step=0.1):
        for _ in range(int(seconds / step)):
            self.wall += int(step * S)
            self.emulator.pass_time(self.emulator.now())

    def again(self, **more):
        """Kill this one, which stores nothing more, and open another from its file."""
        self.file.close()
        return Run(self.file.path, **{"now": self.wall, **more})

    def remembered(self):
        """Return all that is to outlive the process, as it is compared."""
        engine = self.engine
        return {
            "accounts": {name: encoded(account) for name, account in engine.accounts.by_name.items()},
            "orders": {name: encoded(order) for name, order in engine.orders.items()},
            "volumes": {name: account.volume(self.wall) for name, account in engine.accounts.by_name.items()},
            "runs": {
                name: [(run, [fill.id for fill in fills]) for run, fills in runs.items()]
                for name, runs in engine.runs.items()
                if runs
            },
            "fills": {name: list(fills) for name, fills in engine.fills.items() if fills},
            "named": {name: order.id for name, order in engine._named.items()},
            "open here": +engine._open_here,
            "bad": {name: vars(one) for name, one in self.desk.bad.items()},
            "locked": self.desk.locked,
            "working": {name: list(orders) for name, orders in engine.working.items() if orders},
            "finished": {name: [one.id for one in orders] for name, orders in engine.finished.items() if orders},
            "executions": [encoded(fill) for fill in engine.executions],
            "prints": {name: list(listing.prints) for name, listing in engine.listings.items()},
            "waiting": {name: set(listing.waiting) for name, listing in engine.listings.items()},
            "last": {name: (listing.last, listing.trades) for name, listing in engine.listings.items()},
            "timed": set(engine._timed),
            "uncovered": set(engine._uncovered),
            "timers": engine.timers,
            "amends": self.desk.amends,
            "keys": {name: encoded(key) for name, key in self.opened.keys.items()},
            "calls": {name: vars(one) for name, one in self.desk.calls.items()},
            "engine": {name: vars(one) for name, one in self.desk.engine.items()},
            "books": {
                name: [
                    astuple(order) for side in (listing.book.bids, listing.book.asks) for order in side.orders() if order.name
                ]
                for name, listing in engine.listings.items()
            },
        }


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "state.db")


def sums(engine):
    totals = {}
    for account in engine.accounts.by_name.values():
        for asset, amount in account.balances.items():
            totals[asset] = totals.get(asset, 0) + amount
    return totals


def some_of_everything(run):
    """Leave every kind of order, amended, filled, cancelled, waiting and timed."""
    orders = {
        "resting": run.limit(30_000, cl_ord_id="mine", userref="7"),
        "behind": run.limit(30_000),
        "gtd": run.limit(31_000, timeinforce="GTD", expiretm="+60"),
        "later": run.limit(32_000, starttm="+50"),
        "stop": run.limit("60000.0", ordertype="stop-loss", type="sell"),
        "trail": run.limit("+5.0%", ordertype="trailing-stop", type="sell"),
        "filled": run.limit("", ordertype="market"),
        "closing": run.limit(120_000, **{"close[ordertype]": "limit", "close[price]": "130000.0"}),
        "gone": run.limit(33_000),
        "iceberg": run.limit(120_000, ordertype="iceberg", type="sell", volume="0.3", displayvol="0.1"),
        "beside": run.limit(120_000, type="sell"),
        "fired": run.limit(120_000, ordertype="stop-loss-limit", type="sell", price2="130000.0"),
        "fcib": run.limit("", ordertype="market", type="sell", volume="0.5", oflags="fcib"),
        "fcib resting": run.limit(125_000, type="sell", oflags="fcib"),
    }
    # All that it shows is taken, and so it is behind the other; then a part of the next.
    for lots in (10_000_000, 4_000_000):
        run.engine.give(run.engine.orders[orders["iceberg"]], lots, run.wall)
    run.act("CancelOrder", txid=orders["gone"])
    run.act("AmendOrder", txid=orders["resting"], order_qty="0.02")
    run.act("CancelAllOrdersAfter", timeout="3600")
    return orders


def test_all_is_there_again(run):
    """Orders in every state, the queue of the book, money, executions, ledgers, trades, counters, keys and timers."""
    run.go_on(20)
    orders = some_of_everything(run)
    run.go_on(10)
    before, candles = run.remembered(), {name: run.desk.candles(PAIR, name) for name in (1, 60)}
    again = run.again()
    after = again.remembered()

    for what, found in before.items():
        assert after[what] == found, what
    book = [name for name, *_ in after["books"]["BTC/EUR"]]
    assert book.index(orders["behind"]) < book.index(orders["resting"])
    assert book.index(orders["beside"]) < book.index(orders["iceberg"])
    iceberg, fired = (again.engine.orders[orders[name]] for name in ("iceberg", "fired"))
    assert (iceberg.resting.left, iceberg.resting.hidden) == (6_000_000, 10_000_000)
    assert (fired.fired, fired.resting.price) == (True, 1_300_000)
    assert after["volumes"]["client"] > 0
    assert any(len(run) > 1 for _, run in after["runs"]["client"])
    assert again.engine.orders[orders["filled"]].state is OrderStatus.CLOSED
    for interval, rows in candles.items():
        assert again.desk.candles(PAIR, interval) == rows
    assert set(sums(again.engine).values()) == {0}


def test_it_goes_on(run):
    """The second run trades, cancels and remembers like the first, through several restarts, and no id is given twice."""
    seen = set()
    for _ in range(4):
        run.go_on(60, step=0.5)
        seen_now = some_of_everything(run)
        assert not seen & set(seen_now.values())
        seen |= set(seen_now.values())
        run.act("CancelAll")
        before = run.remembered()
        run = run.again()
        assert run.remembered() == before
    ids = [entry.id for entry in run.engine.accounts.by_name["client"].ledger] + [fill.id for fill in run.engine.executions]
    assert len(ids) == len(set(ids))
    assert set(sums(run.engine).values()) == {0}


def test_what_was_due_meanwhile_happens_first(run):
    """An order whose time was over is expired, and a dead man's switch cancels, before the market returns."""
    gtd = run.limit(31_000, timeinforce="GTD", expiretm="+60")
    later = run.again(now=run.wall + 61 * S)
    assert later.engine.orders[gtd].state is OrderStatus.EXPIRED

    name = later.limit(30_000)
    later.act("CancelAllOrdersAfter", timeout="60")
    last = later.again(now=later.wall + 59 * S)
    assert last.engine.orders[name].state is OrderStatus.OPEN
    last = last.again(now=last.wall + 1 * S)
    assert (last.engine.orders[name].state, last.engine.orders[name].reason) == (
        OrderStatus.CANCELED,
        "Cancelled by dead man's switch",
    )


def test_the_clock_never_goes_back(run, tmp_path):
    """A run whose clock went fast is continued from where that was."""
    fast = Run(tmp_path / "fast.db", speed=60.0)
    fast.go_on(10)
    told = fast.emulator.now()
    assert fast.again(speed=1.0).emulator.now() >= told - S > START + 500 * S


def test_nonces_outlive_a_restart(run):
    """What was used stays used."""
    run.opened.keys["trading"].nonce = 77
    assert run.emulator._kept(run.wall)
    assert run.again().opened.keys["trading"].nonce == 77


def test_only_one_has_the_file(run):
    """A second emulator is refused, and the first goes on."""
    with pytest.raises(InputError, match="found that another emulator uses it"):
        StateFile(run.file.path)
    assert run.limit(30_000)


@pytest.mark.parametrize("damage", ["text", "cut", "flip", "changed", "format", "foreign"])
def test_what_is_not_sound_is_refused_and_left_alone(run, damage):
    """One sentence, and every byte is as it was."""
    run.go_on(5)
    some_of_everything(run)
    run.file.close()
    path = run.file.path
    if damage in ("changed", "format", "foreign"):
        base = sqlite3.connect(path)
        statement = {
            "changed": "UPDATE kept SET text = replace(text, '1000000', '2000000') WHERE kind = 'account'",
            "format": f"PRAGMA user_version={FORMAT + 1}",
            "foreign": "PRAGMA application_id=1",
        }
        base.execute(statement[damage])
        base.commit()
        base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        base.close()
    content = path.read_bytes()
    changed = {"text": b"these are no orders\n" * 50, "cut": content[: len(content) // 2 // 4096 * 4096]}
    changed["flip"] = content[:8192] + bytes(byte ^ 255 for byte in content[8192:8400]) + content[8400:]
    path.write_bytes(changed.get(damage, content))
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"^expected .*, found .*; (use|name|restore)|name another file"):
        Keeper(StateFile(path))

    assert path.read_bytes() == before


def test_a_working_order_needs_its_pair(run):
    """State cannot be served without the pairs that orders work on."""
    run.limit(30_000)
    with pytest.raises(InputError, match="expected --pairs with BTC/EUR"):
        run.again(pairs=("DOT/USD",))


def test_a_full_disk_is_told(run):
    """Nothing is acknowledged that is not stored; when there is room again, all is stored and goes on."""
    kept = run.limit(30_000)
    pages = run.file._database.execute("PRAGMA page_count").fetchone()[0]
    run.file._database.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StorageError, match=r"can't be written: .*full"):
        run.file.save([StateRow("alone", str(number), json.dumps("x" * 4_000)) for number in range(50)])
    run.go_on(60)
    assert run.emulator._unkept
    call = RestCall("/0/private/Balance", {}, b"", run.emulator.now())
    assert run.emulator.answered(call).error == "EService:Unavailable"
    assert run.emulator.answered(call._replace(path="/0/public/Time")).error == ""

    run.file._database.execute("PRAGMA max_page_count=1000000")
    run.go_on(1)
    assert not run.emulator._unkept
    assert run.emulator.answered(call).error == "EAPI:Invalid key"
    assert kept in run.again().engine.orders


def test_rings_go_round(run, monkeypatch):
    """What memory forgets, the file forgets: its rows do not grow without end."""
    monkeypatch.setattr("peak_trade.emulator.keeping.LEDGER_MAX", 20)
    monkeypatch.setattr("peak_trade.emulator.keeping.EXECUTIONS_MAX", 20)
    for _ in range(30):
        run.limit("", ordertype="market")
        run.wall += 10 * S
    count = len(run.engine.executions)
    stored = run.file.load()

    assert len(stored["entry"]) == len(stored["fill"]) == 20
    assert sorted(told["n"] for told in stored["fill"].values()) == list(range(count - 20, count))


def test_forgotten_orders_leave_the_file(run, monkeypatch):
    """Of finished orders the file has little more than memory."""
    monkeypatch.setattr("peak_trade.emulator.exchange.FINISHED_MAX", 10)
    monkeypatch.setattr("peak_trade.emulator.keeping.FINISHED_MAX", 10)
    for number in range(60):
        run.act("CancelOrder", txid=run.limit(30_000 + number))
        run.wall += 10 * S

    assert len(run.engine.orders) == 10
    assert len(run.file.load()["order"]) <= 12
    assert run.again().remembered()["finished"] == run.remembered()["finished"]


@pytest.mark.parametrize("seed", range(5))
def test_any_trade_can_be_the_last(run, seed):
    """Random orders, cancels and time, killed after any of them: the state is that of the last answer."""
    chance = random.Random(seed)
    for _ in range(6):
        for _ in range(chance.randrange(1, 30)):
            run.wall += chance.randrange(S)
            mine = list(run.engine.working["client"])
            what = chance.random()
            if mine and what < 0.3:
                run.act("CancelOrder", txid=chance.choice(mine))
            elif what < 0.5:
                run.limit("", ordertype="market", type=chance.choice(["buy", "sell"]))
            elif what < 0.9:
                last = run.engine.listings["BTC/EUR"].last
                price = (last * Decimal(chance.uniform(0.999, 1.001))).quantize(PAIR.tick)
                run.limit(price, type=chance.choice(["buy", "sell"]))
            else:
                run.go_on(1)
        before = run.remembered()
        again = run.again()
        again_now = again.remembered()
        # A quote of the new market may have met an order of the client's at once: all else is as it was.
        if len(again_now["executions"]) == len(before["executions"]):
            assert again_now == before
        assert set(before["orders"]) <= set(again_now["orders"])
        assert set(sums(again.engine).values()) == {0}
        run = again


def test_wishes_with_all_they_can_have_survive(run):
    """A field of an order that is set is set afterwards, whatever its type."""
    close = Wish(pair=PAIR, buys=False, type=OrderType.LIMIT, volume=Decimal(0), price=Decimal("99999.9"))
    wish = Wish(
        pair=PAIR,
        buys=True,
        type=OrderType.LIMIT,
        volume=Decimal("0.5"),
        price=Decimal("1234.5"),
        lasting=Lasting.GTD,
        expires=START + 900 * S,
        flags=("post", "fciq"),
        post_only=True,
        userref=-3,
        cl_ord_id="é\n",
        close=close,
    )
    order = run.engine.add("client", wish, run.wall)
    assert run.emulator._kept(run.wall)

    assert run.again().engine.orders[order.id].wish == wish


def test_a_replay_goes_on(run, tmp_path):
    """After a restart the replay is where it would be by then, with the same shift; with a beginning it begins again there."""
    at = START - 10**6 * S + np.arange(500, dtype=np.int64) * 10 * S
    columns = {"price": 100.0 + np.arange(500), "volume": np.full(500, 0.1)}
    told = {"pairs": ("BTC/EUR",), "recordings": [Recording(symbol="BTC/EUR", at=at, step=0, columns=columns)]}
    first = Run(tmp_path / "replay.db", **told)
    first.go_on(100, step=1.0)
    last = first.engine.listings["BTC/EUR"].last
    second = first.again(now=first.wall + 100 * S, **told)
    second.go_on(10, step=1.0)
    assert second.engine.listings["BTC/EUR"].last - last in (10, 11, 12)

    third = second.again(**told, begin=int(at[0]))
    third.go_on(10, step=1.0)
    assert third.engine.listings["BTC/EUR"].last < 110
    assert set(sums(third.engine).values()) == {0}


def signed(run, method, nonce, **given):
    """Return a call of the trading key's."""
    key, path = run.opened.keys["trading"], f"/0/private/{method}"
    body = urlencode({**given, "nonce": str(nonce)}).encode()
    sign = base64.b64encode(signature(key.secret, path, str(nonce), body)).decode()
    return RestCall(path, {"api-key": key.id, "api-sign": sign}, body, run.emulator.now())


def test_what_was_acknowledged_on_a_full_disk_is_stored(run):
    """Orders are taken until the disk is full; from then on each is refused, and those that were not are there after a kill."""
    pages = run.file._database.execute("PRAGMA page_count").fetchone()[0]
    run.file._database.execute(f"PRAGMA max_page_count={pages + 10}")
    order = {"pair": "XBTEUR", "type": "buy", "ordertype": "limit", "volume": "0.001", "price": "30000.0"}
    told, refused = [], []
    for nonce in range(1, 151):
        run.wall += S
        found = run.emulator.answered(signed(run, "AddOrder", nonce, **order))
        if found.error:
            refused.append(found.error)
        else:
            told += found.answer["result"]["txid"]
    assert len(told) > 5
    assert set(refused) == {"EService:Unavailable"}
    again = run.again()

    assert set(told) <= set(again.engine.orders)
    assert set(sums(again.engine).values()) == {0}


def test_streams_end_on_a_full_disk(tmp_path, socket_enabled):
    """An order that can't be stored is not acknowledged on a stream: the connection ends instead."""
    keeper = Keeper(StateFile(tmp_path / "state.db"))
    with emulating(keeper=keeper) as found:
        key = found.opened.keys["trading"]
        token = found.inside(lambda: found.opened.emulator.rest.act("GetWebSocketsToken", key, Parameters({}), found.clock()))
        found.inside(lambda: keeper._file._database.execute("PRAGMA max_page_count=1"))
        order = {"symbol": "BTC/EUR", "side": "buy", "order_type": "limit", "order_qty": 0.001, "limit_price": 30000.0}
        order["token"] = token["token"]

        def place(line):
            for number in range(1_000):
                line.send(json.dumps({"method": "add_order", "params": order | {"cl_ord_id": f"order {number}"}}))
                while "method" not in (told := json.loads(line.recv(timeout=5))):
                    pass
                assert told["success"]

        with connect(found.stream + "/auth/v2", proxy=None, close_timeout=1) as line, pytest.raises(ConnectionClosed):
            place(line)
    keeper.close()
