"""What the dashboard is given, made for tests: a clock that stands, a real registry, and stubs for all that is beyond it."""

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from starlette.requests import Request
from tests.contract.rows import NOW, a_session

from peak_trade.journal.operators import Operators
from peak_trade.journal.registry import Registry
from peak_trade.journal.run import RunStatus
from peak_trade.journal.sessions import Sessions
from peak_trade.runs.gates.locks import live_lock, safety_lock
from peak_trade.settings import File
from peak_trade.webui.desk import Actions, Desk, Gates, ResearchDesk, SafetyDesk, Urgent

CLOSED = (
    live_lock(enabled=False, runnable=False, permits=0),
    safety_lock(simulated=True, validates=True, blocks=True),
)


@dataclass
class SetClock:
    """A clock that stands where a test sets it."""

    at: datetime = NOW
    seconds: float = 0.0

    def now(self) -> datetime:
        """Return the moment that was set."""
        return self.at

    def elapsed_s(self) -> float:
        """Return the seconds that were set."""
        return self.seconds

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds
        self.at += timedelta(seconds=seconds)


@dataclass
class Asked:
    """What the desk was asked to do."""

    killed: list[tuple[str, str, str]] = field(default_factory=list)
    acknowledged: list[tuple[str, str, str]] = field(default_factory=list)


def a_safety_desk(urgent: Urgent | None = None) -> SafetyDesk:
    """Return what the pages of safety read where only what is urgent is known."""

    def nothing(*_given: object) -> Any:
        raise AssertionError("nothing of this was expected to be asked for")

    names = ("overview", "incidents", "incident", "drills", "runbooks", "runbook")
    return SafetyDesk(**dict.fromkeys(names, nothing), urgent=lambda: urgent or Urgent(), seen=lambda: urgent)


def a_desk(registry: Registry | None = None, **changes: Any) -> Desk:
    """Return a desk over a registry on which nothing is wrong; without one, nothing may ask for it."""

    def nothing(*_given: object) -> Any:
        raise AssertionError("nothing of this was expected to be asked for")

    asked = Asked()
    given: dict[str, Any] = {
        "settings": SimpleNamespace(file=File()),
        "clock": SetClock(),
        "randomness": random.Random(1),
        "open_registry": (lambda: registry) if registry else nothing,
        "open_sessions": (lambda: Sessions(registry.database)) if registry else nothing,
        "open_operators": (lambda: Operators(registry.database)) if registry else nothing,
        "reports": Path("reports"),
        "stages": ("shadow",),
        "actions": Actions(
            kill=lambda *given: asked.killed.append(given),
            acknowledge=lambda *given: asked.acknowledged.append(given),
        ),
        "tripped": lambda: None,
        "locks": lambda: CLOSED,
        "view": nothing,
        "sheet": nothing,
        "research": ResearchDesk(reported=lambda _run: False, record=lambda _run: None, strategy=nothing),
        "growth": lambda _session: 1_234,
        "health": list,
        "gates": Gates(overview=nothing, step=nothing, archive=nothing, archived=nothing, seen=lambda: None),
        "safety": a_safety_desk(),
        "config_changed": lambda: False,
    }
    return Desk(**given | changes)


def a_request(path: str = "/", query: str = "", **headers: str) -> Request:
    """Return a request for a page."""
    named = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": named}
    return Request(scope)


def begun(desk: Desk, account: str = "main", run_type: str = "live_session_shadow", **changes: Any) -> str:
    """Register a session as started, under a lease of 30 s; return its id."""
    return str(desk.sessions.begin(a_session(account, run_type, **changes), desk.clock.now(), 30.0).session_id)


def ended(desk: Desk, status: str = "completed", account: str = "main", **changes: Any) -> str:
    """Register a session that has ended; figures may be given as `metrics`; return its id."""
    metrics, error = changes.pop("metrics", {}), changes.pop("error", None)
    name = begun(desk, account, **changes)
    desk.sessions.finish(name, RunStatus(status), at=desk.clock.now(), elapsed_s=1.0, metrics=metrics, summary={}, error=error)
    return name
