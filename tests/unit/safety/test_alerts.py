"""Alerts: what is told at once, what is counted, when it is told that it is over, who is next, and when it ends."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.safety import alerts
from peak_trade.safety.alerts import (
    MORE,
    OLD,
    RAISED,
    RECOVERY,
    Alert,
    AlertBook,
    Notice,
    Routing,
    Severity,
    channel_of,
    code_of_bits,
    drill_entry,
    message,
    plain,
)

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECOND = timedelta(seconds=1)
TICK = timedelta(microseconds=1)
ROUTING = Routing(
    channels=("ops", "mail", "owner", "boss"),
    routes={Severity.INFO: (), Severity.WARNING: ("ops",), Severity.CRITICAL: ("ops", "mail")},
    escalation=("owner", "boss"),
    escalate=timedelta(minutes=15),
    throttle=timedelta(seconds=300),
    tries=3,
    timeout=timedelta(seconds=20),
)
KEY = "data_gap.BTC/EUR"


class World:
    """A file of alerts in memory, with a clock and channels that take what they are told to."""

    def __init__(self, routing: Routing = ROUTING) -> None:
        self.routing, self.now, self.book = routing, START, AlertBook()
        self.dead: set[str] = set()
        self.got: list[tuple[str, str, datetime]] = []
        self._ids = count(1)

    def id(self) -> str:
        return f"n{next(self._ids):05}"

    def write(self, *entries: alerts.Entry) -> None:
        for entry in entries:
            self.book.take(entry)
        assert self.book.unread == 0

    def raise_(self, severity: Severity = Severity.CRITICAL, key: str = KEY) -> str:
        entry = alerts.raised(self.book, Alert(key, severity, "No bar", "for 5 minutes"), self.now, self.routing, self.id)
        self.write(entry)
        return entry["kind"]

    def end(self, key: str = KEY) -> None:
        if (entry := alerts.ended(self.book, key, self.now)) is not None:
            self.write(entry)

    def due(self) -> list[tuple[str, str]]:
        """Return what is to be sent now, as kind and channel; what time makes due is written first."""
        self.write(*alerts.messages_due(self.book, self.now, self.routing, self.id))
        return [(notice.what, channel) for notice, channel in alerts.deliveries_due(self.book, self.now, self.routing)]

    def send(self) -> list[tuple[str, str]]:
        """Send what is due, and what becomes due by that, as a sender does; return it as kind and channel."""
        done: list[tuple[str, str]] = []
        for _ in range(50):
            self.write(*alerts.messages_due(self.book, self.now, self.routing, self.id))
            found = alerts.deliveries_due(self.book, self.now, self.routing)
            if not found:
                return done
            failed: set[str] = set()
            for notice, channel in found:
                if channel in failed:
                    continue
                failed |= {channel} & self.dead
                why = "dead" if channel in self.dead else ""
                self.write(alerts.tried(notice, channel, self.now), alerts.outcome(notice, channel, why, self.now))
                done.append((notice.what, channel))
                if not why:
                    self.got.append((notice.what, channel, self.now))
        raise AssertionError("there is always more to send")

    def after(self, span: timedelta) -> "World":
        self.now += span
        return self

    def notices(self, what: str = "") -> list[Notice]:
        return [notice for notice in self.book.notices.values() if what in ("", notice.what)]

    def next(self) -> datetime | None:
        return alerts.next_due(self.book, self.now, self.routing)


@pytest.fixture
def world() -> World:
    return World()


def test_told_once_then_counted(world):
    """The first is told at once to its route; the same in the window is counted, and told once, at its end."""
    assert (world.raise_(), world.send()) == ("notice", [(RAISED, "ops"), (RAISED, "mail")])
    assert [world.after(SECOND).raise_() for _ in range(12)] == ["again"] * 12
    assert world.send() == []

    world.now = START + ROUTING.throttle - TICK
    assert world.send() == []
    world.after(TICK)
    assert world.send() == [(MORE, "ops"), (MORE, "mail")]
    (more,) = world.notices(MORE)
    assert (more.title, more.severity) == ("No bar: and 12 more", Severity.CRITICAL)
    assert more.text == "And 12 more of this alert came after 2026-01-02 03:04:05 UTC. It goes on."

    world.after(ROUTING.throttle * 2)
    assert MORE not in [what for what, _ in world.send()]


def test_a_window_begins_with_each_message(world):
    """What comes at the very end of a window is told at once; what comes after the message of its end is counted again."""
    world.raise_()
    assert world.after(ROUTING.throttle - TICK).raise_() == "again"
    assert world.after(TICK).raise_() == "notice"
    assert world.notices()[-1].text.startswith("And 1 more of this alert came after")

    assert world.after(SECOND).raise_() == "again"
    world.after(ROUTING.throttle).send()
    assert world.raise_() == "again"


@pytest.mark.parametrize(
    ("first", "then", "kind"),
    [
        (Severity.INFO, Severity.WARNING, "notice"),
        (Severity.WARNING, Severity.CRITICAL, "notice"),
        (Severity.WARNING, Severity.WARNING, "again"),
        (Severity.CRITICAL, Severity.INFO, "again"),
    ],
)
def test_what_is_worse_is_told(world, first, then, kind):
    """An alert that is worse than what was told does not wait for the window."""
    world.raise_(first)

    assert world.raise_(then) == kind


def test_other_keys_do_not_wait(world):
    """Each key has a window of its own."""
    world.raise_()

    assert world.raise_(key="data_gap.ETH/EUR") == "notice"


def test_a_clock_set_back_hides_nothing(world):
    """Where the last message lies in the future nothing is counted as just told."""
    world.raise_()
    world.now = START - timedelta(days=1)

    assert world.raise_() == "notice"


def test_a_clock_set_back_holds_nothing_up(world):
    """What was written at a moment that lies in the future now is sent at once all the same."""
    world.raise_(Severity.WARNING)
    world.now = START - timedelta(hours=1)

    assert (world.next(), world.due()) == (world.now, [(RAISED, "ops")])


def test_over_is_told(world):
    """An end after the window is told at once, once, to everybody who was told; afterwards it may begin anew."""
    world.raise_(Severity.WARNING)
    world.send()
    world.after(ROUTING.throttle).end()
    world.end()

    assert world.send() == [(RECOVERY, "ops")]
    (found,) = world.notices(RECOVERY)
    assert (found.title, found.severity) == ("Over: No bar", Severity.INFO)
    assert found.text == "It was raised once since 2026-01-02 03:04:05 UTC and ended 2026-01-02 03:09:05 UTC."
    world.end()
    assert (world.send(), world.next(), world.book.conditions) == ([], None, {})
    assert world.raise_(Severity.WARNING) == "notice"


def test_over_waits_for_the_window(world):
    """What comes and goes is told once in a window, and as it is by then."""
    world.raise_(Severity.WARNING)
    world.send()
    world.after(SECOND).end()
    assert (world.send(), world.next()) == ([], START + ROUTING.throttle)

    assert world.after(SECOND).raise_(Severity.WARNING) == "again"
    world.now = START + ROUTING.throttle
    assert world.send() == [(MORE, "ops")]

    world.after(SECOND).raise_(Severity.WARNING)
    world.after(SECOND).end()
    world.now = START + 2 * ROUTING.throttle
    assert world.send() == [(RECOVERY, "ops")]
    assert "raised 3 times since" in world.notices(RECOVERY)[0].text


def test_the_first_end_counts(world):
    """An end that is said twice was at the first time; what is worse since is not over, and is told at once."""
    world.raise_(Severity.WARNING)
    world.after(SECOND).end()
    world.after(SECOND).end()
    assert world.book.conditions[KEY].over == START + SECOND

    assert world.raise_(Severity.CRITICAL) == "notice"
    assert world.book.conditions[KEY].over is None


def test_an_end_of_nothing(world):
    """Nobody is told of the end of what nobody was told of."""
    world.end()

    assert (world.book.notices, world.next()) == ({}, None)


def test_escalation(world):
    """A critical alert without an answer goes on to the next channel, and to the one after that, and then no further."""
    world.raise_()
    world.send()
    assert world.next() == START + ROUTING.escalate

    world.now = START + ROUTING.escalate - TICK
    assert world.send() == []
    world.after(TICK)
    assert world.send() == [(RAISED, "owner")]
    assert world.after(ROUTING.escalate - TICK).send() == []
    assert world.after(TICK).send() == [(RAISED, "boss")]
    assert world.next() is None

    world.end()
    assert world.send() == [(RECOVERY, channel) for channel in ("ops", "mail", "owner", "boss")]


@pytest.mark.parametrize("severity", [Severity.INFO, Severity.WARNING])
def test_only_critical_escalates(world, severity):
    """Nothing less than critical goes further."""
    world.raise_(severity)
    world.send()

    assert (world.after(ROUTING.escalate * 3).send(), world.next()) == ([], None)


def test_acknowledged_goes_no_further(world):
    """Somebody who takes note stops it, whichever message of it they answer; the next alert of the key is another one."""
    world.raise_()
    world.send()
    world.after(SECOND).raise_()
    world.now = START + ROUTING.throttle
    world.send()
    world.write(alerts.acknowledged(world.notices(MORE)[0], "kim", world.now))

    assert {notice.acknowledged_by for notice in world.notices()} == {"kim"}
    assert (world.after(ROUTING.escalate).send(), world.next()) == ([], None)
    assert world.raise_() == "notice"
    assert world.notices()[-1].acknowledged_by == ""
    world.send()
    assert world.after(ROUTING.escalate).send() == [(RAISED, "owner")]


def test_what_is_over_goes_no_further(world):
    """What is over wakes nobody else, even while that has not been told."""
    world.raise_()
    world.send()
    world.after(SECOND).end()
    world.now = START + ROUTING.escalate

    assert world.send() == [(RECOVERY, "ops"), (RECOVERY, "mail")]
    assert world.next() is None


def test_what_began_anew_waits_anew(world):
    """An alert whose condition has ended goes no further where it is so again: the one that told that does, in its time."""
    world.raise_()
    world.send()
    world.after(ROUTING.throttle).end()
    world.send()
    begun = world.after(SECOND).now
    world.raise_()
    world.send()

    world.now = START + ROUTING.escalate
    assert (world.send(), world.next()) == ([], begun + ROUTING.escalate)
    world.now = begun + ROUTING.escalate
    assert world.send() == [(RAISED, "owner")]


def test_nobody_told_goes_further_at_once(world):
    """Where no channel took it the next one is not waited for; where one did, it is."""
    world.dead = {"ops", "mail"}
    world.raise_()
    assert world.send() == [(RAISED, "ops"), (RAISED, "mail"), (RAISED, "owner")]

    one = World()
    one.dead = {"ops"}
    one.raise_()
    assert one.send() == [(RAISED, "ops"), (RAISED, "mail")]


def test_without_a_route_it_goes_further_at_once():
    """A critical alert that no channel is meant for begins with the first of the escalation."""
    world = World(replace(ROUTING, routes=dict.fromkeys(Severity, ())))
    world.raise_()

    assert world.send() == [(RAISED, "owner")]


def test_tries_have_pauses_and_an_end(world):
    """A channel is tried again after 30 seconds, then two minutes, and then given up."""
    world.dead = {"ops"}
    world.raise_(Severity.WARNING)
    assert (world.send(), world.next()) == ([(RAISED, "ops")], START + timedelta(seconds=30))

    world.after(timedelta(seconds=30) - TICK)
    assert world.send() == []
    assert world.after(TICK).send() == [(RAISED, "ops")]
    assert world.after(timedelta(seconds=120) - TICK).send() == []
    assert world.after(TICK).send() == [(RAISED, "ops")]
    assert world.next() is None
    (notice,) = world.notices()
    assert (notice.deliveries["ops"].tries, notice.deliveries["ops"].why, notice.sent) == (3, "dead", 0)


def test_a_try_without_an_end(world):
    """A sender that died in a try is waited for as long as a try may take; then it is tried again."""
    world.raise_(Severity.WARNING)
    (notice,) = world.notices()
    world.write(alerts.tried(notice, "ops", world.now))
    assert notice.deliveries["ops"].under_way

    world.now = START + timedelta(seconds=40) - TICK
    assert world.due() == []
    assert world.after(TICK).due() == [(RAISED, "ops")]


def test_what_is_old_is_not_sent(world):
    """After a day nobody is woken up for it any more."""
    world.raise_()
    world.now = START + OLD
    assert world.due() == [(RAISED, "ops"), (RAISED, "mail"), (RAISED, "owner")]

    later = World()
    later.raise_()
    later.now = START + OLD + TICK
    assert (later.due(), later.next()) == ([], None)


def test_least_tried_first(world):
    """A message that a channel never takes does not keep the others from it."""
    world.dead = {"ops"}
    world.raise_(Severity.WARNING)
    world.send()
    world.after(timedelta(seconds=60)).raise_(Severity.WARNING, key="other")

    assert [notice.key for notice, _ in alerts.deliveries_due(world.book, world.now, ROUTING)] == ["other", KEY]


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"kind": "notice", "at": "2026-01-02"},
        {"kind": "sent", "at": "2026-01-02", "id": "none", "channel": "ops"},
        {"kind": "other", "at": "2026-01-02"},
        {"kind": "over", "at": "yesterday", "key": KEY},
        {"kind": "again", "at": "2026-01-02", "key": KEY, "count": "many"},
        {"kind": ["notice"], "at": 7},
    ],
)
def test_nonsense_is_counted(entry):
    """A record that makes no sense changes nothing and is counted."""
    book = AlertBook([entry])

    assert (book.notices, book.conditions, book.unread) == ({}, {}, 1)


def test_codes():
    """Each channel's code names it, whatever its case and dashes; another one names none, and the record does not hold any."""
    codes = {"ops": code_of_bits(12345678901234567), "mail": code_of_bits(1 << 59)}
    entry = drill_entry("n1", START, "kim", "weekly", "salt", codes)
    notice = AlertBook([entry]).notices["n1"]

    assert all(code not in str(entry) and code.replace("-", "") not in str(entry) for code in codes.values())
    assert channel_of(notice, codes["ops"]) == "ops"
    assert channel_of(notice, f" {codes['mail'].lower().replace('-', ' ')} ") == "mail"
    assert [channel_of(notice, code) for code in ("", "x", codes["ops"][:-1], codes["ops"] + "2", "\udc80")] == [None] * 5
    other = AlertBook([drill_entry("n2", START, "kim", "weekly", "pepper", {"ops": "AAAA-AAAA-AAAA"})]).notices["n2"]
    assert channel_of(other, codes["ops"]) is None


