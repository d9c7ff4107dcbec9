"""The registry of sessions: one suite for every database it runs on."""

from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.contract.rows import NOW, a_run, a_session, execute, start

from peak_trade.journal.registry import Registry, RunFilter, stamp
from peak_trade.journal.run import RunStatus
from peak_trade.journal.session import SESSION_TYPES
from peak_trade.journal.sessions import SessionCount, SessionFilter, Sessions
from peak_trade.model.clock import RunId
from peak_trade.model.errors import InvariantBroken, NotFound, SafetyRefused

LEASE_S = 30.0
PNL = {"realized_pnl": 1.5, "fees_paid": 0.25, "num_orders": 4.0}


def later(seconds: float):
    return NOW + timedelta(seconds=seconds)


def finish(sessions, session_id, status=RunStatus.COMPLETED, **changes):
    ending = {"at": later(60), "elapsed_s": 60.0, "metrics": PNL, "summary": {"realized_pnl": "1.5"}, "head": (7, "a" * 64)}
    return sessions.finish(session_id, status, **(ending | changes))


def ended(sessions, **changes):
    """Register a session that has ended."""
    session = sessions.begin(a_session(**changes), NOW, LEASE_S)
    finish(sessions, session.session_id)
    return session.session_id


def test_a_session_comes_back_as_it_was(sessions):
    """Every field survives; the lease counts from the beginning."""
    session = a_session(continues="20260101T000000000Z-aaaaaa", params={"nested": [1, {"x": None}]}, notes="größe €")

    begun = sessions.begin(session, NOW, LEASE_S)

    assert begun == replace(session, heartbeat_at=stamp(NOW), lease_until=stamp(later(30)))
    assert sessions.get(session.session_id) == begun


def test_a_session_is_a_run(sessions, registry):
    """The registry of runs lists it too, under the same id."""
    begun = sessions.begin(a_session(), NOW, LEASE_S)

    assert registry.get(begun.session_id) == begun.run
    assert registry.find(RunFilter(run_type="live_session_shadow"), 10) == [begun.run]


def test_the_record_is_flat(sessions):
    """The session record has the playbook's fields on one level, as JSON."""
    session_id = ended(sessions)

    record = sessions.get(session_id).to_json()

    assert record == record | {
        "session_id": session_id,
        "run_id": session_id,
        "mode": "shadow",
        "status": "completed",
        "metrics": PNL,
        "summary": {"realized_pnl": "1.5"},
        "cli_args": ["shadow", "--account", "main"],
        "head_seq": 7,
        "finished_at": stamp(later(60)),
        "error": None,
    }
    assert record["acknowledged"] is None
    assert len(record) == 37


def test_both_rows_or_none(sessions, registry):
    """A session whose run can't be stored is not there either, and does not hold its account."""
    session = a_session()
    registry.add(a_run(run_id=session.session_id))

    with pytest.raises(Exception, match="can't be used"):
        sessions.begin(session, NOW, LEASE_S)

    assert sessions.find(SessionFilter(), 10) == []
    sessions.begin(a_session(), NOW, LEASE_S)


@pytest.mark.parametrize("changes", [{"mode": "live"}, {"status": RunStatus.COMPLETED}])
def test_a_session_begins_as_what_it_is(sessions, changes):
    """A session whose type and mode differ, or that has ended, is a fault of ours."""
    with pytest.raises(InvariantBroken):
        sessions.begin(a_session(**changes), NOW, LEASE_S)


def test_an_account_is_held_by_one(sessions):
    """A second session on the account is refused and told who holds it; on another account it is not."""
    holder = sessions.begin(a_session(process=4711), NOW, LEASE_S)

    with pytest.raises(SafetyRefused) as refusal:
        sessions.begin(a_session(run_type="live_session_testnet"), later(29), LEASE_S)
    sessions.begin(a_session("other"), NOW, LEASE_S)

    assert all(fact in str(refusal.value) for fact in (holder.session_id, "here", "4711", holder.run.started_at, "--account"))
    assert refusal.value.exit_code == 3
    assert len(sessions.find(SessionFilter(account="main"), 10)) == 1


