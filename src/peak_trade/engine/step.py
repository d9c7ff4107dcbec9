"""The engine's mind: a state and an event go in, the next state and what to do about it come out. Pure.

The rules for targets, sizing and exits are the kernel's, in exact decimals: a change of target at a close is a decision, sized
from that close and equity; exits are measured from the average entry price and the best price of earlier bars. What differs is
that here every order passes the risk gate and lives at a venue, where its fate arrives as further events.
"""

import hashlib
from collections.abc import Callable, Iterable
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
    Late,
    LegPlan,
    LookUp,
    LookUpLost,
    Missed,
    Order,
    Plan,
    Refusal,
    Retire,
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
from peak_trade.risk.gate import CONDUCT, REACHES, Account, Approved, Limits, Mode, Refused, Sent, farther, judge
from peak_trade.risk.triggers import loss_firings
from peak_trade.strategy.sizing import SizedBy
from peak_trade.venue.matching import whole_lots
from peak_trade.venue.port import Accepted, Rejected, Unknown

DAY_NS = 86_400_000_000_000
_SEVERITY = (Mode.RUNNING, Mode.RESTRICTED, Mode.PAUSED, Mode.KILLED)
_EXITS = (OrderKind.STOP, OrderKind.TAKE_PROFIT)
#: Orders of a strategy that may be lost within a bar before it is given up.
_LOST_MAX = 10
#: How many fills are remembered by name.
_SEEN_MAX = 64
#: The code of a venue that does not tell what became of orders.
BLIND = "blind"

Stepped = tuple[State, Effects]


def step(plan: Plan, state: State, event: Event) -> Stepped:
    """Return the state after an event, and what is to be done, in this order; the state that came in stays as it was.

    Raises:
        InvariantBroken: the event can't be, or the books do not balance.
        StrategyError: a target is no number in [-1, 1].
    """
    after = state.draft()
    effects: list[Effect] = []
    _HANDLERS[type(event)](plan, after, event, effects)
    return after, tuple(effects)


# The functions below change the draft that `step` made, and add to the list of effects.

# ---- bars and decisions ----------------------------------------------------------------------------------------------


def _on_bar(plan: Plan, state: State, event: BarClosed, effects: list[Effect]) -> None:
    bar = event.bar
    closed_ns = bar.opened_ns + bar.step_ns
    day = (closed_ns - 1) // DAY_NS
    if day != state.day:
        state.day, state.day_start, state.sent_today = day, state.equity, {}
    state.now_ns, state.bars = event.at_ns, state.bars + 1
    state.prices = {**state.prices, bar.symbol: exact(bar.close)}
    state.priced = {**state.priced, bar.symbol: closed_ns}
    books = state.books
    state.equity = equity = books.equity(state.prices) if books.positions else books.cash
    if equity > state.peak:
        state.peak, state.floor = equity, equity * (1 + state.drawdown)
    elif equity < state.floor and state.peak > 0:
        state.floor, state.drawdown = equity, equity / state.peak - 1
    if state.reach is not None:
        # A cancel may have been lost since the mode became stricter.
        effects += [Cancel(order.intent.client_id) for order in _recalled(state) if order.intent.symbol == bar.symbol]
    # One that the venue did not answer for is asked for again.
    unknown = (order.intent for order in state.orders.values() if order.state is OrderState.UNKNOWN)
    effects += [LookUp(intent.client_id) for intent in unknown if intent.symbol == bar.symbol]
    if equity < state.day_start and state.mode in (Mode.RUNNING, Mode.RESTRICTED):
        _watch_loss(plan, state, effects)
    for number, target in event.targets:
        if state.legs[number].lost:
            _change(state, number, lost=0)
        if state.legs[number].retired:
            _close_out(plan, state, number, effects, recall=not CONDUCT[state.reach].recalls_all)
            continue
        leg, known = plan.legs[number], state.legs[number]
        if target != known.target:
            _decide(plan, state, number, target)
        elif known.wanted is None and equity > 0 and not leg.has_exits:
            continue
        if equity <= 0 and state.books.position(leg.name, leg.symbol).quantity:
            _change(state, number, wanted=Wanted(ZERO, Reason.RUIN))
        if state.legs[number].wanted is not None:
            _pursue(plan, state, number, effects)
        if leg.has_exits and state.books.positions:
            _trail(state, number, leg, bar.high, bar.low)
            _protect(plan, state, number, effects)
    state.late_ns = 0


