"""WebSocket v2 without a socket: books, acknowledgements, heartbeats, executions, and frames that make no sense."""

import json
import random
from datetime import datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.exchange import START, TOKEN, ClientBook, Rig, S

from peak_trade.emulator.pairs import PAIRS
from peak_trade.emulator.stream import DEPTHS


@pytest.fixture
def rig():
    found = Rig()
    found.got()
    return found


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("symbol", ["BTC/USD", "ETH/EUR"])
def test_book_equals_the_engines(depth, symbol):
    """A reader that drops what falls out of its depth has the engine's book after every message, and each checksum is right."""
    rig = Rig(seed=depth)
    pair, chance = PAIRS[symbol], random.Random(depth)
    reader, book = ClientBook(depth, pair), rig.engine.listings[symbol].book
    rig.ask("subscribe", channel="executions", token=TOKEN)
    messages = rig.ask("subscribe", channel="book", symbol=[symbol], depth=depth)
    count = 0
    for _ in range(120):
        for message in messages:
            if message.get("channel") == "book":
                reader.take(message)
                count += 1
        for name in ("asks", "bids"):
            engine = book.side(buys=name == "bids").levels(depth)
            shown = [(int(price.scaleb(pair.price_decimals)), reader.sides[name][price]) for price in reader.best(name)]
            assert shown == [(level.price, Decimal(level.quantity).scaleb(-8)) for level in engine]
        if chance.random() < 0.5:
            buys = chance.random() < 0.5
            price = float(pair.start * (Decimal("0.997") if buys else Decimal("1.003")).quantize(pair.tick))
            price = round(price * (1 + chance.uniform(-0.002, 0.002)), pair.price_decimals)
            side = "buy" if buys else "sell"
            order = {"symbol": symbol, "side": side, "order_type": "limit", "order_qty": 0.01, "limit_price": price}
            rig.ask("add_order", token=TOKEN, **order)
        rig.passed(chance.choice([0.1, 1, 30]))
        messages = rig.got()
    assert count > 50


def test_one_acknowledgement_per_symbol(rig):
    """Each symbol is acknowledged by itself, keys in alphabetical order, its snapshot after it."""
    rig.line = rig.quietly(private=False)
    rig.line.receive('{"method":"subscribe","params":{"channel":"ticker","symbol":["BTC/USD","ETH/EUR"]},"req_id":5}', rig.now)
    texts = list(rig.line.outbox)
    acks = [json.loads(text) for text in texts if "method" in json.loads(text)]

    assert [ack["result"]["symbol"] for ack in acks] == ["BTC/USD", "ETH/EUR"]
    for text in texts:
        found = json.loads(text)
        assert list(found) == sorted(found)
    assert texts[0].startswith(
        '{"method":"subscribe","req_id":5,"result":{"channel":"ticker","event_trigger":"trades",'
        '"snapshot":true,"symbol":"BTC/USD"},"success":true,"time_in":"2026-'
    )


@pytest.mark.parametrize(
    ("method", "params", "error"),
    [
        ("subscribe", {"channel": "ticker", "symbol": ["A/B"]}, "Currency pair not supported A/B"),
        ("subscribe", {"channel": "book", "symbol": ["BTC/USD"], "depth": 11}, "Subscription depth not supported"),
        ("subscribe", {"channel": "executions", "token": "no"}, "ESession:Invalid session"),
        ("subscribe", {"channel": "executions"}, "EGeneral:Invalid arguments:token"),
        ("unsubscribe", {"channel": "ticker", "symbol": ["BTC/USD"]}, "Subscription Not Found"),
        ("add_order", {"token": "no"}, "ESession:Invalid session"),
        ("cancel_order", {"token": TOKEN, "order_id": ["OAAAAA-AAAAA-AAAAAA"]}, "EOrder:Unknown order"),
    ],
)
def test_errors_are_worded_as_krakens(rig, method, params, error):
    """A refusal carries Kraken's words, the method, the request's number and both times."""
    (found,) = rig.ask(method, **params)

    assert found["error"] == error
    assert found["success"] is False
    assert set(found) >= {"method", "req_id", "time_in", "time_out"}


