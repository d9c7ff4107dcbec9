"""What a supervisor does about what it sees: it tells people, opens incidents, holds accounts, cancels orders, writes it down.

What stops something is done at once, in the supervisor's own turn; what only tells of it waits in a queue and is written by a
thread, because the journal of acts may be in use. Cancelling at an exchange has a thread of its own.

Invariant: each is done once while a condition goes on; only a cancellation that failed is tried again, and an account is held
again that a restart set free while the condition goes on.
Invariant: where the disk takes no hold, the kill switch is turned on, and where it does not take that either, stderr has it.
"""

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from peak_trade.compose import Parts
from peak_trade.journal.operators import ACCOUNT
from peak_trade.model.clock import moment_text, nanoseconds
from peak_trade.model.errors import PeakTradeError, StorageError
from peak_trade.runs.acts import MACHINE, held, written
from peak_trade.runs.alerts import alerts
from peak_trade.runs.holds_kept import placed_fact
from peak_trade.safety.alerts import Alert, Severity
from peak_trade.safety.holds import Hold, HoldKind
from peak_trade.safety.watch import REMEDIES, Alarm

#: Who acts, and the code of its holds.
BY = "supervisor"
#: Actions of the supervisor, as they stand in the journal of acts.
STARTED, ENDED = "supervisor_started", "supervisor_ended"
ALARM, OVER, HELD, CANCELLED, KILLED = (
    "supervisor_alarm",
    "supervisor_over",
    "supervisor_hold",
    "supervisor_cancel",
    "supervisor_kill",
)
#: Acts that may wait to be written; beyond, the oldest is told on stderr alone.
WAITING_MAX = 200
#: Tries to write an act, and seconds between two.
TRIES, AGAIN_S = 10, 5.0
#: Seconds until a cancellation that failed is tried again, at first and at most.
CANCEL_AGAIN_S, CANCEL_MOST_S = 10.0, 600.0
#: How long after a hold was lifted its condition may go on before the account is held again, seconds.
RESUMED_S = 60.0
#: Deeds that are remembered for who asks.
SHOWN = 20

#: How an incident calls it.
GRAVE = {Severity.INFO: "low", Severity.WARNING: "medium", Severity.CRITICAL: "high"}
#: Cancels every order at the exchange of an account, and writes that down; returns what became of it, in words.
Cancel = Callable[[str, str], str]


