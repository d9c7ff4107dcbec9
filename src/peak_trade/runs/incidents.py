"""Incidents, written into the journal of acts: opened by people and programs, noted, closed with a cause, and reported.

    from peak_trade.runs import incidents
    incidents.open_incident(parts, key="pause.paper", severity="high", title="paper paused", why="prices look wrong", by="kim")
    incidents.report_incident(parts, key="max_daily_loss.paper", severity="high", title="...", why="...")   # from a program

Invariant: an incident is in the journal, on disk, before anyone is told its id.
Invariant: `report_incident` neither blocks nor raises; nothing here is in the way of an order.
Invariant: who opens one needs no journal that verifies; who closes one does.
"""

import atexit
import contextlib
import json
import queue
import threading
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from peak_trade.compose import Parts
from peak_trade.durable import write_text
from peak_trade.engine import records as kinds
from peak_trade.governance.files import load_roles
from peak_trade.governance.incidents import (
    CLOSED_ACT,
    KEY_MAX,
    NOTED_ACT,
    OPENED_ACT,
    SAID_MAX,
    TITLE_MAX,
    IncidentAct,
    IncidentSeverity,
    TrackedIncident,
    by_name,
    check_closing,
    check_note,
    check_opening,
    open_of_key,
    track,
)
from peak_trade.journal.chain import BEGUN, ENDED, Record, find_segment
from peak_trade.journal.registry import storable
from peak_trade.model.clock import moment_text, nanoseconds, parse_moment
from peak_trade.model.errors import CheckFailed, NotFound, PeakTradeError
from peak_trade.report.incident_report import incident_markdown
from peak_trade.runs.acts import COMMAND, EVIDENCE, MACHINE, Done, done, held, readable, written
from peak_trade.runs.alerts import alerts
from peak_trade.runs.record import Json
from peak_trade.runs.sessions.dead import lineage
from peak_trade.safety.alerts import Alert, Severity

#: Who opens what a program found.
PROGRAM = "peak-trade"
#: So long before an incident, or before the last that its session wrote, its timeline begins.
BEFORE = timedelta(minutes=30)
#: Longest timeline; what is nearest to the opening stays.
TIMELINE_MAX = 300
#: A program's repeat of what it reported is dropped for so long, seconds.
REPEAT_S = 60.0
#: How often it is tried to write what a program reported, and how long is waited in between, seconds.
TRIES, TRY_EVERY_S = 3, 2.0
#: How long a process that ends waits for that, seconds.
FLUSH_S = 15.0
#: How an alert says it.
LOUD = {
    IncidentSeverity.LOW: Severity.INFO,
    IncidentSeverity.MEDIUM: Severity.WARNING,
    IncidentSeverity.HIGH: Severity.CRITICAL,
    IncidentSeverity.CRITICAL: Severity.CRITICAL,
}
_ABOUT = frozenset({OPENED_ACT, NOTED_ACT, CLOSED_ACT})
#: Acts that have no place in a timeline: evidence that was told, and what is about incidents themselves.
_ASIDE = _ABOUT | {EVIDENCE}


def open_incident(
    parts: Parts,
    *,
    key: str,
    severity: str,
    title: str,
    why: str,
    by: str,
    session_id: str | None = None,
    via: str = COMMAND,
    reported: bool = True,
    placed: tuple[Json, ...] = (),
) -> str:
    """Open an incident; where one of that key is open, add to it. Return its id.

    Args:
        reported: whether its report is written at once, for which the session's whole journal is read.
        placed: what the act says of holds that were placed with it.

    Raises:
        InputError: a text can't be kept, or no such severity.
        StorageError: it could not be written down.
    """
    level = IncidentSeverity.parse(severity)
    if via == MACHINE:
        # Nobody is there to shorten it.
        key, title, why = _kept(key, KEY_MAX), _kept(title, TITLE_MAX), _kept(why, SAID_MAX)
    check_opening(key, title, why)
    more = {"placed": list(placed)} if placed else {}
    with held(parts):
        known = open_of_key(track(_about(readable(parts))), key)
        if known is None:
            facts = {"key": key, "severity": level.value, "title": title, "why": why, "session_id": session_id}
            with written(parts, OPENED_ACT, by, via, **facts, **more) as act:
                name = str(act.segment)
        else:
            name = known.id
            facts = {"incident": name, "severity": level.value, "words": f"{title}: {why}", "session_id": session_id}
            with written(parts, NOTED_ACT, by, via, **facts, **more):
                pass
    # It is in the journal; its report is written again with every act about it.
    if reported:
        with contextlib.suppress(PeakTradeError, OSError):
            write_report(parts, track(_about(readable(parts)))[name])
    return name


