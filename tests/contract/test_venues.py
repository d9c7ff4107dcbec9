"""What every venue promises: one suite for all of them.

A venue under test is a `Stand`: how it is built and driven. Bars stand for the market; a venue that has a market of its own
makes it follow them. Kraken's client on the emulator has fees and prices of its own, and takes part where orders rest.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.emulated import emulating
from tests.kraken import Client
from tests.trading import HOUR_NS, START_NS, SYMBOL, FixedClock, a_bar, a_venue, an_intent, approved, dec, some_costs

from peak_trade.emulator.catalogue import fill_now
from peak_trade.model.errors import InvariantBroken
from peak_trade.model.order import Closed, Fill, Intent, MarketBar, OrderEvent, OrderState
from peak_trade.risk.gate import Approved
from peak_trade.venue import testnet as stage_two
from peak_trade.venue.log import FileLog, MemoryLog, VenueLog
from peak_trade.venue.port import Accepted, OrderReport, Rejected, Reply, Snapshot, Venue
from peak_trade.venue.testnet import BookLevel, BookView

T = TypeVar("T")
CASH = Decimal(1_000)


class Stand:
    """A venue with 1,000 in cash, a taker's fee of one per cent and an unlimited market."""

    def __init__(self, venue: Callable[[], Venue]) -> None:
        self._venue = venue
        self._loop = asyncio.new_event_loop()

    def ask(self, call: Callable[[Venue], Awaitable[T]]) -> T:
        """Return the answer to a call."""
        return self._loop.run_until_complete(call(self._venue()))  # type: ignore[arg-type]

    def submit(self, intent: Intent) -> Reply:
        return self.ask(lambda venue: venue.submit(approved(intent)))

    def cancel(self, client_id: str) -> Reply | Closed:
        return self.ask(lambda venue: venue.cancel(client_id))

    def look_up(self, *client_ids: str) -> dict[str, OrderReport]:
        return self.ask(lambda venue: venue.look_up(client_ids))

    def fills_after(self, fill_id: str | None) -> list[Fill | Closed]:
        return list(self.ask(lambda venue: venue.fills_after(fill_id)))

    def snapshot(self) -> Snapshot:
        return self.ask(lambda venue: venue.snapshot())

    def tell(self, *bars: MarketBar) -> list[Fill | Closed]:
        """Let the market go through bars; return what the venue told."""
        told: list[Fill | Closed] = []
        for bar in bars:
            told += self._venue().opened(bar)
            told += self._venue().traded(bar)
        return told

    def close(self) -> None:
        self._loop.close()


class KrakenStand(Stand):
    """Our Kraken client on an emulator whose market takes what rests at a bar's low or above."""

    def __init__(self, client: Client) -> None:
        self._client = client
        super().__init__(lambda: client.venue)
        self._loop.close()
        self._loop = client.loop

    def tell(self, *bars: MarketBar) -> list[Fill | Closed]:
        opened = self._client.exchange.opened

        def follow(bar: MarketBar) -> None:
            for order in list(opened.engine.working[self._client.key.account].values()):
                if order.wish.buys and order.limit > Decimal(str(bar.low)):
                    fill_now(opened.engine, order, Decimal(1), opened.emulator.now())

        before = self.fills_after(None)
        for bar in bars:
            self._client.exchange.inside(lambda bar=bar: follow(bar))  # type: ignore[misc]
        return self.fills_after(None)[len(before) :]

    def close(self) -> None:
        self._client.close()


def _simulated(log: VenueLog) -> Venue:
    return a_venue(CASH, log, costs=some_costs(taker="0.01", maker="0.005"))


def _in_memory(_folder: Path) -> Callable[[], Venue]:
    venue = _simulated(MemoryLog())
    return lambda: venue


def _in_a_file(folder: Path) -> Callable[[], Venue]:
    venue = _simulated(FileLog(folder / "venue.jsonl"))
    return lambda: venue


