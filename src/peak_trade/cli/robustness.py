"""`peak-trade robustness`: what is left of a backtest under other circumstances."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options
from peak_trade.model.errors import CheckFailed

if TYPE_CHECKING:
    from peak_trade.runs.research.robustness import Shaken


def command(
    run_id: Annotated[str, typer.Argument(help="Id of a backtest, a clear part of it, or latest:backtest.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of everything that is drawn.")] = 1,
    tag: options.Tags = None,
    by: options.ByName = None,
    sheet: Annotated[bool, typer.Option("--html/--no-html", help="Draw the HTML page.")] = True,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Stress a backtest: other histories, orders, parameters, costs, delays and missed fills; exit code 1 if it gives way."""
    from peak_trade.cli.show import document
    from peak_trade.runs.acts import machine_user
    from peak_trade.runs.research.robustness import run_robustness, write_robustness_sheet

    with closing(options.open_parts(config)) as parts:
        name = options.check_name(by, "--by", machine_user())
        shaken = run_robustness(parts, run_id, seed, name, options.check_tags(tag))
        if as_json:
            print(document(shaken.record), flush=True)
        else:
            _print(shaken)
        if sheet:
            path = write_robustness_sheet(shaken)
            if not as_json:
                print(f"page: {path}", flush=True)
    if not shaken.found.robust:
        failed = [line.title for line in shaken.found.lines if line.holds is False]
        raise CheckFailed(
            f"expected the backtest {shaken.record['backtest']} to be robust, found that it is not ({', '.join(failed)}); "
            "don't climb with it"
        )


def _print(shaken: "Shaken") -> None:
    from peak_trade.cli.show import short, table
    from peak_trade.report.probe_facts import line_rows
    from peak_trade.report.robustness_facts import robustness_sentence

    record = shaken.record
    print(f"{record['strategy']} {short(record['params'])}, backtest {record['backtest']}")
    print()
    print(robustness_sentence(record))
    print()
    print(table(["question", "found", "limit", ""], [row[:4] for row in line_rows(record)], right=(1, 2)))
    for line in record["lines"]:
        print(f"{line['title']}: {line['words']}")
    print()
    print(f"run {record['run_id']}, {record['elapsed_s']:.2f} s, seed {record['seed']}, evidence {record['evidence']}")
    print(f"report: {shaken.folder / 'report.md'}", flush=True)
