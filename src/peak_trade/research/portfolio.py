"""Several strategies on several symbols with one cash account.

Each pair of a strategy and a symbol is a sleeve. Its allotment is a share of the equity, its weight; `kernel.simulate_all` has
the rules by which sleeves trade, and what happens where the cash does not suffice.

Weights are renewed every so many steps from closes up to that step, so an order that they size is filled after it. A symbol
without a bar keeps its last close and is not traded.

Invariant: nothing at a step depends on bars after it.
Invariant: a portfolio of one sleeve is the backtest of its strategy, fill by fill.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum, unique
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from peak_trade.model.bar import F64, I64, Bars
from peak_trade.model.clock import moment_text
from peak_trade.model.errors import InputError, StrategyError
from peak_trade.research.backtest import FILL_KINDS, TRIP_KINDS, Fills, RoundTrips
from peak_trade.research.kernel import BY_FRACTION, Rules, Tally, compiled
from peak_trade.research.metrics import Metrics, judge
from peak_trade.research.terms import Terms
from peak_trade.strategy.base import Strategy, checked_targets
from peak_trade.strategy.indicators import Shared, sharing

#: A deviation of returns smaller than this is no risk that is known.
QUIET = 1e-12
#: A limit is told to have bitten from so much above it on, relative: 0.1 ten times is not 1 in floats.
BITTEN = 1e-9


@unique
class Weighing(Enum):
    """How allotments are found: the same for each, inverse to the volatility of the symbol, or given."""

    EQUAL = "equal"
    INVERSE_VOLATILITY = "inverse_volatility"
    GIVEN = "given"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleeve:
    """A strategy on a symbol (its place among the bars), with the weight that is given where weights are."""

    strategy: Strategy
    symbol: int
    weight: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Allotting:
    """How allotments are found and held.

    Attributes:
        weighing: equal and inverse volatility sum up to one over all sleeves; given ones are taken as they are.
        every: steps for which weights hold. resized: whether positions are resized whenever they are renewed.
        lookback: returns that volatility and correlation are taken from; before that many a symbol has neither.
        correlation_most: a symbol's weights are divided by the number of symbols, itself included, whose returns have a
            correlation with its above this; what is freed stays cash. 1 is off.
        symbol_most, total_most: largest sum of weights of a symbol and of all, shares of the equity. They bound what is
            decided; what prices do to a position afterwards is traded against when positions are resized, and not before.
    """

    weighing: Weighing = Weighing.EQUAL
    every: int = 24
    resized: bool = False
    lookback: int = 100
    correlation_most: float = 1.0
    symbol_most: float = 1.0
    total_most: float = 1.0

    def __post_init__(self) -> None:
        for name, value, least in (("every", self.every, 1), ("lookback", self.lookback, 2)):
            if value < least:
                raise InputError(f"expected {name} of at least {least} steps, found {value}; correct it")
        for name, share in (("symbol_most", self.symbol_most), ("total_most", self.total_most)):
            if not 0.0 < share <= 1.0:
                raise InputError(f"expected {name} above zero and up to 1, found {share:g}; correct it")
        if not -1.0 <= self.correlation_most <= 1.0:
            raise InputError(f"expected correlation_most of -1 to 1, found {self.correlation_most:g}; correct it")

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self) | {"weighing": self.weighing.value}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Allotting":
        """Read what `to_json` wrote."""
        return cls(**dict(data) | {"weighing": Weighing(data["weighing"])})


class Allotted(NamedTuple):
    """Weights over time, and where a limit made them smaller.

    Attributes:
        weights: (dates, sleeves), shares of the equity.
        alike: (dates, symbols), where the limit of correlation divided a symbol's weights.
        crowded: (dates, symbols), where the limit of a symbol scaled them down.
        full: (dates,), where the limit of all did.
    """

    weights: F64
    alike: Any
    crowded: Any
    full: Any


class LegPaths(NamedTuple):
    """What each sleeve held and had earned at each close, (steps, sleeves), quote currency.

    Attributes:
        values: of the position, negative where it is short. profits: after fees since the beginning, this value included.
    """

    values: F64
    profits: F64


@dataclass(frozen=True, slots=True, kw_only=True)
class Portfolio:
    """What a portfolio gave.

    Attributes:
        timestamp: the union of all open times (steps,), nanoseconds UTC. equity: at each close (steps,), quote currency.
        fills: in order of time; `bar` counts steps. sleeve: of each fill (fills,).
        closes: of each symbol (steps, symbols), carried on where it has no bar, zero before its first.
        allotted: weights, renewed at `weighed` (dates,), nanoseconds UTC.
        trips: round trips of each sleeve, whose bars count steps; the last one of each may be open.
        profit, fees: of each sleeve (sleeves,), quote currency; what is still held counts at its last close.
    """

    markets: tuple[Bars, ...]
    sleeves: tuple[Sleeve, ...]
    terms: Terms
    allotting: Allotting
    timestamp: I64
    closes: F64
    equity: F64
    fills: Fills
    sleeve: I64
    weighed: I64
    allotted: Allotted
    trips: tuple[RoundTrips, ...]
    profit: F64
    fees: F64
    tally: Tally
    metrics: Metrics

    @property
    def weights(self) -> F64:
        """The weights (dates, sleeves)."""
        return self.allotted.weights

    def sha256(self) -> str:
        """Return the hash over every fill, every weight and every value of the equity."""
        fills = self.fills
        digest = hashlib.sha256(f"{len(self.equity)} {len(fills)} {self.weights.shape}\n".encode())
        for column in (self.equity, fills.bar, self.sleeve, fills.quantity, fills.price, fills.fee, fills.reason, self.weights):
            digest.update(np.ascontiguousarray(column, dtype=column.dtype.newbyteorder("<")).data)
        return digest.hexdigest()

    def paths(self) -> LegPaths:
        """Return what each sleeve held and earned over time; the profits at a step are equity less the starting cash."""
        shape = (len(self.timestamp), len(self.sleeves))
        values, profits = np.zeros(shape), np.zeros(shape)
        flows = -(self.fills.quantity * self.fills.price + self.fills.fee)
        for number, item in enumerate(self.sleeves):
            own = np.flatnonzero(self.sleeve == number)
            latest = np.searchsorted(self.fills.bar[own], np.arange(shape[0]), side="right")
            lots = np.append(0.0, self.fills.lots_after[own])[latest]
            lot = float(self.markets[item.symbol].instrument.lot_step)
            values[:, number] = lots * lot * self.closes[:, item.symbol]
            profits[:, number] = np.append(0.0, np.cumsum(flows[own]))[latest] + values[:, number]
        return LegPaths(values, profits)

    def attribution(self) -> pl.DataFrame:
        """Return a row for each sleeve: symbol, strategy, profit after fees, fees, fills; the profits are the total's."""
        return pl.DataFrame(
            {
                "symbol": [self.markets[item.symbol].instrument.symbol for item in self.sleeves],
                "strategy": [item.strategy.key for item in self.sleeves],
                "profit": self.profit,
                "fees": self.fees,
                "fills": np.bincount(self.sleeve, minlength=len(self.sleeves)),
            }
        )


