"""The gates' pages: the ladder, one step with its criteria and evidence, requests, permits and the archive; they only read.

Invariant: where the record can't be trusted the pages say so, and show no number in its place.
Invariant: readers share one evaluation; however many there are, it takes no more than a tenth of the time.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse

from peak_trade.model.clock import Clock, parse_moment
from peak_trade.model.errors import CheckFailed, InputError, NotFound, PeakTradeError
from peak_trade.model.stage import Stage
from peak_trade.webui.access import STYLED
from peak_trade.webui.desk import Json
from peak_trade.webui.pages import desk_of, page

router = APIRouter(include_in_schema=False)

#: Seconds for which an evaluation is kept while nothing is recorded, and how many times as long as it took.
EVALUATION_AGE_S, REST = 5.0, 9.0
#: Evaluations that are kept at one time.
KEPT_MAX = 64
#: Criteria that a version's card tells in the open, how many versions on a rung are no crowd, and runs that a criterion or a
#: page lists; the API has all.
TOLD_MAX, CROWD, RUNS_MAX, EVIDENCE_MAX = 3, 6, 8, 100
#: The steps, by their names.
STEPS = ("research->shadow", "shadow->testnet", "testnet->shadow-live", "shadow-live->live")
_DAY_S = 86_400.0
#: What an event of some kind has and others have not.
_EVENT: Json = dict.fromkeys(("step", "to", "why", "passed", "id", "by"))


class GateAnswer(NamedTuple):
    """What an evaluation came to: a value, or why there is none."""

    value: Json
    error: PeakTradeError | None = None

    def get(self) -> Json:
        """Return the value.

        Raises:
            PeakTradeError: there is none.
        """
        if self.error is not None:
            raise self.error.with_traceback(None)
        return self.value


@dataclass(frozen=True, slots=True)
class _Kept:
    depends_on: object
    until_s: float
    outcome: GateAnswer


class Evaluation:
    """What is worked out once for all readers, one at a time; an error is kept as a value is."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._working, self._lock = threading.Lock(), threading.Lock()
        self._kept: dict[object, _Kept] = {}

    def get(self, name: object, depends_on: object, work_out: Callable[[], Json]) -> GateAnswer:
        """Return what is kept under a name; work it out where it is too old, or depends on something else.

        While somebody works, others get what is kept if nothing was recorded since, and wait otherwise.
        """
        kept = self._of(name, depends_on)
        if kept is not None and self._clock.elapsed_s() < kept.until_s:
            return kept.outcome
        if not self._working.acquire(blocking=kept is None) and kept is not None:
            return kept.outcome
        try:
            # Somebody else may have done it meanwhile.
            kept = self._of(name, depends_on)
            if kept is not None and self._clock.elapsed_s() < kept.until_s:
                return kept.outcome
            return self._worked_out(name, depends_on, work_out)
        finally:
            self._working.release()

    def _worked_out(self, name: object, depends_on: object, work_out: Callable[[], Json]) -> GateAnswer:
        begun = self._clock.elapsed_s()
        try:
            outcome = GateAnswer(work_out())
        except PeakTradeError as error:
            outcome = GateAnswer({}, error)
        ended = self._clock.elapsed_s()
        until = ended + max(EVALUATION_AGE_S, (ended - begun) * REST)
        with self._lock:
            if len(self._kept) >= KEPT_MAX:
                self._kept.pop(next(iter(self._kept)))
            self._kept[name] = _Kept(depends_on, until, outcome)
        return outcome

    def _of(self, name: object, depends_on: object) -> _Kept | None:
        with self._lock:
            kept = self._kept.get(name)
        return kept if kept is not None and kept.depends_on == depends_on else None


# ---- what pages and API read -----------------------------------------------------------------------------------------


def overview_of(request: Request) -> GateAnswer:
    """Return ladder, requests, permits and history."""
    return _evaluated(request, "overview", desk_of(request).gates.overview)


