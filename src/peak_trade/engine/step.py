"""The engine's mind: a state and an event go in, the next state and what to do about it come out. Pure.

The rules for targets, sizing and exits are the kernel's, in exact decimals: a change of target at a close is a decision, sized
from that close and equity; exits are measured from the average entry price and the best price of earlier bars. What differs is
that here every order passes the risk gate and lives at a venue, where its fate arrives as further events.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from peak_trade.engine.state import (
    ZERO,
    Adopted,
    BarClosed,
    Cancel,
    CancelLost,
    Effect,
    Effects,
    Event,
    Incident,
    LegPlan,
    LookUp,
    Missed,
    Order,
    Plan,
    Refusal,
    Send,
    Settle,
    State,
    Tripped,
    Wanted,
)
from peak_trade.model.errors import InvariantBroken, StrategyError
from peak_trade.model.instrument import Instrument
from peak_trade.model.order import (
    WORKING,
    Closed,
    Fill,
    Intent,
    OrderEvent,
    OrderKind,
    OrderState,
    Reason,
    exact,
    next_state,
)
from peak_trade.risk.gate import Account, Approved, Limits, Mode, Refused, Sent, daily_loss, judge, reduces
from peak_trade.strategy.sizing import SizedBy
from peak_trade.venue.matching import whole_lots
from peak_trade.venue.port import Accepted, Rejected, Unknown

DAY_NS = 86_400_000_000_000
_SEVERITY = (Mode.RUNNING, Mode.RESTRICTED, Mode.PAUSED, Mode.KILLED)
_EXITS = (OrderKind.STOP, OrderKind.TAKE_PROFIT)
#: How many fills are remembered by name.
_SEEN_MAX = 64

Stepped = tuple[State, Effects]


def step(plan: Plan, state: State, event: Event) -> Stepped:
    """Return the state after an event, and what is to be done, in this order.

    Raises:
        InvariantBroken: the event can't be, or the books do not balance.
        StrategyError: a target is no number in [-1, 1].
    """
    return _HANDLERS[type(event)](plan, state, event)


# ---- bars and decisions ----------------------------------------------------------------------------------------------


def _on_bar(plan: Plan, state: State, event: BarClosed) -> Stepped:
    bar = event.bar
    prices = {**state.prices, bar.symbol: exact(bar.close)}
    equity = state.books.equity(prices) if state.books.positions else state.books.cash
    day = (bar.closed_ns - 1) // DAY_NS
    fresh = day != state.day
    peak = max(equity, state.peak)
    state = state._replace(
        now_ns=event.at_ns,
        bars=state.bars + 1,
        day=day,
        day_start=state.equity if fresh else state.day_start,
        sent_today={} if fresh else state.sent_today,
        equity=equity,
        peak=peak,
        drawdown=min(state.drawdown, equity / peak - 1) if peak > 0 and equity < peak else state.drawdown,
        prices=prices,
        priced={**state.priced, bar.symbol: bar.closed_ns},
    )
    effects: list[Effect] = []
    if equity < state.day_start and state.mode in (Mode.RUNNING, Mode.RESTRICTED):
        state = _watch_loss(plan.limits, state, effects)
    for number, target in event.targets:
        leg = plan.legs[number]
        if target != state.legs[number].target:
            state = _decide(plan, state, number, target)
        if equity <= 0 and state.books.position(leg.name, leg.symbol).quantity:
            state = _with_leg(state, number, wanted=Wanted(ZERO, Reason.RUIN))
        if state.legs[number].wanted is not None:
            state = _pursue(plan, state, number, effects)
        if leg.has_exits and state.books.positions:
            state = _trail(state, number, leg, bar.high, bar.low)
            state = _protect(plan, state, number, effects)
    return state, tuple(effects)


def _watch_loss(limits: Limits, state: State, effects: list[Effect]) -> State:
    """Pause for good when the day's loss has reached a limit."""
    for violation in daily_loss(state.equity, state.day_start, limits):
        state, more = _on_tripped(None, state, Tripped(Mode.PAUSED, violation.code, violation.words))
        effects += more
    return state


