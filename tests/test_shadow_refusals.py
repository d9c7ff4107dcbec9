"""Live is refused in every layer by itself; what stage 2 sends to an exchange can place, change or cancel nothing."""

import ast
import asyncio
import contextlib
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
from dataclasses import replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.emulated import Emulated, emulating
from tests.paths import ROOT
from tests.recorder import Wire, wire_to
from tests.trading import some_limits

from peak_trade import compose
from peak_trade.cli.main import main
from peak_trade.compose import AccountChoice, Parts
from peak_trade.engine.runner import Course
from peak_trade.model.bar import Timeframe
from peak_trade.model.clock import MachineClock
from peak_trade.model.errors import InvariantBroken, SafetyRefused
from peak_trade.model.stage import Stage
from peak_trade.research.terms import Side
from peak_trade.runs import emulated
from peak_trade.runs.drills import orders as drill_orders
from peak_trade.runs.drills.emulated_session import EmulatedParts, EmulatedTerms, emulated_session
from peak_trade.runs.drills.orders import OrderTerms, run_orders
from peak_trade.runs.emulated import EmulatedRun
from peak_trade.runs.sessions.plan import RUNNABLE, Paper, SessionRequest, recorded_plan
from peak_trade.runs.trading import session as sessions
from peak_trade.settings import PATH_VARIABLE, load_config
from peak_trade.strategy.catalogue import make
from peak_trade.venue import testnet as stage_two
from peak_trade.venue.kraken import gateway, public
from peak_trade.venue.kraken.checking import KrakenCheck
from peak_trade.venue.kraken.gateway import looking_door
from peak_trade.venue.kraken.nonce import NonceStore
from peak_trade.venue.kraken.proof import EmulatorProof
from peak_trade.venue.kraken.wire import Credentials
from peak_trade.venue.log import FileLog
from peak_trade.venue.matching import Costs
from peak_trade.venue.simulated import SIMULATED, Market, SimulatedVenue

OTHERS = [stage for stage in Stage if stage not in (Stage.SHADOW, Stage.TESTNET)]
COMMANDS = [
    ("session", "run", "--strategy", "ma_crossover"),
    ("session", "shadow", "--strategy", "ma_crossover"),
]
ORDERS = Market(costs=Costs(Decimal(0), Decimal(0), Decimal(0)))
HOST = 'base_url = "https://api.kraken.com"      #'
#: Where no key may go: in clear text to another machine, by a name that may lead anywhere, or to more than a host.
NO_HOSTS = [
    *("http://api.kraken.com", "HTTP://API.KRAKEN.COM", "http://localhost:8790", "http://0.0.0.0:8790", "http://[::]:8790"),
    *("http://127.0.0.1.example.org", "http://127.1:8790", "http://[::ffff:8.8.8.8]:80", "http://127.0.0.1@example.org"),
    *("https://user@api.kraken.com", "https://api.kraken.com/0/private/AddOrder?x=", "https://api.kraken.com#", "https://"),
    *("https://api.kraken.com/proxy", "https://api.kraken.com:0", "ftp://127.0.0.1:1", "api.kraken.com", "", "https://a b"),
]
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
@pytest.mark.parametrize("mode", ["shadow_live", "live", "LIVE", " Live ", "shadow-live"])
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


def test_the_tables_hold_two_stages_and_nothing_else(folder):
    """All tables that open a stage; testnet has no venue but the one that asks and simulates."""
    assert set(compose._STAGES) == set(RUNNABLE) == SIMULATED == {Stage.SHADOW, Stage.TESTNET}
    assert [stage for stage, row in compose._STAGES.items() if row.follows] == [Stage.TESTNET]
    with closing(Parts(load_config().pointed_at("http://127.0.0.1:9", "ws://127.0.0.1:9", "key", "c2VjcmV0"))) as parts:
        venues = {stage: parts.venue(stage, replace(an_account(), name=stage.value)) for stage in parts.stages()}
        assert {stage: type(venue) for stage, venue in venues.items()} == {
            Stage.SHADOW: SimulatedVenue,
            Stage.TESTNET: stage_two.TestnetVenue,
        }
        testnet = venues[Stage.TESTNET]
        assert type(testnet._inner) is SimulatedVenue
        assert type(testnet._check) is KrakenCheck
        assert not testnet._check._gateway.trades
        assert testnet._check._gateway._door is looking_door
        asyncio.run(testnet.release())


