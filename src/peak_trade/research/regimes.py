"""The regimes of a market: four answers to what kind of market it is after each bar, none of which looks ahead.

Invariant: over bars that end at a cut, and over bars with another future after it, every answer up to the cut is the same, to
the last bit. Nothing here is smoothed or fitted over the whole sample.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from peak_trade.model.bar import F64, Bars
from peak_trade.model.errors import InputError
from peak_trade.research.change_points import PROBABLE, ChangePoint, announced, run_lengths
from peak_trade.research.switching import Switching, wild_probability
from peak_trade.strategy.regimes import I8, TREND, UNKNOWN, VOLATILITY, trend_classes, volatility_classes

#: The classes of the two states, and of whether the market has changed of late.
STATES = ("quiet", "wild")
CHANGES = ("settled", "changed")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegimeRules:
    """The windows of the classes.

    Attributes:
        window: bars of the volatility. history: volatilities that it is ranked among.
        trend_window: bars of the drift. threshold: standard deviations of a drift that is a trend.
    """

    window: int = 24
    history: int = 250
    trend_window: int = 50
    threshold: float = 1.0

    def __post_init__(self) -> None:
        """Refuse windows that make no sense.

        Raises:
            InputError: one does not.
        """
        limits: Mapping[str, tuple[float, float]] = {
            "window": (2, 100_000),
            "history": (3, 10_000),
            "trend_window": (2, 100_000),
            "threshold": (0.0, 100.0),
        }
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if not least <= value <= most:
                option = name.replace("_", "-")
                raise InputError(f"expected {least:g} to {most:,.0f} as --{option}, found {value:g}; correct it")

    def to_json(self) -> dict[str, float]:
        """Return the windows as a JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One answer: the classes there are, and the index of each bar's class, shape (bars,), `UNKNOWN` where it can't be told."""

    name: str
    title: str
    classes: tuple[str, ...]
    labels: I8

    @property
    def now(self) -> str | None:
        """The class of the last bar."""
        last = int(self.labels[-1])
        return None if last == UNKNOWN else self.classes[last]


@dataclass(frozen=True, slots=True, kw_only=True)
class Regimes:
    """The regimes of bars.

    Attributes:
        wild: filtered probability of the wild state, shape (bars,). young: probability that the market changed of late.
        changes: the change points. fits: the estimates of the two states. failed: how often none could be made.
    """

    families: tuple[Family, ...]
    wild: F64
    young: F64
    changes: tuple[ChangePoint, ...]
    fits: tuple[Switching, ...]
    failed: int


def regimes(bars: Bars, rules: RegimeRules) -> Regimes:
    """Return the regimes of bars.

    Raises:
        InputError: fewer than two bars.
    """
    if len(bars) < 2:
        raise InputError(f"expected at least 2 bars, found {len(bars)}; choose a longer period")
    close = bars.close
    returns = np.concatenate([[0.0], np.diff(np.log(close))])
    wild, fits, failed = wild_probability(returns)
    young, likely = run_lengths(returns)
    families = (
        Family(
            name="volatility",
            title="Volatility",
            classes=VOLATILITY,
            labels=volatility_classes(close, rules.window, rules.history),
        ),
        Family(name="trend", title="Trend", classes=TREND, labels=trend_classes(close, rules.trend_window, rules.threshold)),
        Family(name="state", title="Switching state", classes=STATES, labels=_above(wild, 0.5)),
        Family(name="change", title="Change", classes=CHANGES, labels=_above(young, PROBABLE)),
    )
    return Regimes(
        families=families, wild=wild, young=young, changes=tuple(announced(young, likely)), fits=tuple(fits), failed=failed
    )


def _above(probability: F64, limit: float) -> I8:
    return np.where(np.isnan(probability), UNKNOWN, probability >= limit).astype(np.int8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spells:
    """How long a class lasts: number of spells, their mean, median and longest length in bars; None without one.

    The first and the last spell are counted as far as the bars go.
    """

    name: str
    spells: int
    mean: float | None
    median: float | None
    longest: int | None


def spells(family: Family) -> list[Spells]:
    """Return how long each class lasts."""
    labels = family.labels
    begins = np.flatnonzero(np.concatenate([[True], labels[1:] != labels[:-1]]))
    lengths = np.diff(np.concatenate([begins, [len(labels)]]))
    return [_spells(name, lengths[labels[begins] == index].tolist()) for index, name in enumerate(family.classes)]


def _spells(name: str, lengths: Iterable[int]) -> Spells:
    found = sorted(lengths)
    return Spells(
        name=name,
        spells=len(found),
        mean=float(np.mean(found)) if found else None,
        median=float(np.median(found)) if found else None,
        longest=found[-1] if found else None,
    )


def transitions(family: Family) -> list[list[int]]:
    """Return how often a bar of one class (row) was followed by a bar of another (column); unknown bars are left out."""
    before, after = family.labels[:-1], family.labels[1:]
    known = (before != UNKNOWN) & (after != UNKNOWN)
    size = len(family.classes)
    counts = np.bincount(before[known].astype(np.int64) * size + after[known], minlength=size * size)
    return [[int(count) for count in row] for row in counts.reshape(size, size)]
