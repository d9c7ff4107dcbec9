"""`peak-trade walkforward`: parameters chosen on one stretch and traded on the next, over and over."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options
from peak_trade.cli.options import Given
from peak_trade.model.errors import InputError

if TYPE_CHECKING:
    from peak_trade.compose import Parts
    from peak_trade.research.grid import SweepPlan
    from peak_trade.runs.research.walk_forward import WalkDone


def command(
    strategy: Annotated[
        str | None, typer.Option("--strategy", help="Name of the strategy: peak-trade strategies list.")
    ] = None,
    train: Annotated[str, typer.Option("--train", help="Length to choose on, such as 365d, or a number of bars.")] = "365d",
    test: Annotated[str, typer.Option("--test", help="Length to trade what was chosen, such as 90d.")] = "90d",
    embargo: Annotated[str, typer.Option("--embargo", help="Length left out between the two.")] = "0",
    anchored: Annotated[bool, typer.Option("--anchored", help="Choose on everything from the first bar on.")] = False,
    flat: Annotated[bool, typer.Option("--flat", help="Close positions at the end of each test stretch.")] = False,
    grid: Annotated[
        list[str] | None, typer.Option("--grid", help="NAME=5:50:5 (stop included) or NAME=5,10,20; repeatable.")
    ] = None,
    constraint: Annotated[
        list[str] | None, typer.Option("--constraint", help="Such as 'fast_window < slow_window'; repeatable, with --grid.")
    ] = None,
    sweep_file: Annotated[
        Path | None, typer.Option("--config", help="Sweep file; without it and --grid, that of the strategy in config/sweeps.")
    ] = None,
    metric: Annotated[str | None, typer.Option("--metric", help="What chooses; default the sweep file's, else sharpe.")] = None,
    data: options.DataFile = None,
    symbol: options.SymbolName = None,
    timeframe: options.TimeframeName = None,
    start: options.StartTime = None,
    end: options.EndTime = None,
    fee_bps: options.FeeBps = None,
    slippage_bps: options.SlippageBps = None,
    initial_cash: options.InitialCash = None,
    sizing: options.SizingText = None,
    side: options.SideName = None,
    stop_loss: options.StopLoss = None,
    take_profit: options.TakeProfit = None,
    trailing_stop: options.TrailingStop = None,
    fills: options.FillKind = None,
    max_volume_share: options.VolumeShare = None,
    delay_bars: options.DelayBars = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, max=256, help="How many work; default one a core.")] = None,
    executor: Annotated[
        str, typer.Option("--executor", help="threads; processes for plain Python strategies; local.")
    ] = "threads",
    sheet: Annotated[bool, typer.Option("--html/--no-html", help="Draw the HTML report with its charts.")] = True,
    tag: options.Tags = None,
    settings: Annotated[Path | None, typer.Option("--settings", help="Configuration file instead of config.toml.")] = None,
    verbose: options.Verbose = False,
    as_json: options.JsonOut = False,
) -> None:
    """Choose parameters on one stretch of the data, trade them on the next, and join what came of it."""
    from peak_trade.cli.log import open_log
    from peak_trade.cli.sweep import given_of
    from peak_trade.research.executors import Workers
    from peak_trade.research.splits import Length, WalkPlan
    from peak_trade.runs.research.walk_forward import WalkRequest, run_walk_forward, write_walk_sheet

    kinds = [item.value for item in Workers if item is not Workers.RAY]
    if executor not in kinds:
        raise InputError(f"expected {', '.join(kinds)} as --executor, found {executor!r}; choose one")
    walk = WalkPlan(
        train=Length.parse(train, "--train"),
        test=Length.parse(test, "--test"),
        embargo=Length.parse(embargo, "--embargo", zero=True),
        anchored=anchored,
    )
    line = Given(
        data=data,
        symbol=symbol,
        timeframe=timeframe,
        start=start,
        end=end,
        fee_bps=fee_bps,
        slippage_bps=slippage_bps,
        initial_cash=initial_cash,
        sizing=sizing,
        side=side,
        stop_loss=stop_loss,
        take_profit=take_profit,
        trailing_stop=trailing_stop,
        fills=fills,
        max_volume_share=max_volume_share,
        delay_bars=delay_bars,
    )
    with closing(options.open_parts(settings)) as parts:
        log = open_log(parts.settings, verbose=verbose)
        plan, source = _plan(parts, strategy, sweep_file, grid or [], constraint or [], metric)
        given = given_of(plan, line, source)
        request = WalkRequest(
            plan=plan,
            walk=walk,
            flat_borders=flat,
            data=options.choose_data(parts, given),
            terms=options.choose_terms(parts, given),
            workers=Workers(executor),
            count=workers or parts.settings.file.sweep.workers,
            tags=options.check_tags(tag),
        )
        log.info("walk-forward begins", strategy=plan.strategy, data=request.data.to_json())
        done = run_walk_forward(parts, request)
        log.info("walk-forward registered", run_id=done.record["run_id"], trials=done.record["trials"])
        _print(done, as_json)
        if sheet:
            path = write_walk_sheet(done)
            if not as_json:
                print(f"charts: {path}")


def _plan(
    parts: "Parts", strategy: str | None, file: Path | None, grid: list[str], constraints: list[str], metric: str | None
) -> "tuple[SweepPlan, Path]":
    """Return the combinations: those of --grid, else of the sweep file, else of the strategy's file in config/sweeps.

    Raises:
        InputError: none or two of them, or a file of another strategy.
    """
    from peak_trade.research.grid import line_plan, read_plan
    from peak_trade.strategy.catalogue import find

    if file is not None and (grid or constraints):
        raise InputError("expected either --config or --grid with --constraint, found both; leave one out")
    if strategy is None and file is None:
        raise InputError(
            "expected --strategy NAME or a sweep file with --config, found neither; peak-trade strategies lists them"
        )
    if strategy is not None and grid:
        return line_plan(strategy, grid, constraints, metric or "sharpe"), Path("the command line")
    kind = None if strategy is None else find(strategy)
    if file is None and kind is not None:
        file = parts.settings.root / "config" / "sweeps" / f"{kind.key}_sweep.toml"
        if not file.is_file():
            raise InputError(
                f"expected --grid NAME=5:50:5 or --config FILE, found neither, and no {file}; "
                f"{kind.key} has {', '.join(kind.model_fields)}"
            )
    if file is None:
        raise InputError("expected --strategy with --grid, found none; give it")
    plan = read_plan(file, metric)
    if kind is not None and kind.key != plan.strategy:
        raise InputError(f"expected a sweep file of {kind.key}, found one of {plan.strategy} in {file}; correct --strategy")
    return plan, file


def _print(done: "WalkDone", as_json: bool) -> None:
    from peak_trade.cli.show import document, printable, table, told_notes
    from peak_trade.report.walk_facts import walk_pairs, walk_verdict, window_heads, window_rows

    record = done.record
    if as_json:
        print(document(record), flush=True)
        return
    print(f"{record['strategy']} on {record['symbol']} {record['timeframe']}, {record['dataset']['bars']:,} bars")
    print()
    rows = [tuple(map(printable, row)) for row in window_rows(record)]
    print(table(list(window_heads(record)), rows, right=range(3, 8)))
    print()
    pairs = walk_pairs(record)
    width = max(len(name) for name, _ in pairs)
    print("\n".join(f"{name:<{width}}  {printable(value)}" for name, value in pairs))
    print()
    print(walk_verdict(record))
    print(told_notes(record), end="")
    total, different = record["trials_on_dataset"]["total"], record["trials_on_dataset"]["different"]
    print(f"{different:,} different combinations were tried on this data so far, these included ({total:,} with repeats)")
    print(f"run {record['run_id']}, {record['elapsed_s']:.2f} s")
    print(f"report: {done.folder / 'report.md'}", flush=True)
