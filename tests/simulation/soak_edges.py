"""How often a verdict is wrong: two hundred markets with nothing to find, and two hundred with an edge planted in them.

Part of `make soak`. Every market is searched with 48 pairs of windows, and the best of them is judged.
"""

from collections import Counter

import pytest
from tests.edges import found_in, noise, trending

SEEDS = range(200)
#: The stated rate of error, and of finding planted edges by their strength.
ERROR, POWER = 0.05, {0.12: 0.60, 0.15: 0.90}


def rates(answers: Counter[str]) -> tuple[float, float, float]:
    """Return the share of edges, and the ends of its exact interval of 95 % (Clopper, Pearson, Biometrika 26, 1934)."""
    from scipy.stats import beta

    found, total = answers["edge"], answers.total()
    low = float(beta.ppf(0.025, found, total - found + 1)) if found else 0.0
    high = float(beta.ppf(0.975, found + 1, total - found)) if found < total else 1.0
    print(f"edge in {found} of {total}: {found / total:.1%}, 95% between {low:.1%} and {high:.1%}; {dict(answers)}")
    return found / total, low, high


@pytest.mark.parametrize(("drift", "side"), [(0.0, "both"), (0.0, "long"), (1.0, "long")])
def test_nothing_is_found_where_there_is_nothing(drift, side):
    """In random walks, also rising ones held long, the best of a search is called an edge no more often than stated."""
    answers = Counter(found_in(noise(seed, drift=drift), side, seed) for seed in SEEDS)

    share, _, high = rates(answers)
    assert share <= ERROR
    assert high <= ERROR, answers


@pytest.mark.parametrize("strength", sorted(POWER))
def test_a_planted_edge_is_found(strength):
    """What truly earns a Sharpe ratio of 0.84 or 1.27 a year after costs is found at the stated power."""
    answers = Counter(found_in(trending(seed, strength), "both", seed) for seed in SEEDS)

    _, low, _ = rates(answers)
    assert low >= POWER[strength]
