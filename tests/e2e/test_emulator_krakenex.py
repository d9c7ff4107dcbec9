"""krakenex against the emulated exchange, unchanged but for its address. It hands on Kraken's answers as they are."""

import contextlib
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from tests.emulated import Emulated, emulating, until

from peak_trade.emulator.signing import CANCEL_ONLY, QUERY, ApiKey

krakenex = pytest.importorskip("krakenex", reason="krakenex has no wheel, and could not be built here")


@pytest.fixture(scope="module")
def exchange() -> Iterator[Emulated]:
    """An emulator without rate limits."""
    with emulating("unlimited") as found:
        yield found


@contextlib.contextmanager
def speaking(exchange: Emulated, key: ApiKey | None = None) -> Iterator[Any]:
    """Open a client."""
    client = krakenex.API(key.id, key.secret_text) if key else krakenex.API()
    client.uri = exchange.url
    with contextlib.closing(client):
        yield client


@pytest.fixture
def client(exchange) -> Iterator[Any]:
    """A client with an account of its own."""
    with speaking(exchange, exchange.key()) as found:
        yield found


def asked(client: Any, method: str, **given: Any) -> Any:
    """Ask a private method; return its result."""
    time.sleep(0.002)  # its nonces count milliseconds, and two of one are refused
    answer = client.query_private(method, given)
    assert answer["error"] == [], answer
    return answer["result"]


def public(client: Any, method: str, **given: Any) -> Any:
    """Ask a public method; return its result."""
    answer = client.query_public(method, given)
    assert answer["error"] == [], answer
    return answer["result"]


def placed(client: Any, **given: Any) -> str:
    """Place an order; return its id."""
    return asked(client, "AddOrder", **({"pair": "XBTEUR", "type": "buy", "volume": "0.01"} | given))["txid"][0]


def test_market_data(exchange, client):
    """Every public method answers for a pair."""
    assert abs(public(client, "Time")["unixtime"] - exchange.clock() / 1e9) < 5
    assert public(client, "SystemStatus")["status"] == "online"
    assert public(client, "Assets", asset="XBT")["XXBT"]["altname"] == "XBT"
    assert public(client, "AssetPairs", pair="XBTEUR")["XXBTZEUR"]["wsname"] == "XBT/EUR"
    ticker = public(client, "Ticker", pair="XBTEUR")["XXBTZEUR"]
    assert Decimal(ticker["b"][0]) < Decimal(ticker["a"][0])
    assert len(public(client, "OHLC", pair="XBTEUR", interval=60)["XXBTZEUR"]) == 720
    assert len(public(client, "Depth", pair="XBTEUR", count=3)["XXBTZEUR"]["asks"]) == 3
    assert "last" in public(client, "Trades", pair="XBTEUR")
    assert "last" in public(client, "Spread", pair="XBTEUR")


def test_balances(client):
    """What an account begins with."""
    assert Decimal(asked(client, "Balance")["XXBT"]) == 10
    assert Decimal(asked(client, "BalanceEx")["ZEUR"]["hold_trade"]) == 0
    assert Decimal(asked(client, "TradeBalance", asset="ZEUR")["eb"]) > 1_000_000


@pytest.mark.parametrize(
    ("ordertype", "prices", "further"),
    [
        ("limit", {"price": 0.9}, {"oflags": "post", "timeinforce": "GTC"}),
        ("limit", {"price": 0.9}, {"timeinforce": "GTD", "expiretm": "+60"}),
        ("stop-loss", {"price": 1.2}, {}),
        ("take-profit", {"price": 0.8}, {}),
        ("stop-loss-limit", {"price": 1.2, "price2": 1.21}, {}),
        ("take-profit-limit", {"price": 0.8, "price2": 0.81}, {}),
    ],
)
def test_orders_that_wait(exchange, client, ordertype, prices, further):
    """Each type is open with what was said, and is canceled."""
    told = {name: exchange.price("BTC/EUR", factor) for name, factor in prices.items()}
    txid = placed(client, ordertype=ordertype, **told, **further)

    order = asked(client, "OpenOrders")["open"][txid]
    assert (order["status"], order["descr"]["ordertype"]) == ("open", ordertype)
    assert {name: float(order["descr"][name]) for name in told} == told
    assert asked(client, "CancelOrder", txid=txid) == {"count": 1}
    assert asked(client, "ClosedOrders")["closed"][txid]["reason"] == "User requested"


@pytest.mark.parametrize("ordertype", ["trailing-stop", "trailing-stop-limit"])
def test_trailing_stops(client, ordertype):
    """A distance is taken from the market."""
    further = {"price2": "+1"} if ordertype.endswith("limit") else {}
    txid = placed(client, ordertype=ordertype, price="+5%", **further)

    assert asked(client, "QueryOrders", txid=txid)[txid]["descr"]["ordertype"] == ordertype


