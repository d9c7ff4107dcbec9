"""Who decides: strategies that keep to what they said, and those that see the future."""

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest
from tests.builders import some_bars

from peak_trade.engine.decider import Decider, Seat
from peak_trade.model.bar import F64, Bars
from peak_trade.model.errors import StrategyError
from peak_trade.strategy.base import Strategy
from peak_trade.strategy.catalogue import make

BARS = some_bars(400, seed=11, noise=0.02)
CAUSAL = ["ma_crossover", "rsi_reversion", "macd", "bollinger_bands", "breakout", "trend_following", "mean_reversion"]


def rule(function: Callable[[Bars], F64]) -> Strategy:
    """Return a strategy that does what a function says."""

    class Rule(Strategy):
        key: ClassVar[str] = "ruled"
        source: ClassVar[str] = "a test"

        def targets(self, bars: Bars) -> F64:
            return function(bars)

        def warmup(self) -> int:
            return 1

    return Rule()


def decided(strategy: Strategy, block: int, *, bars: Bars = BARS, first: int = 0) -> list[float]:
    """Return the targets of a strategy, bar by bar."""
    decider = Decider(bars, [Seat(number=3, strategy=strategy, first=first)], block)
    found = []
    for index in range(len(bars)):
        [(number, target)] = decider.targets(index)
        assert number == 3
        found.append(target)
    return found


# ---- causal strategies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", CAUSAL)
def test_a_causal_strategy_is_left_alone(key):
    """Asked in blocks of any length it decides what it decides over all bars at once."""
    strategy = make(key, {})
    whole = strategy.targets(BARS).tolist()

    for block in (37, 100, 4_096):
        assert decided(strategy, block) == whole


def test_a_bar_at_a_time_gives_the_same():
    """A block of one bar is how a strategy is asked in real time."""
    strategy = make("ma_crossover", {})

    assert decided(strategy, 1, bars=BARS[:120]) == decided(strategy, 4_096, bars=BARS[:120])


def test_a_strategy_is_shown_nothing_beyond_its_block():
    """It is asked with everything from the first bar on, at most a block further than the bar in question."""
    seen = []
    strategy = rule(lambda bars: (seen.append(len(bars)), np.zeros(len(bars)))[1])

    decided(strategy, 150)

    assert seen == [150, 300, 400]


def test_during_its_warm_up_a_strategy_wants_nothing():
    """Bars before the seat's first one have the target zero, whatever the strategy says."""
    found = decided(rule(lambda bars: np.ones(len(bars))), 50, first=123)

    assert found == [0.0] * 123 + [1.0] * 277


def test_each_strategy_has_a_seat_of_its_own():
    """Several strategies on one symbol are told by number, each with its own first bar."""
    seats = [Seat(number=n, strategy=rule(lambda bars, n=n: np.full(len(bars), n / 10)), first=n) for n in (5, 2)]
    decider = Decider(BARS, seats, 100)

    assert [decider.targets(index) for index in range(6)][1:] == [
        ((5, 0.0), (2, 0.0)),
        ((5, 0.0), (2, 0.2)),
        ((5, 0.0), (2, 0.2)),
        ((5, 0.0), (2, 0.2)),
        ((5, 0.5), (2, 0.2)),
    ]


# ---- strategies that see the future ----------------------------------------------------------------------------------


def next_move(bars: Bars) -> F64:
    """Buy before the price rises: the next close is known."""
    return np.append(np.sign(np.diff(bars.close)), 0.0)


def far_move(bars: Bars) -> F64:
    """Know the close fifty bars from now."""
    later = np.append(bars.close[50:], np.full(min(50, len(bars)), bars.close[-1]))
    return (later > bars.close).astype(np.float64)


def below_the_mean(bars: Bars) -> F64:
    """Buy below the mean of all bars, those to come included."""
    return (bars.close < bars.close.mean()).astype(np.float64)


def scaled(bars: Bars) -> F64:
    """Scale by the largest move of all bars."""
    moves = np.diff(bars.close, prepend=bars.close[0])
    return moves / np.abs(moves).max()


def centred(bars: Bars) -> F64:
    """Smooth with a window that reaches as far forward as back."""
    return (np.convolve(bars.close, np.ones(21) / 21, mode="same") > bars.close).astype(np.float64)


def at_the_low(bars: Bars) -> F64:
    """Buy once, at the lowest close of all."""
    return (np.arange(len(bars)) >= int(np.argmin(bars.close))).astype(np.float64)


def to_the_end(bars: Bars) -> F64:
    """Know when the data ends, and be flat by then."""
    return (np.arange(len(bars)) < len(bars) - 5).astype(np.float64)


SEERS = [next_move, far_move, below_the_mean, scaled, centred, at_the_low, to_the_end]


@pytest.mark.parametrize("seer", SEERS, ids=lambda seer: seer.__name__)
def test_a_strategy_that_sees_the_future_is_caught(seer):
    """Its answers about the past change with the future: it is stopped, and told what changed and when."""
    with pytest.raises(StrategyError, match=r"expected ruled to keep to what it decided.*it changes its target of 2024-01-"):
        decided(rule(seer), 50)


@pytest.mark.parametrize("seer", SEERS, ids=lambda seer: seer.__name__)
def test_a_strategy_that_sees_the_future_is_caught_within_a_block(seer):
    """Also where all bars fit into one block, as those of every session of up to four thousand bars do."""
    with pytest.raises(StrategyError, match="expected ruled to keep to what it decided"):
        decided(rule(seer), 4_096)


def test_a_strategy_without_a_memory_of_itself_is_caught():
    """Chance is no rule: the same bars must give the same targets."""
    random = np.random.default_rng(1)

    with pytest.raises(StrategyError, match="keep to what it decided"):
        decided(rule(lambda bars: random.random(len(bars))), 50)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda bars: np.zeros(len(bars) + 1), "targets from ruled"),
        (lambda bars: np.zeros((len(bars), 2)), "targets from ruled"),
        (lambda bars: 1 / 0, "ruled failed with ZeroDivisionError"),
    ],
)
def test_a_strategy_that_fails_is_named(function, words):
    """Something else than a target for each bar is the strategy's fault."""
    with pytest.raises(StrategyError, match=words):
        decided(rule(function), 50)
