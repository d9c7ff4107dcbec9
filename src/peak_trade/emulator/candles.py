"""Candles from trades, of every interval that Kraken has."""

from collections import deque
from decimal import Decimal

from peak_trade.emulator.orders import ZERO, Print
from peak_trade.emulator.rest import INTERVALS, Candle

#: Candles kept of each interval: what OHLC answers at most.
KEPT = 720


class Candles:
    """The candles of one pair."""

    def __init__(self) -> None:
        self._rows: dict[int, deque[Candle]] = {interval: deque(maxlen=KEPT) for interval in INTERVALS}

    def of(self, interval: int) -> list[Candle]:
        """Return the candles of an interval in minutes, oldest first."""
        return list(self._rows[interval])

    def add(self, one: Print) -> None:
        """Take a trade."""
        for interval, rows in self._rows.items():
            at = one.at // 1_000_000_000 // (interval * 60) * interval * 60
            rows.append(merged(rows.pop() if rows and rows[-1].at == at else None, one, at))

    def put(self, interval: int, rows: list[Candle]) -> None:
        """Set the candles of an interval."""
        self._rows[interval].extend(rows)


def merged(candle: Candle | None, one: Print, at: int) -> Candle:
    """Return a candle with one more trade; None: the first of it."""
    if candle is None:
        return Candle(at, one.price, one.price, one.price, one.price, one.price, one.volume, 1)
    volume = candle.volume + one.volume
    vwap = (candle.vwap * candle.volume + one.price * one.volume) / volume if volume else ZERO
    return Candle(
        at,
        candle.open,
        max(candle.high, one.price),
        min(candle.low, one.price),
        one.price,
        vwap.quantize(Decimal("0.0000000001")),
        volume,
        candle.trades + 1,
    )
