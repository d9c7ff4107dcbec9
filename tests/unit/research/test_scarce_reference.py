"""Partial fills once more: slow, obvious and exact, one lot at a time, for the kernel to be compared with (no exits)."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from tests.builders import an_instrument, random_targets, some_bars, some_terms

from peak_trade.research.backtest import delayed, run
from peak_trade.research.kernel import INTERPRETED
from peak_trade.strategy.buy_and_hold import BuyAndHold

LOTS = 40


def lot_by_lot(bars, targets, share: Fraction) -> list[tuple[int, int]]:
    """Return bar and signed lots of every fill of a fixed quantity of whole lots, without costs and with cash for all."""
    position = goal = 0
    before, found = 0.0, []
    for bar in range(len(bars)):
        room, filled = Fraction(float(bars.volume[bar])) * share, 0
        while position != goal and abs(filled) + 1 <= room:
            step = 1 if goal > position else -1
            position, filled = position + step, filled + step
        if filled:
            found.append((bar, filled))
        if targets[bar] != before:
            before = float(targets[bar])
            goal = int(before * LOTS)
    return found


@pytest.mark.parametrize("seed", range(40))
def test_parts_are_those_of_the_reference(seed):
    """Fills of every bar agree lot by lot, also those that a later decision cuts off."""
    random = np.random.default_rng(seed)
    bars = replace(
        some_bars(120, seed=seed, instrument=an_instrument(lot_step="1", min_quantity="0", min_notional="0")),
        volume=random.integers(0, 90, 120).astype(float),
    )
    targets = random_targets(120, seed, (-1.0, 0.0, 0.5, 1.0), stay=0.85)
    terms = some_terms(cash="1e9", sizing=f"quantity={LOTS}", max_volume_share=0.25)

    result = run(bars, BuyAndHold(), targets, terms, INTERPRETED)

    found = list(zip(result.fills.bar.tolist(), result.fills.quantity.astype(int).tolist(), strict=True))
    assert found == lot_by_lot(bars, targets, Fraction(1, 4))


@pytest.mark.parametrize("bars", [0, 1, 3, 200])
def test_a_delay_moves_decisions(bars):
    """A run with a delay is one over targets that many bars later; one longer than the data decides nothing."""
    market = some_bars(120, seed=3)
    targets = random_targets(120, 3)
    late = np.concatenate([np.zeros(bars), targets])[:120]

    with_delay = run(market, BuyAndHold(), targets, some_terms(delay_bars=bars), INTERPRETED)

    assert delayed(targets, bars).tolist() == late.tolist()
    assert with_delay.sha256() == run(market, BuyAndHold(), late, some_terms(), INTERPRETED).sha256()


def test_what_is_off_leaves_no_trace():
    """Terms without the limits are the JSON that they were before there were any; with them they come back whole."""
    assert not {"impact", "max_volume_share", "delay_bars"} & set(some_terms().to_json())
    terms = some_terms(impact=0.5, max_volume_share=0.1, delay_bars=2)
    assert type(terms).from_json(terms.to_json()) == terms
    assert type(terms).from_json(some_terms().to_json()) == some_terms()
