"""`peak-trade walkforward`: parameters chosen on one part of the data and traded on another, over and over."""

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import options
from peak_trade.cli.options import Given
from peak_trade.cli.progress import STOPPED, progress_bar, stopping
from peak_trade.model.errors import InputError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from peak_trade.compose import Parts
    from peak_trade.research.grid import SweepPlan
    from peak_trade.research.splits import GroupPlan, WalkPlan
    from peak_trade.runs.record import Json
    from peak_trade.runs.research.combinatorial import FanDone
    from peak_trade.runs.research.grid_runs import Progress
    from peak_trade.runs.research.walk_forward import WalkDone

#: Lengths of the stretches where none says them.
TRAIN, TEST = "365d", "90d"
#: Groups, and how many of them each split holds out, where none says it.
GROUPS, HELD = 6, 2


@options.taking()
def command(
    strategy: Annotated[
        str | None, typer.Option("--strategy", help="Name of the strategy: peak-trade strategies list.")
    ] = None,
    scheme: Annotated[str | None, typer.Option("--scheme", help="rolling (the default), anchored or combinatorial.")] = None,
    train: Annotated[str | None, typer.Option("--train", help="Length to choose on, or bars; default 365d.")] = None,
    test: Annotated[str | None, typer.Option("--test", help="Length to trade what was chosen; default 90d.")] = None,
    embargo: Annotated[str, typer.Option("--embargo", help="Length left out before (combinatorial: after) a test.")] = "0",
    anchored: Annotated[bool, typer.Option("--anchored", help="The same as --scheme anchored.")] = False,
    groups: Annotated[int | None, typer.Option("--groups", help="Combinatorial: groups of bars; default 6.")] = None,
    held: Annotated[int | None, typer.Option("--held", help="Combinatorial: groups held out at a time; default 2.")] = None,
    purge: Annotated[
        str | None, typer.Option("--purge", help="Combinatorial: left out beside what is held out; default the warm-up.")
    ] = None,
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
    given: Given = options.NOTHING,
    workers: options.WorkerCount = None,
    executor: options.ExecutorName = "threads",
    address: options.ClusterAddress = None,
    afresh: Annotated[bool, typer.Option("--afresh", help="Begin anew, whatever was interrupted.")] = False,
    sheet: options.SheetOn = True,
    tag: options.Tags = None,
    settings: options.SettingsFile = None,
    verbose: options.Verbose = False,
    as_json: options.JsonOut = False,
) -> None:
    """Choose parameters on one stretch of the data, trade them on the next, and join what came of it."""
    from peak_trade.cli.log import open_log
    from peak_trade.cli.show import document

    crew = options.workers_of(executor, address)
    way = _way(scheme, anchored=anchored, lengths=(train, test, embargo), cut=(groups, held, purge))
    with closing(options.open_parts(settings)) as parts:
        log = open_log(parts.settings, verbose=verbose)
        plan, source = _plan(parts, strategy, sweep_file, grid or [], constraint or [], metric)
        found = options.given_of(plan, given, source)
        common: dict[str, Any] = {
            "plan": plan,
            "flat_borders": flat,
            "afresh": afresh,
            "data": options.choose_data(parts, found),
            "terms": options.choose_terms(parts, found),
            "workers": crew,
            "address": address,
            "count": workers or parts.settings.file.sweep.workers,
            "chunk_s": parts.settings.file.sweep.chunk_s,
            "tags": options.check_tags(tag),
        }
        log.info("walk-forward begins", strategy=plan.strategy, data=common["data"].to_json())
        with stopping() as stop, progress_bar("walk-forward") as progress:
            done, draw, show = _walk(parts, way, common, progress, stop)
        if done is None:
            log.info("walk-forward interrupted", strategy=plan.strategy)
            print(STOPPED, file=sys.stderr)
            raise typer.Exit(130)
        log.info("walk-forward registered", run_id=done.record["run_id"], trials=done.record["trials"])
        if as_json:
            print(document(done.record), flush=True)
        else:
            show(done.record, done.folder)
        if sheet:
            path = draw(done)
            if not as_json:
                print(f"charts: {path}")


