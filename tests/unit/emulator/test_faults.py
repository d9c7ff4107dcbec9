"""Faults without sockets: each strikes what it matches and nothing else, and does to the exchange what it says."""

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.exchange import TOKEN, ClientBook, Rig, S

from peak_trade.emulator.catalogue import ADDS, CATALOGUE
from peak_trade.emulator.faults import FaultPlace
from peak_trade.emulator.pairs import PAIRS
from peak_trade.model.errors import InputError


@pytest.fixture
def rig():
    found = Rig()
    found.got()
    return found


def result(outcome):
    assert outcome.error == "", outcome
    return outcome.answer["result"]


# ---- when a fault strikes ------------------------------------------------------------------------------------------------


def test_count_at_its_limit(rig):
    """A count of two strikes two calls and not the third; the log has both, with what was struck."""
    rig.fault("rest.service_busy", count=2, match={"endpoint": "Balance"})
    errors = [rig.call("Balance").error for _ in range(4)]

    assert errors == ["EService:Busy", "EService:Busy", "", ""]
    assert [(line["fault"], line["endpoint"], line["key"]) for line in rig.logged()] == [
        ("rest.service_busy", "Balance", "trading")
    ] * 2


@pytest.mark.parametrize(
    ("match", "struck"),
    [
        ({"endpoint": "AddOrder"}, True),
        ({"endpoint": "CancelOrder"}, False),
        ({"pair": "BTC/USD"}, True),
        ({"pair": "XXBTZUSD"}, True),
        ({"pair": "ETH/EUR"}, False),
        ({"key": "trading"}, True),
        ({"key": "query"}, False),
        ({"endpoint": "AddOrder", "pair": "ETH/EUR"}, False),
    ],
)
def test_match(rig, match, struck):
    """A fault strikes where everything that its match names is so."""
    rig.fault("rest.service_unavailable", match=match)

    assert (rig.buy().error == "EService:Unavailable") is struck
    assert bool(rig.working) is not struck


def test_duration_at_its_limit(rig):
    """A duration holds until just before its end."""
    rig.fault("rest.service_busy", for_s=10)
    rig.now += 10 * S - 1
    assert rig.read("Time").error == "EService:Busy"
    rig.now += 1
    assert rig.read("Time").error == ""


def test_rate_is_seeded():
    """A rate strikes about that share of calls; the same seed strikes the same ones, none at 0 and all at 1."""

    def struck(rate, seed):
        rig = Rig()
        rig.fault("rest.service_busy", rate=rate, seed=seed)
        return [bool(rig.read("Time").error) for _ in range(300)]

    assert struck(0.3, 1) == struck(0.3, 1) != struck(0.3, 2)
    assert 60 < sum(struck(0.3, 1)) < 120
    assert sum(struck(0, 1)) == 0
    assert sum(struck(1, 1)) == 300


def test_cleared_faults_strike_no_more(rig):
    """A fault that is cleared, alone or with all, is over; so are planned ones."""
    first, _ = rig.fault("rest.service_busy", rate=1), rig.fault("rest.service_timeout", rate=1)
    rig.plan.plan([{"at_s": 1, "name": "rest.internal_error"}], rig.now)
    assert rig.read("Time").error == "EService:Busy"
    assert rig.plan.clear(rig.now, first.number) == 1
    assert rig.read("Time").error == "EService:Timeout"
    assert rig.plan.clear(rig.now) == 1
    rig.passed(2)
    assert rig.read("Time").error == ""


