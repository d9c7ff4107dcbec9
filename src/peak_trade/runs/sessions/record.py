"""A session as the JSON document that commands print and reports read, and the tables beside it, all from its journal."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from peak_trade.compose import dataset_facts
from peak_trade.engine.records import CLOSED, FILLED, INCIDENT, REFUSED, REJECTED, SENDING
from peak_trade.engine.state import State
from peak_trade.journal.chain import Record
from peak_trade.journal.session import Session
from peak_trade.ledger.books import Books
from peak_trade.model.bar import Bars
from peak_trade.model.clock import moment_text
from peak_trade.model.order import ENDS, Fill, OrderEvent, OrderState
from peak_trade.report.session_rows import OrderRow
from peak_trade.runs.record import Json
from peak_trade.runs.sessions.plan import SessionPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What a journal tells: fills, orders and incidents, each in the order in which it was written."""

    fills: tuple[Fill, ...]
    orders: tuple[OrderRow, ...]
    incidents: tuple[Json, ...]


def story_of(records: Iterable[Record]) -> Story:
    """Read fills, orders with their fate, and incidents from a session's records."""
    fills: list[Fill] = []
    incidents: list[Json] = []
    orders: dict[str, OrderRow] = {}
    for record in records:
        body = record.body
        if record.kind in (SENDING, REFUSED):
            row = _planned(body["intent"])
            if record.kind == REFUSED:
                codes = ", ".join(item["code"] for item in body["reasons"])
                row = row._replace(state=OrderState.REFUSED.value, why=codes)
            orders[row.client_id] = row
        elif record.kind == FILLED:
            fill = Fill.from_json(dict(body))
            fills.append(fill)
            if known := orders.get(fill.client_id):
                state = OrderState.PARTLY_FILLED if fill.remaining else OrderState.FILLED
                orders[fill.client_id] = known._replace(filled=str(Decimal(known.filled) + fill.quantity), state=state.value)
        elif record.kind in (CLOSED, REJECTED) and (known := orders.get(body["client_id"])):
            state = ENDS[OrderEvent(body["event"])] if record.kind == CLOSED else OrderState.REJECTED
            orders[known.client_id] = known._replace(state=state.value, why=body["why" if record.kind == CLOSED else "code"])
        elif record.kind in ("opened", "adopted", "unknown", "absent") and (known := orders.get(body["client_id"])):
            state_text = {"opened": "open", "adopted": "open"}.get(record.kind, record.kind)
            orders[known.client_id] = known._replace(state=state_text)
        elif record.kind == INCIDENT:
            incidents.append({"at": record.at, "code": body["code"], "words": body["words"]})
    return Story(fills=tuple(fills), orders=tuple(orders.values()), incidents=tuple(incidents))


def _planned(intent: Mapping[str, Any]) -> OrderRow:
    return OrderRow(
        client_id=intent["client_id"],
        leg=intent["leg"],
        symbol=intent["symbol"],
        kind=intent["kind"],
        quantity=intent["quantity"],
        price=intent["price"],
        reason=intent["reason"],
        decided_at=moment_text(int(intent["decided_ns"])),
        state=OrderState.SENDING.value,
        filled="0",
        why="",
    )


def metrics_of(plan: SessionPlan, state: State) -> dict[str, float | None]:
    """Return a session's figures; money in quote currency."""
    start = plan.paper.start_balance
    counts = state.counts
    names = {
        "num_decisions": "decisions",
        "num_orders": "orders",
        "num_fills": "fills",
        "num_trades": "trades",
        "orders_filled": "orders_filled",
        "orders_rejected": "orders_rejected",
        "orders_cancelled": "orders_cancelled",
        "orders_unknown": "orders_unknown",
        "orders_skipped": "orders_skipped",
        "orders_blocked_risk": "orders_blocked_risk",
        "orders_warned": "orders_warned",
        "incidents": "incidents",
    }
    return {
        "start_equity": float(start),
        "final_equity": float(state.equity),
        "total_return": float(state.equity / start - 1),
        "realized_pnl": float(state.books.realized()),
        "unrealized_pnl": float(state.books.unrealized(state.prices)),
        "fees_paid": float(state.books.fees()),
        "max_drawdown": float(state.drawdown),
        "traded_notional": float(state.traded),
        "num_bars": float(state.bars),
        **{name: float(counts.get(key, 0)) for name, key in names.items()},
    }


