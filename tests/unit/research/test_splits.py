"""Splits: windows that walk forward and combinatorial purged groups, by properties and against a slow reference."""

import itertools
from math import comb

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from peak_trade.model.errors import DataError, InputError
from peak_trade.research.splits import Length, WalkPlan, path_count, paths, purged_splits, walk_windows

HOUR = 3_600_000_000_000
DAY = 24 * HOUR


def length(text: str, **more) -> Length:
    return Length.parse(text, "--train", **more)


def plan(train="30", test="10", embargo="0", *, anchored=False) -> WalkPlan:
    return WalkPlan(train=length(train), test=length(test), embargo=length(embargo, zero=True), anchored=anchored)


def hours(count: int, *, without: tuple[int, int] = (0, 0)) -> np.ndarray:
    """Return the open times of hourly bars, without a stretch of them."""
    kept = [hour for hour in range(count) if not without[0] <= hour < without[1]]
    return np.array(kept, dtype=np.int64) * HOUR + 1_700_000_000_000_000_000


@pytest.mark.parametrize(
    ("text", "amount", "timed"),
    [
        ("365d", 365 * DAY, True),
        ("12h", 12 * HOUR, True),
        ("30m", HOUR // 2, True),
        ("2w", 14 * DAY, True),
        ("500", 500, False),
    ],
)
def test_lengths_are_time_or_bars(text, amount, timed):
    assert (length(text).amount, length(text).timed) == (amount, timed)


@pytest.mark.parametrize("text", ["", "d", "-3d", "1.5d", "0", "0d", "3y", "1 d"])
def test_other_lengths_are_refused(text):
    with pytest.raises(InputError, match="expected a length like 365d"):
        length(text)


def test_an_embargo_may_be_nothing():
    assert length("0d", zero=True).amount == 0


def test_rolling_windows():
    """Train stretches keep their length; test stretches touch; what does not fill a test stretch is left out."""
    found = walk_windows(hours(65), HOUR, plan(embargo="2"))

    assert [(tuple(window.train), tuple(window.test)) for window in found] == [
        ((0, 30), (32, 42)),
        ((10, 40), (42, 52)),
        ((20, 50), (52, 62)),
    ]


def test_anchored_windows():
    found = walk_windows(hours(50), HOUR, plan(anchored=True))

    assert [tuple(window.train) for window in found] == [(0, 30), (0, 40)]


def test_time_counts_over_holes():
    """With lengths of time a hole shortens the stretches that it lies in, and moves no border."""
    whole = walk_windows(hours(96), HOUR, plan("48h", "24h"))
    holed = walk_windows(hours(96, without=(10, 20)), HOUR, plan("48h", "24h"))

    assert [tuple(window.test) for window in whole] == [(48, 72), (72, 96)]
    assert [tuple(window.test) for window in holed] == [(38, 62), (62, 86)]
    assert tuple(holed[0].train) == (0, 38)


def test_the_last_test_stretch_may_end_with_the_data():
    assert len(walk_windows(hours(40), HOUR, plan())) == 1
    with pytest.raises(DataError, match="choose shorter stretches"):
        walk_windows(hours(39), HOUR, plan())


def test_time_and_bars_are_not_mixed():
    with pytest.raises(InputError, match="all time or all bars"):
        walk_windows(hours(100), HOUR, plan("48h", "10"))


def test_a_stretch_without_bars_is_refused():
    with pytest.raises(DataError, match="to test in window 1"):
        walk_windows(hours(120, without=(48, 72)), HOUR, plan("48h", "24h"))


@given(
    bars=st.integers(20, 300),
    train=st.integers(2, 60),
    test=st.integers(2, 40),
    embargo=st.integers(0, 10),
    anchored=st.booleans(),
)
def test_windows_learn_only_from_before(bars, train, test, embargo, anchored):
    """Every train bar lies more than the embargo before every test bar; test stretches touch and cover each bar once."""
    assume(bars >= train + embargo + test)

    found = walk_windows(hours(bars), HOUR, plan(str(train), str(test), str(embargo), anchored=anchored))

    for window in found:
        assert window.train.last + embargo == window.test.first
        assert window.test.bars == test
        assert window.train.bars == (window.train.last if anchored else train)
    assert all(one.test.last == two.test.first for one, two in itertools.pairwise(found))
    assert 0 <= bars - found[-1].test.last < test


def slow_splits(bars: int, groups: int, tested: int, purge: int, embargo: int) -> list[tuple[set[int], set[int]]]:
    """The same splits bar by bar: a bar is learned from unless it or one within reach of it is tested."""
    group_of = [int(np.searchsorted(np.cumsum([len(p) for p in np.array_split(range(bars), groups)]), bar, "right"))
                for bar in range(bars)]  # fmt: skip
    found = []
    for chosen in itertools.combinations(range(groups), tested):
        test = {bar for bar in range(bars) if group_of[bar] in chosen}
        train = {
            bar
            for bar in range(bars)
            if bar not in test
            and not any(bar + ahead in test for ahead in range(1, purge + 1))
            and not any(bar - behind in test for behind in range(1, purge + embargo + 1))
        }
        found.append((train, test))
    return found


def bars_of(stretches) -> list[int]:
    return [bar for stretch in stretches for bar in range(*stretch)]


@given(
    bars=st.integers(2, 60),
    groups=st.integers(2, 6),
    tested=st.integers(1, 5),
    purge=st.integers(0, 4),
    embargo=st.integers(0, 4),
)
def test_purged_splits_equal_the_slow_reference(bars, groups, tested, purge, embargo):
    assume(groups <= bars and tested < groups)
    slow = slow_splits(bars, groups, tested, purge, embargo)
    if not all(train for train, _ in slow):
        with pytest.raises(InputError, match="bars to learn from"):
            purged_splits(bars, groups, tested, purge=purge, embargo=embargo)
        return

    found = purged_splits(bars, groups, tested, purge=purge, embargo=embargo)

    assert [(bars_of(split.train), bars_of(split.test)) for split in found] == [
        (sorted(train), sorted(test)) for train, test in slow
    ]


@given(groups=st.integers(2, 9), tested=st.integers(1, 8))
def test_each_path_tests_every_group_once(groups, tested):
    """There are k / N * C(N, k) paths; all tested groups of all splits are in exactly one path each."""
    assume(tested < groups)
    chosen = list(itertools.combinations(range(groups), tested))

    found = paths(groups, tested)

    assert len(found) == path_count(groups, tested) == comb(groups - 1, tested - 1)
    assert all(group in chosen[split] for path in found for group, split in enumerate(path))
    used = [(group, split) for path in found for group, split in enumerate(path)]
    assert len(set(used)) == len(used) == comb(groups, tested) * tested


@pytest.mark.parametrize(("groups", "tested"), [(1, 1), (3, 0), (3, 3), (11, 1)])
def test_impossible_groups_are_refused(groups, tested):
    with pytest.raises(InputError, match="2 to 10 groups"):
        purged_splits(10, groups, tested)


def test_too_many_splits_are_refused():
    with pytest.raises(InputError, match="at most 10,000 splits"):
        purged_splits(1_000, 20, 10)


def test_the_books_example():
    """Six groups of which two are tested: 15 splits and 5 paths (Lopez de Prado 2018, figure 12.1)."""
    assert (len(purged_splits(600, 6, 2)), path_count(6, 2)) == (15, 5)