def test_scenario_at_its_times(rig):
    """A line of a scenario is set at its time and not before."""
    assert rig.plan.plan([{"at_s": 5, "name": "rest.service_busy"}, {"at_s": 1, "name": "market.cancel_only"}], rig.now) == 2
    rig.passed(0.9)
    assert rig.engine.mode.value == "online"
    rig.passed(0.1)
    assert rig.engine.mode.value == "cancel_only"
    assert rig.read("Time").error == ""
    rig.passed(4)
    assert rig.read("Time").error == "EService:Busy"


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"name": "rest.nothing"},
        {"name": 5},
        {"name": ["rest.slow"]},
        {"name": "rest.slow", "count": 0},
        {"name": "rest.slow", "count": 1.5},
        {"name": "rest.slow", "count": True},
        {"name": "rest.slow", "rate": 1.1},
        {"name": "rest.slow", "rate": "often"},
        {"name": "rest.slow", "for_s": -1},
        {"name": "rest.slow", "args": {"minutes": 1}},
        {"name": "rest.slow", "args": {"seconds": "soon"}},
        {"name": "rest.slow", "args": {"seconds": float("nan")}},
        {"name": "rest.slow", "args": []},
        {"name": "rest.slow", "match": {"pair": "A/B"}},
        {"name": "rest.slow", "match": {"colour": "red"}},
        {"name": "rest.slow", "match": {"endpoint": 1}},
        {"name": "rest.slow", "seed": "x"},
        {"name": "rest.slow", "extra": 1},
        {"name": "rest.http_5xx_after", "args": {"status": 200}},
        {"name": "ws.drop", "args": {"code": 1005}},
        {"name": "rest.html_200", "args": {"body": "song"}},
        {"name": "order.partial_fill", "args": {"parts": "half"}},
        {"name": "order.partial_fill", "args": {"parts": "1.5"}},
        {"name": "data.ohlc_hole", "args": {"rows": 0}},
        {"name": "market.gap", "args": {"per_cent": -100}},
        {"name": "order.ghost", "args": {"account": "nobody"}},
        {"name": "order.ghost", "args": {"volume": "much"}},
        {"name": "order.ghost", "args": {"volume": "100000", "price": "50000"}},
    ],
)
def test_nonsense_is_refused(rig, told):
    """What makes no sense is refused by what is wrong with it, and nothing is set."""
    with pytest.raises(InputError):
        rig.plan.add(told, rig.now)

    assert rig.plan.faults == []
    assert rig.working == []


def test_scenario_is_whole_or_not(rig):
    """One wrong line, and none is planned."""
    with pytest.raises(InputError):
        rig.plan.plan([{"at_s": 0, "name": "rest.service_busy"}, {"at_s": -1, "name": "rest.slow"}], rig.now)

    rig.passed()
    assert rig.plan.faults == []


def test_nothing_is_there_without_faults(rig):
    """Without a fault an answer is the interface's own."""
    assert result(rig.read("Time"))["unixtime"] == rig.now // S
    assert rig.buy().cut == ""
    assert rig.logged() == []


# ---- calls ---------------------------------------------------------------------------------------------------------------

AROUND = [
    ("rest.timeout_before", {}, 0),
    ("rest.timeout_after", {}, 1),
    ("rest.reset_before", {}, 0),
    ("rest.reset_after", {}, 1),
    ("rest.reset_after", {"cut": "truncated"}, 1),
    ("rest.html_200", {}, 1),
    ("rest.html_200", {"body": "cut"}, 1),
    ("rest.html_200", {"body": "empty", "applied": False}, 0),
    ("rest.captcha_403", {}, 0),
    *(("rest.http_5xx_before", {"status": status}, 0) for status in (502, 503, 504, 520, 522, 524)),
    *(("rest.http_5xx_after", {"status": status}, 1) for status in (502, 503, 504, 520, 522, 524)),
]


@pytest.mark.parametrize(("name", "args", "placed"), AROUND)
def test_lost_answers(rig, name, args, placed):
    """Before is not applied at all, after exactly once; nothing of the answer is JSON of the exchange's."""
    rig.fault(name, args=args, count=1)
    found = rig.buy()

    assert len(rig.working) == placed
    assert len(rig.logged("order accepted")) == placed
    assert found.cut or found.answer is None
    if name.startswith("rest.http_5xx"):
        assert found.status == args["status"]
        assert str(args["status"]) in found.body
    if name == "rest.captcha_403":
        assert found.status == 403
    assert found.cut == {"rest.reset_after": args.get("cut", "reset")}.get(
        name, "reset" if "time" in name or "reset" in name else ""
    )
    assert rig.buy().error == ""


