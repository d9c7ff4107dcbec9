"""The faults by name: where each strikes and what it does there. Pure: acts change answers, messages or the engine.

An act around a call is given the fault, the plan, the target, the time, and what would happen without it; one on a message the
fault, the message and its connection's late messages. Holds and waits last by the wall clock, all else by the exchange's.
"""

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

from peak_trade.emulator.counters import NS
from peak_trade.emulator.exchange import ExchangeMode, MatchingEngine
from peak_trade.emulator.faults import Fault, FaultKind, FaultPlace, FaultPlan, FaultTarget, Outcome
from peak_trade.emulator.orders import OrderType, PlacedOrder, Rejection, Wish
from peak_trade.emulator.pairs import pair_of
from peak_trade.model.errors import InputError

Json = dict[str, Any]
Inner = Callable[[], Outcome]
ADDS = ("AddOrder", "AddOrderBatch", "AmendOrder", "EditOrder")
CANCELS = ("CancelOrder", "CancelOrderBatch", "CancelAll")
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
    if target.key is None:
        return []
    mine = list(plan.engine.working[target.key.account].values())
    if target.endpoint == "CancelAll":
        return mine
    try:
        name, client = target.given.text("txid"), target.given.text("cl_ord_id")
    except Rejection:
        return []
    return [
        order
        for order in mine
        if (name and name in (order.id, str(order.wish.userref or "-"))) or (client and order.wish.cl_ord_id == client)
    ]


def _cancels(target: FaultTarget, plan: FaultPlan, _fault: Fault) -> bool:
    return bool(_mentioned(target, plan))


def _private(target: FaultTarget, _plan: FaultPlan, _fault: Fault) -> bool:
    return target.key is not None


def _locked(target: FaultTarget, plan: FaultPlan, fault: Fault) -> bool:
    return target.key is not None and plan.bad.get(target.key.id, 0) >= fault.args["after"]


def _posting(target: FaultTarget, _plan: FaultPlan, _fault: Fault) -> bool:
    return "post" in str(target.given.values.get("oflags"))


def _placed(found: Outcome, plan: FaultPlan) -> list[PlacedOrder]:
    """Return the orders that a call placed and that still work."""
    result = found.answer.get("result") if found.answer else None
    names = result.get("txid", []) if isinstance(result, dict) else []
    names = [names] if isinstance(names, str) else names
    return [order for name in names if (order := plan.engine.orders.get(name)) is not None and order.state.working]


def fill_now(engine: MatchingEngine, order: PlacedOrder, part: float, now: int) -> None:
    """Let the market take a part of what is left of a resting order, and with it everything that is before it in the book."""
    queued, pair = order.resting, order.wish.pair
    if queued is None:
        return
    ahead = 0
    for other in engine.listings[pair.symbol].book.side(buys=order.wish.buys).orders():
        if other is queued:
            break
        ahead += other.left
    lots = min(max(int(queued.left * part), 1), queued.left)
    engine.take(pair, Decimal(ahead + lots).scaleb(-pair.lot_decimals), now, buys=not order.wish.buys)


def _lost(_fault: Fault, plan: FaultPlan, target: FaultTarget, _now: int, _inner: Inner) -> Outcome:
    return Outcome({"error": [], "result": {"count": len(_mentioned(target, plan))}})


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
        fill_now(plan.engine, order, fault.args["part"], now)
    return inner()


def _lagging(fault: Fault, plan: FaultPlan, target: FaultTarget, now: int, inner: Inner) -> Outcome:
    holds = [(order.account, order.held_in, order.held) for order in _mentioned(target, plan) if order.held]
    found = inner()
    if found.error:
        return found
    accounts = plan.engine.accounts
    for hold in holds:
        accounts.hold(*hold)

    def let_go(_then: int) -> None:
        for hold in holds:
            accounts.let_go(*hold)

    plan.later(now + int(fault.args["seconds"] * NS), let_go)
    return found


def _slicing(fault: Fault, plan: FaultPlan, _target: FaultTarget, now: int, inner: Inner) -> Outcome:
    """Fill an order in parts of its volume; what is left then rests or is cancelled."""
    found = inner()
    parts = [float(one) for one in fault.args["parts"].split(",")]
    for order in _placed(found, plan):
        for number, part in enumerate(parts, 1):
            at = now + int(number * fault.args["delay_s"] * NS)

            def fill(then: int, order: PlacedOrder = order, part: float = part) -> None:
                if order.left:
                    fill_now(plan.engine, order, part * float(order.volume / order.left), then)

            plan.later(at, fill)
        if fault.args["rest"] == "cancel":
            plan.later(now + int((len(parts) + 1) * fault.args["delay_s"] * NS), _ending(plan, order, "User requested"))
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
            fill_now(plan.engine, order, fault.args["part"], now)
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
    if found.answer is None or found.error:
        return found
    result, since = found.answer["result"], now / NS - fault.args["seconds"]
    orders = result["open"] if target.endpoint == "OpenOrders" else result
    shown = {name: order for name, order in orders.items() if order["opentm"] <= since}
    if target.endpoint == "OpenOrders":
        return found._replace(answer={"error": [], "result": {**result, "open": shown}})
    return found._replace(answer={"error": [], "result": shown} if shown else {"error": ["EOrder:Invalid order"]})


