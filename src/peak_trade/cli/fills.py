"""`peak-trade fills`: what orders pay beyond the price they meet, measured from recordings."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options

if TYPE_CHECKING:
    from peak_trade.runs.record import Json

app = typer.Typer(help="The fill model and its error.", no_args_is_help=True, rich_markup_mode=None)


@app.command("calibrate")
def calibrate_command(
    trades: Annotated[list[Path] | None, typer.Option("--trades", help="Recorded trades; repeatable.")] = None,
    book: Annotated[
        list[Path] | None, typer.Option("--book", help="A recorded book's snapshot and its changes: give it twice.")
    ] = None,
    quantile: Annotated[
        float, typer.Option("--quantile", help="Share of orders that should cost no more than the model.")
    ] = 0.9,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Measure the fill model from recorded books and trades, register it, and use it from now on."""
    from peak_trade.cli.show import document
    from peak_trade.runs.fills import FillRequest, calibrate_fills

    request = FillRequest(
        books=tuple(options.full_path(path) for path in book or []),
        trades=tuple(options.full_path(path) for path in trades or []),
        quantile=quantile,
    )
    with closing(options.open_parts(config)) as parts:
        record = calibrate_fills(parts, request)
    if as_json:
        print(document(record), flush=True)
    else:
        _print(record)


@app.command("show")
def show_command(config: options.ConfigFile = None, as_json: options.JsonOut = False) -> None:
    """Show the fill model in use, where it comes from and what is known of its error."""
    from peak_trade.cli.show import document
    from peak_trade.runs.fills import fill_record

    with closing(options.open_parts(config)) as parts:
        record = fill_record(parts)
    if as_json:
        print(document(record), flush=True)
    else:
        _print(record)


def _print(record: "Json") -> None:
    from peak_trade.cli.show import printable, table

    model = record["model"]
    lines = [
        f"slippage = {model['half_spread_bps']:g} bps + {model['impact']:g} x volatility x root of the share of the volume",
        f"covers {model['quantile']:.0%} of orders; {model['source']}",
    ]
    rows = [
        (
            item["name"],
            item["kind"],
            f"{item['bar_s']} s",
            f"{item['orders']:,}",
            f"{item['half_spread_bps']:.3f}",
            f"{item['impact']:.3f}",
            f"{item['exceeded']:.1%}",
            f"{item['shipped_exceeded']:.1%}",
        )
        for item in record["recordings"]
    ]
    if rows:
        heads = ["recording", "orders", "bar", "number", "half spread", "impact", "dearer later", "dearer than model"]
        lines += ["", table(heads, rows, right=(3, 4, 5, 6, 7))]
    if record["run_id"]:
        lines.append(f"run {record['run_id']}")
    print(printable("\n".join(lines)), flush=True)
