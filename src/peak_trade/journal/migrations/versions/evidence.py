"""What sessions showed, for the gates' overview: a copy of what their journals say."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def words(length: int) -> sa.types.TypeEngine[str]:
    """Return text that every database orders by code points."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    """Add the table; sessions of before come into it when a gate reads their journals."""
    op.create_table(
        "evidence",
        sa.Column("run_id", words(40), nullable=False),
        sa.Column("strategy", words(64), nullable=False),
        sa.Column("params_sha256", words(64), nullable=False),
        sa.Column("code_sha256", words(64), nullable=False),
        sa.Column("at", words(32), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="pk_evidence"),
    )
    op.create_index("ix_evidence_version", "evidence", ["strategy", "params_sha256", "code_sha256", "at"])
