"""Long while the fast average is above the slow one, short while it is below."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from peak_trade.model.bar import F64, Bars
from peak_trade.strategy.base import Strategy, direction
from peak_trade.strategy.indicators import sma


class MaCrossover(Strategy):
    """Crossing of two simple moving averages: long above, short below.

    Averages that are equal but for the rounding of a running sum are told apart by it, unless the market stands still.
    """

    key: ClassVar[str] = "ma_crossover"
    source: ClassVar[str] = "Brock, Lakonishok, LeBaron, Journal of Finance 47(5), 1992, variable-length moving average"

    fast_window: int = Field(20, ge=1, le=100_000, description="bars of the fast average")
    slow_window: int = Field(50, ge=2, le=100_000, description="bars of the slow average; longer than the fast one")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.fast_window >= self.slow_window:
            raise ValueError(f"fast_window ({self.fast_window}) should be below slow_window ({self.slow_window})")
        return self

    def targets(self, bars: Bars) -> F64:
        """Return the sign of fast minus slow average."""
        fast = sma(bars.close, self.fast_window)
        slow = sma(bars.close, self.slow_window)
        return direction(fast > slow, fast < slow)

    def warmup(self) -> int:
        """Return the slow window."""
        return self.slow_window
