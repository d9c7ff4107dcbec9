"""The dashboard as a real server on loopback, over the parts of a project folder."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import uvicorn

from peak_trade.compose import Parts
from peak_trade.runs.dashboard import app_over
from peak_trade.settings import load_config


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


@contextlib.contextmanager
def serving(config: str = "config.toml") -> Iterator[Served]:
    """Serve the dashboard of a configuration from a thread, on a free port."""
    parts = Parts(load_config(config))
    with socket.socket() as listener, contextlib.closing(parts):
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
        with httpx2.Client(base_url=url, timeout=30, trust_env=False) as client:
            yield Served(url, parts, client)
        server.should_exit = True
        parts_stop = settings.app.state.pulse.stop  # type: ignore[union-attr]
        parts_stop()
        thread.join(timeout=20)
        assert not thread.is_alive(), "the server did not end"
