"""What every venue promises, simulated or real.

A venue takes an `Approved` and nothing else. It never raises for what a venue may say: it answers `Accepted`, `Rejected` or
`Unknown`, and after `Unknown` the caller asks (`look_up`) before anything else.
"""

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple, Protocol

from peak_trade.model.order import Closed, Fill, MarketBar, OrderState
from peak_trade.risk.gate import Approved

#: The code of an order that a venue executed although it was only to look at it.
CONTRACT_BROKEN = "contract_broken"


class Accepted(NamedTuple):
    """The venue has the order."""

    client_id: str


class Rejected(NamedTuple):
    """The venue refused; nothing was or will be filled. `code` is ours, `words` the venue's."""

    client_id: str
    code: str
    words: str


class Unknown(NamedTuple):
    """Whether the venue has the order is not known."""

    client_id: str
    words: str


Reply = Accepted | Rejected | Unknown


class OrderReport(NamedTuple):
    """What a venue says of an order that it knows."""

    client_id: str
    state: OrderState
    filled: Decimal
    why: str


class Snapshot(NamedTuple):
    """What an account holds, as the venue sees it: cash in quote currency, signed positions by symbol, working orders.

    `cash_step` is how far the cash may be from exact, because the venue shows it rounded; 0 where it does not.
    """

    cash: Decimal
    positions: Mapping[str, Decimal]
    working: tuple[str, ...]
    cash_step: Decimal = Decimal(0)


class VenueNews(NamedTuple):
    """What happened at a venue since it was last asked, oldest first.

    `trouble` says in a sentence why no position may be opened any more, and `code` names that; both are empty where nothing is
    wrong.
    """

    events: "Sequence[Fill | Closed]" = ()
    code: str = ""
    trouble: str = ""


class Venue(Protocol):
    """A place that fills orders."""

    async def submit(self, approved: Approved) -> Reply:
        """Send an order once; the same `client_id` again is `Rejected` with the code `duplicate`."""
        ...

    async def cancel(self, client_id: str) -> Reply | Closed:
        """Ask to cancel: `Closed` if it is done, `Accepted` if that follows or the order had ended already."""
        ...

    async def look_up(self, client_ids: Sequence[str]) -> dict[str, OrderReport]:
        """Return what the venue knows of these orders, open or ended; one it never had is left out.

        A venue that shows orders late is asked again until its lag is over: to leave one out says that it never had it.
        """
        ...

    async def fills_after(self, fill_id: str | None) -> Sequence[Fill | Closed]:
        """Return every fill and end of an order after that fill, in their order; all where it is None or not known there."""
        ...

    async def snapshot(self) -> Snapshot:
        """Return balances, positions and working orders."""
        ...

    async def news(self) -> VenueNews:
        """Return what happened that no bar tells; asked between two bars of a followed market, every second or oftener.

        Nothing where bars tell everything. A venue that is an exchange asks it no oftener than its limits allow, and does here
        whatever must stop when the trading loop stands still.
        """
        ...

    async def prepare(self) -> None:
        """Look at whatever an exchange must be looked at for before the first order; nothing where there is none.

        Raises:
            SafetyRefused: it may not be used so.
            Unavailable: it does not tell.
        """
        ...

    async def left_open(self, client_ids: Collection[str]) -> Sequence[str]:
        """Return what an exchange has open of these orders, each as its name there, and what came of calling it back at once.

        Nothing where there is no exchange, or where orders that work there are as they should be.

        Raises:
            Unavailable: it does not tell.
        """
        ...

    async def release(self) -> None:
        """Let go of connections, within the loop that they belong to; orders stay as they are."""
        ...

    def close(self) -> None:
        """Let go of files; orders stay as they are."""
        ...

    def opened(self, bar: MarketBar) -> Sequence[Fill | Closed]:
        """Return what happened at the opening of a bar; a simulated venue uses nothing of it but the open."""
        ...

    def traded(self, bar: MarketBar) -> Sequence[Fill | Closed]:
        """Return what happened while a bar traded."""
        ...
