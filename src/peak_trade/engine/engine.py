"""The engine's hands: writes down, then does what `step` asks for, and tells it what came of it.

Invariant: a record is written before what it describes is done or believed; what can't be asked for again is on disk first.
Invariant: an order is sent once; what is not known of it is asked, never sent again.
"""

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol

from peak_trade.engine.records import (
    ADOPTED,
    CANCEL_TAKEN,
    CANCELLING,
    LATE,
    RECONCILED,
    Body,
    Told,
    event_record,
    incident_record,
    read_event,
    refused_record,
    sending_record,
)
from peak_trade.engine.state import (
    Adopted,
    BarClosed,
    Cancel,
    CancelLost,
    Effect,
    Event,
    Incident,
    Late,
    LookUp,
    LookUpLost,
    Missed,
    Plan,
    Refusal,
    Retire,
    Send,
    Settle,
    State,
    Tripped,
)
from peak_trade.engine.step import BLIND, step
from peak_trade.engine.tape import Tape
from peak_trade.model.clock import Clock
from peak_trade.model.errors import CheckFailed, ContractBroken, SafetyRefused, Unavailable
from peak_trade.model.order import Closed, Fill, MarketBar, OrderEvent, OrderState
from peak_trade.model.points import Faults, no_faults
from peak_trade.risk.gate import Approved, Mode
from peak_trade.venue.port import CONTRACT_BROKEN, Accepted, Rejected, Reply, Unknown, Venue


class OffTheTape(CheckFailed):
    """A replay asks for more than its journal holds: the process died here, or the journal was cut."""

    def __init__(self) -> None:
        super().__init__(
            "expected the journal to hold everything this session did, found that it asks for more than was written; "
            "the process died here, or the journal was cut: peak-trade journal verify tells which"
        )


#: A bar that is worked through so long after it was due is noted, because the age of its price counts.
LATE_NS = 1_000_000_000
#: How often working orders are called back at a session's end, until the venue has told the end of each.
SETTLES = 6
#: Ends that a venue may report of an order, and the events that lead there.
_ENDED = {OrderState.CANCELLED: OrderEvent.CANCEL, OrderState.EXPIRED: OrderEvent.EXPIRE}
#: How news came: from a market event, as an answer, from reconciling, or from a person or a trigger.
MARKET, REPLY, RECONCILE, DEMAND = "market", "reply", "reconcile", "demand"


class Scribe(Protocol):
    """Who writes the journal."""

    def append(self, kind: str, body: Mapping[str, Any], *, at: datetime, durable: bool = False) -> object:
        """Write a record; with *durable* it is on disk when this returns."""
        ...


class NoScribe:
    """Writes nothing: for a session that nobody will ask about, such as an ideal one to compare with."""

    def append(self, kind: str, body: Mapping[str, Any], *, at: datetime, durable: bool = False) -> None:
        """Write nothing."""


#: Told every record as it is written: its kind and body.
Observer = Callable[[str, Mapping[str, Any]], None]
#: Told an incident before it is written: its code and words.
Latch = Callable[[str, str], None]


