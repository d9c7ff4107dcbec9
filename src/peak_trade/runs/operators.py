"""What operators do with sessions, the kill switch and each other; every act is written down as `runs.acts` does.

Invariant: an act is on disk before it is done; only the kill switch is turned on first.
Invariant: neither a token nor its hash is ever written into a journal.
"""

import base64
from pathlib import Path
from typing import Any

from peak_trade.compose import Parts
from peak_trade.journal.chain import accounts, holder, holding
from peak_trade.journal.operators import ACCOUNT, check_operator, token_hash
from peak_trade.journal.run import RunStatus
from peak_trade.journal.session import Acknowledgement
from peak_trade.journal.sessions import SessionFilter
from peak_trade.model.errors import InputError, PeakTradeError, SafetyRefused, StorageError
from peak_trade.runs.acts import COMMAND, held, machine_user, written
from peak_trade.runs.journal_check import verify_journals
from peak_trade.runs.session_dead import close_dead
from peak_trade.safety.kill_switch import Killed

#: What every token begins with, so that one that got lost is known for what it is; and its random bytes.
TOKEN_PREFIX, TOKEN_BYTES = "ptop_", 32


def kill(parts: Parts, by: str, why: str, via: str) -> Killed:
    """Turn the kill switch on, then write down who did; what it says is what it said the first time.

    Raises:
        StorageError: it could not be turned on; or it is on, and could not be written down. The sentence says which.
    """
    before = parts.kill_switch.is_on()
    parts.kill_switch.trip(by, why, parts.clock.now())
    try:
        with held(parts):
            # A release that was under way when it was turned on must not have the last word.
            killed = parts.kill_switch.trip(by, why, parts.clock.now())
            with written(parts, "kill", by, via, why=why) as act:
                act.outcome["was_on"] = before
    except PeakTradeError as error:
        parts.kill_switch.trip(by, why, parts.clock.now())
        raise StorageError(f"the kill switch is on, but that it was turned on could not be written down: {error}") from error
    return killed


def release(parts: Parts, by: str, why: str) -> Killed:
    """Turn the kill switch off; return what it said.

    Raises:
        InputError: it is off.
        SafetyRefused: a session still runs on this state folder, a journal is not as it was written, or somebody turned it
            on meanwhile.
        StorageError: disk or registry refused; it is on.
    """
    with held(parts):
        tripped = parts.kill_switch.tripped_last()
        if (killed := parts.kill_switch.state()) is None:
            raise InputError("expected the kill switch to be on, found it off; there is nothing to release")
        if found := _running(parts):
            raise SafetyRefused(
                f"expected no running session, found {'; '.join(found)}; end what still runs first, with Ctrl+C or kill PROCESS"
            )
        if flaws := [f"{flaw.code}: {flaw.words}" for report in _flawed(parts) for flaw in report.flaws]:
            raise SafetyRefused(
                f"expected journals that are unchanged and complete, found {'; '.join(flaws[:3])}; the kill switch stays on: "
                "peak-trade journal verify tells more"
            )
        with written(parts, "release", by, COMMAND, why=why, killed=killed._asdict()):
            if parts.kill_switch.tripped_last() != tripped:
                raise SafetyRefused(
                    "expected nobody to turn the kill switch on while it was being released, found that somebody did; it stays "
                    "on: ask them, their action comes next in the journal of operators"
                )
            parts.kill_switch.release()
    return killed


def acknowledge(parts: Parts, session_id: str, by: str, note: str, via: str) -> Acknowledgement:
    """Take note that a session failed; where somebody has already, theirs is returned and nothing is done.

    Raises:
        NotFound: no such session.
        InputError: it did not fail.
        StorageError: disk or registry refused.
    """
    session = parts.sessions.get(session_id)
    if session.acknowledged is not None:
        return session.acknowledged
    if session.run.status is not RunStatus.FAILED:
        raise InputError(
            f"expected a session that failed, found {session.session_id} {session.run.status.value}; there is nothing to "
            "acknowledge"
        )
    facts = {"session_id": session.session_id, "note": note}
    with held(parts), written(parts, "acknowledge", by, via, **facts) as act:
        given = parts.sessions.acknowledge(session.session_id, by, note, parts.clock.now())
        act.outcome["acknowledged"] = {"by": given.by, "at": given.at}
    return given


def create_token(parts: Parts, name: str, by: str | None = None) -> str:
    """Make somebody an operator; return the token, which is kept nowhere.

    Raises:
        InputError: the name can't be one, or an operator has it.
        StorageError: disk or registry refused.
    """
    check_operator(name)
    token = TOKEN_PREFIX + base64.urlsafe_b64encode(parts.ids.randomness.randbytes(TOKEN_BYTES)).rstrip(b"=").decode()
    with held(parts), written(parts, "operator_add", by or machine_user(), COMMAND, name=name):
        parts.operators.add(name, token_hash(token), parts.clock.now())
    return token


def revoke_token(parts: Parts, name: str, by: str | None = None) -> None:
    """Take an operator's token away, for good.

    Raises:
        InputError: nobody of that name has a token.
        StorageError: disk or registry refused.
    """
    check_operator(name)
    with held(parts), written(parts, "operator_revoke", by or machine_user(), COMMAND, name=name):
        parts.operators.revoke(name, parts.clock.now())


def _running(parts: Parts) -> list[str]:
    """Return who runs on this state folder, in words; a session whose account is free is given its end first."""
    told = {}
    for account in accounts(parts.journal):
        if account == ACCOUNT:
            continue
        try:
            with holding(parts.journal, account, at=parts.clock.now()):
                close_dead(parts, held=account)
        except SafetyRefused:
            who = holder(parts.journal, account)
            name = f"session {who.session_id}" if who.session_id else "a session"
            told[account] = f"{name} on account {account}, process {who.process} on {who.host}"
    for session in parts.sessions.find(SessionFilter(status=RunStatus.STARTED.value), 1_000):
        # One of another machine holds nothing here, and runs as long as its lease does.
        if session.account not in told and Path(session.journal).is_relative_to(parts.journal):
            who_where = f"process {session.run.process} on {session.host}"
            told[session.account] = f"session {session.session_id} on account {session.account}, {who_where}"
    return list(told.values())


def _flawed(parts: Parts) -> list[Any]:
    """Return the reports of accounts whose journal is not as it was written, or not all of it."""
    return [report for report in verify_journals(parts, None) if not (report.intact and report.complete)]
