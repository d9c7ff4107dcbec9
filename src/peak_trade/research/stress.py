"""What is left of a result when the world is a little different: other costs, later or missing fills, other parameters, luck.

Invariant: everything drawn comes from the seed; the same backtest and seed give the same numbers.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from peak_trade.model.bar import F64
from peak_trade.model.errors import StrategyError
from peak_trade.model.fill_model import IMPACT_MAX
from peak_trade.research.backtest import Result, backtest, run
from peak_trade.research.bootstrap import Histories, block_length, deepest, histories
from peak_trade.research.kernel import loop_for
from peak_trade.research.probe import Probe, probe
from peak_trade.research.terms import Terms
from peak_trade.research.trial_returns import gains
from peak_trade.strategy.base import Strategy, checked_targets
from peak_trade.strategy.catalogue import Value, make

#: Points that drawn histories have: enough for a drawdown, few enough for a thousand of them.
POINTS_MAX = 2_000
#: Fewest trades whose order says anything.
TRADES_MIN = 10
#: Runs with fills left out.
SKIPPED_RUNS = 50
#: Highest fee and slippage that terms take, basis points.
BPS_MAX = 9_999.0
#: Steps of a parameter that no sweep has values for, as shares of it.
STEPS = (-0.2, -0.1, 0.1, 0.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class StressLimits:
    """What a result has to stand.

    Attributes:
        draws: histories and orders of trades drawn.
        loss_max: share of drawn histories that may end with a loss.
        drawdown_max: deepest fall, a fraction, in all but one of twenty orders of the same trades.
        sign_min, half_min: share of neighbours that must keep the sign, and at least half, of the Sharpe ratio.
        skip_share: share of what opens or enlarges a position that is not filled.
        kept_min: share of the Sharpe ratio that must be left with a bar of delay, and with fills left out.
        cost_multiple: with costs so many times as high it must not lose.
    """

    draws: int = 1_000
    loss_max: float = 0.1
    drawdown_max: float = 0.5
    sign_min: float = 0.8
    half_min: float = 0.6
    skip_share: float = 0.1
    kept_min: float = 0.5
    cost_multiple: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A combination beside the one that is tried, which differs in one parameter; sharpe is annual, None without a move."""

    name: str
    value: Value
    strategy: Strategy
    result: Result

    @property
    def sharpe(self) -> float | None:
        """Annual Sharpe ratio."""
        return self.result.metrics.sharpe


@dataclass(frozen=True, slots=True, kw_only=True)
class Stressed:
    """What was found.

    Attributes:
        costs: total return by multiple of the costs.
        drawdowns: deepest falls of the same trades in other orders, (draws,); empty with too few trades.
        histories: what was drawn from the returns. points: at which bars their equity stands, from before the first on.
        shape: plateau or peak.
    """

    lines: tuple[Probe, ...]
    costs: Mapping[float, float]
    drawdowns: F64
    histories: Histories
    points: F64
    neighbours: tuple[Neighbour, ...]
    shape: str

    @property
    def robust(self) -> bool:
        """Whether every line holds that could be asked."""
        return all(line.holds in (True, None) for line in self.lines)


def stress(base: Result, grids: Mapping[str, Sequence[Value]], limits: StressLimits, seed: int) -> Stressed:
    """Try a backtest under other circumstances.

    Args:
        grids: values that sweeps had for parameters; a parameter without any is moved by `STEPS`.
    """
    chance = np.random.default_rng(seed)
    drawn, points = _histories(base, limits, chance)
    drawdowns = trade_orders(base, limits.draws, chance)
    costs = {multiple: backtest(base.bars, base.strategy, dearer(base.terms, multiple)) for multiple in _multiples(limits)}
    beside = tuple(neighbours(base, grids))
    sign, half = _kept(base, beside)
    peak = "peak" if beside and (sign < limits.sign_min or half < limits.half_min) else "plateau"
    lines = (
        _of_histories(drawn, limits),
        _of_orders(base, drawdowns, limits),
        *_of_neighbours(beside, sign, half, peak, limits),
        _of_costs(costs, limits),
        _of_delay(base, limits),
        _of_skips(base, limits, chance),
    )
    returns = {multiple: result.metrics.total_return for multiple, result in costs.items()}
    return Stressed(
        lines=lines, costs=returns, drawdowns=drawdowns, histories=drawn, points=points, neighbours=beside, shape=peak
    )


