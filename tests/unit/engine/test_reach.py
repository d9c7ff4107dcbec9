"""How far a session is stopped: what each level of the kill switch does to orders, exits and positions; and closing out."""

import itertools
from random import Random
from typing import Any

import pytest
from tests.trading import DAY_NS, START_NS, SYMBOL, Desk, a_bar, a_fill, a_leg, a_plan, a_venue, at_once, dec, some_limits

from peak_trade.engine.state import BarClosed, Plan, Retire, Send, State, Tripped
from peak_trade.engine.step import step
from peak_trade.model.kill_level import KillLevel
from peak_trade.model.order import OrderKind
from peak_trade.risk.gate import CONDUCT, REACHES, Mode, farther

HISTORIES = 10_000


def a_desk(*legs: Any, **options: Any) -> Desk:
    """Return a desk at a venue without costs."""
    return Desk(a_plan(*legs), a_venue(**options))


def tell(desk: Desk, price: float, number: int, *targets: float, opened: float | None = None) -> None:
    """Tell the whole bar of that number, with the targets of all legs on the usual symbol."""
    bar = a_bar(price if opened is None else opened, close=price, number=number)
    at_once(desk.engine.open_bar(bar))
    at_once(desk.engine.close_bar(bar, tuple(enumerate(targets))))


def killed(level: KillLevel) -> Tripped:
    return Tripped(Mode.KILLED, "kill_switch", "words", level=level)


def sent(desk: Desk) -> list[tuple[str, str]]:
    """Return kind and reason of every order that was sent."""
    return [(body["intent"]["kind"], body["intent"]["reason"]) for body in desk.pages.of("sending")]


def working(desk: Desk) -> list[OrderKind]:
    return [order.intent.kind for order in desk.state.orders.values()]


def held(desk: Desk, leg: str = "alpha") -> Any:
    return desk.state.books.position(leg, SYMBOL).quantity


def a_holder() -> Desk:
    """Return a desk that holds one unit, protected by a stop."""
    desk = a_desk(a_leg(stop_loss="0.1"))
    tell(desk, 100, 0, 1.0)
    tell(desk, 100, 1, 1.0)
    assert (held(desk), working(desk)) == (1, [OrderKind.STOP])
    return desk


def an_enterer() -> Desk:
    """Return a desk whose entry works: it was decided on at the last close."""
    desk = a_desk()
    tell(desk, 100, 0, 1.0)
    assert working(desk) == [OrderKind.MARKET]
    return desk


@pytest.mark.parametrize(
    ("level", "left"),
    [
        (KillLevel.NO_NEW, [OrderKind.MARKET]),
        (KillLevel.REDUCE_ONLY, []),
        (KillLevel.CANCEL_ALL, []),
        (KillLevel.FLATTEN, []),
    ],
)
def test_a_working_entry(level, left):
    """It stays at the mildest level alone; at all others it is called back, and the position stays what it was."""
    desk = an_enterer()

    at_once(desk.engine.trip(killed(level)))

    assert working(desk) == left
    tell(desk, 100, 1, 1.0)
    assert held(desk) == len(left)


@pytest.mark.parametrize(
    ("level", "left"),
    [
        (KillLevel.NO_NEW, [OrderKind.STOP]),
        (KillLevel.REDUCE_ONLY, [OrderKind.STOP]),
        (KillLevel.CANCEL_ALL, []),
        (KillLevel.FLATTEN, [OrderKind.MARKET]),
    ],
)
def test_a_protected_position(level, left):
    """Its stop stays until everything is cancelled; flattening closes it with one reduce-only market order."""
    desk = a_holder()

    at_once(desk.engine.trip(killed(level)))

    assert working(desk) == left
    assert all(order.intent.reduce_only for order in desk.state.orders.values())
    tell(desk, 80, 2, 1.0, opened=100)
    assert held(desk) == (1 if level is KillLevel.CANCEL_ALL else 0)
    tell(desk, 80, 3, 1.0)
    assert desk.state.mode is Mode.KILLED
    assert len(sent(desk)) == 2 + (level is KillLevel.FLATTEN)


