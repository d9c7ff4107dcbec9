"""Runs, trials and sessions for tests, and statements past our own code."""

import random
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from tests.paths import ROOT

from peak_trade.journal.registry import stamp
from peak_trade.journal.run import Run, RunStatus, Trial, Tried
from peak_trade.journal.session import SESSION_TYPES, Session
from peak_trade.model.clock import IdSource, MachineClock

IDS = IdSource(MachineClock(), random.Random())
NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
HOURS = Tried(symbol="BTC/EUR", timeframe="1h", first=100, last=200, terms={"fee_bps": 26})


def a_run(**changes: Any) -> Run:
    run = Run(
        run_id=IDS.next_run(),
        run_type="backtest",
        status=RunStatus.COMPLETED,
        strategy="ma_crossover",
        symbol="BTC/EUR",
        timeframe="1h",
        params={"fast_window": 20},
        spec={"strategy": "ma_crossover"},
        dataset_sha256="d" * 64,
        config_sha256="c" * 64,
        code_version="abc",
        code_clean=True,
        versions={"numpy": "2"},
        started_at=stamp(NOW),
        process=1,
        metrics={"sharpe": 1.5},
        tags=("one",),
    )
    return replace(run, **changes)


def a_trial(number: int, **params: object) -> Trial:
    return Trial(number=number, params=params or {"w": number}, metrics={"sharpe": None})


def a_session(account: str = "main", run_type: str = "live_session_shadow", **changes: Any) -> Session:
    """Return a session that has not begun; *changes* may be of the session or of its run."""
    own = {name: value for name, value in changes.items() if name in Session.__dataclass_fields__}
    of_run = {name: value for name, value in changes.items() if name not in own}
    run = a_run(**{"run_type": run_type, "status": RunStatus.STARTED, "metrics": {}} | of_run)
    session = Session(
        run=run,
        mode=SESSION_TYPES[run_type].value,
        tier="core",
        account=account,
        host="here",
        journal=f"var/journal/{run.run_id}.jsonl",
        feed={"kind": "replay", "file": "bars.csv"},
        cli_args=("shadow", "--account", account),
        notes="first try",
    )
    return replace(session, **own)


def execute(url: str, *statements: str) -> list[Any]:
    """Run statements on the database without our code; return the rows of the last."""
    engine = sa.create_engine(url)
    rows: list[Any] = []
    try:
        with engine.begin() as connection:
            for statement in statements:
                result = connection.exec_driver_sql(statement)
                rows = [tuple(row) for row in result] if result.returns_rows else []
    finally:
        engine.dispose()
    return rows


def start(code: str, *arguments: str) -> "subprocess.Popen[str]":
    """Start Python code as a process of its own."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=ROOT, **pipes)
