"""One strategy over one series of bars."""

import hashlib
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from peak_trade.model.bar import F64, I64, Bars
from peak_trade.model.clock import moment_text
from peak_trade.model.errors import DataError, StrategyError
from peak_trade.research.kernel import REASONS, Loop, Tally, loop_for
from peak_trade.research.metrics import Metrics, judge
from peak_trade.research.terms import Side, Terms
from peak_trade.strategy.base import Strategy, checked_targets
from peak_trade.strategy.buy_and_hold import BuyAndHold
from peak_trade.strategy.sizing import SizedBy, Sizing

I8 = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fills:
    """Fills in order of time, as arrays of shape (fills,).

    Attributes:
        bar: index of the bar it happened in.
        quantity: signed, base currency; positive is a purchase.
        price, fee: quote currency; a fee is positive.
        reason: index into `kernel.REASONS`.
        lots_after: position after the fill, signed, in lots; exact.
    """

    bar: I64
    quantity: F64
    price: F64
    fee: F64
    reason: I8
    lots_after: F64

    def __len__(self) -> int:
        return len(self.bar)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrips:
    """Trades from flat to flat in order of entry, as arrays of shape (trades,); `kernel.pair` says what each holds."""

    entry_bar: I64
    exit_bar: I64
    size: F64
    entry_price: F64
    exit_price: F64
    profit: F64
    fees: F64
    exit_reason: I8

    def __len__(self) -> int:
        return len(self.entry_bar)

    def trades(self) -> list["Trade"]:
        """Return the round trips one by one, in order of entry."""
        columns = (getattr(self, name).tolist() for name in RoundTrips.__slots__)
        return [_trade(*row) for row in zip(*columns, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """A round trip from flat to flat; the last one of a run may still be open.

    Attributes:
        side: 1 long, -1 short.
        entry_bar, exit_bar: indices; exit_bar and exit_price are None while open.
        quantity: largest position, base currency.
        entry_price, exit_price: averages over the fills that built up and that reduced the position.
        profit: after fees; None while open.
        fees: quote currency.
        reason: what closed it.
    """

    side: int
    entry_bar: int
    exit_bar: int | None
    quantity: float
    entry_price: float
    exit_price: float | None
    profit: float | None
    fees: float
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a backtest gave: equity at each close (bars,), fills and metrics."""

    bars: Bars
    strategy: Strategy
    terms: Terms
    equity: F64
    fills: Fills
    round_trips: RoundTrips
    tally: Tally
    metrics: Metrics

    def sha256(self) -> str:
        """Return the hash over every fill and every value of the equity."""
        digest = hashlib.sha256(f"{len(self.equity)} {len(self.fills)}\n".encode())
        columns = (self.equity, self.fills.bar, self.fills.quantity, self.fills.price, self.fills.fee, self.fills.reason)
        for column in columns:
            digest.update(np.ascontiguousarray(column, dtype=column.dtype.newbyteorder("<")).data)
        return digest.hexdigest()

    def trades(self) -> list[Trade]:
        """Return the round trips one by one, in order of entry."""
        return self.round_trips.trades()


def _trade(
    entry_bar: int,
    exit_bar: int,
    size: float,
    entry_price: float,
    exit_price: float,
    profit: float,
    fees: float,
    exit_reason: int,
) -> Trade:
    still_open = exit_bar < 0
    return Trade(
        side=1 if size > 0 else -1,
        entry_bar=entry_bar,
        exit_bar=None if still_open else exit_bar,
        quantity=abs(size),
        entry_price=entry_price,
        exit_price=None if still_open else exit_price,
        profit=None if still_open else profit,
        fees=fees,
        reason=None if still_open else REASONS[exit_reason],
    )


def backtest(bars: Bars, strategy: Strategy, terms: Terms) -> Result:
    """Run a strategy over bars under the kernel's rules.

    Raises:
        DataError: fewer than two bars.
        StrategyError: the targets have the wrong shape, are not numbers or lie outside [-1, 1].
    """
    if len(bars) < 2:
        raise DataError("empty", f"expected at least 2 bars in the chosen period, found {len(bars)}; choose another period")
    return run(bars, strategy, checked_targets(bars, strategy), terms, loop_for(len(bars)))


def yardstick(bars: Bars, terms: Terms) -> Result:
    """Buy with all the cash at the first chance and keep: same costs, but no exits and no other side."""
    return backtest(bars, BuyAndHold(), plain_terms(terms))


def plain_terms(terms: Terms) -> Terms:
    """Return the terms of buy and hold: all of the cash, the same costs, no exits and no other side."""
    return replace(
        terms,
        sizing=Sizing(SizedBy.FRACTION, Decimal(1)),
        side=Side.LONG,
        stop_loss=0.0,
        take_profit=0.0,
        trailing_stop=0.0,
    )


def run(bars: Bars, strategy: Strategy, targets: F64, terms: Terms, loop: Loop) -> Result:
    """Run given targets through a given loop."""
    space = Workspace(len(bars), loop)
    tally, trades, metrics = space.run(bars, strategy, targets, terms)
    fills: list[Any] = [row[: tally.fills].copy() for row in space.fills]
    trips: list[Any] = [row[:trades].copy() for row in space.trips]
    return Result(
        bars=bars,
        strategy=strategy,
        terms=terms,
        equity=space.equity,
        fills=Fills(**dict(zip(Fills.__slots__, fills, strict=True))),
        round_trips=RoundTrips(**dict(zip(RoundTrips.__slots__, trips, strict=True))),
        tally=tally,
        metrics=metrics,
    )


def delayed(targets: F64, bars: int) -> F64:
    """Return targets so many bars later, flat before; the same array where nothing is delayed."""
    if not bars:
        return targets
    late = np.zeros_like(targets)
    late[bars:] = targets[: max(len(targets) - bars, 0)]
    return late


FILL_KINDS = (np.int64, np.float64, np.float64, np.float64, np.int8, np.float64)
TRIP_KINDS = (np.int64, np.int64, np.float64, np.float64, np.float64, np.float64, np.float64, np.int8)


class Workspace:
    """The arrays that the kernel writes into; may be used again and again.

    Room for two fills a bar and one round trip a fill is reserved; it takes memory only as far as it is written.
    """

    def __init__(self, bars: int, loop: Loop) -> None:
        self.loop = loop
        self.equity = np.empty(bars)
        self.fills = [np.empty(2 * bars + 2, dtype=kind) for kind in FILL_KINDS]
        self.trips = [np.empty(2 * bars + 2, dtype=kind) for kind in TRIP_KINDS]

    def run(self, bars: Bars, strategy: Strategy, targets: F64, terms: Terms) -> tuple[Tally, int, Metrics]:
        """Run targets over bars; return what was counted, the number of round trips and the metrics.

        There may be fewer bars than room for them.

        Raises:
            StrategyError: a target is no number in [-1, 1].
        """
        rules = terms.rules(bars.instrument)
        targets = delayed(targets, terms.delay_bars)
        view = self.loop.view
        series = [view(column) for column in (bars.open, bars.high, bars.low, bars.close, targets)]
        equity, fills, trips = view(self.equity)[: len(bars)], tuple(map(view, self.fills)), tuple(map(view, self.trips))
        if scarcity := terms.scarcity():
            volumes = view(bars.volume)
            tally = self.loop.simulate_scarce(tuple(series[:4]), volumes, series[4], rules, scarcity, equity, fills)
        else:
            tally = self.loop.simulate(*series, rules, equity, fills)
        if tally.bad >= 0:
            raise StrategyError(
                f"expected targets in [-1, 1] from {strategy.key}, found {targets[tally.bad]} at "
                f"{moment_text(int(bars.timestamp[tally.bad]))}; mend the strategy"
            )
        trades = self.loop.pair(tally.fills, fills, trips)
        figures = self.loop.measure(equity, rules.cash, tally.fills, fills, trades, trips)
        metrics = judge(
            figures,
            tally,
            cash=rules.cash,
            bars=len(bars),
            step_s=bars.timeframe.seconds,
            periods=bars.instrument.periods_per_year(bars.timeframe.seconds),
            span_s=float(bars.timestamp[-1] - bars.timestamp[0]) / 1e9,
        )
        return tally, trades, metrics
