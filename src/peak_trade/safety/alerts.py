"""Alerts: what people are told, when and by which channel; rules over the records that are kept of them.

A *condition* is what an alert with some key says is so, from when it is raised until it is over. A *notice* is one message,
and a *delivery* is one notice on one channel.

Invariant: every rule is a function of the records and a moment; nothing here looks at a clock, a file or a channel.
Invariant: of a channel there is its name, and nothing else.
Invariant: whatever comes, after the last record there is a moment from which nothing is due any more.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, unique
from typing import Any, NamedTuple

from peak_trade.model.clock import parse_moment

#: A line of the file of alerts: `kind`, `at`, and what that kind has.
Entry = dict[str, Any]

#: Kinds of entries.
NOTICE, AGAIN, OVER, TRY, SENT, FAILED = "notice", "again", "over", "try", "sent", "failed"
ESCALATED, ACKNOWLEDGED, WRONG, CONFIRMED = "escalated", "acknowledged", "wrong", "confirmed"
#: How a condition stands, at the beginning of a file whose older records lie elsewhere.
STANDS = "stands"
#: What a notice is.
RAISED, MORE, RECOVERY, TEST = "alert", "more", "recovery", "test"

#: What is older is not sent any more: who finds it then has to look at the list.
OLD = timedelta(hours=24)
#: So long a file that has grown too large keeps what was told: longer than anything is still done about it.
KEPT = timedelta(hours=48)
#: A test alert can be confirmed for so long.
CONFIRM_WITHIN = timedelta(hours=24)
#: So many wrong codes void a test alert.
WRONG_MAX = 3
#: Wait before the second try, and how many times longer before each that follows.
FIRST_WAIT, LONGER = timedelta(seconds=30), 4
#: Longest title, text and key, characters.
TITLE_MAX, TEXT_MAX, KEY_MAX = 120, 1_000, 64
#: Characters of a code: none that look alike.
_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
_CODE_LENGTH = 12


@unique
class Severity(Enum):
    """How much an alert matters."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Its place, from the least on."""
        return list(Severity).index(self)


