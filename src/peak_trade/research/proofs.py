"""The two proofs of a strategy: that it uses nothing after its bar, and that its warm-up is long enough.

Both speak of what the engine does (`engine.decider`): it asks with every bar from the first one of a session on, and trades
after the warm-up.

*Causality.* Over bars that end at a cut, a rule decides what it decides over all bars, and over bars with another future too:
the same values, exactly. One bar after which it does not is a leak. What was tried without a leak is no proof in the sense of
mathematics; it is many chances to be found out.

*Warm-up.* A session that begins at a later bar decides, once its warm-up is over, what the rule decides over the whole history.
The smallest such number of bars is searched for. Two differences are none:

- A rule that holds a position until something ends it can't know one that was entered before its first bar. A session stays
  out of such a position; what it enters itself has to be true, and once both agree they have to agree for good.
- Where averages are equal but for the last digits of a running sum, chance decides, and no warm-up mends that. A bar whose
  target changes when all prices are multiplied by 1 + 10^-12 or so is such a knife's edge.
"""

import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from peak_trade.model.bar import COLUMNS, F64, I64, Bars
from peak_trade.model.clock import moment_text
from peak_trade.model.errors import InputError, StrategyError
from peak_trade.research.futures import FUTURES, scaled, wild_market, with_future
from peak_trade.strategy.base import Mask, Strategy, checked_targets

Decide = Callable[[Bars], F64]

#: The fewest cuts that say anything: in a made-up market too there is room for the shortest and the longest prefixes.
CUTS_MIN = 24
#: The future that was cut off, among the names of the made-up ones.
CAME = "what really came"
#: Lengths to which a market grows at first.
_GROWTHS = 24
#: Bars at which a rule is asked one after the other, as in real time, for leaks that show on few bars only.
STRETCH = 256
#: Targets that differ by less are the same to the warm-up: a billionth of the allotment is no order.
NEAR = 1e-9
#: How often it is looked for knife's edges, and how far the prices are moved: 27.7 / weight bars forget to that accuracy.
_EDGES, _EDGE = 16, 1e-12
#: Of all bars, so many may be knife's edges: a rule that hangs on chance more often can't be told about.
_EDGES_MOST = 0.1
#: Beginnings at random; changes of the target that a window is tried to end at; rounds in which the window found may grow.
_STARTS, _CHANGES, _ROUNDS = 64, 48, 24
#: Bars a late beginning is followed for, beyond twice the declared warm-up.
_FOLLOWED = 1_000


class Rule(NamedTuple):
    """What decides, and the rules that it is made of."""

    decide: Decide
    parts: "tuple[Rule, ...]" = ()

    @classmethod
    def of(cls, strategy: Strategy) -> "Rule":
        """Return a strategy as a rule; it decides through the door that everything uses."""
        return cls(lambda bars: checked_targets(bars, strategy), tuple(cls.of(part) for part in strategy.parts()))


