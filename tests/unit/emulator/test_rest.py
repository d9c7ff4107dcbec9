"""REST without a socket: a fuzzer that gets nothing but Kraken's answers, the order of checks, and what each method filters."""

import base64
import json
import random
from decimal import Decimal
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.emulator import rest
from peak_trade.emulator.candles import Candles
from peak_trade.emulator.exchange import ExchangeMode, MatchingEngine
from peak_trade.emulator.pairs import PAIRS
from peak_trade.emulator.rest import Rest, RestCall, RestParts
from peak_trade.emulator.signing import QUERY, TRADING, make_key, signature

S = 1_000_000_000
START = 1_700_000_000 * S
often = settings(max_examples=400, deadline=None, derandomize=True, database=None)
METHODS = [
    "Balance",
    "BalanceEx",
    "TradeBalance",
    "OpenOrders",
    "ClosedOrders",
    "QueryOrders",
    "TradesHistory",
    "QueryTrades",
    "OpenPositions",
    "Ledgers",
    "QueryLedgers",
    "TradeVolume",
    "DepositStatus",
    "GetApiKeyInfo",
    "GetWebSocketsToken",
    "AddOrder",
    "AddOrderBatch",
    "AmendOrder",
    "EditOrder",
    "OrderAmends",
    "CancelOrder",
    "CancelOrderBatch",
    "CancelAll",
    "CancelAllOrdersAfter",
]
PUBLIC = ["Time", "SystemStatus", "Assets", "AssetPairs", "Ticker", "OHLC", "Depth", "Trades", "Spread"]


class Desk:
    """An exchange with a small book, one client, and signed requests."""

    def __init__(self, tier="pro", rights=TRADING):
        chance = random.Random(5)
        self.pair = PAIRS["BTC/USD"]
        self.candles = {"BTC/USD": Candles(), "ETH/USD": Candles()}
        pairs = [self.pair, PAIRS["ETH/USD"]]
        self.engine = MatchingEngine(pairs, seed=3, told_print=lambda pair, one: self.candles[pair.symbol].add(one))
        self.key = make_key("one", "one", rights, chance)
        self.engine.accounts.open("one", at=START)
        self.parts = RestParts(
            self.engine, {self.key.id: self.key}, chance, lambda pair, interval: self.candles[pair.symbol].of(interval), tier
        )
        self.rest, self.now, self.nonce = Rest(self.parts), START, 0
        for number in range(1, 6):
            for buys in (True, False):
                price = 900_000 + (-100 if buys else 100) * number
                self.engine.quote(self.pair, price, 10**8, buys=buys)

    def send(self, method, body, kind="application/x-www-form-urlencoded", nonce=None, **headers):
        """Send a body to a private method, signed."""
        path = f"/0/private/{method}"
        signed = base64.b64encode(signature(self.key.secret, path, nonce or "", body)).decode()
        told = {"content-type": kind, "api-key": self.key.id, "api-sign": signed} | headers
        return self.rest.answer(RestCall(path, told, body, self.now))

    def ask(self, method, *, whole=False, **given):
        """Return a private method's result, or its first error."""
        self.nonce += 1
        self.now += S
        nonce = str(self.nonce)
        kind = "application/json" if any(isinstance(value, list | dict) for value in given.values()) else "form"
        values = given | {"nonce": nonce}
        body = json.dumps(values) if kind == "application/json" else urlencode(values)
        found = self.send(method, body.encode(), kind, nonce)
        if whole:
            return found
        return found["error"][0] if found["error"] else found["result"]

    def public(self, method, **given):
        """Return a public method's result, or its first error."""
        found = self.rest.answer(RestCall(f"/0/public/{method}", {}, urlencode(given).encode(), self.now))
        return found["error"][0] if found["error"] else found["result"]

    def limit(self, price, *, side="buy", volume="0.1", **given):
        """Place a limit order."""
        return self.ask("AddOrder", pair="XBTUSD", type=side, ordertype="limit", price=str(price), volume=volume, **given)

    def state(self):
        """Return all that a refused request must leave alone."""
        orders = [
            (order.id, order.state, order.volume, order.limit, order.stop, order.done, order.held, order.reason)
            for order in self.engine.orders.values()
        ]
        accounts = [
            (name, dict(account.balances), dict(account.held), len(account.ledger))
            for name, account in self.engine.accounts.by_name.items()
        ]
        return orders, accounts, len(self.engine.executions), dict(self.engine.timers)


