"""Runs with their figures, tags and trials."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def words(length: int) -> sa.types.TypeEngine[str]:
    """Return text that every database orders by code points."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    """Create the first tables."""
    op.create_table(
        "runs",
        sa.Column("run_id", words(40), nullable=False),
        sa.Column("run_type", words(40), nullable=False),
        sa.Column("status", words(16), nullable=False),
        sa.Column("strategy", words(255), nullable=False),
        sa.Column("symbol", words(255), nullable=False),
        sa.Column("timeframe", words(8), nullable=False),
        sa.Column("params", sa.Text, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("spec_sha256", words(64), nullable=False),
        sa.Column("dataset_sha256", words(64), nullable=False),
        sa.Column("config_sha256", words(64), nullable=False),
        sa.Column("code_version", words(64), nullable=False),
        sa.Column("code_clean", sa.Boolean, nullable=False),
        sa.Column("versions", sa.Text, nullable=False),
        sa.Column("started_at", words(32), nullable=False),
        sa.Column("finished_at", words(32)),
        sa.Column("elapsed_s", sa.Float),
        sa.Column("env_name", words(64), nullable=False),
        sa.Column("process", sa.Integer, nullable=False),
        sa.Column("trials", sa.BigInteger, nullable=False),
        sa.Column("result_sha256", words(64)),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("run_id", name="pk_runs"),
    )
    op.create_index("ix_runs_run_type_run_id", "runs", ["run_type", "run_id"])
    op.create_index("ix_runs_strategy_run_id", "runs", ["strategy", "run_id"])
    op.create_index("ix_runs_spec_sha256", "runs", ["spec_sha256"])
    op.create_table(
        "metrics",
        sa.Column("run_id", words(40), nullable=False),
        sa.Column("name", words(48), nullable=False),
        sa.Column("value", sa.Float, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_metrics_run_id"),
        sa.PrimaryKeyConstraint("run_id", "name", name="pk_metrics"),
    )
    op.create_index("ix_metrics_name_value", "metrics", ["name", "value"])
    op.create_table(
        "tags",
        sa.Column("run_id", words(40), nullable=False),
        sa.Column("tag", words(64), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_tags_run_id"),
        sa.PrimaryKeyConstraint("run_id", "tag", name="pk_tags"),
    )
    op.create_index("ix_tags_tag", "tags", ["tag"])
    op.create_table(
        "trials",
        sa.Column("run_id", words(40), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("symbol", words(32), nullable=False),
        sa.Column("timeframe", words(8), nullable=False),
        sa.Column("first", sa.BigInteger, nullable=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("identity", words(16), nullable=False),
        sa.Column("params", sa.Text, nullable=False),
        sa.Column("metrics", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_trials_run_id"),
        sa.PrimaryKeyConstraint("run_id", "number", name="pk_trials"),
    )
    op.create_index("ix_trials_period", "trials", ["symbol", "timeframe", "first", "last", "identity"])
