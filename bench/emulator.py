"""The rows about the emulator: calls and stream messages through a real server in a process of its own, on loopback."""

import asyncio
import base64
import contextlib
import gc
import itertools
import json
import os
import random
import re
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from peak_trade.emulator.server import STEP_S
from peak_trade.emulator.signing import signature

PAIRS = tuple(f"{base}/{quote}" for quote in ("EUR", "USD", "USDT") for base in ("BTC", "ETH", "SOL", "DOT", "LTC"))
#: Calls of each client: three sign, three do not.
CALLS = 2_000
READERS, LISTEN_S = 140, 10.0
#: When the server made an update of a book.
MADE = re.compile(rb'"channel":"book",.*"timestamp":"([^"]+)"')
ORDERS, ORDERS_PER_S = 2_000, 200


class Server(NamedTuple):
    """A running emulator: where it listens, its process, and its keys by name: id and secret."""

    host: str
    port: int
    process: int
    keys: dict[str, tuple[str, bytes]]


#: What the bare application answers to everything: enough for the clients here to go on.
CONSTANT = {"error": [], "result": {"txid": ["OAAAAA-AAAAA-AAAAAA"], "XXBTZEUR": {"c": ["50000.0", "1.0"]}}}


@contextlib.contextmanager
def serving_bare() -> Iterator[Server]:
    """Serve a constant from a process of its own, through the same server as the emulator."""
    command = [sys.executable, "-m", "bench.emulator", "bare", "."]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        found = re.search(r"http://\S+", server.stderr.readline())
        assert found is not None
        place = urlsplit(found[0])
        key = ("none", bytes(64))
        try:
            yield Server(
                str(place.hostname), int(place.port or 0), server.pid, dict.fromkeys(("trading", "query", "cancel"), key)
            )
        finally:
            server.terminate()


def bare(_folder: Path) -> dict[str, float]:
    """Answer a constant to every call until it is ended."""
    import msgspec
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from peak_trade.cli.serving import listener_at, serve_until_stopped

    async def answer(request: Request) -> Response:
        await request.body()
        return Response(msgspec.json.encode(CONSTANT), media_type="application/json")

    app = Starlette(routes=[Route("/0/{path:path}", answer, methods=["GET", "POST"])])
    serve_until_stopped(app, listener_at("127.0.0.1", 0), str)
    return {}


@contextlib.contextmanager
def serving(folder: Path, *options: str) -> Iterator[Server]:
    """Serve an emulator without rate limits from a process of its own."""
    trade = [sys.executable, "-m", "peak_trade", "emulator"]
    command = [*trade, "serve", "--port", "0", "--tier", "unlimited", *options]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        found = re.search(r"http://\S+?(?=,|\s)", server.stderr.readline())
        assert found is not None
        place = urlsplit(found[0])
        asked = subprocess.run(
            [*trade, "keys", "--port", str(place.port), "--json"], cwd=folder, check=True, capture_output=True, text=True
        )
        keys = {name: (one["key"], base64.b64decode(one["secret"])) for name, one in json.loads(asked.stdout).items()}
        try:
            yield Server(str(place.hostname), int(place.port or 0), server.pid, keys)
        finally:
            server.terminate()


