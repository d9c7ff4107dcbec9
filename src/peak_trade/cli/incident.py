"""`peak-trade incident`: what went wrong, what was found out about it, and what follows."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options

if TYPE_CHECKING:
    from peak_trade.governance.incidents import TrackedIncident

app = typer.Typer(help="Open, look into and close incidents.", no_args_is_help=True, rich_markup_mode=None)
Id = Annotated[str, typer.Argument(metavar="ID", help="Its id or the end of that, its key while it is open, or latest.")]


@app.command("list")
def list_command(
    only_open: Annotated[bool, typer.Option("--open", help="Only those that nobody has closed; exit code 1 if any.")] = False,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """List incidents, the newest first."""
    from peak_trade.cli.show import document, table
    from peak_trade.runs import incidents

    with closing(options.open_parts(config)) as parts:
        found = [item for item in reversed(incidents.tracked(parts).values()) if item.is_open or not only_open]
        facts = [incidents.facts_of_incident(parts, item) for item in found] if as_json else []
    if as_json:
        print(document([{name: item[name] for name in item if name != "timeline"} for item in facts]))
    elif not found:
        print("no open incident" if only_open else "no incident yet")
    else:
        rows = [
            (f"{item.opened_at:%Y-%m-%d %H:%M:%S}", item.id, item.severity.value, _state(item), item.key, item.title)
            for item in found
        ]
        print(table(["opened (UTC)", "id", "severity", "state", "key", "title"], rows))
    raise typer.Exit(1 if only_open and found else 0)


@app.command("show")
def show_command(name: Id, config: options.ConfigFile = None, as_json: options.JsonOut = False) -> None:
    """Show an incident with what happened around it."""
    from peak_trade.cli.show import document, printable
    from peak_trade.governance.incidents import by_name
    from peak_trade.report.incident_report import incident_markdown
    from peak_trade.runs import incidents

    with closing(options.open_parts(config)) as parts:
        facts = incidents.facts_of_incident(parts, by_name(incidents.tracked(parts), name))
    print(document(facts) if as_json else printable(incident_markdown(facts)).rstrip())


@app.command("open")
def open_command(
    title: Annotated[str, typer.Option("--title", help="What it is, in a line.")],
    why: Annotated[str, typer.Option("--why", help="What happened, as far as it is known.")],
    severity: Annotated[str, typer.Option("--severity", help="low, medium, high or critical: the last keeps gates closed.")],
    key: Annotated[str | None, typer.Option("--key", help="What it is about; an open one of that key is added to.")] = None,
    session_id: Annotated[str | None, typer.Option("--session", help="The session in which it happened.")] = None,
    by: options.ByName = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Open an incident and tell people of it."""
    from peak_trade.runs import acts, incidents

    who = options.check_name(by, "--by", acts.machine_user())
    with closing(options.open_parts(config)) as parts:
        session = None if session_id is None else str(parts.sessions.get(session_id).session_id)
        about = key or (f"session.{session}" if session else f"reported.{parts.ids.next_run()}")
        name = incidents.open_incident(parts, key=about, severity=severity, title=title, why=why, by=who, session_id=session)
        found = incidents.tracked(parts)[name]
        incidents.tell(parts, found)
        _print(found, str(incidents.reports_folder(parts) / f"{name}.md"), as_json)


@app.command("note")
def note_command(
    name: Id,
    words: Annotated[str, typer.Option("--words", help="What was seen, tried or found out.")],
    by: options.ByName = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Add to an incident."""
    from peak_trade.runs import acts, incidents

    who = options.check_name(by, "--by", acts.machine_user())
    with closing(options.open_parts(config)) as parts:
        found = incidents.add_note(parts, name, words, who)
        _print(found, str(incidents.reports_folder(parts) / f"{found.id}.md"), as_json)


@app.command("close")
def close_command(
    name: Id,
    by: Annotated[str, typer.Option("--by", help="Who closes it: a person of governance/roles.toml, where it names any.")],
    cause: Annotated[str, typer.Option("--cause", help="Its root cause, in a sentence.")],
    follow_up: Annotated[str, typer.Option("--follow-up", help="What was done or will be, so that it does not come back.")],
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Close an incident with its cause and what follows from it."""
    from peak_trade.runs import incidents

    who = options.check_name(by, "--by", "")
    with closing(options.open_parts(config)) as parts:
        found = incidents.close_incident(parts, name, who, cause, follow_up)
        _print(found, str(incidents.reports_folder(parts) / f"{found.id}.md"), as_json)


def _print(found: "TrackedIncident", report: str, as_json: bool) -> None:
    from peak_trade.cli.show import document, printable

    if as_json:
        facts = {"id": found.id, "key": found.key, "severity": found.severity.value, "open": found.is_open, "report": report}
        print(document(facts))
    else:
        print(printable(f"incident {found.id} ({found.key}, {found.severity.value}) is {_state(found)}; report: {report}"))


def _state(found: "TrackedIncident") -> str:
    return "open" if found.is_open else f"closed by {found.closed_by}"
