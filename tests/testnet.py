"""Testnet sessions as processes of their own, against an emulated exchange that a test serves and breaks."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.emulated import Emulated
from tests.paths import ROOT

from peak_trade.emulator.signing import ApiKey

Found = TypeVar("Found")
#: How much faster than the machine's the exchange's clock goes: a bar of a minute takes half a second.
SPEED = 120.0
#: Longest wait for anything; reached only where something is broken.
PATIENCE_S = 90
#: Averages so short cross every few bars; the same words go on with a session that died.
TERMS = (
    *("--mode", "testnet", "--strategy", "ma_crossover", "--param", "fast_window=2", "--param", "slow_window=3"),
    *("--warmup-candles", "20", "--no-html"),
)


@dataclass
class Done:
    """How a session's process ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def said(self) -> list[str]:
        """What it told the operator, without its name."""
        return [line.removeprefix("peak-trade: ") for line in self.err.splitlines()]


@dataclass
class Desk:
    """A project folder whose exchange of stage 2 is an emulator."""

    folder: Path
    exchange: Emulated
    key: ApiKey
    speed: float = SPEED
    running: list[subprocess.Popen[str]] = field(default_factory=list)
    before: int = 0

    @property
    def environment(self) -> dict[str, str]:
        """What a session's process may see: the key, and nothing of this one's."""
        return {
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
            "PATH": os.environ.get("PATH", ""),
            "KRAKEN_TESTNET_API_KEY": self.key.id,
            "KRAKEN_TESTNET_API_SECRET": self.key.secret_text,
        }

    def start(self, *more: str, faults: str = "", terms: tuple[str, ...] = TERMS) -> subprocess.Popen[str]:
        """Start a session; *faults* are signals that it sends itself, see `tests.simulation.command.Sender`."""
        door = ["tests.simulation.command", faults] if faults else ["peak_trade", "session", "run"]
        self.before = len(self.journals)
        words = [*terms, "--speed", f"{self.speed:g}", *more]
        return self.begin([sys.executable, "-m", *door, *words])

    def begin(self, command: list[str]) -> subprocess.Popen[str]:
        """Start a process in the folder; it does not outlive the desk."""
        process = subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.running.append(process)
        return process

    def run(self, *more: str, faults: str = "", terms: tuple[str, ...] = TERMS) -> Done:
        """Run a session to its end."""
        return self.end(self.start(*more, faults=faults, terms=terms))

    def command(self, *words: str) -> Done:
        """Run `peak-trade`, or a script of the playbook, to its end."""
        door = [str(ROOT / words[0])] if words[0].startswith("scripts/") else ["-m", "peak_trade", words[0]]
        return self.end(self.begin([sys.executable, *door, *words[1:]]))

    def end(self, process: subprocess.Popen[str]) -> Done:
        """Wait until a process has ended."""
        out, err = process.communicate(timeout=PATIENCE_S)
        self.running.remove(process)
        return Done(process.returncode, out, err)

    def fault(self, name: str, **told: Any) -> int:
        """Set a fault of the exchange; return its number."""
        plan = self.exchange.opened.emulator.faults
        return self.exchange.inside(lambda: plan.add({"name": name, **told}, self.exchange.opened.emulator.now()).number)

    def clear(self, number: int | None = None) -> None:
        """End a fault, or all of them."""
        opened = self.exchange.opened.emulator
        self.exchange.inside(lambda: opened.faults.clear(opened.now(), number))

    @property
    def journals(self) -> list[Path]:
        """The journals of all sessions, the oldest first."""
        found = (self.folder / "var" / "journal").glob("testnet*/*.jsonl")
        return sorted((path for path in found if ".heads" not in path.name), key=lambda path: path.name)

    def records(self, *kinds: str, every: bool = False) -> list[dict[str, Any]]:
        """Return the whole records of some kinds, or of any, in the newest journal or in *every* one."""
        found = []
        for path in self.journals if every else self.journals[-1:]:
            lines = path.read_text().splitlines(keepends=True)
            found += [json.loads(line) for line in lines if line.endswith("\n")]
        return [record for record in found if not kinds or record["kind"] in kinds]

    def wait_for(self, kind: str, count: int = 1, process: subprocess.Popen[str] | None = None) -> None:
        """Wait until the journal of the session that was started last has so many records of a kind."""
        until(lambda: len(self.journals) > self.before and len(self.records(kind)) >= count, process)

    def check_proofs(self) -> str:
        """Check that the journal verifies and that its newest session comes out again; return that session's id."""
        verified = self.command("journal", "verify")
        assert verified.code == 0, verified
        name = self.journals[-1].stem
        again = self.command("session", "replay", name, "--json")
        assert again.code == 0, again
        assert again.json["identical"], again.json
        return name


@contextmanager
def a_desk(
    folder: Path, exchange: Emulated, key: ApiKey | None = None, speed: float = SPEED, **settings: object
) -> Iterator[Desk]:
    """Make a desk in a folder; *settings* replace the first value of a name in the configuration."""
    shutil.copy(ROOT / "config.toml", folder)
    path = folder / "config.toml"
    before, section, after = path.read_text().partition("[exchange.kraken_testnet]\n")
    for name, value in {"base_url": exchange.url, "websocket_url": f"{exchange.stream}/v2"}.items():
        after = _replaced(after, name, f'"{value}"')
    text = before + section + after
    # A day's budget, the age of a price and the pause triggers of an exchange are what some tests are about, and in the way of
    # others: on a busy machine five minutes of the exchange's are over in a moment.
    ample = {
        "max_runs": 1_000,
        "max_minutes": 10_080.0,
        "max_data_age_s": 3_600,
        "api_errors_min": 1_000,
        "data_gap_s": 36_000,
    }
    for name, told in (ample | settings).items():
        text = _replaced(text, name, str(told))
    path.write_text(text)
    desk = Desk(folder, exchange, key or exchange.key(), speed)
    try:
        yield desk
    finally:
        desk.clear()
        for process in desk.running:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.communicate()


def _replaced(text: str, name: str, value: str) -> str:
    """Return a configuration with the first value of a name replaced."""
    found, count = re.subn(rf"(?m)^{name} = .*$", lambda _: f"{name} = {value}", text, count=1)
    assert count == 1, name
    return found


def until(happened: Callable[[], Found], process: subprocess.Popen[str] | None = None) -> Found:
    """Look until something has happened, and return it; a deadline and the process's death end it."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := happened()):
        assert time.monotonic() < deadline, "it never happened"
        assert process is None or process.poll() is None, f"the process ended: {process.communicate()}"
        time.sleep(0.01)  # between two looks; nothing is measured by it
    return found
