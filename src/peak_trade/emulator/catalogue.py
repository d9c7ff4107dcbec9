"""The faults by name: where each strikes and what it does there. Pure: acts change answers, messages or the engine.

An act around a call is given the fault, the plan, the target, the time, and what would happen without it; one on a message the
fault, the plan, the target, the message and its connection's late messages.
Holds and waits last by the wall clock, all else by the exchange's.
"""

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

from peak_trade.emulator.counters import NS
from peak_trade.emulator.exchange import ExchangeMode, MatchingEngine
from peak_trade.emulator.faults import Fault, FaultKind, FaultPlace, FaultPlan, FaultTarget, Outcome, slices_of
from peak_trade.emulator.orders import OrderStatus, OrderType, PlacedOrder, Rejection, Wish
from peak_trade.emulator.pairs import Pair, PairTerms, pair_of
from peak_trade.emulator.parameters import wish_of
from peak_trade.emulator.words import level_document, moved_time
from peak_trade.model.errors import InputError

Json = dict[str, Any]
Inner = Callable[[], Outcome]
ADDS = ("AddOrder", "AddOrderBatch", "AmendOrder", "EditOrder")
CANCELS = ("CancelOrder", "CancelOrderBatch", "CancelAll")
#: What a pair's state may be.
STATUSES = ("online", "cancel_only", "post_only", "limit_only", "reduce_only", "delisted")
MODES = {mode.value for mode in ExchangeMode if mode is not ExchangeMode.ONLINE}
_TITLES = {
    403: "Attention Required! | Cloudflare",
    502: "502 Bad Gateway",
    503: "503 Service Temporarily Unavailable",
    504: "504 Gateway Time-out",
    520: "520: Web server is returning an unknown error",
    522: "522: Connection timed out",
    524: "524: A timeout occurred",
}


def page(status: int) -> str:
    """Return a page such as Cloudflare puts before the exchange."""
    title = _TITLES.get(status, f"{status} Error")
    return f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1><hr>cloudflare</body></html>\n"


# ---- the way there and back ----------------------------------------------------------------------------------------------


def _silence(*, applied: bool, cut: str = "reset") -> Callable[..., Outcome]:
    def act(fault: Fault, _plan: FaultPlan, _target: FaultTarget, _now: int, inner: Inner) -> Outcome:
        found = inner() if applied else Outcome({"error": []})
        return found._replace(hold_s=fault.args.get("seconds", 0.0), cut=fault.args.get("cut", cut))

    return act


def _failing(*, applied: bool) -> Callable[..., Outcome]:
    def act(fault: Fault, _plan: FaultPlan, _target: FaultTarget, _now: int, inner: Inner) -> Outcome:
        if applied:
            inner()
        return Outcome(None, fault.args["status"], page(fault.args["status"]))

    return act


def _no_json(fault: Fault, _plan: FaultPlan, _target: FaultTarget, _now: int, inner: Inner) -> Outcome:
    if fault.args["applied"]:
        inner()
    bodies = {"html": page(502), "cut": '{"error":[],"result":{"tx', "empty": ""}
    return Outcome(None, 200, bodies.get(fault.args["body"], bodies["html"]))


def _refusing(error: str) -> Callable[..., Outcome]:
    """Return an act that answers with an error string; it is applied first where that is asked for."""

    def act(fault: Fault, _plan: FaultPlan, _target: FaultTarget, _now: int, inner: Inner) -> Outcome:
        if fault.args["applied"]:
            inner()
        return Outcome({"error": [fault.args.get("error", error)]})

    return act


def _throttling(fault: Fault, _plan: FaultPlan, _target: FaultTarget, now: int, _inner: Inner) -> Outcome:
    return Outcome({"error": [f"EService:Throttled: {int(now / NS + fault.args['seconds'])}"]})


def _poisoning(fault: Fault, _plan: FaultPlan, target: FaultTarget, _now: int, _inner: Inner) -> Outcome:
    if target.key is not None:
        target.key.nonce += fault.args["ahead"]
    return Outcome({"error": ["EAPI:Invalid nonce"]})


def _waiting(fault: Fault) -> float:
    return max(0.0, float(fault.args["seconds"]) + fault.chance.uniform(-1, 1) * float(fault.args.get("jitter", 0.0)))


# ---- orders --------------------------------------------------------------------------------------------------------------


def _mentioned(target: FaultTarget, plan: FaultPlan) -> list[PlacedOrder]:
    """Return the working orders that a cancel names."""
    return plan.mentioned(target.endpoint, target.key, target.given) if target.key is not None else []


def _cancels(target: FaultTarget, plan: FaultPlan, _fault: Fault, _now: int) -> bool:
    return bool(_mentioned(target, plan))


def _private(target: FaultTarget, _plan: FaultPlan, _fault: Fault, _now: int) -> bool:
    return target.key is not None


def _locked(target: FaultTarget, plan: FaultPlan, fault: Fault, now: int) -> bool:
    """Tell whether a key made so many bad requests since the fault was set; from then on it is locked out for so long."""
    if target.key is None:
        return False
    name = target.key.id
    if plan.bad.get(name, 0) - fault.memory["bad"].get(name, 0) >= fault.args["after"]:
        until = fault.memory.setdefault(("until", name), now + int(fault.args["seconds"] * NS))
        if now < until:
            return True
        if fault.args["after"]:
            # The next lock-out takes as many bad requests again.
            fault.memory["bad"][name] = plan.bad.get(name, 0)
            del fault.memory["until", name]
    return False


