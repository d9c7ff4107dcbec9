"""Everything that keeps an installation safe, as the dashboard shows it: what holds, what watches, what went wrong, what to do.

Invariant: it only reads; what can't be read is told as that, and hides nothing else.
Invariant: no page waits longer than a second for the journal of acts to be verified: what was known before is shown meanwhile.
"""

import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from peak_trade.compose import Parts
from peak_trade.engine.records import INCIDENT, TRIPPED
from peak_trade.governance.incidents import TrackedIncident, by_name
from peak_trade.journal.chain import Record
from peak_trade.journal.run import RunStatus
from peak_trade.journal.session import LIVE_SESSION_EMULATED, Session
from peak_trade.journal.sessions import SessionFilter
from peak_trade.model.clock import moment_text, nanoseconds, parse_moment
from peak_trade.model.errors import CheckFailed, DataError, NotFound, PeakTradeError
from peak_trade.risk.triggers import (
    API_ERROR_RATE,
    CORE_EXCEPTION,
    DAILY_LOSS,
    DATA_GAP,
    DEMANDS,
    PNL_DIVERGENCE,
    SUPERVISOR_LOST,
)
from peak_trade.runs.acts import EVIDENCE, Done, done
from peak_trade.runs.backups.backup import FOLDER, archives_in
from peak_trade.runs.drills.evidence import standings
from peak_trade.runs.gates.repository import CHECKOUT
from peak_trade.runs.gates.view import seen as acts_seen
from peak_trade.runs.incidents import facts_of_incident, tracked
from peak_trade.runs.overview.status import SESSIONS_MAX, status
from peak_trade.runs.schedule.record import scheduler_at_work, states_of
from peak_trade.runs.sessions.dead import lineage
from peak_trade.runs.supervision import supervisor
from peak_trade.runs.supervision.supervisor import Aside
from peak_trade.runs.supervisor_sign import supervisor_trouble
from peak_trade.runs.trading.watch import COMPARE_S
from peak_trade.safety.holds import UNREADABLE, Hold
from peak_trade.webui.desk import SafetyDesk, Urgent

Json = dict[str, Any]

#: How long a page waits for the journal of acts to be verified, and for how long an answer is kept at least while nothing is
#: written, seconds; and as many times as long as it took.
WAIT_S, AGE_S, REST = 1.0, 30.0, 20.0
#: Codes by which a session stops opening positions because of the timer at its exchange; they begin with this.
DEAD_MAN = "dead_man_"
#: The folder of runbooks, in that of the configuration and in the checkout, and their longest text, bytes.
RUNBOOKS, RUNBOOK_MAX = Path("docs") / "runbooks", 500_000
_RUNBOOK = re.compile(r"[a-z][a-z0-9_]{0,63}")
_DRILL = re.compile(r"peak-trade drill run ([a-z][a-z0-9-]{0,63})")
_ARCHIVED = re.compile(r"peak-trade-(\d{8}T\d{6})\d{3}Z-")


def safety_of(parts: Parts) -> SafetyDesk:
    """Return what the pages of safety read."""
    record = RecordWatch(parts)
    return SafetyDesk(
        overview=lambda: overview(parts, parts.clock.now()),
        incidents=lambda: incidents_view(parts),
        incident=lambda name: facts_of_incident(parts, by_name(tracked(parts), name)),
        drills=lambda: drills_view(parts),
        runbooks=lambda: runbooks_view(parts),
        runbook=lambda name: runbook_view(parts, name),
        urgent=lambda: urgent(parts, record),
        seen=lambda: seen(parts, record),
    )


# ---- what needs a person now -----------------------------------------------------------------------------------------


class RecordSight(NamedTuple):
    """The titles of critical incidents that are open, why the record can't be trusted, and why it can't be read; else empty."""

    critical: tuple[str, ...] = ()
    damaged: str = ""
    unread: str = ""


