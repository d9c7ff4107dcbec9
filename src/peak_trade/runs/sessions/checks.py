"""What an exchange said of a session's orders, and how its simulated fills compare with the book of those moments.

All of it is in the journal; nothing here is measured twice.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import ceil

from peak_trade.engine.records import FILLED
from peak_trade.journal.chain import Record
from peak_trade.model.order import Fill
from peak_trade.runs.record import Json
from peak_trade.venue.testnet import VALIDATED

#: Upper bounds of the classes in which answers are counted by how long they took, milliseconds; the last has none.
LATENCY_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeChecks:
    """What came of the orders that an exchange was asked about.

    Attributes:
        replies: how many orders were accepted, rejected or unknown; codes: why they were not accepted.
        latency_ms: of each answer, in the order of asking.
        slippage_bps: of each filled order, how much worse its average fill is than the book was when it was sent.
        fees: of the simulated fills of those orders, quote currency.
    """

    replies: Counter[str]
    codes: Counter[str]
    latency_ms: Sequence[float]
    slippage_bps: Sequence[float]
    fees: Decimal

    @property
    def success_rate(self) -> float | None:
        """The part of all answers that were yes; None without any."""
        asked = self.replies.total()
        return self.replies["accepted"] / asked if asked else None

    def metrics(self) -> dict[str, float | None]:
        """Return figures for the registry."""
        return {
            "orders_checked": float(self.replies.total()),
            "order_success_rate": self.success_rate,
            "check_latency_p50_ms": quantile(self.latency_ms, 0.5),
            "check_latency_p99_ms": quantile(self.latency_ms, 0.99),
            "slippage_vs_book_bps": sum(self.slippage_bps) / len(self.slippage_bps) if self.slippage_bps else None,
        }

    def to_json(self) -> Json:
        """Return all of it as a JSON object."""
        bounds = (*LATENCY_MS, None)
        classes = [sum(1 for value in self.latency_ms if _class_of(value) == place) for place in range(len(bounds))]
        return {
            "replies": dict(self.replies),
            "codes": dict(self.codes),
            "success_rate": self.success_rate,
            "latency_ms": [{"up_to": bound, "count": count} for bound, count in zip(bounds, classes, strict=True)],
            "latency_p50_ms": quantile(self.latency_ms, 0.5),
            "latency_p99_ms": quantile(self.latency_ms, 0.99),
            "compared_with_book": len(self.slippage_bps),
            "slippage_bps": self.metrics()["slippage_vs_book_bps"],
            "slippage_worst_bps": max(self.slippage_bps, default=None),
            "fees": str(self.fees),
        }


def checks_of(records: Iterable[Record]) -> ExchangeChecks:
    """Read what an exchange said from a session's records."""
    replies: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    latency: list[float] = []
    expected: dict[str, Decimal] = {}
    filled: dict[str, list[Fill]] = {}
    for record in records:
        body = record.body
        if record.kind == VALIDATED:
            replies[body["reply"]] += 1
            if body["reply"] != "accepted":
                codes[body["code"] or body["words"] or body["reply"]] += 1
            latency.append(int(body["latency_us"]) / 1_000)
            if "book_price" in body:
                expected[body["client_id"]] = Decimal(body["book_price"])
        elif record.kind == FILLED:
            fill = Fill.from_json(dict(body))
            filled.setdefault(fill.client_id, []).append(fill)
    compared = [client_id for client_id in expected if client_id in filled]
    return ExchangeChecks(
        replies=replies,
        codes=codes,
        latency_ms=latency,
        slippage_bps=[_worse_bps(filled[client_id], expected[client_id]) for client_id in compared],
        fees=sum((fill.fee for client_id in compared for fill in filled[client_id]), Decimal(0)),
    )


def quantile(values: Sequence[float], part: float) -> float | None:
    """Return the smallest value that so large a part of all does not exceed; None without any."""
    return sorted(values)[max(ceil(part * len(values)), 1) - 1] if values else None


def _class_of(value: float) -> int:
    return next((place for place, bound in enumerate(LATENCY_MS) if value <= bound), len(LATENCY_MS))


def _worse_bps(fills: Sequence[Fill], book_price: Decimal) -> float:
    quantity = sum((fill.quantity for fill in fills), Decimal(0))
    average = sum((fill.quantity * fill.price for fill in fills), Decimal(0)) / quantity
    return float((average / book_price - 1) * (1 if quantity > 0 else -1) * 10_000)
