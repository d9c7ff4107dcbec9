"""Follows the change of the price over a look-back."""

from typing import ClassVar

from pydantic import Field

from peak_trade.model.bar import F64, Bars
from peak_trade.strategy.base import Strategy, direction
from peak_trade.strategy.indicators import change


class Momentum(Strategy):
    """Time-series momentum for hourly bars: long after a rise of more than the threshold, short after such a fall."""

    key: ClassVar[str] = "momentum_1h"
    aliases: ClassVar[tuple[str, ...]] = ("momentum",)
    source: ClassVar[str] = "Moskowitz, Ooi, Pedersen, Journal of Financial Economics 104(2), 2012"

    lookback: int = Field(24, ge=1, le=100_000, description="bars over which the change is measured")
    threshold: float = Field(0.01, ge=0, lt=1, description="smallest relative change that counts")

    def targets(self, bars: Bars) -> F64:
        """Return the sign of a change beyond the threshold, else 0."""
        move = change(bars.close, self.lookback)
        return direction(move > self.threshold, move < -self.threshold)

    def warmup(self) -> int:
        """Return the look-back and the bar it is measured from."""
        return self.lookback + 1
