"""`peak-trade kill` and `release`: the switch that stops every session here, and what is done at the exchange."""

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import options
from peak_trade.model.errors import InputError

if TYPE_CHECKING:
    from decimal import Decimal

    from peak_trade.model.kill_level import KillLevel
    from peak_trade.runs.safety.kill import SessionAnswer, StopReport
    from peak_trade.runs.safety.kill_first import Begun
    from peak_trade.safety.kill_switch import Killed

Why = Annotated[str | None, typer.Option("--why", help="The reason, for everyone who finds it so.")]
Level = Annotated[str | None, typer.Option("--level", help="no-new, reduce-only (default), cancel-all or flatten.")]
WaitMinutes = Annotated[
    float | None, typer.Option("--wait", min=0.01, max=10_080, help="Keep trying at the exchange for so many minutes.")
]
Collar = Annotated[
    float | None, typer.Option("--collar", min=0, max=99, help="Sell so many per cent below the last price at worst.")
]


def kill_command(
    why: Why = None,
    level: Level = None,
    by: options.ByName = None,
    status: Annotated[bool, typer.Option("--status", help="Only tell whether it is on; exit code 1 if so.")] = False,
    wait: WaitMinutes = None,
    collar: Collar = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Turn the kill switch on: within a second, every session may only reduce its positions, and none begins.

    At the level cancel-all every order at the exchange is cancelled besides, at flatten every position is closed as well:
    by this command itself, whatever became of the sessions.
    """
    from peak_trade.model.kill_level import KillLevel

    if status and any(given is not None for given in (why, by, level, wait, collar)):
        raise InputError("expected --status by itself, found other options with it; leave them out")
    wanted = _level_of(level)
    at_exchange = wanted in (KillLevel.CANCEL_ALL, KillLevel.FLATTEN)
    if not at_exchange and (wait is not None or collar is not None):
        raise InputError(f"expected --wait and --collar with --level cancel-all or flatten, found {wanted.value}; leave it out")
    if collar is not None and wanted is not KillLevel.FLATTEN:
        raise InputError(f"expected --collar with --level flatten, found {wanted.value}; leave it out")
    if at_exchange:
        from peak_trade.runs.safety.kill_first import kept_going

        begun = begin_stop("kill", wanted, why, by, wait, collar, config)
        with kept_going(begun):
            # Only now what takes a second to load: the exchange is being acted on.
            from peak_trade.compose import Parts
            from peak_trade.runs.safety import kill

            with closing(Parts(begun.settings)) as parts:
                report = kill.see_through(parts, begun)
        print_report(report, as_json)
        if (failure := report.failure()) is not None:
            raise failure
        return
    _turn_on(wanted, why, by, config, as_json, status=status)


def _turn_on(
    level: "KillLevel", why: str | None, by: str | None, config: options.ConfigFile, as_json: bool, *, status: bool
) -> None:
    """Turn the switch on, or tell whether it is; and nothing besides."""
    from peak_trade.runs import acts
    from peak_trade.runs.safety import kill

    with closing(options.open_parts(config)) as parts:
        if status:
            found = parts.kill_switch.state()
            print_state(found, parts.kill_switch.level(), as_json)
            raise typer.Exit(0 if found is None else 1)
        reason = options.check_reason(why, "peak-trade kill")
        who = options.check_name(by, "--by", acts.machine_user())
        killed = kill.kill(parts, who, reason, acts.COMMAND, level)
        sessions = kill.sessions_told(parts, level, parts.settings.file.safety.sessions_s)
        print_state(killed, parts.kill_switch.level(), as_json, sessions)


def begin_stop(
    action: str,
    level: "KillLevel",
    why: str | None,
    by: str | None,
    wait: float | None,
    collar: float | None,
    config: options.ConfigFile,
) -> "Begun":
    """Turn the switch on and begin to act on the exchange, with as little loaded as that needs.

    Raises:
        InputError: a wrong option or configuration; nothing has begun.
    """
    import random

    from peak_trade.model.clock import MachineClock
    from peak_trade.runs.machine import machine_user
    from peak_trade.runs.safety.kill_first import StopOrder, begin
    from peak_trade.settings import load_config

    clock = MachineClock()
    order = StopOrder(
        action=action,
        by=options.check_name(by, "--by", machine_user()),
        why=options.check_reason(why, f"peak-trade {action}"),
        via="command",
        level=level,
        began_s=clock.elapsed_s(),
        deadline_s=None if wait is None else wait * 60,
        collar=per_cent(collar),
    )
    return begin(load_config(config), clock, random.SystemRandom(), order, say_progress)


def release_command(
    why: Why = None,
    by: options.ByName = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Turn the kill switch off, whatever its level, where no session runs any more and every journal is as it was written."""
    from peak_trade.cli.show import printable
    from peak_trade.runs import acts
    from peak_trade.runs.safety import kill

    reason = options.check_reason(why, "peak-trade release")
    who = options.check_name(by, "--by", acts.machine_user())
    with closing(options.open_parts(config)) as parts:
        killed, level = kill.release(parts, who, reason)
        paused = parts.holds.accounts()
    if as_json:
        print_state(None, None, as_json)
        return
    print(
        printable(f"the kill switch is off; it had been on ({level.value}) since {killed.at}, set by {killed.by}: {killed.why}")
    )
    if paused:
        print(f"still held, until somebody goes through the restart: {', '.join(paused)}")


def say_progress(elapsed_s: float, words: str) -> None:
    """Tell on stderr what was just done, with seconds since the command's start."""
    from peak_trade.cli.show import sentence

    print(f"{elapsed_s:7.2f} s  {sentence(words)}", file=sys.stderr, flush=True)


def print_state(
    killed: "Killed | None", level: "KillLevel | None", as_json: bool, sessions: "list[SessionAnswer] | None" = None
) -> None:
    """Print whether the switch is on, how far it goes, and which sessions answered."""
    from peak_trade.cli.show import document, printable

    if as_json:
        facts: dict[str, Any] = dict.fromkeys(("at", "by", "why")) if killed is None else killed._asdict()
        told = {} if sessions is None else {"sessions": [one.to_json() for one in sessions]}
        print(document({"on": killed is not None, **facts, "level": None if level is None else level.value, **told}))
        return
    print("the kill switch is off" if killed is None else printable(f"{killed}{_far(level)}"))
    for one in sessions or ():
        print(printable(str(one)))


def print_report(report: "StopReport", as_json: bool, more: dict[str, Any] | None = None) -> None:
    """Print what came of stopping everything; *more* is for the JSON document."""
    from peak_trade.cli.show import document, printable

    if as_json:
        print(document(report.to_json() | (more or {})))
        return
    for line in report.lines():
        print(printable(line))


def _far(level: "KillLevel | None") -> str:
    """Say how far it goes, where that is not what it always does."""
    return "" if level is None or level.value == "reduce-only" else f" (level {level.value})"


def _level_of(text: str | None) -> "KillLevel":
    from peak_trade.model.kill_level import KillLevel

    if text is None:
        return KillLevel.REDUCE_ONLY
    names = [level.value for level in KillLevel]
    if text not in names:
        raise InputError(f"expected --level to be one of {', '.join(names)}, found {text!r}; choose one")
    return KillLevel(text)


def per_cent(collar: float | None) -> "Decimal | None":
    """Return an option of per cent exactly as it was written."""
    from decimal import Decimal

    return None if collar is None else Decimal(repr(collar))
