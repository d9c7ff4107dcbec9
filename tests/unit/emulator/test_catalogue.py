"""The catalogue: what can't strike is refused, what strikes does so over REST and streams, and its page names all of it."""

import contextlib
import json
import random
import re
from decimal import Decimal
from pathlib import Path

import pytest
from tests.exchange import TOKEN, Rig, S

from peak_trade.emulator.catalogue import CATALOGUE
from peak_trade.emulator.faults import CHANNELS, ENDPOINTS, FAULTS_MAX, METHODS, FaultPlace
from peak_trade.emulator.signing import TRADING, make_key
from peak_trade.emulator.stream import PRIVATE, PUBLIC
from peak_trade.model.errors import InputError

PAGE = Path(__file__).resolve().parents[3] / "docs" / "guide" / "emulator_faults.md"
BUY = {"symbol": "BTC/USD", "side": "buy", "order_type": "limit", "order_qty": 0.01, "limit_price": 80000}


@pytest.fixture
def rig():
    found = Rig()
    found.got()
    return found


def order_of(rig, outcome):
    assert outcome.error == "", outcome
    return rig.engine.orders[outcome.answer["result"]["txid"][0]]


# ---- what is refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"name": "rest.timeout_befor"}, "did you mean rest.timeout_before"),
        ({"name": "order.cancel_lots"}, "did you mean order.cancel_lost"),
        ({"name": "rest.slow", "args": {"secnds": 1}}, "did you mean seconds"),
        ({"name": "rest.slow", "match": {"endpoint": "AddOrdr"}}, "did you mean AddOrder"),
        ({"name": "ws.half_open", "match": {"channel": "bok"}}, "did you mean book"),
        ({"name": "rest.slow", "match": {"method": "addorder"}}, "did you mean add_order"),
        ({"name": "rest.slow", "match": {"key": "tradin"}}, "did you mean trading"),
        ({"name": "rest.slow", "match": {"pair": "ETH/USD"}}, "expected a pair that is listed, found 'ETH/USD'"),
        ({"name": "rest.slow", "match": {"channel": "book"}}, "found 'channel'"),
        ({"name": "market.cancel_only", "match": {"pair": "BTC/USD"}}, "to hold nothing, found 'pair'"),
        ({"name": "ws.drop", "match": {"channel": "book"}}, "to hold endpoint, key, found 'channel'"),
        ({"name": "ws.drop_storm", "match": {"pair": "BTC/USD"}}, "found 'pair'"),
        ({"name": "dms.expire", "match": {"endpoint": "AddOrder"}}, "to hold key, found 'endpoint'"),
        ({"name": "data.ohlc_hole", "match": {"endpoint": "Time"}}, "expected data.ohlc_hole at OHLC"),
        ({"name": "order.cancel_lost", "match": {"method": "add_order"}}, "at cancel_order, cancel_all, batch_cancel"),
        ({"name": "ws.book_corrupt", "match": {"channel": "trade"}}, "expected ws.book_corrupt at book"),
        ({"name": "market.flash", "match": {"endpoint": "OHLC"}}, "at Ticker, Depth, /v2, /auth/v2"),
        ({"name": "market.halt", "count": 3}, "without a count or rate"),
        ({"name": "market.halt", "rate": 0.5}, "without a count or rate"),
        ({"name": "market.gap", "for_s": 5}, "it is done once"),
        ({"name": "market.gap", "count": 2}, "it is done once"),
        ({"name": "rest.slow", "args": {"seconds": -1}}, "at least 0"),
        ({"name": "order.fill_during_cancel", "args": {"part": 1.1}}, "share from 0 to 1"),
        ({"name": "order.partial_fill", "args": {"parts": "0.6,0.6"}}, "together at most 1"),
        ({"name": "order.partial_fill", "args": {"parts": "0.3x"}}, "expected parts"),
        ({"name": "order.partial_fill", "args": {"parts": ",".join(["0.01"] * 51)}}, "at most 50"),
        ({"name": "market.pair_change", "args": {"tick_size": "0.15"}}, "a multiple of 0.1"),
        ({"name": "market.pair_change", "args": {"tick_size": "wide"}}, "to be a number"),
        ({"name": "market.pair_change", "args": {"ordermin": "0"}}, "above 0"),
        ({"name": "market.pair_change", "args": {"ordermin": "nan"}}, "expected ordermin"),
        ({"name": "market.pair_change", "args": {"status": "shut"}}, "expected status"),
        ({"name": "market.gap", "args": {"per_cent": -99.5}}, "per_cent from -99"),
        ({"name": "order.ghost", "args": {"pair": "ETH/USD"}}, "listed pair"),
        ({"name": "order.ghost", "args": {"volume": "0"}}, "a volume above it"),
        ({"name": "data.clock_skew", "args": {"seconds": 1e9}}, "seconds from"),
    ],
)
def test_what_cannot_strike_is_refused(rig, told, words):
    """Wrong names, places, shares and steps are refused in a sentence that helps; so is a whole scenario with such a line."""
    told = {"match": {"pair": "BTC/USD"}, **told} if told["name"] == "market.pair_change" else told
    with pytest.raises(InputError, match=re.escape(words)):
        rig.plan.add(told, rig.now)
    with pytest.raises(InputError, match=re.escape(words)):
        rig.plan.plan([{"at_s": 0, "name": "rest.service_busy"}, {"at_s": 5, **told}], rig.now)

    rig.passed(10)
    assert rig.plan.faults == []
    assert rig.logged() == []


