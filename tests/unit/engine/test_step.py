"""The engine's mind, event by event."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from tests.builders import random_targets, some_bars
from tests.trading import (
    HOUR_NS,
    START_NS,
    SYMBOL,
    Desk,
    a_bar,
    a_fill,
    a_leg,
    a_plan,
    a_venue,
    an_intent,
    dec,
    some_limits,
)

from peak_trade.engine import engine as running
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
    Send,
    Settle,
    State,
    Tripped,
)
from peak_trade.engine.step import account_of, exit_prices, order_name, sized, step
from peak_trade.model.errors import InvariantBroken, StrategyError
from peak_trade.model.order import Closed, Fill, Intent, MarketBar, OrderEvent, OrderKind, OrderState, Reason, exact
from peak_trade.research import kernel
from peak_trade.risk.gate import Mode
from peak_trade.venue.port import Accepted, OrderReport, Rejected, Unknown

ETH = "ETH/EUR"


class Mind:
    """A state that is told events, with what it asked for."""

    def __init__(self, plan: Plan | None = None) -> None:
        self.plan = plan or a_plan()
        self.state = State.initial(self.plan)
        self.bars = 0
        self.fills = 0

    def tell(self, *events: Event) -> list[Effect]:
        """Tell events; return everything that was asked for."""
        asked: list[Effect] = []
        for event in events:
            self.state, effects = step(self.plan, self.state, event)
            asked += effects
        return asked

    def close(self, *targets: float, price: float = 100.0, bar: MarketBar | None = None) -> list[Effect]:
        """Tell the next bar, with the targets of all legs."""
        bar = bar or a_bar(price, number=self.bars)
        bar = bar._replace(opened_ns=START_NS + self.bars * HOUR_NS)
        self.bars += 1
        return self.tell(BarClosed(bar, bar.closed_ns, tuple(enumerate(targets))))

    def fill(self, intent: Intent, quantity: object = None, price: object = 100, **changes: Any) -> list[Effect]:
        """Tell a fill of an order, all of what is open by default."""
        order = self.state.orders.get(intent.client_id)
        left = intent.quantity - (order.filled if order else 0)
        quantity = left if quantity is None else dec(quantity)
        self.fills += 1
        given = {
            "fill_id": f"f-{self.fills}",
            "client_id": intent.client_id,
            "leg": intent.leg,
            "symbol": intent.symbol,
            "reason": intent.reason,
            "remaining": left - quantity,
            "at_ns": self.state.now_ns,
            **changes,
        }
        return self.tell(a_fill(quantity, price, **given))

    def cancelled(self, client_id: str, why: str = "asked_for") -> list[Effect]:
        return self.tell(Closed(client_id, OrderEvent.CANCEL, why, self.state.now_ns))

    def held(self, leg: str = "alpha", symbol: str = SYMBOL) -> Decimal:
        return self.state.books.position(leg, symbol).quantity

    def count(self, name: str) -> int:
        return self.state.counts.get(name, 0)


def sent(effects: list[Effect]) -> list[Intent]:
    return [effect.approved.intent for effect in effects if isinstance(effect, Send)]


def cancels(effects: list[Effect]) -> list[str]:
    return [effect.client_id for effect in effects if isinstance(effect, Cancel)]


def holding(plan: Plan | None = None, target: float = 1.0) -> tuple[Mind, list[Effect]]:
    """Return a mind whose first decision was filled at 100, and what it asked for upon the fill."""
    mind = Mind(plan)
    [entry] = sent(mind.close(target))
    mind.tell(Accepted(entry.client_id))
    return mind, mind.fill(entry)


def guarded(**exits: object) -> tuple[Mind, dict[OrderKind, Intent]]:
    """Return a mind that holds one unit with its exits acknowledged by the venue."""
    mind, effects = holding(a_plan(a_leg(**exits)))
    orders = {intent.kind: intent for intent in sent(effects)}
    mind.tell(*(Accepted(intent.client_id) for intent in orders.values()))
    return mind, orders


# ---- purity ----------------------------------------------------------------------------------------------------------


def plain(stepped: tuple[State, tuple[Effect, ...]]) -> str:
    """Return a step's outcome as text; approvals by what they approve."""
    state, effects = stepped
    return repr((state, [(e.approved.intent, e.approved.warnings) if isinstance(e, Send) else e for e in effects]))


def test_the_same_inputs_give_the_same_outputs(monkeypatch):
    """Every step of a busy session, done again, gives the same; plan, state and event are as they were before."""
    checked = []

    def twice(plan, state, event):
        before = repr((plan, state, event))
        first, second = step(plan, state, event), step(plan, state, event)
        assert repr((plan, state, event)) == before
        assert plain(first) == plain(second)
        checked.append(type(event))
        return first

    monkeypatch.setattr(running, "step", twice)
    bars = some_bars(150, seed=5, noise=0.03)
    leg = a_leg(sizing="fraction=0.7", shorts=True, stop_loss="0.05", take_profit="0.05", trailing_stop="0.04")
    desk = Desk(a_plan(leg), a_venue()).run({SYMBOL: bars}, {0: random_targets(150, 5)})

    assert {BarClosed, Fill, Closed, Accepted} <= set(checked)
    assert len(desk.fills()) > 25


def test_orders_are_named_by_session_and_number():
    """The same session gives the same names, another one others; none comes twice."""
    names = [order_name(origin, number) for origin in ("one", "two") for number in range(50)]

    assert len(set(names)) == 100
    assert names == [order_name(origin, number) for origin in ("one", "two") for number in range(50)]
    assert all(len(name) == 32 and int(name, 16) >= 0 for name in names)


def test_a_mind_begins_with_its_cash():
    """Before the first event nothing is held, ordered or lost."""
    state = State.initial(a_plan(cash=123))

    assert (state.mode, state.equity, state.day_start, state.peak, state.drawdown) == (Mode.RUNNING, 123, 123, 123, 0)
    assert state.orders == {}


# ---- decisions -------------------------------------------------------------------------------------------------------


def test_a_new_target_is_ordered_at_the_close():
    """One market order for what separates the position from the target, decided at the bar's end."""
    mind = Mind(a_plan(a_leg(sizing="quantity=3")))

    [send] = mind.close(0.5, price=80.0)

    assert send.approved.intent == an_intent(
        "1.5", client_id=order_name("origin", 0), reference=80, decided_ns=START_NS + HOUR_NS, reduce_only=False
    )
    assert mind.state.orders[order_name("origin", 0)].state is OrderState.SENDING
    assert (mind.count("decisions"), mind.count("orders")) == (1, 1)


