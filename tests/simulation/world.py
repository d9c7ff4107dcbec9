"""A project folder in which time, names, bars and strategies are given, so that a session can be killed and compared.

A simulated death is an exception that nothing in the source may catch; whatever is written after it is a fault.
A power cut is a death after which the disk holds only what was forced to it, and perhaps a part of the rest.
"""

import contextlib
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.builders import flat_bars, random_targets, some_bars

from peak_trade.compose import Code, DataChoice, Parts
from peak_trade.engine import runner
from peak_trade.engine.runner import Course
from peak_trade.journal import chain as chain_module
from peak_trade.journal.chain import segments
from peak_trade.model.bar import F64, Bars
from peak_trade.model.clock import IdSource
from peak_trade.model.instrument import KNOWN
from peak_trade.model.stage import Stage
from peak_trade.research.terms import Side
from peak_trade.runs import record as record_module
from peak_trade.runs.sessions.files import EndedSession
from peak_trade.runs.sessions.plan import Paper, SessionRequest
from peak_trade.runs.trading import session as session_module
from peak_trade.runs.trading import watch as session_watch
from peak_trade.runs.trading.session import SHADOW_RUN, Watcher, run_session
from peak_trade.settings import PATH_VARIABLE, load_config
from peak_trade.strategy import catalogue
from peak_trade.strategy.base import Strategy
from peak_trade.venue.port import Venue

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
ACCOUNT = "simulated"


class Scripted(Strategy):
    """Targets drawn from levels with a seed: every bar's is the same however many bars are asked for."""

    key: ClassVar[str] = "scripted"
    source: ClassVar[str] = "tests"

    seed: int = 1
    levels: tuple[float, ...] = (0.0, 1.0)
    stay: float = 0.7

    def targets(self, bars: Bars) -> F64:
        return random_targets(len(bars), self.seed, self.levels, stay=self.stay)

    def warmup(self) -> int:
        return 1


class Whimsical(Scripted):
    """A second one, to trade beside the first."""

    key: ClassVar[str] = "whimsical"
    seed: int = 2


class SteppingClock:
    """A clock that goes on by a millisecond each time it is asked, and can be set."""

    def __init__(self) -> None:
        self.asked = 0
        self.offset = timedelta()

    def now(self) -> datetime:
        self.asked += 1
        return BEGIN + timedelta(milliseconds=self.asked) + self.offset

    def elapsed_s(self) -> float:
        self.asked += 1
        return self.asked / 1000


class Killed(BaseException):
    """The process was killed here."""


