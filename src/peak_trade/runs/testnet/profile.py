"""From a profile of the configuration to a testnet session: its terms, checked against every limit, then its request.

Invariant: what a command asks for lies at or below its profile, and a profile at or below the limits; else nothing begins.
Invariant: the session runs under settings that were narrowed to its terms, so that the risk gate itself holds it to them.
"""

import contextlib
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

from peak_trade.compose import DataChoice, Parts
from peak_trade.engine.runner import Course
from peak_trade.model.address import is_loopback
from peak_trade.model.bar import Timeframe
from peak_trade.model.errors import InputError, NotFound, SafetyRefused
from peak_trade.model.instrument import parse_symbol
from peak_trade.model.stage import Stage
from peak_trade.research.terms import Side
from peak_trade.runs.configured import configured_params
from peak_trade.runs.sessions.plan import Paper, SessionRequest
from peak_trade.runs.trading.testnet_budget import BUDGET_FOLDER, TestnetBudget
from peak_trade.settings import Settings, SymbolLimits, TestnetProfile
from peak_trade.strategy.catalogue import make

Number = TypeVar("Number", int, float, Decimal)
LIVE_SESSION_TESTNET = "live_session_testnet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """What a command asks for in place of its profile; None leaves it.

    Attributes:
        minutes: length of the session. max_order_notional: quote currency.
    """

    minutes: float | None = None
    max_orders: int | None = None
    max_order_notional: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileTerms:
    """What a testnet session may do, checked; amounts in quote currency."""

    name: str
    profile: TestnetProfile
    symbols: tuple[str, ...]
    params: Mapping[str, Any]
    minutes: float
    max_orders: int
    max_order_notional: Decimal
    max_exposure_notional: Decimal
    max_total_notional: Decimal

    def to_json(self) -> dict[str, Any]:
        """Return the terms as a JSON object; amounts as text."""
        profile = self.profile
        return {
            "profile": self.name,
            "description": profile.description,
            "strategy": profile.strategy,
            "params": dict(self.params),
            "symbols": list(self.symbols),
            "timeframe": profile.timeframe,
            "side": profile.side,
            "warmup_candles": profile.warmup_candles,
            "start_balance": str(profile.start_balance),
            "position_fraction": profile.position_fraction,
            "duration_minutes": self.minutes,
            "max_orders": self.max_orders,
            "max_order_notional": str(self.max_order_notional),
            "max_exposure_notional": str(self.max_exposure_notional),
        }


def budget_of(parts: Parts) -> TestnetBudget:
    """Return the daily budget of this state folder."""
    return TestnetBudget(parts.state / BUDGET_FOLDER, parts.settings.file.testnet_limits.daily)


@contextlib.contextmanager
def at_exchange(parts: Parts, *, emulated: bool, speed: float = 1.0) -> Iterator[Parts]:
    """Yield the parts as they are, or with an emulator of this run, and its keys, in place of the exchange.

    Args:
        parts: as they are configured.
        emulated: whether an emulator is wanted; speed: how much faster than the machine's its clock goes.

    Raises:
        InputError: a speed of an exchange that is no emulator on this machine.
        StorageError: the emulator does not start.
    """
    if not emulated:
        if speed == 1.0:
            yield parts
            return
        if not is_loopback(parts.exchange.base_url):
            raise InputError(
                "expected --speed with an emulator, found it with an exchange whose clock is everybody's; leave it out"
            )
        with contextlib.closing(Parts(parts.settings, speed)) as there:
            yield there
        return
    from peak_trade.runs.emulated import emulator_for_run

    with emulator_for_run(speed=speed) as run:
        place = parts.settings.pointed_at(run.base_url, f"{run.stream_url}/v2", *run.keys["trading"])
        short = Parts(place).api_keys().short
        try:
            with contextlib.closing(Parts(place, speed)) as there:
                yield there
        finally:
            # Nobody will use this key again.
            for path in parts.nonces.glob(f"*nonce-{short}*"):
                path.unlink(missing_ok=True)
            parts.holds.keys.forget(short)


def find_profile(settings: Settings, name: str) -> TestnetProfile:
    """Return a profile by its name.

    Raises:
        NotFound: there is none; names the nearest.
    """
    profiles = settings.file.testnet_profiles
    if name in profiles:
        return profiles[name]
    close = difflib.get_close_matches(name, profiles, n=1)
    there = f"there are {', '.join(profiles)}" if profiles else "add a section [testnet_profiles.NAME]"
    raise NotFound(
        f"expected a profile of {settings.path}, found {name!r}; " + (f"did you mean {close[0]}?" if close else there)
    )


def terms_of(parts: Parts, name: str, lowered: Lowered | None = None) -> ProfileTerms:
    """Check a profile, and what a command asks for in its place, against every limit.

    Raises:
        InputError: no such profile, strategy, parameter, symbol or length of a bar.
        SafetyRefused: stage 2 is switched off, a pair is not allowed, or a value lies above its limit.
    """
    settings, lowered = parts.settings, lowered or Lowered()
    profile = find_profile(settings, name)
    where = f"testnet_profiles.{name}"
    if not settings.file.exchange.kraken_testnet.enabled:
        raise SafetyRefused("expected exchange.kraken_testnet.enabled = true, found false; switch it on in the configuration")
    params = configured_params(parts, profile.strategy, profile.params)
    make(profile.strategy, params)
    Timeframe.parse(profile.timeframe)
    symbols = tuple(parse_symbol(symbol) for symbol in profile.symbols)
    if len(set(symbols)) < len(symbols):
        raise InputError(f"expected each pair once in {where}.symbols, found {', '.join(symbols)}; remove one")
    limits = [_limits_of(settings, symbol) for symbol in symbols]
    run = settings.file.testnet_limits.run
    _at_most(profile.duration_minutes, run.max_duration_minutes, f"{where}.duration_minutes", "testnet_limits.run")
    _at_most(profile.max_orders, run.max_orders, f"{where}.max_orders", "testnet_limits.run")
    _at_most(profile.max_order_notional, run.max_order_notional, f"{where}.max_order_notional", "testnet_limits.run")
    for symbol, limit in zip(symbols, limits, strict=True):
        place = f'testnet_limits.symbols."{symbol}"'
        _at_most(profile.max_order_notional, limit.max_order_notional, f"{where}.max_order_notional", place)
    return ProfileTerms(
        name=name,
        profile=profile,
        symbols=symbols,
        params=params,
        minutes=_lower(lowered.minutes, profile.duration_minutes, "--duration", f"{where}.duration_minutes"),
        max_orders=_lower(lowered.max_orders, profile.max_orders, "--max-orders", f"{where}.max_orders"),
        max_order_notional=_lower(
            lowered.max_order_notional, profile.max_order_notional, "--max-order-notional", f"{where}.max_order_notional"
        ),
        max_exposure_notional=min(limit.max_exposure_notional for limit in limits),
        max_total_notional=sum((limit.max_exposure_notional for limit in limits), Decimal(0)),
    )


def narrowed(settings: Settings, terms: ProfileTerms) -> Settings:
    """Return settings whose [live_risk] allows no more than the terms do."""
    risk = settings.file.live_risk
    return settings.with_risk(
        max_order_notional=min(risk.max_order_notional, terms.max_order_notional),
        max_symbol_exposure_notional=min(risk.max_symbol_exposure_notional, terms.max_exposure_notional),
        max_total_exposure_notional=min(risk.max_total_exposure_notional, terms.max_total_notional),
        max_orders_per_day=min(risk.max_orders_per_day, terms.max_orders),
        symbols=terms.symbols,
    )


def request_of(
    parts: Parts,
    terms: ProfileTerms,
    *,
    tags: tuple[str, ...] = (),
    notes: str = "",
    cli_args: tuple[str, ...] = (),
) -> SessionRequest:
    """Return what the session of a profile is asked to be; *parts* are those of the narrowed settings.

    Raises:
        SafetyRefused: this version runs no sessions of stage 2.
    """
    file, profile = parts.settings.file, terms.profile
    paper = file.shadow_paper
    return SessionRequest(
        mode=Stage.TESTNET,
        run_type=LIVE_SESSION_TESTNET,
        strategies=((profile.strategy, profile.params),),
        data=tuple(DataChoice(path=None, symbol=symbol, timeframe=profile.timeframe) for symbol in terms.symbols),
        paper=Paper(
            start_balance=profile.start_balance,
            fee_rate=Decimal(repr(paper.fee_rate)),
            maker_fee_rate=Decimal(repr(paper.maker_fee_rate)),
            slippage_bps=Decimal(repr(paper.slippage_bps)),
            position_fraction=Decimal(repr(profile.position_fraction)),
            side=Side(profile.side),
            stop_loss=Decimal(repr(file.risk.stop_loss)),
            take_profit=Decimal(repr(file.risk.take_profit)),
            trailing_stop=Decimal(repr(file.risk.trailing_stop)),
            warmup_candles=profile.warmup_candles,
        ),
        account=f"testnet-{terms.name}",
        course=Course(duration_s=terms.minutes * 60, orders=terms.max_orders),
        speed=1.0,
        env_name=file.environment.name,
        tags=(*tags, terms.name),
        notes=notes,
        cli_args=cli_args,
    )


def remarks_on(parts: Parts, terms: ProfileTerms) -> list[str]:
    """Return what a person should know of terms that are allowed, but may not do what was meant."""
    entry = terms.profile.start_balance * Decimal(repr(terms.profile.position_fraction))
    said = []
    if entry > terms.max_order_notional:
        said.append(
            f"an entry is about {entry.normalize():f}, above the largest order of {terms.max_order_notional.normalize():f}: "
            "every one will be refused; lower position_fraction"
        )
    for symbol in terms.symbols:
        least = parts.instrument(symbol).min_notional
        if entry < least:
            said.append(f"an entry is about {entry.normalize():f}, below the smallest order of {symbol}, {least.normalize():f}")
    return said


def _limits_of(settings: Settings, symbol: str) -> SymbolLimits:
    """Return the limits of a pair.

    Raises:
        SafetyRefused: it has none, or [live_risk] does not allow it.
    """
    limits = {parse_symbol(name): limit for name, limit in settings.file.testnet_limits.symbols.items()}
    allowed = settings.file.live_risk.symbols
    if symbol not in limits:
        raise SafetyRefused(
            f"expected a pair with limits of its own ({', '.join(limits) or 'there is none'}), found {symbol}; add a section "
            f'[testnet_limits.symbols."{symbol}"], or choose another pair'
        )
    if symbol not in allowed:
        raise SafetyRefused(
            f"expected a pair that live_risk.symbols allows ({', '.join(allowed)}), found {symbol}; add it, or choose another"
        )
    return limits[symbol]


def _at_most(value: float | Decimal, limit: float | Decimal, name: str, section: str) -> None:
    if value > limit:
        raise SafetyRefused(
            f"expected {name} of at most {limit:g}, the limit in [{section}], found {value:g}; lower it, or raise that limit"
        )


def _lower(given: Number | None, most: Number, option: str, name: str) -> Number:
    """Return what was given where it is not above the profile's.

    Raises:
        InputError: it is not above zero. SafetyRefused: it is larger.
    """
    if given is None:
        return most
    if not given > 0:
        raise InputError(f"expected {option} above zero, found {given:g}; correct it")
    if given > most:
        raise SafetyRefused(
            f"expected {option} of at most {most:g} ({name}), found {given:g}; a command only lowers: ask for less, or change "
            "the profile"
        )
    return given
