"""The registry: one suite for every database it runs on."""

import os
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from peak_trade.journal import schema
from peak_trade.journal.registry import Registry, RunFilter, journal_mode, stamp
from peak_trade.journal.run import Run, RunStatus, Trial, Tried, plain_json, sha256_of
from peak_trade.model.clock import IdSource, MachineClock, RunId
from peak_trade.model.errors import ConfigError, NotFound, StorageError

IDS = IdSource(MachineClock(), random.Random(5))
NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


def a_run(**changes: object) -> Run:
    run = Run(
        run_id=IDS.next_run(),
        run_type="backtest",
        status=RunStatus.COMPLETED,
        strategy="ma_crossover",
        symbol="BTC/EUR",
        timeframe="1h",
        params={"fast_window": 20},
        spec={"strategy": "ma_crossover"},
        dataset_sha256="d" * 64,
        config_sha256="c" * 64,
        code_version="abc",
        code_clean=True,
        versions={"numpy": "2"},
        started_at=stamp(NOW),
        process=1,
        metrics={"sharpe": 1.5},
        tags=("one",),
    )
    return replace(run, **changes)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/var/registry.db"


@pytest.fixture
def registry(url):
    opened = Registry(url)
    yield opened
    opened.close()


def test_a_run_comes_back_as_it_was(registry):
    """Every field, figure and tag survives, floats bit for bit."""
    run = a_run(metrics={"sharpe": 0.1 + 0.2, "cagr": -1e-300}, tags=("b", "a"), params={"nested": [1, {"x": None}]})

    registry.add(run)

    assert registry.get(run.run_id) == replace(run, tags=("a", "b"))


def test_newest_first(registry):
    """Without a wish the newest run leads."""
    runs = [a_run() for _ in range(3)]
    for run in runs:
        registry.add(run)

    assert [run.run_id for run in registry.find(RunFilter(), 2)] == sorted((run.run_id for run in runs), reverse=True)[:2]


def test_filters_combine(registry):
    """Type, status, strategy, symbol and tag each narrow the list, together too."""
    wanted = a_run(run_type="sweep", status=RunStatus.FAILED, strategy="macd", symbol="ETH/EUR", tags=("two",))
    registry.add(a_run())
    registry.add(wanted)
    filters = [
        RunFilter(run_type="sweep"),
        RunFilter(status="failed"),
        RunFilter(strategy="macd"),
        RunFilter(symbol="ETH/EUR"),
        RunFilter(tag="two"),
        RunFilter(run_type="sweep", tag="two"),
    ]

    assert [[run.run_id for run in registry.find(where, 10)] for where in filters] == [[wanted.run_id]] * 6
    assert registry.find(RunFilter(run_type="sweep", tag="one"), 10) == []


def test_sorting_by_a_figure(registry):
    """The best run leads; runs without the figure are left out."""
    best, worst = a_run(metrics={"sharpe": 2.0}), a_run(metrics={"sharpe": -1.0})
    for run in (worst, best, a_run(metrics={})):
        registry.add(run)

    assert [run.run_id for run in registry.find(RunFilter(), 10, "sharpe")] == [best.run_id, worst.run_id]


def test_get_by_part_and_latest(registry):
    """A clear beginning or end of an id is enough; `latest` and `latest:TYPE` name the newest."""
    first, second = (
        a_run(run_id=RunId("20260101T000000000Z-aaaaaa"), run_type="sweep"),
        a_run(run_id=RunId("20260102T000000000Z-bbbbbb")),
    )
    registry.add(first)
    registry.add(second)

    found = [registry.get(part).run_id for part in ("20260101", "bbbbbb", "latest", "latest:sweep")]

    assert found == [first.run_id, second.run_id, second.run_id, first.run_id]


@pytest.mark.parametrize("part", ["2026", "nothing", "", "%", "____", "latest:none", "' or 1=1 --"])
def test_unclear_ids_are_refused(registry, part):
    """Several matches, none, and attempts at wildcards are one sentence each."""
    registry.add(a_run(run_id=RunId("20260101T000000000Z-aaaaaa")))
    registry.add(a_run(run_id=RunId("20260102T000000000Z-bbbbbb")))

    with pytest.raises(NotFound):
        registry.get(part)


