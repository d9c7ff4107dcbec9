"""How Kraken writes things in JSON: orders, trades, ledger lines, pairs; numbers as text with the pair's digits."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from peak_trade.emulator.orders import ClientFill, LedgerEntry, OrderStatus, OrderType, PlacedOrder
from peak_trade.emulator.pairs import ASSETS, FEES, Asset, Pair

NS = 1_000_000_000
Json = dict[str, Any]


def fixed(value: Decimal, digits: int) -> str:
    """Write a decimal with that many digits after the point."""
    return f"{value:.{digits}f}"


def seconds(at: int) -> float:
    """Return nanoseconds as seconds with a fraction, as times of orders are written."""
    return at / NS


def rfc3339(at: int, digits: int = 6) -> str:
    """Return nanoseconds as text such as `2026-11-23T08:00:00.123456Z`."""
    whole, rest = divmod(at, NS)
    stamp = datetime.fromtimestamp(whole, UTC)
    fraction = f".{rest:09d}"[: digits + 1] if digits else ""
    return f"{stamp:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def pair_document(pair: Pair) -> Json:
    """Return a pair as AssetPairs has it."""
    tiers = [(int(tier.volume), float(tier.taker), float(tier.maker)) for tier in FEES]
    return {
        "altname": pair.altname,
        "wsname": pair.wsname,
        "aclass_base": "currency",
        "base": pair.base.id,
        "aclass_quote": "currency",
        "quote": pair.quote.id,
        "lot": "unit",
        "cost_decimals": pair.cost_decimals,
        "pair_decimals": pair.price_decimals,
        "lot_decimals": pair.lot_decimals,
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [[volume, taker] for volume, taker, _ in tiers],
        "fees_maker": [[volume, maker] for volume, _, maker in tiers],
        "fee_volume_currency": "ZUSD",
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": str(pair.ordermin),
        "costmin": str(pair.costmin),
        "tick_size": str(pair.tick),
        "status": "online",
        "long_position_limit": 0,
        "short_position_limit": 0,
    }


def fee_document(volume: Decimal, *, maker: bool) -> Json:
    """Return what a 30-day volume, US dollars, pays on a pair and when it pays less, as TradeVolume has it."""
    tiers = sorted(FEES, key=lambda tier: tier.volume)
    at = max(number for number, tier in enumerate(tiers) if tier.volume <= volume)
    rates = [tier.maker if maker else tier.taker for tier in tiers]
    following = tiers[at + 1].volume if at + 1 < len(tiers) else None
    return {
        "fee": fixed(rates[at], 4),
        "minfee": fixed(min(rates), 4),
        "maxfee": fixed(max(rates), 4),
        "nextfee": None if following is None else fixed(rates[at + 1], 4),
        "nextvolume": None if following is None else fixed(following, 4),
        "tiervolume": fixed(tiers[at].volume, 4),
    }


def asset_document(asset: Asset) -> Json:
    """Return an asset as Assets has it."""
    return {
        "aclass": "currency",
        "altname": asset.altname,
        "decimals": asset.decimals,
        "display_decimals": asset.display,
        "status": "enabled",
    }


def order_words(order: PlacedOrder) -> str:
    """Write an order as Kraken describes it; ccxt reads this text."""
    wish, pair = order.wish, order.wish.pair
    side = "buy" if wish.buys else "sell"
    volume = wish.cash if wish.cash and not order.volume else order.volume
    start = f"{side} {fixed(volume, pair.lot_decimals)} {pair.altname} @"
    name = wish.type.value.replace("-", " ")
    if wish.type is OrderType.MARKET:
        return f"{start} market"
    if wish.type.is_limit:
        return f"{start} limit {fixed(order.limit, pair.price_decimals)}"
    first = _relative(order) if wish.trail else fixed(order.stop, pair.price_decimals)
    if not wish.type.has_limit:
        return f"{start} {name} {first}"
    return f"{start} {name.removesuffix(' limit')} {first} -> limit {_limit_words(order)}"


def _relative(order: PlacedOrder) -> str:
    trail = order.wish.trail
    if trail is None:
        return "0"
    return f"+{trail.amount}%" if trail.per_cent else f"+{fixed(trail.amount, order.wish.pair.price_decimals)}"


def _limit_words(order: PlacedOrder) -> str:
    offset = order.wish.limit_offset
    if offset is None:
        return fixed(order.limit, order.wish.pair.price_decimals)
    return f"{offset.amount:+f}" + ("%" if offset.per_cent else "")


def descr_document(order: PlacedOrder) -> Json:
    """Return the words of an order and of what closes it, as AddOrder answers them."""
    close = close_words(order)
    return {"order": order_words(order)} | ({"close": close} if close else {})


def close_words(order: PlacedOrder) -> str:
    """Write the order that is to follow, as Kraken describes it; empty where there is none."""
    wish = order.wish.close
    if wish is None:
        return ""
    draft = PlacedOrder(id="", account="", wish=wish, opened=order.opened, volume=wish.volume)
    draft.stop = wish.price if wish.type.triggered else Decimal(0)
    draft.limit = wish.limit if wish.type.triggered else wish.price
    return "close position @" + order_words(draft).partition("@")[2]


def order_document(order: PlacedOrder, *, trades: bool = False, runs: bool = False) -> Json:
    """Return an order as OpenOrders, ClosedOrders and QueryOrders have it; *runs*: what it took at once is one trade."""
    wish, pair = order.wish, order.wish.pair
    digits = pair.price_decimals
    first = order.stop if wish.type.triggered else order.limit
    told: Json = {
        "refid": order.refid or None,
        "userref": wish.userref,
        "status": order.state.value,
        "opentm": seconds(order.opened),
        "starttm": seconds(wish.starts) if wish.starts else 0,
        "expiretm": seconds(wish.expires) if wish.expires else 0,
        "descr": {
            "pair": pair.altname,
            "aclass": "forex",
            "type": "buy" if wish.buys else "sell",
            "ordertype": wish.type.value,
            "price": _relative(order) if wish.trail else fixed(first, digits) if first else "0",
            "price2": _limit_words(order) if wish.type.triggered and wish.type.has_limit else "0",
            "leverage": "none",
            "order": order_words(order),
            "close": close_words(order),
        },
        "vol": fixed(order.volume, pair.lot_decimals),
        "vol_exec": fixed(order.done, pair.lot_decimals),
        "cost": fixed(order.cost, pair.cost_decimals),
        "fee": fixed(order.fee, pair.cost_decimals),
        "price": fixed(order.average, max(digits, 5)),
        "stopprice": fixed(order.stop, max(digits, 5)),
        "limitprice": fixed(order.limit if wish.type.triggered else Decimal(0), max(digits, 5)),
        "misc": ",".join(_marks(order)),
        "oflags": ",".join(wish.flags if {"fcib", "fciq"} & set(wish.flags) else (*wish.flags, "fciq")),
        "margin": False,
    }
    if wish.cl_ord_id:
        told["cl_ord_id"] = wish.cl_ord_id
    if wish.type.triggered:
        told["trigger"] = wish.trigger
    if trades and order.trades:
        told["trades"] = list(order.runs if runs else order.trades)
    if order.state in (OrderStatus.CLOSED, OrderStatus.CANCELED, OrderStatus.EXPIRED):
        told |= {"closetm": seconds(order.closed), "reason": order.reason or None}
    return told


def _marks(order: PlacedOrder) -> Iterator[str]:
    """Yield what happened to an order besides, in Kraken's words: a stop is stopped, a take-profit is touched."""
    if order.fired:
        yield "touched" if order.wish.type in (OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT) else "stopped"
    if 0 < order.done < order.volume:
        yield "partial"
    if order.amended:
        yield "amended"


