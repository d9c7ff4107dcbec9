"""A connection to Kraken's WebSocket v2 that is kept open: dialled and subscribed anew where it fails, never believed blindly.

Kraken keeps nothing of a connection that ended. What is heard is judged by silence of the whole and of each topic: heartbeats
say that the line is open, not that a channel goes on.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, unique
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec

from peak_trade.model.clock import Clock
from peak_trade.model.errors import PeakTradeError
from peak_trade.venue.kraken.gateway import Sleep, Unavailable
from peak_trade.venue.kraken.reading import Unreadable, finite

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

Decoded = TypeVar("Decoded")
PUBLIC_STREAM, PRIVATE_STREAM = "wss://ws.kraken.com/v2", "wss://ws-auth.kraken.com/v2"
#: Kraken shuts out who dials about 150 times in ten minutes.
DIALS_MAX, DIALS_S = 120, 600.0
#: Longest message, bytes.
MESSAGE_MAX = 8 * 1024 * 1024
INVALID_SESSION: Final = "ESession:Invalid session"
#: The library writes every message to its log, tokens too; this one keeps nothing.
_SILENT = logging.Logger("peak_trade.silent", logging.CRITICAL + 1)
_encode = msgspec.json.Encoder().encode


@unique
class LineState(Enum):
    """What became of a connection."""

    OPEN = "every topic is subscribed"
    LOST = "the connection is gone"
    STALE = "a topic has said nothing for too long"
    BROKEN = "a book is wrong"
    GAP = "messages are missing"


class LineNews(NamedTuple):
    """Something happened to the connection; *topic* is the topic's text, empty for all."""

    state: LineState
    topic: str
    words: str


class SubscriptionRefused(PeakTradeError):
    """Kraken will not send what was asked for."""


class LineDead(Exception):
    """The connection is of no use any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTimes:
    """Seconds: of total silence until a line is dead, to the answer of a subscription, and between two looks at the clock.

    Attributes:
        pause_s, pause_max_s: first and longest pause before dialling anew.
    """

    silence_s: float = 5.0
    ack_s: float = 5.0
    look_s: float = 0.5
    pause_s: float = 1.0
    pause_max_s: float = 60.0
    open_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamParts:
    """What a stream works with; *line* is told what becomes of the connection."""

    clock: Clock
    chance: random.Random
    line: Callable[[LineNews], None]
    sleep: Sleep = asyncio.sleep
    times: StreamTimes = StreamTimes()


class Topic(NamedTuple):
    """Something to subscribe to; *stale_s* without a message means that it stands still, 0: it may."""

    channel: str
    symbol: str = ""
    params: tuple[tuple[str, Any], ...] = ()
    stale_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.channel} {self.symbol}".strip()


class StreamMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The outside of every message."""

    channel: str = ""
    type: str = ""
    method: str = ""
    success: bool = True
    error: str = ""
    req_id: int | None = None
    data: msgspec.Raw = msgspec.Raw(b"")


_message = msgspec.json.Decoder(StreamMessage).decode


def decoded(content: "msgspec.Raw | str", shape: type[Decoded]) -> Decoded:
    """Read a part of a message.

    Raises:
        Unreadable: it is not of that shape.
    """
    try:
        found = msgspec.json.decode(content, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ArithmeticError) as error:
        raise Unreadable(f"expected a message as Kraken documents it, found {error}") from error
    if not finite(found):
        raise Unreadable("expected numbers in a message of Kraken's, found one that is none")
    return found


class Dials:
    """Counts attempts to connect, so that Kraken does not shut us out."""

    def __init__(self) -> None:
        self._at: deque[float] = deque()

    def wait_s(self, now_s: float) -> float:
        """Return in how many seconds one may dial again."""
        while self._at and self._at[0] <= now_s - DIALS_S:
            self._at.popleft()
        return self._at[0] + DIALS_S - now_s if len(self._at) >= DIALS_MAX else 0.0

    def count(self, now_s: float) -> None:
        """Count an attempt."""
        self._at.append(now_s)


