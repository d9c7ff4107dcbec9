"""Bars: what a market did in equal steps of time, as arrays.

Invariant: the arrays of a `Bars` have equal length, ascend strictly in time and can't be written to.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from peak_trade.model.clock import nanoseconds
from peak_trade.model.errors import InputError, require
from peak_trade.model.instrument import Instrument

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

PRICES = ("open", "high", "low", "close")
COLUMNS = ("timestamp", *PRICES, "volume")

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True, order=True)
class Timeframe:
    """The length of a bar, written as a count and a unit: `1m`, `15m`, `4h`, `1d`, `1w`."""

    seconds: int
    label: str

    @classmethod
    def parse(cls, text: str) -> "Timeframe":
        """Read a timeframe; one length has one label, so `60m` gives `1h`.

        Raises:
            InputError: the text is not a positive count with one of the units s, m, h, d, w.
        """
        found = re.fullmatch(r"([1-9]\d{0,3})([smhdw])", text.strip())
        if found is None:
            raise InputError(f"expected a timeframe like 1m, 15m, 1h, 4h or 1d, found {text!r}")
        return cls.of_seconds(int(found[1]) * _SECONDS[found[2]])

    @classmethod
    def of_seconds(cls, seconds: int) -> "Timeframe":
        """Return the timeframe of *seconds* with its usual label: 3600 gives `1h`."""
        for unit in ("w", "d", "h", "m", "s"):
            if seconds % _SECONDS[unit] == 0:
                return cls(seconds, f"{seconds // _SECONDS[unit]}{unit}")
        raise InputError(f"expected a whole number of seconds, found {seconds}")

    @property
    def step_ns(self) -> int:
        """The length in nanoseconds."""
        return self.seconds * 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bars:
    """A market's bars as a structure of arrays, each of shape (bars,).

    Attributes:
        timestamp: open time of each bar, int64 nanoseconds since 1970 UTC, strictly ascending.
        open, high, low, close: float64, quote currency.
        volume: float64, base currency.
    """

    instrument: Instrument
    timeframe: Timeframe
    timestamp: I64
    open: F64
    high: F64
    low: F64
    close: F64
    volume: F64

    def __post_init__(self) -> None:
        for name in COLUMNS:
            kind = np.int64 if name == "timestamp" else np.float64
            column = np.ascontiguousarray(getattr(self, name), dtype=kind).view()
            require(column.shape == self.timestamp.shape, f"{name} has one value for each timestamp")
            column.flags.writeable = False
            object.__setattr__(self, name, column)
        if len(self) and not bool(np.all(self.timestamp[1:] > self.timestamp[:-1])):
            raise InputError("expected bars in strictly ascending time, found others; sort them and remove duplicates")
        for name in PRICES:
            lowest, highest = (self._extreme(name, pick) for pick in (np.min, np.max))
            if not (lowest > 0.0 and highest < np.inf):
                raise InputError(f"expected every {name} to be a number above zero, found {lowest} to {highest}; mend the bars")

    def _extreme(self, name: str, pick: Callable[[F64], np.float64]) -> float:
        column = getattr(self, name)
        return float(pick(column)) if len(column) else 1.0

    def __len__(self) -> int:
        return len(self.timestamp)

    def between(self, start: datetime | None, end: datetime | None) -> "Bars":
        """Return the bars that open at or after *start* and before *end* (aware UTC; None: no limit)."""
        first = 0 if start is None else int(np.searchsorted(self.timestamp, nanoseconds(start)))
        last = len(self) if end is None else int(np.searchsorted(self.timestamp, nanoseconds(end)))
        return self[first : max(first, last)]

    def __getitem__(self, part: slice) -> "Bars":
        return Bars(
            instrument=self.instrument,
            timeframe=self.timeframe,
            **{name: getattr(self, name)[part] for name in COLUMNS},
        )

    def sha256(self) -> str:
        """Return the content hash: symbol, timeframe and the little-endian bytes of every column."""
        digest = hashlib.sha256(f"{self.instrument.symbol}\n{self.timeframe.label}\n{len(self)}\n".encode())
        for name in COLUMNS:
            column = getattr(self, name)
            digest.update(column.astype(column.dtype.newbyteorder("<"), copy=False).data)
        return digest.hexdigest()

    def to_polars(self) -> "pl.DataFrame":
        """Return the bars as a polars frame; `timestamp` is a UTC datetime in nanoseconds."""
        import polars as pl

        frame = pl.DataFrame({name: getattr(self, name) for name in COLUMNS})
        return frame.with_columns(pl.col("timestamp").cast(pl.Datetime("ns", "UTC")))

    def to_pandas(self) -> "pd.DataFrame":
        """Return the bars as a pandas frame indexed by UTC timestamp."""
        import pandas as pd

        index = pd.DatetimeIndex(self.timestamp.view("M8[ns]"), tz="UTC", name="timestamp")
        return pd.DataFrame({name: np.array(getattr(self, name)) for name in COLUMNS[1:]}, index=index)
