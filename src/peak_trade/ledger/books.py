"""The books of an account: double entry, so that every change of cash has its reason.

Accounts hold debits as positive and credits as negative amounts of quote currency: cash, inventory (at cost, by strategy and
symbol), fees (by strategy), realised profit (by strategy, a credit when it is a gain) and the capital put in (a credit).

Invariant: every posting, and with it the whole book, sums to zero exactly, because amounts lie on `MONEY_STEP`.
Invariant: books are never changed; booking a fill returns new ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from peak_trade.model.errors import InvariantBroken
from peak_trade.model.order import Fill, money

#: Name of an account: ("cash",), ("capital",), ("inventory", leg, symbol), ("fees", leg), ("realized", leg).
AccountName = tuple[str, ...]
CASH: AccountName = ("cash",)
CAPITAL: AccountName = ("capital",)
ZERO = Decimal(0)


class Position(NamedTuple):
    """What a strategy holds of a symbol.

    Attributes:
        quantity: base currency, signed.
        cost: what it cost, quote currency, with the quantity's sign.
        entry: average price of what was bought (short: sold) since the position was opened.
    """

    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    entry: Decimal = ZERO


FLAT = Position()


@dataclass(frozen=True, slots=True)
class Books:
    """All accounts and positions; positions are keyed by strategy and symbol, and one that is flat is left out."""

    accounts: Mapping[AccountName, Decimal]
    positions: Mapping[tuple[str, str], Position]

    @classmethod
    def opened(cls, cash: Decimal) -> "Books":
        """Return the books of an account that begins with *cash*."""
        return cls({CASH: money(cash), CAPITAL: -money(cash)}, {})

    @property
    def cash(self) -> Decimal:
        """Quote currency at hand; negative where more was spent than there was."""
        return self.accounts[CASH]

    def position(self, leg: str, symbol: str) -> Position:
        """Return what a strategy holds of a symbol."""
        return self.positions.get((leg, symbol), FLAT)

    def held(self) -> dict[str, Decimal]:
        """Return the signed quantity of each symbol over all strategies."""
        found: dict[str, Decimal] = {}
        for (_, symbol), position in self.positions.items():
            found[symbol] = found.get(symbol, ZERO) + position.quantity
        return found

    def equity(self, prices: Mapping[str, Decimal]) -> Decimal:
        """Return cash and every position at its last price."""
        worth = self.accounts[CASH]
        for (_, symbol), position in self.positions.items():
            worth += position.quantity * prices[symbol]
        return worth

    def fees(self, leg: str | None = None) -> Decimal:
        """Return the fees paid, in all or by one strategy."""
        return self._sum("fees", leg)

    def realized(self, leg: str | None = None) -> Decimal:
        """Return the profit of what was closed, before fees, in all or of one strategy."""
        return -self._sum("realized", leg)

    def unrealized(self, prices: Mapping[str, Decimal], leg: str | None = None) -> Decimal:
        """Return the profit of open positions at the last prices, before fees, in all or of one strategy."""
        every = ((owner, symbol, held) for (owner, symbol), held in self.positions.items() if leg in (None, owner))
        return sum((held.quantity * prices[symbol] - held.cost for _, symbol, held in every), ZERO)

    def book(self, fill: Fill) -> "Books":
        """Return the books after a fill.

        Raises:
            InvariantBroken: the posting, or the books, do not sum to zero.
        """
        before = self.position(fill.leg, fill.symbol)
        spent, fee = money(fill.quantity * fill.price), money(fill.fee)
        closing = _closing_share(before.quantity, fill.quantity)
        released, closed_for = ZERO, ZERO
        if closing:
            whole = abs(closing) == abs(before.quantity)
            released = before.cost if whole else money(before.cost * closing / before.quantity)
            closed_for = spent if closing == -fill.quantity else money(-spent * closing / fill.quantity)
        opened_for = spent - closed_for
        entries = {
            CASH: -spent - fee,
            ("inventory", fill.leg, fill.symbol): opened_for - released,
            ("realized", fill.leg): closed_for + released,
            ("fees", fill.leg): fee,
        }
        after = Position(before.quantity + fill.quantity, before.cost - released + opened_for, _entry(before, fill))
        return self._posted(entries, (fill.leg, fill.symbol), after)

    def _posted(self, entries: Mapping[AccountName, Decimal], key: tuple[str, str], after: Position) -> "Books":
        accounts = dict(self.accounts)
        for name, amount in entries.items():
            accounts[name] = accounts.get(name, ZERO) + amount
        positions = {place: held for place, held in self.positions.items() if place != key}
        if after.quantity:
            positions[key] = after
        for what, amounts in (("posting", entries), ("book", accounts)):
            if total := sum(amounts.values(), ZERO):
                raise InvariantBroken(f"every {what} sums to zero, found {total} after a fill of {key[1]}")
        if after.cost != accounts[("inventory", *key)]:
            raise InvariantBroken(
                f"the cost of {key[1]} is its inventory, found {after.cost} and {accounts[('inventory', *key)]}"
            )
        return Books(accounts, positions)

    def _sum(self, kind: str, leg: str | None) -> Decimal:
        return sum((amount for name, amount in self.accounts.items() if name[0] == kind and leg in (None, name[1])), ZERO)


def _closing_share(position: Decimal, quantity: Decimal) -> Decimal:
    """Return how much of a position a fill closes, with the position's sign; zero where it opens or adds."""
    if position * quantity >= 0:
        return ZERO
    return position if abs(quantity) >= abs(position) else -quantity


def _entry(before: Position, fill: Fill) -> Decimal:
    """Return the average entry price after a fill: reducing keeps it, adding averages, opening or turning renews it."""
    after = before.quantity + fill.quantity
    if before.quantity * after <= 0:
        return fill.price
    if abs(after) > abs(before.quantity):
        return (before.entry * before.quantity + fill.price * fill.quantity) / after
    return before.entry
