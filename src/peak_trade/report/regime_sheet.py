"""The regimes of a market and what a strategy earned in each, as one page with charts."""

from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, FixedTicker

from peak_trade.journal.run import JsonObject
from peak_trade.report import facts
from peak_trade.report.charts import (
    GAIN,
    LOSS,
    NEUTRAL,
    PairStyle,
    TimeAxis,
    draw_closes,
    hover,
    number_format,
    pair_chart,
    time_chart,
)
from peak_trade.report.page import render
from peak_trade.report.regime_facts import (
    CHANGED,
    EARNED,
    LASTED,
    change_rows,
    earned_rows,
    lasted_rows,
    moved_heads,
    moved_rows,
    regime_command,
    regime_notes,
    regime_sentence,
    regime_warnings,
)
from peak_trade.report.trade_rows import quoted_digits
from peak_trade.research.backtest import Result
from peak_trade.research.regimes import Family, Regimes
from peak_trade.strategy.regimes import UNKNOWN

#: A class's colour; classes differ in height too, so that colour tells nothing alone.
_COLOURS = {"down": LOSS, "wild": LOSS, "changed": LOSS, "flat": NEUTRAL, "normal": NEUTRAL}
#: Spells drawn; of more, the longest.
_SPELLS_MAX = 2_000


def regime_html(record: JsonObject, result: Result, found: Regimes) -> str:
    """Return it as one page that opens without a network.

    Args:
        record: the run's JSON document.
        result: what the strategy did; found: the regimes of the same bars.
    """
    axis = TimeAxis.of(result)
    charts = {"price-chart": _price_chart(result, found, axis)}
    for family in found.families:
        spells = _spell_source(family, result, axis)
        charts[f"{family.name}-price-chart"] = _shaded_chart(spells, family, result, axis)
        charts[f"{family.name}-chart"] = _band_chart(spells, family, axis)
    known = np.isfinite(found.wild) & np.isfinite(found.young)
    if known.any():
        shown = TimeAxis(axis.stamps[known], axis.window)
        style = PairStyle(number="0%", hover="0.0%", flat=1.0, names=("Wild state", "Changed of late"))
        charts["chance-chart"] = pair_chart(shown, found.wild[known], found.young[known], style)
    families = [
        {
            "name": item["name"],
            "title": item["title"],
            "now": item["now"] or "unknown",
            "earned": earned_rows(item),
            "lasted": lasted_rows(item),
            "heads": moved_heads(item),
            "moved": moved_rows(item),
        }
        for item in record["families"]
    ]
    page = facts.sheet_facts(record, regime_command(record)) | {
        "verdict": regime_sentence(record),
        "warnings": regime_warnings(record),
        "families": families,
        "notes": regime_notes(record),
        "changes": change_rows(record),
        "changes_all": len(record["changes"]),
        "earned_heads": EARNED,
        "lasted_heads": LASTED,
        "change_heads": CHANGED,
        "chances": bool(known.any()),
    }
    return render("regimes.html", charts, page)


def _price_chart(result: Result, found: Regimes, axis: TimeAxis) -> Any:
    """Draw closes, with a vertical line where a change was announced."""
    digits, close = quoted_digits(result), result.bars.close
    chart = time_chart(axis, height=320, number=number_format(digits, shortest=True))
    draw_closes(chart, axis.stamps, close, digits, "Bar opens")
    bars = np.array([point.announced for point in found.changes], dtype=np.int64)
    if len(bars):
        low, high = np.full(len(bars), close.min()), np.full(len(bars), close.max())
        columns = {"x": axis.stamps[bars], "low": low, "high": high}
        source = ColumnDataSource(columns)
        chart.segment("x", "low", "x", "high", source=source, line_color=LOSS, line_width=1.0, line_dash=[4, 3])
    return chart


def _spell_source(family: Family, result: Result, axis: TimeAxis) -> ColumnDataSource:
    """Return the spells of a family's classes: where each begins and ends, its height, its colour and its words."""
    labels, stamps = family.labels, axis.stamps
    begins = np.flatnonzero(np.concatenate([[True], labels[1:] != labels[:-1]]))
    ends = np.concatenate([begins[1:], [len(labels)]])
    shown = labels[begins] != UNKNOWN
    begins, ends = begins[shown], ends[shown]
    if len(begins) > _SPELLS_MAX:
        longest = np.sort(np.argsort(begins - ends, kind="stable")[:_SPELLS_MAX])
        begins, ends = begins[longest], ends[longest]
    places = labels[begins].astype(np.int64)
    step = result.bars.timeframe.seconds * 1_000.0
    close = result.bars.close
    columns: dict[str, Any] = {
        "left": stamps[begins],
        "right": np.concatenate([stamps[1:], [stamps[-1] + step]])[ends - 1],
        "bottom": places.astype(float),
        "top": places + 0.9,
        "low": np.full(len(places), close.min()),
        "high": np.full(len(places), close.max()),
        "colour": [_COLOURS.get(family.classes[place], GAIN) for place in places],
        "what": [family.classes[place] for place in places],
        "bars": ends - begins,
    }
    return ColumnDataSource(columns)


def _shaded_chart(spells: ColumnDataSource, family: Family, result: Result, axis: TimeAxis) -> Any:
    """Draw closes over the bands of a family's classes."""
    digits = quoted_digits(result)
    chart = time_chart(axis, height=240, number=number_format(digits, shortest=True))
    drawn = chart.quad("left", "right", "high", "low", source=spells, fill_color="colour", fill_alpha=0.3, line_color=None)
    draw_closes(chart, axis.stamps, result.bars.close, digits, "Bar opens")
    _told_spells(chart, drawn, family)
    return chart


def _band_chart(spells: ColumnDataSource, family: Family, axis: TimeAxis) -> Any:
    """Draw a band for each spell of a class, each class at a height of its own."""
    chart = time_chart(axis, height=140, number="0")
    chart.yaxis.ticker = FixedTicker(ticks=[place + 0.45 for place in range(len(family.classes))])
    chart.yaxis.major_label_overrides = {place + 0.45: name for place, name in enumerate(family.classes)}
    drawn = chart.quad("left", "right", "top", "bottom", source=spells, fill_color="colour", line_color=None)
    _told_spells(chart, drawn, family)
    return chart


def _told_spells(chart: Any, drawn: Any, family: Family) -> None:
    told = [(family.title, "@what"), ("From", "@left{%F %H:%M}"), ("Bars", "@bars{0,0}")]
    hover(chart, [drawn], told, mode="mouse")
    for tool in chart.hover if isinstance(chart.hover, list) else [chart.hover]:
        tool.formatters = {**tool.formatters, "@left": "datetime"}
