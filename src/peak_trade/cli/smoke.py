"""`peak-trade smoke`: every layer of the stack of stage 2 once."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options
from peak_trade.model.errors import CheckFailed, PeakTradeError

if TYPE_CHECKING:
    from peak_trade.runs.testnet.smoke import Layer


def command(
    profile: Annotated[str, typer.Option("--profile", help="Whose strategy and pair are used.")] = "quick_smoke",
    emulator: Annotated[
        bool, typer.Option("--emulator", help="Ask an emulated exchange of this run, with keys of its own.")
    ] = False,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Try every layer of stage 2 once, with its time: from the configuration to an order that the exchange validates."""
    from peak_trade.cli.show import document
    from peak_trade.runs.testnet.profile import at_exchange, find_profile
    from peak_trade.runs.testnet.smoke import LayerState, proven, smoke_test

    with closing(options.open_parts(config)) as given:
        find_profile(given.settings, profile)
        with at_exchange(given, emulated=emulator) as parts:
            without = ""
            try:
                parts.api_keys()
            except PeakTradeError as error:
                without = str(error)
            layers = smoke_test(parts, profile, without)
    if as_json:
        print(document({"proven": proven(layers), "layers": [layer.to_json() for layer in layers]}))
    else:
        _print_layers(layers)
    if proven(layers):
        return
    failed = [layer for layer in layers if layer.outcome is LayerState.FAILED]
    what = f"{failed[0].name} failed: {failed[0].found}" if failed else f"layers skipped: {without}"
    raise CheckFailed(f"expected every layer to work, found that the stack is not proven: {what}")


def _print_layers(layers: "list[Layer]") -> None:
    from peak_trade.cli.show import sentence, table

    rows = [(layer.name, layer.outcome.value, f"{layer.ms:,.1f}", sentence(layer.found)) for layer in layers]
    print(table(["layer", "state", "ms", "found"], rows, right=(2,)))
