"""Reports as Markdown: the same words and numbers as the pages, without charts.

Invariant: text from outside (tags, notes, names) can't become markup, because every character that could is escaped.
"""

import re
from collections.abc import Container, Iterable, Sequence

from peak_trade.journal.run import JsonObject
from peak_trade.report import facts
from peak_trade.report.figures import figure_of
from peak_trade.report.ranking import Row, landscape
from peak_trade.report.returns import MONTHS, Year, return_text, year_returns
from peak_trade.report.sweep_facts import landscape_caption, spread_pairs, sweep_verdict, top_table
from peak_trade.report.trade_rows import TradeRow, latest_rows
from peak_trade.research.backtest import Result

#: Trades listed; the file beside the report has all.
TRADES_MAX = 20


def backtest_markdown(record: JsonObject, result: Result, yardstick: Result) -> str:
    """Return the report of a backtest.

    Args:
        record: the run's JSON document.
        result: what the strategy did.
        yardstick: buy and hold over the same bars under the same costs.
    """
    trades = result.trades()
    return _document(
        f"# {_plain(facts.title(record))}",
        *_opening(record, facts.verdict(record)),
        "## Key figures",
        *(_figures(record, name, metrics) for name, metrics in facts.GROUPS.items()),
        _listed(f"n/a, not computable. {reason}" for reason in facts.missing_reasons(record)),
        "## Monthly returns",
        "Equity at the close of a month's last bar over the month before; blank where no bar opened in that month.",
        _months(year_returns(result), year_returns(yardstick)),
        "## Trades",
        *_trades(latest_rows(result, trades, TRADES_MAX), len(trades), record["quote"]),
        *_closing(record),
        "## Parameters",
        _pairs("Parameter", facts.param_pairs(record["params"])),
        *_provenance(record),
    )


def sweep_markdown(record: JsonObject, rows: Sequence[Row]) -> str:
    """Return the report of a sweep.

    Args:
        record: the run's JSON document.
        rows: each combination's parameters and metrics, in the sweep's own order.
    """
    top = top_table(record, rows)
    heads = ("#", *top.params, *top.metrics)
    lines = [(str(place), *params, *metrics) for place, (params, metrics) in enumerate(top.rows, 1)]
    land = landscape(record["grid"], rows, record["metric"])
    return _document(
        f"# Sweep of {_plain(facts.title(record))}",
        *_opening(record, sweep_verdict(record, rows)),
        f"## Best {len(top.rows):,} by {_plain(figure_of(record['metric']).label)}",
        _table(heads, lines, words=()),
        "## All combinations",
        _pairs(figure_of(record["metric"]).label, spread_pairs(record, rows)),
        "" if land is not None else landscape_caption(land, record["metric"]),
        "## Grid",
        _pairs("Parameter", facts.grid_pairs(record)),
        _pairs("Fixed parameter", facts.param_pairs(record.get("params", {}))),
        *_closing(record),
        *_provenance(record),
    )


def _opening(record: JsonObject, verdict: str) -> list[str]:
    tags = ", ".join(_plain(tag) for tag in record["tags"])
    return [
        _plain(facts.period(record)),
        _plain(verdict),
        "\n".join(f"> **Warning:** {_plain(text)}\n>" for text in facts.warnings(record)).removesuffix("\n>"),
        f"Tags: {tags}" if tags else "",
    ]


def _closing(record: JsonObject) -> list[str]:
    return [
        "## Costs and rules",
        _pairs("Rule", facts.cost_pairs(record)),
        "## Data quality",
        _pairs("Data", facts.data_pairs(record)),
        _listed(record["dataset"]["notes"]),
    ]


def _provenance(record: JsonObject) -> list[str]:
    return [
        "## Provenance",
        _pairs("Identity", facts.hash_pairs(record)),
        _pairs("Version of", facts.version_pairs(record)),
        "Run it again and compare:",
        f"```\n{facts.reproduce(record)}\n```",
    ]


def _figures(record: JsonObject, name: str, metrics: Sequence[str]) -> str:
    rows = [(row.label, row.strategy, row.benchmark) for row in facts.compared(record, metrics)]
    return _table((name, "Strategy", "Buy and hold"), rows)


def _months(years: Sequence[Year], others: Sequence[Year]) -> str:
    rows = [
        (str(own.year), *(return_text(value) for value in own.months), return_text(own.total), return_text(other.total))
        for own, other in zip(years, others, strict=True)
    ]
    return _table(("Year", *MONTHS, "Year", "Buy and hold"), rows)


def _trades(rows: Sequence[TradeRow], count: int, quote: str) -> list[str]:
    if not rows:
        return ["No position was opened."]
    heads = (
        "#",
        "Side",
        "Entry",
        "Exit",
        "Quantity",
        "Entry price",
        "Exit price",
        f"Profit {quote}",
        f"Fees {quote}",
        "Reason",
    )
    lines = [
        (
            str(row.number),
            row.side,
            row.entry_time,
            row.exit_time,
            row.quantity,
            row.entry_price,
            row.exit_price,
            row.profit,
            row.fees,
            row.reason,
        )
        for row in rows
    ]
    return [
        f"The latest {len(lines):,} of {count:,}, times in UTC; `trades.csv` beside this report has all.",
        _table(heads, lines, words=(1, 2, 3, 9)),
    ]


def _pairs(head: str, pairs: Sequence[tuple[str, str]]) -> str:
    return _table((head, ""), pairs, words=(0, 1)) if pairs else ""


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], words: Container[int] = (0,)) -> str:
    """Return a table; the columns numbered in *words* are aligned as text, the others as numbers."""
    rule = ["---" if column in words else "---:" for column in range(len(heads))]
    lines = [[_plain(text) for text in heads], rule, *([_plain(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _listed(items: Iterable[str]) -> str:
    return "\n".join(f"- {_plain(item)}" for item in items)


def _plain(text: object) -> str:
    """Return text in which nothing is markup: specials escaped, line breaks as spaces."""
    return re.sub(r"([\\`*\[\]<>|&~$])", r"\\\1", " ".join(str(text).split()))


def _document(*blocks: str) -> str:
    return "\n\n".join(block for block in blocks if block) + "\n"
