"""`peak-trade pause` and `resume`: the playbook's procedures for a pause and for the restart after it."""

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options
from peak_trade.model.errors import CheckFailed, InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from peak_trade.compose import Parts
    from peak_trade.runs.safety.pause import StepDone
    from peak_trade.runs.safety.restart import Need, Restart

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
    from peak_trade.runs.safety.pause import PauseOrder, pause
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


def resume_command(
    target: Target = None,
    check: Annotated[bool, typer.Option("--check", help="Only tell what is missing; exit code 1 if anything is.")] = False,
    why: Why = None,
    strategy: Annotated[str | None, typer.Option("--strategy", help="Bring back this strategy, which was rolled back.")] = None,
    docs: Annotated[str, typer.Option("--docs", help="What was updated in the documentation, or why nothing had to be.")] = "",
    approved_by: Annotated[
        list[str] | None, typer.Option("--approved-by", help="Another person who signs; from testnet on.")
    ] = None,
    key: Annotated[list[Path] | None, typer.Option("--key", help="SSH key to sign with now, of who asks or approves.")] = None,
    signature: Annotated[list[Path] | None, typer.Option("--signature", help="What ssh-keygen -Y sign made of it.")] = None,
    profile: Annotated[str, typer.Option("--profile", help="Whose strategy and pair the smoke test uses.")] = "quick_smoke",
    run_tests: Annotated[bool, typer.Option("--run-tests", help="Run the stage's tests first.")] = False,
    emulator: options.Emulated = False,
    by: options.ByName = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Lead an account that is held through the restart: every point must be met, then its holds are lifted."""
    from peak_trade.cli.show import document
    from peak_trade.durable import write_bytes
    from peak_trade.model.errors import CheckFailed
    from peak_trade.runs import acts
    from peak_trade.runs.safety import restart
    from peak_trade.runs.testnet.profile import at_exchange
    from peak_trade.runs.testnet.readiness_checks import try_tests
    from peak_trade.strategy.catalogue import find

    reason = "only looked at" if check and why is None else options.check_reason(why, "peak-trade resume paper")
    who = options.check_name(by, "--by", acts.machine_user())
    with closing(options.open_parts(config)) as given:
        [account] = chosen(given, target, every=False)
        order = restart.RestartOrder(
            account=account,
            by=who,
            why=reason,
            strategy=None if strategy is None else find(strategy).key,
            docs=options.check_notes(docs),
            approved_by=tuple(dict.fromkeys(approved_by or [])),
            keys=tuple(key or []),
            signatures=tuple(options.full_path(path) for path in signature or []),
            profile=profile,
        )
        stage = restart.stage_of(given, order)
        if run_tests:
            try_tests(given, stage, lambda words: print(words, file=sys.stderr, flush=True), every=False)
        if stage in restart.APPROVALS:
            write_bytes(restart.statement_path(given, order), restart.statement(given, order))
        with at_exchange(given, emulated=emulator) as parts:
            if check:
                needs = restart.look_at(parts, order)
                _print_needs(needs, as_json)
                if missing := [need.name for need in needs if not need.met]:
                    raise CheckFailed(
                        f"expected every point to be met, found {len(missing)} that are not: {', '.join(missing)}"
                    )
                return
            try:
                done = restart.resume(parts, order)
            except restart.NotReady as refused:
                _print_needs(list(refused.needs), as_json)
                raise
    if as_json:
        print(document(done.to_json()))
    else:
        _print_restart(done)


def _print_needs(needs: "list[Need]", as_json: bool) -> None:
    from peak_trade.cli.show import document, sentence

    if as_json:
        print(document({"ready": all(need.met for need in needs), "needs": [need.to_json() for need in needs]}))
        return
    for need in needs:
        print(f"{'ok     ' if need.met else 'MISSING'}  {need.name:<14} {sentence(need.found)}")
        if not need.met and need.todo:
            print(f"{'':<9}{'':<14}  -> {sentence(need.todo)}")


def _print_restart(done: "Restart") -> None:
    from peak_trade.cli.show import printable

    _print_needs(list(done.needs), as_json=False)
    for hold in done.lifted:
        print(printable(f"lifted: {hold}"))
    for hold in done.left:
        print(printable(f"still holds: {hold}"))
    for words in done.shared:
        print(printable(f"still holds it at its exchange: {words}"))
    if not done.left and not done.shared:
        print(printable(f"start it with: {done.start}"))
        print(f"watch it closely until {done.watch_until:%Y-%m-%d %H:%M} UTC: peak-trade status, session tail, the dashboard")


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
