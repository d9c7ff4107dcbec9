"""The registry of runs in SQLite.

Invariant: a writer takes the write lock before it reads what it will change; a reader waits for a commit at most.
Invariant: a schema newer than the code is refused, an older one is brought up to date inside one transaction.
"""

import contextlib
import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import filelock
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError

from peak_trade.durable import storing
from peak_trade.journal import schema
from peak_trade.journal.run import Run, RunStatus, Trial, Tried, plain_json, sha256_of
from peak_trade.model.clock import RunId
from peak_trade.model.errors import ConfigError, NotFound, StorageError

#: SQLite before this version, apart from two mended lines, can corrupt a WAL file under several connections.
WAL_SOUND = (3, 51, 3)
WAL_MENDED = ((3, 50, 7), (3, 44, 6))
#: What stands for the newest run where an id is asked for.
LATEST = "latest"
#: How long a writer waits for another before it gives up.
LOCK_WAIT_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs to list; None does not filter, a text must match exactly."""

    run_type: str | None = None
    status: str | None = None
    strategy: str | None = None
    symbol: str | None = None
    tag: str | None = None


#: How the URL should look.
_EXAMPLE = "such as sqlite:///var/registry.db under paths.registry"


class Registry:
    """Runs, their figures, tags and trials."""

    def __init__(self, url: str) -> None:
        """Open the registry, create it where there is none, and bring its schema up to date.

        Raises:
            ConfigError: the URL is not one of a known database.
            StorageError: the database can't be opened, is damaged, or is newer than the code.
        """
        try:
            parsed = sa.make_url(url)
        except ArgumentError as error:
            raise ConfigError(f"expected a database URL {_EXAMPLE}, found none; correct it") from error
        if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
            raise ConfigError(f"expected the URL of an SQLite file {_EXAMPLE}, found another database; correct it")
        file = Path(str(parsed.database))
        with storing(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        self._engine = sa.create_engine(parsed)
        self._name = str(parsed.database)
        sa.event.listen(self._engine, "connect", _prepare_sqlite)
        try:
            self._migrate()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    def add(self, run: Run, tried: Tried | None = None, trials: Sequence[Trial] = ()) -> None:
        """Register a run with its tags, figures and, where it is finished, its trials."""
        row = {
            name: getattr(run, name)
            for name in (column.name for column in schema.runs.columns)
            if name not in ("params", "spec", "versions", "status")
        }
        row |= {
            "status": run.status.value,
            "params": plain_json(run.params),
            "spec": plain_json(run.spec),
            "versions": plain_json(run.versions),
        }
        with self._writing() as connection:
            connection.execute(schema.runs.insert(), row)
            if run.tags:
                connection.execute(
                    schema.tags.insert(), [{"run_id": run.run_id, "tag": tag} for tag in dict.fromkeys(run.tags)]
                )
            _add_metrics(connection, run.run_id, run.metrics)
            if tried is not None:
                _add_trials(connection, run, tried, trials)

    def finish(
        self,
        run_id: RunId,
        status: RunStatus,
        *,
        at: datetime,
        elapsed_s: float | None,
        trials: int,
        metrics: Mapping[str, float] | None = None,
        result_sha256: str | None = None,
        error: str | None = None,
    ) -> None:
        """Give a run its end; figures given before are replaced."""
        changes = {
            "status": status.value,
            "finished_at": stamp(at),
            "elapsed_s": elapsed_s,
            "trials": trials,
            "result_sha256": result_sha256,
            "error": error,
        }
        with self._writing() as connection:
            connection.execute(schema.runs.update().where(schema.runs.c.run_id == run_id), changes)
            connection.execute(schema.metrics.delete().where(schema.metrics.c.run_id == run_id))
            _add_metrics(connection, run_id, metrics or {})

    def restart(self, run_id: RunId, process: int, tags: Sequence[str]) -> None:
        """Mark an interrupted run as going on in another process, with what tags that one adds."""
        changes = {"status": RunStatus.STARTED.value, "process": process, "finished_at": None, "error": None}
        with self._writing() as connection:
            connection.execute(schema.runs.update().where(schema.runs.c.run_id == run_id), changes)
            present = set(connection.scalars(sa.select(schema.tags.c.tag).where(schema.tags.c.run_id == run_id)))
            rows = [{"run_id": run_id, "tag": tag} for tag in dict.fromkeys(tags) if tag not in present]
            if rows:
                connection.execute(schema.tags.insert(), rows)

    def add_trials(self, run: Run, tried: Tried, trials: Sequence[Trial]) -> None:
        """Store finished trials of a run, all or none."""
        if trials:
            with self._writing() as connection:
                _add_trials(connection, run, tried, trials)

    @contextlib.contextmanager
    def working_on(self, name: str, wait_s: float = 0.0) -> Iterator[bool]:
        """Hold the right to work on something while the block runs; yields whether it was free within *wait_s*.

        The lock file lies beside the registry, so that every process that uses this registry sees it, and the operating
        system lets go of it when the process ends, however it ends.
        """
        folder = Path(f"{self._name}.locks")
        lock = filelock.FileLock(folder / f"{name}.lock", timeout=wait_s)
        free = True
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except filelock.Timeout:
                free = False
        try:
            yield free
        finally:
            lock.release()

    def close_dead(self, run_type: str, at: datetime) -> int:
        """Close runs of a type that are registered as started but that no process works on; return how many."""
        closed = 0
        for run in self.find(RunFilter(run_type=run_type, status=RunStatus.STARTED.value), limit=1_000):
            with self.working_on(run.spec_sha256) as free:
                # Read again under the lock: the run may have ended since the list was made.
                if free and self.get(run.run_id).status is RunStatus.STARTED:
                    why = "the process ended without finishing; the same command goes on with it"
                    trials = len(self.trials(run.run_id))
                    self.finish(run.run_id, RunStatus.ABORTED, at=at, elapsed_s=None, trials=trials, error=why)
                    closed += 1
        return closed

    def get(self, run_id: str) -> Run:
        """Return a run by its id, an unmistakable beginning or end of it, `latest`, or `latest:TYPE`.

        Raises:
            NotFound: no such run, or several.
        """
        with self._reading() as connection:
            if run_id == LATEST or run_id.startswith(f"{LATEST}:"):
                kind = run_id.removeprefix(LATEST).removeprefix(":")
                where = schema.runs.c.run_type == kind if kind else sa.true()
                found = self._rows(connection, where, 1)
            else:
                found = self._rows(connection, schema.runs.c.run_id == run_id, 1)
            if not found and len(run_id) >= 4:
                part = run_id.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
                column = schema.runs.c.run_id
                near = sa.or_(column.like(f"{part}%", escape="\\"), column.like(f"%{part}", escape="\\"))
                found = self._rows(connection, near, 2)
        if len(found) > 1:
            raise NotFound(f"expected the id of one run, found several that match {run_id!r}; give more of it")
        if not found:
            raise NotFound(f"expected the id of a run, found none like {run_id!r}; peak-trade experiments lists them")
        return found[0]

    def find(self, where: RunFilter, limit: int, sort_by: str | None = None) -> list[Run]:
        """Return matching runs, newest first, or best first by a figure or column."""
        with self._reading() as connection:
            return self._rows(connection, _condition(where), limit, sort_by)

    def latest(self, spec_sha256: str, run_type: str) -> Run | None:
        """Return the newest run with that specification."""
        same = sa.and_(schema.runs.c.spec_sha256 == spec_sha256, schema.runs.c.run_type == run_type)
        with self._reading() as connection:
            found = self._rows(connection, same, 1)
        return found[0] if found else None

    def trials(self, run_id: RunId) -> list[tuple[int, str, str]]:
        """Return number, parameters and figures (both JSON) of a run's finished trials in their order."""
        query = (
            sa.select(schema.trials.c.number, schema.trials.c.params, schema.trials.c.metrics)
            .where(schema.trials.c.run_id == run_id)
            .order_by(schema.trials.c.number)
        )
        with self._reading() as connection:
            return [(row.number, row.params, row.metrics) for row in connection.execute(query)]

    def count_trials(self, tried: Tried) -> tuple[int, int]:
        """Return how many trials overlap this market and period, and how many different ones.

        Two trials are the same if strategy, parameters and terms are.
        """
        table = schema.trials.c
        query = sa.select(sa.func.count(), sa.func.count(sa.distinct(table.identity))).where(
            table.symbol == tried.symbol,
            table.timeframe == tried.timeframe,
            table.first <= tried.last,
            table.last >= tried.first,
        )
        with self._reading() as connection:
            total, different = connection.execute(query).one()
        return int(total), int(different)

    def metric_names(self) -> list[str]:
        """Return the names of all figures that some run has."""
        with self._reading() as connection:
            return list(connection.scalars(sa.select(schema.metrics.c.name).distinct().order_by(schema.metrics.c.name)))

    def _rows(
        self, connection: sa.Connection, where: sa.ColumnElement[bool], limit: int, sort_by: str | None = None
    ) -> list[Run]:
        query = sa.select(schema.runs).where(where)
        if sort_by in (None, "run_id", "started_at"):
            query = query.order_by(schema.runs.c.run_id.desc())
        elif sort_by in schema.runs.columns:
            query = query.order_by(schema.runs.c[sort_by].asc(), schema.runs.c.run_id.desc())
        else:
            ranked = schema.metrics.alias()
            query = query.join(ranked, sa.and_(ranked.c.run_id == schema.runs.c.run_id, ranked.c.name == sort_by))
            query = query.order_by(ranked.c.value.desc(), schema.runs.c.run_id.desc())
        rows = connection.execute(query.limit(limit)).mappings().all()
        ids = [row["run_id"] for row in rows]
        figures: dict[str, dict[str, float]] = {run_id: {} for run_id in ids}
        marks: dict[str, list[str]] = {run_id: [] for run_id in ids}
        # Read without the column's type: a figure that is no number must not hide the runs beside it.
        plain = sa.select(
            schema.metrics.c.run_id, schema.metrics.c.name, sa.type_coerce(schema.metrics.c.value, sa.types.NullType())
        )
        for run_id, name, value in connection.execute(plain.where(schema.metrics.c.run_id.in_(ids))):
            figures[run_id][name] = value
        for tag in connection.execute(sa.select(schema.tags).where(schema.tags.c.run_id.in_(ids)).order_by("tag")):
            marks[tag.run_id].append(tag.tag)
        return [_run(row, tuple(marks[row["run_id"]]), figures[row["run_id"]]) for row in rows]

    def _migrate(self) -> None:
        with self._reading() as connection:
            found = _revision(connection)
        if found == schema.HEAD:
            return
        with self._writing() as connection:
            found = _revision(connection)
            if found == schema.HEAD:
                return
            if found is not None and found > schema.HEAD:
                raise StorageError(
                    f"expected a registry of version {schema.HEAD} or older in {self._name}, found {found}; "
                    "it was written by a newer Peak_Trade, use that one"
                )
            _upgrade(connection)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self._told(), self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with self._told(), self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.commit()
            except BaseException:
                connection.rollback()
                raise

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn the database's own errors into one sentence."""
        try:
            yield
        except DatabaseError as error:
            raise StorageError(f"the registry {self._name} can't be used: {_reason(error)}") from error


