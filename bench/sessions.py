"""The rows about the engine: what a bar costs, with and without an order, and how long a decision takes to the venue."""

import asyncio
import contextlib
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import ClassVar
from unittest import mock

import numpy as np

from bench.rows import some_bars
from peak_trade.engine.decider import BLOCK, Decider, Seat
from peak_trade.engine.engine import Engine, NoScribe, Scribe
from peak_trade.engine.runner import Course, Outlook, Runner
from peak_trade.engine.state import LegPlan, Plan
from peak_trade.engine.tape import Tape
from peak_trade.journal.chain import Chain
from peak_trade.journal.signing import Signer
from peak_trade.model.bar import F64, Bars
from peak_trade.model.clock import MachineClock
from peak_trade.model.order import MarketBar, exact
from peak_trade.model.stage import Stage
from peak_trade.risk.gate import Approved, Limits
from peak_trade.strategy.base import Strategy
from peak_trade.strategy.indicators import sma
from peak_trade.strategy.sizing import SizedBy, Sizing
from peak_trade.venue.log import FileLog, NoLog, VenueLog
from peak_trade.venue.matching import Costs
from peak_trade.venue.port import Reply
from peak_trade.venue.simulated import Market, SimulatedVenue

MUCH = Decimal(10) ** 12
LIMITS = Limits(
    max_order_notional=MUCH,
    max_symbol_exposure_notional=MUCH,
    max_total_exposure_notional=MUCH,
    max_open_positions=5,
    max_daily_loss_abs=MUCH,
    max_daily_loss_pct=MUCH,
    block_on_violation=True,
    price_collar_pct=Decimal(2),
    max_order_quantity=MUCH,
    max_orders_per_minute=1_000,
    max_orders_per_day=10_000_000,
    duplicate_window_s=1.0,
    max_data_age_s=120.0,
    max_clock_skew_ms=1_000.0,
    symbols=("BTC/EUR",),
)


class Turning(Strategy):
    """In at one close, out at the next: an order at every bar, after computing two averages."""

    key: ClassVar[str] = "turning"
    source: ClassVar[str] = "bench"

    def targets(self, bars: Bars) -> F64:
        """Return 0, 1, 0, 1, ..., the other way round after each crossing."""
        above = sma(bars.close, 20) > sma(bars.close, 50)
        return ((np.arange(len(bars)) + above) % 2).astype(np.float64)

    def warmup(self) -> int:
        """Return none."""
        return 0


class Holding(Turning):
    """In at the first close, and then nothing: what a bar without an order costs while a position is marked."""

    key: ClassVar[str] = "holding"

    def targets(self, bars: Bars) -> F64:
        """Return ones."""
        return np.ones(len(bars))


class Timed(SimulatedVenue):
    """Notes how long after the close of a bar an order reaches it."""

    closed: ClassVar[float] = 0.0
    delays: ClassVar[list[float]] = []

    async def submit(self, approved: Approved) -> Reply:
        """Note the delay, then take the order."""
        self.delays.append(time.perf_counter() - Timed.closed)
        return await super().submit(approved)


def session(
    bars: Bars, strategy: Strategy, folder: Path | None, progress: Callable[[int], None] = lambda _ticks: None
) -> Runner:
    """Return a session over bars, ready to run: with a journal and a venue's log in a folder, or None for none of either."""
    clock = MachineClock()
    leg = LegPlan(name=strategy.key, symbol="BTC/EUR", sizing=Sizing(SizedBy.FRACTION, Decimal("0.5")))
    instruments = {"BTC/EUR": bars.instrument}
    plan = Plan(origin="bench", legs=(leg,), instruments=instruments, limits=LIMITS, cash=MUCH)
    market = Market(costs=Costs(Decimal("0.004"), Decimal("0.0025"), Decimal("0.0005")))
    log: VenueLog = NoLog() if folder is None else FileLog(folder / "venue.jsonl")
    scribe: Scribe = NoScribe()
    if folder is not None:
        signer = Signer.load_or_make(folder / "key.pem")
        scribe = Chain.begin(folder, "bench", "bench", {}, at=clock.now(), signer=signer)
    engine = Engine(plan, Timed(Stage.SHADOW, instruments, MUCH, market, log), scribe, Tape(), clock)
    outlook = Outlook(
        series={"BTC/EUR": bars},
        deciders={"BTC/EUR": Decider(bars, [Seat(number=0, strategy=strategy, first=0)], BLOCK)},
        traded_from=0,
        course=Course(),
        speed=None,
        heartbeat=None,
        max_clock_skew=timedelta(seconds=1),
        sign=lambda: None,
        progress=progress,
    )

    async def made() -> Runner:
        return Runner(engine, outlook, clock)

    return asyncio.run(made())


