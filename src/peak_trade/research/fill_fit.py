"""The coefficients of the fill model, measured from recorded books and trades, and how wrong they are.

Two kinds of orders are costed:

- *walked*: at each second a market order takes the levels of the recorded book; its cost is counted from the middle of the
  spread. This is what an order pays at once.
- *followed*: an order takes the recorded trades as they come until it is filled; its cost is counted from the last price before
  it. This is what an order pays that is worked through a market moving meanwhile. Both sides are costed, because nobody knows
  which one an order will be on.

Sizes are shares of the volume of the order's bar. A quantile regression (Koenker, Bassett 1978) of the cost on the volatility
times the root of that share gives, for each recording, half spread and impact such that a stated share of orders costs no more.
The model takes the largest of both over all recordings. Orders of one recording overlap, so that they are far fewer than their
number says: no interval is given, but the error on the other half of the time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from peak_trade.market.books import BookTape, looks, walked
from peak_trade.market.trades import RawTrades
from peak_trade.model.bar import F64, I64
from peak_trade.model.errors import DataError
from peak_trade.model.fill_model import FillModel, range_volatility

SECOND_NS = 1_000_000_000
#: Bars are the shortest of these that hold so many trades, by their median.
BAR_SECONDS = (60, 300, 900, 3_600)
TRADES_PER_BAR = 30
#: Orders as shares of the bar's volume.
SHARES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2)
#: Followed orders that begin in each bar, evenly.
STARTS = 10
#: Fewer orders say nothing about a tail.
ORDERS_MIN = 200


class TradeBars(NamedTuple):
    """Bars of single trades, each column of shape (bars,): open times, volume, volatility; bars without a trade are absent."""

    step_ns: int
    opened: I64
    volume: F64
    volatility: F64


class OrderCosts(NamedTuple):
    """Costed orders in order of time: when, share of the bar's volume, bar volatility and cost (bps, positive is worse)."""

    name: str
    kind: str
    bar_s: int
    at_ns: I64
    share: F64
    volatility: F64
    cost: F64

    @property
    def weight(self) -> F64:
        """The regressor: volatility times the root of the share, basis points."""
        return self.volatility * np.sqrt(self.share)


class CostLine(NamedTuple):
    """A fitted line: cost = half_spread_bps + impact * weight, both at zero or more."""

    half_spread_bps: float
    impact: float

    def at(self, weight: F64) -> F64:
        """Return the cost at these weights, basis points."""
        return self.half_spread_bps + self.impact * weight


@dataclass(frozen=True, slots=True, kw_only=True)
class FillError:
    """A recording's line, and what it is worth on the later half of it after being fitted on the earlier one.

    Attributes:
        exceeded: share of the later orders that cost more than the line of the earlier half says; stated is 1 - quantile.
        mean_cost_bps, mean_error_bps: mean cost of the later orders, and a least-squares line's mean less that.
        mean_absolute_bps: mean absolute error of that least-squares line.
        exponent: power of the share that fits mean costs best, for comparison with one half; None where none does.
        shipped_exceeded: share of all orders of the recording that cost more than the model over all recordings says.
    """

    name: str
    kind: str
    bar_s: int
    orders: int
    line: CostLine
    exceeded: float
    mean_cost_bps: float
    mean_error_bps: float
    mean_absolute_bps: float
    exponent: float | None
    shipped_exceeded: float

    def to_json(self) -> dict[str, Any]:
        """Return the figures as a JSON object."""
        named = {name: getattr(self, name) for name in self.__slots__ if name != "line"}
        return named | self.line._asdict()


@dataclass(frozen=True, slots=True, kw_only=True)
class FillFit:
    """A model and the error of each recording that it comes from."""

    model: FillModel
    errors: tuple[FillError, ...]