def test_only_a_change_of_target_is_a_decision():
    """The same target again orders nothing, whatever the position has become worth."""
    mind, _ = holding()

    assert mind.close(1.0, price=150.0) == []
    assert mind.close(1.0, price=50.0) == []
    assert mind.count("decisions") == 1


def test_a_target_of_zero_at_the_beginning_is_no_decision():
    """A strategy that wants nothing yet has decided nothing."""
    mind = Mind()

    assert mind.close(0.0) == mind.close(-0.0) == []
    assert mind.count("decisions") == 0


def test_what_is_held_already_is_not_ordered():
    """A decision for the position that is there gives no order: here a side that is not allowed counts as flat."""
    mind = Mind(a_plan(a_leg(shorts=False)))

    assert mind.close(-1.0) == []
    assert mind.count("decisions") == 1


@pytest.mark.parametrize("target", [1.0000001, -1.5, float("nan"), float("inf")])
def test_a_target_that_is_none_stops(target):
    """A target outside of [-1, 1], or no number, is the strategy's fault and is named so."""
    with pytest.raises(StrategyError, match=r"targets in \[-1, 1\] from alpha"):
        Mind().close(target)


@pytest.mark.parametrize(
    ("held", "target", "quantity", "reduce_only"),
    [
        (1.0, 0.5, "-0.5", True),
        (1.0, 0.0, "-1", True),
        (0.5, 1.0, "0.5", False),
        (1.0, -1.0, "-2", False),
        (-1.0, -0.5, "0.5", True),
        (-1.0, 0.0, "1", True),
        (-0.5, -1.0, "-0.5", False),
        (-1.0, 1.0, "2", False),
    ],
)
def test_an_order_that_only_shrinks_the_position_says_so(held, target, quantity, reduce_only):
    """The venue may not let it do more; one that adds or turns may."""
    mind, _ = holding(a_plan(a_leg(shorts=True)), held)

    [order] = sent(mind.close(target))

    assert (order.quantity, order.reduce_only) == (dec(quantity), reduce_only)


def test_a_refusal_is_written_down_and_the_decision_is_over():
    """The gate's no is an effect with all reasons; the same target does not ask again."""
    mind = Mind(a_plan(limits=some_limits(max_order_notional=99, max_order_quantity="0.5")))

    [refusal] = mind.close(1.0)

    assert isinstance(refusal, Refusal)
    assert [item.code for item in refusal.refused.reasons] == ["max_order_quantity", "max_order_notional"]
    assert mind.state.orders == {}
    assert mind.close(1.0) == []
    assert (mind.count("orders_blocked_risk"), mind.count("refused:max_order_notional"), mind.count("orders")) == (1, 1, 0)


def test_a_warning_is_counted_and_the_order_sent():
    """With `block_on_violation = false` a limit on size warns."""
    mind = Mind(a_plan(limits=some_limits(max_order_notional=99, block_on_violation=False)))

    assert len(sent(mind.close(1.0))) == 1
    assert (mind.count("orders_warned"), mind.count("warned:max_order_notional")) == (1, 1)


def test_every_verdict_moves_the_digest():
    """Also a refusal: two sessions whose gates said different things have different digests."""
    digests = set()
    for limit in (1_000, 99):
        mind = Mind(a_plan(limits=some_limits(max_order_notional=limit)))
        mind.close(1.0)
        digests.add(mind.state.digest)

    assert len(digests | {"0" * 64}) == 3


KERNEL_SIZING = {"fraction": kernel.BY_FRACTION, "quantity": kernel.BY_QUANTITY, "notional": kernel.BY_NOTIONAL}


@pytest.mark.parametrize("by", KERNEL_SIZING)
@pytest.mark.parametrize(("longs", "shorts"), [(True, False), (False, True), (True, True)])
def test_sizing_is_the_kernel_s(by, longs, shorts):
    """The same lots for every target, worth and price; a side that is not allowed counts as flat."""
    amount = {"fraction": "0.3", "quantity": "2.5", "notional": "777"}[by]
    leg = a_leg(sizing=f"{by}={amount}", longs=longs, shorts=shorts)
    plan = a_plan(leg, lot_step="0.01")
    rules = kernel.Rules(1.0, 0.0, 0.0, KERNEL_SIZING[by], float(amount), int(longs), int(shorts), 0, 0, 0, 0.01, 0.0, 0.0)
    for target in (-1.0, -0.37, 0.0, 0.1, 0.5, 1.0):
        for worth in (-50.0, 0.0, 123.45, 10_000.0):
            for close in (0.37, 99.9, 41_234.5):
                found = sized(leg, exact(target), exact(worth), exact(close), plan.instruments[SYMBOL])

                assert found == dec(round(kernel.sized(target, worth, close, rules))) / 100


def test_a_fraction_is_of_the_equity_at_this_close():
    """What is held is worth its last price when the next position is sized."""
    mind, _ = holding(a_plan(a_leg(sizing="fraction=0.5")), 1.0)
    assert mind.held() == 50

    [order] = sent(mind.close(0.5, price=120.0))

    assert mind.state.equity == 11_000
    assert order.quantity == dec("22.916") - 50


# ---- orders in the way -----------------------------------------------------------------------------------------------


def test_a_new_decision_cancels_the_order_before():
    """What the earlier order has not filled is cancelled first; then the rest of the way is ordered."""
    mind = Mind(a_plan(a_leg(sizing="quantity=4")))
    [first] = sent(mind.close(1.0))
    mind.tell(Accepted(first.client_id))
    mind.fill(first, 1)

    assert cancels(mind.close(0.5)) == [first.client_id]
    [second] = sent(mind.cancelled(first.client_id))

    assert (second.quantity, second.decided_ns) == (1, START_NS + 2 * HOUR_NS)
    assert mind.count("orders_cancelled") == 1


def test_a_fill_that_overtakes_the_cancel_counts():
    """The order filled before it could be cancelled: what is ordered now starts from there."""
    mind = Mind()
    [first] = sent(mind.close(1.0))
    mind.tell(Accepted(first.client_id))
    mind.close(0.25)

    [second] = sent(mind.fill(first))

    assert (second.quantity, second.reduce_only) == (dec("-0.75"), True)
    assert mind.tell(Accepted(first.client_id)) == []