def test_repeated_subscription_is_refused(rig):
    """The same channel of the same pair is subscribed once; an unsubscription's answer has no `snapshot`."""
    ask = {"channel": "trade", "symbol": ["BTC/USD"]}
    rig.ask("subscribe", **ask)

    assert rig.ask("subscribe", **ask)[0]["error"] == "Already subscribed"
    assert rig.ask("unsubscribe", **ask)[0]["result"] == {"channel": "trade", "symbol": "BTC/USD"}


def test_heartbeats_only_in_silence(rig):
    """There is no heartbeat before a subscription, none while data flows, and one a second in silence."""
    for _ in range(30):
        rig.hub.publish(rig.now)
        rig.now += S // 10
    assert rig.got() == []

    rig.ask("subscribe", channel="status")
    for _ in range(30):
        rig.now += S // 10
        rig.hub.publish(rig.now)
    assert rig.got() == [{"channel": "heartbeat"}] * 3

    rig.ask("subscribe", channel="book", symbol=["BTC/USD"])
    for _ in range(30):
        rig.passed()
    assert rig.got("heartbeat") == []


def test_ping_is_answered(rig):
    """A ping is answered by a pong with its number."""
    rig.line.receive('{"method":"ping","req_id":7}', rig.now)
    (pong,) = rig.got()

    assert (pong["method"], pong["req_id"]) == ("pong", 7)


def test_status_change_is_told(rig):
    """Every connection is told when the exchange changes what it takes, once."""
    rig.engine.mode = type(rig.engine.mode)("cancel_only")
    rig.hub.publish(rig.now)
    rig.hub.publish(rig.now)

    (told,) = rig.got("status")
    assert told["data"][0]["system"] == "cancel_only"


def test_executions_of_a_filled_order(rig):
    """A taker's order is pending_new, new, trade..., filled; sequence has no gap; balances follow, too."""
    rig.ask("subscribe", channel="executions", token=TOKEN)
    rig.ask("subscribe", channel="balances", token=TOKEN)
    asked = {"symbol": "BTC/USD", "side": "buy", "order_type": "market", "order_qty": 0.3, "cl_ord_id": "mine"}
    found = rig.ask("add_order", token=TOKEN, **asked)
    reports = [message for message in found if message.get("channel") == "executions"]
    kinds = [message["data"][0]["exec_type"] for message in reports]
    (answer,) = [message for message in found if message.get("method") == "add_order"]

    assert kinds[:2] == ["pending_new", "new"]
    assert set(kinds[2:-1]) == {"trade"}
    assert kinds[-1] == "filled"
    assert [message["sequence"] for message in reports] == list(range(2, 2 + len(reports)))
    trades = [message["data"][0] for message in reports[2:-1]]
    assert sum(Decimal(trade["last_qty"]) for trade in trades) == Decimal("0.3")
    assert {trade["order_status"] for trade in trades} == {"partially_filled"}
    assert answer["result"]["cl_ord_id"] == "mine"
    assert answer["result"]["order_id"] == trades[0]["order_id"]
    balances = [message for message in found if message.get("channel") == "balances"]
    assert [message["sequence"] for message in balances] == list(range(2, 2 + len(balances)))
    last = {one["asset"]: one["balance"] for message in balances for one in message["data"]}
    account = rig.engine.accounts.by_name["client"]
    assert {name: Decimal(value) for name, value in last.items()} == {name: account.balances[name] for name in last}


def test_executions_of_a_touched_trigger(rig):
    """An order whose trigger is touched already is pending, new, triggered, traded, filled, in this turn."""
    rig.ask("subscribe", channel="executions", token=TOKEN)
    rig.ask("add_order", token=TOKEN, symbol="BTC/USD", side="buy", order_type="market", order_qty=0.001)
    asked = {"symbol": "BTC/USD", "side": "sell", "order_type": "stop-loss", "order_qty": 0.001}
    found = rig.ask("add_order", token=TOKEN, triggers={"price": 200_000, "reference": "index"}, **asked)
    told = [message["data"][0] for message in found if message.get("channel") == "executions"]

    assert [(one["exec_type"], one["order_status"]) for one in told] == [
        ("pending_new", "pending_new"),
        ("new", "new"),
        ("status", "triggered"),
        ("trade", "partially_filled"),
        ("filled", "filled"),
    ]
    assert {one["triggers"]["reference"] for one in told} == {"index"}


