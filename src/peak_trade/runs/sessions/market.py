"""A market that a session follows at an exchange: its history for the plan, its bars as they grow, its bars from a journal."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from peak_trade.compose import DataChoice, MarketReader, Parts
from peak_trade.engine.feed import Tick
from peak_trade.engine.live import HISTORY_MAX, GrowingBars, LiveFeed, Past
from peak_trade.engine.records import recorded_ticks
from peak_trade.journal.chain import Record
from peak_trade.market.dataset import Dataset, find_gaps
from peak_trade.model.bar import COLUMNS, Bars, Timeframe
from peak_trade.model.clock import Clock, PacedClock, moment, nanoseconds
from peak_trade.model.errors import InputError
from peak_trade.model.instrument import Instrument
from peak_trade.model.order import MarketBar
from peak_trade.runs.record import Json, instrument_from, steps_of


def history(parts: Parts, choice: DataChoice, count: int) -> Dataset:
    """Return the last complete bars of a market, at most so many, with the steps that the exchange lists.

    Raises:
        InputError: no symbol or timeframe, or the exchange does not have it, or not so many bars.
        Unavailable: the exchange does not answer.
    """
    if choice.path is not None or choice.start is not None or choice.end is not None:
        raise InputError("expected a session that follows a market, found recorded bars; leave out --data, --start and --end")
    if choice.symbol is None or choice.timeframe is None:
        raise InputError("expected a symbol and a timeframe, found none; give --symbol and --timeframe")
    if count > HISTORY_MAX - 2:
        raise InputError(
            f"expected at most {HISTORY_MAX - 2} warm-up candles, found {count}; the exchange has no older ones: give fewer"
        )
    symbol, timeframe = choice.symbol, Timeframe.parse(choice.timeframe)

    async def ask() -> tuple[Instrument, list[MarketBar]]:
        async with parts.market_reader(timeframe) as reader:
            instrument = await reader.instrument(symbol)
            candles = await reader.candles(instrument.symbol, -1)
        return instrument, [candle.bar for candle in candles if candle.over and candle.traded]

    instrument, bars = asyncio.run(ask())
    if not bars:
        raise InputError(f"expected bars of {instrument.symbol} {timeframe.label}, found none at the exchange; choose another")
    return dataset_of(instrument, timeframe, bars[-count:] if count else bars[-1:], parts.exchange.base_url)


def dataset_of(instrument: Instrument, timeframe: Timeframe, bars: Sequence[MarketBar], origin: str) -> Dataset:
    """Return bars one by one as a dataset."""
    rows = np.array([bar[3:] for bar in bars], dtype=np.float64).reshape(len(bars), len(COLUMNS) - 1)
    columns = {name: rows[:, place] for place, name in enumerate(COLUMNS[1:])}
    stamps = np.array([bar.opened_ns for bar in bars], dtype=np.int64)
    whole = Bars(instrument=instrument, timeframe=timeframe, timestamp=stamps, **columns)
    gaps = find_gaps(stamps, timeframe.step_ns, instrument, None) if len(bars) > 1 else ()
    return Dataset(bars=whole, origin=f"followed at {origin}", gaps=gaps)


def followed_item(choice: DataChoice, dataset: Dataset, exchange: str, traded_from: int) -> Json:
    """Return what a specification says of a market that is followed."""
    bars = dataset.bars
    return {
        "choice": DataChoice(path=None, symbol=bars.instrument.symbol, timeframe=choice.timeframe).to_json(),
        "followed_at": exchange,
        "instrument": steps_of(dataset),
        "traded_from": traded_from,
    }


def journalled_dataset(item: Json, records: Iterable[Record]) -> Dataset:
    """Return the bars of a followed market that a journal holds.

    Raises:
        InputError: it holds none yet.
    """
    instrument = instrument_from(item["instrument"])
    bars = [tick.bar for tick in recorded_ticks(records) if tick.complete and tick.bar.symbol == instrument.symbol]
    if not bars:
        raise InputError(f"expected bars of {instrument.symbol} in the journal, found none yet; wait for the first")
    return dataset_of(instrument, Timeframe.parse(item["choice"]["timeframe"]), bars, item["followed_at"])


@dataclass(kw_only=True)
class Following:
    """The markets of one session as they grow.

    Attributes:
        bars: by symbol; past: what earlier processes of the session were told, in their order.
        pasts: how far each symbol was told.
    """

    bars: dict[str, GrowingBars]
    past: list[Tick]
    pasts: dict[str, Past] = field(default_factory=dict)

    @classmethod
    def begun(cls, datasets: dict[str, Dataset], records: Sequence[Record]) -> "Following":
        """Begin with the history in the datasets, or go on after what a journal holds."""
        found = cls(
            bars={name: GrowingBars(data.bars.instrument, data.bars.timeframe) for name, data in datasets.items()},
            past=list(recorded_ticks(records)),
        )
        # What came before the first bar of the history is left out; the feed tells the history itself.
        found.pasts = {name: Past(closed_ns=int(data.bars.timestamp[0]) - 1) for name, data in datasets.items()}
        for tick in found.past:
            before = found.pasts[tick.bar.symbol]
            if tick.complete:
                found.take(tick.bar)
                found.pasts[tick.bar.symbol] = Past(before.bars + 1, tick.bar.opened_ns, before.opened_ns)
            else:
                found.pasts[tick.bar.symbol] = before._replace(opened_ns=tick.bar.opened_ns)
        return found

    def take(self, bar: MarketBar) -> None:
        """Take the next complete bar of a symbol."""
        self.bars[bar.symbol].add(bar)


async def feed_of(
    parts: Parts, reader: MarketReader, following: Following, step_ns: int, say: Callable[[str], None]
) -> LiveFeed:
    """Return what follows the exchange from where the session is."""
    speed = parts.exchange.speed
    # A clock at our own pace is compared with ours when the session is prepared; one that is faster is an emulator's.
    there: Clock = parts.clock if speed == 1.0 else PacedClock(parts.clock, moment(await reader.now_ns()), speed)
    return LiveFeed(reader, following.pasts, step_ns, lambda: nanoseconds(there.now()), parts.clock, speed=speed, say=say)
