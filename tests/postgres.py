"""A PostgreSQL server for tests: started on a socket in a folder of its own, stopped and deleted at the end."""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

#: Who the server knows, and who needs a password.
USER = "peak"
GUARDED = "guarded"


class Server:
    """A running server; its databases order text as English does, which is not how SQLite does."""

    def __init__(self, tools: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
        self._tools = tools
        self._numbers = itertools.count()
        # The server refuses to run as root.
        self._user = None
        if os.getuid() == 0:
            self._user = next(name for name in ("postgres", "nobody") if name in {entry.pw_name for entry in pwd.getpwall()})
            shutil.chown(self.folder, self._user)

    def start(self) -> None:
        """Make the server's files and wait until it answers."""
        data = str(self.folder / "data")
        self._call("initdb", "-D", data, "-A", "trust", "-U", USER, "-E", "UTF8", "--no-sync", "--no-instructions")
        rules = self.folder / "data" / "pg_hba.conf"
        rules.write_text(f"local all {GUARDED} scram-sha-256\n" + rules.read_text())
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c fsync=off -c max_connections=50"
        self._call("pg_ctl", "start", "-w", "-D", data, "-l", str(self.folder / "log"), "-o", options)

    def stop(self) -> None:
        """End the server and delete its files."""
        try:
            if (self.folder / "data" / "postmaster.pid").exists():
                self._call("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(self.folder / "data"))
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, user: str = USER) -> str:
        """Return the URL of a database."""
        return f"postgresql+psycopg://{user}@/{database}?host={self.folder}"

    def run(self, statement: str, database: str = "postgres") -> None:
        """Run a statement outside of a transaction."""
        with psycopg.connect(host=str(self.folder), user=USER, dbname=database, autocommit=True) as connection:
            connection.execute(statement)

    def create(self) -> str:
        """Make an empty database and return its name."""
        name = f"test{next(self._numbers)}"
        plain = f"CREATE DATABASE {name} TEMPLATE template0"
        try:
            self.run(f"{plain} LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")
        except psycopg.Error:  # older than 15, or built without ICU
            self.run(plain)
        return name

    def drop(self, name: str) -> None:
        """Delete a database, whoever is connected."""
        self.run(f"DROP DATABASE {name} WITH (FORCE)")

    def _call(self, tool: str, *arguments: str) -> None:
        # Not captured by pipes: the server would hold them open.
        with tempfile.TemporaryFile() as out:
            command = [str(self._tools / tool), *arguments]
            ended = subprocess.run(command, cwd=self.folder, user=self._user, stdout=out, stderr=out, check=False)
            out.seek(0)
            assert ended.returncode == 0, out.read().decode(errors="replace")


def postgres_tools() -> Path | None:
    """Return the folder with the server's programs, the newest where there are several."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((path.parent for path in installed), key=lambda path: float(path.parent.name), default=None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A server for all tests of this process."""
    tools = postgres_tools()
    if tools is None:
        pytest.skip("PostgreSQL is not installed (no initdb in PATH or /usr/lib/postgresql)")
    server = Server(tools)
    try:
        server.start()
        yield server
    finally:
        server.stop()