def frictions(base: Result, limits: StressLimits, seed: int) -> tuple[Probe, ...]:
    """Ask a backtest what higher costs, a bar of delay and missed fills cost: the quick lines of `stress`."""
    costs = {multiple: backtest(base.bars, base.strategy, dearer(base.terms, multiple)) for multiple in _multiples(limits)}
    return _of_costs(costs, limits), _of_delay(base, limits), _of_skips(base, limits, np.random.default_rng(seed))


def dearer(terms: Terms, multiple: float) -> Terms:
    """Return terms with fees, slippage and impact so many times as high."""
    return replace(
        terms,
        fee_bps=min(terms.fee_bps * multiple, BPS_MAX),
        slippage_bps=min(terms.slippage_bps * multiple, BPS_MAX),
        impact=min(terms.impact * multiple, IMPACT_MAX * 0.999),
    )


def _multiples(limits: StressLimits) -> list[float]:
    return sorted({1.0, 2.0, 3.0, limits.cost_multiple})


def _histories(base: Result, limits: StressLimits, chance: np.random.Generator) -> tuple[Histories, F64]:
    bars = len(base.equity)
    count = min(bars, POINTS_MAX)
    last = (np.arange(1, count + 1) * bars) // count - 1
    gained = gains(np.concatenate([[float(base.terms.cash)], base.equity[last]]))
    return histories(gained, limits.draws, block_length(count), chance), np.concatenate([[0], last]).astype(np.float64)


def trade_orders(base: Result, draws: int, chance: np.random.Generator) -> F64:
    """Return the deepest falls of equity if the same closed trades had come in other orders, (draws,).

    A trade's return is its profit over the equity at the close before its entry.
    """
    trips = base.round_trips
    closed = trips.exit_bar >= 0
    if int(closed.sum()) < TRADES_MIN:
        return np.empty(0)
    before = np.where(trips.entry_bar > 0, base.equity[np.maximum(trips.entry_bar - 1, 0)], float(base.terms.cash))[closed]
    each = np.divide(trips.profit[closed], before, out=np.zeros(len(before)), where=before > 0.0)
    found = np.empty(draws)
    for draw in range(draws):
        steps = np.maximum(1.0 + chance.permutation(each), 0.0)
        found[draw] = deepest(np.concatenate([[1.0], np.cumprod(steps)])[None, :])[0]
    return found


def neighbours(base: Result, grids: Mapping[str, Sequence[Value]]) -> Iterator[Neighbour]:
    """Yield the combinations that differ in one numeric parameter by up to two steps of its grid."""
    params = base.strategy.model_dump(mode="json")
    for name, value in params.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        for other in steps_beside(value, grids.get(name, ())):
            try:
                strategy = make(base.strategy.key, params | {name: other})
                result = backtest(base.bars, strategy, base.terms)
            except StrategyError:
                continue  # a value out of its range, or one that does not fit another parameter
            yield Neighbour(name=name, value=other, strategy=strategy, result=result)


def steps_beside(value: float, grid: Sequence[Value]) -> list[int | float]:
    """Return up to two values on each side of one: the next ones of its grid, or else shares of it, whole where it is whole."""
    known = sorted({item for item in grid if isinstance(item, int | float) and not isinstance(item, bool)})
    if value in known and len(known) > 1:
        place = known.index(value)
        return [*known[max(place - 2, 0) : place], *known[place + 1 : place + 3]]
    if isinstance(value, int):
        moved = {sign * max(round(abs(value * share)), order) for share in STEPS for sign, order in [_step(share)]}
        return sorted(value + step for step in moved)
    return [value * (1.0 + share) for share in STEPS] if value else []


def _step(share: float) -> tuple[int, int]:
    """Return the direction of a step, and how many whole ones it is at least."""
    return (1 if share > 0 else -1), (1 if abs(share) < 0.15 else 2)


def delayed(targets: F64, bars: int = 1) -> F64:
    """Return targets that are acted on so many bars later."""
    return np.concatenate([np.zeros(bars), targets[:-bars]])


def with_skips(targets: F64, share: float, chance: np.random.Generator) -> F64:
    """Return targets of which a share of the openings and enlargements is missed until the next change.

    What closes or reduces a position is carried out, as the engine sees to: a turn that is missed leaves it flat.
    """
    changed = np.flatnonzero(np.diff(targets, prepend=0.0) != 0.0)
    missed = chance.random(len(changed)) < share
    found = np.zeros(len(targets))
    held = 0.0
    for place, (bar, lost) in enumerate(zip(changed.tolist(), missed.tolist(), strict=True)):
        wanted = float(targets[bar])
        if not lost:
            held = wanted
        elif held * wanted <= 0.0:
            held = 0.0
        elif abs(wanted) < abs(held):
            held = wanted
        found[bar : changed[place + 1] if place + 1 < len(changed) else len(targets)] = held
    return found


