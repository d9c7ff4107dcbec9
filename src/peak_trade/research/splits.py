"""Which bars are learned from and which are tested on: windows that walk forward, and combinatorial purged groups.

Pure. All indices count bars; a stretch holds its first bar and ends before its last.

Invariant: no bar is learned from and tested on in the same split, nor one that is purged or under embargo.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, unique
from math import comb
from typing import NamedTuple

import numpy as np

from peak_trade.model.bar import I64
from peak_trade.model.errors import DataError, InputError

_UNIT_NS = {unit: seconds * 1_000_000_000 for unit, seconds in (("m", 60), ("h", 3_600), ("d", 86_400), ("w", 604_800))}
#: More splits than this are a mistake: 20 groups with 10 tested are 184,756.
SPLITS_MAX = 10_000


@unique
class Scheme(Enum):
    """How bars are cut: windows that roll on, windows that begin with the first bar, or groups of which some are held out."""

    ROLLING = "rolling"
    ANCHORED = "anchored"
    COMBINATORIAL = "combinatorial"


class Stretch(NamedTuple):
    """The bars from *first* to before *last*."""

    first: int
    last: int

    @property
    def bars(self) -> int:
        """How many bars it holds."""
        return self.last - self.first


class Window(NamedTuple):
    """A stretch to learn from and the stretch after it to test on."""

    train: Stretch
    test: Stretch


class Split(NamedTuple):
    """Stretches to learn from and stretches to test on; `tested` numbers the groups that the test stretches are."""

    train: tuple[Stretch, ...]
    test: tuple[Stretch, ...]
    tested: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Length:
    """A length of time, written `365d`, `12h`, `30m` or `4w`, or a number of bars, written `500`.

    Attributes:
        text: as it was written.
        amount: nanoseconds, or bars.
        timed: whether it is time.
    """

    text: str
    amount: int
    timed: bool

    def bars(self, step_ns: int) -> int:
        """Return it in bars of that length, a part of one counted as a whole."""
        return -(-self.amount // step_ns) if self.timed else self.amount

    @classmethod
    def parse(cls, text: str, option: str, *, zero: bool = False) -> "Length":
        """Read a length; *zero* says whether it may be none at all.

        Raises:
            InputError: another form, or zero where something is needed.
        """
        found = re.fullmatch(r"(\d{1,9})([mhdw]?)", text.strip())
        if found is None or (int(found[1]) == 0 and not zero):
            raise InputError(f"expected a length like 365d, 12h or a number of bars as {option}, found {text!r}; correct it")
        timed = bool(found[2])
        return cls(text.strip(), int(found[1]) * (_UNIT_NS[found[2]] if timed else 1), timed)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPlan:
    """How bars are cut for combinatorial purged cross-validation.

    Attributes:
        groups: how many touching groups, N.
        held: how many of them each split holds out, k.
        purge: what is left out on both sides of a held-out stretch; None is the longest warm-up of any combination: so long
            an indicator still sees the bars of the stretch.
        embargo: what is left out after it besides.
    """

    groups: int
    held: int
    purge: Length | None
    embargo: Length


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkPlan:
    """How windows walk forward.

    Attributes:
        train, test: lengths of the two stretches; windows advance by `test`, so that test stretches touch and never overlap.
        embargo: what is left out between a train stretch and its test stretch, so that nothing decided in the one is
            settled in the other.
        anchored: every train stretch begins with the first bar and grows; else it rolls and keeps its length.
    """

    train: Length
    test: Length
    embargo: Length
    anchored: bool


def walk_windows(timestamp: I64, step_ns: int, plan: WalkPlan) -> tuple[Window, ...]:
    """Return the windows in order of time; only whole test stretches, so bars after the last one belong to none.

    Args:
        timestamp: open times, nanoseconds UTC, strictly ascending.
        step_ns: length of a bar.
        plan: the lengths; time is measured from the first bar's opening, and holes count as time.

    Raises:
        InputError: time and bars are mixed.
        DataError: no window fits, or one has fewer than two bars in a stretch.
    """
    lengths = {"train": plan.train, "test": plan.test} | ({"embargo": plan.embargo} if plan.embargo.amount else {})
    if len({length.timed for length in lengths.values()}) != 1:
        told = ", ".join(f"{name} {length.text}" for name, length in lengths.items())
        raise InputError(f"expected lengths that are all time or all bars, found {told}; write them alike")
    timed = plan.train.timed
    begin = int(timestamp[0]) if timed else 0
    end = int(timestamp[-1]) + step_ns if timed else len(timestamp)
    train, test, embargo = plan.train.amount, plan.test.amount, plan.embargo.amount

    def bar_of(place: int) -> int:
        return int(np.searchsorted(timestamp, place)) if timed else place

    count = (end - begin - train - embargo) // test
    if count < 1:
        raise DataError(
            "empty",
            f"expected data for a train stretch of {plan.train.text}, an embargo of {plan.embargo.text} and a test stretch of "
            f"{plan.test.text}, found {len(timestamp):,} bars; choose shorter stretches or a longer period",
        )
    found = []
    for number in range(count):
        tested = begin + train + embargo + number * test
        learned = begin if plan.anchored else tested - embargo - train
        window = Window(Stretch(bar_of(learned), bar_of(tested - embargo)), Stretch(bar_of(tested), bar_of(tested + test)))
        for name, stretch in zip(("train", "test"), window, strict=True):
            if stretch.bars < 2:
                raise DataError(
                    "empty",
                    f"expected at least 2 bars in each stretch, found {stretch.bars} to {name} in window {number + 1}; "
                    "choose longer stretches",
                )
        found.append(window)
    return tuple(found)


def group_stretches(bars: int, groups: int) -> tuple[Stretch, ...]:
    """Cut *bars* into touching groups whose sizes differ by one bar at most, the larger ones first."""
    size, more = divmod(bars, groups)
    ends = [number * size + min(number, more) for number in range(groups + 1)]
    return tuple(Stretch(*pair) for pair in itertools.pairwise(ends))


def purged_splits(bars: int, groups: int, tested: int, *, purge: int = 0, embargo: int = 0) -> tuple[Split, ...]:
    """Return the splits of combinatorial purged cross-validation (Lopez de Prado, Advances in Financial ML, 2018, ch. 12).

    Every choice of *tested* out of *groups* groups is tested once; the rest is learned from, but for the bars that are
    purged before and after each tested stretch, and those under embargo after it. Splits are in the order of
    `itertools.combinations`.

    Args:
        bars: how many there are.
        groups: N; tested: k, at least 1 and fewer than the groups.
        purge: bars left out on both sides of a tested stretch: how long a decision takes to be settled.
        embargo: further bars left out after it: how long what happened there still shows.

    Raises:
        InputError: numbers that make no splits, too many, or nothing to learn from.
    """
    if not 2 <= groups <= bars or not 1 <= tested < groups or purge < 0 or embargo < 0:
        raise InputError(
            f"expected 2 to {bars:,} groups, at least one tested and one not, and no negative purge or embargo, found {groups} "
            f"groups, {tested} tested, purge {purge}, embargo {embargo}; correct them"
        )
    if comb(groups, tested) > SPLITS_MAX:
        raise InputError(f"expected at most {SPLITS_MAX:,} splits, found {comb(groups, tested):,}; choose fewer groups")
    stretches = group_stretches(bars, groups)
    found = []
    for chosen in itertools.combinations(range(groups), tested):
        test = joined([stretches[number] for number in chosen])
        train = without(Stretch(0, bars), [Stretch(stretch.first - purge, stretch.last + purge + embargo) for stretch in test])
        if not train:
            raise InputError(
                f"expected bars to learn from in each split, found none beside the groups {', '.join(map(str, chosen))}; "
                "choose fewer tested groups or a shorter purge and embargo"
            )
        found.append(Split(train, test, chosen))
    return tuple(found)


def path_count(groups: int, tested: int) -> int:
    """Return the number of paths, k / N * C(N, k): how often each group is tested."""
    return comb(groups, tested) * tested // groups


def paths(groups: int, tested: int) -> tuple[tuple[int, ...], ...]:
    """Return for each path and each group the number of the split in which the path tests it.

    The n-th path takes each group from the n-th split that tests it; so each path covers all bars once, and each tested
    group of each split is in exactly one path.
    """
    tests: list[list[int]] = [[] for _ in range(groups)]
    for split, chosen in enumerate(itertools.combinations(range(groups), tested)):
        for group in chosen:
            tests[group].append(split)
    return tuple(zip(*tests, strict=True))


def joined(stretches: Sequence[Stretch]) -> tuple[Stretch, ...]:
    """Return ascending stretches with those that touch made one."""
    found: list[Stretch] = []
    for stretch in stretches:
        if found and found[-1].last == stretch.first:
            found[-1] = Stretch(found[-1].first, stretch.last)
        else:
            found.append(stretch)
    return tuple(found)


def without(whole: Stretch, holes: Sequence[Stretch]) -> tuple[Stretch, ...]:
    """Return what is left of a stretch, ascending; the holes ascend and may overlap each other and the ends."""
    found, place = [], whole.first
    for hole in holes:
        if hole.first > place:
            found.append(Stretch(place, min(hole.first, whole.last)))
        place = max(place, hole.last)
    if place < whole.last:
        found.append(Stretch(place, whole.last))
    return tuple(found)
