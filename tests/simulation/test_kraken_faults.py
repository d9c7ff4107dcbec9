"""Our Kraken client against the emulator's faults. Whatever happens to a call, at the end the same things hold.

Exactly one order for an intent that was taken, or none; the fills we know are the exchange's; nothing is sent twice, and while
the outcome of an order is not known it is asked for.
"""

import contextlib
import json
from dataclasses import replace
from decimal import Decimal

import pytest
from tests.emulated import emulating
from tests.kraken import SYMBOL, Client, ExchangeClock

from peak_trade.emulator.orders import OrderStatus
from peak_trade.model.clock import parse_moment
from peak_trade.model.order import Closed, Fill, OrderEvent, OrderState
from peak_trade.venue.kraken.gateway import LOCKOUT_S, Unavailable
from peak_trade.venue.kraken.public import PublicMarket
from peak_trade.venue.kraken.wire import exchange_name
from peak_trade.venue.port import Accepted, Rejected, Unknown


@pytest.fixture(scope="module")
def exchange():
    """An emulator that all tests of this file share."""
    with emulating() as found:
        yield found


@pytest.fixture
def client(exchange, tmp_path):
    """A client with an account of its own; no fault outlives its test."""
    found = Client(exchange, tmp_path)
    with contextlib.closing(found):
        yield found
        found.calm()


def settled(client, *names):
    """Check what has to hold when all is over."""
    sent = [dict(one.fields)["cl_ord_id"] for one in client.wire.orders()]
    assert len(sent) == len(set(sent)), "an order was sent twice"
    placed = [order.wish.cl_ord_id for order in client.orders]
    assert len(placed) == len(set(placed)), "an intent has two orders"
    assert set(placed) <= {exchange_name(name) for name in names}
    assert all("validate" not in dict(one.fields) for one in client.wire.orders())
    fills = [event for event in client.fills() if isinstance(event, Fill)]
    theirs = client.executions
    assert [fill.fill_id for fill in fills] == [one.id for one in theirs]
    assert [fill.quantity for fill in fills] == [one.volume if one.buys else -one.volume for one in theirs]
    assert [fill.price for fill in fills] == [one.price for one in theirs]
    return fills


LOST = [
    ("rest.timeout_after", {}),
    ("rest.reset_after", {}),
    ("rest.reset_after", {"cut": "truncated"}),
    *(("rest.http_5xx_after", {"status": status}) for status in (502, 504, 520, 524)),
    *(("rest.html_200", {"body": body}) for body in ("html", "cut", "empty")),
    *(
        (f"rest.{name}", {"applied": True})
        for name in ("service_unavailable", "service_busy", "service_timeout", "internal_error")
    ),
]
NEVER = [
    ("rest.timeout_before", {}),
    ("rest.reset_before", {}),
    *(("rest.http_5xx_before", {"status": status}) for status in (502, 503, 520, 522)),
    *((f"rest.{name}", {}) for name in ("service_unavailable", "service_busy", "service_timeout", "internal_error")),
    ("rest.html_200", {"applied": False}),
    ("rest.deadline_elapsed", {}),
]


def known(cases):
    return pytest.mark.parametrize(
        ("fault", "args"), cases, ids=["-".join([name, *map(str, args.values())]) for name, args in cases]
    )


@pytest.mark.parametrize("kind", ["limit", "market"])
@known(LOST)
def test_an_order_whose_answer_was_lost_is_found(client, fault, args, kind):
    """It is said to be unknown, and the look-up finds it, resting or filled."""
    client.fault(fault, match={"endpoint": "AddOrder"}, args=args)

    assert isinstance(client.submit(client.intent(kind=kind)), Unknown)
    report = client.look_up("a")["a"]

    assert report.state is (OrderState.FILLED if kind == "market" else OrderState.OPEN)
    fills = settled(client, "a")
    assert sum(fill.quantity for fill in fills) == report.filled == (Decimal("0.01") if kind == "market" else 0)


