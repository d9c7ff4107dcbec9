"""Buys weakness and sells strength by the relative strength index."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from peak_trade.model.bar import F64, Bars
from peak_trade.strategy.base import Strategy, held, settling
from peak_trade.strategy.indicators import rsi


class RsiReversion(Strategy):
    """Long below the lower level until the index recovers; short above its mirror image until it falls back."""

    key: ClassVar[str] = "rsi_reversion"
    aliases: ClassVar[tuple[str, ...]] = ("rsi_strategy",)
    source: ClassVar[str] = "Wilder, New Concepts in Technical Trading Systems, 1978, chapter 6"

    window: int = Field(14, ge=2, le=100_000, description="bars of the index")
    entry_below: float = Field(30.0, gt=0, lt=50, description="long below this level, short above 100 minus it")
    exit_above: float = Field(55.0, gt=0, lt=100, description="a long ends above this level, a short below 100 minus it")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.entry_below >= self.exit_above:
            raise ValueError(f"entry_below ({self.entry_below}) should be below exit_above ({self.exit_above})")
        return self

    def targets(self, bars: Bars) -> F64:
        """Return 1, 0 or -1, held between entry and exit."""
        index = rsi(bars.close, self.window)
        return held(
            index < self.entry_below,
            index > self.exit_above,
            index > 100.0 - self.entry_below,
            index < 100.0 - self.exit_above,
        )

    def warmup(self) -> int:
        """Return the bars after which Wilder's smoothing has forgotten its start."""
        return settling(1.0 / self.window)
