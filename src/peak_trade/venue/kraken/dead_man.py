"""Kraken's dead-man switch: the exchange cancels every order of the account unless it is told in time not to.

`CancelAllOrdersAfter` sets a timer there. It is told again only by the trading loop, in its own turn, and only while the
session is healthy: a loop that stands still, a process that was stopped and a session that can't see let it run out.
Invariant: nothing refreshes it but `tend`, and nothing calls `tend` but the loop that trades.
Invariant: where the exchange did not confirm the last refresh, or the timer may have run out, nothing is opened.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from peak_trade.model.clock import Clock
from peak_trade.venue.kraken.gateway import Failed, Gateway
from peak_trade.venue.kraken.reading import TimerSet, Unreadable, shaped
from peak_trade.venue.kraken.wire import Credentials, Request, private_request

#: The code under which an order is refused while the switch is not armed, and under which a session stops opening positions.
UNARMED, LAPSED = "dead_man_unarmed", "dead_man_lapsed"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadManTerms:
    """How long things take, seconds of the exchange's clock; the first two are what Kraken advises.

    Attributes:
        timeout_s: what the exchange waits before it cancels. refresh_s: between two refreshes, of which two may fail.
        again_s: until one that failed is tried again.
    """

    timeout_s: int = 60
    refresh_s: float = 20.0
    again_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerState:
    """What is known of the timer.

    Attributes:
        until_s: when it fires at the earliest, on a clock that never jumps; None while it was never armed, or is disarmed.
        wall_s: the same in unix seconds of the exchange: a machine that slept has a clock that never jumps which stood still.
        tried_s: when it was tried last; refused: what came of that, empty where it was confirmed.
        lapsed: whether it may have fired since the session began.
    """

    until_s: float | None = None
    wall_s: float | None = None
    tried_s: float | None = None
    refused: str = ""
    lapsed: bool = False

    def watched(self, now_s: float, wall_s: float) -> "TimerState":
        """Return the state at a moment: a timer that was not refreshed in time may have fired."""
        over = (self.until_s is not None and now_s >= self.until_s) or (self.wall_s is not None and wall_s >= self.wall_s)
        return replace(self, until_s=None, wall_s=None, lapsed=True) if over else self

    def due(self, now_s: float, terms: DeadManTerms) -> bool:
        """Tell whether it is to be refreshed."""
        pause = terms.again_s if self.refused else terms.refresh_s
        return self.tried_s is None or now_s - self.tried_s >= pause

    def confirmed(self, sent_s: float, wall_s: float, terms: DeadManTerms) -> "TimerState":
        """Return the state after the exchange confirmed what was sent at a moment: it fires no sooner than that allows."""
        until_s, fires_s = sent_s + terms.timeout_s, wall_s + terms.timeout_s
        return replace(self, until_s=until_s, wall_s=fires_s, tried_s=sent_s, refused="")

    def failed(self, sent_s: float, why: str) -> "TimerState":
        """Return the state after a refresh was refused or not answered: what was confirmed before still runs."""
        return replace(self, tried_s=sent_s, refused=why)

    @property
    def unarmed(self) -> str:
        """Why nothing may be opened; empty where it is armed and the last refresh was confirmed."""
        if self.refused:
            return f"the exchange did not confirm the dead-man switch: {self.refused}"
        return "" if self.until_s is not None else "the dead-man switch is not armed"


class DeadManSwitch:
    """The switch of one account; *state* may be read by anybody."""

    def __init__(self, gateway: Gateway, clock: Clock, terms: DeadManTerms | None = None) -> None:
        """Take who speaks with the exchange, and the exchange's clock; nothing is armed yet."""
        self._gateway, self._clock = gateway, clock
        self.terms = terms or DeadManTerms()
        self.state = TimerState()
        self.unhealthy = ""

    @property
    def armed_until(self) -> float | None:
        """When it fires unless it is refreshed, unix seconds of the exchange; None where it is not armed."""
        return self.watch().wall_s

    @property
    def trouble(self) -> str:
        """Why nothing may be opened; empty where it may."""
        if self.unhealthy:
            return f"the dead-man switch is not refreshed: {self.unhealthy}"
        return self.watch().unarmed

    def watch(self) -> TimerState:
        """Return the state as it is now."""
        self.state = self.state.watched(self._clock.elapsed_s(), self._clock.now().timestamp())
        return self.state

    async def tend(self, health: Callable[[], str]) -> None:
        """Refresh it where that is due and the session is healthy; only the trading loop may call this.

        Args:
            health: says why the session is not healthy, empty where it is.
        """
        self.unhealthy = health()
        state = self.watch()
        now_s, wall_s = self._clock.elapsed_s(), self._clock.now().timestamp()
        if self.unhealthy or not state.due(now_s, self.terms):
            return
        why = await self._set(self.terms.timeout_s)
        state = self.watch()
        self.state = state.failed(now_s, why) if why else state.confirmed(now_s, wall_s, self.terms)

    async def disarm(self) -> str:
        """Stop the timer; return why that failed, empty where it is done. Only for an account without orders.

        One that could not be stopped runs out, and finds nothing to cancel.
        """
        why = await self._set(0)
        if not why:
            self.state = replace(self.state, until_s=None, wall_s=None, refused="")
        return why

    async def _set(self, seconds: int) -> str:
        def build(keys: Credentials, nonce: int) -> Request:
            return private_request(keys, "CancelAllOrdersAfter", nonce, [("timeout", str(seconds))])

        # It counts with no pair's orders.
        found = await self._gateway.act(build, "", 0, urgent=True)
        if isinstance(found, Failed):
            return found.words or found.code
        try:
            told = shaped(found.result, TimerSet, "CancelAllOrdersAfter")
        except Unreadable as error:
            return str(error)
        if told.armed is not (seconds > 0):
            return f"it answered {told.triggerTime!r} to a timeout of {seconds} s"
        return ""
