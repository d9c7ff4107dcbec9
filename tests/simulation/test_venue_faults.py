"""Whatever a venue does, no order is sent twice, the books are the venue's, and what nothing explains stops the session."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from tests.simulation.faulty import FaultyVenue, hasty, lost_answer, lost_cancel, refusing, stray_fill
from tests.simulation.outcome import Outcome, check_books, check_proofs, check_sound, outcome_of
from tests.simulation.scenarios import CROWD, EXITS, FLIPS, SCARCE
from tests.simulation.world import Forge, Killer, Scenario, World

from peak_trade.journal.sessions import SessionFilter
from peak_trade.model.errors import SafetyRefused
from peak_trade.model.order import Closed, Fill
from peak_trade.runs.sessions.files import EndedSession

Setup = Callable[[FaultyVenue], None]


class Trial:
    """A session at a faulty venue, and what the venue has of it at the end."""

    def __init__(self, forge: Forge, scenario: Scenario, setup: Setup) -> None:
        self.world = forge.world(scenario)
        self.venues: list[FaultyVenue] = []

        def wrap(venue: Any) -> FaultyVenue:
            faulty = FaultyVenue(venue)
            setup(faulty)
            self.venues.append(faulty)
            return faulty

        self.world.wrap = wrap

    @property
    def venue(self) -> FaultyVenue:
        return self.venues[-1]

    def run(self) -> EndedSession:
        ended = self.world.run()
        assert max(self.venue.sent.values()) == 1, "an order was sent twice"
        return ended

    def check_books(self, ended: EndedSession) -> None:
        """Check that the books say at the end what the venue says."""
        truth = asyncio.run(self.venue.inner.snapshot())
        held: dict[str, Decimal] = {}
        for leg in ended.record["by_leg"]:
            held[leg["symbol"]] = held.get(leg["symbol"], Decimal(0)) + Decimal(leg["position"])

        assert Decimal(ended.record["exact"]["cash"]) == truth.cash
        assert {symbol: quantity for symbol, quantity in held.items() if quantity} == dict(truth.positions)
        assert truth.working == ()


def undisturbed(forge: Forge, scenario: Scenario) -> Outcome:
    world: World = forge.world(scenario)
    world.run()
    return outcome_of(world)


def setting(**ways: Any) -> Setup:
    def setup(venue: FaultyVenue) -> None:
        for name, way in ways.items():
            setattr(venue, f"on_{name}", way)

    return setup


@pytest.mark.parametrize("scenario", [EXITS, FLIPS, CROWD, SCARCE], ids=lambda scenario: scenario.name)
def test_orders_whose_answer_was_lost_are_adopted(forge, scenario):
    """An order that the venue took, but whose answer was lost, is asked for, adopted and never sent again."""
    trial = Trial(forge, scenario, setting(submit=lost_answer(applied=True)))

    ended = trial.run()

    found, wanted = outcome_of(trial.world), undisturbed(forge, scenario)
    assert trial.venue.asked > 5
    assert (found.fills, found.orders, found.digest) == (wanted.fills, wanted.orders, wanted.digest)
    trial.check_books(ended)
    check_sound(trial.world, found)
    check_books(trial.world, found, check_proofs(trial.world)[-1])


@pytest.mark.parametrize("scenario", [EXITS, FLIPS, CROWD, SCARCE], ids=lambda scenario: scenario.name)
def test_orders_that_never_arrived_are_asked_for_anew(forge, scenario):
    """An order that the venue never got is declared absent, and wanted again under another name: the fills are the same."""
    trial = Trial(forge, scenario, setting(submit=lost_answer(applied=False)))

    ended = trial.run()

    found, wanted = outcome_of(trial.world), undisturbed(forge, scenario)
    assert found.absent > 5
    assert found.without_names == wanted.without_names
    trial.check_books(ended)
    check_sound(trial.world, found)
    check_proofs(trial.world)


def test_fills_may_come_before_the_answer(forge):
    """An order that was filled before its answer could be heard is adopted with its fill, which is booked once."""
    trial = Trial(forge, EXITS, setting(submit=hasty()))

    ended = trial.run()

    assert trial.venue.asked > 3
    trial.check_books(ended)
    check_sound(trial.world, outcome_of(trial.world))
    check_proofs(trial.world)


def test_rejected_orders_leave_books_right(forge):
    """What the venue refuses is counted, moves nothing, and is not sent again; a refused exit restricts the session."""
    trial = Trial(forge, FLIPS, setting(submit=refusing(share=0.15)))

    ended = trial.run()

    assert ended.record["metrics"]["orders_rejected"] >= 3
    assert ended.record["mode_at_end"] == "restricted"
    trial.check_books(ended)
    check_proofs(trial.world)


@pytest.mark.parametrize("scenario", [EXITS, SCARCE], ids=lambda scenario: scenario.name)
def test_repeated_fills_are_booked_once(forge, scenario):
    """A venue that tells every fill twice, and again with the next one, changes nothing."""
    told: list[Fill | Closed] = []

    def again(events: list[Fill | Closed]) -> list[Fill | Closed]:
        told.extend(events)
        return [*told[-8:], *events, *events]

    trial = Trial(forge, scenario, setting(events=again))

    ended = trial.run()

    found, wanted = outcome_of(trial.world), undisturbed(forge, scenario)
    assert (found.fills, found.orders, found.digest) == (wanted.fills, wanted.orders, wanted.digest)
    trial.check_books(ended)


def test_cancels_that_never_arrived_are_asked_again(forge):
    """A cancel that was lost on its way leaves the order working; it is asked for again, and the books are right."""
    trial = Trial(forge, EXITS, setting(cancel=lost_cancel(share=0.3, applied=False)))

    ended = trial.run()

    assert ended.record["metrics"]["incidents"] > 3
    truth = asyncio.run(trial.venue.inner.snapshot())
    assert Decimal(ended.record["exact"]["cash"]) == truth.cash
    check_proofs(trial.world)


def test_cancels_whose_answer_was_lost_are_found_out(forge):
    """An exit that was cancelled, though the answer was lost, is known to be gone: the position gets another at once."""
    unprotected: list[int] = []

    def look(events: list[Fill | Closed]) -> list[Fill | Closed]:
        inner: Any = trial.venue.inner
        kinds = {order.intent.kind.value for order in inner._working.values()}
        if any(inner._positions.values()) and "stop" not in kinds and not events:
            unprotected.append(trial.venue.bar.opened_ns)
        return events

    trial = Trial(forge, EXITS, setting(cancel=lost_cancel(share=0.3, applied=True), events=look))

    ended = trial.run()

    assert unprotected == []
    trial.check_books(ended)


# ---- what nothing explains -------------------------------------------------------------------------------------------


def died_halfway(forge: Forge, setup: Setup) -> Trial:
    """Return a session that died with a position and exits working, and whose venue has changed since."""
    trial = Trial(forge, EXITS, lambda _venue: None)
    assert trial.world.killed(Killer("venue.traded.before", 50))
    sane = trial.world.wrap

    def wrap(venue: Any) -> Any:
        faulty: Any = sane(venue)
        setup(faulty)
        return faulty

    trial.world.wrap = wrap
    return trial


def check_refused(trial: Trial) -> str:
    """Check that the session refuses to go on and sends nothing; return its words."""
    with pytest.raises(SafetyRefused) as refusal:
        trial.world.run()
    assert not trial.venue.sent
    with trial.world.parts() as parts:
        last = parts.sessions.find(SessionFilter(), 1)[0]
    assert last.run.status.value == "failed"
    return str(refusal.value)


def test_money_that_is_missing_stops_the_session(forge):
    """A balance that does not fit the books is refused before anything is sent, with both figures."""
    trial = died_halfway(forge, setting(snapshot=lambda found: found._replace(cash=found.cash - Decimal("0.01"))))

    words = check_refused(trial)

    assert "cash: books" in words
    assert "--fresh" in words


def test_positions_that_differ_stop_the_session(forge):
    """A position that the books do not have is refused before anything is sent."""
    trial = died_halfway(forge, setting(snapshot=lambda found: found._replace(positions={"ETH/EUR": Decimal(1)})))

    assert "positions: books" in check_refused(trial)


def test_working_orders_that_are_not_ours_stop_it(forge):
    """An order at the venue that we never sent is refused before anything is sent."""
    trial = died_halfway(forge, setting(snapshot=lambda found: found._replace(working=(*found.working, "stranger"))))

    assert "stranger" in check_refused(trial)


def test_orders_that_the_venue_lost_stop_it(forge):
    """An exit that we believe to be working and that the venue does not have is a difference like any other."""
    trial = died_halfway(forge, setting(snapshot=lambda found: found._replace(working=found.working[1:])))

    check_refused(trial)


@pytest.mark.parametrize("leg", ["scripted", "somebody"])
def test_fills_of_orders_never_sent_stop_it(forge, leg):
    """A fill of an order that we never sent is not booked: it is a difference that a person has to explain."""
    trial = died_halfway(forge, setting(fetched=lambda events: [*events, stray_fill(leg)]))

    check_refused(trial)


def test_a_fill_never_sent_stops_a_running_session(forge):
    """The same in the middle of a session: it stops at once, and nothing is sent afterwards."""
    told: list[int] = []

    def invent(events: list[Fill | Closed]) -> list[Fill | Closed]:
        told.append(len(events))
        return [*events, stray_fill("scripted")] if len(told) == 60 else events

    trial = Trial(forge, EXITS, setting(events=invent))

    with pytest.raises(SafetyRefused):
        trial.world.run()


def test_a_memory_that_is_gone_stops_the_session(forge):
    """A simulated venue that lost its memory is not believed: the books have a position that it does not know."""
    trial = died_halfway(forge, lambda _venue: None)
    trial.world.venue_logs()[0].unlink()

    assert "cash: books" in check_refused(trial)