class Leak(NamedTuple):
    """A bar whose target changes with bars that come after it.

    Attributes:
        bar: index of the earliest such bar. at: its open time. until: open time of the last bar that was the same.
        future: what came after that, in a word. without: the target while nothing comes after. found: with that future.
        made_up: it was found in a made-up market.
    """

    bar: int
    at: str
    until: str
    future: str
    without: float
    found: float
    made_up: bool

    @property
    def words(self) -> str:
        """What was found, in a sentence."""
        where = "in a made-up market " if self.made_up else ""
        return (
            f"{where}the target of {self.at} is {self.without!r} with bars up to {self.until}, and {self.found!r} with bars "
            f"after that ({self.future})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Causality:
    """What was tried, and the earliest leak.

    Attributes:
        cuts: at which the future was cut off and exchanged. stretch: bars at which it was cut off besides.
        futures: that were tried. bars: given. changes: how often the target changes in given and made-up bars.
        exposed: how many comparisons showed a leak, by future.
        trouble: why the rule is none: it failed, remembered something, or wrote into its bars.
    """

    cuts: int
    stretch: int
    futures: int
    bars: int
    changes: int
    exposed: dict[str, int]
    first: Leak | None
    trouble: str | None

    @property
    def causal(self) -> bool:
        """Whether nothing was found."""
        return self.first is None and self.trouble is None

    @property
    def words(self) -> str:
        """Why it is not, or nothing."""
        return self.trouble or (self.first.words if self.first else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    """What was tried, and the smallest number of bars that is enough.

    Attributes:
        declared: bars. needed: None where not even `longest` bars are enough.
        longest: the largest number of bars that was tried. starts: how many beginnings were.
        stays_out: for how many bars a session stayed out of a position that began before it, at most; 0: that never was.
        edges: bars that were left out because chance decides there.
        example: the window that shows how much is needed, in a sentence. trouble: why nothing could be tried.
    """

    declared: int
    needed: int | None
    longest: int
    starts: int
    stays_out: int
    edges: int
    example: str
    trouble: str | None

    @classmethod
    def untried(cls, declared: int, why: str = "not tried: a rule that is not causal has no warm-up to be found") -> "Warmup":
        """Return that nothing could be told, and why."""
        return cls(declared=declared, needed=None, longest=0, starts=0, stays_out=0, edges=0, example="", trouble=why)

    @property
    def enough(self) -> bool:
        """Whether the declared number is."""
        return self.trouble is None and self.needed is not None and self.needed <= self.declared

    @property
    def words(self) -> str:
        """Why it is not, or nothing."""
        return "" if self.enough else self.trouble or self.example


def bars_needed(declared: int) -> int:
    """Return how many bars the proofs take for a warm-up: windows longer than it must be tried, and end at many bars."""
    return 2 * declared + 50


def check_size(bars: Bars, declared: int) -> None:
    """Refuse bars that are too few to prove anything.

    Raises:
        InputError: they are.
    """
    least = bars_needed(declared)
    if len(bars) < least:
        raise InputError(
            f"expected at least {least:,} bars to prove a rule with a warm-up of {declared:,}, found {len(bars):,}; choose a "
            "longer period"
        )


def prove_causality(rule: Rule, bars: Bars, declared: int, chance: random.Random, cuts: int) -> Causality:
    """Try whether any target changes with what comes after its bar, over the bars given and over a made-up market.

    Args:
        declared: the warm-up, bars. cuts: how many, at least `CUTS_MIN`.

    Raises:
        InputError: too few bars or cuts.
    """
    check_size(bars, declared)
    if cuts < CUTS_MIN:
        raise InputError(f"expected at least {CUTS_MIN} cuts, found {cuts}; fewer say too little")
    draw = _drawn(chance)
    search = _Search(rule.decide, draw)
    trouble = None
    made_up = wild_market(bars, _size_made_up(bars, declared), draw)
    try:
        search.go(bars, declared, cuts - cuts // 3, made_up=False)
        search.go(made_up, declared, cuts // 3, made_up=True)
        search.again(bars)
    except _Trouble as error:
        trouble = str(error)
    return Causality(
        cuts=search.cuts,
        stretch=search.stretch,
        futures=search.cuts * len(FUTURES),
        bars=len(bars),
        changes=search.changes,
        exposed=search.exposed,
        first=search.first,
        trouble=trouble,
    )


def prove_warmup(rule: Rule, bars: Bars, declared: int, chance: random.Random) -> Warmup:
    """Find the smallest window that decides as the whole history does, over the bars given and over a made-up market.

    The rule has to be causal: then the targets of a late beginning tell all windows from there at once.

    Raises:
        InputError: too few bars.
    """
    check_size(bars, declared)
    draw = _drawn(chance)
    found = []
    for market in (bars, wild_market(bars, _size_made_up(bars, declared), draw)):
        try:
            found.append(_Windows(rule, market, declared, draw).search())
        except _Trouble as error:
            return Warmup.untried(declared, str(error))
    worst = max(found, key=lambda item: item.needed)
    return Warmup(
        declared=declared,
        needed=worst.needed if worst.needed <= worst.longest else None,
        longest=worst.longest,
        starts=sum(item.starts for item in found),
        stays_out=max(item.stays_out for item in found),
        edges=sum(item.edges for item in found),
        example=worst.example + (" (made-up market)" if worst is found[1] and worst.example else ""),
        trouble=None,
    )


def _drawn(chance: random.Random) -> np.random.Generator:
    return np.random.default_rng(chance.getrandbits(64))


def _size_made_up(bars: Bars, declared: int) -> int:
    return max(bars_needed(declared) + 500, min(len(bars), 2_000))


class _Trouble(Exception):
    """A rule that is no function of its bars."""


def _ask(decide: Decide, bars: Bars) -> F64:
    """Return what a rule decides, in memory of its own.

    Raises:
        _Trouble: it failed, or wrote into its bars.
    """
    before = [getattr(bars, name).copy() for name in COLUMNS]
    try:
        # What was made up may well divide by zero; that is no fault, and nothing to tell a user.
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            targets = np.array(decide(bars), dtype=np.float64)
    except StrategyError as error:
        raise _Trouble(f"over {len(bars):,} bars {error}") from error
    if not all(np.array_equal(getattr(bars, name), column) for name, column in zip(COLUMNS, before, strict=True)):
        raise _Trouble("it writes into the bars that it is given")
    return targets


def _changes(targets: F64) -> I64:
    """Return the indices of bars whose target is another than that of the bar before."""
    return np.flatnonzero(_differ(targets[1:], targets[:-1])) + 1


def _differ(first: F64, second: F64, by: float = 0.0) -> Mask:
    """Tell where values are not the same; two that are not numbers are."""
    same = np.abs(first - second) <= by if by else first == second
    return ~(same | (np.isnan(first) & np.isnan(second)))


class _Search:
    """The search for a leak: it goes through markets, and keeps count and the earliest."""

    def __init__(self, decide: Decide, draw: np.random.Generator) -> None:
        self.cuts = self.stretch = self.changes = 0
        self.exposed: dict[str, int] = {}
        self.first: Leak | None = None
        self._decide, self._draw = decide, draw
        self._whole: F64 = np.empty(0)

    def go(self, bars: Bars, declared: int, count: int, *, made_up: bool) -> None:
        """Try cuts in a market: first it grows, so that a rule that remembers has nothing to remember yet."""
        whole = self._grown(bars, made_up=made_up)
        if not made_up:
            self._whole = whole
        self._twice(bars, whole)
        self.changes += len(_changes(whole))
        cuts = _cuts(bars, whole, declared, self._draw, count)
        begin = _anywhere(len(bars) - STRETCH, self._draw)
        stretch = [cut for cut in range(begin, min(begin + STRETCH, len(bars))) if cut not in cuts]
        self.cuts += len(cuts)
        self.stretch += len(stretch)
        for cut in sorted({*cuts, *stretch}):
            part = _ask(self._decide, bars[:cut])
            self._compare(bars, cut, part, whole, CAME, made_up=made_up)
            if cut in cuts:
                for name in FUTURES:
                    other = _ask(self._decide, with_future(bars, cut, name, self._draw))
                    self._compare(bars, cut, part, other, name, made_up=made_up)

    def again(self, bars: Bars) -> None:
        """Ask for the first market once more, after all others."""
        self._twice(bars, self._whole)

    def _grown(self, bars: Bars, *, made_up: bool) -> F64:
        """Return the targets of a whole market, after those of ever longer parts of it, which must agree."""
        sizes = sorted({int(size) for size in np.geomspace(1, len(bars), _GROWTHS)})
        targets = _ask(self._decide, bars[: sizes[0]])
        for shorter, longer in pairwise(sizes):
            before, targets = targets, _ask(self._decide, bars[:longer])
            self._compare(bars, shorter, before, targets, CAME, made_up=made_up)
        return targets

    def _twice(self, bars: Bars, before: F64) -> None:
        now = _ask(self._decide, bars)
        changed = np.flatnonzero(_differ(before, now))
        if len(changed):
            bar = int(changed[0])
            raise _Trouble(
                f"asked again about the same bars it gives {now[bar]!s} as target of {moment_text(int(bars.timestamp[bar]))}, "
                f"after {before[bar]!s}: it remembers something, or is left to chance"
            )

    def _compare(self, bars: Bars, cut: int, part: F64, other: F64, future: str, *, made_up: bool) -> None:
        changed = np.flatnonzero(_differ(part, other[:cut]))
        if not len(changed):
            return
        self.exposed[future] = self.exposed.get(future, 0) + 1
        bar = int(changed[0])
        # The market that was given comes first; in it, the earliest bar.
        if self.first is None or (self.first.made_up == made_up and bar < self.first.bar):
            at, until = (moment_text(int(bars.timestamp[index])) for index in (bar, cut - 1))
            self.first = Leak(bar, at, until, future, float(part[bar]), float(other[bar]), made_up)


def _cuts(bars: Bars, whole: F64, declared: int, draw: np.random.Generator, count: int) -> set[int]:
    """Return where the future is cut off, each the number of bars that stay.

    The shortest prefixes, those around the end of the warm-up and the longest are always among them; the rest is where the
    target changes, where bars are missing, and anywhere, short prefixes as often as long ones.
    """
    last = len(bars) - 1
    cuts = {cut for cut in (1, 2, declared - 1, declared, declared + 1, declared + 2, last - 1, last) if 1 <= cut <= last}
    holes = np.flatnonzero(np.diff(bars.timestamp) != bars.timeframe.step_ns) + 1
    # At a change: the bar that brings it is the last one there is.
    for places, share in ((_changes(whole) + 1, 0.5), (holes, 0.1)):
        open_places = places[places <= last]
        wanted = min(len(open_places), int(share * max(0, count - len(cuts))))
        cuts |= set(draw.choice(open_places, wanted, replace=False).tolist()) if wanted else set()
    for number in range(20 * count):
        if len(cuts) >= min(count, last):
            break
        cuts.add(int(draw.integers(1, last + 1)) if number % 2 else _anywhere(last + 1, draw))
    return cuts


def _anywhere(end: int, draw: np.random.Generator) -> int:
    """Return a number from 1 to *end* less one, small ones as often as large ones; 1 where there is no other."""
    return int(np.exp(draw.uniform(0.0, np.log(max(2, end)))))


class _Found(NamedTuple):
    """What the windows of one market need; `needed` is above `longest` where none was enough."""

    needed: int
    longest: int
    starts: int
    stays_out: int
    edges: int
    example: str


class _Known(NamedTuple):
    """A rule with its targets over a whole market, and the bars where chance decides."""

    rule: Rule
    whole: F64
    edges: Mask
    parts: "tuple[_Known, ...]"


class _Windows:
    """The search for the smallest window in one market."""

    def __init__(self, rule: Rule, bars: Bars, declared: int, draw: np.random.Generator) -> None:
        self._bars, self._declared, self._draw = bars, declared, draw
        factors = 1.0 + _EDGE * draw.uniform(-1.0, 1.0, _EDGES)
        self._moved = [scaled(bars, float(factor)) for factor in factors]
        self._known = self._learn(rule)
        self._followed = 2 * declared + _FOLLOWED
        self._needed, self._stays_out, self._example = 1, 0, ""
        self._tried: set[int] = set()

    def search(self) -> _Found:
        """Try beginnings at random and before changes, then windows of the length found until none needs a longer one."""
        last = len(self._bars) - self._declared - 2
        self._try(self._draw.integers(1, last + 1, _STARTS).tolist())
        half = self._declared // 2
        for window in (1, half, half + half // 2, self._declared - 1, self._declared):
            self._try(self._before_changes(window, _CHANGES // 4))
        for _ in range(_ROUNDS):
            needed = self._needed
            for window in (needed - 1, needed, needed + 1):
                self._try(self._before_changes(window, _CHANGES))
            if self._needed == needed:
                break
        longest = min(self._followed, len(self._bars) - min(self._tried, default=1))
        return _Found(self._needed, longest, len(self._tried), self._stays_out, int(self._known.edges.sum()), self._example)

    def _learn(self, rule: Rule) -> _Known:
        whole = _ask(rule.decide, self._bars)
        edges = np.zeros(len(whole), dtype=np.bool_)
        for bars in self._moved:
            edges |= _differ(whole, _ask(rule.decide, bars), NEAR)
        if edges.sum() > _EDGES_MOST * len(edges):
            raise _Trouble(
                f"its target hangs on the last digits of the prices at {int(edges.sum()):,} of {len(edges):,} bars: there "
                "chance decides, and nothing can be told"
            )
        return _Known(rule, whole, edges, tuple(self._learn(part) for part in rule.parts))

    def _before_changes(self, window: int, count: int) -> list[int]:
        """Return beginnings from which so many windows of a length end at a change of the target, some of them the earliest."""
        starts = _changes(self._known.whole) - window + 1
        starts = starts[(starts >= 1) & (starts < len(self._bars) - 2)]
        if len(starts) <= count:
            return [int(start) for start in starts]
        chosen = self._draw.choice(starts, count - 2, replace=False).tolist()
        return [*chosen, int(starts[0]), int(starts[1])]

    def _try(self, starts: Sequence[int]) -> None:
        for start in starts:
            if start not in self._tried:
                self._tried.add(start)
                self._follow(self._known, start)

    def _follow(self, known: _Known, start: int) -> Mask:
        """Compare a beginning with the whole history, of a rule and its parts; return where they differ."""
        part = self._bars[start : start + self._followed]
        stop = start + len(part)
        # A mix does not know what one of its members can't know.
        excused = known.edges[start:stop].copy()
        for inner in known.parts:
            excused |= self._follow(inner, start)
        late = _ask(known.rule.decide, part)
        whole = known.whole[start:stop]
        open_ = _differ(whole, late, NEAR) & ~excused
        if not open_.any():
            return open_ | excused
        bar = int(np.flatnonzero(open_)[-1])
        first = _first_true(known.whole[start - 1 : stop], late, bar, excused)
        self._stays_out = max(self._stays_out, bar + 1 - max(first, self._declared - 1))
        if first + 1 > self._needed:
            self._needed = first + 1
            self._example = self._words(start, first - 1, late, whole)
        return open_ | excused

    def _words(self, start: int, bar: int, late: F64, whole: F64) -> str:
        """Say what the longest window that is not enough decides."""
        at = moment_text(int(self._bars.timestamp[start + bar]))
        return f"over {bar + 1:,} bars the target of {at} is {float(late[bar])!r}, over the whole history {float(whole[bar])!r}"


def _first_true(whole: F64, late: F64, bar: int, excused: Mask) -> int:
    """Return the first bar from which a late beginning is true, but for an old position that it stays out of.

    Args:
        whole: the targets of the whole history, one bar more at its beginning than *late*. bar: the last one that differs.
    """
    before, whole = whole[:-1], whole[1:]
    old = whole[bar]
    stays_out = ((np.abs(late) <= NEAR) & ~_differ(whole, np.full(len(whole), old), NEAR)) | excused
    broken = np.flatnonzero(~stays_out[: bar + 1])
    first = int(broken[-1]) + 1 if len(broken) else 0
    if first > bar or bool(excused[first]) or abs(before[first] - old) <= NEAR:
        return first
    return first + 1