def test_known_places_are_all():
    """What a match may name is what the interfaces have: every endpoint, channel and method, and no other."""
    rig = Rig()
    rest = rig.opened.emulator.rest

    assert set(ENDPOINTS) == {"/v2", "/auth/v2", *rest._public, *rest._private}
    assert set(CHANNELS) == PUBLIC | PRIVATE
    assert set(METHODS) == {"subscribe", "unsubscribe", "ping", "pong", *rig.hub.trade._methods}
    for kind in CATALOGUE.values():
        assert set(kind.endpoints) <= set(ENDPOINTS)
        assert set(kind.channels) <= set(CHANNELS)


# ---- many at once, counts and clears ---------------------------------------------------------------------------------------


def test_outer_fault_shields_inner(rig):
    """Of two faults that answer a call the first alone strikes; the other's count is whole when its turn comes."""
    first, second = rig.fault("rest.service_busy", count=1), rig.fault("rest.service_timeout", count=1)
    assert rig.read("Time").error == "EService:Busy"
    assert (first.struck, second.struck) == (1, 0)
    assert rig.read("Time").error == "EService:Timeout"
    assert rig.read("Time").error == ""


def test_fifty_at_once(rig):
    """Fifty faults of the same call strike one after another; as many as may be set do not overflow anything."""
    for _ in range(50):
        rig.fault("rest.service_busy")
    assert [rig.read("Time").error for _ in range(51)] == ["EService:Busy"] * 50 + [""]
    rig.plan.clear(rig.now)
    for _ in range(FAULTS_MAX):
        rig.fault("order.late_visibility")
    assert rig.call("OpenOrders").answer["result"] == {"open": {}}
    with pytest.raises(InputError, match="at most 200"):
        rig.fault("order.late_visibility")


