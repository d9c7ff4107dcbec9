"""Every metric by its formula: against NumPy on random runs, by hand on small ones, and None where there is no answer."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from tests.builders import START_NS, an_instrument, flat_bars, random_targets, some_bars, some_terms

from peak_trade.model.bar import F64, Timeframe
from peak_trade.model.instrument import KNOWN, Instrument
from peak_trade.research.backtest import Result, backtest, run
from peak_trade.research.kernel import INTERPRETED, compiled
from peak_trade.research.metrics import Metrics
from peak_trade.strategy.buy_and_hold import BuyAndHold

CASH = 10_000.0
YEAR_H = 24 * 365


def run_prices(prices: Sequence[float], targets: Sequence[float] | None = None, **changes: Any) -> Result:
    """Run targets, by default always 1, over bars that each stay at one price."""
    wanted = np.ones(len(prices)) if targets is None else np.array(targets, dtype=np.float64)
    market = {name: changes.pop(name) for name in ("instrument", "timeframe") if name in changes}
    return run(flat_bars(prices, **market), BuyAndHold(), wanted, some_terms(cash=CASH, **changes), INTERPRETED)


def a_run(seed: int, loop: Any = INTERPRETED) -> Result:
    """Return a run with costs, resizing, both sides and exits."""
    terms = some_terms(cash=CASH, fee_bps=15.0, slippage_bps=3.0, sizing="fraction=0.9", stop_loss=0.05)
    levels = (-1.0, -0.4, 0.0, 0.5, 1.0)
    return run(some_bars(400, seed=seed, noise=0.015), BuyAndHold(), random_targets(400, seed, levels), terms, loop)


def profits_of_trades(result: Result) -> tuple[F64, int]:
    """Return the profits of the closed round trips and the number of positions opened, from the fills alone.

    A fill that flips the position is cut in two at zero; between two moments of being flat, cash spent and fees add up.
    """
    rows, lots = [], 0
    lot = float(result.bars.instrument.lot_step)
    for quantity, price, fee in zip(result.fills.quantity, result.fills.price, result.fills.fee, strict=True):
        change = round(quantity / lot)
        parts = [-lots, lots + change] if lots * (lots + change) < 0 else [change]
        rows += [(part, -part * lot * price - fee * abs(part / change)) for part in parts]
        lots += change
    change, flow = (np.array([row[column] for row in rows]) for column in (0, 1))
    flat = np.flatnonzero(np.cumsum(change) == 0)
    ends = np.cumsum(flow)[flat]
    return np.diff(ends, prepend=0.0), len(flat) + (lots != 0)


@pytest.mark.parametrize("loop", [INTERPRETED, compiled()], ids=["interpreted", "compiled"])
@pytest.mark.parametrize("seed", range(8))
def test_every_metric_is_its_formula(seed: int, loop: Any) -> None:
    """On a random run each metric equals its definition written with NumPy."""
    result = a_run(seed, loop)
    equity = result.equity
    levels = np.concatenate([[CASH], equity])
    gains = levels[1:] / levels[:-1] - 1.0
    drawdown = np.min(levels / np.maximum.accumulate(levels) - 1.0)
    cagr = (equity[-1] / CASH) ** (YEAR_H / len(equity)) - 1.0
    profits, entries = profits_of_trades(result)
    held = np.array([np.sum(result.fills.quantity[result.fills.bar <= bar]) for bar in range(len(equity))])
    traded = np.sum(np.abs(result.fills.quantity) * result.fills.price)
    formulas = {
        "final_equity": equity[-1],
        "total_return": equity[-1] / CASH - 1.0,
        "cagr": cagr,
        "sharpe": np.mean(gains) / np.std(gains, ddof=1) * np.sqrt(YEAR_H),
        "sortino": np.mean(gains) / np.sqrt(np.mean(np.minimum(gains, 0.0) ** 2)) * np.sqrt(YEAR_H),
        "calmar": cagr / -drawdown,
        "max_drawdown": drawdown,
        "volatility": np.std(gains, ddof=1) * np.sqrt(YEAR_H),
        "num_trades": len(profits),
        "num_entries": entries,
        "win_rate": np.mean(profits > 0.0),
        "profit_factor": np.sum(profits[profits > 0.0]) / -np.sum(profits[profits <= 0.0]),
        "exposure": np.mean(np.abs(held) > 5e-4),
        "turnover": traded / np.mean(equity),
        "fees_paid": traded * 0.0015,
        "orders_skipped": result.tally.skipped,
    }

    assert formulas.keys() == set(Metrics._fields)
    assert result.metrics._asdict() == pytest.approx(formulas, rel=1e-9)


def test_metrics_of_a_small_run_by_hand() -> None:
    """Bought at 100, then 110, 99 and 121: the figures can be checked on paper."""
    metrics = run_prices([100, 100, 110, 99, 121], timeframe="1d").metrics
    gains = [0.0, 0.0, 0.1, -0.1, 22 / 99]
    mean = 22 / 99 / 5
    deviation = math.sqrt(sum((gain - mean) ** 2 for gain in gains) / 4)

    assert (metrics.final_equity, metrics.total_return) == (12_100.0, pytest.approx(0.21))
    assert metrics.max_drawdown == pytest.approx(-0.1)
    assert metrics.sharpe == pytest.approx(mean / deviation * math.sqrt(365)) == pytest.approx(6.9617, abs=1e-4)
    assert metrics.sortino == pytest.approx(mean / math.sqrt(0.01 / 5) * math.sqrt(365)) == pytest.approx(18.9867, abs=1e-4)
    assert metrics.volatility == pytest.approx(deviation * math.sqrt(365)) == pytest.approx(2.3302, abs=1e-4)
    assert metrics.cagr == pytest.approx(1.21**73 - 1)
    assert metrics.calmar == pytest.approx((1.21**73 - 1) / 0.1)
    assert (metrics.exposure, metrics.turnover) == (0.8, pytest.approx(10_000 / 10_600))
    assert (metrics.num_trades, metrics.num_entries, metrics.win_rate, metrics.profit_factor) == (0, 1, None, None)


def test_metrics_of_trades_by_hand() -> None:
    """Three trades of one unit win 10, lose 20 and win 25 before a fee of 1 % of each fill."""
    prices = [100, 100, 110, 110, 90, 90, 100, 125, 125]
    metrics = run_prices(prices, [1, 0, 1, 0, 0, 1, 0, 0, 0], sizing="quantity=1", fee_bps=100.0).metrics
    wins = (10 - 1.0 - 1.1) + (25 - 1.0 - 1.25)

    assert (metrics.num_trades, metrics.num_entries, metrics.win_rate) == (3, 3, pytest.approx(2 / 3))
    assert metrics.fees_paid == pytest.approx(1.0 + 1.1 + 1.1 + 0.9 + 1.0 + 1.25)
    assert metrics.profit_factor == pytest.approx(wins / (20 + 1.1 + 0.9))
    assert metrics.final_equity == pytest.approx(10_000 + 15 - 6.35)
    assert metrics.exposure == pytest.approx(3 / 9)


def test_the_deepest_fall_counts_from_the_highest_peak_before() -> None:
    """A fall from 150 to 90 is 40 %, deeper than the later one from 200 to 130."""
    metrics = run_prices([100, 100, 150, 90, 200, 130]).metrics

    assert metrics.max_drawdown == pytest.approx(-0.4)


def test_the_first_peak_is_the_starting_cash() -> None:
    """A run that only falls has its whole loss as its deepest fall."""
    metrics = run_prices([100, 100, 90, 80]).metrics

    assert metrics.max_drawdown == pytest.approx(metrics.total_return) == pytest.approx(-0.2)


@pytest.mark.parametrize(
    ("bars", "timeframe", "years"),
    [(365, "1d", 1.0), (YEAR_H, "1h", 1.0), (730, "1d", 2.0), (73, "1d", 0.2)],
)
def test_cagr_counts_years_of_365_days(bars: int, timeframe: str, years: float) -> None:
    """Over exactly one year, first open to last close, the annual rate is the total return; over others its root."""
    metrics = run_prices(np.linspace(100, 130, bars), timeframe=timeframe).metrics

    assert metrics.cagr == pytest.approx((1.0 + metrics.total_return) ** (1.0 / years) - 1.0)
    assert (metrics.cagr == pytest.approx(metrics.total_return)) == (years == 1.0)


def test_cagr_counts_the_time_of_holes() -> None:
    """A hole of 363 days between two bars makes a year of them."""
    stamps = [START_NS, START_NS + 364 * 86_400 * 10**9]
    bars = some_bars(timestamp=stamps, timeframe="1d", open=[100, 100], high=[100, 150], low=[100, 100], close=[100, 150])
    metrics = backtest(bars, BuyAndHold(), some_terms(cash=CASH)).metrics

    assert metrics.cagr == pytest.approx(metrics.total_return) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("instrument", "timeframe", "periods"),
    [
        (KNOWN["BTC/EUR"], "1h", 8_760.0),
        (KNOWN["BTC/EUR"], "1d", 365.0),
        (KNOWN["BTC/EUR"], "15m", 35_040.0),
        (KNOWN["BTC/EUR"], "1w", 365 / 7),
        (KNOWN["SPX/USD"], "1d", 252.0),
        (KNOWN["SPX/USD"], "1h", 252 * 6.5),
        (KNOWN["SPX/USD"], "1w", 365 / 7),
    ],
)
def test_a_year_has_as_many_periods_as_the_market_is_open(instrument: Instrument, timeframe: str, periods: float) -> None:
    """Crypto trades every hour of the year, shares on 252 days; this is what the ratios are annualised by."""
    bars = some_bars(200, instrument=instrument, timeframe=timeframe)
    result = backtest(bars, BuyAndHold(), some_terms(cash=CASH))
    gains = np.diff(result.equity, prepend=CASH) / np.concatenate([[CASH], result.equity[:-1]])

    assert instrument.periods_per_year(Timeframe.parse(timeframe).seconds) == pytest.approx(periods, rel=0.01)
    assert result.metrics.volatility == pytest.approx(np.std(gains, ddof=1) * math.sqrt(periods), rel=0.01)


def test_without_trades_there_is_nothing_to_judge() -> None:
    """A run that did nothing has returns of zero, no ratios and no rates of trades."""
    metrics = run_prices([100, 90, 120, 100], [0, 0, 0, 0]).metrics

    assert metrics == Metrics(
        final_equity=CASH,
        total_return=0.0,
        cagr=0.0,
        sharpe=None,
        sortino=None,
        calmar=None,
        max_drawdown=0.0,
        volatility=0.0,
        num_trades=0,
        num_entries=0,
        win_rate=None,
        profit_factor=None,
        exposure=0.0,
        turnover=0.0,
        fees_paid=0.0,
        orders_skipped=0,
    )


def test_without_a_fall_there_is_no_sortino_and_no_calmar() -> None:
    """Equity that never falls has a Sharpe ratio, but nothing to divide by in the others."""
    metrics = run_prices([100, 100, 110, 120, 120, 120], [1, 1, 1, 0, 0, 0]).metrics

    assert metrics.sharpe is not None
    assert (metrics.sortino, metrics.calmar, metrics.max_drawdown) == (None, None, 0.0)
    assert (metrics.num_trades, metrics.win_rate, metrics.profit_factor) == (1, 1.0, None)


def test_a_rounding_error_is_no_fall() -> None:
    """Buying more at an unchanged price changes nothing, so equity that only rises has no Sortino and no Calmar ratio."""
    metrics = run_prices([1.3, 1.3, 1.625, 1.625, 1.95, 1.95], [0.5, 0.5, 1, 1, 0, 0]).metrics

    assert (metrics.sortino, metrics.calmar) == (None, None)


def test_without_a_win_the_rates_are_zero() -> None:
    """A single losing trade gives a win rate and a profit factor of zero, not None."""
    metrics = run_prices([100, 100, 90, 90], [1, 0, 0, 0], sizing="quantity=1").metrics

    assert (metrics.num_trades, metrics.win_rate, metrics.profit_factor) == (1, 0.0, 0.0)


def test_a_trade_that_breaks_even_is_no_win() -> None:
    """Bought and sold at the same price, a trade counts in the win rate as a loss of nothing."""
    metrics = run_prices([100, 100, 100, 100], [1, 0, 0, 0]).metrics

    assert (metrics.num_trades, metrics.win_rate, metrics.profit_factor) == (1, 0.0, None)


def test_two_bars_are_enough() -> None:
    """The shortest run has all figures; a change within the second bar is its only return."""
    bars = some_bars(open=[100, 100], high=[100, 100], low=[100, 80], close=[100, 80], timeframe="1d")
    metrics = backtest(bars, BuyAndHold(), some_terms(cash=CASH)).metrics

    assert metrics.total_return == pytest.approx(-0.2)
    assert metrics.sharpe == pytest.approx(-0.1 / math.sqrt(0.02) * math.sqrt(365))
    assert metrics.cagr == pytest.approx(0.8**182.5 - 1.0)


def test_equity_below_zero_has_no_annual_rate() -> None:
    """A short that lost more than everything has a total return below -1, and no cagr or calmar."""
    metrics = run_prices([100, 100, 350, 350], [-1, -1, -1, -1]).metrics

    assert (metrics.final_equity, metrics.total_return) == (-15_000.0, -2.5)
    assert (metrics.cagr, metrics.calmar, metrics.turnover) == (None, None, None)
    assert metrics.max_drawdown == -2.5


def test_returns_after_ruin_count_as_none() -> None:
    """From an equity of zero or less no return can be measured; such bars count as zero."""
    metrics = run_prices([100, 100, 200, 200, 200], [-1, -1, -1, -1, -1], timeframe="1d").metrics
    gains = [0.0, 0.0, -1.0, 0.0, 0.0]

    assert metrics.final_equity == 0.0
    assert metrics.sharpe == pytest.approx(np.mean(gains) / np.std(gains, ddof=1) * math.sqrt(365))


def test_an_absurd_annual_rate_is_none() -> None:
    """Two bars of a second that double the price would give a rate that no float can hold."""
    metrics = run_prices([1, 1, 3], timeframe="1s").metrics

    assert metrics.total_return == pytest.approx(2.0)
    assert (metrics.cagr, metrics.calmar) == (None, None)


def test_figures_hold_what_has_a_value() -> None:
    """Metrics without a value are left out, the others are floats."""
    metrics = run_prices([100, 100, 110], [0, 0, 0]).metrics
    figures = metrics.figures()

    assert {"sharpe", "sortino", "calmar", "win_rate", "profit_factor"}.isdisjoint(figures)
    assert figures["num_trades"] == 0.0
    assert all(type(value) is float for value in figures.values())


def test_skipped_orders_are_reported() -> None:
    """An order under the minimum is seen in the metrics."""
    metrics = run_prices([100, 100, 100], [1, 0.99, 0.99], instrument=an_instrument(min_notional="500")).metrics

    assert (metrics.num_entries, metrics.orders_skipped) == (1, 1)