# ---- malformed requests ------------------------------------------------------------------------------------------------

odd = st.one_of(
    st.text(max_size=30),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.sampled_from(
        ["NaN", "sNaN", "inf", "-0", "1e999999999", "1e-99", "9" * 400, "٣", "1_0", " 1", "+", "#", "%", "+%", "-5%", "0x1"]
    ),
    st.sampled_from(["buy", "limit", "XBTUSD", "BTC/USD", "1", "90000.0", "2099-01-01T00:00:00Z", "0001-01-01", "[", "{}"]),
    st.lists(st.text(max_size=4), max_size=3),
    st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2),
)
FIELDS = [
    "pair",
    "type",
    "ordertype",
    "volume",
    "price",
    "price2",
    "oflags",
    "timeinforce",
    "starttm",
    "expiretm",
    "deadline",
    "userref",
    "cl_ord_id",
    "validate",
    "txid",
    "trigger",
    "leverage",
    "displayvol",
    "display_qty",
    "consolidate_taker",
    "aclass",
    "order_id",
    "stptype",
    "close",
    "close[ordertype]",
    "close[price]",
    "reduce_only",
    "timeout",
    "orders",
    "cl_ord_ids",
    "order_qty",
    "limit_price",
    "trigger_price",
    "post_only",
    "asset",
    "start",
    "end",
    "ofs",
    "closetime",
    "trades",
    "since",
    "count",
    "interval",
    "id",
    "ledgers",
    "without_count",
]
SENSIBLE = {
    "pair": "XBTUSD",
    "type": "buy",
    "ordertype": "limit",
    "volume": "0.1",
    "price": "80000",
    "orders": [{"type": "buy", "ordertype": "limit", "volume": "0.1", "price": "80000"}] * 2,
}


@st.composite
def bodies(draw, nonce):
    """A body, as form or JSON, with some fields odd, and its content type."""
    values = dict(SENSIBLE) if draw(st.booleans()) else {}
    values |= draw(st.dictionaries(st.sampled_from(FIELDS), odd, max_size=5))
    if draw(st.booleans()):
        values["orders"] = draw(st.lists(st.one_of(odd, st.dictionaries(st.sampled_from(FIELDS), odd)), max_size=4))
    values["nonce"] = nonce
    if draw(st.booleans()):
        return json.dumps(values).encode(), "application/json"
    return urlencode(values, errors="replace").encode(), "application/x-www-form-urlencoded"


def is_answer(found):
    """Tell whether an answer has Kraken's shape and can be written as JSON."""
    json.dumps(found, allow_nan=False)
    if found["error"]:
        return set(found) == {"error"} and all(text[0] == "E" and ":" in text for text in found["error"])
    return set(found) == {"error", "result"}


@often
@given(st.data())
def test_malformed_requests_change_nothing(data):
    """Signed requests with odd fields: always an answer in Kraken's shape, and a refusal leaves everything as it was."""
    desk = Desk()
    desk.limit(89_000)
    for number in range(4):
        method = data.draw(st.sampled_from(METHODS))
        nonce = str(1_000 + number)
        body, kind = data.draw(bodies(nonce))
        before = desk.state()
        found = desk.send(method, body, kind, nonce)
        assert is_answer(found), found
        if found["error"]:
            assert desk.state() == before


@often
@given(
    st.one_of(st.text(), st.sampled_from([f"/0/private/{name}" for name in METHODS])),
    st.dictionaries(st.sampled_from(["api-key", "api-sign", "content-type", "x"]), st.text()),
    st.binary(max_size=200),
)
def test_unsigned_requests_are_answered(path, headers, body):
    """Any path, headers and bytes: an error of Kraken's."""
    desk = Desk()
    before = desk.state()
    found = desk.rest.answer(RestCall(path, headers, body, desk.now))

    assert is_answer(found)
    assert found["error"]
    assert desk.state() == before


@often
@given(st.sampled_from(METHODS), st.binary(max_size=300), st.sampled_from(["application/json", "form", ""]))
def test_signed_rubbish_is_answered(method, body, kind):
    """Bytes that are no form and no JSON, rightly signed with what nonce they have: refused."""
    desk = Desk()
    before = desk.state()

    assert is_answer(desk.send(method, body, kind))
    assert desk.state() == before


