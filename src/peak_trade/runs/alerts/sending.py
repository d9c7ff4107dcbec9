"""Sending alerts: whoever holds the sender's lock sends what is due; each channel on its own, each message in its own process.

Invariant: a try is in the file before the message goes out, its outcome after; a sender that dies leaves a try without an end,
which is tried again. So a message can come twice, and is never lost while there are tries left.
Invariant: a channel that hangs costs its own time and nobody else's.
"""

import contextlib
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from peak_trade.compose import Parts
from peak_trade.runs.alerts.file import AlertFile
from peak_trade.safety.alerts import (
    RECOVERY,
    Notice,
    Routing,
    Severity,
    deliveries_due,
    message,
    messages_due,
    next_due,
    outcome,
    tried,
)
from peak_trade.settings import Alerts, Settings

#: How apprise calls what we tell, by severity.
_MARKS = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "failure"}
#: A process that sends needs so long, besides the time of the try itself, to start on a busy machine.
START_S = 10.0
#: How long one that begins to send waits for another that is about to end, or looks whether there is one.
LOCK_WAIT_S = 1.0
#: How often a sender that waits looks for new records, seconds.
LOOK_S = 0.5


class Posted(NamedTuple):
    """One try: which notice on which channel, and why it was not taken; empty where it was."""

    id: str
    channel: str
    why: str


def routing_of(section: Alerts) -> Routing:
    """Return the rules that the configuration sets."""
    return Routing(
        channels=tuple(section.channels),
        routes={severity: section.route(severity.value) for severity in Severity},
        escalation=section.escalation,
        escalate=timedelta(minutes=section.escalate_minutes),
        throttle=timedelta(seconds=section.throttle_s),
        tries=section.tries,
        timeout=timedelta(seconds=section.timeout_s + START_S),
    )


def post(settings: Settings, channel: str, notice: Notice, code: str = "") -> str:
    """Send a notice on a channel; return why it was not taken, empty where it was. Takes at most the time of a try.

    The URL goes to the other process through a pipe: neither its arguments nor its environment have it.
    """
    section = settings.file.alerts
    variable = section.channels.get(channel)
    if variable is None:
        return "no such channel is configured"
    if not settings.has_secret(variable):
        return f"{variable} is not set"
    title, body = message(notice, settings.file.environment.name, code)
    mark = "success" if notice.what == RECOVERY else _MARKS[notice.severity]
    given = {"url": settings.secret(variable).reveal(), "title": title, "body": body, "mark": mark}
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "peak_trade.runs.alerts.post"],
            input=json.dumps(given | {"timeout_s": section.timeout_s}),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=settings.environment(),
            text=True,
            timeout=section.timeout_s + START_S,
            check=False,
        )
        words: object = json.loads(ended.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        return f"no answer within {section.timeout_s:g} s"
    except (OSError, ValueError, IndexError):
        return "the process that sends could not do its work"
    return words if isinstance(words, str) else "the process that sends could not do its work"


def send_due(parts: Parts, file: AlertFile) -> list[Posted]:
    """Send what is due, once; return every try. The caller holds the sender's lock, or has nobody to share with.

    A channel that does not take a notice gets no other one in this round, and rests afterwards.
    """
    routing, clock = routing_of(parts.settings.file.alerts), parts.clock
    with file.held() as book:
        file.append(*messages_due(book, clock.now(), routing, parts.ids.next_run))
        waiting: dict[str, list[Notice]] = {}
        for notice, channel in deliveries_due(file.book(), clock.now(), routing):
            waiting.setdefault(channel, []).append(notice)
    if not waiting:
        return []

    def serve(channel: str) -> list[Posted]:
        done: list[Posted] = []
        for notice in waiting[channel]:
            done.append(Posted(notice.id, channel, post_once(parts, file, notice, channel)))
            if done[-1].why:
                break
        return done

    with ThreadPoolExecutor(len(waiting), thread_name_prefix="alerts") as threads:
        return [posted for done in threads.map(serve, waiting) for posted in done]


def post_once(parts: Parts, file: AlertFile, notice: Notice, channel: str, code: str = "") -> str:
    """Try a delivery, and write that down before and after; return why it was not taken, empty where it was."""
    with file.held():
        file.append(tried(notice, channel, parts.clock.now()))
    why = post(parts.settings, channel, notice, code)
    with file.held():
        file.append(outcome(notice, channel, why, parts.clock.now()))
    return why


@contextlib.contextmanager
def sole_sender(state: Path, wait_s: float = LOCK_WAIT_S) -> Iterator[bool]:
    """Be the one that sends while the block runs; False where another is."""
    import filelock

    lock = filelock.FileLock(state / "alerts.sender.lock", timeout=wait_s, thread_local=False)
    try:
        state.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        yield False
        return
    except OSError:
        # No lock is to be had, as on a disk that is full: a message that comes twice is better than none.
        yield True
        return
    try:
        yield True
    finally:
        lock.release()


def send_all(parts: Parts, *, stay: bool = False) -> list[Posted]:
    """Send what is due now; with *stay* also what will be, until nothing is waited for any more. Return the last try of each.

    Where another process is at it, it is left to that one.
    """
    file = AlertFile(parts.state)
    done: dict[tuple[str, str], Posted] = {}
    while True:
        with sole_sender(parts.state) as alone:
            if not alone:
                return list(done.values())
            while True:
                tries = send_due(parts, file)
                done |= {(posted.id, posted.channel): posted for posted in tries}
                if not tries and (not stay or not _wait(parts, file) or _reconfigured(parts.settings)):
                    break
        if _reconfigured(parts.settings):
            wake_sender(parts, [])
            return list(done.values())
        # What was written while the lock was still ours is ours to send: who wrote it saw that somebody does.
        due = next_due(file.book(), parts.clock.now(), routing_of(parts.settings.file.alerts))
        if due is None or not file.path.exists() or (due > parts.clock.now() and not stay):
            return list(done.values())


def _wait(parts: Parts, file: AlertFile) -> bool:
    """Wait until something is due or written; False where nothing ever will be due."""
    size, now = file.size(), parts.clock.now()
    due = next_due(file.book(), now, routing_of(parts.settings.file.alerts))
    if due is None or size < 0:
        return False
    while now < due and file.size() == size and not _reconfigured(parts.settings):
        time.sleep(min(LOOK_S, (due - now).total_seconds()))
        now = parts.clock.now()
    return True


def _reconfigured(settings: Settings) -> bool:
    """Tell whether the configuration is another one by now: a sender that stays is followed by one that knows it."""
    try:
        return hashlib.sha256(settings.path.read_bytes()).hexdigest() != settings.sha256
    except OSError:
        return False


def wake_sender(parts: Parts, known: "list[subprocess.Popen[bytes]]") -> bool:
    """Start a process that sends and goes on until nothing is waited for, unless one is at it; return whether one is.

    Where the last one that was started is about to begin, or to end, nobody knows that yet: look again.

    It outlives this one: what is in the file is sent also where this process is killed.

    Args:
        known: processes started before; those that have ended are taken out.
    """
    known[:] = [process for process in known if process.poll() is None]
    with sole_sender(parts.state, wait_s=0.0) as free:
        if not free:
            return True
    if known:
        return False
    settings = parts.settings
    command = [sys.executable, "-P", "-m", "peak_trade", "alert", "send", "--stay", "--config", str(settings.path)]
    with contextlib.suppress(OSError):
        known.append(
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=settings.environment(*settings.file.alerts.channels.values()),
                start_new_session=True,
            )
        )
    return False