def _decide(plan: Plan, state: State, number: int, target: float) -> State:
    """Take a new target: size the position that it asks for."""
    leg = plan.legs[number]
    if not -1.0 <= target <= 1.0:
        raise StrategyError(f"expected targets in [-1, 1] from {leg.name}, found {target}; mend the strategy")
    position = sized(leg, exact(target), state.equity, state.prices[leg.symbol], plan.instruments[leg.symbol])
    return _counted(_with_leg(state, number, target=target, wanted=Wanted(position, Reason.TARGET)), "decisions")


def sized(leg: LegPlan, target: Decimal, worth: Decimal, close: Decimal, instrument: Instrument) -> Decimal:
    """Return the signed quantity that a target asks for at this close; a side that is not allowed counts as flat."""
    if (target > 0 and not leg.longs) or (target < 0 and not leg.shorts) or not target:
        return ZERO
    amount = abs(target) * leg.sizing.amount
    if leg.sizing.by is SizedBy.FRACTION:
        amount = amount * max(worth, ZERO) / close
    elif leg.sizing.by is SizedBy.NOTIONAL:
        amount = amount / close
    quantity = whole_lots(amount, instrument)
    return quantity if target > 0 else -quantity


def _pursue(plan: Plan, state: State, number: int, effects: list[Effect]) -> State:
    """Order what separates a strategy's position from the wanted one, once no earlier order of its stands in the way."""
    leg, wanted = plan.legs[number], state.legs[number].wanted
    if wanted is None or state.settling:
        return state
    before = [order for order in _entries(state, leg) if order.state is not OrderState.UNKNOWN]
    if before or any(_entries(state, leg)):
        effects += [Cancel(order.intent.client_id) for order in before]
        return state
    state = _with_leg(state, number, wanted=None)
    position = state.books.position(leg.name, leg.symbol).quantity
    difference = wanted.position - position
    if not difference:
        return state
    shrinks = position * wanted.position >= 0 and abs(wanted.position) < abs(position)
    return _order(plan, state, leg, effects, OrderKind.MARKET, difference, wanted.reason, None, reduce_only=shrinks)


# ---- exits -----------------------------------------------------------------------------------------------------------


def _trail(state: State, number: int, leg: LegPlan, high: float, low: float) -> State:
    """Move the best price since entry by a bar that is complete."""
    position = state.books.position(leg.name, leg.symbol).quantity
    if not position or not leg.trailing_stop:
        return state
    best = state.legs[number].best
    reached = max(best, exact(high)) if position > 0 else min(best, exact(low))
    return state if reached == best else _with_leg(state, number, best=reached)


def exit_prices(leg: LegPlan, position: Decimal, entry: Decimal, best: Decimal) -> dict[OrderKind, tuple[Decimal, Reason]]:
    """Return the triggers that protect a position; of two stops the nearer, of equal ones the stop-loss."""
    sign = 1 if position > 0 else -1
    found: dict[OrderKind, tuple[Decimal, Reason]] = {}
    if leg.stop_loss:
        found[OrderKind.STOP] = (entry * (1 - sign * leg.stop_loss), Reason.STOP_LOSS)
    if leg.trailing_stop:
        level = best * (1 - sign * leg.trailing_stop)
        if OrderKind.STOP not in found or (level - found[OrderKind.STOP][0]) * sign > 0:
            found[OrderKind.STOP] = (level, Reason.TRAILING_STOP)
    if leg.take_profit and (goal := entry * (1 + sign * leg.take_profit)) > 0:
        found[OrderKind.TAKE_PROFIT] = (goal, Reason.TAKE_PROFIT)
    return found