def exact_figures(plan: SessionPlan, state: State, incidents: Iterable[Json]) -> Json:
    """Return what the registry keeps besides the figures: exact amounts as text, counts by code, positions, incidents."""
    return {
        "mode_at_end": state.mode.value,
        "retired": [leg.name for leg, known in zip(plan.legs, state.legs, strict=True) if known.retired],
        "final_equity": str(state.equity),
        "cash": str(state.books.cash),
        "blocked_by_code": _by_code(state, "refused:"),
        "warned_by_code": _by_code(state, "warned:"),
        "rejected_by_code": _by_code(state, "rejected:"),
        "by_leg": leg_facts(plan, state.books, state.prices, state.counts),
        "incidents": list(incidents),
        "decisions_sha256": state.digest,
        "quote": plan.first.bars.instrument.quote,
    }


def leg_facts(plan: SessionPlan, books: Books, prices: Mapping[str, Decimal], counts: Mapping[str, int]) -> list[Json]:
    """Return what each strategy holds and made; *counts* has its number of fills under `fills:` and its name."""
    return [
        {
            "leg": leg.name,
            "strategy": leg.strategy.key,
            "symbol": leg.symbol,
            "fraction": str(plan.paper.position_fraction),
            "position": str(books.position(leg.name, leg.symbol).quantity),
            "average_cost": str(books.position(leg.name, leg.symbol).entry),
            "realized_pnl": str(books.realized(leg.name)),
            "unrealized_pnl": str(books.unrealized(prices, leg.name)),
            "fees": str(books.fees(leg.name)),
            "fills": counts.get(f"fills:{leg.name}", 0),
        }
        for leg in plan.legs
    ]


def _by_code(state: State, prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): count for name, count in state.counts.items() if name.startswith(prefix)}


def plan_facts(plan: SessionPlan) -> Json:
    """Return what is known of a session before its first bar."""
    first = plan.first
    symbol = first.bars.instrument.symbol
    return {
        "strategy": "+".join(dict.fromkeys(leg.strategy.key for leg in plan.legs)),
        "params": _params(plan),
        "symbol": "+".join(plan.datasets),
        "timeframe": first.bars.timeframe.label,
        "quote": first.bars.instrument.quote,
        "mode": plan.mode.value,
        "legs": [
            {
                "leg": leg.name,
                "strategy": leg.strategy.key,
                "params": leg.strategy.model_dump(mode="json"),
                "symbol": leg.symbol,
                "timeframe": plan.datasets[leg.symbol].bars.timeframe.label,
                "fraction": str(plan.paper.position_fraction),
            }
            for leg in plan.legs
        ],
        "dataset": dataset_facts(first),
        "datasets": {name: dataset_facts(dataset) for name, dataset in plan.datasets.items()},
        "traded_from": moment_text(_opening(first.bars, plan.traded_from[symbol])),
        "terms": plan.paper.to_json()
        | {"sizing": f"fraction={plan.paper.position_fraction}"}
        | {name: float(getattr(plan.paper, name)) for name in ("stop_loss", "take_profit", "trailing_stop")},
        "limits": plan.spec["limits"],
    }


def _opening(bars: Bars, number: int) -> int:
    """Return when a bar opens, nanoseconds UTC; one that is still to come opens as soon as it can."""
    missing = max(0, number - len(bars) + 1)
    return int(bars.timestamp[min(number, len(bars) - 1)]) + missing * bars.timeframe.step_ns


def _params(plan: SessionPlan) -> Json:
    """Return the parameters: of one strategy plainly, of several under their keys."""
    every = {leg.strategy.key: leg.strategy.model_dump(mode="json") for leg in plan.legs}
    return next(iter(every.values())) if len(every) == 1 else every


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFacts:
    """What a session's document is made from; *checks* only where an exchange was asked about its orders."""

    plan: SessionPlan
    session: Session
    state_json: Json
    metrics: Mapping[str, float | None]
    records: int
    ended_by: str
    checks: Json | None = None


def session_document(told: SessionFacts, wanted: Json | None) -> Json:
    """Return the session as the JSON document that commands print and reports read."""
    session, run = told.session, told.session.run
    flat = session.to_json()
    left_out = ("summary", "metrics", "journal", "head_seq", "head_sha256", "feed", "acknowledged")
    kept = {name: flat[name] for name in flat if name not in left_out}
    return (
        kept
        | plan_facts(told.plan)
        | {name: value for name, value in told.state_json.items() if name not in ("final_equity", "cash", "quote")}
        | {
            "status": run.status.value,
            "ended_by": told.ended_by or None,
            "metrics": dict(told.metrics),
            "exact": {name: told.state_json[name] for name in ("final_equity", "cash")},
            "expected": wanted,
            "checks": told.checks,
            "feed": {name: value for name, value in session.feed.items() if name in ("kind", "speed", "exchange")},
            "code": {"version": run.code_version, "clean": run.code_clean},
            "journal": {
                "path": session.journal,
                "head_seq": session.head_seq,
                "head_sha256": session.head_sha256,
                "records": told.records,
            },
        }
    )
