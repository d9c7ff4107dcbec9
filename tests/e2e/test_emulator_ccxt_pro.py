"""ccxt.pro against the emulated exchange over WebSocket v2, unchanged but for its addresses."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import ccxt
import ccxt.pro
import pytest
from tests.emulated import Emulated, emulating

from peak_trade.emulator.signing import ApiKey

Found = TypeVar("Found")
SYMBOL = "BTC/EUR"
#: Seconds for which anything is waited for: a refused subscription would never wake its reader.
PATIENCE_S = 15
TAKER = 0.0040


@pytest.fixture(scope="module")
def exchange() -> Iterator[Emulated]:
    """An emulator with the widest rate limits."""
    with emulating() as found:
        yield found


def with_client(exchange: Emulated, act: Callable[[ccxt.pro.kraken], Awaitable[Found]], key: ApiKey | None = None) -> Found:
    """Run something with a client of a key, or of a new account: 10 BTC, 1,000,000 EUR."""
    key = key or exchange.key()
    streams = {"publicV2": f"{exchange.stream}/v2", "privateV2": f"{exchange.stream}/auth/v2", "private": exchange.stream}
    told = {
        "urls": {"api": {"public": exchange.url, "private": exchange.url, "ws": streams}},
        "apiKey": key.id,
        "secret": key.secret_text,
        "enableRateLimit": False,
    }

    async def run() -> Found:
        client = ccxt.pro.kraken(told)
        try:
            await client.load_markets()
            return await asyncio.wait_for(act(client), PATIENCE_S * 2)
        finally:
            await client.close()

    return asyncio.run(run())


async def soon(what: Awaitable[Found]) -> Found:
    """Wait for something, but not for ever."""
    return await asyncio.wait_for(what, PATIENCE_S)


async def watched(watch: Callable[[], Awaitable[list[Any]]], met: Callable[[Any], bool]) -> Any:
    """Return the first that meets a condition of what a stream tells."""
    while True:
        for one in await soon(watch()):
            if met(one):
                return one


async def began(exchange: Emulated, *channels: str) -> None:
    """Wait until the emulator publishes private channels to somebody."""
    hub = exchange.opened.emulator.hub

    def followed() -> bool:
        every = [sub.channel for connection in hub.connections.values() for sub in connection.subscriptions.values()]
        return set(channels) <= set(every)

    for _ in range(500):
        if await asyncio.to_thread(exchange.inside, followed):
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"{channels} are not followed")


# ---- public ----------------------------------------------------------------------------------------------------------------


def test_ticker(exchange):
    """A ticker has both sides of the book around its last price's day."""
    found = with_client(exchange, lambda client: client.watch_ticker(SYMBOL))

    assert found["symbol"] == SYMBOL
    assert found["bid"] < found["ask"]
    assert found["low"] <= found["last"] <= found["high"]


def test_tickers(exchange):
    """Tickers of several pairs come over one subscription."""

    async def act(client: ccxt.pro.kraken) -> set[str]:
        seen: set[str] = set()
        while len(seen) < 3:
            seen |= set(await soon(client.watch_tickers([SYMBOL, "ETH/EUR", "DOT/USDT"])))
        return seen

    assert with_client(exchange, act) == {SYMBOL, "ETH/EUR", "DOT/USDT"}


def test_bids_and_asks(exchange):
    """The best bid and ask come at each change of the book."""
    found = with_client(exchange, lambda client: client.watch_bids_asks([SYMBOL]))

    assert found[SYMBOL]["bid"] < found[SYMBOL]["ask"]
    assert found[SYMBOL]["bidVolume"] > 0


@pytest.mark.parametrize("depth", [10, 25, 100])
def test_order_book(exchange, depth):
    """A book that is kept by its updates stays sorted and uncrossed, and agrees with what REST tells."""

    async def act(client: ccxt.pro.kraken) -> list[Any]:
        books = []
        for _ in range(10):
            book = await soon(client.watch_order_book(SYMBOL, depth))
            books.append({side: [level[0] for level in book[side]] for side in ("bids", "asks")})
        return books

    for book in with_client(exchange, act):
        assert book["bids"] == sorted(set(book["bids"]), reverse=True)
        assert book["asks"] == sorted(set(book["asks"]))
        assert book["bids"][0] < book["asks"][0]
        assert len(book["bids"]) <= depth


