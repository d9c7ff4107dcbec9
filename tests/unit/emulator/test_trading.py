"""Trading over WebSocket v2: each method does what REST's does, and answers in its own words."""

from decimal import Decimal

import pytest
from tests.exchange import TOKEN, Rig

from peak_trade.emulator.orders import Rejection
from peak_trade.emulator.trading import rest_order

BUY = {"symbol": "BTC/USD", "side": "buy", "order_type": "limit", "order_qty": 0.01, "limit_price": 80000}


@pytest.fixture
def rig():
    found = Rig()
    found.got()
    return found


def ask(rig, method, **params):
    return rig.ask(method, token=TOKEN, **params)


def place(rig, **changes):
    (answer,) = ask(rig, "add_order", **(BUY | changes))
    return rig.engine.orders[answer["result"]["order_id"]]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"ordertype": "limit", "price": "80000", "volume": "0.01", "timeinforce": "GTC", "oflags": ""}),
        ({"limit_price": 0.00001}, {"price": "0.00001"}),
        ({"order_qty": 1e-8}, {"volume": "0.00000001"}),
        ({"order_qty": 123456789.12345678}, {"volume": "123456789.12345678"}),
        ({"post_only": True}, {"oflags": "post"}),
        ({"fee_preference": "base"}, {"oflags": "fcib"}),
        ({"order_type": "market", "cash_order_qty": 50}, {"oflags": "viqc", "volume": "50"}),
        ({"order_type": "iceberg", "display_qty": 0.001}, {"ordertype": "iceberg", "displayvol": "0.001", "price": "80000"}),
        ({"time_in_force": "ioc"}, {"timeinforce": "IOC"}),
        ({"time_in_force": "gtd", "expire_time": "2026-11-24T00:00:00Z"}, {"expiretm": "1795478400.000000"}),
        ({"order_type": "stop-loss", "triggers": {"price": 70000}}, {"price": "70000", "price2": "80000", "trigger": "last"}),
        ({"order_type": "stop-loss", "triggers": {"price": 70000, "reference": "index"}}, {"trigger": "index"}),
        ({"order_type": "trailing-stop", "triggers": {"price": 2, "price_type": "pct"}}, {"price": "+2%"}),
        ({"order_type": "trailing-stop", "triggers": {"price": 50, "price_type": "quote"}}, {"price": "+50"}),
    ],
)
def test_orders_in_rests_words(changes, expected):
    """An order of a stream is AddOrder's, digit by digit."""
    found = rest_order(BUY | changes)

    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("when", ["tomorrow", "2026-13-01T00:00:00Z"])
def test_times_that_are_none(when):
    """A time that can't be read is refused."""
    with pytest.raises(Rejection, match="expire_time"):
        rest_order(BUY | {"expire_time": when})


def test_validation_places_nothing(rig):
    """`validate` inside of the parameters checks and places nothing."""
    (answer,) = ask(rig, "add_order", validate=True, **BUY)

    assert (answer["success"], answer["result"]) == (True, {})
    assert rig.working == []


def test_amend_keeps_the_name(rig):
    """An amended order keeps its name; the answer has the amendment's, and how the order was named."""
    order = place(rig, cl_ord_id="mine")
    (answer,) = ask(rig, "amend_order", cl_ord_id="mine", order_qty=0.02, limit_price=81000)
    (by_id,) = ask(rig, "amend_order", order_id=order.id, limit_price=79000.5)

    assert answer["result"]["cl_ord_id"] == "mine"
    assert by_id["result"]["order_id"] == order.id
    assert (order.volume, order.limit) == (Decimal("0.02"), Decimal("79000.5"))


def test_edit_makes_another_order(rig):
    """An edited order ends, and another takes its place."""
    order = place(rig)
    (answer,) = ask(rig, "edit_order", order_id=order.id, symbol="BTC/USD", order_qty=0.03, limit_price=79000)

    assert answer["result"]["original_order_id"] == order.id
    assert [one.id for one in rig.working] == [answer["result"]["order_id"]]
    assert order.state.value == "canceled"