def _posting(target: FaultTarget, _plan: FaultPlan, _fault: Fault, _now: int) -> bool:
    return "post" in str(target.given.values.get("oflags"))


def _placed(found: Outcome, plan: FaultPlan) -> list[PlacedOrder]:
    """Return the orders that a call placed and that still work."""
    result = found.answer.get("result") if found.answer else None
    told = result if isinstance(result, dict) else {}
    names = told.get("txid", []) or [one.get("txid", "") for one in told.get("orders", []) if isinstance(one, dict)]
    names = [names] if isinstance(names, str) else names
    return [order for name in names if (order := plan.engine.orders.get(name)) is not None and order.state.working]


def fill_now(engine: MatchingEngine, order: PlacedOrder, part: Decimal, now: int, *, takes: bool = False) -> None:
    """Fill a part of a resting order's volume, or what is left where that is less.

    Args:
        part: of all its volume, 0 to 1.
        takes: it trades as taker, as if an offer at its price had been there; else the market takes it, and with it
            everything that is before it in the book.
    """
    queued, pair = order.resting, order.wish.pair
    if queued is None:
        return
    lots = min(max(int((order.volume * part).scaleb(pair.lot_decimals)), 1), queued.left)
    if takes and not order.wish.post_only:
        engine.give(order, lots, now)
        return
    ahead = 0
    for other in engine.listings[pair.symbol].book.side(buys=order.wish.buys).orders():
        if other is queued:
            break
        ahead += other.left + (other.hidden if other.price != queued.price else 0)
    engine.take(pair, Decimal(ahead + lots).scaleb(-pair.lot_decimals), now, buys=not order.wish.buys)


def _share(fault: Fault, order: PlacedOrder) -> Decimal:
    """Return what share of an order's volume is that part of what is left of it."""
    return Decimal(str(fault.args["part"])) * order.left / order.volume


def _lost(fault: Fault, plan: FaultPlan, target: FaultTarget, _now: int, _inner: Inner) -> Outcome:
    done = Outcome({"error": [], "result": {"count": len(_mentioned(target, plan))}})
    return done if fault.args["answered"] else done._replace(hold_s=fault.args["seconds"], cut="reset")


def _pending(fault: Fault, plan: FaultPlan, target: FaultTarget, now: int, _inner: Inner) -> Outcome:
    orders = _mentioned(target, plan)

    def cancel(then: int) -> None:
        for order in orders:
            if order.state.working:
                plan.engine.cancel(order, then)

    plan.later(now + int(fault.args["seconds"] * NS), cancel)
    return Outcome({"error": [], "result": {"count": len(orders), "pending": True}})


def _overtaken(fault: Fault, plan: FaultPlan, target: FaultTarget, now: int, inner: Inner) -> Outcome:
    for order in _mentioned(target, plan):
        fill_now(plan.engine, order, _share(fault, order), now)
    return inner()


def _lagging(fault: Fault, plan: FaultPlan, target: FaultTarget, now: int, inner: Inner) -> Outcome:
    held = [(order, order.held_in, order.held) for order in _mentioned(target, plan) if order.held]
    found, accounts = inner(), plan.engine.accounts
    # What another fault kept from being cancelled holds its money still, and what was filled has spent it.
    holds = [
        (order.account, asset, min(amount, accounts.by_name[order.account].free(asset)))
        for order, asset, amount in held
        if order.state is OrderStatus.CANCELED
    ]
    for hold in holds:
        accounts.hold(*hold)

    def let_go(_then: int) -> None:
        for hold in holds:
            accounts.let_go(*hold)

    plan.later(now + int(fault.args["seconds"] * NS), let_go)
    return found


def _slicing(fault: Fault, plan: FaultPlan, _target: FaultTarget, now: int, inner: Inner) -> Outcome:
    """Fill an order in parts of its volume; what is left then rests or is cancelled."""
    found, engine = inner(), plan.engine
    for order in _placed(found, plan):
        at = now
        for part, takes, delay in slices_of(fault.args["parts"]):
            at += int((fault.args["delay_s"] if delay is None else delay) * NS)

            def fill(then: int, order: PlacedOrder = order, part: Decimal = part, takes: bool = takes) -> None:  # noqa: FBT001 - bound early
                if order.left:
                    fill_now(engine, order, part, then, takes=takes)

            # Without a delay it is filled before its client has the answer, as an order is that trades at once.
            fill(now) if at <= now else plan.later(at, fill)
        if fault.args["rest"] == "cancel":
            plan.later(at + int(fault.args["delay_s"] * NS), _ending(plan, order, "User requested"))
    return found


def _ending(plan: FaultPlan, order: PlacedOrder, reason: str) -> Callable[[int], None]:
    def act(then: int) -> None:
        if order.state.working:
            plan.engine.cancel(order, then, reason)

    return act


def _refused_post(_fault: Fault, plan: FaultPlan, _target: FaultTarget, now: int, inner: Inner) -> Outcome:
    found = inner()
    for order in _placed(found, plan):
        plan.engine.cancel(order, now, "Post only order")
    return found


