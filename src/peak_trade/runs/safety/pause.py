"""The pause procedure (playbook 6.2): stop, note, secure, tell, and open the incident, each step whatever became of the last.

    from peak_trade.runs.safety.pause import PauseOrder, pause
    report = pause(parts, PauseOrder(accounts=("paper",), by="kim", why="prices look wrong"), say=print)

Invariant: the hold comes before everything else, on every account before any is waited for.
Invariant: a step that fails is told and keeps no later one from being done.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from peak_trade.compose import Parts
from peak_trade.engine.records import SENDING
from peak_trade.model.clock import moment_text, nanoseconds, parse_moment
from peak_trade.model.errors import PeakTradeError
from peak_trade.model.stage import Stage
from peak_trade.runs.acts import COMMAND, held, written
from peak_trade.runs.alerts import alerts
from peak_trade.runs.holds_kept import PLACED, placed_fact
from peak_trade.runs.incidents import open_incident
from peak_trade.runs.record import Json
from peak_trade.runs.safety.secured import secure
from peak_trade.runs.sessions.holdings import Holdings, holdings, strategies_on, strategy_of
from peak_trade.runs.sessions.marks import mode_now
from peak_trade.safety.alerts import Alert, Severity
from peak_trade.safety.holds import Hold, HoldKind

#: The act, the codes of the holds, and how incidents and alerts of a pause begin.
PAUSE = "pause"
PAUSED_CODE, CLOSED_CODE = "operator_pause", "strategy_closed"
KEY = "pause."
#: How long a session may take to heed a hold, and to close a position, seconds; how often its journal is looked at.
HEED_S, CLOSE_S, LOOK_S = 20.0, 30.0, 0.25

#: The kind of the record by which a session says that it closes what strategies hold.
RETIRING = "retiring"

#: Told each step as it is over.
Say = Callable[["StepDone"], None]


class StepDone(NamedTuple):
    """A step of a procedure: whether it went well, what came of it, and how long after the beginning it was over, seconds."""

    name: str
    well: bool
    words: str
    elapsed_s: float

    def to_json(self) -> Json:
        """Return the step as a JSON object."""
        return {"step": self.name, "ok": self.well, "words": self.words, "elapsed_s": round(self.elapsed_s, 3)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseOrder:
    """What is to be paused, by whom and why.

    Attributes:
        cancel: also wait until no working order could enlarge a position. close: strategies whose positions are closed.
        severity: of the incident; incident: its key, that of a pause where there is none. title: what people are told.
        pausing: whether the whole account is held. code: of that hold; closing_code: of those that close.
        heed_s, close_s: how long sessions may take, seconds.
    """

    accounts: tuple[str, ...]
    by: str
    why: str
    cancel: bool = False
    close: tuple[str, ...] = ()
    severity: str = "high"
    incident: str | None = None
    title: str = "was paused"
    code: str = PAUSED_CODE
    closing_code: str = CLOSED_CODE
    pausing: bool = True
    heed_s: float = HEED_S
    close_s: float = CLOSE_S


@dataclass(slots=True)
class PauseReport:
    """What came of it: steps in their order, what each account held, archives and incidents by account.

    `stopped_s` is when the first two steps were over, seconds after the beginning.
    """

    at: str
    steps: list[StepDone] = field(default_factory=list)
    noted: list[Json] = field(default_factory=list)
    archives: dict[str, Json] = field(default_factory=dict)
    incidents: dict[str, str] = field(default_factory=dict)
    stopped_s: float | None = None

    @property
    def well(self) -> bool:
        """Whether every step went well."""
        return all(step.well for step in self.steps)

    def to_json(self) -> Json:
        """Return it as a JSON object."""
        return {
            "at": self.at,
            "ok": self.well,
            "stopped_s": None if self.stopped_s is None else round(self.stopped_s, 3),
            "steps": [step.to_json() for step in self.steps],
            "noted": self.noted,
            "archives": self.archives,
            "incidents": self.incidents,
        }


def pause(
    parts: Parts, order: PauseOrder, say: Say = lambda _step: None, sleep: Callable[[float], None] = time.sleep
) -> PauseReport:
    """Pause accounts by the procedure; what fails is in the report, and nothing is raised for it."""
    return _Pausing(parts, order, say, sleep).run()


class _Pausing:
    """One pause from its first hold to its incidents."""

    def __init__(self, parts: Parts, order: PauseOrder, say: Say, sleep: Callable[[float], None]) -> None:
        self._parts, self._order, self._say, self._sleep = parts, order, say, sleep
        self._begun_s = parts.clock.elapsed_s()
        self._at = parts.clock.now()
        self.report = PauseReport(moment_text(nanoseconds(self._at)))
        self._before: dict[str, Holdings] = {}
        self._placed: list[Json] = []

    def run(self) -> PauseReport:
        order = self._order
        for account in order.accounts:
            self._do(f"hold {account}", partial(self._hold, account))
        self._do("act", self._act)
        for account in order.accounts:
            self._do(f"stopped {account}", partial(self._heeded, account))
        if order.cancel:
            for account in order.accounts:
                self._do(f"cancelled {account}", partial(self._cancelled, account))
        self.report.stopped_s = self._since()
        for strategy in order.close:
            for account in order.accounts:
                self._do(f"closed {strategy} on {account}", partial(self._closed, account, strategy))
        for account in order.accounts:
            self._do(f"noted {account}", partial(self._note, account))
        for account in order.accounts:
            self._do(f"secured {account}", partial(self._secure, account))
        self._do("told", self._tell)
        for account in order.accounts:
            self._do(f"incident {account}", partial(self._open, account))
        return self.report

    # ---- steps: each returns what came of it, and whether that is well --------------------------------------------------

    def _hold(self, account: str) -> tuple[bool, str]:
        order = self._order
        placed = []
        if order.pausing:
            self._place(account, self._asked(HoldKind.PAUSE, order.code, ()))
            placed.append(HoldKind.PAUSE.value)
        if order.close:
            self._place(account, self._asked(HoldKind.CLOSE, order.closing_code, order.close))
            placed.append(f"{HoldKind.CLOSE.value} {', '.join(order.close)}")
        return True, f"placed: {' and '.join(placed)}; nothing that enlarges a position is sent, and no session begins"

    def _place(self, account: str, hold: Hold) -> None:
        self._placed.append(placed_fact(account, self._parts.holds.place(account, hold, self._at)))

    def _asked(self, kind: HoldKind, code: str, strategies: tuple[str, ...]) -> Hold:
        return Hold(moment_text(nanoseconds(self._at)), self._order.by, self._order.why, kind, code, strategies)

    def _act(self) -> tuple[bool, str]:
        order = self._order
        facts = {"why": order.why, "account": ", ".join(order.accounts), "close": list(order.close), "cancel": order.cancel}
        facts[PLACED] = self._placed
        with held(self._parts), written(self._parts, PAUSE, order.by, COMMAND, **facts) as act:
            pass
        return True, f"written down as {act.segment}"

    def _heeded(self, account: str) -> tuple[bool, str]:
        """Wait until the session's journal says that it heeds the hold."""
        found = self._wait(account, self._order.heed_s, partial(self._heeds, account))
        self._before[account] = found
        if found.state != "at work":
            return True, f"no session is at work on it ({found.state}); {len(found.working)} orders still work by its journal"
        if (words := self._heeds(account, found)) is not None:
            return True, words
        return False, (
            f"session {found.session_id} did not say within {self._order.heed_s:g} s that it heeds the hold: is it hung? "
            f'stop it with: peak-trade kill --level cancel-all --why "{account} does not heed its pause"'
        )

    def _heeds(self, account: str, found: Holdings) -> str | None:
        if found.state != "at work":
            return f"session {found.session_id} is {found.state}"
        tripped = found.tripped_since(self.report.at)
        if tripped is not None:
            took = (parse_moment(tripped.at) - self._at).total_seconds()
            return f"session {found.session_id} is {tripped.body['mode']} since {tripped.at}, {max(took, 0.0):.1f} s after"
        if any(record.kind == RETIRING and parse_moment(record.at) >= self._at for record in found.records):
            return f"session {found.session_id} closes what it was told to"
        running = () if self._order.pausing else strategies_on(self._parts, account)
        if running and not set(running) & set(self._order.close):
            return f"session {found.session_id} trades {', '.join(running)} and nothing of what is closed"
        mode = mode_now(found.records)
        if mode in ("paused", "killed"):
            return f"session {found.session_id} was {mode} already"
        return None

    def _cancelled(self, account: str) -> tuple[bool, str]:
        def done(found: Holdings) -> str | None:
            if found.state == "at work" and found.enlarging():
                return None
            left = len(found.working)
            return f"no working order could enlarge a position; {left} that only reduce one or that nobody follows are left"

        found = self._wait(account, self._order.heed_s, done)
        if found.state == "dead" and found.working:
            return False, (
                f"its session is dead and {len(found.working)} orders may still work: peak-trade kill --level cancel-all "
                "cancels them at an exchange"
            )
        if (words := done(found)) is not None:
            return True, words
        names = ", ".join(item.intent.client_id for item in found.enlarging()[:5])
        return False, f"orders that could enlarge a position still work: {names}; peak-trade kill --level cancel-all"

    def _closed(self, account: str, strategy: str) -> tuple[bool, str]:
        return wait_until_flat(self._parts, account, strategy, self._order.close_s, self._sleep)

    def _note(self, account: str) -> tuple[bool, str]:
        found = holdings(self._parts, account)
        facts = found.to_json() | {"at": moment_text(nanoseconds(self._parts.clock.now()))}
        sent = self._sent_since(found)
        facts["sent_since"] = sent
        self.report.noted.append(facts)
        held_now = [f"{item['leg']} {item['symbol']} {item['quantity']}" for item in found.positions()]
        words = f"positions: {'; '.join(held_now) or 'none'}; working orders: {len(found.working)}"
        return True, words + (f"; {len(sent)} orders were sent after the hold, see them in the incident" if sent else "")

    def _sent_since(self, found: Holdings) -> list[str]:
        """Return the orders that were sent after the session took notice; exits are among them."""
        tripped = found.tripped_since(self.report.at)
        later = [] if tripped is None else found.records[found.records.index(tripped) + 1 :]
        return [str(record.body["intent"]["client_id"]) for record in later if record.kind == SENDING]

    def _secure(self, account: str) -> tuple[bool, str]:
        noted = next((item for item in self.report.noted if item["account"] == account), None)
        archive = secure(self._parts, account, self._at, noted)
        self.report.archives[account] = archive.to_json()
        words = f"{archive.path}: {archive.files} files, {archive.size:,} bytes, SHA-256 {archive.sha256[:16]}..., read back"
        return not archive.troubles, words + (f"; {'; '.join(archive.troubles)}" if archive.troubles else "")

    def _tell(self) -> tuple[bool, str]:
        parts, order = self._parts, self._order
        failed = [step.words for step in self.report.steps if not step.well]
        for account in order.accounts:
            mine = next((item for item in self.report.noted if item["account"] == account), None)
            positions = "; ".join(f"{item['symbol']} {item['quantity']}" for item in mine["positions"]) if mine else "unknown"
            text = f"by {order.by}: {order.why}; positions: {positions or 'none'}" + (f"; {failed[0]}" if failed else "")
            alerts.tell(parts, Alert(alert_key(account), Severity.CRITICAL, f"{account} {order.title}", text))
        if not alerts.flush(parts):
            return False, "the alert could not be written in time; tell people yourself"
        channels = parts.settings.file.alerts.channels
        if not channels:
            return True, "written to the list of alerts; no channel is configured, so tell people yourself"
        return True, f"handed to {', '.join(channels)}; peak-trade alert list shows who took it"

    def _open(self, account: str) -> tuple[bool, str]:
        order, report = self._order, self.report
        found = self._before.get(account)
        steps = " | ".join(f"{step.name}: {'ok' if step.well else 'FAILED'} {step.words}" for step in report.steps)
        name = open_incident(
            self._parts,
            key=(order.incident or f"{KEY}{account}")[:64],
            severity=order.severity,
            title=f"{account} {order.title}"[:120],
            why=f"{order.why}. {steps}"[:2_000],
            by=order.by,
            session_id=found.session_id if found else None,
        )
        report.incidents[account] = name
        return True, f"{name}; close it with its cause once it is known: peak-trade incident close {name} --by NAME ..."

    # ---- how ---------------------------------------------------------------------------------------------------------

    def _do(self, name: str, step: Callable[[], tuple[bool, str]]) -> None:
        try:
            well, words = step()
        except (PeakTradeError, OSError) as error:
            well, words = False, str(error)
        done = StepDone(name, well, words, self._since())
        self.report.steps.append(done)
        self._say(done)

    def _wait(self, account: str, most_s: float, done: Callable[[Holdings], str | None]) -> Holdings:
        return wait_for(self._parts, account, most_s, lambda found: done(found) is not None, self._sleep)

    def _since(self) -> float:
        return self._parts.clock.elapsed_s() - self._begun_s


