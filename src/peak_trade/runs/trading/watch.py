"""What watches a session from within its own process: triggers, holds of its account, and the sign of a supervisor.

Invariant: everything that is heeded goes through the engine as a demand, so that it stands in the journal and replays.
Invariant: a pause that has to outlive the session holds its account before the session's journal tells of it.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal

from peak_trade.compose import Parts
from peak_trade.engine.live import GrowingBars, LiveFeed
from peak_trade.engine.runner import Watch
from peak_trade.engine.state import Retire, State, Tripped
from peak_trade.model.clock import moment_text, nanoseconds
from peak_trade.model.errors import PeakTradeError
from peak_trade.risk.gate import Mode
from peak_trade.risk.triggers import (
    CORE_EXCEPTION,
    DAILY_LOSS,
    NS,
    ErrorWindow,
    Firing,
    SilenceWatch,
    Thresholds,
    pnl_divergence,
    supervisor_lost,
)
from peak_trade.runs.holds_kept import placed_fact
from peak_trade.runs.incidents import report_incident
from peak_trade.runs.sessions.expectation import expected_profit
from peak_trade.runs.sessions.plan import SessionPlan
from peak_trade.runs.supervisor_sign import supervisor_trouble
from peak_trade.safety.holds import Hold, HoldKind
from peak_trade.settings import PauseTriggers
from peak_trade.strategy.catalogue import keys_within
from peak_trade.venue.port import CONTRACT_BROKEN

#: What stands in the journal for what a hold asks.
HOLD = "hold"
#: Codes of what pauses an account beyond its session.
LATCHING = frozenset({*DAILY_LOSS, CORE_EXCEPTION, CONTRACT_BROKEN})
#: Seconds of the market between two comparisons with the kernel, and how often as long as one took lies between them.
COMPARE_S, REST = 60.0, 50.0
#: Machine's seconds between two comparisons at least.
COMPARE_MIN_S = 1.0


def thresholds_of(section: PauseTriggers) -> Thresholds:
    """Return the configured thresholds, exact."""
    return Thresholds(
        api_error_pct=Decimal(repr(section.api_error_pct)),
        api_error_window_ns=round(section.api_error_window_s * NS),
        api_errors_min=section.api_errors_min,
        api_requests_min=section.api_requests_min,
        pnl_divergence_pct=Decimal(repr(section.pnl_divergence_pct)),
        data_gap_ns=round(section.data_gap_s * NS),
    )


class HoldWatch:
    """What people and triggers ask of one session through the holds of its account.

    A session at an exchange minds the holds of other accounts too that reach it through its API key. A rehearsal neither places
    holds nor minds those from before its beginning.
    """

    def __init__(
        self, parts: Parts, plan: SessionPlan, account: str, session_id: str, *, rehearsal: bool, key: str | None = None
    ) -> None:
        self._holds, self._clock, self._plan, self._account = parts.holds, parts.clock, plan, account
        self._parts, self._session_id = parts, session_id
        self._by, self._rehearsal = f"session {session_id}", rehearsal
        self._keys = () if key is None else (key,)
        self._heeded = {(account, hold) for hold in parts.holds.of(account)} if rehearsal else set()
        self._latched: set[str] = set()

    def demands(self) -> Sequence[Tripped | Retire]:
        """Return what the holds ask that they did not ask before."""
        mine = [(self._account, hold) for hold in self._holds.of(self._account)]
        found: list[Tripped | Retire] = []
        for item in (*mine, *self._holds.beyond(self._account, self._keys)):
            if item not in self._heeded:
                self._heeded.add(item)
                found += self._asked(*item)
        return found

    def latch(self, code: str, words: str) -> None:
        """Hold the account where what happened has to outlive the session, and have an incident opened of it.

        Raises:
            StorageError: the disk refused.
        """
        if self._rehearsal or code not in LATCHING or code in self._latched:
            return
        now = self._clock.now()
        hold = Hold(moment_text(nanoseconds(now)), self._by, words, HoldKind.PAUSE, code, keys=self._keys)
        hold = self._holds.place(self._account, hold, now)
        self._heeded.add((self._account, hold))
        self._latched.add(code)
        title = f"{self._account} was paused by {code}"
        report_incident(
            self._parts,
            key=f"{code}.{self._account}",
            severity="high",
            title=title,
            why=words,
            session_id=self._session_id,
            placed=(placed_fact(self._account, hold),),
        )

    def _asked(self, account: str, hold: Hold) -> list[Tripped | Retire]:
        words = f"the account {account} is held: {hold}"
        if account != self._account:
            words = f"the account {account}, which trades with the same exchange key, is held: {hold}"
        if hold.kind is HoldKind.RESTRICT:
            return [Tripped(Mode.RESTRICTED, HOLD, words)]
        if hold.kind is HoldKind.PAUSE:
            return [Tripped(Mode.PAUSED, HOLD, words)]
        if not hold.strategies:
            return [Tripped(Mode.PAUSED, HOLD, words), Retire((), words)]
        mine = tuple(leg.name for leg in self._plan.legs if keys_within(leg.strategy) & set(hold.strategies))
        return [Retire(mine, words)] if mine else []


class ProfitWatch:
    """Compares a session's profit with the kernel's over the same bars, in a thread, for at most a fiftieth of the time."""

    def __init__(
        self,
        parts: Parts,
        plan: SessionPlan,
        state: Callable[[], State],
        *,
        speed: float | None,
        growing: Mapping[str, GrowingBars] | None,
        say: Callable[[str], None],
    ) -> None:
        """Watch a session.

        Args:
            parts, plan: its parts and plan. state: its present state.
            speed: how much faster than the machine's its market's clock goes; None for as fast as can be.
            growing: the bars of its markets where it follows them. say: told where a comparison fails.
        """
        self._parts, self._plan, self._state, self._growing, self._say = parts, plan, state, growing, say
        self._given = thresholds_of(parts.settings.file.pause_triggers)
        self._pause_s = COMPARE_MIN_S if speed is None else max(COMPARE_MIN_S, COMPARE_S / speed)
        self._due_s = parts.clock.elapsed_s() + self._pause_s
        self._begun_s = 0.0
        self._compared = 0
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="profit")
        self._running: Future[Firing | None] | None = None

    def __call__(self) -> Firing | None:
        """Return what the last comparison came to, once; begin another where it is time."""
        now_s = self._parts.clock.elapsed_s()
        if self._running is None:
            if now_s >= self._due_s:
                self._begin(now_s)
            return None
        if not self._running.done():
            return None
        done, self._running = self._running, None
        self._due_s = now_s + max(self._pause_s, REST * (now_s - self._begun_s))
        return done.result()

    def close(self) -> None:
        """Begin nothing any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self, now_s: float) -> None:
        state = self._state()
        # What was stopped or closed on purpose is expected to differ.
        if state.bars <= self._compared or state.mode is not Mode.RUNNING or any(leg.retired for leg in state.legs):
            return
        self._begun_s, self._compared = now_s, state.bars
        plan = self._plan
        if self._growing is not None:
            grown = {name: replace(data, bars=self._growing[name][:]) for name, data in plan.datasets.items()}
            plan = replace(plan, datasets=grown)
        self._running = self._threads.submit(self._compare, plan, state)

    def _compare(self, plan: SessionPlan, state: State) -> Firing | None:
        start = plan.paper.start_balance
        try:
            expected = expected_profit(self._parts, plan, state.bars)
        except PeakTradeError as error:
            self._say(f"what the session should have earned can't be told: {error}")
            expected = Decimal("NaN")
        return None if expected is None else pnl_divergence(state.equity - start, expected, start, self._given)