@often
@given(st.sampled_from(PUBLIC), st.dictionaries(st.sampled_from(FIELDS), odd, max_size=4), st.booleans())
def test_public_methods_are_answered(method, values, as_json):
    """Public methods with odd fields."""
    desk = Desk()
    body = json.dumps(values) if as_json else urlencode(values, errors="replace")

    assert is_answer(desk.rest.answer(RestCall(f"/0/public/{method}", {}, body.encode(), desk.now)))


@pytest.mark.parametrize(
    "body",
    [b"[" * 50_000, b'{"a":' * 50_000, b'{"nonce":' + b"9" * 50_000 + b"}", b"a=1&" * 5_000, b"\xff\xfe", b'{"nonce":1e400}'],
)
def test_deep_and_long_bodies_are_answered(body):
    """Nesting, digits and fields without end cost an error, no exception."""
    assert Desk().send("AddOrder", body, "application/json")["error"]


# ---- checks in their order -----------------------------------------------------------------------------------------------


def test_checks_come_in_krakens_order():
    """Key, signature, nonce, permission, arguments: the first that fails is told."""
    desk = Desk(rights=QUERY)
    path, body = "/0/private/AddOrder", b"nonce=5&type=odd"
    right = base64.b64encode(signature(desk.key.secret, path, "5", body)).decode()

    def sent(**headers):
        return desk.rest.answer(RestCall(path, headers, body, desk.now))["error"]

    assert sent() == ["EAPI:Invalid key"]
    assert sent(**{"api-key": desk.key.id}) == ["EAPI:Invalid signature"]
    assert sent(**{"api-key": desk.key.id, "api-sign": right}) == ["EGeneral:Permission denied"]
    assert sent(**{"api-key": desk.key.id, "api-sign": right}) == ["EAPI:Invalid nonce"]
    assert desk.rest.answer(RestCall("/0/private/Nothing", {}, b"", 0))["error"] == ["EGeneral:Unknown method"]


def test_too_many_calls_are_refused_until_time_passed():
    """Starter: 15 calls at once; three seconds later one more."""
    desk = Desk(tier="starter")

    def balance(nonce):
        return desk.send("Balance", f"nonce={nonce}".encode(), nonce=str(nonce))["error"]

    assert [balance(nonce) for nonce in range(1, 17)] == [[]] * 15 + [["EAPI:Rate limit exceeded"]]
    desk.now += 7 * S
    assert balance(20) == []


def test_placing_and_cancelling_at_once_is_dear():
    """Starter: each pair of them costs 9 of 60, so the seventh is refused, and what it costs is charged all the same."""
    desk = Desk(tier="starter")
    told = []
    for _ in range(7):
        desk.now -= S
        name = desk.limit(80_000)
        desk.now -= S
        told.append(desk.ask("CancelOrder", txid=name["txid"][0]) if isinstance(name, dict) else name)

    assert told == [{"count": 1}] * 6 + ["EOrder:Rate limit exceeded"]


# ---- orders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"pair": "XXX"}, "EQuery:Unknown asset pair"),
        ({"pair": "SOL/USD"}, "EQuery:Unknown asset pair"),
        ({"type": "hold"}, "EGeneral:Invalid arguments:type"),
        ({"ordertype": "iceberg"}, "EGeneral:Invalid arguments:displayvol"),
        ({"ordertype": "iceberg", "displayvol": "0.00666666"}, "EGeneral:Invalid arguments:displayvol"),
        ({"ordertype": "iceberg", "displayvol": "0.10000001"}, "EGeneral:Invalid arguments:displayvol"),
        ({"ordertype": "stop-loss", "price": "91000", "trigger": "mark"}, "EGeneral:Invalid arguments:trigger"),
        ({"ordertype": "settle-position"}, "EGeneral:Invalid arguments:ordertype"),
        ({"displayvol": "0.05"}, "EGeneral:Invalid arguments:displayvol"),
        ({"leverage": "5:1"}, "EGeneral:Invalid arguments:leverage"),
        ({"reduce_only": "true"}, "EOrder:Reduce only:No position exists"),
        ({"volume": "0"}, "EGeneral:Invalid arguments:volume"),
        ({"volume": "0.00004999"}, "EGeneral:Invalid arguments:volume minimum not met"),
        ({"volume": "0.00005", "price": "9999"}, "EOrder:Cost minimum not met"),
        ({"price": "80000.01"}, "EOrder:Invalid price:XBTUSD price can only be specified up to 1 decimals."),
        ({"price": "-100%"}, "EGeneral:Invalid arguments:price"),
        ({"volume": "100"}, "EOrder:Insufficient funds"),
        ({"oflags": "fcib,fciq"}, "EGeneral:Invalid arguments:oflags"),
        ({"oflags": "post", "timeinforce": "IOC"}, "EGeneral:Invalid arguments:timeinforce"),
        ({"timeinforce": "GTD"}, "EGeneral:Invalid arguments:expiretm"),
        ({"timeinforce": "DAY"}, "EGeneral:Invalid arguments:timeinforce"),
        ({"stptype": "none"}, "EGeneral:Invalid arguments:stptype"),
        ({"cl_ord_id": "x" * 19}, "EGeneral:Invalid arguments:cl_ord_id"),
        ({"userref": "2147483648"}, "EGeneral:Invalid arguments:userref"),
        ({"deadline": "2023-11-14T22:13:19Z"}, "EService:Deadline elapsed"),
        ({"deadline": "2023-11-14T22:13:21.499999Z"}, "EGeneral:Invalid arguments:deadline"),
        ({"deadline": "2023-11-14T22:14:21.000001Z"}, "EGeneral:Invalid arguments:deadline"),
        ({"close[ordertype]": "market"}, "EGeneral:Invalid arguments:close[ordertype]"),
    ],
)
def test_an_order_is_refused_in_krakens_words(given, error):
    """One wrong parameter, one error; nothing happened."""
    desk = Desk()
    before = desk.state()
    told = {"pair": "XBTUSD", "type": "buy", "ordertype": "limit", "price": "80000", "volume": "0.1"} | given

    assert desk.ask("AddOrder", **told) == error
    assert desk.state() == before