class Killer:
    """A hook that lets the process die at the n-th call of a point, or of all; from then on every call is a fault."""

    def __init__(self, point: str | None = None, number: int = 0) -> None:
        self.point, self.number = point, number
        self.calls: dict[str, int] = {}
        self.total = 0
        self.dead_at: str | None = None
        self.after: list[str] = []

    @property
    def dead(self) -> bool:
        return self.dead_at is not None

    def __call__(self, point: str) -> None:
        if self.dead:
            self.after.append(point)
            raise Killed(point)
        self.total += 1
        self.calls[point] = self.calls.get(point, 0) + 1
        reached = self.total if self.point is None else self.calls.get(self.point, 0)
        if self.number and reached == self.number and self.point in (None, point):
            self.dead_at = point
            raise Killed(point)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A session that is rich in orders; bars are random, or flat ones at the given prices."""

    name: str
    bars: int = 120
    seed: int = 7
    symbols: tuple[str, ...] = ("BTC/EUR",)
    strategies: tuple[tuple[str, Mapping[str, Any]], ...] = (("scripted", {}),)
    paper: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    noise: float = 0.01
    steps: int | None = None
    prices: tuple[float, ...] = ()

    def config(self) -> str:
        """Return the configuration; the limits are wide unless the scenario says otherwise."""
        wide = {
            "max_order_notional": "1000000",
            "max_symbol_exposure_notional": "1000000",
            "max_total_exposure_notional": "1000000",
            "max_daily_loss_abs": "1000000",
            "max_daily_loss_pct": 100.0,
            "max_orders_per_minute": 1000,
            "max_orders_per_day": 100000,
            "max_order_quantity": "100000",
            "symbols": ["BTC/EUR", "ETH/EUR", "SYN/USD"],
        } | dict(self.limits)
        lines = [f"{name} = {_toml(value)}" for name, value in wide.items()]
        return "[environment]\nmode = 'shadow'\n[live_risk]\n" + "\n".join(lines) + "\n"

    def request(self, folder: Path) -> SessionRequest:
        """Return what is asked for, again and again."""
        terms = {
            "start_balance": "10000",
            "fee_rate": "0.0026",
            "maker_fee_rate": "0.0016",
            "slippage_bps": "5",
            "position_fraction": "0.3",
        } | {name: value for name, value in self.paper.items() if name not in ("side", "latency_ms", "warmup_candles")}
        whole = {name: self.paper[name] for name in ("latency_ms", "warmup_candles") if name in self.paper}
        paper = Paper(
            side=Side(self.paper.get("side", "long")), **whole, **{name: Decimal(value) for name, value in terms.items()}
        )
        data = tuple(
            DataChoice(path=folder / f"{symbol.replace('/', '-')}.parquet", symbol=symbol, timeframe="1m")
            for symbol in self.symbols
        )
        return SessionRequest(
            mode=Stage.SHADOW,
            run_type=SHADOW_RUN,
            strategies=self.strategies,
            data=data,
            paper=paper,
            account=ACCOUNT,
            course=Course(steps=self.steps),
            speed=None,
            env_name="simulation",
        )

    def write(self, folder: Path) -> None:
        """Write configuration and bars."""
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text(self.config())
        for number, symbol in enumerate(self.symbols):
            instrument = KNOWN[symbol]
            if self.prices:
                bars = flat_bars(self.prices, timeframe="1m", instrument=instrument)
                bars.to_polars().write_parquet(folder / f"{instrument.slug}.parquet")
                continue
            bars = some_bars(
                self.bars, seed=self.seed + number, noise=self.noise, gap=self.noise / 5, timeframe="1m", instrument=instrument
            )
            bars.to_polars().write_parquet(folder / f"{symbol.replace('/', '-')}.parquet")


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


class Disk:
    """What the disk was forced to keep: the size of each journal file at its last fsync."""

    def __init__(self) -> None:
        self.forced: dict[Path, int] = {}
        self.refuse: Callable[[Path, str], None] = lambda _path, _what: None
        self.watch: Killer | None = None
        self.late: list[str] = []

    def fsync(self, handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        self.seen(path, "fsync")
        self.forced[path] = os.fstat(handle).st_size

    def seen(self, path: Path, what: str) -> None:
        self.refuse(path, what)
        if self.watch is not None and self.watch.dead:
            self.late.append(f"{what} {path.name}")

    def cut(self, folder: Path, lose: random.Random) -> None:
        """Lose, of each file that is appended to, a random part of what it was not forced to keep."""
        for path in folder.rglob("*.jsonl"):
            forced, size = self.forced.get(path, 0), path.stat().st_size
            if size > forced:
                os.truncate(path, lose.randint(forced, size))


class World:
    """A project folder, the parts that are fixed in it, and the processes that live and die there."""

    def __init__(self, scenario: Scenario, folder: Path, disk: Disk, *, seed: int = 1) -> None:
        self.scenario, self.folder, self.disk = scenario, folder, disk
        self.clock = SteppingClock()
        self.ids = IdSource(self.clock, random.Random(seed))
        self.request = scenario.request(folder)
        self.wrap: Callable[[Venue], Venue] = lambda venue: venue
        self.points: dict[str, int] = {}

    @contextlib.contextmanager
    def parts(self) -> Iterator[Parts]:
        """Yield parts as a new process would build them."""
        before = open_files()
        parts = _Parts(load_config(self.folder / "config.toml"), self)
        try:
            yield parts
        finally:
            parts.close()
            self.let_go(before)

    def run(self, faults: Callable[[str], None] | None = None, request: SessionRequest | None = None) -> EndedSession:
        """Run the session in a process of its own, as far as that goes in one."""
        hook = Killer() if faults is None else faults
        self.disk.watch = hook if isinstance(hook, Killer) else None
        try:
            with self.parts() as parts:
                return run_session(parts, request or self.request, Watcher(faults=hook))
        finally:
            self.disk.watch = None
            for point, count in getattr(hook, "calls", {}).items():
                self.points[point] = self.points.get(point, 0) + count

    def killed(self, killer: Killer, *, power: random.Random | None = None) -> bool:
        """Run the session until the killer strikes; return whether it did."""
        note = self.folder / "var" / "journal" / ACCOUNT / ".holder"
        held = b""

        def hook(point: str) -> None:
            nonlocal held
            try:
                killer(point)
            except Killed:
                held = held or (note.read_bytes() if note.exists() else b"")
                raise

        self.disk.watch, self.disk.late = killer, []
        try:
            with self.parts() as parts:
                run_session(parts, self.request, Watcher(faults=hook))
        except Killed:
            pass
        finally:
            self.disk.watch = None
            for point, count in killer.calls.items():
                self.points[point] = self.points.get(point, 0) + count
        if killer.dead:
            if held:
                note.write_bytes(held)  # a process that was really killed leaves it behind
            if power is not None:
                self.disk.cut(self.folder / "var" / "journal", power)
        return killer.dead

    def journals(self) -> list[Path]:
        """Return the segments of the account, oldest first."""
        return segments(self.folder / "var" / "journal", ACCOUNT)

    def venue_logs(self) -> list[Path]:
        """Return what the simulated venue remembers, one file for each beginning."""
        return sorted((self.folder / "var" / "venue" / ACCOUNT).glob("*.jsonl"))

    def let_go(self, before: set[Path]) -> None:
        """Close what a process that ended would no longer have open."""
        for handle in open_files() - before:
            with contextlib.suppress(OSError):
                if handle.readlink().is_relative_to(self.folder):
                    os.close(int(handle.name))


def open_files() -> set[Path]:
    """Return the handles that this process has open."""
    return set(Path("/proc/self/fd").iterdir())


class _Parts(Parts):
    """Parts with the world's clock, names and, where a test wants one, venue."""

    def __init__(self, settings: Any, world: World) -> None:
        super().__init__(settings)
        self.world = world
        self.clock, self.ids = world.clock, world.ids

    def venue(self, *arguments: Any, **options: Any) -> Venue:
        return self.world.wrap(super().venue(*arguments, **options))


