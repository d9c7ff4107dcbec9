"""`peak-trade config`: check, show and explain the configuration."""

from typing import Annotated

import typer

from peak_trade.cli import options

app = typer.Typer(help="Check, show and explain the configuration.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def check(config: options.ConfigFile = None, as_json: options.JsonOut = False) -> None:
    """Check the whole file: keys, values, secrets, and the parameters of every strategy."""
    from peak_trade.cli.show import document
    from peak_trade.compose import Parts
    from peak_trade.model.bar import Timeframe
    from peak_trade.runs.configured import configured_params
    from peak_trade.settings import load_config
    from peak_trade.strategy.catalogue import find, make
    from peak_trade.strategy.sizing import Sizing

    settings = load_config(config)
    parts = Parts(settings)
    for name in settings.file.strategy:
        make(name, configured_params(parts, find(name).key, {}))
    for profile in settings.file.testnet_profiles.values():
        make(profile.strategy, configured_params(parts, find(profile.strategy).key, profile.params))
        Timeframe.parse(profile.timeframe)
        for symbol in profile.symbols:
            parts.instrument(symbol)
    for symbol in (settings.file.backtest.symbol, settings.file.shadow.symbol, *settings.file.live_risk.symbols):
        parts.instrument(symbol)
    for key in (*settings.file.instrument, *settings.file.testnet_limits.symbols):
        parts.instrument(key)
    Sizing.parse(settings.file.backtest.sizing)
    if as_json:
        print(document({"path": str(settings.path), "sha256": settings.sha256, "ok": True}))
        return
    print(f"{settings.path}: ok, {len(settings.every_key())} keys, sha256 {settings.sha256[:12]}")


@app.command()
def show(
    key: Annotated[str | None, typer.Argument(help="A section or key; all without it.")] = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Show the values in force, defaults included."""
    from peak_trade.cli.show import document
    from peak_trade.settings import load_config

    settings = load_config(config)
    if key is not None:
        settings.explain(key)
    if as_json:
        print(document(settings.file.model_dump(mode="json") if key is None else settings.get(key)))
        return
    for name in settings.every_key():
        if key is None or name == key or name.startswith(f"{key}."):
            print(f"{name} = {settings.get(name)!r}")


@app.command()
def explain(
    key: Annotated[str, typer.Argument(help="A dotted key, such as backtest.fee_bps.")],
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Say what a key means, its value and where that came from."""
    from peak_trade.cli.show import document
    from peak_trade.settings import load_config

    found = load_config(config).explain(key)
    if as_json:
        print(document({"key": key, "value": found.value, "source": found.source, "description": found.description}))
        return
    print(f"{key} = {found.value!r}\nfrom {found.source}\n{found.description}")
