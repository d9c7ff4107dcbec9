"""Indicators on whole series: each value uses its own and earlier bars only; the first values are not numbers.

TA-Lib computes what it has. Inside `sharing()` each indicator is computed once for each array and setting, which is what
makes sweeps fast; outside nothing is kept.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock

import numpy as np
import talib

from peak_trade.model.bar import F64

#: Shared indicator values may take this much memory: 45 series of 100,000 bars. Beyond it the least recently used go.
SHARED_BYTES_MAX = 36_000_000

Key = tuple[object, ...]


class Shared:
    """Indicator values by array and setting; the least recently used are dropped when they exceed their memory."""

    def __init__(self) -> None:
        self._values: dict[Key, tuple[tuple[F64, ...], F64]] = {}
        self._bytes = 0
        self._lock = Lock()

    def get(self, key: Key, sources: tuple[F64, ...], compute: Callable[[], F64]) -> F64:
        """Return the value for *key*; the sources are kept alive so that their identity stays theirs."""
        with self._lock:
            if (found := self._values.pop(key, None)) is not None:
                self._values[key] = found
                return found[1]
        value = compute()
        value.flags.writeable = False
        with self._lock:
            if key not in self._values:
                self._values[key] = (sources, value)
                self._bytes += value.nbytes
                while self._bytes > SHARED_BYTES_MAX and len(self._values) > 1:
                    self._drop(next(iter(self._values)))
        return value

    def _drop(self, key: Key) -> None:
        """Forget a value and what was computed from it, which would keep its memory in use."""
        if key not in self._values:
            return
        dropped = self._values.pop(key)[1]
        self._bytes -= dropped.nbytes
        for other in [other for other, (sources, _) in self._values.items() if any(source is dropped for source in sources)]:
            self._drop(other)


_SHARED: ContextVar[Shared | None] = ContextVar("shared indicators", default=None)


@contextmanager
def sharing(values: Shared) -> Iterator[None]:
    """Keep indicator values in *values* while the block runs; several threads may share one."""
    token = _SHARED.set(values)
    try:
        yield
    finally:
        _SHARED.reset(token)


def _shared(name: str, sources: tuple[F64, ...], settings: tuple[float, ...], compute: Callable[[], F64]) -> F64:
    values = _SHARED.get()
    if values is None:
        return compute()
    return values.get((name, *(id(source) for source in sources), *settings), sources, compute)


def sma(values: F64, window: int) -> F64:
    """Simple moving average; exact where the values of a window are all equal.

    TA-Lib keeps a running sum, whose rounding noise would otherwise decide whether two averages of a market that
    stands still are above or below each other, and differently for each beginning of the series.
    """
    if window == 1:
        return values

    def compute() -> F64:
        average: F64 = talib.SMA(values, window)
        stood = standing(values)
        if stood is not None:
            still = stood >= window - 1
            average[still] = values[still]
        return average

    return _shared("sma", (values,), (window,), compute)


def standing(values: F64) -> F64 | None:
    """Return for how many bars each value has not changed, or None where no value ever repeats the one before."""
    repeats = values[1:] == values[:-1]
    if not repeats.any():
        return None

    def compute() -> F64:
        index = np.arange(len(values), dtype=np.float64)
        changed = np.where(np.concatenate([[True], ~repeats]), index, 0.0)
        return index - np.maximum.accumulate(changed)

    return _shared("standing", (values,), (), compute)


def ema(values: F64, window: int) -> F64:
    """Exponential moving average with weight 2 / (window + 1), seeded with the simple average of the first window."""
    if window == 1:
        return values
    return _shared("ema", (values,), (window,), lambda: talib.EMA(values, window))


def rsi(values: F64, window: int) -> F64:
    """Relative strength index, 0 to 100, with Wilder's smoothing (New Concepts in Technical Trading Systems, 1978).

    It is 50 as long as the value has never moved, where TA-Lib gives 0.
    """

    def compute() -> F64:
        index: F64 = talib.RSI(values, window)
        stood = standing(values)
        if stood is not None:
            unmoved = (stood == np.arange(len(values))) & ~np.isnan(index)
            index[unmoved] = 50.0
        return index

    return _shared("rsi", (values,), (window,), compute)


def deviation(values: F64, window: int) -> F64:
    """Rolling population standard deviation."""
    return _shared("deviation", (values,), (window,), lambda: talib.STDDEV(values, window, 1.0))


def macd_line(values: F64, fast: int, slow: int) -> F64:
    """Fast minus slow exponential average (Appel)."""
    return _shared("macd", (values,), (fast, slow), lambda: ema(values, fast) - ema(values, slow))


def adx(high: F64, low: F64, close: F64, window: int) -> F64:
    """Average directional index, 0 to 100 (Wilder, 1978)."""
    return _shared("adx", (high, low, close), (window,), lambda: talib.ADX(high, low, close, window))


def plus_di(high: F64, low: F64, close: F64, window: int) -> F64:
    """Positive directional indicator, 0 to 100 (Wilder, 1978)."""
    return _shared("plus_di", (high, low, close), (window,), lambda: talib.PLUS_DI(high, low, close, window))


def minus_di(high: F64, low: F64, close: F64, window: int) -> F64:
    """Negative directional indicator, 0 to 100 (Wilder, 1978)."""
    return _shared("minus_di", (high, low, close), (window,), lambda: talib.MINUS_DI(high, low, close, window))


def highest(values: F64, window: int) -> F64:
    """Largest of the last *window* values, the present one included."""
    if window == 1:
        return values
    return _shared("highest", (values,), (window,), lambda: talib.MAX(values, window))


def lowest(values: F64, window: int) -> F64:
    """Smallest of the last *window* values, the present one included."""
    if window == 1:
        return values
    return _shared("lowest", (values,), (window,), lambda: talib.MIN(values, window))


def change(values: F64, window: int) -> F64:
    """Relative change over *window* bars: value / value then - 1."""
    return _shared("change", (values,), (window,), lambda: talib.ROCP(values, window))


def earlier(values: F64, bars: int = 1) -> F64:
    """The value *bars* bars ago."""
    shifted = np.full(len(values), np.nan)
    shifted[bars:] = values[: len(values) - bars]
    return shifted


def volatility(close: F64, window: int) -> F64:
    """Rolling standard deviation of the relative change from bar to bar."""

    def compute() -> F64:
        moves = change(close, 1).copy()
        moves[:1] = 0.0
        spread: F64 = talib.STDDEV(moves, window, 1.0)
        spread[: min(window, len(spread))] = np.nan
        return spread

    return _shared("volatility", (close,), (window,), compute)