@pytest.mark.parametrize("level", list(KillLevel))
def test_a_new_entry_is_sent_at_no_level(level):
    """The gate refuses it with the mode's name, or nobody wants it any more."""
    desk = a_desk()
    tell(desk, 100, 0, 0.0)
    at_once(desk.engine.trip(killed(level)))

    tell(desk, 100, 1, 1.0)

    assert sent(desk) == []
    refusals = [body["reasons"][0]["code"] for body in desk.pages.of("refused")]
    assert refusals == ([] if level is KillLevel.FLATTEN else ["killed"])


@pytest.mark.parametrize(("level", "left"), [(KillLevel.REDUCE_ONLY, 0), (KillLevel.CANCEL_ALL, 1)])
def test_a_strategy_may_leave_unless_nothing_is_sent(level, left):
    """A target of zero closes the position; at cancel-all even that is refused, in words that say so."""
    desk = a_holder()
    at_once(desk.engine.trip(killed(level)))

    tell(desk, 100, 2, 0.0)
    tell(desk, 100, 3, 0.0)

    assert held(desk) == left
    words = [body["reasons"][0]["words"] for body in desk.pages.of("refused")]
    assert words == ([f"the session is killed: nothing of {SYMBOL} is sent any more"] if left else [])


def test_the_level_rises_while_killed_and_never_falls():
    """Cancel-all after reduce-only calls the stop back; flatten after that closes; a milder one changes nothing."""
    desk = a_holder()
    at_once(desk.engine.trip(killed(KillLevel.REDUCE_ONLY)))
    assert working(desk) == [OrderKind.STOP]
    at_once(desk.engine.trip(killed(KillLevel.CANCEL_ALL)))
    assert working(desk) == []
    at_once(desk.engine.trip(killed(KillLevel.NO_NEW)))
    assert desk.state.reach is KillLevel.CANCEL_ALL
    at_once(desk.engine.trip(killed(KillLevel.FLATTEN)))
    tell(desk, 100, 2, 1.0)

    assert (held(desk), desk.state.reach) == (0, KillLevel.FLATTEN)


def test_a_pause_that_is_killed_mildly_stays_a_pause():
    """What was called back stays called back: the reach of a session is the farthest that was ever asked for."""
    desk = a_desk()
    at_once(desk.engine.trip(Tripped(Mode.PAUSED, "core_exception", "words")))
    at_once(desk.engine.trip(killed(KillLevel.NO_NEW)))

    assert (desk.state.mode, desk.state.reach) == (Mode.KILLED, KillLevel.REDUCE_ONLY)


def test_a_retired_strategy_leaves_the_other_its_share():
    """Two on one symbol: one is closed, the other's position is what it was, and the account holds just that."""
    desk = a_desk(a_leg("alpha", "quantity=1", stop_loss="0.1"), a_leg("beta", "quantity=2", take_profit="0.5"))
    for number in range(2):
        tell(desk, 100, number, 1.0, 1.0)

    at_once(desk.engine.trip(Retire(("alpha",), "close alpha")))
    for number in range(2, 6):
        tell(desk, 100, number, float(number % 2), 1.0)

    assert (held(desk), held(desk, "beta")) == (0, 2)
    assert desk.state.books.held()[SYMBOL] == 2
    assert [leg.retired for leg in desk.state.legs] == [True, False]
    assert desk.state.mode is Mode.RUNNING
    assert sent(desk).count(("market", "closing_out")) == 1
    assert desk.pages.of("incident")[-1]["evidence"] == {"legs": "alpha"}


def test_a_close_that_the_venue_ends_is_asked_for_again():
    """At the next bar, once for each, until the position is gone."""
    desk = a_holder()
    at_once(desk.engine.trip(Retire((), "close all")))
    [order] = desk.state.orders.values()
    venue = desk.engine._venue
    found = at_once(venue.cancel(order.intent.client_id))
    desk.engine._apply(found)
    assert working(desk) == []
    tell(desk, 100, 2, 1.0)
    tell(desk, 100, 3, 1.0)

    assert held(desk) == 0
    assert [reason for _, reason in sent(desk)].count("closing_out") == 2


