"""No strategy sees the future: its targets up to a bar are the same whatever comes after, and whoever computes them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.builders import flat_bars, some_bars
from tests.unit.strategy import naive

from peak_trade.model.bar import PRICES, Bars
from peak_trade.strategy.base import Strategy, held
from peak_trade.strategy.catalogue import catalogue, make
from peak_trade.strategy.indicators import Shared, sharing
from peak_trade.strategy.regimes import TREND, UNKNOWN, VOLATILITY, trend_classes, volatility_classes

KEYS = tuple(key for key, kind in catalogue().items() if kind.__module__.startswith("peak_trade."))
#: What they decide depends on the last bars only, not on a position entered at any time before.
STATELESS = ("ma_crossover", "macd", "momentum_1h", "trend_following", "vol_regime_filter", "regime_filter", "buy_and_hold")
HELD = ("rsi_reversion", "bollinger_bands", "mean_reversion", "breakout")
#: Of these, the position is explained by a window of exactly the warm-up, with no smoothing that reaches further back.
WINDOWED_HELD = ("bollinger_bands", "mean_reversion", "breakout")

every_strategy = pytest.mark.parametrize("key", KEYS)
varied = settings(max_examples=40, derandomize=True, database=None, deadline=None)
seeds = st.integers(0, 2**32 - 1)

windows = st.integers(2, 25)
longer = st.integers(1, 40)


def _ordered(short: str, long: str, least: int = 2) -> Callable[[int, int], dict[str, Any]]:
    return lambda first, more: {short: max(first, least), long: max(first, least) + more}


_simple: Mapping[str, st.SearchStrategy[dict[str, Any]]] = {
    "ma_crossover": st.builds(_ordered("fast_window", "slow_window"), windows, longer),
    "rsi_reversion": st.builds(
        lambda window, low, above: {"window": window, "entry_below": low, "exit_above": low + above},
        windows,
        st.floats(5, 49),
        st.floats(1, 50),
    ),
    "macd": st.builds(
        lambda pair, signal: {**pair, "signal_window": signal},
        st.builds(_ordered("fast_window", "slow_window"), windows, longer),
        windows,
    ),
    "bollinger_bands": st.fixed_dictionaries({"window": windows, "width": st.floats(0.1, 4)}),
    "momentum_1h": st.fixed_dictionaries({"lookback": st.integers(1, 40), "threshold": st.floats(0, 0.05)}),
    "mean_reversion": st.builds(
        lambda window, low, above: {"window": window, "exit_z": low, "entry_z": low + above},
        windows,
        st.floats(0, 1),
        st.floats(0.1, 2),
    ),
    "trend_following": st.fixed_dictionaries({"window": windows, "threshold": st.floats(0, 60)}),
    "breakout": st.fixed_dictionaries({"entry_window": st.integers(1, 40), "exit_window": st.integers(1, 40)}),
    "buy_and_hold": st.just({}),
}
_member = st.sampled_from(sorted(_simple)).flatmap(
    lambda key: st.fixed_dictionaries({"strategy": st.just(key), "params": _simple[key], "weight": st.floats(0.1, 10)})
)
#: Valid parameters of every strategy, small enough to matter within a few hundred bars.
PARAMETERS: Mapping[str, st.SearchStrategy[dict[str, Any]]] = {
    **_simple,
    "vol_regime_filter": st.builds(
        lambda base, pair, ratio: {**pair, "base": base, "ratio": ratio},
        _member,
        st.builds(_ordered("window", "long_window"), windows, longer),
        st.floats(0.3, 3),
    ),
    "regime_filter": st.builds(
        lambda base, volatility, trend, windows, threshold: {
            "base": base,
            "volatility": sorted(volatility),
            "trend": sorted(trend),
            **dict(zip(("window", "history", "trend_window"), windows, strict=True)),
            "threshold": threshold,
        },
        _member,
        st.sets(st.sampled_from(VOLATILITY), min_size=1),
        st.sets(st.sampled_from(TREND), min_size=1),
        st.tuples(windows, st.integers(3, 40), windows),
        st.floats(0, 2),
    ),
    "composite": st.fixed_dictionaries({"members": st.lists(_member, min_size=1, max_size=4), "threshold": st.floats(0, 0.9)}),
}

any_strategy = st.sampled_from(KEYS).flatmap(lambda key: st.builds(make, st.just(key), PARAMETERS[key]))


@st.composite
def markets(draw: st.DrawFn) -> Bars:
    """Draw a walk, smooth or coarse: coarse prices repeat, so that averages and extremes are often equal."""
    bars = some_bars(draw(st.integers(60, 160)), seed=draw(seeds), noise=draw(st.sampled_from([0.001, 0.02])), gap=0.002)
    grid = draw(st.sampled_from([0.0, 0.5, 2.0]))
    if grid == 0.0:
        return bars
    rounded = {name: np.round(getattr(bars, name) / grid) * grid for name in PRICES}
    return some_bars(**rounded)


def with_another_future(bars: Bars, cut: int, seed: int) -> Bars:
    """Return bars that are the same before *cut* and wildly different from there on."""
    future = some_bars(len(bars) - cut, seed=seed, level=float(bars.close[cut - 1]), noise=0.3, gap=0.2)
    return some_bars(
        **{
            name: np.concatenate([getattr(bars, name)[:cut], getattr(future, name)])
            for name in ("open", "high", "low", "close")
        }
    )


def test_every_built_in_has_parameters_to_vary() -> None:
    """A new built-in strategy must be given parameters here, and so be proved causal."""
    assert set(PARAMETERS) == set(KEYS)
    assert set(STATELESS) | set(HELD) | {"composite"} == set(KEYS)


@every_strategy
def test_targets_of_a_part_are_the_part_of_the_targets(key: str) -> None:
    """With default parameters, cut at every seventh bar and around the warm-up, the bits are the same."""
    bars, strategy = some_bars(420, noise=0.02), catalogue()[key]()
    targets = strategy.targets(bars)
    cuts = sorted({*range(1, 421, 7), *range(strategy.warmup() - 2, strategy.warmup() + 3)} & set(range(1, 421)))

    for cut in cuts:
        assert strategy.targets(bars[:cut]).tobytes() == targets[:cut].tobytes(), f"cut at {cut}"


@varied
@given(st.data())
@every_strategy
def test_no_parameter_lets_the_future_in(key: str, data: st.DataObject) -> None:
    """Whatever the parameters, neither cutting the future off nor replacing it changes a target before it."""
    strategy, bars = make(key, data.draw(PARAMETERS[key])), data.draw(markets())
    targets = strategy.targets(bars)
    for cut in data.draw(st.lists(st.integers(1, len(bars) - 1), min_size=4, max_size=4)):
        part = strategy.targets(bars[:cut])
        other = strategy.targets(with_another_future(bars, cut, data.draw(seeds)))

        assert part.tobytes() == targets[:cut].tobytes()
        assert other[:cut].tobytes() == targets[:cut].tobytes()


@varied
@given(any_strategy, markets())
def test_targets_are_numbers_between_minus_one_and_one(strategy: Strategy, bars: Bars) -> None:
    """There is one float for each bar, finite and within the range, from the first bar on."""
    targets = strategy.targets(bars)

    assert targets.dtype == np.float64
    assert targets.shape == (len(bars),)
    assert np.all(np.abs(targets) <= 1.0)


@varied
@given(any_strategy, markets())
def test_targets_are_a_pure_function(strategy: Strategy, bars: Bars) -> None:
    """The same bars give the same bits again, also from equal bars elsewhere in memory, and stay as they were."""
    before = bars.sha256()
    first, second = strategy.targets(bars), strategy.targets(bars)
    copied = strategy.targets(some_bars(**{name: np.array(getattr(bars, name)) for name in PRICES}))

    assert first.tobytes() == second.tobytes() == copied.tobytes()
    assert bars.sha256() == before


@varied
@given(st.lists(any_strategy, min_size=2, max_size=4), markets(), st.integers(1, 60))
def test_sharing_changes_no_target(strategies: list[Strategy], bars: Bars, cut: int) -> None:
    """Strategies that share indicators over whole and cut bars decide as each does alone."""
    alone = [(strategy.targets(bars).tobytes(), strategy.targets(bars[:cut]).tobytes()) for strategy in strategies]
    with sharing(Shared()):
        first = [(strategy.targets(bars).tobytes(), strategy.targets(bars[:cut]).tobytes()) for strategy in strategies]
        again = [(strategy.targets(bars).tobytes(), strategy.targets(bars[:cut]).tobytes()) for strategy in strategies]

    assert first == alone
    assert again == alone


@varied
@given(any_strategy, markets(), st.integers(-30, 30))
def test_the_unit_of_the_price_does_not_matter(strategy: Strategy, bars: Bars, power: int) -> None:
    """Prices times a power of two give the same targets: a rule looks at shapes, not at amounts."""
    prices = {name: getattr(bars, name) * 2.0**power for name in PRICES}

    assert strategy.targets(some_bars(**prices)).tobytes() == strategy.targets(bars).tobytes()


@pytest.mark.parametrize("count", [1, 2, 3, 10])
@every_strategy
def test_few_bars_are_no_error(key: str, count: int) -> None:
    """Before there are enough bars a rule gives targets like any other, and those that need a window are flat."""
    targets = catalogue()[key]().targets(some_bars(count))

    assert targets.shape == (count,)
    assert key in ("buy_and_hold", "breakout", "composite") or not targets.any()


@pytest.mark.parametrize("key", STATELESS)
def test_the_warm_up_is_enough(key: str) -> None:
    """Over the declared warm-up alone, a rule without memory decides what it decides over the whole history."""
    strategy = catalogue()[key]()
    bars = some_bars(strategy.warmup() + 200, noise=0.02)
    targets = strategy.targets(bars)
    ends = range(strategy.warmup(), len(bars) + 1, 5)

    assert [strategy.targets(bars[end - strategy.warmup() : end])[-1] for end in ends] == [targets[end - 1] for end in ends]
    assert len(set(targets.tolist())) > 1 or key == "buy_and_hold"


@varied
@given(st.sampled_from(STATELESS).flatmap(lambda key: st.tuples(st.just(key), PARAMETERS[key])), seeds)
def test_the_warm_up_is_enough_for_any_parameters(choice: tuple[str, dict[str, Any]], seed: int) -> None:
    """The same holds for other parameters, but for a filter whose base strategy has a memory of its own."""
    key, params = choice
    if key in ("vol_regime_filter", "regime_filter"):
        params = {**params, "base": {"strategy": "momentum_1h", "params": {"lookback": 7}}}
    strategy = make(key, params)
    bars = some_bars(strategy.warmup() + 60, seed=seed, noise=0.02)
    targets = strategy.targets(bars)
    ends = range(strategy.warmup(), len(bars) + 1, 3)

    assert [strategy.targets(bars[end - strategy.warmup() : end])[-1] for end in ends] == [targets[end - 1] for end in ends]


@pytest.mark.parametrize(
    ("key", "params"),
    [
        ("ma_crossover", {}),
        ("momentum_1h", {}),
        ("vol_regime_filter", {}),
        ("regime_filter", {}),
        ("bollinger_bands", {}),
        ("mean_reversion", {}),
        ("breakout", {"entry_window": 20, "exit_window": 10}),
    ],
)
def test_the_warm_up_is_no_longer_than_needed(key: str, params: dict[str, Any]) -> None:
    """Over the declared warm-up there are decisions to enter, over one bar less there can't be any."""
    strategy = make(key, params)
    window = strategy.warmup()
    bars = some_bars(window + 600, noise=0.02)
    full = [strategy.targets(bars[end - window : end])[-1] for end in range(window, len(bars))]
    short = [strategy.targets(bars[end - window + 1 : end])[-1] for end in range(window, len(bars))]

    assert any(full)
    assert not any(short)