def _elapsing(fault: Fault, plan: FaultPlan, _target: FaultTarget, now: int, inner: Inner) -> Outcome:
    if fault.args["part"] > 0:
        for order in _placed(inner(), plan):
            fill_now(plan.engine, order, _share(fault, order), now)
            _ending(plan, order, "Deadline elapsed")(now)
    return Outcome({"error": ["EService:Deadline elapsed"]})


def _self_ending(fault: Fault, plan: FaultPlan, _target: FaultTarget, now: int, inner: Inner) -> Outcome:
    found = inner()
    for order in _placed(found, plan):
        plan.later(now + int(fault.args["seconds"] * NS), _ending(plan, order, fault.args["reason"]))
    return found


def _hiding(fault: Fault, _plan: FaultPlan, target: FaultTarget, now: int, inner: Inner) -> Outcome:
    """Leave out orders that were placed less than so long ago."""
    found = inner()
    if found.answer is None or "result" not in found.answer:
        return found
    result, since = found.answer["result"], now / NS - fault.args["seconds"]
    orders = result["open"] if target.endpoint == "OpenOrders" else result
    shown = {name: order for name, order in orders.items() if order["opentm"] <= since}
    if target.endpoint == "OpenOrders":
        return found._replace(answer={"error": [], "result": {**result, "open": shown}})
    return found._replace(answer={"error": [], "result": shown} if shown else {"error": ["EOrder:Invalid order"]})


def _first_shown(target: FaultTarget, _plan: FaultPlan, _fault: Fault, _now: int) -> bool:
    return not target.message or target.message.get("type") == "snapshot"


def _hiding_message(fault: Fault, plan: FaultPlan, target: FaultTarget, message: Json, _late: list[Json]) -> list[Json]:
    """Leave young orders out of what a stream shows first."""
    since = target.at - int(fault.args["seconds"] * NS)
    orders = ((plan.engine.orders.get(one["order_id"]), one) for one in message["data"])
    return [message | {"data": [one for order, one in orders if order is None or order.opened <= since]}]


def _validating(target: FaultTarget, _plan: FaultPlan, _fault: Fault, _now: int) -> bool:
    return target.key is not None and str(target.given.values.get("validate")).strip().lower() in ("true", "1")


def _executing(fault: Fault, plan: FaultPlan, target: FaultTarget, now: int, inner: Inner) -> Outcome:
    """Place an order that was only to be looked at, and say so or not."""
    found = inner()
    if found.answer is None or found.error or target.key is None:
        return found
    pair = target.given.pair()
    try:
        wish = wish_of(target.given, pair, now, plan.engine.listings[pair.symbol].last)
        order = plan.engine.add(target.key.account, wish, now)
    except Rejection as refused:
        return found._replace(answer={"error": [str(refused)]})
    told = {"txid": [order.id]} if fault.args["told"] else {}
    return found._replace(answer={"error": [], "result": {**found.answer["result"], **told}})


def _ghost_order(plan: FaultPlan, fault: Fault) -> Wish:
    args = fault.args
    pair = pair_of(fault.match.get("pair") or args["pair"] or next(iter(plan.engine.listings)))
    if pair is None or pair.symbol not in plan.engine.listings or args["account"] not in plan.engine.accounts.by_name:
        raise InputError(f"expected a listed pair and an account, found {args['pair']!r} and {args['account']!r}; correct them")
    try:
        price, volume = Decimal(args["price"]), Decimal(args["volume"])
        if not (0 <= price < 10**9 and 0 < volume < 10**9):
            raise InputError(f"expected a price from 0 on and a volume above it, found {price} and {volume}; correct them")
    except ArithmeticError as error:
        raise InputError(f"expected numbers, found price {args['price']!r}, volume {args['volume']!r}; correct them") from error
    kind = OrderType.LIMIT if price else OrderType.MARKET
    return Wish(pair=pair, buys=args["side"] == "buy", type=kind, volume=volume, price=price)


def _possible_ghost(plan: FaultPlan, fault: Fault) -> None:
    _ghost_order(plan, fault)


def _ghost(fault: Fault, plan: FaultPlan, now: int) -> None:
    """Place an order in an account that its client never sent."""
    try:
        plan.engine.add(fault.args["account"], _ghost_order(plan, fault), now)
    except (Rejection, ArithmeticError) as error:
        raise InputError(f"expected an order that the exchange takes, found {error}; give another volume or price") from error


# ---- market and data -----------------------------------------------------------------------------------------------------


def _mode(mode: ExchangeMode) -> Callable[..., Callable[[], None]]:
    def act(_fault: Fault, plan: FaultPlan, _now: int) -> Callable[[], None]:
        plan.engine.mode = mode

        def undo() -> None:
            # Another mode that is still set holds on; this one is out of the list already.
            others = [ExchangeMode(name) for name in (one.name.removeprefix("market.") for one in plan.faults) if name in MODES]
            plan.engine.mode = others[-1] if others else ExchangeMode.ONLINE

        return undo

    return act


def _symbol(fault: Fault) -> str:
    """Return the pair that a fault is for, empty for all."""
    pair = pair_of(fault.match.get("pair", ""))
    return pair.symbol if pair else ""


def _halt(fault: Fault, plan: FaultPlan, _now: int) -> Callable[[], None]:
    plan.halted[fault.number] = _symbol(fault)

    def undo() -> None:
        del plan.halted[fault.number]

    return undo


