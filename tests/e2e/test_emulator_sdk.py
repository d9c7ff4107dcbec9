"""python-kraken-sdk against the emulated exchange, unchanged but for its addresses: REST, streams and its own book."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from kraken.exceptions import (
    KrakenInsufficientFundsError,
    KrakenInvalidAPIKeyError,
    KrakenInvalidArgumentsError,
    KrakenPermissionDeniedError,
    KrakenUnknownAssetError,
    KrakenUnknownOrderError,
)
from kraken.spot import Market, SpotOrderBookClient, SpotWSClient, Trade, User
from kraken.spot.websocket import SpotWSClientBase
from tests.emulated import Emulated, emulating

from peak_trade.emulator.signing import QUERY, ApiKey

PAIR, SYMBOL = "XBTEUR", "BTC/EUR"
PATIENCE_S = 15


@pytest.fixture(scope="module")
def exchange() -> Iterator[Emulated]:
    """An emulator with the widest rate limits."""
    with emulating() as found:
        yield found


@pytest.fixture
def market(exchange) -> Market:
    """A client of public data."""
    return Market(url=exchange.url)


@pytest.fixture
def key(exchange) -> ApiKey:
    """A key of a new account: 10 BTC, 1,000,000 EUR."""
    return exchange.key()


@pytest.fixture
def user(exchange, key) -> User:
    """A client of an account."""
    return User(key=key.id, secret=key.secret_text, url=exchange.url)


@pytest.fixture
def trade(exchange, key) -> Trade:
    """A client that orders, on the same account and key as the user."""
    return Trade(key=key.id, secret=key.secret_text, url=exchange.url)


# ---- public REST -----------------------------------------------------------------------------------------------------------


def test_assets_and_pairs(market):
    """Assets and pairs come under Kraken's ids, and under a slash name where that was asked."""
    assert set(market.get_assets(assets=["XBT", "ZEUR"])) == {"XXBT", "ZEUR"}
    assert market.get_assets(assets="USDT")["USDT"]["decimals"] == 8
    assert len(market.get_asset_pairs()) == 15
    assert market.get_asset_pairs(pair=[SYMBOL])[SYMBOL]["pair_decimals"] == 1
    assert market.get_asset_pairs(pair=[PAIR])["XXBTZEUR"]["wsname"] == "XBT/EUR"


def test_market_data(market, exchange):
    """Ticker, candles, book, trades and spread of a pair agree with each other."""
    ticker = market.get_ticker(pair=PAIR)["XXBTZEUR"]
    candles, book = market.get_ohlc(pair=PAIR, interval=5), market.get_order_book(pair=PAIR, count=7)["XXBTZEUR"]
    spread = market.get_recent_spreads(pair=PAIR)

    assert float(ticker["l"][0]) <= float(ticker["c"][0]) <= float(ticker["h"][0])
    assert float(ticker["b"][0]) < float(ticker["a"][0])
    assert (len(book["asks"]), len(book["bids"])) == (7, 7)
    assert candles["XXBTZEUR"][-2][0] == candles["last"]
    assert [float(value) for value in spread["XXBTZEUR"][-1][1:]] == pytest.approx([exchange.mid(SYMBOL)] * 2, rel=0.01)


def test_recent_trades(market, trade):
    """What came after `last` is told by the next call, and nothing twice."""
    trade.create_order(ordertype="market", side="buy", pair=PAIR, volume=0.001)
    found = market.get_recent_trades(pair=PAIR)
    trade.create_order(ordertype="market", side="buy", pair=PAIR, volume=0.00123)
    later = market.get_recent_trades(pair=PAIR, since=found["last"])["XXBTZEUR"]

    assert found["XXBTZEUR"]
    assert "0.00123000" in [row[1] for row in later]
    assert {row[6] for row in later}.isdisjoint({row[6] for row in found["XXBTZEUR"]})


def test_system_status(market):
    """The exchange is online."""
    assert market.get_system_status()["status"] == "online"


def test_unknown_pair(market):
    """A pair that Kraken has not is an error, which this client takes for that of an asset."""
    with pytest.raises(KrakenUnknownAssetError):
        market.get_ticker(pair="XXXYYY")


# ---- private REST ----------------------------------------------------------------------------------------------------------


