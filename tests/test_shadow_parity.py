"""A shadow session and a backtest over the same bars give the same fills and the same equity."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.paths import MARKET_DATA, ROOT, needs_market_data

from peak_trade.cli.main import main
from peak_trade.compose import DataChoice, Parts
from peak_trade.engine.runner import Course
from peak_trade.model.stage import Stage
from peak_trade.research.backtest import Result, run
from peak_trade.research.kernel import REASONS, loop_for
from peak_trade.research.terms import Side, Terms
from peak_trade.runs.sessions.files import EndedSession
from peak_trade.runs.sessions.plan import Paper, SessionRequest
from peak_trade.runs.trading.session import Watcher, run_session
from peak_trade.settings import load_config
from peak_trade.strategy.base import checked_targets
from peak_trade.strategy.catalogue import BUILT_IN, catalogue, make
from peak_trade.strategy.sizing import SizedBy, Sizing

#: Limits that never bind: the backtest has none.
UNBOUND = """
[live_risk]
max_order_notional = "1e15"
max_symbol_exposure_notional = "1e15"
max_total_exposure_notional = "1e15"
max_daily_loss_abs = "1e15"
max_daily_loss_pct = 100.0
price_collar_pct = 100.0
max_order_quantity = "1e15"
max_orders_per_minute = 1000000
max_orders_per_day = 1000000
duplicate_window_s = 0
"""

SAMPLE = DataChoice(path=None, symbol="SPX/USD", timeframe="1d")
HOURS = DataChoice(path=MARKET_DATA / "kraken" / "XBTEUR_60_2024Q4.parquet", symbol="BTC/EUR", timeframe="1h")
DAYS = DataChoice(path=MARKET_DATA / "kraken" / "XBTEUR_1440.parquet", symbol="BTC/EUR", timeframe="1d")
#: Bars and warm-up of the comparisons.
SERIES = [
    pytest.param(SAMPLE, 0, id="SPX-1d"),
    pytest.param(SAMPLE, 200, id="SPX-1d-200"),
    pytest.param(HOURS, 0, id="BTC-1h", marks=needs_market_data),
    pytest.param(HOURS, 200, id="BTC-1h-200", marks=needs_market_data),
    pytest.param(DAYS, 0, id="BTC-1d", marks=needs_market_data),
]

#: Parameters of strategies made of others; all else runs with its defaults.
PARAMS: dict[str, dict[str, Any]] = {
    "vol_regime_filter": {"base": {"strategy": "macd"}, "window": 20, "long_window": 120, "ratio": 1.2},
    "regime_filter": {"base": {"strategy": "macd"}, "volatility": ["calm", "wild"], "window": 10, "history": 60},
    "composite": {
        "members": [
            {"strategy": "ma_crossover", "params": {"fast_window": 5, "slow_window": 20}, "weight": 2.0},
            {"strategy": "rsi_reversion"},
            {"strategy": "breakout", "weight": 0.5},
        ],
        "threshold": 0.2,
    },
}
#: Terms besides the plain ones: each changes which rules of the kernel are at work.
VARIANTS: dict[str, dict[str, Any]] = {
    "stop_loss": {"stop_loss": "0.03"},
    "take_profit": {"take_profit": "0.05"},
    "trailing_stop": {"trailing_stop": "0.02"},
    "every_exit_both_sides": {"stop_loss": "0.02", "take_profit": "0.04", "trailing_stop": "0.015", "side": Side.BOTH},
    "short": {"side": Side.SHORT},
    "both_all_in": {"side": Side.BOTH, "fraction": "1"},
    "all_in_long": {"fraction": "1"},
    "free": {"fee": "0", "slippage": "0", "side": Side.BOTH},
}


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """Parts on a folder of their own, without waiting for the disk."""
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    config = tmp_path / "config.toml"
    config.write_text(UNBOUND)
    with closing(Parts(load_config(config))) as made:
        yield made


def both(parts: Parts, data: DataChoice, key: str, warmup: int, **changes: Any) -> tuple[EndedSession, Result]:
    """Run a session, and the kernel over the same bars with the warm-up masked."""
    terms = {"fraction": "0.5", "fee": "0.0026", "slippage": "5", "side": Side.LONG, **changes}
    exits = {name: terms.get(name, "0") for name in ("stop_loss", "take_profit", "trailing_stop")}
    paper = Paper(
        start_balance=Decimal(100_000),
        fee_rate=Decimal(terms["fee"]),
        maker_fee_rate=Decimal("0.5"),  # no order of a strategy rests: this must not matter
        slippage_bps=Decimal(terms["slippage"]),
        position_fraction=Decimal(terms["fraction"]),
        side=terms["side"],
        warmup_candles=warmup,
        **{name: Decimal(value) for name, value in exits.items()},
    )
    params = PARAMS.get(key, {})
    request = SessionRequest(
        mode=Stage.SHADOW,
        run_type="shadow_run",
        strategies=((key, params),),
        data=(data,),
        paper=paper,
        account="paper",
        course=Course(),
        speed=None,
        env_name="test",
        register=False,
    )
    session = run_session(parts, request, Watcher())
    bars, strategy = parts.dataset(data).bars, make(key, params)
    targets = checked_targets(bars, strategy).copy()
    targets[: max(warmup, strategy.warmup() - 1)] = 0.0
    rules = Terms(
        cash=Decimal(100_000),
        fee_bps=float(terms["fee"]) * 10_000,
        slippage_bps=float(terms["slippage"]),
        sizing=Sizing(SizedBy.FRACTION, Decimal(terms["fraction"])),
        side=terms["side"],
        **{name: float(value) for name, value in exits.items()},
    )
    return session, run(bars, strategy, targets, rules, loop_for(len(bars)))


def assert_same(session: EndedSession, result: Result) -> None:
    """Compare every fill and the final equity."""
    ours, theirs = session.series.fills, result.fills
    stamps = result.bars.timestamp
    happened = [(fill.bar_ns, fill.quantity > 0, fill.reason.value) for fill in ours]
    wanted = zip(stamps[theirs.bar].tolist(), (theirs.quantity > 0).tolist(), theirs.reason.tolist(), strict=True)
    assert happened == [(stamp, buys, REASONS[reason]) for stamp, buys, reason in wanted]
    for name in ("quantity", "price", "fee"):
        actual = [float(getattr(fill, name)) for fill in ours]
        np.testing.assert_allclose(actual, getattr(theirs, name), rtol=1e-9, atol=1e-12, err_msg=name)
    assert session.record["metrics"]["final_equity"] == pytest.approx(result.equity[-1], rel=1e-9)
    assert session.record["metrics"]["max_drawdown"] == pytest.approx(result.metrics.max_drawdown, rel=1e-9)
    assert session.record["metrics"]["fees_paid"] == pytest.approx(theirs.fee.sum(), rel=1e-9)
    assert session.record["metrics"]["num_trades"] == result.metrics.num_trades
    assert session.record["metrics"]["orders_blocked_risk"] == 0
    assert session.record["expected"]["identical"] is True


def test_every_built_in_strategy_is_here():
    """None is left out of the comparison below."""
    assert {key for key, kind in catalogue().items() if kind.__module__.startswith("peak_trade.")} == set(KEYS)
    assert len(KEYS) == len(BUILT_IN)


KEYS = [key for key, kind in catalogue().items() if kind.__module__.startswith("peak_trade.")]


@pytest.mark.parametrize(("data", "warmup"), SERIES)
@pytest.mark.parametrize("key", KEYS)
def test_same_fills_as_the_backtest(parts, key, warmup, data):
    """Time, side, quantity, price, fee and reason of every fill, and the final equity."""
    session, result = both(parts, data, key, warmup)

    assert_same(session, result)
    assert len(result.fills) >= (1 if key == "buy_and_hold" else 2)


@pytest.mark.parametrize(("data", "warmup"), [SERIES[0], SERIES[3]])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("key", ["macd", "composite"])
def test_same_fills_under_other_terms(parts, key, variant, data, warmup):
    """Exits, sides, all of the equity and no costs at all change nothing about it."""
    session, result = both(parts, data, key, warmup, **VARIANTS[variant])

    assert_same(session, result)
    assert len(result.fills) > 2


def test_the_variants_are_at_work(parts):
    """Every reason for a fill is among those compared above, and both signs of a position."""
    reasons, sides = set(), set()
    for variant in ("stop_loss", "take_profit", "trailing_stop", "short", "every_exit_both_sides"):
        session, _ = both(parts, SAMPLE, "ma_crossover", 0, **VARIANTS[variant])
        reasons |= {fill.reason.value for fill in session.series.fills}
        sides |= {np.sign(float(fill.quantity)) for fill in session.series.fills[:1]}

    assert reasons == {"target", "stop_loss", "take_profit", "trailing_stop"}
    assert sides == {1.0, -1.0}


def test_warm_up_masks_decisions_and_nothing_else(parts):
    """With a warm-up the first 200 bars are seen, and what is decided later is what one without would decide."""
    session, _ = both(parts, SAMPLE, "buy_and_hold", 200)
    stamps = parts.dataset(SAMPLE).bars.timestamp

    assert [fill.bar_ns for fill in session.series.fills] == [stamps[201]]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A project's folder with limits that never bind, which is the present one."""
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    (tmp_path / "config.toml").write_text(UNBOUND)
    monkeypatch.chdir(tmp_path)
    return tmp_path


