"""What each gate asks, from `governance/policy.toml`: read strictly, and never less than the playbook asks.

Invariant: a policy may ask for more than the playbook and move numbers; it can't drop a criterion or make a hard one soft.
Invariant: each criterion can be met before its step: its evidence can be made in the stages below.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Literal, NamedTuple

import msgspec

from peak_trade.governance.criteria import MADE_IN, SIDES, Criterion, Measure
from peak_trade.governance.documents import Written, digest, read_toml
from peak_trade.governance.ladder import Rung
from peak_trade.governance.requests import PARTS
from peak_trade.model.errors import ConfigError
from peak_trade.model.stage import Stage

#: Computed from roles and moment, not from evidence; always hard, and in no policy.
ROLES_NAMED = "roles_named"
#: The playbook's blockers 4.2 of every step, `roles_named` and the runbook of the stage to come aside; and open incidents.
BLOCKERS = frozenset({"no_critical_bugs", "incidents_closed", "tests_green", "checklist_current"})
#: What is looked at once more when the decision is made, in what is known then: it may have turned while people signed.
AGAIN = BLOCKERS | {"runbook_present", "no_critical_incident"}
#: By step: what must be asked and must be hard.
HARD: dict[Rung, frozenset[str]] = {
    Rung.RESEARCH_SHADOW: frozenset(
        {
            "runbook_present",
            "backtest_history",
            "causality_proof",
            "warmup_proof",
            "determinism_proof",
            "code_reviewed",
            "limits_defined",
        }
    ),
    Rung.SHADOW_TESTNET: frozenset(
        {"runbook_present", "shadow_activity", "backtest_parity", "no_critical_incident", "limits_defined"}
    ),
    Rung.TESTNET_SHADOW_LIVE: frozenset(
        {
            "runbook_present",
            "testnet_activity",
            "shadow_parity",
            "order_success",
            "order_life_emulated",
            "no_critical_incident",
            "kill_switch_drill",
            "monitoring_alert",
            "limits_defined",
        }
    ),
    Rung.SHADOW_LIVE_LIVE: frozenset(
        {
            "runbook_present",
            "live_data_activity",
            "fill_model_error",
            "order_success",
            "no_critical_incident",
            "kill_switch_drill",
            "monitoring_alert",
            "limits_defined",
            "impact_analysis",
            "capital_allocation",
            "emergency_contacts",
        }
    ),
}
#: By step: what must be asked and may be soft (playbook, 4.3).
SOFT_OR_HARD: dict[Rung, frozenset[str]] = {
    Rung.RESEARCH_SHADOW: frozenset({"performance"}),
    Rung.SHADOW_TESTNET: frozenset({"time_in_shadow"}),
    Rung.TESTNET_SHADOW_LIVE: frozenset({"time_in_testnet"}),
    Rung.SHADOW_LIVE_LIVE: frozenset({"time_in_shadow_live", "performance"}),
}
_ORDER = list(Stage)

_Days = Annotated[int, msgspec.Meta(ge=1, le=90)]


class Policy(NamedTuple):
    """The gates; `sha256` is that of the file's bytes, by which a request is bound to it."""

    sha256: str
    request_lasts: timedelta
    approval_lasts: timedelta
    permit_lasts: Mapping[Stage, timedelta]
    criteria: Mapping[Rung, tuple[Criterion, ...]]

    def criterion(self, rung: Rung, name: str) -> Criterion | None:
        """Return a criterion of a step, None where it has none of that name."""
        return next((item for item in self.criteria[rung] if item.id == name), None)


class _ApprovalTable(Written, frozen=True, kw_only=True):
    request_days: _Days = 14
    valid_days: _Days = 14


class _PermitTable(Written, frozen=True, kw_only=True):
    shadow_days: Annotated[int, msgspec.Meta(ge=1, le=366)] = 366
    testnet_days: Annotated[int, msgspec.Meta(ge=1, le=366)] = 180
    shadow_live_days: Annotated[int, msgspec.Meta(ge=1, le=366)] = 180
    live_days: Annotated[int, msgspec.Meta(ge=1, le=366)] = 90


class _StepTable(Written, frozen=True, kw_only=True):
    criterion: tuple[Criterion, ...]


class _PolicyFile(Written, frozen=True, kw_only=True):
    format: Literal[1]
    approval: _ApprovalTable = msgspec.field(default_factory=_ApprovalTable)
    permit: _PermitTable = msgspec.field(default_factory=_PermitTable)
    blocker: tuple[Criterion, ...]
    step: dict[Rung, _StepTable]


