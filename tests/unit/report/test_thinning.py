"""Thinning keeps what an eye would miss: the ends and the extremes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.model.errors import InvariantBroken
from peak_trade.report.thinning import evenly, thinned

series = st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=400).map(np.array)


@settings(deadline=None)
@given(values=series, limit=st.integers(4, 200))
def test_keeps_ends_and_extremes(values, limit):
    """First, last, lowest and highest stay, in order, and there are never more points than allowed."""
    kept = thinned(values, limit)

    assert kept[0] == 0
    assert kept[-1] == len(values) - 1
    assert values[kept].min() == values.min()
    assert values[kept].max() == values.max()
    assert np.all(np.diff(kept) > 0)
    assert len(kept) <= max(limit, 1)


@settings(deadline=None)
@given(values=series)
def test_keeps_all_of_few(values):
    """A series within the limit is drawn as it is."""
    assert thinned(values, max(len(values), 4)).tolist() == list(range(len(values)))


def test_keeps_each_spike():
    """Every bucket keeps its own extremes, so a spike of one bar in a long calm survives."""
    values = np.zeros(100_000)
    values[[12_345, 67_890]] = [5.0, -5.0]

    kept = thinned(values, 1_000)

    assert {12_345, 67_890} <= set(kept.tolist())


def test_refuses_no_room():
    """A limit without room for both ends and both extremes is a fault of the caller."""
    with pytest.raises(InvariantBroken, match="room for its ends"):
        thinned(np.zeros(10), 3)


@given(count=st.integers(0, 5_000), limit=st.integers(2, 300))
def test_evenly_spreads(count, limit):
    """Chosen things ascend, differ, include both ends and stay within the limit."""
    chosen = evenly(count, limit)

    assert len(chosen) == min(count, limit)
    assert np.all(np.diff(chosen) > 0)
    assert count == 0 or (chosen[0], chosen[-1]) == (0, count - 1)
