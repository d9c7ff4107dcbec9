"""The pages of safety: what holds and what watches, incidents, drills and runbooks; they only read.

Invariant: nothing is lifted, closed or run from here; each page says which command does it.
Invariant: readers share one evaluation, as they do of the gates; where the record can't be trusted the pages say so.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from fastapi import APIRouter
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from peak_trade.model.errors import CheckFailed, InputError, NotFound
from peak_trade.webui.desk import Json
from peak_trade.webui.gates import Evaluated, Evaluation
from peak_trade.webui.pages import desk_of, page

router = APIRouter(include_in_schema=False)

#: Lines of a list that a page shows; the API has all.
SHOWN = 200
_RUNBOOK = re.compile(r"(?:\./)?([a-z][a-z0-9_]*)\.md(#[\w-]*)?")


# ---- what pages and API read -----------------------------------------------------------------------------------------


def overview_of(request: Request) -> Evaluated:
    """Return everything that keeps orders back, and everything that watches."""
    return _evaluated(request, "overview", desk_of(request).safety.overview)


def incidents_of(request: Request) -> Evaluated:
    """Return every incident, the open ones first."""
    return _evaluated(request, "incidents", desk_of(request).safety.incidents)


def incident_of(request: Request, name: str) -> Evaluated:
    """Return an incident with its timeline; one that is not listed is not looked for."""
    listed = incidents_of(request)
    if listed.error is not None:
        return listed
    if not any(item["id"] == name for item in listed.value["incidents"]):
        return Evaluated({}, NotFound("expected the id of an incident, found another; /incidents lists them"))
    return _evaluated(request, ("incident", name), lambda: desk_of(request).safety.incident(name))


def drills_of(request: Request) -> Evaluated:
    """Return how every drill stands."""
    return _evaluated(request, "drills", desk_of(request).safety.drills)


def runbooks_of(request: Request) -> Evaluated:
    """Return what runbooks there are."""
    return _evaluated(request, "runbooks", desk_of(request).safety.runbooks)


def runbook_of(request: Request, name: str) -> Evaluated:
    """Return a runbook with its text; one that is not listed is not looked for."""
    listed = runbooks_of(request)
    if listed.error is not None:
        return listed
    if not any(item["name"] == name for item in listed.value["runbooks"]):
        return Evaluated({}, NotFound("expected the name of a runbook, found another; /runbooks lists them"))
    return _evaluated(request, ("runbook", name), lambda: desk_of(request).safety.runbook(name))


def _evaluated(request: Request, name: object, work_out: Callable[[], Json]) -> Evaluated:
    look: Evaluation = request.app.state.safety_look
    desk = desk_of(request)
    return look.get(name, (desk.gates.seen(), desk.safety.seen()), work_out)


# ---- pages -----------------------------------------------------------------------------------------------------------


@router.get("/safety")
def safety(request: Request) -> HTMLResponse:
    """Show what holds and what watches."""
    return _page(request, "safety.html", overview_of(request), lambda found: {"found": found})


@router.get("/incidents")
def incidents(request: Request) -> HTMLResponse:
    """Show every incident."""
    return _page(request, "incidents.html", incidents_of(request), _by_state)


def _by_state(found: Json) -> Json:
    lines = found["incidents"]
    over = [item for item in lines if not item["open"]]
    return {"open_ones": [item for item in lines if item["open"]], "over": over[:SHOWN], "more": len(over) - len(over[:SHOWN])}


@router.get("/incidents/{name}")
def incident(request: Request, name: str) -> HTMLResponse:
    """Show an incident with its timeline."""
    outcome = incident_of(request, name)
    if isinstance(outcome.error, NotFound):
        raise outcome.error.with_traceback(None)
    return _page(request, "incident.html", outcome, lambda found: {"found": found})


@router.get("/drills")
def drills(request: Request) -> HTMLResponse:
    """Show how every drill stands."""
    return _page(request, "drills.html", drills_of(request), lambda found: {"drills": found["drills"]})


@router.get("/runbooks")
def runbooks(request: Request) -> HTMLResponse:
    """Show what runbooks there are."""
    return _page(request, "runbooks.html", runbooks_of(request), lambda found: {"found": found})


@router.get("/runbooks/{name}")
def runbook(request: Request, name: str) -> HTMLResponse:
    """Show a runbook."""
    outcome = runbook_of(request, name)
    if isinstance(outcome.error, NotFound | InputError):
        raise outcome.error.with_traceback(None)
    return _page(request, "runbook.html", outcome, lambda found: {"found": found, "text": rendered(found["text"])})


def _page(request: Request, template: str, outcome: Evaluated, facts: Callable[[Json], Json]) -> HTMLResponse:
    """Return a page of what was found, or of why nothing can be shown."""
    told: Json = {"updates": "page", "at": ""}
    if outcome.error is not None:
        told |= {"trouble": str(outcome.error), "damaged": isinstance(outcome.error, CheckFailed)}
        return page(request, "safety_trouble.html", told)
    return page(request, template, {**told, "at": outcome.value.get("at", ""), **facts(outcome.value)})


# ---- Markdown --------------------------------------------------------------------------------------------------------


def rendered(text: str) -> Markup:
    """Return a runbook as HTML without its title, which the page has; its own HTML is shown as text, images not at all.

    Links lead to other runbooks, to a place in the same one, or over https elsewhere; any other is only its words.
    """
    tokens = _markdown().parse(text)
    _drop_title(tokens)
    tables = 0
    for token in tokens:
        # An alignment comes as a style of its own, which the page's policy forbids.
        token.attrs.pop("style", None)
        if token.type in ("heading_open", "heading_close"):
            token.tag = "h2" if token.tag == "h1" else token.tag
        elif token.type == "table_open":
            tables += 1
            token.meta["number"] = tables
        elif token.children:
            _keep_ours(token.children)
    found = _markdown()
    # Everything in it was escaped by the renderer; what is left of the text's own markup are the elements of Markdown.
    return Markup(found.renderer.render(tokens, found.options, {}))  # noqa: S704


@cache
def _markdown() -> MarkdownIt:
    found = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    found.add_render_rule("table_open", _table_open)
    found.add_render_rule("table_close", lambda *_given: "</table></div>\n")
    return found


def _table_open(_renderer: Any, tokens: Sequence[Token], at: int, _options: Any, _env: Any) -> str:
    """Return what a table begins with: it scrolls by itself where the window is narrow, also by keyboard."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="Table {tokens[at].meta["number"]}"><table>\n'


def _drop_title(tokens: list[Token]) -> None:
    if len(tokens) >= 3 and tokens[0].type == "heading_open" and tokens[0].tag == "h1":
        del tokens[:3]


def _keep_ours(children: list[Token]) -> None:
    """Let links lead to our own pages or over https, and to nothing else; an opened one and its end lie side by side."""
    kept = True
    for token in children:
        if token.type == "link_open":
            target = str(token.attrs.get("href", ""))
            match = _RUNBOOK.fullmatch(target)
            kept = match is not None or target.startswith(("https://", "#"))
            if match is not None:
                target = f"/runbooks/{match[1]}{match[2] or ''}"
            token.attrs = {"href": target, "rel": "noreferrer"} if kept else {}
        if token.type in ("link_open", "link_close") and not kept:
            token.tag = "span"
