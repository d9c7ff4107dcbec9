"""What the calls of a notebook return: figures, frames, pages, and a text that a person reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from peak_trade.model.errors import CheckFailed
from peak_trade.notebook.drawing import Drawing, text_html
from peak_trade.research.backtest import Result, Trade
from peak_trade.research.combinatorial import Fan
from peak_trade.research.determinism import Determinism
from peak_trade.research.portfolio import LegPaths, Portfolio
from peak_trade.research.proofs import Causality, Warmup
from peak_trade.research.walk_forward import Journey
from peak_trade.runs.record import Json
from peak_trade.runs.research.backtest import equity_frame
from peak_trade.runs.research.combinatorial import path_equity
from peak_trade.runs.research.portfolio import equity_table, weight_frame
from peak_trade.runs.research.sweep import Rows
from peak_trade.strategy.base import Strategy

if TYPE_CHECKING:
    import pandas as pd

    from peak_trade.report.ranking import Row

#: What a result says that no registry keeps.
NOT_KEPT = "not registered: not evidence, and not counted as a trial"
#: Figures that a text shows.
SHOWN = ("final_equity", "total_return", "cagr", "sharpe", "max_drawdown", "num_trades", "profit_factor", "fees_paid")
#: Combinations that a text shows.
TOP = 10


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Tested:
    """A backtest.

    Attributes:
        title: strategy and market. registered: whether a project's registry has it; `record` and `folder` are those of the run.
        result: fills, round trips, equity. beside: buy and hold under the same costs.
    """

    title: str
    registered: bool
    result: Result
    beside: Result
    record: Json | None = None
    folder: Path | None = None

    @property
    def metrics(self) -> dict[str, Any]:
        """The figures by name, as `peak-trade backtest --json` has them; None where one can't be computed."""
        return self.result.metrics._asdict()

    @property
    def trades(self) -> list[Trade]:
        """The round trips in order of entry."""
        return self.result.trades()

    def to_polars(self) -> pl.DataFrame:
        """Return timestamp (UTC, the bar's opening), equity and buy_and_hold at each close, quote currency."""
        return equity_frame(self.result).with_columns(pl.Series("buy_and_hold", self.beside.equity))

    def to_pandas(self) -> "pd.DataFrame":
        """Return the same as a pandas frame indexed by timestamp."""
        return _pandas(self.to_polars())

    def plot(self) -> Drawing:
        """Return price with trades, equity and drawdown beside buy and hold; of a registered run the whole tear sheet."""
        if self.registered and self.record is not None:
            from peak_trade.report.tear_sheet import backtest_html

            return Drawing(self.title, backtest_html(self.record, self.result, self.beside))
        from peak_trade.report.plain_sheet import plain_html

        return Drawing(self.title, plain_html(self.title, NOT_KEPT, self.result, self.beside))

    def __repr__(self) -> str:
        quote = self.result.bars.instrument.quote
        both = [(self.metrics, self.beside.metrics._asdict())]
        rows = [(_label(name, quote), *(_text(name, part[name], quote) for part in pair)) for pair in both for name in SHOWN]
        end = f"run {self.record['run_id']}" if self.registered and self.record else NOT_KEPT
        return "\n".join([self.title, "", _columns(["", "strategy", "buy and hold"], rows), "", end])

    def _repr_html_(self) -> str:
        return text_html(repr(self))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SweepTable:
    """A sweep: every combination with its figures."""

    title: str
    registered: bool
    record: Json
    rows: Rows
    folder: Path | None = None

    @property
    def best(self) -> dict[str, Any]:
        """The parameters that were best by the sweep's metric; the best of many is good by chance."""
        return dict(self._ranked()[0][0])

    @property
    def metrics(self) -> dict[str, Any]:
        """The figures of the best combination."""
        return dict(self._ranked()[0][1])

    def _ranked(self) -> "list[Row]":
        from peak_trade.report.ranking import ranked

        return ranked(self.rows, self.record["metric"])

    def to_polars(self) -> pl.DataFrame:
        """Return a row for each combination: its parameters in the grid, then its figures; in the sweep's order."""
        flat = [{name: params[name] for name in self.record["grid"]} | dict(figures) for params, figures in self.rows]
        return pl.DataFrame(flat, infer_schema_length=None)

    def to_pandas(self) -> "pd.DataFrame":
        """Return the same as a pandas frame."""
        return _pandas(self.to_polars())

    def plot(self) -> Drawing:
        """Return the sweep's report: the best combinations, and the landscape they stand in."""
        from peak_trade.report.sweep_sheet import sweep_html

        return Drawing(self.title, sweep_html(self.record, self.rows))

    def __repr__(self) -> str:
        metric, quote = self.record["metric"], self.record["quote"]
        shown = list(dict.fromkeys((metric, "total_return", "sharpe", "max_drawdown", "num_trades")))
        names = list(self.record["grid"])
        rows = [
            (*(str(params[name]) for name in names), *(_text(name, figures[name], quote) for name in shown))
            for params, figures in self._ranked()[:TOP]
        ]
        tried = self.record["trials_on_dataset"]["different"]
        end = f"run {self.record['run_id']}" if self.registered else NOT_KEPT
        return "\n".join(
            [
                f"{self.title}: {len(self.rows):,} combinations, the best {len(rows)} by {metric}",
                "",
                _columns([*names, *(_label(name, quote) for name in shown)], rows),
                "",
                f"{tried:,} different combinations were tried on this data so far; the best of many is good by chance",
                end,
            ]
        )

    def _repr_html_(self) -> str:
        return text_html(repr(self))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Walk:
    """A walk-forward: what was chosen on each stretch, and what it did on the next."""

    title: str
    registered: bool
    record: Json
    journey: Journey
    folder: Path | None = None

    @property
    def metrics(self) -> dict[str, Any]:
        """The figures of the joined test stretches."""
        return self.journey.result.metrics._asdict()

    @property
    def windows(self) -> list[Json]:
        """What each window chose and did, as `run.json` has it."""
        found: list[Json] = self.record["windows"]
        return found

    def to_polars(self) -> pl.DataFrame:
        """Return timestamp (UTC) and equity at each close of the joined test stretches, quote currency."""
        return equity_frame(self.journey.result)

    def to_pandas(self) -> "pd.DataFrame":
        """Return the same as a pandas frame indexed by timestamp."""
        return _pandas(self.to_polars())

    def plot(self) -> Drawing:
        """Return the walk-forward's report: joined equity, windows, and the path of the parameters."""
        from peak_trade.report.walk_sheet import walk_html

        return Drawing(self.title, walk_html(self.record, self.journey))

    def __repr__(self) -> str:
        from peak_trade.report.walk_facts import walk_pairs, walk_verdict, window_heads, window_rows

        pairs = walk_pairs(self.record)
        width = max(len(name) for name, _ in pairs)
        end = f"run {self.record['run_id']}" if self.registered else NOT_KEPT
        facts = "\n".join(f"{name:<{width}}  {value}" for name, value in pairs)
        windows = _columns(list(window_heads(self.record)), [tuple(row) for row in window_rows(self.record)])
        return "\n".join([self.title, "", windows, "", facts, "", walk_verdict(self.record), end])

    def _repr_html_(self) -> str:
        return text_html(repr(self))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class WalkPaths:
    """A combinatorial cross-validation: many paths through one history, each bar traded with what was chosen without it."""

    title: str
    registered: bool
    record: Json
    fan: Fan
    folder: Path | None = None

    @property
    def metrics(self) -> dict[str, Any]:
        """The distribution over the paths, by name."""
        return self.fan.figures(self.record["metric"])

    @property
    def sharpe(self) -> list[float | None]:
        """The Sharpe ratio of each path."""
        return [result.metrics.sharpe for result in self.fan.results]

    @property
    def splits(self) -> list[Json]:
        """What each split chose and did, as `run.json` has it."""
        found: list[Json] = self.record["splits"]
        return found

    def to_polars(self) -> pl.DataFrame:
        """Return timestamp (UTC) and the equity of each path at each close, quote currency."""
        return path_equity(self.fan)

    def to_pandas(self) -> "pd.DataFrame":
        """Return the same as a pandas frame indexed by timestamp."""
        return _pandas(self.to_polars())

    def plot(self) -> Drawing:
        """Return the report: the equity of all paths, and how their Sharpe ratios lie."""
        from peak_trade.report.fan_sheet import fan_html

        return Drawing(self.title, fan_html(self.record, self.fan))

    def __repr__(self) -> str:
        from peak_trade.report.fan_facts import PATH_HEADS, fan_pairs, fan_verdict, path_rows

        pairs = fan_pairs(self.record)
        width = max(len(name) for name, _ in pairs)
        end = f"run {self.record['run_id']}" if self.registered else NOT_KEPT
        facts = "\n".join(f"{name:<{width}}  {value}" for name, value in pairs)
        told = _columns(list(PATH_HEADS), [tuple(row) for row in path_rows(self.record)])
        return "\n".join([self.title, "", told, "", facts, "", fan_verdict(self.record), end])

    def _repr_html_(self) -> str:
        return text_html(repr(self))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Mixed:
    """A portfolio.

    Attributes:
        registered: whether a project's registry has it; `record` and `folder` are those of the run.
        beside: buy and hold over the same markets, each with the same share of the cash.
        paths: what the legs held and earned over time.
    """

    registered: bool
    result: Portfolio
    beside: Portfolio
    paths: LegPaths
    record: Json
    folder: Path | None = None

    @property
    def title(self) -> str:
        """Strategies and markets."""
        return f"{self.record['strategy']} on {self.record['symbol']} {self.record['timeframe']}"

    @property
    def names(self) -> list[str]:
        """The legs, `STRATEGY@SYMBOL`, by market, then by strategy."""
        return [leg["name"] for leg in self.record["legs"]]

    @property
    def metrics(self) -> dict[str, Any]:
        """The figures of the whole by name."""
        return self.result.metrics._asdict()

    def attribution(self) -> pl.DataFrame:
        """Return what each leg brought; the profits add up to the total's."""
        return self.result.attribution().insert_column(0, pl.Series("leg", self.names))

    def weights(self) -> pl.DataFrame:
        """Return the weights of the legs by timestamp (UTC) of the date at which they were renewed."""
        return weight_frame(self.result, self.names)

    def to_polars(self) -> pl.DataFrame:
        """Return timestamp (UTC), equity, buy_and_hold and the profit of each leg so far at each close, quote currency."""
        frame = equity_table(self.result, self.names, self.paths)
        return frame.insert_column(2, pl.Series("buy_and_hold", self.beside.equity))

    def to_pandas(self) -> "pd.DataFrame":
        """Return the same as a pandas frame indexed by timestamp."""
        return _pandas(self.to_polars())

    def plot(self) -> Drawing:
        """Return the portfolio's report: equity, attribution, correlation, weights, exposure and limits."""
        from peak_trade.report.portfolio_sheet import portfolio_html

        return Drawing(self.title, portfolio_html(self.record, self.result, self.beside, self.paths))

    def __repr__(self) -> str:
        from peak_trade.report.portfolio_facts import LEG_HEADS, leg_rows, tried_text

        quote = self.record["quote"]
        both = (self.metrics, self.beside.metrics._asdict())
        figures = [(_label(name, quote), *(_text(name, part[name], quote) for part in both)) for name in SHOWN]
        table = _columns([LEG_HEADS[0], f"{LEG_HEADS[1]}, {quote}", *LEG_HEADS[2:]], leg_rows(self.record))
        end = f"{tried_text(self.record)}\nrun {self.record['run_id']}" if self.registered else NOT_KEPT
        shown = _columns(["", "portfolio", "buy and hold"], figures)
        return "\n".join([self.title, "", shown, "", table, "", end])

    def _repr_html_(self) -> str:
        return text_html(repr(self))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Proven:
    """The proofs of a strategy: that it uses nothing after its bar, that its warm-up is long enough, and that it is steady.

    Attributes:
        determinism: None for a function, which no other process can make.
        evidence: ids under which a project wrote them down, by proof; empty where none did.
    """

    title: str
    causality: Causality
    warmup: Warmup
    evidence: Mapping[str, str]
    determinism: Determinism | None = None

    @property
    def holds(self) -> bool:
        """Whether all do that were tried."""
        return self.causality.causal and self.warmup.enough and (self.determinism is None or self.determinism.holds)

    @property
    def words(self) -> str:
        """What was found, empty where nothing was."""
        return self.causality.words or self.warmup.words or (self.determinism.words if self.determinism else "")

    def require(self) -> None:
        """Stop a script here unless the proofs hold.

        Raises:
            CheckFailed: one does not.
        """
        if not self.holds:
            raise CheckFailed(f"expected all proofs of {self.title} to hold, found: {self.words}; mend the strategy")

    def __repr__(self) -> str:
        causality, warmup = self.causality, self.warmup
        enough = "long enough" if warmup.enough else "not shown to be long enough"
        needed = "" if warmup.needed is None else f", needed {warmup.needed:,}"
        lines = [
            self.title,
            f"causality: {'holds' if causality.causal else 'does not hold'}",
            f"  tried: {causality.cuts:,} cuts, {causality.futures:,} other futures",
            f"warm-up: {enough}; declared {warmup.declared:,}{needed}",
        ]
        if self.determinism is not None:
            lines.append(f"determinism: {'holds' if self.determinism.holds else 'does not hold'}")
        if self.words:
            lines.append(f"found: {self.words}")
        told = ", ".join(f"{name} {number}" for name, number in self.evidence.items())
        return "\n".join([*lines, f"evidence {told}" if told else "not registered: not evidence"])

    def _repr_html_(self) -> str:
        return text_html(repr(self))


