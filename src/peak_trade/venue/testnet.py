"""The venue of stage 2: the exchange validates every order and executes none; what it would have come to is simulated.

Invariant: nothing here can place an order. What it sends through can only validate, and cancels stay in the simulation.
Invariant: an order that the exchange did not call valid never reaches the simulation.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

from peak_trade.model.clock import Clock
from peak_trade.model.errors import ContractBroken, PeakTradeError, require
from peak_trade.model.order import Closed, Fill, MarketBar
from peak_trade.risk.gate import Approved
from peak_trade.venue.port import CONTRACT_BROKEN, Accepted, OrderReport, Rejected, Reply, Snapshot, Unknown, Venue, VenueNews

#: The code under which an order is refused whose session has no permit any more.
NO_PERMIT = "no_permit"
#: Seconds that the look at the book may take after the answer to the order is there.
BOOK_WAIT_S = 2.0
#: Seconds after which the book is looked at: building that question would keep the order itself from the wire.
BOOK_AFTER_S = 0.005
#: Answers in a row that may be missing before an order without one counts as refused: the exchange is silent then, and whoever
#: takes an order that never arrived for a reason to send another at once would knock at its door without a pause.
SILENT_MAX = 2
#: Told what was seen of an order besides its answer: a journal's kind and body.
Note = Callable[[str, Mapping[str, Any]], None]
#: The kind under which that stands in the journal.
VALIDATED = "validated"


class BookLevel(NamedTuple):
    """A price of the book, quote currency, and what lies there, base currency."""

    price: Decimal
    quantity: Decimal


class BookView(NamedTuple):
    """The best prices of both sides, best first."""

    bids: Sequence[BookLevel]
    asks: Sequence[BookLevel]


class OrderCheck(Protocol):
    """Who asks the exchange whether an order is valid."""

    async def submit(self, approved: Approved) -> Reply:
        """Have an order validated.

        Raises:
            ContractBroken: the exchange executed it.
        """
        ...

    async def prepare(self) -> None:
        """Look at key and clock before anything is asked.

        Raises:
            SafetyRefused: they may not be used so.
            Unavailable: the exchange does not tell.
        """
        ...

    async def left_open(self, client_ids: Collection[str]) -> Sequence[str]:
        """Return what this account has open of these orders, each as the exchange's name and what came of calling it back.

        Raises:
            Unavailable: the exchange does not tell.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class BookReader(Protocol):
    """Who tells the book of a symbol."""

    async def book(self, symbol: str) -> BookView:
        """Return the present book.

        Raises:
            Unavailable: the exchange does not answer.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


def price_for(book: BookView, quantity: Decimal) -> Decimal | None:
    """Return the average price at which the book would take a signed quantity at once; None where it holds less."""
    left, cost = abs(quantity), Decimal(0)
    for level in book.asks if quantity > 0 else book.bids:
        part = min(left, level.quantity)
        left, cost = left - part, cost + part * level.price
        if not left:
            return cost / abs(quantity)
    return None


class TestnetVenue:
    """An exchange that is asked, and an account that is simulated."""

    def __init__(
        self,
        inner: Venue,
        check: OrderCheck,
        books: BookReader,
        clock: Clock,
        *,
        charge: Callable[[], str | None],
        prepay: Callable[[], None],
        note: Note,
        allowed: Callable[[], str | None],
    ) -> None:
        """Put the venue together.

        Args:
            inner: the simulated account.
            check: asks the exchange; books: tells its book at that moment; clock: times both.
            charge: takes an order from the day's budget; returns why there is none left, None where there was.
            prepay: takes the next one beforehand, in a thread of its own, because the disk takes its time.
            note: told what the exchange said and what its book was.
            allowed: asked right before an order goes out; returns why none may any more, None where it may.
        """
        self._inner, self._check, self._books, self._clock = inner, check, books, clock
        self._charge, self._prepay, self._note, self._allowed = charge, prepay, note, allowed
        self._paying: asyncio.Task[None] | None = None
        self._silent = 0

    async def submit(self, approved: Approved) -> Reply:
        """Have an order validated, and simulate it where it is valid."""
        require(type(approved) is Approved, "a venue takes nothing but what the gate approved")
        intent = approved.intent
        await self._paid()
        if (why := self._allowed()) is not None:
            return Rejected(intent.client_id, NO_PERMIT, why)
        if (why := self._charge()) is not None:
            return Rejected(intent.client_id, "testnet_budget", why)
        begun = self._clock.elapsed_s()
        looking = asyncio.create_task(self._looked(intent.symbol))
        try:
            try:
                reply = await self._check.submit(approved)
            except ContractBroken as error:
                self._note(VALIDATED, self._told(intent.client_id, begun, "executed", CONTRACT_BROKEN, str(error)))
                raise
            self._silent = self._silent + 1 if isinstance(reply, Unknown) else 0
            body = self._told(intent.client_id, begun, *_said(reply))
            self._note(VALIDATED, body | await self._seen(looking, intent.quantity))
        finally:
            looking.cancel()
            self._pay_next()
        if isinstance(reply, Accepted):
            return await self._inner.submit(approved)
        return Rejected(reply.client_id, "no_answer", reply.words) if self._silent > SILENT_MAX else reply

    def _told(self, client_id: str, begun: float, reply: str, code: str, words: str) -> dict[str, str]:
        """Return what the exchange said of an order that it was asked about at a moment."""
        took_us = int((self._clock.elapsed_s() - begun) * 1e6)
        return {"client_id": client_id, "latency_us": str(took_us), "reply": reply, "code": code, "words": words}

    async def _looked(self, symbol: str) -> BookView:
        await asyncio.sleep(BOOK_AFTER_S)
        return await self._books.book(symbol)

    async def _seen(self, looking: "asyncio.Task[BookView]", quantity: Decimal) -> dict[str, str]:
        """Return what the book was; nothing where it can't be had."""
        try:
            book = await asyncio.wait_for(looking, BOOK_WAIT_S)
        except (PeakTradeError, TimeoutError):
            return {}
        found = {"bid": str(book.bids[0].price), "ask": str(book.asks[0].price)} if book.bids and book.asks else {}
        price = price_for(book, quantity)
        return found if price is None else found | {"book_price": f"{price:.12f}"}

    async def cancel(self, client_id: str) -> Reply | Closed:
        """Cancel in the simulation: the exchange has no order."""
        return await self._inner.cancel(client_id)

    async def look_up(self, client_ids: Sequence[str]) -> dict[str, OrderReport]:
        """Return what the simulation knows: an order of unknown validity never reached it, and nothing was executed."""
        return await self._inner.look_up(client_ids)

    async def fills_after(self, fill_id: str | None) -> Sequence[Fill | Closed]:
        """Return what was simulated."""
        return await self._inner.fills_after(fill_id)

    async def snapshot(self) -> Snapshot:
        """Return the simulated account."""
        return await self._inner.snapshot()

    async def news(self) -> VenueNews:
        """Return nothing: the exchange executes nothing, and bars tell what is simulated."""
        return await self._inner.news()

    async def prepare(self) -> None:
        """Look at key and clock before anything is asked."""
        await self._check.prepare()
        self._pay_next()

    async def left_open(self, client_ids: Collection[str]) -> Sequence[str]:
        """Return what is open there of these orders, each of which was only to be looked at; it is called back."""
        return await self._check.left_open(client_ids)

    async def release(self) -> None:
        """Let go of connections."""
        await self._paid()
        await self._check.close()
        await self._books.close()

    def _pay_next(self) -> None:
        """Begin to take the next order from the budget, unless that is under way."""
        if self._paying is None:
            self._paying = asyncio.create_task(asyncio.to_thread(self._prepay))

    async def _paid(self) -> None:
        """Wait for what is being taken from the budget."""
        paying, self._paying = self._paying, None
        if paying is not None:
            await paying

    def close(self) -> None:
        """Let go of files."""
        self._inner.close()

    def opened(self, bar: MarketBar) -> Sequence[Fill | Closed]:
        """Return what was simulated at the opening of a bar."""
        return self._inner.opened(bar)

    def traded(self, bar: MarketBar) -> Sequence[Fill | Closed]:
        """Return what was simulated while a bar traded."""
        return self._inner.traded(bar)


def _said(reply: Reply) -> tuple[str, str, str]:
    """Return an answer in a word, its code, and what was said."""
    match reply:
        case Accepted():
            return "accepted", "", ""
        case Rejected(_, code, words):
            return "rejected", code, words
        case Unknown(_, words):
            return "unknown", "", words
