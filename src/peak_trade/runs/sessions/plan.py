"""From what was asked for to what will run: every part of a session resolved and checked before anything begins.

Invariant: a plan is made from its specification alone, so that a session can be decided again from its journal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from peak_trade.compose import AccountChoice, DataChoice, Parts
from peak_trade.engine.decider import BLOCK, Decider, Seat
from peak_trade.engine.live import HISTORY_MAX, GrowingBars
from peak_trade.engine.runner import Course
from peak_trade.engine.state import LegPlan, Plan
from peak_trade.journal import operators
from peak_trade.journal.chain import Record
from peak_trade.journal.run import sha256_of
from peak_trade.market.dataset import Dataset
from peak_trade.model.clock import moment
from peak_trade.model.errors import InputError, SafetyRefused
from peak_trade.model.fill_model import IMPACT_MAX
from peak_trade.model.instrument import Instrument, parse_symbol
from peak_trade.model.stage import Stage, not_allowed
from peak_trade.research.terms import DELAY_MAX, Side
from peak_trade.risk.gate import Limits
from peak_trade.runs.configured import configured_params
from peak_trade.runs.fills import check_followed
from peak_trade.runs.limits import limits_of
from peak_trade.runs.record import Json, exact_choice, instrument_from, steps_of
from peak_trade.runs.sessions.market import followed_item, history, journalled_dataset
from peak_trade.settings import TestnetLimits
from peak_trade.strategy.base import Strategy
from peak_trade.strategy.catalogue import Value, make
from peak_trade.strategy.sizing import SizedBy, Sizing
from peak_trade.venue.matching import Costs
from peak_trade.venue.simulated import Market

#: Stages in which a session may run today.
RUNNABLE = frozenset({Stage.SHADOW, Stage.TESTNET})
#: Larger balances would lose digits in the books.
BALANCE_MIN, BALANCE_MAX = Decimal("0.01"), Decimal("1e12")


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """The terms of a session: its account, its market and how positions are sized and left.

    Attributes:
        start_balance: quote currency.
        fee_rate, maker_fee_rate: fractions of the filled notional.
        position_fraction: of equity, for each strategy.
        volume_share: part of a bar's volume that may be taken; 0 is no limit.
        stop_loss, take_profit: fractions of the average entry price; trailing_stop: of the best price. 0 is off.
        warmup_candles: bars before the first decision.
        impact: what an order as large as its bar's volume pays besides, in bar volatilities; 0 is off.
        delay_bars: bars that pass between a decision and its order.
    """

    start_balance: Decimal
    fee_rate: Decimal
    maker_fee_rate: Decimal
    slippage_bps: Decimal
    position_fraction: Decimal
    side: Side
    latency_ms: int = 0
    volume_share: Decimal = Decimal(0)
    stop_loss: Decimal = Decimal(0)
    take_profit: Decimal = Decimal(0)
    trailing_stop: Decimal = Decimal(0)
    warmup_candles: int = 0
    impact: Decimal = Decimal(0)
    delay_bars: int = 0

    def __post_init__(self) -> None:
        ranges: dict[str, tuple[Decimal, Decimal]] = {
            "fee_rate": (self.fee_rate, Decimal(1)),
            "maker_fee_rate": (self.maker_fee_rate, Decimal(1)),
            "slippage_bps": (self.slippage_bps, Decimal(10_000)),
            "stop_loss": (self.stop_loss, Decimal(1)),
            "trailing_stop": (self.trailing_stop, Decimal(1)),
            "take_profit": (self.take_profit, Decimal(1_000_000)),
            "impact": (self.impact, Decimal(IMPACT_MAX)),
        }
        for name, (value, limit) in ranges.items():
            if not (value.is_finite() and 0 <= value < limit):
                raise InputError(f"expected {name} of zero or more and below {limit:f}, found {value}; correct it")
        if not (self.position_fraction.is_finite() and 0 < self.position_fraction <= 1):
            raise InputError(f"expected a position fraction above 0 and up to 1, found {self.position_fraction}; correct it")
        if not (self.start_balance.is_finite() and BALANCE_MIN <= self.start_balance <= BALANCE_MAX):
            raise InputError(
                f"expected a start balance of {BALANCE_MIN} to {BALANCE_MAX:f}, found {self.start_balance}; correct it"
            )
        if not 0 <= self.warmup_candles <= 1_000_000:
            raise InputError(f"expected 0 to 1000000 warm-up candles, found {self.warmup_candles}; correct it")
        if not (self.volume_share.is_finite() and 0 <= self.volume_share <= 1):
            raise InputError(f"expected a share of the volume from 0 to 1, found {self.volume_share}; correct it")
        if not 0 <= self.delay_bars <= DELAY_MAX:
            raise InputError(f"expected delay_bars from 0 to {DELAY_MAX}, found {self.delay_bars}; correct it")

    def to_json(self) -> Json:
        """Return the terms as a JSON object; exact numbers as text; what was not there once is left out where it is off."""
        given = {name: value for name, value in asdict(self).items() if value or name not in ("impact", "delay_bars")}
        plain = {name: str(value) if isinstance(value, Decimal) else value for name, value in given.items()}
        return plain | {"side": self.side.value}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Paper":
        """Read what `to_json` wrote."""
        whole = {name: data[name] for name in ("latency_ms", "warmup_candles", "delay_bars") if name in data}
        exact: dict[str, Any] = {name: Decimal(value) for name, value in data.items() if name not in (*whole, "side")}
        return cls(side=Side(data["side"]), **whole, **exact)

    def market(self) -> Market:
        """Return the market that the simulated venue plays."""
        costs = Costs(self.fee_rate, self.maker_fee_rate, self.slippage_bps / 10_000)
        return Market(
            costs=costs,
            latency_ns=self.latency_ms * 1_000_000,
            volume_share=self.volume_share or None,
            impact=float(self.impact),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequest:
    """What a session is asked to be.

    Attributes:
        strategies: name and given parameters of each; every one trades every symbol.
        data: one choice for each symbol.
        speed: times real time; None is as fast as can be.
        register: whether the registry gets to know of it.
        fresh: begin anew even where a dead session could be gone on with.
    """

    mode: Stage
    run_type: str
    strategies: tuple[tuple[str, Mapping[str, Value]], ...]
    data: tuple[DataChoice, ...]
    paper: Paper
    account: str
    course: Course
    speed: float | None
    env_name: str
    tags: tuple[str, ...] = ()
    notes: str = ""
    cli_args: tuple[str, ...] = ()
    register: bool = True
    fresh: bool = False

    def __post_init__(self) -> None:
        if self.mode not in RUNNABLE:
            raise not_allowed(self.mode)
        if self.account.casefold() == operators.ACCOUNT:
            raise InputError(
                f"expected another --account than {self.account}, under which the journal of operators lies; choose a name"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """A strategy on a symbol, with the name it is booked under."""

    name: str
    strategy: Strategy
    symbol: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPlan:
    """A session with nothing left open; `traded_from` numbers the first bar of each symbol that may be decided on."""

    mode: Stage
    legs: tuple[Leg, ...]
    datasets: Mapping[str, Dataset]
    traded_from: Mapping[str, int]
    paper: Paper
    limits: Limits
    spec: Json

    @property
    def spec_sha256(self) -> str:
        """The identity of what was asked for."""
        return sha256_of(self.spec)

    @property
    def first(self) -> Dataset:
        """The bars that count as steps."""
        return next(iter(self.datasets.values()))

    @property
    def followed(self) -> bool:
        """Whether the session follows markets that are still going on."""
        return "followed_at" in self.spec["data"][0]

    @property
    def instruments(self) -> dict[str, Instrument]:
        """The traded instruments by symbol."""
        return {symbol: dataset.bars.instrument for symbol, dataset in self.datasets.items()}

    def engine_plan(self, origin: str) -> Plan:
        """Return what the engine needs, for a session that began as *origin*."""
        paper = self.paper
        legs = tuple(
            LegPlan(
                name=leg.name,
                symbol=leg.symbol,
                sizing=Sizing(SizedBy.FRACTION, paper.position_fraction),
                longs=paper.side is not Side.SHORT,
                shorts=paper.side is not Side.LONG,
                stop_loss=paper.stop_loss,
                take_profit=paper.take_profit,
                trailing_stop=paper.trailing_stop,
            )
            for leg in self.legs
        )
        return Plan(origin=origin, legs=legs, instruments=self.instruments, limits=self.limits, cash=paper.start_balance)

    def deciders(self, *, timed: bool, growing: Mapping[str, GrowingBars] | None = None) -> dict[str, Decider]:
        """Return who decides on each symbol; in real time a strategy is asked at every bar, else in blocks."""
        return {
            symbol: Decider(
                dataset.bars if growing is None else growing[symbol],
                [
                    Seat(number=n, strategy=leg.strategy, first=self.traded_from[symbol], delay=self.paper.delay_bars)
                    for n, leg in self._on(symbol)
                ],
                1 if timed else BLOCK,
            )
            for symbol, dataset in self.datasets.items()
        }

    def account(self, name: str, origin: str) -> AccountChoice:
        """Return the account that the venue is built for."""
        return AccountChoice(
            name=name,
            origin=origin,
            instruments=self.instruments,
            cash=self.paper.start_balance,
            market=self.paper.market(),
        )

    def _on(self, symbol: str) -> list[tuple[int, Leg]]:
        return [(number, leg) for number, leg in enumerate(self.legs) if leg.symbol == symbol]


def tightened(limits: Limits, testnet: TestnetLimits, symbols: Sequence[str | None]) -> Limits:
    """Return limits that allow no more than those of stage 2 do as well.

    Raises:
        SafetyRefused: a pair has none. InputError: there is no pair.
    """
    known = {parse_symbol(name): found for name, found in testnet.symbols.items()}
    wanted = [parse_symbol(symbol) for symbol in symbols if symbol is not None]
    if not wanted:
        raise InputError("expected a symbol for a testnet session, found none; give --symbol")
    if missing := [symbol for symbol in wanted if symbol not in known]:
        raise SafetyRefused(
            f"expected a pair with limits of its own ({', '.join(known) or 'there is none'}), found {missing[0]}; add a "
            f'section [testnet_limits.symbols."{missing[0]}"], or choose another pair'
        )
    mine = [known[symbol] for symbol in wanted]
    exposure = [found.max_exposure_notional for found in mine]
    return replace(
        limits,
        max_order_notional=min(
            limits.max_order_notional, testnet.run.max_order_notional, *(found.max_order_notional for found in mine)
        ),
        max_symbol_exposure_notional=min(limits.max_symbol_exposure_notional, *exposure),
        max_total_exposure_notional=min(limits.max_total_exposure_notional, sum(exposure, Decimal(0))),
    )


def plan_session(parts: Parts, request: SessionRequest) -> SessionPlan:
    """Resolve a request: load the bars, make the strategies, check what can be checked before the first bar.

    Raises:
        InputError: strategies, data or terms don't fit.
        SafetyRefused: shadow sessions are switched off, or a symbol may not be traded.
    """
    _check_enabled(parts, request.mode)
    strategies = [make(name, configured_params(parts, name, given)) for name, given in request.strategies]
    limits = limits_of(parts.settings.file.live_risk)
    if request.mode is Stage.TESTNET:
        limits = tightened(limits, parts.settings.file.testnet_limits, [choice.symbol for choice in request.data])
    if parts.follows(request.mode):
        check_followed(float(request.paper.impact), [name for name, _ in request.strategies])
    _check_allowed([parse_symbol(choice.symbol) for choice in request.data if choice.symbol is not None], limits)
    datasets, traded_from = {}, {}
    warmup = warmup_of(request, strategies)
    for choice in request.data:
        dataset, first = _bars_of(parts, request, choice, warmup)
        symbol = dataset.bars.instrument.symbol
        if symbol in datasets:
            raise InputError(f"expected each symbol once, found {symbol} twice; remove one")
        datasets[symbol], traded_from[symbol] = dataset, first
    _check_allowed(list(datasets), limits)
    quotes = {dataset.bars.instrument.quote for dataset in datasets.values()}
    if len(quotes) > 1:
        raise InputError(f"expected symbols of one quote currency, found {', '.join(sorted(quotes))}; run a session for each")
    if request.paper.side is Side.BOTH and len(strategies) > 1:
        raise InputError(
            "expected several strategies to trade one side only, found --side both, under which one would close what another "
            "opened; choose long or short, or run a session for each"
        )
    spec = {
        "run_type": request.run_type,
        "mode": request.mode.value,
        "strategies": [[strategy.key, strategy.model_dump(mode="json")] for strategy in strategies],
        "data": [
            _data_item(parts, request, choice, dataset, traded_from[symbol])
            for choice, (symbol, dataset) in zip(request.data, datasets.items(), strict=True)
        ],
        "terms": request.paper.to_json(),
        "limits": _limits_json(limits),
    }
    return _plan(spec, strategies, datasets, traded_from, limits)


def check_ready(parts: Parts, mode: Stage) -> None:
    """Look that sessions of a stage are switched on, and that there is a key where an exchange is asked.

    Raises:
        SafetyRefused: they are not. ConfigError: there is none.
    """
    _check_enabled(parts, mode)
    if parts.follows(mode):
        parts.api_keys()


def _check_enabled(parts: Parts, mode: Stage) -> None:
    file = parts.settings.file
    enabled = {"shadow": file.shadow.enabled, "exchange.kraken_testnet": file.exchange.kraken_testnet.enabled}
    section = "shadow" if mode is Stage.SHADOW else "exchange.kraken_testnet"
    if not enabled[section]:
        raise SafetyRefused(f"expected {section}.enabled = true, found false; switch it on in the configuration")


class WarmUp(NamedTuple):
    """How many bars come before the first decision, and the strategy that needs so many; empty where the terms ask for them."""

    bars: int
    needed_by: str

    def why(self) -> str:
        """Return what asks for so many, and what could be done."""
        if self.needed_by:
            return f"which {self.needed_by} needs with these parameters; give it shorter windows, or more bars"
        return "which the warm-up asks for; give fewer --warmup-candles, or more bars"


def warmup_of(request: SessionRequest, strategies: Sequence[Strategy]) -> WarmUp:
    """Return the longer of what the terms ask for and what the strategies need, the bar that is decided on counted in."""
    asked = request.paper.warmup_candles
    slowest = max(strategies, key=lambda strategy: strategy.warmup())
    needed = slowest.warmup() - 1
    return WarmUp(needed, slowest.key) if needed > asked else WarmUp(asked, "")


def _bars_of(parts: Parts, request: SessionRequest, choice: DataChoice, warmup: WarmUp) -> tuple[Dataset, int]:
    """Return the bars that a plan begins with, and the number of the first that may be decided on."""
    if not parts.follows(request.mode):
        return _with_warmup(parts, choice, warmup)
    if warmup.needed_by and warmup.bars > HISTORY_MAX - 2:
        raise InputError(
            f"expected {warmup.bars} bars before the first decision, {warmup.why()}: the exchange tells only the last "
            f"{HISTORY_MAX - 2}"
        )
    known = history(parts, choice, warmup.bars)
    if warmup.needed_by and len(known.bars) < warmup.bars:
        raise InputError(
            f"expected {warmup.bars} bars of {known.bars.instrument.symbol} before the first decision, {warmup.why()}: the "
            f"exchange has {len(known.bars)}"
        )
    return known, warmup.bars


def _data_item(parts: Parts, request: SessionRequest, choice: DataChoice, dataset: Dataset, traded_from: int) -> Json:
    """Return what a specification says of one symbol's bars."""
    if parts.follows(request.mode):
        return followed_item(choice, dataset, parts.exchange.base_url, traded_from)
    return {
        "choice": exact_choice(choice, dataset).to_json(),
        "sha256": dataset.bars.sha256(),
        "instrument": steps_of(dataset),
        "traded_from": traded_from,
    }


