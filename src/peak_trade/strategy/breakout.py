"""Follows a price that leaves the range of the bars before it."""

from typing import ClassVar

from pydantic import Field

from peak_trade.model.bar import F64, Bars
from peak_trade.strategy.base import Strategy, held
from peak_trade.strategy.indicators import earlier, highest, lowest


class Breakout(Strategy):
    """Donchian channel: long above the highest high of the bars before, out below the lowest low of a shorter window."""

    key: ClassVar[str] = "breakout"
    aliases: ClassVar[tuple[str, ...]] = ("donchian",)
    source: ClassVar[str] = "Donchian's channel as in Faith, Way of the Turtle, 2007, system 1"

    entry_window: int = Field(20, ge=1, le=100_000, description="bars of the channel that opens a position")
    exit_window: int = Field(10, ge=1, le=100_000, description="bars of the channel that ends it")

    def targets(self, bars: Bars) -> F64:
        """Return 1, 0 or -1, held from breakout to the break of the exit channel."""
        return held(
            bars.close > earlier(highest(bars.high, self.entry_window)),
            bars.close < earlier(lowest(bars.low, self.exit_window)),
            bars.close < earlier(lowest(bars.low, self.entry_window)),
            bars.close > earlier(highest(bars.high, self.exit_window)),
        )

    def warmup(self) -> int:
        """Return the longer window and the bar that leaves it."""
        return max(self.entry_window, self.exit_window) + 1
