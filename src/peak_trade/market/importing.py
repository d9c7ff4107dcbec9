"""From a file to a checked dataset."""

from pathlib import Path

import numpy as np

from peak_trade.market.dataset import Dataset, find_gaps
from peak_trade.market.quality import inspect, refuse, timeframe_of
from peak_trade.market.raw import Raw, read_raw
from peak_trade.model.bar import COLUMNS, Bars, Timeframe
from peak_trade.model.errors import DataError
from peak_trade.model.instrument import Instrument


def read_dataset(
    path: Path, instrument: Instrument, timeframe: Timeframe | None, accepted: frozenset[str] = frozenset()
) -> Dataset:
    """Read and check a file of bars; without a timeframe the usual step of its rows is taken.

    Raises:
        InputError: no such file.
        DataError: the file fails a check that is not in *accepted*.
    """
    raw = read_raw(path)
    return dataset_of(raw, instrument, timeframe, f"{raw.name} sha256:{raw.sha256}", accepted)


def dataset_of(
    raw: Raw, instrument: Instrument, timeframe: Timeframe | None, origin: str, accepted: frozenset[str] = frozenset()
) -> Dataset:
    """Check columns; return them with their holes and with what was accepted about them.

    Raises:
        DataError: they fail a check that is not in *accepted*.
    """
    findings = inspect(raw, timeframe)
    refuse(findings, accepted, raw.name)
    step = timeframe or timeframe_of(raw)
    bars = Bars(
        instrument=instrument,
        timeframe=step,
        timestamp=raw.timestamp,
        open=raw.open,
        high=raw.high,
        low=raw.low,
        close=raw.close,
        volume=raw.volume,
    )
    return Dataset(
        bars=bars,
        origin=origin,
        gaps=find_gaps(bars.timestamp, step.step_ns, instrument, raw.trades),
        accepted=tuple(sorted({item.code for item in findings})),
        notes=tuple(item.sentence for item in findings),
    )


def joined(old: Dataset, new: Dataset, permitted: frozenset[str] = frozenset()) -> Dataset:
    """Return both datasets as one; where they overlap they must agree in every value.

    A hole between them counts as missing. What they make together is checked like a file; what a person permits about the
    whole is remembered where it is found.

    Raises:
        DataError: a bar that both have differs, or the whole fails a check that was not accepted for either.
    """
    same, left, right = np.intersect1d(old.bars.timestamp, new.bars.timestamp, return_indices=True)
    for name in COLUMNS[1:]:
        differ = np.flatnonzero(getattr(old.bars, name)[left] != getattr(new.bars, name)[right])
        if len(differ):
            at = np.datetime64(int(same[differ[0]]), "ns").astype("M8[s]")
            raise DataError(
                "conflict",
                f"expected the new bars to agree with the stored ones, found another {name} in {len(differ)} of {len(same)} "
                f"shared bars, the first at {at}Z; is it another venue? Use --replace to take the new instead of the old",
            )
    fresh = np.setdiff1d(np.arange(len(new.bars)), right)
    stamps = np.concatenate([old.bars.timestamp, new.bars.timestamp[fresh]])
    order = np.argsort(stamps, kind="stable")
    columns = {name: np.concatenate([getattr(old.bars, name), getattr(new.bars, name)[fresh]])[order] for name in COLUMNS[1:]}
    bars = Bars(instrument=new.bars.instrument, timeframe=new.bars.timeframe, timestamp=stamps[order], **columns)
    whole = Raw(name="the joined series", sha256="", first_row=1, timestamp=bars.timestamp, **columns)
    findings = inspect(whole, bars.timeframe)
    known_codes = {*old.accepted, *new.accepted}
    refuse(findings, permitted | known_codes, whole.name)
    accepted = tuple(sorted(known_codes | {item.code for item in findings}))
    known = {(gap.start, gap.bars): gap for gap in (*old.gaps, *new.gaps)}
    gaps = find_gaps(bars.timestamp, bars.timeframe.step_ns, bars.instrument, None)
    return Dataset(
        bars=bars,
        # What is brought up to date every day is named once.
        origin=old.origin if len(fresh) == 0 or new.origin in old.origin.split("; ") else f"{old.origin}; {new.origin}",
        gaps=tuple(known.get((gap.start, gap.bars), gap) for gap in gaps),
        accepted=accepted,
        notes=tuple(dict.fromkeys((*old.notes, *new.notes))),
    )