@pytest.mark.parametrize("seed", range(12))
def test_exchange_stays_whole(seed):
    """With fifty faults at once, set, cleared and ending, everything is answered or lost, and no money or order is."""
    rig, chance = Rig(seed=seed), random.Random(seed)
    accounts = rig.engine.accounts.by_name

    def sums():
        return {asset: sum(one.balances.get(asset, 0) for one in accounts.values()) for asset in ("BTC", "ETH", "USD", "EUR")}

    before = sums()
    rig.ask("subscribe", channel="executions", token=TOKEN)
    for channel in ("book", "ticker", "ohlc", "trade"):
        rig.ask("subscribe", channel=channel, symbol=["BTC/USD", "ETH/EUR"])
    names = [name for name in CATALOGUE if name != "auth.invalid_nonce_storm"]
    for name in chance.sample(names, 50):
        lasts = {} if CATALOGUE[name].place is FaultPlace.STATE else {"rate": chance.random(), "seed": seed}
        with contextlib.suppress(InputError):
            # A mode that is set already may refuse a ghost.
            rig.fault(name, **lasts)
    for _ in range(150):
        price = str(round(chance.uniform(88000, 92000), 1))
        side, kind = chance.choice(["buy", "sell"]), chance.choice(["limit", "market"])
        order = {"symbol": "BTC/USD", "side": side, "order_type": kind, "order_qty": 0.01, "limit_price": float(price)}
        chance.choice(
            [
                lambda price=price, side=side, kind=kind: rig.buy(price=price, type=side, ordertype=kind),
                lambda order=order: rig.ask("add_order", token=TOKEN, **order),
                lambda: rig.call("CancelAll"),
                lambda: rig.ask("cancel_all", token=TOKEN),
                lambda: rig.read(chance.choice(["Ticker", "Time", "AssetPairs", "SystemStatus"])),
                lambda: rig.read("OHLC", pair="XBTUSD"),
                lambda: rig.call(chance.choice(["OpenOrders", "Balance"])),
                lambda: rig.ask("subscribe", channel="ohlc", symbol=["BTC/USD"], interval=chance.choice([5, 15, 30])),
                lambda: rig.passed(chance.choice([0.1, 1, 10])),
                lambda: rig.plan.clear(rig.now, chance.choice(rig.plan.faults).number) if rig.plan.faults else None,
            ]
        )()
        rig.got()

    assert sums() == before
    rig.plan.clear(rig.now)
    rig.passed(100)
    rig.now += 1000 * S
    rig.engine.cancel_all("client", rig.now)
    assert accounts["client"].held == {}
    assert rig.engine.mode.value == "online"
    assert (rig.plan.halted, rig.engine.terms) == ({}, {})
    assert rig.buy(price="50000.0").error == ""
    book = rig.engine.listings["BTC/USD"].book
    rig.passed(1)
    assert book.bids.best() < book.asks.best()


def test_same_seed_same_calls():
    """A fault that is seeded strikes the same calls of the same traffic, whatever else was set before it."""

    def struck(*before):
        rig = Rig()
        for name in before:
            rig.fault(name, rate=0)
        fault = rig.fault("rest.timeout_after", rate=0.4, seed=11, match={"endpoint": "AddOrder"})
        found = []
        for number in range(40):
            count = fault.struck
            rig.call("Balance") if number % 3 else rig.buy(volume="0.001")
            found.append(fault.struck > count)
        return found

    assert struck() == struck("rest.service_busy", "rest.slow")
    assert any(struck())


def test_nothing_lasts_for_no_time(rig):
    """A duration of 0 strikes nothing, and one on a fast clock ends by that clock."""
    rig.fault("rest.service_busy", for_s=0)
    assert rig.read("Time").error == ""
    rig.fault("market.halt", for_s=60)
    rig.passed(59)
    assert rig.plan.still() == {"BTC/USD", "ETH/EUR"}
    rig.passed(1)
    assert rig.plan.still() == set()


def test_struck_faults_are_named(rig):
    """An outcome carries the numbers of the faults that made it so, and none without."""
    slow = rig.fault("order.late_visibility")
    busy = rig.fault("rest.service_busy", match={"endpoint": "OpenOrders"})

    assert rig.call("OpenOrders").struck == (slow.number, busy.number)
    assert rig.call("Balance").struck == ()


def test_clear_frees(rig):
    """What a cleared fault holds is let go, what another holds is not; the end of the server lets go of all."""
    one, other = rig.fault("rest.timeout_after", rate=1), rig.fault("rest.timeout_before", rate=1)
    rig.plan.clear(rig.now, one.number)
    assert rig.plan.frees(one.number)
    assert not rig.plan.frees(other.number)
    rig.plan.clear(rig.now)
    assert rig.plan.frees(other.number)
    later = rig.fault("rest.timeout_before")
    assert not rig.plan.frees(later.number)
    rig.opened.emulator.end()
    assert rig.plan.frees(later.number)


# ---- orders ----------------------------------------------------------------------------------------------------------------