@pytest.mark.parametrize("key", HELD)
def test_after_the_warm_up_a_held_position_never_parts_again(key: str) -> None:
    """A rule with a memory may begin with another position, but once past the warm-up both agree, they agree for good."""
    strategy = catalogue()[key]()
    window = strategy.warmup()
    bars = some_bars(window + 700, noise=0.02)
    whole = strategy.targets(bars)
    for start in range(5, 300, 45):
        late = strategy.targets(bars[start:])[window - 1 :]
        agreed = late == whole[start + window - 1 :]

        assert agreed[np.argmax(agreed) :].all()
        assert agreed.any()


@pytest.mark.parametrize("key", WINDOWED_HELD)
def test_a_position_entered_after_the_warm_up_is_the_true_one(key: str) -> None:
    """Where a rule over a window is in the market, the rule over the whole history is in the same way."""
    strategy = catalogue()[key]()
    bars = some_bars(strategy.warmup() + 500, noise=0.02)
    whole = strategy.targets(bars)
    for start in range(5, 300, 45):
        late = strategy.targets(bars[start:])
        entered = late != 0.0

        assert entered.any()
        assert np.array_equal(late[entered], whole[start:][entered])


def test_a_mix_needs_what_its_slowest_member_needs() -> None:
    """The warm-up of a composite and of a filter is the longest of their parts."""
    mix = make(
        "composite", {"members": [{"strategy": "momentum_1h"}, {"strategy": "ma_crossover", "params": {"slow_window": 90}}]}
    )
    overlay = make("vol_regime_filter", {"base": {"strategy": "ma_crossover", "params": {"slow_window": 400}}})

    assert mix.warmup() == 90
    assert overlay.warmup() == 400
    assert make("vol_regime_filter", {}).warmup() == 241


