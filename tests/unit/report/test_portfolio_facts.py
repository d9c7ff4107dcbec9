"""What a portfolio's report says: parts that add up, correlations, exposure and limits."""

import math
from decimal import Decimal
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import an_instrument, flat_bars, some_terms

from peak_trade.report.charts import TimeAxis
from peak_trade.report.portfolio_facts import apportioned, correlations, exposures, portfolio_facts
from peak_trade.report.portfolio_sheet import correlation_chart, exposure_charts
from peak_trade.research.portfolio import Allotting, Sleeve, Weighing, portfolio
from peak_trade.strategy.base import Strategy
from peak_trade.strategy.buy_and_hold import BuyAndHold


class Sold(Strategy):
    """Short from the first bar on."""

    key: ClassVar[str] = "sold"
    source: ClassVar[str] = "this test"

    def targets(self, bars):
        return np.full(len(bars), -1.0)

    def warmup(self):
        return 0


AMOUNTS = st.floats(-1e9, 1e9, allow_nan=False)


@given(parts=st.lists(AMOUNTS, min_size=1, max_size=12), digits=st.sampled_from([0, 2, 8]))
def test_parts_add_up_in_every_digit(parts, digits):
    """They are the rounded total together, and each is off by less than one of the last digit, and what floats lose."""
    total = math.fsum(parts)
    found = apportioned(parts, total, digits)
    unit = Decimal(1).scaleb(-digits)

    assert sum(found) == Decimal(total).quantize(unit)
    assert all(abs(one - Decimal(part)) <= unit + Decimal("1e-6") for one, part in zip(found, parts, strict=True))


def test_a_total_that_floats_have_moved_is_still_met():
    """Rounding of the account by more than a digit is spread over the parts."""
    assert apportioned([1.0, 2.0], 3.05, 2) == [Decimal("1.03"), Decimal("2.02")]
    assert apportioned([1.0, 2.0], 2.97, 2) == [Decimal("0.99"), Decimal("1.98")]


def test_correlations_are_numpys():
    """And None for what never moved."""
    columns = np.random.default_rng(1).normal(0, 1, (50, 3))
    found = correlations(np.column_stack([columns, np.zeros(50)]))

    assert np.array([row[:3] for row in found[:3]]) == pytest.approx(np.corrcoef(columns.T))
    assert [row[3] for row in found] == [None] * 4 == found[3]
    assert correlations(np.empty((0, 2))) == [[None, None], [None, None]]


def held(prices, **limits):
    """Return a portfolio that holds two symbols from the second bar on, half of the cash each."""
    markets = [flat_bars(prices, instrument=an_instrument(name)) for name in ("BTC/EUR", "ETH/EUR")]
    sleeves = [Sleeve(strategy=BuyAndHold(), symbol=place, weight=0.5) for place in range(2)]
    return portfolio(markets, sleeves, some_terms(), Allotting(weighing=Weighing.GIVEN, every=2, **limits))


def test_exposure_and_limits():
    """Weights bound to a fifth each give two fifths; a price that doubles carries that above the limit."""
    result = held([100.0, 100.0, 100.0, 200.0], symbol_most=0.3, total_most=0.4)
    paths = result.paths()
    gross, net, each = exposures(result, paths)
    told = portfolio_facts(result, ["one", "two"], paths)

    assert gross.tolist() == pytest.approx([0.0, 0.4, 0.4, 8 / 14]) == net.tolist()
    assert each[-1].tolist() == pytest.approx([4 / 14, 4 / 14])
    assert told["limits"]["dates"] == 2
    assert told["limits"]["symbol"] == {"limit": 0.3, "dates": 2, "by_symbol": {"BTC/EUR": 2, "ETH/EUR": 2}, "steps_above": 0}
    assert told["limits"]["total"] == {"limit": 0.4, "dates": 2, "steps_above": 1}
    assert told["limits"]["correlation"]["dates"] == 0
    assert told["exposure"]["most"] == pytest.approx(8 / 14)
    assert told["attribution"]["profit"] == "4000.00000000"
    assert [leg["profit"] for leg in told["attribution"]["legs"]] == ["2000.00000000"] * 2


def test_the_limit_is_drawn_where_it_is():
    """A broken line at the limit, within the axis although nothing comes near it."""
    result = held([100.0, 100.0, 100.0, 100.0], symbol_most=0.1, total_most=0.9)
    axis = TimeAxis.over(result.timestamp / 1e6, 3600.0)
    charts = exposure_charts(result, result.paths(), axis)

    for name, limit in (("exposure-chart", 0.9), ("symbol-chart", 0.1)):
        (line,) = [item for item in charts[name].center if type(item).__name__ == "Span"]
        assert line.location == limit
        assert charts[name].y_range.end > limit


def test_without_equity_there_is_no_exposure():
    """A short that ruins the account: its steps are counted, and nothing is divided by nothing."""
    bars = flat_bars([100.0, 100.0, 300.0, 300.0])
    sold = portfolio([bars], [Sleeve(strategy=Sold(), symbol=0)], some_terms(), Allotting())
    told = portfolio_facts(sold, ["one"], sold.paths())

    assert sold.equity[2] < 0
    assert told["exposure"]["without_equity"] == 2
    assert told["exposure"]["most"] == pytest.approx(1.0)


def test_a_matrix_is_drawn_cell_by_cell():
    """Every known cell once, its value told; the unknown ones are left empty."""
    chart = correlation_chart({"names": ["a", "b"], "cells": [[1.0, None], [-0.25, 1.0]]})
    columns = chart.renderers[0].data_source.data

    assert list(zip(columns["one"], columns["other"], columns["text"], strict=True)) == [
        ("a", "a", "1.00"),
        ("b", "a", "-0.25"),
        ("b", "b", "1.00"),
    ]
