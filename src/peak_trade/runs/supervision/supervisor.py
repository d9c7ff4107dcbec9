"""The supervisor: a process of its own that watches every session of a state folder, and acts where these can't.

    peak-trade supervisor run

Each second it looks at the registry, at processes, journals, clocks, memory and disks, asks `safety/watch.py` what is wrong in
that, and lets `supervisor_deeds` act. It shows itself by a sign that it writes only after a look that came to its end.

Invariant: it imports nothing of the engine, and no session, journal, disk or registry that is in trouble ends it.
Invariant: what may take long, the registry too, is asked in a thread, and a look never waits for it.
Invariant: whatever goes on, it remembers no more than what goes on.
"""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from peak_trade.compose import Parts
from peak_trade.durable import storing
from peak_trade.journal.chain import accounts
from peak_trade.journal.operators import ACCOUNT
from peak_trade.journal.run import RunStatus
from peak_trade.journal.session import Session
from peak_trade.journal.sessions import SessionFilter
from peak_trade.journal.signing import Verifier, public_path
from peak_trade.journal.verify import NOTES, verify_account
from peak_trade.model.clock import moment_text, nanoseconds
from peak_trade.model.errors import SafetyRefused
from peak_trade.model.kill_level import KillLevel
from peak_trade.runs.acts import MACHINE
from peak_trade.runs.alerts import alerts
from peak_trade.runs.alerts.sending import send_all
from peak_trade.runs.record import Json
from peak_trade.runs.service_notice import ALIVE, ENDING, READY, tell_service
from peak_trade.runs.supervision.deeds import BY, CANCELLED, ENDED, STARTED, Cancel, Deeds
from peak_trade.runs.supervision.look import SessionEyes, exchange_ahead_s, folders_of, free_memory
from peak_trade.runs.supervisor_sign import (
    Duty,
    Uptime,
    alarms_seen,
    machine_uptime,
    put_in_place,
    read_sign,
    seen_path,
    sign_trouble,
    write_sign,
)
from peak_trade.safety.watch import (
    GAP_MAX_S,
    MB,
    REMEDIES,
    Alarm,
    Memory,
    Observation,
    ProcessState,
    SessionSight,
    Stand,
    WatchLimits,
    holds_due,
    turn,
    watch,
)

#: Sessions, alarms and characters of their words that are shown; all are watched.
SHOWN, WORDS_MAX = 200, 500
#: Sessions that are watched at most.
SESSIONS_MAX = 1_000
#: How long a look waits for the registry before it goes on with what it knew, seconds.
REGISTRY_WAIT_S = 0.5
#: How often it is looked whether alerts wait to be sent, seconds.
SEND_EVERY_S = 60.0
#: Newest sessions of an account whose heads, as the registry remembers them, a verification asks for.
HEADS_MAX = 1_000
#: The first verification waits so long, and one that could not be done is tried again after it, seconds.
VERIFY_FIRST_S = 30.0
#: How long one that ends waits until what it did is written down, seconds.
END_S = 10.0

Found = TypeVar("Found")


class AsideAnswer(NamedTuple, Generic[Found]):
    """What a question came to: a value, or in words why not."""

    value: Found | None
    why_not: str