@given(st.integers(0, (1 << 60) - 1), st.integers(0, (1 << 60) - 1))
def test_codes_differ(one, other):
    """Different bits are different codes, in three groups of four."""
    assert (code_of_bits(one) == code_of_bits(other)) == (one == other)
    assert [len(group) for group in code_of_bits(one).split("-")] == [4, 4, 4]


def test_a_test_alert_is_sent_once(world):
    """A test is no condition, and no sender takes it up again."""
    world.write(drill_entry("n1", START, "kim", "weekly", "salt", {"ops": "AAAA-AAAA-AAAA"}))

    assert (world.due(), world.next(), world.book.conditions) == ([], None, {})


def test_a_dead_channel_rests(world):
    """What waits for a channel that did not take the last one waits for 30 seconds; one that takes it gets all the rest."""
    world.dead = {"ops"}
    world.raise_(Severity.WARNING)
    world.send()
    for number in range(5):
        world.after(SECOND).raise_(Severity.WARNING, key=f"other.{number}")
    assert (world.due(), world.next()) == ([], START + timedelta(seconds=30))

    world.now = START + timedelta(seconds=30)
    assert len(world.due()) == 6
    world.dead.clear()
    assert len(world.send()) == 6


def test_a_test_lets_no_channel_rest(world):
    """A test that a channel did not take keeps no alert from it."""
    world.write(drill_entry("n0", START, "kim", "weekly", "salt", {"ops": "AAAA-AAAA-AAAA"}))
    test = world.notices()[0]
    world.write(alerts.tried(test, "ops", world.now), alerts.outcome(test, "ops", "dead", world.now))
    world.raise_(Severity.WARNING)

    assert world.due() == [(RAISED, "ops")]


