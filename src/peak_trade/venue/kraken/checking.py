"""Kraken as stage 2 asks it about orders: a key that may not withdraw, a clock that agrees, orders that are only looked at."""

from collections.abc import Collection, Sequence

from peak_trade.model.clock import Clock, PacedClock, moment
from peak_trade.risk.gate import Approved
from peak_trade.venue.kraken.admission import check_clock, check_key
from peak_trade.venue.kraken.budget import cancel_cost
from peak_trade.venue.kraken.gateway import Gateway
from peak_trade.venue.kraken.market import KrakenMarket
from peak_trade.venue.kraken.reading import NS, OpenOrders
from peak_trade.venue.kraken.validating import DEADLINE_NS, ValidatingOrders, called_back
from peak_trade.venue.kraken.wire import exchange_name
from peak_trade.venue.port import Reply

#: Rights without which orders can't be looked at, or what should not be there can't be called back.
NEEDED = ("close-trades", "modify-trades", "query-open-trades")
#: The furthest deadline of an order, with room for what the clocks differ.
DEADLINE_MAX_NS = 55 * NS


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

    async def prepare(self) -> None:
        """Look at key and clock before anything is asked.

        Raises:
            ConfigError: the exchange does not know the key.
            SafetyRefused: the key may withdraw, or the clocks differ.
            Unavailable: the exchange does not tell.
        """
        await check_key(self._gateway, NEEDED, "exchange.kraken_testnet.api_key_env names the variables")
        await self._market.load()
        if self._speed == 1.0:
            await check_clock(self._clock, self._market.now_ns, self._max_skew_ms)
        else:
            self._there = PacedClock(self._clock, moment(await self._market.now_ns()), self._speed)

    async def submit(self, approved: Approved) -> Reply:
        """Have an order validated.

        Raises:
            ContractBroken: the exchange executed it.
        """
        if self._orders is None:
            # A clock that goes faster than ours leaves an answer less time; Kraken takes no deadline beyond a minute.
            longer_ns = max(min(int(DEADLINE_NS * self._speed), DEADLINE_MAX_NS) - DEADLINE_NS, 0)
            self._orders = ValidatingOrders(self._gateway, self._market.pairs, self._there, -longer_ns)
        return await self._orders.submit(approved)

    async def left_open(self, client_ids: Collection[str]) -> Sequence[str]:
        """Return the open orders with a name that was sent to be validated: Kraken's id, and what came of cancelling it.

        Raises:
            Unavailable: the exchange does not tell.
        """
        if not client_ids:
            return ()
        names = {exchange_name(client_id) for client_id in client_ids}
        found = await self._gateway.read("OpenOrders", OpenOrders)
        told = []
        for txid, order in found.open.items():
            if order.cl_ord_id in names:
                age_s = self._there.now().timestamp() - float(order.opentm)
                left = await called_back(self._gateway, ("txid", txid), order.descr.pair, cancel_cost(age_s))
                told.append(f"{txid} ({left or 'cancelled'})")
        return told

    async def close(self) -> None:
        """Let go of connections, and of the key."""
        await self._gateway.close()
        await self._market.close()
