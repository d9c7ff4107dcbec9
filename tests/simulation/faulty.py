"""A venue that does to us what venues do: loses answers, refuses, repeats itself, forgets and makes things up."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from peak_trade.model.order import Closed, Fill, MarketBar, Reason
from peak_trade.risk.gate import Approved
from peak_trade.venue.port import OrderReport, Rejected, Reply, Snapshot, Unknown, Venue

#: Does something else than the venue inside; returns None to let it do its work.
Submit = Callable[["FaultyVenue", Approved], Reply | None]
Cancel = Callable[["FaultyVenue", str], Reply | Closed | None]


class FaultyVenue:
    """Passes everything on to the venue inside, but for what the tests put in its way."""

    def __init__(self, inner: Venue) -> None:
        self.inner = inner
        self.sent: Counter[str] = Counter()
        self.submits = self.cancels = self.asked = 0
        self.on_submit: Any = None
        self.on_cancel: Any = None
        self.on_look_up: Callable[[dict[str, OrderReport]], dict[str, OrderReport]] = lambda found: found
        self.on_events: Callable[[list[Fill | Closed]], list[Fill | Closed]] = lambda events: events
        self.on_fetched: Callable[[list[Fill | Closed]], list[Fill | Closed]] = lambda events: events
        self.on_snapshot: Callable[[Snapshot], Snapshot] = lambda found: found
        self.bar: MarketBar | None = None

    async def submit(self, approved: Approved) -> Reply:
        self.submits += 1
        self.sent[approved.intent.client_id] += 1
        reply = await self.on_submit(self, approved) if self.on_submit else None
        return await self.inner.submit(approved) if reply is None else reply

    async def cancel(self, client_id: str) -> Reply | Closed:
        self.cancels += 1
        reply = await self.on_cancel(self, client_id) if self.on_cancel else None
        return await self.inner.cancel(client_id) if reply is None else reply

    async def look_up(self, client_ids: Sequence[str]) -> dict[str, OrderReport]:
        self.asked += 1
        return self.on_look_up(await self.inner.look_up(client_ids))

    async def fills_after(self, fill_id: str | None) -> Sequence[Fill | Closed]:
        return self.on_fetched(list(await self.inner.fills_after(fill_id)))

    async def snapshot(self) -> Snapshot:
        return self.on_snapshot(await self.inner.snapshot())

    def close(self) -> None:
        self.inner.close()

    def opened(self, bar: MarketBar) -> Sequence[Fill | Closed]:
        self.bar = bar
        return self.on_events(list(self.inner.opened(bar)))

    def traded(self, bar: MarketBar) -> Sequence[Fill | Closed]:
        self.bar = bar
        return self.on_events(list(self.inner.traded(bar)))


def sometimes(seed: int, share: float) -> Callable[[], bool]:
    """Return a coin that falls on yes with that share."""
    draw = random.Random(seed)
    return lambda: draw.random() < share


def lost_answer(seed: int = 1, share: float = 0.3, *, applied: bool) -> Any:
    """Return a venue's way of losing answers to orders that it took, or never got."""
    coin = sometimes(seed, share)

    async def submit(venue: FaultyVenue, approved: Approved) -> Reply | None:
        if not coin():
            return None
        if applied:
            await venue.inner.submit(approved)
        return Unknown(approved.intent.client_id, "connection reset")

    return submit


def lost_cancel(seed: int = 1, share: float = 0.3, *, applied: bool) -> Any:
    """Return a venue's way of losing answers to cancels that it did, or never got."""
    coin = sometimes(seed, share)

    async def cancel(venue: FaultyVenue, client_id: str) -> Reply | None:
        if not coin():
            return None
        if applied:
            await venue.inner.cancel(client_id)
        return Unknown(client_id, "connection reset")

    return cancel


def refusing(seed: int = 1, share: float = 0.3) -> Any:
    """Return a venue's way of refusing orders."""
    coin = sometimes(seed, share)

    async def submit(_venue: FaultyVenue, approved: Approved) -> Reply | None:
        return Rejected(approved.intent.client_id, "busy", "EService:Busy") if coin() else None

    return submit


def hasty(seed: int = 1, share: float = 0.4) -> Any:
    """Return a venue's way of filling a market order before its answer, which is lost, could be heard."""
    coin = sometimes(seed, share)

    async def submit(venue: FaultyVenue, approved: Approved) -> Reply | None:
        intent = approved.intent
        if intent.kind.value != "market" or not coin():
            return None
        await venue.inner.submit(approved)
        price = float(intent.reference)
        at_once = MarketBar(intent.symbol, intent.decided_ns, 60_000_000_000, price, price, price, price, 1e9)
        venue.inner.opened(at_once)
        return Unknown(intent.client_id, "timed out")

    return submit


def stray_fill(leg: str, name: str = "never-sent") -> Fill:
    """Return a fill of an order that was never sent."""
    return Fill(
        fill_id=f"{name}-1",
        client_id=name,
        leg=leg,
        symbol="BTC/EUR",
        reason=Reason.TARGET,
        quantity=Decimal("0.5"),
        price=Decimal(100),
        fee=Decimal("0.13"),
        bar_ns=1_704_067_200_000_000_000,
        at_ns=1_704_067_200_000_000_000,
        maker=False,
        remaining=Decimal(0),
    )
