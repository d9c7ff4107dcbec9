"""A project folder of its own for each test, and the command as a function and as a process."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from tests.builders import some_bars
from tests.paths import ROOT

from peak_trade.cli.main import main
from peak_trade.settings import PATH_VARIABLE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Project:
    """A folder with a configuration, and commands that run in it."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capture = folder, capture

    def run(self, *arguments: str) -> Ended:
        """Run `peak-trade` in this process."""
        self.capture.readouterr()
        code = main(arguments)
        out, err = self.capture.readouterr()
        return Ended(code, out, err)

    def start(self, *arguments: str, script: str | None = None, **options: Any) -> subprocess.Popen[str]:
        """Start `peak-trade`, or a script of the playbook, as a process of its own."""
        door = [str(ROOT / "scripts" / script)] if script else ["-m", "peak_trade"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        return subprocess.Popen([sys.executable, *door, *arguments], cwd=self.folder, **pipes)

    def bars(self, name: str = "bars.csv", count: int = 500, seed: int = 7, **changes: Any) -> Path:
        """Write a file of hourly bars."""
        frame = some_bars(count, seed=seed, gap=0.001).to_polars()
        frame = frame.with_columns(pl.col("timestamp").dt.epoch("s"))
        frame = frame.with_columns(**{k: pl.Series(np.asarray(v)) for k, v in changes.items()})
        path = self.folder / name
        frame.write_parquet(path) if path.suffix == ".parquet" else frame.write_csv(path)
        return path

    def sweep_file(self, grid: str, options: str = "", strategy: str = "ma_crossover", name: str = "sweep.toml") -> Path:
        """Write a sweep file."""
        path = self.folder / name
        path.write_text(f'[sweep]\nstrategy = "{strategy}"\n{options}\n[grid]\n{grid}\n')
        return path


@pytest.fixture
def project(tmp_path, monkeypatch, capsys) -> Project:
    shutil.copy(ROOT / "config.toml", tmp_path)
    monkeypatch.delenv(PATH_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path, capsys)


@pytest.fixture
def browser(tmp_path: Path, socket_enabled: None) -> Iterator["BrowserContext"]:
    """A fresh browser; playwright speaks to it over a socket of this machine."""
    from playwright.sync_api import sync_playwright
    from tests.e2e.pages import ARGUMENTS, CHROMIUM

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=CHROMIUM,
            args=ARGUMENTS,
            viewport={"width": 1280, "height": 900},
            color_scheme="light",
        )
        yield context
        context.close()


@pytest.fixture
def troubles(browser: "BrowserContext") -> list[str]:
    """Everything that must not happen: errors on the console, exceptions, requests beyond the file itself."""
    found: list[str] = []
    browser.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    browser.on("weberror", lambda error: found.append(str(error.error)))
    browser.on("request", lambda request: None if request.url.startswith(("file:", "data:")) else found.append(request.url))
    return found


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    """A browser for a whole module; each test has windows of its own in it."""
    from playwright.sync_api import sync_playwright
    from tests.e2e.pages import ARGUMENTS, CHROMIUM

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()
