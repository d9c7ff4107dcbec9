"""The rows about testnet sessions: how long a decision takes to the wire, and what asking a strategy at every bar comes to."""

import asyncio
import json
import random
import resource
import sys
import tempfile
import time
from asyncio import selector_events
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import numpy as np

from bench.rows import some_bars
from bench.sessions import LIMITS, MUCH, Turning
from peak_trade.engine.decider import Decider, Seat
from peak_trade.engine.engine import Engine
from peak_trade.engine.live import GrowingBars
from peak_trade.engine.state import LegPlan, Plan
from peak_trade.engine.tape import Tape
from peak_trade.journal.chain import Chain
from peak_trade.journal.signing import Signer
from peak_trade.model.bar import Bars
from peak_trade.model.clock import MachineClock, nanoseconds
from peak_trade.model.instrument import KNOWN
from peak_trade.model.order import MarketBar
from peak_trade.model.stage import Stage
from peak_trade.runs.emulated import EmulatedRun, emulator_for_run
from peak_trade.runs.trading.testnet_budget import TestnetBudget
from peak_trade.settings import DailyLimits
from peak_trade.strategy.catalogue import make
from peak_trade.strategy.sizing import SizedBy, Sizing
from peak_trade.venue.kraken.budget import TIER_LIMITS
from peak_trade.venue.kraken.checking import KrakenCheck
from peak_trade.venue.kraken.gateway import Gateway, GatewayParts
from peak_trade.venue.kraken.market import KrakenMarket
from peak_trade.venue.kraken.nonce import NonceStore
from peak_trade.venue.kraken.public import PublicMarket
from peak_trade.venue.kraken.wire import Credentials
from peak_trade.venue.log import FileLog
from peak_trade.venue.matching import Costs
from peak_trade.venue.simulated import Market, SimulatedVenue
from peak_trade.venue.testnet import TestnetVenue

#: Orders in a row, and seconds between two.
ORDERS, EVERY_S = 120, 1.0
SYMBOL = "BTC/EUR"
CLOCK = MachineClock()


class Wire:
    """Notes when the last byte of an order is given to its socket."""

    sent: ClassVar[list[tuple[float, float]]] = []

    @classmethod
    def noted(cls, write: Callable[..., None]) -> Callable[..., None]:
        """Return a transport's write that notes."""

        def writing(transport: Any, data: Any) -> None:
            if b"validate=true" in bytes(data):
                cls.sent.append(_moment())
            write(transport, data)

        return writing


def whole_venue(run: EmulatedRun, folder: Path, clock: MachineClock) -> TestnetVenue:
    """Return the venue of stage 2 as sessions have it, at an emulator: nonces, budget and log on the disk."""
    from peak_trade.model.bar import Timeframe

    keys = Credentials.read(*run.keys["trading"])
    parts = GatewayParts(clock=clock, chance=random.Random(1), limits=TIER_LIMITS["pro"])  # noqa: S311 - for pauses
    nonces = NonceStore(folder / "nonces", keys.short, lambda: nanoseconds(clock.now()))
    market = KrakenMarket(PublicMarket(parts, run.base_url, 0.0), Timeframe.parse("1m"))
    check = KrakenCheck(Gateway(keys, nonces, parts, run.base_url), market, clock, speed=1.0, max_skew_ms=5_000)
    simulated = Market(costs=Costs(Decimal("0.004"), Decimal("0.0025"), Decimal("0.0005")))
    inner = SimulatedVenue(Stage.TESTNET, {SYMBOL: KNOWN[SYMBOL]}, MUCH, simulated, FileLog(folder / "venue.jsonl"))
    budget = TestnetBudget(folder / "budget", DailyLimits(max_orders=10_000))
    return TestnetVenue(
        inner,
        check,
        market,
        clock,
        charge=lambda: None if budget.charge_order("bench", CLOCK.now()) else "used up",
        prepay=lambda: budget.prepay("bench", CLOCK.now()),
        note=lambda _kind, _body: None,
        allowed=lambda: None,
    )


def _moment() -> tuple[float, float]:
    """Return the present, and what this process has computed so far; seconds."""
    return time.perf_counter(), time.process_time()