@pytest.mark.parametrize(
    ("price", "side", "limit"),
    [("+100", "buy", 90100), ("-5%", "buy", 85500), ("#1%", "buy", 89100), ("#1%", "sell", 90900), ("-0.1", "sell", 89999.9)],
)
def test_relative_prices_count_from_the_last(price, side, limit):
    """Signed, or with `#` in the direction in which a limit waits."""
    desk = Desk()
    found = desk.limit(price, side=side, validate="true")

    assert found["descr"]["order"] == f"{side} 0.10000000 XBTUSD @ limit {limit:.1f}"
    assert desk.engine.orders == {}


@pytest.mark.parametrize(("stptype", "left"), [("cancel-newest", [True, False]), ("cancel-oldest", [False, True])])
def test_nobody_trades_with_itself(stptype, left):
    """The newer or the older order ends, and nothing is traded."""
    desk = Desk()
    names = [desk.limit(89_995)["txid"][0], desk.limit(89_995, side="sell", stptype=stptype)["txid"][0]]

    assert [name in desk.ask("OpenOrders")["open"] for name in names] == left
    assert desk.ask("TradesHistory")["count"] == 0


def test_a_close_follows_each_fill():
    """What was filled gets an order the other way, which says whose it is."""
    desk = Desk()
    first = desk.limit(90_010, **{"close[ordertype]": "limit", "close[price]": "95000"})
    (name, order), *more = desk.ask("OpenOrders")["open"].items()

    assert first["descr"]["close"] == "close position @ limit 95000.0"
    assert more == []
    assert order["refid"] == first["txid"][0] != name
    assert order["descr"]["order"] == "sell 0.10000000 XBTUSD @ limit 95000.0"


def test_cancelling_by_userref():
    """All orders of that reference end; an unknown one is an error."""
    desk = Desk()
    for number in (1, 1, 2):
        desk.limit(80_000, userref=number)

    assert desk.ask("CancelOrder", txid=1) == {"count": 2}
    assert desk.ask("CancelOrder", txid=1) == "EOrder:Unknown order"
    assert len(desk.ask("OpenOrders", userref=2)["open"]) == 1


def test_an_edit_that_fails_leaves_the_order():
    """Too dear or beyond the digits: the first order works on; a good one takes its place under a new id."""
    desk = Desk()
    (name,) = desk.limit(80_000, userref=7)["txid"]

    assert desk.ask("EditOrder", txid=name, pair="XBTUSD", volume="100") == "EOrder:Insufficient funds"
    assert desk.ask("EditOrder", txid=name, price="80000.01").startswith("EOrder:Invalid price")
    assert desk.ask("EditOrder", txid=name, displayvol="0.05") == "EGeneral:Invalid arguments:displayvol"
    found = desk.ask("EditOrder", txid=name, price="81000")
    assert list(desk.ask("OpenOrders")["open"]) == [found["txid"]]
    assert (found["originaltxid"], found["orders_cancelled"], found["newuserref"]) == (name, 1, 7)


