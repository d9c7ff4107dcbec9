"""A report over registered sessions."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from peak_trade.compose import Parts
from peak_trade.durable import write_text
from peak_trade.journal.sessions import SessionFilter
from peak_trade.model.bar import F64
from peak_trade.report.session_record import registered_record
from peak_trade.runs.record import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReport:
    """The facts of a report, with the pages and equity curves of the sessions in it."""

    facts: Json
    sheets: dict[str, Path]
    curves: dict[str, F64]
    summary_only: bool

    @classmethod
    def of(cls, parts: Parts, where: SessionFilter, limit: int, *, summary_only: bool) -> "SessionReport":
        """Gather what the registry has; curves and pages are taken from the sessions' folders where they are."""
        from peak_trade.report.session_summary import summary_facts

        sessions = parts.sessions.find(where, limit)
        asked = {name: getattr(where, name) for name in ("run_type", "status", "strategy", "symbol", "tag")}
        facts = summary_facts(
            [registered_record(session) for session in sessions], {name: value for name, value in asked.items() if value}
        )
        sheets, curves = {}, {}
        for session in sessions if not summary_only else ():
            folder = parts.reports / session.session_id
            if (folder / "session.html").exists():
                sheets[str(session.session_id)] = folder / "session.html"
            if (folder / "equity.parquet").exists():
                curves[str(session.session_id)] = _curve(folder / "equity.parquet")
        return cls(facts=facts, sheets=sheets, curves=curves, summary_only=summary_only)

    def text(self, form: str, folder: Path | None = None) -> str:
        """Return the report as markdown, html or json; links lead from *folder*."""
        from peak_trade.report.session_summary import summary_html, summary_markdown

        if form == "json":
            return json.dumps(self.facts, indent=2, allow_nan=False)
        if form == "markdown":
            return summary_markdown(self.facts, summary_only=self.summary_only)
        sheets = {name: _link(path, folder) for name, path in self.sheets.items()}
        return summary_html(self.facts, sheets=sheets, curves=self.curves, summary_only=self.summary_only)


def write_report(report: SessionReport, folder: Path, forms: Sequence[str]) -> list[Path]:
    """Write the report in several forms; return the files."""
    ends = {"markdown": "md", "html": "html", "json": "json"}
    written = []
    for form in forms:
        path = folder / f"live_sessions.{ends[form]}"
        write_text(path, report.text(form, folder).rstrip("\n") + "\n")
        written.append(path)
    return written


def _curve(path: Path) -> F64:
    try:
        return np.asarray(pl.read_parquet(path)["equity"].to_numpy(), dtype=np.float64)
    except (pl.exceptions.PolarsError, OSError):
        return np.empty(0)


def _link(path: Path, folder: Path | None) -> str:
    return str(path) if folder is None else os.path.relpath(path, folder)