def market_title(strategy: Strategy, result: Result) -> str:
    """Return strategy, parameters and market in a line."""
    params = {} if strategy.key == "function" else strategy.model_dump(mode="json")
    words = " ".join(f"{name}={value}" for name, value in params.items())
    bars = result.bars
    return f"{strategy.key} {words}".rstrip() + f" on {bars.instrument.symbol} {bars.timeframe.label}, {len(bars):,} bars"


def _label(name: str, quote: str) -> str:
    from peak_trade.report.figures import figure_label

    return figure_label(name, quote)


def _text(name: str, value: float | None, quote: str) -> str:
    from peak_trade.report.figures import figure_number

    return figure_number(name, value, quote)


def _columns(heads: Sequence[str], rows: Sequence[tuple[str, ...]]) -> str:
    """Return aligned columns, all but the first flush right."""
    cells = [tuple(heads), *rows]
    widths = [max(len(str(row[place])) for row in cells) for place in range(len(heads))]
    return "\n".join(
        "  ".join(
            str(cell).rjust(width) if place else str(cell).ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )


def _pandas(frame: pl.DataFrame) -> "pd.DataFrame":
    """Turn columns into pandas one by one, which needs no further package; a timestamp becomes the index."""
    import pandas as pd

    columns = {
        name: np.array(frame[name].to_list()) if frame[name].dtype == pl.String else frame[name].to_numpy().copy()
        for name in frame.columns
        if name != "timestamp"
    }
    if "timestamp" not in frame.columns:
        return pd.DataFrame(columns)
    stamps = frame["timestamp"].cast(pl.Int64).to_numpy().view("M8[ns]")
    return pd.DataFrame(columns, index=pd.DatetimeIndex(stamps, tz="UTC", name="timestamp"))
