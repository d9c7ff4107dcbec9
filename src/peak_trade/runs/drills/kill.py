"""The kill switch tried on real sessions: works, hangs, died; while it is on, when it is released, and afterwards.

Nothing of the team's is touched: sessions, switch and journals lie in a folder that goes with the drill.
"""

import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from peak_trade.engine.records import FILLED, REFUSED, SENDING, TRIPPED
from peak_trade.engine.runner import KILL_SWITCH as BY_SWITCH
from peak_trade.journal.chain import Record, folder_of
from peak_trade.journal.run import RunStatus
from peak_trade.journal.sessions import SessionFilter
from peak_trade.model.clock import Clock, parse_moment
from peak_trade.model.errors import SafetyRefused
from peak_trade.risk.gate import Mode
from peak_trade.runs.acts import COMMAND
from peak_trade.runs.drills.sessions import FOLLOWED_SPEED, SHADOW, TESTNET, DrillHouse, DrillSession, house_in
from peak_trade.runs.drills.steps import DrillResult, DrillStep, expect, walked
from peak_trade.runs.emulated import emulator_for_run
from peak_trade.runs.journal_check import verify_journals
from peak_trade.runs.safety import kill

#: How the drill is called, in evidence and in the policy.
KILL_SWITCH = "kill_switch"
#: A session that works has to have noticed after so many seconds; the program promises one, a loaded machine may need more.
NOTICED_S = 5.0
#: Who turns the drill's switch on and off.
BY = "drill"


def try_kill_switch(clock: Clock, environment: Mapping[str, str], seed: int) -> DrillResult:
    """Run the drill.

    Args:
        environment: of the sessions' processes, without secrets. seed: of the emulated market.

    Raises:
        StorageError: the emulator does not start, or the disk refused.
    """
    with (
        tempfile.TemporaryDirectory(prefix="peak_trade_drill") as folder,
        emulator_for_run(seed=seed, speed=FOLLOWED_SPEED) as run,
        house_in(Path(folder), run, environment, clock) as house,
    ):
        drill = _KillDrill(house, clock)
        return drill.result(walked(clock, drill.steps()))


