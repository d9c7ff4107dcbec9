"""When and at what price a working order trades against a bar. Pure; shared by every venue of ours that fills orders.

The rules are those of the research kernel, in exact decimals: a market order trades at the open, slippage against it; a stop
or take-profit is a market order once its trigger is touched, and trades at the trigger or, where the bar opens beyond it, at
the open. Beyond the kernel:

- A limit order that the market has already crossed when it arrives trades at the open as taker. One that rests trades at its
  limit as maker when a bar goes *through* it; a bar that only touches it fills nobody at the end of a queue.
- A market order that arrives while a bar trades takes the mean of a Brownian bridge between the bar's open and close at that
  moment, which is the straight line between the two.
"""

from decimal import ROUND_FLOOR, Decimal
from typing import NamedTuple

from peak_trade.model.instrument import Instrument
from peak_trade.model.order import Intent, MarketBar, OrderKind, exact

ZERO = Decimal(0)
#: The kernel's tolerances: a quantity this little below a whole lot counts as that lot, and a price this near touches.
LOT_TOLERANCE = Decimal("1e-9")
LOT_ROUNDING = Decimal("4e-16")
TOUCH = Decimal("1e-12")
#: A sale keeps this much of its price, however large it is.
SLIPPAGE_MAX = Decimal("0.9999")


class Costs(NamedTuple):
    """What trading costs: fees as fractions of the notional, slippage as a fraction of the price."""

    taker: Decimal
    maker: Decimal
    slippage: Decimal

    def slipped(self, price: Decimal, quantity: Decimal) -> Decimal:
        """Return a price after slippage against an order of that sign."""
        return price * (1 + self.slippage if quantity > 0 else 1 - min(self.slippage, SLIPPAGE_MAX))

    def fee(self, price: Decimal, quantity: Decimal, *, maker: bool) -> Decimal:
        """Return the fee on a fill, quote currency."""
        return abs(quantity) * price * (self.maker if maker else self.taker)


class Execution(NamedTuple):
    """An order trades: at this price, slippage included, and whether it was resting in the book."""

    price: Decimal
    maker: bool


def at_open(intent: Intent, opened: Decimal, costs: Costs, *, arriving: bool) -> Execution | None:
    """Return the trade of an order at a bar's open, None where it does not trade there.

    Args:
        intent: the order; stops and take-profits are looked at in `within`.
        opened: first price of the bar.
        costs: fees and slippage.
        arriving: whether this is the first price the order meets.
    """
    if intent.kind is OrderKind.MARKET:
        return Execution(costs.slipped(opened, intent.quantity), maker=False)
    if intent.kind is OrderKind.LIMIT and intent.price is not None:
        beyond = intent.price - opened if intent.quantity > 0 else opened - intent.price
        if arriving and beyond >= 0:
            return Execution(opened, maker=False)
        if not arriving and beyond > 0:
            return Execution(intent.price, maker=True)
    return None


def within(intent: Intent, bar: MarketBar, costs: Costs, active_ns: int) -> Execution | None:
    """Return the trade of an order while a bar trades, None where it does not."""
    if intent.kind is OrderKind.MARKET:
        share = exact(max(active_ns - bar.opened_ns, 0) / bar.step_ns)
        opened, close = exact(bar.open), exact(bar.close)
        return Execution(costs.slipped(opened + (close - opened) * share, intent.quantity), maker=False)
    if intent.price is None:
        return None
    if intent.kind is OrderKind.LIMIT:
        through = exact(bar.low) < intent.price if intent.quantity > 0 else exact(bar.high) > intent.price
        return Execution(intent.price, maker=True) if through else None
    level = triggered(intent, exact(bar.open), exact(bar.high), exact(bar.low))
    return None if level is None else Execution(costs.slipped(level, intent.quantity), maker=False)


def triggered(intent: Intent, opened: Decimal, high: Decimal, low: Decimal) -> Decimal | None:
    """Return the price at which a stop or take-profit is triggered by a bar, before slippage; None where it is not."""
    level = intent.price
    if level is None:
        return None
    falling = (intent.kind is OrderKind.STOP) == (intent.quantity < 0)
    if falling:
        if low > level * (1 + TOUCH):
            return None
        beyond = opened <= level * (1 + TOUCH) if intent.kind is OrderKind.TAKE_PROFIT else opened < level
    else:
        if high < level * (1 - TOUCH):
            return None
        beyond = opened >= level * (1 - TOUCH) if intent.kind is OrderKind.TAKE_PROFIT else opened > level
    return opened if beyond else level


def whole_lots(quantity: Decimal, instrument: Instrument) -> Decimal:
    """Return a positive quantity rounded down to the lot step, by the kernel's tolerance."""
    lots = quantity / instrument.lot_step
    return (lots + max(LOT_TOLERANCE, lots * LOT_ROUNDING)).to_integral_value(ROUND_FLOOR) * instrument.lot_step


class Purse(NamedTuple):
    """What an account has when an order trades: cash, signed position in the symbol, and the worth of all other positions."""

    cash: Decimal
    position: Decimal
    elsewhere: Decimal


def affordable(quantity: Decimal, purse: Purse, price: Decimal, taker: Decimal, instrument: Instrument) -> Decimal:
    """Return the part of an order that cash and equity cover, between nothing and all of it.

    A purchase is cut to the cash; a short sale so that the short notional does not exceed the equity after the fill and its
    fee; covering a short and selling what is held are never cut.
    """
    position, gross = purse.position, price * (1 + taker)
    desired = position + quantity
    if quantity > 0:
        if desired <= 0:
            return quantity
        most = position + whole_lots(max(purse.cash, ZERO) / gross, instrument)
        return min(desired, max(most, position, ZERO)) - position
    if desired >= 0:
        return quantity
    worth = purse.cash + purse.elsewhere + position * price * (1 - taker)
    most = whole_lots(max(worth, ZERO) / gross, instrument)
    return max(desired, min(-most, position)) - position


def tradable(quantity: Decimal, position: Decimal, price: Decimal, instrument: Instrument) -> bool:
    """Tell whether an order is large enough; one that closes the whole position always is."""
    if not quantity:
        return False
    size = abs(quantity)
    return position + quantity == 0 or (size >= instrument.min_quantity and size * price >= instrument.min_notional)
