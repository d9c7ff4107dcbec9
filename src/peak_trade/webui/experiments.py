"""The pages of runs: the list, a run with its report, and two runs side by side."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from peak_trade.journal.registry import RunFilter
from peak_trade.journal.run import Run, RunStatus
from peak_trade.journal.session import SESSION_TYPES
from peak_trade.model.errors import InputError, PeakTradeError
from peak_trade.report.facts import HEADLINES, Pair, moment, param_pairs, version_pairs
from peak_trade.report.figures import figure_label, figure_number, figure_of, signed, value_text
from peak_trade.report.probe_facts import badge_rows
from peak_trade.report.regime_facts import EARNED, earned_rows, regime_sentence
from peak_trade.report.robustness_facts import DRAWN, drawn_rows, robustness_sentence
from peak_trade.report.verdict_facts import verdict_sentence
from peak_trade.webui.access import SEALED
from peak_trade.webui.desk import Json
from peak_trade.webui.listing import TEXT_MAX
from peak_trade.webui.live import Remembered
from peak_trade.webui.pages import desk_of, page

router = APIRouter(include_in_schema=False)

#: The figures of the list.
SHOWN = ("total_return", "sharpe", "max_drawdown", "num_trades")
#: Runs in a list that is ranked by a figure; such a list has one page.
RANKED_MAX = 200
#: Types of runs of research, for the list's filter; whether a run has a report is asked of the run.
REPORTED = ("backtest", "sweep", "walk_forward", "combinatorial", "holdout", "verdict", "robustness", "regimes", "portfolio")
#: Types that give an answer in words, from their folder.
ANSWERED = ("verdict", "robustness", "regimes")
#: The figures that stand first on a run's page, by its type.
FIRST: Mapping[str, tuple[str, ...]] = {
    "backtest": HEADLINES,
    "holdout": HEADLINES,
    "walk_forward": ("efficiency", "total_return", "max_drawdown", "sharpe", "windows_with_profit", "windows"),
}
#: Seconds for which a report stays in memory.
SHEET_AGE_S = 600.0
_FILTERS = ("run_type", "status", "strategy", "symbol", "tag")


class Listed(NamedTuple):
    """A run as a row; figures as text, the best ones of a sweep."""

    run: Run
    url: str
    figures: tuple[str, ...]


class FirstFigure(NamedTuple):
    """A figure that stands first."""

    label: str
    value: str
    beside: str = ""


class FamilyRows(NamedTuple):
    """A kind of regime: its name, its class after the last bar, and what was earned in each class."""

    title: str
    now: str
    rows: list[tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerShown:
    """What a verdict, a robustness or regimes say, in words and rows.

    Attributes:
        badge: its kind and its text, empty where there is no yes or no. count: of a verdict, after how many trials.
        lines: the questions with their badges. drawn: where drawn histories end. families: what was earned in each regime.
        missing: whether the folder does not hold what was registered, so that there is nothing to be shown.
    """

    badge: tuple[str, str] = ("", "")
    count: int | None = None
    sentence: str = ""
    lines: Sequence[tuple[str, ...]] = ()
    drawn: Sequence[tuple[str, ...]] = ()
    families: Sequence[FamilyRows] = ()
    missing: bool = False


class Change(NamedTuple):
    """What differs between two runs."""

    name: str
    first: str
    second: str


class FigurePair(NamedTuple):
    """A figure of two runs, and the second minus the first."""

    label: str
    first: str
    second: str
    difference: str


@router.get("/experiments")
def experiments(request: Request) -> HTMLResponse:
    """Show the list of runs."""
    desk = desk_of(request)
    given = {name: _asked(request, name) for name in (*_FILTERS, "sort_by", "before")}
    where = RunFilter(**{name: given[name] or None for name in _FILTERS})
    size = desk.settings.file.dashboard.page_size
    if given["sort_by"]:
        found, more = desk.registry.find(where, RANKED_MAX, given["sort_by"]), False
    else:
        found = desk.registry.find(where, size + 1, before=given["before"] or None)
        found, more = found[:size], len(found) > size
    facts = {
        "given": given,
        "rows": [_listed(run) for run in found],
        "labels": [(name, figure_label(name, "").rstrip(", ")) for name in SHOWN],
        "next": _url(given | {"before": found[-1].run_id}) if more else "",
        "first": _url(given | {"before": ""}) if given["before"] else "",
        "newest": _url(given | {"sort_by": "", "before": ""}),
        "ranked": {name: _url(given | {"sort_by": name, "before": ""}) for name in SHOWN},
        "statuses": [status.value for status in RunStatus],
        "types": list(dict.fromkeys([*REPORTED, *SESSION_TYPES, *filter(None, [given["run_type"]])])),
        "strategies": [name for name in desk.registry.strategies() if "+" not in name],
        "ranked_max": RANKED_MAX,
        "updates": "",
    }
    return page(request, "experiments.html", facts)


@router.get("/experiments/compare")
def compare(request: Request) -> HTMLResponse:
    """Show two runs side by side."""
    desk = desk_of(request)
    names = [_asked(request, name) for name in ("first", "second")]
    if not all(names):
        raise InputError("expected two runs to compare, found fewer; choose a first and a second one in the list")
    one, two = (desk.registry.get(name) for name in names)
    facts = {
        "one": one,
        "two": two,
        "changes": changes_between(one, two),
        "figures": figures_of(one, two),
        "updates": "",
    }
    return page(request, "compare.html", facts)


@router.get("/experiments/{run_id}")
def run_page(request: Request, run_id: str) -> Response:
    """Show a run; one of a session has a page of its own."""
    desk = desk_of(request)
    run = desk.registry.get(run_id)
    if run.run_type in SESSION_TYPES:
        return RedirectResponse(f"/session/{run.run_id}", status_code=303)
    quote = run.symbol.rpartition("/")[2]
    facts = {
        "run": run,
        "quote": quote,
        "figures": [(_name_of(name, quote), _value_of(name, value, quote)) for name, value in run.metrics.items()],
        "params": param_pairs(run.params),
        "terms": _flat(run.spec.get("terms")),
        "grid": _flat(_named_values(run.spec.get("grid"))),
        "identity": identity_of(run),
        "versions": version_pairs({"versions": run.versions}),
        "first": [FirstFigure(_name_of(name, quote), _value_of(name, run.metrics.get(name), quote)) for name in _first(run)],
        "earned_heads": EARNED,
        "drawn_heads": DRAWN,
        "answer": answer_of(run, desk.research.record(run)),
        "reported": desk.research.reported(run),
        "commands": commands_of(run, reported=desk.research.reported(run)),
        "updates": "",
    }
    return page(request, "run.html", facts)


@router.get("/experiments/{run_id}/report")
def run_report(request: Request, run_id: str) -> HTMLResponse:
    """Return a run's report, sealed off from the dashboard."""
    desk = desk_of(request)
    remembered: Remembered = request.app.state.remembered
    run = desk.registry.get(run_id)
    if not desk.research.reported(run):
        raise InputError(f"expected a completed run of research, found the {run.run_type} {run.run_id} {run.status.value}")
    sheet = remembered.get(("sheet", run.run_id), run.result_sha256, lambda: desk.sheet(run))
    return HTMLResponse(sheet, headers={"content-security-policy": SEALED})


