"""The registry of sessions, beside that of runs in the same database.

Invariant: at most one session of an account is `started` at a time.
Invariant: a session leaves `started` once; who finds it gone must stop, and can't turn it into something else.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from peak_trade.journal import schema
from peak_trade.journal.database import Database
from peak_trade.journal.registry import (
    RunFilter,
    details,
    insert_metrics,
    insert_run,
    one_of,
    read_run,
    run_condition,
    stamp,
    storable,
)
from peak_trade.journal.run import JsonObject, Run, RunStatus, plain_json
from peak_trade.journal.session import SESSION_TYPES, Session
from peak_trade.model.clock import RunId
from peak_trade.model.errors import SafetyRefused, require
from peak_trade.model.stage import Stage

_STAGES = frozenset(stage.value for stage in Stage)
#: As the condition of the index is written.
_STARTED = schema.session_list.c.status == sa.literal_column("'started'")
_ALL = 2**62
#: How many sessions are read in one query.
_BATCH = 500
_DEAD = "the process ended without finishing; what it did until then is in its journal"
_TAKEN = "its lease ran out, and session {} began on the same account"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFilter(RunFilter):
    """Which sessions to list; None does not filter, a text must match exactly.

    Attributes:
        since, until: bounds of the beginning; the first is included, the second is not.
        text: a part of the id, strategy, symbol, account, notes or error, in any case.
    """

    mode: str | None = None
    account: str | None = None
    env_name: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None


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
            connection.execute(schema.sessions.insert(), _row(begun))
            connection.execute(schema.session_list.insert(), _list_row(begun))
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
        condition = _condition(where)
        if before is not None:
            condition = sa.and_(condition, schema.session_list.c.session_id < before)
        with self.database.reading() as connection:
            return list(_read(connection, condition, limit))

    def stats(self, where: SessionFilter) -> SessionStats:
        """Return counts by mode, type and status, and sums of figures by mode and currency."""
        listed: sa.FromClause = schema.session_list
        condition = _condition(where)
        if replace(where, mode=None, run_type=None, status=None) != SessionFilter():
            # Choose first, then add up: SQLite would else go through the index of totals and look up every row behind it.
            listed = sa.select(listed).where(condition).limit(_ALL).subquery()
            condition = sa.true()
        kind = [listed.c[name] for name in ("mode", "run_type", "status", "currency")]
        figures = [sa.func.sum(listed.c[name]).label(name) for name in schema.SUMMED]
        query = sa.select(*kind, sa.func.count().label("sessions"), *figures)
        with self.database.reading() as connection:
            rows = connection.execute(query.where(condition).group_by(*kind)).all()
        counts: dict[tuple[str, str, str], int] = {}
        sums: dict[str, dict[str, dict[str, float]]] = {}
        for row in sorted(rows, key=lambda row: row[:4]):
            counts[row[:3]] = counts.get(row[:3], 0) + row.sessions
            figure = sums.setdefault(row.mode, {}).setdefault(row.currency, dict.fromkeys(schema.SUMMED, 0.0))
            for name in schema.SUMMED:
                figure[name] += getattr(row, name) or 0.0
        told = [SessionCount(mode=m, run_type=t, status=s, sessions=n) for (m, t, s), n in counts.items()]
        return SessionStats(total=sum(counts.values()), counts=tuple(told), sums=sums)


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
    connection.execute(listed, _sums(metrics))


def _sums(metrics: Mapping[str, float]) -> dict[str, float | None]:
    found = {name: metrics.get(name) for name in schema.SUMMED}
    return {name: value if value is not None and math.isfinite(value) else None for name, value in found.items()}


def _row(session: Session) -> dict[str, Any]:
    row = {column.name: getattr(session, column.name) for column in schema.sessions.columns}
    return row | {
        "feed": plain_json(session.feed),
        "cli_args": plain_json(session.cli_args),
        "summary": plain_json(session.summary),
    }


def _list_row(session: Session) -> dict[str, Any]:
    run = session.run
    return {
        "session_id": run.run_id,
        "run_type": run.run_type,
        "mode": session.mode,
        "status": run.status.value,
        "strategy": run.strategy,
        "symbol": run.symbol,
        "account": session.account,
        "env_name": run.env_name,
        "started_at": run.started_at,
        "currency": session.feed.get("quote") or run.symbol.rpartition("/")[2],
        "searched": "\n".join((run.run_id, run.strategy, run.symbol, session.account, session.notes)).lower(),
    } | _sums(run.metrics)


def _condition(where: SessionFilter) -> sa.ColumnElement[bool]:
    listed = schema.session_list.c
    conditions = [run_condition(where, schema.session_list)]
    for name in ("mode", "account", "env_name"):
        value = getattr(where, name)
        if value is not None:
            conditions.append(listed[name] == value)
    if where.since is not None:
        conditions.append(listed.started_at >= stamp(where.since))
    if where.until is not None:
        conditions.append(listed.started_at < stamp(where.until))
    if where.text:
        conditions.append(listed.searched.contains(where.text.lower(), autoescape=True))
    return sa.and_(*conditions)


def _read(connection: sa.Connection, where: sa.ColumnElement[bool], limit: int | None = None) -> Iterator[Session]:
    """Yield the sessions for which a condition on `session_list` holds, newest first."""
    query = sa.select(schema.session_list).where(where).order_by(schema.session_list.c.session_id.desc()).limit(limit)
    listed = connection.execute(query).mappings().all()
    for start in range(0, len(listed), _BATCH):
        part = listed[start : start + _BATCH]
        ids = [facts["session_id"] for facts in part]
        figures, tags = details(connection, ids)
        runs = _by_id(connection, schema.runs, ids)
        own = _by_id(connection, schema.sessions, ids)
        for facts, name in zip(part, ids, strict=True):
            run = read_run(runs[name], tags[name], figures[name]) if name in runs else _lost_run(facts)
            yield _session(facts, run, own.get(name))


def _by_id(connection: sa.Connection, table: sa.Table, ids: Sequence[str]) -> dict[str, sa.RowMapping]:
    key = table.primary_key.columns[0]
    return {row[key.name]: row for row in connection.execute(sa.select(table).where(key.in_(ids))).mappings()}


def _session(facts: sa.RowMapping, run: Run, own: sa.RowMapping | None) -> Session:
    """Return rows as a session; one whose content makes no sense as a damaged session that says why."""
    if own is None:
        bare = {"tier": "", "host": "", "journal": "", "mode": facts["mode"], "account": facts["account"]}
        return Session(run=_damaged(run, "its row of sessions is missing"), **bare)
    objects = {"feed": dict, "cli_args": list, "summary": dict}
    texts = {name: own[name] for name in own if name not in (*objects, "session_id", "head_seq")}
    try:
        parsed = {name: json.loads(own[name]) for name in objects}
        wrong = [name for name, kind in objects.items() if not isinstance(parsed[name], kind)]
        wrong += [] if isinstance(own["head_seq"], int | None) else ["head_seq"]
        wrong += [] if own["mode"] in _STAGES else ["mode"]
        if not wrong:
            arguments = tuple(map(str, parsed.pop("cli_args")))
            return Session(run=run, cli_args=arguments, head_seq=own["head_seq"], **parsed, **texts)
        why = f"{', '.join(wrong)} can't be read"
    except (ValueError, TypeError) as error:
        why = str(error)
    return Session(run=_damaged(run, why), **texts)


def _damaged(run: Run, why: str) -> Run:
    return replace(run, status=RunStatus.DAMAGED, error=run.error or f"this row of the registry is damaged: {why}")


def _lost_run(facts: sa.RowMapping) -> Run:
    """Return what the list knows of a run whose row is missing."""
    known = {name: facts[name] for name in ("run_type", "strategy", "symbol", "env_name", "started_at")}
    empty: dict[str, Any] = {"params": {}, "spec": {}, "versions": {}, "code_clean": False, "process": 0}
    empty |= dict.fromkeys(("timeframe", "dataset_sha256", "config_sha256", "code_version"), "")
    run = Run(run_id=RunId(facts["session_id"]), status=RunStatus.DAMAGED, **known, **empty)
    return _damaged(run, "its row of runs is missing")