REFUSALS = {
    "rest.deadline_elapsed": "EService:Deadline elapsed",
    "rest.service_unavailable": "EService:Unavailable",
    "rest.service_busy": "EService:Busy",
    "rest.service_timeout": "EService:Timeout",
    "rest.internal_error": "EGeneral:Internal error",
    "auth.invalid_nonce_once": "EAPI:Invalid nonce",
    "auth.invalid_nonce_storm": "EAPI:Invalid nonce",
    "auth.lockout": "EGeneral:Temporary lockout",
    "auth.invalid_key": "EAPI:Invalid key",
    "auth.invalid_signature": "EAPI:Invalid signature",
    "auth.permission_denied": "EGeneral:Permission denied",
    "limit.rest_counter": "EAPI:Rate limit exceeded",
    "limit.engine_counter": "EOrder:Rate limit exceeded",
    "limit.open_orders": "EOrder:Orders limit exceeded",
    "order.insufficient_funds": "EOrder:Insufficient funds",
    "order.cl_ord_id_dup": "EGeneral:Invalid arguments:cl_ord_id not unique",
    "order.reject_min": "EGeneral:Invalid arguments:volume minimum not met",
    "order.reject_tick": "EOrder:Tick size check failed",
    "order.reject_cost": "EOrder:Cost minimum not met",
}


@pytest.mark.parametrize(("name", "error"), REFUSALS.items())
def test_refusals(rig, name, error):
    """A refusal has Kraken's words on REST and on a stream, places nothing, and a private one leaves public calls alone."""
    rig.fault(name, count=2)
    if CATALOGUE[name].endpoints or name.startswith(("auth", "limit")):
        assert rig.read("Time").error == ""
    assert rig.buy().error == error
    asked = {"symbol": "BTC/USD", "side": "buy", "order_type": "limit", "order_qty": 0.01, "limit_price": 80000}
    (answer,) = rig.ask("add_order", token=TOKEN, **asked)
    assert (answer["error"], answer["success"]) == (error, False)
    assert rig.working == []
    assert rig.buy().error == ""


def test_deadline_after_a_part(rig):
    """A part is filled before the deadline, the rest is cancelled, and the answer tells neither."""
    rig.fault("rest.deadline_elapsed", args={"part": 0.4})
    assert rig.buy().error == "EService:Deadline elapsed"
    (order,) = rig.engine.finished["client"]
    assert (order.done, order.state.value) == (Decimal("0.004"), "canceled")


@pytest.mark.parametrize("name", ["rest.service_timeout", "rest.service_busy"])
def test_refusal_after_it_was_applied(rig, name):
    """`applied` makes a refusal lie: the order is there."""
    rig.fault(name, args={"applied": True})

    assert rig.buy().error.startswith("EService")
    assert len(rig.working) == 1


def test_permission_leaves_cancels(rig):
    """A key that may not place orders any more may still cancel; a lockout stops that too, and ends after 900 s."""
    name = result(rig.buy())["txid"][0]
    rig.fault("auth.permission_denied")
    assert {rig.call(endpoint).error for endpoint in ADDS} == {"EGeneral:Permission denied"}
    assert result(rig.call("CancelOrder", txid=name)) == {"count": 1}
    rig.fault("auth.lockout")
    assert rig.call("CancelAll").error == "EGeneral:Temporary lockout"
    rig.now += 900 * S
    assert rig.call("CancelAll").error == ""


def test_lockout_after_bad_requests(rig):
    """So many bad requests of a key lock it out, one fewer do not."""
    rig.fault("auth.lockout", args={"after": 2})
    rig.call("Balance")
    for _ in range(2):
        rig.nonce = 0
        assert rig.call("Balance").error == "EAPI:Invalid nonce"
    rig.nonce = 100
    assert rig.call("Balance").error == "EGeneral:Temporary lockout"


def test_poisoned_nonce(rig):
    """A storm that raises the stored nonce leaves a key useless after it ended."""
    rig.fault("auth.invalid_nonce_storm", args={"ahead": 1000}, count=1)
    assert rig.call("Balance").error == "EAPI:Invalid nonce"
    assert rig.call("Balance").error == "EAPI:Invalid nonce"
    rig.nonce = 2000
    assert rig.call("Balance").error == ""


def test_throttled_until(rig):
    """Throttling names the second at which it ends."""
    rig.fault("rest.throttled", args={"seconds": 7})

    assert rig.read("Time").error == f"EService:Throttled: {rig.now // S + 7}"


def test_waits_are_asked_of_the_server(rig):
    """Slow calls and calls that are overtaken wait before they are looked at; only private ones are overtaken."""
    rig.fault("rest.slow", args={"seconds": 2, "jitter": 0.5})
    target = rig.opened.emulator._target
    from peak_trade.emulator.rest import RestCall

    call = target(RestCall("/0/public/Time", {}, b"", rig.now))
    (fault,) = list(rig.plan.strikes(FaultPlace.WAIT, call, rig.now))
    assert 1.5 <= fault.kind.act(fault) <= 2.5
    rig.fault("auth.nonce_reorder")
    assert list(rig.plan.strikes(FaultPlace.WAIT, call, rig.now)) == []


