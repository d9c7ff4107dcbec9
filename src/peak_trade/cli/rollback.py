"""`peak-trade rollback`: down to a lower stage, or a strategy out of the rotation."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options

if TYPE_CHECKING:
    from peak_trade.runs.safety.rollback import RollbackReport

app = typer.Typer(help="Go back to a lower stage, or without a strategy.", no_args_is_help=True, rich_markup_mode=None)
Why = Annotated[str | None, typer.Option("--why", help="The reason, for everyone who finds it so.")]
Wait = Annotated[float, typer.Option("--wait", min=0, max=300, help="Seconds that a session may take to heed it.")]


@app.command("stage")
def stage_command(
    to: Annotated[str, typer.Option("--to", help="research, shadow, testnet or shadow-live.")],
    why: Why = None,
    strategy: Annotated[str | None, typer.Option("--strategy", help="Only this strategy.")] = None,
    account: Annotated[str | None, typer.Option("--account", help="Only on this account.")] = None,
    write_config: Annotated[
        bool, typer.Option("--write-config", help="Also set environment.mode in the configuration file.")
    ] = False,
    wait: Wait = 20.0,
    by: options.ByName = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Scenario A: pause what runs above a stage, take it down on the ladder, and open an incident."""
    from peak_trade.cli.pause import sayer
    from peak_trade.runs import acts
    from peak_trade.runs.at_work import account_named
    from peak_trade.runs.safety.rollback import StageRollback, roll_back_stage, stage_below
    from peak_trade.strategy.catalogue import find

    reason = options.check_reason(why, "peak-trade rollback stage --to shadow")
    who = options.check_name(by, "--by", acts.machine_user())
    with closing(options.open_parts(config)) as parts:
        order = StageRollback(
            to=stage_below(to),
            by=who,
            why=reason,
            strategy=None if strategy is None else find(strategy).key,
            account=None if account is None else account_named(parts, account),
            write_config=write_config,
            heed_s=wait,
        )
        report = roll_back_stage(parts, order, sayer(as_json))
    _print(report, as_json)


@app.command("strategy")
def strategy_command(
    strategy: Annotated[str, typer.Argument(help="Which one, such as ma_crossover.")],
    why: Why = None,
    wait: Wait = 20.0,
    close_within: Annotated[
        float, typer.Option("--close-within", min=0, max=3_600, help="Seconds to wait until it is flat.")
    ] = 30.0,
    by: options.ByName = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Scenario B: close what a strategy holds, keep it from being started, and look at it again by a backtest."""
    from peak_trade.cli.pause import sayer
    from peak_trade.runs import acts
    from peak_trade.runs.safety.rollback import StrategyRollback, roll_back_strategy
    from peak_trade.strategy.catalogue import find

    reason = options.check_reason(why, "peak-trade rollback strategy ma_crossover")
    who = options.check_name(by, "--by", acts.machine_user())
    order = StrategyRollback(strategy=find(strategy).key, by=who, why=reason, heed_s=wait, close_s=close_within)
    with closing(options.open_parts(config)) as parts:
        report = roll_back_strategy(parts, order, sayer(as_json))
    _print(report, as_json)


def _print(report: "RollbackReport", as_json: bool) -> None:
    from peak_trade.cli.pause import check_steps
    from peak_trade.cli.show import document, printable

    if as_json:
        print(document(report.to_json()))
    else:
        for line in report.advice:
            print(printable(line))
    check_steps(report.steps)
