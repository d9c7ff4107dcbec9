"""A recorded market: trades or bars of files are traded again around a two-sided book, at the pace of the emulator's clock.

Recorded times are shifted by a whole number of bars, so that the replay is now. What was recorded before its beginning is the
past of the candles. A recorded trade takes place at its price with its volume: a client's order that the market traded through
is filled whole, one at that very price as far as the volume goes, and the market's own orders take the rest. A bar is walked
from its open to its close in straight legs, over its low first where it rises and over its high first where it falls.
"""

import itertools
import math
import random
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from peak_trade.emulator.book import Queued
from peak_trade.emulator.candles import KEPT, Candles, still
from peak_trade.emulator.exchange import MatchingEngine
from peak_trade.emulator.pairs import PAIRS, Pair
from peak_trade.emulator.quotes import CHANGES_PER_S, QuoteLadder
from peak_trade.emulator.rest import MarketCandle
from peak_trade.model.bar import F64, I64
from peak_trade.model.clock import moment_text
from peak_trade.model.errors import InputError

NS = 1_000_000_000
#: Trades that each leg of a bar is cut into, and all of a bar.
LEG = 4
WALK = 3 * LEG + 1
#: What trades are shifted by a multiple of, nanoseconds.
MINUTE = 60 * NS
#: Rows that are the past unless said otherwise, and the part of a recording that they are at most.
PAST_ROWS, PAST_PART = KEPT, 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What was recorded of a pair.

    Attributes:
        at: times in nanoseconds UTC, ascending: of the trades, or at which bars open.
        step: length of a bar, nanoseconds; 0 says that the rows are trades.
        columns: as long as *at*: open, high, low, close and volume of bars; price and volume of trades, quote and base
            currency; `buys`, 1 where the taker bought and 0 where it sold, is optional.
    """

    symbol: str
    at: I64
    step: int
    columns: Mapping[str, F64]

    def price(self, row: int) -> float:
        """Return the price at which a row begins."""
        return float(self.columns["open" if self.step else "price"][row])


class TapeTrade(NamedTuple):
    """A trade to be made: when, nanoseconds UTC as recorded; ticks and lots; whether its taker buys, None where unknown."""

    at: int
    price: int
    lots: int
    buys: bool | None


def walked(opened: float, high: float, low: float, close: float) -> list[float]:
    """Return the prices that a bar is walked along: 13, straight legs between its open, its two extremes and its close."""
    first, second = (low, high) if close >= opened else (high, low)
    corners, found = (opened, first, second, close), [opened]
    for start, end in itertools.pairwise(corners):
        found += [start + (end - start) * number / LEG for number in range(1, LEG)] + [end]
    return found


def beginning(recordings: Sequence[Recording], said: int | None) -> int:
    """Return the recorded time at which a replay begins: what was said, else late enough for a past.

    Raises:
        InputError: nothing was recorded from then on.
    """
    first = recordings[0]
    if said is None:
        return int(first.at[min(PAST_ROWS, int(len(first.at) * PAST_PART))])
    if not any(one.at[0] <= said <= one.at[-1] for one in recordings):
        low, high = min(int(one.at[0]) for one in recordings), max(int(one.at[-1]) for one in recordings)
        raise InputError(
            f"expected --from within the recorded time, {moment_text(low)} to {moment_text(high)}, found {moment_text(said)}; "
            "choose a time between"
        )
    return said


def shift_of(recordings: Sequence[Recording], begin: int, now: int) -> int:
    """Return how much later than recorded everything happens, nanoseconds: whole bars of the longest, or whole minutes."""
    whole = max(one.step for one in recordings) or MINUTE
    return (now - begin) // whole * whole


class ReplayMarket:
    """The recorded flow of the pairs of an exchange; each recording's pair is listed."""

    def __init__(
        self,
        exchange: MatchingEngine,
        recordings: Sequence[Recording],
        begin: int,
        shift: int,
        now: int,
        seed: int,
        candles: Mapping[str, Candles],
        ended: Callable[[int], None],
    ) -> None:
        """Stand at the beginning.

        Args:
            begin: recorded time from which on rows are replayed; shift: as `shift_of` gives it.
            ended: told once, when all is over.
            now: nanoseconds UTC.
        """
        chance = random.Random(seed)  # noqa: S311 - a market, not a secret
        self._ended, self._now = ended, now
        self._players: dict[str, Player] = {}
        for one in recordings:
            # A bar that is running at the beginning is replayed from its open; the trades of it that are due come at once.
            row = int(one.at.searchsorted(begin - one.step, side="right" if one.step else "left"))
            listing = exchange.listings[one.symbol]
            candles[one.symbol].precede(
                lambda interval, one=one, row=row: past(one, row, interval, shift)  # type: ignore[misc]
            )
            listing.last = tick_price(one.price(min(row, len(one.at) - 1)), listing.pair)
            player = Player(exchange, one, row, shift, chance)
            self._players[one.symbol] = player
            player.ladder.stand(now)

    def jump(self, pair: Pair, factor: float) -> None:
        """Move a pair's book until its next recorded trade."""
        ladder = self._players[pair.symbol].ladder
        ladder.price = max(ladder.price * factor, float(pair.tick) * 1_000)

    def step(self, now: int, halted: Container[str] = ()) -> None:
        """Let time pass up to a moment, nanoseconds; pairs that are halted stand still, and what was due then never happens."""
        passed, self._now = max(now - self._now, 0) / NS, now
        for name, player in self._players.items():
            if name in halted:
                player.skip(now)
            else:
                player.play(now, passed)
        if self._players and all(player.over for player in self._players.values()):
            self._ended(now)
            self._ended = lambda _now: None


