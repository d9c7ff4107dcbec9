"""The report of a session as Markdown: the same words and numbers as its page, without charts."""

from peak_trade.journal.run import JsonObject
from peak_trade.report import session_facts as facts
from peak_trade.report import session_tables as tables
from peak_trade.report.facts import version_pairs
from peak_trade.report.markdown import TRADES_MAX, code, document, listed, pairs, plain, table, warned
from peak_trade.report.session_rows import SessionSeries, latest_orders

#: Incidents listed; the journal has all.
INCIDENTS_MAX = 20


def session_markdown(record: JsonObject, series: SessionSeries) -> str:
    """Return the report of a session.

    Args:
        record: the session's JSON document.
        series: its orders are listed; its charts are on the page only.
    """
    record = facts.whole(record)
    tags = ", ".join(plain(tag) for tag in record["tags"])
    return document(
        f"# {plain(facts.title(record))}",
        f"{plain(facts.kind(record))}. Status: **{plain(', '.join(badge.text for badge in facts.badges(record)))}**.",
        plain(facts.period(record)),
        plain(facts.verdict(record)),
        warned(facts.warnings(record)),
        f"Tags: {tags}" if tags else "",
        "## Key figures",
        *(table((name, ""), tables.figure_pairs(record, names)) for name, names in facts.groups(record).items()),
        "n/a: never recorded, or not known when the session ended." if tables.unknown_figures(record) else "",
        *_expected(record),
        *_titled("By strategy", table(tables.leg_heads(record), tables.leg_rows(record), words=(0, 1, 2)), record["by_leg"]),
        "## Orders",
        *_orders(series),
        *_reasons(record),
        *_titled("Terms", pairs("Term", tables.term_pairs(record)), record["terms"]),
        *_titled("Limits", pairs("Limit", tables.limit_pairs(record)), record["limits"]),
        "## Data quality",
        pairs("Data", tables.data_pairs(record)),
        listed(record["dataset"]["notes"]),
        "## Strategies and parameters",
        table(tables.PARAM_HEADS, tables.param_rows(record), words=(0, 1, 2, 3, 5)),
        *_titled("Notes", pairs("Notes", [("", record["notes"])]) if record["notes"] else "", record["notes"]),
        *_provenance(record),
    )


def _titled(title: str, block: str, shown: object) -> list[str]:
    return [f"## {title}", block] if shown else []


def _expected(record: JsonObject) -> list[str]:
    rows = tables.expected_rows(record)
    split = f"Difference, {record['quote']}, actual minus expected"
    return [
        "## Expected and actual",
        plain(facts.expected_words(record)),
        table(("Figure", "Actual", "Expected", "Difference"), rows) if rows else "",
        table((split, ""), tables.split_rows(record)) if rows else "",
    ]


def _orders(series: SessionSeries) -> list[str]:
    lines = latest_orders(series.orders, TRADES_MAX)
    if not lines:
        return ["No order was wanted."]
    heads = (
        "Decided",
        "Strategy",
        "Market",
        "Side",
        "Kind",
        "Quantity",
        "Price",
        "Wanted by",
        "State",
        "Filled",
        "Refused because of",
    )
    rows = [[text for name, text in line._asdict().items() if name != "tone"] for line in lines]
    return [
        f"The latest {len(lines):,} of {len(series.orders):,}, times of the decisions in UTC; "
        "`orders.csv` beside this report has all.",
        table(heads, rows, words=(0, 1, 2, 3, 4, 7, 8, 10)),
    ]


def _reasons(record: JsonObject) -> list[str]:
    reasons, incidents = tables.reason_rows(record), tables.incident_rows(record, INCIDENTS_MAX)
    count = len(record["incidents"])
    return [
        *_titled("Blocks by reason", table(tables.REASON_HEADS, reasons, words=(0, 1)), reasons),
        *_titled("Answers of the exchange", table(tables.CHECK_HEADS, tables.check_rows(record), words=(0,)), record["checks"]),
        *_titled("Incidents", f"The latest {len(incidents):,} of {count:,}, UTC.", incidents),
        table(tables.INCIDENT_HEADS, incidents, words=(0, 1, 2)) if incidents else "",
    ]


def _provenance(record: JsonObject) -> list[str]:
    commands = [(f"{label}:", code(command)) for label, command in facts.commands(record)]
    return [
        "## Provenance",
        pairs("Identity", tables.identity_pairs(record)),
        pairs("Version of", version_pairs(record)),
        *(block for pair in commands for block in pair),
    ]
