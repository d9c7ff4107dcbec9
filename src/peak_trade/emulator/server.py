"""The emulator as a server: a thin shell of sockets around what is pure; one process, one event loop, one clock."""

import asyncio
import contextlib
import functools
import json
import logging
import socket as sockets
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from peak_trade.emulator.catalogue import page
from peak_trade.emulator.control import Control
from peak_trade.emulator.counters import NS
from peak_trade.emulator.faults import FaultPlace, FaultPlan, FaultTarget, Outcome
from peak_trade.emulator.orders import Rejection
from peak_trade.emulator.parameters import BODY_MAX, Parameters
from peak_trade.emulator.rest import Rest, RestCall
from peak_trade.emulator.signing import ApiKey
from peak_trade.emulator.stream import MESSAGE_MAX, QUEUE_MAX, Connection, Hub
from peak_trade.model.errors import StorageError

_LOG = logging.getLogger("uvicorn.error")
#: Seconds between two steps of the market.
STEP_S = 0.1
#: What private calls are answered while nothing can be stored.
UNAVAILABLE = {"error": ["EService:Unavailable"]}
#: The header that names the faults which struck, where that is asked for.
FAULT_HEADER = "X-Emu-Fault"
#: Attempts to connect that an address may make in so many seconds; more are refused with 429.
ATTEMPTS_MAX, ATTEMPTS_S = 150, 600
#: Seconds of the wall clock after which a connection that follows nothing and says nothing is closed.
IDLE_S = 60.0
#: Where a connection's transport is put, so that it can be cut off.
_TRANSPORT = "emulator.transport"


class EmulatorApp(Starlette):
    """The application; it remembers the transport of what it is called for."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or a connection."""
        scope[_TRANSPORT] = getattr(getattr(send, "__self__", None), "transport", None)
        await super().__call__(scope, receive, send)


