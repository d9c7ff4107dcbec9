"""How a figure is called and written: the one place for labels, units, digits and for what can't be computed.

Invariant: a figure without a value is written as `NOT_COMPUTABLE`, never as zero, and its reason can be told.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, unique
from typing import Any

from peak_trade.journal.run import plain_json

#: Stands in a cell for what can't be computed; the reason stands below the table.
NOT_COMPUTABLE = "n/a"
#: From here on a number is read faster by its exponent than by its digits.
_EXPONENT_FROM = 1e9
#: Digits after the point of an amount; most currencies have cents.
_MONEY_DIGITS = {"BTC": 8, "ETH": 6, "JPY": 0, "KRW": 0}
#: A price shows at least this many digits that matter, so that a coin of 0.00001234 is not shown as 0.00.
_PRICE_DIGITS = 5


@unique
class Unit(Enum):
    """What a number counts, and so how it is written."""

    MONEY = "money"
    PERCENT = "percent"
    RATIO = "ratio"
    COUNT = "count"


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric's name in a record, its label, its unit, and why it may have no value."""

    name: str
    label: str
    unit: Unit
    missing: str


_GROWTH = "equity ended at or below zero, or the run is too short for a yearly rate"

FIGURES: Mapping[str, Figure] = {
    figure.name: figure
    for figure in (
        Figure("final_equity", "Final equity", Unit.MONEY, "it was not recorded"),
        Figure("total_return", "Total return", Unit.PERCENT, "it was not recorded"),
        Figure("cagr", "Growth per year (CAGR)", Unit.PERCENT, _GROWTH),
        Figure("sharpe", "Sharpe ratio", Unit.RATIO, "equity never moved"),
        Figure("sortino", "Sortino ratio", Unit.RATIO, "equity never fell"),
        Figure("calmar", "Calmar ratio", Unit.RATIO, "there is no growth per year, or equity never fell"),
        Figure("max_drawdown", "Deepest drawdown", Unit.PERCENT, "it was not recorded"),
        Figure("volatility", "Volatility per year", Unit.PERCENT, "there are too few bars"),
        Figure("num_trades", "Closed trades", Unit.COUNT, "it was not recorded"),
        Figure("num_entries", "Positions opened", Unit.COUNT, "it was not recorded"),
        Figure("win_rate", "Trades with a profit", Unit.PERCENT, "no trade was closed"),
        Figure("profit_factor", "Profit factor", Unit.RATIO, "no closed trade lost money"),
        Figure("exposure", "Time in the market", Unit.PERCENT, "it was not recorded"),
        Figure("turnover", "Turnover (times equity)", Unit.RATIO, "the average equity is not above zero"),
        Figure("fees_paid", "Fees paid", Unit.MONEY, "it was not recorded"),
        Figure("orders_skipped", "Orders skipped", Unit.COUNT, "it was not recorded"),
    )
}


_PRICED = "no price was known when the session ended"

#: What only sessions have.
SESSION_FIGURES: Mapping[str, Figure] = {
    figure.name: figure
    for figure in (
        Figure("start_equity", "Equity at the start", Unit.MONEY, "it was not recorded"),
        Figure("realized_pnl", "Realised profit", Unit.MONEY, "it was not recorded"),
        Figure("unrealized_pnl", "Unrealised profit", Unit.MONEY, _PRICED),
        Figure("traded_notional", "Traded notional", Unit.MONEY, "it was not recorded"),
        Figure("num_bars", "Bars seen", Unit.COUNT, "it was not recorded"),
        Figure("num_decisions", "Decisions", Unit.COUNT, "it was not recorded"),
        Figure("num_orders", "Orders sent", Unit.COUNT, "it was not recorded"),
        Figure("num_fills", "Fills", Unit.COUNT, "it was not recorded"),
        Figure("orders_filled", "Orders filled", Unit.COUNT, "it was not recorded"),
        Figure("orders_rejected", "Orders rejected by the venue", Unit.COUNT, "it was not recorded"),
        Figure("orders_cancelled", "Orders cancelled", Unit.COUNT, "it was not recorded"),
        Figure("orders_unknown", "Orders of unknown outcome", Unit.COUNT, "it was not recorded"),
        Figure("orders_blocked_risk", "Orders blocked by limits", Unit.COUNT, "it was not recorded"),
        Figure("orders_warned", "Orders let through with a warning", Unit.COUNT, "it was not recorded"),
        Figure("incidents", "Incidents", Unit.COUNT, "it was not recorded"),
        Figure("orders_checked", "Orders that the exchange was asked about", Unit.COUNT, "it was not recorded"),
        Figure("order_success_rate", "Of these called valid", Unit.PERCENT, "no order was asked about"),
        Figure("check_latency_p50_ms", "Answer time, median, ms", Unit.RATIO, "no order was asked about"),
        Figure("check_latency_p99_ms", "Answer time, 99th percentile, ms", Unit.RATIO, "no order was asked about"),
        Figure("slippage_vs_book_bps", "Simulated fill worse than the book, bps", Unit.RATIO, "nothing was filled"),
    )
}


_ASKED = "it was not asked"