def _check_allowed(symbols: list[str], limits: Limits) -> None:
    if wrong := [symbol for symbol in symbols if symbol not in limits.symbols]:
        raise SafetyRefused(
            f"expected a symbol that [live_risk] allows ({', '.join(limits.symbols)}), found {', '.join(wrong)}; "
            "every order of it would be refused: add it to live_risk.symbols, or choose another"
        )


def recorded_plan(parts: Parts, spec: Json, records: Sequence[Record]) -> SessionPlan:
    """Return the plan of a session as its journal has it, with the data of today, or of the journal where it has it.

    Raises:
        InputError: the data is gone.
    """
    if Stage(spec["mode"]) not in RUNNABLE:
        raise not_allowed(Stage(spec["mode"]))
    strategies = [make(key, params) for key, params in spec["strategies"]]
    datasets, traded_from = {}, {}
    for item in spec["data"]:
        if "followed_at" in item:
            dataset = journalled_dataset(item, records)
            datasets[dataset.bars.instrument.symbol] = dataset
            traded_from[dataset.bars.instrument.symbol] = item["traded_from"]
            continue
        dataset = parts.dataset(DataChoice.from_json(item["choice"]))
        instrument = instrument_from(item["instrument"])
        if (found := dataset.bars.sha256()) != item["sha256"]:
            raise InputError(
                f"expected the bars of {instrument.symbol} that the session ran on ({item['sha256'][:16]}), found others "
                f"({found[:16]}); restore that data"
            )
        datasets[instrument.symbol] = replace(dataset, bars=replace(dataset.bars, instrument=instrument))
        traded_from[instrument.symbol] = item["traded_from"]
    return _plan(spec, strategies, datasets, traded_from, _limits_from(spec["limits"]))


