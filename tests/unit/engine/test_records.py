"""What the journal says: every event from outside comes back as it was."""

import json
from decimal import Decimal
from typing import get_args

import pytest
from tests.trading import a_fill, an_intent, approved

from peak_trade.engine import records
from peak_trade.engine.records import (
    REMARKS,
    TOLD,
    Told,
    event_record,
    incident_record,
    read_event,
    refused_record,
    sending_record,
)
from peak_trade.engine.state import (
    Adopted,
    CancelLost,
    Event,
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
from peak_trade.journal.chain import canonical
from peak_trade.model.errors import InvariantBroken
from peak_trade.model.kill_level import KillLevel
from peak_trade.model.order import Closed, OrderEvent, OrderState
from peak_trade.risk.gate import Mode, Refused, Violation
from peak_trade.venue.port import Accepted, OrderReport, Rejected, Unknown

EVENTS = [
    Accepted("a"),
    Rejected("a", "insufficient_funds", "EOrder:Insufficient funds"),
    Unknown("a", "timeout after 10 s"),
    a_fill("-1.50", "0.00000001", fee="0.000000000001", remaining="-1E+3", maker=True),
    *(Closed("a", event, "größe", 2**63 - 1) for event in (OrderEvent.CANCEL, OrderEvent.EXPIRE, OrderEvent.REJECT)),
    *(Adopted(OrderReport("a", state, Decimal("1E-8"), "why")) for state in OrderState),
    Adopted(OrderReport("a", OrderState.OPEN, Decimal("0E+2"), "")),
    Missed("a"),
    LookUpLost("a", "no answer"),
    CancelLost("a", "no answer"),
    *(Tripped(mode, "code", "words") for mode in Mode),
    *(Tripped(Mode.KILLED, "kill_switch", "words", level=level) for level in KillLevel),
    Tripped(Mode.RESTRICTED, "api_error_rate", "words", (("errors", "3"), ("requests", "29"))),
    Retire((), "words"),
    Retire(("alpha", "beta@ETH/EUR"), "größe"),
    Settle(),
    Late(2**63 - 1),
]


@pytest.mark.parametrize("event", EVENTS, ids=repr)
def test_an_event_survives_the_journal(event):
    """Written as JSON and read back, every event is the one that was told."""
    kind, body = event_record(event)

    assert read_event(kind, json.loads(json.dumps(body))) == event


def test_every_event_from_outside_is_tried_here():
    """The list above leaves no kind of event out, and bars are the only events that are not recorded."""
    assert {type(event) for event in EVENTS} == set(get_args(Told))
    assert {kind.__name__ for kind in get_args(Event)} - {kind.__name__ for kind in get_args(Told)} == {"BarClosed"}


def test_every_kind_of_event_is_told():
    """The kinds that a tape takes for news are those of the events, each with its own."""
    kinds = {type(event): event_record(event)[0] for event in EVENTS}

    assert set(kinds.values()) == TOLD
    assert len(set(kinds.values())) == len(kinds)
    assert not TOLD & REMARKS


def test_effects_and_remarks_are_not_news():
    """What was asked for is played back by asking for it again."""
    effects = {records.SENDING, records.REFUSED, records.CANCELLING, records.CANCEL_TAKEN, records.INCIDENT}

    assert not effects & (TOLD | REMARKS)


@pytest.mark.parametrize("kind", ["sending", "begun", "nonsense", ""])
def test_a_record_of_another_kind_is_no_event(kind):
    """Only what came from outside can be told."""
    with pytest.raises(InvariantBroken, match="known kind"):
        read_event(kind, {"client_id": "a"})


REFUSAL = Refusal(Refused(an_intent(), (Violation("paused", "no"), Violation("data_age", "old"))))


@pytest.mark.parametrize(
    "record",
    [
        *map(event_record, EVENTS),
        sending_record(Send(approved(an_intent()))),
        refused_record(REFUSAL),
        incident_record(Incident("code", "words", Mode.PAUSED)),
    ],
    ids=lambda record: record[0],
)
def test_every_record_can_be_written(record):
    """Bodies hold nothing that the journal does not take: no floats, no large integers."""
    kind, body = record

    written = canonical("2024-01-01T00:00:00.000000Z", {"tick": 1, **body}, kind, "0" * 64, 1)

    assert json.loads(written)["body"] == {"tick": 1, **body}


def test_a_sent_order_is_written_whole():
    """The intent with all its fields and the codes of the warnings."""
    kind, body = sending_record(Send(approved(an_intent("1.50"))))

    assert (kind, body) == ("sending", {"intent": an_intent("1.50").to_json(), "warnings": []})


def test_a_refusal_is_written_with_every_reason():
    """Code and words of each, and what was refused."""
    kind, body = refused_record(REFUSAL)

    assert kind == "refused"
    assert body["intent"] == an_intent().to_json()
    assert body["reasons"] == [{"code": "paused", "words": "no"}, {"code": "data_age", "words": "old"}]