async def decided(run: EmulatedRun, folder: Path) -> list[tuple[float, float]]:
    """Run a session of an order a second; return seconds from each decision to its bytes on the wire, and those computed."""
    clock = MachineClock()
    leg = LegPlan(name="turning", symbol=SYMBOL, sizing=Sizing(SizedBy.NOTIONAL, Decimal(50)))
    plan = Plan(origin="bench", legs=(leg,), instruments={SYMBOL: KNOWN[SYMBOL]}, limits=LIMITS, cash=MUCH)
    signer = Signer.load_or_make(folder / "key.pem")
    chain = Chain.begin(folder, "bench", "bench", {}, at=clock.now(), signer=signer)
    venue = whole_venue(run, folder, clock)
    engine = Engine(plan, venue, chain, Tape(), clock)
    await venue.prepare()
    book = await venue._books.book(SYMBOL)
    price = float(book.bids[0].price)
    growing = GrowingBars(KNOWN[SYMBOL], some_bars(2).timeframe)
    decider = Decider(growing, [Seat(number=0, strategy=Turning(), first=0)], 1)
    delays = []
    step_ns = 60_000_000_000
    for number in range(ORDERS):
        await asyncio.sleep(EVERY_S)
        bar = MarketBar(SYMBOL, number * step_ns, step_ns, price, price, price, price, 1.0)
        await engine.open_bar(bar)
        growing.add(bar)
        before, begun = len(Wire.sent), _moment()
        await engine.close_bar(bar, decider.targets(number))
        if len(Wire.sent) > before:
            sent = Wire.sent[before]
            delays.append((sent[0] - begun[0], sent[1] - begun[1]))
    await venue.release()
    venue.close()
    chain.close()
    return delays


def to_wire() -> dict[str, float]:
    """Time a completed bar to the last byte of its order, waiting for the disk; milliseconds."""
    write = selector_events._SelectorSocketTransport.write  # type: ignore[attr-defined]
    with (
        tempfile.TemporaryDirectory() as name,
        emulator_for_run(tier="pro") as run,
        mock.patch.object(selector_events._SelectorSocketTransport, "write", Wire.noted(write)),  # type: ignore[attr-defined]
    ):
        delays = np.array(asyncio.run(decided(run, Path(name)))) * 1e3
    p50, p99 = (float(np.quantile(delays[:, 0], part)) for part in (0.5, 0.99))
    return {"value": p50, "p99": p99, "orders": float(len(delays)), "computed": float(np.median(delays[:, 1]))}


def charges(count: int = 300) -> dict[str, float]:
    """Time charging an order to the day's budget, waiting for the disk, and taking one that was charged before; ms."""
    with tempfile.TemporaryDirectory() as name:
        budget = TestnetBudget(Path(name), DailyLimits(max_orders=10_000))
        taken: list[float] = []
        before: list[float] = []
        for number in range(count):
            if number % 2:
                budget.prepay("bench", CLOCK.now())
            begun = time.perf_counter()
            budget.charge_order("bench", CLOCK.now())
            (before if number % 2 else taken).append((time.perf_counter() - begun) * 1e3)
    return {
        "value": float(np.quantile(taken, 0.5)),
        "p99": float(np.quantile(taken, 0.99)),
        "before": float(np.quantile(before, 0.99)),
    }


def long_session(count: int = 10_080) -> dict[str, float]:
    """Ask a strategy at each bar of a week of minutes, with all bars so far; tell the last bars' time each, and the growth."""
    whole = some_bars(count)
    growing = GrowingBars(whole.instrument, whole.timeframe)
    strategy = make("ma_crossover", {"fast_window": 20, "slow_window": 50})
    decider = Decider(growing, [Seat(number=0, strategy=strategy, first=0)], 1)
    pages = _resident()
    spent = []
    for number in range(count):
        growing.add(_bar(whole, number))
        begun = time.perf_counter()
        decider.targets(number)
        spent.append(time.perf_counter() - begun)
    last = np.array(spent[-500:]) * 1e3
    return {"value": float(np.median(last)), "p99": float(np.quantile(last, 0.99)), "growth": _resident() - pages}


def _bar(bars: Bars, number: int) -> MarketBar:
    values = (float(column[number]) for column in (bars.open, bars.high, bars.low, bars.close, bars.volume))
    return MarketBar(SYMBOL, int(bars.timestamp[number]), 60_000_000_000, *values)


def _resident() -> float:
    """Return the process's memory, MiB."""
    return int(Path("/proc/self/statm").read_text("utf-8").split()[1]) * resource.getpagesize() / 1_048_576


if __name__ == "__main__":
    found = globals()[sys.argv[1]]()
    print(json.dumps(found | {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
