"""What a session leaves in its folder: record, report, page, orders, fills and equity."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from peak_trade.compose import Parts
from peak_trade.durable import write_bytes, write_text
from peak_trade.engine.runner import Marks
from peak_trade.report.session_rows import OrderRow, SessionSeries
from peak_trade.runs.record import Json
from peak_trade.runs.sessions.plan import SessionPlan
from peak_trade.runs.sessions.record import Story


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedSession:
    """A session that ended: its record, the series of its charts and its folder."""

    record: Json
    series: SessionSeries
    folder: Path


def series_of(plan: SessionPlan, marks: Marks, story: Story, equity: Any) -> SessionSeries:
    """Return what a session's charts are drawn from."""
    points = marks.points()
    return SessionSeries(
        bars={symbol: dataset.bars for symbol, dataset in plan.datasets.items()},
        stamps=np.array([mark.at_ns for mark in points], dtype=np.int64),
        equity=np.array([mark.equity for mark in points], dtype=np.float64),
        expected=equity,
        fills=story.fills,
        orders=story.orders,
    )


def write_session(parts: Parts, record: Json, series: SessionSeries) -> EndedSession:
    """Write a session's folder and its JSON export."""
    from peak_trade.report.session_markdown import session_markdown

    folder = parts.reports / record["session_id"]
    text = json.dumps(record, indent=2, allow_nan=False) + "\n"
    begun = record["started_at"].replace("-", "").replace(":", "").partition(".")[0]
    write_text(parts.reports / "live_sessions" / f"{begun}Z_{record['run_type']}_{record['session_id']}.json", text)
    write_text(folder / "session.json", text)
    write_text(folder / "report.md", session_markdown(record, series))
    write_text(folder / "orders.csv", _orders_frame(series.orders).write_csv())
    write_text(folder / "fills.csv", _fills_frame(series).write_csv())
    buffer = io.BytesIO()
    frame = pl.DataFrame({"timestamp": series.stamps, "equity": series.equity})
    frame.with_columns(pl.col("timestamp").cast(pl.Datetime("ns", "UTC"))).write_parquet(buffer)
    write_bytes(folder / "equity.parquet", buffer.getvalue())
    return EndedSession(record=record, series=series, folder=folder)


def write_session_sheet(ended: EndedSession) -> Path:
    """Draw the session's page into its folder; loads the charts."""
    from peak_trade.report.session_sheet import session_html

    path = ended.folder / "session.html"
    write_text(path, session_html(ended.record, ended.series))
    return path


def _orders_frame(orders: Sequence[OrderRow]) -> pl.DataFrame:
    schema = dict.fromkeys(OrderRow._fields, pl.String)
    return pl.DataFrame([tuple(row) for row in orders], schema=schema, orient="row")


def _fills_frame(series: SessionSeries) -> pl.DataFrame:
    rows = [{name: str(value) for name, value in fill.to_json().items()} for fill in series.fills]
    names = (
        "fill_id",
        "client_id",
        "leg",
        "symbol",
        "reason",
        "quantity",
        "price",
        "fee",
        "bar_ns",
        "at_ns",
        "maker",
        "remaining",
    )
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String))