def test_of_two_decisions_the_later_one_counts():
    """A decision that still waits when the next one is taken is forgotten."""
    mind = Mind(a_plan(a_leg(sizing="quantity=4")))
    [first] = sent(mind.close(1.0))
    mind.tell(Accepted(first.client_id))
    mind.close(0.5)
    mind.close(0.25)

    [second] = sent(mind.cancelled(first.client_id))

    assert second.quantity == 1


def test_an_unknown_order_is_asked_for_and_waited_for():
    """The outcome of a send is not known: the venue is asked, and nothing is ordered or cancelled meanwhile."""
    mind = Mind()
    [first] = sent(mind.close(1.0))

    assert mind.tell(Unknown(first.client_id, "timeout")) == [LookUp(first.client_id)]
    assert mind.close(0.5) == [LookUp(first.client_id)]
    assert mind.count("orders_unknown") == 1


def test_a_venue_that_does_not_answer_restricts_and_is_asked_again():
    """Nothing is opened by somebody who can't see; the order is asked for at every bar and at the end, until it is told."""
    mind = Mind()
    [first] = sent(mind.close(1.0))
    mind.tell(Unknown(first.client_id, "timeout"))

    [incident] = mind.tell(LookUpLost(first.client_id, "no answer"))

    assert (incident.code, mind.state.mode) == ("blind", Mode.RESTRICTED)
    assert mind.state.orders[first.client_id].state is OrderState.UNKNOWN
    assert mind.close(1.0) == [LookUp(first.client_id)]
    assert mind.tell(Settle()) == []
    assert mind.tell(Settle()) == [LookUp(first.client_id)]
    mind.tell(Missed(first.client_id))
    assert mind.tell(Settle()) == []


def test_an_adopted_order_works():
    """The venue has it: it is an order like any other."""
    mind = Mind()
    [first] = sent(mind.close(1.0))
    mind.tell(Unknown(first.client_id, "timeout"))
    mind.tell(Adopted(OrderReport(first.client_id, OrderState.OPEN, Decimal(0), "")))

    assert mind.state.orders[first.client_id].state is OrderState.OPEN
    assert cancels(mind.close(0.5)) == [first.client_id]


def test_a_decision_that_waits_is_pursued_at_every_close():
    """Also where the target does not change again: the order in the way is cancelled as soon as it can be."""
    mind = Mind()
    [first] = sent(mind.close(1.0))
    mind.tell(Unknown(first.client_id, "timeout"))
    assert mind.close(0.5) == [LookUp(first.client_id)]
    mind.tell(Adopted(OrderReport(first.client_id, OrderState.OPEN, Decimal(0), "")))

    effects = [effect for _ in range(2) for effect in mind.close(0.5)]

    assert set(cancels(effects)) == {first.client_id}


def test_an_order_that_fills_is_not_asked_for():
    """A fill came before the news that the answer is lost: the venue has the order."""
    mind = Mind()
    [first] = sent(mind.close(1.0))
    mind.fill(first, "0.5")

    assert mind.tell(Unknown(first.client_id, "timeout")) == []
    assert mind.state.orders[first.client_id].state is OrderState.PARTLY_FILLED


def test_an_unknown_order_may_fill():
    """Its fill tells that the venue has it, also before anybody asked."""
    mind = Mind()
    [first] = sent(mind.close(1.0))
    mind.tell(Unknown(first.client_id, "timeout"))
    mind.fill(first)

    assert (mind.held(), mind.state.orders) == (1, {})
    assert mind.tell(Unknown(first.client_id, "late news")) == []


def test_a_missed_order_is_asked_for_again():
    """The venue never had it and no bar has closed since: the same position is ordered under a new name."""
    mind = Mind()
    [first] = sent(mind.close(1.0))
    mind.tell(Unknown(first.client_id, "timeout"))

    [second] = sent(mind.tell(Missed(first.client_id)))

    assert second == an_intent(1, client_id=order_name("origin", 1), decided_ns=first.decided_ns)
    assert list(mind.state.orders) == [second.client_id]
    assert mind.count("orders_absent") == 1


def test_a_missed_order_is_asked_for_again_from_where_the_position_is():
    """What is ordered again is the same step, from what is held now."""
    mind, _ = holding(None, 0.5)
    [second] = sent(mind.close(0.75))
    mind.tell(Unknown(second.client_id, "timeout"))

    [third] = sent(mind.tell(Missed(second.client_id)))

    assert third.quantity == second.quantity == dec("0.25")


def test_a_missed_order_is_no_duplicate_of_its_successor():
    """The order that never was does not count for the gate's window, nor for the rate."""
    mind = Mind(a_plan(limits=some_limits(duplicate_window_s=60.0, max_orders_per_minute=1)))
    [first] = sent(mind.close(1.0))
    mind.tell(Unknown(first.client_id, "timeout"))

    assert len(sent(mind.tell(Missed(first.client_id)))) == 1


def test_a_missed_order_is_let_go_once_the_market_has_moved_on():
    """A bar has closed since it was decided: its price is old, and it is not asked for again."""
    mind = Mind()
    [first] = sent(mind.close(1.0))
    mind.tell(Unknown(first.client_id, "timeout"))
    mind.close(1.0)

    assert mind.tell(Missed(first.client_id)) == []
    assert mind.close(1.0) == []
    assert mind.state.orders == {}


@pytest.mark.parametrize("news", ["missed", "rejected"])
def test_a_decision_that_waited_is_ordered_when_the_way_is_free(news):
    """The unknown order in its way is gone: the newer decision does not wait for another bar."""
    mind = Mind()
    [first] = sent(mind.close(1.0))
    mind.tell(Unknown(first.client_id, "timeout"))
    mind.close(0.5)

    event = Missed(first.client_id) if news == "missed" else Rejected(first.client_id, "invalid", "no")
    effects = mind.tell(event)

    assert [intent.quantity for intent in sent(effects)] == [dec("0.5")]


def test_a_rejected_entry_is_over():
    """The venue's no is counted by its code; nothing works, the mode stays."""
    mind = Mind()
    [first] = sent(mind.close(1.0))

    assert mind.tell(Rejected(first.client_id, "insufficient_funds", "EOrder:Insufficient funds")) == []
    assert mind.state.orders == {}
    assert mind.state.mode is Mode.RUNNING
    assert (mind.count("orders_rejected"), mind.count("rejected:insufficient_funds")) == (1, 1)


