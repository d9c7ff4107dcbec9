"""The books once more: an average price and a side, in fractions, without accounts or postings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from peak_trade.model.order import Fill


@dataclass
class Holding:
    """What is held: a signed quantity at an average price, and what closing brought so far."""

    quantity: Fraction = Fraction(0)
    average: Fraction = Fraction(0)
    realized: Fraction = Fraction(0)
    fees: Fraction = Fraction(0)

    def trade(self, quantity: Fraction, price: Fraction, fee: Fraction) -> None:
        """Take a fill: first whatever it closes, then whatever is left of it opens or adds."""
        self.fees += fee
        side = 1 if self.quantity > 0 else -1
        closed = min(abs(quantity), abs(self.quantity)) if quantity * self.quantity < 0 else Fraction(0)
        self.realized += closed * (price - self.average) * side
        self.quantity -= closed * side
        rest = quantity + closed * side
        if rest:
            self.average = (self.average * self.quantity + price * rest) / (self.quantity + rest)
            self.quantity += rest


@dataclass
class Naive:
    """An account: cash, and holdings by strategy and symbol."""

    cash: Fraction
    held: dict[tuple[str, str], Holding] = field(default_factory=dict)

    def take(self, fills: Sequence[Fill]) -> "Naive":
        """Take fills in order."""
        for fill in fills:
            quantity, price, fee = Fraction(fill.quantity), Fraction(fill.price), Fraction(fill.fee)
            self.cash -= quantity * price + fee
            self.held.setdefault((fill.leg, fill.symbol), Holding()).trade(quantity, price, fee)
        return self

    def equity(self, prices: Mapping[str, Fraction]) -> Fraction:
        """Return the cash and every holding at its last price."""
        return self.cash + sum(held.quantity * prices[symbol] for (_, symbol), held in self.held.items())

    def unrealized(self, prices: Mapping[str, Fraction], leg: str | None = None) -> Fraction:
        """Return what closing everything now would bring, in all or of one strategy."""
        mine = [(symbol, held) for (owner, symbol), held in self.held.items() if leg in (None, owner)]
        return sum((held.quantity * (prices[symbol] - held.average) for symbol, held in mine), Fraction(0))

    def total(self, name: str, leg: str | None = None) -> Fraction:
        """Return a sum over holdings, in all or of one strategy."""
        return sum((getattr(held, name) for (owner, _), held in self.held.items() if leg in (None, owner)), Fraction(0))
