"""The dashboard over the parts of one configuration.

Invariant: what is handed to it reads; the two things that it may do are an operator's, and are journalled as such.
"""

import os
import random
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from peak_trade.compose import Parts
from peak_trade.journal.run import Run, RunStatus
from peak_trade.journal.session import Session
from peak_trade.model.errors import CheckFailed, ConfigError
from peak_trade.model.kill_level import KillLevel
from peak_trade.runs import operators
from peak_trade.runs.gates.locks import locks_of
from peak_trade.runs.gates.view import gates_of
from peak_trade.runs.overview.safety import safety_of
from peak_trade.runs.record import COMBINATORIAL, SWEEP, WALK_FORWARD
from peak_trade.runs.research.again import remake_report
from peak_trade.runs.research.backtest import TEAR_SHEET
from peak_trade.runs.research.combinatorial import FAN_SHEET
from peak_trade.runs.research.sweep import SWEEP_SHEET
from peak_trade.runs.research.walk_forward import WALK_SHEET
from peak_trade.runs.safety import kill
from peak_trade.runs.sessions.view import Viewer
from peak_trade.runs.testnet.health import check_all
from peak_trade.settings import load_config

if TYPE_CHECKING:
    from fastapi import FastAPI

    from peak_trade.webui.desk import Desk

#: How an action here is told from one at the terminal.
VIA = "dashboard"
#: How far the dashboard's process steps back; 0 is like everyone, 19 is last.
NICE = 10


def configured_app() -> "FastAPI":
    """Return the dashboard for the configuration of this folder; without one, end the process with one sentence."""
    try:
        parts = Parts(load_config())
    except ConfigError as error:
        print(f"peak-trade: {error}", file=sys.stderr)  # noqa: T201 - a server that is being started has no other place
        sys.exit(error.exit_code)
    give_way()
    return app_over(parts)


def give_way() -> None:
    """Let trading sessions of this machine have the processor first."""
    with suppress(AttributeError, OSError):
        os.nice(NICE)


def app_over(parts: Parts) -> "FastAPI":
    """Return the dashboard over *parts*."""
    from peak_trade.webui.app import make_app

    return make_app(desk_over(parts))


def desk_over(parts: Parts) -> "Desk":
    """Return what the dashboard is given."""
    from peak_trade.webui.desk import Actions, Desk

    return Desk(
        settings=parts.settings,
        clock=parts.clock,
        randomness=random.SystemRandom(),
        open_registry=lambda: parts.registry,
        open_sessions=lambda: parts.sessions,
        open_operators=lambda: parts.operators,
        reports=parts.reports,
        stages=tuple(stage.value for stage in parts.stages()),
        actions=Actions(
            kill=lambda by, why, level: kill.kill(parts, by, why, VIA, KillLevel(level)),
            acknowledge=lambda session_id, by, note: operators.acknowledge(parts, session_id, by, note, VIA),
        ),
        tripped=parts.kill_switch.state,
        locks=lambda: locks_of(parts),
        view=Viewer(parts).view,
        sheet=lambda run: sheet_of(parts, run),
        growth=lambda session: journal_bytes(parts, session),
        health=lambda: check_all(parts),
        gates=gates_of(parts),
        safety=safety_of(parts),
        config_changed=ChangedFile(parts.settings.path, parts.settings.text).changed,
    )


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """Tells whether a file no longer holds the text that was read from it."""

    path: Path
    text: str

    def changed(self) -> bool:
        """Return whether it is gone or other."""
        try:
            return self.path.read_text("utf-8") != self.text
        except (OSError, UnicodeDecodeError):
            return True


def journal_bytes(parts: Parts, session: Session) -> int:
    """Return the size of a session's journal; 0 where there is none."""
    try:
        return (parts.journal / session.account / f"{session.session_id}.jsonl").stat().st_size
    except (OSError, ValueError):
        return 0


def sheet_of(parts: Parts, run: Run) -> str:
    """Return the report of a completed backtest or sweep; where its folder has none, the run is done again and drawn there.

    Raises:
        CheckFailed: it never finished, or does not come out the same.
    """
    if run.status is not RunStatus.COMPLETED:
        raise CheckFailed(f"expected a completed run, found {run.run_id}, which is {run.status.value}; it has no report")
    sheets = {SWEEP: SWEEP_SHEET, WALK_FORWARD: WALK_SHEET, COMBINATORIAL: FAN_SHEET}
    path = parts.reports / run.run_id / sheets.get(run.run_type, TEAR_SHEET)
    with suppress(OSError, UnicodeDecodeError):
        if drawn := path.read_text("utf-8").strip():
            return drawn
    return remake_report(parts, run.run_id).read_text("utf-8")
