"""The commands in README and guides work as written."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.paths import ROOT

from peak_trade.engine import records
from peak_trade.journal.verify import ALTERED, MISSING, NOTES
from peak_trade.model.order import LIFE
from peak_trade.risk.gate import CODES

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(page: Path) -> list[str]:
    """Return the lines of all bash blocks, without comments."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text("utf-8"), flags=re.S)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A folder with what a checkout has besides the code, so that runs do not touch the real one."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copy(ROOT / "config.toml", folder)
    shutil.copytree(ROOT / "config" / "sweeps", folder / "config" / "sweeps")
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_on_the_page_works(page, checkout):
    """Each command of a page, run in its order, ends with exit code 0."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    failed = []
    for command in commands(page):
        words = shlex.split(command)
        if words[0] == "make":
            failed += [command] if words[1] not in targets else []
            continue
        if words[0] == "source":
            continue
        ended = subprocess.run(
            words, cwd=checkout, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
        )
        if ended.returncode:
            failed.append(f"{command}: {ended.stderr}")

    assert failed == []


@pytest.mark.parametrize("page", [*PAGES, *ROOT.glob("*.md")], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """Every relative link of a page names a file that exists."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_example_strategy_works(tmp_path):
    """The class in the guide can be run as it stands."""
    text = (ROOT / "docs" / "guide" / "write_a_strategy.md").read_text("utf-8")
    code = re.search(r"```python\n(.*?)```", text, flags=re.S)
    assert code is not None
    use = "\nfrom tests.builders import some_bars, some_terms\nfrom peak_trade.research.backtest import backtest\n"
    use += "print(len(backtest(some_bars(500), AboveAverage(), some_terms()).fills))\n"
    (tmp_path / "example.py").write_text(code[1] + use)

    ended = subprocess.run(
        [sys.executable, tmp_path / "example.py"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert int(ended.stdout or -1) > 0, ended.stderr


def test_the_order_diagram_is_the_table():
    """The diagram in the guide shows exactly the transitions that orders can make."""
    text = (ROOT / "docs" / "guide" / "risk_limits.md").read_text("utf-8")
    shown = set(re.findall(r"^ +(\w+) --> (\w+): (\w+)$", text, re.M))

    table = {(state.value, after.value, event.value) for state, row in LIFE.items() for event, after in row.items()}
    assert shown == table


def test_the_gate_table_has_every_code():
    """The guide explains every code that a refusal can carry, and no other."""
    text = (ROOT / "docs" / "guide" / "risk_limits.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*?) \|", text.partition("## The life")[0], re.M)

    assert {code for row in rows for code in re.findall(r"`(\w+)`", row)} == set(CODES)


def test_the_journal_tables_have_every_kind_and_code():
    """The guide explains every kind of record and every finding."""
    text = (ROOT / "docs" / "guide" / "journal_and_recovery.md").read_text("utf-8")
    told = {code for row in re.findall(r"^\| (`.*?) \|", text, re.M) for code in re.findall(r"`(\w+)`", row)}
    kinds = {value for name, value in vars(records).items() if name.isupper() and isinstance(value, str)}

    assert told == kinds | ALTERED | MISSING | NOTES
