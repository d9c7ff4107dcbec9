"""The one place that lets an order pass.

Invariant: an `Approved` is made here and nowhere else, for one intent; every check runs, and a refusal names them all.
Sources of the pre-trade controls: EU RTS 6 (Delegated Regulation 2017/589), article 15, and SEC rule 15c3-5.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, unique
from typing import NamedTuple

from peak_trade.model.errors import InvariantBroken
from peak_trade.model.kill_level import KillLevel
from peak_trade.model.order import Intent, OrderKind

_SEAL = object()


class Approved:
    """The gate's yes to one intent; a venue takes nothing else."""

    __slots__ = ("intent", "warnings")

    intent: Intent
    warnings: "tuple[Violation, ...]"

    def __init__(self, intent: Intent, warnings: "tuple[Violation, ...]", seal: object) -> None:
        if seal is not _SEAL:
            raise InvariantBroken("only the risk gate approves an order")
        object.__setattr__(self, "intent", intent)
        object.__setattr__(self, "warnings", warnings)

    def __init_subclass__(cls) -> None:
        raise InvariantBroken(f"an approval has no other kinds, {cls.__name__} was to become one")

    def __setattr__(self, name: str, value: object) -> None:
        raise InvariantBroken(f"an approval can't be changed; {name} was to become {value!r}")


class Violation(NamedTuple):
    """A check that failed: its code, and a sentence with limit and value."""

    code: str
    words: str


class Refused(NamedTuple):
    """The gate's no, with every reason."""

    intent: Intent
    reasons: tuple[Violation, ...]


@unique
class Mode(Enum):
    """What a session may do; only the restart procedure leads back to RUNNING."""

    RUNNING = "running"
    RESTRICTED = "restricted"
    PAUSED = "paused"
    KILLED = "killed"


class Conduct(NamedTuple):
    """What a session does at one reach.

    Attributes:
        enlarges: orders that could enlarge a position are sent.
        recalls_entries: working orders that could enlarge a position are cancelled; recalls_all: every working order is.
        reduces: orders that only reduce a position are sent.
        protects: stops and take-profits are placed and moved.
        closes: every position is closed by reduce-only market orders.
    """

    enlarges: bool = False
    recalls_entries: bool = True
    recalls_all: bool = False
    reduces: bool = True
    protects: bool = True
    closes: bool = False


#: How far a session is stopped, and what that means: the one table that engine and gate go by. Modes say who leads back (see
#: `REACHES`), the reach what is done; it only ever goes further within a session.
CONDUCT: Mapping[KillLevel | None, Conduct] = {
    None: Conduct(enlarges=True, recalls_entries=False),
    KillLevel.NO_NEW: Conduct(recalls_entries=False),
    KillLevel.REDUCE_ONLY: Conduct(),
    KillLevel.CANCEL_ALL: Conduct(recalls_all=True, reduces=False, protects=False),
    KillLevel.FLATTEN: Conduct(recalls_all=True, protects=False, closes=True),
}
#: The reach of each mode; a kill switch names its own.
REACHES: Mapping[Mode, KillLevel | None] = {
    Mode.RUNNING: None,
    Mode.RESTRICTED: KillLevel.REDUCE_ONLY,
    Mode.PAUSED: KillLevel.REDUCE_ONLY,
    Mode.KILLED: KillLevel.REDUCE_ONLY,
}


def farther(one: KillLevel | None, other: KillLevel | None) -> KillLevel | None:
    """Return the reach that stops more; None stops nothing."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda level: level.rank)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The section `[live_risk]`: money in quote currency, shares in per cent, times in seconds."""

    max_order_notional: Decimal
    max_symbol_exposure_notional: Decimal
    max_total_exposure_notional: Decimal
    max_open_positions: int
    max_daily_loss_abs: Decimal
    max_daily_loss_pct: Decimal
    block_on_violation: bool
    price_collar_pct: Decimal
    max_order_quantity: Decimal
    max_orders_per_minute: int
    max_orders_per_day: int
    duplicate_window_s: float
    max_data_age_s: float
    max_clock_skew_ms: float
    symbols: tuple[str, ...]


class Account(NamedTuple):
    """What the gate looks at besides the intent.

    Attributes:
        now_ns: the session's present; priced_ns: when the last price of the intent's symbol was known; late_ns: how far the
            session lags behind its clock.
        exiting: symbols in which exits are working that may close what is held.
        price: that price; prices: the last price of every symbol.
        positions: signed quantity by symbol, over all strategies.
        pending: by symbol, what working orders may still buy (zero or more) and sell (zero or less), reduce-only ones aside.
        equity, day_start_equity: quote currency; the latter at 00:00 UTC or at the session's start.
        recent: orders let through in the last minute or the duplicate window: when, strategy, symbol, quantity.
        sent_today: orders let through since 00:00 UTC by the intent's strategy.
        clock_skew_ms: our clock minus the venue's.
        reach: how far the session is stopped.
    """

    mode: Mode
    now_ns: int
    priced_ns: int
    price: Decimal
    prices: Mapping[str, Decimal]
    positions: Mapping[str, Decimal]
    pending: Mapping[str, tuple[Decimal, Decimal]]
    equity: Decimal
    day_start_equity: Decimal
    recent: "tuple[Sent, ...]"
    sent_today: int
    clock_skew_ms: float
    late_ns: int
    exiting: frozenset[str]
    reach: KillLevel | None = None

    def reduced_by(self, intent: Intent) -> bool:
        """Tell whether an order can only make this account's position smaller."""
        zero = Decimal(0)
        return reduces(intent, self.positions.get(intent.symbol, zero), self.pending.get(intent.symbol, (zero, zero)))


