"""The registry of sessions, beside that of runs in the same database.

Invariant: at most one session of an account is `started` at a time.
Invariant: a session leaves `started` once; who finds it gone must stop, and can't turn it into something else.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from peak_trade.journal import schema
from peak_trade.journal.database import Database
from peak_trade.journal.registry import RunFilter, different, insert_metrics, insert_run, one_of, run_condition, stamp, storable
from peak_trade.journal.run import JsonObject, RunStatus, plain_json
from peak_trade.journal.session import SESSION_TYPES, Acknowledgement, Session
from peak_trade.journal.session_rows import acknowledgement, list_row, own_row, read_sessions, rows_by_id, summed
from peak_trade.model.errors import InputError, NotFound, SafetyRefused, require

#: What pages of sessions can be sorted by.
SORTABLE = schema.SORTED
#: As the conditions of the indexes are written.
_STARTED = schema.session_list.c.status == sa.literal_column("'started'")
_FAILED: sa.ColumnElement[str] = sa.literal_column("'failed'")
_UNHANDLED = sa.and_(schema.session_list.c.status == _FAILED, schema.session_list.c.acknowledged_at.is_(None))
_LARGEST = sys.float_info.max
#: How many sessions a page looks at in its order before it looks through all of them.
_WINDOW = 2_000
_DEAD = "the process ended without finishing; what it did until then is in its journal"
_TAKEN = "its lease ran out, and session {} began on the same account"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFilter(RunFilter):
    """Which sessions to list; None does not filter, a text must match exactly.

    Attributes:
        since, until: bounds of the beginning; the first is included, the second is not.
        text: a part of the id, strategy, symbol, account, notes or error, in any case.
        unhandled: only those that failed and that nobody acknowledged.
    """

    mode: str | None = None
    account: str | None = None
    env_name: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    unhandled: bool = False


class Place(NamedTuple):
    """Where a page ends: the last session's value in the column that is sorted by, and its id."""

    value: str | float | None
    session_id: str


@dataclass(frozen=True, slots=True)
class SessionPage:
    """Sessions in their order, and where the next page goes on; None after the last one."""

    sessions: tuple[Session, ...]
    next: Place | None


