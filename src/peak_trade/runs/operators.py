"""What operators do with sessions and each other; every act is written down as `runs.acts` does.

Invariant: an act is on disk before it is done.
Invariant: neither a token nor its hash is ever written into a journal.
"""

import base64

from peak_trade.compose import Parts
from peak_trade.journal.operators import check_operator, token_hash
from peak_trade.journal.run import RunStatus
from peak_trade.journal.session import Acknowledgement
from peak_trade.model.errors import InputError
from peak_trade.runs.acts import COMMAND, held, machine_user, written

#: What every token begins with, so that one that got lost is known for what it is; and its random bytes.
TOKEN_PREFIX, TOKEN_BYTES = "ptop_", 32


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
