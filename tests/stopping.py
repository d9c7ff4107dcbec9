"""The emergency client against the emulated exchange in this very process: no sockets, and a clock that waiting moves."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx2
from tests.exchange import Rig
from tests.trading import some_limits

from peak_trade.emulator.rest import RestCall
from peak_trade.emulator.signing import TRADING, ApiKey, Right, make_key
from peak_trade.model.clock import moment, nanoseconds
from peak_trade.model.errors import InputError
from peak_trade.safety.exchange_stop import ExchangeStop, StopAim, StopResult, StopTools
from peak_trade.venue.kraken.emergency import EmergencyLine, SafetyNonces
from peak_trade.venue.kraken.transport import HttpLine, Timeouts
from peak_trade.venue.kraken.wire import Credentials

HERE = "http://127.0.0.1:8790"
PAIRS = ("BTC/EUR", "ETH/EUR")
FUNDS = {"EUR": "100000", "BTC": "0.5", "ETH": "2"}


@dataclass(frozen=True)
class Heard:
    """A call as it came in."""

    endpoint: str
    fields: dict[str, str]
    at: int


class InProcess(httpx2.AsyncBaseTransport):
    """The network between client and emulator, without a network: a held answer takes simulated time."""

    def __init__(self, scene: "Scene") -> None:
        self._scene = scene
        self.refuses = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        scene = self._scene
        if self.refuses:
            raise httpx2.ConnectError("refused")
        body = await request.aread()
        path = request.url.path
        given = body or request.url.query
        scene.rig.now += 5_000_000
        scene.heard.append(Heard(path.rsplit("/", 1)[-1], dict(parse_qsl(given.decode())), scene.rig.now))
        headers = {name.lower(): value for name, value in request.headers.items()}
        found = scene.rig.opened.emulator.answered(RestCall(path, headers, given, scene.rig.now))
        if found.cut:
            if found.hold_s:
                scene.pass_s(3.0)
                raise httpx2.ReadTimeout("held")
            raise httpx2.ReadError("reset")
        if found.answer is None:
            return httpx2.Response(found.status, text=found.body)
        return httpx2.Response(200, json=found.answer)


class Scene:
    """An account with orders and positions at an exchange, and an emergency."""

    def __init__(
        self, folder: Path, seed: int = 7, funds: Mapping[str, str] = FUNDS, rights: frozenset[Right] = TRADING
    ) -> None:
        self.rig = Rig(PAIRS, seed=seed)
        self.folder, self.chance = folder, random.Random(seed)
        self.key = self.a_key("client-two", rights)
        amounts = {name: Decimal(amount) for name, amount in funds.items()}
        self.rig.opened.engine.accounts.open(self.key.account, amounts, at=self.rig.now)
        self.heard: list[Heard] = []
        self.told: list[str] = []
        self.wire = InProcess(self)
        self.later: list[tuple[int, Callable[[], Any]]] = []
        self.names = itertools.count(1)
        self.pass_s(1.0)

    def a_key(self, account: str, rights: frozenset[Right] = TRADING) -> ApiKey:
        """Make a key of an account."""
        key = make_key(f"key {self.chance.random()}", account, rights, self.chance)
        self.rig.opened.emulator.rest._desk.keys[key.id] = key
        return key

    # ---- a clock -------------------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        return moment(self.rig.now)

    def elapsed_s(self) -> float:
        return self.rig.now / 1e9

    async def sleep(self, seconds: float) -> None:
        self.pass_s(seconds)

    def pass_s(self, seconds: float) -> None:
        """Let time pass, with what is due on the way."""
        end = self.rig.now + int(seconds * 1e9)
        for at, act in sorted((one for one in self.later if one[0] <= end), key=lambda one: one[0]):
            self.rig.now = max(self.rig.now, at)
            act()
        self.later = [one for one in self.later if one[0] > end]
        self.rig.passed(max(end - self.rig.now, 0) / 1e9)

    # ---- the account ---------------------------------------------------------------------------------------------------

    def mid(self, symbol: str) -> Decimal:
        """Return the last price of a pair."""
        return Decimal(self.rig.opened.engine.listings[symbol].last)

    def rest_order(self, symbol: str = "BTC/EUR", volume: str = "0.01", side: str = "buy", away: str = "0.5") -> None:
        """Have an order of the account work."""
        engine = self.rig.opened.engine
        pair = engine.listings[symbol].pair
        price = (self.mid(symbol) * Decimal(away)).quantize(pair.tick)
        args = {"account": self.key.account, "side": side, "volume": volume, "price": f"{price:f}"}
        # An exchange that takes no orders takes none of somebody else's either.
        with contextlib.suppress(InputError):
            self.rig.fault("order.ghost", match={"pair": pair.altname}, args=args)

    def fault(self, name: str, **told: Any) -> None:
        """Set a fault for the safety key."""
        self.rig.fault(name, **told)

    @property
    def working(self) -> list[str]:
        """The orders of the account that really work."""
        return list(self.rig.opened.engine.working[self.key.account])

    def held(self, asset: str) -> Decimal:
        """Return what the account really has of an asset, by its name."""
        return self.rig.opened.engine.accounts.by_name[self.key.account].balances.get(asset, Decimal(0))

    def flat(self) -> bool:
        """Tell whether the account really has nothing that could be sold."""
        return all(self.held(name) < self.rig.opened.engine.listings[f"{name}/EUR"].pair.ordermin for name in ("BTC", "ETH"))

    def orders(self) -> list[Heard]:
        """Return the orders that were sent."""
        return [one for one in self.heard if one.endpoint == "AddOrder"]

    # ---- the emergency -------------------------------------------------------------------------------------------------

    def line(self, base_url: str = HERE, key: ApiKey | None = None) -> EmergencyLine:
        """Return a client with the safety key."""
        key = key or self.key
        keys = Credentials.read(key.id, key.secret_text)
        nonces = SafetyNonces(self.folder / f"safety-{keys.short}", lambda: nanoseconds(self.now()))
        return EmergencyLine(keys, nonces, self, HttpLine(base_url, Timeouts(connect_s=3, read_s=3, total_s=3), self.wire))

    def stop(self, *, flatten: bool = True, base_url: str = HERE, deadline_s: float = 60.0, **limits: Any) -> StopResult:
        """Do it, and return what came of it."""
        return asyncio.run(self.stopping(StopAim(flatten, PAIRS, some_limits(**limits), 3.0, deadline_s), base_url))

    async def stopping(self, aim: StopAim, base_url: str = HERE) -> StopResult:
        """Do it within a loop."""
        line = self.line(base_url)
        tools = StopTools(
            self, self.sleep, lambda: f"{next(self.names):032x}", lambda _s, words: self.told.append(words), self.elapsed_s()
        )
        try:
            return await ExchangeStop(line, aim, tools).run()
        finally:
            await line.close()
