"""`peak-trade regimes`: what kind of market it was, and what a strategy earned in each."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options
from peak_trade.cli.options import Given

if TYPE_CHECKING:
    from peak_trade.runs.research.regimes import Weather


@options.taking((*options.DATA_OPTIONS, "fee_bps", "slippage_bps", "side"))
def command(
    strategy: Annotated[str, typer.Option("--strategy", help="What is judged by regime.")] = "buy_and_hold",
    param: Annotated[list[str] | None, typer.Option("--param", help="NAME=VALUE of the strategy; repeatable.")] = None,
    given: Given = options.NOTHING,
    window: Annotated[int, typer.Option("--window", help="Bars of the volatility.")] = 24,
    history: Annotated[int, typer.Option("--history", help="Volatilities that the present one is ranked among.")] = 250,
    trend_window: Annotated[int, typer.Option("--trend-window", help="Bars of the trend.")] = 50,
    threshold: Annotated[float, typer.Option("--threshold", help="Standard deviations of a drift that is a trend.")] = 1.0,
    tag: options.Tags = None,
    sheet: Annotated[bool, typer.Option("--html/--no-html", help="Draw the HTML page.")] = True,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Tell the regimes of a market without looking ahead, what a strategy earned in each, how long they last and follow."""
    from peak_trade.cli.show import document
    from peak_trade.research.regimes import RegimeRules
    from peak_trade.runs.research.regimes import RegimeRequest, run_regimes, write_regime_sheet

    with closing(options.open_parts(config)) as parts:
        request = RegimeRequest(
            strategy=strategy,
            params=options.parse_params(param or []),
            data=options.choose_data(parts, given),
            terms=options.choose_terms(parts, given),
            rules=RegimeRules(window=window, history=history, trend_window=trend_window, threshold=threshold),
            tags=options.check_tags(tag),
        )
        weather = run_regimes(parts, request)
        if as_json:
            print(document(weather.record), flush=True)
        else:
            _print(weather)
        if sheet:
            path = write_regime_sheet(weather)
            if not as_json:
                print(f"page: {path}", flush=True)


def _print(weather: "Weather") -> None:
    from peak_trade.cli.show import printable, short, table, told_notes
    from peak_trade.report.regime_facts import EARNED, earned_rows, lasted_rows, regime_sentence, regime_warnings

    record = weather.record
    data = record["dataset"]
    lines = [
        f"{record['strategy']} {short(record['params'])}".rstrip(),
        f"{record['symbol']} {record['timeframe']}, {data['bars']:,} bars from {data['first']} to {data['last']}",
        "",
        regime_sentence(record),
    ]
    for family in record["families"]:
        heads = ["" if head == "Regime" else head for head in EARNED]
        rows = [
            (*row, *(lasted[2:3] or ("",)))
            for row, lasted in zip(earned_rows(family), [*lasted_rows(family), ()], strict=False)
        ]
        lines += ["", f"{family['title']}: {family['now'] or 'unknown'} after the last bar"]
        lines.append(table([*heads, "Mean bars"], rows, right=tuple(range(1, 10))))
    lines += ["", *(f"warning: {text}" for text in regime_warnings(record))]
    print(printable("\n".join(lines)))
    print(told_notes(record), end="")
    print(f"run {record['run_id']}, {record['elapsed_s']:.2f} s")
    print(f"report: {weather.folder / 'report.md'}", flush=True)