def test_finishing_replaces_figures(registry):
    """A run gets its end, its figures and its error once."""
    run = a_run(status=RunStatus.STARTED)
    registry.add(run)

    registry.finish(run.run_id, RunStatus.FAILED, at=NOW, elapsed_s=2.5, trials=7, metrics={"best": 1.0}, error="why")

    ended = registry.get(run.run_id)
    assert (ended.status, ended.elapsed_s, ended.trials, ended.metrics, ended.error, ended.finished_at) == (
        RunStatus.FAILED,
        2.5,
        7,
        {"best": 1.0},
        "why",
        "2026-01-02T03:04:05.000006Z",
    )


def a_trial(number: int, **params: object) -> Trial:
    return Trial(number=number, params=params or {"w": number}, metrics={"sharpe": None})


HOURS = Tried(symbol="BTC/EUR", timeframe="1h", first=100, last=200, terms={"fee_bps": 26})


def test_trials_are_counted_once_for_each_combination(registry):
    """The same parameters on the same data count twice in all and once as different."""
    for run in (a_run(), a_run()):
        registry.add(run, HOURS, [a_trial(number) for number in range(3)])

    assert registry.count_trials(HOURS) == (6, 3)


@pytest.mark.parametrize(
    ("change", "counted"),
    [
        ({}, (2, 1)),
        ({"terms": {"fee_bps": 0}}, (2, 2)),
        ({"first": 200, "last": 300}, (2, 1)),
        ({"first": 201, "last": 300}, (1, 1)),
        ({"first": 0, "last": 99}, (1, 1)),
        ({"first": 0, "last": 100}, (2, 1)),
        ({"symbol": "ETH/EUR"}, (1, 1)),
        ({"timeframe": "4h"}, (1, 1)),
    ],
)
def test_trials_on_overlapping_data_count(registry, change, counted):
    """A trial counts where its period touches ours by a bar; other terms make another trial."""
    registry.add(a_run(), HOURS, [a_trial(0)])
    registry.add(a_run(), replace(HOURS, **change), [a_trial(0)])

    assert registry.count_trials(HOURS) == counted


def test_trials_are_stored_all_or_none(registry):
    """A batch with a number that is there already changes nothing."""
    run = a_run()
    registry.add(run, HOURS, [a_trial(1)])

    with pytest.raises(StorageError):
        registry.add_trials(run, HOURS, [a_trial(0), a_trial(1)])

    assert [number for number, _, _ in registry.trials(run.run_id)] == [1]


def test_a_run_and_its_trials_are_one(registry):
    """A run whose trials can't be stored is not there either."""
    run = a_run()

    with pytest.raises(StorageError):
        registry.add(run, HOURS, [a_trial(1), a_trial(1)])

    assert registry.find(RunFilter(), 10) == []


def test_dead_runs_are_closed_and_running_ones_are_not(registry):
    """A started run that nobody holds is closed as aborted; one that somebody holds stays."""
    dead, alive, other = (
        a_run(run_type=kind, status=RunStatus.STARTED, spec={"n": n}) for n, kind in enumerate(("sweep", "sweep", "session"))
    )
    for run in (dead, alive, other):
        registry.add(run)

    with registry.working_on(alive.spec_sha256) as free:
        closed = registry.close_dead("sweep", NOW)

    assert (free, closed) == (True, 1)
    assert [registry.get(run.run_id).status for run in (dead, alive, other)] == [
        RunStatus.ABORTED,
        RunStatus.STARTED,
        RunStatus.STARTED,
    ]
    assert registry.get(dead.run_id).elapsed_s is None


def test_work_is_held_by_one(registry, url):
    """Another connection to the same registry, wherever its configuration lies, sees that the work is taken."""
    other = Registry(url)

    with registry.working_on("a") as first, other.working_on("a") as second, other.working_on("b") as third:
        held = (first, second, third)
    with other.working_on("a") as again:
        pass
    other.close()

    assert (held, again) == ((True, False, True), True)


def test_every_commit_is_forced_to_disk(registry):
    """SQLite waits for the disk at each commit and keeps rows from pointing nowhere."""
    with registry._engine.connect() as connection:
        settings = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("synchronous", "foreign_keys")]

    assert settings == [2, 1]


