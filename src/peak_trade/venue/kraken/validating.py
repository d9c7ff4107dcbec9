"""Orders that Kraken looks at and does not execute: what stage 2 sends.

Invariant: nothing here can build, or send, an order without validate=true; should Kraken execute one all the same, it is
cancelled at once and the session is told to halt.
"""

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any

from peak_trade.model.clock import Clock, nanoseconds
from peak_trade.model.errors import ContractBroken, SafetyRefused, require
from peak_trade.risk.gate import Approved
from peak_trade.venue.kraken.classes import Verdict
from peak_trade.venue.kraken.fitting import misfit, on_tick
from peak_trade.venue.kraken.gateway import Failed, Gateway
from peak_trade.venue.kraken.reading import AddedOrder, AssetPair, Unreadable, shaped
from peak_trade.venue.kraken.wire import exchange_name, order_fields, private_request, validation_request
from peak_trade.venue.port import Accepted, Rejected, Reply, Unknown

#: How long Kraken may take to look at an order.
DEADLINE_NS = 5_000_000_000
#: How the exchange names orders.
_TXID = re.compile(rb"\bO[0-9A-Z]{5}-[0-9A-Z]{5}-[0-9A-Z]{6}\b")
#: How long a cancel waits for room under Kraken's limit, seconds.
ROOM_MAX_S = 10.0


class ExecutedOrder(ContractBroken):
    """Kraken executed an order that was only to be looked at; *txids* names what it placed."""

    def __init__(self, txids: tuple[str, ...], message: str) -> None:
        super().__init__(message)
        self.txids = txids


class ValidatingOrders:
    """Kraken's opinion of orders."""

    def __init__(self, gateway: Gateway, pairs: Mapping[str, AssetPair], clock: Clock, skew_ns: int = 0) -> None:
        """Make ready; *skew_ns* is our clock minus Kraken's.

        Raises:
            SafetyRefused: the gateway could send a live order.
        """
        if gateway.trades:
            raise SafetyRefused("expected a gateway that only looks, found one that trades; nothing was sent")
        self._gateway, self._pairs, self._clock = gateway, pairs, clock
        self._ahead_ns = DEADLINE_NS - skew_ns

    async def submit(self, approved: Approved) -> Reply:
        """Return what Kraken says of an order: it would take it, it would refuse it, or no answer.

        Raises:
            ExecutedOrder: the answer names an order that was placed.
        """
        require(type(approved) is Approved, "nothing goes out but what the gate approved")
        intent = on_tick(approved.intent, self._pairs)
        if (wrong := misfit(intent, self._pairs)) is not None:
            return wrong
        pair = self._pairs[intent.symbol].altname
        found = await self._gateway.act(
            lambda keys, nonce: validation_request(
                keys, nonce, order_fields(intent, pair, nanoseconds(self._clock.now()) + self._ahead_ns)
            ),
            pair,
            1,
        )
        name = intent.client_id
        if txids := placed_by(found.body):
            raise await self._undone(txids, name, pair)
        if isinstance(found, Failed):
            return Unknown(name, found.words) if found.verdict is Verdict.UNKNOWN else Rejected(name, found.code, found.words)
        try:
            shaped(found.result, AddedOrder, "AddOrder")
        except Unreadable as error:
            return Unknown(name, str(error))
        return Accepted(name)

    async def _undone(self, txids: tuple[str, ...], name: str, pair: str) -> ExecutedOrder:
        """Cancel what was never to exist; return what to halt with.

        By our own name: what an answer that is wrong already calls an order's id may be anybody's.
        """
        placed = ", ".join(txids[:5])
        left = await called_back(self._gateway, ("cl_ord_id", exchange_name(name)), pair)
        rest = f"could not cancel {placed} ({left})" if left else "it was cancelled at once, and may have been filled before"
        return ExecutedOrder(
            txids, f"expected Kraken to look at an order only, found that it placed {placed}; {rest}: look at the account"
        )


async def called_back(gateway: Gateway, name: tuple[str, str], pair: str, cost: int = 8) -> str:
    """Cancel an order that was never to exist, as soon as there is room for it; return why that failed, else nothing.

    Args:
        gateway: sends it; name: `txid` or `cl_ord_id` with its value.
        pair: whose counter it counts with; cost: how much, by the order's age.
    """
    await asyncio.sleep(min(gateway.wait_s(pair, cost, urgent=True), ROOM_MAX_S))
    answer = await gateway.act(lambda keys, nonce: private_request(keys, "CancelOrder", nonce, [name]), pair, cost, urgent=True)
    return answer.words if isinstance(answer, Failed) else ""


def placed_by(body: bytes) -> tuple[str, ...]:
    """Return the orders that an answer says were placed, in whatever form and place it says so; printable and short.

    It is read with suspicion: an answer that says at once that it failed, or can't be read to its end, may say so too.
    """
    found: list[str] = []

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # Pairs, because a name that comes twice would hide one of its values.
        for name, value in pairs:
            if "txid" in name.casefold() and _says(value):
                found.extend(_shown(one) for one in (value if isinstance(value, list) else [value]) if _says(one))
        return dict(pairs)

    try:
        json.loads(body, object_pairs_hook=look, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        found += [txid.decode() for txid in _TXID.findall(body)]
    return tuple(dict.fromkeys(found))


def _says(value: Any) -> bool:
    """Tell whether a value names anything."""
    return any(map(_says, value)) if isinstance(value, list) else value not in (None, "", False) and value != {}


def _shown(value: Any) -> str:
    return ascii(value).strip("'")[:40]