def test_every_class_that_could_take_an_order_is_known():
    """A new one has to be looked at before it is added here."""
    takers = {
        f"{path.relative_to(SOURCES)}:{node.name}"
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef) and any(getattr(part, "name", "") == "submit" for part in node.body)
    }

    assert takers == {
        *("venue/port.py:Venue", "venue/simulated.py:SimulatedVenue"),
        *("venue/testnet.py:TestnetVenue", "venue/testnet.py:OrderCheck", "venue/kraken/checking.py:KrakenCheck"),
        "venue/kraken/validating.py:ValidatingOrders",
        "venue/kraken/trading.py:KrakenVenue",  # until there are permits only tests, a drill and emulated sessions build it
    }


#: The drill that leads orders through their life at the emulator which it started; nothing else that runs sends one.
DRILL = "runs/drills/orders.py"
#: What takes everything off an exchange when nothing else may be alive. It cancels anywhere, and closes positions at an address
#: of this machine alone: it makes the proof itself, because there may be nobody left who could hand it one.
EMERGENCY = "venue/kraken/emergency.py"
#: Sessions at an emulator that drills and tests started; no command, setting or variable leads there.
EMULATED = "runs/drills/emulated_session.py"
#: Who may name what real orders are made of: a name, and the modules below `peak_trade` that have it.
REAL = {
    "KrakenVenue": {"venue/kraken/trading.py", DRILL, EMULATED},
    "EmulatorProof": {
        "venue/kraken/proof.py",
        "venue/kraken/gateway.py",
        "venue/kraken/trading.py",
        DRILL,
        EMULATED,
        EMERGENCY,
    },
    "_PROOF_SEAL": {"venue/kraken/proof.py"},
    "trading_door": {"venue/kraken/gateway.py"},
    "live_order_request": {"venue/kraken/wire.py", "venue/kraken/trading.py", EMERGENCY},
    "LiveOrderRequest": {"venue/kraken/wire.py", "venue/kraken/gateway.py", "venue/kraken/trading.py", EMERGENCY},
}


def names(path: Path) -> set[str]:
    """Return every name, attribute, import and text of a file."""
    found = set()
    for node in ast.walk(tree(path)):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                found.add(name)
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.Constant(value=str(name)):
                found.add(name)
    return found


def test_nobody_names_what_real_orders_are_made_of():
    """The venue that trades, its proof, its door and its requests are known to their own modules; some, to two more."""
    known = {path.relative_to(SOURCES).as_posix(): names(path) for path in SOURCES.rglob("*.py")}

    assert {name: {path for path, found in known.items() if name in found} for name in REAL} == REAL
    makers = {path for path in known if re.search(r"EmulatorProof\s*(\.\s*of\b|\()", (SOURCES / path).read_text())}
    assert makers == {DRILL, EMULATED, EMERGENCY}


def test_the_drill_trades_with_the_emulator_that_it_started():
    """One proof, for the address of what it is given; and who gives it has started that emulator the line before."""
    proofs = re.findall(r"EmulatorProof\s*\.\s*of\((.*?)\)", (SOURCES / DRILL).read_text())
    callers = {path.relative_to(SOURCES).as_posix() for path in SOURCES.rglob("*.py") if "run_orders" in names(path)}
    blocks = [
        node
        for node in ast.walk(tree(SOURCES / "runs/drills/evidence.py"))
        if isinstance(node, ast.With) and "run_orders(terms, run," in ast.unparse(node.body)
    ]

    assert proofs == ["run.base_url"]
    assert callers == {DRILL, "runs/drills/evidence.py"}
    assert [ast.unparse(block.items[-1]).partition("(")[0] for block in blocks] == ["emulator_for_run"]
    assert ast.unparse(blocks[0].items[-1]).endswith(" as run")
    assert not names(SOURCES / DRILL) & {"Parts", "Settings", "settings", "exchange", "live_exchange"}


def test_the_emergency_client_closes_on_this_machine_alone():
    """Its one proof is for the address that it sends to, and only where that is of this machine; its users are two commands."""
    source = (SOURCES / EMERGENCY).read_text()
    users = {path.relative_to(SOURCES).as_posix() for path in SOURCES.rglob("*.py") if "EmergencyLine" in names(path)}

    assert re.findall(r"EmulatorProof\s*\.\s*of\((.*?)\)(.*)", source) == [
        ("line.base_url", " if is_loopback(line.base_url) else None")
    ]
    assert source.count("live_order_request(") == 1
    assert users == {EMERGENCY, "safety/exchange_stop.py", "runs/safety/kill_first.py"}


def test_an_emulated_session_trades_at_the_emulator_it_is_given():
    """One proof, for the address of an `EmulatedRun`; drills start such sessions, and no command does."""
    proofs = re.findall(r"EmulatorProof\s*\.\s*of\((.*?)\)", (SOURCES / EMULATED).read_text())
    users = {
        path.relative_to(SOURCES).as_posix()
        for path in SOURCES.rglob("*.py")
        if {"emulated_session", "EmulatedParts", "start_emulated", "peak_trade.runs.drills.emulated_session"}
        & (names(path) | {*imports(path)})
    }

    assert proofs == ["run.base_url"]
    assert {user for user in users - {EMULATED} if not user.startswith("runs/drills/")} == set()