@known(NEVER)
def test_an_order_that_never_arrived_is_absent_after_its_deadline(client, fault, args):
    """Not a moment sooner: before that it might still arrive."""
    client.fault(fault, match={"endpoint": "AddOrder"}, args=args)
    begun = client.clock.elapsed_s()

    assert isinstance(client.submit(client.intent()), Unknown)
    assert client.look_up("a") == {}

    assert client.clock.elapsed_s() - begun > 10
    assert client.orders == []
    settled(client, "a")
    assert client.submit(client.intent(client_id="again")) == Accepted("again")
    settled(client, "again")


def test_an_order_that_is_shown_late_is_found(client):
    """It is asked for until the lag is over."""
    client.fault("rest.timeout_after", match={"endpoint": "AddOrder"})
    client.fault("order.late_visibility", args={"seconds": 4.0})

    assert isinstance(client.submit(client.intent()), Unknown)
    assert client.look_up("a")["a"].state is OrderState.OPEN
    assert [one.endpoint for one in client.wire.sent].count("OpenOrders") > 1
    settled(client, "a")


def test_a_fill_of_an_order_that_is_shown_late(client):
    """Fills wait until Kraken shows whose they are."""
    client.fault("order.late_visibility", args={"seconds": 3.0}, match={"endpoint": "QueryOrders"})
    client.submit(client.intent())
    client.fault("order.fill_during_cancel", args={"part": 0.5})
    client.fault("order.cancel_lost", count=1)

    client.cancel("a")

    assert settled(client, "a")


def test_a_deadline_that_elapsed_after_a_part(client):
    """The part is found, booked, and the order has ended."""
    client.fault("rest.deadline_elapsed", args={"part": 0.5})

    assert isinstance(client.submit(client.intent()), Unknown)
    report = client.look_up("a")["a"]

    assert (report.state, report.filled) == (OrderState.CANCELLED, Decimal("0.005"))
    [fill] = settled(client, "a")
    assert (fill.quantity, fill.remaining) == (Decimal("0.005"), Decimal("0.005"))
    assert isinstance(client.fills()[-1], Closed)


def test_an_order_that_comes_too_late_is_not_executed(client):
    """The exchange keeps its deadline, and the look-up waits for it."""
    client.venue = client.a_venue(deadline_s=0.1)
    client.fault("rest.slow", match={"endpoint": "AddOrder"}, args={"seconds": 0.2})

    assert isinstance(client.submit(client.intent()), Unknown)
    assert client.look_up("a") == {}
    assert client.orders == []


@pytest.mark.parametrize("skew_s", [-30, -3, 3, 30])
def test_a_deadline_is_in_the_exchanges_time(client, skew_s):
    """Whatever our clock says; a wrong deadline would be refused, or outlive what we believe."""
    clock = ExchangeClock(client.exchange, skew_s * 10**9)
    market = PublicMarket(replace(client.parts, clock=clock), client.exchange.url, 0.0)
    skew = client.run(market.skew_ns())
    client.run(market.close())
    assert abs(skew - skew_s * 10**9) < 2 * 10**9
    client.venue = client.a_venue(clock=clock, skew_ns=skew)

    assert client.submit(client.intent()) == Accepted("a")

    deadline = parse_moment(dict(client.wire.orders()[0].fields)["deadline"])
    assert 2 < (deadline - client.clock.now()).total_seconds() < 8


def test_fills_that_are_shown_late(client):
    """An order has ended with more filled than there are fills: all are fetched again; none is lost or told twice."""
    client.submit(client.intent("0.01", kind="market"))
    client.submit(client.intent("0.02", kind="market", client_id="b"))
    late = client.executions[0].id
    hiding = [True]

    def hide(sent, answer):
        if sent.endpoint != "TradesHistory" or not hiding[0]:
            return answer
        found = json.loads(answer)
        found["result"]["trades"].pop(late, None)
        return json.dumps(found).encode()

    client.wire.answers = hide
    before = client.fills()
    client.passed(300)
    hiding[0] = False
    last = before[-1].fill_id

    assert [fill.fill_id for fill in client.fills(last)] == [late]
    assert sorted(fill.fill_id for fill in client.fills()) == sorted(one.id for one in client.executions)


