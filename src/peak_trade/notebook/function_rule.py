"""A plain function as a strategy: for a first look; it has no version, so nothing of it is registered or evidence."""

from collections.abc import Callable
from typing import ClassVar

from pydantic import Field

from peak_trade.model.bar import F64, Bars
from peak_trade.strategy.base import Strategy

Targets = Callable[[Bars], F64]


class FunctionRule(Strategy):
    """Decides as a function does: bars in, the target after each close out, (bars,), each in [-1, 1]."""

    key: ClassVar[str] = "function"
    source: ClassVar[str] = "the caller"

    rule: Targets
    bars_before: int = Field(default=0, ge=0)

    def targets(self, bars: Bars) -> F64:
        """Return what the function does."""
        return self.rule(bars)

    def warmup(self) -> int:
        """Return what the caller says of it."""
        return self.bars_before