@pytest.mark.parametrize("address", ["https://api.kraken.com", "http://127.0.0.1.example.org:80", "https://127.0.0.1:8790"])
def test_an_emulated_session_asks_nothing_of_another_exchange(folder, monkeypatch, address):
    """Whatever an `EmulatedRun` says: nothing is begun, and no line is opened."""
    before = contents(folder)
    monkeypatch.setattr(public.PublicMarket, "__init__", lambda *_given: pytest.fail("a line was opened"))
    run = EmulatedRun(base_url=address, stream_url="", keys={"trading": ("key", "c2VjcmV0")}, control_token="")

    with pytest.raises(SafetyRefused, match="loopback"):
        emulated_session(load_config(), run, EmulatedTerms(), speed=1.0)
    assert contents(folder) == before


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.TESTNET])
def test_an_emulated_sessions_parts_have_a_venue_for_one_stage(folder, stage):
    """And only while the exchange is the one that was proven."""
    run = EmulatedRun(base_url="http://127.0.0.1:9", stream_url="", keys={"trading": ("key", "c2VjcmV0")}, control_token="")
    with closing(EmulatedParts(load_config(), run, EmulatedTerms(), 1.0)) as parts:
        with pytest.raises(SafetyRefused):
            parts.venue(stage, an_account())
        parts.settings = load_config()
        with pytest.raises(SafetyRefused, match="expected the emulator"):
            parts.venue(Stage.TESTNET, an_account())


@pytest.mark.parametrize("address", ["https://api.kraken.com", "http://127.0.0.1.example.org:80", "https://127.0.0.1:8790"])
def test_the_drill_asks_nothing_of_another_exchange(tmp_path, monkeypatch, address):
    """An address that is none of this machine's is refused before a line is opened."""
    terms = OrderTerms(
        strategy=make("ma_crossover", {}),
        symbol="BTC/EUR",
        timeframe=Timeframe.parse("1m"),
        side=Side.LONG,
        cash=Decimal(10_000),
        fraction=Decimal("0.05"),
        limits=some_limits(),
        orders=1,
        seed=1,
    )
    monkeypatch.setattr(drill_orders, "PublicMarket", lambda *_given: pytest.fail("a line was opened"))
    run = EmulatedRun(base_url=address, stream_url="", keys={}, control_token="")

    with pytest.raises(SafetyRefused, match="loopback"):
        run_orders(terms, run, tmp_path, MachineClock())
    assert list(tmp_path.iterdir()) == []


def test_no_command_reaches_the_venue_that_trades():
    """No module imports it before a drill runs; all of them loaded, and everything they name, it still is not there."""
    importers = {
        path.relative_to(SOURCES).as_posix()
        for path in SOURCES.rglob("*.py")
        if any(name.endswith(("kraken.trading", "kraken.proof")) for name in imports(path))
        or (any(name == "trading" for name in names(path)) and path.parent.name == "kraken")
    }
    program = """if True:
        import importlib, pkgutil, sys, peak_trade
        for found in pkgutil.walk_packages(peak_trade.__path__, "peak_trade."):
            if not found.name.endswith(("__main__", "kraken.trading")):
                importlib.import_module(found.name)
        print("peak_trade.venue.kraken.gateway" in sys.modules, "peak_trade.venue.kraken.trading" in sys.modules)
    """
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert importers <= {"venue/kraken/gateway.py", "venue/kraken/trading.py", DRILL, EMULATED, EMERGENCY}
    assert ended.stdout.split() == ["True", "False"]


def test_a_venue_takes_no_order_that_the_gate_did_not_see(tmp_path):
    """An intent, a look-alike or nothing at all in the place of an approval."""
    venue = SimulatedVenue(Stage.SHADOW, {}, Decimal(1), ORDERS, FileLog(tmp_path / "log.jsonl"))
    for order in (None, object(), type("Approved", (), {"intent": None})()):
        with pytest.raises(InvariantBroken, match="gate"):
            asyncio.run(venue.submit(order))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[1])