def test_slices_as_maker_and_taker(rig):
    """Slices come at their times, as maker or taker with the fee of each; the rest stays; the account owns the sum."""
    rig.fault("order.partial_fill", args={"parts": "0.1t@0,0.2m@5,0.3t@1", "delay_s": 2})
    account = rig.engine.accounts.by_name["client"]
    before = account.balances["BTC"]
    order = order_of(rig, rig.buy())
    shown = [order.done]
    for seconds in (4.9, 0.1, 0.9, 0.1):
        rig.passed(seconds)
        shown.append(order.done)

    assert shown == [Decimal(text) for text in ("0.001", "0.001", "0.003", "0.003", "0.006")]
    fills = [one for one in rig.engine.executions if one.order is order]
    assert [(one.volume, one.maker) for one in fills] == [
        (Decimal("0.001"), False),
        (Decimal("0.002"), True),
        (Decimal("0.003"), False),
    ]
    assert {one.price for one in fills} == {Decimal(80000)}
    assert fills[0].fee / fills[0].cost == Decimal("0.004")
    assert fills[1].fee / fills[1].cost == Decimal("0.0025")
    assert account.balances["BTC"] == before + Decimal("0.006")
    assert order.state.value == "open"
    assert order.resting.left == 400_000
    assert rig.call("CancelOrder", txid=order.id).error == ""
    assert account.held == {}


def test_slices_to_the_end(rig):
    """A last slice as taker closes the order and takes it out of the book."""
    rig.fault("order.partial_fill", args={"parts": "0.5m,0.5t", "delay_s": 1})
    order = order_of(rig, rig.buy())
    rig.passed(2)

    assert (order.state.value, order.left, order.resting) == ("closed", 0, None)
    assert rig.working == []
    assert rig.engine.listings["BTC/USD"].book.bids.quantity(800_000) == 0


def test_taker_slices_leave_the_queue(rig):
    """An order that is filled as taker behind another of its price leaves that one alone, and nothing of itself."""
    first = order_of(rig, rig.buy())
    rig.fault("order.partial_fill", args={"parts": "1t@0"})
    second = order_of(rig, rig.buy())
    assert (second.state.value, first.done) == ("closed", 0)
    rig.engine.take(first.wish.pair, Decimal(10**6), rig.now, buys=False)

    assert (first.state.value, first.done) == ("closed", first.volume)
    assert all(one.volume > 0 for one in rig.engine.listings["BTC/USD"].prints)
    assert rig.engine.listings["BTC/USD"].book.bids.levels(1) == []


def test_post_only_is_never_taker(rig):
    """A post-only order's slices are all maker's."""
    rig.fault("order.partial_fill", args={"parts": "0.5t@0"})
    order = order_of(rig, rig.buy(oflags="post"))

    assert [one.maker for one in rig.engine.executions if one.order is order] == [True]


def test_slices_of_a_streams_order(rig):
    """The same for an order of a stream."""
    rig.fault("order.partial_fill", args={"parts": "0.4t@0", "rest": "cancel", "delay_s": 1}, match={"method": "add_order"})
    assert order_of(rig, rig.buy()).done == 0
    (answer,) = rig.ask("add_order", token=TOKEN, **BUY)
    order = rig.engine.orders[answer["result"]["order_id"]]
    assert order.done == Decimal("0.004")
    rig.passed(1)
    assert order.state.value == "canceled"


def test_cancel_lost_of_a_batch(rig):
    """A batch's cancels are lost too, by REST and by a stream; without an answer where that is asked for."""
    names = [order_of(rig, rig.buy()).id for _ in range(2)]
    rig.fault("order.cancel_lost", count=2)
    assert rig.call("CancelOrderBatch", orders=json.dumps(names)).answer["result"] == {"count": 2}
    (answer,) = rig.ask("batch_cancel", token=TOKEN, orders=names)
    assert answer["orders_cancelled"] == 2
    assert len(rig.working) == 2
    rig.fault("order.cancel_lost", args={"answered": False, "seconds": 3}, count=2)
    lost = rig.call("CancelOrder", txid=names[0])
    assert (lost.cut, lost.hold_s) == ("reset", 3.0)
    assert rig.ask("cancel_order", token=TOKEN, order_id=names) != []
    assert len(rig.working) == 1


@pytest.mark.parametrize("other", ["order.cancel_lost", "rest.timeout_before", "order.fill_during_cancel"])
def test_lag_of_what_was_not_cancelled(rig, other):
    """A hold that lags where the cancel itself was lost, or came too late, is neither doubled nor left behind."""
    account = rig.engine.accounts.by_name["client"]
    name = order_of(rig, rig.buy(volume="11")).id
    rig.fault("order.insufficient_funds_lag", args={"seconds": 5})
    rig.fault(other)
    held = dict(account.held)
    rig.call("CancelOrder", txid=name)
    assert account.held == ({} if other == "order.fill_during_cancel" else held)
    rig.passed(5)
    rig.call("CancelOrder", txid=name)
    assert account.held == {}


