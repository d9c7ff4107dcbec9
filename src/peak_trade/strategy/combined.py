"""Strategies made of strategies: a weighted mix, and filters that keep one out of markets that are not for it."""

from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from peak_trade.model.bar import F64, Bars
from peak_trade.strategy.base import Strategy
from peak_trade.strategy.catalogue import Value, make
from peak_trade.strategy.indicators import volatility
from peak_trade.strategy.regimes import TREND, VOLATILITY, trend_classes, volatility_classes


class Member(BaseModel):
    """One strategy inside another."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: str = Field(description="key of the strategy")
    params: dict[str, Value] = Field(default_factory=dict, description="its parameters")
    weight: float = Field(1.0, gt=0, le=1_000, description="its share in the mix")

    def build(self) -> Strategy:
        """Return the strategy with its parameters."""
        return make(self.strategy, self.params)


class Composite(Strategy):
    """Weighted mean of its members' targets; targets closer to zero than the threshold count as flat."""

    key: ClassVar[str] = "composite"
    source: ClassVar[str] = "Timmermann, Forecast Combinations, Handbook of Economic Forecasting 1, 2006"

    members: tuple[Member, ...] = Field(
        (Member(strategy="ma_crossover"), Member(strategy="breakout"), Member(strategy="rsi_reversion")),
        min_length=1,
        max_length=32,
        description="the strategies in the mix",
    )
    threshold: float = Field(0.0, ge=0, lt=1, description="smallest mean target that counts")

    @model_validator(mode="after")
    def _known(self) -> Self:
        for member in self.members:
            member.build()
        return self

    def parts(self) -> tuple[Strategy, ...]:
        """Return the members."""
        return tuple(member.build() for member in self.members)

    def targets(self, bars: Bars) -> F64:
        """Return the weighted mean in [-1, 1], or 0 where it is within the threshold."""
        total = sum(member.weight for member in self.members)
        mean = np.zeros(len(bars))
        for member in self.members:
            mean += member.weight / total * member.build().targets(bars)
        mean = np.clip(mean, -1.0, 1.0)
        return np.where(np.abs(mean) > self.threshold, mean, 0.0)

    def warmup(self) -> int:
        """Return the longest warm-up of the members."""
        return max(member.build().warmup() for member in self.members)


class VolRegimeFilter(Strategy):
    """Overlay: the base strategy's target while volatility is not above its long average, else flat."""

    key: ClassVar[str] = "vol_regime_filter"
    source: ClassVar[str] = "Moreira, Muir, Volatility-Managed Portfolios, Journal of Finance 72(4), 2017, as a switch"

    base: Member = Field(Member(strategy="ma_crossover"), description="the strategy that is filtered")
    window: int = Field(24, ge=2, le=100_000, description="bars of the present volatility")
    long_window: int = Field(240, ge=3, le=100_000, description="bars of the volatility it is compared with")
    ratio: float = Field(1.5, gt=0, le=100, description="flat while present exceeds long volatility this many times")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        self.base.build()
        if self.window >= self.long_window:
            raise ValueError(f"window ({self.window}) should be below long_window ({self.long_window})")
        return self

    def parts(self) -> tuple[Strategy, ...]:
        """Return the base."""
        return (self.base.build(),)

    def targets(self, bars: Bars) -> F64:
        """Return the base target in calm markets, 0 in wild ones and while the volatility is not known."""
        calm = volatility(bars.close, self.window) <= self.ratio * volatility(bars.close, self.long_window)
        return np.where(calm, self.base.build().targets(bars), 0.0)

    def warmup(self) -> int:
        """Return the longer of the base's warm-up and the long window."""
        return max(self.base.build().warmup(), self.long_window + 1)


class RegimeFilter(Strategy):
    """Overlay: the base strategy's target while both the volatility and the trend are of an allowed class, else flat."""

    key: ClassVar[str] = "regime_filter"
    source: ClassVar[str] = "Ang, Timmermann, Regime Changes and Financial Markets, Annual Review of Financial Economics, 2012"

    base: Member = Field(Member(strategy="ma_crossover"), description="the strategy that is filtered")
    volatility: tuple[Literal["calm", "normal", "wild"], ...] = Field(
        ("calm", "normal"), min_length=1, max_length=3, description="classes of volatility in which it may trade"
    )
    trend: tuple[Literal["down", "flat", "up"], ...] = Field(
        ("down", "up"), min_length=1, max_length=3, description="classes of trend in which it may trade"
    )
    window: int = Field(24, ge=2, le=100_000, description="bars of the present volatility")
    history: int = Field(250, ge=3, le=10_000, description="volatilities that the present one is ranked among")
    trend_window: int = Field(50, ge=2, le=100_000, description="bars of the trend")
    threshold: float = Field(1.0, ge=0, le=100, description="standard deviations of a drift that is a trend")

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        self.base.build()
        for name in ("volatility", "trend"):
            found: tuple[str, ...] = getattr(self, name)
            if len(set(found)) < len(found):
                raise ValueError(f"{name} ({', '.join(found)}) should have each class once")
        return self

    def parts(self) -> tuple[Strategy, ...]:
        """Return the base."""
        return (self.base.build(),)

    def targets(self, bars: Bars) -> F64:
        """Return the base target in allowed markets, 0 in others and while a class is not known."""
        moves = volatility_classes(bars.close, self.window, self.history)
        drifts = trend_classes(bars.close, self.trend_window, self.threshold)
        allowed = np.isin(moves, [VOLATILITY.index(name) for name in self.volatility])
        allowed &= np.isin(drifts, [TREND.index(name) for name in self.trend])
        return np.where(allowed, self.base.build().targets(bars), 0.0)

    def warmup(self) -> int:
        """Return the longest of the base's warm-up and what the two classes need."""
        return max(self.base.build().warmup(), self.window + self.history, self.trend_window + 1)
