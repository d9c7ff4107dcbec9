"""The emulated exchange as a real server on loopback, with a clock that tests put forward and keys of their own.

Each client gets an account and a key of its own, as Kraken demands: nonces of different clients do not mix.
"""

import asyncio
import contextlib
import itertools
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

import uvicorn

from peak_trade.emulator.keeping import Keeper
from peak_trade.emulator.opening import EmulatorChoice, OpenEmulator, open_emulator
from peak_trade.emulator.signing import TRADING, ApiKey, Right, make_key

Found = TypeVar("Found")


@dataclass
class WallClock:
    """The machine's clock, put forward when a test says so."""

    ahead_ns: int = 0
    stood_ns: int | None = None

    def __call__(self) -> int:
        """Return the present, as much later as was said, nanoseconds."""
        return time.time_ns() + self.ahead_ns if self.stood_ns is None else self.stood_ns

    def stand_still(self) -> None:
        """Stay at this moment until told to go on."""
        self.stood_ns = self()

    def go_on(self) -> None:
        """Go on from the moment at which it stood."""
        if self.stood_ns is not None:
            self.ahead_ns, self.stood_ns = self.stood_ns - time.time_ns(), None


@dataclass
class Emulated:
    """A running emulator.

    Attributes:
        url: of REST; stream: of WebSockets, without `/v2`.
    """

    url: str
    opened: OpenEmulator
    clock: WallClock
    loop: asyncio.AbstractEventLoop
    chance: random.Random = field(default_factory=lambda: random.Random(11))
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def stream(self) -> str:
        return self.url.replace("http://", "ws://")

    def inside(self, act: Callable[[], Found]) -> Found:
        """Do something in the server's loop, between two requests."""
        done: Future[Found] = Future()

        def run() -> None:
            try:
                done.set_result(act())
            except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for
                done.set_exception(error)

        self.loop.call_soon_threadsafe(run)
        return done.result(timeout=20)

    def key(self, rights: frozenset[Right] = TRADING, account: str | None = None, funds: Any = None) -> ApiKey:
        """Make a key; of a new account with the ordinary funds, or with those of *funds*, unless one is named."""

        def act() -> ApiKey:
            number = next(self.numbers)
            key = make_key(f"key {number}", account or f"account {number}", rights, self.chance)
            if account is None:
                told = None if funds is None else {name: Decimal(amount) for name, amount in funds.items()}
                self.opened.engine.accounts.open(key.account, told, at=self.clock())
            self.opened.emulator.rest._desk.keys[key.id] = key  # there is no way in from outside
            return key

        return self.inside(act)

    def advance(self, seconds: float) -> None:
        """Put the clock forward, and let what is due happen."""
        self.clock.ahead_ns += int(seconds * 1_000_000_000)
        emulator = self.opened.emulator
        self.inside(lambda: emulator.rest.let_time_pass(emulator.now()))

    def mid(self, symbol: str) -> float:
        """Return the middle of a pair's book, once the market is back after somebody took all of a side."""
        listing = self.opened.engine.listings[symbol]
        scale = 10**listing.pair.price_decimals

        def middle() -> float | None:
            ask, bid = listing.book.asks.best(), listing.book.bids.best()
            return (ask + bid) / 2 / scale if ask and bid and ask < bid * 1.005 else None

        return until(lambda: self.inside(middle))

    def price(self, symbol: str, factor: float) -> float:
        """Return a price that the pair takes, at a multiple of the middle."""
        return round(self.mid(symbol) * factor, self.opened.engine.listings[symbol].pair.price_decimals)


def until(met: Callable[[], Found | None], seconds: float = 20.0) -> Found:
    """Wait for a condition; return what it found."""
    end = time.monotonic() + seconds
    while not (found := met()):
        assert time.monotonic() < end, f"not met within {seconds} s"
        time.sleep(0.02)
    return found


@contextlib.contextmanager
def emulating(tier: str = "pro", speed: float = 1.0, seed: int = 7, keeper: Keeper | None = None) -> Iterator[Emulated]:
    """Serve an emulator from a thread, on a free port."""
    clock = WallClock()
    opened = open_emulator(EmulatorChoice(seed=seed, speed=speed, tier=tier), clock, random.Random(seed), keeper)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        settings = uvicorn.Config(
            opened.emulator.app(),
            log_level="error",
            access_log=False,
            lifespan="on",
            loop="asyncio",
            ws_ping_interval=None,
        )
        server, loops = uvicorn.Server(settings), list[asyncio.AbstractEventLoop]()

        async def serve() -> None:
            loops.append(asyncio.get_running_loop())
            await server.serve(sockets=[listener])

        thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        thread.start()
        until(lambda: server.started or not thread.is_alive())
        assert thread.is_alive(), "the server did not start"
        yield Emulated(f"http://127.0.0.1:{listener.getsockname()[1]}", opened, clock, loops[0])
        opened.emulator.end()
        server.should_exit = True
        thread.join(timeout=20)
        assert not thread.is_alive(), "the server did not end"