def test_amendments_are_listed():
    """First the order as it was, then each change with its own id."""
    desk = Desk()
    (name,) = desk.limit(80_000)["txid"]
    amend = desk.ask("AmendOrder", txid=name, limit_price="81000", order_qty="0.2")["amend_id"]
    found = desk.ask("OrderAmends", order_id=name)

    assert [one["limit_price"] for one in found["amends"]] == ["80000.0", "81000.0"]
    assert found["amends"][1]["amend_id"] == amend
    assert found["count"] == 2


def test_a_batch_is_taken_or_refused_whole():
    """One invalid order refuses all; one that can't be paid only itself, in the order of the request."""
    desk = Desk()
    good = {"type": "buy", "ordertype": "limit", "volume": "0.1", "price": "80000"}

    assert desk.ask("AddOrderBatch", pair="XBTUSD", orders=[good, good | {"type": "x"}]) == "EGeneral:Invalid arguments:type"
    found = desk.ask("AddOrderBatch", pair="XBTUSD", orders=[good | {"volume": "100"}, good])["orders"]
    assert found[0] == {"error": "EOrder:Insufficient funds"}
    assert list(desk.ask("OpenOrders")["open"]) == [found[1]["txid"]]


# ---- history ---------------------------------------------------------------------------------------------------------


def test_closed_orders_are_found_by_time_and_id():
    """Start is outside, end inside, of opening or closing or either; an id stands for its opening."""
    desk = Desk()
    names = [desk.limit(80_000)["txid"][0] for _ in range(3)]
    opened = [desk.engine.orders[name].opened / S for name in names]
    desk.ask("CancelAll")

    def found(**given):
        return list(desk.ask("ClosedOrders", **given)["closed"])

    assert found() == names[::-1]
    assert found(closetime="open", start=opened[0]) == names[:0:-1]
    assert found(closetime="open", end=names[0]) == names[:1]
    assert found(closetime="close", end=opened[2]) == []
    assert found(start=names[1], closetime="open") == names[2:]
    assert desk.ask("ClosedOrders", ofs=2, without_count="true").keys() == {"closed"}


def test_trades_and_ledgers_are_found_by_time_and_id():
    """A trade has two ledger lines; both histories filter alike."""
    desk = Desk()
    for _ in range(2):
        desk.limit(90_010)
    trades = desk.ask("TradesHistory")["trades"]
    second, first = trades
    assert list(desk.ask("TradesHistory", start=first)["trades"]) == [second]
    assert list(desk.ask("TradesHistory", end=trades[first]["time"])["trades"]) == [first]
    assert desk.ask("TradesHistory", type="closed position")["count"] == 0
    assert "ledgers" not in trades[first]
    named = desk.ask("TradesHistory", ledgers="true")["trades"][first]["ledgers"]
    lines = desk.ask("QueryLedgers", id=",".join(named))
    assert {line["refid"] for line in lines.values()} == {first}
    assert desk.ask("Ledgers", type="trade", asset="XBT")["count"] == 2
    assert desk.ask("Ledgers", asset="NOPE") == "EQuery:Unknown asset"
    assert desk.ask("QueryLedgers", id="LNOPE") == "EQuery:Unknown ledger"


def test_trades_since_are_exclusive_and_complete():
    """Page by page through a sweep of one moment: none twice, none lost."""
    desk = Desk()
    desk.ask("AddOrder", pair="XBTUSD", type="buy", ordertype="market", volume="4.5")
    since, seen = "0", []
    while rows := (page := desk.public("Trades", pair="XBTUSD", since=since, count=2))["XXBTZUSD"]:
        seen += [row[6] for row in rows]
        since = page["last"]

    assert seen == [1, 2, 3, 4, 5]
    assert page["last"] == since


def test_candles_run_on_without_trades():
    """The running candle is there; those between stand still at the last close; `last` is the one before."""
    desk = Desk()
    desk.limit(90_010)
    at = desk.now // S // 60 * 60
    desk.now += 180 * S
    found = desk.public("OHLC", pair="XBTUSD", interval=1)

    assert [row[0] for row in found["XXBTZUSD"]] == [at, at + 60, at + 120, at + 180]
    assert [row[4] for row in found["XXBTZUSD"]] == ["90010.0"] * 4
    assert found["last"] == at + 120
    assert [row[0] for row in desk.public("OHLC", pair="XBTUSD", since=found["last"])["XXBTZUSD"]] == [at + 180]


