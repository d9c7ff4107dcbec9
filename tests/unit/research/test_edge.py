"""The answer to whether an edge is real: on noise, on a planted one, and each line both ways."""

from dataclasses import replace

import numpy as np
import pytest
from tests.edges import found_in, noise, search, trending

from peak_trade.research.edge import EdgeAnswer, EdgeCase, EdgeLimits, beyond_market, judge_edge, p_value_of

SEEDS = range(6)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_best_of_a_search_in_noise_is_no_edge(seed):
    """Of 48 pairs of windows over a random walk; `make soak` counts over two hundred."""
    assert found_in(noise(seed), "both", seed) == "no edge"


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_holding_a_rising_market_is_no_edge(seed):
    """A market that rises pays whoever is long; that alone is not called an edge."""
    assert found_in(noise(seed, drift=1.0), "long", seed) in ("no edge", "not enough data")


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_a_strong_planted_edge_is_found(seed):
    """A true Sharpe ratio of 2 a year over fourteen years."""
    searched = search(trending(seed, 0.2), seed=seed)

    assert searched.found.answer is EdgeAnswer.EDGE
    assert {line.name for line in searched.found.lines if line.holds is not True} == {"family"}


def test_a_short_time_is_not_enough():
    """Two years of noise can't show that there is nothing."""
    assert found_in(noise(1, days=730), "both", 1) == "not enough data"


def a_case(*, shift: float = 0.12, **changes) -> EdgeCase:
    """Return four years of days with a strong edge, alone."""
    chance = np.random.default_rng(11)
    returns = 0.01 * (chance.normal(size=1_460) + shift)
    tried = returns[: 1_460 // 4 * 4].reshape(-1, 4).sum(axis=1)[:, None]
    given = {
        "returns": returns,
        "trades": 100,
        "periods_per_year": 365.0,
        "market": 0.02 * chance.normal(size=len(tried)),
        "tried": tried,
        "chosen": 0,
        "count": 1,
        "effective": 1.0,
        "deviation": 0.02,
        "costly": 1.0,
        "charged": True,
    }
    return EdgeCase(**given | changes)


def lines_of(case: EdgeCase, limits: EdgeLimits | None = None) -> dict[str, bool | None]:
    return {line.name: line.holds for line in judge_edge(case, limits or EdgeLimits(), 1).lines}


def answer_of(case: EdgeCase, limits: EdgeLimits | None = None) -> str:
    return judge_edge(case, limits or EdgeLimits(), 1).answer.value


def test_one_good_trial_with_enough_of_everything_is_an_edge():
    assert answer_of(a_case()) == "edge"
    assert lines_of(a_case())["pbo"] is None


@pytest.mark.parametrize(
    ("changes", "failing", "answer"),
    [
        ({"trades": 29}, {"trades"}, "not enough data"),
        ({"trades": 30}, set(), "edge"),
        ({"trades": 1, "costly": 0.0}, {"trades", "costs"}, "no edge"),
        ({"others": (1.0, 1.0)}, set(), "edge"),
        ({"others": (1.0,) * 2_000}, {"family"}, "no edge"),
        ({"costly": 0.0}, {"costs"}, "no edge"),
        ({"costly": None}, {"costs"}, "no edge"),
        ({"costly": 1e-9}, set(), "edge"),
        ({"charged": False}, {"costs"}, "no edge"),
        ({"count": 10**6, "effective": 10.0**6, "deviation": 0.026}, {"dsr", "min_track_record", "length"}, "not enough data"),
        ({"shift": 0.0}, {"psr", "dsr", "min_track_record", "spa_cash", "spa_market"}, "no edge"),
    ],
)
def test_each_line_decides(changes, failing, answer):
    """What one line asks fails that line alone, and the answer follows."""
    case = a_case(**changes)

    assert {name for name, holds in lines_of(case).items() if holds is False} == failing
    assert answer_of(case) == answer


def test_the_family_holds_at_its_edge():
    """The p-value times the markets, at the limit and a hair beyond it; a market with a smaller one is no burden."""
    own = judge_edge(a_case(), EdgeLimits(), 1).family.own
    at = EdgeLimits(error_rate=0.05)
    fits = int(0.05 / own)

    assert 0.0 < own < 0.001
    assert lines_of(a_case(others=(1.0,) * (fits - 1)), at)["family"] is True
    assert lines_of(a_case(others=(1.0,) * fits), at)["family"] is False
    assert lines_of(a_case(others=(0.0, *(1.0,) * (fits - 1))), at)["family"] is True
    assert lines_of(a_case(), at)["family"] is None


def test_the_p_value_of_an_answer_is_that_of_its_weakest_test():
    figures = {"psr": 0.99, "dsr": 0.97, "spa_cash": 0.01, "spa_market": 0.02}

    assert p_value_of(figures) == pytest.approx(0.03)
    assert p_value_of(figures | {"spa_market": 0.2}) == 0.2
    assert p_value_of(figures | {"dsr": None}) == 1.0
    assert p_value_of({}) == 1.0


def test_what_the_market_gave_is_no_edge():
    """A trial that is half of the market and a little noise beats cash, and holding half of the market not."""
    chance = np.random.default_rng(2)
    market = 0.01 * (chance.normal(size=365) + 0.35)
    own = 0.5 * market + 0.0001 * chance.normal(size=365)
    case = a_case(returns=np.repeat(own / 4.0, 4), tried=own[:, None], market=market)
    lines = lines_of(case)

    assert (lines["spa_cash"], lines["spa_market"]) == (True, False)
    assert judge_edge(case, EdgeLimits(), 1).beta == pytest.approx(0.5, abs=0.01)


def test_beyond_the_market_is_what_does_not_move_with_it():
    chance = np.random.default_rng(5)
    market = chance.normal(size=200)
    left, betas = beyond_market(np.column_stack([2.0 * market, np.ones(200), market + 1.0]), market)

    assert betas == pytest.approx([2.0, 0.0, 1.0], abs=1e-12)
    assert left[:, 0] == pytest.approx(np.zeros(200), abs=1e-12)
    assert left[:, 2] == pytest.approx(np.ones(200))
    assert beyond_market(np.ones((5, 2)), np.zeros(5))[1].tolist() == [0.0, 0.0]


def test_overfitting_is_forgiven_where_the_chosen_one_never_loses():
    """Equally good trials are below their median half of the time; two that are not, and lose, fail."""
    chance = np.random.default_rng(8)
    good = 0.01 * (chance.normal(size=(512, 6)) + 0.5)
    bad = 0.01 * chance.normal(size=(512, 6))

    assert lines_of(a_case(tried=good, market=bad[:, 0]))["pbo"] is True
    assert lines_of(a_case(tried=bad, market=good[:, 0]), EdgeLimits(overfit_max=0.01))["pbo"] is False


def test_what_never_traded_is_told_apart():
    """No returns, no trades: every number is missing and the answer is an open question."""
    case = a_case(returns=np.zeros(100), tried=np.zeros((100, 1)), market=np.zeros(100), trades=0, costly=None)
    found = judge_edge(case, EdgeLimits(), 1)

    assert found.answer is EdgeAnswer.NOT_ENOUGH
    assert (found.sharpe, found.growth, found.drawdown) == (None, None, None)


def test_the_seed_decides_what_is_drawn():
    case = a_case()

    assert judge_edge(case, EdgeLimits(), 3) == judge_edge(replace(case), EdgeLimits(), 3)
    assert judge_edge(case, EdgeLimits(), 3) != judge_edge(case, EdgeLimits(), 4)
