"""ccxt against the emulated exchange over REST, unchanged but for its addresses: synchronous and asynchronous."""

import asyncio
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ccxt
import ccxt.async_support as ccxt_async
import pytest
from tests.emulated import Emulated, emulating, until
from tests.paths import ROOT

from peak_trade.emulator.signing import QUERY, ApiKey

SYMBOL = "BTC/EUR"
#: Fees of the lowest tier.
TAKER, MAKER = 0.0040, 0.0025


@pytest.fixture(scope="module")
def exchange() -> Iterator[Emulated]:
    """An emulator with the widest rate limits."""
    with emulating() as found:
        yield found


def options(exchange: Emulated, key: ApiKey | None = None) -> dict[str, Any]:
    """Return what points a ccxt client at the emulator."""
    told: dict[str, Any] = {"urls": {"api": {"public": exchange.url, "private": exchange.url}}, "enableRateLimit": False}
    return told | ({"apiKey": key.id, "secret": key.secret_text} if key else {})


@pytest.fixture
def punctual() -> Iterator[Emulated]:
    """An emulator whose clock nobody else puts forward."""
    with emulating() as found:
        yield found


@pytest.fixture
def client(exchange) -> ccxt.kraken:
    """A client with an account of its own: 10 BTC, 1,000,000 EUR."""
    found = ccxt.kraken(options(exchange, exchange.key()))
    found.load_markets()
    return found


# ---- public ----------------------------------------------------------------------------------------------------------------


def test_markets(exchange):
    """All fifteen pairs come with Kraken's precision, limits and fees."""
    markets = ccxt.kraken(options(exchange)).load_markets()

    bases, quotes = ("BTC", "ETH", "SOL", "DOT", "LTC"), ("EUR", "USD", "USDT")
    assert set(markets) == {f"{base}/{quote}" for base, quote in itertools.product(bases, quotes)}
    found = markets["BTC/USD"]
    assert found["id"] == "XXBTZUSD"
    assert found["precision"] == {"amount": 1e-8, "price": 0.1}
    assert found["limits"]["amount"]["min"] == 0.00005
    assert found["limits"]["cost"]["min"] == 0.5
    assert (found["taker"], found["maker"]) == (TAKER, MAKER)
    assert all(market["active"] and market["spot"] and not market["margin"] for market in markets.values())


def test_currencies(exchange):
    """The eight assets come under ccxt's codes with their digits."""
    found = ccxt.kraken(options(exchange)).fetch_currencies()

    assert set(found) == {"BTC", "ETH", "SOL", "DOT", "LTC", "EUR", "USD", "USDT"}
    assert (found["BTC"]["id"], found["BTC"]["precision"], found["BTC"]["active"]) == ("XXBT", 1e-10, True)


def test_tickers(client):
    """A ticker lies within its day, and all of them come at once."""
    one, every = client.fetch_ticker(SYMBOL), client.fetch_tickers()

    assert one["low"] <= one["last"] <= one["high"]
    assert one["low"] <= one["vwap"] <= one["high"]
    assert one["bid"] < one["ask"]
    assert one["baseVolume"] > 0
    assert set(every) == set(client.markets)
    assert set(client.fetch_tickers(["ETH/EUR", "SOL/USD"])) == {"ETH/EUR", "SOL/USD"}


def test_order_book(client):
    """A book is sorted, does not cross, and is as deep as was asked."""
    found = client.fetch_order_book(SYMBOL, 5)

    bids, asks = ([level[0] for level in found[side]] for side in ("bids", "asks"))
    assert len(bids) == len(asks) == 5
    assert bids == sorted(set(bids), reverse=True)
    assert asks == sorted(set(asks))
    assert bids[0] < asks[0]
    assert all(level[1] > 0 for level in found["bids"] + found["asks"])


