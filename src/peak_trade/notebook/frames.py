"""Bars in: from the project's data, a file, or a frame of pandas or polars.

Invariant: a frame passes the same checks as a file and is kept beside the data, named by its content, so that a run over
it can be done again.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from peak_trade.compose import DataChoice, Parts
from peak_trade.durable import write_bytes
from peak_trade.market.dataset import Dataset
from peak_trade.market.importing import dataset_of
from peak_trade.market.raw import NAMES, Raw, moments_in
from peak_trade.model.bar import COLUMNS, Bars, Timeframe
from peak_trade.model.errors import DataError, InputError
from peak_trade.notebook.drawing import pairs_html

if TYPE_CHECKING:
    import pandas as pd

#: The folder of kept frames, under that of the data.
FRAMES = "frames"
#: What messages call a frame.
THE_FRAME = "the frame"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class LoadedBars:
    """Bars as research may read them, and how to read them again; without what a hold-out keeps back."""

    dataset: Dataset
    choice: DataChoice

    @property
    def bars(self) -> Bars:
        """The arrays."""
        return self.dataset.bars

    def __len__(self) -> int:
        return len(self.bars)

    def to_polars(self) -> pl.DataFrame:
        """Return timestamp (UTC), open, high, low, close and volume as a polars frame."""
        return self.bars.to_polars()

    def to_pandas(self) -> "pd.DataFrame":
        """Return open, high, low, close and volume as a pandas frame indexed by UTC timestamp."""
        return self.bars.to_pandas()

    def facts(self) -> dict[str, str]:
        """Return what there is to know before using them, as text."""
        bars = self.bars
        missing = sum(gap.bars for gap in self.dataset.gaps)
        return {
            "market": f"{bars.instrument.symbol} {bars.timeframe.label}",
            "bars": f"{len(bars):,}, {self.dataset.period()}",
            "missing": f"{missing:,} bars in {len(self.dataset.gaps):,} holes",
            "origin": self.dataset.origin,
            **{f"note {number}": note for number, note in enumerate(self.dataset.notes, 1)},
        }

    def __repr__(self) -> str:
        return "\n".join(f"{name:<8}{value}" for name, value in self.facts().items())

    def _repr_html_(self) -> str:
        return pairs_html(self.facts())


def choice_of(parts: Parts, data: Any, symbol: str | None, timeframe: str | None) -> DataChoice:
    """Return how to read what was given: loaded bars, a pandas or polars frame, a path, or None for the configured market.

    Raises:
        InputError: something else, a frame without a symbol, a frame without time zones.
        DataError: a frame fails a check.
    """
    for name, word in (("symbol", symbol), ("timeframe", timeframe)):
        if word is not None and not isinstance(word, str):
            raise InputError(f"expected text as {name}, found {word!r}; correct it")
    if isinstance(data, LoadedBars):
        if symbol is not None or timeframe is not None:
            raise InputError(
                "expected loaded bars, which know their market, found symbol or timeframe beside them; leave them out"
            )
        return data.choice
    if data is None:
        defaults = parts.settings.file.backtest
        return DataChoice(path=None, symbol=symbol or defaults.symbol, timeframe=timeframe or defaults.timeframe)
    if isinstance(data, str | Path):
        return DataChoice(path=Path(data).expanduser().absolute(), symbol=symbol, timeframe=timeframe)
    return _kept(parts, raw_of(data), symbol, timeframe)


def raw_of(frame: Any) -> Raw:
    """Return a frame's columns; names in any case, times aware, in a column `timestamp` or as a pandas index.

    Raises:
        InputError: it is no frame.
        DataError: a column is missing, there twice or no number, or times have no zone or are out of range.
    """
    if isinstance(frame, pl.DataFrame):
        columns = _by_name(frame.columns, [frame[name] for name in frame.columns])
        stamps = columns.get("timestamp")
        if stamps is not None:
            if not (isinstance(stamps.dtype, pl.Datetime) and stamps.dtype.time_zone):
                raise _no_zone(str(stamps.dtype))
            columns["timestamp"] = moments_in(stamps, THE_FRAME, 0)
        return _raw(columns)
    if type(frame).__module__.partition(".")[0] == "pandas" and hasattr(frame, "columns"):
        return _raw(_of_pandas(frame))
    hint = "collect() it" if isinstance(frame, pl.LazyFrame) else "pass one of them"
    raise InputError(f"expected loaded bars, a frame of pandas or polars, or a path, found {type(frame).__name__}; {hint}")


def _by_name(names: Sequence[Any], columns: Sequence[Any]) -> dict[str, Any]:
    """Return columns by their names in lower case; a time column may have each of the names that one of a file may have."""
    found: dict[str, Any] = {}
    for name, column in zip(names, columns, strict=True):
        if isinstance(name, tuple):
            raise DataError("columns", f"expected plain column names, found {name!r} of several levels; choose one level")
        key = str(name).lower()
        if key in found and key in COLUMNS:
            raise DataError("columns", f"expected one column {key} in the frame, found it twice; remove or rename one")
        found[key] = column
    other = next((name for name in NAMES["timestamp"] if name in found), None)
    if other is not None:
        found["timestamp"] = found.pop(other)
    return found


def _of_pandas(frame: Any) -> dict[str, Any]:
    import pandas as pd

    columns = _by_name(list(frame.columns), [frame.iloc[:, place] for place in range(frame.shape[1])])
    stamps = columns.get("timestamp")
    index = frame.index if stamps is None and isinstance(frame.index, pd.DatetimeIndex) else stamps
    if index is None:
        return columns
    if not isinstance(getattr(index, "dtype", None), pd.DatetimeTZDtype):
        raise _no_zone(str(index.dtype))
    times = pd.DatetimeIndex(index).tz_convert("UTC").tz_localize(None)
    # Polars has no seconds.
    series = pl.Series((times.as_unit("ms") if times.unit == "s" else times).to_numpy())
    columns["timestamp"] = moments_in(series, THE_FRAME, 0)
    return columns


def _raw(columns: dict[str, Any]) -> Raw:
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise DataError(
            "columns", f"expected the columns {', '.join(COLUMNS)}, found no {' and no '.join(missing)} in the frame; add them"
        )
    arrays: dict[str, Any] = {}
    for name in COLUMNS[1:]:
        try:
            # NumPy would only warn of what it drops.
            arrays[name] = np.array(columns[name]).astype(
                np.float64, casting="same_kind" if np.iscomplexobj(columns[name]) else "unsafe"
            )
        except (TypeError, ValueError) as error:
            raise DataError(
                "not_a_number", f"expected numbers in {name}, found {getattr(columns[name], 'dtype', 'others')}; convert it"
            ) from error
    return Raw(name=THE_FRAME, sha256="", first_row=0, timestamp=columns["timestamp"], **arrays)


def _no_zone(found: str) -> DataError:
    return DataError(
        "time",
        f"expected times with a time zone in timestamp, found {found}; say which one, as with "
        'dt.replace_time_zone("UTC") in polars or dt.tz_localize("UTC") in pandas',
    )


def _kept(parts: Parts, raw: Raw, symbol: str | None, timeframe: str | None) -> DataChoice:
    """Check a frame and keep it in the data folder under the hash of its bars."""
    if symbol is None:
        raise InputError('expected the symbol of the frame, found none; add symbol="BTC/EUR", or what it is')
    step = None if timeframe is None else Timeframe.parse(timeframe)
    bars = dataset_of(raw, parts.instrument(symbol), step, "a frame").bars
    path = parts.store.folder / FRAMES / bars.instrument.slug / f"{bars.sha256()}.parquet"
    if not path.exists():
        buffer = io.BytesIO()
        bars.to_polars().write_parquet(buffer)
        write_bytes(path, buffer.getvalue())
    return DataChoice(path=path, symbol=bars.instrument.symbol, timeframe=bars.timeframe.label)
