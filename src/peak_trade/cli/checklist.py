"""`peak-trade checklist`: the list of a step, filled in from evidence, finished by people, checked and archived."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options
from peak_trade.model.errors import CheckFailed, InputError

if TYPE_CHECKING:
    from peak_trade.compose import Parts
    from peak_trade.governance.checklists import ChecklistLook
    from peak_trade.governance.criteria import Ruling
    from peak_trade.governance.ladder import Rung
    from peak_trade.governance.requests import Promotion
    from peak_trade.strategy.base import Strategy

app = typer.Typer(help="Checklists of the steps up the ladder.", no_args_is_help=True, rich_markup_mode=None)
File = Annotated[Path, typer.Argument(metavar="FILE", help="A checklist that `checklist new` made.")]


@app.command("new")
def make_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as shadow_to_testnet, or 'shadow->testnet' in quotes.")],
    strategy: Annotated[str, typer.Option("--strategy", help="Key or other name of the strategy that is to climb.")],
    param: Annotated[list[str] | None, typer.Option("--param", help="NAME=VALUE; repeatable.")] = None,
    symbol: Annotated[list[str] | None, typer.Option("--symbol", help="Pair; repeatable. Default: those it trades.")] = None,
    account: Annotated[str | None, typer.Option("--account", help="Default: governance.account.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; default reports/checklists/open_NAME_STRATEGY.md.")
    ] = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Make the checklist of a step: measured points filled in from evidence, the others left to people."""
    from peak_trade.cli.show import document
    from peak_trade.governance.checklists import checklist_rung
    from peak_trade.runs import checklists
    from peak_trade.runs.gates.named_climb import named_climb
    from peak_trade.runs.gates.record import gate_record

    rung = checklist_rung(name)
    given = options.parse_params(param or [])
    with closing(options.open_parts(config)) as parts:
        owner = _account(account, parts.settings.file.governance.account)
        record = gate_record(parts)
        rule, climb = named_climb(parts, record, rung, strategy, params=given, symbols=symbol or (), account=owner)
        target = None if out is None else options.full_path(out)
        options.check_outputs(parts, [], [target])
        request, rulings = _look(parts, rung, rule, owner, climb.symbols)
        path = checklists.make_checklist(parts, request, rulings, target)
        found = checklists.check_file(parts, path)
    if as_json:
        print(document({"file": str(path), **checklists.look_facts(found)}))
        return
    print(f"{found.head.checklist} {found.head.version} for {found.head.strategy} on {found.head.account}: {path}")
    _print_open(found)
    print(f"fill it in, then: peak-trade checklist check {path}")


@app.command("check")
def check_command(file: File, config: options.ConfigFile = None, as_json: options.JsonOut = False) -> None:
    """Name every point of a checklist that is open; exit code 1 where there is one."""
    from peak_trade.cli.show import document
    from peak_trade.runs import checklists

    with closing(options.open_parts(config)) as parts:
        found = checklists.check_file(parts, file)
    if as_json:
        print(document({"file": str(file), **checklists.look_facts(found)}))
    else:
        _print_open(found)
    if not found.complete:
        raise _still_open(file, found)
    if not as_json:
        print(f"{found.head.checklist} {found.head.version} is complete; sha256 {found.sha256}")


@app.command("archive")
def archive_command(
    file: File, by: options.ByName = None, config: options.ConfigFile = None, as_json: options.JsonOut = False
) -> None:
    """Keep a complete checklist, read-only, below reports/checklists; one with open points is not taken."""
    from peak_trade.cli.show import document
    from peak_trade.runs import acts, checklists

    who = options.check_name(by, "--by", acts.machine_user())
    with closing(options.open_parts(config)) as parts:
        found = checklists.check_file(parts, file)
        if not found.complete:
            if as_json:
                print(document({"file": str(file), **checklists.look_facts(found)}))
            else:
                _print_open(found)
            raise _still_open(file, found)
        kept = checklists.archive(parts, file, who)
    if as_json:
        print(document({"file": str(kept.path), "sha256": kept.sha256, "was_there": kept.kept}))
    elif kept.kept:
        print(f"the same bytes are archived already: {kept.path}")
    else:
        print(f"archived: {kept.path}")


@app.command("list")
def list_command(config: options.ConfigFile = None, as_json: options.JsonOut = False) -> None:
    """List the templates with their versions, and what is archived and whether it still is what was archived."""
    from peak_trade.cli.show import document, table
    from peak_trade.runs import checklists

    with closing(options.open_parts(config)) as parts:
        found = checklists.list_checklists(parts)
    templates = [
        {
            "checklist": item.head.checklist,
            "step": item.head.step.value,
            "version": item.head.version,
            "measured": sum(point.measured for point in item.points),
            "by_hand": sum(not point.measured for point in item.points),
            "sha256": item.sha256,
        }
        for item in found.templates
    ]
    if as_json:
        archived = [item._asdict() for item in found.archived]
        print(document({"templates": templates, "archived": archived, "trouble": found.trouble}))
    else:
        rows = [[str(item[name]) for name in ("checklist", "step", "version", "measured", "by_hand")] for item in templates]
        print(table(["checklist", "step", "version", "measured", "by hand"], rows, right=(3, 4)))
        print()
        if found.archived:
            print(table(["archived", "sha256", ""], [[item.file, item.sha256[:12], item.state] for item in found.archived]))
        else:
            print("nothing is archived yet")
    if found.trouble:
        raise CheckFailed(found.trouble)
    if wrong := [item.file for item in found.archived if item.state != "as recorded"]:
        raise CheckFailed(
            f"expected archived checklists as they were recorded, found others: {', '.join(wrong)}; ask who archives"
        )


def _look(
    parts: "Parts", rung: "Rung", strategy: "Strategy", account: str, symbols: Sequence[str]
) -> "tuple[Promotion, Sequence[Ruling]]":
    """Return the draft of the request and what every criterion of the step comes to now."""
    from peak_trade.runs.gates.climb import Climb, look_at_gate, rules_of
    from peak_trade.runs.gates.record import gate_record
    from peak_trade.runs.strategy_version import version_of

    climb = Climb(rung=rung, version=version_of(strategy), account=account, symbols=tuple(symbols))
    found = look_at_gate(parts, climb, rules_of(parts), gate_record(parts), parts.clock.now())
    return found.request, found.rulings


def _account(given: str | None, usual: str) -> str:
    """Return the account that is meant.

    Raises:
        InputError: documents can't name it.
    """
    import msgspec

    from peak_trade.governance.documents import Name

    name = usual if given is None else given
    try:
        return msgspec.convert(name, Name)
    except msgspec.ValidationError:
        raise InputError(
            f"expected letters, digits, '.', '_' or '-' as --account, at most 64, found {name!r}; correct it"
        ) from None


def _print_open(found: "ChecklistLook") -> None:
    from peak_trade.cli.show import printable

    for item in found.open_points:
        print(printable(f"open: {item.point}: {item.why}"))


def _still_open(file: Path, found: "ChecklistLook") -> CheckFailed:
    return CheckFailed(
        f"expected a checklist without open points in {file}, found {len(found.open_points)}; fill in what is named, then "
        "check again"
    )
