"""The charts of research: what they draw is what the tables say."""

import numpy as np
import pytest
from tests.builders import some_bars, some_terms

from peak_trade.report.charts import TimeAxis
from peak_trade.report.research_charts import neighbour_cells, neighbour_chart, tried_chart, window_chart, window_growth
from peak_trade.research.splits import Length, WalkPlan, walk_windows
from peak_trade.research.walk_forward import Journey, walk_forward

NEAR = {
    "params": {"fast_window": 10, "slow_window": 60, "name": "x"},
    "metrics": {"sharpe": 1.5},
    "neighbours": [
        {"name": "fast_window", "value": 8, "sharpe": 1.0},
        {"name": "fast_window", "value": 12, "sharpe": None},
        {"name": "slow_window", "value": 80, "sharpe": -0.5},
    ],
}


@pytest.fixture(scope="module")
def journey() -> Journey:
    """A walk over hourly bars in windows of two hundred."""
    bars = some_bars(900, seed=7, gap=0.001)
    plan = WalkPlan(
        train=Length.parse("300", "train", zero=True),
        test=Length.parse("200", "test", zero=True),
        embargo=Length.parse("0", "embargo", zero=True),
        anchored=False,
    )
    windows = walk_windows(bars.timestamp, bars.timeframe.step_ns, plan)
    grid = [{"fast_window": fast, "slow_window": 30} for fast in (5, 10)]
    return walk_forward(bars, "ma_crossover", grid, some_terms(), windows, "sharpe")


def test_each_window_ends_where_its_row_says(journey):
    """The growth within a test stretch begins at zero, has a point for each bar, and ends at the growth of the window's row."""
    found = window_growth(journey)

    assert len(found) == len(journey.windows) == 3
    for growth, walked in zip(found, journey.windows, strict=True):
        assert growth[0] == 0.0
        assert len(growth) == walked.window.test.bars + 1
        assert growth[-1] == pytest.approx(walked.growth, abs=1e-12)


def test_every_window_has_a_line(journey):
    """Windows are drawn in turn by two glyphs of other widths, each line with its window's number."""
    record = {"windows": [{"params": dict(walked.params)} for walked in journey.windows]}
    chart = window_chart(record, journey, TimeAxis.of(journey.result))
    lines = [renderer.data_source.data for renderer in chart.renderers]

    assert [data["window"] for data in lines] == [["1", "3"], ["2"]]
    assert [renderer.glyph.line_width for renderer in chart.renderers] == [2.0, 1.25]
    for data in lines:
        assert [len(x) for x in data["xs" if "xs" in data else "x"]] == [len(y) for y in data["ys" if "ys" in data else "y"]]


def test_own_values_stand_in_the_middle():
    """Each parameter with neighbours has a row: its own value at step zero with the backtest's ratio, others beside it."""
    assert neighbour_cells(NEAR) == {
        "fast_window": [(-1, "8", 1.0), (0, "10", 1.5), (1, "12", None)],
        "slow_window": [(0, "60", 1.5), (1, "80", -0.5)],
    }


def test_cells_say_value_and_ratio():
    """A cell without a ratio says so in words and has a colour of its own."""
    data = neighbour_chart(NEAR).renderers[0].data_source.data

    assert data["text"] == ["8: 1.00", "10: 1.50", "12: n/a", "60: 1.50", "80: -0.50"]
    assert np.isnan(data["ratio"][2])


def test_trials_begin_at_none():
    """The picture begins a day before the first trial, with none, and ends with all."""
    chart = tried_chart([{"day": "2026-01-01", "total": 4, "different": 3}, {"day": "2026-01-05", "total": 9, "different": 5}])
    data = chart.renderers[0].data_source.data

    assert data["own"].tolist() == [0.0, 3.0, 5.0]
    assert data["other"].tolist() == [0.0, 4.0, 9.0]
    assert np.diff(data["x"]).tolist() == [86_400_000.0, 4 * 86_400_000.0]
