"""The page of a strategy: the newest evidence of each kind, and what was tried over time."""

from collections.abc import Mapping, Sequence

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse

from peak_trade.journal.registry import RunFilter
from peak_trade.model.clock import parse_moment
from peak_trade.model.errors import InputError
from peak_trade.webui.desk import Json
from peak_trade.webui.gates import Evaluation
from peak_trade.webui.listing import TEXT_MAX
from peak_trade.webui.pages import desk_of, page

router = APIRouter(include_in_schema=False)

#: How each kind of evidence is called.
KINDS: Mapping[str, str] = {
    "causality": "Uses nothing after its bar?",
    "warmup": "Is its warm-up enough?",
    "determinism": "Does it decide the same each time?",
    "backtest": "Backtest",
    "walk_forward": "Walk-forward",
    "verdict": "Verdict: is its edge real?",
    "robustness": "Is it robust?",
    "regimes": "Regimes",
    "holdout": "Hold-out",
}
#: The badge of what evidence says.
ANSWERS: Mapping[str, tuple[str, str]] = {
    "good": ("good", "yes"),
    "bad": ("bad", "no"),
    "open": ("stage", "to be read"),
    "missing": ("warn", "missing"),
}
DAY_HEADS = ("By the end of", "Trials", "Different ones")
#: Days that the table lists, the latest; the API has all.
DAYS_MAX = 10
#: The picture's size in its own units, and its margin above and below.
_WIDE, _HIGH, _MARGIN = 600.0, 140.0, 2.0


@router.get("/strategies/{name}")
def strategy_page(request: Request, name: str) -> HTMLResponse:
    """Show what is known of a strategy on a market."""
    found = evidence_of(request, name, request.query_params.get("symbol", "").strip())
    days = found["tried"]
    facts = {
        "found": found,
        "missing": sum(line["answer"] == "missing" for line in found["lines"]),
        "kinds": KINDS,
        "answers": ANSWERS,
        "paths": {which: step_path(days, which) for which in ("total", "different")} if days else {},
        "days": [(item["day"], f"{item['total']:,}", f"{item['different']:,}") for item in days[-DAYS_MAX:][::-1]],
        "day_heads": DAY_HEADS,
        "updates": "",
    }
    return page(request, "strategy.html", facts)


def evidence_of(request: Request, name: str, symbol: str) -> Json:
    """Return the evidence of a strategy, worked out once for all readers until something is recorded.

    Raises:
        InputError: a market that is none.
        NotFound: no such strategy, or nothing on that market.
    """
    if len(symbol) > TEXT_MAX or not symbol.isprintable() or len(name) > TEXT_MAX or not name.isprintable():
        raise InputError(f"expected printable names of at most {TEXT_MAX} characters, found other; shorten them")
    desk = desk_of(request)
    looked: Evaluation = request.app.state.evaluation
    newest = desk.registry.find(RunFilter(), 1)
    seen = (desk.gates.seen(), newest[0].run_id if newest else "", newest[0].status if newest else "")
    return looked.get(("strategy", name, symbol), seen, lambda: desk.research.strategy(name, symbol)).get()


def step_path(days: Sequence[Json], which: str) -> str:
    """Return a line of steps as an SVG path: from zero up to each day's count, as wide and high as the picture."""
    moments = [parse_moment(item["day"]).timestamp() for item in days]
    length = (moments[-1] - moments[0]) or 1.0
    most = float(max(item["total"] for item in days)) or 1.0
    path = f"M0 {_HIGH - _MARGIN:.1f}"
    for moment, item in zip(moments, days, strict=True):
        across = _WIDE * (moment - moments[0]) / length
        up = _HIGH - _MARGIN - (_HIGH - 2.0 * _MARGIN) * item[which] / most
        path += f"H{across:.1f}V{up:.1f}"
    return f"{path}H{_WIDE:.1f}"