def test_candles(client, exchange):
    """The newest 720 candles come, a minute apart, the running one last; older ones are out of reach."""
    began = exchange.clock() // 60_000_000_000 * 60_000
    found = client.fetch_ohlcv(SYMBOL, "1m")

    assert len(found) == 720
    assert {after[0] - before[0] for before, after in itertools.pairwise(found)} == {60_000}
    assert all(low <= min(opened, closed) <= max(opened, closed) <= high for _, opened, high, low, closed, _ in found)
    assert found[-1][0] - began in (0, 60_000)
    assert [row[0] for row in client.fetch_ohlcv(SYMBOL, "1m", since=found[-3][0])][:3] == [row[0] for row in found[-3:]]
    assert client.fetch_ohlcv(SYMBOL, "1m", since=86_400_000)[0][0] >= found[0][0]


def test_candles_without_trades(punctual):
    """Minutes in which nobody traded have candles too."""
    client = ccxt.kraken(options(punctual, punctual.key()))
    client.create_order("LTC/USDT", "market", "buy", 1)
    client.fetch_ohlcv("LTC/USDT", "1m")
    punctual.advance(600)
    client.create_order("LTC/USDT", "market", "buy", 1)
    found = client.fetch_ohlcv("LTC/USDT", "1m")

    assert {after[0] - before[0] for before, after in itertools.pairwise(found)} == {60_000}


@pytest.mark.parametrize("interval", ["5m", "15m", "30m", "1h", "4h", "1d", "1w"])
def test_candle_intervals(client, interval):
    """Every interval that ccxt knows is answered with candles that far apart."""
    found = client.fetch_ohlcv(SYMBOL, interval, limit=3)

    step = client.parse_timeframe(interval) * 1000
    assert [after[0] - before[0] for before, after in itertools.pairwise(found)] == [step] * 2


def test_trades(client):
    """Public trades are in order and numbered, ours are among them, and a limit gives the newest."""
    client.create_order(SYMBOL, "market", "buy", 0.00111)
    client.create_order(SYMBOL, "market", "sell", 0.00222)
    found = client.fetch_trades(SYMBOL)
    newest = client.fetch_trades(SYMBOL, limit=2)

    times = [trade["timestamp"] for trade in found]
    assert times == sorted(times)
    assert len({trade["id"] for trade in found}) == len(found)
    ours = {trade["amount"]: trade for trade in found}
    assert (ours[0.00111]["side"], ours[0.00222]["side"]) == ("buy", "sell")
    assert ours[0.00111]["cost"] == pytest.approx(ours[0.00111]["price"] * 0.00111)
    assert len(newest) == 2
    assert int(newest[0]["id"]) >= int(found[-2]["id"])


def test_time_and_status(client, exchange):
    """Time is the emulator's own, and the exchange is online."""
    assert client.fetch_time() == pytest.approx(exchange.clock() / 1e6, abs=2_000)
    assert client.fetch_status()["status"] == "ok"


def test_unknown_pair(client):
    """A pair that Kraken has not is refused in its words."""
    with pytest.raises(ccxt.ExchangeError, match="EQuery:Unknown asset pair"):
        client.publicGetTicker({"pair": "XXXYYY"})


# ---- account ---------------------------------------------------------------------------------------------------------------


def test_balance_with_an_open_order(client, exchange):
    """Free and used add up to the total, and an open purchase holds its cost with the fee."""
    price = exchange.price(SYMBOL, 0.5)
    client.create_order(SYMBOL, "limit", "buy", 0.1, price)
    client.create_order(SYMBOL, "limit", "sell", 0.25, exchange.price(SYMBOL, 1.5))
    found = client.fetch_balance()

    assert found["EUR"]["total"] == 1_000_000
    assert found["EUR"]["used"] == pytest.approx(0.1 * price * (1 + TAKER))
    assert found["BTC"] == {"free": 9.75, "used": 0.25, "total": 10}
    assert all(found[code]["free"] + found[code]["used"] == pytest.approx(found[code]["total"]) for code in found["total"])


def test_fees(client):
    """The fee that TradeVolume tells is that of the lowest tier."""
    found = client.fetch_trading_fee(SYMBOL)

    assert (found["taker"], found["maker"]) == (TAKER, MAKER)


