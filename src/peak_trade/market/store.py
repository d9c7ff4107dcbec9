"""The local store of market data: one Parquet file for each symbol and timeframe, with its history inside.

Invariant: a file is whole or not there, and is refused when its bars no longer have the hash they were stored with.
"""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import polars as pl

from peak_trade.durable import storing, write_bytes
from peak_trade.market.dataset import Dataset, Gap, GapKind
from peak_trade.model.bar import COLUMNS, Bars, Timeframe
from peak_trade.model.errors import DataError, InputError
from peak_trade.model.instrument import Instrument

#: The key of a dataset's history in the Parquet file's own metadata, and the layout of that history.
ENTRY = "peak_trade"
LAYOUT = 1
#: Beside it stands its hash, because the hash inside covers the bars only.
SEAL = "peak_trade_sha256"


class Store:
    """Datasets in a folder, as `BTC-EUR/1h.parquet`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, instrument: Instrument, timeframe: Timeframe) -> Path:
        """Return where a dataset is or would be."""
        return self.folder / instrument.slug / f"{timeframe.label}.parquet"

    def has(self, instrument: Instrument, timeframe: Timeframe) -> bool:
        """Tell whether there is such a dataset."""
        return self.path(instrument, timeframe).is_file()

    def files(self) -> list[Path]:
        """Return the files of all datasets by name."""
        return sorted(path for path in self.folder.glob("*/*.parquet") if not path.name.startswith("."))

    def save(self, dataset: Dataset) -> Path:
        """Store a dataset in place of one with the same symbol and timeframe.

        Raises:
            StorageError: the disk refused; the old dataset is intact.
        """
        bars = dataset.bars
        entry = {
            "layout": LAYOUT,
            "symbol": bars.instrument.symbol,
            "timeframe": bars.timeframe.label,
            "sha256": bars.sha256(),
            "origin": dataset.origin,
            "gaps": [[gap.start, gap.bars, gap.kind.value] for gap in dataset.gaps],
            "accepted": dataset.accepted,
            "notes": dataset.notes,
        }
        path = self.path(bars.instrument, bars.timeframe)
        text = json.dumps(entry)
        buffer = io.BytesIO()
        bars.to_polars().write_parquet(buffer, metadata={ENTRY: text, SEAL: _seal(text)})
        write_bytes(path, buffer.getvalue())
        return path

    def load(self, instrument: Instrument, timeframe: Timeframe) -> Dataset:
        """Return a stored dataset.

        Raises:
            DataError: the file is damaged or its bars were changed since they were stored.
        """
        path = self.path(instrument, timeframe)
        with storing(path):
            content = path.read_bytes()
        again = f"import {instrument.symbol} {timeframe.label} again with --replace"
        try:
            return _decoded(content, instrument, timeframe)
        except (pl.exceptions.PolarsError, InputError, KeyError, TypeError, ValueError, OSError) as error:
            why = str(error) if isinstance(error, DataError) else "found a damaged file"
            raise DataError("damaged", f"expected a stored dataset in {path}, {why}; {again}") from error


def _decoded(content: bytes, instrument: Instrument, timeframe: Timeframe) -> Dataset:
    """Return the dataset that a file's bytes hold; whatever is wrong with them raises."""
    held = pl.read_parquet_metadata(io.BytesIO(content))
    entry: dict[str, Any] = json.loads(held[ENTRY])
    if _seal(held[ENTRY]) != held[SEAL] or entry["layout"] != LAYOUT:
        raise DataError("changed", f"found a history that was changed or is not of layout {LAYOUT}")
    if (entry["symbol"], entry["timeframe"]) != (instrument.symbol, timeframe.label):
        raise DataError("changed", f"found {entry['symbol']} {entry['timeframe']}")
    frame = pl.read_parquet(io.BytesIO(content), columns=list(COLUMNS))
    columns = {name: frame[name].to_physical().to_numpy() for name in COLUMNS}
    bars = Bars(instrument=instrument, timeframe=timeframe, **columns)
    if bars.sha256() != entry["sha256"]:
        raise DataError("changed", f"found bars with hash {bars.sha256()[:12]} instead of {entry['sha256'][:12]}")
    return Dataset(
        bars=bars,
        origin=entry["origin"],
        gaps=tuple(Gap(start, count, GapKind(kind)) for start, count, kind in entry["gaps"]),
        accepted=tuple(entry["accepted"]),
        notes=tuple(entry["notes"]),
    )


def _seal(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