def bars_of(trades: RawTrades) -> TradeBars:
    """Put trades into the shortest bars of which the median one holds enough; the first and the last, cut ones are left out."""
    for seconds in BAR_SECONDS:
        step = seconds * SECOND_NS
        opened, first, count = np.unique(trades.timestamp // step * step, return_index=True, return_counts=True)
        if np.median(count) >= TRADES_PER_BAR or seconds == BAR_SECONDS[-1]:
            break
    if len(opened) < 4:
        raise DataError(
            "short",
            f"{trades.name}: expected trades over at least 4 bars, found {len(opened)} of {seconds} s; record for longer",
        )
    volume = np.add.reduceat(trades.volume, first)
    high, low = np.maximum.reduceat(trades.price, first), np.minimum.reduceat(trades.price, first)
    volatility = np.array([range_volatility(top, least) for top, least in zip(high.tolist(), low.tolist(), strict=True)])
    # A recording begins and ends within a bar.
    return TradeBars(step, opened[1:-1], volume[1:-1], volatility[1:-1])


def walked_costs(tape: BookTape, bars: TradeBars) -> OrderCosts:
    """Cost market orders against a recorded book, one of each size and side a second; the bars are of the same market."""
    rows: list[tuple[int, float, float, float]] = []
    for look in looks(tape, SECOND_NS):
        place = int(np.searchsorted(bars.opened, look.at_ns, side="right")) - 1
        if place < 0 or look.at_ns >= bars.opened[place] + bars.step_ns:
            continue
        middle = (look.bids[0][0] + look.asks[0][0]) / 2.0
        volume, volatility = float(bars.volume[place]), 1e4 * float(bars.volatility[place])
        for share in SHARES:
            for sign, levels in ((1.0, look.asks), (-1.0, look.bids)):
                price = walked(levels, share * volume)
                if price is not None:
                    rows.append((look.at_ns, share, volatility, 1e4 * sign * (price / middle - 1.0)))
    return _costs(rows, tape.name, "walked", bars)


def followed_costs(trades: RawTrades, bars: TradeBars) -> OrderCosts:
    """Cost orders that take the recorded trades as they come, on both sides, from evenly spread moments of every bar."""
    filled = np.concatenate([[0.0], np.cumsum(trades.volume)])
    spent = np.concatenate([[0.0], np.cumsum(trades.volume * trades.price)])
    rows: list[tuple[int, float, float, float]] = []
    for opened, volume, volatility in zip(bars.opened.tolist(), bars.volume.tolist(), bars.volatility.tolist(), strict=True):
        for start in range(STARTS):
            at_ns = opened + bars.step_ns * start // STARTS
            first = int(np.searchsorted(trades.timestamp, at_ns))
            if first == 0:
                continue
            before = float(trades.price[first - 1])
            for share in SHARES:
                wanted = filled[first] + share * volume
                last = int(np.searchsorted(filled, wanted)) - 1
                if last >= len(trades.price):
                    continue
                cost = spent[last] - spent[first] + (wanted - filled[last]) * float(trades.price[last])
                move = 1e4 * (cost / (share * volume) / before - 1.0)
                rows += [(at_ns, share, 1e4 * volatility, move), (at_ns, share, 1e4 * volatility, -move)]
    return _costs(rows, trades.name, "followed", bars)


def _costs(rows: list[tuple[int, float, float, float]], name: str, kind: str, bars: TradeBars) -> OrderCosts:
    if len(rows) < ORDERS_MIN:
        raise DataError(
            "short",
            f"{name}: expected at least {ORDERS_MIN} orders to cost, found {len(rows)}; give a longer recording, or "
            "trades of the same time as the book",
        )
    columns = list(zip(*rows, strict=True))
    times = np.array(columns[0], dtype=np.int64)
    share, volatility, cost = (np.array(column) for column in columns[1:])
    return OrderCosts(name, kind, bars.step_ns // SECOND_NS, times, share, volatility, cost)


def fitted(weight: F64, cost: F64, quantile: float | None) -> CostLine:
    """Fit a line: by quantile regression, or by least squares where no quantile is given; neither part goes below zero."""
    from statsmodels.api import OLS, QuantReg

    def solved(columns: F64) -> F64:
        found = OLS(cost, columns).fit() if quantile is None else QuantReg(cost, columns).fit(q=quantile, max_iter=5_000)
        return np.asarray(found.params)

    half, impact = solved(np.column_stack([np.ones_like(weight), weight]))
    if half < 0.0:
        half, impact = 0.0, solved(weight[:, None])[0]
    elif impact < 0.0:
        half, impact = (float(np.mean(cost)) if quantile is None else float(np.quantile(cost, quantile))), 0.0
    return CostLine(max(float(half), 0.0), max(float(impact), 0.0))


def fit_fills(recordings: Sequence[OrderCosts], quantile: float, source: str) -> FillFit:
    """Fit the model over recordings, and measure the error of each: fitted on its earlier half, looked at in the later one."""
    lines = [fitted(item.weight, item.cost, quantile) for item in recordings]
    model = FillModel(
        half_spread_bps=_rounded_up(max(line.half_spread_bps for line in lines)),
        impact=_rounded_up(max(line.impact for line in lines)),
        quantile=quantile,
        source=source,
    )
    shipped = CostLine(model.half_spread_bps, model.impact)
    return FillFit(
        model=model,
        errors=tuple(_error(item, line, quantile, shipped) for item, line in zip(recordings, lines, strict=True)),
    )


def _rounded_up(value: float) -> float:
    """Return a coefficient with three digits after the point, never smaller, so that machines agree on it."""
    return float(np.ceil(round(value * 1e3, 3)) / 1e3)


def _error(item: OrderCosts, line: CostLine, quantile: float, shipped: CostLine) -> FillError:
    middle = int(item.at_ns[0] + (item.at_ns[-1] - item.at_ns[0]) // 2)
    early = item.at_ns < middle
    weight, cost = item.weight, item.cost
    upper = fitted(weight[early], cost[early], quantile)
    mean = fitted(weight[early], cost[early], None)
    later, paid = weight[~early], cost[~early]
    error = mean.at(later) - paid
    return FillError(
        name=item.name,
        kind=item.kind,
        bar_s=item.bar_s,
        orders=len(cost),
        line=line,
        exceeded=float(np.mean(paid > upper.at(later))),
        mean_cost_bps=float(np.mean(paid)),
        mean_error_bps=float(np.mean(error)),
        mean_absolute_bps=float(np.mean(np.abs(error))),
        exponent=_exponent(item, quantile),
        shipped_exceeded=float(np.mean(cost > shipped.at(weight))),
    )


def _exponent(item: OrderCosts, quantile: float) -> float | None:
    """Return the slope of the logarithm of the stated quantile of the cost, in volatilities, over that of the share."""
    moved = item.volatility > 0.0
    levels = []
    for share in SHARES:
        mine = moved & (item.share == share)
        levels.append(float(np.quantile(item.cost[mine] / item.volatility[mine], quantile)) if mine.any() else 0.0)
    if min(levels) <= 0.0:
        return None
    return float(np.polyfit(np.log(SHARES), np.log(levels), 1)[0])