def test_balances(user, trade, exchange):
    """What is held by an order is not available, in every form of balance."""
    trade.create_order(ordertype="limit", side="sell", pair=PAIR, volume=0.25, price=exchange.price(SYMBOL, 1.5))

    assert float(user.get_account_balance()["XXBT"]) == 10
    assert {name: float(value) for name, value in user.get_balances()["XXBT"].items()} == {"balance": 10, "hold_trade": 0.25}
    assert user.get_balance(currency="XBT") == {"currency": "XXBT", "balance": 10, "available_balance": 9.75}
    assert float(user.get_trade_balance()["eb"]) > 0
    assert user.get_open_positions() == {}


def test_market_order(user, trade):
    """A market order is closed at once; its trades, its ledger lines and the fee schedule agree."""
    made = trade.create_order(ordertype="market", side="buy", pair=PAIR, volume=0.01)
    name = made["txid"][0]
    order = user.get_orders_info(txid=name, trades=True, consolidate_taker=False)[name]
    trades = user.get_trades_info(txid=order["trades"])

    assert made["descr"]["order"] == "buy 0.01000000 XBTEUR @ market"
    assert (order["status"], float(order["vol_exec"])) == ("closed", 0.01)
    assert sum(float(one["cost"]) for one in trades.values()) == pytest.approx(float(order["cost"]), abs=1e-4)
    assert sum(float(one["fee"]) for one in trades.values()) == pytest.approx(float(order["cost"]) * 0.004, abs=1e-3)
    assert set(user.get_trades_history(consolidate_taker=False)["trades"]) == set(trades)
    lines = [line for one in trades.values() for line in one["ledgers"]]
    assert {line["refid"] for line in user.get_ledgers(id_=lines).values()} == set(trades)
    assert user.get_ledgers_info(type_="trade")["count"] == len(lines)
    assert float(user.get_trade_volume(pair=PAIR)["fees"]["XXBTZEUR"]["fee"]) == 0.4
    assert name in user.get_closed_orders()["closed"]


def test_order_life(user, trade, exchange):
    """An order is made with a client's id, amended under its own, edited into a new one and canceled."""
    price = exchange.price(SYMBOL, 0.5)
    made = trade.create_order(ordertype="limit", side="buy", pair=PAIR, volume=0.01, price=price, cl_ord_id="sdk1")["txid"][0]
    opened = user.get_open_orders()["open"][made]

    assert (opened["cl_ord_id"], opened["status"], opened["descr"]["price"]) == ("sdk1", "open", f"{price:.1f}")
    assert trade.amend_order(cl_ord_id="sdk1", order_qty="0.02")["amend_id"]
    assert user.get_open_orders()["open"][made]["vol"] == "0.02000000"
    edited = trade.edit_order(txid=made, pair=PAIR, volume=0.03, price=exchange.price(SYMBOL, 0.6))
    assert (edited["status"], edited["originaltxid"]) == ("ok", made)
    assert set(user.get_open_orders()["open"]) == {edited["txid"]}
    assert trade.cancel_order(txid=edited["txid"]) == {"count": 1}
    assert user.get_open_orders() == {"open": {}}
    assert {name: order["status"] for name, order in user.get_closed_orders()["closed"].items()} == {
        made: "canceled",
        edited["txid"]: "canceled",
    }


def test_live_orders_say_validate_false(user, trade, exchange):
    """`validate=False&reduce_only=False`, which this client sends with every live order, is live; `True` places nothing."""
    price = exchange.price(SYMBOL, 0.5)
    checked = trade.create_order(ordertype="limit", side="buy", pair=PAIR, volume=0.01, price=price, validate=True)
    live = trade.create_order(ordertype="limit", side="buy", pair=PAIR, volume=0.01, price=price, validate=False)

    assert set(checked) == {"descr"}
    assert set(user.get_open_orders()["open"]) == set(live["txid"])


@pytest.mark.parametrize(
    ("ordertype", "side", "price", "price2"),
    [
        ("stop-loss", "sell", 0.5, None),
        ("stop-loss-limit", "sell", 0.5, 0.49),
        ("take-profit", "sell", 1.5, None),
        ("take-profit-limit", "sell", 1.5, 1.49),
        ("trailing-stop", "sell", "+5%", None),
        ("trailing-stop-limit", "sell", "+100.0", "-10.0"),
    ],
)
def test_triggered_orders(user, trade, exchange, ordertype, side, price, price2):
    """Each kind of triggered order waits with what was sent."""
    first, second = (exchange.price(SYMBOL, one) if isinstance(one, float) else one for one in (price, price2))
    made = trade.create_order(ordertype=ordertype, side=side, pair=PAIR, volume=0.01, price=first, price2=second)
    found = user.get_open_orders()["open"][made["txid"][0]]["descr"]

    assert found["ordertype"] == ordertype
    assert found["price"] == (f"{first:.1f}" if isinstance(first, float) else first)