class Player:
    """Replays one recording."""

    def __init__(self, exchange: MatchingEngine, recording: Recording, row: int, shift: int, chance: random.Random) -> None:
        self._exchange, self._pair, self._shift = exchange, PAIRS[recording.symbol], shift
        self.ladder = QuoteLadder(exchange, self._pair, chance, float(exchange.listings[recording.symbol].last))
        self._tape = tape(recording, row, self._pair)
        self._next = next(self._tape, None)
        self._bought = True

    @property
    def over(self) -> bool:
        """Whether nothing comes any more."""
        return self._next is None

    def play(self, now: int, passed: float) -> None:
        """Make the trades that are due; *passed* is in seconds."""
        if self._next is not None:
            self.ladder.stir(CHANGES_PER_S * passed, now)
        if self._next is not None and self._next.at + self._shift <= now:
            # An order is never filled before it was there: the market is a step behind its clients.
            mine = [order for orders in self._exchange.working.values() for order in orders.values()]
            floor = max((order.opened for order in mine if order.wish.pair is self._pair), default=0)
            while self._next is not None and (at := self._next.at + self._shift) <= now:
                self._trade(self._next, max(at, min(floor, now)))
                self._next = next(self._tape, None)
        self.ladder.stand(now)

    def skip(self, now: int) -> None:
        """Leave out the trades that are due, as if nobody had made them."""
        while self._next is not None and self._next.at + self._shift <= now:
            self._next = next(self._tape, None)

    def _trade(self, one: TapeTrade, at: int) -> None:
        """Make one recorded trade."""
        exchange, pair = self._exchange, self._pair
        last = exchange.listings[pair.symbol].last
        price = Decimal(one.price).scaleb(-pair.price_decimals)
        if one.buys is not None:
            self._bought = one.buys
        elif price != last:
            self._bought = price > last
        self.ladder.clear(one.price)
        self.ladder.price = float(price)
        if not one.lots:
            return
        rest = one.lots
        for buys in (True, False):
            facing = list(exchange.listings[pair.symbol].book.facing(buys=buys, price=one.price))
            through = sum(order.left + order.hidden for order in facing if order.price != one.price)
            there = sum(order.left + order.hidden for order in facing if order.price == one.price)
            if taken := through + min(there, max(rest - through, 0)):
                exchange.take(pair, self._volume(taken), at, buys=buys, limit=one.price)
                rest = max(rest - taken, 0)
        quoted: Queued | None = exchange.quote(pair, one.price, rest, buys=not self._bought)
        if quoted is not None:
            exchange.take(pair, self._volume(rest), at, buys=self._bought, limit=one.price)
            exchange.withdraw(pair, quoted)

    def _volume(self, lots: int) -> Decimal:
        return Decimal(lots).scaleb(-self._pair.lot_decimals)


