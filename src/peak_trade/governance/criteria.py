"""What a gate asks, and the answer: a criterion is measured in facts of evidence, never in words.

Invariant: too little data is *inconclusive*, and inconclusive is never pass.
Invariant: a run that does not say what is asked for makes its criterion inconclusive; it is not passed over.
Invariant: evidence of a kind that a criterion does not name, of another strategy version or too old counts for nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum, unique
from typing import Annotated, Literal

import msgspec

from peak_trade.governance.documents import Fact, Moment, Name, Sha256, Symbol, Text, Written, digest, encode, number, utc
from peak_trade.governance.ladder import StrategyVersion
from peak_trade.governance.requests import Promotion
from peak_trade.model.stage import Stage


@unique
class EvidenceKind(Enum):
    """Where facts come from; a session against the emulator is EMULATOR, whatever its stage."""

    BACKTEST = "backtest"
    SWEEP = "sweep"
    SHADOW = "shadow"
    VALIDATE_ONLY = "validate_only"
    EMULATOR = "emulator"
    LIVE_DATA = "live_data"
    TEST_RUN = "test_run"
    DRILL = "drill"
    PERSON = "person"
    REPOSITORY = "repository"


#: The lowest stage in which each kind can be made: a criterion must be reachable before its step.
MADE_IN: dict[EvidenceKind, Stage] = {
    **dict.fromkeys(EvidenceKind, Stage.RESEARCH),
    EvidenceKind.SHADOW: Stage.SHADOW,
    EvidenceKind.VALIDATE_ONLY: Stage.TESTNET,
    EvidenceKind.LIVE_DATA: Stage.SHADOW_LIVE,
}
#: Kinds that say something of one strategy version only.
OF_VERSION = frozenset(
    {
        EvidenceKind.BACKTEST,
        EvidenceKind.SWEEP,
        EvidenceKind.SHADOW,
        EvidenceKind.VALIDATE_ONLY,
        EvidenceKind.LIVE_DATA,
    }
)


@unique
class Answer(Enum):
    """What a criterion, or a gate, comes to."""

    PASS = "pass"  # noqa: S105 - a word, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Subject(Written, frozen=True, kw_only=True, gc=False):
    """What a run was about."""

    strategy: StrategyVersion
    symbols: tuple[Symbol, ...]


class Evidence(Written, frozen=True, kw_only=True, gc=False):
    """Facts taken from one run; `sha256` is that of what registry or journal keep of it, `at` the moment it ended."""

    kind: EvidenceKind
    run_id: Name
    sha256: Sha256
    at: Moment
    facts: dict[str, Fact]
    subject: Subject | None = None

    @property
    def document(self) -> str:
        """The hash of these facts: what a request names."""
        return digest(encode(self))


class Measure(Written, frozen=True, kw_only=True):
    """One number or fact, taken over all runs that count, and its limit.

    `count` runs; `sum`, `largest` and `smallest` of a fact; `share` of the sum of one fact in that of another; `span_days`
    from the first start to the last end; `gap_days` without a run, also up to now; `every` run must state the fact. Limits
    are `at_least` and `at_most`, `above` and `below`; `is` for facts, or `as_requested`: the part of the request whose only
    hash the fact must be. `furthest` is how far a deviation may move the limit.
    """

    take: Literal["count", "sum", "largest", "smallest", "share", "span_days", "gap_days", "every"]
    of: str = ""
    among: str = ""
    at_least: Decimal | None = None
    at_most: Decimal | None = None
    above: Decimal | None = None
    below: Decimal | None = None
    expected: Fact | None = msgspec.field(default=None, name="is")
    as_requested: str = ""
    furthest: Decimal | None = None

    @property
    def name(self) -> str:
        """How it is called in rulings and deviations."""
        return f"{self.of}/{self.among}" if self.among else self.of or ("runs" if self.take == "count" else self.take)

    @property
    def limit(self) -> Decimal | None:
        """Its only number, where it has one."""
        return next((item for item in (self.at_least, self.at_most, self.above, self.below) if item is not None), None)

    def moved(self, limit: Decimal) -> "Measure":
        """Return the same with another limit of the same kind."""
        side = next(side for side in SIDES if getattr(self, side) is not None)
        return msgspec.structs.replace(self, **{side: limit})


#: The four kinds of limits on numbers.
SIDES = ("at_least", "at_most", "above", "below")
#: What says how much data there is: below such a limit nothing is proven, and nothing disproven.
AMOUNTS = frozenset({"count", "sum", "span_days"})


class Criterion(Written, frozen=True, kw_only=True):
    """One line of a gate.

    With `newest`, only the newest run that fits counts, or of runs about pairs the newest of the same pairs; with
    `of_version`, only runs that name the strategy version, as those of `OF_VERSION` must in any case; `where` names facts that
    a run must have.
    """

    id: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,63}\Z")]
    words: Text
    hard: bool
    evidence: Annotated[tuple[EvidenceKind, ...], msgspec.Meta(min_length=1)]
    max_age_days: Annotated[int, msgspec.Meta(ge=1, le=3_660)]
    measure: Annotated[tuple[Measure, ...], msgspec.Meta(min_length=1)]
    newest: bool = False
    of_version: bool = False
    where: dict[str, Fact] = msgspec.field(default_factory=dict)


class Measured(Written, frozen=True, kw_only=True):
    """What a measure came to; `found` and `limit` are for people."""

    name: str
    found: str
    limit: str
    answer: Answer


class Ruling(Written, frozen=True, kw_only=True):
    """What a criterion came to, from which runs; `deviation` is the hash of one that it needed."""

    criterion: str
    hard: bool
    answer: Answer
    why: str
    measured: tuple[Measured, ...]
    runs: tuple[str, ...]
    deviation: str = ""


def evaluate(criterion: Criterion, evidence: Sequence[Evidence], request: Promotion, at: datetime) -> Ruling:
    """Measure a criterion in the evidence that counts for it, at a moment."""
    runs = counted(criterion, evidence, request, at)
    kinds = " or ".join(kind.value for kind in criterion.evidence)
    if not runs:
        why = f"there is no evidence of the last {criterion.max_age_days} days; it would have to come from {kinds}"
        return Ruling(criterion=criterion.id, hard=criterion.hard, answer=Answer.INCONCLUSIVE, why=why, measured=(), runs=())
    measured = [_measured(measure, runs, request, at) for measure in criterion.measure]
    if absent := _absent(runs, request):
        words = f"none for {', '.join(absent)}"
        measured.append(Measured(name="symbols", found=words, limit="all of the request", answer=Answer.INCONCLUSIVE))
    answers = {item.answer for item in measured}
    answer = next((item for item in (Answer.FAIL, Answer.INCONCLUSIVE) if item in answers), Answer.PASS)
    why = "; ".join(
        f"{item.name}: {item.found}, needed {item.limit}" for item in measured if answer is Answer.PASS or item.answer is answer
    )
    names = tuple(sorted(run.run_id for run in runs))
    return Ruling(criterion=criterion.id, hard=criterion.hard, answer=answer, why=why, measured=tuple(measured), runs=names)


def counted(criterion: Criterion, evidence: Sequence[Evidence], request: Promotion, at: datetime) -> list[Evidence]:
    """Return the runs that count for a criterion, the oldest first."""
    oldest = at - timedelta(days=criterion.max_age_days)
    where, pairs = tuple(criterion.where.items()), frozenset(request.symbols)
    fits = [
        item
        for item in evidence
        if item.kind in criterion.evidence
        and oldest <= item.at <= at
        and (not where or all(same(item.facts.get(name), value) for name, value in where))
        and _about(item, criterion, request, pairs)
    ]
    fits.sort(key=lambda item: (item.at, item.run_id))
    if not criterion.newest:
        return fits
    newest = {_pairs(item): item.at for item in fits}
    # Where two are equally new, both count: nobody may choose.
    return [item for item in fits if item.at == newest[_pairs(item)]]


def _pairs(item: Evidence) -> tuple[str, ...]:
    """Return the pairs of a run: of runs about other pairs, each has a newest one."""
    return () if item.subject is None else tuple(sorted(item.subject.symbols))


def same(found: Fact | None, expected: Fact) -> bool:
    """Tell whether two facts are the same; true is not 1."""
    return type(found) is type(expected) and found == expected


def _about(item: Evidence, criterion: Criterion, request: Promotion, pairs: frozenset[str]) -> bool:
    """Tell whether a run is about what is asked for: this very version, and none but its pairs."""
    if item.subject is None:
        return item.kind not in OF_VERSION and not criterion.of_version
    return item.subject.strategy == request.strategy and pairs.issuperset(item.subject.symbols)


def _absent(runs: Sequence[Evidence], request: Promotion) -> list[str]:
    """Return the pairs that no run is about, where runs are about pairs."""
    shown = {symbol for run in runs if run.subject for symbol in run.subject.symbols}
    return sorted(set(request.symbols) - shown) if any(run.kind in OF_VERSION for run in runs) else []


def _measured(measure: Measure, runs: Sequence[Evidence], request: Promotion, at: datetime) -> Measured:
    if measure.take == "every":
        return _stated(measure, runs, request)
    limit = " and ".join(
        f"{side.replace('_', ' ')} {getattr(measure, side)}" for side in SIDES if getattr(measure, side) is not None
    )
    found = _TAKES[measure.take](measure, runs, at)
    if found is None:
        words = f"not all of {len(runs)} runs say it"
        return Measured(name=measure.name, found=words, limit=limit, answer=Answer.INCONCLUSIVE)
    holds = (
        (measure.at_least is None or found >= measure.at_least)
        and (measure.at_most is None or found <= measure.at_most)
        and (measure.above is None or found > measure.above)
        and (measure.below is None or found < measure.below)
    )
    short = measure.take in AMOUNTS and (measure.at_most is None and measure.below is None)
    answer = Answer.PASS if holds else Answer.INCONCLUSIVE if short else Answer.FAIL
    return Measured(name=measure.name, found=_shown(found), limit=limit, answer=answer)


def _shown(found: Decimal) -> str:
    """Write a number with six digits behind the point at most."""
    text = f"{found:.6f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _stated(measure: Measure, runs: Sequence[Evidence], request: Promotion) -> Measured:
    """Every run must state one fact; another value fails, none at all is inconclusive."""
    expected = measure.expected
    limit = f"{measure.expected}"
    if measure.as_requested:
        hashes = list(request.hashes.get(measure.as_requested, {}).values())
        # Several hashes are none that one fact could name.
        expected = hashes[0] if len(hashes) == 1 else None
        limit = f"the request's {measure.as_requested}"
    facts = [run.facts.get(measure.of) for run in runs]
    if expected is None or any(fact is None for fact in facts):
        words = f"{sum(fact is None for fact in facts)} of {len(runs)} runs don't say it"
        return Measured(name=measure.name, found=words, limit=limit, answer=Answer.INCONCLUSIVE)
    other = sum(not same(fact, expected) for fact in facts)
    words = f"{other} of {len(runs)} runs say otherwise" if other else f"{len(runs)} of {len(runs)} runs"
    return Measured(name=measure.name, found=words, limit=limit, answer=Answer.FAIL if other else Answer.PASS)


def _numbers(name: str, runs: Sequence[Evidence]) -> list[Decimal] | None:
    """Return a fact of every run as a number, None where one does not say it."""
    found = [number(run.facts.get(name)) for run in runs]
    known = [item for item in found if item is not None]
    return known if len(known) == len(found) else None


def _count(_measure: Measure, runs: Sequence[Evidence], _at: datetime) -> Decimal | None:
    return Decimal(len(runs))


def _sum(measure: Measure, runs: Sequence[Evidence], _at: datetime) -> Decimal | None:
    found = _numbers(measure.of, runs)
    return None if found is None else sum(found, Decimal(0))


def _largest(measure: Measure, runs: Sequence[Evidence], _at: datetime) -> Decimal | None:
    found = _numbers(measure.of, runs)
    return max(found) if found else None


def _smallest(measure: Measure, runs: Sequence[Evidence], _at: datetime) -> Decimal | None:
    found = _numbers(measure.of, runs)
    return min(found) if found else None


def _share(measure: Measure, runs: Sequence[Evidence], _at: datetime) -> Decimal | None:
    part, whole = _numbers(measure.of, runs), _numbers(measure.among, runs)
    # A part that is larger than its whole in any run is no count of anything.
    if part is None or whole is None or not sum(whole) or any(not 0 <= p <= w for p, w in zip(part, whole, strict=True)):
        return None
    return Decimal(sum(part)) / Decimal(sum(whole))


def _spans(runs: Sequence[Evidence], at: datetime) -> list[tuple[datetime, datetime]] | None:
    """Return when every run began and ended, in their order; None where one does not say it or says what can't be."""
    found = []
    for run in runs:
        begun, ended = utc(run.facts.get("started_at")), utc(run.facts.get("finished_at"))
        if begun is None or ended is None or not begun <= ended <= at:
            return None
        found.append((begun, ended))
    return sorted(found)


def _span_days(_measure: Measure, runs: Sequence[Evidence], at: datetime) -> Decimal | None:
    found = _spans(runs, at)
    return None if found is None else _days(max(ended for _, ended in found) - found[0][0])


def _gap_days(_measure: Measure, runs: Sequence[Evidence], at: datetime) -> Decimal | None:
    found = _spans(runs, at)
    if found is None:
        return None
    widest, until = timedelta(0), found[0][1]
    for begun, ended in [*found[1:], (at, at)]:
        widest, until = max(widest, begun - until), max(until, ended)
    return _days(widest)


def _days(span: timedelta) -> Decimal:
    return Decimal(span // timedelta(microseconds=1)) / Decimal(86_400_000_000)


_TAKES: Mapping[str, Callable[[Measure, Sequence[Evidence], datetime], Decimal | None]] = {
    "count": _count,
    "sum": _sum,
    "largest": _largest,
    "smallest": _smallest,
    "share": _share,
    "span_days": _span_days,
    "gap_days": _gap_days,
}
