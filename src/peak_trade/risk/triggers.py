"""What makes a session stop enlarging positions by itself: each trigger is a pure function of the numbers of a window.

Invariant: a trigger fires at its threshold and never below it, and what it fires with holds the numbers that it saw.
Invariant: windows go by a clock that never goes back; a moment before the latest one known counts as the latest, so that a
clock that is set back neither empties a window nor stretches it, and one that is set forward only lets time pass.
Source of the rules: the playbook, section 6.1, made exact.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from peak_trade.model.clock import moment_text
from peak_trade.model.errors import InvariantBroken, PeakTradeError
from peak_trade.risk.gate import Limits, Mode, daily_loss

NS = 1_000_000_000
#: Share of the start equity that an expected profit counts as at least: near zero any difference would be a large one.
EXPECTED_MIN = Decimal("0.005")

API_ERROR_RATE, PNL_DIVERGENCE, DATA_GAP = "api_error_rate", "pnl_divergence", "data_gap"
CORE_EXCEPTION, SUPERVISOR_LOST = "core_exception", "supervisor_lost"
DAILY_LOSS = ("max_daily_loss_abs", "max_daily_loss_pct")

Evidence = tuple[tuple[str, str], ...]


class Firing(NamedTuple):
    """A trigger that fired: the mode that it demands, its code, a sentence, and the numbers of its window as text."""

    mode: Mode
    code: str
    words: str
    evidence: Evidence = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """The section `[pause_triggers]`: shares in per cent, times in nanoseconds."""

    api_error_pct: Decimal
    api_error_window_ns: int
    api_errors_min: int
    api_requests_min: int
    pnl_divergence_pct: Decimal
    data_gap_ns: int


# ---- errors of the API -----------------------------------------------------------------------------------------------


def api_error_rate(requests: int, errors: int, given: Thresholds) -> Firing | None:
    """Fire where enough errors are strictly more than the allowed share of enough requests.

    Without requests there is no share, and in the first minutes of a session those it has made are all there are: both are
    too few until `api_requests_min` are reached.
    """
    if errors < given.api_errors_min or requests < given.api_requests_min:
        return None
    if errors * 100 <= given.api_error_pct * requests:
        return None
    seconds = Decimal(given.api_error_window_ns) / NS
    return Firing(
        Mode.RESTRICTED,
        API_ERROR_RATE,
        f"{errors} of {requests} requests in the last {seconds:f} s failed, allowed are {given.api_error_pct:f} %",
        (("errors", str(errors)), ("requests", str(requests)), ("window_s", f"{seconds:f}")),
    )


class ErrorWindow:
    """The requests of the latest so many seconds; a request of exactly that age is no longer among them."""

    def __init__(self, given: Thresholds) -> None:
        self._given = given
        self._calls: deque[tuple[int, bool]] = deque()
        self._errors = self._now_ns = 0

    def add(self, at_ns: int, *, failed: bool) -> None:
        """Take a request that was answered, or was not, at a moment of a steady clock, nanoseconds."""
        self._go_on(at_ns)
        self._calls.append((self._now_ns, failed))
        self._errors += failed

    def firing(self, now_ns: int) -> Firing | None:
        """Return whether the trigger fires at a moment."""
        self._go_on(now_ns)
        return api_error_rate(len(self._calls), self._errors, self._given)

    def _go_on(self, now_ns: int) -> None:
        self._now_ns = max(self._now_ns, now_ns)
        calls, first = self._calls, self._now_ns - self._given.api_error_window_ns
        while calls and calls[0][0] <= first:
            self._errors -= calls.popleft()[1]


# ---- silence of a market ---------------------------------------------------------------------------------------------


def data_gap(symbol: str, due_ns: int, now_ns: int, given: Thresholds) -> Firing | None:
    """Fire where a bar is missing for the allowed time or longer after it was due."""
    late_ns = now_ns - due_ns
    if late_ns < given.data_gap_ns:
        return None
    late, allowed = Decimal(late_ns) / NS, Decimal(given.data_gap_ns) / NS
    return Firing(
        Mode.RESTRICTED,
        DATA_GAP,
        f"no bar of {symbol} {late:.1f} s after one was due ({moment_text(due_ns)}), allowed are {allowed:f} s; check the feed",
        (("symbol", symbol), ("due", moment_text(due_ns)), ("late_s", f"{late:f}")),
    )


class SilenceWatch:
    """How far each symbol was told, and when its next bar is due: a bar's length after the end of what was told.

    Before anything was told, what was due is counted from the beginning of the watch. A bar without trades that the exchange
    tells counts as told.
    """

    def __init__(self, symbols: Iterable[str], step_ns: int, begun_ns: int, given: Thresholds) -> None:
        """Watch symbols whose bars are so long, from a moment on; times are nanoseconds UTC by the exchange's clock."""
        self._given, self._step_ns, self._now_ns = given, step_ns, begun_ns
        self._until = dict.fromkeys(symbols, begun_ns)

    def hear(self, symbol: str, until_ns: int) -> None:
        """Take that a symbol's bars were told up to a moment; an earlier one changes nothing."""
        self._until[symbol] = max(self._until[symbol], until_ns)

    def firing(self, now_ns: int) -> Firing | None:
        """Return the trigger of the symbol that is silent for longest, if it fires at a moment."""
        self._now_ns = max(self._now_ns, now_ns)
        symbol = min(self._until, key=self._until.__getitem__)
        return data_gap(symbol, self._until[symbol] + self._step_ns, self._now_ns, self._given)


