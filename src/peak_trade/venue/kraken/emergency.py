"""Kraken when nothing else of ours may be alive: cancel everything, look, and leave positions; with a key of its own.

It shares no gateway, budget, lock or nonce file with anything that trades, so that whatever hangs there can't hold it up.
Invariants: a cancel may go anywhere; an order leaves only as what the gate approved, once, and only to an address of this
machine, for which this module makes the proof itself, because no version of this program sends real orders anywhere else.
"""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from peak_trade.durable import write_text
from peak_trade.model.address import is_loopback
from peak_trade.model.clock import Clock, nanoseconds
from peak_trade.model.errors import SafetyRefused, StorageError, require
from peak_trade.risk.gate import Approved
from peak_trade.venue.kraken import reading
from peak_trade.venue.kraken.budget import TIER_LIMITS, Budget, rest_cost
from peak_trade.venue.kraken.classes import Verdict
from peak_trade.venue.kraken.gateway import Answered, Failed, judged
from peak_trade.venue.kraken.proof import EmulatorProof
from peak_trade.venue.kraken.transport import HttpLine
from peak_trade.venue.kraken.wire import (
    ADD_ORDER,
    NONCE_LIMIT,
    Credentials,
    Fields,
    LiveOrderRequest,
    Request,
    live_bytes,
    live_order_request,
    order_fields,
    private_request,
    public_request,
)

Told = TypeVar("Told")
NS: Final = 1_000_000_000
#: How far a refused nonce is taken ahead, one step after the other, seconds: not at all (another command of ours was faster),
#: then as far as a wrong clock or another program may have taken the key.
LEAPS_S = (0, 0, 60, 86_400, 366 * 86_400)
#: Calls of this client besides orders: questions, and what takes everything back.
ALLOWED = frozenset({"CancelAll", "CancelOrder", "OpenOrders", "ClosedOrders", "BalanceEx"})


class SafetyNonces:
    """Nonces of a key that several commands may use at once, without a lock: the present in nanoseconds, always ahead.

    The file only saves the leaps that an earlier command had to make; without it they are made again.
    """

    def __init__(self, path: Path, now_ns: Callable[[], int]) -> None:
        self._path, self._now_ns = path, now_ns
        self._ahead = False
        self._last = self._stored()

    def take(self) -> int:
        """Return the next number."""
        self._last = min(max(self._last + 1, self._now_ns()), NONCE_LIMIT - 1)
        return self._last

    def leap(self, seconds: int) -> None:
        """Go ahead: the exchange has seen a greater number than ours."""
        self._last = max(self._last, self._now_ns(), self._stored()) + seconds * NS
        self._ahead = self._ahead or seconds > 0

    def keep(self) -> None:
        """Remember a leap that helped; a disk that refuses keeps nobody from stopping anything."""
        if self._ahead:
            with contextlib.suppress(StorageError):
                write_text(self._path, f"{self._last}\n")

    def _stored(self) -> int:
        try:
            text = self._path.read_bytes()[:32].strip()
        except OSError:
            return 0
        found = int(text) if text.isdigit() else 0
        return found if found < NONCE_LIMIT else 0


