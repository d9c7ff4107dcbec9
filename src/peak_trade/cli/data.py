"""`peak-trade data`: import, download, look at and list market data."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peak_trade.cli import options
from peak_trade.model.errors import InputError

if TYPE_CHECKING:
    from peak_trade.market.dataset import Dataset

#: How long after the last wanted bar the clock of a download's own emulator begins.
EMULATOR_AHEAD_NS = 60 * 1_000_000_000

app = typer.Typer(help="Import, download, look at and list market data.", no_args_is_help=True, rich_markup_mode=None)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV with a header, Kraken OHLCVT CSV, or Parquet.")],
    symbol: Annotated[str, typer.Option("--symbol", help="Pair, such as BTC/EUR.")],
    timeframe: Annotated[str, typer.Option("--timeframe", help="Length of a bar, such as 1h.")],
    accept: Annotated[list[str] | None, typer.Option("--accept", help="Accept a failed check by its code; repeatable.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace what is stored instead of joining it.")] = False,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Check a file of bars and keep it in the local store, joined with what is there."""
    from peak_trade.runs.research.data import import_file as bring_in

    parts = options.open_parts(config)
    done = bring_in(parts, options.full_path(file), symbol, timeframe, accepted=_codes(accept), replace=replace)
    more = {"file": str(done.path), "added": done.added}
    _show(done.dataset, as_json, more, f"stored {done.added:,} new bars in {done.path}")


def _codes(accept: list[str] | None) -> frozenset[str]:
    """Return the codes of checks that may fail; a misspelt one would accept nothing and say nothing."""
    from peak_trade.market.quality import ACCEPTABLE

    for code in accept or ():
        if code not in ACCEPTABLE:
            raise InputError(f"expected {', '.join(ACCEPTABLE)} as --accept, found {code!r}; choose one")
    return frozenset(accept or ())