def _on_late(_plan: Plan, state: State, event: Late, _effects: list[Effect]) -> None:
    state.late_ns = event.late_ns


def _watch_loss(plan: Plan, state: State, effects: list[Effect]) -> None:
    """Pause for good when the day's loss has reached a limit."""
    for firing in loss_firings(state.equity, state.day_start, plan.limits):
        _trip(plan, state, Tripped(*firing), effects)


def _decide(plan: Plan, state: State, number: int, target: float) -> None:
    """Take a new target: size the position that it asks for."""
    leg = plan.legs[number]
    if not -1.0 <= target <= 1.0:
        raise StrategyError(f"expected targets in [-1, 1] from {leg.name}, found {target}; mend the strategy")
    position = sized(leg, exact(target), state.equity, state.prices[leg.symbol], plan.instruments[leg.symbol])
    _change(state, number, target=target, wanted=Wanted(position, Reason.TARGET))
    _count(state, "decisions")


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


def _pursue(plan: Plan, state: State, number: int, effects: list[Effect]) -> None:
    """Order what separates a strategy's position from the wanted one, once no earlier order of its stands in the way."""
    leg, wanted = plan.legs[number], state.legs[number].wanted
    if state.legs[number].retired:
        _close_out(plan, state, number, effects, recall=False)
        return
    if wanted is None or state.settling or _leaving(state, leg):
        return
    if before := _entries(state, leg):
        effects += [Cancel(order.intent.client_id) for order in before if order.state is not OrderState.UNKNOWN]
        return
    _change(state, number, wanted=None)
    position = state.books.position(leg.name, leg.symbol).quantity
    difference = wanted.position - position
    if not difference:
        return
    shrinks = position * wanted.position >= 0 and abs(wanted.position) < abs(position)
    sent = _order(plan, state, leg, effects, OrderKind.MARKET, difference, wanted.reason, None, reduce_only=shrinks)
    if not sent and position * wanted.position < 0:
        # Turning was refused as a whole; leaving what is held always has to be possible.
        _order(plan, state, leg, effects, OrderKind.MARKET, -position, wanted.reason, None, reduce_only=True)


def _close_out(plan: Plan, state: State, number: int, effects: list[Effect], *, recall: bool) -> None:
    """Close what a retired strategy holds, once none of its orders is left that could be filled besides.

    On a netted account a second order of its own could take the share of another strategy. With *recall* those that are left
    are called back.
    """
    if state.settling or not CONDUCT[state.reach].reduces:
        return
    leg = plan.legs[number]
    mine = [order for order in state.orders.values() if order.intent.leg == leg.name]
    if recall:
        others = (order for order in mine if order.intent.reason is not Reason.CLOSING_OUT)
        effects += [Cancel(order.intent.client_id) for order in others if order.state is not OrderState.UNKNOWN]
    position = state.books.position(leg.name, leg.symbol).quantity
    if position and not mine:
        _order(plan, state, leg, effects, OrderKind.MARKET, -position, Reason.CLOSING_OUT, None, reduce_only=True)


# ---- exits -----------------------------------------------------------------------------------------------------------


def _trail(state: State, number: int, leg: LegPlan, high: float, low: float) -> None:
    """Move the best price since entry by a bar that is complete."""
    position = state.books.position(leg.name, leg.symbol).quantity
    if position and leg.trailing_stop:
        best = state.legs[number].best
        _change(state, number, best=max(best, exact(high)) if position > 0 else min(best, exact(low)))


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