def test_a_rejection_of_nothing_is_a_fault():
    """The venue can't reject what was never sent."""
    with pytest.raises(InvariantBroken, match="never sent"):
        Mind().tell(Rejected("nobody", "invalid", "no"))


@pytest.mark.parametrize(("why", "skipped"), [("insufficient_funds", 1), ("below_minimum", 1), ("asked_for", 0)])
def test_orders_that_the_kernel_would_skip_are_counted(why, skipped):
    """An order that ended unfilled for want of cash or size; not one that was filled in part or cancelled by us."""
    mind = Mind()
    [first] = sent(mind.close(1.0))
    mind.tell(Accepted(first.client_id))
    mind.cancelled(first.client_id, why)
    assert (mind.count("orders_skipped"), mind.count(f"closed:{why}")) == (skipped, 1)

    [second] = sent(mind.close(0.5))
    mind.tell(Accepted(second.client_id))
    mind.fill(second, "0.1")
    mind.cancelled(second.client_id, why)
    assert mind.count("orders_skipped") == skipped


def test_the_end_of_an_order_that_is_not_known_is_no_news():
    """An order that has ended already ends again in silence."""
    mind = Mind()

    assert mind.cancelled("nobody") == []
    assert mind.tell(Accepted("nobody")) == []


def test_a_cancel_that_is_lost_is_an_incident():
    """A person must see that an order may still work."""
    mind = Mind()

    assert mind.tell(CancelLost("a", "timeout")) == [Incident("cancel_lost", "timeout", Mode.RUNNING)]
    assert mind.count("incidents") == 1


# ---- fills -----------------------------------------------------------------------------------------------------------


def test_a_fill_is_booked_and_counted():
    """Books, turnover, the present and the last fill follow from it."""
    mind = Mind()
    [order] = sent(mind.close(1.0))
    mind.tell(Accepted(order.client_id))

    mind.fill(order, "0.4", 90, fee=1, at_ns=START_NS + 5 * HOUR_NS)

    assert mind.held() == dec("0.4")
    assert mind.state.books.cash == 10_000 - 36 - 1
    assert (mind.state.traded, mind.state.now_ns, mind.state.last_fill) == (36, START_NS + 5 * HOUR_NS, "f-1")
    assert mind.state.orders[order.client_id].filled == dec("0.4")
    assert mind.state.orders[order.client_id].state is OrderState.PARTLY_FILLED
    mind.fill(order)
    assert (mind.held(), mind.state.orders) == (1, {})
    assert (mind.count("fills"), mind.count("fills:alpha"), mind.count("orders_filled")) == (2, 2, 1)


def test_a_sale_adds_to_the_turnover():
    """What was traded is counted without its sign."""
    mind, _ = holding()
    [out] = sent(mind.close(0.0))
    mind.fill(out, price=50)

    assert mind.state.traded == 150


def test_an_old_fill_does_not_turn_back_the_clock():
    """A fill that is told late is older than the present: the present stays."""
    mind = Mind()
    [order] = sent(mind.close(1.0))
    mind.fill(order, at_ns=START_NS)

    assert mind.state.now_ns == START_NS + HOUR_NS


def test_a_fill_is_booked_once_however_often_it_is_told():
    """Told again, a fill changes nothing at all."""
    mind, _ = holding()
    before = mind.state

    assert mind.tell(a_fill(1, 100, fill_id="f-1")) == []
    assert mind.state == before


def test_many_fills_are_remembered_by_name():
    """Not only the last one, but the latest of many."""
    mind = Mind(a_plan(a_leg(sizing="quantity=100")))
    [order] = sent(mind.close(1.0))
    for _ in range(70):
        mind.fill(order, 1)
    before = mind.state

    for number in range(7, 71):
        mind.tell(a_fill(1, 100, fill_id=f"f-{number}", client_id=order.client_id, remaining=1))
    assert mind.state == before
    assert len(before.seen) == 64


def test_a_late_fill_is_kept_and_told():
    """The order had ended: the position is the sum of fills all the same, and a person hears of it."""
    mind = Mind()
    [order] = sent(mind.close(1.0))
    mind.tell(Accepted(order.client_id))
    mind.cancelled(order.client_id)

    [incident] = mind.fill(order, "0.3")

    assert isinstance(incident, Incident)
    assert incident.code == "late_fill"
    assert mind.held() == dec("0.3")
    assert mind.count("incidents") == 1


def test_a_late_fill_is_protected():
    """A position that came by surprise has its exits like any other."""
    mind = Mind(a_plan(a_leg(stop_loss="0.1")))
    [order] = sent(mind.close(1.0))
    mind.tell(Accepted(order.client_id))
    mind.cancelled(order.client_id)

    [stop] = sent(mind.fill(order, "0.3"))

    assert (stop.kind, stop.quantity, stop.price) == (OrderKind.STOP, dec("-0.3"), 90)


def test_a_fill_of_a_stranger_is_a_fault():
    """Every order belongs to a strategy of the session."""
    with pytest.raises(InvariantBroken, match="found stranger"):
        Mind().tell(a_fill(leg="stranger"))


def test_trades_are_counted_when_they_close():
    """From flat to flat is one, a flip ends one, a part none."""
    mind, _ = holding(a_plan(a_leg(shorts=True)))
    for target, trades in ((0.5, 0), (-1.0, 1), (0.0, 2), (1.0, 2)):
        [order] = sent(mind.close(target))
        mind.tell(Accepted(order.client_id))
        mind.fill(order)

        assert mind.count("trades") == trades


