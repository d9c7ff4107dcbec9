"""A journal played back: the engine must come out where it was, or say at which record it does not."""

from collections.abc import Sequence

import pytest
from tests.builders import random_targets, some_bars
from tests.trading import SYMBOL, Desk, Pages, a_leg, a_plan, a_venue, some_costs, some_limits

from peak_trade.engine.engine import OffTheTape
from peak_trade.engine.records import REMARKS
from peak_trade.engine.tape import Tape
from peak_trade.journal.chain import Record
from peak_trade.model.errors import CheckFailed, SafetyRefused
from peak_trade.venue.log import MemoryLog
from peak_trade.venue.simulated import SimulatedVenue

BARS = some_bars(120, seed=5, noise=0.03)
TARGETS = random_targets(120, 5)
PLAN = a_plan(
    a_leg(sizing="fraction=0.7", shorts=True, stop_loss="0.05", take_profit="0.05", trailing_stop="0.04"),
    limits=some_limits(max_daily_loss_pct=4, max_order_notional=12_000, duplicate_window_s=0.0),
)


def venue(log: MemoryLog | None = None) -> SimulatedVenue:
    return a_venue(log=log, costs=some_costs(taker="0.004", slippage="0.0005"))


def played(tape: Sequence[Record], at: SimulatedVenue | None = None, **given: int) -> Desk:
    return Desk(PLAN, at, tape=tape, replayed=at is None).run({SYMBOL: BARS}, {0: TARGETS}, **given)


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """The journal of a busy session."""
    return Desk(PLAN, venue()).run({SYMBOL: BARS}, {0: TARGETS}).pages.records


def test_the_session_holds_every_kind_of_order(records):
    """The journal that is played here has fills, cancels, refusals and an incident."""
    kinds = {record.kind for record in records}

    assert {"sending", "opened", "filled", "cancelling", "closed", "refused", "incident"} <= kinds
    assert len(records) > 150


def test_a_journal_played_back_gives_the_same_state(records):
    """Without a venue, from the records and the bars alone."""
    whole = Desk(PLAN, venue()).run({SYMBOL: BARS}, {0: TARGETS})

    again = played(records)

    assert again.state == whole.state
    assert again.equities == whole.equities
    assert again.pages.records == []


@pytest.mark.parametrize(("late_ns", "noted"), [(999_999_999, 0), (1_000_000_000, 120), (5_000_000_000, 120)])
def test_a_session_that_ran_late_can_be_played_back(late_ns, noted):
    """In real time bars come late: from a second on it is noted, and played back as it was."""
    whole = Desk(PLAN, venue()).run({SYMBOL: BARS}, {0: TARGETS}, late_ns=late_ns)

    again = played(whole.pages.records)

    assert len(whole.pages.of("late")) == noted
    assert again.state == whole.state


def test_a_journal_cut_anywhere_is_gone_on_with(records):
    """The process died after any record: played back and gone on with at the venue, the books end as they would have."""
    wanted = Desk(PLAN, venue()).run({SYMBOL: BARS}, {0: TARGETS}).state
    for cut in range(0, len(records), 7):
        log = MemoryLog()
        first = Desk(PLAN, venue(log), pages=Stopping(cut))
        with pytest.raises(Died):
            first.run({SYMBOL: BARS}, {0: TARGETS})
        tape = first.pages.records

        second = played(tape, venue(log))

        assert second.state.books == wanted.books, cut
        assert second.state.equity == wanted.equity, cut


class Died(BaseException):
    """The process is no more."""


class Stopping(Pages):
    """A journal whose process dies once it holds so many records."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def append(self, kind, body, *, at, durable=False):
        if len([record for record in self.records if record.kind not in REMARKS]) >= self.count:
            raise Died
        super().append(kind, body, at=at, durable=durable)


def changed(record: Record) -> Record:
    """Return a record that says something else in its body."""
    body = dict(record.body)
    if "intent" in body:
        body["intent"] = {**body["intent"], "quantity": "123"}
    elif record.kind == "incident":
        body["words"] = "something else"
    else:
        body["client_id"] = "another"
    return record._replace(body=body)


@pytest.mark.parametrize("kind", ["sending", "refused", "cancelling", "incident"])
def test_a_record_that_differs_is_named(records, kind):
    """The engine decides otherwise than its journal: it stops with the record's number, moment and both versions."""
    place = next(i for i, record in enumerate(records) if record.kind == kind)
    tape = [*records[:place], changed(records[place]), *records[place + 1 :]]

    with pytest.raises(CheckFailed, match=f"a difference at record {records[place].seq} of ") as failed:
        played(tape)
    assert f"journal {kind}" in str(failed.value)
    assert records[place].at in str(failed.value)


