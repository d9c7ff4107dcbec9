"""Pages, totals and choices of many sessions: one suite for every database they are read from."""

import random
from datetime import timedelta

import pytest
from tests.contract.rows import NOW, a_session, execute

from peak_trade.journal.registry import stamp
from peak_trade.journal.run import RunStatus
from peak_trade.journal.session import Acknowledgement
from peak_trade.journal.sessions import SORTABLE, Census, Choices, Place, SessionFilter
from peak_trade.model.clock import RunId
from peak_trade.model.errors import InputError, NotFound

LEASE_S = 30.0
SORTS = [*SORTABLE, *(f"-{name}" for name in SORTABLE)]
FIGURES = ("realized_pnl", "fees_paid", "num_orders", "num_fills", "orders_blocked_risk")
FILTERS = [
    {},
    {"mode": "shadow"},
    {"status": "failed"},
    {"strategy": "macd"},
    {"symbol": "ETH/EUR"},
    {"account": "b"},
    {"tag": "even"},
    {"text": "third"},
    {"unhandled": True},
    {"since": NOW + timedelta(seconds=5), "until": NOW + timedelta(seconds=20)},
    {"mode": "shadow", "tag": "even", "text": "macd"},
    {"account": "nobody"},
]


def finish(sessions, session_id, status=RunStatus.FAILED, **metrics):
    return sessions.finish(session_id, status, at=NOW, elapsed_s=1.0, metrics=metrics, summary={})


def failed(sessions, number: int = 0) -> str:
    """Register a session that failed; return its id."""
    session = sessions.begin(a_session(run_id=RunId(f"20260101T000000{number:03d}Z-aaaaaa")), NOW, LEASE_S)
    finish(sessions, session.session_id)
    return session.session_id


def crowd(sessions, count: int = 30) -> None:
    """Register sessions with many equal values, and some without any."""
    draw = random.Random(4)
    for number in range(count):
        begun = sessions.begin(
            a_session(
                draw.choice("abc") if number < count - 2 else f"running{number}",
                draw.choice(["live_session_shadow", "shadow_run", "live_session_live"]),
                run_id=RunId(f"20260101T000000{draw.randrange(1000):03d}Z-{number:06x}"),
                strategy=draw.choice(["macd", "breakout", "macd+breakout"]),
                symbol=draw.choice(["BTC/EUR", "ETH/EUR"]),
                started_at=stamp(NOW + timedelta(seconds=draw.randrange(25))),
                tags=("even",) if number % 2 == 0 else ("odd",),
                notes="every third" if number % 3 == 0 else "",
            ),
            NOW,
            LEASE_S,
        )
        if number < count - 2:
            figures = {name: draw.choice([-2.5, -0.0, 0.0, 3.0]) for name in FIGURES if draw.random() < 0.7}
            finish(sessions, begun.session_id, draw.choice([RunStatus.COMPLETED, RunStatus.FAILED]), **figures)
            if number % 5 == 0 and sessions.get(begun.session_id).run.status is RunStatus.FAILED:
                sessions.acknowledge(begun.session_id, "kim", "", NOW)


def column(session, name: str):
    """Return what a session is sorted by."""
    if name in FIGURES:
        return session.run.metrics.get(name)
    if name == "status":
        return session.run.status.value
    return getattr(session, name) if name in ("mode", "account") else getattr(session.run, name)


def expected(everything, sort: str) -> list[str]:
    """Return ids in order: sorted by value and id, those without a value at the end."""
    name, downwards = sort.removeprefix("-"), sort.startswith("-")
    by_id = sorted(everything, key=lambda session: session.session_id, reverse=downwards)
    valued = sorted((s for s in by_id if column(s, name) is not None), key=lambda s: column(s, name), reverse=downwards)
    return [s.session_id for s in [*valued, *(s for s in by_id if column(s, name) is None)]]


def read_through(sessions, where: SessionFilter, sort: str, limit: int) -> list[str]:
    """Return the ids on all pages together."""
    ids, after = [], None
    while True:
        page = sessions.page(where, limit, sort, after)
        ids += [session.session_id for session in page.sessions]
        assert len(page.sessions) == limit or page.next is None
        if page.next is None:
            return ids
        after = page.next


@pytest.mark.parametrize("window", [2, 7, 2_000])
def test_pages_have_every_session_once_in_order(sessions, monkeypatch, window):
    """Whatever is sorted by and filtered, pages of any size together are the sorted list, however few are looked at first."""
    monkeypatch.setattr("peak_trade.journal.sessions._WINDOW", window)
    crowd(sessions)
    seen = 0
    for given in FILTERS:
        where = SessionFilter(**given)
        everything = sessions.find(where, 100)
        for number, sort in enumerate(SORTS):
            wanted = expected(everything, sort)
            seen += len(wanted)
            assert read_through(sessions, where, sort, 1 + number % 5) == wanted, (given, sort)

    assert seen > 1_000