# ---- exits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("position", "best", "exits", "wanted"),
    [
        (1, 120, {}, {}),
        (1, 120, {"stop_loss": "0.1"}, {"stop": (90, "stop_loss")}),
        (-1, 80, {"stop_loss": "0.1"}, {"stop": (110, "stop_loss")}),
        (1, 120, {"take_profit": "0.2"}, {"take_profit": (120, "take_profit")}),
        (-1, 80, {"take_profit": "0.2"}, {"take_profit": (80, "take_profit")}),
        (-1, 80, {"take_profit": 1}, {}),  # a price of zero is never reached
        (1, 120, {"trailing_stop": "0.1"}, {"stop": (108, "trailing_stop")}),
        (-1, 80, {"trailing_stop": "0.1"}, {"stop": (88, "trailing_stop")}),
        (1, 120, {"stop_loss": "0.1", "trailing_stop": "0.1"}, {"stop": (108, "trailing_stop")}),
        (1, 120, {"stop_loss": "0.1", "trailing_stop": "0.3"}, {"stop": (90, "stop_loss")}),
        (-1, 80, {"stop_loss": "0.1", "trailing_stop": "0.1"}, {"stop": (88, "trailing_stop")}),
        (-1, 80, {"stop_loss": "0.1", "trailing_stop": "0.5"}, {"stop": (110, "stop_loss")}),
        (1, 100, {"stop_loss": "0.1", "trailing_stop": "0.1"}, {"stop": (90, "stop_loss")}),
        (-1, 100, {"stop_loss": "0.1", "trailing_stop": "0.1"}, {"stop": (110, "stop_loss")}),
    ],
)
def test_exits_lie_where_the_rules_say(position, best, exits, wanted):
    """From an entry at 100: of two stops the nearer, of equal ones the stop-loss."""
    found = exit_prices(a_leg(**exits), dec(position), dec(100), dec(best))

    assert {kind.value: (price, reason.value) for kind, (price, reason) in found.items()} == wanted


@pytest.mark.parametrize("side", [1, -1])
def test_a_position_is_protected_as_soon_as_it_is_filled(side):
    """Stop and take-profit of the whole position, reduce-only, decided at the moment of the fill."""
    plan = a_plan(a_leg(shorts=True, stop_loss="0.1", take_profit="0.2"))

    _, effects = holding(plan, float(side))

    assert [(i.kind.value, i.quantity, i.price, i.reason.value, i.reduce_only) for i in sent(effects)] == [
        ("stop", -side, 100 - 10 * side, "stop_loss", True),
        ("take_profit", -side, 100 + 20 * side, "take_profit", True),
    ]


def test_exits_that_fit_are_left_alone():
    """A bar that moves nothing asks for nothing."""
    mind, _ = guarded(stop_loss="0.1", take_profit="0.2", trailing_stop="0.5")

    assert mind.close(1.0) == mind.close(1.0, price=99.0) == []


@pytest.mark.parametrize("side", [1, -1])
def test_a_trailing_stop_follows_the_best_price(side):
    """A new high (short: low) cancels the stop; when that is done the nearer one is sent. A worse bar changes nothing."""
    plan = a_plan(a_leg(shorts=True, trailing_stop="0.1"))
    mind, effects = holding(plan, float(side))
    [stop] = sent(effects)
    mind.tell(Accepted(stop.client_id))
    assert stop.price == 100 - 10 * side

    bar = a_bar(100, high=120) if side > 0 else a_bar(100, low=80)
    assert mind.close(side, bar=bar) == [Cancel(stop.client_id)]
    [moved] = sent(mind.cancelled(stop.client_id))

    assert (moved.price, moved.reason) == (108 if side > 0 else 88, Reason.TRAILING_STOP)
    mind.tell(Accepted(moved.client_id))
    assert mind.close(side, bar=a_bar(100, high=119.9, low=80.1)) == []


def test_the_bar_of_the_entry_moves_the_trailing_stop():
    """The best price is that of the fill, then the high of the bar it happened in and of each one after."""
    mind = Mind(a_plan(a_leg(trailing_stop="0.1")))
    [entry] = sent(mind.close(1.0, bar=a_bar(100, high=500)))
    mind.tell(Accepted(entry.client_id))
    [stop] = sent(mind.fill(entry, price=101))
    mind.tell(Accepted(stop.client_id))
    assert stop.price == dec("90.9")

    mind.close(1.0, bar=a_bar(101, high=110))
    [moved] = sent(mind.cancelled(stop.client_id))

    assert moved.price == 99


def test_adding_to_a_position_replaces_its_exits():
    """Entry price and quantity have changed: the old exits are cancelled, then new ones are sent for all of it."""
    mind, _ = holding(a_plan(a_leg(sizing="quantity=2", stop_loss="0.1")), 0.5)
    [stop] = [order.intent for order in mind.state.orders.values()]
    mind.tell(Accepted(stop.client_id))
    [more] = sent(mind.close(1.0))
    mind.tell(Accepted(more.client_id))

    assert mind.fill(more, price=120) == [Cancel(stop.client_id)]
    [again] = sent(mind.cancelled(stop.client_id))

    assert (again.quantity, again.price) == (-2, 99)


def test_a_part_of_an_exit_leaves_the_rest_working():
    """What is still open of a stop is what is still held: it stays, and the other exit goes, as no later price matters."""
    mind, exits = guarded(stop_loss="0.1", take_profit="0.2")
    stop, goal = exits[OrderKind.STOP], exits[OrderKind.TAKE_PROFIT]

    effects = mind.fill(stop, "-0.4", 90)
    assert effects == [Cancel(goal.client_id)]

    assert mind.cancelled(goal.client_id) == []
    assert list(mind.state.orders) == [stop.client_id]


def test_a_decision_waits_for_an_exit_under_way():
    """What was decided while a stop fills in parts is ordered once nothing is held, and not on top of it."""
    mind, exits = guarded(stop_loss="0.1")
    stop = exits[OrderKind.STOP]
    mind.fill(stop, "-0.4", 90)

    assert sent(mind.close(0.5, price=90.0)) == []
    [entry] = sent(mind.fill(stop, "-0.6", 90))

    assert (entry.kind, entry.quantity > 0) == (OrderKind.MARKET, True)


def test_a_closed_position_needs_no_exits():
    """When one exit closes it the other is cancelled, and nothing new is asked for."""
    mind, exits = guarded(stop_loss="0.1", take_profit="0.2")

    assert mind.fill(exits[OrderKind.STOP], price=90) == [Cancel(exits[OrderKind.TAKE_PROFIT].client_id)]
    assert mind.cancelled(exits[OrderKind.TAKE_PROFIT].client_id) == []
    assert mind.state.orders == {}


def test_an_exit_does_not_change_the_target():
    """After a stop the next entry waits for a new decision."""
    mind, exits = guarded(stop_loss="0.1")
    mind.fill(exits[OrderKind.STOP], price=90)

    assert mind.close(1.0, price=90.0) == []
    assert [intent.quantity for intent in sent(mind.close(0.5, price=90.0))] == [dec("0.5")]


