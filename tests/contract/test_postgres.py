"""PostgreSQL: what it refuses, in sentences that never name a user or a password."""

from contextlib import closing

import psycopg
import pytest
import sqlalchemy as sa
from tests.contract.rows import a_run, execute, start
from tests.postgres import GUARDED

from peak_trade.journal.registry import Registry, RunFilter
from peak_trade.model.errors import StorageError


def database_of(url: str) -> str:
    return str(sa.make_url(url).database)


def write(registry, *steps):
    """Do steps in one transaction: statements, or calls of something else."""
    with registry.database.writing() as connection:
        for step in steps:
            step() if callable(step) else connection.exec_driver_sql(step)


def test_the_short_url_works(postgres_url):
    """The driver need not be named."""
    with closing(Registry(postgres_url.replace("postgresql+psycopg", "postgresql"))) as registry:
        registry.add(a_run())

        assert len(registry.find(RunFilter(), 10)) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda url: url.replace("peak@", "guarded:hunter2@"), "refused the user or its password"),
        (lambda url: url.replace("peak@", "guarded@"), "refused the user or its password"),
        (lambda url: url.replace("peak@", "stranger:hunter2@"), "refused the user"),
        (lambda url: url.replace("/test", "/nothing"), "no such database"),
        (lambda url: url.replace("host=", "host=/nowhere"), "can't be reached"),
        (lambda url: url.replace("peak@", "peak:hunter2@127.0.0.1:1").partition("?")[0], "can't be reached"),
        (lambda url: url + "&nonsense=1", "option"),
    ],
)
def test_a_refused_connection_is_one_sentence(postgres, postgres_url, change, words, monkeypatch):
    """User, password and the server's own words stay out of it."""
    monkeypatch.delenv("PGPASSWORD", raising=False)
    postgres.run(f"DROP ROLE IF EXISTS {GUARDED}")
    postgres.run(f"CREATE ROLE {GUARDED} LOGIN PASSWORD 'right'")

    with pytest.raises(StorageError, match=words) as refusal:
        Registry(change(postgres_url))

    told = str(refusal.value)
    assert not any(secret in told for secret in ("hunter2", "guarded", "stranger", "peak:", "peak@"))
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize(
    ("state", "words"),
    [("53100", "the disk is full"), ("42501", "may not"), ("XX001", "damaged"), ("P0001", "out of luck")],
)
def test_a_refused_statement_is_one_sentence(postgres_url, state, words):
    """What the server complains of is told with what to do; nothing is stored."""
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'out of luck' USING ERRCODE = '{state}'; END $$"
    with closing(Registry(postgres_url)) as registry:
        registry.add(a_run())
        with pytest.raises(StorageError, match=words):
            write(registry, "update runs set strategy = 'other'", raising)

        assert registry.get("latest").strategy == "ma_crossover"


def test_a_user_without_rights_is_one_sentence(postgres, postgres_url):
    """A database in which the user may not create tables says what to grant."""
    postgres.run("DROP ROLE IF EXISTS nobody")
    postgres.run("CREATE ROLE nobody LOGIN")

    with pytest.raises(StorageError, match="grant it usage and create"):
        Registry(postgres_url.replace("peak@", "nobody@"))


def test_a_server_that_only_reads_is_one_sentence(postgres, postgres_url):
    """A replica is named as what it is."""
    Registry(postgres_url).close()
    postgres.run(f"ALTER DATABASE {database_of(postgres_url)} SET default_transaction_read_only = on")

    with closing(Registry(postgres_url)) as registry, pytest.raises(StorageError, match="read-only"):
        registry.add(a_run())


def test_a_lost_connection_is_told_and_mended(postgres_url):
    """A transaction whose connection breaks is not stored; the next one gets a new connection."""
    others = "from pg_stat_activity where pid <> pg_backend_pid() and datname = current_database()"
    kill = f"select pg_terminate_backend(pid) {others}"
    with closing(Registry(postgres_url)) as registry:
        registry.add(a_run())
        with pytest.raises(StorageError, match="try again"):
            write(registry, "update runs set strategy = 'other'", lambda: execute(postgres_url, kill), "select 1")
        execute(postgres_url, kill)

        assert registry.get("latest").strategy == "ma_crossover"


def test_a_reader_sees_one_moment(postgres_url):
    """What is written between two queries of a reader does not show in the second, and is not held up by it."""
    with closing(Registry(postgres_url)) as registry:
        with registry.database.reading() as connection:
            before = connection.exec_driver_sql("select count(*) from runs").scalar()
            registry.add(a_run())
            after = connection.exec_driver_sql("select count(*) from runs").scalar()

        assert (before, after) == (0, 0)
        assert len(registry.find(RunFilter(), 10)) == 1


def test_defaults_of_the_server_do_not_matter(postgres, postgres_url):
    """Serializable transactions and another client encoding by default change nothing."""
    for setting in ("default_transaction_isolation = 'serializable'", "client_encoding = 'latin1'"):
        postgres.run(f"ALTER DATABASE {database_of(postgres_url)} SET {setting}")
    with closing(Registry(postgres_url)) as registry:
        run = a_run(tags=("größe €",))
        registry.add(run)

        assert registry.get(run.run_id).tags == ("größe €",)
        with registry.database.writing() as connection:
            assert connection.exec_driver_sql("show transaction_isolation").scalar() == "read committed"


def test_named_locks_hold_no_transaction(postgres_url):
    """Who works for days leaves the server free to clean up."""
    with closing(Registry(postgres_url)) as registry, registry.working_on("a") as free:
        states = execute(
            postgres_url, "select state from pg_stat_activity where datname = current_database() and state <> 'active'"
        )

    assert free
    assert ("idle in transaction",) not in states


def test_the_server_is_not_reachable_over_a_network(postgres):
    """The server of these tests listens on its socket only."""
    with psycopg.connect(host=str(postgres.folder), user="peak", dbname="postgres") as connection:
        assert connection.execute("show listen_addresses").fetchone() == ("",)


def test_writers_queue(postgres_url):
    """Two processes that write at once on one row both succeed, one after the other."""
    code = (
        "import sys; from peak_trade.journal.registry import Registry; registry = Registry(sys.argv[1])\n"
        "for _ in range(50):\n"
        "    with registry.database.writing() as connection:\n"
        "        was = connection.exec_driver_sql('select trials from runs').scalar()\n"
        "        connection.exec_driver_sql(f'update runs set trials = {was + 1}')\n"
    )
    with closing(Registry(postgres_url)) as registry:
        registry.add(a_run(trials=0))
        writers = [start(code, postgres_url) for _ in range(2)]
        errors = [writer.communicate(timeout=60)[1] for writer in writers]

        assert (errors, registry.get("latest").trials) == (["", ""], 100)
