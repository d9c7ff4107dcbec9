"""Figures for Prometheus: sessions, locks and alerts as of now, and how the dashboard itself answers.

What can't be read has no value, and `peak_trade_registry_readable` says so: an absent figure is never a zero.
"""

import time
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from peak_trade.journal.session import Session
from peak_trade.journal.sessions import SessionFilter
from peak_trade.model.clock import Clock, parse_moment
from peak_trade.model.errors import PeakTradeError
from peak_trade.webui.desk import Desk
from peak_trade.webui.home import totals
from peak_trade.webui.live import Pulse, Remembered

#: Running sessions with figures of their own.
RUNNING_MAX = 100


class Gauges:
    """The figures, and how they are told."""

    def __init__(self, desk: Desk, remembered: Remembered, pulse: Pulse) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(Installation(desk, remembered, pulse))
        self.requests = Counter(
            "peak_trade_dashboard_requests",
            "Answers by page and status.",
            ("page", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "peak_trade_dashboard_request_seconds",
            "Seconds to the first byte of an answer, by page.",
            ("page",),
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
            registry=self.registry,
        )

    def answer(self) -> Response:
        """Return all figures in Prometheus' text format."""
        return Response(generate_latest(self.registry), headers={"content-type": CONTENT_TYPE_LATEST})


class Installation(Collector):
    """Looks at registry, locks and kill switch whenever it is asked."""

    def __init__(self, desk: Desk, remembered: Remembered, pulse: Pulse) -> None:
        self._desk, self._remembered, self._pulse = desk, remembered, pulse

    def describe(self) -> Iterable[Metric]:
        """Name nothing in advance: that would look at the registry before anybody asks."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield every figure of this moment."""
        desk = self._desk
        yield _gauge("peak_trade_kill_switch_on", "1 while the kill switch is on.", 1.0 if desk.tripped() is not None else 0.0)
        locks = GaugeMetricFamily("peak_trade_lock_closed", "1 while a lock is closed.", labels=("lock",))
        for lock in desk.locks():
            locks.add_metric([lock.name], 1.0 if lock.closed else 0.0)
        yield locks
        yield _gauge("peak_trade_dashboard_readers", "Pages that receive live updates.", float(self._pulse.readers))
        try:
            found = list(self._sessions())
        except PeakTradeError:
            yield _gauge("peak_trade_registry_readable", "1 while the registry can be read.", 0.0)
            return
        yield _gauge("peak_trade_registry_readable", "1 while the registry can be read.", 1.0)
        yield from found

    def _sessions(self) -> Iterator[Metric]:
        desk = self._desk
        census = desk.sessions.census()
        count = GaugeMetricFamily(
            "peak_trade_sessions", "Registered sessions by stage, type and status.", labels=("mode", "run_type", "status")
        )
        for row in totals(desk, self._remembered).counts:
            count.add_metric([row.mode, row.run_type, row.status], float(row.sessions))
        yield count
        yield _gauge(
            "peak_trade_failed_sessions_unhandled", "Failed sessions that nobody acknowledged.", float(census.unhandled)
        )
        running = desk.sessions.find(SessionFilter(status="started"), RUNNING_MAX) if census.started else []
        yield from self._running(running)

    def _running(self, sessions: list[Session]) -> Iterator[Metric]:
        labels = ("session_id", "mode", "strategy", "account")
        age = GaugeMetricFamily(
            "peak_trade_session_heartbeat_age_seconds", "Seconds since a running session was heard of.", labels=labels
        )
        left = GaugeMetricFamily(
            "peak_trade_session_lease_seconds",
            "Seconds left of a running session's lease; below zero it counts as dead.",
            labels=labels,
        )
        size = GaugeMetricFamily("peak_trade_session_journal_bytes", "Size of a running session's journal.", labels=labels)
        for one in sessions:
            values = [str(one.session_id), one.mode, one.run.strategy, one.account]
            seconds = _seconds_since(self._desk.clock, one.heartbeat_at)
            if seconds is not None:
                age.add_metric(values, seconds)
            until = _seconds_since(self._desk.clock, one.lease_until)
            if until is not None:
                left.add_metric(values, -until)
            size.add_metric(values, float(self._desk.growth(one)))
        yield age
        yield left
        yield size


class Timed:
    """Counts answers, and times them to their first byte."""

    def __init__(self, app: ASGIApp, metrics: Gauges) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and note how it was answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                # The pattern of the route, not the address: an address has an id in it.
                name = getattr(scope.get("route"), "path", "other")
                self._metrics.seconds.labels(name).observe(time.perf_counter() - began)
                self._metrics.requests.labels(name, str(message["status"])).inc()
            await send(message)

        await self._app(scope, receive, noted)


def _gauge(name: str, words: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, words, value=value)


def _seconds_since(clock: Clock, text: str | None) -> float | None:
    try:
        return (clock.now() - parse_moment(text or "")).total_seconds()
    except ValueError:
        return None