def test_a_name_that_is_taken_is_looked_up(client):
    """It says that the order may be there already; here it is not."""
    client.fault("order.cl_ord_id_dup")

    assert isinstance(client.submit(client.intent()), Unknown)
    assert client.look_up("a") == {}
    settled(client, "a")


def test_a_name_that_is_taken_by_an_order_from_before_is_adopted(client):
    """A process that forgot what it sent finds it."""
    intent = client.intent()
    client.submit(intent)
    client.venue = client.a_venue()

    assert isinstance(client.submit(intent), Unknown)

    assert client.look_up("a")["a"].state is OrderState.OPEN
    assert len(client.orders) == 1


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("order.reject_min", "too_small"),
        ("order.reject_tick", "off_step"),
        ("order.reject_cost", "too_small"),
        ("order.insufficient_funds", "insufficient_funds"),
        ("limit.open_orders", "too_many_orders"),
        ("limit.engine_counter", "engine_limit"),
        ("auth.invalid_nonce_once", "invalid_nonce"),
        ("auth.permission_denied", "permission_denied"),
        ("auth.invalid_key", "invalid_key"),
        ("auth.invalid_signature", "invalid_signature"),
        ("auth.lockout", "lockout"),
    ],
)
def test_a_refusal_is_final(client, fault, code):
    """The order is not there, and nothing is tried again."""
    client.fault(fault, match={"endpoint": "AddOrder"}, count=1)

    reply = client.submit(client.intent())

    assert isinstance(reply, Rejected)
    assert reply.code == code
    assert len(client.wire.orders()) == 1
    assert client.orders == []


@pytest.mark.parametrize("mode", ["cancel_only", "maintenance"])
def test_a_closed_market_refuses(client, mode):
    """In whatever words; nothing is placed."""
    client.exchange.inside(
        lambda: client.exchange.opened.emulator.faults.add({"name": f"market.{mode}"}, client.exchange.clock())
    )

    reply = client.submit(client.intent())

    assert isinstance(reply, Rejected | Unknown)
    assert client.orders == []


# ---- cancels -------------------------------------------------------------------------------------------------------------


def test_a_cancel(client):
    """Done, told, and it stays so."""
    client.submit(client.intent())

    end = client.cancel("a")

    assert isinstance(end, Closed)
    assert (end.client_id, end.event, end.why) == ("a", OrderEvent.CANCEL, "User requested")
    assert client.fills() == [end]
    assert client.cancel("a") == Accepted("a")
    assert client.fills() == [end]
    settled(client, "a")


def test_a_cancel_that_was_lost_is_noticed(client):
    """Kraken said yes and did nothing: it is looked at, and asked for again."""
    client.submit(client.intent())
    client.fault("order.cancel_lost", count=1)

    assert isinstance(client.cancel("a"), Closed)

    assert client.orders[0].state is OrderStatus.CANCELED
    told = [one.endpoint for one in client.wire.sent]
    first = told.index("CancelOrder")
    assert "OpenOrders" in told[first : told.index("CancelOrder", first + 1)]


def test_a_cancel_that_is_always_lost_is_said_to_be_unknown(client):
    """After a few times somebody has to look."""
    client.submit(client.intent())
    client.fault("order.cancel_lost", count=99)

    reply = client.cancel("a")

    assert isinstance(reply, Unknown)
    assert "still works" in reply.words
    assert [one.endpoint for one in client.wire.sent].count("CancelOrder") == 3


def test_a_cancel_that_is_pending(client):
    """It is taken, and its end is told later, once."""
    client.submit(client.intent())
    client.fault("order.cancel_pending", args={"seconds": 2.0})

    assert client.cancel("a") == Accepted("a")
    assert client.fills() == []
    client.passed(3)

    [end] = client.fills()
    assert isinstance(end, Closed)
    settled(client, "a")


