"""Engine and simulated venue against the kernel and against the rules in exact decimals: one set of fill rules, three times."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
from tests.builders import an_instrument, bars_of, random_targets, some_bars, some_terms
from tests.trading import SYMBOL, Desk, plan_of, renamed, venue_of
from tests.unit.research.reference import Outcome, reference

from peak_trade.engine.state import Plan
from peak_trade.model.bar import F64, Bars
from peak_trade.model.order import Fill
from peak_trade.model.stage import Stage
from peak_trade.research.backtest import Result, run
from peak_trade.research.kernel import INTERPRETED, REASONS
from peak_trade.research.terms import Terms
from peak_trade.strategy.buy_and_hold import BuyAndHold
from peak_trade.venue.log import MemoryLog
from peak_trade.venue.matching import Costs
from peak_trade.venue.simulated import Market, SimulatedVenue

SEEDS = range(300)
BARS = 70


@dataclass(frozen=True)
class Case:
    """A market with targets and terms."""

    bars: Bars
    targets: F64
    terms: Terms


@cache
def a_case(seed: int) -> Case:
    """Return a random market: any level and size, both sides, with costs, lots, minimums and exits as they come."""
    draw = Random(seed)
    level = draw.choice([1e-6, 0.01, 1.0, 100.0, 40_000.0])
    cash = draw.choice([1_000.0, 10_000.0, 1_234_567.89])
    share = draw.choice([0.1, 0.37, 1.0, 1.0, 3.0])
    sizing = draw.choice(
        [f"fraction={min(share, 1.0)}", f"quantity={share * cash / level:.6e}", f"notional={share * cash:.6e}"]
    )
    instrument = an_instrument(
        lot_step=f"{cash / level / draw.choice([7, 300, 1e6]):.0e}",
        min_quantity=f"{draw.choice([0, 0, 0.05]) * cash / level:.3e}",
        min_notional=f"{draw.choice([0, 0, 0.3]) * cash:.3e}",
    )
    ruinous = seed % 10 == 0
    exits = [draw.random() < 0.6 and not ruinous for _ in range(3)]
    levels = draw.choice([(0.0, 1.0), (-1.0, 0.0, 1.0), (-1.0, 1.0), (-1.0, -0.5, 0.0, 0.3, 0.7, 1.0)])
    return Case(
        some_bars(
            BARS,
            seed=seed,
            level=level,
            noise=0.4 if ruinous else draw.choice([0.005, 0.03, 0.2]),
            gap=draw.choice([0.0, 0.01, 0.1]),
            instrument=instrument,
        ),
        random_targets(BARS, seed, levels, stay=draw.choice([0.3, 0.8, 0.95])),
        some_terms(
            cash=cash,
            sizing=sizing,
            side="short" if ruinous else draw.choice(["long", "short", "both", "both"]),
            fee_bps=draw.choice([0.0, 10.0, 40.0, 500.0]),
            slippage_bps=draw.choice([0.0, 5.0, 200.0]),
            stop_loss=exits[0] * draw.choice([0.02, 0.1]),
            take_profit=exits[1] * draw.choice([0.015, 0.15]),
            trailing_stop=exits[2] * draw.choice([0.02, 0.07]),
        ),
    )


@cache
def session(seed: int) -> tuple[Desk, list[Fill]]:
    """Return what a session makes of a case."""
    case = a_case(seed)
    return traded(case.bars, case.targets, case.terms)


def traded(bars: Bars, targets: Sequence[float], terms: Terms) -> tuple[Desk, list[Fill]]:
    """Run engine and venue over given targets."""
    desk = Desk(plan_of(terms, bars), venue_of(terms, bars)).run({SYMBOL: bars}, {0: targets})
    return desk, desk.fills()


@cache
def backtested(seed: int) -> Result:
    """Return what the kernel makes of a case."""
    case = a_case(seed)
    return run(case.bars, BuyAndHold(), case.targets, case.terms, INTERPRETED)


@cache
def by_the_rules(seed: int) -> Outcome:
    """Return what the reference makes of a case."""
    case = a_case(seed)
    return reference(case.bars, case.targets, case.terms)


def close(found: Any, wanted: Any, tolerance: float = 1e-9, floor: float = 0.0) -> bool:
    """Tell whether two columns agree but for the rounding of floats, *floor* being what counts as nothing."""
    one, other = (np.array([float(value) for value in column]) for column in (found, wanted))
    return one.shape == other.shape and np.allclose(one, other, rtol=tolerance, atol=floor)


@pytest.mark.parametrize("block", range(5))
def test_a_session_fills_what_the_kernel_fills(block):
    """Every fill in bar, reason, quantity, price and fee; every equity; every count that both keep."""
    for seed in SEEDS[block::5]:
        case, result = a_case(seed), backtested(seed)
        desk, fills = session(seed)
        theirs, cash = result.fills, float(case.terms.cash)

        assert [(fill.bar_ns, fill.reason.value) for fill in fills] == [
            (int(case.bars.timestamp[bar]), REASONS[reason]) for bar, reason in zip(theirs.bar, theirs.reason, strict=True)
        ], seed
        assert close([fill.quantity for fill in fills], theirs.quantity, 1e-12), seed
        assert close([fill.price for fill in fills], theirs.price, 1e-12), seed
        assert close([fill.fee for fill in fills], theirs.fee, floor=1e-11), seed
        assert close(desk.equities, result.equity, floor=1e-9 * cash), seed
        counts = desk.state.counts
        assert counts.get("orders_skipped", 0) == result.tally.skipped, seed
        assert counts.get("trades", 0) == sum(trade.exit_bar is not None for trade in result.trades()), seed
        assert counts.get("incidents", 0) == counts.get("orders_blocked_risk", 0) == 0, seed


@pytest.mark.parametrize("block", range(5))
def test_a_session_fills_what_the_rules_say(block):
    """The reference works in exact decimals of its own: the session's fills are its fills, the lots exactly."""
    for seed in SEEDS[block::5]:
        case, outcome = a_case(seed), by_the_rules(seed)
        desk, fills = session(seed)
        lot, cash = case.bars.instrument.lot_step, float(case.terms.cash)

        assert [(fill.bar_ns, fill.reason.value, fill.quantity) for fill in fills] == [
            (int(case.bars.timestamp[fill.bar]), fill.reason, fill.lots * lot) for fill in outcome.fills
        ], seed
        assert close([fill.price for fill in fills], [fill.price for fill in outcome.fills], 1e-14), seed
        assert close([fill.fee for fill in fills], [fill.fee for fill in outcome.fills], 1e-13, floor=1e-12), seed
        assert close(desk.equities, outcome.equity, 1e-12, floor=1e-13 * cash), seed
        assert desk.state.counts.get("orders_skipped", 0) == outcome.skipped, seed


