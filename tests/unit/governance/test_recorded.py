"""The ladder's events in a journal: what was recorded comes back, and other records are refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gates import NOW, RUNGS, SYMBOLS, assignment, climbed, sha

from peak_trade.governance.ladder import Decided, Demoted, Ladder, LadderEvent, Promoted
from peak_trade.governance.objections import Objected
from peak_trade.governance.recorded import body_of, event_of
from peak_trade.journal.chain import Chain, read
from peak_trade.journal.signing import Signer
from peak_trade.model.clock import parse_moment
from peak_trade.model.stage import Stage

ASSIGNMENTS = st.builds(
    assignment, st.sets(st.sampled_from([*SYMBOLS, "SOL/EUR"]), min_size=1), st.sampled_from(["paper", "a-1"])
)
EVENTS = st.one_of(
    st.builds(Decided, st.just(NOW), ASSIGNMENTS, st.sampled_from(RUNGS), st.just(sha("d")), st.booleans()),
    st.builds(Promoted, st.just(NOW), ASSIGNMENTS, st.sampled_from(RUNGS), st.just(sha("d"))),
    st.builds(Demoted, st.just(NOW), ASSIGNMENTS, st.sampled_from(Stage), st.sampled_from(["drift", "größer"])),
)


@given(EVENTS)
def test_an_event_comes_back_as_it_went(event: LadderEvent):
    """Kind and body say all of it but the moment, which the record has."""
    kind, body = body_of(event)

    assert event_of(kind, NOW, body) == event


def test_the_ladder_stands_in_a_journal(tmp_path: Path):
    """Written into a chain like every other record, and read back to the same ladder."""
    events = [*climbed(Stage.TESTNET), Demoted(NOW, assignment(SYMBOLS[:1]), Stage.SHADOW, "drift")]
    chain = Chain.begin(tmp_path, "gates", "s1", {}, at=events[0].at, signer=Signer.load_or_make(tmp_path / "key.pem"))
    for event in events:
        kind, body = body_of(event)
        chain.append(kind, body, at=event.at)
    chain.close()

    records = list(read(chain.path))[1:]
    ladder = Ladder(event_of(record.kind, parse_moment(record.at), record.body) for record in records)
    assert (ladder.refused, ladder.standings()) == ([], Ladder(events).standings())


@pytest.mark.parametrize("event", [*climbed(Stage.SHADOW), Demoted(NOW, assignment(), Stage.SHADOW, "drift")])
@pytest.mark.parametrize(
    "change",
    [
        {"more": 1},
        {"symbols": []},
        {"symbols": ["ETH/EUR", "BTC/EUR"]},
        {"symbols": ["BTC/EUR", "BTC/EUR"]},
        {"account": "../x"},
        {"strategy": {"key": "x"}},
        {"rung": "shadow->live"},
        {"decision": "d"},
        {"passed": 1},
        {"to": "nowhere"},
        {"why": ""},
        {"account": None},
    ],
)
def test_another_record_is_refused(event, change):
    """Fields that nobody knows, that are missing or of another kind: never read as something near it."""
    kind, body = body_of(event)
    with pytest.raises(Objected) as caught:
        event_of(kind, NOW, body | change)
    assert caught.value.code == "malformed"


def test_another_kind_is_refused():
    """A record of something else is no step."""
    _, body = body_of(climbed(Stage.SHADOW)[0])
    for kind in ("", "order", "promoted "):
        with pytest.raises(Objected):
            event_of(kind, NOW, body)
    for name in body:
        less = {key: value for key, value in body.items() if key != name}
        with pytest.raises(Objected):
            event_of("gate_decided", NOW, less)
