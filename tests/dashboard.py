"""The dashboard as a real server on loopback, over the parts of a project folder."""

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx2
import uvicorn

from peak_trade.compose import Parts
from peak_trade.model.clock import Clock, MachineClock
from peak_trade.runs import operators
from peak_trade.runs.overview.dashboard import app_over
from peak_trade.settings import load_config


class ShiftedClock(MachineClock):
    """The machine's clock, put forward when a test says so."""

    shift_s = 0.0

    def now(self) -> datetime:
        """Return the present, as much later as was said."""
        return super().now() + timedelta(seconds=self.shift_s)

    def elapsed_s(self) -> float:
        """Return seconds, as many more as was said."""
        return super().elapsed_s() + self.shift_s


@dataclass
class Served:
    """A running dashboard."""

    url: str
    parts: Parts
    client: httpx2.Client

    def get(self, path: str, **options: Any) -> httpx2.Response:
        """Ask for a page."""
        return self.client.get(path, **options)

    def post(self, path: str, data: dict[str, str], **options: Any) -> httpx2.Response:
        """Send a form as a browser of this site does."""
        headers = {"origin": self.url, "sec-fetch-site": "same-origin"} | options.pop("headers", {})
        return self.client.post(path, data=data, headers=headers, **options)

    def json(self, path: str, **options: Any) -> Any:
        """Return a JSON answer."""
        return json.loads(self.get(path, **options).text)

    def operator(self, name: str = "maria") -> str:
        """Make somebody an operator; return the token."""
        return operators.create_token(self.parts, name)

    def ask(self, path: str, token: str, why: str = "a test") -> httpx2.Response:
        """Open a form, fill it in and send it, as an operator does; the answer asks once more."""
        return self.post(path, hidden(self.get(path).text) | {"token": token, "why": why})

    def confirm(self, path: str, asked: httpx2.Response) -> httpx2.Response:
        """Say yes to what was asked."""
        return self.post(f"{path}/confirmed", hidden(asked.text))

    def raw(self, request: bytes | str) -> bytes:
        """Send bytes as they are, and return what comes back until the server closes."""
        host, port = self.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(request if isinstance(request, bytes) else request.encode("latin-1"))
            return b"".join(iter(lambda: connection.recv(65_536), b""))

    def line(self, target: str, *headers: str, method: str = "GET", host: str | None = "") -> tuple[int, str]:
        """Ask for a target just as it is written; return status and everything that came. Host None sends none."""
        named = [] if host is None else [f"Host: {host or self.url.removeprefix('http://')}"]
        head = "\r\n".join([f"{method} {target} HTTP/1.1", *named, *headers, "Connection: close"])
        answer = self.raw(f"{head}\r\n\r\n").decode("utf-8", "replace")
        return int(answer.split(" ", 2)[1]), answer


def hidden(page: str) -> dict[str, str]:
    """Return the hidden fields of a page's form."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))


@contextlib.contextmanager
def serving(config: str = "config.toml", clock: Clock | None = None) -> Iterator[Served]:
    """Serve the dashboard of a configuration from a thread, on a free port; the clock is the machine's, or another."""
    parts = Parts(load_config(config))
    parts.clock = clock or parts.clock
    # Named as TCP, or asyncio would not switch Nagle's algorithm off, and answers would wait 40 ms for an acknowledgement.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener, contextlib.closing(parts):
        listener.bind(("127.0.0.1", 0))
        settings = uvicorn.Config(app_over(parts), log_level="error", access_log=False, lifespan="on")
        server = uvicorn.Server(settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        end = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < end, "the server did not start within 20 s"
            time.sleep(0.01)
        with httpx2.Client(base_url=url, timeout=30, trust_env=False, verify=False) as client:
            yield Served(url, parts, client)
        server.should_exit = True
        parts_stop = settings.app.state.pulse.stop  # type: ignore[union-attr]
        parts_stop()
        thread.join(timeout=20)
        assert not thread.is_alive(), "the server did not end"
