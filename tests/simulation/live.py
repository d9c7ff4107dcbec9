"""A session in time, as a process of its own: it is watched through its journal, and never waited for blindly."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.paths import ROOT
from tests.simulation.world import ACCOUNT

#: Longest wait for anything; reached only where something is broken.
PATIENCE_S = 60
_DOOR = [sys.executable, str(ROOT / "scripts" / "run_execution_session.py")]
_WORDS = (
    "--strategy ma_crossover --param fast_window=2 --param slow_window=3 --symbol BTC/EUR --timeframe 1m --side both "
    f"--stop-loss 0.002 --warmup-candles 20 --no-html --account {ACCOUNT}"
).split()


def environment() -> dict[str, str]:
    """Return what a process of a test may see of this one's environment."""
    return {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": os.environ.get("PATH", "")}


class Live:
    """A session process."""

    def __init__(self, folder: Path, *more: str, speed: str = "2000", signals: str = "") -> None:
        """Start it; *signals* are those that it sends itself, see `command.Sender`."""
        self.folder = folder
        door = [sys.executable, "-m", "tests.simulation.command", signals] if signals else _DOOR
        self.process = subprocess.Popen(
            [
                *door,
                *_WORDS,
                "--speed",
                speed,
                "--config",
                str(folder / "config.toml"),
                "--data",
                str(folder / "BTC-EUR.parquet"),
                *more,
            ],
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Live":
        return self

    def __exit__(self, *_error: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Wait until the process has ended; return exit code, stdout and stderr."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out, err

    def wait_for_orders(self, count: int = 2) -> None:
        """Wait until the journal has so many orders."""
        until(lambda: len(self.records("sending")) >= count, self.process)

    def records(self, kind: str) -> list[dict[str, Any]]:
        """Return the whole records of a kind in the newest journal."""
        folder = self.folder / "var" / "journal" / ACCOUNT
        paths = sorted(path for path in folder.glob("*.jsonl") if ".heads" not in path.name)
        lines = paths[-1].read_text().splitlines(keepends=True) if paths else []
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [record for record in found if record["kind"] == kind]


def until(happened: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> Any:
    """Look until something has happened, and return it; a deadline and the process's death end it."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := happened()):
        assert time.monotonic() < deadline, "it never happened"
        assert process is None or process.poll() is None, f"the process ended: {process.communicate()}"
        time.sleep(0.01)  # between two looks; nothing is measured by it
    return found


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `peak-trade` to its end, as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "peak_trade", *words, "--config", str(folder / "config.toml")],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
