"""`peak-trade gate`: what the gates ask, and whether a permit is one."""

from pathlib import Path
from typing import Annotated

import typer

from peak_trade.cli import options
from peak_trade.model.errors import SafetyRefused

app = typer.Typer(help="Gates between the stages.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Gates between the stages."""


@app.command()
def explain(
    step: Annotated[str, typer.Argument(metavar="STEP", help="Such as 'shadow->testnet', in quotes.")],
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Tell what a step up the ladder asks: every criterion, what may prove it, and who decides."""
    from peak_trade.cli.show import document, printable, table
    from peak_trade.runs import gates
    from peak_trade.settings import load_config

    found = gates.explain(load_config(config).root, gates.rung_named(step))
    if as_json:
        print(document(found))
        return
    print(f"{found['step']}: decided by {', '.join(found['deciders'])}, each another person, and not by who asks")
    print(f"a permit lasts {found['permit_days']} days at most; too little data is inconclusive, and that is never pass")
    print("there must be people in governance/roles.toml for every role that decides\n")
    rows = [
        (item["id"] if number == 0 else "", ("hard" if item["hard"] else "soft") if number == 0 else "", words)
        for item in found["criteria"]
        for number, words in enumerate([item["words"], *_details(item)])
    ]
    print(printable(table(["criterion", "", "asks"], rows)))


@app.command("verify")
def verify_command(
    permit: Annotated[Path, typer.Argument(metavar="PERMIT", help="File of a permit.")],
    dossier: Annotated[
        Path | None, typer.Option("--dossier", help="File it is checked from; default the one beside it, *.dossier.json.")
    ] = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Check a permit without a network: signatures, people, bytes and dates; exit code 3 where it is none."""
    from peak_trade.cli.show import document, sentence
    from peak_trade.model.clock import MachineClock
    from peak_trade.runs import gates
    from peak_trade.settings import load_config

    found = gates.check_permit(load_config(config).root, permit, dossier, MachineClock().now())
    if as_json:
        objections = [item._asdict() for item in found.objections]
        facts = {"good": found.permit is not None, "objections": objections, "not_seen": list(gates.NOT_SEEN)}
        print(document(facts))
    else:
        for item in found.objections:
            print(sentence(f"{item.code}: {item.words}"))
    if found.permit is None:
        codes = ", ".join(sorted({item.code for item in found.objections}))
        raise SafetyRefused(f"expected a good permit in {permit}, found one with objections: {codes}; ask for another")
    if not as_json:
        said = found.permit.document
        print(
            f"the permit {found.permit.id[:12]} is good: {said.strategy.key} in {said.stage.value} on {said.account} for "
            f"{', '.join(said.symbols)}, until {said.until:%F %T} UTC"
        )
        print(f"not seen from these files: {'; '.join(gates.NOT_SEEN)}")


def _details(item: "dict[str, object]") -> list[str]:
    """Return what a criterion takes, a line each."""
    kinds, needs = item["evidence"], item["needs"]
    which = "the newest run" if item["newest"] else "all runs"
    names = " or ".join(map(str, kinds)) if isinstance(kinds, list) else ""
    lines = [f"  {line}" for line in needs] if isinstance(needs, list) else []
    return [f"  from {names}: {which} of the last {item['max_age_days']} days", *lines]
