"""What an order pays beyond the price it meets: half the spread, and an impact that grows with its share of the market. Pure.

    slippage = half spread + impact * volatility * sqrt(quantity / volume of the bar)

The square-root law of market impact: the BARRA market impact handbook (Torre 1997) and Almgren, Thum, Hauptmann, Li, "Direct
estimation of equity market impact" (Risk, July 2005), who find an exponent near one half. It is fixed at one half here: a root
is exact on every machine, which a power is not, so backtest and session agree to the last bit. Volatility is that of the bar in
which the order fills, from its range: ln(high / low) = 2 * sqrt(ln 2) * sigma (Parkinson 1980, "The extreme value method for
estimating the variance of the rate of return"), with high / low - 1 for the logarithm, which is never smaller.

The home is `model`, because the simulated venue and research need it, and pages show terms but know no venue.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from peak_trade.model.errors import DataError

#: Range of a bar in standard deviations of its returns: 2 * sqrt(ln 2).
RANGE_PER_SIGMA = 1.6651092223153954
#: Larger coefficients are a mistake: a tenth of the volume would cost over thirty times the volatility.
IMPACT_MAX = 100.0


def range_volatility(high: float, low: float) -> float:
    """Return the volatility of a bar from its range, a fraction of the price."""
    return (high / low - 1.0) / RANGE_PER_SIGMA


def impact_of(impact: float, size: float, volume: float, high: float, low: float) -> float:
    """Return what an order of a size pays for being large, a fraction of the price; nothing in a bar without volume.

    A bar without volume fills nothing, so what would be paid there does not matter.
    """
    if impact <= 0.0 or volume <= 0.0:
        return 0.0
    return impact * range_volatility(high, low) * math.sqrt(size / volume)


@dataclass(frozen=True, slots=True, kw_only=True)
class FillModel:
    """Coefficients as they were measured.

    Attributes:
        half_spread_bps: basis points of the price.
        impact: in bar volatilities, at an order as large as the volume of the bar.
        quantile: the share of orders that cost no more than this says.
        source: what it was measured from.
    """

    half_spread_bps: float
    impact: float
    quantile: float
    source: str

    def __post_init__(self) -> None:
        ranges = {
            "half_spread_bps": (self.half_spread_bps, 0.0, 1_000.0),
            "impact": (self.impact, 0.0, IMPACT_MAX),
            "quantile": (self.quantile, 0.5, 0.999),
        }
        for name, (value, least, most) in ranges.items():
            if not (isinstance(value, float | int) and least <= value <= most):
                raise DataError("fill_model", f"expected {name} from {least:g} to {most:g} in a fill model, found {value!r}")

    def slippage_bps(self, size: float, volume: float, high: float, low: float) -> float:
        """Return the cost of an order against the price it meets, basis points; size and volume in the same unit."""
        return self.half_spread_bps + 1e4 * impact_of(self.impact, size, volume, high, low)

    def to_json(self) -> dict[str, Any]:
        """Return the model as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "FillModel":
        """Read what `to_json` wrote.

        Raises:
            DataError: something else is in there, or something is missing.
        """
        wanted = set(cls.__slots__)
        if set(data) != wanted:
            raise DataError(
                "fill_model",
                f"expected {', '.join(sorted(wanted))} in a fill model, found {', '.join(sorted(data)) or 'nothing'}; "
                "make it anew: peak-trade fills calibrate",
            )
        return cls(**data)


#: Measured by `peak-trade fills calibrate` from what docs/guide/fill_model.md names; a test fits it again.
SHIPPED = FillModel(
    half_spread_bps=8.408,
    impact=0.823,
    quantile=0.9,
    source=(
        "shipped: BTC/USDT book and trades of Binance, 8 August 2024; XBT/EUR trades of Kraken, January 2016; "
        "XBT/USDT trades of Kraken, 10 November 2025"
    ),
)