def test_a_page_has_whole_sessions(sessions):
    """What is on a page is what `get` returns, newest first by default."""
    crowd(sessions, 5)

    page = sessions.page(SessionFilter(), 100)

    assert page.next is None
    assert list(page.sessions) == [sessions.get(session.session_id) for session in page.sessions]
    assert [s.run.started_at for s in page.sessions] == sorted((s.run.started_at for s in page.sessions), reverse=True)


def test_the_last_page_says_so_when_it_is_full(sessions):
    """A page that ends exactly with the last session has no next one."""
    names = [failed(sessions, number) for number in range(4)]

    first = sessions.page(SessionFilter(), 2, "started_at")
    last = sessions.page(SessionFilter(), 2, "started_at", first.next)

    assert first.next == Place(stamp(NOW), names[1])
    assert ([s.session_id for s in last.sessions], last.next) == (names[2:], None)


def test_pages_go_on_where_they_were(sessions):
    """A session that begins in between is on a later page, or on none, and moves no other."""
    names = [failed(sessions, number) for number in (10, 20, 30)]
    page = sessions.page(SessionFilter(), 2, "-started_at")
    failed(sessions, 40)

    rest = sessions.page(SessionFilter(), 2, "-started_at", page.next)

    assert [s.session_id for s in (*page.sessions, *rest.sessions)] == names[::-1]


@pytest.mark.parametrize("sort", ["", "-", "--mode", "notes", "session_id", "mode desc", "searched", "+mode"])
def test_an_unknown_order_is_refused(sessions, sort):
    """What can't be sorted by is one sentence that names what can."""
    with pytest.raises(InputError, match=r"expected one of started_at, mode.*found"):
        sessions.page(SessionFilter(), 5, sort)


@pytest.mark.parametrize(
    ("sort", "value"),
    [
        ("mode", 1.0),
        ("mode", None),
        ("mode", "a\0"),
        ("started_at", "\udcff"),
        ("realized_pnl", "1.0"),
        ("realized_pnl", True),
        ("realized_pnl", float("nan")),
        ("realized_pnl", float("inf")),
        ("realized_pnl", 10**400),
    ],
)
def test_a_place_of_another_order_is_refused(sessions, sort, value):
    """A place may come from a link that somebody changed: it is refused before the database is asked."""
    with pytest.raises(InputError, match="begin at the first page"):
        sessions.page(SessionFilter(), 5, sort, Place(value, "x"))
    with pytest.raises(InputError):
        sessions.page(SessionFilter(), 5, "mode", Place("shadow", "\0"))


@pytest.mark.parametrize("value", [0, 10**300, -3, 2.5, None])
def test_a_place_may_be_a_whole_number(sessions, value):
    """A number that lost its fraction on the way is the same place."""
    failed(sessions)

    assert len(sessions.page(SessionFilter(), 5, "realized_pnl", Place(value, "")).sessions) == 1


@pytest.mark.parametrize("name", ["mode", "account", "env_name", "text", "strategy", "symbol", "status", "run_type", "tag"])
@pytest.mark.parametrize("value", ["\0", "\udcff"])
def test_what_no_row_can_hold_finds_nothing(sessions, name, value):
    """A text that the database can't even be asked for is no fault of the registry."""
    failed(sessions)
    where = SessionFilter(**{name: value})

    assert (sessions.page(where, 5).sessions, sessions.find(where, 5), sessions.stats(where).total) == ((), [], 0)


# ---- acknowledging ---------------------------------------------------------------------------------------------------


def test_an_acknowledgement_comes_back(sessions):
    """Who, when and why are with the session from then on, and in its record."""
    name = failed(sessions)

    given = sessions.acknowledge(name, "kim", "größe €\nread", NOW)

    found = sessions.get(name)
    assert given == Acknowledgement(by="kim", at=stamp(NOW), note="größe €\nread") == found.acknowledged
    assert found.to_json()["acknowledged"] == {"by": "kim", "at": stamp(NOW), "note": "größe €\nread"}
    assert found.run.status is RunStatus.FAILED
    assert sessions.page(SessionFilter(), 5).sessions[0].acknowledged == given


def test_the_first_acknowledgement_stays(sessions):
    """A second one changes nothing and returns the first."""
    name = failed(sessions)
    first = sessions.acknowledge(name, "kim", "seen", NOW)

    assert sessions.acknowledge(name, "alex", "me too", NOW + timedelta(days=1)) == first
    assert sessions.get(name).acknowledged == first


