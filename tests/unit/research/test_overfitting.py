"""Cross-validated choice: against the paper's algorithm written plainly, on noise, and with one that is really better."""

from itertools import combinations

import numpy as np
import pytest

from peak_trade.research.overfitting import overfitting


def plainly(returns: np.ndarray, blocks: int) -> tuple[float, float]:
    """Do the algorithm of the paper word by word: PBO, and how often the chosen one loses."""
    parts = np.split(returns, blocks)
    below = lost = total = 0
    for chosen in combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[k] for k in chosen])
        outside = np.concatenate([parts[k] for k in range(blocks) if k not in chosen])
        best = int(np.argmax(inside.mean(axis=0) / inside.std(axis=0, ddof=1)))
        later = outside.mean(axis=0) / outside.std(axis=0, ddof=1)
        rank = 1 + int((later < later[best]).sum())
        share = rank / (len(later) + 1)
        below += np.log(share / (1 - share)) <= 0
        lost += later[best] <= 0
        total += 1
    return below / total, lost / total


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_algorithm_of_the_paper(seed):
    chance = np.random.default_rng(seed)
    returns = chance.normal(0.02, 1.0, (80, 7)) * np.linspace(0.5, 3.0, 7)
    found = overfitting(returns, 8)

    assert found is not None
    assert (found.probability, found.loss) == pytest.approx(plainly(returns, 8))
    assert found.splits == 70


def test_the_best_of_noise_is_no_better_than_any():
    """Over many noises the best of one half is below the median of the other in about half of the splits."""
    found = [overfitting(np.random.default_rng(seed).normal(size=(256, 20)), 8) for seed in range(60)]

    assert np.mean([item.probability for item in found if item]) == pytest.approx(0.5, abs=0.07)


def test_one_that_is_really_better_is_chosen_and_stays_best():
    returns = np.random.default_rng(1).normal(size=(512, 20))
    returns[:, 3] += 0.5
    found = overfitting(returns)

    assert found is not None
    assert (found.probability, found.loss, found.splits) == (0.0, 0.0, 12_870)


@pytest.mark.parametrize("shape", [(512, 1), (16 * 8 - 1, 5)])
def test_without_choice_or_time_there_is_no_answer(shape):
    assert overfitting(np.random.default_rng(1).normal(size=shape)) is None
    assert overfitting(np.random.default_rng(1).normal(size=(16 * 8, 2))) is not None


def test_scale_does_not_matter():
    returns = np.random.default_rng(2).normal(size=(160, 6))

    assert overfitting(returns * np.array([1e-6, 1.0, 1e3, 1e-3, 10.0, 0.1])) == pytest.approx(overfitting(returns))
