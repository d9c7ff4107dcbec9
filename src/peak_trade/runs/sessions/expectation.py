"""What a session should have done over the bars that it saw, and where the difference comes from.

One strategy is compared with the research kernel, which takes a share of the volume too. Several on one account are compared
with an ideal session: the same engine without limits, latency and a share of the volume, which equals the kernel for one
strategy (the parity tests hold it to that).
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Protocol

import numpy as np

from peak_trade.compose import Parts
from peak_trade.engine.engine import Engine, NoScribe
from peak_trade.engine.feed import ticks
from peak_trade.engine.records import FILLED
from peak_trade.engine.tape import Tape
from peak_trade.model.bar import F64
from peak_trade.model.order import Fill, exact
from peak_trade.research.expectation import Difference, Event, actual_events, compare, expected, expected_events
from peak_trade.research.terms import Terms
from peak_trade.risk.gate import Limits
from peak_trade.runs.record import Json
from peak_trade.runs.sessions.plan import SessionPlan
from peak_trade.strategy.sizing import SizedBy, Sizing

NEVER = Decimal("Infinity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What should have happened: fills by strategy and symbol, fees, and equity at the closes of the first symbol's bars."""

    events: dict[tuple[str, str], list[Event]]
    equity: F64
    fees: float
    drawdown: float


class Standing(Protocol):
    """Where a session stands: the engine's state does, and so does what a journal tells."""

    @property
    def equity(self) -> Decimal:
        """Cash and positions, quote currency."""
        ...

    @property
    def prices(self) -> Mapping[str, Decimal]:
        """The last price of each symbol."""
        ...


def expectation(
    parts: Parts, plan: SessionPlan, state: Standing, completed: int, fills: Sequence[Fill]
) -> tuple[Json | None, F64 | None]:
    """Return how a session compares with what it should have done, and the equity of that; None for under two bars."""
    if completed < 2:
        return None, None
    wanted = _by_kernel(plan, completed) if len(plan.legs) == 1 else _by_ideal(parts, plan, completed)
    found = [_compared(plan, state, (leg.name, leg.symbol), wanted, fills) for leg in plan.legs]
    start, final = plan.paper.start_balance, float(wanted.equity[-1])
    split = {name: float(sum(getattr(item, name) for item in found)) for name in ("signal", "timing", "fill", "fee")}
    return {
        "by": "kernel" if len(plan.legs) == 1 else "ideal session",
        "final_equity": final,
        "num_fills": sum(len(events) for events in wanted.events.values()),
        "fees_paid": wanted.fees,
        "total_return": final / float(start) - 1.0,
        "max_drawdown": wanted.drawdown,
        "difference": split | {"total": float(state.equity) - final},
        "matched": sum(item.matched for item in found),
        "actual_only": sum(item.actual_only for item in found),
        "expected_only": sum(item.expected_only for item in found),
        "identical": all(item.identical for item in found),
    }, wanted.equity


def expected_profit(parts: Parts, plan: SessionPlan, bars: int) -> Decimal | None:
    """Return what a session should have earned at the close of so many bars of all symbols together; None for under two."""
    if bars < 2:
        return None
    start = plan.paper.start_balance
    if len(plan.legs) == 1:
        leg = plan.legs[0]
        seen = plan.datasets[leg.symbol].bars[:bars]
        wanted = expected(seen, leg.strategy, kernel_terms(plan), plan.traded_from[leg.symbol])
        return exact(float(wanted.equity[-1])) - start
    return asyncio.run(_equity_after(parts, plan, bars)) - start


async def _equity_after(parts: Parts, plan: SessionPlan, bars: int) -> Decimal:
    """Return the ideal session's equity at the close of so many bars of all symbols together."""
    ideal = _without_friction(plan)
    venue = parts.ideal_venue(ideal.account("ideal", "ideal"))
    engine = Engine(ideal.engine_plan("ideal"), venue, NoScribe(), Tape(), parts.clock)
    deciders = ideal.deciders(timed=False)
    for tick in ticks({symbol: dataset.bars for symbol, dataset in ideal.datasets.items()}):
        if not tick.complete:
            await engine.open_bar(tick.bar)
            continue
        await engine.close_bar(tick.bar, deciders[tick.bar.symbol].targets(tick.number))
        if engine.state.bars == bars:
            break
    return engine.state.equity


def _without_friction(plan: SessionPlan) -> SessionPlan:
    """Return the plan of the ideal session: without limits, latency and a share of the volume."""
    paper = replace(plan.paper, latency_ms=0, volume_share=Decimal(0))
    return replace(plan, paper=paper, limits=without_limits(plan.limits))


