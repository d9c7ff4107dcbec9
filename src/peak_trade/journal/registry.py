"""The registry of runs in the database."""

import contextlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa

from peak_trade.journal import schema
from peak_trade.journal.database import Database
from peak_trade.journal.run import JsonObject, Run, RunStatus, Trial, Tried, plain_json, sha256_of
from peak_trade.model.clock import RunId
from peak_trade.model.errors import InputError, NotFound

T = TypeVar("T")

#: What stands for the newest run where an id is asked for.
LATEST = "latest"
#: Ids begin with the time, so that all of these mean the same order.
_NEWEST_FIRST = (None, "run_id", "started_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs to list; None does not filter, a text must match exactly."""

    run_type: str | None = None
    status: str | None = None
    strategy: str | None = None
    symbol: str | None = None
    tag: str | None = None


class TriedRow(NamedTuple):
    """A trial as the ledger of trials needs it; `params` is JSON, `first` and `last` nanoseconds UTC."""

    identity: str
    timeframe: str
    first: int
    last: int
    params: str
    strategy: str
    run_id: str
    number: int


class MarketPeriod(NamedTuple):
    """A period of a market that something was tried over, and the newest run that did; open times, nanoseconds UTC."""

    symbol: str
    first: int
    last: int
    run_id: str


class Registry:
    """Runs, their figures, tags and trials."""

    def __init__(self, url: str) -> None:
        """Open the registry, create it where there is none, and bring its schema up to date.

        Raises:
            ConfigError: the URL is not one of a known database.
            StorageError: the database can't be opened, is damaged, or is newer than the code.
        """
        self.database = Database(url)
        self._reading, self._writing = self.database.reading, self.database.writing

    def close(self) -> None:
        """Let go of all connections."""
        self.database.close()

    def add(self, run: Run, tried: Tried | None = None, trials: Sequence[Trial] = ()) -> None:
        """Register a run with its tags, figures and, where it is finished, its trials."""
        with self._writing() as connection:
            insert_run(connection, run)
            if tried is not None:
                _add_trials(connection, run, tried, trials)

    def add_over(self, run: Run, tries: Sequence[tuple[Tried, Sequence[Trial]]]) -> None:
        """Register a finished run with trials on several markets, all or nothing."""
        with self._writing() as connection:
            insert_run(connection, run)
            for tried, trials in tries:
                _add_trials(connection, run, tried, trials)

    def finish(
        self,
        run_id: RunId,
        status: RunStatus,
        *,
        at: datetime,
        elapsed_s: float | None,
        trials: int,
        metrics: Mapping[str, float] | None = None,
        result_sha256: str | None = None,
        error: str | None = None,
    ) -> None:
        """Give a run its end; figures given before are replaced."""
        changes = {
            "status": status.value,
            "finished_at": stamp(at),
            "elapsed_s": elapsed_s,
            "trials": trials,
            "result_sha256": result_sha256,
            "error": storable(error),
        }
        with self._writing() as connection:
            connection.execute(schema.runs.update().where(schema.runs.c.run_id == run_id), changes)
            connection.execute(schema.metrics.delete().where(schema.metrics.c.run_id == run_id))
            insert_metrics(connection, run_id, metrics or {})

    def restart(self, run_id: RunId, process: int, tags: Sequence[str]) -> None:
        """Mark an interrupted run as going on in another process, with what tags that one adds."""
        changes = {"status": RunStatus.STARTED.value, "process": process, "finished_at": None, "error": None}
        with self._writing() as connection:
            connection.execute(schema.runs.update().where(schema.runs.c.run_id == run_id), changes)
            present = set(connection.scalars(sa.select(schema.tags.c.tag).where(schema.tags.c.run_id == run_id)))
            rows = [{"run_id": run_id, "tag": tag} for tag in dict.fromkeys(tags) if tag not in present]
            if rows:
                connection.execute(schema.tags.insert(), rows)

    def add_trials(self, run: Run, tried: Tried, trials: Sequence[Trial]) -> None:
        """Store finished trials of a run, all or none."""
        self.add_tried(run, [(tried, trials)])

    def add_tried(self, run: Run, parts: Iterable[tuple[Tried, Sequence[Trial]]]) -> None:
        """Store finished trials of a run over several periods, all or none."""
        if filled := [(tried, trials) for tried, trials in parts if trials]:
            with self._writing() as connection:
                for tried, trials in filled:
                    _add_trials(connection, run, tried, trials)

    def working_on(self, name: str, wait_s: float = 0.0) -> contextlib.AbstractContextManager[bool]:
        """Hold the right to work on something; see `Database.working_on`."""
        return self.database.working_on(name, wait_s)

    def close_dead(self, run_type: str, at: datetime) -> int:
        """Close runs of a type that are registered as started but that no process works on; return how many."""
        closed = 0
        for run in self.find(RunFilter(run_type=run_type, status=RunStatus.STARTED.value), limit=1_000):
            with self.working_on(run.spec_sha256) as free:
                # Read again under the lock: the run may have ended since the list was made.
                if free and self.get(run.run_id).status is RunStatus.STARTED:
                    why = "the process ended without finishing; the same command goes on with it"
                    trials = len(self.trials(run.run_id))
                    self.finish(run.run_id, RunStatus.ABORTED, at=at, elapsed_s=None, trials=trials, error=why)
                    closed += 1
        return closed

    def get(self, run_id: str) -> Run:
        """Return a run by its id, an unmistakable beginning or end of it, `latest`, or `latest:TYPE`.

        Raises:
            NotFound: no such run, or several.
        """
        with self._reading() as connection:
            return one_of(
                run_id,
                schema.runs,
                lambda where, limit: self._rows(connection, where, limit),
                noun="run",
                lister="peak-trade experiments",
                maker="peak-trade backtest --strategy ma_crossover",
            )

    def find(self, where: RunFilter, limit: int, sort_by: str | None = None, before: str | None = None) -> list[Run]:
        """Return matching runs, newest first, or best first by a figure or column.

        Args:
            before: only runs older than that one, to go on a page of the newest; not with another order.

        Raises:
            InputError: a page of another order was asked for.
        """
        condition = run_condition(where, schema.runs.c.__getitem__, "run_id")
        if before is not None:
            if sort_by not in _NEWEST_FIRST:
                raise InputError(f"expected no order with a page of runs, found {sort_by!r}; pages are of the newest first")
            condition = sa.and_(condition, schema.runs.c.run_id < (storable(before) or ""))
        with self._reading() as connection:
            return self._rows(connection, condition, limit, sort_by)

    def latest(self, spec_sha256: str, run_type: str) -> Run | None:
        """Return the newest run with that specification."""
        same = sa.and_(schema.runs.c.spec_sha256 == spec_sha256, schema.runs.c.run_type == run_type)
        with self._reading() as connection:
            found = self._rows(connection, same, 1)
        return found[0] if found else None

    def trials(self, run_id: RunId) -> list[tuple[int, str, str]]:
        """Return number, parameters and figures (both JSON) of a run's finished trials in their order."""
        query = (
            sa.select(schema.trials.c.number, schema.trials.c.params, schema.trials.c.metrics)
            .where(schema.trials.c.run_id == run_id)
            .order_by(schema.trials.c.number)
        )
        with self._reading() as connection:
            return [(row.number, row.params, row.metrics) for row in connection.execute(query)]

    def count_trials(self, tried: Tried) -> tuple[int, int]:
        """Return how many trials overlap this market and period, and how many different ones.

        Two trials are the same if strategy, parameters and terms are.
        """
        table = schema.trials.c
        query = sa.select(sa.func.count(), sa.func.count(sa.distinct(table.identity))).where(
            table.symbol == tried.symbol,
            table.timeframe == tried.timeframe,
            table.first <= tried.last,
            table.last >= tried.first,
        )
        with self._reading() as connection:
            total, different = connection.execute(query).one()
        return int(total), int(different)

    def tried_on(self, symbol: str, first: int, last: int) -> list[TriedRow]:
        """Return the trials of a market whose period overlaps, the oldest first; of repeated ones all.

        Args:
            first, last: open times, nanoseconds UTC.
        """
        table, runs = schema.trials.c, schema.runs.c
        place = (table.identity, table.timeframe, table.first, table.last)
        query = (
            sa.select(*place, table.params, runs.strategy, runs.run_id, table.number)
            .join_from(schema.trials, schema.runs, table.run_id == runs.run_id)
            .where(table.symbol == symbol, table.first <= last, table.last >= first)
            .order_by(table.run_id, table.number)
        )
        with self._reading() as connection:
            return [TriedRow._make(row) for row in connection.execute(query)]

    def markets_of(self, strategy: str) -> list[str]:
        """Return the symbols that trials of a strategy were made on, in the order of letters."""
        table, runs = schema.trials.c, schema.runs.c
        query = (
            sa.select(table.symbol)
            .join_from(schema.trials, schema.runs, table.run_id == runs.run_id)
            .where(runs.strategy == strategy)
            .distinct()
        )
        with self._reading() as connection:
            return sorted(connection.scalars(query))

    def other_markets(self, symbol: str, timeframe: str, first: int, last: int, most: int) -> list[MarketPeriod]:
        """Return the periods within one that something was tried over on other markets, the newest first, at most so many."""
        table = schema.trials.c
        newest = sa.func.max(table.run_id)
        query = (
            sa.select(table.symbol, table.first, table.last, newest)
            .where(table.symbol != symbol, table.timeframe == timeframe, table.first >= first, table.last <= last)
            .group_by(table.symbol, table.first, table.last)
            .order_by(newest.desc())
            .limit(most)
        )
        with self._reading() as connection:
            return [MarketPeriod(*row) for row in connection.execute(query)]

    def first_trials(self, run_id: str, most: int) -> list[tuple[str, str]]:
        """Return parameters and figures (both JSON) of a run's first trials."""
        table = schema.trials.c
        query = sa.select(table.params, table.metrics).where(table.run_id == run_id).order_by(table.number).limit(most)
        with self._reading() as connection:
            return [(row.params, row.metrics) for row in connection.execute(query)]

    def tried_over_time(self, strategy: str, symbol: str) -> list[JsonObject]:
        """Return, for each day (UTC) on which a strategy was tried on a market, how many trials there were by its end.

        `total` counts repeats, `different` does not: two trials are the same if parameters and terms are. The day is that on
        which a run began, which its id begins with.
        """
        table, runs = schema.trials.c, schema.runs.c
        mine = (
            sa.select(table.run_id, table.identity)
            .join_from(schema.trials, schema.runs, table.run_id == runs.run_id)
            .where(runs.strategy == strategy, table.symbol == symbol)
        )
        rows, firsts = mine.cte("rows"), mine.cte("firsts")
        first = sa.select(sa.func.min(firsts.c.run_id).label("run_id")).group_by(firsts.c.identity).subquery()
        every = sa.select(sa.func.substr(rows.c.run_id, 1, 8).label("day"), sa.func.count()).group_by("day")
        fresh = sa.select(sa.func.substr(first.c.run_id, 1, 8).label("day"), sa.func.count()).group_by("day")
        with self._reading() as connection:
            counts = {day: int(count) for day, count in connection.execute(every)}
            added = {day: int(count) for day, count in connection.execute(fresh)}
        found: list[JsonObject] = []
        total = different = 0
        for day in sorted(counts):
            total, different = total + counts[day], different + added.get(day, 0)
            found.append({"day": f"{day[:4]}-{day[4:6]}-{day[6:]}", "total": total, "different": different})
        return found

    def strategies(self) -> list[str]:
        """Return the names of all strategies that some run has, in the order of letters."""
        with self._reading() as connection:
            return different(connection, schema.runs.c.strategy)

    def metric_names(self) -> list[str]:
        """Return the names of all figures that some run has."""
        with self._reading() as connection:
            return different(connection, schema.metrics.c.name)

    def tag_names(self) -> list[str]:
        """Return all tags that some run has, in the order of letters."""
        with self._reading() as connection:
            return different(connection, schema.tags.c.tag)

    def _rows(
        self, connection: sa.Connection, where: sa.ColumnElement[bool], limit: int, sort_by: str | None = None
    ) -> list[Run]:
        query = sa.select(schema.runs).where(where)
        if sort_by in _NEWEST_FIRST:
            query = query.order_by(schema.runs.c.run_id.desc())
        elif sort_by in schema.runs.columns:
            query = query.order_by(schema.runs.c[sort_by].asc().nulls_first(), schema.runs.c.run_id.desc())
        else:
            ranked = schema.metrics.alias()
            query = query.join(ranked, sa.and_(ranked.c.run_id == schema.runs.c.run_id, ranked.c.name == sort_by))
            query = query.order_by(ranked.c.value.desc(), schema.runs.c.run_id.desc())
        rows = connection.execute(query.limit(limit)).mappings().all()
        figures, marks = details(connection, [row["run_id"] for row in rows])
        return [read_run(row, marks[row["run_id"]], figures[row["run_id"]]) for row in rows]


def identity_of(strategy: str, params: JsonObject, terms: JsonObject) -> str:
    """Return what two trials have in common that are the same: strategy, parameters and terms.

    The one home of it. Rates of terms count by their value, whether written as 10 or 10.0, and a negative zero is zero; what
    is a whole number in parameters stays one, because a strategy's own fields say which they are.
    """
    return sha256_of([strategy, _by_value(params), _by_value(terms, whole=False)])[:16]


def _by_value(value: Any, *, whole: bool = True) -> Any:
    """Return a JSON value with every number in one form; without *whole*, as a float."""
    if isinstance(value, Mapping):
        return {name: _by_value(item, whole=whole) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_by_value(item, whole=whole) for item in value]
    if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and not whole):
        return float(value) + 0.0
    return value


