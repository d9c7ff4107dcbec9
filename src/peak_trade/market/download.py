"""Bars from an exchange, page by page: what was fetched is on disk before the next page is asked for.

Invariant: a bar is made of all trades of its time or it is not there; nothing that was fetched is asked for again.
"""

import json
import os
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from peak_trade.durable import force, storing
from peak_trade.market.raw import Raw
from peak_trade.model.clock import moment_text
from peak_trade.model.errors import CheckFailed, DataError, Unavailable

Found = TypeVar("Found")

#: The layout of the working file.
LAYOUT = 1
#: How often one and the same page is asked for, and the longest pause between two times, seconds.
TRIES, PAUSE_MAX_S = 7, 60.0
#: How often candles with a hole are asked for: an answer can lose rows.
HOLE_TRIES = 3


class Deal(NamedTuple):
    """One trade as an exchange tells it: nanoseconds UTC, price, volume in base currency, its number in the pair."""

    at: int
    price: Decimal
    volume: Decimal
    number: int


class DealPage(NamedTuple):
    """Some trades, oldest first; `last` is the time of the last one; `full`: there may be more at the same time."""

    deals: list[Deal]
    last: int
    full: bool


class Formed(NamedTuple):
    """A bar in exact decimals: open time in nanoseconds UTC, prices, volume, and its number of trades where that is told."""

    at: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades: int | None

    def to_json(self) -> list[Any]:
        """Return the bar as a JSON array; decimals are texts."""
        return [self.at, *(str(value) for value in self[1:6]), self.trades]

    @classmethod
    def of(cls, at: int, values: Iterable[object], trades: int | None) -> "Formed":
        """Make a bar of open, high, low, close and volume as texts or numbers."""
        opened, high, low, close, volume = (Decimal(str(value)) for value in values)
        return cls(at, opened, high, low, close, volume, trades)

    @classmethod
    def from_json(cls, row: list[Any]) -> "Formed":
        """Read what `to_json` wrote."""
        return cls.of(row[0], row[1:6], row[6])


class PageMark(NamedTuple):
    """Where the next page begins: a moment, and the number of the last known trade.

    `over`: a whole page of one nanosecond was known, and the moment after it is next.
    """

    since: int
    number: int = -1
    over: bool = False


class TryAgain(Exception):
    """An exchange did not answer as it should, but may when asked again; the text says what it did instead."""


class BarSource(Protocol):
    """What one exchange tells of one pair in one timeframe. Moments are nanoseconds UTC.

    Each method raises `TryAgain` for what may pass, `Unavailable` for what will not.

    Attributes:
        origin: what a dataset says of where it came from.
    """

    origin: str

    def now(self) -> int:
        """Return the present by the exchange's clock."""
        ...

    def reach(self, now: int) -> int:
        """Return the open time of the oldest bar that `candles` can give."""
        ...

    def candles(self, since: int) -> list[Formed]:
        """Return a page of bars that open at or after a moment, the running one included."""
        ...

    def skip(self, since: int) -> int:
        """Return where to go on after a page from there was empty."""
        ...

    def deals(self, since: int) -> DealPage:
        """Return a page of trades at or after a moment."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Which bars are wanted: those that open from *start* on and before *until*, and are complete at *now*."""

    start: int
    until: int
    now: int
    step_ns: int

    def wants(self, at: int) -> bool:
        """Tell whether the bar that opens there is wanted."""
        return self.start <= at and not self.over(at)

    @property
    def end(self) -> int:
        """The first moment at which no wanted bar can open any more."""
        return min(self.until, self.now - self.step_ns + 1)

    def over(self, at: int) -> bool:
        """Tell whether a bar that opens there comes after all that are wanted."""
        return at >= self.end


@dataclass(frozen=True, slots=True)
class Patience:
    """Asks again what may pass, after pauses that double.

    Attributes:
        wait: sleeps so many seconds. chance: keeps clients from returning all at once. told: hears why it waits.
    """

    wait: Callable[[float], None]
    chance: random.Random
    told: Callable[[str], None]

    def ask(self, act: Callable[[], Found]) -> Found:
        """Return what *act* returns.

        Raises:
            Unavailable: it did not succeed in so many tries.
        """
        for number in range(TRIES):
            try:
                return act()
            except TryAgain as error:
                if number == TRIES - 1:
                    raise Unavailable(
                        f"{error} {TRIES} times in a row; what was fetched is kept, give the same command later to go on"
                    ) from error
                pause = min(2.0**number, PAUSE_MAX_S) * self.chance.uniform(0.5, 1.0)
                self.told(f"{error}; asking again in {pause:.1f} s")
                self.wait(pause)
        raise Unavailable("nothing was asked; try again")