def test_a_flip_moves_the_exits_to_the_other_side():
    """The old exits are cancelled; the new position's lie on the other side of its own entry."""
    plan = a_plan(a_leg(shorts=True, stop_loss="0.1"))
    mind, effects = holding(plan)
    [stop] = sent(effects)
    mind.tell(Accepted(stop.client_id))
    [turn] = sent(mind.close(-1.0))
    mind.tell(Accepted(turn.client_id))

    assert mind.fill(turn, price=110) == [Cancel(stop.client_id)]
    [other] = sent(mind.cancelled(stop.client_id))

    assert (other.quantity, other.price) == (1, 121)


def test_an_exit_that_the_venue_ended_is_sent_again_at_the_next_close():
    """A position is never left without its exits for longer than a bar."""
    mind, exits = guarded(stop_loss="0.1")
    mind.tell(Closed(exits[OrderKind.STOP].client_id, OrderEvent.EXPIRE, "day order", START_NS))

    assert [intent.kind for intent in sent(mind.close(1.0))] == [OrderKind.STOP]


def test_a_rejected_exit_restricts_the_session():
    """A position that can't be protected may not grow: from now on positions are only reduced."""
    mind, effects = holding(a_plan(a_leg(sizing="quantity=2", stop_loss="0.1")), 0.5)
    [stop] = sent(effects)

    [incident] = mind.tell(Rejected(stop.client_id, "invalid", "EOrder:Invalid price"))

    assert incident.code == "exit_rejected"
    assert "EOrder:Invalid price" in incident.words
    assert mind.state.mode is Mode.RESTRICTED
    effects = mind.close(1.0)
    assert [item.code for effect in effects if isinstance(effect, Refusal) for item in effect.refused.reasons] == ["restricted"]
    assert [intent.kind for intent in sent(effects)] == [OrderKind.STOP]


def test_a_missed_exit_is_sent_again():
    """The venue never had it: the position is protected under a new name."""
    mind, effects = holding(a_plan(a_leg(stop_loss="0.1")))
    [stop] = sent(effects)
    mind.tell(Unknown(stop.client_id, "timeout"))

    [again] = sent(mind.tell(Missed(stop.client_id)))

    assert (again.kind, again.price, again.client_id == stop.client_id) == (OrderKind.STOP, 90, False)


def test_a_missed_exit_is_sent_again_also_when_the_market_has_moved_on():
    """An exit is measured from the entry, not from the last price: there is no reason to stay without it for another bar."""
    mind, effects = holding(a_plan(a_leg(stop_loss="0.1")))
    [stop] = sent(effects)
    mind.tell(Unknown(stop.client_id, "timeout"))
    mind.close(1.0)

    assert [intent.kind for intent in sent(mind.tell(Missed(stop.client_id)))] == [OrderKind.STOP]


def test_an_unknown_exit_is_not_cancelled():
    """What the venue has is asked before anything else is done about it, as with entries."""
    mind, effects = holding(a_plan(a_leg(trailing_stop="0.1")))
    [stop] = sent(effects)
    mind.tell(Unknown(stop.client_id, "timeout"))

    assert cancels(mind.close(1.0, bar=a_bar(100, high=120))) == []


# ---- loss, ruin and modes --------------------------------------------------------------------------------------------


def losing(limits: Any, *prices: float) -> tuple[Mind, list[list[Effect]]]:
    """Return a mind that holds ten units bought at 100, and what it asked for at each of these closes."""
    mind, _ = holding(a_plan(a_leg(sizing="quantity=10"), limits=limits))
    return mind, [mind.close(1.0, price=price) for price in prices]


def test_the_day_s_loss_pauses_at_its_limit():
    """At or below minus the limit, not before; paused for good, and told once."""
    mind, effects = losing(some_limits(max_daily_loss_abs=500), 50.01, 50.0, 40.0, 200.0)

    assert [len(each) for each in effects] == [0, 1, 0, 0]
    assert effects[1][0].code == "max_daily_loss_abs"
    assert mind.state.mode is Mode.PAUSED


def test_the_day_s_loss_counts_in_per_cent_of_its_start():
    """The other limit, alone."""
    _, effects = losing(some_limits(max_daily_loss_pct=5), 50.01, 50.0)

    assert [[effect.code for effect in each] for each in effects] == [[], ["max_daily_loss_pct"]]


def test_a_restricted_session_is_paused_by_a_loss():
    """The stricter mode is still to come."""
    mind, _ = losing(some_limits(max_daily_loss_abs=500))
    mind.tell(Tripped(Mode.RESTRICTED, "code", ""))

    assert [effect.code for effect in mind.close(1.0, price=50.0)] == ["max_daily_loss_abs"]
    assert mind.state.mode is Mode.PAUSED


KILLED = Tripped(Mode.KILLED, "kill_switch", "kim said so")


def test_a_killed_session_only_leaves_what_it_holds():
    """Entries are refused as such, orders that only reduce pass, and nothing leads back."""
    mind, _ = holding()
    assert mind.tell(KILLED) == [Incident("kill_switch", "kim said so", Mode.KILLED)]

    [exit_order] = sent(mind.close(0.0))
    mind.tell(Accepted(exit_order.client_id))
    mind.fill(exit_order)
    [refusal] = mind.close(1.0)
    mind.tell(Tripped(Mode.RESTRICTED, "code", ""))

    assert (mind.held(), mind.state.mode) == (0, Mode.KILLED)
    assert "killed" in [reason.code for reason in refusal.refused.reasons]


def test_a_killed_session_calls_back_what_could_enlarge():
    """Working entries are cancelled at once, exits stay."""
    entering = Mind()
    [entry] = sent(entering.close(1.0))
    entering.tell(Accepted(entry.client_id))
    mind, exits = guarded(stop_loss="0.1", take_profit="0.2")

    assert cancels(entering.tell(KILLED)) == [entry.client_id]
    assert cancels(mind.tell(KILLED)) == []
    assert {intent.client_id for intent in exits.values()} == set(mind.state.orders)