def wait_for(
    parts: Parts, account: str, most_s: float, done: Callable[[Holdings], bool], sleep: Callable[[float], None]
) -> Holdings:
    """Look at an account until something is so, at most so long; return what it holds then.

    Raises:
        DataError: its journal is damaged. StorageError: it can't be read.
    """
    begun_s = parts.clock.elapsed_s()
    while True:
        found = holdings(parts, account)
        if done(found) or parts.clock.elapsed_s() - begun_s >= most_s:
            return found
        sleep(LOOK_S)


def wait_until_flat(
    parts: Parts, account: str, strategy: str, most_s: float, sleep: Callable[[float], None] = time.sleep
) -> tuple[bool, str]:
    """Wait for the journal's proof that a strategy holds nothing on an account; return whether it is there, and what is.

    Raises:
        DataError: the journal is damaged. StorageError: it can't be read.
    """

    def flat(found: Holdings) -> bool:
        return not found.positions(strategy) and all(strategy_of(item.intent.leg) != strategy for item in found.working)

    found = wait_for(parts, account, most_s, lambda item: flat(item) or item.state != "at work", sleep)
    if flat(found):
        return True, f"flat by the journal of {found.session_id or 'no session'}"
    what = "; ".join(f"{item['symbol']} {item['quantity']}" for item in found.positions(strategy)) or "nothing, but orders work"
    if found.state == "ended" and _simulated(parts, str(found.session_id)):
        return True, f"nothing to close: session {found.session_id} has ended, and its simulated position ({what}) with it"
    if found.state == "at work":
        how = "wait for its market, or close everything: peak-trade kill --level flatten"
    else:
        how = (
            "nobody trades it: one that is simulated ends with its session; one at an exchange is closed with peak-trade "
            "liquidate, or by hand there"
        )
    return False, f"not flat: session {found.session_id} ({found.state}) holds {what}; {how}"


def _simulated(parts: Parts, session_id: str) -> bool:
    """Tell whether what a session held was simulated; where nobody knows, it was not."""
    try:
        return Stage(parts.sessions.get(session_id).mode) is not Stage.LIVE
    except (PeakTradeError, ValueError):
        return False


def alert_key(account: str) -> str:
    """Return the key of the alert that an account is paused."""
    return f"paused.{account}"
