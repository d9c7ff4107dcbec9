"""Kraken as stage 2 asks it about orders: a key that may not withdraw, a clock that agrees, orders that are only looked at."""

from collections.abc import Sequence

from peak_trade.model.clock import Clock, PacedClock, moment, nanoseconds
from peak_trade.model.errors import SafetyRefused, Unavailable
from peak_trade.risk.gate import Approved
from peak_trade.venue.kraken.gateway import Gateway
from peak_trade.venue.kraken.market import KrakenMarket
from peak_trade.venue.kraken.reading import NS, KeyInfo, OpenOrders
from peak_trade.venue.kraken.validating import ValidatingOrders
from peak_trade.venue.kraken.wire import exchange_name
from peak_trade.venue.port import Reply

#: The exchange tells whole seconds.
CLOCK_STEP_NS = NS


class KrakenCheck:
    """One key's questions about orders."""

    def __init__(self, gateway: Gateway, market: KrakenMarket, clock: Clock, *, speed: float, max_skew_ms: float) -> None:
        """Take who asks.

        Args:
            gateway: speaks with the key, and only looks; market: knows the pairs.
            clock: the machine's; speed: how much faster the exchange's goes; where it does, they are not compared.
            max_skew_ms: how far both may be apart.
        """
        self._gateway, self._market, self._clock = gateway, market, clock
        self._speed, self._max_skew_ms = speed, max_skew_ms
        self._there = clock
        self._orders: ValidatingOrders | None = None
        self._names: set[str] = set()

    async def prepare(self) -> None:
        """Look at key and clock before anything is asked.

        Raises:
            SafetyRefused: the key may withdraw, or the clocks differ.
            Unavailable: the exchange does not tell.
        """
        info = await self._gateway.read("GetApiKeyInfo", KeyInfo)
        if not info.permissions:
            raise Unavailable("expected the exchange to tell what the key may do, found nothing; look at the key's permissions")
        if too_much := sorted(right for right in info.permissions if "withdraw" in right.casefold()):
            raise SafetyRefused(
                f"expected a key that can't withdraw, found one that may {', '.join(too_much)}; make a key without that right"
            )
        if self._speed == 1.0:
            await self._check_clock()
        else:
            self._there = PacedClock(self._clock, moment(await self._market.now_ns()), self._speed)

    async def _check_clock(self) -> None:
        before = nanoseconds(self._clock.now())
        there = await self._market.now_ns()
        after = nanoseconds(self._clock.now())
        # What the exchange calls a second is any moment within it, and the answer was made at any moment of the wait.
        behind_ns, ahead_ns = before - (there + CLOCK_STEP_NS), there - after
        apart_ms = max(behind_ns, ahead_ns, 0) / 1e6
        if apart_ms > self._max_skew_ms:
            raise SafetyRefused(
                f"expected this machine's clock within {self._max_skew_ms:g} ms of the exchange's, found it "
                f"{apart_ms:.0f} ms {'ahead' if behind_ns > 0 else 'behind'}; set the clock right, then start again"
            )

    async def submit(self, approved: Approved) -> Reply:
        """Have an order validated.

        Raises:
            ContractBroken: the exchange executed it.
        """
        intent = approved.intent
        await self._market.pair(intent.symbol)
        if self._orders is None:
            self._orders = ValidatingOrders(self._gateway, self._market.pairs, self._there)
        self._names.add(exchange_name(intent.client_id))
        return await self._orders.submit(approved)

    async def left_open(self) -> Sequence[str]:
        """Return Kraken's ids of the open orders that have a name which was sent to be validated.

        Raises:
            Unavailable: the exchange does not tell.
        """
        found = await self._gateway.read("OpenOrders", OpenOrders)
        return [txid for txid, order in found.open.items() if order.cl_ord_id in self._names]

    async def close(self) -> None:
        """Let go of connections, and of the key."""
        await self._gateway.close()
        await self._market.close()
