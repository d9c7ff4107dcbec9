"""The figures of a run, each by one stated formula; what can't be computed is None, never zero."""

import math
from typing import NamedTuple

from peak_trade.research.kernel import Figures, Tally

#: A deviation or fall smaller than this is the rounding of equity that did not move.
NOISE = 1e-12
#: Days by which a span of time becomes years.
DAYS_PER_YEAR = 365.0


#: Metrics that a sweep does not rank by, because its best is the largest.
LESS_IS_BETTER = ("volatility", "turnover", "fees_paid", "orders_skipped")


class Metrics(NamedTuple):
    """What a run is judged by. Rates and returns are fractions, money is in quote currency.

    Attributes:
        total_return: final equity / starting cash - 1.
        cagr: (final / start) ** (1 / years) - 1; years are days between first open and last close / 365.
        sharpe: mean / standard deviation (one degree of freedom) of bar returns * sqrt(periods per year); no risk-free
            rate (Sharpe, Journal of Portfolio Management 21(1), 1994).
        sortino: mean / root of the sum of squared negative bar returns over the number of all bars * sqrt(periods per
            year), target return zero (Sortino, Price, Journal of Investing 3(3), 1994).
        calmar: cagr / -max_drawdown (Young, Futures, 1991).
        max_drawdown: deepest fall from a peak of equity, zero or negative.
        volatility: standard deviation of bar returns * sqrt(periods per year).
        num_trades: closed round trips, from flat to flat; num_entries counts the positions opened.
        win_rate: share of closed trades with a profit after fees.
        profit_factor: profits / losses of closed trades after fees; None without a loss.
        exposure: share of bars that closed with a position.
        turnover: traded notional / average equity, over the whole run.
        orders_skipped: orders under the venue's minimum, or that no cash was left for.
    """

    final_equity: float
    total_return: float
    cagr: float | None
    sharpe: float | None
    sortino: float | None
    calmar: float | None
    max_drawdown: float
    volatility: float | None
    num_trades: int
    num_entries: int
    win_rate: float | None
    profit_factor: float | None
    exposure: float
    turnover: float | None
    fees_paid: float
    orders_skipped: int

    def figures(self) -> dict[str, float]:
        """Return the metrics that have a value, by name."""
        return {name: float(value) for name, value in self._asdict().items() if value is not None}


def judge(figures: Figures, tally: Tally, *, cash: float, bars: int, step_s: float, periods: float, span_s: float) -> Metrics:
    """Turn raw figures into metrics.

    Args:
        figures: what `kernel.measure` computed.
        tally: what `kernel.simulate` counted.
        cash: starting cash.
        bars: number of bars.
        step_s: length of a bar, seconds.
        periods: bars in a year of trading.
        span_s: seconds from the first open to the last open.
    """
    growth = figures.final_equity / cash
    years = (span_s + step_s) / 86_400.0 / DAYS_PER_YEAR
    cagr = _power(growth, 1.0 / years)
    root = math.sqrt(periods)
    return Metrics(
        final_equity=figures.final_equity,
        total_return=growth - 1.0,
        cagr=cagr,
        sharpe=_ratio(figures.mean * root, figures.deviation, NOISE),
        sortino=_ratio(figures.mean * root, figures.downside, NOISE),
        calmar=None if cagr is None else _ratio(cagr, -figures.drawdown, NOISE),
        max_drawdown=figures.drawdown,
        volatility=None if math.isnan(figures.deviation) else figures.deviation * root,
        num_trades=int(figures.trades),
        num_entries=int(figures.entries),
        win_rate=_ratio(float(figures.wins), float(figures.trades)),
        profit_factor=_ratio(figures.gross_profit, figures.gross_loss),
        exposure=tally.held / bars,
        turnover=_ratio(figures.traded, figures.average_equity),
        fees_paid=figures.fees,
        orders_skipped=int(tally.skipped),
    )


def _ratio(above: float, below: float, noise: float = 0.0) -> float | None:
    return above / below if below > noise and math.isfinite(above) else None


def _power(growth: float, exponent: float) -> float | None:
    """Return growth ** exponent - 1, or None where equity is gone or a short run gives an absurd rate."""
    if growth <= 0.0:
        return None
    logarithm = math.log(growth) * exponent
    return math.expm1(logarithm) if logarithm < 700.0 else None
