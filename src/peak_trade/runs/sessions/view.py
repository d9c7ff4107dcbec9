"""A session as the dashboard shows it, while it runs and afterwards: from its journal, its bars and its row."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np

from peak_trade.compose import Parts
from peak_trade.engine.records import (
    ABSENT,
    ADOPTED,
    CANCEL_TAKEN,
    CANCELLING,
    CLOSED,
    FILLED,
    OPENED,
    REFUSED,
    REJECTED,
    SENDING,
    UNKNOWN,
)
from peak_trade.journal.chain import Record
from peak_trade.journal.run import sha256_of
from peak_trade.journal.session import Session
from peak_trade.model.bar import F64
from peak_trade.model.errors import PeakTradeError
from peak_trade.model.order import ENDS, OrderEvent, OrderState
from peak_trade.report.returns import falls
from peak_trade.report.session_record import registered_record
from peak_trade.report.session_rows import SessionSeries
from peak_trade.runs.record import Json
from peak_trade.runs.sessions.again import spec_of
from peak_trade.runs.sessions.checks import checks_of
from peak_trade.runs.sessions.dead import lineage
from peak_trade.runs.sessions.expectation import expectation
from peak_trade.runs.sessions.marks import Worth, marks_of, mode_now, reached_bars, standing_of
from peak_trade.runs.sessions.plan import SessionPlan, recorded_plan
from peak_trade.runs.sessions.record import Story, leg_facts, plan_facts, story_of
from peak_trade.webui.desk import SessionView, Step
from peak_trade.webui.session_page import tail_of, without_view

#: Plans kept; each holds the bars of its markets.
PLANS_MAX = 8
_STEPS = {
    SENDING: "sent",
    OPENED: "open",
    ADOPTED: "found at the venue",
    FILLED: "filled",
    REFUSED: "refused by the risk gate",
    REJECTED: "rejected by the venue",
    UNKNOWN: "outcome unknown",
    ABSENT: "never reached the venue",
    CANCELLING: "cancel sent",
    CANCEL_TAKEN: "cancel taken",
}


class Viewer:
    """Reads sessions for the dashboard; remembers the bars of the last few."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._plans: dict[str, SessionPlan] = {}

    def view(self, session: Session) -> SessionView:
        """Return a session as far as it can be read; what can't be is named."""
        record = registered_record(session)
        try:
            records = list(lineage(self._parts.journal, session.account, session.session_id))
            story = story_of(records)
        except (PeakTradeError, OSError, KeyError, TypeError, ValueError, ArithmeticError) as error:
            return without_view(record, f"Its journal can't be read: {error}")
        missing: list[str] = []
        last = records[-1]
        record["journal"] |= {"head_seq": last.seq, "head_sha256": last.sha256, "records": len(records)}
        series = SessionSeries(fills=story.fills, orders=story.orders)
        try:
            plan = self._plan(records)
            more, series = self._drawn(plan, records, story, session)
            record = more | {name: value for name, value in record.items() if value not in (None, {}, []) or name not in more}
        except (PeakTradeError, OSError, KeyError, TypeError, ValueError, ArithmeticError, IndexError) as error:
            missing.append(f"Its bars can't be shown: {error}")
        return SessionView(
            record=record,
            series=series,
            lives=lives_of(records),
            tail=tail_of(records),
            records=len(records),
            missing=missing,
        )

    def _plan(self, records: list[Record]) -> SessionPlan:
        spec = spec_of(records)
        if "followed_at" in spec["data"][0]:
            return recorded_plan(self._parts, spec, records)  # its bars grow with its journal
        key = sha256_of(spec)
        if key not in self._plans:
            found = recorded_plan(self._parts, spec, records)
            if len(self._plans) >= PLANS_MAX:
                self._plans.pop(next(iter(self._plans)), None)
            self._plans[key] = found
        return self._plans[key]

    def _drawn(
        self, plan: SessionPlan, records: Sequence[Record], story: Story, session: Session
    ) -> tuple[Json, SessionSeries]:
        """Return what the plan and the journal add to a session's record, and its series."""
        stamps, equity, bars = marks_of(plan, story.fills, reached_bars(records))
        # What happened in the bar that has not closed yet is not in the last mark, nor in what a backtest expects by then.
        marked = [fill for fill in story.fills if len(stamps) and fill.bar_ns < stamps[-1]]
        standing = standing_of(plan, marked, stamps)
        closings = plan.first.bars.timestamp + plan.first.bars.timeframe.step_ns
        completed = int(np.searchsorted(closings, stamps[-1], side="right")) if len(stamps) else 0
        wanted, expected = expectation(self._parts, plan, standing, completed, marked)
        checks = checks_of(records) if plan.followed else None
        more = plan_facts(plan) | {"expected": wanted, "checks": checks.to_json() if checks else None}
        if not session.run.metrics:
            fills = Counter(f"fills:{fill.leg}" for fill in marked)
            more |= {
                "metrics": figures_so_far(plan, replace(story, fills=tuple(marked)), standing, equity, bars)
                | (checks.metrics() if checks else {}),
                "by_leg": leg_facts(plan, standing.books, standing.prices, fills),
                "incidents": list(story.incidents),
                "mode_at_end": mode_now(records),
                "blocked_by_code": blocked_codes(records),
            }
        series = SessionSeries(
            bars={name: dataset.bars for name, dataset in plan.datasets.items()},
            stamps=stamps,
            equity=equity,
            expected=expected,
            fills=story.fills,
            orders=story.orders,
        )
        return more, series


def figures_so_far(plan: SessionPlan, story: Story, standing: Worth, equity: F64, bars: int) -> dict[str, float | None]:
    """Return the figures of a session that has not told its own."""
    start = plan.paper.start_balance
    states = Counter(order.state for order in story.orders)
    blocked = states[OrderState.REFUSED.value]
    return {
        "start_equity": float(start),
        "final_equity": float(standing.equity),
        "total_return": float(standing.equity / start - 1),
        "realized_pnl": float(standing.books.realized()),
        "unrealized_pnl": float(standing.books.unrealized(standing.prices)),
        "fees_paid": float(standing.books.fees()),
        "max_drawdown": float(falls(equity, float(start)).min(initial=0.0)),
        "traded_notional": float(sum((abs(fill.quantity * fill.price) for fill in story.fills), Decimal(0))),
        "num_bars": float(bars),
        "num_orders": float(len(story.orders) - blocked),
        "num_fills": float(len(story.fills)),
        "orders_filled": float(states[OrderState.FILLED.value]),
        "orders_rejected": float(states[OrderState.REJECTED.value]),
        "orders_cancelled": float(states[OrderState.CANCELLED.value]),
        "orders_unknown": float(states[OrderState.UNKNOWN.value]),
        "orders_blocked_risk": float(blocked),
        "incidents": float(len(story.incidents)),
    }


def blocked_codes(records: Sequence[Record]) -> dict[str, int]:
    """Return how many orders each code refused."""
    return dict(Counter(item["code"] for record in records if record.kind == REFUSED for item in record.body["reasons"]))


def lives_of(records: Sequence[Record]) -> dict[str, list[Step]]:
    """Return what happened to each order, in the order in which it was written down."""
    lives: dict[str, list[Step]] = {}
    for record in records:
        what = _STEPS.get(record.kind)
        if record.kind == CLOSED:
            what = ENDS[OrderEvent(record.body["event"])].value
        if what is None:
            continue
        body = record.body
        name = body["intent"]["client_id"] if "intent" in body else body.get("client_id")
        if name:
            lives.setdefault(str(name), []).append(Step(record.at, what))
    return lives