def test_ledger(client):
    """A purchase is two lines that follow on from the deposits, and its fee is in one of them."""
    order = client.create_order(SYMBOL, "market", "buy", 0.001)
    paid = client.fetch_order(order["id"], SYMBOL)["cost"]
    lines = client.fetch_ledger()

    assert sum(line["type"] == "deposit" or line["info"]["type"] == "deposit" for line in lines) == 8
    trades = [line for line in lines if line["info"]["type"] == "trade"]
    assert {line["currency"] for line in trades} == {"BTC", "EUR"}
    in_euros = [line for line in trades if line["currency"] == "EUR"]
    assert sum(line["amount"] for line in in_euros) == pytest.approx(paid, abs=2e-3)
    assert sum(line["fee"]["cost"] for line in in_euros) == pytest.approx(paid * TAKER, abs=2e-3)
    assert client.fetch_ledger_entry(trades[0]["id"])["id"] == trades[0]["id"]


# ---- orders ----------------------------------------------------------------------------------------------------------------


def test_market_order(client):
    """A market order is filled at once; order, trades, fee and balance agree."""
    order = client.create_order(SYMBOL, "market", "buy", 0.02)
    found = client.fetch_order(order["id"], SYMBOL)
    trades = client.fetch_my_trades(SYMBOL)

    assert (found["status"], found["filled"], found["remaining"]) == ("closed", 0.02, 0)
    assert found["cost"] == pytest.approx(found["average"] * 0.02, rel=1e-6)
    assert float(found["fee"]["cost"]) == pytest.approx(found["cost"] * TAKER, abs=2e-3)
    assert sum(trade["amount"] for trade in trades) == pytest.approx(0.02)
    assert {(trade["order"], trade["takerOrMaker"], trade["side"]) for trade in trades} == {(order["id"], "taker", "buy")}
    balance = client.fetch_balance()
    assert balance["BTC"]["total"] == pytest.approx(10.02)
    assert balance["EUR"]["total"] == pytest.approx(1_000_000 - found["cost"] * (1 + TAKER), abs=2e-3)


def test_market_order_by_cost(client):
    """A purchase by cost spends what was asked, not more."""
    order = client.create_market_buy_order_with_cost(SYMBOL, 100)
    found = client.fetch_order(order["id"], SYMBOL)

    assert found["status"] == "closed"
    assert 99.9 < found["cost"] <= 100
    assert found["filled"] == pytest.approx(found["cost"] / found["average"], rel=1e-4)


def test_order_life(client, exchange):
    """A limit order is open with its client's id, is amended under its own id, and is canceled once."""
    price = exchange.price(SYMBOL, 0.5)
    order = client.create_order(SYMBOL, "limit", "buy", 0.01, price, {"clientOrderId": "abc1"})
    opened = client.fetch_open_orders(SYMBOL)

    assert [(one["id"], one["status"], one["clientOrderId"]) for one in opened] == [(order["id"], "open", "abc1")]
    assert (opened[0]["price"], opened[0]["amount"], opened[0]["filled"]) == (price, 0.01, 0)
    higher = exchange.price(SYMBOL, 0.6)
    client.edit_order(order["id"], SYMBOL, "limit", "buy", 0.02, higher)
    amended = client.fetch_order(order["id"], SYMBOL)
    assert (amended["id"], amended["price"], amended["amount"]) == (order["id"], higher, 0.02)
    client.cancel_order(order["id"], SYMBOL)
    assert client.fetch_open_orders(SYMBOL) == []
    assert [(one["id"], one["status"]) for one in client.fetch_closed_orders(SYMBOL)] == [(order["id"], "canceled")]
    with pytest.raises(ccxt.OrderNotFound):
        client.cancel_order(order["id"], SYMBOL)


def test_client_ids(client, exchange):
    """An order is canceled by its client's id, which may be a UUID and is free again afterwards."""
    name, price = str(uuid.UUID(int=7)), exchange.price(SYMBOL, 0.5)
    client.create_order(SYMBOL, "limit", "buy", 0.01, price, {"clientOrderId": name})
    with pytest.raises(ccxt.ExchangeError, match="cl_ord_id not unique"):
        client.create_order(SYMBOL, "limit", "buy", 0.01, price, {"clientOrderId": name})
    client.cancel_order(None, SYMBOL, {"clientOrderId": name})
    again = client.create_order(SYMBOL, "limit", "buy", 0.01, price, {"clientOrderId": name})

    assert [one["id"] for one in client.fetch_open_orders()] == [again["id"]]


