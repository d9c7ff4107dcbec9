"""Bars with their history: where they came from, what is missing in them and what was accepted about them.

Invariant: a hole is recorded, never filled.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, unique

import numpy as np

from peak_trade.model.bar import F64, I64, Bars
from peak_trade.model.clock import moment_text
from peak_trade.model.instrument import Instrument


@unique
class GapKind(Enum):
    """Why bars are missing."""

    CLOSED = "closed"
    HOLIDAY = "holiday"
    NO_TRADE = "no_trade"
    OUTAGE = "outage"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Gap:
    """A hole: the open time of the first missing bar (nanoseconds UTC), how many bars, and why."""

    start: int
    bars: int
    kind: GapKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Bars and what is known about them.

    Attributes:
        origin: what they were read from: a file name with its hash, or the name of a bundled sample.
        gaps: the ledger of holes, ascending.
        accepted: codes of the quality problems that a person accepted at import.
        notes: findings that do not forbid use.
    """

    bars: Bars
    origin: str
    gaps: tuple[Gap, ...] = ()
    accepted: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def between(self, start: datetime | None, end: datetime | None) -> "Dataset":
        """Return the part that opens at or after *start* and before *end*, with the holes inside it."""
        bars = self.bars.between(start, end)
        if len(bars) == 0:
            return Dataset(bars=bars, origin=self.origin)
        first, last = int(bars.timestamp[0]), int(bars.timestamp[-1])
        gaps = tuple(gap for gap in self.gaps if first < gap.start < last)
        return Dataset(bars=bars, origin=self.origin, gaps=gaps, accepted=self.accepted, notes=self.notes)

    def gap_counts(self) -> dict[str, int]:
        """Return the number of missing bars for each kind that occurs."""
        counts: dict[str, int] = {}
        for gap in self.gaps:
            counts[gap.kind.value] = counts.get(gap.kind.value, 0) + gap.bars
        return counts

    def period(self) -> str:
        """Return first and last open time as text."""
        return f"{moment_text(int(self.bars.timestamp[0]))} to {moment_text(int(self.bars.timestamp[-1]))}"


#: Fewest trades to expect in a hole before silence is taken for an outage. If trades came independently, 7 would make
#: silence a one-in-a-thousand chance (Poisson); they come in clusters, so twice that.
EXPECTED_TRADES = 14.0
#: Bars on each side of a hole from which the usual number of trades is taken.
NEIGHBOURS = 24
#: Longest night, weekend or holiday of a market that does not trade every day, for bars shorter than a day.
CLOSED_DAYS_MAX = 5
_DAY_NS = 86_400 * 1_000_000_000


def find_gaps(timestamp: I64, step_ns: int, instrument: Instrument, trades: F64 | None) -> tuple[Gap, ...]:
    """List the holes and say why, as far as the data can tell.

    A market that does not trade every day is closed at weekends; one weekday without a bar is a holiday, or lost: its data
    can't tell. Where the source counts trades, a hole in
    which few trades were to be expected is a time without trade, one in which many were is an outage. The rest is missing.
    """
    steps = np.diff(timestamp) // step_ns
    gaps = []
    for index in np.flatnonzero(steps > 1):
        count = int(steps[index]) - 1
        kind = GapKind.MISSING
        if instrument.trading_days < 365:
            gaps += _session_gaps(int(timestamp[index]) + step_ns, count, step_ns, instrument)
            continue
        if trades is not None:
            first, last = max(0, int(index) + 1 - NEIGHBOURS), min(len(timestamp), int(index) + 1 + NEIGHBOURS) - 1
            lasted = int(timestamp[last] - timestamp[first]) // step_ns + 1 - count
            expected = float(np.sum(trades[first : last + 1])) / lasted * count
            kind = GapKind.NO_TRADE if expected < EXPECTED_TRADES else GapKind.OUTAGE
        gaps.append(Gap(int(timestamp[index]) + step_ns, count, kind))
    return tuple(gaps)


def _session_gaps(start: int, count: int, step_ns: int, instrument: Instrument) -> list[Gap]:
    """Judge a hole of a market with closing times; one over days is split into its weekends and its weekdays."""
    if step_ns < _DAY_NS:
        night_ns = (24.0 - instrument.trading_hours) * 3_600 * 1_000_000_000
        closed = night_ns - step_ns <= count * step_ns <= CLOSED_DAYS_MAX * _DAY_NS
        return [Gap(start, count, GapKind.CLOSED if closed else GapKind.MISSING)]
    stamps = start + np.arange(count) * step_ns
    weekend = (stamps // _DAY_NS + 3) % 7 >= 5  # 1 January 1970 was a Thursday
    weekdays = int(np.count_nonzero(~weekend))
    parts = np.split(stamps, np.flatnonzero(weekend[1:] != weekend[:-1]) + 1)
    found = []
    for part in parts:
        closed = bool((part[0] // _DAY_NS + 3) % 7 >= 5)
        kind = GapKind.CLOSED if closed else GapKind.HOLIDAY if weekdays == 1 else GapKind.MISSING
        found.append(Gap(int(part[0]), len(part), kind))
    return found
