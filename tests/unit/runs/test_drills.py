"""What drills are made of: steps, cases, what a strategy wants, and the comparison of both sides of an account."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.paths import ROOT
from tests.trading import FixedClock, a_fill, dec

from peak_trade.emulator.catalogue import CATALOGUE
from peak_trade.emulator.exchange import MatchingEngine
from peak_trade.emulator.faults import FaultPlan
from peak_trade.emulator.pairs import PAIRS
from peak_trade.journal.chain import Record
from peak_trade.ledger.books import Books
from peak_trade.model.errors import CheckFailed, InputError, StorageError
from peak_trade.model.order import Fill, OrderState
from peak_trade.research.terms import Side
from peak_trade.runs.drills.books import ACCOUNT, Balance, ExchangeSide, OrderEnd, mismatches, unexplained
from peak_trade.runs.drills.cases import CASES, cases_of
from peak_trade.runs.drills.evidence import DrillStanding
from peak_trade.runs.drills.kill import _check_only_reduced, _KillDrill
from peak_trade.runs.drills.orders import Aim, sided, turns
from peak_trade.runs.drills.steps import FAILED, NOT_TRIED, PASSED, DrillResult, DrillStep, expect, walked
from peak_trade.venue.kraken.reading import OrderDescription, OrderDocument, TradeDocument
from peak_trade.venue.kraken.wire import exchange_name

CASH = Decimal(10_000)
AT = datetime(2026, 11, 1, tzinfo=UTC)


# ---- steps ---------------------------------------------------------------------------------------------------------------


def failing(error: Exception) -> Any:
    def work() -> str:
        raise error

    return work


def test_nothing_is_tried_after_a_step_that_failed():
    """It is told as not tried, and the drill did not pass; the first failure is told in words."""
    tried: list[str] = []

    def works() -> str:
        tried.append("x")
        return "fine"

    steps = walked(FixedClock(), [("one", works), ("two", failing(CheckFailed("broken"))), ("three", works)])
    result = DrillResult(drill="a", steps=steps, facts={})

    assert [step.outcome for step in steps] == [PASSED, FAILED, NOT_TRIED]
    assert tried == ["x"]
    assert (result.passed, result.first_failure) == (False, "two: broken")


def test_a_drill_passes_where_every_step_does():
    """And one without steps never does."""
    steps = walked(FixedClock(), [("one", lambda: "fine"), ("two", lambda: "too")])

    assert DrillResult(drill="a", steps=steps, facts={}).passed
    assert DrillResult(drill="a", steps=steps, facts={}).first_failure == ""
    assert not DrillResult(drill="a", steps=(), facts={}).passed
    assert not DrillResult(drill="a", steps=[*steps, DrillStep("three", NOT_TRIED, "", 0.0)], facts={}).passed


def test_what_says_nothing_about_the_drill_goes_through():
    """A wrong word of who asked is no failed drill; a full disk is one."""
    with pytest.raises(InputError):
        walked(FixedClock(), [("one", failing(InputError("no such pair")))], (InputError,))
    assert walked(FixedClock(), [("one", failing(StorageError("full")))], (InputError,))[0].outcome == FAILED
    assert walked(FixedClock(), [("one", failing(OSError("gone")))])[0].found == "gone"


def test_expect():
    """Nothing where it holds, the words where not."""
    expect(1, "x")
    with pytest.raises(CheckFailed, match="so it is"):
        expect("", "so it is")


# ---- what is wanted, and what befalls it ---------------------------------------------------------------------------------


def test_a_session_that_begins_flat_acts_on_changes_alone():
    """A target that stands since the warm-up is the first; repeating it is none."""
    assert turns(np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.5]), 1) == [Aim(1, 1.0), Aim(3, 0.0), Aim(5, 0.5)]
    assert turns(np.array([1.0, 0.0, 0.0]), 1) == []
    assert turns(np.array([]), 5) == []


@pytest.mark.parametrize(("side", "kept"), [("long", [1.0, 0.0]), ("short", [0.0, -1.0]), ("both", [1.0, -1.0])])
def test_a_side_keeps_its_targets(side, kept):
    """The others are none."""
    assert sided(np.array([1.0, -1.0]), Side(side)).tolist() == kept


def test_every_fault_of_a_case_is_one_of_the_emulator():
    """The emulator takes each with the arguments that it is given."""
    plan = FaultPlan(CATALOGUE, MatchingEngine(list(PAIRS.values()), seed=1))
    for case in CASES:
        if case.fault:
            match = {"endpoint": case.at} if case.at else {}
            plan.read({"name": case.fault, "match": match, "args": dict(case.args)}, 0)
    assert len({case.name for case in CASES}) == len(CASES)


@given(st.integers(0, 2**31))
def test_every_case_comes_in_every_round(seed):
    """In an order that the seed alone decides."""
    draw, again = cases_of(random.Random(seed)), cases_of(random.Random(seed))
    whole = len(CASES) + 2 * sum(1 for case in CASES if not case.fault and not case.twice)
    for _ in range(2):
        one = [next(draw) for _ in range(whole)]
        assert {case.name for case in one} == {case.name for case in CASES}
        assert one == [next(again) for _ in range(whole)]


# ---- both sides ----------------------------------------------------------------------------------------------------------


class Sides:
    """Two orders filled in parts and one cancelled, as both sides tell them."""

    def __init__(self) -> None:
        self.fills = [
            a_fill("0.004", "50000.1", fill_id="T1", client_id="a", fee="0.8000"),
            a_fill("0.006", "50000.3", fill_id="T2", client_id="a", fee="1.2000"),
            a_fill("-0.003", "50010.7", fill_id="T3", client_id="b", fee="0.6001"),
        ]
        self.ends = [
            OrderEnd("a", "market", OrderState.FILLED, dec("0.010")),
            OrderEnd("b", "half", OrderState.CANCELLED, dec("-0.003")),
            OrderEnd("c", "never", OrderState.ABSENT, dec(0)),
            OrderEnd("d", "no", OrderState.REJECTED, dec(0)),
        ]
        self.opened = self.books = Books.opened(CASH)
        for fill in self.fills:
            self.books = self.books.book(fill)
        self.orders = {
            "O1": order("a", "buy", "closed", "0.01", "0.01", "500.00220", "2.0000"),
            "O2": order("b", "sell", "canceled", "0.01", "0.003", "150.03210", "0.6001"),
        }
        self.trades = {fill.fill_id: trade(fill) for fill in self.fills}
        self.before = Balance(dec("1000000.0000"), dec("10.0000000000"))
        self.after = Balance((dec(1_000_000) + self.books.cash - CASH).quantize(dec("0.0001")), dec("10.0070000000"))

    def found(self) -> list[Any]:
        theirs = ExchangeSide(orders=self.orders, trades=self.trades, before=self.before, after=self.after)
        return mismatches(self.ends, self.fills, self.opened, self.books, theirs)


def order(name: str, side: str, status: str, vol: str, done: str, cost: str, fee: str) -> OrderDocument:
    return OrderDocument(
        status=status,
        opentm=dec(1),
        descr=OrderDescription(pair="XBTEUR", type=side, ordertype="market"),
        vol=dec(vol),
        vol_exec=dec(done),
        cost=dec(cost),
        fee=dec(fee),
        price=dec(0),
        cl_ord_id=exchange_name(name),
    )


def trade(fill: Fill) -> TradeDocument:
    return TradeDocument(
        ordertxid="O1" if fill.client_id == "a" else "O2",
        pair="XBTEUR",
        time=dec(1),
        type="buy" if fill.quantity > 0 else "sell",
        price=fill.price,
        cost=abs(fill.quantity * fill.price),
        fee=fee_of(fill),
        vol=abs(fill.quantity),
    )


def fee_of(fill: Fill) -> Decimal:
    return fill.fee


def changed(document: Any, **values: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(document, **values)


def test_two_sides_that_say_the_same():
    """Nothing differs, also where the exchange shows fewer digits of a cost than there are."""
    assert Sides().found() == []


def test_an_exchange_that_knows_nothing_of_an_empty_drill():
    """No order, no difference."""
    books, none = Books.opened(CASH), Balance(dec(1), dec(1))
    assert mismatches([], [], books, books, ExchangeSide(orders={}, trades={}, before=none, after=none)) == []


CHANGES = {
    "another end": ("a", lambda sides: sides.orders.update(O1=changed(sides.orders["O1"], status="canceled"))),
    "still open there": ("a", lambda sides: sides.orders.update(O1=changed(sides.orders["O1"], status="open"))),
    "more filled there": ("b", lambda sides: sides.orders.update(O2=changed(sides.orders["O2"], vol_exec=dec("0.0031")))),
    "another side": (
        "a",
        lambda sides: sides.orders.update(O1=changed(sides.orders["O1"], descr=sides.orders["O2"].descr)),
    ),
    "a fee more": ("b", lambda sides: sides.orders.update(O2=changed(sides.orders["O2"], fee=dec("0.6002")))),
    "a cost more, in the last digit": (
        "a",
        lambda sides: sides.orders.update(O1=changed(sides.orders["O1"], cost=dec("500.00221"))),
    ),
    "an order twice": ("a", lambda sides: sides.orders.update(O3=changed(sides.orders["O1"]))),
    "a stranger's order": ("O3", lambda sides: sides.orders.update(O3=changed(sides.orders["O1"], cl_ord_id="f" * 32))),
    "an order without a name": ("O3", lambda sides: sides.orders.update(O3=changed(sides.orders["O1"], cl_ord_id=None))),
    "an absent order that is there": (
        "c",
        lambda sides: sides.orders.update(O3=order("c", "buy", "closed", "1", "0", "0", "0")),
    ),
    "a rejected order that is there": (
        "d",
        lambda sides: sides.orders.update(O3=order("d", "buy", "canceled", "1", "0", "0", "0")),
    ),
    "an order that they never had": ("b", lambda sides: sides.orders.pop("O2")),
    "an order of unknown end": (
        "a",
        lambda sides: sides.ends.__setitem__(0, OrderEnd("a", "market", OrderState.UNKNOWN, dec("0.010"))),
    ),
    "a trade that we don't know": ("a", lambda sides: sides.trades.update(T9=changed(sides.trades["T1"]))),
    "a trade that they don't have": ("a", lambda sides: sides.trades.pop("T1")),
    "another price": ("a", lambda sides: sides.trades.update(T1=changed(sides.trades["T1"], price=dec("50000.2")))),
    "another fee of a fill": ("b", lambda sides: sides.trades.update(T3=changed(sides.trades["T3"], fee=dec("0.6002")))),
    "a fill of ours twice": (ACCOUNT, lambda sides: sides.fills.append(sides.fills[0])),
    "cash in the last digit": (
        ACCOUNT,
        lambda sides: setattr(sides, "after", sides.after._replace(quote=sides.after.quote + dec("0.0001"))),
    ),
    "base in the last digit": (
        ACCOUNT,
        lambda sides: setattr(sides, "after", sides.after._replace(base=sides.after.base - dec("0.0000000001"))),
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_differs_is_found(what):
    """Each by itself, under the order's name, and it is counted."""
    name, change = CHANGES[what]
    sides = Sides()
    change(sides)

    found = sides.found()

    assert name in {difference.name for difference in found}, found
    assert unexplained(found) >= 1