def add_note(parts: Parts, name: str, words: str, by: str, via: str = COMMAND) -> TrackedIncident:
    """Add to an incident, open or closed.

    Raises:
        NotFound: there is none. InputError: the note can't be kept. CheckFailed: the journal of acts does not verify.
    """
    check_note(words)
    found = by_name(tracked(parts), name)
    with held(parts), written(parts, NOTED_ACT, by, via, incident=found.id, words=words):
        pass
    return _reported(parts, found.id)


def close_incident(parts: Parts, name: str, by: str, cause: str, follow_up: str, via: str = COMMAND) -> TrackedIncident:
    """Close an incident, with its cause and what follows from it.

    Raises:
        NotFound: there is none. InputError: it is closed, or something is not said or not by somebody who may.
        CheckFailed: the journal of acts does not verify. StorageError: the disk refused.
    """
    people = people_of(parts)
    with held(parts):
        found = by_name(tracked(parts), name)
        check_closing(found, by, people, cause, follow_up)
        with written(parts, CLOSED_ACT, by, via, incident=found.id, cause=cause, follow_up=follow_up):
            pass
    alerts.recovered(parts, alert_key(found.key))
    return _reported(parts, found.id)


def tracked(parts: Parts) -> dict[str, TrackedIncident]:
    """Return every incident by its id, the oldest first.

    Raises:
        CheckFailed: the journal of acts is not as it was written.
    """
    return track(_about(done(parts)))


def open_criticals(acts: Iterable[Done], at: datetime) -> int:
    """Return how many critical incidents were open at a moment."""
    return sum(item.blocks for item in track(item for item in _about(acts) if item.at <= at).values())


def people_of(parts: Parts) -> frozenset[str]:
    """Return who is named in the roles and may act now; nobody where there is no such file."""
    try:
        people = load_roles(parts.settings.root).people
    except NotFound:
        return frozenset()
    return frozenset(name for name, person in people.items() if person.valid(parts.clock.now()))


def tell(parts: Parts, incident: TrackedIncident) -> None:
    """Tell people of an incident. Neither blocks nor raises."""
    text = f"{incident.why}; peak-trade incident show {incident.id}"
    alerts.tell(parts, Alert(alert_key(incident.key), LOUD[incident.severity], incident.title, text))


def alert_key(key: str) -> str:
    """Return the key of the alerts about an incident."""
    return f"incident.{key}"


def _about(acts: Iterable[Done]) -> Iterator[IncidentAct]:
    for act in acts:
        if act.action in _ABOUT:
            body = act.begun.body
            yield IncidentAct(act.action, act.segment, parse_moment(act.begun.at), str(body["by"]), body, act.went_well)


def _reported(parts: Parts, name: str) -> TrackedIncident:
    found = tracked(parts)[name]
    write_report(parts, found)
    return found


# ---- the report ------------------------------------------------------------------------------------------------------


def reports_folder(parts: Parts) -> Path:
    """Return where reports of incidents lie."""
    return parts.settings.folder(parts.settings.file.paths.reports) / "incidents"


