"""The database that runs and sessions share: an SQLite file or PostgreSQL.

Invariant: there is one writer at a time, and it takes the write lock before it reads what it will change.
Invariant: a reader sees one moment of the database, and waits for a commit at most.
Invariant: a schema newer than the code is refused, an older one is brought up to date inside one transaction.
Invariant: no sentence made here names the user or password of a URL.
"""

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Protocol

import filelock
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError

from peak_trade.durable import storing
from peak_trade.journal import schema
from peak_trade.model.errors import ConfigError, StorageError

#: SQLite before this version, apart from two mended lines, can corrupt a WAL file under several connections.
WAL_SOUND = (3, 51, 3)
WAL_MENDED = ((3, 50, 7), (3, 44, 6))
#: How long a writer waits for another before it gives up.
LOCK_WAIT_S = 30
#: How long PostgreSQL may take to answer a new connection.
CONNECT_WAIT_S = 10
#: How the URL should look.
_EXAMPLE = "such as sqlite:///var/registry.db or postgresql+psycopg://host/peak_trade under paths.registry"
_OCCUPIED = "another process held its write lock for over {} s; wait for it or end it"
_DISK_FULL = "the disk is full; free some space, what was stored before is intact"
#: PostgreSQL's SQLSTATE (appendix A of its manual), or its beginning, and what it means to us.
_STATES = {
    "53100": _DISK_FULL,
    "53300": "the server has no connection left; end others or raise its max_connections",
    "42501": "its user may not do this; make it the owner of the database, or grant it usage and create on the schema",
    "25006": "the server is read-only; use the primary, not a replica",
    "22001": "a text is longer than its column; shorten it",
    "57P": "the server is shutting down or starting; try again when it runs",
    "08": "the connection to the server was lost; check the network and try again",
    "XX": "its data is damaged; restore a copy",
}
#: What a server that refuses a connection says (there is no SQLSTATE then), and what it means to us.
_REFUSALS = {
    "password": "the server refused the user or its password; check the user, PGPASSWORD and ~/.pgpass",
    "authentication": "the server refused the user; check the user and the server's pg_hba.conf",
    "pg_hba.conf": "the server refused the user from this host; check the server's pg_hba.conf",
    "role ": "the server refused the user; check its name, or create it with createuser",
    "database ": "the server has no such database; create it with createdb",
    "connection slots": _STATES["53300"],
    "too many clients": _STATES["53300"],
    "starting up": _STATES["57P"],
    "shutting down": _STATES["57P"],
    "invalid connection option": "its URL has an option that PostgreSQL does not know; correct paths.registry",
}


class Backend(Protocol):
    """What differs between the databases."""

    #: The database as people know it.
    name: str
    engine: sa.Engine

    def changed(self) -> bool:
        """Tell whether the database is another one than was opened."""
        ...

    def start_reading(self, connection: sa.Connection) -> None:
        """Begin a transaction that sees one moment."""
        ...

    def start_writing(self, connection: sa.Connection) -> None:
        """Begin a transaction and take the write lock."""
        ...

    def reason(self, error: DBAPIError) -> str:
        """Tell what went wrong and what to do."""
        ...

    def working_on(self, name: str, wait_s: float) -> AbstractContextManager[bool]:
        """Hold a named lock; see `Database.working_on`."""
        ...


