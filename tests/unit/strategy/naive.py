"""Indicators and rules as plain loops over bars, for the real ones to be compared with."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from peak_trade.model.bar import F64, Bars


def over_window(values: F64, window: int, figure: Callable[[F64], float]) -> F64:
    """Return a figure of the last *window* values at each bar, not a number while there are fewer."""
    found = np.full(len(values), np.nan)
    for bar in range(window - 1, len(values)):
        found[bar] = figure(values[bar - window + 1 : bar + 1])
    return found


def sma(values: F64, window: int) -> F64:
    return over_window(values, window, lambda part: math.fsum(part) / len(part))


def deviation(values: F64, window: int) -> F64:
    return over_window(values, window, lambda part: float(np.std(part)))


def highest(values: F64, window: int) -> F64:
    return over_window(values, window, max)


def lowest(values: F64, window: int) -> F64:
    return over_window(values, window, min)


def change(values: F64, window: int) -> F64:
    return over_window(values, window + 1, lambda part: part[-1] / part[0] - 1.0)


def volatility(close: F64, window: int) -> F64:
    return over_window(close, window + 1, lambda part: float(np.std(part[1:] / part[:-1] - 1.0)))


def ema(values: F64, window: int) -> F64:
    """Begin with the simple average of the first window of numbers."""
    found = np.full(len(values), np.nan)
    first = int(np.argmax(~np.isnan(values))) + window - 1
    if first < len(values):
        found[first] = np.mean(values[first - window + 1 : first + 1])
        for bar in range(first + 1, len(values)):
            found[bar] = found[bar - 1] + 2.0 / (window + 1) * (values[bar] - found[bar - 1])
    return found


def wilder(values: F64, window: int) -> F64:
    """Average with weight 1 / window, from the mean of the first window of numbers."""
    found = np.full(len(values), np.nan)
    first = int(np.argmax(~np.isnan(values))) + window - 1
    if first < len(values):
        found[first] = np.mean(values[first - window + 1 : first + 1])
        for bar in range(first + 1, len(values)):
            found[bar] = (found[bar - 1] * (window - 1) + values[bar]) / window
    return found


def rsi(values: F64, window: int) -> F64:
    moves = np.diff(values, prepend=np.nan)
    up, down = wilder(np.maximum(moves, 0.0), window), wilder(np.maximum(-moves, 0.0), window)
    return 100.0 * up / (up + down)


def directional(high: F64, low: F64, close: F64, window: int) -> tuple[F64, F64, F64]:
    """Return +DI, -DI and ADX; they agree with other definitions once their start is forgotten."""
    up, down = np.diff(high, prepend=np.nan), -np.diff(low, prepend=np.nan)
    before = np.concatenate([[np.nan], close[:-1]])
    reach = wilder(np.maximum(high, before) - np.minimum(low, before), window)
    plus = 100.0 * wilder(np.where((up > down) & (up > 0.0), up, 0.0), window) / reach
    minus = 100.0 * wilder(np.where((down > up) & (down > 0.0), down, 0.0), window) / reach
    return plus, minus, wilder(100.0 * np.abs(plus - minus) / (plus + minus), window)


def before(values: F64) -> F64:
    return np.concatenate([[np.nan], values[:-1]])


def hold(bars: Bars, enter: Callable[[int], int], leave: Callable[[int, int], bool]) -> F64:
    """Walk over the bars: enter on 1 or -1, else leave if that is said for the side held."""
    targets, side = np.zeros(len(bars)), 0
    for bar in range(len(bars)):
        wish = enter(bar)
        if wish:
            side = wish
        elif side and leave(bar, side):
            side = 0
        targets[bar] = side
    return targets


def sign(value: float) -> int:
    return int(value > 0) - int(value < 0)


def ma_crossover(bars: Bars, fast_window: int, slow_window: int) -> F64:
    gap = sma(bars.close, fast_window) - sma(bars.close, slow_window)
    return np.array([sign(value) for value in gap], dtype=np.float64)


def momentum_1h(bars: Bars, lookback: int, threshold: float) -> F64:
    moves = change(bars.close, lookback)
    return np.array([sign(move) if abs(move) > threshold else 0 for move in moves], dtype=np.float64)


def macd(bars: Bars, fast_window: int, slow_window: int, signal_window: int) -> F64:
    line = ema(bars.close, fast_window) - ema(bars.close, slow_window)
    return np.array([sign(value) for value in line - ema(line, signal_window)], dtype=np.float64)


def bollinger_bands(bars: Bars, window: int, width: float) -> F64:
    middle, spread = sma(bars.close, window), width * deviation(bars.close, window)
    off = bars.close - middle
    return hold(
        bars,
        lambda bar: -sign(off[bar]) if abs(off[bar]) > spread[bar] else 0,
        lambda bar, side: side * off[bar] >= 0,
    )


def mean_reversion(bars: Bars, window: int, entry_z: float, exit_z: float) -> F64:
    score = (bars.close - sma(bars.close, window)) / deviation(bars.close, window)
    return hold(
        bars,
        lambda bar: -sign(score[bar]) if abs(score[bar]) > entry_z else 0,
        lambda bar, side: side * score[bar] > -exit_z,
    )


def rsi_reversion(bars: Bars, window: int, entry_below: float, exit_above: float) -> F64:
    off = rsi(bars.close, window) - 50.0
    return hold(
        bars,
        lambda bar: -sign(off[bar]) if abs(off[bar]) > 50.0 - entry_below else 0,
        lambda bar, side: side * off[bar] > exit_above - 50.0,
    )


def breakout(bars: Bars, entry_window: int, exit_window: int) -> F64:
    top, bottom = before(highest(bars.high, entry_window)), before(lowest(bars.low, entry_window))
    out_long, out_short = before(lowest(bars.low, exit_window)), before(highest(bars.high, exit_window))
    return hold(
        bars,
        lambda bar: int(bars.close[bar] > top[bar]) - int(bars.close[bar] < bottom[bar]),
        lambda bar, side: bool(bars.close[bar] < out_long[bar] if side > 0 else bars.close[bar] > out_short[bar]),
    )


def trend_following(bars: Bars, window: int, threshold: float) -> F64:
    plus, minus, trend = directional(bars.high, bars.low, bars.close, window)
    return np.where(trend > threshold, np.sign(plus - minus), 0.0)


#: The rules that are compared bar by bar, by key.
RULES: Mapping[str, Callable[..., Any]] = {
    rule.__name__: rule
    for rule in (
        ma_crossover,
        momentum_1h,
        macd,
        bollinger_bands,
        mean_reversion,
        rsi_reversion,
        breakout,
        trend_following,
    )
}
