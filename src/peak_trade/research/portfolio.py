"""Several strategies on several symbols with one cash account.

Each pair of a strategy and a symbol is a sleeve. Its allotment is a share of the equity, its weight; `kernel.simulate_all` has
the rules by which sleeves trade, and what happens where the cash does not suffice.

Weights are renewed every so many steps from closes up to that step, so an order that they size is filled after it. A symbol
without a bar keeps its last close and is not traded.

Invariant: nothing at a step depends on bars after it.
Invariant: a portfolio of one sleeve is the backtest of its strategy, fill by fill.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, unique
from typing import Any

import numpy as np
import polars as pl

from peak_trade.model.bar import F64, I64, Bars
from peak_trade.model.clock import moment_text
from peak_trade.model.errors import InputError, StrategyError
from peak_trade.research.backtest import FILL_KINDS, TRIP_KINDS, Fills
from peak_trade.research.kernel import BY_FRACTION, Rules, Tally, compiled
from peak_trade.research.metrics import Metrics, judge
from peak_trade.research.terms import Terms
from peak_trade.strategy.base import Strategy, checked_targets
from peak_trade.strategy.indicators import Shared, sharing

#: A deviation of returns smaller than this is no risk that is known.
QUIET = 1e-12


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Portfolio:
    """What a portfolio gave.

    Attributes:
        timestamp: the union of all open times (steps,), nanoseconds UTC. equity: at each close (steps,), quote currency.
        fills: in order of time; `bar` counts steps. sleeve: of each fill (fills,).
        weights: (dates, sleeves), renewed at `weighed` (dates,), nanoseconds UTC.
        profit, fees: of each sleeve (sleeves,), quote currency; what is still held counts at its last close.
    """

    markets: tuple[Bars, ...]
    sleeves: tuple[Sleeve, ...]
    timestamp: I64
    equity: F64
    fills: Fills
    sleeve: I64
    weighed: I64
    weights: F64
    profit: F64
    fees: F64
    tally: Tally
    metrics: Metrics

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
    weights = weights_of(prices[3], there, sleeves, allotting)
    instruments = [bars.instrument for bars in markets]
    steps_of = tuple(np.array([float(getattr(one, name)) for one in instruments]) for name in _STEPS)
    rules = terms.rules(instruments[0])
    count = len(sleeves)
    state = (*(np.zeros(count) for _ in range(7)), np.zeros(len(markets)))
    room = _room(targets, allotting)
    rows: tuple[Any, ...] = tuple(np.empty(room, dtype=kind) for kind in (*FILL_KINDS, np.int64))
    equity = np.empty(len(stamps))
    chosen = np.array([item.symbol for item in sleeves])
    plan = (chosen, targets, weights, allotting.every, int(allotting.resized))
    loop = compiled()
    tally = loop.simulate_all((*prices, there), plan, rules, steps_of, equity, rows, state)
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
    return Portfolio(
        markets=tuple(markets),
        sleeves=tuple(sleeves),
        timestamp=stamps,
        equity=equity,
        fills=Fills(**dict(zip(Fills.__slots__, fills, strict=True))),
        sleeve=rows[6],
        weighed=stamps[:: allotting.every],
        weights=weights,
        profit=profit,
        fees=fees,
        tally=tally,
        metrics=_judged(markets, stamps, equity, rows, each, tally, rules),
    )


_STEPS = ("lot_step", "min_quantity", "min_notional")


def weights_of(closes: F64, there: Any, sleeves: Sequence[Sleeve], allotting: Allotting) -> F64:
    """Return the weights (dates, sleeves), each date's from closes (steps, symbols) up to its own step.

    A symbol whose volatility is not known yet, or that did not move, gets nothing where weights are inverse to it.
    """
    steps, symbols = closes.shape
    chosen = np.array([item.symbol for item in sleeves])
    returns = np.zeros((steps, symbols))
    np.divide(closes[1:], closes[:-1], out=returns[1:], where=closes[:-1] > 0.0)
    returns[1:][closes[:-1] > 0.0] -= 1.0
    begun = np.argmax(there == 1, axis=0)
    found = np.empty(((steps - 1) // allotting.every + 1, len(sleeves)))
    plain = allotting.weighing is not Weighing.INVERSE_VOLATILITY and allotting.correlation_most >= 1.0
    for date in range(len(found)):
        step = date * allotting.every
        known = begun + allotting.lookback <= step
        recent = returns[:0] if plain or not known.any() else returns[step + 1 - allotting.lookback : step + 1]
        spread = recent.std(axis=0, ddof=1) if len(recent) else np.zeros(symbols)
        known &= spread > QUIET
        own = _by_rule(sleeves, chosen, spread, known, allotting.weighing)
        if allotting.correlation_most < 1.0 and known.any():
            own = own / _alike(recent, spread, known, allotting.correlation_most)[chosen]
        found[date] = _within(own, chosen, symbols, allotting)
    return found


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


def _within(weights: F64, chosen: I64, symbols: int, allotting: Allotting) -> F64:
    """Scale weights down to the limits of a symbol and of all."""
    each = np.bincount(chosen, weights, symbols)
    scale = np.ones(symbols)
    np.divide(allotting.symbol_most, each, out=scale, where=each > allotting.symbol_most)
    bound = weights * scale[chosen]
    total = bound.sum()
    return np.asarray(bound * (allotting.total_most / total) if total > allotting.total_most else bound)


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


def _judged(
    markets: Sequence[Bars],
    stamps: I64,
    equity: F64,
    rows: tuple[Any, ...],
    each: Sequence[tuple[Any, ...]],
    tally: Tally,
    rules: Rules,
) -> Metrics:
    """Return the figures of the whole; round trips are those of each sleeve."""
    loop = compiled()
    closed: list[list[Any]] = [[] for _ in TRIP_KINDS]
    entries = 0
    for part in each:
        trips: tuple[Any, ...] = tuple(np.empty(2 * len(part[0]) + 2, dtype=kind) for kind in TRIP_KINDS)
        found = int(loop.pair(len(part[0]), part, trips))
        entries += found
        done = trips[1][:found] >= 0
        for column, row in zip(closed, trips, strict=True):
            column.append(row[:found][done])
    trips = tuple(np.concatenate(column) for column in closed)
    figures = loop.measure(equity, rules.cash, tally.fills, rows[:6], len(trips[0]), trips)
    step_s = markets[0].timeframe.seconds
    return judge(
        figures._replace(entries=entries),
        tally,
        cash=rules.cash,
        bars=len(stamps),
        step_s=step_s,
        periods=max(bars.instrument.periods_per_year(step_s) for bars in markets),
        span_s=float(stamps[-1] - stamps[0]) / 1e9,
    )