class Forge:
    """Makes worlds quickly: each scenario's folder, with registry and key, is made once and copied."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self.folder, self.disk = folder, disk
        self._made = 0

    def world(self, scenario: Scenario, *, seed: int = 1) -> World:
        template = self.folder / f"template-{scenario.name}"
        if not template.exists():
            self._template(scenario, template)
        self._made += 1
        folder = self.folder / f"world-{self._made}"
        shutil.copytree(template, folder)
        return World(scenario, folder, self.disk, seed=seed)

    def drop(self, world: World) -> None:
        shutil.rmtree(world.folder)

    def _template(self, scenario: Scenario, template: Path) -> None:
        scenario.write(template)
        with contextlib.closing(Parts(load_config(template / "config.toml"))) as parts:
            assert parts.sessions
            assert parts.signer


@contextlib.contextmanager
def made_deterministic() -> Iterator[Disk]:
    """Fix what a process would ask the machine for, look at what is forced to disk, and force nothing."""
    disk = Disk()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(PATH_VARIABLE, raising=False)
        patch.setitem(catalogue.catalogue(), "scripted", Scripted)
        patch.setitem(catalogue.catalogue(), "whimsical", Whimsical)
        patch.setattr(record_module, "code_in_use", lambda: Code("simulated", clean=True))
        # The comparison with an ideal session only reads, takes as long as the session, and has tests of its own.
        patch.setattr(session_module, "expectation", lambda *_arguments: (None, None))
        # A thread of its own writes it down, at a moment that nothing here decides.
        patch.setattr(session_watch, "report_incident", lambda _parts, **_facts: None)
        patch.setattr(os, "fsync", disk.fsync)
        patch.setattr(chain_module.os, "write", _watched(disk, os.write))
        patch.setattr(runner, "_TURN", 32)
        patch.setattr(runner, "_SIGN_S", 0.05)
        patch.setattr(runner, "_MARK_BARS", 25)
        yield disk


def _watched(disk: Disk, write: Callable[[int, bytes], int]) -> Callable[[int, bytes], int]:
    def watched(handle: int, content: bytes) -> int:
        with contextlib.suppress(FileNotFoundError):
            path = Path(f"/proc/self/fd/{handle}").readlink()
            if path.suffix == ".jsonl":
                disk.seen(path, "write")
        return write(handle, content)

    return watched
