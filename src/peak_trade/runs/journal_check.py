"""The journals of all accounts against their keys, and against what the registry remembers of them."""

from dataclasses import replace
from pathlib import Path

from peak_trade.compose import Parts
from peak_trade.journal.chain import accounts, segments
from peak_trade.journal.operators import ACCOUNT
from peak_trade.journal.run import RunStatus
from peak_trade.journal.sessions import SessionFilter
from peak_trade.journal.signing import Verifier, public_path
from peak_trade.journal.verify import AccountReport, Flaw, verify_account
from peak_trade.model.errors import NotFound
from peak_trade.runs.schedule.record import SCHEDULER


def verify_journals(parts: Parts, account: str | None, key: Path | None = None) -> list[AccountReport]:
    """Verify one account's journal, or all, with a public key kept elsewhere or with the one beside the private key.

    Raises:
        NotFound: the account has no journal.
        ConfigError: the public key can't be read.
    """
    found = accounts(parts.journal)
    if account is not None and account not in found:
        raise NotFound(f"expected a journal of account {account} in {parts.journal}, found {', '.join(found) or 'none'}")
    public = public_path(parts.key) if key is None else key
    remembered = _heads(parts)
    verifier = Verifier.load(public) if found or remembered or public.exists() else None
    if verifier and (last := parts.operators.last(verifier.key_id)):
        remembered.setdefault(ACCOUNT, {})[last[0]] = last[1]
    names = found if account is None else [account]
    names += [name for name in remembered if account in (None, name) and name not in names]
    schedule = segments(parts.state, SCHEDULER) if account is None else []
    completed = {
        str(session.session_id) for session in parts.sessions.find(SessionFilter(status=RunStatus.COMPLETED.value), 1_000_000)
    }
    reports = [
        _with_cuts(verify_account(parts.journal, name, verifier, expected=remembered.get(name, {})), completed)
        for name in names
        if verifier
    ]
    # The scheduler's record is a journal of its own, beside those of accounts.
    return [*reports, verify_account(parts.state, SCHEDULER, verifier)] if verifier and schedule else reports


def _with_cuts(report: AccountReport, completed: set[str]) -> AccountReport:
    """Add what a session of ours can't be: completed without its end, or without any signature, which it begins with."""
    found = []
    for part in report.segments:
        if part.session_id in completed and not part.ended:
            words = "its end is gone: the registry has this session as completed"
            found.append(Flaw(part.session_id, None, "cut", words))
        if part.records > 1 and part.signed_to is None and not any(flaw.code == "no_head" for flaw in part.findings):
            words = f"none of its {part.records} records is signed, but a session signs its first one at once"
            found.append(Flaw(part.session_id, None, "no_head", words))
    return replace(report, findings=(*report.findings, *found))


def _heads(parts: Parts) -> dict[str, dict[str, tuple[int, str]]]:
    """Return the last record of each session that the registry remembers, by account."""
    heads: dict[str, dict[str, tuple[int, str]]] = {}
    for session in parts.sessions.find(SessionFilter(), 1_000_000):
        if session.head_seq is not None and session.head_sha256 is not None:
            heads.setdefault(session.account, {})[session.session_id] = (session.head_seq, session.head_sha256)
    return heads