def portfolio(markets: Sequence[Bars], sleeves: Sequence[Sleeve], terms: Terms, allotting: Allotting) -> Portfolio:
    """Run a portfolio under the kernel's rules.

    Args:
        markets: bars of each symbol, of one length and one quote currency.
        terms: cash, costs, side and exits of all; sized by a fraction, which is taken of each allotment.

    Raises:
        InputError: no sleeve, symbols that don't go together, or weights that are missing or none.
        StrategyError: a strategy failed, or a target is no number in [-1, 1].
    """
    _check(markets, sleeves, terms, allotting)
    merged = np.sort(np.concatenate([bars.timestamp for bars in markets]))
    stamps: I64 = merged[np.append(True, merged[1:] != merged[:-1])]
    places = [np.searchsorted(stamps, bars.timestamp) for bars in markets]
    prices, there = _aligned(markets, places, len(stamps))
    targets = np.zeros((len(stamps), len(sleeves)))
    for symbol, bars in enumerate(markets):
        with sharing(Shared()):
            for number, item in enumerate(sleeves):
                if item.symbol == symbol:
                    targets[places[symbol], number] = checked_targets(bars, item.strategy)
    allotted = allot(prices[3], there, sleeves, allotting)
    instruments = [bars.instrument for bars in markets]
    steps_of = tuple(np.array([float(getattr(one, name)) for one in instruments]) for name in _STEPS)
    rules = terms.rules(instruments[0])
    count = len(sleeves)
    state = (*(np.zeros(count) for _ in range(7)), np.zeros(len(markets)))
    room = _room(targets, allotting)
    rows: tuple[Any, ...] = tuple(np.empty(room, dtype=kind) for kind in (*FILL_KINDS, np.int64))
    equity = np.empty(len(stamps))
    chosen = np.array([item.symbol for item in sleeves])
    plan = (chosen, targets, allotted.weights, allotting.every, int(allotting.resized))
    tally = compiled().simulate_all((*prices, there), plan, rules, steps_of, equity, rows, state)
    if tally.bad >= 0:
        step, number = divmod(tally.bad, count)
        raise StrategyError(
            f"expected targets in [-1, 1] from {sleeves[number].strategy.key}, found {targets[step, number]} at "
            f"{moment_text(int(stamps[step]))}; mend the strategy"
        )
    rows = tuple(row[: tally.fills].copy() for row in rows)
    fills: list[Any] = list(rows[:6])
    held = state[0] * steps_of[0][chosen] * state[7][chosen]
    each = _by_sleeve(rows, count)
    profit, fees = _attributed(each, held)
    trips = tuple(_trips(part) for part in each)
    return Portfolio(
        markets=tuple(markets),
        sleeves=tuple(sleeves),
        terms=terms,
        allotting=allotting,
        timestamp=stamps,
        closes=prices[3],
        equity=equity,
        fills=Fills(**dict(zip(Fills.__slots__, fills, strict=True))),
        sleeve=rows[6],
        weighed=stamps[:: allotting.every],
        allotted=allotted,
        trips=trips,
        profit=profit,
        fees=fees,
        tally=tally,
        metrics=_judged(markets, stamps, equity, rows, trips, tally, rules),
    )


