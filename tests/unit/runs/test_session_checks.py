"""What an exchange said of a session's orders, read from its journal."""

from decimal import Decimal

import pytest
from tests.trading import a_fill

from peak_trade.engine.records import FILLED
from peak_trade.journal.chain import Record
from peak_trade.runs.sessions.checks import LATENCY_MS, checks_of, quantile
from peak_trade.venue.testnet import VALIDATED


def record(kind, body):
    return Record(0, "2026-01-01T00:00:00Z", kind, body, "", "")


def said(client_id="a", reply="accepted", us=1_000, **more):
    body = {"client_id": client_id, "latency_us": str(us), "reply": reply, "code": "", "words": "", **more}
    return record(VALIDATED, body)


def filled(quantity, price, client_id="a", **changes):
    return record(FILLED, a_fill(quantity, price, client_id=client_id, **changes).to_json())


def test_nothing_asked():
    """No rate, no times, no comparison: nothing is made up."""
    found = checks_of([])

    assert found.success_rate is None
    assert found.metrics() == {
        "orders_checked": 0.0,
        "order_success_rate": None,
        "check_latency_p50_ms": None,
        "check_latency_p99_ms": None,
        "slippage_vs_book_bps": None,
    }
    assert sum(one["count"] for one in found.to_json()["latency_ms"]) == 0
    assert found.to_json()["slippage_worst_bps"] is None


def test_replies_are_counted():
    """By what they were, and by why they were no yes: our code, else the words, else what it was."""
    found = checks_of(
        [
            said(),
            said("b", "rejected", code="off_step", words="EOrder:x"),
            said("c", "unknown", words="no answer"),
            said("d", "unknown"),
        ]
    )

    assert found.replies == {"accepted": 1, "rejected": 1, "unknown": 2}
    assert found.codes == {"off_step": 1, "no answer": 1, "unknown": 1}
    assert found.success_rate == 0.25


@pytest.mark.parametrize("place", range(len(LATENCY_MS)))
def test_the_limits_of_the_classes(place):
    """A time that is exactly a limit belongs to it, one microsecond more to the next."""
    limit = LATENCY_MS[place] * 1_000
    for us, wanted in ((limit, place), (limit + 1, place + 1)):
        classes = checks_of([said(us=us)]).to_json()["latency_ms"]
        assert [one["count"] for one in classes] == [int(number == wanted) for number in range(len(LATENCY_MS) + 1)]
    assert classes[-1]["up_to"] is None


@pytest.mark.parametrize(
    ("quantity", "price", "worse"),
    [("1", "101", 100.0), ("1", "99", -100.0), ("-1", "99", 100.0), ("-1", "101", -100.0), ("1", "100", 0.0)],
)
def test_slippage_has_a_sign(quantity, price, worse):
    """Dearer purchases and cheaper sales are worse; the other way round it is better than the book, and says so."""
    found = checks_of([said(book_price="100"), filled(quantity, price, fee="0.25")])

    assert found.slippage_bps == [pytest.approx(worse)]
    assert found.fees == Decimal("0.25")
    assert found.to_json()["slippage_worst_bps"] == pytest.approx(worse)


def test_partial_fills_are_averaged():
    """By their quantities; the fees of all count."""
    found = checks_of([said(book_price="100"), filled("1", "101", fee="1", remaining=3), filled("3", "105", fee="2")])

    assert found.slippage_bps == [pytest.approx(400.0)]
    assert found.fees == 3


def test_only_what_has_both_is_compared():
    """An order without fills, one whose book is not known, and a fill nobody asked about say nothing."""
    found = checks_of(
        [said("a", book_price="100"), said("b"), filled("1", "101", "b", fee="1"), filled("1", "7", "c", fee="1")]
    )

    assert found.slippage_bps == []
    assert found.fees == 0
    assert found.to_json()["compared_with_book"] == 0


def test_quantiles():
    """The smallest value that so large a part does not exceed."""
    values = [float(number) for number in range(100, 0, -1)]

    assert [quantile(values, part) for part in (0.0, 0.5, 0.99, 0.991, 1.0)] == [1.0, 50.0, 99.0, 100.0, 100.0]
    assert quantile([7.0], 0.5) == quantile([7.0], 0.99) == 7.0
