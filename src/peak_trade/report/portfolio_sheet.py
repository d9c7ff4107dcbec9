"""The report of a portfolio: one HTML page with equity, attribution, correlation, weights, exposure and limits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, FixedTicker, LinearColorMapper, PlainText, Range1d, Span

from peak_trade.journal.run import JsonObject
from peak_trade.model.bar import F64
from peak_trade.report import facts
from peak_trade.report.charts import (
    FALLS,
    GAIN,
    LOSS,
    NEUTRAL,
    PALETTE,
    STRATEGY,
    PairStyle,
    TimeAxis,
    bare_chart,
    hover,
    number_format,
    pair_chart,
    time_chart,
)
from peak_trade.report.figures import NOT_COMPUTABLE, decimal, money_digits
from peak_trade.report.page import render
from peak_trade.report.portfolio_facts import (
    LEG_HEADS,
    LIMIT_HEADS,
    PART_HEADS,
    WEIGHT_HEADS,
    correlation_rows,
    exposures,
    leg_rows,
    limit_rows,
    part_rows,
    plan_pairs,
    tried_text,
    weight_rows,
)
from peak_trade.report.returns import falls
from peak_trade.report.thinning import POINTS_MAX, evenly
from peak_trade.research.portfolio import LegPaths, Portfolio

#: Legs whose weights are drawn; more lines can't be told apart. The table has all.
DRAWN_MAX = 12
_COLOURS = (STRATEGY, LOSS, GAIN, NEUTRAL)
_DASHES: tuple[Any, ...] = ("solid", [6, 3], [2, 2])


def portfolio_html(record: JsonObject, result: Portfolio, yardstick: Portfolio, paths: LegPaths) -> str:
    """Return the report as one page that opens without a network.

    Args:
        record: the run's JSON document.
        yardstick: buy and hold over the same markets.
        paths: what the legs held and earned.
    """
    axis = TimeAxis.over(result.timestamp / 1e6, result.markets[0].timeframe.seconds)
    names = [leg["name"] for leg in record["legs"]]
    drawn = _drawn(result)
    charts = {
        **_equity_charts(record, result, yardstick, axis),
        "profit-chart": profit_chart(axis, paths.profits[:, drawn], [names[place] for place in drawn], record["quote"]),
        "legs-chart": correlation_chart(record["correlation"]["legs"]),
        "symbols-chart": correlation_chart(record["correlation"]["symbols"]),
        "weights-chart": weight_chart(result, axis, drawn, names),
        **exposure_charts(result, paths, axis),
    }
    page = {
        "record": record,
        "title": facts.title(record),
        "period": facts.period(record).replace(" bars", " steps"),
        "verdict": facts.verdict(record),
        "warnings": facts.warnings(record),
        "remarks": [tried_text(record), *record["remarks"]],
        "headlines": facts.compared(record, facts.HEADLINES),
        "groups": {name: facts.compared(record, kinds) for name, kinds in facts.GROUPS.items()},
        "missing": facts.missing_reasons(record),
        "drawn": len(drawn),
        "leg_table": (LEG_HEADS, leg_rows(record)),
        "strategy_table": (("Strategy", *PART_HEADS[1:]), part_rows(record, "strategies")),
        "symbol_table": (("Symbol", *PART_HEADS[1:]), part_rows(record, "symbols")),
        "legs_matrix": _matrix("Leg", record["correlation"]["legs"]),
        "symbols_matrix": _matrix("Symbol", record["correlation"]["symbols"]),
        "plan": plan_pairs(record),
        "weight_table": (WEIGHT_HEADS, weight_rows(record)),
        "limit_table": (LIMIT_HEADS, limit_rows(record)),
        "costs": facts.cost_pairs(record),
        "data": facts.data_pairs(record),
        "params": facts.param_pairs(record["params"]),
        "hashes": facts.hash_pairs(record),
        "versions": facts.version_pairs(record),
        "command": facts.reproduce(record),
    }
    return render("portfolio_sheet.html", charts, page)


def correlation_chart(told: JsonObject) -> Any:
    """Draw a matrix of correlations as a heat map from -1 to 1; a cell without a value stays empty."""
    names, count = told["names"], len(told["names"])
    cells = [
        (across, up, value) for up, line in enumerate(told["cells"]) for across, value in enumerate(line) if value is not None
    ]
    chart = bare_chart("", height=min(max(22 * count + 110, 220), 720))
    chart.x_range, chart.y_range = Range1d(-0.5, count - 0.5), Range1d(count - 0.5, -0.5)
    for axes, most in ((chart.xaxis, 6), (chart.yaxis, 25)):
        ticks = list(range(0, count, -(-count // most)))
        axes.ticker = FixedTicker(ticks=ticks)
        axes.major_label_overrides = {tick: PlainText(text=names[tick]) for tick in ticks}
    chart.grid.visible = False
    columns: dict[str, Any] = {
        "x": np.array([across for across, _, _ in cells], dtype=float),
        "y": np.array([up for _, up, _ in cells], dtype=float),
        "value": np.array([value for _, _, value in cells], dtype=float),
        "one": [names[up] for _, up, _ in cells],
        "other": [names[across] for across, _, _ in cells],
        "text": [decimal(value, 2) for _, _, value in cells],
    }
    mapper = LinearColorMapper(palette=PALETTE, low=-1.0, high=1.0)
    colour = {"field": "value", "transform": mapper}
    drawn = chart.rect("x", "y", 1, 1, source=ColumnDataSource(columns), fill_color=colour, line_color=None)
    hover(chart, [drawn], [("", "@one"), ("with", "@other"), ("Correlation", "@text")], mode="mouse")
    return chart


def weight_chart(result: Portfolio, axis: TimeAxis, drawn: Sequence[int], names: Sequence[str]) -> Any:
    """Draw the weights of some legs over time as steps, each until the next date; a tooltip names the leg."""
    chart = time_chart(axis, height=300, number="0.[0]%")
    stamps = result.weighed / 1e6
    kept = evenly(len(stamps), max(POINTS_MAX // max(len(drawn), 1), 4))
    for place, leg in enumerate(drawn):
        # The last weights hold until the end.
        xs = np.append(stamps[kept], axis.stamps[-1])
        ys = np.append(result.weights[kept, leg], result.weights[-1, leg])
        _named_line(chart, place, names[leg], xs, ys, "0.00%", stepped=True)
    return chart


def profit_chart(axis: TimeAxis, profits: F64, names: Sequence[str], quote: str) -> Any:
    """Draw what some legs earned so far, (steps, legs); together all legs make up equity less the starting cash."""
    digits = money_digits(quote)
    chart = time_chart(axis, height=300, number=number_format(digits, shortest=True))
    kept = evenly(len(axis.stamps), max(POINTS_MAX // max(len(names), 1), 4))
    for place, name in enumerate(names):
        _named_line(chart, place, name, axis.stamps[kept], profits[kept, place], number_format(digits), stepped=False)
    return chart


def exposure_charts(result: Portfolio, paths: LegPaths, axis: TimeAxis) -> dict[str, Any]:
    """Draw all exposure beside longs less shorts, and that of the symbol with most, each with its limit as a broken line."""
    gross, net, each = exposures(result, paths)
    known = np.isfinite(gross)
    points = TimeAxis(axis.stamps[known], axis.window)
    pairs: dict[str, tuple[F64, F64 | None, tuple[str, str], float]] = {
        "exposure-chart": (gross[known], net[known], ("All", "Longs less shorts"), result.allotting.total_most),
        "symbol-chart": (each[known].max(axis=1), None, ("Largest symbol", ""), result.allotting.symbol_most),
    }
    charts = {}
    for name, (own, other, words, limit) in pairs.items():
        chart = pair_chart(points, own, other, PairStyle(number="0.[0]%", hover="0.00%", flat=0.02, names=words))
        chart.add_layout(Span(location=limit, dimension="width", line_color=LOSS, line_dash=[6, 4], line_width=1.5))
        # The limit is part of the picture also where nothing came near it.
        chart.y_range.start, chart.y_range.end = _ends([own] if other is None else [own, other], limit)
        charts[name] = chart
    return charts


def _equity_charts(record: JsonObject, result: Portfolio, yardstick: Portfolio, axis: TimeAxis) -> dict[str, Any]:
    quote, cash = record["quote"], float(result.terms.cash)
    digits, names = money_digits(quote), ("Portfolio", "Buy and hold")
    money = PairStyle(number=number_format(digits, shortest=True), hover=number_format(digits), unit=f" {quote}", names=names)
    down = PairStyle(number=FALLS.number, hover=FALLS.hover, flat=FALLS.flat, names=names)
    return {
        "equity-chart": pair_chart(axis, result.equity, yardstick.equity, money),
        "drawdown-chart": pair_chart(axis, falls(result.equity, cash), falls(yardstick.equity, cash), down),
    }


def _named_line(chart: Any, place: int, name: str, xs: F64, ys: F64, written: str, *, stepped: bool) -> None:
    """Draw a line with a tooltip that names it; neighbours differ in colour, and lines of one colour in their dashes."""
    source = ColumnDataSource({"x": xs, "y": ys, "name": [name] * len(xs)})
    look = {
        "line_color": _COLOURS[place % len(_COLOURS)],
        "line_dash": _DASHES[place // len(_COLOURS) % len(_DASHES)],
        "line_width": 1.75,
    }
    line = chart.step("x", "y", source=source, mode="after", **look) if stepped else chart.line("x", "y", source=source, **look)
    told = [("", "@name"), ("Bar opens", "@x{%F %H:%M}"), ("", f"@y{{{written}}}")]
    hover(chart, [line], told, mode="mouse")


def _drawn(result: Portfolio) -> list[int]:
    """Return the places of the legs with the largest mean weights, in the legs' order."""
    largest = np.argsort(-result.weights.mean(axis=0), kind="stable")[:DRAWN_MAX]
    return sorted(int(place) for place in largest)


def _ends(series: Sequence[F64], limit: float) -> tuple[float, float]:
    """Return where an axis begins and ends so that series and limit lie within it."""
    low = min([0.0, *(float(values.min()) for values in series if len(values))])
    high = max([limit, *(float(values.max()) for values in series if len(values))])
    margin = (high - low) * 0.05
    return (low - margin if low < 0.0 else 0.0), high + margin


def _matrix(head: str, told: JsonObject) -> dict[str, Any]:
    rows = correlation_rows(told)
    return {"heads": (head, *told["names"]), "rows": rows, "empty": any(NOT_COMPUTABLE in row for row in rows)}