class Alert(NamedTuple):
    """What people should know: `key` names the condition, such as `session_failed.paper`; texts are cut to their limits."""

    key: str
    severity: Severity
    title: str
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Who is told what, and how often.

    Attributes:
        channels: all of them. routes: those of a severity.
        escalation: the next ones, in this order, for a critical alert that nobody acknowledged.
        escalate: how long that is waited for. throttle: the same key is told at most once in this time.
        tries: on one channel. timeout: of one try.
    """

    channels: tuple[str, ...]
    routes: Mapping[Severity, tuple[str, ...]]
    escalation: tuple[str, ...]
    escalate: timedelta
    throttle: timedelta
    tries: int
    timeout: timedelta


@dataclass(slots=True)
class Delivery:
    """One notice on one channel: how often and when it was tried, when it was taken, and why not."""

    tries: int = 0
    tried_at: datetime | None = None
    sent_at: datetime | None = None
    why: str = ""

    @property
    def under_way(self) -> bool:
        """Whether it was tried last and nobody knows how that ended."""
        return self.sent_at is None and self.tries > 0 and not self.why


@dataclass(slots=True, kw_only=True)
class Notice:
    """One message: to whom, and what became of it."""

    id: str
    at: datetime
    what: str
    key: str
    severity: Severity
    title: str
    text: str
    deliveries: dict[str, Delivery]
    by: str = ""
    salt: str = ""
    digests: dict[str, str] = field(default_factory=dict)
    escalated_at: datetime | None = None
    acknowledged_by: str = ""
    wrong: int = 0
    confirmed_by: str = ""

    @property
    def sent(self) -> int:
        """How many channels took it."""
        return sum(delivery.sent_at is not None for delivery in self.deliveries.values())


@dataclass(slots=True, kw_only=True)
class Condition:
    """What an alert says is so: since its first notice, and what came since its last one.

    Attributes:
        window: when the last message about it was made. count: alerts that were not told since. times: all of them.
        over: when it ended, while that has not been told.
    """

    title: str
    severity: Severity
    since: datetime
    window: datetime
    notices: list[str] = field(default_factory=list)
    channels: dict[str, None] = field(default_factory=dict)
    count: int = 0
    times: int = 1
    over: datetime | None = None


class AlertBook:
    """What the records come to, taken one by one in their order."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.notices: dict[str, Notice] = {}
        self.conditions: dict[str, Condition] = {}
        #: Lines that are none of ours, such as one that a full disk cut off.
        self.unread = 0
        for entry in entries:
            self.take(entry)

    def take(self, entry: Entry) -> None:
        """Take the next record; one that makes no sense is counted."""
        try:
            _TAKEN[entry["kind"]](self, entry, parse_moment(entry["at"]))
        except (KeyError, ValueError, TypeError, AttributeError):
            self.unread += 1

    def _notice(self, entry: Entry, at: datetime) -> None:
        notice = Notice(
            id=entry["id"],
            at=at,
            what=entry["what"],
            key=entry["key"],
            severity=Severity(entry["severity"]),
            title=entry["title"],
            text=entry["text"],
            deliveries={name: Delivery() for name in entry["channels"]},
            by=entry.get("by", ""),
            salt=entry.get("salt", ""),
            digests=dict(entry.get("digests", {})),
        )
        self.notices[notice.id] = notice
        if notice.what == RECOVERY:
            self.conditions.pop(notice.key, None)
        elif notice.what != TEST:
            self._told(notice)

    def _told(self, notice: Notice) -> None:
        """Open the condition of a notice, or go on with it."""
        found = self.conditions.get(notice.key)
        if found is None:
            found = Condition(title=notice.title, severity=notice.severity, since=notice.at, window=notice.at)
            self.conditions[notice.key] = found
        elif notice.what == RAISED:
            found.title, found.severity, found.over = notice.title, notice.severity, None
            found.times += 1
        found.window, found.count = notice.at, 0
        found.notices.append(notice.id)
        found.channels |= dict.fromkeys(notice.deliveries)

    def _again(self, entry: Entry, _at: datetime) -> None:
        found = self.conditions[entry["key"]]
        found.count += entry["count"]
        found.times += entry["count"]
        found.over = None

    def _over(self, entry: Entry, at: datetime) -> None:
        self.conditions[entry["key"]].over = at

    def _try(self, entry: Entry, at: datetime) -> None:
        delivery = self.notices[entry["id"]].deliveries[entry["channel"]]
        delivery.tries, delivery.tried_at, delivery.why = delivery.tries + 1, at, ""

    def _sent(self, entry: Entry, at: datetime) -> None:
        delivery = self.notices[entry["id"]].deliveries[entry["channel"]]
        delivery.sent_at, delivery.why = at, ""

    def _failed(self, entry: Entry, _at: datetime) -> None:
        self.notices[entry["id"]].deliveries[entry["channel"]].why = entry["why"] or "unknown"

    def _escalated(self, entry: Entry, at: datetime) -> None:
        notice = self.notices[entry["id"]]
        notice.deliveries.setdefault(entry["channel"], Delivery())
        notice.escalated_at = at
        if (found := self.conditions.get(notice.key)) is not None:
            found.channels[entry["channel"]] = None

    def _acknowledged(self, entry: Entry, _at: datetime) -> None:
        """Mark a notice, and with it all that were made of the same condition so far."""
        notice = self.notices[entry["id"]]
        found = self.conditions.get(notice.key)
        for name in found.notices if found is not None and notice.id in found.notices else [notice.id]:
            self.notices[name].acknowledged_by = entry["by"]

    def _wrong(self, entry: Entry, _at: datetime) -> None:
        self.notices[entry["id"]].wrong += 1

    def _confirmed(self, entry: Entry, _at: datetime) -> None:
        self.notices[entry["id"]].confirmed_by = entry["by"]

    def _stands(self, entry: Entry, _at: datetime) -> None:
        self.conditions[entry["key"]] = Condition(
            title=entry["title"],
            severity=Severity(entry["severity"]),
            since=parse_moment(entry["since"]),
            window=parse_moment(entry["window"]),
            notices=list(entry["notices"]),
            channels=dict.fromkeys(entry["channels"]),
            count=entry["count"],
            times=entry["times"],
            over=None if entry["over"] is None else parse_moment(entry["over"]),
        )


