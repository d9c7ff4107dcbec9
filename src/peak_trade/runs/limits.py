"""The configured limits, as the gate takes them; imported where every second counts, so it imports next to nothing."""

from decimal import Decimal

from peak_trade.risk.gate import Limits
from peak_trade.settings import LiveRisk


def limits_of(section: LiveRisk) -> Limits:
    """Return the configured limits, exact."""
    given = section.model_dump()
    exact = {name: Decimal(repr(given[name])) for name in ("max_daily_loss_pct", "price_collar_pct")}
    return Limits(**given | exact)