def test_maker(client, exchange):
    """A limit order that rests is filled at its price and pays the maker's fee."""
    price = exchange.price(SYMBOL, 0.99)
    resting = client.create_order(SYMBOL, "limit", "buy", 0.01, price)
    taker = ccxt.kraken(options(exchange, exchange.key(funds={"BTC": 100_000, "EUR": 1})))
    taker.create_order(SYMBOL, "limit", "sell", 5_000, price, {"timeInForce": "IOC"})
    found = client.fetch_order(resting["id"], SYMBOL)

    assert (found["status"], found["average"]) == ("closed", price)
    assert float(found["fee"]["cost"]) == pytest.approx(found["cost"] * MAKER, abs=2e-3)
    assert [trade["takerOrMaker"] for trade in client.fetch_my_trades(SYMBOL)] == ["maker"]


def test_post_only(client, exchange):
    """A post-only order rests, and one that would trade at once does not stand."""
    resting = client.create_order(SYMBOL, "limit", "buy", 0.01, exchange.price(SYMBOL, 0.5), {"postOnly": True})
    crossing = client.create_order(SYMBOL, "limit", "buy", 0.01, exchange.price(SYMBOL, 1.1), {"postOnly": True})

    assert [(one["id"], one["postOnly"]) for one in client.fetch_open_orders()] == [(resting["id"], True)]
    found = client.fetch_order(crossing["id"], SYMBOL)
    assert (found["status"], found["filled"]) == ("canceled", 0)
    assert found["info"]["reason"] == "Post only order"


@pytest.mark.parametrize(
    ("kind", "side", "factor", "limit", "ordertype"),
    [
        ("market", "sell", {"stopLossPrice": 0.5}, None, "stop-loss"),
        ("limit", "sell", {"stopLossPrice": 0.5}, 0.49, "stop-loss-limit"),
        ("market", "sell", {"takeProfitPrice": 1.5}, None, "take-profit"),
        ("limit", "sell", {"takeProfitPrice": 1.5}, 1.49, "take-profit-limit"),
        ("market", "buy", {"stopLossPrice": 1.5}, None, "stop-loss"),
        ("limit", "buy", {"takeProfitPrice": 0.5}, 0.51, "take-profit-limit"),
    ],
)
def test_triggered_orders(client, exchange, kind, side, factor, limit, ordertype):
    """Stop-loss and take-profit orders wait with their trigger and their limit."""
    params = {name: exchange.price(SYMBOL, value) for name, value in factor.items()}
    price = exchange.price(SYMBOL, limit) if limit else None
    order = client.create_order(SYMBOL, kind, side, 0.01, price, params)
    found = client.fetch_order(order["id"], SYMBOL)

    assert (found["status"], found["filled"], found["side"]) == ("open", 0, side)
    assert found["info"]["descr"]["ordertype"] == ordertype
    assert float(found["info"]["descr"]["price"]) == next(iter(params.values()))
    assert found["triggerPrice"] == next(iter(params.values()))
    assert float(found["info"]["descr"]["price2"]) == (price or 0)


@pytest.mark.parametrize(
    ("kind", "params", "ordertype", "words"),
    [
        ("market", {"trailingPercent": 5}, "trailing-stop", "+5%"),
        ("market", {"trailingAmount": 100}, "trailing-stop", "+100.0"),
        ("limit", {"trailingPercent": 5, "trailingLimitPercent": 1, "offset": "-"}, "trailing-stop-limit", "+5%"),
    ],
)
def test_trailing_stops(client, kind, params, ordertype, words):
    """Trailing stops wait with their distance."""
    order = client.create_order(SYMBOL, kind, "sell", 0.01, None, params)
    found = client.fetch_order(order["id"], SYMBOL)

    assert found["status"] == "open"
    assert (found["info"]["descr"]["ordertype"], found["info"]["descr"]["price"]) == (ordertype, words)