def test_an_order_counts_once_however_much_differs():
    """Three differences of one order and one of the account are two."""
    sides = Sides()
    sides.orders["O1"] = changed(sides.orders["O1"], status="open", fee=dec(9), vol_exec=dec(9))
    sides.after = sides.after._replace(base=dec(0))

    found = sides.found()

    assert len(found) > 3
    assert unexplained(found) == 2


@given(st.sampled_from(["quantity", "price", "fee"]), st.integers(0, 2), st.integers(1, 10**6))
def test_any_change_of_a_fill_is_found(what, place, steps):
    """By a step of its smallest digit or by many: the drill's books would not be the exchange's."""
    sides = Sides()
    step = {"quantity": dec("1e-8"), "price": dec("0.1"), "fee": dec("0.0001")}[what]
    sides.fills[place] = replace(sides.fills[place], **{what: getattr(sides.fills[place], what) + steps * step})

    assert unexplained(sides.found()) >= 1


# ---- after the kill switch -----------------------------------------------------------------------------------------------


def pages(*told: tuple[str, str]) -> list[Record]:
    """Return records: `filled` and `sending` with a quantity, `tripped` with a code."""
    bodies = {
        "filled": lambda text: {"quantity": text},
        "sending": lambda text: {"intent": {"quantity": text}},
        "tripped": lambda text: {"code": text, "mode": "killed"},
    }
    return [Record(number, "", kind, bodies[kind](text), "", "") for number, (kind, text) in enumerate(told)]


