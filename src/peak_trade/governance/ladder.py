"""The ladder as one table, and where each strategy version stands on it: a function of what was recorded.

Invariant: a version reaches stage n + 1 by one decision that passed for exactly that step, version, account and pairs, made
since the last step down and not used before; every way down is open to anyone at any time.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

from peak_trade.governance.documents import Name, Sha256, Written
from peak_trade.governance.objections import Objection
from peak_trade.governance.roles import Role
from peak_trade.model.stage import Stage

#: How long a decision that passed may wait for its step up.
DECISION_LASTS = timedelta(days=14)


class Rung(Enum):
    """The four steps up; the value is their name for people, in files and in commands."""

    RESEARCH_SHADOW = "research->shadow"
    SHADOW_TESTNET = "shadow->testnet"
    TESTNET_SHADOW_LIVE = "testnet->shadow-live"
    SHADOW_LIVE_LIVE = "shadow-live->live"

    @property
    def lower(self) -> Stage:
        """The stage it leads from."""
        return LADDER[self].lower

    @property
    def upper(self) -> Stage:
        """The stage it leads to."""
        return LADDER[self].upper

    @property
    def deciders(self) -> tuple[Role, ...]:
        """Whose signatures it needs: a different person for each role."""
        return LADDER[self].deciders


class LadderRow(NamedTuple):
    """What a step is."""

    lower: Stage
    upper: Stage
    deciders: tuple[Role, ...]


#: The ladder: the playbook's matrix 4.1.
LADDER: dict[Rung, LadderRow] = {
    Rung.RESEARCH_SHADOW: LadderRow(Stage.RESEARCH, Stage.SHADOW, (Role.OWNER,)),
    Rung.SHADOW_TESTNET: LadderRow(Stage.SHADOW, Stage.TESTNET, (Role.OWNER, Role.REVIEWER)),
    Rung.TESTNET_SHADOW_LIVE: LadderRow(Stage.TESTNET, Stage.SHADOW_LIVE, (Role.OWNER, Role.RISK_OFFICER)),
    Rung.SHADOW_LIVE_LIVE: LadderRow(Stage.SHADOW_LIVE, Stage.LIVE, (Role.OWNER, Role.RISK_OFFICER, Role.SECOND_PERSON)),
}
_ORDER = list(Stage)


class StrategyVersion(Written, frozen=True, order=True, kw_only=True, gc=False):
    """A strategy as it was judged: other parameters or other code are another one."""

    key: Name
    params_sha256: Sha256
    code_sha256: Sha256


class Assignment(NamedTuple):
    """A strategy version on an account, in these pairs."""

    version: StrategyVersion
    account: str
    symbols: frozenset[str]


class Decided(NamedTuple):
    """A gate decision was made; `decision` is the hash of its document."""

    at: datetime
    assignment: Assignment
    rung: Rung
    decision: str
    passed: bool


class Promoted(NamedTuple):
    """A step up was asked for, on a decision."""

    at: datetime
    assignment: Assignment
    rung: Rung
    decision: str


class Demoted(NamedTuple):
    """A step down, of any length, by anyone or by the machine."""

    at: datetime
    assignment: Assignment
    to: Stage
    why: str


LadderEvent = Decided | Promoted | Demoted


class _Standing(NamedTuple):
    """Where a version stands in one pair, and the number of the last event that led down."""

    stage: Stage = Stage.RESEARCH
    fell: int = -1


class Ladder:
    """Where every version stands, after the events so far; `refused` has those that must not have been recorded."""

    def __init__(self, events: Iterable[LadderEvent] = ()) -> None:
        """Fold events in their order."""
        self.refused: list[tuple[LadderEvent, Objection]] = []
        self._standing: dict[tuple[StrategyVersion, str, str], _Standing] = {}
        self._passed: dict[str, tuple[int, Decided]] = {}
        self._seen: set[str] = set()
        self._used: set[str] = set()
        self._count = 0
        self.last_at: datetime | None = None
        for event in events:
            self._take(event)

    def stages(self, assignment: Assignment) -> set[Stage]:
        """Return where a version stands in these pairs."""
        return {self._of(assignment, symbol).stage for symbol in assignment.symbols}

    def stage(self, assignment: Assignment) -> Stage:
        """Return the highest stage that a version may run in, in all of these pairs; RESEARCH where nothing is known."""
        return min(self.stages(assignment), key=_ORDER.index, default=Stage.RESEARCH)

    def standings(self) -> dict[tuple[StrategyVersion, str, str], Stage]:
        """Return the stage of every version, account and pair that ever stood above RESEARCH."""
        return {place: standing.stage for place, standing in self._standing.items()}

    def rests_on(self, decision: str) -> bool:
        """Tell whether a step up was made on a decision."""
        return decision in self._used

    def objection(self, event: LadderEvent) -> Objection | None:
        """Return why an event must not be recorded now, None where it may."""
        if self.last_at is not None and event.at < self.last_at:
            return Objection("clock_set_back", f"{event.at:%F %T} lies before the last event at {self.last_at:%F %T}")
        match event:
            case Promoted():
                return self._rises(event)
            case Demoted():
                return self._sinks(event)
        if event.decision in self._seen:
            return Objection("decision_used", f"the decision {event.decision[:12]} has been recorded before")
        return None

    def _take(self, event: LadderEvent) -> None:
        found = self.objection(event)
        if found is not None:
            self.refused.append((event, found))
            # A way down is never closed, whatever else is wrong with it.
            if not isinstance(event, Demoted):
                return
        self._count += 1
        self.last_at = event.at if self.last_at is None else max(self.last_at, event.at)
        match event:
            case Decided():
                self._seen.add(event.decision)
                if event.passed:
                    self._passed[event.decision] = (self._count, event)
            case Promoted():
                self._used.add(event.decision)
                for symbol in event.assignment.symbols:
                    self._put(event.assignment, symbol, _Standing(event.rung.upper, self._of(event.assignment, symbol).fell))
            case Demoted():
                for symbol in event.assignment.symbols:
                    stage = min(self._of(event.assignment, symbol).stage, event.to, key=_ORDER.index)
                    self._put(event.assignment, symbol, _Standing(stage, self._count))

    def _rises(self, event: Promoted) -> Objection | None:
        for symbol in sorted(event.assignment.symbols):
            stage = self._of(event.assignment, symbol).stage
            if stage is not event.rung.lower:
                return Objection(
                    "rung_order",
                    f"{event.assignment.version.key} in {symbol} is in {stage.value}; {event.rung.value} begins in "
                    f"{event.rung.lower.value}",
                )
        number, decided = self._passed.get(event.decision, (-1, None))
        exact = decided is not None and (decided.rung, decided.assignment) == (event.rung, event.assignment)
        fell = max((self._of(event.assignment, symbol).fell for symbol in event.assignment.symbols), default=self._count)
        if decided is None or not exact or number < fell:
            return Objection("no_decision", f"{event.rung.value} needs a decision that passed for it since the last step down")
        if event.at - decided.at >= DECISION_LASTS:
            return Objection("decision_expired", f"the decision of {decided.at:%F} is older than {DECISION_LASTS.days} days")
        return None

    def _sinks(self, event: Demoted) -> Objection | None:
        stages = [self._of(event.assignment, symbol).stage for symbol in event.assignment.symbols]
        if any(_ORDER.index(event.to) < _ORDER.index(stage) for stage in stages):
            return None
        return Objection(
            "not_lower", f"{event.assignment.version.key} stands no higher than {event.to.value}; nothing to lower"
        )

    def _of(self, assignment: Assignment, symbol: str) -> _Standing:
        return self._standing.get((assignment.version, assignment.account, symbol), _Standing())

    def _put(self, assignment: Assignment, symbol: str, standing: _Standing) -> None:
        self._standing[assignment.version, assignment.account, symbol] = standing