def _possible_jump(_plan: FaultPlan, fault: Fault) -> None:
    if not -99 <= fault.args["per_cent"] <= 9900:
        raise InputError(f"expected per_cent from -99 to 9900, found {fault.args['per_cent']}; correct it")


def _jump(fault: Fault, plan: FaultPlan, _now: int) -> None:
    wanted = _symbol(fault)
    plan.shocks += [(name, 1 + fault.args["per_cent"] / 100) for name in plan.engine.listings if wanted in ("", name)]


def _terms(plan: FaultPlan, fault: Fault) -> PairTerms:
    """Return what a pair's terms are to be; empty arguments leave it as it is."""
    args, wanted = fault.args, _symbol(fault)
    numbers: dict[str, Decimal | None] = {}
    for name in ("tick_size", "ordermin", "costmin"):
        try:
            numbers[name] = Decimal(args[name]) if args[name] else None
        except ArithmeticError as error:
            raise InputError(f"expected {name} to be a number, found {args[name]!r}; correct it") from error
        value = numbers[name]
        if value is not None and not (value.is_finite() and 0 < value < 10**9):
            raise InputError(f"expected {name} to be above 0, found {args[name]!r}; correct it")
    tick = numbers["tick_size"]
    ticks = [listing.pair.tick for name, listing in plan.engine.listings.items() if wanted in ("", name)]
    if tick is not None and any(tick % own for own in ticks):
        raise InputError(f"expected tick_size to be a multiple of {max(ticks)}, found {tick}; correct it")
    if args["status"] and args["status"] not in STATUSES:
        raise InputError(f"expected status to be one of {', '.join(STATUSES)}, found {args['status']!r}; choose one")
    return PairTerms(tick, numbers["ordermin"], numbers["costmin"], args["status"])


def _possible_terms(plan: FaultPlan, fault: Fault) -> None:
    _terms(plan, fault)


def _change_pair(fault: Fault, plan: FaultPlan, _now: int) -> Callable[[], None]:
    """Let pairs have other terms; where several faults change a pair, the latest that is set holds."""
    names = [name for name in plan.engine.listings if _symbol(fault) in ("", name)]
    plan.engine.terms |= dict.fromkeys(names, _terms(plan, fault))

    def undo() -> None:
        for name in names:
            plan.engine.terms.pop(name, None)
            for other in plan.faults:
                if other.name == fault.name and _symbol(other) in ("", name):
                    plan.engine.terms[name] = _terms(plan, other)

    return undo


def _on_result(change: Callable[[Fault, Any, FaultTarget], Any]) -> Callable[..., Outcome]:
    """Return an act that changes the result of an answer which is none of an error."""

    def act(fault: Fault, _plan: FaultPlan, target: FaultTarget, _now: int, inner: Inner) -> Outcome:
        found = inner()
        if found.answer is None or "result" not in found.answer:
            return found
        return found._replace(answer={"error": [], "result": change(fault, copy.deepcopy(found.answer["result"]), target)})

    return act


def _on_data(change: Callable[[Fault, Json], None]) -> Callable[..., list[Json]]:
    def act(fault: Fault, _plan: FaultPlan, _target: FaultTarget, message: Json, _late: list[Json]) -> list[Json]:
        message = copy.deepcopy(message)
        for one in message.get("data", []):
            change(fault, one)
        return [message]

    return act


def _for(fault: Fault, name: str) -> bool:
    """Tell whether an entry of an answer, under one of a pair's names, is of the pair that a fault is for."""
    wanted, pair = _symbol(fault), pair_of(name)
    return not wanted or (pair is not None and pair.symbol == wanted)


def _wide(fault: Fault, bid: Decimal, ask: Decimal) -> tuple[Decimal, Decimal]:
    middle, half = (bid + ask) / 2, (ask - bid) / 2 * Decimal(str(fault.args["factor"]))
    return max(middle - half, Decimal(0)).quantize(bid), (middle + half).quantize(ask)


def _crossed(_fault: Fault, bid: Decimal, ask: Decimal) -> tuple[Decimal, Decimal]:
    return ask, bid


def _quoting(change: Callable[[Fault, Decimal, Decimal], tuple[Decimal, Decimal]]) -> tuple[Any, Any]:
    """Return what changes best bid and ask in Ticker's and Depth's answers, and in messages of the ticker."""

    def result(fault: Fault, found: Any, target: FaultTarget) -> Any:
        for name, one in found.items():
            if not _for(fault, name):
                continue
            first = (one["b"], one["a"]) if target.endpoint == "Ticker" else (one["bids"][:1], one["asks"][:1])
            bid, ask = (
                first if target.endpoint == "Ticker" else (first[0][0] if first[0] else [], first[1][0] if first[1] else [])
            )
            if bid and ask:
                bid[0], ask[0] = (str(price) for price in change(fault, Decimal(bid[0]), Decimal(ask[0])))
        return found

    def data(fault: Fault, one: Json) -> None:
        one["bid"], one["ask"] = change(fault, one["bid"], one["ask"])

    return _on_result(result), _on_data(data)


def _frozen(fault: Fault, found: Any, _target: FaultTarget) -> Any:
    return {name: fault.memory.setdefault(("rest", name), one) if _for(fault, name) else one for name, one in found.items()}


