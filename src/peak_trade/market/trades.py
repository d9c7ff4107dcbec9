"""Files of single trades: Kraken's time and sales without a header (time, price, volume), CSV with one, and Parquet."""

import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from peak_trade.market.raw import FILE_BYTES_MAX, moments_in, numbers_in, parquet_frame
from peak_trade.model.bar import F64, I64
from peak_trade.model.errors import DataError, InputError

#: Column names in use, best first; compared in lower case.
NAMES: dict[str, tuple[str, ...]] = {
    "timestamp": ("timestamp", "time", "datetime", "date", "ts"),
    "price": ("price", "p"),
    "volume": ("volume", "amount", "size", "qty", "quantity"),
}
SIDE_NAMES = ("side", "direction")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawTrades:
    """Trades of a file, each column of shape (rows,): times in nanoseconds UTC that never fall, price, base volume.

    Attributes:
        buys: 1 where the taker bought, 0 where it sold; None where the file does not say.
    """

    name: str
    timestamp: I64
    price: F64
    volume: F64
    buys: F64 | None = None


def read_trades(path: Path) -> RawTrades | None:
    """Read a file of trades; None where it holds something else, as bars are.

    Raises:
        InputError: no such file.
        DataError: it is damaged, or holds trades that can't be.
    """
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise InputError(f"expected a file of at most {FILE_BYTES_MAX >> 30} GiB, found a larger one in {path}; split it")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"expected a file of bars or trades at {path}, found none to read ({error.strerror})") from error
    if path.suffix.lower() in (".parquet", ".pq") or content[:4] == b"PAR1":
        frame, first = parquet_frame(content, path.name), 1
    else:
        first_line = content.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0].decode("utf-8", "replace").strip()
        header = re.search(r"[A-Za-z]", first_line) is not None
        if not header and first_line.count(",") != 2:
            return None
        try:
            frame, first = pl.read_csv(io.BytesIO(content), has_header=header, infer_schema_length=10_000), 1 + header
        except pl.exceptions.PolarsError as error:
            if header:
                # Not for this reader to say: it may be a file of bars in another layout.
                return None
            reason = str(error).splitlines()[0][:120]
            raise DataError(
                "layout", f"{path.name}: expected 3 fields in every row, found another ({reason}); mend it"
            ) from error
        if not header:
            if frame.width != len(NAMES):
                raise DataError("layout", f"{path.name}: expected 3 fields in every row, found {frame.width} in one; mend it")
            frame.columns = list(NAMES)
    found = {column.strip().lower(): column for column in frame.columns}
    chosen = {part: next((found[name] for name in names if name in found), None) for part, names in NAMES.items()}
    if "open" in found or None in chosen.values():
        return None
    return _checked(frame, {part: str(column) for part, column in chosen.items()}, path.name, first)


def _checked(frame: pl.DataFrame, chosen: dict[str, str], name: str, first_row: int) -> RawTrades:
    if frame.height < 2:
        raise DataError("empty", f"{name}: expected at least 2 trades, found {frame.height}; give a file with data")
    stamps = moments_in(frame[chosen["timestamp"]], name, first_row)
    price, volume = (numbers_in(frame[chosen[part]], part, name, first_row) for part in ("price", "volume"))
    checks = (
        ("price", "prices above zero", ~(np.isfinite(price) & (price > 0)), price),
        ("volume", "volumes of zero or more", ~(np.isfinite(volume) & (volume >= 0)), volume),
        ("order", "times that never fall", np.diff(stamps, prepend=stamps[0]) < 0, stamps),
    )
    for code, expected, wrong, values in checks:
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(code, f"{name}: expected {expected}, found {values[row]} in row {row + first_row}; mend the source")
    side = next((column for column in frame.columns if column.strip().lower() in SIDE_NAMES), None)
    buys = None
    if side is not None and frame[side].dtype == pl.String and frame[side].null_count() == 0:
        words = frame[side].str.to_lowercase()
        if words.is_in(["b", "s", "buy", "sell"]).all():
            buys = words.str.starts_with("b").cast(pl.Float64).to_numpy()
    return RawTrades(name=name, timestamp=stamps, price=price, volume=volume, buys=buys)