def test_an_iceberg_over_a_stream(rig):
    """What shows of it is told, and can be amended and edited."""
    order = place(rig, order_type="iceberg", order_qty=0.01, display_qty=0.002)
    ask(rig, "amend_order", order_id=order.id, display_qty=0.001)
    (told,) = ask(rig, "subscribe", channel="executions")[-1]["data"]
    assert (told["order_type"], told["display_qty"], told["display_qty_remain"]) == (
        "iceberg",
        Decimal("0.001"),
        Decimal("0.001"),
    )
    (answer,) = (one for one in ask(rig, "edit_order", order_id=order.id, display_qty=0.005) if "method" in one)
    new = rig.engine.orders[answer["result"]["order_id"]]

    assert (new.display, new.volume, new.resting.left, new.resting.hidden) == (
        Decimal("0.005"),
        Decimal("0.01"),
        500_000,
        500_000,
    )


def test_a_trigger_is_edited(rig):
    """Its limit and its trigger have fields of their own."""
    stop = {"order_type": "stop-loss-limit", "side": "sell", "limit_price": 60000, "triggers": {"price": 70000}}
    order = place(rig, **stop)
    (answer,) = ask(rig, "edit_order", order_id=order.id, limit_price=61000, triggers={"price": 71000})
    new = rig.engine.orders[answer["result"]["order_id"]]

    assert (new.stop, new.limit) == (71_000, 61_000)


def test_one_answer_for_each_cancel(rig):
    """Each order that is cancelled has an answer of its own, and one that is unknown has an error."""
    orders = [place(rig), place(rig)]
    found = ask(rig, "cancel_order", order_id=[orders[0].id, "OAAAAA-AAAAA-AAAAAA", orders[1].id])

    assert [one["success"] for one in found] == [True, False, True]
    assert [one.get("result") for one in found] == [{"order_id": orders[0].id}, None, {"order_id": orders[1].id}]
    assert found[1]["error"] == "EOrder:Unknown order"
    assert rig.working == []


@pytest.mark.parametrize("params", [{}, {"order_id": []}, {"order_id": None}])
def test_cancel_of_nothing(rig, params):
    """A cancel that names no order is refused."""
    (answer,) = ask(rig, "cancel_order", **params)

    assert answer["error"] == "EGeneral:Invalid arguments:order_id"


def test_batches(rig):
    """Several orders are placed and cancelled in one message; each has an answer in order."""
    order = {name: value for name, value in BUY.items() if name != "symbol"}
    (added,) = ask(rig, "batch_add", symbol="BTC/USD", orders=[order, order | {"order_qty": 9, "limit_price": 1}])
    names = [one["order_id"] for one in added["result"]]
    (gone,) = ask(rig, "batch_cancel", orders=names)

    assert [rig.engine.orders[name].volume for name in names] == [Decimal("0.01"), Decimal(9)]
    assert gone["orders_cancelled"] == 2
    assert rig.working == []


@pytest.mark.parametrize("orders", [None, [], [BUY], [BUY] * 16, "x", [1, 2]])
def test_batches_have_bounds(rig, orders):
    """Fewer than 2 or more than 15 orders, or what is none, are refused as a whole."""
    (answer,) = ask(rig, "batch_add", symbol="BTC/USD", orders=orders)

    assert answer["success"] is False
    assert rig.working == []


def test_cancel_all_and_dead_man(rig):
    """All orders are cancelled and counted; the switch is armed and answers with both times."""
    place(rig), place(rig)
    (answer,) = ask(rig, "cancel_all_orders_after", timeout=60)
    assert set(answer["result"]) == {"currentTime", "triggerTime"}
    assert ask(rig, "cancel_all")[0]["result"] == {"count": 2}
    place(rig)
    rig.passed(59.9)
    assert len(rig.working) == 1
    rig.passed(0.1)
    assert rig.working == []


def test_refusals_name_the_symbol(rig):
    """A refusal has Kraken's words, the symbol where one was named, and no result."""
    (answer,) = ask(rig, "add_order", **(BUY | {"order_qty": 10_000}))

    assert (answer["error"], answer["success"], answer["symbol"]) == ("EOrder:Insufficient funds", False, "BTC/USD")
    assert "result" not in answer


def test_rights_hold_on_streams(rig):
    """A key that may not trade does not, whichever way it comes."""
    rig.hub._desk.tokens[TOKEN] = (rig.opened.keys["query"], rig.now + 10**12)
    (answer,) = ask(rig, "add_order", **BUY)

    assert answer["error"] == "EGeneral:Permission denied"