def test_random_sessions_reach_every_rule():
    """The cases hold fills of every reason, flips, cuts, skips, exits in the bar of the entry and accounts below zero."""
    outcomes = [by_the_rules(seed) for seed in SEEDS]
    counts = {
        "flips": sum(outcome.flips for outcome in outcomes),
        "cuts": sum(outcome.cut for outcome in outcomes),
        "skips": sum(outcome.skipped for outcome in outcomes),
        "entry-bar exits": sum(one.bar == two.bar for outcome in outcomes for one, two in pairwise(outcome.fills)),
        "ruins": sum(min(outcome.equity) < 0 for outcome in outcomes),
        "fills": sum(len(outcome.fills) for outcome in outcomes) // 500,
    }

    assert {fill.reason for outcome in outcomes for fill in outcome.fills} == set(REASONS)
    assert {name for name, count in counts.items() if count < 3} == set()


def test_the_books_agree_with_the_venue_and_the_equity():
    """At the end of each session books and venue hold the same, and equity is capital, profit and fees."""
    for seed in SEEDS[:40]:
        desk, fills = session(seed)
        books, prices = desk.state.books, desk.state.prices
        gain = books.realized() + books.unrealized(prices) - books.fees()

        assert sum(books.accounts.values()) == 0
        assert abs(books.equity(prices) - a_case(seed).terms.cash - gain) < Decimal("1e-9")
        assert books.held().get(SYMBOL, 0) == sum(fill.quantity for fill in fills)
        assert abs(books.fees() - sum(fill.fee for fill in fills)) == 0


