"""What waits for a confirmation: once, in time, for what was shown, in the browser it was shown in."""

import random

import pytest
from tests.unit.webui.desks import SetClock

from peak_trade.model.errors import InputError
from peak_trade.webui.actions import (
    ACKNOWLEDGE,
    KILL,
    REASON_MAX,
    TICKET_AGE_S,
    TICKETS_MAX,
    Tickets,
    _wrong_reason,
)

ASKED = (KILL, "", "maria", "a test", "browser")


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def tickets(clock) -> Tickets:
    return Tickets(clock, random.Random(1))


def take(tickets: Tickets, number: str, action: str = KILL, target: str = "", browser: str = "browser"):
    return tickets.take(number, action, target, browser)


def test_what_is_confirmed_is_what_was_shown(tickets):
    """The number stands for who asked for what, and why."""
    ticket = take(tickets, tickets.issue(*ASKED))

    assert (ticket.action, ticket.target, ticket.by, ticket.why) == (KILL, "", "maria", "a test")


def test_once(tickets):
    """A number can be used once."""
    number = tickets.issue(*ASKED)
    take(tickets, number)

    with pytest.raises(InputError, match="nothing was done: begin again"):
        take(tickets, number)


def test_until_its_last_moment(tickets, clock):
    """Just before two minutes are over it is good, exactly then it is not."""
    early, late = tickets.issue(*ASKED), tickets.issue(*ASKED)
    clock.pass_s(TICKET_AGE_S - 0.001)
    assert take(tickets, early).by == "maria"

    clock.pass_s(0.001)
    with pytest.raises(InputError, match="within two minutes"):
        take(tickets, late)


@pytest.mark.parametrize(
    "wrong",
    [{"action": ACKNOWLEDGE}, {"target": "20260101T000000000Z-aaaaaa"}, {"browser": "another"}, {"browser": ""}],
    ids=["action", "target", "browser", "no browser"],
)
def test_for_nothing_else(tickets, wrong):
    """For another action, another session or from another browser it stands for nothing, and is gone with the attempt."""
    number = tickets.issue(*ASKED)

    for attempt in (wrong, {}):
        with pytest.raises(InputError, match="nothing was done"):
            take(tickets, number, **attempt)


@pytest.mark.parametrize("number", ["", "0" * 32, "é"])
def test_a_number_that_was_never_given(tickets, number):
    """A number that was made up stands for nothing."""
    tickets.issue(*ASKED)

    with pytest.raises(InputError, match="found none"):
        take(tickets, number)


def test_no_more_than_so_many_wait(tickets):
    """When as many wait as may, the oldest makes way for a new one."""
    numbers = [tickets.issue(*ASKED) for _ in range(TICKETS_MAX)]
    newest = tickets.issue(*ASKED)

    with pytest.raises(InputError):
        take(tickets, numbers[0])
    assert [take(tickets, number).by for number in (*numbers[1:], newest)] == ["maria"] * TICKETS_MAX


def test_those_that_are_over_make_way_first(tickets, clock):
    """A ticket that nobody can use any more takes no place."""
    for _ in range(TICKETS_MAX - 1):
        tickets.issue(*ASKED)
    clock.pass_s(TICKET_AGE_S / 2)
    last = tickets.issue(*ASKED)
    clock.pass_s(TICKET_AGE_S / 2)
    for _ in range(TICKETS_MAX - 1):
        tickets.issue(*ASKED)

    assert take(tickets, last).by == "maria"


def test_numbers_are_128_random_bits(tickets):
    """Each number is 32 hexadecimal digits, and none comes twice."""
    numbers = {tickets.secret() for _ in range(1_000)}

    assert len(numbers) == 1_000
    assert all(len(number) == 32 and set(number) <= set("0123456789abcdef") for number in numbers)


@pytest.mark.parametrize("why", ["x", "x" * REASON_MAX, "two\r\nlines", "ключ", "<script>", "{{7*7}} %s {}"])
def test_reasons(why):
    """A reason is any text that can be shown, of up to its largest length."""
    assert _wrong_reason(why) == ""


@pytest.mark.parametrize("why", ["", "x" * (REASON_MAX + 1), "a\0b", "a\tb", "\u202eabc", "\x1b[31m", "\ud800"])
def test_no_reasons(why):
    """No reason, one that is too long, and one with characters that can't be shown or turn the text around are refused."""
    assert _wrong_reason(why)