def test_words(world):
    """A message says how bad it is, what, since when, where, and what to do; only a test's has a code."""
    world.raise_()
    notice = world.notices()[0]

    assert message(notice, "desk 1") == (
        "[CRITICAL] No bar (desk 1)",
        f"for 5 minutes\n2026-01-02 03:04:05 UTC, desk 1, {KEY}\nacknowledge: peak-trade alert acknowledge n00001 --by NAME",
    )
    test = AlertBook([drill_entry("n1", START, "kim", "weekly", "salt", {"ops": "AAAA-AAAA-AAAA"})]).notices["n1"]
    title, body = message(test, "desk 1", "AAAA-AAAA-AAAA")
    assert title == "[TEST] Test alert (desk 1)"
    assert body.endswith("confirm: peak-trade alert confirm n1 --by NAME --code AAAA-AAAA-AAAA")


@given(st.text(), st.integers(3, 40))
def test_plain(text, most):
    """Whatever comes becomes one printable line of bounded length that UTF-8 takes."""
    found = plain(text, most)

    assert len(found) <= most
    assert found.isprintable()
    assert found.encode().decode() == found


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("raise"), st.sampled_from(["a", "b"]), st.sampled_from(list(Severity))),
        st.tuples(st.just("end"), st.sampled_from(["a", "b"])),
        st.tuples(st.just("wait"), st.integers(0, 700)),
        st.tuples(st.just("dead"), st.sampled_from(["ops", "mail", "owner", "boss"])),
        st.tuples(st.just("alive")),
        st.tuples(st.just("send")),
        st.tuples(st.just("answer")),
    ),
    max_size=25,
)