def stamp(moment: datetime) -> str:
    """Return an aware UTC moment as text of fixed length, to the microsecond."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def storable(text: str | None) -> str | None:
    """Return text without what a database can't keep: zero bytes and halves of characters."""
    return None if text is None else text.replace("\0", "").encode(errors="replace").decode()


def insert_run(connection: sa.Connection, run: Run) -> None:
    """Store a run with its tags and figures."""
    objects = ("params", "spec", "versions")
    row = {column.name: getattr(run, column.name) for column in schema.runs.columns if column.name not in objects}
    row |= {name: plain_json(getattr(run, name)) for name in objects}
    connection.execute(schema.runs.insert(), row | {"status": run.status.value, "error": storable(run.error)})
    if run.tags:
        connection.execute(schema.tags.insert(), [{"run_id": run.run_id, "tag": tag} for tag in dict.fromkeys(run.tags)])
    insert_metrics(connection, run.run_id, run.metrics)


def insert_metrics(connection: sa.Connection, run_id: str, figures: Mapping[str, float]) -> None:
    """Store figures; what is not a number could not be computed and has no row."""
    rows = [{"run_id": run_id, "name": name, "value": value} for name, value in figures.items() if not math.isnan(value)]
    if rows:
        connection.execute(schema.metrics.insert(), rows)


