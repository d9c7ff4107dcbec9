"""Rules whose decisions hang on more than their bars, each in a way that people have fallen into, and rules that only look so.

Of `WAVERING` all must be found out; of `STEADY` none may be accused.
"""

import datetime
import functools
import json
import logging
import os
import random
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import polars as pl

from peak_trade.model.bar import F64, Bars
from peak_trade.strategy.base import Strategy

WAVERING: dict[str, Callable[[Bars], F64]] = {}
STEADY: dict[str, Callable[[Bars], F64]] = {}
#: A file that lies beside the code, as weights of a model do.
BESIDE = Path(__file__).parents[2] / "pyproject.toml"


class Listed(Strategy):
    """Follows one of the rules here; another process finds it by its module."""

    key: ClassVar[str] = "listed"
    source: ClassVar[str] = "a test"
    rule: str

    def targets(self, bars: Bars) -> F64:
        return (WAVERING | STEADY)[self.rule](bars)

    def warmup(self) -> int:
        return 40


def wavering(rule):
    WAVERING[rule.__name__] = rule
    return rule


def steady(rule):
    STEADY[rule.__name__] = rule
    return rule


def trend(bars: Bars) -> F64:
    """Return 1 after a rise over ten bars, -1 after a fall; 0 before."""
    found = np.zeros(len(bars))
    found[10:] = np.sign(bars.close[10:] - bars.close[:-10])
    return found


# ---- chance ----


@wavering
def global_random(bars):
    return trend(bars) * np.array([random.random() < 0.9 for _ in range(len(bars))])


@wavering
def numpy_global(bars):
    return trend(bars) * (np.random.rand(len(bars)) < 0.99)


@wavering
def fresh_generator(bars):
    return trend(bars) * np.random.default_rng().random()


@wavering
def system_random(bars):
    return trend(bars) * (1.0 if random.SystemRandom().random() < 0.5 else -1.0)


DRAWN = random.random()


@wavering
def drawn_at_import(bars):
    return trend(bars) * DRAWN


SOURCE = random.Random(7)


@wavering
def seeded_once_for_all(bars):
    return trend(bars) * SOURCE.random()


@wavering
def name_of_the_run(bars):
    return trend(bars) * (uuid.uuid4().int % 100 / 100)


# ---- order and addresses ----


@wavering
def first_of_a_set(bars):
    name = next(iter({"momentum", "value", "carry", "quality", "size"}))
    return trend(bars) * (len(name) / 10)


@wavering
def sum_in_the_order_of_a_set(bars):
    parts = {"a": 1e16, "b": 1.0, "c": -1e16, "d": 3.0, "e": 0.5}
    return trend(bars) * (sum(parts[name] for name in set(parts)) / 10)


@wavering
def hash_of_a_text(bars):
    return trend(bars) * (hash(bars.instrument.symbol) % 3 - 1)


@wavering
def address_of_the_bars(bars):
    return trend(bars) * ((id(bars) >> 4) % 7 / 10)


@wavering
def sorted_by_address(bars):
    names = sorted([object() for _ in range(8)], key=id)
    return trend(bars) * ((id(names[0]) >> 4) % 7 / 10)


# ---- what is remembered ----


class Counted:
    calls = 0
    highest = 0.0
    kept: ClassVar[dict] = {}


@wavering
def counts_its_calls(bars):
    Counted.calls += 1
    return trend(bars) * (1.0 if Counted.calls % 2 else 0.5)


@wavering
def kept_by_length(bars):
    if len(bars) not in Counted.kept:
        Counted.kept[len(bars)] = trend(bars)
    return Counted.kept[len(bars)]


BY_ADDRESS: dict[int, F64] = {}


@wavering
def kept_by_address(bars):
    if id(bars) not in BY_ADDRESS:
        BY_ADDRESS[id(bars)] = trend(bars)
    return BY_ADDRESS[id(bars)]


@wavering
def highest_ever_seen(bars):
    Counted.highest = max(Counted.highest, float(bars.close.max()))
    return np.clip(bars.close / Counted.highest, 0.0, 1.0)


@functools.cache
def threshold(symbol, count):
    return SCALE[0]


SCALE = [0.0]


@wavering
def cached_threshold(bars):
    SCALE[0] = float(np.std(np.diff(np.log(bars.close))))
    return trend(bars) * (np.abs(np.diff(bars.close, prepend=bars.close[0])) > threshold(bars.instrument.symbol, len(bars)))


SEEN: list[float] = []


@wavering
def list_that_grows(bars):
    SEEN.append(float(bars.close[0]))
    return trend(bars) * (1.0 / len(SEEN))


@wavering
def default_that_is_mutable(bars, known={}):  # noqa: B006 - that is the fault
    known.setdefault("level", float(bars.close[0]))
    return np.where(bars.close > known["level"], 1.0, 0.0)


# ---- time ----


@wavering
def hour_of_the_day(bars):
    return trend(bars) * (1.0 if datetime.datetime.now().hour < 12 else 0.0)  # noqa: DTZ005 - that is the fault


@wavering
def weekend(bars):
    return trend(bars) * (0.0 if datetime.date.today().weekday() >= 5 else 1.0)  # noqa: DTZ011 - that is the fault


