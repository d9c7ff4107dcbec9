"""What a session needs of the Kraken venue besides orders: looks before it, news during it, and nothing left after it."""

import contextlib
from decimal import Decimal

import pytest
from tests.emulated import emulating
from tests.kraken import SYMBOL, Client
from tests.trading import HOUR_NS, approved

from peak_trade.emulator.orders import OrderStatus
from peak_trade.emulator.signing import TRADING, Right
from peak_trade.model.errors import ConfigError, InvariantBroken, SafetyRefused, Unavailable
from peak_trade.model.order import Closed, Fill
from peak_trade.venue.kraken.dead_man import DeadManSwitch
from peak_trade.venue.kraken.opening import OpeningFile
from peak_trade.venue.kraken.public import PublicMarket
from peak_trade.venue.kraken.trading import KrakenVenue, VenueTimes, VenueWatch
from peak_trade.venue.port import Accepted, Rejected, VenueNews

CASH = Decimal(500)


@pytest.fixture(scope="module")
def exchange():
    """An emulator that all tests of this file share."""
    with emulating() as found:
        yield found


class Account:
    """A client whose venue runs a session."""

    def __init__(self, client, **watch):
        self.client = client
        self.unwell = ""
        self.dead_man = DeadManSwitch(client.gateway, client.clock)
        self.opening = OpeningFile(client.folder / "opening.json")
        given = {"dead_man": self.dead_man, "opening": self.opening, "health": lambda: self.unwell, **watch}
        self.given = VenueWatch(market=PublicMarket(client.parts, client.exchange.url, 0.0), cash=CASH, **given)
        client.venue = self.venue()

    def venue(self, known=()):
        client = self.client
        times = VenueTimes(since_ns=client.exchange.clock() - HOUR_NS, step_ns=HOUR_NS)
        return KrakenVenue(
            client.gateway, client.pairs, known, times, client.clock, client.sleep, client.proof, watch=self.given
        )

    def prepare(self):
        return self.client.run(self.client.venue.prepare())

    def news(self, after=0.0):
        self.client.passed(after)
        return self.client.run(self.client.venue.news())


@pytest.fixture
def client(exchange, tmp_path):
    found = Client(exchange, tmp_path)
    with contextlib.closing(found):
        yield found
        found.calm()


@pytest.fixture
def account(client):
    return Account(client)


# ---- before --------------------------------------------------------------------------------------------------------------


def test_an_account_that_is_in_order_may_be_used(client, account):
    """Nothing is placed or armed by looking; what the account holds is kept."""
    account.prepare()

    assert client.orders == []
    assert account.dead_man.armed_until is None
    assert account.opening.read().cash == client.exchange.opened.engine.accounts.by_name[client.key.account].balances["EUR"]


@pytest.mark.parametrize(
    ("rights", "words"),
    [
        (frozenset(Right), "withdraw-funds"),
        *((TRADING - {right}, right.value) for right in (Right.TRADE, Right.CANCEL, Right.FUNDS)),
    ],
)
def test_a_key_with_other_rights_is_refused(exchange, tmp_path, rights, words):
    """One that may withdraw, and one that may not do what a session has to."""
    with contextlib.closing(Client(exchange, tmp_path, rights)) as client, pytest.raises(SafetyRefused, match=words):
        Account(client).prepare()


@pytest.mark.parametrize("mode", ["cancel_only", "post_only", "maintenance"])
def test_an_exchange_that_takes_no_orders_is_refused(client, account, mode):
    """Whatever it still takes."""
    client.exchange.inside(
        lambda: client.exchange.opened.emulator.faults.add({"name": f"market.{mode}"}, client.exchange.clock())
    )
    with pytest.raises((SafetyRefused, Unavailable)):
        account.prepare()


def test_a_key_that_is_wrong_is_said_to_be(client, account):
    client.fault("auth.invalid_key")
    with pytest.raises(ConfigError, match="refuses the one"):
        account.prepare()


def test_an_account_with_somebody_elses_order_is_refused(client, account):
    """The dead-man switch would cancel it."""
    client.run(client.a_venue().submit(approved(client.intent())))

    with pytest.raises(SafetyRefused, match="dead-man switch would cancel"):
        account.prepare()


def test_clocks_that_differ_are_refused(client):
    account = Account(client, max_skew_ms=1_000.0)
    account.prepare()
    client.clock._skew_ns = 5 * 10**9

    with pytest.raises(SafetyRefused, match="ahead"):
        account.prepare()


