"""One strategy over one series of bars."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from peak_trade.model.bar import F64, I64, Bars
from peak_trade.model.clock import moment_text
from peak_trade.model.errors import DataError, StrategyError
from peak_trade.research.kernel import REASONS, Loop, Tally, loop_for
from peak_trade.research.metrics import Metrics, judge
from peak_trade.research.terms import Terms
from peak_trade.strategy.base import Strategy

I8 = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fills:
    """Fills in order of time, as arrays of shape (fills,).

    Attributes:
        bar: index of the bar it happened in.
        quantity: signed, base currency; positive is a purchase.
        price, fee: quote currency; a fee is positive.
        reason: index into `kernel.REASONS`.
    """

    bar: I64
    quantity: F64
    price: F64
    fee: F64
    reason: I8

    def __len__(self) -> int:
        return len(self.bar)


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
        """Return the round trips in order of entry."""
        return list_trades(self.fills, float(self.bars.instrument.lot_step))


def backtest(bars: Bars, strategy: Strategy, terms: Terms) -> Result:
    """Run a strategy over bars under the kernel's rules.

    Raises:
        DataError: fewer than two bars.
        StrategyError: the targets have the wrong shape, are not numbers or lie outside [-1, 1].
    """
    if len(bars) < 2:
        raise DataError("empty", f"expected at least 2 bars in the chosen period, found {len(bars)}; choose another period")
    return run(bars, strategy, checked_targets(bars, strategy), terms, loop_for(len(bars)))


def checked_targets(bars: Bars, strategy: Strategy) -> F64:
    """Return a strategy's targets as contiguous float64 of the right length."""
    targets = np.ascontiguousarray(strategy.targets(bars), dtype=np.float64)
    if targets.shape != (len(bars),):
        raise StrategyError(
            f"expected {len(bars)} targets from {strategy.key}, one for each bar, found the shape {targets.shape}; mend it"
        )
    return targets


def run(bars: Bars, strategy: Strategy, targets: F64, terms: Terms, loop: Loop) -> Result:
    """Run given targets through a given loop, which works on arrays if compiled and on lists if interpreted."""
    rules = terms.rules(bars.instrument)
    count = len(bars)
    room = 2 * count + 2
    series = (bars.open, bars.high, bars.low, bars.close, targets)
    kinds = (np.int64, np.float64, np.float64, np.float64, np.int8)
    if loop.compiled:
        equity = np.empty(count)
        rows: list[Any] = [np.empty(room, dtype=kind) for kind in kinds]
        tally = loop.simulate(*series, rules, equity, *rows)
        figures = loop.measure(equity, tally.fills, rows[1], rows[2], rows[3], rules.cash, rules.lot)
    else:
        levels = [0.0] * count
        lists: list[list[float]] = [[0] * room for _ in kinds]
        tally = loop.simulate(*(column.tolist() for column in series), rules, levels, *lists)
        figures = loop.measure(levels, tally.fills, lists[1], lists[2], lists[3], rules.cash, rules.lot)
        equity = np.array(levels)
        rows = [np.array(values[: tally.fills], dtype=kind) for values, kind in zip(lists, kinds, strict=True)]
    refuse_bad_target(tally, bars, strategy, targets)
    bar, quantity, price, fee, reason = (np.array(row[: tally.fills]) for row in rows)
    return Result(
        bars=bars,
        strategy=strategy,
        terms=terms,
        equity=equity,
        fills=Fills(bar=bar, quantity=quantity, price=price, fee=fee, reason=reason),
        tally=tally,
        metrics=judge(
            figures,
            tally,
            cash=rules.cash,
            bars=count,
            step_s=bars.timeframe.seconds,
            periods=bars.instrument.periods_per_year(bars.timeframe.seconds),
            span_s=float(bars.timestamp[-1] - bars.timestamp[0]) / 1e9,
        ),
    )


def refuse_bad_target(tally: Tally, bars: Bars, strategy: Strategy, targets: F64) -> None:
    """Raise for the first target that is no number in [-1, 1]."""
    if tally.bad >= 0:
        raise StrategyError(
            f"expected targets in [-1, 1] from {strategy.key}, found {targets[tally.bad]} at "
            f"{moment_text(int(bars.timestamp[tally.bad]))}; mend the strategy"
        )


def list_trades(fills: Fills, lot: float) -> list[Trade]:
    """Pair fills into round trips; a fill that flips the position ends one trade and opens the next, its fee split."""
    trades: list[Trade] = []
    position = 0.0
    opened: _Open | None = None
    for bar, quantity, price, fee, reason in zip(
        fills.bar.tolist(),
        fills.quantity.tolist(),
        fills.price.tolist(),
        fills.fee.tolist(),
        fills.reason.tolist(),
        strict=True,
    ):
        after = position + quantity
        if abs(after) < lot * 0.5:
            after = 0.0
        if opened is None:
            opened = _Open(bar, 1 if quantity > 0 else -1)
        if position * after < 0.0:
            share = abs(position) / abs(quantity)
            opened.take(-position, price, fee * share)
            trades.append(opened.closed(bar, REASONS[reason]))
            opened = _Open(bar, 1 if after > 0 else -1)
            opened.take(after, price, fee * (1.0 - share))
        else:
            opened.take(quantity, price, fee)
            if after == 0.0:
                trades.append(opened.closed(bar, REASONS[reason]))
                opened = None
        position = after
    if opened is not None:
        trades.append(opened.still_open())
    return trades


class _Open:
    """A round trip being added up."""

    def __init__(self, bar: int, side: int) -> None:
        self.bar, self.side = bar, side
        self.built = self.spent = self.reduced = self.earned = self.fees = self.peak = 0.0

    def take(self, quantity: float, price: float, fee: float) -> None:
        if quantity * self.side > 0:
            self.built += abs(quantity)
            self.spent += abs(quantity) * price
        else:
            self.reduced += abs(quantity)
            self.earned += abs(quantity) * price
        self.fees += fee
        self.peak = max(self.peak, self.built - self.reduced)

    def closed(self, bar: int, reason: str) -> Trade:
        profit = self.side * (self.earned - self.spent) - self.fees
        return self._trade(bar, self.earned / self.reduced, profit, reason)

    def still_open(self) -> Trade:
        return self._trade(None, None, None, None)

    def _trade(self, bar: int | None, price: float | None, profit: float | None, reason: str | None) -> Trade:
        return Trade(
            side=self.side,
            entry_bar=self.bar,
            exit_bar=bar,
            quantity=self.peak,
            entry_price=self.spent / self.built,
            exit_price=price,
            profit=profit,
            fees=self.fees,
            reason=reason,
        )