def _protect(plan: Plan, state: State, number: int, effects: list[Effect]) -> None:
    """Make the exits at the venue those that the position asks for: cancel what differs, then send what is missing."""
    leg = plan.legs[number]
    if not leg.has_exits or state.settling or state.legs[number].retired or not CONDUCT[state.reach].protects:
        return
    held = state.books.position(leg.name, leg.symbol)
    if leaving := _leaving(state, leg):
        # What is left of an exit is a market order for all that is held: it is neither replaced nor doubled.
        exits = (order for order in state.orders.values() if order.intent.leg == leg.name and order.intent.kind in _EXITS)
        others = (order for order in exits if order is not leaving and order.state is not OrderState.UNKNOWN)
        effects += [Cancel(order.intent.client_id) for order in others]
        return
    asked = exit_prices(leg, held.quantity, held.entry, state.legs[number].best) if held.quantity else {}
    covered = set()
    for order in state.orders.values():
        intent = order.intent
        if intent.leg != leg.name or intent.kind not in _EXITS:
            continue
        covered.add(intent.kind)
        fits = asked.get(intent.kind) == (intent.price, intent.reason) and intent.quantity - order.filled == -held.quantity
        if not fits and order.state is not OrderState.UNKNOWN:
            effects.append(Cancel(intent.client_id))
    for kind, (price, reason) in asked.items():
        if kind not in covered:
            _order(plan, state, leg, effects, kind, -held.quantity, reason, price, reduce_only=True)


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
) -> bool:
    """Name an intent, hear the gate, and ask for the order or write down the refusal; return whether it was let through."""
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
    state.numbered += 1
    account = account_of(state, intent)
    verdict = judge(intent, account, plan.limits)
    codes = [item.code for item in (verdict.reasons if isinstance(verdict, Refused) else verdict.warnings)]
    state.digest = digest_of(state.digest, intent, codes, approved=isinstance(verdict, Approved))
    if isinstance(verdict, Refused):
        effects.append(Refusal(verdict))
        _count(state, "orders_blocked_risk", *(f"refused:{code}" for code in codes))
        return False
    effects.append(Send(verdict))
    counted = not account.reduced_by(intent)
    if counted:
        _remember(plan.limits, state, intent)
    order = Order(intent, next_state(OrderState.APPROVED, OrderEvent.SEND), ZERO, counted)
    state.orders = {**state.orders, intent.client_id: order}
    _count(state, "orders", *(["orders_warned", *(f"warned:{code}" for code in codes)] if codes else []))
    return True


def order_name(origin: str, number: int) -> str:
    """Return the name of an order: the same session gives the same names, another one others (UUID-shaped, 32 digits)."""
    return hashlib.sha256(f"{origin}/{number}".encode()).hexdigest()[:32]


def digest_of(before: str, intent: Intent, codes: list[str], *, approved: bool) -> str:
    """Return the hash over all verdicts so far and this one; without names of orders, which no two sessions share."""
    said = (
        before,
        intent.leg,
        intent.symbol,
        intent.kind.value,
        f"{intent.quantity:f}",
        "" if intent.price is None else f"{intent.price:f}",
        intent.reason.value,
        str(intent.decided_ns),
        "approved" if approved else "refused",
        *codes,
    )
    return hashlib.sha256("|".join(said).encode()).hexdigest()


def account_of(state: State, intent: Intent) -> Account:
    """Return what the gate looks at for an intent."""
    pending: dict[str, tuple[Decimal, Decimal]] = {}
    exiting = set()
    for order in state.orders.values():
        if order.intent.reduce_only:
            exiting.add(order.intent.symbol)
        else:
            left = order.intent.quantity - order.filled
            buys, sells = pending.get(order.intent.symbol, (ZERO, ZERO))
            pending[order.intent.symbol] = (buys + max(left, ZERO), sells + min(left, ZERO))
    return Account(
        mode=state.mode,
        now_ns=state.now_ns,
        priced_ns=state.priced[intent.symbol],
        late_ns=state.late_ns,
        price=state.prices[intent.symbol],
        prices=state.prices,
        positions=state.books.held(),
        pending=pending,
        equity=state.equity,
        day_start_equity=state.day_start,
        recent=state.recent,
        sent_today=state.sent_today.get(intent.leg, 0),
        clock_skew_ms=state.clock_skew_ms,
        exiting=frozenset(exiting),
        reach=state.reach,
    )


