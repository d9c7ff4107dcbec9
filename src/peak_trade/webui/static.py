"""Files that pages load: our own script and styles, and the scripts that bokeh and fastapi-offline ship."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from starlette.responses import Response

from peak_trade.model.errors import NotFound

_SCRIPT, _STYLE = "text/javascript; charset=utf-8", "text/css; charset=utf-8"
#: Every file there is: the package it lies in, its place there, and what it is.
_FILES: dict[str, tuple[str, str, str]] = {
    "report.css": ("peak_trade.report", "templates/style.css", _STYLE),
    "dashboard.css": ("peak_trade.webui", "static/dashboard.css", _STYLE),
    "dashboard.js": ("peak_trade.webui", "static/dashboard.js", _SCRIPT),
    "charts.js": ("peak_trade.webui", "static/charts.js", _SCRIPT),
    "docs.js": ("peak_trade.webui", "static/docs.js", _SCRIPT),
    "icon.svg": ("peak_trade.webui", "static/icon.svg", "image/svg+xml"),
    "bokeh.js": ("bokeh", "server/static/js/bokeh.min.js", _SCRIPT),
    "swagger.js": ("fastapi_offline", "static/swagger-ui-bundle.js", _SCRIPT),
    "swagger.css": ("fastapi_offline", "static/swagger-ui.css", _STYLE),
}


class Static(NamedTuple):
    """A file's bytes, their type and a name for this very content."""

    content: bytes
    kind: str
    edition: str


@cache
def static(name: str) -> Static:
    """Return a file by its name.

    Raises:
        NotFound: there is none.
    """
    if name not in _FILES:
        raise NotFound("expected the name of a file of the dashboard, found another")
    package, place, kind = _FILES[name]
    content = files(package).joinpath(place).read_bytes()
    return Static(content, kind, hashlib.sha256(content).hexdigest()[:12])


def address(name: str) -> str:
    """Return where a file is, by its content: a browser may keep it for ever."""
    return f"/static/{static(name).edition}/{name}"


def answer(edition: str, name: str) -> Response:
    """Return a file to a browser."""
    found = static(name)
    kept = "public, max-age=31536000, immutable" if edition == found.edition else "no-cache"
    return Response(found.content, media_type=found.kind, headers={"cache-control": kept})