def test_an_account_is_free_at_the_end(sessions):
    """A finished session holds nothing."""
    ended(sessions)

    assert sessions.begin(a_session(), NOW, LEASE_S)


def test_a_lapsed_lease_is_taken_over(sessions):
    """At the end of a lease another may begin; the one before is closed, and its process finds that out."""
    before = sessions.begin(a_session(), NOW, LEASE_S)

    after = sessions.begin(a_session(continues=before.session_id), later(30), LEASE_S)

    closed = sessions.get(before.session_id)
    assert (closed.run.status, after.session_id in closed.run.error) == (RunStatus.ABORTED, True)
    assert sessions.beat(before.session_id, later(31), LEASE_S) is False
    assert finish(sessions, before.session_id) is False
    assert sessions.beat(after.session_id, later(31), LEASE_S) is True


def test_the_database_refuses_a_second_one(sessions, url):
    """Past our own code too, an account has one started session."""
    sessions.begin(a_session(), NOW, LEASE_S)
    second = ended(sessions, account="other")

    with pytest.raises(Exception, match=r"(?i)unique"):
        execute(url, f"update session_list set status = 'started', account = 'main' where session_id = '{second}'")


def test_a_beat_prolongs(sessions):
    """A heartbeat moves the end of the lease."""
    session = sessions.begin(a_session(), NOW, LEASE_S)

    assert sessions.beat(session.session_id, later(20), LEASE_S) is True

    beaten = sessions.get(session.session_id)
    assert (beaten.heartbeat_at, beaten.lease_until) == (stamp(later(20)), stamp(later(50)))
    with pytest.raises(SafetyRefused):
        sessions.begin(a_session(), later(49), LEASE_S)


@pytest.mark.parametrize("session_id", ["nothing", "", "latest"])
def test_no_such_session_has_no_heart(sessions, session_id):
    """What is not there neither beats nor ends."""
    sessions.begin(a_session(), NOW, LEASE_S)

    assert (sessions.beat(session_id, NOW, LEASE_S), finish(sessions, session_id)) == (False, False)


def test_a_run_is_no_session(sessions, registry):
    """A started sweep can't be ended, found or had as a session."""
    run = a_run(run_type="sweep", status=RunStatus.STARTED)
    registry.add(run)

    assert (sessions.beat(run.run_id, NOW, LEASE_S), finish(sessions, run.run_id)) == (False, False)
    assert sessions.close_dead(NOW, lambda _: False) == []
    assert sessions.find(SessionFilter(), 10) == []
    with pytest.raises(NotFound):
        sessions.get(run.run_id)
    assert registry.get(run.run_id) == run


def test_finishing_stores_the_result(sessions):
    """Status, figures, summary, head, hash and error are those given."""
    session = sessions.begin(a_session(), NOW, LEASE_S)

    assert finish(sessions, session.session_id, RunStatus.FAILED, error="venue\0 gone", result_sha256="r" * 64)

    found = sessions.get(session.session_id)
    run = found.run
    assert (run.status, run.metrics, run.error, run.result_sha256) == (RunStatus.FAILED, PNL, "venue gone", "r" * 64)
    assert (run.finished_at, run.elapsed_s) == (stamp(later(60)), 60.0)
    assert (found.summary, found.head_seq, found.head_sha256) == ({"realized_pnl": "1.5"}, 7, "a" * 64)


def test_a_session_ends_once(sessions):
    """Neither a second end nor a heartbeat changes what has ended."""
    session_id = ended(sessions)
    before = sessions.get(session_id)

    again = finish(sessions, session_id, RunStatus.FAILED, metrics={}, summary={}, head=None)

    assert (again, sessions.beat(session_id, later(1), LEASE_S)) == (False, False)
    assert sessions.get(session_id) == before


