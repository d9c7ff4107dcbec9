"""The kill switch on and off, and what is done besides: at the exchange by this very process, and told of running sessions.

Invariant: what `kill_first` has begun goes on whatever becomes of journal, locks and registry, which are touched here alone.
Invariant: what could not be done is told, and never reported as done.
"""

import queue
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from peak_trade.compose import Parts
from peak_trade.engine.records import TRIPPED
from peak_trade.engine.runner import KILL_SWITCH
from peak_trade.journal.chain import accounts, holder, holding, is_held, lines, parse_shape, segments
from peak_trade.journal.operators import ACCOUNT
from peak_trade.journal.run import RunStatus
from peak_trade.journal.sessions import SessionFilter
from peak_trade.model.errors import (
    CheckFailed,
    InputError,
    PeakTradeError,
    SafetyRefused,
    StorageError,
)
from peak_trade.model.kill_level import KillLevel
from peak_trade.runs.acts import COMMAND, Act, held, written
from peak_trade.runs.journal_check import verify_journals
from peak_trade.runs.record import Json
from peak_trade.runs.safety.kill_first import BY_HAND, Begun, Say, begin, kept_going, time_of
from peak_trade.runs.safety.kill_first import StopOrder as StopOrder  # noqa: PLC0414 - who stops everything asks for it by this
from peak_trade.runs.sessions.dead import close_dead
from peak_trade.safety.exchange_stop import StopResult
from peak_trade.safety.kill_switch import Killed

#: Seconds between two looks at the journals of running sessions.
LOOK_S = 0.1
#: Sales that a terminal is told.
CLOSINGS_SHOWN = 20


class Released(NamedTuple):
    """What the switch had said, and how far it had gone."""

    killed: Killed
    level: KillLevel


def kill(parts: Parts, by: str, why: str, via: str, level: KillLevel = KillLevel.REDUCE_ONLY) -> Killed:
    """Turn the kill switch on, then write down who did; what it says is what it said the first time.

    Raises:
        StorageError: it could not be turned on; or it is on, and could not be written down. The sentence says which.
    """
    before = parts.kill_switch.is_on()
    parts.kill_switch.trip(by, why, parts.clock.now(), level)
    try:
        with held(parts):
            # A release that was under way when it was turned on must not have the last word.
            killed = parts.kill_switch.trip(by, why, parts.clock.now(), level)
            with written(parts, "kill", by, via, why=why, level=level.value) as act:
                act.outcome["was_on"] = before
    except PeakTradeError as error:
        parts.kill_switch.trip(by, why, parts.clock.now(), level)
        raise StorageError(f"the kill switch is on, but that it was turned on could not be written down: {error}") from error
    return killed


def release(parts: Parts, by: str, why: str) -> Released:
    """Turn the kill switch off, whatever its level; return what it said and how far it went.

    Raises:
        InputError: it is off.
        SafetyRefused: a session still runs on this state folder, a journal is not as it was written, or somebody turned it
            on meanwhile.
        StorageError: disk or registry refused; it is on.
    """
    with held(parts):
        tripped = parts.kill_switch.tripped_last()
        level, killed = parts.kill_switch.level(), parts.kill_switch.state()
        if killed is None or level is None:
            raise InputError("expected the kill switch to be on, found it off; there is nothing to release")
        if found := _running(parts):
            raise SafetyRefused(
                f"expected no running session, found {'; '.join(found)}; end what still runs first, with Ctrl+C or kill PROCESS"
            )
        if flaws := [f"{flaw.code}: {flaw.words}" for report in _flawed(parts) for flaw in report.flaws]:
            raise SafetyRefused(
                f"expected journals that are unchanged and complete, found {'; '.join(flaws[:3])}; the kill switch stays on: "
                "peak-trade journal verify tells more"
            )
        with written(parts, "release", by, COMMAND, why=why, killed=killed._asdict(), level=level.value):
            if parts.kill_switch.tripped_last() != tripped:
                raise SafetyRefused(
                    "expected nobody to turn the kill switch on while it was being released, found that somebody did; it stays "
                    "on: ask them, their action comes next in the journal of operators"
                )
            parts.kill_switch.release()
    return Released(killed, level)


