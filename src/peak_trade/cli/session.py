"""`peak-trade session`: run strategies through the full order flow, and look at what they did."""

import json
import shlex
import sys
import time
from collections import deque
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import options
from peak_trade.cli.session_start import RECORDED, start
from peak_trade.cli.session_stop import stop_command
from peak_trade.model.errors import CheckFailed, InputError, NotFound

if TYPE_CHECKING:
    from peak_trade.compose import Parts
    from peak_trade.journal.sessions import SessionFilter

app = typer.Typer(help="Run, list, show, replay and report sessions.", no_args_is_help=True, rich_markup_mode=None)
app.command("run")(start)
app.command(RECORDED, help="Drive recorded bars through the full order flow at once.")(start)
app.command("stop")(stop_command)


RunType = Annotated[str | None, typer.Option("--run-type", help="Only sessions of this type: live_session_shadow, ...")]
Status = Annotated[str | None, typer.Option("--status", help="Only sessions with this status.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="At most so many sessions, newest first.")]


@app.command("list")
def list_sessions(
    run_type: RunType = None,
    status: Status = None,
    strategy: Annotated[str | None, typer.Option("--strategy", help="Only sessions of this strategy.")] = None,
    symbol: options.SymbolName = None,
    tag: Annotated[str | None, typer.Option("--tag", help="Only sessions with this tag.")] = None,
    unhandled: Annotated[bool, typer.Option("--unhandled", help="Only sessions that failed and nobody acknowledged.")] = False,
    limit: Limit = 20,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """List sessions, newest first."""
    from peak_trade.cli.show import document, figure, printable, table
    from peak_trade.journal.run import RunStatus
    from peak_trade.runs.sessions.dead import close_dead

    with closing(options.open_parts(config)) as parts:
        close_dead(parts)
        where = replace(_filter(run_type, status, strategy, symbol, tag), unhandled=unhandled)
        found = parts.sessions.find(where, limit)
    if as_json:
        print(document([session.to_json() for session in found]))
        return
    if not found:
        print("no session matches; make one with: peak-trade session run --strategy ma_crossover --steps 100 --speed max")
        return
    names = ("total_return", "max_drawdown", "num_fills", "orders_blocked_risk")
    rows = [
        (
            session.session_id,
            session.run.run_type,
            session.run.status.value + (" (acknowledged)" if session.acknowledged else ""),
            session.run.strategy,
            f"{session.run.symbol} {session.run.timeframe}",
            session.account,
            f"{session.run.process} on {session.host}" if session.run.status is RunStatus.STARTED else "-",
            *(figure(name, session.run.metrics.get(name)) for name in names),
            str(session.summary.get("mode_at_end", "-")),
            printable(session.run.error or "")[:60],
        )
        for session in found
    ]
    header = [
        "session",
        "type",
        "status",
        "strategy",
        "market",
        "account",
        "process",
        "return",
        "drawdown",
        "fills",
        "blocked",
        "mode",
        "error",
    ]
    print(table(header, rows, right=range(7, 11)))


@app.command()
def show(
    session_id: Annotated[str, typer.Argument(help="Id of a session, a clear part of it, or latest.")],
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Show everything about one session."""
    from peak_trade.cli.show import document, figure, printable, short, table
    from peak_trade.runs.sessions.dead import close_dead

    with closing(options.open_parts(config)) as parts:
        close_dead(parts)
        session = parts.sessions.get(session_id)
        folder = parts.reports / session.session_id
    if as_json:
        print(document(session.to_json()))
        return
    run = session.run
    facts = [
        ("session", run.run_id),
        ("type", f"{run.run_type}, mode {session.mode}"),
        ("status", run.status.value + (f": {run.error}" if run.error else "")),
        *([("seen", f"{seen.at} by {seen.by}: {seen.note}")] if (seen := session.acknowledged) else []),
        ("account", f"{session.account}, environment {run.env_name}"),
        ("strategy", f"{run.strategy} {short(dict(run.params))}"),
        ("market", f"{run.symbol} {run.timeframe}"),
        ("started", run.started_at),
        ("finished", run.finished_at or f"-, last heard of {session.heartbeat_at}"),
        ("process", f"{run.process} on {session.host}"),
        ("continues", session.continues or "-"),
        ("tags", ", ".join(run.tags) or "-"),
        ("notes", session.notes or "-"),
        ("called", shlex.join(session.cli_args)),
        ("decisions", run.result_sha256 or "-"),
        ("journal", session.journal),
        ("folder", str(folder) if folder.exists() else "-"),
    ]
    for name, value in facts:
        print(f"{name:9} {printable(str(value))}")
    if run.metrics:
        print()
        print(table(["metric", "value"], [(name, figure(name, value)) for name, value in run.metrics.items()], right=(1,)))
    for title, key in (("blocked by the risk gate", "blocked_by_code"), ("rejected by the venue", "rejected_by_code")):
        if codes := session.summary.get(key):
            print(f"\n{title}: " + ", ".join(f"{code} {count}" for code, count in codes.items()))
    for incident in session.summary.get("incidents", []):
        print(f"incident: {incident['at']} {incident['code']}: {printable(incident['words'])}")
    print(f"\nagain: peak-trade session replay {run.run_id}")


@app.command()
def acknowledge(
    session_id: Annotated[str, typer.Argument(help="Id of a failed session, a clear part of it, or latest.")],
    note: Annotated[str, typer.Option("--note", help="What was found, and what was done about it.")],
    by: options.ByName = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Take note that a session failed, so that it is no longer among those that nobody has looked at."""
    from peak_trade.cli.show import document, printable
    from peak_trade.runs import acts, operators

    who = options.check_name(by, "--by", acts.machine_user())
    options.check_notes(note)
    with closing(options.open_parts(config)) as parts:
        session = parts.sessions.get(session_id)
        given = operators.acknowledge(parts, session.session_id, who, note, acts.COMMAND)
    if as_json:
        print(document({"session_id": session.session_id, **asdict(given)}))
    else:
        print(printable(f"session {session.session_id}: acknowledged {given.at} by {given.by}: {given.note}"))


@app.command()
def replay(
    session_id: Annotated[str, typer.Argument(help="Id of a session, a clear part of it, or latest.")],
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Decide a recorded session again from its journal, and tell whether every decision is the same."""
    from peak_trade.cli.show import document
    from peak_trade.runs.sessions.again import redecide

    with closing(options.open_parts(config)) as parts:
        found = redecide(parts, _known(parts, session_id))
    if as_json:
        print(document(found.to_json()))
    else:
        print(f"session {found.session_id}: {found.bars:,} bars and {found.records:,} records decided again")
        print(f"decisions then: {found.then or 'the journal ends in the middle'}")
        print(f"decisions now:  {found.now or '-'}")
    if not found.identical:
        raise CheckFailed(found.difference or "expected the same decisions, found others; the hashes above differ")
    if not as_json:
        print("identical: every decision came out again" + ("" if found.then else ", up to where its process died"))


@app.command()
def tail(
    session_id: Annotated[str, typer.Argument(help="Id of a session, a clear part of it, or latest.")] = "latest",
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Records to begin with.")] = 20,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as records are written, until the session ends.")
    ] = False,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Show the last records of a session's journal, and the next ones as they come."""
    from peak_trade.journal.chain import ENDED, Record, find_segment, read

    with closing(options.open_parts(config)) as parts:
        path = find_segment(parts.journal, _known(parts, session_id))
    shown = -1
    window: deque[Record] = deque(read(path), maxlen=max(lines, 1))
    while True:
        for record in list(window)[-lines:] if shown < 0 and lines else window if shown >= 0 else ():
            _print_record(record, as_json)
        ended = bool(window) and window[-1].kind == ENDED
        shown = window[-1].seq if window else shown
        if not follow or ended:
            return
        sys.stdout.flush()
        time.sleep(0.5)
        fresh = [record for record in read(path) if record.seq > shown]
        window = deque(fresh) if fresh else deque(window, maxlen=0)


def _print_record(record: Any, as_json: bool) -> None:
    from peak_trade.cli.show import printable, short

    if as_json:
        print(json.dumps(record._asdict(), sort_keys=True))
        return
    body = {name: value for name, value in record.body.items() if name not in ("spec", "versions", "spec_sha256")}
    print(f"{record.at} {record.seq:>6} {record.kind:12} {printable(short(body))}")


@app.command()
def report(
    run_type: RunType = None,
    status: Status = None,
    strategy: Annotated[str | None, typer.Option("--strategy", help="Only sessions of this strategy.")] = None,
    symbol: options.SymbolName = None,
    tag: Annotated[str | None, typer.Option("--tag", help="Only sessions with this tag.")] = None,
    limit: Limit = 1_000,
    output_format: Annotated[
        str, typer.Option("--output-format", help="markdown, html, json, or both: markdown and html.")
    ] = "markdown",
    summary_only: Annotated[bool, typer.Option("--summary-only", help="Leave out the single sessions.")] = False,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", help="Folder to write to; default reports/sessions.")
    ] = None,
    stdout: Annotated[bool, typer.Option("--stdout", help="Print instead of writing files.")] = False,
    config: options.ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --output-format json --stdout.")] = False,
) -> None:
    """Report on sessions: how they ended, profit, drawdowns, orders, blocks by reason, incidents."""
    from peak_trade.runs.sessions.dead import close_dead
    from peak_trade.runs.sessions.report import SessionReport, write_report

    formats = {"markdown": ("markdown",), "html": ("html",), "json": ("json",), "both": ("markdown", "html")}
    chosen = "json" if as_json else output_format
    if chosen not in formats:
        raise InputError(f"expected markdown, html, json or both as --output-format, found {output_format!r}; choose one")
    with closing(options.open_parts(config)) as parts:
        close_dead(parts)
        where = _filter(run_type, status, strategy, symbol, tag)
        found = SessionReport.of(parts, where, limit, summary_only=summary_only)
        if stdout or as_json:
            for name in formats[chosen]:
                print(found.text(name))
            return
        folder = parts.settings.root / "reports" / "sessions" if output_dir is None else options.full_path(output_dir)
        for path in write_report(found, folder, formats[chosen]):
            print(f"written: {path}")


def _filter(
    run_type: str | None, status: str | None, strategy: str | None, symbol: str | None, tag: str | None
) -> "SessionFilter":
    from peak_trade.journal.run import RunStatus
    from peak_trade.journal.session import SESSION_TYPES
    from peak_trade.journal.sessions import SessionFilter
    from peak_trade.model.instrument import parse_symbol
    from peak_trade.strategy.catalogue import find

    if run_type is not None and run_type not in SESSION_TYPES:
        raise InputError(f"expected a type of session as --run-type, found {run_type!r}; there are {', '.join(SESSION_TYPES)}")
    states = [item.value for item in RunStatus]
    if status is not None and status not in states:
        raise InputError(f"expected a status, found {status!r}; there are {', '.join(states)}")
    return SessionFilter(
        run_type=run_type,
        status=status,
        strategy=find(strategy).key if strategy else None,
        symbol=parse_symbol(symbol) if symbol else None,
        tag=tag,
    )


def _known(parts: "Parts", session_id: str) -> str:
    """Return the whole id of a session; one that the registry does not know is looked for among the journals."""
    try:
        return parts.sessions.get(session_id).session_id
    except NotFound:
        if session_id.startswith("latest"):
            raise
        from peak_trade.journal.chain import find_segment

        return find_segment(parts.journal, session_id).stem
