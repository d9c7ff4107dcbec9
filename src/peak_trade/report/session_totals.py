"""What many sessions come to, as JSON: sums, means and extremes of a group, and a row for each session.

Invariant: a figure that a session lacks is left out of a mean, never taken for zero.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from peak_trade.journal.run import JsonObject
from peak_trade.report import session_facts as facts

#: The counts of orders in a summary, and the metrics they are sums of.
_ORDERS: Mapping[str, str] = {
    "sent": "num_orders",
    "filled": "orders_filled",
    "rejected": "orders_rejected",
    "cancelled": "orders_cancelled",
    "unknown": "orders_unknown",
    "blocked": "orders_blocked_risk",
    "warned": "orders_warned",
}
_CODES = ("blocked_by_code", "warned_by_code", "rejected_by_code")
_PARTS = (*facts.PARTS, "total")


def group_totals(run_type: str, mode: str, quote: str, members: Sequence[JsonObject]) -> dict[str, Any]:
    """Return what sessions of one run type, mode and currency come to."""
    profits = _known(members, lambda record: facts.profit(record["metrics"]))
    drops = _known(members, lambda record: record["metrics"]["max_drawdown"])
    took = [value for _, value in _known(members, lambda record: record["elapsed_s"])]
    orders = {name: sum(facts.count(record["metrics"], metric) for record in members) for name, metric in _ORDERS.items()}
    return {
        "run_type": run_type,
        "mode": mode,
        "quote": quote,
        "sessions": len(members),
        "by_status": counted(record["status"] for record in members),
        "profit": {
            "sessions": len(profits),
            "sum": _sum(profits),
            "mean": _mean(profits),
            "best": _picked(profits, max),
            "worst": _picked(profits, min),
        },
        "drawdown": {"worst": _picked(drops, min), "mean": _mean(drops)},
        "fees_paid": _sum(_known(members, lambda record: record["metrics"]["fees_paid"])),
        "traded_notional": _sum(_known(members, lambda record: record["metrics"]["traded_notional"])),
        "orders": {**orders, "success_rate": orders["filled"] / orders["sent"] if orders["sent"] else None},
        **{name: _added(record[name] for record in members) for name in _CODES},
        "incidents": sum(facts.count(record["metrics"], "incidents") for record in members),
        "incidents_by_code": facts.incident_codes(members),
        "expected": _compared(members),
        "duration": {
            "sum_s": math.fsum(took) if took else None,
            "mean_s": math.fsum(took) / len(took) if took else None,
            "longest_s": max(took, default=None),
        },
    }


def session_row(record: JsonObject) -> dict[str, Any]:
    """Return what a list of sessions tells of one."""
    metrics, expected = record["metrics"], record["expected"]
    named = ("session_id", "run_id", "run_type", "mode", "status", "mode_at_end", "strategy", "symbol", "timeframe", "quote")
    return {
        **{name: record[name] for name in (*named, "started_at", "elapsed_s")},
        "title": facts.title(record),
        "profit": facts.profit(metrics),
        **{name: metrics[name] for name in ("final_equity", "total_return", "max_drawdown", "fees_paid")},
        **{f"orders_{name}": facts.count(metrics, metric) for name, metric in _ORDERS.items()},
        "incidents": facts.count(metrics, "incidents"),
        "difference": float(expected["difference"]["total"]) if expected else None,
        "identical": bool(expected["identical"]) if expected else None,
        "verdict": facts.verdict(record),
        "warnings": facts.warnings(record),
    }


def _compared(members: Sequence[JsonObject]) -> dict[str, Any]:
    """Return how far the sessions that have an expectation were from it, in quote currency, actual minus expected."""
    held = [record for record in members if record["expected"]]
    parts = {name: math.fsum(float(record["expected"]["difference"][name]) for record in held) for name in _PARTS}
    totals = _known(held, lambda record: float(record["expected"]["difference"]["total"]))
    return {
        "sessions": len(held),
        "identical": sum(bool(record["expected"]["identical"]) for record in held),
        "parts": parts if held else None,
        "mean": _mean(totals),
        "largest": _picked(totals, max, abs),
    }


_Valued = Sequence[tuple[str, float]]


def _known(members: Sequence[JsonObject], pick: Callable[[JsonObject], float | None]) -> list[tuple[str, float]]:
    return [(record["session_id"], float(value)) for record in members if (value := pick(record)) is not None]


def _sum(found: _Valued) -> float | None:
    return math.fsum(value for _, value in found) if found else None


def _mean(found: _Valued) -> float | None:
    return math.fsum(value for _, value in found) / len(found) if found else None


def _picked(found: _Valued, choose: Callable[..., Any], key: Callable[[float], float] = float) -> dict[str, Any] | None:
    if not found:
        return None
    session, value = choose(found, key=lambda item: key(item[1]))
    return {"session_id": session, "value": value}


def counted(words: Iterable[str]) -> dict[str, int]:
    """Return how often each word occurs, by word."""
    return dict(sorted(Counter(words).items()))


def _added(columns: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for column in columns:
        total.update(column)
    return dict(sorted(total.items()))
