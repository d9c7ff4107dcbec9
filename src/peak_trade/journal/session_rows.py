"""Sessions as rows of the database, and rows as sessions; what can't be read is a damaged session, never an error."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from peak_trade.journal import schema
from peak_trade.journal.registry import details, read_run
from peak_trade.journal.run import Run, RunStatus, plain_json
from peak_trade.journal.session import Acknowledgement, Session
from peak_trade.model.clock import RunId
from peak_trade.model.stage import Stage

_STAGES = frozenset(stage.value for stage in Stage)
#: How many sessions are read in one query.
_BATCH = 500


def own_row(session: Session) -> dict[str, Any]:
    """Return a session's row of `sessions`."""
    row = {column.name: getattr(session, column.name) for column in schema.sessions.columns}
    return row | {
        "feed": plain_json(session.feed),
        "cli_args": plain_json(session.cli_args),
        "summary": plain_json(session.summary),
    }


def list_row(session: Session) -> dict[str, Any]:
    """Return a session's row of `session_list`."""
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
        "currency": session.quote,
        "searched": "\n".join((run.run_id, run.strategy, run.symbol, session.account, session.notes)).lower(),
    } | summed(run.metrics)


def summed(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Return the figures that may be added up; None for what is missing or infinite."""
    found = {name: metrics.get(name) for name in schema.SUMMED}
    return {name: value if value is not None and math.isfinite(value) else None for name, value in found.items()}


def read_sessions(connection: sa.Connection, listed: Sequence[sa.RowMapping]) -> Iterator[Session]:
    """Yield the sessions of rows of `session_list`, in their order."""
    for start in range(0, len(listed), _BATCH):
        part = listed[start : start + _BATCH]
        ids = [facts["session_id"] for facts in part]
        figures, tags = details(connection, ids)
        runs = rows_by_id(connection, schema.runs, ids)
        own = rows_by_id(connection, schema.sessions, ids)
        noted = [facts["session_id"] for facts in part if facts["acknowledged_at"] is not None]
        handled = rows_by_id(connection, schema.acknowledgements, noted) if noted else {}
        for facts, name in zip(part, ids, strict=True):
            run = read_run(runs[name], tags[name], figures[name]) if name in runs else _lost_run(facts)
            session = _session(facts, run, own.get(name))
            yield replace(session, acknowledged=acknowledgement(handled[name])) if name in handled else session


def acknowledgement(row: sa.RowMapping) -> Acknowledgement:
    """Return a row of `acknowledgements`."""
    return Acknowledgement(by=row["operator"], at=row["at"], note=row["note"])


def rows_by_id(connection: sa.Connection, table: sa.Table, ids: Sequence[str]) -> dict[str, sa.RowMapping]:
    """Return the rows of a table whose keys are among these, by key."""
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
    except (ValueError, TypeError, RecursionError) as error:
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