def test_the_migrations_make_the_schema(registry, url):
    """Tables made by the migrations are those that the code describes."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), schema.metadata)
        version = connection.scalar(sa.text("select version_num from alembic_version"))
    engine.dispose()

    assert differences == []
    assert version == schema.HEAD


def test_a_newer_schema_is_refused(registry, url):
    """A database written by a later version is left alone."""
    registry.close()
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    connection.close()

    with pytest.raises(StorageError, match="written by a newer Peak_Trade"):
        Registry(url)


@pytest.mark.parametrize(
    "content", [b"this is no database, just some text that is long enough", b"SQLite format 3\x00" + b"\xff" * 5000]
)
def test_a_damaged_file_is_one_sentence(tmp_path, content):
    """What is no database is named with what to do."""
    (tmp_path / "registry.db").write_bytes(content)

    with pytest.raises(StorageError, match="damaged"):
        Registry(f"sqlite:///{tmp_path}/registry.db")


@pytest.mark.parametrize("url", ["nonsense", "nosuchdb://host/db", "", "sqlite://", "sqlite:///:memory:", "postgresql://h/d"])
def test_a_wrong_url_is_one_sentence(url):
    """A URL of no SQLite file is an error of the configuration."""
    with pytest.raises(ConfigError, match="sqlite:///var"):
        Registry(url)


def test_a_locked_database_is_one_sentence(registry, url, monkeypatch):
    """A writer that waits too long says who to wait for."""
    monkeypatch.setattr("peak_trade.journal.registry.LOCK_WAIT_S", 0)
    patient = Registry(url)
    holder = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")

    with pytest.raises(StorageError, match="write lock"):
        patient.add(a_run())

    holder.rollback()
    holder.close()
    patient.close()


@pytest.mark.parametrize(
    ("version", "mode"),
    [
        ((3, 40, 1), "DELETE"),
        ((3, 51, 2), "DELETE"),
        ((3, 51, 3), "WAL"),
        ((3, 50, 7), "WAL"),
        ((3, 50, 6), "DELETE"),
        ((3, 44, 6), "WAL"),
        ((3, 52, 0), "WAL"),
    ],
)
def test_wal_only_where_it_is_sound(version, mode):
    """Versions with the WAL-reset fault use the rollback journal."""
    assert journal_mode(version) == mode


WRITER = """
import sys
from peak_trade.journal.registry import Registry
from peak_trade.model.clock import RunId
from tests.unit.journal.test_registry import HOURS, a_run, a_trial
registry = Registry(sys.argv[1])
for number in range(25):
    run = a_run(run_id=RunId(f"{sys.argv[2]}-{number:04d}"))
    registry.add(run)
    registry.add_trials(run, HOURS, [a_trial(n) for n in range(20)])
"""


def test_several_processes_at_once(url):
    """Processes that create the registry and write at the same moment lose nothing and damage nothing."""
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, url, f"writer{n}"]) for n in range(4)]
    codes = [writer.wait(120) for writer in writers]

    registry = Registry(url)
    total, _ = registry.count_trials(HOURS)
    runs = registry.find(RunFilter(), 1_000)
    registry.close()
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        sound = connection.execute("PRAGMA integrity_check").fetchone()[0]
    connection.close()
    assert (codes, len(runs), total, sound) == ([0] * 4, 100, 2_000, "ok")


def test_a_killed_writer_leaves_a_sound_registry(url):
    """After SIGKILL in the middle of writing the registry opens, and a run has all of its batch or none."""
    Registry(url).close()
    seen = []
    for number in range(3):
        code = WRITER.replace("range(25)", "range(100000)")
        writer = subprocess.Popen([sys.executable, "-c", code, url, f"killed{number}"])
        wait_for_rows(url, 7 * (number + 1))
        writer.kill()
        writer.wait()
        registry = Registry(url)
        seen += [len(registry.trials(run.run_id)) for run in registry.find(RunFilter(), 100_000)]
        registry.close()

    assert 20 in seen
    assert set(seen) <= {0, 20}


def wait_for_rows(url: str, least: int) -> None:
    """Wait until the registry holds some runs."""
    for _ in range(1_000):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30)) as connection:
            if connection.execute("select count(*) from runs").fetchone()[0] >= least:
                return
        time.sleep(0.02)
    pytest.fail("the writer wrote nothing")


def test_equal_values_have_equal_text():
    """The order of keys does not change the text or the hash."""
    assert plain_json({"b": 1, "a": [1.5, None]}) == '{"a":[1.5,null],"b":1}'
    assert sha256_of({"b": 1, "a": 2}) == sha256_of({"a": 2, "b": 1})


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_one_sentence(tmp_path):
    """A folder without write permission is named."""
    (tmp_path / "closed").mkdir(mode=0o500)

    with pytest.raises(StorageError, match="permission"):
        Registry(f"sqlite:///{tmp_path}/closed/var/registry.db")
