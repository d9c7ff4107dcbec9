"""`peak-trade supervisor`: the process that watches all sessions, and what it sees."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import typer

from peak_trade.cli import options

app = typer.Typer(help="Watch all sessions, from a process of its own.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Watch all sessions, from a process of its own."""


@app.command("run")
def run_command(config: options.ConfigFile = None) -> None:
    """Watch every session of the state folder, and act where they can't; Ctrl+C or SIGTERM ends it."""
    from peak_trade.cli.show import printable
    from peak_trade.runs.supervision import supervisor

    def say(words: str) -> None:
        print(f"supervisor: {printable(words)}", file=sys.stderr, flush=True)

    with closing(options.open_parts(config)) as parts:
        supervisor.run(parts, say)


@app.command("status")
def status_command(config: options.ConfigFile = None, as_json: options.JsonOut = False) -> None:
    """Show whether it is at work, and what it sees of each session; exit code 1 where it is not."""
    from peak_trade.cli.show import document, printable
    from peak_trade.runs.supervision import supervisor

    with closing(options.open_parts(config)) as parts:
        found = supervisor.report(parts)
    print(document(found) if as_json else printable("\n".join(_lines(found))))
    raise typer.Exit(0 if found["at_work"] else 1)


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield whether it is at work, then what is wrong, then the rest."""
    from peak_trade.cli.show import sentence, table

    required = "required" if found["required"] else "not required: supervisor.required is false"
    if found["at_work"]:
        yield f"at work: process {found['process']} on {found['host']} since {found['since']} ({required})"
    else:
        yield f"NOT at work ({required}): {found['trouble']}"
    yield f"{len(found['alarms'])} alarms" if found["alarms"] else "no alarm"
    yield from (f"  {sentence(item['words'])} ({item['severity']}, for {item['stood_s']:.0f} s)" for item in found["alarms"])
    if found["registry"]:
        yield f"the registry: {found['registry']}"
    yield from (f"not seen: {words}" for words in found["not_seen"])
    if found["sessions"]:
        heads = ["session", "account", "process", "heartbeat", "journal still", "memory", "mode", "orders"]
        yield table(heads, [_session(line) for line in found["sessions"]])
    else:
        yield "no session runs"
    if found["deeds"]:
        yield "did last:"
        yield from (f"  {words}" for words in found["deeds"])


def _session(line: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        line["session_id"],
        line["account"],
        f"{line['number']} {line['process']}",
        f"{line['heartbeat_age_s']:.0f} s ago",
        f"{line['journal_still_s']:.0f} s",
        "?" if line["memory_mb"] is None else f"{line['memory_mb']} MB",
        line["mode"],
        str(line["working"]),
    )
