"""Checks on raw columns before they may become bars: each finding has a code, a count and one sentence.

Invariant: nothing is repaired. What is structurally wrong is refused; what is merely suspicious is refused until a person
accepts it by its code, and the dataset remembers that.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from peak_trade.market.raw import Raw
from peak_trade.model.bar import PRICES, Bars, Timeframe
from peak_trade.model.clock import moment_text
from peak_trade.model.errors import DataError

#: Prices beyond this, or below one part of it, are no prices; arithmetic with them would lose digits.
MAGNITUDE_MAX = 1e12
#: A close-to-close move counts as an outlier above this share and this many times the usual (median) move.
OUTLIER_MOVE = 0.05
OUTLIER_TIMES = 50.0
#: So many outliers among the bars are not a market any more.
OUTLIER_SHARE_MAX = 0.001
#: Holes of one and the same length, at least so many and this share of all: a recorder that lost pages.
PAGE_HOLES_MIN = 20
PAGE_HOLES_SHARE = 0.9
#: Volume times price may differ from the quote volume by this factor (the price moves inside a bar).
VOLUME_FACTOR = 2.0


#: Codes that a person may accept; `symbol` is that of a file's name.
ACCEPTABLE = ("high_low", "outliers", "lost_pages", "swapped_volume", "symbol")


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: its code, how many rows, a sentence, and whether a person may accept it."""

    code: str
    count: int
    sentence: str
    acceptable: bool = False


def structure(raw: Raw) -> Iterator[Finding]:
    """Check the columns one by one: numbers, signs, order."""
    rows = len(raw.timestamp)
    if rows < 2:
        yield Finding("empty", rows, f"expected at least 2 bars, found {rows}; give more data")
        return
    columns = {"open": raw.open, "high": raw.high, "low": raw.low, "close": raw.close, "volume": raw.volume}
    for name, column in columns.items():
        bad = np.flatnonzero(~np.isfinite(column))
        if len(bad):
            yield Finding(
                "not_a_number",
                len(bad),
                f"expected a number in every row of {name}, found none in {raw.row(bad[0])}{_more(bad)}; mend the source",
            )
        floor = "zero or more" if name == "volume" else "above zero"
        bad = np.flatnonzero(column < 0.0 if name == "volume" else column <= 0.0)
        if len(bad):
            yield Finding(
                "not_positive",
                len(bad),
                f"expected {name} {floor}, found {column[bad[0]]:g} in {raw.row(bad[0])}{_more(bad)}; mend the source",
            )
    for name in PRICES:
        column = columns[name]
        bad = np.flatnonzero((column > 0.0) & ((column < 1.0 / MAGNITUDE_MAX) | (column > MAGNITUDE_MAX)))
        if len(bad):
            yield Finding(
                "magnitude",
                len(bad),
                f"expected {name} between {1 / MAGNITUDE_MAX:g} and {MAGNITUDE_MAX:g}, found {column[bad[0]]:g} in "
                f"{raw.row(bad[0])}{_more(bad)}; is the column in its place?",
            )
    steps = np.diff(raw.timestamp)
    bad = np.flatnonzero(steps < 0)
    if len(bad):
        found = "descending" if len(bad) > rows // 2 else "mixed"
        yield Finding(
            "unsorted",
            len(bad),
            f"expected ascending time, found {found} order from {raw.row(bad[0] + 1)}{_more(bad)}; sort the rows by time",
        )
    bad = np.flatnonzero(steps == 0)
    if len(bad):
        yield Finding(
            "duplicates",
            len(bad),
            f"expected one row for each time, found {moment_text(int(raw.timestamp[bad[0]]))} twice in "
            f"{raw.row(bad[0] + 1)}{_more(bad)}; remove the duplicates",
        )


def spacing(raw: Raw, timeframe: Timeframe) -> Iterator[Finding]:
    """Check that the rows lie on the grid of the timeframe."""
    usual = usual_step(raw)
    if usual != timeframe.step_ns:
        yield Finding(
            "timeframe",
            len(raw.timestamp),
            f"expected bars of {timeframe.label}, found a usual step of {_length(usual)}; give the right timeframe",
        )
        return
    phase = raw.timestamp % timeframe.step_ns
    values, counts = np.unique(phase, return_counts=True)
    usual_phase = values[np.argmax(counts)]
    bad = np.flatnonzero((phase != usual_phase) | (usual_phase % 1_000_000_000 != 0))
    if len(bad):
        yield Finding(
            "off_grid",
            len(bad),
            f"expected open times on a grid of {timeframe.label}, found {moment_text(int(raw.timestamp[bad[0]]))} in "
            f"{raw.row(bad[0])}{_more(bad)}; mend the source",
        )


def prices(raw: Raw) -> Iterator[Finding]:
    """Check that high and low hold the other prices, and that prices move like a market's."""
    bad = np.flatnonzero((raw.high < np.maximum(raw.open, raw.close)) | (raw.low > np.minimum(raw.open, raw.close)))
    if len(bad):
        swapped = len(bad) > len(raw.close) // 2
        hint = "; the price columns look swapped or misnamed, correct their order" if swapped else "; mend the source"
        yield Finding(
            "high_low",
            len(bad),
            f"expected low <= open, close <= high, found otherwise in {raw.row(bad[0])}{_more(bad)}{hint}",
            acceptable=not swapped,
        )
    moves = np.abs(np.diff(np.log(raw.close)))
    usual = float(np.median(moves[moves > 0.0])) if np.any(moves > 0.0) else 0.0
    bad = np.flatnonzero(moves > max(OUTLIER_MOVE, OUTLIER_TIMES * usual))
    share = len(bad) / len(raw.close)
    if len(bad) > 1 and share > OUTLIER_SHARE_MAX:
        yield Finding(
            "outliers",
            len(bad),
            f"expected prices that move like a market's, found {len(bad)} jumps of over "
            f"{max(OUTLIER_MOVE, OUTLIER_TIMES * usual):.0%} from one bar to the next, the first in {raw.row(bad[0] + 1)}; "
            "is this a test network or a mix of two series?",
            acceptable=True,
        )