def read_policy(content: bytes, where: str = "governance/policy.toml") -> Policy:
    """Read the policy.

    Raises:
        ConfigError: an unknown key, a wrong value, a criterion that is missing, softened, senseless or out of reach.
    """
    file = read_toml(content, _PolicyFile, where)
    if absent := [rung.value for rung in Rung if rung not in file.step]:
        raise ConfigError(f"expected criteria for every step in {where}, found none for {', '.join(absent)}")
    _check_names("blocker", [item.id for item in file.blocker], BLOCKERS, where)
    criteria = {}
    for rung in Rung:
        items = (*file.blocker, *file.step[rung].criterion)
        must = BLOCKERS | HARD[rung]
        _check_names(rung.value, [item.id for item in items], must | SOFT_OR_HARD[rung], where)
        for item in items:
            _check(item, rung, must=item.id in must or item in file.blocker, where=f"{item.id} of {rung.value} in {where}")
        criteria[rung] = items
    permit = file.permit
    days = {
        Stage.SHADOW: permit.shadow_days,
        Stage.TESTNET: permit.testnet_days,
        Stage.SHADOW_LIVE: permit.shadow_live_days,
        Stage.LIVE: permit.live_days,
    }
    return Policy(
        digest(content),
        timedelta(days=file.approval.request_days),
        timedelta(days=file.approval.valid_days),
        {stage: timedelta(days=count) for stage, count in days.items()},
        criteria,
    )


def _check_names(step: str, names: list[str], must: Iterable[str], where: str) -> None:
    if absent := sorted(set(must) - set(names)):
        raise ConfigError(
            f"expected every criterion of the playbook in {where}, found none named {absent[0]} in {step}; add it"
        )
    twice = sorted({name for name in names if names.count(name) > 1 or name == ROLES_NAMED})
    if twice:
        raise ConfigError(f"expected each criterion once in {where}, found {twice[0]} again in {step}; give it another id")


def _check(item: Criterion, rung: Rung, *, must: bool, where: str) -> None:
    if must and not item.hard:
        raise ConfigError(f"expected {where} to be hard, found it soft; set hard = true")
    if not any(_ORDER.index(MADE_IN[kind]) <= _ORDER.index(rung.lower) for kind in item.evidence):
        kinds = ", ".join(kind.value for kind in item.evidence)
        raise ConfigError(f"expected evidence for {where} that can be made in {rung.lower.value} or below, found {kinds}")
    names = [measure.name for measure in item.measure]
    if len(set(names)) != len(names):
        raise ConfigError(f"expected each measure of {where} once, found one twice; make two criteria of them")
    for measure in item.measure:
        for trouble in _troubles(measure, item):
            raise ConfigError(f"{trouble} in {where}, found {measure.take} of {measure.name}; correct that line")


def _troubles(measure: Measure, item: Criterion) -> Iterator[str]:
    """Say what is wrong with a measure: what was expected instead."""
    limits = [value for side in SIDES if (value := getattr(measure, side)) is not None]
    if measure.take == "every":
        if limits or not measure.of or measure.among or measure.furthest is not None:
            yield "expected the name of a fact and no number"
        if (measure.expected is None) == (not measure.as_requested):
            yield "expected either is or as_requested"
        if measure.as_requested and measure.as_requested not in PARTS:
            yield f"expected as_requested to be one of {', '.join(PARTS)}"
        return
    if len(limits) != 1 or not limits[0].is_finite() or measure.expected is not None or measure.as_requested:
        yield f"expected exactly one limit among {', '.join(SIDES)}"
        return
    if bool(measure.of) != (measure.take in ("sum", "largest", "smallest", "share")):
        yield "expected `of` for sum, largest, smallest and share, and for nothing else"
    if bool(measure.among) != (measure.take == "share"):
        yield "expected `among` for a share, and for nothing else"
    if measure.take == "span_days" and limits[0] >= item.max_age_days:
        yield "expected max_age_days to be more than the days asked for"
    if measure.furthest is not None:
        if item.hard:
            yield "expected furthest only where the criterion is soft"
        elif not measure.furthest.is_finite() or not looser(measure, measure.furthest):
            yield "expected furthest to be on the looser side of the limit"


def looser(measure: Measure, limit: Decimal) -> bool:
    """Tell whether another limit would let more pass."""
    now = measure.limit
    upward = measure.at_most is not None or measure.below is not None
    return now is not None and (limit > now if upward else limit < now)
