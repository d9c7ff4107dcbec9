"""`peak-trade strategy`: begin a strategy, and its check."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options
from peak_trade.cli.options import Given
from peak_trade.model.errors import CheckFailed, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peak_trade.runs.research.proofs import Proofs

app = typer.Typer(help="Begin a strategy, and prove it.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Begin a strategy, and prove it."""


@app.command("new")
def begin(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its key, such as my_idea.")],
    to: Annotated[Path, typer.Option("--to", help="Folder that the package is written into.")] = Path(),
    as_json: options.JsonOut = False,
) -> None:
    """Write a package with a rule that works, its tests and its entry point, to begin a strategy with."""
    from peak_trade.cli.show import document, printable
    from peak_trade.runs.research.skeleton import write_skeleton

    found = write_skeleton(name, options.full_path(to))
    if as_json:
        files = [str(path.relative_to(found.folder)) for path in found.files]
        print(document({"key": found.key, "class": found.kind, "folder": str(found.folder), "files": files}), flush=True)
        return
    print(printable(f"{found.kind} in {found.folder}"))
    for path in found.files:
        print(printable(f"  {path.relative_to(found.folder)}"))
    print(printable(f"what to do next: {found.folder / 'README.md'}"), flush=True)


@app.command()
def check(
    name: Annotated[str, typer.Argument(metavar="STRATEGY", help="Key or other name: peak-trade strategies list.")],
    param: Annotated[list[str] | None, typer.Option("--param", help="NAME=VALUE of the strategy; repeatable.")] = None,
    data: options.DataFile = None,
    symbol: options.SymbolName = None,
    timeframe: options.TimeframeName = None,
    start: options.StartTime = None,
    end: options.EndTime = None,
    cuts: Annotated[int, typer.Option("--cuts", help="Places at which the future is exchanged.")] = 64,
    seed: Annotated[int, typer.Option("--seed", help="Another one tries other places.")] = 1,
    by: options.ByName = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Try to prove a strategy wrong: later bars, warm-up, chance; measure frictions. Exit code 1 if a proof fails."""
    from peak_trade.cli.show import document
    from peak_trade.research.proofs import CUTS_MIN
    from peak_trade.runs.acts import machine_user
    from peak_trade.runs.research.proofs import ProofRequest, prove

    for option, value, least, most in (("--cuts", cuts, CUTS_MIN, 10_000), ("--seed", seed, 0, 2**53 - 1)):
        if not least <= value <= most:
            raise InputError(f"expected {least} to {most} as {option}, found {value}; correct it")
    given = Given(data=data, symbol=symbol, timeframe=timeframe, start=start, end=end)
    with closing(options.open_parts(config)) as parts:
        request = ProofRequest(
            strategy=name,
            params=options.parse_params(param or []),
            data=options.choose_data(parts, given),
            cuts=cuts,
            seed=seed,
            by=options.check_name(by, "--by", machine_user()),
        )
        found = prove(parts, request)
    if as_json:
        print(document(found.to_json()), flush=True)
    else:
        _print(found)
    if not found.hold:
        raise CheckFailed(
            f"expected all proofs of {found.strategy.key} to hold, found that {' and '.join(found.bad)} does not: "
            f"{found.why}; mend the strategy"
        )


def _print(found: "Proofs") -> None:
    from peak_trade.cli.show import printable, short

    causality, warmup = found.causality, found.warmup
    lines = [
        f"{found.strategy.key} {short(found.strategy.model_dump(mode='json'))}".rstrip(),
        f"{found.symbol} {found.timeframe}, {found.bars:,} bars from {found.first} to {found.last}",
        f"code {found.version.code_sha256[:12]}, parameters {found.version.params_sha256[:12]}, seed {found.seed}",
        "",
        f"causality: {'holds' if causality.causal else 'does not hold'}",
    ]
    if causality.words:
        lines.append(f"  {causality.words}")
    if causality.exposed:
        lines.append("  it shows with " + ", ".join(f"{name} {count:,}x" for name, count in causality.exposed.items()))
    lines += [
        f"  tried: {causality.cuts:,} cuts, {causality.futures:,} other futures, {causality.stretch:,} bars one by one",
        f"  its target changed {causality.changes:,} times over these bars and a made-up market",
        f"  evidence {found.evidence['causality']}",
        "",
        f"warm-up: {'long enough' if warmup.enough else 'not shown to be long enough'}; declared {warmup.declared:,} bars"
        + (f", needed {warmup.needed:,}" if warmup.needed is not None else ""),
    ]
    if warmup.trouble is not None or warmup.example:
        lines.append(f"  {warmup.trouble or warmup.example}")
    if warmup.trouble is None:
        lines.append(f"  tried: {warmup.starts:,} beginnings, windows of up to {warmup.longest:,} bars")
    if warmup.stays_out:
        lines.append(
            "  a session that begins within a position stays out of it: after the warm-up for up to "
            f"{warmup.stays_out:,} bars here"
        )
    if warmup.edges:
        lines.append(f"  {warmup.edges:,} bars were left out: their target hangs on the last digits of the prices")
    lines.append(f"  evidence {found.evidence['warmup']}")
    lines += ["", *_rest(found)]
    print(printable("\n".join(lines)), flush=True)


def _rest(found: "Proofs") -> "Iterator[str]":
    """Yield determinism, costs and the verdict."""
    from peak_trade.cli.show import table
    from peak_trade.runs.proven import CHECK

    determinism = found.determinism
    yield f"determinism: {'holds' if determinism.holds else 'does not hold'}"
    if determinism.words:
        yield f"  {determinism.words}"
    yield (
        f"  tried: asked {determinism.asked:,} times in {determinism.ways:,} ways, {determinism.processes:,} other processes "
        "among them"
    )
    yield f"  evidence {found.evidence['determinism']}"
    yield ""
    if found.costs:
        answers = {True: "stands", False: "does not stand", None: "not asked"}
        numbers = ["n/a" if line.found is None else f"{line.found:.3f}" for line in found.costs]
        rows = [
            (line.title, number, f"{line.sense} {line.limit:g}", answers[line.holds])
            for line, number in zip(found.costs, numbers, strict=True)
        ]
        yield table(["frictions", "found", "limit", "result"], rows)
        yield from (f"  {line.title.lower()}: {line.words}" for line in found.costs)
        yield ""
    yield f"{found.verdict}; evidence {found.evidence[CHECK]}"