def _protect(plan: Plan, state: State, number: int, effects: list[Effect]) -> State:
    """Make the exits at the venue those that the position asks for: cancel what differs, then send what is missing."""
    leg = plan.legs[number]
    if state.settling or not leg.has_exits:
        return state
    held = state.books.position(leg.name, leg.symbol)
    asked = exit_prices(leg, held.quantity, held.entry, state.legs[number].best) if held.quantity else {}
    present = [order for order in state.orders.values() if order.intent.leg == leg.name and order.intent.kind in _EXITS]
    covered = set()
    for order in present:
        intent = order.intent
        wanted = asked.get(intent.kind)
        covered.add(intent.kind)
        if wanted != (intent.price, intent.reason) or intent.quantity - order.filled != -held.quantity:
            effects.append(Cancel(intent.client_id))
    for kind, (price, reason) in asked.items():
        if kind not in covered:
            state = _order(plan, state, leg, effects, kind, -held.quantity, reason, price, reduce_only=True)
    return state


# ---- the gate --------------------------------------------------------------------------------------------------------


def _order(
    plan: Plan,
    state: State,
    leg: LegPlan,
    effects: list[Effect],
    kind: OrderKind,
    quantity: Decimal,
    reason: Reason,
    price: Decimal | None,
    *,
    reduce_only: bool,
) -> State:
    """Name an intent, hear the gate, and ask for the order or write down the refusal."""
    intent = Intent(
        client_id=order_name(plan.origin, state.numbered),
        leg=leg.name,
        symbol=leg.symbol,
        kind=kind,
        quantity=quantity,
        reason=reason,
        reference=state.prices[leg.symbol],
        decided_ns=state.now_ns,
        price=price,
        reduce_only=reduce_only,
    )
    state = state._replace(numbered=state.numbered + 1)
    account = account_of(state, intent)
    verdict = judge(intent, account, plan.limits)
    codes = [item.code for item in (verdict.reasons if isinstance(verdict, Refused) else verdict.warnings)]
    said = json.dumps([intent.to_json(), isinstance(verdict, Approved), codes], sort_keys=True, separators=(",", ":"))
    state = state._replace(digest=hashlib.sha256(f"{state.digest}{said}".encode()).hexdigest())
    if isinstance(verdict, Refused):
        effects.append(Refusal(verdict))
        return _counted(state, "orders_blocked_risk", *(f"refused:{code}" for code in codes))
    effects.append(Send(verdict))
    if not reduces(intent, account.positions.get(intent.symbol, ZERO)):
        state = _remembered(plan.limits, state, intent)
    order = Order(intent, next_state(OrderState.APPROVED, OrderEvent.SEND), ZERO)
    state = state._replace(orders={**state.orders, intent.client_id: order})
    return _counted(state, "orders", *(["orders_warned"] if codes else []), *(f"warned:{code}" for code in codes))


def order_name(origin: str, number: int) -> str:
    """Return the name of an order: the same session gives the same names, another one others (UUID-shaped, 32 digits)."""
    return hashlib.sha256(f"{origin}/{number}".encode()).hexdigest()[:32]


def account_of(state: State, intent: Intent) -> Account:
    """Return what the gate looks at for an intent."""
    pending: dict[str, tuple[Decimal, Decimal]] = {}
    for order in state.orders.values():
        if not order.intent.reduce_only:
            left = order.intent.quantity - order.filled
            buys, sells = pending.get(order.intent.symbol, (ZERO, ZERO))
            pending[order.intent.symbol] = (buys + max(left, ZERO), sells + min(left, ZERO))
    return Account(
        mode=state.mode,
        now_ns=state.now_ns,
        priced_ns=state.priced[intent.symbol],
        price=state.prices[intent.symbol],
        prices=state.prices,
        positions=state.books.held(),
        pending=pending,
        equity=state.equity,
        day_start_equity=state.day_start,
        recent=state.recent,
        sent_today=state.sent_today.get(intent.leg, 0),
        clock_skew_ms=state.clock_skew_ms,
    )


