"""Incidents: what went wrong, who looked into it and what follows; where each stands is a function of the acts about it.

Invariant: of one key at most one incident is open; what comes under it meanwhile belongs to that one.
Invariant: an incident is closed by a named person who says its cause and what follows, and stays closed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, unique
from typing import Any, NamedTuple

from peak_trade.model.errors import InputError, NotFound

#: The acts.
OPENED_ACT, NOTED_ACT, CLOSED_ACT = "incident_open", "incident_note", "incident_close"
#: Shortest cause and follow-up, and longest text of any kind, characters.
SAID_MIN, SAID_MAX = 10, 2_000
KEY_MAX, TITLE_MAX = 64, 120
#: Words that are no cause and no follow-up, however often they are repeated.
_EMPTY = frozenset({"", "none", "unknown", "nothing", "tbd", "todo", "n/a", "na", "-", "?", "later", "x"})


@unique
class IncidentSeverity(Enum):
    """How bad: an open critical one keeps every gate closed."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Its place, from the least on."""
        return list(IncidentSeverity).index(self)

    @classmethod
    def parse(cls, text: str) -> "IncidentSeverity":
        """Read a severity.

        Raises:
            InputError: it is none.
        """
        try:
            return cls(text.strip().lower())
        except ValueError:
            names = ", ".join(item.value for item in cls)
            raise InputError(f"expected a severity among {names}, found {text[:40]!r}; choose one") from None


class IncidentAct(NamedTuple):
    """One act about an incident: its action, its own id, when and by whom, what it says, and whether it was done to its end."""

    action: str
    id: str
    at: datetime
    by: str
    body: Mapping[str, Any]
    went_well: bool


class IncidentNote(NamedTuple):
    """What somebody added to an incident."""

    at: datetime
    by: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedIncident:
    """An incident as the acts tell it.

    Attributes:
        id: that of the act that opened it. key: what it is about; severity: the worst that was said of it.
        session_id: the session in which it happened, None where it is about none.
        cause, follow_up: what was said when it was closed.
    """

    id: str
    key: str
    severity: IncidentSeverity
    title: str
    why: str
    by: str
    opened_at: datetime
    session_id: str | None = None
    notes: tuple[IncidentNote, ...] = ()
    closed_at: datetime | None = None
    closed_by: str = ""
    cause: str = ""
    follow_up: str = ""

    @property
    def is_open(self) -> bool:
        """Whether nobody has closed it."""
        return self.closed_at is None

    @property
    def blocks(self) -> bool:
        """Whether it keeps every gate closed."""
        return self.is_open and self.severity is IncidentSeverity.CRITICAL


def track(acts: Iterable[IncidentAct]) -> dict[str, TrackedIncident]:
    """Return every incident by its id, the oldest first.

    An opening or a note whose process died counts: it was said. A closing whose process died does not.
    """
    found: dict[str, TrackedIncident] = {}
    for act in acts:
        body = act.body
        if act.action == OPENED_ACT:
            found[act.id] = TrackedIncident(
                id=act.id,
                key=_text(body, "key"),
                severity=_severity(body) or IncidentSeverity.CRITICAL,
                title=_text(body, "title"),
                why=_text(body, "why"),
                by=act.by,
                opened_at=act.at,
                session_id=_text(body, "session_id") or None,
            )
            continue
        known = found.get(_text(body, "incident"))
        if known is None:
            continue
        if act.action == NOTED_ACT:
            found[known.id] = _noted(known, act)
        elif act.action == CLOSED_ACT and act.went_well and known.is_open:
            found[known.id] = replace(
                known,
                closed_at=act.at,
                closed_by=act.by,
                cause=_text(body, "cause"),
                follow_up=_text(body, "follow_up"),
            )
    return found


def _noted(known: TrackedIncident, act: IncidentAct) -> TrackedIncident:
    told = _severity(act.body)
    worse = told is not None and told.rank > known.severity.rank
    return replace(
        known,
        notes=(*known.notes, IncidentNote(act.at, act.by, _text(act.body, "words"))),
        severity=told if told is not None and worse else known.severity,
        session_id=known.session_id or _text(act.body, "session_id") or None,
    )


def open_of_key(incidents: Mapping[str, TrackedIncident], key: str) -> TrackedIncident | None:
    """Return the open incident of a key."""
    return next((item for item in reversed(list(incidents.values())) if item.is_open and item.key == key), None)


def by_name(incidents: Mapping[str, TrackedIncident], name: str) -> TrackedIncident:
    """Return an incident by the whole or the end of its id, by `latest`, or by the key of one that is open.

    Raises:
        NotFound: none, or more than one.
    """
    if name == "latest" and incidents:
        return list(incidents.values())[-1]
    if (found := incidents.get(name) or open_of_key(incidents, name)) is not None:
        return found
    ending = [item for item in incidents.values() if len(name) >= 4 and item.id.endswith(name)]
    if len(ending) != 1:
        what = "none" if not ending else f"{len(ending)} of them"
        raise NotFound(f"expected the id of an incident, found {what} for {name[:80]!r}; peak-trade incident list shows them")
    return ending[0]


def check_opening(key: str, title: str, why: str) -> None:
    """Look that an incident can be kept and read.

    Raises:
        InputError: a text is empty, too long, or has control characters.
    """
    for name, text, most in (("key", key, KEY_MAX), ("title", title, TITLE_MAX), ("why", why, SAID_MAX)):
        _check_text(f"--{name}", text, 1, most)


def check_closing(incident: TrackedIncident, by: str, people: Iterable[str], cause: str, follow_up: str) -> None:
    """Look that an incident may be closed so.

    Args:
        people: who is named in the roles; without anybody there, any name is taken.

    Raises:
        InputError: it is closed already, the person is nobody, or cause or follow-up say nothing.
    """
    if not incident.is_open:
        raise InputError(
            f"expected an open incident, found {incident.id} closed by {incident.closed_by} at {incident.closed_at:%F %T} UTC; "
            "open another one if it came back"
        )
    named = sorted(people)
    if named and by not in named:
        raise InputError(f"expected --by a person of governance/roles.toml ({', '.join(named)}), found {by}; name yourself")
    for option, text in (("--cause", cause), ("--follow-up", follow_up)):
        if text.strip().strip(".!").lower() in _EMPTY:
            raise InputError(f"expected {option} to say it in words, found {text[:40]!r}; an incident is closed with both")
        _check_text(option, text, SAID_MIN, SAID_MAX)


def check_note(words: str) -> None:
    """Look that a note can be kept.

    Raises:
        InputError: it is empty, too long, or has control characters.
    """
    _check_text("the note", words, 1, SAID_MAX)


def _check_text(what: str, text: str, least: int, most: int) -> None:
    size = len(text.strip())
    if not least <= size <= most or not text.replace("\n", " ").isprintable():
        raise InputError(f"expected {what} of {least} to {most} printable characters, found {size}; correct it")


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""


def _severity(body: Mapping[str, Any]) -> IncidentSeverity | None:
    try:
        return IncidentSeverity(body.get("severity"))
    except ValueError:
        return None
