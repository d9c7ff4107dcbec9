"""What open pages are told, and what is remembered between them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace as Fake
from typing import Any

import pytest
from tests.unit.webui.desks import SetClock

from peak_trade.journal.sessions import Census
from peak_trade.model.errors import StorageError
from peak_trade.webui import live
from peak_trade.webui.live import ALIVE_S, News, Pulse, Remembered

PATIENCE_S = 20.0


class Watched:
    """A desk of which tests say what there is to see."""

    def __init__(self) -> None:
        self.clock = SetClock()
        self.started: dict[str, str] = {}
        self.sizes: dict[str, int] = {}
        self.newest: str | None = None
        self.unhandled = 0
        self.failure = ""
        self.killed = False
        self.acts = 0
        self.gates, self.safety = Fake(seen=lambda: self.acts), Fake(seen=lambda: None)
        self.looks = 0
        self.sessions = Fake(census=self.census, find=lambda *_: [Fake(session_id=name) for name in self.started])

    def census(self) -> Census:
        """Return what there is, or fail as a registry does."""
        self.looks += 1
        if self.failure:
            raise StorageError(self.failure)
        return Census(self.newest, tuple(self.started.items()), self.unhandled)

    def tripped(self) -> object:
        """Tell whether the kill switch is on."""
        return Fake() if self.killed else None

    def growth(self, session: Any) -> int:
        """Return the size of a journal."""
        return self.sizes.get(session.session_id, 0)


class Reader:
    """A page that listens."""

    def __init__(self, pulse: Pulse) -> None:
        self.stream: AsyncIterator[str] = pulse.stream()

    async def hear(self) -> tuple[str, dict[str, Any]]:
        """Return the next event: its name and what it says; a comment is named so."""
        text = await asyncio.wait_for(anext(self.stream), PATIENCE_S)
        assert text.endswith("\n\n")
        if text.startswith(":"):
            return "comment", {}
        lines = dict(line.split(": ", 1) for line in text.strip().split("\n"))
        return lines.get("event", "retry"), json.loads(lines.get("data", "{}"))

    async def until(self, name: str) -> dict[str, Any]:
        """Return what the next event of a name says; only signs of life may come before it."""
        while True:
            heard, told = await self.hear()
            if heard == name:
                return told
            assert heard in ("alive", "retry", "comment"), (heard, told)

    async def leave(self) -> None:
        """Close the page."""
        await self.stream.aclose()  # type: ignore[attr-defined]


@pytest.fixture
def desk() -> Watched:
    return Watched()


@pytest.fixture
def told(desk, monkeypatch) -> Callable[[Callable[[Pulse], Awaitable[None]]], None]:
    """Run a test's own part beside the pulse of its desk, with hundredths of seconds for seconds."""
    monkeypatch.setattr(live, "LOOK_S", 0.01)
    monkeypatch.setattr(live, "ALIVE_S", 0.1)

    async def both(part: Callable[[Pulse], Awaitable[None]]) -> None:
        pulse = Pulse(desk)
        try:
            await asyncio.wait_for(part(pulse), 3 * PATIENCE_S)
        finally:
            pulse.stop()

    return lambda part: asyncio.run(both(part))


def test_the_first_look_is_news(desk, told):
    """A page that begins to listen is told what there is, and how soon to come back if the stream breaks."""
    desk.started, desk.newest, desk.unhandled = {"a": "then"}, "a", 2

    async def part(pulse: Pulse) -> None:
        reader = Reader(pulse)
        assert (await reader.hear())[0] == "retry"
        assert await reader.until("news") == News(1, ("a",), "a", ("a",), "")._asdict() | {"changed": ["a"], "running": ["a"]}

    told(part)


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (lambda desk: desk.started.update(b="now"), ["b"]),
        (lambda desk: desk.started.pop("a"), ["a"]),
        (lambda desk: desk.started.update(a="later"), ["a"]),
        (lambda desk: desk.sizes.update(a=99), ["a"]),
        (lambda desk: setattr(desk, "newest", "c"), []),
        (lambda desk: setattr(desk, "unhandled", 1), []),
        (lambda desk: setattr(desk, "killed", True), []),
        (lambda desk: setattr(desk, "acts", 1), []),
    ],
    ids=["begins", "ends", "beats", "writes", "came and went", "failed", "killed", "signed"],
)
def test_news_of_every_change(desk, told, change, changed):
    """Whatever can look different is told once, with the sessions that it concerns."""
    desk.started, desk.newest = {"a": "then"}, "a"

    async def part(pulse: Pulse) -> None:
        reader = Reader(pulse)
        await reader.until("news")
        change(desk)
        news = await reader.until("news")
        assert (news["number"], news["changed"]) == (2, changed)
        assert await reader.hear() == ("alive", {})

    told(part)


def test_no_news_without_a_change(desk, told):
    """While nothing changes a page hears that somebody looks, and nothing else."""

    async def part(pulse: Pulse) -> None:
        reader = Reader(pulse)
        await reader.until("news")
        looks = desk.looks
        assert [await reader.hear() for _ in range(3)] == [("alive", {})] * 3
        assert desk.looks > looks + 3
        assert pulse.news.number == 1

    told(part)