def _opened_for_every_call(folder: Path) -> Callable[[], Venue]:
    logs: list[FileLog] = []

    def fresh() -> Venue:
        while logs:
            logs.pop().close()
        logs.append(FileLog(folder / "venue.jsonl"))
        return _simulated(logs[0])

    return fresh


class ExchangeSays:
    """An exchange that says the same of every order, by default that it is valid, and tells a book."""

    async def submit(self, approved: Approved) -> Reply:
        return Accepted(approved.intent.client_id)

    async def book(self, _symbol: str) -> BookView:
        return BookView(bids=[BookLevel(dec(99), dec(5))], asks=[BookLevel(dec(101), dec(5))])

    async def prepare(self) -> None: ...

    async def left_open(self) -> Sequence[str]:
        return ()

    async def close(self) -> None: ...


def _validated(_folder: Path) -> Callable[[], Venue]:
    says, inner = ExchangeSays(), _simulated(MemoryLog())
    venue = stage_two.TestnetVenue(
        inner,
        says,
        says,
        FixedClock(),
        charge=lambda: None,
        prepay=lambda: None,
        note=lambda _kind, _body: None,
        allowed=lambda: None,
    )
    return lambda: venue


STANDS: dict[str, Callable[[Path], Callable[[], Venue]]] = {
    "simulated in memory": _in_memory,
    "simulated in a file": _in_a_file,
    "simulated, its process dying after every call": _opened_for_every_call,
    "validated by an exchange that says yes": _validated,
}


@pytest.fixture(params=STANDS)
def venue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stand]:
    """A new account at each kind of venue."""
    stand = Stand(STANDS[request.param](tmp_path))
    yield stand
    stand.close()


@pytest.fixture(params=[*STANDS, "Kraken on the emulator"])
def any_venue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stand]:
    """A new account at each kind of venue, and with Kraken's client."""
    with contextlib.ExitStack() as stack:
        if request.param in STANDS:
            stand = Stand(STANDS[request.param](tmp_path))
        else:
            stand = KrakenStand(Client(stack.enter_context(emulating()), tmp_path, EUR=CASH))
        yield stand
        stand.close()


def a_limit(client_id: str, price: object = 90, quantity: object = 1, **changes: Any) -> Intent:
    """Return an order that rests in the book while the market is at 100."""
    return an_intent(quantity, client_id=client_id, kind="limit", price=price, **changes)


def names(events: Sequence[Fill | Closed]) -> list[str]:
    return [event.client_id for event in events]


def test_a_new_account_has_its_cash_and_nothing_else(any_venue):
    """Before the first order there is nothing to tell."""
    assert any_venue.snapshot() == Snapshot(CASH, {}, ())
    assert any_venue.fills_after(None) == []
    assert any_venue.look_up("a", "b") == {}
    assert any_venue.look_up() == {}


def test_nothing_but_an_approval_is_taken(any_venue):
    """An intent that the gate has not seen never gets into the book."""
    with pytest.raises(InvariantBroken):
        any_venue.ask(lambda port: port.submit(an_intent()))

    assert any_venue.snapshot().working == ()


def test_an_order_is_accepted_and_works(any_venue):
    """Accepted means that the venue has it: it is found by its name, open, with nothing filled."""
    assert any_venue.submit(a_limit("a")) == Accepted("a")

    assert any_venue.snapshot() == Snapshot(CASH, {}, ("a",))
    assert any_venue.look_up("a", "b") == {"a": OrderReport("a", OrderState.OPEN, Decimal(0), "")}
    assert any_venue.fills_after(None) == []


def test_a_name_is_taken_once_while_the_order_works(any_venue):
    """The same name again is rejected as a duplicate, whatever the order says; the first one stays as it is."""
    any_venue.submit(a_limit("a"))

    for again in (a_limit("a"), a_limit("a", 95, 2)):
        reply = any_venue.submit(again)

        assert isinstance(reply, Rejected)
        assert (reply.client_id, reply.code) == ("a", "duplicate")
    assert any_venue.snapshot().working == ("a",)
    assert sum(fill.quantity for fill in any_venue.tell(a_bar(100, low=80))) == 1