class _Followed:
    """A topic on the present connection."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.request = 0
        self.acknowledged = False
        self.asked_s = self.heard_s = 0.0
        self.revived = False


class KrakenStream:
    """One connection and what it follows. Kinds of it say what messages mean."""

    def __init__(self, url: str, topics: Iterable[Topic], parts: StreamParts) -> None:
        self._url, self._parts, self._times = url, parts, parts.times
        self._followed = [_Followed(topic) for topic in topics]
        self._dials = Dials()
        self._socket: ClientConnection | None = None
        self._heard_s = 0.0
        self._requests = self._failures = 0
        self._opened = False

    # ---- for the kinds -------------------------------------------------------------------------------------------------

    async def _prepare(self) -> dict[str, Any]:
        """Return what every subscription of a new connection says."""
        return {}

    async def _take(self, message: StreamMessage, whole: bytes) -> Topic | None:
        """Take a message of a channel, read and as it came; return the topic it was of."""
        raise NotImplementedError

    async def _began(self) -> None:
        """Do what a connection with all its subscriptions calls for."""

    async def _refused(self, topic: Topic, words: str) -> None:
        """Do what a refused subscription calls for.

        Raises:
            SubscriptionRefused: for good.
            LineDead: for now.
        """
        if self._failures < 5 and words.startswith("E") and not words.startswith("EGeneral:Invalid arguments"):
            raise LineDead(f"{topic} was refused: {words}")
        raise SubscriptionRefused(f"expected Kraken to send {topic}, found that it refused: {words}; correct what is asked for")

    # ---- running -------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow the topics until cancelled.

        Raises:
            SubscriptionRefused: Kraken will not send a topic.
        """
        from websockets.exceptions import WebSocketException

        while True:
            await self._pause()
            self._opened = False
            try:
                await self._follow()
            except (LineDead, Unavailable, Unreadable, OSError, TimeoutError, WebSocketException) as error:
                self._failures = 1 if self._opened else self._failures + 1
                self._parts.line(LineNews(LineState.LOST, "", str(error) or type(error).__name__))

    async def _pause(self) -> None:
        """Wait before dialling: longer after each failure, never the same, and never so often that Kraken minds."""
        times, chance = self._times, self._parts.chance
        if self._failures:
            longest = min(times.pause_s * 2.0 ** (min(self._failures, 16) - 1), times.pause_max_s)
            await self._parts.sleep(longest * chance.uniform(0.5, 1.0))
        if (wait := self._dials.wait_s(self._now())) > 0:
            await self._parts.sleep(wait)
        self._dials.count(self._now())

    async def _follow(self) -> None:
        from websockets.asyncio.client import connect

        common = await self._prepare()
        async with connect(
            self._url,
            open_timeout=self._times.open_s,
            close_timeout=0.5,
            ping_interval=None,
            max_size=MESSAGE_MAX,
            proxy=None,
            logger=_SILENT,
            user_agent_header="peak-trade",
        ) as socket:
            self._socket, self._heard_s = socket, self._now()
            for followed in self._followed:
                followed.revived = False
                await self._subscribe(followed, common)
            while True:
                await self._hear(common)
                await self._look(common)

    async def _hear(self, common: dict[str, Any]) -> None:
        """Take the next message, if there is one soon."""
        if self._socket is None:
            raise LineDead("there is no connection")
        try:
            async with asyncio.timeout(self._times.look_s):
                text = await self._socket.recv()
        except TimeoutError:
            return
        self._heard_s = self._now()
        try:
            message = _message(text)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Unreadable("expected JSON of Kraken's on the stream, found something else") from error
        if message.method:
            await self._answered(message, common)
        elif message.channel and message.channel != "heartbeat":
            topic = await self._take(message, text.encode() if isinstance(text, str) else text)
            for followed in self._followed:
                if followed.topic == topic:
                    followed.heard_s, followed.revived = self._heard_s, False

    async def _answered(self, message: StreamMessage, common: dict[str, Any]) -> None:
        followed = next((one for one in self._followed if one.request == message.req_id and not one.acknowledged), None)
        if followed is None or message.method != "subscribe":
            return
        if not message.success:
            if message.error == INVALID_SESSION and await self._renewed(common):
                await self._subscribe(followed, common)
                return
            await self._refused(followed.topic, message.error)
        followed.acknowledged, followed.heard_s = True, self._heard_s
        if not self._opened and self._subscribed:
            self._opened, self._failures = True, 0
            self._parts.line(LineNews(LineState.OPEN, "", ""))
            await self._began()

    async def _renewed(self, _common: dict[str, Any]) -> bool:
        """Get a new token where there is one to get; return whether there was."""
        return False

    async def _look(self, common: dict[str, Any]) -> None:
        """End a line that is silent; subscribe anew to a topic that stands still, and end the line where that did not help."""
        now, times = self._now(), self._times
        if now - self._heard_s > times.silence_s:
            raise LineDead(f"nothing was heard for {times.silence_s:g} s")
        for followed in self._followed:
            if not followed.acknowledged:
                if now - followed.asked_s > times.ack_s:
                    raise LineDead(f"{followed.topic} was not answered for {times.ack_s:g} s")
            elif followed.topic.stale_s and now - followed.heard_s > followed.topic.stale_s:
                if followed.revived:
                    raise LineDead(f"{followed.topic} stands still")
                words = f"nothing for {followed.topic.stale_s:g} s"
                self._parts.line(LineNews(LineState.STALE, str(followed.topic), words))
                await self._again(followed.topic, common)
                followed.revived = True

    # ---- subscribing ---------------------------------------------------------------------------------------------------

    async def _again(self, topic: Topic, common: dict[str, Any]) -> None:
        """Subscribe to one topic anew; the others go on."""
        for followed in self._followed:
            if followed.topic == topic:
                await self._request("unsubscribe", followed, common)
                await self._subscribe(followed, common)

    async def _subscribe(self, followed: _Followed, common: dict[str, Any]) -> None:
        followed.acknowledged = False
        followed.asked_s = followed.heard_s = self._now()
        followed.request = await self._request("subscribe", followed, common)

    async def _request(self, method: str, followed: _Followed, common: dict[str, Any]) -> int:
        self._requests += 1
        topic = followed.topic
        params = {"channel": topic.channel, **dict(topic.params), **common}
        if topic.symbol:
            params["symbol"] = [topic.symbol]
        if self._socket is None:
            raise LineDead("there is no connection")
        await self._socket.send(_encode({"method": method, "params": params, "req_id": self._requests}).decode())
        return self._requests

    def _answers(self, topic: Topic) -> bool:
        """Tell whether the present subscription to a topic was answered."""
        return any(followed.acknowledged for followed in self._followed if followed.topic == topic)

    @property
    def _subscribed(self) -> bool:
        """Whether every topic was answered."""
        return all(followed.acknowledged for followed in self._followed)

    def _now(self) -> float:
        return self._parts.clock.elapsed_s()
