"""A venue that trades against the bars of a feed: the matching rules, an account, and a memory that outlives the process.

Invariant: it is told of every bar twice, at its opening and when it has traded; telling it again changes nothing.
Invariant: an order, a fill and an end are in its log before anybody hears of them.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, NamedTuple

from peak_trade.model.errors import require
from peak_trade.model.fill_model import impact_of
from peak_trade.model.instrument import Instrument
from peak_trade.model.order import ENDS, Closed, Fill, Intent, MarketBar, OrderEvent, OrderKind, OrderState, exact, money
from peak_trade.model.stage import Stage, not_allowed
from peak_trade.risk.gate import Approved
from peak_trade.venue.log import VenueLog
from peak_trade.venue.matching import (
    ZERO,
    Costs,
    Execution,
    Purse,
    affordable,
    at_open,
    tradable,
    triggered,
    whole_lots,
    within,
)
from peak_trade.venue.port import Accepted, OrderReport, Rejected, Reply, Snapshot, VenueNews

#: Stages whose fills are simulated; in the second an exchange is asked whether the orders are valid.
SIMULATED = frozenset({Stage.SHADOW, Stage.TESTNET})
_NO_NEWS = VenueNews()


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """How the simulated market behaves.

    Attributes:
        latency_ns: from our decision to the order's arrival.
        volume_share: the part of a bar's volume that we may take; None: as much as we want.
        impact: what an order as large as its bar's volume pays besides, in bar volatilities; 0 is off.
    """

    costs: Costs
    latency_ns: int = 0
    volume_share: Decimal | None = None
    impact: float = 0.0


class Resting(NamedTuple):
    """A working order.

    Attributes:
        remaining: what is left of it.
        active_ns: when it arrives; met_ns: the opening it came too late for.
    """

    intent: Intent
    remaining: Decimal
    active_ns: int
    met_ns: int

    @property
    def triggered(self) -> bool:
        """Whether it is a stop or take-profit that has begun to fill, and so become a market order."""
        return self.intent.kind in (OrderKind.STOP, OrderKind.TAKE_PROFIT) and self.remaining != self.intent.quantity


class SimulatedVenue:
    """An exchange of our own, for one account."""

    def __init__(
        self,
        stage: Stage,
        instruments: dict[str, Instrument],
        cash: Decimal,
        market: Market,
        log: VenueLog,
    ) -> None:
        """Open the account, or take it up from what the log remembers.

        Raises:
            SafetyRefused: the stage is not one with simulated orders.
        """
        if stage not in SIMULATED:
            raise not_allowed(stage)
        self._instruments, self._market, self._log = instruments, market, log
        self._cash = money(cash)
        self._positions: dict[str, Decimal] = {}
        self._closes: dict[str, float] = {}
        self._working: dict[str, Resting] = {}
        self._ended: dict[str, OrderState] = {}
        self._filled: dict[str, Decimal] = {}
        self._taken: dict[str, tuple[int, Decimal]] = {}
        self._opened_ns: dict[str, int] = {}
        self._closed_ns: dict[str, int] = {}
        self._fills = self._now_ns = 0
        for line in log.lines():
            self._remember(line)

    async def submit(self, approved: Approved) -> Reply:
        """Take an order; a name that was used before is rejected."""
        require(type(approved) is Approved, "a venue takes nothing but what the gate approved")
        intent = approved.intent
        if intent.client_id in self._working or intent.client_id in self._ended:
            return Rejected(intent.client_id, "duplicate", "this name was used before")
        if intent.symbol not in self._instruments:
            return Rejected(intent.client_id, "unknown_symbol", f"{intent.symbol} is not traded here")
        priced = intent.kind is OrderKind.MARKET or (intent.price is not None and intent.price > 0)
        if not intent.quantity or not priced:
            return Rejected(intent.client_id, "invalid", "an order needs a quantity, and a price unless it is a market order")
        met_ns = self._opened_ns.get(intent.symbol, -1)
        order = Resting(intent, intent.quantity, intent.decided_ns + self._market.latency_ns, met_ns)
        self._log.append({"submitted": intent.to_json(), "active_ns": str(order.active_ns), "met_ns": str(met_ns)})
        self._working[intent.client_id] = order
        return Accepted(intent.client_id)

    async def cancel(self, client_id: str) -> Reply | Closed:
        """Cancel an order at once; one that has ended already is accepted, its end was told before."""
        if client_id in self._working:
            at_ns = max(self._now_ns, self._working[client_id].intent.decided_ns)
            return self._close(client_id, OrderEvent.CANCEL, "asked_for", at_ns)
        if client_id in self._ended:
            return Accepted(client_id)
        return Rejected(client_id, "unknown_order", "no such order")

    async def look_up(self, client_ids: Sequence[str]) -> dict[str, OrderReport]:
        """Return what is known of these orders."""
        found = {}
        for client_id in client_ids:
            filled = self._filled.get(client_id, ZERO)
            if client_id in self._working:
                state = OrderState.PARTLY_FILLED if filled else OrderState.OPEN
                found[client_id] = OrderReport(client_id, state, filled, "")
            elif client_id in self._ended:
                found[client_id] = OrderReport(client_id, self._ended[client_id], filled, "")
        return found

    async def fills_after(self, fill_id: str | None) -> Sequence[Fill | Closed]:
        """Return fills and ends after a fill, oldest first; all of them after one that it does not know."""
        found: list[Fill | Closed] = []
        for line in self._log.lines():
            event = _event(line)
            if isinstance(event, Fill) and event.fill_id == fill_id:
                found.clear()
            elif event is not None:
                found.append(event)
        return found

    async def snapshot(self) -> Snapshot:
        """Return what the account holds."""
        held = {symbol: quantity for symbol, quantity in self._positions.items() if quantity}
        return Snapshot(self._cash, held, tuple(self._working))

    async def news(self) -> VenueNews:
        """Return nothing: bars tell everything."""
        return _NO_NEWS

    async def prepare(self) -> None:
        """Do nothing: there is no exchange."""

    async def left_open(self, _client_ids: Collection[str]) -> Sequence[str]:
        """Return nothing: there is no exchange."""
        return ()

    async def release(self) -> None:
        """Do nothing: there are no connections."""

    def close(self) -> None:
        """Let go of the log."""
        self._log.close()

    def opened(self, bar: MarketBar) -> Sequence[Fill | Closed]:
        """Fill what trades at the opening of a bar."""
        self._now_ns = self._opened_ns[bar.symbol] = bar.opened_ns
        if not self._working or bar.opened_ns < self._newest(bar.symbol):
            return ()
        events: list[Fill | Closed] = []
        price = exact(bar.open)
        for client_id, order in list(self._working.items()):
            if order.intent.symbol == bar.symbol and order.active_ns <= bar.opened_ns and order.met_ns < bar.opened_ns:
                arriving = order.active_ns >= self._closed_ns.get(bar.symbol, 0)
                trade = at_open(_as_market(order), price, self._costs_of(order, bar), arriving=arriving)
                if trade is not None:
                    events += self._trade(client_id, trade, bar, bar.opened_ns)
        return events

    def traded(self, bar: MarketBar) -> Sequence[Fill | Closed]:
        """Fill what trades after the opening: triggers first, stop before take-profit unless the bar opens beyond it."""
        self._now_ns = bar.closed_ns
        self._closes[bar.symbol] = bar.close
        self._closed_ns[bar.symbol] = bar.closed_ns
        if not self._working or bar.opened_ns < self._newest(bar.symbol):
            return ()
        events: list[Fill | Closed] = []
        mine = (order for order in self._working.values() if order.intent.symbol == bar.symbol)
        arrived = [order for order in mine if order.active_ns < bar.closed_ns]
        for order in sorted(arrived, key=lambda order: _precedence(order.intent, bar)):
            client_id = order.intent.client_id
            late = order.active_ns > bar.opened_ns
            if order.triggered or (order.intent.kind is OrderKind.MARKET and not late):
                continue  # it had its turn at the opening; what the volume did not cover waits for the next one
            trade = within(order.intent, bar, self._costs_of(order, bar), order.active_ns)
            if trade is not None and client_id in self._working:
                events += self._trade(client_id, trade, bar, bar.closed_ns)
        return events

    def _trade(self, client_id: str, trade: Execution, bar: MarketBar, at_ns: int) -> Iterator[Fill | Closed]:
        """Fill an order as far as the account and the volume allow; end it where nothing more can come."""
        order = self._working[client_id]
        intent, instrument = order.intent, self._instruments[bar.symbol]
        position = self._positions.get(bar.symbol, ZERO)
        wanted = order.remaining
        if intent.reduce_only:
            if position * wanted >= 0:
                yield self._close(client_id, OrderEvent.CANCEL, "nothing_to_reduce", at_ns)
                return
            wanted = max(wanted, -position) if wanted < 0 else min(wanted, -position)
        purse = Purse(self._cash, position, self._elsewhere(bar.symbol))
        quantity = affordable(wanted, purse, trade.price, self._market.costs.taker, instrument)
        if not tradable(quantity, position, trade.price, instrument):
            why = "insufficient_funds" if not quantity else "below_minimum"
            yield self._close(client_id, OrderEvent.CANCEL, why, at_ns)
            return
        quantity, scarce = self._capped(quantity, bar, instrument)
        if quantity:
            yield self._fill(order, quantity, trade, bar, at_ns)
        if client_id in self._working and not scarce:
            why = "insufficient_funds" if not intent.reduce_only else "nothing_to_reduce"
            yield self._close(client_id, OrderEvent.CANCEL, why, at_ns)

    def _costs_of(self, order: Resting, bar: MarketBar) -> Costs:
        """Return the costs of an order in a bar: its size, as far as the volume covers it, pays besides."""
        costs = self._market.costs
        if not self._market.impact:
            return costs
        wanted = order.remaining
        if order.intent.reduce_only:
            wanted = min(abs(wanted), abs(self._positions.get(bar.symbol, ZERO)))
        size, _ = self._capped(abs(wanted), bar, self._instruments[bar.symbol])
        lost = impact_of(self._market.impact, float(size), bar.volume, bar.high, bar.low)
        return costs._replace(slippage=costs.slippage + exact(lost))

    def _capped(self, quantity: Decimal, bar: MarketBar, instrument: Instrument) -> tuple[Decimal, bool]:
        """Return what the bar's volume leaves of a quantity, and whether it was the volume that cut it."""
        share = self._market.volume_share
        if share is None:
            nothing = self._market.impact > 0.0 and bar.volume <= 0.0
            return (ZERO if nothing else quantity), nothing
        stamp, taken = self._taken.get(bar.symbol, (0, ZERO))
        taken = taken if stamp == bar.opened_ns else ZERO
        most = whole_lots(max(exact(bar.volume) * share - taken, ZERO), instrument)
        size = min(abs(quantity), most)
        return (size if quantity > 0 else -size), size < abs(quantity)

    def _fill(self, order: Resting, quantity: Decimal, trade: Execution, bar: MarketBar, at_ns: int) -> Fill:
        intent = order.intent
        fill = Fill(
            fill_id=f"{intent.client_id[:12]}-{self._fills}",
            client_id=intent.client_id,
            leg=intent.leg,
            symbol=intent.symbol,
            reason=intent.reason,
            quantity=quantity,
            price=trade.price,
            fee=money(self._market.costs.fee(trade.price, quantity, maker=trade.maker)),
            bar_ns=bar.opened_ns,
            at_ns=at_ns,
            maker=trade.maker,
            remaining=order.remaining - quantity,
        )
        self._log.append({"fill": fill.to_json()})
        self._book(fill)
        return fill

    def _close(self, client_id: str, event: OrderEvent, why: str, at_ns: int) -> Closed:
        closed = Closed(client_id, event, why, at_ns)
        self._log.append({"closed": {"client_id": client_id, "event": event.value, "why": why, "at_ns": str(at_ns)}})
        self._end(client_id, ENDS[event])
        return closed

    def _newest(self, symbol: str) -> int:
        """Return the bar of the last fill; what comes before it was told already, by a process that died."""
        return self._taken.get(symbol, (0, ZERO))[0]

    def _elsewhere(self, symbol: str) -> Decimal:
        """Return the worth of all positions in other symbols at their last prices."""
        others = (name for name, quantity in self._positions.items() if quantity and name != symbol)
        return sum((self._positions[name] * exact(self._closes.get(name, 0.0)) for name in others), ZERO)

    def _remember(self, line: dict[str, Any]) -> None:
        """Change the account by a line of the log."""
        if "submitted" in line:
            intent = Intent.from_json(line["submitted"])
            self._working[intent.client_id] = Resting(intent, intent.quantity, int(line["active_ns"]), int(line["met_ns"]))
            return
        event = _event(line)
        if isinstance(event, Fill):
            self._book(event)
        elif event is not None:
            self._end(event.client_id, ENDS[event.event])

    def _book(self, fill: Fill) -> None:
        """Change the account by a fill."""
        self._fills += 1
        self._cash -= money(fill.quantity * fill.price) + fill.fee
        self._positions[fill.symbol] = self._positions.get(fill.symbol, ZERO) + fill.quantity
        stamp, taken = self._taken.get(fill.symbol, (0, ZERO))
        self._taken[fill.symbol] = (fill.bar_ns, abs(fill.quantity) + (taken if stamp == fill.bar_ns else ZERO))
        self._filled[fill.client_id] = self._filled.get(fill.client_id, ZERO) + fill.quantity
        self._working[fill.client_id] = self._working[fill.client_id]._replace(remaining=fill.remaining)
        if not fill.remaining:
            self._end(fill.client_id, OrderState.FILLED)

    def _end(self, client_id: str, state: OrderState) -> None:
        del self._working[client_id]
        self._ended[client_id] = state


def _event(line: dict[str, Any]) -> Fill | Closed | None:
    if "fill" in line:
        return Fill.from_json(line["fill"])
    if "closed" in line:
        body = line["closed"]
        return Closed(body["client_id"], OrderEvent(body["event"]), body["why"], int(body["at_ns"]))
    return None


def _as_market(order: Resting) -> Intent:
    """Return an order as it trades now: one that was triggered is a market order."""
    return replace(order.intent, kind=OrderKind.MARKET, price=None) if order.triggered else order.intent


def _precedence(intent: Intent, bar: MarketBar) -> int:
    """Return the turn of an order within a bar: take-profits that the bar opens beyond, stops, then all others."""
    if intent.kind is OrderKind.TAKE_PROFIT:
        opened = exact(bar.open)
        return 0 if triggered(intent, opened, opened, opened) is not None else 2
    return 1 if intent.kind is OrderKind.STOP else 3
