"""What the charts of a session hold: thinned lines, every fill, both equities on one axis."""

from dataclasses import replace

import numpy as np
import pytest
from tests.builders import an_instrument, some_bars
from tests.unit.report.session_records import a_series, some_fills

from peak_trade.report.session_charts import MARKETS_MAX, charted, session_charts
from peak_trade.report.session_rows import SessionSeries
from peak_trade.report.thinning import MARKED_MAX, POINTS_MAX


def drawn(series, traded_from=None):
    return session_charts(series, 10_000.0, "EUR", traded_from)


def marks(chart) -> dict[str, int]:
    return {r.glyph.marker: len(r.data_source.data["x"]) for r in chart.renderers if type(r.glyph).__name__ == "Scatter"}


def marked(chart, shape: str) -> dict[str, list]:
    return next(r.data_source.data for r in chart.renderers if getattr(r.glyph, "marker", None) == shape)


def lines(chart) -> list[dict[str, np.ndarray]]:
    return [r.data_source.data for r in chart.renderers if type(r.glyph).__name__ == "Line"]


def test_every_fill_is_marked():
    """Purchases and sales differ in shape, and stand at their price where their bar opens."""
    series = a_series()
    chart = drawn(series)["price-chart-0"]

    found = marks(chart)

    assert found["triangle"] == sum(fill.quantity > 0 for fill in series.fills)
    assert found["inverted_triangle"] == sum(fill.quantity < 0 for fill in series.fills)
    first = marked(chart, "triangle")
    assert (first["x"][0], first["y"][0]) == (series.fills[0].bar_ns / 1e6, float(series.fills[0].price))
    assert first["what"][0] == "ma_crossover bought 0.25, stop loss"


def test_decisions_are_marked():
    """Each decision to order stands at the close that it was made on; those that nobody took are crossed out."""
    series = a_series()
    chart = drawn(series)["price-chart-0"]

    decided, crossed = marked(chart, "circle"), marked(chart, "x")

    assert len(decided["x"]) == len(series.orders)
    not_taken = [order for order in series.orders if order.state in ("refused", "rejected", "unknown", "absent")]
    assert len(crossed["x"]) == len(not_taken) > 0
    bars = series.bars["BTC/EUR"]
    place = list(bars.timestamp + bars.timeframe.step_ns).index(int(decided["x"][0] * 1e6))
    assert decided["y"][0] == bars.close[place]
    assert crossed["state"][0] == not_taken[0].state + ": " + not_taken[0].why


def test_long_sessions_are_thinned():
    """However long a session was, its charts have few points, the extremes among them."""
    bars = some_bars(30_000)
    series = a_series(bars, expected=True, fills=some_fills(bars, every=3))

    charts = drawn(series)

    closes = lines(charts["price-chart-0"])[0]
    assert len(closes["x"]) <= POINTS_MAX
    assert closes["close"].min() == bars.close.min()
    found = marks(charts["price-chart-0"])
    assert found["triangle"] + found["inverted_triangle"] == MARKED_MAX
    assert found["circle"] == MARKED_MAX
    equity = lines(charts["equity-chart"])[-1]
    assert len(equity["x"]) <= POINTS_MAX
    assert equity["own"].max() == series.equity.max()
    assert np.nanmax(equity["other"]) == np.nanmax(series.expected)


def test_two_equities_on_one_axis():
    """Both lines stand at the closes of their bars, also where the marks are few; before trading there is neither."""
    bars = some_bars(50)
    full = a_series(bars, expected=True, warmup=10)
    thin = SessionSeries(bars=full.bars, stamps=full.stamps[::13], equity=full.equity[::13], expected=full.expected)

    equity = lines(drawn(thin)["equity-chart"])[-1]

    assert equity["x"][0] == full.stamps[0] / 1e6
    assert np.isin(thin.equity, equity["own"]).all()
    assert np.array_equal(equity["other"], full.expected[10:])


def test_without_expectation():
    """Without an expectation there is one line."""
    assert len(lines(drawn(a_series())["equity-chart"])) == 1
    nothing = a_series(expected=True)
    nothing.expected[:] = np.nan
    assert len(lines(drawn(nothing)["equity-chart"])) == 1


def test_drawdown():
    """It is measured from the highest mark so far, at least the start."""
    bars = some_bars(3)
    closes = bars.timestamp + bars.timeframe.step_ns
    series = SessionSeries(bars={"BTC/EUR": bars}, stamps=closes, equity=np.array([9_000.0, 11_000.0, 9_900.0]))

    assert lines(drawn(series)["drawdown-chart"])[0]["own"] == pytest.approx([-0.1, 0.0, -0.1])


@pytest.mark.parametrize(("low", "number"), [(9_990.0, "0.[0000]%"), (9_900.0, "0.[00]%")])
def test_shallow_drawdown(low, number):
    """A drawdown of a fraction of a per cent is drawn on an axis whose labels differ."""
    series = SessionSeries(stamps=np.array([1, 2]) * 10**9, equity=np.array([10_000.0, low]))

    assert drawn(series)["drawdown-chart"].yaxis[0].formatter.format == number


def test_nothing_to_draw():
    """A session that never marked a bar has no charts, also where bars lay ready; one without bars has its equity."""
    series = a_series()

    assert drawn(SessionSeries()) == {}
    assert drawn(SessionSeries(bars=series.bars)) == {}
    assert list(drawn(SessionSeries(stamps=series.stamps, equity=series.equity))) == ["equity-chart", "drawdown-chart"]


def test_future_is_not_drawn():
    """Bars that the session never reached are not in its charts, and the expectation may end where it ended."""
    bars = some_bars(100)
    full = a_series(bars, expected=True)
    series = replace(full, stamps=full.stamps[:30], equity=full.equity[:30], expected=full.expected[:50], fills=full.fills[:6])

    charts = drawn(series)

    assert len(lines(charts["price-chart-0"])[0]["x"]) == 50
    assert lines(charts["equity-chart"])[-1]["x"][-1] == series.stamps[-1] / 1e6
    late = replace(series, fills=full.fills[:7])
    assert len(lines(drawn(late)["price-chart-0"])[0]["x"]) == 57


def test_one_bar():
    """A session of one bar and one mark has charts with a dot in them."""
    charts = drawn(a_series(some_bars(1), warmup=0))

    assert len(charts) == 3
    assert marks(charts["equity-chart"]) == {"circle": 1}


def test_several_markets():
    """Each market has its own chart with its own fills, up to a limit; all share their time axis."""
    bars = {f"A{number}/EUR": some_bars(40, instrument=an_instrument(f"A{number}/EUR")) for number in range(MARKETS_MAX + 1)}
    marks_of = a_series(bars["A0/EUR"])
    series = SessionSeries(bars=bars, fills=some_fills(bars["A1/EUR"]), stamps=marks_of.stamps, equity=marks_of.equity)

    charts = drawn(series)

    assert [name for name in charts if "price" in name] == [f"price-chart-{number}" for number in range(MARKETS_MAX)]
    assert [sum(marks(chart).values()) for chart in list(charts.values())[:MARKETS_MAX]] == [0, 4, 0, 0, 0, 0]
    assert len({id(chart.x_range) for chart in charts.values()}) == 1
    assert len(charted(series)) == MARKETS_MAX


def test_warmup_is_marked():
    """Where trading begins, every chart has a line."""
    charts = drawn(a_series(), "2024-01-01T20:00:00Z")

    assert {chart.center[-1].location for chart in charts.values()} == {1_704_139_200_000.0}