def test_an_aborted_session_stays_aborted(sessions):
    """A late process can't turn it into a completed one, nor give it figures."""
    session = sessions.begin(a_session(), NOW, LEASE_S)
    sessions.close_dead(later(31), lambda _: None)

    assert finish(sessions, session.session_id) is False

    found = sessions.get(session.session_id)
    assert (found.run.status, found.run.metrics, found.head_seq) == (RunStatus.ABORTED, {}, None)


def test_a_dead_session_is_completed_once(sessions):
    """What the journal tells of a dead session is added if there was nothing, and then no more."""
    session = sessions.begin(a_session(), NOW, LEASE_S)
    early = sessions.complete_dead(session.session_id, PNL, {"a": "1"}, (3, "b" * 64))
    sessions.close_dead(later(31), lambda _: None)

    first = sessions.complete_dead(session.session_id, PNL, {"a": "1"}, (3, "b" * 64))
    second = sessions.complete_dead(session.session_id, {"realized_pnl": 9.0}, {}, (4, "c" * 64))

    found = sessions.get(session.session_id)
    assert (early, first, second) == (False, True, False)
    assert (found.run.status, found.run.metrics, found.summary) == (RunStatus.ABORTED, PNL, {"a": "1"})
    assert (found.head_seq, found.head_sha256) == (3, "b" * 64)
    assert sessions.stats(SessionFilter()).sums["shadow"]["EUR"]["realized_pnl"] == 1.5


def test_an_end_of_ones_own_is_not_completed(sessions):
    """A session that a person aborted has its results; a completed one too."""
    one = sessions.begin(a_session("one"), NOW, LEASE_S).session_id
    finish(sessions, one, RunStatus.ABORTED, error="stopped by hand")
    two = ended(sessions)

    assert [sessions.complete_dead(name, {}, {"x": "y"}, (1, "z")) for name in (one, two, "nothing")] == [False] * 3


@pytest.mark.parametrize(
    ("alive", "seconds", "closed"),
    [
        (False, 0.0, True),
        (False, 31.0, True),
        (None, 29.9, False),
        (None, 30.0, True),
        (True, 31.0, False),
        (True, 1e6, False),
        (None, -1e6, False),
        (True, -1e6, False),
    ],
)
def test_who_is_dead(sessions, alive, seconds, closed):
    """A process known to be gone is dead, one known to run is not, whatever the clock; else the lease decides."""
    session = sessions.begin(a_session(), NOW, LEASE_S)
    asked = []

    found = sessions.close_dead(later(seconds), lambda session: asked.append(session) or alive)

    status = sessions.get(session.session_id).run.status
    assert asked == [session]
    assert (found, status) == ([session.session_id], RunStatus.ABORTED) if closed else ([], RunStatus.STARTED)


def test_the_dead_are_told_why(sessions):
    """The error says what happened, nobody is asked of what has ended, and the account is free."""
    done = ended(sessions)
    session = sessions.begin(a_session(), NOW, LEASE_S)

    assert sessions.close_dead(later(5), lambda _: False) == [session.session_id]

    run = sessions.get(session.session_id).run
    assert "the process ended without finishing" in run.error
    assert (run.finished_at, run.elapsed_s) == (stamp(later(5)), None)
    assert sessions.get(done).run.status is RunStatus.COMPLETED
    assert sessions.begin(a_session(), later(5), LEASE_S)


def test_a_sign_of_life_counts_until_the_last_moment(sessions):
    """One that beats, or ends, while its death is being looked into is not closed."""
    beating = sessions.begin(a_session("beating"), NOW, LEASE_S).session_id
    ending = sessions.begin(a_session("ending"), NOW, LEASE_S).session_id

    def alive(session):
        if session.session_id == beating:
            assert sessions.beat(beating, later(40), LEASE_S)
        else:
            assert finish(sessions, ending)

    assert sessions.close_dead(later(40), alive) == []
    assert sessions.get(beating).run.status is RunStatus.STARTED
    assert sessions.get(ending).run.status is RunStatus.COMPLETED


