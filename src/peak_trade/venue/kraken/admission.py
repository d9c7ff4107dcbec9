"""What is looked at before a key is used: what it may do, whether the clocks agree, and whether the exchange takes orders."""

from collections.abc import Awaitable, Callable, Collection, Mapping

from peak_trade.model.clock import Clock, nanoseconds
from peak_trade.model.errors import ConfigError, SafetyRefused, Unavailable
from peak_trade.venue.kraken.gateway import Gateway, NoAnswer
from peak_trade.venue.kraken.public import PublicMarket
from peak_trade.venue.kraken.reading import NS, AssetPair, KeyInfo

#: What Kraken says of a key that it does not know, or not so.
WRONG_KEY = frozenset(("invalid_key", "invalid_signature"))
#: The exchange tells whole seconds.
CLOCK_STEP_NS = NS


async def check_key(gateway: Gateway, needed: Collection[str], named_by: str) -> None:
    """Look at what a key may do.

    Args:
        needed: rights without which it is of no use. named_by: where the key comes from, for the words of an error.

    Raises:
        ConfigError: the exchange does not know the key.
        SafetyRefused: it may withdraw, or lacks a right.
        Unavailable: the exchange does not tell.
    """
    try:
        info = await gateway.read("GetApiKeyInfo", KeyInfo)
    except NoAnswer as error:
        if error.code in WRONG_KEY:
            raise ConfigError(
                f"expected an API key of the exchange, found that it refuses the one that is set ({error}); check that key "
                f"and secret belong together and are still valid: {named_by}"
            ) from error
        raise
    if not info.permissions:
        raise Unavailable("expected the exchange to tell what the key may do, found nothing; look at the key's permissions")
    if too_much := sorted(right for right in info.permissions if "withdraw" in right.casefold()):
        raise SafetyRefused(
            f"expected a key that can't withdraw, found one that may {', '.join(too_much)}; make a key without that right"
        )
    if lacking := [right for right in needed if right not in info.permissions]:
        raise SafetyRefused(f"expected a key with the right {', '.join(lacking)}, found one without; add it at Kraken")


async def check_clock(clock: Clock, there: Callable[[], Awaitable[int]], max_skew_ms: float) -> None:
    """Compare the machine's clock with the exchange's.

    Args:
        there: asks for the exchange's present, nanoseconds UTC, to the second.

    Raises:
        SafetyRefused: they are further apart than that.
        Unavailable: the exchange does not tell.
    """
    before = nanoseconds(clock.now())
    told = await there()
    after = nanoseconds(clock.now())
    # What the exchange calls a second is any moment within it, and the answer was made at any moment of the wait.
    behind_ns, ahead_ns = before - (told + CLOCK_STEP_NS), told - after
    apart_ms = max(behind_ns, ahead_ns, 0) / 1e6
    if apart_ms > max_skew_ms:
        raise SafetyRefused(
            f"expected this machine's clock within {max_skew_ms:g} ms of the exchange's, found it "
            f"{apart_ms:.0f} ms {'ahead' if behind_ns > 0 else 'behind'}; set the clock right, then start again"
        )


async def check_open(market: PublicMarket, pairs: Mapping[str, AssetPair]) -> None:
    """Look that the exchange takes orders of these pairs.

    Raises:
        SafetyRefused: it does not.
        Unavailable: it does not tell.
    """
    if (mode := (await market.status()).status) != "online":
        raise SafetyRefused(f"expected the exchange to be online, found it in {mode} mode; wait until it is")
    now = await market.pairs([pair.altname for pair in pairs.values()])
    for symbol, pair in pairs.items():
        if symbol not in now or now[symbol].status != "online":
            found = now[symbol].status if symbol in now else "not listed"
            raise SafetyRefused(
                f"expected {symbol} to be online at the exchange, found it {found}; wait, or choose another pair"
            )
        if now[symbol] != pair:
            raise SafetyRefused(f"expected {symbol} to be as it was asked for, found that it changed meanwhile; start again")