def _remember(limits: Limits, state: State, intent: Intent) -> None:
    """Count an order for the rate, the duplicates and the day."""
    window = int(max(60.0, limits.duplicate_window_s) * 1e9)
    recent = [sent for sent in state.recent if state.now_ns - sent.at_ns < window]
    state.recent = (*recent, Sent(state.now_ns, intent.leg, intent.symbol, intent.quantity))
    state.sent_today = {**state.sent_today, intent.leg: state.sent_today.get(intent.leg, 0) + 1}


def _forget(state: State, intent: Intent) -> None:
    """Take back what `_remember` counted."""
    sent = Sent(intent.decided_ns, intent.leg, intent.symbol, intent.quantity)
    state.recent = tuple(item for item in state.recent if item != sent)
    state.sent_today = {**state.sent_today, intent.leg: max(0, state.sent_today.get(intent.leg, 0) - 1)}


# ---- what the venue says ---------------------------------------------------------------------------------------------


def _on_accepted(_plan: Plan, state: State, event: Accepted, effects: list[Effect]) -> None:
    order = state.orders.get(event.client_id)
    # Else it is a cancel that was taken, or an order that filled before its acknowledgement arrived.
    if order is not None and order.state in (OrderState.SENDING, OrderState.UNKNOWN):
        _move(state, order, OrderEvent.ACKNOWLEDGE)
        if state.settling:
            effects.append(Cancel(event.client_id))


def _on_rejected(plan: Plan, state: State, event: Rejected, effects: list[Effect]) -> None:
    order = state.orders.get(event.client_id)
    if order is None:
        raise InvariantBroken(f"the venue rejected {event.client_id}, which was never sent")
    _move(state, order, OrderEvent.REJECT)
    _count(state, f"rejected:{event.code}")
    if order.intent.reason is not Reason.CLOSING_OUT:  # that one is asked for again at the next bar
        _pursue(plan, state, _number_of(plan, order.intent.leg), effects)
    if order.intent.kind in _EXITS:
        words = f"the venue rejected the {order.intent.reason.value} of {order.intent.symbol}: {event.words}"
        _trip(plan, state, Tripped(Mode.RESTRICTED, "exit_rejected", words), effects)


def _on_unknown(_plan: Plan, state: State, event: Unknown, effects: list[Effect]) -> None:
    order = state.orders.get(event.client_id)
    # Else its fills came before the news that its answer is lost.
    if order is not None and order.state is OrderState.SENDING:
        _move(state, order, OrderEvent.LOSE)
        effects.append(LookUp(event.client_id))


def _on_adopted(plan: Plan, state: State, event: Adopted, effects: list[Effect]) -> None:
    before = state.orders.get(event.report.client_id)
    _on_accepted(plan, state, Accepted(event.report.client_id), effects)
    if before is not None and before.state is OrderState.UNKNOWN and not state.settling:
        # It could not be called back while nobody knew whether it was there.
        name = event.report.client_id
        effects += [Cancel(name) for order in _recalled(state) if order.intent.client_id == name]
        number = _number_of(plan, before.intent.leg)
        if state.legs[number].retired:
            _close_out(plan, state, number, effects, recall=not CONDUCT[state.reach].recalls_all)


def _on_missed(plan: Plan, state: State, event: Missed, effects: list[Effect]) -> None:
    """The venue never had the order: ask for it again, though not without end, and for an entry only before the next bar."""
    order = state.orders[event.client_id]
    intent = order.intent
    _move(state, order, OrderEvent.MISS)
    if order.counted:
        _forget(state, intent)
    number = _number_of(plan, intent.leg)
    lost = state.legs[number].lost + 1
    _change(state, number, lost=lost)
    if lost > _LOST_MAX:
        _count(state, "incidents")
        effects.append(Incident("order_lost", f"an order of {intent.symbol} was lost {lost} times; it is given up", state.mode))
        return
    if intent.kind in _EXITS:
        _protect(plan, state, number, effects)
    elif state.legs[number].wanted is None and intent.decided_ns >= state.priced[intent.symbol]:
        position = state.books.position(intent.leg, intent.symbol).quantity
        _change(state, number, wanted=Wanted(position + intent.quantity, intent.reason))
    _pursue(plan, state, number, effects)


