"""JSON as Kraken's WebSocket v2 writes it: keys in the order of the alphabet, decimals as numbers with all their digits."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from peak_trade.emulator.book import Level
from peak_trade.emulator.documents import rfc3339
from peak_trade.emulator.orders import ClientFill, Lasting, OrderStatus, OrderType, PlacedOrder
from peak_trade.emulator.pairs import ASSETS, Pair, PairTerms

Json = dict[str, Any]
_encode = msgspec.json.Encoder(order="sorted", decimal_format="number").encode
_STATES = {
    OrderStatus.CLOSED: "filled",
    OrderStatus.CANCELED: "canceled",
    OrderStatus.EXPIRED: "expired",
    OrderStatus.PENDING: "pending_new",
}


def text(message: Json) -> str:
    """Write a message; no number has an exponent, because checksums are of digits."""
    found = _encode(message)
    # An order's name may look like an exponent too; that costs a little time and changes nothing.
    return (_encode(_spelled(message)) if b"E-" in found or b"E+" in found else found).decode()


def _spelled(value: Any) -> Any:
    """Return what is to be written with every decimal as its digits."""
    if isinstance(value, Decimal):
        return msgspec.Raw(f"{value:f}".encode())
    if isinstance(value, dict):
        return {name: _spelled(one) for name, one in value.items()}
    return [_spelled(one) for one in value] if isinstance(value, list) else value


def price_of(ticks: int, pair: Pair) -> Decimal:
    """Return whole ticks as a price with the pair's digits."""
    return Decimal(ticks).scaleb(-pair.price_decimals)


def lots_of(lots: int, pair: Pair) -> Decimal:
    """Return whole lots as a quantity with the pair's digits."""
    return Decimal(lots).scaleb(-pair.lot_decimals)


def level_document(level: Level, pair: Pair) -> Json:
    """Return a level of the book."""
    return {"price": price_of(level.price, pair), "qty": lots_of(level.quantity, pair)}


def moved_time(text: str, seconds: float) -> str:
    """Return an RFC 3339 time, so many seconds later, in the same form."""
    moved = datetime.fromisoformat(text) + timedelta(seconds=seconds)
    return moved.isoformat(timespec="microseconds" if "." in text else "seconds").replace("+00:00", "Z")


def instrument_document(pairs: list[Pair], terms: Mapping[str, PairTerms]) -> Json:
    """Return assets and pairs as the instrument channel has them, with their terms of the moment."""
    names = {name for pair in pairs for name in (pair.base.name, pair.quote.name)}
    return {
        "assets": [
            {
                "id": asset.name,
                "status": "enabled",
                "precision": asset.decimals,
                "precision_display": asset.display,
                "borrowable": False,
                "collateral_value": 0.0,
                "margin_rate": 0.0,
            }
            for asset in ASSETS.values()
            if asset.name in names
        ],
        "pairs": [_pair_document(pair, terms.get(pair.symbol, PairTerms())) for pair in pairs],
    }


def _pair_document(pair: Pair, terms: PairTerms) -> Json:
    step = terms.tick or pair.tick
    return {
        "symbol": pair.symbol,
        "base": pair.base.name,
        "quote": pair.quote.name,
        "status": terms.status or "online",
        "qty_precision": pair.lot_decimals,
        "qty_increment": Decimal(1).scaleb(-pair.lot_decimals),
        "qty_min": terms.ordermin or pair.ordermin,
        "price_precision": pair.price_decimals,
        "price_increment": step,
        "tick_size": step,
        "cost_precision": pair.cost_decimals,
        "cost_min": terms.costmin or pair.costmin,
        "marginable": False,
        "has_index": False,
    }


def order_status(order: PlacedOrder) -> str:
    """Return an order's state in WebSocket v2's words."""
    if order.state is OrderStatus.OPEN:
        if order.wish.type.triggered and order.fired and not order.done:
            return "triggered"
        return "partially_filled" if order.done else "new"
    return _STATES[order.state]


def order_report(order: PlacedOrder, what: str, at: int) -> Json:
    """Return an order as the executions channel has it."""
    wish, pair = order.wish, order.wish.pair
    told: Json = {
        "avg_price": order.average.quantize(pair.tick) if order.done else Decimal(0),
        "cum_cost": order.cost,
        "cum_qty": order.done,
        "exec_type": what,
        "fee_ccy_pref": "fcib" if wish.fee_in_base else "fciq",
        "fee_usd_equiv": order.fee,
        "limit_price_type": "static",
        "order_id": order.id,
        "order_qty": order.volume,
        "order_status": order_status(order),
        "order_type": wish.type.value,
        "order_userref": wish.userref,
        "post_only": wish.post_only,
        "reduce_only": wish.reduce_only,
        "side": "buy" if wish.buys else "sell",
        "stop_price": order.stop,
        "symbol": pair.symbol,
        "time_in_force": wish.lasting.value,
        "timestamp": rfc3339(at),
    }
    if order.limit:
        told["limit_price"] = order.limit
    if wish.cl_ord_id:
        told["cl_ord_id"] = wish.cl_ord_id
    if order.reason and not order.state.working:
        told["reason"] = order.reason
    if wish.type.triggered:
        told["triggers"] = {"price": order.stop, "price_type": "static", "reference": wish.trigger, "status": _trigger(order)}
    if order.display:
        told["display_qty"] = order.display
        told["display_qty_remain"] = lots_of(order.resting.left, pair) if order.resting else Decimal(0)
    if wish.lasting is Lasting.GTD:
        told["expire_time"] = rfc3339(wish.expires)
    return told


def trade_report(found: ClientFill, at: int) -> Json:
    """Return a fill as the executions channel has it; the last one of an order may still say partially filled."""
    order = found.order
    told = order_report(order, "trade", at)
    told |= {
        "cost": found.cost,
        "exec_id": found.id,
        "fees": [{"asset": found.fee_in, "qty": found.fee}],
        "last_price": found.price,
        "last_qty": found.volume,
        "liquidity_ind": "m" if found.maker else "t",
        "order_status": "partially_filled",
        "trade_id": found.number,
    }
    if order.wish.type is OrderType.MARKET:
        told.pop("limit_price", None)
    return told


def _trigger(order: PlacedOrder) -> str:
    return "triggered" if order.fired else "untriggered"
