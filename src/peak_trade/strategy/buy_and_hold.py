"""The yardstick: buy at the first chance and keep."""

from typing import ClassVar

import numpy as np

from peak_trade.model.bar import F64, Bars
from peak_trade.strategy.base import Strategy


class BuyAndHold(Strategy):
    """Fully long from the first bar."""

    key: ClassVar[str] = "buy_and_hold"
    source: ClassVar[str] = "definition"

    def targets(self, bars: Bars) -> F64:
        """Return 1 at every bar."""
        return np.ones(len(bars))

    def warmup(self) -> int:
        """Return one bar: the first close decides."""
        return 1
