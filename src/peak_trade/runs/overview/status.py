"""Everything at a glance: what runs and how it is, what is locked, what wants a person. It only reads.

A part that can't be read is told as that; it hides no other.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from peak_trade.compose import Parts
from peak_trade.journal.run import RunStatus
from peak_trade.journal.session import Session
from peak_trade.journal.sessions import SessionFilter
from peak_trade.model.clock import moment_text, nanoseconds, parse_moment
from peak_trade.model.errors import PeakTradeError
from peak_trade.runs.gates.locks import locks_of
from peak_trade.runs.gates.permits import every_permit
from peak_trade.runs.gates.record import gate_record
from peak_trade.runs.holds_kept import lost_holds
from peak_trade.runs.incidents import tracked
from peak_trade.runs.safety.resumed import watched_until
from peak_trade.runs.sessions.dead import lineage
from peak_trade.runs.sessions.marks import mode_now, retired_now
from peak_trade.runs.supervisor_sign import sign_trouble, supervisor_trouble
from peak_trade.runs.testnet.profile import budget_of

Json = dict[str, Any]

#: Sessions that are told at most.
SESSIONS_MAX = 1_000


def status(parts: Parts, now: datetime) -> Json:
    """Return the state of an installation as a JSON object; `wants` says in words what a person should look at."""
    wants: list[str] = []

    def told(what: str, look: Callable[[], Any]) -> Any:
        try:
            return look()
        except PeakTradeError as error:
            wants.append(f"{what} can't be told: {error}")
            return None

    killed = parts.kill_switch.state()
    if killed is not None:
        wants.append(f"the kill switch is on since {killed.at}, by {killed.by}: {killed.why}")
    sessions = told("sessions", lambda: _sessions(parts, now)) or []
    for line in sessions:
        wants += [f"session {line['session_id']} {why}" for why in line["wants"]]
    for account in parts.holds.accounts():
        for hold in parts.holds.of(account):
            shared = _shared(parts.holds.reaches(account, hold))
            wants.append(f"the account {account} is held: {hold}; {shared}peak-trade resume {account} --check")
    wants += [f"{item}, is gone: peak-trade resume {item.account} --check" for item in lost_holds(parts)]
    stories = told("incidents", lambda: [item for item in tracked(parts).values() if item.is_open]) or []
    wants += [f"incident {item.id} ({item.severity.value}) is open: {item.title}" for item in stories]
    unhandled = told("failed sessions", lambda: parts.sessions.census().unhandled)
    if unhandled:
        wants.append(f"{unhandled} failed sessions wait to be acknowledged: peak-trade session list --unhandled")
    permits = told("permits", lambda: _permits(parts, now)) or []
    wants += [f"permit {item['id']} is good no more: {item['why']}" for item in permits if not item["good"]]
    unwatched = supervisor_trouble(parts)
    if unwatched is not None:
        wants.append(f"nobody watches the sessions: {unwatched}")
    return {
        "at": moment_text(nanoseconds(now)),
        "kill_switch": None if killed is None else killed._asdict(),
        "locks": [{"name": lock.name, "closed": lock.closed, "reasons": list(lock.reasons)} for lock in locks_of(parts)],
        "sessions": sessions,
        "unhandled": unhandled,
        "watch_closely": told("restarts", lambda: _watched(parts, now)) or {},
        "supervisor": {"required": parts.settings.file.supervisor.required, "trouble": sign_trouble(parts)},
        "budget": told("the day's budget", lambda: _budget(parts, now)),
        "permits": permits,
        "wants": wants,
    }


def _shared(names: Sequence[str]) -> str:
    """Say which other accounts a hold reaches."""
    return f"that holds {', '.join(names)} too, with the same exchange key; " if names else ""


def _watched(parts: Parts, now: datetime) -> dict[str, str]:
    """Return the accounts that were resumed a short time ago, each with until when it is to be watched closely."""
    return {account: until.isoformat() for account, until in watched_until(parts, now).items()}


def _sessions(parts: Parts, now: datetime) -> list[Json]:
    started = SessionFilter(status=RunStatus.STARTED.value)
    return [_session(parts, session, now) for session in parts.sessions.find(started, SESSIONS_MAX)]


def _session(parts: Parts, session: Session, now: datetime) -> Json:
    """Return a session that is registered as started: its heartbeat, its lease, and what its journal says."""
    line: Json = {
        "session_id": session.session_id,
        "mode": session.mode,
        "strategy": session.run.strategy,
        "symbol": session.run.symbol,
        "account": session.account,
        "tier": session.tier,
        "host": session.host,
        "process": session.run.process,
        "started_at": session.run.started_at,
        "heartbeat_age_s": _since(session.heartbeat_at, now),
        "lease_left_s": None if (past := _since(session.lease_until, now)) is None else -past,
        "state": None,
        "retired": [],
        "last_record_age_s": None,
        "wants": [],
    }
    if line["lease_left_s"] is not None and line["lease_left_s"] <= 0:
        line["wants"].append(f"was last heard of {line['heartbeat_age_s']:.0f} s ago; its lease has run out: is it dead?")
    try:
        records = list(lineage(parts.journal, session.account, session.session_id))
    except PeakTradeError as error:
        line["wants"].append(f"has a journal that can't be read: {error}")
        return line
    line["state"], line["last_record_age_s"] = mode_now(records), _since(records[-1].at, now)
    line["retired"] = retired_now(records)
    if line["retired"]:
        line["wants"].append(f"has closed {', '.join(line['retired'])} for good: peak-trade session tail {session.session_id}")
    if line["state"] != "running":
        line["wants"].append(f"is {line['state']}: peak-trade session tail {session.session_id}")
    return line


def _since(text: str | None, now: datetime) -> float | None:
    """Return the seconds since a moment; below zero where it is yet to come."""
    return None if text is None else round((now - parse_moment(text)).total_seconds(), 3)


def _permits(parts: Parts, now: datetime) -> list[Json]:
    return [
        {
            "id": item.held.id,
            "strategy": item.held.request.strategy.key,
            "stage": item.held.request.transition.upper.value,
            "until": item.permit.document.until.isoformat() if item.permit else None,
            "good": item.permit is not None,
            "why": "; ".join(found.words for found in item.objections),
        }
        for item in every_permit(parts, gate_record(parts), now)
    ]


def _budget(parts: Parts, now: datetime) -> Json:
    left = budget_of(parts).left(now)
    return {"day": left.day.isoformat(), "runs": left.runs, "orders": left.orders, "minutes": str(left.minutes)}