@settings(deadline=None)
@given(MOVES)
def test_it_ends_and_tells_the_truth(moves):
    """Whatever happens: what is due is due to the moment, it ends, what was told last is so, and no window has two messages."""
    world = World()
    so: dict[str, bool] = {}
    for name, *given_ in moves:
        match name:
            case "raise":
                world.raise_(given_[1], given_[0])
                so[given_[0]] = True
            case "end":
                world.end(given_[0])
                so[given_[0]] = False
            case "wait":
                world.after(timedelta(seconds=given_[0]))
            case "dead":
                world.dead.add(given_[0])
            case "alive":
                world.dead.clear()
            case "send":
                world.send()
            case "answer" if world.notices():
                world.write(alerts.acknowledged(world.notices()[-1], "kim", world.now))
    for _ in range(1_000):
        world.send()
        moment = world.next()
        if moment is None:
            break
        assert moment > world.now
        world.now = moment - TICK
        assert world.send() == []
        world.now = moment
    else:
        pytest.fail("it does not end")

    for key, goes_on in so.items():
        told = [notice for notice in world.notices() if notice.key == key]
        assert (told[-1].what != RECOVERY if told else not goes_on) if goes_on else (not told or told[-1].what == RECOVERY)
        for one, other in pairwise(told):
            worse = other.what == RAISED and other.severity.rank > one.severity.rank
            assert worse or one.what == RECOVERY or other.at - one.at >= ROUTING.throttle
    for notice in world.notices():
        assert all(delivery.sent_at or delivery.tries == ROUTING.tries for delivery in notice.deliveries.values())


