"""The kernel against the rules: by hand, against the slow reference, and interpreted against compiled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.builders import an_instrument, bars_of, flat_bars, random_targets, some_bars, some_terms
from tests.unit.research.reference import Outcome, reference

from peak_trade.model.bar import F64, Bars
from peak_trade.research.backtest import Result, run
from peak_trade.research.kernel import INTERPRETED, INTERPRETED_BELOW, REASONS, Loop, compiled, loop_for
from peak_trade.research.terms import Terms
from peak_trade.strategy.buy_and_hold import BuyAndHold

both_loops = pytest.mark.parametrize("loop", [INTERPRETED, compiled()], ids=["interpreted", "compiled"])


def run_targets(bars: Bars, targets: Sequence[float], terms: Terms, loop: Loop = INTERPRETED) -> Result:
    """Run given targets; the strategy only lends its name."""
    return run(bars, BuyAndHold(), np.array(targets, dtype=np.float64), terms, loop)


def fills_of(result: Result) -> list[tuple[int, float, float, str]]:
    """Return bar, quantity, price and reason of each fill, rounded so that literals can be compared."""
    fills = result.fills
    return [
        (int(bar), round(float(quantity), 9), round(float(price), 9), REASONS[reason])
        for bar, quantity, price, reason in zip(fills.bar, fills.quantity, fills.price, fills.reason, strict=True)
    ]


@dataclass(frozen=True)
class Case:
    """A market with targets and terms."""

    bars: Bars
    targets: F64
    terms: Terms


#: What a random market is drawn from: `lots` is about how many lots the cash buys, `share` the size relative to the cash,
#: minimums are shares of what the cash buys.
CHOICES: Mapping[str, Sequence[Any]] = {
    "level": (1e-6, 0.01, 1.0, 100.0, 40_000.0, 1e6),
    "noise": (0.002, 0.02, 0.2),
    "gap": (0.0, 0.01, 0.1),
    "cash": ("100", "10000", "1234567.89"),
    "lots": (10.0, 1e3, 1e6),
    "fee_bps": (0.0, 10.0, 40.0, 500.0),
    "slippage_bps": (0.0, 5.0, 200.0),
    "by": ("fraction", "quantity", "notional"),
    "share": (0.1, 0.37, 1.0),
    "side": ("long", "short", "both"),
    "levels": ((0.0, 1.0), (-1.0, 0.0, 1.0), (-1.0, -0.5, 0.0, 0.3, 0.7, 1.0)),
    "stay": (0.3, 0.8, 0.95),
    "stop_loss": (0.0, 0.03, 0.1),
    "take_profit": (0.0, 0.015, 0.15),
    "trailing_stop": (0.0, 0.02, 0.07),
    "min_quantity": (0.0, 0.03),
    "min_notional": (0.0, 0.05),
}

_OFF: Sequence[float] = (0.0,)
NO_EXITS = {"stop_loss": _OFF, "take_profit": _OFF, "trailing_stop": _OFF}
RESIZED = (-1.0, -0.6, -0.2, 0.0, 0.3, 0.5, 0.9, 1.0)

#: Families of markets, each narrowing the choices to what it is about.
FAMILIES: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "anything": {},
    "long only": {"side": ("long",), **NO_EXITS},
    "short only": {"side": ("short",), **NO_EXITS},
    "flips": {"side": ("both",), "levels": ((-1.0, 1.0),), **NO_EXITS},
    "resized": {"side": ("both",), "levels": (RESIZED,), "stay": (0.3,), **NO_EXITS},
    "more than the cash": {"share": (1.5, 4.0), "by": ("quantity", "notional"), "levels": (RESIZED,)},
    "stop-loss": {**NO_EXITS, "stop_loss": (0.01, 0.05, 0.3), "noise": (0.02,)},
    "take-profit": {**NO_EXITS, "take_profit": (0.01, 0.05, 1.5), "noise": (0.02, 0.2)},
    "trailing stop": {**NO_EXITS, "trailing_stop": (0.01, 0.05, 0.4), "noise": (0.02,)},
    "all exits": {
        "stop_loss": (0.03,),
        "take_profit": (0.04,),
        "trailing_stop": (0.025,),
        "noise": (0.02,),
        "gap": (0.0, 0.02),
    },
    "gaps": {"gap": (0.1,), "noise": (0.002,), "stop_loss": (0.05,), "take_profit": (0.0, 0.05), "side": ("both",)},
    "resized with exits": {"levels": (RESIZED,), "stay": (0.3,), "trailing_stop": (0.05,), "stop_loss": (0.08,)},
    "minimums": {"min_quantity": (0.0, 0.2), "min_notional": (0.3, 0.6), "levels": (RESIZED,), "stay": (0.3,)},
    "no costs": {"fee_bps": _OFF, "slippage_bps": _OFF},
    "whole shares": {"lots": (3.0, 30.0), "level": (100.0,), "cash": ("10000",)},
    "ruin": {"noise": (0.4,), "gap": (0.2,), "side": ("short",), "levels": ((-1.0, 0.0),), **NO_EXITS},
}
SEEDS = range(40)
BARS = 70


@cache
def a_case(family: str, seed: int) -> Case:
    """Return a market of a family."""
    random = np.random.default_rng([seed, list(FAMILIES).index(family)])
    drawn = {name: values[random.integers(len(values))] for name, values in {**CHOICES, **FAMILIES[family]}.items()}
    level, cash = drawn["level"], float(drawn["cash"])
    lot = float(f"{cash / level / drawn['lots']:.0e}")
    size = {"fraction": min(drawn["share"], 1.0), "quantity": drawn["share"] * cash / level, "notional": drawn["share"] * cash}
    instrument = an_instrument(
        lot_step=repr(lot),
        min_quantity=f"{drawn['min_quantity'] * cash / level:.6e}",
        min_notional=f"{drawn['min_notional'] * cash:.6e}",
    )
    named = ("cash", "side", "fee_bps", "slippage_bps", "stop_loss", "take_profit", "trailing_stop")
    return Case(
        some_bars(BARS, seed=seed, level=level, noise=drawn["noise"], gap=drawn["gap"], instrument=instrument),
        random_targets(BARS, seed, drawn["levels"], stay=drawn["stay"]),
        some_terms(sizing=f"{drawn['by']}={size[drawn['by']]:.9e}", **{name: drawn[name] for name in named}),
    )


@cache
def expected(family: str, seed: int) -> Outcome:
    """Return what the reference makes of a market."""
    case = a_case(family, seed)
    return reference(case.bars, case.targets, case.terms)


def differences(outcome: Outcome, result: Result) -> list[str]:
    """Return what differs between the reference and a run of the kernel: lots exactly, money to nine digits."""
    lot = float(result.bars.instrument.lot_step)
    fills = result.fills
    found = []
    theirs = [(fill.bar, fill.reason, fill.lots) for fill in outcome.fills]
    ours = [
        (int(bar), REASONS[reason], round(quantity / lot))
        for bar, reason, quantity in zip(fills.bar, fills.reason, fills.quantity, strict=True)
    ]
    if ours != theirs:
        first = next((i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), -1)
        return [f"fill {first}: expected {theirs[first:][:1]}, found {ours[first:][:1]}"]
    columns = {
        "quantity": (fills.quantity, [fill.lots * result.bars.instrument.lot_step for fill in outcome.fills], 1e-12),
        "price": (fills.price, [fill.price for fill in outcome.fills], 1e-9),
        "fee": (fills.fee, [fill.fee for fill in outcome.fills], 1e-9),
        "equity": (result.equity, outcome.equity, 1e-9),
    }
    for name, (column, exact, tolerance) in columns.items():
        if not np.allclose(column, np.array([float(value) for value in exact]), rtol=tolerance, atol=0.0):
            found.append(f"{name}: expected {exact}, found {column}")
    counts = (result.tally.skipped, result.tally.held, bool(result.tally.pending))
    if counts != (outcome.skipped, outcome.held, outcome.pending):
        found.append(f"counts: expected {(outcome.skipped, outcome.held, outcome.pending)}, found {counts}")
    return found


@both_loops
@pytest.mark.parametrize("family", FAMILIES)
def test_every_fill_follows_the_rules(family: str, loop: Loop) -> None:
    """On random markets the kernel fills what the reference fills, and nothing else."""
    for seed in SEEDS:
        case = a_case(family, seed)
        result = run_targets(case.bars, case.targets, case.terms, loop)

        assert differences(expected(family, seed), result) == [], f"a_case({family!r}, {seed})"


def test_random_markets_reach_every_rule() -> None:
    """The random markets hold fills of every reason, flips, cuts, skips, entry-bar exits and accounts below zero."""
    outcomes = [expected(family, seed) for family in FAMILIES for seed in SEEDS]
    fills = [outcome.fills for outcome in outcomes]
    reasons = {fill.reason for each in fills for fill in each}
    same_bar = sum(a.bar == b.bar for each in fills for a, b in pairwise(each))
    counts = {
        "flips": sum(outcome.flips for outcome in outcomes),
        "cuts": sum(outcome.cut for outcome in outcomes),
        "skips": sum(outcome.skipped for outcome in outcomes),
        "entry-bar exits": same_bar,
        "accounts below zero": sum(min(outcome.equity) < 0 for outcome in outcomes),
        "orders left": sum(outcome.pending for outcome in outcomes),
    }

    assert reasons == set(REASONS)
    assert {name for name, count in counts.items() if count < 3} == set()


@st.composite
def tick_cases(draw: st.DrawFn) -> Case:
    """Draw a market on a coarse grid of ticks, where prices often touch a level exactly and floats stay exact."""
    price, rows = 64, []
    step = st.integers(-6, 6)
    wick = st.integers(0, 6)
    for _ in range(draw(st.integers(3, 25))):
        opened = max(8, price + draw(step))
        price = max(8, opened + draw(step))
        rows.append((opened, max(opened, price) + draw(wick), max(4, min(opened, price) - draw(wick)), price))
    targets = draw(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0]), min_size=len(rows), max_size=len(rows)))
    eighths = st.sampled_from([0.0, 0.0, 0.0625, 0.125, 0.25])
    instrument = an_instrument(
        lot_step=draw(st.sampled_from(["1", "0.25", "0.0625"])),
        min_quantity=draw(st.sampled_from(["0", "0.5"])),
        min_notional=draw(st.sampled_from(["0", "16"])),
    )
    terms = some_terms(
        cash=draw(st.sampled_from(["256", "1024", "100"])),
        fee_bps=draw(st.sampled_from([0.0, 39.0625])),
        slippage_bps=draw(st.sampled_from([0.0, 156.25])),
        sizing=draw(st.sampled_from(["fraction=1", "fraction=0.5", "quantity=4", "quantity=24", "notional=200"])),
        side=draw(st.sampled_from(["long", "short", "both"])),
        stop_loss=draw(eighths),
        take_profit=draw(eighths),
        trailing_stop=draw(eighths),
    )
    return Case(bars_of(rows, instrument=instrument), np.array(targets), terms)


@settings(max_examples=400, derandomize=True, database=None, deadline=None)
@given(tick_cases())
def test_levels_touched_exactly_follow_the_rules(case: Case) -> None:
    """Where prices touch levels, minimums and limits exactly, kernel and reference still agree, in both loops."""
    outcome = reference(case.bars, case.targets, case.terms)
    results = [run_targets(case.bars, case.targets, case.terms, loop) for loop in (INTERPRETED, compiled())]

    assert [differences(outcome, result) for result in results] == [[], []]


@pytest.mark.parametrize("family", FAMILIES)
def test_both_loops_give_the_same_bits(family: str) -> None:
    """Interpreted and compiled, equity, fills, round trips, counts and metrics are the same to the last bit."""
    for seed in SEEDS:
        case = a_case(family, seed)
        plain, fast = (run_targets(case.bars, case.targets, case.terms, loop) for loop in (INTERPRETED, compiled()))

        assert plain.equity.tobytes() == fast.equity.tobytes(), f"a_case({family!r}, {seed})"
        assert plain.sha256() == fast.sha256()
        assert plain.trades() == fast.trades()
        assert plain.tally == fast.tally
        assert repr(plain.metrics) == repr(fast.metrics)


def test_the_compiled_loop_is_taken_once_it_is_there() -> None:
    """Long runs and runs in a process that has already compiled use machine code."""
    compiled()

    assert loop_for(10) is loop_for(INTERPRETED_BELOW) is compiled()


def test_a_decision_is_filled_at_the_next_open() -> None:
    """Decided at the close of bar 1, bought at the open of bar 2 with slippage and fee."""
    bars = bars_of([(100, 100, 100, 100), (100, 100, 100, 100), (110, 120, 110, 120), (120, 120, 120, 120)])
    result = run_targets(bars, [0, 1, 1, 1], some_terms(sizing="quantity=2", slippage_bps=100.0, fee_bps=50.0))

    assert fills_of(result) == [(2, 2.0, 111.1, "target")]
    assert result.fills.fee.tolist() == [pytest.approx(1.111)]
    assert result.equity.tolist() == pytest.approx([10_000, 10_000, 10_000 - 222.2 - 1.111 + 240, 10_000 - 222.2 - 1.111 + 240])


def test_the_first_target_is_a_change_from_nothing() -> None:
    """A target that is there from the first bar is filled at the second open; one of zero orders nothing."""
    bars = flat_bars([100] * 3)
    one, none = (run_targets(bars, [target] * 3, some_terms()) for target in (1, 0))

    assert fills_of(one) == [(1, 100.0, 100.0, "target")]
    assert fills_of(none) == []


def test_a_decision_at_the_last_close_stays_open() -> None:
    """An order decided when no bar is left is neither filled nor counted as skipped."""
    result = run_targets(flat_bars([100] * 3), [0, 0, 1], some_terms())

    assert (len(result.fills), result.tally.skipped, result.tally.pending) == (0, 0, 1)


def test_the_quantity_is_sized_from_the_deciding_close() -> None:
    """Half the equity at a close of 80 is 62.5 units, whatever the next open is."""
    bars = bars_of([(100, 100, 80, 80), (40, 40, 40, 40)])
    result = run_targets(bars, [1, 1], some_terms(sizing="fraction=0.5"))

    assert fills_of(result) == [(1, 62.5, 40.0, "target")]


@pytest.mark.parametrize(
    ("sizing", "target", "quantity"),
    [
        ("fraction=1", 1.0, 100.0),
        ("fraction=0.25", 1.0, 25.0),
        ("fraction=0.25", -0.5, -12.5),
        ("quantity=3", 1.0, 3.0),
        ("quantity=3", 0.1, 0.3),
        ("notional=1000", 0.5, 5.0),
        ("notional=999.99", -1.0, -9.999),
    ],
)
def test_a_target_scales_the_sizing(sizing: str, target: float, quantity: float) -> None:
    """Each kind of sizing gives its amount at a target of 1 and that share of it at a smaller target."""
    result = run_targets(flat_bars([100, 100]), [target, target], some_terms(sizing=sizing))

    assert fills_of(result) == [(1, quantity, 100.0, "target")]


@pytest.mark.parametrize(("asked", "filled"), [("0.3", 0.3), ("0.29999999995", 0.3), ("0.29999", 0.2), ("0.39999", 0.3)])
def test_a_quantity_is_rounded_down_to_the_lot(asked: str, filled: float) -> None:
    """Rounding goes down, except less than a billionth of a lot below a whole one."""
    bars = flat_bars([100, 100], instrument=an_instrument(lot_step="0.1"))
    result = run_targets(bars, [1, 1], some_terms(sizing=f"quantity={asked}"))

    assert fills_of(result) == [(1, filled, 100.0, "target")]


@pytest.mark.parametrize("asked", ["0.29", "0.57", "1.13", "271.9"])
def test_a_whole_number_of_tiny_lots_is_kept(asked: str) -> None:
    """A quantity with two decimals is a whole number of lots of 0.00000001 and is filled as written."""
    bars = flat_bars([1, 1], instrument=an_instrument(lot_step="0.00000001"))
    result = run_targets(bars, [1, 1], some_terms(sizing=f"quantity={asked}"))

    assert fills_of(result) == [(1, float(asked), 1.0, "target")]


def test_a_purchase_is_cut_to_the_cash() -> None:
    """After a gap up the cash covers fewer units, fee and slippage included."""
    bars = bars_of([(100, 100, 100, 100), (150, 150, 150, 150)])
    result = run_targets(bars, [1, 1], some_terms(fee_bps=100.0, slippage_bps=100.0))

    assert fills_of(result) == [(1, 65.353, 151.5, "target")]
    assert 0 <= result.equity[-1] - 65.353 * 150 < 151.5 * 1.01 * 0.001


def test_a_short_sale_is_cut_to_the_equity() -> None:
    """Three times the equity is asked for; the short notional is cut to the equity that is left after the fee."""
    result = run_targets(flat_bars([100, 100]), [-1, -1], some_terms(sizing="quantity=300", fee_bps=100.0))
    equity = result.equity[-1]

    assert fills_of(result) == [(1, -99.009, 100.0, "target")]
    assert 99.009 * 100 <= equity < 99.010 * 100


def test_a_flip_is_one_fill_whose_short_part_is_cut() -> None:
    """From long to short: all that is held is sold, and what is sold beyond is limited by the equity after the fee."""
    result = run_targets(flat_bars([100] * 4), [1, -1, -1, -1], some_terms(sizing="quantity=50", cash="5100", fee_bps=200.0))

    assert fills_of(result) == [(1, 50.0, 100.0, "target"), (2, -98.039, 100.0, "target")]
    assert result.equity[-1] == pytest.approx(5100 - 100 - 2 * 98.039)


def test_covering_is_never_cut() -> None:
    """A short is covered even where the cash does not suffice; the account is then below zero."""
    bars = flat_bars([100, 100, 250, 250])
    result = run_targets(bars, [-1, -1, 0, 0], some_terms(cash="1000"))
    bars_later = flat_bars([100, 100, 250, 250, 250])
    flipped = run_targets(bars_later, [-1, 1, 1, 1, 1], some_terms(cash="1000"))

    assert fills_of(result) == [(1, -10.0, 100.0, "target"), (3, 10.0, 250.0, "ruin")]
    assert result.equity.tolist() == [1000.0, 1000.0, -500.0, -500.0]
    assert fills_of(flipped) == [(1, -10.0, 100.0, "target"), (2, 10.0, 250.0, "target")]


def test_selling_what_is_held_is_never_cut() -> None:
    """A long is sold in full although the price fell to next to nothing."""
    result = run_targets(flat_bars([100, 100, 0.01, 0.01]), [1, 0, 0, 0], some_terms(fee_bps=9_000.0))

    assert [fill[1] for fill in fills_of(result)] == [pytest.approx(52.631), pytest.approx(-52.631)]


@pytest.mark.parametrize(
    ("minimum", "filled"),
    [
        ({"min_quantity": "2"}, 1),
        ({"min_quantity": "2.001"}, 0),
        ({"min_notional": "200"}, 1),
        ({"min_notional": "200.01"}, 0),
    ],
)
def test_an_order_under_the_minimum_is_skipped_and_counted(minimum: Mapping[str, str], filled: int) -> None:
    """An order of exactly the minimum is filled, one just below is skipped, counted and not tried again."""
    bars = flat_bars([100] * 5, instrument=an_instrument(**minimum))
    result = run_targets(bars, [1] * 5, some_terms(sizing="quantity=2"))

    assert (len(result.fills), result.tally.skipped) == (filled, 1 - filled)


def test_an_order_that_closes_is_exempt_from_the_minimum() -> None:
    """The whole position is sold although its notional fell below the minimum; a part of it is not."""
    bars = flat_bars([100, 100, 10, 10, 10], instrument=an_instrument(min_notional="500"))
    closed = run_targets(bars, [1, 1, 0, 0, 0], some_terms(sizing="quantity=10"))
    reduced = run_targets(bars, [1, 1, 0.5, 0.5, 0.5], some_terms(sizing="quantity=10"))

    assert fills_of(closed) == [(1, 10.0, 100.0, "target"), (3, -10.0, 10.0, "target")]
    assert (fills_of(reduced), reduced.tally.skipped) == ([(1, 10.0, 100.0, "target")], 1)


def test_a_flip_cut_to_a_close_is_exempt_from_the_minimum() -> None:
    """A flip whose short part is cut away closes the whole position, so the minimum does not keep it from filling."""
    bars = flat_bars([100, 100, 40, 40, 40], instrument=an_instrument(lot_step="1", min_notional="50"))
    result = run_targets(bars, [1, 1, -1, -1, -1], some_terms(cash="101", fee_bps=100.0, sizing="quantity=1"))

    assert fills_of(result) == [(1, 1.0, 100.0, "target"), (3, -1.0, 40.0, "target")]


def test_an_order_without_cash_is_counted() -> None:
    """Who has no cash for a single lot orders nothing, and that is counted as skipped."""
    bars = flat_bars([100, 100, 100], instrument=an_instrument(lot_step="1"))
    result = run_targets(bars, [1, 1, 1], some_terms(cash="50", sizing="quantity=1"))

    assert (len(result.fills), result.tally.skipped) == (0, 1)


@pytest.mark.parametrize(
    ("side", "filled"),
    [
        ("long", [(1, 1.0), (2, -1.0), (4, 1.0)]),
        ("short", [(2, -1.0), (3, 1.0)]),
        ("both", [(1, 1.0), (2, -2.0), (3, 1.0), (4, 1.0)]),
    ],
)
def test_a_side_that_is_not_allowed_counts_as_flat(side: str, filled: list[tuple[int, float]]) -> None:
    """A target on a side that may not be opened closes what is held and opens nothing."""
    result = run_targets(flat_bars([100] * 5), [1, -1, 0, 1, 1], some_terms(side=side, sizing="quantity=1"))

    assert [fill[:2] for fill in fills_of(result)] == filled


LONG = [(100, 100, 100, 100), (100, 100, 100, 100)]
EXITS = {"stop_loss": 0.125, "take_profit": 0.25}


@pytest.mark.parametrize(
    ("row", "exits", "fill"),
    [
        pytest.param((100, 101, 87.5, 90), EXITS, (2, -1.0, 87.5, "stop_loss"), id="stop touched"),
        pytest.param((100, 101, 87.51, 90), EXITS, None, id="stop not touched"),
        pytest.param((80, 81, 79, 80), EXITS, (2, -1.0, 80.0, "stop_loss"), id="gap through the stop"),
        pytest.param((100, 125, 99, 120), EXITS, (2, -1.0, 125.0, "take_profit"), id="goal touched"),
        pytest.param((100, 124.9, 99, 120), EXITS, None, id="goal not touched"),
        pytest.param((130, 131, 129, 130), EXITS, (2, -1.0, 130.0, "take_profit"), id="gap beyond the goal"),
        pytest.param((100, 130, 80, 100), EXITS, (2, -1.0, 87.5, "stop_loss"), id="both in the bar"),
        pytest.param((130, 131, 80, 100), EXITS, (2, -1.0, 130.0, "take_profit"), id="opened beyond the goal, fell later"),
        pytest.param((100, 110, 75, 100), {"trailing_stop": 0.25}, (2, -1.0, 75.0, "trailing_stop"), id="trailing from entry"),
        pytest.param((100, 200, 76, 100), {"trailing_stop": 0.25}, None, id="this bar's high does not count yet"),
    ],
)
def test_a_long_leaves_at_its_level(row: tuple[float, float, float, float], exits: dict[str, float], fill: Any) -> None:
    """A long bought at 100 leaves at its stop or goal, or at an open beyond it; where both lie in the bar, at the stop."""
    result = run_targets(bars_of([*LONG, row]), [1, 1, 1], some_terms(sizing="quantity=1", **exits))

    assert fills_of(result)[1:] == ([fill] if fill else [])


@pytest.mark.parametrize(
    ("row", "exits", "fill"),
    [
        pytest.param((100, 112.5, 99, 110), EXITS, (2, 1.0, 112.5, "stop_loss"), id="stop touched"),
        pytest.param((100, 112.4, 99, 110), EXITS, None, id="stop not touched"),
        pytest.param((120, 121, 119, 120), EXITS, (2, 1.0, 120.0, "stop_loss"), id="gap through the stop"),
        pytest.param((100, 101, 75, 80), EXITS, (2, 1.0, 75.0, "take_profit"), id="goal touched"),
        pytest.param((70, 71, 69, 70), EXITS, (2, 1.0, 70.0, "take_profit"), id="gap beyond the goal"),
        pytest.param((100, 120, 70, 100), EXITS, (2, 1.0, 112.5, "stop_loss"), id="both in the bar"),
        pytest.param((100, 125, 90, 100), {"trailing_stop": 0.25}, (2, 1.0, 125.0, "trailing_stop"), id="trailing from entry"),
        pytest.param((100, 124, 50, 100), {"trailing_stop": 0.25}, None, id="this bar's low does not count yet"),
    ],
)
def test_a_short_leaves_at_its_level(row: tuple[float, float, float, float], exits: dict[str, float], fill: Any) -> None:
    """A short sold at 100 leaves as a long does, upside down."""
    result = run_targets(bars_of([*LONG, row]), [-1, -1, -1], some_terms(sizing="quantity=1", **exits))

    assert fills_of(result)[1:] == ([fill] if fill else [])


def test_an_exit_may_follow_in_the_bar_of_the_entry() -> None:
    """Bought at the open, stopped out in the same bar, with slippage both times."""
    bars = bars_of([(100, 100, 100, 100), (100, 100, 80, 90), (90, 90, 90, 90)])
    result = run_targets(bars, [1, 1, 1], some_terms(sizing="quantity=1", stop_loss=0.1, slippage_bps=100.0))

    assert fills_of(result) == [(1, 1.0, 101.0, "target"), (1, -1.0, round(101 * 0.9 * 0.99, 9), "stop_loss")]
    assert result.tally.held == 0


def test_the_trailing_level_follows_earlier_highs() -> None:
    """The stop rises to 10 % below the high of the bar before and fills there; a gap below fills at the open."""
    rows = [*LONG, (100, 200, 100, 190), (190, 195, 180, 181), (179, 182, 170, 180)]
    stopped = run_targets(bars_of(rows), [1] * 5, some_terms(sizing="quantity=1", trailing_stop=0.1))
    rows[4] = (150, 151, 140, 150)
    rows[3] = (190, 195, 180.5, 181)
    gapped = run_targets(bars_of(rows), [1] * 5, some_terms(sizing="quantity=1", trailing_stop=0.1))

    assert fills_of(stopped)[1:] == [(3, -1.0, 180.0, "trailing_stop")]
    assert fills_of(gapped)[1:] == [(4, -1.0, 150.0, "trailing_stop")]


@pytest.mark.parametrize(("stop_loss", "trailing", "reason"), [(0.1, 0.2, "stop_loss"), (0.2, 0.1, "trailing_stop")])
def test_the_nearer_of_two_stops_is_met_first(stop_loss: float, trailing: float, reason: str) -> None:
    """Of stop-loss and trailing stop the one closer to the price is filled."""
    bars = bars_of([*LONG, (100, 100, 50, 60)])
    result = run_targets(bars, [1, 1, 1], some_terms(sizing="quantity=1", stop_loss=stop_loss, trailing_stop=trailing))

    assert fills_of(result)[1:] == [(2, -1.0, 90.0, reason)]


def test_adding_averages_the_entry_price() -> None:
    """One unit at 100 and one at 120 have an entry of 110, from which the stop is measured."""
    bars = bars_of([(100, 100, 100, 100), (100, 100, 100, 100), (120, 120, 120, 120), (120, 120, 98, 100)])
    result = run_targets(bars, [0.5, 1, 1, 1], some_terms(sizing="quantity=2", stop_loss=0.1))

    assert fills_of(result)[2:] == [(3, -2.0, 99.0, "stop_loss")]


def test_reducing_keeps_the_entry_price() -> None:
    """Selling half at 120 leaves the stop where it was."""
    bars = bars_of([*LONG, (120, 120, 120, 120), (120, 120, 89, 100)])
    result = run_targets(bars, [1, 0.5, 0.5, 0.5], some_terms(sizing="quantity=2", stop_loss=0.1))

    assert fills_of(result)[2:] == [(3, -1.0, 90.0, "stop_loss")]


def test_after_an_exit_the_next_entry_waits_for_a_decision() -> None:
    """A target that stays 1 does not buy again after a stop; one that changes does."""
    rows = [*LONG, (100, 100, 80, 80), *[(80, 80, 80, 80)] * 4]
    stays = run_targets(bars_of(rows), [1] * 7, some_terms(sizing="quantity=1", stop_loss=0.1))
    changes = run_targets(bars_of(rows), [1, 1, 1, 0, 1, 1, 1], some_terms(sizing="quantity=1", stop_loss=0.1))

    assert fills_of(stays)[2:] == []
    assert fills_of(changes)[2:] == [(5, 1.0, 80.0, "target")]


def test_equity_at_zero_closes_the_position() -> None:
    """A short whose price doubled has no equity left at the close and is covered at the next open, exactly at zero too."""
    exact = run_targets(flat_bars([100, 100, 200, 210]), [-1] * 4, some_terms(cash="1000"))
    above = run_targets(flat_bars([100, 100, 199, 199]), [-1] * 4, some_terms(cash="1000"))

    assert fills_of(exact)[1:] == [(3, 10.0, 210.0, "ruin")]
    assert exact.equity.tolist() == [1000.0, 1000.0, 0.0, -100.0]
    assert fills_of(above)[1:] == []


def test_a_ruined_account_opens_nothing() -> None:
    """After ruin every further order is skipped and counted, whatever it is sized by."""
    bars = flat_bars([100, 100, 300, 300, 300, 300, 300])
    result = run_targets(bars, [-1, -1, -1, 0, 1, -1, -1], some_terms(cash="1000", sizing="quantity=10"))

    assert [fill[0] for fill in fills_of(result)] == [1, 3]
    assert result.tally.skipped == 2
    assert result.equity[-1] == -1000.0


def test_exits_do_not_keep_an_order_from_filling() -> None:
    """A bar that opens beyond the stop first fills the order decided before, so nothing is left to stop."""
    bars = bars_of([*LONG, (70, 70, 60, 60), (60, 60, 60, 60)])
    result = run_targets(bars, [1, 0, 0, 0], some_terms(sizing="quantity=1", stop_loss=0.1))

    assert fills_of(result)[1:] == [(2, -1.0, 70.0, "target")]


def test_round_trips_of_very_cheap_coins_are_counted() -> None:
    """At a price of 0.00001 and lots of 0.00000001 the position still comes back to flat, and each trade is counted."""
    bars = some_bars(60, seed=0, level=1e-5, noise=0.02, instrument=an_instrument("SHIB/EUR", lot_step="0.00000001"))
    targets = random_targets(60, 0, (0.0, 0.3, 0.5, 0.7, 1.0), stay=0.5)
    result = run_targets(bars, targets, some_terms())
    position = np.cumsum([fill.lots for fill in reference(bars, targets, some_terms()).fills])

    assert result.metrics.num_trades == np.count_nonzero(position == 0)


@pytest.mark.parametrize(
    ("entry", "high", "low", "terms"),
    [(1.1, 1.21, 1.1, {"take_profit": 0.1}), (3.3, 3.3, 2.97, {"stop_loss": 0.1}), (7.7, 7.7, 6.93, {"trailing_stop": 0.1})],
)
def test_a_level_on_a_tick_is_touched_by_that_tick(entry: float, high: float, low: float, terms: dict[str, float]) -> None:
    """A price of two decimals that is exactly the level triggers the exit, whatever the product rounds to."""
    bars = some_bars(open=[entry] * 3, high=[entry, entry, high], low=[entry, entry, low], close=[entry] * 3)
    result = run_targets(bars, [1, 1, 1], some_terms(**terms))

    assert [(fill.bar, fill.reason) for fill in fills_of_kind(result)] == [(1, "target"), (2, next(iter(terms)))]


def fills_of_kind(result: Result) -> list[Any]:
    """Return bar and reason of each fill."""
    from types import SimpleNamespace

    pairs = zip(result.fills.bar.tolist(), result.fills.reason.tolist(), strict=True)
    return [SimpleNamespace(bar=bar, reason=REASONS[reason]) for bar, reason in pairs]
