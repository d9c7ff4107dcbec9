"""`peak-trade liquidate`: everything off the exchange, and read-only until somebody goes through the restart."""

from contextlib import closing

import typer

from peak_trade.cli import options
from peak_trade.cli.kill import Collar, WaitMinutes, Why, per_cent, print_report, say_progress


def command(
    why: Why = None,
    by: options.ByName = None,
    wait: WaitMinutes = None,
    collar: Collar = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Turn the kill switch on, cancel every order, close every position, and hold every account until the restart."""
    from peak_trade.cli.show import printable
    from peak_trade.runs import acts
    from peak_trade.runs.liquidation import liquidate

    with closing(options.open_parts(config)) as parts:
        began_s = parts.clock.elapsed_s()
        reason = options.check_reason(why, "peak-trade liquidate")
        who = options.check_name(by, "--by", acts.machine_user())
        done = liquidate(
            parts,
            who,
            reason,
            say_progress,
            began_s=began_s,
            deadline_s=None if wait is None else wait * 60,
            collar=per_cent(collar),
        )
    print_report(done.report, as_json, {"held": list(done.held), "files": [str(path) for path in done.files]})
    if not as_json:
        print(printable(f"read-only until the restart: {', '.join(done.held) or 'nothing could be held'}"))
        for path in done.files:
            print(printable(f"report: {path}"))
        typer.echo("how to go on: docs/runbooks/liquidation.md")
    if (failure := done.report.failure()) is not None:
        raise failure
