"""The permits of an installation: which one allows a session, and whether it still does right before each order.

Invariant: a file is a permit only if the decision comes out again from its dossier, the ladder knows that decision, nobody
revoked it, and everything it is bound to has the same bytes now.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from peak_trade.compose import Parts
from peak_trade.governance.decisions import Dossier
from peak_trade.governance.dossiers import unpack
from peak_trade.governance.files import POLICY, ROLES, read_plain
from peak_trade.governance.ladder import Assignment, Rung
from peak_trade.governance.objections import Objected, Objection
from peak_trade.governance.permits import Permit, verify
from peak_trade.governance.requests import Hashes, Promotion, read_request
from peak_trade.journal.chain import segment_files
from peak_trade.journal.operators import ACCOUNT
from peak_trade.model.errors import NotFound, PeakTradeError, SafetyRefused
from peak_trade.model.stage import Stage
from peak_trade.runs.gates.asked import DOSSIER_END
from peak_trade.runs.gates.climb import Climb, Rulebook, collect, present, present_but_runs, rules_of
from peak_trade.runs.gates.promotion import JSON_END, PERMITS, climb_of
from peak_trade.runs.gates.record import GateRecord, gate_record
from peak_trade.runs.strategy_version import version_of
from peak_trade.strategy.base import Strategy


class Held(NamedTuple):
    """A permit's file and its dossier, read once."""

    id: str
    content: bytes
    dossier: Dossier
    request: Promotion


class Checked(NamedTuple):
    """A permit's file as it stands now: the permit, or every reason why it is none."""

    held: Held
    permit: Permit | None
    objections: tuple[Objection, ...]


def every_permit(parts: Parts, record: GateRecord, now: datetime) -> list[Checked]:
    """Check every permit's file, by id, but for what it is bound to; that is looked at where one is used."""
    if not (found := list(_files(parts))):
        return []
    rules = rules_of(parts)
    return [_checked(rules, record, held, now, None) for held in found]


def leaves(parts: Parts, stage: Stage, strategies: Sequence[Strategy], symbols: tuple[str, ...]) -> tuple["PermitWatch", ...]:
    """Return the permits of a session's strategies; none where its stage needs none.

    Raises:
        SafetyRefused: one of them has none. CheckFailed: the journal of acts is not as it was written.
    """
    return tuple(allowed(parts, stage, item, symbols) for item in strategies) if parts.needs_permit(stage) else ()


def allowed(parts: Parts, stage: Stage, strategy: Strategy, symbols: tuple[str, ...]) -> "PermitWatch":
    """Return the permit that allows a session of a stage, checked from its files to the bytes it is bound to.

    Raises:
        SafetyRefused: there is none; says why none of those there are does, and how to get one.
        CheckFailed: the journal of acts is not as it was written.
    """
    rung = next(rung for rung in Rung if rung.upper is stage)
    account = parts.settings.file.governance.account
    climb = Climb(rung=rung, version=version_of(strategy), account=account, symbols=symbols)
    _check_place(parts)
    # Before anything is read: what is written while it is checked is seen at the first order.
    every = [(held, Outside(parts, held)) for held in _files(parts)]
    record, now = gate_record(parts), parts.clock.now()
    reasons: list[str] = []
    for held, outside in every:
        if held.request.transition is not rung or held.request.strategy.key != climb.version.key:
            continue
        found = _checked(rules_of(parts), record, held, now, _present(parts, record, held))
        objections = found.permit.objections(stage, climb.assignment, now) if found.permit else found.objections
        if found.permit is not None and not objections:
            return PermitWatch(parts, outside, found.permit, stage, climb.assignment)
        reasons.append(f"{held.id}: " + "; ".join(f"{item.code}: {item.words}" for item in objections))
    why = "; ".join(reasons) if reasons else "none was ever granted"
    raise SafetyRefused(
        f"expected a permit for {climb.version.key} in {stage.value} on {account} for {', '.join(symbols)}, found none that is "
        f"good ({why}); peak-trade gate status shows what {rung.value} lacks, and --emulator needs no permit"
    )


def _check_place(parts: Parts) -> None:
    """Look that the exchange in use is the configuration's: a permit is for that one.

    Raises:
        SafetyRefused: it is another.
    """
    wanted = parts.settings.file.exchange.kraken_testnet.base_url
    if parts.exchange.base_url != wanted:
        raise SafetyRefused(
            f"expected the exchange of the configuration, {wanted}, found {parts.exchange.base_url} in use; start again"
        )