class Forming:
    """Makes bars of trades that come in the order of their time."""

    def __init__(self, step_ns: int, running: Formed | None = None) -> None:
        self._step_ns = step_ns
        self.running = running

    def take(self, deal: Deal) -> Formed | None:
        """Take a trade; return the bar that it ends."""
        at = deal.at // self._step_ns * self._step_ns
        bar = self.running
        if bar is not None and at <= bar.at:
            self.running = Formed(
                bar.at,
                bar.open,
                max(bar.high, deal.price),
                min(bar.low, deal.price),
                deal.price,
                bar.volume + deal.volume,
                (bar.trades or 0) + 1,
            )
            return None
        self.running = Formed(at, deal.price, deal.price, deal.price, deal.price, deal.volume, 1)
        return bar


class Unfinished:
    """The working file of a download: a line that says of what, then a line for each page.

    A line that a crash tore off is dropped when the file is opened again; the page is asked for anew.

    Attributes:
        bars: the complete bars of all pages.
        running: the bar that the next trade may belong to. mark: where the next page begins.
    """

    def __init__(self, path: Path, head: dict[str, Any], start: int) -> None:
        self.path = path
        self.bars: list[Formed] = []
        self.running: Formed | None = None
        self.mark = PageMark(start)
        lines = self._lines()
        try:
            for line in lines[1:]:
                self._learn(line)
            begun = {name: lines[0][name] for name in ("layout", *head, "start")} if lines else {}
        except (KeyError, IndexError, TypeError, ValueError, ArithmeticError) as error:
            raise DataError("unfinished", self._refusal("is damaged")) from error
        self.resumed = bool(self.bars) or self.running is not None
        if not self.resumed:
            self.mark = PageMark(start)
            self._append({"layout": LAYOUT, **head, "start": start}, mode="wb")
        elif begun != {"layout": LAYOUT, **head, "start": begun["start"]}:
            raise DataError("unfinished", self._refusal("is of another source"))
        elif begun["start"] > start:
            raise DataError("unfinished", self._refusal(f"begins at {moment_text(begun['start'])}, later than asked for"))

    def keep(self, bars: Iterable[Formed], running: Formed | None, mark: PageMark) -> None:
        """Write down what a page brought, on disk when this returns.

        Raises:
            StorageError: the disk refused; the pages before are intact.
        """
        line = {
            "bars": [bar.to_json() for bar in bars],
            "running": None if running is None else running.to_json(),
            "mark": mark,
        }
        self._append(line)
        self._learn(line)

    def remove(self) -> None:
        """Remove the file: what it held is in the store."""
        with storing(self.path):
            self.path.unlink(missing_ok=True)

    def _learn(self, line: dict[str, Any]) -> None:
        self.bars += (Formed.from_json(row) for row in line["bars"])
        self.running = None if line["running"] is None else Formed.from_json(line["running"])
        self.mark = PageMark(*line["mark"])

    def _append(self, line: dict[str, Any], mode: str = "ab") -> None:
        with storing(self.path):
            with self.path.open(mode) as file:
                file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            force(self.path.parent)

    def _lines(self) -> list[dict[str, Any]]:
        """Return the whole lines, and cut off what follows them."""
        with storing(self.path):
            if not self.path.exists():
                return []
            content = self.path.read_bytes()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                os.truncate(self.path, whole)
        try:
            return [json.loads(line) for line in content[:whole].splitlines()]
        except ValueError as error:
            raise DataError("unfinished", self._refusal("is damaged")) from error

    def _refusal(self, what: str) -> str:
        return (
            f"expected to go on with the unfinished download {self.path}, found that it {what}; give the command that began "
            "it, or delete that file"
        )


def fetch(
    source: BarSource, work: Unfinished, span: Span, patience: Patience, seen: Callable[[int, int], None]
) -> list[Formed]:
    """Fetch what *work* does not have yet; return all wanted bars, ascending.

    Args:
        source: what is asked. work: holds each page before the next is asked for. span: what is wanted.
        patience: asks again. seen: hears after each page how far it is (nanoseconds UTC), and how many bars there are.

    Raises:
        Unavailable: the exchange does not answer. CheckFailed: its answers contradict each other.
        StorageError: the disk refused.
    """
    # A bar that was begun by trades is ended by them; and candles can have gone out of reach since the last time.
    by_deals = work.running is not None or work.mark.since < source.reach(span.now)
    pages = _by_deals if by_deals else _by_candles
    for mark in pages(source, work, span, patience):
        seen(mark, len(work.bars))
    bars = [*work.bars, work.running] if work.running is not None else work.bars
    return sorted({bar.at: bar for bar in bars if span.wants(bar.at)}.values())