class Database:
    """Transactions, migrations and named locks."""

    def __init__(self, url: str) -> None:
        """Open the database, create an SQLite file where there is none, and bring the schema up to date.

        Raises:
            ConfigError: the URL is not one of a known database, or the driver is not installed.
            StorageError: the database can't be opened, is damaged, or is newer than the code.
        """
        self._backend = _backend(url)
        self.name = self._backend.name
        try:
            self._migrate()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of all connections."""
        self._backend.engine.dispose()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Yield a connection that sees one moment of the database; fetch at once and leave, writers wait for that."""
        self._follow()
        with self._told(), self._backend.engine.connect() as connection:
            self._backend.start_reading(connection)
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Yield the one connection that may write; what is done in the block is stored as a whole or not at all."""
        self._follow()
        with self._told(), self._backend.engine.connect() as connection:
            try:
                self._backend.start_writing(connection)
                yield connection
                connection.commit()
            except BaseException:
                # A connection that broke can't be rolled back, and need not: the database has done so.
                with contextlib.suppress(DBAPIError):
                    connection.rollback()
                raise

    @contextlib.contextmanager
    def working_on(self, name: str, wait_s: float = 0.0) -> Iterator[bool]:
        """Hold the right to work on something while the block runs; yields whether it was free within *wait_s*.

        Every process that uses this database sees it, and it is free again when the holder's process or connection ends,
        however it ends.
        """
        with self._backend.working_on(name, wait_s) as free:
            yield free

    def _follow(self) -> None:
        """Open what stands in the database's place now; a process that runs for weeks must not go on with an old file."""
        if self._backend.changed():
            self._backend.engine.dispose()
            self._migrate()

    def _migrate(self) -> None:
        with self.reading() as connection:
            found = _revision(connection)
        if found == schema.HEAD:
            return
        with self.writing() as connection:
            # Read again under the lock: another process may have done it since.
            found = _revision(connection)
            if found == schema.HEAD:
                return
            if found is not None and found > schema.HEAD:
                raise StorageError(
                    f"expected a registry of version {schema.HEAD} or older in {self.name}, found {found}; "
                    "it was written by a newer Peak_Trade, use that one"
                )
            _upgrade(connection)

    def _told(self) -> AbstractContextManager[None]:
        return _told(self._backend)


class SqliteFile:
    """SQLite: the write lock is the file's own, named locks are files beside it."""

    def __init__(self, url: sa.URL) -> None:
        self.name = str(url.database)
        file = Path(self.name)
        with storing(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        self.engine = sa.create_engine(url)
        self._file, self._known = file, _identity(file)
        sa.event.listen(self.engine, "connect", _prepare_sqlite)

    def changed(self) -> bool:
        """Tell whether another file stands in the place of the one that was opened.

        Raises:
            StorageError: none does; an empty one would look like a registry without runs.
        """
        now = _identity(self._file)
        if now == self._known:
            return False
        if now is None:
            raise StorageError(
                f"the registry {self.name} can't be used: its file is gone; restore a copy, or start again to begin a new one"
            )
        before, self._known = self._known, now
        return before is not None

    def start_reading(self, connection: sa.Connection) -> None:
        """Begin a transaction; its first query fixes what it sees."""
        connection.exec_driver_sql("BEGIN")

    def start_writing(self, connection: sa.Connection) -> None:
        """Begin a transaction with the write lock."""
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def reason(self, error: DBAPIError) -> str:
        """Tell what went wrong and what to do."""
        text = str(error.orig)
        if "locked" in text:
            return _OCCUPIED.format(LOCK_WAIT_S)
        if "full" in text:
            return _DISK_FULL
        if "readonly" in text or "unable to open" in text:
            return "it can't be written or opened; check the folder's permissions"
        if "malformed" in text or "not a database" in text:
            return "the file is damaged or is no database; move it away and restore a copy"
        return f"{text}; check the database"

    @contextlib.contextmanager
    def working_on(self, name: str, wait_s: float) -> Iterator[bool]:
        """Lock a file beside the database; the operating system lets go of it with the process."""
        folder = Path(f"{self.name}.locks")
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


class PostgresServer:
    """PostgreSQL: both kinds of lock are advisory locks, which end with the transaction or the connection."""

    def __init__(self, url: sa.URL) -> None:
        place = url.host or url.query.get("host") or "the local socket"
        self.name = f"{url.database} on {place}" + (f":{url.port}" if url.port else "")
        # The server's defaults must not decide what a transaction sees or how text comes back.
        options = {"client_encoding": "utf8", "connect_timeout": CONNECT_WAIT_S, "application_name": "peak-trade"}
        try:
            self.engine = sa.create_engine(
                url.set(drivername="postgresql+psycopg"),
                isolation_level="READ COMMITTED",
                pool_pre_ping=True,
                connect_args={name: value for name, value in options.items() if name not in url.query},
            )
        except ImportError as error:
            raise ConfigError(
                "expected the driver psycopg for a registry in PostgreSQL, found none; pip install peak-trade[postgres]"
            ) from error

    def changed(self) -> bool:
        """Tell that it is not: a server is what its address names."""
        return False

    def start_reading(self, connection: sa.Connection) -> None:
        """Begin a read-only transaction; its first query fixes what it sees."""
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

    def start_writing(self, connection: sa.Connection) -> None:
        """Begin a transaction with the write lock; under READ COMMITTED every later statement sees what came before it."""
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {max(1, int(LOCK_WAIT_S * 1000))}")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({lock_key('write lock')})")

    def reason(self, error: DBAPIError) -> str:
        """Tell what went wrong and what to do; never in the words of a refused connection, which name the user."""
        state = getattr(error.orig, "sqlstate", None)
        if state is None:
            text = str(error.orig)
            known = (why for words, why in _REFUSALS.items() if words in text)
            return next(known, "the server can't be reached; check that it runs, and the host and port in paths.registry")
        if state == "55P03":
            return _OCCUPIED.format(LOCK_WAIT_S)
        told = getattr(getattr(error.orig, "diag", None), "message_primary", None)
        known = (why for start, why in _STATES.items() if state.startswith(start))
        return next(known, f"{told or 'it refused'} ({state}); check the database")

    @contextlib.contextmanager
    def working_on(self, name: str, wait_s: float) -> Iterator[bool]:
        """Hold a lock of the server on a connection of its own."""
        with _told(self), self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            # Out of the pool: closing it lets go of whatever it holds.
            connection.detach()
            key = lock_key(f"working on {name}")
            free = _lock_within(connection, key, wait_s)
            try:
                yield free
            finally:
                # A connection that broke has lost its lock already.
                with contextlib.suppress(DBAPIError):
                    connection.exec_driver_sql(f"SELECT pg_advisory_unlock({key})" if free else "SELECT 1")


