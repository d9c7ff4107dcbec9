"""The statistics of Sharpe ratios: worked examples of their papers, an independent integral, and what must always hold."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.research.sharpe import (
    Moments,
    average_correlation,
    bars_needed,
    deflated,
    effective_count,
    expected_maximum,
    least_record,
    moments_of,
    probabilistic,
)

DAYS = 250


def test_probabilistic_ratio_of_the_paper():
    """Bailey, Lopez de Prado 2012: two years of months at 0.458 are 0.98 certain if normal, 0.91 with their skew and tails."""
    assert probabilistic(Moments(24, 0.458)) == pytest.approx(0.982, abs=5e-4)
    assert probabilistic(Moments(24, 0.458, -2.448, 10.164)) == pytest.approx(0.913, abs=5e-4)


@pytest.mark.parametrize(("periods", "years"), [(252, 2.73), (52, 2.83), (12, 3.24)])
def test_track_record_of_the_paper(periods, years):
    """The same: years for an annual ratio of 2 to be above 1 at 95 %, by days, weeks and months."""
    root = math.sqrt(periods)

    assert least_record(Moments(100, 2 / root), 1 / root, 0.95) / periods == pytest.approx(years, abs=5e-3)


def test_track_record_of_the_paper_with_tails():
    """The same, with the skewness and kurtosis of hedge fund months: nearly five years."""
    root = math.sqrt(12)

    assert least_record(Moments(100, 2 / root, -0.72, 5.78), 1 / root, 0.95) / 12 == pytest.approx(4.99, abs=5e-3)


def test_deflated_ratio_of_the_paper():
    """Bailey, Lopez de Prado 2014: 100 trials make five years at 2.5 uncertain, 46 would not have."""
    found = Moments(1250, 2.5 / math.sqrt(DAYS), -3.0, 10.0)
    deviation = math.sqrt(0.5 / DAYS)

    assert expected_maximum(100, deviation) == pytest.approx(0.1132, abs=5e-5)
    assert deflated(found, 100, deviation) == pytest.approx(0.9004, abs=5e-5)
    assert deflated(found, 46, deviation) == pytest.approx(0.9505, abs=5e-5)
    assert deflated(Moments(1250, 2.5 / math.sqrt(DAYS)), 88, deviation) == pytest.approx(0.9505, abs=5e-5)


@pytest.mark.parametrize("count", [10, 100, 1_000])
def test_expected_maximum_is_that_of_drawn_numbers(count):
    """The formula is within three hundredths of the mean of the largest of so many normal numbers; with more, within two."""
    chance = np.random.default_rng(count)
    mean = np.mean([chance.normal(size=(200, count)).max(axis=1).mean() for _ in range(25)])

    assert expected_maximum(count, 1.0) == pytest.approx(mean, rel=0.03 if count <= 10 else 0.02)
    assert expected_maximum(1, 1.0) == 0.0


def test_moments_are_those_of_scipy():
    """The third and fourth standardised moments of an independent package, and the ratio with one degree of freedom."""
    from scipy.stats import kurtosis, skew

    returns = np.random.default_rng(3).gamma(2.0, 0.01, 500) - 0.018
    found = moments_of(returns)

    assert found is not None
    assert found.skewness == pytest.approx(skew(returns))
    assert found.kurtosis == pytest.approx(kurtosis(returns, fisher=False))
    assert found.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1))


@pytest.mark.parametrize("returns", [np.zeros(50), np.full(50, 0.01), np.array([0.1, 0.2])])
def test_what_never_moves_has_no_ratio(returns):
    assert moments_of(returns) is None


RATIOS = st.floats(-0.5, 0.5)


@given(ratio=RATIOS, other=RATIOS, size=st.integers(10, 5_000), skew=st.floats(-2, 2), tail=st.floats(0.1, 20))
def test_the_record_needed_is_where_the_probability_is_reached(ratio, other, size, skew, tail):
    """Track record and probabilistic ratio are each other's inverse, at the limit and beside it."""
    found = Moments(size, ratio, skew, skew**2 + 1.0 + tail)
    needed = least_record(found, other, 0.95)

    if ratio - other <= 1e-12:
        assert needed == math.inf
    elif needed < 1e12:
        assert probabilistic(found._replace(size=needed), other) == pytest.approx(0.95, abs=1e-6)
        assert (probabilistic(found, other) >= 0.95) == (size >= needed) or abs(size - needed) < 1e-6 * needed


@given(ratio=st.floats(0.0, 0.3), few=st.integers(1, 500), more=st.integers(1, 500))
def test_more_trials_never_help(ratio, few, more):
    found = Moments(1_000, ratio)

    assert deflated(found, few + more, 0.03) <= deflated(found, few, 0.03) <= probabilistic(found) + 1e-12


def test_correlation_is_the_mean_over_all_pairs():
    """The short way equals numpy's matrix; a column that never moves is left out."""
    chance = np.random.default_rng(5)
    returns = chance.normal(size=(300, 12)) + 0.7 * chance.normal(size=(300, 1))
    matrix = np.corrcoef(returns.T)
    mean = (matrix.sum() - 12) / (12 * 11)

    assert average_correlation(returns) == pytest.approx(mean)
    assert average_correlation(np.column_stack([returns, np.zeros(300)])) == pytest.approx(mean)
    assert average_correlation(returns[:, :1]) == 0.0
    assert average_correlation(np.column_stack([returns[:, 0], -returns[:, 0]])) == 0.0


@pytest.mark.parametrize(("count", "correlation", "expected"), [(100, 0.0, 100), (100, 1.0, 1), (1, 0.0, 1), (101, 0.5, 51)])
def test_effective_trials_lie_on_a_line(count, correlation, expected):
    assert effective_count(count, correlation) == expected


def test_data_that_is_enough_finds_in_half_of_the_cases():
    """At the count that is asked for, a true ratio stands just at its own limit: the hurdle there and 1.645 errors."""
    ratio, hurdle, present = 0.08, 0.05, Moments(1_000, 0.02)
    needed = bars_needed(ratio, hurdle, present, 0.95)
    hurdle_then = hurdle * math.sqrt(present.size / needed)
    error = Moments(1, ratio).spread / math.sqrt(needed)

    assert ratio == pytest.approx(hurdle_then + 1.6448536 * error)
