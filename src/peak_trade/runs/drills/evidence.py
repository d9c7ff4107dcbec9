"""Drills as evidence: what was tried on purpose, written down for the gates whatever it came to; and how old each may be.

Invariant: what a drill does happens in a folder of its own and at an emulator of its own; the team's state gets its evidence.
"""

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from peak_trade.compose import Parts
from peak_trade.governance.criteria import EvidenceKind, Subject
from peak_trade.governance.documents import Fact
from peak_trade.governance.files import load_policy
from peak_trade.model.bar import Timeframe
from peak_trade.model.clock import RunId
from peak_trade.model.errors import CheckFailed, InputError, SafetyRefused
from peak_trade.model.instrument import parse_symbol
from peak_trade.research.terms import Side
from peak_trade.runs.acts import EVIDENCE, Done, done, tell_evidence
from peak_trade.runs.configured import configured_params
from peak_trade.runs.drills.bench import DrillTrial
from peak_trade.runs.drills.books import unexplained
from peak_trade.runs.drills.orders import SPEED, TIER, OrdersFound, OrderTerms, run_orders
from peak_trade.runs.drills.register import DRILLS, LASTS, Drill
from peak_trade.runs.drills.steps import DrillResult, expect, walked
from peak_trade.runs.emulated import emulator_for_run
from peak_trade.runs.limits import limits_of
from peak_trade.runs.record import Json
from peak_trade.runs.strategy_version import version_of
from peak_trade.strategy.catalogue import Value, make