@pytest.mark.parametrize("end", ["filled", "cancelled"])
def test_a_name_is_taken_for_ever(any_venue, end):
    """Also after the order has ended its name is a duplicate."""
    any_venue.submit(a_limit("a"))
    if end == "filled":
        any_venue.tell(a_bar(100, low=80))
    else:
        any_venue.cancel("a")
    before = any_venue.snapshot()

    reply = any_venue.submit(a_limit("a"))

    assert isinstance(reply, Rejected)
    assert reply.code == "duplicate"
    assert any_venue.snapshot() == before


def test_a_symbol_that_is_not_traded_is_rejected(any_venue):
    """The order leaves no trace."""
    reply = any_venue.submit(an_intent(1, symbol="NIX/EUR"))

    assert isinstance(reply, Rejected)
    assert reply.client_id == "a"
    assert any_venue.look_up("a") == {}


def test_a_market_order_fills_and_is_told_once(venue):
    """A fill names its order, moves cash and position by what it says, and is told by the market event that brought it."""
    venue.submit(an_intent(2, leg="beta"))

    [fill] = venue.tell(a_bar(100))

    assert (fill.client_id, fill.leg, fill.symbol, fill.quantity, fill.remaining) == ("a", "beta", SYMBOL, 2, 0)
    assert fill.price == 100
    assert fill.fee == 2
    assert venue.tell(a_bar(100, number=1)) == []
    assert venue.snapshot() == Snapshot(dec(798), {SYMBOL: Decimal(2)}, ())
    assert venue.look_up("a") == {"a": OrderReport("a", OrderState.FILLED, Decimal(2), "")}


def test_a_position_that_is_closed_is_gone(venue):
    """A flat symbol is not among the positions; what was lost to fees is missing in the cash."""
    venue.submit(an_intent(2))
    venue.submit(an_intent(-2, client_id="b", decided_ns=START_NS + HOUR_NS))

    venue.tell(a_bar(100), a_bar(100, number=1))

    assert venue.snapshot() == Snapshot(dec(996), {}, ())


def test_a_resting_order_pays_the_fee_of_a_maker(venue):
    """It trades at its limit, and the fill says that it was resting."""
    venue.submit(a_limit("a", 90))

    [fill] = venue.tell(a_bar(100, low=80))

    assert (fill.price, fill.maker, fill.fee) == (90, True, dec("0.45"))


def test_a_cancel_ends_an_order(any_venue):
    """The venue says so at once or as the next news; the order works no more, and nothing fills it later."""
    any_venue.submit(a_limit("a"))
    any_venue.submit(a_limit("b"))

    reply = any_venue.cancel("a")

    assert reply.client_id == "a"
    if isinstance(reply, Closed):
        assert reply.event is OrderEvent.CANCEL
    else:
        assert isinstance(reply, Accepted)
    assert names(any_venue.fills_after(None)) == ["a"]
    assert any_venue.snapshot().working == ("b",)
    assert any_venue.look_up("a")["a"].state is OrderState.CANCELLED
    assert names(any_venue.tell(a_bar(100, low=80))) == ["b"]


@pytest.mark.parametrize("end", ["filled", "cancelled"])
def test_a_cancel_that_comes_too_late_is_taken(any_venue, end):
    """The order had ended already: no error, no second end."""
    any_venue.submit(a_limit("a"))
    if end == "filled":
        any_venue.tell(a_bar(100, low=80))
    else:
        any_venue.cancel("a")
    before = any_venue.fills_after(None)

    assert any_venue.cancel("a") == Accepted("a")
    assert any_venue.fills_after(None) == before


def test_a_cancel_of_an_order_that_never_was_is_rejected(any_venue):
    """The venue says that it does not know it."""
    reply = any_venue.cancel("nobody")

    assert isinstance(reply, Rejected)
    assert reply.client_id == "nobody"


