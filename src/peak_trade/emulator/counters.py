"""Rate limits as Kraken keeps them: a counter of REST calls for each key, and one of the engine for each account and pair.

Values are those of docs.kraken.com (general rate limits). Invariant: a counter is never below zero.
"""

from typing import NamedTuple

NS = 1_000_000_000


class RateLimits(NamedTuple):
    """The limits of a tier: most and decay per second, of REST calls and of the engine; open orders of a pair."""

    rest_most: float
    rest_decay: float
    engine_most: float
    engine_decay: float
    open_orders: int


TIERS = {
    "starter": RateLimits(15, 0.33, 60, 1, 60),
    "intermediate": RateLimits(20, 0.5, 125, 2.34, 80),
    "pro": RateLimits(20, 1, 180, 3.75, 225),
    # Not Kraken's: for tests of load.
    "unlimited": RateLimits(1e9, 1e9, 1e9, 1e9, 1_000_000_000),
}
#: What each new order costs; a batch of them costs that once, and half a point for each.
ADD, EACH_OF_BATCH = 1.0, 0.5
#: What an amend, edit or cancel costs on top, by the age of its order: younger than so many seconds, so much.
AMEND = ((5, 3), (10, 2), (15, 1))
EDIT = ((5, 6), (10, 5), (15, 4), (45, 2), (90, 1))
CANCEL = ((5, 8), (10, 6), (15, 5), (45, 4), (90, 2), (300, 1))


class Counter:
    """Goes up by what is counted, and down with time."""

    def __init__(self, most: float, decay: float) -> None:
        self._most, self._decay = most, decay
        self._value, self._at = 0.0, 0

    def value(self, now: int) -> float:
        """Return the counter at a moment, nanoseconds."""
        return max(0.0, self._value - max(now - self._at, 0) / NS * self._decay)

    def count(self, cost: float, now: int) -> bool:
        """Count something; return whether it is within the limit. What is over it is counted too."""
        self._value, self._at = self.value(now) + cost, max(now, self._at)
        return self._value <= self._most


def batch_cost(count: int) -> float:
    """Return what a batch of so many new orders costs; Kraken's table has 1 + n/2."""
    return ADD + EACH_OF_BATCH * count


def by_age(costs: tuple[tuple[int, int], ...], age_ns: int) -> int:
    """Return what a change of an order of that age costs."""
    return next((cost for seconds, cost in costs if age_ns < seconds * NS), 0)
