"""The venue of stage 2: who is asked, what is simulated, what is written down."""

import asyncio
from decimal import Decimal

import pytest
from tests.trading import a_bar, a_venue, an_intent, approved, dec

from peak_trade.model.errors import ContractBroken, Unavailable
from peak_trade.venue import testnet as stage_two
from peak_trade.venue.port import Accepted, Rejected, Unknown
from peak_trade.venue.testnet import BookLevel, BookView, price_for

BOOK = BookView(
    bids=[BookLevel(dec(99), dec(1)), BookLevel(dec(98), dec(1))],
    asks=[BookLevel(dec(101), dec(1)), BookLevel(dec(103), dec(1))],
)


class Exchange:
    """An exchange that answers as it is told, with a clock that an answer takes 250 ms by."""

    def __init__(self, reply=None, book=BOOK):
        self.reply, self.told_book = reply, book
        self.asked, self.closed, self.at_s = [], 0, 0.0

    async def submit(self, order):
        self.asked.append(order.intent.client_id)
        self.at_s += 0.25
        await asyncio.sleep(0)
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply or Accepted(order.intent.client_id)

    async def book(self, _symbol):
        if self.told_book is None:
            await asyncio.Event().wait()
        if isinstance(self.told_book, Exception):
            raise self.told_book
        return self.told_book

    async def prepare(self): ...

    async def left_open(self, client_ids):
        return tuple(f"O{client_id}" for client_id in client_ids)

    async def close(self):
        self.closed += 1

    def elapsed_s(self):
        return self.at_s

    def now(self):
        raise AssertionError("the time of day is nobody's business here")


class Stand:
    """The venue with a simulated account of 10,000."""

    def __init__(self, exchange, left=None, allowed=lambda: None):
        self.exchange, self.notes, self.inner = exchange, [], a_venue()
        note = lambda kind, body: self.notes.append((kind, dict(body)))
        self.venue = stage_two.TestnetVenue(
            self.inner, exchange, exchange, exchange, charge=lambda: left, prepay=lambda: None, note=note, allowed=allowed
        )

    def submit(self, quantity=1):
        return asyncio.run(self.venue.submit(approved(an_intent(quantity))))

    @property
    def simulated(self):
        """Whether the order got into the simulation."""
        return bool(asyncio.run(self.venue.look_up(["a"])))


def test_a_valid_order_is_simulated():
    """And what the exchange said, how long it took and what its book was is written down."""
    stand = Stand(Exchange())

    assert stand.submit("1.5") == Accepted("a")

    assert stand.simulated
    [(kind, body)] = stand.notes
    assert kind == stage_two.VALIDATED
    assert body == {
        "client_id": "a",
        "latency_us": "250000",
        "reply": "accepted",
        "code": "",
        "words": "",
        "bid": "99",
        "ask": "101",
        "book_price": "101.666666666667",
    }
    assert len(stand.venue.opened(a_bar(100))) == 1


@pytest.mark.parametrize("reply", [Rejected("a", "off_step", "EOrder:x"), Unknown("a", "no answer")])
def test_any_other_order_is_not(reply):
    """Whatever the answer, it is passed on; nothing of it reaches the simulation, and nothing fills."""
    stand = Stand(Exchange(reply))

    assert stand.submit() == reply

    assert not stand.simulated
    assert not stand.venue.opened(a_bar(100))
    assert stand.notes[0][1]["reply"] == ("rejected" if isinstance(reply, Rejected) else "unknown")


@pytest.mark.parametrize("error", [ContractBroken("it was placed"), RuntimeError("broken")])
def test_an_error_is_no_order(error):
    """It goes on as it is; nothing is simulated, and nobody still looks at the book."""
    stand = Stand(Exchange(error))

    with pytest.raises(type(error)):
        stand.submit()

    assert not stand.simulated
    # What the exchange executed all the same is in the journal.
    assert [body["code"] for _, body in stand.notes] == (["contract_broken"] if isinstance(error, ContractBroken) else [])


def test_without_a_budget_nobody_is_asked():
    """An order that the day's budget does not cover is rejected here."""
    stand = Stand(Exchange(), left="the 5 orders of the day are used up")

    assert stand.submit() == Rejected("a", "testnet_budget", "the 5 orders of the day are used up")
    assert stand.exchange.asked == []
    assert not stand.simulated


@pytest.mark.parametrize(
    ("book", "seen"),
    [
        (Unavailable("expected a book, found none"), {}),
        (None, {}),
        (BookView(bids=[], asks=BOOK.asks), {"book_price": "101.000000000000"}),
        (BookView(bids=BOOK.bids, asks=[]), {}),
        (BookView(bids=BOOK.bids, asks=[BookLevel(dec(101), dec("0.999"))]), {"bid": "99", "ask": "101"}),
    ],
    ids=["unavailable", "silent", "no bids", "no asks", "too little"],
)
def test_a_book_that_is_not_there_keeps_nothing_back(monkeypatch, book, seen):
    """The order's fate is the answer's alone."""
    monkeypatch.setattr(stage_two, "BOOK_WAIT_S", 0.01)
    stand = Stand(Exchange(book=book))

    assert stand.submit() == Accepted("a")

    assert stand.simulated
    [(_, body)] = stand.notes
    assert {name: body[name] for name in ("bid", "ask", "book_price") if name in body} == seen


@pytest.mark.parametrize(
    ("quantity", "price"),
    [("1", "101"), ("2", "102"), ("2.0001", None), ("-1", "99"), ("-2", "98.5"), ("-2.0001", None)],
)
def test_the_price_of_a_book(quantity, price):
    """Both sides, to the last unit of it and one step beyond."""
    assert price_for(BOOK, Decimal(quantity)) == (None if price is None else Decimal(price))


def test_a_cancel_stays_here():
    """The exchange has no order that could be cancelled."""
    stand = Stand(Exchange())
    stand.submit()

    asyncio.run(stand.venue.cancel("a"))

    assert stand.exchange.asked == ["a"]
    assert not stand.venue.opened(a_bar(100))


def test_it_lets_go_of_both():
    """Of who validates and of who tells the book."""
    stand = Stand(Exchange())

    assert asyncio.run(stand.venue.left_open(["1"])) == ("O1",)
    asyncio.run(stand.venue.release())

    assert stand.exchange.closed == 2


def test_an_order_whose_permit_is_lost_asks_nobody_and_costs_nothing():
    exchange = Exchange()
    why = "permit_revoked: the permit was revoked"

    assert isinstance(Stand(exchange, allowed=lambda: None).submit(), Accepted)
    refused = Stand(exchange, left="used up", allowed=lambda: why).submit()

    assert refused == Rejected("a", "no_permit", why)
    assert exchange.asked == ["a"]
