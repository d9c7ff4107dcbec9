"""Live is refused in every layer by itself, and nothing but a simulated venue is ever built in this stage."""

import ast
import asyncio
import importlib
import inspect
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.paths import ROOT

from peak_trade import compose
from peak_trade.cli.main import main
from peak_trade.compose import AccountChoice, Parts
from peak_trade.engine.runner import Course
from peak_trade.model.errors import InvariantBroken, SafetyRefused
from peak_trade.model.stage import Stage
from peak_trade.research.terms import Side
from peak_trade.runs import session as sessions
from peak_trade.runs.session_plan import RUNNABLE, Paper, SessionRequest, recorded_plan
from peak_trade.settings import PATH_VARIABLE, load_config
from peak_trade.venue.log import FileLog
from peak_trade.venue.matching import Costs
from peak_trade.venue.simulated import Market, SimulatedVenue

OTHERS = [stage for stage in Stage if stage is not Stage.SHADOW]
COMMANDS = [
    ("session", "run", "--strategy", "ma_crossover"),
    ("session", "shadow", "--strategy", "ma_crossover"),
]
ORDERS = Market(costs=Costs(Decimal(0), Decimal(0), Decimal(0)))
PATH_WORDS = "research -> shadow -> testnet -> shadow_live -> live"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A project's folder as shipped, which is the present one."""
    shutil.copy(ROOT / "config.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(PATH_VARIABLE, raising=False)
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def configured(folder: Path, before: str, after: str) -> None:
    """Change the configuration in one place."""
    path = folder / "config.toml"
    text = path.read_text()
    assert text.count(before) == 1
    path.write_text(text.replace(before, after))


def a_paper() -> Paper:
    return Paper(
        start_balance=Decimal(10_000),
        fee_rate=Decimal(0),
        maker_fee_rate=Decimal(0),
        slippage_bps=Decimal(0),
        position_fraction=Decimal("0.1"),
        side=Side.LONG,
    )


def an_account() -> AccountChoice:
    return AccountChoice(name="paper", origin="origin", instruments={}, cash=Decimal(1), market=ORDERS)


# ---- each layer by itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[1])
@pytest.mark.parametrize("mode", ["testnet", "shadow_live", "live", "LIVE", " Live ", "shadow-live"])
def test_the_option_is_refused_before_anything_else(folder, capsys, monkeypatch, command, mode):
    """Exit code 3 and the path in words; no configuration was read and no file written."""
    before = contents(folder)
    monkeypatch.setattr("peak_trade.settings.load_config", lambda *_: pytest.fail("the configuration was read"))

    code = main([*command, "--mode", mode])
    out, err = capsys.readouterr()

    assert (code, out, len(err.splitlines())) == (3, "", 1)
    assert PATH_WORDS in err
    assert "--mode shadow" in err
    assert contents(folder) == before


@pytest.mark.parametrize(
    "more", [["--dry-run"], ["--list-strategies"], ["--no-registry"], ["--json"], ["--config", "none.toml"]]
)
def test_no_other_option_softens_the_refusal(folder, capsys, more):
    """Whatever else is asked for, before or behind."""
    for words in ([*more, "--mode", "live"], ["--mode", "live", *more]):
        assert main([*COMMANDS[0], *words]) == 3
        assert capsys.readouterr().out == ""


def test_the_last_mode_given_counts_and_no_live_hides_before_it(folder, capsys):
    """`--mode shadow --mode live` is refused; the other way round only shadow ever runs."""
    assert main([*COMMANDS[0], "--mode", "shadow", "--mode", "live"]) == 3
    assert main([*COMMANDS[0], "--mode", "live", "--mode", "shadow", "--dry-run", "--json"]) in (0, 3)
    assert '"mode": "live"' not in capsys.readouterr().out


@pytest.mark.parametrize("script", ["run_execution_session.py", "run_shadow_execution.py"])
def test_the_playbooks_script_refuses(folder, script):
    """As a process of its own, with every key that a live exchange would want in the environment."""
    before = contents(folder)
    keys = {"KRAKEN_API_KEY": "k", "KRAKEN_API_SECRET": "s", "PEAK_TRADE_MODE": "live", "PEAK_TRADE_LIVE": "1"}

    ended = subprocess.run(
        [sys.executable, ROOT / "scripts" / script, "--mode", "live", "--strategy", "ma_crossover"],
        cwd=folder,
        env={**os.environ, **keys},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (3, "")
    assert PATH_WORDS in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert contents(folder) == before


@pytest.mark.parametrize("stage", OTHERS)
def test_a_request_can_not_be_made(stage):
    """The session's own configuration refuses, whoever makes it."""
    with pytest.raises(SafetyRefused, match=stage.value):
        SessionRequest(
            mode=stage,
            run_type="live_session_shadow",
            strategies=(("ma_crossover", {}),),
            data=(),
            paper=a_paper(),
            account="paper",
            course=Course(),
            speed=None,
            env_name="test",
        )


@pytest.mark.parametrize("stage", OTHERS)
def test_no_part_is_built(folder, stage):
    """The builder of parts has no venue for the stage, and leaves no file."""
    before = contents(folder)
    with closing(Parts(load_config())) as parts, pytest.raises(SafetyRefused, match=stage.value):
        parts.venue(stage, an_account())

    assert contents(folder) == before


@pytest.mark.parametrize("stage", OTHERS)
def test_the_venue_refuses_to_be(tmp_path, stage):
    """The simulated venue itself."""
    with pytest.raises(SafetyRefused, match=stage.value):
        SimulatedVenue(stage, {}, Decimal(1), ORDERS, FileLog(tmp_path / "log.jsonl"))


def test_the_tables_hold_shadow_and_nothing_else():
    """Both tables that open a stage, and every class that could take an order."""
    assert set(compose._VENUES) == set(RUNNABLE) == {Stage.SHADOW}
    takers = {
        f"{path.relative_to(SOURCES)}:{node.name}"
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and any(getattr(part, "name", "") == "submit" for part in node.body)
    }

    assert takers == {"venue/port.py:Venue", "venue/simulated.py:SimulatedVenue"}


def test_a_venue_takes_no_order_that_the_gate_did_not_see(tmp_path):
    """An intent, a look-alike or nothing at all in the place of an approval."""
    venue = SimulatedVenue(Stage.SHADOW, {}, Decimal(1), ORDERS, FileLog(tmp_path / "log.jsonl"))
    for order in (None, object(), type("Approved", (), {"intent": None})()):
        with pytest.raises(InvariantBroken, match="gate"):
            asyncio.run(venue.submit(order))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[1])
@pytest.mark.parametrize("mode", ["testnet", "shadow_live", "live"])
def test_a_configured_stage_is_refused(folder, capsys, command, mode):
    """`[environment] mode = "live"` without an option: exit code 3, and nothing was begun."""
    configured(folder, 'mode = "research"', f'mode = "{mode}"')
    before = contents(folder)

    code = main([*command, "--steps", "5", "--speed", "max"])
    out, err = capsys.readouterr()

    assert (code, out, len(err.splitlines())) == (3, "", 1)
    assert PATH_WORDS in err
    assert contents(folder) == before


def test_shadow_sessions_can_be_switched_off(folder, capsys):
    """`[shadow] enabled = false`: refused with exit code 3, and nothing was begun."""
    configured(folder, "[shadow]\nenabled = true", "[shadow]\nenabled = false")

    assert main([*COMMANDS[0], "--steps", "5", "--speed", "max"]) == 3
    assert "shadow.enabled" in capsys.readouterr().err
    assert not (folder / "var" / "journal").exists()


def test_a_journal_that_says_live_is_not_decided_again(folder, capsys):
    """A specification whose mode was changed to live gives no plan that anything could run on."""
    assert main([*COMMANDS[0], "--steps", "5", "--speed", "max", "--no-html", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    with closing(Parts(load_config())) as parts:
        spec = dict(parts.sessions.get(record["session_id"]).run.spec) | {"mode": "live"}
        with pytest.raises(SafetyRefused):
            recorded_plan(parts, spec)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("validate_only = true", "validate_only = false"),
        ('default_type = "kraken_testnet"', 'default_type = "kraken_live"'),
        ('name = "kraken"', 'name = "kraken"\napi_key = "abc"'),
    ],
)
def test_sections_that_would_send_orders_are_refused(folder, capsys, before, after):
    """An exchange set up to execute, another one than the testnet's, or a key in the file: nothing begins."""
    configured(folder, before, after)
    untouched = contents(folder)

    code = main([*COMMANDS[0], "--steps", "5", "--speed", "max"])
    out, err = capsys.readouterr()

    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert contents(folder) == untouched


# ---- nothing but a simulated venue, whatever is thrown at the commands -----------------------------------------------


class Watch:
    """What was built, and what went for the network."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self.venues: list[type] = []
        self.engines: list[type] = []
        self.sockets: list[str] = []


@pytest.fixture
def watch(monkeypatch) -> Watch:
    """Count what the stage table builds and what an engine gets; let every socket but the event loop's own pair raise."""
    seen = Watch()
    table = dict(compose._VENUES)

    class Watched(dict[Stage, Any]):
        def get(self, stage: Stage, default: Any = None) -> Any:
            build = super().get(stage, default)
            seen.stages.append(stage)
            return build and (lambda *arguments: note(build(*arguments)))

        def __getitem__(self, stage: Stage) -> Any:
            pytest.fail(f"the stage table was read in another way, for {stage}")

    def note(venue: Any) -> Any:
        seen.venues.append(type(venue))
        return venue

    engine = sessions.Engine

    def watched_engine(plan: Any, venue: Any, *arguments: Any, **named: Any) -> Any:
        seen.engines.append(type(venue))
        return engine(plan, venue, *arguments, **named)

    monkeypatch.setattr(compose, "_VENUES", Watched(table))
    monkeypatch.setattr(sessions, "Engine", watched_engine)

    class NoSocket(socket.socket):
        def __init__(self, family: int = -1, kind: int = -1, proto: int = -1, fileno: int | None = None) -> None:
            if family not in (-1, socket.AF_UNIX):
                refuse(f"a socket of family {family}")
            super().__init__(family, kind, proto, fileno)

        def connect(self, address: Any) -> None:
            refuse(f"connect to {address}")

        def connect_ex(self, address: Any) -> int:
            return refuse(f"connect to {address}")

        def bind(self, address: Any) -> None:
            refuse(f"bind to {address}")

    def refuse(what: str, *_more: Any, **_named: Any) -> Any:
        seen.sockets.append(str(what))
        raise OSError(f"no network in this test: {what}")

    monkeypatch.setattr(socket, "socket", NoSocket)
    for name in ("create_connection", "getaddrinfo", "gethostbyname", "create_server"):
        monkeypatch.setattr(socket, name, refuse)
    return seen


def test_the_watch_sees(folder, capsys, watch):
    """An ordinary session builds one simulated venue for shadow, and nothing opens a socket; one that did would be seen."""
    assert main([*COMMANDS[0], "--steps", "5", "--speed", "max", "--no-html"]) == 0
    with pytest.raises(OSError, match="no network"):
        socket.create_connection(("127.0.0.1", 1))
    with pytest.raises(OSError, match="no network"):
        socket.socket(socket.AF_INET)

    assert (watch.stages, watch.venues, watch.engines) == ([Stage.SHADOW], [SimulatedVenue], [SimulatedVenue])
    assert len(watch.sockets) == 2
    capsys.readouterr()


STAGES = ["research", "shadow", "testnet", "shadow_live", "live", "LIVE", "paper", ""]
KEYS = ["KRAKEN_API_KEY", "KRAKEN_API_SECRET", "KRAKEN_TESTNET_API_KEY", "KRAKEN_TESTNET_API_SECRET", "BINANCE_API_KEY"]
NAMES = ["MODE", "STAGE", "LIVE", "LIVE_ENABLED", "ENVIRONMENT__MODE", "VENUE", "EXCHANGE", "FORCE", "DRY_RUN", "BASE_URL"]
HOSTS = ["https://api.kraken.com", "http://127.0.0.1:8080", "https://example.org", "wss://ws.kraken.com/v2"]


def a_config(draw: random.Random) -> str:
    """Return a configuration at random: its values fit their keys, or sometimes do not."""
    boolean = lambda: draw.choice(["true", "false"])
    host = lambda: f'"{draw.choice(HOSTS)}"'
    sections = {
        "environment": {"mode": f'"{draw.choice(STAGES[:-3])}"', "name": '"fuzz"'},
        "shadow": {"enabled": draw.choice(["true"] * 7 + ["false"]), "side": '"long"', "lease_s": "30"},
        "shadow_paper": {
            "account": f'"{draw.choice(["paper", "live", "kraken"])}"',
            "latency_ms": str(draw.randrange(3) * 500),
        },
        "live": {"enabled": boolean()},
        "live_exchange": {"name": '"kraken"', "base_url": host(), "websocket_url": host()},
        "exchange": {"default_type": draw.choice(['"kraken_testnet"'] * 7 + ['"kraken"'])},
        "exchange.kraken_testnet": {
            "enabled": boolean(),
            "validate_only": draw.choice(["true"] * 7 + ["false"]),
            "base_url": host(),
        },
        "testnet_limits.run": {"max_orders": str(draw.randrange(1, 50))},
        "live_risk": {"max_order_notional": '"100000"', "block_on_violation": boolean()},
    }
    if draw.random() < 0.1:
        sections["live"]["permit"] = '"granted"'
    chosen = [name for name in sections if draw.random() < 0.6]
    lines = []
    for name in chosen:
        lines += [f"[{name}]", *(f"{key} = {value}" for key, value in sections[name].items() if draw.random() < 0.8)]
    return "\n".join(lines) + "\n"


def some_flags(draw: random.Random) -> list[str]:
    """Return a command line at random."""
    flags = ["session", draw.choice(["run", "shadow"])]
    if draw.random() < 0.95:
        flags += ["--strategy", draw.choice(["ma_crossover", "macd", "buy_and_hold", "macd", "live"])]
    if draw.random() < 0.1:
        flags += ["--strategy", "breakout"]
    if draw.random() < 0.5:
        flags += ["--mode", draw.choice([*STAGES, "shadow", "shadow", "shadow"])]
    if draw.random() < 0.3:
        flags += ["--account", draw.choice(["live", "kraken", "paper"])]
    if draw.random() < 0.2:
        flags += ["--env-name", draw.choice(["live", "production"])]
    flags += [flag for flag in ("--no-registry", "--fresh", "--json", "--verbose") if draw.random() < 0.3]
    if draw.random() < 0.1:
        flags += [draw.choice(["--live", "--force", "--testnet", "--exchange=kraken", "--permit=x", "--no-dry-run", "--real"])]
    if draw.random() < 0.3:
        flags += ["--dry-run"]
    return [*flags, "--steps", str(draw.randrange(1, 6)), "--speed", draw.choice(["max", "1e9"]), "--no-html"]


def an_environment(draw: random.Random) -> dict[str, str]:
    """Return variables at random: keys of exchanges, and wishes under our name."""
    found = {name: f"secret-{name}" for name in KEYS if draw.random() < 0.5}
    wishes = {f"PEAK_TRADE_{name}": draw.choice(["live", "1", "true", "kraken", "testnet"]) for name in NAMES}
    return found | {name: value for name, value in wishes.items() if draw.random() < 0.4}


@pytest.mark.parametrize("seed", range(12))
def test_nothing_but_a_simulated_venue(folder, capsys, monkeypatch, watch, seed):
    """Random configurations, variables and flags: exit code and words as promised, shadow or nothing, and no network."""
    draw = random.Random(seed)
    codes: list[int] = []
    ran = 0
    for _ in range(12):
        (folder / "config.toml").write_text(a_config(draw))
        with monkeypatch.context() as environment:
            for name, value in an_environment(draw).items():
                environment.setenv(name, value)
            if draw.random() < 0.2:
                shutil.copy(folder / "config.toml", folder / "other.toml")
                environment.setenv(PATH_VARIABLE, str(folder / "other.toml"))
            flags = some_flags(draw)
            codes.append(main(flags))
        ran += codes[-1] == 0 and "--dry-run" not in flags
        out, err = capsys.readouterr()
        told = [line for line in err.splitlines() if line.startswith("peak-trade: ") and "Ctrl+C" not in line]

        assert codes[-1] in (0, 2, 3), (flags, err)
        assert len(told) == (codes[-1] > 0), (flags, err)
        assert "Traceback" not in err
        assert "internal fault" not in err
        assert "secret-" not in out + err
        if "--mode" in flags and flags[flags.index("--mode") + 1].lower() in ("testnet", "shadow_live", "live"):
            assert codes[-1] in (2, 3), flags
        if codes[-1] == 0 and "--json" in flags:
            assert json.loads(out)["mode"] == "shadow"

    (folder / "config.toml").write_text("[live]\nenabled = true\n")
    assert main([*COMMANDS[0], "--steps", "5", "--speed", "max", "--no-html", "--account", "other"]) == 0
    assert {2, 3} <= set(codes)
    assert set(watch.stages) == {Stage.SHADOW}
    assert len(watch.stages) == ran + 1
    assert set(watch.venues) | set(watch.engines) <= {SimulatedVenue}
    assert len(watch.venues) == len(watch.engines)
    assert watch.sockets == []
    stored = b"".join(contents(folder).values())
    assert b"secret-" not in stored


def test_the_throws_hit_everything():
    """The seeds above lead to runs, dry runs and refusals alike."""
    drawn = [[some_flags(draw), a_config(draw)] for seed in range(12) for draw in [random.Random(seed)] for _ in range(12)]
    flags = [words for words, _ in drawn]

    assert sum("live" in words for words in flags) > 5
    assert sum("--dry-run" in words for words in flags) > 5
    assert sum("--mode" not in words and "--dry-run" not in words for words in flags) > 30
    assert sum('mode = "live"' in text for _, text in drawn) > 5


# ---- no network library ----------------------------------------------------------------------------------------------

SOURCES = ROOT / "src" / "peak_trade"
#: Packages that speak to other machines. `asyncio` and the database's driver may; nothing here asks them to.
NETWORK = {
    *("httpx", "httpx2", "requests", "urllib", "urllib3", "http", "aiohttp", "ccxt", "websockets", "websocket", "socketserver"),
    *("ftplib", "smtplib", "telnetlib", "xmlrpc", "ssl", "select", "grpc", "zmq", "paramiko", "krakenex", "pykrakenapi"),
}


def imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, wherever in it, and those it names to `import_module`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from (part.value for part in node.args if isinstance(part, ast.Constant) and isinstance(part.value, str))


def test_no_module_imports_a_network_library():
    """Two modules know how to speak to other machines, and neither can order anything."""
    found = {
        f"{path.relative_to(SOURCES)}: {name}"
        for path in SOURCES.rglob("*.py")
        for name in imports(path)
        if name.partition(".")[0] in NETWORK and name != "urllib.parse"  # which only takes addresses apart
    }

    # The emulator's faults are told to it over loopback, at the address in its own keys file. Bars are asked of exchanges
    # through ccxt: only compose may import that module, as a contract in pyproject.toml says, and it is given no key.
    assert found == {"cli/emulator.py: http.client", "market/exchanges.py: ccxt"}
    words = (SOURCES / "market" / "exchanges.py").read_text().lower()
    assert not re.search(r"api_?key|secret|private|create_?order|cancel_?order|withdraw|add_?order", words)
    assert [name for path in SOURCES.rglob("*.py") for name in imports(path) if name.endswith("market.exchanges")] == [
        "peak_trade.market.exchanges"
    ]


#: What of `socket` a module may use: this machine's name, and in the module that serves what listens.
OF_SOCKET = {"gethostname"}
TO_LISTEN = {"socket", "AF_INET", "AF_INET6", "SOL_SOCKET", "SO_REUSEADDR", "SOCK_STREAM", "IPPROTO_TCP"}


def test_sockets_listen_at_most():
    """Nobody opens a connection: `socket` gives this machine's name, and what serves listens; asyncio neither."""
    found: set[str] = set()
    # The emulator is the other side: it serves, and nothing but the command line may import it.
    for path in (path for path in SOURCES.rglob("*.py") if path.parent.name != "emulator"):
        allowed = OF_SOCKET | (TO_LISTEN if path.relative_to(SOURCES).as_posix() == "cli/serving.py" else set())
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("socket", "asyncio"):
                used = {f"{node.value.id}.{node.attr}"}
            elif isinstance(node, ast.ImportFrom) and node.module in ("socket", "asyncio"):
                used = {f"{node.module}.{alias.name}" for alias in node.names}
            else:
                used = set()
            found |= {name for name in used if name.startswith("socket.") and name.removeprefix("socket.") not in allowed}
            found |= used & {"asyncio.open_connection", "asyncio.start_server", "asyncio.open_unix_connection"}

    assert found == set()
    assert "connect" not in (SOURCES / "cli" / "serving.py").read_text()


def test_the_scan_sees(tmp_path):
    """Each way to import is found."""
    path = tmp_path / "x.py"
    path.write_text("import ccxt\ndef f():\n    from http.client import x\n    importlib.import_module('requests')\n")

    assert set(imports(path)) == {"ccxt", "http.client", "requests"}


def test_the_environment_gives_no_permission():
    """One module reads the environment, and of our own names the configuration's path alone."""
    from peak_trade import settings

    trees = {path.relative_to(SOURCES).as_posix(): ast.walk(ast.parse(path.read_text())) for path in SOURCES.rglob("*.py")}
    readers = [name for name, tree in trees.items() if any(getattr(node, "attr", "") in ("environ", "getenv") for node in tree)]

    assert readers == ["settings.py"]
    assert inspect.getsource(importlib.import_module("peak_trade.settings")).count("os.environ") == 1
    assert settings.PATH_VARIABLE == "PEAK_TRADE_CONFIG_PATH"