def test_cancels_of_one_pair(rig):
    """A cancel is matched by the pair of the order that it names."""
    name = order_of(rig, rig.buy()).id
    rig.fault("order.cancel_lost", match={"pair": "ETH/EUR"})
    rig.fault("rest.service_busy", match={"pair": "BTC/USD", "endpoint": "CancelOrder"})

    assert rig.call("CancelOrder", txid=name).error == "EService:Busy"
    assert rig.call("CancelOrder", txid=name).error == ""


def test_lockout_counts_from_when_it_was_set(rig):
    """Bad requests of before do not count; a lock-out lasts its time from the last bad one, and then takes as many again."""

    def bad():
        rig.nonce = 0
        return rig.call("Balance").error

    rig.call("Balance")
    assert [bad() for _ in range(3)] == ["EAPI:Invalid nonce"] * 3
    rig.nonce = 10
    rig.fault("auth.lockout", args={"after": 2, "seconds": 100})
    assert rig.call("Balance").error == ""
    assert [bad() for _ in range(2)] == ["EAPI:Invalid nonce"] * 2
    rig.nonce = 20
    assert rig.call("Balance").error == "EGeneral:Temporary lockout"
    rig.now += 100 * S - 1
    assert rig.call("Balance").error == "EGeneral:Temporary lockout"
    rig.now += 1
    assert rig.call("Balance").error == ""
    assert bad() == "EAPI:Invalid nonce"
    rig.nonce = 30
    assert rig.call("Balance").error == ""


# ---- the market, pair by pair ----------------------------------------------------------------------------------------------


def test_halt_of_one_pair(rig):
    """One pair stands still and the other goes on; two halts of a pair end one by one."""
    books = {name: listing.book for name, listing in rig.engine.listings.items()}
    first = rig.fault("market.halt", match={"pair": "BTC/USD"})
    rig.fault("market.halt", match={"pair": "XBTUSD"})
    before = {name: book.checksum() for name, book in books.items()}
    rig.passed(5)
    assert books["BTC/USD"].checksum() == before["BTC/USD"]
    assert books["ETH/EUR"].checksum() != before["ETH/EUR"]
    rig.plan.clear(rig.now, first.number)
    rig.passed(5)
    assert books["BTC/USD"].checksum() == before["BTC/USD"]
    rig.plan.clear(rig.now)
    rig.passed(5)
    assert books["BTC/USD"].checksum() != before["BTC/USD"]


@pytest.mark.parametrize("name", ["market.flash", "market.crossed", "market.stale"])
def test_quotes_of_one_pair(rig, name):
    """In an answer about all pairs only the one that was named is wrong."""

    def quotes():
        found = rig.read("Ticker").answer["result"]
        return {pair: (one["b"][0], one["a"][0]) for pair, one in found.items()}

    first = quotes()
    rig.fault(name, match={"pair": "BTC/USD"}, for_s=1000)
    second = quotes()
    rig.passed(5)
    third = quotes()

    assert second["XETHZEUR"] == first["XETHZEUR"] != third["XETHZEUR"]
    assert (second["XXBTZUSD"] == first["XXBTZUSD"]) is (name == "market.stale")
    assert (third["XXBTZUSD"] == first["XXBTZUSD"]) is (name == "market.stale")
    (ticker,) = [one for one in rig.ask("subscribe", channel="ticker", symbol=["ETH/EUR"]) if one.get("channel")]
    assert ticker["data"][0]["bid"] < ticker["data"][0]["ask"]


