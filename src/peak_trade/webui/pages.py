"""How a page is made: a template, the header, the reader's language, and the headers of the answer."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, PrefixLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from peak_trade.model.clock import parse_moment
from peak_trade.report.facts import moment
from peak_trade.report.figures import duration, figure_label, figure_number
from peak_trade.report.session_facts import Badge, status_badge
from peak_trade.report.session_rows import words_of
from peak_trade.webui.access import STRICT
from peak_trade.webui.desk import Desk
from peak_trade.webui.header import header_of
from peak_trade.webui.language import COOKIE, LANGUAGES, Language, chosen, language
from peak_trade.webui.static import address

YEAR_S = 365 * 86_400


def page(request: Request, template: str, facts: Mapping[str, Any], *, status: int = 200, policy: str = STRICT) -> HTMLResponse:
    """Return a page in the reader's language."""
    spoken = chosen(request)
    desk = desk_of(request)
    shown = {
        "header": header_of(desk),
        "language": spoken.code,
        "languages": [(code, name, _switched(request, code)) for code, name in LANGUAGES.items()],
        "path": request.url.path,
        **facts,
    }
    answer = HTMLResponse(_templates(spoken).get_template(template).render(shown), status_code=status)
    answer.headers["content-security-policy"] = policy
    answer.headers["content-language"] = spoken.code
    answer.headers["vary"] = "Accept-Language, Cookie"
    if request.query_params.get("lang") == spoken.code:
        remember(request, answer, COOKIE, spoken.code, max_age=YEAR_S)
    return answer


def remember(request: Request, answer: Response, name: str, value: str, *, max_age: int | None = None) -> None:
    """Set a cookie that no script and no other site gets; behind a TLS proxy it never leaves in the clear."""
    secure = desk_of(request).settings.file.dashboard.behind_tls_proxy
    answer.set_cookie(name, value, max_age=max_age, httponly=True, samesite="strict", secure=secure)


def warm() -> None:
    """Compile the templates and read the files, so that the first reader need not wait for it."""
    for code in LANGUAGES:
        found = _templates(language(code))
        for name in found.list_templates(filter_func=lambda name: name.endswith(".html") and not name.startswith("report/")):
            found.get_template(name)


def desk_of(request: Request) -> Desk:
    """Return what the application was made with."""
    desk: Desk = request.app.state.desk
    return desk


def _switched(request: Request, code: str) -> str:
    """Return the address of this page in another language."""
    # The address of a confirmation only takes forms; the page of its question is the one to go to.
    path = request.url.path.removesuffix("/confirmed")
    # One that begins with two slashes would name a host.
    return f"/{path.lstrip('/')}?{request.url.include_query_params(lang=code).query}"


@cache
def _templates(spoken: Language) -> Environment:
    found = Environment(
        loader=ChoiceLoader([PackageLoader("peak_trade.webui"), PrefixLoader({"report": PackageLoader("peak_trade.report")})]),
        extensions=["jinja2.ext.i18n"],
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Old style: a text is looked up and nothing else; the new one would take a per cent sign in it for a place to fill.
    found.install_gettext_callables(spoken.text, spoken.translations.ngettext, newstyle=False)  # type: ignore[attr-defined]
    found.globals |= {"address": address, "status_badge": status_badge, "mode_badge": mode_badge}
    found.filters |= {
        "moment": _moment,
        "duration": duration,
        "words": words_of,
        "figure": lambda value, name, quote: figure_number(name, value, quote),
        "label": lambda name, quote="": figure_label(name, quote) if quote else figure_label(name, "").rstrip(", "),
    }
    return found


def mode_badge(mode: str) -> Badge:
    """Return a stage in words; real money carries a warning sign."""
    return Badge("live" if mode == "live" else "stage", words_of(mode) or "unknown")


def _moment(text: str | None) -> str:
    """Write a stored moment to the second; what is none stays as it is."""
    if not text:
        return ""
    try:
        parse_moment(text)
    except ValueError:
        return text
    return moment(text)
