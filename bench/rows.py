"""The rows of the table; each runs in a process of its own so that its peak memory is its own."""

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np

from bench.bare import bare_run, walk
from peak_trade.model.bar import Bars, Timeframe
from peak_trade.model.instrument import KNOWN
from peak_trade.research.backtest import run
from peak_trade.research.executors import Workers, core_count
from peak_trade.research.kernel import compiled
from peak_trade.research.portfolio import Allotting, Sleeve, Weighing, portfolio
from peak_trade.research.sweep import Evaluator, combinations, sweep
from peak_trade.research.terms import Side, Terms
from peak_trade.strategy.base import checked_targets
from peak_trade.strategy.catalogue import make
from peak_trade.strategy.sizing import Sizing

REPEATS = 7
TERMS = Terms(cash=Decimal(10_000), fee_bps=26.0, slippage_bps=5.0, sizing=Sizing.parse("fraction=1.0"), side=Side.LONG)


def some_bars(count: int) -> Bars:
    """Return a random walk as bars."""
    opened, high, low, close = walk(count)
    return Bars(
        instrument=KNOWN["BTC/EUR"],
        timeframe=Timeframe.parse("1m"),
        timestamp=np.arange(count, dtype=np.int64) * 60_000_000_000,
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=np.ones(count),
    )


def best_of(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the shortest of several times, in seconds, after one warm-up."""
    work()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


def one_backtest(count: int = 1_000_000) -> dict[str, float]:
    """Time a backtest with indicators, fills, round trips, equity and metrics against the bare loop."""
    bars = some_bars(count)
    strategy = make("ma_crossover", {"fast_window": 20, "slow_window": 50})
    loop = compiled()
    bare = best_of(bare_run(count, bars.open, bars.close))
    whole = best_of(lambda: run(bars, strategy, checked_targets(bars, strategy), TERMS, loop))
    return {"value": whole / count * 1e9, "bare": bare / count * 1e9, "ratio": whole / bare}


def whole_portfolio(count: int = 100_000, symbols: int = 20) -> dict[str, float]:
    """Time 5 strategies on each of several symbols with one account, targets, attribution and figures included."""
    names = [f"{first}{second}X/EUR" for first in "ABCDE" for second in "FGHI"][:symbols]
    markets = [
        walked(replace(some_bars(count), instrument=replace(KNOWN["BTC/EUR"], symbol=name)), number)
        for number, name in enumerate(names)
    ]
    kinds = [make("ma_crossover", {"fast_window": fast, "slow_window": 50 + fast}) for fast in (10, 15, 20, 25, 30)]
    sleeves = [Sleeve(strategy=kind, symbol=symbol) for symbol in range(symbols) for kind in kinds]
    plan = Allotting(weighing=Weighing.INVERSE_VOLATILITY, every=240, resized=True)
    made: list[int] = []
    seconds = best_of(lambda: made.append(len(portfolio(markets, sleeves, TERMS, plan).fills)), repeats=3)
    return {"value": seconds, "fills": made[-1]}


def walked(bars: Bars, seed: int) -> Bars:
    """Return the bars with the prices of a walk of its own for each seed."""
    moves = np.random.default_rng(seed).normal(0.0, 1e-3, len(bars))
    close = 100.0 * np.exp(np.cumsum(moves))
    opened = close * np.exp(-moves)
    return replace(bars, open=opened, high=np.maximum(opened, close), low=np.minimum(opened, close), close=close)


def many_pairs(count: int = 100_000) -> dict[str, float]:
    """Time 1,000 parameter pairs with full metrics on all cores against the bare loop on as many."""
    bars = some_bars(count)
    grid = {"fast_window": range(2, 52, 2), "slow_window": range(55, 255, 5)}
    every = list(enumerate(combinations("ma_crossover", {name: list(values) for name, values in grid.items()}, [], {})))
    cores = core_count()
    bare = best_of(bare_run(count, bars.open, bars.close)) / cores

    def work() -> None:
        done = sweep(Evaluator(bars, "ma_crossover", TERMS), every, workers=Workers.THREADS, count=cores)
        assert sum(len(piece) for piece in done) == len(every)

    each = best_of(work, repeats=3) / len(every)
    return {"value": 1.0 / each, "bare": 1.0 / bare, "ratio": each / bare}


def walk_windows(folder: str, count: int = 100_000) -> dict[str, float]:
    """Time a walk-forward of 20 windows and 100 combinations, registered, after one warm-up; pairs are window x combination."""
    from peak_trade.compose import DataChoice, Parts
    from peak_trade.research.grid import line_plan
    from peak_trade.research.splits import Length, WalkPlan
    from peak_trade.runs.research.walk_forward import WalkRequest, run_walk_forward
    from peak_trade.settings import load_config

    path = Path(folder) / "walk.parquet"
    some_bars(count).to_polars().write_parquet(path)
    parts = Parts(load_config(Path(folder) / "config.toml"))
    grid = ["fast_window=5:50:5", "slow_window=60:150:10"]
    lengths = {
        name: Length.parse(text, name, zero=True) for name, text in (("train", "20000"), ("test", "4000"), ("embargo", "0"))
    }
    request = WalkRequest(
        plan=line_plan("ma_crossover", grid, []),
        walk=WalkPlan(**lengths, anchored=False),
        data=DataChoice(path=path, symbol="BTC/EUR", timeframe="1m"),
        terms=TERMS,
    )

    def work() -> None:
        done = run_walk_forward(parts, request)
        assert done is not None
        assert (len(done.record["windows"]), done.record["combinations"]) == (20, 100)

    value = best_of(work, repeats=3)
    parts.close()
    return {"value": value}


def large_import(folder: str, count: int = 5_000_000) -> dict[str, float]:
    """Import a CSV of 5 million bars into a store and run a backtest over it."""
    from peak_trade.market.importing import read_dataset
    from peak_trade.market.store import Store

    begun = time.perf_counter()
    instrument, timeframe = KNOWN["BTC/EUR"], Timeframe.parse("1m")
    store = Store(Path(folder) / "data")
    store.save(read_dataset(Path(folder) / "large.csv", instrument, timeframe))
    bars = store.load(instrument, timeframe).bars
    strategy = make("ma_crossover", {})
    run(bars, strategy, checked_targets(bars, strategy), TERMS, compiled())
    return {"value": time.perf_counter() - begun}


def write_csv(folder: str, count: int = 5_000_000) -> dict[str, float]:
    """Write the file for `large_import`."""
    import polars as pl

    frame = some_bars(count).to_polars().with_columns(pl.col("timestamp").dt.epoch("s") + 1_600_000_020)
    frame.write_csv(Path(folder) / "large.csv")
    return {"value": 0.0}


def bare_process(folder: str) -> dict[str, float]:
    """Do the bare job from a cold start: load a file of bars, run the bare loop."""
    import polars as pl

    frame = pl.read_parquet(Path(folder) / "small.parquet")
    opened, close = frame["open"].to_numpy(), frame["close"].to_numpy()
    return {"value": bare_run(len(close), opened, close)()}


def small_file(folder: str) -> dict[str, float]:
    """Write 10,000 bars for the rows that measure whole processes."""
    some_bars(10_000).to_polars().write_parquet(Path(folder) / "small.parquet")
    return {"value": 10_000.0}


if __name__ == "__main__":
    found = globals()[sys.argv[1]](*sys.argv[2:])
    print(json.dumps(found | {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