def test_pair_change_is_kept(rig):
    """New steps and minimums are told by AssetPairs and the instrument channel, kept by the engine, and end with the fault."""
    (_, snapshot) = rig.ask("subscribe", channel="instrument")
    assert {one["symbol"]: one["status"] for one in snapshot["data"]["pairs"]} == {"BTC/USD": "online", "ETH/EUR": "online"}
    fault = rig.fault(
        "market.pair_change", match={"pair": "BTC/USD"}, args={"tick_size": "5", "ordermin": "0.01", "costmin": "900"}
    )
    rig.passed()
    (update,) = rig.got("instrument")
    (pair,) = update["data"]["pairs"]
    assert (update["type"], pair["symbol"], pair["tick_size"], pair["qty_min"]) == ("update", "BTC/USD", 5, Decimal("0.01"))
    told = rig.read("AssetPairs").answer["result"]
    assert (told["XXBTZUSD"]["tick_size"], told["XETHZEUR"]["tick_size"]) == ("5", "0.01")

    assert rig.buy(price="80001.0", volume="0.02").error == "EOrder:Tick size check failed"
    assert rig.buy(volume="0.0099", price="95000").error == "EGeneral:Invalid arguments:volume minimum not met"
    assert rig.buy(volume="0.01", price="89995").error == "EOrder:Cost minimum not met"
    order = order_of(rig, rig.buy(volume="0.02"))
    assert rig.call("AmendOrder", txid=order.id, limit_price="80002.0").error == "EOrder:Tick size check failed"
    assert rig.call("AmendOrder", txid=order.id, limit_price="80005.0").error == ""
    other = {"pair": "ETHEUR", "price": "2000.01", "volume": "0.5"}
    assert rig.buy(**other).error == ""

    rig.plan.clear(rig.now, fault.number)
    rig.passed()
    assert rig.got("instrument")[0]["data"]["pairs"][0]["tick_size"] == Decimal("0.1")
    assert rig.buy(price="80001.3").error == ""


@pytest.mark.parametrize(
    ("status", "plain", "post"),
    [
        ("cancel_only", "EService:Market in cancel_only mode", "EService:Market in cancel_only mode"),
        ("post_only", "EService:Market in post_only mode", ""),
        ("limit_only", "", ""),
        ("reduce_only", "EOrder:Reduce only:No position exists", "EOrder:Reduce only:No position exists"),
        ("delisted", "EQuery:Unknown asset pair", "EQuery:Unknown asset pair"),
        ("online", "", ""),
    ],
)
def test_pair_states(rig, status, plain, post):
    """A pair takes what its state allows, and cancels in every one; other pairs are as they were."""
    before = order_of(rig, rig.buy())
    rig.fault("market.pair_change", match={"pair": "BTC/USD"}, args={"status": status})
    assert rig.buy().error == plain
    assert rig.buy(oflags="post").error == post
    assert (rig.buy(ordertype="market").error == "") is (status == "online")
    assert rig.buy(pair="ETHEUR", price="2000", volume="0.5").error == ""
    assert ("XXBTZUSD" in rig.read("AssetPairs").answer["result"]) is (status != "delisted")
    assert rig.call("CancelOrder", txid=before.id).error == ""


def test_changes_of_a_pair_on_top_of_each_other(rig):
    """The latest change of a pair holds; when it ends, the one before it does."""
    rig.fault("market.pair_change", args={"status": "post_only"})
    last = rig.fault("market.pair_change", match={"pair": "BTC/USD"}, args={"status": "cancel_only"})
    assert rig.buy().error == "EService:Market in cancel_only mode"
    rig.plan.clear(rig.now, last.number)
    assert rig.buy().error == "EService:Market in post_only mode"
    rig.plan.clear(rig.now)
    assert rig.engine.terms == {}


# ---- streams ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("private", "channel", "error"),
    [
        (False, "executions", "Private data and trading are unavailable on this endpoint. Try ws-auth.kraken.com"),
        (False, "balances", "Private data and trading are unavailable on this endpoint. Try ws-auth.kraken.com"),
        (True, "book", "Public market data subscriptions are unavailable on this endpoint. Try ws.kraken.com"),
        (True, "instrument", "Public market data subscriptions are unavailable on this endpoint. Try ws.kraken.com"),
    ],
)
def test_channels_have_their_address(rig, private, channel, error):
    """Each address refuses the other's channels, and the public one trading."""
    line = rig.quietly(private=private)
    ask = {"method": "subscribe", "params": {"channel": channel, "symbol": ["BTC/USD"], "token": TOKEN}}
    line.receive(json.dumps(ask), rig.now)
    (answer,) = [json.loads(text) for text in line.outbox]
    assert (answer["error"], answer["success"]) == (error, False)
    public = rig.line = rig.quietly(private=False)
    assert "ws-auth.kraken.com" in rig.ask("add_order", token=TOKEN, **BUY)[0]["error"]
    assert public.key is None
    assert rig.working == []