def test_batches(user, trade, exchange):
    """Orders are made and canceled several at a time."""
    orders = [
        {"ordertype": "limit", "type": "buy", "price": str(exchange.price(SYMBOL, factor)), "volume": "0.01", "userref": ref}
        for factor, ref in ((0.5, 1), (0.4, 2), (0.3, 3))
    ]
    made = [one["txid"] for one in trade.create_order_batch(orders=orders, pair=PAIR)["orders"]]

    assert set(user.get_open_orders()["open"]) == set(made)
    assert trade.cancel_order_batch(orders=made[:2]) == {"count": 2}
    assert list(user.get_open_orders(userref=3)["open"]) == [made[2]]
    assert trade.cancel_all_orders() == {"count": 1}


def test_dead_mans_switch(user, trade, exchange):
    """The switch tells when it fires, and fires."""
    trade.create_order(ordertype="limit", side="buy", pair=PAIR, volume=0.01, price=exchange.price(SYMBOL, 0.5))
    told = trade.cancel_all_orders_after_x(timeout=60)
    exchange.advance(61)

    assert told["triggerTime"] > told["currentTime"]
    assert user.get_open_orders() == {"open": {}}
    assert trade.cancel_all_orders_after_x(timeout=0)["triggerTime"] == "0"


def test_errors(exchange, trade, key):
    """Each refusal has the class that this client has for its string."""
    with pytest.raises(KrakenInsufficientFundsError):
        trade.create_order(ordertype="market", side="sell", pair=PAIR, volume=11)
    with pytest.raises(KrakenInvalidArgumentsError):
        trade.create_order(ordertype="limit", side="buy", pair=PAIR, volume=0.00001, price=1000)
    with pytest.raises(KrakenUnknownOrderError):
        trade.cancel_order(txid="OAAAAA-AAAAA-AAAAAA")
    with pytest.raises(KrakenInvalidAPIKeyError):
        User(key="AAAA", secret=key.secret_text, url=exchange.url).get_account_balance()
    looking = exchange.key(QUERY)
    with pytest.raises(KrakenPermissionDeniedError):
        Trade(key=looking.id, secret=looking.secret_text, url=exchange.url).cancel_all_orders()


# ---- streams ---------------------------------------------------------------------------------------------------------------