@pytest.mark.parametrize("key", naive.RULES)
def test_a_rule_does_what_it_says(key: str) -> None:
    """Over two random markets every target equals a plain loop's, after Wilder's smoothing has settled."""
    strategy = catalogue()[key]()
    for seed in (1, 2):
        bars = some_bars(1_100, seed=seed, noise=0.02)
        expected = naive.RULES[key](bars, **dict(strategy))
        first = strategy.warmup() if key == "trend_following" else 0

        assert strategy.targets(bars)[first:].tolist() == expected[first:].tolist()
        assert len(set(expected.tolist())) > 1


def test_a_mix_is_the_weighted_mean_of_its_members() -> None:
    """Weights are shares of their sum, and a mean within the threshold counts as flat."""
    members = [("ma_crossover", 2.0), ("momentum_1h", 1.0), ("breakout", 1.0)]
    bars = some_bars(400, noise=0.02)
    params = {"members": [{"strategy": key, "weight": weight} for key, weight in members], "threshold": 0.3}
    mean = sum(weight / 4.0 * make(key, {}).targets(bars) for key, weight in members)

    assert make("composite", params).targets(bars).tolist() == np.where(np.abs(mean) > 0.3, mean, 0.0).tolist()


def test_a_filter_is_flat_while_volatility_is_high() -> None:
    """The base strategy's target passes where the present volatility is at most the long one times the ratio."""
    bars = some_bars(500, noise=0.02)
    base = {"strategy": "momentum_1h", "params": {"lookback": 5}}
    filtered = make("vol_regime_filter", {"base": base, "window": 10, "long_window": 60, "ratio": 1.1}).targets(bars)
    calm = naive.volatility(bars.close, 10) <= 1.1 * naive.volatility(bars.close, 60)

    assert filtered.tolist() == np.where(calm, make("momentum_1h", {"lookback": 5}).targets(bars), 0.0).tolist()
    assert 0 < np.count_nonzero(calm[60:]) < 440


