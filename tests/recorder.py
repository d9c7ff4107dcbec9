"""A stretch of wire before an exchange on loopback, which keeps every request that a client sends over it."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Heard:
    """A request as it came over the wire: its first line, its headers in lower case, its body."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.line.split(" ")[1]

    @property
    def fields(self) -> list[tuple[str, str]]:
        """The form, and what the address asks for, as a lenient server may read them."""
        query = urlsplit(self.path).query
        return parse_qsl(self.body.decode("latin-1"), keep_blank_values=True) + parse_qsl(query, keep_blank_values=True)


@dataclass
class Wire:
    """The address to send to, the address it leads to, and what went over it."""

    url: str
    leads_to: str
    raw: bytearray = field(default_factory=bytearray)
    heard: list[Heard] = field(default_factory=list)

    @property
    def private(self) -> list[Heard]:
        """The requests that need a key, or look like it."""
        return [one for one in self.heard if "private" in one.path.lower() or "api-key" in one.headers]

    @property
    def orders(self) -> list[Heard]:
        return [one for one in self.heard if one.path.startswith("/0/private/AddOrder")]


@contextlib.contextmanager
def wire_to(leads_to: str) -> Iterator[Wire]:
    """Serve a stretch of wire from a thread, on a free port."""
    loop, ready = asyncio.new_event_loop(), threading.Event()
    wire = Wire("", leads_to)
    stop = asyncio.Event()

    async def serve() -> None:
        server = await asyncio.start_server(lambda reader, writer: carry(wire, reader, writer), "127.0.0.1", 0)
        wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        await stop.wait()
        server.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(20)
    yield wire
    loop.call_soon_threadsafe(stop.set)
    thread.join(20)
    assert not thread.is_alive()
    loop.close()


async def carry(wire: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry the requests of a connection one by one, and each answer back as it comes."""
    there = urlsplit(wire.leads_to)
    to_reader, to_writer = await asyncio.open_connection(there.hostname, there.port)

    async def back() -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await to_reader.read(65_536):
                writer.write(piece)
                await writer.drain()
        writer.close()

    answers = asyncio.create_task(back())
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            line, *rest = head.decode("latin-1").split("\r\n")[:-2]
            headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in rest)}
            assert "transfer-encoding" not in headers
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            wire.raw += head + body
            wire.heard.append(Heard(line, headers, body))
            to_writer.write(head + body)
            await to_writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
        pass  # one of both sides ended, or the test did
    finally:
        to_writer.close()
        writer.close()
        answers.cancel()