def test_what_was_there_before_is_needed_by_who_goes_on(client, account):
    """Orders were sent, and nobody knows any more what the account held: that is looked at by a person."""
    client.venue = account.venue([client.intent()])
    with pytest.raises(SafetyRefused, match="no such file"):
        account.prepare()
    account.opening.path.write_text('{"cash": "1"}')
    with pytest.raises(SafetyRefused, match=r"opening\.json"):
        account.prepare()


def test_a_venue_without_a_watch_runs_no_session(client):
    with pytest.raises(InvariantBroken):
        client.run(client.venue.prepare())


# ---- during --------------------------------------------------------------------------------------------------------------


def test_a_fill_is_told_once_and_the_account_moves_by_it(client, account):
    """By the look that is due, and by no other."""
    account.prepare()
    assert account.news() == VenueNews()
    client.submit(client.intent(kind="market"))
    assert account.news() == VenueNews()

    [fill] = account.news(6).events

    assert isinstance(fill, Fill)
    assert account.news(6).events == ()
    found = client.run(client.venue.snapshot())
    assert found.positions == {SYMBOL: Decimal("0.01")}
    assert abs(found.cash - (CASH - fill.quantity * fill.price - fill.fee)) <= found.cash_step


def test_a_quiet_account_is_asked_one_cheap_question(client, account):
    account.prepare()
    account.news(30)
    account.news(30)
    before = len(client.wire.sent)

    account.news(16)

    asked = [one.endpoint for one in client.wire.sent[before:]]
    assert asked.count("OpenOrders") == 1
    assert set(asked) <= {"OpenOrders", "CancelAllOrdersAfter"}


def test_nothing_is_opened_before_the_switch_is_armed(client, account):
    """An order that reduces passes all the same."""
    account.prepare()
    assert client.submit(client.intent()) == Rejected("a", "dead_man_unarmed", "the dead-man switch is not armed")
    assert isinstance(client.submit(client.intent("-0.01", reduce_only=True, kind="market")), Accepted)
    account.news()
    assert client.submit(client.intent(client_id="b")) == Accepted("b")
    account.unwell = "the disk is full"
    account.news(1)
    refused = client.submit(client.intent(client_id="c"))
    assert (refused.code, "disk is full" in refused.words) == ("dead_man_unarmed", True)


def test_a_switch_that_ran_out_is_told_with_what_it_cancelled(client, account):
    """Then nothing is opened any more, although it is armed again."""
    account.prepare()
    account.news()
    client.submit(client.intent())
    client.passed(70)

    told = account.news()

    assert [type(event) for event in told.events] == [Closed]
    assert told.code == "dead_man_lapsed"
    assert account.dead_man.armed_until is not None
    assert client.submit(client.intent(client_id="b")).code == "dead_man_lapsed"


def test_an_exchange_that_is_silent_makes_blind(client, account):
    """Not at once; then it is told, the switch is left to run out, and seeing again ends it."""
    account.prepare()
    account.news()
    client.fault("rest.service_unavailable", match={"endpoint": "OpenOrders"}, for_s=600)
    assert account.news(20).code == ""
    told = [account.news(5) for _ in range(8)][-1]
    assert told.code == "blind"
    assert client.submit(client.intent()).code == "blind"
    assert "has not told" in account.dead_man.unhealthy


def test_somebody_elses_order_is_noticed(client, account):
    account.prepare()
    account.news()
    outside = client.a_venue()
    client.run(outside.submit(approved(client.intent(client_id="foreign"))))

    told = account.news(16)

    assert told.code == "foreign_orders"
    assert client.submit(client.intent(client_id="b")).code == "foreign_orders"


# ---- after ---------------------------------------------------------------------------------------------------------------


def test_what_is_left_open_is_called_back(client, account):
    account.prepare()
    account.news()
    client.submit(client.intent())

    [told] = client.run(client.venue.left_open(["a", "b"]))

    assert told.endswith("(cancelled)")
    assert client.run(client.venue.left_open(["a", "b"])) == []
    assert client.orders[0].state is OrderStatus.CANCELED


@pytest.mark.parametrize("working", [True, False])
def test_the_switch_is_disarmed_only_where_nothing_works(client, account, working):
    """What works when a session lets go is cancelled by the exchange."""
    account.prepare()
    account.news()
    if working:
        client.submit(client.intent())

    client.run(client.venue.release())

    timers = client.exchange.inside(lambda: dict(client.exchange.opened.engine.timers))
    assert (client.key.account in timers) is working
    client.passed(61)
    assert [order.state for order in client.orders] == [OrderStatus.CANCELED] * working