def stamp(moment: datetime) -> str:
    """Return an aware UTC moment as text of fixed length, to the microsecond."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _reason(error: DBAPIError) -> str:
    text = str(error.orig)
    if "locked" in text:
        return f"another process held its write lock for over {LOCK_WAIT_S} s; wait for it or end it"
    if "full" in text:
        return "the disk is full; free some space, what was stored before is intact"
    if "readonly" in text or "unable to open" in text:
        return "it can't be written or opened; check the folder's permissions"
    if "malformed" in text or "not a database" in text:
        return "the file is damaged or is no database; move it away and restore a copy"
    return f"{text}; check the database"


def _condition(where: RunFilter) -> sa.ColumnElement[bool]:
    conditions: list[sa.ColumnElement[bool]] = [sa.true()]
    for name in ("run_type", "status", "strategy", "symbol"):
        value = getattr(where, name)
        if value is not None:
            conditions.append(schema.runs.c[name] == value)
    if where.tag is not None:
        tagged = sa.select(schema.tags.c.run_id).where(schema.tags.c.tag == where.tag)
        conditions.append(schema.runs.c.run_id.in_(tagged))
    return sa.and_(*conditions)


def _run(row: sa.RowMapping, tags: tuple[str, ...], figures: Mapping[str, float]) -> Run:
    """Return a row as a run; one whose content makes no sense as a damaged run that says why."""
    plain = {name: row[name] for name in row if name not in ("params", "spec", "versions", "status", "spec_sha256")}
    try:
        parsed = {name: json.loads(row[name]) for name in ("params", "spec", "versions")}
        wrong = [name for name, value in parsed.items() if not isinstance(value, dict)]
        wrong += [name for name, value in figures.items() if not isinstance(value, float)]
        wrong += [name for name in ("trials", "process") if not isinstance(row[name], int)]
        wrong += [] if isinstance(row["elapsed_s"], float | None) else ["elapsed_s"]
        wrong += [] if re.fullmatch(r"[0-9A-Za-z][\w.-]*", row["run_id"]) else ["run_id"]
        if not wrong:
            return Run(status=RunStatus(row["status"]), tags=tags, metrics=figures, **parsed, **plain)
        why = f"{', '.join(wrong)} can't be read"
    except (ValueError, TypeError) as error:
        why = str(error)
    texts = {name: value for name, value in plain.items() if name not in ("trials", "process", "elapsed_s", "error")}
    empty: dict[str, Any] = {"params": {}, "spec": {}, "versions": {}, "metrics": {}, "process": 0}
    return Run(status=RunStatus.DAMAGED, tags=tags, error=f"this row of the registry is damaged: {why}", **empty, **texts)


def _add_trials(connection: sa.Connection, run: Run, tried: Tried, trials: Sequence[Trial]) -> None:
    place = {"symbol": tried.symbol, "timeframe": tried.timeframe, "first": tried.first, "last": tried.last}
    rows = [
        place
        | {
            "run_id": run.run_id,
            "number": trial.number,
            "identity": sha256_of([run.strategy, trial.params, tried.terms])[:16],
            "params": plain_json(trial.params),
            "metrics": plain_json(trial.metrics),
        }
        for trial in trials
    ]
    connection.execute(schema.trials.insert(), rows)


def _add_metrics(connection: sa.Connection, run_id: str, figures: Mapping[str, float]) -> None:
    rows = [{"run_id": run_id, "name": name, "value": value} for name, value in figures.items()]
    if rows:
        connection.execute(schema.metrics.insert(), rows)


def _revision(connection: sa.Connection) -> str | None:
    """Return the schema version of the database, None for an empty one."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(sa.text("select version_num from alembic_version"))
    return found


def _upgrade(connection: sa.Connection) -> None:
    """Bring the schema up to date; alembic is loaded only here, because it takes longer than most commands."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """Leave transactions to us, force every commit to disk, and use WAL only where it is sound."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {LOCK_WAIT_S * 1000}")
    cursor.execute(f"PRAGMA journal_mode = {journal_mode(sqlite3.sqlite_version_info)}")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def journal_mode(version: tuple[int, int, int]) -> str:
    """Return WAL where this SQLite version is free of the WAL-reset fault (sqlite.org/wal.html), else DELETE."""
    mended = any(version[:2] == line[:2] and version >= line for line in WAL_MENDED)
    return "WAL" if version >= WAL_SOUND or mended else "DELETE"