def _remembered(limits: Limits, state: State, intent: Intent) -> State:
    """Count an order for the rate, the duplicates and the day."""
    window = int(max(60.0, limits.duplicate_window_s) * 1e9)
    recent = tuple(sent for sent in state.recent if state.now_ns - sent.at_ns < window)
    sent = Sent(state.now_ns, intent.leg, intent.symbol, intent.quantity)
    today = {**state.sent_today, intent.leg: state.sent_today.get(intent.leg, 0) + 1}
    return state._replace(recent=(*recent, sent), sent_today=today)


# ---- what the venue says ---------------------------------------------------------------------------------------------


def _on_accepted(_plan: Plan, state: State, event: Accepted) -> Stepped:
    order = state.orders.get(event.client_id)
    if order is None or order.state not in (OrderState.SENDING, OrderState.UNKNOWN):
        return state, ()  # a cancel that was taken, or an order that filled before its acknowledgement arrived
    return _moved(state, order, OrderEvent.ACKNOWLEDGE), ()


def _on_rejected(_plan: Plan, state: State, event: Rejected) -> Stepped:
    order = state.orders.get(event.client_id)
    if order is None:
        raise InvariantBroken(f"the venue rejected {event.client_id}, which was never sent")
    state = _counted(_moved(state, order, OrderEvent.REJECT), "orders_rejected", f"rejected:{event.code}")
    if order.intent.kind in _EXITS:
        words = f"the venue rejected the {order.intent.reason.value} of {order.intent.symbol}: {event.words}"
        return _on_tripped(None, state, Tripped(Mode.RESTRICTED, "exit_rejected", words))
    return state, ()


def _on_unknown(_plan: Plan, state: State, event: Unknown) -> Stepped:
    order = state.orders.get(event.client_id)
    if order is None or order.state is not OrderState.SENDING:
        return state, ()  # its fills came before the news that its answer is lost
    return _counted(_moved(state, order, OrderEvent.LOSE), "orders_unknown"), (LookUp(event.client_id),)


def _on_adopted(plan: Plan, state: State, event: Adopted) -> Stepped:
    return _on_accepted(plan, state, Accepted(event.report.client_id))


def _on_missed(plan: Plan, state: State, event: Missed) -> Stepped:
    """The venue never had the order: ask for it again, unless the market has moved on since."""
    order = state.orders[event.client_id]
    intent = order.intent
    state = _counted(_moved(state, order, OrderEvent.MISS), "orders_absent")
    sent = Sent(intent.decided_ns, intent.leg, intent.symbol, intent.quantity)
    state = state._replace(recent=tuple(item for item in state.recent if item != sent))
    if intent.decided_ns < state.priced[intent.symbol]:
        return state, ()
    effects: list[Effect] = []
    number = _number_of(plan, intent.leg)
    if intent.kind in _EXITS:
        return _protect(plan, state, number, effects), tuple(effects)
    position = state.books.position(intent.leg, intent.symbol).quantity
    state = _with_leg(state, number, wanted=Wanted(position + intent.quantity, intent.reason))
    return _pursue(plan, state, number, effects), tuple(effects)


def _on_fill(plan: Plan, state: State, event: Fill) -> Stepped:
    if event.fill_id in state.seen:
        return state, ()
    number = _number_of(plan, event.leg)
    before = state.books.position(event.leg, event.symbol).quantity
    state = state._replace(
        now_ns=max(state.now_ns, event.at_ns),
        books=state.books.book(event),
        traded=state.traded + abs(event.quantity) * event.price,
        last_fill=event.fill_id,
        seen=(*state.seen[1 - _SEEN_MAX :], event.fill_id),
    )
    after = before + event.quantity
    if before * after <= 0:
        state = _with_leg(state, number, best=event.price)
    if before and before * after <= 0:
        state = _counted(state, "trades")
    state = _counted(state, "fills", f"fills:{event.leg}")
    order = state.orders.get(event.client_id)
    effects: list[Effect] = []
    if order is None:
        effects.append(Incident("late_fill", f"{event.symbol} was filled after its order had ended", state.mode))
        state = _counted(state, "incidents")
    else:
        what = OrderEvent.FILL_PART if event.remaining else OrderEvent.FILL_ALL
        state = _moved(state, order._replace(filled=order.filled + event.quantity), what)
    state = _protect(plan, state, number, effects)
    return _pursue(plan, state, number, effects), tuple(effects)


