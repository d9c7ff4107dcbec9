"""The emulator as a server: a thin shell of sockets around what is pure; one process, one event loop, one clock."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from peak_trade.emulator.parameters import BODY_MAX
from peak_trade.emulator.rest import Rest, RestCall
from peak_trade.emulator.stream import MESSAGE_MAX, QUEUE_MAX, Connection, Hub

#: Seconds between two steps of the market.
STEP_S = 0.1


class Emulator:
    """The exchange, its market and its connections, ticking."""

    def __init__(self, rest: Rest, hub: Hub, step: Callable[[int], None], now: Callable[[], int]) -> None:
        self.rest, self.hub, self._step, self.now = rest, hub, step, now
        self._changed: dict[int, asyncio.Event] = {}

    def app(self) -> Starlette:
        """Return the application."""
        routes = [
            Route("/0/{path:path}", self._http, methods=["GET", "POST"]),
            WebSocketRoute("/v2", self._public),
            WebSocketRoute("/auth/v2", self._private),
        ]
        return Starlette(routes=routes, lifespan=self._running)

    @contextlib.asynccontextmanager
    async def _running(self, _app: Starlette) -> AsyncIterator[None]:
        ticking = asyncio.create_task(self._tick())
        yield
        ticking.cancel()

    async def _tick(self) -> None:
        while True:
            now = self.now()
            self.rest.let_time_pass(now)
            self._step(now)
            self.hub.publish(now)
            self._wake()
            await asyncio.sleep(STEP_S)

    async def _http(self, request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > BODY_MAX:
                return Response('{"error":["EGeneral:Invalid arguments"]}', media_type="application/json")
        headers = {name.lower(): value for name, value in request.headers.items()}
        given = body or request.url.query.encode() if request.method == "GET" else body
        found = self.rest.answer(RestCall(request.url.path, headers, given, self.now()))
        self._wake()
        return Response(json.dumps(found), media_type="application/json")

    async def _public(self, socket: WebSocket) -> None:
        await self._serve(socket, private=False)

    async def _private(self, socket: WebSocket) -> None:
        await self._serve(socket, private=True)

    async def _serve(self, socket: WebSocket, *, private: bool) -> None:
        await socket.accept()
        connection = self.hub.connect(self.now(), private=private)
        self._changed[connection.number] = asyncio.Event()
        writing = asyncio.create_task(self._write(socket, connection))
        try:
            self._changed[connection.number].set()
            while True:
                message = await socket.receive_text()
                if len(message) <= MESSAGE_MAX:
                    connection.receive(message, self.now())
                self._wake()
        except (WebSocketDisconnect, RuntimeError, KeyError):
            pass
        finally:
            writing.cancel()
            self.hub.leave(connection)
            del self._changed[connection.number]

    async def _write(self, socket: WebSocket, connection: Connection) -> None:
        changed = self._changed[connection.number]
        while True:
            await changed.wait()
            changed.clear()
            waiting, connection.outbox = connection.outbox, []
            if len(waiting) > QUEUE_MAX:
                await socket.close(1008)
                return
            for text in waiting:
                await socket.send_text(text)

    def _wake(self) -> None:
        for number, connection in self.hub.connections.items():
            if connection.outbox and number in self._changed:
                self._changed[number].set()
