"""Holds against the acts that tell of them: one that was placed and never lifted by a restart has to be on the disk.

Invariant: what can't be found keeps sessions from beginning; only putting it back and the restart procedure lead on.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from peak_trade.compose import Parts
from peak_trade.model.errors import SafetyRefused
from peak_trade.runs.acts import readable
from peak_trade.runs.record import Json
from peak_trade.safety.holds import Hold, HoldKind

#: Under these names acts tell which holds were placed, and which a restart lifts.
PLACED, LIFTING = "placed", "lifting"


class LostHold(NamedTuple):
    """A hold that an act tells of and no restart lifted, and that is not on the disk: of which account, and the act's id."""

    account: str
    hold: Hold
    act: str

    def __str__(self) -> str:
        return f"the hold of {self.account} ({self.hold}), which act {self.act} tells of and no restart lifted"


def placed_fact(account: str, hold: Hold) -> Json:
    """Return what an act says of a hold that was placed."""
    told = hold._asdict() | {"kind": hold.kind.value, "strategies": list(hold.strategies), "keys": list(hold.keys)}
    return {"account": account, "name": hold.name_on(account), **told}


def lifting_fact(account: str, holds: Iterable[Hold]) -> list[str]:
    """Return what an act says of holds that are about to be lifted."""
    return sorted({hold.name_on(account) for hold in holds})


def lost_holds(parts: Parts, account: str | None = None) -> list[LostHold]:
    """Return the holds of an account, or of all, that acts tell of and that are gone from the disk.

    Every act that can be read counts, also in a journal that does not verify: who took a hold away may have touched that too.
    """
    found = _lost(parts, account)
    # A restart writes its act before it lifts: between our two looks one may have done both.
    return [item for item in _lost(parts, account) if item in found] if found else []


def check_kept(parts: Parts) -> None:
    """Let a session pass where every hold that was placed is there, or was lifted by a restart.

    Raises:
        SafetyRefused: one is gone; the sentence says which, and what to do.
    """
    if lost := lost_holds(parts):
        raise SafetyRefused(
            f"expected every hold in {parts.holds.folder} that the journal of acts tells of, found {len(lost)} gone: "
            f"{lost[0]}; nothing was begun: find out who took it away, then peak-trade resume {lost[0].account} puts it back "
            "and leads through the restart"
        )


def put_back(parts: Parts, account: str) -> list[Hold]:
    """Place the holds of an account again that are gone from the disk; return them.

    Raises:
        StorageError: the disk refused.
    """
    return [parts.holds.place(account, item.hold, parts.clock.now()) for item in lost_holds(parts, account)]


def _lost(parts: Parts, account: str | None) -> list[LostHold]:
    standing: dict[str, LostHold] = {}
    for act in readable(parts):
        told: Mapping[str, Any] = act.begun.body
        # An act that somebody changed is told by whoever verifies the journal.
        with suppress(KeyError, TypeError, ValueError):
            for fact in told.get(PLACED) or ():
                if account in (None, fact["account"]):
                    standing[str(fact["name"])] = LostHold(str(fact["account"]), _hold_of(fact), act.segment)
            for name in told.get(LIFTING) or ():
                standing.pop(str(name), None)
    there = {hold.name_on(name) for name in {item.account for item in standing.values()} for hold in parts.holds.of(name)}
    return [item for name, item in standing.items() if name not in there]


def _hold_of(fact: Mapping[str, Any]) -> Hold:
    at, by, why, code = (str(fact[name]) for name in ("at", "by", "why", "code"))
    return Hold(at, by, why, HoldKind(fact["kind"]), code, tuple(fact["strategies"]), tuple(fact["keys"]))