def test_fees_name_the_next_tier():
    """TradeVolume says what is paid now and from which volume on less."""
    fees = Desk().ask("TradeVolume", pair="XBTUSD")

    assert fees["fees"]["XXBTZUSD"] | {} == {
        "fee": "0.4000",
        "minfee": "0.1000",
        "maxfee": "0.4000",
        "nextfee": "0.3500",
        "nextvolume": "10000.0000",
        "tiervolume": "0.0000",
    }
    assert fees["fees_maker"]["XXBTZUSD"]["nextfee"] == "0.2000"


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        (ExchangeMode.CANCEL_ONLY, "EService:Market in cancel_only mode"),
        (ExchangeMode.POST_ONLY, "EService:Market in post_only mode"),
        (ExchangeMode.MAINTENANCE, "EService:Unavailable"),
    ],
)
def test_modes_of_the_exchange(mode, error):
    """New orders are refused, cancelling works."""
    desk = Desk()
    (name,) = desk.limit(80_000)["txid"]
    desk.engine.mode = mode

    assert desk.limit(80_000) == error
    assert desk.ask("CancelOrder", txid=name) == {"count": 1}


def test_tokens_and_amendments_are_forgotten(monkeypatch):
    """Only those of the latest are kept, so that days of trading cost no memory."""
    monkeypatch.setattr(rest, "TOKENS_MAX", 2)
    monkeypatch.setattr(rest, "AMENDS_MAX", 2)
    desk = Desk()
    tokens = [desk.ask("GetWebSocketsToken")["token"] for _ in range(3)]
    names = [desk.limit(80_000)["txid"][0] for _ in range(3)]
    for name in names:
        desk.ask("AmendOrder", txid=name, limit_price="81000")

    assert list(desk.parts.tokens) == tokens[1:]
    assert list(desk.parts.amends) == names[1:]
    assert desk.ask("OrderAmends", order_id=names[0])["count"] == 1


def test_what_was_taken_at_once_is_one_trade():
    """Sums, an average price and an id of its own that leads back to it; told otherwise, each fill is by itself."""
    desk = Desk()
    (name,) = desk.ask("AddOrder", pair="XBTUSD", type="buy", ordertype="market", volume="2.5")["txid"]
    history = desk.ask("TradesHistory", ledgers="true")
    ((run, whole),) = history["trades"].items()
    every = desk.ask("TradesHistory", consolidate_taker="false")
    order = desk.ask("QueryOrders", txid=name, trades="true")[name]

    assert (history["count"], every["count"], order["trades"]) == (1, 3, [run])
    assert (whole["vol"], whole["price"], whole["cost"]) == ("2.50000000", "90018.00000", "225045.00000")
    assert whole["fee"] == order["fee"]
    assert len(whole["ledgers"]) == 6
    assert desk.ask("QueryTrades", txid=run)[run]["cost"] == whole["cost"]
    apart = desk.ask("QueryOrders", txid=name, trades="true", consolidate_taker="false")[name]["trades"]
    assert sorted(apart) == sorted(every["trades"])
    assert sum(float(one["cost"]) for one in desk.ask("QueryTrades", txid=",".join(apart)).values()) == 225_045


def test_histories_come_in_pages():
    """50 at a time, newest first; the count is of all, and is left out when that is asked for."""
    desk = Desk()
    for _ in range(60):
        desk.now += 10 * S
        desk.limit(90_010, volume="0.001")
    for method, name, count in (("TradesHistory", "trades", 60), ("ClosedOrders", "closed", 60), ("Ledgers", "ledger", 128)):
        first, second = desk.ask(method), desk.ask(method, ofs=50)
        assert (len(first[name]), len(second[name])) == (50, min(50, count - 50))
        assert first["count"] == second["count"] == count
        assert not first[name].keys() & second[name].keys()
        bounded = desk.ask(method, ofs=50, start=1)
        assert list(bounded[name]) == list(second[name])
        assert "count" not in desk.ask(method, without_count="true")


