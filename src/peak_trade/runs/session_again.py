"""Deciding a recorded session again, from its journal alone, and drawing its report anew."""

import asyncio
import json
from dataclasses import dataclass
from datetime import timedelta

from peak_trade.compose import Parts
from peak_trade.engine.engine import Engine
from peak_trade.engine.replay import Replayed, replay
from peak_trade.engine.runner import Course, Outlook
from peak_trade.engine.tape import Tape
from peak_trade.journal.chain import ENDED, Record, find_segment, read
from peak_trade.model.errors import CheckFailed, DataError
from peak_trade.runs.record import Json
from peak_trade.runs.session import lineage
from peak_trade.runs.session_plan import SessionPlan, recorded_plan


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


def redecide(parts: Parts, session_id: str) -> Redecided:
    """Decide a session again from its journal and its bars.

    Raises:
        NotFound: no such session has a journal.
        DataError: the journal can't be read.
        InputError: the bars are gone or others.
    """
    path = find_segment(parts.journal, session_id)
    records = list(lineage(parts.journal, path.parent.name, path.stem))
    last = records[-1] if records[-1].kind == ENDED else None
    plan = recorded_plan(parts, spec_of(records))
    tape = Tape(records)
    origin = str(next(read(path)).body["origin"])
    engine = Engine(plan.engine_plan(origin), None, None, tape, parts.clock)
    difference, found = None, None
    try:
        found = asyncio.run(replay(engine, outlook_of(plan), None if last is None else int(last.body["tick"])))
        if tape.left:
            difference = f"the journal goes on at record {tape.head.seq} with {tape.head.kind}, and the engine does not"
    except CheckFailed as error:
        difference = str(error)
    return Redecided(
        session_id=path.stem,
        records=tape.played,
        bars=engine.state.bars,
        then=None if last is None else last.body["decisions_sha256"],
        now=found.state.digest if isinstance(found, Replayed) else None,
        difference=difference,
    )


def spec_of(records: list[Record]) -> Json:
    """Return the specification that a session's first record holds."""
    try:
        spec: Json = json.loads(records[0].body["spec"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError("journal", f"expected a specification in the journal's first record, found none: {error}") from error
    return spec


def outlook_of(plan: SessionPlan) -> Outlook:
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
    )
