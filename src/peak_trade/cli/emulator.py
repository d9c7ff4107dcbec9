"""`peak-trade emulator`: a Kraken-compatible exchange on this machine."""

import json
import random
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, Any

import typer

from peak_trade.cli import options
from peak_trade.cli.serving import listener_at, serve_until_stopped
from peak_trade.model.errors import InputError, NotFound

app = typer.Typer(help="Serve a Kraken-compatible exchange for tests, offline.", no_args_is_help=True, rich_markup_mode=None)

fault_app = typer.Typer(help="Make the exchange fail on command.", no_args_is_help=True, rich_markup_mode=None)
scenario_app = typer.Typer(help="Faults at times, from a file.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(fault_app, name="fault")
app.add_typer(scenario_app, name="scenario")

Port = Annotated[int, typer.Option("--port", min=0, max=65_535, help="Port; 0 takes a free one.")]
DEFAULT_PORT = 8790
#: Under which the keys file has the control token; no key has this name.
CONTROL = "control"


@app.command()
def serve(
    port: Port = DEFAULT_PORT,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    pairs: Annotated[str | None, typer.Option("--pairs", help="Pairs with commas between, such as BTC/EUR,ETH/EUR.")] = None,
    market: Annotated[str, typer.Option("--market", help="synthetic: made-up order flow; replay: recorded.")] = "synthetic",
    data: Annotated[list[str] | None, typer.Option("--data", help="FILE or PAIR=FILE to replay; repeatable.")] = None,
    start: Annotated[str | None, typer.Option("--from", help="Row or time (UTC) at which a replay begins.")] = None,
    clock: Annotated[str, typer.Option("--clock", help="now, or data: its clock begins at the recorded time.")] = "now",
    state: Annotated[Path | None, typer.Option("--state", help="File in which it keeps what it must not forget.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the market and of every name.")] = 7,
    speed: Annotated[float, typer.Option("--speed", min=0.01, max=10_000, help="How much faster its clock goes.")] = 1.0,
    tier: Annotated[str, typer.Option("--tier", help="Rate limits: starter, intermediate or pro.")] = "intermediate",
    tell_faults: Annotated[bool, typer.Option("--tell-faults", help="Name faults in answers' X-Emu-Fault.")] = False,
    config: options.ConfigFile = None,
) -> None:
    """Serve the exchange until Ctrl+C; `peak-trade emulator keys` prints the keys of this run."""
    choice = _choice(pairs, market, seed, speed, tier)
    with closing(options.open_parts(config)) as parts:
        folder = parts.state / "emulator"
        choice = _replayed(choice, parts, market, pairs, data, start, clock)
    with ExitStack() as open_things:
        opened = _opened(choice, state, open_things)
        opened.emulator.faults.telling = tell_faults
        _serve(opened, folder, host, port)


def _serve(opened: Any, folder: Path, host: str, port: int) -> None:
    listener = listener_at(host, port)
    number = listener.getsockname()[1]
    told: dict[str, Any] = {name: _told(key) for name, key in opened.keys.items()}
    place = _write_keys(folder, number, told | {CONTROL: {"token": opened.control_token, "host": listener.getsockname()[0]}})
    if not host.startswith("127.") and host not in ("localhost", "::1"):
        print(f"WARNING: {host} can be reached from the network; the emulator's keys are no secrets", file=sys.stderr)
    try:
        serve_until_stopped(
            opened.emulator.app(),
            listener,
            "emulator: {}, /v2 and /auth/v2; this is not Kraken (Ctrl+C ends it)".format,
            ending=opened.emulator.end,
            # A ping of the server's would break a silence that a fault asks for.
            pings=False,
        )
    finally:
        place.unlink(missing_ok=True)


def _opened(choice: Any, state: Path | None, open_things: ExitStack) -> Any:
    from peak_trade.emulator.opening import open_emulator

    keeper = None
    if state is not None:
        from peak_trade.emulator.keeping import Keeper
        from peak_trade.emulator.statefile import StateFile

        file = StateFile(state)
        open_things.callback(file.close)
        keeper = Keeper(file)
    return open_emulator(
        choice, time.time_ns, random.SystemRandom(), keeper, lambda text: print(text, file=sys.stderr, flush=True)
    )


@app.command()
def keys(port: Port = DEFAULT_PORT, config: options.ConfigFile = None, as_json: options.JsonOut = False) -> None:
    """Print the keys of the emulator that serves on a port."""
    told = _read_keys(port, config)
    told.pop(CONTROL, None)
    if as_json:
        print(json.dumps(told, indent=2))
        return
    for name, key in told.items():
        print(f"{name}: key {key['key']}\n{' ' * len(name)}  secret {key['secret']}")


@fault_app.command("add")
def fault_add(
    name: Annotated[str, typer.Argument(help="Name in the catalogue, such as rest.timeout_after.")],
    endpoint: Annotated[str | None, typer.Option("--endpoint", help="REST method, such as AddOrder.")] = None,
    channel: Annotated[str | None, typer.Option("--channel", help="Channel of a stream, such as book.")] = None,
    method: Annotated[str | None, typer.Option("--method", help="Method of a stream, such as subscribe.")] = None,
    pair: Annotated[str | None, typer.Option("--pair", help="Pair, by any of its names.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="Name of a key, such as trading.")] = None,
    count: Annotated[int | None, typer.Option("--count", min=1, help="How often it strikes.")] = None,
    rate: Annotated[float | None, typer.Option("--rate", min=0, max=1, help="How likely it strikes.")] = None,
    for_s: Annotated[float | None, typer.Option("--for", min=0, help="How long it lasts, seconds.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of its chance.")] = None,
    arg: Annotated[list[str] | None, typer.Option("--arg", help="What it does in detail, name=value; repeatable.")] = None,
    port: Port = DEFAULT_PORT,
    config: options.ConfigFile = None,
) -> None:
    """Set a fault; without --count, --rate or --for it strikes once, or stays where its kind does."""
    if wrong := [one for one in arg or [] if "=" not in one]:
        raise InputError(f"expected --arg name=value, found {wrong[0]!r}; write both")
    match = {"endpoint": endpoint, "channel": channel, "method": method, "pair": pair, "key": key}
    told = {
        "name": name,
        "match": {what: value for what, value in match.items() if value is not None},
        "args": dict(one.split("=", 1) for one in arg or []),
    }
    lasts = {"count": count, "rate": rate, "for_s": for_s, "seed": seed}
    found = _control(port, config, "POST", "faults", told | {what: value for what, value in lasts.items() if value is not None})
    print(f"{found['id']}: {_fault_words(found)}")


@fault_app.command("list")
def fault_list(
    port: Port = DEFAULT_PORT,
    config: options.ConfigFile = None,
    catalogue: Annotated[bool, typer.Option("--catalogue", help="Print what faults there are instead.")] = False,
    as_json: options.JsonOut = False,
) -> None:
    """Print the faults that are set, or the catalogue."""
    told = _control(port, config, "GET", "faults")
    found = told["catalogue" if catalogue else "faults"]
    if as_json:
        print(json.dumps(found, indent=2))
    elif catalogue:
        for name, kind in found.items():
            args = "".join(f" {what}={value}" for what, value in kind["args"].items())
            print(f"{name:<32} {kind['does']}{'  [' + args.strip() + ']' if args else ''}")
    else:
        for one in found:
            print(f"{one['id']}: {_fault_words(one)}")


@fault_app.command("clear")
def fault_clear(
    number: Annotated[int | None, typer.Argument(min=1, help="The fault's number; all without one.")] = None,
    port: Port = DEFAULT_PORT,
    config: options.ConfigFile = None,
) -> None:
    """End one fault, or all that are set or planned."""
    found = _control(port, config, "DELETE", "faults" if number is None else f"faults?id={number}")
    if number is not None and not found["cleared"]:
        raise NotFound(f"expected fault {number} to be set, found that it is not; peak-trade emulator fault list")
    print(f"cleared: {found['cleared']}")


@scenario_app.command("run")
def scenario_run(
    file: Annotated[Path, typer.Argument(help="JSON lines: a fault each, with at_s, seconds from now.")],
    port: Port = DEFAULT_PORT,
    config: options.ConfigFile = None,
) -> None:
    """Plan the faults of a file; all of them, or none where a line is wrong."""
    try:
        texts = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"expected to read {file}, found that it can't be read ({error}); give another file") from error
    lines = []
    for number, text in enumerate(texts, 1):
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        try:
            lines.append(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise InputError(f"expected JSON in line {number} of {file}, found {text[:40]!r}; correct it") from error
    print(f"planned: {_control(port, config, 'POST', 'scenario', {'lines': lines})['planned']}")


@app.command()
def log(
    follow: Annotated[bool, typer.Option("--follow", help="Go on until Ctrl+C.")] = False,
    after: Annotated[int, typer.Option("--after", min=0, help="Only lines with a larger number.")] = 0,
    port: Port = DEFAULT_PORT,
    config: options.ConfigFile = None,
) -> None:
    """Print calls, accepted orders and faults as JSON lines."""
    while True:
        lines = _control(port, config, "GET", f"log?after={after}&wait_s={5 if follow else 0}")["lines"]
        for line in lines:
            print(json.dumps(line), flush=True)
        after = lines[-1]["number"] if lines else after
        if not lines and not follow:
            return


def _fault_words(told: dict[str, Any]) -> str:
    """Return a fault in one line."""
    words = [told["name"], *(f"{name}={value}" for name, value in (told["match"] | told["args"]).items())]
    words += [f"{name}={told[name]}" for name in ("count", "for_s") if told[name] is not None]
    words += [f"rate={told['rate']}"] if told["rate"] < 1 else []
    return f"{' '.join(words)} (struck {told['struck']})"


def _read_keys(port: int, config: Path | None) -> dict[str, Any]:
    with closing(options.open_parts(config)) as parts:
        place = parts.state / "emulator" / f"{port}.json"
    if not place.exists():
        raise NotFound(f"expected an emulator on port {port}, found none; peak-trade emulator serve --port {port}")
    told: dict[str, Any] = json.loads(place.read_text("utf-8"))
    return told


def _control(port: int, config: Path | None, method: str, path: str, told: Any = None) -> Any:
    """Ask the emulator on a port, through its control interface; return its answer.

    Raises:
        NotFound: there is none. InputError: it refuses.
    """
    import http.client

    control = _read_keys(port, config)[CONTROL]
    # Whatever it listens on besides, its control answers on this machine only.
    host = control["host"] if control["host"] not in ("0.0.0.0", "::") else "127.0.0.1"  # noqa: S104 - read, not bound
    asked = http.client.HTTPConnection(host, port, timeout=30)
    try:
        body = None if told is None else json.dumps(told)
        asked.request(method, f"/_ctl/{path}", body, {"X-Control-Token": control["token"]})
        answer = asked.getresponse()
        found = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotFound(f"expected an emulator on port {port}, found no answer ({error}); serve it again") from error
    finally:
        asked.close()
    if answer.status != 200:
        raise InputError(str(found.get("error")))
    return found


def _choice(pairs: str | None, market: str, seed: int, speed: float, tier: str) -> Any:
    from peak_trade.emulator.counters import TIERS
    from peak_trade.emulator.opening import EmulatorChoice
    from peak_trade.emulator.pairs import PAIRS, pair_of

    if market not in ("synthetic", "replay"):
        raise InputError(f"expected --market synthetic or replay, found {market!r}; choose one")
    if tier not in TIERS:
        raise InputError(f"expected --tier to be one of {', '.join(TIERS)}, found {tier!r}; choose one")
    names = list(PAIRS)
    if pairs is not None:
        found = [(name, pair_of(name.strip().upper())) for name in pairs.split(",")]
        if unknown := [name for name, pair in found if pair is None]:
            raise InputError(f"expected pairs of {', '.join(PAIRS)}, found {', '.join(unknown)}; choose among them")
        names = [pair.symbol for _, pair in found if pair is not None]
    return EmulatorChoice(pairs=tuple(dict.fromkeys(names)), seed=seed, speed=speed, tier=tier)


def _replayed(
    choice: Any, parts: Any, market: str, pairs: str | None, data: list[str] | None, start: str | None, clock: str
) -> Any:
    """Return a choice with what is to be replayed, if anything is."""
    if clock not in ("now", "data"):
        raise InputError(f"expected --clock now or data, found {clock!r}; choose one")
    if market != "replay":
        if data or start is not None or clock != "now":
            raise InputError("expected --data, --from and --clock with --market replay only, found them without; add it")
        return choice
    if not data:
        raise InputError("expected --data FILE with --market replay, found none; name a file of bars or trades")
    from dataclasses import replace

    from peak_trade.runs.testnet.recordings import read_recordings

    found = read_recordings(parts, data, choice.pairs if pairs is not None else ())
    names = tuple(one.symbol for one in found)
    return replace(choice, pairs=names, recordings=found, begin=_begin(start, found), data_clock=clock == "data")


def _begin(start: str | None, recordings: Any) -> int | None:
    """Return the recorded time that `--from` names: that of a row of the first recording, counted from 1, or a time."""
    from peak_trade.model.clock import nanoseconds, parse_moment

    if start is None:
        return None
    if start.isascii() and start.isdigit() and len(start) < 8:
        rows = recordings[0].at
        if not 1 <= int(start) <= len(rows):
            raise InputError(f"expected --from to be a row from 1 to {len(rows)}, found {start}; choose one of them")
        return int(rows[int(start) - 1])
    try:
        return nanoseconds(parse_moment(start))
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"expected --from to be a row or a time such as 2024-01-31T13:00, found {start!r}; correct it"
        ) from error


def _told(key: Any) -> dict[str, str]:
    return {"key": key.id, "secret": key.secret_text}


def _write_keys(folder: Path, port: int, told: dict[str, Any]) -> Path:
    from peak_trade.durable import write_text

    place = folder / f"{port}.json"
    # The folder first: nobody else may look in while the file is not yet its owner's alone.
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    write_text(place, json.dumps(told, indent=2) + "\n")
    place.chmod(0o600)
    return place
