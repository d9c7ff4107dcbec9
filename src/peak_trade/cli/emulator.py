"""`peak-trade emulator`: a Kraken-compatible exchange on this machine."""

import json
import random
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from peak_trade.cli import options
from peak_trade.cli.serving import listener_at, serve_until_stopped
from peak_trade.model.errors import InputError, NotFound

app = typer.Typer(help="Serve a Kraken-compatible exchange for tests, offline.", no_args_is_help=True, rich_markup_mode=None)

Port = Annotated[int, typer.Option("--port", min=0, max=65_535, help="Port; 0 takes a free one.")]
DEFAULT_PORT = 8790


@app.command()
def serve(
    port: Port = DEFAULT_PORT,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    pairs: Annotated[str | None, typer.Option("--pairs", help="Pairs with commas between, such as BTC/EUR,ETH/EUR.")] = None,
    market: Annotated[str, typer.Option("--market", help="synthetic: made-up order flow.")] = "synthetic",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the market and of every name.")] = 7,
    speed: Annotated[float, typer.Option("--speed", min=0.01, max=10_000, help="How much faster its clock goes.")] = 1.0,
    tier: Annotated[str, typer.Option("--tier", help="Rate limits: starter, intermediate or pro.")] = "intermediate",
    config: options.ConfigFile = None,
) -> None:
    """Serve the exchange until Ctrl+C; `peak-trade emulator keys` prints the keys of this run."""
    from peak_trade.emulator.opening import open_emulator

    choice = _choice(pairs, market, seed, speed, tier)
    opened = open_emulator(choice, time.time_ns, random.SystemRandom())
    with closing(options.open_parts(config)) as parts:
        folder = parts.state / "emulator"
    listener = listener_at(host, port)
    number = listener.getsockname()[1]
    place = _write_keys(folder, number, {name: _told(key) for name, key in opened.keys.items()})
    if not host.startswith("127.") and host not in ("localhost", "::1"):
        print(f"WARNING: {host} can be reached from the network; the emulator's keys are no secrets", file=sys.stderr)
    try:
        serve_until_stopped(
            opened.emulator.app(), listener, "emulator: {}, /v2 and /auth/v2; this is not Kraken (Ctrl+C ends it)".format
        )
    finally:
        place.unlink(missing_ok=True)


@app.command()
def keys(port: Port = DEFAULT_PORT, config: options.ConfigFile = None, as_json: options.JsonOut = False) -> None:
    """Print the keys of the emulator that serves on a port."""
    with closing(options.open_parts(config)) as parts:
        place = parts.state / "emulator" / f"{port}.json"
    if not place.exists():
        raise NotFound(f"expected an emulator on port {port}, found none; peak-trade emulator serve --port {port}")
    told = json.loads(place.read_text("utf-8"))
    if as_json:
        print(json.dumps(told, indent=2))
        return
    for name, key in told.items():
        print(f"{name}: key {key['key']}\n{' ' * len(name)}  secret {key['secret']}")


def _choice(pairs: str | None, market: str, seed: int, speed: float, tier: str) -> Any:
    from peak_trade.emulator.counters import TIERS
    from peak_trade.emulator.opening import EmulatorChoice
    from peak_trade.emulator.pairs import PAIRS, pair_of

    if market != "synthetic":
        raise InputError(f"expected --market synthetic, found {market!r}; choose it")
    if tier not in TIERS:
        raise InputError(f"expected --tier to be one of {', '.join(TIERS)}, found {tier!r}; choose one")
    names = list(PAIRS)
    if pairs is not None:
        found = [(name, pair_of(name.strip().upper())) for name in pairs.split(",")]
        if unknown := [name for name, pair in found if pair is None]:
            raise InputError(f"expected pairs of {', '.join(PAIRS)}, found {', '.join(unknown)}; choose among them")
        names = [pair.symbol for _, pair in found if pair is not None]
    return EmulatorChoice(pairs=tuple(dict.fromkeys(names)), seed=seed, speed=speed, tier=tier)


def _told(key: Any) -> dict[str, str]:
    return {"key": key.id, "secret": key.secret_text}


def _write_keys(folder: Path, port: int, told: dict[str, Any]) -> Path:
    from peak_trade.durable import write_text

    place = folder / f"{port}.json"
    write_text(place, json.dumps(told, indent=2) + "\n")
    place.chmod(0o600)
    return place
