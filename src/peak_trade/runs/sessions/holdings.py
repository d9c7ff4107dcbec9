"""What an account holds, from the journal of its last session: positions, working orders, and how that session is.

Invariant: quantities are exact decimals from the fills; nothing is asked of the process, so that a hung one hides nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from peak_trade.compose import Parts
from peak_trade.engine.records import (
    ABSENT,
    ADOPTED,
    CLOSED,
    FILLED,
    OPENED,
    REJECTED,
    SENDING,
    TRIPPED,
    UNKNOWN,
)
from peak_trade.journal.chain import BEGUN, ENDED, Record, read, segments
from peak_trade.journal.session import LIVE_SESSION_EMULATED
from peak_trade.ledger.books import Books
from peak_trade.model.clock import parse_moment
from peak_trade.model.errors import PeakTradeError, SafetyRefused
from peak_trade.model.order import ENDS, WORKING, Fill, Intent, OrderEvent, OrderState
from peak_trade.model.stage import Stage
from peak_trade.runs.at_work import Worker, worker_on
from peak_trade.runs.record import Json
from peak_trade.runs.sessions.dead import lineage
from peak_trade.runs.sessions.marks import mode_now

_STATES = {OPENED: OrderState.OPEN, UNKNOWN: OrderState.UNKNOWN, ABSENT: OrderState.ABSENT, REJECTED: OrderState.REJECTED}


@dataclass(frozen=True, slots=True)
class WorkingOrder:
    """An order that may still be filled: what was wanted, its state, and what of it was filled."""

    intent: Intent
    state: OrderState
    filled: Decimal

    def to_json(self) -> Json:
        """Return the order as a JSON object; money as text."""
        return self.intent.to_json() | {"state": self.state.value, "filled": f"{self.filled:f}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """An account as its last session left it, or has it now.

    Attributes:
        session_id: None where no session ever ran on it. worker: who holds the account, None where nobody does.
        records: of that session and of the dead ones that it goes on with. books: of its fills, opened without cash.
        working: its orders that may still be filled.
    """

    account: str
    session_id: str | None
    worker: Worker | None
    records: Sequence[Record]
    books: Books
    working: tuple[WorkingOrder, ...]

    @property
    def ended(self) -> bool:
        """Whether the session came to its end."""
        return bool(self.records) and self.records[-1].kind == ENDED

    @property
    def state(self) -> str:
        """How the session is: at work, ended, dead, or none."""
        if self.session_id is None:
            return "none"
        if self.worker is not None and self.worker.session_id is not None:
            return "at work"
        return "ended" if self.ended else "dead"

    @property
    def legs(self) -> tuple[str, ...]:
        """The names under which something was ever booked."""
        return tuple(sorted({leg for leg, _ in self.books.positions}))

    def positions(self, strategy: str | None = None) -> list[Json]:
        """Return what is held, of all strategies or one; quantities signed, money as text."""
        return [
            {
                "leg": leg,
                "strategy": strategy_of(leg),
                "symbol": symbol,
                "quantity": f"{found.quantity:f}",
                "average_cost": f"{found.entry:f}",
            }
            for (leg, symbol), found in sorted(self.books.positions.items())
            if found.quantity and strategy in (None, strategy_of(leg))
        ]

    def enlarging(self) -> tuple[WorkingOrder, ...]:
        """Return the working orders that could enlarge a position."""
        return tuple(order for order in self.working if not order.intent.reduce_only and self._enlarges(order.intent))

    def _enlarges(self, intent: Intent) -> bool:
        held = self.books.position(intent.leg, intent.symbol).quantity
        return not held or (held > 0) == (intent.quantity > 0) or abs(intent.quantity) > abs(held)

    def tripped_since(self, at: str) -> Record | None:
        """Return the first record since a moment (ISO 8601, UTC) by which the session took a stricter mode."""
        since = parse_moment(at)
        return next((item for item in self.records if item.kind == TRIPPED and parse_moment(item.at) >= since), None)

    def to_json(self) -> Json:
        """Return it as a JSON object."""
        return {
            "account": self.account,
            "session_id": self.session_id,
            "state": self.state,
            "mode": mode_now(self.records) if self.records else None,
            "last_record_at": self.records[-1].at if self.records else None,
            "positions": self.positions(),
            "working_orders": [order.to_json() for order in self.working],
            "fills": sum(record.kind == FILLED for record in self.records),
        }


def holdings(parts: Parts, account: str) -> Holdings:
    """Return what an account holds by its journal.

    Raises:
        DataError: the journal is damaged. StorageError: it can't be read.
    """
    worker = worker_on(parts, account)
    found = segments(parts.journal, account) if (parts.journal / account).is_dir() else []
    if not found:
        return Holdings(account=account, session_id=None, worker=worker, records=(), books=Books.opened(Decimal(0)), working=())
    session_id = found[-1].stem
    records = list(lineage(parts.journal, account, session_id))
    fills = [Fill.from_json(dict(record.body)) for record in records if record.kind == FILLED]
    books = Books.opened(Decimal(0))
    for fill in fills:
        books = books.book(fill)
    working = () if records and records[-1].kind == ENDED else working_orders(records)
    return Holdings(account=account, session_id=session_id, worker=worker, records=records, books=books, working=working)


def working_orders(records: Iterable[Record]) -> tuple[WorkingOrder, ...]:
    """Return the orders that may still be filled, by a session's records, oldest first."""
    found: dict[str, WorkingOrder] = {}
    for record in records:
        body = record.body
        if record.kind == SENDING:
            intent = Intent.from_json(dict(body["intent"]))
            found[intent.client_id] = WorkingOrder(intent, OrderState.SENDING, Decimal(0))
        elif record.kind == BEGUN or (known := found.get(str(body.get("client_id")))) is None:
            continue
        elif record.kind == FILLED:
            state = OrderState.PARTLY_FILLED if Decimal(body["remaining"]) else OrderState.FILLED
            found[known.intent.client_id] = WorkingOrder(known.intent, state, known.filled + Decimal(body["quantity"]))
        elif record.kind in (CLOSED, ADOPTED) or record.kind in _STATES:
            state = ENDS[OrderEvent(body["event"])] if record.kind == CLOSED else _STATES.get(record.kind, OrderState.OPEN)
            if record.kind == ADOPTED:
                state = OrderState(body["state"])
            found[known.intent.client_id] = WorkingOrder(known.intent, state, known.filled)
    return tuple(order for order in found.values() if order.state in WORKING)


