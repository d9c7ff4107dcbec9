"""Bringing bars into the store: from a file, or from an exchange."""

import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import filelock

from peak_trade.compose import Parts
from peak_trade.durable import storing
from peak_trade.market.dataset import Dataset, find_gaps
from peak_trade.market.download import Formed, Patience, Span, Unfinished, columns_of, fetch
from peak_trade.market.importing import dataset_of, joined, read_dataset
from peak_trade.market.raw import guess_symbol
from peak_trade.model.bar import COLUMNS, Bars, Timeframe
from peak_trade.model.clock import moment_text, nanoseconds
from peak_trade.model.errors import DataError, InputError, StorageError
from peak_trade.model.instrument import Instrument

#: An import waits this long for another one of the same series.
LOCK_WAIT_S = 60.0
#: A bar counts as complete this long after its end: an exchange's answers can lag behind its trades.
SETTLE_NS = 10 * 1_000_000_000


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
    path = parts.store.path(instrument, step)
    with _only_one(path):
        before = parts.store.load(instrument, step) if not replace and parts.store.has(instrument, step) else None
        dataset = new if before is None else joined(before, new)
        parts.store.save(dataset)
    return Imported(dataset=dataset, added=len(dataset.bars) - (len(before.bars) if before else 0), path=path)


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Keep every other import and download of a series away, and remove the drafts of those that were killed.

    The lock lies in the store, so that every configuration that uses the store sees it. Two at once must not join with the
    same old bars, or the later would drop what the earlier added.

    Raises:
        StorageError: the disk refused, or another one does not end.
    """
    lock = filelock.FileLock(path.parent / f".{path.name}.lock", timeout=LOCK_WAIT_S)
    with storing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            raise StorageError(
                f"{path} can't be written: another import or download of it has been running for {LOCK_WAIT_S:g} s; end that "
                "one"
            ) from error
    try:
        for draft in path.parent.glob(f".{path.name}.*"):
            if draft.suffix != ".lock":
                draft.unlink()  # left by one that was killed; the lock says that none is at work
        yield
    finally:
        lock.release()


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadRequest:
    """Which bars to fetch from where.

    Attributes:
        exchange: ccxt's id of it. since: first bar opens at or after it; None goes on after what is stored.
        until: last bar opens before it; None: the present. base_url: replaces scheme and host of the exchange's addresses.
        emulated: the exchange is this run's own emulator: nothing is gone on with, and its bars say that they are made up.
        accepted: codes of checks that may fail. replace: take what comes in place of what is stored.
    """

    exchange: str
    symbol: str
    timeframe: str
    since: datetime | None
    until: datetime | None = None
    base_url: str | None = None
    emulated: bool = False
    accepted: frozenset[str] = frozenset()
    replace: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Onlooker:
    """Who is told how a download goes.

    Attributes:
        told: hears why it waits. seen: hears after each page how far it is: from, now at, to (nanoseconds UTC), and bars.
        wait: sleeps so many seconds.
    """

    told: Callable[[str], None]
    seen: Callable[[int, int, int, int], None]
    wait: Callable[[float], None]


def download(parts: Parts, asked: DownloadRequest, onlooker: Onlooker) -> Imported:
    """Fetch bars from an exchange and store them, joined with what is there unless *asked* says to replace it.

    Each page is kept in a working file beside the dataset, and the same request goes on where an earlier one was cut off.

    Raises:
        InputError: no such exchange, pair or timeframe, or nothing says where to begin.
        DataError: what came, or what it makes together with the stored bars, fails a check.
        Unavailable: the exchange does not answer. CheckFailed: its answers contradict each other.
        StorageError: the disk refused, or another import or download of this series does not end.
    """
    instrument, step = parts.instrument(asked.symbol), Timeframe.parse(asked.timeframe)
    source = parts.bar_source(asked.exchange, instrument.symbol, step, base_url=asked.base_url, paced=not asked.emulated)
    if asked.emulated:
        source.origin = f"the emulator, made up, {instrument.symbol}"
    path = parts.store.path(instrument, step)
    with _only_one(path):
        stored = parts.store.load(instrument, step) if parts.store.has(instrument, step) else None
        before = None if asked.replace else stored
        _refuse_mixture(before, source.origin)
        patience = Patience(onlooker.wait, random.SystemRandom(), onlooker.told)
        now = patience.ask(source.now) - SETTLE_NS
        span = Span(
            start=_beginning(asked, before),
            until=now if asked.until is None else nanoseconds(asked.until),
            now=now,
            step_ns=step.step_ns,
        )
        place = path.with_name(f".{step.label}.{asked.exchange}{'.emulated' if asked.emulated else ''}.download")
        if asked.emulated or asked.replace:
            # That emulator is gone; and what replaces begins anew, also after a conflict that left its pages here.
            place.unlink(missing_ok=True)
        head = {"origin": source.origin, "timeframe": step.label}
        work = Unfinished(place, head, span.start)
        if work.resumed:
            onlooker.told(f"going on with {place}: {len(work.bars):,} bars are there")
        bars = fetch(source, work, span, patience, lambda at, count: onlooker.seen(span.start, at, span.until, count))
        dataset = _with_stored(before, bars, instrument, step, source.origin, asked.accepted)
        if bars and bars[0].at > span.start + step.step_ns:
            onlooker.told(f"{source.origin} tells no bars before {moment_text(bars[0].at)}")
        added = len(dataset.bars) - (len(before.bars) if before else 0)
        if added or before is None:
            parts.store.save(dataset)
        work.remove()
    return Imported(dataset=dataset, added=added, path=path)


def _beginning(asked: DownloadRequest, before: Dataset | None) -> int:
    """Return where to begin, nanoseconds UTC: at the last stored bar, which is compared, unless more is asked for."""
    since = None if asked.since is None else nanoseconds(asked.since)
    if before is None:
        if since is None:
            raise InputError(
                f"expected --since, found no stored bars of {asked.symbol} {asked.timeframe} to go on from; give --since DATE"
            )
        return since
    first, last = int(before.bars.timestamp[0]), int(before.bars.timestamp[-1])
    return last if since is None or first <= since <= last + before.bars.timeframe.step_ns else since


def _refuse_mixture(before: Dataset | None, origin: str) -> None:
    """Refuse to join made-up bars with a market's.

    Raises:
        DataError: one side is the emulator's and the other is not.
    """
    made_up = "the emulator, made up"
    if before is not None and before.origin.startswith(made_up) != origin.startswith(made_up):
        raise DataError(
            "origin",
            f"expected stored bars that can be joined with those of {origin}, found some of {before.origin}; a made-up market "
            "and another one do not mix: use --replace, or remove them with peak-trade data remove",
        )


def _with_stored(
    before: Dataset | None, bars: list[Formed], instrument: Instrument, step: Timeframe, origin: str, accepted: frozenset[str]
) -> Dataset:
    """Return the fetched bars, checked, together with the stored ones."""
    if before is None:
        if len(bars) < 2:
            raise DataError("empty", f"expected at least 2 complete bars of {origin}, found {len(bars)}; give another period")
        return dataset_of(columns_of(bars, origin), instrument, step, origin, accepted)
    if not bars:
        return before
    raw = columns_of(bars, origin)
    new = Dataset(
        bars=Bars(
            instrument=instrument, timeframe=step, timestamp=raw.timestamp, **{name: getattr(raw, name) for name in COLUMNS[1:]}
        ),
        origin=origin,
        gaps=find_gaps(raw.timestamp, step.step_ns, instrument, raw.trades),
    )
    # A few bars at the end of many are judged with them: by themselves they have no usual step.
    return joined(before, new, accepted)
