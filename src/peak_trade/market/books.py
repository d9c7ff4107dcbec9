"""Recorded order books: a snapshot and the changes after it, played back to what a market order would have paid.

Two Parquet layouts are read, told apart by their columns: a snapshot (`timestamp, last_update_id, side, price, size`) and its
changes (`timestamp, first_update_id, final_update_id, side, price, size`; a size of 0 removes a level).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from peak_trade.market.raw import FILE_BYTES_MAX, moments_in, parquet_frame
from peak_trade.model.bar import I64
from peak_trade.model.errors import DataError, InputError

_SNAPSHOT = ("timestamp", "last_update_id", "side", "price", "size")
_CHANGES = ("timestamp", "first_update_id", "final_update_id", "side", "price", "size")

#: Price and size of levels, best first.
Levels = list[tuple[float, float]]


class BookTape(NamedTuple):
    """A recorded book: the levels it began with, and every change with its moment, nanoseconds UTC."""

    name: str
    snapshot: pl.DataFrame
    changes: pl.DataFrame
    stamps: I64


class BookLook(NamedTuple):
    """Both sides of a book at a moment."""

    at_ns: int
    bids: Levels
    asks: Levels


def read_book(paths: Sequence[Path]) -> BookTape:
    """Read a snapshot and its changes, in any order.

    Raises:
        InputError: a file is not there, or it is not one of each kind.
        DataError: a file is damaged, or changes are missing between the two.
    """
    found: dict[str, tuple[Path, pl.DataFrame]] = {}
    for path in paths:
        try:
            if path.stat().st_size > FILE_BYTES_MAX:
                raise InputError(f"expected a book of at most {FILE_BYTES_MAX >> 30} GiB, found more in {path}; split it")
            frame = parquet_frame(path.read_bytes(), path.name)
        except OSError as error:
            raise InputError(f"expected a recorded book at {path}, found none to read ({error.strerror})") from error
        kinds = {"changes": _CHANGES, "snapshot": _SNAPSHOT}
        kind = next((name for name, columns in kinds.items() if set(columns) <= set(frame.columns)), None)
        if kind is None:
            raise DataError(
                "columns",
                f"{path.name}: expected the columns of a snapshot ({', '.join(_SNAPSHOT)}) or of changes "
                f"({', '.join(_CHANGES)}), found {', '.join(frame.columns)}; convert it",
            )
        if kind in found:
            raise InputError(f"expected one {kind} of a book, found {found[kind][0].name} and {path.name}; give one")
        found[kind] = (path, frame.select(kinds[kind]))
    if len(found) < 2:
        raise InputError("expected --book twice, for the snapshot and for its changes, found one; give both files")
    snapshot, (path, changes) = found["snapshot"][1], found["changes"]
    return _checked(snapshot, changes, path.name)


def _checked(snapshot: pl.DataFrame, changes: pl.DataFrame, name: str) -> BookTape:
    if not len(snapshot):
        raise DataError("empty", f"{name}: expected levels in the snapshot, found none; record it again")
    last = int(snapshot["last_update_id"][0])
    changes = changes.filter(pl.col("final_update_id") > last)
    updates = changes.select("first_update_id", "final_update_id").unique(maintain_order=True)
    firsts, finals = updates["first_update_id"].to_numpy(), updates["final_update_id"].to_numpy()
    if not len(updates) or firsts[0] > last + 1 or (firsts[1:] != finals[:-1] + 1).any():
        raise DataError("gap", f"{name}: expected every update after {last}, found one missing; record it again")
    return BookTape(name, snapshot, changes, moments_in(changes["timestamp"], name, 1))


def looks(tape: BookTape, step_ns: int, depth: int = 400) -> Iterator[BookLook]:
    """Play a book back; yield its best levels at every whole step of time that its changes reach."""
    sides: dict[str, dict[float, float]] = {"bid": {}, "ask": {}}
    for side, price, size in tape.snapshot.select("side", "price", "size").iter_rows():
        sides[side][price] = size
    columns = (tape.stamps.tolist(), *(tape.changes[name].to_list() for name in ("side", "price", "size")))
    due = (int(tape.stamps[0]) // step_ns + 1) * step_ns
    for at_ns, side, price, size in zip(*columns, strict=True):
        if at_ns >= due:
            bids = sorted(sides["bid"].items(), reverse=True)[:depth]
            asks = sorted(sides["ask"].items())[:depth]
            if bids and asks:
                yield BookLook(due, bids, asks)
            due = (at_ns // step_ns + 1) * step_ns
        if size > 0.0:
            sides[side][price] = size
        else:
            sides[side].pop(price, None)


def walked(levels: Levels, size: float) -> float | None:
    """Return the average price of a market order that takes these levels; None where they do not hold so much."""
    left, spent = size, 0.0
    for price, there in levels:
        taken = min(left, there)
        spent += taken * price
        left -= taken
        if left <= 1e-12 * size:
            return spent / size
    return None