class Heard:
    """Every message of a client's connections, and waiting for one."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    async def take(self, message: dict[str, Any]) -> None:
        self.messages.append(message)

    async def first(self, met: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE_S
        while not (found := [message for message in self.messages if met(message)]):
            assert time.monotonic() < end, f"not heard; the last were {self.messages[-5:]}"
            await asyncio.sleep(0.01)
        return found[0]

    async def channel(self, name: str, kind: str) -> dict[str, Any]:
        return await self.first(lambda message: (message.get("channel"), message.get("type")) == (name, kind))

    async def answer(self, number: int) -> dict[str, Any]:
        return await self.first(lambda message: message.get("req_id") == number and "success" in message)


async def close(client: SpotWSClient) -> None:
    """Close a client, which waits for one more message: ask for a pong."""
    closing = asyncio.ensure_future(client.close())
    await asyncio.sleep(0)
    for connection in (client._pub_conn, client._priv_conn):
        if connection is not None:
            await connection.send_ping()
    await closing


def with_streams(exchange: Emulated, act: Callable[[SpotWSClient, Heard], Awaitable[Any]], key: ApiKey | None = None) -> Any:
    """Run something with a client whose connections are open."""

    async def run() -> Any:
        heard = Heard()
        secrets = {"key": key.id, "secret": key.secret_text, "no_public": True} if key else {}
        places = {"rest_url": exchange.url, "ws_url": exchange.stream, "auth_ws_url": f"{exchange.stream}/auth"}
        client = SpotWSClient(callback=heard.take, **secrets, **places)
        await client.start()
        try:
            return await asyncio.wait_for(act(client, heard), PATIENCE_S * 2)
        finally:
            await close(client)

    return asyncio.run(run())


def test_public_channels(exchange):
    """Each public channel acknowledges each symbol and sends its snapshot."""

    async def act(client: SpotWSClient, heard: Heard) -> Any:
        for channel in ("ticker", "trade", "ohlc", "book"):
            params = {"channel": channel, "symbol": [SYMBOL, "DOT/USD"], "snapshot": True}
            await client.subscribe(params=params | ({"interval": 1} if channel == "ohlc" else {}))
        await client.subscribe(params={"channel": "instrument"})
        found = {name: await heard.channel(name, "snapshot") for name in ("ticker", "trade", "ohlc", "book", "instrument")}
        await heard.channel("ticker", "update")
        await client.unsubscribe(params={"channel": "ticker", "symbol": [SYMBOL]}, req_id=77)
        return found, await heard.answer(77), heard.messages

    found, left, messages = with_streams(exchange, act)

    told = [one for one in messages if one.get("method") == "subscribe"]
    assert all(one["success"] for one in told)
    assert len(told) == 9
    assert messages[0]["channel"] == "status"
    assert messages[0]["data"][0]["system"] == "online"
    assert len(found["instrument"]["data"]["pairs"]) == 15
    assert found["ticker"]["data"][0]["bid"] < found["ticker"]["data"][0]["ask"]
    assert left["result"] == {"channel": "ticker", "event_trigger": "trades", "symbol": SYMBOL}


def test_refused_subscriptions(exchange):
    """A pair that is not there, a depth that is not there and a second subscription are each refused in words."""

    async def act(client: SpotWSClient, heard: Heard) -> Any:
        await client.subscribe(params={"channel": "ticker", "symbol": ["XXX/YYY"]}, req_id=1)
        await client.subscribe(params={"channel": "book", "symbol": [SYMBOL], "depth": 11}, req_id=2)
        await client.subscribe(params={"channel": "trade", "symbol": [SYMBOL]}, req_id=3)
        await heard.answer(3)
        await client.subscribe(params={"channel": "trade", "symbol": [SYMBOL]}, req_id=4)
        await client.unsubscribe(params={"channel": "ticker", "symbol": [SYMBOL]}, req_id=5)
        return [(await heard.answer(number)).get("error") for number in (1, 2, 3, 4, 5)]

    assert with_streams(exchange, act) == [
        "Currency pair not supported XXX/YYY",
        "Subscription depth not supported",
        None,
        "Already subscribed",
        "Subscription Not Found",
    ]


def test_heartbeat_and_ping(exchange):
    """Who follows a channel in which nothing happens hears a heartbeat; a ping is answered."""

    async def act(client: SpotWSClient, heard: Heard) -> Any:
        await client.subscribe(params={"channel": "instrument"})
        await heard.first(lambda message: message == {"channel": "heartbeat"})
        return await heard.first(lambda message: message.get("method") == "pong")

    assert with_streams(exchange, act)["time_in"].endswith("Z")


@pytest.mark.parametrize(("depth", "symbol"), [(10, SYMBOL), (25, "DOT/USDT"), (100, "ETH/USD"), (1000, "SOL/EUR")])
def test_own_book(exchange, monkeypatch, depth, symbol):
    """The client's own book, made of text, has the checksum of every message."""
    monkeypatch.setattr(Market, "URL", exchange.url)
    monkeypatch.setattr(SpotWSClientBase, "URL", exchange.url)
    monkeypatch.setattr(SpotWSClientBase, "WS_URL", exchange.stream)
    monkeypatch.setattr(SpotWSClientBase, "AUTH_WS_URL", f"{exchange.stream}/auth")

    async def run() -> list[bool]:
        valid: list[bool] = []

        async def take(pair: str, message: dict[str, Any]) -> None:
            assert message.get("error") is None
            valid.append(book.get(pair)["valid"])

        book = SpotOrderBookClient(depth=depth, callback=take)
        await book.start()
        try:
            await book.add_book(pairs=[symbol])
            end = time.monotonic() + PATIENCE_S
            while len(valid) < 15:
                assert time.monotonic() < end, f"only {len(valid)} messages"
                await asyncio.sleep(0.01)
        finally:
            await close(book)
        return valid

    assert set(asyncio.run(run())) == {True}