def timed_run(bars: Bars, strategy: Strategy, *, written: bool = True) -> float:
    """Run a session and return its seconds; not *written*: without journal and log."""
    with tempfile.TemporaryDirectory() as name:
        runner = session(bars, strategy, Path(name) if written else None)
        begun = time.perf_counter()
        asyncio.run(runner.run())
        return time.perf_counter() - begun


def bare_marks(bars: Bars) -> float:
    """Time the least that marking a position at every bar takes: exact price, exact equity, peak and fall."""
    closes = bars.close.tolist()
    cash, held = Decimal(1_000), Decimal("0.5")
    begun = time.perf_counter()
    peak, fall = cash, Decimal(0)
    for close in closes:
        equity = cash + held * exact(close)
        peak = max(peak, equity)
        if equity < peak:
            fall = min(fall, equity / peak - 1)
    return time.perf_counter() - begun


def quiet_bars(count: int = 200_000) -> dict[str, float]:
    """Time a bar without an order, a position being marked."""
    bars = some_bars(count)
    bare = min(bare_marks(bars) for _ in range(3))
    whole = min(timed_run(bars, Holding()) for _ in range(3))
    return {"value": whole / count * 1e6, "ratio": whole / bare}


def busy_bars(count: int = 20_000) -> dict[str, float]:
    """Time a bar with strategy, decision, gate, order, fill and books, at every bar; then the same with what it writes."""
    bars = some_bars(count)
    bare = min(bare_marks(bars) for _ in range(3))
    alone = min(timed_run(bars, Turning(), written=False) for _ in range(3))
    forced = timed_run(bars, Turning())
    with unforced():
        written = min(timed_run(bars, Turning()) for _ in range(3))
    found = {"value": alone, "written": written, "forced": forced}
    return {name: seconds / count * 1e6 for name, seconds in found.items()} | {"ratio": alone / bare}


@contextlib.contextmanager
def unforced() -> Iterator[None]:
    """Let nothing wait for the disk: what is written stays in memory for the kernel to write when it likes."""
    with mock.patch.object(os, "fsync", return_value=None):
        yield


def decision_delay(count: int = 20_000) -> dict[str, float]:
    """Time from a completed bar to its order's arrival at the venue, without waiting for the disk; microseconds."""
    bars = some_bars(count)
    Timed.delays.clear()
    close_bar = Engine.close_bar

    async def noted(self: Engine, bar: MarketBar, targets: tuple[tuple[int, float], ...], late_ns: int = 0) -> None:
        Timed.closed = time.perf_counter()
        await close_bar(self, bar, targets, late_ns)

    with unforced(), mock.patch.object(Engine, "close_bar", noted):
        timed_run(bars, Turning())
    delays = np.array(Timed.delays) * 1e6
    return {"value": float(np.quantile(delays, 0.5)), "p99": float(np.quantile(delays, 0.99)), "orders": float(len(delays))}


def million_bars(count: int = 1_000_000) -> dict[str, float]:
    """Replay a million bars in one session; tell seconds, and how much the process grew after the first 100,000."""
    bars = some_bars(count)
    grown: list[float] = []

    def watch(ticks: int) -> None:
        if ticks in (200_192, 1_999_872):
            pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
            grown.append(pages * resource.getpagesize() / 1_048_576)

    with tempfile.TemporaryDirectory() as name:
        runner = session(bars, Holding(), Path(name), watch)
        begun = time.perf_counter()
        asyncio.run(runner.run())
    return {"value": time.perf_counter() - begun, "growth": grown[-1] - grown[0]}


if __name__ == "__main__":
    found = globals()[sys.argv[1]]()
    print(json.dumps(found | {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
