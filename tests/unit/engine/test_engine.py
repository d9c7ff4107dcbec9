"""The engine's hands: what is written and sent, in which order, at a venue that answers badly."""

from collections.abc import Sequence

import pytest
from tests.builders import bars_of, random_targets, some_bars
from tests.trading import SYMBOL, Desk, a_fill, a_leg, a_plan, a_venue, at_once

from peak_trade.engine.engine import Engine
from peak_trade.engine.state import Tripped
from peak_trade.model.errors import SafetyRefused
from peak_trade.model.order import Closed, Fill, OrderKind, OrderState
from peak_trade.risk.gate import Approved, Mode
from peak_trade.venue.port import OrderReport, Reply, Unknown
from peak_trade.venue.simulated import SimulatedVenue

RISE = bars_of([(100, 101, 99, 100)] * 6)
BOUGHT = [0.0, 1.0, 1.0, 1.0, 1.0, 1.0]
GUARDED = a_plan(a_leg(stop_loss="0.1", take_profit="0.2"))


class Wrapped:
    """A venue that does what the simulated one does, but for what a test changes."""

    def __init__(self, inner: SimulatedVenue) -> None:
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)


class Hasty(Wrapped):
    """Its answer to the first stop is lost, but it has it, and the stop is filled at once."""

    done: Fill | None = None

    async def submit(self, approved: Approved) -> Reply:
        intent = approved.intent
        if intent.kind is OrderKind.STOP and self.done is None:
            self.done = a_fill(
                intent.quantity,
                90,
                fill_id="hasty",
                client_id=intent.client_id,
                reason=intent.reason,
                at_ns=intent.decided_ns,
            )
            return Unknown(intent.client_id, "timeout")
        return await self.inner.submit(approved)

    async def look_up(self, client_ids: Sequence[str]) -> dict[str, OrderReport]:
        found = await self.inner.look_up(client_ids)
        if self.done is not None and self.done.client_id in client_ids:
            found[self.done.client_id] = OrderReport(self.done.client_id, OrderState.FILLED, self.done.quantity, "")
        return found

    async def fills_after(self, fill_id: str | None) -> Sequence[Fill | Closed]:
        return [*await self.inner.fills_after(fill_id), *([self.done] if self.done else [])]


def test_nothing_is_cancelled_before_it_was_sent():
    """A stop that fills while its take-profit is still to be sent: the goal is not cancelled first and sent afterwards."""
    venue = Hasty(a_venue())

    desk = Desk(GUARDED, venue).run({SYMBOL: RISE}, {0: BOUGHT})

    order = [
        (record.kind, record.body.get("client_id") or record.body["intent"]["client_id"])
        for record in desk.pages.records
        if record.kind in ("sending", "cancelling")
    ]
    for place, (kind, client_id) in enumerate(order):
        assert kind == "sending" or ("sending", client_id) in order[:place]
    assert at_once(venue.snapshot()).working == ()


class Deaf(Wrapped):
    """It never answers, and never had anything."""

    asked = 0

    async def submit(self, approved: Approved) -> Reply:
        self.asked += 1
        return Unknown(approved.intent.client_id, "timeout")


def test_a_venue_that_loses_everything_is_not_asked_without_end():
    """While nothing arrives an order is tried a few times at most, not again and again in the same moment."""
    venue = Deaf(a_venue())

    Desk(a_plan(), venue).run({SYMBOL: RISE}, {0: BOUGHT})

    assert 1 <= venue.asked <= 20


def test_a_venue_that_holds_something_else_stops_the_start():
    """Books and venue differ before the first order: nothing is sent."""
    venue = a_venue(cash=9_999)

    with pytest.raises(SafetyRefused, match=r"cash: books 10000\.0+, venue 9999"):
        Desk(a_plan(), venue).run({SYMBOL: RISE}, {0: BOUGHT})
    assert at_once(venue.snapshot()).working == ()


def test_every_order_is_written_before_it_is_sent():
    """At the moment of the call the journal's last record is the order itself, forced to disk."""
    seen = []

    class Watching(Wrapped):
        async def submit(self, approved: Approved) -> Reply:
            last = desk.pages.records[-1]
            seen.append((last.kind, last.body["intent"]["client_id"] == approved.intent.client_id))
            return await self.inner.submit(approved)

        async def cancel(self, client_id: str) -> Reply | Closed:
            last = desk.pages.records[-1]
            seen.append((last.kind, last.body["client_id"] == client_id))
            return await self.inner.cancel(client_id)

    bars = some_bars(100, seed=5, noise=0.03)
    desk = Desk(a_plan(a_leg(trailing_stop="0.04", take_profit="0.05")), Watching(a_venue()))
    desk.run({SYMBOL: bars}, {0: random_targets(100, 5)})

    assert len(seen) > 20
    assert set(seen) == {("sending", True), ("cancelling", True)}


def test_an_order_is_cancelled_once():
    """Where the end of one exit leads to the cancel of the other, it is not cancelled again when its own turn comes."""
    growing = [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]

    desk = Desk(GUARDED, a_venue()).run({SYMBOL: RISE}, {0: growing})

    cancelled = [body["client_id"] for body in desk.pages.of("cancelling")]
    assert len(set(cancelled)) == len(cancelled) == 6


def test_a_trip_and_an_end_are_written():
    """What a person or a trigger demands is in the journal, with what came of it."""
    desk = Desk(GUARDED, a_venue()).run({SYMBOL: RISE}, {0: BOUGHT})
    engine: Engine = desk.engine

    at_once(engine.trip(Tripped(Mode.PAUSED, "by_hand", "stop it")))
    at_once(engine.settle())

    assert [record.kind for record in desk.pages.records][-7:] == [
        "tripped",
        "incident",
        "settling",
        "cancelling",
        "closed",
        "cancelling",
        "closed",
    ]
    assert engine.state.orders == {}
