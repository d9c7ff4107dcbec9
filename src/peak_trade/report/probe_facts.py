"""Questions that were asked of a result, each with its limit, as rows that Markdown, pages, dashboard and terminal share.

Invariant: every word is computed from the record. Loads no charts.
"""

from peak_trade.journal.run import JsonObject
from peak_trade.report import facts
from peak_trade.report.figures import decimal

#: The words for an answer, and their badges.
HOLDS = {True: "holds", False: "does not hold", None: "not asked"}
BADGES = {True: "good", False: "bad", None: "warn"}
HEADS = ("Test", "Found", "Limit", "", "What it says")


def line_rows(record: JsonObject) -> list[tuple[str, str, str, str, str]]:
    """Return the lines as text: test, found, limit, whether it holds, and what it says."""
    return [
        (
            line["title"],
            _number(line["found"]),
            f"{line['sense']} {_number(line['limit'])}",
            HOLDS[line["holds"]],
            line["words"],
        )
        for line in record["lines"]
    ]


def badge_rows(record: JsonObject) -> list[tuple[str, ...]]:
    """Return the lines as text, each with the badge of its answer at the end."""
    return [(*row, BADGES[line["holds"]]) for row, line in zip(line_rows(record), record["lines"], strict=True)]


def failed_lines(record: JsonObject) -> list[str]:
    """Return the titles of the lines that do not hold."""
    return [line["title"] for line in record["lines"] if line["holds"] is False]


def answer_warnings(record: JsonObject) -> list[str]:
    """Return what a reader must know first; how many were tried is in the answer already."""
    return facts.warnings({**record, "trials_on_dataset": {}})


def _number(value: float | None) -> str:
    """Write a number with the digits that tell it from its limit."""
    digits = 0 if value is not None and float(value).is_integer() and abs(value) >= 2 else 3
    return "none" if value is None else decimal(value, digits)
