"""Telling people: an alert is put into a queue, written down by a thread, and sent by a process of its own.

    from peak_trade.runs.alerts import alerts
    alerts.tell(parts, Alert("data_gap.BTC/EUR", Severity.WARNING, "No bar for 5 minutes"))
    alerts.recovered(parts, "data_gap.BTC/EUR")

Invariant: handing over neither blocks nor raises, whatever disk and channels do; nothing here is in the way of an order.
Invariant: an alert is on disk before it is sent. Where the disk refuses, it is sent all the same, and written once it takes it.
"""

import atexit
import contextlib
import queue
import subprocess
import threading
from pathlib import Path
from typing import Final, NamedTuple

from peak_trade.compose import Parts
from peak_trade.model.errors import InputError, NotFound, StorageError
from peak_trade.runs.alerts.file import AlertFile
from peak_trade.runs.alerts.sending import routing_of, send_due, wake_sender
from peak_trade.runs.record import Json
from peak_trade.safety.alerts import (
    AGAIN,
    RAISED,
    RECOVERY,
    TEST,
    Alert,
    AlertBook,
    Delivery,
    Entry,
    Notice,
    Severity,
    acknowledged,
    ended,
    gone_on_with,
    messages_due,
    next_due,
    raised,
    try_at,
)

#: So many alerts may wait to be written; what comes beyond, while the disk hangs, is counted.
WAITING_MAX = 10_000
#: Repeats of what was just told are counted, and written so often, seconds.
COUNTED_EVERY_S = 5.0
#: How often the disk is tried again that refused, seconds.
AGAIN_EVERY_S = 5.0
#: How seldom it is looked whether a sender that was started is at work, seconds; at first after one.
LOOK_MOST_S = 60.0
#: How long a process that ends waits until what it told is written, seconds.
FLUSH_S = 5.0
#: The alert that alerts were dropped.
DROPPED_KEY: Final = "alerts_dropped"


class _Over(NamedTuple):
    """A condition that ended."""

    key: str


class _Flush(NamedTuple):
    """Somebody waits until everything before this is written."""

    written: threading.Event


_Item = Alert | _Over | _Flush