def archive_of(request: Request) -> GateAnswer:
    """Return the archived checklists."""
    return _evaluated(request, "archive", desk_of(request).gates.archive)


def step_of(request: Request, strategy: str, version: str, account: str, step: str) -> GateAnswer:
    """Return how a version stands before a step, or why that can't be told; what stands nowhere is not looked for further.

    Args:
        account: empty is that of the configuration. step: empty is the next one.
    """
    found = overview_of(request)
    if found.error is not None:
        return found
    owner = account or str(found.value["account"])
    known = any(
        (line["strategy"], line["version"], line["account"]) == (strategy, version, owner) for line in found.value["ladder"]
    )
    if not known:
        words = "expected a version that stands on the ladder, or showed something of late, found another; /gates lists them"
        return GateAnswer({}, NotFound(words))
    if step and step not in STEPS:
        return GateAnswer({}, InputError(f"expected one of the steps {', '.join(STEPS)}, found another; choose one"))
    look = desk_of(request).gates.step
    return _evaluated(request, ("step", strategy, version, owner, step), lambda: look(strategy, version, owner, step))


def _evaluated(request: Request, name: object, work_out: Callable[[], Json]) -> GateAnswer:
    evaluation: Evaluation = request.app.state.evaluation
    return evaluation.get(name, desk_of(request).gates.seen(), work_out)


# ---- the ladder ------------------------------------------------------------------------------------------------------


class Placed(NamedTuple):
    """A version on its rung: its line of the overview, its gate's page, its permit where it has one, and what it lacks.

    Attributes:
        days: whole days since it stands there; None where it never moved.
        left: whole days until the permit ends.
        lacking: criteria that do not pass, the gravest first, each with the words of the policy.
    """

    line: Json
    url: str
    days: int | None
    permit: Json | None
    left: int | None
    lacking: Sequence[Json]


class RungRow(NamedTuple):
    """A stage with everything that stands on it."""

    stage: str
    placed: Sequence[Placed]

    @property
    def told(self) -> int:
        """How many criteria each card tells in the open: fewer where many stand beside each other."""
        return TOLD_MAX if len(self.placed) <= CROWD else 1


@router.get("/gates")
def ladder(request: Request) -> HTMLResponse:
    """Show the ladder."""
    return _page(request, "ladder.html", overview_of(request), rungs_of)


def rungs_of(found: Json) -> Json:
    """Return the stages from the top, each with its versions."""
    rows = [
        RungRow(stage.value, [_placed(found, line) for line in found["ladder"] if line["stage"] == stage.value])
        for stage in reversed(Stage)
    ]
    refused = [{**item, "event": _EVENT | item["event"]} for item in found["refused"]]
    return {"rungs": rows, "refused": refused, "empty": not found["ladder"]}


def _placed(found: Json, line: Json) -> Placed:
    permit = permit_for(line, found["permits"])
    after = line["next"]
    words = found["words"].get(after["step"], {}) if after else {}
    lacking = [{**item, "words": words.get(item["id"], item["id"])} for item in after["lacking"]] if after else []
    return Placed(
        line,
        gate_url(line),
        days_between(line["since"], found["at"]),
        permit,
        days_between(found["at"], permit["until"]) if permit else None,
        gravest_first(lacking),
    )


def permit_for(line: Mapping[str, Any], permits: Sequence[Json]) -> Json | None:
    """Return the permit for where a version stands: a good one, of these that which lasts longest; None where there is none."""
    names = ("strategy", "version", "account", "stage")
    mine = [
        item
        for item in permits
        if all(item[name] == line[name] for name in names) and set(line["symbols"]) <= set(item["symbols"])
    ]
    return max(mine, key=lambda item: (item["good"], item["until"] or ""), default=None)


def gravest_first(criteria: Sequence[Json]) -> list[Json]:
    """Return criteria with what blocks first: failed before inconclusive before passed, of each the hard ones first."""
    order = ("fail", "inconclusive", "pass")
    return sorted(criteria, key=lambda item: (item["answer"] == "pass", not item["hard"], order.index(item["answer"])))


