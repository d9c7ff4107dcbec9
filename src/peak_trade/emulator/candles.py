"""Candles from trades, of every interval that Kraken has; where nobody traded they stand still, so that there is no hole."""

from collections import deque
from collections.abc import Callable
from decimal import Decimal

from peak_trade.emulator.orders import ZERO, Print
from peak_trade.emulator.rest import INTERVALS, MarketCandle, quiet

#: Candles kept of each interval: what OHLC answers at most.
KEPT = 720


class Candles:
    """The candles of one pair."""

    def __init__(self) -> None:
        self._rows: dict[int, deque[MarketCandle]] = {interval: deque(maxlen=KEPT) for interval in INTERVALS}
        self._past: dict[int, Callable[[int], list[MarketCandle]]] = {}

    def of(self, interval: int) -> list[MarketCandle]:
        """Return the candles of an interval in minutes, oldest first."""
        rows, make = self._rows[interval], self._past.pop(interval, None)
        if make is not None:
            past = make(interval)
            if rows and past and rows[0].at == past[-1].at:
                rows[0] = joined(past.pop(), rows[0])
            if rows and past:
                past += still(past[-1], interval * 60, rows[0].at)
            rows.extendleft(past[::-1][: KEPT - len(rows)])
        return list(rows)

    def precede(self, make: Callable[[int], list[MarketCandle]]) -> None:
        """Have the candles of the time before now made when they are first asked for, given an interval, oldest first."""
        self._past = dict.fromkeys(self._rows, make)

    def add(self, one: Print) -> None:
        """Take a trade."""
        for interval, rows in self._rows.items():
            at = one.at // 1_000_000_000 // (interval * 60) * interval * 60
            if rows:
                rows.extend(still(rows[-1], interval * 60, at))
            rows.append(merged(rows.pop() if rows and rows[-1].at == at else None, one, at))

    def since(self, interval: int, at: int) -> list[MarketCandle]:
        """Return the candles from trades that opened at a moment, unix seconds, or later."""
        found: list[MarketCandle] = []
        for row in reversed(self._rows[interval]):
            if row.at < at:
                break
            found.append(row)
        return found[::-1]

    def put(self, interval: int, rows: list[MarketCandle]) -> None:
        """Set the candles of an interval."""
        self._rows[interval].extend(rows)


def still(last: MarketCandle, step: int, before: int) -> list[MarketCandle]:
    """Return the candles after one and before a moment, unix seconds, in which nobody traded; of many the newest."""
    first = max(last.at + step, before - KEPT * step)
    return [quiet(last.close)._replace(at=at, vwap=ZERO) for at in range(first, before, step)]


def merged(candle: MarketCandle | None, one: Print, at: int) -> MarketCandle:
    """Return a candle with one more trade; None: the first of it."""
    if candle is None:
        return MarketCandle(at, one.price, one.price, one.price, one.price, one.price, one.volume, 1)
    volume = candle.volume + one.volume
    vwap = (candle.vwap * candle.volume + one.price * one.volume) / volume if volume else ZERO
    return MarketCandle(
        at,
        candle.open,
        max(candle.high, one.price),
        min(candle.low, one.price),
        one.price,
        vwap.quantize(Decimal("0.0000000001")),
        volume,
        candle.trades + 1,
    )


def joined(first: MarketCandle, second: MarketCandle) -> MarketCandle:
    """Return one candle of two of the same time."""
    volume = first.volume + second.volume
    vwap = (first.vwap * first.volume + second.vwap * second.volume) / volume if volume else second.vwap
    return MarketCandle(
        first.at,
        first.open,
        max(first.high, second.high),
        min(first.low, second.low),
        second.close,
        vwap.quantize(Decimal("0.0000000001")),
        volume,
        first.trades + second.trades,
    )