@pytest.mark.parametrize("mode", [Mode.RESTRICTED, Mode.PAUSED, Mode.KILLED])
def test_an_order_found_after_the_mode_became_stricter_is_called_back(mode):
    """Nobody knew whether it was there: once the venue says so, it goes the way of the others."""
    mind = Mind()
    [order] = sent(mind.close(1.0))
    mind.tell(Unknown(order.client_id, "timeout"))
    assert cancels(mind.tell(Tripped(mode, "code", ""))) == []

    adopted = Adopted(OrderReport(order.client_id, OrderState.OPEN, Decimal(0), ""))

    assert cancels(mind.tell(adopted)) == [order.client_id]


def test_an_order_found_filled_in_part_is_called_back():
    """Its fill told before the answer that the venue has it; the rest of it is not wanted."""
    mind = Mind()
    [order] = sent(mind.close(1.0))
    mind.tell(Unknown(order.client_id, "timeout"), KILLED)
    mind.fill(order, "0.5")

    assert cancels(mind.close(1.0)) == [order.client_id]


def test_an_exit_found_after_the_mode_became_stricter_stays():
    """It can only reduce."""
    mind, effects = holding(a_plan(a_leg(stop_loss="0.1")))
    [stop] = sent(effects)
    mind.tell(Unknown(stop.client_id, "timeout"), KILLED)

    assert mind.tell(Adopted(OrderReport(stop.client_id, OrderState.OPEN, Decimal(0), ""))) == []


def test_a_lost_cancel_is_tried_again_at_every_close():
    """Not at once, or a venue that loses every cancel would be asked without end."""
    mind = Mind()
    [order] = sent(mind.close(1.0))
    mind.tell(Accepted(order.client_id), KILLED)
    found = Adopted(OrderReport(order.client_id, OrderState.OPEN, Decimal(0), ""))
    assert cancels(mind.tell(CancelLost(order.client_id, "timeout"), found)) == []

    assert [cancels(mind.close(1.0)) for _ in range(2)] == [[order.client_id]] * 2
    mind.cancelled(order.client_id)
    assert cancels(mind.close(1.0)) == []


def test_a_loss_of_yesterday_is_not_today_s():
    """At 00:00 UTC the count begins at the equity of the last close before."""
    mind = Mind(a_plan(a_leg(sizing="quantity=10"), limits=some_limits(max_daily_loss_abs=500)))
    [entry] = sent(mind.close(1.0))
    mind.tell(Accepted(entry.client_id))
    mind.fill(entry)
    for _ in range(22):
        mind.close(1.0, price=60.0)
    assert mind.close(1.0, price=51.0) == []  # the bar that ends at midnight belongs to the day before
    assert (mind.bars, mind.state.day_start) == (24, 10_000)

    assert mind.close(1.0, price=10.0) == []  # 410 today, 900 since the start
    assert mind.state.day_start == 9_510
    assert [effect.code for effect in mind.close(1.0, price=1.0)] == ["max_daily_loss_abs"]


def test_a_day_s_orders_are_counted_anew():
    """At 00:00 UTC the number of orders of each strategy begins at zero."""
    mind = Mind(a_plan(limits=some_limits(max_orders_per_day=1)))
    assert len(sent(mind.close(1.0))) == 1
    assert [type(effect) for effect in Mind(mind.plan).close(1.0)] == [Send]
    mind.cancelled(order_name("origin", 0))
    assert [type(effect) for effect in mind.close(0.5)] == [Refusal]
    for _ in range(22):
        mind.close(0.5)

    assert len(sent(mind.close(0.75))) == 1


def test_duplicates_are_remembered_for_all_of_their_window():
    """A window longer than a minute: the same order is refused two hours later."""
    mind = Mind(a_plan(limits=some_limits(duplicate_window_s=10_000.0)))
    for number, target in enumerate((1.0, 0.5)):
        assert len(sent(mind.close(target))) == 1
        mind.cancelled(order_name("origin", number))

    [refusal] = mind.close(1.0)

    assert [item.code for item in refusal.refused.reasons] == ["duplicate_order"]


def test_reducing_orders_use_up_nothing():
    """Orders that only reduce count neither for the rate nor for the day."""
    mind, _ = holding(a_plan(limits=some_limits(max_orders_per_day=2, max_orders_per_minute=1)))
    mind.fill(sent(mind.close(0.5))[0])
    mind.fill(sent(mind.close(0.25))[0])

    assert len(sent(mind.close(1.0))) == 1
    assert mind.state.sent_today == {"alpha": 2}


@pytest.mark.parametrize(("target", "kinds"), [(0.25, [Send]), (0.0, [Send]), (0.75, [Refusal]), (-0.25, [Refusal, Send])])
@pytest.mark.parametrize("mode", [Mode.RESTRICTED, Mode.PAUSED, Mode.KILLED])
def test_a_stopped_session_closes_but_does_not_open(mode, target, kinds):
    """A decision for less is ordered, one for more is refused; of one for the other side only the closing part is ordered."""
    mind, _ = holding(a_plan(a_leg(shorts=True)), 0.5)
    mind.tell(Tripped(mode, "code", "words"))

    assert [type(effect) for effect in mind.close(target)] == kinds


@pytest.mark.parametrize("before", Mode)
@pytest.mark.parametrize("asked", Mode)
def test_modes_only_become_stricter(before, asked):
    """Nothing leads back to a looser mode, and every demand is told as an incident."""
    mind = Mind()
    mind.tell(Tripped(before, "first", ""))
    order = list(Mode)
    stricter = max(before, asked, key=order.index)

    assert mind.tell(Tripped(asked, "code", "words")) == [Incident("code", "words", stricter)]
    assert mind.state.mode is stricter
    assert mind.count("incidents") == 2


def test_a_ruined_account_closes_its_position():
    """Equity at or below zero: out, whatever the target says, and at every close until it is done."""
    plan = a_plan(a_leg(sizing="quantity=10", shorts=True), cash=1_000)
    mind, _ = holding(plan, -1.0)
    assert mind.close(-1.0, price=199.99) == []

    [out] = sent(mind.close(-1.0, price=200.0))

    assert (out.quantity, out.reason, out.reduce_only) == (10, Reason.RUIN, True)
    mind.cancelled(out.client_id, "asked_for")
    assert [intent.reason for intent in sent(mind.close(-1.0, price=300.0))] == [Reason.RUIN]


def test_ruin_beats_a_decision_of_the_same_close():
    """A new target at a close at which nothing is left is not followed."""
    mind, _ = holding(a_plan(a_leg(sizing="quantity=10", shorts=True), cash=1_000), -1.0)

    [out] = sent(mind.close(-0.5, price=250.0))

    assert (out.quantity, out.reason) == (10, Reason.RUIN)


