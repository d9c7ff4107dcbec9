"""What an exchange says before anything begins: its state, its clock, its pairs, and what our key may do.

All questions go out together and have an end: an exchange that is silent costs seconds, and each question fails by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from peak_trade.compose import Parts
from peak_trade.model.errors import PeakTradeError, StorageError
from peak_trade.runs.testnet import NONCES
from peak_trade.venue.kraken.gateway import Gateway, GatewayParts
from peak_trade.venue.kraken.nonce import NonceStore
from peak_trade.venue.kraken.public import PublicMarket
from peak_trade.venue.kraken.reading import AssetPair, KeyInfo
from peak_trade.venue.kraken.transport import Timeouts
from peak_trade.venue.kraken.wire import Credentials

Told = TypeVar("Told")
#: Longest time for one question with its repetitions, seconds, and between two public ones.
ANSWER_S, SPACE_S = 12.0, 0.3
#: How often the exchange is asked for its time: it tells whole seconds, and several answers narrow that down.
TIMES = 3


@dataclass(frozen=True, slots=True)
class Silence:
    """A question that has no answer, and why."""

    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeLook:
    """What an exchange says.

    Attributes:
        skew_ms: between which two numbers our clock minus its clock lies, milliseconds.
        status: such as `online`. pairs: by our names.
        rights: what our key may do, in the exchange's words; None where there is no key.
    """

    skew_ms: tuple[float, float] | Silence
    status: str | Silence
    pairs: dict[str, AssetPair] | Silence
    rights: tuple[str, ...] | Silence | None


def look_at_exchange(parts: Parts, base_url: str, keys: Credentials | None) -> ExchangeLook:
    """Ask an exchange; never raises for what a network or an exchange may do."""
    return asyncio.run(_look(parts, base_url, keys))


def gateway_parts(parts: Parts) -> GatewayParts:
    """Return what connections work with: the machine's clock, and timeouts as configured."""
    longest = parts.settings.file.exchange.kraken_testnet.timeout_s
    times = Timeouts(connect_s=min(3.0, longest), read_s=min(5.0, longest), total_s=min(8.0, longest))
    return GatewayParts(clock=parts.clock, chance=parts.ids.randomness, timeouts=times)


def open_gateway(parts: Parts, keys: Credentials) -> Gateway:
    """Return the private calls of a key; close it, or no other process may use the key.

    Raises:
        SafetyRefused: another process uses the key.
        StorageError: the disk refused.
    """
    nonces = NonceStore(parts.state / NONCES, keys.short, lambda: int(parts.clock.now().timestamp() * 1e9))
    return Gateway(keys, nonces, gateway_parts(parts), parts.settings.file.exchange.kraken_testnet.base_url)


def skew_of(asked: Sequence[tuple[float, float, int]]) -> tuple[float, float]:
    """Return the bounds of our clock minus the exchange's, milliseconds.

    Args:
        asked: our unix seconds when a question went out and when its answer came, and the whole seconds in it.

    Raises:
        StorageError: no difference fits all answers: one of the clocks was set meanwhile.
    """
    # The exchange looked at its clock at some moment between the two, and that showed the second for a whole second.
    low = max(begun - (told + 1) for begun, _, told in asked)
    high = min(ended - told for _, ended, told in asked)
    if low > high:
        raise StorageError("expected a clock that goes on evenly, found one that was set meanwhile; ask again")
    return low * 1000, high * 1000


async def _look(parts: Parts, base_url: str, keys: Credentials | None) -> ExchangeLook:
    market = PublicMarket(gateway_parts(parts), base_url, SPACE_S)
    try:
        status, skew, pairs, rights = await asyncio.gather(
            _told(lambda: _status(market)),
            _told(lambda: _skew(parts, market)),
            _told(market.pairs),
            _told(lambda: _rights(parts, keys)),
        )
    finally:
        await market.close()
    return ExchangeLook(status=status, skew_ms=skew, pairs=pairs, rights=rights)


async def _told(ask: Callable[[], Awaitable[Told]]) -> Told | Silence:
    try:
        async with asyncio.timeout(ANSWER_S):
            return await ask()
    except TimeoutError:
        return Silence(f"no answer within {ANSWER_S:g} s")
    except PeakTradeError as error:
        return Silence(str(error))


async def _status(market: PublicMarket) -> str:
    return (await market.status()).status


async def _skew(parts: Parts, market: PublicMarket) -> tuple[float, float]:
    asked = []
    for _ in range(TIMES):
        begun = parts.clock.now().timestamp()
        told = (await market.time()).unixtime
        asked.append((begun, parts.clock.now().timestamp(), told))
    return skew_of(asked)


async def _rights(parts: Parts, keys: Credentials | None) -> tuple[str, ...] | None:
    if keys is None:
        return None
    gateway = open_gateway(parts, keys)
    try:
        return (await gateway.read("GetApiKeyInfo", KeyInfo)).permissions
    finally:
        await gateway.close()
