"""Rate limits kept on our side, so that Kraken never has to: one counter of REST calls for a key, one of the engine for a pair.

Times are seconds of a clock that never jumps. Invariant: a counter here is never below Kraken's own. It therefore does not
decay while a call is under way: the call may arrive at any moment of that, and only then begins to decay over there.
Values are those of docs.kraken.com (rate limits).
"""

from typing import NamedTuple


class TierLimits(NamedTuple):
    """Limits of a tier of verification: the most, and the decay per second."""

    rest_most: float
    rest_decay: float
    engine_most: float
    engine_decay: float


TIER_LIMITS = {
    "starter": TierLimits(15, 0.33, 60, 1),
    "intermediate": TierLimits(20, 0.5, 125, 2.34),
    "pro": TierLimits(20, 1, 180, 3.75),
}
#: What a call costs where it is not 1. Calls that place and cancel orders count with the engine instead.
REST_COSTS = {
    **dict.fromkeys(("ClosedOrders", "TradesHistory", "Ledgers"), 2),
    **dict.fromkeys(("AddOrder", "CancelOrder", "CancelAll", "CancelOrderBatch", "CancelAllOrdersAfter", "AmendOrder"), 0),
}
#: What a cancel or an amendment costs by the age of the order: younger than so many seconds, so much.
CANCEL_COSTS = ((5, 8), (10, 6), (15, 5), (45, 4), (90, 2), (300, 1))
AMEND_COSTS = ((5, 3), (10, 2), (15, 1))
#: Rounding of sums, which we and Kraken make in another order.
_SLACK = 1e-6


def rest_cost(endpoint: str) -> int:
    """Return what a private call costs."""
    return REST_COSTS.get(endpoint, 1)


def cancel_cost(age_s: float) -> int:
    """Return what the cancel of an order of that age costs."""
    return next((cost for seconds, cost in CANCEL_COSTS if age_s < seconds), 0)


def amend_cost(age_s: float) -> int:
    """Return what the amendment of an order of that age costs, the fixed part included."""
    return 1 + next((cost for seconds, cost in AMEND_COSTS if age_s < seconds), 0)


class Budget:
    """A counter that is not to pass its limit; *reserve* of it is kept for what may not wait."""

    def __init__(self, most: float, decay: float, *, reserve: float = 0.0) -> None:
        self._most, self._decay, self._reserve = most, decay, reserve
        self._value = self._at = 0.0
        self._under_way = 0

    def value(self, now_s: float) -> float:
        """Return the counter."""
        passed = 0.0 if self._under_way else max(now_s - self._at, 0.0)
        return max(0.0, self._value - passed * self._decay)

    def may(self, cost: float, now_s: float, *, urgent: bool = False) -> bool:
        """Tell whether a call fits; one that is not urgent leaves the reserve alone."""
        return not cost or self.value(now_s) + cost + _SLACK <= self._most - (0.0 if urgent else self._reserve)

    def wait_s(self, cost: float, now_s: float, *, urgent: bool = False) -> float:
        """Return in how many seconds a call will fit; 0 for at once."""
        over = self.value(now_s) + cost + 2 * _SLACK - (self._most - (0.0 if urgent else self._reserve))
        return 0.0 if self.may(cost, now_s, urgent=urgent) else over / self._decay

    def charge(self, cost: float, now_s: float) -> None:
        """Count a call that is about to be sent."""
        self._value, self._at = self.value(now_s) + cost, max(now_s, self._at)
        self._under_way += 1

    def settle(self, now_s: float) -> None:
        """Let the counter decay again: a call has come back, or was given up."""
        self._under_way -= 1
        self._at = max(now_s, self._at)

    def exceeded(self, now_s: float) -> None:
        """Believe Kraken that the limit is reached, whoever used it up."""
        self._value, self._at = max(self.value(now_s), self._most), max(now_s, self._at)


class EngineBudgets:
    """The engine's counters, one for each pair."""

    def __init__(self, limits: TierLimits, reserve: float = 16.0) -> None:
        self._limits, self._reserve = limits, reserve
        self._pairs: dict[str, Budget] = {}

    def of(self, pair: str) -> Budget:
        """Return a pair's counter."""
        limits = self._limits
        return self._pairs.setdefault(pair, Budget(limits.engine_most, limits.engine_decay, reserve=self._reserve))
