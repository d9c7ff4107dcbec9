"""An account whose session a test plays by hand: its journal as the engine writes one, and its lock held by this process."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from peak_trade.compose import Parts
from peak_trade.engine.records import FILLED, INCIDENT, SENDING, TRIPPED
from peak_trade.journal.chain import ENDED, Chain, holding
from peak_trade.model.order import Fill, Intent, OrderKind, Reason
from peak_trade.runs.acts import COMMAND, held, written
from peak_trade.runs.holds_kept import LIFTING, lifting_fact
from peak_trade.runs.safety.resumed import RESUME
from peak_trade.safety.holds import Hold


def an_intent(name: str, leg: str = "ma_crossover", quantity: str = "0.5", **changes: Any) -> Intent:
    """Return an order to be."""
    given: dict[str, Any] = {
        "client_id": name,
        "leg": leg,
        "symbol": "BTC/EUR",
        "kind": OrderKind.MARKET,
        "quantity": Decimal(quantity),
        "reason": Reason.TARGET,
        "reference": Decimal(30_000),
        "decided_ns": 1,
    }
    return Intent(**given | changes)


def lift(parts: Parts, account: str) -> tuple[Hold, ...]:
    """Lift the holds of an account as the restart procedure does at its end, without its points; return them."""
    with held(parts), written(parts, RESUME, "kim", COMMAND, **{LIFTING: lifting_fact(account, parts.holds.of(account))}):
        return parts.holds.lift(account)


class PlayedSession:
    """A session at work: what a test lets it write."""

    def __init__(self, parts: Parts, account: str, begun: Mapping[str, Any]) -> None:
        self.parts, self.account = parts, account
        self.name = str(parts.ids.next_run())
        body = {"continues": None, "spec": "{}", "legs": [], **begun}
        self.chain = Chain.begin(parts.journal, account, self.name, body, at=parts.clock.now(), signer=parts.signer)

    def write(self, kind: str, **body: Any) -> None:
        """Write a record."""
        self.chain.append(kind, body, at=self.parts.clock.now(), durable=True)

    def send(self, name: str, **changes: Any) -> None:
        """Send an order."""
        self.write(SENDING, intent=an_intent(name, **changes).to_json(), warnings=[])

    def fill(self, name: str, quantity: str = "0.5", leg: str = "ma_crossover", remaining: str = "0") -> None:
        """Fill an order."""
        fill = Fill(
            fill_id=f"f-{name}-{self.chain.head[0]}",
            client_id=name,
            leg=leg,
            symbol="BTC/EUR",
            reason=Reason.TARGET,
            quantity=Decimal(quantity),
            price=Decimal(30_000),
            fee=Decimal(1),
            bar_ns=1,
            at_ns=2,
            maker=False,
            remaining=Decimal(remaining),
        )
        self.write(FILLED, **fill.to_json())

    def trip(self, mode: str = "paused", code: str = "operator_pause") -> None:
        """Take a stricter mode."""
        self.write(TRIPPED, mode=mode, code=code, words="told so")
        self.write(INCIDENT, mode=mode, code=code, words="told so")

    def end(self) -> None:
        """Come to the end."""
        self.write(ENDED, status="completed", error=None, metrics={}, decisions_sha256="0" * 64)


@contextmanager
def playing(parts: Parts, account: str = "paper", **begun: Any) -> Iterator[PlayedSession]:
    """Hold an account as a session at work does."""
    now = parts.clock.now()
    session_id = parts.ids.next_run()
    with holding(parts.journal, account, session_id=session_id, at=now):
        session = PlayedSession(parts, account, begun)
        try:
            yield session
        finally:
            session.chain.close()
