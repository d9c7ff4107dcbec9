"""What an account held before a session's first order: books begin with a strategy's own money, an account may hold more.

Invariant: it is written once, before the first order can leave, and read by whoever goes on with the session.
"""

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple

from peak_trade import durable
from peak_trade.model.errors import SafetyRefused


class OpeningBalances(NamedTuple):
    """What was there: cash in quote currency and quantities by symbol, as the exchange showed them."""

    cash: Decimal
    held: Mapping[str, Decimal]


class OpeningFile:
    """Where that is kept: a file of one session, those that go on with it included."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> OpeningBalances | None:
        """Return what was there; None while nothing was written.

        Raises:
            SafetyRefused: the file is not as it was written.
        """
        if not self.path.exists():
            return None
        try:
            told = json.loads(self.path.read_text("utf-8"))
            return OpeningBalances(Decimal(told["cash"]), {str(name): Decimal(value) for name, value in told["held"].items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError, InvalidOperation) as error:
            raise SafetyRefused(
                f"expected what the account held before the session in {self.path.name}, found something else ({error}); "
                "nothing was sent: look at the account, then begin anew with --fresh"
            ) from error

    def write(self, found: OpeningBalances) -> None:
        """Keep it, whole and on the disk.

        Raises:
            StorageError: the disk refused.
        """
        told = {"cash": str(found.cash), "held": {name: str(value) for name, value in found.held.items()}}
        durable.write_text(self.path, json.dumps(told, sort_keys=True) + "\n")
