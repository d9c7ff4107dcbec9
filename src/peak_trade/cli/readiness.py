"""`peak-trade readiness`: whether this installation is ready for a stage."""

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options
from peak_trade.model.errors import CheckFailed, InputError

if TYPE_CHECKING:
    from peak_trade.compose import Parts
    from peak_trade.model.stage import Stage
    from peak_trade.runs.testnet.readiness import Line

#: How states look on a terminal.
COLOURS = {"ok": "32", "warning": "33", "failed": "31", "unknown": "35"}


def command(
    stage: Annotated[str | None, typer.Option("--stage", help="shadow, testnet, shadow-live or live.")] = None,
    emulator: Annotated[
        bool, typer.Option("--emulator", help="Ask an emulated exchange of this run, with keys of its own.")
    ] = False,
    run_tests: Annotated[
        bool, typer.Option("--run-tests", help="Run the stage's tests first, and remember the result.")
    ] = False,
    all_tests: Annotated[
        bool, typer.Option("--all-tests", help="Run all tests first, as every gate asks, and write the result down for it.")
    ] = False,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Check everything that a stage needs; exit code 1 where something keeps it from being ready."""
    from peak_trade.runs.testnet.profile import at_exchange
    from peak_trade.runs.testnet.readiness import check_stage
    from peak_trade.runs.testnet.readiness_checks import CHECKS

    wanted = _stage(stage)
    with closing(options.open_parts(config)) as given:
        if run_tests or all_tests:
            _run_tests(given, wanted, every=all_tests)
        with at_exchange(given, emulated=emulator) as parts:
            lines = check_stage(parts, wanted, CHECKS)
    _print_lines(lines, wanted, as_json)
    if blocking := [line.name for line in lines if line.blocks]:
        raise CheckFailed(
            f"expected everything that {wanted.value} needs, found {len(blocking)} of {len(lines)} checks not passed "
            f"({', '.join(blocking)}); do what stands beside each, then check again"
        )


def _stage(text: str | None) -> "Stage":
    from peak_trade.model.stage import Stage

    names = {stage.value.replace("_", "-"): stage for stage in Stage if stage is not Stage.RESEARCH}
    found = names.get((text or "").strip().lower().replace("_", "-"))
    if found is None:
        raise InputError(f"expected --stage {', '.join(names)}, found {text or 'none'}; choose one")
    return found


def _run_tests(parts: "Parts", stage: "Stage", *, every: bool) -> None:
    from peak_trade.runs.testnet.readiness_checks import try_tests

    try_tests(parts, stage, lambda words: print(words, file=sys.stderr, flush=True), every=every)


def _print_lines(lines: "list[Line]", stage: "Stage", as_json: bool) -> None:
    from peak_trade.cli.show import document, printable, sentence

    ready = not any(line.blocks for line in lines)
    if as_json:
        print(document({"stage": stage.value, "ready": ready, "checks": [line.to_json() for line in lines]}))
        return
    print(f"readiness for {stage.value}")
    widest = max(len(line.name) for line in lines)
    for line in lines:
        grade = line.seen.grade.value
        word = f"\033[{COLOURS[grade]}m{grade:<8}\033[0m" if sys.stdout.isatty() else f"{grade:<8}"
        print(f"{line.name:<{widest}}  {word} {sentence(line.seen.found)}")
        if line.seen.todo:
            print(f"{'':<{widest}}           -> {printable(line.seen.todo)}")
    counts = {grade: sum(line.seen.grade.value == grade for line in lines) for grade in COLOURS}
    print(", ".join(f"{count} {grade}" for grade, count in counts.items() if count) + (": ready" if ready else ": NOT ready"))
