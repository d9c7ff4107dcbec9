"""One way to one host over HTTP: bytes out, bytes in, everything with an end.

Proxies, redirects, cookies and credentials of the machine's environment are left out: what is sent goes where it was meant to.
"""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from peak_trade.venue.kraken.classes import Trouble
from peak_trade.venue.kraken.wire import Request

if TYPE_CHECKING:
    import httpx2

#: Longest answer, bytes. All pairs of Kraken are about a million.
ANSWER_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds: to connect, between two pieces of an answer, and for all of it."""

    connect_s: float = 5.0
    read_s: float = 10.0
    total_s: float = 15.0


class HttpReply(NamedTuple):
    """What came back."""

    status: int
    body: bytes


class HttpLine:
    """Connections to one host, kept open."""

    def __init__(self, base_url: str, timeouts: Timeouts, transport: "httpx2.AsyncBaseTransport | None" = None) -> None:
        """Make ready; nothing is opened yet.

        Args:
            base_url: such as `https://api.kraken.com`, without a path.
            transport: instead of the network, for tests that look at what is sent.
        """
        import httpx2

        self.base_url = base_url.rstrip("/")
        self._total_s = timeouts.total_s
        self._client = httpx2.AsyncClient(
            transport=transport,
            timeout=httpx2.Timeout(timeouts.read_s, connect=timeouts.connect_s),
            limits=httpx2.Limits(max_connections=4, keepalive_expiry=20.0),
            trust_env=False,
            follow_redirects=False,
        )

    async def exchange(self, request: Request, body: bytes) -> HttpReply | Trouble:
        """Send a request and return its answer, or what came instead. Never raises for what a network may do."""
        import httpx2

        try:
            async with asyncio.timeout(self._total_s):
                return await self._exchanged(request, body)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout):
            return Trouble.NOT_SENT
        except (httpx2.TimeoutException, TimeoutError):
            return Trouble.NO_ANSWER
        except (httpx2.RequestError, httpx2.StreamError):
            return Trouble.BROKEN

    async def _exchanged(self, request: Request, body: bytes) -> HttpReply | Trouble:
        address = self.base_url + request.path
        async with self._client.stream(request.method, address, headers=list(request.headers), content=body or None) as found:
            parts, size = [], 0
            async for part in found.aiter_bytes():
                parts.append(part)
                size += len(part)
                if size > ANSWER_MAX:
                    return Trouble.UNREADABLE
            return HttpReply(found.status_code, b"".join(parts))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
