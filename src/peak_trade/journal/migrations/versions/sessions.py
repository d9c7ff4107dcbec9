"""Sessions and the narrow copy of them that lists read."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def words(length: int) -> sa.types.TypeEngine[str]:
    """Return text that every database orders by code points."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    """Add the tables; there were no sessions before."""
    op.create_table(
        "sessions",
        sa.Column("session_id", words(40), nullable=False),
        sa.Column("mode", words(16), nullable=False),
        sa.Column("tier", words(32), nullable=False),
        sa.Column("account", words(64), nullable=False),
        sa.Column("host", words(255), nullable=False),
        sa.Column("heartbeat_at", words(32), nullable=False),
        sa.Column("lease_until", words(32), nullable=False),
        sa.Column("feed", sa.Text, nullable=False),
        sa.Column("cli_args", sa.Text, nullable=False),
        sa.Column("notes", sa.Text, nullable=False),
        sa.Column("continues", words(40)),
        sa.Column("journal", words(255), nullable=False),
        sa.Column("head_seq", sa.BigInteger),
        sa.Column("head_sha256", words(64)),
        sa.Column("summary", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["runs.run_id"], name="fk_sessions_session_id"),
        sa.PrimaryKeyConstraint("session_id", name="pk_sessions"),
    )
    op.create_table(
        "session_list",
        sa.Column("session_id", words(40), nullable=False),
        sa.Column("run_type", words(40), nullable=False),
        sa.Column("mode", words(16), nullable=False),
        sa.Column("status", words(16), nullable=False),
        sa.Column("strategy", words(255), nullable=False),
        sa.Column("symbol", words(255), nullable=False),
        sa.Column("account", words(64), nullable=False),
        sa.Column("env_name", words(64), nullable=False),
        sa.Column("started_at", words(32), nullable=False),
        sa.Column("currency", words(32), nullable=False),
        sa.Column("searched", sa.Text, nullable=False),
        sa.Column("realized_pnl", sa.Float),
        sa.Column("fees_paid", sa.Float),
        sa.Column("num_orders", sa.Float),
        sa.Column("num_fills", sa.Float),
        sa.Column("orders_rejected", sa.Float),
        sa.Column("orders_blocked_risk", sa.Float),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.session_id"], name="fk_session_list_session_id"),
        sa.PrimaryKeyConstraint("session_id", name="pk_session_list"),
        sqlite_with_rowid=False,
    )
    figures = ["realized_pnl", "fees_paid", "num_orders", "num_fills", "orders_rejected", "orders_blocked_risk"]
    op.create_index("ix_session_list_totals", "session_list", ["currency", "mode", "run_type", "status", *figures])
    started = sa.text("status = 'started'")
    op.create_index(
        "uq_session_list_started", "session_list", ["account"], unique=True, sqlite_where=started, postgresql_where=started
    )
