"""Files of bars as unchecked columns: CSV with a header, Kraken's OHLCVT files without one, and Parquet.

Invariant: columns come out exactly as they are in the file, in its order; whether they make sense is `quality`'s question.
"""

import hashlib
import io
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from peak_trade.model.bar import F64, I64
from peak_trade.model.clock import moment_text
from peak_trade.model.errors import DataError, InputError
from peak_trade.model.instrument import parse_symbol

#: Column names in use, best first; compared in lower case.
NAMES: dict[str, tuple[str, ...]] = {
    "timestamp": ("timestamp", "open_time", "datetime", "time", "date", "unix", "ts"),
    "open": ("open", "o"),
    "high": ("high", "h"),
    "low": ("low", "l"),
    "close": ("close", "c"),
    "volume": ("volume", "vol", "v"),
}
TRADE_NAMES = ("trades", "count", "num_trades", "tradecount")
QUOTE_VOLUME_NAMES = ("quote_volume", "quote_asset_volume", "turnover", "volume_usd", "volume_eur", "volume_usdt")

#: Columns of Kraken's downloadable OHLCVT history, and of the layout before 2021 with the average price in between.
KRAKEN_COLUMNS = ("timestamp", "open", "high", "low", "close", "volume", "trades")

#: Nanoseconds of one unit, by the size of a timestamp from March 1973 on.
_UNITS = ((10**8, 10**11, 10**9), (10**11, 10**14, 10**6), (10**14, 10**17, 10**3), (10**17, 2**63, 1))


#: Endings of Parquet files.
PARQUET = (".parquet", ".pq")
#: So much of a file is looked at before all of it is read.
HEAD_BYTES = 64 << 10
#: A file is read into memory whole; 50 million bars fit into this.
FILE_BYTES_MAX = 4 << 30
#: More columns than this are no file of bars.
COLUMNS_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """The columns of a file, each of shape (rows,); `timestamp` in nanoseconds UTC, the rest float64.

    Attributes:
        first_row: the number of the first data row as a reader of the file counts.
        trades, quote_volume: where the file has them.
    """

    name: str
    sha256: str
    first_row: int
    timestamp: I64
    open: F64
    high: F64
    low: F64
    close: F64
    volume: F64
    trades: F64 | None = None
    quote_volume: F64 | None = None

    def row(self, index: int) -> str:
        """Name a row as a reader of the file would find it."""
        return f"row {int(index) + self.first_row} ({moment_text(int(self.timestamp[index]))})"