class EmergencyLine:
    """The calls of the safety key, one after the other."""

    def __init__(self, keys: Credentials, nonces: SafetyNonces, clock: Clock, line: HttpLine) -> None:
        """Make ready; nothing is sent yet."""
        self._keys, self._nonces, self._clock, self._line = keys, nonces, clock, line
        self._proof = EmulatorProof.of(line.base_url) if is_loopback(line.base_url) else None
        # Of the lowest tier, because nobody asks here which one it is; no question waits for it, whoever goes round does.
        self._calls = Budget(TIER_LIMITS["starter"].rest_most, TIER_LIMITS["starter"].rest_decay)
        self.skew_ns = 0

    @property
    def closes(self) -> bool:
        """Whether positions can be closed there: at an emulator on this machine, and nowhere else."""
        return self._proof is not None

    def wait_s(self, questions: int) -> float:
        """Return in how many seconds so many questions fit into what Kraken allows a key; cancels count for nothing there."""
        return self._calls.wait_s(questions, self._clock.elapsed_s())

    async def cancel_all(self) -> int | Failed:
        """Have every working order of the account cancelled; return how many Kraken says it meant."""
        found = await self._asked("CancelAll", reading.CancelledOrder)
        return found if isinstance(found, Failed) else found.count

    async def cancel_order(self, txid: str) -> int | Failed:
        """Have one order cancelled, by Kraken's name of it; return how many Kraken says it meant."""
        found = await self._asked("CancelOrder", reading.CancelledOrder, [("txid", txid)])
        return found if isinstance(found, Failed) else found.count

    async def open_orders(self) -> reading.Orders | Failed:
        """Return the working orders by their ids."""
        found = await self._asked("OpenOrders", reading.OpenOrders)
        return found if isinstance(found, Failed) else found.open

    async def ended_order(self, name: str) -> reading.Orders | Failed:
        """Return the orders of a name of ours that have ended."""
        found = await self._asked("ClosedOrders", reading.ClosedOrders, [("cl_ord_id", name)])
        return found if isinstance(found, Failed) else found.closed

    async def holdings(self) -> reading.Holdings | Failed:
        """Return what the account has of every asset."""
        return await self._asked("BalanceEx", reading.Holdings)

    async def status(self) -> str | Failed:
        """Return what the exchange takes now, in its own word."""
        found = await self._public("SystemStatus", reading.SystemStatus)
        return found if isinstance(found, Failed) else found.status

    async def pairs(self) -> dict[str, reading.AssetPair] | Failed:
        """Return every pair under our name of it; one that can't be read is left out."""
        import msgspec

        found = await self._public("AssetPairs", dict[str, msgspec.Raw])
        if isinstance(found, Failed):
            return found
        pairs: reading.Pairs = {}
        for name, raw in found.items():
            with contextlib.suppress(reading.Unreadable):
                pairs[name] = reading.shaped(raw, reading.AssetPair, "AssetPairs")
        return reading.by_symbol(pairs)

    async def ticker(self, pair: reading.AssetPair) -> reading.PairTicker | Failed:
        """Return a pair's best prices and its last one."""
        found = await self._public("Ticker", dict[str, reading.PairTicker], [("pair", pair.altname)])
        return found if isinstance(found, Failed) else _only(found, "Ticker")

    async def depth(self, pair: reading.AssetPair) -> reading.Depth | Failed:
        """Return a pair's book, 500 levels of each side."""
        found = await self._public("Depth", dict[str, reading.Depth], [("pair", pair.altname), ("count", "500")])
        return found if isinstance(found, Failed) else _only(found, "Depth")

    async def measure_skew(self) -> Failed | None:
        """Measure our clock against Kraken's: deadlines of orders are in Kraken's time."""
        before = nanoseconds(self._clock.now())
        found = await self._public("Time", reading.ServerTime)
        if isinstance(found, Failed):
            return found
        self.skew_ns = (before + nanoseconds(self._clock.now())) // 2 - (found.unixtime * NS + NS // 2)
        return None

    async def close_out(self, approved: Approved, pair: reading.AssetPair, deadline_ns: int) -> reading.AddedOrder | Failed:
        """Send an order that closes a position, once; whatever comes of it, it is not sent again.

        Args:
            deadline_ns: by our clock, after which Kraken is not to match it any more.

        Raises:
            SafetyRefused: the address is none of this machine's.
        """
        require(type(approved) is Approved, "an order leaves as what the gate approved")
        if self._proof is None or self._proof.base_url != self._line.base_url:
            raise SafetyRefused(f"expected an emulator on this machine, found {self._line.base_url}; no order was sent")
        fields = order_fields(approved.intent, pair.altname, deadline_ns - self.skew_ns)
        found = await self._once(live_order_request(self._keys, self._nonces.take(), fields))
        if isinstance(found, Failed):
            if found.code == "invalid_nonce":
                self._nonces.leap(LEAPS_S[2])
            return found
        return _read(found, reading.AddedOrder, "AddOrder")

    async def close(self) -> None:
        """Close the connections."""
        self._nonces.keep()
        await self._line.close()

    # ---- one call ------------------------------------------------------------------------------------------------------

    async def _asked(self, endpoint: str, shape: type[Told], fields: Fields = ()) -> Told | Failed:
        """Make a private call that may be made again; where its nonce is refused, with a greater one."""
        require(endpoint in ALLOWED, f"{endpoint} is a call of an emergency")
        leaps = iter(LEAPS_S)
        while True:
            self._calls.charge(rest_cost(endpoint), self._clock.elapsed_s())
            found = await self._once(private_request(self._keys, endpoint, self._nonces.take(), fields))
            self._calls.settle(self._clock.elapsed_s())
            if isinstance(found, Answered):
                self._nonces.keep()
                return _read(found, shape, endpoint)
            if found.code == "rate_limit":
                self._calls.exceeded(self._clock.elapsed_s())
            seconds = next(leaps, None) if found.code == "invalid_nonce" else None
            if seconds is None:
                return found
            self._nonces.leap(seconds)

    async def _public(self, endpoint: str, shape: type[Told], fields: Fields = ()) -> Told | Failed:
        found = await self._once(public_request(endpoint, fields))
        return found if isinstance(found, Failed) else _read(found, shape, endpoint)

    async def _once(self, request: Request) -> Answered | Failed:
        body = live_bytes(request) if type(request) is LiveOrderRequest else request.body
        require(request.path != ADD_ORDER or type(request) is LiveOrderRequest, "an order has a constructor of its own")
        return judged(await self._line.exchange(request, body))


def _read(found: Answered, shape: type[Told], endpoint: str) -> Told | Failed:
    try:
        return reading.shaped(found.result, shape, endpoint)
    except reading.Unreadable as error:
        return Failed("unreadable", Verdict.UNKNOWN, str(error), again=True)


def _only(found: Mapping[str, Told], endpoint: str) -> Told | Failed:
    try:
        return reading.the_one(found, endpoint)
    except reading.Unreadable as error:
        return Failed("unreadable", Verdict.UNKNOWN, str(error), again=True)
