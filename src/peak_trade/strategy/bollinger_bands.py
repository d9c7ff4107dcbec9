"""Fades moves outside a band of standard deviations around the average."""

from typing import ClassVar

from pydantic import Field

from peak_trade.model.bar import F64, Bars
from peak_trade.strategy.base import Strategy, held
from peak_trade.strategy.indicators import deviation, sma


class BollingerBands(Strategy):
    """Long below the lower band until the middle is reached, short above the upper band likewise."""

    key: ClassVar[str] = "bollinger_bands"
    source: ClassVar[str] = "Bollinger, Bollinger on Bollinger Bands, 2001"

    window: int = Field(20, ge=2, le=100_000, description="bars of average and deviation")
    width: float = Field(2.0, gt=0, le=20, description="half width of the band in standard deviations")

    def targets(self, bars: Bars) -> F64:
        """Return 1, 0 or -1, held between entry and the middle line."""
        middle = sma(bars.close, self.window)
        band = self.width * deviation(bars.close, self.window)
        above = bars.close > middle
        below = bars.close < middle
        return held(bars.close < middle - band, ~below, bars.close > middle + band, ~above)

    def warmup(self) -> int:
        """Return the window."""
        return self.window