class Caller:
    """A client with one connection; it knows just enough of HTTP to cost little itself."""

    def __init__(self, server: Server, key: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._key, self._secret = server.keys[key]
        self._host = f"Host: {server.host}\r\nUser-Agent: bench\r\n"

    async def public(self, path: str) -> bytes:
        """Ask a public method."""
        return await self._answer(f"GET {path} HTTP/1.1\r\n{self._host}\r\n".encode())

    async def private(self, method: str, body: str) -> bytes:
        """Ask a private method; the body lacks the nonce only."""
        path, nonce = f"/0/private/{method}", str(time.time_ns())
        sent = f"nonce={nonce}&{body}".encode()
        sign = base64.b64encode(signature(self._secret, path, nonce, sent)).decode()
        head = (
            f"POST {path} HTTP/1.1\r\n{self._host}API-Key: {self._key}\r\nAPI-Sign: {sign}\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(sent)}\r\n\r\n"
        )
        return await self._answer(head.encode() + sent)

    async def _answer(self, request: bytes) -> bytes:
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        assert head.startswith(b"HTTP/1.1 200"), head
        assert length is not None, head
        body = await self._reader.readexactly(int(length[1]))
        assert body.startswith(b'{"error":[]'), body
        return body


@contextlib.asynccontextmanager
async def calling(server: Server, key: str = "trading") -> AsyncIterator[Caller]:
    """Open a connection."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        yield Caller(server, key, reader, writer)
    finally:
        writer.close()


def limit_order(caller_price: float, side: str = "buy") -> str:
    """Return a limit order that rests, without nonce."""
    return f"pair=XBTEUR&type={side}&ordertype=limit&volume=0.001&price={caller_price:.1f}"


async def _last(caller: Caller) -> float:
    found = json.loads(await caller.public("/0/public/Ticker?pair=XBTEUR"))
    return float(found["result"]["XXBTZEUR"]["c"][0])


async def _trading(caller: Caller) -> None:
    price = await _last(caller) * 0.9
    for turn in range(CALLS // 2):
        placed = json.loads(await caller.private("AddOrder", limit_order(price + turn % 50)))
        await caller.private("CancelOrder", f"txid={placed['result']['txid'][0]}")


async def _looking(caller: Caller) -> None:
    for _ in range(CALLS // 2):
        await caller.private("Balance", "")
        await caller.private("OpenOrders", "")


async def _public(caller: Caller) -> None:
    for _ in range(CALLS // 2):
        await caller.public("/0/public/Ticker?pair=XBTEUR")
        await caller.public("/0/public/Depth?pair=ETHEUR&count=10")


def calls(folder: Path) -> dict[str, float]:
    """Ask as fast as it answers: orders placed and canceled, balances and open orders, tickers and books.

    The bare application is asked the same by the same clients.
    """

    async def client(server: Server, key: str, job: Callable[[Caller], Awaitable[None]]) -> None:
        async with calling(server, key) as caller:
            await job(caller)

    async def run(server: Server) -> dict[str, float]:
        jobs = (("trading", _trading), ("query", _looking), ("cancel", _looking), *[("query", _public)] * 3)
        begun, cpu = time.perf_counter(), _cpu(server.process)
        await asyncio.gather(*(client(server, key, job) for key, job in jobs))
        whole, count = time.perf_counter() - begun, len(jobs) * CALLS
        return {"per_s": count / whole, "cpu_us": (_cpu(server.process) - cpu) / count * 1e6}

    with serving(folder) as server:
        found = asyncio.run(run(server)) | {"server_mib": _peak(server.process)}
    with serving_bare() as server:
        return found | {"bare_per_s": asyncio.run(run(server))["per_s"]}


def orders(folder: Path) -> dict[str, float]:
    """Place orders at a steady pace; milliseconds from when each is due to its answer."""

    async def run(server: Server) -> dict[str, float]:
        took: list[float] = []
        async with calling(server) as caller:
            price, begun = await _last(caller) * 0.9, time.perf_counter()
            for number in range(ORDERS):
                due = begun + number / ORDERS_PER_S
                await asyncio.sleep(max(due - time.perf_counter(), 0))
                await caller.private("AddOrder", limit_order(price + number % 50))
                took.append((time.perf_counter() - due) * 1e3)
        return {
            "p50": float(np.quantile(took, 0.5)),
            "p99": float(np.quantile(took, 0.99)),
            "server_mib": _peak(server.process),
        }

    with serving(folder) as server:
        return asyncio.run(run(server))


async def _listen(server: Server, until: float, steps: list[tuple[float, float]] | None = None) -> int:
    """Follow books, trades and tickers of all pairs from a connection of its own; return how many messages came.

    Args:
        steps: gets, of each update of a book, when the server made it and when it was here; unix seconds.
    """
    reader, writer = await asyncio.open_connection(server.host, server.port)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /v2 HTTP/1.1\r\nHost: {server.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    for channel in ("book", "trade", "ticker"):
        asked = json.dumps({"method": "subscribe", "params": {"channel": channel, "symbol": PAIRS}}).encode()
        # A client masks what it sends; a mask of zeros leaves it as it is.
        writer.write(b"\x81\xfe" + len(asked).to_bytes(2, "big") + bytes(4) + asked)
    count = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(until):
            while True:
                head = await reader.readexactly(2)
                length = head[1] & 0x7F
                if length >= 126:
                    length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
                body = await reader.readexactly(length)
                count += 1
                if steps is not None and (made := MADE.search(body)):
                    steps.append((datetime.fromisoformat(made[1].decode()).timestamp(), time.time()))
    writer.close()
    return count


def stream(folder: Path) -> dict[str, float]:
    """Count the messages that many readers of all pairs get.

    `steps_per_s` is how often the market went on, which is 10 where the server keeps up; `late` is how much longer than it
    should the time between two steps was, and `under_way` how long a message took to a reader, milliseconds, p99.
    """

    async def run(server: Server) -> dict[str, float]:
        begun, cpu = time.perf_counter(), _cpu(server.process)
        until = asyncio.get_running_loop().time() + LISTEN_S
        seen: list[tuple[float, float]] = []
        counts = await asyncio.gather(*(_listen(server, until, seen if one == 0 else None) for one in range(READERS)))
        whole = time.perf_counter() - begun
        made = np.unique([made for made, _ in seen])
        return {
            "per_s": sum(counts) / whole,
            "least": min(counts),
            "cpu_us": (_cpu(server.process) - cpu) / sum(counts) * 1e6,
            "steps_per_s": (len(made) - 1) / float(made[-1] - made[0]),
            "late": float(np.quantile(np.diff(made), 0.99) - STEP_S) * 1e3,
            "under_way": float(np.quantile([came - made for made, came in seen], 0.99)) * 1e3,
            "server_mib": _peak(server.process),
        }

    with serving(folder) as server:
        return asyncio.run(run(server))


def _cpu(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text("utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak(process: int) -> float:
    """Return the most memory that a process ever had, MiB."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process}/status").read_text("utf-8"))
    assert found is not None
    return int(found[1]) / 1024