@pytest.mark.parametrize("mode", ["shadow_live", "live"])
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
        spec = dict(parts.sessions.get(record["session_id"]).run.spec)
        assert recorded_plan(parts, spec, ()).mode is Stage.SHADOW
        for mode in ("live", "shadow_live", "research"):
            with pytest.raises(SafetyRefused):
                recorded_plan(parts, spec | {"mode": mode}, ())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("validate_only = true", "validate_only = false"),
        ('default_type = "kraken_testnet"', 'default_type = "kraken_live"'),
        ('name = "kraken"', 'name = "kraken"\napi_key = "abc"'),
        *((HOST, HOST.replace("https://api.kraken.com", url)) for url in NO_HOSTS),
    ],
)
def test_sections_that_would_send_orders_are_refused(folder, capsys, before, after):
    """An exchange set up to execute, another one than the testnet's, a key in the file, an unsafe way: nothing begins."""
    configured(folder, before, after)
    untouched = contents(folder)

    code = main([*COMMANDS[0], "--steps", "5", "--speed", "max"])
    out, err = capsys.readouterr()

    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert contents(folder) == untouched


# ---- nothing but simulated fills, whatever is thrown at the commands --------------------------------------------------


class Watch:
    """What was built, which gateways there were, and what went for the network."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self.venues: list[type] = []
        self.engines: list[type] = []
        self.trading: list[bool] = []
        self.proofs: list[str] = []
        self.sockets: list[str] = []
        self.connected: set[Any] = set()


@pytest.fixture
def watch(monkeypatch) -> Watch:
    """Count what the stage table builds and what an engine gets; let no socket reach another machine."""
    seen = Watch()
    table = dict(compose._STAGES)

    class Watched(dict[Stage, Any]):
        def get(self, stage: Stage, default: Any = None) -> Any:
            row = super().get(stage, default)
            return row and row._replace(venue=lambda parts, stage, *more: note(stage, row.venue(parts, stage, *more)))

        def __getitem__(self, stage: Stage) -> Any:
            pytest.fail(f"the stage table was read in another way, for {stage}")

    def note(stage: Stage, venue: Any) -> Any:
        seen.stages.append(stage)
        seen.venues.append(type(venue))
        return venue

    engine, gateway_begins = sessions.Engine, gateway.Gateway.__init__

    def watched_engine(plan: Any, venue: Any, *arguments: Any, **named: Any) -> Any:
        seen.engines.append(type(venue))
        return engine(plan, venue, *arguments, **named)

    def watched_gateway(self: Any, *arguments: Any, **named: Any) -> None:
        gateway_begins(self, *arguments, **named)
        seen.trading.append(self.trades)

    monkeypatch.setattr(compose, "_STAGES", Watched(table))
    monkeypatch.setattr(sessions, "Engine", watched_engine)
    monkeypatch.setattr(gateway.Gateway, "__init__", watched_gateway)
    monkeypatch.setattr(EmulatorProof, "of", lambda url: seen.proofs.append(url) or pytest.fail("a proof was asked for"))

    class HereOnly(socket.socket):
        def connect(self, address: Any) -> None:
            check(address)
            super().connect(address)

        def connect_ex(self, address: Any) -> int:
            check(address)
            return super().connect_ex(address)

    def check(address: Any) -> None:
        seen.connected.add(address)
        if isinstance(address, tuple) and address[0] != "127.0.0.1":
            refuse(f"connect to {address}")

    def refuse(what: str, *_more: Any, **_named: Any) -> Any:
        seen.sockets.append(str(what))
        raise OSError(f"no network in this test: {what}")

    monkeypatch.setattr(socket, "socket", HereOnly)
    for name in ("create_connection", "getaddrinfo", "gethostbyname", "create_server"):
        monkeypatch.setattr(socket, name, refuse)
    return seen


def test_the_watch_sees(folder, capsys, watch):
    """An ordinary session builds one simulated venue for shadow, and nothing opens a socket; one that did would be seen."""
    assert main([*COMMANDS[0], "--steps", "5", "--speed", "max", "--no-html"]) == 0
    assert not watch.connected
    with pytest.raises(OSError, match="no network"):
        socket.create_connection(("127.0.0.1", 1))
    with pytest.raises(OSError, match="no network"), socket.socket(socket.AF_INET) as one:
        one.connect(("192.0.2.1", 1))

    assert (watch.stages, watch.venues, watch.engines) == ([Stage.SHADOW], [SimulatedVenue], [SimulatedVenue])
    assert len(watch.sockets) == 2
    capsys.readouterr()


STAGES = ["research", "shadow", "testnet", "shadow_live", "live", "LIVE", "paper", ""]
KEYS = ["KRAKEN_API_KEY", "KRAKEN_API_SECRET", "KRAKEN_TESTNET_API_KEY", "KRAKEN_TESTNET_API_SECRET", "BINANCE_API_KEY"]
NAMES = ["MODE", "STAGE", "LIVE", "LIVE_ENABLED", "ENVIRONMENT__MODE", "VENUE", "EXCHANGE", "FORCE", "DRY_RUN", "BASE_URL"]
HOSTS = ["https://api.kraken.com", "http://127.0.0.1:8080", "https://example.org", "wss://ws.kraken.com/v2"]
#: How much faster than the machine's the clock of the emulator goes that `--emulator` gets.
PACE = 120


def a_config(draw: random.Random, here: str = "http://127.0.0.1:9") -> str:
    """Return a configuration at random: its values fit their keys, or sometimes do not; the exchange is mostly the one here."""
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
            "enabled": draw.choice(["true"] * 7 + ["false"]),
            "validate_only": draw.choice(["true"] * 9 + ["false"]),
            "base_url": draw.choice([f'"{here}"'] * 9 + [host()]),
        },
        'testnet_limits.symbols."BTC/EUR"': {"max_order_notional": '"500"', "max_exposure_notional": '"900"'},
        "testnet_limits.run": {"max_orders": str(draw.randrange(1, 50))},
        "live_risk": {"max_order_notional": '"100000"', "block_on_violation": boolean()},
    }
    if draw.random() < 0.1:
        sections["live"]["permit"] = '"granted"'
    most = {"exchange.kraken_testnet": 1.0, 'testnet_limits.symbols."BTC/EUR"': 0.9, "shadow": 0.6}
    chosen = [name for name in sections if draw.random() < most.get(name, 0.6)]
    lines = []
    for name in chosen:
        lines += [
            f"[{name}]",
            *(f"{key} = {value}" for key, value in sections[name].items() if draw.random() < 0.8 or key == "base_url"),
        ]
    return "\n".join(lines) + "\n"


def some_flags(draw: random.Random) -> list[str]:
    """Return a command line at random."""
    flags = ["session", draw.choice(["run", "shadow"])]
    if draw.random() < 0.95:
        flags += ["--strategy", draw.choice(["ma_crossover", "macd", "buy_and_hold", "macd", "live"])]
    if draw.random() < 0.1:
        flags += ["--strategy", "breakout"]
    if draw.random() < 0.5:
        flags += ["--mode", draw.choice([*STAGES, "shadow", "shadow", "shadow", *["testnet"] * 6])]
    if draw.random() < 0.3:
        flags += ["--account", draw.choice(["live", "kraken", "paper"])]
    if draw.random() < 0.2:
        flags += ["--env-name", draw.choice(["live", "production"])]
    flags += [flag for flag in ("--no-registry", "--fresh", "--json", "--verbose") if draw.random() < 0.3]
    if draw.random() < 0.1:
        flags += [draw.choice(["--live", "--force", "--testnet", "--exchange=kraken", "--permit=x", "--no-dry-run", "--real"])]
    if draw.random() < 0.3:
        flags += ["--dry-run"]
    flags += ["--no-html", "--steps", str(draw.randrange(1, 6))]
    if "testnet" not in flags:
        return [*flags, "--speed", draw.choice(["max", "1e9"])]
    if draw.random() < 0.5:
        return [*flags, "--emulator", "--speed", str(PACE)]
    return [*flags, "--duration", "0.003"]


def an_environment(draw: random.Random) -> dict[str, str]:
    """Return variables at random: keys of exchanges, and wishes under our name."""
    found = {name: f"secret-{name}" for name in KEYS if draw.random() < 0.3}
    wishes = {f"PEAK_TRADE_{name}": draw.choice(["live", "1", "true", "kraken", "testnet"]) for name in NAMES}
    return found | {name: value for name, value in wishes.items() if draw.random() < 0.4}


@pytest.fixture(scope="module")
def exchanges() -> Iterator[tuple[Emulated, Emulated]]:
    """An emulated exchange in our time, and one whose clock goes faster."""
    with emulating() as ours, emulating(speed=PACE, seed=8) as fast:
        yield ours, fast


@pytest.fixture
def wires(exchanges, monkeypatch) -> Iterator[tuple[Wire, Wire]]:
    """Recorded ways to both; `--emulator` gets the second, and questions without an answer do not wait."""
    for module in (gateway, public):
        monkeypatch.setattr(module, "PAUSE_S", 0.001)
    with wire_to(exchanges[0].url) as ours, wire_to(exchanges[1].url) as fast:

        @contextlib.contextmanager
        def run(*, speed: float = 1.0, **_more: Any) -> Iterator[emulated.EmulatedRun]:
            assert speed == PACE
            key = exchanges[1].key()
            keys = {"trading": (key.id, key.secret_text)}
            yield emulated.EmulatedRun(base_url=fast.url, stream_url="ws://127.0.0.1:9", keys=keys, control_token="")

        monkeypatch.setattr(emulated, "emulator_for_run", run)
        yield ours, fast


def looked_at(wire: Wire) -> int:
    """Check everything that went over a wire; return how many orders it was asked to validate."""
    for one in wire.heard:
        assert not re.search(r"cancel|withdraw|amend|edit|batch|transfer", one.line, re.I), one.line
        assert ("private" in one.path) == ("api-key" in one.headers)
    for one in wire.orders:
        assert one.line == "POST /0/private/AddOrder HTTP/1.1"
        assert [value for name, value in one.fields if "validate" in name.lower()] == ["true"]
        assert one.body.endswith(b"&validate=true")
    assert sum(b"AddOrder" in line for line in bytes(wire.raw).splitlines()) == len(wire.orders)
    return len(wire.orders)


@pytest.mark.parametrize("seed", range(12))
def test_nothing_but_simulated_fills(folder, capsys, monkeypatch, watch, wires, exchanges, seed):
    """Random configurations, variables and flags: exit code and words as promised, shadow, testnet or nothing.

    Whatever is drawn, an exchange hears of no order but one that it is only to look at, and without keys nothing private.
    """
    draw = random.Random(seed)
    codes: list[int] = []
    ours, fast = wires
    key = exchanges[0].key()
    real = {"KRAKEN_TESTNET_API_KEY": key.id, "KRAKEN_TESTNET_API_SECRET": key.secret_text}
    for _ in range(12):
        before = len(ours.private), len(watch.connected), len(watch.sockets)
        watch.connected.clear()
        (folder / "config.toml").write_text(a_config(draw, ours.url))
        with monkeypatch.context() as environment:
            given = an_environment(draw) | (real if draw.random() < 0.5 else {})
            for name, value in given.items():
                environment.setenv(name, value)
            if draw.random() < 0.2:
                shutil.copy(folder / "config.toml", folder / "other.toml")
                environment.setenv(PATH_VARIABLE, str(folder / "other.toml"))
            flags = some_flags(draw)
            codes.append(main(flags))
        out, err = capsys.readouterr()
        told = [line for line in err.splitlines() if line.startswith("peak-trade: ") and "Ctrl+C" not in line]
        testnet = "testnet" in flags or ("--mode" not in flags and 'mode = "testnet"' in (folder / "config.toml").read_text())

        assert codes[-1] in ((0, 1, 2, 3) if testnet else (0, 2, 3)), (flags, err)
        assert len(told) >= 1 if codes[-1] else testnet or not told, (flags, err)
        assert testnet or len(told) <= 1, (flags, err)
        assert "Traceback" not in err
        assert "internal fault" not in err
        assert "secret-" not in out + err
        assert key.id not in out + err
        assert key.secret_text not in out + err
        if "--mode" in flags and flags[flags.index("--mode") + 1].lower() in ("shadow_live", "live"):
            assert codes[-1] in (2, 3), flags
        if codes[-1] == 0 and "--json" in flags:
            assert json.loads(out)["mode"] == ("testnet" if testnet else "shadow")
        if not testnet:
            assert not watch.connected
            assert len(watch.sockets) == before[2]
        if not given.keys() >= real.keys():
            assert len(ours.private) == before[0]

    (folder / "config.toml").write_text("[live]\nenabled = true\n")
    assert main([*COMMANDS[0], "--steps", "5", "--speed", "max", "--no-html", "--account", "other"]) == 0
    assert {2, 3} & set(codes)
    assert set(watch.stages) <= {Stage.SHADOW, Stage.TESTNET}
    assert set(watch.venues) | set(watch.engines) <= {SimulatedVenue, stage_two.TestnetVenue}
    assert not any(watch.trading)
    assert watch.proofs == []
    looked_at(ours)
    looked_at(fast)
    stored = b"".join(contents(folder).values())
    for secret in ("secret-", key.id, key.secret_text):
        assert secret.encode() not in stored


def test_the_throws_hit_everything():
    """The seeds above lead to runs, dry runs and refusals alike."""
    drawn = [[some_flags(draw), a_config(draw)] for seed in range(12) for draw in [random.Random(seed)] for _ in range(12)]
    flags = [words for words, _ in drawn]

    assert sum("live" in words for words in flags) > 5
    assert sum("--dry-run" in words for words in flags) > 5
    assert sum("--emulator" in words for words in flags) > 10
    assert sum("testnet" in words and "--emulator" not in words for words in flags) > 10
    assert sum("--mode" not in words and "--dry-run" not in words for words in flags) > 30
    assert sum('mode = "live"' in text for _, text in drawn) > 5
    assert sum('mode = "testnet"' in text for _, text in drawn) > 5


# ---- stage 2 ---------------------------------------------------------------------------------------------------------

TESTNET = """[environment]
mode = "testnet"
[live_risk]
max_data_age_s = 604800
[testnet_limits.symbols."BTC/EUR"]
max_order_notional = "500"
[exchange.kraken_testnet]
base_url = "URL"
"""


@pytest.fixture
def testnet(folder, monkeypatch, wires) -> tuple[Wire, Wire]:
    """A configuration for stage 2 whose exchange is the recorded one, without keys in the environment."""
    for name in ("KRAKEN_TESTNET_API_KEY", "KRAKEN_TESTNET_API_SECRET"):
        monkeypatch.delenv(name, raising=False)
    (folder / "config.toml").write_text(TESTNET.replace("URL", wires[0].url))
    return wires


BUY = ["session", "run", "--strategy", "buy_and_hold", "--no-html", "--json"]


def test_the_configured_stage_runs(testnet, capsys, watch):
    """`environment.mode = "testnet"` without an option: orders are validated at the exchange and simulated here."""
    assert main([*BUY, "--emulator", "--speed", str(PACE), "--steps", "5"]) == 0
    record = json.loads(capsys.readouterr().out)

    assert record["mode"] == "testnet"
    assert looked_at(testnet[1]) >= 1
    assert record["metrics"]["num_fills"] >= 1
    assert (watch.stages, watch.engines, set(watch.trading)) == ([Stage.TESTNET], [stage_two.TestnetVenue], {False})
    assert testnet[0].heard == []


def test_the_emulator_has_no_order_afterwards(testnet, capsys, exchanges):
    """It validated, and placed nothing."""
    engine = exchanges[1].opened.engine
    count = lambda: exchanges[1].inside(lambda: sum(one.account.startswith("account") for one in engine.orders.values()))
    before = count()

    assert main([*BUY, "--mode", "testnet", "--emulator", "--speed", str(PACE), "--steps", "5"]) == 0

    assert looked_at(testnet[1]) >= 1
    assert count() == before
    capsys.readouterr()


@pytest.mark.parametrize("option", [[], ["--mode", "testnet"]])
@pytest.mark.parametrize(
    "given",
    [{}, {"KEY": "abc"}, {"SECRET": "c2VjcmV0"}, {"KEY": "abc", "SECRET": "no base64"}, {"KEY": "a b", "SECRET": "c2VjcmV0"}],
)
def test_without_keys_nothing_begins(testnet, folder, capsys, monkeypatch, option, given):
    """One sentence that names the variables, exit code 2; no session, no budget used, and nothing private was asked."""
    for name, value in given.items():
        monkeypatch.setenv(f"KRAKEN_TESTNET_API_{name}", value)
    before = contents(folder)

    code = main([*BUY, *option, "--duration", "0.003"])
    out, err = capsys.readouterr()

    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "KRAKEN_TESTNET_API_KEY" in err
    assert "KRAKEN_TESTNET_API_SECRET" in err
    assert testnet[0].heard == []
    assert contents(folder) == before


def test_one_key_is_used_by_one_session(testnet, folder, capsys, monkeypatch, exchanges):
    """While another process uses it, exit code 3 and one sentence; nothing private was asked."""
    key = exchanges[0].key()
    monkeypatch.setenv("KRAKEN_TESTNET_API_KEY", key.id)
    monkeypatch.setenv("KRAKEN_TESTNET_API_SECRET", key.secret_text)
    keys = Credentials.read(key.id, key.secret_text)
    held = NonceStore(folder / "var" / "nonces", keys.short, lambda: 0)
    try:
        assert main([*BUY, "--duration", "0.003"]) == 3
    finally:
        held.close()

    assert "another uses it" in capsys.readouterr().err
    assert testnet[0].private == []
    assert main([*BUY, "--duration", "0.003", "--fresh"]) == 0
    assert looked_at(testnet[0]) == 0
    assert {one.path for one in testnet[0].private} == {"/0/private/GetApiKeyInfo"}


def test_stage_two_can_be_switched_off(testnet, folder, capsys):
    """`exchange.kraken_testnet.enabled = false`: refused with exit code 3, before anything is asked."""
    text = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(text + "enabled = false\n")

    assert main([*BUY, "--duration", "0.003"]) == 3
    assert "exchange.kraken_testnet.enabled" in capsys.readouterr().err
    assert testnet[0].heard == []


# ---- no network library ----------------------------------------------------------------------------------------------

SOURCES = ROOT / "src" / "peak_trade"
#: Packages that speak to other machines. `asyncio` and the database's driver may; nothing here asks them to.
NETWORK = {
    *("httpx", "httpx2", "requests", "urllib", "urllib3", "http", "aiohttp", "ccxt", "websockets", "websocket", "socketserver"),
    *("ftplib", "smtplib", "telnetlib", "xmlrpc", "ssl", "select", "grpc", "zmq", "paramiko", "krakenex", "pykrakenapi"),
}


@cache
def tree(path: Path) -> ast.Module:
    """Return a file as a tree; they are taken apart many times."""
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, wherever in it, and those it names to `import_module`."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from (part.value for part in node.args if isinstance(part, ast.Constant) and isinstance(part.value, str))


#: The modules that speak to other machines, and with what: Kraken with bytes that passed a door, its streams; bars through
#: ccxt, without a key; the emulator's faults, told over loopback at the address in its own keys file, or of the drill's own
#: emulator, once there is a proof for that address.
SPEAKERS = {
    "venue/kraken/transport.py": "httpx2",
    "venue/kraken/stream.py": "websockets",
    "market/exchanges.py": "ccxt",
    "cli/emulator.py": "http.client",
    DRILL: "httpx2",
    "runs/schedule/scheduler.py": "select",  # waits on a pipe of its own, which signals write into
    "runs/drills/bench.py": "http.client",
}


def typing_only(path: Path) -> set[str]:
    """Return what a file imports for a type checker alone."""
    blocks = [node for node in tree(path).body if isinstance(node, ast.If)]
    found = [node for block in blocks if ast.unparse(block.test) == "TYPE_CHECKING" for node in ast.walk(block)]
    return {alias.name for node in found if isinstance(node, ast.Import) for alias in node.names}


def test_who_imports_a_network_library():
    """The modules on the list and no other; who asks for bars knows nothing of keys and orders."""
    found = {
        path.relative_to(SOURCES).as_posix(): {
            name for name in imports(path) if name.partition(".")[0] in NETWORK and name != "urllib.parse"
        }
        for path in SOURCES.rglob("*.py")
    }
    found["venue/kraken/gateway.py"] -= typing_only(SOURCES / "venue/kraken/gateway.py")
    speaking = {path: used for path, used in found.items() if used}

    assert speaking.keys() <= SPEAKERS.keys()
    assert speaking.keys() >= SPEAKERS.keys() - {"venue/kraken/stream.py"}
    for path, used in speaking.items():
        assert {name.partition(".")[0] for name in used} == {SPEAKERS[path].partition(".")[0]}
    words = (SOURCES / "market" / "exchanges.py").read_text().lower()
    assert not re.search(r"api_?key|secret|private|create_?order|cancel_?order|withdraw|add_?order", words)
    assert [name for path in SOURCES.rglob("*.py") for name in imports(path) if name.endswith("market.exchanges")] == [
        "peak_trade.market.exchanges"
    ]


def test_no_stream_takes_orders():
    """Orders of Kraken's streams exist nowhere in our client: neither their methods nor a request to an order's channel."""
    words = {word for path in (SOURCES / "venue").rglob("*.py") for word in names(path)}

    assert not words & {"add_order", "amend_order", "edit_order", "batch_add", "batch_cancel", "cancel_all", "cancel_order"}


#: What of `socket` a module may use: this machine's name, and in the module that serves what listens.
OF_SOCKET = {"gethostname"}
TO_LISTEN = {"socket", "AF_INET", "AF_INET6", "SOL_SOCKET", "SO_REUSEADDR", "SOCK_STREAM", "IPPROTO_TCP"}
#: And a datagram to this machine's service manager.
TO_NOTIFY = {"socket", "AF_UNIX", "SOCK_DGRAM"}
#: And a look whether a cluster that somebody named listens at all; nothing is said to it.
TO_KNOCK = {"create_connection"}
SOCKET_USERS = {
    "cli/serving.py": TO_LISTEN,
    "runs/service_notice.py": TO_NOTIFY,
    "research/executors.py": TO_KNOCK,
}


def test_sockets_listen_at_most():
    """`socket` gives this machine's name, listens, notifies and knocks, each in its one place; asyncio does none of it."""
    found: set[str] = set()
    # The emulator is the other side: it serves, and nothing but the command line may import it.
    for path in (path for path in SOURCES.rglob("*.py") if path.parent.name != "emulator"):
        allowed = OF_SOCKET | SOCKET_USERS.get(path.relative_to(SOURCES).as_posix(), set())
        for node in ast.walk(tree(path)):
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

    trees = {path.relative_to(SOURCES).as_posix(): ast.walk(tree(path)) for path in SOURCES.rglob("*.py")}
    readers = [name for name, tree in trees.items() if any(getattr(node, "attr", "") in ("environ", "getenv") for node in tree)]

    assert readers == ["settings.py"]
    source = inspect.getsource(importlib.import_module("peak_trade.settings"))
    assert re.findall(r"os\.environ\S*", source) == ["os.environ"]
    assert settings.PATH_VARIABLE == "PEAK_TRADE_CONFIG_PATH"