def test_a_failure_is_told_and_its_end_too(desk, told):
    """A registry that can't be read is news, with the reason; so is one that can be again."""

    async def part(pulse: Pulse) -> None:
        reader = Reader(pulse)
        await reader.until("news")
        desk.failure = "the disk is gone"
        assert (await reader.until("news"))["failure"] == "the disk is gone"
        desk.failure = ""
        assert (await reader.until("news"))["failure"] == ""

    told(part)


def test_nothing_seen_is_no_sign_of_life(desk, told):
    """While nothing can be seen for long a page hears nothing that would keep it from calling itself stale."""

    async def part(pulse: Pulse) -> None:
        reader = Reader(pulse)
        await reader.until("news")
        desk.failure = "locked"
        await reader.until("news")
        desk.clock.pass_s(live.ALIVE_S)
        assert [(await reader.hear())[0] for _ in range(3)] == ["comment"] * 3
        desk.failure = ""
        await reader.until("news")
        assert (await reader.hear())[0] == "alive"

    told(part)


def test_every_reader_hears_the_same(desk, told):
    """One look serves all; who comes later is told of what changes from then on."""

    async def part(pulse: Pulse) -> None:
        one, two = Reader(pulse), Reader(pulse)
        await one.until("news")
        await two.hear()
        desk.newest = "b"
        assert await one.until("news") == await two.until("news")
        assert pulse.readers == 2
        await one.leave()
        assert pulse.readers == 1
        await two.leave()
        assert pulse.readers == 0

    told(part)


def test_nobody_reads_nobody_looks(desk, told):
    """When the last page is closed nobody looks any more, until another one opens."""

    async def part(pulse: Pulse) -> None:
        reader = Reader(pulse)
        await reader.until("news")
        await reader.leave()
        await asyncio.wait_for(pulse._task, PATIENCE_S)
        looks = desk.looks
        desk.newest = "b"
        again = Reader(pulse)
        assert (await again.until("news"))["newest"] == "b"
        assert desk.looks > looks

    told(part)


def test_streams_end_when_told_to(desk, told):
    """A server that is to end need not wait for pages that are open."""

    async def part(pulse: Pulse) -> None:
        reader = Reader(pulse)
        await reader.until("news")
        pulse.stop()
        with pytest.raises(StopAsyncIteration):
            await reader.until("never")
        assert [text async for text in pulse.stream()] == ["retry: 2000\n\n"]

    told(part)


def test_too_many_readers(told, monkeypatch):
    """One more than there may be gets a stream that ends at once; when one has left there is a place."""
    monkeypatch.setattr(live, "READERS_MAX", 2)

    async def part(pulse: Pulse) -> None:
        readers = [Reader(pulse), Reader(pulse)]
        for reader in readers:
            await reader.hear()
        assert [text async for text in pulse.stream()] == []
        assert pulse.readers == 2
        await readers[0].leave()
        assert (await Reader(pulse).hear())[0] == "retry"

    told(part)


def test_a_sign_of_life_comes_before_a_page_is_stale():
    """The dashboard's script waits 25 seconds; two signs of life come within them."""
    assert 2 * ALIVE_S < 25


# ---- what is remembered ----------------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def remembered(clock) -> Remembered:
    return Remembered(clock, 30.0)


def count_up() -> Callable[[], int]:
    """Return something that is worked out anew each time it is."""
    numbers = iter(range(1_000))
    return lambda: next(numbers)


def test_remembered_until_it_is_too_old(remembered, clock):
    """A value is kept for less than its age and worked out anew exactly then."""
    work = count_up()

    assert remembered.get("a", None, work) == 0
    clock.pass_s(29.999)
    assert remembered.get("a", None, work) == 0
    clock.pass_s(0.001)
    assert remembered.get("a", None, work) == 1


def test_remembered_while_what_it_depends_on_stays(remembered):
    """A value is worked out anew when what it depends on is another, also when it is as before again."""
    work = count_up()

    found = [remembered.get("a", depends_on, work) for depends_on in ((1, "x"), (1, "x"), (2, "x"), (2, "x"), (1, "x"), None)]

    assert found == [0, 0, 1, 1, 2, 3]


def test_remembered_by_name(remembered):
    """Values of other names are other values; nothing remembered is also a value."""
    work = count_up()

    assert [remembered.get(name, None, work) for name in ("a", ("a", 1), "b", "a")] == [0, 1, 2, 0]
    assert remembered.get("none", None, lambda: None) is None
    assert remembered.get("none", None, work) is None


def test_the_oldest_is_forgotten(remembered):
    """No more than 64 values are kept; the one that came first goes first."""
    work = count_up()
    for name in range(64):
        remembered.get(name, None, work)
    assert remembered.get(0, None, work) == 0

    remembered.get("one more", None, work)

    assert remembered.get(63, None, work) == 63
    assert remembered.get(0, None, work) == 65


def test_what_fails_is_not_remembered(remembered):
    """A value that could not be worked out is tried again."""
    with pytest.raises(StorageError):
        remembered.get("a", None, lambda: (_ for _ in ()).throw(StorageError("locked")))

    assert remembered.get("a", None, lambda: 7) == 7
