"""`peak-trade holdout`: bars that research never reads, and what opened them."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options
from peak_trade.cli.options import Given

if TYPE_CHECKING:
    from peak_trade.runs.research.holdout import Opened

app = typer.Typer(help="Bars that research never reads.", no_args_is_help=True, rich_markup_mode=None)


@app.command("open")
def open_command(
    strategy: Annotated[str, typer.Option("--strategy", help="Key or other name: peak-trade strategies list.")],
    why: Annotated[str | None, typer.Option("--why", help="Why it is opened now; goes on record.")] = None,
    by: options.ByName = None,
    param: Annotated[list[str] | None, typer.Option("--param", help="NAME=VALUE of the strategy; repeatable.")] = None,
    data: options.DataFile = None,
    symbol: options.SymbolName = None,
    timeframe: options.TimeframeName = None,
    sheet: Annotated[bool, typer.Option("--tear-sheet/--no-tear-sheet", help="Draw the HTML tear sheet.")] = True,
    tag: options.Tags = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Run a strategy over a market's hold-out: once for each version, on record for ever; exit code 3 the second time."""
    from peak_trade.cli.show import document
    from peak_trade.runs.acts import machine_user
    from peak_trade.runs.research.backtest import write_tear_sheet
    from peak_trade.runs.research.holdout import OpenRequest, open_holdout

    reason = options.check_reason(why, f"peak-trade holdout open --strategy {strategy}")
    given = Given(data=data, symbol=symbol, timeframe=timeframe)
    with closing(options.open_parts(config)) as parts:
        request = OpenRequest(
            strategy=strategy,
            params=options.parse_params(param or []),
            data=options.choose_data(parts, given),
            terms=options.choose_terms(parts, given),
            by=options.check_name(by, "--by", machine_user()),
            why=reason,
            tags=options.check_tags(tag),
        )
        opened = open_holdout(parts, request)
        if as_json:
            print(
                document(opened.finished.record | {"openings_before": opened.before, "evidence": opened.evidence}), flush=True
            )
        else:
            _print(opened)
        if sheet:
            path = write_tear_sheet(opened.finished)
            if not as_json:
                print(f"tear sheet: {path}")


@app.command("list")
def list_command(config: options.ConfigFile = None, as_json: options.JsonOut = False) -> None:
    """List what is kept back, and every opening with who, why and its run."""
    from peak_trade.cli.show import document, table
    from peak_trade.runs.research.holdout import openings

    with closing(options.open_parts(config)) as parts:
        rules, found = parts.settings.file.research.holdout, openings(parts)
    if as_json:
        rows = [
            {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in item._asdict().items()}
            for item in found
        ]
        print(document({"kept_back": rules, "openings": rows}))
        return
    print("\n".join(f"kept back: {market}: {rule}" for market, rule in rules.items()) or "kept back: nothing")
    if found:
        lines = [
            (
                f"{item.at:%Y-%m-%d %H:%M}",
                item.by,
                f"{item.strategy} {item.params_sha256[:8]} {item.code_sha256[:8]}",
                f"{item.symbol} {item.timeframe}",
                f"{item.start:%Y-%m-%d} to {item.last:%Y-%m-%d}",
                f"{item.before:,}",
                item.run_id or "none",
                item.why,
            )
            for item in found
        ]
        print(table(["opened", "by", "version", "market", "bars of", "before it", "run", "why"], lines, right=(5,)))
    else:
        print("no hold-out was opened yet")


def _print(opened: "Opened") -> None:
    from peak_trade.cli.show import figure, short, table
    from peak_trade.report.figures import figure_label

    finished, kept = opened.finished, opened.holdout
    record = finished.record
    quote = record["quote"]
    print(f"{record['strategy']} {short(record['params'])}")
    print(f"hold-out of {kept.symbol} {kept.timeframe}: {kept.bars:,} bars from {record['dataset']['first']} on")
    print()
    rows = [
        (figure_label(name, quote), figure(name, value, quote), figure(name, record["benchmark"][name], quote))
        for name, value in record["metrics"].items()
    ]
    print(table(["", "strategy", "buy and hold"], rows, right=(1, 2)))
    print()
    if opened.before:
        print(
            f"note: these bars were opened {opened.before:,} times before, for other versions: this result is worth less for it"
        )
    else:
        print("these bars were never opened before")
    print("this version can't open them again; what it did here is on record for ever")
    print(f"run {record['run_id']}, evidence {opened.evidence}")
    print(f"report: {finished.folder / 'report.md'}", flush=True)