TRIP = ("tripped", "kill_switch")


@pytest.mark.parametrize(
    "told",
    [
        [("sending", "1"), ("filled", "1"), TRIP],
        [("sending", "1"), ("filled", "1"), TRIP, ("sending", "-1"), ("filled", "-1")],
        [("filled", "-2"), TRIP, ("sending", "1")],
    ],
)
def test_what_reduces_may_be_sent(told):
    """Up to the whole position."""
    _check_only_reduced("one", pages(*told))


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ([TRIP, ("sending", "1")], "reduces its position of 0"),
        ([("filled", "1"), TRIP, ("sending", "0.1")], "position of 1, found an order of 0.1"),
        ([("filled", "1"), TRIP, ("sending", "-1.1")], "found an order of -1.1"),
        ([("filled", "1"), ("sending", "1")], "never was"),
        ([("filled", "1"), ("tripped", "max_daily_loss_abs"), ("sending", "-1")], "never was"),
    ],
)
def test_what_enlarges_fails_the_drill(told, words):
    """And so does a session that was never killed, or by something else."""
    with pytest.raises(CheckFailed, match=words):
        _check_only_reduced("one", pages(*told))


def test_the_guide_has_every_step():
    """In its order."""
    text = (ROOT / "docs" / "guide" / "drills.md").read_text("utf-8").partition("## kill-switch")[2].partition("## ")[0]
    rows = [line.strip("|").partition("|")[0].strip() for line in text.splitlines() if line.startswith("|")]

    assert rows[2:] == [name for name, _ in _KillDrill(None, FixedClock()).steps()]  # type: ignore[arg-type]


# ---- how old -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "passed", "words"),
    [
        (None, False, "never"),
        (AT, True, "current"),
        (AT, False, "failed"),
        (AT - timedelta(days=30), True, "current"),
        (AT - timedelta(days=30, microseconds=1), True, "expired"),
        (AT - timedelta(days=30, microseconds=1), False, "expired"),
    ],
)
def test_a_drill_counts_for_so_many_days(last, passed, words):
    """To the last moment of its last day, and a failed one never."""
    standing = DrillStanding("kill_switch", "testnet->shadow-live", "", last, passed, timedelta(days=30), AT)

    assert standing.words == words
    assert standing.to_json()["passed"] == (None if last is None else passed)