def one_of(
    wanted: str, table: sa.Table, rows: Callable[[sa.ColumnElement[bool], int], list[T]], *, noun: str, lister: str, maker: str
) -> T:
    """Return the one that an id, an unmistakable beginning or end of it, `latest`, or `latest:TYPE` names.

    Args:
        table: has the id as its key, and a column run_type.
        rows: returns the newest of those for which a condition on *table* holds, at most so many.

    Raises:
        NotFound: no such one, or several.
    """
    key = table.primary_key.columns[0]
    found: list[T] = []
    if wanted == LATEST or wanted.startswith(f"{LATEST}:"):
        kind = wanted.removeprefix(LATEST).removeprefix(":")
        found = rows(table.c.run_type == kind if kind else sa.true(), 1)
    elif wanted.isprintable():
        found = rows(key == wanted, 1)
    if not found and len(wanted) >= 4 and wanted.isprintable():
        # Compared letter by letter: LIKE has wildcards, and its own idea of case in each database.
        ending = sa.func.substr(key, sa.func.length(key) - len(wanted) + 1, len(wanted))
        found = rows(sa.or_(sa.func.substr(key, 1, len(wanted)) == wanted, ending == wanted), 2)
    if len(found) > 1:
        raise NotFound(f"expected the id of one {noun}, found several that match {wanted!r}; give more of it")
    if not found:
        if wanted == LATEST or wanted.startswith(f"{LATEST}:"):
            kind = wanted.removeprefix(LATEST).removeprefix(":")
            if kind:
                raise NotFound(f"expected the newest {noun} of type {kind}, found none; {lister} lists those of every type")
            raise NotFound(f"expected the newest {noun}, found none; {maker} makes one")
        raise NotFound(f"expected the id of a {noun}, found none like {wanted!r}; {lister} lists them")
    return found[0]


