"""The journals of all accounts against their keys, and against what the registry remembers of them."""

from peak_trade.compose import Parts
from peak_trade.journal.chain import accounts
from peak_trade.journal.sessions import SessionFilter
from peak_trade.journal.signing import Verifier, public_path
from peak_trade.journal.verify import AccountReport, verify_account
from peak_trade.model.errors import NotFound


def verify_journals(parts: Parts, account: str | None) -> list[AccountReport]:
    """Verify one account's journal, or all.

    Raises:
        NotFound: the account has no journal.
        ConfigError: the public key can't be read.
    """
    found = accounts(parts.journal)
    if account is not None and account not in found:
        raise NotFound(f"expected a journal of account {account} in {parts.journal}, found {', '.join(found) or 'none'}")
    names = found if account is None else [account]
    remembered = _heads(parts)
    names += [name for name in remembered if account in (None, name) and name not in names]
    verifier = Verifier.load(public_path(parts.key)) if names else None
    return [verify_account(parts.journal, name, verifier, expected=remembered.get(name, {})) for name in names if verifier]


def _heads(parts: Parts) -> dict[str, dict[str, tuple[int, str]]]:
    """Return the last record of each session that the registry remembers, by account."""
    heads: dict[str, dict[str, tuple[int, str]]] = {}
    for session in parts.sessions.find(SessionFilter(), 1_000_000):
        if session.head_seq is not None and session.head_sha256 is not None:
            heads.setdefault(session.account, {})[session.session_id] = (session.head_seq, session.head_sha256)
    return heads
