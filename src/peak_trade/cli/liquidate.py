"""`peak-trade liquidate`: everything off the exchange, and read-only until somebody goes through the restart."""

from contextlib import closing

import typer

from peak_trade.cli import options
from peak_trade.cli.kill import Collar, WaitMinutes, Why, begin_stop, print_report


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
    from peak_trade.model.kill_level import KillLevel
    from peak_trade.runs.safety.kill_first import kept_going

    begun = begin_stop("liquidate", KillLevel.FLATTEN, why, by, wait, collar, config)
    with kept_going(begun):
        # Only now what takes a second to load: the exchange is being acted on.
        from peak_trade.compose import Parts
        from peak_trade.runs.safety.liquidation import liquidate

        with closing(Parts(begun.settings)) as parts:
            done = liquidate(parts, begun)
    print_report(done.report, as_json, {"held": list(done.held), "files": [str(path) for path in done.files]})
    if not as_json:
        print(printable(f"read-only until the restart: {', '.join(done.held) or 'nothing could be held'}"))
        for path in done.files:
            print(printable(f"report: {path}"))
        typer.echo("how to go on: docs/runbooks/liquidation.md")
    if (failure := done.report.failure()) is not None:
        raise failure
