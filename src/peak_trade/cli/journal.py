"""`peak-trade journal`: prove that nothing in the journals was changed, and that nothing is missing."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from peak_trade.cli import options
from peak_trade.model.errors import CheckFailed

app = typer.Typer(help="Check the journals of accounts.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Check the journals of accounts."""


@app.command()
def verify(
    account: Annotated[str | None, typer.Option("--account", help="Only this account; default all.")] = None,
    public_key: Annotated[
        Path | None, typer.Option("--public-key", help="Key to check signatures with, such as a copy kept elsewhere.")
    ] = None,
    config: options.ConfigFile = None,
    as_json: options.JsonOut = False,
) -> None:
    """Check every record, link and signed head, and what the registry remembers; tell which record is wrong."""
    from peak_trade.cli.show import document, printable, table
    from peak_trade.runs.holds_kept import lost_holds
    from peak_trade.runs.journal_check import verify_journals

    with closing(options.open_parts(config)) as parts:
        found = verify_journals(parts, account, public_key)
        where, lost = parts.journal, [str(item) for item in lost_holds(parts, account)]
    flaws = [flaw for report in found for flaw in report.flaws]
    intact, complete = all(report.intact for report in found), all(report.complete for report in found)
    if as_json:
        from dataclasses import asdict

        accounts = [asdict(report) | {"intact": report.intact, "complete": report.complete} for report in found]
        print(document({"intact": intact, "complete": complete, "lost_holds": lost, "accounts": accounts}))
    elif not found:
        print(
            f"no journal in {where} yet; make one with: peak-trade session run --strategy ma_crossover --steps 100 --speed max"
        )
    else:
        rows = [
            (
                report.account,
                f"{len(report.segments):,}",
                f"{sum(part.records for part in report.segments):,}",
                "yes" if report.intact else "NO",
                "yes" if report.complete else "NO",
            )
            for report in found
        ]
        print(table(["account", "sessions", "records", "unchanged", "complete"], rows, right=(1, 2)))
        for flaw in flaws:
            place = f"record {flaw.seq}" if flaw.seq is not None else "the whole file"
            print(f"{flaw.code}: session {flaw.segment}, {place}: {printable(flaw.words)}")
        for words in lost:
            print(f"lost_hold: {printable(words)}, is gone from the disk")
    if not (intact and complete):
        what = " and ".join([*(["changed"] if not intact else []), *(["cut short"] if not complete else [])])
        raise CheckFailed(
            f"expected journals that are unchanged and complete, found one that was {what}; keep the files as they are, "
            "and find out who had access to them"
        )
    if lost:
        raise CheckFailed(
            f"expected every hold that the journal of acts tells of, found {len(lost)} gone from the disk: {lost[0]}; no "
            "session begins until peak-trade resume ACCOUNT put it back and led through the restart"
        )