@dataclass(frozen=True, slots=True)
class Census:
    """What changes when sessions do: cheap enough to be looked at every second.

    Attributes:
        newest: id of the session that began last; None while there is none.
        started: id and time of the last heartbeat of each started session, in the order of ids.
        unhandled: how many failed that nobody acknowledged.
    """

    newest: str | None
    started: tuple[tuple[str, str], ...]
    unhandled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What sessions can be filtered by, each in order; of a session of several strategies or symbols each by itself."""

    modes: tuple[str, ...]
    strategies: tuple[str, ...]
    symbols: tuple[str, ...]
    accounts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCount:
    """How many sessions of one kind ended in one way."""

    mode: str
    run_type: str
    status: str
    sessions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStats:
    """Counts and sums over sessions; stages and currencies are never added together.

    Attributes:
        sums: by mode, then by currency of the money, then by name of the figure.
    """

    total: int
    counts: tuple[SessionCount, ...]
    sums: Mapping[str, Mapping[str, Mapping[str, float]]]


class Sessions:
    """Sessions, who holds which account, and what became of them."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def begin(self, session: Session, now: datetime, lease_s: float) -> Session:
        """Register a session as started and give it its account until the lease ends; return it as stored.

        One of the account whose lease has run out is closed as aborted, so that it can't go on beside this one.

        Raises:
            SafetyRefused: another session holds the account.
        """
        run = session.run
        stage = SESSION_TYPES.get(run.run_type)
        require(stage is not None and stage.value == session.mode, f"{run.run_type} is a session of mode {session.mode}")
        require(run.status is RunStatus.STARTED, "a session begins as started")
        begun = replace(session, heartbeat_at=stamp(now), lease_until=_lease(now, lease_s), notes=storable(session.notes) or "")
        with self.database.writing() as connection:
            for held in connection.execute(_holders(session.account)).all():
                if held.lease_until > stamp(now):
                    raise SafetyRefused(
                        f"expected no running session on account {session.account}, found {held.session_id} on host "
                        f"{held.host}, process {held.process}, since {held.started_at}; wait until it ends, stop it, or "
                        "give another --account"
                    )
                _end(connection, held.session_id, _aborted(now, _TAKEN.format(run.run_id)))
            insert_run(connection, run)
            connection.execute(schema.sessions.insert(), own_row(begun))
            connection.execute(schema.session_list.insert(), list_row(begun))
        return begun

    def beat(self, session_id: str, now: datetime, lease_s: float) -> bool:
        """Prolong a session's lease; False if it is no longer started: whoever runs it must stop."""
        with self.database.writing() as connection:
            if not _is_started(connection, session_id):
                return False
            here = schema.sessions.update().where(schema.sessions.c.session_id == session_id)
            connection.execute(here, {"heartbeat_at": stamp(now), "lease_until": _lease(now, lease_s)})
        return True

    def finish(
        self,
        session_id: str,
        status: RunStatus,
        *,
        at: datetime,
        elapsed_s: float | None,
        metrics: Mapping[str, float],
        summary: JsonObject,
        result_sha256: str | None = None,
        error: str | None = None,
        head: tuple[int, str] | None = None,
    ) -> bool:
        """Give a session its end; False, and nothing changes, if it is no longer started."""
        require(status not in (RunStatus.STARTED, RunStatus.DAMAGED), "a session ends completed, failed or aborted")
        changes = {
            "status": status.value,
            "finished_at": stamp(at),
            "elapsed_s": elapsed_s,
            "result_sha256": result_sha256,
            "error": storable(error),
        }
        with self.database.writing() as connection:
            if not _is_started(connection, session_id):
                return False
            _end(connection, session_id, changes)
            _add_results(connection, session_id, metrics, summary, head)
        return True

    def complete_dead(
        self, session_id: str, metrics: Mapping[str, float], summary: JsonObject, head: tuple[int, str] | None
    ) -> bool:
        """Add what a journal tells of an aborted session that has no results yet; False, and nothing changes, if it has."""
        runs, sessions, metric = schema.runs.c, schema.sessions.c, schema.metrics.c
        bare = sa.select(sessions.session_id).where(
            sessions.session_id == session_id,
            sessions.session_id == runs.run_id,
            runs.status == RunStatus.ABORTED.value,
            sessions.head_seq.is_(None),
            sessions.summary == plain_json({}),
            ~sa.exists().where(metric.run_id == session_id),
        )
        with self.database.writing() as connection:
            if connection.execute(bare).first() is None:
                return False
            _add_results(connection, session_id, metrics, summary, head)
        return True

    def close_dead(self, now: datetime, alive: Callable[[Session], bool | None]) -> list[str]:
        """Close started sessions that nobody runs any more as aborted; return their ids.

        Args:
            alive: whether a session's process runs; None if that can't be known from here, then its lease decides.
        """
        with self.database.reading() as connection:
            found = list(_read(connection, _STARTED))
        closed: list[str] = []
        for session in found:
            running = alive(session) if session.run.status is RunStatus.STARTED else True
            if running or (running is None and (session.lease_until or "") > stamp(now)):
                continue
            with self.database.writing() as connection:
                # One that was heard of since is not dead, and one that ended has its own end.
                if _is_started(connection, session.session_id, session.heartbeat_at):
                    _end(connection, session.session_id, _aborted(now, _DEAD))
                    closed.append(session.session_id)
        return closed

    def get(self, session_id: str) -> Session:
        """Return a session by its id, an unmistakable beginning or end of it, `latest`, or `latest:TYPE`.

        Raises:
            NotFound: no such session, or several.
        """
        with self.database.reading() as connection:
            return one_of(
                session_id,
                schema.session_list,
                lambda where, limit: list(_read(connection, where, limit)),
                noun="session",
                lister="peak-trade session list",
                maker="peak-trade session run --strategy ma_crossover --steps 100 --speed max",
            )

    def find(self, where: SessionFilter, limit: int, before: str | None = None) -> list[Session]:
        """Return matching sessions, newest first; with *before* only those older than that one, to go on a page."""
        condition = _condition(where, schema.session_list.c.__getitem__)
        if before is not None:
            condition = sa.and_(condition, schema.session_list.c.session_id < before)
        with self.database.reading() as connection:
            return list(_read(connection, condition, limit))

    def page(self, where: SessionFilter, limit: int, sort: str = "-started_at", after: Place | None = None) -> SessionPage:
        """Return so many matching sessions in an order; those without a value in its column come last.

        Args:
            sort: a name of `SORTABLE`, with `-` before it the largest first; equal values are sorted by id the same way.
            after: the place where the page before ended. Together the pages have every session once, whatever begins meanwhile.

        Raises:
            InputError: nothing can be sorted so, or *after* is no place in this order.
        """
        require(limit > 0, "a page has at least one row")
        order = _Sorting.of(sort, after)
        with self.database.reading() as connection:
            found = _in_order(connection, where, order, after, limit + 1)
            listed = rows_by_id(connection, schema.session_list, found[:limit])
            # A damaged id is in an index and not in its row: it can't be shown, and must hide no other.
            rows = [listed[name] for name in found[:limit] if name in listed]
            sessions = tuple(read_sessions(connection, rows))
        return SessionPage(sessions, _place(rows, order.name) if len(found) > limit else None)

    def census(self) -> Census:
        """Return what changes when a session begins, beats, ends or is acknowledged; takes a part of a millisecond."""
        listed, own = schema.session_list.c, schema.sessions.c
        # One question, because each costs as much to ask as to answer.
        facts = sa.select(
            sa.literal(None, sa.String).label("session_id"),
            sa.select(sa.func.max(listed.session_id)).scalar_subquery().label("told"),
            sa.select(sa.func.count()).where(_UNHANDLED).select_from(schema.session_list).scalar_subquery().label("unhandled"),
        )
        started = sa.select(listed.session_id, own.heartbeat_at, sa.literal(0)).where(
            _STARTED, own.session_id == listed.session_id
        )
        with self.database.reading() as connection:
            rows = connection.execute(facts.union_all(started)).all()
        newest, unhandled = next((row.told, row.unhandled) for row in rows if row.session_id is None)
        beats = sorted((row.session_id, row.told) for row in rows if row.session_id is not None)
        return Census(newest, tuple(beats), unhandled)

    def choices(self) -> Choices:
        """Return what sessions can be filtered by."""
        listed = schema.session_list.c
        with self.database.reading() as connection:
            return Choices(
                modes=tuple(different(connection, listed.mode)),
                strategies=_single(different(connection, listed.strategy)),
                symbols=_single(different(connection, listed.symbol)),
                accounts=tuple(different(connection, listed.account)),
            )

    def acknowledge(self, session_id: str, by: str, note: str, at: datetime) -> Acknowledgement:
        """Take note that a session failed; where somebody has already, theirs is returned and stays.

        Raises:
            NotFound: there is no session of exactly that id.
            InputError: it did not fail.
        """
        given = Acknowledgement(by=storable(by) or "", at=stamp(at), note=storable(note) or "")
        listed, noted = schema.session_list.c, schema.acknowledgements.c
        with self.database.writing() as connection:
            if (status := connection.scalar(sa.select(listed.status).where(listed.session_id == session_id))) is None:
                raise NotFound(f"expected the id of a session, found {session_id!r}; peak-trade session list shows them")
            known = sa.select(schema.acknowledgements).where(noted.session_id == session_id)
            if (row := connection.execute(known).mappings().first()) is not None:
                return acknowledgement(row)
            if status != RunStatus.FAILED.value:
                raise InputError(
                    f"expected a session that failed, found {session_id} {status}; there is nothing to acknowledge"
                )
            facts = {"session_id": session_id, "operator": given.by, "at": given.at, "note": given.note}
            connection.execute(schema.acknowledgements.insert(), facts)
            here = schema.session_list.update().where(listed.session_id == session_id)
            connection.execute(here, {"acknowledged_at": given.at})
        return given

    def stats(self, where: SessionFilter) -> SessionStats:
        """Return counts by mode, type and status, and sums of figures by mode and currency."""
        with self.database.reading() as connection:
            columns = _unindexed(connection)
            # Text is all that the index of totals does not have.
            listed: _Columns = columns if where.text else schema.session_list.c.__getitem__
            kind = [listed(name).label(name) for name in ("mode", "run_type", "status", "currency")]
            figures = [sa.func.sum(listed(name)).label(name) for name in schema.SUMMED]
            query = sa.select(*kind, sa.func.count().label("sessions"), *figures).select_from(schema.session_list)
            grouped = query.where(_condition(where, columns)).group_by(*(listed(name) for name in schema.GROUPED))
            rows = connection.execute(grouped).all()
        counts: dict[tuple[str, str, str], int] = {}
        sums: dict[str, dict[str, dict[str, float]]] = {}
        for row in sorted(rows, key=lambda row: row[:4]):
            counts[row[:3]] = counts.get(row[:3], 0) + row.sessions
            figure = sums.setdefault(row.mode, {}).setdefault(row.currency, dict.fromkeys(schema.SUMMED, 0.0))
            for name in schema.SUMMED:
                figure[name] += getattr(row, name) or 0.0
        told = [SessionCount(mode=m, run_type=t, status=s, sessions=n) for (m, t, s), n in counts.items()]
        return SessionStats(total=sum(counts.values()), counts=tuple(told), sums=sums)


