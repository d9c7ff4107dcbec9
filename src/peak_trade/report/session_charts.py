"""The charts of a session: prices with its fills, equity and drawdown, actual beside expected.

A close and a mark are drawn at the moment they were known, the closing time of their bar; a fill at the opening of the
bar it happened in, which is where the line of closes meets the bar's open.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from bokeh.models import Span

from peak_trade.model.bar import F64, Bars
from peak_trade.model.clock import moment_text, nanoseconds, parse_moment
from peak_trade.model.order import Fill
from peak_trade.report.charts import (
    FALLS,
    LOSS,
    NEUTRAL,
    STRATEGY,
    Marker,
    PairStyle,
    TimeAxis,
    draw_closes,
    draw_marks,
    mark_size,
    number_format,
    pair_chart,
    time_chart,
)
from peak_trade.report.facts import moment
from peak_trade.report.figures import amount, decimal, money_digits, price_digits
from peak_trade.report.returns import falls
from peak_trade.report.session_rows import OrderRow, SessionSeries, plain_number, side_of, words_of
from peak_trade.report.thinning import MARKED_MAX, POINTS_MAX, evenly, thinned

#: Markets that get a chart of their own; each weighs as much as a page of text.
MARKETS_MAX = 6
#: Spans a session whose moments do not tell how far apart they are.
_STEP_S = 60.0
#: A drawdown that stays above this needs more digits on its axis.
_SHALLOW = -0.002
_NAMES = ("Actual", "Expected")
_KNOWN = "At"
#: Where an order ends that nobody took.
_NOT_TAKEN = ("refused", "rejected", "unknown", "absent")
T = TypeVar("T")


def session_charts(series: SessionSeries, start: float, quote: str, traded_from: str | None) -> dict[str, Any]:
    """Return the session's charts by the id of their element, on one time axis; none without marks.

    Args:
        start: equity at the start, above zero.
        quote: currency of equity.
        traded_from: when the warm-up ended, ISO 8601.
    """
    if not len(series.stamps):
        return {}
    drawn = charted(series)
    window = _axis(series, drawn)
    charts: dict[str, Any] = {}
    for number, (symbol, bars) in enumerate(drawn.items()):
        fills = [fill for fill in series.fills if fill.symbol == symbol]
        limit = max(POINTS_MAX // len(drawn), 4)
        orders = [order for order in series.orders if order.symbol == symbol]
        charts[f"price-chart-{number}"] = _price_chart(bars, fills, orders, window, limit)
    charts |= _equity_charts(series, window, start, quote)
    if traded_from is not None:
        at = nanoseconds(parse_moment(traded_from)) / 1e6
        for chart in charts.values():
            chart.add_layout(Span(location=at, dimension="height", line_color=NEUTRAL, line_dash=[6, 4], line_width=1))
    return charts


def charted(series: SessionSeries) -> dict[str, Bars]:
    """Return the markets that are drawn: the first few that have bars, without those that the session never reached."""
    cut = {symbol: bars[: _reached(bars, series)] for symbol, bars in series.bars.items()}
    return dict([item for item in cut.items() if len(item[1])][:MARKETS_MAX])


def _reached(bars: Bars, series: SessionSeries) -> int:
    """Return how many bars had closed at the last mark, or opened at the last fill."""
    if not len(series.stamps):
        return 0
    filled = max((fill.bar_ns for fill in series.fills if fill.symbol == bars.instrument.symbol), default=-1)
    marked = np.searchsorted(bars.timestamp, series.stamps[-1] - bars.timeframe.step_ns, side="right")
    return max(int(marked), int(np.searchsorted(bars.timestamp, filled, side="right")))


def marked(events: Sequence[T]) -> list[T]:
    """Return the fills or orders to mark: every one, or evenly chosen ones where they would cover the price."""
    return [events[index] for index in evenly(len(events), MARKED_MAX).tolist()]


def _axis(series: SessionSeries, drawn: Mapping[str, Bars]) -> TimeAxis:
    """Return the axis that all charts share, from the first bar or mark to the last."""
    ends = np.concatenate([series.stamps[[0, -1]] / 1e6, *(_closings(bars)[[0, -1]] for bars in drawn.values())])
    steps = [float(bars.timeframe.seconds) for bars in drawn.values()]
    return TimeAxis.over(np.array([ends.min(), ends.max()]), min(steps, default=_STEP_S))


def _closings(bars: Bars) -> F64:
    return np.asarray((bars.timestamp + bars.timeframe.step_ns) / 1e6)


def _price_chart(bars: Bars, fills: Sequence[Fill], orders: Sequence[OrderRow], axis: TimeAxis, limit: int) -> Any:
    """Draw one market's closes, its decisions to order, those that came to nothing, its purchases and its sales."""
    digits = price_digits(float(np.median(bars.close)), bars.instrument.tick_size)
    chart = time_chart(axis, height=360, number=number_format(digits, shortest=True))
    draw_closes(chart, _closings(bars), bars.close, digits, _KNOWN, limit)
    _draw_orders(chart, bars, orders, digits)
    shown = marked(fills)
    for marker, colour, sign in ((Marker.LONG_ENTRY, STRATEGY, 1), (Marker.SHORT_ENTRY, LOSS, -1)):
        chosen = [fill for fill in shown if fill.quantity * sign > 0]
        columns = _columns(chosen, digits, bars.instrument.quote)
        told = [("Fill", "@what"), ("Bar opens", "@time"), ("Price", "@price"), ("Fee", "@fee")]
        draw_marks(chart, marker, columns, told, colour=colour, fill=colour, size=mark_size(len(shown)))
    return chart


