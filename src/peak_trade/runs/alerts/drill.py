"""The drill of alerts: a test message to every channel, and a person who got it says so with the code in it.

Invariant: the code is in the messages alone; what is kept of it is a slow digest.
Invariant: only a confirmation makes the drill passed. One that no channel took has failed; one that nobody confirms in time, or
that was guessed at, is no evidence at all.
"""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import NamedTuple

from peak_trade.compose import Parts
from peak_trade.governance.criteria import EvidenceKind
from peak_trade.governance.documents import Fact
from peak_trade.model.clock import RunId
from peak_trade.model.errors import CheckFailed, ConfigError, InputError
from peak_trade.runs.acts import tell_evidence
from peak_trade.runs.alerts.alerts import must_write, notice_named
from peak_trade.runs.alerts.file import AlertFile
from peak_trade.runs.alerts.sending import post_once
from peak_trade.safety.alerts import (
    CONFIRM_WITHIN,
    TEST,
    WRONG_MAX,
    Notice,
    channel_of,
    code_of_bits,
    confirmed,
    drill_entry,
    wrong_code,
)

#: How the drill is called in governance/policy.toml.
DRILL = "test_alert"


class DrillSent(NamedTuple):
    """A test alert that was sent: its id, and for each channel why it was not taken, empty where it was.

    `evidence` is the id of a drill that failed at once because no channel took it.
    """

    id: str
    channels: dict[str, str]
    evidence: RunId | None


class Confirmation(NamedTuple):
    """A test alert that somebody confirmed: through which channel, after how many seconds, and the evidence of it."""

    id: str
    by: str
    channel: str
    seconds: str
    evidence: RunId


def send_test(parts: Parts, by: str, why: str) -> DrillSent:
    """Send a test alert to every channel, each with a code of its own; a test is tried once.

    Raises:
        ConfigError: there is no channel.
        StorageError: the disk refused, and nothing was sent.
    """
    names = tuple(parts.settings.file.alerts.channels)
    if not names:
        raise ConfigError(
            f"expected channels under [alerts] in {parts.settings.path}, found none; add one such as "
            'channels = { ops = "PEAK_TRADE_ALERT_OPS" } and set that variable to its apprise URL'
        )
    random = parts.ids.randomness
    codes = {name: code_of_bits(random.getrandbits(60)) for name in names}
    file, name = AlertFile(parts.state), parts.ids.next_run()
    with file.held():
        must_write(file, drill_entry(name, parts.clock.now(), by, why, f"{random.getrandbits(128):032x}", codes))
        notice = file.book().notices[name]

    def send(channel: str) -> str:
        return post_once(parts, file, notice, channel, codes[channel])

    with ThreadPoolExecutor(len(names)) as threads:
        outcomes = dict(zip(names, threads.map(send, names), strict=True))
    evidence = None
    if all(outcomes.values()):
        evidence = _tell(parts, file.book().notices[name], by, "", parts.clock.now())
    return DrillSent(name, outcomes, evidence)


def confirm(parts: Parts, name: str, by: str, code: str) -> Confirmation:
    """Take a person's word that the test alert came, proven by the code in it; write the evidence of a drill that passed.

    Raises:
        InputError: there is no such test, or it was confirmed before.
        CheckFailed: the code is wrong, or the test is void or too old.
        StorageError: the disk refused, or another act is at work.
    """
    file = AlertFile(parts.state)
    with file.held(strict=True) as book:
        now = parts.clock.now()
        notice = notice_named(book, name)
        _check_open(notice, now)
        channel = channel_of(notice, code)
        if channel is None:
            must_write(file, wrong_code(notice, by, now))
            left = WRONG_MAX - file.book().notices[name].wrong
            then = (
                f"{left} left before it is void" if left else "it is void now, send another: peak-trade alert test --why TEXT"
            )
            raise CheckFailed(f"expected the code in the message of test {name}, found another one; {then}")
    # The evidence comes first: where that fails the test is still to be confirmed.
    evidence = _tell(parts, notice, by, by, now)
    with file.held():
        must_write(file, confirmed(notice, by, channel, evidence, now))
    return Confirmation(name, by, channel, _seconds(notice, now), evidence)


def _check_open(notice: Notice, now: datetime) -> None:
    """Let pass a test that waits to be confirmed."""
    again = "send another: peak-trade alert test --why TEXT"
    if notice.what != TEST:
        raise InputError(
            f"expected a test alert, found the alert {notice.id}; peak-trade alert acknowledge {notice.id} --by NAME"
        )
    if notice.confirmed_by:
        raise InputError(f"expected a test that waits, found {notice.id} confirmed by {notice.confirmed_by} already; {again}")
    if notice.wrong >= WRONG_MAX:
        raise CheckFailed(f"expected a test that waits, found {notice.id} void after {notice.wrong} wrong codes; {again}")
    if not notice.at <= now <= notice.at + CONFIRM_WITHIN:
        raise CheckFailed(
            f"expected a test of the last {CONFIRM_WITHIN.total_seconds() / 3600:g} hours, found {notice.id} of "
            f"{notice.at:%Y-%m-%d %H:%M} UTC; {again}"
        )


def _tell(parts: Parts, notice: Notice, by: str, confirmed_by: str, now: datetime) -> RunId:
    facts: dict[str, Fact] = {
        "drill": DRILL,
        "passed": bool(confirmed_by),
        "channels": len(notice.deliveries),
        "sent": notice.sent,
        "confirmed_by": confirmed_by,
        "seconds": _seconds(notice, now),
    }
    return tell_evidence(parts, EvidenceKind.DRILL, facts, None, by)


def _seconds(notice: Notice, now: datetime) -> str:
    return f"{(now - notice.at).total_seconds():.1f}"
