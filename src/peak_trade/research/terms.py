"""The terms of a backtest: cash, costs, sizing, allowed sides and exits; exact until the kernel takes them as floats."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from enum import Enum, unique
from numbers import Real
from typing import Any

from peak_trade.model.errors import InputError
from peak_trade.model.fill_model import IMPACT_MAX
from peak_trade.model.instrument import Instrument
from peak_trade.research.kernel import BY_FRACTION, BY_NOTIONAL, BY_QUANTITY, Rules, Scarcity
from peak_trade.strategy.sizing import SizedBy, Sizing

_SIZED_BY = {SizedBy.FRACTION: BY_FRACTION, SizedBy.QUANTITY: BY_QUANTITY, SizedBy.NOTIONAL: BY_NOTIONAL}


#: Larger amounts, and smaller ones than one part of it, would lose digits in floats.
AMOUNT_MAX = Decimal("1e18")
#: Digits before or after the point of such an amount.
AMOUNT_DIGITS = 18
#: A decision that is older is another strategy's.
DELAY_MAX = 1_000


@unique
class Side(Enum):
    """Which positions may be opened."""

    LONG = "long"
    SHORT = "short"
    BOTH = "both"


def _one_rate(name: str, value: object) -> float:
    """Return a rate as a float; a negative zero is zero."""
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        raise InputError(f"expected a number as {name}, found {value!r}; correct it")
    return float(value) + 0.0


def _one_amount(amount: Decimal) -> Decimal:
    """Return an exact amount without zeros at its end, whole ones without an exponent."""
    if not amount.is_finite() or amount == 0 or abs(amount.adjusted()) > AMOUNT_DIGITS:
        return amount  # refused below, in the words that it was given in
    plain = amount.normalize(Context(prec=len(amount.as_tuple().digits)))
    return plain.quantize(Decimal(1)) if plain.as_tuple().exponent > 0 else plain  # type: ignore[operator]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a backtest trades under.

    One number has one form, so that 10, 10.0, 1e1 and Decimal("10") make the same terms and count as one trial: rates are
    floats without a negative zero, amounts have no zeros at their end.

    Attributes:
        cash: starting cash, quote currency.
        fee_bps, slippage_bps: of the filled notional and of the price, basis points.
        stop_loss, take_profit: fractions of the average entry price; trailing_stop: of the best price. 0 is off.
        impact: what an order as large as its bar's volume pays besides, in bar volatilities (`model/fill_model.py`); 0 is off.
        max_volume_share: part of a bar's volume that may be filled; 0 is no limit.
        delay_bars: bars that pass between a decision and its order, which is sized at the close before it is filled.
    """

    cash: Decimal
    fee_bps: float
    slippage_bps: float
    sizing: Sizing
    side: Side
    stop_loss: float = 0.0
    take_profit: float = 0.0
    trailing_stop: float = 0.0
    impact: float = 0.0
    max_volume_share: float = 0.0
    delay_bars: int = 0

    def __post_init__(self) -> None:
        """Bring every number into its one form.

        Raises:
            InputError: a number is none, or out of its limits.
        """
        for name in ("fee_bps", "slippage_bps", "stop_loss", "take_profit", "trailing_stop", "impact", "max_volume_share"):
            object.__setattr__(self, name, _one_rate(name, getattr(self, name)))
        object.__setattr__(self, "cash", _one_amount(self.cash))
        object.__setattr__(self, "sizing", Sizing(self.sizing.by, _one_amount(self.sizing.amount)))
        limits = {
            "fee_bps": (self.fee_bps, 10_000.0),
            "slippage_bps": (self.slippage_bps, 10_000.0),
            "stop_loss": (self.stop_loss, 1.0),
            "take_profit": (self.take_profit, float("inf")),
            "trailing_stop": (self.trailing_stop, 1.0),
            "impact": (self.impact, IMPACT_MAX),
        }
        for name, (value, limit) in limits.items():
            if not 0.0 <= value < limit:
                below = f" and below {limit:g}" if limit < float("inf") else ""
                raise InputError(f"expected {name} of zero or more{below}, found {value:g}; correct it")
        if not 0.0 <= self.max_volume_share <= 1.0:
            raise InputError(f"expected max_volume_share from 0 to 1, found {self.max_volume_share:g}; correct it")
        if type(self.delay_bars) is not int or not 0 <= self.delay_bars <= DELAY_MAX:
            raise InputError(f"expected whole delay_bars from 0 to {DELAY_MAX}, found {self.delay_bars}; correct it")
        amounts = {"a starting cash": self.cash, f"a {self.sizing.by.value} as sizing": self.sizing.amount}
        for name, amount in amounts.items():
            if not (amount.is_finite() and 1 / AMOUNT_MAX <= amount <= AMOUNT_MAX):
                raise InputError(f"expected {name} above zero and up to {AMOUNT_MAX:g}, found {amount}; correct it")

    def rules(self, instrument: Instrument) -> Rules:
        """Return the terms as the kernel takes them."""
        return Rules(
            cash=float(self.cash),
            fee=self.fee_bps / 10_000.0,
            slippage=self.slippage_bps / 10_000.0,
            sizing=_SIZED_BY[self.sizing.by],
            size=float(self.sizing.amount),
            longs=int(self.side is not Side.SHORT),
            shorts=int(self.side is not Side.LONG),
            stop_loss=self.stop_loss,
            take_profit=self.take_profit,
            trailing_stop=self.trailing_stop,
            lot=float(instrument.lot_step),
            min_quantity=float(instrument.min_quantity),
            min_notional=float(instrument.min_notional),
        )

    def scarcity(self) -> Scarcity | None:
        """Return how bars limit what is traded, None where they do not."""
        if not (self.impact or self.max_volume_share):
            return None
        return Scarcity(share=self.max_volume_share, impact=self.impact)

    def to_json(self) -> dict[str, Any]:
        """Return the terms as a JSON object, money as text; what limits fills is left out where it is off.

        So terms from before there were such limits keep their hash.
        """
        limits = {name: getattr(self, name) for name in ("impact", "max_volume_share", "delay_bars")}
        return {
            "initial_cash": str(self.cash),
            "fee_bps": self.fee_bps,
            "slippage_bps": self.slippage_bps,
            "sizing": str(self.sizing),
            "side": self.side.value,
            "stop_loss": self.stop_loss,
            "take_profit": self.take_profit,
            "trailing_stop": self.trailing_stop,
            **{name: value for name, value in limits.items() if value},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Terms":
        """Read what `to_json` wrote."""
        return cls(
            cash=Decimal(data["initial_cash"]),
            fee_bps=data["fee_bps"],
            slippage_bps=data["slippage_bps"],
            sizing=Sizing.parse(data["sizing"]),
            side=Side(data["side"]),
            stop_loss=data["stop_loss"],
            take_profit=data["take_profit"],
            trailing_stop=data["trailing_stop"],
            impact=data.get("impact", 0.0),
            max_volume_share=data.get("max_volume_share", 0.0),
            delay_bars=data.get("delay_bars", 0),
        )
