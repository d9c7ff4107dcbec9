"""Bringing a file of bars into the store."""

from dataclasses import dataclass
from pathlib import Path

import filelock

from peak_trade.compose import Parts
from peak_trade.durable import storing
from peak_trade.market.dataset import Dataset
from peak_trade.market.importing import joined, read_dataset
from peak_trade.market.raw import guess_symbol
from peak_trade.model.bar import Timeframe
from peak_trade.model.errors import DataError, StorageError

#: An import waits this long for another one of the same series.
LOCK_WAIT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import left in the store: the whole dataset, how many of its bars are new, and its file."""

    dataset: Dataset
    added: int
    path: Path


def import_file(parts: Parts, file: Path, symbol: str, timeframe: str, *, accepted: frozenset[str], replace: bool) -> Imported:
    """Check a file of bars and store it, joined with what is there unless *replace*.

    Raises:
        InputError: no such file, symbol or timeframe.
        DataError: the file, or what it would make together with the stored bars, fails a check.
        StorageError: the disk refused, or another import of this series does not end.
    """
    instrument, step = parts.instrument(symbol), Timeframe.parse(timeframe)
    named = guess_symbol(file.stem)
    if named is not None and named != instrument.symbol and "symbol" not in accepted:
        raise DataError(
            "symbol",
            f"expected bars of {instrument.symbol}, found a file whose name says {named}; correct --symbol, or accept it "
            "with --accept symbol",
        )
    new = read_dataset(file, instrument, step, accepted)
    # The lock lies in the store, so that every configuration that uses the store sees it. Two imports at once must not
    # join with the same old bars, or the later would drop what the earlier added.
    path = parts.store.path(instrument, step)
    lock = filelock.FileLock(path.parent / f".{path.name}.lock", timeout=LOCK_WAIT_S)
    with storing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            raise StorageError(
                f"{path} can't be written: another import of it has been running for {LOCK_WAIT_S:g} s; end that one"
            ) from error
    try:
        for draft in path.parent.glob(f".{path.name}.*"):
            if draft.suffix != ".lock":
                draft.unlink()  # left by an import that was killed; the lock says that none is at work
        before = parts.store.load(instrument, step) if not replace and parts.store.has(instrument, step) else None
        dataset = new if before is None else joined(before, new)
        parts.store.save(dataset)
    finally:
        lock.release()
    return Imported(dataset=dataset, added=len(dataset.bars) - (len(before.bars) if before else 0), path=path)