# ---- the exchange --------------------------------------------------------------------------------------------------------


class SessionAnswer(NamedTuple):
    """A session that was at work when the switch was turned on: how far its journal says that it stopped, None for nothing."""

    account: str
    session_id: str | None
    process: int | None
    level: KillLevel | None

    def to_json(self) -> Json:
        """Return it as a JSON object."""
        return self._asdict() | {"level": None if self.level is None else self.level.value}

    def __str__(self) -> str:
        name = f"session {self.session_id or 'of unknown name'} on account {self.account}, process {self.process}"
        if self.level is None:
            return f"{name}: no answer; it hangs or is dead, and stops at once should it go on"
        return f"{name}: stopped, as far as {self.level.value}"


@dataclass(slots=True, kw_only=True)
class StopReport:
    """What came of stopping everything.

    Attributes:
        level: that was asked for. killed: what the switch says; switched: how far it goes; None where it is not on.
        troubles: sentences of what went wrong here.
        exchange: None where nothing could be asked there; why_not says why. act: the act in the journal of operators.
        took_s: seconds from the command's start to its end.
    """

    level: KillLevel
    killed: Killed | None = None
    switched: KillLevel | None = None
    base_url: str = ""
    exchange: StopResult | None = None
    why_not: str = ""
    sessions: list[SessionAnswer] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    act: str | None = None
    took_s: float = 0.0

    def to_json(self) -> Json:
        """Return it as a JSON object; seconds as text."""
        return {
            "on": self.killed is not None,
            **(dict.fromkeys(Killed._fields) if self.killed is None else self.killed._asdict()),
            "level": None if self.switched is None else self.switched.value,
            "asked": self.level.value,
            "exchange": None if self.exchange is None else {"base_url": self.base_url, **self.exchange.to_json()},
            "why_not": self.why_not,
            "sessions": [one.to_json() for one in self.sessions],
            "troubles": list(self.troubles),
            "act": self.act,
            "took_s": f"{self.took_s:.3f}",
        }

    def lines(self) -> list[str]:
        """Return what there is to tell, line by line."""
        switch = "the kill switch is NOT on"
        if self.killed is not None and self.switched is not None:
            switch = f"{self.killed} (level {self.switched.value})"
        told = [switch, *map(str, self.sessions)]
        if self.exchange is None:
            return [*told, "nothing was done at the exchange"]
        found = self.exchange
        gone = "not confirmed" if found.cancelled_s is None else f"confirmed gone after {found.cancelled_s:.2f} s"
        told.append(f"orders at {self.base_url}: {found.cancels} cancelled, as the exchange says; {gone}")
        told += [f"  was seen working: {name}, {words}" for name, words in found.seen.items()]
        if self.level is KillLevel.FLATTEN:
            flat = "not confirmed closed" if found.flat_s is None else f"confirmed closed after {found.flat_s:.2f} s"
            told.append(f"positions: {flat}")
            if (more := len(found.closings) - CLOSINGS_SHOWN) > 0:
                told.append(f"  {more} sales before these; all of them with --json and in the journal")
            told += [
                f"  {one.quantity:f} {one.symbol} at the market: {one.outcome}" for one in found.closings[-CLOSINGS_SHOWN:]
            ]
            told += [f"  left as dust: {amount} {asset}" for asset, amount in found.dust.items()]
        return [*told, f"took {self.took_s:.2f} s, {found.rounds} looks" + (f", act {self.act}" if self.act else "")]

    def failure(self) -> PeakTradeError | None:
        """Return what did not go well as one sentence, None where everything did."""
        switch = "the kill switch is NOT on" if self.switched is None else f"the kill switch is on ({self.switched.value})"
        words = [*self.troubles]
        if self.why_not:
            words.append(self.why_not)
        found = self.exchange
        if found is not None and not (found.finished or (found.refused and found.cancelled)):
            words.append(_unfinished(found))
        if words:
            return CheckFailed(f"{switch}, but {'; '.join(words)}")
        if found is not None and found.refused:
            held_there = ", ".join(f"{asset} {amount}" for asset, amount in (found.left_positions or {}).items())
            return SafetyRefused(
                f"{switch} and every order is cancelled, but no version of this program sends real orders to {self.base_url}: "
                f"these positions are left: {held_there}; sell them by hand at Kraken"
            )
        return None


