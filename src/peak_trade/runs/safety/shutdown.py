"""The checklist after everything was shut down (playbook 8.3), computed: nothing in it is ticked by hand.

Invariant: what could not be looked at is open, never done.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from peak_trade.compose import Parts
from peak_trade.journal.chain import read, segments
from peak_trade.journal.run import RunStatus
from peak_trade.journal.session import Session
from peak_trade.journal.sessions import SessionFilter
from peak_trade.model.clock import parse_moment
from peak_trade.model.errors import PeakTradeError
from peak_trade.model.stage import Stage
from peak_trade.runs.at_work import workers
from peak_trade.runs.incidents import reports_folder, tracked, write_report
from peak_trade.runs.journal_check import verify_journals
from peak_trade.runs.record import Json
from peak_trade.runs.safety.secured import check_archive, newest_archive, secure
from peak_trade.runs.sessions.dead import close_dead
from peak_trade.runs.sessions.holdings import holdings
from peak_trade.runs.trading.session import SHADOW_RUN
from peak_trade.venue.kraken.reading import OpenOrders

#: Stages whose orders an exchange sees; longest wait for its answer, seconds.
AT_EXCHANGE = frozenset({Stage.TESTNET, Stage.SHADOW_LIVE, Stage.LIVE})
CALL_S, ANSWER_S = 5.0, 12.0
#: Sessions that are looked through.
SESSIONS_MAX = 10_000


class CheckedPoint(NamedTuple):
    """A point of the list: whether it is done, what was found, and what to do where it is not."""

    name: str
    is_done: bool
    found: str
    todo: str = ""

    def to_json(self) -> Json:
        """Return the point as a JSON object."""
        return {"name": self.name, "done": self.is_done, "found": self.found, "todo": self.todo}


def shutdown_list(parts: Parts, *, securing: bool = False) -> list[CheckedPoint]:
    """Return every point of the list.

    Args:
        securing: write the archives that are missing first.
    """
    looks: tuple[tuple[str, Callable[[], CheckedPoint]], ...] = (
        ("processes", lambda: _processes(parts)),
        ("logs and journals", lambda: _secured(parts, securing=securing)),
        ("open orders", lambda: _orders(parts)),
        ("registry", lambda: _registry(parts)),
        ("journals verify", lambda: _journals(parts)),
        ("incident reports", lambda: _incidents(parts)),
    )
    found = []
    for name, look in looks:
        try:
            found.append(look())
        except (PeakTradeError, OSError, TimeoutError) as error:
            found.append(CheckedPoint(name, is_done=False, found=f"it can't be told: {error}", todo="mend that, check again"))
    return found


def last_sessions(parts: Parts) -> dict[str, Session]:
    """Return the last session of each account, but for those over recorded bars, which are no operation."""
    found: dict[str, Session] = {}
    for session in parts.sessions.find(SessionFilter(), SESSIONS_MAX):
        if session.run.run_type != SHADOW_RUN:
            found.setdefault(session.account, session)
    return found


def _processes(parts: Parts) -> CheckedPoint:
    if found := workers(parts):
        words = "; ".join(map(str, found))
        return CheckedPoint("processes", is_done=False, found=words, todo="peak-trade session stop --all")
    return CheckedPoint("processes", is_done=True, found="no session holds an account's lock")


def _secured(parts: Parts, *, securing: bool) -> CheckedPoint:
    """Tell whether each account has an archive from after the last record of its last session."""
    name, missing, files = "logs and journals", [], 0
    accounts = sorted(last_sessions(parts))
    for account in accounts:
        if _is_secured(parts, account):
            files += 1
        elif securing:
            secure(parts, account, parts.clock.now(), holdings(parts, account).to_json())
            files += 1
        else:
            missing.append(account)
    if missing:
        words = f"no archive since the last record of {', '.join(missing)}"
        return CheckedPoint(name, is_done=False, found=words, todo="peak-trade shutdown check --secure")
    return CheckedPoint(name, is_done=True, found=f"{files} archives, read back" if files else "no session ever ran")


def _is_secured(parts: Parts, account: str) -> bool:
    archive = newest_archive(parts, account)
    found = segments(parts.journal, account) if (parts.journal / account).is_dir() else []
    if archive is None:
        return not found
    last = None
    for path in found[-1:]:
        for last in read(path):  # noqa: B007 - the last one is what counts
            pass
    check_archive(archive)
    return last is None or archive.stat().st_mtime >= parse_moment(last.at).timestamp()


def _orders(parts: Parts) -> CheckedPoint:
    """Ask the exchange for open orders where a session ran whose orders it sees; else look into the journals."""
    name = "open orders"
    at_exchange = [item for item in last_sessions(parts).values() if Stage(item.mode) in AT_EXCHANGE]
    left = []
    for account, session in last_sessions(parts).items():
        found = holdings(parts, account)
        left += [f"{order.intent.client_id} on {account} ({session.mode})" for order in found.working]
    if left:
        words = f"by the journals {len(left)} orders may still work: {', '.join(left[:5])}"
        return CheckedPoint(
            name, is_done=False, found=words, todo="start its session again, which asks, or kill --level cancel-all"
        )
    if not at_exchange:
        return CheckedPoint(name, is_done=True, found="none by the journals; no session was at an exchange")
    names = asyncio.run(_open_at_exchange(parts))
    if names:
        words = f"{len(names)} at the exchange: {', '.join(names[:5])}"
        todo = "look at them there; peak-trade kill --level cancel-all cancels them"
        return CheckedPoint(name, is_done=False, found=words, todo=todo)
    return CheckedPoint(name, is_done=True, found="none by the journals, and none at the exchange")


async def _open_at_exchange(parts: Parts) -> list[str]:
    gateway = parts.gateway(CALL_S)
    try:
        async with asyncio.timeout(ANSWER_S):
            return sorted((await gateway.read("OpenOrders", OpenOrders)).open)
    finally:
        await gateway.close()


def _registry(parts: Parts) -> CheckedPoint:
    """Tell whether every session has its end in the registry, and somebody has taken note of those that failed."""
    close_dead(parts)
    started = parts.sessions.find(SessionFilter(status=RunStatus.STARTED.value), SESSIONS_MAX)
    unhandled = parts.sessions.find(SessionFilter(unhandled=True), SESSIONS_MAX)
    if started:
        words = ", ".join(session.session_id for session in started[:5])
        return CheckedPoint("registry", is_done=False, found=f"without an end: {words}", todo="peak-trade session stop --all")
    if unhandled:
        words = f"{len(unhandled)} failed sessions that nobody has taken note of"
        todo = f"peak-trade session acknowledge {unhandled[0].session_id} --note TEXT"
        return CheckedPoint("registry", is_done=False, found=words, todo=todo)
    return CheckedPoint("registry", is_done=True, found="every session has its end, and nobody has to take note of one")


def _journals(parts: Parts) -> CheckedPoint:
    flaws = [f"{flaw.code}: {flaw.words}" for report in verify_journals(parts, None) for flaw in report.flaws]
    if flaws:
        words = "; ".join(flaws[:3])
        return CheckedPoint("journals verify", is_done=False, found=words, todo="peak-trade journal verify")
    return CheckedPoint("journals verify", is_done=True, found="unchanged and complete")


def _incidents(parts: Parts) -> CheckedPoint:
    """Tell whether every incident has its report; one that is missing is written from the journals."""
    every = tracked(parts)
    for item in every.values():
        if not (reports_folder(parts) / f"{item.id}.md").is_file():
            write_report(parts, item)
    still = [item.id for item in every.values() if item.is_open]
    words = f"{len(every)} reports in {reports_folder(parts)}" if every else "no incident"
    return CheckedPoint("incident reports", is_done=True, found=words + (f"; still open: {', '.join(still)}" if still else ""))
