"""The session list's questions as they stand in a URL: filters, sort and place, for pages and API alike."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from peak_trade.journal.run import RunStatus
from peak_trade.journal.session import SESSION_TYPES
from peak_trade.journal.sessions import SORTABLE, Place, SessionFilter
from peak_trade.model.clock import parse_moment
from peak_trade.model.errors import InputError
from peak_trade.model.stage import Stage

#: Longest text of a filter, and of a cursor, which holds a value of any column.
TEXT_MAX, CURSOR_MAX = 200, 2_500
#: No session began before or after; moments beyond can't be compared as text, or not be counted on by a day.
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
NEWEST_FIRST = "-started_at"
_WORDS = ("mode", "status", "strategy", "symbol", "tag", "account", "env_name", "run_type", "text")
#: What a filter by a closed list may say.
_CLOSED: Mapping[str, tuple[str, ...]] = {
    "mode": tuple(stage.value for stage in Stage if stage is not Stage.RESEARCH),
    "status": tuple(status.value for status in RunStatus),
    "run_type": tuple(SESSION_TYPES),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a reader asks of the session list, as texts of a URL; empty does not filter.

    Attributes:
        since, until: days or moments, UTC; both are included as days.
        unhandled: only failed sessions that nobody acknowledged, where it is "1".
        sort: name of a column, with a minus for the largest first.
        after: the place after which the page begins, as `cursor_of` writes it.
    """

    mode: str = ""
    status: str = ""
    strategy: str = ""
    symbol: str = ""
    tag: str = ""
    account: str = ""
    env_name: str = ""
    run_type: str = ""
    text: str = ""
    since: str = ""
    until: str = ""
    unhandled: str = ""
    sort: str = NEWEST_FIRST
    after: str = ""

    @classmethod
    def read(cls, given: Mapping[str, str]) -> "Question":
        """Read a URL's parameters; those of others are left alone.

        Raises:
            InputError: a value that can't be meant.
        """
        known = {name.name: given[name.name].strip() for name in fields(cls) if given.get(name.name, "").strip()}
        for name, value in known.items():
            longest = CURSOR_MAX if name == "after" else TEXT_MAX
            if len(value) > longest or not value.isprintable():
                raise InputError(f"expected printable text of at most {longest} characters as {name}, found other; shorten it")
            if name in _CLOSED and value not in _CLOSED[name]:
                raise InputError(f"expected {name} to be one of {', '.join(_CLOSED[name])}, found {value!r}; choose one")
        found = cls(**known)
        if found.sort.removeprefix("-") not in SORTABLE:
            raise InputError(f"expected sort to be one of {', '.join(SORTABLE)}, found {found.sort!r}; choose one")
        return found

    def filter(self) -> SessionFilter:
        """Return it as the registry takes it.

        Raises:
            InputError: a date that is none.
        """
        words: dict[str, Any] = {name: getattr(self, name) or None for name in _WORDS}
        until = _moment("until", self.until)
        if until is not None and len(self.until) <= len("2026-01-01"):
            until += timedelta(days=1)
        return SessionFilter(**words, since=_moment("since", self.since), until=until, unhandled=self.unhandled == "1")

    def place(self) -> Place | None:
        """Return where the page begins.

        Raises:
            InputError: a cursor that is none of ours.
        """
        return place_of(self.after) if self.after else None

    def filtered(self) -> bool:
        """Tell whether anything is filtered."""
        return any(getattr(self, name) for name in (*_WORDS, "since", "until", "unhandled"))

    def url(self, path: str = "/", **changes: str) -> str:
        """Return the URL of this question with some changes; another question begins on its first page."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values |= {"after": ""} | changes
        left = {name: value for name, value in values.items() if value and (name, value) != ("sort", NEWEST_FIRST)}
        return f"{path}?{urlencode(left)}" if left else path


def cursor_of(place: Place) -> str:
    """Return a place in the list as text for a URL."""
    return base64.urlsafe_b64encode(json.dumps(list(place), ensure_ascii=False).encode()).decode().rstrip("=")


def place_of(cursor: str) -> Place:
    """Read what `cursor_of` wrote.

    Raises:
        InputError: it did not.
    """
    try:
        value, session_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError, RecursionError):
        value, session_id = None, None
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    if not isinstance(session_id, str) or not (value is None or isinstance(value, str) or number):
        raise InputError("expected a cursor as the page before gave it, found another; begin without one")
    return Place(float(value) if number else value, session_id)


def _moment(name: str, text: str) -> datetime | None:
    if not text:
        return None
    try:
        return min(max(parse_moment(text), _EARLIEST), _LATEST)
    except (ValueError, OverflowError) as error:
        raise InputError(f"expected a date such as 2026-01-31 as {name}, found {text!r}; correct it") from error
