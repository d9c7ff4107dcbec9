"""Builders of sessions: records as the session registry exports them, and the series beside them."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from tests.builders import some_bars

from peak_trade.model.bar import Bars
from peak_trade.model.clock import moment_text
from peak_trade.model.order import Fill, Reason
from peak_trade.report.session_rows import OrderRow, SessionSeries

SESSION = "20240203T040506000Z-5e5510"
METRICS = {
    "start_equity": 10_000.0,
    "final_equity": 10_123.45,
    "total_return": 0.012345,
    "realized_pnl": 150.0,
    "unrealized_pnl": -10.0,
    "fees_paid": 16.55,
    "max_drawdown": -0.0321,
    "num_bars": 100.0,
    "num_decisions": 100.0,
    "num_orders": 12.0,
    "num_fills": 10.0,
    "num_trades": 5.0,
    "orders_filled": 10.0,
    "orders_rejected": 1.0,
    "orders_cancelled": 1.0,
    "orders_unknown": 0.0,
    "orders_blocked_risk": 3.0,
    "orders_warned": 0.0,
    "orders_skipped": 0.0,
    "traded_notional": 4_137.5,
    "incidents": 0.0,
}
LIMITS = {"max_order_notional": "1000", "max_open_positions": 5, "block_on_violation": True, "symbols": ["BTC/EUR", "ETH/EUR"]}
TERMS = {
    "start_balance": "10000",
    "fee_rate": "0.0040",
    "maker_fee_rate": "0.0025",
    "slippage_bps": "5",
    "latency_ms": 250,
    "volume_share": "0.1",
    "sizing": "fraction=0.1",
    "side": "long",
    "stop_loss": 0.05,
    "take_profit": 0.0,
    "trailing_stop": 0.0,
    "warmup_candles": 20,
}
EXPECTED = {
    "final_equity": 10_130.0,
    "num_fills": 11.0,
    "fees_paid": 16.0,
    "total_return": 0.013,
    "max_drawdown": -0.03,
    "difference": {"signal": -5.0, "timing": 0.0, "fill": -1.0, "fee": -0.55, "total": -6.55},
    "matched": 9,
    "actual_only": 1,
    "expected_only": 2,
    "identical": False,
}


def a_session(**changes: Any) -> dict[str, Any]:
    """Return the record of a completed shadow session; `metrics` and `dataset` may be given in part."""
    bars = some_bars()
    dataset = {
        "sha256": bars.sha256(),
        "bars": 100,
        "first": "2024-01-01T00:00:00Z",
        "last": "2024-01-05T03:00:00Z",
        "gaps": {"holes": 0, "missing_bars": 0, "by_kind": {}},
        "origin": "made for a test",
        "accepted": [],
        "notes": [],
    }
    leg = {
        "leg": "ma_crossover",
        "strategy": "ma_crossover",
        "params": {"fast_window": 20, "slow_window": 50},
        "symbol": "BTC/EUR",
        "timeframe": "1h",
    }
    record = {
        "session_id": SESSION,
        "run_id": "20240203T040505000Z-abc123",
        "run_type": "live_session_shadow",
        "mode": "shadow",
        "env_name": "local",
        "account": "paper",
        "tier": "core",
        "status": "completed",
        **{name: leg[name] for name in ("strategy", "params", "symbol", "timeframe")},
        "quote": "EUR",
        "started_at": "2024-02-03T04:05:06.000007Z",
        "finished_at": "2024-02-03T04:05:08Z",
        "elapsed_s": 2.25,
        "tags": [],
        "notes": None,
        "error": None,
        "cli_args": ["run_execution_session.py", "--strategy", "ma_crossover", "--steps", "100"],
        "continues": None,
        "host": "somewhere",
        "process": 4711,
        "legs": [{**leg, "fraction": 0.1}],
        "dataset": dataset | changes.pop("dataset", {}),
        "traded_from": "2024-01-01T20:00:00Z",
        "terms": TERMS,
        "limits": LIMITS,
        "metrics": METRICS | changes.pop("metrics", {}),
        "blocked_by_code": {"max_order_notional": 2, "data_age": 1},
        "warned_by_code": {},
        "rejected_by_code": {"insufficient_funds": 1},
        "by_leg": [
            {
                "leg": "ma_crossover",
                "strategy": "ma_crossover",
                "symbol": "BTC/EUR",
                "position": "0.250",
                "average_cost": "101.234567890123",
                "realized_pnl": "150.000000000000",
                "unrealized_pnl": "-10.000000000000",
                "fees": "16.55",
                "fills": 10,
            }
        ],
        "incidents": [],
        "mode_at_end": "running",
        "expected": None,
        "decisions_sha256": "e" * 64,
        "result_sha256": "d" * 64,
        "config_sha256": "c" * 64,
        "code": {"version": "0123abc", "clean": True},
        "versions": {"python": "3.11.2"},
        "journal": {"path": "var/journal/core.log", "head_seq": 345, "head_sha256": "f" * 64, "records": 346},
    }
    return record | changes


def some_fills(bars: Bars, every: int = 8, leg: str = "ma_crossover") -> list[Fill]:
    """Return fills at the opens of every n-th bar, purchases and sales in turn."""
    return [
        Fill(
            fill_id=f"{leg}-{number}",
            client_id=f"{leg}-{number}",
            leg=leg,
            symbol=bars.instrument.symbol,
            reason=Reason.TARGET if number % 4 else Reason.STOP_LOSS,
            quantity=Decimal("0.25") * (1 if number % 2 == 0 else -1),
            price=Decimal(repr(float(bars.open[bar]))),
            fee=Decimal("0.1"),
            bar_ns=int(bars.timestamp[bar]),
            at_ns=int(bars.timestamp[bar]) + 250_000_000,
            maker=number % 3 == 0,
            remaining=Decimal(0),
        )
        for number, bar in enumerate(range(every, len(bars), every))
    ]


def an_order(**changes: Any) -> OrderRow:
    """Return a filled market order."""
    row = OrderRow(
        client_id="ma_crossover-1",
        leg="ma_crossover",
        symbol="BTC/EUR",
        kind="market",
        quantity="0.250",
        price=None,
        reason="target",
        decided_at="2024-01-02T03:00:00Z",
        state="filled",
        filled="0.250",
        why="",
    )
    return row._replace(**changes)


def some_orders(fills: Sequence[Fill]) -> list[OrderRow]:
    """Return a filled order for each fill, then one of each other end."""
    filled = [
        an_order(
            client_id=fill.client_id,
            leg=fill.leg,
            symbol=fill.symbol,
            quantity=str(fill.quantity),
            filled=str(fill.quantity),
            decided_at=moment_text(fill.bar_ns),
            reason=fill.reason.value,
        )
        for fill in fills
    ]
    refused = an_order(state="refused", filled="0", why="max_order_notional, data_age")
    rejected = an_order(state="rejected", filled="0", kind="limit", price="99.50", quantity="-0.250", why="insufficient funds")
    return [
        *filled,
        refused,
        rejected,
        an_order(state="partly_filled", filled="0.100", quantity="1E+1"),
        an_order(state="unknown", filled="0"),
    ]


def a_series(bars: Bars | None = None, /, *, expected: bool = False, warmup: int = 20, **changes: Any) -> SessionSeries:
    """Return the series of a session on one market; equity is marked from the end of the warm-up on."""
    bars = some_bars() if bars is None else bars
    fills = some_fills(bars)
    closes = bars.timestamp + bars.timeframe.step_ns
    equity = 10_000.0 * (1.0 + (bars.close / bars.close[0] - 1.0) / 10.0)
    given = {
        "bars": {bars.instrument.symbol: bars},
        "stamps": closes[warmup:],
        "equity": equity[warmup:],
        "expected": np.where(np.arange(len(bars)) < warmup, np.nan, equity * 1.001) if expected else None,
        "fills": fills,
        "orders": some_orders(fills),
    }
    return SessionSeries(**(given | changes))
