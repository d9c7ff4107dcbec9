"""The fill rules of research once more: slow, obvious and exact, for the kernel to be compared with.

Written from the rules (the docstring of `research/kernel.py`, and "Fills in research and simulation" in the design), one
function for each rule, in decimals of 50 digits. Prices and targets are the floats of the bars, exactly; the terms and the
steps of the instrument are what a person wrote: 0.1 is a tenth.

Where the rules leave a choice, this is what is taken:

- The short limit compares notional and equity after the sale, both at the fill price, after the fee.
- The entry price is the average over the fills that built the position; the trailing level starts at the first of them.
- A bar that opens beyond the take-profit is out at the open, whatever it does later.
- Where stop-loss and trailing stop are the same level, the reason is the stop-loss.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, Decimal, localcontext

from peak_trade.model.bar import Bars
from peak_trade.model.instrument import Instrument
from peak_trade.research.kernel import LOT_ROUNDING, LOT_TOLERANCE, TOUCH
from peak_trade.research.terms import Side, Terms
from peak_trade.strategy.sizing import SizedBy

DIGITS = 50


@dataclass(frozen=True)
class Candle:
    """The prices of one bar; turned upside down for a short position, so that up is always a gain."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal

    def turned(self, side: int) -> "Candle":
        return self if side > 0 else Candle(-self.open, -self.low, -self.high, -self.close)


@dataclass(frozen=True)
class Order:
    """A position wished for at a close, to be reached at the next open."""

    lots: int
    reason: str


@dataclass(frozen=True)
class Fill:
    bar: int
    lots: int
    price: Decimal
    fee: Decimal
    reason: str


@dataclass
class Account:
    """Cash and a position in whole lots, negative if short."""

    cash: Decimal
    lots: int = 0
    entry: Decimal = Decimal(0)
    best: Decimal = Decimal(0)

    def trade(self, lots: int, price: Decimal, fee: Decimal, lot: Decimal) -> None:
        """Book a fill and keep the average entry price."""
        self.cash -= lots * lot * price + fee
        after = self.lots + lots
        if self.lots * after <= 0:
            self.entry = self.best = price
        elif abs(after) > abs(self.lots):
            self.entry = (self.entry * abs(self.lots) + price * abs(lots)) / abs(after)
        self.lots = after

    def equity(self, price: Decimal, lot: Decimal) -> Decimal:
        return self.cash + self.lots * lot * price


@dataclass
class Outcome:
    """What a run gave; `cut` counts orders that cash or equity made smaller, `flips` fills that change the side."""

    equity: list[Decimal] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    skipped: int = 0
    held: int = 0
    pending: bool = False
    cut: int = 0
    flips: int = 0


