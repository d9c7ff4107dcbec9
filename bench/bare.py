"""The least that the job can cost: one numba loop that trades a moving-average crossing and writes the equity.

No lots, minimums, sides, exits, fill or trade lists, figures or checks: what a framework adds is measured against this.
"""

import numpy as np
from numba import njit

from peak_trade.model.bar import F64


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def cross(opens: F64, closes: F64, fast: int, slow: int, fee: float, slippage: float, cash: float, equity: F64) -> float:
    """Trade long while the fast average is above the slow one; fills at the next open; returns the final equity."""
    fast_sum = 0.0
    slow_sum = 0.0
    quantity = 0.0
    wish = 0
    for bar in range(len(closes)):
        if wish == 1 and quantity == 0.0:
            price = opens[bar] * (1.0 + slippage)
            quantity = cash / (price * (1.0 + fee))
            cash = 0.0
        elif wish == 0 and quantity > 0.0:
            cash = quantity * opens[bar] * (1.0 - slippage) * (1.0 - fee)
            quantity = 0.0
        fast_sum += closes[bar]
        slow_sum += closes[bar]
        if bar >= fast:
            fast_sum -= closes[bar - fast]
        if bar >= slow:
            slow_sum -= closes[bar - slow]
        if bar >= slow - 1:
            wish = 1 if fast_sum * slow > slow_sum * fast else 0
        equity[bar] = cash + quantity * closes[bar]
    return float(equity[-1])


def walk(bars: int, seed: int = 1) -> tuple[F64, ...]:
    """Return open, high, low, close of a seeded random walk."""
    random = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(random.normal(0.0, 0.001, bars)))
    opened = np.concatenate([close[:1], close[:-1]])
    return opened, np.maximum(opened, close) * 1.0005, np.minimum(opened, close) * 0.9995, close