class RecordWatch:
    """Looks, in a thread of its own, whether the journal of acts is as it was written, and what critical incidents are open."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._aside: Aside[RecordSight] = Aside()
        self._turn = threading.Lock()
        self._asked_of: object = None
        self._begun_s, self._until_s = 0.0, 0.0
        self._kept = RecordSight()

    def get(self) -> RecordSight:
        """Return what was found out last; before anything was, nothing is wrong."""
        if not self._turn.acquire(timeout=WAIT_S):
            return self._kept
        try:
            return self._look()
        finally:
            self._turn.release()

    def _look(self) -> RecordSight:
        now_s, of = self._parts.clock.elapsed_s(), acts_seen(self._parts)
        asked = False
        if (of != self._asked_of or now_s >= self._until_s) and self._aside.ask(self._found):
            asked, self._asked_of, self._begun_s = True, of, now_s
        if (told := self._aside.take(WAIT_S if asked else 0.0)) is not None:
            now_s = self._parts.clock.elapsed_s()
            self._until_s = now_s + max(AGE_S, (now_s - self._begun_s) * REST)
            self._kept = told.value or RecordSight(unread=told.why_not)
        return self._kept

    def _found(self) -> RecordSight:
        try:
            blocking = [item for item in tracked(self._parts).values() if item.blocks]
        except CheckFailed as error:
            return RecordSight(damaged=str(error))
        return RecordSight(critical=tuple(item.title for item in blocking))


def urgent(parts: Parts, record: RecordWatch) -> Urgent:
    """Return what stands at the top of every page; nothing of it takes long."""
    level = parts.kill_switch.level()
    sight = record.get()
    unwatched = ""
    with suppress(PeakTradeError):
        unwatched = supervisor_trouble(parts) or ""
    return Urgent("" if level is None else level.value, parts.holds.accounts(), unwatched, *sight)


def seen(parts: Parts, record: RecordWatch) -> tuple[object, ...]:
    """Return what changes when something of `urgent` does, or a hold is placed or lifted."""
    found = urgent(parts, record)
    return (*found[:2], bool(found.unwatched), *found[3:], [_entries(parts.holds.folder / name) for name in found.held])


def _entries(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(entry.name for entry in os.scandir(folder)))
    except OSError as error:
        return (str(error.errno),)


# ---- the overview ----------------------------------------------------------------------------------------------------


def overview(parts: Parts, now: datetime) -> Json:
    """Return everything that keeps orders back and everything that watches, as a JSON object; moments are ISO 8601, UTC."""
    troubles: list[str] = []

    def told(what: str, look: Callable[[], Any]) -> Any:
        try:
            return look()
        except PeakTradeError as error:
            troubles.append(f"{what} can't be told: {error}")
            return None

    state, level = status(parts, now), parts.kill_switch.level()
    killed = None if level is None else {**(state["kill_switch"] or {}), "level": level.value}
    kept = told("sessions", lambda: _started(parts)) or {}
    sessions = [_watched(parts, line, kept.get(str(line["session_id"]))) for line in state["sessions"]]
    watching = supervisor.report(parts)
    return {
        "at": state["at"],
        "kill_switch": killed,
        "locks": state["locks"],
        "wants": state["wants"],
        "holds": [_hold(parts, account, hold) for account in parts.holds.accounts() for hold in parts.holds.of(account)],
        "triggers": [_trigger(code, mode.value, _limits(parts)[code], sessions) for code, mode in DEMANDS.items()],
        "sessions": sessions,
        "watch_closely": state["watch_closely"],
        "supervisor": {name: value for name, value in watching.items() if name != "alarms"}
        | {"sign_age_s": _age(watching["sign_at"], now), "alarms": [_alarm(item) for item in _objects(watching["alarms"])]}
        | {"sessions": [_sight(item) for item in _objects(watching["sessions"])]}
        | {name: _words(watching[name]) for name in ("deeds", "not_seen")},
        "scheduler": told("the scheduler", lambda: scheduler_facts(parts)),
        "backup": told("backups", lambda: backup_facts(parts, now)),
        "troubles": troubles,
    }


def _started(parts: Parts) -> dict[str, Session]:
    started = SessionFilter(status=RunStatus.STARTED.value)
    return {str(item.session_id): item for item in parts.sessions.find(started, SESSIONS_MAX)}


def _hold(parts: Parts, account: str, hold: Hold) -> Json:
    body = hold._asdict() | {"kind": hold.kind.value, "strategies": list(hold.strategies), "keys": list(hold.keys)}
    reaches = list(parts.holds.reaches(account, hold))
    return {"account": account, **body, "reaches": reaches, "readable": hold.code != UNREADABLE}


def _watched(parts: Parts, line: Json, session: Session | None) -> Json:
    """Add to a running session what stopped it so far, the last of each code, and whether it keeps a timer at an exchange."""
    try:
        found = firings_in(lineage(parts.journal, str(line["account"]), str(line["session_id"])))
        unread = ""
    except PeakTradeError as error:
        found, unread = {}, str(error)
    armed = session is not None and session.run.run_type == LIVE_SESSION_EMULATED
    lapses = [item for code, item in found.items() if code.startswith(DEAD_MAN)]
    return {
        **line,
        "session_id": str(line["session_id"]),
        "firings": list(found.values()),
        "unread": unread,
        "dead_man": {"kept": armed, "last": lapses[-1] if lapses else None},
    }


def firings_in(records: Iterable[Record]) -> dict[str, Json]:
    """Return what stopped or restricted a session, the last of each code: when, into which mode, and the numbers it saw."""
    found: dict[str, Json] = {}
    for record in records:
        if record.kind in (TRIPPED, INCIDENT):
            body = record.body
            code = str(body["code"])
            evidence = body.get("evidence") or found.get(code, {}).get("evidence", {})
            told = {"code": code, "at": record.at, "mode": str(body["mode"]), "words": str(body["words"])}
            found[code] = told | {"evidence": {str(name): str(value) for name, value in dict(evidence).items()}}
    return found


def _limits(parts: Parts) -> dict[str, Json]:
    """Return thresholds and windows of each trigger as text; names end with their unit."""
    given, limits, watching = (getattr(parts.settings.file, name) for name in ("pause_triggers", "live_risk", "supervisor"))
    found: dict[str, Json] = {
        API_ERROR_RATE: {
            "share_pct": given.api_error_pct,
            "window_s": given.api_error_window_s,
            "errors": given.api_errors_min,
            "requests": given.api_requests_min,
        },
        PNL_DIVERGENCE: {"share_pct": given.pnl_divergence_pct, "every_s": COMPARE_S},
        DATA_GAP: {"late_s": given.data_gap_s},
        CORE_EXCEPTION: {},
        SUPERVISOR_LOST: {"stale_s": watching.sign_stale_s, "required": "yes" if watching.required else "no"},
    }
    found |= {name: {"loss": getattr(limits, name)} for name in DAILY_LOSS}
    return {code: {name: _text(value) for name, value in values.items()} for code, values in found.items()}


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _trigger(code: str, demands: str, limits: Json, sessions: Iterable[Json]) -> Json:
    last = [{"session_id": line["session_id"], **item} for line in sessions for item in line["firings"] if item["code"] == code]
    return {"code": code, "demands": demands, "limits": limits, "last": last}


def _alarm(told: Json) -> Json:
    names = ("watch", "severity", "words", "stood_s", "session_id", "found", "limit")
    return {name: told.get(name) for name in names}


def _sight(told: Json) -> Json:
    names = ("session_id", "account", "process", "number", "heartbeat_age_s", "journal_still_s", "memory_mb", "mode", "working")
    return {name: told.get(name) for name in names}


def _objects(given: object) -> list[Json]:
    """Return the objects of a list that came from a file."""
    return [item for item in given if isinstance(item, dict)] if isinstance(given, list) else []


def _words(given: object) -> list[str]:
    return [str(item) for item in given] if isinstance(given, list) else []


def _age(text: str | None, now: datetime) -> float | None:
    if text is None:
        return None
    try:
        return round((now - parse_moment(text)).total_seconds(), 1)
    except (ValueError, PeakTradeError):
        return None


def scheduler_facts(parts: Parts) -> Json:
    """Return whether a scheduler runs, and of every job how its last run ended.

    Raises:
        DataError: its record is damaged. StorageError: it can't be read.
    """
    at_work = scheduler_at_work(parts)
    jobs = [
        {
            "job": name,
            "running": state.running is not None and at_work is not None,
            "last": None if state.last is None else str(state.last.get("status")),
            "failures": state.failures,
            "missed": state.missed,
        }
        for name, state in sorted(states_of(parts).items())
    ]
    return {"at_work": at_work is not None, "process": None if at_work is None else at_work.get("process"), "jobs": jobs}


def backup_facts(parts: Parts, now: datetime) -> Json:
    """Return the newest archive in the folder of backups and its age by its name; `archive` is None where there is none."""
    found = archives_in(parts.settings.root / FOLDER)
    if not found:
        return {"archive": None, "at": None, "age_s": None, "archives": 0}
    at = None
    if match := _ARCHIVED.match(found[0].name):
        with suppress(ValueError):
            at = moment_text(nanoseconds(datetime.strptime(f"{match[1]}+0000", "%Y%m%dT%H%M%S%z")))
    return {"archive": found[0].name, "at": at, "age_s": _age(at, now), "archives": len(found)}


# ---- incidents -------------------------------------------------------------------------------------------------------


def incidents_view(parts: Parts) -> Json:
    """Return every incident without its timeline, open ones first, of each the newest first.

    Raises:
        CheckFailed: the journal of acts is not as it was written.
    """
    found = sorted(tracked(parts).values(), key=lambda item: item.opened_at, reverse=True)
    found.sort(key=lambda item: (not item.is_open, -item.severity.rank if item.is_open else 0))
    return {"at": moment_text(nanoseconds(parts.clock.now())), "incidents": [_incident(item) for item in found]}


def _incident(item: TrackedIncident) -> Json:
    return {
        "id": item.id,
        "key": item.key,
        "severity": item.severity.value,
        "open": item.is_open,
        "title": item.title,
        "why": item.why,
        "by": item.by,
        "opened_at": moment_text(nanoseconds(item.opened_at)),
        "session_id": item.session_id,
        "notes": len(item.notes),
        "closed_at": None if item.closed_at is None else moment_text(nanoseconds(item.closed_at)),
        "closed_by": item.closed_by or None,
        "cause": item.cause or None,
        "follow_up": item.follow_up or None,
    }


# ---- drills and runbooks ---------------------------------------------------------------------------------------------


def drills_view(parts: Parts) -> Json:
    """Return how every drill stands that the policy asks for, by step, and the command of each.

    Raises:
        NotFound: there is no policy. CheckFailed: the journal of acts is not as it was written.
    """
    found = [standing.to_json() | {"command": drill_command(standing.drill)} for standing in standings(parts)]
    return {"at": moment_text(nanoseconds(parts.clock.now())), "drills": found}


def drill_command(drill: str) -> str:
    """Return how a drill is run."""
    if drill == "test_alert":
        return "peak-trade alert test"
    name = drill.replace("_", "-")
    return f"peak-trade drill run {name}" + (" --strategy NAME" if drill == "order_life" else "")


def last_passes(acts: Iterable[Done]) -> dict[str, datetime]:
    """Return when each drill passed last, by its name in the evidence."""
    found: dict[str, datetime] = {}
    for act in acts:
        if act.action == EVIDENCE and act.went_well:
            facts = act.last.body["facts"]
            if isinstance(facts.get("drill"), str) and facts.get("passed") is True:
                found[facts["drill"]] = act.at
    return found


def runbooks_view(parts: Parts) -> Json:
    """Return the runbooks, by name: title, and the drills they name with when these passed last."""
    passed, trouble = _passes(parts)
    found = [_runbook(name, path, passed) for name, path in sorted(_runbook_files(parts).items())]
    return {"runbooks": found, "trouble": trouble}


def runbook_view(parts: Parts, name: str) -> Json:
    """Return a runbook with its text.

    Raises:
        NotFound: there is none of that name. DataError: it is too large.
    """
    path = _runbook_files(parts).get(name)
    if path is None:
        raise NotFound("expected the name of a runbook, found another; /runbooks lists them")
    passed, trouble = _passes(parts)
    return _runbook(name, path, passed) | {"text": _read(path), "trouble": trouble}


def _passes(parts: Parts) -> tuple[Mapping[str, datetime], str]:
    try:
        return last_passes(done(parts)), ""
    except PeakTradeError as error:
        return {}, str(error)


def _runbook_files(parts: Parts) -> dict[str, Path]:
    """Return the runbooks of the configuration's folder, else those of the checkout."""
    for root in (parts.settings.root, CHECKOUT):
        found = {path.stem: path for path in (root / RUNBOOKS).glob("*.md") if _RUNBOOK.fullmatch(path.stem)}
        found = {name: path for name, path in found.items() if path.is_file() and not path.is_symlink()}
        if found:
            return found
    return {}


def _runbook(name: str, path: Path, passed: Mapping[str, datetime]) -> Json:
    text = _read(path)
    title = next((line.removeprefix("# ").strip() for line in text.splitlines() if line.startswith("# ")), name)
    drills = [
        {"drill": drill, "command": f"peak-trade drill run {drill}", "passed": _passed(drill, passed)}
        for drill in dict.fromkeys(_DRILL.findall(text))
    ]
    return {"name": name, "title": title.removeprefix("Runbook: "), "drills": drills}


def _passed(drill: str, passed: Mapping[str, datetime]) -> str | None:
    at = passed.get(drill.replace("-", "_"))
    return None if at is None else moment_text(nanoseconds(at))


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(RUNBOOK_MAX + 1)
    except OSError as error:
        raise NotFound(
            f"expected a runbook that can be read, found {path.name}: {error.strerror}; look at its rights"
        ) from error
    if len(content) > RUNBOOK_MAX:
        raise DataError(path.name, f"expected a runbook of at most {RUNBOOK_MAX} bytes, found a longer one; shorten it")
    return content.decode("utf-8", "replace")
