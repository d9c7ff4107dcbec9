"""Versions of the schema."""

import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from tests.contract.rows import HOURS, NOW, a_run, a_session, a_trial, execute, start

import peak_trade.journal
from peak_trade.journal import schema
from peak_trade.journal.database import Database
from peak_trade.journal.operators import Operators
from peak_trade.journal.registry import Registry, RunFilter, insert_run, stamp
from peak_trade.journal.run import RunStatus, plain_json
from peak_trade.journal.session_rows import list_row, own_row
from peak_trade.journal.sessions import Census, SessionFilter, Sessions
from peak_trade.model.clock import RunId
from peak_trade.model.errors import StorageError


def test_the_migrations_make_the_schema(registry, url):
    """Tables made by the migrations are those that the code describes."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), schema.metadata)
    engine.dispose()

    assert differences == []
    assert execute(url, "select version_num from alembic_version") == [(schema.HEAD,)]


def test_a_newer_schema_is_refused(registry, url):
    """A database written by a later version is left alone."""
    execute(url, "update alembic_version set version_num = '9999'")

    with pytest.raises(StorageError, match="written by a newer Peak_Trade"):
        Registry(url)


def earlier(url: str, version: str) -> sa.Engine:
    """Make a database as an earlier version of the schema was."""
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True)
    config = Config()
    config.set_main_option("script_location", str(Path(peak_trade.journal.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, version)
    return engine


def first_version(url: str) -> None:
    """Make a database as the first version of the schema was, with a run."""
    engine = earlier(url, "0001")
    with engine.begin() as connection:
        run = a_run(tags=(), metrics={})
        row = {c.name: getattr(run, c.name) for c in schema.runs.columns} | {"status": run.status.value}
        row |= {name: plain_json(row[name]) for name in ("params", "spec", "versions")}
        connection.execute(schema.runs.insert(), row)
        connection.execute(schema.metrics.insert(), {"run_id": run.run_id, "name": "sharpe", "value": 0.1 + 0.2})
        connection.execute(schema.tags.insert(), {"run_id": run.run_id, "tag": "one"})
    engine.dispose()


def second_version(url: str, statuses: list[RunStatus]) -> list[str]:
    """Make a database as the second version of the schema was, with sessions; return their ids."""
    engine = earlier(url, "0002")
    names = []
    with engine.begin() as connection:
        for number, status in enumerate(statuses):
            name = RunId(f"20260101T000000{number:03d}Z-aaaaaa")
            session = replace(a_session(f"a{number}", run_id=name), heartbeat_at=stamp(NOW), lease_until=stamp(NOW))
            session = replace(session, run=replace(session.run, status=status, metrics={"realized_pnl": 2.5}))
            insert_run(connection, session.run)
            connection.execute(schema.sessions.insert(), own_row(session))
            connection.execute(schema.session_list.insert(), list_row(session))
            names.append(session.session_id)
    engine.dispose()
    return names


def test_an_older_schema_keeps_its_rows(url):
    """A database of the first version has its runs, figures and tags after the upgrade, and takes sessions."""
    first_version(url)

    with closing(Registry(url)) as registry:
        Sessions(registry.database).begin(a_session(), NOW, 30.0)
        runs = registry.find(RunFilter(run_type="backtest"), 10)

    assert [(run.metrics, run.tags, run.params) for run in runs] == [({"sharpe": 0.1 + 0.2}, ("one",), {"fast_window": 20})]


def test_sessions_of_before_can_be_acknowledged(url):
    """A database of the second version keeps its sessions, tags and figures; those that failed wait for somebody."""
    states = [RunStatus.FAILED, RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.STARTED]
    names = second_version(url, states)

    with closing(Registry(url)) as registry:
        sessions = Sessions(registry.database)
        assert [s.session_id for s in sessions.find(SessionFilter(unhandled=True), 10)] == [names[2], names[0]]
        sessions.acknowledge(names[2], "kim", "", NOW)
        assert sessions.census() == Census(names[3], ((names[3], stamp(NOW)),), 1)
        assert [(s.run.status, s.run.tags) for s in sessions.find(SessionFilter(), 10)] == [(x, ("one",)) for x in states[::-1]]
        assert sessions.stats(SessionFilter()).sums["shadow"]["EUR"]["realized_pnl"] == 10.0
        assert not Operators(registry.database).any_active()


def test_two_processes_upgrade_at_once(url):
    """Both find the new schema, whoever made it."""
    first_version(url)
    code = "import sys; from peak_trade.journal.database import Database; sys.stdin.read(); Database(sys.argv[1]).close()"
    starters = [start(code, url) for _ in range(2)]

    errors = [starter.communicate(timeout=60)[1] for starter in starters]

    assert errors == ["", ""]
    assert execute(url, "select version_num from alembic_version") == [(schema.HEAD,)]


def test_an_upgrade_is_whole_or_not_there(url, monkeypatch):
    """One that breaks in the middle leaves the old version, and the next try succeeds."""
    first_version(url)
    with monkeypatch.context() as broken:
        broken.setattr("alembic.op.create_index", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Database(url)
    tables = sa.inspect(engine := sa.create_engine(url)).get_table_names()
    engine.dispose()

    assert "sessions" not in tables
    assert execute(url, "select version_num from alembic_version") == [("0001",)]
    Database(url).close()


def test_alembic_is_loaded_only_to_upgrade(registry, url):
    """Once the schema is up to date, opening loads no migrations."""
    code = "import sys; from peak_trade.journal.registry import Registry; Registry(sys.argv[1]).close(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, check=True).stdout.split()

    assert "sqlalchemy" in loaded
    assert "alembic" not in loaded


def test_rows_are_shared(registry):
    """A trial and a session of one database are seen by both registries."""
    registry.add(a_run(), HOURS, [a_trial(0)])
    session = Sessions(registry.database).begin(a_session(), NOW, 30.0)

    assert registry.get("latest").run_id == session.session_id
    assert registry.count_trials(HOURS) == (1, 1)