def _on_fill(plan: Plan, state: State, event: Fill, effects: list[Effect]) -> None:
    if event.fill_id in state.seen:
        return
    number = _number_of(plan, event.leg)
    before = state.books.position(event.leg, event.symbol).quantity
    turned = before * (before + event.quantity) <= 0
    state.now_ns = max(state.now_ns, event.at_ns)
    state.books = state.books.book(event)
    state.traded += abs(event.quantity) * event.price
    state.last_fill = event.fill_id
    state.seen = (*state.seen[1 - _SEEN_MAX :], event.fill_id)
    if turned and plan.legs[number].trailing_stop:
        _change(state, number, best=event.price)
    _count(state, "fills", f"fills:{event.leg}", *(["trades"] if turned and before else []))
    order = state.orders.get(event.client_id)
    if order is None:
        effects.append(Incident("late_fill", f"{event.symbol} was filled after its order had ended", state.mode))
        _count(state, "incidents")
    else:
        what = OrderEvent.FILL_PART if event.remaining else OrderEvent.FILL_ALL
        _move(state, order._replace(filled=order.filled + event.quantity), what)
        if order.intent.kind in _EXITS:
            # What is left of an order to open or enlarge would undo the exit.
            before_it = (other for other in _entries(state, plan.legs[number]) if other.state is not OrderState.UNKNOWN)
            wishes = (other.intent for other in before_it if other.intent.reason is not Reason.CLOSING_OUT)
            effects += [Cancel(intent.client_id) for intent in wishes]
    _protect(plan, state, number, effects)
    _pursue(plan, state, number, effects)


def _on_closed(plan: Plan, state: State, event: Closed, effects: list[Effect]) -> None:
    order = state.orders.get(event.client_id)
    if order is None:
        return
    _move(state, order, event.event)
    _count(state, f"closed:{event.why}", *(["orders_skipped"] if event.why in _SKIPPED and not order.filled else []))
    number = _number_of(plan, order.intent.leg)
    if order.intent.kind in _EXITS and event.why == "asked_for":
        _protect(plan, state, number, effects)
    if order.intent.reason is not Reason.CLOSING_OUT:  # that one is asked for again at the next bar
        _pursue(plan, state, number, effects)


#: Why the venue leaves an order unfilled that the kernel would have skipped.
_SKIPPED = frozenset({"insufficient_funds", "below_minimum"})


def _on_cancel_lost(_plan: Plan, state: State, event: CancelLost, effects: list[Effect]) -> None:
    """Whether the order still works is not known: ask."""
    _count(state, "incidents")
    effects.append(Incident("cancel_lost", event.words, state.mode))
    order = state.orders.get(event.client_id)
    if order is not None and order.state in (OrderState.OPEN, OrderState.PARTLY_FILLED):
        effects.append(LookUp(event.client_id))


def _on_look_up_lost(plan: Plan, state: State, event: LookUpLost, effects: list[Effect]) -> None:
    """The venue does not answer: nothing is opened by somebody who can't see; the order is asked for at every bar."""
    _trip(plan, state, Tripped(Mode.RESTRICTED, BLIND, event.words), effects)


# ---- modes and the end -----------------------------------------------------------------------------------------------


def _trip(plan: Plan, state: State, event: Tripped, effects: list[Effect]) -> None:
    """Go to a stricter mode and do what its reach asks for; nothing here leads back to a looser one."""
    before = (state.mode, state.reach)
    state.mode = max(state.mode, event.mode, key=_SEVERITY.index)
    state.reach = farther(state.reach, event.level or REACHES[event.mode])
    closes = CONDUCT[state.reach].closes and state.reach is not before[1]
    legs = (("legs", ", ".join(leg.name for leg in plan.legs)),) if closes else ()
    _count(state, "incidents")
    effects.append(Incident(event.code, event.words, state.mode, event.evidence + legs))
    if (state.mode, state.reach) == before:
        return
    effects += [Cancel(order.intent.client_id) for order in _recalled(state)]
    if closes:
        _retire(plan, state, range(len(plan.legs)), effects, recall=False)


