"""What the emulated exchange lists: assets, pairs, their names in both of Kraken's schemes, their steps, and the fee schedule.

Names and steps of the BTC pairs and the fee tiers are those of Kraken's AssetPairs reply of November 2025; minimums and price
steps of the other pairs are plausible, not recorded.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple


class Asset(NamedTuple):
    """An asset.

    Attributes:
        id: as REST keys it, `XXBT`; altname: `XBT`; name: as WebSocket v2 has it, `BTC`.
        decimals, display: digits after the point of a balance, and as shown.
        fund: what a new account of the emulator has of it.
        dollars: US dollars for one where it is a quote currency; fixed, for volumes of the fee schedule.
    """

    id: str
    altname: str
    name: str
    decimals: int
    display: int
    fund: Decimal
    dollars: Decimal = Decimal(1)


class Pair(NamedTuple):
    """A pair.

    Attributes:
        id: `XXBTZEUR`; altname: `XBTEUR`; wsname: `XBT/EUR`; symbol: `BTC/EUR`, as WebSocket v2 has it.
        price_decimals, lot_decimals, cost_decimals: digits after the point.
        ordermin: smallest order, base; costmin: smallest order, quote.
        start: price at which a made-up market begins, quote.
    """

    id: str
    altname: str
    wsname: str
    symbol: str
    base: Asset
    quote: Asset
    price_decimals: int
    lot_decimals: int
    cost_decimals: int
    ordermin: Decimal
    costmin: Decimal
    start: Decimal

    @property
    def tick(self) -> Decimal:
        """The smallest price step, quote."""
        return Decimal(1).scaleb(-self.price_decimals)


class PairTerms(NamedTuple):
    """What of a pair's terms is other than the pair says, for a while; None and empty: as it says.

    Attributes:
        tick: smallest price step, quote, a multiple of the pair's; ordermin, costmin: as the pair's.
        status: under AssetPairs' names, and `delisted`.
    """

    tick: Decimal | None = None
    ordermin: Decimal | None = None
    costmin: Decimal | None = None
    status: str = ""


class Tier(NamedTuple):
    """Fees in per cent from a volume on, which is that of 30 days in US dollars."""

    volume: Decimal
    taker: Decimal
    maker: Decimal


ASSETS: dict[str, Asset] = {
    asset.name: asset
    for asset in (
        Asset("XXBT", "XBT", "BTC", 10, 5, Decimal(10)),
        Asset("XETH", "ETH", "ETH", 10, 5, Decimal(100)),
        Asset("SOL", "SOL", "SOL", 10, 5, Decimal(1_000)),
        Asset("DOT", "DOT", "DOT", 10, 5, Decimal(10_000)),
        Asset("XLTC", "LTC", "LTC", 10, 5, Decimal(1_000)),
        Asset("ZEUR", "EUR", "EUR", 4, 2, Decimal(1_000_000), Decimal("1.15")),
        Asset("ZUSD", "USD", "USD", 4, 2, Decimal(1_000_000)),
        Asset("USDT", "USDT", "USDT", 8, 4, Decimal(1_000_000)),
    )
}
#: Base, price decimals, smallest order, price in US dollars at the beginning.
_BASES = (
    ("BTC", 1, "0.00005", "90000"),
    ("ETH", 2, "0.001", "3000"),
    ("SOL", 2, "0.02", "140"),
    ("DOT", 4, "0.6", "2.5"),
    ("LTC", 2, "0.04", "85"),
)
#: Quote, smallest order in it.
_QUOTES = (("EUR", "0.45"), ("USD", "0.5"), ("USDT", "0.5"))

#: The schedule: every pair has the same.
FEES: tuple[Tier, ...] = tuple(
    Tier(Decimal(volume), Decimal(taker), Decimal(maker))
    for volume, taker, maker in (
        (0, "0.40", "0.25"),
        (10_000, "0.35", "0.20"),
        (50_000, "0.24", "0.14"),
        (100_000, "0.22", "0.12"),
        (250_000, "0.20", "0.10"),
        (500_000, "0.18", "0.08"),
        (1_000_000, "0.16", "0.06"),
        (2_500_000, "0.14", "0.04"),
        (5_000_000, "0.12", "0.02"),
        (10_000_000, "0.10", "0.00"),
    )
)


def _pair(base: tuple[str, int, str, str], quote: tuple[str, str]) -> Pair:
    name, price_decimals, ordermin, dollars = base
    of, costmin = quote
    first, second = ASSETS[name], ASSETS[of]
    # Only pairs of two old assets have the long id.
    old = first.id[0] == "X" and second.id[0] == "Z"
    altname = first.altname + second.altname
    return Pair(
        id=first.id + second.id if old else altname,
        altname=altname,
        wsname=f"{first.altname}/{second.altname}",
        symbol=f"{first.name}/{second.name}",
        base=first,
        quote=second,
        price_decimals=price_decimals,
        lot_decimals=8,
        cost_decimals=5,
        ordermin=Decimal(ordermin),
        costmin=Decimal(costmin),
        start=(Decimal(dollars) / second.dollars).quantize(Decimal(1).scaleb(-price_decimals)),
    )


PAIRS: dict[str, Pair] = {pair.symbol: pair for pair in (_pair(base, quote) for quote in _QUOTES for base in _BASES)}
_BY_NAME: dict[str, Pair] = {
    name: pair for pair in PAIRS.values() for name in (pair.id, pair.altname, pair.wsname, pair.symbol)
}
_ASSET_NAMES: dict[str, Asset] = {name: asset for asset in ASSETS.values() for name in (asset.id, asset.altname, asset.name)}


def pair_of(name: str) -> Pair | None:
    """Return a pair by any of its names."""
    return _BY_NAME.get(name)


def asset_of(name: str) -> Asset | None:
    """Return an asset by any of its names."""
    return _ASSET_NAMES.get(name)


def fees_at(volume: Decimal, tiers: Iterable[Tier] = FEES) -> Tier:
    """Return the tier of a 30-day volume, US dollars."""
    return max((tier for tier in tiers if tier.volume <= volume), key=lambda tier: tier.volume)
