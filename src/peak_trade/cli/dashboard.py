"""`peak-trade dashboard`: the web dashboard, on this machine."""

import sys
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from peak_trade.cli import options
from peak_trade.model.errors import InputError, SafetyRefused

if TYPE_CHECKING:
    from peak_trade.compose import Parts


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
        _serve(parts, address, told.port if port is None else port)


def _serve(parts: "Parts", host: str, port: int) -> None:
    import socket

    import uvicorn

    from peak_trade.runs.dashboard import app_over, give_way

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, or asyncio would not switch Nagle's algorithm off, and answers would wait 40 ms for an acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # From here on a browser waits instead of being refused while the rest is loaded.
        listener.listen()
    except OSError as error:
        listener.close()
        raise InputError(
            f"expected to listen on {host}, port {port}, found that the system refuses ({error.strerror or error}); end what "
            "uses that port, or give another --port"
        ) from error
    give_way()
    name = f"[{host}]" if family is socket.AF_INET6 else host
    print(f"dashboard: http://{name}:{listener.getsockname()[1]}/ (Ctrl+C ends it)", file=sys.stderr, flush=True)
    # Proxy headers would let anybody claim another address; nothing here needs them.
    server = uvicorn.Server(
        uvicorn.Config(app_over(parts), log_level="warning", access_log=False, proxy_headers=False, server_header=False)
    )
    # The server ends gracefully at the first signal, and then raises it again: that is the ordinary end.
    with closing(listener), suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