#: Who takes which kind of record.
_TAKEN: dict[str, Callable[[AlertBook, Entry, datetime], None]] = {
    NOTICE: AlertBook._notice,
    AGAIN: AlertBook._again,
    OVER: AlertBook._over,
    TRY: AlertBook._try,
    SENT: AlertBook._sent,
    FAILED: AlertBook._failed,
    ESCALATED: AlertBook._escalated,
    ACKNOWLEDGED: AlertBook._acknowledged,
    WRONG: AlertBook._wrong,
    CONFIRMED: AlertBook._confirmed,
    STANDS: AlertBook._stands,
}


def raised(book: AlertBook, alert: Alert, now: datetime, routing: Routing, new_id: Callable[[], str]) -> Entry:
    """Return what an alert is written down as: a notice, or one more of what was told a short time ago.

    It is told at once where nothing is known of its condition, where the last message about it is old enough, and where it
    is worse than what was told.
    """
    key = plain(alert.key, KEY_MAX)
    found = book.conditions.get(key)
    if (
        found is not None
        and alert.severity.rank <= found.severity.rank
        and found.window <= now < found.window + routing.throttle
    ):
        return {"kind": AGAIN, "at": _text(now), "key": key, "count": 1}
    return _notice_entry(
        new_id(),
        now,
        what=RAISED,
        key=key,
        severity=alert.severity,
        title=plain(alert.title, TITLE_MAX),
        text=_and_more(found) + plain(alert.text, TEXT_MAX),
        channels=routing.routes[alert.severity],
    )


def ended(book: AlertBook, key: str, now: datetime) -> Entry | None:
    """Return the record that a condition is over; None where there is none, or it is known already."""
    name = plain(key, KEY_MAX)
    found = book.conditions.get(name)
    return None if found is None or found.over else {"kind": OVER, "at": _text(now), "key": name}


def acknowledged(notice: Notice, by: str, now: datetime) -> Entry:
    """Return the record that somebody has taken note of it."""
    return {"kind": ACKNOWLEDGED, "at": _text(now), "id": notice.id, "by": by}


def tried(notice: Notice, channel: str, now: datetime) -> Entry:
    """Return the record that a delivery is about to be tried."""
    return {"kind": TRY, "at": _text(now), "id": notice.id, "channel": channel}


def outcome(notice: Notice, channel: str, why: str, now: datetime) -> Entry:
    """Return the record of how a try ended; *why* it was not taken is empty where it was."""
    facts = {"at": _text(now), "id": notice.id, "channel": channel}
    return {"kind": FAILED, **facts, "why": why} if why else {"kind": SENT, **facts}


def messages_due(book: AlertBook, now: datetime, routing: Routing, new_id: Callable[[], str]) -> list[Entry]:
    """Return the notices and escalations that time has made due: how many more came, that it is over, who is next."""
    made = [
        _later(key, found, now, new_id)
        for key, found in book.conditions.items()
        if (moment := _message_at(found, routing)) is not None and moment <= now
    ]
    for notice in book.notices.values():
        moment, channel = _escalates(book, notice, now, routing)
        if moment is not None and moment <= now:
            made.append({"kind": ESCALATED, "at": _text(now), "id": notice.id, "channel": channel})
    return made


def deliveries_due(book: AlertBook, now: datetime, routing: Routing) -> list[tuple[Notice, str]]:
    """Return the notices that are to be sent now, with the channel, those first that were tried least, then the oldest.

    A channel that did not take the last one rests: what waits for a dead one keeps nobody from those that live.
    """
    found = [
        (delivery.tries, notice.at, notice.id, notice, channel)
        for notice, channel, delivery, moment in _deliveries(book, now, routing)
        if moment <= now
    ]
    return [(notice, channel) for *_, notice, channel in sorted(found, key=lambda item: item[:3])]


def next_due(book: AlertBook, now: datetime, routing: Routing) -> datetime | None:
    """Return the first moment at which something is due; it may be past. None where nothing ever will be."""
    moments: list[datetime | None] = [moment for *_, moment in _deliveries(book, now, routing)]
    moments += [_message_at(found, routing) for found in book.conditions.values()]
    moments += [_escalates(book, notice, now, routing)[0] for notice in book.notices.values()]
    return min((moment for moment in moments if moment is not None), default=None)