# ---- orders --------------------------------------------------------------------------------------------------------------


def test_cancel_lost(rig):
    """A cancel is answered and the order stays; the next cancel works; a cancel of nothing is not counted."""
    name = result(rig.buy())["txid"][0]
    rig.fault("order.cancel_lost")
    assert rig.call("CancelOrder", txid="OAAAAA-AAAAA-AAAAAA").error == "EOrder:Unknown order"
    assert result(rig.call("CancelOrder", txid=name)) == {"count": 1}
    assert len(rig.working) == 1
    assert result(rig.call("CancelOrder", txid=name)) == {"count": 1}
    assert rig.working == []


def test_cancel_lost_on_a_stream(rig):
    """The same over a stream, by the client's own name."""
    rig.buy(cl_ord_id="mine")
    rig.fault("order.cancel_lost")
    (answer,) = rig.ask("cancel_order", token=TOKEN, cl_ord_id=["mine"])

    assert answer["success"] is True
    assert len(rig.working) == 1


def test_cancel_pending(rig):
    """A pending cancel happens later, and not before."""
    name = result(rig.buy())["txid"][0]
    rig.fault("order.cancel_pending", args={"seconds": 2})
    assert result(rig.call("CancelOrder", txid=name)) == {"count": 1, "pending": True}
    rig.passed(1.9)
    assert len(rig.working) == 1
    rig.passed(0.1)
    assert rig.working == []


def test_fill_during_cancel(rig):
    """The order is filled before its cancel, which finds none; the client owns what it bought."""
    name = result(rig.buy())["txid"][0]
    before = rig.engine.accounts.by_name["client"].balances["BTC"]
    rig.fault("order.fill_during_cancel")

    assert rig.call("CancelOrder", txid=name).error == "EOrder:Unknown order"
    assert rig.engine.orders[name].state.value == "closed"
    assert rig.engine.accounts.by_name["client"].balances["BTC"] == before + Decimal("0.01")


def test_partly_filled_during_cancel(rig):
    """Filled in part, the rest is cancelled."""
    name = result(rig.buy())["txid"][0]
    rig.fault("order.fill_during_cancel", args={"part": 0.25})

    assert result(rig.call("CancelOrder", txid=name)) == {"count": 1}
    assert rig.engine.orders[name].done == Decimal("0.0025")


def test_insufficient_funds_lag(rig):
    """What a cancelled order held is free only later."""
    account = rig.engine.accounts.by_name["client"]
    free = account.free("USD")
    name = result(rig.buy(volume="10"))["txid"][0]
    rig.fault("order.insufficient_funds_lag", args={"seconds": 5})
    rig.call("CancelOrder", txid=name)
    assert account.free("USD") < free
    assert rig.buy(volume="10").error == "EOrder:Insufficient funds"
    rig.passed(5)
    assert account.free("USD") == free
    assert account.held == {}


@pytest.mark.parametrize(("rest", "state"), [("stay", "open"), ("cancel", "canceled")])
def test_partial_fill(rig, rest, state):
    """An order is filled in the parts and at the times of the plan; what is left rests or is cancelled."""
    rig.fault("order.partial_fill", args={"parts": "0.2,0.3", "delay_s": 2, "rest": rest})
    order = rig.engine.orders[result(rig.buy())["txid"][0]]
    shown = [order.done]
    for _ in range(3):
        rig.passed(2)
        shown.append(order.done)

    assert shown == [Decimal(0), Decimal("0.002"), Decimal("0.005"), Decimal("0.005")]
    assert order.state.value == state


def test_post_only_reject(rig):
    """A post-only order is taken and cancelled for Kraken's reason; another is left alone and is not counted."""
    rig.fault("order.post_only_reject")
    assert rig.buy().error == ""
    order = rig.engine.orders[result(rig.buy(oflags="post"))["txid"][0]]

    assert (order.state.value, order.reason) == ("canceled", "Post only order")
    assert len(rig.working) == 1


def test_self_expire(rig):
    """The exchange ends the order later, by itself."""
    rig.fault("order.self_expire", args={"seconds": 3})
    rig.buy()
    rig.passed(2.9)
    assert len(rig.working) == 1
    rig.passed(0.1)
    assert rig.working == []