def test_one_symbol_of_several_is_refused(rig):
    """Of a subscription to several pairs only the one that was named is refused, with its symbol."""
    rig.fault("ws.sub_reject", match={"pair": "ETH/EUR"})
    found = [one for one in rig.ask("subscribe", channel="trade", symbol=["BTC/USD", "ETH/EUR"]) if "success" in one]

    assert [one["success"] for one in found] == [True, False]
    assert found[1]["symbol"] == "ETH/EUR"
    assert found[0]["result"]["symbol"] == "BTC/USD"


def test_streams_by_key(rig):
    """A fault of one key strikes what that key's connection is told and asks, and no other's."""
    key = make_key("other", "client", TRADING, rig.hub._desk.chance)
    rig.hub._desk.keys[key.id] = key
    rig.hub._desk.tokens["second"] = (key, rig.now + 900 * S)
    first, second = rig.line, rig.quietly(private=True)
    rig.ask("subscribe", channel="executions", token=TOKEN)
    rig.fault("ws.sub_reject", match={"key": "other"})
    rig.line = second
    assert rig.ask("subscribe", channel="executions", token="second")[0]["success"] is False
    assert rig.ask("subscribe", channel="executions", token="second")[0]["success"] is True
    first.outbox, second.outbox = [], []
    rig.fault("ws.exec_gap", match={"key": "other"}, for_s=100)
    rig.buy()
    assert (len(first.outbox), len(second.outbox)) == (2, 0)
    assert {line["key"] for line in rig.logged() if line["fault"] == "ws.exec_gap"} == {"other"}


def test_merged_executions(rig):
    """An order's last trade and its end come in one message, and no number is missing."""
    rig.ask("subscribe", channel="executions", token=TOKEN)
    rig.fault("ws.exec_sparse", args={"form": "merged"}, count=1)
    found = rig.ask("add_order", token=TOKEN, **(BUY | {"order_type": "market", "order_qty": 0.3}))
    reports = [one for one in found if one.get("channel") == "executions"]

    assert [one["exec_type"] for one in reports[-1]["data"]] == ["trade", "filled"]
    assert len({one["order_id"] for one in reports[-1]["data"]}) == 1
    assert [one["sequence"] for one in reports] == list(range(2, 2 + len(reports)))
    after = rig.ask("add_order", token=TOKEN, **(BUY | {"order_type": "market", "order_qty": 0.3}))
    kinds = [[report["exec_type"] for report in one["data"]] for one in after if one.get("channel") == "executions"]
    assert all(len(one) == 1 for one in kinds)
    assert kinds[-1] == ["filled"]


def test_rate_counter(rig):
    """Reports carry the engine's counter where that was asked for, and only there."""
    rig.ask("subscribe", channel="executions", token=TOKEN, ratecounter=True)
    rig.buy()
    rig.buy()
    assert [one["data"][0]["ratecount"] for one in rig.got("executions")] == [1, 1, 2, 2]
    rig.ask("unsubscribe", channel="executions", token=TOKEN)
    rig.ask("subscribe", channel="executions", token=TOKEN)
    rig.buy()
    assert "ratecount" not in rig.got("executions")[0]["data"][0]


@pytest.mark.parametrize("name", ["rest.reset_before", "rest.reset_after"])
def test_reset_of_a_stream(rig, name):
    """A reset cuts the connection, applied or not."""
    rig.fault(name, match={"method": "add_order"})
    assert rig.buy().cut == ""
    assert rig.ask("add_order", token=TOKEN, **BUY) == []
    assert rig.line.cut
    assert len(rig.working) == 1 + (name == "rest.reset_after")


@pytest.mark.parametrize("name", ["rest.timeout_after", "rest.http_5xx_after", "rest.html_200"])
def test_no_answer_on_a_stream(rig, name):
    """What has no form of a stream's is no answer at all; the order is there and the connection stays."""
    rig.fault(name, match={"method": "add_order"})

    assert rig.ask("add_order", token=TOKEN, **BUY) == []
    assert not rig.line.cut
    assert len(rig.working) == 1


def test_deadline_of_what_waited(rig):
    """A stream's order that waited for more than five seconds is too late; a longer deadline of its own holds."""

    def late(seconds, **more):
        ask = {"method": "add_order", "params": {"token": TOKEN, **BUY, **more}}
        rig.line.receive(json.dumps(ask), rig.now + int(seconds * S), rig.now)
        return rig.got()[-1]

    assert late(5)["success"] is True
    assert late(5.001)["error"] == "EService:Deadline elapsed"
    assert late(5.001, deadline="2026-11-18T11:07:00Z")["success"] is True
    assert len(rig.working) == 2


