"""What research may read: the chosen bars, but for those that a hold-out keeps back.

Invariant: a command of research gets its bars here; beyond the beginning of a hold-out it gets none, whatever it asked for.
Invariant: without a hold-out under [research.holdout] nothing is kept back.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from peak_trade.compose import DataChoice, Parts
from peak_trade.market.dataset import Dataset
from peak_trade.model.clock import moment, moment_text, nanoseconds, parse_moment
from peak_trade.model.errors import DataError, SafetyRefused

#: The entry of [research.holdout] for markets without one of their own.
EVERY = "*"
#: How a note about a hold-out begins.
NOTED = "the hold-out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdout:
    """The bars of a market that research does not read.

    Attributes:
        rule: as configured: a share such as `20%`, or the date from which on bars are kept back.
        start: opening of the first bar kept back, aware UTC.
        bars: how many are kept back.
    """

    symbol: str
    timeframe: str
    rule: str
    start: datetime
    bars: int

    @property
    def start_ns(self) -> int:
        """Opening of the first bar kept back, nanoseconds UTC."""
        return nanoseconds(self.start)


def holdout_rule(parts: Parts, symbol: str, timeframe: str) -> str | None:
    """Return what is configured for a market: of this timeframe, else of the symbol, else of every market."""
    rules = parts.settings.file.research.holdout
    found = (rules[key] for key in (f"{symbol} {timeframe}", symbol, EVERY) if rules.get(key))
    return next(found, None)


def holdout_of(parts: Parts, whole: Dataset) -> Holdout | None:
    """Return the hold-out of a whole dataset; None where none is configured, or it has no bars.

    A share is taken of all bars there are, rounded down to whole bars, so its beginning moves on as data is added; a date
    stays where it is.
    """
    bars = whole.bars
    rule = holdout_rule(parts, bars.instrument.symbol, bars.timeframe.label)
    if rule is None:
        return None
    held = int(len(bars) * Decimal(rule[:-1]) / 100) if rule.endswith("%") else len(bars.between(parse_moment(rule), None))
    if held == 0:
        return None
    return Holdout(
        symbol=bars.instrument.symbol,
        timeframe=bars.timeframe.label,
        rule=rule,
        start=moment(int(bars.timestamp[len(bars) - held])),
        bars=held,
    )


def research_data(parts: Parts, choice: DataChoice) -> Dataset:
    """Load the chosen bars for research.

    Raises:
        InputError, DataError: see `Parts.dataset`; also where the hold-out leaves fewer than two bars.
        SafetyRefused: the chosen period reaches into the hold-out.
    """
    if not parts.settings.file.research.holdout:
        return parts.dataset(choice)
    whole = parts.dataset(replace(choice, start=None, end=None))
    held = holdout_of(parts, whole)
    if held is None:
        return parts.dataset(choice)
    for option, asked in (("--start", choice.start), ("--end", choice.end)):
        if asked is not None and asked > held.start:
            raise SafetyRefused(
                f"expected {option} up to {moment_text(held.start_ns)}, where the hold-out of {held.symbol} begins, found "
                f"{moment_text(nanoseconds(asked))}; leave it out, or open the hold-out once, for a strategy that is done: "
                "peak-trade holdout open"
            )
    part = whole.between(choice.start, choice.end or held.start)
    if len(part.bars) < 2:
        raise DataError(
            "empty",
            f"expected at least 2 bars before the hold-out of {held.symbol} begins at {moment_text(held.start_ns)}, found "
            f"{len(part.bars)}; choose an earlier --start",
        )
    note = f"{NOTED} from {moment_text(held.start_ns)} on ({held.bars:,} bars, {held.rule}) was not read"
    return replace(part, notes=(*part.notes, note))
