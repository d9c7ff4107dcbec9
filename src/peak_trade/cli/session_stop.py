"""`peak-trade session stop`: end sessions by the locks of their accounts, and no other process."""

from contextlib import closing
from typing import Annotated

import typer

from peak_trade.cli import options
from peak_trade.model.errors import CheckFailed, InputError


def stop_command(
    target: Annotated[str | None, typer.Argument(metavar="SESSION|ACCOUNT", help="Which session is to end.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every session that is at work here.")] = False,
    now: Annotated[bool, typer.Option("--now", help="Ask a second time: it ends at once, and its next start goes on.")] = False,
    kill: Annotated[bool, typer.Option("--kill", help="Last resort (SIGKILL): it says nothing more.")] = False,
    wait: Annotated[float, typer.Option("--wait", min=0, max=3_600, help="Seconds to wait until they have ended.")] = 60.0,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """End sessions in order: exactly the processes that hold their accounts' locks, and wait; exit code 1 if one still runs."""
    from peak_trade.cli.pause import chosen
    from peak_trade.cli.show import document, printable
    from peak_trade.runs.at_work import Push, named_workers, stop, workers

    if now and kill:
        raise InputError("expected --now or --kill, found both; choose one")
    how = Push.KILL if kill else Push.NOW if now else Push.STOP
    with closing(options.open_parts(config)) as parts:
        accounts = chosen(parts, target, every=every)
        found = workers(parts) if every else named_workers(parts, accounts[0])
        ended = stop(parts, found, how, wait)
    if as_json:
        print(document({"push": how.value, "sessions": [item.to_json() for item in ended]}))
    elif not ended:
        print("no session is at work" if every else f"no session is at work on {accounts[0]}")
    for item in ended if not as_json else ():
        print(printable(f"{item.worker}: {item.words}" + (f" after {item.waited_s:.1f} s" if item.ended else "")))
    if left := [item for item in ended if not item.ended]:
        raise CheckFailed(f"expected every session to end, found {len(left)} that did not: {left[0].words}")
