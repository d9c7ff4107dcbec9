"""The least that the job can cost: one numba loop that trades a moving-average crossing with fees and slippage.

It makes what the job asks for, the equity and the list of trades, and nothing else: no lots, minimums, sides, exits,
fills, figures or checks. What a framework adds is measured against this.
"""

from collections.abc import Callable

import numpy as np
from numba import njit

from peak_trade.model.bar import F64, I64


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def cross(
    opens: F64,
    closes: F64,
    fast: int,
    slow: int,
    fee: float,
    slippage: float,
    cash: float,
    equity: F64,
    trips: tuple[I64, I64, F64],
) -> int:
    """Trade long while the fast average is above the slow one, filled at the next open.

    Writes the equity (bars,) and, for each trade, entry bar, exit bar and profit; returns the number of trades.
    """
    entries, exits, profits = trips
    bars = len(closes)
    trades = 0
    fast_sum = 0.0
    slow_sum = 0.0
    quantity = 0.0
    spent = 0.0
    wish = 0
    for bar in range(bars):
        if wish == 1 and quantity == 0.0:
            spent = cash
            quantity = cash / (opens[bar] * (1.0 + slippage) * (1.0 + fee))
            cash = 0.0
            entries[trades] = bar
        elif wish == 0 and quantity > 0.0:
            cash = quantity * opens[bar] * (1.0 - slippage) * (1.0 - fee)
            quantity = 0.0
            exits[trades] = bar
            profits[trades] = cash - spent
            trades += 1
        fast_sum += closes[bar]
        slow_sum += closes[bar]
        if bar >= fast:
            fast_sum -= closes[bar - fast]
        if bar >= slow:
            slow_sum -= closes[bar - slow]
        if bar >= slow - 1:
            wish = 1 if fast_sum * slow > slow_sum * fast else 0
        equity[bar] = cash + quantity * closes[bar]
    return trades


def bare_run(bars: int, opens: F64, closes: F64) -> Callable[[], int]:
    """Return the job over these prices with its arrays laid out beforehand."""
    trips = (np.empty(bars, dtype=np.int64), np.empty(bars, dtype=np.int64), np.empty(bars))
    equity = np.empty(bars)
    return lambda: int(cross(opens, closes, 20, 50, 0.0026, 0.0005, 10_000.0, equity, trips))


def walk(bars: int, seed: int = 1) -> tuple[F64, ...]:
    """Return open, high, low, close of a seeded random walk."""
    random = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(random.normal(0.0, 0.001, bars)))
    opened = np.concatenate([close[:1], close[:-1]])
    return opened, np.maximum(opened, close) * 1.0005, np.minimum(opened, close) * 0.9995, close
