"""What the charts hold: thinned lines, every mark, the right cells."""

import numpy as np
from tests.builders import some_bars
from tests.unit.report.records import a_result

from peak_trade.report.charts import (
    TimeAxis,
    colour_ends,
    drawdown_chart,
    equity_chart,
    heat_chart,
    price_chart,
    step_line_chart,
)
from peak_trade.report.ranking import landscape
from peak_trade.report.thinning import POINTS_MAX
from peak_trade.report.trade_rows import marked_rows

MARKS = ("triangle", "inverted_triangle", "circle", "x")


def marks(chart) -> dict[str, int]:
    """Return how many marks of each shape a chart has."""
    found = {r.glyph.marker: len(r.data_source.data["x"]) for r in chart.renderers if type(r.glyph).__name__ == "Scatter"}
    return {name: found[name] for name in MARKS}


def line(chart) -> dict[str, np.ndarray]:
    return next(r.data_source.data for r in chart.renderers if type(r.glyph).__name__ == "Line")


def test_long_lines_are_thinned():
    """A long run is drawn with few points, the extremes among them, on the times of their bars."""
    result = a_result([1.0], some_bars(20_000))
    axis = TimeAxis.of(result)

    prices = line(price_chart(result, marked_rows(result, result.trades()), axis))
    equity = line(equity_chart(result, result, axis))

    assert len(prices["x"]) <= POINTS_MAX
    assert len(equity["x"]) <= POINTS_MAX
    assert (prices["close"].min(), prices["close"].max()) == (result.bars.close.min(), result.bars.close.max())
    assert (equity["own"].min(), equity["own"].max()) == (result.equity.min(), result.equity.max())
    lowest = np.argmin(result.bars.close)
    assert prices["x"][np.argmin(prices["close"])] == result.bars.timestamp[lowest] / 1e6


def test_short_lines_are_whole():
    """A run of at most as many bars as a drawing may have points is drawn bar by bar."""
    result = a_result([1.0], some_bars(POINTS_MAX))
    axis = TimeAxis.of(result)

    assert len(line(price_chart(result, [], axis))["x"]) == POINTS_MAX
    assert len(line(equity_chart(result, result, axis))["x"]) == POINTS_MAX


def test_charts_share_time():
    """All three charts pan together."""
    result = a_result()
    axis = TimeAxis.of(result)

    charts = [price_chart(result, [], axis), equity_chart(result, result, axis), drawdown_chart(result, result, axis)]

    assert len({id(chart.x_range) for chart in charts}) == 1


def test_every_trade_is_marked():
    """Entries by side and exits by outcome add up to the trades, and an open trade has no exit."""
    result = a_result([1.0, 0.0, -1.0, 0.0] * 20 + [1.0], some_bars(100))
    trades = result.trades()

    found = marks(price_chart(result, marked_rows(result, trades), TimeAxis.of(result)))

    assert found["triangle"] == sum(trade.side > 0 for trade in trades)
    assert found["inverted_triangle"] == sum(trade.side < 0 for trade in trades)
    assert found["circle"] == sum(trade.profit is not None and trade.profit > 0 for trade in trades)
    assert found["circle"] + found["x"] == len(trades) - 1


def test_heat_cells():
    """Cells with a value are drawn at their step with their text, and the best is outlined."""
    rows = [({"a": 1, "b": 1}, {"sharpe": 0.5}), ({"a": 2, "b": 2}, {"sharpe": 1.5}), ({"a": 2, "b": 1}, {"sharpe": None})]
    land = landscape({"a": [1, 2], "b": [1, 2]}, rows, "sharpe")

    cells, *outlines = heat_chart(land, land.up, "sharpe", "EUR").renderers

    assert list(zip(*(cells.data_source.data[name] for name in ("x", "y", "value", "text")), strict=True)) == [
        (0.0, 0.0, 0.5, "0.50"),
        (1.0, 1.0, 1.5, "1.50"),
    ]
    assert [(list(r.data_source.data["x"]), list(r.data_source.data["y"])) for r in outlines] == [([1], [1])] * 2


def test_heat_without_values():
    """A sweep without any value draws an empty map."""
    land = landscape({"a": [1, 2], "b": [1, 2]}, [({"a": 1, "b": 1}, {"sharpe": None})], "sharpe")

    assert len(heat_chart(land, land.up, "sharpe", "EUR").renderers) == 1
    assert colour_ends(land) == (0.0, 0.0)


def test_line_has_gaps():
    """A value without a figure is a gap in the line."""
    rows = [({"a": a}, {"sharpe": value}) for a, value in ((1, 0.5), (2, None), (3, 1.5))]
    chart = step_line_chart(landscape({"a": [1, 2, 3]}, rows, "sharpe"), "sharpe", "EUR")

    assert np.array_equal(line(chart)["y"], [0.5, np.nan, 1.5], equal_nan=True)


def test_long_line_is_thinned():
    """Thousands of values of one parameter are thinned as a time series is."""
    values = list(range(POINTS_MAX + 1_000))
    rows = [({"a": a}, {"sharpe": float(a % 97)}) for a in values]

    drawn = line(step_line_chart(landscape({"a": values}, rows, "sharpe"), "sharpe", "EUR"))

    assert len(drawn["y"]) <= POINTS_MAX
    assert drawn["y"].max() == 96.0