_STEPS = ("lot_step", "min_quantity", "min_notional")


def allot(closes: F64, there: Any, sleeves: Sequence[Sleeve], allotting: Allotting) -> Allotted:
    """Return the weights of each date, from closes (steps, symbols) up to its own step.

    A symbol whose volatility is not known yet, or that did not move, gets nothing where weights are inverse to it.
    """
    steps, symbols = closes.shape
    chosen = np.array([item.symbol for item in sleeves])
    returns = np.zeros((steps, symbols))
    np.divide(closes[1:], closes[:-1], out=returns[1:], where=closes[:-1] > 0.0)
    returns[1:][closes[:-1] > 0.0] -= 1.0
    begun = np.argmax(there == 1, axis=0)
    dates = (steps - 1) // allotting.every + 1
    found = np.empty((dates, len(sleeves)))
    shared, crowded = np.zeros((dates, symbols), dtype=bool), np.zeros((dates, symbols), dtype=bool)
    full = np.zeros(dates, dtype=bool)
    plain = allotting.weighing is not Weighing.INVERSE_VOLATILITY and allotting.correlation_most >= 1.0
    for date in range(dates):
        step = date * allotting.every
        known = begun + allotting.lookback <= step
        recent = returns[:0] if plain or not known.any() else returns[step + 1 - allotting.lookback : step + 1]
        spread = recent.std(axis=0, ddof=1) if len(recent) else np.zeros(symbols)
        known &= spread > QUIET
        own = _by_rule(sleeves, chosen, spread, known, allotting.weighing)
        if allotting.correlation_most < 1.0 and known.any():
            divisors = _alike(recent, spread, known, allotting.correlation_most)
            shared[date] = (divisors > 1.0) & (np.bincount(chosen, own, symbols) > 0.0)
            own = own / divisors[chosen]
        found[date], crowded[date], full[date] = _within(own, chosen, symbols, allotting)
    return Allotted(found, shared, crowded, full)


