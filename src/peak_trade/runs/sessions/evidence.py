"""What one session shows, worked out from its journal and its bars; a gate measures in it.

Invariant: it is a function of the journal: the same records give the same facts, whoever asks and whenever.
A session of several strategies shows nothing about any of them alone, and is no evidence.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from peak_trade.compose import Parts
from peak_trade.engine.records import INCIDENT
from peak_trade.engine.runner import KILL_SWITCH
from peak_trade.governance.criteria import Evidence, EvidenceKind, Subject
from peak_trade.governance.documents import Fact
from peak_trade.governance.ladder import StrategyVersion
from peak_trade.journal.chain import ENDED, Record
from peak_trade.journal.run import RunStatus, sha256_of
from peak_trade.model.address import is_loopback
from peak_trade.model.bar import F64
from peak_trade.model.clock import parse_moment
from peak_trade.model.errors import PeakTradeError
from peak_trade.model.order import Fill
from peak_trade.model.stage import Stage
from peak_trade.risk.gate import Mode
from peak_trade.runs.sessions.again import spec_of
from peak_trade.runs.sessions.checks import checks_of
from peak_trade.runs.sessions.expectation import expectation
from peak_trade.runs.sessions.marks import marks_of, reached_bars, standing_of
from peak_trade.runs.sessions.plan import SessionPlan, recorded_plan
from peak_trade.runs.sessions.record import story_of

#: Modes that only a person can leave.
_LATCHED = frozenset({Mode.PAUSED.value, Mode.KILLED.value})
#: What orders are counted by, where no exchange was asked.
_ANSWERED = ("opened", "adopted", "rejected", "absent")
#: What a session of each stage may prove, at an exchange that is one.
KINDS = {
    Stage.SHADOW: EvidenceKind.SHADOW,
    Stage.TESTNET: EvidenceKind.VALIDATE_ONLY,
    Stage.SHADOW_LIVE: EvidenceKind.LIVE_DATA,
    Stage.LIVE: EvidenceKind.LIVE_DATA,
}


def subject_of(begun: Record) -> Subject | None:
    """Return what a session is about, from its first record; None where that is no single strategy version."""
    try:
        spec = json.loads(begun.body["spec"])
        [(key, params)] = spec["strategies"]
        symbols = [item["choice"]["symbol"] for item in spec["data"]]
        code = json.loads(begun.body["versions"])["strategy"]
    except (KeyError, TypeError, ValueError):
        return None
    version = StrategyVersion(key=key, params_sha256=sha256_of(params), code_sha256=code)
    return Subject(strategy=version, symbols=tuple(sorted(set(symbols))))


def kind_of(begun: Record) -> EvidenceKind:
    """Return what a session may prove; one against an address of this machine is one of an emulator, whatever its stage."""
    spec = json.loads(begun.body["spec"])
    places = [item["followed_at"] for item in spec["data"] if "followed_at" in item]
    return EvidenceKind.EMULATOR if any(map(is_loopback, places)) else KINDS[Stage(spec["mode"])]


def session_evidence(parts: Parts, session_id: str, records: Sequence[Record], subject: Subject, *, sound: bool) -> Evidence:
    """Return what a session shows.

    Args:
        records: of it and of the dead ones that it goes on with, oldest first.
        sound: whether its journal is as it was written; where it is not, nothing in it counts.
    """
    last = records[-1]
    facts: dict[str, Fact] = facts_of(parts, records) if sound else {"journal_sound": False}
    return Evidence(
        kind=kind_of(records[0]),
        run_id=session_id,
        sha256=last.sha256,
        at=parse_moment(last.at),
        facts=facts,
        subject=subject,
    )


def so_far(session_id: str, records: Sequence[Record], subject: Subject, *, sound: bool) -> Iterator[Evidence]:
    """Yield what a session that is not over shows: only that it stopped for good, which its end would make no better.

    Args:
        records: until the moment that is asked about.
    """
    facts: dict[str, Fact] = {"journal_sound": False}
    last = records[-1]
    if sound and (latched := _latched(records)):
        last = latched[-1]
        facts = {"journal_sound": True, "started_at": records[0].at, "finished_at": last.at, "critical_incidents": len(latched)}
    elif sound:
        return
    at = parse_moment(last.at)
    yield Evidence(kind=kind_of(records[0]), run_id=session_id, sha256=last.sha256, at=at, facts=facts, subject=subject)


def facts_of(parts: Parts, records: Sequence[Record]) -> dict[str, Fact]:
    """Return the facts of a session whose journal is sound; what can't be worked out is left out, and counts for nothing."""
    last = records[-1]
    facts: dict[str, Fact] = {
        "journal_sound": True,
        "started_at": records[0].at,
        "finished_at": last.at,
        "critical_incidents": _critical(records),
    }
    try:
        plan = recorded_plan(parts, spec_of(list(records)), records)
        facts |= _compared(parts, plan, records)
    except (PeakTradeError, KeyError, TypeError, ValueError, ArithmeticError, IndexError):
        # Its bars are gone, or its records make no session: it states nothing, which leaves a gate inconclusive.
        return facts
    return facts | _answers(records, followed=plan.followed)


