"""Builders of test values: each has a sensible default for everything, so a test names only what it is about."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from peak_trade.model.bar import Bars, Timeframe
from peak_trade.model.instrument import Instrument
from peak_trade.research.terms import Side, Terms
from peak_trade.strategy.sizing import Sizing

#: Bars begin here unless a test says otherwise: 2024-01-01 00:00 UTC.
START_NS = 1_704_067_200_000_000_000


def an_instrument(symbol: str = "BTC/EUR", **changes: Any) -> Instrument:
    """Return an instrument without minimums, with lots of a thousandth; steps may be given as text."""
    given = {"lot_step": "0.001", "min_quantity": "0", "min_notional": "0", **changes}
    exact = ("tick_size", "lot_step", "min_quantity", "min_notional")
    return Instrument(symbol=symbol, **{name: Decimal(str(value)) if name in exact else value for name, value in given.items()})


def some_bars(
    count: int = 100,
    *,
    seed: int = 7,
    level: float = 100.0,
    noise: float = 0.01,
    gap: float = 0.0,
    wick: float = 0.5,
    timeframe: str = "1h",
    instrument: Instrument | None = None,
    **columns: Any,
) -> Bars:
    """Return a random walk of *count* bars; columns given by name replace it, and their length decides.

    Args:
        count: number of bars.
        seed: same seed, same bars.
        level: price before the first bar.
        noise: standard deviation of the move inside a bar.
        gap: standard deviation of the move between a close and the next open.
        wick: mean length of the wicks as a share of the noise.
        timeframe: length of a bar.
        instrument: what is traded; `an_instrument()` by default.
        columns: `timestamp`, `open`, `high`, `low`, `close` or `volume`.
    """
    if columns:
        count = len(next(iter(columns.values())))
    random = np.random.default_rng(seed)
    jumps, moves = random.normal(0.0, gap, count), random.normal(0.0, noise, count)
    close = level * np.exp(np.cumsum(jumps + moves))
    opened = close * np.exp(-moves)
    high = np.maximum(opened, close) * np.exp(random.exponential(wick * noise, count))
    low = np.minimum(opened, close) * np.exp(-random.exponential(wick * noise, count))
    step = Timeframe.parse(timeframe)
    made = {
        "timestamp": START_NS + np.arange(count, dtype=np.int64) * step.step_ns,
        "open": opened,
        "high": high,
        "low": low,
        "close": close,
        "volume": np.ones(count),
        **{name: np.asarray(values, dtype=np.int64 if name == "timestamp" else np.float64) for name, values in columns.items()},
    }
    return Bars(instrument=instrument or an_instrument(), timeframe=step, **made)


def bars_of(rows: Sequence[tuple[float, float, float, float]], **changes: Any) -> Bars:
    """Return bars from rows of open, high, low and close."""
    opened, high, low, close = zip(*rows, strict=True)
    return some_bars(open=opened, high=high, low=low, close=close, **changes)


def flat_bars(prices: Sequence[float], **changes: Any) -> Bars:
    """Return bars whose four prices are the same."""
    return some_bars(open=prices, high=prices, low=prices, close=prices, **changes)


def some_terms(**changes: Any) -> Terms:
    """Return terms without costs or exits, all of the equity on both sides; sizing and side may be given as text."""
    given = {"cash": "10000", "fee_bps": 0.0, "slippage_bps": 0.0, "sizing": "fraction=1", "side": "both", **changes}
    given["cash"] = Decimal(str(given["cash"]))
    if isinstance(given["sizing"], str):
        given["sizing"] = Sizing.parse(given["sizing"])
    if isinstance(given["side"], str):
        given["side"] = Side(given["side"])
    return Terms(**given)


def random_targets(count: int, seed: int, levels: Sequence[float] = (-1.0, 0.0, 1.0), *, stay: float = 0.8) -> np.ndarray:
    """Return targets that stay as they are with probability *stay* and are drawn anew from *levels* otherwise."""
    random = np.random.default_rng(seed)
    targets = np.zeros(count)
    present = 0.0
    for bar in range(count):
        if random.random() >= stay:
            present = float(random.choice(levels))
        targets[bar] = present
    return targets
