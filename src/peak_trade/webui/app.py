"""The application: every address, what stands around it, and what an error looks like."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.types import ASGIApp

from peak_trade import __version__
from peak_trade.model.errors import PeakTradeError
from peak_trade.webui import (
    actions,
    api,
    experiment_api,
    experiments,
    gate_api,
    gates,
    home,
    safety,
    safety_api,
    session_page,
    strategies,
)
from peak_trade.webui.access import STREAM, STYLED, Guard
from peak_trade.webui.actions import Tickets
from peak_trade.webui.desk import Desk
from peak_trade.webui.live import Pulse, Remembered, end_with_process
from peak_trade.webui.metrics import Gauges, Timed
from peak_trade.webui.pages import page, warm
from peak_trade.webui.problems import problem, status_of
from peak_trade.webui.static import answer

#: Addresses that are answered in JSON or text, errors too.
_FOR_PROGRAMS = ("/api/", "/metrics", "/openapi.json", STREAM)


class Site(FastAPI):
    """The application, guarded and counted as a whole: also what it says of a fault, which is said outside of all layers."""

    def build_middleware_stack(self) -> ASGIApp:
        """Return every layer, the guard outermost."""
        return Guard(Timed(super().build_middleware_stack(), self.state.metrics), self.state.desk)


def make_app(desk: Desk) -> FastAPI:
    """Return the dashboard over what *desk* gives it."""
    pulse, remembered = Pulse(desk), Remembered(desk.clock, home.TOTALS_AGE_S)
    metrics = Gauges(desk, remembered, pulse)

    @contextlib.asynccontextmanager
    async def running(_app: FastAPI) -> AsyncIterator[None]:
        end_with_process(pulse.stop)
        warm()
        yield
        pulse.stop()

    app = Site(
        title="Peak_Trade",
        version=__version__,
        summary="Sessions, their totals, the gates and the installation's health; it reads, and can place no order.",
        docs_url=None,
        redoc_url=None,
        # A redirect would name this server's scheme, which behind a TLS proxy is not the reader's.
        redirect_slashes=False,
        lifespan=running,
    )
    app.state.desk, app.state.pulse, app.state.remembered, app.state.metrics = desk, pulse, remembered, metrics
    app.state.evaluation, app.state.safety_look = gates.Evaluation(desk.clock), gates.Evaluation(desk.clock)
    app.state.tickets = Tickets(desk.clock, desk.randomness)
    pages = (home, session_page, experiments, strategies, gates, safety, actions)
    for part in (*pages, api, experiment_api, gate_api, safety_api):
        app.include_router(part.router)
    _add_files(app, pulse, metrics)
    _add_errors(app)
    return app


def _add_files(app: FastAPI, pulse: Pulse, metrics: Gauges) -> None:
    @app.get(STREAM, include_in_schema=False)
    async def events() -> StreamingResponse:
        """Tell open pages what changed."""
        return StreamingResponse(pulse.stream(), media_type="text/event-stream")

    @app.get("/static/{edition}/{name}", include_in_schema=False)
    def file(edition: str, name: str) -> Response:
        """Return a script or style."""
        return answer(edition, name)

    @app.get("/metrics", include_in_schema=False)
    def figures() -> Response:
        """Return the figures for Prometheus."""
        return metrics.answer()

    @app.get("/docs", include_in_schema=False)
    def docs(request: Request) -> HTMLResponse:
        """Show the API's description."""
        return page(request, "docs.html", {"updates": ""}, policy=STYLED)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(PeakTradeError)
    def told(request: Request, error: PeakTradeError) -> Response:
        status, title = status_of(error)
        return _error(request, status, title, str(error))

    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> Response:
        missing = error.status_code == 404
        words = "" if missing else str(error.detail)
        found = _error(request, error.status_code, "Not found" if missing else str(error.detail), words)
        found.headers.update(error.headers or {})
        if found.headers.get("allow") == "GET" and request.url.path != STREAM:
            found.headers["allow"] = "GET, HEAD"
        return found

    @app.exception_handler(RequestValidationError)
    def wrong(_request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][1:])
        return problem(422, "Wrong value", f"expected a value that fits as {name}, found another: {first['msg']}")

    @app.exception_handler(Exception)
    def fault(request: Request, error: Exception) -> Response:
        # The server logs what happened; a reader is not told the inside of it.
        words = f"internal fault ({type(error).__name__}); the server's log has more"
        return _error(request, 500, "Fault of ours", words)


def _error(request: Request, status: int, title: str, words: str) -> Response:
    if request.url.path.startswith(_FOR_PROGRAMS):
        return problem(status, title, words or "expected an address that there is, found another; /docs lists them")
    facts = {"title": title, "words": words, "status": status, "updates": ""}
    return page(request, "error.html", facts, status=status)
