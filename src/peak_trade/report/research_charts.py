"""The charts of research: how values spread, what was tried over time, each window's growth, and the nearest parameters."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, FixedTicker, LinearColorMapper, NumeralTickFormatter, PlainText

from peak_trade.journal.run import JsonObject
from peak_trade.model.bar import F64
from peak_trade.model.clock import nanoseconds, parse_moment
from peak_trade.report.charts import (
    GAIN,
    LOSS,
    NEUTRAL,
    PALETTE,
    STRATEGY,
    PairStyle,
    TimeAxis,
    bare_chart,
    hover,
    pair_chart,
    time_chart,
)
from peak_trade.report.figures import decimal, percent, value_text
from peak_trade.report.thinning import thinned
from peak_trade.report.walk_facts import chosen_text
from peak_trade.research.walk_forward import Journey

#: Bars of a picture of many values.
BINS = 40
#: Points of each window's line.
_WINDOW_POINTS = 400
_DAY_MS = 86_400_000.0


def spread_chart(values: F64, label: str, own: float | None, limit: float | None, *, share: bool = False) -> Any:
    """Draw how many values lie where; a line marks one of them, a dashed one a limit.

    Args:
        share: whether they are fractions, to be written as percentages.
    """
    counts, edges = np.histogram(values, bins=BINS)
    chart = bare_chart(label, height=260)
    if share:
        chart.xaxis.formatter = NumeralTickFormatter(format="0.[0]%")
    ends = zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    write = partial(percent, digits=1) if share else partial(decimal, digits=3)
    texts = [f"{write(low)} to {write(high)}" for low, high in ends]
    columns = {"left": edges[:-1], "right": edges[1:], "top": counts, "text": texts}
    drawn = chart.quad(source=ColumnDataSource(columns), bottom=0, fill_color=NEUTRAL, line_color=None, fill_alpha=0.7)
    hover(chart, [drawn], [(label, "@text"), ("How many", "@top")], mode="mouse")
    most = float(counts.max())
    for value, colour, dash in ((own, GAIN, "solid"), (limit, LOSS, "dashed")):
        if value is not None:
            chart.segment([value], [0.0], [value], [most], line_color=colour, line_width=2.5, line_dash=dash)
    return chart


def tried_chart(days: Sequence[JsonObject]) -> Any:
    """Draw how many different combinations, and how many trials with repeats, there were by the end of each day."""
    stamps = np.array([nanoseconds(parse_moment(item["day"])) / 1e6 for item in days])
    stamps = np.concatenate([[stamps[0] - _DAY_MS], stamps])
    counts = [np.array([0.0, *(float(item[name]) for item in days)]) for name in ("different", "total")]
    style = PairStyle(number="0,0", hover="0,0", names=("Different combinations", "With repeats"), moment="By the end of")
    return pair_chart(TimeAxis.over(stamps, _DAY_MS / 1_000.0), counts[0], counts[1], style)


def window_growth(journey: Journey) -> list[F64]:
    """Return what the joined equity gained since the beginning of each test stretch, fractions, from zero on."""
    equity, first = journey.result.equity, journey.windows[0].window.test.first
    found = []
    for walked in journey.windows:
        begin, end = walked.window.test.first - first, walked.window.test.last - first
        base = float(equity[begin - 1]) if begin else float(journey.result.terms.cash)
        levels = equity[begin:end] / base if base > 0.0 else np.ones(end - begin)
        found.append(np.concatenate([[1.0], levels]) - 1.0)
    return found


def window_chart(record: JsonObject, journey: Journey, axis: TimeAxis) -> Any:
    """Draw the growth of equity within each test stretch, each from zero on; neighbouring stretches differ in width."""
    chart = time_chart(axis, height=280, number="0.[0]%")
    first = journey.windows[0].window.test.first
    for odd, (colour, width) in enumerate(((STRATEGY, 2.0), (NEUTRAL, 1.25))):
        columns: dict[str, list[Any]] = {name: [] for name in ("x", "y", "window", "chosen", "growth")}
        for place, (walked, growth) in enumerate(zip(journey.windows, window_growth(journey), strict=True)):
            if place % 2 != odd:
                continue
            begin = walked.window.test.first - first
            stamps = axis.stamps[np.maximum(np.arange(begin - 1, begin + len(growth) - 1), 0)]
            kept = thinned(growth, _WINDOW_POINTS)
            columns["x"].append(stamps[kept])
            columns["y"].append(growth[kept])
            columns["window"].append(str(place + 1))
            columns["chosen"].append(chosen_text(record["windows"][place]["params"]) or "none had a value")
            columns["growth"].append(percent(walked.growth))
        drawn = chart.multi_line("x", "y", source=ColumnDataSource(columns), line_color=colour, line_width=width)
        told = [("Window", "@window"), ("Chosen", "@chosen"), ("Growth over the stretch", "@growth")]
        hover(chart, [drawn], told, mode="mouse")
    return chart


def neighbour_chart(record: JsonObject) -> Any:
    """Draw a row of cells for each parameter: the Sharpe ratio at its own value, and at those beside it."""
    rows = neighbour_cells(record)
    names = list(rows)
    chart = bare_chart("Steps from the backtest's own value", height=90 + 44 * len(names))
    chart.y_range.start, chart.y_range.end = -0.6, len(names) - 0.4
    chart.yaxis.ticker = FixedTicker(ticks=list(range(len(names))))
    chart.yaxis.major_label_overrides = {place: PlainText(text=name) for place, name in enumerate(names)}
    cells = [(step, place, value, ratio) for place, cells in enumerate(rows.values()) for step, value, ratio in cells]
    known = [ratio for *_, ratio in cells if ratio is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    high = high if high > low else low + 1.0
    columns: dict[str, Any] = {
        "x": [float(step) for step, *_ in cells],
        "y": [float(place) for _, place, *_ in cells],
        "ratio": [np.nan if ratio is None else ratio for *_, ratio in cells],
        "text": [f"{value}: {decimal(ratio, 2)}" for *_, value, ratio in cells],
        "ink": ["#ffffff" if ratio is None or ratio < (low + high) / 2.0 else "#101418" for *_, ratio in cells],
        "name": [names[place] for _, place, *_ in cells],
        "value": [value for _, _, value, _ in cells],
        "told": [decimal(ratio, 2) for *_, ratio in cells],
    }
    mapper = LinearColorMapper(palette=PALETTE, low=low, high=high, nan_color=NEUTRAL)
    source = ColumnDataSource(columns)
    fill = {"field": "ratio", "transform": mapper}
    drawn = chart.rect("x", "y", 0.96, 0.9, source=source, fill_color=fill, line_color=None)
    chart.text(
        "x",
        "y",
        text="text",
        source=source,
        text_color="ink",
        text_align="center",
        text_baseline="middle",
        text_font_size="12px",
        text_font="sans-serif",
    )
    chart.xaxis.ticker = FixedTicker(ticks=sorted({step for step, *_ in cells}))
    chart.grid.visible = False
    hover(chart, [drawn], [("Parameter", "@name"), ("Value", "@value"), ("Sharpe ratio", "@told")], mode="mouse")
    return chart


def neighbour_cells(record: JsonObject) -> Mapping[str, list[tuple[int, str, float | None]]]:
    """Return, for each parameter with neighbours, steps from its own value, the value as text, and the Sharpe ratio."""
    found: dict[str, list[tuple[int, str, float | None]]] = {}
    for name in dict.fromkeys(item["name"] for item in record["neighbours"]):
        own = record["params"][name]
        values = [(own, record["metrics"]["sharpe"])]
        values += [(item["value"], item["sharpe"]) for item in record["neighbours"] if item["name"] == name]
        values.sort(key=lambda pair: pair[0])
        middle = [value for value, _ in values].index(own)
        found[name] = [(place - middle, value_text(value), ratio) for place, (value, ratio) in enumerate(values)]
    return found