class Outside:
    """What a permit depends on that others can change: looked at for whether it is as before, not for what it says."""

    def __init__(self, parts: Parts, held: Held) -> None:
        self.held = held
        self._parts = parts
        self._act: Path | None = None
        self._seen = self._look()

    def changed(self) -> bool:
        """Tell whether something changed since the last time, before which whoever asks reads."""
        seen = self._look()
        if seen == self._seen:
            return False
        # The newest act may still be being written: its file is looked at, too. A folder that can't be listed can't be read.
        with suppress(PeakTradeError):
            self._act = max(segment_files(self._parts.journal, ACCOUNT), default=None)
        self._seen = self._look()
        return True

    def _look(self) -> tuple[object, ...]:
        """Return what changes when an act is written or a file is: entries of folders and files, not their content."""
        settings, state = self._parts.settings, self._parts.state
        paths = [settings.path, settings.root / POLICY, settings.root / ROLES, self._parts.journal / ACCOUNT]
        paths += [settings.root / name for name in self.held.request.parts["checklist"]]
        paths += [state / PERMITS / f"{self.held.id}{end}" for end in (JSON_END, DOSSIER_END)]
        paths += [self._act] if self._act else []
        return settings.file, self._parts.exchange, *map(_entry, paths)


class PermitWatch:
    """A permit in use: asked right before every order whether it still allows it."""

    def __init__(self, parts: Parts, outside: Outside, permit: Permit, stage: Stage, assignment: Assignment) -> None:
        self.permit, self.assignment = permit, assignment
        self._parts, self._outside, self._stage = parts, outside, stage
        self._lost = ""

    def trouble(self) -> str | None:
        """Return why no order may go out any more; None where one may.

        Cheap while nothing changed: the clock is read, and the age of the files that a permit depends on.
        """
        if self._outside.changed():
            self._lost = self._why_lost()
        if self._lost:
            return self._lost
        objections = self.permit.objections(self._stage, self.assignment, self._parts.clock.now())
        return "; ".join(f"{item.code}: {item.words}" for item in objections) or None

    def _why_lost(self) -> str:
        """Check again after something changed, all but the runs that it rests on; return why it is lost."""
        parts, held = self._parts, self._outside.held
        try:
            _check_place(parts)
            record, now = gate_record(parts), parts.clock.now()
            now_bound = present_but_runs(parts, held.request)
            if _read(parts, held.id) != held:
                return "changed: the permit's file or its dossier is another one now"
            found = _checked(rules_of(parts), record, held, now, now_bound)
        except PeakTradeError as error:
            return f"whether the permit still holds can't be told: {error}"
        return "; ".join(f"{item.code}: {item.words}" for item in found.objections)


def _entry(path: Path) -> object:
    try:
        found = os.lstat(path)
    except OSError as error:
        return error.errno
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode


def _files(parts: Parts) -> Iterator[Held]:
    """Yield the permits whose files can be read as such, by id."""
    folder = parts.state / PERMITS
    for path in sorted(folder.glob(f"*{JSON_END}")) if folder.is_dir() else ():
        if not path.name.endswith(DOSSIER_END):
            try:
                yield _read(parts, path.name.removesuffix(JSON_END))
            except (Objected, NotFound, SafetyRefused):
                continue  # a file of somebody else: no permit, and `gate verify` says why


def _read(parts: Parts, name: str) -> Held:
    content, packed = (read_plain(parts.state, PERMITS / f"{name}{end}") for end in (JSON_END, DOSSIER_END))
    dossier = unpack(packed)
    return Held(name, content, dossier, read_request(dossier.request))


def _present(parts: Parts, record: GateRecord, held: Held) -> Hashes:
    """Return the hashes of all that a permit is bound to, as it is now; nothing where its request was never recorded."""
    asked = record.request(held.id)
    if asked is None:
        return {}
    climb, request = climb_of(asked, held.request), held.request
    evidence = collect(parts, climb, rules_of(parts).policy, record, request.created_at, requester=request.requester)
    return present(parts, climb, evidence)


def _checked(rules: Rulebook, record: GateRecord, held: Held, now: datetime, bound: Hashes | None) -> Checked:
    found = verify(
        held.content,
        held.dossier,
        rules.roles,
        rules.policy,
        now=now,
        revocations=record.revocations,
        present=bound,
        ladder=record.ladder,
    )
    return Checked(held, found, ()) if isinstance(found, Permit) else Checked(held, None, found)