class Deeds:
    """What one supervisor does."""

    def __init__(self, parts: Parts, cancel: Cancel, say: Callable[[str], None]) -> None:
        self._parts, self._cancel, self._say = parts, cancel, say
        self.done: deque[str] = deque(maxlen=SHOWN)
        self._waiting: deque[Callable[[], None]] = deque()
        self._held: set[tuple[str, str]] = set()
        self._lifted: dict[tuple[str, str], float] = {}
        self._cancels: dict[str, tuple[int, float]] = {}
        self._tripped = False
        self._there = threading.Condition()
        self._ending = threading.Event()
        self._worker = threading.Thread(target=self._work, name="supervisor-acts", daemon=True)
        self._worker.start()

    def close(self, wait_s: float) -> None:
        """Write what waits, for so long at most."""
        with self._there:
            self._ending.set()
            self._there.notify()
        self._worker.join(wait_s)

    # ---- at once ---------------------------------------------------------------------------------------------------

    def begin(self, alarm: Alarm) -> None:
        """Tell people of a condition, open its incident, write both down."""
        remedy = REMEDIES[alarm.watch]
        alerts.tell(self._parts, Alert(_alert_key(alarm), remedy.severity, alarm.words, _figures(alarm)))
        self._note(f"alarm: {alarm.words}")

        def record() -> None:
            facts = {"key": alarm.key, "severity": remedy.severity.value, "words": alarm.words, "found": alarm.found}
            incident = self._incident(alarm) if remedy.incident else None
            with held(self._parts), written(self._parts, ALARM, BY, MACHINE, **facts, **_about(alarm)) as act:
                act.outcome |= {"alert": _alert_key(alarm), "incident": incident}

        self._later(f"the alarm {alarm.key}", record)

    def end(self, alarm: Alarm) -> None:
        """Tell people that a condition is over; what holds an account stays, until a person looked."""
        alerts.recovered(self._parts, _alert_key(alarm))
        self._held = {known for known in self._held if known[0] != alarm.key}
        self._lifted = {known: at_s for known, at_s in self._lifted.items() if known[0] != alarm.key}
        self._cancels.pop(alarm.key, None)
        self._note(f"over: {alarm.words}")
        self._act(OVER, key=alarm.key, words=alarm.words)

    def hold(self, alarm: Alarm, kind: HoldKind, at_s: float) -> None:
        """Hold the accounts of a condition, each once; again where a restart lifted that a while ago and it still goes on.

        What is wrong with one session ends with it, so that an account that was resumed is not held for that again.

        Args:
            at_s: now, in seconds of a clock that never jumps.
        """
        for account in alarm.accounts:
            known = (alarm.key, account)
            if account == ACCOUNT:
                continue
            if known not in self._held:
                self._held.add(known)
                self._hold(account, alarm, kind)
            elif alarm.session_id is None and not self._holds(account, kind):
                if at_s - self._lifted.setdefault(known, at_s) >= RESUMED_S:
                    del self._lifted[known]
                    self._hold(account, alarm, kind)
            else:
                self._lifted.pop(known, None)

    def cancel(self, alarm: Alarm, at_s: float) -> None:
        """Cancel at the exchange what nobody looks after: once, but again and again, ever later, where it failed.

        Args:
            at_s: now, in seconds of a clock that never jumps.
        """
        failures, again_s = self._cancels.get(alarm.key, (0, at_s))
        if not alarm.cancel or at_s < again_s:
            return
        self._cancels[alarm.key] = (failures, float("inf"))  # under way, or done

        def work() -> None:
            try:
                outcome = self._cancel(alarm.cancel, alarm.words)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again, and people are told
                wait_s = min(CANCEL_AGAIN_S * 2**failures, CANCEL_MOST_S)
                self._cancels[alarm.key] = (failures + 1, at_s + wait_s)
                words = f"the orders of account {alarm.cancel} could not be cancelled, it is tried again: {error}"
                alerts.tell(self._parts, Alert(_cancel_key(alarm), Severity.CRITICAL, words, alarm.words))
            else:
                words = f"cancelled the orders of account {alarm.cancel}: {outcome}"
                alerts.recovered(self._parts, _cancel_key(alarm))
            self._note(words)

        threading.Thread(target=work, name="supervisor-cancel", daemon=True).start()

    # ---- in their turn ---------------------------------------------------------------------------------------------

    def remember(self, action: str, **facts: Any) -> None:
        """Write down that something was done."""
        self._act(action, **facts)

    def _holds(self, account: str, kind: HoldKind) -> bool:
        """Tell whether a hold of a supervisor's is there that is at least as strict."""
        strict = list(HoldKind).index
        return any(known.code == BY and strict(known.kind) >= strict(kind) for known in self._parts.holds.of(account))

    def _hold(self, account: str, alarm: Alarm, kind: HoldKind) -> None:
        parts = self._parts
        try:
            if self._holds(account, kind):
                return
            now = parts.clock.now()
            hold = parts.holds.place(account, Hold(moment_text(nanoseconds(now)), BY, alarm.words, kind, BY), now)
        except (StorageError, OSError) as error:
            self._trip(f"{alarm.words}; account {account} could not be held: {error}")
            return
        self._note(f"held account {account} ({kind.value}): {alarm.words}")
        self._act(HELD, key=alarm.key, account=account, kind=kind.value, words=alarm.words, placed=[placed_fact(account, hold)])

    def _trip(self, why: str) -> None:
        """Turn the kill switch on, where nothing milder can be written."""
        self._say(f"turning the kill switch on: {why}")
        try:
            self._parts.kill_switch.trip(BY, why, self._parts.clock.now())
        except (StorageError, OSError) as error:
            self._say(f"the kill switch could not be turned on: {error}")
            return
        self._note(f"turned the kill switch on: {why}")
        if not self._tripped:
            self._tripped = True
            self._act(KILLED, why=why)

    def _incident(self, alarm: Alarm) -> str | None:
        """Open an incident; None where it could not be."""
        from peak_trade.governance.incidents import KEY_MAX, SAID_MAX, TITLE_MAX
        from peak_trade.runs.incidents import open_incident

        try:
            return open_incident(
                self._parts,
                key=_one_line(_alert_key(alarm), KEY_MAX),
                severity=GRAVE[REMEDIES[alarm.watch].severity],
                title=_one_line(alarm.words, TITLE_MAX),
                why=_one_line(f"{alarm.words}: {_figures(alarm)}", SAID_MAX),
                by=BY,
                session_id=alarm.session_id,
                via=MACHINE,
            )
        except PeakTradeError as error:
            self._say(f"no incident could be opened of {alarm.key}: {error}")
            return None

    def _act(self, action: str, **facts: Any) -> None:
        def record() -> None:
            with held(self._parts), written(self._parts, action, BY, MACHINE, **facts):
                pass

        self._later(action, record)

    def _later(self, name: str, record: Callable[[], None]) -> None:
        def tried() -> None:
            for attempt in range(1, TRIES + 1):
                try:
                    record()
                except (PeakTradeError, OSError) as error:
                    if attempt == TRIES or self._ending.is_set():
                        self._say(f"{name} could not be written down: {error}")
                        return
                    self._ending.wait(AGAIN_S)
                else:
                    return

        with self._there:
            if len(self._waiting) >= WAITING_MAX:
                self._waiting.popleft()
                self._say(f"{WAITING_MAX} acts wait to be written down, and the oldest no longer does")
            self._waiting.append(tried)
            self._there.notify()

    def _work(self) -> None:
        while True:
            with self._there:
                while not self._waiting and not self._ending.is_set():
                    self._there.wait()
                if not self._waiting:
                    return
                record = self._waiting.popleft()
            with suppress(Exception):  # what nobody foresaw must not keep the next act from being written
                record()

    def _note(self, words: str) -> None:
        line = f"{moment_text(nanoseconds(self._parts.clock.now()))} {words}"
        self.done.append(line)
        self._say(words)


def _alert_key(alarm: Alarm) -> str:
    return f"supervisor.{alarm.key}"


def _cancel_key(alarm: Alarm) -> str:
    return f"supervisor.cancel.{alarm.about}"


def _figures(alarm: Alarm) -> str:
    return f"found {alarm.found}, expected {alarm.limit}"


def _one_line(words: str, most: int) -> str:
    """Return words that an incident takes: printable, and not too long."""
    plain = "".join(letter if letter.isprintable() else " " for letter in words)
    return plain if len(plain) <= most else f"{plain[: most - 3]}..."


def _about(alarm: Alarm) -> dict[str, Any]:
    return {"limit": alarm.limit, "session_id": alarm.session_id, "accounts": list(alarm.accounts)}
