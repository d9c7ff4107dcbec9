"""`peak-trade alert`: who was told what, a test that a person confirms, and sending what waits."""

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import options
from peak_trade.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(help="Who is told when something is wrong.", no_args_is_help=True, rich_markup_mode=None)

#: Longer input is no code.
_CODE_MAX = 64

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the alert, as in the message and in: alert list.")]
Person = Annotated[str | None, typer.Option("--by", help="Who says so.")]


@app.callback()
def _group() -> None:
    """Who is told when something is wrong."""


@app.command("test")
def drill_command(
    why: Annotated[str | None, typer.Option("--why", help="The reason, for everyone who gets it.")] = None,
    by: options.ByName = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Send a test alert to every channel and tell which took it; exit code 1 if one did not."""
    from peak_trade.cli.show import document, printable, table
    from peak_trade.runs import acts
    from peak_trade.runs.alerts import drill as alert_drill

    reason = options.check_reason(why, "peak-trade alert test")
    who = options.check_name(by, "--by", acts.machine_user())
    with closing(options.open_parts(config)) as parts:
        sent = alert_drill.send_test(parts, who, reason)
    taken = sum(not words for words in sent.channels.values())
    if as_json:
        channels = {name: {"sent": not words, "why": words or None} for name, words in sent.channels.items()}
        print(document({"id": sent.id, "channels": channels, "sent": taken, "evidence": sent.evidence}))
    else:
        print(table(["channel", "sent"], [(name, words or "yes") for name, words in sent.channels.items()]))
        if taken:
            line = f"whoever gets it confirms with the code in it: peak-trade alert confirm {sent.id} --by NAME"
        else:
            line = f"nobody could be told, so the drill has failed: evidence {sent.evidence}"
        print(printable(line))
    raise typer.Exit(0 if taken == len(sent.channels) else 1)


@app.command("confirm")
def confirm_command(
    name: Id,
    by: Person = None,
    code: Annotated[str | None, typer.Option("--code", help="The code in the message; asked for where it is missing.")] = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Say that a test alert reached you, with the code in it; that makes the drill passed. Three wrong codes void it."""
    from peak_trade.cli.show import document, printable
    from peak_trade.runs.alerts import drill as alert_drill

    who = _person(by, f"peak-trade alert confirm {name} --by NAME")
    given = _asked() if code is None else code
    if not 0 < len(given.strip()) <= _CODE_MAX:
        raise InputError(f"expected the code in the message, found {len(given)} characters; it looks like 2345-6789-ABCD")
    with closing(options.open_parts(config)) as parts:
        found = alert_drill.confirm(parts, name, who, given)
    if as_json:
        print(document(found._asdict()))
    else:
        print(
            printable(
                f"{found.by} got the test alert {found.id} through {found.channel} and confirmed it {found.seconds} s after it "
                f"was sent; the drill has passed: evidence {found.evidence}"
            )
        )


@app.command("acknowledge")
def acknowledge_command(
    name: Id, by: Person = None, config: options.ConfigFile = None, as_json: options.JsonOut = False
) -> None:
    """Say that you have taken note of an alert: it goes to no further channel."""
    from peak_trade.cli.show import document, printable
    from peak_trade.runs.alerts import alerts

    who = _person(by, f"peak-trade alert acknowledge {name} --by NAME")
    with closing(options.open_parts(config)) as parts:
        found = alerts.acknowledge(parts, name, who)
    if as_json:
        print(document({"id": found.id, "acknowledged_by": found.acknowledged_by}))
    else:
        print(printable(f"{found.acknowledged_by} has taken note of: {found.title}"))


@app.command("list")
def list_command(
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many, the newest first.")] = 20,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Show what was told, to whom, what failed and what still waits."""
    from peak_trade.cli.show import document, printable, table
    from peak_trade.runs.alerts import alerts

    with closing(options.open_parts(config)) as parts:
        found = alerts.listing(parts, limit)
    if as_json:
        print(document(found))
        return
    if not found["alerts"]:
        print("no alert yet; try the channels with: peak-trade alert test --why TEXT")
    else:
        rows = [_row(item) for item in found["alerts"]]
        print(table(["at (UTC)", "id", "what", "severity", "title", "state", "channels"], rows))
    if found["total"] > limit:
        print(f"{found['total'] - limit} older ones; --limit shows more")
    if found["unread_lines"]:
        print(printable(f"{found['unread_lines']} lines of the file can't be read, perhaps cut off by a crash"))


@app.command("send")
def send_command(
    stay: Annotated[bool, typer.Option("--stay", help="Go on until nothing is waited for any more.")] = False,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Send what waits: what failed before, what nobody acknowledged; exit code 1 if a channel did not take it."""
    from peak_trade.cli.show import document, table
    from peak_trade.runs.alerts import sending as alert_sending

    with closing(options.open_parts(config)) as parts:
        done = alert_sending.send_all(parts, stay=stay)
    if as_json:
        print(document({"tries": [{"id": item.id, "channel": item.channel, "why": item.why or None} for item in done]}))
    elif done:
        print(table(["id", "channel", "sent"], [(item.id, item.channel, item.why or "yes") for item in done]))
    else:
        print("nothing waits to be sent now")
    raise typer.Exit(1 if any(item.why for item in done) else 0)


def _person(by: str | None, command: str) -> str:
    if by is None:
        raise InputError(f"expected the name of a person as --by, found none; write {command}")
    return options.check_name(by, "--by", "")


def _asked() -> str:
    """Return the code from the terminal or a pipe; it is no secret once it is used."""
    if sys.stdin.isatty():
        print("code in the message: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline(_CODE_MAX + 2).strip()


def _row(item: dict[str, Any]) -> "Sequence[str]":
    channels = [_channel_words(name, state) for name, state in item["channels"].items()]
    said = item["acknowledged_by"] or item["confirmed_by"]
    state = f"taken note of by {said}" if item["acknowledged_by"] else f"confirmed by {said}" if said else ""
    goes_on = "goes on" if item["goes_on"] else ""
    at = item["at"][:19].replace("T", " ")
    words = ", ".join(word for word in (goes_on, state) if word)
    return at, item["id"], item["what"], item["severity"], item["title"], words, "; ".join(channels) or "file only"


def _channel_words(name: str, state: dict[str, Any]) -> str:
    if state["state"] == "sent" or not state["tries"]:
        return f"{name} {state['state']}"
    tries = "1 try" if state["tries"] == 1 else f"{state['tries']} tries"
    return f"{name} {state['state']} after {tries}" + (f": {state['why']}" if state["why"] else "")
