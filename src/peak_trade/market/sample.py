"""Two datasets that need no network: real S&P 500 days, and a seeded synthetic market of minutes."""

import gzip
import io
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl

from peak_trade.market.dataset import Dataset, find_gaps
from peak_trade.model.bar import Bars, Timeframe
from peak_trade.model.errors import DataError
from peak_trade.model.instrument import Instrument

#: Length of the synthetic market: 90 days of minutes.
SYNTHETIC_BARS = 129_600
SYNTHETIC_SEED = 7
#: It begins on 2024-01-01 00:00 UTC.
_SYNTHETIC_START = 1_704_067_200_000_000_000


def sample(instrument: Instrument, timeframe: Timeframe) -> Dataset | None:
    """Return the bundled dataset of that symbol and timeframe, or None where there is none."""
    make = SAMPLES.get((instrument.symbol, timeframe.label))
    return make(instrument) if make else None


def sp500(instrument: Instrument) -> Dataset:
    """Return the S&P 500 index by day, 1999 to 2018, as the `arch` package ships it (read without importing it)."""
    spec = find_spec("arch")
    if spec is None or spec.origin is None:
        raise DataError("missing", "expected the package arch, which ships the S&P 500 sample, found none; run make setup")
    path = Path(spec.origin).parent / "data" / "sp500" / "sp500.csv.gz"
    frame = pl.read_csv(io.BytesIO(gzip.decompress(path.read_bytes())))
    dates = frame["Date"].str.strptime(pl.Date, "%m/%d/%Y")
    timeframe = Timeframe.parse("1d")
    columns = {name.lower(): frame[name].cast(pl.Float64).to_numpy() for name in ("Open", "High", "Low", "Close", "Volume")}
    bars = Bars(
        instrument=instrument,
        timeframe=timeframe,
        timestamp=dates.cast(pl.Datetime("ns")).cast(pl.Int64).to_numpy(),
        **columns,
    )
    gaps = find_gaps(bars.timestamp, timeframe.step_ns, instrument, None)
    return Dataset(bars=bars, origin="bundled sample: S&P 500 days from the arch package", gaps=gaps)


def synthetic(instrument: Instrument, bars: int = SYNTHETIC_BARS, seed: int = SYNTHETIC_SEED) -> Dataset:
    """Return a made-up market of minutes: regimes of drift and volatility, clustered volatility, and rare jumps.

    Two regimes switch as a Markov chain (a calm rise, a wild fall); inside them volatility follows a GARCH(1,1)
    recursion (Bollerslev, 1986) and about one minute in 20,000 jumps (Merton, 1976). Same arguments, same bits.
    """
    random = np.random.default_rng(seed)
    switch = random.random(bars)
    shock = random.standard_normal(bars)
    jump = np.where(random.random(bars) < 1 / 20_000, random.normal(0.0, 0.01, bars), 0.0)
    wick = random.exponential(0.35, (2, bars))
    size = random.lognormal(0.0, 0.6, bars)
    drift, base = (2e-6, -4e-6), (0.0004, 0.0011)
    stay = (1 - 1 / 4_000, 1 - 1 / 1_500)
    regime, variance, moves, spread = 0, base[0] ** 2, np.empty(bars), np.empty(bars)
    for bar in range(bars):
        if switch[bar] > stay[regime]:
            regime = 1 - regime
        spread[bar] = variance**0.5
        moves[bar] = drift[regime] + spread[bar] * shock[bar]
        variance = 0.03 * base[regime] ** 2 + 0.07 * moves[bar] ** 2 + 0.90 * variance
    close = np.round(100.0 * np.exp(np.cumsum(moves + jump)), 4)
    opened = np.concatenate([[100.0], close[:-1]])
    high = np.round(np.maximum(opened, close) * (1 + wick[0] * spread), 4)
    low = np.round(np.minimum(opened, close) * (1 - wick[1] * spread), 4)
    timeframe = Timeframe.parse("1m")
    made = Bars(
        instrument=instrument,
        timeframe=timeframe,
        timestamp=_SYNTHETIC_START + np.arange(bars, dtype=np.int64) * timeframe.step_ns,
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=np.round(size * (1 + np.abs(moves) / spread), 6),
    )
    return Dataset(bars=made, origin=f"bundled sample: synthetic minutes, seed {seed}", notes=("synthetic: not a real market",))


SAMPLES: dict[tuple[str, str], Callable[[Instrument], Dataset]] = {
    ("SPX/USD", "1d"): sp500,
    ("SYN/USD", "1m"): synthetic,
}
