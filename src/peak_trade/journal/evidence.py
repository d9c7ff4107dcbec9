"""What sessions showed, as rows for an overview; a copy: gates read journals.

Invariant: of a session there is at most one row, its newest.
"""

from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from peak_trade.journal import schema
from peak_trade.journal.database import Database
from peak_trade.journal.registry import stamp


class VersionKey(NamedTuple):
    """A strategy, the hash of its parameters and that of its code."""

    strategy: str
    params_sha256: str
    code_sha256: str


class EvidenceRows:
    """The rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, run_id: str, version: VersionKey, at: datetime, document: str) -> None:
        """Keep what a session showed; what was kept of it before is replaced."""
        table = schema.evidence
        row = version._asdict() | {"at": stamp(at), "document": document}
        with self._database.writing() as connection:
            if not connection.execute(table.update().where(table.c.run_id == run_id), row).rowcount:
                connection.execute(table.insert(), row | {"run_id": run_id})

    def documents(self, version: VersionKey, since: datetime) -> list[str]:
        """Return what sessions of a version showed that ended since a moment, oldest first."""
        table = schema.evidence
        same = [table.c[name] == value for name, value in version._asdict().items()]
        query = sa.select(table.c.document).where(*same, table.c.at >= stamp(since)).order_by(table.c.at)
        with self._database.reading() as connection:
            return list(connection.scalars(query))

    def versions(self, since: datetime) -> list[VersionKey]:
        """Return the versions with a session that ended since a moment, in order."""
        columns = [schema.evidence.c[name] for name in VersionKey._fields]
        newest = sa.func.max(schema.evidence.c.at)
        query = sa.select(*columns).group_by(*columns).having(newest >= stamp(since)).order_by(*columns)
        with self._database.reading() as connection:
            return [VersionKey(*row) for row in connection.execute(query)]
