"""Deciding a recorded session again, from its journal alone, and drawing its report anew."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from peak_trade.compose import Parts
from peak_trade.engine.engine import Engine
from peak_trade.engine.records import recorded_ticks
from peak_trade.engine.replay import Replayed, replay
from peak_trade.engine.runner import Course, Outlook
from peak_trade.engine.tape import Tape
from peak_trade.journal.chain import ENDED, Record, find_segment
from peak_trade.journal.run import RunStatus, sha256_of
from peak_trade.model.errors import CheckFailed, DataError
from peak_trade.runs.record import Json
from peak_trade.runs.sessions.checks import checks_of
from peak_trade.runs.sessions.dead import flaws_of, lineage
from peak_trade.runs.sessions.expectation import expectation
from peak_trade.runs.sessions.files import series_of, write_session, write_session_sheet
from peak_trade.runs.sessions.plan import SessionPlan, recorded_plan
from peak_trade.runs.sessions.record import SessionFacts, exact_figures, metrics_of, session_document, story_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Redecided:
    """How a session compares with itself decided again.

    Attributes:
        records: those of the journal that came out again, remarks aside; bars: those that were decided on.
        then, now: hash over all verdicts in the journal's end and today; then is None where the journal has no end.
        difference: what came out otherwise, in words; None where nothing did.
    """

    session_id: str
    records: int
    bars: int
    then: str | None
    now: str | None
    difference: str | None

    @property
    def identical(self) -> bool:
        """Whether every decision is the same."""
        return self.difference is None and self.then in (None, self.now)

    def to_json(self) -> Json:
        """Return the comparison as a JSON object."""
        return {
            "session_id": self.session_id,
            "identical": self.identical,
            "complete": self.then is not None,
            "records": self.records,
            "bars": self.bars,
            "decisions_sha256": {"then": self.then, "now": self.now},
            "difference": self.difference,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A journal played through the engine; `found` is None where the engine decided otherwise."""

    path: Path
    plan: SessionPlan
    records: list[Record]
    last: Record | None
    tape: Tape
    engine: Engine
    found: Replayed | None
    difference: str | None


def play(parts: Parts, session_id: str) -> Played:
    """Play a session's journal through the engine.

    Raises:
        NotFound: no such session has a journal.
        DataError: the journal can't be read.
        InputError: the bars are gone or others.
    """
    path = find_segment(parts.journal, session_id)
    if wrong := flaws_of(parts, path.parent.name, path.stem):
        raise CheckFailed(
            f"expected the journal of session {path.stem} as it was written, found {wrong}; "
            "peak-trade journal verify tells more"
        )
    records = list(lineage(parts.journal, path.parent.name, path.stem))
    last = records[-1] if records[-1].kind == ENDED else None
    plan = recorded_plan(parts, spec_of(records), records)
    tape = Tape(records)
    engine = Engine(plan.engine_plan(str(records[0].body["origin"])), None, None, tape, parts.clock)
    difference, found = None, None
    try:
        found = asyncio.run(replay(engine, outlook_of(plan, records), None if last is None else int(last.body["tick"])))
        if tape.left:
            difference = f"the journal goes on at record {tape.head.seq} with {tape.head.kind}, and the engine does not"
    except CheckFailed as error:
        difference = str(error)
    return Played(
        path=path, plan=plan, records=records, last=last, tape=tape, engine=engine, found=found, difference=difference
    )


def redecide(parts: Parts, session_id: str) -> Redecided:
    """Decide a session again from its journal and its bars, and compare every decision.

    Raises:
        NotFound, DataError, InputError: as `play` does.
    """
    played = play(parts, session_id)
    return Redecided(
        session_id=played.path.stem,
        records=played.tape.played,
        bars=played.engine.state.bars,
        then=None if played.last is None else played.last.body["decisions_sha256"],
        now=None if played.found is None else played.found.state.digest,
        difference=played.difference,
    )


def remake_session(parts: Parts, session_id: str) -> Path:
    """Write a session's folder anew from its journal; return its page.

    Raises:
        CheckFailed: it is not decided as its journal says, or the journal does not have the end that the registry has.
    """
    session = parts.sessions.get(session_id)
    played = play(parts, session.session_id)
    if session.run.status is RunStatus.COMPLETED and played.last is None:
        raise CheckFailed(
            f"expected the end of session {session.session_id} in its journal, because the registry has it as completed, found "
            "none; the journal was cut: peak-trade journal verify"
        )
    if played.difference is not None or played.found is None:
        raise CheckFailed(f"expected session {session.session_id} to be decided as before; {played.difference}")
    state, story = played.found.state, story_of(played.records)
    wanted, equity = expectation(parts, played.plan, state, played.found.completed, story.fills)
    checks = checks_of(played.records) if played.plan.followed else None
    told = SessionFacts(
        plan=played.plan,
        session=session,
        state_json=exact_figures(played.plan, state, story.incidents),
        metrics=metrics_of(played.plan, state) | (checks.metrics() if checks else {}),
        records=len(played.records),
        ended_by=str(played.last.body["ended_by"] or "") if played.last else "",
        checks=checks.to_json() if checks else None,
    )
    series = series_of(played.plan, played.found.marks, story, equity)
    return write_session_sheet(write_session(parts, session_document(told, wanted), series))


def spec_of(records: list[Record]) -> Json:
    """Return the specification that a session's first record holds."""
    try:
        spec: Json = json.loads(records[0].body["spec"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError("journal", f"expected a specification in the journal's first record, found none: {error}") from error
    if sha256_of(spec) != records[0].body["spec_sha256"]:
        raise DataError(
            "journal", "expected the specification that the journal's first record names by its hash, found another"
        )
    return spec


def outlook_of(plan: SessionPlan, records: Sequence[Record]) -> Outlook:
    """Return what a replay looks at; everything that belongs to a live session is left out."""
    return Outlook(
        series={symbol: dataset.bars for symbol, dataset in plan.datasets.items()},
        deciders=plan.deciders(timed=False),
        traded_from=next(iter(plan.traded_from.values())),
        course=Course(),
        speed=None,
        heartbeat=None,
        max_clock_skew=timedelta.max,
        sign=lambda: None,
        progress=lambda _ticks: None,
        past=list(recorded_ticks(records)) if plan.followed else None,
    )