def check_nothing_left(parts: Parts, account: str) -> None:
    """Let a simulated session pass on an account whose last session left nothing at an exchange.

    The account's newest journal is what a session recovers from, and what a pause, a closing and people read: a simulation on
    top of one whose orders or positions are real would hide them from all of these.

    Raises:
        SafetyRefused: it left orders or positions there, or died and may have.
        DataError: its journal is damaged. StorageError: it can't be read.
    """
    newest = segments(parts.journal, account)[-1:] if (parts.journal / account).is_dir() else []
    begun = next(read(newest[0]), None) if newest else None
    if begun is None or not _executed(begun):
        return
    found = holdings(parts, account)
    left = [f"{len(found.working)} working orders"] if found.working else []
    left += [f"{item['symbol']} {item['quantity']}" for item in found.positions()]
    left += [] if found.ended else ["no end of its own"]
    if left:
        raise SafetyRefused(
            f"expected an account whose last session left nothing at an exchange, found {account}, on which {found.session_id} "
            f"left {', '.join(left)}; nothing was begun: simulate on another --account, so that this one can be recovered"
        )


def _executed(begun: Record) -> bool:
    """Tell whether an exchange executes the orders of a session, by its first record."""
    return begun.body.get("run_type") == LIVE_SESSION_EMULATED or begun.body.get("mode") == Stage.LIVE.value


def strategy_of(leg: str) -> str:
    """Return the key of a leg's strategy: a leg is named after it, with its symbol where a session trades several."""
    return leg.partition("@")[0]


def strategies_on(parts: Parts, account: str) -> tuple[str, ...]:
    """Return the keys of the strategies of an account's last session, from the registry; none where nobody knows."""
    try:
        found = segments(parts.journal, account)
        return tuple(parts.sessions.get(found[-1].stem).run.strategy.split("+")) if found else ()
    except PeakTradeError:
        return ()
