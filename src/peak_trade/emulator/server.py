"""The emulator as a server: a thin shell of sockets around what is pure; one process, one event loop, one clock."""

import asyncio
import contextlib
import json
import logging
import socket as sockets
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from peak_trade.emulator.control import Control
from peak_trade.emulator.faults import FaultPlace, FaultPlan, FaultTarget, Outcome, pair_named
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
#: Where a connection's transport is put, so that it can be cut off.
_TRANSPORT = "emulator.transport"


class EmulatorApp(Starlette):
    """The application; it remembers the transport of what it is called for."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or a connection."""
        scope[_TRANSPORT] = getattr(getattr(send, "__self__", None), "transport", None)
        await super().__call__(scope, receive, send)


class CutOff(Response):
    """An answer that never arrives, or half of one: the connection is reset."""

    def __init__(self, content: bytes, *, begun: bool, hold_s: float) -> None:
        super().__init__(content, media_type="application/json")
        self._begun, self._hold_s = begun, hold_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Say nothing for a while, unless the client goes, and cut the connection off."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_gone(receive), self._hold_s)
            return
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
    """The exchange, its market and its connections, ticking."""

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
        self._changed: dict[int, asyncio.Event] = {}
        self._open: dict[int, WebSocket] = {}

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
        while True:
            try:
                self.pass_time(self.now())
                await self._drop(self.now())
            except Exception:  # noqa: BLE001 - whatever it is, the connections must not notice
                # A market that stands still without a word would look like a quiet one.
                _LOG.exception("the emulator's market could not go on; this step was left out")
            self._wake()
            await asyncio.sleep(STEP_S)

    def pass_time(self, now: int) -> None:
        """Let faults, orders and the market go on, and publish what changed."""
        self.faults.let_time_pass(now)
        self.rest.let_time_pass(now)
        if not self.faults.halted:
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
        given = body or request.url.query.encode() if request.method == "GET" else body
        call = RestCall(request.url.path, headers, given, self.now())
        target = self._target(call)
        self.faults.let_time_pass(call.now)
        for fault in self.faults.strikes(FaultPlace.WAIT, target, call.now):
            await asyncio.sleep(fault.kind.act(fault))
        found = self.answered(call._replace(now=self.now()))
        self._wake()
        return _response(found)

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
        private = "/private/" in call.path
        return FaultTarget(
            endpoint=call.path.rsplit("/", 1)[-1],
            pair=pair_named(given),
            key=self._keys.get(call.headers.get("api-key", "")) if private else None,
            given=given,
        )

    # ---- WebSocket -----------------------------------------------------------------------------------------------------

    async def _public(self, socket: WebSocket) -> None:
        await self._serve(socket, private=False)

    async def _private(self, socket: WebSocket) -> None:
        await self._serve(socket, private=True)

    async def _serve(self, socket: WebSocket, *, private: bool) -> None:
        for fault in self.faults.strikes(FaultPlace.CONNECT, FaultTarget(endpoint=socket.url.path), self.now()):
            await socket.send_denial_response(Response(status_code=fault.kind.act(fault)))
            return
        await socket.accept()
        connection = self.hub.connect(self.now(), private=private)
        self._changed[connection.number] = asyncio.Event()
        self._open[connection.number] = socket
        writing = asyncio.create_task(self._write(socket, connection))
        try:
            self._changed[connection.number].set()
            while True:
                found = await socket.receive()
                if found["type"] != "websocket.receive":
                    break
                message = found.get("text") or found.get("bytes") or b""
                if private and self._unkept and not self._kept(self.now()):
                    self._silence()
                    break
                connection.receive(message if len(message) <= MESSAGE_MAX else b"", self.now())
                if not self._kept(self.now()):
                    self._silence()
                self._wake()
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            writing.cancel()
            self.hub.leave(connection)
            del self._changed[connection.number], self._open[connection.number]

    async def _write(self, socket: WebSocket, connection: Connection) -> None:
        changed = self._changed[connection.number]
        # A connection that was cut off can't be written to; its reader ends both.
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            while True:
                await changed.wait()
                changed.clear()
                waiting, connection.outbox = connection.outbox, []
                for text in waiting:
                    await socket.send_text(text)

    async def _drop(self, now: int) -> None:
        """End the connections that a fault ends."""
        for address in ("/v2", "/auth/v2"):
            target = FaultTarget(endpoint=address)
            numbers = [number for number in self._open if self.hub.connections[number].address == address]
            for fault in self.faults.strikes(FaultPlace.SOCKET, target, now) if numbers else ():
                for number in numbers:
                    await self._close(number, fault.args["code"])

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
            if len(connection.outbox) > QUEUE_MAX:
                # Its reader takes too little: what waits would grow without end.
                connection.outbox.clear()
                self.faults.write("slow consumer", self.now(), connection=number)
                cut_off(self._open[number].scope, reset=False)
            elif connection.outbox and number in self._changed:
                self._changed[number].set()


def _response(found: Outcome) -> Response:
    if found.cut:
        return CutOff(json.dumps(found.answer).encode(), begun=found.cut == "truncated", hold_s=found.hold_s)
    if found.answer is None:
        kind = "application/json" if found.status == 200 and not found.body.startswith("<") else "text/html; charset=UTF-8"
        return Response(found.body, found.status, media_type=kind)
    return Response(json.dumps(found.answer), media_type="application/json")