DATA = [
    pytest.param(["--symbol", "SPX/USD", "--timeframe", "1d"], id="sample"),
    pytest.param(["--data", str(HOURS.path), "--symbol", "BTC/EUR", "--timeframe", "1h"], id="kraken", marks=needs_market_data),
]


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("key", ["ma_crossover", "breakout"])
def test_the_two_commands_agree(folder, capsys, key, data):
    """`session shadow --warmup-candles 0` and `backtest` with the same terms end with the same figures."""
    own = ["--start-balance", "50000", "--fee-rate", "0.004", "--position-fraction", "0.3", "--warmup-candles", "0"]
    same = [*data, "--slippage-bps", "7", "--side", "both", "--stop-loss", "0.04", "--json"]
    costs = ["--initial-cash", "50000", "--fee-bps", "40", "--sizing", "fraction=0.3", "--no-tear-sheet"]
    assert main(["session", "shadow", "--strategy", key, *same, *own, "--no-html"]) == 0
    session = json.loads(capsys.readouterr().out)
    assert main(["backtest", "--strategy", key, *same, *costs]) == 0
    backtest = json.loads(capsys.readouterr().out)

    assert session["dataset"]["sha256"] == backtest["dataset"]["sha256"]
    for name in ("final_equity", "total_return", "max_drawdown", "fees_paid", "num_trades"):
        assert session["metrics"][name] == pytest.approx(backtest["metrics"][name], rel=1e-9)
    assert session["expected"]["identical"] is True


