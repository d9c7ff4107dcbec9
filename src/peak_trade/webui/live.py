"""News for open pages: one look a second at what can change, told to every reader by server-sent events."""

import asyncio
import contextlib
import json
import signal
import threading
from collections.abc import AsyncIterator, Callable
from types import FrameType
from typing import Any, NamedTuple

from peak_trade.journal.sessions import SessionFilter
from peak_trade.model.clock import Clock
from peak_trade.model.errors import PeakTradeError
from peak_trade.webui.desk import Desk

#: Seconds between two looks.
LOOK_S = 1.0
#: Seconds after which a stream that had nothing to tell says that it is alive, if something was seen within them.
ALIVE_S = 10.0
#: Readers at one time; a page that gets no stream shows how old it is.
READERS_MAX = 200


class News(NamedTuple):
    """What was seen at one look.

    Attributes:
        number: counts the changes since the dashboard began.
        changed: sessions that may look different now; newest: the id of the newest one.
        failure: why nothing could be seen; empty where all is well.
    """

    number: int
    changed: tuple[str, ...]
    newest: str
    running: tuple[str, ...]
    failure: str


class Pulse:
    """Looks while somebody reads, and wakes the readers when something changed."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._before: dict[str, Any] = {}
        self.news = News(0, (), "", (), "")
        self.readers = 0
        self._seen_s = desk.clock.elapsed_s()
        self._changed = asyncio.Condition()
        self._stopped = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """End every stream."""
        self._stopped.set()

    async def stream(self) -> AsyncIterator[str]:
        """Yield server-sent events until the reader leaves or the dashboard ends."""
        if self.readers >= READERS_MAX:
            return
        self.readers += 1
        try:
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._look_on())
            told = self.news.number
            yield "retry: 2000\n\n"
            while not self._stopped.is_set():
                await self._wait_for(told)
                if self.news.number != told:
                    told = self.news.number
                    body = json.dumps(self.news._asdict(), separators=(",", ":"))
                    yield f"event: news\nid: {told}\ndata: {body}\n\n"
                elif self._desk.clock.elapsed_s() - self._seen_s < ALIVE_S:
                    yield "event: alive\ndata: {}\n\n"
                else:
                    # Kept open, but a page that hears nothing says that it is stale: nobody knows whether it is true.
                    yield ": nothing could be seen\n\n"
        finally:
            self.readers -= 1

    async def _wait_for(self, told: int) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ALIVE_S), self._changed:
                await self._changed.wait_for(lambda: self.news.number != told or self._stopped.is_set())

    async def _look_on(self) -> None:
        while self.readers and not self._stopped.is_set():
            await self._look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), LOOK_S)
        async with self._changed:
            self._changed.notify_all()

    async def _look(self) -> None:
        seen = await asyncio.to_thread(self._seen)
        if "failure" not in seen:
            self._seen_s = self._desk.clock.elapsed_s()
        if seen == self._before:
            return
        before, self._before = self._before, seen
        running, were = seen.get("running", {}), before.get("running", {})
        changed = [name for name in {**were, **running} if running.get(name) != were.get(name)]
        async with self._changed:
            self.news = News(
                self.news.number + 1, tuple(changed), seen.get("newest") or "", tuple(running), seen.get("failure", "")
            )
            self._changed.notify_all()

    def _seen(self) -> dict[str, Any]:
        desk = self._desk
        try:
            census = desk.sessions.census()
            started = desk.sessions.find(SessionFilter(status="started"), 100) if census.started else []
            beats = dict(census.started)
            return {
                "newest": census.newest,
                "unhandled": census.unhandled,
                "killed": desk.tripped() is not None,
                "gates": desk.gates.seen(),
                "safety": desk.safety.seen(),
                "running": {str(one.session_id): (beats.get(one.session_id), desk.growth(one)) for one in started},
            }
        except PeakTradeError as error:
            return {"failure": str(error)}


class Remembered:
    """A value that is worked out again when what it depends on changed, or when it is too old."""

    def __init__(self, clock: Clock, age_s: float) -> None:
        self._clock, self._age_s = clock, age_s
        self._lock = threading.Lock()
        self._kept: dict[object, tuple[object, float, Any]] = {}

    def get(self, name: object, depends_on: object, work_out: Callable[[], Any]) -> Any:
        """Return the value under a name."""
        now = self._clock.elapsed_s()
        with self._lock:
            kept = self._kept.get(name)
        if kept is not None and kept[0] == depends_on and now - kept[1] < self._age_s:
            return kept[2]
        value = work_out()
        with self._lock:
            if len(self._kept) >= 64:
                self._kept.pop(next(iter(self._kept)))
            self._kept[name] = (depends_on, now, value)
        return value


def end_with_process(stop: Callable[[], None]) -> None:
    """Have *stop* called when the process is told to end: a server waits for open streams before it does anything else.

    Only in the main thread, where signals arrive; what handled them before goes on to do so.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        before = signal.getsignal(number)

        def handle(received: int, frame: FrameType | None, before: Any = before) -> None:
            loop.call_soon_threadsafe(stop)
            if callable(before):
                before(received, frame)

        with contextlib.suppress(ValueError):
            signal.signal(number, handle)