def write_report(parts: Parts, incident: TrackedIncident) -> Path:
    """Write an incident's report, Markdown and JSON, over the one before; return the Markdown's path.

    Raises:
        StorageError: the disk refused.
    """
    facts = facts_of_incident(parts, incident)
    path = reports_folder(parts) / f"{incident.id}.md"
    write_text(path.with_suffix(".json"), json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    write_text(path, incident_markdown(facts))
    return path


def facts_of_incident(parts: Parts, incident: TrackedIncident) -> Json:
    """Return an incident with its timeline as a JSON object; moments are ISO 8601, UTC."""
    try:
        entries, left_out, remarks = _timeline(parts, incident)
    except PeakTradeError as error:
        entries, left_out, remarks = [], 0, [f"its timeline can't be told: {error}"]
    return {
        "id": incident.id,
        "key": incident.key,
        "severity": incident.severity.value,
        "open": incident.is_open,
        "title": incident.title,
        "why": incident.why,
        "by": incident.by,
        "opened_at": _stamp(incident.opened_at),
        "session_id": incident.session_id,
        "notes": [{"at": _stamp(note.at), "by": note.by, "words": note.words} for note in incident.notes],
        "closed_at": None if incident.closed_at is None else _stamp(incident.closed_at),
        "closed_by": incident.closed_by or None,
        "cause": incident.cause or None,
        "follow_up": incident.follow_up or None,
        "timeline": entries,
        "left_out": left_out,
        "remarks": remarks,
    }


def _timeline(parts: Parts, incident: TrackedIncident) -> tuple[list[Json], int, list[str]]:
    """Return what happened around an incident, the oldest first, how much more there was, and what can't be told."""
    remarks: list[str] = []
    mine: list[Record] = []
    if incident.session_id is not None:
        try:
            path = find_segment(parts.journal, incident.session_id)
            mine = list(lineage(parts.journal, path.parent.name, incident.session_id))
        except PeakTradeError as error:
            remarks.append(f"the session {incident.session_id} can't be read: {error}")
    last = parse_moment(mine[-1].at) if mine else incident.opened_at
    since, until = min(incident.opened_at, last) - BEFORE, incident.closed_at or parts.clock.now()
    entries = [
        {"at": record.at, "source": "session", "what": record.kind, "words": words}
        for record in mine
        if since <= parse_moment(record.at) <= until and (words := said_of(record)) is not None
    ]
    try:
        acts = done(parts)
    except CheckFailed as error:
        acts, words = readable(parts), f"the journal of acts does not verify: {error}"
        remarks.append(words)
    for act in acts:
        at = parse_moment(act.begun.at)
        if since <= at <= until and act.action not in _ASIDE:
            entries.append({"at": act.begun.at, "source": "act", "what": act.action, "words": _said_by(act)})
    opened = incident.opened_at
    nearest = sorted(entries, key=lambda item: abs(parse_moment(str(item["at"])) - opened))[:TIMELINE_MAX]
    return sorted(nearest, key=lambda item: str(item["at"])), len(entries) - len(nearest), remarks


def said_of(record: Record) -> str | None:
    """Return what a record of a session says to who looks into an incident; None for what happens all the time."""
    body = record.body
    match record.kind:
        case kinds.TRIPPED | kinds.INCIDENT:
            return f"{body['mode']} by {body['code']}: {body['words']}"
        case kinds.REFUSED:
            reasons = "; ".join(f"{item['code']}: {item['words']}" for item in body["reasons"])
            return f"{_order_words(body['intent'])} refused: {reasons}"
        case kinds.SENDING:
            return f"{_order_words(body['intent'])} sent"
        case kinds.FILLED:
            return f"{body['symbol']} {body['quantity']} filled at {body['price']}"
        case kinds.CLOSED:
            return f"{body['client_id']} {body['event']}: {body['why'] or 'done'}"
        case kinds.REJECTED | kinds.UNKNOWN | kinds.CANCEL_LOST:
            return f"{body['client_id']}: {body['words']}"
        case kinds.ABSENT | kinds.CANCELLING | kinds.ADOPTED:
            return str(body["client_id"])
        case kinds.SETTLING:
            return str(body["fault"])
        case _ if record.kind in (BEGUN, ENDED):
            return str(body.get("status") or body.get("error") or "the session began")
    return None


def _order_words(intent: Json) -> str:
    return f"{intent.get('kind', 'order')} {intent.get('symbol', '')} {intent.get('quantity', '')}".strip()


def _said_by(act: Done) -> str:
    body = act.begun.body
    told = [f"by {body['by']}"]
    told += [f"{name}={body[name]}" for name in ("account", "session_id", "strategy", "to", "level") if body.get(name)]
    told += [str(body["why"])] if isinstance(body.get("why"), str) else []
    return ", ".join(told) + ("" if act.went_well else " (not done to its end)")


def _stamp(at: datetime) -> str:
    return moment_text(nanoseconds(at))


# ---- from programs ---------------------------------------------------------------------------------------------------


class _Report(NamedTuple):
    """What a program reported."""

    key: str
    severity: str
    title: str
    why: str
    session_id: str | None
    placed: tuple[Json, ...]


class _Reporter:
    """What waits to be written down, and the thread that does it; one for each state folder of a process."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._queue: queue.SimpleQueue[_Report | threading.Event] = queue.SimpleQueue()
        self._told: dict[tuple[str, str], float] = {}
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def put(self, item: _Report | threading.Event) -> None:
        if isinstance(item, _Report):
            now, same = self._parts.clock.elapsed_s(), (item.key, item.severity)
            if now - self._told.get(same, -REPEAT_S) < REPEAT_S:
                return
            self._told[same] = now
        self._queue.put(item)
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="incidents", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            item = self._queue.get()
            if isinstance(item, threading.Event):
                item.set()
            else:
                with contextlib.suppress(Exception):
                    self._write(item)

    def _write(self, item: _Report) -> None:
        words = ""
        for number in range(TRIES):
            try:
                # Parts of its own: what the trading thread has open is not for two threads at once.
                with contextlib.closing(Parts(self._parts.settings)) as parts:
                    # Whoever reports may be trading: a long journal is not read within its process.
                    open_incident(parts, **item._asdict(), by=PROGRAM, via=MACHINE, reported=False)
            except PeakTradeError as error:
                words = str(error)
            else:
                return
            if number < TRIES - 1:
                threading.Event().wait(TRY_EVERY_S)
        text = f"{item.title}: {item.why}; it could not be written down as an incident: {words}"
        alerts.tell(self._parts, Alert(alert_key(item.key), Severity.CRITICAL, "An incident is not in the journal", text))


_REPORTERS: dict[Path, _Reporter] = {}


def report_incident(
    parts: Parts,
    *,
    key: str,
    severity: str,
    title: str,
    why: str,
    session_id: str | None = None,
    placed: tuple[Json, ...] = (),
) -> None:
    """Have an incident opened by another thread, for programs; texts are cut to their limits. Neither blocks nor raises.

    A repeat of the same key and severity within a minute is dropped. What can't be written down is told as an alert.
    """
    with contextlib.suppress(Exception):
        reporter = _REPORTERS.get(parts.state)
        if reporter is None:
            reporter = _REPORTERS.setdefault(parts.state, _Reporter(parts))
        reporter.put(_Report(_kept(key, KEY_MAX), severity, str(title), str(why), session_id, placed))


def flush_reports(parts: Parts, wait_s: float = FLUSH_S) -> bool:
    """Wait until what programs of this process reported is written; False where that took longer."""
    reporter = _REPORTERS.get(parts.state)
    if reporter is None:
        return True
    mark = threading.Event()
    reporter.put(mark)
    return mark.wait(wait_s)


@atexit.register
def _flush_all() -> None:
    """Let a process that ends write what it reported."""
    with contextlib.suppress(Exception, KeyboardInterrupt):
        for reporter in list(_REPORTERS.values()):
            mark = threading.Event()
            reporter.put(mark)
            mark.wait(FLUSH_S)


def _kept(text: str, most: int) -> str:
    """Return text that an incident can keep."""
    line = "".join(mark if mark.isprintable() else " " for mark in storable(str(text)) or "").strip() or "unknown"
    return line if len(line) <= most else f"{line[: most - 3]}..."