def test_late_visibility(rig):
    """An order is not to be seen until it is old enough, by neither way of looking."""
    rig.fault("order.late_visibility", args={"seconds": 3})
    name = result(rig.buy())["txid"][0]
    assert result(rig.call("OpenOrders")) == {"open": {}}
    assert rig.call("QueryOrders", txid=name).error == "EOrder:Invalid order"
    rig.now += 3 * S
    assert list(result(rig.call("OpenOrders"))["open"]) == [name]
    assert list(result(rig.call("QueryOrders", txid=name))) == [name]


def test_ghost(rig):
    """An order appears that the client never sent."""
    rig.fault("order.ghost", args={"pair": "BTC/USD", "price": "70000", "volume": "0.5"})

    (order,) = rig.working
    assert (order.volume, order.limit) == (Decimal("0.5"), Decimal(70000))


# ---- market and data -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        ("cancel_only", "EService:Market in cancel_only mode"),
        ("post_only", "EService:Market in post_only mode"),
        ("limit_only", ""),
        ("maintenance", "EService:Unavailable"),
    ],
)
def test_modes(rig, mode, error):
    """The exchange is in a mode for a time, tells it, and comes back."""
    rig.fault(f"market.{mode}", for_s=10)
    assert result(rig.read("SystemStatus"))["status"] == mode
    assert rig.buy().error == error
    rig.passed(10)
    assert result(rig.read("SystemStatus"))["status"] == "online"
    assert [one["data"][0]["system"] for one in rig.got("status")] in ([mode, "online"], [])


def test_modes_on_top_of_each_other(rig):
    """A mode that ends leaves the other that is still set."""
    first = rig.fault("market.cancel_only")
    rig.fault("market.post_only")
    rig.plan.clear(rig.now, first.number)
    assert rig.engine.mode.value == "post_only"
    rig.plan.clear(rig.now)
    assert rig.engine.mode.value == "online"


def test_gap(rig):
    """The price of one pair jumps, and no other."""
    books = {name: listing.book for name, listing in rig.engine.listings.items()}
    before = {name: book.bids.best() for name, book in books.items()}
    rig.fault("market.gap", match={"pair": "BTC/USD"}, args={"per_cent": -10})
    rig.passed()

    assert books["BTC/USD"].bids.best() / before["BTC/USD"] == pytest.approx(0.9, abs=0.005)
    assert books["ETH/EUR"].bids.best() / before["ETH/EUR"] == pytest.approx(1, abs=0.005)


def test_halt(rig):
    """A market that stands still changes no book and prints no trade, until the fault is cleared."""
    rig.fault("market.halt")
    book = rig.engine.listings["BTC/USD"].book
    before = (book.checksum(), rig.engine.listings["BTC/USD"].trades)
    for _ in range(20):
        rig.passed(5)
    assert (book.checksum(), rig.engine.listings["BTC/USD"].trades) == before
    rig.plan.clear(rig.now)
    for _ in range(20):
        rig.passed(5)
    assert (book.checksum(), rig.engine.listings["BTC/USD"].trades) != before


def quotes(rig, endpoint="Ticker"):
    (found,) = result(rig.read(endpoint, pair="XBTUSD")).values()
    sides = (found["b"], found["a"]) if endpoint == "Ticker" else (found["bids"][0], found["asks"][0])
    return tuple(Decimal(side[0]) for side in sides)


@pytest.mark.parametrize("endpoint", ["Ticker", "Depth"])
def test_flash_and_crossed(rig, endpoint):
    """The spread is so many times as wide, or bid and ask change places, in what is told; the book is as it was."""
    bid, ask = quotes(rig, endpoint)
    rig.fault("market.flash", args={"factor": 50}, count=1)
    wide_bid, wide_ask = quotes(rig, endpoint)
    assert wide_ask - wide_bid == 50 * (ask - bid)
    rig.fault("market.crossed", count=1)
    assert quotes(rig, endpoint) == (ask, bid)
    assert quotes(rig, endpoint) == (bid, ask)


def test_crossed_on_the_stream(rig):
    """A ticker message has its bid above its ask."""
    rig.fault("market.crossed")
    (ticker,) = [one for one in rig.ask("subscribe", channel="ticker", symbol=["BTC/USD"]) if one.get("channel") == "ticker"]

    assert ticker["data"][0]["bid"] > ticker["data"][0]["ask"]


