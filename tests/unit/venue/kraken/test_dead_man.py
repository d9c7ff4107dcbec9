"""The dead-man switch: when it is refreshed, when nothing may be opened, and what the exchange then does."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.emulated import emulating
from tests.kraken import Client
from tests.paths import ROOT

from peak_trade.emulator.orders import OrderStatus
from peak_trade.venue.kraken.dead_man import DeadManSwitch, DeadManTerms, TimerState

SOURCES = ROOT / "src" / "peak_trade"
TERMS = DeadManTerms()
WELL = lambda: ""


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


@pytest.fixture
def switch(client):
    return DeadManSwitch(client.gateway, client.clock)


def timers(client):
    """Return how many calls set the timer."""
    return [one.endpoint for one in client.wire.sent].count("CancelAllOrdersAfter")


# ---- the timer as we know it ----------------------------------------------------------------------------------------


def test_a_timer_may_have_fired_at_its_very_moment():
    """One moment before, it has not; at it, and ever after, it may have, whatever is confirmed then."""
    armed = TimerState().confirmed(100.0, 1_000.0, TERMS)

    assert not armed.watched(159.9, 1_059.9).lapsed
    assert armed.watched(160.0, 1_000.0).lapsed
    again = armed.watched(160.0, 1_060.0).confirmed(161.0, 1_061.0, TERMS)
    assert again.lapsed
    assert again.unarmed == ""


def test_a_machine_that_slept_notices_by_the_wall():
    """The clock that never jumps stood still meanwhile."""
    armed = TimerState().confirmed(100.0, 1_000.0, TERMS)

    assert armed.watched(101.0, 1_060.0).lapsed


@pytest.mark.parametrize(
    ("since", "refused", "due"), [(19.9, "", False), (20.0, "", True), (4.9, "no", False), (5.0, "no", True)]
)
def test_it_is_due_after_a_pause(since, refused, due):
    """Twenty seconds after one that was confirmed, five after one that was not."""
    assert TimerState(tried_s=100.0, refused=refused).due(100.0 + since, TERMS) is due
    assert TimerState().due(0.0, TERMS)


@given(st.lists(st.tuples(st.floats(0.1, 50), st.booleans()), min_size=1, max_size=30))
def test_nothing_may_be_opened_unless_the_exchange_would_cancel(steps):
    """Whatever was confirmed and refused, and when: where opening is allowed, a timer runs there that was confirmed last."""
    state, now, fires = TimerState(), 0.0, None
    for pause, confirmed in steps:
        now += pause
        state = state.watched(now, now)
        state = state.confirmed(now, now, TERMS) if confirmed else state.failed(now, "no answer")
        fires = now + TERMS.timeout_s if confirmed else fires
        assert (state.unarmed == "") == confirmed
        if not state.unarmed:
            assert fires is not None
            assert state.until_s == fires > now


def test_nobody_tends_it_but_the_loop_that_trades():
    """The venue's news tend it, the engine asks for news, the runner asks the engine: one chain of calls."""
    calls = {
        name: sorted(path.name for path in SOURCES.rglob("*.py") if re.search(rf"(?<!def )\b{name}\(", path.read_text()))
        for name in ("tend", "news", "engine.hear")
    }

    assert calls == {"tend": ["trading.py"], "news": ["engine.py", "testnet.py"], "engine.hear": ["runner.py"]}
    assert len(re.findall(r"\.tend\(", (SOURCES / "venue/kraken/trading.py").read_text())) == 1
    assert not re.search(r"create_task|to_thread|Thread|call_later", (SOURCES / "venue/kraken/dead_man.py").read_text())


# ---- at the emulator ----------------------------------------------------------------------------------------------------


def test_orders_live_while_it_is_tended_and_go_when_it_is_not(client, switch):
    """Ten minutes of refreshes keep an order; sixty seconds without one take it, at the exchange."""
    client.run(switch.tend(WELL))
    client.submit(client.intent())
    for _ in range(60):
        client.passed(10)
        client.run(switch.tend(WELL))
    [order] = client.orders
    assert order.state is OrderStatus.OPEN
    assert switch.trouble == ""
    assert 25 < timers(client) <= 32

    client.passed(59 - (client.clock.elapsed_s() - switch.state.tried_s))
    assert order.state is OrderStatus.OPEN
    client.passed(2)

    assert order.state is OrderStatus.CANCELED
    assert switch.watch().lapsed
    assert switch.armed_until is None


def test_an_unhealthy_session_lets_it_run_out(client, switch):
    """It says why; orders are taken by the exchange although the process lives."""
    client.run(switch.tend(WELL))
    client.submit(client.intent())
    sent = timers(client)
    for _ in range(7):
        client.passed(10)
        client.run(switch.tend(lambda: "the market is silent"))

    assert timers(client) == sent
    assert "the market is silent" in switch.trouble
    assert client.orders[0].state is OrderStatus.CANCELED


@pytest.mark.parametrize("fault", ["dms.refused", "rest.timeout_before", "rest.html_200"])
def test_one_that_is_not_confirmed_forbids_opening(client, switch, fault):
    """Refused or unanswered: nothing may be opened until the exchange confirms the next."""
    client.fault(fault, match={"endpoint": "CancelAllOrdersAfter"})
    client.run(switch.tend(WELL))

    assert "did not confirm" in switch.trouble
    client.calm()
    client.run(switch.tend(WELL))
    assert switch.trouble != ""
    client.passed(5)
    client.run(switch.tend(WELL))
    assert switch.trouble == ""


def test_it_is_disarmed(client, switch):
    """A timeout of zero: what works stays."""
    client.run(switch.tend(WELL))
    client.submit(client.intent())

    assert client.run(switch.disarm()) == ""
    client.passed(120)

    assert client.orders[0].state is OrderStatus.OPEN
    assert switch.trouble == "the dead-man switch is not armed"
    assert not switch.watch().lapsed