def test_small_quantities_keep_their_digits(rig):
    """A quantity of eight digits arrives whole, however JSON wrote it."""
    asked = {"symbol": "BTC/USD", "side": "buy", "order_type": "limit", "order_qty": 0.00005123, "limit_price": 80000}
    (found,) = rig.ask("add_order", token=TOKEN, **asked)

    assert rig.engine.orders[found["result"]["order_id"]].volume == Decimal("0.00005123")


def test_good_till_date(rig):
    """An expiry in RFC 3339 ends the order at that time, and not before."""
    asked = {"symbol": "BTC/USD", "side": "buy", "order_type": "limit", "order_qty": 0.001, "limit_price": 80000}
    until = "2026-11-18T06:00:00Z"
    due = int(datetime.fromisoformat(until).timestamp())
    rig.now = (due - 60) * S
    rig.hub._desk.tokens[TOKEN] = (rig.key, rig.now + 900 * S)
    (found,) = rig.ask("add_order", token=TOKEN, time_in_force="gtd", expire_time=until, **asked)
    order = rig.engine.orders[found["result"]["order_id"]]
    rig.engine.tick(due * S - 1)
    assert order.state.value == "open"
    rig.engine.tick(due * S)
    assert order.state.value == "expired"


def test_token_lives_with_its_subscription(rig):
    """After 15 minutes a token opens nothing, but where a private channel is followed it still trades."""
    rig.ask("subscribe", channel="executions", token=TOKEN)
    rig.now += 901 * S
    assert rig.ask("cancel_all", token=TOKEN)[0]["result"] == {"count": 0}

    rig.line = rig.hub.connect(rig.now, private=True)
    rig.got()
    assert rig.ask("cancel_all", token=TOKEN)[0]["error"] == "ESession:Invalid session"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
METHODS = ["subscribe", "unsubscribe", "ping", "add_order", "amend_order", "edit_order", "cancel_order", "cancel_all"]
METHODS += ["cancel_all_orders_after", "batch_add", "batch_cancel", "nonsense"]
FIELDS = ["channel", "symbol", "depth", "interval", "snapshot", "event_trigger", "order_type", "side", "order_qty"]
FIELDS += ["limit_price", "order_id", "cl_ord_id", "orders", "timeout", "triggers", "expire_time", "deadline", "validate"]
WORDS = st.sampled_from(["book", "ticker", "ohlc", "executions", "BTC/USD", "limit", "market", "buy", "trailing-stop", "gtd"])
PARAMS = st.dictionaries(st.sampled_from(FIELDS), JSON | WORDS, max_size=8)
ONE_RIG = Rig()


@settings(max_examples=400, deadline=None)
@given(method=st.sampled_from(METHODS) | JSON, params=PARAMS | JSON, req_id=JSON, token=st.booleans())
def test_nonsense_is_answered(method, params, req_id, token):
    """Whatever a frame holds, it is answered in JSON and nothing raises; no money moves."""
    if token and isinstance(params, dict):
        params = params | {"token": TOKEN}
    before = len(ONE_RIG.engine.executions)
    ONE_RIG.line.receive(json.dumps({"method": method, "params": params, "req_id": req_id}), START)

    assert ONE_RIG.got()
    assert len(ONE_RIG.engine.executions) == before


@settings(max_examples=100, deadline=None)
@given(raw=st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode("utf-8", "replace")))
def test_bytes_are_answered(raw):
    """Bytes that are no JSON are answered too."""
    ONE_RIG.line.receive(raw, START)

    assert ONE_RIG.got()[0].get("success") is False


def test_depth_of_brackets_is_answered():
    """A frame of many brackets is answered, not a stack that overflows."""
    ONE_RIG.line.receive("[" * 60_000, START)

    assert ONE_RIG.got()[0]["success"] is False