@pytest.mark.parametrize("part", [0.4, 1.0])
def test_a_fill_that_overtakes_a_cancel(client, part):
    """The fill is booked; what was left is cancelled, or nothing was left."""
    client.submit(client.intent())
    client.fault("order.fill_during_cancel", args={"part": part})

    reply = client.cancel("a")

    assert isinstance(reply, Accepted if part == 1 else Closed)
    fills = settled(client, "a")
    assert sum(fill.quantity for fill in fills) == Decimal("0.01") * Decimal(str(part))
    assert client.look_up("a")["a"].state is (OrderState.FILLED if part == 1 else OrderState.CANCELLED)


@known([("rest.timeout_after", {}), ("rest.reset_after", {}), ("rest.http_5xx_after", {"status": 520}), ("rest.html_200", {})])
def test_a_cancel_whose_answer_was_lost(client, fault, args):
    """It is looked at before anything else, and found done."""
    client.submit(client.intent())
    client.fault(fault, match={"endpoint": "CancelOrder"}, args=args)

    assert isinstance(client.cancel("a"), Closed)
    assert [one.endpoint for one in client.wire.sent].count("CancelOrder") == 1


@known([("rest.timeout_before", {}), ("rest.http_5xx_before", {"status": 502}), ("rest.service_busy", {})])
def test_a_cancel_that_never_arrived(client, fault, args):
    """It is looked at, and asked for again since the order works."""
    client.submit(client.intent())
    client.fault(fault, match={"endpoint": "CancelOrder"}, args=args)

    assert isinstance(client.cancel("a"), Closed)
    assert [one.endpoint for one in client.wire.sent].count("CancelOrder") == 2
    settled(client, "a")


def test_a_cancel_after_a_denied_permission(client):
    """Orders are over; cancels go on."""
    client.submit(client.intent())
    client.fault("auth.permission_denied")
    client.submit(client.intent(client_id="b"))

    assert isinstance(client.cancel("a"), Closed)
    assert client.submit(client.intent(client_id="c")).code == "permission_denied"
    assert len(client.wire.orders()) == 2


# ---- fills ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rest", ["stay", "cancel"])
def test_partial_fills(client, rest):
    """Each is booked once with what is left; the order's end is told once."""
    client.fault("order.partial_fill", args={"parts": "0.3,0.3", "delay_s": 1.0, "rest": rest})
    client.submit(client.intent())

    for _ in range(5):
        client.passed(1)

    fills = settled(client, "a")
    assert [fill.quantity for fill in fills] == [Decimal("0.003"), Decimal("0.003")]
    assert [fill.remaining for fill in fills] == [Decimal("0.007"), Decimal("0.004")]
    assert all(fill.maker for fill in fills)
    assert client.fills(fills[0].fill_id) == client.fills()[1:]
    state = client.look_up("a")["a"].state
    assert state is (OrderState.PARTLY_FILLED if rest == "stay" else OrderState.CANCELLED)
    if rest == "stay":
        assert isinstance(client.cancel("a"), Closed)
    assert sum(isinstance(event, Closed) for event in client.fills()) == 1


@pytest.mark.parametrize(
    ("fault", "args"), [("order.self_expire", {"seconds": 1.0}), ("order.self_expire", {"seconds": 1.0, "reason": "Engine"})]
)
def test_an_end_that_nobody_asked_for(client, fault, args):
    """The exchange cancelled it: it is told with its reason."""
    client.fault(fault, args=args)
    client.submit(client.intent())
    client.passed(2)

    [end] = client.fills()

    assert (end.client_id, end.why) == ("a", args.get("reason", "Order expired"))
    settled(client, "a")


