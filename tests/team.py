"""A team's folder for the tests of gates: people with real keys, a strategy that earns, and a clock that can be moved.

Everything in it is made by the product's own commands; only the clock is the test's.
"""

import hashlib
import json
import math
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from tests.paths import ROOT

from peak_trade import compose
from peak_trade.cli.main import main
from peak_trade.compose import Parts
from peak_trade.governance.criteria import EvidenceKind
from peak_trade.model.clock import MachineClock
from peak_trade.runs.acts import tell_evidence
from peak_trade.settings import load_config

SYMBOL = "BTC/EUR"
PARAMS = ("--param", "fast_window=2", "--param", "slow_window=6")
#: Who there is: `dana` asks.
PEOPLE = {
    "olga": ("owner",),
    "rita": ("reviewer",),
    "rudi": ("risk_officer",),
    "zoe": ("second_person",),
    "dana": ("developer", "owner"),
}
BEGIN = datetime(2026, 3, 2, 9, tzinfo=UTC)


class MovedClock(MachineClock):
    """A clock that shows what a test says, and goes on from there."""

    def __init__(self, at: datetime) -> None:
        self.set(at)

    def set(self, at: datetime) -> None:
        """Show another moment from now on."""
        self._ahead = at - MachineClock.now(self)

    def now(self) -> datetime:
        """Return the present of the test."""
        return MachineClock.now(self) + self._ahead