def answer_of(run: Run, record: Json | None) -> AnswerShown | None:
    """Return what a run says in words; None for a type that says figures alone.

    Args:
        record: the run's document, None where its folder does not hold what was registered.
    """
    if run.run_type not in ANSWERED or run.status is not RunStatus.COMPLETED:
        return None
    if record is None:
        return AnswerShown(missing=True)
    if run.run_type == "verdict":
        kind = {"edge": "good", "no edge": "bad"}.get(record["answer"], "warn")
        count = record["tried"]["counted"]
        return AnswerShown(
            badge=(kind, record["answer"]), count=count, sentence=verdict_sentence(record), lines=badge_rows(record)
        )
    if run.run_type == "robustness":
        badge = ("good", "robust") if record["robust"] else ("bad", "not robust")
        drawn = drawn_rows(record)
        return AnswerShown(badge=badge, sentence=robustness_sentence(record), lines=badge_rows(record), drawn=drawn)
    families = [FamilyRows(one["title"], one["now"] or "unknown", earned_rows(one)) for one in record["families"]]
    return AnswerShown(sentence=regime_sentence(record), families=families)


def _first(run: Run) -> list[str]:
    return [name for name in FIRST.get(run.run_type, ()) if name in run.metrics]


def identity_of(run: Run) -> list[Pair]:
    """Return what identifies a run."""
    rows = (
        ("Run", run.run_id),
        ("Data (SHA-256)", run.dataset_sha256),
        ("Configuration (SHA-256)", run.config_sha256),
        ("Result (SHA-256)", run.result_sha256),
        ("Code", run.code_version + (", no uncommitted changes" if run.code_clean else ", with uncommitted changes")),
        ("Started", f"{moment(run.started_at)} UTC" if run.started_at else None),
        ("Ended", f"{moment(run.finished_at)} UTC" if run.finished_at else None),
        ("Environment", run.env_name),
        ("Combinations tried", f"{run.trials:,}" if run.trials else None),
    )
    return [(label, str(value)) for label, value in rows if value]


