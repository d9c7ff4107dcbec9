"""Our Kraken client over real sockets: what it only looks at, what it places, and what stands on the wire."""

import ast
import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from tests.emulated import emulating, until
from tests.kraken import SYMBOL, Client
from tests.trading import approved

from peak_trade.emulator.signing import CANCEL_ONLY, QUERY
from peak_trade.model.errors import InvariantBroken, SafetyRefused
from peak_trade.model.order import Closed, Fill
from peak_trade.venue.kraken import reading
from peak_trade.venue.kraken.gateway import Gateway, NoAnswer
from peak_trade.venue.kraken.nonce import NonceStore
from peak_trade.venue.kraken.public import PublicMarket
from peak_trade.venue.kraken.trading import KrakenVenue, VenueTimes
from peak_trade.venue.kraken.validating import ExecutedOrder, ValidatingOrders
from peak_trade.venue.kraken.wire import exchange_name
from peak_trade.venue.port import Accepted, Rejected, Unknown

SOURCES = Path(__file__).resolve().parents[2] / "src" / "peak_trade"


@pytest.fixture(scope="module")
def exchange():
    with emulating() as found:
        yield found


@pytest.fixture
def client(exchange, tmp_path):
    found = Client(exchange, tmp_path)
    with contextlib.closing(found):
        yield found
        found.calm()


# ---- orders that are only looked at --------------------------------------------------------------------------------------


def validated(client, intent):
    return client.run(client.validating().submit(approved(intent)))


@pytest.mark.parametrize(
    "changes",
    [{}, {"quantity": "-0.01", "price": 2.0}, {"kind": "market"}, {"kind": "stop", "price": 2.0}, {"kind": "take_profit"}],
)
def test_an_order_that_kraken_would_take(client, changes):
    """It says so, and there is no order; what arrived has validate=true exactly once."""
    if "price" in changes:
        changes = changes | {"price": client.exchange.price(SYMBOL, changes["price"])}

    assert validated(client, client.intent(**changes)) == Accepted("a")

    [sent] = client.wire.orders()
    assert [value for name, value in sent.fields if "validate" in name.lower()] == ["true"]
    assert sent.path == "/0/private/AddOrder"
    assert client.orders == []


@pytest.mark.parametrize(
    ("fault", "code"),
    [("order.insufficient_funds", "insufficient_funds"), ("order.reject_tick", "off_step"), ("auth.lockout", "lockout")],
)
def test_an_order_that_kraken_would_refuse(client, fault, code):
    """In our words and Kraken's."""
    client.fault(fault, count=1)

    reply = validated(client, client.intent())

    assert isinstance(reply, Rejected)
    assert reply.code == code
    assert reply.words.startswith("E")


@pytest.mark.parametrize("fault", ["rest.timeout_after", "rest.html_200", "rest.service_busy", "rest.http_5xx_after"])
def test_an_opinion_that_was_lost(client, fault):
    """It is not known, and not asked again."""
    client.fault(fault, match={"endpoint": "AddOrder"})

    assert isinstance(validated(client, client.intent()), Unknown)
    assert len(client.wire.orders()) == 1
    assert client.orders == []


def test_what_never_fits_is_not_asked(client):
    """Unknown pairs, wrong steps and too small orders are told apart here."""
    told = [
        client.intent(symbol="NIX/EUR", reference=1),
        client.intent("0.000000001"),
        client.intent(price=Decimal("50000.05")),
        client.intent("0.00001"),
    ]

    codes = [validated(client, intent).code for intent in told]

    assert codes == ["unknown_symbol", "off_step", "off_step", "too_small"]
    assert client.wire.orders() == []


@pytest.mark.parametrize("told", [lambda txid: [txid], lambda txid: txid])
def test_an_order_that_was_executed_all_the_same(client, told):
    """Should Kraken place it, it is cancelled at once and everything stops."""
    client.submit(client.intent(client_id="b"))
    [order] = client.orders

    def lying(sent, answer):
        if sent.endpoint != "AddOrder":
            return answer
        return json.dumps({"error": [], "result": {"txid": told(order.id)}}).encode()

    client.wire.answers = lying
    with pytest.raises(ExecutedOrder, match="look at the account") as caught:
        validated(client, client.intent(client_id="b"))

    assert caught.value.txids == (order.id,)
    assert isinstance(caught.value, SafetyRefused)
    assert not client.orders[0].state.working
    assert client.wire.sent[-1].endpoint == "CancelOrder"