class Team:
    """A folder with configuration, data, governance and keys."""

    def __init__(self, folder: Path, monkeypatch: Any, capture: Any, begin: datetime = BEGIN) -> None:
        self.folder, self.capture = folder, capture
        self.clock = MovedClock(begin)
        monkeypatch.setattr(compose, "MachineClock", lambda: self.clock)
        # What is on the disk after a crash is tested elsewhere; here it only takes time.
        monkeypatch.setattr(os, "fsync", lambda _handle: None)
        # One other process instead of six: what they find out is tested elsewhere.
        monkeypatch.setattr("peak_trade.research.determinism.SEEDS", ())
        monkeypatch.setattr("peak_trade.model.clock.MachineClock", lambda: self.clock)
        monkeypatch.chdir(folder)
        shutil.copytree(ROOT / "governance", folder / "governance")
        shutil.copy(ROOT / "config.toml", folder)
        for name in PEOPLE:
            self.key(name)
        self.name(PEOPLE)
        self.write_bars()

    def write(self, name: str, text: str) -> Path:
        """Write a file of the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def key(self, name: str) -> Path:
        """Return somebody's private key, made by ssh-keygen."""
        path = self.folder / "keys" / name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path], check=True)
        return path

    def name(self, people: dict[str, tuple[str, ...]], extra: str = "") -> None:
        """Write the roles."""
        parts = [
            f'[[person]]\nid = "{name}"\nname = "{name.title()} Example"\nroles = {json.dumps(roles)}\n'
            f"[[person.key]]\nline = {json.dumps(self.key(name).with_suffix('.pub').read_text().strip())}"
            for name, roles in people.items()
        ]
        self.write("governance/roles.toml", "\n".join(parts) + extra)

    def write_bars(self) -> None:
        """Write daily bars in which a crossover of averages earns: waves about a rising line."""
        count = 700
        days = np.arange(count)
        close = 100.0 * np.exp(0.001 * days) * (1 + 0.2 * np.sin(days * 2 * math.pi / 20))
        opened = np.concatenate([[close[0]], close[:-1]])
        first = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
        frame = pl.DataFrame(
            {
                "timestamp": first + days * 86_400,
                "open": opened,
                "high": np.maximum(opened, close) * 1.001,
                "low": np.minimum(opened, close) * 0.999,
                "close": close,
                "volume": np.full(count, 1_000.0),
            }
        )
        frame.write_csv(self.folder / "bars.csv")

    def run(self, *arguments: object) -> tuple[int, str, str]:
        """Run a command; return exit code, output and what it said."""
        self.capture.readouterr()
        code = main([str(item) for item in arguments])
        out, err = self.capture.readouterr()
        return code, out, err

    def do(self, *arguments: object) -> str:
        """Run a command that must succeed; return its output."""
        code, out, err = self.run(*arguments)
        assert code == 0, (arguments, code, out, err)
        return out

    def json(self, *arguments: object) -> Any:
        """Run a command that prints a document; return that, whatever the exit code."""
        _, out, err = self.run(*arguments, "--json")
        assert out, err
        return json.loads(out)

    @cached_property
    def parts(self) -> Parts:
        """The parts of the folder."""
        return Parts(load_config(self.folder / "config.toml"))

    def later(self, **span: float) -> None:
        """Let time go by."""
        self.clock.set(self.clock.now() + timedelta(**span))

    # ---- evidence ----------------------------------------------------------------------------------------------------

    def backtest(self) -> None:
        """Run the backtest that a gate reads."""
        self.do("backtest", "--strategy", "ma_crossover", *PARAMS, "--data", "bars.csv", "--symbol", SYMBOL, "--no-tear-sheet")

    def proofs(self) -> None:
        """Have causality and warm-up proven."""
        self.do("strategy", "check", "ma_crossover", *PARAMS, "--data", "bars.csv", "--symbol", SYMBOL, "--cuts", "24")

    def tests_passed(self, failed: int = 0, code: str | None = None, *, clean: bool = True) -> str:
        """Write down that the tests ran, as `readiness --run-tests` does."""
        from peak_trade.compose import code_sha256

        facts = {"suite": "all", "code_sha256": code or code_sha256(), "failed": failed, "passed": 7_000, "clean": clean}
        return tell_evidence(self.parts, EvidenceKind.TEST_RUN, facts, None, "ci")

    def shadow(self, *more: str) -> None:
        """Run a shadow session over the bars."""
        words = ["--strategy", "ma_crossover", *PARAMS, "--data", "bars.csv", "--symbol", SYMBOL, "--speed", "max", "--no-html"]
        self.do("session", "run", *words, *more)

    def weeks_of_shadow(self, days: int = 15, every: int = 1) -> None:
        """Run a short session every so many days."""
        for _ in range(0, days, every):
            self.shadow("--steps", "120")
            self.later(days=every)

    # ---- gates -------------------------------------------------------------------------------------------------------

    def checklist(self, name: str, by: str = "rita") -> Path:
        """Make a checklist and fill in everything that people fill in."""
        path = self.folder / "reports" / "checklists" / f"open_{name}_ma_crossover.md"
        path.unlink(missing_ok=True)
        self.do("checklist", "new", name, "--strategy", "ma_crossover", *PARAMS, "--symbol", SYMBOL)
        self.fill(path, by)
        return path

    def fill(self, path: Path, by: str) -> None:
        """Tick every point that is a person's, with name, date and note."""
        said = {"- name:": by, "- date:": f"{self.clock.now():%Y-%m-%d}", "- note:": "looked at it"}
        lines = [
            f"{line.rstrip()} {said[line.strip()]}" if line.strip() in said else line.replace("[ ] (by hand)", "[x] (by hand)")
            for line in path.read_text().splitlines()
        ]
        path.write_text("\n".join(lines) + "\n")

    def ask(self, step: str, *more: str, by: str = "dana") -> str:
        """Ask for a step; return the id of the request."""
        words = [
            "gate",
            "request",
            step,
            "--strategy",
            "ma_crossover",
            *PARAMS,
            "--symbol",
            SYMBOL,
            "--by",
            by,
            "--key",
            self.key(by),
            *more,
        ]
        code, out, err = self.run(*words, "--json")
        assert code == 0, err
        return str(json.loads(out)["id"])

    def sign(self, request: str, *people: str) -> None:
        """Sign a request as people."""
        for name in people:
            self.do("gate", "approve", request, "--key", self.key(name))

    def name_deviation(self, path: Path, criterion: str, deviation: Path) -> None:
        """Name a deviation in a checklist's point, as a person does."""
        lines = path.read_text().splitlines()
        at = next(number for number, line in enumerate(lines) if f"**{criterion}**" in line)
        lines[at] = lines[at].replace("[ ]", "[x]")
        place = next(number for number in range(at, len(lines)) if lines[number].strip() == "- deviation:")
        lines[place] += " " + hashlib.sha256(deviation.read_bytes()).hexdigest()
        path.write_text("\n".join(lines) + "\n")

    def ready_for_shadow(self) -> None:
        """Make everything that the first step asks, the checklist filled in."""
        self.backtest()
        self.proofs()
        self.tests_passed()
        self.checklist("research_to_shadow")

    def climb_to_shadow(self) -> Any:
        """Take the first step; return what was decided."""
        self.ready_for_shadow()
        request = self.ask("research->shadow")
        self.sign(request, "olga")
        return self.json("gate", "decide", request)

    def climb_to_testnet(self) -> Any:
        """Take the second step, where its evidence is there; return what was decided."""
        self.checklist("shadow_to_testnet")
        request = self.ask("shadow->testnet")
        self.sign(request, "olga", "rita")
        return self.json("gate", "decide", request)