class CutOff(Response):
    """An answer that never arrives, or half of one: the connection is reset; *held* waits before, and can be let go."""

    def __init__(self, content: bytes, *, begun: bool, held: Callable[[], Awaitable[None]]) -> None:
        super().__init__(content, media_type="application/json")
        self._begun, self._held = begun, held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Say nothing for a while, unless the client goes, and cut the connection off."""
        leaving, held = asyncio.ensure_future(_gone(receive)), asyncio.ensure_future(self._held())
        await asyncio.wait((leaving, held), return_when=asyncio.FIRST_COMPLETED)
        held.cancel()
        if leaving.done():
            return
        leaving.cancel()
        await asyncio.wait((leaving,))
        if self._begun:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": bytes(self.body)[: len(self.body) // 2], "more_body": True})
            await asyncio.sleep(0.05)
        cut_off(scope, reset=not self._begun)
        await _gone(receive)


async def _gone(receive: Receive) -> None:
    """Wait until the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def cut_off(scope: Mapping[str, Any], *, reset: bool = True) -> None:
    """Close a connection at once, without what the protocol says at its end."""
    transport = scope.get(_TRANSPORT)
    if transport is None:
        return
    if reset:
        transport.get_extra_info("socket").setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class Emulator:
    """The exchange, its market and its connections, ticking.

    Attributes:
        attempts_max: attempts to connect that an address may make in ten minutes, 0 for any number.
        idle_s: seconds of the wall clock after which an idle connection is closed, 0 for never.
    """

    def __init__(
        self,
        rest: Rest,
        hub: Hub,
        step: Callable[[int], None],
        now: Callable[[], int],
        *,
        control: Control,
        keys: Mapping[str, ApiKey],
        keep: Callable[[int], None] = lambda _now: None,
    ) -> None:
        """Begin to serve nothing yet.

        Args:
            step: lets the market go on; now: the exchange's clock, nanoseconds UTC; keys: by their id.
            keep: stores what happened, before anybody is told; it raises a StorageError where it can't.
        """
        self.rest, self.hub, self._step, self.now = rest, hub, step, now
        self.faults: FaultPlan = hub.faults
        self._control, self._keys, self._keep = control, keys, keep
        self._unkept = False
        control.server = self
        self._changed: dict[int, asyncio.Event] = {}
        self._open: dict[int, WebSocket] = {}
        self._attempts: dict[str, deque[int]] = {}
        self._heard: dict[int, float] = {}
        self._silent: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.attempts_max, self.idle_s = ATTEMPTS_MAX, IDLE_S

    def app(self) -> Starlette:
        """Return the application."""
        routes = [
            Route("/0/{path:path}", self._http, methods=["GET", "POST"]),
            WebSocketRoute("/v2", self._public),
            WebSocketRoute("/auth/v2", self._private),
            *self._control.routes(),
        ]
        return EmulatorApp(routes=routes, lifespan=self._running)

    @contextlib.asynccontextmanager
    async def _running(self, _app: Starlette) -> AsyncIterator[None]:
        ticking = asyncio.create_task(self._tick())
        yield
        ticking.cancel()
        self._kept(self.now())

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            try:
                self.pass_time(self.now())
                self.hush()
                await self._drop(self.now())
            except Exception:  # noqa: BLE001 - whatever it is, the connections must not notice
                # A market that stands still without a word would look like a quiet one.
                _LOG.exception("the emulator's market could not go on; this step was left out")
            self._wake()
            # What a step takes does not put off the next; one that took longer is not made up for.
            due = max(due + STEP_S, loop.time())
            await asyncio.sleep(due - loop.time())

    def pass_time(self, now: int) -> None:
        """Let faults, orders and the market go on, and publish what changed."""
        self.faults.let_time_pass(now)
        self.rest.let_time_pass(now)
        self._step(now)
        self.hub.publish(now)
        if not self._kept(now):
            self._silence()

    def _kept(self, now: int) -> bool:
        """Store what happened; return whether that is done."""
        try:
            self._keep(now)
        except StorageError as error:
            if not self._unkept:
                _LOG.error("the emulator refuses what is private until its state can be written: %s", error)
                self.faults.write("unkept", now, error=str(error))
            self._unkept = True
            return False
        self._unkept = False
        return True

    def _silence(self) -> None:
        """Tell the private streams nothing of what is not stored: end them instead."""
        for number, socket in self._open.items():
            if self.hub.connections[number].address == "/auth/v2":
                self.hub.connections[number].outbox.clear()
                cut_off(socket.scope)

    # ---- REST ----------------------------------------------------------------------------------------------------------

    async def _http(self, request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > BODY_MAX:
                return Response('{"error":["EGeneral:Invalid arguments"]}', media_type="application/json")
        headers = {name.lower(): value for name, value in request.headers.items()}
        if not headers.get("user-agent"):
            # Kraken wants one of every client; Cloudflare, in front of it, turns away who has none.
            return Response(page(403), 403, media_type="text/html; charset=UTF-8")
        given = body or request.url.query.encode() if request.method == "GET" else body
        call = RestCall(request.url.path, headers, given, self.now())
        target = self._target(call)
        self.faults.let_time_pass(call.now)
        waited = await self._wait(target, call.now)
        found = self.answered(call._replace(now=self.now()))
        self._wake()
        return self._response(found._replace(struck=(*waited, *found.struck)))

    async def _wait(self, target: FaultTarget, now: int) -> list[int]:
        """Wait as faults say; return the numbers of those."""
        waited = []
        for fault in self.faults.strikes(FaultPlace.WAIT, target, now):
            waited.append(fault.number)
            await self._hold(fault.kind.act(fault), [fault.number])
        return waited

    async def _hold(self, seconds: float, numbers: Iterable[int]) -> None:
        """Wait so long, or until one of the faults that want that is cleared, or the server ends."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while (left := end - loop.time()) > 0 and not any(self.faults.frees(number) for number in numbers):  # noqa: ASYNC110 - nothing can set an event
            await asyncio.sleep(min(left, STEP_S))

    def end(self) -> None:
        """Let go of everything that is held: the server ends."""
        self.faults.ending = True

    def _response(self, found: Outcome) -> Response:
        if found.cut:
            held = functools.partial(self._hold, found.hold_s, found.struck)
            answer: Response = CutOff(json.dumps(found.answer).encode(), begun=found.cut == "truncated", held=held)
        elif found.answer is None:
            kind = "application/json" if found.status == 200 and not found.body.startswith("<") else "text/html; charset=UTF-8"
            answer = Response(found.body, found.status, media_type=kind)
        else:
            answer = Response(msgspec.json.encode(found.answer), media_type="application/json")
        if self.faults.telling and found.struck:
            answer.headers[FAULT_HEADER] = ",".join(map(str, found.struck))
        return answer

    def answered(self, call: RestCall) -> Outcome:
        """Return what a call comes to, with the faults that strike it."""
        target, private = self._target(call), "/private/" in call.path
        if private and self._unkept and not self._kept(call.now):
            return Outcome(dict(UNAVAILABLE))
        found = self.faults.around(target, call.now, lambda: Outcome(self.rest.answer(call)))
        self.faults.heard(target, call.now, found)
        # What is not stored must not be told; whether it happened is in doubt, as it is after any such answer of Kraken's.
        if self._kept(call.now):
            return found
        self._silence()
        return Outcome(dict(UNAVAILABLE)) if private else found

    def _target(self, call: RestCall) -> FaultTarget:
        try:
            given = Parameters.read(call.body, call.headers.get("content-type", ""))
        except Rejection:
            given = Parameters({})
        key = self._keys.get(call.headers.get("api-key", "")) if "/private/" in call.path else None
        return self.faults.target(call.path.rsplit("/", 1)[-1], key, given)

    # ---- WebSocket -----------------------------------------------------------------------------------------------------

    async def _public(self, socket: WebSocket) -> None:
        await self._serve(socket, private=False)

    async def _private(self, socket: WebSocket) -> None:
        await self._serve(socket, private=True)

    async def _serve(self, socket: WebSocket, *, private: bool) -> None:
        if (status := self._refused(socket)) is not None:
            await socket.send_denial_response(Response(status_code=status))
            return
        await socket.accept()
        connection = self.hub.connect(self.now(), private=private)
        number = connection.number
        self._changed[number], self._open[number] = asyncio.Event(), socket
        writing = asyncio.create_task(self._write(socket, connection))
        try:
            self._changed[number].set()
            while True:
                self._heard[number] = asyncio.get_running_loop().time()
                found = await socket.receive()
                if found["type"] != "websocket.receive":
                    break
                message = found.get("text") or found.get("bytes") or b""
                await self._take(connection, message if len(message) <= MESSAGE_MAX else b"")
                while self._is_silent(connection):  # noqa: ASYNC110 - nothing can set an event
                    # Asked for the next message, the server would read on.
                    await asyncio.sleep(STEP_S)
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            writing.cancel()
            self.hub.leave(connection)
            self._silent.discard(number)
            del self._changed[number], self._open[number], self._heard[number]

    def _refused(self, socket: WebSocket) -> int | None:
        """Return the status with which a connection is refused: a fault's, or 429 after too many attempts."""
        now = self.now()
        for fault in self.faults.strikes(FaultPlace.CONNECT, FaultTarget(endpoint=socket.url.path), now):
            return int(fault.kind.act(fault))
        if not self.attempts_max:
            return None
        made = self._attempts.setdefault(socket.client.host if socket.client else "", deque())
        made.append(now)
        while made and made[0] <= now - ATTEMPTS_S * NS:
            made.popleft()
        return 429 if len(made) > self.attempts_max else None

    async def _take(self, connection: Connection, message: str | bytes) -> None:
        """Let a connection take a message, later where a fault says so: its later messages wait too, or overtake it."""
        came = self.now()
        target = self.hub.waiting(connection, message) if self.faults.faults else None
        if target is not None:
            for fault in self.faults.strikes(FaultPlace.WAIT, target, came):
                held = self._hold(fault.kind.act(fault), [fault.number])
                if not fault.kind.overtaken:
                    await held
                    continue
                task = asyncio.create_task(self._take_later(held, connection, message, came))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                return
        self._receive(connection, message, came)

    async def _take_later(self, held: Awaitable[None], connection: Connection, message: str | bytes, came: int) -> None:
        await held
        self._receive(connection, message, came)

    def _receive(self, connection: Connection, message: str | bytes, came: int) -> None:
        """Let a connection take a message that came at a moment, and store what it changed before anybody is told."""
        if connection.address == "/auth/v2" and self._unkept and not self._kept(self.now()):
            self._silence()
            return
        connection.receive(message, self.now(), came)
        if not self._kept(self.now()):
            self._silence()
        self._wake()

    def _is_silent(self, connection: Connection) -> bool:
        target = FaultTarget(endpoint=connection.address, key=connection.key)
        return not self.faults.ending and self.faults.lasting("ws.silent", target, self.now())

    def hush(self) -> None:
        """Read nothing from connections that are silent, because whatever reads a ping answers it."""
        for number, socket in list(self._open.items()):
            connection, transport = self.hub.connections[number], socket.scope.get(_TRANSPORT)
            if transport is None or transport.is_closing():
                continue
            if self._is_silent(connection):
                self._silent.add(number)
                transport.pause_reading()
            elif number in self._silent:
                self._silent.discard(number)
                transport.resume_reading()

    async def _write(self, socket: WebSocket, connection: Connection) -> None:
        changed = self._changed[connection.number]
        # A connection that was cut off can't be written to; its reader ends both.
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            while True:
                await changed.wait()
                changed.clear()
                if connection.address == "/auth/v2" and not self._kept(self.now()):
                    # What a fault did of itself is stored before it is told, too.
                    self._silence()
                    return
                waiting, connection.outbox = connection.outbox, []
                for text in waiting:
                    await socket.send_text(text)

    async def _drop(self, now: int) -> None:
        """End the connections that a fault ends, and those that are idle."""
        targets = {}
        for number in self._open:
            one = self.hub.connections[number]
            targets[number] = FaultTarget(endpoint=one.address, key=one.key, queue=len(one.outbox))
        for fault, numbers in self.faults.strikes_some(FaultPlace.SOCKET, targets, now):
            for number in numbers:
                await self._close(number, fault.args["code"])
        moment = asyncio.get_running_loop().time()
        for number, heard in list(self._heard.items()):
            connection = self.hub.connections.get(number)
            if connection is not None and not connection.subscriptions and 0 < self.idle_s <= moment - heard:
                await self._close(number, 1000)

    async def _close(self, number: int, code: int) -> None:
        socket = self._open.get(number)
        if socket is None:
            return
        if code == 1006:
            cut_off(socket.scope)
            return
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await socket.close(code)

    def _wake(self) -> None:
        for number, connection in self.hub.connections.items():
            if connection.cut and number in self._open:
                connection.outbox.clear()
                cut_off(self._open[number].scope)
            elif len(connection.outbox) > QUEUE_MAX:
                # Its reader takes too little: what waits would grow without end.
                connection.outbox.clear()
                self.faults.write("slow consumer", self.now(), connection=number)
                cut_off(self._open[number].scope, reset=False)
            elif connection.outbox and number in self._changed:
                self._changed[number].set()