class _Outbox:
    """What waits to be written, and the thread that does it; one for each state folder of a process."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._file = AlertFile(parts.state)
        self._queue: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._again: dict[str, Entry] = {}
        self._counted_s = 0.0
        self._look_s = 0.0
        self._senders: list[subprocess.Popen[bytes]] = []
        self._dropped = 0
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def put(self, item: _Item) -> None:
        if self._queue.qsize() >= WAITING_MAX and not isinstance(item, _Flush):
            self._dropped += 1
            return
        self._queue.put(item)
        if self._thread is None or not self._thread.is_alive():
            self._start()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None or not self._thread.is_alive():  # nobody else did, and no fork left it behind
                thread = threading.Thread(target=self._work, name="alerts", daemon=True)
                thread.start()
                self._thread = thread

    def flush(self, wait_s: float) -> bool:
        mark = _Flush(threading.Event())
        self.put(mark)
        return mark.written.wait(wait_s)

    def _work(self) -> None:
        while True:
            items = self._next()
            # Whatever is wrong with one lot, the next is to be written.
            with contextlib.suppress(Exception):
                ends = [item for item in items if isinstance(item, _Flush)]
                self._write([item for item in items if not isinstance(item, _Flush)], now_counted=bool(ends) or not items)
            for item in items:
                if isinstance(item, _Flush):
                    item.written.set()

    def _next(self) -> list[_Item]:
        """Return everything that waits; nothing where it is time to write what was left over, or to look for a sender."""
        waits = [COUNTED_EVERY_S if self._again else 0.0, AGAIN_EVERY_S if self._file.trouble else 0.0, self._look_s]
        wait_s = min((wait for wait in waits if wait), default=None)
        items: list[_Item] = []
        with contextlib.suppress(queue.Empty):
            items.append(self._queue.get(timeout=wait_s))
            while True:
                items.append(self._queue.get_nowait())
        return items

    def _write(self, items: list[Alert | _Over], *, now_counted: bool) -> None:
        """Write down what came, and see that somebody sends it."""
        if self._dropped:
            words = f"{self._dropped} alerts could not even wait to be written"
            self._dropped = 0
            items = [*items, Alert(DROPPED_KEY, Severity.CRITICAL, words)]
        file, clock = self._file, self._parts.clock
        with file.held():
            for item in items:
                with contextlib.suppress(Exception):
                    self._take(item)
            if now_counted or clock.elapsed_s() - self._counted_s >= COUNTED_EVERY_S:
                self._write_counted()
            routing = routing_of(self._parts.settings.file.alerts)
            on_disk = file.append(*messages_due(file.book(), clock.now(), routing, self._parts.ids.next_run))
            due = next_due(file.book(), clock.now(), routing)
        if not on_disk:
            # Nobody else can see it. Until the disk takes it, this thread sends it.
            send_due(self._parts, file)
            return
        if due is None or not routing.channels or wake_sender(self._parts, self._senders):
            self._look_s = 0.0
        else:
            self._look_s = 1.0 if items else min(max(1.0, 2 * self._look_s), LOOK_MOST_S)

    def _take(self, item: Alert | _Over) -> None:
        """Write down one thing that came, or count it."""
        parts, file = self._parts, self._file
        now = parts.clock.now()
        if isinstance(item, _Over):
            self._write_counted()
            entry = ended(file.book(), item.key, now)
        else:
            routing = routing_of(parts.settings.file.alerts)
            entry = raised(file.book(), item, now, routing, parts.ids.next_run)
            if entry["kind"] == AGAIN:
                known = self._again.setdefault(entry["key"], entry | {"count": 0})
                known["count"] += 1
                return
            if self._again:
                self._write_counted()
                entry = raised(file.book(), item, now, routing, parts.ids.next_run)
        if entry is not None:
            file.append(entry)

    def _write_counted(self) -> None:
        self._counted_s = self._parts.clock.elapsed_s()
        if self._again:
            self._file.append(*self._again.values())
            self._again.clear()


_OUTBOXES: dict[Path, _Outbox] = {}


def tell(parts: Parts, alert: Alert) -> None:
    """Hand an alert over; it is written and sent elsewhere. Neither blocks nor raises."""
    _put(parts, alert)


def recovered(parts: Parts, key: str) -> None:
    """Say that what alerts of this key told is over; whoever was told of it is told so. Neither blocks nor raises."""
    _put(parts, _Over(key))


def flush(parts: Parts, wait_s: float = FLUSH_S) -> bool:
    """Wait until what was handed over is written; False where that took longer."""
    outbox = _OUTBOXES.get(parts.state)
    return outbox is None or outbox.flush(wait_s)


def _put(parts: Parts, item: _Item) -> None:
    # No state folder, no thread to be had: whoever tells has worse to do than to hear of that.
    with contextlib.suppress(Exception):
        outbox = _OUTBOXES.get(parts.state)
        if outbox is None:
            outbox = _OUTBOXES.setdefault(parts.state, _Outbox(parts))
        outbox.put(item)


@atexit.register
def _flush_all() -> None:
    """Let a process that ends write what it told."""
    with contextlib.suppress(Exception, KeyboardInterrupt):
        for outbox in list(_OUTBOXES.values()):
            outbox.flush(FLUSH_S)


def acknowledge(parts: Parts, name: str, by: str) -> Notice:
    """Write down that somebody has taken note of an alert: it goes to no further channel.

    Raises:
        InputError: there is none of that id, or it is a test or tells of an end.
        StorageError: the disk refused.
    """
    file = AlertFile(parts.state)
    with file.held(strict=True) as book:
        notice = notice_named(book, name)
        if notice.what == TEST:
            raise InputError(f"expected an alert, found the test {name}; confirm it: peak-trade alert confirm {name} --by NAME")
        if notice.what == RECOVERY:
            raise InputError(f"expected an alert to acknowledge, found the message that one is over: {name}; nothing is to do")
        must_write(file, acknowledged(notice, by, parts.clock.now()))
        return file.book().notices[name]


def notice_named(book: AlertBook, name: str) -> Notice:
    """Return a notice by its id.

    Raises:
        NotFound: there is none.
    """
    if name not in book.notices:
        raise NotFound(f"expected the id of an alert, found {name!r}; peak-trade alert list shows them")
    return book.notices[name]


def must_write(file: AlertFile, *entries: Entry) -> None:
    """Write records, where nothing may be done without them.

    Raises:
        StorageError: the disk refused.
    """
    if not file.append(*entries):
        raise StorageError(file.trouble)


def listing(parts: Parts, limit: int) -> Json:
    """Return what was told, the newest first: to whom, what failed, and what still waits.

    Raises:
        StorageError: the file can't be read.
    """
    book, now = AlertFile(parts.state).book(strict=True), parts.clock.now()
    routing = routing_of(parts.settings.file.alerts)
    newest = sorted(book.notices.values(), key=lambda notice: (notice.at, notice.id), reverse=True)
    states = {
        notice.id: {
            channel: _delivery_facts(
                delivery, None if (at := try_at(notice, delivery, now, routing)) is None else at.isoformat()
            )
            for channel, delivery in notice.deliveries.items()
        }
        for notice in newest[:limit]
    }
    return {
        "alerts": [
            {
                "id": notice.id,
                "at": notice.at.isoformat(),
                "what": notice.what,
                "key": notice.key,
                "severity": notice.severity.value,
                "title": notice.title,
                "text": notice.text,
                "goes_on": notice.what == RAISED and gone_on_with(book, notice),
                "acknowledged_by": notice.acknowledged_by or None,
                "confirmed_by": notice.confirmed_by or None,
                "channels": states[notice.id],
            }
            for notice in newest[:limit]
        ],
        "total": len(newest),
        "unread_lines": book.unread,
    }


def _delivery_facts(delivery: Delivery, next_try: str | None) -> Json:
    """Return where a delivery stands: sent, waiting (for its next try), under way, or failed for good."""
    sent = delivery.sent_at is not None
    state = "sent" if sent else "under way" if delivery.under_way else "waiting" if next_try is not None else "failed"
    return {"state": state, "tries": delivery.tries, "why": delivery.why or None, "next_try": next_try}