class Sent(NamedTuple):
    """An order that was let through."""

    at_ns: int
    leg: str
    symbol: str
    quantity: Decimal


def reduces(intent: Intent, position: Decimal, pending: tuple[Decimal, Decimal] = (Decimal(0), Decimal(0))) -> bool:
    """Tell whether an order can only make the position smaller, never open, enlarge or turn it.

    It is held against the position less what working orders may still buy or sell on its side, because they could be
    filled first; those that may only reduce are not among them.
    """
    if not intent.quantity * position < 0:
        return False
    before = abs(pending[0] if intent.quantity > 0 else pending[1])
    return abs(intent.quantity) + before <= abs(position)


def judge(intent: Intent, account: Account, limits: Limits) -> Approved | Refused:
    """Run every check; an order that only reduces a position passes all but the collar, unless nothing at all is sent."""
    reducing = account.reduced_by(intent)
    checks = (_collar, _frozen) if reducing else _CHECKS
    found = [item for check in checks if (item := check(intent, account, limits)) is not None]
    if not reducing and account.equity < account.day_start_equity:
        found += daily_loss(account.equity, account.day_start_equity, limits)
    hard = [item for item in found if limits.block_on_violation or item.code not in SOFT]
    if hard:
        return Refused(intent, tuple(found))
    return Approved(intent, tuple(found), _SEAL)


_Check = Callable[[Intent, Account, Limits], Violation | None]
_NS = 1_000_000_000


def _collar(intent: Intent, account: Account, limits: Limits) -> Violation | None:
    """Keep the price of an order near the last price; a trigger may lie anywhere, because nothing trades at it yet."""
    if intent.kind in (OrderKind.STOP, OrderKind.TAKE_PROFIT):
        return None
    asked = intent.reference if intent.price is None else intent.price
    if asked == account.price > 0:
        return None
    if account.price <= 0:
        return Violation("price_collar", "there is no last price to hold the order's price against")
    away = abs(asked - account.price) / account.price * 100
    if away > limits.price_collar_pct:
        return Violation(
            "price_collar",
            f"price {asked} is {away:.2f} % from the last {account.price}, allowed are {limits.price_collar_pct} %",
        )
    return None


def _mode(intent: Intent, account: Account, _limits: Limits) -> Violation | None:
    if account.mode is not Mode.RUNNING:
        return Violation(account.mode.value, f"the session is {account.mode.value}: {intent.symbol} may only be reduced")
    return None


def _frozen(intent: Intent, account: Account, _limits: Limits) -> Violation | None:
    if CONDUCT[account.reach].reduces:
        return None
    return Violation(account.mode.value, f"the session is {account.mode.value}: nothing of {intent.symbol} is sent any more")


def _symbol(intent: Intent, _account: Account, limits: Limits) -> Violation | None:
    if intent.symbol not in limits.symbols:
        return Violation("symbol_not_allowed", f"{intent.symbol} is not among the allowed {', '.join(limits.symbols)}")
    return None


def _quantity(intent: Intent, _account: Account, limits: Limits) -> Violation | None:
    if not intent.quantity:
        return Violation("max_order_quantity", "an order of nothing is none")
    if abs(intent.quantity) > limits.max_order_quantity:
        return Violation("max_order_quantity", f"quantity {abs(intent.quantity)} is over {limits.max_order_quantity}")
    return None


def _rate(_intent: Intent, account: Account, limits: Limits) -> Violation | None:
    if len(account.recent) < limits.max_orders_per_minute:
        return None
    count = sum(1 for sent in account.recent if account.now_ns - sent.at_ns < 60 * _NS)
    if count >= limits.max_orders_per_minute:
        return Violation("order_rate", f"{count} orders in the last minute, allowed are {limits.max_orders_per_minute}")
    return None


def _duplicate(intent: Intent, account: Account, limits: Limits) -> Violation | None:
    window = int(limits.duplicate_window_s * _NS)
    same = (intent.leg, intent.symbol, intent.quantity)
    if any(account.now_ns - sent.at_ns < window and sent[1:] == same for sent in account.recent):
        return Violation("duplicate_order", f"the same order was let through less than {limits.duplicate_window_s:g} s ago")
    return None


def _repeated(_intent: Intent, account: Account, limits: Limits) -> Violation | None:
    if account.sent_today >= limits.max_orders_per_day:
        return Violation(
            "repeated_execution",
            f"{account.sent_today} orders of this strategy today, allowed are "
            f"{limits.max_orders_per_day} until a person looks at it",
        )
    return None


