"""`peak-trade sweep`: many combinations of parameters, resumable."""

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options
from peak_trade.cli.options import Given
from peak_trade.cli.progress import STOPPED, progress_bar, stopping
from peak_trade.model.errors import InputError

if TYPE_CHECKING:
    from peak_trade.research.search import SearchPlan
    from peak_trade.runs.research.sweep import Swept

#: How many combinations are tried where none says how many.
TRIALS = 100


@options.taking(options.DATA_OPTIONS)
def command(
    config: Annotated[Path, typer.Option("--config", help="Sweep file; config/sweeps/ has examples.")],
    given: Given = options.NOTHING,
    workers: options.WorkerCount = None,
    executor: options.ExecutorName = "threads",
    address: options.ClusterAddress = None,
    search: Annotated[
        str, typer.Option("--search", help="grid (every combination), random or tpe (a model proposes).")
    ] = "grid",
    trials: Annotated[
        int | None, typer.Option("--trials", min=1, max=1_000_000, help="How many random or tpe try at most; default 100.")
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of random and tpe: the same, the same trials.")
    ] = 0,
    sheet: Annotated[bool, typer.Option("--html/--no-html", help="Draw the HTML report with its heat map.")] = True,
    tag: options.Tags = None,
    settings: options.SettingsFile = None,
    verbose: options.Verbose = False,
    as_json: options.JsonOut = False,
) -> None:
    """Run every combination of a sweep file; an interrupted sweep goes on where it ended when run again."""
    from peak_trade.cli.log import open_log
    from peak_trade.research.grid import read_plan
    from peak_trade.runs.research.sweep import SweepRequest, run_sweep, write_sweep_sheet

    crew = options.workers_of(executor, address)
    how = _search(search, trials, seed)
    plan = read_plan(config)
    given = options.given_of(plan, given, config)
    with closing(options.open_parts(settings)) as parts:
        log = open_log(parts.settings, verbose=verbose)
        request = SweepRequest(
            plan=plan,
            data=options.choose_data(parts, given),
            terms=options.choose_terms(parts, given),
            search=how,
            workers=crew,
            address=address,
            count=workers or parts.settings.file.sweep.workers,
            chunk_s=parts.settings.file.sweep.chunk_s,
            tags=options.check_tags(tag),
        )
        log.info("sweep begins", file=str(config), strategy=plan.strategy)
        with stopping() as stop, progress_bar("sweep") as progress:
            swept = run_sweep(parts, request, progress, stop)
        if swept is None:
            log.info("sweep interrupted", file=str(config))
            print(STOPPED, file=sys.stderr)
            raise typer.Exit(130)
        log.info("sweep registered", run_id=swept.record["run_id"], trials=swept.record["trials"])
        _print(swept, as_json)
        if sheet:
            path = write_sweep_sheet(swept)
            if not as_json:
                print(f"heat map: {path}")


def _search(name: str, trials: int | None, seed: int) -> "SearchPlan":
    """Return how combinations are chosen.

    Raises:
        InputError: there is no such search, or a grid with a number of trials or a seed.
    """
    from peak_trade.research.search import Method, SearchPlan

    kinds = [item.value for item in Method]
    if name not in kinds:
        raise InputError(f"expected {', '.join(kinds)} as --search, found {name!r}; choose one")
    method = Method(name)
    if method is Method.GRID:
        if trials is not None or seed:
            raise InputError(
                "expected --trials and --seed with --search random or tpe, found a grid, which tries all; leave them out"
            )
        return SearchPlan()
    return SearchPlan(method=method, trials=TRIALS if trials is None else trials, seed=seed)


def _print(swept: "Swept", as_json: bool) -> None:
    from peak_trade.cli.show import document, figure, table, told_notes
    from peak_trade.report.ranking import ranked

    record, metric = swept.record, swept.record["metric"]
    best = ranked(swept.rows, metric)[: record["top"]]
    if as_json:
        top = [{"params": params, "metrics": metrics} for params, metrics in best]
        print(document(record | {"best": top}), flush=True)
        return
    shown = list(dict.fromkeys((metric, "total_return", "sharpe", "max_drawdown", "num_trades", "profit_factor")))
    names = list(record["grid"])
    rows = [
        (*(str(params[name]) for name in names), *(figure(name, metrics[name]) for name in shown)) for params, metrics in best
    ]
    print(f"{record['strategy']} on {record['symbol']} {record['timeframe']}, {record['dataset']['bars']:,} bars: ", end="")
    print(f"{record['trials']:,} combinations, the best {len(rows)} by {metric}")
    print()
    print(table([*names, *(name.replace("_", " ") for name in shown)], rows, right=range(len(names) + len(shown))))
    print()
    total, different = record["trials_on_dataset"]["total"], record["trials_on_dataset"]["different"]
    beside = ", ".join(f"{name.replace('_', ' ')} {figure(name, record['benchmark'][name])}" for name in shown[:3])
    print(f"buy and hold: {beside}")
    print(told_notes(record), end="")
    print(f"{different:,} different combinations were tried on this data so far, this sweep included ({total:,} with repeats):")
    print("the best of many is good by chance; judge it on data it has not seen")
    print(f"run {record['run_id']}")
    print(f"report: {swept.folder / 'report.md'}", flush=True)
