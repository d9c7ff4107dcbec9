"""`peak-trade shutdown check`: the checklist after everything was shut down."""

from contextlib import closing
from typing import Annotated

import typer

from peak_trade.cli import options
from peak_trade.model.errors import CheckFailed

app = typer.Typer(help="Look whether everything was shut down properly.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Look whether everything was shut down properly."""


@app.command("check")
def check_command(
    secure: Annotated[bool, typer.Option("--secure", help="Write the archives that are missing first.")] = False,
    emulator: options.Emulated = False,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Go through the checklist; exit code 1 where something is open."""
    from peak_trade.cli.show import document, sentence
    from peak_trade.runs.safety.shutdown import shutdown_list
    from peak_trade.runs.testnet.profile import at_exchange

    with closing(options.open_parts(config)) as given, at_exchange(given, emulated=emulator) as parts:
        points = shutdown_list(parts, securing=secure)
    if as_json:
        print(document({"done": all(point.is_done for point in points), "points": [point.to_json() for point in points]}))
    for point in points if not as_json else ():
        print(f"{'done' if point.is_done else 'OPEN'}  {point.name:<17} {sentence(point.found)}")
        if point.todo:
            print(f"{'':<24}-> {sentence(point.todo)}")
    if still := [point.name for point in points if not point.is_done]:
        raise CheckFailed(f"expected everything to be shut down, found {len(still)} points open: {', '.join(still)}")