class SessionWatch:
    """Everything that watches one session."""

    def __init__(self, parts: Parts, plan: SessionPlan, account: HoldWatch, say: Callable[[str], None]) -> None:
        self.account = account
        self._parts, self._plan, self._say = parts, plan, say
        self._given = thresholds_of(parts.settings.file.pause_triggers)
        self._speed = parts.exchange.speed if plan.followed else 1.0
        self._calls = ErrorWindow(self._given)
        self._profit: ProfitWatch | None = None
        parts.call_seen = lambda call: self._calls.add(self._now_ns(), failed=call.failed)

    def api_errors(self) -> Firing | None:
        """Return whether too many calls of the exchange failed."""
        return self._calls.firing(self._now_ns())

    def silence(self, feed: LiveFeed) -> Watch:
        """Return what watches for bars that don't come, by the exchange's clock as it goes on from now."""
        begun_ns, begun_at = feed.now_ns(), self._now_ns()
        silence = SilenceWatch(self._plan.datasets, self._plan.first.bars.timeframe.step_ns, begun_ns, self._given)

        def watch() -> Firing | None:
            for symbol, until_ns in feed.heard().items():
                silence.hear(symbol, until_ns)
            return silence.firing(begun_ns + self._now_ns() - begun_at)

        return watch

    def supervision(self) -> Firing | None:
        """Return whether a supervisor that is required shows no sign."""
        return supervisor_lost(supervisor_trouble(self._parts))

    def profit(
        self, state: Callable[[], State], speed: float | None, growing: Mapping[str, GrowingBars] | None = None
    ) -> ProfitWatch:
        """Return what compares the session's profit."""
        self._profit = ProfitWatch(self._parts, self._plan, state, speed=speed, growing=growing, say=self._say)
        return self._profit

    def close(self) -> None:
        """Watch no more."""
        self._parts.call_seen = lambda _call: None
        if self._profit is not None:
            self._profit.close()

    def _now_ns(self) -> int:
        """Return the steady clock, at the exchange's speed."""
        return int(self._parts.clock.elapsed_s() * self._speed * NS)