#: A tenth of the equity against shares of the volume that cover it in several parts.
SCARCE = ["--fills", "model", "--delay-bars", "1", "--max-volume-share"]


@needs_market_data
@pytest.mark.parametrize("more", [["0.002"], ["0.002", "--stop-loss", "0.01", "--trailing-stop", "0.008"], ["0"]])
def test_the_two_commands_agree_on_scarce_fills(folder, capsys, more):
    """Size paid for, parts of orders and a bar of delay: figures, and every single fill, are the same."""
    data = ["--data", str(HOURS.path), "--symbol", "BTC/EUR", "--timeframe", "1h"]
    same = ["--strategy", "ma_crossover", *data, "--side", "both", *SCARCE, *more, "--json"]
    own = ["--start-balance", "500000", "--fee-rate", "0.004", "--position-fraction", "0.3", "--warmup-candles", "0"]
    assert main(["session", "shadow", *same, *own, "--no-html"]) == 0
    session = json.loads(capsys.readouterr().out)
    costs = ["--initial-cash", "500000", "--fee-bps", "40", "--sizing", "fraction=0.3", "--no-tear-sheet"]
    assert main(["backtest", *same, *costs]) == 0
    backtest = json.loads(capsys.readouterr().out)

    for name in ("final_equity", "total_return", "max_drawdown", "fees_paid", "num_trades"):
        assert session["metrics"][name] == pytest.approx(backtest["metrics"][name], rel=1e-9)
    assert session["expected"]["identical"] is True
    assert backtest["costs"]["delay_bars"] == int(session["terms"]["delay_bars"]) == 1
    assert backtest["costs"]["impact"] == float(session["terms"]["impact"]) > 0
    assert backtest["costs"]["slippage_bps"] == float(session["terms"]["slippage_bps"]) > 5
    if more == ["0.002"]:
        assert session["metrics"]["num_fills"] > session["metrics"]["num_orders"]


def test_the_playbooks_command_is_the_backtest(tmp_path):
    """`run_shadow_execution.py --strategy ma_crossover` as it stands, with its limits: no fill differs over 129,600 bars."""
    shutil.copy(ROOT / "config.toml", tmp_path)
    command = [
        sys.executable,
        ROOT / "scripts" / "run_shadow_execution.py",
        "--strategy",
        "ma_crossover",
        "--json",
        "--no-html",
    ]

    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    record = json.loads(ended.stdout)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert (record["status"], record["run_type"], record["ended_by"]) == ("completed", "shadow_run", "the end of the data")
    assert record["expected"]["identical"] is True
    assert record["metrics"]["num_bars"] == 129_600
    assert record["metrics"]["num_fills"] == record["expected"]["num_fills"] > 1_000
    assert record["metrics"]["final_equity"] == pytest.approx(record["expected"]["final_equity"], rel=1e-9)
    assert all(abs(value) < 1e-6 for value in record["expected"]["difference"].values())
