"""Pieces of a session's page: its commands, its journal's excerpt, its orders."""

import shlex
from types import SimpleNamespace as Fake

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contract.rows import NOW, a_session
from tests.unit.report.session_records import a_session as a_record

from peak_trade.journal.registry import stamp
from peak_trade.journal.run import RunStatus
from peak_trade.journal.session import Acknowledgement
from peak_trade.report.session_rows import OrderRow, SessionSeries
from peak_trade.webui.desk import SessionView, Step
from peak_trade.webui.session_page import (
    BODY_MAX,
    ORDERS_MAX,
    RECORDS_MAX,
    body_text,
    commands_of,
    orders_of,
    tail_of,
    without_view,
)


def texts(session, record) -> list[str]:
    return [command for _, command in commands_of(session, record)]


def an_order(number: int, why: str = "") -> OrderRow:
    at = "2024-01-01T00:00:00Z"
    return OrderRow(f"order-{number}", "alpha", "BTC/EUR", "market", "1", None, "entry", at, "filled", "1", why)


def test_commands_of_a_completed_session():
    """It can be run again, replayed, shown, followed and drawn; there is nothing to acknowledge."""
    session = a_session(status=RunStatus.COMPLETED)
    record = a_record(session_id=session.session_id, cli_args=["session", "run", "--notes", "a b"])

    found = texts(session, record)

    assert "peak-trade session run --notes 'a b'" in found
    for words in ("session replay", "session show", "session tail", "report"):
        assert any(command.startswith(f"peak-trade {words} {session.session_id}") for command in found), words
    assert not any("acknowledge" in command for command in found)


@pytest.mark.parametrize(("seen", "offered"), [(None, True), (Acknowledgement(by="maria", at=stamp(NOW), note=""), False)])
def test_a_failed_session_is_acknowledged_once(seen, offered):
    """The command to acknowledge is there until somebody has."""
    session = a_session(status=RunStatus.FAILED, acknowledged=seen)

    assert any("session acknowledge" in command for command in texts(session, a_record())) is offered


@given(st.text(min_size=1, max_size=30))
def test_an_id_can_t_end_a_command(name):
    """Whatever an id holds, a copied command has it as one word."""
    session = a_session(run_id=name, status=RunStatus.FAILED)

    for command in texts(session, a_record(session_id=name, cli_args=["session", "run", "--notes", name])):
        assert command == "peak-trade journal verify" or name in shlex.split(command)


def test_a_body_in_one_line():
    """A record's body is one line of JSON, in the reader's own letters, without what is told elsewhere."""
    text = body_text({"b": 1, "spec": {"x": 1}, "versions": {}, "metrics": {}, "spec_sha256": "0", "a": ["ü", {"c": None}]})

    assert text == '{"b": 1, "a": ["ü", {"c": null}]}'


@pytest.mark.parametrize("extra", [0, 1])
def test_a_long_body_is_cut(extra):
    """A body of the largest length is whole, a longer one is cut and says so."""
    text = body_text({"a": "x" * (BODY_MAX - len('{"a": ""}') + extra)})

    assert (len(text), text.endswith(" ...")) == ((BODY_MAX, False) if not extra else (BODY_MAX + 4, True))


def test_the_newest_records_first():
    """The excerpt has the last records, the last one first."""
    assert tail_of(list(range(100))) == list(range(99, 99 - RECORDS_MAX, -1))
    assert tail_of([]) == []


def test_the_latest_orders_with_their_lives():
    """Orders are listed newest first, as many as fit, each with what happened to it and why it was refused."""
    orders = [an_order(number) for number in range(ORDERS_MAX + 1)]
    orders[-1] = an_order(ORDERS_MAX, "max_order_notional, what nobody knows")
    seen = SessionView(record={}, series=SessionSeries(orders=orders), lives={f"order-{ORDERS_MAX}": [Step("then", "sent")]})

    found = orders_of(seen)

    assert len(found) == ORDERS_MAX
    assert found[0].life == [Step("then", "sent")]
    assert [code for code, _ in found[0].reasons] == ["max_order_notional", "what nobody knows"]
    assert (bool(found[0].reasons[0][1]), found[0].reasons[1][1]) == (True, "")
    assert (found[1].life, found[1].reasons) == ((), [])


def test_a_session_without_a_view():
    """Where journal and bars can't be read the row is left, with the reason."""
    seen = without_view({"mode": "shadow"}, "it is gone")

    assert (seen.record, seen.missing, seen.records, len(seen.series.orders)) == ({"mode": "shadow"}, ("it is gone",), 0, 0)
    assert Fake(seen=seen)