def _unfinished(found: StopResult) -> str:
    """Say what is left at the exchange, as far as it is known."""
    orders = "whether orders work there is not known" if found.left_orders is None else ""
    if found.left_orders:
        orders = f"{len(found.left_orders)} orders still work there ({', '.join(found.left_orders[:5])})"
    held_there = ", ".join(f"{asset} {amount}" for asset, amount in (found.left_positions or {}).items())
    told = [words for words in (orders, f"these positions are left: {held_there}" if held_there else "", found.why) if words]
    if not told:
        told = ["the second look, which confirms the first, was not possible"]
    return f"not everything is done at the exchange: {'; '.join(told)}; repeat the command, or {BY_HAND}"


def stop_everything(parts: Parts, order: StopOrder, say: Say) -> StopReport:
    """Turn the switch on, act on the exchange, write it down, and listen to the sessions; all of it is in the report.

    Args:
        say: told seconds since the beginning and a sentence, also from another thread.
    """
    begun = begin(parts.settings, parts.clock, parts.ids.randomness, order, say)
    with kept_going(begun):
        return see_through(parts, begun)


def see_through(
    parts: Parts, begun: Begun, meanwhile: Callable[[], list[str]] = list, facts: Mapping[str, Any] | None = None
) -> StopReport:
    """Write down what has begun and goes on at the exchange, and listen to the sessions; all of it is in the report.

    Args:
        begun: the switch is on, and the exchange is being acted on.
        meanwhile: done first; returns sentences of what went wrong.
        facts: what the act says besides, as it is once that is done.
    """
    order, work = begun.order, begun.work
    report = StopReport(
        level=order.level,
        killed=begun.killed,
        switched=parts.kill_switch.level(),
        base_url=parts.settings.file.safety.base_url,
        why_not=begun.why_not,
        troubles=[*begun.troubles, *meanwhile()],
    )
    try:
        with ExitStack() as stack:
            act = _written_act(parts, order, report, stack, facts or {})
            _follow(parts, begun, report, act)
            if act is not None:
                act.outcome |= {"was_on": begun.was_on} | {
                    name: value for name, value in report.to_json().items() if name not in ("act", "on", *Killed._fields)
                }
    except PeakTradeError as error:
        report.troubles.append(f"that could not all be written down: {error}")
    if report.killed is not None:
        with suppress(StorageError):
            # A release that was under way must not have the last word.
            parts.kill_switch.trip(order.by, order.why, parts.clock.now(), order.level)
            report.switched = parts.kill_switch.level()
    if work is not None:
        report.exchange = work.result
    report.took_s = parts.clock.elapsed_s() - order.began_s
    return report


def _written_act(parts: Parts, order: StopOrder, report: StopReport, stack: ExitStack, facts: Mapping[str, Any]) -> Act | None:
    """Begin the act in the journal; None where that can't be done, which is told."""
    try:
        stack.enter_context(held(parts))
        told = {"why": order.why, "level": order.level.value, **facts}
        act = stack.enter_context(written(parts, order.action, order.by, order.via, **told))
    except PeakTradeError as error:
        report.troubles.append(f"it could not be written down: {error}")
        return None
    report.act = act.segment
    return act


def _follow(parts: Parts, begun: Begun, report: StopReport, act: Act | None) -> None:
    """Write down what the exchange is asked as it happens, and listen to the sessions meanwhile."""
    until_s = begun.at_s + parts.settings.file.safety.sessions_s
    work, order = begun.work, begun.order
    for told in _steps(parts, begun):
        if act is not None and told is not None:
            try:
                act.record("exchange", {"elapsed_s": f"{told[0]:.3f}", "words": told[1]})
            except PeakTradeError as error:
                report.troubles.append(f"it could not all be written down: {error}")
                act = None
    if work is not None:
        report.exchange = work.result
        if work.error:
            report.troubles.append(f"expected the exchange to be acted on, found a fault of ours: {work.error}; {BY_HAND}")
    # They had the time that the exchange took.
    report.sessions = sessions_told(parts, order.level, max(until_s - parts.clock.elapsed_s(), 0.0))