def test_executions(exchange, key):
    """An order over the socket: its answer, its events in sequence, the trade apart from the end, and the balances."""

    async def act(client: SpotWSClient, heard: Heard) -> Any:
        await client.subscribe(params={"channel": "executions", "snap_orders": True})
        await client.subscribe(params={"channel": "balances"})
        await heard.channel("executions", "snapshot")
        await heard.channel("balances", "snapshot")
        params = {"order_type": "market", "side": "buy", "order_qty": 0.01, "symbol": SYMBOL, "cl_ord_id": "stream1"}
        await client.send_message({"method": "add_order", "params": params, "req_id": 11})
        answer = await heard.answer(11)
        await heard.first(
            lambda one: one.get("channel") == "executions" and one["data"] and one["data"][0]["exec_type"] == "filled"
        )
        return answer, heard.messages

    answer, messages = with_streams(exchange, act, key)

    told = [one for one in messages if one.get("channel") == "executions"]
    events = [one["data"][0] for one in told[1:]]
    kinds = [one["exec_type"] for one in events]
    assert answer["result"]["cl_ord_id"] == "stream1"
    assert {one["order_id"] for one in events} == {answer["result"]["order_id"]}
    assert [one["sequence"] for one in told] == list(range(1, len(told) + 1))
    assert (kinds[0], kinds[1], kinds[-1]) == ("pending_new", "new", "filled")
    assert set(kinds[2:-1]) == {"trade"}
    assert sum(one["last_qty"] for one in events if one["exec_type"] == "trade") == pytest.approx(0.01)
    assert events[-1]["order_status"] == "filled"
    assert {one["data"][0]["asset"] for one in messages if (one.get("channel"), one.get("type")) == ("balances", "update")} == {
        "BTC",
        "EUR",
    }


def test_trading_methods(exchange, key):
    """Every trading method of the socket, as this client sends them, does what REST's does."""
    low, lower = exchange.price(SYMBOL, 0.5), exchange.price(SYMBOL, 0.4)
    limit = {"order_type": "limit", "side": "buy", "order_qty": 0.01, "limit_price": low}

    async def act(client: SpotWSClient, heard: Heard) -> Any:
        numbers = iter(range(1, 100))

        async def ask(method: str, params: dict[str, Any]) -> dict[str, Any]:
            number = next(numbers)
            await client.send_message({"method": method, "params": params, "req_id": number})
            return await heard.answer(number)

        order = (await ask("add_order", limit | {"symbol": SYMBOL}))["result"]["order_id"]
        checked = await ask("add_order", limit | {"symbol": SYMBOL, "validate": True})
        amended = await ask("amend_order", {"order_id": order, "order_qty": 0.02, "limit_price": lower})
        edited = await ask("edit_order", {"order_id": order, "order_qty": 0.03, "limit_price": low, "symbol": SYMBOL})
        canceled = await ask("cancel_order", {"order_id": [edited["result"]["order_id"]]})
        batch = await ask("batch_add", {"orders": [limit, limit | {"limit_price": lower}], "symbol": SYMBOL})
        gone = await ask("batch_cancel", {"orders": [one["order_id"] for one in batch["result"]]})
        armed = await ask("cancel_all_orders_after", {"timeout": 60})
        every = await ask("cancel_all", {})
        return order, checked, amended, edited, canceled, gone, armed, every

    order, checked, amended, edited, canceled, gone, armed, every = with_streams(exchange, act, key)

    assert checked["success"]
    assert "order_id" not in checked["result"]
    assert amended["result"]["order_id"] == order
    assert edited["result"]["original_order_id"] == order
    assert canceled["result"]["order_id"] == edited["result"]["order_id"]
    assert gone["orders_cancelled"] == 2
    assert armed["result"]["triggerTime"] > armed["result"]["currentTime"]
    assert every["result"]["count"] == 0


def test_refused_orders(exchange, key):
    """What is refused is answered under its number, with Kraken's words."""

    async def act(client: SpotWSClient, heard: Heard) -> Any:
        params = {"order_type": "market", "side": "sell", "order_qty": 11, "symbol": SYMBOL}
        await client.send_message({"method": "add_order", "params": params, "req_id": 1})
        await client.send_message({"method": "cancel_order", "params": {"order_id": ["OAAAAA-AAAAA-AAAAAA"]}, "req_id": 2})
        return [(await heard.answer(number))["error"] for number in (1, 2)]

    assert with_streams(exchange, act, key) == ["EOrder:Insufficient funds", "EOrder:Unknown order"]