def test_stop_fires(client, exchange):
    """A stop-loss becomes a market order when the last price touches its trigger."""
    trigger, below = exchange.price(SYMBOL, 0.97), exchange.price(SYMBOL, 0.96)
    stop = client.create_order(SYMBOL, "market", "sell", 0.01, None, {"stopLossPrice": trigger})
    exchange.price(SYMBOL, 1)
    bidder = ccxt.kraken(options(exchange, exchange.key()))
    bidder.create_order(SYMBOL, "limit", "buy", 0.5, below)
    seller = ccxt.kraken(options(exchange, exchange.key(funds={"BTC": 100_000, "EUR": 1})))
    seller.create_order(SYMBOL, "limit", "sell", 5_000, below, {"timeInForce": "IOC"})
    found = until(lambda: one if (one := client.fetch_order(stop["id"], SYMBOL))["status"] == "closed" else None)

    assert found["filled"] == 0.01
    assert found["average"] <= trigger


def test_immediate_or_cancel(client, exchange):
    """What an IOC order cannot fill at once is canceled."""
    found = client.create_order(SYMBOL, "limit", "buy", 0.01, exchange.price(SYMBOL, 0.5), {"timeInForce": "IOC"})
    found = client.fetch_order(found["id"], SYMBOL)

    assert (found["status"], found["filled"]) == ("canceled", 0)


def test_fill_or_kill(client, exchange):
    """A FOK order is filled as a whole or not at all."""
    whole = client.create_order(SYMBOL, "limit", "buy", 0.01, exchange.price(SYMBOL, 1.05), {"timeInForce": "FOK"})
    price = exchange.price(SYMBOL, 1.0001)
    none = ccxt.kraken(options(exchange, exchange.key(funds={"EUR": 10**9})))
    too_much = none.create_order(SYMBOL, "limit", "buy", 500, price, {"timeInForce": "FOK"})

    assert client.fetch_order(whole["id"], SYMBOL)["filled"] == 0.01
    found = none.fetch_order(too_much["id"], SYMBOL)
    assert (found["status"], found["filled"]) == ("canceled", 0)


def test_good_till_date(client, exchange):
    """A GTD order expires at its moment."""
    price = exchange.price(SYMBOL, 0.5)
    order = client.create_order(SYMBOL, "limit", "buy", 0.01, price, {"timeInForce": "GTD", "expiretm": "+60"})

    assert client.fetch_order(order["id"], SYMBOL)["status"] == "open"
    exchange.advance(61)
    found = client.fetch_order(order["id"], SYMBOL)
    assert (found["status"], found["info"]["status"]) == ("expired", "expired")


def test_conditional_close(client, exchange):
    """An order that is filled places the one that was to close it."""
    price = exchange.price(SYMBOL, 0.5)
    close = {"ordertype": "stop-loss", "price": str(price)}
    client.create_order(SYMBOL, "limit", "buy", 0.01, exchange.price(SYMBOL, 1.05), {"close": close})
    opened = client.fetch_open_orders()

    assert [(one["side"], one["amount"], one["info"]["descr"]["ordertype"]) for one in opened] == [("sell", 0.01, "stop-loss")]
    assert float(opened[0]["info"]["descr"]["price"]) == price


def test_relative_prices(client, exchange):
    """A price in per cent is taken from the last one."""
    for kind, side in (("limit", "buy"), ("stop-loss", "sell")):
        given = {"pair": "XBTEUR", "type": side, "ordertype": kind, "volume": "0.01", "price": "-5%"}
        client.privatePostAddOrder(given)

    for order in client.fetch_open_orders():
        assert float(order["info"]["descr"]["price"]) == pytest.approx(exchange.mid(SYMBOL) * 0.95, rel=0.01)


