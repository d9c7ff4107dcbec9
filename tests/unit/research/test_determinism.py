"""The proof of determinism finds out what hangs on more than its bars, and accuses nobody else."""

import os
import random

import numpy as np
import pytest
from tests.builders import some_bars
from tests.paths import ROOT
from tests.strategies.wavering import STEADY, WAVERING, Listed

from peak_trade.model.errors import InputError
from peak_trade.research import elsewhere
from peak_trade.research.determinism import SEEDS, prove_determinism
from peak_trade.research.elsewhere import SHIFTS_S, Maker
from peak_trade.strategy.catalogue import catalogue, make

MARKETS = (1,)


def market(seed: int = 1, count: int = 300):
    return some_bars(count, seed=seed, noise=0.02, gap=0.002)


@pytest.fixture(scope="module")
def found():
    """Every rule of both lists and every built-in strategy, over two markets, each time in six processes for all."""
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(ROOT))
    rules = [Listed(rule=name) for name in (*WAVERING, *STEADY)]
    own = [make(key, {}) for key, kind in catalogue().items() if kind.__module__.startswith("peak_trade.")]
    names = [*WAVERING, *STEADY, *(item.key for item in own)]
    told = [
        dict(zip(names, prove_determinism([*rules, *own], market(seed), random.Random(seed), os.environ), strict=True))
        for seed in MARKETS
    ]
    patch.undo()
    return told


def test_the_corpus_is_large_enough():
    """What the rates are taken over."""
    assert (len(WAVERING), len(STEADY)) == (31, 23)
    assert not set(WAVERING) & set(STEADY)


def test_every_wavering_rule_is_found(found):
    """In each market; the sentence says under which circumstances, or what it did."""
    missed = [(number, name) for number, told in enumerate(found) for name in WAVERING if told[name].holds]

    assert missed == []
    assert all(told[name].words for told in found for name in WAVERING)


def test_no_steady_rule_is_accused(found):
    """Nor is any built-in strategy."""
    accused = [(name, one.words) for told in found for name, one in told.items() if name not in WAVERING and not one.holds]

    assert accused == []


def test_it_is_said_how(found):
    """The circumstances that bring it out stand in the sentence."""
    told = found[0]

    assert "PYTHONHASHSEED=" in told["first_of_a_set"].words
    assert "days later" in told["hour_of_the_day"].words
    assert "after other strategies" in told["kept_by_length"].words
    assert told["file_of_weights"].words == "it reads the file pyproject.toml while it decides, which is no part of its version"
    plain = told["plain"]
    assert (plain.processes, plain.ways, plain.bars, plain.words) == (len(SEEDS) + 1, len(SEEDS) + 3 + len(SHIFTS_S), 300, "")


def test_a_rule_that_fails_elsewhere_does_not_hold(monkeypatch):
    """What can't be made in another process is none to be run; the sentence says why."""

    class Inner(Listed):
        pass

    monkeypatch.setattr("peak_trade.research.determinism.SEEDS", (1,))
    [hidden] = prove_determinism([Inner(rule="plain")], market(), random.Random(1), os.environ)

    assert not hidden.holds
    assert "can't be made again" in hidden.words


def test_a_process_that_does_not_begin_is_said(monkeypatch):
    """One sentence, and no traceback."""
    monkeypatch.setattr(elsewhere.sys, "executable", "/nowhere/python")
    [found] = prove_determinism([make("buy_and_hold", {})], market(), random.Random(1), {})

    assert (found.holds, "expected to begin another process" in found.words) == (False, True)
    with pytest.raises(InputError, match="to begin another process"):
        elsewhere.decide_elsewhere([Maker.of(make("buy_and_hold", {}))], [], [market()], (1,), {})


def test_a_difference_in_the_last_bit_is_one():
    """Exactly equal, not nearly."""
    from peak_trade.research.determinism import _difference
    from peak_trade.research.elsewhere import Reply

    bars, before = market(count=20), np.linspace(0.0, 1.0, 20)
    other = before.copy()
    other[7] = np.nextafter(other[7], 1.0)

    assert _difference(before, Reply("again", 0, before.copy(), ""), bars) is None
    found = _difference(before, Reply("again", 0, other, ""), bars)
    assert (found.found, found.before) == (other[7], before[7])
    blank = np.full(20, np.nan)
    assert _difference(blank, Reply("again", 0, blank.copy(), ""), bars) is None
