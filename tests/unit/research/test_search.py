"""Which combinations a search tries: the same for the same seed, none twice, none against a constraint."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peak_trade.model.errors import InputError, StrategyError
from peak_trade.research.search import BATCH, Method, SearchPlan, Space, search_for
from peak_trade.research.sweep import Constraint, combinations

NAMES = ("fast_window", "slow_window")
GRID = {"fast_window": tuple(range(2, 30, 2)), "slow_window": tuple(range(10, 60, 5))}


def space(grid=None, constraints=("fast_window < slow_window",), strategy="ma_crossover") -> Space:
    return Space(strategy, GRID if grid is None else grid, [Constraint.parse(text, NAMES) for text in constraints], {})


def plan(method: Method, trials: int = 40, seed: int = 1) -> SearchPlan:
    return SearchPlan(method=method, trials=trials, seed=seed)


def score(params) -> float:
    """A hill whose top is at 10 and 35."""
    return -float((params["fast_window"] - 10) ** 2 + (params["slow_window"] - 35) ** 2)


def tried(search, scored=score) -> list[dict]:
    """Search to the end; return the combinations by number."""
    found: dict[int, dict] = {}
    while batch := search.ask():
        assert not set(dict(batch)) & set(found)
        found |= dict(batch)
        search.tell({number: scored(params) for number, params in batch})
    assert sorted(found) == list(range(len(found)))
    return [found[number] for number in sorted(found)]


def test_a_grid_is_every_combination_in_order():
    every = combinations("ma_crossover", GRID, space().constraints, {})

    assert tried(search_for(space(), SearchPlan())) == every


def test_places_name_the_grid_in_its_order():
    whole = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]

    assert [space(constraints=()).at(place) for place in range(space().size)] == whole


@pytest.mark.parametrize("method", [Method.RANDOM, Method.TPE])
def test_no_combination_twice_and_none_ruled_out(method):
    found = tried(search_for(space(), plan(method)))

    assert len(found) == 40
    assert len({tuple(params.items()) for params in found}) == 40
    assert all(params["fast_window"] < params["slow_window"] for params in found)


@pytest.mark.parametrize("method", [Method.RANDOM, Method.TPE])
def test_the_seed_decides(method):
    one, same, other = (tried(search_for(space(), plan(method, seed=seed))) for seed in (1, 1, 2))

    assert one == same
    assert one != other


def test_a_random_search_of_everything_is_the_grid_in_another_order():
    found = tried(search_for(space(), plan(Method.RANDOM, trials=10_000)))
    every = tried(search_for(space(), SearchPlan()))

    assert sorted(map(str, found)) == sorted(map(str, every))
    assert found != every


def test_a_model_ends_where_nothing_is_left():
    """A small space is tried once as a whole; then proposals bring nothing more."""
    small = space({"fast_window": (2, 4, 6), "slow_window": (5, 20)})

    found = tried(search_for(small, plan(Method.TPE, trials=100)))

    assert len(found) == 5


def test_a_model_finds_the_hill_sooner_than_chance():
    """Over ten seeds it comes nearer to the top than as many random draws."""
    best = {
        method: sum(max(map(score, tried(search_for(space(), plan(method, trials=48, seed=seed))))) for seed in range(10))
        for method in (Method.RANDOM, Method.TPE)
    }

    assert best[Method.TPE] > best[Method.RANDOM]


def test_batches_have_a_fixed_size():
    """What is proposed before results are known does not depend on who works."""
    search = search_for(space(), plan(Method.TPE))

    assert [number for number, _ in search.ask()] == list(range(BATCH))


def test_combinations_without_a_value_do_not_stop_a_model():
    found = tried(search_for(space(), plan(Method.TPE)), lambda params: None if params["fast_window"] > 10 else score(params))

    assert len(found) == 40


def test_names_are_searched_too():
    """Values without an order are places of their own; all of a small space are found."""
    grid = {"fast_window": (5, 10, 3), "slow_window": (20, 40)}

    assert len(tried(search_for(space(grid, ()), plan(Method.TPE, trials=6)))) == 6


@given(size=st.integers(1, 40), trials=st.integers(1, 60), seed=st.integers(0, 5))
def test_random_draws_have_the_asked_size(size, trials, seed):
    wide = space({"fast_window": tuple(range(1, size + 1)), "slow_window": (50,)}, ())

    assert len(tried(search_for(wide, plan(Method.RANDOM, trials, seed)))) == min(size, trials)


def test_a_space_too_large_to_list_can_be_drawn_from():
    huge = space({"fast_window": tuple(range(1, 2_001)), "slow_window": tuple(range(2_001, 4_001))}, ())

    with pytest.raises(InputError, match="at most 1,000,000 combinations"):
        search_for(huge, SearchPlan())
    assert len(tried(search_for(huge, plan(Method.RANDOM, 50)))) == 50
    assert len(tried(search_for(huge, plan(Method.TPE, 20)))) == 20


@pytest.mark.parametrize("method", list(Method))
def test_impossible_searches_are_refused(method):
    nothing = space({"fast_window": (30,), "slow_window": (20,)})
    wrong = space({"fast_window": (30,), "slow_window": (20,)}, ())

    with pytest.raises(InputError, match="at least one combination"):
        tried(search_for(nothing, plan(method)))
    with pytest.raises(StrategyError, match="rule such combinations out"):
        tried(search_for(wrong, plan(method)))


@pytest.mark.parametrize("method", [Method.RANDOM, Method.TPE])
def test_a_number_of_trials_is_needed(method):
    with pytest.raises(InputError, match="--trials of at least 1"):
        search_for(space(), SearchPlan(method=method))
