"""`peak-trade dashboard`: the web dashboard, on this machine."""

from contextlib import closing
from typing import Annotated

import typer

from peak_trade.cli import options
from peak_trade.cli.serving import listener_at, serve_until_stopped
from peak_trade.model.errors import SafetyRefused


def command(
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on; default dashboard.host.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65_535, help="Port; default dashboard.port; 0 takes a free one.")
    ] = None,
    config: options.ConfigFile = None,
) -> None:
    """Serve the dashboard: sessions, experiments, API and metrics. Ctrl+C ends it."""
    from peak_trade.webui.access import refuse_network

    with closing(options.open_parts(config)) as parts:
        told = parts.settings.file.dashboard
        address = told.host if host is None else host
        active = ["operator"] if told.behind_tls_proxy and parts.operators.any_active() else []
        if why := refuse_network(address, behind_tls_proxy=told.behind_tls_proxy, operators=active):
            raise SafetyRefused(why)
        listener = listener_at(address, told.port if port is None else port)
        from peak_trade.runs.overview.dashboard import app_over, give_way

        give_way()
        serve_until_stopped(app_over(parts), listener, "dashboard: {}/ (Ctrl+C ends it)".format)
