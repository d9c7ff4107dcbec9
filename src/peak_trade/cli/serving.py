"""Serving an application until Ctrl+C, for the commands that do."""

import signal
import socket
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

from peak_trade.model.errors import InputError


def serve_until_stopped(
    app: Any,
    listener: socket.socket,
    told: Callable[[str], str],
    *,
    ending: Callable[[], None] = lambda: None,
    pings: bool = True,
) -> None:
    """Serve an ASGI application from a socket that listens.

    Args:
        told: makes the first line of its address.
        ending: called once when it begins to end, before it waits for what is still to be answered.
        pings: whether WebSockets are pinged.
    """
    import uvicorn

    class EndingServer(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            ending()
            await super().shutdown(sockets)

    host, port = listener.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    print(told(address), file=sys.stderr, flush=True)
    # Proxy headers would let anybody claim another address; nothing here needs them.
    settings = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        loop="asyncio",
        ws_ping_interval=20.0 if pings else None,
    )
    # The server ends gracefully at the first signal, and then raises it again: that is the ordinary end.
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    with closing(listener), suppress(KeyboardInterrupt):
        EndingServer(settings).run(sockets=[listener])


def listener_at(host: str, port: int) -> socket.socket:
    """Return a socket that listens already, so that whoever comes early waits instead of being refused.

    Raises:
        InputError: the system refuses that address or port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, or asyncio would not switch Nagle's algorithm off, and answers would wait 40 ms for an acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise InputError(
            f"expected to listen on {host}, port {port}, found that the system refuses ({error.strerror or error}); end what "
            "uses that port, or give another --port"
        ) from error
    return listener