def test_stale(rig):
    """The ticker stays as it was, with fresh times on the stream, while the book goes on."""
    rig.fault("market.stale")
    first = quotes(rig)
    rig.ask("subscribe", channel="ticker", symbol=["BTC/USD"], event_trigger="bbo")
    shown = []
    for _ in range(20):
        rig.passed(5)
        shown += [one["data"][0] for one in rig.got("ticker")]

    assert quotes(rig) == first
    assert len({one["timestamp"] for one in shown}) == len(shown) > 10
    assert len({(one["bid"], one["ask"], one["last"]) for one in shown}) == 1
    assert quotes(rig, "Depth") != first


def test_pair_change(rig):
    """A pair has another step and state."""
    rig.fault("market.pair_change", match={"pair": "BTC/USD"}, args={"tick_size": "0.5", "status": "cancel_only"})
    found = result(rig.read("AssetPairs", pair="XBTUSD"))["XXBTZUSD"]

    assert (found["tick_size"], found["status"], found["ordermin"]) == ("0.5", "cancel_only", "0.00005")


def candles(rig):
    return result(rig.read("OHLC", pair="XBTUSD", interval=60))["XXBTZUSD"]


@pytest.mark.parametrize(
    ("name", "args"),
    [("ohlc_hole", {"rows": 3}), ("ohlc_duplicate", {"rows": 2}), ("ohlc_reorder", {}), ("revised_last", {})],
)
def test_candles(rig, name, args):
    """Rows are missing, repeated, out of order, or the running one is another; the next answer is right again."""
    right = candles(rig)
    rig.fault(f"data.{name}", args=args)
    wrong = candles(rig)

    assert candles(rig) == right
    assert wrong != right
    if name == "ohlc_hole":
        assert len(wrong) == len(right) - 3
        assert (wrong[0], wrong[-1]) == (right[0], right[-1])
    elif name == "ohlc_duplicate":
        assert len(wrong) == len(right) + 2
        assert len({row[0] for row in wrong}) == len(right)
    elif name == "ohlc_reorder":
        assert sorted(wrong) == right
    else:
        assert wrong[:-1] == right[:-1]
        assert Decimal(wrong[-1][3]) <= Decimal(wrong[-1][4]) <= Decimal(wrong[-1][2])


def test_clock_skew(rig):
    """Time is off by so much, in both of its forms."""
    rig.fault("data.clock_skew", args={"seconds": -120})

    assert result(rig.read("Time"))["unixtime"] == rig.now // S - 120


def test_dead_man(rig):
    """The switch fires when told, if it is armed; arming can be refused."""
    rig.buy()
    rig.fault("dms.expire")
    rig.passed()
    assert len(rig.working) == 1
    rig.call("CancelAllOrdersAfter", timeout=60)
    rig.fault("dms.expire")
    rig.passed()
    assert rig.working == []
    rig.fault("dms.refused")
    assert rig.call("CancelAllOrdersAfter", timeout=60).error == "EService:Unavailable"
    assert rig.engine.timers == {}


# ---- streams -------------------------------------------------------------------------------------------------------------


def sequences(rig):
    """Place three orders and return the sequence numbers that the stream had."""
    for _ in range(3):
        rig.buy()
    return [one["sequence"] for one in rig.got("executions")]


def test_executions_out_of_order(rig):
    """Reports go missing, come twice or change places; without a fault they do not."""
    rig.ask("subscribe", channel="executions", token=TOKEN)
    assert sequences(rig) == [2, 3, 4, 5, 6, 7]
    rig.fault("ws.exec_gap")
    assert sequences(rig) == [9, 10, 11, 12, 13]
    rig.fault("ws.exec_dup")
    assert sequences(rig) == [14, 14, 15, 16, 17, 18, 19]
    rig.fault("ws.exec_reorder")
    assert sequences(rig) == [21, 20, 22, 23, 24, 25]


def test_sparse_executions(rig):
    """Later reports of an order leave out what did not change."""
    rig.ask("subscribe", channel="executions", token=TOKEN)
    rig.fault("ws.exec_sparse")
    rig.buy()
    first, second = (one["data"][0] for one in rig.got("executions"))

    assert first["symbol"] == "BTC/USD"
    assert "symbol" not in second
    assert second["order_id"] == first["order_id"]


