"""What the dashboard works out from a journal equals what the engine marked, told the registry and wrote into its report."""

import json
from contextlib import closing
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from peak_trade.compose import Parts
from peak_trade.journal.run import RunStatus
from peak_trade.runs.sessions.view import Viewer
from peak_trade.settings import load_config

ONE = ("--strategy", "ma_crossover", "--steps", "600")
TWO = ("--strategy", "ma_crossover", "--strategy", "rsi_reversion", "--steps", "600")
STOPPED = ("--strategy", "rsi_reversion", "--steps", "600", "--stop-loss", "0.002", "--position-fraction", "0.08")
REFUSED = ("--strategy", "rsi_reversion", "--steps", "600", "--position-fraction", "0.5")
LATE = ("--strategy", "ma_crossover", "--steps", "600", "--slippage-bps", "12")


@pytest.fixture
def ended(project, request):
    """A session that ran to its end, its parts and its folder."""
    if request.param is LATE:
        config = project.folder / "config.toml"
        config.write_text(config.read_text().replace("latency_ms = 0", "latency_ms = 90000"))
    told = project.run("session", "run", *request.param, "--speed", "max", "--json")
    assert told.code == 0, told.err
    with closing(Parts(load_config("config.toml"))) as parts:
        session = parts.sessions.get("latest")
        yield parts, session, json.loads((parts.reports / session.session_id / "session.json").read_text())


def running(session):
    """The session as its row was while it ran."""
    run = replace(session.run, status=RunStatus.STARTED, metrics={}, finished_at=None)
    return replace(session, run=run, summary={}, head_seq=None, head_sha256=None)


@pytest.mark.parametrize("ended", [ONE, TWO, STOPPED, REFUSED, LATE], indirect=True, ids=["one", "two", "stop", "no", "late"])
def test_equity_is_the_engine_s(ended):
    """The curve worked out from fills and closes is the one that the engine marked, mark by mark."""
    parts, session, _ = ended
    frame = pl.read_parquet(parts.reports / session.session_id / "equity.parquet")
    marked = dict(zip(frame["timestamp"].dt.epoch("ns").to_list(), frame["equity"].to_list(), strict=True))

    series = Viewer(parts).view(session).series

    found = dict(zip(series.stamps.tolist(), series.equity.tolist(), strict=True))
    assert set(marked) <= set(found)
    assert max(found) == max(marked)
    assert np.allclose([found[at] for at in marked], list(marked.values()), rtol=0, atol=1e-6)


@pytest.mark.parametrize("ended", [ONE, TWO, STOPPED, REFUSED, LATE], indirect=True, ids=["one", "two", "stop", "no", "late"])
def test_figures_before_the_end(ended):
    """While a session runs its figures come from the journal; at its last bar they are those that it tells itself."""
    parts, session, _ = ended

    told = Viewer(parts).view(running(session)).record

    assert session.run.metrics["num_bars"] >= 800  # its steps, after a warm-up of 200 bars or what the strategy needs
    for name, value in told["metrics"].items():
        assert value == pytest.approx(session.run.metrics[name], abs=1e-9), name
    assert told["blocked_by_code"] == session.summary["blocked_by_code"]
    assert [leg["position"] for leg in told["by_leg"]] == [leg["position"] for leg in session.summary["by_leg"]]
    assert told["by_leg"] == session.summary["by_leg"]


@pytest.mark.parametrize("ended", [ONE, TWO, LATE], indirect=True, ids=["one", "two", "late"])
def test_compared_with_the_backtest(ended):
    """The comparison of a running session is the one that its report has in the end, to the last digit of money."""
    parts, session, record = ended

    told = Viewer(parts).view(running(session)).record["expected"]

    assert told["identical"] == record["expected"]["identical"]
    assert told["matched"] == record["expected"]["matched"]
    for part, value in record["expected"]["difference"].items():
        assert told["difference"][part] == pytest.approx(value, abs=1e-6), part


@pytest.mark.parametrize("ended", [REFUSED], indirect=True)
def test_orders_have_their_lives(ended):
    """Each order says what happened to it, in order; a refused one was never sent."""
    parts, session, _ = ended

    seen = Viewer(parts).view(session)

    states = {order.client_id: order.state for order in seen.series.orders}
    assert set(states.values()) == {"refused"}
    assert all([step.what for step in seen.lives[name]] == ["refused by the risk gate"] for name in states)


@pytest.mark.parametrize("ended", [ONE], indirect=True)
def test_a_filled_order_s_life(ended):
    """A market order is sent, taken and filled."""
    parts, session, _ = ended

    seen = Viewer(parts).view(session)

    first = seen.series.orders[0]
    assert [step.what for step in seen.lives[first.client_id]] == ["sent", "open", "filled"]
    assert len(seen.tail) == 25
    assert seen.tail[0].kind == "ended"
    assert seen.missing == []


@pytest.mark.parametrize("ended", [ONE], indirect=True)
def test_a_damaged_journal_takes_nothing_else_down(ended):
    """A session whose journal can't be read is shown as the registry has it, and says why."""
    parts, session, _ = ended
    path = parts.journal / "paper" / f"{session.session_id}.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], lines[3].replace(b'"', b"'", 1), *lines[4:]]))

    seen = Viewer(parts).view(session)

    assert seen.record["metrics"] == dict(session.run.metrics)
    assert len(seen.missing) == 1
    assert "a line that is damaged" in seen.missing[0]


@pytest.mark.parametrize("ended", [ONE], indirect=True)
def test_lost_bars_leave_the_rest(ended, monkeypatch):
    """Where the bars are gone or others, orders and journal are still shown."""
    parts, session, _ = ended
    monkeypatch.setattr("peak_trade.market.sample.SYNTHETIC_SEED", 8)
    monkeypatch.setattr("peak_trade.market.sample.synthetic.__defaults__", (129_600, 8))

    seen = Viewer(parts).view(session)

    assert "found others" in seen.missing[0]
    assert len(seen.series.orders) == session.run.metrics["num_orders"]
    assert seen.records > 0
