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
from peak_trade.model.errors import CheckFailed, InputError, PeakTradeError

if TYPE_CHECKING:
    from peak_trade.runs.drills.evidence import DrillEvidence, DrillStanding
    from peak_trade.runs.drills.register import Drill

#: What the table says of the drill that needs a strategy where none was given.
SKIPPED = "skipped: needs --strategy"
SEED_MOST = 2**31 - 1

app = typer.Typer(
    help="Drills: what has to work in an emergency, tried on purpose.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def _group() -> None:
    """Drills: what has to work in an emergency, tried on purpose."""


@app.command("list")
def list_command(config: options.ConfigFile = None, as_json: options.JsonOut = False) -> None:
    """Show each drill: when it last ran, how it ended, and until when that counts."""
    from peak_trade.cli.show import document
    from peak_trade.runs.drills.evidence import standings

    with closing(options.open_parts(config)) as parts:
        found = standings(parts)
    if as_json:
        print(document({"drills": [standing.to_json() for standing in found]}))
    else:
        _print_standings(found)


@app.command()
def run(
    name: Annotated[str | None, typer.Argument(metavar="[DRILL]", help="As drill list shows them.")] = None,
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
    from peak_trade.runs.drills.register import ORDER_LIFE

    drills = _chosen(name, every=every)
    with_orders = any(drill.run is None for drill in drills)
    given = {"--strategy": strategy, "--param": param, "--symbol": symbol, "--timeframe": timeframe, "--orders": orders}
    if not with_orders and (extra := [option for option, value in given.items() if value]):
        raise InputError(f"expected {extra[0]} with {ORDER_LIFE}, found it with {drills[0].name}; leave it out")
    if with_orders and strategy is None and not (every and not any(given.values())):
        raise InputError(f"expected --strategy NAME for {ORDER_LIFE}, found none; peak-trade strategies list shows them")
    if not 0 <= seed <= SEED_MOST:
        raise InputError(f"expected --seed from 0 to {SEED_MOST}, found {seed}; correct it")
    from peak_trade.runs.acts import machine_user
    from peak_trade.runs.drills.evidence import OrderLifeRequest, drill_done, order_life_drill, order_terms, standings

    who = options.check_name(by, "--by", machine_user())
    with closing(options.open_parts(config)) as parts, _interruptible():
        terms = None
        if strategy is not None:
            request = OrderLifeRequest(
                strategy=strategy,
                params=options.parse_params(param or []),
                symbol=symbol or "BTC/EUR",
                timeframe=timeframe or "1m",
                orders=50 if orders is None else orders,
            )
            # Before anything runs: a wrong word must not come out after a minute.
            terms = order_terms(parts, request, seed)
        if every:
            standings(parts)

        def work(drill: "Drill") -> "DrillEvidence | None":
            if drill.run is not None:
                return drill_done(parts, drill, who, seed)
            return None if terms is None else order_life_drill(parts, terms, who)

        found = [(drill, _ran(drill, work, as_json=as_json, every=every)) for drill in drills]
        table = standings(parts) if every else []
    _tell(found, table, as_json=as_json, every=every)


def _tell(
    found: "Sequence[tuple[Drill, DrillEvidence | str]]", table: "Sequence[DrillStanding]", *, as_json: bool, every: bool
) -> None:
    """Show the table, or all of it as a document.

    Raises:
        CheckFailed: a drill did not pass.
    """
    from peak_trade.cli.show import document

    done = [one for _, one in found if not isinstance(one, str)]
    failed = [
        f"the drill {one.result.drill} to pass, found {one.result.first_failure}" for one in done if not one.result.passed
    ]
    failed += [f"the drill {drill.name} to run, found {one}" for drill, one in found if isinstance(one, str) and one != SKIPPED]
    if as_json:
        told = [one.to_json() for one in done]
        rows = [one.to_json() for one in table]
        skipped = {drill.name: one for drill, one in found if isinstance(one, str)}
        whole = {"passed": not failed, "drills": told, "not_done": skipped, "standings": rows}
        print(document(whole if every else told[0]), flush=True)
    elif every:
        _print_table(found, table)
    if failed:
        raise CheckFailed(f"expected {failed[0]}" + (f"; {len(failed) - 1} more failed" if failed[1:] else ""))


def _chosen(name: str | None, *, every: bool) -> "tuple[Drill, ...]":
    """Return which drills are meant.

    Raises:
        InputError: none, or a wrong one.
    """
    from peak_trade.runs.drills.register import DRILLS, drill_named

    if every and name is not None:
        raise InputError(f"expected --all or a drill, found both; leave out {name}")
    if every:
        return DRILLS
    if name is None:
        names = ", ".join(drill.name for drill in DRILLS)
        raise InputError(f"expected one of the drills {names}, or --all, found none; choose one")
    return (drill_named(name),)


def _ran(
    drill: "Drill", work: "Callable[[Drill], DrillEvidence | None]", *, as_json: bool, every: bool
) -> "DrillEvidence | str":
    """Run a drill and show what it came to; return in words why it was not done, which with *every* keeps no other from it."""
    print(f"{drill.name} runs for about {drill.takes_s} s, apart from the team's sessions", file=sys.stderr, flush=True)
    try:
        found = work(drill)
    except PeakTradeError as error:
        if not every:
            raise
        return str(error)
    if found is None:
        return SKIPPED
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


def _print_table(found: "Sequence[tuple[Drill, DrillEvidence | str]]", standings: "Sequence[DrillStanding]") -> None:
    """Show what came of each drill, and until when that counts at the least."""
    from peak_trade.cli.show import printable, table

    rows = []
    for drill, one in found:
        if isinstance(one, str):
            rows.append((drill.name, one if one == SKIPPED else "not run", "-", "-", "-"))
            continue
        ends = [row.until for row in standings if row.drill == one.result.drill and row.until is not None]
        outcome, seconds = "passed" if one.result.passed else "FAILED", sum(step.seconds for step in one.result.steps)
        rows.append((drill.name, outcome, f"{seconds:.1f}", one.evidence, f"{min(ends):%F %T}" if ends else "-"))
    print(printable(table(["drill", "outcome", "s", "evidence", "counts until, UTC"], rows, right=(2,))), flush=True)


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