def _way(
    scheme: str | None,
    *,
    anchored: bool,
    lengths: tuple[str | None, str | None, str],
    cut: tuple[int | None, int | None, str | None],
) -> "WalkPlan | GroupPlan":
    """Return how the bars are cut: windows that walk, or groups that are held out.

    Raises:
        InputError: there is no such scheme, an option belongs to another one, or a length is none.
    """
    from peak_trade.research.splits import GroupPlan, Length, Scheme, WalkPlan

    kinds = [item.value for item in Scheme]
    if scheme not in (None, *kinds):
        raise InputError(f"expected {', '.join(kinds)} as --scheme, found {scheme!r}; choose one")
    if anchored and scheme not in (None, Scheme.ANCHORED.value):
        raise InputError(f"expected --anchored with --scheme anchored or none, found it with {scheme}; leave one out")
    train, test, embargo = lengths
    groups, held, purge = cut
    after = Length.parse(embargo, "--embargo", zero=True)
    if scheme == Scheme.COMBINATORIAL.value:
        if train is not None or test is not None:
            raise InputError("expected --groups with --scheme combinatorial, found --train or --test; leave them out")
        return GroupPlan(
            groups=GROUPS if groups is None else groups,
            held=HELD if held is None else held,
            purge=None if purge is None else Length.parse(purge, "--purge", zero=True),
            embargo=after,
        )
    if any(item is not None for item in cut):
        raise InputError(
            "expected --groups, --held and --purge with --scheme combinatorial alone, found one without it; leave it out"
        )
    return WalkPlan(
        train=Length.parse(train or TRAIN, "--train"),
        test=Length.parse(test or TEST, "--test"),
        embargo=after,
        anchored=anchored or scheme == Scheme.ANCHORED.value,
    )


def _walk(
    parts: "Parts", way: "WalkPlan | GroupPlan", common: dict[str, Any], progress: "Progress", stop: "threading.Event"
) -> "tuple[WalkDone | FanDone | None, Callable[[Any], Path], Callable[[Json, Path], None]]":
    """Do it; return what came of it, what draws its page and what prints it."""
    from peak_trade.research.splits import WalkPlan
    from peak_trade.runs.research.combinatorial import FanRequest, run_combinatorial, write_fan_sheet
    from peak_trade.runs.research.walk_forward import WalkRequest, run_walk_forward, write_walk_sheet

    if isinstance(way, WalkPlan):
        return run_walk_forward(parts, WalkRequest(walk=way, **common), progress, stop), write_walk_sheet, _show_walk
    return run_combinatorial(parts, FanRequest(cut=way, **common), progress, stop), write_fan_sheet, _show_fan


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


def _show_walk(record: "Json", folder: Path) -> None:
    from peak_trade.report.walk_facts import walk_pairs, walk_verdict, window_heads, window_rows

    tables = [(window_heads(record), window_rows(record), range(3, 8))]
    _show(record, folder, tables, walk_pairs(record), walk_verdict(record))


def _show_fan(record: "Json", folder: Path) -> None:
    from peak_trade.report.fan_facts import PATH_HEADS, fan_pairs, fan_verdict, path_rows, split_heads, split_rows

    tables = [
        (split_heads(record), split_rows(record), (0, 3, 4, 5, 6)),
        (PATH_HEADS, path_rows(record), (0, 2, 3, 4, 5)),
    ]
    _show(record, folder, tables, fan_pairs(record), fan_verdict(record))


def _show(
    record: "Json",
    folder: Path,
    tables: "Sequence[tuple[Sequence[str], Sequence[tuple[str, ...]], Sequence[int]]]",
    pairs: "Sequence[tuple[str, str]]",
    verdict: str,
) -> None:
    from peak_trade.cli.show import printable, table, told_notes

    print(f"{record['strategy']} on {record['symbol']} {record['timeframe']}, {record['dataset']['bars']:,} bars")
    for heads, rows, right in tables:
        print()
        print(table(list(heads), [tuple(map(printable, row)) for row in rows], right=right))
    print()
    width = max(len(name) for name, _ in pairs)
    print("\n".join(f"{name:<{width}}  {printable(value)}" for name, value in pairs))
    print()
    print(verdict)
    print(told_notes(record), end="")
    total, different = record["trials_on_dataset"]["total"], record["trials_on_dataset"]["different"]
    print(f"{different:,} different combinations were tried on this data so far, these included ({total:,} with repeats)")
    print(f"run {record['run_id']}, {record['elapsed_s']:.2f} s")
    print(f"report: {folder / 'report.md'}", flush=True)
