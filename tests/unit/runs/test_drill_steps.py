"""The steps of drills over a bench that is played: they pass where sessions do their part, and fail at the broken step.

What judges is the drills' own; played is only what sessions write and what the exchange shows.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from tests.trading import FixedClock

from peak_trade.journal.chain import Record
from peak_trade.model.errors import CheckFailed
from peak_trade.runs.drills import machine, triggers
from peak_trade.runs.drills.bench import DrillBench, Shown
from peak_trade.runs.drills.steps import walked

BOUGHT = ("sending", {"intent": {"quantity": "0.5"}})
FILL = ("filled", {"fill_id": "f", "quantity": "0.5"})
SOLD = ("sending", {"intent": {"quantity": "-0.5"}})
MORE = ("sending", {"intent": {"quantity": "0.1"}})
END = ("ended", {"status": "completed"})


def tripped(code: str, mode: str, **more: Any) -> tuple[str, dict[str, Any]]:
    """Return the record by which a session says that it stops."""
    return "tripped", {"code": code, "mode": mode, "words": "w", "evidence": {"seen": "1"}} | more


class PlayedProcess:
    """A session that wrote these records, and hears every signal."""

    def __init__(self, account: str, *written: tuple[str, Mapping[str, Any]]) -> None:
        self.account, self.words = account, "it said nothing"
        self.process = SimpleNamespace(poll=lambda: None, pid=0)
        self._records = [Record(n, "", kind, dict(body), "", str(n)) for n, (kind, body) in enumerate(written)]

    def records(self) -> list[Record]:
        """Return all of them: what is to come has come already."""
        return self._records

    def wait_for(self, what: str, happened: Callable[[list[Record]], Any], _most_s: float = 0.0) -> Any:
        """Return what happened, or say at once that it never will."""
        if (found := happened(self._records)) is None:
            raise CheckFailed(f"expected {what} of {self.account}, found none")
        return found

    def tell(self, _number: int) -> None:
        """Hear it."""

    def end(self) -> int:
        """Return the exit code."""
        return 0


class PlayedBench:
    """What drills ask of a bench: the judging parts are the real one's."""

    tripped, end, check_books = DrillBench.tripped, DrillBench.end, DrillBench.check_books

    def __init__(self, *sessions: PlayedProcess, held: tuple[str, ...] = (), refused: bool = True, working: int = 1) -> None:
        self.sessions, self.clock, self.facts = list(sessions), FixedClock(), {}
        self.terms = SimpleNamespace(account="drill")
        holds = [SimpleNamespace(code=code) for code in held]
        self.parts = SimpleNamespace(holds=SimpleNamespace(of=lambda _account: holds))
        self._refused, self._orders = refused, frozenset(map(str, range(working)))
        self.before = Shown(frozenset(), frozenset(), Decimal(0))
        self.position = Decimal("0.5")
        self.fills = frozenset({"f"})

    def begin(self) -> PlayedProcess:
        """Return the first session."""
        return self.sessions[0]

    begin_holding = begin

    def begin_again(self) -> PlayedProcess:
        """Return the second one."""
        return self.sessions[1]

    def working(self) -> frozenset[str]:
        """Return the orders at the exchange."""
        return self._orders

    def until(self, what: str, happened: Callable[[], Any], _session: object = None) -> Any:
        """Return what happened, or say at once that it never will."""
        if (found := happened()) is None:
            raise CheckFailed(f"expected {what}, found none")
        return found

    def shown(self) -> Shown:
        """Return what the exchange has."""
        return Shown(self._orders, self.fills, self.position)

    def fault(self, *_told: Any, **_more: Any) -> None:
        """Let something go wrong that a session already heeded, or did not."""

    def calm(self) -> None:
        """End it."""

    def check_refused(self, words: str) -> str:
        """Refuse a session, or not."""
        if not self._refused:
            raise CheckFailed("expected a session to be refused, found that it ran")
        return words


def failure(drill: Callable[[Any], Any], bench: PlayedBench) -> tuple[str, str]:
    """Walk a drill; return the name of the step that failed and what was found, both empty where none did."""
    steps = walked(bench.clock, drill(bench))
    failed = next((step for step in steps if step.outcome == "failed"), None)
    assert failed is not None or all(step.outcome == "passed" for step in steps)
    return ("", "") if failed is None else (failed.name, failed.found)


