"""What can be traded and in which steps.

Invariant: steps and minimums are exact decimals; they become floats only inside research.
"""

from dataclasses import dataclass
from decimal import Decimal

from peak_trade.model.errors import InputError

#: Kraken's own names for two assets; every other venue and Kraken's WebSocket v2 use the right-hand ones.
OTHER_NAMES = {"XBT": "BTC", "XDG": "DOGE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """A pair with its trading steps.

    Attributes:
        symbol: `BASE/QUOTE`, upper case, with the common names (`BTC/EUR`, never `XBT/EUR`).
        tick_size: smallest price step, in quote currency.
        lot_step: smallest quantity step, in base currency.
        min_quantity: smallest order, in base currency.
        min_notional: smallest order, in quote currency.
        trading_days: days a year on which it trades: 365 for crypto, 252 for shares.
        trading_hours: hours of a trading day.
    """

    symbol: str
    tick_size: Decimal = Decimal("0.01")
    lot_step: Decimal = Decimal("0.00000001")
    min_quantity: Decimal = Decimal(0)
    min_notional: Decimal = Decimal("0.5")
    trading_days: int = 365
    trading_hours: float = 24.0

    def __post_init__(self) -> None:
        if self.symbol != parse_symbol(self.symbol):
            raise InputError(f"expected the symbol as {parse_symbol(self.symbol)}, found {self.symbol}")
        for name in ("tick_size", "lot_step"):
            if getattr(self, name) <= 0:
                raise InputError(f"expected a positive {name} for {self.symbol}, found {getattr(self, name)}")
        for name in ("min_quantity", "min_notional"):
            if getattr(self, name) < 0:
                raise InputError(f"expected {name} of {self.symbol} to be zero or more, found {getattr(self, name)}")

    @property
    def slug(self) -> str:
        """The symbol as a file name: `BTC-EUR`."""
        return self.symbol.replace("/", "-")

    @property
    def quote(self) -> str:
        """The currency prices and profit are in."""
        return self.symbol.split("/")[1]

    def periods_per_year(self, step_s: int) -> float:
        """Return how many bars of *step_s* seconds a year of trading has."""
        if step_s >= 86_400:
            return min(self.trading_days, 365 * 86_400 / step_s)
        return self.trading_days * self.trading_hours * 3_600 / step_s


def parse_symbol(text: str) -> str:
    """Return *text* as `BASE/QUOTE` with common names: `xbt-eur` gives `BTC/EUR`.

    Raises:
        InputError: the text is not two names of 2 to 12 letters or digits with a `/` or `-` between them.
    """
    parts = text.strip().upper().replace("-", "/").split("/")
    if len(parts) != 2 or not all(part.isalnum() and part.isascii() and 2 <= len(part) <= 12 for part in parts):
        raise InputError(f"expected a symbol like BTC/EUR, found {text!r}; write base and quote with a slash between")
    base, quote = (OTHER_NAMES.get(part, part) for part in parts)
    return f"{base}/{quote}"


#: Steps of Kraken pairs as its AssetPairs reply gives them (BTC/USDT: recorded November 2025; the BTC pairs share
#: ordermin and lot decimals), and of the two bundled samples. `[instrument."X/Y"]` in config.toml overrides or adds.
KNOWN: dict[str, Instrument] = {
    item.symbol: item
    for item in (
        *(
            Instrument(symbol=f"BTC/{quote}", tick_size=Decimal("0.1"), min_quantity=Decimal("0.00005"))
            for quote in ("EUR", "USD", "USDT", "USDC")
        ),
        *(
            Instrument(symbol=f"ETH/{quote}", tick_size=Decimal("0.01"), min_quantity=Decimal("0.001"))
            for quote in ("EUR", "USD", "USDT")
        ),
        Instrument(
            symbol="SPX/USD",
            lot_step=Decimal("0.0001"),
            min_notional=Decimal(1),
            trading_days=252,
            trading_hours=6.5,
        ),
        Instrument(symbol="SYN/USD", lot_step=Decimal("0.00000001"), min_notional=Decimal(1)),
    )
}
