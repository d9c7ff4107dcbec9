"""What the accounts of the emulated exchange own, and their ledgers.

Invariant: what one account pays another receives; over all accounts, fees included, each asset's sum never changes.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from peak_trade.emulator.orders import ZERO, LedgerEntry, Rejection
from peak_trade.emulator.pairs import ASSETS, Tier, fees_at

#: Lines of a ledger that are kept; older ones are forgotten, balances are not.
LEDGER_MAX = 20_000
#: Nanoseconds of a day, and days whose volume counts for the fees, today included.
DAY_NS, VOLUME_DAYS = 86_400_000_000_000, 30
#: Who trades against clients, and who earns the fees: neither needs to own what it sells.
MARKET, HOUSE = "market", "house"


@dataclass(slots=True)
class ClientAccount:
    """Balances and holds by asset name, volume in US dollars by day (of the Unix era), and the ledger, oldest first."""

    name: str
    balances: dict[str, Decimal] = field(default_factory=dict)
    held: dict[str, Decimal] = field(default_factory=dict)
    days: dict[int, Decimal] = field(default_factory=dict)
    ledger: deque[LedgerEntry] = field(default_factory=lambda: deque(maxlen=LEDGER_MAX))
    # The tier is worked out once for a day and a volume: it is asked for several times with each order.
    _tier: Tier | None = None
    _tier_day: int = 0

    def free(self, asset: str) -> Decimal:
        """Return what is owned and not held back."""
        return self.balances.get(asset, ZERO) - self.held.get(asset, ZERO)

    def trade(self, dollars: Decimal, at: int) -> None:
        """Count what was traded at a moment, nanoseconds UTC."""
        day = at // DAY_NS
        self.days[day] = self.days.get(day, ZERO) + dollars
        self._tier = None

    def volume(self, now: int) -> Decimal:
        """Return the volume of the last 30 days, US dollars; days that are over are forgotten."""
        first = now // DAY_NS - VOLUME_DAYS + 1
        if self.days and next(iter(self.days)) < first:
            self.days = {day: dollars for day, dollars in self.days.items() if day >= first}
            self._tier = None
        return sum(self.days.values(), ZERO)

    def tier(self, now: int) -> Tier:
        """Return the fees that it pays now."""
        day = now // DAY_NS
        if self._tier is None or self._tier_day != day:
            self._tier, self._tier_day = fees_at(self.volume(now)), day
        return self._tier


class Accounts:
    """All accounts."""

    def __init__(self, name_ledger: Callable[[], str]) -> None:
        self._name_ledger = name_ledger
        self._listener: Callable[[str, LedgerEntry], None] = lambda _name, _entry: None
        self.by_name: dict[str, ClientAccount] = {name: ClientAccount(name) for name in (MARKET, HOUSE)}

    def listen(self, listener: Callable[[str, LedgerEntry], None]) -> None:
        """Have every line of a ledger told as it is written."""
        self._listener = listener

    def open(self, name: str, funds: dict[str, Decimal] | None = None, at: int = 0) -> ClientAccount:
        """Open an account; its funds come from the market's."""
        account = self.by_name.setdefault(name, ClientAccount(name))
        for asset, amount in (funds or {item.name: item.fund for item in ASSETS.values()}).items():
            self.move(name, asset, amount, "deposit", "", at)
            self.move(MARKET, asset, -amount, "withdrawal", "", at)
        return account

    def move(self, name: str, asset: str, amount: Decimal, kind: str, refid: str, at: int, fee: Decimal = ZERO) -> str:
        """Add an amount to a balance and take a fee from it, which the house gets; return the ledger entry's id."""
        account = self.by_name[name]
        after = account.balances.get(asset, ZERO) + amount - fee
        account.balances[asset] = after
        if fee:
            house = self.by_name[HOUSE].balances
            house[asset] = house.get(asset, ZERO) + fee
        if name in (MARKET, HOUSE):
            return ""
        entry = LedgerEntry(self._name_ledger(), refid, at, kind, asset, amount, fee, after)
        account.ledger.append(entry)
        self._listener(name, entry)
        return entry.id

    def hold(self, name: str, asset: str, amount: Decimal) -> None:
        """Hold an amount back.

        Raises:
            Rejection: that much is not free.
        """
        account = self.by_name[name]
        if name not in (MARKET, HOUSE) and amount > account.free(asset):
            raise Rejection("EOrder:Insufficient funds")
        account.held[asset] = account.held.get(asset, ZERO) + amount

    def let_go(self, name: str, asset: str, amount: Decimal) -> None:
        """Stop holding an amount back."""
        held = self.by_name[name].held
        held[asset] = held.get(asset, ZERO) - amount
        if not held[asset]:
            del held[asset]