class Aside(Generic[Found]):
    """A question that may take long, asked in a thread of its own; one at a time."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._answer: AsideAnswer[Found] | None = None

    def ask(self, question: Callable[[], Found]) -> bool:
        """Ask, unless an answer is still waited for or was not taken; return whether it was asked."""
        if self._thread is not None:
            return False

        def work() -> None:
            try:
                self._answer = AsideAnswer(question(), "")
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and asked again
                self._answer = AsideAnswer(None, str(error) or type(error).__name__)

        self._thread = threading.Thread(target=work, name="supervisor-asks", daemon=True)
        self._thread.start()
        return True

    def wait(self, wait_s: float) -> None:
        """Wait for the answer, which is still to be taken."""
        if self._thread is not None:
            self._thread.join(wait_s)

    def take(self, wait_s: float = 0.0) -> AsideAnswer[Found] | None:
        """Return the answer, once; None while there is none."""
        if self._thread is None:
            return None
        self.wait(wait_s)
        if self._thread.is_alive():
            return None
        self._thread, found = None, self._answer
        self._answer = None
        return found


class Supervision:
    """One supervisor at work."""

    def __init__(
        self, parts: Parts, say: Callable[[str], None], cancel: Cancel, uptime: Callable[[], Uptime] = machine_uptime
    ) -> None:
        self._parts, self._say, self._uptime = parts, say, uptime
        self._section = parts.settings.file.supervisor
        self._limits = limits_of(parts)
        self._began = moment_text(nanoseconds(parts.clock.now()))
        self.deeds = Deeds(parts, cancel, say)
        self._registry: Aside[list[Session]] = Aside()
        self._verifying: Aside[tuple[str, str]] = Aside()
        self._exchange: Aside[float] = Aside()
        self._sending: Aside[None] = Aside()
        self._eyes: dict[str, SessionEyes] = {}
        self._answered_s: float | None = None
        self._registry_why = ""
        self._fresh = False
        self._due = {"verifying": uptime().seconds + VERIFY_FIRST_S}
        self._verified = ""
        self._flawed: dict[str, str] = {}
        self._ahead_s: float | None = None
        self._faults: dict[str, str] = {}
        self._unanswered: dict[str, str] = {}
        self._memory: Memory | None = None
        self.standing: dict[str, Stand] = dict(alarms_seen(parts))
        self._signed_s = -1e9

    def round(self) -> None:
        """Look once, act on it, and show that it was done."""
        now, uptime = self._parts.clock.now(), self._uptime()
        self._faults.clear()
        self._hear_registry(uptime.seconds)
        self._ask_aside(uptime.seconds)
        parts = self._parts
        level = parts.kill_switch.level()
        looks = [self._session(eyes, uptime.seconds, level) for eyes in self._eyes.values()]
        observation = Observation(
            at=now,
            uptime_s=uptime.seconds,
            sessions=tuple(look for look in looks if look is not None),
            folders=self._guarded("disks", lambda: folders_of(self._folders()), ()),
            free_memory=self._guarded("memory", free_memory, None),
            exchange_ahead_s=self._ahead_s,
            killed=level is not None,
            flawed=dict(self._flawed),
            registry_out_s=0.0 if self._answered_s is None else uptime.seconds - self._answered_s,
            unseen=(),
        )
        observation = _with_unseen(observation, self._faults | self._unanswered)
        before = self._memory
        self._memory, found = watch(before, observation, self._limits)
        gap_s = 0.0 if before is None else max(0.0, uptime.seconds - before.uptime_s)
        turned = turn(self.standing, found, min(gap_s, GAP_MAX_S), self._section.calm_s)
        self.standing = dict(turned.standing)
        self._act(turned.begun, turned.over, uptime.seconds)
        self._show(observation, uptime)

    def stopped(self) -> None:
        """Say that nobody watches any more, on purpose."""
        self.deeds.remember(ENDED, at_work_since=self._began)
        with suppress(OSError):
            write_sign(self._parts, self._began, Duty.STOPPED, self._uptime())
        self.deeds.close(END_S)
        alerts.flush(self._parts)

    # ---- looking ---------------------------------------------------------------------------------------------------

    def _guarded(self, name: str, look: Callable[[], Found], instead: Found) -> Found:
        """Look at one thing; whatever is wrong with it hides no other."""
        try:
            return look()
        except Exception as error:  # noqa: BLE001 - it is told as not seen, and the next thing is looked at
            self._faults[name] = f"{type(error).__name__}: {error}"[:WORDS_MAX]
            return instead

    def _hear_registry(self, uptime_s: float) -> None:
        """Take the sessions that the registry has, or go on with those that it had."""
        parts = self._parts
        if self._answered_s is None:
            self._answered_s = uptime_s
        started = SessionFilter(status=RunStatus.STARTED.value)
        self._registry.ask(lambda: parts.sessions.find(started, SESSIONS_MAX))
        answer = self._registry.take(REGISTRY_WAIT_S)
        self._fresh = answer is not None and answer.value is not None
        if answer is None or answer.value is None:
            self._registry_why = "it did not answer" if answer is None else answer.why_not
            return
        self._answered_s, self._registry_why = uptime_s, ""
        ours = {found.session_id: found for found in answer.value if Path(found.journal).is_relative_to(parts.journal)}
        known = self._eyes
        self._eyes = {}
        for name, session in ours.items():
            eyes = known.get(name) or SessionEyes(parts, session)
            eyes.session = session
            self._eyes[name] = eyes

    def _session(self, eyes: SessionEyes, uptime_s: float, level: KillLevel | None) -> SessionSight | None:
        name = f"session {eyes.session.session_id}"
        now = self._parts.clock.now()
        return self._guarded(name, lambda: eyes.look(now, uptime_s, beat_seen=self._fresh, level=level), None)

    def _folders(self) -> list[Path]:
        parts = self._parts
        return [parts.state, parts.journal, parts.settings.folder(parts.settings.file.paths.logs)]

    def _ask_aside(self, uptime_s: float) -> None:
        """Ask what takes long, each at its time, and take what was answered."""
        section, parts = self._section, self._parts
        if self._is_due("sending", uptime_s, SEND_EVERY_S):
            self._sending.ask(lambda: (send_all(parts), None)[1])
        self._sending.take()
        if self._is_due("verifying", uptime_s, section.verify_minutes * 60):
            account = self._guarded("journals", self._next_account, "")
            if account:
                self._verifying.ask(lambda: (account, flaws_twice(parts, account)))
        if (checked := self._verifying.take()) is not None:
            self._heed("verification", checked.why_not)
            if checked.why_not:
                self._due["verifying"] = min(self._due["verifying"], uptime_s + VERIFY_FIRST_S)
            if checked.value is not None:
                account, words = checked.value
                self._flawed.pop(account, None)
                self._flawed |= {account: words} if words else {}
        self._ask_exchange(uptime_s)

    def _ask_exchange(self, uptime_s: float) -> None:
        """Ask for an exchange's time while a session follows it, and it is no emulator whose time goes faster."""
        feeds = (eyes.session.feed for eyes in self._eyes.values())
        place = next((str(feed["exchange"]) for feed in feeds if feed.get("exchange") and feed.get("speed") == 1.0), None)
        if place is None:
            self._ahead_s = None
            self._heed("the exchange's clock", "")
        elif self._is_due("exchange", uptime_s, self._section.exchange_clock_minutes * 60):
            self._exchange.ask(lambda: exchange_ahead_s(self._parts, place))
        if (told := self._exchange.take()) is not None:
            self._ahead_s = told.value
            self._heed("the exchange's clock", told.why_not)

    def _heed(self, what: str, why_not: str) -> None:
        """Remember until the next answer that there was none to a question."""
        self._unanswered.pop(what, None)
        self._unanswered |= {what: why_not[:WORDS_MAX]} if why_not else {}

    def _is_due(self, what: str, uptime_s: float, every_s: float) -> bool:
        if uptime_s < self._due.get(what, 0.0):
            return False
        self._due[what] = uptime_s + every_s
        return True

    def _next_account(self) -> str:
        """Return the account whose journal is verified next, by name; after the last the first."""
        names = accounts(self._parts.journal)
        for gone in set(self._flawed) - set(names):
            del self._flawed[gone]
        self._verified = next((name for name in names if name > self._verified), names[0] if names else "")
        return self._verified

    # ---- acting ----------------------------------------------------------------------------------------------------

    def _act(self, begun: tuple[Alarm, ...], over: tuple[Alarm, ...], uptime_s: float) -> None:
        """Stop what is to be stopped first, then tell of it."""
        for alarm, kind in holds_due(self.standing, self._section.restart_s):
            self.deeds.hold(alarm, kind, uptime_s)
        for stand in self.standing.values():
            if stand.alarm.cancel and stand.calm_s == 0.0:
                self.deeds.cancel(stand.alarm, uptime_s)
        for alarm in begun:
            self.deeds.begin(alarm)
        for alarm in over:
            self.deeds.end(alarm)

    def _show(self, observation: Observation, uptime: Uptime) -> None:
        """Show that this look came to its end, and what was seen in it."""
        tell_service(ALIVE)
        if uptime.seconds - self._signed_s < self._section.sign_s:
            return
        self._signed_s = uptime.seconds
        try:
            write_sign(self._parts, self._began, Duty.AT_WORK, uptime)
            put_in_place(seen_path(self._parts), self._seen(observation))
        except OSError as error:
            self._say(f"the supervisor's sign can't be written: {error.strerror or error}")

    def _seen(self, observation: Observation) -> Json:
        heard = {} if self._memory is None else self._memory.sessions
        return {
            "at": moment_text(nanoseconds(observation.at)),
            "sessions": [
                {
                    "session_id": sight.session_id,
                    "account": sight.account,
                    "process": sight.process.value,
                    "number": self._eyes[sight.session_id].session.run.process,
                    "heartbeat_age_s": round(heard[sight.session_id].beat_age_s, 1),
                    "journal_still_s": round(heard[sight.session_id].still_s, 1),
                    "memory_mb": None if sight.memory_bytes is None else sight.memory_bytes // MB,
                    "mode": self._eyes[sight.session_id].tail.mode,
                    "working": sight.working,
                }
                for sight in observation.sessions[:SHOWN]
            ],
            "registry": self._registry_why or None,
            "free_memory_mb": None if observation.free_memory is None else observation.free_memory // MB,
            "folders": [folder._asdict() for folder in observation.folders],
            "not_seen": list(observation.unseen),
            "alarms": [
                {
                    "stood_s": round(stand.stood_s, 1),
                    "severity": REMEDIES[stand.alarm.watch].severity.value,
                    **stand.alarm._asdict(),
                    "watch": stand.alarm.watch.value,
                    "words": stand.alarm.words[:WORDS_MAX],
                }
                for stand in list(self.standing.values())[:SHOWN]
            ],
            "deeds": list(self.deeds.done),
        }


