"""The two proofs find out what is wrong, and accuse nobody else."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.builders import some_bars
from tests.paths import ROOT
from tests.strategies.leaking import INNOCENTS, LEAKS, moves, sign, strategy_of

from peak_trade.model.bar import COLUMNS, PRICES, Bars
from peak_trade.model.errors import InputError
from peak_trade.research.futures import FUTURES, LONGEST, scaled, wild_market, with_future
from peak_trade.research.proofs import (
    CUTS_MIN,
    Causality,
    Rule,
    Warmup,
    bars_needed,
    prove_causality,
    prove_warmup,
)
from peak_trade.strategy.base import held
from peak_trade.strategy.catalogue import catalogue, make

KEYS = tuple(key for key, kind in catalogue().items() if kind.__module__.startswith("peak_trade."))
varied = settings(max_examples=40, derandomize=True, database=None, deadline=None)


def coarse(bars: Bars, grid: float) -> Bars:
    """Return bars whose prices are multiples of a tick, so that averages are often equal."""
    return some_bars(**{name: np.maximum(np.round(getattr(bars, name) / grid) * grid, grid) for name in PRICES})


def market(count: int = 400, seed: int = 1) -> Bars:
    """Return a walk with volumes."""
    volume = np.random.default_rng(seed).lognormal(size=count)
    return some_bars(seed=seed, noise=0.02, gap=0.002, volume=volume)


def causality(rule: Callable[[Bars], np.ndarray], bars: Bars, seed: int = 1, cuts: int = 32) -> Causality:
    made = strategy_of("made", rule)
    return prove_causality(Rule.of(made), bars, made.warmup(), random.Random(seed), cuts)


def warmup(rule: Callable[[Bars], np.ndarray], declared: int, bars: Bars, seed: int = 1) -> Warmup:
    made = strategy_of("made", rule, declared)
    return prove_warmup(Rule.of(made), bars, declared, random.Random(seed))


# --- causality ---------------------------------------------------------------------------------------------------------


def test_the_corpus_is_large_enough():
    """What the rates are taken over."""
    assert len(LEAKS) >= 25
    assert len(INNOCENTS) >= 15
    assert not set(LEAKS) & set(INNOCENTS)


@pytest.mark.parametrize("name", LEAKS)
def test_every_leak_is_found(name):
    """Over another market for each; the sentence names a bar, or says why the rule is none."""
    rule = LEAKS[name]
    bars = market(seed=list(LEAKS).index(name))
    found = causality(rule, bars)

    assert not found.causal
    assert found.words
    assert (found.trouble is not None) == (name in ("left_to_chance", "fails_on_few_bars"))


@pytest.mark.parametrize("name", INNOCENTS)
def test_no_innocent_is_accused(name):
    """Over a walk and a coarse market, whatever their rules look like."""
    seed = list(INNOCENTS).index(name)
    for bars, cuts in ((market(seed=seed), 32), (coarse(market(200, seed=seed), 0.5), CUTS_MIN)):
        found = causality(INNOCENTS[name], bars, seed, cuts)

        assert found.causal, found.words
        assert found.words == ""
        assert found.exposed == {}


@pytest.mark.parametrize("key", KEYS)
def test_every_built_in_holds(key):
    """With its defaults: causal, and its warm-up is enough; those over a window need exactly what they declare."""
    strategy = make(key, {})
    declared = strategy.warmup()
    bars = market(max(1_200, bars_needed(declared)))
    rule = Rule.of(strategy)
    causal = prove_causality(rule, bars, declared, random.Random(3), CUTS_MIN)
    found = prove_warmup(rule, bars, declared, random.Random(3))

    assert causal.causal, causal.words
    assert found.enough, found.words
    settling = key in ("macd", "rsi_reversion", "trend_following", "composite")
    assert found.needed < declared if settling else found.needed == declared


def test_a_leak_is_told_by_its_first_bar():
    """The bar, the target with and without the future, and what the future was."""

    def peeks(bars: Bars) -> np.ndarray:
        ahead = np.append(sign(np.diff(bars.close)), 0.0)
        return np.where(np.arange(len(bars)) == 150, 0.25 + 0.5 * ahead, 0.25)

    bars = market()
    found = causality(peeks, bars, cuts=300)

    assert found.first.bar == 150
    assert not found.first.made_up
    assert found.first.at == "2024-01-07T06:00:00Z"
    assert found.first.without == 0.25
    assert found.first.found in (0.75, -0.25)
    assert "the target of 2024-01-07T06:00:00Z is 0.25 with bars up to 2024-01-07T06:00:00Z" in found.words
    assert found.exposed


def test_a_leak_that_the_given_market_does_not_show_is_found_in_a_made_up_one():
    """A quiet market gives a rule for wild ones nothing to do."""
    found = causality(LEAKS["only_in_wild_markets"], some_bars(400, noise=0.001))

    assert found.first.made_up
    assert found.words.startswith("in a made-up market the target of ")


def test_a_rule_that_writes_into_its_bars_is_found():
    """Their memory is protected; who takes the protection away is told so."""

    def writes(bars: Bars) -> np.ndarray:
        bars.close.flags.writeable = True
        bars.close[0] *= 2.0
        return np.zeros(len(bars))

    found = causality(writes, market())

    assert not found.causal
    assert "writes" in found.words or "read-only" in found.words or "writeable" in found.words


def test_a_rule_that_drifts_is_found():
    """Each call gives a little more."""
    calls = iter(range(1_000_000))
    found = causality(lambda bars: np.full(len(bars), next(calls) * 1e-9), market())

    assert not found.causal


def test_a_difference_in_the_last_bit_is_a_leak():
    """The engine compares exactly, and so does the proof; two that are not numbers are the same."""
    tiny = causality(lambda bars: np.full(len(bars), 0.5 + len(bars) * 2.0**-53), market())
    none = causality(lambda bars: np.full(len(bars), np.nan), market())

    assert not tiny.causal
    assert none.causal


def test_the_same_seed_tries_the_same():
    """And another one something else; what is counted is what was asked for."""
    one, same, other = (causality(LEAKS["seldom"], market(), seed, cuts=40) for seed in (1, 1, 2))

    assert one == same
    assert one != other
    assert (one.cuts, one.futures) == (40, 40 * len(FUTURES))
    assert one.bars == 400


@pytest.mark.parametrize("declared", [1, 40, 175])
def test_few_bars_prove_nothing(declared):
    """Twice the warm-up and fifty are enough, one less is refused by both; so are too few cuts."""
    least = bars_needed(declared)
    rule = Rule.of(strategy_of("made", INNOCENTS["by_hand"], declared))

    assert prove_causality(rule, market(least), declared, random.Random(1), CUTS_MIN).causal
    assert prove_warmup(rule, market(least), declared, random.Random(1)).trouble is None
    for prove, more in ((prove_causality, (CUTS_MIN,)), (prove_warmup, ())):
        with pytest.raises(InputError, match=f"expected at least {least} bars"):
            prove(rule, market(least - 1), declared, random.Random(1), *more)
    with pytest.raises(InputError, match=f"expected at least {CUTS_MIN} cuts, found {CUTS_MIN - 1}"):
        prove_causality(rule, market(least), declared, random.Random(1), CUTS_MIN - 1)


# --- warm-up -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("key", ["ma_crossover", "momentum_1h", "bollinger_bands", "mean_reversion", "breakout"])
def test_one_bar_less_is_not_enough(key, seed):
    """A rule over a window needs that window, and the search finds it to the bar, also where prices are coarse."""
    strategy = make(key, {})
    for bars in (market(900, seed), coarse(market(900, seed), 0.5)):
        right = prove_warmup(Rule.of(strategy), bars, strategy.warmup(), random.Random(seed))
        short = prove_warmup(Rule.of(strategy), bars, strategy.warmup() - 1, random.Random(seed))

        assert (right.enough, right.needed) == (True, strategy.warmup())
        assert (short.enough, short.needed) == (False, strategy.warmup())
        assert f"over {short.declared:,} bars the target of " in short.words


@varied
@given(st.integers(2, 60), st.integers(-40, 5), st.integers(0, 10_000))
def test_a_window_is_found_to_the_bar(window, off, seed):
    """Whatever is declared, the lag of a rule is what it needs, and one less does not do."""

    def lagged(bars: Bars) -> np.ndarray:
        found = np.zeros(len(bars))
        found[window - 1 :] = sign(bars.close[window - 1 :] - bars.close[: max(0, len(bars) - window + 1)])
        return found

    declared = max(1, window + off)
    found = warmup(lagged, declared, market(300, seed), seed)

    assert found.needed == window
    assert found.enough == (declared >= window)


def test_an_average_that_never_forgets_has_no_warm_up():
    """The mean of everything so far depends on where everything began."""
    found = warmup(INNOCENTS["expanding_score"], 40, market(600))

    assert not found.enough
    assert found.needed is None
    assert found.words


def test_a_rule_that_settles_is_asked_for_what_it_takes_to_settle():
    """A size by an exponential average is the same to a billionth of the allotment after ln(10^9) / weight bars or so."""

    def sized(bars: Bars) -> np.ndarray:
        average = talib.EMA(bars.close, 9) if len(bars) >= 9 else np.full(len(bars), np.nan)
        return np.nan_to_num(np.clip(bars.close / average - 1.0, -1.0, 1.0))

    found = warmup(sized, 140, market(1_000))

    assert found.enough
    assert 60 < found.needed < 110
    assert not warmup(sized, 60, market(1_000)).enough


def _holds(bars: Bars, enter: np.ndarray, leave: np.ndarray) -> np.ndarray:
    never = np.zeros(len(bars), dtype=bool)
    return held(enter, leave, never, never)


def test_a_position_that_began_earlier_is_not_asked_for():
    """A session stays out of it, which is told; what it enters itself has to be true."""

    def holding(bars: Bars) -> np.ndarray:
        return _holds(bars, moves(bars) > 0.04, moves(bars) < -0.05)

    found = warmup(holding, 2, market(1_000))

    assert found.enough
    assert found.needed == 2
    assert found.stays_out > 10


def test_a_position_that_is_not_true_is_asked_for():
    """Where a window may enter and can't see yet what ends it, it holds what nobody else does."""

    def blind(bars: Bars) -> np.ndarray:
        floor = talib.MIN(bars.low, 40) if len(bars) >= 40 else np.full(len(bars), np.nan)
        return _holds(bars, moves(bars) > 0.03, bars.close < np.append(np.nan, floor[:-1]))

    found = warmup(blind, 41, market(1_500))

    assert not found.enough
    assert found.needed is None or found.needed > 41


