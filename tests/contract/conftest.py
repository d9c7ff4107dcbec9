"""Each test of this folder runs on SQLite and on PostgreSQL, on an empty database of its own."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.postgres import Server, postgres

from peak_trade.journal.registry import Registry
from peak_trade.journal.sessions import Sessions

__all__ = ["postgres"]


@pytest.fixture
def postgres_url(postgres: Server) -> Iterator[str]:
    """An empty database of the server."""
    name = postgres.create()
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path}/var/registry.db"


@pytest.fixture
def registry(url: str) -> Iterator[Registry]:
    """The registry of runs in that database."""
    with closing(Registry(url)) as opened:
        yield opened


@pytest.fixture
def sessions(registry: Registry) -> Sessions:
    """The registry of sessions in the same database."""
    return Sessions(registry.database)