def test_a_filter_passes_what_is_allowed() -> None:
    """Volatility is ranked among its own past, a drift is held against the root of time; both as in plain loops."""
    bars = some_bars(600, noise=0.02)
    base = {"strategy": "momentum_1h", "params": {"lookback": 5}}
    asked = {"base": base, "volatility": ["wild"], "trend": ["down", "flat"], "window": 8, "history": 60, "trend_window": 20}
    filtered = make("regime_filter", asked).targets(bars)
    spread, wide = naive.volatility(bars.close, 8), naive.volatility(bars.close, 20)
    allowed = np.zeros(600, dtype=bool)
    for bar in range(67, 600):
        below = sum(other < spread[bar] for other in spread[bar - 59 : bar + 1])
        allowed[bar] = below >= 40 and bars.close[bar] / bars.close[bar - 20] - 1.0 <= wide[bar] * 20**0.5

    assert filtered.tolist() == np.where(allowed, make("momentum_1h", {"lookback": 5}).targets(bars), 0.0).tolist()
    assert 0 < np.count_nonzero(allowed) < 400


def test_classes_at_their_limits() -> None:
    """Two of six below are normal, four are wild, and equals are not below; a drift of exactly the threshold is flat."""
    moves = np.array([0.0, *[0.03, -0.03] * 3, *[0.01, -0.01] * 3, *[0.02, -0.02] * 3])
    close = 100.0 * np.cumprod(1.0 + moves)
    classes = volatility_classes(close, 2, 6)

    assert (classes[:7] == UNKNOWN).all()
    assert [VOLATILITY[index] for index in classes[[7, 13, 15, 17, 18]]] == ["calm", "wild", "wild", "normal", "calm"]
    assert volatility_classes(np.full(50, 100.1), 3, 5)[8:].tolist() == [0] * 42
    assert trend_classes(np.full(50, 100.1), 3, 0.0)[3:].tolist() == [1] * 47
    steps = np.array([100.0, 110.0, 100.0, 110.0, 121.0])
    assert trend_classes(steps, 2, 0.0).tolist() == [UNKNOWN, UNKNOWN, 1, 1, 2]
    assert trend_classes(steps[::-1].copy(), 2, 0.0).tolist() == [UNKNOWN, UNKNOWN, 0, 1, 1]