def _frozen_data(fault: Fault, one: Json) -> None:
    kept = fault.memory.setdefault(("stream", one["symbol"]), dict(one))
    one.update({name: value for name, value in kept.items() if name != "timestamp"})


def _changed_pairs(fault: Fault, found: Any, _target: FaultTarget) -> Any:
    if fault.args["status"] == "delisted":
        return {name: one for name, one in found.items() if not _for(fault, name)}
    for name, one in found.items():
        if _for(fault, name):
            one.update({what: value for what, value in fault.args.items() if value and what in one})
    return found


def _candles(mode: str) -> Callable[[Fault, Any, FaultTarget], Any]:
    def change(fault: Fault, found: Any, _target: FaultTarget) -> Any:
        rows: list[Any] = next(value for name, value in found.items() if name != "last")
        for _ in range(fault.args.get("rows", 1) if len(rows) > 3 else 0):
            at = fault.chance.randrange(1, max(len(rows) - 2, 2))
            if mode == "hole" and len(rows) > 3:
                del rows[at]
            elif mode == "duplicate":
                rows.insert(at, list(rows[at]))
            elif mode == "reorder":
                rows[at], rows[at + 1] = rows[at + 1], rows[at]
        if mode == "revised" and rows:
            last = rows[-1]
            close = Decimal(last[4])
            close = (close * (1 + Decimal(str(fault.args["per_cent"])) / 100)).quantize(close)
            last[4], last[2], last[3] = str(close), str(max(close, Decimal(last[2]))), str(min(close, Decimal(last[3])))
        return found

    return change


def _candle_data(mode: str) -> Callable[..., list[Json]]:
    """Return the same for a stream's snapshot of candles, which has names where REST has places."""
    names = ("interval_begin", "open", "high", "low", "close")

    def act(fault: Fault, _plan: FaultPlan, target: FaultTarget, message: Json, _late: list[Json]) -> list[Json]:
        rows: list[Any] = [[one[name] for name in names] + [one] for one in message["data"]]
        changed = _candles(mode)(fault, {"rows": rows}, target)["rows"]
        told = [row[-1] | {name: Decimal(row[place]) for place, name in enumerate(names) if place} for row in changed]
        return [message | {"data": told}]

    return act


def _skewed(fault: Fault, found: Any, target: FaultTarget) -> Any:
    if target.endpoint == "SystemStatus":
        return found | {"timestamp": moved_time(found["timestamp"], fault.args["seconds"])}
    at = found["unixtime"] + int(fault.args["seconds"])
    moment = format_datetime(datetime.fromtimestamp(at, UTC), usegmt=True).replace("GMT", "+0000")
    return {"unixtime": at, "rfc1123": moment}


def _possible_skew(_plan: FaultPlan, fault: Fault) -> None:
    if not -(10**8) <= fault.args["seconds"] <= 10**8:
        raise InputError(f"expected seconds from -1e8 to 1e8, found {fault.args['seconds']:g}; correct it")


def _dated(target: FaultTarget, _plan: FaultPlan, _fault: Fault, _now: int) -> bool:
    return not target.message or "time_in" in target.message


def _skewed_message(fault: Fault, _plan: FaultPlan, _target: FaultTarget, message: Json, _late: list[Json]) -> list[Json]:
    """Date an answer of a stream wrong."""
    moved = {name: moved_time(message[name], fault.args["seconds"]) for name in ("time_in", "time_out") if name in message}
    return [message | moved]


# ---- streams -------------------------------------------------------------------------------------------------------------


def _nothing(_fault: Fault, _plan: FaultPlan, _target: FaultTarget, _message: Json, _late: list[Json]) -> list[Json]:
    return []


def _twice(_fault: Fault, _plan: FaultPlan, _target: FaultTarget, message: Json, _late: list[Json]) -> list[Json]:
    return [message, message]


def _afterwards(_fault: Fault, _plan: FaultPlan, _target: FaultTarget, message: Json, late: list[Json]) -> list[Json]:
    late.append(message)
    return []


def _updating(target: FaultTarget, _plan: FaultPlan, fault: Fault, _now: int) -> bool:
    """Tell whether a mode makes sense for a message: a book whose snapshot never came would not be a corrupt one."""
    return target.message.get("type") == "update" or fault.args["mode"] in ("checksum", "thin", "zeros", "deep")


def _corrupt(fault: Fault, plan: FaultPlan, target: FaultTarget, message: Json, late: list[Json]) -> list[Json]:
    mode = fault.args["mode"]
    if mode in ("drop", "reorder", "repeat"):
        return {"drop": _nothing, "reorder": _afterwards, "repeat": _twice}[mode](fault, plan, target, message, late)
    message, pair = copy.deepcopy(message), target.pairs[0]
    (one,) = message["data"]
    if mode == "zeros":
        for level in (*one["asks"], *one["bids"]):
            level["qty"] = level["qty"].normalize()
    elif mode == "thin":
        # Right by itself, as of a market with few orders; the whole book follows.
        return [message | {"type": "snapshot", "data": [_book(plan, pair, 3, one)]}, _book_again(plan, target, message)]
    elif mode == "snapshot":
        return [_book_again(plan, target, message)]
    elif mode == "deep":
        deep = _book(plan, pair, 1000, one)
        for side in ("asks", "bids"):
            one[side] += deep[side][target.depth :]
    else:
        one["checksum"] ^= 1
    return [message]