class Engine:
    """One session's state, its journal and its venue.

    `chain` is None while a session is only replayed: then everything must be on the tape, and nothing is sent.
    """

    def __init__(
        self,
        plan: Plan,
        venue: Venue | None,
        chain: Scribe | None,
        tape: Tape,
        clock: Clock,
        *,
        observe: Observer | None = None,
        latch: Latch = lambda _code, _words: None,
        faults: Faults = no_faults,
    ) -> None:
        self._observe, self._latch = observe, latch
        self.plan, self.state = plan, State.initial(plan)
        #: What the process before this one had come to, as far as its journal tells.
        self.taken_up = self.state
        self.tick = self._time_ns = 0
        self._opening = False
        self._sent: set[str] = set()
        self._booked: set[str] = set()
        self._found: deque[Fill | Closed] = deque()
        self._todo: deque[Effect] = deque()
        self._bars: dict[str, MarketBar] = {}
        self._compared = False
        #: Whether the venue told what no bar does: then it is compared once more at the end.
        self._by_news = False
        self._venue, self._chain, self._tape, self._clock, self._faults = venue, chain, tape, clock, faults
        self._live = False
        #: Why the session is to end at once: what the venue raised instead of an answer.
        self.broken: SafetyRefused | None = None

    @property
    def replaying(self) -> bool:
        """Whether records of an earlier process are still being played back."""
        return bool(self._tape.left)

    @property
    def live(self) -> bool:
        """Whether anything was asked of the venue by this process: then nothing is left that an earlier one began."""
        return self._live

    async def open_bar(self, bar: MarketBar) -> None:
        """Tell that a bar has opened."""
        self._begin_tick()
        self._time_ns, self._opening = bar.opened_ns, True
        if self._compared and not self._tape.left and not self._found:
            if events := self._heard("venue.opened", bar, self._venue_or_stop().opened):
                await self._tell_news(events)
            return
        await self._market("venue.opened", bar, None if self._venue is None else self._venue.opened)

    async def close_bar(self, bar: MarketBar, targets: tuple[tuple[int, float], ...], late_ns: int = 0) -> None:
        """Tell that a bar is complete, and what its strategies want; it was due `late_ns` ago."""
        self._begin_tick()
        self._time_ns, self._opening = bar.opened_ns + bar.step_ns, False
        if self._compared and not self._tape.left and not self._found:
            if events := self._heard("venue.traded", bar, self._venue_or_stop().traded):
                await self._tell_news(events)
        else:
            await self._market("venue.traded", bar, None if self._venue is None else self._venue.traded)
        if self._tape.left:
            record = self._tape.told_at(self.tick, (DEMAND,))
            if record is not None and record.kind == LATE:
                await self._tell(read_event(record.kind, record.body), DEMAND)
        elif late_ns >= LATE_NS:
            await self._tell(Late(late_ns), DEMAND)
        self._apply(BarClosed(bar, self._time_ns, targets))
        self._bars[bar.symbol] = bar
        if self._todo:
            await self._work_off()

    async def trip(self, demand: Tripped | Retire) -> None:
        """Demand a stricter mode, or that positions are closed; only between two ticks of a live session."""
        if isinstance(demand, Tripped) and not self._tape.left:
            self._latch(demand.code, demand.words)
        await self._tell(demand, DEMAND)
        await self._work_off()

    @property
    def compared(self) -> bool:
        """Whether books and venue were found to agree since this process began."""
        return self._compared

    @property
    def sent(self) -> Collection[str]:
        """The names of all orders that were sent, also by the processes that it goes on with."""
        return self._sent

    async def settle(self, fault: str = "") -> None:
        """End the session: cancel what works, and hear what became of it; *fault* says what went wrong, if anything did.

        Raises:
            Unavailable: the venue does not tell the end of every order; the session can be gone on with.
            SafetyRefused: books and venue differ after the last of them.
        """
        await self._go_live(between=False)
        await self._tell_due(everything=True)
        for _ in range(SETTLES):
            await self._tell(Settle(fault), DEMAND)
            await self._work_off()
            if not self.state.orders:
                break
            self._by_news = True
            with suppress(Unavailable):
                await self._fetch()
                await self._tell_due(everything=True)
            if not self.state.orders:
                break
        if self.state.orders:
            raise Unavailable(
                f"expected the venue to tell how every order ended, found {len(self.state.orders)} of which it does not; look "
                "at the account, then give the same command again: it goes on from here"
            )
        if self._by_news:
            await self._compare()

    async def hear(self) -> None:
        """Take what the venue tells between two bars of a followed market, and open nothing more where it says so.

        Raises:
            Unavailable: what happened before this process began can't be had.
        """
        if self._tape.left or self.broken is not None:
            return
        if not self._live:
            await self._go_live(between=False)
        news = await self._venue_or_stop().news()
        if self._found or not self._compared:
            self._found.extend(event for event in news.events if self._is_news(event))
            return
        for event in news.events:
            if self._is_news(event):
                self._by_news = True
                await self._tell(event, RECONCILE)
                await self._work_off()
        if news.trouble and self.state.mode is Mode.RUNNING:
            await self.trip(Tripped(Mode.RESTRICTED, news.code, news.trouble))

    async def catch_up(self) -> bool:
        """Take from the tape what came from a person or a trigger at this tick; return whether the session is ending."""
        while record := self._tape.told_at(self.tick, (DEMAND, RECONCILE)):
            await self._tell(read_event(record.kind, record.body), record.body["via"])
            await self._work_off()
        return self.state.settling

    def remark(self, kind: str, body: Body, *, durable: bool = False) -> None:
        """Write a remark for readers; nothing while a journal is played back."""
        if self._chain is not None and not self._tape.left:
            self._chain.append(kind, {"tick": self.tick, **body}, at=self._now(), durable=durable)

    def _begin_tick(self) -> None:
        """Go on by a tick.

        Raises:
            CheckFailed: the journal has something of the last one that did not come out again.
        """
        if self._tape.left and self._tape.head.body["tick"] <= self.tick:
            raise self._tape.differs("nothing", self._tagged({}))
        self.tick += 1

    def _apply(self, event: Event) -> None:
        """Believe an event; what is to be done about it comes after everything that was to be done before."""
        self.state, effects = step(self.plan, self.state, event)
        self._todo.extend(effects)
        if isinstance(event, Fill):
            self._booked.add(event.fill_id)

    async def _work_off(self) -> None:
        while self._todo:
            await self._perform(self._todo.popleft())

    async def _tell(self, event: Told, via: str) -> None:
        """Write down what came from outside, then believe it."""
        kind, body = event_record(event)
        # A mode that was latched, or an end that was begun, must not be forgotten by a machine that loses its power.
        await self._write(kind, {"via": via, **body}, durable=isinstance(event, Tripped | Retire | Settle))
        self._apply(event)

    async def _perform(self, effect: Effect) -> None:
        match effect:
            case Send(approved):
                recorded = await self._write(*sending_record(effect), durable=True)
                self._sent.add(approved.intent.client_id)
                await self._tell(await self._heard_of(approved, recorded=recorded), REPLY)
            case Cancel(client_id) if client_id in self.state.orders:
                await self._write(CANCELLING, {"client_id": client_id}, durable=True)
                await self._cancel(client_id)
            case LookUp(client_id):
                await self._look_up(client_id)
            case Refusal():
                await self._write(*refused_record(effect))
            case Incident(code, words):
                # What outlives this session is on disk before anyone can read of it here.
                if not self._tape.left:
                    self._latch(code, words)
                await self._write(*incident_record(effect))

    async def _heard_of(self, approved: Approved, *, recorded: bool) -> Told:
        """Return the answer to an order; where the venue refused to go on at all, so that whoever runs this stops.

        What else there is to do at this tick is still done, so that it comes out again when it is played back; but nothing
        more is sent.
        """
        try:
            return await self._submitted(approved, recorded=recorded)
        except SafetyRefused as error:
            self.broken = self.broken or error
            code = CONTRACT_BROKEN if isinstance(error, ContractBroken) else "not_sent"
            return Rejected(approved.intent.client_id, code, str(error))

    async def _submitted(self, approved: Approved, *, recorded: bool) -> Told:
        """Return the answer to an order: from the tape, not known where the process died before it heard it, or the venue's."""
        client_id = approved.intent.client_id
        if recorded and (answer := await self._answer(client_id)):
            return answer
        if recorded:
            return Unknown(client_id, "the process ended before the answer was known")
        if self.broken is not None:
            return Rejected(client_id, "not_sent", "nothing is sent any more")
        self._faults("venue.submit.before")
        reply = await self._venue_or_stop().submit(approved)
        self._faults("venue.submit.after")
        return reply

    async def _cancel(self, client_id: str) -> None:
        await self._played(RECONCILE)
        if self._tape.left and self._tape.take(CANCEL_TAKEN, self._tagged({"client_id": client_id})):
            return
        if answer := await self._answer(client_id):
            await self._tell(answer, REPLY)
            return
        if self._tape.left:
            raise self._tape.differs(CANCEL_TAKEN, self._tagged({"client_id": client_id}))
        await self._go_live()
        self._faults("venue.cancel.before")
        reply: Reply | Closed = await self._venue_or_stop().cancel(client_id)
        self._faults("venue.cancel.after")
        if isinstance(reply, Closed):
            await self._tell(reply, REPLY)
        elif isinstance(reply, Accepted):
            await self._write(CANCEL_TAKEN, {"client_id": client_id})
        else:
            await self._tell(CancelLost(client_id, reply.words), REPLY)

    async def _look_up(self, client_id: str) -> None:
        """Ask the venue what became of an order, then fetch the fills it may have had meanwhile."""
        if answer := await self._answer(client_id):
            await self._tell(answer, REPLY)
            await self._played(RECONCILE)
            return
        if self._tape.left:
            raise self._tape.differs(ADOPTED, self._tagged({"client_id": client_id}))
        await self._go_live()
        self._faults("venue.look_up.before")
        try:
            found = await self._venue_or_stop().look_up([client_id])
        except Unavailable as error:
            await self._tell(LookUpLost(client_id, str(error)), REPLY)
            return
        self._faults("venue.look_up.after")
        report = found.get(client_id)
        order = self.state.orders.get(client_id)
        if report is None and order is not None and order.state is not OrderState.UNKNOWN:
            raise SafetyRefused(
                f"expected the venue to know the order {client_id}, which it had accepted, found that it does not; "
                "nothing more was sent: look at the account"
            )
        await self._tell(Missed(client_id) if report is None else Adopted(report), REPLY)
        if report is not None:
            try:
                await self._fetch()
            except Unavailable as error:
                # Its fills are told by what the venue tells next.
                await self._tell(Tripped(Mode.RESTRICTED, BLIND, str(error)), RECONCILE)
                return
            # Once books and venue agreed, what it tells is of now; before that it may be of bars to come.
            await self._tell_due(everything=self._compared, between=True)
            if report.state in _ENDED and client_id in self.state.orders and not self._found:
                await self._tell(Closed(client_id, _ENDED[report.state], report.why or "asked_for", self._time_ns), RECONCILE)

    async def _answer(self, client_id: str) -> Told | None:
        """Return the answer about an order that comes next on the tape, after what reconciling told before it."""
        await self._played(RECONCILE)
        record = self._tape.told_at(self.tick, (REPLY,))
        if record is None or record.body.get("client_id") != client_id:
            return None
        return read_event(record.kind, record.body)

    async def _market(self, place: str, bar: MarketBar, call: Callable[[MarketBar], Sequence[Fill | Closed]] | None) -> None:
        """Hear what a market event made happen: from the tape while there is one, then from the venue."""
        while record := self._tape.told_at(self.tick, (MARKET, RECONCILE)):
            await self._tell(read_event(record.kind, record.body), record.body["via"])
            await self._work_off()
        if self._tape.left:
            return
        if call is None:
            return
        await self._go_live(between=False)
        await self._tell_due()
        await self._tell_news(self._heard(place, bar, call))

    def _heard(
        self, place: str, bar: MarketBar, call: Callable[[MarketBar], Sequence[Fill | Closed]]
    ) -> Sequence[Fill | Closed]:
        if self._faults is no_faults:
            return call(bar)
        self._faults(f"{place}.before")
        events = call(bar)
        self._faults(f"{place}.after")
        return events

    async def _tell_news(self, events: Sequence[Fill | Closed]) -> None:
        for event in events:
            if self._is_news(event):
                await self._tell(event, MARKET)
                await self._work_off()

    async def _tell_due(self, *, everything: bool = False, between: bool = False) -> None:
        """Tell what reconciling found, each when the session's time has come to it; then hold the books against the venue.

        A session that ends before that time hears *everything* there and then. Where this is *between* two effects, what the
        news asks for comes after them; else it is done at once, as it is when the journal is played back.
        """
        while self._found and (everything or _when(self._found[0]) <= (self._time_ns, self._opening)):
            event = self._found.popleft()
            if self._is_news(event):
                await self._tell(event, RECONCILE)
                if not between:
                    await self._work_off()
        if not self._found and not self._compared:
            self._compared = True
            try:
                await self._compare(between=between)
            except Unavailable:
                self._compared = False
                raise

    async def _played(self, *via: str) -> None:
        """Tell what the tape says came at this tick by one of these ways."""
        while record := self._tape.told_at(self.tick, via):
            await self._tell(read_event(record.kind, record.body), record.body["via"])

    async def _go_live(self, *, between: bool = True) -> None:
        """Compare with the venue before anything is asked of it."""
        if self._live or self._tape.left:
            return
        self._live = True
        self.taken_up = self.state
        # A venue that began anew knows no prices; what it did in these bars it has in its memory.
        for bar in self._bars.values():
            self._venue_or_stop().traded(bar)
        await self._fetch()
        await self._tell_due(between=between)

    async def _fetch(self) -> None:
        """Hear of every fill and end that the venue knows and we do not.

        A process may have died many bars after its last record; what the venue did since then is believed at its own time.
        """
        found = await self._venue_or_stop().fills_after(self.state.last_fill)
        known = [event.fill_id for event in found if isinstance(event, Fill) and event.fill_id in self._booked]
        if known:
            raise SafetyRefused(
                f"expected the venue to know the fill {self.state.last_fill}, found that it tells {len(known)} older ones as "
                "new; its memory was changed: nothing was sent"
            )
        self._found = deque(event for event in found if self._is_news(event))

    async def _compare(self, *, between: bool = False, again: int = 3) -> None:
        """Stop unless venue and books agree on cash, positions and working orders.

        What was filled while the venue was asked explains a difference; it is heard first, and then both are compared again.

        Raises:
            SafetyRefused: they differ, and nothing explains it.
        """
        venue = await self._venue_or_stop().snapshot()
        books = self.state.books
        held = {symbol: quantity for symbol, quantity in books.held().items() if quantity}
        accepted = (OrderState.OPEN, OrderState.PARTLY_FILLED)
        open_orders = [client_id for client_id, order in self.state.orders.items() if order.state in accepted]
        found = {
            "cash": (books.cash, venue.cash),
            "positions": (held, dict(venue.positions)),
            "working orders that are not ours": ([], [name for name in venue.working if name not in self.state.orders]),
            "working orders that the venue lost": ([], [name for name in open_orders if name not in venue.working]),
        }
        if abs(books.cash - venue.cash) <= venue.cash_step:
            del found["cash"]
        wrong = [f"{name}: books {ours}, venue {theirs}" for name, (ours, theirs) in found.items() if ours != theirs]
        if wrong and again:
            await self._fetch()
            if self._found:
                await self._tell_due(everything=True, between=between)
                await self._compare(between=between, again=again - 1)
                return
        if wrong:
            raise SafetyRefused(
                f"expected books and venue to agree, found {'; '.join(wrong)}; nothing was sent: find out why, "
                "then begin anew with --fresh"
            )
        self.remark(RECONCILED, {"cash": str(books.cash), "positions": {name: str(value) for name, value in held.items()}})

    def _is_news(self, event: Fill | Closed) -> bool:
        """Tell whether an event is new to us.

        Raises:
            SafetyRefused: it is a fill of an order that was never sent from here.
        """
        if isinstance(event, Closed):
            return event.client_id in self.state.orders
        if event.client_id not in self._sent:
            raise SafetyRefused(
                f"expected fills of orders that this session sent, found one of {event.quantity} {event.symbol} for "
                f"{event.client_id}; somebody else trades on this account: nothing more was sent"
            )
        return event.fill_id not in self._booked

    async def _write(self, kind: str, body: Body, *, durable: bool = False) -> bool:
        """Write a record; return True where it was on the tape already."""
        tagged = self._tagged(body)
        while self._tape.left:
            if self._tape.take(kind, tagged):
                return True
            record = self._tape.told_at(self.tick, (RECONCILE,))
            if record is None:
                raise self._tape.differs(kind, tagged)
            await self._tell(read_event(record.kind, record.body), RECONCILE)
        if self._chain is None:
            raise OffTheTape
        if not self._live:
            await self._go_live()
        self._chain.append(kind, tagged, at=self._now(), durable=durable)
        if self._observe is not None:
            self._observe(kind, tagged)
        return False

    def _tagged(self, body: Body) -> dict[str, Any]:
        return {"tick": self.tick, **body}

    def _now(self) -> datetime:
        return self._clock.now()

    def _venue_or_stop(self) -> Venue:
        if self._venue is None:
            raise OffTheTape
        return self._venue


def _when(event: Fill | Closed) -> tuple[int, bool]:
    """Return when an event's time has come: at one moment, what happened as a bar ended comes before a bar's opening."""
    return event.at_ns, isinstance(event, Fill) and event.at_ns == event.bar_ns