# ---- profit ----------------------------------------------------------------------------------------------------------


def pnl_divergence(actual: Decimal, expected: Decimal, start: Decimal, given: Thresholds) -> Firing | None:
    """Fire where a profit differs from the expected one by strictly more than the allowed share of that.

    An expected profit near zero, of either sign, counts as half a per cent of the equity at the start. A profit that is no
    finite number differs by more than anything.

    Args:
        actual: equity now less equity at the start, quote currency.
        expected: the same, of a replay of the same bars through the kernel.
        start: equity at the start, quote currency. given: the thresholds.
    """
    if actual.is_finite() and expected.is_finite():
        against = max(abs(expected), EXPECTED_MIN * start)
        if abs(actual - expected) * 100 <= given.pnl_divergence_pct * against:
            return None
    return Firing(
        Mode.RESTRICTED,
        PNL_DIVERGENCE,
        f"the profit of {actual:.2f} differs from the expected {expected:.2f} by more than {given.pnl_divergence_pct:f} %; a "
        "person decides whether the session is paused",
        (("actual", f"{actual:f}"), ("expected", f"{expected:f}"), ("start_equity", f"{start:f}")),
    )


def loss_firings(equity: Decimal, day_start: Decimal, limits: Limits) -> list[Firing]:
    """Return what fires where the loss since 00:00 UTC, realised and unrealised, is at or over a limit.

    *day_start* is the equity at the last close of the day before; a bar that closes at 00:00 UTC belongs to the day that ends.
    """
    numbers = (("equity", f"{equity:f}"), ("day_start_equity", f"{day_start:f}"))
    return [
        Firing(Mode.PAUSED, found.code, found.words, (*numbers, ("limit", f"{getattr(limits, found.code):f}")))
        for found in daily_loss(equity, day_start, limits)
    ]


# ---- what nobody foresaw ---------------------------------------------------------------------------------------------


def core_exception(error: BaseException) -> Firing | None:
    """Fire for what nobody foresaw: an exception that is none of ours, or the one that says that an invariant is broken."""
    if isinstance(error, PeakTradeError) and not isinstance(error, InvariantBroken):
        return None
    kind = type(error).__name__
    return Firing(Mode.PAUSED, CORE_EXCEPTION, f"{kind}: {error}", (("exception", kind),))


def supervisor_lost(why: str | None) -> Firing | None:
    """Fire where nobody watches, for a reason."""
    return None if why is None else Firing(Mode.RESTRICTED, SUPERVISOR_LOST, f"nobody watches this session: {why}")


#: The codes of each trigger, and what it demands.
DEMANDS: Mapping[str, Mode] = {
    **dict.fromkeys(DAILY_LOSS, Mode.PAUSED),
    API_ERROR_RATE: Mode.RESTRICTED,
    CORE_EXCEPTION: Mode.PAUSED,
    PNL_DIVERGENCE: Mode.RESTRICTED,
    DATA_GAP: Mode.RESTRICTED,
    SUPERVISOR_LOST: Mode.RESTRICTED,
}