def _critical(records: Sequence[Record]) -> int:
    """Return how often a session stopped by itself for good, other than by the kill switch, and whether it failed."""
    failed = records[-1].kind == ENDED and records[-1].body["status"] == RunStatus.FAILED.value
    return max(len(_latched(records)), int(failed))


def _latched(records: Sequence[Record]) -> list[Record]:
    """Return the incidents that stopped a session for good, other than by the kill switch."""
    return [
        record
        for record in records
        if record.kind == INCIDENT and record.body["mode"] in _LATCHED and record.body["code"] != KILL_SWITCH
    ]


def _compared(parts: Parts, plan: SessionPlan, records: Sequence[Record]) -> dict[str, Fact]:
    """Return how a session compares with its backtest over the same bars, and what it made."""
    story = story_of(records)
    stamps, equity, _ = marks_of(plan, story.fills, reached_bars(records))
    marked = [fill for fill in story.fills if len(stamps) and fill.bar_ns < stamps[-1]]
    closings = plan.first.bars.timestamp + plan.first.bars.timeframe.step_ns
    completed = int(np.searchsorted(closings, stamps[-1], side="right")) if len(stamps) else 0
    wanted, expected = expectation(parts, plan, standing_of(plan, marked, stamps), completed, marked)
    facts: dict[str, Fact] = {"trades": _round_trips(marked)}
    if wanted is None or expected is None:
        return facts
    matched = int(wanted["matched"])
    mine = equity[np.isin(stamps, closings[:completed])]
    facts |= {
        "fills": matched + int(wanted["actual_only"]) + int(wanted["expected_only"]),
        "fills_equal": matched,
        "max_drawdown": digits(_drawdown(equity)),
    }
    together = correlation(mine, expected[: len(mine)])
    return facts if together is None else facts | {"correlation": digits(together)}


def _answers(records: Sequence[Record], *, followed: bool) -> dict[str, Fact]:
    """Return how many orders got an answer, and how many of these a yes."""
    if followed:
        checks = checks_of(records)
        facts: dict[str, Fact] = {"orders": checks.replies.total(), "orders_valid": checks.replies["accepted"]}
        if checks.slippage_bps:
            error = sum(map(abs, checks.slippage_bps)) / len(checks.slippage_bps)
            facts["fill_error_bps"] = digits(error)
        return facts
    kinds = [record.kind for record in records if record.kind in _ANSWERED]
    return {"orders": len(kinds), "orders_valid": sum(kind in ("opened", "adopted") for kind in kinds)}


def correlation(mine: F64, other: F64) -> float | None:
    """Return Pearson's correlation of the changes of two equity curves of one length, -1 to 1.

    Curves that are the same go together whatever they do, also where neither moves; None for fewer than two changes or
    where only one of them moves, of which nothing can be said.
    """
    if len(mine) != len(other) or len(mine) < 3:
        return 1.0 if len(mine) == len(other) and len(mine) and np.array_equal(mine, other) else None
    first, second = np.diff(mine), np.diff(other)
    if np.allclose(mine, other, rtol=1e-9, atol=0.0):
        return 1.0
    if not first.any() or not second.any():
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _round_trips(fills: Sequence[Fill]) -> int:
    """Return how often a position came back to nothing or changed its side."""
    held: dict[tuple[str, str], Any] = {}
    closed = 0
    for fill in fills:
        place = (fill.leg, fill.symbol)
        before = held.get(place, 0)
        held[place] = after = before + fill.quantity
        closed += bool(before) and (not after or (after > 0) != (before > 0))
    return closed


def _drawdown(equity: F64) -> float:
    """Return the largest fall from a height, as a fraction of it."""
    if not len(equity):
        return 0.0
    heights = np.maximum.accumulate(equity)
    return float(np.max(1 - equity / heights))


def digits(value: float) -> str:
    """Return a number as a fact: text with nine digits behind the point."""
    return f"{value:.9f}"
