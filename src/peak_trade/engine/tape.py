"""A journal played back: the engine runs against its own records until they end, and every one of them must come out again.

Recovery and `session replay` are this, and nothing else: there is no second code path that could differ from the first.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any

from peak_trade.engine.records import REMARKS, TOLD, Body
from peak_trade.journal.chain import Record
from peak_trade.model.errors import CheckFailed


class Tape:
    """The records of a session, and of those that it goes on with, in order; remarks are left out.

    Attributes:
        left: those that were not played yet; to be taken by `take` alone.
        played: how many were.
    """

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.left = deque(record for record in records if record.kind not in REMARKS)
        self.played = 0

    @property
    def head(self) -> Record:
        """The next record."""
        return self.left[0]

    def told_at(self, tick: int, via: tuple[str, ...]) -> Record | None:
        """Return the next record if it came from outside at that tick by one of these ways."""
        if not self.left:
            return None
        head = self.left[0]
        fits = head.kind in TOLD and head.body["tick"] == tick and head.body["via"] in via
        return head if fits else None

    def take(self, kind: str, body: Body) -> bool:
        """Take the next record if it is this one."""
        head = self.left[0]
        if head.kind != kind or head.body != body:
            return False
        self.left.popleft()
        self.played += 1
        return True

    def differs(self, kind: str, body: Body) -> CheckFailed:
        """Return the error that says how the engine now differs from its record."""
        head = self.left[0]
        return CheckFailed(
            f"expected the engine to decide as its journal says, found a difference at record {head.seq} of {head.at}: "
            f"journal {head.kind} {_changed(head.body, body)}, now {kind} {_changed(body, head.body)}; "
            "the code, the data or the journal was changed since: look at both, then begin anew with --fresh"
        )


def _changed(one: Any, other: Any) -> str:
    """Return what of *one* is not in *other*."""
    if isinstance(one, dict) and isinstance(other, dict):
        different = {name: value for name, value in one.items() if other.get(name) != value}
        return str(different) if len(str(different)) <= 400 else f"{str(different)[:400]} ..."
    return str(one)