def test_order_books(exchange):
    """Books of two pairs come over one subscription."""

    async def act(client: ccxt.pro.kraken) -> set[str]:
        seen: set[str] = set()
        while len(seen) < 2:
            seen.add((await soon(client.watch_order_book_for_symbols([SYMBOL, "ETH/EUR"], 10)))["symbol"])
        return seen

    assert with_client(exchange, act) == {SYMBOL, "ETH/EUR"}


def test_trades(exchange):
    """A trade of ours is public at once, with its side, price and volume."""

    async def act(client: ccxt.pro.kraken) -> Any:
        waiting = asyncio.ensure_future(watched(lambda: client.watch_trades(SYMBOL), lambda one: one["amount"] == 0.00123456))
        await began(exchange, "trade")
        await client.create_order_ws(SYMBOL, "market", "buy", 0.00123456)
        return await waiting

    found = with_client(exchange, act)

    assert (found["symbol"], found["side"]) == (SYMBOL, "buy")
    assert found["price"] == pytest.approx(exchange.mid(SYMBOL), rel=0.01)


def test_trades_of_several_pairs(exchange):
    """Trades of two pairs come over one subscription."""

    async def act(client: ccxt.pro.kraken) -> set[str]:
        seen: set[str] = set()
        while len(seen) < 2:
            seen |= {one["symbol"] for one in await soon(client.watch_trades_for_symbols([SYMBOL, "ETH/EUR"]))}
        return seen

    assert with_client(exchange, act) == {SYMBOL, "ETH/EUR"}


def test_candles(exchange):
    """Candles come with the running minute last."""
    found = with_client(exchange, lambda client: client.watch_ohlcv(SYMBOL, "1m"))

    assert found[-1][0] == pytest.approx(exchange.clock() / 1e6, abs=61_000)
    assert all(low <= min(opened, closed) <= max(opened, closed) <= high for _, opened, high, low, closed, _ in found)


# ---- private ---------------------------------------------------------------------------------------------------------------


def test_order_life(exchange):
    """An order's life over the socket: made, amended, canceled, each told to its account, and equal over REST."""
    key, low, higher = exchange.key(), exchange.price(SYMBOL, 0.5), exchange.price(SYMBOL, 0.6)

    async def act(client: ccxt.pro.kraken) -> Any:
        told: list[Any] = []

        async def listen() -> None:
            await watched(
                lambda: client.watch_orders(SYMBOL), lambda one: told.append(dict(one)) or one["status"] == "canceled"
            )

        waiting = asyncio.ensure_future(listen())
        await began(exchange, "executions")
        order = await soon(client.create_order_ws(SYMBOL, "limit", "buy", 0.01, low))
        opened = await client.fetch_open_orders()
        await soon(client.edit_order_ws(order["id"], SYMBOL, "limit", "buy", 0.02, higher))
        amended = await client.fetch_open_orders()
        await soon(client.cancel_order_ws(order["id"]))
        await waiting
        return order, opened, amended, told, await client.fetch_open_orders()

    order, opened, amended, told, left = with_client(exchange, act, key)

    assert [(one["id"], one["price"], one["amount"]) for one in opened] == [(order["id"], low, 0.01)]
    assert [(one["id"], one["price"], one["amount"]) for one in amended] == [(order["id"], higher, 0.02)]
    assert left == []
    assert {one["id"] for one in told} == {order["id"]}
    assert [one["status"] for one in told][-1] == "canceled"
    assert "open" in {one["status"] for one in told}


def test_my_trades(exchange):
    """A market order's fills are told with price, fee and liquidity, as REST has them."""

    async def act(client: ccxt.pro.kraken) -> Any:
        waiting = asyncio.ensure_future(watched(lambda: client.watch_my_trades(SYMBOL), lambda _one: True))
        await began(exchange, "executions")
        order = await soon(client.create_order_ws(SYMBOL, "market", "buy", 0.0001))
        return order, await waiting, await client.fetch_my_trades(SYMBOL)

    order, told, kept = with_client(exchange, act)

    assert [(one["id"], one["order"], one["price"], one["amount"]) for one in kept] == [
        (told["id"], order["id"], told["price"], told["amount"])
    ]
    assert (told["side"], told["takerOrMaker"], told["amount"]) == ("buy", "taker", 0.0001)
    assert told["fee"]["cost"] == pytest.approx(told["cost"] * TAKER, abs=1e-4)
    assert told["fee"]["currency"] == "EUR"