def test_a_market_order_fills(client):
    """It is closed with its trades, its fee and its lines of the ledger."""
    txid = placed(client, ordertype="market")

    order = asked(client, "QueryOrders", txid=txid, trades="true")[txid]
    assert (order["status"], Decimal(order["vol_exec"])) == ("closed", Decimal("0.01"))
    trades = asked(client, "QueryTrades", txid=",".join(order["trades"]))
    assert sum(Decimal(trade["cost"]) for trade in trades.values()) == Decimal(order["cost"])
    assert {trade["ordertxid"] for trade in asked(client, "TradesHistory")["trades"].values()} == {txid}
    paid = [line for line in asked(client, "Ledgers", type="trade")["ledger"].values() if line["asset"] == "ZEUR"]
    assert sum(Decimal(line["fee"]) for line in paid) == Decimal(order["fee"]) > 0
    assert Decimal(asked(client, "TradeVolume", pair="XBTEUR")["volume"]) > 0


def test_what_may_last(exchange, client):
    """An order that may not rest ends at once; one that is to fill whole or not at all too."""
    for lasting in ("IOC", "FOK"):
        txid = placed(client, ordertype="limit", price=exchange.price("BTC/EUR", 0.9), timeinforce=lasting)
        assert asked(client, "QueryOrders", txid=txid)[txid]["status"] == "canceled"


def test_validated_only(exchange, client):
    """It has no id, and nothing is open."""
    told = {"pair": "XBTEUR", "type": "buy", "volume": "0.01", "ordertype": "limit", "price": exchange.price("BTC/EUR", 0.9)}

    assert "txid" not in asked(client, "AddOrder", **told, validate="true")
    assert asked(client, "OpenOrders")["open"] == {}


def test_amended_and_edited(exchange, client):
    """An amended order keeps its id, an edited one gets another."""
    price = exchange.price("BTC/EUR", 0.9)
    txid = placed(client, ordertype="limit", price=price, cl_ord_id="krakenex1")

    assert asked(client, "AmendOrder", txid=txid, order_qty="0.02")["amend_id"]
    assert Decimal(asked(client, "QueryOrders", txid=txid)[txid]["vol"]) == Decimal("0.02")
    edited = asked(client, "EditOrder", txid=txid, pair="XBTEUR", volume="0.03")
    assert (edited["originaltxid"], edited["status"]) == (txid, "ok")
    assert list(asked(client, "OpenOrders")["open"]) == [edited["txid"]]


def test_all_canceled(exchange, client):
    """CancelAll says how many."""
    for factor in (0.9, 0.8):
        placed(client, ordertype="limit", price=exchange.price("BTC/EUR", factor))

    assert asked(client, "CancelAll")["count"] == 2


def test_a_dead_mans_switch(client):
    """It is armed and let go."""
    assert asked(client, "CancelAllOrdersAfter", timeout=60)["triggerTime"] != "0"
    assert asked(client, "CancelAllOrdersAfter", timeout=0)["triggerTime"] == "0"


def test_a_token(client):
    """A token for streams is given for a quarter of an hour."""
    assert asked(client, "GetWebSocketsToken")["expires"] == 900


def test_errors_in_krakens_words(exchange, client):
    """What is refused says so in the list of errors."""
    told = {"pair": "XBTEUR", "type": "buy", "ordertype": "limit", "price": "1000", "volume": "5000"}

    assert client.query_private("AddOrder", told)["error"] == ["EOrder:Insufficient funds"]
    time.sleep(0.002)
    assert client.query_private("CancelOrder", {"txid": "OAAAAA-AAAAA-AAAAAA"})["error"] == ["EOrder:Unknown order"]
    assert client.query_public("Ticker", {"pair": "NOSUCH"})["error"] == ["EQuery:Unknown asset pair"]
    client.secret = "AAAA" + client.secret[4:]
    time.sleep(0.002)
    assert client.query_private("Balance")["error"] == ["EAPI:Invalid signature"]


@pytest.mark.parametrize(("rights", "canceled"), [(QUERY, False), (CANCEL_ONLY, True)])
def test_rights(exchange, rights, canceled):
    """A key that may not place orders can't; one that may cancel can."""
    owner = exchange.key()
    with speaking(exchange, owner) as trader:
        txid = placed(trader, ordertype="limit", price=exchange.price("BTC/EUR", 0.9))
    with speaking(exchange, exchange.key(rights, owner.account)) as other:
        told = {"pair": "XBTEUR", "type": "buy", "ordertype": "market", "volume": "0.01"}
        assert other.query_private("AddOrder", told)["error"] == ["EGeneral:Permission denied"]
        time.sleep(0.002)
        answer = other.query_private("CancelOrder", {"txid": txid})
        assert answer["error"] == ([] if canceled else ["EGeneral:Permission denied"])


def test_a_stop_fires(exchange, client):
    """Its trigger touched, it trades."""
    txid = placed(client, ordertype="stop-loss", price=exchange.price("BTC/EUR", 1.001))
    exchange.inside(lambda: exchange.opened.emulator.faults.shocks.append(("BTC/EUR", 1.02)))

    order = until(lambda: found if (found := asked(client, "QueryOrders", txid=txid)[txid])["status"] == "closed" else None)
    assert Decimal(order["vol_exec"]) == Decimal("0.01")