def test_wrong_clock_of_a_stream(rig):
    """A stream's answers are dated wrong by so much, as Time and SystemStatus are."""
    right = rig.ask("ping")[0]
    rig.fault("data.clock_skew", args={"seconds": 3600})
    wrong = rig.ask("ping")[0]

    assert right["time_in"][11:13] != wrong["time_in"][11:13]
    assert right["time_in"][14:] == wrong["time_in"][14:]
    assert rig.read("SystemStatus").answer["result"]["timestamp"][11:13] == wrong["time_in"][11:13]
    assert len(rig.logged()) == 2


def test_young_orders_are_not_shown_first(rig):
    """A subscription's first report leaves out young orders; one that is old enough is there."""
    rig.buy()
    rig.fault("order.late_visibility", args={"seconds": 3})
    (_, young) = rig.ask("subscribe", channel="executions", token=TOKEN)
    assert (young["type"], young["data"]) == ("snapshot", [])
    rig.ask("unsubscribe", channel="executions", token=TOKEN)
    rig.now += 3 * S
    (_, shown) = rig.ask("subscribe", channel="executions", token=TOKEN)
    assert len(shown["data"]) == 1


@pytest.mark.parametrize("name", ["ohlc_hole", "ohlc_duplicate", "ohlc_reorder", "revised_last"])
def test_candles_of_a_stream(rig, name):
    """A snapshot of candles has rows missing, repeated, out of order, or another running one; the next is right."""

    def candles():
        ask = {"channel": "ohlc", "symbol": ["BTC/USD"], "interval": 60}
        found = next(one for one in rig.ask("subscribe", **ask) if one.get("channel") == "ohlc")["data"]
        rig.ask("unsubscribe", **ask)
        return found

    right = candles()
    rig.fault(f"data.{name}")
    wrong = candles()
    assert candles() == right != wrong
    assert len(wrong) - len(right) == {"ohlc_hole": -1, "ohlc_duplicate": 1}.get(name, 0)
    begins = [one["interval_begin"] for one in wrong]
    assert (begins == sorted(begins)) is (name != "ohlc_reorder")
    assert (wrong[-1] == right[-1]) is (name != "revised_last")


def test_timers_of_one_key(rig):
    """A dead man's switch fires for one key's account."""
    rig.buy()
    rig.call("CancelAllOrdersAfter", timeout=60)
    key = make_key("other", "elsewhere", TRADING, rig.hub._desk.chance)
    rig.hub._desk.keys[key.id] = key
    rig.fault("dms.expire", match={"key": "other"})
    rig.passed()
    assert len(rig.working) == 1
    rig.fault("dms.expire", match={"key": "trading"})
    rig.passed()
    assert rig.working == []


def test_refused_timer_of_a_stream(rig):
    """Arming is refused over a stream as over REST."""
    rig.fault("dms.refused")

    assert rig.ask("cancel_all_orders_after", token=TOKEN, timeout=60)[0]["error"] == "EService:Unavailable"


# ---- the page --------------------------------------------------------------------------------------------------------------


def lasting(kind):
    """Return how long a fault stays where nothing is said."""
    if kind.lasts_s is None:
        return "strikes once"
    return f"{kind.lasts_s:g} s" if kind.lasts_s else "until cleared"


def row(name, kind):
    """Return an entry as the page has it."""
    args = ", ".join(
        f"`{what}={str(value).lower() if isinstance(value, bool) else value}`" for what, value in kind.args.items()
    )
    return f"| `{name}` | {kind.summary} | {args} | {lasting(kind)} | {', '.join(kind.matches)} |"


def test_page_has_the_catalogue():
    """Every entry stands in the page as it is, in the catalogue's order, and nothing else does."""
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if re.match(r"\| `\w+\.\w+` \|", line)]

    assert rows == [row(name, kind) for name, kind in CATALOGUE.items()]


def test_every_place_is_used():
    """Each place has a fault of the catalogue."""
    assert {place for kind in CATALOGUE.values() for place in (kind.place, *kind.more)} == set(FaultPlace)