#: How the drill of an order's life is called, in evidence and in the policy.
ORDER_LIFE = "order_life"
#: What stands for the step where no gate asks for a drill.
NO_STEP = "-"
#: Of the largest order that the limits allow, how much one of the drill may be worth: prices move until it is judged.
SHARE_OF_LIMIT = Decimal("0.9")
#: Most orders that may be asked for, and differences that are told.
ORDERS_MOST, TOLD_MOST = 1_000, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillEvidence:
    """What a drill came to, and the id of the evidence that it left."""

    result: DrillResult
    evidence: RunId

    def to_json(self) -> Json:
        """Return it as a JSON object."""
        result = self.result
        return {
            "drill": result.drill,
            "passed": result.passed,
            "evidence": self.evidence,
            "facts": dict(result.facts),
            "steps": [step.to_json() for step in result.steps],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLifeRequest:
    """Whose orders go through their life, and how many the exchange is to have at least."""

    strategy: str
    params: Mapping[str, Value]
    symbol: str
    timeframe: str
    orders: int


def drill_done(parts: Parts, drill: Drill, by: str, seed: int) -> DrillEvidence:
    """Run a drill of the register that needs no strategy, and write down what it came to.

    Raises:
        InputError: it needs one.
        StorageError: the emulator does not start, or the disk refused.
    """
    if drill.run is None:
        raise InputError(f"expected a drill that needs no strategy, found {drill.name}; give --strategy NAME")
    result = drill.run(DrillTrial(clock=parts.clock, environment=parts.settings.environment(), seed=seed))
    return DrillEvidence(result=result, evidence=tell_evidence(parts, EvidenceKind.DRILL, result.facts, None, by))


def order_life_drill(parts: Parts, terms: OrderTerms, by: str) -> DrillEvidence:
    """Lead orders of a strategy version through their life, and write down what it came to.

    Raises:
        InputError: the emulator does not have the pair or such bars, or the strategy wants nothing on its market.
        StorageError: the emulator does not start, or the disk refused.
    """
    version = version_of(terms.strategy)
    result = _order_life(parts, terms)
    subject = Subject(strategy=version, symbols=(terms.symbol,))
    return DrillEvidence(result=result, evidence=tell_evidence(parts, EvidenceKind.EMULATOR, result.facts, subject, by))


def order_terms(parts: Parts, request: OrderLifeRequest, seed: int) -> OrderTerms:
    """Return what the orders of a drill are of: the version, and sizes and limits as they are configured for sessions.

    Raises:
        InputError: strategy, parameters, pair, timeframe or number make no sense.
        SafetyRefused: the limits do not allow the pair.
    """
    if not 1 <= request.orders <= ORDERS_MOST:
        raise InputError(f"expected --orders from 1 to {ORDERS_MOST}, found {request.orders}; correct it")
    file, symbol = parts.settings.file, parse_symbol(request.symbol)
    limits = limits_of(file.live_risk)
    if symbol not in limits.symbols:
        raise SafetyRefused(
            f"expected a pair that live_risk.symbols allows ({', '.join(limits.symbols)}), found {symbol}; choose one of them"
        )
    cash = file.shadow_paper.start_balance
    most = limits.max_order_notional * SHARE_OF_LIMIT / cash
    return OrderTerms(
        strategy=make(request.strategy, configured_params(parts, request.strategy, request.params)),
        symbol=symbol,
        timeframe=Timeframe.parse(request.timeframe),
        side=Side(file.shadow.side),
        cash=cash,
        fraction=min(Decimal(repr(file.shadow.position_fraction)), most),
        limits=limits,
        orders=request.orders,
        seed=seed,
    )


def _order_life(parts: Parts, terms: OrderTerms) -> DrillResult:
    """Run the orders, then look at each thing that has to hold."""
    found: list[OrdersFound] = []

    def placed() -> str:
        with (
            tempfile.TemporaryDirectory(prefix="peak_trade_drill") as folder,
            emulator_for_run(seed=terms.seed, speed=SPEED, tier=TIER) as run,
        ):
            found.append(run_orders(terms, run, Path(folder), parts.clock))
        told = found[0]
        return f"{told.placed} orders placed of {len(told.ends)} sent, {len(told.fills)} fills, fees {told.fees.normalize():f}"

    def struck() -> str:
        counts = found[0].struck
        expect(sum(counts.values()), "expected faults to strike, found that none did; ask for more --orders")
        return f"{sum(counts.values())} strikes of {len(counts)} kinds"

    def agreed() -> str:
        differing = found[0].mismatches
        told = "; ".join(f"{one.name}: {one.words}" for one in differing[:TOLD_MOST])
        if differing:
            raise CheckFailed(f"expected both sides to say the same, found {len(differing)} differences: {told}")
        return "ends, quantities, prices, fees and balances, to the last digit that the exchange shows"

    def retold() -> str:
        expect(found[0].retold, "expected a client that begins anew to be told the same fills, found others")
        return f"{len(found[0].fills)} fills, each once"

    steps = (
        ("orders are led to their end", placed),
        ("faults strike", struck),
        ("both sides agree", agreed),
        ("a client that begins anew", retold),
    )
    begun = parts.clock.elapsed_s()
    result = DrillResult(drill=ORDER_LIFE, steps=walked(parts.clock, steps, (InputError,)), facts={})
    result.facts.update(
        drill=ORDER_LIFE,
        passed=result.passed,
        seed=terms.seed,
        seconds=f"{parts.clock.elapsed_s() - begun:.1f}",
        first_failure=result.first_failure,
    )
    if found:
        result.facts.update(_facts(found[0]))
    return result


def _facts(found: OrdersFound) -> dict[str, Fact]:
    """Return the numbers; a drill that broke off has none, so that nothing that it did not find is believed."""
    return {
        "orders": found.placed,
        "orders_sent": len(found.ends),
        "orders_refused": len(found.refused),
        "orders_unexplained": unexplained(found.mismatches),
        "cases": len({end.case for end in found.ends}),
        "fills": len(found.fills),
        "fees": f"{found.fees.normalize():f}",
        "faults_struck": sum(found.struck.values()),
        "faults": ", ".join(f"{name} {count}" for name, count in found.struck.items()),
        "bars": found.bars,
        "changes": found.changes,
    }


# ---- how old they may be -------------------------------------------------------------------------------------------------


class DrillStanding(NamedTuple):
    """A drill that a step asks for: when it last ran and for whom, how it ended, and until when that counts.

    `last` is None where it never ran; `about` is the strategy version, empty for all.
    """

    drill: str
    step: str
    about: str
    last: datetime | None
    passed: bool
    max_age: timedelta
    now: datetime

    @property
    def until(self) -> datetime | None:
        """The last moment at which it counts."""
        return None if self.last is None else self.last + self.max_age

    @property
    def words(self) -> str:
        """How it stands: never, expired, failed or current."""
        if self.until is None:
            return "never"
        if self.now > self.until:
            return "expired"
        return "current" if self.passed else "failed"

    def to_json(self) -> Json:
        """Return it as a JSON object; times are ISO 8601, UTC."""
        last, until = (None if moment is None else moment.isoformat() for moment in (self.last, self.until))
        days = self.max_age / timedelta(days=1)
        return {
            "drill": self.drill,
            "step": self.step,
            "about": self.about,
            "last": last,
            "passed": None if last is None else self.passed,
            "max_age_days": days,
            "until": until,
            "standing": self.words,
        }


def standings(parts: Parts) -> list[DrillStanding]:
    """Return how every drill stands: those that the policy asks for by step, then the others of the register.

    Raises:
        NotFound: there is no policy. CheckFailed: the journal of acts is not as it was written.
    """
    now, policy = parts.clock.now(), load_policy(parts.settings.root)
    newest = _newest(done(parts))
    found = []
    for rung, criteria in policy.criteria.items():
        for criterion in criteria:
            name, age = criterion.where.get("drill"), timedelta(days=criterion.max_age_days)
            if not isinstance(name, str):
                continue
            kinds = {kind.value for kind in criterion.evidence}
            mine = {about: act for (kind, drill, about), act in newest.items() if drill == name and kind in kinds}
            rows: list[tuple[str, datetime | None, bool]] = [
                (about, act.at, act.last.body["facts"].get("passed") is True) for about, act in sorted(mine.items())
            ]
            for about, last, passed in rows or [("", None, False)]:
                found.append(DrillStanding(name, rung.value, about, last, passed, age, now))
    asked = {standing.drill for standing in found}
    for drill in DRILLS:
        if drill.in_evidence not in asked:
            act = newest.get((EvidenceKind.DRILL.value, drill.in_evidence, ""))
            at = None if act is None else act.at
            went_well = act is not None and act.last.body["facts"].get("passed") is True
            found.append(DrillStanding(drill.in_evidence, NO_STEP, "", at, went_well, LASTS, now))
    return found


def _newest(acts: Iterable[Done]) -> dict[tuple[str, str, str], Done]:
    """Return the newest drill of each kind and name about each strategy version."""
    found = {}
    for act in acts:
        if act.action != EVIDENCE or not act.went_well:
            continue
        name = act.last.body["facts"].get("drill")
        if isinstance(name, str):
            found[act.begun.body["kind"], name, _about(act.begun.body["subject"])] = act
    return found


def _about(subject: Json | None) -> str:
    if subject is None:
        return ""
    version = subject["strategy"]
    return f"{version['key']} {version['params_sha256'][:8]} {version['code_sha256'][:8]} {','.join(subject['symbols'])}"
