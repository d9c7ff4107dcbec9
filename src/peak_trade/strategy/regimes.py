"""What kind of market it is after each bar: how much it moves, and where it drifts.

Invariant: the class of a bar is told from that bar and earlier ones alone; before there are enough of them it is unknown.
"""

import numpy as np
import numpy.typing as npt

from peak_trade.model.bar import F64
from peak_trade.strategy.indicators import change, volatility

I8 = npt.NDArray[np.int8]

#: The classes, each a class's number; `UNKNOWN` is none of them.
VOLATILITY = ("calm", "normal", "wild")
TREND = ("down", "flat", "up")
UNKNOWN = -1

#: Volatilities that differ by less, relatively, are equal: a running sum has that much noise.
_SAME = 1e-9
#: Rows of windows that are compared at once, to keep memory small.
_ROWS = 4_096


def volatility_classes(close: F64, window: int, history: int) -> I8:
    """Return the index into `VOLATILITY` of each bar, shape (bars,).

    The standard deviation of the relative changes over *window* bars is ranked among its last *history* values, its own
    included: calm below a third of them, wild at two thirds or above, so a class is relative to the market's recent past.

    Known from bar number *window* + *history* on, counted from 1.
    """
    found = np.full(len(close), UNKNOWN, dtype=np.int8)
    first = window + history - 1
    if len(close) <= first:
        return found
    spread = volatility(close, window)[window:]
    windows = np.lib.stride_tricks.sliding_window_view(spread, history)
    own = spread[history - 1 :] * (1.0 - _SAME)
    for start in range(0, len(windows), _ROWS):
        part = slice(start, start + _ROWS)
        below = np.count_nonzero(windows[part] < own[part, None], axis=1)
        found[first + start : first + start + len(below)] = (3 * below >= history).astype(np.int8) + (3 * below >= 2 * history)
    return found


def trend_classes(close: F64, window: int, threshold: float) -> I8:
    """Return the index into `TREND` of each bar, shape (bars,).

    Up or down where the change over *window* bars is more than *threshold* standard deviations of what a walk without
    drift would make of the same bar-to-bar volatility, which grows with the root of time; else flat (after Moskowitz, Ooi,
    Pedersen, Time Series Momentum, Journal of Financial Economics 104(2), 2012, who scale past returns by volatility).

    Known from bar number *window* + 1 on, counted from 1.
    """
    found = np.full(len(close), UNKNOWN, dtype=np.int8)
    if len(close) <= window:
        return found
    drift = change(close, window)[window:]
    reach = threshold * volatility(close, window)[window:] * np.sqrt(window)
    found[window:] = 1 + (drift > reach).astype(np.int8) - (-drift > reach)
    return found