def found_wrong(stream, symbol="BTC/USD"):
    """Return the places of messages after which an independent reader's checksum is another than the one told."""
    reader, wrong = ClientBook(10, PAIRS[symbol]), []
    reader.take(stream[0])
    for place, message in enumerate(stream[1:], 1):
        try:
            reader.take(message)
        except AssertionError:
            wrong.append(place)
    return wrong


@pytest.mark.parametrize(
    ("mode", "first"),
    [("checksum", 1), ("drop", 1), ("reorder", 1), ("repeat", 0), ("snapshot", 0), ("thin", 0), ("deep", 0), ("zeros", 0)],
)
def test_corrupt_books(mode, first):
    """A reader finds a wrong checksum, a lost or an overtaken update at once, and bears what Kraken may send."""
    streams = {}
    for name, wanted in (("right", ""), ("wrong", mode)):
        rig = Rig()
        stream = rig.ask("subscribe", channel="book", symbol=["BTC/USD", "ETH/EUR"])
        if wanted:
            rig.fault("ws.book_corrupt", args={"mode": wanted}, match={"pair": "BTC/USD"})
        for _ in range(12):
            rig.passed(1)
            stream += rig.got()
        streams[name] = [one for one in stream if one.get("channel") == "book"]
    right, wrong = (
        {symbol: [one for one in stream if one["data"][0]["symbol"] == symbol] for symbol in ("BTC/USD", "ETH/EUR")}
        for stream in streams.values()
    )

    assert found_wrong(right["BTC/USD"]) == []
    assert wrong["ETH/EUR"] == right["ETH/EUR"]
    assert (str(wrong["BTC/USD"]) != str(right["BTC/USD"])) is True
    bad = found_wrong(wrong["BTC/USD"])
    assert (min(bad) if bad else 0) == first
    if mode == "checksum":
        assert bad == [1]
    if mode == "deep":
        assert len(wrong["BTC/USD"][1]["data"][0]["asks"]) > len(right["BTC/USD"][1]["data"][0]["asks"])


def test_thin_snapshot():
    """A subscription may begin with a book of three levels that is right by itself."""
    rig = Rig()
    rig.fault("ws.book_corrupt", args={"mode": "thin"})
    first, second = [one for one in rig.ask("subscribe", channel="book", symbol=["BTC/USD"]) if one.get("channel") == "book"]

    assert [one["type"] for one in (first, second)] == ["snapshot", "snapshot"]
    assert [len(one["data"][0]["asks"]) for one in (first, second)] == [3, 10]
    ClientBook(10, PAIRS["BTC/USD"]).take(first)


def test_deep_books_need_their_reader_to_truncate():
    """A reader that keeps the levels beyond its depth ends with a wrong book; one that drops them does not."""
    rig = Rig()
    stream = rig.ask("subscribe", channel="book", symbol=["BTC/USD"])
    rig.fault("ws.book_corrupt", args={"mode": "deep"}, rate=1)
    for step in range(12):
        if step == 6:
            rig.fault("market.gap", args={"per_cent": -2})
        rig.passed(1)
        stream += rig.got()
    books = [one for one in stream if one.get("channel") == "book"]
    keeps = {Decimal(level["price"]): Decimal(level["qty"]) for one in books for level in one["data"][0]["asks"]}
    held = {price for price, quantity in keeps.items() if quantity}

    book = rig.engine.listings["BTC/USD"].book
    assert held - {Decimal(level.price).scaleb(-1) for level in book.asks.levels(1000)}
    assert found_wrong(books) == []


def test_silence(rig):
    """Nothing is sent while it lasts, not even a pong; then everything is again."""
    rig.ask("subscribe", channel="ticker", symbol=["BTC/USD"])
    rig.fault("ws.silent", for_s=5)
    for _ in range(4):
        rig.passed(1)
    assert rig.ask("ping") == []
    rig.passed(1)
    assert "pong" in [one.get("method") for one in rig.ask("ping")]


def test_only_its_own_channel(rig):
    """A fault of executions leaves acknowledgements, pongs and books alone, and one of an address the other's messages."""
    rig.fault("ws.exec_gap")
    rig.fault("market.crossed", count=1)
    assert rig.ask("subscribe", channel="book", symbol=["BTC/USD"])[0]["success"] is True
    rig.fault("ws.silent", match={"endpoint": "/v2"})
    assert rig.ask("ping")[0]["method"] == "pong"
    assert rig.logged() == []
    rig.line = rig.hub.connect(rig.now, private=False)
    assert rig.ask("ping") == []