def run_document(run: list[ClientFill]) -> Json:
    """Return what an order took at once as one trade: sums, the average price, and the first fill's number."""
    if len(run) == 1:
        return trade_document(run[0])
    first, zero = run[0], Decimal(0)
    volume, cost = sum((one.volume for one in run), zero), sum((one.cost for one in run), zero)
    whole = first._replace(
        price=cost / volume,
        volume=volume,
        cost=cost,
        fee=sum((_fee_in_quote(one) for one in run), zero),
        fee_in=first.pair.quote.name,
        ledgers=tuple(line for one in run for line in one.ledgers),
    )
    return trade_document(whole)


def _fee_in_quote(found: ClientFill) -> Decimal:
    return found.fee if found.fee_in == found.pair.quote.name else found.fee * found.price


def trade_document(found: ClientFill) -> Json:
    """Return a fill as TradesHistory and QueryTrades have it."""
    pair = found.pair
    return {
        "ordertxid": found.order.id,
        "postxid": "",
        "pair": pair.id,
        "aclass": "forex",
        "time": seconds(found.at),
        "type": "buy" if found.buys else "sell",
        "ordertype": found.order.wish.type.value,
        "price": fixed(found.price, max(pair.price_decimals, 5)),
        "cost": fixed(found.cost, pair.cost_decimals),
        "fee": fixed(_fee_in_quote(found), pair.cost_decimals),
        "vol": fixed(found.volume, pair.lot_decimals),
        "margin": "0.00000",
        "leverage": "0",
        "misc": "",
        "trade_id": found.number,
        "maker": found.maker,
        "ledgers": list(found.ledgers),
    }


def entry_document(entry: LedgerEntry) -> Json:
    """Return a ledger line as Ledgers has it."""
    asset = ASSETS[entry.asset]
    return {
        "refid": entry.refid,
        "time": seconds(entry.at),
        "type": entry.type,
        "subtype": "",
        "aclass": "currency",
        "asset": asset.id,
        "amount": fixed(entry.amount, asset.decimals),
        "fee": fixed(entry.fee, asset.decimals),
        "balance": fixed(entry.balance, asset.decimals),
    }
