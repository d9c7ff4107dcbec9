"""The engine's mind against a venue that answers as it likes: lost answers, parts, late news, cancels that come too late."""

from collections import Counter
from decimal import Decimal
from random import Random

import pytest
from tests.trading import HOUR_NS, START_NS, SYMBOL, a_bar, a_fill, a_leg, a_plan, some_limits

from peak_trade.engine.state import (
    Adopted,
    BarClosed,
    Cancel,
    CancelLost,
    Effect,
    Event,
    LookUp,
    Missed,
    Retire,
    Send,
    Settle,
    State,
    Tripped,
)
from peak_trade.engine.step import step
from peak_trade.model.kill_level import KillLevel
from peak_trade.model.order import Closed, Fill, Intent, OrderEvent, OrderKind, OrderState, Reason
from peak_trade.risk.gate import CONDUCT, Mode
from peak_trade.venue.port import Accepted, OrderReport, Rejected, Unknown

EXITS = (OrderKind.STOP, OrderKind.TAKE_PROFIT)
PLAN = a_plan(
    a_leg("alpha", sizing="quantity=4", shorts=True, stop_loss="0.1", take_profit="0.1", trailing_stop="0.05"),
    a_leg("beta", sizing="quantity=6", symbol="ETH/EUR"),
    limits=some_limits(max_symbol_exposure_notional=1_100, max_orders_per_day=40),
)
SYMBOLS = {leg.name: leg.symbol for leg in PLAN.legs}


class Wild:
    """A venue and its engine: every effect is answered at random, and after every event the promises are checked."""

    def __init__(self, seed: int) -> None:
        self.draw = Random(seed)
        self.state = State.initial(PLAN)
        self.working: dict[str, tuple[Intent, Decimal]] = {}
        self.held: Counter[str] = Counter()
        self.names: set[str] = set()
        self.fills: list[Fill] = []
        self.price = 100.0
        self.queued = 0  # effects that are still to be performed: nothing trades until they are

    def tell(self, event: Event) -> None:
        mode = self.state.mode
        self.state, effects = step(PLAN, self.state, event)
        self.check(mode, effects)
        self.queued += len(effects)
        for effect in effects:
            self.queued -= 1
            self.perform(effect)

    def check_reach(self, intent: Intent) -> None:
        """Check that an order is one that the session's reach still lets out, and that of a retired strategy closes it."""
        state = self.state
        assert CONDUCT[state.reach].reduces
        number = next(number for number, leg in enumerate(PLAN.legs) if leg.name == intent.leg)
        if CONDUCT[state.reach].closes or state.legs[number].retired:
            assert (intent.reason, intent.quantity) == (Reason.CLOSING_OUT, -self.held[intent.leg])
            assert intent.reduce_only
            assert [order.intent for order in state.orders.values() if order.intent.leg == intent.leg] == [intent]

    def check(self, mode: Mode, effects: tuple[Effect, ...]) -> None:
        state = self.state
        assert list(Mode).index(state.mode) >= list(Mode).index(mode)
        for leg in PLAN.legs:
            mine = [order for order in state.orders.values() if order.intent.leg == leg.name]
            assert state.books.position(leg.name, leg.symbol).quantity == self.held[leg.name]
            assert len([order for order in mine if order.intent.kind not in EXITS]) <= 1
            assert max(Counter(order.intent.kind for order in mine if order.intent.kind in EXITS).values(), default=0) <= 1
        assert sum(state.books.accounts.values()) == 0
        for effect in effects:
            if isinstance(effect, Send):
                intent = effect.approved.intent
                assert intent.client_id not in self.names
                assert not state.settling
                self.names.add(intent.client_id)
                self.check_reach(intent)
                if intent.kind in EXITS:
                    assert intent.reduce_only
                    assert intent.quantity == -self.held[intent.leg]
                elif state.mode is not Mode.RUNNING:
                    assert abs(self.held[intent.leg] + intent.quantity) < abs(self.held[intent.leg])
            if isinstance(effect, Cancel):
                assert effect.client_id in state.orders

    def perform(self, effect: Effect) -> None:
        match effect:
            case Send(approved):
                self.answer(approved.intent)
            case Cancel(client_id) if client_id in self.state.orders:
                self.cancel(client_id)
            case LookUp(client_id) if client_id in self.working:
                state = OrderState.PARTLY_FILLED if self.draw.random() < 0.3 else OrderState.OPEN
                self.tell(Adopted(OrderReport(client_id, state, Decimal(0), "")))
            case LookUp(client_id) if client_id in self.state.orders:
                self.tell(Missed(client_id))

    def answer(self, intent: Intent) -> None:
        what = self.draw.random()
        if what < (0.005 if intent.kind in EXITS else 0.08):
            self.tell(Rejected(intent.client_id, "busy", "EService:Busy"))
            return
        if what > 0.15:
            self.working[intent.client_id] = (intent, intent.quantity)
        if not self.queued and self.draw.random() < 0.3:
            self.trade(intent.client_id)  # the fill is faster than the answer
        lost = what <= 0.15 or what > 0.9
        if lost:
            self.tell(Unknown(intent.client_id, "timeout"))
        else:
            self.tell(Accepted(intent.client_id))

    def cancel(self, client_id: str) -> None:
        what = self.draw.random()
        if what < 0.3 and not self.queued:
            self.trade(client_id)
        if client_id not in self.state.orders:
            return  # it filled before the cancel came: that is taken in silence
        if what < 0.1 or client_id not in self.working:
            self.tell(CancelLost(client_id, "EOrder:Unknown order"))
        elif what < 0.8:
            self.end(client_id, OrderEvent.CANCEL, "asked_for")

    def end(self, client_id: str, event: OrderEvent, why: str) -> None:
        intent, left = self.working.pop(client_id)
        self.tell(Closed(client_id, event, why, self.state.now_ns))
        if not intent.reduce_only and not self.queued and self.draw.random() < 0.1:
            self.book(intent, left, Decimal(0))  # it was on its way when the order ended

    def trade(self, client_id: str) -> None:
        """Fill an order or a part of it, never more than it may."""
        if client_id not in self.working:
            return
        intent, left = self.working[client_id]
        position = Decimal(self.held[intent.leg])
        quantity = left
        if intent.reduce_only:
            if position * left >= 0:
                self.end(client_id, OrderEvent.CANCEL, "nothing_to_reduce")
                return
            quantity = max(left, -position) if left < 0 else min(left, -position)
        if self.draw.random() < 0.4:
            quantity = (quantity / 2).quantize(Decimal("0.001")) or quantity
        rest = left - quantity
        if rest:
            self.working[client_id] = (intent, rest)
        else:
            del self.working[client_id]
        self.book(intent, quantity, rest)

    def book(self, intent: Intent, quantity: Decimal, rest: Decimal) -> None:
        fill = a_fill(
            quantity,
            self.price,
            fill_id=f"f-{len(self.fills)}",
            client_id=intent.client_id,
            leg=intent.leg,
            symbol=intent.symbol,
            reason=intent.reason,
            remaining=rest,
            at_ns=self.state.now_ns,
        )
        self.fills.append(fill)
        self.held[intent.leg] += quantity
        self.tell(fill)

    def bar(self, number: int) -> None:
        """Let some orders trade, some be told again, and a bar close."""
        for client_id in list(self.working):
            if self.draw.random() < 0.5:
                self.trade(client_id)
            elif self.draw.random() < 0.05 and client_id in self.working:
                self.end(client_id, OrderEvent.EXPIRE, "expired")
        if self.fills and self.draw.random() < 0.3:
            self.tell(self.draw.choice(self.fills[-60:]))
        self.price = round(self.price * self.draw.choice([0.95, 0.98, 1.0, 1.02, 1.06]), 2)
        for leg, plan in enumerate(PLAN.legs):
            bar = a_bar(self.price, self.price * 1.02, self.price * 0.98, symbol=plan.symbol, number=number)
            target = self.draw.choice([-1.0, 0.0, 0.5, 1.0]) if self.draw.random() < 0.4 else self.state.legs[leg].target
            self.tell(BarClosed(bar, bar.closed_ns, ((leg, target),)))


