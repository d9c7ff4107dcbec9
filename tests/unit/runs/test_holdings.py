"""What an account's last session left: a simulation must not hide what is still at an exchange."""

import os
from contextlib import closing

import pytest
from tests.accounts import playing

from peak_trade.compose import DataChoice, Parts
from peak_trade.engine.runner import Course
from peak_trade.journal.session import LIVE_SESSION_EMULATED
from peak_trade.model.errors import SafetyRefused
from peak_trade.model.stage import Stage
from peak_trade.runs.drills.emulated_session import EmulatedTerms
from peak_trade.runs.sessions.holdings import check_nothing_left, holdings
from peak_trade.runs.sessions.plan import SessionRequest
from peak_trade.runs.trading.session import SHADOW_RUN, Watcher, run_session
from peak_trade.settings import load_config


@pytest.fixture
def parts(tmp_path, monkeypatch):
    (tmp_path / "config.toml").write_text("")
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    with closing(Parts(load_config(tmp_path / "config.toml"))) as made:
        yield made


def rehearsal(parts):
    return SessionRequest(
        mode=Stage.SHADOW,
        run_type=SHADOW_RUN,
        strategies=(("ma_crossover", {}),),
        data=(DataChoice(path=None, symbol="SPX/USD", timeframe="1d"),),
        paper=EmulatedTerms().request(parts.settings).paper,
        account="main",
        course=Course(steps=5),
        speed=None,
        env_name="test",
    )


@pytest.mark.parametrize(
    ("begun", "left"),
    [({"run_type": LIVE_SESSION_EMULATED, "mode": "testnet"}, True), ({"mode": "live"}, True), ({"mode": "testnet"}, False)],
)
@pytest.mark.parametrize("end", [True, False])
def test_a_simulation_does_not_hide_what_is_at_an_exchange(parts, begun, left, end):
    """An order, a position, or a death before either was told; what was only simulated went with its session."""
    check_nothing_left(parts, "main")
    with playing(parts, "main", **begun) as session:
        session.send("a")
        session.fill("a")
        session.send("b")
        if end:
            session.end()
    if not left:
        check_nothing_left(parts, "main")
        return
    words = "BTC/EUR 0.5;" if end else "1 working orders, BTC/EUR 0.5, no end of its own;"
    with pytest.raises(SafetyRefused, match=f"which {session.name} left {words} nothing was begun"):
        check_nothing_left(parts, "main")


def test_one_that_left_nothing_may_be_followed_by_a_simulation(parts):
    with playing(parts, "main", mode="live") as session:
        session.send("a")
        session.fill("a")
        session.send("b")
        session.fill("b", quantity="-0.5")
        session.end()
    check_nothing_left(parts, "main")


def test_a_rehearsal_is_refused_and_the_dead_session_stays_the_newest(parts):
    with playing(parts, "main", mode="live") as session:
        session.send("a")
    with pytest.raises(SafetyRefused, match=r"1 working orders, no end of its own; .* simulate on another --account"):
        run_session(parts, rehearsal(parts), Watcher())
    found = holdings(parts, "main")
    assert (found.session_id, len(found.working)) == (session.name, 1)