def test_fee_in_base(client):
    """A fee that was asked for in base currency is taken from what was bought."""
    order = client.create_order(SYMBOL, "market", "buy", 0.01, None, {"oflags": "fcib"})
    found, balance = client.fetch_order(order["id"], SYMBOL), client.fetch_balance()

    assert found["fee"]["currency"] == "BTC"
    assert balance["BTC"]["total"] == pytest.approx(10.01 - 0.01 * TAKER)
    assert balance["EUR"]["total"] == pytest.approx(1_000_000 - found["cost"], abs=2e-3)


def test_deadline(client, exchange):
    """An order that comes after its deadline is refused, with an error that ccxt has no class for."""
    price, now = exchange.price(SYMBOL, 0.5), exchange.clock() // 1_000_000
    with pytest.raises(ccxt.ExchangeError, match="EService:Deadline elapsed"):
        client.create_order(SYMBOL, "limit", "buy", 0.01, price, {"deadline": client.iso8601(now - 5_000)})

    assert client.create_order(SYMBOL, "limit", "buy", 0.01, price, {"deadline": client.iso8601(now + 20_000)})["id"]


def test_batch_beyond_the_funds(client, exchange):
    """Of a batch, what the account can pay is placed; the rest is refused, which ccxt raises for all of it."""
    wanted = [
        {"symbol": SYMBOL, "type": "limit", "side": "buy", "amount": amount, "price": exchange.price(SYMBOL, 0.5)}
        for amount in (0.1, 1_000)
    ]
    with pytest.raises(ccxt.InsufficientFunds):
        client.create_orders(wanted)

    assert [one["amount"] for one in client.fetch_open_orders()] == [0.1]


def test_batches(client, exchange):
    """Several orders are made and canceled with one request each."""
    low, lower = exchange.price("ETH/EUR", 0.5), exchange.price("ETH/EUR", 0.4)
    wanted = [{"symbol": "ETH/EUR", "type": "limit", "side": "buy", "amount": 0.1, "price": price} for price in (low, lower)]
    made = client.create_orders(wanted)

    opened = {one["id"]: one["price"] for one in client.fetch_open_orders("ETH/EUR")}
    assert opened == {made[0]["id"]: low, made[1]["id"]: lower}
    client.cancel_orders([one["id"] for one in made], "ETH/EUR")
    assert client.fetch_open_orders() == []


def test_cancel_all(client, exchange):
    """One request cancels every order of the account, whatever its pair."""
    client.create_order(SYMBOL, "limit", "buy", 0.01, exchange.price(SYMBOL, 0.5))
    client.create_order("SOL/USD", "limit", "sell", 1, exchange.price("SOL/USD", 2))
    client.cancel_all_orders()

    assert client.fetch_open_orders() == []
    assert {one["status"] for one in client.fetch_closed_orders()} == {"canceled"}
    assert client.fetch_balance()["EUR"]["used"] == 0


def test_dead_mans_switch(client, exchange):
    """Orders are canceled when nobody says in time that they shall live on."""
    client.create_order(SYMBOL, "limit", "buy", 0.01, exchange.price(SYMBOL, 0.5))
    client.cancel_all_orders_after(60_000)
    exchange.advance(50)
    assert len(client.fetch_open_orders()) == 1
    client.cancel_all_orders_after(60_000)
    exchange.advance(50)
    assert len(client.fetch_open_orders()) == 1
    exchange.advance(20)
    assert client.fetch_open_orders() == []


def test_dead_mans_switch_is_disarmed(client, exchange):
    """A timeout of nothing disarms."""
    client.create_order(SYMBOL, "limit", "buy", 0.01, exchange.price(SYMBOL, 0.5))
    client.cancel_all_orders_after(60_000)
    client.cancel_all_orders_after(0)
    exchange.advance(100)

    assert len(client.fetch_open_orders()) == 1


@pytest.mark.parametrize("word", [True, "true", "1"])
def test_validate(client, exchange, word):
    """An order that is only validated has no id and is not placed."""
    found = client.create_order(SYMBOL, "limit", "buy", 0.01, exchange.price(SYMBOL, 0.5), {"validate": word})

    assert found["id"] is None
    assert client.fetch_open_orders() == []