def _steps(parts: Parts, begun: Begun) -> Iterator[tuple[float, str] | None]:
    """Yield what the thread tells until it has ended."""
    work = begun.work
    end = parts.clock.elapsed_s() + time_of(begun)
    while work is not None and (work.thread.is_alive() or not work.told.empty()):
        if parts.clock.elapsed_s() > end:
            work.error = work.error or "it did not end in time"
            return
        try:
            yield work.told.get(timeout=LOOK_S)
        except queue.Empty:
            yield None


# ---- sessions ------------------------------------------------------------------------------------------------------------


def sessions_told(
    parts: Parts, level: KillLevel, wait_s: float, sleep: Callable[[float], None] = time.sleep
) -> list[SessionAnswer]:
    """Return the sessions that are at work on this state folder, and how far each says in its journal that it stopped.

    They are waited for; one that hangs answers nothing. Their journals are read and nobody's lock is needed.
    """
    root = parts.journal
    end = parts.clock.elapsed_s() + wait_s
    found: dict[str, SessionAnswer] = {}
    waiting = [account for account in _accounts(root) if account != ACCOUNT and _at_work(root, account)]
    while waiting:
        for account in list(waiting):
            who = holder(root, account)
            answer = SessionAnswer(account, who.session_id, who.process, _stopped_at(root, account))
            found[account] = answer
            if answer.level is not None and answer.level.rank >= level.rank:
                waiting.remove(account)
        if not waiting or parts.clock.elapsed_s() >= end:
            break
        sleep(LOOK_S)
    return [found[account] for account in sorted(found)]


def _accounts(root: Path) -> list[str]:
    try:
        return accounts(root)
    except PeakTradeError:
        return []


def _at_work(root: Path, account: str) -> bool:
    try:
        return is_held(root, account)
    except (PeakTradeError, OSError):
        return True


def _stopped_at(root: Path, account: str) -> KillLevel | None:
    """Return how far the last session of an account says that it heeds the switch; None where it says nothing of it."""
    found: KillLevel | None = None
    with suppress(PeakTradeError):
        for path in segments(root, account)[-1:]:
            for line in lines(path):
                if b'"kind":"%b"' % TRIPPED.encode() in line and (record := parse_shape(line)) is not None:
                    found = _level_of(record.body) or found
    return found


def _level_of(body: Any) -> KillLevel | None:
    """Return the level that a session's record names; one that names none did what the mildest that kills it asks for."""
    if body.get("code") != KILL_SWITCH:
        return None
    try:
        return KillLevel(body["level"]) if "level" in body else KillLevel.REDUCE_ONLY
    except ValueError:
        return KillLevel.REDUCE_ONLY


def _running(parts: Parts) -> list[str]:
    """Return who runs on this state folder, in words; a session whose account is free is given its end first."""
    told = {}
    for account in accounts(parts.journal):
        if account == ACCOUNT:
            continue
        try:
            with holding(parts.journal, account, at=parts.clock.now()):
                close_dead(parts, held=account)
        except SafetyRefused:
            who = holder(parts.journal, account)
            name = f"session {who.session_id}" if who.session_id else "a session"
            told[account] = f"{name} on account {account}, process {who.process} on {who.host}"
    for session in parts.sessions.find(SessionFilter(status=RunStatus.STARTED.value), 1_000):
        # One of another machine holds nothing here, and runs as long as its lease does.
        if session.account not in told and Path(session.journal).is_relative_to(parts.journal):
            who_where = f"process {session.run.process} on {session.host}"
            told[session.account] = f"session {session.session_id} on account {session.account}, {who_where}"
    return list(told.values())


def _flawed(parts: Parts) -> list[Any]:
    """Return the reports of accounts whose journal is not as it was written, or not all of it."""
    return [report for report in verify_journals(parts, None) if not (report.intact and report.complete)]
