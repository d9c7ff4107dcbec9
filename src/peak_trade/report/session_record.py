"""A session's document as far as the registry has it, for lists and for sessions without a folder."""

from typing import Any

from peak_trade.journal.session import Session


def registered_record(session: Session) -> dict[str, Any]:
    """Return a session's document as far as the registry has it."""
    flat = session.to_json()
    summary: dict[str, Any] = flat.pop("summary")
    datasets = dict(session.feed.get("datasets", {}))
    more: dict[str, Any] = {
        "quote": summary.get("quote") or session.run.symbol.rpartition("/")[2],
        "dataset": next(iter(datasets.values()), None),
        "code": {"version": session.run.code_version, "clean": session.run.code_clean},
        "decisions_sha256": session.run.result_sha256,
        "journal": {"path": session.journal, "head_seq": session.head_seq, "head_sha256": session.head_sha256},
    }
    return {**flat, **summary, **more}