@pytest.mark.parametrize("status", [RunStatus.STARTED, RunStatus.COMPLETED, RunStatus.ABORTED])
def test_only_what_failed_is_acknowledged(sessions, status):
    """What runs or ended otherwise is refused with its status, and stays as it is."""
    session = sessions.begin(a_session(), NOW, LEASE_S)
    if status is not RunStatus.STARTED:
        finish(sessions, session.session_id, status)

    with pytest.raises(InputError, match=f"that failed, found {session.session_id} {status.value}"):
        sessions.acknowledge(session.session_id, "kim", "", NOW)
    with pytest.raises(NotFound):
        sessions.acknowledge(session.session_id[:8], "kim", "", NOW)

    assert sessions.get(session.session_id).acknowledged is None


def test_the_unhandled_are_those_that_nobody_acknowledged(sessions):
    """List, page, totals and census agree on them, before and after."""
    names = [failed(sessions, number) for number in range(3)]
    done = sessions.begin(a_session(), NOW, LEASE_S).session_id
    finish(sessions, done, RunStatus.COMPLETED)
    where = SessionFilter(unhandled=True)

    def unhandled():
        found = [s.session_id for s in sessions.find(where, 10)]
        assert found == [s.session_id for s in sessions.page(where, 10).sessions]
        assert len(found) == sessions.stats(where).total == sessions.census().unhandled
        return found

    assert unhandled() == names[::-1]
    sessions.acknowledge(names[1], "kim", "", NOW)
    assert unhandled() == [names[2], names[0]]


# ---- census and choices ----------------------------------------------------------------------------------------------


def test_the_census_shows_every_change(sessions):
    """Begin, heartbeat, end and acknowledgement each change it, in what they should."""
    empty = sessions.census()
    session = sessions.begin(a_session(), NOW, LEASE_S).session_id
    begun = sessions.census()
    sessions.beat(session, NOW + timedelta(seconds=1), LEASE_S)
    beaten = sessions.census()
    finish(sessions, session)
    ended = sessions.census()
    sessions.acknowledge(session, "kim", "", NOW)

    assert empty == Census(None, (), 0)
    assert begun == Census(session, ((session, stamp(NOW)),), 0)
    assert beaten == Census(session, ((session, stamp(NOW + timedelta(seconds=1))),), 0)
    assert ended == Census(session, (), 1)
    assert sessions.census() == Census(session, (), 0)


def test_the_census_is_in_order(sessions):
    """Started sessions come by id, and the newest is the one with the largest."""
    names = [
        sessions.begin(a_session(f"a{n}", run_id=RunId(f"20260101T000000{n:03d}Z-aaaaaa")), NOW, LEASE_S).session_id
        for n in (5, 1, 9, 3)
    ]

    census = sessions.census()

    assert [name for name, _ in census.started] == sorted(names)
    assert census.newest == max(names)


def test_choices_are_what_filters_find(sessions):
    """Each value once, in order, those of several strategies or symbols by themselves; each of them finds sessions."""
    assert sessions.choices() == Choices(modes=(), strategies=(), symbols=(), accounts=())
    crowd(sessions)
    several = a_session("ß", strategy="macd+2 more", symbol="ADA/EUR+BTC/EUR", run_type="live_session_testnet")
    sessions.begin(several, NOW, LEASE_S)

    found = sessions.choices()

    assert found == Choices(
        modes=("live", "shadow", "testnet"),
        strategies=("breakout", "macd"),
        symbols=("ADA/EUR", "BTC/EUR", "ETH/EUR"),
        accounts=("a", "b", "c", "running28", "running29", "ß"),
    )
    for name, values in (("mode", found.modes), ("strategy", found.strategies), ("symbol", found.symbols)):
        assert all(sessions.stats(SessionFilter(**{name: value})).total for value in values)


def test_large_and_small_letters_are_apart(sessions):
    """Names are told apart and ordered by their code points, whatever language the database was made for."""
    for account in ("b", "B", "a", "_", "á"):
        sessions.begin(a_session(account), NOW, LEASE_S)

    assert sessions.choices().accounts == ("B", "_", "a", "b", "á")


def test_indexes_are_used(sessions, url):
    """A page of a large table is read from an index, as long as SQLite's planner goes on to see it so."""
    if not url.startswith("sqlite"):
        pytest.skip("PostgreSQL plans by what is in the table")
    crowd(sessions, 5)
    for name in SORTABLE:
        query = f"select session_id from session_list where ({name}, session_id) < (1, '') and {name} is not null"
        plan = execute(url, f"explain query plan {query} order by {name} desc, session_id desc limit 5")
        assert [row[3] for row in plan if f"ix_session_list_{name}" not in row[3]] == []
    census = "select count(*) from session_list where status = 'failed' and acknowledged_at is null"
    assert "COVERING INDEX ix_session_list_unhandled" in execute(url, f"explain query plan {census}")[0][3]
