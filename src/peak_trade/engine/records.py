"""What the journal says of a session: every event from outside and everything asked for, each as a kind and a body.

Invariant: `read_event(kind, body)` gives back the event that `event_record` wrote.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from peak_trade.engine.feed import Tick
from peak_trade.engine.state import (
    Adopted,
    CancelLost,
    Incident,
    Late,
    LookUpLost,
    Missed,
    Refusal,
    Retire,
    Send,
    Settle,
    Tripped,
)
from peak_trade.journal.chain import BEGUN, ENDED, Record
from peak_trade.model.errors import InvariantBroken
from peak_trade.model.kill_level import KillLevel
from peak_trade.model.order import Closed, Fill, Intent, MarketBar, OrderEvent, OrderState
from peak_trade.risk.gate import Mode
from peak_trade.risk.triggers import Evidence
from peak_trade.venue.port import Accepted, OrderReport, Rejected, Unknown
from peak_trade.venue.testnet import VALIDATED

Body = dict[str, Any]
#: Everything that can be told to the engine besides bars.
Told = (
    Accepted
    | Rejected
    | Unknown
    | Fill
    | Closed
    | Adopted
    | Missed
    | CancelLost
    | LookUpLost
    | Tripped
    | Retire
    | Settle
    | Late
)

OPENED, REJECTED, UNKNOWN, FILLED, CLOSED = "opened", "rejected", "unknown", "filled", "closed"
ADOPTED, ABSENT, CANCEL_LOST, TRIPPED, SETTLING = "adopted", "absent", "cancel_lost", "tripped", "settling"
LATE, RETIRING, LOOK_UP_LOST = "late", "retiring", "look_up_lost"
SENDING, REFUSED, CANCELLING, CANCEL_TAKEN, INCIDENT = "sending", "refused", "cancelling", "cancel_taken", "incident"
RECONCILED, MARK = "reconciled", "mark"
BAR_OPENED, BAR = "bar_opened", "bar"

#: Kinds that tell what came from outside.
TOLD = frozenset(
    {
        *(OPENED, REJECTED, UNKNOWN, FILLED, CLOSED, ADOPTED, ABSENT),
        *(CANCEL_LOST, LOOK_UP_LOST, TRIPPED, RETIRING, SETTLING, LATE),
    }
)
#: Kinds that neither came from outside nor follow from what did: remarks for readers, and the bars of a session that follows
#: a market, which are to it what a dataset is to one over recorded bars.
REMARKS = frozenset({BEGUN, RECONCILED, MARK, ENDED, BAR_OPENED, BAR, VALIDATED})


def event_record(event: Told) -> tuple[str, Body]:
    """Return an event from outside as kind and body."""
    match event:
        case Fill():
            return FILLED, event.to_json()
        case Closed(client_id, what, why, at_ns):
            return CLOSED, {"client_id": client_id, "event": what.value, "why": why, "at_ns": str(at_ns)}
        case Accepted(client_id):
            return OPENED, {"client_id": client_id}
        case Rejected(client_id, code, words):
            return REJECTED, {"client_id": client_id, "code": code, "words": words}
        case Unknown(client_id, words):
            return UNKNOWN, {"client_id": client_id, "words": words}
        case Adopted(report):
            state, filled = report.state.value, str(report.filled)
            return ADOPTED, {"client_id": report.client_id, "state": state, "filled": filled, "why": report.why}
        case Missed(client_id):
            return ABSENT, {"client_id": client_id}
        case CancelLost(client_id, words):
            return CANCEL_LOST, {"client_id": client_id, "words": words}
        case LookUpLost(client_id, words):
            return LOOK_UP_LOST, {"client_id": client_id, "words": words}
        case Tripped(mode, code, words, evidence, level):
            body: Body = {"mode": mode.value, "code": code, "words": words}
            return TRIPPED, body | _evidence(evidence) | ({} if level is None else {"level": level.value})
        case Retire(legs, words):
            return RETIRING, {"legs": list(legs), "words": words}
        case Settle(fault):
            return SETTLING, {"fault": fault}
        case Late(late_ns):
            return LATE, {"late_ns": str(late_ns)}


def read_event(kind: str, body: Mapping[str, Any]) -> Told:
    """Return the event of a record from outside."""
    client_id = body.get("client_id", "")
    match kind:
        case "filled":
            return Fill.from_json(dict(body))
        case "closed":
            return Closed(client_id, OrderEvent(body["event"]), body["why"], int(body["at_ns"]))
        case "opened":
            return Accepted(client_id)
        case "rejected":
            return Rejected(client_id, body["code"], body["words"])
        case "unknown":
            return Unknown(client_id, body["words"])
        case "adopted":
            return Adopted(OrderReport(client_id, OrderState(body["state"]), Decimal(body["filled"]), body["why"]))
        case "absent":
            return Missed(client_id)
        case "cancel_lost":
            return CancelLost(client_id, body["words"])
        case "look_up_lost":
            return LookUpLost(client_id, body["words"])
        case "tripped":
            level = KillLevel(body["level"]) if "level" in body else None
            evidence = tuple(dict(body.get("evidence", {})).items())
            return Tripped(Mode(body["mode"]), body["code"], body["words"], evidence, level)
        case "retiring":
            return Retire(tuple(body["legs"]), body["words"])
        case "settling":
            return Settle(body["fault"])
        case "late":
            return Late(int(body["late_ns"]))
    raise InvariantBroken(f"a record from outside is of a known kind, found {kind!r}")


def sending_record(effect: Send) -> tuple[str, Body]:
    """Return an order that is about to be sent."""
    approved = effect.approved
    return SENDING, {"intent": approved.intent.to_json(), "warnings": [item.code for item in approved.warnings]}


def sent_in(records: Iterable[Record]) -> tuple[Intent, ...]:
    """Return the orders that a journal says were sent, or were about to be."""
    return tuple(Intent.from_json(record.body["intent"]) for record in records if record.kind == SENDING)


def booked_in(records: Iterable[Record]) -> tuple[str, ...]:
    """Return the names of the fills that a journal has, in its order."""
    return tuple(str(record.body["fill_id"]) for record in records if record.kind == FILLED)


def refused_record(effect: Refusal) -> tuple[str, Body]:
    """Return an order that the gate refused, with every reason."""
    reasons = [{"code": item.code, "words": item.words} for item in effect.refused.reasons]
    return REFUSED, {"intent": effect.refused.intent.to_json(), "reasons": reasons}


def incident_record(effect: Incident) -> tuple[str, Body]:
    """Return something that a person must see."""
    return INCIDENT, {"code": effect.code, "words": effect.words, "mode": effect.mode.value} | _evidence(effect.evidence)


def _evidence(given: Evidence) -> Body:
    """Return the numbers that a trigger saw as a part of a body; nothing where there are none."""
    return {"evidence": dict(given)} if given else {}


def tick_record(tick: Tick) -> tuple[str, Body]:
    """Return a bar of a followed market, as it opens or when it is complete; floats as the shortest text."""
    bar = tick.bar
    body = {"symbol": bar.symbol, "opened_ns": str(bar.opened_ns), "step_ns": str(bar.step_ns), "open": repr(bar.open)}
    if not tick.complete:
        return BAR_OPENED, body
    return BAR, body | {name: repr(getattr(bar, name)) for name in ("high", "low", "close", "volume")}


def recorded_ticks(records: Iterable[Record]) -> Iterator[Tick]:
    """Return the bars of a market that a session followed, in the order in which it was told them."""
    numbers: Counter[str] = Counter()
    for record in records:
        if record.kind not in (BAR_OPENED, BAR):
            continue
        body, complete = record.body, record.kind == BAR
        opened = float(body["open"])
        high, low, close, volume = (
            (float(body[name]) for name in ("high", "low", "close", "volume")) if complete else (opened, opened, opened, 0.0)
        )
        symbol = str(body["symbol"])
        bar = MarketBar(symbol, int(body["opened_ns"]), int(body["step_ns"]), opened, high, low, close, volume)
        yield Tick(bar, numbers[symbol], complete)
        numbers[symbol] += complete
