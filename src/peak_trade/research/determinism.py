"""The third proof of a strategy: that the same bars give the same decisions, whoever asks, where, when and after what.

A backtest, a session and its replay are one rule only if it is a function of its bars and parameters. So it is asked again by
other instances, with the bars elsewhere in memory, in processes of their own with other hashes of texts, in another order,
after other strategies and other markets, in an empty folder, with another environment and at other times. One target that
differs in its last bit is enough. What was tried without a difference is no proof in the sense of mathematics.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from peak_trade.model.bar import COLUMNS, F64, Bars
from peak_trade.model.clock import moment_text
from peak_trade.model.errors import InputError, StrategyError
from peak_trade.research.elsewhere import Maker, Reply, decide_elsewhere
from peak_trade.research.futures import wild_market
from peak_trade.strategy.base import Strategy, checked_targets
from peak_trade.strategy.catalogue import make

#: Hash seeds of the other processes. The order of two texts in a set is by chance the same in half of them.
SEEDS = (1, 2, 3, 4, 5)
#: Places in memory that bars are copied to, in steps of eight bytes from where NumPy begins.
_OFFSETS = (1, 2, 3, 4, 5, 7)
#: Strategies that run first, of the built-in ones.
_BEFORE = ("ma_crossover", "rsi_reversion", "breakout")
#: Bars of the made-up market.
_MADE_UP = 1_000


class Wavering(NamedTuple):
    """A bar whose target differs: its open time, under which circumstances, and both targets."""

    at: str
    way: str
    found: float
    before: float
    made_up: bool

    @property
    def words(self) -> str:
        """What was found, in a sentence."""
        where = "in a made-up market " if self.made_up else ""
        return f"{where}the target of {self.at} is {self.before!r} at first, and {self.found!r} {self.way}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Determinism:
    """What was tried, and the first difference.

    Attributes:
        asked: how often. processes: how many others. ways: different circumstances. bars: of the given market.
        trouble: what it did that no rule may, or why it could not be asked.
    """

    asked: int
    processes: int
    ways: int
    bars: int
    first: Wavering | None
    trouble: str | None

    @classmethod
    def untried(cls, why: str = "not tried: a rule that is not causal is mended first") -> "Determinism":
        """Return that nothing could be told, and why."""
        return cls(asked=0, processes=0, ways=0, bars=0, first=None, trouble=why)

    @property
    def holds(self) -> bool:
        """Whether nothing was found."""
        return self.first is None and self.trouble is None

    @property
    def words(self) -> str:
        """Why it does not, or nothing."""
        return self.first.words if self.first else self.trouble or ""


def prove_determinism(
    strategies: Sequence[Strategy], bars: Bars, chance: random.Random, environment: Mapping[str, str]
) -> list[Determinism]:
    """Try whether strategies decide otherwise under other circumstances, over the bars given and over a made-up market.

    Args:
        environment: of the processes that are begun: one for each of `SEEDS` and one more, for all strategies together.

    Returns:
        what was found of each.

    Raises:
        InputError: a process can't be begun.
    """
    markets = (bars, wild_market(bars, _MADE_UP, np.random.default_rng(chance.getrandbits(64))))
    near = [_here(strategy, markets) for strategy in strategies]
    others = [Maker.of(make(name, {})) for name in _BEFORE]
    try:
        far = decide_elsewhere([Maker.of(item) for item in strategies], others, markets, SEEDS, environment)
    except InputError as error:
        if len(strategies) > 1:
            raise
        return [Determinism.untried(str(error))]
    return [_compared(first, here + there, markets) for (first, here), there in zip(near, far, strict=True)]


def _here(strategy: Strategy, markets: Sequence[Bars]) -> tuple[list[Reply], list[Reply]]:
    """Return what a strategy decides first, and what it and its like decide afterwards in this process."""
    maker = Maker.of(strategy)
    first = [_asked(strategy, bars, "", place) for place, bars in enumerate(markets)]
    again: list[Reply] = []
    for place, bars in reversed(list(enumerate(markets))):
        again.append(_asked(strategy, bars, "when it is asked again", place))
        try:
            other = maker.make()
        except StrategyError as error:
            again.append(Reply("", place, np.empty(0), str(error)))
            continue
        again.append(_asked(other, bars, "of another instance", place))
        # All at once, so that no two lie at the same place.
        copies = [_copied(bars, offset) for offset in _OFFSETS]
        again += [_asked(other, copy, "with the bars elsewhere in memory", place) for copy in copies]
    return first, again


def _asked(strategy: Strategy, bars: Bars, way: str, place: int) -> Reply:
    try:
        return Reply(way, place, checked_targets(bars, strategy).copy(), "")
    except StrategyError as error:
        return Reply(way, place, np.empty(0), str(error))


def _copied(bars: Bars, offset: int) -> Bars:
    """Return the same bars, each column at so many places of eight bytes after the beginning of a piece of memory."""
    columns = {}
    for name in COLUMNS:
        column = getattr(bars, name)
        memory = np.empty(len(column) + offset, dtype=column.dtype)
        memory[offset:] = column
        columns[name] = memory[offset:]
    return Bars(instrument=bars.instrument, timeframe=bars.timeframe, **columns)


def _compared(first: Sequence[Reply], others: Sequence[Reply], markets: Sequence[Bars]) -> Determinism:
    trouble = next((answer.trouble for answer in first if answer.trouble), None)
    found: Wavering | None = None
    for answer in others if trouble is None else ():
        if answer.trouble:
            trouble = trouble or f"{answer.way}: {answer.trouble}".removeprefix(": ")
        elif found is None:
            found = _difference(first[answer.market].targets, answer, markets[answer.market])
    ways = {answer.way for answer in others if answer.way}
    return Determinism(
        asked=len(others), processes=len(SEEDS) + 1, ways=len(ways), bars=len(markets[0]), first=found, trouble=trouble
    )


def _difference(before: F64, answer: Reply, bars: Bars) -> Wavering | None:
    same = (before == answer.targets) | (np.isnan(before) & np.isnan(answer.targets))
    changed = np.flatnonzero(~same)
    if not len(changed):
        return None
    bar = int(changed[0])
    at = moment_text(int(bars.timestamp[bar]))
    return Wavering(at, answer.way, float(answer.targets[bar]), float(before[bar]), answer.market == 1)