def test_drawdown_is_measured_from_the_highest_equity():
    """The deepest fall from a peak, as a negative fraction; a new peak does not undo it."""
    mind, _ = holding(a_plan(a_leg(sizing="quantity=10")))
    course = [(100, 10_000, 0), (300, 12_000, 0), (180, 12_000, "-0.1"), (400, 13_000, "-0.1")]
    course += [(399, 13_000, "-0.1"), (270.1, 13_000, "-0.1"), (140, 13_000, "-0.2")]
    for price, peak, drawdown in course:
        mind.close(1.0, price=price)

        assert (mind.state.peak, mind.state.drawdown) == (peak, dec(drawdown))


# ---- the end ---------------------------------------------------------------------------------------------------------


def test_the_end_cancels_what_works_and_orders_nothing():
    """Exits and entries are cancelled, an order of unknown outcome is not; afterwards nothing is asked for any more."""
    mind, exits = guarded(stop_loss="0.1", take_profit="0.2")
    [entry] = sent(mind.close(0.5))
    mind.tell(Accepted(entry.client_id))

    asked = mind.tell(Settle())

    assert set(cancels(asked)) == {entry.client_id, *(exit_.client_id for exit_ in exits.values())}
    for client_id in cancels(asked):
        assert mind.cancelled(client_id) == []
    assert mind.close(1.0) == mind.close(-1.0, bar=a_bar(100, high=200)) == []
    assert mind.state.orders == {}


def test_the_end_leaves_an_unknown_order_alone():
    """What the venue has is not known: there is nothing to cancel yet."""
    mind = Mind()
    [entry] = sent(mind.close(1.0))
    mind.tell(Unknown(entry.client_id, "timeout"))

    assert mind.tell(Settle()) == []


def test_a_decision_that_waits_is_forgotten_at_the_end():
    """The cancel of the end does not free the way for a new order."""
    mind = Mind()
    [first] = sent(mind.close(1.0))
    mind.tell(Accepted(first.client_id))
    mind.close(0.5)
    mind.tell(Settle())

    assert mind.cancelled(first.client_id) == []


# ---- what the gate is shown ------------------------------------------------------------------------------------------


def pending(mind: Mind) -> Mapping[str, tuple[Decimal, Decimal]]:
    return account_of(mind.state, an_intent()).pending


def test_orders_that_wait_are_shown_to_the_gate():
    """What an order may still buy or sell, less what it has filled; of unknown outcome too; exits and reducing ones not."""
    mind = Mind(a_plan(a_leg(sizing="quantity=5", stop_loss="0.1"), a_leg("beta", sizing="quantity=3", shorts=True)))
    mind.close(0.0, 0.0)
    assert pending(mind) == {}
    long, _ = orders = sent(mind.close(1.0, -1.0))
    assert pending(mind) == {SYMBOL: (5, -3)}

    mind.tell(*(Accepted(order.client_id) for order in orders))
    mind.fill(long, 2)
    assert pending(mind) == {SYMBOL: (3, -3)}
    mind.fill(long, 1)
    assert pending(mind) == {SYMBOL: (2, -3)}
    mind.fill(long, 2)
    assert pending(mind) == {SYMBOL: (0, -3)}
    mind.close(0.2, -1.0)
    assert pending(mind) == {SYMBOL: (0, -3)}


def test_an_unknown_order_is_shown_to_the_gate():
    """It may fill: it counts until the venue says that it never had it."""
    mind = Mind()
    [order] = sent(mind.close(1.0))
    mind.tell(Unknown(order.client_id, "timeout"))

    assert pending(mind) == {SYMBOL: (1, 0)}


def test_strategies_share_the_limits():
    """Two strategies on one symbol reach its limit together, filled or not."""
    limits = some_limits(max_symbol_exposure_notional=150)
    mind = Mind(a_plan(a_leg("alpha"), a_leg("beta"), limits=limits))

    effects = mind.close(1.0, 1.0)

    assert [type(effect) for effect in effects] == [Send, Refusal]


@pytest.mark.parametrize(("late_ns", "kind"), [(10_000_000_000, Send), (10_000_000_001, Refusal)])
def test_a_bar_that_comes_late_has_an_old_price(late_ns, kind):
    """How late the bar at hand is counts for the age of its price, up to the limit and beyond; the next bar is in time."""
    mind = Mind(a_plan(limits=some_limits(max_data_age_s=10.0)))

    assert mind.tell(Late(late_ns)) == []
    [effect] = mind.close(0.5)

    assert type(effect) is kind
    if isinstance(effect, Refusal):
        assert [item.code for item in effect.refused.reasons] == ["data_age"]
    else:
        assert effect.approved.intent.decided_ns == START_NS + HOUR_NS
    mind.cancelled(order_name("origin", 0))
    assert [type(effect) for effect in mind.close(1.0)] == [Send]


@pytest.mark.parametrize("mode", [Mode.RUNNING, Mode.PAUSED])
def test_two_strategies_can_not_turn_a_position_together(mode):
    """Each sale alone fits into what both hold; together they would be short: no more is let through than closes it."""
    legs = [a_leg(name, sizing="quantity=10", shorts=True) for name in ("alpha", "beta")]
    mind = Mind(a_plan(*legs, limits=some_limits(max_symbol_exposure_notional=2_000)))
    for order in sent(mind.close(1.0, 1.0)):
        mind.tell(Accepted(order.client_id))
        mind.fill(order)
    mind.tell(Tripped(mode, "code", ""))

    worst = 20 + sum(order.quantity for order in sent(mind.close(-1.0, -1.0, price=150.0)))

    assert worst >= (0 if mode is Mode.PAUSED else dec(-2_000) / 150)


def test_other_symbols_are_told_apart():
    """A bar of one symbol decides for its own strategies only, and its price is its own."""
    mind = Mind(a_plan(a_leg("alpha"), a_leg("beta", symbol=ETH)))
    bar = a_bar(50, symbol=ETH)

    [order] = sent(mind.tell(BarClosed(bar, bar.closed_ns, ((1, 1.0),))))

    assert (order.leg, order.symbol, order.reference) == ("beta", ETH, 50)
    assert mind.state.prices == {ETH: 50}
    assert mind.state.priced == {ETH: bar.closed_ns}