def _with_unseen(observation: Observation, faults: dict[str, str]) -> Observation:
    """Add in words what could not be seen."""
    unseen = [f"{name} ({why})" for name, why in faults.items()]
    unseen += ["the machine's memory"] if observation.free_memory is None and "memory" not in faults else []
    unseen += [f"the disk of {folder.path}" for folder in observation.folders if folder.free_bytes is None]
    for sight in observation.sessions:
        if sight.process is ProcessState.NOT_SEEN:
            unseen.append(f"the process of session {sight.session_id}")
        if sight.bar_s is None:
            unseen.append(f"the pace of session {sight.session_id}")
    return replace(observation, unseen=tuple(unseen))


def limits_of(parts: Parts) -> WatchLimits:
    """Return the thresholds that the configuration sets."""
    section = parts.settings.file.supervisor
    return WatchLimits(
        hung_s=section.hung_s,
        confirm_s=section.confirm_s,
        clock_jump_s=section.clock_jump_s,
        exchange_skew_s=parts.settings.file.live_risk.max_clock_skew_ms / 1_000,
        session_memory=section.session_memory_mb * MB,
        free_memory=section.free_memory_mb * MB,
        free_disk=section.free_disk_mb * MB,
        free_files=section.free_files,
    )


def flaws_twice(parts: Parts, account: str) -> str:
    """Verify an account's journal; return what is wrong with it in words, empty where nothing is.

    What is found is looked for once more: a session that is just beginning has not signed yet.
    """
    found = _flaws(parts, account)
    if found:
        threading.Event().wait(1.0)
        again = _flaws(parts, account)
        found = [words for words in found if words in again]
    return "; ".join(found[:3])[:WORDS_MAX]