def _by_deals(source: BarSource, work: Unfinished, span: Span, patience: Patience) -> Iterator[int]:
    """Go through the trades. The next page begins at the last one's time: more may have happened in that nanosecond."""
    forming = Forming(span.step_ns, work.running)
    if forming.running is None:
        # Of a bar that began before, some trades are not asked for: it can't be whole.
        work.mark = PageMark(-(-work.mark.since // span.step_ns) * span.step_ns)
    while True:
        since, number, over = work.mark
        page = patience.ask(lambda since=since: _ascending(source.deals(since)))  # type: ignore[misc]
        fresh = [deal for deal in page.deals if deal.number > number]
        if not fresh:
            if page.full:
                # A whole page of one nanosecond, all of it known: there is no way but over it.
                work.keep([], forming.running, PageMark(since + 1, number, over=True))
                continue
            if over:
                raise Unavailable(
                    f"expected a trade after number {number}, found none yet; whether the exchange told all of that "
                    "nanosecond shows with the next one: what was fetched is kept, give the same command later to go on"
                )
            return
        if number >= 0 and fresh[0] is page.deals[0] and fresh[0].number != number + 1:
            raise CheckFailed(
                f"expected trade {number + 1} after trade {number}, found {fresh[0].number} at "
                f"{moment_text(fresh[0].at)}; the exchange does not tell those between, import a file instead"
            )
        done = [bar for deal in fresh if (bar := forming.take(deal)) is not None]
        work.keep(done, forming.running, PageMark(page.last, fresh[-1].number))
        yield page.last
        if forming.running is not None and span.over(forming.running.at):
            return


def _ascending(page: DealPage) -> DealPage:
    numbers = [(deal.at, deal.number) for deal in page.deals]
    if numbers != sorted(numbers):
        raise TryAgain("the exchange told trades out of order")
    return page


def _by_candles(source: BarSource, work: Unfinished, span: Span, patience: Patience) -> Iterator[int]:
    """Go through the bars that the exchange itself made."""
    while not span.over(since := work.mark.since):
        rows = _whole_page(source, since, span, patience)
        # Not beyond the bar that is still running: another time it will be over.
        mark = min(rows[-1].at + span.step_ns if rows else max(source.skip(since), since + span.step_ns), span.end)
        # One that counts no trade stands for silence: a hole, as in the files of the same exchange.
        work.keep([bar for bar in rows if bar.trades != 0 and not span.over(bar.at)], None, PageMark(mark))
        yield mark


def _whole_page(source: BarSource, since: int, span: Span, patience: Patience) -> list[Formed]:
    """Return a page of bars, ascending.

    An exchange that counts trades tells intervals without any: a hole in its answer is a fault, and it is asked again.
    """
    rows: dict[int, Formed] = {}
    for _ in range(HOLE_TRIES):
        for bar in patience.ask(lambda: source.candles(since)):
            known = rows.setdefault(bar.at, bar)
            if known != bar and not span.over(bar.at):
                raise CheckFailed(
                    f"expected one bar at {moment_text(bar.at)}, found two that differ ({known.close} and {bar.close} at the "
                    "close); the exchange contradicts itself, try again later"
                )
        stamps = sorted(at for at in rows if at >= since)
        counted = all(bar.trades is not None for bar in rows.values())
        if not counted or all(after - at == span.step_ns for at, after in pairwise(stamps)):
            break
    return [rows[at] for at in stamps]


def columns_of(bars: list[Formed], name: str) -> Raw:
    """Return bars as the columns that a file of them would have; trades only where every bar tells them."""
    columns = {
        part: np.array([float(getattr(bar, part)) for bar in bars]) for part in ("open", "high", "low", "close", "volume")
    }
    told = all(bar.trades is not None for bar in bars)
    return Raw(
        name=name,
        sha256="",
        first_row=1,
        timestamp=np.array([bar.at for bar in bars], dtype=np.int64),
        trades=np.array([float(bar.trades or 0) for bar in bars]) if told else None,
        **columns,
    )