@app.command()
def download(
    symbol: Annotated[str, typer.Option("--symbol", help="Pair, such as BTC/EUR.")],
    timeframe: Annotated[str, typer.Option("--timeframe", help="Length of a bar, such as 1h.")],
    exchange: Annotated[str, typer.Option("--exchange", help="ccxt's name of the exchange.")] = "kraken",
    since: Annotated[
        str | None,
        typer.Option("--since", help="First bar opens at or after this UTC date; else goes on after the stored bars."),
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Last bar opens before this UTC date; else now.")] = None,
    base_url: Annotated[
        str | None, typer.Option("--base-url", help="Ask this address instead of the exchange's own, such as an emulator's.")
    ] = None,
    emulator: Annotated[
        bool, typer.Option("--emulator", help="Ask an emulator of this run, offline; its bars are made up.")
    ] = False,
    accept: Annotated[list[str] | None, typer.Option("--accept", help="Accept a failed check by its code; repeatable.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace what is stored instead of joining it.")] = False,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Fetch bars from an exchange into the local store; cut off, the same command goes on where it was."""
    import sys
    import time
    from contextlib import closing, nullcontext

    from peak_trade.model.clock import nanoseconds
    from peak_trade.runs.emulated import emulator_for_run
    from peak_trade.runs.research.data import DownloadRequest, Onlooker
    from peak_trade.runs.research.data import download as fetch_bars

    first, end = options.moment_of(since, "--since"), options.moment_of(until, "--until")
    if first and end and first >= end:
        raise InputError(f"expected --since before --until, found {since} and {until}; correct one")
    if emulator and (base_url is not None or exchange != "kraken"):
        raise InputError("expected --emulator alone, found another exchange or address beside it; it is a Kraken of its own")
    # The emulator's past ends where its clock begins: shortly after the last bar that is asked for.
    begin = None if end is None else nanoseconds(end) + EMULATOR_AHEAD_NS
    place = emulator_for_run(begin=begin, tier="unlimited") if emulator else nullcontext()
    with closing(options.open_parts(config)) as parts, place as emulated, _progress() as seen:
        asked = DownloadRequest(
            exchange=exchange,
            symbol=symbol,
            timeframe=timeframe,
            since=first,
            until=end,
            base_url=emulated.base_url if emulated else base_url,
            emulated=emulator,
            accepted=_codes(accept),
            replace=replace,
        )
        onlooker = Onlooker(told=lambda text: print(f"peak-trade: {text}", file=sys.stderr), seen=seen, wait=time.sleep)
        done = fetch_bars(parts, asked, onlooker)
    more = {"file": str(done.path), "added": done.added}
    _show(done.dataset, as_json, more, f"stored {done.added:,} new bars in {done.path}")


@contextmanager
def _progress() -> "Iterator[Callable[[int, int, int, int], None]]":
    """Show on stderr how far a download is, if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from peak_trade.model.clock import moment_text

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("asking", total=None)

        def seen(start: int, at: int, end: int, bars: int) -> None:
            about = f"{moment_text(min(at, end))[:16]}, {bars:,} bars"
            bar.update(task, description=about, completed=min(at, end) - start, total=max(end - start, 1))

        yield seen


@app.command()
def remove(
    symbol: Annotated[str, typer.Argument(help="Pair, such as BTC/EUR.")],
    timeframe: Annotated[str, typer.Argument(help="Length of a bar, such as 1h.")],
    config: options.ConfigFile = None,
) -> None:
    """Remove an imported dataset from the store; runs over it can't be reproduced afterwards."""
    from peak_trade.durable import storing
    from peak_trade.model.bar import Timeframe
    from peak_trade.model.errors import NotFound

    parts = options.open_parts(config)
    path = parts.store.path(parts.instrument(symbol), Timeframe.parse(timeframe))
    if not path.is_file():
        raise NotFound(f"expected an imported dataset at {path}, found none; peak-trade data list shows what there is")
    with storing(path):
        path.unlink()
    print(f"removed {path}")


@app.command()
def inspect(
    symbol: Annotated[str, typer.Argument(help="Pair, such as BTC/EUR.")],
    timeframe: Annotated[str, typer.Argument(help="Length of a bar, such as 1h.")],
    gaps: Annotated[int, typer.Option("--gaps", min=0, help="How many of the longest holes to list.")] = 10,
    gaps_out: Annotated[Path | None, typer.Option("--gaps-out", help="Write the whole gap ledger to this CSV file.")] = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Tell what a dataset holds, what is missing in it and what was accepted about it."""
    from peak_trade.cli.show import table
    from peak_trade.compose import DataChoice
    from peak_trade.durable import write_text
    from peak_trade.model.clock import moment_text

    parts = options.open_parts(config)
    options.check_outputs(parts, [], [gaps_out])
    dataset = parts.dataset(DataChoice(path=None, symbol=symbol, timeframe=timeframe))
    longest = sorted(dataset.gaps, key=lambda gap: (-gap.bars, gap.start))[:gaps]
    if gaps_out is not None:
        lines = [f"{moment_text(gap.start)},{gap.bars},{gap.kind.value}" for gap in dataset.gaps]
        write_text(gaps_out, "\n".join(["start,bars,kind", *lines]) + "\n")
    listed = [{"start": moment_text(gap.start), "bars": gap.bars, "kind": gap.kind.value} for gap in longest]
    _show(dataset, as_json, {"longest_gaps": listed}, "")
    if longest and not as_json:
        print(f"\nthe longest of {len(dataset.gaps):,} holes")
        rows = [(gap["start"], str(gap["bars"]), str(gap["kind"])) for gap in listed]
        print(table(["first missing bar", "bars", "kind"], [(str(a), b, c) for a, b, c in rows], right=(1,)))


@app.command("list")
def list_datasets(config: options.ConfigFile = None, as_json: options.JsonOut = False) -> None:
    """List the datasets there are, bundled samples included."""
    from peak_trade.cli.show import document, table
    from peak_trade.compose import DataChoice, dataset_facts
    from peak_trade.market.sample import SAMPLES

    parts = options.open_parts(config)
    keys = [(path.parent.name.replace("-", "/"), path.stem) for path in parts.store.files()]
    keys += [key for key in SAMPLES if key not in keys]
    found: list[dict[str, Any]] = []
    for symbol, timeframe in keys:
        try:
            facts = dataset_facts(parts.dataset(DataChoice(path=None, symbol=symbol, timeframe=timeframe)))
        except InputError as error:
            # One damaged file must not hide the others.
            facts = {"error": str(error)}
        found.append({"symbol": symbol, "timeframe": timeframe, **facts})
    if as_json:
        print(document(found))
        return
    rows = []
    for item in found:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in item.get("gaps", {}).get("by_kind", {}).items())
        about = (
            (f"{item['bars']:,}", item["first"], item["last"], kinds or "none")
            if "bars" in item
            else ("-", "-", "-", item["error"])
        )
        rows.append((item["symbol"], item["timeframe"], *about))
    print(table(["symbol", "timeframe", "bars", "first", "last", "bars that are not there"], rows, right=(2,)))


def _show(dataset: "Dataset", as_json: bool, more: dict[str, Any], headline: str) -> None:
    from peak_trade.cli.show import document, printable
    from peak_trade.compose import dataset_facts

    facts = dataset_facts(dataset)
    bars = dataset.bars
    if as_json:
        print(document({"symbol": bars.instrument.symbol, "timeframe": bars.timeframe.label, **facts, **more}))
        return
    if headline:
        print(headline)
    print(f"{bars.instrument.symbol} {bars.timeframe.label}: {facts['bars']:,} bars from {facts['first']} to {facts['last']}")
    print(f"sha256 {facts['sha256']}")
    print(f"from {printable(facts['origin'])}")
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in facts["gaps"]["by_kind"].items())
    print(f"bars that are not there: {kinds or 'none'}")
    for code in facts["accepted"]:
        print(f"warning: accepted although the check {code} failed")
    for note in facts["notes"]:
        print(f"note: {printable(note)}")