def _flaws(parts: Parts, account: str) -> list[str]:
    verifier = Verifier.load(public_path(parts.key))
    expected = {
        str(session.session_id): (session.head_seq, session.head_sha256)
        for session in parts.sessions.find(SessionFilter(account=account), HEADS_MAX)
        if session.head_seq is not None and session.head_sha256 is not None
    }
    if account == ACCOUNT and (last := parts.operators.last(verifier.key_id)):
        expected[last[0]] = last[1]
    report = verify_account(parts.journal, account, verifier, expected=expected)
    return [f"{flaw.code}: {flaw.words}" for flaw in report.flaws if flaw.code not in NOTES]


@contextmanager
def sole_supervisor(parts: Parts) -> Iterator[None]:
    """Be the only supervisor of the state folder while the block runs.

    Raises:
        SafetyRefused: another one is at work.
        StorageError: the disk refused.
    """
    import filelock

    path = parts.state / "supervisor.lock"
    lock = filelock.FileLock(path, timeout=0, thread_local=False)
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except filelock.Timeout:
            who = ""
            with suppress(OSError, ValueError):
                sign = read_sign(parts)
                who = f", process {sign.process} on {sign.host} since {sign.process_began}"
            raise SafetyRefused(
                f"expected no supervisor at work on {parts.state}, found one{who}; one is enough: peak-trade supervisor status"
            ) from None
    try:
        yield
    finally:
        lock.release()