def test_an_executed_order_that_cannot_be_cancelled(client):
    """It says so: somebody has to."""

    def lying(sent, answer):
        found = json.loads(answer)
        if sent.endpoint == "AddOrder":
            found["result"]["txid"] = ["OAAAAA-BBBBB-CCCCCC"]
        return json.dumps(found).encode()

    client.wire.answers = lying
    with pytest.raises(ExecutedOrder, match="could not cancel OAAAAA-BBBBB-CCCCCC"):
        validated(client, client.intent())


def test_a_gateway_that_trades_is_no_place_to_look(client):
    """And one that looks is no venue."""
    with pytest.raises(SafetyRefused):
        ValidatingOrders(client.gateway, client.pairs, client.clock)
    times = VenueTimes(since_ns=0, step_ns=1)
    for gateway, proof in ((client.looking, client.proof), (client.gateway, None), (client.gateway, "127.0.0.1")):
        with pytest.raises(SafetyRefused):
            KrakenVenue(gateway, client.pairs, (), times, client.clock, client.sleep, proof)


def test_nothing_but_an_approval_is_looked_at(client):
    """An intent that the gate has not seen stays here."""
    with pytest.raises(InvariantBroken):
        client.run(client.validating().submit(client.intent()))
    assert client.wire.orders() == []


#: What drills at the emulator.
EMULATED_ALONE = {SOURCES / "runs" / "drills" / name for name in ("orders.py", "emulated_session.py")}


def test_no_program_builds_a_venue_that_trades():
    """Outside of the client's own package nothing imports the venue or makes a proof, but for what drills at the emulator."""
    found = []
    for path in SOURCES.rglob("*.py"):
        if "kraken" in path.parts or path in EMULATED_ALONE:
            continue
        names = {
            name
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            for name in (
                [node.module or "", *(alias.name for alias in node.names)]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else []
            )
        }
        if any(
            "kraken.proof" in name or "kraken.trading" in name or name in ("EmulatorProof", "KrakenVenue") for name in names
        ):
            found.append(path.name)
    assert found == []


# ---- keys ----------------------------------------------------------------------------------------------------------------


def test_a_key_that_only_looks(exchange, tmp_path):
    """Questions are answered; orders are denied, and denied only once."""
    with contextlib.closing(Client(exchange, tmp_path, rights=QUERY)) as client:
        assert client.submit(client.intent()).code == "permission_denied"
        assert client.submit(client.intent(client_id="b")).code == "permission_denied"
        assert len(client.wire.orders()) == 1
        assert client.run(client.venue.snapshot()).working == ()


def test_a_key_that_cancels(exchange, tmp_path):
    """What another key of the account placed can be cancelled, and not replaced."""
    with contextlib.closing(Client(exchange, tmp_path / "one")) as trader:
        intent = trader.intent()
        trader.submit(intent)
        key = exchange.key(CANCEL_ONLY, account=trader.key.account)
        with contextlib.closing(Client(exchange, tmp_path / "two", key=key)) as keeper:
            keeper.venue = keeper.a_venue([intent])

            assert isinstance(keeper.cancel("a"), Closed)
            assert keeper.submit(keeper.intent(client_id="b")).code == "permission_denied"


def test_one_key_has_one_client(client):
    """A second one on the same folder is refused; calls of one never overlap nor overtake."""
    with pytest.raises(SafetyRefused, match="another uses it"):
        NonceStore(client.folder, client.keys.short, client.exchange.clock)

    async def many():
        await asyncio.gather(*(client.gateway.read("Balance", reading.Balances) for _ in range(8)))

    client.run(many())
    nonces = [int(dict(one.fields)["nonce"]) for one in client.wire.sent if one.endpoint == "Balance"]
    assert nonces == sorted(set(nonces))
    assert len(nonces) == 8
    assert {call.outcome for call in client.observed} == {"ok"}


def test_every_call_is_observed(client):
    """With its name, how long it took, and our code of its error."""
    client.fault("order.insufficient_funds")
    client.submit(client.intent())

    [call] = [call for call in client.observed if call.endpoint == "AddOrder"]

    assert (call.outcome, call.code) == ("rejected", "insufficient_funds")
    assert 0 < call.duration_s < 20