def _book(plan: FaultPlan, pair: Pair, depth: int, one: Json) -> Json:
    """Return a book of so many levels instead of what a message tells of it, with a checksum of its own."""
    book = plan.engine.listings[pair.symbol].book
    sides = {
        name: [level_document(level, pair) for level in book.side(buys=name == "bids").levels(depth)]
        for name in ("asks", "bids")
    }
    return one | sides | {"checksum": book.checksum(min(depth, 10))}


def _book_again(plan: FaultPlan, target: FaultTarget, message: Json) -> Json:
    (one,) = message["data"]
    return message | {"type": "snapshot", "data": [_book(plan, target.pairs[0], target.depth, one)]}


def _sparse(_fault: Fault, _plan: FaultPlan, _target: FaultTarget, message: Json, _late: list[Json]) -> list[Json]:
    """Leave only what changes from one report of an order to the next."""
    kept = {"order_id", "exec_type", "order_status", "timestamp", "cum_qty", "cum_cost", "avg_price", "exec_id", "trade_id"}
    kept |= {"last_qty", "last_price", "cost", "liquidity_ind", "fees", "reason", "ratecount"}
    if message.get("type") == "snapshot":
        return [message]
    data = [
        one if one["exec_type"] == "pending_new" else {name: value for name, value in one.items() if name in kept}
        for one in message["data"]
    ]
    return [message | {"data": data}]


def _formed(target: FaultTarget, _plan: FaultPlan, fault: Fault, _now: int) -> bool:
    # A report that is not written yet can be merged with the next; one that is can be thinned out.
    return bool(fault.args["form"] == "sparse") is bool(target.message)


def _worked_off(target: FaultTarget, _plan: FaultPlan, fault: Fault, _now: int) -> bool:
    return target.queue > int(fault.args["queue"])


def _code(fault: Fault) -> int:
    return int(fault.args["code"])


def _status(fault: Fault) -> int:
    return int(fault.args["status"])


def _worded(fault: Fault) -> str:
    return str(fault.args.get("error", ""))


def _fire_timers(fault: Fault, plan: FaultPlan, now: int) -> None:
    wanted = {key.account for key in plan.keys.values() if fault.match.get("key") in (None, key.name, key.id)}
    for account in plan.engine.timers:
        if "key" not in fault.match or account in wanted:
            plan.engine.timers[account] = now


# ---- the table -----------------------------------------------------------------------------------------------------------

_AT = FaultPlace
_TICKER: Any = {"endpoints": ("Ticker", "Depth"), "channels": ("ticker",), "lasts_s": 0.0}
_CANCEL: Any = {"endpoints": CANCELS, "when": _cancels}
_STAYS: Any = {"lasts_s": 0.0, "stays": True}


def _error(text: str, summary: str, **more: Any) -> FaultKind:
    return FaultKind(_AT.CALL, _refusing(text), summary, {"applied": False}, fixed=False, **more)


def _quotes(change: Any, summary: str, args: Json) -> FaultKind:
    result, data = _quoting(change)
    return FaultKind(_AT.CALL, result, summary, args, more={_AT.MESSAGE: data}, **_TICKER)