def commands_of(run: Run, *, reported: bool) -> list[Pair]:
    """Return the commands to do a run again, where it has a report, and to look into it."""
    name = shlex.quote(str(run.run_id))
    found = [("Show everything the registry has of it", f"peak-trade experiments show {name}")]
    if reported:
        found.insert(0, ("Do it again and compare every figure", f"peak-trade reproduce {name}"))
        found.append(("Write its report into its folder", f"peak-trade report {name}"))
    return found


def changes_between(one: Run, two: Run) -> list[Change]:
    """Return what was different before anything ran: specification, data, code, configuration, versions."""

    def plain(run: Run) -> dict[str, Any]:
        told = {name: getattr(run, name) for name in ("run_type", "strategy", "symbol", "timeframe", "status", "env_name")}
        told |= {name: getattr(run, name)[:16] for name in ("dataset_sha256", "config_sha256", "code_version")}
        told["status"] = run.status.value
        return told | _flat_values({"params": run.params, "spec": run.spec, "versions": run.versions})

    left, right = plain(one), plain(two)
    names = [*left, *(name for name in right if name not in left)]
    return [Change(name, _text(left.get(name)), _text(right.get(name))) for name in names if left.get(name) != right.get(name)]


def figures_of(one: Run, two: Run) -> list[FigurePair]:
    """Return the figures of two runs beside each other; amounts of different currencies have no difference."""
    quotes = [run.symbol.rpartition("/")[2] for run in (one, two)]
    rows = []
    for name in [*one.metrics, *(name for name in two.metrics if name not in one.metrics)]:
        left, right = one.metrics.get(name), two.metrics.get(name)
        quote = quotes[0] if quotes[0] == quotes[1] else ""
        same = quotes[0] == quotes[1] or figure_of(_bare(name)).unit.value != "money"
        known = left is not None and right is not None and same
        difference = signed(_value_of(name, float(right or 0.0) - float(left or 0.0), quote)) if known else ""
        rows.append(
            FigurePair(
                _name_of(name, quote).rstrip(", "),
                _value_of(name, left, quotes[0]),
                _value_of(name, right, quotes[1]),
                difference.replace("%", " points"),
            )
        )
    return rows


def _listed(run: Run) -> Listed:
    url = f"/session/{run.run_id}" if run.run_type in SESSION_TYPES else f"/experiments/{run.run_id}"
    values = [run.metrics.get(name, run.metrics.get(f"best_{name}")) for name in SHOWN]
    return Listed(
        run,
        url,
        tuple("" if value is None else figure_number(name, value, "") for name, value in zip(SHOWN, values, strict=True)),
    )


def _bare(name: str) -> str:
    return name.removeprefix("best_")


def _name_of(name: str, quote: str) -> str:
    label = figure_label(_bare(name), quote)
    return f"Best: {label}" if name.startswith("best_") else label


def _value_of(name: str, value: float | None, quote: str) -> str:
    return figure_number(_bare(name), value, quote)


def _asked(request: Request, name: str) -> str:
    value = request.query_params.get(name, "").strip()
    if len(value) > TEXT_MAX or not value.isprintable():
        raise InputError(f"expected printable text of at most {TEXT_MAX} characters as {name}, found other; shorten it")
    return value


def _url(given: Mapping[str, str]) -> str:
    left = {name: value for name, value in given.items() if value}
    return f"/experiments?{urlencode(left)}" if left else "/experiments"


def _named_values(given: object) -> object:
    """Return a grid by its names: a specification keeps it as a list of pairs, in their order."""
    if isinstance(given, list) and all(isinstance(item, list) and len(item) == 2 for item in given):
        return {str(name): values for name, values in given}
    return given


def _flat(given: object) -> list[Pair]:
    if not isinstance(given, Mapping):
        return []
    return [(name, _text(value)) for name, value in _flat_values(given).items()]


def _flat_values(given: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return the leaves of nested objects under their dotted names."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, Mapping) and value:
            found |= _flat_values(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found


def _text(value: Any) -> str:
    try:
        return "" if value is None else value_text(value)
    except (PeakTradeError, ValueError):
        return str(value)
