"""Follows a direction while the directional index says that there is a trend."""

from typing import ClassVar

from pydantic import Field

from peak_trade.model.bar import F64, Bars
from peak_trade.strategy.base import Strategy, direction, settling
from peak_trade.strategy.indicators import adx, minus_di, plus_di


class TrendFollowing(Strategy):
    """Directional movement: while ADX is above the threshold, long if +DI is above -DI, short if below; else flat."""

    key: ClassVar[str] = "trend_following"
    source: ClassVar[str] = "Wilder, New Concepts in Technical Trading Systems, 1978, chapter 4"

    window: int = Field(14, ge=2, le=100_000, description="bars of the directional index")
    threshold: float = Field(25.0, ge=0, lt=100, description="ADX above which there is a trend")

    def targets(self, bars: Bars) -> F64:
        """Return the direction of the trend, or 0."""
        trend = adx(bars.high, bars.low, bars.close, self.window) > self.threshold
        up = plus_di(bars.high, bars.low, bars.close, self.window)
        down = minus_di(bars.high, bars.low, bars.close, self.window)
        return direction(trend & (up > down), trend & (up < down))

    def warmup(self) -> int:
        """Return the bars after which both layers of Wilder's smoothing have forgotten their start."""
        return 2 * settling(1.0 / self.window)
