"""Answers read: everything that the emulator says, and nothing that is damaged."""

import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.exchange import Rig

from peak_trade.venue.kraken import reading as r


@pytest.fixture(scope="module")
def rig():
    found = Rig(pairs=("BTC/USD", "ETH/EUR"))
    found.call("AddOrder", pair="XBTUSD", type="buy", ordertype="market", volume="0.25", cl_ord_id="first")
    found.buy(cl_ord_id="resting")
    return found


def result(outcome):
    """Return a result's bytes as they come over the wire."""
    return r.envelope(json.dumps(outcome.answer).encode()).result


@pytest.mark.parametrize(
    ("method", "shape"),
    [("Time", r.ServerTime), ("SystemStatus", r.SystemStatus), ("AssetPairs", r.Pairs), ("Ticker", dict[str, r.PairTicker])],
)
def test_public_answers(rig, method, shape):
    """Each is read."""
    assert r.shaped(result(rig.read(method)), shape, method)


def test_pairs(rig):
    """Steps, minimums and fees are exact, under our names."""
    pairs = r.by_symbol(r.shaped(result(rig.read("AssetPairs")), r.Pairs, "AssetPairs"))

    btc = pairs["BTC/USD"]
    assert (btc.altname, btc.tick_size, btc.lot_step) == ("XBTUSD", Decimal("0.1"), Decimal("1E-8"))
    assert (btc.ordermin, btc.costmin, btc.base) == (Decimal("0.00005"), Decimal("0.5"), "XXBT")
    assert (btc.fees[0].per_cent, btc.fees_maker[0].per_cent) == (Decimal("0.4"), Decimal("0.25"))


def test_market_data(rig):
    """Depth, candles and trades of a pair, whatever name Kraken gives it."""
    depth = r.the_one(r.shaped(result(rig.read("Depth", pair="XBTUSD")), dict[str, r.Depth], "Depth"), "Depth")
    candles = r.candles_of(result(rig.read("OHLC", pair="XBTUSD", interval=1)))
    trades = r.trades_of(result(rig.read("Trades", pair="XBTUSD")))

    assert depth.bids[0].price < depth.asks[0].price
    assert [row.at for row in candles.rows] == sorted(row.at for row in candles.rows)
    assert candles.finished == candles.rows[:-1]
    assert trades.rows[-1].quantity > 0
    assert trades.last.isdigit()


def test_an_account(rig):
    """Balances, orders and fills of an account."""
    balances = r.shaped(result(rig.call("Balance")), r.Balances, "Balance")
    holdings = r.shaped(result(rig.call("BalanceEx")), r.Holdings, "BalanceEx")
    working = r.shaped(result(rig.call("OpenOrders")), r.OpenOrders, "OpenOrders").open
    ended = r.shaped(result(rig.call("ClosedOrders", trades="true")), r.ClosedOrders, "ClosedOrders")
    history = r.shaped(result(rig.call("TradesHistory")), r.TradesHistory, "TradesHistory")

    assert balances["XXBT"] == Decimal("10.25")
    assert holdings["ZUSD"].available == balances["ZUSD"] - holdings["ZUSD"].hold_trade
    [resting], [(txid, filled)] = working.values(), ended.closed.items()
    assert (resting.cl_ord_id, resting.working, resting.sign, resting.vol) == ("resting", True, 1, Decimal("0.01"))
    assert (filled.cl_ord_id, filled.status, filled.vol_exec) == ("first", "closed", Decimal("0.25"))
    assert {trade.ordertxid for trade in history.trades.values()} == {txid}
    assert sum(trade.quantity for trade in history.trades.values()) == Decimal("0.25")
    assert set(filled.trades) == set(history.trades)


def test_answers_to_orders(rig):
    """An order that was placed has an id; one that was looked at has none."""
    placed = r.shaped(result(rig.buy()), r.AddedOrder, "AddOrder")
    looked = r.shaped(result(rig.buy(validate="true")), r.AddedOrder, "AddOrder")
    gone = r.shaped(result(rig.call("CancelOrder", txid=placed.txid[0])), r.CancelledOrder, "CancelOrder")

    assert (len(placed.txid), looked.txid) == (1, ())
    assert looked.descr.order.startswith("buy 0.01")
    assert (gone.count, gone.pending) == (1, False)


def test_the_rest(rig):
    """The dead man's switch, a stream's token, which does not show, and a key's rights."""
    assert r.shaped(result(rig.call("CancelAllOrdersAfter", timeout=0)), r.DeadMan, "x").triggerTime == "0"
    token = r.shaped(result(rig.call("GetWebSocketsToken")), r.StreamToken, "x")
    assert token.token not in repr(token)
    assert "modify-trades" in r.shaped(result(rig.call("GetApiKeyInfo")), r.KeyInfo, "x").permissions


def test_unknown_fields_are_left_alone():
    """Kraken adds fields without a word."""
    assert r.shaped(msgspec.Raw(b'{"unixtime":1,"new":[]}'), r.ServerTime, "Time").unixtime == 1


@pytest.mark.parametrize(
    "content",
    [b"", b" ", b"<html>", b'{"error":[],"res', b"[]", b"null", b"{}", b'{"error":[]}', b'{"error":"x"}', b"\xff", b"[" * 5000],
)
def test_what_is_no_answer_is_said_to_be_none(content):
    """Pages, halves and nonsense give one sentence."""
    with pytest.raises(r.Unreadable):
        r.envelope(content)


@pytest.mark.parametrize("value", ['"NaN"', '"Infinity"', '"-inf"', '"x"', "null", "true", "[]", '""'])
def test_money_is_a_number(value):
    """What is none is refused, wherever it stands."""
    with pytest.raises(r.Unreadable):
        r.shaped(msgspec.Raw(b'{"ZUSD":' + value.encode() + b"}"), r.Balances, "Balance")
    with pytest.raises(r.Unreadable):
        r.shaped(msgspec.Raw(b'{"bids":[],"asks":[["1","2",3],["1",' + value.encode() + b",3]]}"), r.Depth, "Depth")


@given(st.decimals(allow_nan=False, allow_infinity=False, places=10, min_value=-(10**15), max_value=10**15))
def test_no_digit_is_lost(value):
    """As text and as a number."""
    for text in (f'"{value:f}"', f"{value:f}"):
        assert r.shaped(msgspec.Raw(b'{"a":' + text.encode() + b"}"), r.Balances, "x")["a"] == value


@given(st.binary(max_size=40))
def test_no_bytes_make_it_crash(content):
    """Any bytes are read or refused."""
    try:
        found = r.envelope(content)
        r.shaped(found.result, r.OpenOrders, "x")
    except r.Unreadable:
        pass