def _on_closed(plan: Plan, state: State, event: Closed) -> Stepped:
    order = state.orders.get(event.client_id)
    if order is None:
        return state, ()
    state = _moved(state, order, event.event)
    state = _counted(state, f"closed:{event.why}", *(["orders_skipped"] if event.why in _SKIPPED and not order.filled else []))
    effects: list[Effect] = []
    number = _number_of(plan, order.intent.leg)
    if order.intent.kind in _EXITS and event.why == "asked_for":
        state = _protect(plan, state, number, effects)
    return _pursue(plan, state, number, effects), tuple(effects)


#: Why the venue leaves an order unfilled that the kernel would have skipped.
_SKIPPED = frozenset({"insufficient_funds", "below_minimum"})


def _on_cancel_lost(_plan: Plan, state: State, event: CancelLost) -> Stepped:
    return _counted(state, "incidents"), (Incident("cancel_lost", event.words, state.mode),)


# ---- modes and the end -----------------------------------------------------------------------------------------------


def _on_tripped(_plan: Plan | None, state: State, event: Tripped) -> Stepped:
    """Go to a stricter mode; nothing here leads back to a looser one."""
    mode = max(state.mode, event.mode, key=_SEVERITY.index)
    return _counted(state._replace(mode=mode), "incidents"), (Incident(event.code, event.words, mode),)


def _on_settle(_plan: Plan, state: State, _event: Settle) -> Stepped:
    effects = tuple(Cancel(client_id) for client_id, order in state.orders.items() if order.state is not OrderState.UNKNOWN)
    return state._replace(settling=True, legs=tuple(leg._replace(wanted=None) for leg in state.legs)), effects


# ---- small parts -----------------------------------------------------------------------------------------------------


def _entries(state: State, leg: LegPlan) -> list[Order]:
    """Return a strategy's working orders that are no exits."""
    return [order for order in state.orders.values() if order.intent.leg == leg.name and order.intent.kind not in _EXITS]


def _number_of(plan: Plan, name: str) -> int:
    for number, leg in enumerate(plan.legs):
        if leg.name == name:
            return number
    raise InvariantBroken(f"every order belongs to a strategy of the session, found {name}")


def _with_leg(state: State, number: int, **changes: Any) -> State:
    legs = list(state.legs)
    legs[number] = legs[number]._replace(**changes)
    return state._replace(legs=tuple(legs))


def _moved(state: State, order: Order, event: OrderEvent) -> State:
    """Move an order along its life; one that has ended is forgotten, its record is in the journal."""
    after = next_state(order.state, event)
    client_id = order.intent.client_id
    if after in WORKING:
        return state._replace(orders={**state.orders, client_id: order._replace(state=after)})
    orders = {name: other for name, other in state.orders.items() if name != client_id}
    return _counted(state._replace(orders=orders), f"orders_{after.value}")


def _counted(state: State, *names: str) -> State:
    counts: Mapping[str, int] = {**state.counts, **{name: state.counts.get(name, 0) + 1 for name in names}}
    return state._replace(counts=counts)


_HANDLERS: dict[type, Callable[..., Stepped]] = {
    BarClosed: _on_bar,
    Accepted: _on_accepted,
    Rejected: _on_rejected,
    Unknown: _on_unknown,
    Adopted: _on_adopted,
    Missed: _on_missed,
    Fill: _on_fill,
    Closed: _on_closed,
    CancelLost: _on_cancel_lost,
    Tripped: _on_tripped,
    Settle: _on_settle,
}