@pytest.mark.parametrize("block", range(4))
def test_no_answer_of_a_venue_breaks_a_promise(block):
    """Books hold the sum of all fills; no name comes twice; a strategy has one order in the way and one of each exit.

    Exits fit the position when they are sent, a stricter mode stays, and after the end nothing is ordered.
    """
    seen: Counter[str] = Counter()
    for seed in range(block * 25, block * 25 + 25):
        wild = Wild(seed)
        for number in range(40):
            wild.bar(number)
        wild.tell(Settle())
        for number in range(40, 43):
            wild.bar(number)
        seen.update(wild.state.counts)

        assert wild.state.books.held().get(SYMBOL, 0) == wild.held["alpha"]
        assert wild.state.counts["fills"] == len(wild.fills)
        assert wild.state.now_ns == START_NS + 43 * HOUR_NS

    often = (
        "fills",
        "trades",
        "decisions",
        "orders_unknown",
        "orders_absent",
        "orders_cancelled",
        "orders_rejected",
        "incidents",
    )
    assert {name for name in often if seen[name] < 20} == set()


def a_demand(draw: Random) -> Tripped | Retire:
    """Return something that a person, a trigger or the kill switch asks for."""
    what = draw.random()
    if what < 0.4:
        return Retire(draw.choice([(), ("alpha",), ("beta",), ("nobody's",)]), "close it")
    mode = draw.choice([Mode.RESTRICTED, Mode.PAUSED, Mode.KILLED])
    return Tripped(mode, "code", "words", level=draw.choice(list(KillLevel)) if mode is Mode.KILLED else None)


@pytest.mark.parametrize("block", range(3))
def test_no_demand_breaks_a_promise(block):
    """Whatever is demanded in whatever order: it is done, it goes only further, and a retired strategy ends up flat."""
    seen: Counter[str] = Counter()
    for seed in range(block * 40, block * 40 + 40):
        wild = Wild(seed)
        for number in range(90):
            wild.bar(number)
            if 10 < number < 40 and wild.draw.random() < 0.08:
                before = wild.state.reach
                wild.tell(a_demand(wild.draw))
                assert before is None or wild.state.reach.rank >= before.rank
                seen[str(wild.state.reach)] += 1
        state = wild.state
        conduct = CONDUCT[state.reach]
        for leg, known in zip(PLAN.legs, state.legs, strict=True):
            assert known.retired or not conduct.closes
            if known.retired and conduct.reduces:
                assert wild.held[leg.name] == 0
                seen["flat"] += 1
        if conduct.recalls_all:
            assert not state.orders
        elif conduct.recalls_entries:
            assert all(order.intent.reduce_only for order in state.orders.values())

    assert seen["flat"] > 15
    assert {str(reach) for reach in CONDUCT} <= set(seen)