def _age(_intent: Intent, account: Account, limits: Limits) -> Violation | None:
    age = (account.now_ns + account.late_ns - account.priced_ns) / _NS
    if not age <= limits.max_data_age_s:
        return Violation("data_age", f"the last price is {age:.1f} s old, allowed are {limits.max_data_age_s:g} s")
    if age < 0:
        return Violation("data_age", f"the last price is {-age:.3f} s ahead of the clock")
    return None


def _skew(_intent: Intent, account: Account, limits: Limits) -> Violation | None:
    if not abs(account.clock_skew_ms) <= limits.max_clock_skew_ms:
        return Violation(
            "clock_skew",
            f"our clock is {account.clock_skew_ms:+.0f} ms from the venue's, allowed are {limits.max_clock_skew_ms:g} ms",
        )
    return None


def _order_notional(intent: Intent, account: Account, limits: Limits) -> Violation | None:
    notional = abs(intent.quantity) * _dearest(intent, account)
    if notional > limits.max_order_notional:
        return Violation("max_order_notional", f"order of {notional:.2f} is over {limits.max_order_notional}")
    return None


def _symbol_exposure(intent: Intent, account: Account, limits: Limits) -> Violation | None:
    after = _exposure(intent.symbol, account, intent)
    if after > limits.max_symbol_exposure_notional:
        return Violation(
            "max_symbol_exposure_notional",
            f"{intent.symbol} would reach {after:.2f}, over {limits.max_symbol_exposure_notional}",
        )
    return None


def _total_exposure(intent: Intent, account: Account, limits: Limits) -> Violation | None:
    symbols = {*account.positions, *account.pending, intent.symbol}
    after = sum((_exposure(symbol, account, intent) for symbol in symbols), Decimal(0))
    if after > limits.max_total_exposure_notional:
        return Violation(
            "max_total_exposure_notional", f"all positions would reach {after:.2f}, over {limits.max_total_exposure_notional}"
        )
    return None


def _open_positions(intent: Intent, account: Account, limits: Limits) -> Violation | None:
    held = {symbol for symbol, amount in account.positions.items() if amount}
    held |= {symbol for symbol, amounts in account.pending.items() if any(amounts)}
    count = len(held | {intent.symbol})
    if count > limits.max_open_positions:
        return Violation("max_open_positions", f"{count} positions would be open, allowed are {limits.max_open_positions}")
    return None


def daily_loss(equity: Decimal, day_start: Decimal, limits: Limits) -> list[Violation]:
    """Return which daily loss limits are reached: realised and unrealised since 00:00 UTC, at or below minus the limit."""
    loss = day_start - equity
    found = []
    if loss >= limits.max_daily_loss_abs:
        words = f"the day's loss of {loss:.2f} has reached {limits.max_daily_loss_abs}"
        found.append(Violation("max_daily_loss_abs", words))
    if day_start > 0 and loss * 100 >= limits.max_daily_loss_pct * day_start:
        words = f"the day's loss of {loss * 100 / day_start:.2f} % has reached {limits.max_daily_loss_pct} %"
        found.append(Violation("max_daily_loss_pct", words))
    return found


def _exposure(symbol: str, account: Account, intent: Intent) -> Decimal:
    """Return the largest notional a symbol could reach if this order and any of the working ones were filled.

    Exits may close what is held before the others are filled, so that these could also begin from nothing.
    """
    zero = Decimal(0)
    position = account.positions.get(symbol, zero)
    buys, sells = account.pending.get(symbol, (zero, zero))
    if symbol == intent.symbol:
        buys, sells = buys + max(intent.quantity, zero), sells + min(intent.quantity, zero)
    reached = max(abs(position + buys), abs(position + sells))
    if symbol in account.exiting:
        reached = max(reached, buys, -sells)
    if not reached:
        return zero
    # What can't be priced can't be said to be within a limit.
    price = _dearest(intent, account) if symbol == intent.symbol else account.prices.get(symbol, Decimal("Infinity"))
    return reached * price


def _dearest(intent: Intent, account: Account) -> Decimal:
    """Return the highest price that an order may trade at, as far as it is known."""
    return account.price if intent.price is None else max(account.price, intent.price)


_CONTROLS: tuple[_Check, ...] = (_mode, _symbol, _quantity, _rate, _duplicate, _repeated, _age, _skew)
_LIMITS: tuple[_Check, ...] = (_order_notional, _symbol_exposure, _total_exposure, _open_positions)
_CHECKS: tuple[_Check, ...] = (_collar, *_CONTROLS, *_LIMITS)

#: The limits on size: with `block_on_violation = false` these warn and let pass; daily loss and controls never do.
SOFT = frozenset(
    {
        "max_order_notional",
        "max_symbol_exposure_notional",
        "max_total_exposure_notional",
        "max_open_positions",
    }
)
#: Every code a refusal can carry.
CODES = SOFT | {
    "max_daily_loss_abs",
    "max_daily_loss_pct",
    "price_collar",
    "restricted",
    "paused",
    "killed",
    "symbol_not_allowed",
    "max_order_quantity",
    "order_rate",
    "duplicate_order",
    "repeated_execution",
    "data_age",
    "clock_skew",
}
