"""Which process works on which account, by the accounts' locks, and how it is ended: that process and no other.

Invariant: a signal goes to the process that took the lock, never to a later one that got its number.
"""

import contextlib
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from enum import Enum, unique
from typing import NamedTuple

from peak_trade.compose import Parts
from peak_trade.journal.chain import accounts, holder, is_held, process_started
from peak_trade.journal.operators import ACCOUNT
from peak_trade.model.errors import NotFound, PeakTradeError, SafetyRefused
from peak_trade.runs.record import Json

#: How often it is looked whether a process has ended, seconds.
LOOK_S = 0.1


class Worker(NamedTuple):
    """Who holds an account now: its session, process and machine, and when that process began by the system's count."""

    account: str
    session_id: str | None
    process: int | None
    host: str | None
    since: str | None
    started: str | None

    @property
    def here(self) -> bool:
        """Whether it runs on this machine."""
        return self.host == platform.node()

    def __str__(self) -> str:
        who = f"session {self.session_id}" if self.session_id else "somebody who is no session"
        return f"{who} on {self.account} (process {self.process or 'unknown'} on {self.host or 'an unknown machine'})"

    def to_json(self) -> Json:
        """Return it as a JSON object."""
        return {name: getattr(self, name) for name in ("account", "session_id", "process", "host", "since")}


@unique
class Push(Enum):
    """How hard a session is asked to end."""

    STOP = "stop"
    NOW = "now"
    KILL = "kill"


class Stopped(NamedTuple):
    """What became of a session that was asked to end."""

    worker: Worker
    ended: bool
    waited_s: float
    words: str

    def to_json(self) -> Json:
        """Return it as a JSON object."""
        facts = {"ended": self.ended, "waited_s": round(self.waited_s, 3), "words": self.words}
        return self.worker.to_json() | facts


def worker_on(parts: Parts, account: str) -> Worker | None:
    """Return who holds an account, by its lock; None where nobody does."""
    if not (parts.journal / account).is_dir() or not is_held(parts.journal, account):
        return None
    return Worker(account, *holder(parts.journal, account))


def workers(parts: Parts) -> list[Worker]:
    """Return every session that is at work on this state folder, by account."""
    found = (worker_on(parts, account) for account in accounts(parts.journal) if account != ACCOUNT)
    return [item for item in found if item is not None and item.session_id is not None]


def named_workers(parts: Parts, name: str) -> list[Worker]:
    """Return who is at work of a session, by its id or a clear part of it, or on an account; empty where nobody is.

    Raises:
        NotFound: no such session or account.
    """
    account = account_named(parts, name)
    found = worker_on(parts, account)
    return [] if found is None or found.session_id is None else [found]


def account_named(parts: Parts, name: str) -> str:
    """Return the account of that name, or that of a session by its id, a clear part of it or `latest`.

    Raises:
        NotFound: neither.
    """
    known = known_accounts(parts)
    if name in known:
        return name
    with contextlib.suppress(PeakTradeError):
        return parts.sessions.get(name).account
    for account in known:
        if any(path.stem == name for path in (parts.journal / account).glob("*.jsonl")):
            return account
    raise NotFound(
        f"expected a session or an account ({', '.join(known)}), found {name[:80]!r}; peak-trade session list shows both"
    )


def known_accounts(parts: Parts) -> list[str]:
    """Return every account: with a journal, in the registry, held, or configured."""
    file = parts.settings.file
    found = {file.shadow_paper.account, file.governance.account, *parts.holds.accounts(), *accounts(parts.journal)}
    with contextlib.suppress(PeakTradeError):  # a registry that is gone must not keep anyone from stopping things
        found |= set(parts.sessions.choices().accounts)
    return sorted(found - {ACCOUNT})


def push(worker: Worker, how: Push) -> None:
    """Send a session's process a signal: to end in order, a second one to end at once, or SIGKILL.

    Raises:
        SafetyRefused: it runs elsewhere, or it can't be told that its number is still its own.
    """
    if not worker.here or worker.process is None:
        raise SafetyRefused(
            f"expected {worker} on this machine ({platform.node()}), found it elsewhere; end it there, or stop everything: "
            "peak-trade kill --why TEXT"
        )
    sent = signal.SIGKILL if how is Push.KILL else signal.SIGTERM
    with _pinned(worker.process) as handle:
        if worker.started is None or process_started(worker.process) != worker.started:
            raise SafetyRefused(
                f"expected process {worker.process} to be that of {worker}, found that it can't be proven; nothing was sent: "
                "look at it yourself, or stop everything: peak-trade kill --why TEXT"
            )
        try:
            if handle is None:
                os.kill(worker.process, sent)
            else:
                signal.pidfd_send_signal(handle, sent)
        except ProcessLookupError:
            return
        except OSError as error:
            raise SafetyRefused(
                f"expected to be allowed to end {worker}, found {error.strerror or error}; do it as the user whose it is"
            ) from error


@contextlib.contextmanager
def _pinned(process: int) -> Iterator[int | None]:
    """Hold on to a process while the block runs, so that its number can't become another's; None where that can't be done."""
    try:
        handle = os.pidfd_open(process)
    except (OSError, AttributeError):
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


def stop(
    parts: Parts,
    found: Sequence[Worker],
    how: Push,
    wait_s: float,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Stopped]:
    """Ask sessions to end, all at once, and wait until they have.

    Args:
        how: `NOW` sends a second signal to who has not ended within a look. wait_s: for all of them together, seconds.
    """
    clock = parts.clock
    begun = clock.elapsed_s()
    troubles: dict[str, str] = {}
    for worker in found:
        try:
            push(worker, how)
        except PeakTradeError as error:
            troubles[worker.account] = str(error)
    waiting = [worker for worker in found if worker.account not in troubles]
    done: dict[str, float] = {}
    again = how is Push.NOW
    while waiting:
        still = []
        for worker in waiting:
            now = worker_on(parts, worker.account)
            if now is None or now.session_id != worker.session_id:
                done[worker.account] = clock.elapsed_s() - begun
            else:
                still.append(worker)
        waiting = still
        if not waiting or clock.elapsed_s() - begun >= wait_s:
            break
        sleep(LOOK_S)
        if again:
            again = False
            for worker in waiting:
                with contextlib.suppress(PeakTradeError):
                    push(worker, how)
    return [_stopped(worker, troubles, done, wait_s, how) for worker in found]


def _stopped(worker: Worker, troubles: dict[str, str], done: dict[str, float], wait_s: float, how: Push) -> Stopped:
    if worker.account in troubles:
        return Stopped(worker, ended=False, waited_s=0.0, words=troubles[worker.account])
    if worker.account in done:
        return Stopped(worker, ended=True, waited_s=done[worker.account], words="ended")
    harder = {Push.STOP: "--now asks a second time", Push.NOW: "--kill ends it whatever it does", Push.KILL: "look at it"}[how]
    return Stopped(worker, ended=False, waited_s=wait_s, words=f"still at work after {wait_s:g} s; {harder}")