def test_half_open(rig):
    """One channel is frozen while heartbeats go on."""
    rig.ask("subscribe", channel="book", symbol=["BTC/USD"])
    rig.fault("ws.half_open")
    for _ in range(5):
        rig.passed(1)

    assert {one["channel"] for one in rig.got()} == {"heartbeat"}


def test_subscriptions_fail(rig):
    """A subscription is refused or not answered, once; a token is refused only on private channels."""
    rig.fault("ws.token_invalid")
    assert rig.ask("subscribe", channel="status")[0]["success"] is True
    assert rig.ask("subscribe", channel="executions", token=TOKEN)[0]["error"] == "ESession:Invalid session"
    assert rig.ask("subscribe", channel="executions", token=TOKEN)[0]["success"] is True
    rig.fault("ws.sub_reject", match={"pair": "ETH/EUR"})
    assert rig.ask("subscribe", channel="trade", symbol=["BTC/USD"])[0]["success"] is True
    assert rig.ask("subscribe", channel="trade", symbol=["ETH/EUR"])[0]["error"] == "EGeneral:Internal error"
    rig.fault("ws.sub_no_ack")
    assert rig.ask("unsubscribe", channel="trade", symbol=["BTC/USD"])[0]["success"] is True
    assert rig.ask("subscribe", channel="trade", symbol=["BTC/USD"]) == []


def test_lost_answers_on_a_stream(rig):
    """A stream's order is placed without an answer, or neither."""
    asked = {"symbol": "BTC/USD", "side": "buy", "order_type": "limit", "order_qty": 0.01, "limit_price": 80000}
    rig.fault("rest.timeout_after", match={"endpoint": "AddOrder"})
    assert rig.ask("add_order", token=TOKEN, **asked) == []
    assert len(rig.working) == 1
    rig.fault("rest.timeout_before", match={"endpoint": "AddOrder"})
    assert rig.ask("add_order", token=TOKEN, **asked) == []
    assert len(rig.working) == 1


@pytest.mark.parametrize("per_cent", [-99, 9900])
def test_market_outlives_many_gaps(rig, per_cent):
    """However often the price jumps, there is a market with two sides."""
    for _ in range(30):
        rig.fault("market.gap", args={"per_cent": per_cent})
        rig.passed()

    for listing in rig.engine.listings.values():
        assert 0 < listing.book.bids.best() < listing.book.asks.best()


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner, max_size=2),
    max_leaves=4,
)
NAMES = st.sampled_from(sorted(CATALOGUE))
ARGS = st.sampled_from(sorted({name for kind in CATALOGUE.values() for name in kind.args}))
TOLD = st.fixed_dictionaries(
    {"name": NAMES | ANY},
    optional={
        "match": ANY | st.dictionaries(st.sampled_from(["endpoint", "pair", "key", "channel"]), ANY, max_size=2),
        "args": ANY | st.dictionaries(ARGS, ANY, max_size=2),
        "count": ANY,
        "rate": ANY,
        "for_s": ANY,
        "seed": ANY,
    },
)


@settings(max_examples=300, deadline=None)
@given(told=TOLD)
def test_fuzz(told):
    """Whatever is said of a fault, it is set or refused in a sentence."""
    try:
        FUZZED.plan.read(told, FUZZED.now)
    except InputError as error:
        assert str(error).startswith("expected ")


FUZZED = Rig()


def test_every_entry_can_be_told(rig):
    """Each entry of the catalogue has a summary and defaults that are JSON; a fault of it with them is one."""
    for name, kind in CATALOGUE.items():
        assert kind.summary
        fault = rig.plan.read({"name": name}, rig.now)
        assert json.loads(json.dumps(fault.told(rig.now)))["name"] == name
        assert fault.args == dict(kind.args)


@pytest.mark.parametrize("told", [True, False])
def test_a_validated_order_is_executed(rig, told):
    """What was only to be looked at works afterwards, and the answer says so or not; a real order is none of its business."""
    rig.fault("order.validate_executes", args={"told": told})
    rig.buy()
    assert len(rig.working) == 1

    answer = result(rig.buy(validate="true"))
    assert len(rig.working) == 2
    assert ("txid" in answer) is told
    assert "txid" not in result(rig.buy(validate="true"))
    assert len(rig.working) == 2
