"""The first page: tiles, the latest session, and the table of sessions with its filters."""

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse

from peak_trade.journal.registry import RunFilter, stamp
from peak_trade.journal.run import Run
from peak_trade.journal.session import SESSION_TYPES, Session
from peak_trade.journal.sessions import Choices, SessionFilter, SessionStats
from peak_trade.model.stage import Stage
from peak_trade.report.figures import NOT_COMPUTABLE, figure_number
from peak_trade.report.session_facts import FIRST_SESSION, MODES, headlines, whole
from peak_trade.report.session_record import registered_record
from peak_trade.webui.damage import MALFORMED, stripped
from peak_trade.webui.desk import Desk
from peak_trade.webui.listing import NEWEST_FIRST, Question, cursor_of
from peak_trade.webui.live import Remembered
from peak_trade.webui.pages import desk_of, page

router = APIRouter(include_in_schema=False)

#: The stages that have sessions, from the bottom of the ladder.
SESSION_STAGES = tuple(stage.value for stage in Stage if stage is not Stage.RESEARCH)
#: Runs in the tile of the last ones.
LAST_RUNS = 5
#: Seconds for which totals over all sessions are kept while no session begins or ends.
TOTALS_AGE_S = 30.0


class Column(NamedTuple):
    """A column of the table: its head, what it sorts by (empty: it does not), and whether it holds words."""

    head: str
    sort: str
    words: bool


COLUMNS = (
    Column("Started, UTC", "started_at", words=True),
    Column("Mode", "mode", words=True),
    Column("Status", "status", words=True),
    Column("Strategy", "strategy", words=True),
    Column("Market", "symbol", words=True),
    Column("Account", "account", words=True),
    Column("Realised profit", "realized_pnl", words=False),
    Column("Fees", "fees_paid", words=False),
    Column("Orders", "num_orders", words=False),
    Column("Fills", "num_fills", words=False),
    Column("Blocked", "orders_blocked_risk", words=False),
    Column("Tags", "", words=True),
)
#: The figures of a row, in the order of their columns.
FIGURES = ("realized_pnl", "fees_paid", "num_orders", "num_fills", "orders_blocked_risk")


class Tile(NamedTuple):
    """The sessions of one stage: how many there are, by status, today and in all."""

    mode: str
    money: str
    today: int
    total: int
    statuses: tuple[tuple[str, int, int], ...]


class Row(NamedTuple):
    """A session as a row; figures are in its own quote currency."""

    session: Session
    quote: str
    figures: tuple[str, ...]
    attention: bool


class ColumnHead(NamedTuple):
    """A column's head, where it leads, and how it sorts now: ascending, descending or none."""

    column: Column
    url: str
    sorted: str


@router.get("/")
def home(request: Request) -> HTMLResponse:
    """Show the first page."""
    desk = desk_of(request)
    remembered: Remembered = request.app.state.remembered
    question = Question.read(request.query_params)
    found = desk.sessions.page(question.filter(), desk.settings.file.dashboard.page_size, question.sort, question.place())
    latest = desk.sessions.find(SessionFilter(), 1)
    facts = {
        "question": question,
        "rows": [row_of(session) for session in found.sessions],
        "heads": _heads(question),
        "next": question.url(after=cursor_of(found.next)) if found.next else "",
        "first": question.url() if question.after else "",
        "matching": _matching(desk, remembered, question),
        "choices": _choices(desk, remembered),
        "stages": SESSION_STAGES,
        "tiles": tiles_of(desk, remembered),
        "last_runs": [run_line(run) for run in desk.registry.find(RunFilter(), LAST_RUNS)],
        "latest": snapshot_of(latest[0]) if latest else None,
        "first_session": FIRST_SESSION,
        "updates": "home",
    }
    return page(request, "home.html", facts)