@settings(deadline=None)
@given(MOVES)
def test_the_records_are_everything(moves):
    """A book made from the same records is the same, however they came."""
    written: list[alerts.Entry] = []

    class Recorded(World):
        def write(self, *entries: alerts.Entry) -> None:
            written.extend(entries)
            super().write(*entries)

    world = Recorded()
    for name, *given_ in moves:
        if name == "raise":
            world.raise_(given_[1], given_[0])
        elif name == "end":
            world.end(given_[0])
        elif name == "wait":
            world.after(timedelta(seconds=given_[0]))
        else:
            world.send()

    again = AlertBook(written)
    assert (again.notices, again.conditions) == (world.book.notices, world.book.conditions)

    for late in (timedelta(), timedelta(hours=47), timedelta(hours=50)):
        now = world.now + late
        rest = AlertBook(alerts.kept(written, now))
        assert rest.notices == {name: notice for name, notice in again.notices.items() if now - notice.at < alerts.KEPT}
        assert rest.unread == 0
        for moment in (now, now + ROUTING.throttle, now + ROUTING.escalate):
            made, wanted = (alerts.messages_due(book, moment, ROUTING, lambda: "new") for book in (rest, again))
            assert made == wanted
            one, other = (alerts.deliveries_due(book, moment, ROUTING) for book in (rest, again))
            assert [(notice.id, channel) for notice, channel in one] == [(notice.id, channel) for notice, channel in other]
            assert alerts.next_due(rest, moment, ROUTING) == alerts.next_due(again, moment, ROUTING)
