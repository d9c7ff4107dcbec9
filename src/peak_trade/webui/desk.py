"""What the dashboard is given: everything that its pages show and the two things that an operator may do with it.

Invariant: nothing here can build a venue or place an order; what reads bars or writes a journal is handed in as a function.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from peak_trade.journal.chain import Record
from peak_trade.journal.operators import Operators
from peak_trade.journal.registry import Registry
from peak_trade.journal.run import Run
from peak_trade.journal.session import Session
from peak_trade.journal.sessions import Sessions
from peak_trade.model.clock import Clock
from peak_trade.report.session_rows import SessionSeries
from peak_trade.settings import Settings

Json = dict[str, Any]


class Lock(NamedTuple):
    """Something that keeps orders from an exchange.

    Attributes:
        closed: whether it holds.
        reasons: why it is closed or open, one sentence each.
    """

    name: str
    closed: bool
    reasons: tuple[str, ...]


class Check(NamedTuple):
    """What was looked at in one component, and whether it was well."""

    component: str
    healthy: bool
    checked: str
    found: str


class KillSwitchOn(Protocol):
    """Since when, by whom and why the kill switch is on."""

    @property
    def at(self) -> str:
        """ISO 8601, UTC."""
        ...

    @property
    def by(self) -> str:
        """Name of a person or program."""
        ...

    @property
    def why(self) -> str:
        """The reason given."""
        ...


class Step(NamedTuple):
    """Something that happened to an order, in the words of its journal record."""

    at: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """A session as its page shows it.

    Attributes:
        record: its JSON document, as reports read it.
        series: what its charts and its table of orders are made of.
        lives: what happened to each order, by client id.
        tail: the last records of its journal.
        records: how many records its journal has.
        missing: why something of it can't be shown, one sentence each; empty where all can.
    """

    record: Json
    series: SessionSeries
    lives: Mapping[str, Sequence[Step]] = field(default_factory=dict)
    tail: Sequence[Record] = ()
    records: int = 0
    missing: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """The two things that an operator may do here, each recorded in the operators' journal.

    Attributes:
        kill: turns the kill switch on; takes who, why, and how far: `no-new` or `reduce-only`, which need no exchange.
        acknowledge: marks a failed session as seen; takes its id, who and a note.
    """

    kill: Callable[[str, str, str], object]
    acknowledge: Callable[[str, str, str], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """What the pages of the gates read; nothing here signs, decides, or moves anything.

    Attributes:
        overview: returns ladder, requests, permits and history.
        step: returns how a version stands before a step; takes strategy, version (both hashes, eight digits each), account, and
            the step, where empty is the next one.
        archive: returns the archived checklists; archived: the text of one, by its name.
        seen: returns what changes whenever an act is written, or people or policy are.
    """

    overview: Callable[[], Json]
    step: Callable[[str, str, str, str], Json]
    archive: Callable[[], Json]
    archived: Callable[[str], Json]
    seen: Callable[[], object]


class Urgent(NamedTuple):
    """What needs a person now, wherever they look.

    Attributes:
        level: how far the kill switch goes, empty while it is off.
        held: accounts that something holds.
        unwatched: why nobody watches although somebody must, empty where all is well.
        critical: open critical incidents, in words.
        damaged: why the record of what people did can't be trusted, empty where it can.
        unread: why it can't be read at all, empty where it can.
    """

    level: str = ""
    held: tuple[str, ...] = ()
    unwatched: str = ""
    critical: tuple[str, ...] = ()
    damaged: str = ""
    unread: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyDesk:
    """What the pages of safety read; nothing here lifts a hold, closes an incident or runs a drill.

    Attributes:
        overview: returns kill switch, locks, holds, triggers, sessions, supervisor, scheduler and backup.
        incidents: returns every incident; incident: one with its timeline, by its id.
        drills: returns how every drill stands.
        runbooks: returns what runbooks there are; runbook: one with its text, by its name.
        urgent: returns what stands at the top of every page, at once.
        seen: returns what changes when that does, or when a hold is placed or lifted.
    """

    overview: Callable[[], Json]
    incidents: Callable[[], Json]
    incident: Callable[[str], Json]
    drills: Callable[[], Json]
    runbooks: Callable[[], Json]
    runbook: Callable[[str], Json]
    urgent: Callable[[], Urgent]
    seen: Callable[[], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResearchDesk:
    """What the pages of runs read besides the registry.

    Attributes:
        reported: tells whether a run has a report.
        record: returns what a run's folder says in words and rows, None where that is not what was registered.
        strategy: returns the newest evidence of each kind of a strategy; takes its name and a market, where empty is the one of
            its newest run.
    """

    reported: Callable[[Run], bool]
    record: Callable[[Run], Json | None]
    strategy: Callable[[str, str], Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The parts that the dashboard works with.

    Attributes:
        randomness: where its secrets come from.
        open_registry, open_sessions, open_operators: open what they name where it is not open yet; a database that can't be
            used now may be later.
        reports: the folder in which each run has a folder of its own.
        stages: the stages whose sessions can run, as their values.
        tripped: tells since when the kill switch is on; None while it is off.
        locks: tells which locks hold, the live lock first.
        view: reads a session's journal and bars.
        sheet: returns a run's report as one HTML page.
        research: what else pages of runs read.
        growth: tells the bytes of a session's journal.
        health: looks at every component.
        gates: where strategies stand, and what their next step lacks.
        safety: what holds, what watches, what went wrong, and what to do then.
        config_changed: tells whether the configuration file is no longer the one that was read.
    """

    settings: Settings
    clock: Clock
    randomness: random.Random
    open_registry: Callable[[], Registry]
    open_sessions: Callable[[], Sessions]
    open_operators: Callable[[], Operators]
    reports: Path
    stages: tuple[str, ...]
    actions: Actions
    tripped: Callable[[], KillSwitchOn | None]
    locks: Callable[[], tuple[Lock, ...]]
    view: Callable[[Session], SessionView]
    sheet: Callable[[Run], str]
    research: ResearchDesk
    growth: Callable[[Session], int]
    health: Callable[[], list[Check]]
    gates: Gates
    safety: SafetyDesk
    config_changed: Callable[[], bool]

    @property
    def registry(self) -> Registry:
        """The registry of runs."""
        return self.open_registry()

    @property
    def sessions(self) -> Sessions:
        """The registry of sessions."""
        return self.open_sessions()

    @property
    def operators(self) -> Operators:
        """Who may act here."""
        return self.open_operators()
