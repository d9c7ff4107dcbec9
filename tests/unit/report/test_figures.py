"""Numbers as text: units, digits, and what can't be computed."""

from decimal import Decimal

import pytest

from peak_trade.report import figures
from peak_trade.research.metrics import Metrics


def test_every_metric_has_a_name():
    """The table of figures and the metrics of a run are the same set."""
    assert set(figures.FIGURES) == set(Metrics._fields)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("final_equity", 12345.6, "12,345.60 EUR"),
        ("fees_paid", -0.001, "0.00 EUR"),
        ("total_return", -0.12345, "-12.35%"),
        ("max_drawdown", 0.0, "0.00%"),
        ("sharpe", 1.005e12, "1.00e+12"),
        ("num_trades", 1234, "1,234"),
        ("cagr", None, "n/a"),
        ("final_equity", None, "n/a"),
        ("sharpe", float("nan"), "n/a"),
        ("best_of_its_own", 0.5, "0.50"),
    ],
)
def test_figure_text(name, value, text):
    """A metric is written in its unit; one without a value says so and has no unit."""
    assert figures.figure_text(name, value, "EUR") == text


def test_amount_digits():
    """A currency has the digits that matter in it."""
    assert [figures.money(1.5, quote) for quote in ("EUR", "BTC", "JPY")] == ["1.50 EUR", "1.50000000 BTC", "2 JPY"]


def test_label_names_currency():
    """A table's label of an amount names the currency, so that its cells are numbers."""
    assert figures.figure_label("fees_paid", "EUR") == "Fees paid, EUR"
    assert figures.figure_label("sharpe", "EUR") == "Sharpe ratio"


@pytest.mark.parametrize(("level", "digits"), [(20_000.0, 1), (100.0, 2), (0.00001234, 9), (0.0, 1)])
def test_price_digits(level, digits):
    """A price has the tick's digits, and more where the tick would hide it."""
    assert figures.price_digits(level, Decimal("0.1")) == digits


def test_step_digits():
    """Steps at and above one need no digits after the point."""
    assert [figures.step_digits(Decimal(text)) for text in ("0.010", "1", "100", "1E-8")] == [2, 0, 0, 8]


@pytest.mark.parametrize(
    ("value", "text"), [(2, "2"), (2.0, "2"), (0.25, "0.25"), (True, "true"), ("a<b", "a<b"), ([1, {"b": 2}], '[1,{"b":2}]')]
)
def test_value_text(value, text):
    """A parameter reads the same whether the grid wrote 2 or the strategy 2.0."""
    assert figures.value_text(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "n/a"), (0.012, "12 ms"), (3.25, "3.2 s"), (600.0, "10.0 min"), (7_200.0, "2.0 h"), (2e8, "2,314.8 days")],
)
def test_duration(seconds, text):
    """Durations are read in the unit that suits them."""
    assert figures.duration(seconds) == text


def test_plural():
    """One is singular, everything else is not."""
    assert [figures.plural(count, "trade") for count in (0, 1, 2_000)] == ["0 trades", "1 trade", "2,000 trades"]


@pytest.mark.parametrize(
    ("text", "written"), [("1.20", "+1.20"), ("0.01%", "+0.01%"), ("0.00 EUR", "0.00 EUR"), ("-1.20", "-1.20"), ("n/a", "n/a")]
)
def test_signed(text, written):
    """Gains carry a plus; zero and what is not known do not."""
    assert figures.signed(text) == written


def test_session_figures():
    """A session's figures have a label and a unit of their own, and share none with a backtest's."""
    assert figures.figure_label("realized_pnl", "EUR") == "Realised profit, EUR"
    assert figures.figure_number("orders_blocked_risk", 3.0, "EUR") == "3"
    assert set(figures.FIGURES) & set(figures.SESSION_FIGURES) == set()
