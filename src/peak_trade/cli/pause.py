"""`peak-trade pause`: the pause procedure of the playbook as one command."""

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options
from peak_trade.model.errors import CheckFailed, InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from peak_trade.compose import Parts
    from peak_trade.runs.pause import StepDone

Why = Annotated[str | None, typer.Option("--why", help="The reason, for everyone who finds it so.")]
Target = Annotated[str | None, typer.Argument(metavar="SESSION|ACCOUNT", help="What is paused: an account, or a session's.")]
Everything = Annotated[bool, typer.Option("--all", help="Every account.")]


def pause_command(
    target: Target = None,
    every: Everything = False,
    why: Why = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="Also wait until no order could enlarge a position.")] = False,
    close: Annotated[list[str] | None, typer.Option("--close", help="Also close what this strategy holds.")] = None,
    severity: Annotated[str, typer.Option("--severity", help="Of the incident: low, medium, high or critical.")] = "high",
    wait: Annotated[float, typer.Option("--wait", min=0, max=300, help="Seconds that a session may take to heed it.")] = 20.0,
    by: options.ByName = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Pause: stop orders, note positions, secure what was written, tell people and open an incident.

    Exit code 1 where a step did not go well; those after it are done all the same.
    """
    from peak_trade.cli.show import document
    from peak_trade.governance.incidents import IncidentSeverity
    from peak_trade.runs import acts
    from peak_trade.runs.pause import PauseOrder, pause
    from peak_trade.strategy.catalogue import find

    reason = options.check_reason(why, "peak-trade pause paper")
    who = options.check_name(by, "--by", acts.machine_user())
    IncidentSeverity.parse(severity)
    closing_keys = tuple(dict.fromkeys(find(name).key for name in close or []))
    with closing(options.open_parts(config)) as parts:
        order = PauseOrder(
            accounts=chosen(parts, target, every=every),
            by=who,
            why=reason,
            cancel=cancel,
            close=closing_keys,
            severity=severity,
            heed_s=wait,
        )
        report = pause(parts, order, sayer(as_json))
    if as_json:
        print(document(report.to_json()))
    elif report.stopped_s is not None:
        whole_s = report.steps[-1].elapsed_s
        print(f"orders were stopped {report.stopped_s:.1f} s after the command began; the whole took {whole_s:.1f} s")
        print(f"go on, once the cause is known and mended: peak-trade resume {order.accounts[0]} --check")
    check_steps(report.steps)


def chosen(parts: "Parts", target: str | None, *, every: bool) -> tuple[str, ...]:
    """Return the accounts that are meant.

    Raises:
        InputError: neither a target nor --all, or both. NotFound: no such session or account.
    """
    from peak_trade.runs.at_work import account_named, known_accounts

    if every == (target is not None):
        given = "both" if every else "neither"
        raise InputError(f"expected a session, an account or --all, found {given}; choose one")
    return tuple(known_accounts(parts)) if target is None else (account_named(parts, target),)


def sayer(as_json: bool) -> "Callable[[StepDone], None]":
    """Return what prints each step as it is over; on stderr where stdout is for a document."""
    from peak_trade.cli.show import printable

    def say(step: "StepDone") -> None:
        line = f"{step.elapsed_s:6.1f} s  {'ok    ' if step.well else 'FAILED'}  {step.name}: {step.words}"
        print(printable(line), file=sys.stderr if as_json else sys.stdout, flush=True)

    return say


def check_steps(steps: "list[StepDone]") -> None:
    """Let pass where every step went well.

    Raises:
        CheckFailed: some did not; says which.
    """
    if failed := [step for step in steps if not step.well]:
        raise CheckFailed(
            f"expected every step to go well, found {len(failed)} of {len(steps)} that did not "
            f"({', '.join(step.name for step in failed)}): {failed[0].words}"
        )