def test_today_is_not_the_last_day():
    """Ticker has what was traded since midnight UTC and in the last 24 hours; after a day of silence there is neither."""
    desk = Desk()
    desk.now = START // (86_400 * S) * 86_400 * S + 20 * 3600 * S
    desk.limit(90_010, volume="1")
    desk.now += 3600 * S
    desk.limit(90_020, volume="1")
    assert desk.public("Ticker", pair="XBTUSD")["XXBTZUSD"]["v"] == ["2.00000000", "2.00000000"]
    desk.now += 4 * 3600 * S
    desk.limit(89_990, side="sell", volume="0.5")
    found = desk.public("Ticker", pair="XBTUSD")["XXBTZUSD"]

    assert found["v"] == ["0.50000000", "2.50000000"]
    assert (found["t"], found["o"]) == ([1, 3], "89990.00000")
    assert (found["h"], found["l"]) == (["89990.00000", "90020.00000"], ["89990.00000", "89990.00000"])
    desk.now += 19 * 3600 * S + S
    assert desk.public("Ticker", pair="XBTUSD")["XXBTZUSD"]["v"][1] == "1.50000000"
    desk.now += 6 * 3600 * S
    assert desk.public("Ticker", pair="XBTUSD")["XXBTZUSD"]["v"] == ["0.00000000"] * 2


def test_spreads_are_changes_of_the_best_prices():
    """A row for each change, none without one; since is exclusive."""
    desk = Desk()
    for side, price in (("buy", 89_991), ("buy", 89_992), ("sell", 90_005)):
        desk.limit(price, side=side)
        desk.public("Spread", pair="XBTUSD")
    found = desk.public("Spread", pair="XBTUSD")
    rows = found["XXBTZUSD"]

    assert [row[1:] for row in rows] == [
        ["89990.00000", "90010.00000"],
        ["89991.00000", "90010.00000"],
        ["89992.00000", "90010.00000"],
        ["89992.00000", "90005.00000"],
    ]
    assert found["last"] == rows[-1][0]
    assert desk.public("Spread", pair="XBTUSD", since=rows[2][0])["XXBTZUSD"] == rows[3:]
    assert desk.public("Spread", pair="XBTUSD", since=found["last"]) == {"XXBTZUSD": [], "last": found["last"]}


def test_who_asks_for_too_much_gets_the_most():
    """Levels and trades beyond Kraken's most are left out; none at all is no number of them."""
    desk = Desk()
    for number in range(6, 603):
        desk.engine.quote(desk.pair, 900_000 - number, 10**8, buys=True)

    assert len(desk.public("Depth", pair="XBTUSD", count=5_000)["XXBTZUSD"]["bids"]) == 500
    assert desk.public("Depth", pair="XBTUSD", count=0) == "EGeneral:Invalid arguments:count"
    assert desk.public("Trades", pair="XBTUSD", count=5_000)["XXBTZUSD"] == []


def test_a_key_is_locked_out_after_too_many_bad_requests():
    """Fifty at once are answered for what they are, one more locks the key for a quarter of an hour."""
    desk = Desk()
    desk.ask("Balance")
    bad = [desk.send("Balance", b"nonce=1", nonce="1")["error"][0] for _ in range(51)]
    assert set(bad) == {"EAPI:Invalid nonce"}
    assert desk.ask("Balance") == "EGeneral:Temporary lockout"
    desk.now += 897 * S
    assert desk.ask("Balance") == "EGeneral:Temporary lockout"

    assert "XXBT" in desk.ask("Balance")


def test_bad_requests_now_and_then_lock_nobody_out():
    """One a second is forgotten as it comes."""
    desk = Desk()
    desk.ask("Balance")
    for _ in range(200):
        desk.now += S
        assert desk.send("Balance", b"nonce=1", nonce="1")["error"] == ["EAPI:Invalid nonce"]


def test_cancelling_all_counts_and_is_never_refused():
    """Each of the young orders costs its eight; the next order is refused, another CancelAll is not."""
    desk = Desk("starter")
    for number in range(9):
        desk.limit(80_000 + number)
    assert desk.ask("CancelAll") == {"count": 9}
    assert desk.limit(80_000) == "EOrder:Rate limit exceeded"

    assert desk.ask("CancelAll") == {"count": 0}


def test_there_is_a_most_of_open_orders():
    """Sixty of a pair for a starter, as many of another, and one more where one ended."""
    desk = Desk("starter")
    names = []
    for _ in range(60):
        desk.now += 2 * S
        names += desk.limit(80_000)["txid"]
    assert desk.limit(80_000) == "EOrder:Orders limit exceeded"
    assert desk.ask("AddOrder", pair="ETHUSD", type="buy", ordertype="limit", price="2000", volume="0.1")["txid"]
    desk.ask("CancelOrder", txid=names[0])

    assert desk.limit(80_000)["txid"]