def read_raw(path: Path) -> Raw:
    """Read a file of bars by its ending: `.parquet`, else CSV.

    Raises:
        InputError: no such file.
        DataError: the file is empty, cut off, of mixed layout, or lacks a column.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            what = "folder" if stat.S_ISDIR(status.st_mode) else "device or pipe"
            raise InputError(f"expected a file of bars, found the {what} {path}; name a file")
        if status.st_size > FILE_BYTES_MAX:
            raise InputError(
                f"expected a file of at most {FILE_BYTES_MAX >> 30} GiB, found {status.st_size >> 30} in {path}; split it"
            )
        with path.open("rb") as file:
            _refuse_foreign(path, file.read(HEAD_BYTES))
            file.seek(0)
            content = file.read()
    except FileNotFoundError as error:
        raise InputError(f"expected a file of bars at {path}, found none; check the path") from error
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}); check its permissions") from error
    digest = hashlib.sha256(content).hexdigest()
    if not content.strip():
        raise DataError("empty", f"{path.name}: expected at least 2 bars, found an empty file; give a file with data")
    try:
        if path.suffix.lower() in PARQUET or content[:4] == b"PAR1":
            return _named(parquet_frame(content, path.name), path.name, digest, first_row=1)
        return _csv(content, path.name, digest)
    except (pl.exceptions.PolarsError, OverflowError) as error:
        reason = str(error).splitlines()[0][:200]
        raise DataError(
            "layout", f"{path.name}: expected a file of bars, found one that can't be read ({reason}); check it"
        ) from error


def _refuse_foreign(path: Path, head: bytes) -> None:
    """Refuse by its beginning what can be no file of bars, before gigabytes of it are read."""
    if head.startswith(b"PAR1"):
        return
    if path.suffix.lower() in PARQUET and head:
        raise _no_parquet(path.name)
    if b"\0" in head:
        raise DataError(
            "layout",
            f"{path.name}: expected text in UTF-8 or a Parquet file, found other bytes; unpack it if it is compressed, or "
            "convert it if it is UTF-16 text",
        )


def guess_symbol(name: str) -> str | None:
    """Return the symbol that a file name holds, as in `Kraken_BTCEUR_1h.parquet` or `XBTEUR_60.csv`, else None."""
    for word in re.split(r"[_\-. ]+(?!(?:EUR|USD)[TC]?\b)", name.upper()):
        found = re.fullmatch(r"([A-Z]{2,5})[_-]?(EUR|USDT|USDC|USD|GBP|CHF|JPY|CAD|AUD|BTC)", word)
        if found and found[1] not in {"US", "KRAKEN"}:
            return parse_symbol(f"{found[1]}/{found[2]}")
    return None


def parquet_frame(content: bytes, name: str) -> pl.DataFrame:
    """Return what a Parquet file holds."""
    try:
        return pl.read_parquet(io.BytesIO(content))
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise _no_parquet(name) from error


def _no_parquet(name: str) -> DataError:
    return DataError(
        "truncated", f"{name}: expected a whole Parquet file, found a damaged or cut one; copy or download it again"
    )


def _csv(content: bytes, name: str, digest: str) -> Raw:
    content = content.removeprefix(b"\xef\xbb\xbf")
    first = content.split(b"\n", 1)[0]
    separator = max(b",;\t", key=lambda mark: first.count(bytes([mark])))
    mark = chr(separator)
    fields = [field.strip() for field in first.decode("utf-8", "replace").strip().split(mark)]
    header = any(re.search(r"[A-Za-z]", field) and not _is_moment(field) for field in fields)
    if len(fields) > COLUMNS_MAX:
        raise DataError(
            "columns", f"{name}: expected at most {COLUMNS_MAX} columns, found {len(fields)}; is this a file of bars?"
        )
    named = header and any(field.lower() in names for field in fields for names in NAMES.values())
    if len(fields) < 6 and not named:
        raise DataError(
            "columns",
            f"{name}: expected at least the 6 columns {', '.join(NAMES)}, found {len(fields)} in the first line "
            f"({', '.join(fields)[:60]!r}); remove a title line or add what is missing",
        )
    frame = _frame(content, mark, name, header=header, width=len(fields))
    if header:
        return _named(frame, name, digest, first_row=2)
    return _kraken(frame, name, digest)


def _frame(content: bytes, mark: str, name: str, *, header: bool, width: int) -> pl.DataFrame:
    """Read the fields as numbers where a whole column is one, else as text; a row of another length is refused."""
    try:
        return pl.read_csv(
            io.BytesIO(content),
            separator=mark,
            has_header=header,
            infer_schema_length=10_000,
            truncate_ragged_lines=False,
            schema_overrides=None if header else {"column_1": pl.Int64},
        )
    except pl.exceptions.PolarsError:
        pass
    lines = content.decode("utf-8", "replace").splitlines()
    for number, line in enumerate(lines, 1):
        if line.strip() and line.count(mark) + 1 != width:
            raise DataError(
                "layout",
                f"{name}: expected {width} fields in every row, found {line.count(mark) + 1} in row {number}; "
                "two layouts are mixed or the file is cut off, download it again",
            )
    try:
        return pl.read_csv(io.BytesIO(content), separator=mark, has_header=header, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0][:80]
        raise DataError(
            "layout", f"{name}: expected a CSV file, found something else ({reason}); is a quotation mark never closed?"
        ) from error


def _kraken(frame: pl.DataFrame, name: str, digest: str) -> Raw:
    """Give a file without a header Kraken's column names.

    An eighth field that only some rows fill means that two layouts were joined: then column 6 is volume in some rows
    and the average price in others.
    """
    if frame.width == 8:
        extra = frame.columns[7]
        filled = int(frame[extra].is_not_null().sum())
        if 0 < filled < frame.height:
            first = int(frame[extra].is_not_null().arg_max() or 0) + 1
            raise DataError(
                "layout",
                f"{name}: expected one layout, found an eighth field in {filled} of {frame.height} rows, the first in row "
                f"{first}; the archive and the REST layout were joined, so column 6 changes its meaning: download it again",
            )
        frame = frame.select(pl.nth(0, 1, 2, 3, 4, 6, 7)) if filled else frame.drop(extra)
    if frame.width == 6:
        names: Sequence[str] = KRAKEN_COLUMNS[:6]
    elif frame.width == 7:
        names = KRAKEN_COLUMNS
    else:
        raise DataError(
            "columns",
            f"{name}: expected 6 to 8 fields as in Kraken's OHLCVT files, found {frame.width}; "
            f"add a header line with {', '.join(NAMES)}",
        )
    frame.columns = list(names)
    return _named(frame, name, digest, first_row=1)


def _named(frame: pl.DataFrame, name: str, digest: str, first_row: int) -> Raw:
    """Pick the columns by name and turn them into arrays."""
    found: dict[str, str] = {}
    for column in frame.columns:
        key = re.sub(r"_duplicated_\d+$", "", column.strip().lower())
        if key in found:
            raise DataError("columns", f"{name}: expected one column {key}, found it twice; remove or rename one")
        found[key] = column
    chosen = {part: _first(found, names) for part, names in NAMES.items()}
    if chosen["volume"] is None:
        chosen["volume"] = next((found[key] for key in found if re.fullmatch(r"volume [a-z]{2,5}", key)), None)
    missing = [part for part, column in chosen.items() if column is None]
    if missing:
        raise DataError(
            "columns",
            f"{name}: expected the columns {', '.join(NAMES)}, found no {' and no '.join(missing)} among "
            f"{', '.join(frame.columns)}; rename or add {'it' if len(missing) == 1 else 'them'}",
        )
    if frame.height == 0:
        raise DataError("empty", f"{name}: expected at least 2 bars, found only a header; give a file with data")
    columns = {
        part: numbers_in(frame[column], part, name, first_row)
        for part, column in chosen.items()
        if column and part != "timestamp"
    }
    trades = _first(found, TRADE_NAMES)
    quote = _first(found, QUOTE_VOLUME_NAMES)
    stamps = frame[chosen["timestamp"] or ""]
    return Raw(
        name=name,
        sha256=digest,
        first_row=first_row,
        timestamp=moments_in(stamps, name, first_row),
        trades=_optional(frame, trades),
        quote_volume=_optional(frame, quote),
        **columns,
    )


def _first(found: dict[str, str], names: tuple[str, ...]) -> str | None:
    return next((found[name] for name in names if name in found), None)


def _optional(frame: pl.DataFrame, column: str | None) -> F64 | None:
    """Return a helper column, or None where it is absent or not filled throughout."""
    if column is None or not (frame[column].dtype.is_numeric() or frame[column].dtype == pl.String):
        return None
    values = frame[column].cast(pl.Float64, strict=False)
    return None if values.null_count() else values.to_numpy()


def numbers_in(column: pl.Series, part: str, name: str, first_row: int) -> F64:
    """Return a column as numbers; what is empty is not a number."""
    if not (column.dtype.is_numeric() or column.dtype in (pl.String, pl.Null)):
        raise DataError("not_a_number", f"{name}: expected numbers in {part}, found {column.dtype}; convert that column")
    values = column.cast(pl.Float64, strict=False)
    lost = values.is_null() & column.is_not_null()
    if lost.any():
        row = int(lost.arg_max() or 0)
        raise DataError(
            "not_a_number",
            f"{name}: expected a number in every row of {part}, found {column[row]!r} in row {row + first_row}; "
            "mend the source",
        )
    return values.fill_null(float("nan")).to_numpy()


def moments_in(column: pl.Series, name: str, first_row: int) -> I64:
    """Return open times as nanoseconds UTC from dates, datetimes of any unit and zone, epoch numbers or ISO text."""
    if column.null_count():
        row = int(column.is_null().arg_max() or 0)
        raise DataError("time", f"{name}: expected a time in every row, found none in row {row + first_row}; mend the source")
    if column.dtype == pl.String:
        column = _parse_moments(column, name, first_row)
    if column.dtype == pl.Date:
        column = column.cast(pl.Datetime("us"))
    if isinstance(column.dtype, pl.Datetime):
        return _from_datetimes(column, name, first_row)
    if not (column.dtype.is_integer() or column.dtype.is_float()):
        raise DataError("time", f"{name}: expected times, found {column.dtype} in the time column; convert it")
    values = column.to_numpy()
    if not np.all(np.isfinite(values)):
        raise DataError("time", f"{name}: expected a time in every row, found one that is not a number; mend the source")
    for low, high, unit in _UNITS:
        inside = (values >= low) & (values < high)
        if inside.all():
            whole = values.astype(np.int64)
            rest = np.round((values - whole) * unit).astype(np.int64) if values.dtype.kind == "f" else 0
            return np.asarray(whole * unit + rest, dtype=np.int64)
        if inside[0]:
            row = int(np.argmin(inside))
            raise DataError(
                "time",
                f"{name}: expected times in one unit, found {values[row]} in row {row + first_row} after {values[0]}; "
                "two files with different units were joined, or a column is out of place",
            )
    raise DataError(
        "time",
        f"{name}: expected times since 1970 in seconds to nanoseconds, found {values[0]} in row {first_row}; "
        "is the time column in its place?",
    )


def _from_datetimes(column: pl.Series, name: str, first_row: int) -> I64:
    """Return datetimes of any unit and zone as nanoseconds UTC, as far as those reach: the years 1970 to 2262."""
    if getattr(column.dtype, "time_zone", None) is not None:
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    bad = (column.dt.year() < 1970) | (column.dt.year() > 2261)
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise DataError(
            "time", f"{name}: expected times of 1970 to 2261, found {column[row]} in row {row + first_row}; mend the source"
        )
    return column.dt.cast_time_unit("ns").cast(pl.Int64).to_numpy()


def _parse_moments(column: pl.Series, name: str, first_row: int) -> pl.Series:
    numbers = column.cast(pl.Float64, strict=False)
    if numbers.null_count() == 0:
        return numbers
    spaced = column.str.strip_chars().str.replace("T", " ", literal=True)
    if re.search(r":\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)$", str(spaced[0])):
        zoned = spaced.str.strptime(pl.Datetime("us", "UTC"), "%Y-%m-%d %H:%M:%S%.f%#z", strict=False)
        if zoned.null_count() == 0:
            return zoned
    text = spaced.str.replace(r"(Z|[+-]00:?00)$", "")
    for form in ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%m/%d/%Y"):
        parsed = (
            text.str.strptime(pl.Datetime("us"), form, strict=False)
            if "%H" in form
            else text.str.strptime(pl.Date, form, strict=False)
        )
        if parsed.null_count() == 0:
            return parsed
        if parsed[0] is not None:
            row = int(parsed.is_null().arg_max() or 0)
            raise DataError(
                "time",
                f"{name}: expected a time like {column[0]} in every row, found {column[row]!r} in row {row + first_row}; "
                "mend the source",
            )
    raise DataError(
        "time", f"{name}: expected a time like 2024-01-31 13:00:00 (UTC), found {column[0]!r} in row {first_row}; convert it"
    )


def _is_moment(field: str) -> bool:
    return re.fullmatch(r"\d{4}-\d\d-\d\d([T ][\d:.]+(Z|[+-]\d\d:?\d\d)?)?|\d+e\d+|nan|inf", field.strip('"'), re.I) is not None