def test_a_record_that_is_missing_is_noticed(records):
    """What comes next on the tape is not what the engine asks for."""
    place = next(i for i, record in enumerate(records) if record.kind == "sending")

    with pytest.raises(CheckFailed, match=f"difference at record {records[place + 1].seq}"):
        played(records[:place] + records[place + 1 :])


def test_a_record_too_many_is_noticed(records):
    """An order that the engine does not ask for is told when the next one is due."""
    place = next(i for i, record in enumerate(records) if record.kind == "sending")
    tape = [*records[:place], records[place], *records[place:]]

    with pytest.raises(CheckFailed, match="difference at record"):
        played(tape)


def test_other_targets_are_noticed(records):
    """A strategy that decides otherwise today does not fit its journal."""
    desk = Desk(PLAN, None, tape=records, replayed=True)

    with pytest.raises(CheckFailed, match="the code, the data or the journal was changed"):
        desk.run({SYMBOL: BARS}, {0: -TARGETS})


def test_a_replay_does_not_go_beyond_its_journal(records):
    """Without a venue there is nobody to ask: a journal that ends in the middle says so."""
    with pytest.raises(OffTheTape):
        played(records[: len(records) // 2])


def test_a_venue_that_knows_nothing_stops_the_session(records):
    """Played back against a venue without a memory, books and venue differ: nothing more is sent."""
    place = next(i for i, record in enumerate(records) if record.kind == "filled") + 1

    with pytest.raises(SafetyRefused, match="books and venue"):
        played(records[:place], venue())


# ---- the tape alone --------------------------------------------------------------------------------------------------


def a_record(seq: int, kind: str = "filled", tick: int = 3, via: str = "market") -> Record:
    return Record(seq, "2024-01-01T00:00:00.000000Z", kind, {"tick": tick, "via": via}, "", "")


def test_remarks_are_left_out():
    """What only readers need is not played."""
    tape = Tape([a_record(n, kind) for n, kind in enumerate(sorted(REMARKS))] + [a_record(9)])

    assert tape.head.seq == 9


def test_a_tape_is_empty_at_its_end():
    """What was played is counted, and then there is no news."""
    tape = Tape([a_record(0)])
    assert tape.take("filled", {"tick": 3, "via": "market"})
    assert (len(tape.left), tape.played) == (0, 1)
    assert Tape().told_at(0, ("market",)) is None


@pytest.mark.parametrize(
    ("tick", "via", "kind", "found"),
    [
        (3, ("market",), "filled", True),
        (3, ("reply", "market"), "filled", True),
        (3, ("reply",), "filled", False),
        (2, ("market",), "filled", False),
        (4, ("market",), "filled", False),
        (3, ("market",), "sending", False),
    ],
)
def test_news_is_told_at_its_own_tick_and_by_its_own_way(tick, via, kind, found):
    """Anything else waits its turn."""
    tape = Tape([a_record(0, kind)])

    assert (tape.told_at(tick, via) is not None) is found


def test_only_the_next_record_can_be_taken():
    """Another kind or another body stays on the tape."""
    tape = Tape([a_record(0), a_record(1, "closed")])

    assert not tape.take("closed", {"tick": 3, "via": "market"})
    assert not tape.take("filled", {"tick": 3, "via": "reply"})
    assert not tape.take("filled", {"tick": 3})
    assert tape.head.seq == 0


def test_a_long_difference_is_cut():
    """The words stay readable whatever a record holds."""
    tape = Tape([Record(4, "then", "sending", {"tick": 1, "intent": {"name": "x" * 900}}, "", "")])

    words = str(tape.differs("sending", {"tick": 1, "intent": {}}))

    assert words.startswith("expected the engine to decide as its journal says, found a difference at record 4 of then")
    assert len(words) < 900