def _again(base: Result, targets: F64) -> Result:
    return run(base.bars, base.strategy, np.ascontiguousarray(targets), base.terms, loop_for(len(base.bars)))


def _ratio_kept(base: Result, sharpe: float | None) -> float | None:
    """Return the share of the base's Sharpe ratio that is left; None where it has none to lose."""
    own = base.metrics.sharpe
    return None if own is None or own <= 0.0 or sharpe is None else sharpe / own


def _of_histories(drawn: Histories, limits: StressLimits) -> Probe:
    low, middle = np.quantile(drawn.growth, (0.05, 0.5)) - 1.0
    words = f"share of drawn histories that lose; one in twenty ends below {low:.1%}, half below {middle:.1%}"
    return probe("histories", "Histories with a loss", float(np.mean(drawn.growth <= 1.0)), "at most", limits.loss_max, words)


def _of_orders(base: Result, drawdowns: F64, limits: StressLimits) -> Probe:
    title = "Drawdown in other orders of the trades"
    if not len(drawdowns):
        words = f"not asked: fewer than {TRADES_MIN} closed trades"
        limit = limits.drawdown_max
        return Probe(name="trade_order", title=title, found=None, sense="at most", limit=limit, holds=None, words=words)
    deep = -float(np.quantile(drawdowns, 0.05))
    luck = float(np.mean(drawdowns <= base.metrics.max_drawdown))
    words = f"a fraction of equity, exceeded in one of twenty orders; in {luck:.0%} of them it is deeper than the backtest's"
    return probe("trade_order", title, deep, "at most", limits.drawdown_max, words)


def _kept(base: Result, beside: Sequence[Neighbour]) -> tuple[float, float]:
    """Return the shares of neighbours that earn, and with at least half of the Sharpe ratio; zero if the base earns nothing."""
    own = base.metrics.sharpe
    if own is None or own <= 0.0 or not beside:
        return 0.0, 0.0
    found = [item.sharpe if item.sharpe is not None else -math.inf for item in beside]
    return sum(value > 0.0 for value in found) / len(found), sum(value >= own / 2.0 for value in found) / len(found)


def _of_neighbours(beside: Sequence[Neighbour], sign: float, half: float, shape: str, limits: StressLimits) -> Iterator[Probe]:
    told = (
        ("sign", "Neighbours that earn too", sign, limits.sign_min),
        ("half", "Neighbours with half the Sharpe ratio", half, limits.half_min),
    )
    for name, title, found, limit in told:
        if not beside:
            words = "not asked: the strategy has no numeric parameter"
            yield Probe(name=f"near_{name}", title=title, found=None, sense="at least", limit=limit, holds=None, words=words)
        else:
            words = f"of {len(beside)} combinations that differ in one parameter by up to two steps: a {shape}"
            yield probe(f"near_{name}", title, found, "at least", limit, words)


def _of_costs(costs: Mapping[float, Result], limits: StressLimits) -> Probe:
    told = ", ".join(f"{multiple:g} x {result.metrics.total_return:.1%}" for multiple, result in costs.items())
    found = costs[limits.cost_multiple].metrics.total_return
    words = f"total return with fees and slippage {limits.cost_multiple:g} times as high; {told}"
    return probe("costs", "Return at higher costs", found, "above", 0.0, words)


def _of_delay(base: Result, limits: StressLimits) -> Probe:
    late = _again(base, delayed(checked_targets(base.bars, base.strategy)))
    found = _ratio_kept(base, late.metrics.sharpe)
    words = "share of the Sharpe ratio that is left when every decision is acted on one bar later"
    return probe("delay", "A bar of delay", found, "at least", limits.kept_min, words)


def _of_skips(base: Result, limits: StressLimits, chance: np.random.Generator) -> Probe:
    targets = checked_targets(base.bars, base.strategy)
    runs = [_again(base, with_skips(targets, limits.skip_share, chance)) for _ in range(SKIPPED_RUNS)]
    found = sorted(-math.inf if (kept := _ratio_kept(base, item.metrics.sharpe)) is None else kept for item in runs)
    low = found[len(found) // 10]
    words = (
        f"share of the Sharpe ratio that is left in nine of ten runs in which {limits.skip_share:.0%} of what opens or "
        "enlarges a position, by chance, is not filled"
    )
    return probe("skips", "Missed fills", low if math.isfinite(low) else None, "at least", limits.kept_min, words)