def test_a_rule_that_is_silent_too_long_is_found_by_its_changes():
    """It looks like one that stays out of an old position, but for the positions that begin under its eyes."""

    def rare(bars: Bars) -> np.ndarray:
        # Changes about every hundred bars, and is told from 64 bars.
        found = np.zeros(len(bars))
        found[63:] = np.where(bars.timestamp[63:] // bars.timeframe.step_ns // 97 % 2 == 0, 1.0, -1.0)
        return found

    assert warmup(rare, 10, market(1_000)).needed == 64
    assert not warmup(rare, 63, market(1_000)).enough
    assert warmup(rare, 64, market(1_000)).enough


def test_a_mix_does_not_know_what_its_members_can_not():
    """Its parts are looked at by themselves: a filter over a rule that holds needs no more than it declares."""
    params = {"base": {"strategy": "breakout"}, "window": 5, "long_window": 30}
    strategy = make("vol_regime_filter", params)
    found = prove_warmup(Rule.of(strategy), market(1_500), strategy.warmup(), random.Random(1))

    assert strategy.warmup() == 31
    assert found.enough, found.words
    assert found.stays_out > 0


def test_a_part_that_needs_more_is_found_in_its_mix():
    """A mix can't declare less than its members need."""
    inner = Rule.of(make("ma_crossover", {}))
    mix = Rule(lambda bars: 0.5 * inner.decide(bars), (inner,))
    found = prove_warmup(mix, market(800), 49, random.Random(1))

    assert (found.enough, found.needed) == (False, 50)


def test_chance_in_the_last_digits_is_no_warm_up():
    """Averages that are equal but for the rounding of running sums are left out; where all is chance, nothing holds."""
    bars = coarse(market(1_500, seed=4), 2.0)
    found = prove_warmup(Rule.of(make("ma_crossover", {"fast_window": 4, "slow_window": 8})), bars, 8, random.Random(1))

    assert found.enough, found.words
    assert found.edges > 0
    digits = warmup(lambda made: np.where(np.frexp(made.close)[0] * 2.0**52 % 2 == 0, 1.0, -1.0), 1, market(300))
    assert not digits.enough
    assert "last digits" in digits.words


def test_a_rule_that_fails_has_no_warm_up():
    """Why is told."""

    def fails(bars: Bars) -> np.ndarray:
        raise ValueError("no")

    found = warmup(fails, 40, market())

    assert found.enough is False
    assert found.needed is None
    assert "failed with ValueError" in found.words


# --- futures -----------------------------------------------------------------------------------------------------------


@varied
@given(st.sampled_from(sorted(FUTURES)), st.integers(2, 900), st.data(), st.integers(0, 10_000))
def test_a_future_is_bars_like_any_other(name, count, data, seed):
    """The past is the same to the bit; what follows is valid, another, and at most so long."""
    bars = market(count, seed)
    cut = data.draw(st.integers(1, count - 1))
    found = with_future(bars, cut, name, np.random.default_rng(seed))

    assert len(found) == min(count, cut + LONGEST)
    assert all(getattr(found, column)[:cut].tobytes() == getattr(bars, column)[:cut].tobytes() for column in COLUMNS)
    _check_valid(found)
    if len(found) - cut > 8:
        assert any(not np.array_equal(getattr(found, column), getattr(bars, column)[: len(found)]) for column in COLUMNS)


@varied
@given(st.integers(2, 3_000), st.integers(0, 10_000))
def test_a_wild_market_is_bars_like_any_other(count, seed):
    """With holes, volumes and moves, from the given level on."""
    like = market(50, seed)
    found = wild_market(like, count, np.random.default_rng(seed))

    assert len(found) == count
    _check_valid(found)
    assert np.ptp(found.close) > 0.0


def test_scaled_bars_have_other_prices_and_the_same_volume():
    """By the factor."""
    bars = market(20)
    found = scaled(bars, 2.0)

    assert all(getattr(found, name).tolist() == (2.0 * getattr(bars, name)).tolist() for name in PRICES)
    assert found.volume.tolist() == bars.volume.tolist()


def _check_valid(bars: Bars) -> None:
    assert np.all(np.diff(bars.timestamp) > 0)
    assert np.all((bars.timestamp - bars.timestamp[0]) % bars.timeframe.step_ns == 0)
    assert np.all(bars.low <= np.minimum(bars.open, bars.close) * (1.0 + 1e-12))
    assert np.all(bars.high >= np.maximum(bars.open, bars.close) * (1.0 - 1e-12))
    assert np.all(bars.low > 0.0)
    assert np.all(bars.volume >= 0.0)
    assert all(np.isfinite(getattr(bars, name)).all() for name in COLUMNS)


def test_the_page_says_how_many_rules_there_are():
    """What it tells of found and accused is about this corpus."""
    page = (ROOT / "docs" / "guide" / "write_a_strategy.md").read_text("utf-8")

    assert f"{len(LEAKS)} rules that look ahead" in page
    assert f"{len(INNOCENTS)} rules that only look guilty" in page