#: Where the columns of sessions are to be found.
_Columns = Callable[[str], sa.ColumnElement[Any]]


class _Sorting(NamedTuple):
    """The order of a page: a column of the list, then the id, both in one direction."""

    name: str
    descending: bool

    @classmethod
    def of(cls, sort: str, after: Place | None) -> "_Sorting":
        """Read an order.

        Raises:
            InputError: there is no such order, or *after* is no place in it.
        """
        name = sort.removeprefix("-")
        if name not in SORTABLE:
            raise InputError(
                f"expected one of {', '.join(SORTABLE)} to sort by, with - before it the largest first, found {sort!r}"
            )
        if after is not None and not _is_place(after, figure=name in schema.SUMMED):
            raise InputError(f"expected a place in the order {sort}, found {after.value!r}; begin at the first page")
        return cls(name, sort.startswith("-"))

    def parts(self, after: Place | None, where: SessionFilter) -> Iterator[sa.Select[tuple[str]]]:
        """Yield what the order consists of: the sessions with a value, then those without; only those after a place."""
        column = schema.session_list.c.__getitem__
        query = sa.select(schema.session_list).order_by(*self.terms(column))
        if after is None or after.value is not None:
            # What is known of the column that is sorted by is a part of its index.
            known = _known(where, column, self.name)
            yield query.where(column(self.name).is_not(None), *self.cut(after, column), *known)
        if self.name in schema.SUMMED:
            here = [] if after is None or after.value is not None else self.cut(after, column)
            yield query.where(column(self.name).is_(None), *here)

    def cut(self, after: Place | None, column: _Columns) -> list[sa.ColumnElement[bool]]:
        """Return the condition that a session comes after a place, among those that have a value, or have none, as it has."""
        if after is None:
            return []
        name = column("session_id")
        if after.value is None:
            return [name < after.session_id if self.descending else name > after.session_id]
        value = after.value if isinstance(after.value, str) else float(after.value)
        here, place = sa.tuple_(column(self.name), name), sa.tuple_(sa.literal(value), sa.literal(after.session_id))
        return [here < place if self.descending else here > place]

    def terms(self, column: _Columns) -> list[sa.ColumnElement[Any]]:
        """Return the terms to sort by."""
        both = [column(self.name), column("session_id")]
        return [term.desc() if self.descending else term.asc() for term in both]

    def among_all(self, after: Place | None, column: _Columns) -> sa.Select[tuple[str]]:
        """Return the whole order at once; only those after a place."""
        empty = column(self.name).is_(None)
        query = sa.select(column("session_id")).select_from(schema.session_list)
        query = query.order_by(empty, *self.terms(column))
        if after is None:
            return query
        here = sa.and_(*self.cut(after, column))
        return query.where(sa.and_(empty, here) if after.value is None else sa.or_(empty, here))


