"""The registry's tables. A change here needs a migration beside it; a test compares the two."""

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text

#: The migration that the code below matches; comparing it with the database spares loading alembic at every start.
HEAD = "0001"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: One row for each run. Times are ISO 8601 in UTC, so that their order as text is their order in time.
runs = Table(
    "runs",
    metadata,
    Column("run_id", String(40), primary_key=True),
    Column("run_type", String(40), nullable=False),
    Column("status", String(16), nullable=False),
    Column("strategy", String(64), nullable=False),
    Column("symbol", String(32), nullable=False),
    Column("timeframe", String(8), nullable=False),
    Column("params", Text, nullable=False),
    Column("spec", Text, nullable=False),
    Column("spec_sha256", String(64), nullable=False),
    Column("dataset_sha256", String(64), nullable=False),
    Column("config_sha256", String(64), nullable=False),
    Column("code_version", String(64), nullable=False),
    Column("code_clean", Boolean, nullable=False),
    Column("versions", Text, nullable=False),
    Column("started_at", String(32), nullable=False),
    Column("finished_at", String(32)),
    Column("elapsed_s", Float),
    Column("env_name", String(64), nullable=False),
    Column("process", Integer, nullable=False),
    Column("trials", BigInteger, nullable=False, default=0),
    Column("result_sha256", String(64)),
    Column("error", Text),
    Index(None, "run_type", "run_id"),
    Index(None, "strategy", "run_id"),
    Index(None, "spec_sha256"),
)

#: The figures of a run by name; what could not be computed has no row.
metrics = Table(
    "metrics",
    metadata,
    Column("run_id", ForeignKey("runs.run_id"), primary_key=True),
    Column("name", String(48), primary_key=True),
    Column("value", Float, nullable=False),
    Index(None, "name", "value"),
)

tags = Table(
    "tags",
    metadata,
    Column("run_id", ForeignKey("runs.run_id"), primary_key=True),
    Column("tag", String(64), primary_key=True),
    Index(None, "tag"),
)

#: Every combination of parameters ever tried; later gates deflate results by their number. `identity` is the hash of
#: strategy, parameters and terms; `first` and `last` are the open times of the first and last bar, nanoseconds UTC.
trials = Table(
    "trials",
    metadata,
    Column("run_id", ForeignKey("runs.run_id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("symbol", String(32), nullable=False),
    Column("timeframe", String(8), nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("identity", String(16), nullable=False),
    Column("params", Text, nullable=False),
    Column("metrics", Text, nullable=False),
    Index("ix_trials_period", "symbol", "timeframe", "first", "last", "identity"),
)