def tape(recording: Recording, first: int, pair: Pair) -> Iterator[TapeTrade]:
    """Yield the trades that a recording is made of, from a row on; a bar without volume moves the price without a trade."""
    columns, scale, lots = recording.columns, 10**pair.price_decimals, 10**pair.lot_decimals
    volumes, sides = columns["volume"], columns.get("buys")
    for row in range(first, len(recording.at)):
        at, volume = int(recording.at[row]), round(float(volumes[row]) * lots)
        if not recording.step:
            side = None if sides is None else bool(sides[row])
            yield TapeTrade(at, max(round(recording.price(row) * scale), 1), volume, side)
            continue
        prices = walked(*(float(columns[name][row]) for name in ("open", "high", "low", "close")))
        # The corners first: where there is little volume, they are what must have traded.
        every, more = divmod(volume, WALK)
        order = sorted(range(WALK), key=lambda number: (number % LEG != 0, number))
        shares = {number: every + (place < more) for place, number in enumerate(order)}
        for number, price in enumerate(prices):
            yield TapeTrade(at + recording.step * number // WALK, max(round(price * scale), 1), shares[number], None)


def past(recording: Recording, stop: int, interval: int, shift: int) -> list[MarketCandle]:
    """Return the candles of the rows before one, shifted, without a hole, oldest first.

    Args:
        interval: minutes; where bars are longer than that, each is in the first candle of its time.
    """
    import numpy as np

    if not stop:
        return []
    step, pair, columns = interval * 60, PAIRS[recording.symbol], recording.columns
    at = (np.asarray(recording.at[:stop], dtype=np.int64) + shift) // NS // step * step
    # One row more than is shown: still candles reach from it to the next.
    first = max(int(np.searchsorted(at, at[-1] - (KEPT - 1) * step)) - 1, 0)
    at = at[first:]

    def column(name: str) -> Any:
        found = columns[name if recording.step or name == "volume" else "price"]
        return np.asarray(found[first:stop], dtype=np.float64)

    opened, high, low, close, volume = (column(name) for name in ("open", "high", "low", "close", "volume"))
    begins = np.flatnonzero(np.diff(at, prepend=at[0] - 1))
    ends = np.append(begins[1:], len(at))
    sums = np.add.reduceat(volume, begins)
    worth = np.add.reduceat((high + low + close) / 3 * volume, begins)
    highs, lows = np.maximum.reduceat(high, begins), np.minimum.reduceat(low, begins)
    found: list[MarketCandle] = []
    for number, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        if found:
            found += still(found[-1], step, int(at[begin]))
        prices = (opened[begin], highs[number], lows[number], close[end - 1])
        first_price, top, bottom, last = (tick_price(float(price), pair) for price in prices)
        mean = worth[number] / sums[number] if sums[number] else 0.0
        amount = Decimal(repr(float(sums[number]))).quantize(Decimal(1).scaleb(-pair.lot_decimals))
        vwap = Decimal(repr(float(mean))).quantize(pair.tick)
        found.append(MarketCandle(int(at[begin]), first_price, top, bottom, last, vwap, amount, int(end - begin)))
    return found[-KEPT:]


def tick_price(price: float, pair: Pair) -> Decimal:
    """Return a price that the pair can have."""
    if not math.isfinite(price) or price <= 0:
        raise InputError(f"expected prices above zero, found {price} for {pair.symbol}; mend the file")
    return max(Decimal(repr(price)).quantize(pair.tick), pair.tick)