@pytest.mark.parametrize("level", list(KillLevel))
def test_demands_replay(level):
    """Levels, evidence and what was closed come out of the journal again, with the same digest."""
    desk = a_desk(a_leg("alpha", stop_loss="0.1"), a_leg("beta"))
    tell(desk, 100, 0, 1.0, 1.0)
    tell(desk, 100, 1, 1.0, 1.0)
    at_once(desk.engine.trip(Tripped(Mode.RESTRICTED, "data_gap", "words", (("late_s", "300"),))))
    at_once(desk.engine.trip(Retire(("beta",), "close beta")))
    tell(desk, 101, 2, 0.5, 1.0)
    at_once(desk.engine.trip(killed(level)))
    tell(desk, 102, 3, 1.0, 1.0)

    again = Desk(a_plan(a_leg("alpha", stop_loss="0.1"), a_leg("beta")), None, tape=desk.pages.records, replayed=True)
    at_once(again.engine.catch_up())
    for number, price in enumerate([100, 100, 101, 102]):
        tell(again, price, number, 0.5 if number == 2 else 1.0, 1.0)
        at_once(again.engine.catch_up())

    assert again.state.digest == desk.state.digest
    assert (again.state.mode, again.state.reach) == (desk.state.mode, desk.state.reach)
    assert again.state.legs == desk.state.legs
    assert not again.engine.replaying


def test_an_incident_is_latched_before_it_is_written():
    """What outlives the session is there before the journal tells of it; what is played back is not latched again."""
    seen: list[tuple[str, int]] = []
    desk = a_desk()
    desk.engine._latch = lambda code, _words: seen.append((code, len(desk.pages.of("tripped")), len(desk.pages.of("incident"))))
    at_once(desk.engine.trip(Tripped(Mode.PAUSED, "core_exception", "words")))

    assert seen == [("core_exception", 0, 0), ("core_exception", 1, 0)]


def test_the_tables_know_every_mode_and_level():
    """Every mode has a reach and every reach a conduct; a farther one never does what a milder one no longer does."""
    assert set(REACHES) == set(Mode)
    assert set(CONDUCT) == {None, *KillLevel}
    order = [None, *KillLevel]
    for milder, stricter in itertools.pairwise(order):
        one, other = CONDUCT[milder], CONDUCT[stricter]
        assert one.enlarges >= other.enlarges
        assert one.protects >= other.protects
        assert one.recalls_entries <= other.recalls_entries
        assert one.recalls_all <= other.recalls_all
        assert farther(milder, stricter) is farther(stricter, milder) is stricter


# ---- the day's loss --------------------------------------------------------------------------------------------------


def test_daily_loss_equals_a_look_at_all_closes():
    """Over random histories a session pauses at the first close at which the day's loss reaches a limit, and not before.

    The day begins with the equity of the last close before it; a bar that closes at 00:00 UTC belongs to the day before.
    """
    plan = a_plan(a_leg(), cash=1_000, limits=some_limits(max_daily_loss_abs=10, max_daily_loss_pct=3))
    begun = holding_one(plan)
    fired = 0
    for seed in range(HISTORIES):
        draw = Random(seed)
        state, day, start, equity, due = begun, 0, dec(1_000), dec(1_000), False
        at = START_NS
        for _ in range(6):
            at += draw.choice([1, 6, 11, 24]) * DAY_NS // 24
            price = draw.randint(85, 105)
            bar = a_bar(price)._replace(opened_ns=at - DAY_NS // 24, step_ns=DAY_NS // 24)
            if (at - 1) // DAY_NS != day:
                day, start = (at - 1) // DAY_NS, equity
            equity = dec(900 + price)
            due = due or start - equity >= 10 or (start - equity) * 100 >= 3 * start
            state, _ = step(plan, state, BarClosed(bar, at, ((0, 1.0),)))
            assert (state.mode is Mode.PAUSED) is due
        fired += due
    assert 1_000 < fired < HISTORIES


def holding_one(plan: Plan) -> State:
    """Return a state with 900 in cash and a unit that was bought at 100."""
    state = State.initial(plan)
    bar = a_bar(100)
    state, effects = step(plan, state, BarClosed(bar, bar.closed_ns, ((0, 1.0),)))
    [order] = [effect.approved.intent for effect in effects if isinstance(effect, Send)]
    state, _ = step(plan, state, a_fill(1, 100, client_id=order.client_id))
    return state
