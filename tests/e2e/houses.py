"""Project folders for the dashboard's tests: one with everything in it, and sessions put into a registry at once."""

import os
import random
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.contract.rows import IDS, a_session
from tests.dashboard import Served, serving
from tests.paths import ROOT

from peak_trade.cli.main import main
from peak_trade.compose import Parts
from peak_trade.journal.registry import stamp
from peak_trade.journal.run import RunStatus
from peak_trade.journal.session import Session
from peak_trade.journal.sessions import SessionFilter
from peak_trade.settings import PATH_VARIABLE

#: A session over recorded bars that takes a moment and trades a little.
QUICK = ("session", "run", "--strategy", "ma_crossover", "--speed", "max", "--steps", "300", "--no-html")
#: One whose orders the limits refuse.
BLOCKED = ("session", "run", "--strategy", "rsi_reversion", "--speed", "max", "--steps", "300", "--position-fraction", "0.5")
TYPES = ("live_session_shadow", "shadow_run", "live_session_testnet", "live_session_shadow_live", "live_session_live")
FIGURES = ("realized_pnl", "fees_paid", "num_orders", "num_fills", "orders_blocked_risk")


@dataclass
class House:
    """A dashboard with everything in it.

    Attributes:
        real: ids of the sessions that really ran, the oldest first.
        runs: ids of a backtest, another one and a sweep.
        sessions: every session of the registry.
    """

    served: Served
    folder: Path
    real: list[str]
    runs: list[str]
    sessions: list[Session] = field(default_factory=list)


def command(*arguments: str) -> None:
    """Run `peak-trade` in this process; it must succeed."""
    with pytest.MonkeyPatch.context() as patch:
        # A session writes down how it was called.
        patch.setattr(sys, "argv", ["peak-trade", *arguments])
        assert main(arguments) == 0, arguments


@contextmanager
def at_home(folder: Path) -> Iterator[None]:
    """Be in a project folder of the delivered configuration, on a disk that need not be waited for."""
    shutil.copy(ROOT / "config.toml", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _handle: None)
        patch.delenv(PATH_VARIABLE, raising=False)
        patch.chdir(folder)
        yield


def configure(folder: Path, section: str, **values: object) -> None:
    """Write values into a section of the configuration; True and False as TOML has them."""
    told = "".join(f"{name} = {str(value).lower() if isinstance(value, bool) else value}\n" for name, value in values.items())
    path = folder / "config.toml"
    text = path.read_text()
    lines = [line for line in text.split("\n") if not any(line.startswith(f"{name} =") for name in values)]
    path.write_text("\n".join(lines).replace(f"[{section}]\n", f"[{section}]\n{told}"))
    assert f"[{section}]\n{told}" in path.read_text()


def put(parts: Parts, status: str = "completed", account: str = "main", run_type: str = TYPES[0], **changes: Any) -> str:
    """Put a session into the registry; figures may be given as `metrics`, the moment it began as `at`; return its id."""
    at: datetime = changes.pop("at", parts.clock.now())
    told = {name: changes.pop(name, default) for name, default in (("metrics", {}), ("summary", {}), ("error", None))}
    begun = parts.sessions.begin(a_session(account, run_type, started_at=stamp(at), **changes), at, 30.0)
    if status != "started":
        parts.sessions.finish(begun.session_id, RunStatus(status), at=at, elapsed_s=1.5, **told)
    return str(begun.session_id)


def crowd(parts: Parts, count: int = 40) -> None:
    """Put sessions of all kinds into the registry, with many equal values, and some without any."""
    draw = random.Random(4)
    now = parts.clock.now()
    for number in range(count):
        figures = {name: draw.choice([-2.5, -0.0, 0.0, 3.0, 1e-9]) for name in FIGURES if draw.random() < 0.7}
        name = put(
            parts,
            draw.choice(["completed", "failed", "aborted"]) if number < count - 2 else "started",
            draw.choice("abc") if number < count - 2 else f"running{number}",
            draw.choice(TYPES),
            run_id=IDS.next_run(),
            strategy=draw.choice(["macd", "breakout", "macd+breakout"]),
            symbol=draw.choice(["BTC/EUR", "ETH/EUR", "BTC/USD"]),
            env_name=draw.choice(["local", "vault"]),
            at=now - timedelta(days=draw.choice([0, 0, 1, 2, 3])),
            tags=("even",) if number % 2 == 0 else ("odd", "a b&c"),
            notes="Every Third" if number % 3 == 0 else "50% off_road",
            metrics=figures,
            error="the venue said no" if number % 7 == 0 else None,
        )
        if number % 5 == 0 and parts.sessions.get(name).run.status is RunStatus.FAILED:
            parts.sessions.acknowledge(name, "maria", "seen", now)


def built(folder: Path) -> tuple[list[str], list[str]]:
    """Let sessions, backtests and a sweep run in a folder; return the ids of the sessions and of the runs."""
    from peak_trade.settings import load_config

    command(*QUICK, "--tag", "real", "--notes", "the first of all")
    command("session", "shadow", "--strategy", "rsi_reversion", "--end", "2024-01-02", "--account", "other", "--no-html")
    command(*BLOCKED, "--no-html")
    command("backtest", "--strategy", "ma_crossover", "--tag", "first")
    other = ("--param", "fast_window=5", "--symbol", "SYN/USD", "--timeframe", "1m", "--no-tear-sheet")
    command("backtest", "--strategy", "ma_crossover", *other)
    (folder / "sweep.toml").write_text(
        '[sweep]\nstrategy = "ma_crossover"\n[grid]\nfast_window = [5, 10]\nslow_window = [20, 40]\n'
    )
    command("sweep", "--config", "sweep.toml")
    parts = Parts(load_config())
    try:
        real = [str(one.session_id) for one in parts.sessions.find(SessionFilter(), 10)][::-1]
        runs = [str(parts.registry.get(name).run_id) for name in ("latest:sweep", "latest:backtest")]
        runs.append(str(parts.registry.find(_tagged("first"), 1)[0].run_id))
        return real, runs[::-1]
    finally:
        parts.close()


@contextmanager
def a_house(folder: Path) -> Iterator[House]:
    """Serve a dashboard with sessions and runs of every kind; ten rows are a page."""
    with at_home(folder):
        configure(folder, "dashboard", page_size=10)
        real, runs = built(folder)
        with serving(str(folder / "config.toml")) as served:
            crowd(served.parts)
            yield House(served, folder, real, runs, served.parts.sessions.find(SessionFilter(), 1_000))


def _tagged(tag: str) -> Any:
    from peak_trade.journal.registry import RunFilter

    return RunFilter(run_type="backtest", tag=tag)
