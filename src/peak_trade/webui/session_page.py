"""A session's page: how it stands or ended, its orders, charts, journal, and the commands to go on from here."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse

from peak_trade.journal.chain import Record
from peak_trade.journal.session import Session
from peak_trade.report import session_facts as facts
from peak_trade.report import session_tables as tables
from peak_trade.report.facts import Pair, param_pairs, version_pairs
from peak_trade.report.session_record import registered_record
from peak_trade.report.session_rows import OrderLine, OrderRow, latest_orders
from peak_trade.webui.access import STYLED
from peak_trade.webui.damage import MALFORMED, stripped
from peak_trade.webui.desk import Desk, Json, SessionView, Step
from peak_trade.webui.language import Language, chosen
from peak_trade.webui.live import Remembered
from peak_trade.webui.pages import desk_of, page

router = APIRouter(include_in_schema=False)

#: Orders in the table, and records of the journal in the excerpt; the command line has all.
ORDERS_MAX, RECORDS_MAX, INCIDENTS_MAX = 200, 25, 100
#: Characters of a record's body in the excerpt.
BODY_MAX = 400
#: Seconds for which a session's view is kept while its journal does not grow.
VIEW_AGE_S = 300.0


class OrderEntry(NamedTuple):
    """An order in the table: its columns, what happened to it, and what each code of a refusal means."""

    line: OrderLine
    life: Sequence[Step]
    reasons: Sequence[Pair]


@router.get("/session/{session_id}")
def session_page(request: Request, session_id: str) -> HTMLResponse:
    """Show a session."""
    desk = desk_of(request)
    session = desk.sessions.get(session_id)
    try:
        shown = _shown(session, view_of(desk, request.app.state.remembered, session), chosen(request))
    except MALFORMED as error:
        session = stripped(session, error)
        shown = _shown(session, without_view(registered_record(session), "What the registry has of it"), chosen(request))
    return page(request, "session.html", shown, policy=STYLED)


def _shown(session: Session, seen: SessionView, spoken: Language) -> dict[str, Any]:
    record = facts.whole(seen.record)
    return {
        "session": session,
        "record": record,
        "markets_told": session.run.symbol.replace("+", ", "),
        "strategies_told": session.run.strategy.replace("+", ", "),
        "warnings": facts.warnings(record),
        "missing": seen.missing,
        "badges": facts.badges(record),
        "money": facts.MODES.get(session.mode, ""),
        "headlines": facts.headlines(record),
        "groups": {name: tables.figure_pairs(record, names) for name, names in facts.groups(record).items()},
        "expected": tables.expected_rows(record),
        "expected_words": facts.expected_words(record),
        "split": tables.split_rows(record),
        "legs": (tables.leg_heads(record), tables.leg_rows(record)),
        "orders": orders_of(seen),
        "order_count": len(seen.series.orders),
        "reasons": [(code, spoken.text(meaning), *counts) for code, meaning, *counts in tables.reason_rows(record)],
        "reason_heads": tables.REASON_HEADS,
        "check_heads": tables.CHECK_HEADS,
        "checks": tables.check_rows(record),
        "incidents": tables.incident_rows(record, INCIDENTS_MAX),
        "terms": tables.term_pairs(record),
        "limits": tables.limit_pairs(record),
        "data": tables.data_pairs(record),
        "params": param_pairs(record["params"]),
        "identity": tables.identity_pairs(record),
        "versions": version_pairs(record),
        "commands": commands_of(session, record),
        "called": facts.call(list(session.cli_args)) if session.cli_args else "",
        "tail": [(one, body_text(one.body)) for one in seen.tail],
        "records": seen.records,
        "markets": _markets(seen),
        "attention": session.unhandled,
        "updates": f"session:{session.session_id}" if session.run.status.value == "started" else "",
    }


@router.get("/session/{session_id}/charts")
def session_charts(request: Request, session_id: str) -> JSONResponse:
    """Return a session's charts as bokeh embeds them."""
    from peak_trade.report.page import drawings
    from peak_trade.report.session_charts import session_charts as charts_of
    from peak_trade.report.session_sheet import start_equity

    desk = desk_of(request)
    session = desk.sessions.get(session_id)
    try:
        seen = view_of(desk, request.app.state.remembered, session)
        record = facts.whole(seen.record)
        charts = charts_of(seen.series, start_equity(record, seen.series), record["quote"], record["traded_from"])
    except MALFORMED:
        charts = {}
    return JSONResponse(drawings(charts) if charts else {"documents": {}, "items": []})


def view_of(desk: Desk, remembered: Remembered, session: Session) -> SessionView:
    """Return what can be shown of a session, read again when its journal grew or its row changed."""
    depends_on = (desk.growth(session), session.run.status, session.run.finished_at, session.acknowledged)
    found: SessionView = remembered.get(("view", session.session_id), depends_on, lambda: desk.view(session))
    return found


def orders_of(seen: SessionView) -> list[OrderEntry]:
    """Return the latest orders, newest first."""
    chosen: list[OrderRow] = list(seen.series.orders[-ORDERS_MAX:])[::-1]
    lines = latest_orders(seen.series.orders, ORDERS_MAX)
    return [
        OrderEntry(line, seen.lives.get(order.client_id, ()), _meanings(order.why))
        for order, line in zip(chosen, lines, strict=True)
    ]


def _meanings(codes: str) -> list[Pair]:
    """Return each code of a refusal with its meaning; other words stay as they are."""
    return [(code, tables.REASONS.get(code, "")) for code in codes.split(", ") if code]


def commands_of(session: Session, record: Mapping[str, Any]) -> list[Pair]:
    """Return the commands to run a session again and to look into it."""
    name = shlex.quote(str(session.session_id))
    more = [
        ("Show everything the registry has of it", f"peak-trade session show {name}"),
        ("Follow its journal", f"peak-trade session tail {name} --follow"),
        ("Draw its report anew", f"peak-trade report {name}"),
    ]
    if session.unhandled:
        more.append(("Acknowledge the failure", f"peak-trade session acknowledge {name} --note 'what was found'"))
    return [*facts.commands(dict(record)), *more]


def body_text(body: Mapping[str, Any]) -> str:
    """Return a record's body in one line, without what is long and told elsewhere."""
    short = {name: value for name, value in body.items() if name not in ("spec", "versions", "spec_sha256", "metrics")}
    text = json.dumps(short, ensure_ascii=False, separators=(", ", ": "))
    return text if len(text) <= BODY_MAX else text[:BODY_MAX] + " ..."


def _markets(seen: SessionView) -> list[tuple[str, str]]:
    """Return the element and the symbol of each price chart."""
    if not len(seen.series.stamps):
        return []
    from peak_trade.report.session_charts import charted

    return [(f"price-chart-{number}", symbol) for number, symbol in enumerate(charted(seen.series))]


def tail_of(records: Sequence[Record]) -> Sequence[Record]:
    """Return the records of the excerpt, newest first."""
    return records[-RECORDS_MAX:][::-1]


def without_view(record: Json, why: str) -> SessionView:
    """Return what is left of a session whose journal or bars can't be read."""
    from peak_trade.report.session_rows import SessionSeries

    return SessionView(record=record, series=SessionSeries(), missing=(why,))
