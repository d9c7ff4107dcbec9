"""Our client of Kraken against the emulated exchange: all it sends is on record, and waiting moves the exchange's clock."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import httpx2
from tests.emulated import Emulated
from tests.trading import HOUR_NS, an_intent, approved

from peak_trade.emulator.signing import TRADING, ApiKey, Right
from peak_trade.model.clock import moment
from peak_trade.model.order import Intent
from peak_trade.venue.kraken.budget import TIER_LIMITS
from peak_trade.venue.kraken.gateway import Gateway, GatewayParts, ObservedCall
from peak_trade.venue.kraken.nonce import NonceStore
from peak_trade.venue.kraken.proof import EmulatorProof
from peak_trade.venue.kraken.public import PublicMarket
from peak_trade.venue.kraken.trading import KrakenVenue, VenueTimes
from peak_trade.venue.kraken.transport import Timeouts
from peak_trade.venue.kraken.validating import ValidatingOrders
from peak_trade.venue.kraken.wire import Credentials

T = TypeVar("T")
SYMBOL = "BTC/EUR"


@dataclass(frozen=True)
class Sent:
    """What left the client, as bytes."""

    path: str
    body: bytes
    headers: dict[str, str]

    @property
    def endpoint(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def fields(self) -> list[tuple[str, str]]:
        return parse_qsl(self.body.decode(), keep_blank_values=True)


class Recorder(httpx2.AsyncBaseTransport):
    """The network, with a record of what goes over it; *answers* may change what comes back."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.answers: Callable[[Sent, bytes], bytes] | None = None
        self._inner = httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        sent = Sent(request.url.raw_path.decode(), body, dict(request.headers))
        self.sent.append(sent)
        answer = await self._inner.handle_async_request(request)
        if self.answers is None:
            return answer
        found = self.answers(sent, await answer.aread())
        return httpx2.Response(answer.status_code, content=found)

    async def aclose(self) -> None:
        await self._inner.aclose()

    def orders(self) -> list[Sent]:
        return [sent for sent in self.sent if sent.endpoint == "AddOrder"]


class ExchangeClock:
    """The exchange's clock, which tests put forward; ours may be ahead of it."""

    def __init__(self, exchange: Emulated, skew_ns: int = 0) -> None:
        self._exchange, self._skew_ns = exchange, skew_ns

    def now(self) -> datetime:
        return moment(self._exchange.clock() + self._skew_ns)

    def elapsed_s(self) -> float:
        return self._exchange.clock() / 1e9


class Client:
    """A client with an account and a key of its own."""

    def __init__(
        self,
        exchange: Emulated,
        folder: Path,
        rights: frozenset[Right] = TRADING,
        key: ApiKey | None = None,
        tier: str = "pro",
        **funds: Any,
    ) -> None:
        self.exchange, self.folder = exchange, folder
        self.key = key or exchange.key(rights, funds=funds or None)
        self.keys = Credentials.read(self.key.id, self.key.secret_text)
        self.loop = asyncio.new_event_loop()
        self.clock, self.wire = ExchangeClock(exchange), Recorder()
        self.observed: list[ObservedCall] = []
        self.naps: list[float] = []
        self.parts = GatewayParts(
            clock=self.clock,
            chance=random.Random(5),
            sleep=self.sleep,
            observe=self.observed.append,
            timeouts=Timeouts(connect_s=1.0, read_s=0.3, total_s=1.0),
            limits=TIER_LIMITS[tier],
            transport=self.wire,
        )
        self.nonces = NonceStore(folder, self.keys.short, exchange.clock)
        self.proof = EmulatorProof.of(exchange.url)
        self.gateway = Gateway(self.keys, self.nonces, self.parts, exchange.url, self.proof)
        self.looking = Gateway(self.keys, self.nonces, self.parts, exchange.url)
        self.pairs = self.run(PublicMarket(self.parts, exchange.url, 0.0).pairs(["XBTEUR"]))
        self.venue = self.a_venue()

    async def sleep(self, seconds: float) -> None:
        """Let the exchange's clock go on instead of waiting."""
        self.naps.append(seconds)
        self.exchange.advance(seconds)
        await asyncio.sleep(0)

    def a_venue(self, known: Iterable[Intent] = (), clock: Any = None, **times: Any) -> KrakenVenue:
        """Return a venue that knows of these orders, as after a start."""
        found = VenueTimes(since_ns=self.exchange.clock() - HOUR_NS, step_ns=HOUR_NS, **times)
        return KrakenVenue(self.gateway, self.pairs, known, found, clock or self.clock, self.sleep, self.proof)

    def validating(self) -> ValidatingOrders:
        return ValidatingOrders(self.looking, self.pairs, self.clock)

    def run(self, answer: Awaitable[T]) -> T:
        """Return what a coroutine gives."""
        return self.loop.run_until_complete(answer)  # type: ignore[arg-type]

    def intent(self, quantity: object = "0.01", **changes: Any) -> Intent:
        """Return a wish to buy for half the price, with a limit that rests."""
        given = {"kind": "limit", "client_id": "a", "decided_ns": self.exchange.clock(), **changes}
        if given["kind"] != "market":
            given.setdefault("price", self.exchange.price(SYMBOL, 0.5))
        given.setdefault("reference", self.exchange.price(SYMBOL, 1.0))
        return an_intent(quantity, **given)

    def submit(self, intent: Intent) -> Any:
        return self.run(self.venue.submit(approved(intent)))

    def cancel(self, client_id: str) -> Any:
        return self.run(self.venue.cancel(client_id))

    def look_up(self, *client_ids: str) -> Any:
        return self.run(self.venue.look_up(client_ids))

    def fills(self, after: str | None = None) -> list[Any]:
        return list(self.run(self.venue.fills_after(after)))

    def fault(self, name: str, **told: Any) -> None:
        """Set a fault for this client's key."""
        match = {"key": self.key.id, **told.pop("match", {})}
        emulator = self.exchange.opened.emulator
        self.exchange.inside(lambda: emulator.faults.add({"name": name, "match": match, **told}, emulator.now()))

    def passed(self, seconds: float) -> None:
        """Let time pass, and whatever is due by then."""
        self.exchange.advance(seconds)
        emulator = self.exchange.opened.emulator
        self.exchange.inside(lambda: emulator.pass_time(emulator.now()))

    def calm(self) -> None:
        """Take every fault back."""
        emulator = self.exchange.opened.emulator
        self.exchange.inside(lambda: emulator.faults.clear(emulator.now()))

    @property
    def orders(self) -> list[Any]:
        """Every order that the exchange has of this account."""
        engine = self.exchange.opened.engine
        return self.exchange.inside(lambda: [one for one in engine.orders.values() if one.account == self.key.account])

    @property
    def executions(self) -> list[Any]:
        """Every fill that the exchange has of this account."""
        engine = self.exchange.opened.engine
        return self.exchange.inside(lambda: [one for one in engine.executions if one.order.account == self.key.account])

    def close(self) -> None:
        self.run(self.gateway.close())
        self.run(self.looking._line.close())
        self.loop.close()
