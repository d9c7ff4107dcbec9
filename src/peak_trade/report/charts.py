"""The charts of a report as bokeh figures: thinned lines, marked trades, heat maps.

Invariant: nothing is told by colour alone: entries, exits, gains and losses differ in shape, lines in width.
Colours have a contrast of at least 3:1 on the light and on the dark page (WCAG 2.2, 1.4.11); axes and grids take theirs
from the page's style sheet through bokeh's `--bk-` properties.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, unique
from html import escape
from typing import Any

import numpy as np
from bokeh.models import (
    BoxZoomTool,
    ColumnDataSource,
    DataRange1d,
    DatetimeTickFormatter,
    FixedTicker,
    HoverTool,
    LinearColorMapper,
    NoOverlap,
    NumeralTickFormatter,
    PanTool,
    PlainText,
    Range1d,
    ResetTool,
    WheelZoomTool,
)
from bokeh.palettes import cividis
from bokeh.plotting import figure

from peak_trade.model.bar import F64
from peak_trade.report.figures import Unit, figure_of, figure_text, money_digits
from peak_trade.report.ranking import Axis, Landscape
from peak_trade.report.returns import drawdowns
from peak_trade.report.thinning import POINTS_MAX, thinned
from peak_trade.report.trade_rows import TradeRow, quoted_digits
from peak_trade.research.backtest import Result

STRATEGY = "#2f80c8"
NEUTRAL = "#808a96"
GAIN = "#229467"
LOSS = "#d4582f"

#: Colours of a heat map, low to high; cividis reads the same with and without colour vision (Nunez et al., 2018).
PALETTE: tuple[str, ...] = tuple(cividis(64))
#: A heat map's colours end at these quantiles, so that one freak cell does not paint all others alike.
_COLOUR_ENDS = (0.01, 0.99)
#: Labels on an axis that do not touch each other on a narrow screen.
_LABELS_ACROSS, _LABELS_UP = 10, 20


@unique
class Marker(Enum):
    """What is marked on the price, each with the shape that bokeh and the page's legend draw."""

    LONG_ENTRY = "triangle"
    SHORT_ENTRY = "inverted_triangle"
    GAIN_EXIT = "circle"
    LOSS_EXIT = "x"


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """The time axis that the charts of one run share: milliseconds since 1970 of each bar's opening."""

    stamps: F64
    window: Range1d

    @classmethod
    def of(cls, result: Result) -> "TimeAxis":
        """Return the axis of a run, with a margin of one part in a hundred at each end."""
        return cls.over(result.bars.timestamp / 1e6, result.bars.timeframe.seconds)

    @classmethod
    def over(cls, stamps: F64, step_s: float) -> "TimeAxis":
        """Return the axis of ascending moments, at least one, that lie about *step_s* seconds apart."""
        margin = max((stamps[-1] - stamps[0]) * 0.01, step_s * 500.0)
        ends = (float(stamps[0] - margin), float(stamps[-1] + margin))
        return cls(stamps, Range1d(*ends, bounds=ends, min_interval=step_s * 1_000.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class PairStyle:
    """How a chart of two series writes.

    Attributes:
        number, hover: how the axis and the tooltip write a value, in bokeh's words; `unit` follows it in the tooltip.
        flat: what the vertical axis spans where neither series moves.
        names: what the tooltip calls the two series; `moment`: what it calls the time.
    """

    number: str
    hover: str
    unit: str = ""
    flat: float = 2.0
    names: tuple[str, str] = ("Strategy", "Buy and hold")
    moment: str = "Bar opens"


#: How drawdowns are written.
FALLS = PairStyle(number="0.[00]%", hover="0.00%", flat=0.02)


def price_chart(result: Result, rows: Sequence[TradeRow], axis: TimeAxis) -> Any:
    """Draw closes, and the entries and exits of *rows* at the prices they were filled at."""
    digits = quoted_digits(result)
    chart = time_chart(axis, height=400, number=number_format(digits, shortest=True))
    draw_closes(chart, axis.stamps, result.bars.close, digits, "Bar opens")
    _holdings(chart, rows, axis.stamps)
    for marker in Marker:
        _marks(chart, marker, rows, axis.stamps)
    return chart


def equity_chart(result: Result, yardstick: Result, axis: TimeAxis) -> Any:
    """Draw the equity of the strategy and of buy and hold on one scale."""
    quote = result.bars.instrument.quote
    digits = money_digits(quote)
    return pair_chart(
        axis,
        result.equity,
        yardstick.equity,
        PairStyle(number=number_format(digits, shortest=True), hover=number_format(digits), unit=f" {quote}"),
    )


def drawdown_chart(result: Result, yardstick: Result, axis: TimeAxis) -> Any:
    """Draw how far both stood below their highest close so far."""
    return pair_chart(axis, drawdowns(result), drawdowns(yardstick), FALLS)


def heat_chart(land: Landscape, up: Axis, metric: str, quote: str) -> Any:
    """Draw a cell for each pair of steps of two parameters; the best is outlined, one without a value stays empty.

    Args:
        land: a landscape over two parameters.
        up: its vertical axis.
        metric: what the cells hold.
        quote: currency of amounts.
    """
    across = land.across
    cells = [
        (column, line, value)
        for line, values in enumerate(land.cells)
        for column, value in enumerate(values)
        if value is not None
    ]
    steps = len(up.labels)
    chart = _step_chart(across, Range1d(-0.5, steps - 0.5), height=min(max(18 * steps + 90, 260), 720))
    chart.yaxis.axis_label = up.name
    _label(chart.yaxis, up.labels, _LABELS_UP)
    low, high = colour_ends(land)
    columns: dict[str, Any] = {
        "x": np.array([column for column, _, _ in cells], dtype=float),
        "y": np.array([line for _, line, _ in cells], dtype=float),
        "value": np.array([value for _, _, value in cells], dtype=float),
        "across": [across.labels[column] for column, _, _ in cells],
        "up": [up.labels[line] for _, line, _ in cells],
        "text": [figure_text(metric, value, quote) for _, _, value in cells],
    }
    mapper = LinearColorMapper(palette=PALETTE, low=low, high=high if high > low else low + 1.0)
    drawn = chart.rect(
        "x",
        "y",
        1,
        1,
        source=ColumnDataSource(columns),
        fill_color={"field": "value", "transform": mapper},
        line_color=None,
    )
    names = [(across.name, "@across"), (up.name, "@up"), (figure_of(metric).label, "@text")]
    hover(chart, [drawn], names, mode="mouse")
    if cells:
        column, line, _ = max(cells, key=lambda cell: cell[2])
        for colour, width in (("#101418", 4), ("#ffffff", 2)):
            chart.rect([column], [line], 1, 1, fill_color=None, line_color=colour, line_width=width)
    return chart


def step_line_chart(land: Landscape, metric: str, quote: str) -> Any:
    """Draw the metric along the values of one parameter; a value without a figure leaves a gap."""
    values = np.array([np.nan if value is None else value for value in land.cells[0]], dtype=float)
    kept = np.arange(len(values))
    if len(values) > POINTS_MAX:
        known = np.flatnonzero(np.isfinite(values))
        kept = known[thinned(values[known])]
    chart = _step_chart(land.across, DataRange1d(), height=360)
    chart.yaxis.formatter = NumeralTickFormatter(format=_axis_number(metric))
    chart.yaxis.axis_label = figure_of(metric).label
    columns = {
        "x": kept.astype(float),
        "y": values[kept],
        "across": [land.across.labels[index] for index in kept],
        "text": [figure_text(metric, value, quote) for value in values[kept].tolist()],
    }
    source = ColumnDataSource(columns)
    chart.line("x", "y", source=source, line_color=STRATEGY, line_width=1.75)
    dots = chart.scatter("x", "y", source=source, size=6 if len(kept) <= 200 else 2, color=STRATEGY)
    hover(chart, [dots], [(land.across.name, "@across"), (figure_of(metric).label, "@text")], mode="vline")
    return chart


def colour_ends(land: Landscape) -> tuple[float, float]:
    """Return the values at which a heat map's colours begin and end; zeros where there is no value."""
    values = [value for line in land.cells for value in line if value is not None]
    if not values:
        return 0.0, 0.0
    low, high = np.quantile(values, _COLOUR_ENDS)
    return float(low), float(high)


def pair_chart(axis: TimeAxis, own: F64, other: F64 | None, style: PairStyle) -> Any:
    """Draw one series, or two over the same points, so that one tooltip can tell both; a NaN leaves a gap.

    More than `POINTS_MAX` points are thinned, and must then be finite.
    """
    chart = time_chart(axis, height=280, number=style.number)
    chart.y_range.default_span = style.flat
    both = [own] if other is None else [own, other]
    kept = np.arange(len(own))
    if len(own) > POINTS_MAX:
        kept = np.unique(np.concatenate([thinned(values, POINTS_MAX // len(both)) for values in both]))
    columns = {"x": axis.stamps[kept]} | dict(zip(("own", "other"), (values[kept] for values in both), strict=False))
    source = ColumnDataSource(columns)
    if other is not None:
        chart.line("x", "other", source=source, line_color=NEUTRAL, line_width=1.0)
    line = chart.line("x", "own", source=source, line_color=STRATEGY, line_width=2.0)
    if len(kept) == 1:
        line = chart.scatter("x", "own", source=source, size=7, color=STRATEGY)
    drawn = zip(style.names, ("own", "other")[: len(both)], strict=False)
    told = [(label, f"@{name}{{{style.hover}}}{style.unit}") for label, name in drawn]
    hover(chart, [line], [(style.moment, "@x{%F %H:%M}"), *told], mode="vline")
    return chart


def _marks(chart: Any, marker: Marker, rows: Sequence[TradeRow], stamps: F64) -> None:
    """Mark one kind of event; the tooltip's texts are made here, so that they read as in the trade table."""
    entry = marker in (Marker.LONG_ENTRY, Marker.SHORT_ENTRY)
    chosen = [row for row in rows if _marked(marker, row)]
    bars = [row.trade.entry_bar if entry else row.trade.exit_bar for row in chosen]
    columns: dict[str, Any] = {
        "x": stamps[np.array(bars, dtype=np.int64)],
        "y": np.array([row.trade.entry_price if entry else row.trade.exit_price for row in chosen], dtype=float),
        "what": [f"{row.number}, {row.side}, {'entry' if entry else 'exit by ' + row.reason}" for row in chosen],
        "time": [row.entry_time if entry else row.exit_time for row in chosen],
        "price": [row.entry_price if entry else row.exit_price for row in chosen],
        "more": [row.quantity if entry else row.profit for row in chosen],
    }
    colour = {Marker.LONG_ENTRY: STRATEGY, Marker.SHORT_ENTRY: STRATEGY, Marker.GAIN_EXIT: GAIN, Marker.LOSS_EXIT: LOSS}[marker]
    labels = ("Trade", "Time", "Price", "Quantity" if entry else "Profit")
    told = list(zip(labels, ("@what", "@time", "@price", "@more"), strict=True))
    draw_marks(chart, marker, columns, told, colour=colour, fill=colour if entry else None, size=mark_size(len(rows)))


def draw_closes(chart: Any, stamps: F64, closes: F64, digits: int, moment: str, limit: int = POINTS_MAX) -> None:
    """Draw closing prices through at most *limit* points; *moment* is what the tooltip calls the time."""
    kept = thinned(closes, limit)
    source = ColumnDataSource({"x": stamps[kept], "close": closes[kept]})
    line = chart.line("x", "close", source=source, line_color=NEUTRAL, line_width=1.25)
    hover(chart, [line], [(moment, "@x{%F %H:%M}"), ("Close", f"@close{{{number_format(digits)}}}")], mode="mouse")


def draw_marks(
    chart: Any,
    marker: Marker,
    columns: Mapping[str, Any],
    told: Sequence[tuple[str, str]],
    *,
    colour: str,
    fill: str | None,
    size: int,
) -> None:
    """Mark events at the columns `x` and `y`, with a tooltip that tells the others."""
    drawn = chart.scatter(
        "x",
        "y",
        source=ColumnDataSource(dict(columns)),
        marker=marker.value,
        size=size,
        line_color=colour,
        line_width=1.5,
        fill_color=fill,
        fill_alpha=0.85,
    )
    hover(chart, [drawn], told, mode="mouse")


def mark_size(marks: int) -> int:
    """Return the size of a mark in pixels: the more there are, the less each may cover."""
    return 10 if marks <= 100 else 7 if marks <= 500 else 5


def _marked(marker: Marker, row: TradeRow) -> bool:
    trade = row.trade
    match marker:
        case Marker.LONG_ENTRY:
            return trade.side > 0
        case Marker.SHORT_ENTRY:
            return trade.side < 0
        case Marker.GAIN_EXIT:
            return trade.profit is not None and trade.profit > 0.0
        case Marker.LOSS_EXIT:
            return trade.profit is not None and trade.profit <= 0.0


def _holdings(chart: Any, rows: Sequence[TradeRow], stamps: F64) -> None:
    """Join each entry with its exit, which shows at a glance how long and in which direction a position was held."""
    closed = [row.trade for row in rows if row.trade.exit_bar is not None]
    columns = {
        "x0": stamps[np.array([trade.entry_bar for trade in closed], dtype=np.int64)],
        "y0": np.array([trade.entry_price for trade in closed], dtype=float),
        "x1": stamps[np.array([trade.exit_bar for trade in closed], dtype=np.int64)],
        "y1": np.array([trade.exit_price for trade in closed], dtype=float),
    }
    chart.segment(
        "x0", "y0", "x1", "y1", source=ColumnDataSource(columns), line_color=STRATEGY, line_width=1.0, line_dash=[2, 2]
    )


def time_chart(axis: TimeAxis, *, height: int, number: str) -> Any:
    """Return an empty chart over time; *number* is how its vertical axis writes a value, in bokeh's words."""
    chart = _blank(height=height, x_range=axis.window, y_range=DataRange1d(only_visible=True), x_axis_type="datetime")
    chart.window_axis = "x"
    chart.xaxis.formatter = DatetimeTickFormatter(
        seconds="%H:%M:%S",
        minsec="%H:%M:%S",
        minutes="%H:%M",
        hourmin="%H:%M",
        hours="%d %b %H:%M",
        days="%d %b %Y",
        months="%b %Y",
        years="%Y",
    )
    chart.yaxis.formatter = NumeralTickFormatter(format=number)
    return chart


def bare_chart(label: str, *, height: int) -> Any:
    """Return an empty chart over numbers; *label* names the horizontal axis."""
    chart = _blank(height=height, x_range=DataRange1d(), y_range=DataRange1d(start=0))
    chart.xaxis.axis_label = label
    return chart


def _step_chart(across: Axis, y_range: Any, *, height: int) -> Any:
    chart = _blank(height=height, x_range=Range1d(-0.5, len(across.labels) - 0.5), y_range=y_range)
    chart.xaxis.axis_label = across.name
    chart.xgrid.visible = False
    _label(chart.xaxis, across.labels, _LABELS_ACROSS)
    return chart


def _blank(*, height: int, **ranges: Any) -> Any:
    """Return an empty chart as wide as its place on the page, with the tools for looking closer."""
    chart = figure(
        height=height,
        sizing_mode="stretch_width",
        tools=[PanTool(dimensions="width"), BoxZoomTool(dimensions="width"), WheelZoomTool(dimensions="width"), ResetTool()],
        active_scroll=None,
        toolbar_location="above",
        min_border_left=64,
        min_border_right=12,
        **ranges,
    )
    chart.toolbar.logo = None
    chart.toolbar.stylesheets = [".bk-divider { background-color: var(--rule); }"]
    chart.axis.minor_tick_line_color = None
    chart.axis.major_tick_in = 0
    chart.axis.major_label_policy = NoOverlap(min_distance=8)
    chart.axis.axis_label_text_font_style = "normal"
    return chart


def hover(chart: Any, renderers: list[Any], rows: Sequence[tuple[str, str]], *, mode: str) -> None:
    """Give marks or lines a tooltip with a row for each label and bokeh expression."""
    chart.add_tools(
        HoverTool(
            renderers=renderers,
            tooltips=_tooltip(rows),
            formatters={"@x": "datetime"},
            mode=mode,
            point_policy="snap_to_data",
            line_policy="nearest",
            visible=False,
        )
    )


def _tooltip(rows: Sequence[tuple[str, str]]) -> str:
    """Return a tooltip's template in the page's own type; bokeh fills in values as text, never as markup."""
    lines = "".join(
        f'<tr><td style="padding-right:10px;opacity:0.7">{escape(label)}</td><td>{value}</td></tr>' for label, value in rows
    )
    return f'<table style="font:12px system-ui,sans-serif;font-variant-numeric:tabular-nums">{lines}</table>'


def _label(axes: Any, labels: Sequence[str], limit: int) -> None:
    """Label every step, or every n-th where there are many, as plain text: bokeh would take `$$` for a formula."""
    every = -(-len(labels) // limit)
    ticks = list(range(0, len(labels), every))
    axes.ticker = FixedTicker(ticks=ticks)
    axes.major_label_overrides = {tick: PlainText(text=labels[tick]) for tick in ticks}


def _axis_number(metric: str) -> str:
    """Return the number format of a metric's axis in bokeh's words."""
    formats: Mapping[Unit, str] = {Unit.MONEY: "0,0.[00]", Unit.PERCENT: "0.[00]%", Unit.RATIO: "0.[00]", Unit.COUNT: "0,0"}
    return formats[figure_of(metric).unit]


def number_format(digits: int, *, shortest: bool = False) -> str:
    """Return a number format in bokeh's words with that many digits after the point, or as few as the value needs."""
    zeros = "0" * digits
    return "0,0" if digits == 0 else f"0,0.[{zeros}]" if shortest else f"0,0.{zeros}"