def _plan(
    spec: Json,
    strategies: list[Strategy],
    datasets: Mapping[str, Dataset],
    traded_from: Mapping[str, int],
    limits: Limits,
) -> SessionPlan:
    keys = [strategy.key for strategy in strategies]
    if len(set(keys)) < len(keys):
        raise InputError(f"expected each strategy once, found {', '.join(keys)}; remove one")
    legs = tuple(
        Leg(name=strategy.key if len(datasets) == 1 else f"{strategy.key}@{symbol}", strategy=strategy, symbol=symbol)
        for symbol in datasets
        for strategy in strategies
    )
    return SessionPlan(
        mode=Stage(spec["mode"]),
        legs=legs,
        datasets=datasets,
        traded_from=traded_from,
        paper=Paper.from_json(spec["terms"]),
        limits=limits,
        spec=spec,
    )


def _with_warmup(parts: Parts, choice: DataChoice, needed: WarmUp) -> tuple[Dataset, int]:
    """Return the bars of a choice with the warm-up before its start, and the number of the first bar to be decided on.

    Where less than that comes before the start, the rest of the warm-up is taken from the first bars.
    """
    warmup = needed.bars
    whole = parts.dataset(replace(choice, start=None))
    stamps = whole.bars.timestamp
    begin = 0 if choice.start is None else len(whole.bars.between(None, choice.start))
    first = max(0, begin - warmup)
    if len(stamps) - first - warmup < 1:
        raise InputError(
            f"expected bars to trade after {warmup:,} of warm-up, found {len(stamps) - first:,} in all "
            f"(the data covers {whole.period()}), {needed.why()}"
        )
    start: datetime | None = moment(int(stamps[first])) if first else None
    return whole.between(start, None), warmup


def _limits_json(limits: Limits) -> Json:
    found = asdict(limits)
    return {
        name: str(value) if isinstance(value, Decimal | float) else list(value) if isinstance(value, tuple) else value
        for name, value in found.items()
    }


def _limits_from(data: Json) -> Limits:
    kinds: dict[str, Any] = {field.name: field.type for field in fields(Limits)}
    read: dict[str, Any] = {
        name: kinds[name](value) if kinds[name] in (Decimal, float) else value for name, value in data.items()
    }
    return Limits(**read | {"symbols": tuple(data["symbols"])})