FREE = "the account stays held"
TRIGGERS = [
    (triggers.daily_loss, "max_daily_loss_abs", "paused"),
    (triggers.api_errors, "api_error_rate", "restricted"),
    (triggers.data_gap, "data_gap", "restricted"),
    (triggers.divergence, "pnl_divergence", "restricted"),
]


@pytest.mark.parametrize(("drill", "code", "mode"), TRIGGERS)
def test_each_trigger_passes_and_fails_where_its_part_is_broken(drill, code, mode):
    """Blind, too mild, without numbers, enlarging, holding nothing or too much, books that differ: each at its own step."""
    latches = mode == "paused"
    held, firing, stays = (code,) if latches else (), tripped(code, mode), "nothing is enlarged, and what has to stay stays"

    def tried(*written: tuple[str, Mapping[str, Any]], held: tuple[str, ...] = held, **more: Any) -> tuple[str, str]:
        return failure(drill, PlayedBench(PlayedProcess("drill", *written), held=held, **more))

    assert tried(BOUGHT, FILL, firing, END) == ("", "")
    assert tried(BOUGHT, FILL, END)[0] == f"it is {mode}"
    assert tried(BOUGHT, FILL, tripped(code, "restricted" if latches else "running"), END)[0] == f"it is {mode}"
    assert tried(BOUGHT, FILL, tripped(code, mode, evidence={}), END)[0] == f"it is {mode}"
    assert "found an order of 0.1" in tried(BOUGHT, FILL, firing, MORE, END)[1]
    assert tried(BOUGHT, FILL, firing)[0] == stays
    assert tried(BOUGHT, FILL, firing, END, held=() if latches else (code,))[0] == stays
    assert tried(BOUGHT, FILL, firing, END, refused=False)[0] == (stays if latches else "")
    unbooked = FILL[0], FILL[1] | {"fill_id": "another"}
    assert tried(BOUGHT, unbooked, firing, END)[0] == "books and exchange agree"
    short = FILL[0], FILL[1] | {"quantity": "0.4"}
    assert tried(BOUGHT, short, firing, END)[0] == "books and exchange agree"


def test_a_restart_passes_and_fails_where_recovery_is_broken():
    """An order that is gone, a session that begins anew, and one that orders twice."""
    died, begun = PlayedProcess("drill", ("begun", {"continues": None}), BOUGHT, FILL), ("begun", {"continues": "s"})
    again = "begun again, it goes on"

    def tried(*written: tuple[str, Mapping[str, Any]], working: int = 1) -> tuple[str, str]:
        return failure(machine.restarted, PlayedBench(died, PlayedProcess("drill", *written), working=working))

    assert tried(begun, SOLD, END) == ("", "")
    assert tried(begun, END, working=0)[0] == "kill -9"
    assert tried(("begun", {"continues": None}), END) == (again, "expected a session that goes on, found one that began anew")
    assert tried(begun, MORE, END) == (again, "expected one order that enlarges, found 2")
    assert tried(begun)[0] == again
    assert tried(begun, FILL, END)[0] == "books and exchange agree"


@pytest.mark.parametrize(
    ("held", "refused", "failed"), [(("core_exception",), True, ""), ((), True, FREE), (("core_exception",), False, FREE)]
)
@pytest.mark.parametrize("mode", ["paused", "restricted", None])
def test_an_exception_in_the_core_fails_its_drill_where_nothing_stops(monkeypatch, held, refused, failed, mode):
    """A session that goes on, one that says nothing of it or is too mild, and an account that is free again."""

    def session(*_told: object, watcher: Any, **_more: object) -> None:
        try:
            watcher.record("filled", {})
        except RuntimeError:
            if mode is not None:
                watcher.record(*tripped("core_exception", mode))
            raise

    monkeypatch.setattr(triggers, "emulated_session", session)
    monkeypatch.setattr(triggers, "replace", lambda terms, **_changes: terms)
    bench = PlayedBench(held=held, refused=refused)
    bench.parts.settings = bench.run = None
    assert failure(triggers.exception, bench)[0] == (failed if mode == "paused" else "it is paused")
    monkeypatch.setattr(triggers, "emulated_session", lambda *_told, **_more: None)
    assert failure(triggers.exception, bench)[0] == "a session fails in its core"