def lock_key(name: str) -> int:
    """Return the 64 signed bits that PostgreSQL knows a lock by."""
    return int.from_bytes(hashlib.sha256(f"peak_trade {name}".encode()).digest()[:8], signed=True)


def journal_mode(version: tuple[int, int, int]) -> str:
    """Return WAL where this SQLite version is free of the WAL-reset fault (sqlite.org/wal.html), else DELETE."""
    mended = any(version[:2] == line[:2] and version >= line for line in WAL_MENDED)
    return "WAL" if version >= WAL_SOUND or mended else "DELETE"


def _backend(url: str) -> Backend:
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        # Not chained: the parser's complaint may quote a part of a password.
        raise ConfigError(f"expected a database URL {_EXAMPLE}, found none; correct it") from None
    if parsed.drivername in ("sqlite", "sqlite+pysqlite") and parsed.database not in (None, "", ":memory:"):
        return SqliteFile(parsed)
    if parsed.drivername in ("postgresql", "postgresql+psycopg") and parsed.database:
        if "@" in (parsed.host or ""):
            raise ConfigError("expected a URL with one @ before the host, found more; write an @ in a name as %40")
        return PostgresServer(parsed)
    raise ConfigError(f"expected the URL of an SQLite file or PostgreSQL database {_EXAMPLE}, found another; correct it")


@contextlib.contextmanager
def _told(backend: Backend) -> Iterator[None]:
    """Turn the database's own errors into one sentence."""
    try:
        yield
    except DBAPIError as error:
        # What a connection remembers of a database that was damaged then must not outlive the damage.
        backend.engine.dispose()
        raise StorageError(f"the registry {backend.name} can't be used: {backend.reason(error)}") from error


def _lock_within(connection: sa.Connection, key: int, wait_s: float) -> bool:
    """Take a lock of the connection's session, waiting in the server's queue; return whether it was free in time."""
    if wait_s <= 0:
        return bool(connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({key})").scalar())
    connection.exec_driver_sql(f"SET lock_timeout = {max(1, int(wait_s * 1000))}")
    try:
        connection.exec_driver_sql(f"SELECT pg_advisory_lock({key})")
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != "55P03":
            raise
        return False
    return True


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


def _identity(file: Path) -> tuple[int, int] | None:
    """Return which file it is; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """Leave transactions to us, force every commit to disk, and use WAL only where it is sound."""
    connection.isolation_level = None
    # One damaged text must not hide all others of a query.
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {LOCK_WAIT_S * 1000}")
    cursor.execute(f"PRAGMA journal_mode = {journal_mode(sqlite3.sqlite_version_info)}")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()