def row_of(session: Session) -> Row:
    """Return a session as a row of the table."""
    quote = session.quote
    metrics = session.run.metrics
    texts = tuple(
        ""
        if metrics.get(name) is None and session.run.status.value == "started"
        else figure_number(name, metrics.get(name), quote)
        for name in FIGURES
    )
    return Row(session, quote, texts, session.unhandled)


def run_line(run: Run) -> tuple[Run, str, str]:
    """Return a run, its page, and its total return as text."""
    url = f"/session/{run.run_id}" if run.run_type in SESSION_TYPES else f"/experiments/{run.run_id}"
    value = run.metrics.get("total_return", run.metrics.get("best_total_return"))
    return run, url, figure_number("total_return", value, "") if value is not None else NOT_COMPUTABLE


def snapshot_of(session: Session) -> Mapping[str, Any]:
    """Return the latest session with its figures, large."""
    try:
        shown = headlines(whole(registered_record(session)))
    except MALFORMED as error:
        session = stripped(session, error)
        shown = headlines(whole(registered_record(session)))
    return {"session": session, "headlines": shown, "money": MODES.get(session.mode, "")}


def tiles_of(desk: Desk, remembered: Remembered) -> list[Tile]:
    """Return a tile for each stage that has sessions, and for the first stage in any case; stages are never added up."""
    total, today = totals(desk, remembered), _today(desk, remembered)
    counts: dict[str, tuple[Counter[str], Counter[str]]] = {mode: (Counter(), Counter()) for mode in SESSION_STAGES}
    for place, stats in enumerate((today, total)):
        for count in stats.counts:
            counts.setdefault(count.mode, (Counter(), Counter()))[place][count.status] += count.sessions
    return [
        Tile(
            mode=mode,
            money=MODES.get(mode, ""),
            today=sum(now.values()),
            total=sum(ever.values()),
            statuses=tuple((status, now[status], ever[status]) for status in sorted(ever, key=_status_order)),
        )
        for mode, (now, ever) in counts.items()
        if ever or mode == SESSION_STAGES[0]
    ]


def totals(desk: Desk, remembered: Remembered) -> SessionStats:
    """Return counts and sums over all sessions, worked out anew when one began or ended."""
    found: SessionStats = remembered.get("totals", _census(desk), lambda: desk.sessions.stats(SessionFilter()))
    return found


def _today(desk: Desk, remembered: Remembered) -> SessionStats:
    midnight = desk.clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    since = SessionFilter(since=midnight, until=midnight + timedelta(days=1))
    found: SessionStats = remembered.get("today", (_census(desk), stamp(midnight)), lambda: desk.sessions.stats(since))
    return found


def _census(desk: Desk) -> object:
    """Return what changes whenever a session begins or ends."""
    seen = desk.sessions.census()
    return seen.newest, tuple(name for name, _ in seen.started), seen.unhandled


def _choices(desk: Desk, remembered: Remembered) -> Choices:
    found: Choices = remembered.get("choices", desk.sessions.census().newest, desk.sessions.choices)
    return found


def _matching(desk: Desk, remembered: Remembered, question: Question) -> int:
    """Return how many sessions a filter matches."""
    if not question.filtered():
        return totals(desk, remembered).total
    where = question.filter()
    found: SessionStats = remembered.get(where, _census(desk), lambda: desk.sessions.stats(where))
    return found.total


def _heads(question: Question) -> list[ColumnHead]:
    heads = []
    for column in COLUMNS:
        now = {column.sort: "ascending", f"-{column.sort}": "descending"}.get(question.sort, "none") if column.sort else ""
        # A first click shows the newest, the largest, or A to Z.
        first = column.sort if column.words and column.sort != NEWEST_FIRST.removeprefix("-") else f"-{column.sort}"
        other = f"-{column.sort}" if first == column.sort else column.sort
        url = question.url(sort=other if question.sort == first else first) if column.sort else ""
        heads.append(ColumnHead(column, url, now))
    return heads


def _status_order(status: str) -> int:
    order = ("started", "completed", "failed", "aborted", "damaged")
    return order.index(status) if status in order else len(order)
