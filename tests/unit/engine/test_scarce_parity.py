"""Engine and simulated venue against the kernel where bars fill orders in parts, and where size is paid for."""

from dataclasses import replace
from functools import cache
from random import Random

import numpy as np
import pytest
from tests.builders import some_bars, some_terms
from tests.trading import SYMBOL, Desk, plan_of, venue_of
from tests.unit.engine.test_parity import Case, a_case, close

from peak_trade.model.order import Fill
from peak_trade.research.backtest import Result, run
from peak_trade.research.kernel import INTERPRETED, REASONS, compiled
from peak_trade.strategy.buy_and_hold import BuyAndHold

SEEDS = range(400)


@cache
def a_scarce_case(seed: int) -> Case:
    """Return a random market whose volumes cover orders in one part, in many or not at all."""
    case, draw = a_case(seed), Random(seed + 1)
    random = np.random.default_rng(seed)
    usual = float(case.terms.cash) / float(case.bars.close[0])
    volume = usual * draw.choice([0.3, 2.0, 20.0]) * random.lognormal(0.0, 1.0, len(case.bars))
    volume[random.random(len(volume)) < draw.choice([0.0, 0.1, 0.4])] = 0.0
    share, impact = draw.choice([(0.1, 0.0), (0.5, 0.0), (0.1, 0.8), (1.0, 2.0), (0.0, 0.8), (0.03, 0.3)])
    terms = replace(case.terms, max_volume_share=share, impact=impact)
    return Case(replace(case.bars, volume=volume), case.targets, terms)


def kernel_of(case: Case) -> Result:
    return run(case.bars, BuyAndHold(), case.targets, case.terms, INTERPRETED)


@cache
def a_session(seed: int) -> tuple[Desk, list[Fill]]:
    case = a_scarce_case(seed)
    plan = plan_of(case.terms, case.bars)
    plan = replace(plan, limits=replace(plan.limits, duplicate_window_s=0.0))
    desk = Desk(plan, venue_of(case.terms, case.bars)).run({SYMBOL: case.bars}, {0: case.targets})
    return desk, desk.fills()


@pytest.mark.parametrize("block", range(4))
def test_a_scarce_session_fills_what_the_kernel_fills(block):
    """Every part of every order in bar, reason, quantity, price and fee; every equity; what was skipped and closed."""
    for seed in SEEDS[block::4]:
        case, result = a_scarce_case(seed), kernel_of(a_scarce_case(seed))
        desk, fills = a_session(seed)
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


def test_the_cases_are_scarce():
    """Among them are orders in many parts, exits in parts, decisions while an exit is under way, and rests at the end."""
    fills = [fill for seed in SEEDS for fill in a_session(seed)[1]]
    parts: dict[str, list[str]] = {}
    for fill in fills:
        parts.setdefault(fill.client_id, []).append(fill.reason.value)
    several = {reasons[0] for reasons in parts.values() if len(reasons) > 1}
    unfilled = sum(kernel_of(a_scarce_case(seed)).tally.pending for seed in SEEDS)

    assert {"target", "stop_loss", "take_profit", "trailing_stop", "ruin"} <= several
    assert unfilled > 20


def test_the_compiled_loop_gives_the_same_bits():
    """Fills and equity of every tenth case, compiled and interpreted."""
    for seed in SEEDS[::10]:
        case = a_scarce_case(seed)
        other = run(case.bars, BuyAndHold(), case.targets, case.terms, compiled())
        assert kernel_of(case).sha256() == other.sha256(), seed


def test_no_bar_fills_more_than_its_share():
    """All fills of a bar together stay within volume times share, or nothing is filled where there is no volume."""
    for seed in SEEDS:
        case, result = a_scarce_case(seed), kernel_of(a_scarce_case(seed))
        filled = np.zeros(len(case.bars))
        np.add.at(filled, result.fills.bar, np.abs(result.fills.quantity))
        most = case.bars.volume * (case.terms.max_volume_share or np.inf) if case.terms.max_volume_share else None
        if most is not None:
            assert (filled <= most * (1 + 1e-9) + 1e-9 * float(case.bars.instrument.lot_step)).all(), seed
        assert not filled[case.bars.volume == 0.0].any(), seed


def test_enough_volume_and_no_impact_is_the_plain_kernel():
    """A share that never binds changes no bit of fills and equity."""
    for seed in range(60):
        case = a_case(seed)
        wide = replace(case.bars, volume=np.full(len(case.bars), 1e30))
        plain = run(case.bars, BuyAndHold(), case.targets, case.terms, INTERPRETED)
        scarce = run(wide, BuyAndHold(), case.targets, replace(case.terms, max_volume_share=1.0), INTERPRETED)
        assert plain.sha256() == scarce.sha256(), seed
        assert plain.tally == scarce.tally, seed


def test_parts_of_an_order_by_hand():
    """A purchase of 10 lots through volumes of 40, 0, 80 and 400 at a tenth: 4, nothing, then the rest."""
    bars = some_bars(
        open=np.full(6, 100.0),
        high=np.full(6, 100.0),
        low=np.full(6, 100.0),
        close=np.full(6, 100.0),
        volume=np.array([1.0, 40.0, 0.0, 80.0, 400.0, 1.0]),
    )
    terms = some_terms(cash="100000", sizing="quantity=10", max_volume_share=0.1)

    result = run(bars, BuyAndHold(), np.array([1.0, 1.0, 1.0, 1.0, 0.0, 0.0]), terms, INTERPRETED)

    assert result.fills.bar.tolist() == [1, 3, 5]
    assert result.fills.quantity.tolist() == pytest.approx([4.0, 6.0, -0.1])
    assert result.tally.pending == 1
