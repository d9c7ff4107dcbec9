"""Fades the distance of the price from its average, measured in standard deviations."""

from typing import ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from peak_trade.model.bar import F64, Bars
from peak_trade.strategy.base import Strategy, held
from peak_trade.strategy.indicators import deviation, sma


class MeanReversion(Strategy):
    """Long when the z-score is deeply negative, short when it is high; out when it comes back near zero."""

    key: ClassVar[str] = "mean_reversion"
    source: ClassVar[str] = "Chan, Algorithmic Trading, 2013, chapter 2, z-score entry and exit"

    window: int = Field(48, ge=2, le=100_000, description="bars of average and deviation")
    entry_z: float = Field(2.0, gt=0, le=20, description="distance that opens a position, standard deviations")
    exit_z: float = Field(0.5, ge=0, le=20, description="distance that ends it; below entry_z")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.exit_z >= self.entry_z:
            raise ValueError(f"exit_z ({self.exit_z}) should be below entry_z ({self.entry_z})")
        return self

    def targets(self, bars: Bars) -> F64:
        """Return 1, 0 or -1, held between entry and exit distance."""
        spread = deviation(bars.close, self.window)
        distance = np.zeros(len(bars))
        np.divide(bars.close - sma(bars.close, self.window), spread, out=distance, where=spread > 0.0)
        return held(
            distance < -self.entry_z,
            distance > -self.exit_z,
            distance > self.entry_z,
            distance < self.exit_z,
        )

    def warmup(self) -> int:
        """Return the window."""
        return self.window
