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
from peak_trade.report.walk_facts import STEADY_HEADS, steady_rows, walk_pairs, walk_verdict, window_heads, window_rows
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
    return document(
        f"# {plain(facts.title(record))}",
        *_opening(record, facts.verdict(record)),
        "## Key figures",
        *(_figures(record, name, metrics) for name, metrics in facts.GROUPS.items()),
        listed(f"n/a, not computable. {reason}" for reason in facts.missing_reasons(record)),
        "## Monthly returns",
        "Equity at the close of a month's last bar over the month before; blank where no bar opened in that month.",
        _months(year_returns(result), year_returns(yardstick)),
        "## Trades",
        *_trades(latest_rows(result, trades, TRADES_MAX), len(trades), record["quote"]),
        *provenance_blocks(record),
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
    return document(
        f"# Sweep of {plain(facts.title(record))}",
        *_opening(record, sweep_verdict(record, rows)),
        f"## Best {len(top.rows):,} by {plain(figure_of(record['metric']).label)}",
        table(heads, lines, words=()),
        "## All combinations",
        pairs(figure_of(record["metric"]).label, spread_pairs(record, rows)),
        "" if land is not None else landscape_caption(land, record["metric"]),
        "## Grid",
        pairs("Parameter", facts.grid_pairs(record)),
        pairs("Fixed parameter", facts.param_pairs(record.get("params", {}))),
        *_closing(record),
        *_provenance(record),
    )


def walk_markdown(record: JsonObject) -> str:
    """Return the report of a walk-forward from its JSON document."""
    return document(
        f"# Walk-forward of {plain(facts.title(record))}",
        *_opening(record, walk_verdict(record)),
        "## Out of sample",
        pairs("The walk", walk_pairs(record)),
        *(_figures(record, name, metrics) for name, metrics in facts.GROUPS.items()),
        "## Windows",
        table(window_heads(record), window_rows(record), words=range(3)),
        "## How steady the choice was",
        table(STEADY_HEADS, steady_rows(record), words=(0, 1)),
        "## Grid",
        pairs("Parameter", facts.grid_pairs(record)),
        pairs("Fixed parameter", facts.param_pairs(record["params"])),
        *_closing(record),
        *_provenance(record),
    )


def _opening(record: JsonObject, verdict: str) -> list[str]:
    tags = ", ".join(plain(tag) for tag in record["tags"])
    return [
        plain(facts.period(record)),
        plain(verdict),
        warned(facts.warnings(record)),
        f"Tags: {tags}" if tags else "",
    ]


def provenance_blocks(record: JsonObject, command: str = "") -> list[str]:
    """Return the blocks that say where the numbers come from.

    Args:
        command: one that asks anew, besides the one that does the same again and compares.
    """
    return [
        *_closing(record),
        "## Parameters",
        pairs("Parameter", facts.param_pairs(record["params"])),
        *_provenance(record),
        *(["Ask anew:", code(command)] if command else []),
    ]


def _closing(record: JsonObject) -> list[str]:
    return [
        "## Costs and rules",
        pairs("Rule", facts.cost_pairs(record)),
        "## Data quality",
        pairs("Data", facts.data_pairs(record)),
        listed(record["dataset"]["notes"]),
    ]


def _provenance(record: JsonObject) -> list[str]:
    return [
        "## Provenance",
        pairs("Identity", facts.hash_pairs(record)),
        pairs("Version of", facts.version_pairs(record)),
        "Run it again and compare:",
        code(facts.reproduce(record)),
    ]


def _figures(record: JsonObject, name: str, metrics: Sequence[str]) -> str:
    rows = [(row.label, row.strategy, row.benchmark) for row in facts.compared(record, metrics)]
    return table((name, "Strategy", "Buy and hold"), rows)


def _months(years: Sequence[Year], others: Sequence[Year]) -> str:
    rows = [
        (str(own.year), *(return_text(value) for value in own.months), return_text(own.total), return_text(other.total))
        for own, other in zip(years, others, strict=True)
    ]
    return table(("Year", *MONTHS, "Year", "Buy and hold"), rows)


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
        table(heads, lines, words=(1, 2, 3, 9)),
    ]


def pairs(head: str, rows: Sequence[tuple[str, str]]) -> str:
    """Return a table of labels and values, nothing where there are none."""
    return table((head, ""), rows, words=(0, 1)) if rows else ""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], words: Container[int] = (0,)) -> str:
    """Return a table; the columns numbered in *words* are aligned as text, the others as numbers."""
    rule = ["---" if column in words else "---:" for column in range(len(heads))]
    lines = [[plain(text) for text in heads], rule, *([plain(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def warned(texts: Iterable[str]) -> str:
    """Return warnings as one quotation."""
    return "\n".join(f"> **Warning:** {plain(text)}\n>" for text in texts).removesuffix("\n>")


def listed(items: Iterable[str]) -> str:
    """Return a list with a line for each item."""
    return "\n".join(f"- {plain(item)}" for item in items)


def code(text: str) -> str:
    """Return text as a block of code; its fence is longer than any row of backticks inside."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}\n{text}\n{fence}"


def plain(text: object) -> str:
    """Return text in which nothing is markup: specials escaped, line breaks as spaces."""
    return re.sub(r"([\\`*\[\]<>|&~$])", r"\\\1", " ".join(str(text).split()))


def document(*blocks: str) -> str:
    """Return the blocks that are not empty, with a line between them."""
    return "\n\n".join(block for block in blocks if block) + "\n"
