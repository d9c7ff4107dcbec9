"""The registry's tables. A change here needs a migration beside it; a test compares the two."""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text, text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

#: The migration that the code below matches; comparing it with the database spares loading alembic at every start.
HEAD = "0004"

#: The figures of sessions that may be added up.
SUMMED = ("realized_pnl", "fees_paid", "num_orders", "num_fills", "orders_rejected", "orders_blocked_risk")
#: What totals of sessions are kept apart by.
GROUPED = ("currency", "mode", "run_type", "status")

#: What else they can be filtered by, besides words and tags.
FILTERED = ("strategy", "symbol", "account", "env_name", "started_at", "acknowledged_at")

#: Written out, because no database matches a bound value with the condition of an index.
STARTED = text("status = 'started'")
ACTIVE = text("revoked_at IS NULL")
UNHANDLED = text("status = 'failed' AND acknowledged_at IS NULL")
#: What a list of sessions can be sorted by; each has an index, which also finds a single value and all values quickly.
SORTED = (
    "started_at",
    "mode",
    "status",
    "strategy",
    "symbol",
    "account",
    "realized_pnl",
    "fees_paid",
    "num_orders",
    "num_fills",
    "orders_blocked_risk",
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class _Readable(TypeDecorator[str]):
    """A text that is read as far as it is one: SQLite may hold bytes in any column, and one such value must not hide others."""

    impl = String
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Return what a row holds as text."""
        return value.decode(errors="replace") if isinstance(value, bytes) else value


class Prose(_Readable):
    """Text of any length."""

    impl = Text
    cache_ok = True


def words(length: int) -> TypeEngine[str]:
    """Return text that every database orders by code points, whatever language a PostgreSQL database was made for."""
    return _Readable(length).with_variant(String(length, collation="C"), "postgresql")


#: One row for each run. Times are ISO 8601 in UTC, so that their order as text is their order in time.
runs = Table(
    "runs",
    metadata,
    Column("run_id", words(40), primary_key=True),
    Column("run_type", words(40), nullable=False),
    Column("status", words(16), nullable=False),
    Column("strategy", words(255), nullable=False),
    Column("symbol", words(255), nullable=False),
    Column("timeframe", words(8), nullable=False),
    Column("params", Prose, nullable=False),
    Column("spec", Prose, nullable=False),
    Column("spec_sha256", words(64), nullable=False),
    Column("dataset_sha256", words(64), nullable=False),
    Column("config_sha256", words(64), nullable=False),
    Column("code_version", words(64), nullable=False),
    Column("code_clean", Boolean, nullable=False),
    Column("versions", Prose, nullable=False),
    Column("started_at", words(32), nullable=False),
    Column("finished_at", words(32)),
    Column("elapsed_s", Float),
    Column("env_name", words(64), nullable=False),
    Column("process", Integer, nullable=False),
    Column("trials", BigInteger, nullable=False, default=0),
    Column("result_sha256", words(64)),
    Column("error", Prose),
    Index(None, "run_type", "run_id"),
    Index(None, "strategy", "run_id"),
    Index(None, "spec_sha256"),
)

#: The figures of a run by name; what could not be computed has no row.
metrics = Table(
    "metrics",
    metadata,
    Column("run_id", ForeignKey("runs.run_id"), primary_key=True),
    Column("name", words(48), primary_key=True),
    Column("value", Float, nullable=False),
    Index(None, "name", "value"),
)

tags = Table(
    "tags",
    metadata,
    Column("run_id", ForeignKey("runs.run_id"), primary_key=True),
    Column("tag", words(64), primary_key=True),
    Index(None, "tag", "run_id"),
)

#: Every combination of parameters ever tried; later gates deflate results by their number. `identity` is the hash of
#: strategy, parameters and terms; `first` and `last` are the open times of the first and last bar, nanoseconds UTC.
trials = Table(
    "trials",
    metadata,
    Column("run_id", ForeignKey("runs.run_id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("symbol", words(32), nullable=False),
    Column("timeframe", words(8), nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("identity", words(16), nullable=False),
    Column("params", Prose, nullable=False),
    Column("metrics", Prose, nullable=False),
    Index("ix_trials_period", "symbol", "timeframe", "first", "last", "identity"),
)

#: What a session has beyond its run. `lease_until` is when others may take it for dead; `journal` is the path of its
#: segment of the journal, `head_seq` and `head_sha256` that segment's last record.
sessions = Table(
    "sessions",
    metadata,
    Column("session_id", ForeignKey("runs.run_id"), primary_key=True),
    Column("mode", words(16), nullable=False),
    Column("tier", words(32), nullable=False),
    Column("account", words(64), nullable=False),
    Column("host", words(255), nullable=False),
    Column("heartbeat_at", words(32), nullable=False),
    Column("lease_until", words(32), nullable=False),
    Column("feed", Prose, nullable=False),
    Column("cli_args", Prose, nullable=False),
    Column("notes", Prose, nullable=False),
    Column("continues", words(40)),
    Column("journal", words(255), nullable=False),
    Column("head_seq", BigInteger),
    Column("head_sha256", words(64)),
    Column("summary", Prose, nullable=False),
)

#: Who has taken note of a session that failed, and what they say of it.
acknowledgements = Table(
    "acknowledgements",
    metadata,
    Column("session_id", ForeignKey("sessions.session_id"), primary_key=True),
    Column("operator", words(64), nullable=False),
    Column("at", words(32), nullable=False),
    Column("note", Prose, nullable=False),
)

#: Who may act through the dashboard. A name can be given again once it is revoked; of a token only the hash is kept.
operators = Table(
    "operators",
    metadata,
    Column("token_sha256", words(64), primary_key=True),
    Column("name", words(64), nullable=False),
    Column("created_at", words(32), nullable=False),
    Column("revoked_at", words(32)),
    # The database itself refuses a second operator of a name.
    Index("uq_operators_active", "name", unique=True, sqlite_where=ACTIVE, postgresql_where=ACTIVE),
)

#: The last record of a journal that belongs to no session, by the key that signs it: whoever takes it away leaves this.
journal_heads = Table(
    "journal_heads",
    metadata,
    Column("key_id", words(16), primary_key=True),
    Column("segment", words(64), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("sha256", words(64), nullable=False),
)

#: What lists, filters and totals of sessions read: a narrow copy of each, in the order of time, written with it in one
#: transaction; `searched` is all its words in small letters. (A hundred thousand joined rows would take half a second.)
session_list = Table(
    "session_list",
    metadata,
    Column("session_id", ForeignKey("sessions.session_id"), primary_key=True),
    Column("run_type", words(40), nullable=False),
    Column("mode", words(16), nullable=False),
    Column("status", words(16), nullable=False),
    Column("strategy", words(255), nullable=False),
    Column("symbol", words(255), nullable=False),
    Column("account", words(64), nullable=False),
    Column("env_name", words(64), nullable=False),
    Column("started_at", words(32), nullable=False),
    Column("currency", words(32), nullable=False),
    Column("searched", Prose, nullable=False),
    *(Column(name, Float) for name in SUMMED),
    Column("acknowledged_at", words(32)),
    # In the order of the groups: totals read it from end to end and sort nothing.
    Index("ix_session_list_totals", *GROUPED, *FILTERED, *SUMMED),
    *(Index(f"ix_session_list_{name}", name, "session_id") for name in SORTED),
    Index("ix_session_list_unhandled", "status", "acknowledged_at", sqlite_where=UNHANDLED, postgresql_where=UNHANDLED),
    # The database itself refuses a second started session of an account.
    Index("uq_session_list_started", "account", unique=True, sqlite_where=STARTED, postgresql_where=STARTED),
    sqlite_with_rowid=False,
)

#: What sessions showed, copied from their journals so that an overview of all of them is quick; gates decide from the
#: journals. `document` is the evidence as canonical JSON.
evidence = Table(
    "evidence",
    metadata,
    Column("run_id", words(40), primary_key=True),
    Column("strategy", words(64), nullable=False),
    Column("params_sha256", words(64), nullable=False),
    Column("code_sha256", words(64), nullable=False),
    Column("at", words(32), nullable=False),
    Column("document", Prose, nullable=False),
    Index("ix_evidence_version", "strategy", "params_sha256", "code_sha256", "at"),
)