def kept(entries: Iterable[Entry], now: datetime) -> list[Entry]:
    """Return the records that a file which has grown too large begins anew with: everything that is still acted on.

    These are all records of what was told lately, and how each condition stands.
    """
    known = list(entries)
    book = AlertBook(known)
    young = {notice.id for notice in book.notices.values() if notice.at > now - KEPT}
    lately = [entry for entry in known if entry.get("id") in young]
    return lately + [
        {
            "kind": STANDS,
            "at": _text(now),
            "key": key,
            "title": found.title,
            "severity": found.severity.value,
            "since": _text(found.since),
            "window": _text(found.window),
            "notices": [name for name in found.notices if name in young],
            "channels": list(found.channels),
            "count": found.count,
            "times": found.times,
            "over": None if found.over is None else _text(found.over),
        }
        for key, found in book.conditions.items()
    ]


def try_at(notice: Notice, delivery: Delivery, now: datetime, routing: Routing) -> datetime | None:
    """Return when a delivery is to be tried; None where it was taken, given up, too old, or a test, which is sent once."""
    if delivery.sent_at is not None or delivery.tries >= routing.tries or notice.what == TEST:
        return None
    if delivery.tried_at is None:
        moment = min(notice.at, now)  # at once, whatever another machine's or an earlier clock said
    else:
        # A try whose end nobody knows may still be under way for as long as one may take.
        wait = FIRST_WAIT * LONGER ** (delivery.tries - 1)
        moment = delivery.tried_at + (max(wait, routing.timeout * 2) if delivery.under_way else wait)
    return None if max(moment, now) > notice.at + OLD else moment


def gone_on_with(book: AlertBook, notice: Notice) -> bool:
    """Tell whether a notice is about something that is still so."""
    found = book.conditions.get(notice.key)
    return found is not None and found.over is None and notice.id in found.notices


def _deliveries(book: AlertBook, now: datetime, routing: Routing) -> Iterator[tuple[Notice, str, Delivery, datetime]]:
    """Return every delivery that is still to be tried, with the moment."""
    rests = _rests(book)
    for notice in book.notices.values():
        for channel, delivery in notice.deliveries.items():
            if (moment := try_at(notice, delivery, now, routing)) is not None:
                yield notice, channel, delivery, max(moment, rests.get(channel, moment))


def _rests(book: AlertBook) -> dict[str, datetime]:
    """Return until when each channel rests that did not take what it was given last; a test does not count."""
    last: dict[str, tuple[datetime, bool]] = {}
    for notice in book.notices.values():
        for channel, delivery in notice.deliveries.items():
            at = delivery.tried_at
            if at is not None and notice.what != TEST and (channel not in last or at >= last[channel][0]):
                last[channel] = at, delivery.sent_at is not None
    return {channel: at + FIRST_WAIT for channel, (at, taken) in last.items() if not taken}


def _message_at(found: Condition, routing: Routing) -> datetime | None:
    """Return when the next message about a condition is due: once its window is over, if there is something to tell.

    An end inside the window waits too: what comes and goes is told once in a window, and as it is by then.
    """
    return found.window + routing.throttle if found.count or found.over else None


def _escalates(book: AlertBook, notice: Notice, now: datetime, routing: Routing) -> tuple[datetime | None, str]:
    """Return when a notice goes to which next channel: after a while without an answer, at once where none could be told."""
    if notice.what != RAISED or notice.severity is not Severity.CRITICAL or notice.acknowledged_by:
        return None, ""
    channel = next((name for name in routing.escalation if name not in notice.deliveries), None)
    found = book.conditions.get(notice.key)
    if channel is None or found is None or found.over or notice.id not in found.notices or now > notice.at + OLD:
        return None, ""
    states = notice.deliveries.values()
    if all(state.why and state.sent_at is None for state in states):
        return max((state.tried_at or notice.at for state in states), default=notice.at), channel
    return (notice.escalated_at or notice.at) + routing.escalate, channel


