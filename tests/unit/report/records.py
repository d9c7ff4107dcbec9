"""Builders of what a report is made of: results of scripted targets, and records of runs."""

from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any, ClassVar

import numpy as np
from tests.builders import some_bars, some_terms

from peak_trade.model.bar import Bars
from peak_trade.model.clock import moment_text
from peak_trade.research.backtest import Result, backtest
from peak_trade.research.terms import Terms
from peak_trade.strategy.base import Strategy


class Scripted(Strategy):
    """Wants what it was told, bar by bar, and the last of it until the end."""

    key: ClassVar[str] = "scripted"
    source: ClassVar[str] = "tests"

    plan: tuple[float, ...]

    def targets(self, bars: Bars) -> np.ndarray:
        return np.array([*self.plan, *[self.plan[-1]] * len(bars)])[: len(bars)]

    def warmup(self) -> int:
        return 1


def a_result(plan: Sequence[float] = (1.0,), bars: Bars | None = None, terms: Terms | None = None) -> Result:
    """Return the result of a script; on 100 random hourly bars and without costs unless given."""
    return backtest(some_bars() if bars is None else bars, Scripted(plan=tuple(plan)), terms or some_terms())


def a_record(result: Result, **changes: Any) -> dict[str, Any]:
    """Return the record of a backtest whose yardstick did the same."""
    bars = result.bars
    dataset = {
        "sha256": bars.sha256(),
        "bars": len(bars),
        "first": moment_text(int(bars.timestamp[0])),
        "last": moment_text(int(bars.timestamp[-1])),
        "gaps": {"holes": 0, "missing_bars": 0, "by_kind": {}},
        "origin": "made for a test",
        "accepted": [],
        "notes": [],
    }
    record = {
        "run_id": "20240101T000000000Z-abc123",
        "run_type": "backtest",
        "strategy": "scripted",
        "params": {"plan": "short"},
        "symbol": bars.instrument.symbol,
        "timeframe": bars.timeframe.label,
        "quote": bars.instrument.quote,
        "dataset": dataset | changes.pop("dataset", {}),
        "costs": result.terms.to_json(),
        "metrics": result.metrics._asdict(),
        "benchmark": result.metrics._asdict(),
        "versions": {"python": "3.11.2"},
        "code": {"version": "0123abc", "clean": True},
        "config_sha256": "c" * 64,
        "result_sha256": "d" * 64,
        "trials_on_dataset": {"total": 1, "different": 1},
        "tags": [],
        "elapsed_s": 0.25,
        "started_at": "2024-02-03T04:05:06.000007Z",
    }
    return record | changes


def a_sweep_record(grid: dict[str, list[Any]], rows: Sequence[tuple[Any, Any]], **changes: Any) -> dict[str, Any]:
    """Return the record of a sweep over that grid, ranked by Sharpe ratio."""
    record = a_record(a_result())
    for name in ("metrics", "benchmark"):
        del record[name]
    given = {
        "run_type": "sweep",
        "metric": "sharpe",
        "grid": grid,
        "constraints": [],
        "trials": len(rows),
        "top": 20,
        "params": {},
    }
    return record | given | changes


class PageReader(HTMLParser):
    """Collects a page's elements with their attributes, and its visible text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.words.append(data)

    @property
    def text(self) -> str:
        """The visible text with single spaces."""
        return " ".join(" ".join(self.words).split())

    @property
    def tags(self) -> set[str]:
        """The names of all elements."""
        return {tag for tag, _ in self.elements}