class Reference:
    """One run under the rules."""

    def __init__(self, terms: Terms, instrument: Instrument) -> None:
        self.terms = terms
        self.instrument = instrument
        self.lot = instrument.lot_step
        self.fee = exactly(terms.fee_bps) / 10_000
        self.slippage = exactly(terms.slippage_bps) / 10_000
        self.account = Account(terms.cash)
        self.outcome = Outcome()

    def run(self, bars: Bars, targets: Sequence[float]) -> Outcome:
        order, before = None, Decimal(0)
        for bar, candle in enumerate(candles(bars)):
            if order is not None:
                self.fill_at_open(bar, candle, order)
            self.exit_inside(bar, candle)
            equity = self.account.equity(candle.close, self.lot)
            self.outcome.equity.append(equity)
            self.outcome.held += self.account.lots != 0
            target = Decimal(float(targets[bar]))
            order = self.decide(target, equity, candle.close) if target != before else None
            before = target
            if equity <= 0 and self.account.lots != 0:
                order = Order(0, "ruin")
        self.outcome.pending = order is not None
        return self.outcome

    def decide(self, target: Decimal, equity: Decimal, close: Decimal) -> Order | None:
        """A changed target becomes an order unless the position is already what it asks for."""
        if (target > 0 and self.terms.side is Side.SHORT) or (target < 0 and self.terms.side is Side.LONG):
            target = Decimal(0)
        amount = self.terms.sizing.amount * abs(target)
        if self.terms.sizing.by is SizedBy.FRACTION:
            quantity = amount * max(equity, Decimal(0)) / close
        elif self.terms.sizing.by is SizedBy.NOTIONAL:
            quantity = amount / close
        else:
            quantity = amount
        lots = whole_lots(quantity / self.lot)
        wanted = lots if target > 0 else -lots
        return None if wanted == self.account.lots else Order(wanted, "target")

    def fill_at_open(self, bar: int, candle: Candle, order: Order) -> None:
        """Slip, cut, check the minimum, and fill or skip."""
        asked = order.lots - self.account.lots
        price = self.slipped(candle.open, asked)
        lots = self.covered_purchase(asked, price) if asked > 0 else -self.covered_sale(-asked, price)
        self.outcome.cut += lots != asked
        closes = self.account.lots != 0 and self.account.lots + lots == 0
        if lots == 0 or (self.under_minimum(lots, price) and not closes):
            self.outcome.skipped += 1
        else:
            self.book(bar, lots, price, order.reason)

    def covered_purchase(self, lots: int, price: Decimal) -> int:
        """Covering a short is never cut; beyond that, cash must pay for the notional and the fee."""
        covering = max(0, -self.account.lots)
        one_lot = price * self.lot * (1 + self.fee)
        paid_for = whole_lots(max(self.account.cash, Decimal(0)) / one_lot)
        return lots if lots <= covering else max(covering, min(lots, paid_for))

    def covered_sale(self, lots: int, price: Decimal) -> int:
        """Selling what is held is never cut; beyond that, the short notional must not exceed the equity.

        After selling n lots of the value u from a position of p lots, the short is n - p lots and the equity
        cash + p u - n u fee; so n u (1 + fee) may be at most cash + 2 p u.
        """
        held = max(0, self.account.lots)
        one_lot = price * self.lot
        room = self.account.cash + 2 * self.account.lots * one_lot
        allowed = whole_lots(max(room, Decimal(0)) / (one_lot * (1 + self.fee)))
        return lots if lots <= held else max(held, min(lots, allowed))

    def under_minimum(self, lots: int, price: Decimal) -> bool:
        quantity = abs(lots) * self.lot
        return quantity < self.instrument.min_quantity or quantity * price < self.instrument.min_notional

    def exit_inside(self, bar: int, candle: Candle) -> None:
        """Look for an exit; without one, remember the best price for the bars to come."""
        if self.account.lots == 0:
            return
        side = 1 if self.account.lots > 0 else -1
        upright = candle.turned(side)
        found = self.triggered(upright, side)
        if found is not None:
            level, reason = found
            self.book(bar, -self.account.lots, self.slipped(side * level, -side), reason)
        else:
            self.account.best = side * max(side * self.account.best, upright.high)

    def triggered(self, candle: Candle, side: int) -> tuple[Decimal, str] | None:
        """Return level and reason of an exit; level and candle are turned so that up is a gain."""
        entry, best = side * self.account.entry, side * self.account.best
        stops = []
        if self.terms.stop_loss > 0:
            stops.append((entry - self.account.entry * exactly(self.terms.stop_loss), "stop_loss"))
        if self.terms.trailing_stop > 0:
            stops.append((best - self.account.best * exactly(self.terms.trailing_stop), "trailing_stop"))
        goal = entry + self.account.entry * exactly(self.terms.take_profit) if self.terms.take_profit > 0 else None
        if goal is not None and candle.open >= goal - near(goal):
            return candle.open, "take_profit"
        if stops:
            level, reason = max(stops, key=lambda stop: stop[0])
            if candle.low <= level + near(level):
                return min(candle.open, level), reason
        if goal is not None and candle.high >= goal - near(goal):
            return goal, "take_profit"
        return None

    def slipped(self, price: Decimal, lots: int) -> Decimal:
        """A buyer pays more, a seller gets less."""
        return price * (1 + self.slippage) if lots > 0 else price * (1 - self.slippage)

    def book(self, bar: int, lots: int, price: Decimal, reason: str) -> None:
        fee = abs(lots) * self.lot * price * self.fee
        before = self.account.lots
        self.account.trade(lots, price, fee, self.lot)
        self.outcome.flips += before * self.account.lots < 0
        self.outcome.fills.append(Fill(bar, lots, price, fee, reason))


def reference(bars: Bars, targets: Sequence[float], terms: Terms) -> Outcome:
    """Run the rules over bars and targets."""
    with exact_arithmetic():
        return Reference(terms, bars.instrument).run(bars, targets)


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Compute with 50 digits inside the block."""
    with localcontext() as context:
        context.prec = DIGITS
        yield


def whole_lots(lots: Decimal) -> int:
    """Round down, but count what is within the tolerance below a whole lot as that lot."""
    tolerance = max(exactly(LOT_TOLERANCE), lots * exactly(LOT_ROUNDING))
    return int((lots + tolerance).to_integral_value(ROUND_FLOOR))


def near(level: Decimal) -> Decimal:
    """Return how far from a level a price still touches it."""
    return abs(level) * exactly(TOUCH)


def exactly(written: float) -> Decimal:
    """Return the decimal that a person wrote to get this float."""
    return Decimal(repr(float(written)))


def candles(bars: Bars) -> Iterator[Candle]:
    for row in zip(bars.open, bars.high, bars.low, bars.close, strict=True):
        yield Candle(*(Decimal(float(price)) for price in row))
