"""`peak-trade backtest`: one strategy over one series of bars."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options
from peak_trade.cli.options import Given

if TYPE_CHECKING:
    from peak_trade.runs.research.backtest import Finished


def command(
    strategy: Annotated[str, typer.Option("--strategy", help="Name of the strategy: peak-trade strategies list.")],
    param: Annotated[list[str] | None, typer.Option("--param", help="NAME=VALUE of the strategy; repeatable.")] = None,
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
    tag: options.Tags = None,
    trades_out: Annotated[Path | None, typer.Option("--trades-out", help="Write the trades to this CSV file.")] = None,
    equity_out: Annotated[Path | None, typer.Option("--equity-out", help="Write the equity to this CSV file.")] = None,
    sheet: Annotated[bool, typer.Option("--tear-sheet/--no-tear-sheet", help="Draw the HTML tear sheet.")] = True,
    config: options.ConfigFile = None,
    verbose: options.Verbose = False,
    as_json: options.JsonOut = False,
) -> None:
    """Run a strategy over recorded bars, with costs, and register the result."""
    from peak_trade.cli.log import open_log
    from peak_trade.runs.research.backtest import BacktestRequest, run_backtest, write_equity, write_tear_sheet, write_trades

    given = Given(
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
    with closing(options.open_parts(config)) as parts:
        options.check_outputs(parts, [data], [trades_out, equity_out])
        log = open_log(parts.settings, verbose=verbose)
        request = BacktestRequest(
            strategy=strategy,
            params=options.parse_params(param or []),
            data=options.choose_data(parts, given),
            terms=options.choose_terms(parts, given),
            tags=options.check_tags(tag),
        )
        log.info("backtest begins", strategy=strategy, data=request.data.to_json(), terms=request.terms.to_json())
        finished = run_backtest(parts, request)
        log.info("backtest registered", run_id=finished.record["run_id"], elapsed_s=finished.record["elapsed_s"])
        for path, write in ((trades_out, write_trades), (equity_out, write_equity)):
            if path is not None:
                write(path, finished.result)
                log.info("written", path=str(path))
        _print(finished, as_json)
        if sheet:
            path = write_tear_sheet(finished)
            log.info("tear sheet drawn", path=str(path))
            if not as_json:
                print(f"tear sheet: {path}")


def _print(finished: "Finished", as_json: bool) -> None:
    from peak_trade.cli.show import document, figure, short, table, told_notes
    from peak_trade.report.figures import figure_label

    record = finished.record
    if as_json:
        print(document(record), flush=True)
        return
    data = record["dataset"]
    print(f"{record['strategy']} {short(record['params'])}")
    print(f"{record['symbol']} {record['timeframe']}, {data['bars']:,} bars from {data['first']} to {data['last']}")
    if data["gaps"]["missing_bars"]:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in data["gaps"]["by_kind"].items())
        print(f"bars that are not there: {kinds}")
    for code in data["accepted"]:
        print(f"warning: this data was imported although the check {code} failed")
    print()
    quote = record["quote"]
    rows = [
        (
            figure_label(name, quote),
            figure(name, record["metrics"][name], quote),
            figure(name, record["benchmark"][name], quote),
        )
        for name in record["metrics"]
    ]
    print(table(["", "strategy", "buy and hold"], rows, right=(1, 2)))
    print(told_notes(record), end="")
    for remark in record["remarks"]:
        print(f"note: {remark}")
    different = record["trials_on_dataset"]["different"]
    if different > 1:
        print(f"note: {different:,} different combinations were tried on this data so far; among many, some are good by chance")
    print()
    print(f"run {record['run_id']}, {record['elapsed_s']:.2f} s")
    print(f"report: {finished.folder / 'report.md'}", flush=True)