def different(connection: sa.Connection, column: sa.Column[str]) -> list[str]:
    """Return the different values of a column that an index begins with, in order, by a step in the index for each."""
    first = sa.select(sa.func.min(column).label("value")).cte("different", recursive=True)
    following = sa.select(sa.func.min(column)).where(column > first.c.value).scalar_subquery()
    every = first.union_all(sa.select(following).where(first.c.value.is_not(None)))
    return [value for value in connection.scalars(sa.select(every.c.value)) if value is not None]


def details(connection: sa.Connection, ids: Sequence[str]) -> tuple[dict[str, dict[str, float]], dict[str, tuple[str, ...]]]:
    """Return the figures and the tags of runs, each by run."""
    figures: dict[str, dict[str, float]] = {run_id: {} for run_id in ids}
    marks: dict[str, list[str]] = {run_id: [] for run_id in ids}
    # Read without the column's type: a figure that is no number must not hide the runs beside it.
    plain = sa.select(
        schema.metrics.c.run_id, schema.metrics.c.name, sa.type_coerce(schema.metrics.c.value, sa.types.NullType())
    )
    for run_id, name, value in connection.execute(plain.where(schema.metrics.c.run_id.in_(ids))):
        figures[run_id][name] = value
    for tag in connection.execute(sa.select(schema.tags).where(schema.tags.c.run_id.in_(ids))):
        marks[tag.run_id].append(tag.tag)
    return figures, {run_id: tuple(sorted(found)) for run_id, found in marks.items()}