def gate_url(line: Mapping[str, Any], step: str = "") -> str:
    """Return the page of a version's gate."""
    asked = {"account": line["account"]} | ({"step": step} if step else {})
    return f"/gates/of/{quote(line['strategy'], safe='')}/{quote(line['version'], safe='')}?{urlencode(asked)}"


def days_between(begin: str | None, end: str | None) -> int | None:
    """Return the whole days from one moment to another, below zero where that lies before; None where one is not known."""
    if begin is None or end is None:
        return None
    return int((parse_moment(end) - parse_moment(begin)).total_seconds() // _DAY_S)


# ---- one step --------------------------------------------------------------------------------------------------------


class CriterionRow(NamedTuple):
    """A criterion as its page shows it: its facts, its words, its runs, the newest first, and how many more there are."""

    facts: Json
    words: str
    runs: Sequence[Json]
    more: int


@router.get("/gates/of/{strategy}/{version}")
def gate(request: Request, strategy: str, version: str) -> HTMLResponse:
    """Show a version before its next step, or another one."""
    outcome = _named_step(request, strategy, version)
    if isinstance(outcome.error, NotFound | InputError):
        raise outcome.error.with_traceback(None)
    return _page(request, "gate.html", outcome, gate_facts, policy=STYLED)


@router.get("/gates/of/{strategy}/{version}/progress")
def progress(request: Request, strategy: str, version: str) -> JSONResponse:
    """Return the charts of what grows with time, as bokeh embeds them."""
    from peak_trade.report.page import drawings

    charts = progress_charts(_named_step(request, strategy, version).get()["progress"])
    return JSONResponse(drawings(charts) if charts else {"documents": {}, "items": []})


def _named_step(request: Request, strategy: str, version: str) -> GateAnswer:
    asked = request.query_params
    return step_of(request, strategy, version, asked.get("account", ""), asked.get("step", ""))


def gate_facts(found: Json) -> Json:
    """Return what the page of a step shows."""
    evidence = {item["run_id"]: {**item, "url": run_url(item)} for item in found["evidence"]}
    newest = sorted(evidence.values(), key=lambda item: str(item["at"]), reverse=True)
    rows = []
    for item in gravest_first(found["criteria"]):
        runs = [run for run in newest if run["run_id"] in set(item["runs"])]
        words = found["words"].get(item["id"], item["id"])
        rows.append(CriterionRow(item, words, runs[:RUNS_MAX], len(runs) - len(runs[:RUNS_MAX])))
    url = gate_url(found, found["step"])
    return {
        "found": found,
        "rows": rows,
        "days": days_between(found["since"], found["at"]),
        "steps": [(step, gate_url(found, step)) for step in STEPS],
        "grown": [(f"progress-chart-{number}", item) for number, item in enumerate(found["progress"])],
        "charts": url.replace("?", "/progress?"),
        "drawn": any(item["points"] for item in found["progress"]),
        "evidence": newest[:EVIDENCE_MAX],
        "command": f"peak-trade gate explain '{found['step']}' --strategy {found['strategy']} --fresh",
    }


def run_url(item: Mapping[str, Any]) -> str:
    """Return the page of a run that is evidence; empty where it has none, such as what stands in files."""
    if "journal_sound" in item["facts"]:
        return f"/session/{quote(item['run_id'], safe='')}"
    return f"/experiments/{quote(item['run_id'], safe='')}" if item["kind"] == "backtest" else ""


def progress_charts(grown: Sequence[Json]) -> Json:
    """Return a chart of each measure that grows, with its limit, on one time axis; none where no run counts yet."""
    from peak_trade.report.charts import PairStyle, TimeAxis, pair_chart

    curves = {f"progress-chart-{number}": item for number, item in enumerate(grown) if item["points"]}
    moments = {name: [parse_moment(one["at"]).timestamp() * 1e3 for one in item["points"]] for name, item in curves.items()}
    if not curves:
        return {}
    ends = [stamp for stamps in moments.values() for stamp in stamps]
    shared = TimeAxis.over(np.array([min(ends), max(ends)]), _DAY_S / 24)
    style = PairStyle(number="0.[0]", hover="0.[00]", names=("So far", "Needed"), moment="Run ended")
    charts = {}
    for name, item in curves.items():
        values = np.array([one["value"] for one in item["points"]], dtype=float)
        axis = TimeAxis(np.array(moments[name]), shared.window)
        charts[name] = pair_chart(axis, values, np.full(len(values), item["limit"]), style)
    return charts


# ---- requests, permits, archive --------------------------------------------------------------------------------------


@router.get("/gates/requests")
def requests(request: Request) -> HTMLResponse:
    """Show who has to sign what, and what was decided."""
    return _page(request, "gate_requests.html", overview_of(request), request_facts)


def request_facts(found: Json) -> Json:
    """Return requests that wait, those that end first at the top, and those that wait no more."""
    lines = [{**item, "left": time_left(found["at"], item["until"]), "url": _request_url(item)} for item in found["requests"]]
    open_ones = [item for item in lines if item["decided"] in (None, "inconclusive") and not item.get("expired", True)]
    return {
        "waiting": sorted(open_ones, key=lambda item: str(item["until"])),
        "over": [item for item in lines if item not in open_ones],
    }


def _request_url(item: Json) -> str:
    return gate_url(item, item["step"]) if item["version"] else ""


def time_left(now: str, until: str | None) -> tuple[int, int]:
    """Return whole days and hours until a moment, zeros where it has passed or is not known."""
    if until is None:
        return 0, 0
    seconds = max((parse_moment(until) - parse_moment(now)).total_seconds(), 0.0)
    return int(seconds // _DAY_S), int(seconds % _DAY_S // 3_600)


@router.get("/gates/permits")
def permits(request: Request) -> HTMLResponse:
    """Show every permit, and every step up and down."""
    return _page(request, "gate_permits.html", overview_of(request), permit_facts)


def permit_facts(found: Json) -> Json:
    """Return permits, the good ones first, of these those that end first; and the history."""
    lines = [{**item, "left": days_between(found["at"], item["until"]), "url": _permit_url(item)} for item in found["permits"]]
    return {
        "permits": sorted(lines, key=lambda item: (not item["good"], str(item["until"]))),
        "history": [_EVENT | item for item in found["history"]],
    }


def _permit_url(item: Json) -> str:
    return gate_url(item, next(step for step in STEPS if step.partition("->")[2].replace("-", "_") == item["stage"]))


@router.get("/gates/archive")
def archive(request: Request) -> HTMLResponse:
    """Show the archived checklists."""
    return _page(
        request,
        "gate_archive.html",
        archive_of(request),
        lambda found: {"archived": found["archived"], "trouble_told": found["trouble"]},
    )


@router.get("/gates/archive/{file}")
def archived(request: Request, file: str) -> HTMLResponse:
    """Show an archived checklist as text."""
    known = archive_of(request).get()["archived"]
    if not any(item["file"] == file for item in known):
        raise NotFound("expected the name of an archived checklist, found another; /gates/archive lists them")
    return page(request, "archived.html", {"found": desk_of(request).gates.archived(file), "updates": ""})


def _page(request: Request, template: str, outcome: GateAnswer, facts: Callable[[Json], Json], **options: Any) -> HTMLResponse:
    """Return a page of what was found, or of why nothing can be shown."""
    told: Json = {"updates": "page", "trouble": "", "damaged": False}
    if outcome.error is not None:
        told |= {"trouble": str(outcome.error), "damaged": isinstance(outcome.error, CheckFailed), "at": ""}
        return page(request, "gate_trouble.html", told)
    return page(request, template, {**told, "at": outcome.value.get("at", ""), **facts(outcome.value)}, **options)