def _on_retire(plan: Plan, state: State, event: Retire, effects: list[Effect]) -> None:
    meant = [number for number, leg in enumerate(plan.legs) if not event.legs or leg.name in event.legs]
    names = ", ".join(plan.legs[number].name for number in meant)
    _count(state, "incidents")
    effects.append(Incident("retired", event.words, state.mode, (("legs", names),)))
    _retire(plan, state, meant, effects, recall=not CONDUCT[state.reach].recalls_all)


def _retire(plan: Plan, state: State, numbers: Iterable[int], effects: list[Effect], *, recall: bool) -> None:
    """Close the positions of strategies for good."""
    for number in numbers:
        _change(state, number, retired=True, wanted=None, target=0.0)
        _close_out(plan, state, number, effects, recall=recall)


def _recalled(state: State) -> list[Order]:
    """Return the working orders that the reach calls back; one of unknown outcome is asked for first."""
    conduct = CONDUCT[state.reach]
    if not (conduct.recalls_entries or conduct.recalls_all):
        return []
    working = [order for order in state.orders.values() if order.state is not OrderState.UNKNOWN]
    if conduct.closes:
        return [order for order in working if order.intent.reason is not Reason.CLOSING_OUT]
    return working if conduct.recalls_all else [order for order in working if not order.intent.reduce_only]


def _on_settle(_plan: Plan, state: State, event: Settle, effects: list[Effect]) -> None:
    effects += [Cancel(client_id) for client_id, order in state.orders.items() if order.state is not OrderState.UNKNOWN]
    if state.settling:
        # It was begun before: those whose fate the venue did not tell are asked for again.
        effects += [LookUp(client_id) for client_id, order in state.orders.items() if order.state is OrderState.UNKNOWN]
    state.settling, state.fault = True, event.fault
    state.legs = tuple(leg._replace(wanted=None) for leg in state.legs)


# ---- small parts -----------------------------------------------------------------------------------------------------


def _entries(state: State, leg: LegPlan) -> list[Order]:
    """Return a strategy's working orders that are no exits."""
    return [order for order in state.orders.values() if order.intent.leg == leg.name and order.intent.kind not in _EXITS]


def _leaving(state: State, leg: LegPlan) -> Order | None:
    """Return a strategy's exit that has begun to fill."""
    for order in state.orders.values():
        if order.filled and order.intent.leg == leg.name and order.intent.kind in _EXITS:
            return order
    return None


def _number_of(plan: Plan, name: str) -> int:
    for number, leg in enumerate(plan.legs):
        if leg.name == name:
            return number
    raise InvariantBroken(f"every order belongs to a strategy of the session, found {name}")


def _change(state: State, number: int, **changes: Any) -> None:
    """Change a strategy's part of the draft."""
    changed = state.legs[number]._replace(**changes)
    state.legs = (*state.legs[:number], changed, *state.legs[number + 1 :])


def _move(state: State, order: Order, event: OrderEvent) -> None:
    """Move an order along its life; one that has ended is forgotten, its record is in the journal."""
    after = next_state(order.state, event)
    client_id = order.intent.client_id
    if after in WORKING:
        state.orders = {**state.orders, client_id: Order(order.intent, after, order.filled, order.counted)}
        if after is OrderState.UNKNOWN:
            _count(state, "orders_unknown")
        return
    state.orders = {name: other for name, other in state.orders.items() if name != client_id}
    _count(state, f"orders_{after.value}")


def _count(state: State, *names: str) -> None:
    """Count in the draft that these happened once more."""
    counts = state.counts
    for name in names:
        counts[name] = counts.get(name, 0) + 1


_HANDLERS: dict[type, Callable[..., None]] = {
    BarClosed: _on_bar,
    Accepted: _on_accepted,
    Rejected: _on_rejected,
    Unknown: _on_unknown,
    Adopted: _on_adopted,
    Missed: _on_missed,
    Fill: _on_fill,
    Closed: _on_closed,
    CancelLost: _on_cancel_lost,
    LookUpLost: _on_look_up_lost,
    Tripped: _trip,
    Retire: _on_retire,
    Settle: _on_settle,
    Late: _on_late,
}
