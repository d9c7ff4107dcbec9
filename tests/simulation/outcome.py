"""What a session came to, read from the files it left, and the proof that a killed one came to the same.

Nothing here asks the engine: fills and orders are read from the journal, the account from the venue's memory, and the books
are added up anew from both.
"""

import json
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.simulation.world import ACCOUNT, World

from peak_trade.journal.chain import ENDED, Record, read
from peak_trade.journal.run import RunStatus
from peak_trade.journal.session import Session
from peak_trade.journal.sessions import SessionFilter
from peak_trade.journal.verify import NOTES
from peak_trade.model.order import MONEY_STEP
from peak_trade.runs.journal_check import verify_journals
from peak_trade.runs.sessions.again import redecide
from peak_trade.runs.sessions.dead import close_dead, lineage

#: Figures of a session's end that a death must not change.
FIGURES = (
    "start_equity",
    "final_equity",
    "total_return",
    "realized_pnl",
    "unrealized_pnl",
    "fees_paid",
    "max_drawdown",
    "traded_notional",
    "num_bars",
    "num_decisions",
    "num_fills",
    "num_trades",
    "orders_rejected",
    "orders_blocked_risk",
    "orders_skipped",
)
_FILL = ("client_id", "leg", "symbol", "reason", "quantity", "price", "fee", "bar_ns", "at_ns", "maker", "remaining")
#: The reference price is left out: where an answer was lost, the same order may be asked for a phase of the bar earlier.
_ORDER = ("client_id", "leg", "symbol", "kind", "quantity", "reason", "decided_ns", "price", "reduce_only")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a session came to, over all its lives."""

    origin: str
    fills: list[tuple[Any, ...]]
    orders: list[tuple[Any, ...]]
    refused: list[tuple[Any, ...]]
    incidents: list[tuple[str, str]]
    at_venue: list[tuple[Any, ...]]
    absent: int
    digest: str
    figures: dict[str, str]
    records: tuple[Record, ...]
    lines: list[dict[str, Any]]

    @property
    def without_names(self) -> list[list[tuple[Any, ...]]]:
        """Fills and orders without the names of orders, which another beginning, or an absent order, changes.

        Orders of one moment are sorted: one that is asked for again stands behind those that were asked for with it.
        """
        orders = [sorted((row[1:] for row in rows), key=_moment_first) for rows in (self.orders, self.at_venue)]
        return [[row[1:] for row in self.fills], *orders]


def _moment_first(row: tuple[Any, ...]) -> tuple[int, str]:
    return int(row[_ORDER.index("decided_ns") - 1]), str(row)


def outcome_of(world: World, session_id: str | None = None) -> Outcome:
    """Read what the account's last session, or another one, came to."""
    name = session_id or world.journals()[-1].stem
    records = tuple(lineage(world.folder / "var" / "journal", ACCOUNT, name))
    origin = records[0].body["origin"]
    log = world.folder / "var" / "venue" / ACCOUNT / f"{origin}.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    gone = {record.body["client_id"] for record in records if record.kind == "absent"}
    sent = [record.body["intent"] for record in records if record.kind == "sending"]
    ended = records[-1].body if records[-1].kind == ENDED else {}
    return Outcome(
        origin=origin,
        fills=[tuple(record.body[key] for key in _FILL) for record in records if record.kind == "filled"],
        orders=[tuple(intent[key] for key in _ORDER) for intent in sent if intent["client_id"] not in gone],
        refused=[
            (*(record.body["intent"][key] for key in _ORDER[1:]), *(item["code"] for item in record.body["reasons"]))
            for record in records
            if record.kind == "refused"
        ],
        incidents=[(record.body["code"], record.body["words"]) for record in records if record.kind == "incident"],
        at_venue=[tuple(line["submitted"][key] for key in _ORDER) for line in lines if "submitted" in line],
        absent=len(gone),
        digest=ended.get("decisions_sha256", ""),
        figures={name: ended["metrics"][name] for name in FIGURES} if ended else {},
        records=records,
        lines=lines,
    )


