"""The report of an incident as Markdown: what happened, who said what, and what follows."""

from peak_trade.journal.run import JsonObject
from peak_trade.report.markdown import document, listed, pairs, plain, table, warned


def incident_markdown(facts: JsonObject) -> str:
    """Return the report of an incident.

    Args:
        facts: the incident as a JSON object, with `timeline`, `left_out` and `remarks`.
    """
    state = "open" if facts["open"] else f"closed at {facts['closed_at']} by {facts['closed_by']}"
    rows = [(entry["at"], entry["source"], entry["what"], entry["words"]) for entry in facts["timeline"]]
    notes = [(note["at"], note["by"], note["words"]) for note in facts["notes"]]
    more = f"{facts['left_out']} more lie further from its opening; the journals have all." if facts["left_out"] else ""
    return document(
        f"# Incident: {plain(facts['title'])}",
        warned(facts["remarks"]),
        pairs(
            "Incident",
            [
                ("Id", facts["id"]),
                ("Key", facts["key"]),
                ("Severity", facts["severity"]),
                ("State", state),
                ("Opened", f"{facts['opened_at']} by {facts['by']}"),
                ("Session", facts["session_id"] or "none"),
            ],
        ),
        "## What happened",
        plain(facts["why"]),
        "## Cause",
        plain(facts["cause"] or "not known yet"),
        "## What follows from it",
        plain(facts["follow_up"] or "not decided yet"),
        "## Notes",
        table(("At", "By", "Words"), notes, words=(0, 1, 2)) if notes else listed(["none yet"]),
        "## Timeline",
        table(("At", "Source", "What", "Words"), rows, words=(0, 1, 2, 3)) if rows else listed(["nothing was recorded"]),
        more,
    )
