"""`peak-trade drill`: what is tried on purpose, and how old each try is."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options
from peak_trade.model.errors import CheckFailed, InputError

if TYPE_CHECKING:
    from peak_trade.runs.drills import DrillEvidence, DrillStanding

KILL_SWITCH, ORDER_LIFE = "kill-switch", "order-life"
NAMES = (KILL_SWITCH, ORDER_LIFE)
SEED_MOST = 2**31 - 1

app = typer.Typer(
    help="Drills: what has to work in an emergency, tried on purpose.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def _group() -> None:
    """Drills: what has to work in an emergency, tried on purpose."""


@app.command("list")
def list_command(config: options.ConfigFile = None, as_json: options.JsonOut = False) -> None:
    """Show each drill that a gate asks for: when it last ran, how it ended, and until when that counts."""
    from peak_trade.cli.show import document
    from peak_trade.runs.drills import standings

    with closing(options.open_parts(config)) as parts:
        found = standings(parts)
    if as_json:
        print(document({"drills": [standing.to_json() for standing in found]}))
    else:
        _print_standings(found)


@app.command()
def run(
    name: Annotated[str | None, typer.Argument(metavar="[DRILL]", help="kill-switch or order-life.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Run every drill, also after one that failed.")] = False,
    strategy: Annotated[str | None, typer.Option("--strategy", help="Whose orders go through their life.")] = None,
    param: Annotated[list[str] | None, typer.Option("--param", help="NAME=VALUE of the strategy; repeatable.")] = None,
    symbol: Annotated[str | None, typer.Option("--symbol", help="Pair of the emulator.")] = None,
    timeframe: options.TimeframeName = None,
    orders: Annotated[int | None, typer.Option("--orders", help="How many the exchange is to have at least; 50.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the emulated market and of the order of cases.")] = 7,
    by: options.ByName = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Run a drill in a folder and at an exchange of its own, and write down what it came to; exit code 1 if it failed."""
    from peak_trade.cli.show import document

    names = _names(name, every=every)
    given = {"--strategy": strategy, "--param": param, "--symbol": symbol, "--timeframe": timeframe, "--orders": orders}
    if ORDER_LIFE not in names and (extra := [option for option, value in given.items() if value]):
        raise InputError(f"expected {extra[0]} with {ORDER_LIFE}, found it with {names[0]}; leave it out")
    if ORDER_LIFE in names and strategy is None:
        raise InputError(f"expected --strategy NAME for {ORDER_LIFE}, found none; peak-trade strategies list shows them")
    if not 0 <= seed <= SEED_MOST:
        raise InputError(f"expected --seed from 0 to {SEED_MOST}, found {seed}; correct it")
    from peak_trade.runs.acts import machine_user
    from peak_trade.runs.drills import OrderLifeRequest, kill_switch_drill, order_life_drill, order_terms, standings

    who = options.check_name(by, "--by", machine_user())
    with closing(options.open_parts(config)) as parts, _interruptible():
        work: dict[str, Callable[[], DrillEvidence]] = {KILL_SWITCH: lambda: kill_switch_drill(parts, who, seed)}
        if ORDER_LIFE in names:
            request = OrderLifeRequest(
                strategy=strategy or "",
                params=options.parse_params(param or []),
                symbol=symbol or "BTC/EUR",
                timeframe=timeframe or "1m",
                orders=50 if orders is None else orders,
            )
            # Before anything runs: a wrong word must not come out after a minute.
            terms = order_terms(parts, request, seed)
            work[ORDER_LIFE] = lambda: order_life_drill(parts, terms, who)
        if every:
            standings(parts)
        found = [_ran(one, work[one], as_json=as_json) for one in names]
        table = standings(parts) if every else []
    if as_json:
        told = [one.to_json() for one in found]
        rows = [one.to_json() for one in table]
        passed = all(one.result.passed for one in found)
        print(document({"passed": passed, "drills": told, "standings": rows} if every else told[0]), flush=True)
    elif every:
        _print_standings(table)
    if failed := [one.result for one in found if not one.result.passed]:
        raise CheckFailed(f"expected every step of the drill {failed[0].drill} to pass, found {failed[0].first_failure}")


def _names(name: str | None, *, every: bool) -> tuple[str, ...]:
    """Return which drills are meant.

    Raises:
        InputError: none, or a wrong one.
    """
    if every and name is not None:
        raise InputError(f"expected --all or a drill, found both; leave out {name}")
    if every:
        return NAMES
    if name not in NAMES:
        told = "none" if name is None else repr(name[:40])
        raise InputError(f"expected one of the drills {', '.join(NAMES)}, or --all, found {told}; choose one")
    return (name,)


def _ran(name: str, work: "Callable[[], DrillEvidence]", *, as_json: bool) -> "DrillEvidence":
    """Run a drill and show what it came to."""
    print(f"{name} runs for about a minute, apart from the team's sessions", file=sys.stderr, flush=True)
    found = work()
    if not as_json:
        _print(found)
    return found


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end a drill as Ctrl+C does: with nothing of it left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _print(found: "DrillEvidence") -> None:
    from peak_trade.cli.show import printable, sentence, table

    result = found.result
    rows = [(step.name, step.outcome, f"{step.seconds:.1f}", sentence(step.found)) for step in result.steps]
    facts = [f"  {name}: {value}" for name, value in result.facts.items() if name not in ("drill", "passed", "first_failure")]
    lines = [
        table([result.drill, "outcome", "s", "found"], rows, right=(2,)),
        "",
        f"{result.drill} {'passed' if result.passed else 'failed'}; evidence {found.evidence}",
        *facts,
        "",
    ]
    print(printable("\n".join(lines)), flush=True)


def _print_standings(found: "Sequence[DrillStanding]") -> None:
    from peak_trade.cli.show import table

    rows = [
        (
            one.drill,
            one.step,
            one.words,
            "-" if one.last is None else f"{one.last:%F %T}",
            "-" if one.last is None else "passed" if one.passed else "failed",
            f"{one.max_age.days}",
            "-" if one.until is None else f"{one.until:%F %T}",
            one.about,
        )
        for one in found
    ]
    print(table(["drill", "step", "standing", "last, UTC", "result", "days", "counts until", "version"], rows, right=(5,)))
