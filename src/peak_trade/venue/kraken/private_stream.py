"""An account's executions as they happen. What the stream may have missed, REST tells: it is asked at every new beginning."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from peak_trade.venue.kraken.executions import ExecMessage, Executions, StreamEnd, StreamFill
from peak_trade.venue.kraken.gateway import Gateway
from peak_trade.venue.kraken.reading import StreamToken
from peak_trade.venue.kraken.stream import (
    PRIVATE_STREAM,
    KrakenStream,
    LineDead,
    LineNews,
    LineState,
    StreamMessage,
    StreamParts,
    Topic,
    decoded,
)

#: Gaps in a row that a connection survives.
GAPS_MAX = 3
EXECUTIONS = Topic("executions", "", (("snap_orders", True), ("snap_trades", True)))


class PrivateStream(KrakenStream):
    """The private stream of one key."""

    def __init__(
        self,
        gateway: Gateway,
        tell: Callable[[StreamFill | StreamEnd], None],
        reconcile: Callable[[str], Awaitable[None]],
        parts: StreamParts,
        url: str = PRIVATE_STREAM,
    ) -> None:
        """Make ready; nothing is dialled yet.

        Args:
            tell: told of every fill and every end of an order, once.
            reconcile: asked to compare with REST, and told why: a new connection, or missing messages.
        """
        super().__init__(url, (EXECUTIONS,), parts)
        self._gateway, self._tell, self._reconcile = gateway, tell, reconcile
        self.known = Executions()
        self._token_renewed = False
        self._gaps = 0
        self._common: dict[str, Any] = {}

    async def _prepare(self) -> dict[str, Any]:
        self._token_renewed = False
        return {"token": await self._token()}

    async def _token(self) -> str:
        return (await self._gateway.read("GetWebSocketsToken", StreamToken)).token

    async def _renewed(self, common: dict[str, Any]) -> bool:
        if self._token_renewed:
            return False
        self._token_renewed = True
        common["token"] = await self._token()
        return True

    async def _subscribe(self, followed: Any, common: dict[str, Any]) -> None:
        self.known.begin()
        self._common = common
        await super()._subscribe(followed, common)

    async def _began(self) -> None:
        await self._reconcile("a new connection")

    async def _take(self, message: StreamMessage, whole: bytes) -> Topic | None:
        if message.channel != EXECUTIONS.channel:
            return None
        if message.type != "snapshot" and not self._subscribed:
            # Of the subscription before; the snapshot to come has it.
            return EXECUTIONS
        merged = self.known.take(decoded(msgspec.Raw(whole), ExecMessage))
        for fact in merged.facts:
            self._tell(fact)
        if not merged.gap:
            self._gaps = 0
            return EXECUTIONS
        self._parts.line(LineNews(LineState.GAP, str(EXECUTIONS), "messages are missing"))
        self._gaps += 1
        if self._gaps > GAPS_MAX:
            raise LineDead("messages are missing again and again")
        await self._again(EXECUTIONS, self._common)
        await self._reconcile("messages are missing")
        return EXECUTIONS