_REST = {
    "rest.timeout_before": FaultKind(_AT.CALL, _silence(applied=False), "no answer; never applied", {"seconds": 30.0}),
    "rest.timeout_after": FaultKind(_AT.CALL, _silence(applied=True), "applied; no answer", {"seconds": 30.0}),
    "rest.reset_before": FaultKind(_AT.CALL, _silence(applied=False), "connection reset; never applied"),
    "rest.reset_after": FaultKind(
        _AT.CALL, _silence(applied=True), "applied; reset, or a truncated body (cut=truncated)", {"cut": "reset"}
    ),
    "rest.http_5xx_before": FaultKind(_AT.CALL, _failing(applied=False), "a page of Cloudflare's", {"status": 502}),
    "rest.http_5xx_after": FaultKind(_AT.CALL, _failing(applied=True), "applied; a page of Cloudflare's", {"status": 502}),
    "rest.html_200": FaultKind(
        _AT.CALL, _no_json, "status 200 and a body that is html, cut or empty", {"body": "html", "applied": True}
    ),
    "rest.captcha_403": FaultKind(_AT.CALL, _failing(applied=False), "a captcha", {"status": 403}, lasts_s=60.0),
    "rest.slow": FaultKind(
        _AT.WAIT, _waiting, "waits before it is looked at; answers of a stream stay in order", {"seconds": 1.0, "jitter": 0.0}
    ),
    "rest.deadline_elapsed": FaultKind(
        _AT.CALL, _elapsing, "the engine was late; part of it may be filled before", {"part": 0.0}, endpoints=ADDS
    ),
    "rest.service_unavailable": _error("EService:Unavailable", "unavailable"),
    "rest.service_busy": _error("EService:Busy", "busy"),
    "rest.service_timeout": _error("EService:Timeout", "timed out inside"),
    "rest.internal_error": _error("EGeneral:Internal error", "broken inside"),
    "rest.throttled": FaultKind(_AT.CALL, _throttling, "too many at once", {"seconds": 5.0}),
}
_AUTH = {
    "auth.invalid_nonce_once": _error("EAPI:Invalid nonce", "a nonce is refused", when=_private),
    "auth.invalid_nonce_storm": FaultKind(
        _AT.CALL, _poisoning, "nonces are refused; ahead raises the one stored", {"ahead": 0}, when=_private, lasts_s=0.0
    ),
    "auth.nonce_reorder": FaultKind(
        _AT.WAIT, _waiting, "a later call of the key overtakes", {"seconds": 0.3}, when=_private, overtaken=True
    ),
    "auth.lockout": FaultKind(
        _AT.CALL,
        _refusing("EGeneral:Temporary lockout"),
        "locked out for so long (seconds), each time the key made so many bad requests (after); 0: at once",
        {"applied": False, "after": 0, "seconds": 900.0},
        when=_locked,
        lasts_s=0.0,
    ),
    "auth.invalid_key": _error("EAPI:Invalid key", "the key is gone", when=_private, lasts_s=0.0),
    "auth.invalid_signature": _error("EAPI:Invalid signature", "signatures are refused", when=_private),
    "auth.permission_denied": _error("EGeneral:Permission denied", "orders are refused", endpoints=ADDS, lasts_s=0.0),
}
_LIMIT = {
    "limit.rest_counter": _error("EAPI:Rate limit exceeded", "the call counter is full", when=_private),
    "limit.engine_counter": _error("EOrder:Rate limit exceeded", "the engine's counter is full", endpoints=ADDS + CANCELS),
    "limit.open_orders": _error("EOrder:Orders limit exceeded", "too many orders", endpoints=("AddOrder", "AddOrderBatch")),
    "limit.connections": FaultKind(
        _AT.CONNECT, _status, "no connection opens, as after too many attempts", {"status": 429}, lasts_s=600.0
    ),
}
_ORDER = {
    "order.insufficient_funds_lag": FaultKind(_AT.CALL, _lagging, "holds stay after a cancel", {"seconds": 5.0}, **_CANCEL),
    "order.insufficient_funds": _error("EOrder:Insufficient funds", "too little money", endpoints=ADDS),
    "order.partial_fill": FaultKind(
        _AT.CALL,
        _slicing,
        "filled in parts of its volume, maker (m) or taker (t), each seconds (@) after the one before or `delay_s`; "
        "what is left rests (stay) or is cancelled (cancel)",
        {"parts": "0.3,0.3", "delay_s": 1.0, "rest": "stay"},
        endpoints=("AddOrder", "AddOrderBatch"),
    ),
    "order.fill_during_cancel": FaultKind(_AT.CALL, _overtaken, "filled before its cancel", {"part": 1.0}, **_CANCEL),
    "order.cancel_lost": FaultKind(
        _AT.CALL, _lost, "never done, but answered or not", {"answered": True, "seconds": 30.0}, **_CANCEL
    ),
    "order.cancel_pending": FaultKind(_AT.CALL, _pending, "answered as pending, done later", {"seconds": 2.0}, **_CANCEL),
    "order.post_only_reject": FaultKind(
        _AT.CALL, _refused_post, "cancelled as it would take", endpoints=("AddOrder",), when=_posting
    ),
    "order.self_expire": FaultKind(
        _AT.CALL,
        _self_ending,
        "cancelled by the exchange later",
        {"seconds": 2.0, "reason": "Order expired"},
        endpoints=("AddOrder",),
    ),
    "order.validate_executes": FaultKind(
        _AT.CALL,
        _executing,
        "an order with validate=true is executed, and the answer names it or not",
        {"told": True},
        endpoints=("AddOrder",),
        when=_validating,
    ),
    "order.cl_ord_id_dup": _error("EGeneral:Invalid arguments:cl_ord_id not unique", "name taken", endpoints=("AddOrder",)),
    "order.ghost": FaultKind(
        _AT.STATE,
        _ghost,
        "an order that the client never sent; at the market without a price, of the first pair without one",
        {"account": "client", "pair": "", "side": "buy", "volume": "0.01", "price": "0"},
        about=("pair",),
        check=_possible_ghost,
    ),
    "order.late_visibility": FaultKind(
        _AT.CALL,
        _hiding,
        "young orders are not shown, nor in a stream's first report",
        {"seconds": 3.0},
        ("OpenOrders", "QueryOrders"),
        ("executions",),
        lasts_s=0.0,
        when=_first_shown,
        more={_AT.MESSAGE: _hiding_message},
    ),
    "order.reject_min": _error("EGeneral:Invalid arguments:volume minimum not met", "too small", endpoints=("AddOrder",)),
    "order.reject_tick": _error("EOrder:Tick size check failed", "off the tick", endpoints=ADDS),
    "order.reject_cost": _error("EOrder:Cost minimum not met", "worth too little", endpoints=("AddOrder",)),
}
_MARKET = {
    f"market.{mode.value}": FaultKind(_AT.STATE, _mode(mode), f"the exchange is in {mode.value} mode", **_STAYS)
    for mode in ExchangeMode
    if mode.value in MODES
} | {
    "market.gap": FaultKind(_AT.STATE, _jump, "the price jumps", {"per_cent": -10.0}, about=("pair",), check=_possible_jump),
    "market.flash": _quotes(_wide, "a spread so many times as wide", {"factor": 50.0}),
    "market.crossed": _quotes(_crossed, "bid and ask change places", {}),
    "market.halt": FaultKind(_AT.STATE, _halt, "the market stands still", about=("pair",), **_STAYS),
    "market.stale": FaultKind(
        _AT.CALL,
        _on_result(_frozen),
        "a ticker that does not move, with fresh times",
        endpoints=("Ticker",),
        channels=("ticker",),
        lasts_s=0.0,
        more={_AT.MESSAGE: _on_data(_frozen_data)},
    ),
    "market.pair_change": FaultKind(
        _AT.STATE,
        _change_pair,
        "pairs have other steps, minimums or states, as told by AssetPairs and `instrument`, and kept by the engine",
        {"tick_size": "", "ordermin": "", "costmin": "", "status": ""},
        endpoints=("AssetPairs",),
        more={_AT.CALL: _on_result(_changed_pairs)},
        about=("pair",),
        check=_possible_terms,
        **_STAYS,
    ),
}