def run(parts: Parts, say: Callable[[str], None], cancel: Cancel | None = None) -> None:
    """Watch until SIGTERM or SIGINT.

    Args:
        say: told what an operator should read. cancel: cancels the orders of an account at its exchange.

    Raises:
        SafetyRefused: another supervisor is at work.
        StorageError: the state folder can't be used at all.
    """
    stop = threading.Event()
    with sole_supervisor(parts):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: stop.set())
        supervision = Supervision(parts, say, cancel or cancel_at_exchange(parts, say))
        supervision.deeds.remember(STARTED, required=parts.settings.file.supervisor.required)
        say(f"watching the sessions of {parts.state} (Ctrl+C or SIGTERM ends it)")
        tell_service(READY)
        try:
            _watch_on(supervision, parts, stop, say)
        finally:
            tell_service(ENDING)
            supervision.stopped()


def _watch_on(supervision: Supervision, parts: Parts, stop: threading.Event, say: Callable[[str], None]) -> None:
    interval_s, failed = parts.settings.file.supervisor.interval_s, ""
    while not stop.is_set():
        begun = parts.clock.elapsed_s()
        try:
            supervision.round()
            failed = ""
        except Exception as error:  # noqa: BLE001 - without a sign sessions know; with the next look it may be over
            words = f"{type(error).__name__}: {error}"
            if words != failed:
                say(f"a look failed, and no sign is written until one succeeds: {words}")
            failed = words
        stop.wait(max(0.05, interval_s - (parts.clock.elapsed_s() - begun)))


def cancel_at_exchange(parts: Parts, say: Callable[[str], None]) -> Cancel:
    """Return what cancels every order at the exchange, with the key that is kept for it, and turns the kill switch on."""

    def cancel(_account: str, why: str) -> str:
        from peak_trade.runs.safety.kill import StopOrder, stop_everything

        began_s = parts.clock.elapsed_s()
        order = StopOrder(action=CANCELLED, by=BY, why=why, via=MACHINE, level=KillLevel.CANCEL_ALL, began_s=began_s)
        found = stop_everything(parts, order, lambda _seconds, words: say(words))
        if (failure := found.failure()) is not None:
            raise failure
        return "; ".join(found.lines())

    return cancel


def report(parts: Parts) -> Json:
    """Return whether a supervisor is at work, and what it saw and did last.

    `trouble` says in words why nobody may rely on it; `required` whether sessions do.
    """
    sign: Any = None
    with suppress(OSError, ValueError):
        sign = read_sign(parts)
    seen: Json = {}
    with suppress(OSError, ValueError, RecursionError):
        told = json.loads(seen_path(parts).read_bytes())
        seen = told if isinstance(told, dict) else {}
    trouble = sign_trouble(parts)
    return {
        "at_work": trouble is None,
        "required": parts.settings.file.supervisor.required,
        "trouble": trouble,
        "process": None if sign is None else sign.process,
        "host": None if sign is None else sign.host,
        "since": None if sign is None else sign.process_began,
        "sign_at": None if sign is None else sign.at,
        "seen_at": seen.get("at"),
        **{name: seen.get(name) or [] for name in ("sessions", "alarms", "not_seen", "deeds")},
        "registry": seen.get("registry"),
    }
