"""Where a strategy stands, as sessions and overviews tell it."""

from collections.abc import Iterator, Sequence

from peak_trade.compose import Parts
from peak_trade.governance.ladder import Assignment
from peak_trade.model.errors import PeakTradeError
from peak_trade.model.stage import Stage
from peak_trade.runs.gates.record import GateRecord, gate_record
from peak_trade.runs.strategy_version import version_of
from peak_trade.strategy.base import Strategy

#: What is told where it can't be: the record of the gates does not verify, or several strategies stand in several stages.
UNKNOWN, SEVERAL = "unknown", "several"


def accounts_of(record: GateRecord, strategy: Strategy) -> Iterator[tuple[Assignment, Stage]]:
    """Yield where a strategy version stands above research: account and pairs of one stage each."""
    version = version_of(strategy)
    places: dict[tuple[str, Stage], set[str]] = {}
    for (known, account, symbol), stage in record.ladder.standings().items():
        if known == version and stage is not Stage.RESEARCH:
            places.setdefault((account, stage), set()).add(symbol)
    for (account, stage), symbols in places.items():
        yield Assignment(version, account, frozenset(symbols)), stage


def tier_of(parts: Parts, strategies: Sequence[Strategy], symbols: tuple[str, ...]) -> str:
    """Return the stage to which the gates let strategies in some pairs; a session keeps it as its tier."""
    try:
        record = gate_record(parts)
        account = parts.settings.file.governance.account
        found = {record.ladder.stage(Assignment(version_of(item), account, frozenset(symbols))) for item in strategies}
    except PeakTradeError:
        return UNKNOWN
    return found.pop().value if len(found) == 1 else SEVERAL