@varied
@given(st.lists(st.tuples(*[st.booleans()] * 4), min_size=1, max_size=40))
def test_a_held_position_stays_until_it_ends(rows: list[tuple[bool, bool, bool, bool]]) -> None:
    """Entering beats leaving on the same bar, and a long entry a short one."""
    expected, side = [], 0
    for enter_long, leave_long, enter_short, leave_short in rows:
        if enter_long:
            side = 1
        elif enter_short:
            side = -1
        elif (side > 0 and leave_long) or (side < 0 and leave_short):
            side = 0
        expected.append(float(side))

    assert held(*np.array(rows).T).tolist() == expected


@pytest.mark.parametrize(
    "key",
    [
        "macd",
        "momentum_1h",
        "mean_reversion",
        "trend_following",
        "breakout",
        "ma_crossover",
        "bollinger_bands",
        "vol_regime_filter",
        "regime_filter",
        "rsi_reversion",
        "composite",
    ],
)
def test_a_price_that_never_moves_is_no_signal(key: str) -> None:
    """Where every price is the same, no rule that looks at moves takes a position."""
    targets = catalogue()[key]().targets(flat_bars([100.1] * 400))

    assert not targets.any()


@pytest.mark.parametrize("key", ["ma_crossover", "momentum_1h", "bollinger_bands", "mean_reversion"])
def test_a_price_that_has_come_to_rest_is_no_signal(key: str) -> None:
    """Once all bars of the window have the same price, a rule over that window is flat, whatever went before."""
    strategy = catalogue()[key]()
    closes = np.concatenate([some_bars(600, noise=0.02).close, np.full(100, 100.1)])

    assert not strategy.targets(flat_bars(closes))[600 + strategy.warmup() :].any()
