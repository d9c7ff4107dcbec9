"""The one place that lets an order pass.

Invariant: an `Approved` is made here and nowhere else, for one intent; every check runs, and a refusal names them all.
Sources of the pre-trade controls: EU RTS 6 (Delegated Regulation 2017/589), article 15, and SEC rule 15c3-5.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, unique
from typing import NamedTuple

from peak_trade.model.errors import InvariantBroken
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
        now_ns: the session's present; priced_ns: when the last price of the intent's symbol was known.
        price: that price; prices: the last price of every symbol.
        positions: signed quantity by symbol, over all strategies.
        pending: by symbol, what working orders may still buy (zero or more) and sell (zero or less), reduce-only ones aside.
        equity, day_start_equity: quote currency; the latter at 00:00 UTC or at the session's start.
        recent: orders let through in the last minute or the duplicate window: when, strategy, symbol, quantity.
        sent_today: orders let through since 00:00 UTC by the intent's strategy.
        clock_skew_ms: our clock minus the venue's.
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


class Sent(NamedTuple):
    """An order that was let through."""

    at_ns: int
    leg: str
    symbol: str
    quantity: Decimal


def reduces(intent: Intent, position: Decimal) -> bool:
    """Tell whether an order can only make the position smaller, never open, enlarge or turn it."""
    return intent.quantity * position < 0 and abs(intent.quantity) <= abs(position)


def judge(intent: Intent, account: Account, limits: Limits) -> Approved | Refused:
    """Run every check; an order that only reduces a position passes all but the collar."""
    reducing = reduces(intent, account.positions.get(intent.symbol, Decimal(0)))
    found = list(_collar(intent, account, limits))
    if not reducing:
        for check in (*_CONTROLS, *_LIMITS):
            found += check(intent, account, limits)
    hard = [item for item in found if limits.block_on_violation or item.code not in SOFT]
    if hard:
        return Refused(intent, tuple(found))
    return Approved(intent, tuple(found), _SEAL)


_Check = Callable[[Intent, Account, Limits], Iterator[Violation]]
_NS = 1_000_000_000


def _collar(intent: Intent, account: Account, limits: Limits) -> Iterator[Violation]:
    """Keep the price of an order near the last price; a trigger may lie anywhere, because nothing trades at it yet."""
    if intent.kind in (OrderKind.STOP, OrderKind.TAKE_PROFIT):
        return
    asked = intent.reference if intent.price is None else intent.price
    if account.price <= 0:
        yield Violation("price_collar", "there is no last price to hold the order's price against")
        return
    away = abs(asked - account.price) / account.price * 100
    if away > limits.price_collar_pct:
        yield Violation(
            "price_collar",
            f"price {asked} is {away:.2f} % from the last {account.price}, allowed are {limits.price_collar_pct} %",
        )


def _mode(intent: Intent, account: Account, _limits: Limits) -> Iterator[Violation]:
    if account.mode is not Mode.RUNNING:
        yield Violation(account.mode.value, f"the session is {account.mode.value}: {intent.symbol} may only be reduced")


def _symbol(intent: Intent, _account: Account, limits: Limits) -> Iterator[Violation]:
    if intent.symbol not in limits.symbols:
        yield Violation("symbol_not_allowed", f"{intent.symbol} is not among the allowed {', '.join(limits.symbols)}")


def _quantity(intent: Intent, _account: Account, limits: Limits) -> Iterator[Violation]:
    if abs(intent.quantity) > limits.max_order_quantity:
        yield Violation("max_order_quantity", f"quantity {abs(intent.quantity)} is over {limits.max_order_quantity}")


def _rate(_intent: Intent, account: Account, limits: Limits) -> Iterator[Violation]:
    count = sum(1 for sent in account.recent if account.now_ns - sent.at_ns < 60 * _NS)
    if count >= limits.max_orders_per_minute:
        yield Violation("order_rate", f"{count} orders in the last minute, allowed are {limits.max_orders_per_minute}")


def _duplicate(intent: Intent, account: Account, limits: Limits) -> Iterator[Violation]:
    window = int(limits.duplicate_window_s * _NS)
    same = (intent.leg, intent.symbol, intent.quantity)
    if any(account.now_ns - sent.at_ns < window and sent[1:] == same for sent in account.recent):
        yield Violation("duplicate_order", f"the same order was let through less than {limits.duplicate_window_s:g} s ago")


def _repeated(_intent: Intent, account: Account, limits: Limits) -> Iterator[Violation]:
    if account.sent_today >= limits.max_orders_per_day:
        yield Violation(
            "repeated_execution",
            f"{account.sent_today} orders of this strategy today, allowed are "
            f"{limits.max_orders_per_day} until a person looks at it",
        )


def _age(_intent: Intent, account: Account, limits: Limits) -> Iterator[Violation]:
    age = (account.now_ns - account.priced_ns) / _NS
    if age > limits.max_data_age_s:
        yield Violation("data_age", f"the last price is {age:.1f} s old, allowed are {limits.max_data_age_s:g} s")
    elif age < 0:
        yield Violation("data_age", f"the last price is {-age:.3f} s ahead of the clock")


def _skew(_intent: Intent, account: Account, limits: Limits) -> Iterator[Violation]:
    if abs(account.clock_skew_ms) > limits.max_clock_skew_ms:
        yield Violation(
            "clock_skew",
            f"our clock is {account.clock_skew_ms:+.0f} ms from the venue's, allowed are {limits.max_clock_skew_ms:g} ms",
        )


def _order_notional(intent: Intent, account: Account, limits: Limits) -> Iterator[Violation]:
    notional = abs(intent.quantity) * account.price
    if notional > limits.max_order_notional:
        yield Violation("max_order_notional", f"order of {notional:.2f} is over {limits.max_order_notional}")


def _symbol_exposure(intent: Intent, account: Account, limits: Limits) -> Iterator[Violation]:
    after = _exposure(intent.symbol, account, intent)
    if after > limits.max_symbol_exposure_notional:
        yield Violation(
            "max_symbol_exposure_notional",
            f"{intent.symbol} would reach {after:.2f}, over {limits.max_symbol_exposure_notional}",
        )


def _total_exposure(intent: Intent, account: Account, limits: Limits) -> Iterator[Violation]:
    symbols = {*account.positions, *account.pending, intent.symbol}
    after = sum((_exposure(symbol, account, intent) for symbol in symbols), Decimal(0))
    if after > limits.max_total_exposure_notional:
        yield Violation(
            "max_total_exposure_notional", f"all positions would reach {after:.2f}, over {limits.max_total_exposure_notional}"
        )


def _open_positions(intent: Intent, account: Account, limits: Limits) -> Iterator[Violation]:
    held = {symbol for symbol, amount in account.positions.items() if amount}
    held |= {symbol for symbol, amounts in account.pending.items() if any(amounts)}
    count = len(held | {intent.symbol})
    if count > limits.max_open_positions:
        yield Violation("max_open_positions", f"{count} positions would be open, allowed are {limits.max_open_positions}")


def _daily_loss(_intent: Intent, account: Account, limits: Limits) -> Iterator[Violation]:
    yield from daily_loss(account.equity, account.day_start_equity, limits)


def daily_loss(equity: Decimal, day_start: Decimal, limits: Limits) -> Iterator[Violation]:
    """Yield which daily loss limits are reached: realised and unrealised since 00:00 UTC, at or below minus the limit."""
    loss = day_start - equity
    if loss >= limits.max_daily_loss_abs:
        yield Violation("max_daily_loss_abs", f"the day's loss of {loss:.2f} has reached {limits.max_daily_loss_abs}")
    if day_start > 0 and loss * 100 >= limits.max_daily_loss_pct * day_start:
        yield Violation(
            "max_daily_loss_pct", f"the day's loss of {loss * 100 / day_start:.2f} % has reached {limits.max_daily_loss_pct} %"
        )


def _exposure(symbol: str, account: Account, intent: Intent) -> Decimal:
    """Return the largest notional a symbol could reach if this order and any of the working ones were filled."""
    zero = Decimal(0)
    position = account.positions.get(symbol, zero)
    buys, sells = account.pending.get(symbol, (zero, zero))
    if symbol == intent.symbol:
        buys, sells = buys + max(intent.quantity, zero), sells + min(intent.quantity, zero)
    return max(abs(position + buys), abs(position + sells)) * account.prices.get(symbol, zero)


_CONTROLS: tuple[_Check, ...] = (_mode, _symbol, _quantity, _rate, _duplicate, _repeated, _age, _skew)
_LIMITS: tuple[_Check, ...] = (_order_notional, _symbol_exposure, _total_exposure, _open_positions, _daily_loss)

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