def _ghost(fault: Fault, plan: FaultPlan, now: int) -> None:
    """Place an order in an account that its client never sent."""
    args, pair = fault.args, pair_of(fault.match.get("pair", fault.args["pair"]))
    if pair is None or pair.symbol not in plan.engine.listings or args["account"] not in plan.engine.accounts.by_name:
        raise InputError(f"expected a listed pair and an account, found {args['pair']!r} and {args['account']!r}; correct them")
    try:
        price, volume = Decimal(args["price"]), Decimal(args["volume"])
        kind = OrderType.LIMIT if price else OrderType.MARKET
        wish = Wish(pair=pair, buys=args["side"] == "buy", type=kind, volume=volume, price=price)
        plan.engine.add(args["account"], wish, now)
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


def _halt(fault: Fault, plan: FaultPlan, _now: int) -> Callable[[], None]:
    name = str(fault.number)
    plan.halted.add(name)
    return lambda: plan.halted.discard(name)


def _jump(fault: Fault, plan: FaultPlan, _now: int) -> None:
    if not 0.01 <= (factor := 1 + fault.args["per_cent"] / 100) <= 100:
        raise InputError(f"expected per_cent from -99 to 9900, found {fault.args['per_cent']}; correct it")
    wanted = pair_of(fault.match["pair"]) if "pair" in fault.match else None
    plan.shocks += [(name, factor) for name in plan.engine.listings if wanted is None or name == wanted.symbol]


def _on_result(change: Callable[[Fault, Any, FaultTarget], Any]) -> Callable[..., Outcome]:
    """Return an act that changes the result of an answer which is none of an error."""

    def act(fault: Fault, _plan: FaultPlan, target: FaultTarget, _now: int, inner: Inner) -> Outcome:
        found = inner()
        if found.answer is None or found.error:
            return found
        return found._replace(answer={"error": [], "result": change(fault, copy.deepcopy(found.answer["result"]), target)})

    return act


def _on_data(change: Callable[[Fault, Json], None]) -> Callable[..., list[Json]]:
    def act(fault: Fault, message: Json, _late: list[Json]) -> list[Json]:
        message = copy.deepcopy(message)
        for one in message.get("data", []):
            change(fault, one)
        return [message]

    return act


def _wide(fault: Fault, bid: Decimal, ask: Decimal) -> tuple[Decimal, Decimal]:
    middle, half = (bid + ask) / 2, (ask - bid) / 2 * Decimal(str(fault.args["factor"]))
    return max(middle - half, Decimal(0)).quantize(bid), (middle + half).quantize(ask)


def _crossed(_fault: Fault, bid: Decimal, ask: Decimal) -> tuple[Decimal, Decimal]:
    return ask, bid


def _quoting(change: Callable[[Fault, Decimal, Decimal], tuple[Decimal, Decimal]]) -> tuple[Any, Any]:
    """Return what changes best bid and ask in Ticker's and Depth's answers, and in messages of the ticker."""

    def result(fault: Fault, found: Any, target: FaultTarget) -> Any:
        for one in found.values():
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
    return {name: fault.memory.setdefault(("rest", name), one) for name, one in found.items()}


def _frozen_data(fault: Fault, one: Json) -> None:
    kept = fault.memory.setdefault(("stream", one["symbol"]), dict(one))
    one.update({name: value for name, value in kept.items() if name != "timestamp"})


def _changed_pairs(fault: Fault, found: Any, _target: FaultTarget) -> Any:
    wanted = pair_of(fault.match["pair"]) if "pair" in fault.match else None
    for one in found.values():
        if wanted is None or one.get("altname") == wanted.altname:
            one.update({name: value for name, value in fault.args.items() if value})
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


def _skewed(fault: Fault, found: Any, _target: FaultTarget) -> Any:
    at = found["unixtime"] + int(fault.args["seconds"])
    moment = format_datetime(datetime.fromtimestamp(at, UTC), usegmt=True).replace("GMT", "+0000")
    return {"unixtime": at, "rfc1123": moment}


# ---- streams -------------------------------------------------------------------------------------------------------------


