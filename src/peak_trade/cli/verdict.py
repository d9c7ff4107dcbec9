"""`peak-trade verdict`: whether an edge is real, after everything that was tried."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options
from peak_trade.cli.options import Given
from peak_trade.model.errors import CheckFailed

if TYPE_CHECKING:
    from peak_trade.runs.research.verdict import Judged


def command(
    strategy: Annotated[str, typer.Option("--strategy", help="Name of the strategy: peak-trade strategies list.")],
    param: Annotated[
        list[str] | None, typer.Option("--param", help="NAME=VALUE to judge; without any, the best that was tried.")
    ] = None,
    data: options.DataFile = None,
    symbol: options.SymbolName = None,
    timeframe: options.TimeframeName = None,
    start: options.StartTime = None,
    end: options.EndTime = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the drawn histories.")] = 1,
    tag: options.Tags = None,
    sheet: Annotated[bool, typer.Option("--html/--no-html", help="Draw the HTML page.")] = True,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Say whether the edge of a strategy is real, and after how many trials; exit code 0 for an edge, 1 otherwise."""
    from peak_trade.cli.show import document
    from peak_trade.runs.research.verdict import VerdictRequest, run_verdict, write_verdict_sheet

    given = Given(data=data, symbol=symbol, timeframe=timeframe, start=start, end=end)
    with closing(options.open_parts(config)) as parts:
        request = VerdictRequest(
            strategy=strategy,
            params=options.parse_params(param or []),
            data=options.choose_data(parts, given),
            terms=options.choose_terms(parts, given),
            seed=seed,
            tags=options.check_tags(tag),
        )
        judged = run_verdict(parts, request)
        if as_json:
            print(document(judged.record), flush=True)
        else:
            _print(judged)
        if sheet:
            path = write_verdict_sheet(judged)
            if not as_json:
                print(f"page: {path}", flush=True)
    if judged.record["answer"] != "edge":
        failed = [line.title for line in judged.found.lines if line.holds is False]
        raise CheckFailed(
            f"expected an edge of {judged.record['strategy']} on {judged.record['symbol']}, found {judged.record['answer']} "
            f"after {judged.trials.count:,} trials ({', '.join(failed)}); {_advice(judged.record['answer'])}"
        )


def _advice(answer: str) -> str:
    if answer == "no edge":
        return "more trials on the same bars only raise the hurdle: try it on data that it has not seen"
    return "import a longer history"


def _print(judged: "Judged") -> None:
    from peak_trade.cli.show import short, table
    from peak_trade.report.probe_facts import line_rows
    from peak_trade.report.verdict_facts import beside_pairs, tried_pairs, verdict_sentence

    record = judged.record
    data = record["dataset"]
    print(f"{record['strategy']} {short(record['params'])}")
    print(f"{record['symbol']} {record['timeframe']}, {data['bars']:,} bars from {data['first']} to {data['last']}")
    print()
    print(verdict_sentence(record))
    print()
    rows = [row[:4] for row in line_rows(record)]
    print(table(["test", "found", "limit", ""], rows, right=(1, 2)))
    print()
    print(table(["trials", ""], tried_pairs(record), right=(1,)))
    print()
    print(table(["beside buy and hold", ""], beside_pairs(record)))
    print()
    print(f"run {record['run_id']}, {record['elapsed_s']:.2f} s, seed {record['seed']}")
    print(f"report: {judged.folder / 'report.md'}", flush=True)