def _candle_fault(mode: str, summary: str, args: Json) -> FaultKind:
    return FaultKind(
        _AT.CALL,
        _on_result(_candles(mode)),
        f"{summary}, over REST or in a stream's snapshot",
        args,
        endpoints=("OHLC",),
        channels=("ohlc",),
        when=_first_shown,
        more={_AT.MESSAGE: _candle_data(mode)},
    )


_DATA = {
    "data.ohlc_hole": _candle_fault("hole", "rows are missing", {"rows": 1}),
    "data.ohlc_duplicate": _candle_fault("duplicate", "rows repeat", {"rows": 1}),
    "data.ohlc_reorder": _candle_fault("reorder", "rows change places", {"rows": 1}),
    "data.revised_last": _candle_fault("revised", "the running candle is another", {"per_cent": 5.0}),
    "data.clock_skew": FaultKind(
        _AT.CALL,
        _on_result(_skewed),
        "Time, SystemStatus and the times of a stream's answers are off",
        {"seconds": 30.0},
        endpoints=("Time", "SystemStatus"),
        lasts_s=0.0,
        when=_dated,
        more={_AT.MESSAGE: _skewed_message},
        signed=True,
        check=_possible_skew,
    ),
}
_EXECUTIONS: Any = {"channels": ("executions",)}
_SUBSCRIBE: Any = {"when": lambda target, _plan, _fault, _now: target.method == "subscribe"}
_WS = {
    "ws.drop": FaultKind(_AT.SOCKET, _code, "connections end: 1006 without a word, else with a code", {"code": 1006}),
    "ws.drop_storm": FaultKind(
        _AT.CONNECT,
        _status,
        "connections end and none opens",
        {"status": 429, "code": 1006},
        lasts_s=30.0,
        more={_AT.SOCKET: _code},
    ),
    "ws.silent": FaultKind(
        _AT.MESSAGE, _nothing, "open, but nothing is sent, no pong of any kind, and nothing read", lasts_s=0.0
    ),
    "ws.half_open": FaultKind(_AT.MESSAGE, _nothing, "one channel is frozen", channels=("book",), lasts_s=0.0, fixed=False),
    "ws.book_corrupt": FaultKind(
        _AT.MESSAGE,
        _corrupt,
        "mode: wrong checksum, update dropped (drop), reorder, repeat, snapshot again, thin snapshot and then the whole, "
        "deep (levels beyond the depth), or zeros (no trailing ones)",
        {"mode": "checksum"},
        channels=("book",),
        when=_updating,
    ),
    "ws.exec_gap": FaultKind(_AT.MESSAGE, _nothing, "a sequence number is missing", **_EXECUTIONS),
    "ws.exec_dup": FaultKind(_AT.MESSAGE, _twice, "a message comes twice", **_EXECUTIONS),
    "ws.exec_reorder": FaultKind(_AT.MESSAGE, _afterwards, "two messages change places", **_EXECUTIONS),
    "ws.exec_sparse": FaultKind(
        _AT.MESSAGE,
        _sparse,
        "only what changed is told (sparse), or an order's last trade and its end in one message (merged)",
        {"form": "sparse"},
        lasts_s=0.0,
        when=_formed,
        more={_AT.REPORT: _sparse},
        **_EXECUTIONS,
    ),
    "ws.token_invalid": FaultKind(
        _AT.REQUEST,
        _worded,
        "a token is refused",
        {"error": "ESession:Invalid session"},
        channels=("executions", "balances"),
        **_SUBSCRIBE,
    ),
    "ws.sub_reject": FaultKind(
        _AT.REQUEST, _worded, "a subscription is refused", {"error": "EGeneral:Internal error"}, **_SUBSCRIBE
    ),
    "ws.sub_no_ack": FaultKind(_AT.REQUEST, _worded, "a subscription is not answered", **_SUBSCRIBE),
    "ws.slow_consumer": FaultKind(
        _AT.SOCKET,
        _code,
        "connections end for which more than so many messages wait",
        {"queue": 0, "code": 1008},
        when=_worked_off,
    ),
}
_TIMER = ("CancelAllOrdersAfter",)
CATALOGUE: dict[str, FaultKind] = {
    **_REST,
    **_AUTH,
    **_LIMIT,
    **_ORDER,
    **_MARKET,
    **_DATA,
    **_WS,
    "dms.expire": FaultKind(_AT.STATE, _fire_timers, "every dead man's switch that is armed fires", about=("key",)),
    "dms.refused": _error("EService:Unavailable", "arming is refused", endpoints=_TIMER, lasts_s=0.0),
}
