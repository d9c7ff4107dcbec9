"""What a strategy is, and how a position that enters on one condition and leaves on another is kept."""

import operator
import traceback
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from peak_trade.model.bar import F64, Bars
from peak_trade.model.errors import StrategyError
from peak_trade.strategy.aside import foreign

Mask = npt.NDArray[np.bool_]


class Strategy(BaseModel, ABC):
    """A rule with its parameters: the fields are the parameters, checked and frozen.

    `targets` is a pure function: the same bars give the same targets, and a target uses nothing after its own bar.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    #: The name it is registered by, and other names it answers to.
    key: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    #: Where the rule comes from.
    source: ClassVar[str]

    @abstractmethod
    def targets(self, bars: Bars) -> F64:
        """Return the target after the close of each bar, shape (bars,), each in [-1, 1] of the allotment."""

    def parts(self) -> "tuple[Strategy, ...]":
        """Return the strategies that this one is made of; none for a simple rule."""
        return ()

    @abstractmethod
    def warmup(self) -> int:
        """Return how many bars the rule needs before a target means anything."""


def checked_targets(bars: Bars, strategy: Strategy) -> F64:
    """Return a strategy's targets as contiguous float64 of the right length.

    Raises:
        StrategyError: the strategy failed or wanted to end the program, or gave something else, also as its warm-up.
    """
    try:
        with foreign():
            targets = np.ascontiguousarray(strategy.targets(bars), dtype=np.float64)
            warmup = operator.index(strategy.warmup())
    except (Exception, SystemExit, GeneratorExit) as error:
        # A rule that ends the program would look like a command that did its work.
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise StrategyError(
            f"the strategy {strategy.key} failed with {type(error).__name__} in {Path(place.filename).name} line "
            f"{place.lineno}: {error}; mend it or its parameters"
        ) from error
    if targets.shape != (len(bars),):
        raise StrategyError(
            f"expected {len(bars)} targets from {strategy.key}, one for each bar, found the shape {targets.shape}; mend it"
        )
    if warmup < 0:
        raise StrategyError(f"expected a warm-up of {strategy.key} of zero bars or more, found {warmup}; mend it")
    return targets


def direction(up: Mask, down: Mask) -> F64:
    """Return 1 where *up*, -1 where *down*, 0 where neither or both; NaN compares false and so gives 0."""
    return (up.view(np.int8) - down.view(np.int8)).astype(np.float64)


def held(enter_long: Mask, leave_long: Mask, enter_short: Mask, leave_short: Mask) -> F64:
    """Return targets 1, 0, -1 that stay as they are until a condition changes them.

    Entering beats leaving on the same bar; a long entry beats a short one.
    """
    long = _latched(enter_long, leave_long | enter_short)
    short = _latched(enter_short & ~enter_long, leave_short | enter_long)
    return direction(long, short)


def _latched(on: Mask, off: Mask) -> Mask:
    """Return, for each bar, whether the last bar at which `on` or `off` was true had `on` true."""
    index = np.arange(len(on))
    last_on = np.maximum.accumulate(np.where(on, index, -1))
    last_off = np.maximum.accumulate(np.where(off & ~on, index, -1))
    return np.asarray(last_on > last_off)


#: An exponential average with weight a forgets its start to one part in 10^12 after ln(10^12) / a bars.
_FORGET = 27.7


def settling(weight: float) -> int:
    """Return the bars after which an exponential average of this weight no longer depends on where it began."""
    return int(_FORGET / weight) + 1
