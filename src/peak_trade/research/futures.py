"""Markets that did not happen: bars whose past is the given one and whose future is another, and a wild market of its own.

Invariant: what is made up are bars like any other: prices above zero, high and low around open and close, time ascending.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from peak_trade.model.bar import COLUMNS, F64, I64, PRICES, Bars

#: A made-up future is no longer than this: who looks further is found by the future being cut off.
LONGEST = 512
#: What a price or volume is multiplied with where the future is moved away as a whole.
_FAR = 16.0
#: Standard deviations of the logarithm of a price from bar to bar: of a made-up market, and of a future of extremes.
_WILD, _EXTREME = 0.02, 3.0

_Columns = dict[str, Any]


def with_future(bars: Bars, cut: int, name: str, chance: np.random.Generator) -> Bars:
    """Return bars that are the given ones before *cut* and those of the future of that name from there on.

    Args:
        cut: bars that stay, 1 to the number of bars less one.
        name: one of `FUTURES`.
    """
    past = bars[:cut]
    columns: _Columns = {name: getattr(bars, name)[cut : cut + LONGEST].copy() for name in COLUMNS}
    other = FUTURES[name](columns, past, chance)
    joined = {name: np.concatenate([getattr(past, name), other[name]]) for name in COLUMNS}
    return Bars(instrument=bars.instrument, timeframe=bars.timeframe, **joined)


def wild_market(like: Bars, count: int, chance: np.random.Generator) -> Bars:
    """Return *count* made-up bars with large moves, changing volumes and some holes in time."""
    steps = np.where(chance.random(count) < 0.01, chance.integers(2, 40, count), 1)
    walk = _walk(count, float(like.close[0]), chance)
    stamps = like.timestamp[0] + np.cumsum(steps) * like.timeframe.step_ns
    return Bars(instrument=like.instrument, timeframe=like.timeframe, timestamp=stamps, **walk)


def scaled(bars: Bars, factor: float) -> Bars:
    """Return bars with every price times *factor*."""
    prices = {name: getattr(bars, name) * factor for name in PRICES}
    return Bars(instrument=bars.instrument, timeframe=bars.timeframe, timestamp=bars.timestamp, volume=bars.volume, **prices)


def _walk(count: int, level: float, chance: np.random.Generator) -> dict[str, F64]:
    """Return the columns of a random walk, all but time; its moves come in calm and in wild spells."""
    spell = np.repeat(chance.choice([0.2, 1.0, 2.0], count // 50 + 1), 50)[:count]
    move = chance.normal(0.0, _WILD, count) * spell
    close = level * np.exp(np.clip(np.cumsum(move), -20.0, 20.0))
    opened = close * np.exp(-move)
    reach = chance.exponential(_WILD / 2.0, (2, count))
    return {
        "open": opened,
        "high": np.maximum(opened, close) * np.exp(reach[0]),
        "low": np.minimum(opened, close) * np.exp(-reach[1]),
        "close": close,
        "volume": chance.lognormal(0.0, 1.0, count),
    }


def _times(columns: _Columns, factor: F64 | float) -> _Columns:
    return columns | {name: columns[name] * factor for name in COLUMNS[1:]}


def _reordered(columns: _Columns, order: I64) -> _Columns:
    return columns | {name: columns[name][order] for name in COLUMNS[1:]}


def _another(columns: _Columns, past: Bars, chance: np.random.Generator) -> _Columns:
    return columns | _walk(len(columns["close"]), float(past.close[-1]), chance)


def _extreme(columns: _Columns, _past: Bars, chance: np.random.Generator) -> _Columns:
    return _times(columns, np.exp(chance.normal(0.0, _EXTREME, len(columns["close"]))))


def _still(columns: _Columns, past: Bars, _chance: np.random.Generator) -> _Columns:
    count = len(columns["close"])
    return columns | dict.fromkeys(PRICES, np.full(count, past.close[-1])) | {"volume": np.zeros(count)}


def _later(columns: _Columns, past: Bars, chance: np.random.Generator) -> _Columns:
    return columns | {"timestamp": columns["timestamp"] + int(chance.integers(1, 500)) * past.timeframe.step_ns}


#: The futures a rule is tried with, by name; each takes the columns of the true one, the bars before it, and chance.
FUTURES: Mapping[str, Callable[[_Columns, Bars, np.random.Generator], _Columns]] = {
    "shuffled": lambda columns, _, chance: _reordered(columns, chance.permutation(len(columns["close"]))),
    "reversed": lambda columns, _, __: _reordered(columns, np.arange(len(columns["close"]))[::-1]),
    "raised": lambda columns, _, __: _times(columns, _FAR),
    "lowered": lambda columns, _, __: _times(columns, 1.0 / _FAR),
    "extreme": _extreme,
    "still": _still,
    "another": _another,
    "later": _later,
}