def test_validate_that_is_false(client, exchange):
    """`validate=False` in the body is a live order."""
    found = client.create_order(SYMBOL, "limit", "buy", 0.01, exchange.price(SYMBOL, 0.5), {"validate": False})

    assert [one["id"] for one in client.fetch_open_orders()] == [found["id"]]


# ---- errors ----------------------------------------------------------------------------------------------------------------


def test_insufficient_funds(client, exchange):
    """What an account cannot pay is InsufficientFunds."""
    with pytest.raises(ccxt.InsufficientFunds):
        client.create_order(SYMBOL, "limit", "buy", 100, exchange.price(SYMBOL, 0.9))
    with pytest.raises(ccxt.InsufficientFunds):
        client.create_order(SYMBOL, "market", "sell", 11)

    assert client.fetch_balance()["EUR"]["used"] == 0


def test_invalid_orders(client, exchange):
    """What is too small, or is no order of ours, is InvalidOrder."""
    with pytest.raises(ccxt.InvalidOrder, match="volume minimum not met"):
        client.create_order(SYMBOL, "limit", "buy", 0.00001, exchange.price(SYMBOL, 0.9))
    with pytest.raises(ccxt.InvalidOrder):
        client.fetch_order("OAAAAA-AAAAA-AAAAAA", SYMBOL)


def test_bare_exchange_errors(client):
    """Errors that ccxt has no class for come as ExchangeError with Kraken's words."""
    given = {"pair": "XBTEUR", "type": "buy", "ordertype": "limit"}
    with pytest.raises(
        ccxt.ExchangeError, match="EOrder:Invalid price:XBTEUR price can only be specified up to 1 decimals"
    ) as raised:
        client.privatePostAddOrder({**given, "volume": "0.01", "price": "50000.123"})
    assert type(raised.value) is ccxt.ExchangeError
    with pytest.raises(ccxt.ExchangeError, match="EOrder:Cost minimum not met"):
        client.privatePostAddOrder({**given, "volume": "0.00005", "price": "1000.0"})


def test_order_not_found(client):
    """Canceling an order that is not there is OrderNotFound."""
    with pytest.raises(ccxt.OrderNotFound):
        client.cancel_order("OAAAAA-AAAAA-AAAAAA", SYMBOL)


def test_wrong_key(exchange):
    """A key that nobody made is AuthenticationError; a wrong secret is not."""
    key = exchange.key()
    stranger = ccxt.kraken(options(exchange, key) | {"apiKey": "AAAA"})
    with pytest.raises(ccxt.AuthenticationError, match="EAPI:Invalid key"):
        stranger.fetch_balance()
    forger = ccxt.kraken(options(exchange, key) | {"secret": "AAAA"})
    with pytest.raises(ccxt.ExchangeError, match="EAPI:Invalid signature"):
        forger.fetch_balance()


def test_two_clients_on_one_key(exchange):
    """The nonce of a client that is behind another one on the same key is InvalidNonce."""
    key = exchange.key()
    first, second = ccxt.kraken(options(exchange, key)), ccxt.kraken(options(exchange, key))
    second.fetch_balance()
    first.nonce = lambda: 1_000
    with pytest.raises(ccxt.InvalidNonce, match="EAPI:Invalid nonce"):
        first.fetch_balance()


def test_query_key(exchange):
    """A key that may only look cannot order or cancel."""
    key = exchange.key(QUERY)
    client = ccxt.kraken(options(exchange, key))

    assert client.fetch_balance()["BTC"]["total"] == 10
    with pytest.raises(ccxt.PermissionDenied):
        client.create_order(SYMBOL, "market", "buy", 0.01)
    with pytest.raises(ccxt.PermissionDenied):
        client.cancel_all_orders()


def test_rest_counter(exchange):
    """Too many calls of a key are DDoSProtection, until its counter came down; orders do not count."""
    client = ccxt.kraken(options(exchange, exchange.key()))
    client.load_markets()
    with pytest.raises(ccxt.DDoSProtection, match="EAPI:Rate limit exceeded"):  # noqa: PT012 - which call it is does not matter
        for _ in range(30):
            client.fetch_balance()
    order = client.create_order(SYMBOL, "limit", "buy", 0.01, exchange.price(SYMBOL, 0.5))
    exchange.advance(30)

    assert [one["id"] for one in client.fetch_open_orders()] == [order["id"]]


