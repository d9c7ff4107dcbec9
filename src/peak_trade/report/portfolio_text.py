"""The report of a portfolio as Markdown."""

from peak_trade.journal.run import JsonObject
from peak_trade.report import facts
from peak_trade.report.markdown import code, document, listed, pairs, plain, table, warned
from peak_trade.report.portfolio_facts import (
    LEG_HEADS,
    LIMIT_HEADS,
    PART_HEADS,
    WEIGHT_HEADS,
    correlation_rows,
    leg_rows,
    limit_rows,
    part_rows,
    plan_pairs,
    tried_text,
    weight_rows,
)


def portfolio_markdown(record: JsonObject) -> str:
    """Return the report of a portfolio from its JSON document."""
    return document(
        f"# Portfolio: {plain(facts.title(record))}",
        plain(facts.period(record)),
        plain(facts.verdict(record)),
        warned(facts.warnings(record)),
        f"Tags: {', '.join(plain(tag) for tag in record['tags'])}" if record["tags"] else "",
        plain(tried_text(record)),
        listed(record["remarks"]),
        "## Key figures",
        *(_figures(record, name) for name in facts.GROUPS),
        listed(f"n/a, not computable. {reason}" for reason in facts.missing_reasons(record)),
        "## Who earned it",
        f"Amounts are in {plain(record['quote'])}, after fees; what is still held counts at its last close.",
        table(LEG_HEADS, leg_rows(record)),
        table(("Strategy", *PART_HEADS[1:]), part_rows(record, "strategies")),
        table(("Symbol", *PART_HEADS[1:]), part_rows(record, "symbols")),
        "## What moved together",
        "Correlation of what the legs earned at each step.",
        table(("Leg", *record["correlation"]["legs"]["names"]), correlation_rows(record["correlation"]["legs"])),
        "Correlation of the symbols' returns.",
        table(("Symbol", *record["correlation"]["symbols"]["names"]), correlation_rows(record["correlation"]["symbols"])),
        "## Weights and limits",
        pairs("Rule", plan_pairs(record)),
        table(WEIGHT_HEADS, weight_rows(record)),
        table(LIMIT_HEADS, limit_rows(record), words=(0, 3)),
        "## Costs and rules",
        pairs("Rule", facts.cost_pairs(record)),
        "## Data quality",
        pairs("Data", facts.data_pairs(record)),
        listed(record["dataset"]["notes"]),
        "## Parameters",
        pairs("Strategy", facts.param_pairs(record["params"])),
        "## Provenance",
        pairs("Identity", facts.hash_pairs(record)),
        pairs("Version of", facts.version_pairs(record)),
        "Run it again and compare:",
        code(facts.reproduce(record)),
    )


def _figures(record: JsonObject, name: str) -> str:
    rows = [(row.label, row.strategy, row.benchmark) for row in facts.compared(record, facts.GROUPS[name])]
    return table((name, "Portfolio", "Buy and hold"), rows)