@wavering
def age_of_the_data(bars):
    return trend(bars) / (1.0 + (time.time() - bars.timestamp[-1] / 1e9) / 86_400 / 365)


@wavering
def seed_from_the_clock(bars):
    return trend(bars) * np.random.default_rng(time.time_ns()).random(len(bars))


@wavering
def year_of_now(bars):
    return trend(bars) * (time.localtime().tm_year % 10 / 10)


# ---- what lies around ----


@wavering
def variable_that_is_not_set(bars):
    return trend(bars) * float(os.environ.get("WAVERING_SIZE", "0.5")) / 10


@wavering
def variable_that_is_set(bars):
    return trend(bars) * (1.0 if os.getenv("PATH") else 0.5)


@wavering
def file_of_weights(bars):
    return trend(bars) * (len(BESIDE.read_bytes()) % 10 / 10)


@wavering
def table_of_weights(bars):
    with BESIDE.open(encoding="utf-8") as file:
        return trend(bars) * (0.5 if file.readline() else 1.0)


@wavering
def folder_it_is_in(bars):
    return trend(bars) * (0.5 if Path("config.toml").exists() or Path("pyproject.toml").exists() else 1.0)


@wavering
def number_of_the_process(bars):
    return trend(bars) * (os.getpid() % 10 / 10)


@wavering
def finished_first(bars):
    done = []

    def work(name):
        time.sleep(random.random() / 1_000)
        done.append(name)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    return trend(bars) * (done[0] + 1) / 4


# ---- what only looks so ----


@steady
def plain(bars):
    return trend(bars)


@steady
def own_generator(bars):
    chance = np.random.default_rng(7)
    return trend(bars) * (chance.random(len(bars)) < 0.5)


@steady
def own_random(bars):
    chance = random.Random(f"{bars.instrument.symbol} 7")
    return trend(bars) * np.array([chance.random() < 0.5 for _ in range(len(bars))])


@steady
def seeded_each_time(bars):
    random.seed(7)
    return trend(bars) * np.array([random.random() < 0.5 for _ in range(len(bars))])


@steady
def set_that_is_sorted(bars):
    return trend(bars) * (len(sorted({"momentum", "value", "carry", "quality"})[0]) / 10)


@steady
def looked_up_in_a_set(bars):
    return trend(bars) * (1.0 if bars.instrument.symbol in {"BTC/EUR", "ETH/EUR", "SOL/EUR"} else 0.5)


@steady
def order_of_a_dict(bars):
    return trend(bars) * (sum({"a": 0.1, "b": 0.2, "c": 0.3}.values()))


@steady
def timed(bars):
    begun = time.perf_counter(), time.time()
    found = trend(bars)
    logging.getLogger("a test").debug("took %s s", time.perf_counter() - begun[0])
    return found


@steady
def hour_of_the_bar(bars):
    return trend(bars) * (bars.timestamp // 3_600_000_000_000 % 24 < 12)


@steady
def dates_of_the_bars(bars):
    cut = datetime.datetime(2024, 1, 15, tzinfo=datetime.UTC).timestamp() * 1e9
    return trend(bars) * (bars.timestamp > cut)


@steady
def days_of_pandas(bars):
    return trend(bars) * np.asarray(bars.to_pandas().index.day_of_week < 5, dtype=float)


@functools.lru_cache(maxsize=64)
def weights(count):
    return np.linspace(0.0, 1.0, count)


@steady
def cached_by_all_it_needs(bars):
    return trend(bars) * weights(len(bars))


BY_BYTES: dict[bytes, F64] = {}


@steady
def kept_by_content(bars):
    return BY_BYTES.setdefault(bars.close.tobytes(), trend(bars))


@steady
def variable_for_the_log(bars):
    if os.environ.get("WAVERING_VERBOSE"):
        logging.getLogger("a test").debug("asked about %d bars", len(bars))
    return trend(bars)


@steady
def counts_for_the_log(bars):
    Counted.calls += 1
    return trend(bars)


@steady
def writes_a_file(bars):
    with tempfile.TemporaryFile("w") as file:
        json.dump({"bars": len(bars)}, file)
    return trend(bars)


@steady
def averages_of_pandas(bars):
    close = pd.Series(bars.close)
    return np.nan_to_num(np.sign(close - close.rolling(20).mean()).to_numpy())


@steady
def averages_of_polars(bars):
    close = pl.Series(bars.close)
    return np.nan_to_num((close - close.rolling_mean(20)).sign().fill_null(0.0).to_numpy())


@steady
def product_of_matrices(bars):
    columns = np.column_stack([bars.open, bars.high, bars.low, bars.close])
    return np.sign(columns @ np.array([-1.0, 0.0, 0.0, 1.0]))


@steady
def four_threads(bars):
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda span: np.diff(bars.close)[:0].sum() + span, range(4)))
    return trend(bars) * sum(parts) / 10


LOCK = threading.Lock()


@steady
def behind_a_lock(bars):
    with LOCK:
        return trend(bars)


@steady
def late_import(bars):
    from zoneinfo import ZoneInfo

    zone = datetime.datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/Berlin"))
    return trend(bars) * (0.5 if zone.hour == 0 else 1.0)


@steady
def modules_there_are(bars):
    return trend(bars) * (1.0 if "numpy" in sys.modules else 0.5)