def test_engine_counter(exchange):
    """Placing and canceling too fast is DDoSProtection, for that pair only."""
    client = ccxt.kraken(options(exchange, exchange.key()))
    client.load_markets()
    price = exchange.price(SYMBOL, 0.5)
    with pytest.raises(ccxt.DDoSProtection, match="EOrder:Rate limit exceeded"):  # noqa: PT012 - which call it is does not matter
        for _ in range(40):
            client.cancel_order(client.create_order(SYMBOL, "limit", "buy", 0.01, price)["id"], SYMBOL)
    found = client.create_order("ETH/EUR", "limit", "buy", 0.1, exchange.price("ETH/EUR", 0.5))

    assert found["id"]


# ---- the asynchronous client -----------------------------------------------------------------------------------------------


def test_concurrent_calls(exchange):
    """Twenty private and public calls at once all succeed, in whatever order they arrive."""

    async def run() -> tuple[list[Any], list[Any]]:
        async with ccxt_async.kraken(options(exchange, exchange.key())) as client:
            await client.load_markets()
            books = await asyncio.gather(*(client.fetch_order_book(name, 5) for name in list(client.markets)[:8]))
            prices = [round(book["bids"][0][0] * 0.5, 1) for book in books[:1]] * 12
            made = await asyncio.gather(*(client.create_order(SYMBOL, "limit", "buy", 0.001, price) for price in prices))
            opened = await client.fetch_open_orders(SYMBOL)
            return made, opened

    made, opened = asyncio.run(run())

    assert len(made) == 12
    assert {one["id"] for one in made} == {one["id"] for one in opened}


def test_asynchronous_order(exchange):
    """A market order through the asynchronous client is filled, and its trades add up to it."""

    async def run() -> tuple[Any, Any, Any]:
        async with ccxt_async.kraken(options(exchange, exchange.key())) as client:
            order = await client.create_order(SYMBOL, "market", "sell", 0.01)
            return await client.fetch_order(order["id"], SYMBOL), await client.fetch_my_trades(), await client.fetch_balance()

    order, trades, balance = asyncio.run(run())

    assert (order["status"], order["filled"]) == ("closed", 0.01)
    assert sum(trade["cost"] for trade in trades) == pytest.approx(order["cost"], abs=1e-4)
    assert balance["BTC"]["total"] == pytest.approx(9.99)


# ---- its own tests ---------------------------------------------------------------------------------------------------------


def test_its_own_suite(punctual, tmp_path):
    """The live tests that ship inside ccxt pass in public and private REST, but for what the guide says of ccxt itself."""
    package, key = Path(ccxt.__file__).parent, punctual.key()
    copy = tmp_path / "python" / "ccxt"
    shutil.copytree(package / "test", copy / "test")
    for entry in package.iterdir():
        if entry.name != "test":
            (copy / entry.name).symlink_to(entry)
    # Only its base tests want this, which run without an exchange.
    (tmp_path / "python" / "psutil.py").touch()
    guide = (ROOT / "docs" / "guide" / "emulator.md").read_text("utf-8")
    (tmp_path / "skip-tests.json").write_text(re.search(r"```json\n(.*?)```", guide, re.S)[1])
    told = {"apiKey": key.id, "secret": key.secret_text, "rateLimit": 1, "urls": options(punctual)["urls"]}
    (tmp_path / "keys.local.json").write_text(json.dumps({"kraken": told}))

    ended = subprocess.run(
        [sys.executable, copy / "test" / "tests_init.py", "kraken", "--sync", "--private"],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "python")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert re.findall(r"\[TEST_FAILURE\].*|\w+Error: .{,300}", ended.stdout) == []
    done = set(re.findall(r"TESTING DONE +kraken (\w+)", ended.stdout))
    assert {"loadMarkets", "fetchTicker", "fetchOHLCV", "fetchOrderBook", "fetchTrades", "fetchBalance", "fetchLedger"} <= done