def _compared(plan: SessionPlan, state: Standing, place: tuple[str, str], wanted: Due, fills: Sequence[Fill]) -> Difference:
    leg, symbol = place
    bars = plan.datasets[symbol].bars
    # A session that follows a market may end within a bar: what was filled as that opened has no bar to be compared over.
    ended = int(bars.timestamp[-1])
    mine = [fill for fill in fills if fill.leg == leg and fill.symbol == symbol and fill.bar_ns <= ended]
    last = state.prices.get(symbol, Decimal(0))
    whole = len(plan.legs) > 1 or kernel_terms(plan).scarcity() is None
    return compare(actual_events(bars, mine, whole=whole), wanted.events.get(place, []), last)


def _by_kernel(plan: SessionPlan, completed: int) -> Due:
    leg = plan.legs[0]
    bars = plan.datasets[leg.symbol].bars[:completed]
    result = expected(bars, leg.strategy, kernel_terms(plan), plan.traded_from[leg.symbol])
    return Due(
        events={(leg.name, leg.symbol): expected_events(result)},
        equity=result.equity,
        fees=float(result.fills.fee.sum()),
        drawdown=result.metrics.max_drawdown,
    )


def kernel_terms(plan: SessionPlan) -> Terms:
    """Return the terms under which the kernel trades what a session of one strategy traded."""
    paper = plan.paper
    return Terms(
        cash=paper.start_balance,
        fee_bps=float(paper.fee_rate * 10_000),
        slippage_bps=float(paper.slippage_bps),
        sizing=Sizing(SizedBy.FRACTION, paper.position_fraction),
        side=paper.side,
        stop_loss=float(paper.stop_loss),
        take_profit=float(paper.take_profit),
        trailing_stop=float(paper.trailing_stop),
        impact=float(paper.impact),
        # As a bar of a followed market opens, its volume is not known: there the share is the simulation's alone.
        max_volume_share=0.0 if plan.followed else float(paper.volume_share),
        delay_bars=paper.delay_bars,
    )


def without_limits(limits: Limits) -> Limits:
    """Return limits that stop nothing."""
    return replace(
        limits,
        max_order_notional=NEVER,
        max_symbol_exposure_notional=NEVER,
        max_total_exposure_notional=NEVER,
        max_order_quantity=NEVER,
        max_daily_loss_abs=NEVER,
        max_daily_loss_pct=NEVER,
        price_collar_pct=NEVER,
        max_open_positions=2**63,
        max_orders_per_minute=2**63,
        max_orders_per_day=2**63,
        duplicate_window_s=0.0,
        max_data_age_s=float("inf"),
        max_clock_skew_ms=float("inf"),
    )


def _by_ideal(parts: Parts, plan: SessionPlan, completed: int) -> Due:
    ideal = _without_friction(plan)
    fills: list[Fill] = []

    def keep(kind: str, body: Mapping[str, Any]) -> None:
        if kind == FILLED:
            fills.append(Fill.from_json(dict(body)))

    venue = parts.ideal_venue(ideal.account("ideal", "ideal"))
    engine = Engine(ideal.engine_plan("ideal"), venue, NoScribe(), Tape(), parts.clock, observe=keep)
    equity = asyncio.run(_played(ideal, engine, completed))
    by_leg = {
        (leg.name, leg.symbol): actual_events(
            ideal.datasets[leg.symbol].bars, [fill for fill in fills if (fill.leg, fill.symbol) == (leg.name, leg.symbol)]
        )
        for leg in ideal.legs
    }
    return Due(events=by_leg, equity=equity, fees=float(engine.state.books.fees()), drawdown=float(engine.state.drawdown))


async def _played(plan: SessionPlan, engine: Engine, completed: int) -> F64:
    """Run the ideal session up to a number of bars of the first symbol; return equity at their closes."""
    deciders = plan.deciders(timed=False)
    first = next(iter(plan.datasets))
    equity = np.full(completed, np.nan)
    for tick in ticks({symbol: dataset.bars for symbol, dataset in plan.datasets.items()}):
        if not tick.complete:
            await engine.open_bar(tick.bar)
            continue
        await engine.close_bar(tick.bar, deciders[tick.bar.symbol].targets(tick.number))
        if tick.bar.symbol == first:
            equity[tick.number] = float(engine.state.equity)
            if tick.number + 1 == completed:
                break
    return equity
