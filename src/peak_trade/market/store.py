"""The local store of market data: one Parquet file for each symbol and timeframe, with its history inside.

Invariant: a file is whole or not there, and is refused when its bars no longer have the hash they were stored with.
"""

import io
import json
from pathlib import Path
from typing import Any

import polars as pl

from peak_trade.durable import storing, write_whole
from peak_trade.market.dataset import Dataset, Gap, GapKind
from peak_trade.model.bar import COLUMNS, Bars, Timeframe
from peak_trade.model.errors import DataError, InputError
from peak_trade.model.instrument import Instrument

#: The key of our entry in the Parquet file's own metadata, and the layout of that entry.
ENTRY = "peak_trade"
LAYOUT = 1


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
        frame = bars.to_polars()
        write_whole(path, lambda draft: frame.write_parquet(draft, metadata={ENTRY: json.dumps(entry)}))
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
            entry: dict[str, Any] = json.loads(pl.read_parquet_metadata(io.BytesIO(content))[ENTRY])
            frame = pl.read_parquet(io.BytesIO(content), columns=list(COLUMNS))
        except (pl.exceptions.PolarsError, KeyError, ValueError, OSError) as error:
            raise DataError("damaged", f"expected a stored dataset in {path}, found a damaged file; {again}") from error
        if entry["layout"] != LAYOUT:
            raise DataError("layout", f"expected layout {LAYOUT} in {path}, found {entry['layout']}; {again}")
        columns = {name: frame[name].to_physical().to_numpy() for name in COLUMNS}
        try:
            bars = Bars(instrument=instrument, timeframe=timeframe, **columns)
        except InputError as error:
            raise DataError("damaged", f"expected a stored dataset in {path}, found broken bars; {again}") from error
        if bars.sha256() != entry["sha256"]:
            raise DataError(
                "changed", f"expected bars with hash {entry['sha256'][:12]} in {path}, found {bars.sha256()[:12]}; {again}"
            )
        return Dataset(
            bars=bars,
            origin=entry["origin"],
            gaps=tuple(Gap(start, count, GapKind(kind)) for start, count, kind in entry["gaps"]),
            accepted=tuple(entry["accepted"]),
            notes=tuple(entry["notes"]),
        )