def test_reduce_only_never_opens(venue):
    """Without a position it ends unfilled; beyond one it is cut."""
    venue.submit(an_intent(-1, reduce_only=True))
    venue.tell(a_bar(100))
    assert venue.look_up("a")["a"].filled == 0
    assert venue.snapshot() == Snapshot(CASH, {}, ())

    venue.submit(an_intent(2, client_id="b", decided_ns=START_NS + HOUR_NS))
    venue.tell(a_bar(100, number=1))
    venue.submit(an_intent(-3, client_id="c", reduce_only=True, decided_ns=START_NS + 2 * HOUR_NS))
    venue.tell(a_bar(100, number=2))

    assert venue.snapshot().positions == {}
    assert venue.look_up("c")["c"].filled == -2


def test_no_more_is_bought_than_the_cash_pays_for(venue):
    """Cash does not fall below zero; what could not be filled ends the order, and the venue tells."""
    venue.submit(an_intent(50))

    events = venue.tell(a_bar(100))

    filled = sum(event.quantity for event in events if isinstance(event, Fill))
    assert 0 < filled < 10
    assert isinstance(events[-1], Closed)
    assert venue.snapshot().cash >= 0
    assert venue.snapshot().working == ()


def a_day(venue: Stand) -> list[Fill | Closed]:
    """Let several orders of every kind live and die; return what was told, in order."""
    told: list[Fill | Closed] = []
    venue.submit(an_intent(3))
    venue.submit(a_limit("b", 95))
    told += venue.tell(a_bar(100))
    later = {"decided_ns": START_NS + HOUR_NS, "reduce_only": True}
    venue.submit(an_intent(-3, client_id="c", kind="stop", price=85, **later))
    venue.submit(an_intent(-3, client_id="d", kind="take_profit", price=130, **later))
    venue.submit(a_limit("e", 50, decided_ns=START_NS + HOUR_NS))
    told += venue.tell(a_bar(100, low=94, number=1))
    if isinstance(reply := venue.cancel("e"), Closed):
        told.append(reply)
    told += venue.tell(a_bar(90, low=80, number=2), a_bar(90, number=3))
    return told


def test_everything_told_can_be_asked_for(venue):
    """`fills_after(None)` gives all fills and ends in the order in which they were told."""
    told = a_day(venue)

    assert names(told) == ["a", "b", "e", "c"]
    assert venue.fills_after(None) == told


def test_fills_can_be_asked_for_from_any_on(venue):
    """After each fill come exactly the fills and ends that were told after it."""
    told = a_day(venue)

    for place, event in enumerate(told):
        if isinstance(event, Fill):
            assert venue.fills_after(event.fill_id) == told[place + 1 :]


def test_fills_add_up_to_the_account(venue):
    """Cash and positions are the capital and the sum of all fills, and reports agree with them."""
    fills = [event for event in a_day(venue) if isinstance(event, Fill)]

    snapshot = venue.snapshot()
    assert snapshot.cash == CASH - sum(fill.quantity * fill.price + fill.fee for fill in fills)
    assert snapshot.positions == {SYMBOL: sum(fill.quantity for fill in fills)}
    reports = venue.look_up("a", "b", "c", "d", "e")
    assert {name: report.filled for name, report in reports.items()} == {
        name: sum(fill.quantity for fill in fills if fill.client_id == name) for name in "abcde"
    }
    assert {report.client_id for report in reports.values() if report.state is OrderState.OPEN} == set(snapshot.working)


def test_fills_have_names_of_their_own(venue):
    """No two fills share a name: it is what they are booked once by."""
    fills = [event.fill_id for event in a_day(venue) if isinstance(event, Fill)]

    assert len(set(fills)) == len(fills) == 3


def test_asking_changes_nothing(venue):
    """Questions have no effect, however often they are asked."""
    a_day(venue)

    first, second = ((venue.snapshot(), venue.look_up("a", "d"), venue.fills_after(None)) for _ in range(2))

    assert first == second


def test_an_unknown_fill_hides_nothing(venue):
    """Asked for what came after a fill that it never told, a venue does not answer as if nothing had happened."""
    told = a_day(venue)

    try:
        answer = venue.fills_after("never-told")
    except Exception:  # noqa: BLE001 - any refusal will do
        return
    assert answer == told