#: What only verdicts, robustness and walk-forwards have.
RESEARCH_FIGURES: Mapping[str, Figure] = {
    figure.name: figure
    for figure in (
        Figure("edge", "Edge shown (1: yes, 0: no)", Unit.COUNT, _ASKED),
        Figure("tried", "Trials that count", Unit.COUNT, _ASKED),
        Figure("tried_effective", "Independent trials they amount to", Unit.RATIO, _ASKED),
        Figure("trades", "Closed trades that count", Unit.COUNT, _ASKED),
        Figure("length", "Length, years", Unit.RATIO, _ASKED),
        Figure("psr", "Probabilistic Sharpe ratio", Unit.PERCENT, _ASKED),
        Figure("dsr", "Deflated Sharpe ratio", Unit.PERCENT, _ASKED),
        Figure("min_track_record", "Minimum track record, years", Unit.RATIO, "it is below what chance shows"),
        Figure("spa_cash", "Superior to cash, p-value", Unit.PERCENT, _ASKED),
        Figure("spa_market", "Superior to holding the market, p-value", Unit.PERCENT, _ASKED),
        Figure("pbo", "Probability of overfitting", Unit.PERCENT, "there was no choice"),
        Figure("robust", "Robust (1: yes, 0: no)", Unit.COUNT, _ASKED),
        Figure("histories", "Histories with a loss", Unit.PERCENT, _ASKED),
        Figure("trade_order", "Drawdown in other orders of the trades", Unit.PERCENT, "there are too few trades"),
        Figure("near_sign", "Neighbours that earn too", Unit.PERCENT, "there is no neighbour"),
        Figure("near_half", "Neighbours with half the Sharpe ratio", Unit.PERCENT, "there is no neighbour"),
        Figure("costs", "At higher costs", Unit.RATIO, _ASKED),
        Figure("family", "Best of several markets (Holm), p-value", Unit.PERCENT, "it was tried on one market alone"),
        Figure("delay", "Sharpe ratio left after a bar of delay", Unit.PERCENT, _ASKED),
        Figure("skips", "Sharpe ratio left with missed fills", Unit.PERCENT, _ASKED),
        Figure("efficiency", "Walk-forward efficiency", Unit.PERCENT, "the train stretches did not grow"),
        Figure("metric_efficiency", "Efficiency by what chose", Unit.PERCENT, "the train stretches did not grow"),
        Figure("train_metric", "What chose, mean of train stretches", Unit.RATIO, _ASKED),
        Figure("test_metric", "What chose, mean of test stretches", Unit.RATIO, _ASKED),
        Figure("windows", "Windows", Unit.COUNT, _ASKED),
        Figure("windows_with_profit", "Windows with a profit", Unit.PERCENT, _ASKED),
    )
}


def figure_of(name: str) -> Figure:
    """Return a metric by name; one that this page does not know is a ratio under its own name."""
    known = FIGURES.get(name) or SESSION_FIGURES.get(name) or RESEARCH_FIGURES.get(name)
    return known or Figure(name, name, Unit.RATIO, "it was not recorded")


def figure_label(name: str, quote: str) -> str:
    """Return a metric's label for the head of a row or column, with the currency of an amount."""
    figure = figure_of(name)
    return f"{figure.label}, {quote}" if figure.unit is Unit.MONEY else figure.label


def figure_text(name: str, value: float | None, quote: str) -> str:
    """Write a metric's value in its unit, an amount with its currency."""
    return money(value, quote) if figure_of(name).unit is Unit.MONEY else figure_number(name, value, quote)


def figure_number(name: str, value: float | None, quote: str) -> str:
    """Write a metric's value for a table whose head names the currency."""
    match figure_of(name).unit:
        case Unit.MONEY:
            return amount(value, quote)
        case Unit.PERCENT:
            return percent(value)
        case Unit.RATIO:
            return decimal(value, 2)
        case Unit.COUNT:
            return decimal(value, 0)


def money(value: float | None, quote: str) -> str:
    """Write an amount with its currency: `12,345.60 EUR`."""
    text = amount(value, quote)
    return text if text == NOT_COMPUTABLE else f"{text} {quote}"


def amount(value: float | None, quote: str) -> str:
    """Write an amount whose currency stands in the heading."""
    return decimal(value, money_digits(quote))


def money_digits(quote: str) -> int:
    """Return the digits after the point of an amount in that currency."""
    return _MONEY_DIGITS.get(quote, 2)


def percent(fraction: float | None, digits: int = 2) -> str:
    """Write a fraction as a percentage: 0.1234 gives `12.34%`."""
    text = decimal(None if fraction is None else fraction * 100.0, digits)
    return text if text == NOT_COMPUTABLE else f"{text}%"


def signed(text: str) -> str:
    """Put a plus before a written number above zero: `+1.20`; zero, negative ones and texts stay as they are."""
    return f"+{text}" if text[:1].isdigit() and any(digit in text for digit in "123456789") else text


def decimal(value: float | None, digits: int) -> str:
    """Write a number with thousands separators and a fixed count of digits after the point; never `-0.00`."""
    if value is None or not math.isfinite(value):
        return NOT_COMPUTABLE
    return f"{value:.2e}" if abs(value) >= _EXPONENT_FROM else f"{value:z,.{digits}f}"


def step_digits(step: Decimal) -> int:
    """Return the digits after the point that multiples of *step* need: 0.01 gives 2."""
    exponent = step.normalize().as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0


def price_digits(level: float, tick: Decimal) -> int:
    """Return the digits after the point for prices around *level*, at least those of the tick."""
    digits = step_digits(tick)
    return min(max(digits, _PRICE_DIGITS - 1 - math.floor(math.log10(level))), 12) if level > 0.0 else digits


def value_text(value: Any) -> str:
    """Write a parameter's value: texts as they are, whole numbers without a point, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return plain_json(value)


def plural(count: int, one: str, many: str = "") -> str:
    """Write a count with its noun: `1 trade`, `2,000 trades`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def duration(seconds: float | None) -> str:
    """Write how long something took."""
    if seconds is None:
        return NOT_COMPUTABLE
    if seconds < 1.0:
        return f"{seconds * 1_000:.0f} ms"
    for limit, unit, name in ((120.0, 1.0, "s"), (7_200.0, 60.0, "min"), (172_800.0, 3_600.0, "h")):
        if seconds < limit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds / 86_400.0:,.1f} days"