class _KillDrill:
    """The steps, and what they learn from those before them."""

    def __init__(self, house: DrillHouse, clock: Clock) -> None:
        self._house, self._clock = house, clock
        self._by_name: dict[str, DrillSession] = {}
        self._killed_at = clock.now()
        self._noticed: dict[str, float] = {}

    def steps(self) -> Sequence[tuple[str, Callable[[], str]]]:
        return (
            ("sessions work", self._work),
            ("one hangs, one dies", self._harm),
            ("kill switch on", self._kill),
            ("sessions that work notice it", self._notice),
            ("no session begins", self._none_begins),
            ("no release while sessions run", self._no_release),
            ("the one that hung notices it", self._go_on),
            ("entries are refused, none is sent", self._nothing_sent),
            ("one that noticed it dies", self._die),
            ("the others end in order", self._end),
            ("release", self._release),
            ("the one that died stays killed", self._stays_killed),
            ("a new session works", self._works_again),
            ("journals and registry", self._proofs),
        )

    def result(self, steps: Sequence[DrillStep]) -> DrillResult:
        found = DrillResult(drill=KILL_SWITCH, steps=steps, facts={})
        slowest = max(self._noticed.values(), default=None)
        found.facts.update(
            drill=KILL_SWITCH,
            passed=found.passed,
            seconds="" if slowest is None else f"{slowest:.3f}",
            sessions=len(self._house.sessions),
            steps=len(steps),
            first_failure=found.first_failure,
        )
        return found

    # ---- before ----------------------------------------------------------------------------------------------------------

    def _work(self) -> str:
        for name, terms in (("testnet", TESTNET), ("shadow", SHADOW), ("hanging", SHADOW), ("dying", SHADOW)):
            self._by_name[name] = self._house.begin(name, terms)
        for session in self._by_name.values():
            session.wait_for("an order", _first_order)
        return f"{', '.join(self._by_name)}: each has sent an order"

    def _harm(self) -> str:
        self._by_name["hanging"].tell(signal.SIGSTOP)
        self._by_name["dying"].tell(signal.SIGKILL)
        return f"hanging was stopped, dying ended with code {self._by_name['dying'].end()}"

    # ---- while it is on --------------------------------------------------------------------------------------------------

    def _kill(self) -> str:
        self._killed_at = self._clock.now()
        killed = kill.kill(self._house.parts, BY, "a drill", COMMAND)
        expect(self._house.parts.kill_switch.is_on(), "expected the kill switch to be on, found it off")
        return str(killed)

    def _notice(self) -> str:
        return self._noticed_by(("testnet", "shadow"), self._killed_at)

    def _none_begins(self) -> str:
        tried = (("late", SHADOW), ("late-testnet", TESTNET), ("dying", SHADOW))
        for session in [self._house.begin(account, terms) for account, terms in tried]:
            code, account = session.end(), session.account
            expect(
                code == SafetyRefused.exit_code and "kill switch" in session.words,
                f"expected a session on {account} to be refused with exit code 3, found {code}: {session.words}",
            )
            expect(not session.records(), f"expected nothing in the journal of {account}, found records")
        expect(not folder_of(self._house.parts.journal, "late").is_dir(), "expected no journal of late, found one")
        return "in shadow, in testnet, and one that had died: refused with exit code 3, nothing was written"

    def _no_release(self) -> str:
        try:
            kill.release(self._house.parts, BY, "too early")
        except SafetyRefused as error:
            expect(self._house.parts.kill_switch.is_on(), "expected the kill switch to stay on, found it off")
            names = [name for name in ("testnet", "shadow", "hanging") if f"account {name}," in str(error)]
            expect(len(names) == 3, f"expected every session that runs to be named, found: {error}")
            return f"refused because of {', '.join(names)}"
        raise SafetyRefused("expected the release to be refused while sessions run, found that it was done")

    def _go_on(self) -> str:
        session, at = self._by_name["hanging"], self._clock.now()
        expect(not any(map(_is_trip, session.records())), "expected one that hangs to notice nothing, found that it did")
        session.tell(signal.SIGCONT)
        return self._noticed_by(("hanging",), at)

    def _nothing_sent(self) -> str:
        told = []
        for name in ("testnet", "shadow", "hanging"):
            session = self._by_name[name]
            session.wait_for("an entry that is refused", _refused_since_kill)
            records = session.records()
            _check_only_reduced(name, records)
            told.append(f"{name} {sum(1 for _ in _refusals(records))}")
        return f"entries refused: {', '.join(told)}"

    # ---- afterwards ------------------------------------------------------------------------------------------------------

    def _die(self) -> str:
        session = self._by_name["shadow"]
        session.tell(signal.SIGKILL)
        return f"shadow ended with code {session.end()}"

    def _end(self) -> str:
        told = []
        for name in ("testnet", "hanging"):
            session = self._by_name[name]
            told.append(f"{name} {session.end_in_order(killed=True)}")
            _check_only_reduced(name, session.records())
        return f"{', '.join(told)}, and each says that it was killed"

    def _release(self) -> str:
        kill.release(self._house.parts, BY, "the drill goes on")
        expect(not self._house.parts.kill_switch.is_on(), "expected the kill switch to be off, found it on")
        return "done, once nothing ran any more"

    def _stays_killed(self) -> str:
        before = self._by_name["shadow"].records()
        session = self._house.begin("shadow", SHADOW)
        session.wait_for("an entry that is refused", lambda records: next(_refusals([*before, *records], len(before)), None))
        status = session.end_in_order(killed=True)
        records = session.records()
        expect(records[0].body.get("continues"), "expected a session that goes on, found one that began anew")
        _check_only_reduced("shadow", [*before, *records])
        return f"it went on, every entry was refused; {status}"

    def _works_again(self) -> str:
        session = self._house.begin("anew", SHADOW)
        session.wait_for("an order", _first_order)
        return f"it has sent an order; {session.end_in_order(killed=False)}"

    def _proofs(self) -> str:
        parts = self._house.parts
        reports = verify_journals(parts, None)
        flaws = [flaw.words for report in reports for flaw in report.flaws if not (report.intact and report.complete)]
        expect(not flaws, f"expected journals as they were written, found {'; '.join(flaws[:3])}")
        left = parts.sessions.find(SessionFilter(status=RunStatus.STARTED.value), 10)
        expect(not left, f"expected no session that counts as running, found {len(left)}")
        aborted = parts.sessions.find(SessionFilter(status=RunStatus.ABORTED.value), 10)
        expect(len(aborted) == 2, f"expected both that died to be closed as aborted, found {len(aborted)}")
        return f"{len(reports)} journals verify, nothing counts as running, {len(aborted)} are aborted"

    def _noticed_by(self, names: Iterable[str], since: datetime) -> str:
        for name in names:
            session = self._by_name[name]
            trip = session.wait_for("a sign that it was killed", _first_trip, most_s=2 * NOTICED_S)
            expect(trip.body["mode"] == Mode.KILLED.value, f"expected {name} to be killed, found {trip.body['mode']}")
            took = (parse_moment(trip.at) - since).total_seconds()
            expect(took <= NOTICED_S, f"expected {name} to notice within {NOTICED_S:g} s, found {took:.3f} s")
            self._noticed[name] = took
        return ", ".join(f"{name} after {self._noticed[name]:.3f} s" for name in names)


def _is_trip(record: Record) -> bool:
    return record.kind == TRIPPED and record.body["code"] == BY_SWITCH


def _first_trip(records: Sequence[Record]) -> Record | None:
    return next(filter(_is_trip, records), None)


def _first_order(records: Sequence[Record]) -> Record | None:
    return next((record for record in records if record.kind == SENDING), None)


def _refused_since_kill(records: Sequence[Record]) -> Record | None:
    return next(_refusals(records), None)


def _refusals(records: Sequence[Record], after: int = 0) -> Iterator[Record]:
    """Yield the orders that were refused because the session is killed, from some record on."""
    return (
        record
        for record in records[after:]
        if record.kind == REFUSED and any(reason["code"] == Mode.KILLED.value for reason in record.body["reasons"])
    )


def _check_only_reduced(name: str, records: Sequence[Record]) -> None:
    """Look that every order since the session was killed made its position smaller.

    Raises:
        CheckFailed: one did not.
    """
    killed, position = False, Decimal(0)
    for record in records:
        killed = killed or _is_trip(record)
        if record.kind == FILLED:
            position += Decimal(record.body["quantity"])
        elif record.kind == SENDING and killed:
            quantity = Decimal(record.body["intent"]["quantity"])
            expect(
                quantity * position < 0 and abs(quantity) <= abs(position),
                f"expected {name} to send only what reduces its position of {position:f}, found an order of {quantity:f}",
            )
    expect(killed, f"expected {name} to be killed, found that it never was")