def _draw_orders(chart: Any, bars: Bars, orders: Sequence[OrderRow], digits: int) -> None:
    """Mark each decision to order where the price stood, and cross out those that nobody took."""
    shown = marked(orders)
    told = [("Order", "@what"), ("Decided", "@time"), ("State", "@state")]
    refused = [order for order in shown if order.state in _NOT_TAKEN]
    for marker, colour, chosen in ((Marker.GAIN_EXIT, NEUTRAL, shown), (Marker.LOSS_EXIT, LOSS, refused)):
        columns = _decided(chosen, bars, digits)
        draw_marks(chart, marker, columns, told, colour=colour, fill=None, size=mark_size(len(shown)) + 2)


def _decided(orders: Sequence[OrderRow], bars: Bars, digits: int) -> dict[str, Any]:
    moments = np.array([nanoseconds(parse_moment(order.decided_at)) for order in orders], dtype=np.int64)
    known = np.searchsorted(bars.timestamp + bars.timeframe.step_ns, moments, side="right") - 1
    return {
        "x": moments / 1e6,
        "y": bars.close[np.maximum(known, 0)],
        "what": [
            f"{order.leg} wants to {side_of(order.quantity)} {plain_number(order.quantity)}, {words_of(order.reason)}"
            for order in orders
        ],
        "time": [
            f"{moment(order.decided_at)} at {decimal(float(bars.close[max(at, 0)]), digits)}"
            for order, at in zip(orders, known, strict=True)
        ],
        "state": [words_of(order.state) + (f": {order.why}" if order.why else "") for order in orders],
    }


def _columns(fills: Iterable[Fill], digits: int, quote: str) -> dict[str, Any]:
    fills = list(fills)
    return {
        "x": np.array([fill.bar_ns for fill in fills], dtype=float) / 1e6,
        "y": np.array([float(fill.price) for fill in fills], dtype=float),
        "what": [
            f"{fill.leg} {'bought' if fill.quantity > 0 else 'sold'} {plain_number(str(fill.quantity))}, "
            f"{words_of(fill.reason.value)}"
            for fill in fills
        ],
        "time": [moment(moment_text(fill.bar_ns)) for fill in fills],
        "price": [decimal(float(fill.price), digits) for fill in fills],
        "fee": [f"{amount(float(fill.fee), quote)} {quote}{', maker' if fill.maker else ''}" for fill in fills],
    }


def _equity_charts(series: SessionSeries, window: TimeAxis, start: float, quote: str) -> dict[str, Any]:
    digits = money_digits(quote)
    style = PairStyle(
        number=number_format(digits, shortest=True), hover=number_format(digits), unit=f" {quote}", names=_NAMES, moment=_KNOWN
    )
    known = np.isfinite(series.equity)
    own = (series.stamps[known] / 1e6, series.equity[known])
    other = _expected(series)
    low = (own[0], falls(own[1], start))
    lower = None if other is None else (other[0], falls(other[1], start))
    fine = float(low[1].min(initial=0.0)) > _SHALLOW
    number, hover = ("0.[0000]%", "0.0000%") if fine else (FALLS.number, FALLS.hover)
    drops = PairStyle(number=number, hover=hover, flat=FALLS.flat, names=_NAMES, moment=_KNOWN)
    return {
        "equity-chart": _over(own, other, window, style),
        "drawdown-chart": _over(low, lower, window, drops),
    }


def _expected(series: SessionSeries) -> tuple[F64, F64] | None:
    """Return the moments and values of the expectation, without the bars it says nothing about."""
    if series.expected is None:
        return None
    known = np.isfinite(series.expected)
    if not known.any():
        return None
    return _closings(next(iter(series.bars.values())))[: len(known)][known], series.expected[known]


def _over(own: tuple[F64, F64], other: tuple[F64, F64] | None, window: TimeAxis, style: PairStyle) -> Any:
    """Draw two thinned series over the moments of both: between its points a line is straight, and so is its tooltip."""
    lines = [
        (stamps[kept], values[kept]) for stamps, values in (own, other or own) for kept in (thinned(values, POINTS_MAX // 2),)
    ]
    moments = np.union1d(lines[0][0], lines[1][0])
    both = [np.interp(moments, stamps, values, left=np.nan, right=np.nan) for stamps, values in lines]
    axis = TimeAxis(moments, window.window)
    return pair_chart(axis, both[0], None if other is None else both[1], style)