def _is_place(after: Place, *, figure: bool) -> bool:
    """Tell whether a place, which may come from anywhere, can be one in the order of a figure or else of a text."""
    value, name = after
    texts = [text for text in (value, name) if isinstance(text, str)]
    if not isinstance(name, str) or any(text != storable(text) for text in texts):
        return False
    if not figure:
        return len(texts) == 2
    # What is not a number, or larger than any, is false here.
    return value is None or (not isinstance(value, str | bool) and abs(value) <= _LARGEST)


def _place(rows: Sequence[sa.RowMapping], column: str) -> Place | None:
    """Return where a page ends."""
    return Place(rows[-1][column], rows[-1]["session_id"]) if rows else None


def _in_order(connection: sa.Connection, where: SessionFilter, order: _Sorting, after: Place | None, limit: int) -> list[str]:
    """Return the ids of the first sessions in an order that match, at most *limit*.

    They are looked for among the first ones of the order, which an index gives; where those are too few, among all, which
    costs the same however few there are. An index of one filter alone would cost more than both, where that filter is common.
    """
    parts = order.parts(after, where)
    if where == SessionFilter():
        found: list[str] = []
        for part in parts:
            ids = part.with_only_columns(schema.session_list.c.session_id)
            found += connection.scalars(ids.limit(limit - len(found))) if len(found) < limit else ()
        return found
    window = next(parts).limit(_WINDOW).subquery()
    near: _Columns = window.c.__getitem__
    first = sa.select(near("session_id")).where(_condition(where, near, each=True)).order_by(*order.terms(near))
    found = list(connection.scalars(first.limit(limit)))
    if len(found) == limit:
        return found
    column = _unindexed(connection)
    query = order.among_all(after, column).where(_condition(where, column))
    return list(connection.scalars(query.limit(limit)))