def test_get_by_part_and_latest(sessions, registry):
    """A clear part of an id is enough, and the newest can be named; other runs do not count."""
    first = ended(sessions, run_id=RunId("20260101T000000000Z-aaaaaa"))
    second = ended(sessions, run_id=RunId("20260102T000000000Z-bbbbbb"), run_type="live_session_live")
    registry.add(a_run(run_id=RunId("20260103T000000000Z-bbbbbb")))

    found = [sessions.get(part).session_id for part in ("20260101", "bbbbbb", "latest", "latest:live_session_shadow")]

    assert found == [first, second, second, first]


@pytest.mark.parametrize("part", ["2026", "nothing", "", "%", "____", "latest:backtest", "\0" * 4, "\udcff" * 4])
def test_unclear_ids_are_refused(sessions, registry, part):
    """Several matches, none, and what can't be an id are one sentence each."""
    ended(sessions, run_id=RunId("20260101T000000000Z-aaaaaa"))
    ended(sessions, run_id=RunId("20260102T000000000Z-bbbbbb"))
    registry.add(a_run())

    with pytest.raises(NotFound, match="session"):
        sessions.get(part)


def test_filters_combine(sessions):
    """Each filter narrows the list, together too; parts of texts are found in any case."""
    ended(sessions)
    wanted = sessions.begin(
        a_session(
            "second",
            "live_session_live",
            strategy="macd",
            symbol="ETH/USD",
            tags=("two",),
            env_name="lab",
            started_at=stamp(later(100)),
            notes="Überwacht",
        ),
        NOW,
        LEASE_S,
    )
    finish(sessions, wanted.session_id, RunStatus.FAILED, error="Venue said 100%")
    filters = [
        {"run_type": "live_session_live"},
        {"mode": "live"},
        {"status": "failed"},
        {"strategy": "macd"},
        {"symbol": "ETH/USD"},
        {"tag": "two"},
        {"account": "second"},
        {"env_name": "lab"},
        {"since": later(100)},
        {"since": later(99), "until": later(101)},
        {"text": "überw"},
        {"text": "venue SAID"},
        {"text": "100%"},
        {"text": wanted.session_id[-6:]},
        {"mode": "live", "tag": "two", "status": "failed"},
    ]

    found = [[session.session_id for session in sessions.find(SessionFilter(**where), 10)] for where in filters]

    assert found == [[wanted.session_id]] * len(filters)
    for nothing in ({"mode": "live", "tag": "one"}, {"until": NOW}, {"since": later(101)}, {"text": "%a%"}, {"mode": "x"}):
        assert sessions.find(SessionFilter(**nothing), 10) == []


def test_paging_is_stable_while_rows_are_added(sessions):
    """Pages hold each session once, newest first, whatever begins in between."""
    ids = [ended(sessions, run_id=RunId(f"20260101T000000{n:03d}Z-aaaaaa")) for n in range(7)]
    pages, before = [], None
    while page := sessions.find(SessionFilter(), 3, before):
        pages.append([session.session_id for session in page])
        before = pages[-1][-1]
        ended(sessions, run_id=RunId(f"20260102T000000{len(pages):03d}Z-bbbbbb"))

    assert pages == [ids[6:3:-1], ids[3:0:-1], ids[:1]]


def test_many_are_read_in_batches(sessions, monkeypatch):
    """The size of a batch can't be seen in what is found."""
    monkeypatch.setattr("peak_trade.journal.session_rows._BATCH", 2)
    ids = [ended(sessions) for _ in range(5)]

    found = sessions.find(SessionFilter(), 5)

    assert [session.session_id for session in found] == sorted(ids, reverse=True)
    assert all(session.run.metrics == PNL for session in found)


