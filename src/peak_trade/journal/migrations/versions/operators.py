"""Operators, acknowledgements of failed sessions, and the indexes that lists and totals of many sessions need."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def words(length: int) -> sa.types.TypeEngine[str]:
    """Return text that every database orders by code points."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    """Add tables, a column and indexes; sessions that failed before are there to be acknowledged."""
    op.create_table(
        "acknowledgements",
        sa.Column("session_id", words(40), nullable=False),
        sa.Column("operator", words(64), nullable=False),
        sa.Column("at", words(32), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.session_id"], name="fk_acknowledgements_session_id"),
        sa.PrimaryKeyConstraint("session_id", name="pk_acknowledgements"),
    )
    op.create_table(
        "operators",
        sa.Column("token_sha256", words(64), nullable=False),
        sa.Column("name", words(64), nullable=False),
        sa.Column("created_at", words(32), nullable=False),
        sa.Column("revoked_at", words(32)),
        sa.PrimaryKeyConstraint("token_sha256", name="pk_operators"),
    )
    active = sa.text("revoked_at IS NULL")
    op.create_index("uq_operators_active", "operators", ["name"], unique=True, sqlite_where=active, postgresql_where=active)
    op.create_table(
        "journal_heads",
        sa.Column("key_id", words(16), nullable=False),
        sa.Column("segment", words(64), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("sha256", words(64), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name="pk_journal_heads"),
    )
    op.drop_index("ix_tags_tag", "tags")
    op.create_index("ix_tags_tag_run_id", "tags", ["tag", "run_id"])
    _upgrade_list()


def _upgrade_list() -> None:
    op.add_column("session_list", sa.Column("acknowledged_at", words(32)))
    figures = ["realized_pnl", "fees_paid", "num_orders", "num_fills", "orders_rejected", "orders_blocked_risk"]
    filters = ["strategy", "symbol", "account", "env_name", "started_at", "acknowledged_at"]
    op.drop_index("ix_session_list_totals", "session_list")
    op.create_index("ix_session_list_totals", "session_list", ["currency", "mode", "run_type", "status", *filters, *figures])
    sorts = ["started_at", "mode", "status", "strategy", "symbol", "account", *figures]
    for name in sorts:
        if name != "orders_rejected":
            op.create_index(f"ix_session_list_{name}", "session_list", [name, "session_id"])
    unhandled = sa.text("status = 'failed' AND acknowledged_at IS NULL")
    op.create_index(
        "ix_session_list_unhandled",
        "session_list",
        ["status", "acknowledged_at"],
        sqlite_where=unhandled,
        postgresql_where=unhandled,
    )
