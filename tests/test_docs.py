"""The commands in README and guides work as written."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
from tests.paths import ROOT

from peak_trade.engine import records
from peak_trade.governance import objections
from peak_trade.governance.ladder import LADDER
from peak_trade.journal.verify import ALTERED, MISSING, NOTES
from peak_trade.model.order import LIFE
from peak_trade.risk.gate import CODES
from peak_trade.settings import PATH_VARIABLE
from peak_trade.venue.kraken import classes

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
    shutil.copy(ROOT / "config" / "scheduler.toml", folder / "config")
    shutil.copytree(ROOT / "governance", folder / "governance")
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    shutil.copytree(ROOT / "src" / "webui", folder / "src" / "webui")
    return folder


class Terminal:
    """Runs a page's commands in their order; one that serves goes on in the background, on a port that is free."""

    def __init__(self, folder: Path) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._options = {"cwd": folder, "env": {**os.environ, "PATH": path}, "text": True}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._servers: list[subprocess.Popen[str]] = []

    def run(self, command: str) -> str:
        """Run a command; return why it failed, empty where it did not."""
        words = shlex.split(command.replace(":8000", f":{self.port}").replace("--port 8000", f"--port {self.port}"))
        if words[:2] == ["peak-trade", "dashboard"] and "--port" not in words:
            words += ["--port", str(self.port)]
        if words[0] == "uvicorn" or words[:2] == ["peak-trade", "dashboard"]:
            return self._serve(words)
        if words[0] == "curl" and shutil.which("curl") is None:
            words = [sys.executable, "-c", "import sys, httpx2; httpx2.get(sys.argv[1]).raise_for_status()", words[-1]]
        ended = subprocess.run(words, capture_output=True, check=False, **self._options)
        return ended.stderr or f"exit code {ended.returncode}" if ended.returncode else ""

    def _serve(self, words: list[str]) -> str:
        self._servers.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **self._options))
        for _ in range(600):
            with contextlib.suppress(httpx2.HTTPError):
                httpx2.get(f"http://127.0.0.1:{self.port}/api/live_sessions?limit=1", timeout=20, trust_env=False)
                return ""
            if self._servers[-1].poll() is not None:
                break
            time.sleep(0.05)
        return "it does not listen"

    def look_at(self, address: str) -> int:
        """Return the HTTP status of an address that the page names."""
        return httpx2.get(address.replace(":8000", f":{self.port}"), timeout=30, trust_env=False).status_code

    @property
    def serves(self) -> bool:
        """Whether something serves."""
        return bool(self._servers)

    def close(self) -> list[int]:
        """End what serves, as Ctrl+C does; return the exit codes."""
        servers, self._servers = self._servers, []
        for server in servers:
            server.send_signal(signal.SIGINT)
        for server in servers:
            server.communicate(timeout=20)
        return [server.returncode for server in servers]


@pytest.fixture
def terminal(checkout, socket_enabled):
    """A terminal in the checkout."""
    found = Terminal(checkout)
    yield found
    found.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_on_the_page_works(page, terminal):
    """Each command of a page, run in its order, ends with exit code 0, and each local address that it names answers."""
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    failed = []
    for command in commands(page):
        words = shlex.split(command)
        if words[0] == "make":
            failed += [command] if words[1] not in targets else []
        elif words[0] != "source" and (why := terminal.run(command)):
            failed.append(f"{command}: {why}")
    addresses = re.findall(r"<(http://127\.0\.0\.1:8000[^>]*)>", page.read_text("utf-8"))
    failed += [address for address in addresses if terminal.serves and terminal.look_at(address) != 200]

    assert failed == []
    assert all(code == 0 for code in terminal.close()), "a server did not end well"


def test_the_monitoring_files_name_real_figures(checkout, terminal):
    """The alert rules and the Grafana page only ask for figures that the dashboard tells, and the guide lists them all."""
    folder = ROOT / "docs" / "monitoring"
    assert terminal.run("peak-trade dashboard --port 8000") == ""
    assert terminal.look_at("http://127.0.0.1:8000/") == 200
    answer = httpx2.get(f"http://127.0.0.1:{terminal.port}/metrics", timeout=30, trust_env=False)
    told = set(re.findall(r"^# TYPE (peak_trade_\w+) ", answer.text, re.M))
    told = {name for name in told if not name.endswith("_created")}
    pages = json.loads((folder / "grafana_dashboard.json").read_text("utf-8"))
    asked = " ".join(target["expr"] for panel in pages["panels"] for target in panel["targets"])
    rules = " ".join(re.findall(r"expr: (.*)", (folder / "alert_rules.yml").read_text("utf-8")))
    guide = set(re.findall(r"^\| `(peak_trade_\w+)`", (folder / "README.md").read_text("utf-8"), re.M))

    named = set(re.findall(r"peak_trade_\w+", asked + " " + rules))
    assert {name.removesuffix("_bucket") for name in named} <= told
    assert guide == told


@pytest.mark.parametrize("page", [*PAGES, *ROOT.glob("*.md")], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """Every relative link of a page names a file that exists."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_tutorial_runs(checkout, monkeypatch):
    """The Python blocks of the tutorial run in their order, in a project, and leave what it says."""
    text = (ROOT / "docs" / "guide" / "tutorial.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.S)
    monkeypatch.chdir(checkout)
    monkeypatch.delenv(PATH_VARIABLE, raising=False)
    space: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "tutorial.md", "exec"), space)  # noqa: S102 - our own page

    assert len(blocks) == 9
    assert (checkout / "tested.html").stat().st_size > 100_000
    assert "not registered" in repr(space["found"])


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


def test_the_table_of_api_errors_has_every_code():
    """The runbook says what to do about every code that an error of Kraken's can get, and names no other."""
    text = (ROOT / "docs" / "runbooks" / "api_errors.md").read_text("utf-8")
    told = {code for row in re.findall(r"^\| (`.*?) \|", text, re.M) for code in re.findall(r"`(\w+)`", row)}

    known = [*classes.ERRORS.values(), *classes.STATUSES.values(), *classes.TROUBLES.values(), classes.UNLISTED]
    assert told == {one.code for one in known}


def test_the_gates_page_has_the_ladder_and_every_reason():
    """The guide's tables are those of the code: steps with who decides, and codes with what they mean."""
    text = (ROOT / "docs" / "guide" / "gates.md").read_text("utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")]

    steps = [
        [f"`{rung.value}`", row.lower.value, row.upper.value, ", ".join(role.value for role in row.deciders)]
        for rung, row in LADDER.items()
    ]
    assert rows == steps + [[f"`{code}`", words] for code, words in objections.CODES.items()]


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "runbooks").glob("*.md")), ids=lambda page: page.name)
def test_runbooks_have_one_form(page):
    """A runbook says when, what one sees, what to do with commands, and how one knows that it is over."""
    text = page.read_text("utf-8")
    titles = re.findall(r"^## (.*)$", text, re.M)

    assert titles[:2] == ["When", "What you see"]
    assert titles[2:-1] in (["What to do"], ["Start", "Stop"])
    assert titles[-1] == "It is over when"
    assert commands(page)