def test_totals_keep_stages_and_currencies_apart(sessions):
    """Counts are by mode, type and status; money is added up within a mode and a currency only."""
    for _ in range(2):
        ended(sessions)
    ended(sessions, symbol="BTC/USD")
    ended(sessions, run_type="shadow_run")
    ended(sessions, run_type="live_session_live")
    sessions.begin(a_session(run_type="live_session_live"), NOW, LEASE_S)

    stats = sessions.stats(SessionFilter())

    assert stats.total == 6
    assert stats.counts == tuple(
        SessionCount(mode=mode, run_type=kind, status=status, sessions=count)
        for mode, kind, status, count in [
            ("live", "live_session_live", "completed", 1),
            ("live", "live_session_live", "started", 1),
            ("shadow", "live_session_shadow", "completed", 3),
            ("shadow", "shadow_run", "completed", 1),
        ]
    )
    assert stats.sums["live"]["EUR"] == stats.sums["live"]["EUR"] | PNL
    assert stats.sums["shadow"]["USD"]["realized_pnl"] == 1.5
    assert stats.sums["shadow"]["EUR"] == {
        "realized_pnl": 4.5,
        "fees_paid": 0.75,
        "num_orders": 12.0,
        "num_fills": 0.0,
        "orders_rejected": 0.0,
        "orders_blocked_risk": 0.0,
    }


@pytest.mark.parametrize(
    ("where", "total"),
    [
        ({}, 3),
        ({"mode": "shadow"}, 2),
        ({"status": "started"}, 1),
        ({"tag": "two"}, 1),
        ({"account": "main", "mode": "shadow"}, 1),
        ({"text": "second"}, 1),
        ({"since": later(1)}, 0),
    ],
)
def test_totals_of_a_filter(sessions, where, total):
    """Totals count what the list shows."""
    ended(sessions)
    ended(sessions, account="second", tags=("two",))
    sessions.begin(a_session(run_type="live_session_live"), NOW, LEASE_S)

    assert sessions.stats(SessionFilter(**where)).total == total
    assert len(sessions.find(SessionFilter(**where), 10)) == total


def test_a_figure_that_is_no_number_spoils_no_total(sessions):
    """What could not be computed is left out, and what is infinite is not added."""
    session = sessions.begin(a_session(), NOW, LEASE_S)
    finish(sessions, session.session_id, metrics={"realized_pnl": float("inf"), "fees_paid": float("nan"), "num_fills": 2.0})

    assert "fees_paid" not in sessions.get(session.session_id).run.metrics
    assert sessions.stats(SessionFilter()).sums["shadow"]["EUR"]["realized_pnl"] == 0.0


@pytest.mark.parametrize(
    "change",
    [
        "update sessions set summary = '{broken'",
        "update sessions set feed = '[1]'",
        "update sessions set cli_args = '{}'",
        "update sessions set mode = 'dreaming'",
        "update runs set status = 'exploded'",
        "update runs set spec = 'null'",
    ],
)
def test_a_damaged_row_hides_nothing(sessions, url, change):
    """A row that can't be read is shown as damaged beside the others."""
    damaged, sound = ended(sessions), ended(sessions)
    key = "session_id" if "sessions" in change else "run_id"
    execute(url, f"{change} where {key} = '{damaged}'")

    found = sessions.find(SessionFilter(), 10)

    assert [(session.session_id, session.run.status) for session in found] == [
        (sound, RunStatus.COMPLETED),
        (damaged, RunStatus.DAMAGED),
    ]
    assert "damaged" in found[1].run.error
    assert found[1].to_json()["status"] == "damaged"


