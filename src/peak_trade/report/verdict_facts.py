"""The answer to whether an edge is real, in words and rows that Markdown, page and terminal share.

Invariant: every word is computed from the record. Loads no charts.
"""

from peak_trade.journal.run import JsonObject
from peak_trade.report import facts
from peak_trade.report.facts import Pair
from peak_trade.report.figures import decimal, percent, plural, signed
from peak_trade.report.markdown import document, pairs, plain, provenance_blocks, table, warned
from peak_trade.report.probe_facts import HEADS, answer_warnings, failed_lines, line_rows

#: Days on which something was tried that are listed, the latest; the file beside the report has all.
DAYS_MAX = 20
DAYS = ("By the end of", "Trials", "Different ones")
_ANSWERS = {
    "edge": "Edge: every test holds.",
    "no edge": "No edge was shown.",
    "not enough data": "Not enough data to tell.",
}


def verdict_sentence(record: JsonObject) -> str:
    """Return the answer in a few sentences."""
    tried, failed = record["tried"], failed_lines(record)
    text = (
        f"{_ANSWERS[record['answer']]} {plural(tried['counted'], 'combination was', 'combinations were')} tried on this market"
    )
    text += f" over a period that overlaps, {tried['of_strategy']:,} of this strategy."
    if failed:
        text += f" What does not hold: {', '.join(failed)}."
    return text + f" Where there is no edge, this says otherwise in at most {record['error_rate']:.0%} of the cases."


def tried_pairs(record: JsonObject) -> list[Pair]:
    """Return what the ledger of trials has."""
    tried = record["tried"]
    return [
        ("Counted", f"{tried['counted']:,}"),
        ("Different combinations on this market", f"{tried['different']:,}"),
        ("of this strategy", f"{tried['of_strategy']:,}"),
        ("over bars of another length", f"{tried['elsewhere']:,}"),
        ("Further periods tried", f"{tried['windows']:,}"),
        ("With repeats", f"{tried['total']:,}"),
        ("Done again over these bars", f"{tried['done_again']:,}"),
        ("Mean correlation of their returns", decimal(tried["correlation"], 3)),
        ("Independent trials they amount to", decimal(tried["effective"], 1)),
        ("Sharpe ratio that the best shows by chance", decimal(record["hurdle"], 2)),
        ("Markets that the strategy was tried on", f"{record['family']['size']:,}"),
        ("p-value of the verdict", decimal(record["family"]["own"], 3)),
        ("so that no market is wrongly named (Holm)", decimal(record["family"]["holm"], 3)),
        ("as a share of false findings (Benjamini, Yekutieli)", decimal(record["family"]["discovery"], 3)),
    ]


def day_rows(record: JsonObject) -> list[tuple[str, str, str]]:
    """Return, the latest day first, how many trials and different ones there were by its end."""
    days = record["tried"]["over_time"][-DAYS_MAX:][::-1]
    return [(item["day"], f"{item['total']:,}", f"{item['different']:,}") for item in days]


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
        table(DAYS, day_rows(record)),
        "## Beside buy and hold",
        pairs("Figure", beside_pairs(record)),
        *provenance_blocks(record, verdict_command(record)),
    )


def verdict_warnings(record: JsonObject) -> list[str]:
    """Return what a reader must know first, and under which other names the bars were tried."""
    found = answer_warnings(record)
    if same := record["tried"]["same_bars"]:
        found.append(f"the same bars were tried under another name, and what was tried there is counted: {', '.join(same)}")
    return found
