"""`peak-trade sweep`: many combinations of parameters, resumable."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options
from peak_trade.cli.options import Given
from peak_trade.model.errors import InputError

if TYPE_CHECKING:
    from peak_trade.research.executors import Workers
    from peak_trade.research.grid import SweepPlan
    from peak_trade.research.search import SearchPlan
    from peak_trade.runs.research.sweep import Progress, Swept

#: How many combinations are tried where none says how many.
TRIALS = 100


def command(
    config: Annotated[Path, typer.Option("--config", help="Sweep file; config/sweeps/ has examples.")],
    data: options.DataFile = None,
    symbol: options.SymbolName = None,
    timeframe: options.TimeframeName = None,
    start: options.StartTime = None,
    end: options.EndTime = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, max=256, help="How many work; default one a core.")] = None,
    executor: Annotated[
        str,
        typer.Option("--executor", help="threads; processes for plain Python strategies; local (no others); ray (a cluster)."),
    ] = "threads",
    address: Annotated[
        str | None, typer.Option("--address", help="Ray cluster, such as 10.0.0.5:6379 or auto; default one of this machine.")
    ] = None,
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
    settings: Annotated[Path | None, typer.Option("--settings", help="Configuration file instead of config.toml.")] = None,
    verbose: options.Verbose = False,
    as_json: options.JsonOut = False,
) -> None:
    """Run every combination of a sweep file; an interrupted sweep goes on where it ended when run again."""
    from peak_trade.cli.log import open_log
    from peak_trade.research.grid import read_plan
    from peak_trade.runs.research.sweep import SweepRequest, run_sweep, write_sweep_sheet

    crew = _crew(executor, address)
    how = _search(search, trials, seed)
    plan = read_plan(config)
    given = given_of(plan, Given(data=data, symbol=symbol, timeframe=timeframe, start=start, end=end), config)
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
        with _stopping() as stop, _bar() as progress:
            swept = run_sweep(parts, request, progress, stop)
        if swept is None:
            log.info("sweep interrupted", file=str(config))
            print("stopped; what is done is stored, the same command goes on from here", file=sys.stderr)
            raise typer.Exit(130)
        log.info("sweep registered", run_id=swept.record["run_id"], trials=swept.record["trials"])
        _print(swept, as_json)
        if sheet:
            path = write_sweep_sheet(swept)
            if not as_json:
                print(f"heat map: {path}")


def _crew(executor: str, address: str | None) -> "Workers":
    """Return who works.

    Raises:
        InputError: there are no such workers, or an address without a cluster.
    """
    from peak_trade.research.executors import Workers

    kinds = [item.value for item in Workers]
    if executor not in kinds:
        raise InputError(f"expected {', '.join(kinds)} as --executor, found {executor!r}; choose one")
    if address is not None and executor != Workers.RAY.value:
        raise InputError(f"expected --address with --executor ray alone, found it with {executor}; leave one out")
    return Workers(executor)


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


def given_of(plan: "SweepPlan", line: Given, file: Path) -> Given:
    """Return the sweep file's options with those of the command line over them.

    Raises:
        InputError: a value of the wrong type in the file.
    """
    words = ("data", "symbol", "timeframe", "start", "end", "sizing", "side", "initial_cash")
    found: dict[str, object] = {}
    for name, value in plan.options.items():
        if name in words:
            found[name] = Path(str(value)) if name == "data" else str(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = float(value)
        else:
            raise InputError(f"expected a number under sweep.{name} in {file}, found {value!r}; correct it")
    if line.data is not None or line.symbol is not None:
        found = {name: value for name, value in found.items() if name not in ("data", "symbol", "timeframe")}
    found |= {item.name: value for item in fields(line) if (value := getattr(line, item.name)) is not None}
    return replace(Given(), **found)  # type: ignore[arg-type]


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Turn the first Ctrl+C or SIGTERM into a wish to stop, and the second into an interruption."""
    stop = threading.Event()

    def wish(_number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        print("\nstopping after the work in hand; press Ctrl+C again to stop at once", file=sys.stderr)

    before = {number: signal.signal(number, wish) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _bar() -> "Iterator[Progress]":
    """Show a progress bar with rate and time left on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("sweep"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    shown = Progress(*columns, console=Console(stderr=True))
    task = shown.add_task("sweep", total=None, rate="")

    def update(done: int, before: int, total: int) -> None:
        if not shown.live.is_started:
            shown.start()
        begun = shown.tasks[0].elapsed or 0.0
        rate = f"{(done - before) / begun:,.0f}/s" if begun > 0 and done > before else ""
        shown.update(task, completed=done, total=total, rate=rate)

    try:
        yield update
    finally:
        if shown.live.is_started:
            shown.stop()


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