def _nothing(_fault: Fault, _message: Json, _late: list[Json]) -> list[Json]:
    return []


def _twice(_fault: Fault, message: Json, _late: list[Json]) -> list[Json]:
    return [message, message]


def _afterwards(_fault: Fault, message: Json, late: list[Json]) -> list[Json]:
    late.append(message)
    return []


def _corrupt(fault: Fault, message: Json, late: list[Json]) -> list[Json]:
    mode = fault.args["mode"]
    if mode in ("drop", "reorder", "repeat"):
        return {"drop": _nothing, "reorder": _afterwards, "repeat": _twice}[mode](fault, message, late)
    message = copy.deepcopy(message)
    for one in message["data"]:
        if mode == "zeros":
            for level in (*one["asks"], *one["bids"]):
                level["qty"] = level["qty"].normalize()
        elif mode == "thin":
            one["asks"], one["bids"] = one["asks"][:3], one["bids"][:3]
        else:
            one["checksum"] ^= 1
    return [message]


def _sparse(_fault: Fault, message: Json, _late: list[Json]) -> list[Json]:
    """Leave only what changes from one report of an order to the next."""
    kept = {"order_id", "exec_type", "order_status", "timestamp", "cum_qty", "cum_cost", "avg_price", "exec_id", "trade_id"}
    kept |= {"last_qty", "last_price", "cost", "liquidity_ind", "fees", "reason"}
    if message.get("type") == "snapshot":
        return [message]
    data = [
        one if one["exec_type"] == "pending_new" else {name: value for name, value in one.items() if name in kept}
        for one in message["data"]
    ]
    return [message | {"data": data}]


def _code(fault: Fault) -> int:
    return int(fault.args["code"])


def _status(fault: Fault) -> int:
    return int(fault.args["status"])


def _worded(fault: Fault) -> str:
    return str(fault.args["error"])


def _fire_timers(_fault: Fault, plan: FaultPlan, now: int) -> None:
    for account in plan.engine.timers:
        plan.engine.timers[account] = now


# ---- the table -----------------------------------------------------------------------------------------------------------

_AT = FaultPlace
_TICKER: Any = {"endpoints": ("Ticker", "Depth"), "channels": ("ticker",), "lasts_s": 0.0}
_CANCEL: Any = {"endpoints": ("CancelOrder", "CancelAll"), "when": _cancels}


