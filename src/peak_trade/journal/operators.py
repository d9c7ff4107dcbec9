"""Who may act through the dashboard, and the end of the journal of what they did, in the registry's database.

Invariant: of a token only its hash is kept; it has 256 random bits, so that nobody can find it by trying.
Invariant: of each name there is at most one operator who is not revoked; a revoked one never comes back.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from peak_trade.journal import schema
from peak_trade.journal.database import Database
from peak_trade.journal.registry import stamp
from peak_trade.model.errors import InputError, NotFound, require

#: The account under which the journal of operators lies; no session may use it.
ACCOUNT = "operators"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
#: As the condition of the index is written.
_ACTIVE = schema.operators.c.revoked_at.is_(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """A person with a token; times are ISO 8601, UTC, and `revoked_at` is None while the token is good."""

    name: str
    created_at: str
    revoked_at: str | None = None


class Operators:
    """Operators and their tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str, token_sha256: str, at: datetime) -> Operator:
        """Let somebody act who shows the token with that hash (64 hexadecimal digits).

        Raises:
            InputError: the name can't be one, or an operator has it.
        """
        check_operator(name)
        require(_DIGEST.fullmatch(token_sha256), "a token is kept as the 64 hexadecimal digits of its hash")
        with self._database.writing() as connection:
            if connection.scalar(sa.select(schema.operators.c.name).where(_ACTIVE, schema.operators.c.name == name)):
                raise InputError(
                    f"expected the name of a new operator, found {name}, who has a token; choose another name, or first: "
                    f"peak-trade operator revoke '{name}'"
                )
            row = {"token_sha256": token_sha256, "name": name, "created_at": stamp(at), "revoked_at": None}
            connection.execute(schema.operators.insert(), row)
        return Operator(name=name, created_at=stamp(at))

    def revoke(self, name: str, at: datetime) -> Operator:
        """Take an operator's token away, for good.

        Raises:
            InputError: the name can't be one.
            NotFound: nobody of that name has a token.
        """
        check_operator(name)
        here = sa.and_(_ACTIVE, schema.operators.c.name == name)
        with self._database.writing() as connection:
            created_at: str | None = connection.scalar(sa.select(schema.operators.c.created_at).where(here))
            if created_at is None:
                raise NotFound(
                    f"expected the name of an operator who has a token, found {name}; peak-trade operator list shows them"
                )
            connection.execute(schema.operators.update().where(here), {"revoked_at": stamp(at)})
        return Operator(name=name, created_at=created_at, revoked_at=stamp(at))

    def list(self) -> tuple[Operator, ...]:
        """Return all operators by name, also those who were revoked, the oldest of a name first."""
        columns = [schema.operators.c[name] for name in ("name", "created_at", "revoked_at")]
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(*columns).order_by(*columns[:2])).all()
        return tuple(Operator(name=row.name, created_at=row.created_at, revoked_at=row.revoked_at) for row in rows)

    def holder(self, token: str) -> str | None:
        """Return the name of the operator whose token it is; None where it is nobody's, or no longer."""
        digest = token_hash(token)
        columns = schema.operators.c
        with self._database.reading() as connection:
            query = sa.select(columns.name, columns.token_sha256).where(_ACTIVE, columns.token_sha256 == digest)
            row = connection.execute(query).first()
        return row.name if row is not None and hmac.compare_digest(row.token_sha256, digest) else None

    def any_active(self) -> bool:
        """Return whether anybody has a token."""
        with self._database.reading() as connection:
            return connection.scalar(sa.select(schema.operators.c.name).where(_ACTIVE).limit(1)) is not None

    def remember(self, key_id: str, segment: str, head: tuple[int, str]) -> None:
        """Keep which segment of the operators' journal is the last one, and number and hash of its last record."""
        table = schema.journal_heads
        row = {"segment": segment, "seq": head[0], "sha256": head[1]}
        with self._database.writing() as connection:
            here = table.update().where(table.c.key_id == key_id)
            if not connection.execute(here, row).rowcount:
                connection.execute(table.insert(), row | {"key_id": key_id})

    def last(self, key_id: str) -> tuple[str, tuple[int, str]] | None:
        """Return what `remember` kept for a journal that is signed by that key."""
        table = schema.journal_heads
        with self._database.reading() as connection:
            row = connection.execute(sa.select(table).where(table.c.key_id == key_id)).first()
        return None if row is None else (row.segment, (row.seq, row.sha256))


def token_hash(token: str) -> str:
    """Return what is kept of a token: 64 hexadecimal digits."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def check_operator(name: str) -> str:
    """Return a name that an operator can have.

    Raises:
        InputError: it can't be one.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            "expected an operator's name of 1 to 64 letters, digits, spaces, '.', '_' and '-' that starts with a letter or "
            f"digit, found {name[:80]!r}; choose another"
        )
    return name