def _by_rule(sleeves: Sequence[Sleeve], chosen: I64, spread: F64, known: Any, weighing: Weighing) -> F64:
    if weighing is Weighing.EQUAL:
        return np.full(len(sleeves), 1.0 / len(sleeves))
    if weighing is Weighing.GIVEN:
        return np.array([item.weight or 0.0 for item in sleeves])
    calm = np.divide(1.0, spread, out=np.zeros(len(spread)), where=known)[chosen]
    total = calm.sum()
    return np.asarray(calm / total if total > 0.0 else calm)


def _alike(recent: F64, spread: F64, known: Any, most: float) -> F64:
    """Return for each symbol how many, itself included, move with it."""
    scaled = np.divide(recent - recent.mean(axis=0), spread, out=np.zeros(recent.shape), where=known)
    alike = (scaled.T @ scaled) / (len(recent) - 1) > most
    alike[~known] = False
    alike[:, ~known] = False
    np.fill_diagonal(alike, val=True)
    return np.asarray(alike.sum(axis=1), dtype=np.float64)


def _within(weights: F64, chosen: I64, symbols: int, allotting: Allotting) -> tuple[F64, Any, bool]:
    """Scale weights down to the limits of a symbol and of all; tell of which symbols, and whether of all."""
    each = np.bincount(chosen, weights, symbols)
    scale = np.ones(symbols)
    np.divide(allotting.symbol_most, each, out=scale, where=each > allotting.symbol_most)
    bound = weights * scale[chosen]
    total = bound.sum()
    found = np.asarray(bound * (allotting.total_most / total) if total > allotting.total_most else bound)
    return found, each > allotting.symbol_most * (1.0 + BITTEN), bool(total > allotting.total_most * (1.0 + BITTEN))


def _check(markets: Sequence[Bars], sleeves: Sequence[Sleeve], terms: Terms, allotting: Allotting) -> None:
    if not sleeves or min(len(bars) for bars in markets) < 2:
        raise InputError("expected at least one strategy on at least one symbol with 2 bars, found fewer; add them")
    first = markets[0]
    for bars in markets[1:]:
        if bars.timeframe != first.timeframe or bars.instrument.quote != first.instrument.quote:
            raise InputError(
                f"expected symbols of one timeframe and one quote currency, found {first.instrument.symbol} "
                f"{first.timeframe.label} beside {bars.instrument.symbol} {bars.timeframe.label}; choose others"
            )
    names = [bars.instrument.symbol for bars in markets]
    if len(set(names)) < len(names):
        raise InputError(f"expected each symbol once, found {', '.join(names)}; remove one")
    for number, item in enumerate(sleeves):
        if any(item.symbol == other.symbol and item.strategy == other.strategy for other in sleeves[:number]):
            raise InputError(
                f"expected each strategy with its parameters once on a symbol, found {item.strategy.key} twice on "
                f"{names[item.symbol]}; remove one"
            )
    if terms.rules(first.instrument).sizing != BY_FRACTION:
        raise InputError(f"expected a fraction as the sizing of a portfolio, found {terms.sizing}; write fraction=1")
    if terms.scarcity() or terms.delay_bars:
        raise InputError(
            "expected fixed fills at the next open in a portfolio, found a fill model, a share or a delay; take it off"
        )
    if allotting.weighing is Weighing.GIVEN:
        given = [item.weight for item in sleeves]
        if (
            any(weight is None or not 0.0 <= weight <= 1.0 for weight in given)
            or math.fsum(w or 0.0 for w in given) > 1.0 + 1e-9
        ):
            raise InputError(f"expected a weight of 0 to 1 for each sleeve, together at most 1, found {given}; correct them")