def _error(text: str, summary: str, **more: Any) -> FaultKind:
    return FaultKind(_AT.CALL, _refusing(text), summary, {"applied": False}, **more)


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
    "rest.slow": FaultKind(_AT.WAIT, _waiting, "waits before it is looked at", {"seconds": 1.0, "jitter": 0.0}),
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
    "auth.nonce_reorder": FaultKind(_AT.WAIT, _waiting, "a later call of the key overtakes", {"seconds": 0.3}, when=_private),
    "auth.lockout": FaultKind(
        _AT.CALL,
        _refusing("EGeneral:Temporary lockout"),
        "locked out, once the key made so many bad requests (after)",
        {"applied": False, "after": 0},
        when=_locked,
        lasts_s=900.0,
    ),
    "auth.invalid_key": _error("EAPI:Invalid key", "the key is gone", when=_private, lasts_s=0.0),
    "auth.invalid_signature": _error("EAPI:Invalid signature", "signatures are refused", when=_private),
    "auth.permission_denied": _error("EGeneral:Permission denied", "orders are refused", endpoints=ADDS, lasts_s=0.0),
}
_LIMIT = {
    "limit.rest_counter": _error("EAPI:Rate limit exceeded", "the call counter is full", when=_private),
    "limit.engine_counter": _error("EOrder:Rate limit exceeded", "the engine's counter is full", endpoints=ADDS + CANCELS),
    "limit.open_orders": _error("EOrder:Orders limit exceeded", "too many orders", endpoints=("AddOrder", "AddOrderBatch")),
}
_ORDER = {
    "order.insufficient_funds_lag": FaultKind(_AT.CALL, _lagging, "holds stay after a cancel", {"seconds": 5.0}, **_CANCEL),
    "order.insufficient_funds": _error("EOrder:Insufficient funds", "too little money", endpoints=ADDS),
    "order.partial_fill": FaultKind(
        _AT.CALL,
        _slicing,
        "filled in parts of its volume; what is left rests (stay) or is cancelled (cancel)",
        {"parts": "0.3,0.3", "delay_s": 1.0, "rest": "stay"},
        endpoints=("AddOrder",),
    ),
    "order.fill_during_cancel": FaultKind(_AT.CALL, _overtaken, "filled before its cancel", {"part": 1.0}, **_CANCEL),
    "order.cancel_lost": FaultKind(_AT.CALL, _lost, "answered, never done", **_CANCEL),
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
    "order.cl_ord_id_dup": _error("EGeneral:Invalid arguments:cl_ord_id not unique", "name taken", endpoints=("AddOrder",)),
    "order.ghost": FaultKind(
        _AT.STATE,
        _ghost,
        "an order that the client never sent",
        {"account": "client", "pair": "BTC/EUR", "side": "buy", "volume": "0.01", "price": "0"},
    ),
    "order.late_visibility": FaultKind(
        _AT.CALL, _hiding, "young orders are not shown", {"seconds": 3.0}, ("OpenOrders", "QueryOrders"), lasts_s=0.0
    ),
    "order.reject_min": _error("EGeneral:Invalid arguments:volume minimum not met", "too small", endpoints=("AddOrder",)),
    "order.reject_tick": _error("EOrder:Tick size check failed", "off the tick", endpoints=ADDS),
    "order.reject_cost": _error("EOrder:Cost minimum not met", "worth too little", endpoints=("AddOrder",)),
}
_MARKET = {
    f"market.{mode.value}": FaultKind(_AT.STATE, _mode(mode), f"the exchange is in {mode.value} mode", lasts_s=0.0)
    for mode in ExchangeMode
    if mode.value in MODES
} | {
    "market.gap": FaultKind(_AT.STATE, _jump, "the price jumps", {"per_cent": -10.0}),
    "market.flash": _quotes(_wide, "a spread so many times as wide", {"factor": 50.0}),
    "market.crossed": _quotes(_crossed, "bid and ask change places", {}),
    "market.halt": FaultKind(_AT.STATE, _halt, "the market stands still", lasts_s=0.0),
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
        _AT.CALL,
        _on_result(_changed_pairs),
        "pairs have other steps or states",
        {"tick_size": "", "ordermin": "", "costmin": "", "status": ""},
        endpoints=("AssetPairs",),
        lasts_s=0.0,
    ),
}
_OHLC: Any = {"endpoints": ("OHLC",)}
_DATA = {
    "data.ohlc_hole": FaultKind(_AT.CALL, _on_result(_candles("hole")), "rows are missing", {"rows": 1}, **_OHLC),
    "data.ohlc_duplicate": FaultKind(_AT.CALL, _on_result(_candles("duplicate")), "rows repeat", {"rows": 1}, **_OHLC),
    "data.ohlc_reorder": FaultKind(_AT.CALL, _on_result(_candles("reorder")), "rows change places", {"rows": 1}, **_OHLC),
    "data.revised_last": FaultKind(
        _AT.CALL, _on_result(_candles("revised")), "the running candle is another", {"per_cent": 5.0}, **_OHLC
    ),
    "data.clock_skew": FaultKind(
        _AT.CALL, _on_result(_skewed), "Time is off", {"seconds": 30.0}, endpoints=("Time",), lasts_s=0.0
    ),
}
_EXECUTIONS: Any = {"channels": ("executions",)}
_SUBSCRIBE: Any = {"when": lambda target, _plan, _fault: target.method == "subscribe"}
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
    "ws.silent": FaultKind(_AT.MESSAGE, _nothing, "open, but nothing is sent", lasts_s=0.0),
    "ws.half_open": FaultKind(_AT.MESSAGE, _nothing, "one channel is frozen", channels=("book",), lasts_s=0.0),
    "ws.book_corrupt": FaultKind(
        _AT.MESSAGE,
        _corrupt,
        "mode: checksum, drop, reorder, repeat, thin or zeros (no trailing ones)",
        {"mode": "checksum"},
        channels=("book",),
    ),
    "ws.exec_gap": FaultKind(_AT.MESSAGE, _nothing, "a sequence number is missing", **_EXECUTIONS),
    "ws.exec_dup": FaultKind(_AT.MESSAGE, _twice, "a message comes twice", **_EXECUTIONS),
    "ws.exec_reorder": FaultKind(_AT.MESSAGE, _afterwards, "two messages change places", **_EXECUTIONS),
    "ws.exec_sparse": FaultKind(_AT.MESSAGE, _sparse, "only what changed is told", lasts_s=0.0, **_EXECUTIONS),
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
    "ws.sub_no_ack": FaultKind(_AT.REQUEST, _worded, "a subscription is not answered", {"error": ""}, **_SUBSCRIBE),
    "ws.slow_consumer": FaultKind(_AT.SOCKET, _code, "connections end as too slow", {"code": 1008}),
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
    "dms.expire": FaultKind(_AT.STATE, _fire_timers, "every dead man's switch that is armed fires"),
    "dms.refused": _error("EService:Unavailable", "arming is refused", endpoints=_TIMER, lasts_s=0.0),
}