def holes(raw: Raw, timeframe: Timeframe) -> Iterator[Finding]:
    """Check for holes that come from the recorder and not from the market."""
    every = np.diff(raw.timestamp) // timeframe.step_ns - 1
    lengths = every[every > 1]
    if len(lengths) >= PAGE_HOLES_MIN:
        values, counts = np.unique(lengths, return_counts=True)
        top = int(np.argmax(counts))
        # Silence makes short holes more often than long ones, so nearly all of those above one bar can have two. A page has
        # its length without shorter ones before it.
        silence = int(np.count_nonzero(every == values[top] - 1)) > counts[top]
        if counts[top] >= PAGE_HOLES_SHARE * len(lengths) and not silence:
            yield Finding(
                "lost_pages",
                int(counts[top]),
                f"expected holes of different lengths, found {counts[top]} holes of exactly {values[top]} bars; "
                "the recorder lost pages, download the series again",
                acceptable=True,
            )


def volumes(raw: Raw) -> Iterator[Finding]:
    """Check that volume is in base currency, where the source also gives the volume in quote currency."""
    if raw.quote_volume is None:
        return
    traded = (raw.volume > 0.0) & (raw.quote_volume > 0.0) & (np.abs(np.log(raw.close)) > np.log(VOLUME_FACTOR**2))
    ratio = np.ones(len(raw.close))
    np.divide(raw.quote_volume, raw.volume * raw.close, out=ratio, where=traded)
    turned = np.ones(len(raw.close))
    np.divide(raw.volume, raw.quote_volume * raw.close, out=turned, where=traded)
    bad = np.flatnonzero(
        traded
        & ((ratio < 1.0 / VOLUME_FACTOR) | (ratio > VOLUME_FACTOR))
        & (turned > 1.0 / VOLUME_FACTOR)
        & (turned < VOLUME_FACTOR)
    )
    if len(bad):
        yield Finding(
            "swapped_volume",
            len(bad),
            f"expected volume in base currency, found it swapped with the quote volume in {len(bad)} of {len(raw.close)} "
            f"rows, the first in {raw.row(bad[0])}; correct the columns",
            acceptable=True,
        )


def inspect(raw: Raw, timeframe: Timeframe | None) -> tuple[Finding, ...]:
    """Run every check; those that need sound columns run only on sound columns."""
    found = tuple(structure(raw))
    if found:
        return found
    step = timeframe or timeframe_of(raw)
    return (*spacing(raw, step), *prices(raw), *holes(raw, step), *volumes(raw))


def refuse(findings: tuple[Finding, ...], accepted: frozenset[str], name: str) -> None:
    """Raise for the first finding that is not accepted, naming how many more there are.

    Raises:
        DataError: with the code of the finding.
    """
    open_findings = [item for item in findings if not (item.acceptable and item.code in accepted)]
    if open_findings:
        first = open_findings[0]
        rest = ", ".join(dict.fromkeys(item.code for item in open_findings[1:]))
        more = f" (also found: {rest})" if rest else ""
        how = f", or accept it with --accept {first.code}" if first.acceptable else ""
        raise DataError(first.code, f"{name}: {first.sentence}{how}{more}")


def usual_step(raw: Raw) -> int:
    """Return the most frequent step between rows, nanoseconds."""
    values, counts = np.unique(np.diff(raw.timestamp), return_counts=True)
    return int(values[np.argmax(counts)])


def timeframe_of(raw: Raw) -> Timeframe:
    """Return the timeframe of a file from its usual step.

    Raises:
        DataError: the step is no whole number of seconds.
    """
    step = usual_step(raw)
    seconds, rest = divmod(step, 1_000_000_000)
    if rest or seconds == 0:
        raise DataError("timeframe", f"{raw.name}: expected bars of whole seconds, found a step of {step} ns; give other bars")
    return Timeframe.of_seconds(seconds)


def remarks(bars: Bars) -> tuple[str, ...]:
    """Return what a reader of results should know about bars that are fit for use."""
    found = []
    empty = int(np.count_nonzero(bars.volume == 0.0))
    if empty:
        found.append(f"{empty} of {len(bars)} bars have no volume")
    moves = np.abs(np.diff(np.log(bars.close)))
    if len(moves):
        found.append(f"the largest move from close to close is {np.expm1(moves.max()):.1%}")
    flat = int(np.count_nonzero(np.all([getattr(bars, name)[1:] == bars.close[:-1] for name in PRICES], axis=0)))
    if flat > len(bars) // 100:
        found.append(f"{flat} of {len(bars)} bars only repeat the close before them")
    return tuple(found)


def _more(bad: "np.ndarray[tuple[int], np.dtype[np.intp]]") -> str:
    return f" and {len(bad) - 1} more rows" if len(bad) > 1 else ""


def _length(step_ns: int) -> str:
    seconds, rest = divmod(step_ns, 1_000_000_000)
    return Timeframe.of_seconds(seconds).label if rest == 0 and seconds > 0 else f"{step_ns / 1e9:g} s"
