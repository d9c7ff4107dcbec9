"""What operators do, each action written into a journal of its own kind: one short segment of the account `operators`.

Invariant: an action is on disk before it is done, and how it ended afterwards; only the kill switch is turned on first.
Invariant: neither a token nor its hash is ever written into a journal.
"""

import base64
import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from peak_trade.compose import Parts
from peak_trade.journal.chain import ENDED, Chain, accounts, holder, holding, segments, sign_end
from peak_trade.journal.operators import ACCOUNT, check_operator, token_hash
from peak_trade.journal.registry import storable
from peak_trade.journal.run import RunStatus
from peak_trade.journal.session import Acknowledgement
from peak_trade.journal.sessions import SessionFilter
from peak_trade.model.clock import RunId
from peak_trade.model.errors import DataError, InputError, PeakTradeError, SafetyRefused, StorageError
from peak_trade.runs.journal_check import verify_journals
from peak_trade.runs.record import Json
from peak_trade.runs.session_dead import close_dead
from peak_trade.safety.kill_switch import Killed

#: How an action came: from a terminal, or from the dashboard.
COMMAND, DASHBOARD = "command", "dashboard"
#: What every token begins with, so that one that got lost is known for what it is; and its random bytes.
TOKEN_PREFIX, TOKEN_BYTES = "ptop_", 32
#: How long an action waits for another one to be written down.
WAIT_S = 10.0


def machine_user() -> str:
    """Return the operating system's name of who runs this process, not what the environment says."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        return f"user {os.getuid()}" if hasattr(os, "getuid") else "unknown"


def kill(parts: Parts, by: str, why: str, via: str) -> Killed:
    """Turn the kill switch on, then write down who did; what it says is what it said the first time.

    Raises:
        StorageError: it could not be turned on; or it is on, and could not be written down. The sentence says which.
    """
    before = parts.kill_switch.is_on()
    parts.kill_switch.trip(by, why, parts.clock.now())
    try:
        with _held(parts):
            # A release that was under way when it was turned on must not have the last word.
            killed = parts.kill_switch.trip(by, why, parts.clock.now())
            with _written(parts, "kill", by, via, why=why) as outcome:
                outcome["was_on"] = before
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
    with _held(parts):
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
        with _written(parts, "release", by, COMMAND, why=why, killed=killed._asdict()):
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
    with _held(parts), _written(parts, "acknowledge", by, via, **facts) as outcome:
        given = parts.sessions.acknowledge(session.session_id, by, note, parts.clock.now())
        outcome["acknowledged"] = {"by": given.by, "at": given.at}
    return given


def create_token(parts: Parts, name: str, by: str | None = None) -> str:
    """Make somebody an operator; return the token, which is kept nowhere.

    Raises:
        InputError: the name can't be one, or an operator has it.
        StorageError: disk or registry refused.
    """
    check_operator(name)
    token = TOKEN_PREFIX + base64.urlsafe_b64encode(parts.ids.randomness.randbytes(TOKEN_BYTES)).rstrip(b"=").decode()
    with _held(parts), _written(parts, "operator_add", by or machine_user(), COMMAND, name=name):
        parts.operators.add(name, token_hash(token), parts.clock.now())
    return token


def revoke_token(parts: Parts, name: str, by: str | None = None) -> None:
    """Take an operator's token away, for good.

    Raises:
        InputError: nobody of that name has a token.
        StorageError: disk or registry refused.
    """
    check_operator(name)
    with _held(parts), _written(parts, "operator_revoke", by or machine_user(), COMMAND, name=name):
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


@contextmanager
def _held(parts: Parts) -> Iterator[None]:
    """Hold the operators' journal while the block runs; sign the end that an action before could not sign any more."""
    now = parts.clock.now()
    with ExitStack() as stack:
        try:
            stack.enter_context(holding(parts.journal, ACCOUNT, at=now, wait_s=WAIT_S))
        except SafetyRefused as error:
            raise StorageError(
                f"expected the operators' journal to be free within {WAIT_S:g} s, found another action at work in it; try again"
            ) from error
        signer = parts.signer
        for path in segments(parts.journal, ACCOUNT)[-1:]:
            # One that is damaged is told by whoever verifies it, and must not keep anyone from stopping things.
            with suppress(DataError):
                sign_end(path, signer, at=now)
        yield


@contextmanager
def _written(parts: Parts, action: str, by: str, via: str, **facts: Json | str) -> Iterator[Json]:
    """Write that an action begins, let it be done, write how it ended, sign that; whatever the block adds is in the end.

    A process that dies in between leaves a beginning without an end, as a session does.
    """
    segment = parts.ids.next_run()
    body = _storable({"action": action, "by": by, "via": via, **facts})
    machine = {"continues": None, "process": os.getpid(), "host": platform.node()}
    chain = Chain.begin(parts.journal, ACCOUNT, segment, body | machine, at=parts.clock.now(), signer=parts.signer)
    try:
        outcome: Json = {}
        try:
            yield outcome
        except PeakTradeError as error:
            _end(parts, chain, segment, {"status": RunStatus.FAILED.value, "error": storable(str(error))})
            raise
        _end(parts, chain, segment, {"status": RunStatus.COMPLETED.value, "error": None, **outcome})
    finally:
        chain.close()


def _end(parts: Parts, chain: Chain, segment: RunId, body: Json) -> None:
    chain.append(ENDED, body, at=parts.clock.now(), durable=True)
    chain.sign(at=parts.clock.now())
    # A second witness: what it can't take is in the journal all the same, and the next action's link proves it.
    with suppress(PeakTradeError):
        parts.operators.remember(parts.signer.key_id, segment, chain.head)


def _storable(value: Any) -> Any:
    """Return a body whose texts a journal takes."""
    if isinstance(value, dict):
        return {name: _storable(part) for name, part in value.items()}
    return storable(value) if isinstance(value, str) else value