def test_somebody_elses_order(client):
    """It is no fill of ours, and the snapshot shows it."""
    client.submit(client.intent())
    args = {"account": client.key.account, "side": "buy", "volume": "0.02", "price": str(client.exchange.price(SYMBOL, 0.6))}
    emulator = client.exchange.opened.emulator
    client.exchange.inside(lambda: emulator.faults.add({"name": "order.ghost", "args": args}, emulator.now()))

    working = client.run(client.venue.snapshot()).working

    assert len(working) == 2
    assert "a" in working
    assert any(name.startswith("O") for name in working)
    assert client.fills() == []


# ---- the key -------------------------------------------------------------------------------------------------------------


def test_no_private_call_during_a_lockout(client):
    """Not one, of any kind; afterwards things go on."""
    client.submit(client.intent())
    client.fault("auth.lockout", for_s=LOCKOUT_S)
    with pytest.raises(Unavailable):
        client.look_up("a")
    sent = len(client.wire.sent)

    for _ in range(5):
        assert client.submit(client.intent(client_id="b")).code == "quiet"
        assert not isinstance(client.cancel("a"), Closed)
        with pytest.raises(Unavailable):
            client.fills()
        client.exchange.advance(LOCKOUT_S / 6)

    assert len(client.wire.sent) == sent
    client.exchange.advance(LOCKOUT_S)
    assert client.submit(client.intent(client_id="b")) == Accepted("b")
    settled(client, "a", "b")


def test_a_nonce_that_is_refused_once(client):
    """A question is asked again with a greater one; nobody notices."""
    client.submit(client.intent())
    client.fault("auth.invalid_nonce_once")

    assert client.look_up("a")["a"].state is OrderState.OPEN
    assert client.gateway.stopped == ""


def test_a_key_whose_nonce_was_raised(client):
    """A minute ahead is enough to catch up."""
    client.fault("auth.invalid_nonce_storm", args={"ahead": 1_000_000}, count=1)

    assert client.look_up() == {}
    assert client.run(client.venue.snapshot())
    assert client.gateway.stopped == ""


def test_a_storm_of_refused_nonces_ends_all_calls(client):
    """Two, and no third."""
    client.fault("auth.invalid_nonce_storm")
    sent = len(client.wire.sent)

    for _ in range(4):
        with pytest.raises(Unavailable):
            client.fills()
        client.submit(client.intent())

    assert len(client.wire.sent) == sent + 2
    assert "make a new key" in client.gateway.stopped


def test_questions_go_on_through_trouble(client):
    """Busy, broken, slow and cut: each is asked again."""
    client.submit(client.intent(kind="market"))
    for fault in ("rest.service_busy", "rest.reset_after", "rest.http_5xx_before", "rest.html_200", "rest.internal_error"):
        client.fault(fault, match={"endpoint": "TradesHistory"}, count=2)
        settled(client, "a")
        client.calm()


def test_no_question_is_answered_by_guessing(client):
    """Where Kraken can't be asked, an order is not said to be absent."""
    client.fault("rest.timeout_after", match={"endpoint": "AddOrder"})
    client.fault("rest.http_5xx_before", match={"endpoint": "ClosedOrders"}, count=99)
    client.fault("order.late_visibility", args={"seconds": 99.0})
    client.submit(client.intent())

    with pytest.raises(Unavailable):
        client.look_up("a")


def test_a_new_process_finds_everything(client):
    """Another venue on the same account, which knows the journal's intents, tells the same fills and finds the same orders."""
    intents = [client.intent(), client.intent(kind="market", client_id="b"), client.intent(client_id="c")]
    for intent in intents:
        client.submit(intent)
    client.cancel("c")
    told = client.fills()

    client.venue = client.a_venue(intents)

    assert client.fills() == told
    assert {name: report.state for name, report in client.look_up("a", "b", "c").items()} == {
        "a": OrderState.OPEN,
        "b": OrderState.FILLED,
        "c": OrderState.CANCELLED,
    }
    assert client.submit(intents[0]).code == "duplicate"
    settled(client, "a", "b", "c")