def _unindexed(connection: sa.Connection) -> _Columns:
    """Return the columns of the list such that no index is chosen for them.

    SQLite keeps no statistics unless asked to: it takes an index of a column with three values for a help, and then looks up
    every row by itself, ten times as slow as to read them all. PostgreSQL knows better.
    """
    if connection.dialect.name != "sqlite":
        return schema.session_list.c.__getitem__
    return lambda name: sa.literal_column(f"+session_list.{name}", schema.session_list.c[name].type)


def _single(names: Sequence[str]) -> tuple[str, ...]:
    """Return each name once by itself, where several stand with a plus between; not what says how many more there were."""
    parts = {part for name in names for part in name.split("+")}
    return tuple(sorted(part for part in parts if not part.endswith(" more")))


def _lease(now: datetime, lease_s: float) -> str:
    return stamp(now + timedelta(seconds=lease_s))


def _holders(account: str) -> sa.Select[Any]:
    """Select the started sessions of an account; the right to begin makes sure that there is at most one."""
    listed, own, run = schema.session_list.c, schema.sessions.c, schema.runs.c
    return sa.select(listed.session_id, own.host, run.process, listed.started_at, own.lease_until).where(
        _STARTED,
        listed.account == account,
        listed.session_id == own.session_id,
        listed.session_id == run.run_id,
    )


