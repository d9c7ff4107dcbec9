"""Follows the crossing of the MACD line and its signal line."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from peak_trade.model.bar import F64, Bars
from peak_trade.strategy.base import Strategy, direction, settling
from peak_trade.strategy.indicators import ema, macd_line


class Macd(Strategy):
    """Moving average convergence and divergence: long while the line is above its signal, short while below."""

    key: ClassVar[str] = "macd"
    source: ClassVar[str] = "Appel, Technical Analysis: Power Tools for Active Investors, 2005, chapter 8"

    fast_window: int = Field(12, ge=2, le=100_000, description="bars of the fast exponential average")
    slow_window: int = Field(26, ge=3, le=100_000, description="bars of the slow exponential average")
    signal_window: int = Field(9, ge=2, le=100_000, description="bars of the average of the line")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.fast_window >= self.slow_window:
            raise ValueError(f"fast_window ({self.fast_window}) should be below slow_window ({self.slow_window})")
        return self

    def targets(self, bars: Bars) -> F64:
        """Return the sign of the line minus its signal."""
        line = macd_line(bars.close, self.fast_window, self.slow_window)
        signal = ema(line, self.signal_window)
        return direction(line > signal, line < signal)

    def warmup(self) -> int:
        """Return the bars after which the slowest average and the signal have forgotten their start."""
        return settling(2.0 / (self.slow_window + 1)) + settling(2.0 / (self.signal_window + 1))