def check_same(found: Outcome, wanted: Outcome) -> None:
    """Check that a session that died came to what it would have come to."""
    assert found.without_names == wanted.without_names
    assert found.refused == wanted.refused
    assert found.incidents == wanted.incidents
    assert found.figures == wanted.figures
    if found.origin == wanted.origin and not found.absent:
        assert (found.fills, found.orders, found.digest) == (wanted.fills, wanted.orders, wanted.digest)


def check_sound(world: World, outcome: Outcome) -> None:
    """Check what must hold of any session that ended: approvals, sends, books and venue agree with each other."""
    approvals = [record.body["intent"] for record in outcome.records if record.kind == "sending"]
    submitted = [line["submitted"] for line in outcome.lines if "submitted" in line]
    names = Counter(intent["client_id"] for intent in submitted)
    told = {kind: [r.body["client_id"] for r in outcome.records if r.kind == kind] for kind in ("absent", "rejected")}
    assert max(names.values(), default=0) <= 1, "the venue got an order twice"
    assert [intent for intent in approvals if intent["client_id"] in names] == submitted, "an order without its approval"
    assert max(Counter(intent["client_id"] for intent in approvals).values(), default=0) <= 1, "a name was used twice"
    assert {i["client_id"] for i in approvals} - set(names) == {*told["absent"], *told["rejected"]}
    assert not set(told["absent"]) & set(names), "an order that the venue has was declared absent"
    booked = [record.body for record in outcome.records if record.kind == "filled"]
    happened = [line["fill"] for line in outcome.lines if "fill" in line]
    plain = [{name: body[name] for name in fill} for body, fill in zip(booked, happened, strict=True)]
    assert plain == happened, "fills of the venue and of the books differ"
    assert max(Counter(fill["fill_id"] for fill in happened).values(), default=0) <= 1


def check_books(world: World, outcome: Outcome, session: Session) -> None:
    """Check the registry's exact figures against a sum over the venue's fills."""
    start = Decimal(world.request.paper.start_balance)
    cash, held = start, dict[str, Decimal]()
    for fill in (line["fill"] for line in outcome.lines if "fill" in line):
        quantity, price = Decimal(fill["quantity"]), Decimal(fill["price"])
        cash -= (quantity * price).quantize(MONEY_STEP) + Decimal(fill["fee"])
        held[fill["leg"]] = held.get(fill["leg"], Decimal(0)) + quantity
    if "cash" in session.summary:
        assert Decimal(session.summary["cash"]) == cash
        legs = {item["leg"]: Decimal(item["position"]) for item in session.summary["by_leg"]}
        assert {leg: quantity for leg, quantity in legs.items() if quantity} == {k: v for k, v in held.items() if v}


def check_proofs(world: World, *, allowed: tuple[str, ...] = ("aborted",)) -> list[Session]:
    """Check the registry, the journals and that the last session can be decided again; return the sessions, oldest first.

    Args:
        world: where the sessions ran.
        allowed: how those before the last one may have ended.
    """
    with world.parts() as parts:
        close_dead(parts, held=ACCOUNT)
        sessions = parts.sessions.find(SessionFilter(), 1_000)[::-1]
        reports = verify_journals(parts, None)
        again = redecide(parts, world.journals()[-1].stem)
    assert [session.run.status.value for session in sessions if session.run.status.value not in allowed] == ["completed"]
    assert sessions[-1].run.status is RunStatus.COMPLETED
    assert sessions[-1].run.result_sha256 == again.now
    assert again.identical, again.difference
    assert [
        (flaw.segment, flaw.code, flaw.words) for report in reports for flaw in report.flaws if flaw.code not in NOTES
    ] == []
    assert all(report.intact and report.complete for report in reports)
    return sessions


def has_ended(world: World) -> bool:
    """Tell whether the account's last session has its end in the journal: then there is nothing to go on with."""
    paths = world.journals()
    if not paths:
        return False
    last = None
    for last in read(paths[-1]):  # noqa: B007 - the last one counts
        pass
    return last is not None and last.kind == ENDED