def run_condition(
    where: RunFilter, column: Callable[[str], sa.ColumnElement[Any]], key: str, *, each: bool = False
) -> sa.ColumnElement[bool]:
    """Return the filter as a condition.

    Args:
        column: returns a column of whatever is filtered, by name; *key* is the name of the one that holds the id.
        each: ask of each row whether it has the tag, which pays where rows are few, instead of making a list of those that do.
    """
    given = {name: getattr(where, name) for name in ("run_type", "status", "strategy", "symbol", "tag")}
    if any(value is not None and value != storable(value) for value in given.values()):
        return sa.false()  # no row can hold it, and a driver might not even take it as a question
    conditions = [sa.true(), *(column(name) == given[name] for name in ("run_type", "status") if given[name] is not None)]
    for name in ("strategy", "symbol"):
        if given[name] is not None:
            # A session of several has their names with a plus between.
            among = (sa.literal("+") + column(name) + sa.literal("+")).contains(f"+{given[name]}+", autoescape=True)
            conditions.append(sa.or_(column(name) == given[name], among))
    if where.tag is not None:
        tags = schema.tags.c
        tagged = sa.select(tags.run_id).where(tags.tag == where.tag)
        conditions.append(tagged.where(tags.run_id == column(key)).exists() if each else column(key).in_(tagged))
    return sa.and_(*conditions)


def read_run(row: sa.RowMapping, tags: tuple[str, ...], figures: Mapping[str, float]) -> Run:
    """Return a row as a run; one whose content makes no sense as a damaged run that says why."""
    plain = {name: row[name] for name in row if name not in ("params", "spec", "versions", "status", "spec_sha256")}
    try:
        parsed = {name: json.loads(row[name]) for name in ("params", "spec", "versions")}
        wrong = [name for name, value in parsed.items() if not isinstance(value, dict)]
        wrong += [name for name, value in figures.items() if not isinstance(value, float)]
        wrong += [name for name in ("trials", "process") if not isinstance(row[name], int)]
        wrong += [] if isinstance(row["elapsed_s"], float | None) else ["elapsed_s"]
        wrong += [] if re.fullmatch(r"[0-9A-Za-z][\w.-]*", row["run_id"]) else ["run_id"]
        if not wrong:
            return Run(status=RunStatus(row["status"]), tags=tags, metrics=figures, **parsed, **plain)
        why = f"{', '.join(wrong)} can't be read"
    except (ValueError, TypeError, RecursionError) as error:
        why = str(error)
    texts = {name: value for name, value in plain.items() if name not in ("trials", "process", "elapsed_s", "error")}
    empty: dict[str, Any] = {"params": {}, "spec": {}, "versions": {}, "metrics": {}, "process": 0}
    return Run(status=RunStatus.DAMAGED, tags=tags, error=f"this row of the registry is damaged: {why}", **empty, **texts)


def _add_trials(connection: sa.Connection, run: Run, tried: Tried, trials: Sequence[Trial]) -> None:
    place = {"symbol": tried.symbol, "timeframe": tried.timeframe, "first": tried.first, "last": tried.last}
    rows = [
        place
        | {
            "run_id": run.run_id,
            "number": trial.number,
            "identity": identity_of(trial.strategy or run.strategy, trial.params, tried.terms),
            "params": plain_json(trial.params),
            "metrics": plain_json(trial.metrics),
        }
        for trial in trials
    ]
    connection.execute(schema.trials.insert(), rows)
