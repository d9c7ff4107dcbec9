"""Reports of executions put together, as the emulator tells them and as its faults spoil them."""

from decimal import Decimal

import msgspec
import pytest
from tests.exchange import TOKEN, Rig

from peak_trade.emulator.catalogue import fill_now
from peak_trade.model.order import OrderEvent
from peak_trade.venue.kraken.executions import ExecMessage, Executions, StreamEnd, StreamFill


class Following:
    """An account whose executions are followed."""

    def __init__(self):
        self.rig = Rig(pairs=("BTC/USD",))
        self.known = Executions()
        self.subscribe()

    def subscribe(self):
        asked = b'{"method":"subscribe","params":{"channel":"executions","snap_trades":true,"token":"%s"}}'
        self.rig.line.receive(asked % TOKEN.encode(), self.rig.now)
        self.known.begin()

    def told(self):
        """Return the facts of all messages that came, and whether any was missed."""
        texts, self.rig.line.outbox = self.rig.line.outbox, []
        facts, gaps = [], []
        for text in texts:
            if '"channel":"executions"' in text and '"data"' in text:
                merged = self.known.take(msgspec.json.decode(text, type=ExecMessage))
                facts += merged.facts
                gaps.append(merged.gap)
        return facts, any(gaps)

    def rested(self, volume="0.4", part=0.0):
        """Place an order that rests and may be filled in part."""
        self.rig.call("AddOrder", pair="XBTUSD", type="buy", ordertype="limit", price="80000.0", volume=volume, cl_ord_id="a")
        if part:
            self.filled(part)

    def filled(self, part):
        fill_now(self.rig.engine, self.rig.working[0], Decimal(str(part)), self.rig.now)


@pytest.fixture
def account():
    found = Following()
    assert found.told() == ([], False)
    return found


def fills(facts):
    return [one for one in facts if isinstance(one, StreamFill)]


@pytest.mark.parametrize("sparse", [False, True])
def test_fills_and_the_end_of_an_order(account, sparse):
    """Each fill once with what is left; then the end; also where reports say only what changed."""
    if sparse:
        account.rig.fault("ws.exec_sparse")
    account.rested(part=0.25)
    first, _ = account.told()
    account.filled(1.0)
    second, gap = account.told()

    [one], theirs = fills(first), account.rig.engine.executions
    assert (one.quantity, one.remaining, one.name, one.symbol) == (Decimal("0.1"), Decimal("0.3"), "a", "BTC/USD")
    assert sum(fill.quantity for fill in fills(first + second)) == Decimal("0.4")
    assert [fill.exec_id for fill in fills(first + second)] == [fill.id for fill in theirs if fill.order.account == "client"]
    assert one.maker
    assert one.price == Decimal("80000.0")
    [end] = [fact for fact in second if isinstance(fact, StreamEnd)]
    assert (end.event, end.filled, gap) == (OrderEvent.FILL_ALL, Decimal("0.4"), False)


def test_a_cancelled_order(account):
    """Its end says what was filled and why."""
    account.rested(part=0.5)
    account.rig.call("CancelOrder", cl_ord_id="a")

    facts, _ = account.told()

    assert isinstance(facts[-1], StreamEnd)
    assert (facts[-1].event, facts[-1].filled, facts[-1].why) == (OrderEvent.CANCEL, Decimal("0.2"), "User requested")


def test_what_comes_twice_counts_once(account):
    """A message that was told before says nothing."""
    account.rig.fault("ws.exec_dup", count=10)
    account.rested(part=0.5)

    facts, gap = account.told()

    assert len(fills(facts)) == 1
    assert not gap


@pytest.mark.parametrize("fault", ["ws.exec_gap", "ws.exec_reorder"])
def test_a_missing_message_is_noticed(account, fault):
    """And a new subscription, which shows the last trades, makes the fills whole without a repeat."""
    account.rig.fault(fault, count=1)
    account.rested(part=0.25)
    account.filled(1.0)
    facts, gap = account.told()
    assert gap

    account.rig.line.receive(b'{"method":"unsubscribe","params":{"channel":"executions","token":"tok"}}', account.rig.now)
    account.subscribe()
    more, gap = account.told()

    assert not gap
    found = fills(facts + more)
    assert sum(fill.quantity for fill in found) == Decimal("0.4")
    assert len({fill.exec_id for fill in found}) == len(found)


def test_another_connection_tells_nothing_twice(account):
    """Its snapshot repeats orders and trades that are known."""
    account.rested(part=0.5)
    before, _ = account.told()

    account.rig.line.receive(b'{"method":"unsubscribe","params":{"channel":"executions","token":"tok"}}', account.rig.now)
    account.subscribe()

    assert fills(before)
    assert account.told() == ([], False)
