"""Charts as data: numbered by their order on the page."""

import json

from bokeh.plotting import figure

from peak_trade.report.page import drawings


def test_same_charts_same_data():
    """Two pages of the same charts have the same data, though bokeh counts its models on."""
    first, second = (drawings({"here": figure(width=100)}) for _ in range(2))

    assert json.dumps(first) == json.dumps(second)
    assert first["items"][0]["roots"] == {first["documents"]["report"]["roots"][0]["id"]: "here"}
