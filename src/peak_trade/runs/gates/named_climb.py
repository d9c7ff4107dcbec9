"""A step as a command names it: the rest is taken from what the strategy has shown and from the configuration."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from peak_trade.compose import Parts
from peak_trade.governance.checklists import CHECKLISTS, read_filled
from peak_trade.governance.deviations import Deviation
from peak_trade.governance.documents import encode
from peak_trade.governance.files import read_plain
from peak_trade.governance.ladder import Rung, StrategyVersion
from peak_trade.model.errors import InputError, PeakTradeError, SafetyRefused
from peak_trade.model.instrument import parse_symbol
from peak_trade.runs.checklists import archive_folder, open_checklist
from peak_trade.runs.configured import configured_params
from peak_trade.runs.gates.climb import Climb
from peak_trade.runs.gates.record import GateRecord
from peak_trade.runs.gates.status import symbols_of
from peak_trade.runs.strategy_version import version_of
from peak_trade.strategy.base import Strategy
from peak_trade.strategy.catalogue import Value, make


def named_climb(
    parts: Parts,
    record: GateRecord,
    rung: Rung,
    strategy: str,
    *,
    params: Mapping[str, Value] | None = None,
    symbols: Sequence[str] = (),
    account: str | None = None,
    checklist: Path | None = None,
) -> tuple[Strategy, Climb]:
    """Return the strategy and the step.

    Args:
        params: besides those of the configuration.
        symbols: empty takes the pairs in which the version stands where the step begins, else those it traded of late, else
            that of shadow sessions.
        checklist: None takes the newest archived one about the version, else the one that is being filled in.

    Raises:
        StrategyError: no such strategy. InputError: a symbol is none. SafetyRefused: the checklist lies elsewhere.
    """
    made = make(strategy, configured_params(parts, strategy, params or {}))
    version = version_of(made)
    owner = account or parts.settings.file.governance.account
    pairs = [parse_symbol(symbol) for symbol in symbols] or _pairs(parts, record, rung, version, owner)
    path = _checklist(parts, rung, version) if checklist is None else _below(parts.settings.root, checklist)
    climb = Climb(rung=rung, version=version, account=owner, symbols=tuple(sorted(set(pairs))), checklist=path)
    return made, climb


def _pairs(parts: Parts, record: GateRecord, rung: Rung, version: StrategyVersion, account: str) -> list[str]:
    standing = record.ladder.standings().items()
    stood = [pair for (known, owner, pair), stage in standing if (known, owner, stage) == (version, account, rung.lower)]
    return stood or symbols_of(parts, version, parts.clock.now()) or [parse_symbol(parts.settings.file.shadow.symbol)]


def _checklist(parts: Parts, rung: Rung, version: StrategyVersion) -> Path | None:
    """Return the newest archived list of a step about a version, else the one that is being filled in; None without either.

    A request is bound to the file in its place, and what is archived stays there.
    """
    folder, name = archive_folder(parts), CHECKLISTS[rung]
    for path in sorted(folder.glob(f"*_{name}_v*.md"), reverse=True):
        try:
            head = read_filled(read_plain(folder, Path(path.name))).head
        except PeakTradeError:
            continue
        if head.strategy_version == version:
            return _below(parts.settings.root, path)
    path = open_checklist(parts, rung, version.key)
    return _below(parts.settings.root, path) if path.exists() else None


def _below(root: Path, path: Path) -> Path:
    """Return a path from the folder of the configuration on: a request names it so, wherever that folder lies."""
    whole = path if path.is_absolute() else Path.cwd() / path
    try:
        return whole.relative_to(root)
    except ValueError:
        raise SafetyRefused(
            f"expected a checklist below {root}, found {path}; put it there, for example into reports"
        ) from None


def deviation_document(
    climb: Climb, criterion: str, limits: Mapping[str, str], reason: str, *, at: datetime, until: datetime
) -> bytes:
    """Return a deviation's document for somebody to sign.

    Raises:
        InputError: a limit is no number, or the words are none that a document takes.
    """
    import msgspec

    plain = {
        "format": "peak-trade-deviation-1",
        "transition": climb.rung.value,
        "strategy": msgspec.to_builtins(climb.version),
        "account": climb.account,
        "criterion": criterion,
        "limits": dict(limits),
        "reason": reason,
        "created_at": at,
        "until": until,
    }
    try:
        return encode(msgspec.convert(plain, Deviation))
    except msgspec.ValidationError as error:
        raise InputError(f"expected a deviation of a criterion, limits as numbers and a reason, found {error}") from None
