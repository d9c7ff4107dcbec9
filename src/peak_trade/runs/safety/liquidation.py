"""The emergency liquidation (playbook 6.3, scenario C): kill switch, every order, every position, then read-only.

Invariant: every account is held before the exchange has answered, and only the restart procedure lifts that; releasing the kill
switch does not.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from peak_trade.compose import Parts
from peak_trade.durable import write_text
from peak_trade.journal.chain import accounts
from peak_trade.journal.operators import ACCOUNT
from peak_trade.model.clock import moment_text, nanoseconds
from peak_trade.model.errors import PeakTradeError
from peak_trade.runs.holds_kept import PLACED, placed_fact
from peak_trade.runs.record import Json
from peak_trade.runs.safety.kill import StopReport, see_through
from peak_trade.runs.safety.kill_first import Begun
from peak_trade.safety.holds import Hold, HoldKind

#: The code of a liquidation's holds.
LIQUIDATED = "liquidated"


class Liquidation(NamedTuple):
    """What came of it: the report, the accounts that are held now, and the files that tell it."""

    report: StopReport
    held: tuple[str, ...]
    files: tuple[Path, ...]


def liquidate(parts: Parts, begun: Begun) -> Liquidation:
    """Hold every account while everything is got off the exchange, and write a report; what went wrong is in it."""
    held: list[str] = []
    by, why = begun.order.by, begun.order.why
    placed: list[Json] = []
    report = see_through(parts, begun, lambda: _hold_all(parts, by, why, held, placed), {PLACED: placed})
    return Liquidation(report, tuple(held), tuple(_written(parts, report, by, why, held)))


def every_account(parts: Parts) -> list[str]:
    """Return every account that a session of this installation may run on: those with a journal, and those configured."""
    file = parts.settings.file
    found = {file.shadow_paper.account, file.governance.account}
    found |= {name for name in accounts(parts.journal) if name != ACCOUNT}
    return sorted(found)


def _hold_all(parts: Parts, by: str, why: str, held: list[str], placed: list[Json]) -> list[str]:
    """Hold every account that no liquidation holds yet; return in sentences what went wrong."""
    troubles, now = [], parts.clock.now()
    try:
        names = every_account(parts)
    except PeakTradeError as error:
        names = [parts.settings.file.shadow_paper.account, parts.settings.file.governance.account]
        troubles.append(f"not every account could be found to be held: {error}")
    plain = Hold(moment_text(nanoseconds(now)), by, why, HoldKind.PAUSE, LIQUIDATED)
    for account in names:
        # The key that would be traded with now is held by the account it is configured for, also where it never traded.
        hold = plain._replace(keys=_present_key(parts)) if account == parts.settings.file.governance.account else plain
        try:
            if not any(one.code == LIQUIDATED for one in parts.holds.of(account)):
                placed.append(placed_fact(account, parts.holds.place(account, hold, now)))
            held.append(account)
        except PeakTradeError as error:
            troubles.append(f"the account {account} could not be held, only the kill switch keeps sessions from it: {error}")
    return troubles


def _present_key(parts: Parts) -> tuple[str, ...]:
    try:
        return (parts.api_keys().short,)
    except PeakTradeError:
        return ()


def _written(parts: Parts, report: StopReport, by: str, why: str, held: Iterable[str]) -> list[Path]:
    """Write the report as JSON and as Markdown; where the disk refuses, that becomes part of it."""
    now = parts.clock.now()
    folder = parts.settings.folder(parts.settings.file.paths.reports) / "liquidations"
    stem = folder / f"{now:%Y%m%dT%H%M%S}{now.microsecond:06d}Z"
    at = moment_text(nanoseconds(now))
    body = {"written_at": at, "ordered_by": by, "reason": why, "held": list(held), **report.to_json()}
    texts = {".json": json.dumps(body, indent=2, allow_nan=False) + "\n", ".md": _markdown(report, by, why, held, at)}
    files = []
    for suffix, text in texts.items():
        try:
            write_text(path := stem.with_suffix(suffix), text)
            files.append(path)
        except PeakTradeError as error:
            report.troubles.append(f"the report could not be written: {error}")
            break
    return files


def _markdown(report: StopReport, by: str, why: str, held: Iterable[str], at: str) -> str:
    """Return the report for people."""
    failure = report.failure()
    outcome = "Nothing is left: no working order, no position." if failure is None else f"**Not done**: {_cell(str(failure))}."
    lines = [
        f"# Liquidation, {at}",
        "",
        f"Ordered by {_cell(by)}: {_cell(why)}",
        "",
        outcome,
        "",
        *(f"    {line}" for line in report.lines()),
        "",
        f"Held until the restart: {', '.join(held) or 'nothing'}.",
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Return text on one line in which nothing is markup."""
    plain = " ".join(text.split())
    return "".join(f"\\{mark}" if mark in "\\`*_{}[]<>#|!" else mark for mark in plain)