@pytest.mark.parametrize("table", ["sessions", "runs"])
def test_a_missing_row_hides_nothing(sessions, registry, url, table):
    """A session of which a row was deleted is shown as damaged, with what is known of it."""
    lost, sound = ended(sessions), ended(sessions)
    if url.startswith("postgres"):
        execute(url, *(f"alter table {name} disable trigger all" for name in ("runs", "sessions")))
    execute(url, f"delete from {table} where {'run_id' if table == 'runs' else 'session_id'} = '{lost}'")

    found = sessions.find(SessionFilter(), 10)

    assert [session.session_id for session in found] == [sound, lost]
    assert (found[1].run.status, found[1].account, found[1].run.strategy) == (RunStatus.DAMAGED, "main", "ma_crossover")
    assert "missing" in found[1].run.error


def test_a_damaged_session_is_not_closed(sessions, url):
    """Who can't be asked after is left alone; the end of its lease frees the account."""
    session = sessions.begin(a_session(), NOW, LEASE_S)
    execute(url, "update sessions set summary = '{broken'")

    assert sessions.close_dead(later(31), lambda _: False) == []
    with pytest.raises(SafetyRefused):
        sessions.begin(a_session(), later(29), LEASE_S)
    sessions.begin(a_session(continues=session.session_id), later(30), LEASE_S)


RIVAL = """
import sys
from peak_trade.journal.registry import Registry
from peak_trade.journal.sessions import Sessions
from peak_trade.model.errors import SafetyRefused
from tests.contract.rows import NOW, a_session
sessions = Sessions(Registry(sys.argv[1]).database)
session = a_session()
print("ready", flush=True)
sys.stdin.readline()
try:
    print("won", sessions.begin(session, NOW, 30.0).session_id)
except SafetyRefused as refusal:
    print("lost", refusal)
"""


def test_of_several_processes_one_begins(url, sessions):
    """Processes that begin on one account at the same moment: one wins, the others are told of it."""
    rivals = [start(RIVAL, url) for _ in range(4)]
    for rival in rivals:
        assert rival.stdout.readline() == "ready\n"
    for rival in rivals:
        rival.stdin.write("go\n")
        rival.stdin.flush()
    outcomes = sorted(rival.communicate(timeout=60)[0] for rival in rivals)

    winner = sessions.get("latest").session_id
    assert outcomes[-1] == f"won {winner}\n"
    assert all(told.startswith("lost") and winner in told for told in outcomes[:-1])
    assert len(sessions.find(SessionFilter(), 10)) == 1


READER = """
import select, sys
from peak_trade.journal.registry import Registry
from peak_trade.journal.sessions import SessionFilter, Sessions
sessions = Sessions(Registry(sys.argv[1]).database)
print("ready", flush=True)
torn = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    found = sessions.find(SessionFilter(), 100)
    torn += sum((session.run.status.value == "completed") != bool(session.run.metrics) for session in found)
    sessions.stats(SessionFilter())
print(torn, len(found))
"""


def test_readers_hold_no_writer_up(url, sessions, monkeypatch):
    """While processes read without a pause a session begins, beats and ends; none of them sees half a session."""
    monkeypatch.setattr("peak_trade.journal.database.LOCK_WAIT_S", 5)
    for _ in range(20):
        ended(sessions)
    readers = [start(READER, url) for _ in range(2)]
    for reader in readers:
        assert reader.stdout.readline() == "ready\n"
    with closing(Registry(url)) as registry:
        writer = Sessions(registry.database)
        for _ in range(20):
            session = writer.begin(a_session(), NOW, LEASE_S)
            assert writer.beat(session.session_id, later(1), LEASE_S)
            assert finish(writer, session.session_id)
    outcomes = [reader.communicate("stop\n", timeout=60) for reader in readers]

    assert [(out.split()[0], err) for out, err in outcomes] == [("0", "")] * 2
    assert len(sessions.find(SessionFilter(status="completed"), 100)) == 40


def test_every_session_type_has_a_stage(sessions):
    """Each type can begin in its mode and in no other."""
    for kind, stage in SESSION_TYPES.items():
        begun = sessions.begin(a_session(kind, kind), NOW, LEASE_S)
        assert begun.mode == stage.value
