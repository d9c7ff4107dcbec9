"""Sessions whose process died: gone on with, or given the end that their journal has."""

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from peak_trade.compose import Parts
from peak_trade.journal.chain import BEGUN, ENDED, Record, find_segment, holding, read, segments, sign_end
from peak_trade.journal.run import RunStatus
from peak_trade.journal.session import Session
from peak_trade.journal.sessions import SessionFilter
from peak_trade.journal.signing import Verifier, public_path
from peak_trade.journal.verify import NOTES, verify_account
from peak_trade.model.errors import CheckFailed, NotFound, PeakTradeError, SafetyRefused
from peak_trade.runs.sessions.plan import SessionPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """A session that died, to be gone on with: its id, the one that it all began as, and what all of them wrote."""

    session_id: str
    origin: str
    records: tuple[Record, ...]


def unfinished(parts: Parts, account: str, plan: SessionPlan, say: Callable[[str], None]) -> Dead | None:
    """Return the account's last session if it died and had this plan."""
    found = segments(parts.journal, account)
    if not found:
        return None
    first = last = None
    for last in read(found[-1]):
        first = first or last
    if first is None or last is None or last.kind == ENDED:
        return None
    begun = first.body
    session_id = found[-1].stem
    if begun["spec_sha256"] != plan.spec_sha256:
        say(f"the session {session_id} before this one died and was something else; this one begins anew")
        return None
    if wrong := flaws_of(parts, account, session_id):
        raise SafetyRefused(
            f"expected the journal of the session {session_id}, which died, to be as it was written, found {wrong}; nothing "
            "was begun: peak-trade journal verify tells more, --fresh begins anew"
        )
    say(f"going on with the session {session_id}, whose process died")
    return Dead(session_id=session_id, origin=begun["origin"], records=tuple(lineage(parts.journal, account, session_id)))


def flaws_of(parts: Parts, account: str, session_id: str) -> str:
    """Return what was changed in a session's journal or in one that it goes on with, in words; empty where nothing was."""
    public = public_path(parts.key)
    if not public.exists():
        return f"no public key at {public}"
    report = verify_account(parts.journal, account, Verifier.load(public))
    mine = {record.body["continues"] for record in lineage(parts.journal, account, session_id) if record.kind == BEGUN}
    flaws = [flaw for flaw in report.flaws if flaw.segment in {session_id, *mine} and flaw.code not in NOTES]
    return "; ".join(f"{flaw.code}: {flaw.words}" for flaw in flaws[:3])


def lineage(root: Path, account: str, session_id: str) -> Iterator[Record]:
    """Yield the records of a session and of the dead ones it goes on with, oldest first.

    Raises:
        NotFound: there is no such journal. CheckFailed: one does not say what it goes on with, or they go on with each other.
    """
    paths = []
    name: str | None = session_id
    while name is not None:
        path = root / account / f"{name}.jsonl"
        first = next(read(path), None)
        if first is None:
            raise NotFound(f"expected the journal of session {name} at {path}, found it empty; peak-trade journal verify")
        if path in paths or "continues" not in first.body:
            raise CheckFailed(
                f"expected the journal {path} to begin with the session that it goes on with, found {first.kind} that tells "
                "none or comes round again; it was changed: peak-trade journal verify"
            )
        paths.append(path)
        name = first.body["continues"]
    for path in reversed(paths):
        yield from read(path)


def close_dead(parts: Parts, held: str | None = None) -> list[str]:
    """Give every registered session that nobody runs any more its end; return the ids of those that became aborted.

    One whose journal has its end, but whose process died before it could tell the registry, gets the end that the journal has.

    Args:
        parts: the parts.
        held: an account that this process holds, so that no session of it can be running.
    """
    now = parts.clock.now()
    host = platform.node()

    def alive(session: Session) -> bool | None:
        ours = session.account == held and Path(session.journal).parent == parts.journal / session.account
        if session.host == host and (ours or not _runs(session.run.process)):
            return False
        return None

    started = SessionFilter(status=RunStatus.STARTED.value)
    for session in parts.sessions.find(started, 1_000):
        if alive(session) is False:
            _end_as_journalled(parts, session, held=session.account == held)
    return parts.sessions.close_dead(now, alive)


def _end_as_journalled(parts: Parts, session: Session, *, held: bool) -> None:
    """Give a dead session the end that its journal has, signing it where its process died before it could."""
    now = parts.clock.now()
    try:
        path = find_segment(parts.journal, session.session_id)
        with nullcontext() if held else holding(parts.journal, session.account, at=now):
            head = sign_end(path, parts.signer, at=now)
        body = {} if head is None else next(record.body for record in read(path) if record.seq == head.seq)
    except PeakTradeError:
        return  # no journal, or one that can't be read: it is closed as aborted, and `journal verify` tells the rest
    if head is None:
        return
    metrics = {name: float(value) for name, value in body["metrics"].items() if value is not None}
    parts.sessions.finish(
        session.session_id,
        RunStatus(body["status"]),
        at=now,
        elapsed_s=None,
        metrics=metrics,
        summary={"decisions_sha256": body["decisions_sha256"]},
        result_sha256=body["decisions_sha256"],
        error=body["error"],
        head=(head.seq, head.sha256),
    )


def _runs(process: int) -> bool:
    """Tell whether a process of that number runs on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
