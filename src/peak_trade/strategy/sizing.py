"""How much a target of 1 is worth."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum, unique

from peak_trade.model.errors import InputError


@unique
class SizedBy(Enum):
    """What the amount counts."""

    FRACTION = "fraction"
    QUANTITY = "quantity"
    NOTIONAL = "notional"


@dataclass(frozen=True, slots=True)
class Sizing:
    """The amount at a target of 1: a fraction of equity, base units or quote units."""

    by: SizedBy
    amount: Decimal

    @classmethod
    def parse(cls, text: str) -> "Sizing":
        """Read `fraction=0.25`, `quantity=1` or `notional=1000`.

        Raises:
            InputError: another word, no positive number, or a fraction above 1.
        """
        word, _, number = text.partition("=")
        try:
            by, amount = SizedBy(word.strip()), Decimal(number.strip())
        except (ValueError, InvalidOperation) as error:
            raise InputError(f"expected fraction=0.25, quantity=1 or notional=1000 as sizing, found {text!r}") from error
        if not amount.is_finite() or amount <= 0 or (by is SizedBy.FRACTION and amount > 1):
            limit = "above 0 and at most 1" if by is SizedBy.FRACTION else "above 0"
            raise InputError(f"expected a {by.value} {limit} as sizing, found {number.strip()}")
        return cls(by, amount)

    def __str__(self) -> str:
        return f"{self.by.value}={self.amount}"