# ---- the market ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def market(client):
    found = PublicMarket(client.parts, client.exchange.url)
    yield found
    client.run(found.close())


def test_market_data_over_rest(client, market):
    """Without a key, spaced by a second."""
    assert abs(client.run(market.time()).unixtime - client.clock.elapsed_s()) < 3
    assert client.run(market.status()).status == "online"
    assert client.run(market.pairs())[SYMBOL].altname == "XBTEUR"
    ticker, depth = client.run(market.ticker("XBTEUR")), client.run(market.depth("XBTEUR", 5))
    assert ticker.b[0] < ticker.a[0]
    assert (len(depth.asks), len(depth.bids)) == (5, 5)
    candles = client.run(market.candles("XBTEUR", 60))
    assert len(candles.rows) == 720
    assert len(candles.finished) == 719
    trades = client.run(market.trades("XBTEUR"))
    later = client.run(market.trades("XBTEUR", trades.last))
    assert not {row.number for row in later.rows} & {row.number for row in trades.rows}
    assert all(
        "API-Key" not in one.headers and "api-key" not in one.headers for one in client.wire.sent if "public" in one.path
    )
    assert len([nap for nap in client.naps if 0.5 < nap <= 1]) >= 6


def test_market_data_in_trouble(client, market):
    """It is asked again, and ends with a code where that does not help."""
    emulator = client.exchange.opened.emulator

    def fault(**told):
        client.exchange.inside(lambda: emulator.faults.add(told, emulator.now()))

    fault(name="rest.http_5xx_before", match={"endpoint": "Ticker"}, count=2)
    assert client.run(market.ticker("XBTEUR"))
    fault(name="rest.html_200", match={"endpoint": "Ticker"}, count=99)
    with pytest.raises(NoAnswer) as caught:
        client.run(market.ticker("XBTEUR"))
    assert caught.value.code == "unreadable"
    with pytest.raises(NoAnswer) as caught:
        client.run(market.ticker("NIXEUR"))
    assert caught.value.code in ("unknown_symbol", "unreadable")


# ---- all at once ---------------------------------------------------------------------------------------------------------

CHAOS = [
    *((f"rest.{name}", {}) for name in ("timeout_before", "timeout_after", "reset_before", "reset_after", "html_200")),
    *((f"rest.http_5xx_{when}", {}) for when in ("before", "after")),
    *((f"rest.{name}", {"applied": True}) for name in ("service_busy", "service_unavailable", "internal_error")),
    ("rest.deadline_elapsed", {"part": 0.5}),
    ("order.cancel_lost", {}),
    ("order.cancel_pending", {"seconds": 1.0}),
    ("order.fill_during_cancel", {"part": 0.5}),
    ("order.late_visibility", {"seconds": 3.0}),
    ("order.partial_fill", {"parts": "0.3,0.3", "delay_s": 1.0}),
    ("order.self_expire", {"seconds": 2.0}),
    ("auth.invalid_nonce_once", {}),
    ("limit.rest_counter", {}),
]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_books_and_exchange_agree(client, seed):
    """Random orders and cancels through random faults: one order for each intent or none, and every fill once."""
    chance, intents, replies, faults = random.Random(seed), {}, {}, list(CHAOS)
    for number in range(14):
        if chance.random() < 0.7:
            # Each once: two refused nonces in a row would end all calls, as they should.
            name, args = faults.pop(chance.randrange(len(faults)))
            client.fault(name, args=args, count=1)
        client_id = f"{seed}-{number}"
        if intents and chance.random() < 0.35:
            with contextlib.suppress(NoAnswer):
                client.cancel(chance.choice(list(intents)))
        else:
            kind = chance.choice(["market", "limit", "limit"])
            quantity = chance.choice(["0.01", "0.02", "-0.01"])
            more = {} if kind == "market" else {"price": client.exchange.price(SYMBOL, 0.9 if quantity[0] != "-" else 1.1)}
            intents[client_id] = client.intent(quantity, kind=kind, client_id=client_id, **more)
            replies[client_id] = client.submit(intents[client_id])
        client.passed(chance.random() * 3)
    client.calm()
    client.passed(15)

    found = client.look_up(*intents)

    counts = Counter(order.wish.cl_ord_id for order in client.orders)
    assert max(counts.values()) == 1
    sent = Counter(dict(one.fields)["cl_ord_id"] for one in client.wire.orders())
    assert max(sent.values()) == 1
    placed = {exchange_name(name) for name in intents} & set(counts)
    assert {exchange_name(name) for name in found} == placed
    for name, reply in replies.items():
        assert not isinstance(reply, Rejected) or exchange_name(name) not in placed, reply
        assert not isinstance(reply, Accepted) or exchange_name(name) in placed, reply
    fills = [event for event in client.fills() if isinstance(event, Fill)]
    assert Counter(fill.fill_id for fill in fills) == Counter(one.id for one in client.executions)
    by_order = {name: sum(fill.quantity for fill in fills if fill.client_id == name) for name in found}
    assert by_order == {name: report.filled for name, report in found.items()}
    position = Decimal(10) + sum(fill.quantity for fill in fills)
    assert client.run(client.venue.snapshot()).positions == {SYMBOL: position}


