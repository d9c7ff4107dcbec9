"""`peak-trade kill` and `release`: the switch that stops every session of this state folder."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options
from peak_trade.model.errors import InputError

if TYPE_CHECKING:
    from peak_trade.safety.kill_switch import Killed

Why = Annotated[str | None, typer.Option("--why", help="The reason, for everyone who finds it so.")]


def kill_command(
    why: Why = None,
    by: options.ByName = None,
    status: Annotated[bool, typer.Option("--status", help="Only tell whether it is on; exit code 1 if so.")] = False,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Turn the kill switch on: within a second, every session may only reduce its positions, and none begins."""
    from peak_trade.runs import acts, operators

    if status and (why is not None or by is not None):
        raise InputError("expected --status by itself, found --why or --by with it; leave out one of them")
    with closing(options.open_parts(config)) as parts:
        if status:
            found = parts.kill_switch.state()
            _print_state(found, as_json)
            raise typer.Exit(0 if found is None else 1)
        reason = options.check_reason(why, "peak-trade kill")
        who = options.check_name(by, "--by", acts.machine_user())
        killed = operators.kill(parts, who, reason, acts.COMMAND)
    _print_state(killed, as_json)


def release_command(
    why: Why = None,
    by: options.ByName = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Turn the kill switch off, where no session runs any more and every journal is as it was written."""
    from peak_trade.cli.show import printable
    from peak_trade.runs import acts, operators

    reason = options.check_reason(why, "peak-trade release")
    who = options.check_name(by, "--by", acts.machine_user())
    with closing(options.open_parts(config)) as parts:
        killed = operators.release(parts, who, reason)
    if as_json:
        _print_state(None, as_json)
    else:
        print(printable(f"the kill switch is off; it had been on since {killed.at}, set by {killed.by}: {killed.why}"))


def _print_state(killed: "Killed | None", as_json: bool) -> None:
    from peak_trade.cli.show import document, printable

    if as_json:
        facts = dict.fromkeys(("at", "by", "why")) if killed is None else killed._asdict()
        print(document({"on": killed is not None, **facts}))
    else:
        print("the kill switch is off" if killed is None else printable(str(killed)))
