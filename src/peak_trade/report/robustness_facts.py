"""What is left of a backtest under other circumstances, in words and rows that Markdown, page and terminal share.

Invariant: every word is computed from the record. Loads no charts.
"""

from peak_trade.journal.run import JsonObject
from peak_trade.report import facts
from peak_trade.report.figures import decimal, money, percent, plural, value_text
from peak_trade.report.markdown import document, plain, provenance_blocks, table, warned
from peak_trade.report.probe_facts import HEADS, answer_warnings, failed_lines, line_rows


def robustness_sentence(record: JsonObject) -> str:
    """Return in a sentence or two what it stands and what it does not."""
    failed = failed_lines(record)
    asked = sum(line["holds"] is not None for line in record["lines"])
    near = f"Its parameters stand on a {record['shape']}." if record["neighbours"] else ""
    if not failed:
        return f"Robust: it stands all of {plural(asked, 'question')}. {near}".strip()
    return f"Not robust: of {plural(asked, 'question')} it fails {len(failed)}: {', '.join(failed)}. {near}".strip()


def neighbour_rows(record: JsonObject) -> list[tuple[str, str, str]]:
    """Return the neighbours as text: parameter, value, Sharpe ratio."""
    return [(item["name"], value_text(item["value"]), decimal(item["sharpe"], 2)) for item in record["neighbours"]]


def robustness_command(record: JsonObject) -> str:
    """Return the command that asks again."""
    return f"peak-trade robustness {record['backtest']} --seed {record['seed']}"


def drawn_rows(record: JsonObject) -> list[tuple[str, str, str]]:
    """Return what drawn histories came to, as text: a share of them, and up to where their last equity and deepest fall go."""
    found = record["histories"]
    return [
        (name, money(value, record["quote"]), percent(found["max_drawdown"][name]))
        for name, value in found["final_equity"].items()
    ]


DRAWN = ("Of the histories", "End below", "Fall at least")
NEAR = ("Parameter", "Value", "Sharpe ratio")


def robustness_markdown(record: JsonObject) -> str:
    """Return it as Markdown."""
    rows = neighbour_rows(record)
    own = decimal(record["metrics"]["sharpe"], 2)
    return document(
        f"# Robustness of {plain(facts.title(record))}",
        plain(facts.period(record)),
        plain(robustness_sentence(record)),
        warned(answer_warnings(record)),
        "## What was asked",
        table(HEADS, line_rows(record), words=(0, 3, 4)),
        "## Histories of the same kind",
        table(DRAWN, drawn_rows(record)),
        "## Neighbouring parameters" if rows else "",
        f"The backtest itself has a Sharpe ratio of {own}." if rows else "",
        table(NEAR, rows) if rows else "",
        *provenance_blocks(record, robustness_command(record)),
    )