def test_balance(exchange):
    """Balances come as totals, and a trade changes both of its assets."""

    async def act(client: ccxt.pro.kraken) -> Any:
        first = dict((await soon(client.watch_balance()))["total"])
        waiting = asyncio.ensure_future(client.watch_balance())
        await soon(client.create_order_ws(SYMBOL, "market", "sell", 0.01))
        await soon(waiting)
        kept = (await client.fetch_balance())["total"]
        later = client.balance["spot"]["total"]
        while abs(later["EUR"] - kept["EUR"]) > 1e-3:
            later = (await soon(client.watch_balance()))["total"]
        return first, kept, later

    first, kept, later = with_client(exchange, act)

    assert (first["BTC"], first["EUR"]) == (10, 1_000_000)
    assert (kept["BTC"], later["BTC"]) == (pytest.approx(9.99), pytest.approx(9.99))
    assert kept["EUR"] > 1_000_000


def test_cancels(exchange):
    """Several orders are canceled by their ids, and the rest at once."""

    async def act(client: ccxt.pro.kraken) -> Any:
        made = [await client.create_order_ws(SYMBOL, "limit", "buy", 0.01, exchange.price(SYMBOL, 0.5)) for _ in range(4)]
        await soon(client.cancel_orders_ws([made[0]["id"], made[1]["id"]]))
        left = {one["id"] for one in await client.fetch_open_orders()}
        await soon(client.cancel_all_orders_ws())
        return made, left, await client.fetch_open_orders()

    made, left, none = with_client(exchange, act)

    assert left == {made[2]["id"], made[3]["id"]}
    assert none == []


@pytest.mark.parametrize("kind", ["stop-loss", "take-profit"])
def test_triggered_orders(exchange, kind):
    """An order with a trigger waits for it, and keeps the trigger that was sent."""
    trigger = exchange.price(SYMBOL, 0.5 if kind == "stop-loss" else 1.5)

    async def act(client: ccxt.pro.kraken) -> Any:
        name = {"stop-loss": "stopLossPrice", "take-profit": "takeProfitPrice"}[kind]
        order = await soon(client.create_order_ws(SYMBOL, "market", "sell", 0.01, None, {name: trigger}))
        return await client.fetch_order(order["id"], SYMBOL)

    found = with_client(exchange, act)

    assert (found["status"], found["triggerPrice"]) == ("open", trigger)
    assert found["info"]["descr"]["ordertype"] == kind


def test_a_validate_of_ccxt_is_live(exchange):
    """The library puts `validate` beside `params`, where Kraken does not look: the order is real."""

    async def act(client: ccxt.pro.kraken) -> Any:
        price = exchange.price(SYMBOL, 0.5)
        order = await soon(client.create_order_ws(SYMBOL, "limit", "buy", 0.01, price, {"validate": True}))
        return order, await client.fetch_open_orders()

    order, opened = with_client(exchange, act)

    assert [one["id"] for one in opened] == [order["id"]]


def test_errors(exchange):
    """What REST refuses the socket refuses too, in the same words."""

    async def act(client: ccxt.pro.kraken) -> None:
        with pytest.raises(ccxt.ExchangeError, match="EOrder:Insufficient funds"):
            await soon(client.create_order_ws(SYMBOL, "market", "sell", 11))
        with pytest.raises(ccxt.ExchangeError, match="volume minimum not met"):
            await soon(client.create_order_ws(SYMBOL, "limit", "buy", 0.00001, exchange.price(SYMBOL, 0.5)))
        with pytest.raises(ccxt.ExchangeError, match="EOrder:Unknown order"):
            await soon(client.cancel_order_ws("OAAAAA-AAAAA-AAAAAA"))

    with_client(exchange, act)


def test_reconnection(exchange):
    """A socket that is gone tells its reader once; the next call connects and subscribes again."""

    async def act(client: ccxt.pro.kraken) -> Any:
        await soon(client.watch_ticker(SYMBOL))
        url = client.urls["api"]["ws"]["publicV2"]
        first = client.clients[url]
        waiting = asyncio.ensure_future(client.watch_trades("DOT/USDT", params={"snapshot": False}))
        await began(exchange, "trade")
        await first.connection.close()
        found = await asyncio.gather(waiting, return_exceptions=True)
        return found[0], await soon(client.watch_ticker(SYMBOL)), client.clients[url] is first

    told, ticker, same = with_client(exchange, act)

    assert isinstance(told, ccxt.NetworkError | list)
    assert ticker["symbol"] == SYMBOL
    assert not same
