"""The answer to whether an edge is real, on one page: the sentence, the lines that led to it, and all that was tried.

Invariant: every word is computed from the record; Markdown and HTML say the same.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from peak_trade.journal.run import JsonObject
from peak_trade.model.bar import F64
from peak_trade.report import facts
from peak_trade.report.charts import GAIN, LOSS, NEUTRAL, TimeAxis, bare_chart, drawdown_chart, equity_chart, hover
from peak_trade.report.facts import Pair
from peak_trade.report.figures import decimal, percent, plural, signed
from peak_trade.report.markdown import code, document, listed, pairs, plain, table, warned
from peak_trade.report.page import render
from peak_trade.research.backtest import Result

#: Bars of the picture of all trials.
BINS = 40
_HOLDS = {True: "holds", False: "does not hold", None: "not asked"}
BADGES = {True: "good", False: "bad", None: "warn"}
HEADS = ("Test", "Found", "Limit", "", "What it says")
_ANSWERS = {
    "edge": "Edge: every test holds.",
    "no edge": "No edge was shown.",
    "not enough data": "Not enough data to tell.",
}


def verdict_sentence(record: JsonObject) -> str:
    """Return the answer in a few sentences."""
    tried, failed = record["tried"], [line["title"] for line in record["lines"] if line["holds"] is False]
    text = (
        f"{_ANSWERS[record['answer']]} {plural(tried['counted'], 'combination was', 'combinations were')} tried on this market"
    )
    text += f" over a period that overlaps, {tried['of_strategy']:,} of this strategy."
    if failed:
        text += f" What does not hold: {', '.join(failed)}."
    return text + f" Where there is no edge, this says otherwise in at most {record['error_rate']:.0%} of the cases."


def line_rows(record: JsonObject) -> list[tuple[str, str, str, str, str]]:
    """Return the lines as text: test, found, limit, whether it holds, and what it says."""
    return [
        (
            line["title"],
            _number(line["found"]),
            f"{line['sense']} {_number(line['limit'])}",
            _HOLDS[line["holds"]],
            line["words"],
        )
        for line in record["lines"]
    ]


def _number(value: float | None) -> str:
    """Write a number with the digits that tell it from its limit."""
    digits = 0 if value is not None and float(value).is_integer() and abs(value) >= 2 else 3
    return "none" if value is None else decimal(value, digits)


def tried_pairs(record: JsonObject) -> list[Pair]:
    """Return what the ledger of trials has."""
    tried = record["tried"]
    return [
        ("Counted", f"{tried['counted']:,}"),
        ("Different combinations on this market", f"{tried['different']:,}"),
        ("of this strategy", f"{tried['of_strategy']:,}"),
        ("Further periods tried", f"{tried['windows']:,}"),
        ("With repeats", f"{tried['total']:,}"),
        ("Done again over these bars", f"{tried['done_again']:,}"),
        ("Mean correlation of their returns", decimal(tried["correlation"], 3)),
        ("Independent trials they amount to", decimal(tried["effective"], 1)),
        ("Sharpe ratio that the best shows by chance", decimal(record["hurdle"], 2)),
    ]


def beside_pairs(record: JsonObject) -> list[Pair]:
    """Return the figures with their intervals, and buy and hold."""
    own, other, found = record["metrics"], record["benchmark"], record["intervals"]
    confidence = percent(1.0 - 2.0 * record["error_rate"], 0)
    rows: list[Pair] = []
    for name, title, write in (
        ("sharpe", "Sharpe ratio", lambda value: decimal(value, 2)),
        ("total_return", "Total return", percent),
        ("max_drawdown", "Deepest drawdown", percent),
    ):
        text = write(own[name])
        if (ends := found[name]) is not None:
            text += f" ({confidence} between {write(ends['low'])} and {write(ends['high'])})"
        rows.append((title, text))
        rows.append((f"{title}, buy and hold", write(other[name])))
    return [*rows, ("Share of the market held on average", signed(decimal(record["beta"], 2)))]


def verdict_command(record: JsonObject) -> str:
    """Return the command that asks again."""
    return f"peak-trade verdict --strategy {record['strategy']} --symbol {record['symbol']} --timeframe {record['timeframe']}"


def verdict_markdown(record: JsonObject) -> str:
    """Return the answer as Markdown."""
    return document(
        f"# Verdict on {plain(facts.title(record))}",
        plain(facts.period(record)),
        plain(verdict_sentence(record)),
        warned(verdict_warnings(record)),
        "## What led to it",
        table(HEADS, line_rows(record), words=(0, 3, 4)),
        "## What was tried",
        pairs("Trials", tried_pairs(record)),
        "## Beside buy and hold",
        pairs("Figure", beside_pairs(record)),
        *provenance_blocks(record, verdict_command(record)),
    )


def verdict_warnings(record: JsonObject) -> list[str]:
    """Return what a reader must know first; that many were tried is in the answer already."""
    return facts.warnings({**record, "trials_on_dataset": {}})


def provenance_blocks(record: JsonObject, command: str) -> list[str]:
    """Return the blocks of Markdown that say where the numbers come from."""
    return [
        "## Parameters",
        pairs("Parameter", facts.param_pairs(record["params"])),
        "## Costs and rules",
        pairs("Rule", facts.cost_pairs(record)),
        "## Data quality",
        pairs("Data", facts.data_pairs(record)),
        listed(record["dataset"]["notes"]),
        "## Provenance",
        pairs("Identity", facts.hash_pairs(record)),
        pairs("Version of", facts.version_pairs(record)),
        "Ask again:",
        code(command),
    ]


def provenance_facts(record: JsonObject, command: str) -> dict[str, Any]:
    """Return the same for a page."""
    return {
        "record": record,
        "period": facts.period(record),
        "costs": facts.cost_pairs(record),
        "data": facts.data_pairs(record),
        "params": facts.param_pairs(record["params"]),
        "hashes": facts.hash_pairs(record),
        "versions": facts.version_pairs(record),
        "command": command,
    }


def verdict_html(record: JsonObject, result: Result, yardstick: Result, ratios: F64) -> str:
    """Return the answer as one page that opens without a network.

    Args:
        record: the run's JSON document.
        result: what the judged combination did; yardstick: buy and hold over the same bars under the same costs.
        ratios: annual Sharpe ratios of everything that was done again; not a number where equity never moved.
    """
    axis = TimeAxis.of(result)
    charts = {"equity-chart": equity_chart(result, yardstick, axis), "drawdown-chart": drawdown_chart(result, yardstick, axis)}
    known = ratios[np.isfinite(ratios)]
    if len(known) > 1:
        charts["trials-chart"] = spread_chart(known, "Sharpe ratio per year", record["metrics"]["sharpe"], record["hurdle"])
    rows = [(*row, BADGES[line["holds"]]) for row, line in zip(line_rows(record), record["lines"], strict=True)]
    page = provenance_facts(record, verdict_command(record)) | {
        "title": facts.title(record),
        "verdict": verdict_sentence(record),
        "warnings": verdict_warnings(record),
        "lines": rows,
        "tried": tried_pairs(record),
        "beside": beside_pairs(record),
        "spread": len(known) if len(known) > 1 else 0,
    }
    return render("verdict.html", charts, page)


def spread_chart(values: F64, label: str, own: float | None, limit: float | None) -> Any:
    """Draw how many values lie where; a line marks one of them, a dashed one a limit."""
    counts, edges = np.histogram(values, bins=BINS)
    chart = bare_chart(label, height=260)
    columns = {"left": edges[:-1], "right": edges[1:], "top": counts, "text": [_between(*ends) for ends in _pairwise(edges)]}
    drawn = chart.quad(source=_source(columns), bottom=0, fill_color=NEUTRAL, line_color=None, fill_alpha=0.7)
    hover(chart, [drawn], [(label, "@text"), ("How many", "@top")], mode="mouse")
    most = float(counts.max())
    for value, colour, dash in ((own, GAIN, "solid"), (limit, LOSS, "dashed")):
        if value is not None:
            chart.segment([value], [0.0], [value], [most], line_color=colour, line_width=2.5, line_dash=dash)
    return chart


def _pairwise(edges: F64) -> Sequence[tuple[float, float]]:
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _between(low: float, high: float) -> str:
    return f"{decimal(low, 3)} to {decimal(high, 3)}"


def _source(columns: dict[str, Any]) -> Any:
    from bokeh.models import ColumnDataSource

    return ColumnDataSource(columns)