def test_a_killed_process_leaves_an_order_that_is_found(exchange, tmp_path):
    """SIGKILL right after the exchange took the order: the next process finds it, sends nothing again, and its nonces go on."""
    key = exchange.key()
    code = f"""
import asyncio, random, sys, time
from pathlib import Path
from datetime import UTC, datetime
sys.path.insert(0, {str(SOURCES.parents[1])!r})
from peak_trade.model.clock import MachineClock
from peak_trade.venue.kraken.gateway import Gateway, GatewayParts
from peak_trade.venue.kraken.nonce import NonceStore
from peak_trade.venue.kraken.proof import EmulatorProof
from peak_trade.venue.kraken.wire import Credentials, live_order_request
keys = Credentials.read({key.id!r}, {key.secret_text!r})
nonces = NonceStore(Path({str(tmp_path)!r}), keys.short, time.time_ns)
parts = GatewayParts(clock=MachineClock(), chance=random.Random(1))
gateway = Gateway(keys, nonces, parts, {exchange.url!r}, EmulatorProof.of({exchange.url!r}))
order = [("pair", "XBTEUR"), ("type", "buy"), ("ordertype", "market"), ("volume", "0.01")]
order.append(("cl_ord_id", {exchange_name("a")!r}))
print("ready", flush=True)
asyncio.run(gateway.act(lambda keys, nonce: live_order_request(keys, nonce, order), "XBTEUR", 1))
time.sleep(60)
"""
    emulator = exchange.opened.emulator
    told = {"name": "rest.timeout_after", "match": {"key": key.id, "endpoint": "AddOrder"}}
    exchange.inside(lambda: emulator.faults.add(told, emulator.now()))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "ready\n"
        engine = exchange.opened.engine
        until(lambda: exchange.inside(lambda: [one for one in engine.orders.values() if one.account == key.account]))
        os.kill(process.pid, signal.SIGKILL)
    used = exchange.inside(lambda: key.nonce)

    with contextlib.closing(Client(exchange, tmp_path, key=key)) as client:
        intent = client.intent(kind="market")
        client.venue = client.a_venue([intent])

        assert client.look_up("a")["a"].filled == Decimal("0.01")
        assert [fill.client_id for fill in client.fills()] == ["a"] * len(client.executions)
        assert client.submit(intent).code == "duplicate"
        assert len(client.orders) == 1
        assert min(int(dict(parse_qsl(one.body.decode()))["nonce"]) for one in client.wire.sent if one.body) > used


def test_limits_of_the_starter_tier(tmp_path):
    """A hundred orders and cancels in a hurry: some wait here, and Kraken never has to refuse one."""
    with emulating("starter") as exchange, contextlib.closing(Client(exchange, tmp_path, tier="starter")) as client:
        kept = 0
        for number in range(100):
            reply = client.submit(client.intent(client_id=f"n{number}"))
            if isinstance(reply, Rejected):
                kept += 1
                continue
            if number % 3 == 0:
                assert isinstance(client.cancel(f"n{number}"), Closed | Accepted)
        codes = {call.code for call in client.observed}

    assert codes == {""}
    assert kept < 100


def test_a_gateway_goes_where_it_was_told(client, monkeypatch):
    """Proxies of the environment are not asked."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    parts = client.parts.__class__(clock=client.clock, chance=random.Random(1))
    gateway = Gateway(client.keys, client.nonces, parts, client.exchange.url)

    assert client.run(gateway.read("Balance", reading.Balances))
    client.run(gateway._line.close())