@pytest.mark.parametrize(
    ("volume", "fee", "following", "tier"),
    [
        ("9999.9999", "0.4000", "10000.0000", "0.0000"),
        ("10000", "0.3500", "50000.0000", "10000.0000"),
        ("9999999.9999", "0.1200", "10000000.0000", "5000000.0000"),
        ("10000000", "0.1000", None, "10000000.0000"),
    ],
)
def test_tiers_at_their_limits(volume, fee, following, tier):
    """A tier begins with its volume; after the last there is no next."""
    desk = Desk()
    desk.engine.accounts.by_name["one"].trade(Decimal(volume), desk.now)
    found = desk.ask("TradeVolume", pair="XBTUSD")["fees"]["XXBTZUSD"]

    assert (found["fee"], found["nextvolume"], found["tiervolume"]) == (fee, following, tier)


def test_pairs_are_told_in_parts():
    """All of a pair, or its leverage, fees or margin; there are no tokenized assets."""
    desk = Desk()
    whole = desk.public("AssetPairs", pair="XBTUSD")["XXBTZUSD"]

    assert (whole["long_position_limit"], whole["short_position_limit"], whole["leverage_buy"]) == (0, 0, [])
    for info, names in (("leverage", {"leverage_buy", "leverage_sell"}), ("margin", {"margin_call", "margin_stop"})):
        assert desk.public("AssetPairs", info=info)["XXBTZUSD"].keys() == names
    assert desk.public("AssetPairs", info="fees")["XXBTZUSD"]["fees"] == whole["fees"]
    assert desk.public("AssetPairs", info="all") == "EGeneral:Invalid arguments:info"
    assert desk.public("AssetPairs", aclass_base="tokenized_asset") == {}


@pytest.mark.parametrize("leverage", [{}, {"leverage": "none"}, {"leverage": ""}, {"leverage": "1"}])
def test_no_leverage_is_no_margin(leverage):
    """However a client says that it wants none, the order is placed and has none."""
    desk = Desk()
    (name,) = desk.limit(80_000, **leverage)["txid"]

    assert desk.ask("QueryOrders", txid=name)[name]["descr"]["leverage"] == "none"


def test_marks_of_an_order():
    """What a trigger, a part and a change leave in `misc`."""
    desk = Desk()
    desk.limit(90_010)
    told = {"pair": "XBTUSD", "type": "sell", "ordertype": "take-profit-limit", "price": "90000", "price2": "89990"}
    (name,) = desk.ask("AddOrder", volume="1.5", **told)["txid"]
    order = desk.ask("QueryOrders", txid=name)[name]
    assert (order["misc"], order["vol_exec"]) == ("touched,partial", "1.00000000")
    desk.ask("AmendOrder", txid=name, order_qty="1.4")

    assert desk.ask("QueryOrders", txid=name)[name]["misc"] == "touched,partial,amended"


def test_funding_has_empty_answers():
    """Nothing is deposited or withdrawn; a key says what it is."""
    desk = Desk()
    for method in ("DepositStatus", "WithdrawStatus", "DepositMethods", "DepositAddresses", "WithdrawMethods"):
        assert desk.ask(method) == []
    found = desk.ask("GetApiKeyInfo")

    assert (found["api_key"], found["nonce_window"], found["nonce"]) == (desk.key.id, 0, str(desk.nonce))
    assert "modify-trades" in found["permissions"]


def test_an_edit_of_a_partly_filled_order_is_of_the_rest():
    """What was filled stays with the old order, which says that it was replaced; an iceberg stays one."""
    desk = Desk()
    told = {"pair": "XBTUSD", "type": "buy", "ordertype": "iceberg", "price": "90010", "volume": "1.4", "displayvol": "0.2"}
    (name,) = desk.ask("AddOrder", **told)["txid"]
    found = desk.ask("EditOrder", txid=name, price="89000")
    old, new = (desk.ask("QueryOrders", txid=one)[one] for one in (name, found["txid"]))

    assert (old["status"], old["reason"], old["vol_exec"]) == ("canceled", "Order replaced", "1.00000000")
    assert (new["vol"], new["descr"]["ordertype"], new["vol_exec"]) == ("0.40000000", "iceberg", "0.00000000")
    assert (found["volume"], found["price"], found["status"]) == ("0.40000000", "89000.0", "ok")