def half_hour(_folder: Path) -> dict[str, float]:
    """Let the emulator's clock go for half an hour under much trading; MiB that it grows after the first ten minutes.

    By then all that is kept up to a number is full: executions, ledgers, ended orders, amendments, trades, candles, the log.
    """
    from peak_trade.emulator import exchange
    from peak_trade.emulator.opening import EmulatorChoice, open_emulator
    from peak_trade.emulator.rest import INTERVALS, RestCall

    # The market's own pace would fill these in half an hour only.
    exchange.PRINTS_MAX = 300
    start, steps = 1_767_225_600 * 10**9, 18_000
    moment = [start]
    opened = open_emulator(EmulatorChoice(tier="unlimited"), lambda: moment[0], random.Random(5))  # noqa: S311
    key, emulator, engine = opened.keys["trading"], opened.emulator, opened.engine
    engine.accounts.open(key.account, {name: Decimal(10**9) for name in ("EUR", "ETH")}, at=start)
    reader = emulator.hub.connect(start, private=False)
    for channel in ("book", "trade", "ticker"):
        reader.receive(json.dumps({"method": "subscribe", "params": {"channel": channel, "symbol": PAIRS}}), start)
    for listing, interval in itertools.product(engine.listings.values(), INTERVALS):
        emulator.rest._desk.candles(listing.pair, interval)
    nonce, after_ten = itertools.count(1), 0.0

    def call(method: str, body: str) -> dict[str, Any]:
        path, sent = f"/0/private/{method}", f"nonce={(number := next(nonce))}&{body}".encode()
        headers = {
            "api-key": key.id,
            "api-sign": base64.b64encode(signature(key.secret, path, str(number), sent)).decode(),
            "user-agent": "bench",
        }
        found = emulator.answered(RestCall(path, headers, sent, moment[0]))
        assert found.answer is not None
        assert not found.answer["error"], found.answer
        result: dict[str, Any] = found.answer["result"]
        return result

    for step in range(steps):
        moment[0] = start + step * 10**8
        emulator.pass_time(moment[0])
        reader.outbox.clear()
        price = float(engine.listings["BTC/EUR"].last)
        for _ in range(2):
            (placed,) = call("AddOrder", limit_order(price * 0.9))["txid"]
            call("AmendOrder", f"txid={placed}&order_qty=0.002")
        # Through ten levels of the book or more, each a fill.
        call("AddOrder", "pair=XETHZEUR&ordertype=market&volume=80&type=" + ("buy" if step % 2 else "sell"))
        if step % 10 == 9:
            call("CancelAll", "")
        if step == steps // 3:
            after_ten = _resident()
            sizes = _kept_sizes(opened)
    assert sizes == (found := _kept_sizes(opened)), (
        f"expected what is kept to be full after ten minutes, found {sizes}, then {found}"
    )
    return {"growth": _resident() - after_ten, "fills_per_s": engine.listings["ETH/EUR"].trades / steps * 10} | sizes


def _kept_sizes(opened: Any) -> dict[str, float]:
    engine, desk = opened.engine, opened.emulator.rest._desk
    (account,) = (one for one in engine.accounts.by_name.values() if one.ledger)
    return {
        "executions": len(engine.executions),
        "ledger": len(account.ledger),
        "finished": len(engine.finished[account.name]),
        "amended": len(desk.amends),
        "prints": min(len(listing.prints) for listing in engine.listings.values()),
        "log": len(opened.emulator.faults.log),
    }


def _resident() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    told = globals()[sys.argv[1]](Path(sys.argv[2]))
    print(json.dumps(told | {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
