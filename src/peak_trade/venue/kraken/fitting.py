"""Whether a pair takes an order, told before anybody is asked. Pure."""

from collections.abc import Mapping

from peak_trade.model.order import Intent, OrderKind
from peak_trade.venue.kraken.reading import AssetPair
from peak_trade.venue.port import Rejected


def misfit(intent: Intent, pairs: Mapping[str, AssetPair]) -> Rejected | None:
    """Return why Kraken would refuse an order whatever the market does; None where it would not.

    Args:
        pairs: by symbol, as AssetPairs last told them.
    """
    name, pair = intent.client_id, pairs.get(intent.symbol)
    if pair is None:
        return Rejected(name, "unknown_symbol", f"{intent.symbol} is not traded here")
    if pair.status not in ("online", "limit_only", "post_only"):
        return Rejected(name, "market_mode", f"{intent.symbol} is {pair.status}")
    priced = intent.kind is OrderKind.MARKET or (intent.price is not None and intent.price > 0)
    if not intent.quantity or not priced:
        return Rejected(name, "invalid", "an order needs a quantity, and a price unless it is a market order")
    if intent.quantity % pair.lot_step:
        return Rejected(name, "off_step", f"the quantity {intent.quantity:f} is no multiple of {pair.lot_step:f}")
    if intent.price is not None and intent.price % pair.tick_size:
        return Rejected(name, "off_step", f"the price {intent.price:f} is no multiple of {pair.tick_size:f}")
    if abs(intent.quantity) < pair.ordermin:
        return Rejected(name, "too_small", f"the quantity {intent.quantity:f} is below {pair.ordermin:f}")
    worth = abs(intent.quantity) * (intent.price or intent.reference)
    if worth < pair.costmin:
        return Rejected(name, "too_small", f"the order is worth {worth:f}, below {pair.costmin:f}")
    return None