def _is_started(connection: sa.Connection, session_id: str, heartbeat_at: str | None = None) -> bool:
    """Return whether a session is started and, where *heartbeat_at* is given, was not heard of since."""
    own, run = schema.sessions.c, schema.runs.c
    query = sa.select(own.session_id).where(
        own.session_id == session_id, own.session_id == run.run_id, run.status == RunStatus.STARTED.value
    )
    if heartbeat_at is not None:
        query = query.where(own.heartbeat_at == heartbeat_at)
    return connection.execute(query).first() is not None


def _aborted(now: datetime, why: str) -> dict[str, Any]:
    return {"status": RunStatus.ABORTED.value, "finished_at": stamp(now), "error": why}


def _end(connection: sa.Connection, session_id: str, changes: Mapping[str, Any]) -> None:
    """Change a session's run and what the list has of it."""
    connection.execute(schema.runs.update().where(schema.runs.c.run_id == session_id), changes)
    listed = schema.session_list.c
    connection.execute(
        schema.session_list.update()
        .where(listed.session_id == session_id)
        .values(status=changes["status"], searched=listed.searched + "\n" + (changes["error"] or "").lower())
    )


def _add_results(
    connection: sa.Connection, session_id: str, metrics: Mapping[str, float], summary: JsonObject, head: tuple[int, str] | None
) -> None:
    connection.execute(schema.metrics.delete().where(schema.metrics.c.run_id == session_id))
    insert_metrics(connection, session_id, metrics)
    seq, sha256 = head or (None, None)
    here = schema.sessions.update().where(schema.sessions.c.session_id == session_id)
    connection.execute(here, {"summary": plain_json(summary), "head_seq": seq, "head_sha256": sha256})
    listed = schema.session_list.update().where(schema.session_list.c.session_id == session_id)
    connection.execute(listed, summed(metrics))


def _condition(where: SessionFilter, column: _Columns, *, each: bool = False) -> sa.ColumnElement[bool]:
    """Return the filter as a condition; for *each*, see `run_condition`."""
    given = {name: getattr(where, name) for name in ("mode", "account", "env_name", "text")}
    if any(value is not None and value != storable(value) for value in given.values()):
        return sa.false()
    conditions = [run_condition(where, column, "session_id", each=each)]
    conditions += [column(name) == given[name] for name in ("mode", "account", "env_name") if given[name] is not None]
    conditions += _period(where, column)
    if where.text:
        conditions.append(column("searched").contains(where.text.lower(), autoescape=True))
    if where.unhandled:
        conditions += [column("status") == _FAILED, column("acknowledged_at").is_(None)]
    return sa.and_(*conditions)


def _period(where: SessionFilter, column: _Columns) -> list[sa.ColumnElement[bool]]:
    since = [] if where.since is None else [column("started_at") >= stamp(where.since)]
    until = [] if where.until is None else [column("started_at") < stamp(where.until)]
    return since + until


def _known(where: SessionFilter, column: _Columns, name: str) -> list[sa.ColumnElement[bool]]:
    """Return what a filter says of one column, as far as an index of that column can make use of it."""
    if name == "started_at":
        return _period(where, column)
    value = getattr(where, name) if name in ("mode", "status", "account") else None
    return [] if value is None or value != storable(value) else [column(name) == value]


def _read(connection: sa.Connection, where: sa.ColumnElement[bool], limit: int | None = None) -> Iterator[Session]:
    """Yield the sessions for which a condition on `session_list` holds, newest first."""
    query = sa.select(schema.session_list).where(where).order_by(schema.session_list.c.session_id.desc()).limit(limit)
    return read_sessions(connection, connection.execute(query).mappings().all())