@pytest.mark.parametrize(("fast", "slow"), [(0, 0.0), (5, 0.01)])
def test_coarse_prices_touch_levels_as_the_kernel_s(fast, slow):
    """On whole prices levels are often touched exactly: the same bars trigger."""
    for seed in range(25):
        draw = Random(seed)
        rows, price = [], 64
        for _ in range(40):
            opened = max(8, price + draw.randint(-fast, fast))
            price = max(8, opened + draw.randint(-6, 6))
            rows.append(
                (opened, max(opened, price) + draw.randint(0, 6), max(4, min(opened, price) - draw.randint(0, 6)), price)
            )
        bars = bars_of(rows, instrument=an_instrument(lot_step=draw.choice(["1", "0.25"])))
        targets = random_targets(40, seed, (-1.0, 0.0, 0.5, 1.0), stay=0.6)
        exits = {name: draw.choice([0.0, 0.0625, 0.125, 0.25]) for name in ("stop_loss", "take_profit", "trailing_stop")}
        terms = some_terms(cash="1024", sizing=draw.choice(["fraction=1", "quantity=8"]), slippage_bps=slow * 10_000, **exits)

        _, fills = traded(bars, targets, terms)
        theirs = run(bars, BuyAndHold(), targets, terms, INTERPRETED).fills

        assert [fill.reason.value for fill in fills] == [REASONS[reason] for reason in theirs.reason], seed
        assert close([fill.price for fill in fills], theirs.price, 1e-12), seed
        assert close([fill.quantity for fill in fills], theirs.quantity, 1e-12), seed


def test_strategies_on_symbols_of_their_own_do_not_touch_each_other():
    """With enough cash for both, each of two symbols fills as it would alone."""
    terms = some_terms(cash="100000", sizing="quantity=3", fee_bps=26.0, slippage_bps=5.0, stop_loss=0.03, take_profit=0.04)
    symbols = ("BTC/EUR", "ETH/EUR")
    series = {symbol: renamed(some_bars(80, seed=number, noise=0.02), symbol) for number, symbol in enumerate(symbols)}
    targets = {number: random_targets(80, number + 10) for number in range(2)}
    plans = [plan_of(terms, bars) for bars in series.values()]
    legs = tuple(replace(plan.legs[0], name=f"leg-{number}") for number, plan in enumerate(plans))
    limits = replace(plans[0].limits, symbols=symbols)
    instruments = {symbol: bars.instrument for symbol, bars in series.items()}
    plan = Plan(origin="o", legs=legs, instruments=instruments, limits=limits, cash=terms.cash)
    costs = Costs(Decimal("0.0026"), Decimal("0.0026"), Decimal("0.0005"))
    venue = SimulatedVenue(Stage.SHADOW, instruments, terms.cash, Market(costs=costs), MemoryLog())

    together = Desk(plan, venue).run(series, targets).fills()

    for number, (symbol, bars) in enumerate(series.items()):
        alone = run(bars, BuyAndHold(), targets[number], terms, INTERPRETED).fills
        mine = [fill for fill in together if fill.symbol == symbol]
        assert len(mine) > 10
        assert {fill.leg for fill in mine} == {f"leg-{number}"}
        assert close([fill.price for fill in mine], alone.price, 1e-12)
        assert close([fill.quantity for fill in mine], alone.quantity, 1e-12)