def _later(key: str, found: Condition, now: datetime, new_id: Callable[[], str]) -> Entry:
    """Return the message at the end of a window."""
    if found.over is not None:
        times = f"It was raised {found.times} times" if found.times > 1 else "It was raised once"
        what, title = RECOVERY, plain(f"Over: {found.title}", TITLE_MAX)
        text = f"{times} since {_clock(found.since)} and ended {_clock(found.over)}."
    else:
        what, title = MORE, plain(f"{found.title}: and {found.count} more", TITLE_MAX)
        text = f"{_and_more(found)}It goes on."
    severity = Severity.INFO if what == RECOVERY else found.severity
    return _notice_entry(
        new_id(), now, what=what, key=key, severity=severity, title=title, text=text, channels=tuple(found.channels)
    )


def _and_more(found: Condition | None) -> str:
    if found is None or not found.count:
        return ""
    return f"And {found.count} more of this alert came after {_clock(found.window)}. "


def _notice_entry(name: str, at: datetime, *, severity: Severity, channels: tuple[str, ...], **facts: Any) -> Entry:
    return {
        "kind": NOTICE,
        "id": name,
        "at": _text(at),
        "severity": severity.value,
        "channels": list(channels),
        **facts,
    }


def drill_entry(name: str, at: datetime, by: str, why: str, salt: str, codes: Mapping[str, str]) -> Entry:
    """Return the record of a test alert: to every channel, each with a code of its own, of which only a digest is kept."""
    return _notice_entry(
        name,
        at,
        what=TEST,
        key=TEST,
        severity=Severity.INFO,
        title="Test alert",
        text=plain(why, TEXT_MAX),
        channels=tuple(codes),
        by=by,
        salt=salt,
        digests={channel: _digest(code, salt) for channel, code in codes.items()},
    )


def wrong_code(notice: Notice, by: str, now: datetime) -> Entry:
    """Return the record that a test alert was to be confirmed with a code that was none of its own."""
    return {"kind": WRONG, "at": _text(now), "id": notice.id, "by": by}


def confirmed(notice: Notice, by: str, channel: str, evidence: str, now: datetime) -> Entry:
    """Return the record that somebody confirmed a test alert, and which evidence that gave."""
    return {"kind": CONFIRMED, "at": _text(now), "id": notice.id, "by": by, "channel": channel, "evidence": evidence}


def code_of_bits(random_bits: int) -> str:
    """Return a code of 60 bits in three groups of four letters and digits."""
    marks = [_ALPHABET[(random_bits >> (5 * place)) & 31] for place in range(_CODE_LENGTH)]
    return "-".join("".join(marks[start : start + 4]) for start in range(0, _CODE_LENGTH, 4))


def channel_of(notice: Notice, code: str) -> str | None:
    """Return the channel whose code this is, None where it is none; takes as long whichever it is, and however much is right.

    Lower case, spaces and dashes don't matter.
    """
    given = _digest(code, notice.salt)
    found = None
    for channel, digest in notice.digests.items():
        if hmac.compare_digest(given, digest):
            found = channel
    return found


def message(notice: Notice, place: str, code: str = "") -> tuple[str, str]:
    """Return title and body of a notice, plain text.

    Args:
        place: what tells this machine from others. code: of a test alert on one channel.
    """
    mark = {RECOVERY: "OVER", TEST: "TEST"}.get(notice.what, notice.severity.name)
    lines = [notice.text, f"{_clock(notice.at)}, {place}, {notice.key}"]
    if notice.what == TEST:
        lines += [f"code: {code}", f"confirm: peak-trade alert confirm {notice.id} --by NAME --code {code}"]
    elif notice.severity is Severity.CRITICAL:
        lines.append(f"acknowledge: peak-trade alert acknowledge {notice.id} --by NAME")
    return f"[{mark}] {notice.title} ({place})", "\n".join(line for line in lines if line)


def plain(text: str, most: int) -> str:
    """Return text that every file and channel takes: printable, in one line, of bounded length."""
    line = "".join(mark if mark.isprintable() else " " for mark in str(text)[: 4 * most]).strip()
    return line if len(line) <= most else f"{line[: most - 3]}..."


def _digest(code: str, salt: str) -> str:
    """Return what is kept of a code; slow on purpose (scrypt, RFC 7914), so that the file does not give it away."""
    bare = "".join(mark for mark in code.upper() if mark not in "- ")[:64]
    return hashlib.scrypt(bare.encode(errors="replace"), salt=salt.encode(), n=1 << 14, r=8, p=1, dklen=32).hex()


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _clock(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