def _aligned(markets: Sequence[Bars], places: Sequence[I64], steps: int) -> tuple[tuple[F64, ...], Any]:
    """Return opens, highs, lows and closes (steps, symbols), closes carried on, and 1 where a symbol has a bar."""
    there = np.zeros((steps, len(markets)), dtype=np.int8)
    prices = tuple(np.zeros((steps, len(markets))) for _ in range(4))
    for symbol, (bars, place) in enumerate(zip(markets, places, strict=True)):
        there[place, symbol] = 1
        for column, name in zip(prices, ("open", "high", "low", "close"), strict=True):
            column[place, symbol] = getattr(bars, name)
        latest = np.maximum.accumulate(np.where(there[:, symbol] == 1, np.arange(steps), 0))
        prices[3][:, symbol] = prices[3][latest, symbol]
    return prices, there


def _room(targets: F64, allotting: Allotting) -> int:
    """Return how many fills there can be at most: one for each decision, and one for what ends it early."""
    changes = int(np.count_nonzero(targets[1:] != targets[:-1])) + int(targets.shape[1])
    # A symbol without a bar has a target of zero there, which is no decision; so this counts more than there are.
    dates = ((len(targets) - 1) // allotting.every + 1) * int(targets.shape[1]) if allotting.resized else 0
    return 2 * (changes + dates) + 2


def _by_sleeve(rows: tuple[Any, ...], count: int) -> list[tuple[Any, ...]]:
    """Return the rows of each sleeve's fills, in order of time."""
    order = np.argsort(rows[6], kind="stable")
    ends = np.searchsorted(rows[6][order], np.arange(1, count))
    columns = [np.split(row[order], ends) for row in rows[:6]]
    return list(zip(*columns, strict=True))


def _attributed(each: Sequence[tuple[Any, ...]], held: F64) -> tuple[F64, F64]:
    """Return profit and fees of each sleeve: what its fills brought, and what it still holds at its last close."""
    flows = [-(part[1] * part[2] + part[3]) for part in each]
    profit = np.array([math.fsum([*flow, worth]) for flow, worth in zip(flows, held, strict=True)])
    return profit, np.array([math.fsum(part[3]) for part in each])


def _trips(rows: tuple[Any, ...]) -> RoundTrips:
    """Pair a sleeve's fills into round trips."""
    trips: tuple[Any, ...] = tuple(np.empty(2 * len(rows[0]) + 2, dtype=kind) for kind in TRIP_KINDS)
    found = int(compiled().pair(len(rows[0]), rows, trips))
    kept: list[Any] = [row[:found] for row in trips]
    return RoundTrips(**dict(zip(RoundTrips.__slots__, kept, strict=True)))


def _judged(
    markets: Sequence[Bars],
    stamps: I64,
    equity: F64,
    rows: tuple[Any, ...],
    each: Sequence[RoundTrips],
    tally: Tally,
    rules: Rules,
) -> Metrics:
    """Return the figures of the whole; round trips are those of each sleeve."""
    closed = [part.exit_bar >= 0 for part in each]
    trips = tuple(
        np.concatenate([getattr(part, name)[done] for part, done in zip(each, closed, strict=True)])
        for name in RoundTrips.__slots__
    )
    figures = compiled().measure(equity, rules.cash, tally.fills, rows[:6], len(trips[0]), trips)
    step_s = markets[0].timeframe.seconds
    return judge(
        figures._replace(entries=sum(len(part) for part in each)),
        tally,
        cash=rules.cash,
        bars=len(stamps),
        step_s=step_s,
        periods=max(bars.instrument.periods_per_year(step_s) for bars in markets),
        span_s=float(stamps[-1] - stamps[0]) / 1e9,
    )
